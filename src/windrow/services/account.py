"""The user that a machine's QEMU runs as: one of its own, which nobody else has and which owns nothing.

Its number follows from the machine's name, so nothing has to be allocated, and no entry in /etc/passwd is needed. The
range is one that systemd's table of users (UIDS-GIDS.md) leaves free, above those of containers. What QEMU needs and
may not open itself, it is handed open.
"""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

from windrow.model.lazy import dataclass

FIRST, COUNT = 1_900_000_000, 1 << 24
_MAPS = (Path("/proc/self/uid_map"), Path("/proc/self/gid_map"))


@dataclass(frozen=True, slots=True)
class Account:
    """`number`: user and group alike. `groups`: those of the devices that it may use besides."""

    number: int
    groups: tuple[int, ...] = ()

    def may_use(self, device: Path) -> bool:
        """Whether it may read and write a device (path_resolution(7)); False too where there is none."""
        try:
            found = os.stat(device)
        except OSError:
            return False
        mode = stat.S_IMODE(found.st_mode)
        if self.number == 0 or found.st_uid == self.number:
            return True
        return mode & (0o060 if found.st_gid in self.groups else 0o006) in (0o060, 0o006)


def account_of(namespace: str, name: str, *devices: Path) -> Account:
    """Of a machine. Where this user namespace has no such user, it is the namespace's root, which outside of it is an
    ordinary user. `devices`: those whose group it shall be in, if they have one of their own."""
    number = FIRST + zlib.crc32(f"{namespace}/{name}".encode()) % COUNT
    if not all(_mapped(number, path) for path in _MAPS):
        return Account(0)
    groups = dict.fromkeys(group for device in devices if (group := _group(device)))
    return Account(number, tuple(groups))


def _group(device: Path) -> int:
    """0: none that is the device's alone."""
    try:
        found = os.stat(device)
    except OSError:
        return 0
    return found.st_gid if stat.S_IMODE(found.st_mode) & 0o060 == 0o060 else 0


def _mapped(number: int, path: Path) -> bool:
    """user_namespaces(7): each line is first inside, first outside, how many. A kernel without them has no file."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return True
    return any(int(first) <= number < int(first) + int(count) for first, _, count in map(str.split, lines))
