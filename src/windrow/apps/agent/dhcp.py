"""The DHCP clients of the host: which run, on which link, and when to look at what they brought.

A part of the agent's loop. The clients are processes that outlive it: one that runs is found again, one that ended is
started again, one that is no longer wanted gives its address back. What they are given is in `store.leases`; to set it
is the plan's business.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from windrow.model.leases import ClientOptions, Lease
from windrow.model.steps import AskAddr, Failure
from windrow.model.values import IfName, parse_ifname
from windrow.services import dhcpdecline, udhcpc
from windrow.services.dhcpevent import note
from windrow.services.errors import ServiceError
from windrow.services.udhcpc import Client, Place, Request, Timing
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.leases import Leases, this_moment
from windrow.store.paths import Paths

FIRST_S, MOST_S = 0.25, 60.0
"""Before a client is started again; the pause doubles until one has lived for MOST_S."""
DECLINED_S, DECLINED_MOST_S = 10.0, 300.0
"""Before a server is asked again whose address was declined (RFC 2131 §3.1 (5): ten seconds at least); the pause
doubles for one that insists."""
RELEASE_S = 2.0
"""A client has sent its DHCPRELEASE long before; what takes time is the start of the program that it runs."""
PID = ".pid"


@dataclass(slots=True)
class _Seat:
    """One link's client: `client` None while none runs, then `due` is when to try again (monotonic)."""

    options: ClientOptions
    client: Client | None = None
    index: int = 0
    """Of the link that it was started on (ifindex): one made anew needs a new client."""
    since: float = 0.0
    due: float = 0.0
    pause_s: float = FIRST_S
    declined: float = -inf
    """When it last declined an address (monotonic), and how long it waits after that."""
    declined_pause_s: float = 0.0


