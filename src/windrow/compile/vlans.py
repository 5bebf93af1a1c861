"""Pass: the VLAN set of each uplink = VIDs of its NADs ∪ of its host networks ∪ of what others built on it."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.host import Bond, Bridge, Link, PortVlans
from windrow.model.lazy import replace
from windrow.model.objects import HostNetworkConfig
from windrow.model.problems import Problem, Severity
from windrow.model.values import DEFAULT_PVID, Ref, VidSet

NATIVE = VidSet.of([DEFAULT_PVID])


def self_vids(cluster_network: str, host_networks: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> VidSet:
    """The VIDs that the host itself takes part in, tagged: on the bridge device."""
    own = VidSet.of(h.vid for h in host_networks if h.cluster_network == cluster_network and h.vid)
    return own | facts.foreign_vids.get(names.bridge_of(cluster_network), VidSet())


def self_vlans(
    cluster_network: str, host_networks: tuple[HostNetworkConfig, ...], facts: NodeFacts, snooped: VidSet = VidSet()
) -> PortVlans:
    """The VLANs of the bridge device itself; the native one only where the host has an address there, or is to have.

    A Linux host answers ARP for each of its addresses on every link that has one at all, and to whoever asks
    (`arp_process`, arp_ignore 0): untagged guests would reach it at all of them. A bridge that is not in a VLAN itself
    does not ask for groups there (`br_multicast_toggle_one_vlan`); without an interface in it the host hears nothing.
    """
    own = self_vids(cluster_network, host_networks, facts) | snooped
    if _speaks_untagged(cluster_network, host_networks, facts):
        return PortVlans(pvid=DEFAULT_PVID, untagged=NATIVE, tagged=own - NATIVE)
    return PortVlans(tagged=own)


def snooped_vids(cluster: Cluster, cluster_network: str, facts: NodeFacts) -> VidSet:
    """The VIDs in which the bridge snoops for multicast groups, and asks for them."""
    return cluster.snooped_vids(cluster_network) if facts.features.vlan_snooping else VidSet()


def snooping_problems(cluster: Cluster, cluster_network: str, facts: NodeFacts) -> Iterator[Problem]:
    """A network that was let in elsewhere, or before this kernel, is not snooped here; its machines lack nothing."""
    if facts.features.vlan_snooping:
        return
    for nad in cluster.nads(cluster_network):
        if nad.snooped:
            yield Problem(
                code="kernel-feature",
                message=f"the kernel of node {facts.node} cannot snoop for multicast groups in VLAN {nad.vid} alone",
                hint="it is in Linux 5.16 and later; until then multicast goes to all ports of the VLAN",
                path=f"metadata.annotations[{names.ANNOTATION_SNOOPING}]",
                about=nad.ref,
                severity=Severity.WARNING,
            )


def _speaks_untagged(cluster_network: str, host_networks: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> bool:
    bridge = names.bridge_of(cluster_network)
    has, given = facts.addrs.get(bridge, frozenset()), facts.memory.given.get(bridge, frozenset())
    if has - given or (bridge in facts.routed and not has):
        return True
    return any(h.cluster_network == cluster_network and not h.vid for h in host_networks)


def uplink_vids(cluster: Cluster, cluster_network: str, own: VidSet) -> VidSet:
    """The VIDs that leave the host; VID 1 is the native VLAN and never in this set."""
    return (cluster.nad_vids(cluster_network) | own) - NATIVE


def mgmt_links(cluster: Cluster, host_networks: tuple[HostNetworkConfig, ...], facts: NodeFacts) -> list[Link]:
    """The management network: only its tagged VIDs are ours. The VLAN of the node's own address is in
    `foreign_vids`, so it stays whatever becomes of the NADs (Harvester #8953 lost nodes this way)."""
    own = self_vids(names.MGMT, host_networks, facts) - NATIVE
    why = (Ref("ClusterNetwork", names.MGMT),)
    tagged = PortVlans(tagged=uplink_vids(cluster, names.MGMT, own), exact=False)
    links = (
        Link(name=names.bridge_of(names.MGMT), spec=Bridge(), self_vlans=replace(tagged, tagged=own), origin=why),
        Link(name=names.bond_of(names.MGMT), spec=Bond(), vlans=tagged, origin=why),
    )
    return [link for link in links if link.name in facts.links - facts.made]
