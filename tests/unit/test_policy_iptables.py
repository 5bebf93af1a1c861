"""The rule set for iptables and ipset: an interpreter of what is loaded comes to what the specification says, and no
point between two programs lets pass what neither table does."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from tests.unit import policyworld as world
from tests.unit.policyworld import HOST, NODES, PROBES, Place, policy
from tests.unit.test_port_rules import record

from windrow.apps.filters import PortFilters
from windrow.apps.policyfilter import PolicyFilter
from windrow.compile.policies import policy_problems, policy_table
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, NodeFacts
from windrow.model.portguards import PortGuards
from windrow.model.problems import Severity
from windrow.model.ruletable import PoliciesSeen, RuleTable, TableChain
from windrow.model.steps import Failure
from windrow.model.values import IfName, PortVlans
from windrow.plan.policies import policy_unit
from windrow.policy import Endpoint, Packet, allows, compile_policies
from windrow.policy.iptables import FAMILIES, RoutedPort, bridges, programs, read, table
from windrow.services.errors import ServiceError
from windrow.services.firewall import Firewall

THERE = world.places()
BRIDGE = IfName("br0")


@dataclass
class Filter:
    """What iptables, ip6tables and ipset have in a kernel, and how a packet fares in FORWARD."""

    rules: dict[int, dict[str, list[list[str]]]] = field(
        default_factory=lambda: {family: {"FORWARD": []} for family in FAMILIES}
    )
    sets: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    """Of the connection that the packets belong to."""

    def restore(self, family: int, text: str) -> None:
        """All of it, or nothing."""
        chains = {name: list(rules) for name, rules in self.rules[family].items()}
        for line in text.splitlines():
            words = _words(line)
            match words[0]:
                case "-A":
                    chains[words[1]].append(words[2:])
                case "-I":
                    place, rest = (int(words[2]), words[3:]) if words[2].isdigit() else (1, words[2:])
                    chains[words[1]].insert(place - 1, rest)
                case "-D":
                    chains[words[1]].remove(words[2:])
                case "-X":
                    assert not chains.pop(words[1])
                case declared if declared.startswith(":"):
                    chains[declared[1:]] = []
                case other:
                    assert other in ("*security", "COMMIT"), line
        targets = {word for rules in chains.values() for rule in rules for word in rule if word.startswith("windrow-")}
        assert targets <= chains.keys() | self.sets.keys()
        self.rules[family] = chains

    def change_sets(self, text: str) -> Iterator[None]:
        """One line after the other."""
        for line in text.splitlines():
            verb, name, *rest = line.split()
            if verb == "create":
                assert name not in self.sets
                self.sets[name] = f"{rest[0]} family {rest[2]}", set()
            elif verb == "destroy":
                assert not any(name in rule for of in self.rules.values() for rules in of.values() for rule in rules)
                del self.sets[name]
            elif verb == "add":
                assert rest[0] not in self.sets[name][1] and "/0" not in rest[0][-2:]
                assert self.sets[name][0].startswith("hash:net") or rest[0] not in ("0.0.0.0", "::")
                self.sets[name][1].add(rest[0])
            else:
                self.sets[name][1].remove(rest[0])
            yield

    def saved(self) -> dict[int, str]:
        return {
            family: "\n".join(
                ["*security", ":FORWARD ACCEPT [0:0]", *(f":{n} - [0:0]" for n in chains if n != "FORWARD")]
                + [f"[7:700] -A {n} " + " ".join(map(_quoted, rule)) for n, rules in chains.items() for rule in rules]
                + ["COMMIT"]
            ).replace("[7:700] -A FORWARD", "-A FORWARD")
            for family, chains in self.rules.items()
        }

    def saved_sets(self) -> str:
        lines = [f"create {name} {form} hashsize 1024" for name, (form, _) in self.sets.items()]
        written = [f"add {name} {_written(one)}" for name, (_, members) in self.sets.items() for one in members]
        return "\n".join(lines + written)

    def table(self) -> RuleTable:
        return read(self.saved(), self.saved_sets())

    def load(self, want: RuleTable) -> Iterator[None]:
        """Step by step: after each, somebody may be killed."""
        todo = programs(want, self.table(), self.saved())
        yield from self.change_sets(todo.sets_before)
        for family, text in todo.rules.items():
            self.restore(family, text)
            yield
        yield from self.change_sets(todo.sets_after)

    def passes(self, frame: Mapping[str, str], family: int) -> bool:
        return self._run("FORWARD", frame, family) != "DROP"

    def _run(self, chain: str, frame: Mapping[str, str], family: int) -> str:
        for rule in self.rules[family][chain]:
            if not self._holds(rule, frame):
                continue
            option, target = next((o, t) for o, t in pairwise(rule) if o in ("-j", "-g"))
            if target in ("ACCEPT", "DROP"):
                return target
            verdict = self._run(target, frame, family)
            if verdict or option == "-g":
                return verdict or "RETURN"
        return ""

    def _holds(self, rule: list[str], frame: Mapping[str, str]) -> bool:
        for option, value in pairwise(rule):
            match option:
                case "--physdev-in" | "--physdev-out" if value.endswith("+"):
                    holds = frame.get(option, "").startswith(value[:-1])
                case "!":
                    holds = not (frame.get("--physdev-in") if value == "--physdev-is-in" else frame["bridged"])
                case "--label":
                    if "--set" in rule:
                        self.labels.add(value)
                    holds = value in self.labels
                case "-i" | "-o" | "--physdev-in" | "--physdev-out" | "-p" | "--icmpv6-type":
                    holds = frame.get(option, "") == value
                case "--ctstate" | "--ctdir" | "--ctorigsrc" | "--ctreplsrc":
                    holds = frame.get(option, "") in value.split(",")
                case "-s" | "-d":
                    end = ipaddress.ip_address(frame["src" if option == "-s" else "dst"])
                    holds = end in ipaddress.ip_network(value)
                case "--dport":
                    first, _, last = value.partition(":")
                    holds = int(first) <= int(frame["port"]) <= int(last or first)
                case "--match-set":
                    ends = rule[rule.index(value) + 1]
                    holds = self._in_set(value, ends, frame)
                case "--comment" | "-m" | "-j" | "-g" | "src" | "dst" | "dst,dst":
                    continue
                case _:
                    continue
            if not holds:
                return False
        bridged = "--physdev-is-bridged" in rule and "!" not in rule
        return not bridged or frame["bridged"] == "yes"

    def _in_set(self, name: str, ends: str, frame: Mapping[str, str]) -> bool:
        form, members = self.sets[name]
        if form.startswith("hash:ip,port"):
            assert ends == "dst,dst"
            return f"{frame['dst']},{frame['-p']}:{frame['port']}" in members
        address = frame[ends]
        if form.startswith("hash:net"):
            one = ipaddress.ip_address(address)
            return any(one in ipaddress.ip_network(member) for member in members)
        return address in members


def _words(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


def _written(member: str) -> str:
    """An address as ipset writes it, by inet_ntop(3)."""
    address, mark, rest = member, "", ""
    for mark in (",", "/"):
        if mark in member:
            address, _, rest = member.partition(mark)
            break
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    text = socket.inet_ntop(family, socket.inet_pton(family, address))
    return f"{text}{mark}{rest}" if rest else text


def _quoted(word: str) -> str:
    """As `xtables_save_string` does."""
    escaped = "".join(f"\\{one}" if one in "\"'\\" else one for one in word)
    return f'"{escaped}"' if " " in word or escaped != word else word


def tables(objects: Cluster, there: Iterable[Place] = THERE) -> dict[str, RuleTable]:
    return {node: _table(objects, [p for p in there if p.node == node], node) for node in NODES}


def _table(objects: Cluster, there: list[Place], node: str) -> RuleTable:
    rules = compile_policies(objects, [Endpoint(port=p.port, pod=p.pod.ref) for p in there], HOST[node])
    return table(rules, {p.port: RoutedPort(bridge=BRIDGE, addresses=p.pod.addresses) for p in there}, [BRIDGE])


def edge(namespace: str, number: int) -> RuleTable:
    """Node n1's, where one of `world.EDGES` is the only policy."""
    return tables(world.cluster([policy(namespace, world.EDGES[number])], THERE))["n1"]


