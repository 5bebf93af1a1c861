"""Looking at single links, and what a port needs besides `links`: quick to load, a few microseconds each.

`observe` looks at everything at once, as a value to compare; this is for a call that makes one port.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from windrow.model import ipv4
from windrow.model.lazy import dataclass
from windrow.model.marks import called
from windrow.netlink import codec
from windrow.netlink.errors import KernelError, NoSuchLink
from windrow.netlink.sock import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    Message,
    Rtnl,
    Span,
)

if TYPE_CHECKING:
    from windrow.model.values import PortVlans

IFF_UP, IFF_PROMISC = 0x1, 0x100
IF_OPER_UP = 6
NO_MAC = "00:00:00:00:00:00"
_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x08, 0x40
_RTPROT_BOOT, _RTN_UNICAST, _RT_TABLE_MAIN = 3, 1, 254
_RTM_F_CLONED = 0x200
_POLL_FIRST_S, _POLL_LAST_S = 0.0005, 0.05
_SKIP = {"ext_mask": RTEXT_FILTER_SKIP_STATS}


@dataclass(frozen=True, slots=True)
class Seen:
    """One link as it is now. `data`: of its kind; `slave`: of its master's; `peer`: a veth's other end's ifindex."""

    ifindex: int
    name: str
    up: bool
    promisc: bool
    kind: str
    mac: str
    mtu: int
    group: int
    master: int
    oper: int
    data: Mapping[str, Any]
    slave: Mapping[str, Any]
    peer: int


def see(rtnl: Rtnl, name: str) -> Seen | None:
    """The link of this name; None where there is none. Raises KernelError."""
    body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"name": name, **_SKIP})
    return _see(rtnl, Message(RTM_GETLINK, body, doing=f"find link {name}"))


def other_end(rtnl: Rtnl, cable: Seen) -> Seen | None:
    """The end of a veth that this namespace has; None where it is in another one. Raises KernelError."""
    if not cable.peer:
        return None
    body = codec.LINK_HEADER.pack(0, 0, cable.peer, 0, 0) + codec.LINK.encode(_SKIP)
    found = _see(rtnl, Message(RTM_GETLINK, body, doing=f"find the other end of {cable.name}"))
    return found if found is not None and found.kind == "veth" and found.peer == cable.ifindex else None


def _see(rtnl: Rtnl, message: Message) -> Seen | None:
    try:
        data, start, end = rtnl.get(message)
    except NoSuchLink:
        return None
    return _seen(data, start, end)


def ports_of(rtnl: Rtnl, master: int) -> list[Seen]:
    """The ports of a bridge. The kernel filters them by IFLA_MASTER (`rtnl_dump_ifinfo`). Raises KernelError."""
    body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"master": master, **_SKIP})
    dump = rtnl.dump(Message(RTM_GETLINK, body, doing=f"list the ports of link {master}"))
    return [seen for seen in (_seen(*span) for span in dump) if seen.master == master]


def every(rtnl: Rtnl) -> list[Seen]:
    """All links. Raises KernelError."""
    body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode(_SKIP)
    return [_seen(*span) for span in rtnl.dump(Message(RTM_GETLINK, body, doing="list the links"))]


def _seen(data: bytes, start: int, end: int) -> Seen:
    _, _, index, flags, _ = codec.LINK_HEADER.unpack_from(data, start)
    attrs = codec.LINK.decode(data, start + codec.LINK_HEADER.size, end)
    info = attrs.get("linkinfo", {})
    kind = info.get("kind", "")
    own = codec.BRIDGE.decode(info["data"]) if kind == "bridge" and "data" in info else {}
    slave = codec.BRIDGE_PORT.decode(info["slave_data"]) if info.get("slave_kind") == "bridge" else {}
    return Seen(
        ifindex=index,
        name=called(attrs["name"], codec.altnames(attrs)),
        up=flags & IFF_UP != 0,
        promisc=flags & IFF_PROMISC != 0,
        kind=kind,
        mac=attrs.get("mac", ""),
        mtu=attrs.get("mtu", 0),
        group=attrs.get("group", 0),
        master=attrs.get("master", 0),
        oper=attrs.get("oper", 0),
        data=own,
        slave=slave,
        peer=attrs.get("parent", 0),
    )


def await_up(rtnl: Rtnl, name: str, seconds: float) -> Seen:
    """Wait until the link's operational state is up; the kernel tells it from a work queue (`linkwatch_event`).

    Raises KernelError: ETIMEDOUT, or ENODEV if it goes away.
    """
    end, pause = time.monotonic() + seconds, _POLL_FIRST_S
    while True:
        seen = see(rtnl, name)
        if seen is None:
            raise NoSuchLink(errno.ENODEV, f"wait for link {name}")
        if seen.oper == IF_OPER_UP:
            return seen
        if time.monotonic() >= end:
            hint = "is the other end up?"
            raise KernelError(errno.ETIMEDOUT, f"wait for link {name}: bridge port in error state", hint=hint)
        time.sleep(pause)
        pause = min(pause * 2, _POLL_LAST_S)


def vlans_of(rtnl: Rtnl, index: int) -> PortVlans | None:
    """The VLANs of a port; None where it has none at all, or its bridge does not know VLANs. Raises KernelError."""
    from windrow.netlink.observe import dump_vlans  # the kernel has no question for a single port

    return dump_vlans(rtnl).get(index)


# Addresses and routes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    cidr: str
    flags: int


