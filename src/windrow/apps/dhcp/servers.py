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
from collections.abc import Mapping, Sequence
from pathlib import Path

from windrow.dhcp import dnsmasq as texts
from windrow.model.lazy import dataclass
from windrow.model.pools import Scope, record_of
from windrow.model.problems import WindrowError
from windrow.model.processes import Process
from windrow.model.values import IfName, Mac, parse_ifname
from windrow.services import dhcprelease, dnsmasq, process
from windrow.services.errors import ServiceError
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths
from windrow.store.poolrecord import write_record

FIRST_S, MOST_S = 0.25, 15.0
"""Before a server is started again; the pause doubles until one has lived for MOST_S."""
Given = frozenset[tuple[Mac, str]]


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


class Servers:
    """All methods belong into one thread, in the namespace of the host's links."""

    def __init__(self, paths: Paths) -> None:
        """Raises StoreError where the place for their files cannot be made."""
        self._paths = paths
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
            if seat.server is None and index and (seat.due <= now or index != seat.index):
                self._start(name, seat, index)

    def fds(self) -> Mapping[int, int]:
        fds = (seat.fd for seat in self._seats.values() if seat.server is not None)
        return dict.fromkeys(fds, selectors.EVENT_READ)

    def ready(self, _fd: int) -> bool:
        """A server ended, or one is due. The network is not concerned: never a reason to look at it."""
        for seat in self._seats.values():
            if seat.server is not None and not process.alive(seat.server):
                self._lost(seat, "it ended")
        self.look()
        return False

    def deadline(self) -> float | None:
        """When a server is to be tried again; one whose link is not there waits for the round that makes it."""
        due = [seat.due for name, seat in self._seats.items() if seat.server is None and _index(name)]
        return min(due, default=None)

    def troubles(self) -> Mapping[IfName, str]:
        """Why a link has no server though it should."""
        return {name: seat.trouble for name, seat in self._seats.items() if seat.server is None and seat.trouble}

    def close(self) -> None:
        """The servers go on."""
        for seat in self._seats.values():
            self._forget(seat)
        self._seats.clear()

    # Servers ----------------------------------------------------------------------------------------------------------

    def _sweep(self, wanted: Mapping[IfName, Sequence[Scope]]) -> None:
        """What an agent before us left, and nobody wants any more."""
        for directory in self._paths.dhcp_servers.iterdir():
            with contextlib.suppress(ValueError):
                name = parse_ifname(directory.name)
                if name not in wanted:
                    self._seats[name] = _Seat((), server=dnsmasq.running(directory / "pid"))
                    self._dismiss(name)

    def _seat(self, name: IfName, scopes: tuple[Scope, ...]) -> None:
        """What has changed of the main file needs a restart; hosts and options are read again while it serves."""
        directory, main = self._directory(name), self._main(name, scopes)
        seat = self._seats.get(name)
        if seat is None:
            seat = self._seats[name] = _Seat(scopes)
            running = dnsmasq.running(directory / "pid")
            if running is not None:
                self._took(seat, running, int(_read(directory / "link") or 0))
        seat.scopes = scopes
        if seat.server is not None and _read(directory / "main") != main:
            self._end(seat)
        if seat.server is not None and (gone := self._write(name, scopes)) is not None:
            dnsmasq.reload(seat.server)
            self._free(name, scopes, gone)

    def _start(self, name: IfName, seat: _Seat, index: int) -> None:
        seat.index, seat.since = index, time.monotonic()
        directory = self._directory(name)
        try:
            with explained(directory, "make a place for a DHCP server"):
                records.make_directory(directory, flush=False)
            gone = self._write(name, seat.scopes)
            _put(directory / "main", self._main(name, seat.scopes))
            _put(directory / "link", str(index))
            self._took(seat, dnsmasq.start(directory / "main", directory / "pid"), index)
            self._free(name, seat.scopes, gone or frozenset())
        except WindrowError as error:
            self._lost(seat, str(error).splitlines()[0])

    def _main(self, name: IfName, scopes: Sequence[Scope]) -> str:
        directory = self._directory(name)
        return texts.main(scopes, str(directory), str(directory / "pid"))

    def _write(self, name: IfName, scopes: Sequence[Scope]) -> Given | None:
        """Hosts and options; returns who no longer has which address, None where nothing has changed."""
        directory = self._directory(name)
        hosts, options = texts.hosts(scopes), texts.options(scopes)
        before = _read(directory / "hosts")
        if before == hosts and _read(directory / "options") == options:
            return None
        _put(directory / "hosts", hosts)
        _put(directory / "options", options)
        return _given(before) - _given(hosts)

    def _free(self, name: IfName, scopes: Sequence[Scope], gone: Given) -> None:
        """Their leases end now, so that the addresses may be given at once."""
        for mac, address in sorted(gone):
            with contextlib.suppress(OSError):  # then the lease runs out by itself
                dhcprelease.release(name, scopes[0].server, mac, address)

    def _took(self, seat: _Seat, server: Process, index: int) -> None:
        try:
            seat.fd = os.pidfd_open(server.pid)
        except ProcessLookupError:
            self._lost(seat, "it ended right after it had started")
            return
        seat.server, seat.index, seat.since, seat.trouble = server, index, time.monotonic(), ""

    def _lost(self, seat: _Seat, why: str) -> None:
        now = time.monotonic()
        self._forget(seat)
        seat.trouble = why
        seat.pause_s = FIRST_S if now - seat.since > MOST_S else min(seat.pause_s * 2, MOST_S)
        seat.due = now + seat.pause_s

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


def _put(path: Path, text: str) -> None:
    """For the eyes of the server, which is nobody special while it serves. Raises StoreError."""
    with explained(path, "write what a DHCP server is told"):
        records.write(path, text.encode(), mode=records.SHARED, flush="nothing")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _given(hosts: str) -> Given:
    """Of a hosts file: who has which address."""
    return frozenset((Mac(words[0]), words[1]) for words in (line.split(",") for line in hosts.splitlines()))


def _index(name: IfName) -> int:
    """0: there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
