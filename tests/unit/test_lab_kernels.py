"""Which kernel a lab gets, and what QEMU is told; nothing is booted here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from windrow.apps.cli.main import cli
from windrow.lab.errors import BootError, LabError
from windrow.lab.guest import init
from windrow.lab.kernel import boot, prepared, qemu
from windrow.lab.kernel.machine import Guest
from windrow.lab.vm import archive

GUEST = Guest(entry="nobody:nothing")
Start = Callable[..., Any]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`kernels(uml=error, qemu={...})`: what becomes of a start. Returns the kinds in the order they are started in."""
    started: list[str] = []

    def make(**outcomes: Exception | dict[str, Any]) -> list[str]:
        def start(kind: str) -> Start:
            def run(*_: object) -> Any:
                started.append(kind)
                outcome = outcomes[kind]
                if isinstance(outcome, Exception):
                    raise outcome
                return SimpleNamespace(about=dict(outcome), close=lambda: started.append(f"{kind} closed"))

            return run

        monkeypatch.setattr(boot, "_STARTS", {kind: start(kind) for kind in boot.KERNELS})
        return started

    return make


def test_the_first_that_boots_is_taken_and_no_other_started(kernels: Callable[..., list[str]]) -> None:
    started = kernels(uml={"missing": []})
    machine = boot.boot(boot.AUTO, GUEST)
    assert started == ["uml"]
    assert machine.about["lab"] == "uml"
    assert machine.about["instead"] == {}
    assert boot.described(machine.about) == "User-Mode Linux"


def test_the_next_one_and_why(kernels: Callable[..., list[str]]) -> None:
    started = kernels(uml=BootError("its first process died", hint="ask"), qemu={"missing": [], "accelerator": "tcg"})
    machine = boot.boot(boot.AUTO, GUEST)
    assert started == ["uml", "qemu"]
    assert machine.about["instead"] == {"uml": "its first process died"}
    assert boot.described(machine.about) == "QEMU in software"


def test_one_that_lacks_something_is_ended_and_the_next_one_tried(kernels: Callable[..., list[str]]) -> None:
    started = kernels(uml={"missing": ["bonding"]}, qemu={"accelerator": "kvm"})
    machine = boot.boot(boot.AUTO, GUEST)
    assert started == ["uml", "uml closed", "qemu"]
    assert machine.about["instead"] == {"uml": "User-Mode Linux has no bonding"}
    assert boot.described(machine.about) == "QEMU with KVM"


def test_none_boots_and_each_says_why(kernels: Callable[..., list[str]]) -> None:
    kernels(uml=LabError("one", hint="a"), qemu=LabError("two"), native=LabError("three", hint="c"))
    with pytest.raises(LabError) as caught:
        boot.boot(boot.AUTO, GUEST)
    assert str(caught.value) == (
        "no kernel for a lab boots here:\n"
        "    User-Mode Linux: one\n        hint: a\n    QEMU: two\n    this host's kernel: three\n        hint: c"
    )


def test_a_kernel_that_was_chosen_is_not_replaced(kernels: Callable[..., list[str]]) -> None:
    started = kernels(uml=BootError("no"), qemu={})
    with pytest.raises(BootError, match="no"):
        boot.boot("uml", GUEST)
    assert started == ["uml"]


def test_machines_are_not_run_in_qemu(kernels: Callable[..., list[str]]) -> None:
    started = kernels(uml=LabError("no"), native={})
    needs = boot.Needs(machines=True)
    with pytest.raises(LabError, match="too slow in QEMU") as caught:
        boot.boot("qemu", GUEST, needs)
    assert "use --kernel uml" in caught.value.hint
    machine = boot.boot(boot.AUTO, GUEST, needs)
    assert started == ["uml", "native"]
    assert list(machine.about["instead"]) == ["uml", "qemu"]


def test_several_processors_are_not_asked_of_user_mode_linux(kernels: Callable[..., list[str]]) -> None:
    started = kernels(qemu={})
    assert boot.boot(boot.AUTO, GUEST, boot.Needs(cpus=2)).about["lab"] == "qemu"
    assert started == ["qemu"]


def test_a_scenario_with_machines_is_refused_before_qemu_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.apps.cli.lab.check_machines", lambda: None)
    done = CliRunner().invoke(cli, ["lab", "run", "seed", "--kernel", "qemu"])
    assert done.exit_code == 1
    assert "too slow in QEMU" in done.output
    assert "is up" not in done.output


# QEMU ---------------------------------------------------------------------------------------------


