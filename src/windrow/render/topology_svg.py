"""The topology as SVG: nodes above, switches between, outside hosts below; the same topology gives the same bytes.

Every text is set in a monospaced font, so its width is known here and nothing overlaps. Colours follow the
reader's light or dark theme (`prefers-color-scheme`), or the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from windrow.model.host import PortVlans
from windrow.model.lazy import dataclass
from windrow.model.values import VidSet
from windrow.render.svg import LINE, Colours, Point, curve, document, dot, label, loop, rect, stroke, upright, width_of
from windrow.render.topology import (
    Cable,
    End,
    Health,
    HostView,
    NetworkView,
    NicView,
    NodeView,
    PortView,
    SwitchPort,
    SwitchView,
    Topology,
    fold,
)
from windrow.render.topology_machines import POD_H, draw_machines, legs_height, machines_width, shown_ports

PAD, GAP = 14.0, 12.0
NIC_H = 24.0
PILLS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What was drawn, and where each cable end is. `down`: the cable leaves downwards."""

    shapes: tuple[str, ...] = ()
    ends: tuple[tuple[End, Point, bool], ...] = ()


def topology_svg(topology: Topology, *, theme: str = "auto", title: str = "") -> str:
    """`theme`: `auto` (the reader's), `light` or `dark`."""
    colours = Colours.of(topology)
    tops = _Rows.of(topology)
    node_widths = [_node_width(n) for n in topology.nodes]
    wide = max(
        _total(node_widths),
        _total(_switch_width(topology, s) for s in topology.switches),
        _total(map(_host_width, topology.hosts)),
        _legend_width(topology, colours),
    )
    left, y = PAD + (LAYER_W + PAD if tops.legs else 0.0), PAD + (30.0 if title else 0.0)
    layers = _Layers(left=PAD, right=left + wide, top=y, border=y + tops.border, nodes=y + tops.height)
    pictures: list[Picture] = []
    for node, x in zip(topology.nodes, _spread(node_widths, left, wide), strict=True):
        pictures.append(_node(node, x, y, tops, colours))
    below = 120.0 if topology.switches or topology.hosts else 30.0
    y += tops.height + below if topology.nodes else 0.0
    outside = y - SWITCH_H / 4
    ends = _ends(pictures)
    switches = _by_peers(topology, topology.switches, ends)
    widths = [_switch_width(topology, s) for s in switches]
    for switch, x in zip(switches, _spread(widths, left, wide), strict=True):
        pictures.append(_switch(topology, switch, x, y, ends, colours))
    if switches:
        y += SWITCH_H + (100.0 if topology.hosts else _between_switches(topology))
    ends = _ends(pictures)
    hosts = _by_peers(topology, topology.hosts, ends)
    for host, x in zip(hosts, _spread(list(map(_host_width, hosts)), left, wide), strict=True):
        pictures.append(_host(host, x, y, colours))
    y += max(map(_host_height, hosts)) + 24.0 if hosts else 0.0
    cables = _cables(topology, _ends(pictures))
    legend, height = _legend(topology, left, y + 16.0, wide, colours)
    bands = _bands(layers, (outside, y) if switches or hosts else None) if tops.legs else []
    shapes = [*cables, *(s for p in pictures for s in p.shapes), *bands, *legend]
    return document(shapes, left + wide + PAD, height + PAD, theme, title)


def _total(widths: Iterable[float]) -> float:
    found = list(widths)
    return sum(found) + GAP * 2 * max(0, len(found) - 1)


def _spread(widths: Sequence[float], left: float, wide: float) -> list[float]:
    """Left edges: evenly over the width, with as much room at the sides as between."""
    if not widths:
        return []
    room = (wide - sum(widths)) / (len(widths) + 1)
    between = room if room >= GAP * 2 else (wide - sum(widths)) / max(1, len(widths) - 1)
    x = left + (room if room >= GAP * 2 else 0.0)
    found = []
    for w in widths:
        found.append(x)
        x += w + between
    return found


def _ends(pictures: Iterable[Picture]) -> dict[End, tuple[Point, bool]]:
    return {end: (point, down) for picture in pictures for end, point, down in picture.ends}


# -- layers ----------------------------------------------------------------------------------------

LAYER_W = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """Where the layers are: between `top`, `border` and the lower edge of the `nodes`, and outside of them."""

    left: float
    right: float
    top: float
    border: float
    nodes: float


