"""LACPDUs (IEEE 802.1AX-2014 §6.4.2.3): the two sides of the conversation, as one of them sees it.

After EtherType 0x8809, 110 bytes: subtype 1, version; TLV 1 the sender, TLV 2 what it knows of us, each of 20 bytes:
u16 system priority, MAC, u16 key, u16 port priority, u16 port, u8 state, 3 reserved.
"""

from __future__ import annotations

import struct

from windrow.frames.ethernet import mac_bytes
from windrow.frames.reading import Unreadable, mac_text
from windrow.model.evidence import LacpSide
from windrow.model.lazy import dataclass
from windrow.model.values import Mac

ETHERTYPE = 0x8809
GROUP = bytes.fromhex("0180c2000002")
NOBODY = Mac("00:00:00:00:00:00")
"""The system of a partner that never answered."""
SUBTYPE = 1
_SIDE = struct.Struct("!BBH6sHHHB3x")
_ACTOR, _PARTNER, _LENGTH = 1, 2, 20

ACTIVITY, SHORT, AGGREGATION, SYNC, COLLECTING, DISTRIBUTING, DEFAULTED, EXPIRED = (1 << n for n in range(8))


@dataclass(frozen=True, slots=True)
class Lacpdu:
    sent: LacpSide
    """The sender's own side."""
    about_us: LacpSide
    """What it knows of whom it hears."""


def decode(payload: bytes) -> Lacpdu | Unreadable:
    """The bytes after the EtherType."""
    if not payload or payload[0] != SUBTYPE:
        return Unreadable("it is another slow protocol")
    if len(payload) < 2 + 2 * _SIDE.size:
        return Unreadable("it is cut off")
    sides = []
    for place, kind in ((2, _ACTOR), (2 + _SIDE.size, _PARTNER)):
        found, length, priority, system, key, port_priority, port, state = _SIDE.unpack_from(payload, place)
        if (found, length) != (kind, _LENGTH):
            return Unreadable(f"TLV {found} of {length} bytes is where {kind} should be")
        sides.append(
            LacpSide(
                system=mac_text(system),
                key=key,
                port=port,
                state=state,
                system_priority=priority,
                port_priority=port_priority,
            )
        )
    return Lacpdu(*sides)


def encode(pdu: Lacpdu) -> bytes:
    """The bytes after the EtherType; for tests."""
    sides = b"".join(_side(kind, side) for kind, side in ((_ACTOR, pdu.sent), (_PARTNER, pdu.about_us)))
    return bytes([SUBTYPE, 1]) + sides + bytes([3, 16]) + bytes(14) + bytes(2 + 50)


def _side(kind: int, side: LacpSide) -> bytes:
    system = mac_bytes(side.system)
    return _SIDE.pack(kind, _LENGTH, side.system_priority, system, side.key, side.port_priority, side.port, side.state)
