"""Debian's kernels for the lab, fetched by its own user: downloaded with apt's own checks, unpacked, and never
installed, for the host's own kernel is none of our business.

A checkout has them in its `build`, where scripts/bootstrap puts them; whoever installed Windrow otherwise has them in a
cache directory of the user's (`services.usercache`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from windrow import __version__
from windrow.lab.errors import LabError
from windrow.model.lazy import dataclass
from windrow.services import usercache

STAMP = "stamp"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`what`: its directory in the cache. `packages`: by the processor, the package whose dependency is the newest
    kernel. `prepare`: what is needed of an unpacked package, into a directory; returns the kernel's release."""

    what: str
    title: str
    packages: Mapping[str, str]
    prepare: Callable[[Path, Path], str]


def fetch(wanted: Wanted, say: Say) -> Path:
    """The directory of a prepared kernel, the newest that apt knows; fetched where it is not there yet. Raises
    LabError."""
    meta = wanted.packages.get(os.uname().machine)
    if meta is None:
        raise LabError(f"{wanted.title}: Windrow knows no package of it for {os.uname().machine}")
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            hint = "it fetches Debian's packages; elsewhere the page on the lab says how to name a kernel of your own"
            raise LabError(f"there is no {program} here", hint=hint)
    package = newest(meta)
    target = usercache.directory(wanted.what)
    if _stamp(target) == _stamp_for(package):
        say(f"{wanted.title}: {package} is there already")
        return target
    say(f"{wanted.title}: fetching {package}")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
        release = _prepared(wanted, package, Path(work))
        (Path(work, "ready") / STAMP).write_text(_stamp_for(package))
        _swap(Path(work, "ready"), target)
    say(f"{wanted.title}: {release} is in {target}")
    return target


def newest(meta: str) -> str:
    """The package that a package depends on for its kernel, as apt knows it now. Raises LabError."""
    said = _run(["apt-cache", "depends", "--no-recommends", "--no-suggests", meta])
    found = re.search(r"^ *Depends: (linux-image-[0-9]\S*)$", said, re.MULTILINE)
    if found is None:
        raise LabError(f"apt knows no {meta}", hint="`apt-get update`, as root, asks what packages there are")
    return found[1]


def _prepared(wanted: Wanted, package: str, work: Path) -> str:
    for name in ("deb", "tree", "ready"):
        (work / name).mkdir()
    _run(["apt-get", "download", package], cwd=work / "deb")
    files = sorted((work / "deb").glob("*.deb"))
    if not files:
        raise LabError(f"apt-get downloaded no {package}")
    _run(["dpkg-deb", "-x", str(files[0]), str(work / "tree")])
    return wanted.prepare(work / "tree", work / "ready")


def _swap(ready: Path, target: Path) -> None:
    """A lab that runs has its files open; one that starts in between finds none, and says so."""
    ready.chmod(0o700)
    shutil.rmtree(target)
    ready.rename(target)


def _stamp(target: Path) -> str:
    try:
        return (target / STAMP).read_text()
    except OSError:
        return ""


def _stamp_for(package: str) -> str:
    """Another Windrow may prepare it otherwise."""
    return hashlib.sha256(f"{package} {__version__}".encode()).hexdigest()


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"{' '.join(command[:2])} failed: {words[-1] if words else done.returncode}")
    return done.stdout
