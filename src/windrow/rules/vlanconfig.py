"""VlanConfig: one per cluster network on a node, one MTU per cluster network, and each NIC in one bond at most."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import VlanConfig
from windrow.model.problems import Problem
from windrow.model.values import MTU_DEFAULT
from windrow.rules.clusternetwork import annotated_mtu
from windrow.rules.review import Review, cluster_network_exists, label_agrees, listed, problem, warning
from windrow.rules.selectors import matches_a_node, meeting

MTU = "spec.uplink.linkAttributes.mtu"


def not_of_mgmt(config: VlanConfig, _review: Review) -> Iterator[Problem]:
    """Unless the administrator says that it is Windrow's: `windrow init` does."""
    if not config.effective:
        yield problem(
            config,
            "mgmt-protected",
            "spec.clusterNetwork",
            "the uplink of the management network belongs to the operating system",
            "leave mgmt-bo and mgmt-br as the system made them and use a cluster network of your own for other NICs; "
            f"or hand the management network to Windrow: windrow init (which sets {names.ANNOTATION_MANAGED})",
        )


def its_cluster_network_exists(config: VlanConfig, review: Review) -> Iterator[Problem]:
    yield from cluster_network_exists(config, config.cluster_network, "spec.clusterNetwork", review)


def its_label_agrees(config: VlanConfig, _review: Review) -> Iterator[Problem]:
    yield from label_agrees(config, config.cluster_network, "spec.clusterNetwork")


def one_mtu(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """All uplinks of a cluster network have the same MTU; 0 means 1500."""
    if not config.effective:
        return
    mtu = config.uplink.mtu or MTU_DEFAULT
    for other in review.after.vlan_configs(config.cluster_network):
        theirs = other.uplink.mtu or MTU_DEFAULT
        if other.ref != config.ref and other.effective and theirs != mtu and review.earlier(config, other):
            message = f"the MTU is {mtu}, but {other.ref} of the same cluster network has {theirs}"
            yield problem(config, "mtu-mismatch", MTU, message, "give all of them the same MTU, in one go")


def mtu_as_annotated(config: VlanConfig, review: Review) -> Iterator[Problem]:
    network = review.after.cluster_network(config.cluster_network)
    mtu = config.uplink.mtu or MTU_DEFAULT
    try:
        annotated = annotated_mtu(network) if network and network.name != names.MGMT else None
    except ValueError:
        return
    if network and annotated is not None and annotated != mtu:
        message = f"the MTU is {mtu}, but {network.ref} says {annotated} in its annotation uplink-mtu"
        yield problem(config, "mtu-mismatch", MTU, message, "change both together, or remove the annotation")


def mtu_of_its_networks(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Harvester rewrites the NADs; here the change is theirs who keep the manifests."""
    mtu = config.uplink.mtu or MTU_DEFAULT
    nads = [
        nad
        for nad in review.after.nads(config.cluster_network)
        if nad.mtu and nad.mtu != mtu and nad.ref not in review.changed
    ]
    if nads:
        message = f"the MTU is {mtu}, and another one stands in {listed(nads)}"
        yield warning(
            config, "mtu-mismatch", MTU, message, "change their mtu too, or remove it: absent means the uplink's"
        )


def one_per_node(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Two VlanConfigs of one cluster network want to make the same bond."""
    if not config.effective:
        return
    for other in review.after.vlan_configs(config.cluster_network):
        if other.ref == config.ref or not other.effective or not review.earlier(config, other):
            continue
        if where := meeting(config, other, review.nodes()):
            yield problem(
                config,
                "vlanconfig-overlap",
                "spec.nodeSelector",
                f"{other.ref} is for cluster network {config.cluster_network} too, on {where}",
                "give the two node selectors that no node matches together",
            )


ON_PUT = (
    not_of_mgmt,
    its_cluster_network_exists,
    its_label_agrees,
    one_mtu,
    mtu_as_annotated,
    mtu_of_its_networks,
    one_per_node,
    matches_a_node,
)
