"""The agent as a process: what it opens, how it ends, and what it lets go of once it has started."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from windrow.apps.agent.claims import ClaimWatch, Place, ipv4
from windrow.apps.agent.dhcp import Clients
from windrow.apps.agent.face import Face
from windrow.apps.agent.filternews import FilterNews
from windrow.apps.agent.http import Listener, listen
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.agent.loop import DiskNews, Kept, KernelNews, LockNews, Loop, ModuleNews, Part, Pulse, Signals
from windrow.apps.dhcp.servers import Servers
from windrow.apps.filters import FRESH_S, PortFilters
from windrow.apps.herald import Herald
from windrow.apps.known import agent_status
from windrow.apps.round import Report
from windrow.apps.round.here import here
from windrow.apps.safe import watchdog
from windrow.apps.safe.spare import Spare
from windrow.apps.site import real_ask
from windrow.compile import Compiled
from windrow.model.agentstatus import Claim
from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.lazy import dataclass
from windrow.model.problems import WindrowError
from windrow.netlink.devconf import place
from windrow.netlink.errors import KernelError
from windrow.netlink.events import Events
from windrow.netlink.kernel import Kernel as Rtnetlink
from windrow.netlink.lock import locked
from windrow.netlink.modules import ModuleEvents
from windrow.services import systemd
from windrow.status.findings import Outside
from windrow.store.inotify import FileWatch, Watch
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

if TYPE_CHECKING:
    from windrow.apps.agent.checking import Checking
    from windrow.apps.agent.connection import Connection
    from windrow.apps.check.settings import Settings
    from windrow.apps.engine import Kernel
    from windrow.kube.access import Access

_NETFILTER = [f"/proc/sys/{key.replace('.', '/')}" for key in BRIDGE_NETFILTER]
HERALD_S = 1.0
"""How long an agent that ends waits for the thread that announces."""
SWITCH_S = 0.001
"""So long the worker may keep the interpreter when the face wants it (sys.setswitchinterval: 5 ms), for each of the ten
calls that an answer takes."""
BURST_S = 0.02
"""A round begins when no event came for so long: many of them are one wish."""
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
    check: Settings | None = None
    """None: no probes are sent, and none is heard."""
    cluster: Access | None = None
    """The API that objects come from, and are told to; None: the directory of manifests."""
    listen: tuple[str, ...] = ()
    """`HOST:PORT`, beside the Unix socket, for /metrics and /healthz."""


def run(options: Options) -> None:
    """Until SIGTERM or SIGINT. Raises AgentError, KernelError, StoreError where it cannot begin."""
    with _alone(options), contextlib.ExitStack() as held:
        loop: Loop
        face: Face
        herald: Herald
        checking: Checking | None
        connection: Connection | None
        kernel = held.enter_context(options.open_kernel())
        site = here(options.paths, options.node, kernel)
        # First the spare, while there is one thread and little memory to copy.
        sys.setswitchinterval(SWITCH_S)
        _keep_loaded()
        spare = Spare(
            site, lambda *asked: watchdog.start(*asked, still=lambda: _still(face, herald, checking, connection))
        )
        held.callback(spare.close)
        # Then the face: it answers that nothing is known yet, however long the first round takes.
        face = _face(options, lambda: loop.pulse)
        held.callback(face.close)
        checking = _checking(options, face, held)
        connection = _connection(options, lambda: loop, held)
        # Then the ears, then a first look: what changes while it is taken is heard.
        ears = _ears(options, lambda: loop, held)
        if isinstance(kernel, Rtnetlink):
            kernel.packet_filter = ears.filters
        herald = Herald(ports=PortRecords(site.paths).all, troubled=options.log.warning, for_good=True)
        held.callback(herald.finish, wait_s=HERALD_S)
        site = replace(
            site,
            watch=spare.start,
            ask=partial(real_ask, meanwhile=lambda: loop.meanwhile()),
            announcing=lambda *_: contextlib.nullcontext(),  # the herald hears of it all
            pause=lambda seconds: loop.meanwhile(seconds),
        )
        if isinstance(kernel, Rtnetlink):
            kernel.pause = site.pause
        keeper = Keeper(site, options.log, connection, [connection] if connection is not None else ())
        held.callback(keeper.close)
        keeper.hears_locks = True
        keeper.on_compiled = ears.compiled
        keeper.claims = ears.claimed
        loop = Loop(
            keeper,
            log=options.log,
            mono=time.monotonic,
            parts=(*ears.all, *_probe_news(options, checking, lambda: loop.keeper, face), *filter(None, [connection])),
            after=partial(_after_a_round, ears, face, checking),
            started=partial(_begun, face),
        )
        options.log.info("the agent has started", node=options.node, pid=os.getpid(), root=options.paths.root)
        try:
            loop.run()
        finally:
            systemd.notify("STOPPING=1")
            options.log.info("the agent ends; the network stays as it is")


def once(options: Options) -> bool:
    """One round, as an agent that starts does it; whether all is as its manifests want it. Raises like `run`."""
    with _alone(options), options.open_kernel() as kernel:
        keeper = Keeper(here(options.paths, options.node, kernel), options.log)
        locks = LockNews(options.paths, lambda: keeper.waits_for_lock)
        keeper.hears_locks = True
        try:
            end = time.monotonic() + ONCE_S
            keeper.boot()
            keeper.round(reread=True)
            while keeper.unsettled and time.monotonic() < end:
                _sleep_until(min(end, keeper.deadline() or 0.0), locks)
                keeper.round(reread=True, news=False)
            return keeper.well
        finally:
            locks.close()
            keeper.close()


def _sleep_until(at: float, locks: LockNews) -> None:
    """Or until another one lets its lock go."""
    with selectors.PollSelector() as selector:
        for fd, events in locks.fds().items():
            selector.register(fd, events)
        while time.monotonic() < at:
            due = locks.deadline()
            ready = selector.select(max(0.0, min(at, due if due is not None else at) - time.monotonic()))
            fds = [key.fd for key, _ in ready] or ([-1] if due is not None else [])
            if any(map(locks.ready, fds)):
                return


def _clients(options: Options) -> Clients:
    try:
        return Clients(options.paths)
    except OSError as error:
        raise AgentError(f"cannot have DHCP clients in {options.paths.dhcp}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ears:
    """All that news come from."""

    kernel: Kept
    clients: Kept
    servers: Kept
    sysctls: Kept
    rules: Kept
    claims: Kept
    others: tuple[Part, ...]
    filters: PortFilters
    """What looks at the rules; the news make it forget what it has seen."""

    def claimed(self) -> tuple[Claim, ...]:
        part = self.claims.part
        return part.standing if isinstance(part, ClaimWatch) else ()

    def compiled(self, found: Compiled) -> None:
        """What this node wants, before it is carried out."""
        self.clients.use(lambda part: _clients_of(part).want(found.clients))
        self.servers.use(lambda part: _servers_of(part).want(found.serving, found.scopes))

    @property
    def all(self) -> tuple[Part, ...]:
        return (self.kernel, self.clients, self.servers, self.sysctls, self.rules, self.claims, *self.others)


def _filter_news(part: Part) -> FilterNews:
    assert isinstance(part, FilterNews)
    return part


def _ears(options: Options, loop: Callable[[], Loop], held: contextlib.ExitStack) -> _Ears:
    paths = options.paths

    def kept(what: str, open_: Callable[[], Part]) -> Kept:
        part = Kept(what, open_, options.log, time.monotonic)
        held.callback(part.close)
        return part

    def manifests() -> Part:
        watch = Watch([paths.manifests])
        return DiskNews(watch, lambda: loop().heard_of_manifests(watch.take_complete()))

    signals = Signals(held.enter_context(_wakeup()), lambda number: _signalled(number, loop()))
    filters = PortFilters(fresh_s=FRESH_S)
    return _Ears(
        filters=filters,
        rules=kept("changes of the packet filter", lambda: FilterNews(filters, time.monotonic)),
        kernel=kept("the kernel's announcements", lambda: KernelNews(Events(), options.log)),
        clients=kept("DHCP", lambda: _clients(options)),
        claims=kept("claims of addresses", lambda: ClaimWatch(time.monotonic, time.time)),
        servers=kept("DHCP servers", lambda: Servers(paths, troubled=options.log.warning)),
        sysctls=kept("changes of sysctls", lambda: DiskNews(FileWatch(_NETFILTER))),
        others=(
            kept("the modules that are loaded", lambda: ModuleNews(ModuleEvents("br_netfilter"))),
            kept("changes of manifests", manifests),
            kept("changes of records", lambda: DiskNews(Watch([paths.ports, paths.leases], deep=False))),
            kept("locks", lambda: LockNews(paths, lambda: loop().keeper.waits_for_lock)),
            signals,
        ),
    )


def _clients_of(part: Part) -> Clients:
    assert isinstance(part, Clients)
    return part


def _servers_of(part: Part) -> Servers:
    assert isinstance(part, Servers)
    return part


def _face(options: Options, pulse: Callable[[], Pulse]) -> Face:
    listeners: list[Listener] = []
    places: list[Path | str] = [options.paths.agent_socket, *options.listen]
    try:
        for where in places:
            listeners.append(listen(where))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    watchdog_s = systemd.watchdog_s()
    return Face(listeners, log=options.log, pulse=pulse, notify=systemd.notify, watchdog_s=watchdog_s)


def _checking(options: Options, face: Face, held: contextlib.ExitStack) -> Checking | None:
    if options.check is None:
        return None
    from windrow.apps.agent.checking import Checking  # with all that it needs: most agents probe nothing

    checking = Checking(options.paths, options.check, options.log)
    held.callback(checking.close)
    face.answer("/check", checking.answer)
    return checking


def _connection(options: Options, loop: Callable[[], Loop], held: contextlib.ExitStack) -> Connection | None:
    if options.cluster is None:
        return None
    from windrow.apps.agent.connection import Connection  # with its client library, which other hosts do not have

    connection = Connection(
        options.cluster, options.node, options.log, lambda: loop().news(reread=True, quiet_s=BURST_S)
    )
    held.callback(connection.close)
    return connection


def _probe_news(
    options: Options, checking: Checking | None, keeper: Callable[[], Keeper], face: Face
) -> tuple[Part, ...]:
    if checking is None:
        return ()
    from windrow.apps.agent.checking import ProbeNews

    def tell(outside: Outside) -> None:
        keeper().probed(outside)
        face.publish(keeper().snapshot())

    return (Kept("what the probes found", lambda: ProbeNews(checking, tell), options.log, time.monotonic),)


@contextlib.contextmanager
def _still(face: Face, herald: Herald, checking: Checking | None, connection: Connection | None) -> Iterator[None]:
    """No other thread of the agent is at work within the block."""
    with contextlib.ExitStack() as held:
        for one in (face, herald, checking, connection):
            if one is not None:
                held.enter_context(one.still())
        yield


def _after_a_round(ears: _Ears, face: Face, checking: Checking | None, keeper: Keeper, found: Report | None) -> None:
    if found is not None:
        ears.kernel.use(lambda part: _hear(part, found))
        ears.sysctls.use(lambda part: _hold_sysctls(part, found))
        ears.claims.use(lambda part: _listen(part, found))
        if checking is not None:
            checking.want(found)
    ears.servers.use(lambda part: _servers_of(part).look())
    ears.rules.use(lambda part: _filter_news(part).after(keeper.filters))
    face.publish(keeper.snapshot())


def _hear(part: Part, found: Report) -> None:
    assert isinstance(part, KernelNews)
    part.after(found)


def _listen(part: Part, found: Report) -> None:
    """For the addresses that Windrow gave and that are there."""
    assert isinstance(part, ClaimWatch)
    observed, had = found.sight.observed, found.left.compiled.memory.had
    links, runtime = observed.state.links, observed.runtime
    part.want(
        {
            name: Place(addresses=ipv4(those), mac=links[name].mac, carrier=runtime[name].carrier)
            for name, those in had.items()
            if name in links
        },
        own=frozenset(link.mac for link in links.values() if link.mac),
    )


def _hold_sysctls(part: Part, found: Report) -> None:
    """Those that are wanted, and those that a module may have brought since."""
    assert isinstance(part, DiskNews)
    links = found.left.compiled.state.links.values()
    own = (f"/proc/sys/{place(key, link.name)}" for link in links for key in link.settings)
    part.hold([*_NETFILTER, *own])


def _begun(face: Face) -> None:
    _keep_loaded()
    face.begun()


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


def _keep_loaded() -> None:
    """All that is there by now stays: the collector need not look through it again and again. Nor does it now: what is
    loaded leaves nothing behind to collect, and no other thread runs while it looks."""
    gc.freeze()


Run = Callable[[Options], None]
