"""An ear on one NIC, below bonds and bridges: LLDP, CDP and LACP of the switch, this host's own frames that come back,
and those of somebody else with a MAC of this host. It never sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from windrow.frames import cdp, lacp, lldp
from windrow.frames.lacp import Lacpdu
from windrow.frames.lldp import Gone
from windrow.frames.reading import Unreadable, mac_text
from windrow.model.evidence import Kind, SwitchPort
from windrow.model.values import IfName
from windrow.netlink.packets import LONGEST, PacketSocket, Rule, ethertype, mac
from windrow.sense.doubles import Doubles
from windrow.sense.neighbours import Neighbours

GROUPS = (*lldp.GROUPS, lacp.GROUP, cdp.GROUP)
MACS_MAX = 32
"""Addresses of this host that are looked for: a program of the kernel's filter has at most 4096 lines, and each costs a
little for every frame."""
_HEAD = 64


class Ear:
    """`own`: MACs of this host. `idle`: the NIC is a leg that its bond does not use, where nothing should be for us.
    `sole`: the MAC with which this host sends by this NIC alone, so that none of its frames can come back here."""

    def __init__(self, nic: IfName, own: Sequence[bytes], *, idle: bool, sole: bytes | None = None) -> None:
        """Raises KernelError (EPERM without CAP_NET_RAW, ENODEV)."""
        self._own, self._idle, self._sole = tuple(own[:MACS_MAX]), idle, sole
        self._socket = PacketSocket(nic, _rules(self._own, idle=idle), macs=GROUPS)
        self.nic = nic
        self.came_back = self.for_us = 0
        self.doubles = Doubles()
        self.unreadable: dict[Kind, int] = {}
        """Frames that were not what they should be, by what they should be."""
        self.why: dict[Kind, str] = {}
        """What was wrong with the last one."""
        self.lacp: tuple[Lacpdu, float] | None = None
        """The last LACPDU, and when it came (monotonic seconds)."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def tell(self, own: Sequence[bytes], *, idle: bool, sole: bytes | None = None) -> None:
        """What has changed since."""
        self.doubles.looked(certain=sole is not None and sole == self._sole)
        self._sole = sole
        if (tuple(own[:MACS_MAX]), idle) != (self._own, self._idle):
            if idle and not self._idle:
                self.for_us = 0
            self._own, self._idle = tuple(own[:MACS_MAX]), idle
            self._socket.want(_rules(self._own, idle=idle))

    @property
    def idle(self) -> bool:
        return self._idle

    def hear(self, neighbours: Neighbours, now: float, clock: float) -> None:
        """All that has come in. `now`: monotonic seconds; `clock`: Unix time."""
        for packet in self._socket.receive():
            frame = packet.frame
            if frame[:6] == cdp.GROUP and frame[14:22] == cdp.SNAP:  # it is UDLD's and VTP's, too
                self._neighbour(Kind.CDP, cdp.decode, frame[12:], neighbours, now, clock)
                continue
            match int.from_bytes(frame[12:14], "big"):
                case lldp.ETHERTYPE:
                    self._neighbour(Kind.LLDP, lldp.decode, frame[14:], neighbours, now, clock)
                case lacp.ETHERTYPE:
                    self._lacp(frame[14:], now)
                case _ if frame[6:12] in self._own:
                    self.came_back += 1
                    if frame[6:12] == self._sole:
                        self.doubles.hear(packet.tag, mac_text(self._sole), now)
                case _ if self._idle and frame[:6] in self._own:
                    self.for_us += 1
                case _:
                    pass

    def _neighbour(
        self,
        kind: Kind,
        decode: Callable[[bytes, float], SwitchPort | Gone | Unreadable],
        data: bytes,
        neighbours: Neighbours,
        now: float,
        clock: float,
    ) -> None:
        said = decode(data, clock)
        if isinstance(said, Unreadable):
            self._wrong(kind, said)
        else:
            neighbours.hear(self.nic, said, kind, now)

    def _lacp(self, data: bytes, now: float) -> None:
        said = lacp.decode(data)
        if isinstance(said, Lacpdu):
            self.lacp = (said, now)
        elif data[:1] == bytes([lacp.SUBTYPE]):  # others are of other slow protocols: markers, OAM
            self._wrong(Kind.LACP, said)

    def _wrong(self, kind: Kind, said: Unreadable) -> None:
        self.unreadable[kind] = self.unreadable.get(kind, 0) + 1
        self.why[kind] = said.reason


def _rules(own: Sequence[bytes], *, idle: bool) -> list[Rule]:
    rules: list[Rule] = [
        ([ethertype(lldp.ETHERTYPE)], LONGEST),
        ([ethertype(lacp.ETHERTYPE)], LONGEST),
        (mac(0, cdp.GROUP), LONGEST),
    ]
    rules += [(mac(6, one), _HEAD) for one in own]
    if idle:
        rules += [(mac(0, one), _HEAD) for one in own]
    return rules
