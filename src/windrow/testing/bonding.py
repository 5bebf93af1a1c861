"""The options of a bond in memory: what the kernel stores, what it refuses, what it reports.

Source: drivers/net/bonding/bond_netlink.c (`bond_changelink`, `bond_fill_info`) and bond_options.c.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, fields
from typing import Any

from windrow.model.bonding import OPTIONS, BondMode, Change
from windrow.model.host import Bond

ANY_MODE = frozenset(
    {
        "ad_select",
        "arp_all_targets",
        "arp_ip_target",
        "fail_over_mac",
        "lp_interval",
        "min_links",
        "ns_ip6_target",
        "primary_reselect",
        "resend_igmp",
        "xmit_hash_policy",
    }
)
"""Options without `.unsuppmodes` in bond_opts[]: stored in every mode, though they mean something only in the
modes of `model.bonding.OPTIONS`."""

ONLY_LACP = ("ad_actor_sys_prio", "ad_user_port_key", "ad_actor_system")
"""`bond_fill_info` reports these only in mode 802.3ad."""

_LATE = ("lacp_active", "lacp_rate", "ad_select", *ONLY_LACP, "tlb_dynamic_lb", "missed_max")
ORDER = (*(name for name in OPTIONS if name not in _LATE), *_LATE)
"""In which `bond_changelink` goes through the options of one message."""

DELAYS = ("updelay", "downdelay", "peer_notif_delay")
"""Stored in units of miimon (`_bond_option_delay_set`): they change with it, and round down to it."""

NO_ARP_MODES = frozenset({BondMode.LACP, BondMode.BALANCE_TLB, BondMode.BALANCE_ALB})
"""`bond_mode_uses_arp` is false."""

DEFAULT_MIIMON = 100
"""BOND_DEFAULT_MIIMON: what a mode without ARP monitoring gets when no monitor is on."""


class Refused(Exception):
    """The kernel says no. `code` is the errno."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(errno.errorcode.get(code, str(code)))


@dataclass
class BondParameters:
    """`struct bond_params`. Delays are in units of miimon; `primary` is a name, there or not."""

    values: dict[str, Any] = field(default_factory=lambda: {name: o.default for name, o in OPTIONS.items()})

    def __post_init__(self) -> None:
        self.values["mode"] = BondMode(self.values["mode"])
        self.values["primary"] = ""
        self.values["ad_actor_system"] = ""

    @property
    def mode(self) -> BondMode:
        mode: BondMode = self.values["mode"]
        return mode

    @property
    def mac_follows(self) -> bool:
        """The bond's MAC is the active slave's business: nobody can set it, and it is not given to slaves."""
        return self.mode is BondMode.ACTIVE_BACKUP and self.values["fail_over_mac"] != "none"

    def change(self, options: Bond, *, up: bool, slaves: int) -> None:
        """The options that are not None, one after the other; the first refusal leaves the ones before it done.

        Raises Refused: EINVAL (value), EACCES (mode), ENOTEMPTY, EBUSY, EPERM (a delay without miimon).
        """
        asked = {f.name: value for f in fields(options) if (value := getattr(options, f.name)) is not None}
        for name in ORDER:
            if name not in asked:
                continue
            if name in ("arp_interval", "arp_validate") and asked.get("miimon") and asked[name] not in (0, "none"):
                raise Refused(errno.EINVAL)
            self._check(name, asked[name], up=up, slaves=slaves)
            self._store(name, asked[name])

    def _check(self, name: str, value: Any, *, up: bool, slaves: int) -> None:
        """`bond_opt_check_deps`, then `bond_opt_parse`."""
        option = OPTIONS[name]
        if name not in ANY_MODE and self.mode not in option.modes:
            raise Refused(errno.EACCES)
        if option.change in (Change.EMPTY, Change.DOWN_EMPTY) and slaves:
            raise Refused(errno.ENOTEMPTY)
        if option.change in (Change.DOWN, Change.DOWN_EMPTY) and up:
            raise Refused(errno.EBUSY)
        if option.choices and value not in option.choices:
            raise Refused(errno.EINVAL)
        if isinstance(option.default, int) and not option.choices and not option.low <= value <= option.high:
            raise Refused(errno.EINVAL)

    def _store(self, name: str, value: Any) -> None:
        match name:
            case "mode":
                self._store_mode(BondMode(value))
            case "miimon":
                self.values["miimon"] = value
                if value and self.values["arp_interval"]:
                    self.values |= {"arp_interval": 0, "arp_validate": "none"}
            case "arp_interval":
                self.values["arp_interval"] = value
                if value:
                    self.values["miimon"] = 0
            case _ if name in DELAYS:
                if not self.values["miimon"]:
                    raise Refused(errno.EPERM)
                self.values[name] = value // self.values["miimon"]
            case "arp_ip_target" | "ns_ip6_target":
                self.values[name] = tuple(value)
            case _:
                self.values[name] = value

    def _store_mode(self, mode: BondMode) -> None:
        """`bond_option_mode_set`."""
        if mode in NO_ARP_MODES:
            self.values["arp_interval"] = 0
            self.values["miimon"] = self.values["miimon"] or DEFAULT_MIIMON
        if mode is BondMode.BALANCE_ALB:
            self.values["tlb_dynamic_lb"] = "on"
        self.values["arp_validate"] = "none"
        self.values["mode"] = mode

    def report(self, slaves: list[str]) -> Bond:
        """`bond_fill_info`: every option in every mode, but for the ones below."""
        shown = dict(self.values)
        for name in DELAYS:
            shown[name] *= shown["miimon"]
        if self.mode is not BondMode.LACP:
            shown |= dict.fromkeys(ONLY_LACP)
        if shown["primary"] not in slaves or self.mode not in OPTIONS["primary"].modes:
            shown["primary"] = ""
        return Bond(**shown)
