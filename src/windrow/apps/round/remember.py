"""remember: what the disk keeps of a round, for those who come later. Each part by itself, for a disk may refuse."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from windrow.apps.engine import cluster_networks
from windrow.apps.round.report import Report
from windrow.apps.round.stored import Stored
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint
from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
from windrow.model.pools import record_of
from windrow.model.problems import WindrowError, errors
from windrow.model.values import IfName, Ref
from windrow.plan import WAYS
from windrow.rules import Planned
from windrow.store.clusternetworks import write_cluster_networks
from windrow.store.directory import Store
from windrow.store.judged import write_judged
from windrow.store.lastgood import read_last_good, write_last_good
from windrow.store.memory import read_memory, write_memory
from windrow.store.paths import Paths
from windrow.store.poolrecord import write_record

Troubles = dict[str, WindrowError | OSError | None]
LAST_GOOD, CHECKPOINT = "last good state", "checkpoint"


def remember(
    site: Site, stored: Stored, report: Report, failed: frozenset[Ref], *, good: bool, aside: bool
) -> Troubles:
    """`good`: what was carried out is decided on, so this host comes up from it. `failed`: the objects that were not
    carried out, and stay as they were. `aside`: as in `Policy`; what somebody else carried out is written anew in any
    case, and so whoever looks again and again hears of it."""
    paths, cluster = site.paths, report.admitted.target
    found: Troubles = {}
    names = cluster_networks(cluster, report.sight.observed)
    _try(found, "cluster networks", lambda: write_cluster_networks(paths, names))
    _try(found, "memory", lambda: write_memory(paths, report.left.compiled.memory))
    tell_judged(site, report)
    record = record_of(report.left.compiled.scopes)
    if record or paths.pool_record.exists():
        _try(found, "addresses of pools", lambda: write_record(paths, record))
    if good and report.admitted.cluster is not None:
        before = stored.good()
        node = report.admitted.sight.facts.node
        now = _good_after(_from_store(cluster, stored, site), before, failed)
        by_hand = report.converged is not None and not aside
        if by_hand or before is None or stored.was != node or _documents(now) != _documents(before):
            _try(found, LAST_GOOD, lambda: write_last_good(paths, _written(now), site.clock(), node=node))
            if found[LAST_GOOD] is None:
                stored.wrote(now, node)
    return found


def to_give(site: Site, planned: Planned) -> None:
    """Before it is carried out, the addresses that are to be set are written down as ours, and that there are rules of
    network policies: whoever is killed in between leaves nothing behind that nobody knows. A disk that refuses is no
    reason to repair nothing."""
    before, wanted = read_memory(site.paths), planned.compiled.memory
    names = (*before.given, *wanted.given)
    both = {name: before.given.get(name, frozenset()) | wanted.given.get(name, frozenset()) for name in names}
    policed, judges = before.policed or wanted.policed, before.judges or wanted.judges
    with suppress(WindrowError, OSError):
        write_memory(site.paths, replace(before, given=both, policed=policed, judges=judges))


def tell_judged(site: Site, report: Report) -> None:
    """For the CNI calls that wait for their port to be judged. One that is not told goes on by itself in the end."""
    if (table := report.sight.observed.state.policies) is not None:
        with suppress(WindrowError, OSError):
            write_judged(site.paths, table)


def confirmed(paths: Paths, checkpoint: Checkpoint, now: float) -> None:
    """Somebody confirmed a change: its objects, as they are stored, are good. Raises StoreError."""
    loaded = Store(paths).readable()
    stored = Cluster.of(loaded.objects)
    found = read_last_good(paths)
    if found is None:
        good = stored
    else:
        there = [ref for ref in checkpoint.documents if ref in stored.objects]
        # What is missing may be in a file that cannot be read.
        unsure = any(p.about is None for p in errors(loaded.problems))
        before = Cluster.of(found.objects).without(there if unsure else checkpoint.documents)
        good = before.replace(stored.objects[ref] for ref in there)
    write_last_good(paths, _written(good), now, node=found.node if found is not None else "")


def _from_store(cluster: Cluster, stored: Stored, site: Site) -> Cluster:
    """Each object with the file that it is in now, which may not be the one that it came from."""
    now = {o.ref: o for o in stored.found(site.clock()).loaded.objects}
    return cluster.replace(now[ref] for ref, o in cluster.objects.items() if ref in now and now[ref] == o)


def _written(cluster: Cluster) -> list[AnyObject]:
    """What is built in comes back by itself."""
    builtin = Cluster.of(()).objects
    return [obj for ref, obj in cluster.objects.items() if obj != builtin.get(ref)]


def _try(found: Troubles, what: str, write: Callable[[], object]) -> None:
    try:
        write()
        found[what] = None
    except (WindrowError, OSError) as error:
        found[what] = error


def not_done(report: Report, failing: frozenset[IfName]) -> frozenset[Ref]:
    """The objects that want what was refused, or failed on these links. An untagged address is on a bridge that is
    somebody else's first."""
    undone = [u for u in report.left.plan.units if u.refusals or failing & set(u.links)]
    deltas = [delta for unit in undone for delta in unit.deltas]
    links = report.left.compiled.state.links
    origins = (links[d.link].origin for d in deltas if d.field in WAYS and d.link in links)
    return frozenset({d.why for d in deltas if d.why is not None}.union(*origins))


def _good_after(accepted: Cluster, good: Cluster | None, failed: frozenset[Ref]) -> Cluster:
    """The cluster that the node was brought to: without what could not be carried out, which stays as it was."""
    if not failed:
        return accepted
    before = good.objects if good is not None else {}
    kept = [o for ref, o in accepted.objects.items() if ref not in failed]
    return Cluster.of([*kept, *(o for ref, o in before.items() if ref in failed)])


def _documents(cluster: Cluster) -> dict[Ref, tuple[str, object]]:
    """Fields that Windrow does not know count too: they are shown, and kept."""
    return {ref: (obj.source.file, obj.doc or obj) for ref, obj in cluster.objects.items()}
