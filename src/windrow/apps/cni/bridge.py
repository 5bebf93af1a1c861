"""The bridge plugin: one port of a bridge for one container, as containernetworking's plugin `bridge` makes it.

What it does differently:

- a bridge that belongs to a cluster network is never made or changed (`bridges`);
- a port is in the VLANs of its configuration before it is up, never in the bridge's default VLAN;
- a port whose bridge does not filter VLANs is refused, and so is a MAC address that a cluster network has already;
- an ADD that fails leaves the kernel as it was;
- a record is kept of each port from before it is made until after it is gone. With it a GC, or the next DEL, takes
  away what a call that was killed has left, and whatever the runtime has forgotten.

The host's lock is shared with other calls, for as long as netlink messages take; nobody waits for an IPAM plugin, a
firewall or a carrier.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from windrow.apps.cni import bridges, routers, sandbox
from windrow.apps.cni.bridges import changing
from windrow.apps.cni.host import Host
from windrow.apps.cni.undo import Undo
from windrow.model.errors import WindrowError
from windrow.model.names import POD_BRIDGE
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.values import Mac
from windrow.netlink import links, ports
from windrow.netlink.enter import opened_inside
from windrow.netlink.errors import AlreadyThere, KernelError, NoSuchLink
from windrow.netlink.ports import Seen
from windrow.netlink.sock import Rtnl
from windrow.port.bridge import BridgeConfig, read_config
from windrow.port.errors import (
    IN_THE_WAY,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    IO_FAILURE,
    KERNEL_REFUSED,
    MISSING,
    NOT_AVAILABLE,
    CniError,
)
from windrow.port.identity import host_end, host_mac
from windrow.port.request import DEL, GC, STATUS, Request, check_version, decode, read_args
from windrow.port.result import Interface, Result

if TYPE_CHECKING:
    from windrow.apps.cni.judging import Gate
    from windrow.port.bridge import Addressing

OTHERS_S = 10.0
"""For what a call that was killed had begun: its IPAM plugin, a firewall program. `host-local` and nft take a fraction
of a second; a DHCP server that does not answer is not waited for."""
UP_S = 2.5
"""For the port's operational state; it takes a fraction of a millisecond where nobody competes for the processor."""
BEGUN_S = 30.0
"""So long after its record was written, an ADD may still be about to make its port."""


# ADD ----------------------------------------------------------------------------------------------


def add(request: Request, host: Host) -> Result:
    """Raises CniError, KernelError."""
    config = read_config(request)
    with sandbox.opened(request) as pod:
        place = bridges.find(config, host)
        _refuse_second(request, pod, host)
        with ExitStack() as held, Undo() as undo:  # undone first: till then it is ours
            return _Add(request, config, place, host, undo, held).run(pod)


def _refuse_second(request: Request, pod: int, host: Host) -> None:
    """An attachment that is there stays untouched. What a killed call left of it is taken away first, and a port that
    leads elsewhere: into a namespace that the container had before, and that the kernel takes apart in its own time."""
    key = request.container_id, request.ifname
    old = host.records.get(key) or host.addressed.get(key)
    if old is None:
        return
    port = ports.see(host.rtnl(), old.host)
    if port is not None and (_leads_to(port, pod) or (old.netns != request.netns and sandbox.is_namespace(old.netns))):
        message = f"interface {request.ifname!r} of container {request.container_id} is attached already"
        raise CniError(IN_THE_WAY, message, f"to {old.bridge}, by port {old.host}; DEL takes it away")
    remove_recorded(old, request, host)


def _leads_to(port: Seen, pod: int) -> bool:
    with opened_inside(pod, Rtnl) as in_pod:
        return ports.other_end(in_pod, port) is not None


