"""A line to a server that can be cut: TCP connections are passed on, or ended, or not accepted, or say nothing."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time


class Line:
    """To a port on loopback; used with `with`."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._whole, self._held, self._ending = True, False, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """All connections end now, and new ones at once."""
        with self._lock:
            self._whole = False
            for one in list(self._pairs):
                self._end(one)

    def hold(self) -> None:
        """What is said from now on is not passed on, as by a server that hangs."""
        self._held = True

    def mend(self) -> None:
        self._whole, self._held = True, False

    def _run(self) -> None:
        while not self._ending:
            if self._held:
                time.sleep(0.02)
                continue
            for key, _ in self._selector.select(0.1):
                with self._lock:
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self._listener:
                        self._accept()
                    elif one in self._pairs:
                        self._pass_on(one)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            if not self._whole:
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
            if data:
                self._pairs[one].sendall(data)
                return
        except OSError:
            pass
        self._end(one)

    def _end(self, one: socket.socket) -> None:
        for end in (one, self._pairs.pop(one, None)):
            if end is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(end)
                self._pairs.pop(end, None)
                end.close()
