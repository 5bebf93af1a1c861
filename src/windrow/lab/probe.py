"""Frames sent and captured, without a process for each: sockets of many namespaces in one thread.

A socket belongs to the namespace where it was opened, for good; so they are opened there and used here.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from windrow.frames.ethernet import checksum, mac_bytes
from windrow.frames.reading import mac_text
from windrow.model.lazy import dataclass

ETH_P_ALL, ETH_P_PROBE = 0x0003, 0x88B5
"""0x88B5: IEEE 802 local experimental EtherType 1."""
SETTLE_S = 0.3
"""How long after the last send a frame may still arrive."""
FLOW_RATE = 500

_SO_RCVBUFFORCE, _BUFFER = 33, 8 * 1024 * 1024
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_PROMISC, _PACKET_AUXDATA = 263, 1, 1, 8
_TP_STATUS_VLAN_VALID = 0x10
_AUXDATA = struct.Struct("=IIIHHHH")
_MAGIC = b"windrow probe"
_MARK = struct.Struct(f"!{len(_MAGIC)}sII")
_BROADCAST = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class Station:
    """Where frames go out and come in. `inside` runs a function in its namespace."""

    name: str
    interface: str
    inside: Callable[[Callable[[], socket.socket]], socket.socket]
    address: str = ""
    """Without prefix length; empty: it has none."""
    trunk: bool = False
    """Its interface carries other VLANs too: what has a tag there is none of its business."""


# Ping ---------------------------------------------------------------------------------------------


_IDENTIFIERS = itertools.count(0x5700)
"""Of echo requests, 16 bits each. For conntrack two pings with the same one are one connection for 30 s
(`nf_conntrack_icmp_timeout`), which may go on where a new one may not: so none comes twice."""


def ping(pairs: Sequence[tuple[Station, Station]], *, deadline_s: float) -> dict[tuple[str, str], float | None]:
    """ICMP echo from the first to the second of each pair: milliseconds, None where no answer came in time."""
    answers: dict[tuple[str, str], float | None] = {(a.name, b.name): None for a, b in pairs}
    with _Sockets() as sockets:
        waiting = {
            sockets.open(a, _icmp_socket).fileno(): (next(_IDENTIFIERS) & 0xFFFF, a, b) for a, b in pairs if b.address
        }
        sent: dict[int, float] = {}
        end = time.monotonic() + deadline_s
        sequence = 0
        while waiting and time.monotonic() < end:
            sequence += 1
            for fd, (ident, _, b) in waiting.items():
                sockets.send_to(fd, _echo_request(ident, sequence), (b.address, 0))
                sent[fd] = time.monotonic()
            pause = time.monotonic() + min(0.25, deadline_s)
            while waiting and (left := pause - time.monotonic()) > 0:
                for fd, data in sockets.receive(left):
                    if fd in waiting and _is_reply(data, waiting[fd][0]):
                        _, a, b = waiting.pop(fd)
                        answers[a.name, b.name] = (time.monotonic() - sent[fd]) * 1000
    return answers


def _icmp_socket(_: Station) -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _echo_request(ident: int, sequence: int) -> bytes:
    body = _MAGIC + bytes(3)
    bare = struct.pack("!BBHHH", 8, 0, 0, ident, sequence & 0xFFFF) + body
    return bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def _is_reply(packet: bytes, ident: int) -> bool:
    start = (packet[0] & 0xF) * 4
    return packet[start] == 0 and packet[start + 4 : start + 6] == struct.pack("!H", ident)


# Who hears whom -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a capture at every station saw of the frames that every station sent."""

    sent: int
    """Per station: so many broadcasts, and as many unicasts to each other station's MAC."""
    frames: Mapping[tuple[str, str], int]
    """(sender, listener) -> frames; 0 is not in it."""
    macs: Mapping[str, str]
    """Of every station."""
    others: Mapping[tuple[str, str], int]
    """(source address, listener) -> frames that arrived in a guest and that none of us made."""


def hear(
    stations: Sequence[Station],
    *,
    rounds: int = 5,
    guests: Mapping[str, str] | None = None,
    act: Callable[[], None] = lambda: None,
) -> Heard:
    """Every station sends, to all and to each, and captures everything that arrives at it.

    `guests`: the stations that are taps, with the MAC of the guest behind it; what a guest sends is its own affair
    (`act`, which runs meanwhile), and known by that address.
    """
    with _Sockets() as sockets:
        ears = _Ears(sockets, stations, guests or {})
        acting = threading.Thread(target=act, name="guests")
        acting.start()
        for number in range(rounds):
            for n, station in enumerate(stations):
                if station.name not in ears.guests:
                    ears.send(n, number)
                ears.collect(0.005)
        while acting.is_alive():
            ears.collect(0.1)
        acting.join()
        ears.collect(SETTLE_S)
        macs = {station.name: mac_text(mac) for station, mac in zip(stations, ears.macs, strict=True)}
    return Heard(sent=rounds, frames=ears.frames, macs=macs, others=ears.others)


