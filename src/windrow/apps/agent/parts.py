"""What a running agent is made of: `Agent` has the list of its parts, in the order in which they begin; they end in the
other one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from windrow.apps.agent.claims import ClaimWatch, Place, ipv4
from windrow.apps.agent.dhcp import Clients
from windrow.apps.agent.face import Face
from windrow.apps.agent.filternews import FilterNews
from windrow.apps.agent.http import Listener, listen
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.loop import DiskNews, Kept, KernelNews, LockNews, Loop, ModuleNews, P, Part, Signals
from windrow.apps.agent.options import AgentError, Options
from windrow.apps.agent.unseen import Unseen
from windrow.apps.dhcp.floating import Floating
from windrow.apps.dhcp.servers import Servers
from windrow.apps.filters import FRESH_S, PortFilters
from windrow.apps.herald import Herald
from windrow.apps.round import Report
from windrow.apps.round.here import here
from windrow.apps.round.unseen import Questions, answers
from windrow.apps.safe import watchdog
from windrow.apps.safe.spare import Spare
from windrow.apps.site import real_ask
from windrow.compile import Compiled
from windrow.model.agentstatus import Claim
from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.problems import Problem
from windrow.model.steps import Failure
from windrow.model.values import IfName
from windrow.netlink.devconf import place
from windrow.netlink.events import Events
from windrow.netlink.kernel import Kernel as Rtnetlink
from windrow.netlink.modules import ModuleEvents
from windrow.services import systemd
from windrow.status.findings import Outside
from windrow.status.routes import Heard
from windrow.store.inotify import FileWatch, Watch
from windrow.store.ports import PortRecords

if TYPE_CHECKING:
    from windrow.apps.agent.checking import Checking
    from windrow.apps.agent.connection import Connection
    from windrow.apps.agent.routes import Routes
    from windrow.apps.engine import Kernel

_NETFILTER = [f"/proc/sys/{key.replace('.', '/')}" for key in BRIDGE_NETFILTER]
BURST_S = 0.02
"""A round begins when no event of the cluster came for so long: many of them are one wish."""
HERALD_S = 1.0
"""How long an agent that ends waits for the thread that announces."""


class Threaded(Protocol):
    """A part with a thread of its own."""

    def still(self) -> contextlib.AbstractContextManager[None]:
        """That thread is not at work within the block: the process may be forked."""


T = TypeVar("T", bound=Threaded)


class Agent:
    """One that is about to run. `held`: ends its parts. `started`: is called when the first round is done. Raises
    AgentError, KernelError, StoreError, OSError where a part cannot begin."""

    spare: Spare
    face: Face
    checking: Checking | None
    connection: Connection | None
    ears: Ears
    herald: Herald
    keeper: Keeper
    loop: Loop

    def __init__(
        self, options: Options, kernel: Kernel, held: contextlib.ExitStack, *, started: Callable[[], None]
    ) -> None:
        self._options, self._kernel, self._held, self._started = options, kernel, held, started
        self._site = here(options.paths, options.node, kernel)
        self._threads: list[Threaded] = []
        for begin in (
            self._begin_spare,  # while there is one thread and little memory to copy
            self._begin_face,  # it answers that nothing is known yet, however long the first round takes
            self._begin_checking,
            self._begin_connection,
            self._begin_ears,  # before the first look: what changes while it is taken is heard
            self._begin_herald,
            self._begin_keeper,
            self._begin_loop,
        ):
            begin()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """No other thread of the agent is at work within the block."""
        with contextlib.ExitStack() as all_of_them:
            for thread in self._threads:
                all_of_them.enter_context(thread.still())
            yield

    # The parts, as they begin -----------------------------------------------------------------------------------------

    def _begin_spare(self) -> None:
        self.spare = Spare(self._site, lambda *asked: watchdog.start(*asked, still=self.still))
        self._held.callback(self.spare.close)

    def _begin_face(self) -> None:
        self.face = self._thread(
            Face(
                _listeners(self._options),
                log=self._options.log,
                pulse=lambda: self.loop.pulse,
                notify=systemd.notify,
                watchdog_s=systemd.watchdog_s(),
            )
        )
        self._held.callback(self.face.close)

    def _begin_checking(self) -> None:
        self.checking = None
        if self._options.check is not None:
            from windrow.apps.agent.checking import Checking  # with all that it needs: most agents probe nothing

            self.checking = self._thread(Checking(self._options.paths, self._options.check, self._options.log))
            self._held.callback(self.checking.close)
            self.face.answer("/check", self.checking.answer)

    def _begin_connection(self) -> None:
        self.connection = None
        told = self._options
        if told.cluster is not None:
            from windrow.apps.agent.connection import Connection  # with its client library, which other hosts lack

            found = Connection(told.cluster, told.node, told.log, self._cluster_changed, pools=told.pools)
            self.connection = self._thread(found)
            self._held.callback(self.connection.close)

    def _begin_ears(self) -> None:
        self.ears = Ears(self, self._options, self._held)
        if isinstance(self._kernel, Rtnetlink):
            self._kernel.packet_filter = self.ears.filters

    def _begin_herald(self) -> None:
        troubled = self._options.log.warning
        self.herald = self._thread(Herald(ports=PortRecords(self._site.paths).all, troubled=troubled, for_good=True))
        self._held.callback(self.herald.finish, wait_s=HERALD_S)

    def _begin_keeper(self) -> None:
        self._site = replace(
            self._site,
            watch=self.spare.start,
            ask=partial(real_ask, meanwhile=lambda: self.loop.meanwhile()),
            announcing=lambda *_: contextlib.nullcontext(),  # the herald hears of it all
            pause=lambda seconds: self.loop.meanwhile(seconds),
        )
        if isinstance(self._kernel, Rtnetlink):
            self._kernel.pause = self._site.pause
        sinks = [self.connection] if self.connection is not None else []
        self.keeper = Keeper(self._site, self._options.log, self.connection, sinks)
        self._held.callback(self.keeper.close)
        self.keeper.hears_locks = True
        self.keeper.on_compiled = self.ears.compiled
        self.keeper.on_failure = self.ears.failed
        self.keeper.claims = self.ears.claimed
        self.keeper.routes = self.ears.routes_heard

    def _begin_loop(self) -> None:
        self.loop = Loop(
            self.keeper,
            log=self._options.log,
            mono=time.monotonic,
            parts=(*self.ears.all, *filter(None, [self.connection])),
            after=self._after_a_round,
            started=self._begun,
        )

    def _thread(self, part: T) -> T:
        self._threads.append(part)
        return part

    # What they tell each other ----------------------------------------------------------------------------------------

    def _begun(self) -> None:
        self._started()
        self.face.begun()

    def _after_a_round(self, keeper: Keeper, found: Report | None) -> None:
        if found is not None:
            self.ears.after(found)
            if self.checking is not None:
                self.checking.want(found)
        self.ears.servers.use(lambda part: part.look())
        self.ears.rules.use(lambda part: part.after(keeper.filters, policed=keeper.policed))
        self.face.publish(keeper.snapshot())

    def _cluster_changed(self) -> None:
        self.loop.news(reread=True, quiet_s=BURST_S)

    def signalled(self, number: int) -> bool:
        """SIGHUP: look again, manifests included. SIGTERM, SIGINT: end."""
        if number == signal.SIGHUP:
            self.loop.news(reread=True)
        else:
            self.loop.stop()
        return False

    def ask_kernel(self, report: Report, asked: Questions) -> tuple[Problem, ...]:
        return answers(self._site, report, asked)

    def tell_unseen(self, found: tuple[Problem, ...]) -> None:
        """What the kernel answered."""
        self.keeper.asked(found)
        self.face.publish(self.keeper.snapshot())

    def tell_routes(self) -> None:
        """DHCP servers were asked, or no network waits for that any more."""
        self.keeper.tell_again()

    def tell_outside(self, outside: Outside) -> None:
        """What the probes found."""
        self.keeper.probed(outside)
        self.face.publish(self.keeper.snapshot())


class Ears:
    """The parts of the loop: all that news come from."""

    def __init__(self, agent: Agent, options: Options, held: contextlib.ExitStack) -> None:
        self._options, self._held = options, held
        paths, log = options.paths, options.log
        self.filters = PortFilters(fresh_s=FRESH_S)
        """What looks at the rules; the news make it forget what it has seen."""

        def manifests() -> DiskNews:
            watch = Watch([paths.manifests])
            return DiskNews(watch, lambda: agent.loop.heard_of_manifests(watch.take_complete()))

        kept = self._kept
        self.kernel = kept("the kernel's announcements", lambda: KernelNews(Events(), log, self._announced))
        self.clients = kept("DHCP", lambda: _clients(options))
        self.servers = kept("DHCP servers", lambda: Servers(paths, troubled=log.warning))
        self.floating = kept(
            "addresses of DHCP servers", lambda: Floating(paths, told=log.info, failing=self._failing_servers)
        )
        self.sysctls = kept("changes of sysctls", lambda: DiskNews(FileWatch(_NETFILTER)))
        self.rules = kept("changes of the packet filter", lambda: FilterNews(self.filters, time.monotonic))
        self.claims = kept("claims of addresses", lambda: ClaimWatch(time.monotonic, time.time))
        self.unseen = kept("what no look shows", lambda: Unseen(agent.ask_kernel, agent.tell_unseen, time.monotonic))
        self.routes: Kept[Routes] | None = None
        if options.cluster is not None:
            self.routes = kept("the subnets of VLANs", lambda: _routes(agent, options))
        self._others: tuple[Part, ...] = (
            kept("the modules that are loaded", lambda: ModuleNews(ModuleEvents("br_netfilter"))),
            kept("changes of manifests", manifests),
            kept("changes of records", lambda: DiskNews(Watch([paths.ports, paths.leases], deep=False))),
            kept("locks", lambda: LockNews(paths, lambda: agent.keeper.waits_for_lock)),
            Signals(held.enter_context(wakeup()), agent.signalled),
            *self._of_probes(agent),
        )

    @property
    def all(self) -> tuple[Part, ...]:
        outside = (self.kernel, self.clients, self.servers, self.floating)
        asking = filter(None, [self.routes])
        return (*outside, self.sysctls, self.rules, self.claims, self.unseen, *asking, *self._others)

    def claimed(self) -> tuple[Claim, ...]:
        return self.claims.part.standing if self.claims.part is not None else ()

    def routes_heard(self) -> Heard:
        return self.routes.part.heard if self.routes is not None and self.routes.part is not None else Heard()

    def compiled(self, found: Compiled) -> None:
        """What this node wants, before it is carried out."""
        self.clients.use(lambda part: part.want(found.clients))
        self.servers.use(lambda part: part.want(found.serving, found.scopes))
        serving = [scope.pool.key for scope in found.serving]
        self.floating.use(lambda part: part.want(found.candidates, serving))

    def failed(self, failure: Failure) -> None:
        """A step of what is carried out."""
        self.clients.use(lambda part: part.failed(failure))

    def after(self, found: Report) -> None:
        """A round: from now on they listen for what it found."""
        self.kernel.use(lambda part: part.after(found))
        self.sysctls.use(lambda part: _hold_sysctls(part, found))
        self.claims.use(lambda part: _listen(part, found))
        self.floating.use(lambda part: _see(part, found))
        self.unseen.use(lambda part: part.after(found))
        if self.routes is not None:
            self.routes.use(lambda part: part.after(found.admitted.target, found.sight.observed))

    def _failing_servers(self) -> frozenset[IfName]:
        return self.servers.part.failing if self.servers.part is not None else frozenset()

    def _announced(self, links: frozenset[int]) -> None:
        self.unseen.use(lambda part: part.announced(links))

    def _kept(self, what: str, open_: Callable[[], P]) -> Kept[P]:
        part = Kept(what, open_, self._options.log, time.monotonic)
        self._held.callback(part.close)
        return part

    def _of_probes(self, agent: Agent) -> Iterator[Part]:
        if (checking := agent.checking) is not None:
            from windrow.apps.agent.checking import ProbeNews

            yield self._kept("what the probes found", lambda: ProbeNews(checking, agent.tell_outside))


def _routes(agent: Agent, options: Options) -> Routes:
    from windrow.apps.agent.routes import Routes  # with all that it asks by: without a cluster nobody waits for it

    return Routes(options.node, options.paths.dhcp_asked, agent.tell_routes, time.monotonic, time.time)


def _clients(options: Options) -> Clients:
    try:
        return Clients(options.paths)
    except OSError as error:
        raise AgentError(f"cannot have DHCP clients in {options.paths.dhcp}: {error.strerror or error}") from error


def _listeners(options: Options) -> list[Listener]:
    """Of the face."""
    listeners: list[Listener] = []
    places: list[Path | str] = [options.paths.agent_socket, *options.listen]
    try:
        for where in places:
            listeners.append(listen(where))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen(part: ClaimWatch, found: Report) -> None:
    """For the addresses that Windrow gave and that are there."""
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


def _see(part: Floating, found: Report) -> None:
    links = found.sight.observed.state.links
    macs = frozenset(link.mac for link in links.values() if link.mac)
    part.see({name: link.addrs for name, link in links.items() if link.addrs}, macs)


def _hold_sysctls(part: DiskNews, found: Report) -> None:
    """Those that are wanted, and those that a module may have brought since."""
    links = found.left.compiled.state.links.values()
    own = (f"/proc/sys/{place(key, link.name)}" for link in links for key in link.settings)
    part.hold([*_NETFILTER, *own])


@contextlib.contextmanager
def wakeup() -> Iterator[int]:
    """The fd on which the numbers of signals arrive; a handler that does nothing keeps them from ending the process."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # before the handlers: what they take is written to it
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield read
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old)
        os.close(read)
        os.close(write)
