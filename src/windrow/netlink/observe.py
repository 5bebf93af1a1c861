"""One full look at a network namespace: a handful of dumps become `model.host.Observed`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from windrow.model.host import (
    OWNER_GROUP,
    Details,
    HostState,
    LacpState,
    Link,
    LinkSpec,
    Observed,
    Other,
    PortVlans,
    Runtime,
    VlanIf,
)
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import addresses, codec, devconf, options, routes
from windrow.netlink.links import BRIDGE_FLAGS_SELF, DEVICE, PVID, RANGE_BEGIN, RANGE_END, UNTAGGED
from windrow.netlink.linksettings import LinkSettings
from windrow.netlink.sock import (
    RTEXT_FILTER_BRVLAN_COMPRESSED,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETLINK,
    Message,
    Rtnl,
)

IFF_UP, IFF_LOOPBACK, IFF_PROMISC, IFF_LOWER_UP = 0x1, 0x8, 0x100, 0x10000
ARPHRD_ETHER = 1
OPER = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
"""IF_OPER_* (RFC 2863)."""
_PEERED = frozenset({"veth", "netkit", "vxcan"})
"""Kinds whose IFLA_LINK is the other end of a cable, and not what they stand on."""
_LINK_BODY = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"ext_mask": RTEXT_FILTER_SKIP_STATS})
_BRIDGE_BODY = codec.LINK_HEADER.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + codec.BRIDGE_LINK.encode(
    {"ext_mask": RTEXT_FILTER_BRVLAN_COMPRESSED}
)


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Raw(NamedTuple):
    """One link as the kernel sent it: header and decoded attributes. `data`: of its kind; `slave`: of its master's."""

    ifindex: int
    arphrd: int
    flags: int
    attrs: Mapping[str, Any]
    kind: str
    slave_kind: str = ""
    data: Mapping[str, Any] = _NOTHING
    slave: Mapping[str, Any] = _NOTHING


def observe(rtnl: Rtnl, sysctls: Mapping[str, str] | None = None) -> Observed:
    """Everything there is. `sysctls`: values read by the caller, to be part of the state. Raises KernelError."""
    raws, dirty = dump_links(rtnl)
    names = {raw.ifindex: raw.attrs["name"] for raw in raws}
    kinds = {raw.ifindex: raw.kind for raw in raws}
    vlans: Mapping[int, PortVlans] = {}
    if "bridge" in kinds.values():
        vlans, interrupted = dump_vlans(rtnl)
        dirty |= interrupted
    addrs, interrupted = addresses.dump_addresses(rtnl)
    dirty |= interrupted
    found, interrupted = routes.dump_routes(rtnl, names)
    dirty |= interrupted
    rules, interrupted = routes.dump_rules(rtnl)
    dirty |= interrupted
    bonds = {raw.ifindex: raw.data for raw in raws if raw.kind == "bond"}
    settings = LinkSettings(rtnl.fileno())
    links: dict[IfName, Link] = {}
    runtime: dict[IfName, Runtime] = {}
    for raw in raws:
        link = _link(raw, names, vlans, addrs.get(raw.ifindex, _NO_ADDRS))
        links[link.name] = link
        runtime[link.name] = _runtime(raw, names, bonds, settings)
    state = HostState(links=links, routes=found, rules=rules, sysctls=dict(sysctls or {}))
    return Observed(state=state, runtime=runtime, dirty=dirty)


# Links --------------------------------------------------------------------------------------------


def dump_links(rtnl: Rtnl) -> tuple[list[Raw], bool]:
    """All links, decoded; and whether the dump was interrupted."""
    dump = rtnl.dump(Message(RTM_GETLINK, _LINK_BODY, doing="list the links"))
    unpack, decode, size = codec.LINK_HEADER.unpack_from, codec.LINK.decode, codec.LINK_HEADER.size
    raws: list[Raw] = []
    for data, start, end in dump.spans:
        _, arphrd, index, flags, _ = unpack(data, start)
        attrs = decode(data, start + size, end)
        info = attrs.get("linkinfo")
        raws.append(_with_info(index, arphrd, flags, attrs, info) if info else Raw(index, arphrd, flags, attrs, DEVICE))
    return raws, dump.dirty


def _with_info(index: int, arphrd: int, flags: int, attrs: Mapping[str, Any], info: Mapping[str, Any]) -> Raw:
    kind, slave_kind = info.get("kind", DEVICE), info.get("slave_kind", "")
    data = _DECODE_DATA[kind](info["data"]) if kind in _DECODE_DATA and "data" in info else _NOTHING
    slave = codec.SLAVE_DATA[slave_kind].decode(info["slave_data"]) if slave_kind in codec.SLAVE_DATA else _NOTHING
    return Raw(index, arphrd, flags, attrs, kind, slave_kind, data, slave)


