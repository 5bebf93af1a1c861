"""A whole cluster on one screen, what is wrong first."""

from __future__ import annotations

from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.problems import Problem
from windrow.model.values import VidSet
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style, plural
from windrow.render.values import document, problem_value


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """A cluster network. `nodes`: those that are to carry it; `ready`: on how many of them it is; `networks`: how many
    VLAN networks are on it."""

    name: str
    nodes: tuple[str, ...] = ()
    ready: int = 0
    mtu: int = 0
    vids: VidSet = VidSet()
    networks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    nodes: int
    networks: tuple[NetworkRow, ...] = ()
    findings: tuple[Problem, ...] = ()

    @property
    def well(self) -> bool:
        return not self.findings


def clusterwide_text(view: ClusterView, style: Style = PLAIN) -> str:
    lines = [_heading(view, style)]
    for found in view.findings:
        lines.append(f"  {style.red('✗')} {found.about}: {found.message}")
        lines += [f"      hint: {found.hint}"] if found.hint else []
    rows = [[r.name, _ready(r), str(r.mtu), str(r.networks), str(r.vids)] for r in view.networks]
    return "\n".join(lines) + "\n\n" + table(["CLUSTERNETWORK", "READY", "MTU", "NETWORKS", "VLANS"], rows, style)


def _heading(view: ClusterView, style: Style) -> str:
    where = f"{plural(view.nodes, 'node')}, {plural(len(view.networks), 'cluster network')}"
    if view.well:
        return f"{where}: {style.green('all is well')}"
    return f"{where}: {style.red(plural(len(view.findings), 'problem'))}"


def _ready(row: NetworkRow) -> str:
    return f"{row.ready}/{len(row.nodes)}" if row.nodes else ""


def clusterwide_value(view: ClusterView) -> dict[str, Any]:
    """For programs."""
    networks = [
        {
            "name": row.name,
            "nodes": list(row.nodes),
            "readyNodes": row.ready,
            "mtu": row.mtu,
            "networks": row.networks,
            "vlans": str(row.vids),
        }
        for row in view.networks
    ]
    findings = [problem_value(found) for found in view.findings]
    return document("ClusterStatus", well=view.well, nodes=view.nodes, clusterNetworks=networks, findings=findings)
