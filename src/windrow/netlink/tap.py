"""Taps: the Ethernet cards whose far end a process holds (Documentation/networking/tuntap.rst).

A persistent one stays when its maker has gone. QEMU is handed it open (`opened`), and needs neither the device nor any
capability; another hypervisor opens it by its name, as the owner that is set here. `links.delete` takes it away.
"""

from __future__ import annotations

import errno
import fcntl
import os
from struct import Struct

from windrow.model.values import name_bytes
from windrow.netlink import errors
from windrow.netlink.netns import Netns, opened_in

DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER, _TUNSETGROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
_IFF_TAP, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0002, 0x0100, 0x1000, 0x4000, 0x8000
_IFREQ = Struct("=16sH22x")
_HINTS = {
    errno.ENOENT: "this kernel has no taps, or they are not let in here: load the module tun, and see /dev/net/tun",
    errno.ENODEV: "this kernel has no taps: load the module tun",
    errno.ENXIO: "this kernel has no taps: load the module tun",
    errno.EBUSY: "there is a link of this name already",
}


def create(name: str, *, netns: Netns = None, multi_queue: bool = False, owner: tuple[int, int] = (0, 0)) -> None:
    """Make a persistent tap in a namespace. `owner`: the user and group ids that may open it.

    It has no packet information before its frames (IFF_NO_PI), as QEMU wants it. Whoever opens it must say
    IFF_MULTI_QUEUE just as it was made (`tun_set_iff`: EINVAL). Raises KernelError (EBUSY: the name is taken).
    """
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL | (_IFF_MULTI_QUEUE if multi_queue else 0)
    doing = f"create tap {name}"

    def make() -> None:
        try:
            fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _said(error, doing) from error
        try:
            fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(name_bytes(name), flags))
            fcntl.ioctl(fd, _TUNSETOWNER, owner[0])
            fcntl.ioctl(fd, _TUNSETGROUP, owner[1])
            fcntl.ioctl(fd, _TUNSETPERSIST, 1)  # last: until now it goes with this descriptor
        except OSError as error:
            raise _said(error, doing) from error
        finally:
            os.close(fd)

    opened_in(netns, make)


def opened(name: str, *, netns: Netns = None, queues: int = 0) -> list[int]:
    """File descriptors of a tap that is there: one, or one for each of its queues. Whoever has them is its far end.

    With virtio's header before each frame (IFF_VNET_HDR), as QEMU sets it where it opens the tap itself. Raises
    KernelError; then none is open.
    """
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if queues else 0)
    found: list[int] = []

    def open_all() -> None:
        try:
            for _ in range(queues or 1):
                found.append(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
                fcntl.ioctl(found[-1], _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
        except OSError as error:
            for fd in found:
                os.close(fd)
            raise _said(error, f"open tap {name}") from error

    opened_in(netns, open_all)
    return found


def _said(error: OSError, doing: str) -> errors.KernelError:
    code = error.errno or errno.EIO
    found = errors.of(code, doing)
    return errors.KernelError(code, doing, hint=_HINTS[code]) if code in _HINTS else found
