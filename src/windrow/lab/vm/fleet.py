"""A scenario's machines: started on their nodes by Windrow's own command, asked by their agents, stopped at the end.

The command is the one that people use, in the node's namespace and with its store. What a machine got (addresses,
leases) is what its guest says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from windrow.lab.errors import LabError
from windrow.lab.guest.run import Place, enter
from windrow.lab.scenario import Vm, VmNic
from windrow.lab.vm.agent import Agent, Answer
from windrow.model.lazy import dataclass
from windrow.model.machines import Binding
from windrow.model.values import Cidr
from windrow.netlink import netns
from windrow.services import process
from windrow.store import records
from windrow.store.attachments import AttachmentRecords
from windrow.store.machines import AGENT, MachineRecord, Machines, NicRecord
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

HERE = Path("/run/windrow/guest")
"""Where manifests find the guests' `kernel` and `initrd`, in the lab and nowhere else."""
QEMU = f"qemu-system-{os.uname().machine}"
BOOT_S = 180.0
LOOK_S = 10.0
"""So long a guest is waited for before anybody asks whether another one has failed."""
ADDRESS_S = 40.0
"""After the guest has begun to answer."""
RUN_S = 60.0

Say = Callable[[str, str], None]
"""(text, level): a line of the live log."""

_STATE = """\
n=0
while [ $n -lt {tries} ]; do
    lacks=
    for nic in {nics}; do
        case "$(ip -o -4 addr show dev $nic)" in *inet*) ;; *) lacks=yes ;; esac
    done
    [ "$lacks" ] || break
    sleep 0.5
    n=$((n + 1))
done
ip -o -4 addr
cat /run/lease.* 2>/dev/null
for nic in {nics}; do echo "mac $nic $(cat /sys/class/net/$nic/address)"; done
echo "uptime $(cut -d ' ' -f 1 /proc/uptime)"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    address: Cidr
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the guest says of itself; by interface."""

    addresses: Mapping[str, Cidr]
    leases: Mapping[str, Lease]
    macs: Mapping[str, str]
    uptime_s: float


@dataclass(slots=True, kw_only=True)
class Guest:
    """A machine that runs."""

    vm: Vm
    record: MachineRecord
    agent: Agent
    seen: Seen
    pod_address: Cidr
    """Of the pod network; empty without one."""
    started_s: float
    """From the command's start to the first answer of the guest."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def nic(self, nic: VmNic) -> NicRecord:
        found = self.record.nic(nic.network)
        if found is None:
            raise LabError(f"{self.vm.name} has no NIC in {nic.network}")
        return found

    def address(self, nic: VmNic) -> Cidr:
        """By which others reach it; of a masqueraded NIC its pod's. Empty: it has none."""
        record = self.nic(nic)
        if record.binding == Binding.MASQUERADE.value:
            return self.pod_address
        return self.seen.addresses.get(nic.interface, Cidr(""))


