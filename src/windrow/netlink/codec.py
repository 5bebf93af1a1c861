"""rtnetlink attributes, written and read by the same tables.

One `Table` per attribute space (a nest, or the attributes of one message type); one row per
attribute that Windrow uses: its name here, its number (include/uapi/linux/if_link.h, if_addr.h,
rtnetlink.h, if_bridge.h) and the format of its payload. Reading skips every attribute that has no
row, which is what makes it fast. Only this module knows the numbers.

Values: integers are int, names are str, MAC addresses `aa:bb:cc:dd:ee:ff`, IP addresses as text,
nests are dicts. Numbers are in the host's byte order unless the row says otherwise.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from struct import Struct
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.values import name_bytes, name_text

NLA_F_NESTED = 0x8000
_HEADER = Struct("=HH")
_PADS = (b"", b"\0\0\0", b"\0\0", b"\0")

LINK_HEADER = Struct("=BxHiII")
"""struct ifinfomsg: family, ARPHRD type, ifindex, flags, change mask."""
ADDR_HEADER = Struct("=BBBBi")
"""struct ifaddrmsg: family, prefix length, flags, scope, ifindex."""
ROUTE_HEADER = Struct("=BBBBBBBBI")
"""struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags."""
NEXTHOP_HEADER = Struct("=HBBi")
"""struct rtnexthop: length, flags, hops, ifindex."""

NEIGHBOUR_HEADER = Struct("=B3xiHBB")
"""struct ndmsg: family, ifindex, state, flags, type."""
NUD_PERMANENT = 0x80
"""A state there: somebody set it, and the kernel does not change it by itself."""


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of payload is written and read."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Attr:
    """One row. `many`: the attribute is repeated, its value is a list."""

    number: int
    format: Format
    many: bool

    def __init__(self, number: int, format: Format, many: bool = False) -> None:
        """Written out: some 170 are made while this module is loaded, by every CNI call that works alone."""
        _set_number(self, number)
        _set_format(self, format)
        _set_many(self, many)


_set_number, _set_format, _set_many = (getattr(Attr, name).__set__ for name in ("number", "format", "many"))
"""Past what makes the class a frozen one, as `lazy` does it."""


@dataclass(frozen=True, slots=True)
class Table:
    """One attribute space."""

    rows: Mapping[str, Attr]
    _readers: dict[int, tuple[str, Callable[[bytes], Any], bool]] = field(init=False, repr=False, compare=False)
    """Empty until something is read by this table: a process that does one thing reads by few of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_readers", {})

    def _made_readers(self) -> dict[int, tuple[str, Callable[[bytes], Any], bool]]:
        readers = {row.number: (name, row.format.decode, row.many) for name, row in self.rows.items()}
        # Under both spellings of the number, so that reading need not mask it. Seen by other threads only when whole.
        readers |= {number | NLA_F_NESTED: reader for number, reader in readers.items()}
        object.__setattr__(self, "_readers", readers)
        return readers

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """The attributes of `values` in their order; those that are None are left out.

        Raises KeyError for a name without a row, struct.error for a number that does not fit.
        """
        parts: list[bytes] = []
        for name, value in values.items():
            if value is None:
                continue
            row = self.rows[name]
            number = row.number | NLA_F_NESTED if row.format.nested else row.number
            for one in value if row.many else (value,):
                parts.append(pack_attr(number, row.format.encode(one)))
        return b"".join(parts)

    def decode(self, data: bytes, start: int = 0, end: int | None = None) -> dict[str, Any]:
        """What `data[start:end]` says of the attributes that have a row.

        A truncated attribute ends the reading, as in `nla_ok`.
        """
        end = len(data) if end is None else end
        found: dict[str, Any] = {}
        readers, unpack, last = self._readers or self._made_readers(), _HEADER.unpack_from, end - 4
        while start <= last:
            length, number = unpack(data, start)
            if length < 4:
                break
            if number in readers:
                if start + length > end:
                    break
                name, decode, many = readers[number]
                if many:
                    found.setdefault(name, []).append(decode(data[start + 4 : start + length]))
                else:
                    found[name] = decode(data[start + 4 : start + length])
            start += (length + 3) & ~3
        return found

    def runs(self, data: bytes) -> list[slice]:
        """Where the attributes that have a row stand in `data`, headers included; neighbours are one slice."""
        found: list[slice] = []
        start, readers = 0, self._readers or self._made_readers()
        while start + 4 <= len(data):
            length, number = _HEADER.unpack_from(data, start)
            if length < 4:
                break
            stop = start + ((length + 3) & ~3)
            if number in readers:
                if found and found[-1].stop == start:
                    start = found.pop().start
                found.append(slice(start, stop))
            start = stop
        return found


