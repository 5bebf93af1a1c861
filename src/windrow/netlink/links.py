"""The messages that make, change and delete links, addresses and routes.

Each function builds one `sock.Message` and touches nothing; `Rtnl.run` sends many of them at once. The kernel
finds the link of a message by its name, so a name never goes stale on the way; where a message has room only
for an ifindex (a master, a parent, the port of a bridge), the caller gives it: `Rtnl.index`, `Rtnl.indexes`.

What only some messages need is imported where they are made: a CNI plugin, started anew for every call, needs few.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from windrow.model import ipv4
from windrow.model.lazy import dataclass
from windrow.model.marks import mark_of
from windrow.model.values import OWNER_GROUP, RTPROT_STATIC, VID_MAX, VID_MIN, PortVlans, VidSet
from windrow.netlink import codec, errors
from windrow.netlink.sock import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_NEWVLAN,
    RTM_SETLINK,
    Message,
)

if TYPE_CHECKING:
    from windrow.model.host import Bond, Bridge, Details, FdbEntry, Link, LinkFlags, Route, Rule, StaticNeighbour
    from windrow.model.steps import SetVxlan
    from windrow.model.values import Cidr

    Find = Callable[[str], int]

IFF_UP, IFF_NOARP, IFF_PROMISC, IFF_ALLMULTI, IFF_MULTICAST = 0x1, 0x80, 0x100, 0x200, 0x1000
PVID, UNTAGGED, RANGE_BEGIN, RANGE_END = 0x2, 0x4, 0x8, 0x10
"""BRIDGE_VLAN_INFO_*."""
BRIDGE_FLAGS_SELF = 2
DISABLED, LISTENING, LEARNING, FORWARDING, BLOCKING = range(5)
"""BR_STATE_*, for `port_options(state=…)`."""
DEVICE = "device"
"""The kind of a NIC in `model.host.Other`; the kernel has no word for it."""
_IFA_F_NODAD = 0x02
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
_RTN_UNICAST = 1
_MTU_LIMIT = 65535


# Making -------------------------------------------------------------------------------------------


def create(
    name: str, kind: str, *, data: Mapping[str, Any] | None = None, up: bool = False, **attributes: Any
) -> Message:
    """Make a link of a kind (`dummy`, `bridge`, `bond`, `vlan`, `vxlan`, …).

    `data`: the kind's own options, under the names of its table in `codec.KIND_DATA`. `attributes`: rows of
    `codec.LINK` (`mac`, `mtu`, `txqlen`, `group`, and as ifindexes `master`, `parent`).
    Refused with EEXIST if the name is taken.
    """
    info: dict[str, Any] = {"kind": kind}
    if data:
        info["data"] = codec.KIND_DATA[kind].encode(data)
    body = _link_header(up=up or None) + codec.LINK.encode({"name": name, **attributes, "linkinfo": info})
    return Message(RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL, f"create {kind} {name}", kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a veth pair. `netns`: an open fd of the namespace it is born in; None: the socket's."""

    name: str
    netns: int | None = None
    mac: str | None = None
    mtu: int | None = None
    group: int | None = None
    txqlen: int | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """For `codec.LINK`."""
        return {
            "name": self.name,
            "mac": self.mac,
            "mtu": self.mtu,
            "group": self.group,
            "txqlen": self.txqlen,
            "netns_fd": self.netns,
        }


def veth(end: End, peer: End, *, master: int | None = None, up: bool = False) -> Message:
    """A cable: both ends with all they need, in one message.

    `master` (an ifindex in its namespace) and `up` are for `end`. The kernel has neither for the peer: it
    attaches nothing, and opens the peer before it is tied to its other end (`veth_open`: ENOTCONN).
    """
    peer_data = _link_header() + codec.LINK.encode(peer.attributes)
    info = {"kind": "veth", "data": codec.VETH.encode({"peer": peer_data})}
    body = _link_header(up=up or None) + codec.LINK.encode({**end.attributes, "master": master, "linkinfo": info})
    return Message(RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL, f"create veth {end.name}", "veth")


