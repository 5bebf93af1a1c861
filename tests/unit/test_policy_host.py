"""The rules of network policies are desired state: command line, agent and undo, in memory; and what runs nft."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_agent_management import Api
from tests.unit.test_port_rules import OOB, Host, record

from windrow.apps.agent.filternews import FilterNews
from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.log import Log
from windrow.apps.engine import converge, look
from windrow.apps.filters import NFT_POLICIES, PortFilters
from windrow.apps.known import known
from windrow.apps.round import guarded as guarded_round
from windrow.apps.round.guarded import Outcome
from windrow.apps.safe.undo import Undone, rewind
from windrow.compile.facts import node_facts
from windrow.compile.policies import network_of, policy_problems, policy_table
from windrow.model.checkpoint import Stage
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Known
from windrow.model.host import Details, HostState, Observed
from windrow.model.names import POD_BRIDGE
from windrow.model.policies import ANNOTATION_LOG_DROPPED as LOG_DROPPED
from windrow.model.policies import Direction
from windrow.model.portguards import PortGuards, Rate
from windrow.model.ports import PORT_GROUP
from windrow.model.ruletable import KEPT, PoliciesSeen, RuleTable, TableChain, TableRule
from windrow.model.steps import Failure, Impact, SetPolicies, Step
from windrow.model.values import Cidr, IfName, link_local
from windrow.model.wire import hoststate, load_documents
from windrow.plan import normalise
from windrow.plan.policies import policy_unit
from windrow.policy.nft import counted, dropped, program
from windrow.services.errors import ServiceError
from windrow.services.firewall import Firewall
from windrow.store.memory import read_memory
from windrow.store.ports import PortRecords
from windrow.testing.builders import link

CLOSED = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {podSelector: {matchLabels: {app: db}}}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: c1, namespace: default, labels: {app: db}}
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    (made.paths.manifests / "oob.yaml").write_text(OOB)
    made.attach(record(1))
    made.attach(record(2))
    assert made.run("apply").exit_code == 0
    (made.paths.manifests / "pod.yaml").write_text(POD)
    (made.paths.manifests / "policy.yaml").write_text(CLOSED)
    return made


def guarded(table: RuleTable) -> set[str]:
    return {member.partition(" ")[0] for one in table.sets.values() if "map" in one.form for member in one.members}


def test_a_policy_is_planned_applied_and_taken_away(host: Host) -> None:
    assert not read_memory(host.paths).policed
    plan, diff = host.run("plan"), host.run("diff")
    assert "rules of network policies, in one transaction; isolated: 1 port" in plan.stdout, plan.output
    assert "windrow-policy" in diff.stdout and "policies.ports: none → to veth" in diff.stdout
    assert host.run("apply").exit_code == 0
    assert guarded(host.kernel.policy_table) == {str(record(1).host)}
    assert read_memory(host.paths).policed
    assert host.run("diff").stdout == ""
    assert host.run("delete", "networkpolicy", "closed").exit_code == 0
    assert host.kernel.policy_table == RuleTable()
    assert host.run("plan").exit_code == 0 and not read_memory(host.paths).policed


def test_a_port_that_is_isolated_in_both_directions_is_one_port(host: Host) -> None:
    both = "{policyTypes: [Ingress, Egress], podSelector:"
    (host.paths.manifests / "policy.yaml").write_text(CLOSED.replace("{podSelector:", both))
    plan = host.run("plan")
    assert "isolated: 1 port: closes from veth" in plan.stdout, plan.output


def test_a_flush_is_repaired_by_the_agent_and_told(host: Host) -> None:
    host.run("apply")
    keeper = host.keeper()
    keeper.round(reread=True)
    whole = host.kernel.policy_table
    assert guarded(whole) and keeper.policed
    host.kernel.policy_table = RuleTable()
    host.mono += 100
    keeper.round(reread=True)
    assert host.kernel.policy_table == whole
    told = host.run("events").stdout
    assert "repaired windrow-policy: ports were gone, are to veth" in told, told


def test_what_fails_is_told_and_tried_again_after_a_while(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("apply")
    keeper = host.keeper()
    keeper.round(reread=True)
    host.kernel.policy_table, tries, run = RuleTable(), [0], host.kernel.run

    def refused(steps: Sequence[Step]) -> Failure | None:
        for one in steps:
            if isinstance(one.action, SetPolicies):
                tries[0] += 1
                return Failure(step=one, errno=5, reason="nft: is not installed")
        return run(steps)

    monkeypatch.setattr(host.kernel, "run", refused)
    for _ in range(5):
        keeper.round()
    assert tries == [1]
    assert "nft: is not installed" in host.run("status").stdout
    host.mono += 10
    keeper.round()
    assert tries == [2]


def test_a_table_that_cannot_be_looked_at_once_is_not_forgotten(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for a table where there never was one: it would close ports for ever."""
    assert host.run("apply").exit_code == 0 and not host.kernel.policy_table.empty
    (host.paths.manifests / "policy.yaml").unlink()
    with monkeypatch.context() as once:
        once.setattr(host.kernel, "policies", lambda *, policed: PoliciesSeen(table=None, unread="nft: took too long"))
        assert "nft: took too long" in host.run("apply").output
    assert read_memory(host.paths).policed and read_memory(host.paths).judges
    assert host.run("apply").exit_code == 0 and host.kernel.policy_table.empty
    assert not read_memory(host.paths).policed and not read_memory(host.paths).judges


