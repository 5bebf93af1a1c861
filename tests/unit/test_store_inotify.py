"""Changes below directories, on this host's own kernel."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.store.inotify import FileWatch, Watch


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "etc/manifests"
    (tree / "below").mkdir(parents=True)
    (tree / "a.yaml").write_text("a")
    return tree


@pytest.fixture
def watch(tree: Path) -> Iterator[Watch]:
    watch = Watch([tree])
    yield watch
    watch.close()


def moved_over(path: Path) -> None:
    temp = path.with_name(f".{path.name}.new")
    temp.write_text("new")
    temp.replace(path)


HANDS: dict[str, Callable[[Path], object]] = {
    "written": lambda t: (t / "a.yaml").write_text("b"),
    "new": lambda t: (t / "b.yaml").write_text("b"),
    "gone": lambda t: (t / "a.yaml").unlink(),
    "moved over": lambda t: moved_over(t / "a.yaml"),
    "renamed": lambda t: (t / "a.yaml").rename(t / "c.yaml"),
    "hidden by renaming": lambda t: (t / "a.yaml").rename(t / ".a.yaml"),
    "not to be read": lambda t: (t / "a.yaml").chmod(0),
    "a link": lambda t: (t / "l.yaml").symlink_to(t / "a.yaml"),
    "below": lambda t: (t / "below/d.yaml").write_text("d"),
    "a directory with something in it": lambda t: shutil.copytree(t / "below", t / "below/again"),
    "all of it gone": lambda t: shutil.rmtree(t),
    "what is above it gone": lambda t: shutil.rmtree(t.parent),
    "what is above it renamed": lambda t: t.parent.rename(t.parent.with_name("other")),
    "it is renamed": lambda t: t.rename(t.with_name("other")),
    "a mounted ConfigMap's new version": lambda t: ((t / "..new").mkdir(), (t / "..new").rename(t / "..data")),
}


@pytest.mark.parametrize("hand", sorted(HANDS))
def test_what_is_seen(watch: Watch, tree: Path, hand: str) -> None:
    assert not watch.read()
    HANDS[hand](tree)
    assert watch.read()
    assert not watch.read(), "told once"


@pytest.mark.parametrize(
    "hand",
    [
        lambda t: (t / ".a.yaml.new").write_text("half"),
        lambda t: (t / "a.yaml").read_text(),
        lambda t: os.listdir(t),
        lambda t: (t.parent / "other.conf").write_text("x"),
        lambda t: (t.parent.parent / "etc2").mkdir(),
    ],
)
def test_what_is_nobody_s_business(watch: Watch, tree: Path, hand: Callable[[Path], object]) -> None:
    hand(tree)
    assert not watch.read()


def test_a_file_counts_when_it_is_written_to_its_end(watch: Watch, tree: Path) -> None:
    with (tree / "a.yaml").open("w") as file:
        file.write("half")
        file.flush()
        assert not watch.read()
    assert watch.read()


def test_it_vanishes_and_comes_back_and_is_watched_again(watch: Watch, tree: Path) -> None:
    for _ in range(3):
        shutil.rmtree(tree.parent)
        assert watch.read()
        tree.mkdir(parents=True)
        assert watch.read()
        (tree / "new").mkdir()
        assert watch.read()
        (tree / "new/a.yaml").write_text("a")
        assert watch.read()
        assert not watch.read()


def test_what_was_made_in_a_new_directory_before_anybody_could_watch_it(watch: Watch, tree: Path) -> None:
    (tree / "x/y/z").mkdir(parents=True)
    assert watch.read()
    (tree / "x/y/z/a.yaml").write_text("a")
    assert watch.read()


def test_one_that_is_missing_from_the_start(tmp_path: Path) -> None:
    place = tmp_path / "not/yet"
    watch = Watch([place, tmp_path / "other"])
    place.parent.mkdir()
    assert watch.read()
    place.mkdir()
    assert watch.read()
    (place / "a").write_text("a")
    assert watch.read()
    (tmp_path / "other").mkdir()
    assert watch.read()
    watch.close()


def test_a_renamed_directory_is_watched_no_more(watch: Watch, tree: Path) -> None:
    other = tree.with_name("other")
    tree.rename(other)
    assert watch.read()
    (other / "a.yaml").write_text("b")
    assert not watch.read()


def test_one_directory_within_the_other(tmp_path: Path) -> None:
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    watch = Watch([inner, inner.parent], deep=False)
    (inner.parent / "a").write_text("a")
    assert watch.read()
    (inner / "a").write_text("a")
    assert watch.read()
    inner.rename(inner.with_name("moved"))
    assert watch.read()
    watch.close()


def test_an_overflowing_queue_means_that_something_changed(watch: Watch, tree: Path) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        queue = int(file.read())
    one, two = tree / ".1.new", tree / ".2.new"
    for number in range(queue + 10):  # nothing of it matters by itself; neighbours that are the same are joined
        (one if number % 2 else two).touch()
    assert watch.read()
    assert not watch.read()
    (tree / "below/new.yaml").write_text("x")
    assert watch.read()


def test_files_that_are_written_to(tmp_path: Path) -> None:
    one, later = tmp_path / "one", tmp_path / "later"
    one.write_text("1")
    watch = FileWatch([str(one), str(later)])
    assert not watch.read()
    one.write_text("0")
    assert watch.read() and not watch.read()
    later.write_text("1")
    assert not watch.read()
    watch.watch_missing()
    later.write_text("0")
    assert watch.read()
    watch.close()


def test_other_files_are_held_and_one_that_was_replaced(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("1")
    before = os.listdir("/proc/self/fd")
    watch = FileWatch([str(one)])
    watch.hold([str(two)])
    assert not watch.read(), "to let a file go is no news"
    one.write_text("0")
    assert not watch.read()
    two.unlink()
    two.write_text("1")
    watch.hold([str(two)])
    assert not watch.read()
    two.write_text("0")
    assert watch.read() and not watch.read()
    watch.close()
    assert os.listdir("/proc/self/fd") == before


def test_no_file_descriptor_is_left(tree: Path) -> None:
    before = os.listdir("/proc/self/fd")
    Watch([tree]).close()
    assert os.listdir("/proc/self/fd") == before
