"""What wakes the agent, and what must not: deadlines, parts that fail, waits that another one ends; and its face."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.apps.agent.face import Face
from windrow.apps.agent.http import listen
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.agent.loop import ALONE_S, MANY_S, QUIET_S, Kept, LockNews, Loop, Pulse, Signals
from windrow.apps.agent.routes import Routes
from windrow.apps.agent.snapshot import Snapshot
from windrow.apps.engine import execute, look, plan_node
from windrow.apps.site import Site
from windrow.model.agentstatus import AgentStatus
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.cluster import Cluster
from windrow.model.host import Bond, HostState
from windrow.model.objects import AnyObject
from windrow.model.processes import Process
from windrow.model.steps import Action, AwaitCarrier, Failure, SetBond, SetLink, Step
from windrow.model.values import IfName
from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.services import process
from windrow.status.schedule import Schedule
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.directory import Store
from windrow.store.inotify import Watch
from windrow.store.paths import Paths
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

# -- the schedule ----------------------------------------------------------------------------------

_times = st.none() | st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(st.floats(0, 1e3), st.dictionaries(st.sampled_from("abc"), _times)), max_size=20))
def test_after_a_round_every_deadline_lies_in_the_future(rounds: list[tuple[float, dict[str, float | None]]]) -> None:
    schedule, now = Schedule(), 0.0
    for passed, wanted in rounds:
        now += passed
        schedule = schedule.after(now, wanted)
        assert all(at > now for at in schedule.due.values())
        assert schedule.due.keys() == {what for what, at in wanted.items() if at is not None}
        assert all(schedule.due[what] == at for what, at in wanted.items() if at is not None and at > now)
        assert not schedule.passed(now)


def test_what_cannot_be_done_is_due_again_after_pauses_that_grow() -> None:
    schedule, now, pauses = Schedule(), 0.0, []
    for _ in range(6):
        schedule = schedule.after(now, {"retry": -1.0})
        assert schedule.next is not None
        pauses.append(schedule.next - now)
        now = schedule.next
    assert pauses == [15.0, 30.0, 60.0, 120.0, 240.0, 240.0]
    assert schedule.after(now, {"retry": now + 1.0}).next == now + 1.0, "it could be done: from the beginning again"


# -- an agent that may not act ---------------------------------------------------------------------

OOB = (builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1", "eth3"]))


class Wake:
    """A pipe: whoever writes to it has news."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def fds(self) -> Mapping[int, int]:
        return {self.read: 1}

    def ready(self, fd: int) -> bool:
        os.read(self.read, 10)
        return True

    def deadline(self) -> float | None:
        return None

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class Counting(FakeKernel):
    looks = 0
    broken = False

    def observe(self) -> Any:
        self.looks += 1
        if self.broken:
            raise KernelError(5, "list the links")
        return super().observe()


@dataclass
class Host:
    root: Path
    kernel: Counting = field(default_factory=Counting)

    def __post_init__(self) -> None:
        self.paths = Paths(self.root)
        for name in ("eth0", "eth1", "eth2", "eth3", "eth4"):
            self.kernel.add_nic(name, up=True)
        self.put(*OOB)
        site = Site(
            paths=self.paths,
            node="n1",
            kernel=self.kernel,
            watch=lambda _site, _checkpoint: Process(pid=2**22 - 1, started=1),
            open_kernel=lambda: self.kernel,
        )
        self.log = io.StringIO()
        self.keeper = Keeper(site, Log(self.log))
        self.wake = Wake()
        self.locks = LockNews(self.paths, lambda: self.keeper.waits_for_lock)
        self.keeper.hears_locks = True
        self.loop = self.with_parts()

    def put(self, *objects: AnyObject) -> None:
        """Long ago, so that nobody takes them for files that are still being written."""
        Store(self.root).put(objects)
        for path in self.paths.manifests.glob("*"):
            os.utime(path, (1, path.stat().st_size))

    def with_parts(self, *parts: Kept, **more: Any) -> Loop:
        return Loop(self.keeper, log=Log(self.log), mono=time.monotonic, parts=[self.wake, self.locks, *parts], **more)

    def tell(self) -> None:
        os.write(self.wake.write, b"x")

    def harm(self, action: Action) -> None:
        assert self.kernel.run([builders.step("oob-bo", action)]) is None

    @property
    def miimon(self) -> object:
        spec = self.kernel.observe().state.links[IfName("oob-bo")].spec
        assert isinstance(spec, Bond)
        return spec.miimon

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.loop.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.loop.stop()
            self.tell()
            thread.join(30)
            assert not thread.is_alive()

    def fail_and_fight(self) -> None:
        """A retry and a contest are due, in the past."""
        self.keeper.round(reread=True)
        for _ in range(4):
            self.harm(SetBond(Bond(miimon=50)))
            self.keeper.round()
        assert self.keeper.status.contests, self.log.getvalue()


