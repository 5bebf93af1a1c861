"""The rules of the kernel, in memory: devices and what becomes of them, with the kernel's own refusals.

Every rule names the kernel function that has it. Time does not pass here: carrier is there at once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import reduce
from ipaddress import IPv4Interface, ip_address, ip_interface, ip_network
from operator import or_
from typing import TypeVar

from windrow.model.bonding import BondMode
from windrow.model.bridging import FRESH_BRIDGE, FRESH_BRIDGE_PORT
from windrow.model.host import (
    FRESH_FLAGS,
    FRESH_VLAN_FLAGS,
    OWNER_GROUP,
    RTPROT_KERNEL,
    Bond,
    Bridge,
    BridgePort,
    Details,
    FdbEntry,
    Link,
    LinkFlags,
    Other,
    Peer,
    PortVlans,
    Route,
    Rule,
    Snooping,
    StaticNeighbour,
    VlanIf,
    Vxlan,
    Wireguard,
    settled_metric,
)
from windrow.model.marks import called, mark_of
from windrow.model.steps import (
    Adopt,
    Disown,
    DropPeer,
    PutPeer,
    SetLink,
    SetMark,
    SetPort,
    SetSnooping,
    SetVlans,
    SetVxlan,
    SetWireguard,
)
from windrow.model.values import IPV6_MTU_MIN, IfName, VidSet
from windrow.testing.bonding import BondParameters, Refused

ZERO_MAC = "00:00:00:00:00:00"
LOW_MTU, HIGH_MTU, DEFAULT_MTU = 68, 65535, 1500
FRESH_SETTINGS = {"ipv6/accept_ra": "1", "ipv6/disable_ipv6": "0"}
DEVICE = "device"
FRESH_PORT = PortVlans(pvid=1, untagged=VidSet.of([1]))
"""default_pvid (`nbp_vlan_init`, `br_vlan_init`)."""
ACTIVE_MODES = frozenset({BondMode.ACTIVE_BACKUP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB})
OWN_MAC_MODES = frozenset({BondMode.BALANCE_TLB, BondMode.BALANCE_ALB})
"""Only the active slave has the bond's MAC (`alb_set_slave_mac_addr`). The swaps in between are not told here:
a slave's MAC, and that of a VLAN interface on one, is not certified in these modes."""


class Assigned(Enum):
    """Where a MAC comes from: NET_ADDR_*."""

    RANDOM = "random"
    STOLEN = "stolen"
    SET = "set"


@dataclass(eq=False)
class Device:
    """One `struct net_device`. `cable`: a NIC that is up has carrier; `downs`: its losses; `speed`: Mbit/s."""

    name: str
    kind: str
    index: int
    mac: str
    group: int = 0
    up: bool = False
    mtu: int = DEFAULT_MTU
    txqlen: int = 1000
    promisc: bool = False
    assigned: Assigned = Assigned.SET
    permanent_mac: str | None = None
    pci: str | None = None
    cable: bool = True
    speed: int | None = None
    downs: int = 0
    addrs: list[str] = field(default_factory=list)
    details: dict[str, Details] = field(default_factory=dict)
    """Of the addresses that were given with some."""
    neighbours: set[StaticNeighbour] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=lambda: dict(FRESH_SETTINGS))
    """The ones that were set, and those that every link begins with."""
    master: Device | None = None
    parent: Device | None = None
    joined: int = 0
    """When it joined its master: the order of slaves."""
    before: tuple[str, int] = ("", 0)
    """A slave's MAC and MTU from before it joined (`slave->perm_hwaddr`, `original_mtu`)."""
    vlans: PortVlans | None = None
    port: BridgePort = FRESH_BRIDGE_PORT
    flags: LinkFlags = FRESH_FLAGS
    prio: int = 0
    """As a slave of a bond."""
    altnames: list[str] = field(default_factory=list)
    bond: BondParameters | None = None
    active: Device | None = None
    bridge: Bridge | None = None
    unsnooped: VidSet = VidSet()
    """VLANs of a bridge without BR_VLFLAG_GLOBAL_MCAST_ENABLED, with which each begins."""
    asked: VidSet = VidSet()
    """VLANs of a bridge in which it is the querier (`br_multicast_set_querier`)."""
    mtu_set: bool = False
    """BROPT_MTU_SET_BY_USER."""
    self_vlans: PortVlans | None = None
    vid: int = 0
    vlan_flags: frozenset[str] = FRESH_VLAN_FLAGS
    vxlan: Vxlan | None = None
    fdb: set[FdbEntry] = field(default_factory=set)
    wireguard: Wireguard | None = None
    peers: set[Peer] = field(default_factory=set)


