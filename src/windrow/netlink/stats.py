"""What the kernel counts of a link (RTM_GETSTATS): frames of all kinds, and LACPDUs of a slave. No privilege needed."""

from __future__ import annotations

import errno
from struct import Struct

from windrow.model.lazy import dataclass
from windrow.netlink.errors import KernelError
from windrow.netlink.routes import attributes
from windrow.netlink.sock import Message, Rtnl

RTM_GETSTATS = 94
_HEADER = Struct("=BxxxII")
"""struct if_stats_msg: family, ifindex, filter mask."""
_LINK_64, _XSTATS_SLAVE = 1, 3
"""IFLA_STATS_*; their bits in the mask are one lower."""
_XSTATS_BOND, _BOND_3AD, _LACPDU_RX = 2, 1, 0
"""LINK_XSTATS_TYPE_BOND, BOND_XSTATS_3AD, BOND_3AD_STAT_LACPDU_RX."""
_COUNTERS = Struct("=8Q")
"""The first of struct rtnl_link_stats64: received and sent packets, bytes, errors, and dropped."""
_U64 = Struct("=Q")
_REFUSED = frozenset({errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Since the link was made. `lacpdus`: that came in; None where it is no slave of an LACP bond."""

    received: int
    errors: int
    dropped: int
    lacpdus: int | None = None


def counted(rtnl: Rtnl, ifindex: int) -> Counted | None:
    """None: the link is gone, or the kernel is older than 4.7. Raises KernelError."""
    mask = 1 << _LINK_64 - 1 | 1 << _XSTATS_SLAVE - 1
    body = _HEADER.pack(0, ifindex, mask)
    try:
        data, start, end = rtnl.get(Message(RTM_GETSTATS, body, doing=f"count the frames of link {ifindex}"))
    except KernelError as error:
        if error.errno in _REFUSED:
            return None
        raise
    found = attributes(data, start + _HEADER.size, end)
    if len(found.get(_LINK_64, b"")) < _COUNTERS.size:
        return None
    received, _, _, _, errors_in, errors_out, dropped, _ = _COUNTERS.unpack_from(found[_LINK_64])
    return Counted(
        received=received, errors=errors_in + errors_out, dropped=dropped, lacpdus=_lacpdus(found.get(_XSTATS_SLAVE))
    )


def _lacpdus(nested: bytes | None) -> int | None:
    for number in (_XSTATS_BOND, _BOND_3AD, _LACPDU_RX):
        nested = attributes(nested, 0, len(nested)).get(number) if nested else None
    return _U64.unpack(nested)[0] if nested and len(nested) == _U64.size else None
