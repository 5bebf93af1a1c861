"""Kubernetes' quantities: `512Mi`, `1.5G`, `250m`, `1e9` (apimachinery, api/resource/quantity.go)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from windrow.model.wire.text import quoted

if TYPE_CHECKING:
    from fractions import Fraction

_QUANTITY = re.compile(r"([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE]([+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE]))?")
_SUFFIXES = {letter: (10, 3 * (i - 3)) for i, letter in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"))}
_SUFFIXES |= {f"{letter}i": (2, 10 * (i + 1)) for i, letter in enumerate("KMGTPE")}
"""Base and exponent of what each one multiplies by."""


def parse_quantity(text: str) -> Fraction | int:
    """Not negative. Raises ValueError."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{quoted(text)} is not a quantity like 512Mi, 2G or 250m")
    number, exponent, suffix = found.groups()
    base, power = _SUFFIXES[suffix or ""] if exponent is None else (10, int(exponent))
    if number.isdecimal() and power >= 0:
        return int(number) * int(base**power)
    from fractions import Fraction  # it is slow to load (it loads decimal), and few quantities are no integers

    return Fraction(number) * Fraction(base) ** power


def write_bytes(count: int) -> str:
    """In mebibytes, gibibytes where that comes out even."""
    for suffix, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)
