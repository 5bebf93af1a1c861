"""CDP: Cisco's older way of saying who is at the other end. Received only.

    frame   destination 01:00:0c:cc:cc:cc, 802.3 length, LLC/SNAP aa aa 03 00 00 0c 20 00
    CDP     u8 version, u8 time to live, u16 checksum, then TLVs: u16 type, u16 length with its head, value

The numbers of the TLVs are from public captures; the checksum is not verified, since not all senders agree on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from windrow.frames.lldp import Unreadable
from windrow.model.evidence import Identity, Kind, SwitchPort
from windrow.model.values import VID_MAX

GROUP = bytes.fromhex("01000ccccccc")
SNAP = bytes.fromhex("aaaa0300000c2000")

_DEVICE, _PORT, _CAPABILITIES, _VERSION, _PLATFORM, _NATIVE, _MTU = (
    0x0001,
    0x0003,
    0x0004,
    0x0005,
    0x0006,
    0x000A,
    0x0011,
)
_SWITCH = 1 << 3


def decode(payload: bytes, heard: float = 0.0) -> SwitchPort | Unreadable:
    """The bytes after the 802.3 length: LLC/SNAP and CDP. `heard`: when, Unix time."""
    if not payload.startswith(SNAP):
        return Unreadable("it is no CDP")
    body = payload[len(SNAP) :]
    if len(body) < 4:
        return Unreadable("the head is cut off")
    tlvs = list(_tlvs(body[4:]))
    if tlvs and isinstance(tlvs[-1], Unreadable):
        return tlvs[-1]
    said = {kind: value for tlv in reversed(tlvs) if not isinstance(tlv, Unreadable) for kind, value in [tlv]}
    if _DEVICE not in said or _PORT not in said:
        return Unreadable("it names no device or no port")
    native = int.from_bytes(said[_NATIVE][:2], "big") if len(said.get(_NATIVE, b"")) >= 2 else None
    capabilities = said.get(_CAPABILITIES, b"")
    return SwitchPort(
        source=Kind.CDP,
        chassis=Identity(kind="local", text=_text(said[_DEVICE])),
        port=Identity(kind="ifname", text=_text(said[_PORT])),
        system=_text(said[_DEVICE]),
        system_description=_text(said.get(_VERSION, b"") or said.get(_PLATFORM, b"")),
        is_bridge=bool(int.from_bytes(capabilities[:4], "big") & _SWITCH) if len(capabilities) >= 4 else None,
        pvid=native if native is not None and native <= VID_MAX else None,
        max_frame=int.from_bytes(said[_MTU][:4], "big") if len(said.get(_MTU, b"")) >= 4 else None,
        hold_s=body[1],
        heard=heard,
    )


def _tlvs(body: bytes) -> Iterator[tuple[int, bytes] | Unreadable]:
    at = 0
    while at + 4 <= len(body):
        kind, length = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        if length < 4 or at + length > len(body):
            yield Unreadable(f"TLV {kind} says {length} bytes and has {len(body) - at}")
            return
        yield kind, body[at + 4 : at + length]
        at += length


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace").strip()
