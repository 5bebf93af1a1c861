"""What is wanted of each switch port against what LLDP, LACP and probes show of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

from windrow.model.evidence import Evidence, Heard, Kind, Leg, NicEvidence, SwitchPort
from windrow.model.lazy import dataclass
from windrow.model.values import VidSet
from windrow.switches.cabling import Cabling
from windrow.switches.config import Interface, SwitchConfig
from windrow.switches.wanted import Channel

_NOBODY = "00:00:00:00:00:00"


class Verdict(StrEnum):
    SAME = "same"
    DIFFERS = "differs"
    UNTOLD = "not told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One thing of one port. `seen` is empty where nothing tells it."""

    switch: str
    port: str
    leg: Leg
    what: str
    wanted: str
    seen: str
    source: Kind | None
    verdict: Verdict


def compare(config: SwitchConfig, cabling: Cabling, evidence: Evidence) -> tuple[Compared, ...]:
    """Port by port, in the order of the configuration."""
    rows: list[Compared] = []
    for interface in config.interfaces:
        for port, leg in zip(interface.members, interface.legs, strict=True):
            rows += _port(config, interface, port, leg, cabling, evidence)
    return tuple(rows)


def _port(
    config: SwitchConfig, interface: Interface, port: str, leg: Leg, cabling: Cabling, evidence: Evidence
) -> Iterator[Compared]:
    cabled = cabling.switch(config.name)
    seen = cabled.seen.get(port) if cabled else None
    nic = evidence.nic(leg)

    def row(what: str, wanted: str, there: str, source: Kind | None, same: bool | None) -> Compared:
        verdict = Verdict.UNTOLD if same is None else Verdict.SAME if same else Verdict.DIFFERS
        return Compared(
            switch=config.name,
            port=port,
            leg=leg,
            what=what,
            wanted=wanted,
            seen=there,
            source=source,
            verdict=verdict,
        )

    yield row("tagged VLANs", str(interface.tagged) or "none", *_tagged(interface, seen))
    yield row("native VLAN", str(interface.native or "none"), *_native(interface, seen))
    yield row("channel", interface.channel.value, *_channel(interface, seen, nic))
    passed = _passed(leg, evidence)
    if passed is not None:
        missing = interface.tagged - passed
        yield row("VLANs that pass", str(interface.tagged) or "none", str(passed) or "none", Kind.PROBE, not missing)


_Seen = tuple[str, Kind | None, bool | None]


def _tagged(interface: Interface, seen: SwitchPort | None) -> _Seen:
    """A neighbour that names no VLAN says nothing; nor does one whose list may be cut, of those that it does not
    name."""
    if seen is None or not seen.vlans:
        return "", None, None
    named = VidSet.of(seen.vlans)
    text = f"{named}{' and perhaps more' if seen.vlans_cut else ''}"
    tagged = named - VidSet.of([seen.pvid] if seen.pvid else [])
    if seen.vlans_cut:
        return text, seen.source, True if not interface.tagged - named else None
    return text, seen.source, tagged == interface.tagged


def _native(interface: Interface, seen: SwitchPort | None) -> _Seen:
    """A PVID alone does not say that frames without a tag pass: of a trunk without a native VLAN NX-OS and others tell
    VLAN 1, and let nothing of it in. Then the named VLANs do."""
    if seen is None or seen.pvid is None:
        return "", None, None
    if seen.pvid == 0:
        return "none, or not told", seen.source, None if interface.native else True
    if interface.native:
        return str(seen.pvid), seen.source, seen.pvid == interface.native
    if seen.pvid in seen.vlans:
        return str(seen.pvid), seen.source, False
    return f"{seen.pvid}, if it is allowed there", seen.source, True if _tells(seen) else None


