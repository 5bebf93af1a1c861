"""The server of requests: one thread for each, all over one channel."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from windrow.lab.channel import CHUNK, Decoder, Frame, Kind, encode, encode_json
from windrow.lab.errors import LabError
from windrow.model.problems import WindrowError

STARTED = time.monotonic()


class Request:
    """One request while it is worked on. `frames`: INPUT, SIGNAL, RESIZE and HANGUP, as they come."""

    def __init__(self, server: Server, channel: int, document: Mapping[str, Any]) -> None:
        self._server, self._channel = server, channel
        self.document = document
        self.frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def log(self, text: str, **more: Any) -> None:
        """A line of the live log. `more`: `level` (`step`, `good`, `bad`), and whatever helps a reader of JSON."""
        self._send_json(Kind.EVENT, {"text": text, **more})

    def output(self, data: bytes, *, errors: bool = False) -> None:
        kind = Kind.ERRORS if errors else Kind.OUTPUT
        for start in range(0, len(data), CHUNK):
            self._server.write(encode(self._channel, kind, data[start : start + CHUNK]))

    def result(self, document: Mapping[str, Any]) -> None:
        self._send_json(Kind.RESULT, document)

    def _send_json(self, kind: Kind, document: Mapping[str, Any]) -> None:
        self._server.write(encode_json(self._channel, kind, document))


Handler = Callable[[Request], Mapping[str, Any]]
"""Does what `request.document` asks; what it returns is the RESULT. WindrowError becomes `{"error": …}`."""


class Server:
    """Serves `handlers`, by the `do` of the request, until the host's end of the channel closes."""

    def __init__(self, fd: int, handlers: Mapping[str, Handler]) -> None:
        self._fd, self._handlers = fd, handlers
        self._lock = threading.Lock()
        self._open: dict[int, Request] = {}

    def run(self, about: Mapping[str, Any]) -> None:
        """`about` goes to the host with READY."""
        self.write(encode_json(0, Kind.READY, about))
        decoder = Decoder()
        with contextlib.suppress(OSError):  # EIO: the serial line hung up
            while data := os.read(self._fd, 64 * 1024):
                self.write(encode(0, Kind.ACK, str(len(data)).encode()))
                for frame in decoder.feed(data):
                    self._take(frame)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with self._lock:
            while view:
                view = view[os.write(self._fd, view) :]

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.REQUEST:
            request = self._open[frame.channel] = Request(self, frame.channel, frame.json())
            name = f"request {frame.channel}"
            threading.Thread(target=self._work, args=[frame.channel, request], name=name, daemon=True).start()
        elif frame.channel in self._open:
            self._open[frame.channel].frames.put(frame)

    def _work(self, channel: int, request: Request) -> None:
        try:
            request.result(self._answer(request))
        except OSError:
            pass  # the host has gone, and we go with it
        finally:
            self._open.pop(channel, None)

    def _answer(self, request: Request) -> Mapping[str, Any]:
        try:
            what = str(request.document.get("do"))
            if what not in self._handlers:
                raise LabError(f"this lab cannot {what!r}")
            return self._handlers[what](request)
        except WindrowError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the host, and not end the lab
            return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
