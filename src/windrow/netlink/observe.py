"""One full look at a network namespace: a handful of dumps become `model.host.Observed`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from windrow.model.bridging import BridgePort
from windrow.model.host import (
    FOR_ROOT,
    OWNER_GROUP,
    Details,
    FdbEntry,
    HostState,
    LacpState,
    Link,
    LinkFlags,
    LinkSpec,
    Observed,
    Other,
    Peer,
    PortVlans,
    Runtime,
    Snooping,
    StaticNeighbour,
    VlanIf,
    Wireguard,
)
from windrow.model.marks import called, is_marked, marked_names
from windrow.model.names import TUNNEL_4, TUNNEL_6
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import addresses, codec, devconf, fdb, neighbours, options, routes
from windrow.netlink.errors import NoPermission
from windrow.netlink.links import (
    BRIDGE_FLAGS_SELF,
    DEVICE,
    IFF_ALLMULTI,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    PVID,
    RANGE_BEGIN,
    RANGE_END,
    UNTAGGED,
)
from windrow.netlink.linksettings import LinkSettings
from windrow.netlink.sock import (
    RTEXT_FILTER_BRVLAN_COMPRESSED,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETLINK,
    RTM_GETVLAN,
    Message,
    Rtnl,
    Span,
)

IFF_LOOPBACK, IFF_LOWER_UP = 0x8, 0x10000
ARPHRD_ETHER = 1
OPER = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
"""IF_OPER_* (RFC 2863)."""
_PEERED = frozenset({"veth", "netkit", "vxcan"})
"""Kinds whose IFLA_LINK is the other end of a cable, and not what they stand on."""
_LINK_BODY = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"ext_mask": RTEXT_FILTER_SKIP_STATS})
_BRIDGE_BODY = codec.LINK_HEADER.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + codec.BRIDGE_LINK.encode(
    {"ext_mask": RTEXT_FILTER_BRVLAN_COMPRESSED}
)


_SNOOPING_BODY = codec.VLAN_HEADER.pack(socket.AF_BRIDGE, 0) + codec.VLAN_DUMP.encode({"flags": 1 << 1})
"""BRIDGE_VLANDB_DUMPF_GLOBAL."""


_NOTHING: Mapping[str, Any] = MappingProxyType({})


Ports = tuple[BridgePort, BridgePort]
"""A bridge port that need not forward just now, and the same one where it ought to (`options.port_of`)."""


class Raw(NamedTuple):
    """One link as the kernel sent it: header and decoded attributes. `data`: of its kind; `slave`: of its master's.

    `fault`: why it could not be read; then nothing is known of it but its name."""

    ifindex: int
    arphrd: int
    flags: int
    attrs: Mapping[str, Any]
    kind: str
    slave_kind: str = ""
    data: Mapping[str, Any] = _NOTHING
    slave: Mapping[str, Any] = _NOTHING
    port: Ports | None = None
    fault: str = ""


Encrypted = Mapping[int, tuple[Wireguard, frozenset[Peer]]]
"""By ifindex."""


def observe(
    rtnl: Rtnl,
    sysctls: Mapping[str, str] | None = None,
    memory: LinkMemory | None = None,
    encrypted: Callable[[Sequence[int]], Encrypted] = lambda _: {},
) -> Observed:
    """All links, their VLANs and addresses, and the routes. `sysctls` go into the state as they are. `encrypted`: what
    generic netlink says of these devices; it speaks for the thread's namespace, and the socket may be of another.

    A link of which the kernel says what nobody here can read is named in `Observed.unreadable`; the look goes on.
    Raises KernelError.
    """
    memory = memory or LinkMemory()
    raws = dump_links(rtnl, memory)
    names = {raw.ifindex: raw.attrs["name"] for raw in raws}
    vlans: Mapping[int, PortVlans] = {}
    if any(raw.kind == "bridge" for raw in raws):
        vlans = dump_vlans(rtnl, memory)
    addrs = addresses.dump_addresses(rtnl)
    found = routes.dump_routes(rtnl, names)
    rules = routes.dump_rules(rtnl)
    set_by_hand = neighbours.dump_neighbours(rtnl)
    told, secret = _told(encrypted, [raw.ifindex for raw in raws if _is_encrypted(raw)])
    look = _Look(
        names=names,
        bonds={raw.ifindex: raw.data for raw in raws if raw.kind == "bond"},
        open_bridges=frozenset(
            r.ifindex for r in raws if r.kind == "bridge" and r.flags & IFF_UP and not r.data.get("stp")
        ),
        settings=LinkSettings(rtnl.fileno()),
        snooping=dump_snooping(rtnl) if any(map(snoops_by_vlan, raws)) else {},
        fdb={raw.ifindex: fdb.dump_fdb(rtnl, raw.ifindex) for raw in raws if _has_far_ends(raw)},
        encrypted=told,
    )
    links: dict[IfName, Link] = {}
    runtime: dict[IfName, Runtime] = {}
    unreadable: dict[IfName, str] = {}
    for raw in raws:
        name = raw.attrs["name"]
        if raw.ifindex in secret:
            unreadable[name] = FOR_ROOT
            continue
        try:
            if raw.fault:
                raise ValueError(raw.fault)
            links[name], runtime[name] = memory.meant(
                raw,
                look,
                vlans.get(raw.ifindex),
                addrs.given.get(raw.ifindex, _NO_ADDRS),
                set_by_hand.get(raw.ifindex, _NO_NEIGHBOURS),
            )
        except _FAULTS as fault:
            unreadable[name] = f"{type(fault).__name__}: {fault}"
    state = HostState(links=links, routes=found, rules=rules, sysctls=dict(sysctls or {}))
    came = _by_themselves(raws, addrs.by_themselves)
    return Observed(state=state, runtime=runtime, unreadable=unreadable, by_themselves=came)


def _by_themselves(raws: Iterable[Raw], came: Mapping[int, frozenset[str]]) -> frozenset[str]:
    bridges = {raw.ifindex for raw in raws if raw.kind == "bridge"}
    found = ((index in bridges, one) for index, those in came.items() for one in those)
    return frozenset(one for of_bridge, one in found if of_bridge or not routes.link_local(one))


def _told(encrypted: Callable[[Sequence[int]], Encrypted], indexes: Sequence[int]) -> tuple[Encrypted, frozenset[int]]:
    """What these devices were told; and those of which that is not said to an ordinary user (WG_CMD_GET_DEVICE has
    GENL_UNS_ADMIN_PERM)."""
    try:
        return encrypted(indexes) if indexes else {}, frozenset()
    except NoPermission:
        return {}, frozenset(indexes)


class _Look(NamedTuple):
    """What one link's meaning takes of the others."""

    names: Mapping[int, str]
    bonds: Mapping[int, Mapping[str, Any]]
    open_bridges: frozenset[int]
    """Those that are open, without STP: their ports forward as soon as they can."""
    settings: LinkSettings
    snooping: Mapping[int, Snooping]
    """Of the bridges that snoop VLAN by VLAN."""
    fdb: Mapping[int, frozenset[FdbEntry]]
    """Of our tunnel devices, and of flannel's."""
    encrypted: Encrypted
    """Our WireGuard devices."""


