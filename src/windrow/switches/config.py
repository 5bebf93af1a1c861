"""One switch's configuration as a value, and what turns one into another.

Interface        a port, or a channel of ports: what it carries, and for whom
SwitchConfig     a switch's interfaces and VLANs, as they are wanted
SwitchChange     what leads from one to another: interfaces that come, go, or carry something else
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace

from windrow.model.cluster import Cluster
from windrow.model.evidence import Leg
from windrow.model.lazy import dataclass
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.problems import Problem, Severity
from windrow.model.values import MTU_DEFAULT, VidSet
from windrow.switches.cabling import CabledSwitch, Cabling
from windrow.switches.systems import SYSTEMS, System
from windrow.switches.wanted import Channel, Needs, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A port (`members` has only itself), or a channel. `native` 0: frames without a tag are dropped."""

    name: str
    members: tuple[str, ...]
    wanted_by: str
    """`node/clusterNetwork`."""
    legs: tuple[Leg, ...]
    channel: Channel = Channel.NONE
    number: int = 0
    """Of the channel."""
    fast: bool = False
    """LACPDUs every second: each side sets how often the other one sends."""
    tagged: VidSet = VidSet()
    native: int = 0
    mtu: int = MTU_DEFAULT
    shared: str = ""
    """The other switch, where the channel goes over both."""

    @property
    def vids(self) -> VidSet:
        return self.tagged | VidSet.of([self.native] if self.native else [])

    @property
    def description(self) -> str:
        """Of letters that no system takes for the end of a text."""
        nics = "+".join(leg.nic for leg in self.legs)
        text = f"{self.legs[0].node} {nics} {self.wanted_by.rpartition('/')[2]}"
        return re.sub(r"[^A-Za-z0-9+._: -]", "-", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchConfig:
    name: str
    system: str
    bridge: str = "br0"
    vlans: Mapping[int, str] = field(default_factory=dict)
    """VID -> its name."""
    interfaces: tuple[Interface, ...] = ()

    def interface(self, name: str) -> Interface | None:
        return next((i for i in self.interfaces if i.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An interface that stays what it is, and carries something else."""

    before: Interface
    after: Interface

    @property
    def add(self) -> VidSet:
        return self.after.tagged - self.before.tagged

    @property
    def remove(self) -> VidSet:
        """Tagged before, and now neither tagged nor native."""
        return self.before.tagged - self.after.vids

    @property
    def native_gone(self) -> int:
        """Native before, and now nothing."""
        return 0 if self.before.native in self.after.vids else self.before.native


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchChange:
    """`new_vlans`: to be created. `unused`: VIDs that nothing here needs any more; other ports may, so no statement
    deletes them."""

    before: SwitchConfig
    after: SwitchConfig
    coming: tuple[Interface, ...] = ()
    going: tuple[Interface, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def new_vlans(self) -> Mapping[int, str]:
        return {vid: name for vid, name in self.after.vlans.items() if vid not in self.before.vlans}

    @property
    def unused(self) -> VidSet:
        return VidSet.of(self.before.vlans) - VidSet.of(self.after.vlans)

    @property
    def none(self) -> bool:
        return not (self.coming or self.going or self.changes or self.new_vlans)

    def inverse(self) -> SwitchChange:
        return change(self.after, self.before)


def change(before: SwitchConfig, after: SwitchConfig) -> SwitchChange:
    """What leads from `before` to `after`. A channel that gets another kind, number or port is another interface."""
    coming: list[Interface] = []
    changes: list[Change] = []
    kept: set[str] = set()
    for interface in after.interfaces:
        old = before.interface(interface.name)
        if old is None or _shape(old) != _shape(interface):
            coming.append(interface)
            continue
        kept.add(old.name)
        if old != interface:
            changes.append(Change(before=old, after=interface))
    going = tuple(i for i in before.interfaces if i.name not in kept)
    return SwitchChange(before=before, after=after, coming=tuple(coming), going=going, changes=tuple(changes))


def _shape(interface: Interface) -> tuple[object, ...]:
    return interface.members, interface.channel, interface.number, interface.fast


def nothing(config: SwitchConfig) -> SwitchConfig:
    """The same switch with none of our interfaces and VLANs: a change from here is the whole configuration."""
    return replace(config, vlans={}, interfaces=())


# From what is wanted ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Configs:
    """`refused`: the switches that cannot do what is wanted of them; there is no configuration of theirs."""

    switches: tuple[SwitchConfig, ...] = ()
    refused: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


def configs_of(needs: Needs, cabling: Cabling, cluster: Cluster, system: str = "") -> Configs:
    """The configuration of every switch of the cabling. `system`: of those that do not say theirs."""
    switches: list[SwitchConfig] = []
    refused: set[str] = set()
    problems = [*needs.problems, *_uncabled(needs, cabling), *_strays(needs, cabling)]
    vlan_names = _vlan_names(cluster)
    for cabled in cabling.switches:
        spoken = SYSTEMS.get(system or cabled.system)
        if spoken is None:
            problems.append(_no_system(cabled))
            refused.add(cabled.name)
            continue
        interfaces = tuple(_interfaces(cabled, needs, cabling, spoken))
        impossible = [p for i in interfaces for p in _refused(i, cabled, spoken, needs, cabling)]
        if impossible:
            problems += impossible
            refused.add(cabled.name)
            continue
        vids = {vid for i in interfaces for vid in i.vids}
        switches.append(
            SwitchConfig(
                name=cabled.name,
                system=spoken.name,
                bridge=cabled.bridge,
                vlans={vid: vlan_names.get(vid, f"vlan{vid}") for vid in sorted(vids)},
                interfaces=interfaces,
            )
        )
    problems = list(dict.fromkeys(problems))
    return Configs(switches=tuple(switches), refused=frozenset(refused), problems=tuple(problems))


def _interfaces(cabled: CabledSwitch, needs: Needs, cabling: Cabling, system: System) -> Iterator[Interface]:
    taken = set(cabled.channels.values())
    for wanted in needs.wanted:
        ports = {port: leg for leg in wanted.legs if (port := cabled.port_of(leg)) is not None}
        if not ports:
            continue
        common = Interface(
            name="",
            members=(),
            wanted_by=wanted.name,
            legs=(),
            channel=wanted.channel,
            fast=wanted.lacp_fast and wanted.channel is Channel.LACP,
            tagged=wanted.tagged - VidSet.of([cabled.native] if wanted.untagged else []),
            native=cabled.native if wanted.untagged else 0,
            mtu=wanted.mtu,
        )
        if wanted.channel is Channel.NONE:
            for port, leg in ports.items():
                yield replace(common, name=port, members=(port,), legs=(leg,))
            continue
        number = _number(wanted, cabled, cabling, taken, system)
        taken.add(number)
        yield replace(
            common,
            name=system.channel.format(number),
            members=tuple(ports),
            legs=tuple(ports.values()),
            number=number,
            shared=cabled.shared if len(ports) < len(wanted.legs) else "",
        )


def _number(wanted: Wanted, cabled: CabledSwitch, cabling: Cabling, taken: set[int], system: System) -> int:
    """A channel's number: the one of the cabling file, else the number of its first port, so that it stays when
    others come; the same on both switches of a pair."""
    if wanted.name in cabled.channels:
        return cabled.channels[wanted.name]
    place = next((place for leg in wanted.legs if (place := cabling.where(leg))), None)
    digits = re.findall(r"[0-9]+", place[1]) if place else []
    number = int(digits[-1]) if digits else 1
    while not 1 <= number <= system.channels or number in taken:
        number = number % system.channels + 1
    return number


def _vlan_names(cluster: Cluster) -> dict[int, str]:
    """A VLAN is called as its first network is, in what every system takes for a name."""
    found: dict[int, str] = {}
    for nad in cluster.all(NetworkAttachmentDefinition):
        if nad.vid:
            found.setdefault(nad.vid, re.sub(r"[^A-Za-z0-9_-]", "-", nad.name)[:32])
    return found


# What cannot be -----------------------------------------------------------------------------------


def _no_system(cabled: CabledSwitch) -> Problem:
    return Problem(
        code="switch-system",
        message=f"which system {cabled.name} runs is not known",
        hint=f"write `system:` into the cabling file, or give --format: {', '.join(SYSTEMS)}",
    )


def _uncabled(needs: Needs, cabling: Cabling) -> Iterator[Problem]:
    for wanted in needs.wanted:
        missing = [leg for leg in wanted.legs if cabling.where(leg) is None]
        if missing:
            yield Problem(
                code="leg-uncabled",
                message=f"into which port {', '.join(map(str, missing))} is plugged is not known",
                hint="write it into the cabling file; `windrow switch cabling` writes what LLDP shows",
                about=wanted.origin[0] if wanted.origin else None,
                severity=Severity.WARNING,
            )


def _strays(needs: Needs, cabling: Cabling) -> Iterator[Problem]:
    nodes = {wanted.node for wanted in needs.wanted}
    for switch in cabling.switches:
        for port, leg in switch.ports.items():
            if needs.of(leg) is None:
                known = f"no cluster network uses {leg.nic} of {leg.node}"
                yield Problem(
                    code="port-unused",
                    message=f"{port} of {switch.name}: {known if leg.node in nodes else f'{leg.node} has no uplink'}",
                    hint="the port gets no statements",
                    severity=Severity.WARNING,
                )


def _refused(
    interface: Interface, cabled: CabledSwitch, system: System, needs: Needs, cabling: Cabling
) -> Iterator[Problem]:
    """What this system, or any switch, cannot do."""
    where = f"{'+'.join(interface.members)} of {cabled.name}"
    wanted = next(w for w in needs.wanted if w.name == interface.wanted_by)
    about = wanted.origin[0] if wanted.origin else None
    others = {place[0].name for leg in wanted.legs if (place := cabling.where(leg))} - {cabled.name}
    if interface.channel is Channel.STATIC and not system.static:
        yield Problem(
            code="channel-static",
            message=f"{where}: bond mode {wanted.mode} needs a channel without LACP, which {system.title} has not",
            hint="use mode 802.3ad (with LACP) or active-backup (no channel)",
            about=about,
        )
    if interface.channel is Channel.STATIC and others:
        yield Problem(
            code="channel-two-switches",
            message=f"{where}: bond mode {wanted.mode} needs one channel, and its NICs are on "
            f"{_and({cabled.name, *others})}",
            hint="a channel without LACP cannot go over two switches: use active-backup, or one switch",
            about=about,
        )
    if interface.channel is Channel.LACP and others - {cabled.shared}:
        yield Problem(
            code="lacp-two-switches",
            message=f"{where}: 802.3ad needs one LACP system, and its NICs are on {_and({cabled.name, *others})}",
            hint="make the two one LACP system (MLAG, vPC, VLT, MC-LAG, ESI) and write `shared:` into the cabling "
            "file, or use active-backup",
            about=about,
        )
    reserved = interface.vids & system.reserved
    if reserved:
        yield Problem(
            code="vid-reserved",
            message=f"{where}: {system.title} keeps VLAN {reserved} for itself",
            hint="use other VLAN ids"
            + (" and write `native:` into the cabling file" if interface.native in reserved else ""),
            about=about,
        )
    if interface.number > system.channels:
        yield Problem(
            code="channel-number",
            message=f"{where}: {system.title} numbers its channels from 1 to {system.channels}, not {interface.number}",
            hint="write another number under `channels:` in the cabling file",
        )


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))
