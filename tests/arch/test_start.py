"""Starting is dear where kernels are slow: what an entry point must not load, and that it hardly compiles anything.

Counted, not timed; `make bench` has the times.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import windrow

SOURCE = Path(windrow.__file__).parent
ENTRIES = {
    "windrow.apps.cni.main": "the CNI plugin, once for each call",
    "windrow.apps.cli.main": "`windrow --help`",
    "windrow.apps.cli.plan": "`windrow plan`",
    "windrow.apps.cli.status": "`windrow status`",
    "windrow.apps.agent.main": "the agent",
    "windrow.apps.labguest": "the lab's guest",
}

NOWHERE = {
    "asyncio",
    "concurrent.futures",  # loads logging
    "decimal",
    "difflib",
    "email",
    "fractions",  # loads decimal
    "http",
    "httpx2",
    "importlib.metadata",
    "lightkube",
    "logging",
    "ssl",
    "tempfile",
    "unittest",
    "urllib.request",  # loads http, email and ssl; xml.sax.saxutils loads it
    "windrow.kube",
    "windrow.render.topology_svg",
    "windrow.testing",
    "xml",
}
CRYPTOGRAPHY = {"_hashlib", "random", "secrets"}
OUR_ROOMS = {f"windrow.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")}
NOT_THERE = {
    "windrow.apps.cni.main": {"dataclasses", "inspect", "json", "socket", *OUR_ROOMS}
    - {"windrow.apps", "windrow.model"},
    "windrow.apps.cli.main": {"ctypes", "json", "socket", "subprocess", "yaml", *OUR_ROOMS}
    - {"windrow.apps", "windrow.model", "windrow.render"},
    "windrow.apps.cli.plan": {"ctypes", "socket", "subprocess", "windrow.lab", "windrow.apps.safe", *CRYPTOGRAPHY},
    "windrow.apps.cli.status": {"ctypes", "socket", "subprocess", "windrow.lab", "windrow.apps.safe", *CRYPTOGRAPHY},
    "windrow.apps.agent.main": {"click", "windrow.lab"},
    "windrow.apps.labguest": {"click", "gzip", "windrow.lab.vm.image", "windrow.apps.agent", *CRYPTOGRAPHY},
}

COMPILED_AT_MOST = 150
"""`compile` and `exec` of a text: named tuples, what libraries do, and the methods of the few values that tables at
the top of modules are made of. With the standard library's value classes it was 1,280 for the lab's guest."""

LOOK = """
import sys
compiled = 0
def hook(event, _):
    global compiled
    compiled += event == "compile"
sys.addaudithook(hook)
import {entry}
print(compiled, *sys.modules)
"""


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture(scope="module", params=sorted(ENTRIES), ids=str)
def started(request: pytest.FixtureRequest, bytecode: Path) -> tuple[str, set[str], int]:
    """The entry, the modules that are loaded for it, and how many texts are compiled: once all bytecode is there."""
    command = [sys.executable, "-I", "-X", f"pycache_prefix={bytecode}", "-c", LOOK.format(entry=request.param)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    compiled, *modules = done.stdout.split()
    return request.param, set(modules), int(compiled)


def test_nothing_is_loaded_that_is_not_needed(started: tuple[str, set[str], int]) -> None:
    entry, modules, _ = started
    assert entry in modules
    loaded = sorted(modules & (NOWHERE | NOT_THERE[entry]))
    assert not loaded, (
        f"{ENTRIES[entry]} loads {', '.join(loaded)} when it starts; import it in the function that needs it "
        f"(who imports it: python -X importtime -c 'import {entry}')"
    )


def test_hardly_anything_is_compiled(started: tuple[str, set[str], int]) -> None:
    entry, _, compiled = started
    assert compiled <= COMPILED_AT_MOST, f"{ENTRIES[entry]} compiles {compiled} texts when it starts"


def test_value_classes_are_the_late_ones() -> None:
    """Where a class is frozen and slotted, `dataclass` is that of `windrow.model.lazy`."""
    eager = [
        str(path.relative_to(SOURCE))
        for path in sorted(SOURCE.rglob("*.py"))
        if re.search(r"^ *@dataclass\(.*frozen=True, slots=True", text := path.read_text(), re.MULTILINE)
        and any(
            isinstance(node, ast.ImportFrom)
            and node.module == "dataclasses"
            and any(alias.name == "dataclass" for alias in node.names)
            for node in ast.parse(text).body
        )
    ]
    assert eager == [], "write `from windrow.model.lazy import dataclass` there (docs/adr/0015-lazy-values.md)"