def loaded(want: RuleTable, onto: Filter | None = None) -> Filter:
    made = onto or Filter()
    for _ in made.load(want):
        pass
    assert made.table() == want
    return made


def frame(packet: Packet, source: Place | None, target: Place | None) -> dict[str, str]:
    """As it is in FORWARD of the node that both are on, or of the one that one of them is on."""
    bridged = source is not None and target is not None
    protocol = packet.protocol.lower()
    return {
        "-i": BRIDGE if source else "eth0",
        "-o": BRIDGE if target else "eth0",
        "--physdev-in": source.port if source else "",
        "--physdev-out": target.port if target and bridged else "",
        "bridged": "yes" if bridged else "",
        "--ctdir": "ORIGINAL",
        "-p": {"icmp": "ipv6-icmp" if ":" in packet.source else "icmp"}.get(protocol, protocol),
        "--icmpv6-type": "128",
        "--ctstate": "NEW",
        "src": packet.source,
        "dst": packet.destination,
        "port": str(packet.port),
    }


def passes(filters: Mapping[str, Filter], packet: Packet) -> bool:
    of = {address: place for place in THERE for address in place.pod.addresses}
    source, target = of.get(packet.source), of.get(packet.destination)
    family = 6 if ":" in packet.source else 4
    if source is not None and source == target:
        return True  # by the loopback
    if source is not None and target is not None and source.node == target.node:
        return filters[source.node].passes(frame(packet, source, target), family)
    return all(
        filters[place.node].passes(frame(packet, *ends), family)
        for place, ends in ((source, (source, None)), (target, (None, target)))
        if place is not None
    )


