"""The senses of a node that probes, beside its probes: what switches say of themselves on each NIC, and who answers in
its VLANs. It goes on in small steps, within the thread that probes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from windrow.model.evidence import Absent, Kind, NodeEvidence
from windrow.netlink.errors import KernelError
from windrow.sense.asking import Question
from windrow.sense.manners import Manners
from windrow.sense.senses import Senses

STEP_S, TURN_S = 0.25, 0.02
"""From one turn to the next, and how long one takes at most: probes wait for it."""
LOOK_S = 2.0


class Sensing:
    """`asked`: the file that says which VLANs were asked for DHCP servers lately, by whichever process."""

    def __init__(self, node: str, asked: Path, mono: Callable[[], float]) -> None:
        self._node, self._mono = node, mono
        self._questions: tuple[Question, ...] = ()
        self._turn_at = self._look_at = float("-inf")
        self._senses: Senses | None = None
        self._manners = Manners(asked)
        self._known = NodeEvidence(node=node, at=0.0)

    def close(self) -> None:
        if self._senses is not None:
            self._senses.close()
            self._senses = None

    def want(self, questions: tuple[Question, ...]) -> None:
        """What is to be asked; the same questions are not asked again."""
        if questions != self._questions:
            self._questions = questions
            if self._senses is not None:
                self._senses.ask(questions)

    def turn(self, clock: float) -> NodeEvidence:
        """What is known, after what is due was done."""
        now = self._mono()
        if now >= self._turn_at:
            self._turn_at = now + STEP_S
            try:
                self._listen(now)
            except KernelError as error:
                self.close()
                reason = f"nothing but probes is listened to: {error}"
                absent = tuple(Absent(kind=kind, reason=reason) for kind in (Kind.LLDP, Kind.LACP, Kind.COUNTERS))
                self._known = NodeEvidence(node=self._node, at=clock, absent=absent)
        return self._known

    def _listen(self, now: float) -> None:
        if self._senses is None:
            self._senses = Senses(self._node, manners=self._manners)
            self._senses.ask(self._questions)
        self._senses.listen(now + TURN_S)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._known = self._senses.look()
