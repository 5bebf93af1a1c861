"""The VLANs that a bond carries, as networks for machines: those that are in use one by one, the rest as a trunk."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.adopt.networks import Scene, unsayable
from windrow.adopt.values import Network
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.host import Link, PortVlans, VlanIf
from windrow.model.meta import Meta
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Problem
from windrow.model.values import DEFAULT_PVID, VidSet

FEW = 16
"""So many VLANs that nobody here uses get a network each."""
NAMESPACE = "default"
_NATIVE = VidSet.of([DEFAULT_PVID])


def networks_of(scene: Scene, network: Network, cluster: Cluster) -> Iterator[NetworkAttachmentDefinition]:
    """Without those whose VLANs the objects have already."""
    cn = network.cluster_network
    known = cluster.nad_vids(cn)
    bridge = scene.observed.state.links[network.bridge]
    snooped = bridge.snooping.snooped if bridge.snooping else VidSet()
    carried = _carried(scene, network)
    used = _used(scene, network) & carried
    spare = carried - used - VidSet.of(network.interfaces) - _of_others(scene, network)
    single = (used | (snooped & carried) | (spare if len(spare) <= FEW else VidSet())) - known
    for vid in single:
        annotations = {names.ANNOTATION_SNOOPING: "true"} if vid in snooped else {}
        yield _nad(f"{cn}-vlan{vid}", network, NetworkType.VLAN, vid=vid, annotations=annotations)
    if trunk := spare - single - known:
        yield _nad(f"{cn}-trunk", network, NetworkType.TRUNK, trunk=trunk)
    untagged = any(nad.type is NetworkType.UNTAGGED for nad in cluster.nads(cn))
    if not untagged and any(_takes_in(port) == DEFAULT_PVID for port in _machines(scene, network)):
        yield _nad(f"{cn}-untagged", network, NetworkType.UNTAGGED)


def _nad(
    name: str,
    network: Network,
    kind: NetworkType,
    *,
    vid: int = 0,
    trunk: VidSet = VidSet(),
    annotations: dict[str, str] | None = None,
) -> NetworkAttachmentDefinition:
    return NetworkAttachmentDefinition(
        meta=Meta(name=name, namespace=NAMESPACE, annotations=annotations or {}),
        config={},
        type=kind,
        bridge=names.bridge_of(network.cluster_network),
        vid=vid,
        trunk=trunk,
    )


def unsaid(scene: Scene, network: Network) -> Iterator[Problem]:
    """What ports have that no network says."""
    ports = _machines(scene, network)
    inside = _used(scene, network) - _carried(scene, network) - _NATIVE
    if inside:
        yield unsayable(
            f"VLAN {inside} of {network.bridge} is on ports of machines and not on {network.bond}: "
            "a network of Harvester's always leaves the host",
            "it stays as it is; to have it leave, make a NetworkAttachmentDefinition for it",
        )
    nics = [port.name for port in ports if port.kind == "device" and port.name in scene.facts.nics]
    if nics:
        text = f"{', '.join(nics)} is in {network.bridge} beside its bond: it stays there until the next start alone"
        yield unsayable(text, "move it into the bond, or have the program that puts it there go on doing so")
    for link in scene.standing_on(network.bridge):
        if isinstance(link.spec, VlanIf) and link.name not in network.interfaces.values():
            why = f"it is in {link.master}" if link.master else "it has no address"
            yield unsayable(f"{link.name} stays another's: {why}", f"VLAN {link.spec.vid} stays for it")
    for link in (*scene.standing_on(network.bond), *(s for n in network.nics for s in scene.standing_on(n))):
        if isinstance(link.spec, VlanIf):
            text = f"{link.name} takes VLAN {link.spec.vid} from below {network.bridge}, and no object says that"
            yield unsayable(text, f"make it on {network.bridge} instead; it would be a HostNetworkConfig")


def _machines(scene: Scene, network: Network) -> list[Link]:
    """The ports of the bridge but for its bond."""
    return [port for port in scene.within(network.bridge) if port.name != network.bond]


def _used(scene: Scene, network: Network) -> VidSet:
    """The VLANs that ports of machines are in, but for those that only go through a port of many."""
    found = (_takes_in(port) for port in _machines(scene, network))
    return VidSet.of(vid for vid in found if vid is not None)


def _takes_in(port: Link) -> int | None:
    """The VLAN of what comes in at a port without a tag."""
    vlans = port.vlans or PortVlans()
    return vlans.pvid


def _carried(scene: Scene, network: Network) -> VidSet:
    vlans = scene.observed.state.links[network.bond].vlans or PortVlans()
    return vlans.tagged - _NATIVE


def _of_others(scene: Scene, network: Network) -> VidSet:
    """Of VLAN interfaces that stay others': their VLANs are carried for them."""
    own = frozenset(network.interfaces.values())
    standing = (link for link in scene.standing_on(network.bridge) if link.name not in own)
    return VidSet.of(link.spec.vid for link in standing if isinstance(link.spec, VlanIf))
