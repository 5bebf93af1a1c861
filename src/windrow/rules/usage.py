"""Who uses a network: the machines that run, wherever they do, and the networks of Harvester itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.machines import AnyMachine, VirtualMachine, VirtualMachineInstance
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.rules.review import Review

M = TypeVar("M", bound=AnyMachine)


def machines(cluster: Cluster) -> tuple[AnyMachine, ...]:
    return (*cluster.all(VirtualMachine), *cluster.all(VirtualMachineInstance))


def _on(networks: Iterable[NetworkAttachmentDefinition], of: Iterable[M]) -> list[M]:
    """Those of the machines that have a NIC in one of these networks."""
    wanted = {f"{nad.meta.namespace}/{nad.name}" for nad in networks}
    return [one for one in of if any(network.nad in wanted for network in one.spec.networks)] if wanted else []


def users(nad: NetworkAttachmentDefinition, cluster: Cluster) -> list[AnyMachine]:
    """Machines that name it, whether they run or not."""
    return _on([nad], machines(cluster))


def running(networks: Iterable[NetworkAttachmentDefinition], review: Review) -> list[VirtualMachineInstance]:
    """Machines that run, on whatever node, with a NIC in one of these networks."""
    return _on(networks, review.after.all(VirtualMachineInstance))


def networks_of(cn: str, cluster: Cluster) -> list[NetworkAttachmentDefinition]:
    """The networks of a cluster network; of one whose configuration cannot be read, its label says so."""
    unclear = [nad for nad in cluster.all(NetworkAttachmentDefinition) if nad.type is None and nad.doubts]
    labelled = [nad for nad in unclear if nad.meta.labels.get(names.LABEL_CLUSTERNETWORK) == cn]
    return [*cluster.nads(cn), *labelled]


def on_overlays(review: Review) -> list[AnyMachine]:
    """Machines, whether they run or not, with a NIC in some overlay."""
    networks = review.after.all(NetworkAttachmentDefinition)
    return _on((nad for nad in networks if nad.type is NetworkType.OVERLAY), machines(review.after))


def is_system(nad: NetworkAttachmentDefinition) -> bool:
    """Whether it is Harvester's own: the storage network, the one of shared volumes."""
    marked = any(nad.meta.annotations.get(key) == "true" for key in names.ANNOTATIONS_SYSTEM_NETWORK)
    called = nad.name.startswith(names.SYSTEM_NETWORK_PREFIXES)
    return nad.meta.namespace == names.SYSTEM_NAMESPACE and (marked or called)


def system_networks(cn: str, review: Review) -> list[NetworkAttachmentDefinition]:
    """Those of a cluster network that stay."""
    return [nad for nad in review.staying(networks_of(cn, review.after)) if is_system(nad)]
