"""Nothing leaks: hundreds of calls, sixteen at a time, and a kill -9 at a random moment in every tenth.

Then what is left over is collected, as a runtime does (GC) and as an administrator does (`windrow cni gc`), and nothing
is left; what was to stay has stayed. Meanwhile somebody looks who holds the host's lock, and for how long.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from windrow.netlink import netns
from windrow.netlink.lock import locked
from windrow.port.errors import TRY_AGAIN
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

AT_ONCE = 16
KILL_EVERY = 10
CALL_S = 60.0
LOCK_MAX_S = 1.0
LOOK_S = 0.01
KEPT = 3

FORKER = """\
import gc, json, os, sys
sys.path += json.loads(sys.argv[1])
from windrow.apps.cni import addresses, bridge, dispatch, firewall
from windrow.apps.cni.host import Host
from windrow.services import firewall as programs, plugins
gc.disable()
gc.freeze()
def answer(call):
    return dispatch.answer(call["env"], call["config"].encode(), Host.of_environment(call["env"])).exit
for line in sys.stdin:
    call = json.loads(line)
    if not call["victim"]:
        print(answer(call), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        os._exit(answer(call))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""The plugin's process without the start of Python, which takes most of the time and touches nothing: so that the
moment of a kill is one of work. Calls that are not killed follow each other in one process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    command: str
    container: str
    sandbox: str
    config: bytes


Caller = Callable[[Call, float | None], int]
"""Make a call, and kill what does it after so many seconds. 0: done; KILLED: it was, so nobody knows; else an error."""
KILLED = -9


@dataclass
class Runtime:
    """Sixteen threads that attach and detach containers; some of their calls are killed."""

    node: Any
    random: random.Random
    call: Caller
    failures: list[str] = field(default_factory=list)
    killed: int = 0
    longest: float = 0.0
    usual: float = 0.05
    """What a call takes, as a running mean: a kill comes before that, so mostly in the middle of one."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    namespaces: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    done: list[int] = field(default_factory=list)

    def run(self, count: int, configs: list[bytes]) -> None:
        """Namespaces are made before and end after: the kernel's part of that takes longer than all the calls."""
        work: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(count):
            work.put(number)
            self.namespaces.put(netns.new())

        def thread() -> None:
            with suppress(queue.Empty):
                while True:
                    number = work.get_nowait()
                    self.attachment(number, mixed(number, configs))

        threads = [threading.Thread(target=thread) for _ in range(AT_ONCE)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        for fd in self.done:
            os.close(fd)

    def attachment(self, number: int, config: bytes) -> None:
        """ADD and DEL. Where one is killed, the runtime comes back, or it does not; with its namespace, or without."""
        fd = self.namespaces.get_nowait()
        sandbox = f"/proc/{os.getpid()}/fd/{fd}"
        victim = self.random.choice(("ADD", "DEL")) if number % KILL_EVERY == KILL_EVERY - 1 else ""
        comes_back = self.random.random() < 0.5
        for command in ("ADD", "DEL"):
            call = Call(command=command, container=f"c{number}", sandbox=sandbox, config=config)
            code = self.one(call, kill=command == victim)
            if code == KILLED and not comes_back:
                break
        if code == KILLED and self.random.random() < 0.5:
            self.node.pods.append(fd)  # the namespace stays, so only the runtime's GC can tell
        else:
            self.done.append(fd)

    def one(self, call: Call, *, kill: bool) -> int:
        after = self.random.random() * self.usual * 0.7 if kill else None
        began = time.monotonic()
        code = self.call(call, after)
        with self.lock:
            if code == KILLED:
                self.killed += 1
            elif code:
                self.failures.append(f"{call.command} {call.container}: {code}")
            elif after is None:
                spent = time.monotonic() - began
                self.longest = max(self.longest, spent)
                self.usual += (spent - self.usual) / 10
        return code


def mixed(number: int, configs: list[bytes]) -> bytes:
    """Mostly the cheap one: what runs other programs takes its time in the lab kernel."""
    plain, addressed, spoof = configs
    return spoof if number % 15 == 7 else addressed if number % 5 == 4 else plain


# Ways to call -------------------------------------------------------------------------------------


def by_process(node: Any) -> Caller:
    """The plugin as it is installed."""

    def call(call: Call, kill_after: float | None) -> int:
        process = node.start(call.command, call.sandbox, call.config, cid=call.container)
        if kill_after is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(kill_after)
            process.kill()
        process.communicate(timeout=CALL_S)
        return int(process.returncode)

    return call


@contextmanager
def by_fork(node: Any) -> Iterator[Caller]:
    """Its work alone, each in a process of its own."""
    idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
    argv = [sys.executable, "-I", "-S", "-c", FORKER, json.dumps(sys.path)]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    forkers = [netns.opened_in(node.fd, start) for _ in range(AT_ONCE)]
    for one in forkers:
        idle.put(one)

    def call(call: Call, kill_after: float | None) -> int:
        forker = idle.get()
        assert forker.stdin and forker.stdout
        env = node.environment(call.command, call.sandbox, call.container)
        document = {"env": env, "config": call.config.decode(), "victim": kill_after is not None}
        forker.stdin.write(json.dumps(document) + "\n")
        forker.stdin.flush()
        if kill_after is not None:
            pid = int(forker.stdout.readline())
            time.sleep(kill_after)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = int(forker.stdout.readline())
        idle.put(forker)
        return code

    yield call
    for one in forkers:
        one.communicate()


def by_server(node: Any) -> Caller:
    """The plugin as it is installed, and a server that is killed and started again; meanwhile they do without.

    An ADD whose server died is answered with "try again later".
    """
    restarting = threading.Lock()

    def call(call: Call, kill_after: float | None) -> int:
        process = node.start(call.command, call.sandbox, call.config, cid=call.container)
        if kill_after is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(kill_after)
            with restarting:
                node.kill()
                node.serve()
        stdout, _ = process.communicate(timeout=CALL_S)
        if process.returncode and json.loads(stdout).get("code") == TRY_AGAIN and call.command == "ADD":
            return KILLED
        return int(process.returncode)

    return call


# Who holds the lock -------------------------------------------------------------------------------


class Watch:
    """Looks a hundred times a second who holds the host's lock (/proc/locks); and wants it alone, as a plan does.

    `held_s`: for how long one process was seen with it; `waited_s`: how long the other thread waited for it. Both are
    counted in looks, of a hundredth of a second each: on a processor that many share, all are late alike.
    """

    def __init__(self, node: Any) -> None:
        self.path = Paths(node.root).lock
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.inode = f":{self.path.stat().st_ino}"
        self.held = self.waited = self.looks = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._want)]

    @property
    def held_s(self) -> float:
        return self.held * LOOK_S

    @property
    def waited_s(self) -> float:
        return self.waited * LOOK_S

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        seen: dict[str, int] = {}
        while not self._stop.wait(LOOK_S):
            with open("/proc/locks", encoding="ascii") as file:
                words = [line.split() for line in file]
            holders = {w[4] for w in words if w[1] == "FLOCK" and w[5].endswith(self.inode)}
            seen = {pid: seen.get(pid, 0) + 1 for pid in holders}
            self.looks += 1
            self.held = max([self.held, *seen.values()])

    def _want(self) -> None:
        while not self._stop.wait(0.2):
            before = self.looks
            with locked(self.path, timeout_s=CALL_S):
                self.waited = max(self.waited, self.looks - before)


