"""Taps: a packet socket on each NIC, below every bond and bridge, that sends probes and hears them.

ETH_P_ALL, because a socket for one EtherType hears nothing on a bridge port or a bond's slave (`rx_handler` takes the
frame before). A BPF filter keeps all other traffic away from us; the tag, which is out of the frame by then, comes with
PACKET_AUXDATA (packet(7)).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from struct import Struct

from windrow.frames.ethernet import mac_bytes
from windrow.frames.probe import ETHERTYPE
from windrow.model.values import IfName, Mac, name_bytes
from windrow.netlink import errors
from windrow.netlink.ingress import ethertype_filter

_ETH_P_ALL = 0x0003
_SOL_PACKET, _ADD_MEMBERSHIP, _AUXDATA, _IGNORE_OUTGOING = 263, 1, 8, 23
_MR_UNICAST = 3
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_BUFFER = 4 * 1024 * 1024
_FPROG = Struct("HP")
"""struct sock_fprog."""
_MREQ = Struct("=iHH8s")
"""struct packet_mreq."""
_AUX = Struct("=IIIHHHH")
"""struct tpacket_auxdata."""
_VLAN_VALID = 0x10
_OUTGOING = 4
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_IFREQ = Struct("=16sH22x")
_SIOCGIFINDEX, _IFREQ_INDEX = 0x8933, Struct("=16si20x")
_LONGEST = 65535
_BROADCAST = b"\xff" * 6
BATCH = 256
"""Frames of one NIC that are read in a row: others have their turn, too."""


class Tap:
    """One NIC, in the namespace of the thread that opens it. `macs`: where the unicast probes go that may come in on
    it: its own, and those of the other NICs of its channel, of which the switch chooses one for each sender."""

    def __init__(self, nic: IfName, macs: Collection[Mac]) -> None:
        """Raises KernelError (EPERM without CAP_NET_RAW, ENODEV)."""
        self.nic, self.macs = nic, frozenset(macs)
        self._index = 0
        self._wanted = frozenset({_BROADCAST, *map(mac_bytes, macs)})
        try:
            # Protocol 0: it hears nothing before it has its filter and its NIC.
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
            )
        except OSError as error:
            raise errors.of(error.errno or 0, f"listen for probes on {nic}") from error
        try:
            self._prepare()
        except OSError as error:
            self._socket.close()
            raise errors.of(error.errno or 0, f"listen for probes on {nic}") from error

    def _prepare(self) -> None:
        code = ctypes.create_string_buffer(ethertype_filter(ETHERTYPE, _LONGEST))
        program = _FPROG.pack(4, ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        with suppress(OSError):  # beyond net.core.rmem_max only with CAP_NET_ADMIN
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        with suppress(OSError):  # since Linux 4.20; before that they are skipped one by one
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._socket.bind((self.nic, _ETH_P_ALL))
        self._index = socket.if_nametoindex(self.nic)
        for mac in self._wanted - {_BROADCAST}:
            member = _MREQ.pack(self._index, _MR_UNICAST, len(mac), mac)
            with suppress(OSError):  # a card without so many address filters: it is promiscuous, or hears none of it
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def is_there(self) -> bool:
        """Whether the NIC of this name is still the one that this tap was put on."""
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, _IFREQ_INDEX.pack(name_bytes(self.nic), 0))
        except OSError:
            return False
        return bool(_IFREQ_INDEX.unpack(answer)[1] == self._index)

    @property
    def running(self) -> bool:
        """Whether it has carrier and is up. One that is gone has none."""
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, _IFREQ.pack(name_bytes(self.nic), 0))
        except OSError:
            return False
        return bool(_IFREQ.unpack(answer)[1] & _IFF_RUNNING)

    def send(self, frame: bytes) -> str:
        """Why it could not be sent; else an empty text."""
        try:
            self._socket.send(frame)
        except OSError as error:
            return error.strerror or os.strerror(error.errno or 0)
        return ""

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """The tag with which it came (0: none) and what is behind the EtherType, of what has come in for us."""
        for _ in range(BATCH):
            try:
                data, ancillary, _, address = self._socket.recvmsg(_LONGEST, socket.CMSG_SPACE(_AUX.size))
            except BlockingIOError:
                return
            except OSError:  # ENETDOWN, once, when the NIC goes down: it comes back, or is taken from us
                return
            if address[2] == _OUTGOING or data[:6] not in self._wanted:
                continue
            yield _tag(ancillary), data[14:]


def _tag(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _AUXDATA and len(data) >= _AUX.size:
            status, *_, tci, _ = _AUX.unpack_from(data)
            return tci & 0x0FFF if status & _VLAN_VALID else 0
    return 0
