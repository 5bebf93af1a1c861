"""CHECK: is a port still what it was made? Loaded only for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from windrow.apps.cni import bridges, sandbox
from windrow.apps.cni.host import Host
from windrow.model.filters import IPTABLES, PortFilter
from windrow.model.values import Mac
from windrow.netlink import ports
from windrow.netlink.enter import opened_inside
from windrow.netlink.ports import Address, Seen, Way
from windrow.netlink.sock import Rtnl
from windrow.port.bridge import Addressing, BridgeConfig, masqueraded, with_gateways
from windrow.port.errors import CHANGED, INVALID_CONFIG, CniError
from windrow.port.identity import host_end
from windrow.port.request import CHECK, Request
from windrow.port.result import Interface, Result, from_document


class Pod(NamedTuple):
    """What is seen in the pod."""

    interface: Seen | None
    addresses: tuple[Address, ...] = ()
    ways: tuple[Way, ...] = ()


def check_port(request: Request, config: BridgeConfig, host: Host) -> None:
    """Raises CniError, with all that is not as it was made; KernelError."""
    result = previous_result(request)
    recorded = next((one for one in result.interfaces if one.name == request.ifname and one.sandbox), None)
    with sandbox.opened(request) as fd:
        pod = _look(request.ifname, fd)
    wrong: list[str] = []
    if recorded is None or recorded.sandbox != request.netns:
        found = recorded.sandbox if recorded else ""
        wrong.append(f"Sandbox in prevResult {found} doesn't match configured netns: {request.netns}")
    wrong += _pod(request.ifname, recorded, pod, result, config)
    wrong += _host(request, config, result, pod.interface, host)
    wrong += _rules(request, config, result, host)
    if wrong:
        raise CniError(CHANGED, "; ".join(wrong))
    if config.ipam:
        from windrow.apps.cni import addresses

        addresses.run_ipam(config.ipam, request, CHECK)


def previous_result(request: Request) -> Result:
    """Raises CniError: the runtime gave none, or what is none."""
    document = request.config.get("prevResult")
    if document is None:
        raise CniError(INVALID_CONFIG, "Required prevResult missing", "CHECK needs the result of the ADD")
    try:
        return from_document(document)
    except CniError as error:
        raise CniError(INVALID_CONFIG, "prevResult is not the result of a CNI plugin", error.details) from error


def _look(ifname: str, fd: int) -> Pod:
    with opened_inside(fd, Rtnl) as rtnl:
        seen = ports.see(rtnl, ifname)
        if seen is None:
            return Pod(None)
        ways = tuple(way for way in ports.ways(rtnl) if way.dev == seen.ifindex)
        return Pod(seen, tuple(ports.addresses(rtnl, seen.ifindex)), ways)


def _pod(ifname: str, recorded: Interface | None, pod: Pod, result: Result, config: BridgeConfig) -> Iterator[str]:
    seen = pod.interface
    if seen is None:
        yield f"container interface {ifname} not found"
        return
    if seen.kind != "veth":
        yield f"container interface {ifname} not of type veth"
    if recorded is not None and recorded.mac and recorded.mac.lower() != seen.mac:
        yield f"container interface {ifname} has MAC {seen.mac}, not {recorded.mac}"
    if seen.up == config.interface_down:
        yield f"container interface {ifname} is {'up' if seen.up else 'down'}"
    if config.mtu and seen.mtu != config.mtu:
        yield f"container interface {ifname} has MTU {seen.mtu}, not {config.mtu}"
    yield from _addresses(ifname, result, pod)


def _addresses(ifname: str, result: Result, pod: Pod) -> Iterator[str]:
    import ipaddress

    names = [one.name for one in result.interfaces]
    mine = [ip for ip in result.ips if ip.interface is None or names[ip.interface : ip.interface + 1] == [ifname]]
    present = {ipaddress.ip_interface(one.cidr) for one in pod.addresses}
    for ip in mine:
        if ipaddress.ip_interface(ip.address) not in present:
            yield f"container interface {ifname} does not have address {ip.address}"
    there = {(ipaddress.ip_network(way.dst), way.gateway) for way in pod.ways}
    for route in with_gateways(Addressing(ips=tuple(mine), routes=result.routes)):
        gateway = str(ipaddress.ip_address(route.gw)) if route.gw else ""
        if (ipaddress.ip_network(route.dst, strict=False), gateway) not in there:
            yield f"there is no route to {route.dst}" + (f" via {route.gw}" if route.gw else "")


def _host(request: Request, config: BridgeConfig, result: Result, pod: Seen | None, host: Host) -> Iterator[str]:
    rtnl = host.rtnl()
    bridge = ports.see(rtnl, config.bridge)
    if bridge is None:
        yield f"bridge {config.bridge} not found"
        return
    if bridge.kind != "bridge":
        yield f"{config.bridge} does not have link type of bridge"
        return
    theirs = bridges.cluster_network(config.bridge, bridge, host)
    if config.promisc and not bridge.promisc and not theirs:
        yield f"bridge {config.bridge} is not in promiscuous mode"
    names = [one for one in result.interfaces if not one.sandbox and one.name != config.bridge]
    seen = [found for one in names if (found := ports.see(rtnl, one.name)) is not None]
    port = next((one for one in seen if pod is not None and one.kind == "veth" and one.peer == pod.ifindex), None)
    if port is None:
        yield f"the port of {request.ifname} on bridge {config.bridge} not found"
        return
    if config.point_to_point:
        yield from _ways(result, bridge, host)
    yield from _port(
        port, bridge, config, next(one for one in names if one.name == port.name), host, theirs=bool(theirs)
    )


def _ways(result: Result, bridge: Seen, host: Host) -> Iterator[str]:
    there = {way.dst for way in ports.ways(host.rtnl()) if way.main and way.dev == bridge.ifindex}
    for ip in result.ips:
        if ip.address not in there:
            yield f"there is no route to {ip.address} over {bridge.name}"


def _port(
    port: Seen, bridge: Seen, config: BridgeConfig, recorded: Interface, host: Host, *, theirs: bool
) -> Iterator[str]:
    """Of a port that is not attached nothing more is to be said. `theirs`: the bridge is a cluster network's."""
    if recorded.mac and recorded.mac.lower() != port.mac:
        yield f"port {port.name} has MAC {port.mac}, not {recorded.mac}"
    if not port.up:
        yield f"port {port.name} is down"
    least = bridge.mtu if theirs else config.mtu or 0
    if port.mtu < least:
        yield f"port {port.name} has MTU {port.mtu}, not {least}"
    if port.master != bridge.ifindex:
        yield f"port {port.name} is not attached to bridge {bridge.name}"
        return
    for option, wanted in (("hairpin", config.hairpin), ("isolated", config.isolated)):
        if option in port.slave and bool(port.slave[option]) != wanted:
            yield f"port {port.name} is {'not ' if wanted else ''}{option}"
    wanted_vlans = config.vlans(bridges.default_pvid(bridge))
    if wanted_vlans is not None:
        found = ports.vlans_of(host.rtnl(), port.ifindex)
        if found is None or (found.pvid, found.untagged, found.tagged) != (
            wanted_vlans.pvid,
            wanted_vlans.untagged,
            wanted_vlans.tagged,
        ):
            yield f"port {port.name} is in VLANs {_said(found)}, not {_said(wanted_vlans)}"


