"""Puts the plugins where container runtimes look for them, and takes them away again.

What is installed is small: a compiled shim (`shim.c`) or a Python launcher, that hands the call to a server or starts
the Python that does it. It names the interpreter and the places of the modules by their real paths: a runtime has no
virtual environment, and a `python3` on its PATH may be anything.

Nothing that is not ours is overwritten. With `replace`, the reference's `bridge` is kept as `bridge.orig`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from windrow import __version__
from windrow.apps.cni import bytecode
from windrow.model.lazy import dataclass
from windrow.model.problems import WindrowError
from windrow.services import compiler
from windrow.store import records
from windrow.store.paths import Paths

BRIDGE, META = "windrow-bridge", "windrow"
NAMES = (BRIDGE, META)
REPLACED = "bridge"
CONFLIST = "00-windrow.conflist"
"""Runtimes that know one network take the first by name."""
COMPILING = (
    (
        *("-DFREESTANDING", "-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie"),
        *("-fno-stack-protector", "-fno-builtin", "-fno-tree-loop-distribute-patterns"),
    ),
    ("-static",),
    (),
)
"""Ways to compile the shim; the first that works is taken. The first starts in half the time of the second, that one
in two thirds of the third's."""

_SOURCE = Path(__file__).with_name("shim.c")
_LAUNCHER = Path(__file__).with_name("launcher.py")
_MARK = re.compile(rb"windrow-cni-plugin ([0-9][\w.+-]*) (compiled|launcher)")
_LARGEST = 4 * 1024 * 1024
_SHEBANG_MAX = 250
"""`BINPRM_BUF_SIZE` is 256, the two characters and the option included."""

DEFAULT_CONFLIST: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
    "name": "windrow",
    "plugins": [
        {
            "type": META,
            "capabilities": {
                "portMappings": True,
                "bandwidth": True,
                "ips": True,
                "mac": True,
                "io.kubernetes.cri.pod-annotations": True,
            },
        }
    ],
}
"""A runtime that knows specification 1.1.0 chooses from `cniVersions`; an older one reads `cniVersion`."""
KUBERNETES = "kubernetes"
OF_A_CLUSTER: dict[str, Any] = {
    KUBERNETES: True,
    "pluginTypes": [
        *(REPLACED, BRIDGE, "macvlan", "ipvlan", "vlan", "ptp"),
        *("tuning", "portmap", "bandwidth", "sbr", "vrf"),
        *("host-local", "static", "dhcp", "whereabouts"),
    ],
}
"""What it has besides where the pods are a cluster's. Left out of the reference's types are `host-device`, which takes
a NIC away from the host, `loopback`, `dummy`, `tap`, and `firewall`, which is for default networks."""


class InstallError(WindrowError):
    """What is in the way, or what the disk refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a plugin must know of the Windrow that installed it. `root`, `node`: empty for the usual ones."""

    root: str = ""
    node: str = ""
    python: str = field(default_factory=lambda: os.path.realpath(sys.executable))
    path: tuple[str, ...] = field(default_factory=lambda: module_path())
    bytecode: str = ""
    """The file of `bytecode`; it need not be there."""

    @property
    def program(self) -> str:
        """What the shim gives to `python -IS -c`."""
        return bytecode.begin(self.path, self.bytecode)


