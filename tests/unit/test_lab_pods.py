"""Pods that the lab attaches itself, without a Kubernetes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.lab.asked import Asked

from windrow.lab.errors import LabError
from windrow.lab.scenario_file import parse, read
from windrow.lab.session import Applied, Session
from windrow.model.objects import AnyObject


class Engine:
    """`refuses`: the node that takes no objects. `told`: node -> names of the Pods that it was told of."""

    def __init__(self, refuses: str = "") -> None:
        self._refuses = refuses
        self.told: dict[str, list[str]] = {}

    def attach(self, root: Path, node: str, pod: Any, netns: Path) -> Mapping[str, str]:
        return {"eth0": "10.52.0.2"}

    def change(self, root: Path, node: str, put: Sequence[AnyObject], remove: Sequence[Any]) -> Applied:
        self.told[node] = [obj.name for obj in put]
        fine = node != self._refuses
        return Applied(ok=fine, steps=0, left=0, words="nothing to do", complaints=() if fine else ("no",))


def attached(engine: Engine, place: Path) -> None:
    """The Pods of `pods-and-policy`."""

    def inside(node: str, work: Callable[[], Any]) -> Any:
        return work()

    session = Session.__new__(Session)
    scenario = parse(read("pods-and-policy"))
    world = SimpleNamespace(scenario=scenario, root=place.joinpath, inside=inside, pod_addresses={})
    session._engine, session._world = engine, world  # type: ignore[assignment]
    session._attach_pods(Asked())  # type: ignore[arg-type]


def test_every_node_is_told_of_every_pod(tmp_path: Path) -> None:
    engine = Engine()
    attached(engine, tmp_path)
    pods = ["db", "near", "web", "guest"]
    assert engine.told == {"node-0": pods, "node-1": pods}


def test_a_node_that_does_not_take_them_is_said(tmp_path: Path) -> None:
    """Its policies would go by none of their addresses."""
    with pytest.raises(LabError, match="node-1: nothing to do: no"):
        attached(Engine(refuses="node-1"), tmp_path)