OWN_KEY = "b3duIGtleSBvZiBhIG1hY2hpbmUgaW4gYSB0ZXN0ISE="
"""Public, of every simulated host."""


class Machine:
    """All devices of one network namespace."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.routes: set[Route] = set()
        self.lost: set[tuple[str, str]] = set()
        """Link and network of the routes that the kernel made, and somebody took away."""
        self.rules: set[Rule] = set()
        self.sysctls: dict[str, str] = {}
        self._serial = 1
        self._macs = 0

    # -- questions -----------------------------------------------------------------------------

    def get(self, name: str) -> Device:
        if (found := self.find(name)) is None:
            raise Refused(errno.ENODEV)
        return found

    def find(self, name: str) -> Device | None:
        """`__dev_get_by_name`: alternative names count."""
        found = self.devices.get(name)
        return found or next((d for d in self.devices.values() if name in d.altnames), None)

    def within(self, master: Device) -> list[Device]:
        """Slaves or ports, in the order they joined."""
        return sorted((d for d in self.devices.values() if d.master is master), key=lambda d: d.joined)

    def vlans_on(self, parent: Device) -> list[Device]:
        return [d for d in self.devices.values() if d.kind == "vlan" and d.parent is parent]

    def carrier(self, device: Device) -> bool:
        """IFF_LOWER_UP."""
        if not device.up:
            return False
        if device.bond is not None:
            links = [s for s in self.within(device) if self.slave_up(s)]
            least = device.bond.values["min_links"] if device.bond.mode is BondMode.LACP else 0
            return len(links) >= max(1, least)  # bond_set_carrier, bond_3ad_set_carrier
        if device.bridge is not None:
            return any(self.carrier(p) and p.port.forwarding for p in self.within(device))  # br_port_state_selection
        if device.kind == "vlan":
            return device.parent is not None and self.carrier(device.parent)
        return device.cable

    def slave_up(self, slave: Device) -> bool:
        """`bond_miimon_inspect`; without a monitor the kernel believes in every slave."""
        bond = slave.master.bond if slave.master else None
        monitored = bond is not None and bool(bond.values["miimon"] or bond.values["arp_interval"])
        return self.carrier(slave) or not monitored

    # -- making and deleting -------------------------------------------------------------------

    def add(self, name: str, kind: str, *, mac: str | None = None, group: int = 0) -> Device:
        """Any device, as it is when it is new."""
        self._want_free(name)
        assigned = Assigned.SET if mac else Assigned.RANDOM
        self._serial += 1
        device = Device(
            name=name, kind=kind, index=self._serial, mac=mac or self.random_mac(), group=group, assigned=assigned
        )
        if kind == "bond":
            device.bond = BondParameters()
        if kind == "bridge":
            device.bridge = FRESH_BRIDGE
            device.self_vlans = FRESH_PORT
        if kind == "dummy":
            device.flags = replace(FRESH_FLAGS, arp=False, multicast=False)  # dummy_setup
        self.devices[name] = device
        return device

    def _want_free(self, name: str) -> None:
        """`netdev_name_in_use`: alternative names count."""
        if name in self.devices or any(name in d.altnames for d in self.devices.values()):
            raise Refused(errno.EEXIST)

    def create(self, link: Link, group: int) -> None:
        """`rtnl_newlink`. A refused option leaves no device behind."""
        self._want_free(link.name)
        if link.mtu is not None:
            _check_mtu(link.mtu)
        match link.spec:
            case Bond() as bond:
                parameters = BondParameters()
                parameters.change(_settable(bond), up=False, slaves=0)
                device = self.add(link.name, "bond", mac=link.mac, group=group)
                device.bond = parameters
            case Bridge() as bridge:
                device = self.add(link.name, "bridge", mac=link.mac, group=group)
                self.change_bridge(device, bridge)
            case VlanIf():
                device = self._create_vlan(link, link.spec, group)
            case Vxlan():
                device = self._create_vxlan(link, link.spec, group)
            case Wireguard():
                device = self.add(link.name, "wireguard", group=group)
                device.wireguard = Wireguard(port=0, key="")
            case Other():
                raise Refused(errno.EOPNOTSUPP)
        if link.txqlen is not None:
            device.txqlen = link.txqlen
        if link.mtu is not None:
            device.mtu = link.mtu
            device.mtu_set = device.bridge is not None  # links.create_link pins it
        if group == OWNER_GROUP:
            self.add_altname(device, mark_of(link.name))

    def add_altname(self, device: Device, altname: str) -> None:
        """`rtnl_alt_ifname`, `netdev_name_node_alt_create`."""
        self._want_free(altname)
        device.altnames.append(altname)

    def mark(self, device: Device, change: SetMark | Adopt | Disown) -> None:
        """`netlink.execute`: what is there already, or gone already, is no failure."""
        come: list[str] = []
        gone: set[str] = set()
        match change:
            case Adopt(name=to):
                come, device.group = [to, mark_of(to)], OWNER_GROUP
            case Disown(group=group):
                name = called(device.name, device.altnames)
                gone, device.group = {name, mark_of(name)}, group
            case SetMark():
                come = [mark_of(device.name)] if change.name else []
                gone = {mark_of(name) for name in change.stale}
                device.group = device.group if change.group is None else change.group
        for altname in come:
            if altname not in (device.name, *device.altnames):
                self.add_altname(device, altname)
        device.altnames = [name for name in device.altnames if name not in gone]

    def _create_vlan(self, link: Link, spec: VlanIf, group: int) -> Device:
        """`vlan_newlink`: EEXIST for a VID twice, EINVAL above the parent's MTU (a later change says ERANGE)."""
        parent = self.get(spec.parent)
        if any(v.vid == spec.vid for v in self.vlans_on(parent)):
            raise Refused(errno.EEXIST)
        if link.mtu is not None and link.mtu > parent.mtu:
            raise Refused(errno.EINVAL)
        device = self.add(link.name, "vlan", mac=link.mac or parent.mac, group=group)
        device.assigned = Assigned.SET if link.mac else Assigned.STOLEN  # vlan_dev_init
        device.parent, device.vid, device.mtu = parent, spec.vid, parent.mtu
        device.vlan_flags = FRESH_VLAN_FLAGS if spec.flags is None else spec.flags
        device.flags = replace(parent.flags, allmulti=False, dormant=False)  # vlan_dev_init
        return device

    def _create_vxlan(self, link: Link, spec: Vxlan, group: int) -> Device:
        """`vxlan_config_validate`: EEXIST for a VNI twice on one port, but for one of each family."""
        key = (spec.vni, spec.port, ":" in spec.local)
        if any(v and (v.vni, v.port, ":" in v.local) == key for v in (d.vxlan for d in self.devices.values())):
            raise Refused(errno.EEXIST)
        device = self.add(link.name, "vxlan", mac=link.mac, group=group)
        device.vxlan = spec
        return device

    def delete(self, device: Device) -> None:
        """`rtnl_delete_link`. Hardware cannot be deleted."""
        if device.kind == DEVICE:
            raise Refused(errno.EOPNOTSUPP)
        self.vanish(device)

    def vanish(self, device: Device) -> None:
        for vlan in self.vlans_on(device):  # vlan_device_event: NETDEV_UNREGISTER
            self.vanish(vlan)
        self.close(device)
        for inside in self.within(device):  # bond_uninit, br_dev_delete
            self.release(inside)
        if device.master is not None:
            self.release(device)
        del self.devices[device.name]

    def rename(self, device: Device, to: str) -> None:
        """`dev_change_name`."""
        if device.up:
            raise Refused(errno.EBUSY)
        if to != device.name:
            self._want_free(to)
        self.routes = {replace(r, dev=IfName(to)) if r.dev == device.name else r for r in self.routes}
        self.devices = {(to if d is device else name): d for name, d in self.devices.items()}
        device.name = to

    def random_mac(self) -> str:
        """Told apart by its first byte; the kernel's are truly random (`eth_hw_addr_random`)."""
        self._macs += 1
        return f"fe:ff:ff:{self._macs >> 16 & 255:02x}:{self._macs >> 8 & 255:02x}:{self._macs & 255:02x}"

    # -- attributes ----------------------------------------------------------------------------

    def change_link(self, device: Device, change: SetLink) -> None:
        """`do_setlink`: MAC, MTU, flags, queue length, in this order; a refusal leaves those before it done."""
        if change.mac is not None:
            self._change_mac(device, change.mac)
        if change.mtu is not None and change.mtu != device.mtu:
            self._change_mtu(device, change.mtu)
        if change.promisc is not None:
            device.promisc = change.promisc
        arp = device.flags.arp
        if change.flags is not None:
            device.flags = _updated(device.flags, change.flags)
        if change.up is not None:
            self.open(device) if change.up else self.close(device)
        readdressed = change.flags is not None and change.flags.broadcast is not None  # NETDEV_CHANGEADDR
        if readdressed or (device.up and device.flags.arp != arp):  # arp_netdev_event, ndisc_netdev_event
            device.neighbours.clear()
        if change.txqlen is not None:
            device.txqlen = change.txqlen

    def _change_mac(self, device: Device, mac: str) -> None:
        if mac == ZERO_MAC or int(mac[:2], 16) & 1:
            raise Refused(errno.EADDRNOTAVAIL)  # is_valid_ether_addr
        if device.bond is not None:
            if device.bond.mac_follows:
                return  # bond_set_mac_address: "returns success and does nothing"
            for slave in self.within(device):
                if device.bond.mode not in OWN_MAC_MODES or slave is device.active:
                    self.put_mac(slave, mac)
        device.assigned = Assigned.SET
        device.neighbours.clear()  # dev_set_mac_address tells it, also of the one that it has
        self.put_mac(device, mac)

    def put_mac(self, device: Device, mac: str) -> None:
        """NETDEV_CHANGEADDR: VLAN interfaces that are up follow (`vlan_sync_address`), bridges look again."""
        if device.mac == mac:
            return
        device.mac = mac
        device.neighbours.clear()  # neigh_changeaddr
        for vlan in self.vlans_on(device):
            if vlan.up and vlan.assigned is Assigned.STOLEN:
                self.put_mac(vlan, mac)
        if device.master is not None and device.master.bridge is not None:
            self._follow_ports(device.master)

    def _follow_ports(self, bridge: Device) -> None:
        """`br_stp_recalculate_bridge_id` (the lowest MAC; none: zero), `br_mtu_auto_adjust` (the lowest MTU)."""
        ports = self.within(bridge)
        if bridge.assigned is not Assigned.SET:
            self.put_mac(bridge, min((p.mac for p in ports), default=ZERO_MAC))
        if not bridge.mtu_set:
            self.put_mtu(bridge, min((p.mtu for p in ports), default=DEFAULT_MTU))

    def _change_mtu(self, device: Device, mtu: int) -> None:
        if device.kind != "dummy":
            _check_mtu(mtu)
        if device.kind == "vlan" and device.parent is not None and mtu > device.parent.mtu:
            raise Refused(errno.ERANGE)  # vlan_dev_change_mtu
        if device.bond is not None:
            for slave in self.within(device):  # bond_change_mtu
                self.put_mtu(slave, mtu)
        device.mtu_set = device.bridge is not None
        self.put_mtu(device, mtu)

    def put_mtu(self, device: Device, mtu: int) -> None:
        """NETDEV_CHANGEMTU: VLAN interfaces come down with their parent (`vlan_device_event`), bridges follow."""
        if device.mtu == mtu:
            return
        device.mtu = mtu
        if mtu < IPV6_MTU_MIN:
            device.neighbours = {n for n in device.neighbours if ":" not in n.address}
            device.addrs = [a for a in device.addrs if ":" not in a]  # addrconf_notify
            device.settings = {key: value for key, value in device.settings.items() if not key.startswith("ipv6/")}
        elif not FRESH_SETTINGS.keys() <= device.settings.keys():
            device.settings |= FRESH_SETTINGS
        for vlan in self.vlans_on(device):
            if vlan.mtu > mtu:
                self.put_mtu(vlan, mtu)
        if device.master is not None and device.master.bridge is not None and not device.master.mtu_set:
            self._follow_ports(device.master)

    def open(self, device: Device) -> None:
        """`__dev_open`; VLAN interfaces on it come up with it (`vlan_device_event`: NETDEV_UP)."""
        if device.up:
            return
        if device.kind == "vlan" and device.parent is not None:
            if device.mac == ZERO_MAC:
                raise Refused(errno.EADDRNOTAVAIL)
            if not device.parent.up:
                raise Refused(errno.ENETDOWN)  # vlan_dev_open
            if device.assigned is Assigned.STOLEN:
                self.put_mac(device, device.parent.mac)
        device.up = True
        self.choose_active(device.master)
        for vlan in self.vlans_on(device):
            try:
                self.open(vlan)
            except Refused:
                continue

    def close(self, device: Device) -> None:
        """Routes go, IPv4 addresses stay (`fib_netdev_event`), IPv6 ones go (`addrconf_ifdown`), VLAN interfaces
        go down with it."""
        if not device.up:
            return
        device.up = False
        self.lost = {(name, network) for name, network in self.lost if name != device.name}
        device.addrs = [a for a in device.addrs if ":" not in a]
        device.neighbours.clear()  # neigh_ifdown
        self.routes = {r for r in self.routes if r.dev != device.name}
        for vlan in self.vlans_on(device):
            self.close(vlan)
        self.choose_active(device.master)

    # -- masters -------------------------------------------------------------------------------

    def set_master(self, device: Device, master: Device | None) -> None:
        """`do_set_master`: the old master lets go first, without a word; a refusal after that leaves it free."""
        if device.master is master:
            return
        if device.master is not None:
            self.release(device)
        if master is None:
            return
        if master.bond is not None:
            self._enslave(device, master, master.bond)
        elif master.bridge is not None:
            self._add_port(device, master)
        else:
            raise Refused(errno.EOPNOTSUPP)

    def _enslave(self, device: Device, master: Device, bond: BondParameters) -> None:
        """`bond_enslave`."""
        if device.name == "lo":
            raise Refused(errno.EINVAL)
        if device is master or device.up:
            raise Refused(errno.EPERM)
        if device.parent is not None and master.mtu > device.parent.mtu:
            raise Refused(errno.ERANGE)  # dev_set_mtu: vlan_dev_change_mtu
        first = not self.within(master)
        device.before, device.prio = (device.mac, device.mtu), 0
        self._join(device, master)
        self.put_mtu(device, master.mtu)
        if first and master.assigned is Assigned.RANDOM:
            master.assigned = Assigned.STOLEN
            self.put_mac(master, device.mac)
        if not bond.mac_follows and bond.mode not in OWN_MAC_MODES:
            self.put_mac(device, master.mac)
        try:
            self.open(device)
            self._no_loop(device, master)
        except Refused:
            self._undo_enslave(device, master)
            raise
        self.choose_active(master)

    def _undo_enslave(self, device: Device, master: Device) -> None:
        """`err_close`, `err_restore_mac`, `err_restore_mtu`, `err_undo_flags` of bond_enslave."""
        self.close(device)
        device.master = None
        mac, mtu = device.before
        if master.bond is not None and not master.bond.mac_follows:
            device.assigned = Assigned.SET  # dev_set_mac_address
        self.put_mac(device, mac)
        self.put_mtu(device, mtu)
        if not self.within(master) and master.mac == mac:
            master.assigned = Assigned.RANDOM
            self.put_mac(master, self.random_mac())

    def _no_loop(self, device: Device, master: Device) -> None:
        """`__netdev_upper_dev_link`: what stands on the master cannot be in it."""
        below = [device]
        while below:
            found = below.pop()
            if found is master:
                raise Refused(errno.EBUSY)
            below += [d for d in self.within(found) if d is not device]
            below += [found.parent] if found.parent else []

    def _add_port(self, device: Device, bridge: Device) -> None:
        """`br_add_if`, `nbp_vlan_init`."""
        if device.name == "lo" or device.mac == ZERO_MAC:
            raise Refused(errno.EINVAL)
        if device.bridge is not None:
            raise Refused(errno.ELOOP)
        self._no_loop(device, bridge)
        self._join(device, bridge)
        default = bridge.bridge.default_pvid if bridge.bridge else 1
        device.vlans = PortVlans(pvid=default, untagged=VidSet.of([default])) if default else PortVlans()
        device.port = FRESH_BRIDGE_PORT  # new_nbp
        self._follow_ports(bridge)

    def _join(self, device: Device, master: Device) -> None:
        self._serial += 1
        device.master, device.joined = master, self._serial

    def release(self, device: Device) -> None:
        """`__bond_release_one`: it gets its MAC and MTU back and is closed; `br_del_if`: it stays up."""
        master, device.master, device.vlans = device.master, None, None
        if master is None:
            return
        if master.bridge is not None:
            self._follow_ports(master)
            return
        assert master.bond is not None
        mac, mtu = device.before
        if not master.bond.mac_follows:
            self.put_mac(device, mac)
        self.close(device)
        self.put_mtu(device, mtu)
        if not self.within(master):
            master.assigned, master.active = Assigned.RANDOM, None
            self.put_mac(master, self.random_mac())
        self.choose_active(master)

    def choose_active(self, master: Device | None) -> None:
        """`bond_select_active_slave`, for the modes that have one."""
        if master is None or master.bond is None or master.bond.mode not in ACTIVE_MODES:
            return
        able = [s for s in self.within(master) if self.slave_up(s)]
        wanted = [s for s in able if s.name == master.bond.values["primary"]]
        keep = master.active in able and (not wanted or master.bond.values["primary_reselect"] == "failure")
        if not keep:
            master.active = next(iter(wanted or able), None)
        active = master.active
        if active is not None and master.bond.values["fail_over_mac"] == "active" and master.bond.mac_follows:
            self.put_mac(master, active.mac)  # bond_do_fail_over_mac
        if master.bond.mode in OWN_MAC_MODES:
            for slave in self.within(master):
                self.put_mac(slave, master.mac if slave is active else slave.before[0])

    def change_bond(self, device: Device, options: Bond) -> None:
        """`bond_changelink`."""
        if device.bond is None:
            raise Refused(errno.EOPNOTSUPP)
        device.bond.change(options, up=device.up, slaves=len(self.within(device)))
        self.choose_active(device)

    def change_bridge(self, device: Device, options: Bridge) -> None:
        """`br_changelink`: filtering off and on again keeps the VIDs."""
        if device.bridge is None:
            raise Refused(errno.EOPNOTSUPP)
        pvid = options.default_pvid
        changed = _updated(device.bridge, replace(options, default_pvid=None))
        if not changed.vlan_filtering and options.mcast_vlan_snooping:
            raise Refused(errno.EINVAL)  # br_multicast_toggle_vlan_snooping
        if not changed.vlan_filtering:
            changed = replace(changed, mcast_vlan_snooping=False)  # br_vlan_filter_toggle
        device.bridge = changed
        if pvid is not None and pvid != device.bridge.default_pvid:
            self._change_default_pvid(device, device.bridge, pvid)

    def vids_of(self, bridge: Device) -> VidSet:
        """The VLANs that the bridge or a port of it has."""
        each = [bridge.self_vlans, *(port.vlans for port in self.within(bridge))]
        return reduce(or_, (vlans.all for vlans in each if vlans is not None), VidSet())

    def snooping(self, bridge: Device) -> Snooping:
        """`br_vlan_global_opts_fill`; as observed, nothing of a bridge that does not snoop by VLAN."""
        if bridge.bridge is None or not bridge.bridge.mcast_vlan_snooping:
            return Snooping()
        there = self.vids_of(bridge)
        return Snooping(snooped=there - bridge.unsnooped, asked=there & bridge.asked)

    def change_snooping(self, device: Device, change: SetSnooping) -> None:
        """`br_vlan_rtm_process_global_options`."""
        if device.bridge is None:
            raise Refused(errno.EINVAL)
        told = (change.snooping.all | change.others) & self.vids_of(device)
        device.unsnooped = (device.unsnooped - change.snooping.snooped) | (told - change.snooping.snooped)
        device.asked = (device.asked - told) | (told & change.snooping.asked)

    def forget_vlans(self) -> None:
        """A VLAN that nobody has any more is made anew when it comes again (`br_vlan_put_master`)."""
        for device in self.devices.values():
            if device.unsnooped or device.asked:
                there = self.vids_of(device)
                device.unsnooped, device.asked = device.unsnooped & there, device.asked & there

    def _change_default_pvid(self, device: Device, bridge: Bridge, pvid: int) -> None:
        """`__br_vlan_set_default_pvid`: who stands in the old one alone goes along."""
        device.self_vlans = _moved(device.self_vlans, bridge.default_pvid, pvid)
        for port in self.within(device):
            port.vlans = _moved(port.vlans, bridge.default_pvid, pvid)
        device.bridge = replace(bridge, default_pvid=pvid)

    def change_port(self, device: Device, change: SetPort) -> None:
        """`rtnl_bridge_setlink`, `br_setport`."""
        if device.master is None or device.master.bridge is None:
            raise Refused(errno.EOPNOTSUPP)
        device.port = _updated(device.port, change.options)

    def change_prio(self, device: Device, prio: int) -> None:
        """`bond_slave_changelink`."""
        if device.master is None or device.master.bond is None:
            raise Refused(errno.EOPNOTSUPP)
        device.prio = prio
        self.choose_active(device.master)

    def change_vlan_flags(self, device: Device, flags: frozenset[str]) -> None:
        """`vlan_dev_change_flags`."""
        if device.kind != "vlan":
            raise Refused(errno.EOPNOTSUPP)
        device.vlan_flags = flags

    def change_vxlan(self, device: Device, change: SetVxlan) -> None:
        """`vxlan_changelink`."""
        if device.vxlan is None or (change.local and (":" in change.local) != (":" in device.vxlan.local)):
            raise Refused(errno.EOPNOTSUPP)
        told = {n: v for n, v in (("local", change.local), ("learning", change.learning)) if v is not None}
        device.vxlan = replace(device.vxlan, **told)  # type: ignore[arg-type]

    def add_fdb(self, device: Device, entry: FdbEntry) -> None:
        """`vxlan_fdb_replace`."""
        if device.vxlan is None:
            raise Refused(errno.EOPNOTSUPP)
        device.fdb = {one for one in device.fdb if one.mac != entry.mac} | {entry}

    def del_fdb(self, device: Device, entry: FdbEntry) -> None:
        """`netlink.execute`: gone already is no failure."""
        if device.vxlan is None:
            raise Refused(errno.EOPNOTSUPP)
        device.fdb.discard(entry)

    def encrypt(self, device: Device, change: SetWireguard | PutPeer | DropPeer) -> None:
        """`wg_set_device`. Here every host has the same key."""
        if device.wireguard is None:
            raise Refused(errno.EOPNOTSUPP)
        match change:
            case SetWireguard(port=port):
                device.wireguard = Wireguard(port=port, key=OWN_KEY)
            case PutPeer(peer=peer):
                others = {one for one in device.peers if one.key != peer.key}
                free = {replace(o, allowed=tuple(a for a in o.allowed if a not in peer.allowed)) for o in others}
                device.peers = free | {peer}
            case DropPeer(peer=peer):
                device.peers = {one for one in device.peers if one.key != peer.key}

    # -- VLANs, addresses ----------------------------------------------------------------------

    def change_vlans(self, device: Device, change: SetVlans) -> None:
        """`br_afspec`. Adding what is there and deleting what is not are no errors; a VID written without the
        PVID flag is the PVID no more (`__vlan_flags_commit`). Nothing to say is no message at all."""
        if not change.add.all and not change.remove:
            return
        if change.on_self:
            if device.self_vlans is None:
                raise Refused(errno.EOPNOTSUPP)
            new = change.add.all - device.self_vlans.all
            if device.mac == ZERO_MAC and new:
                # br_fdb_add_local has no entry for such an address: the message ends at the first new VID
                before = SetVlans(add=_up_to(change.add, new), remove=change.remove)
                device.self_vlans = _changed(device.self_vlans, before)
                raise Refused(errno.EINVAL)
            device.self_vlans = _changed(device.self_vlans, change)
        else:
            if device.vlans is None:
                raise Refused(errno.EOPNOTSUPP)
            device.vlans = _changed(device.vlans, change)

    def set_sysctl(self, key: str, value: str) -> None:
        parts = key.split("/")
        device = self.find(parts[3]) if parts[0] == "net" and parts[2:3] == ["conf"] else None
        if device is not None:
            if parts[1] == "ipv6" and device.mtu < IPV6_MTU_MIN:
                raise Refused(errno.ENOENT)
            device.settings[f"{parts[1]}/{parts[4]}"] = value
        elif key in self.sysctls:
            self.sysctls[key] = value
        else:
            raise Refused(errno.ENOENT)

    def del_rule(self, rule: Rule) -> None:
        if rule not in self.rules:
            raise Refused(errno.ENOENT)
        self.rules.remove(rule)

    def add_addr(self, device: Device, addr: str, details: Details | None = None) -> None:
        if ":" in addr and device.mtu < IPV6_MTU_MIN:
            raise Refused(errno.EINVAL)  # ipv6_add_dev
        if ":" in addr and device.settings.get("ipv6/disable_ipv6") != "0":
            raise Refused(errno.EACCES)  # addrconf_add_dev
        if addr not in device.addrs:
            device.addrs.append(addr)
            self.lost.discard((device.name, str(ip_interface(addr).network)))
        device.details.pop(addr, None)
        if details is not None:
            device.details[addr] = details

    def del_addr(self, device: Device, addr: str) -> None:
        """`__inet_del_ifa`: with a network's first address go its others (promote_secondaries is off), and with the
        link's last one the IPv4 routes (`fib_disable_ip`)."""
        if addr not in device.addrs:
            no_ipv6 = ":" in addr and device.mtu < IPV6_MTU_MIN
            raise Refused(errno.ENXIO if no_ipv6 else errno.EADDRNOTAVAIL)  # inet6_addr_del, inet_rtm_deladdr
        interface = ip_interface(addr)
        siblings = [a for a in device.addrs if ip_interface(a).network == interface.network]
        gone = siblings if isinstance(interface, IPv4Interface) and siblings[0] == addr else [addr]
        device.addrs = [a for a in device.addrs if a not in gone]
        if ":" not in addr and all(":" in a for a in device.addrs):
            ipv4 = {r for r in self.routes if r.dev == device.name and r.version == 4}
            self.routes -= ipv4

    def add_neighbour(self, device: Device, one: StaticNeighbour) -> None:
        if ":" in one.address and device.mtu < IPV6_MTU_MIN:
            raise Refused(errno.EINVAL)  # ndisc_constructor
        self.del_neighbour(device, one)
        device.neighbours.add(one)

    def del_neighbour(self, device: Device, one: StaticNeighbour) -> None:
        """`netlink.execute`: gone already is no failure."""
        device.neighbours = {n for n in device.neighbours if n.entry != one.entry}

    def add_route(self, device: Device, route: Route) -> None:
        """`fib_check_nh`, `ip6_route_add`: the device is up, and the gateway on one of its networks, by an address or
        by a route."""
        if not device.up:
            raise Refused(errno.ENETDOWN)
        if route.protocol == RTPROT_KERNEL:
            self.lost.discard((device.name, route.dst))
            return
        gateway = ip_address(route.gateway) if route.gateway else None
        networks = [ip_interface(a).network for a in device.addrs]
        networks += [
            ip_network(r.dst) for r in self.routes if r.dev == device.name and not r.gateway and r.dst != "default"
        ]
        free = route.exact is not None and route.exact.reached
        if gateway and not free and not any(gateway in n for n in networks if n.version == gateway.version):
            raise Refused(errno.ENETUNREACH if gateway.version == 4 else errno.EHOSTUNREACH)
        self.routes.add(replace(route, dev=IfName(device.name), metric=settled_metric(route)))

    def del_route(self, device: Device, route: Route) -> None:
        found = replace(route, dev=IfName(device.name), metric=settled_metric(route))
        if found in set(self.connected()):
            self.lost.add((device.name, route.dst))
            return
        if found not in self.routes:
            raise Refused(errno.ESRCH)
        self.routes.remove(found)

    def connected(self) -> Iterator[Route]:
        """The routes that the kernel makes for addresses (`fib_add_ifaddr`, `addrconf_prefix_route`)."""
        for device in self.devices.values():
            slave = device.master is not None and device.master.bond is not None
            for addr in device.addrs if device.up else ():
                network = ip_interface(addr).network
                if network.version == 6 and slave:
                    continue  # addrconf_notify leaves slaves of a bond alone
                metric = 256 if network.version == 6 else 0
                if network.prefixlen < network.max_prefixlen and (device.name, str(network)) not in self.lost:
                    yield Route(dst=str(network), dev=IfName(device.name), protocol=2, metric=metric)


