"""concede: a wanted state without some of its differences, so that the rest of it can be planned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from windrow.model.bonding import Change
from windrow.model.host import Bond, Bridge, HostState, Link, Other, Route, Rule, VlanIf, Vxlan, Wireguard
from windrow.model.steps import Delta, Plan, Unit
from windrow.model.values import IfName
from windrow.plan.diff import SETTING
from windrow.plan.filtering import FILTER
from windrow.plan.policies import POLICIES

Conceded = tuple[IfName, str]
"""Link and field of a difference."""

R = TypeVar("R", Route, Rule)
T = TypeVar("T")

_PLAIN = (
    *("up", "mtu", "mac", "txqlen", "promisc", "addrs", "vlans", "self_vlans"),
    *("snooping", "fdb", "slave_prio", "mark"),
)
_LAST = ("addrs", "routes")
TRIES = 12


def conceded(state: HostState, plan: Plan, keys: Iterable[Conceded]) -> tuple[HostState, frozenset[IfName]]:
    """The wanted state without these differences of `plan`, and the links that a plan must leave alone altogether.

    An attribute is not managed any more; routes, rules and neighbours are wanted as they are. Where it is about whether
    a link is there, or where it belongs, its whole unit is left alone: what stands on such a link cannot be right
    without it. A NIC, a port or a VLAN interface, on which nothing stands, is left alone by itself. A link that is gone
    is made with all that it is to have, whatever was fought about on it before.
    """
    links, sysctls, filters = dict(state.links), dict(state.sysctls), dict(state.filters)
    routes, rules, policies = state.routes, state.rules, state.policies
    deltas = {(d.link, d.field): d for unit in plan.units for d in unit.deltas}
    held: set[IfName] = set()
    for name, attribute in keys:
        link = links.get(name)
        if attribute.startswith(POLICIES):
            policies = None
        elif not name:
            sysctls.pop(attribute, None)
        elif attribute.startswith(FILTER):
            filters.pop(name, None)
        elif attribute != "link" and _is_missing(deltas.get((name, "link"))):
            continue
        elif attribute == "routes":
            routes = _as_they_are(routes, name, deltas.get((name, "routes")))
        elif attribute == "rules":
            rules = _as_they_are(rules, name, deltas.get((name, "rules")))
        elif link is not None and attribute == "neighbours":
            links[name] = replace(link, neighbours=_there(deltas.get((name, "neighbours")), link.neighbours))
        elif link is not None and (less := _unmanaged(link, attribute)) is not None:
            links[name] = less
            if attribute == "up":  # the kernel takes no route over a link that is down (`fib_check_nh`)
                routes = _as_they_are(routes, name, deltas.get((name, "routes")))
        elif link is not None and isinstance(link.spec, Other | VlanIf | Vxlan | Wireguard):
            held.add(name)
        else:
            held |= {name, *(n for unit in plan.units if name in unit.links for n in unit.links)}
    kept = {name: link for name, link in links.items() if name not in held}
    routes = frozenset(route for route in routes if route.dev not in held)
    left = replace(state, links=kept, routes=routes, rules=rules, sysctls=sysctls, filters=filters, policies=policies)
    return left, frozenset(held)


def _is_missing(delta: Delta | None) -> bool:
    return delta is not None and delta.have is None


def _as_they_are(wanted: frozenset[R], link: IfName, delta: Delta | None) -> frozenset[R]:
    """Routes or rules."""
    of_link = frozenset(one for one in wanted if _link_of(one) == link)
    return wanted - of_link | _there(delta, of_link)


def _link_of(one: Route | Rule) -> IfName | None:
    return one.dev if isinstance(one, Route) else one.link


def _there(delta: Delta | None, wanted: frozenset[T]) -> frozenset[T]:
    """What was seen, where that differs."""
    if delta is None:
        return wanted
    return delta.have if isinstance(delta.have, frozenset) else frozenset()


def _unmanaged(link: Link, attribute: str) -> Link | None:
    """None: it is no attribute that could be left out."""
    if attribute in _PLAIN:
        return replace(link, **{attribute: None})  # type: ignore[arg-type]
    if attribute.startswith(SETTING):
        key = attribute.removeprefix(SETTING)
        return replace(link, settings={k: v for k, v in link.settings.items() if k != key})
    kind, _, option = attribute.partition(".")
    if kind in ("port", "flags") and (part := getattr(link, kind)) is not None:
        return replace(link, **{kind: replace(part, **{option: None})})
    if option and option != "mode" and isinstance(link.spec, Bond | Bridge) and kind == link.kind:
        return replace(link, spec=replace(link.spec, **{option: None}))  # type: ignore[arg-type]
    return None


def repairable(unit: Unit) -> bool:
    """Whether a part of the unit makes sense without the rest: all of it is there, and only attributes differ."""
    return bool(unit.refusals) and all(
        d.field not in ("link", "master") and d.change is Change.LIVE for d in unit.deltas
    )


def by_weight(unit: Unit) -> tuple[Conceded, ...]:
    """The differences of a unit, those first that are most likely refused: how this host is reached."""
    ordered = sorted(unit.deltas, key=lambda d: (d.field not in _LAST, d.field))
    return tuple((d.link, d.field) for d in ordered)[:TRIES]
