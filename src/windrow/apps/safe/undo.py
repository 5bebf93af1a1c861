"""The way back: a plan towards what was there before, by the same planner; then the manifests.

The network first: whatever is wrong with the disk, the host shall be reached again. Everything here may be cut off and
done once more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace

from windrow.apps.engine import MAX_ROUNDS, Kernel, Waiting, cluster_networks, execute, look, with_policies
from windrow.apps.known import known, recorded
from windrow.apps.safe.telling import tell
from windrow.apps.site import Site
from windrow.compile import compile_node
from windrow.compile.facts import protected_links
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.cluster import Cluster
from windrow.model.filters import Filters, FiltersSeen
from windrow.model.host import Bridge, HostState, Link, Observed, Other
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject
from windrow.model.ports import PORT_GROUP
from windrow.model.problems import WindrowError
from windrow.model.steps import Plan
from windrow.model.values import IfName
from windrow.model.wire import json_text, load_documents
from windrow.plan import aged, make_plan
from windrow.rules.admit import named
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.clusternetworks import write_cluster_networks
from windrow.store.directory import Store
from windrow.store.errors import StoreError
from windrow.store.history import History
from windrow.store.lastgood import read_last_good
from windrow.store.manifests import ManifestFiles
from windrow.store.memory import read_memory, write_memory

ANNOUNCED_S = 2.0
"""Whoever undoes may end right after it, and its announcements with it (the watchdog): they take 0.8 s."""
PENDING = (Stage.CHANGING, Stage.WAITING, Stage.UNDOING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """`steps`: how many it took. `left`: what could not be undone, in words; empty: all is as it was."""

    steps: int
    said: str
    left: str = ""

    @property
    def ok(self) -> bool:
        return not self.left


def undo(site: Site, checkpoint: Checkpoint, said: str, *, waiting: Waiting = nullcontext) -> Undone | None:
    """Back to `checkpoint`; the caller has the host's locks. None: somebody else has decided on it, or it is no longer
    there; then nothing is done. `said`: why, for people.

    Where not all is as it was, links or manifests, the checkpoint stays UNDOING: watchdog, agent, commands and the next
    start of the host try again, and until then nobody takes what is there for what is wanted.
    """
    file = Checkpoints(site.paths)
    if file.move(checkpoint.id, Stage.UNDOING, since=PENDING, said=said) is None:
        return None
    steps, left = rewind(site, checkpoint.want, waiting=waiting)
    wrong = restore(site, checkpoint)
    left = "; ".join(filter(None, (left, wrong)))
    stage = Stage.UNDOING if left else Stage.UNDONE
    file.move(checkpoint.id, stage, since=PENDING, left=left, tried=boot.seconds())
    if not left:
        text = f"the change by `{checkpoint.made_by}` was undone: {said}"
        tell(site.paths, site.node, "ChangeUndone", text, now=site.clock())
    elif checkpoint.left != left:
        text = f"the change by `{checkpoint.made_by}` could not be undone in full: {said}; {left}"
        tell(site.paths, site.node, "ChangeNotUndone", text, now=site.clock())
    return Undone(steps=steps, said=said, left=left)


def rewind(site: Site, want: HostState, *, waiting: Waiting = nullcontext) -> tuple[int, str]:
    """The kernel's part, and what it changes is announced: (steps done, what is left in words). The rules of ports come
    last: programs make them, and may take their time. Raises nothing but what the kernel's socket does."""
    kernel = site.kernel
    with site.announcing(kernel, site.paths, lambda _: None, ANNOUNCED_S):
        steps, left = _rewound(kernel, replace(want, filters={}, policies=None), kernel.observe, waiting)
        if filters := _still_wanted(site, want.filters):
            wanted = replace(want, filters=filters, policies=None)
            more, left = _rewound(kernel, wanted, lambda: _seen(site, filters), waiting)
            steps += more
        if want.policies is not None and (not want.policies.empty or read_memory(site.paths).policed):
            more, said = _rewound(kernel, replace(want, filters={}), lambda: _policed(kernel), waiting)
            steps, left = steps + more, "; ".join(filter(None, (left, said)))
    return steps, left


def _rewound(kernel: Kernel, want: HostState, seen: Callable[[], Observed], waiting: Waiting) -> tuple[int, str]:
    """The way to this host first; a step that the kernel refuses stops none of the others."""
    steps, observed = 0, seen()
    plan = plan_back(want, observed)
    for _ in range(MAX_ROUNDS):
        if not plan.steps:
            break
        done = sum(execute(plan, kernel, waiting=waiting, go_on=True).done.values())
        steps += done
        observed = seen()
        plan = plan_back(want, observed)
        if not done:
            break
    unread = f"the rules of ports cannot be looked at: {observed.filters_unread}" if observed.filters_unread else ""
    return steps, "; ".join(filter(None, (_left(plan), unread)))


