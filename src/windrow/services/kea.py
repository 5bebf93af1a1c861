"""Kea's DHCPv4 server: a process that is told everything by its control socket."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windrow.model.values import IfName
from windrow.services import process
from windrow.services.errors import ServiceError

NAME = "kea-dhcp4"
READY_S, ANSWER_S = 5.0, 10.0
"""Until it serves; until it has answered, 20,000 reservations taken in meanwhile."""
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_HOOKS = ("lib/*/kea/hooks", "lib/kea/hooks", "lib64/kea/hooks", "local/lib/kea/hooks")
"""Below /usr: Debian's and others', and where `make install` puts them."""
_LEASE_COMMANDS = "libdhcp_lease_cmds.so"


def start(directory: Path, interface: IfName) -> process.Process:
    """Start it with `directory/kea.json`, in the calling thread's network namespace; it serves when this returns.

    It stays in that directory with its lock and pid files, and answers at `directory/control`. It looks at its link
    once: without carrier, or without an address, it would never serve there. Raises ServiceError.
    """
    if shutil.which(NAME) is None:  # `env` would say it in its own words
        raise process.not_started(NAME, FileNotFoundError(errno.ENOENT, "it is not installed"))
    if not _running(interface):
        raise ServiceError(NAME, f"{interface} has no carrier")
    (directory / "control").unlink(missing_ok=True)
    own = [f"KEA_PIDFILE_DIR={directory}", f"KEA_LOCKFILE_DIR={directory}", "KEA_LOGGER_DESTINATION=stdout"]
    argv = ["env", *own, NAME, "-c", f"{directory}/kea.json"]
    program = process.start(argv, directory=directory, log=directory / "log")
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if (died := program.died()) is not None:
            raise died
        try:
            ask(directory, "status-get")
        except (ServiceError, OSError):
            time.sleep(0.05)
        else:
            (directory / "pid").write_text(f"{program.process.pid}\n")
            return program.process
    process.end(program.process)
    raise ServiceError(NAME, f"it did not answer within {READY_S:.0f} s: {process.last_words(directory / 'log')}")


def _running(interface: IfName) -> bool:
    """A link that has just been made has no carrier for a moment (`linkwatch_do_dev`)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        asked = struct.pack("16sH22x", interface.encode(), 0)
        flags: int = struct.unpack("16sH22x", fcntl.ioctl(one, _SIOCGIFFLAGS, asked))[1]
    return bool(flags & _IFF_RUNNING)


def running(directory: Path) -> process.Process | None:
    """The one that was started with this directory, if it is there."""
    try:
        pid = int((directory / "pid").read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return process.found(pid) if bytes(directory / "kea.json") in command else None


def configure(directory: Path, wanted: Mapping[str, Any], good: Mapping[str, Any] | None) -> None:
    """Have it serve `wanted`; leases stay. It is tested first: a refused `config-set` leaves the server silent, while
    `config-get` still shows the old one; should that happen all the same, `good` is sent again. Raises ServiceError."""
    ask(directory, "config-test", wanted)
    try:
        ask(directory, "config-set", wanted)
    except ServiceError:
        if good is not None:
            ask(directory, "config-set", good)
        raise


def forget(directory: Path, address: str) -> None:
    """Its lease ends now. Raises ServiceError, also where there is none."""
    ask(directory, "lease4-del", {"ip-address": address})


def hook() -> str:
    """The library with `lease4-del`; empty: it is not installed."""
    found = (path for place in _HOOKS for path in sorted(Path("/usr").glob(f"{place}/{_LEASE_COMMANDS}")))
    return os.fspath(next(found, ""))


def ask(directory: Path, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """One command, one answer. The socket is reached by way of the directory: `sun_path` has 108 bytes. Raises
    ServiceError, OSError."""
    question = {"command": command} | ({"arguments": arguments} if arguments is not None else {})
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as one:
            one.settimeout(ANSWER_S)
            one.connect(f"/proc/self/fd/{place}/control")
            one.sendall(json.dumps(question).encode())
            text = b"".join(iter(lambda: one.recv(65536), b""))
    finally:
        os.close(place)
    answer = json.loads(text)
    if answer.get("result") != 0:
        raise ServiceError(NAME, f"{command}: {answer.get('text', 'it said no')}")
    return answer.get("arguments")
