"""Speed and duplex of a link (ETHTOOL_GLINKSETTINGS): what no rtnetlink message says."""

from __future__ import annotations

import array
import errno
import fcntl
from struct import Struct

from windrow.model.values import name_bytes
from windrow.netlink import errors

_SIOCETHTOOL, _GLINKSETTINGS = 0x8946, 0x4C
_REQUEST = Struct("@16sP")
_SETTINGS = Struct("=IIB6xb4x28x")
"""struct ethtool_link_settings: command, speed, duplex, link_mode_masks_nwords; three masks of so many words follow."""
_MASKS_MAX = 3 * 127 * 4
_UNKNOWN_SPEEDS = frozenset({0, 0xFFFF_FFFF})
"""SPEED_UNKNOWN, and what drivers say instead while there is no carrier."""
_DUPLEX = {0: "half", 1: "full"}
_NO_ANSWER = frozenset({errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL, errno.EBUSY})
"""No such question to this driver; the link is gone; it does not answer just now."""


class LinkSettings:
    """Asks for one link after the other, over a socket that is open in their namespace. It needs no privilege."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = array.array("B", bytes(_SETTINGS.size + _MASKS_MAX))
        self._address = self._buffer.buffer_info()[0]
        self._words = 0

    def of(self, name: str) -> tuple[int | None, str | None]:
        """(Mbit/s, `full` or `half`), each None where it is not known. Raises KernelError.

        The kernel wants to be told how long its masks are, and says it when told wrong, as a negative number
        (`ethtool_get_link_ksettings`): one question more, for the first link that answers at all.
        """
        request = _REQUEST.pack(name_bytes(name), self._address)
        for _ in range(2):
            _SETTINGS.pack_into(self._buffer, 0, _GLINKSETTINGS, 0, 0, self._words)
            try:
                fcntl.ioctl(self._fd, _SIOCETHTOOL, request)
            except OSError as error:
                if error.errno in _NO_ANSWER:
                    return None, None
                raise errors.of(error.errno or errno.EIO, f"ask for the speed of {name}") from error
            _, speed, duplex, words = _SETTINGS.unpack_from(self._buffer)
            if words > 0:
                return None if speed in _UNKNOWN_SPEEDS else speed, _DUPLEX.get(duplex)
            self._words = -words
        return None, None
