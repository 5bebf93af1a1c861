"""What an SVG picture is made of: shapes as text, palettes, and the document around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from windrow.model.host import PortVlans
from windrow.model.lazy import dataclass
from windrow.render.text import shown
from windrow.render.topology import Health, Topology

FONT = 12.0
CHAR = 0.61 * FONT
"""Width of a character: 0.60 em in DejaVu Sans Mono, Menlo, Consolas, Liberation Mono."""
LINE = 15.0

LIGHT = {
    "bg": "#ffffff", "node": "#f4f6f8", "box": "#ffffff", "edge": "#c3cbd5", "ink": "#17202b", "mute": "#5d6b7c",
    "bridge": "#dfe7f1", "switch": "#26323f", "switchink": "#eef3f8", "switchmute": "#a9b8c8", "cable": "#5d6b7c",
    "up": "#1f9254", "standby": "#c98a12", "down": "#d2323c", "unknown": "#8996a5", "pillink": "#ffffff",
}  # fmt: skip
DARK = {
    "bg": "#10161d", "node": "#19222c", "box": "#212c38", "edge": "#3b4958", "ink": "#e8eef5", "mute": "#9babbc",
    "bridge": "#2c3d50", "switch": "#33465a", "switchink": "#f2f6fa", "switchmute": "#b6c5d4", "cable": "#9babbc",
    "up": "#3fc47b", "standby": "#e5b04a", "down": "#f26a72", "unknown": "#7d8a98", "pillink": "#10161d",
}  # fmt: skip
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""What may not stand in a text; `xml.sax.saxutils` would load the whole of `http` for it."""
VLANS_LIGHT = ("#1c6fd1", "#b3479b", "#c2611a", "#12857f", "#7353cf", "#8a7a0c", "#c43c55", "#3d7d2b")
VLANS_DARK = ("#6cb0ff", "#ec8fd6", "#f2a35f", "#4fcfc6", "#b19bff", "#d9c64a", "#ff8fa3", "#8fd071")


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


def escape(text: str) -> str:
    return text.translate(_MARKUP)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _words(text: str) -> str:
    """XML has no way to write a control character (XML 1.0, 2.2)."""
    return escape(shown(text))


def rect(x: float, y: float, w: float, h: float, css: str, radius: float = 6.0) -> str:
    return f'<rect class="{css}" x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(radius)}"/>'


def label(x: float, y: float, text: str, css: str = "ink", anchor: str = "start") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{css}" x="{_n(x)}" y="{_n(y)}"{where}>{_words(text)}</text>'


def upright(x: float, y: float, text: str, css: str) -> str:
    """Read from below, its middle at the point."""
    turn = f'transform="rotate(-90 {_n(x)} {_n(y)})"'
    return f'<text class="{css}" x="{_n(x)}" y="{_n(y)}" text-anchor="middle" {turn}>{_words(text)}</text>'


def stroke(a: Point, b: Point, css: str) -> str:
    return f'<path class="{css}" d="M{_n(a.x)} {_n(a.y)}L{_n(b.x)} {_n(b.y)}"/>'


def dot(x: float, y: float, health: Health) -> str:
    return f'<circle class="{health.value}" cx="{_n(x)}" cy="{_n(y)}" r="4"/>'


def width_of(text: str) -> float:
    return len(text) * CHAR


def curve(a: Point, b: Point, css: str) -> str:
    """From `a` down to `b`, leaving and arriving upright."""
    bend = (b.y - a.y) * 0.5
    control = f"{_n(a.x)} {_n(a.y + bend)} {_n(b.x)} {_n(b.y - bend)}"
    return f'<path class="{css}" d="M{_n(a.x)} {_n(a.y)}C{control} {_n(b.x)} {_n(b.y)}"/>'


def loop(a: Point, b: Point, css: str, *, down: bool) -> str:
    """Between two ports that look the same way: out, across, and back."""
    reach = 46.0 if down else -46.0
    control = f"{_n(a.x)} {_n(a.y + reach)} {_n(b.x)} {_n(b.y + reach)}"
    return f'<path class="{css}" d="M{_n(a.x)} {_n(a.y)}C{control} {_n(b.x)} {_n(b.y)}"/>'


