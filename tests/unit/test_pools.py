"""Address pools: who asks for an address, who gets which, what is remembered, what is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from windrow.compile.pools import allocate, applicants_of, scopes, serving_nodes
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.meta import Meta
from windrow.model.objects import Node
from windrow.model.pools import (
    Applicant,
    IPPool,
    NetworkConfig,
    PoolHost,
    PoolRoute,
    Record,
    VirtualMachineNetworkConfig,
    record_of,
)
from windrow.model.problems import Severity
from windrow.model.values import Mac, Ref
from windrow.model.wire import load_documents
from windrow.rules import changes_to, check
from windrow.rules.review import Change
from windrow.status import NodeReport, derive
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_record, write_record
from windrow.testing.builders import cluster_network, host_network, nad, vlan_config
from windrow.testing.fake import FakeKernel

MACHINE = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: NAME, namespace: default, annotations: {harvesterhci.io/mac-address: '{"two": "52:54:00:00:00:99"}'}}
spec:
  template:
    spec:
      domain:
        devices:
          interfaces:
          - {name: one, bridge: {}, macAddress: "MAC"}
          - {name: two, bridge: {}}
          - {name: three, bridge: {}}
      networks:
      - {name: one, multus: {networkName: vlan100}}
      - {name: two, multus: {networkName: vlan100}}
      - {name: three, multus: {networkName: vlan100}}
"""


def mac(number: int) -> Mac:
    return Mac(f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}")


def pool(**fields: Any) -> IPPool:
    given = {"start": "10.1.0.10", "end": "10.1.0.20", "server": "10.1.0.2", "router": "10.1.0.1"} | fields
    return IPPool(
        meta=Meta(name="vlan100", namespace="default"), network="default/vlan100", cidr="10.1.0.0/24", **given
    )


def config(name: str, *applicants: tuple[int, str], paused: bool = False) -> VirtualMachineNetworkConfig:
    return VirtualMachineNetworkConfig(
        meta=Meta(name=name, namespace="default"),
        vm_name=name,
        network_configs=tuple(
            NetworkConfig(network="default/vlan100", mac=mac(n), address=address) for n, address in applicants
        ),
        paused=paused,
    )


def machine(name: str, number: int) -> Any:
    loaded = load_documents(MACHINE.replace("NAME", name).replace("MAC", mac(number)))
    assert not loaded.problems
    return loaded.objects[0]


def cluster(*objects: Any) -> Cluster:
    return Cluster.of([cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("vlan100", "oob", 100), *objects])


def given(found: Cluster, record: Record | None = None) -> dict[str, str]:
    (scope,) = scopes(found, record or {})
    return {r.mac[-2:]: r.address for r in scope.reservations}


def test_the_lowest_that_is_free_in_the_order_of_names() -> None:
    found = given(cluster(pool(), config("b", (1, "")), config("a", (2, ""), (3, ""))))
    assert found == {"02": "10.1.0.10", "03": "10.1.0.11", "01": "10.1.0.12"}


def test_server_router_exclusions_and_hosts_in_the_vlan_are_never_given() -> None:
    where = pool(start="", end="10.1.0.6", exclude=("10.1.0.3",))
    host = host_network("oob", 100, {"n1": "10.1.0.4/24"})
    found = cluster(where, host, *(config(f"m{n}", (n, "")) for n in range(5)))
    (scope,) = scopes(found, {})
    assert [r.address for r in scope.reservations] == ["10.1.0.5", "10.1.0.6"]
    assert [w.applicant.mac for w in scope.waiting] == [mac(2), mac(3), mac(4)]
    assert scope.available == 0
    assert scope.status()["allocated"] == {
        "10.1.0.1": "RESERVED",
        "10.1.0.2": "RESERVED",
        "10.1.0.3": "EXCLUDED",
        "10.1.0.4": "RESERVED",
        "10.1.0.5": mac(0),
        "10.1.0.6": mac(1),
    }


