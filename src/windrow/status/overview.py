"""One node at a glance: its networks, and what is wrong with them, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.host import Observed
from windrow.model.objects import ClusterNetwork, HostNetworkConfig
from windrow.model.ports import endpoints
from windrow.model.problems import Problem, Severity
from windrow.render.overview import NetworkLine, Overview
from windrow.render.topology import NetworkView, node_view
from windrow.status import bondfaults
from windrow.status.clusternetwork import verdict
from windrow.status.report import NodeReport


def overview(cluster: Cluster, report: NodeReport) -> Overview:
    """Of the node of `report`."""
    view = node_view(report.node, report.observed, endpoints=endpoints(report.ports))
    views = {network.name: network for network in view.networks}
    lines = tuple(_line(cn, cluster, report, views.get(cn.name)) for cn in _networks(cluster, report))
    findings = (*report.problems, *report.plan.refusals, *_failed(report), *_link_findings(report.observed, lines))
    return Overview(
        node=report.node,
        networks=lines,
        findings=tuple(sorted(dict.fromkeys(findings), key=lambda p: p.severity is Severity.WARNING)),
        differences=sum(len(unit.deltas) for unit in report.plan.units),
        steps=len(report.plan.steps),
        impact=report.plan.impact,
    )


def _networks(cluster: Cluster, report: NodeReport) -> Iterator[ClusterNetwork]:
    """`mgmt` first; then all others that have something to do with this node, or with none at all."""
    every = sorted(cluster.all(ClusterNetwork), key=lambda n: (n.name != names.MGMT, n.name))
    node = cluster.node(report.node)
    for network in every:
        configs = cluster.vlan_configs(network.name)
        if not configs or any(selects_node(c, node) for c in configs):
            yield network


def _line(network: ClusterNetwork, cluster: Cluster, report: NodeReport, view: NetworkView | None) -> NetworkLine:
    found = verdict(network, cluster, [report])
    if network.name == names.MGMT and view is None:
        return NetworkLine(name=network.name, ready=None, message="this node has no mgmt-br", view=None)
    message = "" if found.ready else found.message.removeprefix(f"{report.node}: ")
    labels = cluster.node(report.node).meta.labels
    hosts = [
        h
        for h in cluster.all(HostNetworkConfig)
        if h.cluster_network == network.name and matches_selector(h.node_selector, labels)
    ]
    wanted = tuple(sorted(str(h.interface) for h in hosts if h.vid))
    return NetworkLine(
        name=network.name, ready=found.ready, message=message, hint=found.hint, view=view, host_links=wanted
    )


def _failed(report: NodeReport) -> Iterator[Problem]:
    for failure in report.failures:
        said = failure.extack or failure.reason
        yield Problem(code="step-failed", about=failure.step.why, message=f"{failure.step.link}: {said}")


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


def _link_findings(observed: Observed, shown: tuple[NetworkLine, ...]) -> Iterator[Problem]:
    """What no manifest can say: cables that are out, partners that are silent."""
    known = {line.name for line in shown}
    for bond in bondfaults.bonds(observed):
        for fault in bondfaults.faults(bond) if bond.about.name in known else ():
            yield Problem(
                code=CODES[fault.reason],
                about=bond.about,
                message=fault.message,
                hint=fault.hint,
                severity=Severity.ERROR if fault.reason in GRAVE else Severity.WARNING,
            )
