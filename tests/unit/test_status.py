"""What became of the objects: Harvester's documents from an observation, and the overview."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from windrow.apps.engine import converge, look, plan_node
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond, HostState, LacpState, Observed, Runtime
from windrow.model.leases import Asking, Lease, LeasedRoute
from windrow.model.meta import Meta
from windrow.model.names import ANNOTATION_MANAGED
from windrow.model.objects import LinkMonitor
from windrow.model.problems import Severity
from windrow.model.steps import Failure, SetMaster, SetSysctl
from windrow.model.values import Cidr, IfName, Mac
from windrow.model.wire import load_documents
from windrow.render.overview import Overview, overview_text, overview_value
from windrow.render.tables import ready, ready_message
from windrow.status import NodeReport, derive, overview
from windrow.status.clusternetwork import verdict
from windrow.status.linkmonitor import link_status, monitor_of, state
from windrow.status.vlanstatus import vlan_statuses
from windrow.testing.builders import (
    cluster,
    cluster_network,
    host_network,
    link,
    nad,
    node,
    ports,
    step,
    vlan_config,
)
from windrow.testing.fake import FakeKernel

KEY = "network.harvesterhci.io"


def wanted(mode: str = "active-backup", mtu: int = 9000) -> Cluster:
    return cluster(
        cluster_network("oob"),
        vlan_config("oob", ["eth1", "eth2"], mode, name="oob-all", mtu=mtu),
        nad("v100", "oob", 100),
        nad("trunk", "oob", trunk="7,200-202"),
        nad("plain", "oob"),
        host_network("oob", 300, {"n1": "10.3.0.1/24"}),
        node("n1", rack="1"),
        node("n2"),
    )


def nics() -> FakeKernel:
    return FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True)


def report(found: Cluster, kernel: FakeKernel, *failures: Failure) -> NodeReport:
    sight = look(kernel, "n1")
    planned = plan_node(found, sight)
    return NodeReport(
        node="n1",
        observed=sight.observed,
        plan=planned.plan,
        problems=planned.compiled.problems,
        failures=failures,
    )


def settled(found: Cluster, kernel: FakeKernel) -> NodeReport:
    for one in plan_node(found, look(kernel, "n1")).plan.steps:
        assert kernel.run([one]) is None
    return report(found, kernel)


def document(found: Cluster, known: NodeReport, kind: str, name: str) -> dict[str, Any]:
    (only,) = [d for d in derive(found, [known]) if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return only


# -- VlanStatus ------------------------------------------------------------------------------------


def test_a_vlanstatus_is_harvesters() -> None:
    (found,) = vlan_statuses(wanted(), settled(wanted(), nics()))
    assert found == {
        "apiVersion": f"{KEY}/v1beta1",
        "kind": "VlanStatus",
        "metadata": {
            "name": "oob-n1-58185098",
            "labels": {f"{KEY}/clusternetwork": "oob", f"{KEY}/node": "n1", f"{KEY}/vlanconfig": "oob-all"},
        },
        "status": {
            "clusterNetwork": "oob",
            "vlanConfig": "oob-all",
            "linkMonitor": "oob",
            "node": "n1",
            "conditions": [{"type": "ready", "status": "True"}],
        },
    }


def test_there_is_none_for_a_node_that_is_not_selected() -> None:
    config = vlan_config("oob", ["eth1"])
    other = cluster(cluster_network("oob"), type(config)(
        meta=config.meta, cluster_network="oob", uplink=config.uplink, node_selector={"rack": "9"}
    ))  # fmt: skip
    assert list(vlan_statuses(other, report(other, nics()))) == []


def test_why_it_is_not_ready() -> None:
    def message(known: NodeReport) -> tuple[str, str]:
        (found,) = vlan_statuses(wanted(), known)
        return ready(found), ready_message(found)

    assert message(report(wanted(), nics())) == ("False", "oob-bo, oob-br are not there")
    kernel = nics()
    settled(wanted(), kernel)
    kernel.machine.devices["oob-bo"].mtu = 1400
    assert message(report(wanted(), kernel)) == ("False", "oob-bo differs from the manifests")
    foreign = nics().add(link("oob-br", "dummy"))
    assert message(report(wanted(), foreign)) == ("False", "oob-br (dummy) exists and Windrow did not make it")
    refused = Failure(step=step("oob-bo", SetMaster(IfName("oob-br"))), errno=16, reason="Device busy", extack="no way")
    assert message(report(wanted(), kernel, refused)) == ("False", "oob-bo: no way (Device busy) [errno 16]")


# -- LinkMonitor -----------------------------------------------------------------------------------


def test_a_generated_monitor_sees_its_two_devices_only() -> None:
    kernel = nics().add(link("foob-br", "dummy")).add(link("oob-broker0", "dummy"))
    known = settled(wanted(), kernel)
    found = link_status(monitor_of("oob"), wanted(), known)
    assert [one["name"] for one in found] == ["oob-bo", "oob-br"]
    bond, bridge = found
    harvesters = {"name", "index", "type", "mac", "promiscuous", "state"}
    assert set(bond) == harvesters | {"masterIndex", "carrier"}
    assert set(bridge) == harvesters | {"carrier"}
    assert (bond["type"], bond["state"], bond["masterIndex"]) == ("bond", "up", bridge["index"])
    assert (bridge["promiscuous"], "masterIndex" in bridge) == (True, False)


@pytest.mark.parametrize(
    ("oper", "shown"),
    [("up", "up"), ("down", "down"), ("lowerlayerdown", "unknown"), ("dormant", "unknown"), ("unknown", "unknown")],
)
def test_states_are_mapped_as_harvester_does(oper: str, shown: str) -> None:
    assert state(Runtime(ifindex=1, oper=oper, carrier=True)) == shown


@pytest.mark.parametrize(
    ("oper", "carrier", "shown"),
    [("unknown", True, "up"), ("unknown", False, "down"), ("up", True, "up"), ("dormant", True, "unknown")],
)
def test_the_state_of_a_bridge_is_told_by_its_carrier_where_the_kernel_does_not_know(
    oper: str, carrier: bool, shown: str
) -> None:
    assert state(Runtime(ifindex=1, oper=oper, carrier=carrier), bridge=True) == shown


def test_a_monitor_of_nics_tells_speed_and_role() -> None:
    kernel = nics()
    settled(wanted(), kernel)
    kernel.machine.devices["eth1"].speed = 10_000
    kernel.pull("eth2")
    by_name = {f["name"]: f for f in link_status(LinkMonitor(meta=Meta(name="m")), wanted(), report(wanted(), kernel))}
    eth1, eth2 = by_name["eth1"], by_name["eth2"]
    assert (eth1["carrier"], eth1["speed"], eth1["duplex"], eth1["bondRole"]) == (True, 10_000, "full", "active")
    assert (eth2["carrier"], eth2["bondRole"]) == (False, "down")
    assert not {"speed", "duplex", "lacpPartner"} & set(eth2)
    kernel.plug("eth2")
    known = link_status(LinkMonitor(meta=Meta(name="m"), name_rule="eth2"), wanted(), report(wanted(), kernel))
    assert known[0]["bondRole"] == "backup"


def test_a_monitor_tells_the_lacp_partner() -> None:
    mac = Mac("02:00:00:00:00:99")
    links = {
        IfName("oob-bo"): link("oob-bo", Bond(mode=BondMode.LACP), up=True),
        IfName("eth1"): link("eth1", up=True, master="oob-bo"),
        IfName("eth2"): link("eth2", up=True, master="oob-bo"),
    }
    lacp = (LacpState(aggregator=1, partner_mac=mac), LacpState(aggregator=2))
    runtime = {IfName("oob-bo"): Runtime(ifindex=1, carrier=True, aggregator=1, partner_mac=mac)}
    runtime |= {
        IfName(f"eth{n + 1}"): Runtime(ifindex=n + 2, carrier=True, slave_active=True, lacp=one)
        for n, one in enumerate(lacp)
    }
    known = NodeReport(node="n1", observed=Observed(state=HostState(links=links), runtime=runtime))
    bond, eth1, eth2 = link_status(LinkMonitor(meta=Meta(name="m")), wanted(), known)
    assert bond["lacpPartner"] == mac
    assert (eth1["lacpPartner"], eth1["aggregator"], eth1["aggregatorActive"]) == (mac, 1, True)
    assert (eth2["lacpPartner"], eth2["aggregator"], eth2["aggregatorActive"]) == ("", 2, False)


def test_rules_are_regular_expressions_over_type_and_name() -> None:
    known = report(wanted(), nics().add(link("tap0", "tun")))

    def names(**rules: str) -> list[str]:
        return [f["name"] for f in link_status(LinkMonitor(meta=Meta(name="m"), **rules), wanted(), known)]

    assert names() == ["eth1", "eth2", "tap0"]
    assert names(type_rule="device") == ["eth1", "eth2"]
    assert names(type_rule="device", name_rule="2$") == ["eth2"]
    assert names(name_rule="(") == []
    elsewhere = LinkMonitor(meta=Meta(name="m"), node_selector={"rack": "9"})
    assert link_status(elsewhere, wanted(), known) == []


def test_ready_networks_have_a_monitor_and_others_have_none() -> None:
    def monitors(known: NodeReport) -> list[str]:
        return [d["metadata"]["name"] for d in derive(wanted(), [known]) if d["kind"] == "LinkMonitor"]

    assert monitors(settled(wanted(), nics())) == ["mgmt", "nic", "oob"]
    assert monitors(report(wanted(), nics())) == ["mgmt", "nic"]


# -- what the manager and the webhooks write -------------------------------------------------------


def test_a_clusternetwork_has_its_mtu_and_vlans() -> None:
    found = document(wanted(), settled(wanted(), nics()), "ClusterNetwork", "oob")
    vids = "7,100,200,201,202"
    assert found["metadata"]["annotations"] == {
        f"{KEY}/uplink-mtu": "9000",
        f"{KEY}/mtu-source-vc": "oob-all",
        f"{KEY}/vlan-id-set-str": vids,
        f"{KEY}/vlan-id-set-str-hash": hashlib.sha256(vids.encode()).hexdigest(),
    }
    assert ready(found) == "True"


def test_a_network_without_an_uplink_says_so() -> None:
    lonely = cluster(cluster_network("oob"))
    found = document(lonely, report(lonely, nics()), "ClusterNetwork", "oob")
    assert (ready(found), ready_message(found)) == ("False", "no VlanConfig gives it an uplink")


def of_node(name: str, found: Cluster, *, ready: bool) -> NodeReport:
    kernel = nics()
    return replace(settled(found, kernel) if ready else report(found, kernel), node=name)


def test_a_network_is_not_ready_while_a_node_that_should_carry_it_is_not() -> None:
    def said(*reports: NodeReport) -> tuple[bool | None, str, str]:
        network = wanted().cluster_network("oob")
        assert network is not None
        found = verdict(network, wanted(), reports)
        return found.ready, found.reason, found.message

    n1, n2 = of_node("n1", wanted(), ready=True), of_node("n2", wanted(), ready=True)
    broken = of_node("n2", wanted(), ready=False)
    assert said(n1, n2) == (True, "", "")
    assert said(n1) == (True, "ReadyHere", "on n1; nothing is known here of n2")
    assert said(n1, broken) == (False, "Missing", "n2: oob-bo, oob-br are not there")
    assert said(broken) == (False, "Missing", "n2: oob-bo, oob-br are not there")
    assert said() == (None, "NotHere", "it is for n1, n2, of which nothing is known here")


def test_a_network_that_is_on_other_nodes_only() -> None:
    config = replace(vlan_config("oob", ["eth1"]), node_selector={"rack": "9"})
    found = cluster(cluster_network("oob"), config, nad("v100", "oob", 100), node("n1", rack="1"), node("n9", rack="9"))
    known = report(found, nics())
    assert ready(document(found, known, "ClusterNetwork", "oob")) == "Unknown"
    assert f"{KEY}/ready" not in document(found, known, "NetworkAttachmentDefinition", "v100")["metadata"]["labels"]
    alone = found.without([node("n9").ref])
    assert ready_message(document(alone, known, "ClusterNetwork", "oob")) == "no VlanConfig of it selects a node"


def test_mgmt_is_ready_as_its_uplink_is_where_windrow_manages_it() -> None:
    meta = Meta(name="mgmt", annotations={ANNOTATION_MANAGED: "true"})
    config = replace(vlan_config("mgmt", ["eth1"]), meta=meta)
    found = cluster(config, node("n1"))
    assert ready(document(found, report(found, nics()), "ClusterNetwork", "mgmt")) == "False"


def test_mgmt_is_always_ready() -> None:
    assert ready(document(wanted(), report(wanted(), nics()), "ClusterNetwork", "mgmt")) == "True"


def test_a_vlanconfig_names_its_nodes() -> None:
    meta = document(wanted(), report(wanted(), nics()), "VlanConfig", "oob-all")["metadata"]
    assert meta["labels"] == {f"{KEY}/clusternetwork": "oob"}
    assert meta["annotations"] == {f"{KEY}/matched-nodes": '["n1","n2"]'}


def test_the_labels_of_nads() -> None:
    known = settled(wanted(), nics())

    def labels(name: str) -> dict[str, str]:
        found = document(wanted(), known, "NetworkAttachmentDefinition", name)
        return {key.removeprefix(f"{KEY}/"): value for key, value in found["metadata"]["labels"].items()}

    network = {"clusternetwork": "oob", "ready": "true"}
    assert labels("v100") == {"type": "L2VlanNetwork", "vlan-id": "100", **network}
    assert labels("trunk") == {"type": "L2VlanTrunkNetwork", **network}
    assert labels("plain") == {"type": "UntaggedNetwork", **network}


def test_the_mtu_goes_into_the_config_where_it_differs() -> None:
    def config(mtu: int) -> dict[str, Any]:
        found = wanted(mtu=mtu)
        text = document(found, report(found, nics()), "NetworkAttachmentDefinition", "v100")["spec"]["config"]
        return dict(json.loads(text))

    assert config(9000)["mtu"] == 9000
    assert "mtu" not in config(0)


def test_the_mtu_of_a_bridge_in_a_list_of_plugins_is_that_plugins() -> None:
    plugins = [{"type": "sbr"}, {"type": "bridge", "bridge": "oob-br"}]
    text = json.dumps({"cniVersion": "1.0.0", "name": "x", "plugins": plugins})
    document_ = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "x"}}
    (obj,) = load_documents(json.dumps({**document_, "spec": {"config": text}})).objects
    found = wanted().replace([obj])
    shown = document(found, report(found, nics()), "NetworkAttachmentDefinition", "x")
    assert json.loads(shown["spec"]["config"])["plugins"] == [plugins[0], {**plugins[1], "mtu": 9000}]
    assert shown["metadata"]["namespace"] == "default", "where it is, though its manifest does not say so"


def test_long_names_are_shortened_in_labels() -> None:
    config = replace(vlan_config("oob", ["eth1"]), meta=Meta(name="c" * 200))
    known = replace(report(wanted(), nics()), node="n" * 200)
    (found,) = vlan_statuses(cluster(cluster_network("oob"), config), known)
    values = found["metadata"]["labels"].values()
    assert sorted(map(len, values)) == [3, 63, 63]
    assert found["status"]["vlanConfig"] == "c" * 200


def test_a_hostnetworkconfig_has_the_state_of_each_node() -> None:
    found = document(wanted(), settled(wanted(), nics()), "HostNetworkConfig", "oob-300")
    assert found["status"]["nodeStatus"] == {
        "n1": {
            "clusterNetwork": "oob",
            "vlanID": 300,
            "mode": "static",
            "conditions": [{"type": "ready", "status": "True"}],
            "interface": "oob-br.300",
            "addresses": ["10.3.0.1/24"],
        }
    }


LEASE = Lease(
    interface=IfName("oob-br.300"),
    address=Cidr("10.3.0.7/24"),
    server="10.3.0.1",
    lease_s=3600,
    routes=(LeasedRoute(to="default", gateway="10.3.0.254"),),
    expires=1_764_009_720.0,
)


def by_dhcp(**known: Any) -> dict[str, Any]:
    """The state of a node whose address comes from a server: there is what `known` says, and no more."""
    found = cluster(cluster_network("oob"), vlan_config("oob", ["eth1"]), host_network("oob", 300), node("n1"))
    kernel, facts = nics(), Known(agent=True, **known)
    assert converge(found, kernel, "n1", knowing=lambda: facts).ok
    sight = look(kernel, "n1", facts)
    seen = NodeReport(node="n1", observed=sight.observed, leases=sight.facts.leases, asking=sight.facts.asking)
    states: dict[str, Any] = document(found, seen, "HostNetworkConfig", "oob-300")["status"]["nodeStatus"]["n1"]
    return states


def test_a_lease_is_shown_beside_the_address() -> None:
    found = by_dhcp(leases={LEASE.interface: LEASE})
    assert found["conditions"] == [{"type": "ready", "status": "True"}] and found["addresses"] == ["10.3.0.7/24"]
    assert found["lease"] == {
        "address": "10.3.0.7/24",
        "server": "10.3.0.1",
        "seconds": 3600,
        "expires": "2025-11-24T18:42:00Z",
        "routers": ["10.3.0.254"],
    }


@pytest.mark.parametrize(
    ("asking", "reason", "message"),
    [
        (None, "NoClient", "nobody asks for an address on VLAN 300"),
        (
            Asking(times=12, since=1_764_009_720.0),
            "NoLease",
            "waiting for a DHCP server on VLAN 300 (asked 12 times since 2025-11-24 18:42 UTC)",
        ),
        (
            Asking(times=0, since=1_764_009_720.0),
            "NoLease",
            "waiting for a DHCP server on VLAN 300 (since 2025-11-24 18:42 UTC)",
        ),
        (
            Asking(times=1, since=1_764_009_720.0, trouble="what 10.3.0.1 offers has no network mask"),
            "NoLease",
            "what 10.3.0.1 offers has no network mask (since 2025-11-24 18:42 UTC)",
        ),
        (
            Asking(times=0, since=1_764_009_720.0, declined="somebody else has 10.3.0.7 (MAC 02:00:00:00:00:99)"),
            "AddressInUse",
            f"{LEASE.interface}: somebody else has 10.3.0.7 (MAC 02:00:00:00:00:99); the DHCP server was told, and is "
            "asked for another",
        ),
    ],
)
def test_ready_is_an_address(asking: Asking | None, reason: str, message: str) -> None:
    """Harvester says ready as soon as there is an interface."""
    found = by_dhcp(asking={LEASE.interface: asking} if asking else {})
    assert found["conditions"] == [{"type": "ready", "status": "False", "reason": reason, "message": message}]
    assert "addresses" not in found and "lease" not in found


def test_node_labels_follow_what_stands_there() -> None:
    def labels(known: NodeReport, name: str) -> set[str]:
        return {k for k in document(wanted(), known, "Node", name)["metadata"]["labels"] if k.startswith(KEY)}

    ready_here = settled(wanted(), nics())
    assert labels(ready_here, "n1") == {f"{KEY}/mgmt", f"{KEY}/oob", f"{KEY}/vlanconfig"}
    assert labels(ready_here, "n2") == {f"{KEY}/mgmt"}
    assert labels(report(wanted(), nics()), "n1") == {f"{KEY}/mgmt"}


def test_without_a_report_there_is_no_status() -> None:
    documents = derive(wanted())
    assert not [d for d in documents if "status" in d or d["kind"] == "VlanStatus"]
    assert {d["kind"] for d in documents} >= {"ClusterNetwork", "VlanConfig", "Node"}


def test_deriving_changes_no_manifest() -> None:
    found = wanted()
    before = {ref: (dict(o.meta.labels), dict(o.doc)) for ref, o in found.objects.items()}
    derive(found, [settled(found, nics())])
    assert before == {ref: (dict(o.meta.labels), dict(o.doc)) for ref, o in found.objects.items()}


# -- the overview ----------------------------------------------------------------------------------


def seen(found: Cluster, known: NodeReport) -> tuple[Overview, str]:
    what = overview(found, known)
    return what, overview_text(what)


def test_all_is_well() -> None:
    what, text = seen(wanted(), settled(wanted(), nics()))
    assert what.well
    assert text == (
        "Node n1: all is well\n"
        "no agent runs here: nobody watches; `windrow apply` repairs what drifts\n"
        "\n"
        "mgmt  – not here: this node has no mgmt-br\n"
        "\n"
        "oob  ● ready\n"
        "  bridge  oob-br  MTU 9000\n"
        "  uplink  oob-bo  active-backup  active eth1\n"
        "          eth1  up\n"
        "          eth2  standby\n"
        "  VLANs   untagged 1, tagged 7,100,200-202,300\n"
        "  host    oob-br.300  VLAN 300  10.3.0.1/24\n"
    )


def test_what_is_wrong_comes_first_with_what_to_do() -> None:
    kernel = nics()
    settled(wanted(), kernel)
    kernel.pull("eth1")
    kernel.machine.devices["oob-bo"].mtu = 1400
    what, text = seen(wanted(), report(wanted(), kernel))
    assert not what.well
    lines = text.splitlines()
    assert lines[0] == "Node n1: 1 finding; 1 difference; not ready: oob"
    assert lines[3:7] == [
        "warning  ClusterNetwork/oob",
        "         oob-bo: eth1 without carrier; eth2 alone carries the traffic",
        "         → look at the cable and the switch port of eth1",
        "",
    ]
    assert lines[7] == "drift: 1 difference between the manifests and the kernel; see: windrow diff"
    assert "`windrow apply` repairs it in 1 step" in lines[8]


def test_an_uplink_without_any_carrier_is_an_error() -> None:
    kernel = nics()
    settled(wanted(), kernel)
    kernel.pull("eth1")
    kernel.pull("eth2")
    what, _ = seen(wanted(), report(wanted(), kernel))
    assert [(f.problem.code, f.problem.severity) for f in what.findings] == [("uplink-down", Severity.ERROR)]


def test_a_silent_switch_is_found() -> None:
    found = wanted("802.3ad")
    what, _ = seen(found, settled(found, nics()))
    assert [f.problem.code for f in what.findings] == ["lacp-partner"]


def test_the_overview_as_data() -> None:
    what, _ = seen(wanted(), settled(wanted(), nics()))
    value = json.loads(json.dumps(overview_value(what)))
    assert (value["apiVersion"], value["kind"], value["well"], value["drift"]["differences"]) == (
        "windrow/v1", "Status", True, 0
    )  # fmt: skip
    (oob,) = [n for n in value["clusterNetworks"] if n["name"] == "oob"]
    assert oob["uplink"]["nics"] == [
        {"name": "eth1", "state": "up", "note": ""},
        {"name": "eth2", "state": "standby", "note": ""},
    ]
    assert oob["hostInterfaces"] == [{"name": "oob-br.300", "vlan": 300, "addresses": ["10.3.0.1/24"]}]


def test_mgmt_is_shown_where_it_is() -> None:
    kernel = nics()
    kernel.add_nic("eth0", up=True)
    from windrow.model.host import Bond, Bridge

    kernel.add(link("mgmt-br", Bridge(vlan_filtering=True), up=True, addrs=frozenset({"192.168.1.2/24"})))
    kernel.add(link("mgmt-bo", Bond(), up=True, master="mgmt-br", vlans=ports("1*")))
    what, text = seen(wanted(), report(wanted(), kernel))
    assert what.networks[0].ready is True
    assert "  bridge  mgmt-br  MTU 1500  192.168.1.2/24\n" in text


def test_an_ipv6_address_without_ipv6_is_not_ready_and_says_which_sysctl() -> None:
    both = host_network("oob", 300, {"n1": "10.3.0.1/24,2001:db8:3::1/64"})
    found = cluster(cluster_network("oob"), vlan_config("oob", ["eth1"]), both, node("n1"))
    kernel = nics()
    settled(found, kernel)
    kernel.run([step("oob-br.300", SetSysctl("net/ipv6/conf/oob-br.300/disable_ipv6", "1"))])
    kernel.machine.get("oob-br.300").addrs.remove("2001:db8:3::1/64")  # addrconf_ifdown
    known = report(found, kernel)
    assert known.plan is not None and known.plan.empty
    state = document(found, known, "HostNetworkConfig", "oob-300")["status"]["nodeStatus"]["n1"]
    (condition,) = state["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "IPv6Off")
    assert "net.ipv6.conf.oob-br/300.disable_ipv6" in condition["message"] and state["addresses"] == ["10.3.0.1/24"]
