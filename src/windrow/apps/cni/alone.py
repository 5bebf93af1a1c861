"""A point-to-point port on the host: its router, the ways to it, and that pods on a shared bridge find it.

Loaded only where a configuration has `pointToPoint`, or the bridge of the default network is made beside such ports.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress

from windrow.apps.cni.addresses import allow_ipv6, found
from windrow.apps.cni.bridges import changing, quietly
from windrow.apps.cni.host import Host
from windrow.apps.cni.undo import Undo
from windrow.model.host import Route
from windrow.model.names import POD_BRIDGE
from windrow.model.ports import PortRecord
from windrow.model.verbatim import proxied
from windrow.netlink import forwarding, links, ports
from windrow.netlink.errors import NoSuchLink
from windrow.port.bridge import ROUTERS, BridgeConfig
from windrow.port.result import family_of


def make_router(config: BridgeConfig, ways: Iterable[Route], host: Host, undo: Undo) -> None:
    """Of a point-to-point port: its router on the bridge that is its own, and the ways to it. All of it goes with the
    bridge. Raises KernelError."""
    rtnl, ways = host.rtnl(), tuple(ways)
    families = {family_of(way.dst) for way in ways}
    with changing(host):
        link = found(config.bridge, host)
        if "6" in families:
            allow_ipv6(link.name, undo)
        for family in sorted(families):
            # Of this host alone: it must not become the source of what the host itself sends to the pod.
            scope = links.RT_SCOPE_HOST if family == "4" else None
            cidr = f"{ROUTERS[family]}/{32 if family == '4' else 64}"
            rtnl.run(links.add_addr(link.ifindex, cidr, nodad=family == "6", scope=scope, name=link.name))
        rtnl.run(*(links.add_route(way, link.ifindex) for way in ways))
    for family in families:
        forwarding.switch_on(family)


def let_both_speak(host: Host, addresses: Iterable[str]) -> None:
    """Pods on the default network's bridge take all others of their node for neighbours: for those behind a link of
    their own the host answers there. Where that bridge is not there, there is none to answer. Raises KernelError."""
    bridge = ports.see(host.rtnl(), POD_BRIDGE)
    others = tuple(addresses)
    if bridge is None or not others:
        return
    quietly(f"net/ipv4/neigh/{POD_BRIDGE}/proxy_delay", "0")
    quietly(f"net/ipv4/conf/{POD_BRIDGE}/proxy_arp", "1")
    six = [address for address in others if family_of(address) == "6"]
    if six:
        quietly(f"net/ipv6/neigh/{POD_BRIDGE}/proxy_delay", "0")
        quietly(f"net/ipv6/conf/{POD_BRIDGE}/proxy_ndp", "1")
    host.rtnl().run(*(links.add_neighbour(proxied(one), bridge.ifindex, name=POD_BRIDGE) for one in six))


def answer_no_more(host: Host, addresses: Iterable[str]) -> None:
    """IPv4's answers go by the routes, and those of IPv6 by a list."""
    bridge = ports.see(host.rtnl(), POD_BRIDGE)
    six = [address for address in addresses if family_of(address) == "6"]
    if bridge is None or not six:
        return
    gone = [links.del_neighbour(proxied(one), bridge.ifindex, name=POD_BRIDGE) for one in six]
    for failure in host.rtnl().burst(gone):
        if failure is not None and failure.errno != errno.ENOENT:
            raise failure


def remove_own_bridge(config: BridgeConfig, old: PortRecord | None, host: Host) -> None:
    """With its router and the ways to the port, which hang on it."""
    if old is not None:
        answer_no_more(host, old.routed)
    bridge = ports.see(host.rtnl(), config.bridge)
    if bridge is not None and bridge.kind == "bridge":
        with suppress(NoSuchLink):
            host.rtnl().run(links.delete(bridge.name))
