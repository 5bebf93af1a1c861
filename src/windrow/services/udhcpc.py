"""udhcpc, busybox's DHCP client: one for each link, in the background, whoever started it.

It talks and does not configure: what it runs at each event, `dhcpevent`, writes down what the server said. What it does
by itself (busybox 1.35, networking/udhcp/dhcpc.c): it renews after half the lease, by unicast and then by broadcast; a
lease of less than 30 s counts as 30 s; when nobody renews it begins anew, long before the lease has run out. Without a
client identifier among its options it sends its MAC address as one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

from windrow.model.lazy import dataclass
from windrow.model.leases import NO_CLIENT_ID
from windrow.services import child, process
from windrow.services.errors import ServiceError

EVENT = Path(__file__).with_name("dhcpevent.py")
DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
OPTIONS = (26, 121)
"""Asked for beside what it asks for by itself (mask, router, DNS, domain): MTU, classless routes (RFC 3442)."""
LOG_MOST = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`discovers` times a server is asked, `pause_s` between them; then there is a rest of `rest_s`."""

    discovers: int = 3
    pause_s: int = 3
    rest_s: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a client's files are; all of one are named after its link."""

    interface: str
    lease: Path
    asked: Path
    pid_file: Path
    log: Path
    wake: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`address`: the one to ask for, from a lease of before; empty: any."""

    hostname: str = ""
    client_id: str = ""
    """See `model.leases.ClientOptions`."""
    address: str = ""
    timing: Timing = Timing()


class Client:
    """One that runs. `fd`, a pidfd, is readable once it has ended."""

    def __init__(self, found: process.Process) -> None:
        """Raises ProcessLookupError."""
        self.process = found
        self.fd = os.pidfd_open(found.pid)

    def ended(self) -> bool:
        """And, where it was our own child, nothing is left of it."""
        if not select.select([self.fd], [], [], 0)[0]:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self.fd, os.WEXITED | os.WNOHANG)
        return True

    def release(self) -> None:
        """Tell it to give the address back (DHCPRELEASE). It says `deconfig` when it has."""
        self._signal(signal.SIGUSR2)

    def end(self, patience_s: float = 2.0) -> None:
        """Without a word to the server: SIGTERM, and SIGKILL for one that does not listen."""
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, process.KILLED_S)):
            self._signal(number)
            if select.select([self.fd], [], [], wait_s)[0]:
                break
        self.ended()

    def close(self) -> None:
        """It goes on; we only no longer look."""
        os.close(self.fd)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, number)


def start(place: Place, request: Request) -> Client:
    """Start one in the calling thread's network namespace. Raises ServiceError.

    It gets a session of its own and outlives us; it ends by itself where the link is not there.
    """
    busybox = child.find("busybox", DIRECTORIES)
    if busybox is None:
        raise ServiceError("udhcpc", "busybox is not installed", "install the package busybox-static")
    if not os.access(EVENT, os.X_OK):
        raise ServiceError("udhcpc", f"{EVENT} cannot be executed", f"chmod 755 {EVENT}, on a mount without noexec")
    for path in (place.lease, place.asked):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.pid_file.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    try:
        pid = os.posix_spawn(
            busybox,
            [busybox, *_arguments(place, request)],
            _environment(place, request),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(place.log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT),
        )
    except OSError as error:
        raise process.not_started("udhcpc", error) from error
    return Client(process.Process(pid=pid, started=process.start_time(pid) or 0))


def _arguments(place: Place, request: Request) -> list[str]:
    timing = request.timing
    argv = ["udhcpc", "-f", "-i", place.interface, "-p", os.fspath(place.pid_file), "-s", os.fspath(EVENT)]
    argv += ["-t", str(timing.discovers), "-T", str(timing.pause_s), "-A", str(timing.rest_s)]
    argv += [word for option in OPTIONS for word in ("-O", str(option))]
    argv += ["-x", f"hostname:{request.hostname}"] if request.hostname else []
    if request.client_id == NO_CLIENT_ID:
        argv += ["-C"]
    elif request.client_id:
        argv += ["-x", f"0x3d:{request.client_id.replace(':', '')}"]
    return argv + (["-r", request.address] if request.address else [])


def _environment(place: Place, request: Request) -> dict[str, str]:
    """Nothing of ours; the interpreter that runs this is found first."""
    return {
        "PATH": ":".join((os.path.dirname(sys.executable), *DIRECTORIES)),
        "LC_ALL": "C.UTF-8",
        "WINDROW_LINK": place.interface,
        "WINDROW_LEASE": os.fspath(place.lease),
        "WINDROW_ASKED": os.fspath(place.asked),
        "WINDROW_WAKE": os.fspath(place.wake),
        "WINDROW_DISCOVERS": str(request.timing.discovers),
    }


def running(place: Place) -> Client | None:
    """The one of this place that is at work, whoever started it."""
    argument = b"-p\0" + os.fsencode(place.pid_file) + b"\0"
    try:
        pids = [int(place.pid_file.read_text(encoding="ascii"))]
    except (OSError, ValueError):
        # It writes the file a moment after it was started; and the file may have been lost.
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    for pid in pids:
        with contextlib.suppress(OSError):
            if argument in Path(f"/proc/{pid}/cmdline").read_bytes() and (found := process.found(pid)):
                return Client(found)
    return None


def trim(log: Path) -> None:
    """What it says is for a look when something is wrong: the file, in memory, does not grow for ever."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_MOST:
            os.truncate(log, 0)
