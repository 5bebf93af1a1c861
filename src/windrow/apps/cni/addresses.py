"""The part of a port that has addresses: its IPAM plugin, the pod's interface, the gateway on the host.

Loaded only where a configuration has `ipam`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from windrow.apps.cni import bridges
from windrow.apps.cni.bridges import changing, quietly
from windrow.apps.cni.host import Host
from windrow.apps.cni.undo import Undo
from windrow.netlink import forwarding, links, ports
from windrow.netlink.enter import beside, inside
from windrow.netlink.errors import AlreadyThere, NoSuchLink
from windrow.netlink.ports import Seen
from windrow.netlink.sock import Message, Rtnl
from windrow.port.bridge import ROUTERS, Addressing, BridgeConfig, conflicts, with_gateways
from windrow.port.errors import (
    DELEGATE_FAILED,
    IN_THE_WAY,
    INCOMPATIBLE_VERSION,
    INVALID_ENVIRONMENT,
    UNKNOWN_CONTAINER,
    CniError,
)
from windrow.port.identity import bridge_mac, host_end
from windrow.port.request import ADD, DEL, GC, Request
from windrow.port.result import Interface, Result, family_of, from_document
from windrow.services import plugins

SETTLE_S = 10.0
"""For duplicate address detection, which takes a second, or two where others look for the same address."""


# IPAM ---------------------------------------------------------------------------------------------


BESIDE = frozenset({"host-local", "static"})
"""IPAM plugins that look at no link: they work while the port is made, and are started while it is deleted. `dhcp` asks
by way of it."""


def requested(
    config: BridgeConfig, request: Request, undo: Undo, first: Callable[[], None], *, holding: int | None
) -> Callable[[], Result]:
    """Have the IPAM plugin give addresses, beside this call where it can; what comes back waits for them, and raises
    CniError. `first` is done before it begins. `holding`: the record's lock, which the plugin holds, too. The host's
    lock is not to be held by whoever waits. Raises CniError.

    A plugin that says why it gives nothing has given nothing: it is asked to release it all the same, and need not
    know what.
    """
    plugins.find(config.ipam, request.path)
    refused: list[CniError] = []

    def ask() -> Mapping[str, object] | None:
        first()
        try:
            return run_ipam(config.ipam, request, ADD, holding=holding)
        except CniError as error:
            if error.code != DELEGATE_FAILED:
                refused.append(error)
            raise

    outcome = beside(ask) if config.ipam in BESIDE else ask

    def release() -> None:
        if config.ipam in BESIDE:
            with suppress(CniError):
                outcome()  # or it would give after this
        try:
            release_addresses(config.ipam, request)
        except CniError:
            if not refused:
                raise

    undo.note(release)
    return lambda: from_document(outcome() or {})


def release_addresses(ipam: str, request: Request) -> None:
    """Raises CniError. Nothing to release is no error for any IPAM plugin."""
    run_ipam(ipam, request, DEL)


@contextmanager
def releasing(ipam: str, request: Request) -> Iterator[Callable[[], object]]:
    """What comes back releases the addresses, and raises CniError. It is called once the port is gone: until then the
    pod may send from them, and nobody else is to have them. The plugin's program is started at once where it can be,
    and waits for its configuration while the kernel takes the port away."""
    if ipam not in BESIDE:
        yield lambda: release_addresses(ipam, request)
        return
    try:
        started = plugins.start(ipam, env=_environment(request, DEL), path=request.path)
    except CniError:  # told in its turn
        yield lambda: release_addresses(ipam, request)
        return
    with started:
        yield lambda: started.finish(request.stdin)


def collect_addresses(ipam: str, request: Request) -> None:
    """Pass a GC on. An IPAM plugin that knows none is no failure. Raises CniError."""
    try:
        run_ipam(ipam, request, GC)
    except CniError as error:
        if error.code not in (INCOMPATIBLE_VERSION, UNKNOWN_CONTAINER, INVALID_ENVIRONMENT):
            raise


def run_ipam(ipam: str, request: Request, command: str, *, holding: int | None = None) -> Mapping[str, object] | None:
    """The same configuration and environment as ours. Raises CniError."""
    env = _environment(request, command)
    return plugins.run(ipam, env=env, config=request.stdin, path=request.path, holding=holding)


def _environment(request: Request, command: str) -> dict[str, str]:
    return {
        **request.env,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": request.container_id,
        "CNI_NETNS": request.netns,
        "CNI_IFNAME": request.ifname,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in request.args.items()),
        "CNI_PATH": ":".join(request.path),
    }


# In the pod ---------------------------------------------------------------------------------------


def configure_pod(config: BridgeConfig, ifname: str, addressing: Addressing, fd: int) -> None:
    """Addresses, up, routes; waits for duplicate address detection. Raises KernelError."""
    inside(fd, lambda: _configure(config, ifname, addressing))


def _configure(config: BridgeConfig, ifname: str, addressing: Addressing) -> None:
    with Rtnl() as rtnl:
        if config.detect_duplicates:
            quietly(f"net/ipv6/conf/{ifname}/enhanced_dad", "1")
        quietly(f"net/ipv6/conf/{ifname}/accept_dad", "1" if config.detect_duplicates else "0")
        quietly(f"net/ipv4/conf/{ifname}/arp_notify", "1")
        with_ipv6 = any(family_of(ip.address) == "6" for ip in addressing.ips)
        if with_ipv6:
            for name in ("lo", ifname):
                quietly(f"net/ipv6/conf/{name}/disable_ipv6", "0")
        index = rtnl.index(ifname)
        rtnl.run(*(links.add_addr(index, ip.address, name=ifname) for ip in addressing.ips))
        rtnl.run(links.set_link(ifname, up=True))
        if with_ipv6:
            ports.await_addresses(rtnl, index, SETTLE_S)
        if config.point_to_point and any(family_of(ip.address) == "4" for ip in addressing.ips):
            rtnl.run(ports.append_route(f"{ROUTERS['4']}/32", "", index, scope=links.RT_SCOPE_LINK))
        for route in with_gateways(addressing):
            numbers = {"priority": route.priority, "table": route.table, "scope": route.scope}
            numbers |= {"mtu": route.mtu, "advmss": route.advmss}
            rtnl.run(ports.append_route(route.dst, route.gw, index, **numbers))


# On the host --------------------------------------------------------------------------------------


def make_gateway(config: BridgeConfig, addressing: Addressing, host: Host, undo: Undo) -> list[Interface]:
    """The gateway's addresses on the bridge, or on a link of its own in the port's VLAN; forwarding switched on.

    Returns the link of its own. Raises CniError, KernelError.
    """
    rtnl = host.rtnl()
    made: list[Interface] = []
    with changing(host):
        if config.vlan:
            own = ports.see(rtnl, config.gateway_link) or _gateway_link(config, host, undo)
            made.append(Interface(name=own.name, mac=own.mac))
        _give_addresses(config, found(config.gateway_link, host), addressing.gateways, host, undo)
    for family in addressing.families:
        forwarding.switch_on(family)
    return made


def _give_addresses(config: BridgeConfig, link: Seen, wanted: tuple[str, ...], host: Host, undo: Undo) -> None:
    """All conflicts are found before the first address is touched."""
    rtnl = host.rtnl()
    present = ports.saved_addresses(rtnl, link.ifindex)
    others = dict.fromkeys(other for one in wanted for other in conflicts(config, one, tuple(present)))
    if others and not config.force_address:
        message = f"{link.name!r} already has an IP address different from {', '.join(wanted)}"
        raise CniError(IN_THE_WAY, message, f"it has {', '.join(others)}; forceAddress replaces it")
    if others:
        _take_addresses(list(others), present, link, host, undo)
    if any(family_of(cidr) == "6" for cidr in wanted):
        allow_ipv6(link.name, undo)
    for cidr in wanted:
        if cidr not in present:
            rtnl.run(links.add_addr(link.ifindex, cidr, name=link.name))
            undo.note(lambda cidr=cidr: rtnl.run(links.del_addr(link.ifindex, cidr, name=link.name)))  # type: ignore[misc]


def allow_ipv6(link: str, undo: Undo) -> None:
    """A host on which IPv6 is switched off keeps that, but for the link that its administrator wants an address on."""
    if (old := forwarding.allow_ipv6(link)) is not None:
        undo.note(lambda: quietly(f"net/ipv6/conf/{link}/disable_ipv6", old))


def _take_addresses(cidrs: list[str], present: Mapping[str, Message], link: Seen, host: Host, undo: Undo) -> None:
    """A secondary address goes with its primary one (`inet_del_ifa`), and is not missed then."""
    rtnl = host.rtnl()
    back = [present.get(cidr) or links.add_addr(link.ifindex, cidr, name=link.name) for cidr in cidrs]
    undo.note(lambda: rtnl.run(*back))
    for failure in rtnl.burst([links.del_addr(link.ifindex, cidr, name=link.name) for cidr in cidrs]):
        if failure is not None and failure.errno != errno.EADDRNOTAVAIL:
            raise failure


def _gateway_link(config: BridgeConfig, host: Host, undo: Undo) -> Seen:
    """A cable between the host and its own bridge: one end is in the VLAN, the other one has the gateway's address."""
    rtnl = host.rtnl()
    bridge = found(config.bridge, host)
    name, port = config.gateway_link, host_end(config.bridge, config.gateway_link)
    mac = bridge_mac(host.node, name)
    ends = links.End(name=port, mtu=bridge.mtu), links.End(name=name, mac=mac, mtu=bridge.mtu)
    try:
        rtnl.run(links.veth(*ends, master=bridge.ifindex))
    except AlreadyThere:  # another call was quicker
        return found(name, host)
    undo.note(lambda: rtnl.run(links.delete(name)))
    pvid = bridges.default_pvid(bridge)
    bridges.join(host, found(port, host), config.gateway_vlans(pvid), pvid)
    for end in (port, name):
        quietly(f"net/ipv6/conf/{end}/accept_ra", "0")
    rtnl.run(links.set_link(name, up=True), links.set_link(port, up=True))
    return found(name, host)


def found(name: str, host: Host) -> Seen:
    seen = ports.see(host.rtnl(), name)
    if seen is None:
        raise NoSuchLink(errno.ENODEV, f"find link {name}")
    return seen
