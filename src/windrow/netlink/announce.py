"""Frames by which others learn again where somebody is: of the machines behind a bridge out of its uplink, and of this
host's own addresses on its bridges.

The machines are those that the bridge has heard on its own ports (its FDB), and those that have a port there by their
record: the bridge forgets who is silent for longer than `ageing` (`br_fdb_cleanup`). What is sent goes out of the bond,
which hands it to its active slave: in balance-tlb and balance-alb, too, a broadcast leaves by that one and keeps its
source address (`bond_tlb_xmit_slave_get`, `bond_do_alb_xmit`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct

from windrow.frames import arp, ethernet, neighbour
from windrow.model.announcing import UNTAGGED, Interface, Uplink
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, VidSet
from windrow.netlink import codec, errors, observe, packets
from windrow.netlink import netns as namespaces
from windrow.netlink.observe import IFF_LOWER_UP
from windrow.netlink.routes import attributes
from windrow.netlink.scenes import Watch, forwards
from windrow.netlink.sock import RTM_GETNEIGH, Message, Rtnl

_LLADDR, _VLAN, _MASTER = 2, 5, 9
"""NDA_*."""
_PORT = codec.Table({name: codec.LINK.rows[name] for name in ("name", "master")})
_PERMANENT, _SELF, _MULTICAST = 0x80, 0x02, 0x01
_U16, _U32 = Struct("=H"), Struct("=I")
_LOST = frozenset({errno.ENOBUFS, errno.ENETDOWN, errno.ENXIO, errno.ENODEV, errno.EAGAIN})
"""The link is down or gone, or its queue is full just now. Nothing is lost but this frame: it is sent again."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A whole frame, and the link that it leaves by."""

    link: IfName
    ethertype: int
    frame: bytes


Heard = Mapping[tuple[bytes, int], int]
"""(MAC address, VLAN) -> the port of the bridge (ifindex) that it was heard on last."""


def heard(watch: Watch, uplink: Uplink) -> Heard:
    """Who is behind the uplink's bridge, or outside, as its FDB has it. Raises KernelError."""
    return dict(_heard(watch.rtnl, uplink.bridge))


def talkative(watch: Watch, vids: VidSet, heard: Heard) -> list[tuple[bytes, int]]:
    """Of those who were heard, each MAC address and VLAN, of these, that is behind a port of this host's own."""
    return [one for one, port in heard.items() if one[1] in vids and port not in watch.elsewhere]


def silent(
    watch: Watch, uplink: Uplink, vids: VidSet, heard: Heard, macs: Mapping[IfName, Mac]
) -> list[tuple[bytes, int]]:
    """Each MAC address and VLAN, of these, that was not heard and has a port of the bridge. `macs`: by the name of the
    port, who is there by record. Raises KernelError.

    Who was heard elsewhere since is not announced, whatever a record says: a machine that moves to another host has a
    port on both for a while. Of a silent one only the VLAN without a tag is known to be its own.
    """
    known = {mac for mac, _ in heard}
    unheard = {port: packed for port, mac in macs.items() if (packed := ethernet.mac_bytes(mac)) not in known}
    ports = _ports(watch.rtnl, uplink) if unheard else {}
    return [(mac, ports[port]) for port, mac in unheard.items() if port in ports and ports[port] in vids]


def _ports(rtnl: Rtnl, uplink: Uplink) -> dict[IfName, int]:
    """The ports of the uplink's bridge that have carrier, and the VLAN of what they take in without a tag."""
    found: dict[IfName, int] = {}
    for data, start, end in observe.bridge_links(rtnl):
        _, _, _, flags, _ = codec.LINK_HEADER.unpack_from(data, start)
        attrs = _PORT.decode(data, start + codec.LINK_HEADER.size, end)
        if attrs.get("master") != uplink.bridge or not flags & IFF_LOWER_UP or "name" not in attrs:
            continue
        vlans = observe.vlans_of(data[start:end])
        vid = UNTAGGED if UNTAGGED in uplink.vids else vlans.pvid if vlans else None
        if vid is not None:
            found[IfName(attrs["name"])] = vid
    return found


def of_machine(uplink: Uplink, mac: bytes, vid: int) -> Announcement:
    tag = None if vid in uplink.untagged else vid
    return Announcement(uplink.name, ethernet.RARP if tag is None else ethernet.VLAN, arp.whereabouts(mac, tag))


def of_interface(watch: Watch, index: int, interface: Interface) -> list[Announcement]:
    """A gratuitous ARP for each IPv4 address, an unsolicited neighbour advertisement for each of IPv6. Raises
    KernelError."""
    mac, found = ethernet.mac_bytes(interface.mac), []
    router = any(":" in address for address in interface.addresses) and forwards(watch.rtnl, index)
    for address in sorted(interface.addresses):
        packed = codec.write_ip(address)
        if len(packed) == 4:
            found.append(Announcement(interface.name, ethernet.ARP, arp.gratuitous(mac, packed)))
        else:
            frame = neighbour.unsolicited(mac, packed, router=router)
            found.append(Announcement(interface.name, ethernet.IPV6, frame))
    return found


def _heard(rtnl: Rtnl, bridge: int) -> Iterator[tuple[tuple[bytes, int], int]]:
    """The FDB as ((MAC address, VLAN), port), without what is the bridge's and its ports' own (NUD_PERMANENT)."""
    body = codec.NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + codec.pack_attr(_MASTER, _U32.pack(bridge))
    for data, start, end in rtnl.dump(Message(RTM_GETNEIGH, body, doing="list who is behind the bridge")):
        _, port, state, flags, _ = codec.NEIGHBOUR_HEADER.unpack_from(data, start)
        if state & _PERMANENT or flags & _SELF:
            continue
        attrs = attributes(data, start + codec.NEIGHBOUR_HEADER.size, end)
        mac, master = attrs.get(_LLADDR, b""), attrs.get(_MASTER)
        if len(mac) != 6 or mac[0] & _MULTICAST or (master is not None and _U32.unpack(master)[0] != bridge):
            continue
        yield (mac, _U16.unpack(attrs[_VLAN])[0] if _VLAN in attrs else UNTAGGED), port


class Sender:
    """A packet socket of one network namespace. Raises KernelError (EPERM without CAP_NET_RAW)."""

    def __init__(self, netns: namespaces.Netns = None) -> None:
        self._socket = namespaces.opened_in(netns, lambda: packets.opened("send announcements"))

    def close(self) -> None:
        self._socket.close()

    def send(self, announcements: Sequence[Announcement]) -> int:
        """How many the kernel took. Raises KernelError."""
        taken = 0
        for one in announcements:
            try:
                self._socket.sendto(one.frame, (one.link, one.ethertype))
                taken += 1
            except OSError as error:
                if error.errno not in _LOST:
                    raise errors.of(error.errno or errno.EIO, f"announce on {one.link}") from error
        return taken