class _Add:
    """One ADD on its way: what its parts have in common."""

    def __init__(
        self, request: Request, config: BridgeConfig, place: bridges.Place, host: Host, undo: Undo, held: ExitStack
    ) -> None:
        self._request, self._config, self._place = request, config, place
        self._host, self._undo, self._held = host, undo, held
        self._holding: int | None = None
        """The lock on the record: whoever takes away what this call made waits for all that it started."""
        self._gate: Gate | None = None
        """None: there are no network policies on this host, and the port has no guards of its own."""
        self._port = host_end(request.container_id, request.ifname)
        self._mac = config.mac or _random_mac()

    def run(self, pod: int) -> Result:
        if self._config.ipam:
            _free_left_behind(self._request, self._host)
        self._record()
        if self._config.spoof_check:
            self._check_spoofing()  # before there is a link whose frames it could miss
        if self._gate is not None:
            self._gate.shut()
        given = self._ask_for_addresses() if self._config.ipam else None
        with changing(self._host):
            mac = host_mac(self._request.container_id, self._request.ifname)
            bridge = bridges.ensure(self._config, mac, self._host, self._undo)
            if self._gate is not None:
                self._gate.show_frames()
            self._make_port(bridge, pod)
        if self._gate is not None:
            self._gate.wait()  # before an address is asked for by way of the port
        addressing: Addressing | None = None
        made: list[Interface] = []
        if given is not None:
            addressing = self._set_addresses(pod, given())
        port = self._await_port()
        if addressing is not None and self._config.gateway:
            from windrow.apps.cni import addresses

            made = addresses.make_gateway(self._config, addressing, self._host, self._undo)
        return self._result(port, addressing, made)

    def _record(self) -> None:
        records = self._host.records
        record = _record_of(self._request, self._config, self._place, self._mac)
        self._undo.last = lambda: _forget(record.key, self._host)
        try:
            records.put(record)
            judged = self._host.judges
            if self._config.ipam or self._config.spoof_check or judged or record.guards:  # what starts programs
                self._holding = records.hold(record.key)
                self._held.callback(os.close, self._holding)
            if judged or record.guards:
                from windrow.apps.cni.judging import Gate

                self._gate = Gate(record, self._host, self._request.env.get("PATH", ""), self._holding)
            if self._place.cluster_network:
                _claim(record, self._host, self._place.cluster_network)
        except OSError as error:
            raise _disk(error) from error

    def _check_spoofing(self) -> None:
        from windrow.apps.cni import firewall

        self._undo.note(lambda: firewall.forget_spoofing(self._request))
        firewall.check_spoofing(self._request, port=self._port, mac=self._mac, holding=self._holding)

    def _make_port(self, bridge: Seen, pod: int) -> None:
        """The cable is made in one message, with one end a port of the bridge and the other one in the pod."""
        config, rtnl, ifname = self._config, self._host.rtnl(), self._request.ifname
        mac = host_mac(self._request.container_id, ifname)
        mtu = bridges.port_mtu(config, bridge, self._place, self._host)
        end = links.End(name=self._port, mac=mac, mtu=mtu, group=PORT_GROUP)
        peer = links.End(name=ifname, netns=pod, mac=self._mac, mtu=config.mtu or bridge.mtu)
        try:
            rtnl.run(links.veth(end, peer, master=bridge.ifindex))
        except AlreadyThere as error:
            message = f"container veth name ({ifname!r}) already exists"
            if ports.see(rtnl, self._port) is not None:
                message = f"port {self._port} already exists, and nobody knows whose it is"
            raise CniError(IN_THE_WAY, message) from error
        self._undo.note(self._delete_port)
        port = ports.see(rtnl, self._port)
        if port is None:
            raise CniError(MISSING, f"port {self._port} was taken away while it was made")
        pvid = bridges.default_pvid(bridge)
        bridges.join(self._host, port, config.vlans(pvid), pvid, hairpin=config.hairpin, isolated=config.isolated)
        bridges.quietly(f"net/ipv6/conf/{self._port}/accept_ra", "0")
        routers.choose(config, ifname, pod)
        if not config.ipam and not config.interface_down:
            with opened_inside(pod, Rtnl) as in_pod:
                in_pod.run(links.set_link(ifname, up=True))
        rtnl.run(links.set_link(self._port, up=True))

    def _delete_port(self) -> None:
        with changing(self._host):
            self._host.rtnl().run(links.delete(self._port))

    def _ask_for_addresses(self) -> Callable[[], Result]:
        from windrow.apps.cni import addresses

        def keep() -> None:
            try:
                self._host.addressed.put(_record_of(self._request, self._config, self._place, self._mac))
            except OSError as error:
                raise _disk(error) from error

        return addresses.requested(self._config, self._request, self._undo, first=keep, holding=self._holding)

    def _set_addresses(self, pod: int, given: Result) -> Addressing:
        from windrow.apps.cni import addresses
        from windrow.port.bridge import addressing, masqueraded

        config, request = self._config, self._request
        found = addressing(config, given, interface=2)
        every = tuple(ip.address.partition("/")[0] for ip in found.ips)
        if self._gate is not None:
            self._gate.forget_connections(every)
        alone = every if config.point_to_point else ()
        own: tuple[str, ...] = ()
        by = ""
        if config.masquerade:
            from windrow.apps.cni import firewall

            self._undo.note(lambda: firewall.forget_masquerade(request))
            own = masqueraded(config, (ip.address for ip in given.ips))
            by = firewall.masquerade(request, config.masquerade_backend, own, holding=self._holding)
        if alone:
            self._make_router(alone)
        if own or config.guards.addresses or alone:
            record = replace(self._own_record, masquerade=own, masquerade_by=by, routed=alone)
            self._record_addresses(replace(record, addresses=every if config.guards.addresses else ()))
        addresses.configure_pod(config, request.ifname, found, pod)
        if config.bridge == POD_BRIDGE and self._place.seen is None:  # it is new: others may be there already
            self._meet_those_alone()
        return found

    def _make_router(self, addresses: tuple[str, ...]) -> None:
        from windrow.apps.cni import alone

        alone.make_router(self._config, replace(self._own_record, routed=addresses).ways, self._host, self._undo)
        self._undo.note(lambda: alone.answer_no_more(self._host, addresses))
        alone.let_both_speak(self._host, addresses)

    def _meet_those_alone(self) -> None:
        if routed := [address for record in self._host.records.all() for address in record.routed]:
            from windrow.apps.cni import alone

            alone.let_both_speak(self._host, routed)

    @property
    def _own_record(self) -> PortRecord:
        """As it is before anything is known of its addresses."""
        return _record_of(self._request, self._config, self._place, self._mac)

    def _record_addresses(self, record: PortRecord) -> None:
        """Once it is done: what is written down and not there is drift, and would be repaired beside this call."""
        try:
            self._host.records.put(record)
        except OSError as error:
            raise _disk(error) from error

    def _await_port(self) -> Seen:
        rtnl = self._host.rtnl()
        if not self._config.interface_down:
            return ports.await_up(rtnl, self._port, UP_S)
        port = ports.see(rtnl, self._port)
        if port is None:
            raise NoSuchLink(errno.ENODEV, f"find link {self._port}")
        return port

    def _result(self, port: Seen, addressing: Addressing | None, made: list[Interface]) -> Result:
        bridge = ports.see(self._host.rtnl(), self._config.bridge)  # its MAC address may be another one by now
        pod = Interface(name=self._request.ifname, mac=self._mac, sandbox=self._request.netns)
        interfaces = (
            Interface(name=self._config.bridge, mac=bridge.mac if bridge else ""),
            Interface(name=port.name, mac=port.mac),
            pod,
            *made,
        )
        dns = self._config.dns or (addressing.dns if addressing else {})
        if addressing is None:
            return Result(interfaces=interfaces, dns=dns)
        return Result(interfaces=interfaces, ips=addressing.ips, routes=addressing.routes, dns=dns)