def _bands(at: _Layers, outside: tuple[float, float] | None) -> list[str]:
    """Their names at the side, and the line between what a pod has and what its node has."""
    bands = [("KubeVirt layer", at.top, at.border - 3.0), ("Harvester layer", at.border + 3.0, at.nodes)]
    bands += [("external layer", *outside)] if outside else []
    shapes = [stroke(Point(at.left + LAYER_W, at.border), Point(at.right, at.border), "border")]
    for name, top, bottom in bands:
        shapes.append(rect(at.left, top, LAYER_W, bottom - top, "layer", 6.0))
        shapes.append(upright(at.left + LAYER_W / 2 + 4.0, (top + bottom) / 2, name, "mute"))
    return shapes


# -- nodes -----------------------------------------------------------------------------------------

TITLE_H, BRIDGE_H, BOND_H = 34.0, 42.0, 38.0
PORT_WIRE, PILL_WIRE, NIC_WIRE = 20.0, 46.0, 22.0
LEG_W = 40.0
"""Room for a machine's leg beside what else hangs on a bridge."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Heights that all nodes share, so that their bridges stand in one line."""

    chips: float
    legs: float
    """0: there are no machines."""

    @classmethod
    def of(cls, topology: Topology) -> _Rows:
        lines = [len(c.lines) for n in topology.nodes for w in n.networks for c in _chips(n, w)]
        legs = legs_height(topology.nodes) if any(n.machines for n in topology.nodes) else 0.0
        return cls(max(lines) * LINE + 10.0 if lines else 0.0, legs)

    @property
    def above(self) -> float:
        """To what hangs on the bridges."""
        return TITLE_H + (POD_H + self.legs if self.legs else 0.0)

    @property
    def border(self) -> float:
        return TITLE_H + POD_H + self.legs / 2

    @property
    def bridge(self) -> float:
        return self.above + (self.chips + PORT_WIRE if self.chips or self.legs else 0.0)

    @property
    def bond(self) -> float:
        return self.bridge + BRIDGE_H + PILL_WIRE

    @property
    def height(self) -> float:
        """To the lower edge of the node; the NICs stand half outside."""
        return self.bond + BOND_H + NIC_WIRE + NIC_H / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chip:
    """Somebody on a bridge: an endpoint behind a port, or the host's own VLAN interface."""

    lines: tuple[str, ...]
    vid: int
    health: Health
    host: bool = False

    @property
    def width(self) -> float:
        return max(map(width_of, self.lines)) + 22.0


def _chips(node: NodeView, network: NetworkView) -> list[_Chip]:
    """But for the ports of machines."""
    chips = []
    ports, rest = fold([port for port in network.ports if port.name not in node.of_machines])
    for port in ports:
        vid = port.vlans.pvid if port.vlans.pvid not in (None, 1) and not port.vlans.tagged else 0
        lines = (port.endpoint or port.name, *port.addrs[:1], _short(port.vlans))
        chips.append(_Chip(lines=lines, vid=vid or 0, health=port.health))
    if rest:
        chips.append(_Chip(lines=(f"+{rest} more", "ports"), vid=0, health=Health.UNKNOWN))
    for own in network.vlan_ifs:
        lines = (own.name, *own.addrs[:1], f"host, VLAN {own.vid}")
        chips.append(_Chip(lines=lines, vid=own.vid, health=own.health, host=True))
    return chips


def _short(vlans: PortVlans) -> str:
    """One line for a port: `VLAN 100`, `untagged`, `trunk 100-102`."""
    if vlans.tagged:
        text = str(vlans.tagged)
        return f"trunk {text if len(text) <= 14 else text[:13] + '…'}"
    if vlans.pvid in (None, 1):
        return "untagged" if vlans.pvid == 1 else "no VLAN"
    return f"VLAN {vlans.pvid}"


def _bridge_lines(network: NetworkView) -> tuple[str, str]:
    facts = ([f"MTU {network.mtu}"] if network.mtu else []) + list(network.addrs)
    return network.bridge, " · ".join(facts)


def _bond_lines(network: NetworkView) -> tuple[str, str]:
    bond = network.uplink
    return (f"{bond.name} · {bond.mode}" if bond.mode else bond.name, bond.note) if bond else ("", "")


def _nic_width(nic: NicView) -> float:
    return width_of(nic.name) + 30.0


