"""From Harvester's controller to Windrow: what objects say against it, and who holds which lock meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.apiobject import ApiObject

from windrow.apps.manager.handover import REPLICAS, STOPPED, Handing, Settings, _starting, _stopping
from windrow.apps.manager.known import read
from windrow.apps.manager.lease import Lease, Leases, holder
from windrow.kube.errors import KubeError
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.problems import Problem, ProblemsError, errors
from windrow.status.manager.handover import against, unfinished

GROUP = "network.harvesterhci.io"
MATCHED = f"{GROUP}/matched-nodes"


def document(kind: str, name: str, spec: Any = None, status: Any = None, **meta: Any) -> dict[str, Any]:
    version = "v1" if kind == "Node" else f"{GROUP}/v1beta1"
    found = {"apiVersion": version, "kind": kind, "metadata": {"name": name, **meta}}
    return found | ({"spec": spec} if spec else {}) | ({"status": status} if status else {})


def uplink(matched: str | None = '["n1"]', **more: Any) -> dict[str, Any]:
    spec = {"clusterNetwork": "oob", "nodeSelector": {"rack": "a"}, "uplink": {"nics": ["eth1"]}}
    return document("VlanConfig", "oob", spec, annotations={MATCHED: matched} if matched else {}, **more)


def said_by(manager: str, node: str = "n1", ready: str = "True") -> dict[str, Any]:
    status = {
        "clusterNetwork": "oob",
        "vlanConfig": "oob",
        "linkMonitor": "oob",
        "node": node,
        "conditions": [{"type": "ready", "status": ready}],
    }
    return document("VlanStatus", f"oob-{node}", status=status, managedFields=[{"manager": manager}])


NODES = (document("Node", "n1", labels={"rack": "a"}), document("Node", "n2", labels={"rack": "b"}))
OOB = document("ClusterNetwork", "oob")


def problems(judge: Any, *documents: dict[str, Any]) -> tuple[Problem, ...]:
    kept = [found for one in documents if (found := read(one))]
    cluster = Cluster.of(one.obj for one in kept)
    return tuple(judge(cluster, {one.obj.ref: one for one in kept}))


def test_what_is_as_its_selector_says_may_go() -> None:
    assert problems(against, *NODES, OOB, uplink(), said_by("harvester")) == ()


@pytest.mark.parametrize(
    ("matched", "said"),
    [
        ('["n1","n2"]', "Harvester has set it up on n2, which its selector does not choose"),
        ('["n2"]', "its selector chooses n1, where Harvester has not set it up"),
        (None, "its selector chooses n1, where Harvester has not set it up"),
        ("nonsense", "its selector chooses n1, where Harvester has not set it up"),
    ],
)
def test_a_stale_annotation_would_give_or_take_a_network(matched: str | None, said: str) -> None:
    """Harvester's agents go by it alone (its webhook leaves it where nothing matches any more)."""
    found = errors(problems(against, *NODES, OOB, uplink(matched)))
    assert any(said in problem.message for problem in found), found


def test_what_goes_is_waited_for() -> None:
    (found,) = errors(problems(against, *NODES, OOB, uplink(deletionTimestamp="2026-01-01T00:00:00Z")))
    assert found.message == "is being deleted" and str(found.about) == "VlanConfig/oob"


def test_what_does_not_work_now_is_worth_knowing() -> None:
    found = problems(against, *NODES, OOB, uplink(), said_by("harvester", ready="False"))
    assert errors(found) == () and found[0].message == "cluster network oob is not ready on n1"


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ((), "Windrow's agent on n1 has said nothing"),
        ((said_by("harvester-network-controller"),), "Windrow's agent on n1 has said nothing"),
        ((said_by("windrow-agent.n2"),), "Windrow's agent on n1 has said nothing"),
        ((said_by("windrow-agent.n1", ready="False"),), "it is not ready on n1"),
        ((said_by("windrow-agent.n1"),), ""),
    ],
)
def test_it_is_done_where_windrows_own_agent_says_so(statuses: tuple[dict[str, Any], ...], said: str) -> None:
    found = problems(unfinished, *NODES, OOB, uplink(), *statuses)
    assert [said in problem.message for problem in found] == ([True] if said else [])


def test_a_node_with_a_long_name_is_done_too() -> None:
    """Of a field manager's name an API server takes 128 characters, so its agent's has a hash in it."""
    node = "n" * 120
    there = document("Node", node, labels={"rack": "a"})
    assert problems(unfinished, there, OOB, uplink(), said_by(names.field_manager(node), node)) == ()


# Workloads ---------------------------------------------------------------------------------------


