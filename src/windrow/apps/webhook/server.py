"""HTTPS for an API server that asks: a thread for each connection, which it keeps open.

The standard library's server answers twice as many requests a second here as uvicorn with h11, in less memory
(docs/adr/0036-a-webhook.md).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = tuple[int, bytes]
Answering = Callable[[str, bytes], Answer]
"""(path, body) -> (status, JSON); no body: it is a GET. It may block."""
BODY_MAX = 8 << 20
"""Bytes. An API server stores objects of 1.5 MB (etcd's request limit), and a review may hold two of them."""
CONNECTIONS_MAX = 64
"""An API server has a few. Whoever opens more is not one."""
HANDSHAKE_S, IDLE_S = 5.0, 120.0
GRACE_S = 3.0
"""So long whoever is being answered is waited for when it ends."""


class Server:
    """Answers from when it is made until it is closed. `certificate`, `key`: files in PEM form."""

    def __init__(self, address: tuple[str, int], answering: Answering, certificate: Path, key: Path) -> None:
        self._answering = answering
        self.trust(certificate, key)
        self._server = _Listening(address, self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True)
        self._thread.start()

    def trust(self, certificate: Path, key: Path) -> None:
        """From the next connection on this is its certificate. Raises OSError where it is none (ssl.SSLError)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        self.context = context

    def answer(self, path: str, body: bytes) -> Answer:
        return self._answering(path, body)

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    def close(self) -> None:
        """Who is being answered is answered yet; an API server keeps connections open for ever."""
        self._server.ending = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server.end_connections()


class _Listening(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.server = server
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._open: set[_Connection] = set()
        self._turn = threading.Condition()
        self.ending = False
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Connection)

    def begin(self, connection: _Connection) -> bool:
        """A request is there; False: nobody answers any more."""
        with self._turn:
            connection.busy = not self.ending
            return connection.busy

    def done(self, connection: _Connection) -> None:
        with self._turn:
            connection.busy = False
            self._turn.notify_all()

    def came(self, connection: _Connection) -> None:
        with self._turn:
            self._open.add(connection)

    def went(self, connection: _Connection) -> None:
        with self._turn:
            self._open.discard(connection)

    def end_connections(self) -> None:
        with self._turn:
            self._turn.wait_for(lambda: not any(one.busy for one in self._open), GRACE_S)
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """The handshake is here, and not where connections are accepted: a client that says nothing keeps nobody."""
        assert isinstance(request, socket.socket)
        try:
            request.settimeout(HANDSHAKE_S)
            with contextlib.suppress(OSError), self.server.context.wrap_socket(request, server_side=True) as secure:
                secure.settimeout(IDLE_S)
                _Connection(secure, client_address, self)
        finally:
            with contextlib.suppress(OSError):
                request.close()
            self._places.release()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece
    disable_nagle_algorithm = True
    server: _Listening
    busy = False

    def setup(self) -> None:
        super().setup()
        self.server.came(self)

    def finish(self) -> None:
        self.server.went(self)
        super().finish()

    def parse_request(self) -> bool:
        """With the head of a request it begins; what the library answers by itself is done at once."""
        if not self.server.begin(self):
            self.close_connection = True
            return False
        if super().parse_request():
            return True
        self.server.done(self)
        return False

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > BODY_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._send(*self.server.server.answer(self.path.partition("?")[0], self.rfile.read(int(length))))

    def do_GET(self) -> None:
        self._send(*self.server.server.answer(self.path.partition("?")[0], b""))

    def _refuse(self, status: HTTPStatus) -> None:
        """What is left of the request would be taken for the next one."""
        self.close_connection = True
        self._send(status, b"{}")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection or self.server.ending:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.server.done(self)

    def log_message(self, format: str, *args: object) -> None:
        """Whoever connects and says nonsense is no news."""
