"""The DHCP servers of this node: which run, on which link, and what they serve.

A part of the agent's loop, like the DHCP clients. The servers are processes that outlive it: one that runs is found
again, one that ended is started again, one that is no longer wanted is ended. What they serve is decided elsewhere and
recorded before they are told, so a server that is killed loses nothing but the time until the next one.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from windrow.apps.dhcp.programs import DRIVERS, Driver, Given, put, read
from windrow.dhcp import dnsmasq as texts
from windrow.model.lazy import dataclass
from windrow.model.pools import Scope, record_of
from windrow.model.problems import WindrowError
from windrow.model.processes import Process
from windrow.model.values import IfName, Mac, parse_ifname
from windrow.netlink.links import own_name
from windrow.services import process
from windrow.services.errors import ServiceError
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths
from windrow.store.poolrecord import write_record

FIRST_S, MOST_S = 0.25, 60.0
"""Before a server is started again; the pause doubles until one has lived for MOST_S."""
FAILING_S = 4.0
"""Of a server that has such a pause before it four starts have failed."""
_OPTIONS = "# options\n"


@dataclass(slots=True)
class _Seat:
    """One link's server: `server` None while none runs, then `due` is when to try again (monotonic)."""

    scopes: tuple[Scope, ...]
    server: Process | None = None
    fd: int = -1
    """Readable once it has ended (pidfd)."""
    index: int = 0
    """Of the link that it was started on: it is bound to that very one."""
    since: float = 0.0
    due: float = 0.0
    pause_s: float = FIRST_S
    trouble: str = ""
    """Why there is none."""

    @property
    def driver(self) -> Driver:
        return DRIVERS[self.scopes[0].pool.program]


