"""Machines in the lab, as far as it goes without one: who should reach whom, and what guests' answers are read as."""

from __future__ import annotations

import pytest

from windrow.lab.domains import Domains
from windrow.lab.kernel import uml
from windrow.lab.machinechecks import draw
from windrow.lab.questions import read_answers
from windrow.lab.scenario import Scenario
from windrow.lab.scenario_file import Texts, parse, read
from windrow.lab.vm.fleet import Lease, read_state
from windrow.model.values import Cidr

# Who should reach whom ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seed() -> Scenario:
    return parse(read("seed"))


TOGETHER = [
    {"vm-a/vlan100", "vm-b/vlan100", "vm-c/vlan100", "o100-a", "o100-b", "dhcp/100"},
    {"vm-b/vlan200", "vm-d/vlan200", "dhcp/200"},
    {"vm-d/untagged", "plain-a", "dhcp"},
    {"vm-c/mgmt100", "m100-a", "gateway/100"},
    {"node-0", "node-1", "gateway/50"},
]


def test_the_seed_s_domains(seed: Scenario) -> None:
    """Those that the scenario's own check of isolation lists; nothing else reaches anybody by a bridge."""
    domains = Domains(seed)
    names = sorted(set().union(*TOGETHER))
    for a in names:
        for b in names:
            assert domains.expected(a, b) == any({a, b} <= group for group in TOGETHER), (a, b)


def test_the_pod_network_reaches_what_its_node_reaches(seed: Scenario) -> None:
    domains = Domains(seed)
    everybody = [*seed.vm_stations(), *seed.stations()]
    reached = {name for name in everybody if domains.expected("vm-a/default", name)} - {"vm-a/default"}
    # The gateway answers for its address in another VLAN, too: what is sent to a router, that router gets.
    assert reached == {"node-0", "node-1", "gateway/50", "gateway/100", "vm-b/default"}
    assert not domains.expected("vm-c/vlan100", "vm-a/default")


def changed(seed: Scenario, old: str, new: str) -> Domains:
    texts = read("seed")
    assert old in texts.text
    return Domains(parse(Texts(texts.file, texts.text.replace(old, new), texts.manifests)))


def test_what_a_switch_does_not_let_through(seed: Scenario) -> None:
    domains = changed(
        seed, '{names: [p1, p2, p3, p4], native: 1, vlans: "100,200"}', '{names: [p1, p2, p3, p4], vlans: "200"}'
    )
    assert domains.expected("vm-a/vlan100", "vm-b/vlan100"), "on one node"
    assert not domains.expected("vm-a/vlan100", "vm-c/vlan100")
    assert not domains.expected("vm-a/vlan100", "dhcp/100")
    assert domains.expected("vm-b/vlan200", "vm-d/vlan200")


def test_a_native_vlan_that_differs_from_one_end_to_the_other(seed: Scenario) -> None:
    """node-0 sends its management traffic without a tag, node-1 in VLAN 50: the switch joins them, or not."""
    domains = changed(seed, "{names: [p1, p2], native: 50,", "{names: [p1, p2], native: 51,")
    assert not domains.expected("node-0", "node-1")
    assert not domains.expected("vm-a/default", "node-1")
    assert domains.expected("vm-c/default", "gateway/50")
    # Tagged with the switch port's native VLAN, frames come back without a tag: that joins nothing.
    domains = changed(
        seed, '{names: [p3, p4], native: 1, vlans: "50,100"}', '{names: [p3, p4], native: 50, vlans: "100"}'
    )
    assert not domains.expected("node-1", "gateway/50")


def test_a_node_that_no_vlanconfig_matches(seed: Scenario) -> None:
    texts = read("seed")
    files = {**texts.manifests}
    files["oob.yaml"] = files["oob.yaml"].replace(
        "  clusterNetwork: oob\n", "  clusterNetwork: oob\n  nodeSelector: {kubernetes.io/hostname: node-0}\n"
    )
    assert files["oob.yaml"] != texts.manifests["oob.yaml"]
    domains = Domains(parse(Texts(texts.file, texts.text, files)))
    assert not domains.expected("vm-b/vlan200", "vm-d/vlan200")
    assert domains.expected("vm-b/vlan200", "dhcp/200")