def _pills(vlans: PortVlans) -> list[tuple[str, int, bool]]:
    """(text, VID, untagged) for each range of an uplink's VLANs."""
    found = [(str(v), int(v), True) for v in vlans.untagged]
    ranges = list(vlans.tagged.ranges())
    found += [(str(a) if a == b else f"{a}-{b}", a, False) for a, b in ranges[:PILLS_SHOWN]]
    if len(ranges) > PILLS_SHOWN:
        rest = sum(b - a + 1 for a, b in ranges[PILLS_SHOWN:])
        found.append((f"+{rest}", 0, False))
    return found


def _pills_width(vlans: PortVlans) -> float:
    return sum(width_of(text) + 18.0 for text, _, _ in _pills(vlans))


def _legs(node: NodeView, network: NetworkView) -> list[PortView]:
    """The ports at which the legs of machines end, from left to right."""
    ports = {port.name: port for port in network.ports}
    return [ports[name] for name in shown_ports(node) if name in ports]


def _row_width(node: NodeView, network: NetworkView) -> float:
    """Of what hangs on a bridge."""
    widths = [c.width for c in _chips(node, network)] + [LEG_W] * len(_legs(node, network))
    return sum(widths) + GAP * max(0, len(widths) - 1)


def _network_width(node: NodeView, network: NetworkView) -> float:
    nics = [_nic_width(n) for n in network.uplink.nics] if network.uplink else []
    row = _row_width(node, network)
    below = sum(nics) + GAP * max(0, len(nics) - 1)
    labels = [width_of(t) + 28.0 for t in (*_bridge_lines(network), *_bond_lines(network))]
    return max(row, below, _pills_width(network.uplink.vlans) if network.uplink else 0.0, *labels, 130.0)


def _loose_width(node: NodeView) -> float:
    return sum(_nic_width(n) for n in node.loose) + GAP * (len(node.loose) - 1) if node.loose else 0.0


def _needed_width(node: NodeView) -> float:
    """For what stands side by side at the height of the bridges."""
    parts = [_network_width(node, n) for n in node.networks] + ([_loose_width(node)] if node.loose else [])
    return sum(parts) + PAD * max(0, len(parts) - 1)


def _node_width(node: NodeView) -> float:
    inner = max(_needed_width(node), machines_width(node))
    return max(inner + 2 * PAD, width_of(node.name) + 40.0, 160.0)


def _node(node: NodeView, x: float, y: float, rows: _Rows, colours: Colours) -> Picture:
    width = _node_width(node)
    ends: list[tuple[End, Point, bool]] = []
    ports: dict[str, Point] = {}
    shapes: list[str] = []
    # Where the machines need more room than the bridges, the bridges become wider.
    spare = (width - 2 * PAD - _needed_width(node)) / max(1, len(node.networks)) if node.machines else 0.0
    left = x + PAD
    for network in node.networks:
        wide = _network_width(node, network) + spare
        part = _network(node, network, Point(left, y), wide, rows, colours)
        ports |= _leg_ends(node, network, Point(left, y + rows.above), wide)
        shapes += part.shapes
        ends += part.ends
        left += wide + PAD
    if node.loose:
        part = _nic_row(node, node.loose, Point(left, y + rows.height), x + width - PAD - left)
        shapes += part.shapes
        ends += part.ends
    at, inner = Point(x + PAD, y + TITLE_H), width - 2 * PAD
    legs, machines = draw_machines(node, at, inner, ports, colours) if node.machines else ([], [])
    frame = [rect(x, y, width, rows.height, "node", 10.0), label(x + PAD, y + 22.0, node.name, "title")]
    return Picture(shapes=(*frame, *legs, *shapes, *machines), ends=tuple(ends))


