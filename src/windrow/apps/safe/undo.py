"""The way back: a plan towards what was there before, by the same planner; then the manifests.

The network first: whatever is wrong with the disk, the host shall be reached again. Everything here may be cut off and
done once more.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

from windrow.apps.engine import MAX_ROUNDS, Kernel, Waiting, execute, look, plan_node
from windrow.apps.kept import keep
from windrow.apps.known import known
from windrow.apps.safe.ground import Ground
from windrow.apps.safe.telling import tell
from windrow.compile.facts import protected_links
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.cluster import Cluster
from windrow.model.host import Bridge, HostState, Link, Observed, Other
from windrow.model.objects import AnyObject
from windrow.model.ports import PORT_GROUP
from windrow.model.problems import WindrowError
from windrow.model.steps import Plan
from windrow.model.values import IfName
from windrow.model.wire import json_text, load_documents
from windrow.plan import aged, make_plan
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.directory import Store
from windrow.store.paths import Paths

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


def undo(
    ground: Ground, kernel: Kernel, checkpoint: Checkpoint, said: str, *, waiting: Waiting = nullcontext
) -> Undone | None:
    """Back to `checkpoint`; the caller has the host's locks. None: somebody else has decided on it, or it is no longer
    there; then nothing is done. `said`: why, for people.

    Where the manifests cannot be written the checkpoint stays pending: what they now ask for is not to be done again.
    """
    file = Checkpoints(ground.paths)
    if file.move(checkpoint.id, Stage.UNDOING, since=PENDING, said=said) is None:
        return None
    steps, left = rewind(kernel, checkpoint.want, waiting=waiting)
    wrong = restore(ground, kernel, checkpoint)
    if wrong:
        left = f"{left}; {wrong}" if left else wrong
        file.move(checkpoint.id, Stage.UNDOING, since=PENDING, said=f"{said}; {left}")
    else:
        file.move(checkpoint.id, Stage.UNDONE, since=PENDING, said=f"{said}; {left}" if left else said)
    why = f"{said}; {left}" if left else said
    tell(ground, "ChangeUndone", f"the change by `{checkpoint.made_by}` was undone: {why}")
    return Undone(steps=steps, said=said, left=left)


def rewind(kernel: Kernel, want: HostState, *, waiting: Waiting = nullcontext) -> tuple[int, str]:
    """The kernel's part: (steps done, what is left in words). Raises nothing but what the kernel's socket does."""
    steps, plan = 0, Plan()
    for _ in range(MAX_ROUNDS):
        plan = plan_back(want, kernel.observe())
        if not plan.steps:
            break
        steps += sum(execute(plan, kernel, waiting=waiting).done.values())
    plan = plan_back(want, kernel.observe())
    return steps, _left(plan)


def plan_back(want: HostState, observed: Observed) -> Plan:
    """Towards `want`. Ports of containers on a bridge that goes are set free: they must not hold the host up."""
    ports = {
        name: Link(name=name, spec=Other(kind=link.kind), master="")
        for name, link in observed.state.links.items()
        if _stands_on_what_goes(name, link, want, observed)
    }
    want = aged(want, boot.seconds())
    wanted = replace(want, links={**want.links, **ports})
    return make_plan(wanted, observed, protected=protected_links(observed), consent=True)


def _stands_on_what_goes(name: IfName, link: Link, want: HostState, observed: Observed) -> bool:
    bridge = observed.state.links.get(IfName(link.master or ""))
    if bridge is None or not isinstance(bridge.spec, Bridge) or observed.runtime[name].group != PORT_GROUP:
        return False
    return observed.owned(bridge.name) and bridge.name not in want.links


def _left(plan: Plan) -> str:
    found = [f"{d.link}: {d.field}" for unit in plan.units for d in unit.deltas if unit.steps or unit.refusals]
    why = [problem.message for problem in plan.refusals]
    return "; ".join([f"not as it was: {', '.join(dict.fromkeys(found))}", *why]) if found or why else ""


def restore(ground: Ground, kernel: Kernel, checkpoint: Checkpoint) -> str:
    """The manifests' part; what is wrong, in words."""
    store = Store(ground.paths)
    try:
        store.put(o for document in checkpoint.documents.values() if document for o in _objects(document))
        store.remove(ref for ref, document in checkpoint.documents.items() if document is None)
        remember(ground, kernel)
    except WindrowError as error:
        return f"the manifests are not as they were: {error}"
    return ""


def _objects(document: object) -> tuple[AnyObject, ...]:
    return load_documents(json_text(document)).objects


def remember(ground: Ground, kernel: Kernel) -> None:
    """What the disk keeps of the manifests, for others. Raises WindrowError."""
    paths: Paths = ground.paths
    cluster = Cluster.of(Store(paths).load().objects)
    sight = look(kernel, ground.node, known(paths))
    keep(paths, cluster, sight.observed, plan_node(cluster, sight).compiled.memory)
