"""What counts as the same difference that comes back."""

from __future__ import annotations

from dataclasses import replace

from windrow.model.bonding import Change
from windrow.model.steps import Delta, Plan, Unit
from windrow.model.values import IfName, Ref
from windrow.status.contests import REPAIRS_MAX, Contests, key_of

FLANNEL = IfName("flannel.1")


def _routes(*want: str) -> Delta:
    about = Ref("ClusterNetwork", "mgmt")
    return Delta(link=FLANNEL, field="routes", have=frozenset(), want=frozenset(want), change=Change.DOWN, why=about)


def _plan(delta: Delta) -> Plan:
    return Plan(units=(Unit(links=(FLANNEL,), deltas=(delta,)),))


def test_a_node_that_comes_is_reached_though_the_routes_of_the_others_are_fought_about() -> None:
    before, after = _routes("b"), _routes("b", "c")
    fought = Contests()
    for second in range(REPAIRS_MAX):
        fought = fought.repaired([before], _plan(before), mono=float(second), now=0.0)
    assert fought.left_alone(_plan(before), mono=5.0) == {(FLANNEL, "routes")}
    assert fought.left_alone(_plan(after), mono=5.0) == frozenset()


def test_equal_sets_are_one_difference_whatever_their_order() -> None:
    one, other = frozenset((0, 8)), frozenset((8, 0))
    assert one == other and repr(one) != repr(other)
    keys = {key_of(replace(_routes(), have=each, want=each)) for each in (one, other)}
    assert len(keys) == 1
