"""A link's sysctls, from the dump of links: `net/ipv4/conf/<link>` and `net/ipv6/conf/<link>`.

They are arrays of 32-bit numbers (IFLA_INET_CONF, IFLA_INET6_CONF), so nothing need be opened or read for them. Only
what says how a host behaves on its link is in these tables; what the kernel counts, or keeps for a moment, is not.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
from collections.abc import Callable
from struct import Struct

from windrow.netlink.routes import attributes

IPV4 = {
    "forwarding": 1,
    "proxy_arp": 3,
    "accept_redirects": 4,
    "secure_redirects": 5,
    "send_redirects": 6,
    "shared_media": 7,
    "rp_filter": 8,
    "accept_source_route": 9,
    "log_martians": 11,
    "arp_filter": 13,
    "arp_announce": 18,
    "arp_ignore": 19,
    "promote_secondaries": 20,
    "arp_accept": 21,
    "arp_notify": 22,
    "accept_local": 23,
    "src_valid_mark": 24,
    "proxy_arp_pvlan": 25,
    "route_localnet": 26,
}
"""IPV4_DEVCONF_* (include/uapi/linux/ip.h), which count from 1."""
IPV6 = {
    "forwarding": 0,
    "hop_limit": 1,
    "accept_ra": 3,
    "accept_redirects": 4,
    "autoconf": 5,
    "dad_transmits": 6,
    "router_solicitations": 7,
    "use_tempaddr": 10,
    "accept_ra_defrtr": 17,
    "accept_ra_pinfo": 18,
    "accept_ra_rtr_pref": 19,
    "accept_ra_rt_info_max_plen": 21,
    "proxy_ndp": 22,
    "optimistic_dad": 23,
    "accept_source_route": 24,
    "disable_ipv6": 26,
    "accept_dad": 27,
    "ndisc_notify": 29,
    "use_optimistic": 34,
    "accept_ra_mtu": 35,
    "use_oif_addrs_only": 37,
    "keep_addr_on_down": 42,
    "addr_gen_mode": 47,
}
"""DEVCONF_* (include/uapi/linux/ipv6.h)."""
_INET_CONF, _INET6_CONF = 1, 2
_S32 = Struct("=i")


def read(families: bytes) -> dict[str, str]:
    """`ipv6/accept_ra` -> `1`, of the payload of IFLA_AF_SPEC; what this kernel does not have is left out."""
    each = attributes(families, 0, len(families))
    four = attributes(inner := each.get(socket.AF_INET, b""), 0, len(inner)).get(_INET_CONF, b"")
    six = attributes(inner := each.get(socket.AF_INET6, b""), 0, len(inner)).get(_INET6_CONF, b"")
    found = {f"ipv4/{name}": text for name, at in IPV4.items() if (text := _number(four, at - 1)) is not None}
    return found | {f"ipv6/{name}": text for name, at in IPV6.items() if (text := _number(six, at)) is not None}


def defaults(read_sysctl: Callable[[str], str | None]) -> dict[str, str]:
    """What a new link begins with (`conf/default`)."""
    keys = [f"ipv4/{name}" for name in IPV4] + [f"ipv6/{name}" for name in IPV6]
    found = {key: read_sysctl(place(key, "default")) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def place(key: str, link: str) -> str:
    """`ipv6/accept_ra` of a link, as `sysctl` takes it; a name may have dots."""
    family, _, name = key.partition("/")
    return f"net/{family}/conf/{link}/{name}"


def _number(array: bytes, at: int) -> str | None:
    return str(_S32.unpack_from(array, 4 * at)[0]) if len(array) >= 4 * at + 4 else None
