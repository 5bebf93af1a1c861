"""The cabling file: which NIC is plugged into which port of which switch.

switches:
- name: tor-1                  as LLDP calls it, or as you do
  system: eos
  native: 50                   the VLAN of frames without a tag; 1 where nothing is said
  shared: tor-2                both are one LACP system (MLAG, vPC, VLT, MC-LAG, ESI)
  ports:
    Ethernet1: node-1/eth1
  channels:                    numbers of channels, where they matter
    node-1/oob: 10
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from windrow.model.evidence import Evidence, Kind, Leg, SwitchPort, switches_among
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, Severity
from windrow.model.values import DEFAULT_PVID, VID_MAX, VID_MIN, IfName
from windrow.model.wire.text import join
from windrow.switches.systems import SYSTEMS, guess

_FIELDS = {"name", "system", "native", "shared", "bridge", "ports", "channels"}
_PORT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9/:._-]*[0-9]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9/:._-]*")
"""What may stand in a statement. A space, a quote or a line's end would begin another one."""
_NODE = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_LEG = re.compile(rf"{_NODE}/[^\s/]{{1,15}}")
_BOND = re.compile(rf"{_NODE}/{_NODE}")
_LONGEST = 64
CHANNEL_MAX = 9999


def is_plain(name: str) -> bool:
    """Whether a switch or port may be called so here."""
    return len(name) <= _LONGEST and _PLAIN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CabledSwitch:
    name: str
    system: str = ""
    """One of `SYSTEMS`; empty: whoever asks for statements says it."""
    native: int = DEFAULT_PVID
    shared: str = ""
    bridge: str = "br0"
    """Linux, RouterOS: the bridge that its ports are in."""
    ports: Mapping[str, Leg] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    """`node/clusterNetwork` -> the channel's number."""
    seen: Mapping[str, SwitchPort] = field(default_factory=dict)
    """What LLDP says of a port, where it says something."""

    def port_of(self, leg: Leg) -> str | None:
        return next((port for port, plugged in self.ports.items() if plugged == leg), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cabling:
    switches: tuple[CabledSwitch, ...] = ()
    problems: tuple[Problem, ...] = ()

    def switch(self, name: str) -> CabledSwitch | None:
        return next((s for s in self.switches if s.name == name), None)

    def where(self, leg: Leg) -> tuple[CabledSwitch, str] | None:
        """The switch and the port that a NIC is plugged into."""
        return next(((s, port) for s in self.switches if (port := s.port_of(leg))), None)


# From a file --------------------------------------------------------------------------------------


def read_cabling(document: Any, file: str, lines: Mapping[str, int] | None = None) -> Cabling:
    """A parsed YAML document as a cabling; all that is wrong with it is in `problems`. `lines`: by path."""
    reader = _Reader(file, lines or {})
    switches = tuple(reader.switches(document))
    reader.check_together(switches)
    return Cabling(switches=switches, problems=tuple(reader.problems))


class _Reader:
    def __init__(self, file: str, lines: Mapping[str, int]) -> None:
        self.file = file
        self.lines = lines
        self.problems: list[Problem] = []

    def wrong(self, path: str, message: str, hint: str = "", code: str = "cabling") -> None:
        self.problems.append(
            Problem(code=code, message=message, hint=hint, path=path, file=self.file, line=self.lines.get(path))
        )

    def switches(self, document: Any) -> Iterator[CabledSwitch]:
        found = document.get("switches") if isinstance(document, dict) else None
        if not isinstance(found, list) or not found:
            self.wrong("", "this is no cabling file", "`windrow switch cabling` writes one; it has a list `switches`")
            return
        for key in sorted(set(document) - {"switches"}):
            self.wrong(str(key), "a cabling file has no such field", "it has one: switches")
        for index, entry in enumerate(found):
            path = f"switches[{index}]"
            if isinstance(entry, dict):
                yield self.switch(entry, path)
            else:
                self.wrong(path, "a switch has fields: name, system, ports")

    def switch(self, entry: dict[str, Any], path: str) -> CabledSwitch:
        for key in sorted(map(str, set(entry) - _FIELDS)):
            self.wrong(f"{path}.{key}", "a switch has no such field", f"it has {', '.join(sorted(_FIELDS))}")
        return CabledSwitch(
            name=self.word(entry.get("name"), f"{path}.name"),
            system=self.system(entry.get("system", ""), f"{path}.system"),
            native=self.number(entry.get("native", DEFAULT_PVID), f"{path}.native", VID_MAX),
            shared=self.word(entry["shared"], f"{path}.shared") if entry.get("shared") else "",
            bridge=self.word(entry.get("bridge", "br0"), f"{path}.bridge"),
            ports={
                self.word(port, f"{path}.ports"): leg
                for port, text in self.mapping(entry.get("ports"), f"{path}.ports")
                if (leg := self.leg(text, join(f"{path}.ports", port))) is not None
            },
            channels=dict(self.channels(entry.get("channels"), f"{path}.channels")),
        )

    def channels(self, value: Any, path: str) -> Iterator[tuple[str, int]]:
        taken: dict[int, str] = {}
        for key, found in self.mapping(value, path):
            name, place = str(key), join(path, str(key))
            if not _BOND.fullmatch(name):
                self.wrong(place, f"{name!r} is no bond of a node", "write it as NODE/CLUSTERNETWORK: node-1/oob")
            number = self.number(found, place, CHANNEL_MAX)
            if number in taken:
                self.wrong(place, f"{name} and {taken[number]} cannot both have channel {number}")
            taken[number] = name
            yield name, number

    def mapping(self, value: Any, path: str) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, dict):
            yield from value.items()
        elif value is not None:
            self.wrong(path, f"{value!r} is no map")

    def word(self, value: Any, path: str) -> str:
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not is_plain(text):
            message = f"{value!r} is no name of a switch or port" if value is not None else "a switch needs a name"
            self.wrong(path, message, f"use up to {_LONGEST} letters, digits and / : . _ -")
            return ""
        return text

    def system(self, value: Any, path: str) -> str:
        if value and value not in SYSTEMS:
            self.wrong(path, f"{value!r} is no switch system known here", f"known: {', '.join(SYSTEMS)}")
            return ""
        return str(value)

    def number(self, value: Any, path: str, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not VID_MIN <= value <= most:
            self.wrong(path, f"{value!r} is no number from {VID_MIN} to {most}")
            return VID_MIN
        return value

    def leg(self, value: Any, path: str) -> Leg | None:
        node, _, nic = str(value).rpartition("/")
        if not _LEG.fullmatch(str(value)):
            self.wrong(path, f"{value!r} is no NIC of a node", "write it as NODE/NIC, for example node-1/eth1")
            return None
        return Leg(node, IfName(nic))

    def check_together(self, switches: tuple[CabledSwitch, ...]) -> None:
        """What is wrong with several of them only."""
        plugged: dict[Leg, str] = {}
        names: set[str] = set()
        for index, switch in enumerate(switches):
            path = f"switches[{index}]"
            if switch.name in names:
                self.wrong(f"{path}.name", f"there are two switches {switch.name!r}")
            names.add(switch.name)
            for port, leg in switch.ports.items():
                place = f"{port} of {switch.name}"
                if leg in plugged:
                    self.wrong(join(f"{path}.ports", port), f"{leg} is plugged into {place} and into {plugged[leg]}")
                plugged[leg] = place
        for index, switch in enumerate(switches):
            if switch.shared:
                self.check_pair(switch, switches, f"switches[{index}]")

    def check_pair(self, switch: CabledSwitch, switches: tuple[CabledSwitch, ...], path: str) -> None:
        other = next((s for s in switches if s.name == switch.shared), None)
        if other is None or other is switch or other.shared != switch.name:
            self.wrong(
                f"{path}.shared",
                f"{switch.name} is said to share its LACP system with {switch.shared}, which says nothing of it",
                "two switches have to name each other",
            )
            return
        for name, number in switch.channels.items():
            if other.channels.get(name, number) != number and switches.index(switch) > switches.index(other):
                self.wrong(
                    join(f"{path}.channels", name),
                    f"{name} has channel {number} on {switch.name} and {other.channels[name]} on {other.name}",
                    "both ends of one LACP system give it the same number",
                )


# From what is seen --------------------------------------------------------------------------------


def seen_cabling(evidence: Evidence) -> Cabling:
    """The cabling as LLDP and CDP show it. A NIC with several neighbours, or none that is a switch, is a problem; so is
    a port that two NICs hear. Switches that call themselves alike are told apart by their chassis."""
    heard: list[tuple[Leg, SwitchPort]] = []
    problems: list[Problem] = []
    for node in evidence.nodes.values():
        for nic in node.nics.values():
            leg = Leg(node.node, nic.name)
            bridges = switches_among(nic.neighbours)
            if len(bridges) == 1 and is_plain(port_name(bridges[0])):
                heard.append((leg, bridges[0]))
            elif len(bridges) == 1:
                problems.append(_unspeakable(leg, bridges[0]))
            elif nic.carrier:
                problems.append(_unseen(leg, bridges))
    chassis = _chassis(port for _, port in heard)
    problems += [_namesakes(name, them) for name, them in chassis.items() if len(them) > 1]
    found: dict[str, dict[str, list[tuple[Leg, SwitchPort]]]] = {}
    for leg, port in heard:
        name = switch_name(port)
        if len(chassis.get(name, ())) > 1:
            name = _with_chassis(name, port)
        found.setdefault(name, {}).setdefault(port_name(port), []).append((leg, port))
    problems += [
        _one_port(name, port, [leg for leg, _ in them])
        for name, ports in found.items()
        for port, them in ports.items()
        if len(them) > 1
    ]
    switches = tuple(
        _seen_switch(name, {port: them[0] for port, them in ports.items() if len(them) == 1})
        for name, ports in sorted(found.items())
    )
    return Cabling(switches=tuple(s for s in switches if s.ports), problems=tuple(problems))


def _chassis(ports: Iterable[SwitchPort]) -> dict[str, set[str]]:
    """A switch's name -> the chassis that call themselves so. CDP has no chassis but the name."""
    found: dict[str, set[str]] = {}
    for port in ports:
        if port.source is Kind.LLDP:
            found.setdefault(switch_name(port), set()).add(port.chassis.text)
    return found


def _with_chassis(name: str, port: SwitchPort) -> str:
    chassis = re.sub(r"[^A-Za-z0-9]", "", port.chassis.text)[-_LONGEST // 2 :]
    return f"{name[: _LONGEST - len(chassis) - 1]}-{chassis}"


def port_name(port: SwitchPort) -> str:
    """The name that statements use: the port id where it is one, else the port's description (Junos sends the port's
    number as its id, and its name as the description)."""
    if port.port.kind in ("ifname", "ifalias") or not _PORT_NAME.fullmatch(port.port_description):
        return port.port.text
    return port.port_description


def switch_name(port: SwitchPort) -> str:
    """The switch's name in letters that may stand in a file and in a statement."""
    return re.sub(r"[^A-Za-z0-9/:._-]+", "-", port.switch).strip("-/:._")[:_LONGEST] or "switch"


def _unspeakable(leg: Leg, port: SwitchPort) -> Problem:
    return Problem(
        code="cabling-name",
        message=f"{leg} is plugged into a port that calls itself {port_name(port)!r}, which no statement can name",
        hint="write its port into the cabling file by hand",
        severity=Severity.WARNING,
    )


def _namesakes(name: str, chassis: set[str]) -> Problem:
    return Problem(
        code="cabling-namesakes",
        message=f"{len(chassis)} switches call themselves {name}: the chassis {', '.join(sorted(chassis))}",
        hint="give each a name of its own; until then their chassis stands behind their name here",
        severity=Severity.WARNING,
    )


def _one_port(switch: str, port: str, legs: list[Leg]) -> Problem:
    return Problem(
        code="cabling-one-port",
        message=f"{' and '.join(map(str, legs))} hear the same port, {port} of {switch}: what they are plugged into "
        "passes its LLDP on",
        hint="write their ports into the cabling file by hand",
        severity=Severity.WARNING,
    )


def _seen_switch(name: str, ports: Mapping[str, tuple[Leg, SwitchPort]]) -> CabledSwitch:
    said = next((seen.system_description for _, seen in ports.values() if seen.system_description), "")
    system = guess(said)
    natives = {seen.pvid for _, seen in ports.values() if seen.pvid}
    return CabledSwitch(
        name=name,
        system=system.name if system else "",
        native=natives.pop() if len(natives) == 1 else DEFAULT_PVID,
        ports={port: leg for port, (leg, _) in sorted(ports.items())},
        seen={port: seen for port, (_, seen) in ports.items()},
    )


def _unseen(leg: Leg, bridges: list[SwitchPort]) -> Problem:
    if bridges:
        heard = ", ".join(f"{b.switch} {port_name(b)}" for b in bridges)
        message = f"{leg} hears several switches ({heard}): what it is plugged into passes their LLDP on"
    else:
        message = f"{leg} hears no switch: it sends no LLDP, or something keeps it"
    return Problem(
        code="cabling-unseen",
        message=message,
        hint="write its port into the cabling file by hand",
        severity=Severity.WARNING,
    )


def merged(file: Cabling, seen: Cabling) -> Cabling:
    """The file, with what LLDP adds to it. Where they contradict each other it is an error that names both."""
    problems = [*file.problems]
    for switch in file.switches:
        there = seen.switch(switch.name)
        for port, leg in switch.ports.items():
            place, other = seen.where(leg), there.ports.get(port) if there is not None else None
            if place is not None and (place[0].name, place[1]) != (switch.name, port):
                lldp = f"into {place[1]} of {place[0].name} by what LLDP says there"
                problems.append(_contradiction(f"{leg} is plugged into {port} of {switch.name}", lldp))
            elif other is not None and other != leg:
                lldp = f"{other} is plugged into it by what LLDP says there"
                problems.append(_contradiction(f"{leg} is plugged into {port} of {switch.name}", lldp))
        if there is not None and there.system and switch.system not in ("", there.system):
            problems.append(_other_system(switch, there))
    switches = [_with_seen(switch, seen.switch(switch.name), file) for switch in file.switches]
    named = {s.name for s in file.switches}
    switches += [s for s in seen.switches if s.name not in named and not any(file.where(x) for x in s.ports.values())]
    return Cabling(switches=tuple(switches), problems=tuple(problems))


def _contradiction(by_file: str, by_lldp: str) -> Problem:
    return Problem(
        code="cabling-contradicts",
        message=f"{by_file} by the cabling file, and {by_lldp}",
        hint="correct the file (a switch stands there by the name that it has in LLDP), or move the cable",
    )


def _other_system(switch: CabledSwitch, seen: CabledSwitch) -> Problem:
    ours, theirs = SYSTEMS[switch.system], SYSTEMS[seen.system]
    return Problem(
        code="cabling-system",
        message=f"{switch.name} is {ours.title} by the cabling file, and calls itself {theirs.title} in LLDP",
        hint=f"the file is believed; else write `system: {theirs.name}`",
        severity=Severity.WARNING,
    )


def _with_seen(switch: CabledSwitch, seen: CabledSwitch | None, file: Cabling) -> CabledSwitch:
    if seen is None:
        return switch
    more = {port: leg for port, leg in seen.ports.items() if port not in switch.ports and not file.where(leg)}
    return CabledSwitch(
        name=switch.name,
        system=switch.system or seen.system,
        native=switch.native,
        shared=switch.shared,
        bridge=switch.bridge,
        ports={**switch.ports, **more},
        channels=switch.channels,
        seen=seen.seen,
    )


def cabling_document(cabling: Cabling) -> dict[str, Any]:
    """As `read_cabling` reads it."""
    return {"switches": [_switch_document(switch) for switch in cabling.switches]}


def _switch_document(switch: CabledSwitch) -> dict[str, Any]:
    document: dict[str, Any] = {"name": switch.name}
    optional = {
        "system": switch.system,
        "native": switch.native if switch.native != DEFAULT_PVID else None,
        "shared": switch.shared,
        "bridge": switch.bridge if switch.bridge != "br0" else "",
    }
    document |= {key: value for key, value in optional.items() if value}
    document["ports"] = {port: str(leg) for port, leg in switch.ports.items()}
    if switch.channels:
        document["channels"] = dict(switch.channels)
    return document
