"""A distribution's whole kernel under QEMU, with the host's files as its read-only root: by QEMU's own 9p server, so
nothing is copied, no root is needed and nothing is left.

It has what User-Mode Linux lacks (nftables in every family, wireguard, cpusets, BTF, several processors), and takes
about ten seconds to come up where there is no KVM.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

from windrow.lab.errors import LabError
from windrow.lab.kernel.launch import CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWPID
from windrow.lab.kernel.machine import Guest, Log, Machine, Program, interpreter_line, need
from windrow.lab.kernel.prepared import Prepared, find
from windrow.lab.kernel.uml import MEMORY, quoted
from windrow.model.lazy import dataclass

PATIENCE_S = 180.0
"""In software it computes for five seconds before its first word; beside others that may take a minute."""
TITLE = "a kernel in QEMU"
LINE = "/dev/vport0p1"
"""The first port of the first virtio-serial device; port 0 is kept for a console (virtio 1.2, 5.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A computer that QEMU plays. `processor` is the one without KVM, `serial` the console's name in its kernel."""

    program: str
    package: str
    machine: str
    processor: str
    serial: str
    early: str
    """Kernel parameters: its first words on the console, too."""
    parameters: tuple[str, ...] = ()


BOARDS = {
    "x86_64": Board(
        program="qemu-system-x86_64",
        package="qemu-system-x86",
        machine="q35",
        processor="qemu64",
        serial="ttyS0",
        early="earlyprintk=ttyS0",
        # In software the clock's calibrations and the mitigations only cost time.
        parameters=("random.trust_cpu=on", "tsc=reliable", "no_timer_check", "mitigations=off"),
    ),
    "aarch64": Board(
        program="qemu-system-aarch64",
        package="qemu-system-arm",
        machine="virt,gic-version=max",  # with KVM it must be the host's
        processor="cortex-a57",
        serial="ttyAMA0",
        early="earlycon",
    ),
}
"""By what uname(2) calls the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a guest stands on. `root`: the directory that is its root. `inside`: its first process, by `LINE`."""

    board: Board
    files: Prepared
    inside: Sequence[str]
    root: str = "/"
    accelerator: str = "tcg"


_KVM, _KVM_S = "/dev/kvm", 1.5
"""How long a kernel may take to its first word with KVM, which it says in a tenth of that."""

_COMMON = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/local/bin"))


def boot(guest: Guest, *, memory: str = MEMORY, cpus: int = 1, log: Log | None = None) -> Machine:
    """`about["accelerator"]` is `kvm` or `tcg` (in software). Raises LabError where a part is missing, BootError."""
    board = BOARDS.get(os.uname().machine)
    if board is None:
        raise LabError(f"a lab in QEMU is not known for {os.uname().machine}", hint=f"it is for {', '.join(BOARDS)}")
    program = _program(board)
    files = find()
    accelerator = "kvm" if kvm_works(board, program, files) else "tcg"
    inside = interpreter_line(f"port:{LINE}")
    knowing = replace(guest, config={**guest.config, "modules": str(files.directory)})
    ground = Ground(board=board, files=files, inside=inside, accelerator=accelerator)
    return start(ground, knowing, memory=memory, cpus=cpus, log=log)


def start(ground: Ground, guest: Guest, *, memory: str = MEMORY, cpus: int = 1, log: Log | None = None) -> Machine:
    """`guest` knows by its `config` where modules are on that ground. Raises LabError, BootError."""
    board, files = ground.board, ground.files
    ours, theirs = socket.socketpair()
    argv = [
        _program(board),
        *(*_COMMON, "-machine", board.machine),
        *_processors(board, ground.accelerator, cpus),
        *("-m", memory, "-kernel", str(files.kernel), "-initrd", str(files.initrd)),
        *("-append", command_line(board, ground.inside, quiet=log is None)),
        *_devices(theirs.fileno(), ground.root),
    ]
    started = Program(
        kernel="qemu",
        title=TITLE,
        argv=argv,
        line=theirs,
        namespaces=CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC,
        required=False,
        patience_s=PATIENCE_S,
    )
    machine = Machine(started, ours, guest, log)
    machine.about["accelerator"] = ground.accelerator
    return machine


def _program(board: Board) -> str:
    return need(shutil.which(board.program, path=_PLACES), board.program, f"apt-get install {board.package}")


def kvm_works(board: Board, program: str, files: Prepared) -> bool:
    """Whether a kernel says its first word with it. That the device can be opened proves nothing: in some virtual
    machines KVM takes a guest and then stops it, or never lets it go on."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return False
    words = [program, *_COMMON, "-machine", board.machine, "-accel", "kvm", "-cpu", "host", "-m", "256M"]
    words += ["-kernel", str(files.kernel), "-append", f"{board.early} panic=-1", "-serial", "stdio"]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(words, stdin=nothing, stdout=pipe, stderr=nothing) as process:
        try:
            assert process.stdout is not None
            return _says(process.stdout.fileno(), b"Linux version", _KVM_S)
        finally:
            process.kill()


def _says(fd: int, wanted: bytes, patience: float) -> bool:
    end, heard = time.monotonic() + patience, b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0 and selector.select(left):
            more = os.read(fd, 4096)
            heard += more
            if wanted in heard or not more:
                break
    return wanted in heard


def _processors(board: Board, accelerator: str, cpus: int) -> tuple[str, ...]:
    kind = "host" if accelerator == "kvm" else board.processor
    return ("-accel", accelerator, "-cpu", kind, "-smp", str(cpus))


def command_line(board: Board, inside: Sequence[str], *, quiet: bool) -> str:
    """Kernel parameters, and after `--` what `root.sh` becomes."""
    words = [
        f"console={board.serial}",
        *(["quiet"] if quiet else []),
        "panic=-1",
        *board.parameters,
        "--",
        *quoted(inside),
    ]
    return " ".join(words)


def _devices(line: int, root: str) -> list[str]:
    """The console on standard output, the lab's line on an inherited socket, and the files that are its root."""
    path = root.replace(",", ",,")  # QEMU's own way to write one (qemu-options)
    return [
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=line,fd={line}", "-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=line,name=lab"),
        *("-fsdev", f"local,id=root,path={path},security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
    ]
