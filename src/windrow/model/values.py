"""The small values: VLAN ids, MAC addresses, interface names, references to objects.

Numbers come from IEEE 802.1Q-2018 §9.6 (VID 0 = priority tag, 4095 reserved) and from the
kernel's `IFNAMSIZ` (16 bytes with the final NUL, so 15 usable).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NewType

from windrow.model.lazy import dataclass

Vid = NewType("Vid", int)
"""A VLAN id, 1..4094."""

Mac = NewType("Mac", str)
"""An Ethernet address in its one written form: `aa:bb:cc:dd:ee:ff`, lower case."""

IfName = NewType("IfName", str)
"""A kernel interface name, at most 15 bytes."""

Cidr = NewType("Cidr", str)
"""An interface address with its prefix length, e.g. `10.0.0.1/24`, as `ipaddress` writes it."""

VID_MIN, VID_MAX = 1, 4094
DEFAULT_PVID = Vid(1)
"""The VID that a Linux bridge gives every new port (`br_vlan.c: br_vlan_init`)."""

OWNER_GROUP = 30574
"""The link group ("wn" in ASCII) that marks what Windrow made. IFLA_GROUP is honoured in the create
message itself (`rtnl_create_link`), so a crash cannot leave an unmarked link; IFLA_IFALIAS is not."""

PORT_GROUP = 30576
"""The link group of the host end of a port. Not OWNER_GROUP: what is Windrow's own and wanted by nobody is deleted by a
plan, and a port must outlive the loss of its record. Only DEL and GC take it away."""

OWNER_PROTOCOL = 119
"""The protocol number that marks our routes (`rtm_protocol`: 0 to 4 are the kernel's and the administrator's; of the
others /etc/iproute2/rt_protos names some, and not this one)."""

RTPROT_STATIC = 4
"""Of a route that an administrator set."""

IFNAME_MAX = 15
MTU_DEFAULT, MTU_MIN, MTU_MAX = 1500, 576, 9000
IPV6_MTU_MIN = 1280
"""RFC 8200 §5; below it the kernel has no IPv6 on a link (`addrconf_notify`)."""

_MAC = r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"
"""Compiled where it is used: a CNI plugin, started anew for every call, does not."""


def parse_mac(text: str) -> Mac:
    """`AA-BB-CC-DD-EE-FF` or `aa:bb:cc:dd:ee:ff` -> Mac. Raises ValueError."""
    mac = text.strip().lower().replace("-", ":")
    if not re.fullmatch(_MAC, mac):
        raise ValueError(f"{text!r} is not a MAC address like 52:54:00:12:34:56")
    return Mac(mac)


def link_local(mac: Mac) -> str:
    """The address that a kernel makes of it (EUI-64, RFC 4291 appendix A)."""
    from ipaddress import IPv6Address  # most of what loads values has no use for it

    octets = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]))


def parse_unicast_mac(text: str) -> Mac:
    """A MAC that a device may have (`is_valid_ether_addr`). Raises ValueError."""
    mac = parse_mac(text)
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{mac} is a group address (the lowest bit of its first byte is 1)")
    if mac == "00:00:00:00:00:00":
        raise ValueError(f"{mac} is no address at all")
    return mac


def name_bytes(name: str) -> bytes:
    """A link's name as the kernel has it. To the kernel a name is bytes, and here a text: what is no UTF-8 in it is
    kept as surrogates (PEP 383), so that every link can be named, asked about and deleted."""
    return name.encode(errors="surrogateescape")


def name_text(data: bytes) -> str:
    """The inverse of `name_bytes`, without the NUL at the end."""
    return data.rstrip(b"\0").decode(errors="surrogateescape")


def printable(text: str) -> str:
    """What others have written, for a terminal: nothing in it moves a cursor."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def address_order(address: str) -> tuple[bool, bool, str]:
    """A key to sort by: IPv4 first, and IPv6 of the link alone last. With its prefix length or without."""
    return ":" in address, address.startswith("fe80:"), address


def parse_ifname(text: str) -> IfName:
    """An interface name the kernel accepts (`dev_valid_name`). Raises ValueError."""
    if len(name_bytes(text)) > IFNAME_MAX:
        raise ValueError(f"{text!r} has {len(name_bytes(text))} bytes, the kernel allows {IFNAME_MAX}")
    if text in ("", ".", "..") or any(char in "/:\0" or char.isspace() for char in text):
        raise ValueError(f"{text!r} is not a name the kernel accepts for an interface")
    return IfName(text)


@dataclass(frozen=True, slots=True, order=True)
class VidSet:
    """A set of VLAN ids as a bitmap in one int: bit n set means VID n is in.

    Union, intersection and difference of 4,094 VIDs are one machine operation each.
    """

    bits: int = 0

    @classmethod
    def of(cls, vids: Iterable[int]) -> VidSet:
        """Raises ValueError for a VID outside 0..4094."""
        bits = 0
        for vid in vids:
            if not 0 <= vid <= VID_MAX:
                raise ValueError(f"VLAN id {vid} is outside 0..{VID_MAX}")
            bits |= 1 << vid
        return cls(bits)

    @classmethod
    def span(cls, first: int, last: int) -> VidSet:
        """All VIDs from `first` to `last`, both included."""
        if not 0 <= first <= last <= VID_MAX:
            raise ValueError(f"VLAN range {first}-{last} is not within 0..{VID_MAX} in rising order")
        return cls((1 << (last + 1)) - (1 << first))

    @classmethod
    def parse(cls, text: str) -> VidSet:
        """The inverse of `str()`: `"1,100-102"`. Raises ValueError."""
        result = cls()
        for part in filter(None, (p.strip() for p in text.split(","))):
            first, dash, last = part.partition("-")
            result |= cls.span(int(first), int(last) if dash else int(first))
        return result

    def __or__(self, other: VidSet) -> VidSet:
        return VidSet(self.bits | other.bits)

    def __and__(self, other: VidSet) -> VidSet:
        return VidSet(self.bits & other.bits)

    def __sub__(self, other: VidSet) -> VidSet:
        return VidSet(self.bits & ~other.bits)

    def __contains__(self, vid: int) -> bool:
        return bool(self.bits >> vid & 1)

    def __bool__(self) -> bool:
        return self.bits != 0

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __iter__(self) -> Iterator[Vid]:
        for first, last in self.ranges():
            yield from map(Vid, range(first, last + 1))

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Rising, inclusive, maximal ranges: {1,2,3,7} -> (1,3) (7,7)."""
        bits, base = self.bits, 0
        while bits:
            skip = (bits & -bits).bit_length() - 1
            bits >>= skip
            base += skip
            run = ((bits + 1) & -(bits + 1)).bit_length() - 1
            yield base, base + run - 1
            bits >>= run
            base += run

    def __str__(self) -> str:
        return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges())


@dataclass(frozen=True, slots=True, kw_only=True)
class PortVlans:
    """The VLANs of a bridge port, or of the bridge device itself.

    `tagged` and `untagged` are disjoint; `pvid`, where there is one, is in either of them
    (`BRIDGE_VLAN_INFO_PVID`; the VID that untagged frames coming in are given).
    """

    pvid: int | None = None
    untagged: VidSet = VidSet()
    tagged: VidSet = VidSet()
    exact: bool = True
    """Wanted states: False = only the tagged VIDs are managed; PVID and untagged VIDs stay as they are
    (the management network, whose native VLAN is the operating system's business)."""

    @property
    def all(self) -> VidSet:
        return self.untagged | self.tagged


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Which object: the `why` of a step, the `about` of a problem."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace + '/' if self.namespace else ''}{self.name}"
