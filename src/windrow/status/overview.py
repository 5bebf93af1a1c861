"""One node at a glance: its networks, and what is wrong with them, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import Cluster, matches_selector, selects_node
from windrow.model.objects import ClusterNetwork, HostNetworkConfig
from windrow.model.ports import endpoints
from windrow.model.problems import Problem, Severity
from windrow.model.values import Ref
from windrow.render.overview import NetworkLine, Overview
from windrow.render.topology import NO_PARTNER, OTHER_AGGREGATOR, Health, NetworkView, NodeView, node_view
from windrow.status.clusternetwork import verdict
from windrow.status.report import NodeReport


def overview(cluster: Cluster, report: NodeReport) -> Overview:
    """Of the node of `report`."""
    view = node_view(report.node, report.observed, endpoints=endpoints(report.ports))
    views = {network.name: network for network in view.networks}
    lines = tuple(_line(cn, cluster, report, views.get(cn.name)) for cn in _networks(cluster, report))
    findings = (*report.problems, *report.plan.refusals, *_failed(report), *_link_findings(view, lines))
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
    message = found.message.removeprefix(f"{report.node}: ")
    labels = cluster.node(report.node).meta.labels
    hosts = [
        h
        for h in cluster.all(HostNetworkConfig)
        if h.cluster_network == network.name and matches_selector(h.node_selector, labels)
    ]
    wanted = tuple(sorted(str(names.subinterface_of(network.name, h.vid)) for h in hosts))
    return NetworkLine(
        name=network.name, ready=found.ready, message=message, hint=found.hint, view=view, host_links=wanted
    )


def _failed(report: NodeReport) -> Iterator[Problem]:
    for failure in report.failures:
        said = failure.extack or failure.reason
        yield Problem(code="step-failed", about=failure.step.why, message=f"{failure.step.link}: {said}")


def _link_findings(view: NodeView, lines: tuple[NetworkLine, ...]) -> Iterator[Problem]:
    """What no manifest can say: cables that are out, partners that are silent."""
    known = {line.name for line in lines}
    for network in view.networks:
        bond = network.uplink
        if bond is None or network.name not in known:
            continue
        about = Ref(ClusterNetwork.KIND, network.name)
        down = [n for n in bond.nics if n.health is Health.DOWN]
        if bond.nics and len(down) == len(bond.nics):
            text = f"{bond.name} has no NIC with carrier: the network is cut off from outside"
            yield _finding("uplink-down", about, text, "look at the cables and the switch ports", Severity.ERROR)
        elif down:
            text = f"{bond.name}: {', '.join(n.name for n in down)} without carrier; the others carry the traffic"
            yield _finding("nic-down", about, text, "look at the cable and the switch port")
        silent = [n.name for n in bond.nics if n.note in (NO_PARTNER, OTHER_AGGREGATOR)]
        if bond.nics and (silent or bond.note == NO_PARTNER):
            alone = bond.note == NO_PARTNER or len(silent) == len(bond.nics)
            text = f"{bond.name}: the switch ports of {', '.join(silent)} are not in one LACP group"
            text = f"{bond.name} has no LACP partner: one NIC carries all the traffic" if alone else text
            yield _finding("lacp-partner", about, text, "set up link aggregation (LACP) on these switch ports")
        if not bond.nics:
            yield _finding("uplink-empty", about, f"{bond.name} has no NIC", "see: ip link", Severity.ERROR)


def _finding(code: str, about: Ref, message: str, hint: str, severity: Severity = Severity.WARNING) -> Problem:
    return Problem(code=code, about=about, message=message, hint=hint, severity=severity)