# Links --------------------------------------------------------------------------------------------


class LinkMemory:
    """What a kernel's links said in the last look: who says the same again, byte for byte, is not read again.

    A host has a thousand cables of machines and pods, and an agent looks when one of them comes or goes.
    """

    def __init__(self) -> None:
        self._said: dict[int, tuple[bytes, Raw]] = {}
        self._vlans: dict[int, tuple[bytes, PortVlans | None]] = {}
        self._meant: dict[int, tuple[tuple[Any, ...], Link, Runtime]] = {}

    def raws(self, dump: Iterable[Span]) -> list[Raw]:
        before, self._said = self._said, {}
        for data, start, end in dump:
            said = data[start:end]
            index = _LINK_HEADER(said)[2]
            known = before.get(index)
            self._said[index] = known if known is not None and known[0] == said else (said, _raw(said))
        self._meant = {index: one for index, one in self._meant.items() if index in self._said}
        return [raw for _, raw in self._said.values()]

    def vlans(self, dump: Iterable[Span]) -> dict[int, PortVlans]:
        before, self._vlans = self._vlans, {}
        for data, start, end in dump:
            said = data[start:end]
            index = _LINK_HEADER(said)[2]
            known = before.get(index)
            self._vlans[index] = known if known is not None and known[0] == said else (said, vlans_of(said))
        return {index: vlans for index, (_, vlans) in self._vlans.items() if vlans is not None}

    def meant(
        self,
        raw: Raw,
        look: _Look,
        vlans: PortVlans | None,
        addrs: Mapping[Cidr, Details],
        set_by_hand: frozenset[StaticNeighbour],
    ) -> tuple[Link, Runtime]:
        """A link that says the same, in the same surroundings, is the same. One that has a speed is asked for it; what
        a bond and its slaves are follows from each other."""
        if _has_speed(raw):
            return _link(raw, look, vlans, addrs, set_by_hand), _runtime(raw, look)
        names, attrs = look.names, raw.attrs
        around = (
            raw,
            names.get(attrs.get("master", 0)),
            names.get(attrs.get("parent", 0)),
            vlans,
            addrs,
            set_by_hand,
            raw.port is not None and _ought_to_forward(raw, look),
            look.snooping.get(raw.ifindex),
            look.fdb.get(raw.ifindex),
            look.encrypted.get(raw.ifindex),
        )
        known = self._meant.get(raw.ifindex)
        if known is None or known[0][0] is not raw or known[0][1:] != around[1:]:
            link = _link(raw, look, vlans, addrs, set_by_hand)
            known = self._meant[raw.ifindex] = (around, link, _runtime(raw, look))
        return known[1], known[2]