def module_path() -> tuple[str, ...]:
    """The directories of Windrow and of the only thing that a plugin may need besides, PyYAML. Real paths."""
    found = []
    for name in ("windrow", "yaml"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise InstallError(f"cannot say where the Python package {name} is")
        found.append(os.path.realpath(Path(spec.origin).parent.parent))
    return tuple(dict.fromkeys(found))


# The executables ----------------------------------------------------------------------------------


def build_shim(target: Path, origin: Origin) -> str:
    """Compile the shim to `target`; empty, or why it could not be done."""
    values = {"ROOT": origin.root, "NODE": origin.node, "PYTHON": origin.python, "PROGRAM": origin.program}
    try:
        compiler.compile_c(_SOURCE, target, COMPILING, values | {"VERSION": __version__})
    except compiler.CompileError as error:
        return f"{error.program}: {error.reason}"
    return ""


def launcher_text(origin: Origin) -> str:
    """The Python launcher. Raises InstallError where the kernel could not start its interpreter."""
    shebang = f"#!{origin.python} -IS"
    if len(os.fsencode(shebang)) > _SHEBANG_MAX or any(c.isspace() for c in origin.python):
        raise InstallError(
            f"a script cannot name {origin.python} in its first line: its path is too long, or has a blank"
        )
    text = _LAUNCHER.read_text(encoding="utf-8")
    for old, new in (
        ('MARK = "windrow-cni-plugin 0 launcher"', f'MARK = "windrow-cni-plugin {__version__} launcher"'),
        ('ROOT = ""', f"ROOT = {origin.root!r}"),
        ('NODE = ""', f"NODE = {origin.node!r}"),
        ("PATH: list[str] = []", f"PATH: list[str] = {list(origin.path)!r}"),
        ('PROGRAM = ""', f"PROGRAM = {origin.program!r}"),
    ):
        assert text.count(f"\n{old}\n") == 1, old
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    return f"{shebang}\n{text}"


def executable(origin: Origin, *, compiled: bool = True) -> tuple[bytes, str]:
    """The bytes of a plugin, and what to say about them."""
    why = "as asked"
    if compiled:
        with tempfile.TemporaryDirectory(prefix="windrow-cni-") as work:
            shim = Path(work) / "shim"
            why = build_shim(shim, origin)
            if not why:
                return shim.read_bytes(), "compiled"
    return launcher_text(origin).encode(), f"Python launcher: {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin of ours that was found; `kind`: compiled or launcher."""

    path: Path
    version: str
    kind: str


def found_plugin(path: Path) -> Plugin | None:
    """What is at `path`, if it is ours."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        match = _MARK.search(path.read_bytes())
    except OSError:
        return None
    return Plugin(path=path, version=match[1].decode(), kind=match[2].decode()) if match else None


# Into a directory ---------------------------------------------------------------------------------


def install(
    paths: Paths,
    origin: Origin,
    bin_dir: Path,
    *,
    conf_dir: Path | None = None,
    replace: bool = False,
    with_multus: bool = False,
    compiled: bool = True,
) -> list[str]:
    """What was done, in lines. Everything that could be in the way is looked at first. `with_multus`: only the plugin
    that Multus calls, for it is what a runtime calls. Raises InstallError."""
    bin_dir = bin_dir.absolute()
    ours = [BRIDGE] if with_multus else list(NAMES)
    names = [*ours, REPLACED] if replace else ours
    for name in ours:
        path = bin_dir / name
        if os.path.lexists(path) and found_plugin(path) is None:
            raise InstallError(
                f"{path} is there and is not Windrow's plugin: move it away, or choose another directory"
            )
    if conf_dir:
        conf_dir = conf_dir.absolute()
        _look_at_conflist(conf_dir / CONFLIST)
    origin = _with_bytecode(paths, origin)
    data, kind = executable(origin, compiled=compiled)
    said = []
    with _explained(bin_dir):
        records.make_place(bin_dir)
        for name in names:
            said += _put(bin_dir / name, data, kind)
    if conf_dir:
        with _explained(conf_dir):
            said.append(_put_conflist(conf_dir / CONFLIST))
    _remember(paths, bin_dir, conf_dir)
    return said


def _with_bytecode(paths: Paths, origin: Origin) -> Origin:
    """Written anew, whatever is there. Raises InstallError."""
    package = Path(origin.path[0], "windrow")
    tag = zlib.crc32("\0".join((origin.python, *origin.path)).encode())
    path = paths.state / f"cni-{tag:08x}.bytecode"
    with _explained(path):
        if not package.is_dir():
            return origin
        records.make_directory(path.parent)
        records.write(path, bytecode.collected(package), mode=records.SHARED)
    return replace(origin, bytecode=str(path))


def _put(path: Path, data: bytes, kind: str) -> list[str]:
    """rename(2) swaps the file under a runtime that is just starting the old one (writing to that: ETXTBSY)."""
    said = []
    if path.name == REPLACED and os.path.lexists(path) and found_plugin(path) is None:
        said = _keep(path)
    records.write(path, data, mode=0o755)
    return [*said, f"{path}: installed ({kind})"]


def _keep(path: Path) -> list[str]:
    """A second name for what is there: so there is a `bridge` at every moment."""
    said = []
    kept = original(path)
    if os.path.lexists(kept):
        older = next(p for p in (Path(f"{kept}.{n}") for n in range(1, 1000)) if not os.path.lexists(p))
        kept.rename(older)
        said.append(f"{older}: the one that was {kept.name} until now")
    os.link(path, kept, follow_symlinks=False)
    return [*said, f"{kept}: the one that was {path.name} until now; `windrow cni uninstall` puts it back"]


def original(path: Path) -> Path:
    return path.with_name(f"{path.name}.orig")


def _look_at_conflist(path: Path) -> bool:
    """Whether there is one, and it is ours. Raises InstallError if it is not."""
    try:
        document = json.loads(path.read_bytes())
        types = [plugin["type"] for plugin in document["plugins"]]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError(
            f"{path} is there and cannot be understood ({type(error).__name__}): move it away"
        ) from error
    if META not in types:
        raise InstallError(f"{path} is not Windrow's: move it away")
    return True


def put_conflist(paths: Paths, conf_dir: Path, *, kubernetes: bool) -> str:
    """The configuration alone, by whoever answers the calls that it leads to; what was done. Raises InstallError."""
    conf_dir = conf_dir.absolute()
    with _explained(conf_dir):
        said = _put_conflist(conf_dir / CONFLIST, kubernetes=kubernetes)
    _remember(paths, None, conf_dir)
    return said


def _put_conflist(path: Path, *, kubernetes: bool = False) -> str:
    """One that is there may have been changed by the administrator: it stays, but for whose pods and networks it is
    about."""
    ours: dict[str, Any] = OF_A_CLUSTER if kubernetes else {}
    document, done = DEFAULT_CONFLIST, "written"
    if _look_at_conflist(path):
        document, done = json.loads(path.read_bytes()), "is about the cluster's pods and networks now"
        if not kubernetes or all(p.get(KUBERNETES) is True for p in document["plugins"] if p["type"] == META):
            return f"{path}: is there already, and stays as it is"
        ours = {KUBERNETES: True}
    plugins = [{**p, **ours} if p["type"] == META else p for p in document["plugins"]]
    document = {**document, "plugins": plugins}
    records.make_place(path.parent)
    records.write(path, (json.dumps(document, indent=2) + "\n").encode(), mode=records.SHARED)
    return f"{path}: {done}"


# Away again ---------------------------------------------------------------------------------------


def uninstall(paths: Paths, bin_dirs: Sequence[Path], conf_dirs: Sequence[Path]) -> list[str]:
    """What was done, in lines. Raises InstallError."""
    said = []
    for bin_dir in bin_dirs:
        with _explained(bin_dir):
            said += [line for name in (*NAMES, REPLACED) for line in _take(bin_dir.absolute() / name)]
    for conf_dir in conf_dirs:
        path = conf_dir.absolute() / CONFLIST
        with _explained(conf_dir):
            if _look_at_conflist(path):
                path.unlink()
                said.append(f"{path}: removed")
    _forget(paths, [p.absolute() for p in bin_dirs], [p.absolute() for p in conf_dirs])
    if not places(paths).bin_dirs:
        for path in paths.state.glob("cni-*.bytecode"):
            path.unlink(missing_ok=True)
    return said


def _take(path: Path) -> list[str]:
    if found_plugin(path) is None:
        return []
    kept = original(path)
    if path.name == REPLACED and os.path.lexists(kept):
        kept.rename(path)
        return [f"{path}: it is the one again that was kept as {kept.name}"]
    path.unlink()
    return [f"{path}: removed"]


# What is remembered of it -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """The directories into which something was installed, on this host."""

    bin_dirs: tuple[Path, ...] = ()
    conf_dirs: tuple[Path, ...] = ()


def places(paths: Paths) -> Places:
    try:
        document = json.loads(_memory(paths).read_bytes())
        records.understand(document)
        return Places(*(tuple(map(Path, document.get(key, ()))) for key in ("binDirs", "confDirs")))
    except (OSError, ValueError, AttributeError, TypeError):
        return Places()


def _memory(paths: Paths) -> Path:
    return paths.state / "cni-installed.json"


def _remember(paths: Paths, bin_dir: Path | None, conf_dir: Path | None) -> None:
    known = places(paths)
    bins = [*known.bin_dirs, bin_dir] if bin_dir else known.bin_dirs
    confs = [*known.conf_dirs, conf_dir] if conf_dir else known.conf_dirs
    _write(paths, bins, confs)


def _forget(paths: Paths, bin_dirs: Sequence[Path], conf_dirs: Sequence[Path]) -> None:
    known = places(paths)
    if known != Places():
        bins, confs = (set(known.bin_dirs) - set(bin_dirs), set(known.conf_dirs) - set(conf_dirs))
        _write(paths, sorted(bins), sorted(confs))


def _write(paths: Paths, bin_dirs: Sequence[Path], conf_dirs: Sequence[Path]) -> None:
    document = {key: [str(p) for p in dict.fromkeys(d)] for key, d in (("binDirs", bin_dirs), ("confDirs", conf_dirs))}
    path = _memory(paths)
    with _explained(path):
        records.make_directory(path.parent)
        records.write(path, (json.dumps(records.stamped(document), indent=2) + "\n").encode(), mode=records.SHARED)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else place
        raise InstallError(f"{where}: {error.strerror}") from error
