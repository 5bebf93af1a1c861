"""LLDP (IEEE 802.1AB-2016): what a neighbour says of itself, from its frame, and a frame from that.

    frame   destination 01:80:c2:00:00:0e (or :03, :00), EtherType 0x88cc, TLVs
    TLV     u16: type (7 bits), length (9 bits); value
    order   chassis id, port id, time to live; then any; end

802.1 TLVs are in IEEE 802.1Q annex D, the link aggregation one in 802.1AX annex F, 802.3 ones in IEEE 802.3 clause 79.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from windrow.frames.ethernet import frame, mac_bytes
from windrow.frames.reading import Unreadable, ip_text, mac_text, text
from windrow.model.evidence import Aggregation, Identity, Kind, SwitchPort
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX, Mac, Vid

ETHERTYPE = 0x88CC
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
GROUPS = (NEAREST_BRIDGE, bytes.fromhex("0180c2000003"), bytes.fromhex("0180c2000000"))
LONGEST = 1500
"""Bytes of TLVs: a longer LLDPDU fits into no frame of the usual size."""
NEAR_LONGEST = 1400
"""From here on some systems leave out what does not fit, whole kinds of TLVs at a time."""
TEN_AT_MOST = "MikroTik"
"""Announces ten VLANs at most, however many there are; its description of itself begins with this."""

_TLV = struct.Struct("!H")
_END, _CHASSIS, _PORT, _TTL, _PORT_TEXT, _NAME, _TEXT, _CAPABILITIES, _MANAGEMENT, _ORGANISATION = (*range(9), 127)
DOT1, DOT3 = bytes.fromhex("0080c2"), bytes.fromhex("00120f")
_DOT1_PVID, _DOT1_VLAN, DOT1_AGGREGATION = 1, 3, 7
_DOT3_AGGREGATION, _DOT3_MAX_FRAME = 3, 4
_BRIDGE = 1 << 2
_VALUE_MAX, _ID_MAX, _VLAN_NAME_MAX = 511, 255, 32

_CHASSIS_KINDS = {1: "component", 2: "ifalias", 3: "component", 4: "mac", 5: "address", 6: "ifname", 7: "local"}
_PORT_KINDS = {1: "ifalias", 2: "component", 3: "mac", 4: "address", 5: "ifname", 6: "circuit", 7: "local"}
_FAMILIES = {1: 4, 2: 16}
"""IANA's address families, IPv4 and IPv6, and how long their addresses are."""

Tlv = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Gone:
    """The neighbour goes away: a time to live of 0 (IEEE 802.1AB §9.2.7.3)."""

    chassis: Identity
    port: Identity


def decode(payload: bytes, heard: float = 0.0) -> SwitchPort | Gone | Unreadable:
    """The bytes after the EtherType. `heard`: when, Unix time."""
    tlvs = _tlvs(payload)
    if isinstance(tlvs, Unreadable):
        return tlvs
    if [kind for kind, _ in tlvs[:3]] != [_CHASSIS, _PORT, _TTL]:
        return Unreadable("it does not begin with chassis, port and time to live")
    chassis, port = _identity(tlvs[0][1], _CHASSIS_KINDS), _identity(tlvs[1][1], _PORT_KINDS)
    if chassis is None or port is None:
        return Unreadable(f"its {'port' if chassis else 'chassis'} has no name, or one of over {_ID_MAX} bytes")
    if len(tlvs[2][1]) < 2:
        return Unreadable("the time to live is cut off")
    hold = int.from_bytes(tlvs[2][1][:2], "big")
    if hold == 0:
        return Gone(chassis, port)
    bare = SwitchPort(source=Kind.LLDP, chassis=chassis, port=port, hold_s=hold, heard=heard)
    found = _filled(bare, tlvs[3:])
    return replace(found, vlans_cut=is_cut(found, len(payload)))