def test_a_deployment_goes_on_with_as_many_as_it_had() -> None:
    there: dict[str, Any] = {"metadata": {}, "spec": {"replicas": 3}}
    patch = _stopping(there)
    assert patch == {"metadata": {"annotations": {REPLICAS: "3"}}, "spec": {"replicas": 0}}
    stopped = {"metadata": {"annotations": {REPLICAS: "3"}}, "spec": {"replicas": 0}}
    assert _stopping(stopped) == {}, "a second time does not forget how many there were"
    assert _starting(stopped) == {"metadata": {"annotations": {REPLICAS: None}}, "spec": {"replicas": 3}}
    assert _starting(there) == {}


def test_agents_go_where_no_node_is_and_come_back() -> None:
    there: dict[str, Any] = {"metadata": {}, "spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    assert _stopping(there)["spec"]["template"]["spec"]["nodeSelector"] == {STOPPED: "true"}
    stopped = {"metadata": {}, "spec": {"template": {"spec": {"nodeSelector": {STOPPED: "true", "a": "b"}}}}}
    assert _stopping(stopped) == {}
    assert _starting(stopped)["spec"]["template"]["spec"]["nodeSelector"] == {STOPPED: None}
    assert _starting(there) == {}


# Locks -------------------------------------------------------------------------------------------


def test_whose_turn_it_is_with_two_locks() -> None:
    """Whoever holds one of them alone does not lead."""

    async def work() -> None:
        own, theirs, now = ApiObject(), ApiObject(), [0.0]
        places = (("ns", "own"), ("kube-system", "theirs"))
        both = Leases([Lease(one.ask, p, "w", lambda: now[0]) for one, p in zip((own, theirs), places, strict=True)])
        harvester = Lease(theirs.ask, places[1], "h", lambda: now[0])
        assert await harvester.turn()
        assert not await both.turn() and both.left_s <= 0
        await harvester.release()
        now[0] += 2
        assert await both.turn() and both.left_s > 0
        assert not await harvester.turn()
        assert (await holder(own.ask, places[0]), await holder(theirs.ask, places[1])) == ("w", "w")
        await both.release()
        assert both.left_s <= 0 and await harvester.turn()

    asyncio.run(work())


def test_without_harvesters_kinds_there_is_nothing_to_take_over() -> None:
    class Nothing:
        async def ask(self, method: str, path: str, *_: Any, **__: Any) -> dict[str, Any]:
            assert method == "GET"
            raise KubeError("no", code=404)

    handing = Handing(Nothing(), Settings(lease=("a", "b"), identity="w", patience_s=1.0), print)  # type: ignore[arg-type]
    (found,) = asyncio.run(handing.check())
    assert "there is nothing to take over" in found.message
    with pytest.raises(ProblemsError):
        asyncio.run(handing.begin())


class Server:
    """`lists`: what there is, by path. `leases`: namespace and name of those that somebody may hold."""

    def __init__(self, lists: dict[str, list[dict[str, Any]]], *leases: tuple[str, str]) -> None:
        self._lists, self.leases = lists, {place: ApiObject() for place in leases}
        self.changed: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        for (namespace, name), lease in self.leases.items():
            if f"/namespaces/{namespace}/leases" in path and (method == "POST" or path.endswith(f"/{name}")):
                return await lease.ask(method, path, body)
        if method != "GET":
            self.changed.append(path)
        return {"items": self._lists.get(path, [])}


def handing(server: Server) -> Handing:
    settings = Settings(lease=("ns", "own"), identity="w", patience_s=0.0)
    return Handing(server, settings, lambda _: None)  # type: ignore[arg-type]


def test_no_agent_comes_back_beside_a_pod_that_has_not_ended() -> None:
    """helm uninstall takes the DaemonSet, and its pods end later: an agent has a minute for it."""
    server = Server({"/api/v1/pods": [{"metadata": {"namespace": "harvester-system", "name": "windrow-agent-7xk2p"}}]})
    with pytest.raises(ProblemsError) as refused:
        asyncio.run(handing(server).back())
    assert "pod harvester-system/windrow-agent-7xk2p is still there" in str(refused.value)
    assert server.changed == []


def test_who_does_not_get_the_second_lock_lets_the_first_go() -> None:
    async def work() -> None:
        places = (("ns", "own"), ("kube-system", "theirs"))
        server = Server({}, *places)
        assert await Lease(server.ask, places[1], "h").turn()
        with pytest.raises(KubeError, match="another manager leads"):
            async with handing(server)._locks(*places):
                raise AssertionError("it is another one's")
        assert [await holder(server.ask, place) for place in places] == ["", "h"]

    asyncio.run(work())
