"""What the kernel refuses.

    KernelError                a request failed: errno, the kernel's extended ACK text, and what we were doing
    ├── NoPermission           EPERM or EACCES while the thread lacks CAP_NET_ADMIN
    ├── NotSupported           EOPNOTSUPP or EAFNOSUPPORT: this kernel lacks it; names the module where it is known
    ├── NoSuchLink             ENODEV: the link is not there (any more)
    └── AlreadyThere           EEXIST

The class is chosen by errno, never by the text (`of`).
"""

from __future__ import annotations

import errno as codes
import os

from windrow.model.errors import WindrowError

MODULES = {
    "bond": "bonding",
    "bridge": "bridge",
    "vlan": "8021q",
    "veth": "veth",
    "dummy": "dummy",
    "vxlan": "vxlan",
    "wireguard": "wireguard",
}
"""Link kind -> the kernel module that brings it (`MODULE_ALIAS_RTNL_LINK`)."""

_CAP_NET_ADMIN = 12


class KernelError(WindrowError):
    """A request that the kernel refused.

    `errno` is positive; `extack` is the kernel's own explanation, empty where it gave none;
    `doing` says what was asked for ("create bond oob-bo"); `reason` is errno in words.
    """

    hint = ""

    def __init__(self, errno: int, doing: str, extack: str = "", hint: str = "") -> None:
        self.errno, self.doing, self.extack = errno, doing, extack
        self.reason = os.strerror(errno)
        self.hint = hint or self.hint
        super().__init__(str(self))

    @property
    def explanation(self) -> str:
        """Everything but what we were doing: errno in words and the hint."""
        return f"{self.reason} ({self.hint})" if self.hint else self.reason

    def __str__(self) -> str:
        name = codes.errorcode.get(self.errno, str(self.errno))
        text = f"{self.doing}: {self.extack or self.reason} [{name}]"
        return f"{text}: {self.hint}" if self.hint else text


class NoPermission(KernelError):
    hint = "this needs the capability CAP_NET_ADMIN: run it as root"


class NotSupported(KernelError):
    pass


class NoSuchLink(KernelError):
    pass


class AlreadyThere(KernelError):
    pass


def of(errno: int, doing: str, extack: str = "", kind: str = "", hint: str = "") -> KernelError:
    """The KernelError for an errno; `kind` is the link kind that was being made or changed."""
    match errno:
        case codes.EPERM | codes.EACCES if not may_administer():
            return NoPermission(errno, doing, extack)
        case codes.EOPNOTSUPP | codes.EAFNOSUPPORT:
            module = MODULES.get(kind, "") if not extack or _unknown_kind(errno, kind) else ""
            hint = f"this kernel has no {kind} links: load the module {module}" if module else hint
            return NotSupported(errno, doing, extack, hint)
        case codes.ENODEV | codes.ENXIO:
            return NoSuchLink(errno, doing, extack)
        case codes.EEXIST:
            return AlreadyThere(errno, doing, extack)
        case _:
            return KernelError(errno, doing, extack, hint)


def _unknown_kind(errno: int, kind: str) -> bool:
    """`rtnl_newlink` answers EOPNOTSUPP ("Unknown device type") to a kind it does not know. A kind it
    knows may answer the same for a reason of its own, and then its module is in memory."""
    return errno == codes.EOPNOTSUPP and not os.path.exists(f"/sys/module/{MODULES.get(kind, '')}")


def may_administer() -> bool:
    """Whether this thread has CAP_NET_ADMIN, in whichever user namespace it is."""
    try:
        with open("/proc/thread-self/status", encoding="ascii") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return bool(effective >> _CAP_NET_ADMIN & 1)
