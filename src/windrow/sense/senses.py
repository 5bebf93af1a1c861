"""All that one node can know of the network outside by listening and asking, as one value.

    with Senses(node) as senses:
        senses.listen(until)            # as often as one likes
        senses.look() -> NodeEvidence   # at any moment

Where something could not be had, the evidence says so and why; nothing here judges.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType

from windrow.frames.ethernet import mac_bytes
from windrow.frames.lacp import Lacpdu
from windrow.model.evidence import Absent, Kind, LacpLeg, LacpSide, NicEvidence, NodeEvidence, SwitchPort, VlanEvidence
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac
from windrow.netlink import ethtool, netns, stats
from windrow.netlink.errors import KernelError
from windrow.netlink.links import DEVICE
from windrow.netlink.linksettings import LinkSettings
from windrow.netlink.observe import Raw, dump_links, permanent_mac
from windrow.netlink.sock import Rtnl
from windrow.sense import bonds, lldpd, silence
from windrow.sense.asking import Asking, Question
from windrow.sense.counting import History, Reading
from windrow.sense.ears import Ear
from windrow.sense.links import LACP, NICS_MAX, Links, has_carrier
from windrow.sense.manners import Manners
from windrow.sense.neighbours import MOST, Neighbours

REFRESH_S = 2.0
"""How often it is looked for NICs that came, went, or are another leg now."""
LACPDU_S = 90.0
"""For how long a LACPDU counts: three times the slow period (IEEE 802.1AX §6.4.4, Long_Timeout_Time)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One moment: `now` in monotonic seconds. `proc`: by leg."""

    now: float
    links: Links
    settings: LinkSettings
    proc: Mapping[IfName, bonds.ProcLeg]


class Senses:
    """Of one network namespace. Not for two threads at a time."""

    def __init__(
        self, node: str, place: netns.Netns = None, *, manners: Manners | None = None, ask_lldpd: bool = True
    ) -> None:
        """Raises KernelError where there is no netlink."""
        self.node = node
        self._place, self._manners = place, manners or Manners()
        self._rtnl = netns.opened_in(place, Rtnl)
        self._selector = selectors.DefaultSelector()
        self._neighbours = Neighbours()
        self._ears: dict[IfName, Ear] = {}
        self._indexes: dict[IfName, int] = {}
        self._deaf: dict[IfName, str] = {}
        self._histories: dict[IfName, History] = {}
        self._since: dict[IfName, float] = {}
        """Since when each NIC with carrier has been listened to."""
        self._own: tuple[Mac, ...] = ()
        self._asking: Asking | None = None
        self._refresh_at = 0.0
        self._lldpd: Mapping[IfName, tuple[SwitchPort, ...]] = {}
        self._lldpd_why = ""
        if ask_lldpd and lldpd.runs():
            answer = lldpd.ask()
            self._lldpd, self._lldpd_why = ({}, answer) if isinstance(answer, str) else (answer, "")
        self.refresh()
        self.look()  # what the next ones are compared with

    def __enter__(self) -> Senses:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._end_asking()
        for ear in self._ears.values():
            ear.close()
        self._ears.clear()
        self._selector.close()
        self._rtnl.close()

    # Listening ------------------------------------------------------------------------------------

    def ask(self, questions: Sequence[Question]) -> None:
        """From now on; in the place of what was asked before. It goes on while there is listening."""
        self._end_asking()
        now, own = time.monotonic(), frozenset(self._own)
        self._asking = netns.opened_in(self._place, lambda: Asking(questions, own, self._manners, now))
        for one in self._asking.sockets():
            self._selector.register(one.fileno(), selectors.EVENT_READ, one)

    def _end_asking(self) -> None:
        if self._asking is not None:
            for one in self._asking.sockets():
                self._selector.unregister(one.fileno())
            self._asking.close()
            self._asking = None

    def listen(self, until: float) -> None:
        """Until then (monotonic seconds). Raises KernelError."""
        while (now := time.monotonic()) < until:
            if now >= self._refresh_at:
                self.refresh()
            wait = min(until, self._refresh_at) - now
            if self._asking is not None:
                self._asking.step(now, time.time())
                due = self._asking.due(now)
                wait = wait if due is None else min(wait, due)
            self.step(max(0.0, wait))

    def step(self, timeout_s: float) -> None:
        """What comes in within so long, or has come already."""
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, Ear):
                key.data.hear(self._neighbours, time.monotonic(), time.time())
            elif self._asking is not None:
                self._asking.hear(key.data)

    @property
    def settled(self) -> bool:
        """All questions had their time, and each NIC with carrier has heard its neighbour: more will come, if at all,
        in half a minute."""
        now = time.monotonic()
        asked = self._asking is None or self._asking.settled(now)
        return asked and all(self._of(nic, now) for nic in self._since if nic in self._ears)

    def refresh(self) -> None:
        """NICs that came, went, or are another leg now. Raises KernelError."""
        now = time.monotonic()
        self._refresh_at = now + REFRESH_S
        links = Links(dump_links(self._rtnl))
        self._own = links.macs()
        own = [mac_bytes(mac) for mac in self._own]
        there = {IfName(raw.attrs["name"]): raw for raw in links.nics()[:NICS_MAX]}
        for nic in [nic for nic, index in self._indexes.items() if nic not in there or there[nic].ifindex != index]:
            self._leave(nic)
        for nic, raw in there.items():
            if has_carrier(raw):
                self._since.setdefault(nic, now)
            else:
                self._since.pop(nic, None)
                self._neighbours.drop(nic)
            mac = links.sole(raw)
            sole = mac_bytes(mac) if mac is not None else None
            if nic in self._ears:
                self._ears[nic].tell(own, idle=links.idle(raw), sole=sole)
            else:
                self._join(nic, raw, partial(Ear, nic, own, idle=links.idle(raw), sole=sole))

    def _join(self, nic: IfName, raw: Raw, make: Callable[[], Ear]) -> None:
        try:
            ear = netns.opened_in(self._place, make)
        except KernelError as error:
            self._deaf[nic] = str(error)
            return
        self._deaf.pop(nic, None)
        self._ears[nic], self._indexes[nic] = ear, raw.ifindex
        self._selector.register(ear.fileno(), selectors.EVENT_READ, ear)

    def _leave(self, nic: IfName) -> None:
        ear = self._ears.pop(nic)
        self._selector.unregister(ear.fileno())
        ear.close()
        self._neighbours.drop(nic)
        for known in (self._indexes, self._histories, self._since):
            known.pop(nic, None)

    # Looking --------------------------------------------------------------------------------------

    def look(self) -> NodeEvidence:
        """What is known now. Raises KernelError."""
        self.step(0.0)
        links = Links(dump_links(self._rtnl))
        found, settings = links.nics(), LinkSettings(self._rtnl.fileno())
        look = _Look(now=time.monotonic(), links=links, settings=settings, proc=self._proc(links))
        nics = [self._nic(raw, look) for raw in found[:NICS_MAX]]
        absent = [one for nic in nics for one in self._absent(nic, look.now)]
        if len(found) > NICS_MAX:
            reason = f"there are {len(found)} NICs; {NICS_MAX} of them are listened to"
            absent.append(Absent(kind=Kind.LLDP, reason=reason))
        if self._lldpd_why:
            absent.append(Absent(kind=Kind.LLDP, reason=self._lldpd_why))
        vlans, unasked = self._asking.evidence() if self._asking is not None else ((), ())
        asked = self._asking.questions if self._asking is not None else ()
        return NodeEvidence(
            node=self.node,
            at=time.time(),
            nics={nic.name: nic for nic in nics},
            vlans=tuple(self._with_doubles(vlan, question, look) for vlan, question in zip(vlans, asked, strict=True)),
            absent=(*absent, *unasked),
        )

    def _with_doubles(self, vlan: VlanEvidence, question: Question, look: _Look) -> VlanEvidence:
        """And the MACs of this host with which somebody else sends there."""
        legs = [
            IfName(raw.attrs["name"])
            for raw in look.links.nics()
            if question.link in (raw.attrs["name"], (look.links.bond(raw) or raw).attrs["name"])
        ]
        ears = [ear for leg in legs if (ear := self._ears.get(leg)) is not None]
        moved = {mac for ear in ears for mac in ear.doubles.lately(question.tag or 0, look.now)}
        return replace(vlan, moved=tuple(sorted(moved)))

    def _proc(self, links: Links) -> dict[IfName, bonds.ProcLeg]:
        legs: dict[IfName, bonds.ProcLeg] = {}
        for bond in links.lacp_bonds().values():
            legs |= bonds.parse_proc(netns.opened_in(self._place, partial(bonds.read_proc, bond)))
        return legs

    def _nic(self, raw: Raw, look: _Look) -> NicEvidence:
        nic = IfName(raw.attrs["name"])
        speed, duplex = look.settings.of(nic)
        driver = ethtool.driver(self._rtnl, nic) if raw.kind == DEVICE else None
        bond, reading = look.links.bond(raw), self._reading(nic, raw, look.now)
        counters, lacpdus = self._histories.setdefault(nic, History()).take(reading)
        lacp = self._lacp(nic, raw, look)
        if lacp is not None and reading.counted is not None:
            lacp = replace(lacp, received=reading.counted.lacpdus, received_lately=lacpdus, over_s=counters.over_s)
        return NicEvidence(
            name=nic,
            mac=permanent_mac(raw) or Mac(raw.attrs["mac"]),
            carrier=has_carrier(raw),
            bond=IfName(bond.attrs["name"]) if bond else None,
            active=look.links.active(raw),
            speed=speed,
            full_duplex=None if duplex is None else duplex == "full",
            mtu=raw.attrs.get("mtu", 1500),
            driver=driver.name if driver else raw.kind,
            firmware=driver.firmware if driver else "",
            neighbours=self._of(nic, look.now),
            lacp=lacp,
            counters=counters,
        )

    def _reading(self, nic: IfName, raw: Raw, now: float) -> Reading:
        ear = self._ears.get(nic)
        return Reading(
            at=now,
            counted=stats.counted(self._rtnl, raw.ifindex),
            carrier_changes=raw.attrs.get("carrier_changes"),
            came_back=ear.came_back if ear else None,
            for_us=ear.for_us if ear and ear.idle else None,
        )

    def _lacp(self, nic: IfName, raw: Raw, look: _Look) -> LacpLeg | None:
        """None: its bond does no LACP, and no switch does towards it."""
        heard, bond = self._pdu(nic, look.now), look.links.bond(raw)
        said = LacpLeg(sent=heard.sent, about_us=heard.about_us) if heard else None
        if bond is None or bond.data.get("mode") != LACP:
            return said
        known = look.proc.get(nic, bonds.ProcLeg())
        return replace(
            said or LacpLeg(),
            aggregator=raw.slave.get("aggregator"),
            actor=_with_state(known.actor, raw.slave.get("actor_state")),
            partner=_with_state(known.partner, raw.slave.get("partner_state")),
            churned=bonds.churned(raw.slave, known),
        )

    def _pdu(self, nic: IfName, now: float) -> Lacpdu | None:
        ear = self._ears.get(nic)
        return ear.lacp[0] if ear and ear.lacp and now - ear.lacp[1] < LACPDU_S else None

    def _of(self, nic: IfName, now: float) -> tuple[SwitchPort, ...]:
        """What we heard ourselves, and what only lldpd has, as long as it may count."""
        heard, clock = self._neighbours.of(nic, now), time.time()
        known = {(port.source, port.chassis, port.port) for port in heard}
        others = (p for p in self._lldpd.get(nic, ()) if nic in self._since and clock < p.heard + p.hold_s)
        return (*heard, *(p for p in others if (p.source, p.chassis, p.port) not in known))

    def _absent(self, one: NicEvidence, now: float) -> Iterator[Absent]:
        nic, ear = one.name, self._ears.get(one.name)
        if ear is None:
            reason = self._deaf.get(nic, f"nobody has listened on {nic} yet")
            yield from (Absent(kind=kind, nic=nic, reason=reason) for kind in (Kind.LLDP, Kind.CDP))
        elif not one.neighbours:
            words = {kind: f"{count} frames, of the last {ear.why[kind]}" for kind, count in ear.unreadable.items()}
            reason = silence.no_neighbour(one, now - self._since.get(nic, now), words)
            yield Absent(kind=Kind.LLDP, nic=nic, reason=reason)
        if (refused := self._neighbours.refused.get(nic)) is not None:
            reason = f"{nic} has more than {MOST} neighbours: {refused} frames of others were not kept"
            yield Absent(kind=Kind.LLDP, nic=nic, reason=reason)
        if one.counters.received is None:
            yield Absent(kind=Kind.COUNTERS, nic=nic, reason=f"the kernel does not count the frames of {nic}")
        if one.lacp is not None and one.lacp.aggregator is not None and one.lacp.partner is None:
            yield Absent(kind=Kind.LACP, nic=nic, reason=silence.no_partner(one))


def _with_state(side: LacpSide | None, state: int | None) -> LacpSide | None:
    """netlink's state is of this moment; the file's was of another."""
    return side if side is None or state is None else replace(side, state=state & 0xFF)