def test_the_one_who_has_an_address_keeps_it() -> None:
    before = cluster(pool(), config("b", (1, "")))
    record = record_of(scopes(before, {}))
    after = cluster(pool(), config("b", (1, "")), config("a", (2, "")), config("c", (3, "10.1.0.10")))
    (scope,) = scopes(after, record)
    assert {r.mac: r.address for r in scope.reservations} == {mac(1): "10.1.0.10", mac(2): "10.1.0.11"}
    assert [w.reason for w in scope.waiting] == [
        f"10.1.0.10 is the address of {mac(1)} (VirtualMachineNetworkConfig/default/b)"
    ]


def test_what_a_deleted_machine_had_is_free_at_once() -> None:
    record = {"default/vlan100": {mac(1): "10.1.0.10", mac(2): "10.1.0.11"}}
    assert given(cluster(pool(), config("b", (2, "")), config("z", (3, ""))), record) == {
        "02": "10.1.0.11",
        "03": "10.1.0.10",
    }


def test_a_recorded_address_that_can_no_longer_be_given_is_left() -> None:
    record = {"default/vlan100": {mac(1): "10.1.0.10"}}
    assert given(cluster(pool(exclude=("10.1.0.10",)), config("a", (1, ""))), record) == {"01": "10.1.0.11"}


def test_who_asks_for_another_address_than_the_recorded_one_moves() -> None:
    record = {"default/vlan100": {mac(1): "10.1.0.10"}}
    assert given(cluster(pool(), config("a", (1, "10.1.0.15"))), record) == {"01": "10.1.0.15"}


def test_the_record_that_came_with_the_pool_goes_before_the_own_one() -> None:
    where = pool(allocated={mac(1): "10.1.0.17"})
    assert given(cluster(where, config("a", (1, "")))) == {"01": "10.1.0.17"}
    own = {"default/vlan100": {mac(1): "10.1.0.12", mac(2): "10.1.0.13"}}
    assert given(cluster(where, config("a", (1, ""), (2, ""))), own) == {"01": "10.1.0.17", "02": "10.1.0.13"}


def test_a_machine_asks_for_each_nic_with_an_address_of_its_own() -> None:
    found = cluster(pool(), machine("web", 7))
    applicants = applicants_of(found)["default/vlan100"]
    assert [(c.mac[-2:], c.hostname) for c in applicants] == [("07", "web"), ("99", "web")]
    assert given(found) == {"07": "10.1.0.10", "99": "10.1.0.11"}


def test_a_manifest_speaks_for_a_machine() -> None:
    found = cluster(pool(), machine("web", 7), config("web", (7, "10.1.0.20")))
    assert given(found) == {"07": "10.1.0.20", "99": "10.1.0.10"}
    paused = cluster(pool(), machine("web", 7), config("web", (7, "10.1.0.20"), paused=True))
    assert given(paused) == {"99": "10.1.0.10"}


def test_hosts_that_a_user_lists() -> None:
    where = pool(hosts=(PoolHost(mac=mac(1), address="10.1.0.12", hostname="printer"), PoolHost(mac=mac(2))))
    (scope,) = scopes(cluster(where), {})
    assert [(r.address, r.hostname) for r in scope.reservations] == [("10.1.0.10", ""), ("10.1.0.12", "printer")]


def test_a_large_pool_takes_no_longer_than_its_clients() -> None:
    applicants = [Applicant(mac=mac(n), owner=Ref("Test", "t")) for n in range(2000)]
    wide = replace(pool(), cidr="10.0.0.0/8", start="", end="", server="10.0.0.2", router="10.0.0.1")
    found, waiting = allocate(wide, applicants, {}, {})
    assert not waiting
    assert (found[0].address, found[-1].address) == ("10.0.0.3", "10.0.7.210")