def test_the_truth_table() -> None:
    """Each fourth policy × each ordered pair of the nine pods, in both families, and the world outside × ports."""
    wrong: list[str] = []
    counts = {True: 0, False: 0}
    for namespace, spec in list(world.texts())[::4]:
        objects = world.cluster([policy(namespace, spec)], THERE)
        filters = {node: loaded(want) for node, want in tables(objects).items()}
        for source, destination in world.pairs(THERE):
            for protocol, port in PROBES:
                packet = Packet(source=source, destination=destination, protocol=protocol, port=port)
                verdict = allows(objects, packet).allowed
                counts[verdict] += 1
                if passes(filters, packet) is not verdict:
                    wrong.append(f"{namespace}: {spec}: {packet}: should be {verdict}")
    assert not wrong, wrong[:5]
    assert min(counts.values()) > 2_000, counts


def test_whoever_is_killed_leaves_nothing_open_that_was_closed_before_and_after() -> None:
    """Random pairs of policies and labels; after each command of ipset and each commit of iptables."""
    chosen, texts = random.Random(14), list(world.texts())
    node = "n1"
    here = [place for place in THERE if place.node == node]
    between = 0
    for _ in range(60):
        objects = []
        for _ in range(2):
            there = [
                replace(p, pod=replace(p.pod, meta=replace(p.pod.meta, labels={"pod": chosen.choice("abc")})))
                for p in THERE
            ]
            objects.append(world.cluster([policy(*one) for one in chosen.sample(texts, 1)], there))
        ends = [(a.pod.addresses[n], b.pod.addresses[n]) for a in here for b in here if a != b for n in (0, 1)]
        ends += [(world.OUTSIDE[0], one.pod.addresses[0]) for one in here]
        ends += [(one.pod.addresses[1], world.OUTSIDE[2]) for one in here]
        packets = [
            Packet(source=source, destination=target, protocol=protocol, port=port)
            for source, target in ends
            for protocol, port in PROBES[:5]
        ]
        wanted = [tables(one)[node] for one in objects]
        before, after = map(loaded, wanted)
        closed = [p for p in packets if not passes({node: before}, p) and not passes({node: after}, p)]
        for _ in before.load(wanted[1]):
            between += 1
            assert not [p for p in closed if passes({node: before}, p)]
        assert before.table() == after.table()
    assert between > 200, between