class _Ears:
    """The capture of `hear`, while it goes on."""

    def __init__(self, sockets: _Sockets, stations: Sequence[Station], guests: Mapping[str, str]) -> None:
        self._sockets, self._stations, self.guests = sockets, stations, guests
        self._fds = {sockets.open(station, _packet_socket).fileno(): n for n, station in enumerate(stations)}
        self.macs = [
            mac_bytes(guests[stations[n].name]) if stations[n].name in guests else sockets.mac(fd)
            for fd, n in self._fds.items()
        ]
        self._trunks = {fd for fd, n in self._fds.items() if stations[n].trunk}
        self._by_mac = {mac_bytes(mac): name for name, mac in guests.items()}
        self.frames: dict[tuple[str, str], int] = {}
        self.others: dict[tuple[str, str], int] = {}

    def send(self, sender: int, number: int) -> None:
        """To all, and to each."""
        fd = next(fd for fd, n in self._fds.items() if n == sender)
        mark = _MARK.pack(_MAGIC, sender, number).ljust(46, b"\0")
        for to in (_BROADCAST, *(mac for m, mac in enumerate(self.macs) if m != sender)):
            self._sockets.send(fd, to + self.macs[sender] + struct.pack("!H", ETH_P_PROBE) + mark)

    def collect(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for fd, frame in self._sockets.receive_frames(left):
                if fd not in self._trunks or frame.vid is None:
                    self._note(self._stations[self._fds[fd]].name, frame)

    def _note(self, listener: str, frame: Captured) -> None:
        at = frame.data.find(_MAGIC, 12, 40)
        if at >= 0 and len(frame.data) >= at + _MARK.size:
            sender: str | None = self._stations[_MARK.unpack_from(frame.data, at)[1]].name
        else:
            sender = self._by_mac.get(frame.data[6:12])
        if sender == listener:
            return
        if sender is not None:
            self.frames[sender, listener] = self.frames.get((sender, listener), 0) + 1
        elif listener in self.guests and frame.outgoing:  # what goes out of a tap goes into the guest
            tag = "" if frame.vid is None else f" with a tag of VLAN {frame.vid}"
            key = (mac_text(frame.data[6:12]) + tag, listener)
            self.others[key] = self.others.get(key, 0) + 1


def _packet_socket(station: Station) -> socket.socket:
    """Everything that the interface sees, other machines' frames too.

    Not on a trunk: a bridge that is promiscuous passes up the frames of all VLANs (`br_pass_frame_up`).
    """
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    found.bind((station.interface, ETH_P_ALL))
    found.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    index = socket.if_nametoindex(station.interface)
    if not station.trunk:
        found.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b""))
    return found


# Capture ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame. `vid`: of the tag that the kernel took off (PACKET_AUXDATA); None: it had none."""

    at: float
    """time.monotonic()"""
    data: bytes
    vid: int | None
    outgoing: bool


def capture(
    station: Station, seconds: float, wanted: Callable[[Captured], bool] = lambda _: True
) -> tuple[Captured, ...]:
    """All frames at an interface for a while, in both directions."""
    found: list[Captured] = []
    with _Sockets() as sockets:
        opened = sockets.open(station, _packet_socket)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([opened], [], [], left)[0]:
                break
            data, extra, _, address = opened.recvmsg(65536, 256)
            frame = Captured(time.monotonic(), data, _vid(extra), address[2] == socket.PACKET_OUTGOING)
            if wanted(frame):
                found.append(frame)
    return tuple(found)


def capture_until(
    station: Station, done: threading.Event, wanted: Callable[[Captured], bool] = lambda _: True
) -> tuple[Captured, ...]:
    """All frames at an interface until it is `done`."""
    found: list[Captured] = []
    with _Sockets() as sockets:
        sockets.open(station, _packet_socket)
        while not done.is_set():
            found += [frame for _, frame in sockets.receive_frames(0.1) if wanted(frame)]
    return tuple(found)


