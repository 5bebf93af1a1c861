"""The KubeVirt layer of the SVG picture: a node's virtual machines, each in its pod, and their legs to the bridges.

pod  ┌ vm-b · running ───────────┐      the machine, a cell for each NIC as its guest sees it
     │ default      vlan100      │
     └──[tap0]──────[tap1d…]─────┘      its cable's end in the pod
        (k6t-eth0)  (k6t-1d…)           the bridge in the pod
     ──[NAT]────────────────────        where the pod translates
         |             |                legs, to the ports of the node's bridges
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from windrow.model.lazy import dataclass
from windrow.render.svg import CHAR, Colours, Point, curve, dot, label, rect, stroke, width_of
from windrow.render.topology import Health, MachineNic, MachineView, NodeView, fold

POD_TITLE, HEAD, CELL, FLOOR, CHAIN, BAR, FOOT = 22.0, 30.0, 40.0, 15.0, 18.0, 18.0, 24.0
POD_H = POD_TITLE + HEAD + CELL + FLOOR + CHAIN + BAR + FOOT
"""From the name of the pod to its lower edge."""
LEGS_H, LEGS_MORE_H = 74.0, 14.0
"""Between pods and bridges, for up to two machines and for each more: room for legs that cross."""
TAP_H, NAT_H, STUB_H = 16.0, 18.0, 24.0
NO_BRIDGE = "no bridge"
GAP, INSET = 8.0, 10.0
MUTED = CHAR * 11.0 / 12.0
"""Width of a character in the smaller size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """A NIC of a machine, and where it comes out."""

    nic: MachineNic
    vid: int
    health: Health
    place: int
    """Which of the node's bridges; the last where it is in none."""

    @property
    def address(self) -> str:
        return self.nic.addrs[0] if self.nic.addrs else ""

    @property
    def nat(self) -> str:
        return f"NAT {self.nic.outside}".strip() if self.nic.translated else ""

    @property
    def width(self) -> float:
        boxed = max(map(len, (self.nic.tap, self.nic.bridge, self.nat, NO_BRIDGE))) * MUTED + 14.0
        return max(boxed, width_of(self.nic.name) + 16.0, len(self.address) * MUTED + 14.0, 70.0)


def legs_height(nodes: Iterable[NodeView]) -> float:
    most = max((len(fold(node.machines)[0]) for node in nodes), default=0)
    return LEGS_H + LEGS_MORE_H * max(0, most - 2)


def machines_width(node: NodeView) -> float:
    machines, rest = fold(node.machines)
    widths = [_pod_width(node, m) for m in machines] + ([_more_width(rest)] if rest else [])
    return sum(widths) + 2 * GAP * max(0, len(widths) - 1)


def shown_ports(node: NodeView) -> tuple[str, ...]:
    """The ports that legs lead to, from left to right."""
    machines, _ = fold(node.machines)
    return tuple(c.nic.port for m in machines for c in _cells(node, m) if node.behind(c.nic) is not None)


def draw_machines(
    node: NodeView, at: Point, width: float, ports: Mapping[str, Point], colours: Colours
) -> tuple[list[str], list[str]]:
    """(legs, everything else): legs lie below what is drawn later. `at`: the left upper corner of the row; `ports`:
    where the legs end."""
    machines, rest = fold(node.machines)
    spare = (width - machines_width(node)) / (len(machines) + bool(rest) + 1) if machines else 0.0
    left = at.x + max(0.0, spare)
    legs: list[str] = []
    shapes: list[str] = []
    for machine in machines:
        wide = _pod_width(node, machine)
        shapes += _pod(machine, Point(left, at.y), wide)
        x = left + wide / 2 - _cells_width(node, machine) / 2
        for cell in _cells(node, machine):
            middle = Point(x + cell.width / 2, at.y)
            foot, port = Point(middle.x, at.y + POD_H), ports.get(cell.nic.port)
            legs += _leg(cell, foot, port, colours)
            shapes += _chain(cell, middle, colours)
            shapes += [] if port else _boxed(NO_BRIDGE, Point(foot.x, foot.y + STUB_H), NAT_H, "box e-down")
            x += cell.width + GAP
        left += wide + 2 * GAP + max(0.0, spare)
    if rest:
        shapes += _more(rest, Point(left, at.y))
    return legs, shapes


# -- one machine -----------------------------------------------------------------------------------


