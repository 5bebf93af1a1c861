"""`windrow status`: one screen, what is wrong first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from windrow.model.agentstatus import AgentStatus
from windrow.model.events import Event, EventType
from windrow.model.host import PortVlans
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, Severity
from windrow.model.steps import Impact
from windrow.model.wire.happenings import event_document
from windrow.render.plan import impact_words
from windrow.render.text import PLAIN, Style, pad, plural, span, wrap
from windrow.render.topology import BondView, Health, NetworkView, PortView, fold, vlan_words
from windrow.render.values import document, problem_value


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelLine:
    """A tunnel device of the overlay. `far_ends`: the nodes that it leads to; None: it is not Windrow's."""

    name: str
    mtu: int | None
    local: str = ""
    encrypted: bool = False
    far_ends: int | None = None


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
    tunnels: tuple[TunnelLine, ...] = ()
    since: float | None = None
    """Unix time: when it became what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong; `since`: Unix time, None where nobody has watched."""

    problem: Problem
    since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A change that is not decided yet. `stage`: changing, waiting, undoing. `left`: seconds until it is undone."""

    made_by: str
    stage: str
    left: float | None = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`differences`, `steps`, `impact`: of the plan that would repair the node. `agent` None: none runs.

    `events`: the last few, the newest last. Times are Unix time, `now` is the time of looking.
    """

    node: str
    networks: tuple[NetworkLine, ...]
    findings: tuple[Finding, ...] = ()
    differences: int = 0
    steps: int = 0
    impact: Impact = Impact.NONE
    agent: AgentStatus | None = None
    pending: Pending | None = None
    events: tuple[Event, ...] = ()
    now: float = 0.0

    @property
    def well(self) -> bool:
        unready = any(n.ready is False for n in self.networks)
        return not (self.findings or self.differences or unready or self.pending)


Clock = Callable[[float], str]
"""A point in time as people say it: `14:02`, `Nov 23 14:02`."""
COLUMNS = 80


def overview_text(found: Overview, style: Style = PLAIN, *, columns: int = COLUMNS, clock: Clock | None = None) -> str:
    """One screen: what is wrong, worst first, and what to do; then the networks; then what happened of late."""
    lines = [f"{style.bold('Node')} {found.node}: {_verdict(found, style)}"]
    lines += [style.dim(line) for line in wrap(_agent(found), columns, 2)]
    if found.pending:
        lines += ["", *_pending(found.pending, style, columns)]
    for one in found.findings:
        lines += ["", *_finding(one, found.now, style, columns, clock)]
    if found.differences:
        lines += ["", *(line for text in _drift(found, style) for line in wrap(text, columns, 4))]
    for network in found.networks:
        lines += ["", *(line for text in _network(network, found.now, style) for line in wrap(text, columns, ROW))]
    if found.events:
        lines += ["", style.bold("Of late")]
        lines += [line for event in found.events for line in _event(event, found.now, style, columns)]
    return "\n".join(lines) + "\n"


def _verdict(found: Overview, style: Style) -> str:
    if found.well:
        return style.green("all is well")
    parts = ["a change is not decided yet"] if found.pending else []
    parts += [plural(len(found.findings), "finding")] if found.findings else []
    parts += [plural(found.differences, "difference")] if found.differences else []
    unready = [n.name for n in found.networks if n.ready is False]
    parts += [f"not ready: {', '.join(unready)}"] if unready else []
    return style.red("; ".join(parts))


def _agent(found: Overview) -> str:
    agent = found.agent
    if agent is None:
        return "no agent runs here: nobody watches; `windrow apply` repairs what drifts"
    return f"the agent runs since {span(found.now - agent.started)} (pid {agent.pid})"


def _pending(pending: Pending, style: Style, columns: int) -> Iterator[str]:
    on = f" on {', '.join(pending.links)}" if pending.links else ""
    left = f" in {max(0.0, pending.left):.0f} s" if pending.left is not None else " by itself"
    text, hint = {
        "waiting": (f"a change{on} by `{pending.made_by}` awaits confirmation; it is undone{left}", "windrow confirm"),
        "undoing": (f"a change{on} by `{pending.made_by}` is being undone", "wait, then look again"),
    }.get(pending.stage, (f"a change{on} by `{pending.made_by}` is being made and tried", "wait, then look again"))
    yield from wrap(f"{style.yellow('pending')}  {text}", columns, 9)
    yield from wrap(f"         {style.cyan('→')} {hint}", columns, 11)


