"""The serial line of a computer on which root is logged in: what is typed there, and what it prints."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

ANSWER_S = 600.0
"""So long a command may take: in software, beside other work, starting Windrow alone takes ten seconds."""
_END = "@@ended:"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_QUIET = "stty -echo cols 120 rows 50; PS1= PS2=; export NO_COLOR=1 LC_ALL=C.UTF-8 TERM=dumb; dmesg -n 1 2>/dev/null"
"""Only what commands say is printed."""


class Console:
    """`line`: the other end of the serial line. `record`: a file that keeps all that was ever printed."""

    def __init__(self, line: socket.socket, record: Path) -> None:
        self._line, self._record = line, record
        self._unread = ""
        self._news = threading.Condition()
        self._gone = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._record.open("ab", buffering=0) as record:
            while data := self._received():
                record.write(data)
                with self._news:
                    self._unread += data.decode(errors="replace").replace("\r", "")
                    self._news.notify_all()
        with self._news:
            self._gone = True
            self._news.notify_all()

    def _received(self) -> bytes:
        try:
            return self._line.recv(65536)
        except OSError:
            return b""

    def expect(self, pattern: str, within_s: float) -> str:
        """What was printed up to there and not read yet; what was matched is taken away."""
        wanted = re.compile(pattern)
        end = time.monotonic() + within_s
        with self._news:
            while not (found := wanted.search(self._unread)):
                left = end - time.monotonic()
                if self._gone or left <= 0:
                    why = "the computer is off" if self._gone else f"not within {within_s:.0f} s"
                    raise AssertionError(
                        f"no {pattern!r} on the console, {why}; the end of it:\n{self._unread[-3000:]}"
                    )
                self._news.wait(left)
            before, self._unread = self._unread[: found.start()], self._unread[found.end() :]
        return before

    def type(self, text: str) -> None:
        self._line.sendall(text.encode())

    def quieten(self) -> None:
        """A shell has begun: from now on only commands print."""
        self.type(f"{_QUIET}\nprintf '\\n{_END}%s\\n' ready\n")
        self.expect(rf"\n{_END}ready\n", ANSWER_S)

    def run(self, text: str, within_s: float = ANSWER_S) -> tuple[list[str], int]:
        """(the lines it printed, exit code). All of it is one command to the shell: nothing is left on the line for a
        program that reads it, as apt does for dpkg."""
        self.type(f"{{ {text}\n}}; printf '\\n{_END}%s\\n' $?\n")
        printed = self.expect(rf"\n{_END}(?=\d)", within_s)
        code = self.expect(r"\n", within_s)
        return _ESCAPE.sub("", printed).strip("\n").splitlines(), int(code)

    def ok(self, text: str, within_s: float = ANSWER_S) -> str:
        """What it printed; it has to end well."""
        printed, code = self.run(text, within_s)
        said = "\n".join(printed)
        assert code == 0, f"{text!r} ended with {code}:\n{said}"
        return said

    def close(self) -> None:
        self._line.close()
        self._reader.join(10)
