"""Packet sockets, and the classic BPF programs that keep from them what nobody wants to hear (packet(7), bpf(4)).

A socket for all EtherTypes stands before bonds, bridges and Open vSwitch (`__netif_receive_skb_core`: ptype_all, then
rx_handler), where one for a single EtherType hears only what they leave. The VLAN tag is out of the frame by then: it
comes beside it (PACKET_AUXDATA).
"""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from struct import Struct

from windrow.model.lazy import dataclass
from windrow.model.values import IfName
from windrow.netlink import errors

Test = tuple[tuple[tuple[int, int], ...], int]
"""How to load a value (instructions: code, operand), and what it must be."""
Rule = tuple[Sequence[Test], int]
"""Tests that must all hold, and how many bytes of the frame are then wanted."""

_ETH_P_ALL = 0x0003
_SOL_PACKET, _ADD_MEMBERSHIP, _AUXDATA, _IGNORE_OUTGOING = 263, 1, 8, 23
_MR_MULTICAST, _MR_UNICAST, _OUTGOING = 0, 3, 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_LINE = Struct("=HBBI")
_FPROG = Struct("HP")
"""struct sock_fprog."""
_MREQ = Struct("=iHH8s")
"""struct packet_mreq."""
_AUX = Struct("=IIIHHHH")
"""struct tpacket_auxdata."""
_VLAN_VALID = 0x10
_LD_WORD, _LD_HALF, _LD_BYTE, _LDX_IP_LENGTH, _LD_HALF_X = 0x20, 0x28, 0x30, 0xB1, 0x48
_JEQ, _RET = 0x15, 0x06
_PROTOCOL = 0xFFFFF000
"""SKF_AD_OFF + SKF_AD_PROTOCOL: the EtherType behind any tag."""
LONGEST = 9216
BATCH = 256
"""Frames that are read in a row: others have their turn, too."""


def ethertype(value: int) -> Test:
    return ((_LD_HALF, _PROTOCOL),), value


def half(at: int, value: int) -> Test:
    return ((_LD_HALF, at),), value


def byte(at: int, value: int) -> Test:
    return ((_LD_BYTE, at),), value


def mac(at: int, value: bytes) -> Sequence[Test]:
    """The MAC that begins at this byte: 0 for whom it is, 6 from whom."""
    first, last = int.from_bytes(value[:4], "big"), int.from_bytes(value[4:], "big")
    return (((_LD_HALF, at + 4),), last), (((_LD_WORD, at),), first)


def udp_port(value: int) -> Test:
    """Where a UDP packet of IPv4 goes, behind a header of any length."""
    return ((_LDX_IP_LENGTH, 14), (_LD_HALF_X, 16)), value


def program(rules: Sequence[Rule]) -> bytes:
    """Takes what the first matching rule wants, and nothing where none matches."""
    lines: list[bytes] = []
    for tests, wanted in rules:
        left = sum(len(loads) + 1 for loads, _ in tests) + 1
        for loads, value in tests:
            for code, operand in loads:
                left -= 1
                lines.append(_LINE.pack(code, 0, 0, operand))
            left -= 1
            lines.append(_LINE.pack(_JEQ, 0, left, value))
        lines.append(_LINE.pack(_RET, 0, 0, wanted))
    lines.append(_LINE.pack(_RET, 0, 0, 0))
    return b"".join(lines)


@dataclass(frozen=True, slots=True)
class Packet:
    """`tag` 0: it came without one. `frame`: as on the cable but for the tag, and as much of it as was wanted."""

    tag: int
    frame: bytes


def opened(doing: str) -> socket.socket:
    """One that hears nothing before it has a link: its protocol is 0. Raises KernelError."""
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    except PermissionError as error:
        hint = "this needs the capability CAP_NET_RAW: run it as root"
        raise errors.NoPermission(error.errno or errno.EPERM, doing, hint=hint) from error
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, doing) from error


def attach(found: socket.socket, code: bytes) -> None:
    """Only what this program of classic BPF takes is heard from now on. Raises OSError."""
    held = array("B", code)  # struct sock_fprog points to it
    found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _FPROG.pack(len(code) // _LINE.size, held.buffer_info()[0]))


class PacketSocket:
    """On one link, in the namespace of the thread that opens it."""

    def __init__(
        self, link: IfName, rules: Sequence[Rule], *, macs: Iterable[bytes] = (), buffer: int = 0, doing: str = ""
    ) -> None:
        """`macs`: addresses of its own and groups that the card is to let in, too. `buffer`: bytes that may wait to be
        read, where they are to be more than usual. Raises KernelError (EPERM without CAP_NET_RAW, ENODEV)."""
        self.link = link
        doing = doing or f"listen on {link}"
        self._socket = opened(doing)
        try:
            self.want(rules)
            if buffer:
                with suppress(OSError):  # beyond net.core.rmem_max only with CAP_NET_ADMIN
                    self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
            self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
            with suppress(OSError):  # since Linux 4.20; before that they are skipped one by one
                self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.bind((link, _ETH_P_ALL))
            self.index = socket.if_nametoindex(link)
            for one in macs:
                kind = _MR_MULTICAST if one[0] & 1 else _MR_UNICAST
                with suppress(OSError):  # a card whose filter is full hears it when it is promiscuous, or not at all
                    self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, _MREQ.pack(self.index, kind, len(one), one))
        except OSError as error:
            self._socket.close()
            raise errors.of(error.errno or errno.EIO, doing) from error

    def want(self, rules: Sequence[Rule]) -> None:
        """Other rules than before."""
        attach(self._socket, program(rules))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def mac(self) -> bytes:
        """Of the link, now."""
        found: bytes = self._socket.getsockname()[4]
        return found

    def send(self, frame: bytes) -> str:
        """Why the kernel did not take it, as of a link that is down or whose queue is full; else an empty text."""
        try:
            self._socket.send(frame)
        except OSError as error:
            return error.strerror or os.strerror(error.errno or errno.EIO)
        return ""

    def receive(self) -> Iterator[Packet]:
        """What has come in, at most BATCH frames of it."""
        for _ in range(BATCH):
            try:
                data, ancillary, _, address = self._socket.recvmsg(LONGEST, socket.CMSG_SPACE(_AUX.size))
            except OSError:  # nothing more; or ENETDOWN, once, when the link goes down
                return
            if address[2] != _OUTGOING and len(data) >= 14:
                yield Packet(_tag(ancillary), data)


def _tag(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _AUXDATA and len(data) >= _AUX.size:
            status, *_, tci, _ = _AUX.unpack_from(data)
            return tci & 0x0FFF if status & _VLAN_VALID else 0
    return 0
