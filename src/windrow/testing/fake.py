"""FakeKernel: a kernel in memory, with the methods of `netlink.Kernel`.

It keeps the rules of `testing.machine`, refuses with the kernel's errno, and treats a burst as the kernel
does. `str(kernel)` is a table that tests can hold against an expected text.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.facts import KernelFeatures, Nic
from windrow.model.filters import Filters, FiltersSeen, PortFilter
from windrow.model.host import (
    OWNER_GROUP,
    Bond,
    BridgePort,
    HostState,
    Link,
    LinkSpec,
    Observed,
    Other,
    Route,
    Rule,
    Runtime,
    StaticNeighbour,
    VlanIf,
)
from windrow.model.marks import called, is_marked, marked_names
from windrow.model.names import TUNNEL_4, TUNNEL_6
from windrow.model.ruletable import PoliciesSeen, RuleTable
from windrow.model.steps import (
    Action,
    AddAddr,
    AddFdb,
    AddNeighbour,
    AddRoute,
    AddRule,
    Adopt,
    AskAddr,
    AwaitCarrier,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DelRoute,
    DelRule,
    Disown,
    DropFilter,
    DropPeer,
    Failure,
    PutPeer,
    RenameLink,
    SetBond,
    SetBridge,
    SetFilter,
    SetLink,
    SetMark,
    SetMaster,
    SetPolicies,
    SetPort,
    SetSlave,
    SetSnooping,
    SetSysctl,
    SetVlanFlags,
    SetVlans,
    SetVxlan,
    SetWireguard,
    Step,
)
from windrow.model.values import Cidr, IfName, Mac
from windrow.plan.renamed import called_otherwise
from windrow.testing import traffic
from windrow.testing.bonding import Refused
from windrow.testing.machine import ACTIVE_MODES, DEVICE, Device, Machine
from windrow.testing.table import table
from windrow.testing.traffic import Interruption

NIC_KINDS = frozenset({DEVICE, "veth", "dummy"})


class Crashed(Exception):
    """The process died here, as `crash_after` asked: what was done is done."""


class FakeKernel:
    """One network namespace in memory.

    `journal`: every step that was done. `interruptions`: what those steps cost the frames of others.
    """

    def __init__(self, *, features: KernelFeatures | None = None) -> None:
        self.machine = Machine()
        self.journal: list[Step] = []
        self.interruptions: list[Interruption] = []
        self.port_filters: dict[IfName, PortFilter] = {}
        """What the packet filter does about ports; emptied, it is as flushed."""
        self.stale_filters: dict[IfName, PortFilter] = {}
        self.policy_table = RuleTable()
        self.filters_unread = ""
        self.taken: dict[str, str] = {}
        """Addresses that somebody else on the wire has, and his MAC."""
        self._features = features or KernelFeatures(bridge_netfilter=True)
        if self._features.bridge_netfilter:
            self.machine.sysctls |= dict.fromkeys(BRIDGE_NETFILTER, "1")
        self._fail: tuple[int, int] | None = None
        self._crash: int | None = None
        self._policed = False

    # -- the methods of netlink.Kernel ---------------------------------------------------------

    def observe(self) -> Observed:
        """Everything there is now."""
        machine = self.machine
        devices = machine.devices.values()
        routes = frozenset(machine.routes) | frozenset(machine.connected())
        state = HostState(
            links={IfName(d.name): _link(machine, d) for d in devices},
            routes=routes,
            rules=frozenset(machine.rules),
            sysctls=dict(machine.sysctls),
        )
        seen = Observed(state=state, runtime={IfName(d.name): _runtime(machine, d) for d in devices})
        names = {IfName(d.name): called(d.name, d.altnames) for d in devices}
        return called_otherwise(seen, {own: name for own, name in names.items() if own != name})

    def nics(self) -> dict[IfName, Nic]:
        found: dict[IfName, Nic] = {}
        for d in self.machine.devices.values():
            if d.kind in NIC_KINDS and d.name != "lo":
                name = IfName(d.name)
                master = called(d.master.name, d.master.altnames) if d.master else None
                found[name] = Nic(
                    name=name,
                    mac=Mac(_permanent(d) or d.mac),
                    pci=d.pci,
                    driver="fake",
                    master=master,
                    altnames=tuple(d.altnames),
                )
        return found

    def link_defaults(self) -> dict[str, str]:
        return {}

    def features(self) -> KernelFeatures:
        return self._features

    def filters(self, wanted: Filters, known: Iterable[tuple[str, str]], links: Collection[str]) -> FiltersSeen:
        nothing = {port: replace(one, mac=None, masquerade=(), faults={}) for port, one in wanted.items()}
        stale = {
            port: one for port, one in self.stale_filters.items() if one.owner not in set(known) and port not in links
        }
        found = {port: self.port_filters.get(port, nothing[port]) for port in wanted}
        return FiltersSeen(filters={**found, **stale}, left_over=frozenset(stale), unread=self.filters_unread)

    def policies(self, *, policed: bool) -> PoliciesSeen:
        """Whoever does not know that there were any does not look."""
        return PoliciesSeen(table=self.policy_table) if policed or self._policed else PoliciesSeen()

    def run(self, steps: Sequence[Step]) -> Failure | None:
        """Do the steps; the first failure, or None. Raises Crashed where `crash_after` says so.

        As in `netlink.execute`: within one send the kernel goes on after a failure; a step that needs the ifindex
        of a link which the send makes, deletes or renames begins the next send, and that is not sent any more.
        """
        try:
            for step in steps:
                _check_vlans(step)
            pending: list[Step] = []
            touched: set[str] = set()
            for step in steps:
                if _needs(step) & touched or isinstance(step.action, SetSysctl | AwaitCarrier | AskAddr):
                    self._send(pending)
                    pending, touched = [], set()
                self._resolve(step)
                pending.append(step)
                touched |= _touches(step)
            self._send(pending)
        except _StepFailed as stop:
            return stop.failure
        return None

    # -- hooks for tests -----------------------------------------------------------------------

    def fail_at(self, n: int, code: int = errno.EPERM) -> None:
        """The n-th step from now (1: the next one) is refused with this errno."""
        self._fail = (n, code)

    def crash_after(self, n: int) -> None:
        """After n more steps nothing is done any more, and Crashed is raised."""
        self._crash = n

    def recover(self) -> None:
        """No hook is set any more: the next process has a kernel that works."""
        self._crash = self._fail = None

    def add_nic(
        self,
        name: str,
        *,
        mac: str = "",
        mtu: int = 1500,
        up: bool = False,
        pci: str | None = None,
        kind: str = DEVICE,
    ) -> FakeKernel:
        """A network card with its cable in. Its MAC, unless given, comes from how many links there are."""
        number = len(self.machine.devices) + 1
        device = self.machine.add(name, kind, mac=mac or f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")
        device.permanent_mac, device.mtu, device.up, device.pci = device.mac, mtu, up, pci
        return self

    def add(self, link: Link, *, group: int = 0) -> FakeKernel:
        """Any link as another hand would make it: created, then its master, VLANs, addresses. Raises Refused."""
        machine = self.machine
        if isinstance(link.spec, Other):
            device = machine.add(link.name, link.spec.kind, mac=link.mac)
            device.group, device.mtu = group, link.mtu or device.mtu
            device.parent = machine.get(link.spec.parent) if link.spec.parent else None
        else:
            machine.create(link, group)
            device = machine.get(link.name)
        if link.master:
            machine.set_master(device, machine.get(link.master))
        device.vlans = link.vlans if link.vlans and device.vlans else device.vlans
        device.port = link.port or device.port
        device.self_vlans = link.self_vlans if link.self_vlans and device.self_vlans else device.self_vlans
        machine.change_link(device, SetLink(up=link.up, promisc=link.promisc))
        for addr in sorted(link.addrs or ()):
            machine.add_addr(device, addr)
        return self

    def add_route(self, route: Route) -> FakeKernel:
        self.machine.routes.add(route)
        return self

    def add_rule(self, rule: Rule) -> FakeKernel:
        self.machine.rules.add(rule)
        return self

    def add_neighbour(self, link: str, one: StaticNeighbour) -> FakeKernel:
        self.machine.add_neighbour(self.machine.get(link), one)
        return self

    def made_by_others(self, names: Mapping[str, str], protocol: int = 4) -> None:
        """These links are another hand's from now on, under other names, and so are the routes over them (4:
        RTPROT_STATIC)."""
        machine = self.machine
        for was, name in names.items():
            device = machine.devices.pop(was)
            device.name, device.group, device.altnames = name, 0, []
            machine.devices[name] = device
        moved = {IfName(was): IfName(name) for was, name in names.items()}
        machine.routes = {r.moved(moved, protocol) if r.dev in moved else r for r in machine.routes}

    def pull(self, nic: str) -> None:
        """The cable comes out."""
        self._cable(nic, False)

    def plug(self, nic: str) -> None:
        self._cable(nic, True)

    def _cable(self, nic: str, there: bool) -> None:
        device = self.machine.get(nic)
        device.downs += device.cable and not there and device.up
        device.cable = there
        self.machine.choose_active(device.master)

    # -- one burst -----------------------------------------------------------------------------

    def _resolve(self, step: Step) -> None:
        for name in _needs(step):
            if self.machine.find(name) is None:
                raise _StepFailed(_failure(step, errno.ENODEV))

    def _send(self, steps: Sequence[Step]) -> None:
        """Raises _StepFailed with the first failure, after all were tried."""
        first: Failure | None = None
        for step in steps:
            code = self._tried(step)
            if code and first is None:
                first = _somebody_has(step, self.taken) or _failure(step, code)
        if first is not None:
            raise _StepFailed(first)

    def _tried(self, step: Step) -> int:
        """Do one step; the errno, 0 if it was done."""
        if self._crash is not None:
            if self._crash == 0:
                raise Crashed
            self._crash -= 1
        if self._fail is not None:
            left, code = self._fail
            self._fail = (left - 1, code) if left > 1 else None
            if left == 1:
                return code
        before = traffic.lanes(self.machine)
        try:
            self._do(step)
        except Refused as refusal:
            return refusal.code
        self.machine.forget_vlans()
        self.journal.append(step)
        self.interruptions += traffic.interruptions(step, before, traffic.lanes(self.machine))
        return 0

    def _do(self, step: Step) -> None:
        """Raises Refused."""
        machine = self.machine
        match step.action:
            case CreateLink(link=link):
                machine.create(link, OWNER_GROUP)
            case AskAddr(addr=addr):
                machine.get(step.link)
                if addr.partition("/")[0] in self.taken:
                    raise Refused(errno.EADDRINUSE)
            case SetSysctl(key=key, value=value):
                machine.set_sysctl(key, value)
            case DropFilter():
                self.stale_filters.pop(step.link, None)
            case SetPolicies(table=table):
                self.policy_table, self._policed = table, True
            case DelRule(rule=rule):  # its link may be gone
                machine.del_rule(rule)
            case DeleteLink() if machine.find(step.link) is None:
                pass  # `netlink.execute`: it is gone, as it should be
            case action:
                self._change(machine.get(step.link), action)

    def _change(self, device: Device, action: Action) -> None:
        machine = self.machine
        match action:
            case DeleteLink():
                machine.delete(device)
            case RenameLink(to=to):
                machine.rename(device, to)
            case SetLink():
                machine.change_link(device, action)
            case SetMark() | Adopt() | Disown():
                machine.mark(device, action)
            case SetBond() | SetBridge() | SetPort() | SetSlave() | SetVlanFlags() | SetVxlan():
                self._change_options(device, action)
            case SetMaster(master=master):
                machine.set_master(device, machine.get(master) if master else None)
            case SetVlans():
                machine.change_vlans(device, action)
            case SetSnooping():
                machine.change_snooping(device, action)
            case AddAddr() | DelAddr() | AddRoute() | DelRoute() | AddRule():
                self._change_layer_3(device, action)
            case AddNeighbour() | DelNeighbour() | AddFdb() | DelFdb():
                self._change_neighbours(device, action)
            case SetWireguard() | PutPeer() | DropPeer():
                machine.encrypt(device, action)
            case AwaitCarrier():
                if not machine.carrier(device):
                    raise Refused(errno.ETIMEDOUT)
            case SetFilter(filter=wanted):
                self.port_filters[IfName(device.name)] = replace(wanted, faults={})
            case CreateLink() | SetSysctl() | DelRule() | DropFilter() | SetPolicies() | AskAddr():
                raise AssertionError("these name no link that is there")
            case _ as never:
                assert_never(never)

    def _change_neighbours(self, device: Device, action: AddNeighbour | DelNeighbour | AddFdb | DelFdb) -> None:
        machine = self.machine
        match action:
            case AddNeighbour(neighbour=one):
                machine.add_neighbour(device, one)
            case DelNeighbour(neighbour=one):
                machine.del_neighbour(device, one)
            case AddFdb(entry=entry):
                machine.add_fdb(device, entry)
            case DelFdb(entry=entry):
                machine.del_fdb(device, entry)
            case _ as never:
                assert_never(never)

    def _change_layer_3(self, device: Device, action: AddAddr | DelAddr | AddRoute | DelRoute | AddRule) -> None:
        machine = self.machine
        match action:
            case AddAddr(addr=addr, details=details):
                machine.add_addr(device, addr, details)
            case DelAddr(addr=addr):
                machine.del_addr(device, addr)
            case AddRoute(route=route):
                machine.add_route(device, route.moved(_own_name(device)))
            case DelRoute(route=route):
                machine.del_route(device, route.moved(_own_name(device)))
            case AddRule(rule=rule):
                machine.rules.add(rule)
            case _ as never:
                assert_never(never)

    def _change_options(
        self, device: Device, action: SetBond | SetBridge | SetPort | SetSlave | SetVlanFlags | SetVxlan
    ) -> None:
        machine = self.machine
        match action:
            case SetBond(options=options):
                machine.change_bond(device, options)
            case SetBridge(options=bridge):
                machine.change_bridge(device, bridge)
            case SetPort():
                machine.change_port(device, action)
            case SetSlave(prio=prio):
                machine.change_prio(device, prio)
            case SetVlanFlags(flags=flags):
                machine.change_vlan_flags(device, flags)
            case SetVxlan():
                machine.change_vxlan(device, action)
            case _ as never:
                assert_never(never)

    def __str__(self) -> str:
        return table(self.observe())


class _StepFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def _failure(step: Step, code: int) -> Failure:
    return Failure(step=step, errno=code, reason=os.strerror(code))


def _somebody_has(step: Step, taken: dict[str, str]) -> Failure | None:
    address = step.action.addr.partition("/")[0] if isinstance(step.action, AskAddr) else ""
    if address not in taken:
        return None
    reason = f"somebody else has {address} (MAC {taken[address]})"
    return Failure(step=step, errno=errno.EADDRINUSE, reason=reason)


def _check_vlans(step: Step) -> None:
    """`netlink.links.check_vlans`, before anything is sent."""
    if not isinstance(step.action, SetVlans):
        return
    add, remove = step.action.add, step.action.remove
    bad = [v for v in (*add.all, *remove) if not 1 <= v <= 4094]
    stray = add.pvid is not None and add.pvid not in add.all
    if bad or stray or add.tagged & add.untagged or add.all & remove:
        raise _StepFailed(_failure(step, errno.EINVAL))


def _needs(step: Step) -> set[str]:
    """The links whose ifindex the step's message carries: they must be there before it is written."""
    match step.action:
        case CreateLink(link=link):
            if isinstance(link.spec, Bond):
                return {link.spec.applicable().primary or ""} - {""}
            return {link.parent} if link.parent else set()
        case SetBond(options=options):
            return {options.primary} if options.primary else set()
        case SetMaster(master=master):
            return {master} if master else set()
        case RenameLink() | SetPort() | SetVlans() | AddAddr() | DelAddr() | AddRoute() | DelRoute():
            return {step.link}
        case AddNeighbour() | DelNeighbour() | AddFdb() | DelFdb():
            return {step.link}
        case _:
            return set()


