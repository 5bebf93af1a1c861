"""User-Mode Linux: a kernel as an ordinary process, with the host's files as its read-only root."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence

from windrow.lab.errors import BootError
from windrow.lab.kernel import processor, xstate
from windrow.lab.kernel.launch import CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWPID
from windrow.lab.kernel.machine import Guest, Log, Machine, Program, interpreter_line, need
from windrow.lab.kernel.reasons import reason

TITLE = "User-Mode Linux"
MEMORY = "768M"
"""A ceiling, not a price: the memory file is sparse, and only pages that were touched are there."""

_BASE_MB, _HYPERVISOR_MB = 448, 96
"""Of a lab with machines: the lab itself, and QEMU beside the memory of each guest."""
_CONTROL_PLANE_MB, _NODE_MB = 1024, 384
"""etcd, the API server and kubectl; and of a node its agent, containerd, kubelet, and pods of 15 MB."""
_CONTROLLERS_MB, _IMAGE_MB = 512, 384
"""Kubernetes' controllers and scheduler; and of a node the image that its pods are made of then, and five of them."""
_SUITE_MB, _SUITE_NODE_MB = 1536, 768
"""Kubernetes' controllers, its test suite and the images; and of a node the image of the pods, packed and unpacked."""

_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/local/bin"))


def memory_for(machines: Sequence[int]) -> str:
    """For a lab with virtual machines, by the memory of each, in bytes."""
    return f"{_BASE_MB + _machines_mb(machines)}M" if machines else MEMORY


def memory_for_cluster(
    nodes: int, *, controllers: bool = False, conformance: bool = False, machines: Sequence[int] = ()
) -> str:
    """For a lab with a control plane of Kubernetes, and a kubelet with pods on each node; `machines` run in some."""
    more = _machines_mb(machines)
    if conformance:
        more += _SUITE_MB + nodes * _SUITE_NODE_MB
    elif controllers:
        more += _CONTROLLERS_MB + nodes * _IMAGE_MB
    return f"{_CONTROL_PLANE_MB + nodes * _NODE_MB + more}M"


def _machines_mb(machines: Sequence[int]) -> int:
    return sum((m >> 20) + _HYPERVISOR_MB for m in machines)


def boot(guest: Guest, *, memory: str = MEMORY, log: Log | None = None, help_registers: bool | None = None) -> Machine:
    """`help_registers`: whether `xstate.c` is loaded; None: where the processor needs it.

    Raises LabError where it is not installed or cannot be helped, BootError.
    """
    program = need(
        shutil.which("linux.uml", path=_PLACES) or shutil.which("linux", path=_PLACES), TITLE, _where_it_is()
    )
    env = xstate.preload() if (_needs_help() if help_registers is None else help_registers) else {}
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    inside = quoted(interpreter_line("tty:/dev/ttyS0")[1:])
    argv = [program, *command_line(number, memory, quiet=log is None), "--", *inside]
    started = Program(
        kernel="uml",
        title=TITLE,
        argv=argv,
        line=theirs,
        namespaces=CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC,
        required=False,
        processor=processor.choose(),
        memory_file=True,
        env=env,
    )
    return Machine(started, ours, guest, log)


def _needs_help() -> bool:
    """Raises BootError where no process can be traced: the kernel would not come up either."""
    try:
        return xstate.needed()
    except xstate.PtraceError as error:
        found = reason([str(error)])
        raise BootError(f"{TITLE} did not come up: {found.why}", hint=found.todo) from error


def _where_it_is() -> str:
    if os.uname().machine in ("x86_64", "i686"):
        return "apt-get install user-mode-linux, or use another --kernel"
    return "Debian builds it for amd64 and i386 only: use another --kernel"


ANY = (
    "rootfstype=hostfs",
    "rootflags=/",
    "ro",
    # A directory that cannot be: UML would make ~/.uml/<id>/ for a management console nobody uses.
    "uml_dir=/dev/null/",
    # Of 1.7 s of boot, 0.9 go to choosing the fastest RAID 6 code (`raid6_select_algo`, for btrfs), and 0.7 to
    # 512 old-style pseudo-terminals (`legacy_pty_init`) and the same for xor.
    "initcall_blacklist=raid6_select_algo",
    "pty.legacy_count=0",
)
"""Parameters of any kernel of ours: this host's files are its own, and it boots without what nobody uses."""


def command_line(line: int, memory: str, *, quiet: bool) -> list[str]:
    """Kernel parameters; `line` is the fd that becomes the first serial line."""
    return [
        f"mem={memory}",
        *ANY,
        f"init={quoted([interpreter_line('')[0]])[0]}",
        "con=null",
        "con0=null,fd:2",
        "ssl=null",
        f"ssl0=fd:{line},fd:{line}",
        *(["quiet"] if quiet else []),
    ]


def quoted(words: Sequence[str]) -> list[str]:
    """Words of a kernel's command line: its parser knows double quotes (`next_arg`). UML joins its arguments itself."""
    return [f'"{word}"' if " " in word else word for word in words]
