"""Who is out there: routers, neighbours that were heard on a link not long ago (the kernel's ARP and ND tables), and
peers, who are named to us."""

from __future__ import annotations

from windrow.model.lazy import dataclass
from windrow.model.values import IfName


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    dev: IfName
    address: str
    router: bool = False
    """It announced itself as one (NTF_ROUTER; IPv6 only)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody this host has to reach, and the address of ours that he knows (policy rules may go by it)."""

    address: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Router:
    """A default route's next hop, of any table."""

    dev: IfName
    address: str
    table: int = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Who can be asked whether this host is still reached."""

    routers: tuple[Router, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


NOBODY = Surroundings()
