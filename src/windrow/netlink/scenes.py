"""The uplinks of our bridges and this host's addresses on them, kept up to date by what the kernel announces.

Apart from `observe`, which takes all of a host at once: a bond fails over while others wait for the frames that say so.
Here a change costs the decoding of its own message, however many ports there are.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
from collections.abc import Iterator, Mapping
from struct import Struct
from types import MappingProxyType
from typing import Any, NamedTuple

from windrow.model import names
from windrow.model.announcing import UNTAGGED, Interface, Leg, Scene, Uplink
from windrow.model.host import OWNER_GROUP, PortVlans
from windrow.model.marks import called, marked_names
from windrow.model.values import IfName, Mac, VidSet
from windrow.netlink import codec, errors, events, observe
from windrow.netlink import netns as namespaces
from windrow.netlink.errors import KernelError
from windrow.netlink.links import IFF_UP
from windrow.netlink.observe import IFF_LOWER_UP
from windrow.netlink.routes import attributes
from windrow.netlink.sock import (
    RTEXT_FILTER_SKIP_STATS,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    Message,
    Rtnl,
    split,
)

_GROUPS = (events.Group.LINK, events.Group.IPV4_IFADDR, events.Group.IPV6_IFADDR)
_LINK = codec.Table(
    {name: codec.LINK.rows[name] for name in ("mac", "name", "parent", "master", "linkinfo", "group", "properties")}
)
_DATA = {
    "bond": codec.Table({name: codec.BOND.rows[name] for name in ("mode", "active_slave", "lacp_info")}),
    "bridge": codec.Table({name: codec.BRIDGE.rows[name] for name in ("vlan_filtering", "default_pvid")}),
    "vlan": codec.Table({name: codec.VLAN.rows[name] for name in ("vid", "protocol")}),
}
_NIC = ""
_ELSEWHERE = frozenset({_NIC, "bond", "team", "vxlan", "geneve", "gretap", "ip6gretap", "erspan", "batadv"})
"""Kinds of ports behind which there are others, and no machines of this host."""
_LACP = 4
_BACKUP, _TLB, _ALB = 1, 5, 6
_NOT_YET_OURS = 0x04 | 0x08 | 0x40
"""IFA_F_OPTIMISTIC, DADFAILED, TENTATIVE: nobody may be told of such an address (RFC 4429 §3.3, RFC 4862 §5.4)."""
_U32 = Struct("=I")
_RECEIVE = 64 * 1024
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Seen(NamedTuple):
    """One bond, bridge or VLAN interface."""

    name: str
    kind: str
    mac: str
    master: int
    parent: int
    running: bool
    ours: bool
    data: Mapping[str, Any]


class Watch:
    """One network namespace, from the making of this on. `netns`: as for `Kernel`. Not for two threads at a time.
    Raises KernelError."""

    def __init__(self, netns: namespaces.Netns = None) -> None:
        self._links: dict[int, _Seen] = {}
        self._vlans: dict[int, PortVlans] = {}
        self._addresses: dict[int, frozenset[str]] = {}
        self._bonds: set[int] = set()
        """Those of whose slaves something was said."""
        self._stale = False
        """Whether a bridge may have VLANs that nobody told of."""
        self._known: Scene | None = None
        """None: something has changed since."""
        self.elsewhere: set[int] = set()
        """Links behind which there are no machines of this host."""
        self._news, self.rtnl = namespaces.opened_in(netns, lambda: (events.listen(_GROUPS), Rtnl()))
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._news.close()
        self.rtnl.close()

    def fileno(self) -> int:
        return self._news.fileno()

    def read(self) -> Scene:
        """What is so after all that was announced. Never blocks. Raises KernelError."""
        while True:
            try:
                data = self._news.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise errors.of(error.errno or errno.EIO, "hear what changes in the network") from error
                self._look()
                continue
            for _, type_, _, start, end in split(data):
                self._hear(type_, data, start, end)
        self._ask_of_bonds()
        if self._stale:
            self._look_at_vlans()
        return self.scene

    # -- looking -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """All anew."""
        self._known = None
        for known in (self._links, self._vlans, self._addresses, self.elsewhere):
            known.clear()
        body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"ext_mask": RTEXT_FILTER_SKIP_STATS})
        for span in self.rtnl.dump(Message(RTM_GETLINK, body, doing="list the links")):
            self._link(*span)
        self._look_at_vlans()
        body = codec.ADDR_HEADER.pack(0, 0, 0, 0, 0)
        for span in self.rtnl.dump(Message(RTM_GETADDR, body, doing="list the addresses")):
            self._address(*span)

    def _look_at_vlans(self) -> None:
        self._stale = False
        if any(seen.kind == "bridge" for seen in self._links.values()):
            self._known = None
            self._vlans = {i: v for i, v in observe.dump_vlans(self.rtnl).items() if i in self._links}

    def _ask_of_bonds(self) -> None:
        """A bond's aggregator is news of its slaves, and told with them alone (`bond_lower_state_changed`)."""
        asked, self._bonds = self._bonds, set()
        for index in asked & self._links.keys():
            body = codec.LINK_HEADER.pack(0, 0, index, 0, 0)
            try:
                span = self.rtnl.get(Message(RTM_GETLINK, body, doing="look at a bond"))
            except KernelError as error:
                if error.errno != errno.ENODEV:
                    raise
            else:
                self._link(*span)

    # -- one message -------------------------------------------------------------------------------

    def _hear(self, type_: int, data: bytes, start: int, end: int) -> None:
        if type_ in (RTM_NEWADDR, RTM_DELADDR):
            self._address(data, start, end, gone=type_ == RTM_DELADDR)
        elif type_ in (RTM_NEWLINK, RTM_DELLINK):
            family, _, index, _, _ = codec.LINK_HEADER.unpack_from(data, start)
            if family == socket.AF_BRIDGE:
                self._port(index, data, start, end, gone=type_ == RTM_DELLINK)
            elif type_ == RTM_NEWLINK:
                self._link(data, start, end)
            else:
                self._forget(index)

    def _forget(self, index: int) -> None:
        if self._links.pop(index, None) is not None:
            self._known = None
        self._vlans.pop(index, None)
        self._addresses.pop(index, None)
        self.elsewhere.discard(index)

    def _link(self, data: bytes, start: int, end: int) -> None:
        _, _, index, flags, _ = codec.LINK_HEADER.unpack_from(data, start)
        attrs = _LINK.decode(data, start + codec.LINK_HEADER.size, end)
        info = attrs.get("linkinfo", _NOTHING)
        kind = info.get("kind", _NIC)
        if kind in _ELSEWHERE:
            self.elsewhere.add(index)
        if info.get("slave_kind") == "bond":
            self._bonds.add(attrs.get("master", 0))
        if kind not in _DATA:
            return
        altnames = codec.altnames(attrs)
        name = called(attrs["name"], altnames)
        ours = attrs.get("group") == OWNER_GROUP or bool(marked_names(altnames)) or name in names.MGMT_DEVICES
        seen = _Seen(
            name=name,
            kind=kind,
            mac=attrs.get("mac", ""),
            master=attrs.get("master", 0),
            parent=attrs.get("parent", 0),
            running=bool(flags & IFF_UP and flags & IFF_LOWER_UP),
            ours=ours,
            data=_DATA[kind].decode(info.get("data", b"")),
        )
        before = self._links.get(index)
        # The default VLAN comes without an announcement (`br_vlan_init`, `__br_vlan_set_default_pvid`).
        self._stale |= kind == "bridge" and (before is None or before.data != seen.data)
        if seen != before:
            self._links[index], self._known = seen, None

    def _port(self, index: int, data: bytes, start: int, end: int, *, gone: bool) -> None:
        """A bond's VLANs as a port, or a bridge's own. With each change all are told (`br_ifinfo_notify`)."""
        if index not in self._links:
            return
        vlans = (None if gone else observe.vlans_of(data[start:end])) or PortVlans()
        if self._vlans.get(index) != vlans:
            self._vlans[index], self._known = vlans, None

    def _address(self, data: bytes, start: int, end: int, *, gone: bool = False) -> None:
        _, _, flags, _, index = codec.ADDR_HEADER.unpack_from(data, start)
        if index not in self._links:
            return
        attrs = codec.ADDR.decode(data, start + codec.ADDR_HEADER.size, end)
        address = attrs.get("local") or attrs.get("address")
        if address is None:
            return
        before = self._addresses.get(index, frozenset())
        lost = gone or attrs.get("flags", flags) & _NOT_YET_OURS
        now = before - {address} if lost else before | {address}
        if now != before:
            self._addresses[index], self._known = now, None

    # -- what it means -----------------------------------------------------------------------------

    @property
    def scene(self) -> Scene:
        """The same one until something of it changes."""
        if self._known is None:
            self._known = Scene(uplinks=dict(self._uplinks()), interfaces=dict(self._interfaces()))
        return self._known

    def _uplinks(self) -> Iterator[tuple[int, Uplink]]:
        for index, seen in self._links.items():
            bridge = self._links.get(seen.master)
            if seen.kind != "bond" or bridge is None or bridge.kind != "bridge" or not bridge.ours:
                continue
            vlans = self._vlans.get(index, PortVlans())
            filters = bool(bridge.data.get("vlan_filtering"))
            yield (
                index,
                Uplink(
                    name=IfName(seen.name),
                    bridge=seen.master,
                    leg=_leg(seen),
                    vids=vlans.all if filters else _ANY,
                    untagged=vlans.untagged if filters else _ANY,
                ),
            )

    def _interfaces(self) -> Iterator[tuple[int, Interface]]:
        for index, seen in self._links.items():
            on = index if seen.kind == "bridge" else seen.parent if seen.kind == "vlan" else 0
            bridge = self._links.get(on)
            if bridge is None or bridge.kind != "bridge" or not bridge.ours:
                continue
            yield (
                index,
                Interface(
                    name=IfName(seen.name),
                    bridge=on,
                    vid=self._vid(on, seen) if bridge.data.get("vlan_filtering") else UNTAGGED,
                    mac=Mac(seen.mac),
                    running=seen.running,
                    addresses=self._addresses.get(index, frozenset()),
                ),
            )

    def _vid(self, bridge: int, seen: _Seen) -> int | None:
        own = self._vlans.get(bridge, PortVlans()).pvid
        if seen.kind == "bridge" or seen.data.get("protocol") == observe.ETH_P_8021AD:
            return own  # to a bridge of 802.1Q a frame with a service tag is one without a tag (`__allowed_ingress`)
        return seen.data.get("vid")


_ANY = VidSet.of([UNTAGGED])


def _leg(bond: _Seen) -> Leg | None:
    """The kernel names an active slave in the modes that have one (`bond_uses_primary`)."""
    if not bond.running:
        return None
    mode = bond.data.get("mode")
    if mode == _LACP:
        return Leg(aggregator=bond.data.get("lacp_info", _NOTHING).get("aggregator", 0))
    if mode in (_BACKUP, _TLB, _ALB):
        slave = bond.data.get("active_slave", 0)
        return Leg(slave=slave) if slave else None
    return Leg()


def forwards(rtnl: Rtnl, index: int) -> bool:
    """Whether this host is a router of IPv6 on the link. Raises KernelError."""
    from windrow.netlink import devconf

    data, start, end = rtnl.get(Message(RTM_GETLINK, codec.LINK_HEADER.pack(0, 0, index, 0, 0), doing="look at a link"))
    attrs = attributes(data, start + codec.LINK_HEADER.size, end)
    return devconf.read(attrs.get(codec.LINK.rows["families"].number, b"")).get("ipv6/forwarding", "0") != "0"
