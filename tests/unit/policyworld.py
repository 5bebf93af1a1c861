"""Nine pods in three namespaces on two nodes, policies about them, and an interpreter of the tables that nft would
load: what a frame's way through hooks, maps, chains and sets comes to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.objects import AnyObject
from windrow.model.policies import Namespace, Pod, PodPort, Protocol
from windrow.model.ruletable import RuleTable
from windrow.model.values import PORT_GROUP, IfName
from windrow.model.wire import load_documents
from windrow.policy import Endpoint, Packet, compile_policies
from windrow.policy.nft import table

NAMESPACES = {"x": {"team": "red"}, "y": {"team": "blue", "tier": "back"}, "z": {}}
LETTERS = ("a", "b", "c")
NODES = ("n1", "n2")
HOST = {"n1": ("10.52.0.1", "192.0.2.1", "fd52::1"), "n2": ("10.52.1.1", "192.0.2.2", "fd52:1::1")}
OUTSIDE = ("203.0.113.7", "198.51.100.9", "2001:db8::7")
APP = {"a": "web", "b": "db", "c": "client"}
PORTS: Mapping[str, tuple[PodPort, ...]] = {
    "a": (PodPort(name="http", number=80), PodPort(name="dns", number=53, protocol=Protocol.UDP)),
    "b": (PodPort(name="http", number=81),),
    "c": (),
}


@dataclass(frozen=True)
class Place:
    pod: Pod
    node: str
    port: IfName


def places() -> tuple[Place, ...]:
    """`x/a` is at 10.52.0.11 and fd52::11 on the first node, `x/b` at 10.52.1.12 on the second, and so on."""
    found = []
    for i, namespace in enumerate(NAMESPACES, 1):
        for j, letter in enumerate(LETTERS, 1):
            node = (i + j) % 2
            labels = {"pod": letter, "app": APP[letter]}
            pod = Pod(
                meta=Meta(name=letter, namespace=namespace, labels=labels),
                addresses=(f"10.52.{node}.{i}{j}", f"fd52:{node or ''}::{i}{j}" if node else f"fd52::{i}{j}"),
                ports=PORTS[letter],
            )
            found.append(Place(pod, NODES[node], IfName(f"veth-{namespace}{letter}")))
    return tuple(found)


def cluster(policies: Iterable[AnyObject], there: Iterable[Place]) -> Cluster:
    spaces = [Namespace(meta=Meta(name=name, labels=labels)) for name, labels in NAMESPACES.items()]
    return Cluster.of([*spaces, *(one.pod for one in there), *policies])


def loaded(text: str) -> tuple[AnyObject, ...]:
    """Without a word of complaint."""
    found = load_documents(text)
    assert not found.problems, found.problems
    return found.objects


def tables(objects: Cluster, there: Iterable[Place], network: str = "") -> dict[str, RuleTable]:
    """By node."""
    there = list(there)
    return {
        node: table(
            compile_policies(
                objects,
                [
                    Endpoint(port=p.port, pod=p.pod.ref, network=network, addresses=p.pod.addresses_in(network))
                    for p in there
                    if p.node == node
                ],
                HOST[node],
            )
        )
        for node in NODES
    }


def passes(by_node: Mapping[str, RuleTable], there: Iterable[Place], packet: Packet, service: str = "") -> bool:
    """Whether the packet gets from its source to its destination: out of the one's port, and into the other's.
    `service`: the address that it is sent to, for which the node puts the destination's behind the first hook."""
    of = {address: place for place in there for address in place.pod.addresses_in(packet.network)}
    source, target = of.get(packet.source), of.get(packet.destination)
    if source is not None and target is not None and source == target:
        return True  # by the loopback, which is no port
    bridged = source is not None and target is not None and source.node == target.node
    if source is not None:
        frame = _frame(packet, iifname=source.port)
        sent = _frame(replace(packet, destination=service or packet.destination), iifname=source.port)
        second = "leaving-by-port" if bridged else "leaving-by-host"
        table_ = by_node[source.node]
        if not (_accepted(table_, "leaving", sent) and _accepted(table_, second, frame)):
            return False
    if target is not None:
        frame = _frame(packet, oifname=target.port)
        return _accepted(by_node[target.node], "arriving" if bridged else "arriving-by-host", frame)
    return True


