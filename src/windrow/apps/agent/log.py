"""What the agent does, one line for each step and each decision, on standard error: for people, or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TextIO

from windrow.render.text import shown


class Level(Enum):
    """The number is syslog's (sd-daemon(3)): journald takes `<4>` off a line and files it under warning."""

    DEBUG = 7
    INFO = 6
    WARNING = 4
    ERROR = 3


class Log:
    """`form`: text or json. `journal`: the lines go to journald, which has its own time and level."""

    def __init__(
        self, stream: TextIO, form: str = "text", *, journal: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._stream, self._form, self._journal, self._clock = stream, form, journal, clock

    def debug(self, what: str, **more: object) -> None:
        if self._form == "json":
            self._say(Level.DEBUG, what, more)

    def info(self, what: str, **more: object) -> None:
        self._say(Level.INFO, what, more)

    def warning(self, what: str, **more: object) -> None:
        self._say(Level.WARNING, what, more)

    def error(self, what: str, **more: object) -> None:
        self._say(Level.ERROR, what, more)

    def _say(self, level: Level, what: str, more: dict[str, object]) -> None:
        more = {key: value for key, value in more.items() if value not in ("", None)}
        line = self._json(level, what, more) if self._form == "json" else self._text(level, what, more)
        with suppress(OSError):  # nobody reads, or the disk of the log is full: that must not stop the network's repair
            self._stream.write(line + "\n")
            self._stream.flush()

    def _json(self, level: Level, what: str, more: dict[str, object]) -> str:
        values = {k: v if isinstance(v, int | float | bool) else str(v) for k, v in more.items()}
        return json.dumps({"time": self._time(), "level": level.name.lower(), "message": what, **values})

    def _text(self, level: Level, what: str, more: dict[str, object]) -> str:
        words = " ".join([what, *(f"{key}={_word(value)}" for key, value in more.items())])
        words = shown(words.replace("\n", "; "))
        return f"<{level.value}>{words}" if self._journal else f"{self._time()} {level.name.lower():7} {words}"

    def _time(self) -> str:
        now = self._clock()
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}Z"


def _word(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in ' "=\n' for c in text) else text
