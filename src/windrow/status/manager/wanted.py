"""All that the manager has to write now: one function of what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from windrow.model import names, upkeep
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    VlanConfig,
)
from windrow.model.upkeep import Upkeep
from windrow.model.values import Ref
from windrow.model.wire import dump
from windrow.status.linkmonitor import monitor_of
from windrow.status.manager import leftovers, network
from windrow.status.manager.pools import Pools
from windrow.status.manager.routes import Routes
from windrow.status.manager.stored import Apply, Delete, Edit, Situation, Stored, Write

_NIC = Ref(LinkMonitor.KIND, "nic")
_NOTHING = Upkeep()


def wanted(now: Situation) -> tuple[Write, ...]:
    """At most one for each object: what is left of it is written when that one has come back."""
    verdicts, pools = _Verdicts(now), Pools(now) if now.pools else None
    found: dict[Ref, Write] = {}
    for write in (
        *leftovers.writes(now.stored, now.gone, now.overdue),
        *(pools.writes() if pools else ()),
        *_kept(now, verdicts, pools),
        *_made(now, verdicts),
    ):
        found.setdefault(write.ref, write)
    return tuple(found.values())


class _Verdicts:
    """Which cluster networks are ready, each found out once."""

    def __init__(self, now: Situation) -> None:
        self._now = now

    @cached_property
    def of(self) -> Mapping[str, network.Ready]:
        said = network.by_network(self._now.stored.values())
        return {one.name: network.ready(one, said.get(one.name, ())) for one in self._now.cluster.all(ClusterNetwork)}

    def label(self, cn: str) -> bool:
        """The label `ready` of its networks: one that goes, or is not there, is not ready."""
        return cn in self.of and self.of[cn].ready


# What is not there and has to be -----------------------------------------------------------------


def _made(now: Situation, verdicts: _Verdicts) -> Iterator[Write]:
    """The management network; and a monitor of all NICs, and of each cluster network that is ready."""
    mgmt = Ref(ClusterNetwork.KIND, names.MGMT)
    if mgmt not in now.stored:
        document = {**_called(now.cluster.objects[mgmt]), "status": network.status((), network.READY, now.now)}
        yield Apply(ref=mgmt, document=document, make=True)
    monitors = [one for one in now.cluster.all(LinkMonitor) if one.ref == _NIC]
    monitors += [monitor_of(cn) for cn, said in verdicts.of.items() if said.ready]
    for monitor in monitors:
        if monitor.ref not in now.stored:
            yield Apply(ref=monitor.ref, document=dump(monitor), make=True)
    yield from _idle_monitors(now)


def _idle_monitors(now: Situation) -> Iterator[Delete]:
    """Those that were made for a cluster network that is gone. One that somebody wrote has another rule."""
    for monitor in now.cluster.all(LinkMonitor):
        there = now.stored.get(monitor.ref)
        made = monitor.name_rule in (monitor_of(monitor.name).name_rule, f"{monitor.name}(-br|-bo)")
        if there and made and not monitor.meta.deleting and now.cluster.cluster_network(monitor.name) is None:
            yield Delete(ref=monitor.ref, uid=there.uid)


# What is there and has to be kept ----------------------------------------------------------------


def _kept(now: Situation, verdicts: _Verdicts, pools: Pools | None) -> Iterator[Write]:
    nodes = [node for node in now.cluster.nodes() if not node.meta.deleting]
    routes = Routes(now.cluster, now.now)
    for there in now.stored.values():
        obj = there.obj
        if obj.meta.deleting or obj.doubts:
            continue
        match obj:
            case ClusterNetwork():
                yield from _of_network(there, obj, now, verdicts.of[obj.name])
            case VlanConfig() if obj.cluster_network != names.MGMT:
                yield from _kept_so(there, upkeep.of_vlan_config(obj, nodes))
            case HostNetworkConfig():
                yield from _kept_so(there, upkeep.of_host_network(obj, nodes))
            case NetworkAttachmentDefinition():
                kept = upkeep.of_network(obj, now.cluster, verdicts.label(obj.cluster_network or ""))
                labels = {**kept.labels, **(pools.labels(obj) if pools else {})}
                edits = Upkeep(annotations=routes.of(obj), config=kept.config)
                yield from _kept_so(there, Upkeep(labels=labels), edits=edits)
            case _:
                pass  # agents write the rest


def _of_network(there: Stored, obj: ClusterNetwork, now: Situation, said: network.Ready) -> Iterator[Write]:
    kept = Upkeep(annotations=network.annotations_kept(obj, now.cluster))
    status = network.status(there.conditions, said, now.now)
    yield from _kept_so(there, kept, status=status, due=network.differs(there.conditions, said))


def _kept_so(
    there: Stored, kept: Upkeep, *, edits: Upkeep = _NOTHING, status: Mapping[str, Any] | None = None, due: bool = False
) -> Iterator[Write]:
    """`kept`: the manager's own, applied. `edits`: its author's, changed in place, for what is applied and later no
    longer said is removed. `status`: all that is said of it; `due`: it differs from what is there.

    Edits come last: one may be refused for as long as machines run, and that holds up nothing else.
    """
    meta, said = there.obj.meta, {"labels": kept.labels, "annotations": kept.annotations}
    if due or _lacks(kept.labels, meta.labels) or _lacks(kept.annotations, meta.annotations):
        document = _called(there.obj, uid=there.uid)
        for key, wanted in said.items():
            if values := {name: value for name, value in wanted.items() if value is not None}:
                document["metadata"][key] = values
        yield Apply(ref=there.obj.ref, document={**document, **({"status": status} if status else {})})
    elif (edit := _edit(there, kept, edits)) is not None:
        yield edit


def _edit(there: Stored, kept: Upkeep, edits: Upkeep) -> Edit | None:
    meta = there.obj.meta
    changed = {
        "labels": _surplus(kept.labels, meta.labels),
        "annotations": {**_surplus(kept.annotations, meta.annotations), **edits.annotations},
    }
    patch: dict[str, Any] = {key: values for key, values in changed.items() if values}
    whole = {"metadata": patch} if patch else {}
    if edits.config is not None:
        whole["spec"] = {"config": edits.config}
    if not whole:
        return None
    # What somebody else may be writing at this moment is changed only as it was read.
    version = there.version if edits.config is not None or edits.annotations else ""
    return Edit(ref=there.obj.ref, patch=whole, uid=there.uid, version=version)


def _surplus(wanted: Mapping[str, str | None], have: Mapping[str, str]) -> dict[str, None]:
    return {key: None for key, value in wanted.items() if value is None and key in have}


def _lacks(wanted: Mapping[str, str | None], have: Mapping[str, str]) -> bool:
    return any(value is not None and have.get(key) != value for key, value in wanted.items())


def _called(obj: AnyObject, **more: str) -> dict[str, Any]:
    """The start of a document about it."""
    meta: dict[str, Any] = {"name": obj.name, **more}
    if obj.NAMESPACED:
        meta["namespace"] = obj.meta.namespace
    return {"apiVersion": obj.API_VERSION, "kind": obj.KIND, "metadata": meta}
