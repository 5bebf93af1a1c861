"""What all who read frames share: why one is not what it should be, and texts and addresses in it.

What a frame holds is anybody's to write: nothing here raises, and texts are cut and cleaned where they are shown.
"""

from __future__ import annotations

from windrow.model.lazy import dataclass
from windrow.model.values import Mac


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a frame is not what its EtherType says."""

    reason: str


def text(value: bytes) -> str:
    """Without the NULs that some end their texts with; what is no UTF-8 is shown as such."""
    return value.rstrip(b"\0").decode("utf-8", "replace").strip()


def mac_text(value: bytes) -> Mac:
    """6 bytes."""
    return Mac(value.hex(":"))


def ip_text(value: bytes) -> str:
    """4 or 16 bytes; others are shown as they are, in hexadecimal."""
    if len(value) == 4:
        return ".".join(map(str, value))
    if len(value) == 16:
        import ipaddress

        return str(ipaddress.IPv6Address(value))
    return value.hex(":")