def test_a_new_label_changes_members_and_nothing_else() -> None:
    rule = policy("x", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {in: club}}}]}]}")
    before = world.cluster([rule], THERE)
    member = next(p.pod for p in THERE if (p.pod.meta.namespace, p.pod.name) == ("x", "c"))
    after = before.replace([replace(member, meta=replace(member.meta, labels={"in": "club"}))])
    made = loaded(tables(before)["n1"])
    todo = programs(tables(after)["n1"], made.table(), made.saved())
    assert not todo.rules and not todo.sets_before
    lines = [line.split() for line in todo.sets_after.splitlines()]
    assert [line[0] for line in lines] == ["add", "add"] and {line[2] for line in lines} == set(member.addresses)


def test_a_port_that_nobody_has_judged_is_closed_both_ways() -> None:
    here = [place for place in THERE if place.node == "n1"]
    made = loaded(_table(world.cluster([policy("y", "{podSelector: {}}")], THERE), here[1:], "n1"))
    new, other = here[0], here[1]
    for source, target in ((new, other), (other, new), (new, None), (None, new)):
        ends = [one.pod.addresses[0] if one else "203.0.113.7" for one in (source, target)]
        packet = frame(Packet(source=ends[0], destination=ends[1]), source, target)
        assert not made.passes(packet, 4)
        assert not made.passes(packet | {"--ctstate": "ESTABLISHED"}, 4), "it has let nothing through"
    between = frame(Packet(source="10.52.9.9", destination="10.52.9.8"), other, other)
    others = between | {"--physdev-in": "tap0", "--physdev-out": "tap1"}
    assert made.passes(others, 4), "ports that no CNI call made are nobody's business"
    assert not made.passes(between | {"--physdev-in": "", "bridged": ""}, 4), "the bridge hides its frames"


@pytest.mark.parametrize(
    ("family", "harm"),
    [
        (4, ":windrow-arriving - [0:0]"),
        (6, "-D FORWARD -j windrow-forward"),
        (4, "-I FORWARD -j ACCEPT"),
        (6, "-I windrow-leaving -j ACCEPT"),
        (4, ":windrow-more - [0:0]"),
        (6, "-A FORWARD -j windrow-forward"),
    ],
)
def test_what_somebody_else_did_to_it_is_put_right(family: int, harm: str) -> None:
    want = edge("x", 3)
    made = loaded(want)
    made.restore(family, harm)
    assert made.table() != want
    loaded(want, made)
    assert [rule for rule in made.rules[family]["FORWARD"] if "ACCEPT" not in rule] == [["-j", "windrow-forward"]]


def test_a_jump_with_a_condition_leads_past_ours() -> None:
    want = edge("x", 3)
    made = loaded(want)
    made.restore(4, "-D FORWARD -j windrow-forward\n-A FORWARD -i eth9 -j windrow-forward")
    assert made.table() != want
    loaded(want, made)
    assert made.rules[4]["FORWARD"][0] == ["-j", "windrow-forward"]


def test_what_was_made_can_be_taken_away() -> None:
    want = edge("x", 15)
    made = loaded(want)
    assert want.of_iptables and bridges(want) == {BRIDGE} and made.sets
    loaded(RuleTable(), made)
    assert not made.sets and all(chains == {"FORWARD": []} for chains in made.rules.values())


