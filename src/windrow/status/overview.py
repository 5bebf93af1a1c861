"""One node at a glance: its networks, and what is wrong with them, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from windrow.model import names
from windrow.model.agentstatus import AgentStatus
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.events import Condition, Event
from windrow.model.host import Observed, Vxlan, Wireguard
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, HostNetworkConfig, VlanConfig
from windrow.model.overlay import net_conf
from windrow.model.ports import endpoints
from windrow.model.problems import Problem, Severity
from windrow.model.values import Ref
from windrow.render.overview import Finding, NetworkLine, Overview, Pending, TunnelLine
from windrow.render.text import span
from windrow.render.topology import NetworkView, node_view
from windrow.status import bondfaults, hostnetworkconfig
from windrow.status.bonds import DEGRADED
from windrow.status.clusternetwork import verdict
from windrow.status.conditions import READY, is_bad
from windrow.status.findings import OUTSIDE
from windrow.status.report import IN_USE, NodeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What others know who have watched for longer. `agent` None: none runs."""

    now: float = 0.0
    agent: AgentStatus | None = None
    pending: Pending | None = None
    events: tuple[Event, ...] = ()

    @property
    def bad(self) -> tuple[Condition, ...]:
        return tuple(c for c in self.agent.conditions if is_bad(c)) if self.agent else ()


def overview(cluster: Cluster, report: NodeReport, told: Told = Told()) -> Overview:
    """Of the node of `report`. What the agent has watched goes before what one look shows."""
    view = node_view(report.node, report.observed, endpoints=endpoints(report.ports))
    views = {network.name: network for network in view.networks}
    lines = tuple(_line(cn, cluster, report, views.get(cn.name), told) for cn in _networks(cluster, report))
    problems = (*report.problems, *report.plan.refusals, *_failed(report))
    since = {c.about: c.since for c in told.bad if c.type != OUTSIDE}
    seen = [Finding(problem=p, since=since.get(p.about) if p.about else None) for p in dict.fromkeys(problems)]
    hosts = _host_findings(cluster, report, told)
    findings = [*seen, *_told(told), *hosts, *_link_findings(report.observed, lines, told)]
    return Overview(
        node=report.node,
        networks=lines,
        findings=tuple(sorted(_once(findings), key=lambda f: f.problem.severity is Severity.WARNING)),
        differences=sum(len(unit.deltas) for unit in report.plan.units),
        steps=len(report.plan.steps),
        impact=report.plan.impact,
        agent=told.agent,
        pending=told.pending,
        events=told.events[-EVENTS:],
        now=told.now,
    )


EVENTS = 3
"""So many of the last events are shown."""
_WITH_ITS_NETWORK = frozenset({ClusterNetwork.KIND, VlanConfig.KIND})


def _told(told: Told) -> Iterator[Finding]:
    """The agent's conditions, failures, contests and what its probes found, one by one. Whether a network is ready is
    said where the network is."""
    for c in told.bad:
        if c.type == OUTSIDE or (c.type == READY and c.about.kind in _WITH_ITS_NETWORK):
            continue
        grave = c.reason in GRAVE or c.type != DEGRADED
        yield _finding(c.reason or c.type, c.about, c.message or c.type, c.hint, since=c.since, grave=grave)
    for f in told.agent.failures if told.agent else ():
        again = f"; tried {f.attempts} times" if f.attempts > 1 else ""
        next_one = f", again in {span(f.retry - told.now)}" if f.retry > told.now else ""
        yield _finding("step-failed", f.about, f"{f.message}{again}{next_one}", f.hint, since=f.since)
    contested = {c.about for c in told.bad if c.type == "Contested"}
    for one in told.agent.contests if told.agent else ():
        if one.about not in contested:
            text = f"{one.link}: {one.field} is changed back by {one.rival or 'others'}, {one.repaired} times so far"
            yield _finding("contested", one.about, text, "end that, then: windrow apply", since=one.since)
    for fault in told.agent.outside if told.agent else ():
        yield _finding(fault.reason, fault.about, fault.message, fault.hint, since=fault.since, grave=fault.grave)


