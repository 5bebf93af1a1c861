"""Guests that are asked: all of several before one is waited for, and their agents, played (the real one: tests/guest).

A guest is whoever runs in it: what it says is short, or it is not listened to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.answering import Answering
from tests.unit.test_vm_cli import MANIFEST, POOL, RECORD, process_of
from tests.unit.test_vm_qmp import Fake

from windrow.apps.cli.main import cli
from windrow.apps.vm import stop as stopping
from windrow.model.machines import MachineSpec
from windrow.port.vm.guestagent import ADDRESSES_MAX, COMMAND, INTERFACES_MAX, own_of, read_interfaces
from windrow.port.vm.qemu import GUEST_AGENT as CHARDEV
from windrow.port.vm.qemu import MachineFiles, arguments
from windrow.services import guestagent
from windrow.services.errors import ServiceError
from windrow.store.machines import GUEST_AGENT, QMP, Machines

NIC = "52:54:00:00:00:01"
SAID = [
    {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [{"ip-address": "127.0.0.1", "prefix": 8}]},
    {
        "name": "ens1",
        "hardware-address": NIC.upper(),
        "ip-addresses": [
            {"ip-address-type": "ipv6", "ip-address": "fe80::1", "prefix": 64},
            {"ip-address-type": "ipv6", "ip-address": "fd00::5", "prefix": 64},
            {"ip-address-type": "ipv4", "ip-address": "10.9.0.5", "prefix": 24},
        ],
    },
    {"name": "ens1.7", "hardware-address": NIC, "ip-addresses": [{"ip-address": "10.7.0.5", "prefix": 24}]},
    {"name": "docker0", "hardware-address": "02:42:00:00:00:01", "ip-addresses": []},
]


class Guest(Answering):
    """An agent's port as QEMU shows it: whoever connects is answered by `answers`, or by what it does."""

    def __init__(self, path: Path) -> None:
        self.said: Any = SAID
        self.heard: list[str] = []
        self.instead: Callable[[socket.socket], None] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path)

    def _talk(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.instead(one) if self.instead else self._answer(one)

    def _answer(self, one: socket.socket) -> None:
        with one.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line.replace(b"\xff", b""))
                self.heard.append(request["execute"])
                if request["execute"] == "guest-sync-delimited":
                    late = b'{"return": "to another one"}\n'
                    one.sendall(late + b'\xff{"return": %d}\n' % request["arguments"]["id"])
                else:
                    one.sendall(json.dumps({"return": self.said}).encode() + b"\n")


@pytest.fixture
def root() -> Iterator[Path]:
    """With a short name: a Unix socket's has 108 characters."""
    with tempfile.TemporaryDirectory(prefix="w") as directory:
        yield Path(directory)


@pytest.fixture
def guest(root: Path) -> Iterator[Guest]:
    one = Guest(Machines(root).directory("default", "web") / GUEST_AGENT)
    yield one
    one.close()


def agent_of(root: Path) -> Path:
    return Machines(root).directory("default", "web") / GUEST_AGENT


# The line to an agent -------------------------------------------------------------------------------


def test_an_agent_answers(guest: Guest, root: Path) -> None:
    assert guestagent.ask(agent_of(root), COMMAND, timeout_s=5) == SAID
    assert guestagent.ask(agent_of(root), COMMAND, timeout_s=5) == SAID
    assert guest.heard == ["guest-sync-delimited", COMMAND] * 2


def _says(data: bytes, times: int = 1) -> Callable[[socket.socket], None]:
    def say(one: socket.socket) -> None:
        for _ in range(times):
            one.sendall(data)
        time.sleep(0.6)

    return say


def _drips(one: socket.socket) -> None:
    for _ in range(14):
        one.sendall(b"\xff")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (_says(b""), "does not answer"),
        (_drips, "does not answer"),
        (_says(b"x"), "does not answer"),
        (_says(b"\xff" + b"[" * 100_000 + b"\n"), "is no JSON"),
        (_says(b"x" * 65536, 100), "says more than 1048576 bytes"),
        (_says(b"\xff[]\n"), "is no answer"),
        (_says(b'\xff{"error": {"desc": "no\\u001b[2J"}}\n'), r"it refuses: no\?\[2J"),
        (lambda one: one.shutdown(socket.SHUT_RDWR), "closed|takes no question|its line is gone"),
    ],
)
def test_whatever_a_guest_does_there_is_an_end(
    guest: Guest, root: Path, does: Callable[[socket.socket], None], said: str
) -> None:
    guest.instead = does
    began = time.monotonic()
    with pytest.raises(ServiceError, match=said):
        guestagent.ask(agent_of(root), COMMAND, timeout_s=0.5)
    assert time.monotonic() - began < 3


