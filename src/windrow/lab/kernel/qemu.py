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

from windrow.lab.kernel.launch import CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWPID
from windrow.lab.kernel.machine import Guest, Log, Machine, Program, interpreter_line, need
from windrow.lab.kernel.prepared import Prepared, find
from windrow.lab.kernel.uml import MEMORY, quoted

PROGRAM = "qemu-system-x86_64"
LINE = "/dev/vport0p1"
"""The first port of the first virtio-serial device; port 0 is kept for a console (virtio 1.2, 5.3)."""

_KVM, _KVM_S = "/dev/kvm", 1.5
"""How long a kernel may take to its first word with KVM, which it says in a tenth of that."""

_COMMON = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35")
_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/local/bin"))


def boot(guest: Guest, *, memory: str = MEMORY, cpus: int = 1, log: Log | None = None) -> Machine:
    """`about["accelerator"]` is `kvm` or `tcg` (in software). Raises LabError where a part is missing, BootError."""
    program = need(shutil.which(PROGRAM, path=_PLACES), PROGRAM, "apt-get install qemu-system-x86")
    files = find()
    accelerator = "kvm" if kvm_works(program, files) else "tcg"
    ours, theirs = socket.socketpair()
    inside = interpreter_line(f"port:{LINE}")
    argv = [
        program,
        *_COMMON,
        *_processors(accelerator, cpus),
        *("-m", memory, "-kernel", str(files.kernel), "-initrd", str(files.initrd)),
        *("-append", command_line(inside, quiet=log is None)),
        *_devices(theirs.fileno()),
    ]
    started = Program(argv=argv, line=theirs, namespaces=CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC, required=False)
    knowing = replace(guest, config={**guest.config, "modules": str(files.directory)})
    machine = Machine(started, ours, knowing, log)
    machine.about["accelerator"] = accelerator
    return machine


def kvm_works(program: str, files: Prepared) -> bool:
    """Whether a kernel says its first word with it. That the device can be opened proves nothing: in some virtual
    machines KVM takes a guest and then stops it, or never lets it go on."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return False
    words = [program, *_COMMON, "-accel", "kvm", "-cpu", "host", "-m", "128M", "-kernel", str(files.kernel)]
    words += ["-append", "earlyprintk=ttyS0 panic=-1", "-serial", "stdio"]
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


def _processors(accelerator: str, cpus: int) -> tuple[str, ...]:
    return ("-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "qemu64", "-smp", str(cpus))


def command_line(inside: Sequence[str], *, quiet: bool) -> str:
    """Kernel parameters, and after `--` what `root.sh` becomes."""
    words = [
        "console=ttyS0",
        *(["quiet"] if quiet else []),
        "panic=-1",
        "random.trust_cpu=on",
        # In software the clock's calibrations and the mitigations only cost time.
        "tsc=reliable",
        "no_timer_check",
        "mitigations=off",
        "--",
        *quoted(inside),
    ]
    return " ".join(words)


def _devices(line: int) -> list[str]:
    """The console on standard output, the lab's line on an inherited socket, and the host's files."""
    return [
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=line,fd={line}", "-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=line,name=lab"),
        *("-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
    ]