def _channel(interface: Interface, seen: SwitchPort | None, nic: NicEvidence | None) -> _Seen:
    lacp = nic.lacp if nic else None
    if lacp is not None and lacp.partner is not None:
        answered = lacp.partner.system != _NOBODY
        words = "lacp" if answered else "no LACP"
        return words, Kind.LACP, answered == (interface.channel is Channel.LACP)
    if seen is None or seen.aggregation is None:
        return "", None, None
    active = seen.aggregation.active
    return "a channel" if active else "none", seen.source, active == (interface.channel is not Channel.NONE)


def _passed(leg: Leg, evidence: Evidence) -> VidSet | None:
    """The VLANs in which this leg hears somebody and somebody hears it; None: no probe was sent or heard."""
    node = evidence.nodes.get(leg.node)
    if node is None or leg.nic not in node.probed:
        return None
    everything: list[Heard] = [h for other in evidence.nodes.values() for h in other.heard if h.vid == h.arrived]
    out = VidSet.of(h.vid for h in everything if h.sender == leg)
    back = VidSet.of(h.vid for h in everything if h.receiver == leg)
    return out & back


def seen_config(
    config: SwitchConfig, cabling: Cabling, missing: Mapping[Leg, VidSet]
) -> tuple[SwitchConfig, tuple[str, ...]]:
    """The configuration as it shows, to change from there, and the ports of which nothing tells enough.

    LLDP tells what a port carries. `missing`: what probes found to be missing, of each NIC that they tell of; from them
    alone nothing is removed, for what else the port carries nobody knows. A VLAN that passes on no port of the switch
    is taken for one that is not created, whatever LLDP allows.
    """
    known: list[Interface] = []
    untold: list[str] = []
    there = VidSet()
    cabled = cabling.switch(config.name)
    for interface in config.interfaces:
        ports = [cabled.seen.get(port) if cabled else None for port in interface.members]
        seen = _by_lldp(interface, ports) or _by_probes(interface, ports, missing)
        if seen is None:
            untold += [name for name, p in zip(interface.members, ports, strict=True) if p is None or not _tells(p)]
        else:
            known.append(seen)
            there |= seen.vids - _missing_on_all(interface, missing)
    vlans = {vid: name for vid, name in config.vlans.items() if vid in there}
    return replace(config, interfaces=tuple(known), vlans=vlans), tuple(untold)


def _missing_on_all(interface: Interface, missing: Mapping[Leg, VidSet]) -> VidSet:
    found = interface.vids
    for leg in interface.legs:
        found &= missing.get(leg, VidSet())
    return found


Ports = list[SwitchPort | None]


def _tells(port: SwitchPort) -> bool:
    """All of its VLANs."""
    return bool(port.vlans) and not port.vlans_cut and port.pvid is not None


def _by_lldp(interface: Interface, ports: Ports) -> Interface | None:
    """What all ports of a channel carry is there; what any of them carries besides is to go."""
    told = [p for p in ports if p is not None and _tells(p)]
    if len(told) < len(ports):
        return None
    natives = {p.pvid for p in told}
    native = (natives.pop() or 0) if len(natives) == 1 else 0
    tagged = [VidSet.of(p.vlans) - VidSet.of([p.pvid] if p.pvid else []) for p in told]
    everywhere, anywhere = tagged[0], VidSet()
    for vids in tagged:
        everywhere, anywhere = everywhere & vids, anywhere | vids
    return replace(interface, tagged=everywhere | (anywhere - interface.tagged), native=native)


def _by_probes(interface: Interface, ports: Ports, missing: Mapping[Leg, VidSet]) -> Interface | None:
    if not missing.keys() >= set(interface.legs):
        return None
    gone = VidSet()
    for leg in interface.legs:
        gone |= missing[leg]
    natives = {port.pvid for port in ports if port is not None and port.pvid}
    # A native VLAN that nothing here needs may be somebody else's; another than is needed is in the way.
    native = natives.pop() if interface.native and len(natives) == 1 else interface.native
    return replace(interface, tagged=interface.tagged - gone, native=0 if 0 in gone else native)
