"""Metrics as Prometheus reads them, and the agent's health."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from windrow.apps.agent.metrics import complaints, exposition
from windrow.apps.agent.snapshot import Counters, Snapshot, Timings
from windrow.apps.engine import converge, look, plan_node
from windrow.model.agentstatus import AgentStatus, Contest, StepFailure
from windrow.model.events import Condition, EventType
from windrow.model.findings import Certainty, Finding, Fix, Grade, Reason
from windrow.model.ruletable import VERDICT_MAP, RuleTable, TableSet
from windrow.model.values import IfName, Ref
from windrow.testing.builders import cluster, cluster_network, host_network, link, vlan_config
from windrow.testing.fake import FakeKernel

OOB = Ref("ClusterNetwork", "oob")
STATUS = AgentStatus(node="n1", pid=7, ticks=1, version="1.2.3", started=1_700_000_000.25, last_round=1_700_000_100.5)

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Values:
    """Every sample, once."""
    found: Values = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter"), family
        assert family.name.startswith("windrow_")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Values, name: str, /, **labels: str) -> float:
    return found[f"windrow_{name}", frozenset(labels.items())]


def kernel(mode: str = "active-backup") -> FakeKernel:
    made = FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True)
    wanted = cluster(
        cluster_network("oob"),
        vlan_config("oob", ["eth1", "eth2"], mode),
        host_network("oob", 300, {"n1": "10.3.0.1/24"}),
    )
    assert converge(wanted, made, "n1").ok
    return made


def test_links_and_bonds() -> None:
    host = kernel()
    host.add(link("veth0", "veth", up=True, master="oob-br"))
    host.machine.devices["eth1"].speed = 10_000
    host.pull("eth2")
    found = read(exposition(Snapshot(status=STATUS, observed=host.observe())))
    assert value(found, "link_carrier", link="eth1", kind="device") == 1
    assert value(found, "link_carrier", link="eth2", kind="device") == 0
    assert value(found, "link_up", link="eth2", kind="device") == 1
    assert value(found, "link_carrier_losses_total", link="eth2", kind="device") == 1
    assert value(found, "link_speed_bytes", link="eth1", kind="device") == 1.25e9
    assert value(found, "link_mtu_bytes", link="oob-br.300", kind="vlan") == 1500
    assert value(found, "bridge_ports", link="oob-br") == 2
    assert value(found, "bond_slaves", bond="oob-bo", clusternetwork="oob") == 2
    assert value(found, "bond_slaves_usable", bond="oob-bo", clusternetwork="oob") == 1
    assert value(found, "bond_faults", bond="oob-bo", clusternetwork="oob") == 1
    assert value(found, "bond_slave_usable", bond="oob-bo", slave="eth2") == 0
    assert value(found, "bond_slave_active", bond="oob-bo", slave="eth1") == 1
    assert value(found, "bond_slave_failures_total", bond="oob-bo", slave="eth1") == 0
    names = {name for name, labels in found if ("link", "veth0") in labels}
    assert names == set(), "the port of a machine is no series of its own"
    assert not [name for name, _ in found if "lacp" in name or "aggregator" in name]


def test_lacp() -> None:
    found = read(exposition(Snapshot(status=STATUS, observed=kernel("802.3ad").observe())))
    assert value(found, "bond_lacp_partner", bond="oob-bo", clusternetwork="oob") == 0
    assert value(found, "bond_slave_in_aggregator", bond="oob-bo", slave="eth1") == 1


def test_the_agent_itself() -> None:
    snapshot = Snapshot(
        status=STATUS,
        counters=Counters(rounds=12, repaired=3, steps_done=40, steps_failed=1, events={EventType.WARNING: 5}),
        timings=Timings(observe=0.01, plan=0.002, whole=0.5),
        lease_ends={IfName("oob-br.300"): 1_700_003_600.0},
    )
    found = read(exposition(snapshot))
    assert value(found, "agent_info", node="n1", version="1.2.3") == 1
    assert value(found, "start_time_seconds") == 1_700_000_000.25
    assert value(found, "last_round_timestamp_seconds") == 1_700_000_100.5
    assert value(found, "rounds_total") == 12
    assert value(found, "drift_repaired_total") == 3
    assert value(found, "steps_total", result="failed") == 1
    assert (value(found, "events_total", type="Warning"), value(found, "events_total", type="Normal")) == (5, 0)
    assert value(found, "observe_duration_seconds") == 0.01
    assert value(found, "last_round_duration_seconds") == 0.5
    assert value(found, "dhcp_lease_expiry_timestamp_seconds", link="oob-br.300") == 1_700_003_600


def test_what_is_still_to_do() -> None:
    host = kernel()
    host.machine.devices["oob-bo"].mtu = 1400
    wanted = cluster(cluster_network("oob"), vlan_config("oob", ["eth1", "eth2"]))
    planned = plan_node(wanted, look(host, "n1"))
    found = read(exposition(Snapshot(status=STATUS, observed=host.observe(), left=planned.plan)))
    assert value(found, "plan_steps_left") == len(planned.plan.steps) > 0
    assert value(found, "plan_differences_left") > 0


def test_conditions() -> None:
    conditions = (
        Condition(about=OOB, type="ready", status=True, since=10.5),
        Condition(about=OOB, type="Degraded", status=False, since=11),
        Condition(about=Ref("VirtualMachine", "web", "default"), type="ready", status=None, since=12),
    )
    status = AgentStatus(node="n1", pid=7, ticks=1, version="1", started=0, conditions=conditions)
    found = read(exposition(Snapshot(status=status)))
    oob = {"kind": "ClusterNetwork", "name": "oob"}
    assert value(found, "condition", type="ready", **oob) == 1
    assert value(found, "condition", type="Degraded", **oob) == 0
    assert value(found, "condition_last_transition_time_seconds", type="ready", **oob) == 10.5
    assert not [labels for _, labels in found if ("kind", "VirtualMachine") in labels]


def test_how_many_ports_policies_isolate() -> None:
    seen = kernel().observe()
    arriving = TableSet(form=VERDICT_MAP, members=frozenset({"veth1 : to-veth1", "veth2 : to-veth2"}))
    leaving = TableSet(form=VERDICT_MAP, members=frozenset({"veth1 : from-veth1"}))
    table = RuleTable(sets={"to-ports": arriving, "from-ports": leaving})
    for policies, expected in ((table, 2), (RuleTable(), 0), (None, None)):
        there = replace(seen, state=replace(seen.state, policies=policies))
        found = read(exposition(Snapshot(status=STATUS, observed=there)))
        assert found.get(("windrow_policy_isolated_ports", frozenset())) == expected


def test_what_is_wrong_outside() -> None:
    finding = Finding(
        reason=Reason.VLAN_MISSING, grade=Grade.ERROR, certainty=Certainty.LIKELY, message="", fix=Fix(words=""),
        place="Ethernet1 of tor-1",
    )  # fmt: skip
    other = replace(finding, place="Ethernet2 of tor-1")
    note = replace(finding, reason=Reason.NODE_SILENT, grade=Grade.NOTE, certainty=Certainty.UNKNOWN)
    found = read(exposition(Snapshot(status=STATUS, outside=(finding, other, note))))
    assert value(found, "findings", reason="VlanMissing", grade="error", certainty="likely") == 2
    assert value(found, "findings", reason="NodeSilent", grade="note", certainty="unknown") == 1
    assert "windrow_findings" not in exposition(Snapshot(status=STATUS))


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "new\nline", "ünï", "\udcff\udc80", "{}=,"])
def test_any_name_of_a_link_is_read_back(name: str) -> None:
    ends = {IfName(name): 1.0}
    (labels,) = [
        dict(labels) for n, labels in read(exposition(Snapshot(status=STATUS, lease_ends=ends))) if "dhcp" in n
    ]
    assert labels["link"] == name.encode("utf-8", "replace").decode()


def test_health() -> None:
    assert complaints(None) == ("the network has not been looked at yet",)
    assert complaints(Snapshot(status=STATUS)) == ("the network has not been looked at yet",)
    observed = kernel().observe()
    assert complaints(Snapshot(status=STATUS, observed=observed)) == ()
    failure = StepFailure(about=OOB, link=IfName("oob-bo"), message="oob-bo: Device or resource busy [errno 16]")
    contest = Contest(about=OOB, link=IfName("oob-br"), field="mtu", repaired=3, since=1, rival="NetworkManager")
    status = AgentStatus(node="n1", pid=7, ticks=1, version="1", started=0, failures=(failure,), contests=(contest,))
    assert complaints(Snapshot(status=status, observed=observed)) == (
        "ClusterNetwork/oob: oob-bo: Device or resource busy [errno 16]",
        "ClusterNetwork/oob: oob-br: mtu is changed back by NetworkManager",
    )


def test_a_cable_that_is_out_is_not_the_agents_trouble() -> None:
    host = kernel()
    host.pull("eth1")
    host.pull("eth2")
    assert complaints(Snapshot(status=STATUS, observed=host.observe())) == ()
