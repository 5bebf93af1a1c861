"""A machine as virsh would show it, and the command line of the QEMU that runs."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from windrow.apps.vm import gates
from windrow.apps.vm.launch import PROGRAM
from windrow.apps.vm.site import Site
from windrow.apps.vm.stop import runs
from windrow.model.machines import AnyMachine, LinkState
from windrow.model.problems import Problem, ProblemsError
from windrow.port.vm.binding import queues_of
from windrow.port.vm.libvirt import Cable, Hypervisor, domain_xml
from windrow.port.vm.names import names_of, pod_ifname
from windrow.store.machines import CONSOLE, MachineRecord


def domain(site: Site, namespace: str, name: str) -> str:
    """libvirt's XML of a machine of the store, with what is known of it where it runs. Raises ProblemsError."""
    machine, record = gates.settled(site.machine(namespace, name)), site.records.get(namespace, name)
    running = record is not None and runs(record)
    hypervisor = Hypervisor(
        emulator=shutil.which(PROGRAM) or f"/usr/bin/{PROGRAM}",
        console=str(site.records.directory(namespace, name) / CONSOLE),
        kvm=record is not None and record.accelerator == "kvm",
        pid=record.pid if record is not None and running else 0,
    )
    return domain_xml(f"{namespace}_{name}", machine.spec, _cables(machine, record), hypervisor)


def _cables(machine: AnyMachine, record: MachineRecord | None) -> Iterator[Cable]:
    for nic in machine.spec.nics:
        network, known = machine.spec.network(nic.name), record.nic(nic.name) if record else None
        if network is None or nic.state is LinkState.ABSENT:
            continue
        yield Cable(
            nic=nic,
            tap=known.tap if known else names_of(pod_ifname(network)).tap,
            mac=known.mac if known else nic.mac or "",
            mtu=known.mtu or None if known else None,
            queues=queues_of(machine.spec, nic),
        )


def command_line(site: Site, namespace: str, name: str) -> str:
    """With which QEMU was started. Raises ProblemsError: it does not run."""
    record = site.record(namespace, name)
    words: list[bytes] = []
    with contextlib.suppress(OSError):  # it may end in this moment
        words = Path(f"/proc/{record.pid}/cmdline").read_bytes().split(b"\0")[:-1] if runs(record) else []
    if not words:
        hint = "`windrow vm dumpxml` without --output qemu shows what its manifest says"
        raise ProblemsError([Problem(code="not-running", message="no QEMU of it runs", hint=hint, about=record.ref)])
    return shlex.join(word.decode(errors="surrogateescape") for word in words)
