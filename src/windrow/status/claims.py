"""Addresses of ours that somebody else on the link says are his, after they were set (RFC 5227 §2.4).

It is told, and nothing else: this host keeps its address and does not fight for it, for it may be reached by that. As
long as nothing more is heard of him he is asked for again, each time after a longer pause; no answer, and it is over.

No clock here: `mono` is seconds of a clock that never jumps, `now` Unix time for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from windrow.model.agentstatus import Claim
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac

ANSWER_S = 1.0
"""ANNOUNCE_WAIT and more: who has an address answers within milliseconds."""
FIRST_S, MOST_S = 5.0, 300.0

Key = tuple[IfName, str]
"""Link and address, without its prefix length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    claim: Claim
    due: float
    """When he is asked for, or when his answer is overdue."""
    asked: bool = False
    pause_s: float = FIRST_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    found: Mapping[Key, _Standing] = field(default_factory=dict)

    def heard(self, link: IfName, address: str, mac: Mac, *, mono: float, now: float) -> Claims:
        """Somebody with this MAC said that he has it."""
        old = self.found.get((link, address))
        claim = Claim(link=link, address=address, mac=mac, since=old.claim.since if old else now)
        if old is None:
            new = _Standing(claim=claim, due=mono + FIRST_S)
        elif old.asked:
            pause = min(2 * old.pause_s, MOST_S)
            new = _Standing(claim=claim, due=mono + pause, pause_s=pause)
        else:
            new = replace(old, claim=claim)
        return replace(self, found={**self.found, (link, address): new})

    def passed(self, mono: float) -> tuple[Claims, frozenset[Key]]:
        """What is due by now, and whom to ask for."""
        due = {key: one for key, one in self.found.items() if one.due <= mono}
        ask = {key: replace(one, asked=True, due=mono + ANSWER_S) for key, one in due.items() if not one.asked}
        kept = {key: one for key, one in self.found.items() if key not in due}
        return replace(self, found={**kept, **ask}), frozenset(ask)

    def only(self, wanted: Iterable[Key]) -> Claims:
        """Without those of addresses that are no longer ours."""
        kept = set(wanted)
        return replace(self, found={key: one for key, one in self.found.items() if key in kept})

    @property
    def deadline(self) -> float | None:
        return min((one.due for one in self.found.values()), default=None)

    @property
    def standing(self) -> tuple[Claim, ...]:
        return tuple(one.claim for _, one in sorted(self.found.items()))