def _finding(one: Finding, now: float, style: Style, columns: int, clock: Clock | None) -> Iterator[str]:
    """Three lines: how bad, on which object, since when; what; and what to do."""
    problem = one.problem
    error = problem.severity is Severity.ERROR
    mark = style.red("error  ") if error else style.yellow("warning")
    place = f"{problem.file}:{problem.line}" if problem.file and problem.line else problem.file
    about = style.bold(str(problem.about or place or "this node"))
    since = ""
    if one.since is not None:
        at = f", since {clock(one.since)}" if clock else ""
        since = f"  for {span(now - one.since)}{at}"
    yield f"{mark}  {about}{style.dim(since)}"
    where = f"{problem.path}: " if problem.path else ""
    yield from wrap(f"{' ' * 9}{where}{problem.message}", columns, 9)
    if problem.about and place:
        yield f"{' ' * 9}{style.dim(f'in {place}')}"
    if problem.hint:
        yield from wrap(f"{' ' * 9}{style.cyan('→')} {problem.hint}", columns, 11)


def _event(event: Event, now: float, style: Style, columns: int) -> list[str]:
    ago = pad(f"{span(now - event.last)} ago", 12)
    mark = style.yellow(event.reason) if event.type is EventType.WARNING else event.reason
    times = f" ({event.count} times)" if event.count > 1 else ""
    return wrap(f"  {style.dim(ago)}{mark}  {event.about.name}: {event.message}{times}", columns, 14)


def _drift(found: Overview, style: Style) -> Iterator[str]:
    text = f"{plural(found.differences, 'difference')} between the manifests and the kernel"
    yield f"{style.yellow('drift:')} {text}; see: windrow diff"
    if found.steps:
        cost = impact_words(found.impact, style)
        yield f"    {style.cyan('→')} `windrow apply` repairs it in {plural(found.steps, 'step')}, impact {cost}"


ROW = 10


def _network(line: NetworkLine, now: float, style: Style) -> Iterator[str]:
    sign = {True: style.green("● ready"), False: style.red("○ not ready"), None: style.dim("– not here")}[line.ready]
    since = style.dim(f" for {span(now - line.since)}") if line.ready is False and line.since is not None else ""
    yield f"{style.bold(line.name)}  {sign}{since}" + (f": {line.message}" if line.message else "")
    if line.hint:
        yield f"    {style.cyan('→')} {line.hint}"
    if line.view:
        yield from _links(line.view, style)
    for tunnel in line.tunnels:
        yield _row("overlay", _tunnel(tunnel), style)
    if line.view:
        yield from _ports(line.view, style)


def _links(view: NetworkView, style: Style) -> Iterator[str]:
    mtu = f"MTU {view.mtu}" if view.mtu else ""
    yield _row("bridge", "  ".join(filter(None, (view.bridge, mtu, *view.addrs))), style)
    if view.uplink:
        yield from _uplink(view.uplink, style)
    for own in view.vlan_ifs:
        yield _row("host", f"{own.name}  VLAN {own.vid}  {' '.join(own.addrs) or 'no address'}", style)


def _tunnel(tunnel: TunnelLine) -> str:
    mtu = f"{tunnel.name}  MTU {tunnel.mtu}"
    if tunnel.far_ends is None:
        return f"{mtu}  made by others"
    start = "encrypted" if tunnel.encrypted else f"from {tunnel.local}"
    return f"{mtu}  {start}  to {plural(tunnel.far_ends, 'node')}"


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
        findings=[{**problem_value(f.problem), "since": f.since} for f in found.findings],
        drift={"differences": found.differences, "steps": found.steps, "impact": found.impact.value},
        agent=_agent_value(found.agent),
        pending=_pending_value(found.pending),
        clusterNetworks=[_network_value(n) for n in found.networks],
        events=[event_document(e) for e in found.events],
    )


def _agent_value(agent: AgentStatus | None) -> dict[str, Any]:
    if agent is None:
        return {"running": False}
    return {
        "running": True,
        "pid": agent.pid,
        "version": agent.version,
        "started": agent.started,
        "lastRound": agent.last_round,
    }


def _pending_value(pending: Pending | None) -> dict[str, Any] | None:
    if pending is None:
        return None
    return {
        "madeBy": pending.made_by,
        "stage": pending.stage,
        "secondsLeft": None if pending.left is None else round(pending.left, 1),
        "links": list(pending.links),
    }


def _network_value(line: NetworkLine) -> dict[str, Any]:
    view, uplink = line.view, line.view.uplink if line.view else None
    return {
        "name": line.name,
        "ready": line.ready,
        "message": line.message,
        "hint": line.hint,
        "since": line.since,
        "bridge": view.bridge if view else None,
        "mtu": view.mtu if view else None,
        "addresses": list(view.addrs) if view else [],
        "uplink": _uplink_value(uplink) if uplink else None,
        "hostInterfaces": [
            {"name": v.name, "vlan": v.vid, "addresses": list(v.addrs)} for v in (view.vlan_ifs if view else ())
        ],
        "tunnels": [
            {"name": t.name, "mtu": t.mtu, "local": t.local, "farEnds": t.far_ends, "owned": t.far_ends is not None}
            for t in line.tunnels
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