class Fleet:
    """The machines of a world. `places`: where a node's programs run; `roots`: a node's root directory."""

    def __init__(self, vms: Sequence[Vm], place: Callable[[str], Place], root: Callable[[str], Path]) -> None:
        self._vms, self._place, self._root = vms, place, root
        self.guests: dict[str, Guest] = {}
        self._failed = False

    def prepare(self) -> None:
        """Kernel and image where the manifests say that they are. Raises LabError."""
        from windrow.lab.vm import image  # with what reads kernels: most labs have no machines

        found = image.find()
        records.make_place(HERE, flush=False)
        kernel = HERE / "kernel"
        kernel.unlink(missing_ok=True)
        kernel.symlink_to(found.kernel)
        records.write(HERE / "initrd", image.build(found), mode=records.SHARED, flush="nothing")

    def start(self, say: Say) -> None:
        """Those that do not run yet; all nodes at once, and on each one after the other. Raises LabError."""
        waiting = [vm for vm in self._vms if vm.name not in self.guests and not vm.pod]
        if not waiting:
            return
        self.prepare()
        nodes = list(dict.fromkeys(vm.node for vm in waiting))
        started = time.monotonic()
        with _threads(len(waiting) + len(nodes)) as pool:
            # A guest is waited for from the start, so what is told of it is when it was there.
            commands = [pool.submit(self._command, node, [v for v in waiting if v.node == node], say) for node in nodes]
            watches = [pool.submit(self._meet, vm, started, say) for vm in waiting]
            failures = [error for job in commands if (error := job.exception()) is not None]
            if failures:
                self._failed = True
                raise failures[0]
            for job in watches:
                job.result()

    def _command(self, node: str, vms: Sequence[Vm], say: Say) -> None:
        """`windrow vm start`, its lines passed on."""
        for namespace in dict.fromkeys(vm.machine.namespace for vm in vms):
            names = [vm.machine.name for vm in vms if vm.machine.namespace == namespace]
            code = run_lines(
                self._place(node),
                ["windrow", "vm", "start", *_accelerator(), "-n", namespace, *names],
                lambda line: say(f"{node}: {line}", "step"),
            )
            if code:
                raise LabError(f"{node}: windrow vm start {' '.join(names)} ended with exit code {code}")

    def _meet(self, vm: Vm, started: float, say: Say) -> None:
        """The first answer, then the addresses. Raises LabError."""
        machines = Machines(Paths(self._root(vm.node)))
        namespace, name = vm.machine.namespace, vm.machine.name
        directory, log = machines.directory(namespace, name), machines.console_log(namespace, name)
        end = started + BOOT_S
        while not (directory / AGENT).exists():
            if self._failed:
                return
            if time.monotonic() > end:
                raise LabError(f"{vm.name} was not started in {BOOT_S:.0f} s")
            time.sleep(0.2)
        self.meet(vm, (directory / AGENT, log), started, lambda: machines.get(namespace, name), say)

    def meet(
        self, vm: Vm, at: tuple[Path, Path], started: float, record: Callable[[], MachineRecord | None], say: Say
    ) -> None:
        """Of a machine whose hypervisor runs. `at`: its agent's socket, and its console's log. Raises LabError."""
        end = started + BOOT_S
        agent = Agent(at[0], vm.name)
        try:
            while not agent.wait(LOOK_S):
                if self._failed:
                    agent.close()
                    return
                if time.monotonic() > end:
                    raise LabError(f"{vm.name} did not boot in {BOOT_S:.0f} s; its console:\n{_tail(at[1])}")
            took = time.monotonic() - started
            seen = look(agent, vm)
            found = record()
        except BaseException:
            agent.close()
            raise
        if found is None:
            agent.close()
            raise LabError(f"{vm.name} has no record")
        pod = pod_address(Paths(self._root(vm.node)), found)
        self.guests[vm.name] = Guest(vm=vm, record=found, agent=agent, seen=seen, pod_address=pod, started_s=took)
        say(self.words(vm.name), "good")

    def words(self, name: str) -> str:
        """Where it is, what its guest has, how long its start took. Raises LabError."""
        guest = self.guest(name)
        return f"{name} on {guest.vm.node}: {_words(guest.vm, guest.seen)} (up after {guest.started_s:.1f} s)"

    def forget(self, name: str) -> None:
        """One that does not run any more."""
        if (guest := self.guests.pop(name, None)) is not None:
            guest.agent.close()

    def guest(self, name: str) -> Guest:
        """Raises LabError."""
        if name not in self.guests:
            raise LabError(f"{name} does not run")
        return self.guests[name]

    def run(self, name: str, script: str, *, timeout_s: float = RUN_S) -> Answer:
        """Inside a guest; from any thread. Raises LabError."""
        guest = self.guest(name)
        with guest.lock:
            return guest.agent.run(script, timeout_s=timeout_s)

    def run_all(self, scripts: Mapping[str, str], *, timeout_s: float = RUN_S) -> dict[str, Answer]:
        """A script for each of several guests, at the same time. Raises LabError."""
        if not scripts:
            return {}
        with _threads(len(scripts)) as pool:
            jobs = {name: pool.submit(self.run, name, script, timeout_s=timeout_s) for name, script in scripts.items()}
            return {name: job.result() for name, job in jobs.items()}

    def look_again(self) -> None:
        """Addresses as they are now. Raises LabError."""
        for guest in self.guests.values():
            with guest.lock:
                guest.seen = look(guest.agent, guest.vm)

    def stop(self) -> None:
        """All of them, whatever becomes of it; they are switched off, not asked."""
        for guest in self.guests.values():
            guest.agent.close()
        self.guests.clear()
        nodes = list(dict.fromkeys(vm.node for vm in self._vms))
        namespaces = list(dict.fromkeys(vm.machine.namespace for vm in self._vms))
        jobs = [(node, space) for node in nodes for space in namespaces if self._running(node, space)]
        if not jobs:
            return
        with _threads(len(jobs)) as pool:
            for node, space in jobs:
                command = ["windrow", "vm", "stop", "--all", "--force", "-n", space]
                pool.submit(run_lines, self._place(node), command, lambda _: None)

    def cut(self, node: str) -> None:
        """The power of a node goes, and its machines with it: nobody asks them, and nobody tidies up after them."""
        for name in [name for name, guest in self.guests.items() if guest.vm.node == node]:
            self.forget(name)
        there, _ = Machines(Paths(self._root(node))).all()
        for record in there:
            with suppress(FileNotFoundError):
                process.end_in_netns(os.stat(netns.RUN_NETNS / record.netns).st_ino, patience_s=0)
                netns.delete(record.netns)

    def _running(self, node: str, namespace: str) -> bool:
        return (Paths(self._root(node)).machines / namespace).is_dir()


