"""Guests that are asked: their agents (qemu-ga), where they have one that runs."""

from __future__ import annotations

import contextlib
import time

from windrow.apps.vm.site import Site
from windrow.port.vm.guestagent import COMMAND, GuestInterface, read_interfaces
from windrow.port.vm.qemu import GUEST_AGENT as CHARDEV
from windrow.services import guestagent
from windrow.services.errors import ServiceError
from windrow.services.qemu import Qmp
from windrow.store.machines import GUEST_AGENT, QMP, MachineRecord

ONE_S, ALL_S = 1.0, 3.0
"""Until a guest has answered, and all that are asked for one list: it is there soon, whatever guests do."""
QMP_S = 2.0


def listens(monitor: Qmp) -> bool:
    """Whether somebody in the guest has opened the agent's port. Raises QmpError."""
    listed = monitor.command("query-chardev", timeout_s=QMP_S)
    return any(one.get("label") == CHARDEV and one.get("frontend-open") is True for one in listed or ())


def interfaces(site: Site, record: MachineRecord, *, timeout_s: float = ONE_S) -> tuple[GuestInterface, ...]:
    """Raises ServiceError: it does not answer, or not so."""
    path = site.records.directory(record.namespace, record.name) / GUEST_AGENT
    return read_interfaces(guestagent.ask(path, COMMAND, timeout_s=timeout_s))


def asked(site: Site, record: MachineRecord) -> tuple[GuestInterface, ...]:
    """Raises ServiceError, which says what is missing."""
    path = site.records.directory(record.namespace, record.name) / QMP
    with Qmp(path, timeout_s=QMP_S) as monitor:
        if not listens(monitor):
            hint = "install and start qemu-guest-agent in it; a machine that an older Windrow started has no port"
            raise ServiceError("guest agent", "none runs in the guest", hint)
    return interfaces(site, record)


class Guests:
    """All guests of one look, which share the time."""

    def __init__(self) -> None:
        self._end = time.monotonic() + ALL_S

    def interfaces(self, site: Site, record: MachineRecord) -> tuple[GuestInterface, ...]:
        """None where the guest does not answer."""
        left = min(ONE_S, self._end - time.monotonic())
        with contextlib.suppress(ServiceError):
            return interfaces(site, record, timeout_s=left) if left > 0 else ()
        return ()