def test_who_serves() -> None:
    (scope,) = scopes(cluster(pool()), {})
    assert serving_nodes(scope.pool, "oob", cluster(pool()), "here") == ("here",)
    (named,) = scopes(cluster(pool(nodes=("n7", "n8"))), {})
    assert serving_nodes(named.pool, "oob", cluster(), "here") == ("n7", "n8")
    (paused,) = scopes(cluster(pool(paused=True)), {})
    assert serving_nodes(paused.pool, "oob", cluster(), "here") == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("cidr", "10.1.0.0/16"), ("server", "10.1.0.3"), ("start", "10.1.0.11"), ("end", ""), ("router", "")],
)
def test_what_clients_rely_on_stays(field: str, value: str) -> None:
    before = cluster(pool())
    found = check(before, changes_to(before, [replace(pool(), **{field: value})]))
    assert [p.code for p in found] == ["immutable"]


def test_what_was_not_said_can_be_said_later() -> None:
    before = cluster(pool(router=""))
    assert not check(before, changes_to(before, [pool(exclude=("10.1.0.11",), dns=("1.1.1.1",), lease_s=600)]))


def test_a_pool_in_use_stays() -> None:
    before = cluster(pool(), machine("web", 7))
    (found,) = check(before, [Change(pool(), None)])
    assert found.code == "pool-in-use"
    assert "VirtualMachineNetworkConfig/default/web" in found.message
    assert not check(before, [Change(pool(), None), Change(machine("web", 7), None)])


def test_two_pools_in_one_vlan() -> None:
    other = IPPool(meta=Meta(name="too", namespace="default"), network="default/again", cidr="10.2.0.0/24")
    before = cluster(pool())
    found = check(before, changes_to(before, [nad("again", "oob", 100), other]))
    assert [p.code for p in found] == ["pool-twice"]


def elsewhere(cidr: str, **more: Any) -> list[Any]:
    """Another VLAN with a pool."""
    other = IPPool(meta=Meta(name="other", namespace="default"), network="default/vlan200", cidr=cidr, **more)
    return [nad("vlan200", "oob", 200), other]


@pytest.mark.parametrize(
    ("mine", "theirs", "severity"),
    [
        ((), (), Severity.ERROR),
        (("n1", "n2"), ("n2", "n3"), Severity.ERROR),
        (("n1", "n2"), ("n3",), Severity.WARNING),
    ],
)
def test_pools_that_overlap_in_two_vlans(mine: tuple[str, ...], theirs: tuple[str, ...], severity: Severity) -> None:
    before = cluster(pool(nodes=mine))
    (found,) = check(before, changes_to(before, elsewhere("10.1.0.0/16", nodes=theirs)))
    assert (found.code, found.severity, found.path) == ("pool-overlap", severity, "spec.ipv4Config.cidr")
    assert "10.1.0.0/24 of IPPool/default/vlan100" in found.message and found.hint
    assert not check(before, changes_to(before, elsewhere("10.2.0.0/16", nodes=theirs)))


def test_a_pool_that_overlaps_what_its_server_has_elsewhere() -> None:
    config = host_network("oob", 300, {"n1": "10.1.0.7/25"})
    before = cluster(config)
    (found,) = check(before, changes_to(before, [pool(nodes=("n2", "n1"))]))
    assert (found.code, found.severity) == ("pool-overlap", Severity.ERROR)
    assert "oob-br.300" in found.message
    assert not check(before, changes_to(before, [pool(nodes=("n2",))]))
    same_vlan = cluster(host_network("oob", 100, {"n1": "10.1.0.7/24"}))
    assert not check(same_vlan, changes_to(same_vlan, [pool(nodes=("n1",))]))


def test_nodes_that_are_not_there_or_twice() -> None:
    before = cluster(Node(meta=Meta(name="n1")))
    found = check(before, changes_to(before, [pool(nodes=("n1", "n9", "n1"))]))
    assert [(p.code, p.severity, p.path) for p in found] == [
        ("pool-node", Severity.WARNING, "spec.nodes[1]"),
        ("pool-node-twice", Severity.ERROR, "spec.nodes[2]"),
    ]