def pack_attr(number: int, payload: bytes) -> bytes:
    """One attribute with its padding. Raises struct.error beyond 65,531 bytes."""
    return _HEADER.pack(len(payload) + 4, number) + payload + _PADS[len(payload) & 3]


# Formats ------------------------------------------------------------------------------------------


def _number(layout: str) -> Format:
    struct = Struct(layout)
    unpack = struct.unpack_from
    return Format(struct.pack, lambda data: unpack(data)[0])


def _write_text(text: str) -> bytes:
    return name_bytes(text) + b"\0"


def _write_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _read_mac(data: bytes) -> str:
    return data.hex(":")


def write_ip(text: str) -> bytes:
    """Raises OSError for what is not an address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def read_ip(data: bytes) -> str:
    """4 or 16 bytes. IPv6 in the form of RFC 5952 (`::ffff:a00:1`, never with dots, as `ipaddress` has it)."""
    if len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    text = socket.inet_ntop(socket.AF_INET6, data)
    if "." in text:
        import ipaddress  # only here: it is slow to load, and such addresses are rare

        return str(ipaddress.IPv6Address(data))
    return text


def _same(data: bytes) -> bytes:
    return data


def _nest(table: Table) -> Format:
    return Format(table.encode, table.decode, nested=True)


def _array(item: Format) -> Format:
    """A nest whose attributes are numbered 0, 1, 2 … (`nla_for_each_nested`)."""

    def encode(items: Iterable[Any]) -> bytes:
        return b"".join(pack_attr(n, item.encode(one)) for n, one in enumerate(items))

    def decode(data: bytes) -> tuple[Any, ...]:
        return tuple(item.decode(data[start:stop]) for start, stop in payloads(data))

    return Format(encode, decode, nested=True)


def payloads(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the payload of each attribute stands. A truncated one ends the reading, as in `nla_ok`."""
    start = 0
    while start + 4 <= len(data):
        length, _ = _HEADER.unpack_from(data, start)
        if length < 4 or start + length > len(data):
            return
        yield start + 4, start + length
        start += (length + 3) & ~3


U8, U16, U32, S32 = _number("=B"), _number("=H"), _number("=I"), _number("=i")
BE16 = _number("!H")
TEXT = Format(_write_text, name_text)
MAC = Format(_write_mac, _read_mac)
IP = Format(write_ip, read_ip)
RAW = Format(_same, _same)
NESTED_RAW = Format(_same, _same, nested=True)

_VLAN_INFO = Struct("=HH")
_PAIR = Struct("=II")
PAIR = Format(lambda both: _PAIR.pack(*both), _PAIR.unpack)
"""Values and the mask of those that are meant: struct br_boolopt_multi, struct ifla_vlan_flags."""
VLAN_INFO = Format(lambda flags_vid: _VLAN_INFO.pack(*flags_vid), _VLAN_INFO.unpack)
"""struct bridge_vlan_info: flags, VID."""

# Links (RTM_*LINK, family AF_UNSPEC) --------------------------------------------------------------

LINKINFO = Table({"kind": Attr(1, TEXT), "data": Attr(2, RAW), "slave_kind": Attr(4, TEXT), "slave_data": Attr(5, RAW)})
"""IFLA_INFO_*. The tables of `data` and `slave_data` follow from the kind (`KIND_DATA`, `SLAVE_DATA`)."""

PROPERTIES = Table({"altnames": Attr(53, TEXT, many=True)})

LINK = Table(
    {
        "mac": Attr(1, MAC),
        "broadcast": Attr(2, MAC),
        "name": Attr(3, TEXT),
        "mtu": Attr(4, U32),
        "parent": Attr(5, S32),
        "master": Attr(10, U32),
        "txqlen": Attr(13, U32),
        "oper": Attr(16, U8),
        "linkmode": Attr(17, U8),
        "linkinfo": Attr(18, _nest(LINKINFO)),
        "alias": Attr(20, TEXT),
        "families": Attr(26, RAW),
        "group": Attr(27, U32),
        "netns_fd": Attr(28, U32),
        "ext_mask": Attr(29, U32),
        "carrier_changes": Attr(35, U32),
        "parent_netns": Attr(37, S32),
        "carrier_downs": Attr(48, U32),
        "min_mtu": Attr(50, U32),
        "max_mtu": Attr(51, U32),
        "properties": Attr(52, _nest(PROPERTIES)),
        "permanent_mac": Attr(54, MAC),
    }
)
"""IFLA_*."""