def create_link(link: Link, index: Callable[[str], int], *, group: int = OWNER_GROUP) -> tuple[Message, ...]:
    """`link` with its spec, MTU, MAC, txqlen, parent and group; of a bond the options that apply (`Bond.applicable`).

    Then its second mark (`model.marks`), in a message of its own, and one more for a bridge with an MTU. A bridge
    follows the MTU of its ports until someone sets its own (`br_change_mtu` sets BROPT_MTU_SET_BY_USER; the create
    message does not go through it, and neither does setting the value it has): so it is made one byte larger, then set.
    `index` finds the parent and the primary. Raises KernelError for a kind that Windrow does not make.
    """
    from windrow.model.host import Bridge

    parent, data = _spec_data(link, index)
    marks = (add_altname(link.name, mark_of(link.name)),) if group == OWNER_GROUP else ()
    common: dict[str, Any] = {"mac": link.mac, "txqlen": link.txqlen, "group": group, "parent": parent}
    if not isinstance(link.spec, Bridge) or link.mtu is None:
        return (create(link.name, link.kind, data=data, mtu=link.mtu, **common), *marks)
    first = create(link.name, link.kind, data=data, mtu=_not(link.mtu), **common)
    return (first, *marks, set_link(link.name, mtu=link.mtu))


def keep_mtu(name: str, mtu: int) -> tuple[Message, ...]:
    """Have a bridge keep the MTU that it has, whatever its ports have from now on (see `create_link`)."""
    return (set_link(name, mtu=_not(mtu)), set_link(name, mtu=mtu))


def _not(mtu: int) -> int:
    """Another one, larger where there is one: below 1280 a link loses its IPv6 addresses (`addrconf_notify`)."""
    return mtu + 1 if mtu < _MTU_LIMIT else mtu - 1


def _spec_data(link: Link, index: Callable[[str], int]) -> tuple[int | None, dict[str, Any]]:
    """(ifindex of the parent, the kind's own options)."""
    from windrow.model.host import Bond, Bridge, Other, VlanIf, Vxlan, Wireguard
    from windrow.netlink import options

    match link.spec:
        case Bond() as bond:
            return None, options.bond_values(bond.applicable(), index)
        case Bridge() as bridge:
            return None, options.bridge_values(bridge)
        case VlanIf(parent=parent, vid=vid, flags=flags):
            return index(parent), {"vid": vid, "flags": options.vlan_flags_value(flags) if flags else None}
        case Vxlan() as vxlan:
            return None, options.vxlan_values(vxlan)
        case Wireguard():
            return None, {}  # it is told the rest by generic netlink
        case Other(kind=kind):
            raise errors.of(errno.EOPNOTSUPP, f"create {link.name}", f"links of kind {kind} are not ours to make")


def delete(name: str) -> Message:
    return Message(RTM_DELLINK, _link_header() + codec.LINK.encode({"name": name}), doing=f"delete link {name}")


def delete_group(group: int) -> Message:
    """Delete every link of a group, at once (`rtnl_group_dellink`)."""
    return Message(RTM_DELLINK, _link_header() + codec.LINK.encode({"group": group}), doing=f"delete group {group}")


# Changing -----------------------------------------------------------------------------------------


def set_link(
    name: str,
    *,
    up: bool | None = None,
    promisc: bool | None = None,
    flags: LinkFlags | None = None,
    doing: str = "",
    **attributes: Any,
) -> Message:
    """Change flags, and `attributes`: rows of `codec.LINK` (`mtu`, `mac`, `txqlen`, `group`, `alias`, …)."""
    words = {"up": up, "promisc": promisc, "flags": flags, **attributes}
    said = ", ".join(f"{key} {value}" for key, value in words.items() if value is not None)
    bits: dict[int, bool | None] = {IFF_UP: up, IFF_PROMISC: promisc}
    if flags is not None:
        bits |= {IFF_ALLMULTI: flags.allmulti, IFF_MULTICAST: flags.multicast}
        bits[IFF_NOARP] = None if flags.arp is None else not flags.arp
        attributes["broadcast"] = flags.broadcast
        attributes["linkmode"] = None if flags.dormant is None else int(flags.dormant)
    body = _link_header(bits=bits) + codec.LINK.encode({"name": name, **attributes})
    return Message(RTM_SETLINK, body, doing=doing or f"set {name}: {said}")