def dump_links(rtnl: Rtnl, memory: LinkMemory | None = None) -> list[Raw]:
    """All links, decoded. Raises KernelError."""
    return (memory or LinkMemory()).raws(rtnl.dump(Message(RTM_GETLINK, _LINK_BODY, doing="list the links")))


_LINK_HEADER = codec.LINK_HEADER.unpack_from


def _raw(said: bytes) -> Raw:
    """What one message says of a link."""
    _, arphrd, index, flags, _ = _LINK_HEADER(said)
    try:
        attrs = codec.LINK.decode(said, codec.LINK_HEADER.size)
        info = attrs.get("linkinfo")
        raw = _with_info(index, arphrd, flags, attrs, info) if info else Raw(index, arphrd, flags, attrs, DEVICE)
        own = attrs["name"]
        if "properties" in attrs and (name := called(own, codec.altnames(attrs))) != own:
            attrs |= {"name": name, "own_name": own}
    except _FAULTS as fault:
        name = _NAME.decode(said, codec.LINK_HEADER.size).get("name", f"#{index}")
        return Raw(index, arphrd, flags, {"name": name}, DEVICE, fault=f"{type(fault).__name__}: {fault}")
    return raw


_FAULTS = (struct.error, ValueError, LookupError, TypeError)
"""What reading raises for a payload that is not what its number says: shorter, longer, of a later kernel."""
_NAME = codec.Table({"name": codec.LINK.rows["name"]})


def _with_info(index: int, arphrd: int, flags: int, attrs: Mapping[str, Any], info: Mapping[str, Any]) -> Raw:
    kind, slave_kind = info.get("kind", DEVICE), info.get("slave_kind", "")
    data = _DECODE_DATA[kind](info["data"]) if kind in _DECODE_DATA and "data" in info else _NOTHING
    if slave_kind == "bridge":
        slave, port = _PORTS.read(info["slave_data"])
        return Raw(index, arphrd, flags, attrs, kind, slave_kind, data, slave, port)
    slave = codec.SLAVE_DATA[slave_kind].decode(info["slave_data"]) if slave_kind in codec.SLAVE_DATA else _NOTHING
    return Raw(index, arphrd, flags, attrs, kind, slave_kind, data, slave)


class _Ports:
    """Reads what is said of bridge ports (IFLA_INFO_SLAVE_DATA of kind bridge).

    A host has a thousand ports that differ in nothing but their timers and numbers. So what was read is kept by the
    bytes of the attributes that count, their headers included; where they stand follows from the length of the whole.
    """

    _KEPT_MAX = 256

    def __init__(self) -> None:
        self._runs: dict[int, list[slice]] = {}
        self._kept: dict[bytes, tuple[Mapping[str, Any], Ports]] = {}

    def read(self, data: bytes) -> tuple[Mapping[str, Any], Ports]:
        runs = self._runs.get(len(data))
        if runs is None:
            runs = self._runs[len(data)] = codec.BRIDGE_PORT.runs(data)
        key = b"".join([data[run] for run in runs])
        found = self._kept.get(key)
        if found is None:
            values = codec.BRIDGE_PORT.decode(data)
            ports = options.port_of(values, settled=False), options.port_of(values, settled=True)
            if len(self._kept) >= self._KEPT_MAX:
                self._kept.clear()
            found = self._kept[key] = values, ports
        return found


