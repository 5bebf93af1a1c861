"""The network namespace that a call is about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from windrow.port.errors import INVALID_ENVIRONMENT, MISSING, SAME_NAMESPACE, CniError
from windrow.port.request import Request

OVERRIDE = "CNI_NETNS_OVERRIDE"
"""`1` or `true`: the plugin's own namespace is wanted as the container's."""
_OWN = "/proc/thread-self/ns/net"


@contextmanager
def opened(request: Request) -> Iterator[int]:
    """An fd of it. Raises CniError: it is gone, it is none, or it is the host's own."""
    try:
        fd = os.open(request.netns, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CniError(MISSING, f"failed to open netns {request.netns!r}: it is not there") from error
    except OSError as error:
        raise CniError(INVALID_ENVIRONMENT, f"failed to open netns {request.netns!r}: {error.strerror}") from error
    try:
        check(request, os.fstat(fd))
        yield fd
    finally:
        os.close(fd)


def is_namespace(path: str) -> bool:
    """Whether a namespace is there: not only the empty file that a name of `/run/netns` is mounted on."""
    try:
        return os.stat(path).st_dev == os.stat(_OWN).st_dev
    except OSError:
        return False


def there(request: Request) -> bool:
    """Whether there is one. Raises CniError: it is the host's own."""
    try:
        found = os.stat(request.netns)
    except OSError:
        return False
    own = os.stat(_OWN)
    if found.st_dev == own.st_dev:
        check(request, found)
    return found.st_dev == own.st_dev


def check(request: Request, found: os.stat_result) -> None:
    """Before any work: what comes undone in the host's own namespace is not easily put right again."""
    own = os.stat(_OWN)
    if found.st_dev != own.st_dev:  # all namespaces are files of one nsfs
        raise CniError(INVALID_ENVIRONMENT, f"CNI_NETNS {request.netns!r} is not a network namespace")
    if found.st_ino == own.st_ino and request.env.get(OVERRIDE, "").lower() not in ("1", "true"):
        details = f"CNI_NETNS {request.netns!r} is where this plugin runs; {OVERRIDE}=1 allows it"
        raise CniError(SAME_NAMESPACE, "plugin's netns and netns from CNI_NETNS should not be the same", details)
