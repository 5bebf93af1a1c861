"""VLAN probes: small signed frames (EtherType 0x88B5, IEEE 802 local experimental) that say by which leg of which node
and in which VLAN they were sent.

Whatever comes in is decoded to a value: a `Probe`, or the reason why it is none. Nothing here raises for what came from
a cable.

    0 magic  4 version  5 kind  6 length  8 cluster  16 signature  32 run (start, nonce)  48 echo  56 sweep  64 sequence
    72 VID, broadcasts, largest, again  80 aim, time, into  92 report, chunk, chunks, flags  100 lengths of the rest

The signature is HMAC-SHA-256 over all the rest, cut to 16 bytes (RFC 2104 §5). `length` is what is signed: an Ethernet
padding behind it does not matter.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from struct import Struct
from struct import error as struct_error
from zlib import crc32

from windrow.frames.ethernet import mac_bytes
from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX, IfName, Mac

ETHERTYPE = 0x88B5
ETHERTYPE_VLAN = 0x8100
BROADCAST = Mac("ff:ff:ff:ff:ff:ff")
VERSION = 1
SIGNATURE, CLUSTER_ID = 16, 8
BODY_MAX = 1100
"""Bytes of a report in one frame: it fits into any MTU that IPv6 knows (1280, RFC 8200 §5)."""
NAME_MAX = 253
"""Of a node (RFC 1123)."""
_MAGIC = b"WnPr"
_FRONT, _BACK = Struct("!4sBBH8s"), Struct("!QQQQQHHHHIIIIBBHBBH")
_SIGNED_FROM = _FRONT.size + SIGNATURE
HEADER = _SIGNED_FROM + _BACK.size
_CALL, _LOCATE = 1, 2
WIRE_OVERHEAD = 14 + 4 + 4 + 8 + 12
"""Bytes of each frame beside its payload: header, tag, check sequence, preamble, gap (IEEE 802.3 §3)."""


class Kind(IntEnum):
    BROADCAST = 1
    UNICAST = 2
    NOTICE = 3
    """A large one to the same address follows."""
    LARGE = 4
    REPORT = 5
    """Not counted: it carries a part of what its node knows."""
    RELAY = 6
    """Not counted: it carries a part of what its node passes on of others' reports (`frames.relay`)."""


UNCOUNTED = frozenset({Kind.REPORT, Kind.RELAY})


class Refusal(StrEnum):
    """Why something with our EtherType is no probe of this cluster."""

    OTHER = "not a probe of Windrow"
    VERSION = "a version that is not spoken here"
    MALFORMED = "malformed"
    FORGED = "the signature is wrong"
    REPLAYED = "replayed"
    STALE = "of a time that is not now"
    NAMESAKE = "another host says that it is this node"
    TOO_MANY = "of more nodes than can be"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A probe of another cluster, as far as it can be read without its key."""

    cluster: str
    """Its id, hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What a cluster's probes are signed with."""

    key: bytes
    cluster: bytes
    authentic: bool
    """Whether nobody else can know it. A derived one says which cluster it is, and proves nothing."""

    @classmethod
    def of_key(cls, key: bytes) -> Secret:
        return cls(key=_hash(b"sign", key), cluster=_hash(b"cluster", key)[:CLUSTER_ID], authentic=True)

    @classmethod
    def derived(cls, cluster_networks: Iterable[str]) -> Secret:
        """From the names of a cluster's networks, where it has no key."""
        names = "\n".join(sorted(cluster_networks)).encode()
        return cls(
            key=_hash(b"sign without a key", names),
            cluster=_hash(b"cluster without a key", names)[:CLUSTER_ID],
            authentic=False,
        )


def _hash(purpose: bytes, secret: bytes) -> bytes:
    return hashlib.sha256(b"windrow check: " + purpose + b"\0" + secret).digest()


