"""check: every rule of every changed object, against the cluster as it will be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.kubeovn import Subnet, Vpc
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
from windrow.model.policies import MultiNetworkPolicy, Namespace, NetworkPolicy, Pod
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules import (
    clusternetwork,
    hostnetworkconfig,
    ippool,
    kernel,
    kubeovn,
    nad,
    networkpolicy,
    nics,
    node,
    underlay,
    virtualmachine,
    virtualmachinenetworkconfig,
    vlanconfig,
)
from windrow.rules.meta import labels_are_as_kubernetes_takes_them
from windrow.rules.review import Change, Review, selects_some_node
from windrow.rules.terms import ON_HOST, Terms

K = TypeVar("K", bound=AnyObject)
Rule = Callable[[K, Review], Iterator[Problem]]


def check(
    before: Cluster,
    changes: Sequence[Change],
    *,
    facts: NodeFacts | None = None,
    unread: Iterable[Ref] = (),
    terms: Terms = ON_HOST,
) -> tuple[Problem, ...]:
    """All that speaks against these changes; none, or warnings only: go ahead.

    `facts`: of the node this runs on; without them its NICs and its kernel are not judged. `unread`: objects
    that are known to be there and could not be read (`Loaded.unread`); nobody is told that they are missing. `before`
    may hold them as far as they could be read (`Object.doubts`).
    """
    review = Review(
        before=before,
        after=_after(before, changes),
        changed=frozenset(change.ref for change in changes),
        facts=facts,
        unread=frozenset(unread),
        terms=terms,
    )
    judge = _fresh if terms.served else _judge
    return tuple(p for change in changes for p in judge(change, review))


def _fresh(change: Change, review: Review) -> Iterator[Problem]:
    """What this change is to blame for. An object that only waits for its last finalizer may be changed in any way, and
    what was said of it before is no reason to refuse what does not touch that."""
    if change.old is not None and change.new is not None and review.leaving(change.old):
        return
    yield from _asker(change, review)
    said = tuple(_judge(change, review))
    known: set[Problem] = set()
    if said and change.old is not None and change.new is not None:
        known = set(_judge(Change(change.old, change.old), replace(review, after=review.before)))
    yield from (p for p in said if p not in known)


def _asker(change: Change, review: Review) -> Iterator[Problem]:
    """Whether whoever asks may touch it at all, as it was and as it is to be."""
    obj = change.new or change.old
    if isinstance(obj, VlanConfig):
        yield from _run(vlanconfig.ON_ASKING, obj, review)


def _after(before: Cluster, changes: Sequence[Change]) -> Cluster:
    gone = [change.ref for change in changes if change.new is None]
    left = before.without(gone) if gone else before
    return left.replace(change.new for change in changes if change.new is not None)


def _judge(change: Change, review: Review) -> Iterator[Problem]:
    if change.new is not None:
        yield from _on_put(change.new, review)
        if review.terms.served:
            yield from _on_served_put(change.new, review)
        else:  # an API server has seen to that itself
            yield from labels_are_as_kubernetes_takes_them(change.new, review)
    elif change.old is not None:
        yield from _on_delete(change.old, review)
        if review.terms.served:
            yield from _on_served_delete(change.old, review)


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
        case MultiNetworkPolicy():
            yield from _run(networkpolicy.ON_PUT, obj, review)
        case VlanStatus() | Namespace() | Pod() | NetworkPolicy() | Subnet() | Vpc():
            pass  # nothing of it can be in anybody's way


def _on_delete(obj: AnyObject, review: Review) -> Iterator[Problem]:
    match obj:
        case ClusterNetwork():
            yield from _run(clusternetwork.ON_DELETE, obj, review)
        case NetworkAttachmentDefinition():
            yield from _run(nad.ON_DELETE, obj, review)
        case IPPool():
            yield from _run(ippool.ON_DELETE, obj, review)
        case _:
            pass  # nothing of the others is missed by objects


def _on_served_put(obj: AnyObject, review: Review) -> Iterator[Problem]:
    match obj:
        case ClusterNetwork():
            yield from _run(clusternetwork.ON_SERVED_PUT, obj, review)
        case VlanConfig():
            yield from _run(vlanconfig.ON_SERVED_PUT, obj, review)
        case NetworkAttachmentDefinition():
            yield from _run(nad.ON_SERVED_PUT, obj, review)
        case HostNetworkConfig():
            yield from _run(underlay.ON_SERVED_PUT, obj, review)
        case Subnet():
            yield from _run(kubeovn.ON_SERVED_PUT, obj, review)
        case _:
            pass


def _on_served_delete(obj: AnyObject, review: Review) -> Iterator[Problem]:
    match obj:
        case VlanConfig():
            yield from _run(vlanconfig.ON_SERVED_DELETE, obj, review)
        case NetworkAttachmentDefinition():
            yield from _run(nad.ON_SERVED_DELETE, obj, review)
        case HostNetworkConfig():
            yield from _run(underlay.ON_SERVED_DELETE, obj, review)
        case Vpc():
            yield from _run(kubeovn.ON_SERVED_DELETE, obj, review)
        case _:
            pass


def _run(rules: Sequence[Rule[K]], obj: K, review: Review) -> Iterator[Problem]:
    """Of a value that could not be read, the reader has said what there is to say."""
    for rule in rules:
        yield from (found for found in rule(obj, review) if not found.path or obj.knows(found.path))
