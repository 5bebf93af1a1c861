"""A crash leaves the old file or the new one, and every object that another one names."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from windrow.model.meta import Meta
from windrow.model.objects import ClusterNetwork
from windrow.model.values import Ref
from windrow.store import records
from windrow.store.directory import Store
from windrow.store.errors import StoreError
from windrow.store.paths import Paths

CALLS = ("open", "fstat", "fchmod", "write", "fsync", "replace", "close")
CLOSE = os.close
OLD, NEW = "old", "new"


def network(name: str, what: str) -> ClusterNetwork:
    return ClusterNetwork(meta=Meta(name=name, annotations={"content": what * 2000}))


def contents(store: Store) -> dict[str, str]:
    loaded = store.load()
    assert loaded.problems == ()
    found = {o.name: o.meta.annotations["content"] for o in loaded.objects}
    assert all(c in (OLD * 2000, NEW * 2000) for c in found.values()), "neither the old file nor the new one"
    return {name: c[:3] for name, c in found.items()}


class Dying(BaseException):
    """As if the power went: nothing after it runs that could tidy up."""


def failing(real: Callable[..., object], at: int, error: BaseException) -> Callable[..., object]:
    """The `at`-th call fails. close(2) that fails has closed the file all the same."""
    calls = iter(range(10_000))

    def call(*args: object, **more: object) -> object:
        if next(calls) != at:
            return real(*args, **more)
        if real is CLOSE:
            real(*args)
        raise error

    return call


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_changes_nothing_or_one_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    store = Store(Paths(tmp_path))
    store.put([network("a", OLD), network("b", OLD)])
    real = getattr(os, name)
    with monkeypatch.context() as patch:
        patch.setattr(records.os, name, failing(real, at, OSError(errno.ENOSPC, "no space")))
        try:
            store.put([network("a", NEW), network("b", NEW)])
            refused = False
        except StoreError:
            refused = True
    left = contents(store)
    assert set(left) == {"a", "b"}
    if refused and name in ("open", "fstat", "fchmod", "write") and at < 2:
        assert set(left.values()) == {OLD}, "staging failed, so nothing may have changed"
    assert [p.name for p in store.paths.manifests.iterdir() if p.name.startswith(".")] == []
    store.put([network("a", NEW), network("b", NEW)])
    assert contents(store) == {"a": NEW, "b": NEW}


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
def test_power_that_goes_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int) -> None:
    """No clean-up runs; what is left behind does not disturb the next one."""
    store = Store(Paths(tmp_path))
    store.put([network("a", OLD), network("b", OLD)])
    with monkeypatch.context() as patch:
        patch.setattr(records, "discard", lambda temp: None)
        patch.setattr(records.os, name, failing(getattr(os, name), at, Dying()))
        with pytest.raises(Dying):
            store.put([network("a", NEW), network("b", NEW), network("c", NEW)])
    assert set(contents(store)) >= {"a", "b"}
    store.put([network("a", NEW), network("b", NEW)])
    assert contents(store) == {"a": NEW, "b": NEW} | ({"c": NEW} if "c" in contents(store) else {})


def test_half_a_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may write less than it was given."""
    real = os.write
    monkeypatch.setattr(records.os, "write", lambda fd, data: real(fd, bytes(data)[:100]))
    store = Store(Paths(tmp_path))
    store.put([network("a", NEW)])
    assert contents(store) == {"a": NEW}


WRITER = """
import sys
from pathlib import Path
from windrow.model.meta import Meta
from windrow.model.objects import ClusterNetwork
from windrow.store.directory import Store
from windrow.store.paths import Paths

store = Store(Paths(Path(sys.argv[1])))
print("ready", flush=True)
while True:
    for what in ("new", "old"):
        store.put([ClusterNetwork(meta=Meta(name=n, annotations={"content": what * 2000})) for n in ("a", "b")])
"""


def test_killed_again_and_again(tmp_path: Path) -> None:
    """A real process, a real SIGKILL, at times that no test chose."""
    store = Store(Paths(tmp_path))
    store.put([network("a", OLD), network("b", OLD)])
    seen: set[tuple[str, ...]] = set()
    for number in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.02 + 0.013 * number)
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()
        left = contents(store)
        assert set(left) == {"a", "b"}
        seen.add((left["a"], left["b"]))
    store.put([network("a", NEW), network("b", NEW)])
    assert contents(store) == {"a": NEW, "b": NEW}
    assert seen


def test_two_writers_take_turns(tmp_path: Path) -> None:
    """Both add to one file; without the lock, one of them would lose what the other one wrote."""
    manifests = Paths(tmp_path).manifests
    manifests.mkdir(parents=True)
    head = "apiVersion: network.harvesterhci.io/v1beta1\nkind: ClusterNetwork\nmetadata: {name: %s}\n---\n"
    (manifests / "all.yaml").write_text("".join(head % f"{who}{i}" for who in "ab" for i in range(10)))
    remove = (
        "import sys\nfrom pathlib import Path\nfrom windrow.model.values import Ref\n"
        "from windrow.store.directory import Store\nfrom windrow.store.paths import Paths\n"
        "store = Store(Paths(Path(sys.argv[1])))\n"
        "for i in range(10):\n    assert store.remove([Ref('ClusterNetwork', f'{sys.argv[2]}{i}')])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", remove, str(tmp_path), who]) for who in "ab"]
    assert [w.wait(timeout=120) for w in writers] == [0, 0]
    assert list(manifests.iterdir()) == []
    assert Store(Paths(tmp_path)).remove([Ref("ClusterNetwork", "a1")]) == ()
