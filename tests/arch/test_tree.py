"""The tree as it is committed: no addresses of registries, no paths of one machine, no loose pins, no dead links."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from windrow.apps.cli.lab import FORWARDED

ROOT = Path(__file__).resolve().parents[2]


def committed() -> list[Path]:
    """What git has, and what it would take: new files count before they are committed."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in files if path.is_file()]


def texts() -> list[tuple[Path, str]]:
    found = [(path, path.read_bytes()) for path in committed()]
    return [(path, data.decode(errors="replace")) for path, data in found if b"\0" not in data]


# Each is written in two parts, so that this file does not hold what it looks for.
FORBIDDEN = {
    "registry": [
        "pypi" + r"\.org",
        "python" + "hosted",
        "npm" + r"js\.(org|com)",
        "(deb|ftp|security)" + r"\.debian\.org",
        "index" + "-url",
        "find" + "-links",
        r"proxy\." + "golang",
    ],
    "machine": [
        "(?<![a-z0-9_.-])/work" + "/",
        "/root" + r"/\.",
        "/home" + "/[a-z]+/",
        "/opt" + "/(pypi|wheels)",
        "pyenv" + "/versions",
        "/tmp" + "/brief",
    ],
}


@pytest.mark.parametrize("kind", sorted(FORBIDDEN))
def test_no_address_and_no_path_of_one_place(kind: str) -> None:
    pattern = re.compile("|".join(FORBIDDEN[kind]))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    hosts, paths = ("|".join(FORBIDDEN[kind]) for kind in ("registry", "machine"))
    assert re.search(hosts, "https://pypi" + ".org/simple")
    assert re.search(paths, "see /work" + "/main/x")
    assert not re.search(paths, "src/network/work" + "/x")


def test_every_dependency_is_pinned_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "runtime": project["project"]["dependencies"],
        "dev": project["project"]["dependencies"] + project["dependency-groups"]["dev"],
        "release": project["dependency-groups"]["release"],
    }
    for file, requirements in wanted.items():
        text = (ROOT / "requirements" / f"{file}.txt").read_text()
        entries = re.findall(r"^(\S+)==\S+((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE)
        pinned = {name for name, _ in entries}
        names = {re.split(r"[<>=~! \[]", r)[0].lower().replace("_", "-") for r in requirements}
        assert names <= pinned
        assert len(entries) == text.count("=="), f"requirements/{file}.txt has a line that is not a pin with hashes"


def test_the_backend_that_builds_is_pinned_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["dev"])


def test_links_between_our_pages_lead_somewhere() -> None:
    dead = []
    for path, text in texts():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            file = target.partition("#")[0]
            if file and "://" not in target and not (path.parent / file).exists():
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert dead == []


IN_THE_LAB = ("agent", "cni", "kernel", "lab", "qemu")
"""The directories whose tests run in a lab kernel, as `scripts/check` has it."""
GIVEN = {"WINDROW_LAB"}
"""Set by `windrow lab test` itself."""
READ = re.compile(
    r"""environ(?:\.get\(|\[)["'](WINDROW_\w+)["'](?!\]\s*=)|^VARIABLE = "(WINDROW_\w+)\"""", re.MULTILINE
)


def test_what_tests_in_the_lab_kernel_read_of_the_environment_reaches_them() -> None:
    read = {
        one or other
        for directory in IN_THE_LAB
        for path in sorted((ROOT / "tests" / directory).rglob("*.py"))
        for one, other in READ.findall(path.read_text())
    }
    assert read - GIVEN == {name for name in FORWARDED if name.startswith("WINDROW_")}
