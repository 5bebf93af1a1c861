"""NetworkAttachmentDefinition: on a bridge that is there, with its MTU."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Problem
from windrow.model.values import DEFAULT_PVID, MTU_DEFAULT
from windrow.model.wire.nad import PLACE
from windrow.rules.clusternetwork import annotated_mtu
from windrow.rules.review import Review, cluster_network_exists, label_agrees, listed, problem, some_node_has, warning
from windrow.rules.virtualmachine import users


def is_bridge(nad: NetworkAttachmentDefinition) -> bool:
    return nad.type is not None and nad.type is not NetworkType.OVERLAY


def its_cluster_network_exists(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    if is_bridge(nad):
        yield from cluster_network_exists(nad, nad.cluster_network or "", f"{nad.place}.bridge", review)


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
        yield problem(nad, "mtu-mismatch", f"{nad.place}.mtu", message, "remove it: absent means the cluster network's")


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


SNOOPING = f"metadata.annotations[{names.ANNOTATION_SNOOPING}]"


def snooping_is_of_one_vlan(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """A bridge snoops VLAN by VLAN, and asks for groups there itself: for that it has to be in the VLAN, and in the
    native one it would lay the host open to untagged guests (`compile.vlans.self_vlans`)."""
    said = nad.meta.annotations.get(names.ANNOTATION_SNOOPING)
    if said is None or said == "false":
        return
    if said != "true":
        yield problem(nad, "snooping-value", SNOOPING, f"{said[:20]!r} is neither true nor false", 'write "true"')
    elif nad.type is not NetworkType.VLAN or nad.vid == DEFAULT_PVID:
        message = "multicast snooping is for a network of one VLAN, with tagged frames on the uplink"
        yield problem(nad, "snooping-vlan", SNOOPING, message, "remove it: multicast then goes to all ports of a VLAN")
    elif nad.cluster_network == names.MGMT and not any(c.effective for c in review.after.vlan_configs(names.MGMT)):
        message = f"{nad.bridge} is the operating system's, and Windrow does not set it up"
        hint = "remove it, or hand the management network to Windrow: windrow init"
        yield problem(nad, "snooping-foreign", SNOOPING, message, hint)


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
    return ", ".join(_types(nad)) or "no configuration"


def _types(nad: NetworkAttachmentDefinition) -> list[str]:
    """The CNI types of its plugins, as they are written."""
    folded = {key.lower(): value for key, value in nad.config.items()}
    plugins = folded.get("plugins", [nad.config])
    keys = [{key.lower(): value for key, value in plugin.items()} for plugin in plugins if isinstance(plugin, dict)]
    return [str(plugin["type"]) for plugin in keys if plugin.get("type")]


def on_no_cluster_network(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """It is kept, and CNI plugins attach to it; what Windrow makes for a network, it does not get."""
    if nad.cluster_network:
        return
    if is_bridge(nad):
        message = (
            f"the bridge {nad.bridge} is of no cluster network: plugins attach to it, and no uplink of Windrow's does"
        )
        its = names.bridge_of(nad.bridge)
        known = review.after.cluster_network(nad.bridge) is not None
        hint = f"that of cluster network {nad.bridge} is {its}" if known else "that of a cluster network ends in -br"
        yield warning(nad, "nad-bridge", f"{nad.place}.bridge", message, hint)
    elif not nad.config:
        message = f"it has no configuration: the one called {nad.name} in the node's CNI directory counts"
        yield warning(nad, "nad-empty", nad.place, message)
    else:
        what = "an overlay" if nad.type is NetworkType.OVERLAY else f"of CNI type {_cni(nad)}"
        message = f"it is {what}: it is kept, and the node's plugin of that name makes it, without Windrow's uplinks"
        yield warning(nad, "nad-type", nad.place, message)


def nothing_beside_a_list(nad: NetworkAttachmentDefinition, _review: Review) -> Iterator[Problem]:
    """What stands beside `plugins` reaches no plugin (libcni reads each one's own): a VLAN there is none."""
    keys = {key.lower(): key for key in nad.config}
    if "plugins" not in keys or nad.place == PLACE:
        return
    if idle := [keys[key] for key in ("type", "bridge", "vlan", "vlantrunk", "mtu", "ipam") if key in keys]:
        message = f"{', '.join(idle)} beside plugins: no plugin is told of it"
        yield warning(nad, "nad-list", PLACE, message, f"write it into the plugin ({nad.place})")


def bridge_stays(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    old = review.before.objects.get(nad.ref)
    if isinstance(old, NetworkAttachmentDefinition) and is_bridge(old) and is_bridge(nad) and old.bridge != nad.bridge:
        message = f"the bridge cannot change ({old.bridge} to {nad.bridge})"
        yield problem(nad, "immutable", f"{nad.place}.bridge", message, "make a new NetworkAttachmentDefinition")


def some_node_has_its_cluster_network(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    yield from some_node_has(nad, nad.cluster_network or "", f"{nad.place}.bridge", review.nodes(), review)


def gone_only_when_unused(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """A machine that is off counts too: it could not start any more."""
    found = [machine for machine in users(nad, review.after) if machine.ref not in review.changed]
    if found:
        message = f"it is still used by {listed(found)}"
        yield problem(nad, "nad-in-use", "", message, "delete these first, or together with it")


ON_PUT = (
    its_cluster_network_exists,
    its_label_agrees,
    mtu_of_its_cluster_network,
    snooping_is_of_one_vlan,
    type_stays,
    bridge_stays,
    on_no_cluster_network,
    nothing_beside_a_list,
    some_node_has_its_cluster_network,
)
ON_DELETE = (gone_only_when_unused,)
