"""What every plugin of ours is, and how one is run: by a runtime's call (`dispatch`), or by the plugin that gives a pod
its many NICs (`chain`)."""

from __future__ import annotations

import errno
from typing import Protocol

from windrow.apps.cni.host import Host
from windrow.netlink.errors import KernelError
from windrow.port import request as commands
from windrow.port.errors import INVALID_ENVIRONMENT, KERNEL_REFUSED, TRY_AGAIN, CniError
from windrow.port.request import Request
from windrow.port.result import Result

BRIDGE_TYPES = ("bridge", "windrow-bridge")


class Plugin(Protocol):
    """What the module of a plugin has. All raise CniError."""

    def add(self, request: Request, host: Host) -> Result: ...
    def delete(self, request: Request, host: Host) -> None: ...
    def check(self, request: Request, host: Host) -> None: ...
    def status(self, request: Request, host: Host) -> None: ...
    def gc(self, request: Request, host: Host) -> None: ...


def run(plugin: Plugin, request: Request, host: Host) -> Result | None:
    """Do what is asked for; the result of an ADD, else None. Raises CniError."""
    try:
        match request.command:
            case commands.ADD:
                return plugin.add(request, host)
            case commands.DEL:
                plugin.delete(request, host)
            case commands.CHECK:
                plugin.check(request, host)
            case commands.STATUS:
                plugin.status(request, host)
            case commands.GC:
                plugin.gc(request, host)
            case other:
                raise CniError(INVALID_ENVIRONMENT, f"{other} is not a command of a plugin")
    except KernelError as error:
        raise refused(error) from error
    return None


def refused(error: KernelError) -> CniError:
    """What the kernel refused, as the answer to a call."""
    if error.errno == errno.EAGAIN:
        return CniError(TRY_AGAIN, str(error), "ask again later")
    name = errno.errorcode.get(error.errno, str(error.errno))
    details = ": ".join(part for part in (name, error.extack or error.reason, error.hint) if part)
    return CniError(KERNEL_REFUSED, f"{error.doing}: {error.extack or error.reason}", details)
