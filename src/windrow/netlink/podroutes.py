"""A pod's default routes; and how large the frames are that leave this host.

The kernel is asked and told, and nothing is decided here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Mapping

from windrow.model.host import MAIN_TABLE, Route
from windrow.model.values import IfName
from windrow.netlink import codec, links, netns, ports
from windrow.netlink.errors import KernelError
from windrow.netlink.observe import observe
from windrow.netlink.sock import RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_GETROUTE, Message, Rtnl

_ANYWHERE = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): nobody has it, so the route to it is the default route."""


def default_families(namespace: netns.Netns) -> dict[str, frozenset[int]]:
    """In a pod, by interface, the families (4, 6) in which a default route leads by it. Raises KernelError."""

    def inside() -> dict[str, frozenset[int]]:
        with Rtnl() as rtnl:
            found = {(way.dev, 6 if ":" in way.dst else 4) for way in ports.ways(rtnl) if way.main and way.default}
            return {n: frozenset(f for dev, f in found if dev == index) for n, index in rtnl.indexes().items()}

    return netns.opened_in(namespace, inside)


def turn(namespace: netns.Netns, turns: Mapping[str, tuple[Collection[int], Collection[str]]]) -> None:
    """In a pod, for each interface: the families (4, 6) whose default routes by it go, and the gateways by way of which
    the new ones lead. All old ones go first. One that is gone already is no error. Raises KernelError."""

    def inside() -> None:
        with Rtnl() as rtnl:
            index = {name: rtnl.index(name) for name in turns}
            main = (r for r in observe(rtnl).state.routes if r.table == MAIN_TABLE)
            found = [r for r in main if r.dst == "default" and r.dev in turns]
            old = [r for r in found if _family(r) in turns[str(r.dev)][0]]
            for failure in rtnl.burst([links.del_route(r, index[str(r.dev)]) for r in old]):
                if failure is not None and failure.errno != errno.ESRCH:
                    raise failure
            for name, (_, gateways) in turns.items():
                for gateway in gateways:
                    rtnl.run(links.add_route(Route(dst="default", dev=IfName(name), gateway=gateway), index[name]))

    netns.opened_in(namespace, inside)


def _family(route: Route) -> int:
    """A default route without a gateway is observed without its family, and is IPv4's as far as anybody makes one."""
    return 6 if route.gateway and ":" in route.gateway else 4


def mtu_of(rtnl: Rtnl, name: str) -> int:
    """Raises NoSuchLink."""
    return _mtu(rtnl, {"name": name}, 0, f"find link {name}")


def mtu_of_default_route(rtnl: Rtnl) -> int:
    """Of the device that IPv4's default route leads to. Raises KernelError: there is none (ENETUNREACH)."""
    header = codec.ROUTE_HEADER.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    message = Message(RTM_GETROUTE, header + codec.ROUTE.encode({"dst": _ANYWHERE}), doing="find the default route")
    data, start, end = rtnl.get(message)
    index = codec.ROUTE.decode(data, start + codec.ROUTE_HEADER.size, end).get("dev")
    if index is None:
        raise KernelError(errno.ENETUNREACH, message.doing)
    return _mtu(rtnl, {}, int(index), "find the device of the default route")


def _mtu(rtnl: Rtnl, values: dict[str, str], index: int, doing: str) -> int:
    body = codec.LINK_HEADER.pack(0, 0, index, 0, 0)
    body += codec.LINK.encode({**values, "ext_mask": RTEXT_FILTER_SKIP_STATS})
    data, start, end = rtnl.get(Message(RTM_GETLINK, body, doing=doing))
    return int(codec.LINK.decode(data, start + codec.LINK_HEADER.size, end)["mtu"])
