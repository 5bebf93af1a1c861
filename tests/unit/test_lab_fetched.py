"""`windrow lab setup`: kernels in the user's cache, by an apt-get that is played."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from windrow.lab.errors import LabError
from windrow.lab.kernel import fetched
from windrow.lab.kernel.machine import environment
from windrow.lab.vm import image
from windrow.services import usercache

DEPENDS = "linux-image-cloud-x\n  Depends: linux-image-{release}-cloud-x\n"


class Apt:
    """apt-cache, apt-get and dpkg-deb, as programs on the PATH."""

    def __init__(self, place: Path) -> None:
        self.place, self.calls = place, place / "calls"
        place.mkdir()
        self.offer("6.1.0-1")
        self.program("apt-get", f'echo "$@" >>{self.calls}; touch "$2.deb"')
        self.program("dpkg-deb", 'mkdir -p "$3/boot"; basename "$2" >"$3/boot/vmlinuz"')

    def program(self, name: str, text: str) -> None:
        (self.place / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.place / name).chmod(0o755)

    def offer(self, release: str) -> None:
        self.program("apt-cache", f"printf '%s' '{DEPENDS.format(release=release)}'")

    def downloads(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    found = Apt(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.place}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(image.ENVIRONMENT, raising=False)
    monkeypatch.setattr(image, "CHECKOUT", tmp_path / "no-checkout")
    return found


def prepare(package: Path, target: Path) -> str:
    (target / "kernel").write_text((package / "boot/vmlinuz").read_text())
    (target / "modules").mkdir()
    (target / "modules.dep").touch()
    (target / "release").write_text("6.1.0\n")
    return "6.1.0"


KERNEL = fetched.Wanted(
    what=image.CACHE, title="a kernel", packages={os.uname().machine: "linux-image-cloud-x"}, prepare=prepare
)


def test_it_is_fetched_once_and_found_by_the_lab(apt: Apt, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no kernel for virtual machines") as caught:
        image.find()
    assert "windrow lab setup" in caught.value.hint
    said: list[str] = []
    place = fetched.fetch(KERNEL, said.append)
    assert place == tmp_path / "cache/windrow/guest" and place.stat().st_mode & 0o777 == 0o700
    assert image.find().release == "6.1.0"
    assert environment() == {image.ENVIRONMENT: str(place)}
    fetched.fetch(KERNEL, said.append)
    assert apt.downloads() == ["download linux-image-6.1.0-1-cloud-x"]
    assert said[-1] == "a kernel: linux-image-6.1.0-1-cloud-x is there already"


def test_a_newer_one_takes_its_place_and_leaves_nothing(apt: Apt, tmp_path: Path) -> None:
    place = fetched.fetch(KERNEL, lambda _: None)
    (place / "leftover").touch()
    apt.offer("6.1.0-2")
    assert fetched.fetch(KERNEL, lambda _: None) == place
    assert (place / "kernel").read_text() == "linux-image-6.1.0-2-cloud-x.deb\n"
    assert not (place / "leftover").exists()
    assert [path.name for path in place.parent.iterdir()] == ["guest"]


def test_one_that_cannot_be_fetched_leaves_the_one_that_is_there(apt: Apt, tmp_path: Path) -> None:
    place = fetched.fetch(KERNEL, lambda _: None)
    apt.offer("6.1.0-2")
    apt.program("apt-get", "echo 'E: no network' >&2; exit 100")
    with pytest.raises(LabError, match="apt-get download failed: E: no network"):
        fetched.fetch(KERNEL, lambda _: None)
    assert image.find().kernel.read_text() == "linux-image-6.1.0-1-cloud-x.deb\n"
    assert [path.name for path in place.parent.iterdir()] == ["guest"]


def test_what_apt_does_not_know_is_told(apt: Apt) -> None:
    apt.program("apt-cache", "true")
    with pytest.raises(LabError, match="apt knows no linux-image-cloud-x"):
        fetched.fetch(KERNEL, lambda _: None)


def test_elsewhere_than_on_debian(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="there is no apt-get here"):
        fetched.fetch(KERNEL, lambda _: None)


def test_a_processor_for_which_there_is_none(apt: Apt) -> None:
    other = fetched.Wanted(what="x", title="a kernel", packages={"vax": "linux-image-vax"}, prepare=prepare)
    with pytest.raises(LabError, match=f"a kernel: Windrow knows no package of it for {os.uname().machine}"):
        fetched.fetch(other, lambda _: None)


def test_somebody_elses_directory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in it is started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WINDROW_X", raising=False)
    place = tmp_path / "windrow/x"
    place.mkdir(parents=True)
    place.chmod(0o777)
    assert usercache.chosen("WINDROW_X", tmp_path / "none", "x") is None
    place.chmod(0o700)
    assert usercache.chosen("WINDROW_X", tmp_path / "none", "x") == place
    assert usercache.chosen("WINDROW_X", tmp_path, "x") == tmp_path
    monkeypatch.setenv("WINDROW_X", "/named")
    assert usercache.chosen("WINDROW_X", tmp_path, "x") == Path("/named")
