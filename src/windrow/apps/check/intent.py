"""What this node probes: the VLANs that are intended for each uplink, and the NICs that the uplink has now. Nothing
else: a VLAN of another cluster network's is never sent into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from windrow.apps.questions import questions
from windrow.compile import Compiled
from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.evidence import Absent, Kind, NicEvidence
from windrow.model.facts import NodeFacts
from windrow.model.host import Bond, Observed
from windrow.model.lazy import dataclass
from windrow.model.objects import NetworkType, Node, VlanConfig
from windrow.model.values import IfName, Mac, VidSet
from windrow.sense.asking import Question

UNTAGGED = VidSet.of([0])
NOT_AGREED = "nothing is sent from it: the switch has not agreed by LACP"
_DISTRIBUTING = 0x20
"""LACP_STATE_DISTRIBUTING (IEEE 802.1AX §6.4.2.3): before that the switch drops what a leg sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedLeg:
    """A NIC of an uplink. `speed` in Mbit/s, None: not known."""

    nic: IfName
    mtu: int
    speed: int | None
    carrier: bool
    active: bool | None
    """Whether it is the bond's active one, in the modes that have one."""
    sends: bool
    """Whether what it sends is of use: it has carrier, and LACP lets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedNetwork:
    """A cluster network on this node. VID 0 stands for what has no tag."""

    name: str
    legs: tuple[ProbedLeg, ...]
    vids: VidSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All that a node probes, and from whom it expects to hear. `nics`: what is known of them without asking."""

    node: str
    networks: tuple[ProbedNetwork, ...] = ()
    cluster_networks: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    """Those that the manifests give one of these cluster networks to, this one among them."""
    guests: frozenset[IfName] = frozenset()
    """The ports behind which machines and containers are."""
    nics: Mapping[IfName, NicEvidence]
    questions: tuple[Question, ...] = ()
    """What is asked, in the VLANs that are probed and in no other."""
    absent: tuple[Absent, ...] = ()


Skipped = Mapping[str, VidSet]
"""Cluster network -> VLANs that nobody wants probed; under "" those of all."""


def intent_of(
    cluster: Cluster,
    compiled: Compiled,
    observed: Observed,
    facts: NodeFacts,
    skipped: Skipped | None = None,
) -> Intent:
    networks: list[ProbedNetwork] = []
    absent: list[Absent] = []
    skipped = skipped or {}
    everywhere = skipped.get("", VidSet())
    for name in _cluster_networks(cluster, observed):
        vids = _vids(cluster, name, compiled, facts) - everywhere - skipped.get(name, VidSet())
        legs = tuple(_leg(observed, nic) for nic in legs_of(name, observed, facts))
        networks.append(ProbedNetwork(name=name, legs=legs, vids=vids))
        absent += [
            Absent(kind=Kind.PROBE, nic=leg.nic, reason=NOT_AGREED) for leg in legs if leg.carrier and not leg.sends
        ]
    if wrong := misnamed(cluster, skipped):
        absent.append(Absent(kind=Kind.PROBE, reason=wrong))
    there = frozenset(network.name for network in networks)
    probed = {network.name: network.vids for network in networks}
    return Intent(
        node=facts.node,
        networks=tuple(networks),
        cluster_networks=frozenset(names_of_networks(cluster)),
        nodes=frozenset({facts.node, *expected_nodes(cluster, there)}),
        guests=_guests(there, observed, facts),
        nics=_nics(networks, observed, facts),
        questions=tuple(q for q in questions(cluster, observed) if q.vid in probed.get(q.cluster_network, VidSet())),
        absent=tuple(absent),
    )


def names_of_networks(cluster: Cluster) -> Iterator[str]:
    """What a cluster is known by where it has no key."""
    return iter(sorted({names.MGMT, *(ref.name for ref in cluster.objects if ref.kind == "ClusterNetwork")}))


def misnamed(cluster: Cluster, skipped: Skipped) -> str:
    """What is wrong with the cluster networks of which VLANs are to be left out, for none are by a wrong name; else an
    empty text."""
    known = _known_names(cluster)
    wrong = sorted(skipped.keys() - known - {""})
    there = ", ".join(sorted(known))
    return f"--skip-vlans: no cluster network is called {' or '.join(wrong)}: there are {there}" if wrong else ""


