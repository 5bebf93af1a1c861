"""What nftables announces: tables, chains and rules that changed (NFNLGRP_NFTABLES). It only says that one should look.

Only of the tables that were asked for: a node's service proxy may change its own several times a second.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
import struct
from collections.abc import Collection

from windrow.netlink import errors
from windrow.netlink import netns as namespaces
from windrow.netlink.sock import split

NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_BUFFER = 1024 * 1024
_RECEIVE = 64 * 1024
_MESSAGES_MAX = 4096
NFGENMSG = struct.Struct("=BBH")
"""struct nfgenmsg: family, version, resource id."""
_ATTRIBUTE = struct.Struct("=HH")
FAMILIES = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}
"""NFPROTO_*."""
TABLE_NAME = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE: the name of the table comes first in all of them."""


class NftNews:
    """A socket that hears of changes of these tables, by family and name, from its making on. Never blocks. Raises
    KernelError, where this kernel has no nftables for one."""

    def __init__(self, tables: Collection[tuple[str, str]], netns: namespaces.Netns = None) -> None:
        self._tables = frozenset((FAMILIES[family], name.encode()) for family, name in tables)
        if netns is None:
            self._socket = _open()
        else:
            with namespaces.opened(netns) as fd:
                self._socket = namespaces.opened_in(fd, _open)

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bool:
        """Whether something of these tables changed, of all that has come; messages that were lost may have been about
        them. Raises KernelError."""
        found, messages = False, 0
        while messages < _MESSAGES_MAX:
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise errors.of(error.errno or errno.EIO, "hear what changes in nftables") from error
                found = True
                continue
            for _, type_, _, start, end in split(data):
                messages += 1
                found = found or (type_ >> 8 == NFNL_SUBSYS_NFTABLES and self._is_one(data, start, end))
        return found

    def _is_one(self, data: bytes, start: int, end: int) -> bool:
        at = start + NFGENMSG.size
        if at + _ATTRIBUTE.size > end:
            return False  # NFT_MSG_NEWGEN has a number and no name
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        name = data[at + _ATTRIBUTE.size : min(at + length, end)]
        return kind == TABLE_NAME and (data[start], name.rstrip(b"\0")) in self._tables


def _open() -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, "hear what changes in nftables") from error
    try:
        made.setblocking(False)
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError:  # beyond net.core.rmem_max only with CAP_NET_ADMIN
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((0, 0))
        made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    except OSError as error:
        made.close()
        raise errors.of(error.errno or errno.EIO, "hear what changes in nftables") from error
    return made
