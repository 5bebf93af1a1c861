"""All bytecode that a call may load, in one file: looking for each module's own takes longer than loading it.

    magic number    the interpreter's, as in a .pyc: another version's bytecode could crash it
    size            of the index, 4 bytes
    index           modules: name -> (package or not, source, mtime and size of that, where its code is, how long that
                    is); courses: name -> (where, how long)
    code            of this module first, then of the others, then the courses

A course is what loading one module loads before it, in the order in which each is complete, and the module itself at
last. It is executed one after the other, so every import in it finds what it asks for: the import system alone takes as
long for a module as its code.

A module whose source has changed since is loaded from there, as by Python itself (PEP 3147 says the same of a .pyc). So
the file may be old or missing, and a call is only slower. `windrow cni install` writes it.
"""

from __future__ import annotations

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import CodeType, ModuleType
    from typing import Any

    Place = tuple[bool, str, int, int, int, int]
    """Of a module, as the index has it."""
    Index = tuple[dict[str, Place], dict[str, tuple[int, int]]]
    Course = list[tuple[str, CodeType]]

_ROOMS = ("model", "port", "netlink", "services", "store", "apps/cni")
_LIBRARY = (
    *("__future__", "collections", "collections.abc", "contextlib", "dataclasses", "fnmatch", "functools", "json"),
    *("json.decoder", "json.encoder", "json.scanner", "keyword", "operator", "pathlib", "reprlib", "struct", "types"),
    "warnings",
)
"""Of the standard library, what every call loads."""
_COURSES = ("main", "dispatch", "bridge", "meta", "addresses", "definitions", "podinfo", "wanted")
"""Modules of this room that a plain call imports, in this order, each with much before it."""
_SELF = "windrow.apps.cni.bytecode"
_HEAD = 8
BEGIN = """\
import _frozen_importlib_external, marshal, sys
sys.path += {path!r}
try:
    with open({file!r}, "rb") as file:
        if file.read(4) == _frozen_importlib_external.MAGIC_NUMBER:
            index = marshal.loads(file.read(int.from_bytes(file.read(4), "big")))
            own = {{"__name__": {name!r}}}
            exec(marshal.loads(file.read(index[0][{name!r}][-1])), own)
            own["use"]({file!r}, index)
except (OSError, ValueError, TypeError, EOFError, KeyError):
    pass
from windrow.apps.cni.main import main
main()
"""
"""What the interpreter is told to do."""


def begin(path: tuple[str, ...], file: str) -> str:
    """The program of a plugin that works alone. The standard library comes first in `sys.path`, and what is in `file`
    before that."""
    return BEGIN.format(path=list(path), file=file, name=_SELF)


