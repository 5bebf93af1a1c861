"""What a DHCP server gave a link of the host: a fact for the next compile, until it runs out."""

from __future__ import annotations

from dataclasses import dataclass

from windrow.model.values import Cidr, IfName


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedRoute:
    """`gateway` empty: the destination is on the link itself (RFC 3442: router 0.0.0.0)."""

    to: str
    """A prefix, or `default`."""
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease in force (RFC 2131). Who reads it from disk leaves out those that have run out."""

    interface: IfName
    address: Cidr
    routes: tuple[LeasedRoute, ...] = ()
    """The router option's default route, or what option 121 says instead of it (RFC 3442)."""
    mtu: int = 0
    """0: the server says nothing of it."""
    dns: tuple[str, ...] = ()
    domain: str = ""
    server: str = ""
    lease_s: int = 0
    """How long it was given for; 0: for ever (0xffffffff)."""

    def __post_init__(self) -> None:
        if self.lease_s < 0:
            raise ValueError(f"a lease of {self.lease_s} s")