def test_nobody_there(root: Path) -> None:
    with pytest.raises(ServiceError, match="nobody answers"):
        guestagent.ask(root / "none.sock", COMMAND, timeout_s=0.2)


# What it says ---------------------------------------------------------------------------------------


def test_interfaces_are_read() -> None:
    own, vlan, docker = read_interfaces(SAID)
    assert (own.name, own.mac, own.addresses) == ("ens1", NIC, ("10.9.0.5/24", "fd00::5/64", "fe80::1/64"))
    assert (vlan.name, vlan.addresses, docker.addresses) == ("ens1.7", ("10.7.0.5/24",), ())
    assert own_of(NIC, (own, vlan)) is own


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"name": "x"},
        [None, 7, "x", [], {}],
        [{"name": "x", "hardware-address": "52:54"}, {"name": "x", "hardware-address": ["a"]}],
    ],
)
def test_what_is_no_interface_is_passed_over(answer: object) -> None:
    assert read_interfaces(answer) == ()


def test_what_a_guest_makes_up_is_bounded() -> None:
    many = [{"ip-address": f"10.{a}.{b}.1", "prefix": 24} for a in range(50) for b in range(200)]
    odd = [
        {"ip-address": "10.0.0.1\x1b[2J", "prefix": 8},
        {"ip-address": None, "prefix": {}},
        {"ip-address": "fe80::2%eth0", "prefix": 64},
    ]
    one = {"name": "e\x1b[2J" + "x" * 1000, "hardware-address": NIC, "ip-addresses": many}
    found = read_interfaces([{**one, "ip-addresses": odd}, *[one] * 1000])
    assert len(found) == INTERFACES_MAX and len(found[1].addresses) == ADDRESSES_MAX
    assert found[0].addresses == ("fe80::2/64",)
    assert found[0].name.startswith("e?[2Jxxx") and len(found[0].name) == 64


def test_qemu_has_a_port_for_it() -> None:
    argv = arguments(
        MachineSpec(), "default/web", (), MachineFiles(qmp=3, console=4, console_log=5, guest_agent=6), kvm=False
    )
    at = argv.index("virtio-serial-pci,id=serial")
    assert argv[at - 3 : at + 3] == [
        "-chardev",
        "socket,id=guest-agent,fd=6,server=on,wait=off",
        "-device",
        "virtio-serial-pci,id=serial",
        "-device",
        "virtserialport,bus=serial.0,chardev=guest-agent,name=org.qemu.guest_agent.0",
    ]
    assert "guest-agent" not in str(
        arguments(MachineSpec(), "a/b", (), MachineFiles(qmp=3, console=4, console_log=5), kvm=False)
    )


# What people see ------------------------------------------------------------------------------------


@pytest.fixture
def running(root: Path, sleeper: subprocess.Popen[bytes]) -> Iterator[Fake]:
    """A machine that runs, and its monitor."""
    manifests = root / "etc/windrow/manifests"
    manifests.mkdir(parents=True)
    (manifests / "all.yaml").write_text(MANIFEST)
    monitor = _machine(root, "web", sleeper)
    yield monitor
    monitor.close()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    one = subprocess.Popen(["sleep", "600"])
    yield one
    one.kill()
    one.wait()


def _machine(root: Path, name: str, process: subprocess.Popen[bytes]) -> Fake:
    one = process_of(process.pid)
    Machines(root).put(dataclasses.replace(RECORD, name=name, pid=one.pid, started=one.started))
    monitor = Fake(Machines(root).directory("default", name) / QMP)
    monitor.answers["query-status"] = {"return": {"running": True, "status": "running"}}
    monitor.answers["query-chardev"] = {"return": [{"label": CHARDEV, "frontend-open": True, "filename": ""}]}
    return monitor


def vm(root: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "vm", *words])


def test_the_list_has_the_guests_own_addresses(running: Fake, guest: Guest, root: Path) -> None:
    """What the guest says counts more than what a pool's server once gave it; the pod's own address stays the pod's."""
    (root / "etc/windrow/manifests/pool.yaml").write_text(POOL)
    assert "a=10.9.0.5,p=10.0.2.2" in vm(root, "list", "-n", "default").stdout
    (item,) = json.loads(vm(root, "list", "-n", "default", "-o", "json").stdout)["items"]
    first, second, *more = item["status"]["interfaces"]
    assert (first["infoSource"], first["interfaceName"]) == ("domain, guest-agent", "ens1")
    assert first["ipAddresses"] == ["10.9.0.5", "fd00::5", "fe80::1"]
    assert second["infoSource"] == "domain"
    assert more == [
        {
            "interfaceName": "ens1.7",
            "mac": NIC,
            "infoSource": "guest-agent",
            "ipAddress": "10.7.0.5",
            "ipAddresses": ["10.7.0.5"],
        },
        {"interfaceName": "docker0", "mac": "02:42:00:00:00:01", "infoSource": "guest-agent"},
    ]
    vmi = CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "get", "vmi", "-o", "wide"]).stdout
    assert "10.9.0.5" in vmi


