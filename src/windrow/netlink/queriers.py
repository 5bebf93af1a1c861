"""Whether a bridge that snoops for multicast groups has heard somebody ask for them."""

from __future__ import annotations

from windrow.netlink import codec
from windrow.netlink.routes import attributes
from windrow.netlink.sock import RTM_GETLINK, Message, Rtnl

_LINKINFO, _DATA, _QUERIER_STATE = 18, 2, 47
"""IFLA_LINKINFO, IFLA_INFO_DATA, IFLA_BR_MCAST_QUERIER_STATE (Linux 5.16)."""
_OTHERS = frozenset({3, 7})
"""BRIDGE_QUERIER_IP_OTHER_TIMER and _IPV6_: they are there while another one's questions are no older than 255 s
(`br_multicast_dump_querier_state`)."""


def heard(rtnl: Rtnl, bridge: str) -> bool:
    """In any VLAN, for a bridge that does not snoop VLAN by VLAN keeps one account of all. False where the kernel does
    not say it. Raises KernelError."""
    header = codec.LINK_HEADER.pack(0, 0, rtnl.index(bridge), 0, 0)
    data, start, end = rtnl.get(Message(RTM_GETLINK, header, doing=f"look at {bridge}"))
    found = attributes(data, start + codec.LINK_HEADER.size, end)
    for inner in (_LINKINFO, _DATA, _QUERIER_STATE):
        block = found.get(inner, b"")
        found = attributes(block, 0, len(block))
    return bool(_OTHERS & found.keys())