class Clients:
    """All methods belong into one thread, in the namespace of the host's links."""

    def __init__(self, paths: Paths, *, timing: Timing = Timing()) -> None:
        """Raises StoreError where the place for their files cannot be made."""
        self._paths, self._timing = paths, timing
        self._leases = Leases(paths)
        self._seats: dict[IfName, _Seat] = {}
        self._swept = False
        with explained(paths.dhcp, "make a place for DHCP clients"):
            records.make_directory(paths.dhcp, flush=False)
            _make_place_for_leases(paths)
            self._wake = _listen(paths.dhcp / "wake")
        self._missed = False
        """Something came while it was not its turn."""
        self._expiry: float | None = None
        self._look_at_expiry()

    # What the loop calls ----------------------------------------------------------------------------------------------

    def want(self, interfaces: Mapping[IfName, ClientOptions]) -> None:
        """Have a client at work on these links and no others. Call it after each compile and before the plan is carried
        out: an address is given back while it is still there. A link that is not there yet is waited for."""
        if not self._swept:
            self._swept = True
            self._sweep(interfaces)
        for name in [name for name in self._seats if name not in interfaces]:
            self._dismiss(name)
        for name, options in interfaces.items():
            self._seat(name, options)
        self._start_due()
        self._look_at_expiry()

    def failed(self, failure: Failure) -> None:
        """A step of the plan failed. Where somebody else has the address that a server gave, the server is told, and
        asked for another one after a while: the client is ended, for udhcpc does not decline by itself (ADR 26)."""
        name, lease = failure.step.link, self._leases.in_force(this_moment()).get(failure.step.link)
        action, seat = failure.step.action, self._seats.get(name)
        if seat is None or lease is None or failure.errno != errno.EADDRINUSE:
            return
        if isinstance(action, AskAddr) and action.addr == lease.address:
            self._decline(seat, lease, failure.reason)
            self._look_at_expiry()

    def fds(self) -> Mapping[int, int]:
        clients = (seat.client.fd for seat in self._seats.values() if seat.client)
        return dict.fromkeys((self._wake.fileno(), *clients), selectors.EVENT_READ)

    def ready(self, _fd: int) -> bool:
        """Whether a lease may have come, changed or run out. Everything is looked at, whatever woke us."""
        news = bool(self._heard()) or self._missed
        self._missed = False
        expired = self._expiry is not None and _booted() >= self._expiry
        for name, seat in self._seats.items():
            if seat.client is not None and seat.client.ended():
                self._lost(seat)
            udhcpc.trim(self._place(name).log)
        self._start_due()
        self._look_at_expiry()
        return news or expired

    def deadline(self) -> float | None:
        """When a lease runs out or a client is to be tried again; None: neither."""
        due = [seat.due for seat in self._seats.values() if seat.client is None]
        if self._missed:
            due.append(time.monotonic())
        if self._expiry is not None:
            due.append(time.monotonic() + max(self._expiry - _booted(), 0.0))
        return min(due, default=None)

    def close(self) -> None:
        """The clients go on."""
        for seat in self._seats.values():
            if seat.client is not None:
                seat.client.close()
        self._seats.clear()
        self._wake.close()

    # Clients ----------------------------------------------------------------------------------------------------------

    def _sweep(self, interfaces: Mapping[IfName, ClientOptions]) -> None:
        """What an agent before us left, and nobody wants any more."""
        with_client = [p.name.removesuffix(PID) for p in self._paths.dhcp.glob(f"*{PID}")]
        for text in {*with_client, *self._leases.names(), *self._leases.asking()}:
            with contextlib.suppress(ValueError):
                name = parse_ifname(text)
                if name not in interfaces:
                    self._seats[name] = _Seat(ClientOptions(), client=udhcpc.running(self._place(name)))
                    self._dismiss(name)

    def _seat(self, name: IfName, options: ClientOptions) -> None:
        seat = self._seats.get(name)
        if seat is None:
            seat = self._seats[name] = _Seat(options, client=udhcpc.running(self._place(name)), index=_index(name))
            seat.since = time.monotonic()
            asking = self._leases.asking().get(name)
            if seat.client is None and asking is not None and asking.declined:
                waited_s = max(0.0, time.time() - asking.since)  # an agent that ended does not shorten the pause
                seat.due = seat.since + max(0.0, DECLINED_S - waited_s)
            elif seat.client is None and name not in self._leases.in_force(this_moment()):
                self._note(name)  # from now on, and not only when the first answer failed to come
        elif seat.client is not None and (seat.options != options or seat.index != _index(name)):
            seat.client.end()
            seat.client.close()
            seat.client, seat.due, seat.pause_s = None, 0.0, FIRST_S
        elif seat.client is None and not seat.index and _index(name):
            seat.due = min(seat.due, time.monotonic() + FIRST_S)  # the link is there now
        seat.options = options

    def _lost(self, seat: _Seat) -> None:
        now = time.monotonic()
        if seat.client is not None:
            seat.client.close()
        seat.client = None
        seat.pause_s = FIRST_S if now - seat.since > MOST_S else min(seat.pause_s * 2, MOST_S)
        seat.due = now + seat.pause_s

    def _start_due(self) -> None:
        now = time.monotonic()
        for name, seat in self._seats.items():
            if seat.client is not None or seat.due > now:
                continue
            seat.since, seat.index = now, _index(name)
            if not seat.index:
                self._lost(seat)
                continue
            request = Request(
                hostname=seat.options.hostname,
                client_id=seat.options.client_id,
                address=self._leases.address(name),
                timing=self._timing,
            )
            try:
                seat.client = udhcpc.start(self._place(name), request)
            except (ServiceError, OSError) as error:
                self._lost(seat)
                self._note(name, str(error).splitlines()[0])

    def _decline(self, seat: _Seat, lease: Lease, why: str) -> None:
        """First the client, which would renew what is declined."""
        if seat.client is not None:
            seat.client.end()
            seat.client.close()
            seat.client = None
        with contextlib.suppress(OSError):  # the link is gone, or down: then the server gives it once more
            if lease.server:
                dhcpdecline.decline(lease, seat.options.client_id, why)
        with contextlib.suppress(OSError):  # a disk that refuses: then the next round comes to this again
            self._leases.forget(lease.interface)
            note(os.fspath(self._leases.asked_path(lease.interface)), declined=why)
        now = time.monotonic()
        again = now - seat.declined < 2 * DECLINED_MOST_S
        seat.declined_pause_s = min(2 * seat.declined_pause_s, DECLINED_MOST_S) if again else DECLINED_S
        seat.declined, seat.due, seat.pause_s = now, now + seat.declined_pause_s, FIRST_S

    def _dismiss(self, name: IfName) -> None:
        """Give the address back, and forget it."""
        seat, place = self._seats.pop(name), self._place(name)
        if seat.client is not None:
            self._missed = bool(self._heard()) or self._missed
            seat.client.release()
            self._await_release(name, seat.client)
            seat.client.end()
            seat.client.close()
        with contextlib.suppress(OSError):  # a disk that refuses: then it is left to run out
            for path in (place.pid_file, place.log):
                path.unlink(missing_ok=True)
            self._leases.forget(name)

    def _await_release(self, name: IfName, client: Client) -> None:
        """It says so. SIGTERM would overtake SIGUSR2: of two signals that wait, the later one's handler runs first."""
        end = time.monotonic() + RELEASE_S
        while (left := end - time.monotonic()) > 0:
            select.select([self._wake.fileno(), client.fd], [], [], left)
            said = self._heard()
            self._missed = self._missed or any(name not in words.split() for words in said)
            if f"deconfig {name}" in said or client.ended():
                return

    def _note(self, name: IfName, trouble: str = "") -> None:
        """For whoever asks why there is no address."""
        with contextlib.suppress(OSError):
            note(os.fspath(self._leases.asked_path(name)), trouble=trouble)

    # News -------------------------------------------------------------------------------------------------------------

    def _heard(self) -> list[str]:
        """What clients' programs said since."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._wake.recv(256).decode(errors="replace"))
        return found

    def _look_at_expiry(self) -> None:
        now = this_moment()
        left = self._leases.next_expiry(now)
        self._expiry = None if left is None else now.booted_s + left

    def _place(self, name: IfName) -> Place:
        directory = self._paths.dhcp
        return Place(
            interface=name,
            lease=self._leases.path(name),
            asked=self._leases.asked_path(name),
            pid_file=directory / f"{name}{PID}",
            log=directory / f"{name}.log",
            wake=directory / "wake",
        )


def _booted() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _make_place_for_leases(paths: Paths) -> None:
    """Nobody else's, who could make up leases. A disk that has no room for it now is no reason to have no clients."""
    try:
        records.make_directory(paths.leases)
    except records.Foreign:
        raise
    except OSError:
        return


def _index(name: IfName) -> int:
    """0: there is no such link."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _listen(path: Path) -> socket.socket:
    """`sun_path` has 108 bytes: by way of the directory, whose path may be longer."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    one.setblocking(False)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        one.bind(f"/proc/self/fd/{directory}/{path.name}")
        path.chmod(0o600)
    except BaseException:
        one.close()
        raise
    finally:
        os.close(directory)
    return one
