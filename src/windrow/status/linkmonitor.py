"""LinkMonitor: the links of each node that its rules match, and their state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster, matches_labels
from windrow.model.host import Bond, Bridge, Link, Observed, Runtime
from windrow.model.meta import Meta
from windrow.model.objects import LinkMonitor
from windrow.model.values import IfName
from windrow.status.report import NodeReport


def monitor_of(cluster_network: str) -> LinkMonitor:
    """The one that each ready cluster network has. Its rule is anchored: Harvester's `oob(-br|-bo)` also
    matches `foob-br` and `oob-br.300`."""
    rule = f"^{re.escape(cluster_network)}(-br|-bo)$"
    return LinkMonitor(meta=Meta(name=cluster_network), name_rule=rule)


def monitors(cluster: Cluster, ready: Iterable[str]) -> Iterator[LinkMonitor]:
    """Those of the manifests and the built-in `nic`, and one for each ready cluster network."""
    given = cluster.all(LinkMonitor)
    yield from given
    taken = {monitor.name for monitor in given}
    yield from (monitor_of(cn) for cn in ready if cn not in taken)


def link_status(monitor: LinkMonitor, cluster: Cluster, report: NodeReport) -> list[dict[str, Any]]:
    """The links of the node that match, by index; none where the monitor does not select the node."""
    labels = cluster.node(report.node).labels
    if not matches_labels(monitor.node_selector, labels):
        return []
    links = report.observed.state.links.values()
    found = [_link(report.observed, link) for link in links if link.name != "lo" and _matches(monitor, link)]
    return sorted(found, key=lambda link: int(link["index"]))


def _matches(monitor: LinkMonitor, link: Link) -> bool:
    """Both rules, anywhere in the text; an empty one matches, one that is no regular expression never does."""
    try:
        return bool(re.search(monitor.type_rule, link.kind) and re.search(monitor.name_rule, link.name))
    except re.error:
        return False


def _link(observed: Observed, link: Link) -> dict[str, Any]:
    run = observed.runtime.get(link.name)
    master = observed.runtime.get(IfName(link.master or ""))
    found: dict[str, Any] = {
        "name": link.name,
        "index": run.ifindex if run else 0,
        "type": link.kind,
        "mac": link.mac or "",
        "promiscuous": bool(link.promisc),
        "state": state(run, bridge=isinstance(link.spec, Bridge)) if run else "unknown",
    }
    if master:
        found["masterIndex"] = master.ifindex
    return found | (_more(observed, link, run) if run else {})


def state(run: Runtime, *, bridge: bool = False) -> str:
    """IF_OPER_UP and IF_OPER_DOWN as they are; dormant, lowerlayerdown and the rest are `unknown`.

    A bridge may stay in IF_OPER_UNKNOWN, where it was made, though it forwards (Harvester shows it as down): there the
    carrier tells.
    """
    if run.oper in ("up", "down"):
        return run.oper
    if bridge and run.oper == "unknown":
        return "up" if run.carrier else "down"
    return "unknown"


def _more(observed: Observed, link: Link, run: Runtime) -> dict[str, Any]:
    """Beyond Harvester: carrier; Mbit/s and duplex where they are known; what a NIC does in its bond; LACP."""
    found: dict[str, Any] = {"carrier": run.carrier}
    if run.speed is not None:
        found["speed"] = run.speed
    if run.duplex is not None:
        found["duplex"] = run.duplex
    if run.slave_active is not None:
        found["bondRole"] = bond_role(run)
    if isinstance(link.spec, Bond) and link.spec.mode is BondMode.LACP:
        found["lacpPartner"] = run.partner_mac or ""
    if run.lacp is not None:
        bond = observed.runtime.get(IfName(link.master or ""))
        found["lacpPartner"] = run.lacp.partner_mac or ""
        found["aggregator"] = run.lacp.aggregator
        found["aggregatorActive"] = bond is not None and bond.aggregator == run.lacp.aggregator
    return found


def bond_role(run: Runtime) -> str:
    """`active`: the bond sends through it; `backup`: it waits; `down`: the bond does not use it."""
    if run.slave_mii_up is False or not run.carrier:
        return "down"
    return "active" if run.slave_active else "backup"
