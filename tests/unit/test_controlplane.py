"""A control plane, as far as it goes without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from windrow.services.errors import ServiceError
from windrow.services.kubernetes import controlplane


class Alive:
    def died(self) -> None:
        return None


class Clock:
    """Of a host on which each answer takes a second."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def answer(self, *, there: bool) -> bool:
        self.now += 1.0
        return there


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(controlplane.time, "monotonic", lambda: found.now)
    monkeypatch.setattr(controlplane.time, "sleep", found.sleep)
    return found


def test_whoever_waits_for_a_program_asks_at_most_half_of_the_time(tmp_path: Path, clock: Clock) -> None:
    """User-Mode Linux has one processor: a handshake at each twentieth of a second would be all that it does."""
    plane = controlplane.ControlPlane(tmp_path, print)
    there = lambda: clock.answer(there=len(clock.slept) == 3)  # noqa: E731
    plane._wait(Alive(), "kube-apiserver", there, 100.0)  # type: ignore[arg-type]
    assert clock.slept == [1.0, 1.0, 1.0]


def test_waiting_has_an_end(tmp_path: Path, clock: Clock) -> None:
    plane = controlplane.ControlPlane(tmp_path, print)
    with pytest.raises(ServiceError, match="not ready"):
        plane._wait(Alive(), "kube-apiserver", lambda: clock.answer(there=False), 4.5)  # type: ignore[arg-type]
    assert clock.now == 5.0


@pytest.mark.parametrize("accounts", [False, True])
def test_pods_have_accounts_where_somebody_makes_them(tmp_path: Path, accounts: bool) -> None:
    programs = {"kube-apiserver": tmp_path}
    plane = controlplane.ControlPlane(tmp_path, print, programs=programs, accounts=accounts)
    assert ("--disable-admission-plugins=ServiceAccount" in plane._server_command()) is not accounts
