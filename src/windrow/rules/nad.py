"""NetworkAttachmentDefinition: on a bridge that is there, with its MTU."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Problem
from windrow.model.values import MTU_DEFAULT
from windrow.rules.clusternetwork import annotated_mtu
from windrow.rules.review import Review, cluster_network_exists, label_agrees, listed, problem
from windrow.rules.virtualmachine import users

BRIDGE = "spec.config.bridge"


def is_bridge(nad: NetworkAttachmentDefinition) -> bool:
    return nad.type is not None and nad.type is not NetworkType.OVERLAY


def its_cluster_network_exists(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    if is_bridge(nad):
        yield from cluster_network_exists(nad, nad.cluster_network or "", BRIDGE, review)


def its_label_agrees(nad: NetworkAttachmentDefinition, _review: Review) -> Iterator[Problem]:
    if is_bridge(nad):
        yield from label_agrees(nad, nad.cluster_network or "", f"the bridge {nad.bridge}")


def mtu_of_its_cluster_network(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """0 and absent follow the cluster network; Harvester's webhook would write its MTU into them."""
    cn = nad.cluster_network
    if not is_bridge(nad) or not nad.mtu or not cn:
        return
    mtu = _mtu(cn, review)
    if mtu is not None and nad.mtu != mtu:
        message = f"the MTU is {nad.mtu}, but cluster network {cn} has {mtu}"
        yield problem(nad, "mtu-mismatch", "spec.config.mtu", message, "remove it: absent means the cluster network's")


def _mtu(cn: str, review: Review) -> int | None:
    """The annotation's, else the uplinks'. Of mgmt, without annotation, nobody here knows the MTU."""
    network = review.after.cluster_network(cn)
    try:
        annotated = annotated_mtu(network) if network else None
    except ValueError:
        return None
    if annotated is None and cn == names.MGMT:
        return None
    return annotated or review.after.mtu(cn) or MTU_DEFAULT


def type_stays(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """Whoever is attached would be moved without knowing."""
    old = review.before.objects.get(nad.ref)
    if not isinstance(old, NetworkAttachmentDefinition):
        return
    was, now = _cni(old), _cni(nad)
    if was != now:
        message = f"the type cannot change ({was} to {now})"
        yield problem(nad, "immutable", "spec.config.type", message, "make a new NetworkAttachmentDefinition")


def _cni(nad: NetworkAttachmentDefinition) -> str:
    """The CNI type, where "" and `bridge` are the same."""
    if is_bridge(nad):
        return "bridge"
    given = next((value for key, value in nad.config.items() if key.lower() == "type"), "")
    return str(given) or "a plugin list"


def bridge_stays(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    old = review.before.objects.get(nad.ref)
    if isinstance(old, NetworkAttachmentDefinition) and is_bridge(old) and is_bridge(nad) and old.bridge != nad.bridge:
        message = f"the bridge cannot change ({old.bridge} to {nad.bridge})"
        yield problem(nad, "immutable", BRIDGE, message, "make a new NetworkAttachmentDefinition")


def gone_only_when_unused(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """A machine that is off counts too: it could not start any more."""
    found = [machine for machine in users(nad, review.after) if machine.ref not in review.changed]
    if found:
        message = f"it is still used by {listed(found)}"
        yield problem(nad, "nad-in-use", "", message, "delete these first, or together with it")


ON_PUT = (its_cluster_network_exists, its_label_agrees, mtu_of_its_cluster_network, type_stays, bridge_stays)
ON_DELETE = (gone_only_when_unused,)
