"""Whose turn it is to have an address that several nodes may have: the active one's; the others stand by.

The active node announces the address at each tick (RFC 5227 §3). Who stands by and does not hear that asks, which the
kernel of whoever has it answers also while his agent is restarted; and takes the address once nobody has answered for
some ticks, the first of the nodes after the fewest. Nobody gives it up because another one is back.

Where two are active, because they did not hear each other for a while, all but the first let it go as soon as they do;
the active one asks now and again, for a kernel answers that has no agent to announce it.
So nothing has to be agreed on, and no message is needed that is not ARP. As long as it lasts both give the same
answers: they serve the same reservations by the same address.

No clock here, either: who was busy for some seconds has not been silent for some seconds.
"""

from __future__ import annotations

from dataclasses import replace

from windrow.model.lazy import dataclass

TICK_S = 1.0
SILENT, STEP = 3, 2
"""So many ticks without an answer before the first node takes the address, and so many more for each one after it:
longer than it takes to set it."""
EVERY = 5
"""An active node asks in each of so many ticks: another one may have the address whose agent is not there to say so."""
AWAY = 60
"""So many ticks he does not want it again who has given it up because his server does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    rank: int
    """Of this node; the lower one comes first."""
    active: bool
    missed: int = 0
    """Ticks since another node was heard."""

    def heard(self, *, there: bool) -> Turn:
        """Another node says that the address is his. `there`: whether it is set here, too."""
        return replace(self, active=self.active and there and self.rank == 0, missed=0)

    def tick(self) -> Turn:
        missed = self.missed + 1
        return replace(self, missed=missed, active=self.active or missed >= SILENT + STEP * self.rank)

    def given_up(self) -> Turn:
        return replace(self, active=False, missed=-AWAY)

    @property
    def asks(self) -> bool:
        """Whether to ask who has it: before it is taken at least twice, and then now and again."""
        return self.missed % EVERY == 0 if self.active else self.missed > 0