def _network(node: NodeView, network: NetworkView, at: Point, width: float, rows: _Rows, colours: Colours) -> Picture:
    bridge_y = at.y + rows.bridge
    shapes = _chip_row(node, network, Point(at.x, at.y + rows.above), width, rows, colours)
    name, facts = _bridge_lines(network)
    shapes += [
        rect(at.x, bridge_y, width, BRIDGE_H, f"bridge e-{network.health.value}", 5.0),
        label(at.x + width / 2, bridge_y + 18.0, name, "strong", "middle"),
        label(at.x + width / 2, bridge_y + 34.0, facts, "mute", "middle"),
    ]
    if network.uplink is None:
        return Picture(shapes=tuple(shapes))
    middle, bond_y = at.x + width / 2, at.y + rows.bond
    shapes.append(stroke(Point(middle, bridge_y + BRIDGE_H), Point(middle, bond_y), "trunk"))
    shapes += _pill_row(network.uplink.vlans, Point(middle, (bridge_y + BRIDGE_H + bond_y) / 2), colours)
    nics = _nic_row(node, network.uplink.nics, Point(at.x, at.y + rows.height), width, bond_y + BOND_H)
    name, note = _bond_lines(network)
    bond_width = max(width_of(name), width_of(note)) + 28.0
    shapes += [
        *nics.shapes,
        rect(middle - bond_width / 2, bond_y, bond_width, BOND_H, f"box e-{network.uplink.health.value}", 19.0),
        label(middle, bond_y + (16.0 if note else 23.0), name, "strong", "middle"),
        label(middle, bond_y + 31.0, note, "mute", "middle") if note else "",
    ]
    return Picture(shapes=tuple(filter(None, shapes)), ends=nics.ends)


def _gap(node: NodeView, network: NetworkView, width: float) -> float:
    """Between what hangs on a bridge: on one that is wider than that, more."""
    count = len(_chips(node, network)) + len(_legs(node, network))
    return GAP + min(GAP * 3, (width - _row_width(node, network)) / (count + 1))


def _leg_ends(node: NodeView, network: NetworkView, at: Point, width: float) -> dict[str, Point]:
    """By port, where its machine's leg arrives: beside the chips of the bridge."""
    legs = _legs(node, network)
    gap = _gap(node, network, width)
    more = (gap - GAP) * (len(_chips(node, network)) + len(legs) - 1)
    right = at.x + (width + _row_width(node, network) + more) / 2
    first = right - len(legs) * (LEG_W + gap) + gap + LEG_W / 2
    return {port.name: Point(first + i * (LEG_W + gap), at.y) for i, port in enumerate(legs)}


def _leg_foot(port: PortView, top: Point, height: float, colours: Colours) -> list[str]:
    """The last part of a leg, straight down to the bridge, with the VLAN of the port."""
    vid, bottom = Colours.of_port(port.vlans), top.y + height
    css = colours.css(vid, "s") if port.health is not Health.DOWN else "c-down"
    shapes = [stroke(top, Point(top.x, bottom), f"wire {css}")]
    text = str(vid) if vid else "trunk" if port.vlans.tagged else str(port.vlans.pvid or "")
    if text:
        width = max(width_of(text) + 10.0, 26.0)
        pill, ink = (f"pill {colours.css(vid, 'f')}", "pillink") if vid else ("pill native", "mute")
        shapes.append(rect(top.x - width / 2, bottom - 23.0, width, 17.0, pill, 8.5))
        shapes.append(label(top.x, bottom - 10.5, text, ink, "middle"))
    return shapes


def _chip_row(
    node: NodeView, network: NetworkView, at: Point, width: float, rows: _Rows, colours: Colours
) -> list[str]:
    chips, gap = _chips(node, network), _gap(node, network, width)
    more = (gap - GAP) * (len(chips) + len(_legs(node, network)) - 1)
    left = at.x + (width - _row_width(node, network) - more) / 2
    bottom = at.y + rows.chips
    shapes = []
    for chip in chips:
        height = len(chip.lines) * LINE + 10.0
        middle, top = left + chip.width / 2, bottom - height
        wire = "dim" if chip.health is Health.DOWN else colours.css(chip.vid, "s")
        shapes.append(stroke(Point(middle, bottom), Point(middle, bottom + PORT_WIRE), f"wire {wire}"))
        shape = f"chip {'own ' if chip.host else ''}{colours.css(chip.vid, 's')}"
        shapes.append(rect(left, top, chip.width, height, shape, 4.0 if chip.host else 9.0))
        for i, line in enumerate(chip.lines):
            last = i == len(chip.lines) - 1
            css = "ink strong" if i == 0 else colours.css(chip.vid, "f") + " small" if last else "mute"
            shapes.append(label(middle, top + 16.0 + i * LINE, line, css, "middle"))
        left += chip.width + gap
    ends = _leg_ends(node, network, at, width)
    for port in _legs(node, network):
        shapes += _leg_foot(port, ends[port.name], rows.bridge - rows.above, colours)
    return shapes


