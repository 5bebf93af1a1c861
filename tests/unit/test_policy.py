"""Network policies: what the specification says of a packet, and what the compiled table does with it, are the same."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.unit import policyworld as world
from tests.unit.policyworld import HOST, OUTSIDE, PROBES, policy

from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.policies import Direction, MultiNetworkPolicy, NetworkPolicy, Pod
from windrow.model.ruletable import RuleTable
from windrow.model.values import IfName, Ref
from windrow.model.wire import dump, load_documents
from windrow.policy import Endpoint, Packet, allows, compile_policies
from windrow.policy.compiler import ranges
from windrow.policy.nft import FAMILY, TABLE, closed, program, read, table
from windrow.port.firewall import let_through

THERE = world.places()
CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
ADDRESS = {f"{p.pod.meta.namespace}/{p.pod.name}": p.pod.addresses[0] for p in THERE}


def said(objects: Cluster, source: str, destination: str, protocol: str = "TCP", port: int = 80) -> str:
    packet = Packet(source=ADDRESS[source], destination=ADDRESS[destination], protocol=protocol, port=port)
    return str(allows(objects, packet))


# The specification ------------------------------------------------------------------------------------


def test_without_a_policy_everybody_speaks_with_everybody() -> None:
    assert said(world.cluster([], THERE), "x/a", "z/c") == "allowed: no policy is about it"


def test_a_verdict_names_who_decided() -> None:
    web = policy("x", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 9}]}, {ports: [{port: 80}]}]}")
    objects = world.cluster([web], THERE)
    assert said(objects, "y/b", "x/a") == "allowed by NetworkPolicy/x/p, ingress[1]"
    assert said(objects, "y/b", "x/a", port=81).startswith("denied: NetworkPolicy/x/p isolates the pod (ingress)")
    assert said(objects, "x/a", "y/b", port=81) == "allowed: no policy is about it"


def test_a_pod_reaches_itself_and_its_own_node_whatever_is_said() -> None:
    objects = world.cluster([policy("x", world.EDGES[3])], THERE)
    assert said(objects, "x/a", "x/a") == "allowed: no policy is about it"
    place = next(p for p in THERE if p.pod.ref == Ref("Pod", "a", "x"))
    for node, allowed in ((place.node, True), (next(n for n in HOST if n != place.node), False)):
        to_node = Packet(source=ADDRESS["x/a"], destination=HOST[node][0])
        assert allows(objects, to_node, HOST[place.node]).allowed is allowed


def test_both_ends_must_let_it_pass() -> None:
    out = policy("x", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}")
    closed = policy("y", "{podSelector: {}}")
    objects = world.cluster([out, closed], THERE)
    assert "NetworkPolicy/y/p isolates the pod (ingress)" in said(objects, "x/a", "y/a")
    assert said(objects, "x/a", "z/a") == "allowed by NetworkPolicy/x/p, egress[0]"


def test_pods_of_the_host_network_and_finished_ones_are_nobodys_peers() -> None:
    pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: q, namespace: x, labels: {pod: b}}\n"
    for more in (
        "spec: {hostNetwork: true}\nstatus: {podIP: 192.0.2.9}\n",
        "status: {podIP: 192.0.2.9, phase: Failed}\n",
    ):
        rule = policy("x", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")
        objects = world.cluster([rule, *world.loaded(pods + more)], THERE)
        assert not allows(objects, Packet(source="192.0.2.9", destination=ADDRESS["x/a"])).allowed


# The truth table --------------------------------------------------------------------------------------


def test_the_truth_table() -> None:
    """Each policy × each ordered pair of the nine pods, in both families, and the world outside × ports."""
    wrong: list[str] = []
    counts: Counter[bool] = Counter()
    policies = list(world.texts())
    pairs = list(world.pairs(THERE))
    assert len(policies) >= 150 and len(set(policies)) == len(policies)
    for namespace, spec in policies:
        objects = world.cluster([policy(namespace, spec)], THERE)
        tables = world.tables(objects, THERE)
        for source, destination in pairs:
            for protocol, port in PROBES:
                packet = Packet(source=source, destination=destination, protocol=protocol, port=port)
                verdict = allows(objects, packet).allowed
                counts[verdict] += 1
                if world.passes(tables, THERE, packet) is not verdict:
                    wrong.append(f"{namespace}: {spec}: {packet}: should be {verdict}")
    assert not wrong, wrong[:5]
    assert min(counts.values()) > 10_000, counts


def test_egress_is_judged_by_the_pod_that_a_service_leads_to() -> None:
    """Not by the address of the Service, which no policy names; on the same node as on another one."""
    peers = (
        "{podSelector: {matchLabels: {pod: b}}}",
        "{ipBlock: {cidr: 10.52.0.0/16}}",
        "{ipBlock: {cidr: 10.53.0.0/16}}",
    )
    counts: Counter[bool] = Counter()
    for peer in peers:
        spec = f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{peer}], ports: [{{port: 80}}]}}]}}"
        objects = world.cluster([policy("x", spec)], THERE)
        tables = world.tables(objects, THERE)
        for source, destination in itertools.permutations(ADDRESS.values(), 2):
            packet = Packet(source=source, destination=destination, port=80)
            verdict = allows(objects, packet).allowed
            counts[verdict] += 1
            assert world.passes(tables, THERE, packet, service="10.53.0.7") is verdict, (peer, packet)
    assert min(counts.values()) > 20, counts


# The compiler -----------------------------------------------------------------------------------------


def endpoints(node: str) -> list[Endpoint]:
    return [Endpoint(port=p.port, pod=p.pod.ref) for p in THERE if p.node == node]


def test_a_port_that_nobody_isolates_is_left_alone() -> None:
    objects = world.cluster([policy("x", "{podSelector: {matchLabels: {pod: a}}}")], THERE)
    rules = {node: compile_policies(objects, endpoints(node), HOST[node]) for node in HOST}
    assert [list(one.ports) for one in rules.values()] == [["veth-xa"], []]
    assert not table(rules["n2"]).guarded and table(rules["n2"]).judged == {p.port for p in THERE if p.node == "n2"}
    assert table(compile_policies(world.cluster([], THERE), endpoints("n1"), HOST["n1"])).empty
    assert set(rules["n1"].ports[IfName("veth-xa")].chains) == {Direction.INGRESS}


def test_a_new_label_changes_members_and_nothing_else() -> None:
    rule = policy(
        "x", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {in: club}}}]}]}"
    )
    before, labels = world.cluster([rule], THERE), {"pod": "c", "in": "club"}
    member = next(p.pod for p in THERE if p.pod.ref == Ref("Pod", "c", "x"))
    joined = Pod(meta=Meta(name="c", namespace="x", labels=labels), addresses=member.addresses)
    after = before.replace([joined])
    old, new = (table(compile_policies(one, endpoints("n1"), HOST["n1"])) for one in (before, after))
    commands = json.loads(program(new, old))["nftables"]
    assert [(verb, *what) for command in commands[1:] for verb, what in command.items()] == [("add", "element")] * 2
    assert sorted(a for c in commands[1:] for a in c["add"]["element"]["elem"]) == sorted(member.addresses)
    back = json.loads(program(old, new))["nftables"]
    assert [verb for command in back[1:] for verb in command] == ["delete"] * 2


def test_blocks_become_ranges_that_do_not_touch() -> None:
    peers = (
        "{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.0/30, 10.0.0.255/32]}}",
        "{ipBlock: {cidr: 10.0.0.128/25}}",
        "{ipBlock: {cidr: 10.0.1.0/24}}",
        "{ipBlock: {cidr: 'fd00::/126', except: ['fd00::2/127']}}",
    )
    found = policy("x", f"{{podSelector: {{}}, ingress: [{{from: [{', '.join(peers)}]}}]}}")
    assert isinstance(found, NetworkPolicy)
    blocks = [peer.block for peer in found.ingress[0].peers if peer.block]
    assert list(ranges(blocks)) == ["10.0.0.4-10.0.1.255", "fd00::-fd00::1"]


def test_ten_thousand_blocks_are_one_set() -> None:
    peers = ", ".join(f"{{ipBlock: {{cidr: 10.{i // 128}.{2 * (i % 128)}.0/24}}}}" for i in range(10_000))
    objects = world.cluster([policy("x", f"{{podSelector: {{}}, ingress: [{{from: [{peers}]}}]}}")], THERE)
    began = time.monotonic()
    rules = compile_policies(objects, endpoints("n1"), HOST["n1"])
    assert time.monotonic() - began < 5.0
    (blocks,) = (one for name, one in rules.sets.items() if name.startswith("nets-") and one.family == 4)
    assert len(blocks.members) == 10_000
    (chain,) = rules.chains.values()
    assert len(chain.rules) == 2, "one for each family"


NETWORKS = """\
apiVersion: k8s.cni.cncf.io/v1beta1
kind: MultiNetworkPolicy
metadata: {name: vlan, namespace: x, annotations: {k8s.v1.cni.cncf.io/policy-for: "vlan100, z/other"}}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: x
  annotations:
    k8s.v1.cni.cncf.io/network-status: |
      [{"name": "cbr0", "interface": "eth0", "ips": ["10.52.0.5"], "default": true},
       {"name": "x/vlan100", "interface": "net1", "ips": ["192.168.100.5"]},
       {"name": "x/vlan200", "interface": "net2", "ips": ["192.168.200.5"]}]
