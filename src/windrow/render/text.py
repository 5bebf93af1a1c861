"""Marked-up text: a Style says how the words look, and knows nothing of terminals."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from windrow.model.lazy import dataclass

_ESCAPE = re.compile("\x1b\\[[0-9;]*m")
_OURS = r"\x1b\[(?:0|1|2|3[1-6]|9[2-6])m"
"""What `Style` writes, and nothing that hides, moves or answers."""
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""C0 but tab and newline, DEL, C1 (ECMA-48); what turns the direction of writing round (UAX #9), line separators; and
what is no character at all."""
_NOT_SHOWN = re.compile(_CONTROL)
_NOT_OURS = re.compile(f"({_OURS})|{_CONTROL}")


@dataclass(frozen=True, slots=True)
class Style:
    """SGR escapes where `colour` is on, the bare words where not."""

    colour: bool = False

    def _sgr(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def bold(self, text: str) -> str:
        return self._sgr("1", text)

    def dim(self, text: str) -> str:
        return self._sgr("2", text)

    def red(self, text: str) -> str:
        return self._sgr("31", text)

    def green(self, text: str) -> str:
        return self._sgr("32", text)

    def yellow(self, text: str) -> str:
        return self._sgr("33", text)

    def blue(self, text: str) -> str:
        return self._sgr("34", text)

    def cyan(self, text: str) -> str:
        return self._sgr("36", text)

    def vlan(self, vid: int, text: str) -> str:
        """Each VID its own colour, the same one in every line."""
        return self._sgr(("36", "35", "34", "32", "33", "96", "95", "94", "92", "93")[vid // 100 % 10], text)


PLAIN = Style()


def shown(text: str, *, colour: bool = False) -> str:
    """What a terminal may be given: control characters as their numbers (`\\x1b`), a byte that is no UTF-8 as `\\xff`.

    `colour`: the escapes of a `Style` stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return (_NOT_OURS if colour else _NOT_SHOWN).sub(_number, text)


def _number(found: re.Match[str]) -> str:
    if found.lastindex:
        return found[0]
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00  # a byte, by PEP 383
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def json_shown(text: str) -> str:
    """A JSON text that says the same, and in which nothing is left for a terminal to obey."""
    return _NOT_SHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def width(text: str) -> int:
    """Columns on a terminal, escapes not counted (all our signs are one column wide)."""
    return len(_ESCAPE.sub("", text))


def pad(text: str, columns: int) -> str:
    return text + " " * max(0, columns - width(text))


def plural(count: int, word: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def span(seconds: float) -> str:
    """How long, in one unit: `250 ms`, `12 s`, `3 min`, `2 h`, `5 days`; what is below nothing is nothing."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def timestamp(seconds: float) -> str:
    """RFC 3339, as metav1.Time writes it. What no calendar holds is the beginning of time."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return "1970-01-01T00:00:00Z"


def wrap(text: str, columns: int, indent: int) -> list[str]:
    """Lines of at most so many columns, broken between words, all but the first indented; a longer word stays whole."""
    if width(text) <= columns:
        return [text]
    bare = text.lstrip(" ")
    lines = [" " * (len(text) - len(bare))]
    for word in bare.split(" "):
        fits = width(lines[-1]) + 1 + width(word) <= columns
        if not lines[-1].strip():
            lines[-1] += word
        elif fits:
            lines[-1] += f" {word}"
        else:
            lines.append(" " * indent + word)
    return [line.rstrip() for line in lines]
