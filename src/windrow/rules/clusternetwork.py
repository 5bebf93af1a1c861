"""ClusterNetwork: its name is the start of device names, so it is the tightest of all names."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import AnyObject, ClusterNetwork
from windrow.model.problems import Problem
from windrow.model.values import MTU_DEFAULT, MTU_MAX, MTU_MIN, parse_ifname
from windrow.rules.review import Review, listed, problem

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


def annotated_mtu(network: ClusterNetwork) -> int | None:
    """The MTU of the annotation `uplink-mtu`; None where it is absent. Raises ValueError."""
    text = network.meta.annotations.get(names.ANNOTATION_UPLINK_MTU)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise ValueError(f"{text[:20]!r} is not a number")
    mtu = int(text)
    if mtu and not MTU_MIN <= mtu <= MTU_MAX:
        raise ValueError(f"{mtu} is outside {MTU_MIN}..{MTU_MAX}")
    return mtu or MTU_DEFAULT


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
    for config in review.after.vlan_configs(network.name):
        other = config.uplink.mtu or MTU_DEFAULT
        if other != mtu and config.ref not in review.changed:
            message = f"it has MTU {mtu}, but {config.ref} has {other}"
            yield problem(
                network, "mtu-mismatch", UPLINK_MTU, message, "change both together, or remove the annotation"
            )


def gone_only_when_unused(network: ClusterNetwork, review: Review) -> Iterator[Problem]:
    if network.name == names.MGMT:
        message = "the management network is built in and cannot be deleted"
        yield problem(network, "mgmt-protected", "", message)
        return
    users: list[AnyObject] = [
        *review.after.vlan_configs(network.name),
        *review.after.nads(network.name),
        *review.after.host_networks(network.name),
    ]
    # What changes in the same go is complained about itself.
    users = [user for user in users if user.ref not in review.changed]
    if users:
        message = f"it is still used by {listed(users)}"
        yield problem(network, "clusternetwork-in-use", "", message, "delete these first, or together with it")


ON_PUT = (name_is_short, name_makes_devices, name_is_free, mtu_annotation_is_valid, mtu_annotation_agrees)
ON_DELETE = (gone_only_when_unused,)
