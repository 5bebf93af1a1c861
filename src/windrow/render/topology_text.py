"""The topology for a terminal: a box per node, switch and host, each with what hangs on it, and where its cables go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from windrow.model.host import PortVlans
from windrow.model.values import VidSet
from windrow.render.text import PLAIN, Style, pad, plural, width
from windrow.render.topology import (
    BondView,
    Health,
    HostView,
    MachineNic,
    NetworkName,
    NetworkView,
    NicView,
    NodeView,
    PortView,
    SwitchPort,
    SwitchView,
    Topology,
    fold,
    vids_in,
)

Box = list[str]
RANGES_SHOWN = 8


def topology_text(topology: Topology, *, style: Style = PLAIN, columns: int = 100) -> str:
    """The picture, at most `columns` wide where its boxes allow it: they stand side by side while there is room."""
    tiers = (
        [_node(topology, node, style) for node in topology.nodes],
        [_switch(topology, switch, style) for switch in topology.switches],
        [_host(topology, host, style) for host in topology.hosts],
    )
    lines = [line for boxes in tiers for row in _rows(boxes, columns) for line in _beside(row)]
    return "\n".join(line.rstrip() for line in [*lines, *_legend(topology, style)]) + "\n"


# -- boxes -----------------------------------------------------------------------------------------


def box(title: str, lines: Iterable[str]) -> Box:
    """Lines in a frame, the title in its upper edge."""
    content = list(lines)
    inner = max([width(title) + 2, *map(width, content)])
    return [
        f"┌ {title} {'─' * (inner - width(title))}┐",
        *(f"│ {pad(line, inner)} │" for line in content),
        f"└{'─' * (inner + 2)}┘",
    ]


def _rows(boxes: Sequence[Box], columns: int) -> Iterator[list[Box]]:
    row: list[Box] = []
    for one in boxes:
        if row and sum(width(b[0]) + 2 for b in row) + width(one[0]) > columns:
            yield row
            row = []
        row.append(one)
    if row:
        yield row


def _beside(boxes: Sequence[Box]) -> Iterator[str]:
    height = max(map(len, boxes))
    for i in range(height):
        yield "  ".join(b[i] if i < len(b) else " " * width(b[0]) for b in boxes)


def _tree(branches: Sequence[Sequence[str]]) -> Iterator[str]:
    """`├─ ` and `└─ ` before each branch; its further lines are indented."""
    for i, branch in enumerate(branches):
        last = i == len(branches) - 1
        first, *rest = branch
        yield ("└─ " if last else "├─ ") + first
        yield from (("   " if last else "│  ") + line for line in rest)


# -- what is in them -------------------------------------------------------------------------------


def _node(topology: Topology, node: NodeView, style: Style) -> Box:
    lines = list(_machines(node, style))
    for network in node.networks:
        lines += [""] if lines else []
        lines += _network(topology, node, network, style)
    if node.loose:
        lines += [""] if lines else []
        lines += [style.dim("in no network"), *_tree([[_nic(topology, node, n, 0, style)] for n in node.loose])]
    return box(style.bold(node.name), lines or [style.dim("no network")])


def _machines(node: NodeView, style: Style) -> Iterator[str]:
    """Each with its NICs: address, VLAN, and the bridge that it comes out of."""
    if not node.machines:
        return
    machines, rest = fold(node.machines)
    rows = {m.name: [_machine_nic(node, nic, style) for nic in m.nics] for m in machines}
    every = [row for found in rows.values() for row in found]
    widest = [max(map(width, column)) for column in zip(*every, strict=True)]
    branches = []
    for machine in machines:
        head = _columns(_sign(machine.health, style), style.bold(machine.name), style.dim(machine.state))
        # A column that nobody has anything for is left out.
        cells = [[pad(cell, w) for cell, w in zip(row, widest, strict=True) if w] for row in rows[machine.name]]
        branches.append([head, *_tree([[_columns(*row)] for row in cells])])
    branches += [[style.dim(f"… {plural(rest, 'more machine')}")]] if rest else []
    yield style.dim("virtual machines")
    yield from _tree(branches)


def _machine_nic(node: NodeView, nic: MachineNic, style: Style) -> tuple[str, ...]:
    """(name, addresses, VLANs, where it leads)"""
    behind = node.behind(nic)
    address = " ".join(nic.addrs)
    if nic.translated:
        address = " ".join(filter(None, (address, "NAT", nic.outside)))
    if behind is None:
        return (nic.name, address, "", f"{_WIRES[Health.DOWN]} {style.red('no bridge')}")
    network, port = behind
    wire = _WIRES[port.health if nic.up else Health.DOWN]
    vlans = vlans_text(port.vlans, style) if port.vlans.all else ""
    return (nic.name, address, vlans, f"{wire} {network.bridge}" + ("" if nic.up else "  link down"))


def _network(topology: Topology, node: NodeView, network: NetworkView, style: Style) -> Iterator[str]:
    facts = [f"MTU {network.mtu}"] if network.mtu else []
    facts += list(network.addrs)
    title = [style.bold(network.name)] if network.name != network.bridge else []
    yield "  ".join([_sign(network.health, style), *title, network.bridge, style.dim("  ".join(facts))]).rstrip()
    ports, rest = fold(network.ports)
    longest = max([0, *(len(p.name) for p in ports), *(len(v.name) for v in network.vlan_ifs)])
    branches = [[_port(p, longest, style)] for p in ports]
    branches += [[style.dim(f"… {plural(rest, 'more port')}")]] if rest else []
    branches += [
        [_columns(_sign(v.health, style), pad(v.name, longest), _vid(v.vid, style), "host", " ".join(v.addrs))]
        for v in network.vlan_ifs
    ]
    if network.uplink:
        branches.append(list(_bond(topology, node, network.uplink, style)))
    yield from _tree(branches)


def _columns(*cells: str) -> str:
    return "  ".join(cells).rstrip()


def _port(port: PortView, longest: int, style: Style) -> str:
    behind = " ".join(filter(None, (port.endpoint, *port.addrs)))
    return _columns(_sign(port.health, style), pad(port.name, longest), vlans_text(port.vlans, style), behind)


def _bond(topology: Topology, node: NodeView, bond: BondView, style: Style) -> Iterator[str]:
    note = style.dim(bond.note)
    yield _columns(_sign(bond.health, style), bond.name, bond.mode, vlans_text(bond.vlans, style), note)
    longest = max([0, *(len(n.name) for n in bond.nics)])
    yield from _tree([[_nic(topology, node, n, longest, style)] for n in bond.nics])


_WIRES = {Health.UP: "━━━", Health.STANDBY: "╌╌╌", Health.DOWN: "━╳━", Health.UNKNOWN: "╌?╌"}


def _nic(topology: Topology, node: NodeView, nic: NicView, longest: int, style: Style) -> str:
    cable = topology.cable(node.name, nic.name)
    health = nic.health if cable is None or cable.health is Health.UP else cable.health
    wire = f"{_WIRES[health]} {topology.peer(node.name, nic.name)}" if cable else ""
    note = nic.note or ("" if nic.health is Health.UP else nic.health.value)
    return _columns(_sign(nic.health, style), pad(nic.name, longest), *filter(None, (wire, style.dim(note))))


def _switch(topology: Topology, switch: SwitchView, style: Style) -> Box:
    longest = max([0, *(len(p.name) for p in switch.ports)])
    peers = {p.name: str(topology.peer(switch.name, p.name) or "") for p in switch.ports}
    widest = max([0, *map(len, peers.values())])
    lags = max([0, *(len(_lag(p)) for p in switch.ports)])
    lines = [
        _columns(
            _sign(port.health, style),
            pad(port.name, longest),
            f"{_WIRES[port.health] if peers[port.name] else '   '} {pad(peers[port.name], widest)}",
            *([pad(_lag(port), lags)] if lags else []),
            vlans_text(port.vlans, style),
        )
        for port in switch.ports
    ]
    return box(f"switch {style.bold(switch.name)}", lines)


def _lag(port: SwitchPort) -> str:
    return f"{port.lag} {port.lag_mode}".strip()


def _host(topology: Topology, host: HostView, style: Style) -> Box:
    lines = []
    for nic in host.nics:
        peer = topology.peer(host.name, nic.name)
        wire = f"━━━ {peer}" if peer else ""
        lines.append(_columns(*filter(None, (nic.name, wire, vlans_text(nic.vlans, style), " ".join(nic.addrs)))))
    role = f"{host.role} " if host.role and host.role != host.name else ""
    return box(role + style.bold(host.name), lines)


# -- words and signs -------------------------------------------------------------------------------


def _sign(health: Health, style: Style) -> str:
    match health:
        case Health.UP:
            return style.green("●")
        case Health.STANDBY:
            return style.yellow("◐")
        case Health.DOWN:
            return style.red("○")
        case Health.UNKNOWN:
            return style.dim("?")


def _vid(vid: int, style: Style) -> str:
    return style.vlan(vid, f"vlan {vid}")


def vlans_text(vlans: PortVlans, style: Style = PLAIN) -> str:
    """`vlan 100` for an access port; else `1 untagged, 100, 200`."""
    untagged, tagged = vlans.untagged, vlans.tagged
    if vlans.pvid and vlans.pvid != 1 and not tagged and len(untagged) == 1:
        return _vid(vlans.pvid, style)
    parts = [f"{untagged} untagged"] if untagged else []
    return ", ".join([*parts, *_ranges(tagged, style)]) or style.dim("no VLAN")


def _ranges(vids: VidSet, style: Style) -> Iterator[str]:
    ranges = list(vids.ranges())
    for first, last in ranges[:RANGES_SHOWN]:
        yield style.vlan(first, str(first) if first == last else f"{first}-{last}")
    if len(ranges) > RANGES_SHOWN:
        rest = sum(last - first + 1 for first, last in ranges[RANGES_SHOWN:])
        yield f"… {rest} more"


def _legend(topology: Topology, style: Style) -> Iterator[str]:
    named = sorted(topology.networks, key=lambda n: (n.vid, n.cluster_network, n.name))
    words = [_network_words(n, style) for n in named]
    if words:
        yield style.dim("networks  ") + "   ".join(words)
    if vids_in(topology) or topology.nodes:
        signs = [f"{_sign(h, style)} {h.value}" for h in (Health.UP, Health.STANDBY, Health.DOWN)]
        yield style.dim("signs     ") + "   ".join(signs)


def _network_words(network: NetworkName, style: Style) -> str:
    where = f" ({network.cluster_network})" if network.cluster_network else ""
    return f"{_vid(network.vid, style) if network.vid else 'untagged'} {network.name}{where}"