def test_an_address_that_nobody_has_keeps_no_rules_from_the_kernel() -> None:
    """A set of addresses does not take it, and whoever may edit a Pod may write it there."""
    there = [
        replace(place, pod=replace(place.pod, addresses=(*place.pod.addresses, "0.0.0.0", "::"))) for place in THERE
    ]
    for spec in world.EDGES:
        loaded(tables(world.cluster([policy("x", spec)], there), there)["n1"])


def test_an_address_is_the_same_one_in_ipsets_words() -> None:
    """::ffff:a00:1 is written ::ffff:10.0.0.1 there, in whatever kind of set."""
    there = [
        replace(place, pod=replace(place.pod, addresses=(*place.pod.addresses, f"::ffff:a00:{number:x}")))
        for number, place in enumerate(THERE, 1)
    ]
    block = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::ffff:0:0/96'}}]}]}"
    for spec in (*world.EDGES, block):
        want = tables(world.cluster([policy("x", spec)], there), there)["n1"]
        assert loaded(want).table() == want


def test_names_are_as_short_as_they_must_be() -> None:
    for namespace, spec in world.texts():
        want = tables(world.cluster([policy(namespace, spec)], THERE))["n1"]
        todo = programs(want, RuleTable(), {})
        created = [line.split()[1] for line in todo.sets_before.splitlines() if line.startswith("create")]
        declared = [line[1:].split()[0] for line in todo.rules[4].splitlines() if line.startswith(":")]
        assert max(map(len, created)) <= 31 and max(map(len, declared)) <= 28


# On a host ----------------------------------------------------------------------------------------------


