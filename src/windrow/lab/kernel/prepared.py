"""The files that a QEMU lab starts from, out of a kernel package: the kernel, a small first root, and its modules.

kernel                  uncompressed, as QEMU starts it fastest
initrd                  busybox, the modules that the host's files need, and `root.sh`
lib/modules/RELEASE/    what a lab may load, with what depmod(8) makes
release                 which one it is

python -m windrow.lab.kernel.prepared PACKAGE-DIRECTORY TARGET [BUSYBOX]      what scripts/bootstrap runs
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from windrow.lab.errors import LabError
from windrow.lab.kernel.machine import need
from windrow.lab.vm import archive, image
from windrow.lab.vm.kernel import bootable, needed, read_module, release_in
from windrow.lab.vm.kernel import find as find_in
from windrow.model.lazy import dataclass
from windrow.services import usercache

ENVIRONMENT = "WINDROW_LAB_KERNEL"
"""Where the prepared kernel is, if not in the checkout."""
CHECKOUT, CACHE = Path(__file__).resolve().parents[4] / "build" / "kernel", "kernel"
KERNEL, INITRD, RELEASE, MODULES = "kernel", "initrd", "release", "lib/modules"

FIRST = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p")
"""Loaded from the initrd: the lab's line, and the host's files."""

_KEPT = (
    *("arch", "crypto", "drivers/char", "drivers/net", "drivers/ptp", "drivers/vhost", "drivers/virtio"),
    *("fs", "lib", "net", "security"),
)
"""Of the package's modules, those that a network may need: 165 of 370 MB."""
_SCRIPT = Path(__file__).resolve().parent / "root.sh"
_PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """`directory` has `lib/modules`, as `modprobe -d` wants it."""

    directory: Path
    kernel: Path
    initrd: Path
    release: str


def find() -> Prepared:
    """Raises LabError."""
    found = usercache.chosen(ENVIRONMENT, CHECKOUT, CACHE)
    place = found.resolve() if found else None
    if place is None or not (release := release_in(place)):
        raise LabError(
            "there is no kernel for QEMU" + (f" in {place}" if place else ""),
            hint="`windrow lab setup` fetches one, in a checkout `make setup`; where there is no apt-get, unpack a "
            f"linux-image package, run `{sys.executable} -m windrow.lab.kernel.prepared UNPACKED DIRECTORY`, and let "
            f"{ENVIRONMENT} name DIRECTORY",
        )
    return Prepared(place, place / KERNEL, place / INITRD, release)


def prepare(package: Path, target: Path, busybox: Path | None = None) -> str:
    """What a lab needs of an unpacked kernel package, into `target`; the kernel's release. Raises LabError.

    `busybox`: a static one for the kernel's processor, if that is not this host's.
    """
    depmod = need(shutil.which("depmod", path=_PLACES), "depmod", "apt-get install kmod")
    kernel, modules = find_in(package)
    release = modules.name
    target.mkdir(parents=True, exist_ok=True)
    (target / KERNEL).write_bytes(bootable(kernel))
    (target / INITRD).write_bytes(archive.pack(_first_root(modules, busybox or image.busybox())))
    _keep(modules, target / MODULES / release)
    done = subprocess.run(
        [depmod, "-b", str(target.resolve()), release], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise LabError(f"depmod failed: {done.stderr.strip()}")
    (target / RELEASE).write_text(f"{release}\n", encoding="ascii")
    return release


def _first_root(modules: Path, busybox: Path) -> Iterator[archive.Entry]:
    for name in ("bin", "modules"):
        yield archive.directory(name)
    yield archive.file("init", _SCRIPT.read_bytes(), program=True)
    yield archive.file("bin/busybox", busybox.read_bytes(), program=True)
    found = dict(needed(modules, FIRST))
    for name, data in found.items():
        yield archive.file(f"modules/{name}.ko", data)
    yield archive.file("modules/order", "".join(f"{name}\n" for name in found).encode())


def _keep(modules: Path, place: Path) -> None:
    """The modules that are of use, uncompressed, and the lists that depmod reads."""
    kept = [path for top in _KEPT for path in (modules / "kernel" / top).rglob("*.ko*")]
    for path in kept:
        file = place / path.relative_to(modules).parent / f"{path.name.partition('.ko')[0]}.ko"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(read_module(path))
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (modules / name).exists():
            shutil.copy(modules / name, place / name)


def main() -> int:
    print(prepare(*map(Path, sys.argv[1:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
