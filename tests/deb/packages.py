"""The package that `make deb` built, and one that would have been there before it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDER = "0.0.9-1"


def built() -> Path:
    found = sorted((ROOT / "dist").glob("windrow_*_all.deb"))
    assert len(found) == 1, "`make deb` builds the package"
    return found[0]


def older(package: Path, work: Path) -> Path:
    """The same, as a version before it would be: another number, another text of the settings, a file that is gone."""
    tree = work / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text("".join(f"Version: {OLDER}\n" if line.startswith("Version:") else line for line in lines))
    settings = tree / "etc/default/windrow"
    settings.write_text(settings.read_text().replace("Options of", "Words for"))
    (tree / "usr/lib/python3/dist-packages/windrow/gone.py").write_text("")
    place = work / f"windrow_{OLDER}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, place], check=True, stdout=subprocess.DEVNULL)
    return place
