"""NetworkAttachmentDefinition: on a bridge that is there, with its MTU."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Problem
from windrow.model.values import MTU_DEFAULT
from windrow.model.wire.nad import main_plugin
from windrow.rules.clusternetwork import annotated_mtu
from windrow.rules.review import Review, cluster_network_exists, label_agrees, listed, problem, warning
from windrow.rules.selectors import selects
from windrow.rules.virtualmachine import users


def is_bridge(nad: NetworkAttachmentDefinition) -> bool:
    return nad.type is not None and nad.type is not NetworkType.OVERLAY


def _place(nad: NetworkAttachmentDefinition, key: str) -> str:
    return f"{main_plugin(nad.config)[0]}.{key}"


def its_cluster_network_exists(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    if is_bridge(nad):
        yield from cluster_network_exists(nad, nad.cluster_network or "", _place(nad, "bridge"), review)


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
        yield problem(nad, "mtu-mismatch", _place(nad, "mtu"), message, "remove it: absent means the cluster network's")


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


def its_cluster_network_is_somewhere(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    cn = nad.cluster_network or ""
    if not is_bridge(nad) or cn == names.MGMT or review.after.cluster_network(cn) is None:
        return
    configs = [config for config in review.after.vlan_configs(cn) if config.effective]
    if any(selects(config, node) for config in configs for node in review.nodes()):
        return
    if configs and not review.after.nodes():
        return  # other hosts may have any label
    which = f"{listed(configs)} selects none that is known" if configs else "it has no VlanConfig"
    message = f"cluster network {cn} is on no node, and so nobody can be attached: {which}"
    hint = "give it a VlanConfig whose node selector matches a node"
    yield warning(nad, "clusternetwork-nowhere", _place(nad, "bridge"), message, hint)


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
        yield problem(nad, "immutable", _place(nad, "bridge"), message, "make a new NetworkAttachmentDefinition")


def gone_only_when_unused(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """A machine that is off counts too: it could not start any more."""
    found = [machine for machine in users(nad, review.after) if machine.ref not in review.changed]
    if found:
        message = f"it is still used by {listed(found)}"
        yield problem(nad, "nad-in-use", "", message, "delete these first, or together with it")


ON_PUT = (
    its_cluster_network_exists,
    its_cluster_network_is_somewhere,
    its_label_agrees,
    mtu_of_its_cluster_network,
    type_stays,
    bridge_stays,
)
ON_DELETE = (gone_only_when_unused,)
