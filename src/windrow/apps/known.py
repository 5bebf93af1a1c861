"""What the disk knows of a host, for whoever looks at it: what can be read, and what is wrong with the rest."""

from __future__ import annotations

import json
import time

from windrow.model.agentstatus import AgentStatus
from windrow.model.checkpoint import Stage
from windrow.model.facts import Known
from windrow.model.host import HostState
from windrow.model.ports import PortRecord
from windrow.model.problems import Problem, Severity
from windrow.plan import aged
from windrow.render.overview import Pending
from windrow.store import boot
from windrow.store.errors import StoreError
from windrow.store.keys import read_keys
from windrow.store.leases import Leases, this_moment
from windrow.store.memory import read_memory
from windrow.store.origin import read_origin
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_active, read_record
from windrow.store.ports import PortRecords


def known(paths: Paths) -> Known:
    """All of it."""
    leases = Leases(paths)
    return Known(
        ports=recorded(paths),
        leases=leases.in_force(this_moment()),
        asking=leases.asking(),
        agent=agent_status(paths) is not None,
        memory=read_memory(paths),
        record=read_record(paths),
        active=read_active(paths),
        origin=_origin(paths),
        wireguard_key=keys.public if (keys := read_keys(paths)) is not None else "",
    )


def _origin(paths: Paths) -> HostState | None:
    """As it would be now. Where it cannot be read nothing is carried; `windrow init --undo` says why."""
    try:
        found = read_origin(paths)
    except StoreError:
        return None
    return found and aged(found, boot.seconds())


def recorded(paths: Paths) -> tuple[PortRecord, ...]:
    """All that can be read. What cannot is left out here: a port without a record is left as it is, and its bridge is
    not deleted."""
    try:
        return tuple(PortRecords(paths).all())
    except OSError:
        return ()


def agent_status(paths: Paths) -> AgentStatus | None:
    """What the agent says that runs on this node; None where none does. The file of one that was killed is ignored."""
    from windrow.services.process import start_time
    from windrow.store.agentstatus import read_agent_status

    status = read_agent_status(paths)
    return status if status is not None and start_time(status.pid) == status.ticks else None


def unreadable(paths: Paths) -> tuple[Problem, ...]:
    """At most one warning."""
    try:
        broken = PortRecords(paths).broken()
    except OSError as error:
        broken = [(str(paths.ports), error.strerror or str(error))]
    if not broken:
        return ()
    (path, reason), rest = broken[0], len(broken) - 1
    return (
        Problem(
            code="port-record",
            message=f"{'a port record' if not rest else f'{rest + 1} port records'} cannot be read: {path}: {reason}",
            hint="only root can read them; one that is broken is cleared away by: windrow cni gc",
            severity=Severity.WARNING,
        ),
    )


def pending_change(paths: Paths) -> Pending | None:
    """The change that is not decided yet, for showing: only what is shown is read, nothing is moved aside, and who may
    not read it sees none."""
    try:
        found = json.loads(paths.checkpoint.read_bytes())
        stage, allowed = str(found["stage"]), float(found["allowed"])
        undecided = Stage(stage).pending
        left = float(found["deadline"]) - time.clock_gettime(time.CLOCK_BOOTTIME)
        pending = Pending(
            made_by=str(found["madeBy"]),
            stage=stage,
            # A deadline of before the last start of the host says nothing now.
            left=left if left <= allowed else None,
            links=tuple(map(str, found["links"])),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return pending if undecided else None
