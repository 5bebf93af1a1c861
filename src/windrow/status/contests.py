"""Fights: a difference that comes back as often as it is repaired. Repairing it for ever would only shake the network.

The same difference repaired three times within five minutes is left alone, and said. But not where that was among much
else, more than seven repairs in all on the links that belong together: whoever manages a link does the same to it each
time, and damage of all kinds is no rival. After a pause it is tried once more, for the other side may have gone; each
time it comes back the pause is twice as long.

No clock here: `mono` is seconds of a clock that never jumps, `now` Unix time for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from windrow.model.agentstatus import Contest
from windrow.model.events import Condition
from windrow.model.facts import Nic
from windrow.model.host import Observed
from windrow.model.lazy import dataclass
from windrow.model.steps import Delta, Plan
from windrow.model.values import IfName, Ref

WINDOW_S = 300.0
REPAIRS_MAX = 3
PAUSE_S, PAUSE_MAX_S = 30.0, 600.0
CONTESTED = "Contested"
AMONG_MAX = 7
"""Three rivals of one link that take turns: the first one's third time is the seventh of all."""
_TIMES_MAX = 1000

Key = tuple[IfName, str, str]
"""Link, field, and what was found and wanted there: another value is another difference."""


def key_of(delta: Delta) -> Key:
    both = "" if delta.want is None else f"{_in_order(delta.have)} {_in_order(delta.want)}"
    return delta.link, delta.field, both


def _in_order(value: object) -> str:
    """Two equal sets may have their members in different orders."""
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fight:
    about: Ref
    times: tuple[float, ...]
    """Of the repairs within the window, on the clock that never jumps."""
    since: float
    """Of the first of them, in Unix time."""
    repaired: int = 0
    pause_s: float = 0.0
    """0: it is not contested (yet)."""
    until: float = 0.0
    """When it is tried again, on the clock that never jumps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contests:
    fights: Mapping[Key, Fight] = field(default_factory=dict)
    rounds: Mapping[IfName, tuple[float, ...]] = field(default_factory=dict)
    """Link -> when something of its unit was repaired, whatever it was."""

    def repaired(self, deltas: Iterable[Delta], plan: Plan, *, mono: float, now: float) -> Contests:
        """After these differences were repaired, none of which anybody had asked for; `plan`: says what belongs
        together."""
        fights, rounds, repaired = dict(self.fights), dict(self.rounds), tuple(deltas)
        touched = {delta.link for delta in repaired}
        touched |= {link for unit in plan.units if touched & set(unit.links) for link in unit.links}
        for link in touched:
            rounds[link] = (*_recent(rounds.get(link, ()), mono), mono)
        for delta in repaired:
            key = key_of(delta)
            fights[key] = _once_more(fights.get(key), delta, rounds[delta.link], mono, now)
        return Contests(fights=fights, rounds=rounds)

    def aged(self, mono: float) -> Contests:
        """Without those that have been at peace for the whole window."""
        fights = {k: f for k, f in self.fights.items() if mono - max(f.times[-1], f.until) < WINDOW_S}
        rounds = {link: recent for link, times in self.rounds.items() if (recent := _recent(times, mono))}
        return Contests(fights=fights, rounds=rounds)

    def without(self, refs: Iterable[Ref]) -> Contests:
        """Their objects were changed, so what was fought about is another matter now."""
        gone = set(refs)
        return replace(self, fights={key: fight for key, fight in self.fights.items() if fight.about not in gone})

    def left_alone(self, plan: Plan, mono: float) -> frozenset[tuple[IfName, str]]:
        """Of what the plan would repair, what is not to be repaired now: links and fields."""
        alone = {key for key, fight in self._contested.items() if mono < fight.until}
        deltas = (delta for unit in plan.units for delta in unit.deltas)
        found = {(delta.link, delta.field) for delta in deltas if key_of(delta) in alone}
        # A sysctl is no link's, and has no delta: it is left alone whatever its value is.
        return frozenset(found | {(link, field) for link, field, _ in alone if not link})

    def deadline(self, mono: float) -> float | None:
        """When something changes without any news: a pause ends, or a contest has been at peace for long enough."""
        times = [f.until if mono < f.until else max(f.times[-1], f.until) + WINDOW_S for f in self._contested.values()]
        return min(times, default=None)

    @property
    def _contested(self) -> Mapping[Key, Fight]:
        return {key: fight for key, fight in self.fights.items() if fight.pause_s}

    def standing(self, rivals: Mapping[IfName, str]) -> tuple[Contest, ...]:
        """What there is to tell; `rivals`: who else may manage a link, in words."""
        return tuple(
            Contest(
                about=fight.about,
                link=link,
                field=field,
                repaired=fight.repaired,
                since=fight.since,
                rival=rivals.get(link, ""),
            )
            for (link, field, _), fight in sorted(self._contested.items())
        )


def _recent(times: tuple[float, ...], mono: float) -> tuple[float, ...]:
    return tuple(t for t in times if mono - t < WINDOW_S)[-_TIMES_MAX:]


def _once_more(fight: Fight | None, delta: Delta, rounds: tuple[float, ...], mono: float, now: float) -> Fight:
    """`rounds`: when something of its unit was repaired within the window."""
    about = delta.why or Ref("Node", "")
    if fight is None:
        return Fight(about=about, times=(mono,), since=now, repaired=1)
    times = (*_recent(fight.times, mono), mono)
    more = replace(fight, about=about, times=times, repaired=fight.repaired + 1)
    among = sum(at >= times[-REPAIRS_MAX] for at in rounds) if len(times) >= REPAIRS_MAX else 0
    if 0 < among <= AMONG_MAX:
        pause = min(2 * fight.pause_s, PAUSE_MAX_S) if fight.pause_s else PAUSE_S
    elif fight.pause_s and len(times) < REPAIRS_MAX:
        pause = min(2 * fight.pause_s, PAUSE_MAX_S)  # a long pause is over, and it is still there
    else:
        return replace(more, pause_s=0.0, until=0.0)
    return replace(more, pause_s=pause, until=mono + pause)


def conditions(contests: Iterable[Contest]) -> tuple[Condition, ...]:
    """One for each object, whatever of it is contested."""
    by_object: dict[Ref, list[Contest]] = {}
    for contest in contests:
        by_object.setdefault(contest.about, []).append(contest)
    return tuple(_condition(about, found) for about, found in sorted(by_object.items()))


def _condition(about: Ref, found: list[Contest]) -> Condition:
    what = ", ".join(dict.fromkeys(f"{c.link} {c.field}".strip() for c in found))
    rivals = "; ".join(dict.fromkeys(f"{c.link}: {c.rival}" for c in found if c.rival))
    first = found[0]
    return Condition(
        about=about,
        type=CONTESTED,
        status=True,
        reason=CONTESTED,
        message=f"somebody else changes {what} again and again ({first.repaired} repairs); it is left alone for now"
        + (f". {rivals}" if rivals else ""),
        hint="stop the other one from managing it, or change the manifest; then: windrow apply",
        since=min(c.since for c in found),
    )


# Who else ----------------------------------------------------------------------------------------


def rival(name: IfName, observed: Observed, nics: Mapping[IfName, Nic]) -> str:
    """What the kernel knows of a link that may tell who else manages it; empty: nothing."""
    run, nic = observed.runtime.get(name), nics.get(name)
    words = []
    if run is not None and run.alias:
        words.append(f"alias {run.alias!r}")
    if run is not None and run.altnames:
        words.append(f"altnames {', '.join(run.altnames)}")
    if nic is not None and nic.driver:
        words.append(f"driver {nic.driver}")
    return "; ".join(words)