def add_altname(name: str, altname: str) -> Message:
    """One more name for a link. Refused with EEXIST if any link has it, this one included."""
    return _altname(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_APPEND | NLM_F_EXCL, name, altname, f"call {name} {altname}")


def delete_altname(name: str, altname: str) -> Message:
    """Refused with ENOENT if there is no such name."""
    return _altname(RTM_DELLINKPROP, 0, name, altname, f"call {name} {altname} no more")


def _altname(type_: int, flags: int, name: str, altname: str, doing: str) -> Message:
    body = _link_header() + codec.LINK.encode({"name": name, "properties": {"altnames": [altname]}})
    return Message(type_, body, flags, doing)


def set_master(name: str, master: int | None, master_name: str = "") -> Message:
    """Put a link into a bond or bridge (its ifindex), or with None take it out of the one it is in."""
    doing = f"attach {name} to {master_name or master}" if master else f"detach {name}"
    return set_link(name, master=master or 0, doing=doing)


def rename(index: int, name: str, to: str) -> Message:
    body = _link_header(index=index) + codec.LINK.encode({"name": to})
    return Message(RTM_SETLINK, body, doing=f"rename {name} to {to}")


def set_kind(name: str, kind: str, data: Mapping[str, Any]) -> Message:
    """Change a link's options of its kind: `codec.KIND_DATA[kind]`."""
    info = {"kind": kind, "data": codec.KIND_DATA[kind].encode(data)}
    said = ", ".join(f"{key} {value}" for key, value in data.items() if value is not None)
    body = _link_header() + codec.LINK.encode({"name": name, "linkinfo": info})
    return Message(RTM_NEWLINK, body, doing=f"set {kind} {name}: {said}", kind=kind)


_SHOWN = ("nf_call_iptables", "nf_call_ip6tables")


def show_frames(bridge: str) -> Message:
    """The frames of a bridge to the host's packet filter, whatever net.bridge.bridge-nf-call-* say."""
    return set_kind(bridge, "bridge", dict.fromkeys(_SHOWN, 1))


def shows_frames(data: Mapping[str, Any]) -> bool:
    """Whether a bridge with these options does so by itself."""
    return all(data.get(option) for option in _SHOWN)


def set_bond(name: str, bond: Bond, index: Callable[[str], int]) -> Message:
    """The options that are not None; `index` finds the primary.

    The primary need not be a slave yet: the kernel remembers its name (`bond_option_primary_set`) and reports it
    once it is one.
    """
    from windrow.netlink import options

    return set_kind(name, "bond", options.bond_values(bond, index))


def set_bridge(name: str, bridge: Bridge) -> Message:
    from windrow.netlink import options

    return set_kind(name, "bridge", options.bridge_values(bridge))


def set_vlan_flags(name: str, flags: Collection[str]) -> Message:
    """Those of `options.VLAN_FLAGS` that are on; the others go off."""
    from windrow.netlink import options

    return set_kind(name, "vlan", {"flags": options.vlan_flags_value(flags)})


def set_vxlan(name: str, change: SetVxlan) -> Message:
    from windrow.netlink import options

    return set_kind(name, "vxlan", options.vxlan_change(change))


def slave_options(name: str, kind: str, **values: int) -> Message:
    """Change how a master of a kind treats a link: `codec.SLAVE_DATA[kind]`.

    The kernel reads the numbers as those of the master that the link has (`rtnl_changelink`), whatever kind is said:
    only for a link that is known to be in one of this kind.
    """
    info = {"slave_kind": kind, "slave_data": codec.SLAVE_DATA[kind].encode(values)}
    body = _link_header() + codec.LINK.encode({"name": name, "linkinfo": info})
    return Message(RTM_NEWLINK, body, doing=f"set {kind} slave {name}: {values}")


def port_options(index: int, name: str = "", **values: int) -> Message:
    """Change a bridge port: `codec.BRIDGE_PORT` (`isolated`, `hairpin`, `state`, `learning`, …)."""
    body = _link_header(socket.AF_BRIDGE, index) + codec.BRIDGE_LINK.encode({"port": values})
    return Message(RTM_SETLINK, body, doing=f"set port {name or index}: {values}")


