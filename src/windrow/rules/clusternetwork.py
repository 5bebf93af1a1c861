"""ClusterNetwork: its name is the start of device names, so it is the tightest of all names."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import AnyObject, ClusterNetwork
from windrow.model.overlay import PLACE as OVERLAY
from windrow.model.overlay import read_net_conf
from windrow.model.problems import Problem
from windrow.model.upkeep import annotated_mtu
from windrow.model.values import MTU_DEFAULT, MTU_MAX, MTU_MIN, parse_ifname
from windrow.rules.review import Review, listed, problem, refs
from windrow.rules.usage import networks_of, running, system_networks

CONFIG_MTU = "spec.uplink.linkAttributes.mtu"
"""Of a VlanConfig."""
UPLINK_MTU = f"metadata.annotations[{names.ANNOTATION_UPLINK_MTU}]"


def name_is_short(network: ClusterNetwork, _review: Review) -> Iterator[Problem]:
    """`<name>-br` must fit the kernel's 15 bytes (Harvester: at most 12 characters)."""
    if len(network.name) > names.CLUSTER_NETWORK_MAX:
        yield problem(
            network,
            "name-too-long",
            "metadata.name",
            f"the name has {len(network.name)} characters, {names.CLUSTER_NETWORK_MAX} is the most",
            f"its bridge is called {names.bridge_of('<name>')}, and a device name has at most 15 bytes",
        )


def name_makes_devices(network: ClusterNetwork, _review: Review) -> Iterator[Problem]:
    if len(network.name) <= names.CLUSTER_NETWORK_MAX:
        try:
            parse_ifname(names.bridge_of(network.name))
        except ValueError as error:
            yield problem(network, "name-invalid", "metadata.name", f"it cannot name a device: {error}")


def name_is_free(network: ClusterNetwork, _review: Review) -> Iterator[Problem]:
    """Nodes carry the label `network.harvesterhci.io/<name>`, and the monitor of all NICs is called `nic`."""
    if network.name in names.RESERVED_CLUSTER_NETWORKS:
        hint = f"choose another name than {', '.join(sorted(names.RESERVED_CLUSTER_NETWORKS))}"
        yield problem(network, "name-reserved", "metadata.name", f"the name {network.name} is reserved", hint)


def mtu_annotation_is_valid(network: ClusterNetwork, _review: Review) -> Iterator[Problem]:
    try:
        annotated_mtu(network)
    except ValueError as error:
        yield problem(network, "mtu-range", UPLINK_MTU, str(error), f"use {MTU_MIN}..{MTU_MAX}, or 0 for {MTU_DEFAULT}")


def mtu_annotation_agrees(network: ClusterNetwork, review: Review) -> Iterator[Problem]:
    """With every VlanConfig of it; the management network's uplinks are the operating system's."""
    try:
        mtu = annotated_mtu(network)
    except ValueError:
        return
    if mtu is None or network.name == names.MGMT:
        return
    yield from _differs_from_uplinks(network, mtu, "change both together, or remove the annotation", review)


def _differs_from_uplinks(network: ClusterNetwork, mtu: int, hint: str, review: Review) -> Iterator[Problem]:
    for config in review.staying(review.after.vlan_configs(network.name)):
        other = config.uplink.mtu or MTU_DEFAULT
        if other != mtu and config.knows(CONFIG_MTU) and config.ref not in review.changed:
            message = f"it has MTU {mtu}, but {config.ref} has {other}"
            yield problem(network, "mtu-mismatch", UPLINK_MTU, message, hint, [config.ref])


def overlay_is_valid(network: ClusterNetwork, _review: Review) -> Iterator[Problem]:
    text = network.meta.annotations.get(names.ANNOTATION_OVERLAY)
    if text is None:
        return
    if network.name != names.MGMT:
        hint = f"write it on {names.MGMT}"
        yield problem(network, "overlay-elsewhere", OVERLAY, f"the overlay is carried by {names.MGMT} alone", hint)
        return
    for fault in read_net_conf(text)[1]:
        yield problem(network, "overlay-invalid", OVERLAY, fault, "it is flannel's net-conf.json: docs/user/overlay.md")


def gone_only_when_unused(network: ClusterNetwork, review: Review) -> Iterator[Problem]:
    if network.name == names.MGMT:
        message = "the management network is built in and cannot be deleted"
        yield problem(network, "mgmt-protected", "", message)
        return
    users: list[AnyObject] = [
        *review.after.vlan_configs(network.name),
        *networks_of(network.name, review.after),
        *review.after.host_networks(network.name),
    ]
    # What changes in the same go is complained about itself.
    users = [user for user in users if user.ref not in review.changed]
    if users:
        message = f"it is still used by {listed(users)}"
        hint = "delete these first, or together with it"
        yield problem(network, "clusternetwork-in-use", "", message, hint, refs(users))


# Of an API server --------------------------------------------------------------------------------


def mtu_annotation_comes_later(network: ClusterNetwork, review: Review) -> Iterator[Problem]:
    """The controller writes it once there is a VlanConfig."""
    new = review.old(network) is None
    if new and names.ANNOTATION_UPLINK_MTU in network.meta.annotations and not review.terms.trusted:
        message = "it cannot be given at creation: it follows the MTU of the VlanConfigs"
        yield problem(network, "mtu-at-creation", UPLINK_MTU, message, "remove it")


def mtu_annotation_stays(network: ClusterNetwork, review: Review) -> Iterator[Problem]:
    """Without it the MTU is 1500, which is wrong where the uplinks have another one."""
    old = review.old(network)
    gone = old is not None and names.ANNOTATION_UPLINK_MTU in old.meta.annotations
    if gone and names.ANNOTATION_UPLINK_MTU not in network.meta.annotations and network.name != names.MGMT:
        yield from _differs_from_uplinks(network, MTU_DEFAULT, "leave it as it is", review)


def mgmt_mtu_changes_unused(network: ClusterNetwork, review: Review) -> Iterator[Problem]:
    """Whoever is attached keeps the old one until it starts anew; Harvester's own networks never do."""
    old = review.old(network)
    if network.name != names.MGMT or old is None:
        return
    try:
        was, now = annotated_mtu(old), annotated_mtu(network)
    except ValueError:
        return  # what was no number meant nothing; of the new one it is said
    if (was or MTU_DEFAULT) == (now or MTU_DEFAULT):
        return
    if system := system_networks(network.name, review):
        message = f"the MTU cannot change while {listed(system)} is attached"
        yield problem(network, "system-network", UPLINK_MTU, message, "remove that network first", refs(system))
    networks = networks_of(network.name, review.after)
    if machines := running(networks, review):
        message = f"the MTU cannot change while {listed(machines)} runs"
        yield problem(network, "machines-running", UPLINK_MTU, message, "stop these first", refs(machines))


ON_PUT = (
    name_is_short,
    name_makes_devices,
    name_is_free,
    mtu_annotation_is_valid,
    mtu_annotation_agrees,
    overlay_is_valid,
)
ON_DELETE = (gone_only_when_unused,)
ON_SERVED_PUT = (mtu_annotation_comes_later, mtu_annotation_stays, mgmt_mtu_changes_unused)
