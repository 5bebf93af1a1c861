"""What probes leave behind: frames on the cables, entries in the switches' tables, and nothing at the guests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.lab.checkworld import NODES, Capture, Checked, checked

from windrow.apps.check.alone import secret_of
from windrow.apps.check.told import rows
from windrow.frames.probe import mac_of
from windrow.model.evidence import Leg
from windrow.model.values import IfName
from windrow.netlink import ingress
from windrow.render.vlanmatrix import State
from windrow.store.paths import Paths


@pytest.fixture(scope="module")
def lab() -> Iterator[Checked]:
    with checked() as one:
        yield one


def run(lab: Checked, place: str, *command: str) -> str:
    done = lab.world.inside(place, lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    return done.stdout


def test_guests_see_none_and_others_on_the_switch_do(lab: Checked) -> None:
    """The last is what shows that the captures work."""
    with (
        Capture(lab, "guest", "eth0") as guest,
        Capture(lab, "trunk", "eth0") as trunk,
        Capture(lab, "other", "eth0") as other,
    ):
        found = lab.check()
    assert all(state is State.PASSES for row in rows(found["n1"], lab.intent("n1")[1]) for state in row.cells.values())
    assert sum(lab.is_within(at) for at, _ in other.frames) > 20
    assert [data for at, data in guest.frames if lab.is_within(at)] == []
    assert [data for at, data in trunk.frames if lab.is_within(at)] == []


def test_nothing_is_left_behind(lab: Checked) -> None:
    lab.check(("n1",), 2)
    for nic in ("eth0", "eth1"):
        rtnl = lab.world.rtnl("n1")
        assert ingress._filters(rtnl, rtnl.index(nic)) == []
    assert "promisc" not in run(lab, "n1", "ip", "-d", "link", "show", "eth1").partition("promiscuity")[0].lower()
    assert "ingress" not in run(lab, "n1", "tc", "qdisc", "show")


def test_entries_in_the_table_of_a_switch(lab: Checked) -> None:
    """One for each probe MAC and VLAN in a sweep of one leg."""
    for switch in ("s1", "s2"):
        run(lab, switch, "ip", "link", "set", "br0", "type", "bridge", "fdb_flush")
    found = lab.check()
    legs = {
        mac_of(secret_of(Paths(lab.world.root(node)), lab.intent(node)[0]), Leg(node, IfName(nic))): (node, nic)
        for node in NODES
        for nic in ("eth0", "eth1")
    }
    entries = json.loads(run(lab, "s1", "bridge", "-j", "fdb", "show", "br", "br0", "dynamic"))
    ours = [(legs[one["mac"]], one["vlan"]) for one in entries if one["mac"] in legs and "vlan" in one]
    assert {leg for leg, _ in ours} >= {("n1", "eth0"), ("n3", "eth0")}
    assert ("n1", "eth1") not in {leg for leg, _ in ours}, "a leg that rests sends nothing while all is well"
    backup = [one for one in ours if one[0][0] in ("n1", "n3")]
    assert len(backup) == 2 * 3
    assert all(told.sweeps <= 3 for told in found.values())
    print("entries of the switch:", len(ours), "frames sent:", {node: told.frames for node, told in found.items()})