# -- colours of VLANs ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Colours:
    """Which VIDs have a colour: those that somebody is in, not all that a trunk lets pass."""

    vids: tuple[int, ...]

    @classmethod
    def of(cls, topology: Topology) -> Colours:
        used = {n.vid for n in topology.networks}
        for node in topology.nodes:
            for network in node.networks:
                used |= {v.vid for v in network.vlan_ifs} | {p.vlans.pvid or 0 for p in network.ports}
        for host in topology.hosts:
            used |= {vid for nic in host.nics for vid in list(nic.vlans.all)[:8]}
        return cls(tuple(sorted(used - {0, 1})))

    def css(self, vid: int, prefix: str) -> str:
        """The class for a VID: `f0`… fills, `s0`… strokes; `fn`, `sn` for what has no colour."""
        index = self.vids.index(vid) % len(VLANS_LIGHT) if vid in self.vids else None
        return f"{prefix}{'n' if index is None else index}"

    @staticmethod
    def of_port(vlans: PortVlans) -> int:
        """The VID that a port is drawn in: of an access port its own, else none."""
        return vlans.pvid if vlans.pvid and vlans.pvid != 1 and not vlans.tagged else 0


# -- the document ----------------------------------------------------------------------------------

_MONO = "'DejaVu Sans Mono',ui-monospace,Menlo,Consolas,'Liberation Mono',monospace"


def _style(colour: dict[str, str], vlans: Sequence[str]) -> str:
    rules = [
        f"text{{font:{_n(FONT)}px {_MONO};fill:{colour['ink']}}}",
        f".bg{{fill:{colour['bg']}}}",
        f".node{{fill:{colour['node']};stroke:{colour['edge']}}}",
        f".box{{fill:{colour['box']};stroke:{colour['edge']}}}",
        f".bridge{{fill:{colour['bridge']};stroke:{colour['edge']}}}",
        f".switch{{fill:{colour['switch']}}}",
        f".lag{{fill:none;stroke:{colour['switchmute']};stroke-width:1.5}}",
        f".chip{{fill:{colour['box']};stroke-width:1.6}}",
        ".own{stroke-dasharray:5 3}",
        f".pod{{fill:none;stroke:{colour['mute']};stroke-dasharray:2 3}}",
        f".vm{{fill:{colour['box']};stroke:{colour['mute']};stroke-width:1.5}}",
        f".layer{{fill:{colour['bridge']}}}.border{{fill:none;stroke:{colour['mute']};stroke-dasharray:1 5}}",
        ".title,.switchtitle{font-size:14px;font-weight:bold}",
        ".strong{font-weight:bold}.small{font-size:11px}",
        f"text.mute{{fill:{colour['mute']};font-size:11px}}",
        f"text.switchtitle,text.switchink{{fill:{colour['switchink']}}}",
        f"text.switchmute{{fill:{colour['switchmute']};font-size:11px}}",
        f"text.pillink{{fill:{colour['pillink']};font-size:11px;font-weight:bold}}",
        ".wire,.trunk,.cable,.rule{fill:none}",
        f".wire{{stroke-width:2}}.trunk{{stroke:{colour['cable']};stroke-width:4}}",
        f".rule{{stroke:{colour['edge']}}}.dim{{stroke:{colour['edge']}}}",
        f".cable{{stroke:{colour['cable']};stroke-width:2}}",
        f".c-standby{{stroke:{colour['standby']};stroke-dasharray:7 4}}",
        f".c-down{{stroke:{colour['down']};stroke-dasharray:2 5}}",
        f".pill{{stroke:none}}.native{{fill:{colour['box']};stroke:{colour['mute']}}}",
        f".fn{{fill:{colour['mute']}}}.sn{{stroke:{colour['mute']}}}",
        f"text.fn{{fill:{colour['mute']}}}",
    ]
    rules += [f".{h.value}{{fill:{colour[h.value]}}}" for h in Health]
    rules += [f".e-{h.value}{{stroke:{colour[h.value]}}}" for h in (Health.STANDBY, Health.DOWN)]
    rules += [f".f{i},text.f{i}{{fill:{c}}}.s{i}{{stroke:{c}}}" for i, c in enumerate(vlans)]
    return "\n".join(rules)


def document(shapes: Iterable[str], width: float, height: float, theme: str, title: str) -> str:
    light, dark = _style(LIGHT, VLANS_LIGHT), _style(DARK, VLANS_DARK)
    style = dark if theme == "dark" else light
    if theme == "auto":
        style += f"\n@media (prefers-color-scheme: dark){{\n{dark}\n}}"
    w, h = _n(width), _n(height)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img">'
    named = f"<title>{_words(title)}</title>" if title else "<title>network topology</title>"
    body = [rect(0.0, 0.0, width, height, "bg", 0.0)]
    if title:
        body.append(label(14.0, 26.0, title, "title"))
    return "\n".join([head, named, f"<style>\n{style}\n</style>", *body, *shapes, "</svg>"]) + "\n"
