"""A host, its switch and its router in a lab, and the command line there: forked from this warm process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Loaded before the first fork: a command here begins where Python has started.
import windrow.apps.agent.main
import windrow.apps.cli.agent
import windrow.apps.cli.apply
import windrow.apps.cli.checkpoint
import windrow.apps.cli.confirm
import windrow.apps.cli.init
import windrow.apps.cli.undo
import windrow.apps.safe.watchdog  # noqa: F401
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.lab import probe
from windrow.lab.probe import Station
from windrow.lab.scenario import End
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.checkpoint import Checkpoint
from windrow.model.host import Observed
from windrow.netlink import links, netns
from windrow.netlink.enter import CLONE_NEWNET, libc
from windrow.netlink.kernel import Kernel
from windrow.services import process
from windrow.store.checkpoints import Checkpoints
from windrow.store.paths import Paths

LONG_S = 60.0
"""For what is waited for; a loaded machine may be slow."""


@dataclass
class Running:
    """A command that was begun: its process, and what it says."""

    pid: int
    log: Path
    code: int | None = None
    began: float = field(default_factory=time.monotonic)

    def wait(self, timeout_s: float = LONG_S) -> int:
        """Its exit code; negative where a signal ended it."""
        end = time.monotonic() + timeout_s
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                self.kill()
                raise AssertionError(f"it did not end within {timeout_s} s: {self.said}")
            else:
                time.sleep(0.01)
        return self.code

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Site:
    """One node of a world, and its router."""

    def __init__(self, world: World, node: str = "node-0", router: str = "router") -> None:
        self.world, self.node, self.router = world, node, router
        self.root = world.root(node)
        self.kernel = Kernel(node)
        self._count = 0

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    def begin(self, *words: str) -> Running:
        """`windrow …` on the node, in a process and session of its own."""
        self._count += 1
        log = Path(f"/tmp/{self.node}-{self._count}.log")
        pid = os.fork()
        if pid:
            return Running(pid, log)
        code = 70
        try:
            os.setsid()
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115  not pytest's
            fd = os.open(netns.RUN_NETNS / self.node, os.O_RDONLY | os.O_CLOEXEC)
            libc("setns", fd, CLONE_NEWNET, doing="enter the node")
            os.environ["WINDROW_DEBUG"] = "1"
            try:
                cli.main(list(words), prog_name="windrow", obj=Session(root=self.root, node=self.node))
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
        except BaseException:  # noqa: BLE001  it is printed, and must not run the tests once more
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def run(self, *words: str) -> Running:
        running = self.begin(*words)
        running.wait()
        return running

    def observe(self) -> Observed:
        return self.kernel.observe()

    def state(self) -> Any:
        """What an undo returns: links with what people give them, addresses, routes, manifests."""
        state = self.observe().state
        made = {n: (k.kind, k.up, k.mtu, k.mac, k.master, k.addrs, k.vlans) for n, k in state.links.items()}
        routes = frozenset(r for r in state.routes if r.dev != "lo" and ":" not in r.dst)
        return made, routes, self.manifests()

    def manifests(self) -> dict[str, str]:
        directory = self.paths.manifests
        return {p.name: p.read_text() for p in sorted(directory.glob("*.yaml"))} if directory.is_dir() else {}

    def checkpoint(self) -> Checkpoint | None:
        return Checkpoints(self.paths).get()

    def answers(self, address: str, within_s: float) -> float | None:
        """How long until the router gets an answer from `address`, in seconds; None: not within that time."""
        began = time.monotonic()
        there = Station("node", "", lambda make: make(), address)
        here = Station("router", "eth0", lambda make: self.world.inside(self.router, make))
        found = probe.ping([(here, there)], deadline_s=within_s)
        return time.monotonic() - began if next(iter(found.values())) is not None else None

    def pull(self, nic: str) -> None:
        self.world.pull(End(self.node, nic))

    def plug(self, nic: str) -> None:
        self.world.plug(End(self.node, nic))

    def kill_watchdog(self) -> None:
        found = self.checkpoint()
        if found and found.watchdog:
            process.end(found.watchdog, patience_s=0)

    def power_cut(self) -> None:
        """All that goes with the supply: links that were made, addresses, routes, what is in /run."""
        rtnl = self.kernel.rtnl
        observed = self.observe()
        for name in sorted(observed.state.links, key=lambda n: observed.state.links[n].kind != "vlan"):
            if observed.owned(name) and name in rtnl.indexes():
                rtnl.run(links.delete(name))
        for name, link in observed.state.links.items():
            if name.startswith("eth"):
                for address in link.addrs or ():
                    rtnl.run(links.del_addr(rtnl.index(name), address))
                rtnl.run(links.set_link(name, up=True, mtu=1500))
        for path in sorted(self.paths.runtime.rglob("*"), reverse=True):
            path.unlink() if not path.is_dir() else path.rmdir()

    def close(self) -> None:
        self.kernel.close()


@contextlib.contextmanager
def site(text: str, node: str = "node-0", router: str = "router") -> Iterator[Site]:
    """A world of this scenario."""
    scenario = parse(Texts("test.yaml", text, {}, {}))
    world = World(scenario)
    try:
        world.build(lambda _: None)
        made = Site(world, node, router)
        try:
            yield made
        finally:
            made.close()
    finally:
        world.close()


def until(what: Callable[[], Any], timeout_s: float = LONG_S) -> Any:
    """The first value of `what` that is true. Raises AssertionError."""
    end = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
    return found


def connected(site: Site, address: str, port: int = 4000) -> tuple[socket.socket, socket.socket]:
    """A TCP connection from the router to the node: (the node's end, the router's end)."""
    listener = site.world.inside(site.node, lambda: socket.create_server(("", port)))
    with listener:
        theirs = site.world.inside(site.router, lambda: socket.create_connection((address, port), 10))
        ours, _ = listener.accept()
    return ours, theirs
