"""Links that a plan deletes one after the other are sent together, in their order, and nothing else is with them."""

from __future__ import annotations

from windrow.apps.engine import bursts, converge, execute, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.steps import DeleteLink, Plan
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

NODE = "node-0"
NETWORKS = tuple(builders.host_network("oob", vid, {NODE: f"10.0.{vid}.1/24"}) for vid in (10, 20, 30))
CLUSTER = Cluster.of((builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1", "eth2"]), *NETWORKS))


def host() -> FakeKernel:
    kernel = FakeKernel()
    for number in range(3):
        kernel.add_nic(f"eth{number}", up=True)
    assert converge(CLUSTER, kernel, NODE).ok
    return kernel


def plan(kernel: FakeKernel, cluster: Cluster) -> Plan:
    return plan_node(cluster, look(kernel, NODE, Known())).plan


def deletions(found: Plan) -> list[list[str]]:
    """The links that go, by what is sent together."""
    sent = [
        [step.link for step in together if isinstance(step.action, DeleteLink)]
        for unit in found.units
        for together in bursts(unit.steps)
    ]
    return [links for links in sent if links]


def test_a_whole_cluster_network_goes_together() -> None:
    kernel = host()
    found = plan(kernel, Cluster.of(()))
    assert deletions(found) == [["oob-br.10", "oob-br.20", "oob-br.30"], ["oob-bo", "oob-br"]]
    assert execute(found, kernel).ok
    assert not [name for name in kernel.observe().state.links if name.startswith("oob")]


def test_what_else_is_done_is_not_among_them() -> None:
    kernel = host()
    found = plan(kernel, Cluster.of(o for o in CLUSTER.objects.values() if o not in NETWORKS[1:]))
    assert deletions(found) == [["oob-br.20", "oob-br.30"]]
    (together,) = [t for u in found.units for t in bursts(u.steps) if isinstance(t[0].action, DeleteLink)]
    assert all(isinstance(step.action, DeleteLink) for step in together)


def test_one_that_is_gone_by_then_stops_none_of_the_others() -> None:
    kernel = host()
    found = plan(kernel, Cluster.of(()))
    kernel.machine.vanish(kernel.machine.get("oob-br.20"))
    assert execute(found, kernel).ok
    assert not [name for name in kernel.observe().state.links if name.startswith("oob")]
