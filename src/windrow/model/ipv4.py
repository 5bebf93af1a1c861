"""IPv4 addresses as numbers, for those who cannot wait until `ipaddress` is loaded: a CNI call that works alone.

What is not plainly written IPv4 is nobody's business here: the answer is None, and `ipaddress` says the rest.
"""

from __future__ import annotations

BITS = 32
_OCTETS, _OCTET_MAX, _DIGITS = 4, 255, 3


def parse(text: str) -> tuple[int, int] | None:
    """`10.0.0.1/24` -> (0x0a000001, 24); without a length it is 32."""
    address, slash, length = text.partition("/")
    parts = address.split(".")
    if len(parts) != _OCTETS or not all(map(_is_number, parts)) or (slash and not _is_number(length)):
        return None
    numbers, bits = [int(part) for part in parts], int(length) if slash else BITS
    if max(numbers) > _OCTET_MAX or bits > BITS:
        return None
    return int.from_bytes(bytes(numbers), "big"), bits


def _is_number(text: str) -> bool:
    """Without a leading zero, which some read as octal."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and (text == "0" or text[0] != "0")


def written(address: int) -> str:
    return ".".join(map(str, address.to_bytes(_OCTETS, "big")))


def hosts(length: int) -> int:
    """The bits that a prefix of this length leaves to its hosts, as a mask."""
    return (1 << (BITS - length)) - 1