def _frame(packet: Packet, iifname: str = "", oifname: str = "") -> dict[str, Any]:
    ip = "ip6" if ":" in packet.source else "ip"
    ports = {"ICMP": "icmp" if ip == "ip" else "ipv6-icmp"}
    protocol = ports.get(packet.protocol, packet.protocol.lower())
    return {
        "iifname": iifname,
        "oifname": oifname,
        "iifgroup": PORT_GROUP,
        "oifgroup": PORT_GROUP,
        "protocol": ip,
        "l4proto": protocol,
        "ct.state": "new",
        "ct.direction": "original",
        "ct.label": set(),
        f"ct.original {ip} saddr": packet.source,
        f"ct.reply {ip} saddr": packet.destination,
        f"{ip}.saddr": packet.source,
        f"{ip}.daddr": packet.destination,
        f"{protocol}.dport": packet.port,
        "ip6.hoplimit": 64,
        "icmpv6.type": 128,
    }


def _accepted(table_: RuleTable, base: str, frame: Mapping[str, Any]) -> bool:
    if table_.empty:
        return True
    return _run(table_, base, frame) != "drop"


def _run(table_: RuleTable, chain: str, frame: Mapping[str, Any]) -> str:
    """`accept`, `drop`, or empty: it came to the end of the chain, or back from it."""
    for rule in table_.chains[chain].rules:
        verdict = _rule(table_, rule.expr, frame)
        if verdict:
            return "" if verdict == "return" else verdict
    return ""


def _rule(table_: RuleTable, expr: Iterable[Any], frame: Mapping[str, Any]) -> str:
    for one in expr:
        match one:
            case {"match": {"op": op, "left": left, "right": right}}:
                value = _value(left, frame)
                if value is None or _holds(table_, value, right) is (op == "!="):
                    return ""
            case {"vmap": {"key": key, "data": data}}:
                entries = dict(member.split(" : ") for member in table_.sets[data[1:]].members)
                target = entries.get(str(_value(key, frame)))
                return _run(table_, target, frame) if target else ""
            case {"goto": {"target": target}}:
                return _run(table_, target, frame) or "accept"
            case {"jump": {"target": target}}:
                return _run(table_, target, frame)
            case {"return": _}:
                return "return"
            case {"counter": _} | {"limit": _} | {"log": _}:
                pass
            case {"mangle": {"key": {"ct": {"key": "label"}}, "value": label}}:
                frame["ct.label"].add(label)
            case {"accept": _}:
                return "accept"
            case {"drop": _}:
                return "drop"
            case _:
                raise AssertionError(f"an expression that the interpreter does not know: {one}")
    return ""


def _value(left: Any, frame: Mapping[str, Any]) -> Any:
    match left:
        case {"meta": {"key": key}}:
            return frame[key]
        case {"payload": {"protocol": protocol, "field": name}}:
            return frame.get(f"{protocol}.{name}")
        case {"ct": {"key": key, "dir": direction}}:
            return frame.get(f"ct.{direction} {key}")
        case {"ct": {"key": key}}:
            return frame[f"ct.{key}"]
        case {"concat": parts}:
            values = [_value(part, frame) for part in parts]
            return None if None in values else " . ".join(map(str, values))
        case _:
            raise AssertionError(f"an expression that the interpreter does not know: {left}")


def _holds(table_: RuleTable, value: Any, right: Any) -> bool:
    match right:
        case int() if isinstance(value, set):
            return right in value
        case str() if right.startswith("@"):
            return any(_is_member(str(value), member) for member in table_.sets[right[1:]].members)
        case list() | {"set": list()}:
            return value in (right["set"] if isinstance(right, dict) else right)
        case {"range": [first, last]}:
            return bool(first <= value <= last)
        case _:
            return bool(value == right)


def _is_member(value: str, member: str) -> bool:
    first, dash, last = member.partition("-")
    if not dash or "veth" in first:  # the name of a port is in it
        return value == member
    return ipaddress.ip_address(first) <= ipaddress.ip_address(value) <= ipaddress.ip_address(last)  # type: ignore[operator]


# Policies ---------------------------------------------------------------------------------------------

