"""Which links have a cable, which MACs are this host's own, and which legs a bond does not use."""

from __future__ import annotations

from typing import Any

import pytest

from windrow.model.values import PORT_GROUP
from windrow.netlink.links import DEVICE
from windrow.netlink.observe import ARPHRD_ETHER, Raw
from windrow.sense.links import Links


def raw(index: int, name: str, kind: str = DEVICE, **more: Any) -> Raw:
    attrs = {"name": name, "mac": more.pop("mac", f"02:00:00:00:00:{index:02x}"), "group": more.pop("group", 0)}
    if "master" in more:
        attrs["master"] = more.pop("master")
    return Raw(index, ARPHRD_ETHER, 0, attrs, kind, **more)


def names(links: Links) -> list[str]:
    return [one.attrs["name"] for one in links.nics()]


def test_on_a_host_a_veth_leads_to_a_pod_unless_it_is_a_leg() -> None:
    found = Links(
        [
            raw(9, "cali0", "veth"),
            raw(3, "eth1"),
            raw(2, "eth0"),
            raw(8, "dummy0", "dummy"),
            raw(7, "leg", "veth", slave_kind="bond", master=5),
            raw(5, "bond0", "bond"),
        ]
    )
    assert names(found) == ["eth0", "eth1", "leg"]


def test_in_a_lab_veths_are_nics_and_what_is_on_a_bridge_with_a_bond_is_a_port() -> None:
    links = [
        raw(2, "eth0", "veth", slave_kind="bond", master=5),
        raw(3, "eth1", "veth"),
        raw(4, "up", "veth", slave_kind="bridge", master=7),
        raw(5, "oob-bo", "bond", slave_kind="bridge", master=6),
        raw(6, "oob-br", "bridge"),
        raw(7, "br0", "bridge"),
        raw(8, "guest", "veth", slave_kind="bridge", master=6),
        raw(9, "marked", "veth", group=PORT_GROUP),
    ]
    assert names(Links(links)) == ["eth0", "eth1", "up"]


def test_whose_macs_are_looked_for() -> None:
    links = [
        raw(2, "eth0", mac="02:00:00:00:00:0a"),
        raw(3, "bond0", "bond", mac="02:00:00:00:00:0a"),
        raw(4, "bond0.7", "vlan", mac="02:00:00:00:00:0b"),
        raw(5, "vrrp", "macvlan", mac="00:00:5e:00:01:07"),
        raw(6, "cali0", "veth", mac="ee:ee:ee:ee:ee:ee"),
        raw(7, "br", "bridge", mac="00:00:00:00:00:00"),
        raw(8, "tunl", "bridge", mac=""),
    ]
    assert Links(links).macs() == ("02:00:00:00:00:0a", "02:00:00:00:00:0b")


@pytest.mark.parametrize(
    ("mode", "active", "idle"),
    [(0, None, False), (1, False, True), (2, None, False), (3, None, False), (5, False, True), (6, False, False)],
)
def test_a_leg_that_is_not_the_active_one(mode: int, active: bool | None, idle: bool) -> None:
    leg = raw(2, "eth0", slave_kind="bond", master=5, slave={"state": 1})
    links = Links([leg, raw(3, "eth1"), raw(5, "bond0", "bond", data={"mode": mode, "active_slave": 3})])
    assert (links.active(leg), links.idle(leg)) == (active, idle)


@pytest.mark.parametrize(("state", "active"), [(0, True), (1, False)])
def test_a_leg_of_lacp(state: int, active: bool) -> None:
    leg = raw(2, "eth0", slave_kind="bond", master=5, slave={"state": state})
    links = Links([leg, raw(5, "bond0", "bond", data={"mode": 4})])
    assert (links.active(leg), links.idle(leg)) == (active, not active)
    assert links.lacp_bonds() == {5: "bond0"}


def test_a_nic_without_a_bond_is_no_leg() -> None:
    alone = raw(2, "eth0", slave_kind="bridge", master=9)
    assert (Links([alone]).active(alone), Links([alone]).idle(alone)) == (None, False)


@pytest.mark.parametrize(
    ("mode", "state", "active", "sole"),
    [
        (1, {}, True, True),
        (1, {}, False, False),
        (4, {"state": 0}, False, True),
        (4, {"state": 1}, False, False),
        (0, {}, False, False),
        (2, {}, False, False),
        (5, {}, True, False),
        (6, {}, True, False),
    ],
)
def test_where_no_frame_of_this_host_can_come_back(mode: int, state: dict[str, int], active: bool, sole: bool) -> None:
    """In balance-rr and balance-xor one does where the channel is missing; in balance-tlb and -alb always."""
    leg = raw(2, "eth0", slave_kind="bond", master=5, slave=state)
    bond = raw(5, "bond0", "bond", mac="02:00:00:00:00:0b", data={"mode": mode, "active_slave": 2 if active else 3})
    assert Links([leg, bond]).sole(leg) == ("02:00:00:00:00:0b" if sole else None)
    assert Links([raw(7, "eth3", mac="02:00:00:00:00:0c")]).sole(raw(7, "eth3", mac="02:00:00:00:00:0c")) is not None
