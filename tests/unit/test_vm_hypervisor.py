"""What stands around QEMU: its user, the files that it is handed, and a log that does not grow."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from windrow.apps.vm import launch
from windrow.apps.vm.launch import PROGRAM
from windrow.model.machines import Binding, Disk, GuestNetwork, GuestNic, KernelBoot, MachineSpec
from windrow.model.values import IfName, Mac
from windrow.port.vm import qemu as arguments
from windrow.port.vm.binding import PodNic, plan_nic
from windrow.port.vm.dhcp import PodIdentity
from windrow.services import account as accounts
from windrow.services import process, qemu, ring
from windrow.services.account import COUNT, FIRST, Account, account_of
from windrow.services.errors import ServiceError
from windrow.store.machines import MachineRecord


def until(holds: Callable[[], bool], patience_s: float = 20.0) -> bool:
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# The log ------------------------------------------------------------------------------------------


def kept(path: Path) -> bytes:
    try:
        return ring.read(str(path))
    except FileNotFoundError:
        return b""


def size_of(directory: Path) -> int:
    found = 0
    for path in directory.iterdir():
        with suppress(FileNotFoundError):  # it is being renamed
            found += path.stat().st_size
    return found


def test_the_log_keeps_the_end_and_does_not_grow(tmp_path: Path) -> None:
    path, size = tmp_path / "web.log", 10_000
    written = b"".join(b"%07d\n" % number for number in range(20_000))
    fd = process.start_ring(path, size=size)
    for at in range(0, len(written), 777):
        os.write(fd, written[at : at + 777])
        assert size_of(tmp_path) <= 2 * size
    os.close(fd)
    assert until(lambda: written.endswith(kept(path)) and size <= len(kept(path)) <= 2 * size)
    assert until(lambda: kept(path).endswith(written[-8:])), "the end is there"
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["web.log", "web.log.1"]


def test_what_is_said_is_there_at_once(tmp_path: Path) -> None:
    """Not when some buffer is full: people watch a guest's start."""
    path = tmp_path / "web.log"
    fd = process.start_ring(path)
    os.write(fd, b"login: ")
    assert until(lambda: kept(path) == b"login: ", 5.0)
    os.close(fd)


def test_nothing_of_it_stays_and_the_next_one_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    fd = process.start_ring(path, size=10)
    os.write(fd, b"x" * 25)
    os.close(fd)
    assert until(lambda: kept(path) == b"x" * 15)
    assert until(lambda: not writers(path))
    fd = process.start_ring(path, size=10)
    os.write(fd, b"new")
    assert until(lambda: kept(path) == b"new")
    os.close(fd)
    assert until(lambda: not writers(path))


def test_between_two_files_the_full_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    (tmp_path / "web.log.1").write_bytes(b"full")
    assert ring.read(str(path)) == b"full"
    with pytest.raises(FileNotFoundError):
        ring.read(str(tmp_path / "other.log"))


