"""What nobody takes away any more: of nodes that are gone, and finalizers of Harvester's controllers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set

from windrow.model import names
from windrow.model.objects import PER_NODE, Node, VlanConfig
from windrow.model.values import Ref
from windrow.status.manager.stored import Delete, Edit, Stored, Write

FINALIZERS = "wrangler.cattle.io/harvester-network-"
"""How those of Harvester's controllers begin: they wait for an end of work that is done by others now."""
MIRROR = "mgmt-vlanconfig-"
"""How the VlanConfig is called that mirrors the management network of a node; the node's name follows."""


def writes(stored: Mapping[Ref, Stored], gone: Set[str], overdue: Set[Ref]) -> Iterator[Write]:
    for ref, one in stored.items():
        if one.obj.meta.deleting:
            yield from _finalizers(one) if ref in overdue else ()
        elif nodes_of(one) & gone:
            yield _of_gone(one, sorted(one.entries & gone))


def _finalizers(one: Stored) -> Iterator[Edit]:
    """The list is replaced, so only while it is as it was read."""
    left = [finalizer for finalizer in one.finalizers if not finalizer.startswith(FINALIZERS)]
    if len(left) < len(one.finalizers):
        patch = {"metadata": {"finalizers": left}}
        yield Edit(ref=one.obj.ref, patch=patch, uid=one.uid, version=one.version)


def _of_gone(one: Stored, entries: Collection[str]) -> Write:
    if not entries:
        return Delete(ref=one.obj.ref, uid=one.uid)
    patch = {"status": {PER_NODE[one.obj.KIND]: dict.fromkeys(entries)}}
    return Edit(ref=one.obj.ref, patch=patch, uid=one.uid)


def nodes_of(one: Stored) -> frozenset[str]:
    """The nodes that it is of: all of it, or an entry of its status."""
    if one.place is not None:
        return frozenset({one.place[2]} - {""})
    if isinstance(one.obj, VlanConfig) and one.obj.name.startswith(MIRROR) and one.obj.cluster_network == names.MGMT:
        return frozenset({one.obj.name.removeprefix(MIRROR)} - {""})
    return one.entries


def absent(stored: Mapping[Ref, Stored]) -> frozenset[str]:
    """Nodes that objects speak of and that are not there. Where no node is there at all, nobody knows any."""
    there = {ref.name for ref in stored if ref.kind == Node.KIND}
    if not there:
        return frozenset()
    return frozenset().union(*(nodes_of(one) for one in stored.values())) - there


def waiting(stored: Mapping[Ref, Stored]) -> frozenset[Ref]:
    """Objects that go, and wait for one of Harvester's controllers."""
    return frozenset(
        ref
        for ref, one in stored.items()
        if one.obj.meta.deleting and any(finalizer.startswith(FINALIZERS) for finalizer in one.finalizers)
    )