WITHOUT_NFT = KernelFeatures(bridge_conntrack=False)
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {podSelector: {}}
"""


LINK_LOCAL = "fe80::ff:fe00:a"
"""The kernel's own, of the record's MAC address."""


def test_a_host_without_nft_wants_rules_of_iptables() -> None:
    """For the ports of the default network, by the addresses that are known of them; and for the bridge of the first
    pod, which may not be there yet."""
    ports = record(1), record(2, ifname="net1")
    facts = NodeFacts(node="n1", ports=ports, features=WITHOUT_NFT)
    wanted = policy_table(world.cluster(world.loaded(POLICY), ()), facts)
    assert wanted.of_iptables and bridges(wanted) == {"cni0", "wn-pods"}
    assert wanted.judged == {ports[0].host} and {port for port, _ in wanted.guarded} == {ports[0].host}
    words = [rule.expr[1] for rule in wanted.chains["arriving-by-host"].rules]
    assert [one.split()[1] for one in words if one.startswith("-d")] == ["10.1.0.2", "fd00::2", LINK_LOCAL]
    loaded(wanted)


@pytest.mark.parametrize("known", [{"routed": ("10.1.0.9", "fd00::9")}, {"addresses": ("10.1.0.9", "fd00::9")}])
def test_a_port_is_told_by_whatever_its_record_says_of_its_addresses(known: dict[str, object]) -> None:
    """A port with a link to the host alone need not be masqueraded."""
    port = record(1, masquerade=(), **known)
    facts = NodeFacts(node="n1", ports=(port,), features=WITHOUT_NFT)
    words = [
        rule.expr[1]
        for rule in policy_table(world.cluster(world.loaded(POLICY), ()), facts).chains["arriving-by-host"].rules
    ]
    assert [one.split()[1] for one in words if one.startswith("-d")] == ["10.1.0.9", "fd00::9", LINK_LOCAL]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"ifname": "net1", "network": "vlan100"}, "network policies"),
        ({"ifname": "eth0", "vlans": PortVlans()}, "network policies"),
        ({"guards": PortGuards(dhcp=True)}, "guards of its own"),
        ({}, ""),
    ],
)
def test_what_iptables_cannot_enforce_is_an_error(more: dict[str, object], what: str) -> None:
    multi = POLICY.replace("networking.k8s.io/v1\nkind: ", "k8s.cni.cncf.io/v1beta1\nkind: Multi").replace(
        "namespace: default", "namespace: default, annotations: {k8s.v1.cni.cncf.io/policy-for: vlan100}"
    )
    objects = world.cluster(world.loaded(f"{POLICY}---\n{multi}"), ())
    facts = NodeFacts(node="n1", ports=(record(1, **more),), features=WITHOUT_NFT)
    found = [p for p in policy_problems(objects, facts, policy_table(objects, facts)) if p.severity is Severity.ERROR]
    assert [p.code for p in found] == ["policies-need-nftables"] * bool(what)
    assert all(f"iptables cannot enforce {what}" in p.message for p in found)
    with_nft = replace(facts, features=KernelFeatures())
    said = policy_problems(objects, with_nft, policy_table(objects, with_nft))
    assert "policies-need-nftables" not in {p.code for p in said}


@pytest.mark.parametrize(
    ("more", "policies", "features", "told"),
    [
        ({"masquerade": ()}, POLICY, WITHOUT_NFT, True),
        ({}, POLICY, WITHOUT_NFT, False),
        ({"masquerade": ()}, "", WITHOUT_NFT, False),
        ({"masquerade": ()}, POLICY, KernelFeatures(), False),
    ],
)
def test_a_pod_that_hears_no_answers_is_told_of(
    more: dict[str, object], policies: str, features: KernelFeatures, told: bool
) -> None:
    """What is routed goes to a port by its address."""
    objects = world.cluster(world.loaded(policies), ())
    facts = NodeFacts(node="n1", ports=(record(1, **more),), features=features)
    found = [p for p in policy_problems(objects, facts, policy_table(objects, facts)) if p.code == "no-address-known"]
    assert [p.severity for p in found] == [Severity.WARNING] * told
    assert all("nothing that is routed arrives there" in p.message for p in found)


class Iptables(Firewall):
    """What iptables and ipset do, with `Filter` as the kernel. `nft`: why nft says nothing. `others`: what is in the
    table besides; `ipset`: whether that is installed; `asked`: how often it was asked for the table."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.nft, self.refused = Filter(), ServiceError("nft", "is not installed"), ""
        self.others, self.ipset, self.asked = "", True, 0

    def table(self, family: str, name: str) -> str:
        raise self.nft

    def has_table(self, table: str) -> bool:
        self.asked += 1
        return bool(self.others) or len(self.kernel.rules[4]) > 1

    def is_there(self, variant: str) -> bool:
        return True

    def listed(self, variant: str, version: str, table: str) -> str:
        return self.others + self.kernel.saved()[int(version)]

    def sets(self) -> str:
        self._needs_ipset()
        return self.kernel.saved_sets()

    def _needs_ipset(self) -> None:
        if not self.ipset:
            raise ServiceError("ipset", "is not installed")

    def restore_sets(self, program: str) -> None:
        self._needs_ipset()
        for _ in self.kernel.change_sets(program):
            pass

    def restore_by(self, variant: str, version: str, program: str) -> None:
        if version == self.refused:
            raise ServiceError("ip6tables-legacy-restore", "line 7 failed")
        self.kernel.restore(int(version), program)


def test_the_edge_loads_reads_and_takes_away() -> None:
    want = edge("x", 3)
    other = edge("y", 3)
    firewall = Iptables()
    filters = PortFilters(firewall)
    assert filters.policies() == PoliciesSeen(table=RuleTable())
    for one in (want, other, RuleTable(), want):
        assert carried_out(filters, one) is None
        assert filters.policies() == PoliciesSeen(table=one)
    firewall.nft = ServiceError("nft", "Device or resource busy")
    assert filters.policies().table == want


