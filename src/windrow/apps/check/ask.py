"""Ask the agent of this node what its probes found, over its socket; nothing is sent into the network twice."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

from windrow.apps.check.told import Told, read
from windrow.model.problems import WindrowError

PATIENCE_S = 10.0
ANSWER_MAX = 64 * 1024 * 1024


class AskError(WindrowError):
    """The agent is there, and its answer is no use."""


def ask(path: Path, *, now: bool = False) -> Told | None:
    """None: no agent answers there, or it probes nothing. `now`: it is to sweep at once. Raises AskError."""
    try:
        answer = _get(path, "/check?now" if now else "/check")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        hint = "its socket is for root and its group" if error.errno in (errno.EACCES, errno.EPERM) else ""
        said = f"the agent cannot be asked: {path}: {error.strerror or error}"
        raise AskError(f"{said}\n    hint: {hint}" if hint else said) from error
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status == [b"404"]:
        return None
    try:
        document = json.loads(body)
        if status != [b"200"]:
            raise AskError(f"the agent has no answer: {document.get('error', 'it does not say why')}")
        return read(document)
    except (ValueError, AttributeError) as error:
        raise AskError(f"the agent's answer cannot be read: {error}; is it of another version?") from error


def _get(path: Path, target: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as one:
        one.settimeout(PATIENCE_S)
        one.connect(str(path))
        one.sendall(f"GET {target} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
        parts: list[bytes] = []
        size = 0
        while size < ANSWER_MAX and (data := one.recv(65536)):
            parts.append(data)
            size += len(data)
    return b"".join(parts)
