"""All bytecode that a call may load, in one file: looking for each module's own takes longer than loading it.

    magic number    the interpreter's, as in a .pyc: another version's bytecode could crash it
    size            of the index, 4 bytes
    index           name -> (package or not, source, mtime and size of that, where its code is, how long that is)
    code            of this module first, then of the others

A module whose source has changed since is loaded from there, as by Python itself (PEP 3147 says the same of a .pyc). So
the file may be old or missing, and a call is only slower. `windrow cni install` writes it.
"""

from __future__ import annotations

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType
    from typing import Any

_ROOMS = ("model", "port", "netlink", "services", "store", "apps/cni")
_LIBRARY = (
    *("__future__", "collections", "collections.abc", "contextlib", "dataclasses", "fnmatch", "functools", "json"),
    *("json.decoder", "json.encoder", "json.scanner", "keyword", "operator", "pathlib", "reprlib", "struct", "types"),
    "warnings",
)
"""Of the standard library, what every call loads."""
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
            exec(marshal.loads(file.read(index[{name!r}][-1])), own)
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

    def __init__(self, file: str, index: dict[str, tuple[bool, str, int, int, int, int]]) -> None:
        import posix

        self._fd, self._index = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC), index
        self._stat, self._pread = posix.stat, posix.pread

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        found = self._index.get(name)
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

    def create_module(self, spec: object) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        *_, at, size = self._index[module.__name__]
        exec(marshal.loads(self._pread(self._fd, size, at)), vars(module))


def use(file: str, index: dict[str, tuple[bool, str, int, int, int, int]]) -> None:
    """From here on. Raises OSError."""
    sys.meta_path.insert(0, _Finder(file, index))


def collected(package: Path) -> bytes:
    """The file for the Windrow in this directory. Raises OSError, SyntaxError."""
    from importlib.util import MAGIC_NUMBER

    sources = [package / "__init__.py", package / "apps/__init__.py"]
    sources += sorted(source for room in _ROOMS for source in (package / room).glob("*.py"))
    named = {_module(package, source): source for source in sources} | _library()
    codes = {name: (named[name], _code(named[name])) for name in sorted(named, key=lambda name: name != _SELF)}
    index: dict[str, tuple[bool, str, int, int, int, int]] = {}

    def indexed(start: int) -> bytes:
        for name, (source, code) in codes.items():
            seen = source.stat()
            is_package = source.name == "__init__.py"
            index[name] = (is_package, str(source), seen.st_mtime_ns, seen.st_size, start, len(code))
            start += len(code)
        return marshal.dumps(index, 0)  # without references, its size depends on nothing but the values

    size = len(indexed(0))
    data = indexed(_HEAD + size)
    return MAGIC_NUMBER + size.to_bytes(4, "big") + data + b"".join(code for _, code in codes.values())


def _library() -> dict[str, Path]:
    """Name -> source; without those that this Python has in itself."""
    from importlib.util import find_spec
    from pathlib import Path

    origins = {name: spec.origin for name in _LIBRARY if (spec := find_spec(name)) is not None}
    return {name: Path(origin) for name, origin in origins.items() if origin and origin.endswith(".py")}


def _module(package: Path, source: Path) -> str:
    parts = source.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _code(source: Path) -> bytes:
    return marshal.dumps(compile(source.read_bytes(), str(source), "exec", dont_inherit=True))