def _threads(count: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # slow to load, and most labs have no machines

    return ThreadPoolExecutor(count)


def check() -> None:
    """That this host has what machines are made of. Raises LabError: what is missing, and what to do about it."""
    if shutil.which(QEMU) is None:
        raise LabError(f"{QEMU} is not installed, and this scenario has virtual machines", hint="`make setup` gets it")
    from windrow.lab.vm import image

    image.find()
    image.busybox()


def _accelerator() -> tuple[str, ...]:
    """In User-Mode Linux there is none to look for, and nobody needs to be told at each start."""
    return () if Path("/dev/kvm").exists() else ("--accel", "tcg")


def pod_address(paths: Paths, record: MachineRecord) -> Cidr:
    """What the pod network gave; empty: the machine is not in it."""
    for attached in AttachmentRecords(paths).of(record.container_id):
        for entry in attached.status:
            if entry.get("default") and entry.get("ips"):
                return Cidr(str(entry["ips"][0]))
    return Cidr("")


def look(agent: Agent, vm: Vm) -> Seen:
    """Once every NIC has an address, or none is to be expected any more. Raises LabError."""
    nics = " ".join(nic.interface for nic in vm.nics) or "lo"
    script = _STATE.format(nics=nics, tries=int(2 * ADDRESS_S))
    return read_state(agent.run(script, timeout_s=2 * ADDRESS_S).output)


_ADDRESS = re.compile(r"^\d+: (\S+)\s+inet (\S+)")
_LEASE = re.compile(r"^lease (\S+) (\S+) from (\S+)")
_MAC = re.compile(r"^mac (\S+) (\S+)")
_UPTIME = re.compile(r"^uptime (\S+)")


def read_state(text: str) -> Seen:
    """Of what `_STATE` prints."""
    addresses: dict[str, Cidr] = {}
    leases: dict[str, Lease] = {}
    macs: dict[str, str] = {}
    uptime = 0.0
    for line in text.splitlines():
        if (found := _ADDRESS.match(line)) and found[1] != "lo":
            addresses.setdefault(found[1], Cidr(found[2]))
        elif found := _LEASE.match(line):
            leases[found[1]] = Lease(address=Cidr(found[2]), server=found[3])
        elif found := _MAC.match(line):
            macs[found[1]] = found[2]
        elif found := _UPTIME.match(line):
            uptime = float(found[1])
    return Seen(addresses=addresses, leases=leases, macs=macs, uptime_s=uptime)


def _words(vm: Vm, seen: Seen) -> str:
    """`eth1 172.16.100.100/24 by DHCP from 172.16.100.1 (vlan100)`"""
    parts = []
    for nic in vm.nics:
        address, lease = seen.addresses.get(nic.interface), seen.leases.get(nic.interface)
        given = f" by DHCP from {lease.server}" if lease and address == lease.address else ""
        parts.append(f"{nic.interface} {address or 'no address'}{given} ({nic.network})")
    return ", ".join(parts)


def _tail(log: Path) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(it said nothing)"
    return "\n".join(text.splitlines()[-15:])


def run_lines(place: Place, argv: Sequence[str], on_line: Callable[[str], None]) -> int:
    """A program in a place, each line of it as it comes; its exit code. Raises OSError."""
    results: list[int | OSError] = []

    def work() -> None:
        try:
            enter(place)
            env, pipe = {**os.environ, **place.env}, subprocess.PIPE
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, env=env)
            assert process.stdout is not None
            with process.stdout as output:
                for raw in output:
                    on_line(raw.decode(errors="replace").rstrip())
            results.append(process.wait())
        except OSError as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(results[0], OSError):
        raise results[0]
    return results[0]