# --------------------------------------------------------------------------------------------------


def collect(node: Any, configs: list[bytes], valid: list[str]) -> None:
    """First the administrator: what has no namespace. Then the runtime: all that it does not know."""
    records = PortRecords(Paths(node.root))
    said = node.windrow("cni", "gc")
    assert "FAIL" not in said, said
    assert [r for r in records.all() if not os.path.exists(r.netns)] == []
    attachments = [{"containerID": container, "ifname": "eth0"} for container in valid]
    for config in configs:
        document = {**json.loads(config), "cniVersion": "1.1.0", "cni.dev/valid-attachments": attachments}
        assert node.call("GC", "", json.dumps(document).encode(), cid="") == {}
    assert sorted(r.container_id for r in records.all()) == sorted(valid)
    assert len(node.ports()) == len(valid)


def nothing_left(node: Any) -> None:
    links = node.kernel.observe().state.links
    assert set(links) == {"lo", "br0"}
    assert not links["br0"].addrs
    assert PortRecords(Paths(node.root)).all() == []
    assert PortRecords(Paths(node.root)).broken() == []
    claims = Paths(node.root).ports / "macs"
    assert not claims.exists() or list(claims.iterdir()) == []
    assert node.leases() == []
    assert node.chains() == []


def limit_s() -> float:
    """A second; where a processor has more to do than eight calls, they take it in turns with its time."""
    return LOCK_MAX_S * max(1.0, AT_ONCE / (os.cpu_count() or 1) / 8)


def storm(node: Any, call: Caller, count: int, seed: int) -> Runtime:
    """The whole of it; raises where something is left."""
    configs = [node.config(name="plain"), node.addressed(), node.config(name="spoof", macspoofchk=True)]
    kept = {f"kept{n}": node.pod() for n in range(KEPT)}
    for n, (container, pod) in enumerate(kept.items()):
        assert "code" not in node.call("ADD", pod, configs[n % len(configs)], cid=container)
    runtime = Runtime(node=node, random=random.Random(seed), call=call)
    began = time.monotonic()
    with Watch(node) as watch:
        runtime.run(count, configs)
    spent = time.monotonic() - began
    assert runtime.failures == []
    collect(node, configs, list(kept))
    for n, (container, pod) in enumerate(kept.items()):
        assert node.call("DEL", pod, configs[n % len(configs)], cid=container) == {}
    nothing_left(node)
    print(
        f"{count} attachments in {spent:.1f} s, {runtime.killed} calls killed, slowest call {runtime.longest:.2f} s,"
        f" lock held for {watch.held_s:.2f} s, waited for {watch.waited_s:.2f} s at the longest, {watch.looks} looks"
    )
    assert watch.looks > 10
    assert watch.waited_s < limit_s()
    if not node.server:  # its threads cannot be told apart
        assert watch.held_s < limit_s()
    return runtime


STORMS = 4
"""A kill may come too late, once the call is through. Then there is another storm: one without a kill shows nothing."""


def test_plugins_that_are_killed_at_work(node: Any) -> None:
    with by_fork(node) as call:
        killed = storm(node, call, 220, 1).killed
        for seed in range(11, 10 + STORMS):
            killed += storm(node, call, 60, seed).killed if killed <= 5 else 0
        assert killed > 5


def test_plugins_that_are_killed_as_installed(node: Any) -> None:
    assert any(storm(node, by_process(node), 20, 2 + 10 * n).killed for n in range(STORMS))


def test_a_server_that_is_killed(node: Any) -> None:
    node.serve()
    storm(node, by_server(node), 60, 3)
