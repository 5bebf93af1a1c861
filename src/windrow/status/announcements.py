"""What others have to hear of again: who is behind a way that is new, or has a new MAC address.

A switch goes on sending to the port where it last heard somebody, until he speaks or the entry is too old; a neighbour
goes on sending to the MAC address that it knows. The kernel announces, after a bond has failed over, the addresses of
the bond and of what is on it (`bond_should_notify_peers`; `br_device_event` passes it on to the bridge), and with
balance-alb the bond's own MAC address (`alb_send_learning_packets`): nobody who is behind the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from windrow.model.announcing import Due, Scene
from windrow.model.lazy import dataclass
from windrow.model.values import VidSet

TIMES_S = (0.0, 0.05, 0.2, 0.45, 0.8)
"""When it is announced, after it was news: QEMU's times after a migration (`announce-initial`, `announce-step`, five
rounds). A frame may be lost, and a switch's port may take its time until it forwards."""


def due(before: Scene, after: Scene) -> Due:
    """`before` empty: everything is new."""
    machines = {index: vids for index in after.uplinks if (vids := _new_ways(index, before, after))}
    return Due(machines=machines, own=frozenset(i for i in after.interfaces if _is_news(i, before, after, machines)))


def _new_ways(index: int, before: Scene, after: Scene) -> VidSet:
    """The VLANs that go another way now than they did. What cannot send has no way."""
    now, was = after.uplinks[index], before.uplinks.get(index)
    if now.leg is None:
        return VidSet()
    same = was is not None and (was.leg, was.bridge) == (now.leg, now.bridge)
    return now.vids - was.vids if was is not None and same else now.vids


def _is_news(index: int, before: Scene, after: Scene, machines: Mapping[int, VidSet]) -> bool:
    now, was = after.interfaces[index], before.interfaces.get(index)
    if not now.running or not now.addresses:
        return False
    if was is None or not was.running or was.mac != now.mac or now.addresses - was.addresses:
        return True
    return any(
        after.uplinks[bond].bridge == now.bridge and now.vid is not None and now.vid in vids
        for bond, vids in machines.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`began`: when it was news; `told`: how often it was announced since. `vids`: of an uplink."""

    began: float
    told: int = 0
    vids: VidSet = VidSet()

    @property
    def at(self) -> float:
        return self.began + TIMES_S[self.told]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """What is still to be announced, by ifindex. Times are of one clock that never jumps."""

    uplinks: Mapping[int, Entry] = field(default_factory=dict)
    interfaces: Mapping[int, Entry] = field(default_factory=dict)

    def heard(self, news: Due, now: float) -> Agenda:
        """What is news begins anew, with what was still to be told of it."""
        uplinks = {i: Entry(began=now, vids=vids | _vids(self.uplinks.get(i))) for i, vids in news.machines.items()}
        own = {i: Entry(began=now) for i in news.own}
        return Agenda(uplinks={**self.uplinks, **uplinks}, interfaces={**self.interfaces, **own})

    def once(self, news: Due, now: float) -> Agenda:
        """As `heard`, for what may be news: it is announced a single time."""
        last = len(TIMES_S) - 1
        began = now - TIMES_S[last]
        uplinks = {i: Entry(began=began, told=last, vids=vids) for i, vids in news.machines.items()}
        own = {i: Entry(began=began, told=last) for i in news.own}
        return Agenda(uplinks={**uplinks, **self.uplinks}, interfaces={**own, **self.interfaces})

    def told(self, now: float) -> tuple[Due, Agenda]:
        """What is to be announced now, and the agenda after that."""
        machines = {i: one.vids for i, one in self.uplinks.items() if one.at <= now}
        own = frozenset(i for i, one in self.interfaces.items() if one.at <= now)
        after = Agenda(uplinks=_later(self.uplinks, now), interfaces=_later(self.interfaces, now))
        return Due(machines=machines, own=own), after

    @property
    def next(self) -> float | None:
        """When the next announcement is due; None: never."""
        return min((one.at for one in (*self.uplinks.values(), *self.interfaces.values())), default=None)


def _vids(entry: Entry | None) -> VidSet:
    return entry.vids if entry is not None else VidSet()


def _later(entries: Mapping[int, Entry], now: float) -> dict[int, Entry]:
    """Once for all the times that have passed: who is late does not make up for it."""
    moved = {i: one if one.at > now else replace(one, told=_passed(one, now)) for i, one in entries.items()}
    return {i: one for i, one in moved.items() if one.told < len(TIMES_S)}


def _passed(entry: Entry, now: float) -> int:
    return sum(entry.began + after <= now for after in TIMES_S)