class Servers:
    """All methods belong into one thread, in the namespace of the host's links."""

    def __init__(self, paths: Paths, *, troubled: Callable[[str], None]) -> None:
        """`troubled`: hears in words what could not be done. Raises StoreError where there is no place for files."""
        self._paths, self._troubled = paths, troubled
        self._seats: dict[IfName, _Seat] = {}
        self._swept = False
        with explained(paths.dhcp_servers, "make a place for DHCP servers"):
            records.make_directory(paths.dhcp_servers, flush=False)

    # What the loop calls ----------------------------------------------------------------------------------------------

    def want(self, serving: Sequence[Scope], every: Sequence[Scope]) -> None:
        """Have these pools served, and no others; `every`: all pools of the cluster, as they are to be recorded.

        Call it after each compile and before the plan is carried out: a server ends while its link is still there. A
        link that is not there yet is waited for. Raises StoreError where nothing can be recorded: then nobody is told
        anything new.
        """
        if every or self._paths.pool_record.exists():
            write_record(self._paths, record_of(tuple(every)))
        wanted: dict[IfName, tuple[Scope, ...]] = {}
        for scope in serving:
            wanted[scope.interface] = (*wanted.get(scope.interface, ()), scope)
        if not self._swept:
            self._swept = True
            self._sweep(wanted)
        for name in [name for name in self._seats if name not in wanted]:
            self._dismiss(name)
        for name, scopes in wanted.items():
            self._seat(name, scopes)
        self.look()

    def look(self) -> None:
        """Start what is due, on the links that are there now; call it after each round, too."""
        now = time.monotonic()
        for name, seat in self._seats.items():
            index = _index(name)
            if seat.server is not None and index != seat.index:
                self._end(seat)
            if seat.server is None and _ready(seat, index) and (seat.due <= now or index != seat.index):
                self._start(name, seat, index)

    def fds(self) -> Mapping[int, int]:
        fds = (seat.fd for seat in self._seats.values() if seat.server is not None)
        return dict.fromkeys(fds, selectors.EVENT_READ)

    def ready(self, _fd: int) -> bool:
        """A server ended, or one is due. The network is not concerned: never a reason to look at it."""
        for name, seat in self._seats.items():
            if seat.server is not None and not process.alive(seat.server):
                self._lost(seat, f"the DHCP server on {name} ended, and is started again")
        self.look()
        return False

    def deadline(self) -> float | None:
        """When a server is to be tried again; one whose link or address is not there waits for the round that makes
        it."""
        due = [seat.due for name, seat in self._seats.items() if seat.server is None and _ready(seat, _index(name))]
        return min(due, default=None)

    @property
    def failing(self) -> frozenset[IfName]:
        """Links on which none starts, though it was tried several times."""
        return frozenset(n for n, seat in self._seats.items() if seat.server is None and seat.pause_s >= FAILING_S)

    def close(self) -> None:
        """The servers go on."""
        for seat in self._seats.values():
            self._forget(seat)
        self._seats.clear()

    # Servers ----------------------------------------------------------------------------------------------------------

    def _sweep(self, wanted: Mapping[IfName, Sequence[Scope]]) -> None:
        """What an agent before us left, and nobody wants any more, or not from that program."""
        for directory in self._paths.dhcp_servers.iterdir():
            with contextlib.suppress(ValueError):
                name = parse_ifname(directory.name)
                for program, driver in DRIVERS.items():
                    if name not in wanted or wanted[name][0].pool.program is not program:
                        with contextlib.suppress(ServiceError):
                            process.end(driver.running(directory))
                if name not in wanted:
                    shutil.rmtree(directory, ignore_errors=True)

    def _seat(self, name: IfName, scopes: tuple[Scope, ...]) -> None:
        """What is fixed needs a restart; the rest is told while it serves."""
        directory, seat = self._directory(name), self._seats.get(name)
        if seat is None:
            seat = self._seats[name] = _Seat(scopes)
            running = seat.driver.running(directory)
            if running is not None:
                self._took(seat, running, int(read(directory / "link") or 0))
        elif seat.scopes[0].pool.program is not scopes[0].pool.program:
            self._end(seat)
        scopes = seat.scopes = _as_the_kernel_calls_it(name, scopes)
        if seat.server is not None and read(directory / "fixed") != seat.driver.fixed(scopes, directory):
            self._end(seat)
        if seat.server is not None and read(directory / "told") != _told(scopes):
            try:
                seat.driver.tell(seat.server, scopes, directory)
                self._free(seat, directory)
                seat.trouble = ""
            except (WindrowError, OSError) as error:
                self._complain(seat, f"the DHCP server on {name} goes on with what it had: {_in_one_line(error)}")

    def _start(self, name: IfName, seat: _Seat, index: int) -> None:
        seat.index, seat.since = index, time.monotonic()
        seat.scopes, directory = _as_the_kernel_calls_it(name, seat.scopes), self._directory(name)
        try:
            with explained(directory, "make a place for a DHCP server"):
                records.make_directory(directory, flush=False)
            put(directory / "fixed", seat.driver.fixed(seat.scopes, directory))
            put(directory / "link", str(index))
            self._took(seat, seat.driver.start(seat.scopes, directory), index)
            self._free(seat, directory)
        except (WindrowError, OSError) as error:
            self._lost(seat, f"no DHCP server on {name}: {_in_one_line(error)}")

    def _free(self, seat: _Seat, directory: Path) -> None:
        """After the server was told: who no longer has an address is done with it."""
        before, now = read(directory / "told"), _told(seat.scopes)
        gone = _given(before) - _given(now)
        if gone:
            seat.driver.free(seat.scopes, directory, gone)
        put(directory / "told", now)

    def _took(self, seat: _Seat, server: Process, index: int) -> None:
        try:
            seat.fd = os.pidfd_open(server.pid)
        except ProcessLookupError:
            self._lost(seat, "a DHCP server ended right after it had started")
            return
        seat.server, seat.index, seat.since, seat.trouble = server, index, time.monotonic(), ""

    def _lost(self, seat: _Seat, why: str) -> None:
        now = time.monotonic()
        self._forget(seat)
        self._complain(seat, why)
        seat.pause_s = FIRST_S if now - seat.since > MOST_S else min(seat.pause_s * 2, MOST_S)
        seat.due = now + seat.pause_s

    def _complain(self, seat: _Seat, why: str) -> None:
        """Once, however often it is tried again."""
        if seat.trouble != why:
            self._troubled(why)
        seat.trouble = why

    def _end(self, seat: _Seat) -> None:
        """At most a moment without one: it is started again at once."""
        with contextlib.suppress(ServiceError):
            process.end(seat.server)
        self._forget(seat)
        seat.due, seat.pause_s = 0.0, FIRST_S

    def _forget(self, seat: _Seat) -> None:
        if seat.fd >= 0:
            os.close(seat.fd)
        seat.server, seat.fd = None, -1

    def _dismiss(self, name: IfName) -> None:
        self._end(self._seats.pop(name))
        shutil.rmtree(self._directory(name), ignore_errors=True)

    def _directory(self, name: IfName) -> Path:
        return self._paths.dhcp_servers / name


def _told(scopes: Sequence[Scope]) -> str:
    """All that a server is told of pools, whichever it is: by it an edit is noticed, also by the next agent."""
    subnets = "".join(f"# {scope.tag}: {scope.pool.cidr}, {scope.pool.lease_s} s\n" for scope in scopes)
    return texts.hosts(scopes) + _OPTIONS + texts.options(scopes) + subnets


def _given(told: str) -> Given:
    """Who has which address."""
    hosts = told.partition(_OPTIONS)[0]
    return frozenset((Mac(words[0]), words[1]) for words in (line.split(",") for line in hosts.splitlines()))


def _in_one_line(error: Exception) -> str:
    """With its hint, for a log."""
    return "; ".join(line.strip().removeprefix("hint: ") for line in str(error).splitlines())


def _ready(seat: _Seat, index: int) -> bool:
    """A server looks at its link when it starts (Kea never again): the address is to be there."""
    return bool(index) and _has(seat.scopes[0].server)


def _has(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        try:
            one.bind((address, 0))
        except OSError:
            return False
    return True


def _as_the_kernel_calls_it(name: IfName, scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    """An adopted link has a name of its own (`model.marks.called`), and by that alone the programs find it among all
    links."""
    own = own_name(name)
    return tuple(replace(scope, own_name="" if own == name else own) for scope in scopes)


def _index(name: IfName) -> int:
    """0: there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
