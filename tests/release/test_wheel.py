"""What `make release` puts into dist, installed where there is nothing else, and used away from the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from windrow import __version__

ROOT = Path(__file__).resolve().parents[2]
WHEEL = ROOT / "dist" / f"windrow-{__version__}-py3-none-any.whl"
SOURCE = ROOT / "dist" / f"windrow-{__version__}.tar.gz"


def pip(python: Path, *words: str | Path) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", *words, "--quiet"]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of an empty environment that has been given the wheel."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin/python"
    pip(python, "install", "--only-binary=:all:", "--require-hashes", "-r", ROOT / "requirements/runtime.txt")
    pip(python, "install", "--no-deps", "--no-index", WHEEL)
    return place / "bin"


def run(installed: Path, *words: str, home: Path) -> str:
    """Away from the tree, by a user with an empty home."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [installed / "windrow", *words], cwd=home, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_has_every_file_of_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files", "src/windrow"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    wanted = {name.removeprefix("src/") for name in listed.stdout.split()}
    with zipfile.ZipFile(WHEEL) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == wanted


def test_the_source_makes_the_same_wheel(tmp_path: Path) -> None:
    subprocess.run(["tar", "--extract", "--file", SOURCE, "--directory", tmp_path], check=True)
    (tree,) = tmp_path.iterdir()
    words = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, tree)
    pip(Path(sys.executable), *words)
    with zipfile.ZipFile(WHEEL) as ours, zipfile.ZipFile(tmp_path / WHEEL.name) as other:
        assert {one.filename: one.CRC for one in ours.infolist()} == {one.filename: one.CRC for one in other.infolist()}


def test_what_it_says_of_itself(installed: Path, tmp_path: Path) -> None:
    assert f"windrow {__version__}" in run(installed, "version", home=tmp_path)
    assert "seed-links" in run(installed, "lab", "list", home=tmp_path)
    assert "ClusterNetwork" in run(installed, "crds", home=tmp_path)


def test_a_lab_comes_up_away_from_the_tree(installed: Path, tmp_path: Path) -> None:
    said = run(installed, "lab", "run", "seed-links", "--no-picture", "--json", home=tmp_path)
    assert '"ok": true' in said