def addresses(rtnl: Rtnl, index: int) -> list[Address]:
    """The addresses of a link, IPv6 link-local ones too. Raises KernelError."""
    body = codec.ADDR_HEADER.pack(0, 0, 0, 0, index)  # NETLINK_GET_STRICT_CHK: only of this link
    found: list[Address] = []
    for data, start, end in _tolerant(rtnl, Message(RTM_GETADDR, body, doing="list the addresses")):
        _, length, flags, _, owner = codec.ADDR_HEADER.unpack_from(data, start)
        attrs = codec.ADDR.decode(data, start + codec.ADDR_HEADER.size, end)
        text = attrs.get("local") or attrs.get("address")
        if owner == index and text:
            found.append(Address(f"{text}/{length}", attrs.get("flags", flags)))
    return found


def saved_addresses(rtnl: Rtnl, index: int) -> dict[str, Message]:
    """The addresses of a link, each with the message that gives it back as it is: flags, lifetimes, label, metric.

    What the kernel tells of an address is what it takes for one (`inet_rtm_newaddr`, `inet6_rtm_newaddr`).
    Raises KernelError.
    """
    body = codec.ADDR_HEADER.pack(0, 0, 0, 0, index)
    found: dict[str, Message] = {}
    for data, start, end in _tolerant(rtnl, Message(RTM_GETADDR, body, doing="list the addresses")):
        _, length, _, _, owner = codec.ADDR_HEADER.unpack_from(data, start)
        attrs = codec.ADDR.decode(data, start + codec.ADDR_HEADER.size, end)
        text = attrs.get("local") or attrs.get("address")
        if owner == index and text:
            cidr = f"{text}/{length}"
            found[cidr] = Message(RTM_NEWADDR, data[start:end], NLM_F_CREATE | NLM_F_REPLACE, f"add {cidr} again")
    return found


def await_addresses(rtnl: Rtnl, index: int, seconds: float) -> None:
    """Wait until no address is tentative any more (RFC 4862 §5.4).

    Raises KernelError: ETIMEDOUT; EADDRINUSE where somebody else has it.
    """
    end, pause = time.monotonic() + seconds, _POLL_FIRST_S
    while True:
        found = addresses(rtnl, index)
        if taken := [one.cidr for one in found if one.flags & _IFA_F_DADFAILED]:
            raise KernelError(errno.EADDRINUSE, f"add {taken[0]}", "somebody on the network has this address")
        waiting = [one.cidr for one in found if one.flags & _IFA_F_TENTATIVE]
        if not waiting:
            return
        if time.monotonic() >= end:
            raise KernelError(errno.ETIMEDOUT, f"wait for {waiting[0]}", "it is still tentative")
        time.sleep(pause)
        pause = min(pause * 2, _POLL_LAST_S)


def append_route(dst: str, gateway: str, index: int, **numbers: int | None) -> Message:
    """One more route, beside others to the same place, as a CNI plugin makes them.

    `numbers`: `priority`, `table`, `scope`, `mtu`, `advmss`. Raises ValueError for what is no prefix.
    """
    if (four := ipv4.parse(dst)) is not None:
        family, length, network = socket.AF_INET, four[1], ipv4.written(four[0] & ~ipv4.hosts(four[1]))
    else:
        import ipaddress  # slow to load

        found = ipaddress.ip_network(dst, strict=False)
        family = socket.AF_INET6 if found.version == 6 else socket.AF_INET
        length, network = found.prefixlen, str(found.network_address)
    table, scope = numbers.get("table") or _RT_TABLE_MAIN, numbers.get("scope") or 0
    header = codec.ROUTE_HEADER.pack(
        family, length, 0, 0, table if table < 256 else 0, _RTPROT_BOOT, scope, _RTN_UNICAST, 0
    )
    metrics = {name: numbers.get(name) for name in ("mtu", "advmss") if numbers.get(name)}
    attributes = {
        "dst": network if length else None,
        "gateway": gateway or None,
        "dev": index,
        "metric": numbers.get("priority") or None,
        "table": table,
        "metrics": metrics or None,
    }
    doing = f"add route {dst}" + (f" via {gateway}" if gateway else "")
    return Message(RTM_NEWROUTE, header + codec.ROUTE.encode(attributes), NLM_F_CREATE, doing)


@dataclass(frozen=True, slots=True)
class Way:
    """A route as the kernel has it: `dst` a prefix, `0.0.0.0/0` or `::/0` the default; `main`: in the main table."""

    dst: str
    gateway: str
    dev: int
    main: bool

    @property
    def default(self) -> bool:
        return self.dst in ("0.0.0.0/0", "::/0")


def ways(rtnl: Rtnl) -> Iterator[Way]:
    """The unicast routes of all tables, one for each next hop. Raises KernelError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        body = codec.ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for data, start, end in _tolerant(rtnl, Message(RTM_GETROUTE, body, doing="list the routes")):
            fields = codec.ROUTE_HEADER.unpack_from(data, start)
            if fields[0] != family or fields[7] != _RTN_UNICAST or fields[8] & _RTM_F_CLONED:
                continue
            attrs = codec.ROUTE.decode(data, start + codec.ROUTE_HEADER.size, end)
            dst = f"{attrs.get('dst', '::' if family == socket.AF_INET6 else '0.0.0.0')}/{fields[1]}"
            main = attrs.get("table", fields[4]) == _RT_TABLE_MAIN
            if "multipath" in attrs:
                for index, gateway in codec.nexthops(attrs["multipath"]):
                    yield Way(dst, gateway or "", index, main)
            else:
                yield Way(dst, attrs.get("gateway", ""), attrs.get("dev", 0), main)


def _tolerant(rtnl: Rtnl, message: Message) -> list[Span]:
    """A namespace that never had a route has no main table (ENOENT); a kernel may have no IPv6."""
    try:
        return rtnl.dump(message)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENODEV):
            raise
        return []
