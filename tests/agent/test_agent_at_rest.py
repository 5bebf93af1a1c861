"""An agent that may not act costs nothing: no tick of CPU in ten seconds, whatever is due and whoever is in the way."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import a_host, manifests
from tests.agent.hands import Running, Site
from tests.agent.patient import agent, lock_of_another, spent

from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.host import Bond, HostState
from windrow.model.steps import Failure, SetBond, SetLink
from windrow.model.values import IfName
from windrow.netlink.errors import KernelError
from windrow.netlink.kernel import Kernel
from windrow.netlink.lock import locked
from windrow.services import process
from windrow.status import contests
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints

NODE = "r-node"
CALM_S = 16.0
"""The kernel announces a new bridge once more some 13 s after it was made: that is news, and looked at."""
REST_S = float(os.environ.get("WINDROW_REST_S", "10"))
WINDOWS, AWAKE = 4, 5
BROKEN, REFUSING = Path("/run/windrow/test-broken"), Path("/run/windrow/test-refusing")
"""While these are there, the agent's kernel cannot be looked at, or refuses what is about the bond."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """With an agent that is at rest: all is right, and its own announcements are heard."""
    observe, run, here = Kernel.observe, Kernel.run, os.getpid()

    def looked(kernel: Kernel) -> Any:
        if os.getpid() != here and BROKEN.exists():
            raise KernelError(errno.EIO, "list the links")
        return observe(kernel)

    def done(kernel: Kernel, steps: Any) -> Failure | None:
        about = [step for step in steps if step.link == "oob-bo"]
        refused = about[0] if about and os.getpid() != here and REFUSING.exists() else None
        return Failure(refused, errno.EIO, "Input/output error") if refused is not None else run(kernel, steps)

    monkeypatch.setattr(Kernel, "observe", looked)
    monkeypatch.setattr(Kernel, "run", done)
    monkeypatch.setattr(contests, "PAUSE_S", 3.0)
    with a_host(NODE) as host:
        host.write(manifests(NODE))
        try:
            yield host
        finally:
            for path in (BROKEN, REFUSING):
                path.unlink(missing_ok=True)


@contextmanager
def at_work(host: Host) -> Iterator[Running]:
    with agent(host) as running:
        host.right(host.cluster(), 60)
        time.sleep(CALM_S)
        yield running


def rests(running: Running, what: str, settle_s: float = 6.0) -> None:
    """A window may have news of the kernel's own in it: whoever spins does so in every window. On a slow machine the
    few wake-ups that remain (`AWAKE`) may each be charged the tick that falls into them; whoever spins has hundreds."""
    time.sleep(settle_s)
    windows = []
    for _ in range(WINDOWS):
        windows.append(spent(running.pid, REST_S))
        used, woken = windows[-1]
        print(f"\n{what}: {used} ticks and {woken} wake-ups in {REST_S:.0f} s")
        if not used or used <= woken <= AWAKE:
            return
    raise AssertionError(f"{what}: (ticks, wake-ups) of each {REST_S:.0f} s: {windows}\n{running.said}")


def fight(host: Host) -> None:
    """Until the agent gives it up for a while, and says so."""
    for _ in range(3):
        told = sum(e.count for e in host.events())
        assert host.harm("oob-bo", SetBond(Bond(miimon=33))) is None
        host.wait(lambda told=told: sum(e.count for e in host.events()) > told)  # type: ignore[misc]
    host.wait(lambda: "Contested" in host.bad())
    assert host.harm("oob-bo", SetBond(Bond(miimon=33))) is None


def undecided(host: Host) -> None:
    """Somebody's change that waits to be confirmed, for longer than the test takes."""
    own = process.found(os.getpid())
    Checkpoints(host.paths).put(
        Checkpoint(
            id="x",
            node=NODE,
            stage=Stage.WAITING,
            made_by="windrow apply",
            made=time.time(),
            boot=boot.identity(host.paths),
            deadline=boot.seconds() + 600,
            allowed_s=600.0,
            want=HostState(),
            links=(IfName("oob-bo"), IfName("oob-br")),
            documents={},
            watchdog=own,
            changer=own,
        )
    )


def decided(host: Host) -> None:
    Checkpoints(host.paths).move("x", Stage.CONFIRMED, since=(Stage.WAITING,), said="the test is over")


def test_another_one_has_the_lock(host: Host) -> None:
    with at_work(host) as running:
        with locked(host.paths.turn, timeout_s=20):
            assert host.harm("oob-bo", SetLink(mtu=1350)) is None
            host.wait(lambda: "waiting: another one" in running.said)
            rests(running, "the lock is held")
        host.right(host.cluster())


def test_a_change_is_not_decided(host: Host) -> None:
    with at_work(host) as running:
        undecided(host)
        assert host.harm("oob-bo", SetLink(mtu=1350)) is None
        rests(running, "a change is not decided", settle_s=16.0)
        assert host.differences(host.cluster()), "it is left to whoever makes the change"
        decided(host)
        host.right(host.cluster(), 60)


def test_rounds_fail(host: Host) -> None:
    with at_work(host) as running:
        BROKEN.touch()
        assert host.harm("oob-bo", SetLink(mtu=1350)) is None
        host.wait(lambda: "next_try_s=16" in running.said, 60)
        rests(running, "rounds fail, and the next try is some seconds away", settle_s=1.0)
        BROKEN.unlink()
        host.right(host.cluster(), 60)


def test_a_contest_is_due_and_another_one_has_the_lock(host: Host) -> None:
    with at_work(host) as running:
        fight(host)
        with locked(host.paths.turn, timeout_s=20):
            assert host.harm("oob-br", SetLink(mtu=1350)) is None
            host.wait(lambda: "waiting: another one" in running.said)
            rests(running, "a contest is due, and the lock is held", settle_s=6.0)


def test_a_retry_is_due_and_another_one_has_the_lock(host: Host) -> None:
    with at_work(host) as running:
        REFUSING.touch()
        assert host.harm("oob-bo", SetBond(Bond(miimon=33))) is None
        host.wait(lambda: "failed" in running.said)
        with locked(host.paths.turn, timeout_s=20):
            host.wait(lambda: "waiting: another one" in running.said)
            rests(running, "a retry is due, and the lock is held", settle_s=6.0)
        REFUSING.unlink()
        host.right(host.cluster(), 90)


def test_once_while_another_one_has_the_lock(host: Host) -> None:
    site = Site(host.world, host.node, "")
    try:
        host.paths.turn.parent.mkdir(parents=True, exist_ok=True)
        with lock_of_another(host.paths.turn):
            running = site.begin("agent", "--once")
            host.wait(lambda: "waiting: another one" in running.said)
            rests(running, "--once, and the lock is held")
            begun = time.monotonic()
        assert running.wait() == 0, running.said
        print(f"it is through {time.monotonic() - begun:.1f} s after the lock was let go")
        assert time.monotonic() - begun < 10, "it heard of it"
        assert not host.differences(host.cluster())
    finally:
        site.close()
