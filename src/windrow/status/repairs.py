"""Drift: which differences nobody asked for, and in words what was found and what was done about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windrow.model.bonding import Change
from windrow.model.events import Event, EventType
from windrow.model.host import HostState
from windrow.model.steps import Delta, Plan, SetSysctl
from windrow.model.values import IfName, PortVlans, Ref
from windrow.plan.filtering import FILTER
from windrow.plan.planner import LAYER_2
from windrow.plan.policies import POLICIES
from windrow.render.plan import value_words

REPAIRED = "Repaired"


def differences(plan: Plan) -> Iterator[Delta]:
    """Those that the plan's steps are for; a sysctl's too, which is of no link."""
    for unit in plan.units:
        if unit.steps:
            yield from unit.deltas
            for step in unit.steps:
                if isinstance(step.action, SetSysctl) and not step.link:
                    yield _of_sysctl(step.action)


def _of_sysctl(action: SetSysctl) -> Delta:
    return Delta(link=IfName(""), field=action.key, have=None, want=action.value, change=Change.LIVE, why=LAYER_2)


def drift(plan: Plan, before: HostState | None, after: HostState, undone: Iterable[Delta]) -> tuple[Delta, ...]:
    """The differences of links that are wanted as they were wanted before: somebody else made them.

    `before`: what was wanted in the last round, None where there was none. `undone`: what that round left undone.
    """
    if before is None:
        return ()
    old = {(d.link, d.field) for d in undone}
    return tuple(d for d in differences(plan) if (d.link, d.field) not in old and _same(d, before, after))


def _same(delta: Delta, before: HostState, after: HostState) -> bool:
    if delta.field.startswith(POLICIES):
        return before.policies == after.policies
    if not delta.link:
        return before.sysctls.get(delta.field) == after.sysctls.get(delta.field)
    name = delta.link
    routes = [frozenset(r for r in state.routes if r.dev == name) for state in (before, after)]
    if delta.field.startswith(FILTER):
        return before.filters.get(name) == after.filters.get(name)
    return before.links.get(name) == after.links.get(name) and routes[0] == routes[1]


def events(repaired: Iterable[Delta], node: str, now: float) -> tuple[Event, ...]:
    """One for each link: `repaired oob-bo: miimon was 50, is 100; mtu was 1400, is 1500`."""
    by_link: dict[IfName, list[Delta]] = {}
    for delta in repaired:
        by_link.setdefault(delta.link, []).append(delta)
    return tuple(
        Event(
            type=EventType.NORMAL,
            reason=REPAIRED,
            about=_about(deltas, node),
            message=f"repaired {link or 'this kernel'}: {'; '.join(map(words, deltas))}",
            first=now,
            last=now,
        )
        for link, deltas in by_link.items()
    )


def _about(deltas: list[Delta], node: str) -> Ref:
    why = next((d.why for d in deltas if d.why is not None and d.why.name not in ("", "*")), None)
    return why or Ref("Node", node)


def words(delta: Delta) -> str:
    """`miimon was 50, is 100`."""
    match delta.field, delta.have, delta.want:
        case "link", None, _:
            return "it was gone, is there again"
        case "link", _, None:
            return "it was there, and nobody wants it"
        case "mark", _, _:
            return "its mark as Windrow's was gone, is there again"
        case "name", have, want:
            return f"was called {have}, is {want} again"
        case "up", _, bool(up):
            return "was down, is up" if up else "was up, is down"
        case ("vlans" | "self_vlans") as field, have, PortVlans() as want:
            return _vlans("own VLANs" if field == "self_vlans" else "VLANs", have, want)
        case "master", have, want:
            return f"was {f'in {have}' if have else 'free'}, is {f'in {want}' if want else 'free'}"
        case field, have, want if field.startswith(POLICIES):
            return f"{field.removeprefix(POLICIES)} of network policies were {have or 'gone'}, are {want or 'none'}"
        case field, None, want if not delta.link:
            return f"{field} is {want}"
        case field, have, want:
            return f"{field.rpartition('.')[2]} was {value_words(have)}, is {value_words(want)}"


def _vlans(what: str, have: object, want: PortVlans) -> str:
    seen = have if isinstance(have, PortVlans) else PortVlans()
    lacked, had = want.all - seen.all, (seen.all - want.all if want.exact else want.all - want.all)
    parts = [f"lacked {lacked}"] if lacked else []
    parts += [f"had {had} too many"] if had else []
    if want.exact and want.pvid != seen.pvid:
        parts.append(f"PVID was {seen.pvid or 'none'}, is {want.pvid or 'none'}")
    return f"{what} {', '.join(parts) or 'were tagged otherwise'}"
