"""The forwarding table of a tunnel device: behind which far end a MAC address is (drivers/net/vxlan/vxlan_core.c).

Only permanent entries are read: what the device learned by itself, where it does, comes and goes by itself.
"""

from __future__ import annotations

import socket

from windrow.model.host import FdbEntry
from windrow.model.values import Mac
from windrow.netlink.codec import NEIGHBOUR_HEADER, NUD_PERMANENT, pack_attr, read_ip, write_ip
from windrow.netlink.routes import attributes
from windrow.netlink.sock import RTM_GETNEIGH, Message, Rtnl

_DST, _LLADDR = 1, 2
"""NDA_*."""
_NTF_SELF = 0x02
_ETHERNET = 6


def dump_fdb(rtnl: Rtnl, index: int) -> frozenset[FdbEntry]:
    """Of one device alone (`valid_fdb_dump_strict`: ndm_ifindex). Raises KernelError."""
    header = NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, index, 0, 0, 0)
    found: set[FdbEntry] = set()
    for data, start, end in rtnl.dump(Message(RTM_GETNEIGH, header, doing="list the far ends of a tunnel device")):
        _, device, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(data, start)
        attrs = attributes(data, start + NEIGHBOUR_HEADER.size, end)
        mac, dst = attrs.get(_LLADDR, b""), attrs.get(_DST, b"")
        if device == index and state & NUD_PERMANENT and flags & _NTF_SELF and len(mac) == _ETHERNET and dst:
            found.add(FdbEntry(mac=Mac(mac.hex(":")), dst=read_ip(dst)))
    return frozenset(found)


def write(entry: FdbEntry, index: int) -> bytes:
    """The body of RTM_NEWNEIGH and RTM_DELNEIGH. Raises ValueError, OSError."""
    mac = bytes.fromhex(entry.mac.replace(":", ""))
    header = NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, index, NUD_PERMANENT, _NTF_SELF, 0)
    return header + pack_attr(_DST, write_ip(entry.dst)) + pack_attr(_LLADDR, mac)