def _tlvs(payload: bytes) -> list[Tlv] | Unreadable:
    """Until the end TLV; a frame may go on after it (Ethernet's padding)."""
    found: list[Tlv] = []
    at = 0
    while at < len(payload):
        if at + 2 > len(payload):
            return Unreadable("a TLV's head is cut off")
        head = _TLV.unpack_from(payload, at)[0]
        kind, length = head >> 9, head & _VALUE_MAX
        value = payload[at + 2 : at + 2 + length]
        if len(value) < length:
            return Unreadable(f"TLV {kind} says {length} bytes and has {len(value)}")
        if kind == _END:
            break
        found.append((kind, value))
        at += 2 + length
    return found  # Without an end TLV, too: since IEEE 802.1AB-2009 one that fills its frame needs none.


def _filled(port: SwitchPort, tlvs: list[Tlv]) -> SwitchPort:
    """Of a TLV that may be there once the first one counts (IEEE 802.1AB §9.2.7.7.1 has the others discarded)."""
    texts: dict[int, str] = {}
    is_bridge: bool | None = None
    management: list[str] = []
    told = Told()
    for kind, value in tlvs:
        if kind in (_PORT_TEXT, _NAME, _TEXT):
            texts.setdefault(kind, text(value))
        elif kind == _CAPABILITIES and len(value) >= 4 and is_bridge is None:
            is_bridge = bool(int.from_bytes(value[2:4], "big") & _BRIDGE)
        elif kind == _MANAGEMENT:
            management += _management(value)
        elif kind == _ORGANISATION and len(value) >= 4:
            told.take(value[:3], value[3], value[4:])
    return replace(
        port,
        system=texts.get(_NAME, ""),
        system_description=texts.get(_TEXT, ""),
        port_description=texts.get(_PORT_TEXT, ""),
        is_bridge=is_bridge,
        pvid=told.pvid,
        vlans=told.vlans,
        aggregation=told.aggregation,
        max_frame=told.max_frame,
        management=tuple(management),
    )


def is_cut(port: SwitchPort, size: int) -> bool:
    """Whether the list of VLANs may be shorter than the truth. `size`: bytes of the LLDPDU, 0 where not known."""
    if not port.vlans:
        return False
    return size >= NEAR_LONGEST or (TEN_AT_MOST in port.system_description and len(port.vlans) >= 10)


class Told:
    """What the TLVs of organisations say."""

    def __init__(self) -> None:
        self.pvid: int | None = None
        self.vlans: dict[Vid, str] = {}
        self.max_frame: int | None = None
        self._aggregations: dict[bytes, Aggregation] = {}

    @property
    def aggregation(self) -> Aggregation | None:
        """802.1's before 802.3's, which is the same one in its old home."""
        return self._aggregations.get(DOT1) or self._aggregations.get(DOT3)

    def take(self, oui: bytes, subtype: int, value: bytes) -> None:
        """A TLV of type 127; one that is too short for what it is counts for nothing."""
        if oui == DOT1 and subtype == _DOT1_PVID and len(value) >= 2:
            pvid = int.from_bytes(value[:2], "big")
            if self.pvid is None and pvid <= VID_MAX:
                self.pvid = pvid
        elif oui == DOT1 and subtype == _DOT1_VLAN and len(value) >= 3:
            vid, length = int.from_bytes(value[:2], "big"), value[2]
            if 1 <= vid <= VID_MAX and length <= min(_VLAN_NAME_MAX, len(value) - 3):
                self.vlans.setdefault(Vid(vid), text(value[3 : 3 + length]))
        elif (oui, subtype) in ((DOT1, DOT1_AGGREGATION), (DOT3, _DOT3_AGGREGATION)) and len(value) >= 5:
            status, port_id = value[0], int.from_bytes(value[1:5], "big")
            found = Aggregation(capable=bool(status & 1), active=bool(status & 2), port_id=port_id)
            self._aggregations.setdefault(oui, found)
        elif oui == DOT3 and subtype == _DOT3_MAX_FRAME and len(value) >= 2 and self.max_frame is None:
            self.max_frame = int.from_bytes(value[:2], "big") or None


def _identity(value: bytes, kinds: dict[int, str]) -> Identity | None:
    if not 2 <= len(value) <= 1 + _ID_MAX:
        return None
    kind, rest = kinds.get(value[0], "local"), value[1:]
    if kind == "mac" and len(rest) == 6:
        return Identity(kind=kind, text=mac_text(rest))
    if kind == "address":
        return Identity(kind=kind, text=_address(rest))
    if kind == "mac":  # no MAC of ours: of another length
        return Identity(kind="local", text=rest.hex(":"))
    return Identity(kind=kind, text=text(rest) or rest.hex(":"))


