"""Taps: a packet socket on each NIC, below every bond and bridge, that sends probes and hears them."""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator
from struct import Struct

from windrow.frames.ethernet import BROADCAST, mac_bytes
from windrow.frames.probe import ETHERTYPE
from windrow.model.values import IfName, Mac, name_bytes
from windrow.netlink.packets import LONGEST, PacketSocket, Rule, ethertype

_RULES: tuple[Rule, ...] = (((ethertype(ETHERTYPE),), LONGEST),)
_BUFFER = 4 * 1024 * 1024
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_IFREQ = Struct("=16sH22x")
_SIOCGIFINDEX, _IFREQ_INDEX = 0x8933, Struct("=16si20x")


class Tap:
    """One NIC, in the namespace of the thread that opens it. `macs`: where the unicast probes go that may come in on
    it: its own, and those of the other NICs of its channel, of which the switch chooses one for each sender."""

    def __init__(self, nic: IfName, macs: Collection[Mac]) -> None:
        """Raises KernelError (EPERM without CAP_NET_RAW, ENODEV)."""
        self.nic, self.macs = nic, frozenset(macs)
        own = frozenset(map(mac_bytes, macs))
        self._wanted = own | {BROADCAST}
        self._socket = PacketSocket(nic, _RULES, macs=own, buffer=_BUFFER, doing=f"listen for probes on {nic}")

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def is_there(self) -> bool:
        """Whether the NIC of this name is still the one that this tap was put on."""
        try:
            answer = fcntl.ioctl(self.fileno(), _SIOCGIFINDEX, _IFREQ_INDEX.pack(name_bytes(self.nic), 0))
        except OSError:
            return False
        return bool(_IFREQ_INDEX.unpack(answer)[1] == self._socket.index)

    @property
    def running(self) -> bool:
        """Whether it has carrier and is up. One that is gone has none."""
        try:
            answer = fcntl.ioctl(self.fileno(), _SIOCGIFFLAGS, _IFREQ.pack(name_bytes(self.nic), 0))
        except OSError:
            return False
        return bool(_IFREQ.unpack(answer)[1] & _IFF_RUNNING)

    def send(self, frame: bytes) -> str:
        """Why it could not be sent; else an empty text."""
        return self._socket.send(frame)

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """The tag with which it came (0: none) and what is behind the EtherType, of what has come in for us."""
        for packet in self._socket.receive():
            if packet.frame[:6] in self._wanted:
                yield packet.tag, packet.frame[14:]
