"""Debian's own qemu-ga in a guest, over the port that Windrow gives each machine: `make test-guest`.

QEMU is started on this host, with Windrow's arguments and no network but QEMU's own. The guest is the lab's, and beside
it in its first root are qemu-ga and the libraries that it needs.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.guest import agentimage

from windrow.lab.vm import image
from windrow.model.machines import KernelBoot, MachineSpec
from windrow.port.vm.guestagent import COMMAND, GuestInterface, read_interfaces
from windrow.port.vm.qemu import MachineFiles, arguments
from windrow.services import guestagent, qemu
from windrow.services.errors import ServiceError

MAC = "52:54:00:12:34:56"
BOOT_S = 120.0
ADDRESS = "ip link set eth0 up\nip address add 10.0.2.15/24 dev eth0\n"


@contextlib.contextmanager
def guest(place: Path) -> Iterator[Path]:
    """Its agent's socket."""
    agentimage.write(place / "initrd", ADDRESS)
    boot = KernelBoot(kernel=str(image.find().kernel), initrd=str(place / "initrd"), arguments="console=ttyS0")
    files = MachineFiles(
        qmp=str(place / "qmp"),
        console=str(place / "console"),
        console_log=str(place / "log"),
        guest_agent=str(place / "agent"),
    )
    argv = arguments(MachineSpec(memory=192 << 20, kernel=boot), "default/web", (), files, kvm=False)
    argv += ["-netdev", "user,id=net", "-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="]
    with subprocess.Popen([f"qemu-system-{Path('/proc/sys/kernel/arch').read_text().strip()}", *argv]) as program:
        try:
            end = time.monotonic() + 30
            while not (place / "qmp").exists() and time.monotonic() < end:
                time.sleep(0.05)
            with qemu.Qmp(place / "qmp") as monitor:
                monitor.command("cont")
            yield place / "agent"
        finally:
            program.kill()


def asked(path: Path, log: Path) -> tuple[GuestInterface, ...]:
    """Once it is up."""
    end = time.monotonic() + BOOT_S
    while True:
        try:
            return read_interfaces(guestagent.ask(path, COMMAND, timeout_s=2))
        except ServiceError as error:
            said = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            if time.monotonic() > end:
                pytest.fail(f"{error}\n{said}")
            time.sleep(0.5)


@pytest.fixture
def place() -> Iterator[Path]:
    """With a short name: a Unix socket's has 108 characters."""
    with tempfile.TemporaryDirectory(prefix="w") as directory:
        yield Path(directory)


def test_a_guest_says_its_addresses(place: Path) -> None:
    """And QEMU says that somebody listens there."""
    with guest(place) as agent:
        (own,) = asked(agent, place / "log")
        with qemu.Qmp(place / "qmp") as monitor:
            listed = monitor.command("query-chardev")
    assert (own.name, own.mac, own.addresses[0]) == ("eth0", MAC, "10.0.2.15/24")
    assert [one["frontend-open"] for one in listed if one["label"] == "guest-agent"] == [True]


def test_the_program_itself(place: Path) -> None:
    """On a socket instead of a port: it says what this host has."""
    path = place / "ga.sock"
    with subprocess.Popen([agentimage.found(), "-m", "unix-listen", "-p", str(path), "-t", str(place)]) as agent:
        try:
            (interfaces,) = [asked(path, place / "log")]
        finally:
            agent.kill()
    cards = Path("/sys/class/net").iterdir()
    macs = {(card / "address").read_text().strip() for card in cards}
    assert {one.mac for one in interfaces} == {mac for mac in macs if len(mac) == 17} - {"00:00:00:00:00:00"}
