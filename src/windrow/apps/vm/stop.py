"""Stop a machine, and remove what was made for it: also when only half of it is there, or half of it is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping

from windrow.apps.vm import bind, pod
from windrow.apps.vm.site import Site
from windrow.model.machines import VirtualMachine
from windrow.model.problems import ProblemsError, WindrowError
from windrow.model.values import Ref
from windrow.port.errors import CniError
from windrow.services import dnsmasq, process, qemu
from windrow.services.errors import QmpError
from windrow.store.errors import StoreError
from windrow.store.machines import QMP, MachineRecord, Phase

Key = tuple[str, str]
"""A machine: its namespace, its name."""
POWERDOWN_S = 30.0
"""How long a guest may take to shut down (Kubernetes' terminationGracePeriodSeconds)."""
QUIT_S = 5.0
ASKED_S = 2.0
"""Until the monitor of one of many has answered: QEMU that hangs must not keep the others from being asked."""
SUSPENDED = "paused"
"""QEMU's word for a guest that was going on (qapi/run-state.json); one that never did is `prelaunch`."""


def stop(
    site: Site,
    namespace: str,
    name: str,
    *,
    force: bool = False,
    patience_s: float = POWERDOWN_S,
    until: float | None = None,
) -> None:
    """The guest is asked to shut down, and made to after `patience_s` seconds; `force`: it is not asked. `until`: it
    has been asked (`ask`), and has this long.

    `force` also removes the records of what a CNI plugin failed to undo. Raises ProblemsError (it does not run),
    CniError, KernelError, ServiceError, StoreError.
    """
    with site.locked(namespace, name):
        try:
            record = site.record(namespace, name)
        except StoreError as error:
            if not force:
                raise
            site.warn(str(error))
            _remove_unknown(site, namespace, name)
            return
        except ProblemsError:
            if not force:
                pod.refuse_lost(site, Ref(VirtualMachine.KIND, name, namespace))
            if not force or not (pod.living(site, namespace, name) or pod.attached(site, namespace, name)):
                raise
            site.warn(f"the record of {namespace}/{name} is lost: what has its name is removed")
            _remove_unknown(site, namespace, name)
            return
        record = dataclasses.replace(record, phase=Phase.STOPPING)
        site.records.put(record)
        if until is None and not force and patience_s > 0 and runs(record):
            until = time.monotonic() + (patience_s if _asked(site, record) else 0)
        if until is not None:
            _await_end(site, record, until)
        clean(site, record, force=force)
    with contextlib.suppress(StoreError):
        site.forget_gone()


def ask(site: Site, machines: Iterable[Key], *, patience_s: float = POWERDOWN_S) -> Mapping[Key, float]:
    """Ask the guests of all of them to shut down, before any is waited for: where a host goes down
    there is time for the slowest guest, and not for one after the other. Until when each has time (`time.monotonic`);
    one that does not run, or is somebody else's now, is not in it, and `stop` says why."""
    found: dict[Key, float] = {}
    for key in machines:
        with contextlib.suppress(WindrowError), site.locked(*key):
            record = site.records.get(*key)
            if record is not None and runs(record):
                site.records.put(dataclasses.replace(record, phase=Phase.STOPPING))
                found[key] = time.monotonic() + (patience_s if _asked(site, record, ASKED_S) else 0)
    return found


def hypervisor(record: MachineRecord) -> process.Process | None:
    return process.Process(pid=record.pid, started=record.started) if record.pid else None


def runs(record: MachineRecord) -> bool:
    return process.alive(hypervisor(record))


def _asked(site: Site, record: MachineRecord, timeout_s: float = qemu.COMMAND_S) -> bool:
    """By ACPI's power button, as at a machine of metal. Whether it could be: of a guest that cannot, nothing is waited
    for."""
    monitor = site.records.directory(record.namespace, record.name) / QMP
    try:
        with qemu.Qmp(monitor, timeout_s=timeout_s) as qmp:
            if qmp.command("query-status", timeout_s=timeout_s).get("status") == SUSPENDED:
                qmp.command("cont", timeout_s=timeout_s)
                site.say(f"{record.key} was suspended, and goes on to shut down")
            qmp.command("system_powerdown", timeout_s=timeout_s)
            site.say(f"the guest {record.key} was asked to shut down")
            return True
    except QmpError as error:
        site.warn(f"the guest {record.key} could not be asked to shut down: {error}")
        return False


def _await_end(site: Site, record: MachineRecord, until: float) -> None:
    if process.wait_for_end(hypervisor(record), max(0.0, until - time.monotonic())):
        site.say(f"{record.key} shut down")
    else:
        site.say(f"{record.key} is still there when its time is up: it is switched off")


def clean(site: Site, record: MachineRecord, *, force: bool = False) -> None:
    """Everything of a machine, whatever is there of it. The record stays while a CNI plugin could not undo its part,
    so that it can be tried again. Raises what failed first, after all the rest was tried."""
    failures: list[WindrowError] = []
    for part in (_end_programs, _undo_networks, _remove_namespace):
        try:
            part(site, record)
        except WindrowError as error:
            failures.append(error)
    if failures and not force:
        raise failures[0]
    for failure in failures:
        site.warn(str(failure))
    with contextlib.suppress(OSError):
        pod.remove_manifest(site, record.namespace, record.name)
    site.records.remove(record.namespace, record.name)


def _end_programs(site: Site, record: MachineRecord) -> None:
    """QEMU ends cleanly on SIGTERM (`qemu_system_killed`): disk images are closed."""
    process.end(hypervisor(record), patience_s=QUIT_S)
    for nic in record.nics:
        files = bind.server_files(site.records.directory(record.namespace, record.name), nic.bridge)
        process.end(dnsmasq.running(files[-1]))


def _undo_networks(site: Site, record: MachineRecord) -> None:
    """In reverse: what was plugged in later goes first."""
    failures: list[CniError] = []
    for nic in reversed(record.nics):
        if nic.later:
            with _collected(failures):
                pod.delete_nic(site, record, nic)
    with _collected(failures):
        pod.delete(site, record)
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _collected(failures: list[CniError]) -> Iterator[None]:
    try:
        yield
    except CniError as error:
        failures.append(error)


def _remove_namespace(site: Site, record: MachineRecord) -> None:
    pod.close_namespace(record.netns)


def _remove_unknown(site: Site, namespace: str, name: str) -> None:
    """Without a record: what can be found by the machine's name."""
    pod.close_namespace(pod.netns_name(site, namespace, name))
    try:
        pod.forget(site, namespace, name)
    except WindrowError as error:
        site.warn(str(error))
    with contextlib.suppress(OSError):
        pod.remove_manifest(site, namespace, name)
    site.records.remove(namespace, name)
