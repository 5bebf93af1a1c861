"""When the others may be called because something has changed: at once, and ever more seldom where it changes again and
again. A port that loses frames, or flaps, makes news with each sweep."""

from __future__ import annotations

PAUSE_S = 10.0
"""From one call to the next, at first; twice as long after each that followed at once."""
PAUSE_MAX_S = 600.0


class Alarm:
    """Times are of the clock that never jumps."""

    def __init__(self) -> None:
        self._pause_s = PAUSE_S
        self._last = float("-inf")

    def raised(self, now: float) -> bool:
        """Whether the others may be called now; if so they are."""
        if now < self._last + self._pause_s:
            return False
        calm = now >= self._last + 4 * self._pause_s
        self._pause_s = PAUSE_S if calm else min(2 * self._pause_s, PAUSE_MAX_S)
        self._last = now
        return True
