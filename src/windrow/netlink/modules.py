"""Whether a kernel module came: what the kernel tells udev of it (NETLINK_KOBJECT_UEVENT).

Of br_netfilter nobody else tells: its sysctls are files that were not there before.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import errno

from windrow.netlink import errors

_NETLINK_KOBJECT_UEVENT, _FROM_KERNEL = 15, 1
_RECEIVE = 8192
"""More than UEVENT_BUFFER_SIZE."""
_MESSAGES_MAX = 4096


class ModuleEvents:
    """A socket that hears of one module, from its making on. Never blocks. Raises KernelError.

    The message comes when the module is at work, and with kernels before 5.12 shortly before (`do_init_module`).
    """

    def __init__(self, module: str) -> None:
        self._wanted = f"add@/module/{module}\0".encode()
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_KOBJECT_UEVENT)
            self._socket.bind((0, _FROM_KERNEL))
        except OSError as error:
            raise errors.of(error.errno or errno.EIO, "listen to what modules are loaded") from error

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bool:
        """Whether it came since the last time, or may have come. Raises KernelError."""
        heard = False
        for _ in range(_MESSAGES_MAX):
            try:
                heard |= self._socket.recv(_RECEIVE).startswith(self._wanted)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise errors.of(error.errno or errno.EIO, "hear what modules are loaded") from error
                heard = True
        return heard
