"""`windrow status`: one screen, what is wrong first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from windrow.model.host import PortVlans
from windrow.model.problems import Problem
from windrow.model.steps import Impact
from windrow.render.plan import impact_words, problem_lines
from windrow.render.text import PLAIN, Style, pad, plural
from windrow.render.topology import BondView, Health, NetworkView, PortView, fold, vlan_words
from windrow.render.values import document, problem_value


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLine:
    """A cluster network on this node. `ready` None: it is not here, and need not be. `host_links`: the VLAN
    interfaces that the host should have in it."""

    name: str
    ready: bool | None
    message: str = ""
    hint: str = ""
    view: NetworkView | None = None
    host_links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`differences`, `steps`, `impact`: of the plan that would repair the node."""

    node: str
    networks: tuple[NetworkLine, ...]
    findings: tuple[Problem, ...] = ()
    differences: int = 0
    steps: int = 0
    impact: Impact = Impact.NONE

    @property
    def well(self) -> bool:
        return not self.findings and not self.differences and all(n.ready is not False for n in self.networks)


def overview_text(found: Overview, style: Style = PLAIN) -> str:
    lines = [f"{style.bold('Node')} {found.node}: {_verdict(found, style)}"]
    if found.findings:
        lines += ["", *(line for p in found.findings for line in problem_lines(p, style))]
    if found.differences:
        lines += ["", *_drift(found, style)]
    for network in found.networks:
        lines += ["", *_network(network, style)]
    return "\n".join(lines) + "\n"


def _verdict(found: Overview, style: Style) -> str:
    if found.well:
        return style.green("all is well")
    parts = [plural(len(found.findings), "finding")] if found.findings else []
    parts += [plural(found.differences, "difference")] if found.differences else []
    unready = [n.name for n in found.networks if n.ready is False]
    parts += [f"not ready: {', '.join(unready)}"] if unready else []
    return style.red("; ".join(parts))


def _drift(found: Overview, style: Style) -> Iterator[str]:
    text = f"{plural(found.differences, 'difference')} between the manifests and the kernel"
    yield f"{style.yellow('drift:')} {text}; see: windrow diff"
    if found.steps:
        cost = impact_words(found.impact, style)
        yield f"    {style.cyan('hint:')} `windrow apply` repairs it in {plural(found.steps, 'step')}, impact {cost}"


def _network(line: NetworkLine, style: Style) -> Iterator[str]:
    sign = {True: style.green("● ready"), False: style.red("○ not ready"), None: style.dim("– not here")}[line.ready]
    yield f"{style.bold(line.name)}  {sign}" + (f": {line.message}" if line.message else "")
    if line.hint:
        yield f"    {style.cyan('hint:')} {line.hint}"
    view = line.view
    if view is None:
        return
    mtu = f"MTU {view.mtu}" if view.mtu else ""
    yield _row("bridge", "  ".join(filter(None, (view.bridge, mtu, *view.addrs))), style)
    if view.uplink:
        yield from _uplink(view.uplink, style)
    for own in view.vlan_ifs:
        yield _row("host", f"{own.name}  VLAN {own.vid}  {' '.join(own.addrs) or 'no address'}", style)
    yield from _ports(view, style)


def _ports(view: NetworkView, style: Style) -> Iterator[str]:
    """Who is attached: the machines and pods by name."""
    ports, rest = fold(view.ports)
    for number, port in enumerate(ports):
        words = [port.endpoint or port.name, vlan_words(port.vlans)]
        words += [] if port.health is Health.UP else [style.red(port.health.value)]
        yield _row("ports" if number == 0 else "", "  ".join(words), style)
    if rest:
        yield _row("", style.dim(f"… {plural(rest, 'more port')}"), style)


def _uplink(bond: BondView, style: Style) -> Iterator[str]:
    yield _row("uplink", "  ".join(filter(None, (bond.name, bond.mode, bond.note))), style)
    for nic in bond.nics:
        state = {Health.UP: style.green("up"), Health.DOWN: style.red("down")}.get(nic.health, nic.health.value)
        yield _row("", f"{nic.name}  {'  '.join(filter(None, (state, nic.note)))}", style)
    yield _row("VLANs", vlan_words(bond.vlans), style)


def _row(name: str, text: str, style: Style) -> str:
    return f"  {style.dim(pad(name, 8))}{text}".rstrip()


def overview_value(found: Overview) -> dict[str, Any]:
    return document(
        "Status",
        node=found.node,
        well=found.well,
        findings=[problem_value(p) for p in found.findings],
        drift={"differences": found.differences, "steps": found.steps, "impact": found.impact.value},
        clusterNetworks=[_network_value(n) for n in found.networks],
    )


def _network_value(line: NetworkLine) -> dict[str, Any]:
    view, uplink = line.view, line.view.uplink if line.view else None
    return {
        "name": line.name,
        "ready": line.ready,
        "message": line.message,
        "hint": line.hint,
        "bridge": view.bridge if view else None,
        "mtu": view.mtu if view else None,
        "addresses": list(view.addrs) if view else [],
        "uplink": _uplink_value(uplink) if uplink else None,
        "hostInterfaces": [
            {"name": v.name, "vlan": v.vid, "addresses": list(v.addrs)} for v in (view.vlan_ifs if view else ())
        ],
        "ports": len(view.ports) if view else 0,
        "attachments": [_port_value(p) for p in (view.ports if view else ())],
    }


def _port_value(port: PortView) -> dict[str, Any]:
    return {"port": port.name, "user": port.endpoint, "vlans": _vlans_value(port.vlans), "state": port.health.value}


def _vlans_value(vlans: PortVlans) -> dict[str, Any]:
    return {"pvid": vlans.pvid, "untagged": str(vlans.untagged), "tagged": str(vlans.tagged)}


def _uplink_value(bond: BondView) -> dict[str, Any]:
    return {
        "name": bond.name,
        "mode": bond.mode,
        "state": bond.health.value,
        "note": bond.note,
        "vlans": _vlans_value(bond.vlans),
        "nics": [{"name": n.name, "state": n.health.value, "note": n.note} for n in bond.nics],
    }
