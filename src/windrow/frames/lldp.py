"""LLDP (IEEE 802.1AB-2016): what a neighbour says of itself, from its frame, and a frame from that.

    frame   destination 01:80:c2:00:00:0e (or :03, :00), EtherType 0x88cc, TLVs
    TLV     u16: type (7 bits), length (9 bits); value
    order   chassis id, port id, time to live; then any; end

802.1 TLVs are in IEEE 802.1Q annex D, the link aggregation one in 802.1AX annex F, 802.3 ones in IEEE 802.3 clause 79.
What a frame holds is anybody's to write: nothing in it raises, and texts are cut and cleaned where they are shown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from windrow.model.evidence import Aggregation, Identity, Kind, SwitchPort
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX, Mac, Vid

ETHERTYPE = 0x88CC
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
GROUPS = (NEAREST_BRIDGE, bytes.fromhex("0180c2000003"), bytes.fromhex("0180c2000000"))
LONGEST = 1500
"""Bytes of TLVs: a longer LLDPDU fits into no frame."""
NEAR_LONGEST = 1400
"""From here on some systems leave out what does not fit, whole kinds of TLVs at a time."""

_TLV = struct.Struct("!H")
_END, _CHASSIS, _PORT, _TTL, _PORT_TEXT, _NAME, _TEXT, _CAPABILITIES, _MANAGEMENT, _ORGANISATION = (*range(9), 127)
_DOT1, _DOT3 = bytes.fromhex("0080c2"), bytes.fromhex("00120f")
_DOT1_PVID, _DOT1_VLAN, _DOT1_AGGREGATION, _DOT3_AGGREGATION, _DOT3_MAX_FRAME = 1, 3, 7, 3, 4
_BRIDGE = 1 << 2

_CHASSIS_KINDS = {1: "component", 2: "ifalias", 3: "component", 4: "mac", 5: "address", 6: "ifname", 7: "local"}
_PORT_KINDS = {1: "ifalias", 2: "component", 3: "mac", 4: "address", 5: "ifname", 6: "circuit", 7: "local"}

_TEN_AT_MOST = "MikroTik"
"""Announces ten VLANs at most, however many there are."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a frame is no LLDPDU."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The neighbour goes away: a time to live of 0 (IEEE 802.1AB §9.2.7.3)."""

    chassis: Identity
    port: Identity


def decode(payload: bytes, heard: float = 0.0) -> SwitchPort | Gone | Unreadable:
    """The TLVs after the EtherType. `heard`: when, Unix time."""
    tlvs = list(_tlvs(payload))
    if tlvs and isinstance(tlvs[-1], Unreadable):
        return tlvs[-1]
    found = [tlv for tlv in tlvs if not isinstance(tlv, Unreadable)]
    if [kind for kind, _ in found[:3]] != [_CHASSIS, _PORT, _TTL]:
        return Unreadable("it does not begin with chassis, port and time to live")
    chassis = _identity(found[0][1], _CHASSIS_KINDS, network=5)
    port = _identity(found[1][1], _PORT_KINDS, network=4)
    if chassis is None or port is None:
        return Unreadable("the chassis or the port has no name")
    if len(found[2][1]) < 2:
        return Unreadable("the time to live is cut off")
    hold = int.from_bytes(found[2][1][:2], "big")
    if hold == 0:
        return Gone(chassis, port)
    return _filled(chassis, port, hold, heard, found[3:], len(payload))


def _tlvs(payload: bytes) -> Iterator[tuple[int, bytes] | Unreadable]:
    """Until the end TLV; a frame may go on after it (Ethernet's padding)."""
    at = 0
    while at < len(payload):
        if at + 2 > len(payload):
            yield Unreadable("a TLV's head is cut off")
            return
        head = _TLV.unpack_from(payload, at)[0]
        kind, length = head >> 9, head & 0x1FF
        value = payload[at + 2 : at + 2 + length]
        if len(value) < length:
            yield Unreadable(f"TLV {kind} says {length} bytes and has {len(value)}")
            return
        if kind == _END:
            return
        yield kind, value
        at += 2 + length
    # IEEE 802.1AB-2009 made the end TLV optional where the LLDPDU fills the frame.


def _filled(
    chassis: Identity, port: Identity, hold: int, heard: float, tlvs: list[tuple[int, bytes]], size: int
) -> SwitchPort:
    texts = {_PORT_TEXT: "", _NAME: "", _TEXT: ""}
    is_bridge: bool | None = None
    management: list[str] = []
    told = _Told()
    for kind, value in tlvs:
        if kind in texts:
            texts[kind] = texts[kind] or _text(value)
        elif kind == _CAPABILITIES and len(value) >= 4:
            is_bridge = bool(int.from_bytes(value[2:4], "big") & _BRIDGE)
        elif kind == _MANAGEMENT:
            management += _management(value)
        elif kind == _ORGANISATION and len(value) >= 4:
            told.take(value[:3], value[3], value[4:])
    cut = bool(told.vlans) and (size >= NEAR_LONGEST or (_TEN_AT_MOST in texts[_TEXT] and len(told.vlans) >= 10))
    return SwitchPort(
        source=Kind.LLDP,
        chassis=chassis,
        port=port,
        system=texts[_NAME],
        system_description=texts[_TEXT],
        port_description=texts[_PORT_TEXT],
        is_bridge=is_bridge,
        pvid=told.pvid,
        vlans=told.vlans,
        vlans_cut=cut,
        aggregation=told.aggregation,
        max_frame=told.max_frame,
        management=tuple(management),
        hold_s=hold,
        heard=heard,
    )


class _Told:
    """What organisations' TLVs say."""

    def __init__(self) -> None:
        self.pvid: int | None = None
        self.vlans: dict[Vid, str] = {}
        self.aggregation: Aggregation | None = None
        self.max_frame: int | None = None

    def take(self, oui: bytes, subtype: int, value: bytes) -> None:
        match (oui, subtype):
            case (oui, 1) if oui == _DOT1 and len(value) >= 2:
                pvid = int.from_bytes(value[:2], "big")
                self.pvid = pvid if pvid <= VID_MAX else None
            case (oui, 3) if oui == _DOT1 and len(value) >= 3:
                vid = int.from_bytes(value[:2], "big")
                if 1 <= vid <= VID_MAX:
                    self.vlans[Vid(vid)] = _text(value[3 : 3 + value[2]])
            case (oui, 7) if oui == _DOT1 and len(value) >= 5:
                self.aggregation = self._aggregation(value)
            case (oui, 3) if oui == _DOT3 and len(value) >= 5:
                self.aggregation = self.aggregation or self._aggregation(value)
            case (oui, 4) if oui == _DOT3 and len(value) >= 2:
                self.max_frame = int.from_bytes(value[:2], "big") or None
            case _:
                pass

    def _aggregation(self, value: bytes) -> Aggregation:
        status = value[0]
        return Aggregation(capable=bool(status & 1), active=bool(status & 2), port_id=int.from_bytes(value[1:5], "big"))


def _identity(value: bytes, kinds: dict[int, str], network: int) -> Identity | None:
    if len(value) < 2:
        return None
    kind, rest = kinds.get(value[0], "local"), value[1:]
    if kind == "mac" and len(rest) == 6:
        return Identity(kind=kind, text=mac_text(rest))
    if value[0] == network:
        return Identity(kind=kind, text=_address(rest))
    text = _text(rest)
    return Identity(kind=kind, text=text) if text else Identity(kind=kind, text=rest.hex(":"))


def _address(value: bytes) -> str:
    """IANA address family, then the address."""
    family, rest = value[0], value[1:]
    if family == 1 and len(rest) == 4:
        return ".".join(map(str, rest))
    if family == 2 and len(rest) == 16:
        import ipaddress

        return str(ipaddress.IPv6Address(rest))
    return rest.hex(":")


def _management(value: bytes) -> Iterator[str]:
    if value and 2 <= value[0] <= 32 and len(value) > value[0]:
        yield _address(value[1 : 1 + value[0]])


def _text(value: bytes) -> str:
    """Without the NULs that some end their texts with; what is no UTF-8 is shown as such."""
    return value.rstrip(b"\0").decode("utf-8", "replace").strip()


def mac_text(value: bytes) -> Mac:
    return Mac(value.hex(":"))


# The other way ------------------------------------------------------------------------------------


def encode(port: SwitchPort, *, dot3_aggregation: bool = True) -> bytes:
    """An LLDPDU that says all this, with its end TLV; for the lab's switches and tests. Raises ValueError where it
    would be longer than a frame. `dot3_aggregation`: in the older TLV, as most do; else in that of 802.1."""
    parts = [
        _tlv(_CHASSIS, _named(port.chassis, _CHASSIS_KINDS)),
        _tlv(_PORT, _named(port.port, _PORT_KINDS)),
        _tlv(_TTL, port.hold_s.to_bytes(2, "big")),
    ]
    texts = ((_PORT_TEXT, port.port_description), (_NAME, port.system), (_TEXT, port.system_description))
    parts += [_tlv(kind, text.encode()[:255]) for kind, text in texts if text]
    if port.is_bridge is not None:
        parts.append(_tlv(_CAPABILITIES, struct.pack("!HH", _BRIDGE, _BRIDGE if port.is_bridge else 0)))
    if port.pvid is not None:
        parts.append(_organised(_DOT1, _DOT1_PVID, port.pvid.to_bytes(2, "big")))
    for vid, name in port.vlans.items():
        text = name.encode()[:32]
        parts.append(_organised(_DOT1, _DOT1_VLAN, vid.to_bytes(2, "big") + bytes([len(text)]) + text))
    if port.aggregation is not None:
        status = port.aggregation.capable | port.aggregation.active << 1
        value = bytes([status]) + port.aggregation.port_id.to_bytes(4, "big")
        where = (_DOT3, _DOT3_AGGREGATION) if dot3_aggregation else (_DOT1, _DOT1_AGGREGATION)
        parts.append(_organised(*where, value))
    if port.max_frame is not None:
        parts.append(_organised(_DOT3, _DOT3_MAX_FRAME, port.max_frame.to_bytes(2, "big")))
    found = b"".join(parts) + _tlv(_END, b"")
    if len(found) > LONGEST:
        raise ValueError(f"an LLDPDU of {len(found)} bytes fits into no frame")
    return found


def frame(source: Mac, pdu: bytes) -> bytes:
    """With the Ethernet header; to the nearest bridge."""
    return NEAREST_BRIDGE + bytes.fromhex(source.replace(":", "")) + ETHERTYPE.to_bytes(2, "big") + pdu


def _named(identity: Identity, kinds: dict[int, str]) -> bytes:
    subtype = next(number for number, kind in kinds.items() if kind == identity.kind)
    if identity.kind == "mac":
        return bytes([subtype]) + bytes.fromhex(identity.text.replace(":", ""))
    return bytes([subtype]) + identity.text.encode()[:254]


def _tlv(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind << 9 | len(value)) + value


def _organised(oui: bytes, subtype: int, value: bytes) -> bytes:
    return _tlv(_ORGANISATION, oui + bytes([subtype]) + value)