def _pill_row(vlans: PortVlans, middle: Point, colours: Colours) -> list[str]:
    left = middle.x - _pills_width(vlans) / 2
    shapes = []
    for text, vid, untagged in _pills(vlans):
        width = width_of(text) + 12.0
        css = "pill native" if untagged else f"pill {colours.css(vid, 'f')}"
        shapes.append(rect(left + 3.0, middle.y - 9.0, width, 18.0, css, 9.0))
        ink = "mute" if untagged else "pillink"
        shapes.append(label(left + 3.0 + width / 2, middle.y + 4.0, text, ink, "middle"))
        left += width + 6.0
    return shapes


def _nic_row(node: NodeView, nics: Sequence[NicView], at: Point, width: float, bond: float | None = None) -> Picture:
    """NICs on the lower edge of the node, with their wires up to the bond where there is one."""
    left = at.x + (width - sum(map(_nic_width, nics)) - GAP * max(0, len(nics) - 1)) / 2
    hub = at.x + width / 2
    shapes: list[str] = []
    ends: list[tuple[End, Point, bool]] = []
    for nic in nics:
        w, top = _nic_width(nic), at.y - NIC_H / 2
        middle = left + w / 2
        if bond is not None:
            css = f"cable c-{nic.health.value}"
            shapes.append(curve(Point(hub + (middle - hub) * 0.35, bond), Point(middle, top), css))
        shapes.append(rect(left, top, w, NIC_H, f"box e-{nic.health.value}", 5.0))
        shapes.append(dot(left + 12.0, top + NIC_H / 2, nic.health))
        shapes.append(label(left + 21.0, top + 16.5, nic.name))
        ends.append((End(node.name, nic.name), Point(middle, top + NIC_H), True))
        left += w + GAP
    return Picture(shapes=tuple(shapes), ends=tuple(ends))


# -- switches --------------------------------------------------------------------------------------

SWITCH_H = 124.0
PORT_H = 22.0


def _upper(topology: Topology, switch: SwitchView) -> list[SwitchPort]:
    """Ports towards nodes: on the upper edge."""
    nodes = {n.name for n in topology.nodes}
    peers = {p.name: topology.peer(switch.name, p.name) for p in switch.ports}
    return [p for p in switch.ports if (end := peers[p.name]) is not None and end.device in nodes]


def _lower(topology: Topology, switch: SwitchView) -> list[SwitchPort]:
    upper = {p.name for p in _upper(topology, switch)}
    return [p for p in switch.ports if p.name not in upper]


def _trunk(vlans: PortVlans) -> str:
    """The VLANs of a switch port in one short line: `1 | 100,200` is native 1, tagged 100 and 200."""
    tagged = str(vlans.tagged)
    tagged = tagged if len(tagged) <= 16 else tagged[:15] + "…"
    return " | ".join(filter(None, (str(vlans.untagged), tagged))) or "no VLAN"


def _groups(ports: Sequence[SwitchPort]) -> list[list[SwitchPort]]:
    """Ports of one link aggregation group stand together; every other port alone."""
    groups: dict[str, list[SwitchPort]] = {}
    for port in ports:
        groups.setdefault(port.lag or f"\0{port.name}", []).append(port)
    return list(groups.values())


def _port_width(port: SwitchPort) -> float:
    return width_of(port.name) + 28.0


def _group_lines(group: Sequence[SwitchPort]) -> tuple[str, str]:
    head = group[0]
    return _trunk(head.vlans), " ".join(filter(None, (head.lag, head.lag_mode.upper() if head.lag else "")))


def _group_width(group: Sequence[SwitchPort]) -> float:
    ports = sum(map(_port_width, group)) + 8.0 * (len(group) - 1) + 12.0
    return max(ports, *(width_of(t) + 12.0 for t in _group_lines(group)))


def _edge_width(ports: Sequence[SwitchPort]) -> float:
    groups = _groups(ports)
    return sum(map(_group_width, groups)) + GAP * max(0, len(groups) - 1)


def _switch_width(topology: Topology, switch: SwitchView) -> float:
    edges = (_edge_width(_upper(topology, switch)), _edge_width(_lower(topology, switch)))
    return max(*edges, width_of(switch.name) + 60.0, 180.0) + 2 * PAD


def _between_switches(topology: Topology) -> float:
    return 60.0 if any(_lower(topology, s) for s in topology.switches) else 20.0