def test_a_server_whose_address_is_a_hosts() -> None:
    before = cluster(host_network("oob", 100, {"n1": "10.1.0.2/24"}))
    for nodes in (("n2",), ("n1", "n2")):
        (found,) = check(before, changes_to(before, [pool(nodes=nodes)]))
        assert (found.code, found.path) == ("pool-server", "spec.ipv4Config.serverIP")
    assert not check(before, changes_to(before, [pool(nodes=("n1",))]))


def test_a_node_without_the_cluster_network() -> None:
    elsewhere = replace(vlan_config("oob", ["eth1"]), node_selector={"kubernetes.io/hostname": "n2"})
    n1, n2 = Node(meta=Meta(name="n1")), Node(meta=Meta(name="n2", labels={"kubernetes.io/hostname": "n2"}))
    before = Cluster.of([cluster_network("oob"), elsewhere, nad("vlan100", "oob", 100), n1, n2])
    (found,) = check(before, changes_to(before, [pool(nodes=("n1", "n2"))]))
    assert (found.code, found.severity, found.path) == ("pool-node", Severity.WARNING, "spec.nodes[0]")


def test_an_mtu_that_the_network_does_not_carry() -> None:
    before = cluster()
    (found,) = check(before, changes_to(before, [pool(mtu=9000)]))
    assert (found.code, found.severity, found.path) == ("pool-mtu", Severity.WARNING, "spec.ipv4Config.mtu")
    assert not check(before, changes_to(before, [pool(mtu=1400)]))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        # 9 bytes each, and 5 of the default route; 27 of them fit.
        ({"routes": tuple(PoolRoute(to=f"172.16.0.{n}/32", via="10.1.0.3") for n in range(28))}, "routes"),
        # 14 bytes of each name, 2 of the pointer, 13 of the end once.
        ({"search": tuple(f"sub{n}-abcdefg.example.com" for n in range(10, 26))}, "domainSearch"),
    ],
)
def test_lists_that_no_option_holds(fields: dict[str, Any], path: str) -> None:
    before = cluster()
    (found,) = check(before, changes_to(before, [pool(**fields)]))
    assert (found.code, found.path) == ("pool-option-size", f"spec.ipv4Config.{path}")
    (name, values), *_ = fields.items()
    assert not check(before, changes_to(before, [pool(**{name: values[:-1]})]))


def test_a_host_outside_is_told_once() -> None:
    before = cluster()
    found = check(before, changes_to(before, [pool(hosts=(PoolHost(mac=mac(1), address="10.9.0.1"),))]))
    assert [p.code for p in found] == ["pool-outside"]


def test_a_pool_in_a_trunk() -> None:
    before = cluster(nad("trunk", "oob", trunk="100-200"))
    found = check(before, changes_to(before, [replace(pool(), network="default/trunk")]))
    assert [p.code for p in found] == ["pool-network"]


def test_the_record_on_disk(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert read_record(paths) == {}
    record = {"default/vlan100": {mac(1): "10.1.0.10"}}
    write_record(paths, record)
    assert read_record(paths) == record
    for text in ("", "[]", '{"pools": {"a": {"x": "y"}}}', '{"pools": 1}', "[" * 100_000):
        paths.pool_record.write_text(text)
        assert read_record(paths) == {}


def test_what_is_shown() -> None:
    found = cluster(pool(), machine("web", 7))
    report = NodeReport(node="n1", observed=FakeKernel().observe(), scopes=scopes(found, {}))
    documents = {(d["kind"], d["metadata"]["name"]): d for d in derive(found, [report])}
    status = documents["IPPool", "vlan100"]["status"]["ipv4"]
    assert (status["used"], status["available"]) == (2, 9)
    made = documents["VirtualMachineNetworkConfig", "web"]
    assert made["spec"]["vmName"] == "web"
    assert [c["allocatedIPAddress"] for c in made["status"]["networkConfigs"]] == ["10.1.0.10", "10.1.0.11"]
    labels = documents["NetworkAttachmentDefinition", "vlan100"]["metadata"]["labels"]
    assert labels["network.harvesterhci.io/ippool-name"] == "vlan100"
    assert NodeFacts(node="n1").record == {}