_PORTS = _Ports()


_DECODE_DATA: Mapping[str, Callable[[bytes], Mapping[str, Any]]] = {
    "bond": codec.BOND.decode,
    "bridge": codec.BRIDGE.decode,
    "vlan": codec.VLAN.decode,
    "vxlan": codec.VXLAN.decode,
}
_NO_ADDRS: Mapping[Cidr, Details] = MappingProxyType({})
_NO_NEIGHBOURS: frozenset[StaticNeighbour] = frozenset()


def _link(
    raw: Raw,
    look: _Look,
    vlans: PortVlans | None,
    details: Mapping[Cidr, Details],
    set_by_hand: frozenset[StaticNeighbour],
) -> Link:
    attrs, flags, names = raw.attrs, raw.flags, look.names
    mac = attrs.get("mac")
    name = attrs["name"]
    port = raw.port
    return Link(
        name=name,
        spec=_spec(raw, look),
        up=flags & IFF_UP != 0,
        mtu=attrs["mtu"],
        mac=mac if mac and len(mac) == 17 else None,
        txqlen=attrs.get("txqlen"),
        promisc=flags & IFF_PROMISC != 0,
        master=names.get(attrs["master"], "") if "master" in attrs else "",
        vlans=(vlans or _NO_VLANS) if port else None,
        self_vlans=(vlans or _NO_VLANS) if raw.kind == "bridge" else None,
        snooping=_snooping(raw, look) if raw.kind == "bridge" else None,
        port=port[_ought_to_forward(raw, look)] if port else None,
        flags=_flags(flags & _FLAGS, attrs.get("linkmode", 0), attrs.get("broadcast")),
        slave_prio=raw.slave.get("prio"),
        addrs=addresses.static(details),
        details=details,
        neighbours=set_by_hand,
        fdb=look.fdb.get(raw.ifindex) if _is_tunnel(raw) else None,
        peers=look.encrypted[raw.ifindex][1] if raw.ifindex in look.encrypted else None,
        settings=devconf.read(attrs["families"]) if _has_settings(raw, details) else _NOTHING,
        mark=bool(attrs.get("group")) and is_marked(name, attrs["group"], codec.altnames(attrs)),
    )


def _has_settings(raw: Raw, details: Mapping[Cidr, Details]) -> bool:
    """Not those of the thousand cables of machines and pods."""
    if "families" not in raw.attrs or raw.kind not in ("bridge", "vlan", "vxlan", "wireguard"):
        return "families" in raw.attrs and bool(details)
    return bool(details) or _is_ours(raw)


def _is_ours(raw: Raw) -> bool:
    """`model.host.Runtime.owned`."""
    return raw.attrs.get("group") == OWNER_GROUP or bool(marked_names(codec.altnames(raw.attrs)))


def _is_tunnel(raw: Raw) -> bool:
    """Whether it is a `model.host.Vxlan`."""
    return raw.kind == "vxlan" and not raw.fault and _is_ours(raw)


def _is_encrypted(raw: Raw) -> bool:
    """Whether it is a `model.host.Wireguard`."""
    return raw.kind == "wireguard" and not raw.fault and _is_ours(raw)


def _has_far_ends(raw: Raw) -> bool:
    """Whether its forwarding table is read: that of another program may have a thousand entries that are in no plan."""
    if raw.kind != "vxlan" or raw.fault:
        return False
    return _is_ours(raw) or raw.attrs["name"].startswith((TUNNEL_4, TUNNEL_6))


def _ought_to_forward(raw: Raw, look: _Look) -> bool:
    """`br_port_carrier_check`, `br_stp_enable_bridge`: what is open and has carrier is opened, under one lock."""
    operable = raw.flags & IFF_UP and raw.attrs.get("oper") in (_OPER_UNKNOWN, _OPER_UP)
    return bool(operable) and raw.attrs.get("master") in look.open_bridges


_NO_SNOOPING = Snooping()


