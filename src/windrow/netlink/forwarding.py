"""Make a router of the calling thread's namespace, without taking from it the routers that it has itself.

A router takes no router advertisements, unless `accept_ra` is 2 (`ipv6_accept_ra`). The moment it becomes one, the
kernel drops all that it was told by others, but on links where `accept_ra` is 2 (`addrconf_fixup_forwarding`,
`rt6_purge_dflt_routers`). So what is 1 becomes 2 before.
"""

from __future__ import annotations

from collections.abc import Iterable

from windrow.netlink import ports, sysctl
from windrow.netlink.sock import Rtnl

_IPV4, _IPV6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
_ROUTES = "/proc/thread-self/net/ipv6_route"
_RTF_GATEWAY, _RTF_ADDRCONF = 0x2, 0x40000
"""include/uapi/linux/route.h, ipv6_route.h: together, a router advertisement brought it."""
_OUTWARDS = frozenset({"", "bond", "team", "vlan"})
"""Kinds of links that lead out of a host; a NIC is of none. The router behind such a link may not have spoken yet. What
leads to containers and machines alone counts only where a router behind it is in use."""


def switch_on(family: str, own: Iterable[str] = ()) -> None:
    """Pass packets on, of family `4` or `6`. `own`: further links whose router stays this namespace's own.

    Raises KernelError (ENOENT: a kernel without IPv6).
    """
    key = _IPV6 if family == "6" else _IPV4
    if sysctl.read(key) == "1":
        return
    if family == "6":
        _keep_routers(own)
    sysctl.write(key, "1")


def _keep_routers(own: Iterable[str]) -> None:
    """Not of `default`, with which every link begins that is made later: most of those lead to containers, and one of
    them would be this host's router by a single advertisement."""
    for link in {*own, *_routed(), *_outwards()}:
        if _takes_as_host(link):
            sysctl.write(f"net/ipv6/conf/{link}/accept_ra", "2")


def leads_out(link: str) -> bool:
    """Whether this host's own router is behind the link, or may be."""
    return link in _routed() or link in _outwards()


def _takes_as_host(link: str) -> bool:
    """Whether it takes routers only as long as this is none."""
    accepts, forwards = (sysctl.read(f"net/ipv6/conf/{link}/{name}") for name in ("accept_ra", "forwarding"))
    return accepts == "1" and forwards == "0"


def _outwards() -> frozenset[str]:
    """The links that lead out of this host, and the bridges that have one of them as a port."""
    with Rtnl() as rtnl:
        links = ports.every(rtnl)
    out = [link for link in links if link.kind in _OUTWARDS and link.name != "lo"]
    masters = {link.master for link in out}
    return frozenset(link.name for link in links if link.ifindex in masters or link in out)


def _routed() -> frozenset[str]:
    """The links by which a router is in use that an advertisement named."""
    try:
        with open(_ROUTES, encoding="utf-8") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return frozenset()
    wanted = _RTF_GATEWAY | _RTF_ADDRCONF
    return frozenset(row[9] for row in rows if int(row[8], 16) & wanted == wanted)


def allow_ipv6(link: str) -> str | None:
    """Switch IPv6 on for a link that is to have an address of it (`addrconf_add_dev`: EACCES otherwise).

    What `disable_ipv6` was, where that was another value; None: nothing was changed. Raises KernelError.
    """
    key = f"net/ipv6/conf/{link}/disable_ipv6"
    old = sysctl.read(key)
    if old in (None, "0"):
        return None
    sysctl.write(key, "0")
    return old