def _rules(request: Request, config: BridgeConfig, result: Result, host: Host) -> Iterator[str]:
    """Of the packet filter: as the record says that they were made; where there is none, as the configuration does."""
    record = host.records.get((request.container_id, request.ifname))
    wanted = record.filter if record is not None else _configured(request, config, result)
    if wanted is None or not wanted.parts:
        return
    from windrow.apps.filters import PortFilters
    from windrow.services.firewall import Firewall

    port = host_end(request.container_id, request.ifname)
    filters = host.filters or PortFilters(Firewall(request.env.get("PATH", "")))
    seen = filters.read({port: wanted}, [wanted.owner], [port])
    if (found := seen.filters.get(port)) is None:
        yield f"the rules of {', '.join(wanted.parts)} cannot be looked at: {seen.unread}"
        return
    for part, words in wanted.parts.items():
        if found.parts.get(part) != words:
            fault = found.faults.get(part) or "there are none"
            yield f"the rules of {part} ({words}) are not as they were made: {fault}"


def _configured(request: Request, config: BridgeConfig, result: Result) -> PortFilter:
    pod = next((one for one in result.interfaces if one.name == request.ifname and one.sandbox), None)
    return PortFilter(
        container_id=request.container_id,
        ifname=request.ifname,
        network=request.network,
        mac=Mac(pod.mac.lower()) if config.spoof_check and pod is not None and pod.mac else None,
        masquerade=masqueraded(config, (ip.address for ip in result.ips)) if config.ipam and config.masquerade else (),
        backend=config.masquerade_backend or IPTABLES,
    )


def _said(vlans: object) -> str:
    from windrow.model.values import PortVlans

    if not isinstance(vlans, PortVlans) or not vlans.all:
        return "none"
    parts = [f"{vlans.untagged} untagged"] if vlans.untagged else []
    parts += [f"{vlans.tagged} tagged"] if vlans.tagged else []
    return " and ".join(parts) + (f" (PVID {vlans.pvid})" if vlans.pvid else "")
