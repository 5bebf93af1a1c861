"""Statuses on their way to a server that is a list: what is written, when, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from windrow.kube import pace, writing
from windrow.kube.api import HEAD, MERGE
from windrow.kube.cache import Cache
from windrow.kube.errors import KubeError
from windrow.kube.resources import FOLLOWED
from windrow.kube.trim import ref_of
from windrow.kube.writing import Writer
from windrow.model import names

GROUP = "network.harvesterhci.io/v1beta1"
BASE = "/apis/network.harvesterhci.io/v1beta1"


class Server:
    """Answers what it is told to, and tells the cache of what was applied, as a watch does."""

    def __init__(self, cache: Cache, subresources: tuple[str, ...] = ("hostnetworkconfigs/status",)) -> None:
        self.cache, self.subresources = cache, subresources
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Mapping[str, Any]] = []
        self.more: list[dict[str, Any]] = []
        self.no: KubeError | None = None
        self.deaf = False

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        if path == BASE:
            return {"resources": [{"name": name} for name in self.subresources]}
        self.asked.append((method, path.removeprefix(BASE)))
        self.bodies.append(body)
        self.more.append(more)
        if self.no is not None:
            raise self.no
        if not self.deaf and method == "PATCH" and "/events/" not in path:
            assert more["params"] == {"fieldManager": names.field_manager("n1"), "force": "true"}
            self.cache.put(body)
        return {}


def known(*documents: dict[str, Any]) -> Cache:
    cache = Cache()
    cache.node = "n1"
    for document in documents:
        cache.put(document)
    for kind in FOLLOWED:
        cache.listed(kind, {ref_of(document) for document in documents})
    return cache


def there(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name, "uid": f"uid-of-{name}"}, **more}


CONFIG = there("VlanConfig", "oob", spec={"clusterNetwork": "oob", "uplink": {"nics": ["eth1"]}})
STATUS = {
    "apiVersion": GROUP,
    "kind": "VlanStatus",
    "metadata": {"name": "oob-n1", "labels": {"a": "b"}},
    "status": {"vlanConfig": "oob", "node": "n1", "conditions": [{"type": "ready", "status": "True"}]},
}


NIC = {"apiVersion": GROUP, "kind": "LinkMonitor", "metadata": {"name": "nic"}}


class Run:
    def __init__(self, cache: Cache, **more: Any) -> None:
        self.cache, self.server = cache, Server(cache, **more)
        self.troubles: dict[str, str] = {}
        self.writer = Writer(self.server, cache, self.troubles.__setitem__)  # type: ignore[arg-type]

    async def write(self, *documents: dict[str, Any]) -> None:
        self.writer.want(documents)
        await self.writer._write()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_status_is_made_once_and_belongs_to_its_config() -> None:
    async def work() -> None:
        here = Run(known(CONFIG))
        await here.write(STATUS)
        await here.write(STATUS)
        assert here.server.asked == [("PATCH", "/vlanstatuses/oob-n1")]
        (owner,) = here.server.bodies[0]["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("VlanConfig", "uid-of-oob")

    run(work())


def test_of_a_config_that_is_gone_nothing_is_made() -> None:
    async def work() -> None:
        here = Run(known())
        await here.write(STATUS)
        assert here.server.asked == []

    run(work())


def test_where_the_status_is_a_part_of_its_own_it_is_written_there() -> None:
    async def work() -> None:
        network = there("HostNetworkConfig", "storage", spec={})
        here = Run(known(CONFIG, network), subresources=("vlanstatuses/status", "hostnetworkconfigs/status"))
        said = {"apiVersion": GROUP, "kind": "HostNetworkConfig", "metadata": {"name": "storage"}}
        await here.write(STATUS, {**said, "status": {"nodeStatus": {"n1": {"vlanID": 3}}}})
        asked = sorted(path for _, path in here.server.asked)
        assert asked == ["/hostnetworkconfigs/storage/status", "/vlanstatuses/oob-n1", "/vlanstatuses/oob-n1/status"]
        whole = here.server.bodies[[path for _, path in here.server.asked].index("/vlanstatuses/oob-n1")]
        assert "status" not in whole

    run(work())


def test_what_is_there_is_never_made_anew_by_applying() -> None:
    """It may have been deleted since: the uid says which one is meant."""

    async def work() -> None:
        here = Run(known(there("LinkMonitor", "nic")))
        said = {"apiVersion": GROUP, "kind": "LinkMonitor", "metadata": {"name": "nic"}}
        await here.write({**said, "status": {"linkStatus": {"n1": []}}})
        assert here.server.bodies[0]["metadata"]["uid"] == "uid-of-nic"
        await here.write({**said, "metadata": {"name": "other"}, "status": {"linkStatus": {"n1": []}}})
        assert len(here.server.asked) == 1

    run(work())


def test_a_status_that_nothing_speaks_of_goes() -> None:
    async def work() -> None:
        here = Run(known({**there("VlanStatus", "oob-n1"), "status": STATUS["status"]}))
        await here.writer._write()
        assert here.server.asked == [], "nobody has said yet what there is to say"
        await here.write()
        assert here.server.asked == [("DELETE", "/vlanstatuses/oob-n1")]
        assert here.server.bodies == [{"preconditions": {"uid": "uid-of-oob-n1"}}]

    run(work())


def test_who_fights_writes_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])

    async def work() -> None:
        here = Run(known(CONFIG))
        here.server.deaf = True  # another one undoes it at once
        for _ in range(10 * 300):
            await here.write(STATUS)
            clock[0] += 0.1
        assert 5 <= len(here.server.asked) <= 15
        due = here.writer._paces.patience()
        assert due is not None and due <= pace.PAUSE_MAX_S
        clock[0] += 1000
        await here.write(STATUS)
        before = len(here.server.asked)
        clock[0] += pace.PAUSE_S
        await here.write(STATUS)
        assert len(here.server.asked) == before + 1, "a calm one is quick again"

    run(work())


def test_a_refusal_is_told_and_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])

    async def work() -> None:
        here = Run(known(CONFIG))
        here.server.no = KubeError("may not", code=403)
        await here.write(STATUS)
        assert here.troubles == {"VlanStatus/oob-n1": "may not"}
        clock[0] += pace.REFUSED_S - 1
        await here.write(STATUS)
        assert len(here.server.asked) == 1
        here.server.no, clock[0] = None, clock[0] + 2
        assert here.writer._paces.patience() == 0.0
        await here.write(STATUS)
        assert here.troubles == {"VlanStatus/oob-n1": ""}
        assert here.writer._paces.patience() is None, "nothing is due: it sleeps"

    run(work())


def test_what_vanished_meanwhile_is_no_trouble() -> None:
    async def work() -> None:
        here = Run(known(there("LinkMonitor", "nic")))
        here.server.no = KubeError("not found", code=404)
        said = {"apiVersion": GROUP, "kind": "LinkMonitor", "metadata": {"name": "nic"}}
        await here.write({**said, "status": {"linkStatus": {"n1": []}}})
        assert here.troubles == {} and here.writer._paces.patience() is None

    run(work())


def test_whose_turn_it_never_was_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server gives up where a thousand nodes write one LinkMonitor at the same moment (MaxRetryWhenPatchConflicts in
    apiserver/pkg/endpoints/handlers/patch.go)."""
    clock = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])

    async def work() -> None:
        here = Run(known(there("LinkMonitor", "nic")))
        here.server.no = KubeError("the object has been modified", code=409)
        said = {"apiVersion": GROUP, "kind": "LinkMonitor", "metadata": {"name": "nic"}}
        await here.write({**said, "status": {"linkStatus": {"n1": []}}})
        assert here.troubles == {} and here.writer._paces.patience() == pytest.approx(pace.PAUSE_S)
        here.server.no, clock[0] = None, clock[0] + pace.PAUSE_S
        await here.writer._write()
        assert len(here.server.asked) == 2

    run(work())