def _touches(step: Step) -> set[str]:
    match step.action:
        case CreateLink() | DeleteLink():
            return {step.link}
        case RenameLink(to=to):
            return {step.link, to}
        case _:
            return set()


def _own_name(device: Device) -> dict[IfName, IfName]:
    """What it is called -> its own name: the kernel knows the link of a route by its number."""
    return {called(device.name, device.altnames): IfName(device.name)}


# -- what is seen --------------------------------------------------------------------------------


def _link(machine: Machine, d: Device) -> Link:
    return Link(
        name=IfName(d.name),
        spec=_spec(machine, d),
        up=d.up,
        mtu=d.mtu,
        mac=Mac(d.mac) if d.wireguard is None else None,
        txqlen=d.txqlen,
        promisc=d.promisc,
        master=d.master.name if d.master else "",
        vlans=d.vlans,
        self_vlans=d.self_vlans,
        snooping=machine.snooping(d) if d.bridge is not None else None,
        port=_port(machine, d) if d.vlans is not None else None,
        flags=d.flags,
        slave_prio=d.prio if d.master is not None and d.master.bond is not None else None,
        mark=is_marked(d.name, d.group, d.altnames),
        addrs=frozenset(Cidr(a) for a in d.addrs if a not in d.details or d.details[a].static),
        details={Cidr(a): d.details[a] for a in d.addrs if a in d.details},
        neighbours=frozenset(d.neighbours),
        fdb=frozenset(d.fdb) if d.vxlan is not None and _is_ours(d) else None,
        peers=frozenset(d.peers) if d.wireguard is not None and _is_ours(d) else None,
        settings=dict(d.settings),
    )


