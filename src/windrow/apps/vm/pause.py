"""A guest that stands still: its memory and its NICs stay, its CPUs do nothing."""

from __future__ import annotations

from typing import Any

from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.problems import Problem, ProblemsError
from windrow.services import qemu
from windrow.store.machines import QMP, MachineRecord, Phase


def suspend(site: Site, namespace: str, name: str) -> bool:
    """Whether it went on before. Raises ProblemsError (it does not run), QmpError, StoreError."""
    return _turned(site, namespace, name, "stop", running=False)


def resume(site: Site, namespace: str, name: str) -> bool:
    """Whether it stood still before. Raises as `suspend`."""
    return _turned(site, namespace, name, "cont", running=True)


def _turned(site: Site, namespace: str, name: str, command: str, *, running: bool) -> bool:
    with site.locked(namespace, name):
        record = _of_ours(site.record(namespace, name))
        with qemu.Qmp(site.records.directory(namespace, name) / QMP) as qmp:
            status: dict[str, Any] = qmp.command("query-status")
            if bool(status.get("running")) is running:
                return False
            qmp.command(command)
    site.say(f"QEMU is process {record.pid}")
    return True


def _of_ours(record: MachineRecord) -> MachineRecord:
    if record.phase is Phase.RUNNING and runs(record):
        return record
    message, hint = "it does not run any more", f"`windrow vm start {record.name}` starts it anew"
    if record.phase is Phase.ATTACHED:
        message, hint = "it runs in a hypervisor of your own", "suspend it there"
    raise ProblemsError([Problem(code="not-ours-to-suspend", message=message, hint=hint, about=record.ref)])
