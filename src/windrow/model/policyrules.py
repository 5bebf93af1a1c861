"""What the network policies of a cluster mean on one node: chains of rules, named sets of addresses, and the ports that
they guard. No packet filter's language yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from windrow.model.lazy import dataclass
from windrow.model.policies import Direction, Protocol
from windrow.model.portguards import PortGuards
from windrow.model.values import IfName

HOST_SET = "host"
"""With the addresses of the node itself, of each family: what a pod and its own node say to each other passes."""
SIDES = {Direction.INGRESS: "in", Direction.EGRESS: "out"}
"""How the name of a policy's chain begins."""


class Members(StrEnum):
    ADDRESSES = "addresses"
    """`10.52.0.7`"""
    RANGES = "ranges"
    """`10.0.0.0-10.0.0.255`, none of which touches another."""
    SOCKETS = "sockets"
    """`10.52.0.7 . 80`: address and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSet:
    kind: Members
    family: int
    """4 or 6, as everywhere here."""
    members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRule:
    """Lets a packet through of which all that is said is true. `peers`: a set with the address at the other end;
    `sockets`: one with destination address and port, for a port by name; `note`: whose rule it is."""

    family: int = 0
    """0: of both."""
    peers: str = ""
    protocol: Protocol | None = None
    first: int = 0
    last: int = 0
    """The range of destination ports; 0: all of them."""
    sockets: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChain:
    """The rules of one policy in one direction. A packet that none of them lets through goes on to the next policy."""

    direction: Direction
    rules: tuple[PacketRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedPort:
    """A port whose pod is isolated: by direction, the chains that a packet may pass by; nothing passes by none. A
    direction that is not there is open."""

    chains: Mapping[Direction, tuple[str, ...]]
    logged: Mapping[Direction, int] = field(default_factory=dict)
    """How many packets a second at most are told that it drops; a direction that is not there: none."""
    leased: bool = False
    """The address behind it may come from a DHCP server in its VLAN, which it then may speak with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGuards:
    """Of one port, by itself. `addresses`: of both families, all that are recorded."""

    guards: PortGuards
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """All of one node. Chains and sets are those that a guarded port needs. `namespaces`: those with policies; `own`:
    what ports ask for themselves; without either there are no rules at all. `judged`: the ports of this node of which
    it is known what they are. `addresses`: those of each pod's port; empty: nobody knows them. `kept`: the ports that
    nothing leaves from another address than these."""

    sets: Mapping[str, MemberSet] = field(default_factory=dict)
    chains: Mapping[str, PolicyChain] = field(default_factory=dict)
    ports: Mapping[IfName, GuardedPort] = field(default_factory=dict)
    own: Mapping[IfName, OwnGuards] = field(default_factory=dict)
    addresses: Mapping[IfName, tuple[str, ...]] = field(default_factory=dict)
    kept: frozenset[IfName] = frozenset()
    judged: frozenset[IfName] = frozenset()
    namespaces: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEnds:
    """The overlay's of one family: the addresses of all nodes, between which its packets go, and the UDP port.
    `complete`: no node sends from another address than these."""

    family: int
    port: int
    addresses: frozenset[str]
    complete: bool = True


def set_name(name: str, family: int) -> str:
    """The two halves of a set: `host-4`, `host-6`."""
    return f"{name}-{family}"
