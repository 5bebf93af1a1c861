"""What systemd is told by its services (sd_notify(3)), and what it asks of them. Without it, nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path

PACKAGED = "# Of Windrow's package"
"""How a unit begins that a package of an operating system has brought."""


def notify(state: str) -> None:
    """One datagram to the socket that systemd names: `READY=1`, `STOPPING=1`, `WATCHDOG=1`."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where[:1] not in ("/", "@"):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, contextlib.suppress(OSError):
        sock.sendto(state.encode(), address)


def watchdog_s() -> float | None:
    """How often `WATCHDOG=1` is waited for (sd_watchdog_enabled(3)); None: it is not."""
    try:
        interval = int(os.environ.get("WATCHDOG_USEC", ""))
        wanted = int(os.environ.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return interval / 1e6 if interval > 0 and wanted == os.getpid() else None


def quoted(word: str) -> str:
    """A word of a command line in a unit (systemd.service(5), "Command lines"): `%` begins a specifier, `$` a
    variable."""
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{escaped}"' if any(c in escaped for c in " \t'\"\\;") or not escaped else escaped


def command_line(words: Sequence[str], options: str = "") -> str:
    """As a unit has it. `options`: the environment variable with more of them, which systemd takes apart."""
    return " ".join([*map(quoted, words), *([f"${options}"] if options else [])])


def unit_of(template: str, *, name: str, mark: str, settings: Path | None, **parts: str) -> str:
    """The text of a unit whose template has {mark}, {name}, {settings} and `parts`.

    `mark`: how one begins that Windrow wrote. `settings`: a file of the administrator's with environment variables
    (systemd.exec(5), EnvironmentFile=), which the unit of a package has.
    """
    packaged = settings is not None
    environment = f"EnvironmentFile=-{settings}\n" if packaged else ""
    return template.format(mark=PACKAGED if packaged else mark, name=name, settings=environment, **parts)
