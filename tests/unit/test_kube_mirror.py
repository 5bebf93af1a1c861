"""Whom policies select is followed where there is a policy, and not anew with each that comes and goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.test_kube_cache import POLICY

from windrow.kube import mirror
from windrow.kube.access import Access
from windrow.kube.mirror import Mirror
from windrow.kube.resources import FOLLOWED, SELECTED
from windrow.kube.trim import ref_of


class Following(Mirror):
    """Without its thread; `lists`: how often each kind was listed, `at_it`: which are followed now."""

    def __init__(self) -> None:
        super().__init__(Access(kubeconfig="/nowhere"), "n1", lambda *_: None, kinds=FOLLOWED)
        self.lists, self.at_it = Counter[str](), set[str]()
        for kind in FOLLOWED:
            self.cache.listed(kind, ())

    def _follower(self, api: Any, kind: str, query: Any) -> Any:
        outer = self

        class Follower:
            async def run(self) -> None:
                outer.lists[kind] += 1
                outer.at_it.add(kind)
                outer._changed(outer.cache.listed(kind, ()))
                try:
                    await asyncio.sleep(60)
                finally:
                    outer.at_it.discard(kind)

        return Follower()

    def policy(self, there: bool) -> None:
        self._changed(self.cache.put(POLICY) if there else self.cache.drop(ref_of(POLICY)))


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5.0):
        while not what():
            await asyncio.sleep(0.005)


def test_a_policy_that_comes_and_goes_lists_all_pods_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a namespace may do that, all agents hear of it, and a cluster has tens of thousands of pods."""
    monkeypatch.setattr(mirror, "LINGER_S", 0.5)

    async def work() -> None:
        following = Following()
        task = asyncio.create_task(following._follow_selected(None))  # type: ignore[arg-type]
        for _ in range(20):
            following.policy(there=True)
            await asyncio.sleep(0.005)
            await until(lambda: following.cache.complete)
            following.policy(there=False)
            await asyncio.sleep(0.005)
        assert following.lists == dict.fromkeys(SELECTED, 1) and following.at_it == set(SELECTED)
        await until(lambda: not following.at_it)
        following.policy(there=True)
        assert not following.cache.complete, "what was not followed is listed anew"
        await until(lambda: following.cache.complete)
        assert following.lists == dict.fromkeys(SELECTED, 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        following.close()

    asyncio.run(work())