---
apiVersion: v1
kind: Pod
metadata:
  name: b
  namespace: x
  labels: {pod: b}
  annotations:
    k8s.v1.cni.cncf.io/network-status: '[{"name": "x/vlan100", "interface": "net1", "ips": ["192.168.100.6"]}]'
"""


def test_a_policy_for_further_networks_is_about_these_alone() -> None:
    objects = Cluster.of(world.loaded(NETWORKS))
    (rule,) = objects.all(MultiNetworkPolicy)
    assert rule.networks == ("x/vlan100", "z/other")
    ports = {"net0": "", "net1": "x/vlan100", "net2": "x/vlan200"}
    made = [Endpoint(port=IfName(p), pod=Ref("Pod", "a", "x"), network=n) for p, n in ports.items()]
    rules = compile_policies(objects, made)
    assert list(rules.ports) == ["net1"]
    (members,) = (one.members for name, one in rules.sets.items() if name.startswith("pods-") and one.family == 4)
    assert members == {"192.168.100.6"}
    for source, allowed in (("192.168.100.6", True), ("192.168.100.7", False)):
        packet = Packet(source=source, destination="192.168.100.5", network="x/vlan100")
        assert allows(objects, packet).allowed is allowed
    assert not objects.all(NetworkPolicy)


# A port that comes --------------------------------------------------------------------------------------


def test_a_port_that_nobody_has_judged_is_closed_both_ways() -> None:
    """Until it is in the set, whatever any policy says; what a link needs for its upkeep, and its node, apart."""
    objects = world.cluster([policy("z", "{podSelector: {matchLabels: {pod: nobody}}}")], THERE)
    one, other = (next(p for p in THERE if p.pod.ref == Ref("Pod", letter, "x")) for letter in "ab")
    there = [one, replace(other, node=one.node)]
    tables = world.tables(objects, there)
    unjudged = dict(tables[one.node].sets)
    unjudged["judged"] = replace(unjudged["judged"], members=unjudged["judged"].members - {str(one.port)})
    closed = {**tables, one.node: replace(tables[one.node], sets=unjudged)}
    own, others, host = one.pod.addresses[0], other.pod.addresses[0], HOST[one.node][0]
    for source, destination in ((own, others), (others, own), (own, OUTSIDE[0]), (OUTSIDE[0], own)):
        for protocol, port in PROBES:
            packet = Packet(source=source, destination=destination, protocol=protocol, port=port)
            assert world.passes(tables, there, packet)
            assert not world.passes(closed, there, packet), packet
    for source, destination in ((own, host), (host, own)):
        assert world.passes(closed, there, Packet(source=source, destination=destination, port=80))


def test_a_port_of_a_namespace_without_policies_is_let_through_by_the_kernels_word() -> None:
    """`create` fails where the member is there already, and with it all of the transaction."""
    said = let_through("veth1", "a-namespace-with-a-long-name")
    assert [one.verb for one in said] == ["create", "delete", "add"]
    asked = said[0].member
    policies = [world.policy("x", "{podSelector: {}}")]
    long = [replace(policies[0], meta=Meta(name="p", namespace="a-namespace-with-a-long-name"))]
    assert table(compile_policies(world.cluster(long, THERE), [])).sets[said[0].set].members == {asked}
    assert [one.verb for one in let_through("veth1", "")] == ["add"]


def test_before_the_first_round_no_pod_is_let_through() -> None:
    said = json.loads(closed(["veth1"]))["nftables"]
    assert said[0] == {"add": {"table": {"family": FAMILY, "name": TABLE}}}, "it may be there for the overlay's rules"
    (first,) = [one["create"]["set"]["name"] for one in said if "create" in one]
    assert first == "judged", "whoever comes second changes nothing"
    made = [first, *(one["add"]["set"]["name"] for one in said if "set" in one.get("add", {}))]
    assert len(made) == len(set(made))
    assert "judged" in made and "namespaces" not in made
    assert [one["add"]["element"]["elem"] for one in said if "element" in one.get("add", {})] == [["veth1"]]


# The text -----------------------------------------------------------------------------------------------


def test_what_is_bad_is_named_by_its_path() -> None:
    spec = """{podSelector: {}, policyTypes: [Ingress, Outgress], ingress: [
      {from: [{}, {podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 10.0.0.0}}, {ipBlock: {}},
              {ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8, 11.0.0.0/16, 'fd00::/64', 10.1.0.0/16]}}],
       ports: [{port: 0}, {port: 80, endPort: 79}, {endPort: 9}, {port: http, endPort: 9}, {port: no_name},
               {protocol: ICMP}, {port: "80"}, {port: "1-2"}]}]}"""
    found = load_documents(world.HEAD.format(namespace="x", spec=spec))
    assert not found.objects
    rule = "spec.ingress[0]"
    assert {(p.path, p.code) for p in found.problems} == {
        ("spec.policyTypes[1]", "not-a-choice"),
        (f"{rule}.from[0]", "required"),
        (f"{rule}.from[1].ipBlock", "peer-ambiguous"),
        (f"{rule}.from[2].ipBlock.cidr", "network-invalid"),
        (f"{rule}.from[3].ipBlock.cidr", "required"),
        (f"{rule}.from[4].ipBlock.except[0]", "except-outside"),
        (f"{rule}.from[4].ipBlock.except[1]", "except-outside"),
        (f"{rule}.from[4].ipBlock.except[2]", "except-outside"),
        (f"{rule}.ports[0].port", "port-invalid"),
        (f"{rule}.ports[1].endPort", "endport-below"),
        (f"{rule}.ports[2].endPort", "endport-alone"),
        (f"{rule}.ports[3].endPort", "endport-alone"),
        (f"{rule}.ports[4].port", "port-invalid"),
        (f"{rule}.ports[5].protocol", "not-a-choice"),
        (f"{rule}.ports[6].port", "port-invalid"),
        (f"{rule}.ports[7].port", "port-invalid"),
    }


@pytest.mark.parametrize(
    ("rules", "path", "hint"),
    [
        ("ingress: [{to: [{podSelector: {}}]}]", "ingress[0].to", "from"),
        ("egress: [{from: [{podSelector: {}}]}]", "egress[0].from", "to"),
        ("ingress: [{form: [{podSelector: {}}]}]", "ingress[0].form", "from"),
        ("ingress: [{peers: []}]", "ingress[0].peers", "ports"),
        ("ingress: [{ports: [{Port: 80}]}]", "ingress[0].ports[0].Port", "port"),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, excepts: []}}]}]",
            "ingress[0].from[0].ipBlock.excepts",
            "except",
        ),
        ("ingress: [{from: [{podSelector: {}, namespace: x}]}]", "ingress[0].from[0].namespace", "namespaceSelector"),
        ("ingress: [{from: [{podSelector: {app: web}}]}]", "ingress[0].from[0].podSelector.app", "matchLabels"),
        (
            "ingress: [{from: [{namespaceSelector: {matchlabels: {a: b}}}]}]",
            "ingress[0].from[0].namespaceSelector.matchlabels",
            "matchLabels",
        ),
    ],
)
def test_a_field_that_a_rule_does_not_have_is_refused(rules: str, path: str, hint: str) -> None:
    """Left out it would let more pass than whoever wrote it meant: everybody, or every port."""
    found = load_documents(world.HEAD.format(namespace="x", spec=f"{{podSelector: {{}}, {rules}}}"))
    assert [(p.code, p.path) for p in found.problems] == [("unknown-field", f"spec.{path}")]
    assert hint in found.problems[0].hint and not found.objects


@pytest.mark.parametrize(
    "spec", ["Egress: [{}]", "podSelectorr: {matchLabels: {app: db}}", "policyType: [Egress]", "selector: {}"]
)
def test_a_field_that_a_policy_does_not_have_is_refused(spec: str) -> None:
    """Left out, it isolates other pods, or another direction, than whoever wrote it meant."""
    found = load_documents(world.HEAD.format(namespace="x", spec=f"{{{spec}}}"))
    assert [(p.code, p.path) for p in found.problems] == [("unknown-field", f"spec.{spec.partition(':')[0]}")]
    assert not found.objects


STATUS = """\
metadata:
  name: a
  annotations: {k8s.v1.cni.cncf.io/network-status: '[{"name": "v", "ips": ["fe80::7%eth0"]}]'}"""


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("status: {podIP: 'fd52::7%eth0'}", "address-invalid"),
        ("status: {podIPs: [{ip: 'fe80::7%eth0'}]}", "address-invalid"),
        (STATUS, "network-status"),
    ],
)
def test_an_address_with_a_zone_is_no_pods(more: str, code: str) -> None:
    """nft takes none, and refuses the whole table with it."""
    name = "" if more.startswith("metadata") else "metadata: {name: a}\n"
    assert [p.code for p in load_documents(f"apiVersion: v1\nkind: Pod\n{name}{more}").problems] == [code]


def test_a_policy_for_no_network_is_warned_of() -> None:
    text = NETWORKS.split("---")[0].replace(
        'annotations: {k8s.v1.cni.cncf.io/policy-for: "vlan100, z/other"}', "labels: {}"
    )
    found = load_documents(text)
    assert [p.code for p in found.problems] == ["policy-without-network"] and found.objects


@pytest.mark.parametrize("number", range(0, 159, 7))
def test_a_policy_is_written_as_it_was_read(number: int) -> None:
    namespace, spec = list(world.texts())[number]
    made = policy(namespace, spec)
    bare = NetworkPolicy(
        meta=made.meta,
        **{name: getattr(made, name) for name in ("pods", "directions", "ingress", "egress")},
    )
    (again,) = load_documents(json.dumps(dump(bare))).objects
    assert again == made


def test_a_listing_is_read_as_the_table_that_was_loaded() -> None:
    """nft writes a range as a prefix where it is one, and verdicts as pairs."""
    listing = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "bridge", "name": "windrow-policy", "handle": 1}},
            {"set": {"name": "nets-1-4", "type": "ipv4_addr", "flags": ["interval"], "elem": [
                {"prefix": {"addr": "10.0.0.0", "len": 24}}, {"range": ["10.0.2.1", "10.0.2.9"]}, "10.0.4.1"]}},
            {"set": {"name": "port-1-6", "type": ["ipv6_addr", "inet_service"], "elem": [{"concat": ["fd00::1", 80]}]}},
            {"map": {"name": "to-ports", "type": "ifname", "map": "verdict",
                "elem": [["veth1", {"jump": {"target": "to-veth1"}}]]}},
            {"chain": {"name": "arriving", "type": "filter", "hook": "forward", "prio": -150, "policy": "accept"}},
            {"chain": {"name": "to-veth1"}},
            {"rule": {"chain": "to-veth1", "comment": "isolated 12",
                "expr": [{"counter": {"packets": 3, "bytes": 9}}, {"drop": None}]}},
        ]
    }  # fmt: skip
    found = read(json.dumps(listing))
    assert {name: (one.form, sorted(one.members)) for name, one in found.sets.items()} == {
        "nets-1-4": ("set ipv4_addr interval", ["10.0.0.0-10.0.0.255", "10.0.2.1-10.0.2.9", "10.0.4.1-10.0.4.1"]),
        "port-1-6": ("set ipv6_addr . inet_service", ["fd00::1 . 80"]),
        "to-ports": ("map ifname verdict", ["veth1 : to-veth1"]),
    }
    assert {
        name: (chain.hook, [(r.comment, r.refers) for r in chain.rules]) for name, chain in found.chains.items()
    } == {
        "arriving": ("filter forward -150 accept", []),
        "to-veth1": ("", [("isolated 12", ("drop",))]),
    }
    for text in ("{}", "[]", '{"nftables": [{"chain": {}}]}', "nft"):
        with pytest.raises(ValueError):
            read(text)


# What is established ------------------------------------------------------------------------------------


def at_port(table_: RuleTable, chain: str, port: str, source: str, destination: str, **more: Any) -> bool:
    """Whether a frame passes this hook; by `label`, what is written down of its connection. `about`: whose that is, and
    with whom; its own, else."""
    ends = {"iifname": port} if chain.startswith("leaving") else {"oifname": port}
    packet = Packet(source=source, destination=destination, protocol="UDP", port=80)
    began, other = more.pop("about", (source, destination)[:: -1 if more.get("ct.direction") == "reply" else 1])
    ip = "ip6" if ":" in source else "ip"
    connection = {f"ct.original {ip} saddr": began, f"ct.reply {ip} saddr": other}
    return world._accepted(table_, chain, {**world._frame(packet, **ends), **connection, **more})


@pytest.mark.parametrize("family", [4, 6])
def test_established_is_what_the_ports_own_end_let_through(family: int) -> None:
    """Not what conntrack noted where the packet took another way: to another port, whose addresses are known or not, or
    in the pod's name."""
    pods = [next(p for p in THERE if p.pod.ref == Ref("Pod", *one)) for one in (("a", "x"), ("a", "y"), ("c", "y"))]
    pod, helper, other = (replace(one, node="n1") for one in pods)
    unknown = Endpoint(port=IfName("veth-other"), pod=other.pod.ref)
    objects = world.cluster([policy("x", CLOSED)], THERE)
    known = [Endpoint(port=one.port, pod=one.pod.ref, addresses=one.pod.addresses) for one in (pod, helper)]
    made = table(compile_policies(objects, [*known, unknown], HOST["n1"]))
    own, far = (one.pod.addresses[family == 6] for one in (pod, helper))
    for port in (helper.port, unknown.port):
        labels: set[int] = set()
        assert at_port(made, "arriving", port, far, own, **{"ct.label": labels})
        assert at_port(made, "leaving-by-port", port, own, far, **{"ct.label": labels})
        answer = {"ct.state": "established", "ct.direction": "reply", "ct.label": labels}
        assert not at_port(made, "leaving-by-port", pod.port, own, far, **answer)
        assert not at_port(made, "arriving", pod.port, far, own, **{**answer, "ct.direction": "original"})


