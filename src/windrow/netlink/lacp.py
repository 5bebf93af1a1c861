"""Waiting for LACP to agree with the switch.

Carrier does not tell: a bond in mode 802.3ad has it as soon as it has an aggregator (`bond_3ad_set_carrier`), before
any partner has answered. From the answer on the port waits two seconds for others to aggregate with
(`AD_AGGREGATE_WAIT_TIME`, IEEE 802.1AX §6.4.4), and passes nothing until both sides are in sync.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence

from windrow.netlink import options
from windrow.netlink.errors import KernelError
from windrow.netlink.observe import Raw, dump_links
from windrow.netlink.sock import Rtnl

ANSWER_S = 3.0
"""A partner answers the first LACPDU within a second; the switch's port has to come up before."""

_MODE_LACP = 4
_PASSING = 0x30
"""LACP_STATE_COLLECTING | LACP_STATE_DISTRIBUTING (IEEE 802.1AX §6.4.2.3)."""
_POLL_S = 0.05


def await_agreement(rtnl: Rtnl, name: str, end: float, pause: Callable[[float], None] = time.sleep) -> bool:
    """Wait until a NIC of the bond passes frames, and its partner too; `end` is a time.monotonic(); `pause`
    is called between two looks.

    False: nobody agreed. At once for what does no LACP, after ANSWER_S where nobody answers: the kernel then uses one
    NIC without LACP. Raises KernelError: ETIMEDOUT where a partner answers and does not agree, ENODEV.
    """
    answer_by = min(end, time.monotonic() + ANSWER_S)
    while True:
        raws = dump_links(rtnl)
        bond = next((raw for raw in raws if raw.attrs["name"] == name), None)
        if bond is None:
            raise KernelError(errno.ENODEV, f"wait for LACP on {name}")
        if bond.data.get("mode") != _MODE_LACP:
            return False
        if _agreed(bond, raws):
            return True
        partner = bond.data.get("lacp_info", {}).get("partner_mac", options.NO_MAC)
        now = time.monotonic()
        if partner == options.NO_MAC and now >= answer_by:
            return False
        if now >= end:
            hint = f"the partner {partner} answers and does not agree: are the switch's ports in one group?"
            raise KernelError(errno.ETIMEDOUT, f"wait for LACP on {name}", hint=hint)
        pause(_POLL_S)


def _agreed(bond: Raw, raws: Sequence[Raw]) -> bool:
    """One NIC in the active aggregator is enough."""
    active = bond.data.get("lacp_info", {}).get("aggregator")
    states = (
        raw.slave.get("actor_state", 0) & raw.slave.get("partner_state", 0)
        for raw in raws
        if raw.attrs.get("master") == bond.ifindex and raw.slave.get("aggregator") == active
    )
    return any(state & _PASSING == _PASSING for state in states)
