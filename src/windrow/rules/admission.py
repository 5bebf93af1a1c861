"""check: every rule of every changed object, against the cluster as it will be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    Node,
    VlanConfig,
    VlanStatus,
)
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules import (
    clusternetwork,
    hostnetworkconfig,
    ippool,
    kernel,
    nad,
    nics,
    node,
    virtualmachine,
    virtualmachinenetworkconfig,
    vlanconfig,
)
from windrow.rules.review import Change, Review, selects_some_node

K = TypeVar("K", bound=AnyObject)
Rule = Callable[[K, Review], Iterator[Problem]]


def check(
    before: Cluster,
    changes: Sequence[Change],
    *,
    facts: NodeFacts | None = None,
    unread: Iterable[Ref] = (),
) -> tuple[Problem, ...]:
    """All that speaks against these changes; none, or warnings only: go ahead.

    `facts`: of the node this runs on; without them its NICs and its kernel are not judged. `unread`: objects
    that are known to be there and could not be read (`Loaded.unread`); nobody is told that they are missing.
    """
    review = Review(
        before=before,
        after=_after(before, changes),
        changed=frozenset(change.ref for change in changes),
        facts=facts,
        unread=frozenset(unread),
    )
    return tuple(p for change in changes for p in _judge(change, review))


def _after(before: Cluster, changes: Sequence[Change]) -> Cluster:
    gone = [change.ref for change in changes if change.new is None]
    return before.without(gone).replace(change.new for change in changes if change.new is not None)


def _judge(change: Change, review: Review) -> Iterator[Problem]:
    if change.new is not None:
        yield from _on_put(change.new, review)
    elif isinstance(change.old, ClusterNetwork):
        yield from _run(clusternetwork.ON_DELETE, change.old, review)
    elif isinstance(change.old, NetworkAttachmentDefinition):
        yield from _run(nad.ON_DELETE, change.old, review)
    elif isinstance(change.old, IPPool):
        yield from _run(ippool.ON_DELETE, change.old, review)


def _on_put(obj: AnyObject, review: Review) -> Iterator[Problem]:
    match obj:
        case ClusterNetwork():
            yield from _run(clusternetwork.ON_PUT, obj, review)
        case VlanConfig():
            yield from _run((*vlanconfig.ON_PUT, *nics.ON_PUT, kernel.can_bond_and_filter), obj, review)
        case NetworkAttachmentDefinition():
            yield from _run((*nad.ON_PUT, kernel.can_snoop_by_vlan), obj, review)
        case HostNetworkConfig():
            yield from _run(hostnetworkconfig.ON_PUT, obj, review)
        case Node():
            yield from _run(node.ON_PUT, obj, review)
        case VirtualMachine() | VirtualMachineInstance():
            yield from _run(virtualmachine.ON_PUT, obj, review)
        case IPPool():
            yield from _run(ippool.ON_PUT, obj, review)
        case VirtualMachineNetworkConfig():
            yield from _run(virtualmachinenetworkconfig.ON_PUT, obj, review)
        case LinkMonitor():
            yield from selects_some_node(obj, "spec.nodeSelector", review)
        case VlanStatus():
            pass  # nothing of it can be in anybody's way


def _run(rules: Sequence[Rule[K]], obj: K, review: Review) -> Iterator[Problem]:
    for rule in rules:
        yield from rule(obj, review)
