"""How names are spelled, where a CNI call asks: without regular expressions, whose module takes longer to load than all
that the call has to read.
"""

from __future__ import annotations

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALPHANUMERIC = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def is_label(text: str) -> bool:
    """RFC 1123: lower-case letters, digits, and - in between. Of any length."""
    return is_path_safe(text) and "." not in text


def is_subdomain(text: str) -> bool:
    """Labels with a dot between each two."""
    return all(map(is_label, text.split(".")))


def is_path_safe(text: str) -> bool:
    """Lower-case letters, digits, and - or . in between: no way leads out of a directory by it."""
    return bool(text) and _LOWER.issuperset(text[0] + text[-1]) and _LOWER.issuperset(text.translate(_INNER))


_INNER = {ord("-"): None, ord("."): None}


def is_network_name(text: str) -> bool:
    """The specification's, §Network configuration: a letter or digit, then also _ . and -."""
    return _ALPHANUMERIC.issuperset(text[:1]) and bool(text) and _ALPHANUMERIC.issuperset(text.translate(_LATER))


_LATER = _INNER | {ord("_"): None}


def is_file_name(text: str) -> bool:
    """What can be a program's, and has no blank."""
    return text not in ("", ".", "..") and not any(char in "/\0" or char.isspace() for char in text)


def is_version(text: str) -> bool:
    """`1.0.0`: three numbers of at most four digits."""
    parts = text.split(".")
    return len(parts) == 3 and all(part.isdecimal() and len(part) <= 4 for part in parts)