def test_what_is_undone_is_as_before(host: Host) -> None:
    before = normalise(look(host.kernel, "n1", known(host.paths)).observed)
    assert before.policies == RuleTable()
    assert host.run("apply").exit_code == 0
    closed = normalise(look(host.kernel, "n1", known(host.paths)).observed)
    again = hoststate.read(json.loads(json.dumps(hoststate.write(closed))))
    assert again == closed
    assert rewind(host.site, before)[1] == "" and host.kernel.policy_table == RuleTable()
    assert rewind(host.site, again)[1] == "" and host.kernel.policy_table == closed.policies


def test_it_converges_for_who_has_no_disk(host: Host) -> None:
    cluster = Cluster.of(load_documents(f"{CLOSED}---\n{POD}").objects)
    done = converge(cluster, host.kernel, "n1", knowing=lambda: Known(ports=(record(1),)))
    assert done.ok and done.rounds == 1 and guarded(host.kernel.policy_table)


def test_what_is_not_known_of_a_pod_its_record_says() -> None:
    nads = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: vlan100, namespace: nets}
spec: {config: '{"cniVersion": "0.3.1", "name": "v100", "type": "bridge", "bridge": "oob-br", "vlan": 100}'}
"""
    status = '[{"name": "nets/vlan7", "interface": "net2"}, {"name": "k", "interface": "net3", "default": true}]'
    cluster = Cluster.of(load_documents(f"{nads}---\n{with_status(status)}").objects)
    found = {
        (name, network): network_of(record(1, ifname=name, network=network), cluster)
        for name, network in (("eth0", "v100"), ("net1", "v100"), ("net1", "v9"), ("net2", "v7"), ("net3", "k"))
    }
    assert list(found.values()) == ["", "nets/vlan100", "default/v9", "nets/vlan7", ""]


def test_all_addresses_of_the_host_are_its_own() -> None:
    """Those that have an end, as a DHCP client gives them, and those that came by themselves, too."""
    for_a_time = {Cidr("192.0.2.5/24"): Details(static=False), Cidr("fe80::1/64"): Details(static=False)}
    given = Cidr("10.52.0.1/24")
    links = {
        IfName("eth0"): link("eth0", details=for_a_time),
        IfName("br0"): link("br0", addrs=frozenset({given}), details={given: Details()}),
    }
    seen = Observed(state=HostState(links=links), runtime={}, by_themselves=frozenset({"2001:db8::5"}))
    facts = replace(node_facts("n1", seen, {}, KernelFeatures()), ports=(record(1),))
    made = policy_table(Cluster.of(load_documents(f"{POD}---\n{CLOSED}").objects), facts)
    assert made.sets["host-4"].members == {"192.0.2.5", "10.52.0.1"}
    assert made.sets["host-6"].members == {"fe80::1", "2001:db8::5"}


def with_status(status: str) -> str:
    return POD.replace("labels: {app: db}", f"annotations: {{k8s.v1.cni.cncf.io/network-status: '{status}'}}")


def test_nobody_gets_out_of_a_policy_by_an_annotation() -> None:
    """Whoever may edit a pod may write its network status."""
    nad = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: NAME, namespace: NAMESPACE}
spec: {config: '{"cniVersion": "0.3.1", "name": "v100", "type": "bridge", "bridge": "oob-br", "vlan": 100}'}
---
"""
    mine, theirs = (nad.replace("NAMESPACE", one).replace("NAME", "vlan100") for one in ("default", "nets"))
    unnamed = nad.replace("NAMESPACE", "nets").replace("NAME", "v200").replace('"name": "v100", ', "")
    status = (
        '[{"name": "nets/v200", "interface": "eth0"}, {"name": "x", "interface": "net1", "default": true},'
        ' {"name": "nets/v200", "interface": "net2"}, {"name": "nets/vlan100", "interface": "net3"}]'
    )
    cluster = Cluster.of(load_documents(mine + theirs + unnamed + with_status(status)).objects)
    found = [
        network_of(record(1, ifname=name, network=network), cluster)
        for name, network in (("eth0", "v100"), ("net1", "v100"), ("net2", "v100"), ("net3", "v100"), ("net4", "v200"))
    ]
    assert found == ["", "default/vlan100", "default/vlan100", "nets/vlan100", "nets/v200"]