def _snooping(raw: Raw, look: _Look) -> Snooping:
    """What a bridge was told of single VLANs means nothing while it does not snoop by VLAN."""
    return look.snooping.get(raw.ifindex, _NO_SNOOPING) if snoops_by_vlan(raw) else _NO_SNOOPING


def snoops_by_vlan(raw: Raw) -> bool:
    return raw.kind == "bridge" and bool(options.bridge_of(raw.data).mcast_vlan_snooping)


@cache
def _flags(flags: int, linkmode: int, broadcast: str | None) -> LinkFlags:
    return LinkFlags(
        arp=not flags & IFF_NOARP,
        multicast=flags & IFF_MULTICAST != 0,
        allmulti=flags & IFF_ALLMULTI != 0,
        dormant=linkmode != 0,
        broadcast=Mac(broadcast) if broadcast else None,
    )


_FLAGS = IFF_NOARP | IFF_MULTICAST | IFF_ALLMULTI
_OPER_UNKNOWN, _OPER_UP = 0, 6
_NO_VLANS = PortVlans()
ETH_P_8021AD = 0x88A8
"""IFLA_VLAN_PROTOCOL of an interface that hears frames with a service tag only (`vlan_do_receive` looks for the VID by
the frame's own protocol): it takes nothing of a network's VLANs, and `VlanIf` is none of them."""


def _spec(raw: Raw, look: _Look) -> LinkSpec:
    names = look.names
    match raw.kind:
        case "bond":
            return options.bond_of(raw.data, names)
        case "bridge":
            return options.bridge_of(raw.data)
        case "vlan" if raw.data.get("protocol") != ETH_P_8021AD and (parent := _parent(raw, names)) is not None:
            return VlanIf(parent=parent, vid=raw.data["vid"], flags=options.vlan_flags(raw.data.get("flags", (0, 0))))
        case "vxlan" if _is_tunnel(raw):
            return options.vxlan_of(raw.data)
        case "wireguard" if raw.ifindex in look.encrypted:
            return look.encrypted[raw.ifindex][0]
        case kind:
            return Other(kind=kind, parent=None if kind in _PEERED else _parent(raw, names))


def _parent(raw: Raw, names: Mapping[int, str]) -> IfName | None:
    """IFLA_LINK is an ifindex of another namespace where IFLA_LINK_NETNSID stands beside it."""
    if "parent" not in raw.attrs or "parent_netns" in raw.attrs:
        return None
    name = names.get(raw.attrs["parent"])
    return IfName(name) if name else None


def permanent_mac(raw: Raw) -> Mac | None:
    """IFLA_PERM_ADDRESS (`ethtool -P`); without it, what a bond keeps to give back at release."""
    mac = raw.attrs.get("permanent_mac") or raw.slave.get("permanent_mac")
    return Mac(mac) if mac and len(mac) == 17 and mac != options.NO_MAC else None


def _has_speed(raw: Raw) -> bool:
    """Not the thousand cables of machines and pods: asking takes a system call and the rtnl lock for each."""
    return raw.arphrd == ARPHRD_ETHER and (raw.kind in (DEVICE, "bond") or raw.slave_kind == "bond")


def _runtime(raw: Raw, look: _Look) -> Runtime:
    attrs = raw.attrs
    oper = attrs.get("oper", 0)
    speed, duplex = look.settings.of(attrs["name"]) if _has_speed(raw) else (None, None)
    special: Mapping[str, Any] = _NOTHING
    if raw.slave_kind == "bond":
        special = _slave_runtime(raw, look.bonds.get(attrs.get("master", 0), _NOTHING))
    elif raw.slave_kind == "bridge":
        special = {"port_state": raw.slave.get("state")}
    if raw.kind == "bond":
        special = {**special, **_bond_runtime(raw.data, look.names)}
    elif raw.kind == "vxlan" and not raw.fault and not _is_ours(raw):
        far_ends = look.fdb.get(raw.ifindex, frozenset())
        special = {**special, "tunnel": options.vxlan_of(raw.data), "far_ends": far_ends}
    return Runtime(
        ifindex=raw.ifindex,
        group=attrs.get("group", 0),
        carrier=raw.flags & IFF_LOWER_UP != 0,
        oper=OPER[oper] if oper < len(OPER) else "unknown",
        permanent_mac=permanent_mac(raw),
        alias=attrs.get("alias", ""),
        altnames=codec.altnames(attrs),
        own_name=attrs.get("own_name", ""),
        min_mtu=attrs.get("min_mtu", 0),
        max_mtu=attrs.get("max_mtu", 0),
        speed=speed,
        duplex=duplex,
        carrier_downs=attrs.get("carrier_downs"),
        **special,
    )