def _known_names(cluster: Cluster) -> set[str]:
    return {*names_of_networks(cluster), *(c.cluster_network for c in cluster.all(VlanConfig))}


def expected_nodes(cluster: Cluster, networks: frozenset[str]) -> Iterator[str]:
    """The nodes of the manifests that have an uplink in one of these."""
    for node in cluster.nodes():
        if any(_has(cluster, name, node) for name in networks):
            yield node.name


def _has(cluster: Cluster, network: str, node: Node) -> bool:
    if network == names.MGMT:
        return True
    return any(c.effective and selects_node(c, node) for c in cluster.vlan_configs(network))


def _cluster_networks(cluster: Cluster, observed: Observed) -> tuple[str, ...]:
    """Those with a bridge here."""
    return tuple(sorted(name for name in _known_names(cluster) if names.bridge_of(name) in observed.state.links))


def _vids(cluster: Cluster, network: str, compiled: Compiled, facts: NodeFacts) -> VidSet:
    """What leaves the host over this uplink, as it was compiled: nothing where its manifests contradict each other."""
    uplink = compiled.state.links.get(names.bond_of(network))
    if uplink is None or uplink.vlans is None:
        return VidSet()
    bridge = names.bridge_of(network)
    wanted = compiled.state.links.get(bridge)
    host = wanted is not None and wanted.self_vlans is not None and wanted.self_vlans.pvid is not None
    if not uplink.vlans.exact:  # made by the operating system: it is for it to say who speaks untagged
        host = bool(facts.addrs.get(bridge))
    guests = any(nad.type is NetworkType.UNTAGGED for nad in cluster.nads(network))
    return uplink.vlans.tagged | (UNTAGGED if host or guests else VidSet())


def legs_of(network: str, observed: Observed, facts: NodeFacts) -> tuple[IfName, ...]:
    """The NICs of its bond, or those that are ports of its bridge where it has none."""
    links = observed.state.links
    bridge, bond = names.bridge_of(network), names.bond_of(network)
    bonds = [n for n in (bond, names.next_bond_of(network)) if n in links and isinstance(links[n].spec, Bond)]
    masters = bonds or [bridge]
    found = (name for name, link in links.items() if link.master in masters and name in facts.nics)
    return tuple(sorted(name for name in found if name not in facts.port_links))


def _leg(observed: Observed, nic: IfName) -> ProbedLeg:
    link, run = observed.state.links[nic], observed.runtime[nic]
    master = observed.runtime.get(IfName(link.master or ""))
    lacp = master is not None and master.aggregator is not None
    agreed = not lacp or (run.lacp is not None and bool(run.lacp.actor_state & _DISTRIBUTING))
    active = master.active_slave == nic if master is not None and master.active_slave else None
    return ProbedLeg(
        nic=nic, mtu=link.mtu or 1500, speed=run.speed, carrier=run.carrier, active=active, sends=run.carrier and agreed
    )


def _guests(networks: frozenset[str], observed: Observed, facts: NodeFacts) -> frozenset[IfName]:
    bridges = {names.bridge_of(name) for name in networks}
    uplinks = {names.bond_of(name) for name in networks} | {names.next_bond_of(name) for name in networks}
    legs = {nic for name in networks for nic in legs_of(name, observed, facts)}
    ports = (name for name, link in observed.state.links.items() if link.master in bridges)
    return frozenset(name for name in ports if name not in uplinks and name not in legs)


def _nics(networks: list[ProbedNetwork], observed: Observed, facts: NodeFacts) -> dict[IfName, NicEvidence]:
    found: dict[IfName, NicEvidence] = {}
    for network in networks:
        for leg in network.legs:
            link, run, nic = observed.state.links[leg.nic], observed.runtime[leg.nic], facts.nics[leg.nic]
            is_slave = link.master is not None and link.master != names.bridge_of(network.name)
            found[leg.nic] = NicEvidence(
                name=leg.nic,
                mac=Mac(nic.mac),
                carrier=run.carrier,
                cluster_network=network.name,
                bond=IfName(link.master) if is_slave and link.master else None,
                active=leg.active,
                speed=run.speed,
                full_duplex=None if run.duplex is None else run.duplex == "full",
                mtu=leg.mtu,
                driver=nic.driver or "",
            )
    return found
