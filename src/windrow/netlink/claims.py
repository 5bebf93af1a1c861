"""Who else has an address: asked before it is set, and listened for afterwards.

IPv4 by ARP as RFC 5227 has it, IPv6 by a neighbour solicitation as RFC 4862 §5.4 has it; both without a sender's
address, so that nobody learns anything wrong from the question. The RFCs wait for seconds, for a host that has all the
time of its start; here somebody waits, so it is asked as often and in a shorter time.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from windrow.frames.arp import REQUEST, Arp
from windrow.frames.ethernet import checksum
from windrow.model.values import IfName, Mac
from windrow.netlink import netns as namespaces
from windrow.netlink import packets

PROBES = 3
"""PROBE_NUM of RFC 5227 §1.1."""
SPACING_S, LAST_S = 0.15, 0.3
"""Between two probes, and for the answer to the last one: 0.6 s in all."""
_POLL_S = 0.02

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST = 1
_NOBODY = bytes(4)
_ICMPV6, _HOPS = 58, 255
_SOLICITATION, _ADVERTISEMENT = 135, 136
_IPV6 = struct.Struct("!IHBB16s16s")
_NEIGHBOUR = struct.Struct("!BBHI16s")
_TARGET_LINK = 2
"""Option of an advertisement: target link-layer address (RFC 4861 §4.6.1)."""

# Classic BPF (linux/filter.h), for packet sockets without a link-layer header: offsets begin at the network header.
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_IF_EQUAL, _RETURN = 0x15, 0x06
_WHOLE, _NOTHING = 0xFFFF_FFFF, 0
Instruction = tuple[int, int, int, int]


class Question:
    """One address, asked for on one link."""

    def __init__(self, link: str, address: str) -> None:
        """`address` without its prefix length. Raises OSError: the link is not there, or CAP_NET_RAW is missing."""
        self._link, self._address = link, ipaddress.ip_address(address)
        six = self._address.version == 6
        self._protocol = _ETH_P_IPV6 if six else _ETH_P_ARP
        self._socket = _listening(link, self._protocol, _NEIGHBOURS if six else ())

    def ask(self) -> None:
        """What the kernel refuses to send now is asked again."""
        if self._address.version == 6:
            packet, to = _solicitation(self._address.packed), b"\x33\x33\xff" + self._address.packed[-3:]
        else:
            packet, to = probe(self._mac, self._address.packed), b"\xff" * 6
        with suppress(OSError):
            self._socket.sendto(packet, (self._link, self._protocol, 0, 0, to))

    def heard(self) -> Mac | None:
        """Who else has it, or asks for it at this moment, too: both sides must let it be then."""
        read = _neighbour if self._address.version == 6 else _claim
        for packet, sender in _received(self._socket):
            found = read(packet, sender, self._address.packed)
            if found is not None and found != self._mac:
                return _mac(found)
        return None

    @property
    def _mac(self) -> bytes:
        found: bytes = self._socket.getsockname()[4]
        return found

    def close(self) -> None:
        self._socket.close()


def who_has(questions: Sequence[Question], pause: Callable[[float], None]) -> dict[int, Mac]:
    """Ask all of them at the same time: place in `questions` -> who has it. `pause` may come back early."""
    found: dict[int, Mac] = {}
    began = time.monotonic()
    asked, end = 0, began + (PROBES - 1) * SPACING_S + LAST_S
    while (now := time.monotonic()) < end and len(found) < len(questions):
        if asked < PROBES and now >= began + asked * SPACING_S:
            asked += 1
            for question in questions:
                question.ask()
        for place, question in enumerate(questions):
            if place not in found and (mac := question.heard()):
                found[place] = mac
        pause(_POLL_S)
    return found


def holders(netns: namespaces.Netns, asked: Iterable[tuple[IfName, str]]) -> dict[tuple[IfName, str], Mac]:
    """Of these links and addresses, those that somebody else has, and who. It takes 0.6 s. What cannot be asked (the
    link is gone, CAP_NET_RAW is missing) nobody has, as far as anybody knows."""
    questions: dict[tuple[IfName, str], Question] = {}
    try:
        for link, address in asked:
            with suppress(OSError):
                questions[link, address] = namespaces.opened_in(netns, partial(Question, link, address))
        places = list(questions)
        return {places[place]: mac for place, mac in who_has(list(questions.values()), time.sleep).items()}
    finally:
        for question in questions.values():
            question.close()


class Ear:
    """Hears on one link when somebody else says that an address of ours is his (RFC 5227 §2.4). Nothing else wakes it:
    the kernel drops all other ARP before (a filter of the socket)."""

    def __init__(self, link: str, addresses: Iterable[str]) -> None:
        """Raises OSError."""
        self._link = link
        self._socket = _listening(link, _ETH_P_ARP, ())
        try:
            mac = self._socket.getsockname()[4]
            _attach(self._socket, _claims_of([ipaddress.IPv4Address(a).packed for a in addresses], mac))
            for _ in _received(self._socket):
                """What came before the filter was there."""
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, address: str) -> None:
        """Who else has it answers; the kernel of this host does not hear it."""
        packet = probe(self._socket.getsockname()[4], ipaddress.IPv4Address(address).packed)
        with suppress(OSError):
            self._socket.sendto(packet, (self._link, _ETH_P_ARP, 0, 0, b"\xff" * 6))

    def announce(self, address: str) -> None:
        """Tell everybody that this host has it (RFC 5227 §3)."""
        mac, told = self._socket.getsockname()[4], ipaddress.IPv4Address(address).packed
        packet = Arp(operation=REQUEST, sender_mac=mac[:6], sender=told, target=told).pack()
        with suppress(OSError):
            self._socket.sendto(packet, (self._link, _ETH_P_ARP, 0, 0, b"\xff" * 6))

    def heard(self) -> frozenset[tuple[str, Mac]]:
        """Address, and who says that it is his."""
        found = set()
        for packet, _ in _received(self._socket):
            if len(packet) >= _ARP.size:
                *_, mac, address, _, _ = _ARP.unpack_from(packet)
                found.add((str(ipaddress.IPv4Address(address)), _mac(mac)))
        return frozenset(found)

    def close(self) -> None:
        self._socket.close()


# Sockets ----------------------------------------------------------------------------------------------------------


def _listening(link: str, protocol: int, only: Sequence[Instruction]) -> socket.socket:
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    found = socket.socket(socket.AF_PACKET, kind)  # protocol 0: it hears nothing before it is bound
    try:
        if only:
            _attach(found, only)
        found.bind((link, protocol))
    except BaseException:
        found.close()
        raise
    return found


def _received(found: socket.socket) -> Iterable[tuple[bytes, bytes]]:
    """(packet, MAC of the sender), all that came."""
    while True:
        try:
            packet, sender = found.recvfrom(2048)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.ENETDOWN, errno.EINTR):  # told once, when the link goes down
                continue
            return
        yield packet, sender[4][:6]


def _attach(found: socket.socket, program: Sequence[Instruction]) -> None:
    packets.attach(found, b"".join(struct.pack("=HBBI", *one) for one in program))


_NEIGHBOURS: tuple[Instruction, ...] = (
    (_LOAD_BYTE, 0, 0, 6),
    (_IF_EQUAL, 0, 5, _ICMPV6),
    (_LOAD_BYTE, 0, 0, 40),
    (_IF_EQUAL, 1, 0, _SOLICITATION),
    (_IF_EQUAL, 0, 2, _ADVERTISEMENT),
    (_RETURN, 0, 0, _WHOLE),
    (_RETURN, 0, 0, _NOTHING),
    (_RETURN, 0, 0, _NOTHING),
)


def _claims_of(addresses: Sequence[bytes], mac: bytes) -> list[Instruction]:
    """ARP whose sender's address is one of these (bytes 14 to 17) and whose sender (8 to 13) is not `mac`."""
    high, low = struct.unpack("!IH", mac[:6])
    program: list[Instruction] = [
        (_LOAD_WORD, 0, 0, 8),
        (_IF_EQUAL, 0, 3, high),
        (_LOAD_HALF, 0, 0, 12),
        (_IF_EQUAL, 0, 1, low),
        (_RETURN, 0, 0, _NOTHING),
        (_LOAD_WORD, 0, 0, 14),
    ]
    for address in addresses[:_MOST]:
        program += [(_IF_EQUAL, 0, 1, int.from_bytes(address, "big")), (_RETURN, 0, 0, _WHOLE)]
    return [*program, (_RETURN, 0, 0, _NOTHING)]


