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
from windrow.switches.cabling import CHANNEL_MAX, CabledSwitch, Cabling
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
    """An interface that stays what it is, and carries something else, or has other ports."""

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
    def members_added(self) -> tuple[str, ...]:
        return tuple(m for m in self.after.members if m not in self.before.members)

    @property
    def members_removed(self) -> tuple[str, ...]:
        return tuple(m for m in self.before.members if m not in self.after.members)

    @property
    def native_gone(self) -> int:
        """Native before, and now nothing."""
        return 0 if self.before.native in self.after.vids else self.before.native


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchChange:
    """`new_vlans`: to be created. `unused`: VIDs that nothing here needs any more; other ports may, so no statement
    deletes them. What is `going` comes first: an interface that becomes something else is there in both."""

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
    """What leads from `before` to `after`. A channel that gets another kind, number or pair is another interface; one
    that gets or loses a port is not, while any port stays."""
    coming: list[Interface] = []
    changes: list[Change] = []
    kept: set[str] = set()
    for interface in after.interfaces:
        old = before.interface(interface.name)
        if old is None or _shape(old) != _shape(interface) or not set(old.members) & set(interface.members):
            coming.append(interface)
            continue
        kept.add(old.name)
        if old != interface:
            changes.append(Change(before=old, after=interface))
    going = tuple(i for i in before.interfaces if i.name not in kept)
    return SwitchChange(before=before, after=after, coming=tuple(coming), going=going, changes=tuple(changes))


def _shape(interface: Interface) -> tuple[object, ...]:
    return interface.channel, interface.number, interface.shared


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


def configs_of(
    needs: Needs,
    cabling: Cabling,
    cluster: Cluster,
    system: str = "",
    *,
    only: str | None = None,
    kept: Iterable[SwitchConfig] = (),
) -> Configs:
    """The configuration of every switch of the cabling. `system`: of all of them, whatever they say. `only`: of this
    switch alone. `kept`: configurations whose channels keep their numbers."""
    switches: list[SwitchConfig] = []
    refused: set[str] = set()
    asked = [switch for switch in cabling.switches if only in (None, switch.name)]
    problems = [*needs.problems, *_uncabled(needs, cabling), *_strays(needs, asked)]
    vlan_names = _vlan_names(cluster)
    speaks = {s.name: SYSTEMS[name] for s in cabling.switches if (name := system or s.system)}
    numbers = _Numbers(needs, cabling, speaks, kept)
    for cabled in asked:
        spoken = speaks.get(cabled.name)
        if spoken is None:
            problems.append(_no_system(cabled))
            refused.add(cabled.name)
            continue
        interfaces = tuple(_interfaces(cabled, needs, spoken, numbers))
        problems += [numbers.moved[i.wanted_by] for i in interfaces if i.wanted_by in numbers.moved]
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


def of_node(config: SwitchConfig, node: str) -> SwitchConfig:
    """What of it is for one node."""
    interfaces = tuple(i for i in config.interfaces if i.legs[0].node == node)
    vids = VidSet.of(vid for i in interfaces for vid in i.vids)
    return replace(config, interfaces=interfaces, vlans={v: name for v, name in config.vlans.items() if v in vids})


def _interfaces(cabled: CabledSwitch, needs: Needs, system: System, numbers: _Numbers) -> Iterator[Interface]:
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
            tagged=wanted.tagged,
            native=cabled.native if wanted.untagged else 0,
            mtu=wanted.mtu,
        )
        if wanted.channel is Channel.NONE:
            for port, leg in ports.items():
                yield replace(common, name=port, members=(port,), legs=(leg,))
            continue
        number = numbers.of(wanted)
        yield replace(
            common,
            name=system.channel.format(number),
            members=tuple(ports),
            legs=tuple(ports.values()),
            number=number,
            shared=cabled.shared if len(ports) < len(wanted.legs) else "",
        )