def _port(machine: Machine, d: Device) -> BridgePort:
    """`netlink.observe`: a port that need not forward just now says nothing of it."""
    bridge = d.master
    ought = machine.carrier(d) and bridge is not None and bridge.up and not (bridge.bridge and bridge.bridge.stp)
    return d.port if ought else replace(d.port, forwarding=None)


def _spec(machine: Machine, d: Device) -> LinkSpec:
    if d.bond is not None:
        return d.bond.report([s.name for s in machine.within(d)])
    if d.bridge is not None:
        return d.bridge
    parent = IfName(d.parent.name) if d.parent else None
    if d.kind == "vlan" and parent is not None:
        return VlanIf(parent=parent, vid=d.vid, flags=d.vlan_flags)
    if d.vxlan is not None and _is_ours(d):
        return d.vxlan
    if d.wireguard is not None and _is_ours(d):
        return d.wireguard
    return Other(kind=d.kind, parent=parent)


def _is_ours(d: Device) -> bool:
    """`model.host.Runtime.owned`."""
    return d.group == OWNER_GROUP or bool(marked_names(d.altnames))


def _port_state(d: Device, carrier: bool) -> int:
    """BR_STATE_FORWARDING, BR_STATE_DISABLED."""
    return 3 if carrier and d.master is not None and d.master.up and d.port.forwarding else 0


