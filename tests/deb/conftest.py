"""A clean Debian, and the package that `make deb` built."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.deb import packages

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    *("bash-completion", "fish", "man-db", "python3-click", "python3-jinja2", "python3-venv", "python3-yaml"),
    *("systemd", "zsh"),
)
"""What the package needs, for the root has no network; and what looks at its units, pages and completion."""
BASE = ROOT / "build" / f"debian-root-{hashlib.sha256(' '.join(NEEDED).encode()).hexdigest()[:8]}.tar"


_OF_FETCHING = re.compile(r"PIP_|\w+_proxy$|SSL_CERT_FILE$", re.IGNORECASE)
"""Where this host's pip has its packages from, and by whose word."""
_HOSTS_OWN = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


class Debian:
    """A root of its own, with its own /proc, in which no service is ever started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    def run(self, *command: str, code: int | None = 0, network: bool = False) -> str:
        """What it says on both streams. `code`: None for any. `network`: it has that of this host."""
        own = ["--mount", "--pid", "--uts", *(() if network else ("--net",))]
        inside = ["unshare", *own, "--fork", f"--mount-proc={self.root}/proc"]
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": "/root",
            "MANPAGER": "cat",
        }
        env["DEBIAN_FRONTEND"] = "noninteractive"
        env |= {name: value for name, value in os.environ.items() if network and _OF_FETCHING.match(name)}
        done = subprocess.run(
            [*inside, "chroot", self.root, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            timeout=300,
            check=False,
        )
        assert code in (None, done.returncode), f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def may_fetch(self) -> None:
        """It finds what this host finds."""
        for name in _HOSTS_OWN:
            if (Path("/") / name).exists():
                target = self.root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copy(Path("/") / name, target)

    def install(self, package: Path) -> None:
        """By dpkg itself, which refuses what needs something that is not there."""
        shutil.copy(package, self.root / "tmp")
        self.run("dpkg", "--force-confold", "--install", f"/tmp/{package.name}")

    def path(self, place: str) -> Path:
        return self.root / place.removeprefix("/")

    def state(self) -> str:
        """What dpkg knows of the package."""
        return self.run("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "windrow", code=None)


@pytest.fixture(scope="session")
def package() -> Path:
    return packages.built()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, ROOT]
    subprocess.run(command, check=True, timeout=600)
    (found,) = place.glob("windrow-*.whl")
    return found


@pytest.fixture(scope="session")
def older(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.older(package, tmp_path_factory.mktemp("older"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of a clean Debian, which nobody changes."""
    if not BASE.exists():
        BASE.parent.mkdir(exist_ok=True)
        new = BASE.with_suffix(".new.tar")
        command = ["mmdebstrap", "--variant=apt", f"--include={','.join(NEEDED)}", "bookworm", new]
        subprocess.run(command, check=True, timeout=1200)
        new.rename(BASE)
    root = tmp_path_factory.mktemp("debian")
    subprocess.run(["tar", "--extract", "--file", BASE, "--directory", root, "--exclude=./dev/*"], check=True)
    yield root
    shutil.rmtree(root)


@contextmanager
def a_debian(base: Path, place: Path) -> Iterator[Debian]:
    """One that may be changed: what is written goes into memory, over the files of the base."""
    mounts = [(["-t", "tmpfs", "tmpfs"], place)]
    upper, work, root = (place / name for name in ("upper", "work", "root"))
    options = f"lowerdir={base},upperdir={upper},workdir={work}"
    mounts.append((["-t", "overlay", "overlay", "-o", options], root))
    mounts += [(["--bind", f"/dev/{device}"], root / "dev" / device) for device in ("null", "zero", "urandom")]
    done: list[Path] = []
    try:
        for words, target in mounts:
            if target.parent.name == "dev":
                target.touch()
            subprocess.run(["mount", *words, target], check=True)
            done.append(target)
            if target == place:
                for directory in (upper, work, root):
                    directory.mkdir()
        (root / "dev/fd").symlink_to("/proc/self/fd")
        yield Debian(root)
    finally:
        for target in reversed(done):
            subprocess.run(["umount", target], check=True)


@pytest.fixture
def debian(base: Path, tmp_path: Path) -> Iterator[Debian]:
    with a_debian(base, tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def installed(base: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """One with the package, to look at."""
    with a_debian(base, tmp_path_factory.mktemp("installed")) as found:
        found.install(package)
        yield found