def _cells(node: NodeView, machine: MachineView) -> list[_Cell]:
    """In the order of the bridges, so that few legs cross."""
    found = []
    for nic in machine.nics:
        behind = node.behind(nic)
        place, vid, health = len(node.networks), 0, Health.DOWN
        if behind is not None:
            network, port = behind
            place, vid = node.networks.index(network), Colours.of_port(port.vlans)
            health = port.health if nic.up else Health.DOWN
        found.append(_Cell(nic=nic, vid=vid, health=health, place=place))
    return sorted(found, key=lambda cell: cell.place)


def _cells_width(node: NodeView, machine: MachineView) -> float:
    cells = _cells(node, machine)
    return sum(c.width for c in cells) + GAP * max(0, len(cells) - 1)


def _pod_width(node: NodeView, machine: MachineView) -> float:
    title = len(f"{machine.name}  {machine.state}") * CHAR * 14.0 / 12.0 + 40.0
    return max(_cells_width(node, machine) + 4 * INSET, title, len(_pod_name(machine)) * MUTED + 2 * INSET)


def _pod_name(machine: MachineView) -> str:
    return f"pod virt-launcher-{machine.name.rpartition('/')[2]}"


def _pod(machine: MachineView, at: Point, width: float) -> list[str]:
    """Both frames, and who it is."""
    top, left = at.y + POD_TITLE, at.x + INSET
    name = label(left + 27.0, top + 21.0, machine.name, "title")
    state_x = left + 27.0 + len(machine.name) * CHAR * 14.0 / 12.0 + 10.0
    return [
        rect(at.x, at.y, width, POD_H, "pod", 12.0),
        label(left, at.y + 15.0, _pod_name(machine), "mute"),
        rect(left, top, width - 2 * INSET, HEAD + CELL + FLOOR, "vm", 8.0),
        dot(left + 15.0, top + 16.5, machine.health),
        name,
        *([label(state_x, top + 21.0, machine.state, "mute")] if machine.state else []),
    ]


def _chain(cell: _Cell, at: Point, colours: Colours) -> list[str]:
    """What frames pass in the pod: a cell in the machine, the tap, the bridge, and NAT where there is some."""
    nic, width = cell.nic, cell.width
    left, top = at.x - width / 2, at.y + POD_TITLE + HEAD
    edge = top + CELL + FLOOR
    bar = edge + CHAIN
    bottom = at.y + POD_H
    css = colours.css(cell.vid, "s") if cell.health is not Health.DOWN else "c-down"
    shapes = [
        stroke(Point(at.x, top + CELL), Point(at.x, bottom), f"wire {css}"),
        rect(left, top, width, CELL, f"chip {colours.css(cell.vid, 's')}", 6.0),
        label(at.x, top + 16.0, nic.name, "ink strong", "middle"),
        label(at.x, top + 32.0, cell.address or "–", "mute", "middle"),
    ]
    if nic.tap:
        shapes += _boxed(nic.tap, Point(at.x, edge), TAP_H, "box")
    if nic.bridge:
        shapes += _boxed(nic.bridge, Point(at.x, bar + BAR / 2), BAR, "bridge", width)
    if cell.nat:
        shapes += _boxed(cell.nat, Point(at.x, bottom), NAT_H, "box")
    return shapes


def _boxed(text: str, middle: Point, height: float, css: str, width: float = 0.0) -> list[str]:
    wide = width or len(text) * MUTED + 14.0
    return [
        rect(middle.x - wide / 2, middle.y - height / 2, wide, height, css, 4.0),
        label(middle.x, middle.y + 4.0, text, "mute", "middle"),
    ]


def _leg(cell: _Cell, start: Point, port: Point | None, colours: Colours) -> list[str]:
    css = colours.css(cell.vid, "s") if cell.health is not Health.DOWN else "c-down"
    end = port or Point(start.x, start.y + STUB_H)
    return [curve(start, end, f"wire {css}") if port else stroke(start, end, f"wire {css}")]


# -- those that are not shown ----------------------------------------------------------------------


def _more_words(rest: int) -> tuple[str, str]:
    return f"+{rest} more", "machines"


def _more_width(rest: int) -> float:
    return max(map(width_of, _more_words(rest))) + 22.0


def _more(rest: int, at: Point) -> list[str]:
    width, middle = _more_width(rest), at.y + POD_H / 2
    first, second = _more_words(rest)
    return [
        rect(at.x, middle - 24.0, width, 44.0, "pod", 9.0),
        label(at.x + width / 2, middle - 6.0, first, "ink strong", "middle"),
        label(at.x + width / 2, middle + 10.0, second, "mute", "middle"),
    ]
