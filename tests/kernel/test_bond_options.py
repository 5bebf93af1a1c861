"""`model.bonding.OPTIONS` against the kernel: which modes, and when an option may change."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from windrow.model.bonding import OPTIONS, BondMode, Change
from windrow.model.host import OWNER_GROUP, Bond, Link
from windrow.model.steps import CreateLink
from windrow.model.values import IfName
from windrow.netlink import links

Ns = Any

VALUES: dict[str, Any] = {
    "miimon": 200,
    "updelay": 300,
    "downdelay": 300,
    "peer_notif_delay": 300,
    "use_carrier": "off",
    "arp_interval": 150,
    "arp_ip_target": ("10.0.0.1", "10.0.0.2"),
    "ns_ip6_target": ("fd00::1",),
    "arp_validate": "active",
    "arp_all_targets": "all",
    "missed_max": 5,
    "primary": "n0",
    "primary_reselect": "better",
    "fail_over_mac": "active",
    "xmit_hash_policy": "layer2+3",
    "resend_igmp": 3,
    "num_peer_notif": 2,
    "all_slaves_active": "on",
    "min_links": 1,
    "lp_interval": 5,
    "packets_per_slave": 7,
    "tlb_dynamic_lb": "off",
    "lacp_rate": "fast",
    "lacp_active": "off",
    "ad_select": "bandwidth",
    "ad_actor_sys_prio": 1000,
    "ad_user_port_key": 5,
    "ad_actor_system": "02:00:00:00:00:99",
}
"""Of every option one value that is not its default."""

HARMLESS = frozenset(
    {
        "arp_ip_target",
        "ns_ip6_target",
        "arp_all_targets",
        "primary_reselect",
        "fail_over_mac",
        "xmit_hash_policy",
        "resend_igmp",
        "min_links",
        "lp_interval",
        "ad_select",
    }
)
"""What the kernel takes in every mode, and uses only in those of the table."""

SITUATIONS = {
    "down, empty": (False, False),
    "up, empty": (True, False),
    "down, slave": (False, True),
    "up, slave": (True, True),
}
ALLOWED = {
    Change.LIVE: set(SITUATIONS),
    Change.DOWN: {"down, empty", "down, slave"},
    Change.EMPTY: {"down, empty", "up, empty"},
    Change.DOWN_EMPTY: {"down, empty"},
}
REFUSAL = {Change.DOWN: errno.EBUSY, Change.EMPTY: errno.ENOTEMPTY}


def base(name: str, mode: BondMode) -> dict[str, Any]:
    """The mode, and the monitor that the option needs, as attribute values."""
    needs = OPTIONS[name].needs
    if needs == "arp_interval" and mode not in OPTIONS["arp_interval"].modes:
        needs = ""
    return {"mode": mode.number} | ({needs: 100} if needs in ("miimon", "arp_interval") else {})


def test_every_option_has_a_value_here() -> None:
    assert set(VALUES) == set(OPTIONS) - {"mode"}


@pytest.mark.parametrize("name", VALUES)
def test_modes(ns: Ns, name: str) -> None:
    option, value = OPTIONS[name], VALUES[name]
    ns.run(links.create("n0", "dummy"))
    for mode in BondMode:
        ns.run(links.create("bo", "bond", data=base(name, mode)))
        ns.run(links.set_master("n0", ns.index("bo")) if name == "primary" else links.set_link("bo", up=False))
        refusal = ns.refused(links.set_bond("bo", Bond(**{name: value}), ns.index))
        if mode in option.modes:
            assert refusal == 0, mode
            assert getattr(ns.link("bo").spec, name) == value, mode
        else:
            assert refusal == (0 if name in HARMLESS else errno.EACCES), mode
        ns.run(links.delete("bo"))


@pytest.mark.parametrize("name", VALUES)
def test_change(ns: Ns, name: str) -> None:
    option, value = OPTIONS[name], VALUES[name]
    mode = min(option.modes, key=list(BondMode).index)
    ns.run(links.create("n0", "dummy"), links.create("n1", "dummy"))
    for situation, (up, slave) in SITUATIONS.items():
        ns.run(links.create("bo", "bond", up=up, data=base(name, mode)))
        if slave:
            ns.run(links.set_link("n1", up=False), links.set_master("n1", ns.index("bo")))
        refusal = ns.refused(links.set_bond("bo", Bond(**{name: value}), ns.index))
        assert refusal == (0 if situation in ALLOWED[option.change] else REFUSAL[option.change]), situation
        ns.run(links.delete("bo"))


@pytest.mark.parametrize(
    ("situation", "refusal"),
    list(zip(SITUATIONS, (0, errno.EBUSY, errno.ENOTEMPTY, errno.ENOTEMPTY), strict=True)),
)
def test_change_of_mode(ns: Ns, situation: str, refusal: int) -> None:
    up, slave = SITUATIONS[situation]
    ns.run(links.create("bo", "bond", up=up, data={"mode": 1}), links.create("n0", "dummy"))
    if slave:
        ns.run(links.set_master("n0", ns.index("bo")))
    assert (situation in ALLOWED[OPTIONS["mode"].change]) == (refusal == 0)
    assert ns.refused(links.set_bond("bo", Bond(mode=BondMode.LACP), ns.index)) == refusal


@pytest.mark.parametrize("mode", BondMode)
@pytest.mark.parametrize("monitor", ["miimon", "arp_interval"])
def test_all_options_of_a_mode_get_through_the_create_message(ns: Ns, mode: BondMode, monitor: str) -> None:
    """All that go together; the kernel takes them in an order of its own (`bond_changelink`)."""
    other = {"miimon": "arp_interval", "arp_interval": "miimon"}[monitor]
    wanted = {
        name: value
        for name, value in VALUES.items()
        if mode in OPTIONS[name].modes and name != other and OPTIONS[name].needs != other
    }
    wanted["updelay" if monitor == "miimon" else "num_peer_notif"] = 400 if monitor == "miimon" else 2
    for delay in ("updelay", "downdelay", "peer_notif_delay"):
        if delay in wanted:
            wanted[delay] = 400  # a multiple of miimon
    ns.run(links.create("n0", "dummy"))
    ns.do(("bo", CreateLink(Link(name=IfName("bo"), spec=Bond(mode=mode, **wanted), mtu=1400))))
    ns.run(links.set_master("n0", ns.index("bo")))
    made = ns.kernel.observe()
    assert {name: getattr(made.state.links[IfName("bo")].spec, name) for name in wanted} == wanted
    assert made.runtime[IfName("bo")].group == OWNER_GROUP


@pytest.mark.parametrize("mode", BondMode)
def test_an_observed_bond_can_be_made_again(ns: Ns, mode: BondMode) -> None:
    """Although a dump also reports options that cannot be set."""
    ns.run(links.create("bo", "bond", data={"mode": mode.number}))
    seen = ns.link("bo")
    ns.run(links.delete("bo"))
    ns.do(("bo", CreateLink(seen)))
    assert ns.link("bo") == replace(seen, mark=True)


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.choices and name != "mode"])
def test_every_choice_has_the_number_of_its_place(ns: Ns, name: str) -> None:
    """Set over netlink, read by its name in sysfs: the kernel's own word for the number."""
    option = OPTIONS[name]
    mode = min(option.modes, key=list(BondMode).index)
    ns.run(links.create("bo", "bond", data=base(name, mode)))
    for choice in option.choices:
        if ns.refused(links.set_bond("bo", Bond(**{name: choice}), ns.index)) == 0:
            assert getattr(ns.link("bo").spec, name) == choice
