"""The agent's status as a file that everybody may read and only the agent writes. It decides nothing."""

from __future__ import annotations

import json

from windrow.model.agentstatus import AgentStatus
from windrow.model.wire.happenings import read_status, status_document
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


def write_agent_status(paths: Paths, status: AgentStatus) -> None:
    """Readers see the old one or the new one. Raises StoreError.

    It is on tmpfs and describes a process: nothing is flushed.
    """
    path = paths.agent_status
    data = json.dumps(records.stamped(status_document(status)), separators=(",", ":")).encode()
    with explained(path, "write the agent's status"):
        records.make_directory(path.parent, flush=False)
        # It holds no secret, and `windrow status` needs no root.
        records.write(path, data, mode=records.SHARED, flush="nothing")


def read_agent_status(paths: Paths) -> AgentStatus | None:
    """None: there is none, or it cannot be read."""
    try:
        document = json.loads(paths.agent_status.read_bytes())
        records.understand(document)
        return read_status(document)
    except (OSError, ValueError, RecursionError):
        return None


def remove_agent_status(paths: Paths) -> None:
    records.discard(paths.agent_status)
