"""Whoever comes and goes, in whichever order: no address twice, none that is reserved, none that changes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.compile.pools import allocate
from windrow.model.meta import Meta
from windrow.model.pools import Applicant, IPPool, Reservation
from windrow.model.values import Mac, Ref

POOL = IPPool(
    meta=Meta(name="p", namespace="default"),
    network="default/n",
    cidr="10.1.0.0/28",
    server="10.1.0.2",
    router="10.1.0.1",
)
WITHHELD = {"10.1.0.1": "RESERVED", "10.1.0.2": "RESERVED", "10.1.0.5": "EXCLUDED"}
ROOM = 11
MACS = [Mac(f"52:54:00:00:00:{n:02x}") for n in range(16)]


def applicants() -> st.SearchStrategy[dict[Mac, Applicant]]:
    one = st.builds(
        Applicant,
        mac=st.sampled_from(MACS),
        owner=st.builds(Ref, st.just("VM"), st.sampled_from("abcd")),
        address=st.sampled_from(["", "", "", *(f"10.1.0.{n}" for n in range(16)), "10.2.0.1"]),
    )
    return st.lists(one, max_size=14).map(lambda found: {c.mac: c for c in found})


def record(found: tuple[Reservation, ...]) -> dict[Mac, str]:
    return {r.mac: r.address for r in found}


@given(applicants(), st.dictionaries(st.sampled_from(MACS), st.sampled_from([f"10.1.0.{n}" for n in range(16)])))
def test_never_twice_never_reserved_and_nobody_is_forgotten(
    asking: dict[Mac, Applicant], before: dict[Mac, str]
) -> None:
    """Also with a record in which an address stands twice, or one that nobody may have."""
    found, waiting = allocate(POOL, asking.values(), before, WITHHELD)
    addresses = [r.address for r in found]
    assert len(set(addresses)) == len(addresses)
    assert not set(addresses) & {*WITHHELD, "10.1.0.0", "10.1.0.15", "10.2.0.1"}
    assert sorted([r.mac for r in found] + [w.applicant.mac for w in waiting]) == sorted(asking)
    for r in found:
        assert asking[r.mac].address in ("", r.address)
    if any(not w.applicant.address for w in waiting):
        assert len(found) == ROOM, "somebody got nothing, and something was left"


@given(applicants(), st.randoms(use_true_random=False))
def test_the_same_question_has_the_same_answer(asking: dict[Mac, Applicant], order: object) -> None:
    shuffled = list(asking.values())
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert allocate(POOL, shuffled, {}, WITHHELD) == allocate(POOL, asking.values(), {}, WITHHELD)


@settings(max_examples=200)
@given(st.lists(applicants(), min_size=2, max_size=6))
def test_who_stays_keeps_the_address(times: list[dict[Mac, Applicant]]) -> None:
    """Through any history; who asks for another address moves, if that one is free."""
    had: dict[Mac, str] = {}
    asked: dict[Mac, Applicant] = {}
    for asking in times:
        found, _ = allocate(POOL, asking.values(), had, WITHHELD)
        now = record(found)
        for mac, address in had.items():
            applicant = asking.get(mac)
            if applicant is not None and applicant.address in ("", address):
                assert now.get(mac) == address, (applicant, asked.get(mac))
        again, _ = allocate(POOL, asking.values(), now, WITHHELD)
        assert again == found, "a second look at the same changes nothing"
        had, asked = now, asking


@given(applicants())
def test_the_lowest_is_given_first(asking: dict[Mac, Applicant]) -> None:
    free = [replace(c, address="") for c in asking.values()]
    found, _ = allocate(POOL, free, {}, WITHHELD)
    lowest = [f"10.1.0.{n}" for n in range(1, 15) if f"10.1.0.{n}" not in WITHHELD]
    assert [r.address for r in found] == lowest[: len(found)]