def cluster_of(*texts: str) -> Cluster:
    return Cluster.of(o for text in texts for o in load_documents(text).objects)


def test_a_pod_that_the_api_has_not_named_yet_stays_closed(host: Host) -> None:
    """Which policies are about it its labels say, and only the API has them. On a host without one, a port's pod needs
    no object."""
    cluster = cluster_of(OOB, POD, CLOSED)
    facts = look(host.kernel, "n1", known(host.paths)).facts
    both = {str(record(1).host), str(record(2).host)}
    assert policy_table(cluster, facts).judged == both
    followed = replace(facts, of_cluster=True)
    assert policy_table(cluster, followed).judged == {str(record(1).host)}
    without = cluster.without([o.ref for o in cluster.policies()])
    assert policy_table(without, followed).empty, "where there is no policy nobody follows pods"


def test_nor_does_a_host_open_it_that_comes_up_before_it_has_heard_of_the_api(host: Host, tmp_path: Path) -> None:
    """From the last good state, which a new pod is not in."""
    api = Api("---\n".join((OOB, POD, CLOSED)))
    Keeper(host.site, Log(io.StringIO()), api).round()
    assert host.kernel.policy_table.judged == {str(record(1).host)}
    after = Host(tmp_path)
    after.attach(record(1))
    after.attach(record(3))
    Keeper(after.site, Log(io.StringIO()), api).boot()
    assert after.kernel.policy_table.judged == {str(record(1).host)}


def test_a_pod_that_no_policy_can_be_about_need_not_be_named(host: Host) -> None:
    """Its ADD did not wait (`port.firewall.let_through`), so no round may close it afterwards."""
    elsewhere = CLOSED.replace("namespace: default", "namespace: shop")
    without_effect = CLOSED.replace("networking.k8s.io/v1\nkind: ", "k8s.cni.cncf.io/v1beta1\nkind: Multi")
    cluster = cluster_of(OOB, elsewhere, without_effect)
    facts = replace(look(host.kernel, "n1", known(host.paths)).facts, of_cluster=True)
    table = policy_table(cluster, facts)
    assert table.judged == {str(record(1).host), str(record(2).host)} and not table.guarded
    assert "port-not-judged" not in {one.code for one in policy_problems(cluster, facts, table)}


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"bridge": POD_BRIDGE}, True),
        ({"routed": ("10.52.0.3",)}, True),
        ({"bridge": POD_BRIDGE, "any_source": True}, False),
        ({"bridge": POD_BRIDGE, "masquerade": ()}, False),
        ({}, False),
    ],
)
def test_who_is_kept_to_its_addresses(host: Host, more: dict[str, Any], kept: bool) -> None:
    """In the network that Windrow brings, where a record has them, and nobody has switched it off."""
    given: dict[str, Any] = {"ifname": "eth0", "masquerade": ("10.52.0.3/16",), **more}
    one = replace(record(3), **given)
    PortRecords(host.paths).put(one)
    table = policy_table(cluster_of(OOB, CLOSED), look(host.kernel, "n1", known(host.paths)).facts)
    assert (str(one.host) in table.sets[KEPT].members) is kept
    if kept:
        assert one.mac and table.sets["owned-4"].members >= {f"10.52.0.3 . {one.host}"}
        assert f"{link_local(one.mac)} . {one.host}" in table.sets["owned-6"].members


