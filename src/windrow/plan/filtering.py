"""The packet filter's rules of ports: what differs, and the steps, in one unit, so that they go in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from windrow.model.bonding import Change
from windrow.model.host import Filters, Observed, PortFilter
from windrow.model.steps import Delta, DropFilter, Impact, Phase, SetFilter, Step, Unit
from windrow.model.values import IfName, Ref

FILTER = "filter."
"""Before the name of a filter's part in the name of a delta's field."""
_NOBODY = Ref("Node", "")


def filter_unit(want: Filters, have: Observed, held: Collection[IfName]) -> Unit:
    """A port that was not looked at is left as it is."""
    seen = {port: found for port, found in have.state.filters.items() if port in want and port not in held}
    deltas = {port: tuple(_deltas(port, want[port], found)) for port, found in sorted(seen.items())}
    stale = {port: gone for port, gone in sorted(have.stale_filters.items()) if port not in held}
    steps = [_set(port, want[port], found) for port, found in deltas.items() if found]
    steps += [_drop(port, gone) for port, gone in stale.items()]
    return Unit(
        links=(*(port for port, found in deltas.items() if found), *stale),
        deltas=(*(d for found in deltas.values() for d in found), *(_left_over(p, g) for p, g in stale.items())),
        steps=tuple(replace(step, joined=number > 0) for number, step in enumerate(steps)),
    )


def _deltas(port: IfName, want: PortFilter, seen: PortFilter) -> Iterator[Delta]:
    have = seen.parts
    for part, words in want.parts.items():
        if have.get(part) != words:
            found = seen.faults.get(part) or have.get(part, "")
            yield Delta(link=port, field=FILTER + part, have=found, want=words, change=Change.LIVE, why=want.origin)


def _left_over(port: IfName, gone: PortFilter) -> Delta:
    have = ", ".join(gone.parts) or "rules"
    return Delta(link=port, field=f"{FILTER}rules", have=have, want=None, change=Change.LIVE, why=_NOBODY)


def _set(port: IfName, want: PortFilter, deltas: tuple[Delta, ...]) -> Step:
    """Closing a hole costs those nothing who keep to their address."""
    parts = tuple(delta.field.removeprefix(FILTER) for delta in deltas)
    why = want.origin or _NOBODY
    return Step(phase=Phase.OPTIONS, link=port, action=SetFilter(want, parts), why=why, impact=Impact.HITLESS)


def _drop(port: IfName, gone: PortFilter) -> Step:
    return Step(phase=Phase.CLEAN, link=port, action=DropFilter(gone), why=_NOBODY, impact=Impact.NONE)