_DECODE_DATA: Mapping[str, Callable[[bytes], Mapping[str, Any]]] = {
    "bond": codec.BOND.decode,
    "bridge": codec.BRIDGE.decode,
    "vlan": codec.VLAN.decode,
}
_NO_ADDRS: Mapping[Cidr, Details] = MappingProxyType({})


def _link(raw: Raw, names: Mapping[int, str], vlans: Mapping[int, PortVlans], details: Mapping[Cidr, Details]) -> Link:
    attrs, flags = raw.attrs, raw.flags
    mac = attrs.get("mac")
    return Link(
        name=attrs["name"],
        spec=_spec(raw, names),
        up=flags & IFF_UP != 0,
        mtu=attrs["mtu"],
        mac=mac if mac and len(mac) == 17 else None,
        txqlen=attrs.get("txqlen"),
        promisc=flags & IFF_PROMISC != 0,
        master=names.get(attrs["master"], "") if "master" in attrs else "",
        vlans=vlans.get(raw.ifindex, _NO_VLANS) if raw.slave_kind == "bridge" else None,
        self_vlans=vlans.get(raw.ifindex, _NO_VLANS) if raw.kind == "bridge" else None,
        isolated=bool(raw.slave.get("isolated")) if raw.slave_kind == "bridge" else None,
        hairpin=bool(raw.slave.get("hairpin")) if raw.slave_kind == "bridge" else None,
        addrs=addresses.static(details),
        details=details,
        settings=devconf.read(attrs["families"]) if _has_settings(raw, details) else _NOTHING,
    )


def _has_settings(raw: Raw, details: Mapping[Cidr, Details]) -> bool:
    """Not those of the thousand cables of machines and pods."""
    ours = raw.kind in ("bridge", "vlan") and raw.attrs.get("group") == OWNER_GROUP
    return "families" in raw.attrs and (bool(details) or ours)


_NO_VLANS = PortVlans()


def _spec(raw: Raw, names: Mapping[int, str]) -> LinkSpec:
    match raw.kind:
        case "bond":
            return options.bond_of(raw.data, names)
        case "bridge":
            return options.bridge_of(raw.data)
        case "vlan" if (parent := _parent(raw, names)) is not None:
            return VlanIf(parent=parent, vid=raw.data["vid"])
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


def _runtime(
    raw: Raw, names: Mapping[int, str], bonds: Mapping[int, Mapping[str, Any]], settings: LinkSettings
) -> Runtime:
    attrs = raw.attrs
    oper = attrs.get("oper", 0)
    speed, duplex = settings.of(attrs["name"]) if _has_speed(raw) else (None, None)
    special: Mapping[str, Any] = _NOTHING
    if raw.slave_kind == "bond":
        special = _slave_runtime(raw, bonds.get(attrs.get("master", 0), _NOTHING))
    elif raw.slave_kind == "bridge":
        special = {"port_state": raw.slave.get("state")}
    if raw.kind == "bond":
        special = {**special, **_bond_runtime(raw.data, names)}
    return Runtime(
        ifindex=raw.ifindex,
        group=attrs.get("group", 0),
        carrier=raw.flags & IFF_LOWER_UP != 0,
        oper=OPER[oper] if oper < len(OPER) else "unknown",
        permanent_mac=permanent_mac(raw),
        alias=attrs.get("alias", ""),
        altnames=tuple(attrs["properties"].get("altnames", ())) if "properties" in attrs else (),
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


def dump_vlans(rtnl: Rtnl) -> tuple[dict[int, PortVlans], bool]:
    """VLANs by ifindex, of ports and of bridges themselves.

    One port is never split over two messages: the kernel makes room for the largest (`rtnl_calcit`).
    """
    dump = rtnl.dump(Message(RTM_GETLINK, _BRIDGE_BODY, doing="list the VLANs"))
    found: dict[int, PortVlans] = {}
    for data, start, end in dump.spans:
        index = codec.LINK_HEADER.unpack_from(data, start)[2]
        spec = codec.BRIDGE_LINK.decode(data, start + codec.LINK_HEADER.size, end).get("spec")
        # A NIC's own switch answers too (`ndo_dflt_bridge_getlink`), and says SELF.
        if spec and not spec.get("flags", 0) & BRIDGE_FLAGS_SELF:
            found[index] = port_vlans(spec.get("vlans", ()))
    return found, dump.dirty


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