def _record_of(request: Request, config: BridgeConfig, place: bridges.Place, mac: Mac) -> PortRecord:
    pod = f"{request.args.get('K8S_POD_NAMESPACE', '')}/{request.args.get('K8S_POD_NAME', '')}"
    return PortRecord(
        container_id=request.container_id,
        ifname=request.ifname,
        netns=request.netns,
        network=request.network,
        bridge=config.bridge,
        host=host_end(request.container_id, request.ifname),
        mac=mac,
        vlans=config.vlans(place.default_pvid),
        isolated=config.isolated,
        hairpin=config.hairpin,
        pod=pod.strip("/"),
        config=request.stdin.decode(errors="surrogateescape"),
        path=":".join(request.path),
        args=";".join(f"{key}={value}" for key, value in request.args.items()),
        spoof_check=config.spoof_check,
        guards=config.guards,
        any_source=config.any_source,
    )


def _claim(record: PortRecord, host: Host, cluster_network: str) -> None:
    """Raises CniError where a port of the same cluster network has the MAC address."""

    def gone(other: PortRecord) -> bool:
        if ports.see(host.rtnl(), other.host) is not None:
            return False
        begun = host.records.written(other.key)
        return begun is None or time.time() - begun > BEGUN_S

    other = host.records.claim(record, gone)
    if other is None:
        return
    message = f"MAC address {record.mac} is in use in cluster network {cluster_network}"
    raise CniError(IN_THE_WAY, message, f"interface {other.ifname} of {other.user} has it")


