"""Bonds over time: a condition `Degraded` for each, and events of what changed.

The condition is on the ClusterNetwork: that is what people know by name and what machines are attached to, each has one
bond, and `mgmt` is one of them. (Its LinkMonitor exists only while the network is ready.)

What is normal for a moment is no fault: LACP has `LACP_GRACE_S` to agree, unless its partner is lost. A NIC that comes
and goes is told once, as flapping, and not each time; when it has been quiet for `FLAP_WINDOW_S`, that is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from windrow.model.events import Condition, Event, EventType
from windrow.model.host import Observed
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac
from windrow.render.text import span
from windrow.status import bondfaults
from windrow.status.bondfaults import CUT_OFF, FLAPPING, NO_PARTNER, OTHER_AGGREGATOR, BondSeen, Fault, Slave

DEGRADED = "Degraded"
WHOLE = "Whole"
"""The reason of a condition that is well."""
FLAPS, FLAP_WINDOW_S = 3, 60.0
"""So many losses within so many seconds are flapping."""
LACP_GRACE_S = 10.0
"""A partner answers within a second of carrier, and ports aggregate two seconds later (AD_AGGREGATE_WAIT_TIME); a
switch that starts its port takes a few more."""
OF_SLAVES = frozenset({bondfaults.CUT_OFF, bondfaults.ONE_LEG, bondfaults.SLAVE_DOWN})
"""Faults that are told NIC by NIC; of the others one event says that they began, and one that they are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaveMemory:
    """`since`: when it became usable or not; `losses`: the kernel's counter; `lost`: when it was lost, of late."""

    usable: bool
    since: float
    losses: int
    lost: tuple[float, ...] = ()
    flapping: bool = False
    told: bool = False
    """An event has said that it is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneBond:
    """What is remembered of one bond. `told`: the faults that an event was about, and when they began."""

    slaves: Mapping[str, SlaveMemory] = field(default_factory=dict)
    active: IfName | None = None
    partner: Mac | None = None
    apart: float | None = None
    """Since when LACP does not agree."""
    told: Mapping[str, float] = field(default_factory=dict)
    condition: Condition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BondMemory:
    bonds: Mapping[IfName, OneBond] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """`again`: when to look again though nothing happens, by the clock of `now`; None: need not."""

    memory: BondMemory
    conditions: tuple[Condition, ...]
    events: tuple[Event, ...]
    again: float | None = None


def watch(memory: BondMemory, observed: Observed, now: float, *, wanted: Mapping[str, int] | None = None) -> Watched:
    """One look further. `wanted`: how many NICs each bond should have (`bondfaults.wanted_nics`).

    A bond that is gone is forgotten; one that changes its mode just now stays as it was.
    """
    after: dict[IfName, OneBond] = {}
    events: list[Event] = []
    again: list[float] = []
    for seen in bondfaults.bonds(observed, wanted):
        before = memory.bonds.get(seen.name)
        if seen.changing and before is not None:
            after[seen.name] = before
            continue
        one = _Look(seen, before or OneBond(), now)
        after[seen.name] = one.after
        events += one.events()
        again += one.again()
    conditions = tuple(one.condition for one in after.values() if one.condition is not None)
    return Watched(
        memory=BondMemory(bonds=after), conditions=conditions, events=tuple(events), again=min(again, default=None)
    )


class _Look:
    """One bond, before and after one look."""

    def __init__(self, seen: BondSeen, before: OneBond, now: float) -> None:
        self.seen, self.before, self.now = seen, before, now
        slaves: dict[str, SlaveMemory] = {s.name: _slave(s, before.slaves.get(s.name), now) for s in seen.slaves}
        every = bondfaults.faults(seen)
        apart = any(f.reason in (NO_PARTNER, OTHER_AGGREGATOR) for f in every)
        self.apart = (now if before.apart is None else before.apart) if apart else None
        flapping = [name for name, one in slaves.items() if one.flapping]
        self.faults = (*(f for f in every if not self._early(f)), *self._flapping(flapping))
        self.down = {n for n, one in slaves.items() if not one.usable and not one.told and not one.flapping}
        self.back = {n for n, one in slaves.items() if one.usable and one.told and not one.flapping}
        told = {n: replace(one, told=(one.told or n in self.down) and n not in self.back) for n, one in slaves.items()}
        kept = {f.reason: before.told.get(f.reason, now) for f in self.faults if f.reason not in OF_SLAVES}
        cut = any(f.reason == CUT_OFF for f in every)
        self.after = OneBond(
            slaves=told,
            active=seen.active or before.active,
            partner=None if cut else seen.partner or before.partner,
            apart=self.apart,
            told=kept,
            condition=self._condition(),
        )

    def _early(self, fault: Fault) -> bool:
        """LACP is given time, but a partner that was there and is silent now is lost."""
        if fault.reason not in (NO_PARTNER, OTHER_AGGREGATOR) or self.apart is None:
            return False
        lost = fault.reason == NO_PARTNER and self.before.partner is not None
        return not lost and 0 <= self.now - self.apart < LACP_GRACE_S

    def _flapping(self, nics: list[str]) -> Iterator[Fault]:
        if nics:
            how, hint = "lost carrier", "change the cable or the transceiver; look at the switch port's log"
            if self.seen.arp_targets:
                how, hint = (
                    "lost the ARP targets",
                    "look at what is between this NIC and the targets, and at their load",
                )
            text = f"{self.seen.name}: {', '.join(nics)} {how} {FLAPS} times or more within {FLAP_WINDOW_S:.0f} s"
            yield Fault(reason=FLAPPING, message=text, hint=hint, nics=tuple(nics))

    def _condition(self) -> Condition:
        before = self.before.condition
        bad = bool(self.faults)
        since = before.since if before is not None and before.status is bad else self.now
        if not bad:
            return Condition(about=self.seen.about, type=DEGRADED, status=False, reason=WHOLE, since=since)
        faults = sorted(self.faults, key=lambda f: bondfaults.REASONS.index(f.reason))
        return Condition(
            about=self.seen.about,
            type=DEGRADED,
            status=True,
            reason=faults[0].reason,
            message="; ".join(f.message for f in faults),
            hint=faults[0].hint,
            since=since,
        )

    # -- what is told ------------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """What is worse first, then what is better, then what is only different."""
        if self.down:
            fault = next(f for f in self.faults if f.reason in OF_SLAVES)
            yield self._event(EventType.WARNING, fault.reason, fault.message)
        began = self.before.told
        for fault in self.faults:
            if fault.reason not in OF_SLAVES and fault.reason not in began:
                yield self._event(EventType.WARNING, fault.reason, fault.message)
        for reason in began:
            if reason not in self.after.told:
                name, words = OVER[reason]
                text = f"{self.seen.name}: {words}, after {span(self.now - began[reason])}"
                yield self._event(EventType.NORMAL, name, text)
        if self.back:
            longest = max(self.now - self.before.slaves[n].since for n in self.back)
            text = f"{self.seen.name}: {', '.join(sorted(self.back))} back, after {span(longest)}"
            yield self._event(EventType.NORMAL, "SlaveUp", text)
        yield from self._changes()

    def _changes(self) -> Iterator[Event]:
        was, now = self.before.active, self.seen.active
        restless = {n for n, one in self.after.slaves.items() if one.flapping}
        if was and now and was != now and not restless & {was, now}:
            yield self._event(
                EventType.NORMAL, "FailedOver", f"{self.seen.name}: {now} carries the traffic, {was} no more"
            )
        partner = self.before.partner
        if partner and self.seen.partner and partner != self.seen.partner:
            text = f"{self.seen.name}: the LACP partner is {self.seen.partner}, and was {partner}"
            yield self._event(EventType.NORMAL, "OtherLacpPartner", text)

    def _event(self, type_: EventType, reason: str, message: str) -> Event:
        return Event(type=type_, reason=reason, about=self.seen.about, message=message, first=self.now, last=self.now)

    def again(self) -> Iterator[float]:
        """When a time runs out that something hangs on."""
        if self.apart is not None and not any(f.reason in (NO_PARTNER, OTHER_AGGREGATOR) for f in self.faults):
            yield self.apart + LACP_GRACE_S
        yield from (one.lost[-1] + FLAP_WINDOW_S for one in self.after.slaves.values() if one.flapping and one.lost)


def _slave(seen: Slave, before: SlaveMemory | None, now: float) -> SlaveMemory:
    """A counter that goes back began anew: the NIC has left and come again."""
    if before is None:
        return SlaveMemory(usable=seen.usable, since=now, losses=seen.losses)
    times = min(max(0, seen.losses - before.losses), FLAPS)
    lost = (*(t for t in before.lost if 0 <= now - t < FLAP_WINDOW_S), *([now] * times))[-FLAPS:]
    return SlaveMemory(
        usable=seen.usable,
        since=before.since if before.usable == seen.usable else now,
        losses=seen.losses,
        lost=lost,
        flapping=len(lost) >= FLAPS or (before.flapping and bool(lost)),
        told=before.told,
    )


OVER = {
    bondfaults.NO_SLAVES: ("HasSlaves", "it has a NIC again"),
    bondfaults.NO_PARTNER: ("LacpPartner", "the LACP partner answers"),
    bondfaults.OTHER_AGGREGATOR: ("OneAggregator", "all its NICs are in one LACP group"),
    bondfaults.SLAVE_MISSING: ("SlavesComplete", "it has all its NICs again"),
    bondfaults.FLAPPING: ("NoFlapping", f"no NIC was lost for {FLAP_WINDOW_S:.0f} s"),
    bondfaults.SPEEDS: ("OneSpeed", "its NICs have one speed"),
    bondfaults.HALF_DUPLEX: ("FullDuplex", "no NIC is in half duplex"),
}
"""What is said when it is over: the event's reason, and in words."""