T = TypeVar("T", Bridge, BridgePort, LinkFlags)


def _updated(have: T, change: T) -> T:
    """With what `change` says; its None leaves things as they are."""
    given = {f.name: value for f in fields(change) if (value := getattr(change, f.name)) is not None}
    return replace(have, **given)


def _moved(vlans: PortVlans | None, old: int | None, new: int) -> PortVlans | None:
    if vlans is None or not old or vlans.pvid != old or old not in vlans.untagged or new in vlans.all:
        return vlans
    there = VidSet.of([new]) if new else VidSet()
    return replace(vlans, pvid=new or None, untagged=(vlans.untagged - VidSet.of([old])) | there)


def _settable(bond: Bond) -> Bond:
    """What a create message sets of a Bond (`Bond.applicable`), but for an ARP interval of 0 beside miimon."""
    fitting = bond.applicable()
    return replace(fitting, arp_interval=None) if fitting.arp_interval == 0 and fitting.miimon else fitting


def _check_mtu(mtu: int) -> None:
    if not LOW_MTU <= mtu <= HIGH_MTU:
        raise Refused(errno.EINVAL)  # dev_validate_mtu


def _up_to(vlans: PortVlans, stop: VidSet) -> PortVlans:
    """What comes before the first VID of `stop` in a message: untagged ones, tagged ones, the PVID."""
    pvid = VidSet() if vlans.pvid is None else VidSet.of([vlans.pvid])
    kept = PortVlans()
    for vid in (*(vlans.untagged - pvid), *(vlans.tagged - pvid)):
        if vid in stop:
            break
        one = VidSet.of([vid])
        kept = PortVlans(untagged=kept.untagged | (one & vlans.untagged), tagged=kept.tagged | (one & vlans.tagged))
    return kept


def _changed(have: PortVlans, change: SetVlans) -> PortVlans:
    add, gone = change.add, change.remove
    pvid = have.pvid
    if add.pvid is not None:
        pvid = add.pvid
    elif pvid is not None and pvid in add.all:
        pvid = None
    return PortVlans(
        pvid=None if pvid is not None and pvid in gone else pvid,
        untagged=((have.untagged - add.tagged) | add.untagged) - gone,
        tagged=((have.tagged - add.untagged) | add.tagged) - gone,
    )
