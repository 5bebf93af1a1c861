"""What has a new way or a new MAC address, and when it is announced."""

from __future__ import annotations

from dataclasses import replace

from windrow.model.announcing import Due, Interface, Leg, Scene, Uplink
from windrow.model.values import IfName, Mac, VidSet
from windrow.status.announcements import TIMES_S, Agenda, due

BRIDGE, BOND, NEXT, OWN, IN_VLAN = 1, 2, 3, 1, 4
VIDS = VidSet.of([1, 100, 200])
UPLINK = Uplink(name=IfName("oob-bo"), bridge=BRIDGE, leg=Leg(slave=10), vids=VIDS)
SUB = Interface(
    name=IfName("oob-br.100"),
    bridge=BRIDGE,
    vid=100,
    mac=Mac("02:00:00:00:00:01"),
    running=True,
    addresses=frozenset({"10.0.0.1", "fe80::1"}),
)
SCENE = Scene(uplinks={BOND: UPLINK}, interfaces={IN_VLAN: SUB})


def uplink(**changes: object) -> Scene:
    return replace(SCENE, uplinks={BOND: replace(UPLINK, **changes)})  # type: ignore[arg-type]


def interface(**changes: object) -> Scene:
    return replace(SCENE, interfaces={IN_VLAN: replace(SUB, **changes)})  # type: ignore[arg-type]


def test_nothing_new_is_nothing_to_announce() -> None:
    assert not due(SCENE, SCENE)


def test_another_leg_is_a_new_way_for_all_vlans_and_for_this_host() -> None:
    for leg in (Leg(slave=11), Leg(aggregator=2)):
        assert due(SCENE, uplink(leg=leg)) == Due(machines={BOND: VIDS}, own=frozenset({IN_VLAN}))


def test_a_bond_that_cannot_send_has_no_way_and_a_new_one_once_it_can() -> None:
    assert not due(SCENE, uplink(leg=None))
    assert due(uplink(leg=None), SCENE).machines == {BOND: VIDS}


def test_only_the_vlans_that_come_to_an_uplink_are_new() -> None:
    more = uplink(vids=VIDS | VidSet.of([300]))
    assert due(SCENE, more) == Due(machines={BOND: VidSet.of([300])})
    assert not due(more, SCENE)


def test_a_bond_that_takes_over_announces_what_it_takes_over() -> None:
    """`oob-bn` is a port of no VLAN until the bridge changes over."""
    fresh = replace(UPLINK, name=IfName("oob-bn"), vids=VidSet())
    waiting = replace(SCENE, uplinks={BOND: UPLINK, NEXT: fresh})
    over = replace(SCENE, uplinks={BOND: replace(UPLINK, vids=VidSet()), NEXT: replace(fresh, vids=VIDS)})
    assert not due(SCENE, waiting)
    assert due(waiting, over) == Due(machines={NEXT: VIDS}, own=frozenset({IN_VLAN}))


def test_an_interface_of_another_bridge_or_vlan_is_where_it_was() -> None:
    away = uplink(leg=Leg(slave=11))
    for there in ({"bridge": 9}, {"vid": 300}, {"vid": None}):
        moved = replace(SUB, **there)  # type: ignore[arg-type]
        before, after = (replace(s, interfaces={IN_VLAN: moved}) for s in (SCENE, away))
        assert due(before, after).own == frozenset()


def test_a_new_mac_or_address_is_news_and_an_address_less_is_not() -> None:
    own = Due(own=frozenset({IN_VLAN}))
    assert due(SCENE, interface(mac=Mac("02:00:00:00:00:02"))) == own
    assert due(interface(addresses=frozenset({"fe80::1"})), SCENE) == own
    assert not due(SCENE, interface(addresses=frozenset({"fe80::1"})))
    assert due(Scene(), SCENE) == Due(machines={BOND: VIDS}, own=frozenset({IN_VLAN}))


def test_what_does_not_run_is_announced_once_it_does() -> None:
    still = interface(running=False, mac=Mac("02:00:00:00:00:02"))
    assert not due(SCENE, still)
    assert due(still, SCENE).own == {IN_VLAN}


NEWS = Due(machines={BOND: VidSet.of([100])}, own=frozenset({IN_VLAN}))


def said(agenda: Agenda, until: float) -> list[tuple[float, Due]]:
    found = []
    while agenda.next is not None and agenda.next <= until:
        now = agenda.next
        told, agenda = agenda.told(now)
        found.append((round(now, 3), told))
    return found


def test_news_are_told_five_times() -> None:
    assert said(Agenda().heard(NEWS, 7.0), 99) == [(7.0 + after, NEWS) for after in TIMES_S]
    assert said(Agenda().once(NEWS, 7.0), 99) == [(7.0, NEWS)]


def test_who_is_late_does_not_make_up_for_it() -> None:
    told, rest = Agenda().heard(NEWS, 0.0).told(0.3)
    assert told == NEWS
    assert rest.next == 0.45
    assert Agenda().heard(NEWS, 0.0).told(5.0)[1].next is None


def test_news_begin_anew_with_what_was_still_to_be_told() -> None:
    _, half = Agenda().heard(NEWS, 0.0).told(0.1)
    both = half.heard(Due(machines={BOND: VidSet.of([200])}), 0.15)
    assert both.told(0.15)[0].machines == {BOND: VidSet.of([100, 200])}
    assert [at for at, one in said(both, 99) if one.machines] == [round(0.15 + after, 3) for after in TIMES_S]