def _still_wanted(site: Site, filters: Filters) -> Filters:
    """Of the rules that there were, those that the record of their port still asks for: a CNI call may have taken the
    port away since, or made another one of that name."""
    if not filters:
        return {}
    asked = {record.host: wanted for record in recorded(site.paths) if (wanted := record.filter) is not None}
    return {
        port: one
        for port, one in filters.items()
        if port in asked and asked[port].owner == one.owner and one.parts.items() <= asked[port].parts.items()
    }


def _seen(site: Site, filters: Filters) -> Observed:
    """With these rules. Records, links, rules, in this order (`engine.look`)."""
    known_ports = [record.key for record in recorded(site.paths)]
    observed = site.kernel.observe()
    there = {port: one for port, one in filters.items() if port in observed.state.links}
    found = site.kernel.filters(there, known_ports, observed.state.links.keys()) if there else FiltersSeen()
    rules = {port: one for port, one in found.filters.items() if port in there}
    return replace(observed, state=replace(observed.state, filters=rules), filters_unread=found.unread)


def _policed(kernel: Kernel) -> Observed:
    return with_policies(kernel.observe(), kernel, policed=True)


def plan_back(want: HostState, observed: Observed) -> Plan:
    """Towards `want`. Ports of containers on a bridge that goes are set free: they must not hold the host up."""
    ports = {
        name: Link(name=name, spec=Other(kind=link.kind), master="")
        for name, link in observed.state.links.items()
        if _stands_on_what_goes(name, link, want, observed)
    }
    want = aged(want, boot.seconds())
    wanted = replace(want, links={**want.links, **ports})
    protected = protected_links(observed)
    plan = make_plan(wanted, observed, protected=protected, consent=True)
    first = protected | {r.dev for r in want.routes if r.dst == "default" and r.dev}
    return replace(plan, units=tuple(sorted(plan.units, key=lambda unit: not first & set(unit.links))))


def _stands_on_what_goes(name: IfName, link: Link, want: HostState, observed: Observed) -> bool:
    bridge = observed.state.links.get(IfName(link.master or ""))
    if bridge is None or not isinstance(bridge.spec, Bridge) or observed.runtime[name].group != PORT_GROUP:
        return False
    return observed.owned(bridge.name) and bridge.name not in want.links


def _left(plan: Plan) -> str:
    found = [f"{d.link}: {d.field}" for unit in plan.units for d in unit.deltas if unit.steps or unit.refusals]
    why = [problem.message for problem in plan.refusals]
    return "; ".join([f"not as it was: {', '.join(dict.fromkeys(found))}", *why]) if found or why else ""


def restore(site: Site, checkpoint: Checkpoint) -> str:
    """The manifests' part; what is wrong, in words."""
    store = Store(site.paths)
    try:
        store.put(o for document in checkpoint.documents.values() if document for o in _objects(document))
        store.remove(ref for ref, document in checkpoint.documents.items() if document is None)
        _remember(site, _wanted_again(site))
    except WindrowError as error:
        return f"the manifests are not as they were: {error}"
    with suppress(StoreError):  # it is for people, and no reason to call the way back incomplete
        History(site.paths).forget_since(checkpoint.made)
    return ""


def _wanted_again(site: Site) -> Cluster:
    """What is stored; where there is nothing (the objects are a cluster's), or files cannot be read, with the last good
    state. A file that cannot be read, a link to nothing for example, must not keep an undo from its end."""
    found = ManifestFiles(site.paths).found(site.clock(), patient=False)
    objects = {o.ref: o for o in found.loaded.objects}
    if found.lost or found.doubted:
        with suppress(StoreError):
            good = read_last_good(site.paths)
            objects = {**({o.ref: o for o in good.objects} if good is not None else {}), **objects}
    return Cluster.of(objects.values())


def _remember(site: Site, cluster: Cluster) -> None:
    """What the next look is to know: the addresses that were put on bridges are those of before again."""
    sight = named(look(site.kernel, site.node, known(site.paths)), cluster)
    write_cluster_networks(site.paths, cluster_networks(cluster, sight.observed))
    write_memory(site.paths, compile_node(cluster, sight.facts).memory)


def _objects(document: object) -> tuple[AnyObject, ...]:
    return load_documents(json_text(document)).objects
