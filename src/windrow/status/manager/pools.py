"""IPPools and VirtualMachineNetworkConfigs: who has which address.

A pool's status is the record of what was given, and there is no other one: it is changed only as it was read
(`resourceVersion`), so that two managers never give an address twice, and nodes serve what is in it and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from windrow.compile.pools import machine_configs, scopes
from windrow.model import names
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.pools import VirtualMachineNetworkConfig
from windrow.model.values import Ref
from windrow.model.wire import dump
from windrow.status.manager.stored import Apply, Edit, Situation, Stored, Write
from windrow.status.pools import config_labels, config_status, given, pool_status


class Pools:
    """Of one situation."""

    def __init__(self, now: Situation) -> None:
        self._now = now
        found = scopes(now.cluster, {})
        self._of_network = {scope.pool.network: scope.pool for scope in reversed(found)}
        """The first one gives, where a network has several (`applicants_of`)."""
        self._unread = {scope.pool.network for scope in found if scope.pool.doubts}
        """Networks of pools that are read in part: by that part others would have the addresses."""
        self._scopes = [scope for scope in found if scope.pool.network not in self._unread]

    def labels(self, nad: NetworkAttachmentDefinition) -> dict[str, str | None]:
        """By which Harvester's controllers and its UI find the pool of a network; none: it has no pool."""
        pool = self._of_network.get(f"{nad.meta.namespace}/{nad.name}")
        place = (pool.meta.namespace, pool.name) if pool is not None else (None, None)
        return dict(zip((names.LABEL_POOL_NAMESPACE, names.LABEL_POOL_NAME), place, strict=True))

    def writes(self) -> Iterator[Write]:
        for scope in self._scopes:
            there = self._now.stored.get(scope.pool.ref)
            if there is not None and not there.obj.meta.deleting:
                yield from self._status(there, pool_status(scope.pool, [scope]))
        addresses = given(self._scopes)
        for config in self._now.cluster.all(VirtualMachineNetworkConfig):
            there = self._now.stored.get(config.ref)
            decided = self._unread.isdisjoint(entry.network for entry in config.network_configs)
            if there is not None and decided and not config.meta.deleting:
                yield from self._status(there, config_status(config, addresses))
        yield from self._configs()

    def _configs(self) -> Iterator[Apply]:
        """One for each machine, as long as nobody else speaks for it; it follows its machine, and goes with it."""
        spoken = {(c.meta.namespace, c.vm_name): c for c in self._now.cluster.all(VirtualMachineNetworkConfig)}
        for config in machine_configs(self._now.cluster):
            known = spoken.get((config.meta.namespace, config.vm_name))
            if known is None:
                due = config.ref not in self._now.cluster.objects  # else it speaks for another machine
            else:
                due = _is_made(known) and known.network_configs != config.network_configs
            if due:
                yield from self._made(config, known)

    def _made(self, config: VirtualMachineNetworkConfig, known: VirtualMachineNetworkConfig | None) -> Iterator[Apply]:
        machine = self._now.stored.get(Ref("VirtualMachine", config.vm_name, config.meta.namespace))
        if machine is None or machine.obj.meta.deleting or machine.obj.doubts:
            return
        document = dict(dump(known or config)) | {"spec": dump(config)["spec"]}
        owner = {"kind": machine.obj.KIND, "name": machine.obj.name, "uid": machine.uid}
        meta: dict[str, Any] = {
            "name": (known or config).name,
            "namespace": config.meta.namespace,
            "labels": config_labels(config),
            "ownerReferences": [{"apiVersion": machine.obj.API_VERSION, **owner}],
        }
        if known is not None:
            meta["uid"] = self._now.stored[known.ref].uid
        yield Apply(ref=(known or config).ref, document={**document, "metadata": meta}, make=known is None)

    def _status(self, there: Stored, wanted: Mapping[str, Any]) -> Iterator[Edit]:
        if wanted and _differs(there.status, wanted):
            status = {**wanted, "conditions": self._stamped(wanted["conditions"], there.status.get("conditions"))}
            if "ipv4" in wanted:
                had = _given(there.status)
                gone = dict.fromkeys(had.keys() - wanted["ipv4"]["allocated"].keys())
                status["ipv4"] = {**wanted["ipv4"], "allocated": {**gone, **wanted["ipv4"]["allocated"]}}
                status["lastUpdate"] = self._now.now
            yield Edit(ref=there.obj.ref, patch={"status": status}, uid=there.uid, version=there.version)

    def _stamped(self, wanted: Sequence[Mapping[str, str]], there: object) -> list[dict[str, str]]:
        """Each says since when it is so."""
        known = {str(one.get("type")): one for one in (there if isinstance(there, list) else ())}
        found = []
        for one in wanted:
            old = known.get(one["type"], {})
            same = old.get("status") == one["status"] and old.get("lastTransitionTime")
            since = str(old["lastTransitionTime"]) if same else self._now.now
            found.append({**one, "lastTransitionTime": since, "lastUpdateTime": self._now.now})
        return found


def _is_made(config: VirtualMachineNetworkConfig) -> bool:
    """As a controller makes it: one that asks for an address is its author's."""
    return config.name == config.vm_name and not any(one.address for one in config.network_configs)


def _given(status: Mapping[str, Any]) -> Mapping[str, Any]:
    match status:
        case {"ipv4": {"allocated": dict(found)}}:
            return found
        case _:
            return {}


def _differs(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """In more than times."""
    return _plain(there, wanted) != dict(wanted)


def _plain(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is there, what is said; conditions without their times."""
    found = {key: there.get(key) for key in wanted if key != "conditions"}
    said = there.get("conditions")
    conditions = [one for one in said if isinstance(one, Mapping)] if isinstance(said, list) else []
    kept = [
        {key: str(one[key]) for key in ("type", "status", "reason", "message") if one.get(key)} for one in conditions
    ]
    return {**found, "conditions": kept}