def test_which_port_waits_for_the_api_is_told(host: Host) -> None:
    cluster = cluster_of(OOB, POD, CLOSED)
    facts = replace(look(host.kernel, "n1", known(host.paths)).facts, of_cluster=True)
    said = [one.message for one in policy_problems(cluster, facts, policy_table(cluster, facts))]
    assert said == [
        f"the API does not know pod default/c2, so network policies keep its port {record(2).host} closed"
    ], said


def test_a_policy_for_a_network_that_is_not_there_is_warned_of(host: Host) -> None:
    named = "annotations: {k8s.v1.cni.cncf.io/policy-for: vlan100}"
    text = CLOSED.replace("networking.k8s.io/v1\nkind: ", "k8s.cni.cncf.io/v1beta1\nkind: Multi")
    (host.paths.root / "multi.yaml").write_text(text.replace("namespace: default", f"namespace: default, {named}"))
    applied = host.run("apply", "-f", str(host.paths.root / "multi.yaml"))
    assert applied.exit_code == 0
    assert "there is no NetworkAttachmentDefinition default/vlan100" in applied.stderr


def test_a_policy_for_a_network_that_is_not_there_is_told_as_long_as_it_is_stored(host: Host) -> None:
    text = CLOSED.replace("networking.k8s.io/v1\nkind: ", "k8s.cni.cncf.io/v1beta1\nkind: Multi")
    named = "annotations: {k8s.v1.cni.cncf.io/policy-for: vlan100}"
    (host.paths.manifests / "multi.yaml").write_text(text.replace("namespace: default", f"namespace: default, {named}"))
    for verb in ("plan", "status"):
        said = " ".join(host.run(verb).output.split())
        assert said.count("there is no NetworkAttachmentDefinition default/vlan100") == 1, said


# Guards of a port's own ---------------------------------------------------------------------------------


GUARDS = PortGuards(addresses=True, dhcp=True, routers=True, ingress=Rate(bits=8000, burst=800))


def test_guards_of_a_port_are_there_without_any_policy(host: Host) -> None:
    (host.paths.manifests / "policy.yaml").unlink()
    assert host.kernel.policy_table == RuleTable() and host.run("diff").stdout == ""
    one = host.attach(record(3, guards=GUARDS, addresses=("10.1.0.3",)))
    diff = host.run("diff").stdout
    assert f"policies.guards: none → {one.host}: another's address, {one.host}: no DHCP server" in diff, diff
    assert "with guards of their own: 1 port" in host.run("plan").stdout
    assert host.run("apply").exit_code == 0 and host.run("diff").stdout == ""
    table = host.kernel.policy_table
    assert table.own == {(str(one.host), f"guard-from-{one.host}"), (str(one.host), f"guard-to-{one.host}")}
    assert not table.guarded and table.judged == {str(record(n).host) for n in (1, 2, 3)}
    first = table.chains["leaving"].rules[0], table.chains["arriving"].rules[0]
    assert all(rule.comment.startswith("own guards") for rule in first), "before what is established passes"
    host.kernel.policy_table = replace(table, chains={**table.chains, f"guard-from-{one.host}": TableChain()})
    assert f"policies.guards: none → {one.host}: another's address" in host.run("diff").stdout
    PortRecords(host.paths).remove(one.key)
    assert host.run("apply").exit_code == 0 and host.kernel.policy_table == RuleTable()


