"""What the kernel announces: links, addresses and routes that changed. It only says that one should look again.

A message is worth a look where it says something new of a link that matters. Kernels announce much else: counters, the
timers of bridges, wireless scans, and on a host with containers the coming and going of cables that are nobody's
business here. Deciding that takes one decoding, about 20 µs; a look takes thousands.

A buffer that overflowed (ENOBUFS) means: something changed.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import IntEnum
from types import TracebackType
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.ports import PORT_GROUP
from windrow.model.values import OWNER_GROUP, IfName, Mac
from windrow.netlink import codec, errors
from windrow.netlink import netns as namespaces
from windrow.netlink.links import IFF_ALLMULTI, IFF_MULTICAST, IFF_NOARP, IFF_PROMISC, IFF_UP
from windrow.netlink.observe import IFF_LOWER_UP
from windrow.netlink.sock import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    split,
)


class Group(IntEnum):
    """RTNLGRP_*. A bridge tells of its VLANs in RTNLGRP_LINK, as AF_BRIDGE (`br_ifinfo_notify`)."""

    LINK = 1
    IPV4_IFADDR = 5
    IPV4_ROUTE = 7
    IPV6_IFADDR = 9
    IPV6_ROUTE = 11


_NEIGHBOURS = 3
"""RTNLGRP_NEIGH: heard only where there is a tunnel device, for a host learns neighbours all the time."""
_AF_BRIDGE = 7
_LOCAL_TABLE = 255
"""RT_TABLE_LOCAL: the kernel's own, of each address."""
_BUFFER = 1024 * 1024
_RECEIVE = 64 * 1024
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2
_SO_RCVBUFFORCE = 33
_FLAGS = IFF_UP | IFF_LOWER_UP | IFF_PROMISC | IFF_NOARP | IFF_ALLMULTI | IFF_MULTICAST
_MESSAGES_MAX = 4096
"""At most so many in one go: who drains a flood must get to do something, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """What matters: links by index, the names and permanent MACs of links that are to be there."""

    indexes: frozenset[int] = frozenset()
    names: frozenset[IfName] = frozenset()
    macs: frozenset[Mac] = frozenset()
    tunnels: frozenset[int] = frozenset()
    """The links among them whose permanent neighbours and far ends are ours."""


@dataclass(slots=True)
class Tally:
    """What was heard so far."""

    messages: int = 0
    relevant: int = 0
    overflows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """`links`: something of links; `lost`: messages were lost, so anything may have changed.

    `announced`: the links that matter (ifindex) of which the kernel spoke, though it may have said nothing new."""

    links: bool = False
    addresses: bool = False
    routes: bool = False
    lost: bool = False
    announced: frozenset[int] = frozenset()

    @property
    def anything(self) -> bool:
        return self.links or self.addresses or self.routes or self.lost


@dataclass(slots=True)
class _Said:
    links: bool = False
    addresses: bool = False
    routes: bool = False
    announced: set[int] = field(default_factory=set)


class Events:
    """A socket that hears what changes in one network namespace, from its making on. Never blocks.

    `netns`: as for `Kernel`. `interest`: None until it is known; then everything matters. Raises KernelError.
    """

    def __init__(self, netns: namespaces.Netns = None) -> None:
        self._interest: Interest | None = None
        self._hears_neighbours = False
        self.tally = Tally()
        self._known: dict[tuple[int, int], Any] = {}
        """(family, ifindex) -> what was last said of it."""
        if netns is None:
            self._socket = listen()
        else:
            with namespaces.opened(netns) as fd:
                self._socket = namespaces.opened_in(fd, listen)

    @property
    def interest(self) -> Interest | None:
        return self._interest

    @interest.setter
    def interest(self, interest: Interest | None) -> None:
        self._interest = interest
        wanted = interest is not None and bool(interest.tunnels)
        if wanted != self._hears_neighbours:
            option = _ADD_MEMBERSHIP if wanted else _DROP_MEMBERSHIP
            self._socket.setsockopt(_SOL_NETLINK, option, _NEIGHBOURS)
            self._hears_neighbours = wanted

    def __enter__(self) -> Events:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> Heard:
        """What is worth a look, of all that has come. Raises KernelError."""
        said, lost, begun = _Said(), False, self.tally.messages
        while self.tally.messages - begun < _MESSAGES_MAX:
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise errors.of(error.errno or errno.EIO, "hear what changes in the network") from error
                lost = True
                self.tally.overflows += 1
                self._known.clear()
                continue
            for _, type_, _, start, end in split(data):
                self.tally.messages += 1
                self._hear(type_, data, start, end, said)
        heard = Heard(
            links=said.links,
            addresses=said.addresses,
            routes=said.routes,
            lost=lost,
            announced=frozenset(said.announced),
        )
        self.tally.relevant += heard.anything
        return heard

    # One message ----------------------------------------------------------------------------------

    def _hear(self, type_: int, data: bytes, start: int, end: int, said: _Said) -> None:
        if type_ in (RTM_NEWLINK, RTM_DELLINK):
            said.links |= self._link(type_ == RTM_DELLINK, data, start, end, said.announced)
        elif type_ in (RTM_NEWADDR, RTM_DELADDR):
            said.addresses |= self._address(data, start)
        elif type_ in (RTM_NEWROUTE, RTM_DELROUTE):
            said.routes |= self._route(data, start, end)
        elif type_ in (RTM_NEWNEIGH, RTM_DELNEIGH):
            said.links |= self._neighbour(type_ == RTM_DELNEIGH, data, start)

    def _neighbour(self, gone: bool, data: bytes, start: int) -> bool:
        """Also an entry of a tunnel device's forwarding table (`vxlan_fdb_notify`)."""
        _, index, state, _, _ = codec.NEIGHBOUR_HEADER.unpack_from(data, start)
        tunnels = self._interest.tunnels if self._interest is not None else frozenset()
        return index in tunnels and (gone or bool(state & codec.NUD_PERMANENT))

    def _link(self, gone: bool, data: bytes, start: int, end: int, announced: set[int]) -> bool:
        family, arphrd, index, flags, _ = _LINK_HEADER(data, start)
        begin = start + codec.LINK_HEADER.size
        if family == _AF_BRIDGE:
            now: Any = codec.BRIDGE_LINK.decode(data, begin, end)
            master = now.get("master", 0)
            matters = self._matters(index) or self._matters(master)
        else:
            attrs = codec.LINK.decode(data, begin, end)
            matters = self._link_matters(index, attrs)
            now = _lasting(arphrd, flags, attrs) if matters else None
            if matters:
                announced.add(index)
        key = (family, index)
        before = self._known.get(key)
        if gone:
            # A port that leaves its bridge is "deleted" in the bridge's family, and lives on.
            self._known.pop(key, None)
        elif matters:
            self._known[key] = now
        return matters and (gone or now != before)

    def _link_matters(self, index: int, attrs: Mapping[str, Any]) -> bool:
        interest = self.interest
        if interest is None or index in interest.indexes:
            return True
        if attrs.get("group") in (OWNER_GROUP, PORT_GROUP) or "linkinfo" not in attrs:
            return True  # ours, whoever made it; or a NIC, which is of no kind
        if {attrs.get("master"), attrs.get("parent")} & interest.indexes and "parent_netns" not in attrs:
            return True
        macs = {attrs.get("mac"), attrs.get("permanent_mac")}
        return attrs.get("name") in interest.names or not interest.macs.isdisjoint(macs)

    def _matters(self, index: int) -> bool:
        return self.interest is None or index in self.interest.indexes

    def _address(self, data: bytes, start: int) -> bool:
        return self._matters(codec.ADDR_HEADER.unpack_from(data, start)[4])

    def _route(self, data: bytes, start: int, end: int) -> bool:
        """A default route says which link must not be touched, whosever it is."""
        fields = codec.ROUTE_HEADER.unpack_from(data, start)
        attrs = codec.ROUTE.decode(data, start + codec.ROUTE_HEADER.size, end)
        if attrs.get("table", fields[4]) == _LOCAL_TABLE:
            return False
        return "dst" not in attrs or self._matters(attrs.get("dev", 0))


_LINK_HEADER = codec.LINK_HEADER.unpack_from


def _lasting(arphrd: int, flags: int, attrs: dict[str, Any]) -> Any:
    """What is said of a link, without what moves by itself: the timers of a bridge have no row in the tables, and
    beside its sysctls a family counts its packets. The kernel tells of no change of those (`devinet_conf_proc`)."""
    attrs.pop("families", None)
    info = attrs.pop("linkinfo", None) or {}
    kind, slave_kind = info.get("kind", ""), info.get("slave_kind", "")
    data = codec.KIND_DATA[kind].decode(info["data"]) if kind in codec.KIND_DATA and "data" in info else None
    slave = codec.SLAVE_DATA[slave_kind].decode(info["slave_data"]) if slave_kind in codec.SLAVE_DATA else None
    return arphrd, flags & _FLAGS, attrs, kind, data, slave_kind, slave


def listen(groups: Iterable[Group] = tuple(Group)) -> socket.socket:
    """A socket of the calling thread's namespace that hears these groups. Never blocks. Raises KernelError."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError:  # beyond net.core.rmem_max only with CAP_NET_ADMIN
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except OSError as error:
        sock.close()
        raise errors.of(error.errno or errno.EIO, "listen to what changes in the network") from error
    return sock