def altnames(link: Mapping[str, Any]) -> tuple[str, ...]:
    """The alternative names of a link, from what `LINK` has decoded."""
    return tuple(link["properties"].get("altnames", ())) if "properties" in link else ()


BOND_LACP = Table({"aggregator": Attr(1, U16), "ports": Attr(2, U16), "partner_mac": Attr(5, MAC)})
"""IFLA_BOND_AD_INFO_*."""

BOND = Table(
    {
        "mode": Attr(1, U8),
        "active_slave": Attr(2, U32),
        "miimon": Attr(3, U32),
        "updelay": Attr(4, U32),
        "downdelay": Attr(5, U32),
        "use_carrier": Attr(6, U8),
        "arp_interval": Attr(7, U32),
        "arp_ip_target": Attr(8, _array(IP)),
        "arp_validate": Attr(9, U32),
        "arp_all_targets": Attr(10, U32),
        "primary": Attr(11, U32),
        "primary_reselect": Attr(12, U8),
        "fail_over_mac": Attr(13, U8),
        "xmit_hash_policy": Attr(14, U8),
        "resend_igmp": Attr(15, U32),
        "num_peer_notif": Attr(16, U8),
        "all_slaves_active": Attr(17, U8),
        "min_links": Attr(18, U32),
        "lp_interval": Attr(19, U32),
        "packets_per_slave": Attr(20, U32),
        "lacp_rate": Attr(21, U8),
        "ad_select": Attr(22, U8),
        "lacp_info": Attr(23, _nest(BOND_LACP)),
        "ad_actor_sys_prio": Attr(24, U16),
        "ad_user_port_key": Attr(25, U16),
        "ad_actor_system": Attr(26, MAC),
        "tlb_dynamic_lb": Attr(27, U8),
        "peer_notif_delay": Attr(28, U32),
        "lacp_active": Attr(29, U8),
        "missed_max": Attr(30, U8),
        "ns_ip6_target": Attr(31, _array(IP)),
    }
)
"""IFLA_BOND_*, under the names of `model.bonding.OPTIONS`."""

BOND_SLAVE = Table(
    {
        "state": Attr(1, U8),
        "mii_status": Attr(2, U8),
        "link_failures": Attr(3, U32),
        "permanent_mac": Attr(4, MAC),
        "aggregator": Attr(6, U16),
        "actor_state": Attr(7, U8),
        "partner_state": Attr(8, U16),
        "prio": Attr(9, S32),
        "actor_churn": Attr(11, U8),
        "partner_churn": Attr(12, U8),
    }
)
"""IFLA_BOND_SLAVE_*."""

BRIDGE = Table(
    {
        "ageing": Attr(4, U32),
        "stp": Attr(5, U32),
        "vlan_filtering": Attr(7, U8),
        "vlan_protocol": Attr(8, BE16),
        "group_fwd_mask": Attr(9, U16),
        "mcast_router": Attr(22, U8),
        "mcast_snooping": Attr(23, U8),
        "nf_call_iptables": Attr(36, U8),
        "nf_call_ip6tables": Attr(37, U8),
        "nf_call_arptables": Attr(38, U8),
        "default_pvid": Attr(39, U16),
        "boolopts": Attr(46, PAIR),
    }
)
"""IFLA_BR_*; times are in USER_HZ ticks, 100 a second (`clock_t_to_jiffies`)."""

BRIDGE_PORT = Table(
    {
        "state": Attr(1, U8),
        "hairpin": Attr(4, U8),
        "guard": Attr(5, U8),
        "root_block": Attr(6, U8),
        "fast_leave": Attr(7, U8),
        "learning": Attr(8, U8),
        "unicast_flood": Attr(9, U8),
        "proxy_arp": Attr(10, U8),
        "proxy_arp_wifi": Attr(12, U8),
        "mcast_router": Attr(25, U8),
        "mcast_flood": Attr(27, U8),
        "mcast_to_unicast": Attr(28, U8),
        "vlan_tunnel": Attr(29, U8),
        "bcast_flood": Attr(30, U8),
        "group_fwd_mask": Attr(31, U16),
        "neigh_suppress": Attr(32, U8),
        "isolated": Attr(33, U8),
        "backup_port": Attr(34, U32),
        "locked": Attr(39, U8),
        "mab": Attr(40, U8),
    }
)
"""IFLA_BRPORT_*."""