# VLANs --------------------------------------------------------------------------------------------


def check_vlans(vlans: PortVlans) -> None:
    """Raises ValueError. The kernel would apply the first half of a message with a bad VID in its middle."""
    bad = vlans.all - VidSet.span(VID_MIN, VID_MAX)
    if bad:
        raise ValueError(f"VLAN ids {bad} are outside {VID_MIN}..{VID_MAX}")
    if vlans.tagged & vlans.untagged:
        raise ValueError(f"VLAN ids {vlans.tagged & vlans.untagged} are both tagged and untagged")
    if vlans.pvid is not None and vlans.pvid not in vlans.all:
        raise ValueError(f"PVID {vlans.pvid} is not among the VLANs {vlans.all}")


def add_vlans(index: int, vlans: PortVlans, *, on_self: bool = False, name: str = "") -> Message:
    """Give VLANs to a bridge port, or `on_self` to the bridge itself. One message, ranges folded.

    A VID that is there already is given these flags. Raises ValueError (`check_vlans`).
    """
    check_vlans(vlans)
    pvid = VidSet() if vlans.pvid is None else VidSet.of([vlans.pvid])
    entries = _ranges(vlans.untagged - pvid, UNTAGGED) + _ranges(vlans.tagged - pvid, 0)
    if vlans.pvid is not None:  # alone: `br_process_vlan_info` refuses a range with PVID
        entries.append((PVID | (UNTAGGED if vlans.pvid in vlans.untagged else 0), vlans.pvid))
    return _vlans(RTM_SETLINK, index, entries, on_self, f"add VLANs {vlans.all} to {name or index}")


def delete_vlans(index: int, vids: VidSet, *, on_self: bool = False, name: str = "") -> Message:
    """Take VLANs from a bridge port, or from the bridge itself. Raises ValueError."""
    check_vlans(PortVlans(tagged=vids))
    return _vlans(RTM_DELLINK, index, _ranges(vids, 0), on_self, f"take VLANs {vids} from {name or index}")


def _ranges(vids: VidSet, flags: int) -> list[tuple[int, int]]:
    entries: list[tuple[int, int]] = []
    for first, last in vids.ranges():
        if first == last:
            entries.append((flags, first))
        else:
            entries += ((flags | RANGE_BEGIN, first), (flags | RANGE_END, last))
    return entries


def _vlans(type_: int, index: int, entries: list[tuple[int, int]], on_self: bool, doing: str) -> Message:
    spec = {"flags": BRIDGE_FLAGS_SELF if on_self else None, "vlans": entries}
    return Message(type_, _link_header(socket.AF_BRIDGE, index) + codec.BRIDGE_LINK.encode({"spec": spec}), doing=doing)


def snoop_vlans(index: int, vids: VidSet, *, snoop: bool, ask: bool, name: str = "") -> tuple[Message, ...]:
    """In these VLANs a bridge snoops for multicast groups or not, and is the querier or not. A message for each range:
    at a VID that is not there the kernel leaves the rest of a message undone (`br_vlan_rtm_process`: ENOENT)."""
    options = {"mcast_snooping": int(snoop), "mcast_querier": int(ask)}
    doing = f"snoop {'on' if snoop else 'off'}, querier {'on' if ask else 'off'} in VLANs {{}} of {name or index}"
    header = codec.VLAN_HEADER.pack(socket.AF_BRIDGE, index)
    return tuple(
        Message(
            RTM_NEWVLAN,
            header
            + codec.VLAN_DB.encode({"global": [{"vid": first, "last": last if last != first else None, **options}]}),
            doing=doing.format(VidSet.span(first, last)),
        )
        for first, last in vids.ranges()
    )


# Addresses and routes -----------------------------------------------------------------------------


def add_addr(index: int, cidr: str, *, nodad: bool = False, scope: int | None = None, name: str = "") -> Message:
    """Give a link a static address. Having it already is no error (NLM_F_REPLACE). Raises ValueError.

    `nodad`: an IPv6 address is usable at once, without the second or two of duplicate address detection. `scope`:
    RT_SCOPE_*, of IPv4; without it, the universe.
    """
    message = _addr(RTM_NEWADDR, index, cidr, flags=_IFA_F_NODAD if nodad else None, scope=scope or 0)
    doing = f"add {cidr} to {name or index}"
    return Message(RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_REPLACE, doing, hints=_ipv6_hints(cidr, name))