class _Numbers:
    """Of the channels: the one of the cabling file; else the one that it had; else that of its first port, or the next
    one that is free, on both switches of a pair."""

    def __init__(
        self, needs: Needs, cabling: Cabling, speaks: Mapping[str, System], kept: Iterable[SwitchConfig]
    ) -> None:
        given = {(c.name, i.wanted_by): i.number for c in kept for i in c.interfaces if i.number}
        given |= {(s.name, name): number for s in cabling.switches for name, number in s.channels.items()}
        taken: dict[str, set[int]] = {}
        for (switch, _), number in given.items():
            taken.setdefault(switch, set()).add(number)
        self._found: dict[str, int] = {}
        self.moved: dict[str, Problem] = {}
        """Those that have another number than their port's, for another channel has that one."""
        for wanted in needs.wanted:
            places = [place for leg in wanted.legs if (place := cabling.where(leg))]
            if wanted.channel is Channel.NONE or not places:
                continue
            ends = dict.fromkeys(switch.name for switch, _ in places)
            number = next((given[end, wanted.name] for end in ends if (end, wanted.name) in given), 0)
            if not number:
                most = min((speaks[end].channels for end in ends if end in speaks), default=CHANNEL_MAX)
                begun = _number_in(places[0][1], most)
                number = _free(begun, most, {n for end in ends for n in taken.get(end, ())})
                if number != begun:
                    self.moved[wanted.name] = _moved(wanted, begun, number)
            self._found[wanted.name] = number
            for end in ends:
                taken.setdefault(end, set()).add(number)

    def of(self, wanted: Wanted) -> int:
        return self._found[wanted.name]


def _number_in(port: str, most: int) -> int:
    """`Ethernet1/7` -> 7, so that it stays when others come."""
    digits = re.findall(r"[0-9]+", port)
    number = int(digits[-1]) if digits else 1
    return number if 1 <= number <= most else 1


def _free(begun: int, most: int, taken: set[int]) -> int:
    """`begun`, or the next one round the circle; where all are taken `most` + 1, which is refused."""
    numbers = (*range(begun, most + 1), *range(1, begun))
    return next((number for number in numbers if number not in taken), most + 1)


def _moved(wanted: Wanted, begun: int, number: int) -> Problem:
    return Problem(
        code="channel-number-taken",
        message=f"{wanted.name} gets channel {number}, for another one has the number of its port, {begun}",
        hint=f"write `{wanted.name}: {number}` under `channels:` in the cabling file: it stays then, whoever comes",
        about=wanted.origin[0] if wanted.origin else None,
        severity=Severity.WARNING,
    )


def _vlan_names(cluster: Cluster) -> dict[int, str]:
    """A VLAN is called as its first network is, in what every system takes for a name, and for one of this VLAN alone:
    networks of two namespaces may be called alike, and Junos takes `200` for a VLAN id."""
    found: dict[int, str] = {}
    for nad in cluster.all(NetworkAttachmentDefinition):
        vid = nad.vid
        if vid and vid not in found:
            name = re.sub(r"[^A-Za-z0-9_-]", "-", nad.name)[:32]
            taken = {other.lower() for other in found.values()}
            found[vid] = next(one for one in (name, f"{name[:27]}-{vid}", f"vlan{vid}") if _is_free(one, vid, taken))
    return found


def _is_free(name: str, vid: int, taken: set[str]) -> bool:
    """`vlan200` is what VLAN 200 is called where no network has it."""
    of_another = name.lower().startswith("vlan") and name[4:].isdigit() and name != f"vlan{vid}"
    return name[:1].isalpha() and not of_another and name.lower() not in {"all", "default", "none", *taken}


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


def _strays(needs: Needs, switches: Iterable[CabledSwitch]) -> Iterator[Problem]:
    nodes = {wanted.node for wanted in needs.wanted}
    for switch in switches:
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
    both = VidSet.of([interface.native]) & interface.tagged if interface.native else VidSet()
    if both:
        yield Problem(
            code="native-tagged",
            message=f"{where}: VLAN {both} is needed with its tag, and is the VLAN of frames without one there",
            hint="write another `native:` into the cabling file: no port can have one VLAN both ways",
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
