"""Marked-up text: a Style says how the words look, and knows nothing of terminals."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE = re.compile("\x1b\\[[0-9;]*m")


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


def width(text: str) -> int:
    """Columns on a terminal, escapes not counted (all our signs are one column wide)."""
    return len(_ESCAPE.sub("", text))


def pad(text: str, columns: int) -> str:
    return text + " " * max(0, columns - width(text))


def plural(count: int, word: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
