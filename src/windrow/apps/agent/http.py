"""The agent's answers over HTTP: /metrics, /healthz, /status, from the last snapshot. Nothing here blocks; `face` gives
it a thread.

A client has `PATIENCE_S` to ask and as long again to take its answer; a request has at most `REQUEST_MAX` bytes; of
more than `CONNECTIONS_MAX` clients the one goes that has kept us waiting longest. Each connection is for one request.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from windrow.apps.agent.metrics import CONTENT_TYPE, complaints, exposition
from windrow.apps.agent.snapshot import Snapshot
from windrow.model.lazy import dataclass
from windrow.model.problems import WindrowError
from windrow.model.wire.happenings import status_document
from windrow.store import records

CONNECTIONS_MAX, PATIENCE_S, REQUEST_MAX = 16, 5.0, 8192
LINGER_S = 1.0
"""So long what a client still sends is read and thrown away: a close with bytes unread resets the connection, and the
answer may be lost with it (RFC 9112 §9.6)."""
PAUSE_S = 0.5
"""Without file descriptors nobody is let in for so long."""
MODE = 0o660
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    type: str = TEXT


@dataclass(slots=True)
class Client:
    """A connection: it asks, then it is answered (`out` is what is left to send), then it is waited for (`done`)."""

    socket: socket.socket
    deadline: float
    asked: bytearray = field(default_factory=bytearray)
    out: memoryview = field(default_factory=lambda: memoryview(b""))
    done: bool = False

    @property
    def waits_for(self) -> int:
        return selectors.EVENT_WRITE if self.out else selectors.EVENT_READ


class Listener:
    """Listens until it is closed. `publish` says what is answered from then on."""

    def __init__(
        self, listening: socket.socket, *, path: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`path`: of a Unix socket, to be removed at the end."""
        self._listening, self._path, self._clock = listening, path, clock
        self._clients: dict[int, Client] = {}
        self._gone: list[socket.socket] = []
        self._snapshot: Snapshot | None = None
        self.answers: dict[str, Callable[[str], Answer]] = {}
        """Further paths, and who answers them, at once, from the query."""
        self._paused_until: float | None = None
        listening.setblocking(False)

    @property
    def address(self) -> str:
        """`127.0.0.1:9441`, or the path of the socket."""
        if self._path is not None:
            return str(self._path)
        host, port = self._listening.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def publish(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    # -- a part of the loop ------------------------------------------------------------------------

    def fds(self) -> Mapping[int, int]:
        """Who is gone is closed here and not before: the next client would be given the same number, and the loop,
        which compares numbers, would not notice that it is another one."""
        while self._gone:
            self._gone.pop().close()
        found = {fd: client.waits_for for fd, client in self._clients.items()}
        if self._paused_until is None:
            found[self._listening.fileno()] = selectors.EVENT_READ
        return found

    def ready(self, fd: int) -> bool:
        """Never a reason to look at the network."""
        self._expire()
        if fd == self._listening.fileno():
            self._accept()
        elif fd in self._clients:
            self._serve(self._clients[fd])
        return False

    def deadline(self) -> float | None:
        times = [client.deadline for client in self._clients.values()]
        times += [self._paused_until] if self._paused_until is not None else []
        return min(times, default=None)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        while self._gone:
            self._gone.pop().close()
        self._listening.close()
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()

    # -- connections -------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self._paused_until = self._clock() + PAUSE_S  # it stays ready, and must not spin
            return  # the client is gone again (ECONNABORTED), or was never there
        connection.setblocking(False)
        while len(self._clients) >= CONNECTIONS_MAX:
            self._drop(min(self._clients.values(), key=lambda c: c.deadline))
        self._clients[connection.fileno()] = Client(connection, self._clock() + PATIENCE_S)

    def _expire(self) -> None:
        now = self._clock()
        for client in [c for c in self._clients.values() if c.deadline <= now]:
            self._drop(client)
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None

    def _drop(self, client: Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        self._gone.append(client.socket)

    def _serve(self, client: Client) -> None:
        try:
            if client.out:
                self._send(client)
            else:
                self._receive(client)
        except BlockingIOError:
            return
        except OSError:  # reset, or shut: nobody is there to be told
            self._drop(client)

    def _receive(self, client: Client) -> None:
        data = client.socket.recv(REQUEST_MAX)
        if not data:
            self._drop(client)
            return
        if client.done:
            return
        client.asked += data
        if b"\r\n\r\n" in client.asked or b"\n\n" in client.asked:
            self._answer(client, _parse(bytes(client.asked)))
        elif len(client.asked) >= REQUEST_MAX:
            self._answer(client, Answer(431, f"a request has at most {REQUEST_MAX} bytes\n"))

    def _answer(self, client: Client, asked: Request | Answer) -> None:
        head_only = isinstance(asked, Request) and asked.head
        answer = asked if isinstance(asked, Answer) else self._look_up(asked)
        client.out = memoryview(_bytes(answer, head_only=head_only))
        client.deadline = self._clock() + PATIENCE_S
        self._send(client)

    def _send(self, client: Client) -> None:
        client.out = client.out[client.socket.send(client.out) :]
        if not client.out:
            client.done = True
            client.deadline = self._clock() + LINGER_S
            client.socket.shutdown(socket.SHUT_WR)

    # -- answers -----------------------------------------------------------------------------------

    def _look_up(self, asked: Request) -> Answer:
        match asked.path:
            case "/metrics":
                if self._snapshot is None:
                    return Answer(503, "the network has not been looked at yet\n")
                return Answer(200, exposition(self._snapshot), CONTENT_TYPE)
            case "/healthz" | "/livez" | "/readyz":
                return self._health(verbose="verbose" in asked.query.split("&"))
            case "/status":
                if self._snapshot is None:
                    return Answer(503, '{"error": "the network has not been looked at yet"}\n', JSON)
                return Answer(200, json.dumps(status_document(self._snapshot.status)) + "\n", JSON)
            case path if path in self.answers:
                # Whoever comes over the network may look, and have nothing done.
                return self.answers[path](asked.query if self._path is not None else "")
            case _:
                return Answer(404, f"there is: {' '.join(('/metrics', '/healthz', '/status', *self.answers))}\n")

    def _health(self, *, verbose: bool) -> Answer:
        why = complaints(self._snapshot)
        status = 503 if why else 200
        if verbose:
            document = {"ok": not why, "reasons": list(why)}
            if self._snapshot is not None:
                document["lastRound"] = self._snapshot.status.last_round
                document["ageSeconds"] = round(self._clock() - self._snapshot.made, 3)
            return Answer(status, json.dumps(document) + "\n", JSON)
        return Answer(status, "".join(f"{line}\n" for line in why) or "ok\n")


# -- requests --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    query: str = ""
    head: bool = False


def _parse(data: bytes) -> Request | Answer:
    """The request line is all that matters here (RFC 9112 §3); the headers say nothing that would change an answer."""
    line = data.split(b"\n", 1)[0].rstrip(b"\r").decode("latin-1")
    words = line.split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[1].startswith("/"):
        return Answer(400, "this is no HTTP request\n")
    method, target, version = words
    if not version.startswith("HTTP/1."):
        return Answer(505 if version.startswith("HTTP/") else 400, "HTTP/1.1 is spoken here\n")
    if method not in ("GET", "HEAD"):
        return Answer(405, "nothing can be changed here: GET and HEAD\n")
    path, _, query = target.partition("?")
    return Request(path, query, head=method == "HEAD")


def _bytes(answer: Answer, *, head_only: bool) -> bytes:
    body = answer.body.encode("utf-8", "replace")
    lines = [
        f"HTTP/1.1 {answer.status} {REASONS[answer.status]}",
        f"Content-Type: {answer.type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if answer.status == 405 else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if head_only else body)


# -- where it listens ------------------------------------------------------------------------------


class ListenError(WindrowError):
    """Nobody can be let in there."""


def listen(where: str | Path) -> Listener:
    """On `HOST:PORT` (`[::1]:9441`), or on a Unix socket at a path, which only root and its group may open.

    Raises ListenError.
    """
    try:
        return Listener(_unix(where), path=where) if isinstance(where, Path) else Listener(_tcp(where))
    except OSError as error:
        raise ListenError(f"cannot listen on {where}: {error.strerror or error}") from error


def _tcp(where: str) -> socket.socket:
    host, colon, port = where.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ListenError(f"{where!r} is no address to listen on\n    hint: write it as 127.0.0.1:9441 or [::1]:9441")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, int(port)))
        found.listen(CONNECTIONS_MAX)
    except BaseException:
        found.close()
        raise
    return found


def _unix(path: Path) -> socket.socket:
    """Made under another name and moved into its place: it is never there with another mode, and the one of an agent
    that was killed is no hindrance. An agent that answers there is."""
    if _answers(path):
        raise ListenError(
            f"another agent listens on {path}\n    hint: one of them is enough; see: systemctl status windrow"
        )
    records.make_directory(path.parent, flush=False)
    temp = path.with_name(f".{path.name}.new")
    temp.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(found.fileno(), MODE)  # before bind(2), which makes the file with it (`unix_bind`)
        found.bind(str(temp))
        temp.chmod(MODE)
        found.listen(CONNECTIONS_MAX)
        temp.replace(path)
    except BaseException:
        found.close()
        temp.unlink(missing_ok=True)
        raise
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as one:
        one.settimeout(1.0)
        try:
            one.connect(str(path))
        except OSError:
            return False
        return True