def _slave_runtime(raw: Raw, bond: Mapping[str, Any]) -> dict[str, Any]:
    """BOND_STATE_ACTIVE is 0, BOND_LINK_UP is 0. The kernel tells the partner only of the active aggregator."""
    slave = raw.slave
    lacp = None
    if "aggregator" in slave:
        info = bond.get("lacp_info", {})
        same = info.get("aggregator") == slave["aggregator"]
        lacp = LacpState(
            aggregator=slave["aggregator"],
            partner_mac=_partner(info) if same else None,
            actor_state=slave.get("actor_state", 0),
            partner_state=slave.get("partner_state", 0),
        )
    return {
        "slave_active": slave.get("state") == 0,
        "slave_mii_up": slave.get("mii_status") == 0,
        "link_failures": slave.get("link_failures"),
        "lacp": lacp,
    }


def _bond_runtime(data: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    info = data.get("lacp_info", {})
    active = names.get(data.get("active_slave", 0))
    return {"active_slave": active, "aggregator": info.get("aggregator"), "partner_mac": _partner(info)}


def _partner(info: Mapping[str, Any]) -> Mac | None:
    mac = info.get("partner_mac", options.NO_MAC)
    return None if mac == options.NO_MAC else Mac(mac)


# VLANs --------------------------------------------------------------------------------------------


def dump_vlans(rtnl: Rtnl, memory: LinkMemory | None = None) -> dict[int, PortVlans]:
    """VLANs by ifindex, of ports and of bridges themselves.

    One port is never split over two messages: the kernel makes room for the largest (`rtnl_calcit`).
    """
    return (memory or LinkMemory()).vlans(bridge_links(rtnl))


def bridge_links(rtnl: Rtnl) -> list[Span]:
    """Bridges and their ports with their VLANs, as messages of family AF_BRIDGE. Raises KernelError."""
    return rtnl.dump(Message(RTM_GETLINK, _BRIDGE_BODY, doing="list the VLANs"))


def dump_snooping(rtnl: Rtnl) -> dict[int, Snooping]:
    """In which VLANs bridges snoop, and ask, by ifindex. Raises KernelError."""
    found: dict[int, Snooping] = {}
    for data, start, end in rtnl.dump(Message(RTM_GETVLAN, _SNOOPING_BODY, doing="list the VLANs of bridges")):
        _, index = codec.VLAN_HEADER.unpack_from(data, start)
        for entry in codec.VLAN_DB.decode(data, start + codec.VLAN_HEADER.size, end).get("global", ()):
            vids = VidSet.span(entry["vid"], entry.get("last", entry["vid"]))
            known = found.get(index, _NO_SNOOPING)
            found[index] = Snooping(
                snooped=known.snooped | vids if entry.get("mcast_snooping") else known.snooped,
                asked=known.asked | vids if entry.get("mcast_querier") else known.asked,
            )
    return found


def vlans_of(said: bytes) -> PortVlans | None:
    """A NIC's own switch answers too (`ndo_dflt_bridge_getlink`), and says SELF."""
    spec = codec.BRIDGE_LINK.decode(said, codec.LINK_HEADER.size).get("spec")
    return port_vlans(spec.get("vlans", ())) if spec and not spec.get("flags", 0) & BRIDGE_FLAGS_SELF else None


def port_vlans(entries: Iterable[tuple[int, int]]) -> PortVlans:
    pvid: int | None = None
    untagged = tagged = first = 0
    for flags, vid in entries:
        if flags & RANGE_BEGIN:
            first = vid
            continue
        bits = (1 << vid + 1) - (1 << first) if flags & RANGE_END else 1 << vid
        if flags & UNTAGGED:
            untagged |= bits
        else:
            tagged |= bits
        if flags & PVID:
            pvid = vid
    return PortVlans(pvid=pvid, untagged=VidSet(untagged), tagged=VidSet(tagged))
