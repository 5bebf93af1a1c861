"""Verdicts: the rules on what is known, and where that says no, on what the API server says of those it names.

What is known may be late. So an object that is missing, or in the way, is read again before anybody is refused; what is
let in needs no second look, for whatever was admitted before counts already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from windrow.apps.webhook import reviews
from windrow.apps.webhook.known import Known, version_of
from windrow.apps.webhook.reviews import Review
from windrow.model.cluster import Cluster
from windrow.model.errors import WindrowError
from windrow.model.values import Ref
from windrow.rules.request import Verdict, judge, mend
from windrow.rules.terms import Terms

Document = Mapping[str, Any]
Read = Callable[[Ref], Document | None]
"""One object as it is stored now; None: there is none. It may block. Raises WindrowError where that cannot be said."""
READ_MOST = 20
"""So many objects are read for one verdict. Who is in the way of more than that is in the way."""


class Judge:
    """For many threads: they are judged one after the other, and nobody waits for what another one reads."""

    def __init__(self, known: Known, read: Read, terms: Terms) -> None:
        self._known, self._read = known, read
        self.terms = terms

    def validate(self, review: Review) -> dict[str, Any]:
        verdict = self._verdict(review)
        if verdict.refused:
            return reviews.refused(review, verdict)
        return reviews.allowed(review, reviews.warnings(verdict))

    def mutate(self, review: Review) -> dict[str, Any]:
        return reviews.allowed(review, patch=mend(review.request, self._known.cluster(), self._looked_at))

    def _looked_at(self, ref: Ref) -> Cluster:
        self._look([ref])
        return self._known.cluster()

    def _verdict(self, review: Review) -> Verdict:
        looked: set[Ref] = set()
        while True:
            verdict = self._judged(review)
            # Whom it speaks of and nobody has looked at.
            named = (ref for problem in verdict.refused for ref in problem.others if ref not in looked)
            few = set(islice(named, READ_MOST - len(looked)))
            if not few or not self._look(few):
                return verdict
            looked |= few

    def _judged(self, review: Review) -> Verdict:
        """What is let in is remembered before anybody else is judged."""
        with self._known.lock:
            verdict = judge(review.request, self._known.cluster(), self.terms)
            if not verdict.refused and verdict.change is not None and not review.dry_run:
                self._known.admitted(verdict.change, version_of(review.request.old))
            return verdict

    def _look(self, refs: Iterable[Ref]) -> bool:
        """Whether the API server could say what there is; where it cannot, what is known counts."""
        try:
            for ref in sorted(refs):
                before = self._known.about(ref)
                self._known.read(ref, before, self._read(ref))
        except WindrowError:
            return False
        return True