def test_a_guest_without_an_agent_is_not_waited_for(running: Fake, guest: Guest, root: Path) -> None:
    """QEMU knows whether somebody has opened the port."""
    guest.instead = _says(b"")
    running.answers["query-chardev"] = {"return": [{"label": CHARDEV, "frontend-open": False, "filename": ""}]}
    began = time.monotonic()
    assert "a=" not in vm(root, "list").stdout
    assert time.monotonic() - began < 0.9 and guest.heard == []
    done = vm(root, "addresses", "web", "--source", "agent")
    assert done.exit_code == 1 and "none runs in the guest" in done.output


def test_addresses_and_who_says_so(running: Fake, guest: Guest, root: Path) -> None:
    (root / "etc/windrow/manifests/pool.yaml").write_text(POOL)
    rows = [line.split() for line in vm(root, "addresses", "web").stdout.splitlines()]
    assert rows == [
        ["NIC", "INTERFACE", "MAC", "PROTOCOL", "ADDRESS", "SOURCE"],
        ["a", "<none>", NIC, "ipv4", "10.9.0.2", "lease"],
        ["p", "<none>", "02:00:00:00:00:02", "ipv4", "10.0.2.2/24", "lease"],
        ["a", "ens1", NIC, "ipv4", "10.9.0.5/24", "agent"],
        ["a", "ens1", NIC, "ipv6", "fd00::5/64", "agent"],
        ["a", "ens1", NIC, "ipv6", "fe80::1/64", "agent"],
        ["<none>", "ens1.7", NIC, "ipv4", "10.7.0.5/24", "agent"],
    ]
    lease = json.loads(vm(root, "addresses", "web", "--source", "lease", "-o", "json").stdout)
    assert [(one["nic"], one["address"], one["source"]) for one in lease] == [
        ("a", "10.9.0.2", "lease"),
        ("p", "10.0.2.2/24", "lease"),
    ]
    guest.said = {"not": "a list"}
    assert vm(root, "addresses", "web", "--source", "agent").output == "No addresses found\n"


# Several are asked before one is waited for -----------------------------------------------------------


def test_all_are_asked_before_one_is_waited_for(
    running: Fake, root: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that goes down has ten minutes for all of them: of more than twenty stubborn guests, half a minute each,
    the last ones were never asked."""
    order: list[str] = []
    monkeypatch.setattr(stopping, "clean", lambda site, record, force: order.append(f"clean {record.name}"))
    with subprocess.Popen(["sleep", "600"]) as second:
        other = _machine(root, "wet", second)
        for name, monitor in (("web", running), ("wet", other)):

            def asked(one: socket.socket, request: dict[str, Any], name: str = name) -> None:
                order.append(f"ask {name}")
                one.sendall(json.dumps({"return": {}, "id": request["id"]}).encode() + b"\n")

            monitor.answers["system_powerdown"] = asked
        began = time.monotonic()
        done = vm(root, "stop", "--all", "--timeout", "1")
        took = time.monotonic() - began
        other.close()
        second.kill()
    assert done.exit_code == 0, done.output
    assert order == ["ask web", "ask wet", "clean web", "clean wet"]
    assert took < 1.9, "each has its second, and it is the same one"
    assert "the guest default/wet was asked to shut down" in done.stderr


def test_one_that_hangs_keeps_no_other_from_being_asked(
    running: Fake, root: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[str] = []
    monkeypatch.setattr(stopping, "clean", lambda site, record, force: cleaned.append(record.name))
    monkeypatch.setattr(stopping, "ASKED_S", 0.2)
    with subprocess.Popen(["sleep", "600"]) as second, socket.socket(socket.AF_UNIX) as hanging:
        one = process_of(second.pid)
        Machines(root).put(dataclasses.replace(RECORD, name="dead", pid=one.pid, started=one.started))
        hanging.bind(str(Machines(root).directory("default", "dead") / QMP))
        hanging.listen(1)
        began = time.monotonic()
        done = vm(root, "stop", "--all", "--timeout", "0.5")
        took = time.monotonic() - began
        second.kill()
    assert cleaned == ["dead", "web"] and took < 5, (cleaned, took)
    assert "default/dead could not be asked to shut down" in done.stderr
    assert "the guest default/web was asked to shut down" in done.stderr
