"""The store and the kernel together: what commands that only look have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from windrow.apps.cli.manifests import read
from windrow.apps.cli.session import Session
from windrow.apps.cli.validation import Validation, validated
from windrow.apps.round import Policy, Report, Source, Stored, carry_out
from windrow.apps.round.unseen import answers, questions
from windrow.model.cluster import Cluster
from windrow.model.located import located
from windrow.model.problems import Problem
from windrow.render.consequences import Consequences
from windrow.rules import AS_STORED, Admitted, Planned, Wish
from windrow.status.consequences import Here, consequences
from windrow.store.directory import Store


def stored(session: Session) -> tuple[Cluster, tuple[Problem, ...]]:
    """The cluster of the store, or of the API, and what is wrong with its objects. A store that is not there is
    empty. Raises KubeError."""
    if session.cluster is not None:
        from windrow.apps.incluster import loaded as of_cluster
        from windrow.kube.snapshot import listed

        loaded = of_cluster(listed(session.cluster))
    else:
        loaded = Store(session.root).readable()
    return Cluster.of(loaded.objects), loaded.problems


def wish_for(places: Sequence[str], validation: Validation = Validation.WARN) -> Wish:
    """To store what these files hold."""
    if not places:
        return AS_STORED
    loaded = validated(read(places), validation)
    return Wish(put=loaded.objects, problems=loaded.problems, unread=loaded.unread)


def survey(session: Session, wish: Wish = AS_STORED) -> Report:
    """What a round would find and do now: the very round, without its hands; and what it does not see, for the kernel
    has to be asked for each VLAN. Raises ProblemsError, KernelError."""
    with session.site() as site:
        report = carry_out(site, Stored(site.paths, source_of(session)), wish, Policy(dry=True, explain=True))
        return replace(report, problems=(*report.problems, *answers(site, report, questions(report))))


def source_of(session: Session, *, followed: bool = False) -> Source | None:
    """None: the directory of manifests. `followed`: only the networks and their nodes, of which an agent's
    account may read all; policies hold for ports, whoever made the links below. Raises KubeError."""
    if session.cluster is None:
        return None
    from windrow.apps.incluster import Listed
    from windrow.kube.resources import FOLLOWED

    return Listed(session.cluster, FOLLOWED) if followed else Listed(session.cluster)


def said_of(admitted: Admitted, planned: Planned, records: Sequence[Problem]) -> tuple[Problem, ...]:
    """All that is to be said of what is stored, of the `records` of this node, and of what is wanted of it."""
    kept = () if admitted.fresh else located(admitted.problems, admitted.before.objects)
    compiled = located(planned.compiled.problems, admitted.target.objects)
    return tuple(dict.fromkeys((*kept, *admitted.warnings, *records, *compiled)))


def means(report: Report, wish: Wish) -> Consequences:
    """What the wish means for all nodes that the objects name, and for this one."""
    facts, before = report.sight.facts, report.admitted.before
    here = Here(node=facts.node, observed=report.sight.observed, plan=report.plan, ports=facts.ports)
    return consequences(before, wish.after(before), here)
