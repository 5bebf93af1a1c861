"""Members of nftables' sets of names, changed and asked for without nft: a pod waits for it, and to start a program
takes longer than all else that its ADD does (`nf_tables_newsetelem`, include/uapi/linux/netfilter/nf_tables.h).

In the calling thread's network namespace.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno
from collections.abc import Iterator, Sequence

from windrow.model.ruletable import MemberChange, Verb
from windrow.model.values import name_bytes
from windrow.netlink import errors
from windrow.netlink.codec import NLA_F_NESTED, pack_attr
from windrow.netlink.errors import KernelError
from windrow.netlink.nftnews import FAMILIES, NETLINK_NETFILTER, NFGENMSG, NFNL_SUBSYS_NFTABLES
from windrow.netlink.sock import NLM_F_CREATE, NLM_F_EXCL, Message, Rtnl

_BEGIN, _END = 0x10, 0x11
"""NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END."""
_NEW, _GET, _DELETE = (NFNL_SUBSYS_NFTABLES << 8 | number for number in (12, 13, 14))
"""NFT_MSG_*SETELEM."""
_TABLE, _SET, _ELEMENTS = 1, 2, 3
"""NFTA_SET_ELEM_LIST_*."""
_LIST_ELEMENT, _KEY, _VALUE = 1, 1, 1
"""NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE."""
_NAME_BYTES = 16
"""IFNAMSIZ: the length of a key of nft's type `ifname`, which is filled up with zeros."""
_VERBS = {
    Verb.CREATE: (_NEW, NLM_F_CREATE | NLM_F_EXCL),
    Verb.ADD: (_NEW, NLM_F_CREATE),
    Verb.DELETE: (_DELETE, 0),
}


def change(table: tuple[str, str], changes: Sequence[MemberChange]) -> None:
    """All of it, or nothing, of a table by family and name. Raises the first KernelError: EEXIST of what is to be
    created, ENOENT of what is to be deleted, or where there is no such set or table; others where the kernel has no
    nftables."""
    batch = NFGENMSG.pack(socket.AF_UNSPEC, 0, socket.htons(NFNL_SUBSYS_NFTABLES))
    doing = f"change sets of nftables' table {table[1]}"
    with _nftables() as nftables:
        nftables.transaction(Message(_BEGIN, batch, doing=doing), [*_messages(table, changes)], Message(_END, batch))


def has(table: tuple[str, str], name: str, member: str) -> bool:
    """Whether the set of this name has it. Raises KernelError."""
    try:
        with _nftables() as nftables:
            nftables.get(Message(_GET, _body(table, name, member), doing=f"look for {member} among {name}"))
            return True
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise


def _nftables() -> Rtnl:
    try:
        return Rtnl(NETLINK_NETFILTER)
    except OSError as error:  # a kernel without nfnetlink has no such protocol
        raise errors.of(error.errno or errno.EIO, "speak with nftables") from error


def _messages(table: tuple[str, str], changes: Sequence[MemberChange]) -> Iterator[Message]:
    for one in changes:
        kind, flags = _VERBS[one.verb]
        yield Message(kind, _body(table, one.set, one.member), flags, f"{one.verb} {one.member} among {one.set}")


def _body(table: tuple[str, str], name: str, member: str) -> bytes:
    family, called = table
    key = name_bytes(member).ljust(_NAME_BYTES, b"\0")
    element = _nest(_LIST_ELEMENT, _nest(_KEY, pack_attr(_VALUE, key)))
    texts = pack_attr(_TABLE, called.encode() + b"\0") + pack_attr(_SET, name.encode() + b"\0")
    return NFGENMSG.pack(FAMILIES[family], 0, 0) + texts + _nest(_ELEMENTS, element)


def _nest(number: int, payload: bytes) -> bytes:
    return pack_attr(number | NLA_F_NESTED, payload)
