"""What import-linter cannot see: each room says what may not live in it, has its door, and keeps its habits."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import windrow

SOURCE = Path(windrow.__file__).parent
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
PURE = ("compile", "frames", "model", "plan", "policy", "port", "render", "rules", "status")
LONGEST_FUNCTION = 60

DOORS = {
    "windrow.apps.cli.main": ("main",),
    "windrow.apps.engine": ("converge", "execute", "look", "plan_node"),
    "windrow.compile.facts": ("node_facts",),
    "windrow.compile.node": ("compile_node",),
    "windrow.model.wire": ("dump", "load_documents"),
    "windrow.netlink.errors": ("KernelError",),
    "windrow.netlink.kernel": ("Kernel",),
    "windrow.plan.normal": ("normalise",),
    "windrow.plan.planner": ("make_plan",),
    "windrow.rules": ("check",),
    "windrow.store.directory": ("Store",),
    "windrow.store.paths": ("Paths",),
    "windrow.testing.fake": ("FakeKernel",),
}
"""By which names the rooms know each other (docs/architecture.md): renaming one is a decision, not an accident."""


def modules(*rooms: str) -> list[Path]:
    found = [path for room in rooms for path in sorted((SOURCE / room).rglob("*.py"))]
    assert found, f"no modules in {rooms}"
    return found


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def place(path: Path, node: ast.stmt) -> str:
    return f"{path.relative_to(SOURCE)}:{node.lineno}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_first_what_may_not_live_in_it(room: str) -> None:
    text = ast.get_docstring(tree(SOURCE / room / "__init__.py")) or ""
    start = " ".join(text.splitlines()[:3])
    assert re.search(r"\b(no|not|never|nothing|nobody|nowhere|only|cannot)\b", start, re.IGNORECASE), (
        f"windrow.{room}: the first lines of its docstring must say what may not live there; they are: {start!r}"
    )


@pytest.mark.parametrize("module", sorted(DOORS))
def test_the_doors_between_the_rooms(module: str) -> None:
    loaded = importlib.import_module(module)
    missing = [name for name in DOORS[module] if not callable(getattr(loaded, name, None))]
    assert not missing, f"{module} has no {', '.join(missing)}"


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_exports_is_there(room: str) -> None:
    """A name imported in `__init__.py` for others to use stands in `__all__`, and `__all__` holds no other."""
    path = SOURCE / room / "__init__.py"
    imported = {
        alias.asname or alias.name
        for node in tree(path).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    exported = set(getattr(importlib.import_module(f"windrow.{room}"), "__all__", ()))
    assert {name for name in imported if not name.startswith("_")} <= exported
    loaded = importlib.import_module(f"windrow.{room}")
    assert [name for name in sorted(exported) if not hasattr(loaded, name)] == []


def test_every_module_has_a_docstring() -> None:
    assert [str(p.relative_to(SOURCE)) for p in sorted(SOURCE.rglob("*.py")) if not ast.get_docstring(tree(p))] == []


def test_values_are_frozen_and_slotted() -> None:
    """Every dataclass of a pure room; a value that changes under its reader is no value.

    One that keeps an index (`cached_property`) needs a `__dict__` for it, so it cannot be slotted.
    """
    loose = [
        place(path, node)
        for path in modules(*PURE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if re.match(r"(dataclasses\.)?dataclass\b", ast.unparse(decorator))
        and not wanted_options(node) <= set(re.findall(r"\w+=\w+", ast.unparse(decorator)))
    ]
    assert loose == []


def wanted_options(node: ast.ClassDef) -> set[str]:
    keeps_an_index = any(
        isinstance(part, ast.FunctionDef) and "cached_property" in map(ast.unparse, part.decorator_list)
        for part in node.body
    )
    return {"frozen=True"} if keeps_an_index else {"frozen=True", "slots=True"}


def needed(node: ast.ClassDef) -> set[str]:
    indexed = any(
        isinstance(part, ast.FunctionDef) and "cached_property" in map(ast.unparse, part.decorator_list)
        for part in node.body
    )
    return {"frozen=True"} if indexed else {"frozen=True", "slots=True"}


def test_functions_can_be_read_without_scrolling() -> None:
    long = [
        f"{place(path, node)} {node.name}: {lines} lines"
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := length(node)) > LONGEST_FUNCTION
    ]
    assert long == [], "\n".join(long)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring not counted."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines
