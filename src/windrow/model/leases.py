"""What DHCP servers gave the links of a host, and what is asked of them.

A lease is a fact for the next compile, until it runs out. Times are Unix time, in seconds.
"""

from __future__ import annotations

from dataclasses import field

from windrow.model.lazy import dataclass
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
    expires: float = field(default=0.0, compare=False)
    """0: never. By the wall clock of the moment that it was read at: for showing, not for deciding."""

    def __post_init__(self) -> None:
        if self.lease_s < 0:
            raise ValueError(f"a lease of {self.lease_s} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A link that no server has answered yet: how often one was looked for (DHCPDISCOVER), and since when."""

    times: int
    since: float
    trouble: str = ""
    """Why there is no lease although somebody answered, or no client."""
    declined: str = ""
    """Who has the address that a server gave, in words; it was declined at `since`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What a DHCP client tells the servers of the host."""

    hostname: str = ""
    """Option 12; empty: nothing. Servers show it beside the lease."""
    client_id: str = ""
    """Option 61, as `client_id_text` has it; NO_CLIENT_ID: none is sent; empty: what the client sends by itself, its
    MAC address."""


NO_CLIENT_ID = "none"
CLIENT_ID_MOST = 255
"""Bytes of one option (RFC 2132 §2), type included."""


def client_id_text(raw: bytes) -> str:
    """`ff:12:34:…`, its type first. Raises ValueError where it is none (RFC 2132 §9.14: two bytes at least)."""
    if not 2 <= len(raw) <= CLIENT_ID_MOST:
        raise ValueError(f"a client identifier has 2 to {CLIENT_ID_MOST} bytes, and this has {len(raw)}")
    return raw.hex(":")


def parse_client_id(text: str) -> str:
    """In the form of `client_id_text`, or NO_CLIENT_ID. Raises ValueError."""
    if text == NO_CLIENT_ID:
        return text
    try:
        return client_id_text(bytes(int(pair, 16) for pair in text.split(":") if _is_pair(pair)))
    except ValueError:
        raise ValueError(f"{text!r} is no client identifier: ff:12:34:…, or {NO_CLIENT_ID}") from None


def _is_pair(text: str) -> bool:
    """Raises ValueError."""
    if len(text) != 2 or not text.isascii() or not text.isalnum():
        raise ValueError(text)
    return True
