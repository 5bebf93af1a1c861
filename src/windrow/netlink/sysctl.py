"""sysctls. Those under `net.` belong to the network namespace of the thread that opens them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from windrow.netlink import errors

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "/proc/sys"


def read(key: str) -> str | None:
    """The value, None where there is no such key (its module is not loaded). Raises KernelError."""
    try:
        with open(_place(key), encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, f"read sysctl {key}") from error


def write(key: str, value: str) -> None:
    """Raises KernelError (ENOENT: no such key; EINVAL: not a value for it)."""
    try:
        with open(_place(key), "w", encoding="utf-8") as file:
            file.write(value)
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, f"set sysctl {key}={value}") from error


def path_of(key: str) -> Path:
    """Where a sysctl is; keys as `read` and `write` take them. Raises ValueError for a way out of /proc/sys."""
    from pathlib import Path  # slow to load, and a plugin that sets one has no need of it

    return Path(_place(key))


def _place(key: str) -> str:
    """`net.ipv4.ip_forward`, or with slashes where a name has dots (`net/ipv4/conf/eth0.100/rp_filter`),
    or mixed as sysctl(8) has it (`net.ipv4.conf.eth0/100.rp_filter`). Raises ValueError for a way out of /proc/sys.
    """
    parts = key.split("/") if "/" in key and "." not in key.split("/")[0] else _swapped(key)
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{key!r} is not the name of a sysctl")
    return "/".join((ROOT, *parts))


def _swapped(key: str) -> list[str]:
    return [part.replace("/", ".") for part in key.split(".")]