def writers(path: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            found += [entry.name] if os.fsencode(path) in words else []
    return found


def test_whoever_writes_goes_on_while_the_disk_refuses(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    path = place / "web.log"
    fd = process.start_ring(path, size=4096)
    os.write(fd, b"x" * 5)
    assert until(lambda: kept(path) == b"x" * 5)
    for entry in place.iterdir():
        entry.unlink()
    place.rmdir()
    for _ in range(100):
        os.write(fd, b"y" * 4096)  # what is not kept is taken all the same: 100 times that does not fit into a pipe
    place.mkdir()
    os.write(fd, b"again")
    assert until(lambda: kept(path).endswith(b"again")), "and it is kept again as soon as it can be"
    os.close(fd)


# The user -----------------------------------------------------------------------------------------


def test_each_machine_has_a_user_of_its_own() -> None:
    users = {account_of("default", f"vm-{number}").number for number in range(500)}
    assert len(users) == 500 and all(FIRST <= user < FIRST + COUNT for user in users)
    assert account_of("default", "web") == account_of("default", "web") != account_of("other", "web")
    assert FIRST > 1_879_048_191 and FIRST + COUNT < 2_147_352_576, "systemd: UIDS-GIDS.md"


def test_a_namespace_without_such_a_user_has_only_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = [tmp_path / "uid", tmp_path / "gid"]
    monkeypatch.setattr(accounts, "_MAPS", tuple(maps))
    for text, root in (("0 1000 1\n", True), ("0 0 4294967295\n", False), ("0 100000 65536\n", True)):
        for path in maps:
            path.write_text(text)
        assert (account_of("default", "web").number == 0) is root
    for path in maps:
        path.unlink()
    assert account_of("default", "web").number != 0, "a kernel without user namespaces"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group")
def test_it_is_in_the_groups_of_its_devices(tmp_path: Path) -> None:
    device, none = tmp_path / "kvm", tmp_path / "none"
    device.write_bytes(b"")
    os.chown(device, 0, 4711)
    for mode, groups, usable in (
        (0o660, (4711,), True),
        (0o600, (), False),
        (0o640, (), False),
        (0o666, (4711,), True),
    ):
        device.chmod(mode)
        found = account_of("default", "web", device, none)
        assert (found.groups, found.may_use(device), found.may_use(none)) == (groups, usable, False)
    device.chmod(0o606)
    assert account_of("default", "web", device).may_use(device)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_program_is_started_as_it_with_what_it_is_handed(tmp_path: Path) -> None:
    secret = tmp_path / "disk"
    secret.write_bytes(b"blocks")
    secret.chmod(0o600)
    place = tmp_path / "shown"
    place.mkdir()
    os.chown(place, 0, FIRST)
    place.chmod(0o750)
    tmp_path.chmod(0o700)
    fd = os.open(secret, os.O_RDONLY | os.O_CLOEXEC)
    script = f"id -u; id -g; id -G; pwd; cat <&{fd}; cat {secret} 2>&1; touch x 2>&1; grep CapEff /proc/self/status"
    one = process.start(
        ["bash", "-c", script], directory=place, log=tmp_path / "log", account=Account(FIRST, (7,)), fds=[fd]
    )
    os.close(fd)
    assert until(lambda: one.exit is not None)
    said = (tmp_path / "log").read_text()
    assert said.startswith(f"{FIRST}\n{FIRST}\n{FIRST} 7\n") and "blocks" in said, said
    assert said.count("Permission denied") == 2 and said.endswith("CapEff:\t0000000000000000\n"), said
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    assert not process.may_read([str(secret)], Account(FIRST)) and process.may_read(["/etc/passwd"], Account(FIRST))
    assert not process.may_read(["/etc/passwd", str(secret)], Account(FIRST)) and process.may_read([], Account(FIRST))


def test_nobody_is_asked_about_what_everybody_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a program takes a tenth of a second in User-Mode Linux. Where a list of rights might say otherwise, it
    is asked."""
    asked: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda argv, **_: asked.append(argv) or SimpleNamespace(returncode=1))
    assert process.may_read(["/etc/passwd", sys.executable], Account(FIRST)) and not asked
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"] if path == "/etc" else [])
    assert not process.may_read(["/etc/passwd"], Account(FIRST)) and asked


# What QEMU is told --------------------------------------------------------------------------------


def test_what_is_handed_is_named_by_its_number() -> None:
    spec = MachineSpec(
        disks=(Disk(name="a", path="/a.raw"), Disk(name="b", path="/b.qcow2")),
        kernel=KernelBoot(kernel="/k", initrd="/i"),
    )
    files = arguments.MachineFiles(
        qmp=3, console=4, agent=5, console_log=6, disks={1: 7}, kernel="kernel", initrd="initrd"
    )
    words = arguments.arguments(spec, "ns/web", [], files, kvm=False)
    text = " ".join(words)
    assert "-add-fd fd=6,set=6 -add-fd fd=7,set=7" in text
    assert "socket,id=qmp,fd=3,server=on,wait=off" in words and "socket,id=agent,fd=5,server=on,wait=off" in words
    assert "socket,id=console,fd=4,server=on,wait=off,logfile=/dev/fdset/6,logappend=on" in words
    assert any("filename=/a.raw" in word for word in words) and any("filename=/dev/fdset/7" in word for word in words)
    assert any(word.startswith("driver=qcow2,") for word in words), "by its own name, not by that of the open file"
    assert "-kernel kernel -initrd initrd" in text


@pytest.mark.parametrize(
    ("queues", "vhost", "said"),
    [
        (0, (), "tap,id=host-a,fd=3,vhost=off"),
        (0, (7,), "tap,id=host-a,fd=3,vhost=on,vhostfd=7"),
        (2, (), "tap,id=host-a,fds=3:4,vhost=off"),
        (2, (7, 8), "tap,id=host-a,fds=3:4,vhost=on,vhostfds=7:8"),
    ],
)
def test_taps_are_handed_with_all_their_queues(queues: int, vhost: tuple[int, ...], said: str) -> None:
    nic = GuestNic(name="a", binding=Binding.BRIDGE)
    network = GuestNetwork(name="a", nad="default/x")
    spec = MachineSpec(nics=(nic,), networks=(network,), multiqueue=queues > 0, cores=max(1, queues))
    seen = PodNic(name=IfName("pod1"), mac=Mac("02:00:00:00:00:01"), mtu=1500)
    plan = plan_nic(spec, "a", seen, PodIdentity())
    tap = (3, 4)[: queues or 1]
    files = arguments.MachineFiles(qmp="q", console="c", console_log="l", taps={"a": arguments.Queues(tap, vhost)})
    words = arguments.arguments(spec, "ns/web", [plan], files, kvm=False)
    assert said in words
    command, *_ = arguments.plug(
        spec, plan, queues=arguments.Queues(["n-0", "n-1"][: len(tap)], ["v-0", "v-1"][: len(vhost)])
    )
    key = "fds" if queues else "fd"
    assert command["arguments"][key] == ":".join(["n-0", "n-1"][: len(tap)])
    assert command["arguments"].get(f"vhost{key}", "") == ":".join(["v-0", "v-1"][: len(vhost)])


def test_qemu_is_handed_an_open_file(tmp_path: Path) -> None:
    with qemu.listening(tmp_path / "qmp.sock") as listener:
        assert stat.S_IMODE((tmp_path / "qmp.sock").stat().st_mode) == 0o600
        got: list[tuple[object, str]] = []

        def serve() -> None:
            one, _ = listener.accept()
            with one:
                one.sendall(b'{"QMP": {}}\n')
                for _ in range(3):
                    data, fds, _, _ = socket.recv_fds(one, 65536, 4)
                    request = json.loads(data)
                    for fd in fds:
                        got.append((request, os.readlink(f"/proc/self/fd/{fd}")))
                        os.close(fd)
                    one.sendall(json.dumps({"return": {}, "id": request["id"]}).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with qemu.Qmp(tmp_path / "qmp.sock") as qmp, open("/etc/passwd", "rb") as file:
            qmp.hand("tap-a-0", file.fileno())
            qmp.command("query-status")
        thread.join(10)
    assert got == [({"execute": "getfd", "id": 2, "arguments": {"fdname": "tap-a-0"}}, "/etc/passwd")]


# QEMU itself --------------------------------------------------------------------------------------


def write_overlay(image: Path, behind: Path) -> None:
    """A qcow2 image with another one behind it, made by QEMU."""
    image.write_bytes(b"")
    behind.write_bytes(bytes(1 << 20))
    words = [PROGRAM, "-nodefaults", "-display", "none", "-S", "-qmp", "unix:make.sock,server=on,wait=off"]
    one = process.start(words, directory=image.parent, log=image.parent / "log")
    with qemu.ready(one, image.parent / "make.sock") as qmp:
        qmp.command("blockdev-add", {"driver": "file", "node-name": "f", "filename": str(image)})
        options = {"driver": "qcow2", "file": "f", "size": 1 << 20, "backing-file": str(behind), "backing-fmt": "raw"}
        qmp.command("blockdev-create", {"job-id": "job", "options": options})
        assert until(lambda: qmp.command("query-jobs")[0]["status"] == "concluded")
        qmp.command("quit")
    assert until(lambda: one.exit is not None)


@contextmanager
def machine_of(place: Path, image: Path) -> Iterator[qemu.Qmp]:
    """A QEMU like ours, and its monitor; the image is handed to it."""
    spec = MachineSpec(disks=(Disk(name="a", path=str(image)),), memory=32 << 20)
    disk, log = os.open(image, os.O_RDWR), os.open(os.devnull, os.O_WRONLY)
    with qemu.listening(place / "qmp.sock") as monitor, qemu.listening(place / "console.sock") as console:
        files = arguments.MachineFiles(qmp=monitor.fileno(), console=console.fileno(), console_log=log, disks={0: disk})
        words = [PROGRAM, *arguments.SANDBOX, *arguments.arguments(spec, "ns/web", [], files, kvm=False)]
        fds = [monitor.fileno(), console.fileno(), log, disk]
        one = process.start(words, directory=place, log=place / "log", account=Account(FIRST), fds=fds)
    os.close(disk)
    os.close(log)
    try:
        with qemu.ready(one, place / "qmp.sock") as qmp:
            yield qmp
    finally:
        process.end(one.process, patience_s=0)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which(PROGRAM), reason="needs root and QEMU")
def test_a_disk_of_roots_is_used_and_what_is_behind_it_must_be_readable() -> None:
    with tempfile.TemporaryDirectory(prefix="windrow-") as name:
        place = Path(name)
        place.chmod(0o755)
        image, behind = place / "image.qcow2", place / "base.raw"
        write_overlay(image, behind)
        image.chmod(0o600)
        behind.chmod(0o600)
        with pytest.raises(ServiceError, match="Could not open backing file") as caught, machine_of(place, image):
            pass
        record = MachineRecord(namespace="ns", name="web", node="n", container_id="c", netns="n", since=0.0)
        assert "readable for everybody" in launch.explained_by_qemu(record, caught.value).hint
        behind.chmod(0o644)
        with machine_of(place, image) as qmp:
            inserted = qmp.command("query-block")[0]["inserted"]
        assert (inserted["drv"], inserted["ro"], inserted["backing_file_depth"]) == ("qcow2", False, 1)
        assert (image.stat().st_uid, image.stat().st_mode & 0o777) == (0, 0o600)
