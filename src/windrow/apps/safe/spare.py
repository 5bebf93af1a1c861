"""A small process that forks watchdogs off for a long-lived one, which then need not be forked itself.

fork(2) copies the page tables of the caller, and every page that it writes to afterwards (`copy_page_range` in
mm/memory.c): of an agent that has looked at a large host that is a tenth of a second in which nobody answers for it.
The spare is forked when the agent begins, before it has threads and data. It ends with the agent, however that ends;
the watchdogs that it has started do not.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from windrow.apps.safe import watchdog
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint
from windrow.model.problems import WindrowError
from windrow.model.processes import Process
from windrow.store import checkpoints

_LENGTH = 8
"""Each message is JSON, after its length in so many bytes."""


LATER_S = 5.0
"""So much later than from the watchdog itself its word may come from here."""


class Spare:
    """`otherwise`: starts a watchdog where the spare is gone."""

    def __init__(self, site: Site, otherwise: Callable[[Site, Checkpoint], Process] = watchdog.start) -> None:
        """Fork it. Only its kernel is of its own; all else of `site` is as it is now. Raises OSError."""
        self._otherwise = otherwise
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(watchdog.READY_S + LATER_S)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(site, theirs)
            finally:
                os._exit(0)
        theirs.close()

    def start(self, site: Site, checkpoint: Checkpoint) -> Process:
        """As `watchdog.start`."""
        try:
            _send(self._ours, checkpoints.write(checkpoint))
            said = _receive(self._ours)
        except OSError:
            said = None
        if said is None:
            self._ours.close()  # an answer that comes too late is no answer to the next question
            return self._otherwise(site, checkpoint)
        if "error" in said:
            raise watchdog.WatchdogError(str(said["error"]))
        return Process(pid=int(said["pid"]), started=int(said["started"]))

    def close(self) -> None:
        """It has nothing to finish: whoever asked it for something has had its answer, or has given it up."""
        self._ours.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _serve(site: Site, theirs: socket.socket) -> None:
    """In the spare: until the other end is closed."""
    gc.disable()
    gc.freeze()
    watchdog.become_nobody(theirs.fileno())
    while (asked := _receive(theirs)) is not None:
        _send(theirs, _started(site, asked))


def _started(site: Site, asked: object) -> dict[str, Any]:
    try:
        process = watchdog.start(site, checkpoints.read(asked))
    except WindrowError as error:
        return {"error": str(error)}
    except (OSError, ValueError) as error:
        return {"error": f"the watchdog did not start: {error}\n    hint: nothing was changed; try again"}
    return {"pid": process.pid, "started": process.started}


def _send(to: socket.socket, message: object) -> None:
    data = json.dumps(message).encode()
    to.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def _receive(from_: socket.socket) -> dict[str, Any] | None:
    """None: the other end is closed. Raises OSError, TimeoutError."""
    head = _exactly(from_, _LENGTH)
    data = _exactly(from_, int.from_bytes(head, "big")) if head is not None else None
    return json.loads(data) if data is not None else None


def _exactly(from_: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        if not (more := from_.recv(count - len(data))):
            return None
        data += more
    return bytes(data)