VLAN = Table({"vid": Attr(1, U16), "flags": Attr(2, PAIR), "protocol": Attr(5, BE16)})
"""IFLA_VLAN_*."""

VETH = Table({"peer": Attr(1, RAW)})
"""VETH_INFO_PEER: an ifinfomsg and IFLA_* of its own (`links.veth` joins them)."""

VXLAN = Table(
    {
        "vni": Attr(1, U32),
        "group": Attr(2, IP),
        "device": Attr(3, U32),
        "local": Attr(4, IP),
        "ttl": Attr(5, U8),
        "learning": Attr(7, U8),
        "port": Attr(15, BE16),
        "group6": Attr(16, IP),
        "local6": Attr(17, IP),
    }
)
"""IFLA_VXLAN_*."""

KIND_DATA: Mapping[str, Table] = {"bond": BOND, "bridge": BRIDGE, "vlan": VLAN, "veth": VETH, "vxlan": VXLAN}
SLAVE_DATA: Mapping[str, Table] = {"bond": BOND_SLAVE, "bridge": BRIDGE_PORT}

# Bridge links (RTM_*LINK, family AF_BRIDGE) -------------------------------------------------------

BRIDGE_SPEC = Table({"flags": Attr(0, U16), "vlans": Attr(2, VLAN_INFO, many=True)})
"""IFLA_BRIDGE_* inside IFLA_AF_SPEC."""

BRIDGE_LINK = Table(
    {
        "master": Attr(10, U32),
        "port": Attr(12, _nest(BRIDGE_PORT)),
        "spec": Attr(26, _nest(BRIDGE_SPEC)),
        "ext_mask": Attr(29, U32),
    }
)

# VLANs of bridges (RTM_*VLAN) ---------------------------------------------------------------------

VLAN_HEADER = Struct("=BxxxI")
"""struct br_vlan_msg: family, ifindex."""
VLAN_GLOBAL = Table(
    {"vid": Attr(1, U16), "last": Attr(2, U16), "mcast_snooping": Attr(3, U8), "mcast_querier": Attr(15, U8)}
)
"""BRIDGE_VLANDB_GOPTS_*, of the VIDs from `vid` to `last`."""
VLAN_DB = Table({"global": Attr(2, _nest(VLAN_GLOBAL), many=True)})
"""BRIDGE_VLANDB_*."""
VLAN_DUMP = Table({"flags": Attr(1, U32)})
"""BRIDGE_VLANDB_DUMP_*."""

# Addresses and routes -----------------------------------------------------------------------------

ADDR = Table({"address": Attr(1, IP), "local": Attr(2, IP), "broadcast": Attr(4, IP), "flags": Attr(8, U32)})
"""IFA_*."""

NEXTHOP = Table({"gateway": Attr(5, IP)})


def nexthops(data: bytes) -> Iterator[tuple[int, str | None]]:
    """(ifindex, gateway) of each next hop in RTA_MULTIPATH."""
    start = 0
    while start + NEXTHOP_HEADER.size <= len(data):
        length, _, _, index = NEXTHOP_HEADER.unpack_from(data, start)
        if length < NEXTHOP_HEADER.size:
            return
        yield index, NEXTHOP.decode(data, start + NEXTHOP_HEADER.size, start + length).get("gateway")
        start += (length + 3) & ~3


METRICS = Table({"mtu": Attr(2, U32), "advmss": Attr(8, U32)})
"""RTAX_*."""

ROUTE = Table(
    {
        "dst": Attr(1, IP),
        "dev": Attr(4, S32),
        "gateway": Attr(5, IP),
        "metric": Attr(6, U32),
        "source": Attr(7, IP),
        "metrics": Attr(8, _nest(METRICS)),
        "multipath": Attr(9, RAW),
        "table": Attr(15, U32),
        "expires": Attr(23, U32),
    }
)
"""RTA_*, of routes that are made; `netlink.routes` reads what there is."""

# Acknowledgements ---------------------------------------------------------------------------------

EXTACK = Table({"message": Attr(1, TEXT), "offset": Attr(2, U32)})
"""NLMSGERR_ATTR_*."""