def test_a_port_has_the_addresses_that_are_recorded_for_it(host: Host) -> None:
    """By its IPAM plugin, by its Pod; and where there are none, that is told."""
    host.attach(record(3, guards=GUARDS, addresses=("10.1.0.3", "fd00::3"), masquerade=()))
    other = POD.replace("c1", "c3") + "status: {podIPs: [{ip: 10.1.0.99}]}\n"
    (host.paths.manifests / "pod3.yaml").write_text(other)  # what the plugin gave is all
    host.attach(record(4, guards=GUARDS, masquerade=()))
    host.attach(record(5, guards=GUARDS, masquerade=()))
    status = "status: {podIPs: [{ip: 10.1.0.4}]}\n"
    (host.paths.manifests / "pod4.yaml").write_text(POD.replace("c1", "c4") + status)
    said = host.run("apply")
    assert said.output.count("eth0 has none recorded") == 1 and "pod default/c5" in said.output, said.output
    allowed = {
        number: [
            rule.expr[1]["match"]["right"]["set"]
            for rule in host.kernel.policy_table.chains[f"guard-from-{record(number).host}"].rules[:3]
        ]
        for number in (3, 4, 5)
    }
    link_local = {"prefix": {"addr": "fe80::", "len": 10}}
    assert allowed[3] == [["0.0.0.0", "10.1.0.3"], ["0.0.0.0", "10.1.0.3"], ["::", link_local, "fd00::3"]]
    assert allowed[4] == [["0.0.0.0", "10.1.0.4"], ["0.0.0.0", "10.1.0.4"], ["::", link_local]]
    assert allowed[5] == [["0.0.0.0"], ["0.0.0.0"], ["::", link_local]]


# What it costs ------------------------------------------------------------------------------------------


def test_a_port_that_is_closed_costs_what_it_does(host: Host) -> None:
    plan = host.run("plan").stdout
    assert f"closes to {record(1).host}" in plan and "the kernel has not tracked them so far" in plan, plan
    assert "outage" in plan and "traffic stops, and does not come back with this plan" in plan
    assert host.run("apply", "--max-impact", "hitless").exit_code != 0
    assert host.kernel.policy_table == RuleTable()


def impact(host: Host, policy: str) -> tuple[Impact, str]:
    (host.paths.manifests / "policy.yaml").write_text(policy)
    (step,) = policy_unit(wanted(host), host.kernel.policy_table).steps
    return step.impact, step.note


def wanted(host: Host) -> RuleTable:
    sight = look(host.kernel, "n1", known(host.paths))
    return policy_table(Cluster.of(load_documents(text(host)).objects), sight.facts)


def text(host: Host) -> str:
    return "\n---\n".join(one.read_text() for one in sorted(host.paths.manifests.iterdir()))


def test_less_costs_and_more_does_not(host: Host) -> None:
    rule = "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}, {ports: [{port: 81}]}]}"
    open_ = CLOSED.replace("{podSelector: {matchLabels: {app: db}}}", rule)
    both = rule.replace("{podSelector:", "{policyTypes: [Ingress, Egress], podSelector:")
    (host.paths.manifests / "policy.yaml").write_text(open_)
    assert host.run("apply").exit_code == 0
    assert impact(host, open_.replace(", {ports: [{port: 81}]}", "")) == (
        Impact.OUTAGE,
        "policies let less through; open connections go on",
    )
    assert impact(host, open_.replace("{ports: [{port: 81}]}", "{ports: [{port: 81}]}, {ports: [{port: 82}]}")) == (
        Impact.HITLESS,
        "",
    )
    assert impact(host, open_.replace(rule, both))[1].startswith(f"closes from {record(1).host}, except for")


def test_what_ports_let_pass_before_they_are_judged_is_no_policy_of_theirs(host: Host) -> None:
    """Another version of Windrow may have other rules there."""
    want = wanted(host)
    more = TableChain(rules=(TableRule(comment="more 123", refers=(), expr=()), *want.chains["waiting-leaving"].rules))
    have = replace(want, chains={**want.chains, "waiting-leaving": more})
    (step,) = policy_unit(want, have).steps
    assert (step.impact, step.note) == (Impact.HITLESS, "")


def test_a_port_that_comes_is_closed_already_and_costs_nothing(host: Host) -> None:
    assert host.run("apply").exit_code == 0
    host.attach(record(3))
    (host.paths.manifests / "pod3.yaml").write_text(POD.replace("c1", "c3"))
    (step,) = policy_unit(wanted(host), host.kernel.policy_table).steps
    assert step.impact is Impact.HITLESS
    assert f"policies.judged: none → {record(3).host}" in host.run("diff").stdout


def test_a_port_is_judged_before_it_is_there(host: Host) -> None:
    """By its record, so most need not wait; and one without a record never is."""
    assert host.run("apply").exit_code == 0
    PortRecords(host.paths).put(record(3))
    host.kernel.add(link("veth0", "veth", up=True, master="cni0"), group=PORT_GROUP)
    said = host.run("apply")
    assert str(record(3).host) in host.kernel.policy_table.judged
    assert host.kernel.policy_table.judged == set(host.paths.judged.read_text().split())
    assert "no record says whose veth0 is" in said.output and "veth0" not in host.kernel.policy_table.judged


