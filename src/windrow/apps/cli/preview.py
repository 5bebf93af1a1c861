"""Store and given manifests together against the kernel, changing nothing: what `plan` and `diff` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from windrow.apps.cli.change import Wish
from windrow.apps.cli.manifests import read
from windrow.apps.cli.output import gate
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import assess, located, stored
from windrow.apps.engine import Planned
from windrow.model.problems import Problem, Severity
from windrow.rules import check


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`problems`: warnings of the rules, and all that the compiler has to say."""

    planned: Planned
    problems: tuple[Problem, ...]


def preview(session: Session, places: Sequence[str]) -> Preview:
    """Raises ProblemsError where manifests or rules refuse."""
    loaded = read(places)
    gate(loaded.problems, session.error_style)
    before, troubles = stored(session)
    gate(troubles, session.error_style)
    wish = Wish(put=loaded.objects)
    said = located(check(before, wish.changes(before)), {o.ref: o for o in wish.put})
    gate([p for p in said if p.severity is Severity.ERROR])
    after = wish.after(before)
    with session.kernel() as kernel:
        _, planned = assess(after, kernel, session.node)
    problems = (*said, *located(planned.compiled.problems, after.objects))
    return Preview(planned=planned, problems=tuple(dict.fromkeys(problems)))
