"""Manifests as people have them, and what becomes of each: what is read out of it, and what is said of it.

corpus/store/*.yaml             what is there before
corpus/<part>/<case>.yaml|json  one form that occurs in the wild, written anew
corpus/<part>/<case>.txt        the meaning of its objects (what differs from a default), then everything that is said

`refused/` is what Kubernetes, KubeVirt, Multus or Harvester refuse too. All the rest is let in, for Harvester's own
manifests are read unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, errors
from windrow.model.values import VidSet
from windrow.model.wire import Loaded, dump, items_of, load_documents, ref_of, yaml_text
from windrow.model.wire.text import plain, trees
from windrow.rules import changes_to, check
from windrow.store.directory import SUFFIXES, read_manifests

ROOT = Path(__file__).parent / "corpus"
CASES = sorted(p for p in ROOT.rglob("*") if p.suffix in SUFFIXES and p.parent.name != "store")
_KEPT = ("meta", "doc", "source", "config", "place")
"""Fields that say nothing beyond the document itself."""


def case_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_what_becomes_of_it(case: Path, golden: Callable[[Path, str], None]) -> None:
    loaded = read_manifests(case)
    said = judged(loaded)
    assert bool(errors(said)) is (case.parent.name == "refused"), said
    text = "".join(f"{line}\n" for obj in loaded.objects for line in meaning(obj))
    golden(case.with_suffix(f"{case.suffix}.txt"), text + told(said, case))


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_nothing_of_a_document_is_lost(case: Path) -> None:
    """What is written back is what was read; and reading that again means the same."""
    documents = {
        ref_of(d): d for tree in trees(case.read_text("utf-8-sig"))[0] for d in inside(plain(tree.root, []).value)
    }
    loaded = read_manifests(case)
    for obj in loaded.objects:
        document = dict(documents[obj.ref])
        assert dump(obj) == document
        again = load_documents(yaml_text(document))
        assert again.objects == (obj,)


def test_the_corpus_has_every_part() -> None:
    parts = {part: len(list((ROOT / part).glob("*.txt"))) for part in ("machines", "networks", "harvester", "files")}
    assert sum(parts.values()) >= 80, parts
    assert min(parts.values()) >= 15, parts
    written = set(ROOT.rglob("*.txt"))
    assert {case.with_suffix(f"{case.suffix}.txt") for case in CASES} == written, "an expected text of no case"


def judged(loaded: Loaded) -> tuple[Problem, ...]:
    before = read_manifests(ROOT / "store")
    assert not before.problems, before.problems
    cluster = Cluster.of(before.objects)
    return loaded.problems + check(cluster, changes_to(cluster, loaded.objects), unread=loaded.unread)


def told(problems: tuple[Problem, ...], case: Path) -> str:
    return "".join(f"{p.severity} [{p.code}] {p}\n" for p in problems).replace(f"{case}", case.name)


def inside(value: Any) -> list[Any]:
    items = items_of(value)
    return [value] if items is None else [one for item in items for one in inside(item)]


def meaning(obj: AnyObject) -> Iterator[str]:
    yield str(obj.ref)
    yield from (f"    {path}: {value}" for path, value in flat(obj, ""))


def flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every field that is not as it would be without the manifest."""
    match value:
        case VidSet():
            yield path, str(value)
        case Mapping():
            for key, inner in value.items():
                yield from flat(inner, f"{path}[{key}]")
        case tuple() if any(dataclasses.is_dataclass(inner) for inner in value):
            for i, inner in enumerate(value):
                yield from flat(inner, f"{path}[{i}]")
        case tuple():
            yield path, ", ".join(map(str, value)) or "none"
        case _ if dataclasses.is_dataclass(value):
            given = [
                f for f in dataclasses.fields(value) if f.name not in _KEPT and getattr(value, f.name) != default(f)
            ]
            for field in given:
                yield from flat(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
        case _:
            yield path, repr(value) if isinstance(value, str) and "\n" in value else str(value)


def default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
