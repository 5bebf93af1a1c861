"""The documents of the store with all that is derived from them and from this host."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import click

from windrow.apps.cli.output import complain
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored, survey
from windrow.apps.known import agent_status
from windrow.apps.round import Report
from windrow.model.agentstatus import Claim
from windrow.model.located import located
from windrow.model.machines import VirtualMachineInstance
from windrow.model.problems import lasting
from windrow.model.steps import AskAddr
from windrow.netlink.errors import KernelError
from windrow.status import NodeReport, derive
from windrow.store.paths import Paths


def documents(session: Session) -> tuple[dict[str, Any], ...]:
    """Of what can be read: bad files and a silent kernel are warned of, and the rest is shown. A cluster's are as its
    API has them. Raises KubeError."""
    if session.cluster is not None:
        from windrow.kube.snapshot import listed

        return listed(session.cluster)
    cluster, problems = stored(session)
    complain(lasting(problems), session.error_style)
    report = node_report(session)
    return derive(cluster, [report] if report else [])


def with_running(
    session: Session, found: tuple[dict[str, Any], ...], kinds: Collection[str]
) -> tuple[dict[str, Any], ...]:
    """With the machines of this host as VirtualMachineInstances, where these are among the `kinds` that are asked for:
    what is stored of them says what is wanted, and here is what runs."""
    if session.cluster is not None or VirtualMachineInstance.KIND not in kinds:
        return found
    from windrow.apps.vm.look import instances
    from windrow.apps.vm.site import Site

    site = Site(paths=Paths(session.root), node=session.node)  # silent: what is wrong in the store has been said
    running = {_key(one): one for one in instances(site)}
    stored_ones = {_key(one): one for one in found}
    return tuple((stored_ones | running).values())


def _key(document: Mapping[str, Any]) -> tuple[str, str, str]:
    meta = document["metadata"]
    return document["kind"], meta.get("namespace", ""), meta["name"]


def node_report(session: Session) -> NodeReport | None:
    """None where the kernel cannot be looked at; that is said on standard error."""
    try:
        report = survey(session)
    except KernelError as error:
        click.echo(f"warning: no status is shown: {error}", err=True)
        return None
    agent = agent_status(Paths(session.root))
    return replace(
        report_of(report), agent=agent, claims=agent.claims if agent is not None else claims(session, report)
    )


def claims(session: Session, report: Report) -> tuple[Claim, ...]:
    """Who has the addresses that this host lacks, for no agent says it: they are asked for on their links, where a plan
    would do that before it sets them. Nothing is asked where nothing is missing."""
    links = report.sight.observed.state.links
    steps = [step for step in report.whole.plan.steps if isinstance(step.action, AskAddr)]
    there = [step for step in steps if step.link in links and links[step.link].up]
    asked = [(step.link, step.action.addr.partition("/")[0]) for step in there if isinstance(step.action, AskAddr)]
    if not asked:
        return ()
    with session.site() as site:
        found = site.holders(site.kernel, asked)
    now = time.time()
    return tuple(Claim(link=link, address=address, mac=mac, since=now) for (link, address), mac in found.items())


def report_of(report: Report) -> NodeReport:
    sight, admitted = report.sight, report.admitted
    kept = () if admitted.fresh else located(admitted.problems, admitted.before.objects)
    return NodeReport(
        node=sight.facts.node,
        observed=sight.observed,
        plan=report.whole.plan,
        problems=(*kept, *report.problems, *report.whole.compiled.problems),
        ports=sight.facts.ports,
        leases=sight.facts.leases,
        asking=sight.facts.asking,
        scopes=report.whole.compiled.scopes,
        tunnel_start=report.whole.compiled.tunnel_start,
    )