def test_what_qemu_s_kernel_is_told() -> None:
    words = qemu.command_line(
        qemu.BOARDS["x86_64"], ["/opt/my python", "-I", "init.py", "port:/dev/vport0p1"], quiet=True
    )
    assert words.endswith(' -- "/opt/my python" -I init.py port:/dev/vport0p1')
    assert " quiet " in words
    assert " quiet " not in qemu.command_line(qemu.BOARDS["aarch64"], ["x"], quiet=False)


def fake_qemu(directory: Path, script: str) -> str:
    program = directory / "qemu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "works"),
    [
        ("echo '[ 0.0] Linux version 6.1'; sleep 60", True),
        ("echo 'KVM: entry failed' >&2; exit 1", False),
        ("echo something else", False),
        ("exec sleep 60", False),
    ],
    ids=["boots", "refused", "dies", "hangs"],
)
def test_kvm_is_tried_and_not_believed(
    script: str, works: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(qemu, "_KVM", str(device))
    files = prepared.Prepared(tmp_path, tmp_path / "kernel", tmp_path / "initrd", "6.1")
    assert qemu.kvm_works(qemu.BOARDS["x86_64"], fake_qemu(tmp_path, script), files) is works


def test_without_the_device_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(qemu, "_KVM", str(tmp_path / "none"))
    files = prepared.Prepared(tmp_path, tmp_path / "kernel", tmp_path / "initrd", "6.1")
    assert not qemu.kvm_works(qemu.BOARDS["x86_64"], "/nowhere/qemu", files)


def test_without_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(prepared.ENVIRONMENT, str(tmp_path))
    with pytest.raises(LabError, match=f"there is no kernel for QEMU in {tmp_path}") as caught:
        prepared.find()
    assert "make setup" in caught.value.hint
    assert "-m windrow.lab.kernel.prepared UNPACKED DIRECTORY" in caught.value.hint
    assert prepared.ENVIRONMENT in caught.value.hint


# Its files ----------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An unpacked kernel package, with what looks like a kernel and like modules."""
    tree = tmp_path / "package"
    modules = tree / "lib/modules/6.1-x"
    for name, needs in (("fs/9p/9p", "9pnet"), ("net/9p/9pnet", ""), ("net/x/wanted", ""), ("sound/x/noise", "")):
        file = modules / "kernel" / f"{name}.ko"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0depends=%s\0" % needs.encode())
    (modules / "modules.order").touch()
    (tree / "boot").mkdir()
    (tree / "boot/vmlinuz-6.1-x").write_bytes(b"a kernel")
    return tree


def test_what_is_made_of_a_package(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """depmod is played: it reads real modules only. The real one has its turn in `make setup` and every lab in QEMU."""
    target = tmp_path / "target"
    said = tmp_path / "said"
    played = fake_qemu(tmp_path, f'echo "$@" >{said}')
    monkeypatch.setattr(shutil, "which", lambda name, **_: played if name == "depmod" else "/bin/busybox")
    assert prepared.prepare(package, target) == "6.1-x"
    assert said.read_text().split() == ["-b", str(target), "6.1-x"]
    assert (target / "kernel").read_bytes() == b"a kernel"
    modules = target / "lib/modules/6.1-x"
    assert {path.stem for path in modules.rglob("*.ko")} == {"9p", "9pnet", "wanted"}
    assert (modules / "modules.order").exists()
    first = {entry.name: entry for entry in archive.unpack((target / "initrd").read_bytes())}
    assert first["modules/order"].data == b"9pnet\n9p\n"
    assert first["init"].data.startswith(b"#!/bin/busybox sh")
    assert first["init"].mode & 0o111
    monkeypatch.setenv(prepared.ENVIRONMENT, os.path.relpath(target))
    assert prepared.find() == prepared.Prepared(target, target / "kernel", target / "initrd", "6.1-x")


def test_a_depmod_that_fails_is_told(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played = fake_qemu(tmp_path, "echo no such thing >&2; exit 1")
    monkeypatch.setattr(shutil, "which", lambda name, **_: played if name == "depmod" else "/bin/busybox")
    with pytest.raises(LabError, match="depmod failed: no such thing"):
        prepared.prepare(package, tmp_path / "target")


def test_a_module_that_is_built_in_need_not_be_loaded(tmp_path: Path) -> None:
    """Not all of them have a directory in /sys/module."""
    assert init.built_in(str(tmp_path)) == set()
    (tmp_path / "modules.builtin").write_text("kernel/crypto/hmac.ko\nkernel/net/8021q/8021q.ko\n")
    assert init.built_in(str(tmp_path)) == {"hmac", "8021q"}