def _permanent(d: Device) -> str | None:
    """IFLA_PERM_ADDRESS, or what the bond keeps of its slave."""
    slave = d.master is not None and d.master.bond is not None
    return d.permanent_mac or (d.before[0] if slave else None)


def _runtime(machine: Machine, d: Device) -> Runtime:
    carrier = machine.carrier(d)
    permanent = _permanent(d)
    runtime = Runtime(
        ifindex=d.index,
        group=d.group,
        altnames=tuple(d.altnames),
        own_name=d.name if called(d.name, d.altnames) != d.name else "",
        carrier=carrier,
        oper="up" if carrier else "lowerlayerdown" if d.up else "down",
        permanent_mac=Mac(permanent) if permanent else None,
        min_mtu=68,
        max_mtu=65535,
        speed=d.speed if carrier else None,
        duplex="full" if carrier and d.speed else None,
        carrier_downs=d.downs,
        tunnel=d.vxlan if not _is_ours(d) else None,
        far_ends=frozenset(d.fdb if not _is_ours(d) and d.name.startswith((TUNNEL_4, TUNNEL_6)) else ()),
    )
    if d.bond is not None and d.active is not None and d.bond.mode in ACTIVE_MODES:
        return replace(runtime, active_slave=IfName(d.active.name))
    if d.master is not None and d.master.bond is not None:
        active = d.master.active is d or d.master.bond.mode.value != "active-backup"
        return replace(runtime, slave_active=active, slave_mii_up=machine.slave_up(d), link_failures=0)
    if d.master is not None and d.master.bridge is not None:
        return replace(runtime, port_state=_port_state(d, carrier))
    return runtime