SWITCHES = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: two}
spec:
  nodes: [{name: n, nics: [eth0]}]
  switches:
    - {name: one, ports: [{name: p1, vlans: "10,20"}, {name: up, native: 0, vlans: "10"}]}
    - {name: two, ports: [{name: p1, native: 10}, {name: p2, native: 20}, {name: up, native: 0, vlans: "10,20"}]}
  hosts:
    - {name: a, nics: [{name: eth0, addresses: {10: 10.0.0.1/24, 20: 10.1.0.1/24}}]}
    - {name: b, nics: [{name: eth0, addresses: {untagged: 10.0.0.2/24}}]}
    - {name: c, nics: [{name: eth0, addresses: {untagged: 10.1.0.2/24}}]}
  cables: [["a:eth0", "one:p1"], ["one:up", "two:up"], ["b:eth0", "two:p1"], ["c:eth0", "two:p2"]]
"""


def test_two_switches() -> None:
    domains = Domains(parse(Texts("two.yaml", SWITCHES, {})))
    assert domains.expected("a/10", "b")
    assert not domains.expected("a/20", "c"), "the cable between the switches does not carry VLAN 20"
    assert not domains.expected("b", "c")


# What guests say ----------------------------------------------------------------------------------


def test_answers() -> None:
    text = """\
ping eth1 10.0.0.1 0.412/0.500/0.588 ms
arp eth1 10.0.0.1
arp eth1 10.0.0.9
ping: sendto: Network is unreachable
"""
    assert read_answers(text) == {
        ("ping", "eth1", "10.0.0.1"): 0.412,
        ("arp", "eth1", "10.0.0.1"): None,
        ("arp", "eth1", "10.0.0.9"): None,
    }


STATE = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.2.2/24 brd 10.0.2.255 scope global eth0\\       valid_lft forever preferred_lft forever
3: eth1    inet 172.16.100.130/24 scope global eth1
3: eth1    inet 172.16.100.131/24 scope global secondary eth1
lease eth1 172.16.100.130/24 from 172.16.100.1 for 3600 s
mac eth0 02:00:00:00:00:01
uptime 5.71
"""


def test_the_state_of_a_guest() -> None:
    seen = read_state(STATE)
    assert seen.addresses == {"eth0": "10.0.2.2/24", "eth1": "172.16.100.130/24"}
    assert seen.leases == {"eth1": Lease(address=Cidr("172.16.100.130/24"), server="172.16.100.1")}
    assert seen.macs == {"eth0": "02:00:00:00:00:01"}
    assert seen.uptime_s == 5.71
    assert read_state("").addresses == {}


def test_the_matrix_as_people_see_it() -> None:
    sources = ["vm-a/default", "vm-a/vlan100", "vm-b/vlan100"]
    targets = [*sources, "node-0", "dhcp/100"]
    marks = {(a, b): "·" for a in sources for b in targets if a[:4] != b[:4]}
    marks |= {("vm-a/vlan100", "vm-b/vlan100"): "✓", ("vm-b/vlan100", "vm-a/vlan100"): "✗"}
    marks |= {("vm-a/default", "node-0"): "✓", ("vm-b/vlan100", "node-0"): "!"}
    assert draw(sources, targets, marks).splitlines() == [
        "                  1  2  3 node-0 dhcp/100",
        " 1 vm-a/default         ·      ✓        ·",
        " 2 vm-a/vlan100         ✓      ·        ·",
        " 3 vm-b/vlan100   ·  ✗         !        ·",
    ]


def test_the_lab_has_the_memory_that_its_machines_need() -> None:
    assert uml.memory_for([]) == uml.MEMORY
    assert uml.memory_for([112 << 20] * 4) == "1280M"
