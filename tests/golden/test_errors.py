"""Bad input, case by case: a folder with a manifest, what is in the store before, the node, and what is said.

errors/<case>/manifest.yaml     what somebody wants to apply (or `manifest`, any bytes)
errors/<case>/delete.txt        or the objects somebody wants to delete: `ClusterNetwork/oob`, one a line
errors/<case>/store/*.yaml      what is there before (may be missing)
errors/<case>/node.yaml         the facts of the node (may be missing)
errors/<case>/problems.txt      all problems, as text
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Nic, NodeFacts
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem, errors
from windrow.model.values import IfName, Mac, Ref, VidSet
from windrow.model.wire import Loaded
from windrow.rules import Change, changes_to, check
from windrow.store.directory import read_manifests

ROOT = Path(__file__).parent / "errors"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())


@pytest.mark.parametrize("case", CASES)
def test_every_problem_is_told_with_its_place_and_a_way_out(case: str, golden: Callable[[Path, str], None]) -> None:
    problems = judge(ROOT / case)
    assert errors(problems), "this case is not an error"
    golden(ROOT / case / "problems.txt", told(problems, ROOT / case))


def judge(folder: Path) -> tuple[Problem, ...]:
    store = read_manifests(folder / "store") if (folder / "store").is_dir() else Loaded()
    assert not errors(store.problems), store.problems
    before = Cluster.of(store.objects)
    manifest = next(iter(sorted(folder.glob("manifest*"))), None)
    if manifest is None:
        changes = [Change(removed(before, line), None) for line in (folder / "delete.txt").read_text().split()]
        return check(before, changes, facts=facts(folder))
    loaded = read_manifests(manifest)
    changes_ = changes_to(before, loaded.objects)
    return loaded.problems + check(before, changes_, facts=facts(folder), unread=loaded.unread)


def removed(before: Cluster, word: str) -> AnyObject:
    kind, *space, name = word.split("/")
    return before.objects[Ref(kind, name, "".join(space))]


def facts(folder: Path) -> NodeFacts | None:
    """node.yaml: node, nics {name: {mac, pci, master}}, links, protected, foreign_vids, management_vids, features."""
    file = folder / "node.yaml"
    if not file.exists():
        return None
    said: dict[str, Any] = yaml.safe_load(file.read_text())
    nics = {name: Nic(name=IfName(name), **{"mac": Mac(""), **(nic or {})}) for name, nic in said["nics"].items()}
    return NodeFacts(
        node=said["node"],
        nics=nics,
        links=frozenset(map(IfName, [*nics, *said.get("links", ())])),
        protected=frozenset(map(IfName, said.get("protected", ()))),
        foreign_vids={IfName(b): VidSet.parse(str(v)) for b, v in said.get("foreign_vids", {}).items()},
        management_vids=VidSet.parse(str(said.get("management_vids", ""))),
        features=KernelFeatures(**said.get("features", {})),
    )


def told(problems: tuple[Problem, ...], folder: Path) -> str:
    return "".join(f"{p.severity} [{p.code}] {p}\n" for p in problems).replace(f"{folder}/", "")