def _free_left_behind(request: Request, host: Host) -> None:
    """Leases of this network from before a reboot: their containers are gone, and an address among them is wanted."""
    for record in left_behind(host):
        if record.network == request.network:
            with suppress(CniError, KernelError):  # GC tells why it cannot be
                remove_recorded(record, request, host)


def left_behind(host: Host) -> list[PortRecord]:
    """Ports of which a reboot has left nothing but leases; not those of which only the record is lost. Raises CniError,
    KernelError."""
    rtnl = host.rtnl()
    try:
        found = host.addressed.left_behind(host.records)
    except OSError as error:
        raise _disk(error) from error
    return [record for record in found if ports.see(rtnl, record.host) is None]


def _random_mac() -> Mac:
    """One interface's, and locally administered: what `eth_random_addr` makes."""
    first, *rest = os.urandom(6)
    return Mac(bytes([first & 0xFE | 0x02, *rest]).hex(":"))


# DEL ----------------------------------------------------------------------------------------------


def delete(request: Request, host: Host) -> None:
    """What the record says is undone, whatever the configuration says by now; without one, what the configuration
    says. Nothing to delete is no error, nor that bridge or namespace are gone. Raises CniError, KernelError."""
    if request.netns:
        sandbox.there(request)
    key = request.container_id, request.ifname
    old = host.records.get(key) or host.addressed.get(key)
    if old is None:
        check_version(DEL, request.config)
    if found := _recorded_config(old, request):
        made, config = found
        path = tuple(dict.fromkeys((*request.path, *made.path)))
        _remove(replace(made, netns=request.netns, path=path), config, old, host)
    elif old is not None and request.fault:
        remove_recorded(old, request, host)
    else:
        _remove(request, read_config(request), old, host)


def _remove(request: Request, config: BridgeConfig, old: PortRecord | None, host: Host) -> None:
    """The port, its addresses, its firewall, and at last its record. What a call that was killed had started goes on
    without it, and would give or load something after this: so it is waited for."""
    if config.ipam or config.spoof_check or config.guards or host.judges:
        host.records.wait_for_others((request.container_id, request.ifname), OTHERS_S)
    if config.ipam:
        _remove_addressed_port(request, config, old, host)
    else:
        _remove_port(request, config, old, host)
    if config.spoof_check or (config.ipam and config.masquerade):
        from windrow.apps.cni import firewall

        if config.spoof_check:
            firewall.forget_spoofing(request)
        if config.ipam and config.masquerade:
            firewall.forget_masquerade(request)
    try:
        _forget((request.container_id, request.ifname), host)
    except OSError as error:
        raise _disk(error) from error


def _remove_addressed_port(request: Request, config: BridgeConfig, old: PortRecord | None, host: Host) -> None:
    with ExitStack() as stack:
        prepared: list[Callable[[], object]] = []

        def prepare() -> None:
            from windrow.apps.cni import addresses

            prepared.append(stack.enter_context(addresses.releasing(config.ipam, request)))

        _remove_port(request, config, old, host, meanwhile=prepare)
        if not prepared:  # there was no port
            prepare()
        try:
            prepared[0]()
        except CniError as error:
            if old is not None or error.code != INCOMPATIBLE_VERSION:  # it has given nothing in a version it knows not
                raise


def _forget(key: tuple[str, str], host: Host) -> None:
    """Raises OSError."""
    host.addressed.remove(key)  # first, see `AddressedPorts`
    host.records.remove(key)


