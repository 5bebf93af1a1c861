"""The one writer of files, and the one of the DHCP client's program, which imports nothing: what both promise."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.model.facts import Memory
from windrow.model.host import HostState
from windrow.services import dhcpevent
from windrow.store import records
from windrow.store.errors import StoreError
from windrow.store.lastgood import write_last_good
from windrow.store.memory import write_memory
from windrow.store.origin import write_origin
from windrow.store.paths import Paths

OLD, NEW = b'"old"', b'"new, and rather longer than the old one"'
Writer = Callable[[Path, bytes], None]

SOMEBODY = 12345


def ours(path: Path, data: bytes) -> None:
    records.write(path, data, mode=records.SHARED)


def of_rivals(path: Path, data: bytes) -> None:
    records.write(path, data, mode=records.SHARED, rivals=True)


def of_the_client(path: Path, data: bytes) -> None:
    dhcpevent.write(os.fspath(path), data.decode().strip('"'))


@pytest.fixture(params=[ours, of_rivals, of_the_client])
def writer(request: pytest.FixtureRequest) -> Writer:
    found: Writer = request.param
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "record"
    path.write_bytes(OLD)
    return path


@pytest.fixture(params=[0, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def failing(real: Callable[..., object], code: int, after: int = 0) -> Callable[..., object]:
    calls = iter(range(10_000))

    def call(*args: object, **more: object) -> object:
        if next(calls) < after:
            return real(*args, **more)
        raise OSError(code, os.strerror(code))

    return call


# Contents -----------------------------------------------------------------------------------------


def test_a_short_write_is_gone_on_with(place: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    writer(place, NEW)
    assert place.read_bytes() == NEW


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(("call", "after"), [("write", 0), ("write", 1), ("fsync", 0), ("replace", 0), ("fchmod", 0)])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    place: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer, call: str, after: int, code: int
) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
        patch.setattr(os, call, failing(getattr(os, call), code, after))
        with pytest.raises(OSError, match=re.escape(os.strerror(code))):
            writer(place, NEW)
    assert place.read_bytes() == OLD
    assert list(place.parent.iterdir()) == [place]


def test_it_has_its_mode_whatever_the_umask(place: Path, umask: int, writer: Writer) -> None:
    place.unlink()
    writer(place, NEW)
    assert mode(place) == 0o644
    records.write(place, NEW, mode=records.PRIVATE)
    assert mode(place) == 0o600


def test_its_bytes_are_never_seen_by_others(place: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    seen = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (seen.append(os.fstat(fd).st_mode & 0o777), real(fd, data))[1])
    records.write(place, NEW, mode=records.PRIVATE)
    assert seen == [0o600]


# Who is there already -----------------------------------------------------------------------------


def leftover(place: Path) -> Path:
    return place.with_name(f".{place.name}.new")


def test_a_link_in_place_of_the_temporary_is_not_followed(place: Path, tmp_path: Path) -> None:
    for writer in (ours, of_the_client):
        other = tmp_path / "other"
        other.write_bytes(OLD)
        leftover(place).symlink_to(other)
        writer(place, NEW)
        assert (place.read_bytes(), place.is_symlink(), other.read_bytes()) == (NEW, False, OLD)


def test_a_link_in_place_of_the_file_is_replaced(place: Path, tmp_path: Path, writer: Writer) -> None:
    other = tmp_path / "other"
    other.write_bytes(OLD)
    place.unlink()
    place.symlink_to(other)
    writer(place, NEW)
    assert (place.read_bytes(), place.is_symlink(), other.read_bytes()) == (NEW, False, OLD)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_leftover_of_somebody_else_does_not_become_ours(place: Path) -> None:
    """Who holds it open, or owns it, could change what we believe."""
    for writer in (ours, of_the_client):
        leftover(place).write_bytes(OLD)
        os.chown(leftover(place), SOMEBODY, SOMEBODY)
        with leftover(place).open("r+b") as held:
            writer(place, NEW)
            held.write(b"XXXX")
        assert (place.read_bytes(), place.stat().st_uid) == (NEW, 0)


# Directories --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [records.PRIVATE_DIRECTORY, records.SHARED_DIRECTORY])
def test_a_directory_has_its_mode_whatever_the_umask(tmp_path: Path, umask: int, wanted: int) -> None:
    records.make_directory(tmp_path / "a/b/c", wanted)
    assert [mode(tmp_path / p) for p in ("a", "a/b", "a/b/c")] == [0o755, 0o755, wanted]


def test_a_directory_of_ours_that_is_too_open_is_closed(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    for before, wanted, after in ((0o777, 0o755, 0o755), (0o755, 0o700, 0o700), (0o700, 0o755, 0o700)):
        place.chmod(before)
        records.make_directory(place, wanted)
        assert mode(place) == after, "what the administrator closed further stays so"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.state.mkdir(parents=True)
    os.chown(paths.state, SOMEBODY, SOMEBODY)
    for write in (
        lambda: write_last_good(paths, (), 0.0),
        lambda: write_memory(paths, Memory(given={"e0": frozenset(["10.0.0.1/8"])})),  # type: ignore[dict-item]
        lambda: write_origin(paths, HostState()),
    ):
        with pytest.raises(StoreError, match=rf"it belongs to user {SOMEBODY}(.|\n)*hint: .*chown root"):
            write()
    assert list(paths.state.iterdir()) == []


def test_a_file_in_place_of_a_directory(place: Path) -> None:
    with pytest.raises(NotADirectoryError):
        records.make_directory(place)


# Power cuts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flush", "wanted"), [("nothing", 0), ("content", 1), ("name", 2)])
def test_what_is_flushed(place: Path, monkeypatch: pytest.MonkeyPatch, flush: records.Flush, wanted: int) -> None:
    flushed: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    records.write(place, NEW, mode=records.PRIVATE, flush=flush)
    assert flushed == [str(leftover(place)), str(place.parent)][:wanted]
