"""Kubernetes' quantities: `512Mi`, `1.5G`, `250m`, `1e9` (apimachinery, api/resource/quantity.go)."""

from __future__ import annotations

import re
from fractions import Fraction

from windrow.model.wire.text import quoted

_QUANTITY = re.compile(r"([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE]([+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE]))?")
_BINARY = {f"{letter}i": Fraction(1024) ** (i + 1) for i, letter in enumerate("KMGTPE")}
_DECIMAL = {
    letter: Fraction(1000) ** (i - 3) for i, letter in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"))
}


def parse_quantity(text: str) -> Fraction:
    """Not negative. Raises ValueError."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{quoted(text)} is not a quantity like 512Mi, 2G or 250m")
    number, exponent, suffix = found.groups()
    if exponent is not None:
        return Fraction(number) * Fraction(10) ** int(exponent)
    return Fraction(number) * ({**_DECIMAL, **_BINARY}[suffix or ""])


def write_bytes(count: int) -> str:
    """In mebibytes, gibibytes where that comes out even."""
    for suffix, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)