def _switch(
    topology: Topology, switch: SwitchView, x: float, y: float, ends: dict[End, tuple[Point, bool]], colours: Colours
) -> Picture:
    width = _switch_width(topology, switch)
    shapes = [
        rect(x, y, width, SWITCH_H, "switch", 8.0),
        label(x + width / 2, y + SWITCH_H / 2 + 12.0, switch.name, "switchtitle", "middle"),
    ]
    upper = _sorted_ports(topology, switch, _upper(topology, switch), ends)
    top = _port_edge(switch, upper, Point(x, y), width, above=True)
    bottom = _port_edge(switch, _groups(_lower(topology, switch)), Point(x, y + SWITCH_H), width, above=False)
    return Picture(shapes=(*shapes, *top.shapes, *bottom.shapes), ends=top.ends + bottom.ends)


def _sorted_ports(
    topology: Topology, switch: SwitchView, ports: Sequence[SwitchPort], ends: dict[End, tuple[Point, bool]]
) -> list[list[SwitchPort]]:
    """By where their cables come from, so that few of them cross."""

    def across(port: SwitchPort) -> float:
        peer = topology.peer(switch.name, port.name)
        return ends[peer][0].x if peer in ends else 0.0

    groups = [sorted(group, key=across) for group in _groups(ports)]
    return sorted(groups, key=lambda group: sum(map(across, group)) / len(group))


def _port_edge(
    switch: SwitchView, groups: Sequence[Sequence[SwitchPort]], at: Point, width: float, *, above: bool
) -> Picture:
    total = sum(map(_group_width, groups)) + GAP * max(0, len(groups) - 1)
    left = at.x + (width - total) / 2
    shapes: list[str] = []
    ends: list[tuple[End, Point, bool]] = []
    for group in groups:
        w = _group_width(group)
        middle = left + w / 2
        ports = sum(map(_port_width, group)) + 8.0 * (len(group) - 1)
        trunk, lag = _group_lines(group)
        if group[0].lag:
            shapes.append(
                rect(middle - ports / 2 - 6.0, at.y - PORT_H / 2 - 5.0, ports + 12.0, PORT_H + 10.0, "lag", 8.0)
            )
        rows = [at.y + 30.0, at.y + 45.0] if above else [at.y - 22.0, at.y - 37.0]
        shapes.append(label(middle, rows[0], trunk, "switchmute", "middle"))
        if lag:
            shapes.append(label(middle, rows[1], lag, "switchink small", "middle"))
        px = middle - ports / 2
        for port in group:
            pw, top = _port_width(port), at.y - PORT_H / 2
            shapes.append(rect(px, top, pw, PORT_H, f"box e-{port.health.value}", 4.0))
            shapes.append(dot(px + 11.0, at.y, port.health))
            shapes.append(label(px + 20.0, at.y + 4.5, port.name))
            ends.append((End(switch.name, port.name), Point(px + pw / 2, top if above else top + PORT_H), not above))
            px += pw + 8.0
        left += w + GAP
    return Picture(shapes=tuple(shapes), ends=tuple(ends))


# -- hosts -----------------------------------------------------------------------------------------


def _host_lines(host: HostView) -> list[tuple[str, int]]:
    found = []
    for nic in host.nics:
        vids = list(nic.vlans.all - VidSet.of([1]))
        found += [(addr, 0) for addr in nic.addrs]
        if vids:
            text = str(nic.vlans.all - VidSet.of([1]))
            found.append((f"VLAN {text if len(text) <= 24 else text[:23] + '…'}", vids[0] if len(vids) == 1 else 0))
    return found


def _host_width(host: HostView) -> float:
    texts = [host.name, host.role, *(t for t, _ in _host_lines(host))]
    nics = sum(width_of(n.name) + 22.0 for n in host.nics) + 8.0 * max(0, len(host.nics) - 1)
    return max(*(map(width_of, texts)), nics, 80.0) + 2 * PAD


def _host_height(host: HostView) -> float:
    return 62.0 + LINE * len(_host_lines(host))


