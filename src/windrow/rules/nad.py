"""NetworkAttachmentDefinition: on a bridge that is there, with its MTU."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import layer3, names
from windrow.model.kubeovn import Subnet
from windrow.model.layer3 import Layer3
from windrow.model.objects import ClusterNetwork, NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Problem
from windrow.model.upkeep import annotated_mtu, network_mtu
from windrow.model.values import DEFAULT_PVID, MTU_DEFAULT, Ref
from windrow.model.wire.nad import KEYS, PLACE
from windrow.rules.review import (
    Review,
    cluster_network_exists,
    label_agrees,
    listed,
    problem,
    refs,
    some_node_has,
    warning,
)
from windrow.rules.usage import is_system, on_overlays, running, users


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
    mtu = network_mtu(cn, review.after)
    if mtu is not None and nad.mtu != mtu:
        message = f"the MTU is {nad.mtu}, but cluster network {cn} has {mtu}"
        hint = "remove it: absent means the cluster network's"
        yield problem(nad, "mtu-mismatch", f"{nad.place}.mtu", message, hint, [Ref(ClusterNetwork.KIND, cn)])


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
    old = review.old(nad)
    if old is None or not old.knows(f"{old.place}.type"):
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
    old = review.old(nad)
    if old is not None and is_bridge(old) and is_bridge(nad) and old.bridge != nad.bridge and old.bridge:
        message = f"the bridge cannot change ({old.bridge} to {nad.bridge})"
        yield problem(nad, "immutable", f"{nad.place}.bridge", message, "make a new NetworkAttachmentDefinition")


def some_node_has_its_cluster_network(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    yield from some_node_has(nad, nad.cluster_network or "", f"{nad.place}.bridge", review.nodes(), review)


def gone_only_when_unused(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """A machine that is off counts too: it could not start any more."""
    found = [machine for machine in users(nad, review.after) if machine.ref not in review.changed]
    if found:
        message = f"it is still used by {listed(found)}"
        yield problem(nad, "nad-in-use", "", message, "delete these first, or together with it", refs(found))


# Of an API server --------------------------------------------------------------------------------


def mtu_of_its_cluster_network_is_known(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """The controller writes the annotation; one that is no MTU would go into every network."""
    network = review.after.cluster_network(nad.cluster_network or "") if is_bridge(nad) else None
    try:
        _ = annotated_mtu(network) if network else None
    except ValueError as error:
        message = f"the annotation uplink-mtu of {nad.cluster_network} is no MTU: {error}"
        yield problem(nad, "mtu-range", f"{nad.place}.bridge", message, "set that right first", refs([network or nad]))


def overlay_has_its_provider(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """kube-ovn finds the Subnet by it."""
    if nad.type is not NetworkType.OVERLAY:
        return
    place = f"{nad.place}.provider"
    if not review.terms.subnets:
        message = "this cluster has no Subnets of kube-ovn"
        yield problem(nad, "overlay-missing", f"{nad.place}.type", message, "install kube-ovn first")
    provider, wanted = _provider(nad), f"{nad.name}.{nad.meta.namespace}.ovn"
    if len(provider.split(".")) < 3 or not provider.startswith(wanted.removesuffix("ovn")):
        what = f"is {provider[:100]!r}" if provider else "is missing"
        yield problem(nad, "overlay-provider", place, f"{what}, and a Subnet would not be found", f"write {wanted}")


def _provider(nad: NetworkAttachmentDefinition) -> str:
    found = {key.lower(): value for key, value in nad.config.items()}.get("provider")
    return found if isinstance(found, str) else ""


def vlan_is_nobodys_alone(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """The storage network may keep a VLAN to itself; in another cluster network that VLAN is another network."""
    if is_system(nad) or not is_bridge(nad):
        return
    there = review.after.nads(nad.cluster_network or "")
    alone = [other for other in there if other.meta.labels.get(names.LABEL_EXCLUSIVE_VLAN) == "true"]
    for other in review.staying(alone):
        if other.ref != nad.ref and (both := other.vids & nad.vids):
            message = f"VLAN {both} is for {other.ref} alone"
            place = f"{nad.place}.{'vlanTrunk' if nad.type is NetworkType.TRUNK else 'vlan'}"
            yield problem(nad, "vlan-exclusive", place, message, "choose another VLAN", [other.ref])


def route_is_valid(nad: NetworkAttachmentDefinition, _review: Review) -> Iterator[Problem]:
    text = nad.meta.annotations.get(names.ANNOTATION_ROUTE)
    try:
        _ = Layer3.parse(text) if text else None
    except ValueError as error:
        hint = 'for example {"mode":"auto"}, or {"mode":"manual","cidr":"192.0.2.0/24","gateway":"192.0.2.1"}'
        yield problem(nad, "route-invalid", layer3.PATH, str(error), hint)


def stays_under_machines(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """Whoever is attached keeps the port that was made for it."""
    old = review.old(nad)
    if old is None or not old.knows(old.place) or _parameters(old) == _parameters(nad):
        return
    if machines := running([old], review):
        message = f"it cannot change while {listed(machines)} runs"
        yield problem(nad, "machines-running", nad.place, message, "stop these first", refs(machines))
    if is_system(nad):
        message = "it is a network of Harvester's own, and follows its setting"
        yield problem(nad, "system-network", nad.place, message, "change that setting instead")


def _parameters(nad: NetworkAttachmentDefinition) -> dict[str, object]:
    """What Harvester's webhook looks at: known keys, where an MTU of 0 and 1500 are the same."""
    known = {key.lower() for key in KEYS} | {"plugins"}
    found: dict[str, object] = {k.lower(): v for k, v in nad.config.items() if k.lower() in known and v not in ("", 0)}
    return {**found, "mtu": nad.mtu or MTU_DEFAULT, "vlan": nad.vid, "vids": nad.vids, "bridge": nad.bridge}


def underlay_stays_under_overlays(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """The tunnels of all overlays lie in the VLAN of the host network that is the underlay."""
    if not nad.vid:
        return
    for config in review.staying(review.after.host_networks(nad.cluster_network or "")):
        if config.underlay and config.vid == nad.vid and (machines := on_overlays(review)):
            message = f"its VLAN is that of {config.ref}, the underlay of {listed(machines)}"
            yield problem(nad, "underlay-in-use", "", message, "take these off their overlays first", refs(machines))


def no_subnet_is_left(nad: NetworkAttachmentDefinition, review: Review) -> Iterator[Problem]:
    """kube-ovn would keep the addresses of an overlay that is gone."""
    if nad.type is not NetworkType.OVERLAY:
        return
    if found := [one for one in review.after.all(Subnet) if one.network == (nad.name, nad.meta.namespace)]:
        message = f"it still has {listed(found)}"
        yield problem(nad, "nad-in-use", "", message, "delete that first", refs(found))


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
ON_SERVED_PUT = (
    mtu_of_its_cluster_network_is_known,
    overlay_has_its_provider,
    vlan_is_nobodys_alone,
    route_is_valid,
    stays_under_machines,
)
ON_SERVED_DELETE = (underlay_stays_under_overlays, no_subnet_is_left)