def _ipv6_hints(cidr: str, name: str) -> tuple[tuple[int, str], ...]:
    """`addrconf_add_dev` refuses an address where IPv6 is switched off, and gives no reason before Linux 6.3."""
    if ":" not in cidr:
        return ()
    switch = f"net.ipv6.conf.{name.replace('.', '/') or '<link>'}.disable_ipv6"
    absent = "this kernel has no IPv6: it was started with ipv6.disable=1, or built without"
    return (
        (errno.EACCES, f"IPv6 is switched off there: sysctl -w {switch}=0"),
        (errno.EOPNOTSUPP, absent),
        (errno.EAFNOSUPPORT, absent),
    )


def del_addr(index: int, cidr: str, *, name: str = "") -> Message:
    """Take an address from a link; EADDRNOTAVAIL if it has none such. Raises ValueError."""
    return Message(RTM_DELADDR, _addr(RTM_DELADDR, index, cidr), doing=f"take {cidr} from {name or index}")


def _addr(type_: int, index: int, cidr: str, flags: int | None = None, scope: int = 0) -> bytes:
    if (four := ipv4.parse(cidr)) is not None:
        number, length = four
        version, text = 4, ipv4.written(number)
    else:
        import ipaddress  # slow to load

        address = ipaddress.ip_interface(cidr)
        number, version, text, length = int(address.ip), address.version, str(address.ip), address.network.prefixlen
    values: dict[str, Any] = {"local": text, "address": text, "flags": flags}
    if type_ == RTM_NEWADDR and version == 4 and length < 31:
        values["broadcast"] = ipv4.written(number | ipv4.hosts(length))
    return codec.ADDR_HEADER.pack(_family(version), length, 0, scope, index) + codec.ADDR.encode(values)


def put_back_addr(index: int, cidr: Cidr, details: Details, *, name: str, moving: bool) -> Message:
    """Give a link an address as it was somewhere on this host. `moving`: usable at once; told again without that, it
    loses the mark of it (`inet6_addr_modify`). Raises ValueError."""
    from windrow.netlink import addresses

    body = addresses.write(cidr, details, index, name, moving=moving)
    flags, hints = NLM_F_CREATE | NLM_F_REPLACE, _ipv6_hints(cidr, name)
    return Message(RTM_NEWADDR, body, flags, f"add {cidr} to {name}", hints=hints)


def take_addr(index: int, cidr: Cidr, details: Details, *, name: str) -> Message:
    """Take an address that has details: one with a peer `del_addr` would not find. Raises ValueError."""
    head = codec.ADDR_HEADER.pack(_family(6 if ":" in cidr else 4), int(cidr.partition("/")[2]), 0, 0, index)
    return Message(RTM_DELADDR, head + details.attributes, doing=f"take {cidr} from {name}")


def add_route(route: Route, index: int | None, *, beside: bool = False, find: Find | None = None) -> Message:
    """Add or replace a route; `index` is the ifindex of its device, and `find` that of any link, which one with
    `exact` asks for. Raises ValueError.

    `beside`: leave another one of the same destination and metric as it is (`fib_table_insert`: NLM_F_REPLACE takes
    whichever stands first, also another's). The same one again is then EEXIST.
    """
    how = NLM_F_APPEND if beside else NLM_F_REPLACE
    return Message(RTM_NEWROUTE, _route(route, index, find), NLM_F_CREATE | how, f"add route {_said(route)}")


def del_route(route: Route, index: int | None, *, find: Find | None = None) -> Message:
    return Message(RTM_DELROUTE, _route(route, index, find), doing=f"delete route {_said(route)}")


def add_rule(rule: Rule) -> Message:
    """EEXIST if it is there (NLM_F_EXCL: the kernel takes the like of it twice otherwise)."""
    from windrow.netlink import routes

    return Message(RTM_NEWRULE, routes.write_rule(rule), NLM_F_CREATE | NLM_F_EXCL, f"add a rule for {rule.link}")