def _remove_port(
    request: Request,
    config: BridgeConfig,
    old: PortRecord | None,
    host: Host,
    *,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """One end takes the other with it. A port of ours is known by its name; one that the reference plugin made is
    found from the pod's end. `meanwhile` is done while the kernel takes it away, where there is one."""
    rtnl = host.rtnl()
    name = old.host if old else host_end(request.container_id, request.ifname)
    with changing(host):
        port = ports.see(rtnl, name)
        if port is None and old is None and request.netns:
            port = _port_of_pod(request, config, host)
        elif port is not None and old is None and port.group != PORT_GROUP:
            port = None
        if port is not None:
            gone = links.delete(port.name)
            with suppress(NoSuchLink):  # the pod's namespace went just now
                rtnl.run(gone) if meanwhile is None else rtnl.run_with(gone, meanwhile)
        if config.point_to_point:
            from windrow.apps.cni import alone

            alone.remove_own_bridge(config, old, host)


def _port_of_pod(request: Request, config: BridgeConfig, host: Host) -> Seen | None:
    """The port of the configured bridge whose other end is the interface that the call is about.

    Any other interface of that name is not ours to delete.
    """
    bridge = ports.see(host.rtnl(), config.bridge)
    if bridge is None or not sandbox.there(request):
        return None
    with sandbox.opened(request) as pod, opened_inside(pod, Rtnl) as in_pod:
        end = ports.see(in_pod, request.ifname)
    if end is None or end.kind != "veth":
        return None
    joined = ports.ports_of(host.rtnl(), bridge.ifindex)
    return next((one for one in joined if one.ifindex == end.peer and one.peer == end.ifindex), None)


def remove_recorded(record: PortRecord, request: Request, host: Host) -> None:
    """What DEL would do for a record. `request`: whose environment is inherited. Raises CniError, KernelError."""
    found = _recorded_config(record, request)
    if found is None:  # what it cannot say any more, nobody can
        alone = bool(record.routed)
        config = BridgeConfig(network=record.network, bridge=record.bridge, point_to_point=alone)
        found = _request_of(record, request, {}), config
    _remove(*found, record, host)


def _recorded_config(record: PortRecord | None, request: Request) -> tuple[Request, BridgeConfig] | None:
    """The call that made a port, as the DEL of it; None where its record does not hold it."""
    if record is None:
        return None
    try:
        made = _request_of(record, request, decode(record.config.encode(errors="surrogateescape")))
        return made, read_config(made)
    except CniError:
        return None


def _request_of(record: PortRecord, request: Request, config: dict[str, object]) -> Request:
    return replace(
        request,
        command=DEL,
        container_id=record.container_id,
        netns=record.netns,
        ifname=record.ifname,
        args=read_args(record.args),
        path=tuple(part for part in record.path.split(":") if part),
        config=config,
        stdin=record.config.encode(errors="surrogateescape"),
    )


# CHECK, STATUS, GC --------------------------------------------------------------------------------


def check(request: Request, host: Host) -> None:
    """Raises CniError, with all that is not as it was made; KernelError."""
    from windrow.apps.cni.checks import check_port

    check_port(request, read_config(request), host)


def status(request: Request, host: Host) -> None:
    """Whether an ADD could succeed. Raises CniError (NOT_AVAILABLE)."""
    config = read_config(request)
    try:
        bridges.find(config, host)
    except CniError as error:
        raise CniError(NOT_AVAILABLE, error.message, error.details) from error
    if config.ipam:
        from windrow.apps.cni import addresses

        addresses.run_ipam(config.ipam, request, STATUS)


def gc(request: Request, host: Host) -> None:
    """Take away every port of this network that is not in the runtime's list. Goes on after an error.

    Raises CniError with all of them.
    """
    config = read_config(request)
    valid = _valid_attachments(request)
    failures: list[tuple[str, WindrowError]] = []
    for record in (*host.records.all(), *left_behind(host)):
        if record.network == request.network and record.key not in valid:
            try:
                remove_recorded(record, request, host)
            except (CniError, KernelError) as error:
                failures.append((f"{record.ifname} of {record.container_id}", error))
    _sweep(host)
    if config.ipam:
        from windrow.apps.cni import addresses

        try:
            addresses.collect_addresses(config.ipam, request)
        except CniError as error:
            failures.append((f"leases of {config.ipam}", error))
    if failures:
        first = failures[0][1]
        code = first.code if isinstance(first, CniError) else KERNEL_REFUSED
        raise CniError(code, "; ".join(f"{what}: {error}" for what, error in failures))


def _valid_attachments(request: Request) -> set[tuple[str, str]]:
    """Without the list nothing is garbage: to delete everything must be asked for by an empty one."""
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        listed = request.config.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise CniError(INVALID_CONFIG, f"{key} must be a list of objects with containerID and ifname")
        return {(str(one.get("containerID")), str(one.get("ifname"))) for one in listed}
    raise CniError(INVALID_CONFIG, "cni.dev/valid-attachments is missing", f"{GC} needs the list of what is to stay")


def _sweep(host: Host) -> None:
    """Broken records of ports that are gone, and what else killed calls leave on the disk."""
    rtnl, records = host.rtnl(), host.records
    for path, _ in records.broken():
        if ports.see(rtnl, records.port_of(path)) is None:
            records.discard(path)
    records.sweep()
    host.addressed.sweep()


def _disk(error: OSError) -> CniError:
    return CniError(IO_FAILURE, f"the port's record cannot be kept: {error.strerror}", str(error.filename or ""))