_MOST = 1000
"""Of the 4096 instructions that the kernel takes (BPF_MAXINSNS) two are for each address."""


# Packets ----------------------------------------------------------------------------------------------------------


def probe(mac: bytes, address: bytes) -> bytes:
    """An ARP Probe (RFC 5227 §2.1.1): a request without a sender's address."""
    return _ARP.pack(1, 0x0800, 6, 4, _REQUEST, mac[:6], _NOBODY, bytes(6), address)


def _claim(packet: bytes, _sender: bytes, asked: bytes) -> bytes | None:
    """Whose address it is by this packet: its sender's, or of one who probes for it, too (§2.1.1)."""
    if len(packet) < _ARP.size:
        return None
    *_, operation, mac, address, _, target = _ARP.unpack_from(packet)
    probes = operation == _REQUEST and address == _NOBODY and target == asked
    return bytes(mac) if address == asked or probes else None


def _solicitation(address: bytes) -> bytes:
    """From nobody (`::`) to the solicited-node group of the address (RFC 4862 §5.4.2)."""
    to = bytes.fromhex("ff0200000000000000000001ff") + address[-3:]
    bare = _NEIGHBOUR.pack(_SOLICITATION, 0, 0, 0, address)
    sum_ = checksum(bytes(16) + to + struct.pack("!II", len(bare), _ICMPV6) + bare)
    return _IPV6.pack(6 << 28, len(bare), _ICMPV6, _HOPS, bytes(16), to) + bare[:2] + struct.pack("!H", sum_) + bare[4:]


def _neighbour(packet: bytes, sender: bytes, asked: bytes) -> bytes | None:
    """An advertisement of the address, or a solicitation from one who is to have it, too."""
    if len(packet) < _IPV6.size + _NEIGHBOUR.size:
        return None
    _, _, following, hops, source, _ = _IPV6.unpack_from(packet)
    kind, _, _, _, target = _NEIGHBOUR.unpack_from(packet, _IPV6.size)
    if following != _ICMPV6 or hops != _HOPS or target != asked:
        return None
    if kind == _ADVERTISEMENT:
        option = packet[_IPV6.size + _NEIGHBOUR.size :][:8]
        return option[2:] if len(option) == 8 and option[0] == _TARGET_LINK else sender
    return sender if kind == _SOLICITATION and source == bytes(16) else None


def _mac(raw: bytes) -> Mac:
    return Mac(raw.hex(":"))
