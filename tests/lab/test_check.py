"""`windrow check` on a lab with two switches: all is well where all is well, and each fault shows, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.lab.checkworld import NODES, Checked, checked

from windrow.apps.check.told import Told, exit_code, rows
from windrow.model.cluster import Cluster
from windrow.render.vlanmatrix import State, matrix_text

VIDS = (10, 20, 30)


@pytest.fixture(scope="module")
def lab() -> Iterator[Checked]:
    with checked() as one:
        yield one


def states(told: Told, cluster: Cluster) -> dict[tuple[str, int], State]:
    return {(row.node, vid): state for row in rows(told, cluster) for vid, state in row.cells.items()}


def wrong(lab: Checked, found: dict[str, Told]) -> list[dict[tuple[str, int], State]]:
    """As each node sees it: what does not pass."""
    cluster = lab.intent("n1")[1]
    return [{at: s for at, s in states(told, cluster).items() if s is not State.PASSES} for told in found.values()]


def test_all_is_well(lab: Checked) -> None:
    found = lab.check()
    cluster = lab.intent("n1")[1]
    for told in found.values():
        assert set(states(told, cluster)) == {(node, vid) for node in NODES for vid in VIDS}
    assert wrong(lab, found) == [{}, {}, {}], matrix_text(rows(found["n1"], cluster))


@pytest.mark.parametrize(("switch", "port", "vid"), [("s2", "p5", 20), ("s1", "p1", 10), ("s1", "lag", 30)])
def test_a_vlan_is_missing_on_the_port_of_the_leg_that_works(lab: Checked, switch: str, port: str, vid: int) -> None:
    node = {"p5": "n3", "p1": "n1", "lag": "n2"}[port]
    with lab.without_vlan(switch, port, vid):
        found = lab.check()
    # The bonds with an active leg have another one, which is heard in the sweep of all legs.
    expected = State.NOT_THERE if port == "lag" else State.ONE_LEG
    assert wrong(lab, found) == [{(node, vid): expected}] * 3


def test_a_vlan_is_missing_on_both_ports(lab: Checked) -> None:
    with lab.without_vlan("s2", "p5", 20), lab.without_vlan("s2", "p6", 20):
        assert wrong(lab, lab.check()) == [{("n3", 20): State.NOT_THERE}] * 3


def test_a_vlan_is_missing_between_the_switches(lab: Checked) -> None:
    with lab.without_vlan("s2", "isl", 30):
        assert wrong(lab, lab.check()) == [{("n3", 30): State.NOT_THERE}] * 3


def test_a_vlan_is_missing_everywhere(lab: Checked) -> None:
    with ExitStack() as faults:
        for port in ("isl", "lag", "p1", "p2"):
            faults.enter_context(lab.without_vlan("s1", port, 30))
        found = wrong(lab, lab.check())
    assert all(
        {at: s for at, s in each.items() if at[1] == 30} == dict.fromkeys([(n, 30) for n in NODES], State.NOBODY)
        for each in found
    )


def test_one_node_alone_knows_that_it_knows_nothing(lab: Checked) -> None:
    told = lab.check(("n1",), 3)["n1"]
    assert told.evidence.silent == {"n2", "n3"}
    cluster = lab.intent("n1")[1]
    assert set(states(told, cluster).values()) == {State.ALONE, State.SILENT}
    assert exit_code(rows(told, cluster), ()) == 3
