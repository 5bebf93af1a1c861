"""IPPool and VirtualMachineNetworkConfig, as Harvester's DHCP controllers would have left them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from windrow.compile.pools import machine_configs
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.pools import IPPool, NetworkConfig, Scope, VirtualMachineNetworkConfig
from windrow.model.values import Mac
from windrow.status.report import NodeReport

LABEL_VM_NAME = "harvesterhci.io/vmName"
Given = Mapping[tuple[str, Mac], str]
"""Network and MAC address -> the address that it has there."""


def pool_status(pool: IPPool, scopes: Iterable[Scope]) -> dict[str, Any]:
    """Empty where its scope is none of these."""
    scope = next((s for s in scopes if s.pool.ref == pool.ref), None)
    if scope is None:
        return {}
    waiting = [f"{w.applicant.mac} ({w.applicant.owner}): {w.reason}" for w in scope.waiting]
    conditions = [
        {"type": "Registered", "status": "True"},
        {"type": "CacheReady", "status": "True"},
        {"type": "Stopped", "status": str(pool.paused)},
    ]
    if waiting:
        more = f"; and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        conditions.append({"type": "Allocated", "status": "False", "reason": "Waiting", "message": waiting[0] + more})
    return {"ipv4": scope.status(), "conditions": conditions}


def given(scopes: Iterable[Scope]) -> Given:
    return {(s.pool.network, r.mac): r.address for s in scopes for r in s.reservations}


def config_status(config: VirtualMachineNetworkConfig, given: Given) -> dict[str, Any]:
    def state(entry: NetworkConfig) -> dict[str, str]:
        address = "" if config.paused else given.get((entry.network, entry.mac), "")
        found = {"macAddress": str(entry.mac), "networkName": entry.network}
        return found | ({"allocatedIPAddress": address, "state": "Allocated"} if address else {"state": "Pending"})

    states = [state(entry) for entry in config.network_configs]
    allocated = all(one["state"] == "Allocated" for one in states)
    conditions = [
        {"type": "Allocated", "status": str(allocated and not config.paused)},
        {"type": "Disabled", "status": str(config.paused)},
        {"type": "InSynced", "status": "True"},
    ]
    return {"networkConfigs": states, "conditions": conditions}


def config_labels(config: VirtualMachineNetworkConfig) -> dict[str, str]:
    return {LABEL_VM_NAME: names.label_value(config.vm_name)}


def made_configs(cluster: Cluster) -> list[VirtualMachineNetworkConfig]:
    """Those of machines for which no manifest speaks."""
    there = {(c.meta.namespace, c.vm_name) for c in cluster.all(VirtualMachineNetworkConfig)}
    made = (c for c in machine_configs(cluster) if c.ref not in cluster.objects)
    return [c for c in made if (c.meta.namespace, c.vm_name) not in there]


def network_labels(nad: NetworkAttachmentDefinition, cluster: Cluster) -> dict[str, str]:
    for pool in cluster.all(IPPool):
        if pool.network == f"{nad.meta.namespace}/{nad.name}":
            return {names.LABEL_POOL_NAMESPACE: pool.meta.namespace, names.LABEL_POOL_NAME: pool.name}
    return {}


def scopes_of(reports: Sequence[NodeReport]) -> tuple[Scope, ...]:
    """As the first node has recorded them that was looked at."""
    return next((report.scopes for report in reports if report.scopes), ())
