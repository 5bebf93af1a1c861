"""A file system that is really full: the old record stays whole, and nothing of the new one is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from windrow.lab.kernel.launch import check, libc, mount
from windrow.model.meta import Meta
from windrow.model.objects import ClusterNetwork
from windrow.services import dhcpevent
from windrow.store import records
from windrow.store.errors import StoreError
from windrow.store.lastgood import read_last_good, write_last_good
from windrow.store.paths import Paths

MNT_DETACH = 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """64 KiB of memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("tmpfs", str(place), "tmpfs", options="size=64k,mode=755")
    yield place
    # Not by umount(8): over 9p it looks for the file system's device first, and refuses.
    check(libc.umount2(os.fsencode(place), MNT_DETACH), f"unmount {place}")


def fill(place: Path) -> Path:
    """All of it, to the last page."""
    path = place / "ballast"
    with pytest.raises(OSError, match="No space left"):
        write_on(path)
    return path


def write_on(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("size", [100, 50_000])
def test_the_old_one_stays(disk: Path, size: int) -> None:
    """Of the larger one some bytes are taken before the disk refuses: that is the short write."""
    path = disk / "record"
    records.write(path, b"old", mode=records.PRIVATE)
    if size < 4096:
        fill(disk)
    else:
        (disk / "other").write_bytes(bytes(30_000))
    before = sorted(os.listdir(disk))
    for write in (
        lambda: records.write(path, bytes(size), mode=records.PRIVATE),
        lambda: records.write(path, bytes(size), mode=records.PRIVATE, rivals=True),
        lambda: dhcpevent.write(str(path), "x" * size),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert (path.read_bytes(), sorted(os.listdir(disk))) == (b"old", before)


def test_the_last_good_state_is_kept_and_told(disk: Path) -> None:
    paths = Paths(disk)
    write_last_good(paths, [ClusterNetwork(meta=Meta(name="oob"))], 1.0)
    ballast = fill(disk)
    with pytest.raises(StoreError, match=r"No space left(.|\n)*make room"):
        write_last_good(paths, [ClusterNetwork(meta=Meta(name="new", annotations={"a": "x" * 9000}))], 2.0)
    found = read_last_good(paths)
    assert found is not None and [o.name for o in found.objects] == ["oob"]
    ballast.unlink()
    write_last_good(paths, [ClusterNetwork(meta=Meta(name="new"))], 2.0)
    found = read_last_good(paths)
    assert found is not None and [o.name for o in found.objects] == ["new"]
