"""The lab's look at nodes that follow an API server, by answers that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from tests.lab.asked import Asked

from windrow.kube.errors import KubeError
from windrow.lab import session
from windrow.lab.outage import UNKNOWN


class Answered(session.Session):
    """`answers`: of each node, one look after the other; None: the API server gives none."""

    def __init__(self, **answers: list[int | None]) -> None:
        self._answers: dict[str, Iterator[int | None]] = {node: iter(found) for node, found in answers.items()}

    def _all_steps_left(self, nodes: Sequence[str]) -> dict[str, int]:
        found = {node: next(self._answers[node]) for node in nodes}
        if None in found.values():
            raise KubeError("it is gone")
        return {node: steps for node, steps in found.items() if steps is not None}

    def follow(self) -> tuple[dict[str, int], list[str]]:
        asked = Asked()
        return self._follow(list(self._answers), asked), asked.said  # type: ignore[arg-type]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(session.time, "sleep", found.append)
    return found


def test_nobody_waits_where_all_nodes_are_as_they_should_be(slept: list[float]) -> None:
    left, said = Answered(a=[0], b=[0]).follow()
    assert left == {"a": 0, "b": 0} and len(said) == 2
    assert slept == []


def test_a_node_that_is_done_is_not_asked_again(slept: list[float]) -> None:
    left, _ = Answered(a=[1, 0], b=[None, 2, 2, 0]).follow()
    assert left == {"a": 0, "b": 0}
    assert slept == [session.LOOK_S] * 3


def test_what_is_left_in_the_end_is_said(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "FOLLOW_S", 0.0)
    left, said = Answered(a=[1], b=[3]).follow()
    assert left == {"a": 1, "b": 3} and slept == []
    assert said == ["bad: a: after 0 s 1 step is left: ", "bad: b: after 0 s 3 steps are left: "]
    left, said = Answered(c=[None]).follow()
    assert left == {"c": UNKNOWN}
    assert said == ["bad: c: after 0 s the API server gives no objects: "]
