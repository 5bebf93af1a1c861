"""The agent's status as a file that everybody may read and only the agent writes. It decides nothing."""

from __future__ import annotations

import json
import os

from windrow.model.agentstatus import AgentStatus
from windrow.model.wire.happenings import read_status, status_document
from windrow.store import atomic
from windrow.store.errors import explained
from windrow.store.paths import Paths


def write_agent_status(paths: Paths, status: AgentStatus) -> None:
    """Readers see the old one or the new one. Raises StoreError.

    It is on tmpfs and describes a process: nothing is flushed.
    """
    path = paths.agent_status
    temp = path.with_name(f".{path.name}.new")
    data = json.dumps(status_document(status), separators=(",", ":")).encode()
    with explained(path, "write the agent's status"):
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            with open(fd, "wb") as file:
                os.fchmod(fd, 0o644)  # whatever the umask: it holds no secret, and `windrow status` needs no root
                file.write(data)
            os.replace(temp, path)
        except BaseException:
            atomic.discard(temp)
            raise


def read_agent_status(paths: Paths) -> AgentStatus | None:
    """None: there is none, or it cannot be read."""
    try:
        return read_status(json.loads(paths.agent_status.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None


def remove_agent_status(paths: Paths) -> None:
    atomic.discard(paths.agent_status)