def _vid(extra: Sequence[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in extra:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, *_, tci, _ = _AUXDATA.unpack(data[: _AUXDATA.size])
            if status & _TP_STATUS_VLAN_VALID:
                return int(tci) & 0xFFF
    return None


# Flow ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One way of a flow. `longest_ms`: the longest row of lost frames, by the time they were due to be sent."""

    sent: int
    received: int
    duplicated: int
    late: int
    """Frames that came after a later one."""
    longest_ms: float

    @property
    def lost(self) -> int:
        return self.sent - self.received

    def __str__(self) -> str:
        text = f"{self.lost} of {self.sent} lost"
        if self.lost:
            text += f", longest gap {self.longest_ms:.0f} ms"
        return text + (f", {self.duplicated} doubled" if self.duplicated else "")


@dataclass(slots=True)
class _Way:
    """One direction while it runs."""

    out: socket.socket
    into: socket.socket
    to: tuple[str, int]
    sent: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    last: int = -1
    late: int = 0

    def note(self, sequence: int) -> None:
        self.late += sequence < self.last
        self.last = max(self.last, sequence)
        self.seen[sequence] = self.seen.get(sequence, 0) + 1


class Flow:
    """UDP between two stations, both ways at a steady rate, in a thread, while something else is done.

        with Flow(a, b) as flow:
            …
        there, back = flow.result

    A sender that was kept waiting catches up: the number of frames follows the clock.
    """

    PORT = 8472 + 1000

    def __init__(self, a: Station, b: Station, *, rate: int = FLOW_RATE) -> None:
        self.result: tuple[Direction, Direction]
        self.held_ms = 0.0
        """The longest that the sender was kept waiting."""
        self._sockets = _Sockets()
        ends = [self._sockets.open(station, _udp_socket) for station in (a, b)]
        self._ways = [
            _Way(ends[0], ends[1], (b.address, self.PORT)),
            _Way(ends[1], ends[0], (a.address, self.PORT)),
        ]
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"flow {a.name} {b.name}")

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sockets.close()
        there, back = (_direction(way, self._rate) for way in self._ways)
        self.result = (there, back)

    def _run(self) -> None:
        start = time.monotonic()
        by_fd = {way.into.fileno(): way for way in self._ways}
        end = 0.0
        while not end or time.monotonic() < end:
            now = time.monotonic()
            due = int((now - start) * self._rate) + 1
            if not end:
                self.held_ms = max(self.held_ms, (due - self._ways[0].sent) * 1000 / self._rate)
            if self._stop.is_set() and not end:
                end = now + SETTLE_S
            for way in self._ways if not end else ():
                while way.sent < due:
                    self._sockets.send_to(way.out.fileno(), struct.pack("!I", way.sent), way.to)
                    way.sent += 1
            for fd, data in self._sockets.receive(max(0.0, start + due / self._rate - time.monotonic()) or 0.001):
                by_fd[fd].note(struct.unpack("!I", data[:4])[0])


def _udp_socket(station: Station) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((station.address, Flow.PORT))
    return found


def _direction(way: _Way, rate: int) -> Direction:
    longest = run = 0
    for sequence in range(way.sent):
        run = 0 if sequence in way.seen else run + 1
        longest = max(longest, run)
    return Direction(
        sent=way.sent,
        received=len(way.seen),
        duplicated=sum(way.seen.values()) - len(way.seen),
        late=way.late,
        longest_ms=longest * 1000 / rate,
    )


# Sockets ------------------------------------------------------------------------------------------


class _Sockets:
    """Sockets of several namespaces, and one poll over all of them."""

    def __init__(self) -> None:
        self._open: dict[int, socket.socket] = {}
        self._poll = select.epoll()

    def __enter__(self) -> _Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._poll.close()
        for one in self._open.values():
            one.close()

    def open(self, station: Station, make: Callable[[Station], socket.socket]) -> socket.socket:
        made = station.inside(lambda: make(station))
        made.setblocking(False)
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._open[made.fileno()] = made
        self._poll.register(made, select.EPOLLIN)
        return made

    def mac(self, fd: int) -> bytes:
        address: bytes = self._open[fd].getsockname()[4]
        return address

    def send(self, fd: int, data: bytes) -> None:
        """A frame that cannot go now counts as sent and lost, like one that a cable loses."""
        try:
            self._open[fd].send(data)
        except OSError:
            return

    def send_to(self, fd: int, data: bytes, to: tuple[str, int]) -> None:
        try:
            self._open[fd].sendto(data, to)
        except OSError:
            return

    def receive_frames(self, seconds: float) -> list[tuple[int, Captured]]:
        """What has come to packet sockets."""
        found: list[tuple[int, Captured]] = []
        for fd, _ in self._poll.poll(seconds):
            try:
                while True:
                    data, extra, _, address = self._open[fd].recvmsg(65536, 256)
                    outgoing = address[2] == socket.PACKET_OUTGOING
                    found.append((fd, Captured(time.monotonic(), data, _vid(extra), outgoing)))
            except OSError:
                continue
        return found

    def receive(self, seconds: float) -> list[tuple[int, bytes]]:
        """What has come, after at most `seconds`."""
        found: list[tuple[int, bytes]] = []
        for fd, _ in self._poll.poll(seconds):
            one = self._open[fd]
            try:
                while True:
                    found.append((fd, one.recv(65536)))
            except BlockingIOError:
                continue
            except OSError:  # ECONNREFUSED, ENETDOWN: said of an earlier send
                continue
        return found
