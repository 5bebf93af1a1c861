"""What of a host others have to find again: the uplinks of its bridges, and its own addresses on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, VidSet

UNTAGGED = 0
"""The VLAN of a bridge that knows none, in a VidSet of these values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """By what a bond sends: its active slave (active-backup, balance-tlb, balance-alb), or its active aggregator
    (802.3ad). The other modes use all that they have at once, and have none."""

    slave: int = 0
    """Its ifindex."""
    aggregator: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A bond in a bridge. `leg` None: it cannot send. `vids`: the VLANs that it carries, UNTAGGED where the bridge
    knows none; `untagged`: those among them that leave without a tag."""

    name: IfName
    bridge: int
    leg: Leg | None
    vids: VidSet
    untagged: VidSet = VidSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A bridge, or a VLAN interface on one, where this host may have addresses. `vid`: its VLAN on the bridge, None:
    it is in none. `running`: it is up and has carrier. `addresses`: without prefix length, and only those that others
    may know (no tentative ones)."""

    name: IfName
    bridge: int
    vid: int | None
    mac: Mac
    running: bool
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """At one moment, each by its ifindex."""

    uplinks: Mapping[int, Uplink] = field(default_factory=dict)
    interfaces: Mapping[int, Interface] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be announced. `machines`: of these uplinks (by ifindex) whatever is behind the bridge in these VLANs;
    `own`: this host's addresses on these interfaces."""

    machines: Mapping[int, VidSet] = field(default_factory=dict)
    own: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.machines or self.own)