def del_rule(rule: Rule) -> Message:
    from windrow.netlink import routes

    return Message(RTM_DELRULE, routes.write_rule(rule), doing=f"delete a rule for {rule.link}")


def add_neighbour(one: StaticNeighbour, index: int, *, name: str) -> Message:
    """In place of whatever is known of that address. Raises ValueError."""
    from windrow.netlink import neighbours

    flags, doing = NLM_F_CREATE | NLM_F_REPLACE, f"add neighbour {one.address} to {name}"
    return Message(RTM_NEWNEIGH, neighbours.write(one, index), flags, doing)


def del_neighbour(one: StaticNeighbour, index: int, *, name: str) -> Message:
    """ENOENT if it is not there. Raises ValueError."""
    from windrow.netlink import neighbours

    return Message(RTM_DELNEIGH, neighbours.write(one, index), doing=f"take neighbour {one.address} from {name}")


def add_fdb(entry: FdbEntry, index: int, *, name: str) -> Message:
    """In place of the far end that there is for that MAC address (`vxlan_fdb_replace`). Raises ValueError."""
    from windrow.netlink import fdb

    flags, doing = NLM_F_CREATE | NLM_F_REPLACE, f"add {entry.mac} behind {entry.dst} to {name}"
    return Message(RTM_NEWNEIGH, fdb.write(entry, index), flags, doing)


def del_fdb(entry: FdbEntry, index: int, *, name: str) -> Message:
    """ENOENT if it is not there. Raises ValueError."""
    from windrow.netlink import fdb

    return Message(RTM_DELNEIGH, fdb.write(entry, index), doing=f"take {entry.mac} behind {entry.dst} from {name}")


def _route(route: Route, index: int | None, find: Find | None) -> bytes:
    import ipaddress

    if route.exact is not None:
        from windrow.netlink import routes

        if find is None and route.links != (route.dev,):
            raise ValueError(f"the route to {route.dst} leads over several links")
        return routes.write(route, find or (lambda _: index or 0))

    version = _route_version(route)
    network = ipaddress.ip_network(route.dst if route.dst != "default" else "0.0.0.0/0" if version == 4 else "::/0")
    scope = RT_SCOPE_UNIVERSE if route.gateway or version == 6 else RT_SCOPE_LINK
    table = route.table if route.table < 256 else 0
    header = codec.ROUTE_HEADER.pack(
        _family(version), network.prefixlen, 0, 0, table, route.protocol or RTPROT_STATIC, scope, _RTN_UNICAST, 0
    )
    return header + codec.ROUTE.encode(
        {
            "dst": str(network.network_address) if network.prefixlen else None,
            "gateway": route.gateway,
            "dev": index,
            "metric": route.metric or None,
            "source": route.source or None,
            "table": route.table,
            "expires": _seconds(route),
        }
    )


def _seconds(route: Route) -> int | None:
    from windrow.netlink import routes

    return None if route.until is None else routes.left(route.until)


def _route_version(route: Route) -> int:
    """A default route without a gateway is taken for IPv4."""
    text = route.gateway if route.dst == "default" else route.dst
    return 6 if text and ":" in text else 4


def _said(route: Route) -> str:
    via = f" via {route.gateway}" if route.gateway else ""
    return f"{route.dst}{via}" + (f" dev {route.dev}" if route.dev else "")


def _family(version: int) -> int:
    return int(socket.AF_INET6 if version == 6 else socket.AF_INET)


def _link_header(
    family: int = 0, index: int = 0, *, up: bool | None = None, bits: Mapping[int, bool | None] | None = None
) -> bytes:
    """`bits`: IFF_* -> on or off; None: as it is."""
    given = {IFF_UP: up, **(bits or {})}
    flags = sum(bit for bit, on in given.items() if on)
    change = sum(bit for bit, on in given.items() if on is not None)
    return codec.LINK_HEADER.pack(family, 0, index, flags, change)


def own_name(name: str) -> str:
    """What the kernel calls the link that goes by this name (`model.marks.called`), in the network namespace of the
    calling thread. Where there is no such link, the name."""
    try:
        return socket.if_indextoname(socket.if_nametoindex(name))
    except OSError:
        return name