def test_a_table_that_others_use_needs_no_ipset() -> None:
    """Nothing of ours is there, and nothing keeps nft from it. Where a chain is ours its sets have to be known."""
    firewall = Iptables()
    firewall.others, firewall.ipset = ":OUTPUT ACCEPT [0:0]\n", False
    filters = PortFilters(firewall)
    assert filters.policies() == PoliciesSeen(table=RuleTable())
    want = edge("x", 3)
    failure = carried_out(filters, want)
    assert failure is not None and failure.reason == "ipset: is not installed"
    firewall.ipset = True
    assert carried_out(filters, want) is None
    firewall.ipset = False
    assert filters.policies().table is None and "ipset: is not installed" in filters.policies().unread


def test_that_there_are_no_rules_is_known_as_long_as_rules_are() -> None:
    now = [0.0]
    firewall = Iptables()
    filters = PortFilters(firewall, fresh_s=30.0, mono=lambda: now[0])
    for now[0], asked in ((0.0, 1), (29.0, 1), (30.0, 2)):
        assert filters.policies() == PoliciesSeen(table=RuleTable())
        assert firewall.asked == asked


def test_a_bridge_that_the_rules_do_not_know_is_joined_to_them() -> None:
    """By the call that brings its first port; the next round changes nothing about it."""
    here = [place for place in THERE if place.node == "n1"]
    objects = world.cluster([policy("x", world.EDGES[3])], THERE)
    firewall, first, both = Iptables(), IfName("br-a"), (IfName("br-a"), BRIDGE)
    filters = PolicyFilter(firewall)
    assert not filters.covers(BRIDGE), "there are no rules yet"
    rules = compile_policies(objects, [Endpoint(port=p.port, pod=p.pod.ref) for p in here[1:]], HOST["n1"])
    filters.load(table(rules, {}, [first]))
    unknown = frame(Packet(source="10.52.0.77", destination="10.52.0.78"), here[0], here[0])
    assert firewall.kernel.passes(unknown, 4)
    assert filters.covers(BRIDGE) and not firewall.kernel.passes(unknown, 4) and not firewall.kernel.passes(unknown, 6)
    assert filters.covers(BRIDGE)
    assert filters.read() == table(rules, {}, both)


@pytest.mark.parametrize(
    "harm",
    [
        "-D FORWARD -j windrow-forward",
        ":windrow-forward - [0:0]\n-D FORWARD -j windrow-forward\n-X windrow-forward",
        "",
    ],
)
def test_a_port_is_not_closed_by_half_of_the_rules(harm: str) -> None:
    """Somebody has flushed them; or a round has made the sets, and the chains are still to come (empty)."""
    want = edge("x", 3)
    firewall = Iptables()
    firewall.others = ":OUTPUT ACCEPT [0:0]\n"
    if harm:
        PolicyFilter(firewall).load(want)
        firewall.kernel.restore(6, harm)
    else:
        firewall.restore_sets(programs(want, RuleTable(), {}).sets_before)
    assert not PolicyFilter(firewall).covers(BRIDGE) and not PolicyFilter(firewall).covers(IfName("br-a"))
    PolicyFilter(firewall).load(want)
    assert PolicyFilter(firewall).covers(BRIDGE) and PolicyFilter(firewall).covers(IfName("br-a"))


def test_what_iptables_refuses_leaves_the_old_rules_in_force() -> None:
    """Of the version that refuses; of the other one nothing is open that is to be closed."""
    want, other = (edge(space, 3) for space in "xy")
    firewall = Iptables()
    filters = PortFilters(firewall)
    assert carried_out(filters, want) is None
    before = firewall.kernel.rules[6]
    firewall.refused = "6"
    failure = carried_out(filters, other)
    assert failure is not None and "line 7 failed" in failure.reason and "xt_connlabel" in failure.reason
    assert firewall.kernel.rules[6] == before
    firewall.refused = ""
    assert carried_out(filters, other) is None and filters.policies().table == other


def carried_out(filters: PortFilters, want: RuleTable) -> Failure | None:
    (step,) = policy_unit(want, RuleTable(chains={"": TableChain()})).steps
    return filters.run([step], ())
