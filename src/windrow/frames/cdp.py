"""CDP: Cisco's older way of saying who is at the other end. Received only.

    frame   destination 01:00:0c:cc:cc:cc, 802.3 length, LLC/SNAP aa aa 03 00 00 0c 20 00
    CDP     u8 version, u8 time to live, u16 checksum, then TLVs: u16 type, u16 length with its head, value

The numbers of the TLVs are those of public decoders; the checksum is not verified, since not all senders agree on it.
"""

from __future__ import annotations

from windrow.frames.lldp import Gone
from windrow.frames.reading import Unreadable, text
from windrow.model.evidence import Identity, Kind, SwitchPort
from windrow.model.values import VID_MAX

GROUP = bytes.fromhex("01000ccccccc")
SNAP = bytes.fromhex("aaaa0300000c2000")

_DEVICE, _PORT, _CAPABILITIES, _VERSION, _PLATFORM, _NATIVE, _MTU = 0x01, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x11
_SWITCH = 1 << 3
_HEAD = 4


def decode(data: bytes, heard: float = 0.0) -> SwitchPort | Gone | Unreadable:
    """The bytes from the 802.3 length on; what is behind so many is padding. `heard`: when, Unix time."""
    payload = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if not payload.startswith(SNAP):
        return Unreadable("it is no CDP")
    body = payload[len(SNAP) :]
    if len(body) < _HEAD:
        return Unreadable("the head is cut off")
    said = _tlvs(body[_HEAD:])
    if isinstance(said, Unreadable):
        return said
    device, name = text(said.get(_DEVICE, b"")), text(said.get(_PORT, b""))
    if not device or not name:
        return Unreadable("it names no device or no port")
    chassis, port = Identity(kind="local", text=device), Identity(kind="ifname", text=name)
    if body[1] == 0:
        return Gone(chassis, port)
    native, capabilities = _number(said, _NATIVE, 2), _number(said, _CAPABILITIES, 4)
    return SwitchPort(
        source=Kind.CDP,
        chassis=chassis,
        port=port,
        system=device,
        system_description=text(said.get(_VERSION, b"") or said.get(_PLATFORM, b"")),
        is_bridge=None if capabilities is None else bool(capabilities & _SWITCH),
        pvid=native if native is not None and native <= VID_MAX else None,
        max_frame=_number(said, _MTU, 4) or _number(said, _MTU, 2),  # decoders differ: u32 or u16
        hold_s=body[1],
        heard=heard,
    )


def _tlvs(body: bytes) -> dict[int, bytes] | Unreadable:
    """The first one of each type."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        if at + _HEAD > len(body):
            return Unreadable("a TLV's head is cut off")
        kind, length = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        if length < _HEAD or at + length > len(body):
            return Unreadable(f"TLV {kind} says {length} bytes and has {len(body) - at}")
        found.setdefault(kind, body[at + _HEAD : at + length])
        at += length
    return found


def _number(said: dict[int, bytes], kind: int, size: int) -> int | None:
    value = said.get(kind, b"")
    return int.from_bytes(value[:size], "big") if len(value) >= size else None
