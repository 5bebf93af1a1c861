#!/usr/bin/env -S python3 -I -S
"""What udhcpc runs when something happens to a lease (busybox, networking/udhcp/dhcpc.c: udhcp_run_script).

It configures nothing. It writes down what the server said, and wakes the agent, who is the only one to set addresses.
A program of its own that starts in 15 ms, and no shell: what a server says comes in the environment, as texts that
only JSON ever quotes. Of Windrow it imports nothing.

The one argument is the event: `deconfig` (the client starts, gives its address back, or gives up on renewing),
`leasefail` (nobody answered), `bound`, `renew`, `nak`. Whose lease it is comes in WINDROW_LINK, where to
write in WINDROW_LEASE, WINDROW_ASKED and WINDROW_WAKE, how often a server is asked before `leasefail` in
WINDROW_DISCOVERS.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import sys
import time

KEPT = ("ip", "subnet", "router", "dns", "domain", "lease", "serverid", "mtu", "staticroutes")
SCHEMA: dict[str, object] = {"schema": 1}
"""The form of its files, as `store.records.stamped` has it."""
LONGEST = 2048
"""A DHCP message has 576 bytes, and rarely more."""


def main(event: str, env: dict[str, str]) -> None:
    lease, asked = env["WINDROW_LEASE"], env["WINDROW_ASKED"]
    if event in ("bound", "renew"):
        options = {name: env[name][:LONGEST] for name in KEPT if name in env}
        why = refusal(options)
        if why:
            note(asked, trouble=f"what {options.get('serverid', 'the server')} offers has {why}")
        else:
            write(lease, SCHEMA | {"event": event, **moment(), "options": options})
            remove(asked)
    elif event == "nak":
        write(lease, SCHEMA | {"event": event, **moment(), "options": {}})
        note(asked)
    elif event == "leasefail":
        note(asked, times=int(env.get("WINDROW_DISCOVERS", "1")))
    elif event == "deconfig":
        note(asked, news=False)


def refusal(options: dict[str, str]) -> str:
    """What is missing for an address to be set; empty: nothing. A lease in force is not given up for less: this is for
    the server that forgets an option when it renews. Whoever reads the file looks closer."""
    if number(options.get("ip", "")) in (None, 0):
        return "no address"
    mask = number(options.get("subnet", ""))
    if mask is None:
        return "no network mask"
    host = ~mask & 0xFFFFFFFF
    return f"the network mask {options['subnet']}" if mask == 0 or host & (host + 1) else ""


def number(dotted: str) -> int | None:
    """`10.0.0.1` as a number; None where it is no IPv4 address."""
    parts = dotted.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        return None
    found = [int(part) for part in parts]
    return int.from_bytes(bytes(found), "big") if max(found) < 256 else None


def moment() -> dict[str, str | float]:
    """By three clocks: one that no hand turns, the boot that it counts from, and one that outlives it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return {"boot": boot, "booted_s": time.clock_gettime(time.CLOCK_BOOTTIME), "wall_s": time.time()}


def note(path: str, *, times: int = 0, trouble: str = "", declined: str = "", news: bool = True) -> None:
    """That a server is looked for: so often more, since the first time. What was declined is told until there is
    `news`, for the client that asks for another address knows nothing of it."""
    try:
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        count, since = int(before["times"]), float(before["since"])
        declined = declined if news else str(before.get("declined", ""))
    except (OSError, ValueError, KeyError, TypeError):
        count, since = 0, time.time()
    write(path, SCHEMA | {"times": count + times, "since": since, "trouble": trouble, "declined": declined})


def write(path: str, document: object) -> None:
    """The old one or the new one, also after a crash of the machine. It promises what `store.records.write` does, and
    the same tests hold both to it: to import that one would take longer than all that is done here."""
    directory, name = os.path.split(path)
    temp = os.path.join(directory, f".{name}.new")
    remove(temp)
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            os.fchmod(fd, 0o644)
            left = json.dumps(document).encode()
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temp, path)
    except BaseException:
        remove(temp)
        raise


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def wake(event: str, link: str, path: str) -> None:
    """Nobody there is no error: it reads the file when it comes. `sun_path` has 108 bytes, so go there first."""
    one = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    with contextlib.closing(one), contextlib.suppress(OSError):
        os.chdir(os.path.dirname(path))
        one.setblocking(False)
        one.sendto(f"{event} {link}".encode(), os.path.basename(path))


if __name__ == "__main__":
    os.umask(0o022)
    try:
        main(sys.argv[1], dict(os.environ))
    finally:
        wake(sys.argv[1], os.environ["WINDROW_LINK"], os.environ["WINDROW_WAKE"])
