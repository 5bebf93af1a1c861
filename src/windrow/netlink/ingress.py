"""Frames of one EtherType end at a NIC: captures on the NIC see them, and nothing behind it does.

A packet socket gets a frame before the ingress hook does (`__netif_receive_skb_core`: ptype_all, then
`sch_handle_ingress`), and the tag has been taken out by then: one classic BPF filter on `skb->protocol` is for frames
with a tag and without (net/sched/cls_bpf.c).

The hook may be another's: its qdisc is used and left. A qdisc that was made here goes with the last filter in it. The
filter's mark says which it was, so that a process that was killed is cleared up after by the next one.
"""

from __future__ import annotations

import errno
from struct import Struct

from windrow.netlink import codec
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message, Rtnl

RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 36, 37, 44, 45, 46
PRIORITY = 30574
"""Of our filter among those of the hook: "wn" in ASCII, as `OWNER_GROUP` is. Others' smaller numbers come first."""
_HANDLE = 1
_TCMSG = Struct("=BxxxiIII")
"""struct tcmsg: family, ifindex, handle, parent, info (priority and protocol)."""
_TC_H_INGRESS, _INGRESS_HANDLE, _HOOK = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
"""`_HOOK`: TC_H_MIN_INGRESS, which both qdiscs, `ingress` and `clsact`, know as their parent of filters."""
_ETH_P_ALL_BE = 0x0300
_TC_ACT_SHOT = 2
_OURS, _OURS_WITH_QDISC = 0x776E0001, 0x776E0002
"""The class that the filter names. There are no classes at ingress; it is what a dump tells of a classic filter."""

GACT = codec.Table({"parms": codec.Attr(2, codec.RAW)})
ACTION = codec.Table({"kind": codec.Attr(1, codec.TEXT), "options": codec.Attr(2, codec.NESTED_RAW)})
BPF = codec.Table(
    {
        "actions": codec.Attr(1, codec.NESTED_RAW),
        "class": codec.Attr(3, codec.U32),
        "length": codec.Attr(4, codec.U16),
        "code": codec.Attr(5, codec.RAW),
    }
)
"""TCA_BPF_*."""
TC = codec.Table({"kind": codec.Attr(1, codec.TEXT), "options": codec.Attr(2, codec.NESTED_RAW)})
"""TCA_*."""

_BPF = Struct("=HBBI")
_LOAD_PROTOCOL = (0x28, 0, 0, 0xFFFFF000)
"""`ldh [SKF_AD_OFF + SKF_AD_PROTOCOL]` (include/uapi/linux/filter.h)."""


def ethertype_filter(ethertype: int, taken: int) -> bytes:
    """A classic BPF program: `taken` for frames of this EtherType, tagged or not; 0 for all else."""
    program = (_LOAD_PROTOCOL, (0x15, 0, 1, ethertype), (0x06, 0, 0, taken), (0x06, 0, 0, 0))
    return b"".join(_BPF.pack(*line) for line in program)


def end_frames(rtnl: Rtnl, name: str, ethertype: int) -> None:
    """Nothing behind this link gets frames of this EtherType from its cable. Once more does no harm.

    Raises KernelError: ENODEV; ENOENT where the kernel has no ingress hook, no cls_bpf or no act_gact.
    """
    index = rtnl.index(name)
    made = _qdisc(rtnl, index, name)
    if not made:
        found = _ours(rtnl, index)
        made = found == _OURS_WITH_QDISC
    try:
        rtnl.run(_filter(index, name, ethertype, _OURS_WITH_QDISC if made else _OURS))
    except KernelError:
        if made:
            _clear(rtnl, index, name)
        raise


def let_frames(rtnl: Rtnl, name: str) -> None:
    """The inverse. A link that is gone, or has no filter of ours, is as it should be. Raises KernelError."""
    try:
        index = rtnl.index(name)
        found = _ours(rtnl, index)
        if found is None:
            return
        rtnl.run(Message(RTM_DELTFILTER, _head(index, _HANDLE, _HOOK, _INFO), doing=f"let frames through {name}"))
        if found == _OURS_WITH_QDISC and not _filters(rtnl, index):
            _clear(rtnl, index, name)
    except KernelError as error:
        if error.errno not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
            raise


_INFO = PRIORITY << 16 | _ETH_P_ALL_BE


def _head(index: int, handle: int, parent: int, info: int) -> bytes:
    return _TCMSG.pack(0, index, handle, parent, info)


def _qdisc(rtnl: Rtnl, index: int, name: str) -> bool:
    """Whether it was not there, and is now."""
    body = _head(index, _INGRESS_HANDLE, _TC_H_INGRESS, 0) + TC.encode({"kind": "ingress"})
    message = Message(RTM_NEWQDISC, body, NLM_F_CREATE | NLM_F_EXCL, f"make the ingress hook of {name}")
    failure = rtnl.burst([message])[0]
    if failure is not None and failure.errno != errno.EEXIST:
        raise failure
    return failure is None


def _clear(rtnl: Rtnl, index: int, name: str) -> None:
    body = _head(index, _INGRESS_HANDLE, _TC_H_INGRESS, 0) + TC.encode({"kind": "ingress"})
    rtnl.run(Message(RTM_DELQDISC, body, doing=f"remove the ingress hook of {name}"))


def _filter(index: int, name: str, ethertype: int, mark: int) -> Message:
    code = ethertype_filter(ethertype, 0xFFFFFFFF)
    drop = ACTION.encode(
        {"kind": "gact", "options": GACT.encode({"parms": Struct("=IIiii").pack(0, 0, _TC_ACT_SHOT, 0, 0)})}
    )
    values = {"actions": codec.pack_attr(1 | codec.NLA_F_NESTED, drop), "length": len(code) // _BPF.size, "code": code}
    body = _head(index, _HANDLE, _HOOK, _INFO)
    body += TC.encode({"kind": "bpf", "options": BPF.encode({**values, "class": mark})})
    return Message(RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_REPLACE, f"end probes at {name}")


def _filters(rtnl: Rtnl, index: int) -> list[tuple[int, dict[str, object]]]:
    """(priority and protocol, TCA_*) of each filter of the hook; a dump also names each priority by itself."""
    spans = rtnl.dump(Message(RTM_GETTFILTER, _head(index, 0, _HOOK, 0), doing="list the filters of an ingress hook"))
    return [
        (_TCMSG.unpack_from(data, start)[4], TC.decode(data, start + _TCMSG.size, end)) for data, start, end in spans
    ]


def _ours(rtnl: Rtnl, index: int) -> int | None:
    """The mark of our filter; None: it is not there."""
    for info, values in _filters(rtnl, index):
        if info >> 16 != PRIORITY or values.get("kind") != "bpf":
            continue
        options = values.get("options")
        mark = BPF.decode(options).get("class") if isinstance(options, bytes) else None
        if mark in (_OURS, _OURS_WITH_QDISC):
            return int(mark)
    return None