def _address(value: bytes) -> str:
    """IANA's address family, then the address."""
    family, rest = value[0], value[1:]
    return ip_text(rest) if _FAMILIES.get(family) == len(rest) else rest.hex(":")


def _management(value: bytes) -> Iterator[str]:
    """u8 length of the family and the address; what follows is how the interface is numbered."""
    if value and 2 <= value[0] <= 32 and len(value) > value[0]:
        yield _address(value[1 : 1 + value[0]])


# The other way ------------------------------------------------------------------------------------


def encode(port: SwitchPort, *, dot3_aggregation: bool = True) -> bytes:
    """The bytes after the EtherType that say all this; for the lab's switches and tests. Raises ValueError where they
    would be longer than a frame. `dot3_aggregation`: in the older TLV, as most do; else in that of 802.1."""
    parts = [
        _tlv(_CHASSIS, _named(port.chassis, _CHASSIS_KINDS)),
        _tlv(_PORT, _named(port.port, _PORT_KINDS)),
        _tlv(_TTL, port.hold_s.to_bytes(2, "big")),
    ]
    texts = ((_PORT_TEXT, port.port_description), (_NAME, port.system), (_TEXT, port.system_description))
    parts += [_tlv(kind, words.encode()[:255]) for kind, words in texts if words]
    if port.is_bridge is not None:
        parts.append(_tlv(_CAPABILITIES, struct.pack("!HH", _BRIDGE, _BRIDGE if port.is_bridge else 0)))
    parts += [_tlv(_MANAGEMENT, _managed(address)) for address in port.management]
    parts += _organisations(port, dot3_aggregation)
    found = b"".join(parts) + _tlv(_END, b"")
    if len(found) > LONGEST:
        raise ValueError(f"an LLDPDU of {len(found)} bytes fits into no frame")
    return found


def _organisations(port: SwitchPort, dot3_aggregation: bool) -> Iterator[bytes]:
    if port.pvid is not None:
        yield _organised(DOT1, _DOT1_PVID, port.pvid.to_bytes(2, "big"))
    for vid, name in port.vlans.items():
        words = name.encode()[:_VLAN_NAME_MAX]
        yield _organised(DOT1, _DOT1_VLAN, vid.to_bytes(2, "big") + bytes([len(words)]) + words)
    if port.aggregation is not None:
        status = port.aggregation.capable | port.aggregation.active << 1
        value = bytes([status]) + port.aggregation.port_id.to_bytes(4, "big")
        home = (DOT3, _DOT3_AGGREGATION) if dot3_aggregation else (DOT1, DOT1_AGGREGATION)
        yield _organised(*home, value)
    if port.max_frame is not None:
        yield _organised(DOT3, _DOT3_MAX_FRAME, port.max_frame.to_bytes(2, "big"))


def to_neighbour(source: Mac, pdu: bytes) -> bytes:
    """The whole frame, to the nearest bridge."""
    return frame(NEAREST_BRIDGE, mac_bytes(source), ETHERTYPE, pdu)


def _named(identity: Identity, kinds: dict[int, str]) -> bytes:
    subtype = next(number for number, kind in kinds.items() if kind == identity.kind)
    if identity.kind == "mac":
        return bytes([subtype]) + mac_bytes(identity.text)
    if identity.kind == "address":
        return bytes([subtype]) + _packed(identity.text)
    return bytes([subtype]) + identity.text.encode()[:_ID_MAX]


def _managed(address: str) -> bytes:
    """Numbered in no known way, without an object identifier."""
    packed = _packed(address)
    return bytes([len(packed)]) + packed + bytes([1, 0, 0, 0, 0, 0])


def _packed(address: str) -> bytes:
    import ipaddress

    found = ipaddress.ip_address(address).packed
    return bytes([next(family for family, size in _FAMILIES.items() if size == len(found))]) + found


def _tlv(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind << 9 | len(value)) + value


def _organised(oui: bytes, subtype: int, value: bytes) -> bytes:
    return _tlv(_ORGANISATION, oui + bytes([subtype]) + value)
