"""The manager's lease: renewed in time, whatever else the manager does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.apiobject import ApiObject

from windrow.apps.manager import turns
from windrow.apps.manager.lease import Lease, Leases
from windrow.apps.manager.turns import Turns
from windrow.kube.access import Access

SECONDS = 1


class Server(ApiObject):
    """One Lease."""

    async def close(self) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(turns, "Api", lambda _: found)
    return found


@pytest.fixture
def told() -> list[object]:
    """Whether it is our turn, and why that cannot be said."""
    return []


@pytest.fixture
def ours(server: Server, told: list[object]) -> Iterator[Turns]:
    leases = Leases([Lease(server.ask, ("ns", "manager"), "one", seconds=SECONDS)])
    found = Turns(Access(), lambda _: leases, told.append, lambda why: told.append(why) if why else None)
    found.start()
    yield found
    found.close()


def until(what: Any) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_work_without_a_pause_costs_no_lease(ours: Turns, told: list[object]) -> None:
    until(lambda: ours.ours)
    end = time.monotonic() + 2 * SECONDS
    while time.monotonic() < end:
        sum(range(100_000))
        assert ours.ours
    assert told == [True]


def test_it_is_let_go_at_the_end(ours: Turns, server: Server) -> None:
    until(lambda: ours.ours)
    ours.close()
    assert server.stored is not None and server.stored["spec"]["holderIdentity"] == "" and not ours.ours


def test_a_silent_server_ends_our_turn_and_is_asked_again(ours: Turns, server: Server, told: list[object]) -> None:
    until(lambda: ours.ours)
    server.silent = True
    until(lambda: False in told)
    assert not ours.ours and "the API server does not answer" in told
    server.silent = False
    until(lambda: told[-1] is True)
    assert ours.ours


def test_an_answer_that_is_no_lease_ends_our_turn_and_not_the_thread(
    ours: Turns, server: Server, told: list[object]
) -> None:
    """Whatever answers in an API server's place: the manager went on, and never led again."""
    until(lambda: ours.ours)
    server.stored, record = {}, server.stored
    until(lambda: False in told)
    assert not ours.ours and any("Windrow itself failed" in str(one) for one in told)
    server.stored = record
    until(lambda: told[-1] is True)
    assert ours.ours
