"""Who leads: by a record that changes, and nobody's clock but one's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.apiobject import ApiObject

from windrow.apps.manager.known import Since
from windrow.apps.manager.lease import LEASE_S, RENEW, Lease
from windrow.kube.errors import KubeError

PLACE = ("ns", "manager")
RENEW_S = LEASE_S * RENEW


class Leases(ApiObject):
    """One Lease."""

    @property
    def spec(self) -> dict[str, Any]:
        assert self.stored is not None
        found: dict[str, Any] = self.stored["spec"]
        return found


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def two() -> tuple[Leases, tuple[Lease, Clock], tuple[Lease, Clock]]:
    """Their clocks have nothing in common."""
    leases, one, other = Leases(), Clock(1000.0), Clock(5.0)
    return leases, (Lease(leases.ask, PLACE, "one", one), one), (Lease(leases.ask, PLACE, "other", other), other)


def test_one_of_two_leads_for_as_long_as_it_renews() -> None:
    async def work() -> None:
        leases, (one, one_clock), (other, other_clock) = two()
        assert sorted(await asyncio.gather(one.turn(), other.turn())) == [False, True]
        assert leases.spec["holderIdentity"] == "one"
        for _ in range(20):
            one_clock.now, other_clock.now = one_clock.now + 5, other_clock.now + 5
            assert await one.turn() and not await other.turn()
            assert one.left_s > 0 >= other.left_s
        assert leases.spec["leaseTransitions"] == 0

    asyncio.run(work())


def test_a_holder_that_is_silent_is_followed_after_the_records_time() -> None:
    async def work() -> None:
        leases, (one, one_clock), (other, other_clock) = two()
        assert await one.turn() and not await other.turn()
        other_clock.now += LEASE_S - 0.1
        assert not await other.turn()
        other_clock.now += 0.2
        assert await other.turn() and leases.spec["holderIdentity"] == "other"
        assert leases.spec["leaseTransitions"] == 1
        one_clock.now += RENEW_S + 0.1
        assert one.left_s <= 0, "by its own clock it had stopped before"
        assert not await one.turn()

    asyncio.run(work())


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", "nonsense"])
def test_what_a_record_says_of_the_time_means_nothing(renewed: str) -> None:
    async def work() -> None:
        leases, _, (other, other_clock) = two()
        spec = {"holderIdentity": "one", "renewTime": renewed, "leaseDurationSeconds": 15}
        leases.stored, leases.version = {"metadata": {"name": "manager", "resourceVersion": "1"}, "spec": spec}, 1
        assert not await other.turn()
        other_clock.now += 14.9
        assert not await other.turn()
        other_clock.now += 0.2
        assert await other.turn()

    asyncio.run(work())


def test_without_an_answer_it_is_ours_until_others_may_take_it() -> None:
    async def work() -> None:
        leases, (one, clock), _ = two()
        assert await one.turn()
        leases.silent, clock.now = True, clock.now + RENEW_S - 0.1
        with pytest.raises(KubeError):
            await one.turn()
        assert one.left_s > 0
        clock.now += 0.2
        assert one.left_s <= 0
        assert RENEW_S < LEASE_S

    asyncio.run(work())


def test_an_answer_that_took_long_counts_from_the_question_on() -> None:
    async def work() -> None:
        leases, (_one, clock), _ = two()
        quick = leases.ask

        async def slow(*words: Any) -> dict[str, Any]:
            clock.now += 4
            return await quick(*words)

        slowly = Lease(slow, PLACE, "one", clock)
        assert await slowly.turn() and slowly.left_s == RENEW_S - 8

    asyncio.run(work())


def test_who_ends_lets_go_at_once() -> None:
    async def work() -> None:
        leases, (one, _), (other, _) = two()
        assert await one.turn() and not await other.turn()
        await one.release()
        assert await other.turn() and one.left_s <= 0
        await one.release()
        assert leases.spec["holderIdentity"] == "other", "what is another one's is not let go"

    asyncio.run(work())


def test_since_when_by_our_own_clock() -> None:
    clock = Clock(0.0)
    since = Since(30.0, clock)
    assert since.long({"n1"}) == frozenset() and since.due_s == 30.0
    clock.now = 31.0
    assert since.long({"n1", "n2"}) == {"n1"} and since.due_s == 30.0
    assert since.long({"n2"}) == frozenset()
    clock.now = 61.5
    assert since.due_s == 0.0, "it is late, and not forgotten"
    clock.now = 62.0
    assert since.long({"n1", "n2"}) == {"n2"}, "what came back begins anew"