@dataclass(frozen=True, slots=True)
class Run:
    """One process that sends: what it sent before is no proof of life now. `started`: milliseconds of Unix time;
    `nonce`: 64 random bits."""

    started: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a report: `report` counts the reports of one run."""

    report: int
    number: int
    of: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    kind: Kind
    sender: Leg
    vid: int
    """As it was tagged; 0: untagged."""
    run: Run
    sweep: int
    sequence: int
    """Of all that this run sends."""
    time: int
    """Unix time, seconds."""
    into: int = 0
    """Milliseconds since this sweep began: who has not listened for so long has not heard all of it."""
    echo: int = 0
    """The nonce of somebody whom the sender has heard: a recording has none of today."""
    broadcasts: int = 0
    """How many of this leg go into this VLAN in this sweep."""
    aim: int = 0
    """`aim_of` the leg to which a unicast one goes in this VLAN; 0: none does."""
    largest: int = 0
    """Payload bytes of the large one that follows a notice."""
    again: int = 0
    """Seconds from the begin of this sweep to the begin of the next; 0: nobody knows."""
    call: bool = False
    """Somebody waits for the answer: others sweep now, too."""
    locate: bool = False
    """With a call: something is missing, so they sweep with all legs."""
    chunk: Chunk | None = None
    size: int = 0
    """Payload bytes, of what came in; of what goes out 0, or to how many it is filled up."""


def aim_of(leg: Leg) -> int:
    return crc32(f"{leg.node}\0{leg.nic}".encode(errors="surrogateescape")) or 1


def mac_of(secret: Secret, leg: Leg) -> Mac:
    """The address that a leg's probes come from: locally administered (IEEE 802 §8.4.2), its own in every cluster, and
    the same after each start. Never the card's or the bond's: a switch would learn that on the wrong port."""
    digest = _hash(b"address", secret.cluster + f"{leg.node}\0{leg.nic}".encode(errors="surrogateescape"))
    return Mac(bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":"))


# Writing ------------------------------------------------------------------------------------------


def encode(probe: Probe, secret: Secret) -> bytes:
    """The payload behind the EtherType. Raises ValueError for what does not fit."""
    node, nic = (text.encode(errors="surrogateescape") for text in (probe.sender.node, probe.sender.nic))
    chunk = probe.chunk or Chunk(0, 0, 0, b"")
    length = max(HEADER + len(node) + len(nic) + len(chunk.data), probe.size)
    try:
        front = _FRONT.pack(_MAGIC, VERSION, probe.kind, length, secret.cluster)
        back = _BACK.pack(
            probe.run.started,
            probe.run.nonce,
            probe.echo,
            probe.sweep,
            probe.sequence,
            probe.vid,
            probe.broadcasts,
            probe.largest,
            probe.again,
            probe.aim,
            probe.time & 0xFFFFFFFF,
            min(probe.into, 0xFFFFFFFF),
            chunk.report & 0xFFFFFFFF,
            chunk.number,
            chunk.of,
            (_CALL if probe.call else 0) | (_LOCATE if probe.locate else 0),
            len(node),
            len(nic),
            len(chunk.data),
        )
    except struct_error as error:
        raise ValueError(f"a probe cannot say this: {error}") from error
    rest = b"".join((back, node, nic, chunk.data)).ljust(length - _SIGNED_FROM, b"\0")
    return front + _signature(secret, front, rest) + rest


def _signature(secret: Secret, front: bytes, rest: bytes) -> bytes:
    return hmac.digest(secret.key, front + rest, "sha256")[:SIGNATURE]


def ethernet(payload: bytes, *, to: str, source: str, vid: int) -> bytes:
    """The frame, with a tag of IEEE 802.1Q where `vid` is not 0."""
    tag = b"\x81\x00" + vid.to_bytes(2, "big") if vid else b""
    return b"".join((mac_bytes(to), mac_bytes(source), tag, ETHERTYPE.to_bytes(2, "big"), payload))


# Reading ------------------------------------------------------------------------------------------


def decode(payload: bytes, secret: Secret) -> Probe | Foreign | Refusal:
    """What came in behind the EtherType."""
    if len(payload) < HEADER or payload[:4] != _MAGIC:
        return Refusal.OTHER
    _, version, kind, length, cluster = _FRONT.unpack_from(payload)
    if version != VERSION:
        return Refusal.VERSION
    if cluster != secret.cluster:
        return Foreign(cluster.hex())
    if not HEADER <= length <= len(payload):
        return Refusal.MALFORMED
    signature, rest = payload[_FRONT.size : _SIGNED_FROM], payload[_SIGNED_FROM:length]
    if not hmac.compare_digest(_signature(secret, payload[: _FRONT.size], rest), signature):
        return Refusal.FORGED
    return _read(kind, rest, length)


def _read(kind: int, rest: bytes, size: int) -> Probe | Refusal:
    """What is signed right. Its writer may still have made a mistake."""
    (
        started,
        nonce,
        echo,
        sweep,
        sequence,
        vid,
        broadcasts,
        largest,
        again,
        aim,
        time,
        into,
        report,
        number,
        of,
        flags,
        node_bytes,
        nic_bytes,
        body_bytes,
    ) = _BACK.unpack_from(rest)
    at = _BACK.size
    end = at + node_bytes + nic_bytes + body_bytes
    if kind not in _KINDS or vid > VID_MAX or end > len(rest) or not 0 < node_bytes <= NAME_MAX or not nic_bytes:
        return Refusal.MALFORMED
    if body_bytes > BODY_MAX or (kind in UNCOUNTED) != (of > 0) or (of and number >= of):
        return Refusal.MALFORMED
    node = rest[at : at + node_bytes].decode(errors="surrogateescape")
    nic = rest[at + node_bytes : at + node_bytes + nic_bytes].decode(errors="surrogateescape")
    return Probe(
        kind=_KINDS[kind],
        sender=Leg(node, IfName(nic)),
        vid=vid,
        run=Run(started, nonce),
        sweep=sweep,
        sequence=sequence,
        time=time,
        into=into,
        echo=echo,
        broadcasts=broadcasts,
        aim=aim,
        largest=largest,
        again=again,
        call=bool(flags & _CALL),
        locate=bool(flags & _LOCATE),
        chunk=Chunk(report, number, of, rest[end - body_bytes : end]) if of else None,
        size=size,
    )


_KINDS = {int(kind): kind for kind in Kind}