def test_a_table_that_was_taken_back_has_judged_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or an ADD that waits would go on, and its port is closed."""
    made = guarded_round.make

    def undone(*args: Any) -> Outcome:
        return replace(made(*args), stage=Stage.UNDONE, undone=Undone(steps=1, said="nobody answered", left=""))

    monkeypatch.setattr(guarded_round, "make", undone)
    host.run("apply")
    assert not host.paths.judged.exists()


# What is counted, and told ------------------------------------------------------------------------------


def test_counters_are_summed_up_by_policy(host: Host) -> None:
    assert host.run("apply").exit_code == 0
    table = host.kernel.policy_table
    chains = {
        name: replace(chain, rules=tuple(replace(rule, expr=_counting(rule.expr, 3)) for rule in chain.rules))
        for name, chain in table.chains.items()
    }
    policy = TableRule(comment="NetworkPolicy/default/closed ingress[0] 0123", expr=_counting(({"counter": None},), 7))
    chains["in-0123"] = TableChain(rules=(policy, policy))
    seen = replace(table, chains=chains)
    assert counted(seen)["NetworkPolicy/default/closed", Direction.INGRESS] == 14
    assert dropped(seen) == {Direction.INGRESS: 9, Direction.EGRESS: 3}, "by the port, and by those that wait"


def _counting(expr: tuple[object, ...], packets: int) -> tuple[object, ...]:
    """As nft prints it."""
    return tuple({"counter": {"packets": packets, "bytes": 64}} if one == {"counter": None} else one for one in expr)


@pytest.mark.parametrize(("asked", "rate"), [("5", 5), ("0", 0), ("101", 0), ("true", 0), ("٣", 0)])
def test_what_is_dropped_is_told_where_a_policy_asks_for_it(host: Host, asked: str, rate: int) -> None:
    annotated = CLOSED.replace("namespace: default", f"namespace: default, annotations: {{{LOG_DROPPED}: '{asked}'}}")
    (host.paths.root / "policy.yaml").write_text(annotated)
    said = host.run("apply", "-f", str(host.paths.root / "policy.yaml"))
    assert said.exit_code == 0 and ("so nothing is logged" in said.output) is not bool(rate)
    chain = host.kernel.policy_table.chains[f"to-{record(1).host}"]
    logged = [rule.expr for rule in chain.rules if rule.comment.startswith("logged")]
    prefix = f"windrow-policy to-{record(1).host}: "
    limit = {"limit": {"rate": rate, "per": "second"}}
    assert logged == ([(limit, {"log": {"prefix": prefix, "level": "info"}})] if rate else [])


# nft ----------------------------------------------------------------------------------------------------


class Nft(Firewall):
    """`listing`: what nft prints; `loaded`: what it was handed; `refuses`: what it says in place of loading."""

    def __init__(self) -> None:
        super().__init__()
        self.listing, self.refuses = "", ""
        self.loaded: list[str] = []

    def has_table(self, table: str) -> bool:
        return False

    def is_there(self, variant: str) -> bool:
        return True

    def table(self, family: str, name: str) -> str:
        assert (family, name) == NFT_POLICIES[1:]
        return self.listing

    def load(self, program: str, *, as_json: bool = False) -> None:
        if self.refuses:
            raise ServiceError("nft", self.refuses)
        self.loaded.append(program)


def run(nft: Nft, wanted: RuleTable) -> Failure | None:
    steps: Sequence[object] = policy_unit(wanted, RuleTable(chains={"other": wanted.chains["arriving"]})).steps
    return PortFilters(nft).run(steps, ())  # type: ignore[arg-type]


def test_the_program_is_made_from_what_is_there_now(host: Host) -> None:
    host.run("apply")
    wanted = host.kernel.policy_table
    nft = Nft()
    assert run(nft, wanted) is None and nft.loaded == [program(wanted, RuleTable())]
    verbs = [next(iter(command)) for command in json.loads(nft.loaded[0])["nftables"]]
    assert verbs[:2] == ["add", "delete"], "what is there by that name goes"
    nft.listing = "nft prints what nobody understands"
    assert run(nft, wanted) is None and nft.loaded[0] == nft.loaded[1]
    assert PortFilters(nft).policies().unread.startswith("what nft printed is not understood")


def test_a_kernel_that_cannot_names_its_modules(host: Host) -> None:
    host.run("apply")
    nft = Nft()
    nft.refuses = "Could not process rule: Operation not supported"
    failure = run(nft, host.kernel.policy_table)
    assert failure is not None and "nf_conntrack_bridge" in failure.reason
    nft.refuses = "Could not process rule: Device or resource busy"
    failure = run(nft, host.kernel.policy_table)
    assert failure is not None and "nf_conntrack_bridge" not in failure.reason


def test_the_agent_listens_where_there_are_policies() -> None:
    class Deaf:
        def fileno(self) -> int:
            return 99

        def close(self) -> None: ...

    news = FilterNews(PortFilters(), lambda: 0.0, Deaf)  # type: ignore[arg-type]
    news.after({})
    assert news.fds() == {}
    news.after({}, policed=True)
    assert list(news.fds()) == [99]


def test_a_table_with_a_hook_that_differs_is_made_anew(host: Host) -> None:
    host.run("apply")
    wanted = host.kernel.policy_table
    other = replace(wanted, chains={**wanted.chains, "arriving": replace(wanted.chains["arriving"], hook="")})
    verbs = [next(iter(command)) for command in json.loads(program(wanted, other))["nftables"]]
    assert verbs[:2] == ["add", "delete"]
    assert program(wanted, wanted) == ""
    assert isinstance(policy_unit(wanted, other).steps[0].action, SetPolicies)
    assert policy_unit(None, wanted).steps == policy_unit(wanted, None).steps == ()


@pytest.mark.parametrize("word", ["ns", "po", "netpol", "multi-policy"])
def test_whose_these_kinds_are(host: Host, word: str) -> None:
    explained = host.run("explain", word)
    assert (explained.exit_code == 1 and "Kubernetes" in explained.stderr) or "Plumbing" in explained.stderr
    assert host.run("get", word, "-o", "yaml").exit_code == 0


def test_a_port_that_is_judged_no_longer_loses_its_connections(host: Host) -> None:
    """It was priced hitless. A port that is gone loses nothing."""
    cluster = cluster_of(OOB, POD, CLOSED)
    facts = look(host.kernel, "n1", known(host.paths)).facts
    before, after = policy_table(cluster, facts), policy_table(cluster, replace(facts, of_cluster=True))
    (step,) = policy_unit(after, before, facts.links).steps
    assert step.impact is Impact.OUTAGE
    assert step.note == f"closes {record(2).host} until it is known whose that is; open connections end"
    (step,) = policy_unit(after, before, facts.links - {record(2).host}).steps
    assert step.impact is Impact.HITLESS


def test_by_hand_no_port_is_opened_that_the_clusters_api_has_not_named(host: Host) -> None:
    """`windrow apply` on a node of a cluster, without --kubeconfig: what counts is what the agent brought it to."""
    for file in host.paths.manifests.iterdir():
        file.unlink()
    api = Api("---\n".join((OOB, POD, CLOSED)))
    Keeper(host.site, Log(io.StringIO()), api).round()
    assert host.kernel.policy_table.judged == {str(record(1).host)} and read_memory(host.paths).of_cluster
    assert host.run("apply").exit_code == 1  # there are no manifests, and that is said
    assert host.kernel.policy_table.judged == {str(record(1).host)}
    host.kernel.policy_table = RuleTable()
    host.run("apply")
    assert host.kernel.policy_table.judged == {str(record(1).host)}


def test_a_host_that_has_left_its_cluster_judges_by_itself(host: Host) -> None:
    Keeper(host.site, Log(io.StringIO()), Api("---\n".join((OOB, POD, CLOSED)))).round()
    assert host.run("apply").exit_code == 0
    assert host.kernel.policy_table.judged == {str(record(1).host)}, "its agent runs still"
    host.paths.agent_status.unlink()
    assert host.run("apply").exit_code == 0
    assert host.kernel.policy_table.judged == {str(record(1).host), str(record(2).host)}
    assert not read_memory(host.paths).of_cluster
