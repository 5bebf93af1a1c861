"""The one byte stream between the host and a lab, cut into frames; many requests share it.

A frame is a header (channel, kind, length; big-endian) and its data. The host opens a channel with a REQUEST
(JSON) and reads until the RESULT (JSON). Channel 0 belongs to the two ends themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Any

from windrow.model.lazy import dataclass

WINDOW = 2048
"""At most so many bytes on the way to the lab that it has not acknowledged. When the terminal buffer of the guest's
serial line (4096 bytes, N_TTY_BUF_SIZE) fills up, User-Mode Linux stops reading it and may never start again
(`line_throttle`)."""
CHUNK = 16 * 1024
"""At most so much data in one frame, so that no request keeps the others waiting."""

_HEADER = Struct("!IBI")


class Kind(IntEnum):
    # host -> lab
    CONFIG = 1
    """Channel 0, once: what the guest needs to start (JSON)."""
    REQUEST = 2
    INPUT = 3
    """Standard input; empty: it ended."""
    SIGNAL = 4
    """A signal's number, as text."""
    RESIZE = 5
    """`rows columns` of the terminal."""
    HANGUP = 6
    """Nobody listens any more: end what this channel started."""
    # lab -> host
    HELLO = 15
    """Channel 0, first of all: the line is in raw mode, and CONFIG may come. What came before would be mangled."""
    ACK = 14
    """Channel 0: so many bytes were read (text)."""
    READY = 16
    """Channel 0, once: the guest takes requests (JSON: what it is)."""
    OUTPUT = 17
    ERRORS = 18
    EVENT = 19
    """A line of the live log (JSON)."""
    RESULT = 20
    """The last frame of a channel (JSON)."""


@dataclass(frozen=True, slots=True)
class Frame:
    channel: int
    kind: Kind
    data: bytes = b""

    def json(self) -> Any:
        return json.loads(self.data)


def encode(channel: int, kind: Kind, data: bytes = b"") -> bytes:
    return _HEADER.pack(channel, kind, len(data)) + data


def encode_json(channel: int, kind: Kind, document: Mapping[str, Any]) -> bytes:
    return encode(channel, kind, json.dumps(document).encode())


class Decoder:
    """Bytes in, as they come; whole frames out."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Raises ValueError for a kind that does not exist: the two ends do not speak the same language."""
        self._held += data
        while len(self._held) >= _HEADER.size:
            channel, kind, length = _HEADER.unpack_from(self._held)
            end = _HEADER.size + length
            if len(self._held) < end:
                return
            frame = Frame(channel, Kind(kind), bytes(self._held[_HEADER.size : end]))
            del self._held[:end]
            yield frame
