"""QEMU for one machine: as a user of its own, in its sandbox, with all it needs handed to it open.

What it may read is in one directory (`SHOWN`), where it works; it may write nowhere. Disks stay their owners': they are
opened here. Of a qcow2 image, the images behind it must be readable for everybody.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from windrow.apps.vm.site import Site
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, NicModel
from windrow.netlink import netns, tap
from windrow.port.vm import qemu as arguments
from windrow.port.vm.binding import NicPlan
from windrow.services import process, qemu
from windrow.services.account import Account, account_of
from windrow.services.errors import ServiceError
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.machines import AGENT, CONSOLE, GUEST_AGENT, LOG, QMP, SEED, SHOWN, MachineRecord

PROGRAM = f"qemu-system-{os.uname().machine}"
VHOST = Path("/dev/vhost-net")
_NO_SANDBOX = re.compile(r"(?:^|; )-sandbox\b")
"""QEMU begins with the option that it complains of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to run. `namespace`: an fd of the pod's network namespace."""

    machine: AnyMachine
    record: MachineRecord
    plans: tuple[NicPlan, ...]
    namespace: int
    kvm: bool


def account(record: MachineRecord) -> Account:
    return account_of(record.namespace, record.name, qemu.KVM)


def begin(site: Site, job: Job) -> process.Program:
    """QEMU has begun, and its monitor can be connected to. Raises KernelError, ServiceError, StoreError."""
    directory = site.records.directory(job.record.namespace, job.record.name)
    with contextlib.ExitStack() as stack:
        files = _files(site, job, directory, stack)
        return _start(job, directory, files, sandbox=True)


def unsandboxed(site: Site, job: Job, error: ServiceError) -> process.Program:
    """The same once more, where QEMU's last words were that it has no sandbox; else what it said."""
    if not _NO_SANDBOX.search(error.reason):
        raise error
    site.warn(f"this QEMU has no sandbox ({error.reason}): it runs without, as an ordinary user all the same")
    directory = site.records.directory(job.record.namespace, job.record.name)
    with contextlib.ExitStack() as stack:
        return _start(job, directory, _files(site, job, directory, stack), sandbox=False)


def explained_by_qemu(record: MachineRecord, error: ServiceError) -> ServiceError:
    """What it says, and what to do where it may not read what it finds by itself."""
    if "Permission denied" not in error.reason or error.hint:
        return error
    user = account(record).number
    hint = f"QEMU is user {user}: a file behind a qcow2 image, and the way to it, must be readable for everybody"
    return ServiceError(error.program, error.reason, hint)


def _start(job: Job, directory: Path, files: arguments.MachineFiles, *, sandbox: bool) -> process.Program:
    me = account(job.record)
    argv = arguments.arguments(
        job.machine.spec,
        job.record.key,
        job.plans,
        files,
        kvm=job.kvm,
    )
    argv = [*(arguments.SANDBOX if sandbox else ()), *argv]
    places = (files.qmp, files.console, files.agent, files.guest_agent, files.console_log)
    fds = [
        *(one for one in places if isinstance(one, int)),
        *files.disks.values(),
        *(fd for queues in files.taps.values() for fd in numbers(queues)),
    ]
    log, place = directory / LOG, directory / SHOWN
    return netns.opened_in(
        job.namespace, lambda: process.start([PROGRAM, *argv], directory=place, log=log, account=me, fds=fds)
    )


def _files(site: Site, job: Job, directory: Path, stack: contextlib.ExitStack) -> arguments.MachineFiles:
    """All that QEMU is handed; ours are closed with the stack."""

    def keep(fd: int) -> int:
        stack.callback(os.close, fd)
        return fd

    def listen(name: str) -> int:
        with explained(directory / name, "listen there"):
            return stack.enter_context(contextlib.closing(qemu.listening(directory / name))).fileno()

    disks: dict[int, int] = {}
    for number, disk in enumerate(job.machine.spec.disks):
        with explained(Path(disk.path), "open the disk"):
            disks[number] = keep(os.open(disk.path, (os.O_RDONLY if disk.read_only else os.O_RDWR) | os.O_CLOEXEC))
    taps: dict[str, arguments.Queues] = {}
    for plan in job.plans:
        taps[plan.nic.name] = opened(job.namespace, plan)
        for fd in numbers(taps[plan.nic.name]):
            keep(fd)
    seed, kernel, initrd = _show(job, directory / SHOWN)
    log = process.start_ring(site.records.new_console_log(job.record.namespace, job.record.name))
    return arguments.MachineFiles(
        qmp=listen(QMP),
        console=listen(CONSOLE),
        agent=listen(AGENT),
        guest_agent=listen(GUEST_AGENT),
        console_log=keep(log),
        seed=seed,
        kernel=kernel,
        initrd=initrd,
        disks=disks,
        taps=taps,
    )


def opened(namespace: int, plan: NicPlan) -> arguments.Queues:
    """The tap of a NIC, open, and vhost for each of its queues where there is one. Raises KernelError."""
    found = tap.opened(plan.tap.name, netns=namespace, queues=plan.tap.queues)
    vhost: list[int] = []
    if plan.nic.model is NicModel.VIRTIO:
        with contextlib.suppress(OSError):  # it is only faster
            for _ in found:
                vhost.append(os.open(VHOST, os.O_RDWR | os.O_CLOEXEC))
    if len(vhost) < len(found):
        for fd in vhost:
            os.close(fd)
        vhost = []
    return arguments.Queues(tuple(found), tuple(vhost))


def numbers(queues: arguments.Queues) -> list[int]:
    """All of its open files."""
    return [fd for fd in (*queues.tap, *queues.vhost) if isinstance(fd, int)]


# What QEMU may read -------------------------------------------------------------------------------


def _show(job: Job, place: Path) -> tuple[str, str, str]:
    """(directory of cloud-init's files, kernel, initrd), as QEMU finds them; empty: there is none, or its own path will
    do. They stay root's, and are for QEMU's group to read. Raises StoreError."""
    group = account(job.record).number
    with explained(place, "put there what QEMU reads"):
        if place.exists():
            shutil.rmtree(place)
        _make_directory(place, group)
        seed = _write_seed(job.machine, place / SEED, group)
        boot = job.machine.spec.kernel
        if boot is None or process.may_read(filter(None, (boot.kernel, boot.initrd)), account(job.record)):
            return seed, "", ""
        return seed, _copied(boot.kernel, place / "kernel", group), _copied(boot.initrd, place / "initrd", group)


def _copied(path: str, to: Path, group: int) -> str:
    """/boot is for root alone on some distributions, and so are home directories."""
    if not path:
        return ""
    shutil.copyfile(path, to)
    os.chown(to, -1, group)
    os.chmod(to, 0o640)
    return to.name


def _write_seed(machine: AnyMachine, place: Path, group: int) -> str:
    """cloud-init's files, in a directory that QEMU shows as a disk; its name, or nothing."""
    found = arguments.seed_files(machine.spec, f"{machine.meta.namespace}/{machine.name}")
    if not found:
        return ""
    _make_directory(place, group)
    for name, text in found.items():
        records.write(place / name, text.encode(), mode=0o640, flush="nothing")
        os.chown(place / name, -1, group)
    return SEED


def _make_directory(place: Path, group: int) -> None:
    place.mkdir(mode=0o750)
    os.chown(place, -1, group)
    os.chmod(place, 0o750)