def _checkpoint(host: Host, **more: Any) -> Checkpoint:
    own = process.found(os.getpid())
    found = Checkpoint(
        id="x",
        node="n1",
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
    return replace(found, **more)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def spent(seconds: float) -> float:
    """CPU time of this process meanwhile, in seconds."""
    before = time.process_time()
    time.sleep(seconds)
    return time.process_time() - before


def rest(host: Host, seconds: float = 3.0) -> tuple[int, float]:
    """The looks at the network, and the CPU time, while nothing happens."""
    time.sleep(1.0)
    looks = host.kernel.looks
    used = spent(seconds)
    return host.kernel.looks - looks, used


TICK_S = 0.01
"""A tick of the clock that the kernel counts CPU time with (CLK_TCK is 100)."""


def test_a_repair_takes_two_looks_and_a_quiet_round_one(host: Host) -> None:
    host.keeper.round(reread=True)
    for harm, looks in ((True, 2), (False, 1)):
        if harm:
            host.harm(SetBond(Bond(miimon=50)))
        before = host.kernel.looks
        host.keeper.round()
        assert host.kernel.looks - before == looks
    assert host.miimon == 100


@pytest.mark.parametrize("which", ["turn", "lock"])
def test_it_sleeps_while_another_one_has_the_lock(host: Host, which: str) -> None:
    host.fail_and_fight()
    host.harm(SetLink(up=False))
    with locked(getattr(host.paths, which), timeout_s=0), host.running():
        looks, used = rest(host)
    assert (looks, used < TICK_S) == (0, True), used
    assert host.keeper.last is not None


def test_it_acts_as_soon_as_the_lock_is_free(host: Host) -> None:
    host.keeper.round(reread=True)
    with host.running():
        with locked(host.paths.turn, timeout_s=5):
            host.harm(SetLink(up=False))
            host.tell()
            time.sleep(3.0)  # its own tries lie far apart by now
            assert not host.kernel.machine.get("oob-bo").up
        end = time.monotonic() + 1
        while not host.kernel.machine.get("oob-bo").up:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_it_sleeps_while_a_change_is_not_decided(host: Host) -> None:
    host.fail_and_fight()
    host.harm(SetLink(up=False))
    Checkpoints(host.paths).put(_checkpoint(host))
    with host.running():
        looks, used = rest(host)
    assert (looks, used < TICK_S) == (0, True), used


def test_it_sleeps_while_rounds_fail(host: Host) -> None:
    host.fail_and_fight()
    host.kernel.broken = True
    with host.running():
        looks, used = rest(host, 2.0)
    assert looks <= 2 and used < 3 * TICK_S, (looks, used)
    assert "list the links" in host.log.getvalue()


def test_once_does_not_spin_either(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from windrow.apps.agent import main

    monkeypatch.setattr(main, "ONCE_S", 2.0)

    @contextmanager
    def opened() -> Iterator[FakeKernel]:
        yield host.kernel

    options = main.Options(paths=host.paths, node="n1", open_kernel=opened, log=Log(host.log))
    with locked(host.paths.turn, timeout_s=0):
        used = time.process_time()
        assert not main.once(options)
    assert time.process_time() - used < 0.3 and host.kernel.looks < 6


# -- a plan that waits -----------------------------------------------------------------------------

TWO = (*OOB, builders.cluster_network("lan"), builders.vlan_config("lan", ["eth2", "eth4"], name="lan"))


class Patient(Counting):
    """Waits for carrier as long as it is told to, as `netlink.execute` does: by one pause after the other."""

    waits_s = 0.0
    waiting = False

    def __init__(self) -> None:
        super().__init__()
        self.pause: Callable[[float], None] = time.sleep

    def run(self, steps: Any) -> Failure | None:
        if self.waits_s and any(isinstance(one.action, AwaitCarrier) for one in steps):
            self.waiting, end = True, time.monotonic() + self.waits_s
            while time.monotonic() < end:
                self.pause(0.05)
            self.waiting = False
        return super().run(steps)


def test_what_a_plan_is_not_about_is_repaired_while_it_waits(tmp_path: Path) -> None:
    """And the face answers all the time; what came meanwhile is looked at once more afterwards."""
    host = Host(tmp_path, Patient())
    kernel = host.kernel
    assert isinstance(kernel, Patient)
    host.put(*TWO)
    kernel.pause = host.loop.meanwhile
    face = Face([listen(host.paths.agent_socket)], log=Log(host.log), pulse=lambda: host.loop.pulse)
    with host.running():
        _until(lambda: "lan-bo" in kernel.machine.devices and kernel.machine.get("lan-bo").up)
        time.sleep(0.3)
        kernel.waits_s = 3.0
        host.put(*TWO[:3], builders.vlan_config("lan", ["eth2", "eth4"], "balance-xor", name="lan"))
        host.loop.keeper._stored.forget()  # as the news of a manifest does
        host.tell()
        _until(lambda: kernel.waiting)
        host.harm(SetLink(up=False))
        host.tell()
        begun = time.monotonic()
        _until(lambda: bool(kernel.machine.get("oob-bo").up))
        assert kernel.waiting and time.monotonic() - begun < 1.0, "repaired in its usual time"
        assert "lan-bn" in kernel.machine.devices, "what the plan made on its way, and waits for, is no drift"
        assert get(host.paths.agent_socket)[0] < 0.5
        _until(lambda: not kernel.waiting)
        kernel.waits_s = 0.0
        _until(lambda: host.keeper.well)
    face.close()
    assert "balance-xor" in str(kernel), host.log.getvalue()


def test_a_unit_that_waits_does_not_hold_up_the_others(tmp_path: Path) -> None:
    host = Host(tmp_path, Patient())
    host.put(*TWO)
    host.keeper.round(reread=True)
    nics = {"lan": ["eth2", "eth4"], "oob": ["eth1", "eth3"]}
    changed = [builders.vlan_config(cn, those, "balance-xor", name=cn) for cn, those in nics.items()]
    host.put(TWO[0], TWO[2], *changed, builders.nad("v7", "oob", 7))
    sight = look(host.kernel, "n1")
    plan = plan_node(Cluster.of(Store(host.root).load().objects), sight).plan
    assert len([unit for unit in plan.units if any(isinstance(s.action, AwaitCarrier) for s in unit.steps)]) == 2
    order: list[Step] = []
    assert execute(plan, host.kernel, lambda step, _: order.append(step)).ok
    first = next(n for n, step in enumerate(order) if isinstance(step.action, AwaitCarrier))
    assert {s.link for s in order[:first]} & {"lan-bn"} and {s.link for s in order[:first]} & {"oob-bn"}


# -- parts that fail -------------------------------------------------------------------------------


class Ends:
    """A signal's number in a pipe: the loop is told to stop."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_NONBLOCK)
        self.loop: Loop

    def part(self) -> Signals:
        return Signals(self.read, lambda _: self.loop.stop() or False)  # type: ignore[func-returns-value]


@pytest.mark.parametrize("which", ["boot", "round"])
def test_it_ends_where_it_is_told_to_while_a_plan_waits(which: str) -> None:
    """Nothing else is due, and no other news will come."""
    ends = Ends()

    class Waits:
        last: Any = None

        def deadline(self) -> None:
            return None

        def boot(self) -> None:
            if which == "boot":
                self._wait()

        def round(self, **_: object) -> None:
            if which == "round":
                self._wait()

        def _wait(self) -> None:
            os.write(ends.write, b"\x0f")
            ends.loop.meanwhile(1.0)

    ends.loop = Loop(Waits(), log=Log(io.StringIO()), mono=time.monotonic, parts=[ends.part()])  # type: ignore[arg-type]
    thread = threading.Thread(target=ends.loop.run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


class Rests:
    """A keeper with nothing to do."""

    last: Any = None

    def deadline(self) -> None:
        return None

    def boot(self) -> None:
        pass

    def round(self, **_: object) -> None:
        pass


class AtOnce(Wake):
    """Is due as soon as its own clock says so, which is read anew each time."""

    asked = 0

    def ready(self, fd: int) -> bool:
        self.asked += fd == -1
        return False if fd == -1 else super().ready(fd)

    def deadline(self) -> float | None:
        return None if self.asked else time.monotonic()


@contextmanager
def looping(*parts: Any) -> Iterator[None]:
    wake = Wake()
    loop = Loop(Rests(), log=Log(io.StringIO()), mono=time.monotonic, parts=[*parts, wake])  # type: ignore[arg-type]
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        os.write(wake.write, b"x")
        thread.join(20)
        wake.close()


def test_a_part_that_is_due_now_by_a_clock_that_goes_on_has_its_turn() -> None:
    """A lease that has run out, by a clock that `deadline` reads after the loop has read it."""
    part = AtOnce()
    with looping(part):
        _until(lambda: part.asked == 1)
    part.close()


def test_a_vlan_that_is_due_is_asked_by_the_agents_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    monkeypatch.setattr(Routes, "_begin", lambda *_: begun.set())
    part = Routes("n1", tmp_path / "asked", lambda: None, time.monotonic, time.time)
    part._due = {("data", 100): time.monotonic() + 0.05}
    with looping(Kept("the subnets of VLANs", lambda: part, Log(io.StringIO()), time.monotonic)):
        assert begun.wait(5)


class Fragile:
    """A pipe; it fails when it is told to."""

    made: ClassVar[list[Fragile]] = []

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.failing = ""
        self.closed = False
        Fragile.made.append(self)

    def fds(self) -> Mapping[int, int]:
        self._maybe("fds")
        return {self.read: 1}

    def ready(self, fd: int) -> bool:
        if fd >= 0:
            os.read(self.read, 10)
        self._maybe("ready")
        return True

    def deadline(self) -> float | None:
        self._maybe("deadline")
        return 0.0 if self.failing == "past" else None

    def after(self) -> None:
        self._maybe("after")

    def close(self) -> None:
        self.closed = True
        os.close(self.read)
        os.close(self.write)

    def _maybe(self, what: str) -> None:
        if self.failing == what:
            raise RuntimeError(f"{what} went wrong")


@pytest.mark.parametrize("where", ["fds", "ready", "deadline", "after"])
def test_a_part_that_fails_is_closed_and_opened_again(host: Host, where: str) -> None:
    Fragile.made.clear()
    part = Kept("the part", Fragile, Log(host.log), time.monotonic)
    host.loop = host.with_parts(part, after=lambda _k, _r: part.use(lambda p: p.after()))  # type: ignore[attr-defined]
    with host.running():
        time.sleep(0.3)
        (first,) = Fragile.made
        first.failing = where
        os.write(first.write, b"x")
        end = time.monotonic() + 10
        while len(Fragile.made) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        looks = host.kernel.looks
        time.sleep(0.3)
    assert first.closed and len(Fragile.made) == 2, host.log.getvalue()
    assert f"the part: RuntimeError: {where} went wrong" in host.log.getvalue()
    assert "the part: at work again" in host.log.getvalue()
    assert host.kernel.looks > looks or host.kernel.looks > 1, "what it missed is looked for"
    part.close()


def test_a_deadline_that_a_part_leaves_in_the_past_does_not_spin(host: Host) -> None:
    part = Kept("the part", Fragile, Log(host.log), time.monotonic)
    host.loop = host.with_parts(part)
    Fragile.made[-1].failing = "past"
    with host.running():
        looks, _ = rest(host, 2.0)
    assert looks <= 3
    part.close()


# -- files that are whole --------------------------------------------------------------------------


def test_a_file_that_was_closed_or_moved_to_its_place_counts_at_once(host: Host) -> None:
    host.keeper.round(reread=True)
    watch = Watch([host.paths.manifests])
    (path,) = host.paths.manifests.glob("vlanconfig*")
    text = path.read_text() + "    bondOptions: {mode: active-backup, miimon: 70}\n"
    path.write_text(text)
    assert watch.read()
    complete = watch.take_complete()
    assert complete == {path} and watch.take_complete() == frozenset()
    host.keeper.heard(complete)
    host.keeper.round(reread=True)
    assert host.miimon == 70
    temp = path.with_name(".new")
    temp.write_text(text.replace("miimon: 70", "miimon: 80"))
    temp.replace(path)
    assert watch.read() and watch.take_complete() == {path}
    watch.close()


def test_one_file_that_is_complete_is_acted_on_at_once_and_what_follows_closely_waits(host: Host) -> None:
    now = [100.0]
    loop = Loop(host.keeper, log=Log(host.log), mono=lambda: now[0])
    loop._due = None
    loop.heard_of_manifests(frozenset({Path("a.yaml")}))
    assert loop._due == 100.0 + ALONE_S
    now[0] += 0.5 * ALONE_S
    loop.heard_of_manifests(frozenset({Path("b.yaml")}))
    assert loop._due == now[0] + QUIET_S
    for _ in range(200):
        now[0] += 0.01
        loop.heard_of_manifests(frozenset({Path("c.yaml")}))
    assert loop._due == 100.0 + MANY_S, "a burst without end is not waited for"


def test_what_is_missing_may_be_in_the_next_file_all_the_same(host: Host) -> None:
    """An object moves from one file to another, by somebody who closes the first one before the second."""
    host.keeper.round(reread=True)
    (path,) = host.paths.manifests.glob("vlanconfig*")
    moved = path.read_text()
    path.write_text("# moved\n")
    host.keeper.heard(frozenset({path}))
    host.keeper.round(reread=True)
    assert "oob-bo" in host.kernel.machine.devices
    other = host.paths.manifests / "other.yaml"
    other.write_text(moved)
    host.keeper.heard(frozenset({other}))
    host.keeper.round(reread=True)
    assert "oob-bo" in host.kernel.machine.devices


# -- the face --------------------------------------------------------------------------------------

WELL = Snapshot(status=AgentStatus(node="n1", pid=1, ticks=1, version="0", started=1.0))


def get(path: Path, what: str = "/healthz?verbose") -> tuple[float, dict[str, Any]]:
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(5)
        one.connect(str(path))
        one.sendall(f"GET {what} HTTP/1.0\r\n\r\n".encode())
        data = b""
        while part := one.recv(65536):
            data += part
    return time.monotonic() - begun, json.loads(data.partition(b"\r\n\r\n")[2])


def test_the_face_answers_whatever_the_worker_does(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    face = Face([listen(path)], log=Log(io.StringIO()))
    try:
        took, said = get(path)
        assert said["ok"] is False and took < 1.0, "before the first round"
        face.publish(replace(WELL, made=time.monotonic() - 20.0))
        took, said = get(path)  # this thread, which is the worker, does nothing at all meanwhile
        assert 20.0 <= said["ageSeconds"] < 25.0 and took < 1.0
        with face.still():
            assert threading.active_count() >= 2
    finally:
        face.close()
    assert not path.exists()


def test_systemd_hears_of_the_agent_while_its_worker_is_alive_and_not_longer(tmp_path: Path) -> None:
    said: list[str] = []
    pulse = [Pulse()]
    face = Face(
        [listen(tmp_path / "s")], log=Log(io.StringIO()), pulse=lambda: pulse[0], notify=said.append, watchdog_s=0.1
    )
    try:
        time.sleep(0.2)
        assert said == [], "not before it has begun"
        face.begun()
        _until(lambda: said.count("WATCHDOG=1") >= 2)
        assert said[0] == "READY=1"
        pulse[0] = Pulse(time.monotonic() - 1.0)  # it should have been heard of by now: it hangs
        time.sleep(0.2)
        count = len(said)
        time.sleep(0.3)
        assert len(said) == count
        pulse[0] = Pulse(time.monotonic() + 60.0)
        _until(lambda: len(said) > count)
    finally:
        face.close()


def _until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
