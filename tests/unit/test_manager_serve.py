"""The manager's rounds: nothing that comes while one is under way is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.unit.admissioncases import cn, hnc, node, vc

from windrow.apps.manager.serve import Manager, Settings
from windrow.kube.access import Access
from windrow.kube.errors import KubeError
from windrow.kube.resources import FOLLOWED
from windrow.kube.trim import ref_of


class Carrier:
    """`meanwhile`: what happens while writes are on their way."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._meanwhile = meanwhile
        self.told: list[dict[str, Any]] = []
        self.no: KubeError | None = None

    async def carry(self, writes: Iterable[object]) -> None:
        self._meanwhile()
        self._meanwhile = lambda: None

    async def tell(self, event: dict[str, Any]) -> None:
        if self.no is not None:
            raise self.no
        self.told.append(event)


@pytest.fixture
def manager() -> Manager:
    settings = Settings(lease=("default", "manager"), identity="one", clash_s=0.0)
    found = Manager(Access(kubeconfig="/nowhere"), settings, lambda _: None)
    documents = [node(), cn(), vc(), hnc("a")]
    for document in documents:
        found._known.put(document)
    for kind in FOLLOWED:
        found._known.listed(kind, {ref_of(document) for document in documents})
    return found


def rounds(manager: Manager, carrier: Carrier, count: int = 2) -> list[str]:
    """Whom the events are about."""

    async def work() -> None:
        for _ in range(count):
            await manager._round(carrier)  # type: ignore[arg-type]

    asyncio.run(work())
    return [event["involvedObject"]["name"] for event in carrier.told]


def test_what_comes_while_it_writes_is_looked_at(manager: Manager) -> None:
    """The second of two, told between the beginning of a round and its second look."""
    assert rounds(manager, Carrier(lambda: manager._known.put(hnc("b")))) == ["b"]


def test_an_event_that_finds_no_server_is_told_later(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.apps.manager.serve.AGAIN_S", 0.0)
    manager._known.put(hnc("b"))
    carrier = Carrier()
    for code in (0, 429, 503):
        carrier.no = KubeError("not now", code=code)
        assert rounds(manager, carrier, 1) == [] and manager._news.is_set(), "the next round is at once"
    carrier.no = None
    assert rounds(manager, carrier, 1) == ["b"]


def test_an_event_that_is_refused_is_told_once(manager: Manager) -> None:
    manager._known.put(hnc("b"))
    carrier = Carrier()
    carrier.no = KubeError("may not", code=403)
    assert rounds(manager, carrier, 1) == []
    carrier.no = None
    assert rounds(manager, carrier, 1) == []
