"""dnsmasq, which answers DHCP inside a pod and in VLANs."""

from __future__ import annotations

from pathlib import Path

from windrow.services import process
from windrow.services.errors import ServiceError


def start(config: Path, pid_file: Path) -> process.Process:
    """Start it in the calling thread's network namespace; it stays, and it serves when this returns.

    It goes into the background itself: its first process ends, with its complaint or without one, only when the
    sockets are bound and the pid file is written. Raises ServiceError.
    """
    pid_file.unlink(missing_ok=True)
    process.run(["dnsmasq", f"--conf-file={config}", f"--pid-file={pid_file}"])
    found = running(pid_file)
    if found is None:
        raise ServiceError("dnsmasq", "it ended right after it had started")
    return found


def running(pid_file: Path) -> process.Process | None:
    """The one of this pid file, if it is there."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return process.found(pid) if bytes(pid_file) in command else None


def reload(server: process.Process) -> None:
    """Have it read hosts and options again (SIGHUP): no lease is lost."""
    process.hang_up(server)
