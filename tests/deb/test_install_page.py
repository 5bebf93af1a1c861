"""A reader follows docs/user/install.md in a clean Debian, with the checkout's package beside him, to the purge. Run by
`make test-deb`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.deb.conftest import a_debian
from tests.docs.blocks import all_blocks

PLACE = "a clean Debian"
BUILT = "make deb"
"""Of the checkout, not of this host: `make test-deb` has done it."""
YES = 'APT::Get::Assume-Yes "true";\n'
"""What a reader answers."""


def test_a_reader_installs_and_removes_it(base: Path, package: Path, tmp_path: Path) -> None:
    commands = [command for block in all_blocks() if block.said("tried on:") == PLACE for command in block.commands]
    assert [c.text for c in commands if c.prompt == "$"] == [BUILT]
    typed = [c.text for c in commands if c.prompt == "#"]
    assert [text.split()[1] for text in typed] == ["install", "remove", "purge"]
    states = []
    with a_debian(base, tmp_path) as debian:
        (debian.root / "dist").mkdir()
        shutil.copy(package, debian.root / "dist")
        (debian.root / "etc/apt/apt.conf.d/yes").write_text(YES)
        for text in typed:
            debian.run("sh", "-c", text)
            states.append(debian.state())
            programs = {name for name in ("windrow", "kubectl-windrow", "windrow-cni") if _is_there(debian.root, name)}
            assert len(programs) == (3 if "install" in text else 0)
        assert not debian.path("/etc/default/windrow").exists()
    assert [state.split()[0] for state in states[:2]] == ["installed", "config-files"]
    assert "no packages found" in states[2]


def test_a_reader_makes_an_environment_of_its_own(base: Path, wheel: Path, tmp_path: Path) -> None:
    """With the checkout's Windrow, where the page has it from an index; all else comes from there."""
    blocks = [block for block in all_blocks() if block.said("tried on:") == f"{PLACE} with its network"]
    typed = [command.text for block in blocks for command in block.commands]
    with a_debian(base, tmp_path) as debian:
        debian.may_fetch()
        shutil.copy(wheel, debian.root / "srv")
        for text in typed:
            text = text.replace("pip install windrow", f"pip install /srv/{wheel.name}")
            print(debian.run("bash", "-c", text, network=True))
        assert debian.run("/usr/local/bin/windrow", "--version").strip()
        assert debian.path("/etc/systemd/system/windrow-agent.service").exists()
        assert {path.name for path in debian.path("/opt/cni/bin").iterdir()} >= {"windrow", "windrow-bridge"}


def _is_there(root: Path, name: str) -> bool:
    return any((root / place / name).exists() for place in ("usr/bin", "usr/sbin"))
