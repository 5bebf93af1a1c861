"""What each NIC of each node needs of the switch port that it is plugged into, from the manifests alone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass
from windrow.model.objects import NicIdentity, NicSelector, Node, VlanConfig
from windrow.model.problems import Problem, Severity
from windrow.model.values import DEFAULT_PVID, MTU_DEFAULT, IfName, Ref, VidSet

NATIVE = VidSet.of([DEFAULT_PVID])


class Channel(StrEnum):
    """Link aggregation on the switch (Documentation/networking/bonding.rst, "Switch Configuration")."""

    NONE = "none"
    STATIC = "static"
    LACP = "lacp"

    @classmethod
    def of(cls, mode: BondMode) -> Channel:
        return cls(mode.switch_needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One bond of one node: all its legs want the same of their ports.

    `untagged`: frames without a tag are used too, so the port needs a native VLAN. `mtu`: the longest payload, bytes.
    """

    node: str
    cluster_network: str
    legs: tuple[Leg, ...]
    mode: BondMode
    tagged: VidSet = VidSet()
    untagged: bool = False
    mtu: int = MTU_DEFAULT
    lacp_fast: bool = False
    origin: tuple[Ref, ...] = ()

    @property
    def channel(self) -> Channel:
        return Channel.of(self.mode)

    @property
    def name(self) -> str:
        """`node-1/oob`, as a cabling file calls it."""
        return f"{self.node}/{self.cluster_network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of all nodes."""

    wanted: tuple[Wanted, ...] = ()
    problems: tuple[Problem, ...] = ()

    def of(self, leg: Leg) -> Wanted | None:
        return next((wanted for wanted in self.wanted if leg in wanted.legs), None)


Cards = Mapping[str, Mapping[str, IfName]]
"""Node -> a card's MAC or PCI address -> its NIC, where that is known."""


def needs_of(cluster: Cluster, nodes: tuple[str, ...] = (), cards: Cards | None = None) -> Needs:
    """What the nodes need of their switches. `nodes`: those without a Node object that are nodes too. A NIC that a
    VlanConfig calls by its MAC or PCI address is found in `cards`, or it is a problem."""
    known = {node.name: node for node in cluster.nodes()}
    known |= {name: cluster.node(name) for name in nodes if name not in known}
    wanted: list[Wanted] = []
    problems: list[Problem] = []
    for node in known.values():
        for config in cluster.all(VlanConfig):
            if selects_node(config, node):
                legs, missing = _legs(config, node, (cards or {}).get(node.name, {}))
                problems += missing
                wanted += [_wanted(cluster, config, node, legs)] if legs else []
    return Needs(wanted=tuple(wanted), problems=tuple(problems))


def _wanted(cluster: Cluster, config: VlanConfig, node: Node, legs: tuple[Leg, ...]) -> Wanted:
    name, bond = config.cluster_network, config.uplink.bond
    hosts = [h for h in cluster.host_networks(name) if matches_selector(h.node_selector, node.labels)]
    inside = cluster.nad_vids(name) | VidSet.of(h.vid for h in hosts if h.vid)
    nads = cluster.nads(name)
    untagged = any(not nad.vid and not nad.trunk for nad in nads) or any(not h.vid for h in hosts)
    if name == names.MGMT and not any(h.vid for h in hosts):
        untagged = True  # no manifest says where the node's own address is, and without a tag is the usual place
    return Wanted(
        node=node.name,
        cluster_network=name,
        legs=legs,
        mode=bond.mode or BondMode.ACTIVE_BACKUP,
        tagged=inside - NATIVE,
        untagged=untagged or bool(inside & NATIVE),
        mtu=config.uplink.mtu or MTU_DEFAULT,
        lacp_fast=bond.lacp_rate == "fast",
        origin=(config.ref, *(nad.ref for nad in nads)),
    )


def _legs(config: VlanConfig, node: Node, cards: Mapping[str, IfName]) -> tuple[tuple[Leg, ...], list[Problem]]:
    legs: list[Leg] = []
    problems: list[Problem] = []
    for index, nic in enumerate(config.uplink.nics):
        found = IfName(nic.value) if nic.by is NicIdentity.NAME else cards.get(nic.value)
        if found is not None:
            legs.append(Leg(node.name, found))
        else:
            problems.append(_unknown(config, node, nic, index))
    return tuple(legs), problems


def _unknown(config: VlanConfig, node: Node, nic: NicSelector, index: int) -> Problem:
    return Problem(
        code="nic-unknown",
        message=f"which NIC of {node.name} is {nic} cannot be told from here",
        hint=f"run this on {node.name}, or where `windrow check` hears {node.name}",
        path=f"spec.uplink.nics[{index}]",
        about=config.ref,
        severity=Severity.WARNING,
    )