class _Finder:
    """Finds and loads what is in the file."""

    def __init__(self, file: str, index: Index) -> None:
        import posix

        self._fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
        self._modules, self._courses = index
        self._stat, self._pread = posix.stat, posix.pread

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name in self._courses:
            self._follow(*self._courses.pop(name))
        spec = self._spec(name)
        if spec is not None:
            spec.loader_state = sys.modules.get(name)
        return spec

    def _spec(self, name: str) -> Any:
        """None where it is not in the file, or not as its source is."""
        found = self._modules.get(name)
        if found is None:
            return None
        package, source, mtime, size, *_ = found
        try:
            seen = self._stat(source)
        except OSError:
            return None
        if (seen.st_mtime_ns, seen.st_size) != (mtime, size):
            return None
        spec: Any = type(sys.__spec__)(name, self, origin=source, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package:
            spec.submodule_search_locations.append(source.rpartition("/")[0])
        return spec

    def _follow(self, at: int, size: int) -> None:
        """Load a course. What of it cannot be had here whoever imports it gets as usual: one whose source has changed,
        and one that its package loads itself."""
        course: Course = marshal.loads(self._pread(self._fd, size, at))
        modules, module_type = sys.modules, type(sys)
        for name, code in course:
            parent, _, own_name = name.rpartition(".")
            if name in modules or (parent and parent not in modules) or (spec := self._spec(name)) is None:
                continue
            module = modules[name] = module_type(name)
            own = vars(module)
            own["__spec__"], own["__loader__"] = spec, self
            own["__file__"], own["__package__"] = spec.origin, spec.parent
            if spec.submodule_search_locations is not None:
                own["__path__"] = spec.submodule_search_locations
            try:
                exec(code, own)
            except BaseException:
                del modules[name]
                raise
            if parent:
                setattr(modules[parent], own_name, modules[name])

    def create_module(self, spec: Any) -> Any:
        """As usual, unless it came with its course."""
        return spec.loader_state

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None and module.__spec__.loader_state is None:
            *_, at, size = self._modules[module.__name__]
            exec(marshal.loads(self._pread(self._fd, size, at)), vars(module))


def use(file: str, index: Index) -> None:
    """From here on. Raises OSError."""
    sys.meta_path.insert(0, _Finder(file, index))


# Making it ----------------------------------------------------------------------------------------


def collected(package: Path) -> bytes:
    """The file for the Windrow in this directory. Raises OSError, SyntaxError."""
    from importlib.util import MAGIC_NUMBER

    sources = [package / "__init__.py", package / "apps/__init__.py"]
    sources += sorted(source for room in _ROOMS for source in (package / room).glob("*.py"))
    named = {_module(package, source): source for source in sources} | _library()
    names = sorted(named, key=lambda name: name != _SELF)
    codes = {name: _code(named[name]) for name in names}
    data = {name: marshal.dumps(code) for name, code in codes.items()}
    courses = {
        name: marshal.dumps([(one, codes[one]) for one in course]) for name, course in _courses(package, codes).items()
    }
    modules: dict[str, Place] = {}
    places: dict[str, tuple[int, int]] = {}

    def indexed(start: int) -> bytes:
        for name in names:
            seen, source = named[name].stat(), named[name]
            is_package = source.name == "__init__.py"
            modules[name] = (is_package, str(source), seen.st_mtime_ns, seen.st_size, start, len(data[name]))
            start += len(data[name])
        for name, course in courses.items():
            places[name] = start, len(course)
            start += len(course)
        return marshal.dumps((modules, places), 0)  # without references, its size depends on the values alone

    size = len(indexed(0))
    index = indexed(_HEAD + size)
    return MAGIC_NUMBER + size.to_bytes(4, "big") + index + b"".join((*data.values(), *courses.values()))


def _courses(package: Path, known: Iterable[str]) -> dict[str, list[str]]:
    """What is loaded for each of `_COURSES`, as a Python says that does it (`-X importtime` names a module when it is
    complete). Empty where it cannot be found out: then each module is loaded by itself."""
    import subprocess

    wanted = [f"{_SELF.rpartition('.')[0]}.{name}" for name in _COURSES]
    program = f"import sys\nsys.path += {[str(package.parent)]!r}\nfrom {wanted[0]} import early\nearly.spare()\n"
    argv = [sys.executable, "-IBS", "-X", "importtime", "-c", program + f"import {', '.join(wanted)}\n"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    there, found, course = set(known), {}, list[str]()
    for line in done.stderr.splitlines():
        name = line.rpartition("|")[2].strip()
        course += [name] if name in there else []
        if name in wanted:
            found[name], course = course, []
    return found if done.returncode == 0 else {}


def _library() -> dict[str, Path]:
    """Name -> source; without those that this Python has in itself."""
    from importlib.util import find_spec
    from pathlib import Path

    origins = {name: spec.origin for name in _LIBRARY if (spec := find_spec(name)) is not None}
    return {name: Path(origin) for name, origin in origins.items() if origin and origin.endswith(".py")}


def _module(package: Path, source: Path) -> str:
    parts = source.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _code(source: Path) -> CodeType:
    """Without docstrings, which no call reads."""
    import ast

    tree = ast.parse(source.read_bytes(), str(source))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in (one for one in ast.walk(tree) if isinstance(one, documented)):
        if ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if node.body[1:] else [ast.copy_location(ast.Pass(), node.body[0])]
    code: CodeType = compile(tree, str(source), "exec", dont_inherit=True)
    return code