def crowd(*links: str) -> Run:
    """A LinkMonitor that a thousand nodes write into, with an entry of ours."""
    entries = {"n2": [], **({"n1": [{"name": link} for link in links]} if links else {})}
    here = Run(known(there("LinkMonitor", "nic", status={"linkStatus": entries})))
    here.writer.shared = lambda kind: kind == "LinkMonitor"
    here.server.deaf = True
    return here


def test_among_many_our_entry_is_patched_and_what_was_written_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a thousand writers would be noted in the object, and the same be written again and again."""
    monkeypatch.setattr(writing, "TURN_S", 0.0)

    async def work() -> None:
        here = crowd("eth1")
        for _ in range(2):
            await here.write({**NIC, "status": {"linkStatus": {"n1": [{"name": "eth2"}]}}})
        assert here.server.asked == [("PATCH", "/linkmonitors/nic")]
        (body,) = here.server.bodies
        assert body["status"] == {"linkStatus": {"n1": [{"name": "eth2"}]}} and body["metadata"]["uid"] == "uid-of-nic"
        (more,) = here.server.more
        assert (more["kind"], more["accept"], more["params"]) == (MERGE, HEAD, {"fieldManager": names.AGENTS})

    run(work())


def test_among_many_an_entry_that_is_said_no_more_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "TURN_S", 0.0)
    monkeypatch.setattr(pace, "PAUSE_S", 0.0)

    async def work() -> None:
        here = crowd("eth1")
        for _ in range(2):
            await here.write(NIC)
        assert [body["status"] for body in here.server.bodies] == [{"linkStatus": {"n1": None}}]

    run(work())


def test_among_many_who_has_no_link_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fifty cluster networks a node has a few, and each of a thousand nodes would write into the monitors of all."""
    monkeypatch.setattr(writing, "TURN_S", 0.0)

    async def work() -> None:
        nothing = {**NIC, "status": {"linkStatus": {"n1": []}}}
        without, with_one = crowd(), crowd("eth1")
        await without.write(nothing)
        assert without.server.asked == []
        await with_one.write(nothing)
        assert [body["status"] for body in with_one.server.bodies] == [{"linkStatus": {"n1": []}}]

    run(work())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What it says now, in a cluster of a thousand nodes of which this one has the last moment."""
    found = [1000.0]
    monkeypatch.setattr(writing.time, "monotonic", lambda: found[0])
    monkeypatch.setattr(writing.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(Cache, "nodes", lambda _: ["n"] * 1000)
    return found


@pytest.mark.parametrize(("links", "within_s"), [(["eth1"], 1000 * writing.TURN_S), ([], 1000.0)])
def test_among_many_each_has_a_moment_of_its_own(links: list[str], within_s: float, clock: list[float]) -> None:
    """A thousand that begin are a thousand writes of a second each at the server; a few links that change are few."""

    async def work() -> None:
        here = crowd(*links)
        for _ in range(3):
            await here.write({**NIC, "status": {"linkStatus": {"n1": [{"name": "eth2"}]}}})
        assert here.server.asked == [] and here.writer._paces.patience() == pytest.approx(within_s)
        clock[0] += within_s
        await here.writer._write()
        assert len(here.server.asked) == 1 and here.writer._paces.patience() is None

    run(work())


def test_among_many_a_moment_that_was_not_needed_is_none_for_the_next_change(clock: list[float]) -> None:
    """A switch that is started anew takes a link from all nodes and gives it back. Where that was sooner than a node's
    moment, the next change was written at once, by all such nodes."""

    async def work() -> None:
        here = crowd("eth1")
        for link in ("eth2", "eth1"):
            await here.write({**NIC, "status": {"linkStatus": {"n1": [{"name": link}]}}})
        clock[0] += 3600.0
        await here.write({**NIC, "status": {"linkStatus": {"n1": [{"name": "eth2"}]}}})
        assert here.server.asked == []

    run(work())


@pytest.mark.parametrize("no", [KubeError("silent"), KubeError("busy", code=429), KubeError("begins", code=503)])
def test_events_wait_for_a_server_that_does_not_answer(no: KubeError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "EVENT_S", 0.0)
    monkeypatch.setattr(writing, "EVENTS_AGAIN_S", 0.01)

    async def work() -> None:
        here = Run(known())
        here.server.no = no
        here.writer.happened({"metadata": {"namespace": "default", "name": f"e{n}"}} for n in range(300))
        teller = asyncio.create_task(here.writer.tell())
        await asyncio.sleep(0.05)
        assert {path for _, path in here.server.asked} == {"/api/v1/namespaces/default/events/e100"}
        here.server.no = None
        here.server.asked.clear()
        while len(here.server.asked) < writing.EVENTS_KEPT:
            await asyncio.sleep(0.01)
        assert here.server.asked[-1][1].endswith("/e299")
        teller.cancel()

    run(work())


def test_it_ends_when_it_is_told_to_whatever_is_due() -> None:
    async def work() -> None:
        here = Run(known(CONFIG))
        here.server.no = KubeError("may not", code=403)
        for _ in range(200):
            here.writer.want([STATUS])
            here.writer._paces._paces.clear()
            here.writer.wake()
            runner = asyncio.create_task(here.writer.run())
            await asyncio.sleep(0)
            for one in here.writer._paces._paces.values():
                one.due = 1.0
            await asyncio.sleep(0)
            runner.cancel()
            await asyncio.wait([runner], timeout=5)
            assert runner.cancelled()

    run(work())