HEAD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p, namespace: {namespace}}}
spec: {spec}
"""

SELECTORS = (
    "{}",
    "{matchLabels: {pod: a}}",
    "{matchLabels: {app: db}}",
    "{matchExpressions: [{key: pod, operator: In, values: [b, c]}]}",
    "{matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}",
    "{matchExpressions: [{key: pod, operator: Exists}]}",
    "{matchExpressions: [{key: nobody, operator: Exists}]}",
    "{matchExpressions: [{key: nobody, operator: DoesNotExist}]}",
)
PEERS = (
    "{podSelector: {}}",
    "{podSelector: {matchLabels: {pod: b}}}",
    "{podSelector: {matchLabels: {pod: nobody}}}",
    "{namespaceSelector: {}}",
    "{namespaceSelector: {matchLabels: {team: blue}}}",
    "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}",
    "{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}",
    "{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {pod: c}}}",
    "{namespaceSelector: {}, podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [c]}]}}",
    "{ipBlock: {cidr: 10.52.0.0/24}}",
    "{ipBlock: {cidr: 10.52.0.0/23, except: [10.52.1.0/25, 10.52.0.11/32]}}",
    "{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}",
    "{ipBlock: {cidr: 'fd52::/16', except: ['fd52:1::/32']}}",
    "{ipBlock: {cidr: '::/0'}}",
)
PORT_LISTS = (
    "",
    "[]",
    "[{port: 80}]",
    "[{port: 80, protocol: UDP}, {port: 53, protocol: UDP}]",
    "[{port: 80, endPort: 82}]",
    "[{port: http}]",
    "[{port: dns, protocol: UDP}]",
    "[{port: dns}]",
    "[{protocol: SCTP}]",
    "[{}]",
    "[{port: http}, {port: 53, protocol: UDP}]",
)
EDGES = (
    "{podSelector: {}}",
    "{podSelector: {}, policyTypes: [Ingress]}",
    "{podSelector: {}, policyTypes: [Egress]}",
    "{podSelector: {}, policyTypes: [Ingress, Egress]}",
    "{podSelector: {}, policyTypes: []}",
    "{podSelector: {}, ingress: []}",
    "{podSelector: {}, ingress: [{}]}",
    "{podSelector: {}, ingress: [{from: [], ports: []}]}",
    "{podSelector: {}, egress: []}",
    "{podSelector: {}, egress: [{}]}",
    "{podSelector: {}, egress: [{}], policyTypes: [Ingress]}",
    "{podSelector: {}, ingress: [{}], policyTypes: [Egress]}",
    "{podSelector: {}, ingress: [{}], egress: [], policyTypes: [Ingress, Egress]}",
    "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]}",
    "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}, {ports: [{port: 80}]}]}",
    "{podSelector: {}, ingress: [{ports: [{port: http}],"
    " from: [{podSelector: {}}, {ipBlock: {cidr: 203.0.113.0/24}}]}]}",
    "{podSelector: {}, egress: [{ports: [{port: http}], to: [{podSelector: {}}, {ipBlock: {cidr: 10.52.0.0/16}}]}]}",
    "{podSelector: {}, egress: [{ports: [{port: http}]}]}",
    "{podSelector: {matchLabels: {pod: nobody}}, policyTypes: [Ingress, Egress]}",
)
"""By hand: what is easily mixed up, absent and empty above all."""


def texts() -> Iterator[tuple[str, str]]:
    """(namespace, spec) of more than 150 policies: the edges, and each peer with ports, selectors and directions in
    turn, so that all of them meet."""
    yield from (("x", spec) for spec in EDGES)
    spaces = tuple(NAMESPACES)
    count = 0
    for direction, key in (("ingress", "from"), ("egress", "to")):
        for i, peer in enumerate(PEERS):
            for turn in range(5):
                ports = PORT_LISTS[(i + 2 * turn + count) % len(PORT_LISTS)]
                selector = SELECTORS[(i + turn) % len(SELECTORS)]
                listed = f", ports: {ports}" if ports else ""
                other = f", {PEERS[(i + turn + 1) % len(PEERS)]}" if turn == 4 else ""
                types = "Ingress" if direction == "ingress" else "Egress"
                spec = (
                    f"{{podSelector: {selector}, policyTypes: [{types}], "
                    f"{direction}: [{{{key}: [{peer}{other}]{listed}}}]}}"
                )
                yield spaces[count % len(spaces)], spec
                count += 1


def policy(namespace: str, spec: str) -> AnyObject:
    (found,) = loaded(HEAD.format(namespace=namespace, spec=spec))
    return found


PROBES = (("TCP", 80), ("TCP", 81), ("TCP", 8080), ("UDP", 53), ("UDP", 80), ("SCTP", 80), ("ICMP", 0))


def pairs(there: Iterable[Place]) -> Iterator[tuple[str, str]]:
    """(source, destination): each pod and each other one, and itself, in both families; pods and the world outside."""
    there = list(there)
    for one in there:
        for other in there:
            yield from zip(one.pod.addresses, other.pod.addresses, strict=True)
        for outside in OUTSIDE:
            own = one.pod.addresses[":" in outside]
            yield own, outside
            yield outside, own
