"""The lab's guest with Debian's own qemu-ga: what it boots from, and what it does then."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from windrow.lab.vm import archive, image

PROGRAM = "qemu-ga"
START = f"""insmod /modules/virtio_console.ko
ls /dev/vport*
for port in /dev/vport*; do /{PROGRAM} -m virtio-serial -p $port -d; done
"""
"""Of the agent, on the port that Windrow gives each machine."""


def found() -> str:
    """Raises: it is not installed."""
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin:/usr/bin")
    assert program is not None, "qemu-ga is not installed: apt-get install qemu-guest-agent"
    return program


def write(to: Path, before: str = "") -> None:
    """The lab's guest, then a second archive that the kernel unpacks over the first one. `before`: what runs in it
    before the agent starts."""
    program = Path(found())
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = {Path(path) for path in re.findall(r"(/\S+)", said)}
    directories = sorted({str(parent) for path in libraries for parent in path.parents if str(parent) != "/"})
    entries = [archive.directory(name.lstrip("/")) for name in [*directories, "/run", "/seed", "/var", "/var/run"]]
    entries += [archive.file(str(path).lstrip("/"), path.read_bytes(), program=True) for path in libraries]
    entries += [archive.file(PROGRAM, program.read_bytes(), program=True)]
    entries += [archive.file("seed/user-data", f"#!/bin/sh\n{before}{START}".encode(), program=True)]
    to.write_bytes(image.build(image.find()) + archive.pack(entries))