def _finding(
    code: str, about: Ref, message: str, hint: str, *, since: float | None = None, grave: bool = True
) -> Finding:
    severity = Severity.ERROR if grave else Severity.WARNING
    return Finding(problem=Problem(code=code, about=about, message=message, hint=hint, severity=severity), since=since)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same message on the same object: once, with its time where that is known."""
    found: dict[tuple[Ref | None, str], Finding] = {}
    for one in findings:
        key = one.problem.about, one.problem.message
        known = found.get(key)
        found[key] = one if known is None else replace(known, since=known.since or one.since)
    return iter(found.values())


def _networks(cluster: Cluster, report: NodeReport) -> Iterator[ClusterNetwork]:
    """`mgmt` first; then all others that have something to do with this node, or with none at all."""
    every = sorted(cluster.all(ClusterNetwork), key=lambda n: (n.name != names.MGMT, n.name))
    node = cluster.node(report.node)
    for network in every:
        configs = cluster.vlan_configs(network.name)
        if not configs or any(selects_node(c, node) for c in configs):
            yield network


def _line(
    network: ClusterNetwork, cluster: Cluster, report: NodeReport, view: NetworkView | None, told: Told
) -> NetworkLine:
    found, tunnels = verdict(network, cluster, [report]), tuple(_tunnels(network, report.observed))
    if network.name == names.MGMT and view is None:
        message = "this node has no mgmt-br"
        return NetworkLine(name=network.name, ready=None, message=message, view=None, tunnels=tunnels)
    message = "" if found.ready else found.message.removeprefix(f"{report.node}: ")
    labels = cluster.node(report.node).labels
    hosts = [
        h
        for h in cluster.all(HostNetworkConfig)
        if h.cluster_network == network.name and matches_selector(h.node_selector, labels)
    ]
    wanted = tuple(sorted(str(h.interface) for h in hosts if h.vid))
    conditions = told.agent.conditions if told.agent else ()
    ready = next((c for c in conditions if (c.about, c.type, c.status) == (network.ref, READY, found.ready)), None)
    return NetworkLine(
        name=network.name,
        ready=found.ready,
        message=message,
        hint=found.hint,
        view=view,
        host_links=wanted,
        tunnels=tunnels,
        since=ready.since if ready else None,
    )


def _tunnels(network: ClusterNetwork, observed: Observed) -> Iterator[TunnelLine]:
    """Who carries the pods' packets to other nodes: devices of Windrow's, or flanneld's of the same names."""
    conf = net_conf(network) if network.name == names.MGMT else None
    for _, device in conf.devices if conf is not None else ():
        link = observed.state.links.get(device)
        if link is not None and isinstance(link.spec, Vxlan):
            yield TunnelLine(name=link.name, mtu=link.mtu, local=link.spec.local, far_ends=len(link.fdb or ()))
        elif link is not None and isinstance(link.spec, Wireguard):
            yield TunnelLine(name=link.name, mtu=link.mtu, encrypted=True, far_ends=len(link.peers or ()))
        elif link is not None:
            yield TunnelLine(name=link.name, mtu=link.mtu)


def _failed(report: NodeReport) -> Iterator[Problem]:
    for failure in report.failures:
        said = failure.extack or failure.reason
        yield Problem(code="step-failed", about=failure.step.why, message=f"{failure.step.link}: {said}")


_OF_ADDRESSES = frozenset({"NoAddress", "NoClient", "NoLease", IN_USE})
"""Whatever else a HostNetworkConfig lacks is drift, a refusal or a mistake in it, and told as that."""


def _host_findings(cluster: Cluster, report: NodeReport, told: Told) -> Iterator[Finding]:
    """Addresses that are missing; where an agent watches, its conditions say it."""
    known = {c.about for c in told.agent.conditions if c.type == READY} if told.agent else set()
    labels = cluster.node(report.node).labels
    for config in cluster.all(HostNetworkConfig):
        if config.ref not in known and matches_selector(config.node_selector, labels):
            found = hostnetworkconfig.verdict(config, report)
            if found.reason in _OF_ADDRESSES:
                yield _finding(found.reason, config.ref, found.message, found.hint)


CODES = {
    bondfaults.CUT_OFF: "uplink-down",
    bondfaults.NO_SLAVES: "uplink-empty",
    bondfaults.NO_PARTNER: "lacp-partner",
    bondfaults.OTHER_AGGREGATOR: "lacp-group",
    bondfaults.ONE_LEG: "nic-down",
    bondfaults.SLAVE_DOWN: "nic-down",
    bondfaults.SLAVE_MISSING: "nic-missing",
    bondfaults.FLAPPING: "nic-flapping",
    bondfaults.SPEEDS: "nic-speeds",
    bondfaults.HALF_DUPLEX: "nic-duplex",
}
GRAVE = frozenset({bondfaults.CUT_OFF, bondfaults.NO_SLAVES})


def _link_findings(observed: Observed, shown: tuple[NetworkLine, ...], told: Told) -> Iterator[Finding]:
    """What no manifest can say: cables that are out, partners that are silent. Where the agent watches a bond, its
    condition says it better: what is normal for a moment is not in it, and what comes and goes is."""
    watched = {c.about for c in told.agent.conditions if c.type == DEGRADED} if told.agent else set()
    known = {line.name for line in shown}
    for bond in bondfaults.bonds(observed):
        for fault in bondfaults.faults(bond) if bond.about.name in known and bond.about not in watched else ():
            yield _finding(CODES[fault.reason], bond.about, fault.message, fault.hint, grave=fault.reason in GRAVE)
