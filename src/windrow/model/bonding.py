"""The bond options: one table for their names, values, modes and when the kernel lets them change.

Source: `drivers/net/bonding/bond_options.c` (`bond_opts[]`: `.flags` BOND_OPTFLAG_IFDOWN and
BOND_OPTFLAG_NOSLAVES give `change`) and Documentation/networking/bonding.rst. `modes` are the modes in which an
option means something: what `.unsuppmodes` forbids the kernel refuses (EACCES), and the rest of what is not in
`modes` it stores and ignores. A test on a real kernel holds both columns against it.
"""

from __future__ import annotations

from enum import StrEnum

from windrow.model.lazy import dataclass


class Change(StrEnum):
    """What a link must be like before an attribute of it may change."""

    LIVE = "live"
    DOWN = "down"
    EMPTY = "empty"
    """A bond without slaves."""
    DOWN_EMPTY = "down and empty"
    RECREATE = "recreate"
    """The kernel cannot change it: delete the link and make it again."""


class BondMode(StrEnum):
    """Values as in sysfs; their order is the kernel's mode number 0..6."""

    BALANCE_RR = "balance-rr"
    ACTIVE_BACKUP = "active-backup"
    BALANCE_XOR = "balance-xor"
    BROADCAST = "broadcast"
    LACP = "802.3ad"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"

    @property
    def number(self) -> int:
        return list(BondMode).index(self)

    @property
    def switch_needs(self) -> str:
        """What the switch must do on the ports of such a bond: `lacp`, `static` or `none`."""
        return {"802.3ad": "lacp", "balance-rr": "static", "balance-xor": "static", "broadcast": "static"}.get(
            self.value, "none"
        )


_ALL = frozenset(BondMode)
_RR, _AB, _XOR, _BC, _AD, _TLB, _ALB = BondMode
_ARP = _ALL - {_AD, _TLB, _ALB}


@dataclass(frozen=True, slots=True)
class BondOption:
    """One option.

    `wire` is its key in VlanConfig `spec.uplink.bondOptions`; `name` the kernel's and ours. Its
    value is one of `choices` (in the kernel's numeric order), or an int from `low` to `high`, or
    (`text`) an interface name, a MAC address or a list of IP addresses. `default` is the kernel's.
    """

    name: str
    wire: str
    default: str | int | tuple[str, ...] | None
    change: Change = Change.LIVE
    modes: frozenset[BondMode] = _ALL
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 0xFFFF_FFFF >> 1
    text: str = ""
    needs: str = ""
    """Another option that must be set for this one to mean anything."""


_OFF_ON = ("off", "on")

OPTIONS: dict[str, BondOption] = {
    option.name: option
    for option in (
        BondOption("mode", "mode", "balance-rr", Change.DOWN_EMPTY, choices=tuple(BondMode)),
        BondOption("miimon", "miimon", 0),
        BondOption("updelay", "upDelay", 0, needs="miimon"),
        BondOption("downdelay", "downDelay", 0, needs="miimon"),
        BondOption("peer_notif_delay", "peerNotifDelay", 0, high=300_000, needs="miimon"),
        BondOption("use_carrier", "useCarrier", "on", choices=_OFF_ON),
        BondOption("arp_interval", "arpInterval", 0, modes=_ARP),
        BondOption("arp_ip_target", "arpIPTargets", (), modes=_ARP, text="IPv4 addresses", needs="arp_interval"),
        BondOption("ns_ip6_target", "nsIP6Targets", (), modes=_ARP, text="IPv6 addresses", needs="arp_interval"),
        BondOption(
            "arp_validate",
            "arpValidate",
            "none",
            modes=_ARP,
            choices=("none", "active", "backup", "all", "filter", "filter_active", "filter_backup"),
            needs="arp_interval",
        ),
        BondOption("arp_all_targets", "arpAllTargets", "any", modes=_ARP, choices=("any", "all"), needs="arp_interval"),
        BondOption("missed_max", "missedMax", 2, modes=_ARP, low=1, high=255, needs="arp_interval"),
        BondOption("primary", "primary", None, modes=frozenset({_AB, _TLB, _ALB}), text="one of the NICs"),
        BondOption(
            "primary_reselect",
            "primaryReselect",
            "always",
            modes=frozenset({_AB, _TLB, _ALB}),
            choices=("always", "better", "failure"),
            needs="primary",
        ),
        BondOption(
            "fail_over_mac",
            "failOverMAC",
            "none",
            Change.EMPTY,
            modes=frozenset({_AB}),
            choices=("none", "active", "follow"),
        ),
        BondOption(
            "xmit_hash_policy",
            "xmitHashPolicy",
            "layer2",
            modes=frozenset({_XOR, _AD, _TLB, _ALB}),
            choices=("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"),
        ),
        BondOption("resend_igmp", "resendIGMP", 1, high=255, modes=frozenset({_RR, _AB, _TLB, _ALB})),
        BondOption("num_peer_notif", "numPeerNotif", 1, high=255),
        BondOption("all_slaves_active", "allSlavesActive", "off", choices=_OFF_ON),
        BondOption("min_links", "minLinks", 0, modes=frozenset({_AD})),
        BondOption("lp_interval", "lpInterval", 1, low=1, modes=frozenset({_TLB, _ALB})),
        BondOption("packets_per_slave", "packetsPerSlave", 1, high=65535, modes=frozenset({_RR})),
        BondOption("tlb_dynamic_lb", "tlbDynamicLB", "on", Change.DOWN, modes=frozenset({_TLB, _ALB}), choices=_OFF_ON),
        BondOption("lacp_rate", "lacpRate", "slow", Change.DOWN, modes=frozenset({_AD}), choices=("slow", "fast")),
        BondOption("lacp_active", "lacpActive", "on", Change.DOWN, modes=frozenset({_AD}), choices=_OFF_ON),
        BondOption(
            "ad_select",
            "adSelect",
            "stable",
            Change.DOWN,
            modes=frozenset({_AD}),
            choices=("stable", "bandwidth", "count"),
        ),
        BondOption("ad_actor_sys_prio", "adActorSysPrio", 65535, low=1, high=65535, modes=frozenset({_AD})),
        BondOption("ad_user_port_key", "adUserPortKey", 0, Change.DOWN, high=1023, modes=frozenset({_AD})),
        BondOption("ad_actor_system", "adActorSystem", None, modes=frozenset({_AD}), text="a MAC address"),
    )
}

BY_WIRE: dict[str, BondOption] = {option.wire: option for option in OPTIONS.values()}
