"""A guest's first file system: busybox, the modules of its kernel, and `init.sh`, which is all of the guest."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from windrow.lab.errors import LabError
from windrow.lab.vm import archive
from windrow.lab.vm.kernel import DEPENDENCIES, KERNEL, MODULES, release_in
from windrow.model.lazy import dataclass
from windrow.services import usercache

ENVIRONMENT = "WINDROW_GUEST"
"""Where the prepared kernel is, if not in the checkout."""
CHECKOUT, CACHE = Path(__file__).resolve().parents[4] / "build" / "guest", "guest"
_HERE = Path(__file__).resolve().parent
_DIRECTORIES = ("bin", "dev", "modules", "proc", "run", "seed", "sys", "etc", "etc/acpi", "etc/acpi/PWRF")
_POWER_BUTTON = "etc/acpi/PWRF/00000080"
"""What busybox' acpid runs for it (acpid_busybox.c)."""
_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/bin"))
_PT_INTERP = 3

PROGRAMS = """
[ acpid arp arping awk base64 basename cat chmod clear cp cttyhack cut date dd df dirname dmesg du echo env expr
false findfs free ftpget grep head hexdump hostname id ifconfig insmod ip kill killall ln ls lsmod mkdir mknod
more mount mv nc netstat nslookup ping poweroff printf ps pwd reboot rm rmdir rmmod route sed seq setsid sh sleep
sort stat stty sync tail tee telnet test tftp time timeout top touch tr traceroute true udhcpc umount uname uniq
uptime usleep vi wc wget which xargs xxd yes
"""
"""Links to busybox. Each one costs a slow guest a moment at boot; `busybox NAME` runs the others."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Paths on the host, which the lab kernel sees too."""

    kernel: Path
    modules: Path
    dependencies: Path
    release: str


def where() -> Path | None:
    """The directory of the kernel that was prepared for guests, if there is one."""
    return usercache.chosen(ENVIRONMENT, CHECKOUT, CACHE)


def find() -> Guest:
    """The kernel that was prepared for guests. Raises LabError."""
    place = where()
    if place is None or not (release := release_in(place)):
        raise LabError(
            "there is no kernel for virtual machines" + (f" in {place}" if place else ""),
            hint=f"`windrow lab setup` fetches one, in a checkout `make setup`; {ENVIRONMENT} names another place",
        )
    return Guest(place / KERNEL, place / MODULES, place / DEPENDENCIES, release)


def build(guest: Guest) -> bytes:
    """The archive. Raises LabError."""
    try:
        return archive.pack(_entries(guest))
    except OSError as error:
        hint = "`make setup` fetches its parts anew"
        raise LabError(f"the guest's image cannot be made: {error}", hint=hint) from error


def _entries(guest: Guest) -> Iterator[archive.Entry]:
    for name in _DIRECTORIES:
        yield archive.directory(name)
    yield archive.file("init", (_HERE / "init.sh").read_bytes(), program=True)
    yield archive.file("dhcp.sh", (_HERE / "dhcp.sh").read_bytes(), program=True)
    yield archive.file("bin/busybox", busybox().read_bytes(), program=True)
    for name in PROGRAMS.split():
        yield archive.link(f"bin/{name}", "busybox")
    yield archive.file("modules.dep", guest.dependencies.read_bytes())
    for path in sorted(guest.modules.glob("*.ko")):
        yield archive.file(f"modules/{path.name}", path.read_bytes())
    yield archive.file(_POWER_BUTTON, b"#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n", program=True)


def busybox() -> Path:
    """One that needs no libraries: the guest has none. Raises LabError."""
    found = shutil.which("busybox", path=_PLACES)
    if found is None or not is_static(Path(found).read_bytes()):
        what = "busybox is not installed" if found is None else f"{found} needs libraries that a guest has not"
        raise LabError(what, hint="apt-get install busybox-static")
    return Path(found)


def is_static(program: bytes) -> bool:
    """No program header asks for a dynamic linker (elf(5), PT_INTERP)."""
    if program[:5] != b"\x7fELF\x02":
        return False
    (at,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return all(struct.unpack_from("<I", program, at + i * size) != (_PT_INTERP,) for i in range(count))