@pytest.mark.parametrize("family", [4, 6])
def test_an_error_is_no_packet_of_a_connection_that_is_not_its_senders(family: int) -> None:
    """An ICMP error has the direction and the labels of the connection that it is about, whoever sends it."""
    there = [next(p for p in THERE if p.pod.ref == Ref("Pod", *one)) for one in (("a", "x"), ("a", "y"), ("c", "y"))]
    ends = [Endpoint(port=one.port, pod=one.pod.ref, addresses=one.pod.addresses) for one in there]
    made = table(compile_policies(world.cluster([policy("x", CLOSED)], THERE), ends, HOST["n1"]))
    pod, helper, third = (one.pod.addresses[family == 6] for one in there)
    error = {"ct.state": "related", "ct.direction": "reply"}
    labels: set[int] = set()
    more = {**error, "ct.label": labels, "about": (helper, pod)}
    assert at_port(made, "leaving-by-port", there[2].port, third, helper, **more)
    assert not labels, "it let through what the pod's port had not"
    both = {**error, "ct.label": {120, 121}}
    assert not at_port(made, "leaving-by-port", there[0].port, pod, helper, **both, about=(helper, third))
    assert at_port(made, "leaving-by-port", there[0].port, pod, helper, **both, about=(helper, pod))
    assert at_port(made, "arriving", there[0].port, helper, pod, **both, about=(pod, helper))


@pytest.mark.parametrize("addresses", [True, False])
def test_what_a_port_let_through_goes_on_both_ways_when_a_policy_comes(addresses: bool) -> None:
    pod = next(p for p in THERE if p.pod.ref == Ref("Pod", "a", "x"))
    own, far = pod.pod.addresses[0], OUTSIDE[0]
    end = [Endpoint(port=pod.port, pod=pod.pod.ref, addresses=pod.pod.addresses if addresses else ())]
    before, after = (
        table(compile_policies(world.cluster([policy(space, CLOSED)], [pod]), end, HOST["n1"])) for space in ("z", "x")
    )
    for first, source, destination in (("leaving-by-host", own, far), ("arriving-by-host", far, own)):
        labels: set[int] = set()
        assert at_port(before, first, pod.port, source, destination, **{"ct.label": labels})
        for chain, one, two in (("leaving-by-host", own, far), ("arriving-by-host", far, own)):
            turn = "original" if chain == first else "reply"
            going = {"ct.state": "established", "ct.direction": turn, "ct.label": labels}
            assert at_port(after, chain, pod.port, one, two, **going), (first, chain)
            assert not at_port(after, chain, pod.port, one, two, **{**going, "ct.label": set()})
