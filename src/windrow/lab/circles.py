"""Do frames go in circles? Two uplinks of one bridge that forward at once are a loop, and broadcasts show it.

Each endpoint sends numbered broadcasts; captures at both endpoints and on the bridge count the copies of each. Where
two uplinks forward, what one sends out the switch brings back through the other: the sender hears itself, and the
bridge sees the frame again.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

from windrow.lab.probe import ETH_P_PROBE, SETTLE_S, Station

RATE = 200
"""Broadcasts a second from each endpoint: a loop of 5 ms is seen."""
_SO_RCVBUFFORCE, _BUFFER = 33, 8 * 1024 * 1024
_MAGIC = b"windrow circle"
_MARK = struct.Struct(f"!{len(_MAGIC)}sBI")
_BROADCAST = b"\xff" * 6


class Circles:
    """Sends and counts for as long as the block lasts; `stations` are the two endpoints, `bridge` the one between."""

    def __init__(self, stations: tuple[Station, Station], bridge: Station) -> None:
        self._listeners = (*stations, bridge)
        self._senders = len(stations)
        self._sockets = [one.inside(lambda one=one: _packet_socket(one.interface)) for one in self._listeners]  # type: ignore[misc]
        self._copies: dict[tuple[int, int, int], int] = {}
        """(listener, sender, number) -> copies that came in."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="circles")
        self.sent = 0
        """By each of the two."""

    def __enter__(self) -> Circles:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for one in self._sockets:
            one.close()

    @property
    def returned(self) -> int:
        """Frames that came back to their sender."""
        return sum(n for (listener, sender, _), n in self._copies.items() if listener == sender)

    @property
    def doubled(self) -> int:
        """Copies beyond the first, at the other endpoint or on the bridge."""
        return sum(n - 1 for (listener, sender, _), n in self._copies.items() if listener != sender)

    @property
    def seen(self) -> int:
        """Frames that the bridge saw, of both senders: a capture that sees nothing would prove nothing."""
        return sum(1 for listener, _, _ in self._copies if listener == self._senders)

    def faults(self) -> Iterator[str]:
        if not self.seen:
            yield f"the capture on {self._listeners[-1].name} saw nothing"
        if self.returned:
            yield f"{self.returned} broadcasts came back to their sender: two uplinks forward at once"
        if self.doubled:
            yield f"{self.doubled} broadcasts came twice"

    def to_json(self) -> dict[str, Any]:
        return {"sent": 2 * self.sent, "seen": self.seen, "returned": self.returned, "doubled": self.doubled}

    def __str__(self) -> str:
        bridge = self._listeners[-1].name
        text = f"of {2 * self.sent} broadcasts {bridge} saw {self.seen}"
        return f"{text}; {self.returned} came back to their sender, {self.doubled} came twice"

    def _run(self) -> None:
        start = time.monotonic()
        frames = [one.getsockname()[4] for one in self._sockets[: self._senders]]
        by_fd = {one.fileno(): n for n, one in enumerate(self._sockets)}
        end = 0.0
        while not end or time.monotonic() < end:
            now = time.monotonic()
            if self._stop.is_set() and not end:
                end = now + SETTLE_S
            while not end and self.sent < (now - start) * RATE:
                for sender, mac in enumerate(frames):
                    _send(self._sockets[sender], mac, sender, self.sent)
                self.sent += 1
            for one in select.select(self._sockets, [], [], 1 / RATE)[0]:
                self._drain(one, by_fd[one.fileno()])

    def _drain(self, one: socket.socket, listener: int) -> None:
        while True:
            try:
                data, address = one.recvfrom(256)
            except OSError:  # EAGAIN: no more; ENETDOWN: the bridge went, which the flow tells
                return
            at = data.find(_MAGIC, 12, 40)
            if address[2] != socket.PACKET_OUTGOING and at >= 0 and len(data) >= at + _MARK.size:
                _, sender, number = _MARK.unpack_from(data, at)
                key = (listener, sender, number)
                self._copies[key] = self._copies.get(key, 0) + 1


def _packet_socket(interface: str) -> socket.socket:
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # nothing before it is bound
    found.bind((interface, ETH_P_PROBE))
    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)  # nothing is missed while we are kept waiting
    found.setblocking(False)
    return found


def _send(one: socket.socket, mac: bytes, sender: int, number: int) -> None:
    mark = _MARK.pack(_MAGIC, sender, number).ljust(46, b"\0")
    try:
        one.send(_BROADCAST + mac + struct.pack("!H", ETH_P_PROBE) + mark)
    except OSError:  # it counts as sent, and nobody hears it
        return