def _host(host: HostView, x: float, y: float, colours: Colours) -> Picture:
    width, height = _host_width(host), _host_height(host)
    middle = x + width / 2
    shapes = [
        rect(x, y, width, height, "node host", 10.0),
        label(middle, y + 30.0, host.name, "title", "middle"),
        label(middle, y + 46.0, host.role, "mute", "middle"),
    ]
    for i, (line, vid) in enumerate(_host_lines(host)):
        css = f"{colours.css(vid, 'f')} small" if vid else "ink"
        shapes.append(label(middle, y + 64.0 + i * LINE, line, css, "middle"))
    widths = [width_of(n.name) + 22.0 for n in host.nics]
    left = middle - (sum(widths) + 8.0 * max(0, len(widths) - 1)) / 2
    ends = []
    for nic, w in zip(host.nics, widths, strict=True):
        shapes.append(rect(left, y - PORT_H / 2, w, PORT_H, "box e-up", 4.0))
        shapes.append(label(left + w / 2, y + 4.5, nic.name, "ink", "middle"))
        ends.append((End(host.name, nic.name), Point(left + w / 2, y - PORT_H / 2), False))
        left += w + 8.0
    return Picture(shapes=tuple(shapes), ends=tuple(ends))


# -- cables, order, legend -------------------------------------------------------------------------


Device = TypeVar("Device", SwitchView, HostView)


def _by_peers(topology: Topology, devices: Sequence[Device], ends: dict[End, tuple[Point, bool]]) -> list[Device]:
    """Left to right as the middle of what they are cabled to."""

    def middle(device: Device) -> float:
        cabled = [(c.a, c.b) for c in topology.cables] + [(c.b, c.a) for c in topology.cables]
        found = [ends[far][0].x for near, far in cabled if near.device == device.name and far in ends]
        return sum(found) / len(found) if found else 1e9

    return sorted(devices, key=lambda d: (middle(d), d.name))


def _health_at(topology: Topology, cable: Cable) -> Health:
    """Of the cable and of what it is plugged into: the worst."""
    found = [cable.health]
    for end in (cable.a, cable.b):
        found += [
            nic.health
            for node in topology.nodes
            if node.name == end.device
            for nics in (node.loose, *(w.uplink.nics for w in node.networks if w.uplink))
            for nic in nics
            if nic.name == end.port
        ]
        found += [p.health for s in topology.switches if s.name == end.device for p in s.ports if p.name == end.port]
    return next((h for h in (Health.DOWN, Health.STANDBY) if h in found), Health.UP)


def _cables(topology: Topology, ends: dict[End, tuple[Point, bool]]) -> list[str]:
    shapes = []
    for cable in topology.cables:
        if cable.a not in ends or cable.b not in ends:
            continue
        (a, a_down), (b, b_down) = ends[cable.a], ends[cable.b]
        css = f"cable c-{_health_at(topology, cable).value}"
        if a_down == b_down:
            shapes.append(loop(a, b, css, down=a_down))
        else:
            shapes.append(curve(*((a, b) if a_down else (b, a)), css))
    return shapes


def _legend_words(topology: Topology, colours: Colours) -> list[tuple[str, str]]:
    """(class of the swatch, words)."""
    named: dict[int, list[str]] = {}
    for network in topology.networks:
        text = f"{network.name} ({network.cluster_network})" if network.cluster_network else network.name
        named.setdefault(network.vid, []).append(text)
    words = [(colours.css(v, "f"), f"VLAN {v} {', '.join(named.get(v, []))}".rstrip()) for v in colours.vids[:16]]
    if 0 in named:
        words.append(("native", f"untagged {', '.join(named[0])}"))
    return words


def _legend_width(topology: Topology, colours: Colours) -> float:
    return max([300.0, *(width_of(text) + 34.0 for _, text in _legend_words(topology, colours))])


def _legend(topology: Topology, x: float, y: float, wide: float, colours: Colours) -> tuple[list[str], float]:
    """The shapes, and where they end."""
    shapes = [stroke(Point(x, y), Point(x + wide, y), "rule")]
    left, y = x, y + 24.0
    for css, text in _legend_words(topology, colours):
        width = width_of(text) + 34.0
        if left > x and left + width > x + wide:
            left, y = x, y + 22.0
        shapes.append(rect(left, y - 10.0, 18.0, 12.0, f"pill {css}", 6.0))
        shapes.append(label(left + 25.0, y, text, "mute"))
        left += width + GAP
    left, y = x, y + 24.0
    for health in (Health.UP, Health.STANDBY, Health.DOWN):
        shapes.append(stroke(Point(left, y - 4.0), Point(left + 30.0, y - 4.0), f"cable c-{health.value}"))
        shapes.append(dot(left + 40.0, y - 4.0, health))
        shapes.append(label(left + 50.0, y, health.value, "mute"))
        left += 50.0 + width_of(health.value) + 2 * GAP
    return shapes, y + 10.0
