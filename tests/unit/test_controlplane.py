"""A control plane, as far as it goes without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from windrow.services import process
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


class Plane(controlplane.ControlPlane):
    """Of shell scripts: the server says each time that it begins, and is ready when it has begun so often."""

    ready_at = 1

    def starts(self) -> int:
        said = self._directory / "starts"
        return len(said.read_text().split()) if said.exists() else 0

    def _etcd_is_there(self) -> bool:
        return True

    def _server_is_ready(self) -> bool:
        return self.starts() >= self.ready_at


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    scripts = {
        "etcd": "exec sleep 1000\n",
        "kube-apiserver": (
            f"echo begun >>{tmp_path}/starts\n[ -e {tmp_path}/gives-up ] || exec sleep 1000\necho fatal\nexit 1\n"
        ),
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / name).chmod(0o755)
    found = Plane(tmp_path, print, programs={name: tmp_path / name for name in scripts})
    yield found
    found.close()


def test_a_server_that_ended_by_itself_is_started_again(plane: Plane) -> None:
    """`windrow lab api-server start` took it for one that runs, and said that all is well."""
    plane.start()
    assert plane._server is not None
    process.end(plane._server.process, patience_s=0.0)
    plane.ready_at = 2
    plane.start()
    assert plane.starts() == 2


def test_a_server_that_gives_up_before_it_is_ready_is_started_again(plane: Plane, tmp_path: Path) -> None:
    """As one does that gets no processor time: a hook of its own has a minute."""
    (tmp_path / "gives-up").touch()
    plane.ready_at = 2
    plane.start()
    assert plane.starts() == 2


def test_a_server_that_gives_up_each_time_is_an_error_in_its_last_words(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "gives-up").touch()
    plane.ready_at = 100
    with pytest.raises(ServiceError, match="fatal"):
        plane.start()
    assert plane.starts() == controlplane.STARTS
