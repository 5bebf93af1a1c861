"""Machines in Pods of a cluster, as KubeVirt runs them: the part of its virt-handler, and what it tells virt-launcher.

The Pod's own program (`LAUNCHER`) waits for a script. Whoever has the Pod's node finds it by the Pod's network
namespace, reads in its environment which machine it is to run, makes what is between the Pod's interfaces and the
guest's, and writes the script: the DHCP servers of the guest's networks, then QEMU. Nobody asks the API server: a node
that boots without it has its guests again.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from windrow.lab.errors import LabError
from windrow.lab.kubernetes.cluster import Cluster
from windrow.lab.scenario import Vm
from windrow.lab.scenario_pods import INSTANCE, instance
from windrow.lab.vm.fleet import QEMU, Fleet, Say
from windrow.model.lazy import dataclass
from windrow.model.machines import AnyMachine, VirtualMachineInstance
from windrow.model.problems import WindrowError
from windrow.port.vm import qemu as arguments
from windrow.port.vm.binding import NicPlan
from windrow.services import process, qemu
from windrow.services.errors import QmpError
from windrow.store import records
from windrow.store.machines import AGENT, CONSOLE, QMP, MachineRecord, NicRecord, Phase

PLACE = Path("/run/launcher")
"""In the Pod."""
START = "start"
"""The script, in `PLACE`."""
LOOK_S = 1.0
GUESTS_S = 300.0
"""For all guests, from the time when their Pods run."""
CONSOLE_LOG = "console.log"


_SCRIPT = """\
for one in {place}/*.conf; do
    [ ! -e "$one" ] || dnsmasq --user=root --conf-file="$one"
done
exec {qemu}
"""
"""dnsmasq as root of the container: a Pod's image need not know the user of its own that it has on a host."""

Wired = tuple[tuple[NicPlan, ...], tuple[NicRecord, ...]]


class Wire(Protocol):
    def __call__(self, namespace: int, machine: AnyMachine, directory: Path, *, seen: Path) -> Wired: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launcher:
    """One that waits for its script. `netns`: an fd, as long as it is looked at."""

    process: process.Process
    container_id: str
    netns: int

    @property
    def directory(self) -> Path:
        return _directory(self.process.pid)

    def machine(self) -> VirtualMachineInstance:
        """Raises LabError, OSError."""
        variables = Path(f"/proc/{self.process.pid}/environ").read_text(encoding="utf-8").split("\0")
        found = next((one for one in variables if one.startswith(f"{INSTANCE}=")), "")
        return instance(found.partition("=")[2])


class Launchers:
    """Of all nodes of a lab; a thread looks after them until `closed`."""

    def __init__(self, cluster: Cluster, fleet: Fleet, vms: Sequence[Vm], wire: Wire) -> None:
        self._cluster, self._fleet, self._wire = cluster, fleet, wire
        self._vms = [vm for vm in vms if vm.pod]
        self._running: dict[str, MachineRecord] = {}
        """By machine. Its launcher has become QEMU."""
        self._failed: dict[str, str] = {}

    def start(self, closed: Callable[[], bool]) -> None:
        threading.Thread(target=self._keep, args=[closed], name="launchers", daemon=True).start()

    def await_guests(self, say: Say) -> None:
        """Until all have answered. Raises LabError."""
        end = time.monotonic() + GUESTS_S
        while missing := [vm.name for vm in self._vms if vm.name not in self._fleet.guests]:
            if time.monotonic() > end:
                said = "; ".join(f"{name}: {self._failed.get(name, 'no launcher waits for it')}" for name in missing)
                raise LabError(f"after {GUESTS_S:.0f} s these machines do not answer: {said}")
            time.sleep(LOOK_S / 2)
        for vm in self._vms:
            say(self._fleet.words(vm.name), "good")

    def _keep(self, closed: Callable[[], bool]) -> None:
        while not closed():
            for vm in self._vms:
                try:
                    self._look_after(vm)
                except (WindrowError, OSError, KeyError) as error:  # a Pod that ends, or a node whose power is cut
                    self._failed[vm.name] = str(error)
            time.sleep(LOOK_S)

    def _look_after(self, vm: Vm) -> None:
        record = self._running.get(vm.name)
        if record is not None and process.alive(process.Process(pid=record.pid, started=record.started)):
            if vm.name not in self._fleet.guests:
                self._meet(vm, record)
            return
        self._fleet.forget(vm.name)
        with self._found(vm) as launcher:
            if launcher is not None:
                self._run(vm, launcher)

    @contextmanager
    def _found(self, vm: Vm) -> Iterator[_Launcher | None]:
        attached = self._cluster.attached(vm.node, vm.pod)
        if attached is None:
            yield None
            return
        netns = self._cluster.open(vm.node, attached)
        try:
            there = (_Launcher(process=p, container_id=attached.container_id, netns=netns) for p in _first(netns))
            yield next((one for one in there if one.directory.is_dir()), None)
        finally:
            os.close(netns)

    def _run(self, vm: Vm, launcher: _Launcher) -> None:
        """Raises LabError, KernelError, ServiceError, OSError."""
        machine, directory = launcher.machine(), launcher.directory
        plans, nics = self._wire(launcher.netns, machine, directory, seen=PLACE)
        script = _SCRIPT.format(place=PLACE, qemu=shlex.join([QEMU, *_arguments(machine, plans)]))
        records.write(directory / START, script.encode(), mode=0o755, flush="nothing")
        try:
            with _monitor(launcher.process, directory / QMP) as monitor:
                for command in arguments.first_commands(plans):
                    monitor.command(command["execute"], command.get("arguments"))
        except QmpError:
            process.end(launcher.process, patience_s=0)  # kubelet starts another one
            raise
        record = MachineRecord(
            namespace=machine.meta.namespace,
            name=machine.name,
            node=vm.node,
            kind=machine.KIND,
            container_id=launcher.container_id,
            netns=f"/proc/{launcher.process.pid}/ns/net",
            since=time.time(),
            phase=Phase.RUNNING,
            pid=launcher.process.pid,
            started=launcher.process.started,
            accelerator="tcg",
            nics=nics,
        )
        self._running[vm.name] = record
        self._meet(vm, record)

    def _meet(self, vm: Vm, record: MachineRecord) -> None:
        directory = _directory(record.pid)
        at = (directory / AGENT, directory / CONSOLE_LOG)
        self._fleet.meet(vm, at, time.monotonic(), lambda: record, lambda *_: None)


def _directory(pid: int) -> Path:
    """`PLACE` of a launcher, from here."""
    return Path(f"/proc/{pid}/root", *PLACE.parts[1:])


def _first(netns: int) -> Iterator[process.Process]:
    """The first processes of the containers in a network namespace: of each the one that is process 1 there."""
    for one in process.in_netns(os.fstat(netns).st_ino):
        with suppress(OSError):
            lines = Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
            numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
            if len(numbers) > 1 and numbers[-1] == "1":
                yield one


def _arguments(machine: VirtualMachineInstance, plans: Sequence[NicPlan]) -> list[str]:
    files = arguments.MachineFiles(
        qmp=str(PLACE / QMP),
        console=str(PLACE / CONSOLE),
        console_log=str(PLACE / CONSOLE_LOG),
        agent=str(PLACE / AGENT),
    )
    key = f"{machine.meta.namespace}/{machine.name}"
    return arguments.arguments(machine.spec, key, plans, files, kvm=False)


def _monitor(launcher: process.Process, path: Path) -> qemu.Qmp:
    """Once QEMU listens there. Raises QmpError."""
    end = time.monotonic() + qemu.START_S
    while True:
        try:
            return qemu.Qmp(path)
        except QmpError:
            if not process.alive(launcher) or time.monotonic() > end:
                raise
        time.sleep(0.2)
