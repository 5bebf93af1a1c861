"""The agent as a process: what it opens, how it ends, and what it lets go of once it has started."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from windrow.apps.agent.dhcp import Clients
from windrow.apps.agent.http import listen
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.agent.loop import DiskNews, KernelNews, Loop, Part, Signals
from windrow.apps.known import agent_status
from windrow.apps.round import Report
from windrow.apps.round.here import here
from windrow.compile.node import BRIDGE_NETFILTER
from windrow.model.problems import WindrowError
from windrow.netlink.errors import KernelError
from windrow.netlink.events import Events
from windrow.netlink.lock import locked
from windrow.services import systemd
from windrow.store.inotify import FileWatch, Watch
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.apps.engine import Kernel

ONCE_S = 60.0
"""How long `--once` waits for another one's lock, and for files that are being written."""


class AgentError(WindrowError):
    """The agent cannot start."""


class Opened(Protocol):
    def __call__(self) -> contextlib.AbstractContextManager[Kernel]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    paths: Paths
    node: str
    open_kernel: Opened
    log: Log
    listen: tuple[str, ...] = ()
    """`HOST:PORT`, beside the Unix socket, for /metrics and /healthz."""


def run(options: Options) -> None:
    """Until SIGTERM or SIGINT. Raises AgentError, KernelError, StoreError where it cannot begin."""
    with _alone(options), contextlib.ExitStack() as held:
        # First the ears, then the eyes: what changes while the first look is taken is heard.
        news = KernelNews(Events(), options.log)
        held.callback(news.close)
        clients = _clients(options)
        held.callback(clients.close)
        keeper = _keeper(options, held.enter_context(options.open_kernel()))
        keeper.on_compiled = lambda compiled: clients.want(compiled.clients)
        held.callback(keeper.close)
        loop = _loop(options, keeper, (news, clients), held)
        options.log.info("the agent has started", node=options.node, pid=os.getpid(), root=options.paths.root)
        try:
            loop.run()
        finally:
            systemd.notify("STOPPING=1")
            options.log.info("the agent ends; the network stays as it is")


def once(options: Options) -> bool:
    """One round, as an agent that starts does it; whether all is as its manifests want it. Raises like `run`."""
    with _alone(options), options.open_kernel() as kernel:
        keeper = _keeper(options, kernel)
        try:
            end = time.monotonic() + ONCE_S
            keeper.boot()
            keeper.round(reread=True)
            while keeper.unsettled and time.monotonic() < end:
                time.sleep(max(0.0, (keeper.deadline() or 0.0) - time.monotonic()))
                keeper.round(reread=True)
            return keeper.well
        finally:
            keeper.close()


def _clients(options: Options) -> Clients:
    try:
        return Clients(options.paths)
    except OSError as error:
        raise AgentError(f"cannot have DHCP clients in {options.paths.dhcp}: {error.strerror or error}") from error


def _keeper(options: Options, kernel: Kernel) -> Keeper:
    return Keeper(here(options.paths, options.node, kernel), options.log)


def _loop(options: Options, keeper: Keeper, heard: tuple[KernelNews, Clients], held: contextlib.ExitStack) -> Loop:
    parts: list[Part] = [*heard]
    started = False

    listeners = [listen(options.paths.agent_socket), *map(listen, options.listen)]

    sysctls = FileWatch([f"/proc/sys/{BRIDGE_NETFILTER.replace('.', '/')}"])

    def after(keeper: Keeper, found: Report | None) -> None:
        nonlocal started
        if found is not None:
            heard[0].after(found)
        sysctls.look()
        for listener in listeners:
            listener.publish(keeper.snapshot())
        if not started:
            started = True
            _settle_down()

    loop = Loop(keeper, log=options.log, mono=time.monotonic, parts=parts, after=after, notify=systemd.notify)
    loop.watchdog_s = systemd.watchdog_s()
    paths = options.paths
    own: list[Part] = [
        *listeners,
        DiskNews(sysctls),
        DiskNews(Watch([paths.manifests]), lambda: loop.news(reread=True)),
        DiskNews(Watch([paths.ports, paths.leases], deep=False)),
        Signals(held.enter_context(_wakeup()), lambda number: _signalled(number, loop)),
    ]
    for part in own:
        held.callback(part.close)
    parts += own
    return loop


def _signalled(number: int, loop: Loop) -> bool:
    """SIGHUP: look again, manifests included. SIGTERM, SIGINT: end."""
    if number == signal.SIGHUP:
        loop.news(reread=True)
    else:
        loop.stop()
    return False


@contextlib.contextmanager
def _wakeup() -> Iterator[int]:
    """The fd on which the numbers of signals arrive; a handler that does nothing keeps them from ending the process."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


@contextlib.contextmanager
def _alone(options: Options) -> Iterator[None]:
    """One agent at a time; the lock goes with the process, however that ends."""
    try:
        with locked(options.paths.agent_lock, timeout_s=0):
            yield
    except KernelError as error:
        if error.errno != errno.EAGAIN:
            raise
        status = agent_status(options.paths)
        who = f" (pid {status.pid})" if status is not None else ""
        raise AgentError(f"another agent is at work on this node{who}: it holds {options.paths.agent_lock}") from error


def _settle_down() -> None:
    """All that is loaded by now stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


Run = Callable[[Options], None]
