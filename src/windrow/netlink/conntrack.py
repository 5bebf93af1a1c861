"""Connections that the kernel has noted, and how it forgets those of an address (ctnetlink).

Loaded only where there are network policies: what is established passes them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator

from windrow.netlink.codec import NLA_F_NESTED, RAW, Attr, Table, pack_attr, write_ip
from windrow.netlink.errors import KernelError
from windrow.netlink.nftnews import NETLINK_NETFILTER, NFGENMSG
from windrow.netlink.sock import Message, Rtnl

_SUBSYSTEM = 1 << 8
"""NFNL_SUBSYS_CTNETLINK."""
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ORIGINAL = 1
"""CTA_TUPLE_ORIG."""
_ENTRY = Table(
    {"original": Attr(_ORIGINAL, RAW), "reply": Attr(2, RAW), "id": Attr(12, RAW), "zone": Attr(18, RAW)},
)
_TUPLE = Table({"ip": Attr(1, RAW)})
_ENDS = Table({name: Attr(number, RAW) for number, name in enumerate(("v4s", "v4d", "v6s", "v6d"), 1)})
"""CTA_IP_V4_SRC and so on: one address each."""


def forget(addresses: Iterable[str]) -> int:
    """All connections that begin or end at one of these, before an address translation or behind it; how many they
    were. In the calling thread's network namespace. Raises KernelError."""
    wanted = {write_ip(address) for address in addresses}
    families = {socket.AF_INET if len(one) == 4 else socket.AF_INET6 for one in wanted}
    try:
        with Rtnl(NETLINK_NETFILTER) as conntrack:
            gone = [message for family in sorted(families) for message in _deletions(conntrack, family, wanted)]
            return sum(_is_gone(failure) for failure in conntrack.burst(gone))
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # no nf_conntrack_netlink (`nfnetlink_rcv_msg`)
            return 0
        raise


def _deletions(conntrack: Rtnl, family: int, wanted: set[bytes]) -> Iterator[Message]:
    header = NFGENMSG.pack(family, 0, 0)
    for data, start, end in conntrack.dump(Message(_GET, header, doing="list the connections")):
        if all(data.find(one, start, end) < 0 for one in wanted):
            continue  # there may be a hundred thousand, and a pod waits
        entry = _ENTRY.decode(data, start + NFGENMSG.size, end)
        ends = (_ends(entry[way]) for way in ("original", "reply") if way in entry)
        if wanted.isdisjoint(one for found in ends for one in found):
            continue
        body = header + pack_attr(_ORIGINAL | NLA_F_NESTED, entry["original"])
        for number, name in ((12, "id"), (18, "zone")):
            body += pack_attr(number, entry[name]) if name in entry else b""
        yield Message(_DELETE, body, doing="forget a connection")


def _ends(one: bytes) -> Iterable[bytes]:
    return _ENDS.decode(_TUPLE.decode(one).get("ip", b"")).values()


def _is_gone(failure: KernelError | None) -> bool:
    """One that has ended by itself is gone, too, and not by us. Raises KernelError."""
    if failure is not None and failure.errno != errno.ENOENT:
        raise failure
    return failure is None
