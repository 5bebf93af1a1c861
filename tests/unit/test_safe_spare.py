"""The process that forks watchdogs off for an agent: with real processes, on a kernel in memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_checkpoints import PENDING

from windrow.apps.safe import watchdog
from windrow.apps.safe.spare import Spare
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint
from windrow.model.host import HostState
from windrow.model.processes import Process
from windrow.services import process
from windrow.store import boot
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel

OTHER = Process(pid=1, started=1)


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(paths=Paths(tmp_path), node="n1", kernel=FakeKernel(), open_kernel=FakeKernel, watch=lambda *_: OTHER)


@pytest.fixture
def spare(site: Site) -> Iterator[Spare]:
    spare = Spare(site, lambda *_: OTHER)
    yield spare
    spare.close()


def a_change(site: Site, changer: int) -> Checkpoint:
    return replace(
        PENDING,
        want=HostState(),
        boot=boot.identity(site.paths),
        deadline=boot.seconds() + 600,
        changer=process.found(changer),
        watchdog=None,
    )


def test_it_starts_one_watchdog_after_the_other(site: Site, spare: Spare) -> None:
    found = [spare.start(site, a_change(site, os.getpid())) for _ in range(2)]
    try:
        assert all(map(process.alive, found)) and found[0].pid != found[1].pid
        for one in found:
            fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
            assert int(fields[3]) not in (os.getsid(0), os.getsid(spare.pid)), "a session of its own"
            open_files = {os.readlink(f"/proc/{one.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{one.pid}/fd")}
            assert open_files <= {os.devnull, "anon_inode:[pidfd]"}, "it holds nobody's lock and nobody's socket"
    finally:
        for one in found:
            process.end(one, patience_s=0)


def test_a_spare_that_is_gone_is_done_without(site: Site, spare: Spare) -> None:
    os.kill(spare.pid, signal.SIGKILL)
    assert spare.start(site, a_change(site, os.getpid())) == OTHER
    assert spare.start(site, a_change(site, os.getpid())) == OTHER


def test_what_keeps_a_watchdog_from_starting_is_told(site: Site) -> None:
    def refuses() -> FakeKernel:
        raise PermissionError("no socket for you")

    spare = Spare(replace(site, open_kernel=refuses), lambda *_: OTHER)
    try:
        with pytest.raises(watchdog.WatchdogError, match="PermissionError: no socket for you"):
            spare.start(site, a_change(site, os.getpid()))
    finally:
        spare.close()


def test_it_ends_with_who_forked_it_and_its_watchdog_does_not(site: Site) -> None:
    read, write = os.pipe()
    if (changer := os.fork()) == 0:
        spare = Spare(site)
        found = spare.start(site, a_change(site, os.getppid()))
        os.write(write, f"{spare.pid} {found.pid} {found.started}".encode())
        signal.pause()
    os.close(write)
    try:
        pid, one_pid, started = map(int, os.read(read, 100).split())
        one = Process(pid=one_pid, started=started)
        assert Path(f"/proc/{pid}").exists() and process.alive(one)
    finally:
        os.close(read)
        os.kill(changer, signal.SIGKILL)
        os.waitpid(changer, 0)
    try:
        until(lambda: not (stat := Path(f"/proc/{pid}/stat")).exists() or ") Z " in stat.read_text())
        assert process.alive(one)
    finally:
        process.end(one, patience_s=0)


def test_one_that_hangs_is_given_up_and_its_end_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "READY_S", 0.2)
    monkeypatch.setattr(os, "setsid", lambda: time.sleep(3600))  # where a watchdog begins
    begun = time.monotonic()
    with pytest.raises(watchdog.WatchdogError, match="said nothing"):
        watchdog.start(site, a_change(site, os.getpid()))
    spare = Spare(site, lambda *_: OTHER)
    os.kill(spare.pid, signal.SIGSTOP)
    spare.close()
    assert time.monotonic() - begun < 60
