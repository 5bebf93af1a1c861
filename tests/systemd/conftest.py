"""A Debian and its switch, and what is brought to it on a second disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.deb import packages
from tests.systemd.computers import BUILT, Debian, Switch, cables

HOSTS = Path(__file__).parent / "hosts"


@dataclass(frozen=True)
class Site:
    debian: Debian
    switch: Switch


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is at /mnt: a checkout's `dist`, as its reader has it; `older`, a package of before; `hosts`; `compiled`."""
    if not (BUILT / "ready").exists():
        pytest.fail(f"there is no Debian in {BUILT}: `make test-systemd` makes one")
    files = tmp_path_factory.mktemp("disk")
    package = packages.built()
    for name in ("dist", "older"):
        (files / name).mkdir()
    shutil.copy(package, files / "dist")
    shutil.copy(packages.older(package, tmp_path_factory.mktemp("older")), files / "older")
    shutil.copytree(HOSTS, files / "hosts")
    compiled(package, files / "compiled", tmp_path_factory.mktemp("tree"))
    image = files.with_suffix(".img")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", files, image, "64M"], check=True)
    return image


def compiled(package: Path, place: Path, tree: Path) -> None:
    """Its bytecode, which the package's postinst makes, and which takes long in software: where it is there, py3compile
    has nothing to do. That of another Python is passed over."""
    subprocess.run(["dpkg-deb", "--extract", package, tree], check=True)
    below = Path("usr/lib/python3/dist-packages")
    made = ["/usr/bin/python3", "-m", "compileall", "-q", "-s", tree, "-p", "/", tree / below]
    subprocess.run(made, check=True)
    for directory in (tree / below).rglob("__pycache__"):
        shutil.copytree(directory, place / directory.relative_to(tree))


@pytest.fixture(scope="module")
def start(disk: Path) -> Iterator[Callable[[], Site]]:
    """Turns both computers on; what ran before is off then."""
    with ExitStack() as running:

        def turned_on() -> Site:
            running.close()
            here, there = cables()
            switch = running.enter_context(closing(Switch(there)))
            debian = running.enter_context(closing(Debian(here, disk)))
            switch.in_vlan(1, "10.0.0.1/24")
            switch.in_vlan(100, "10.100.0.1/24")
            return Site(debian, switch)

        yield turned_on
