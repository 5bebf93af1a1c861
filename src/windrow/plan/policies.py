"""The table of network policies: what differs, in words, and the one step that sets it right, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from windrow.model.bonding import Change
from windrow.model.names import MGMT
from windrow.model.ruletable import FORGED, JUDGED, POLICY_TABLE, TAGGED, VERDICT_MAP, WAITING, RuleTable, TableChain
from windrow.model.steps import Delta, Impact, Phase, SetPolicies, Step, Unit
from windrow.model.values import Ref

POLICIES = "policies."
"""Before what differs, in the name of a delta's field."""
_ALL = Ref("NetworkPolicy", "*")
_OVERLAY = Ref("ClusterNetwork", MGMT)
_NAMED = 8
"""So many things are named of a kind; there may be thousands."""


def policy_unit(want: RuleTable | None, have: RuleTable | None, links: Collection[str] = ()) -> Unit:
    """None: not managed, or not looked at. `links`: those that are there."""
    if want is None or have is None or want == have:
        return Unit(links=())
    impact, note = _price(want, have, links)
    why = _ALL if want.judges or have.judges else _OVERLAY
    step = Step(phase=Phase.OPTIONS, link=POLICY_TABLE, action=SetPolicies(want), why=why, impact=impact, note=note)
    return Unit(links=(POLICY_TABLE,), deltas=tuple(_deltas(want, have, why)), steps=(step,))


def _price(want: RuleTable, have: RuleTable, links: Collection[str]) -> tuple[Impact, str]:
    """A port that was open and is isolated now, and a rule less at one that was isolated already. What a label changes
    is members of sets, which come and go with pods. A port that was judged, is there and is not judged any more passes
    nothing at all from now on, and its connections end."""
    if unjudged := sorted((have.judged - want.judged) & set(links)) if want.judges else []:
        return Impact.OUTAGE, f"closes {_named(unjudged)} until it is known whose that is; open connections end"
    closed = [chain for port, chain in want.guarded - have.guarded if not have.judges or port in have.judged]
    fewer = any(
        name in want.chains and not _said(have.chains[name]) <= _said(want.chains[name])
        for name in _policy_chains(have)
    )
    if not closed and not fewer:
        return Impact.HITLESS, ""
    ways = _named(chain.replace("-", " ", 1) for chain in closed)
    what = f"closes {ways}, except for what policies let through" if closed else "policies let less through"
    if not have.judges:
        return (
            Impact.OUTAGE,
            f"{what}; open connections are judged, too: the kernel has not tracked them so far",
        )
    return Impact.OUTAGE, f"{what}; open connections go on"


def _said(chain: TableChain) -> set[str]:
    return {rule.comment for rule in chain.rules}


def _deltas(want: RuleTable, have: RuleTable, why: Ref) -> Iterator[Delta]:
    seen = False
    for what, words in (
        ("ports", _ports),
        ("guards", _own),
        ("judged", _judged),
        ("rules", _rules),
        ("members", _members),
    ):
        before, after = words(have, want), words(want, have)
        if before != after:
            seen = True
            yield _delta(what, before, after, why)
    if not seen:
        yield _delta("table", "changed", "as it was made", why)


def _delta(what: str, have: str, want: str, why: Ref) -> Delta:
    return Delta(link=POLICY_TABLE, field=POLICIES + what, have=have, want=want, change=Change.LIVE, why=why)


def _ports(table: RuleTable, other: RuleTable) -> str:
    """Which ways are guarded: `to veth1`, `from veth1`."""
    return _named(chain.replace("-", " ", 1) for chain in _port_chains(table) - _port_chains(other))


def _port_chains(table: RuleTable) -> set[str]:
    """Those that the maps lead to."""
    return {chain for _, chain in table.guarded}


def _policy_chains(table: RuleTable) -> set[str]:
    """Those of policies. What leads to them is the same for all."""
    around = _port_chains(table) | {chain for _, chain in table.own}
    return {n for n, one in table.chains.items() if not one.hook and n not in around and not n.startswith(WAITING)}


def _own(table: RuleTable, other: RuleTable) -> str:
    """What ports ask for themselves: `veth1: no DHCP server`."""
    differ = (
        (port, table.chains[chain]) for port, chain in table.own if table.chains[chain] != other.chains.get(chain)
    )
    return _named({f"{port}: {rule.comment.rpartition(' ')[0]}" for port, chain in differ for rule in chain.rules})


def _judged(table: RuleTable, other: RuleTable) -> str:
    """Those that are not are closed."""
    return _named(table.judged - other.judged)


def _rules(table: RuleTable, other: RuleTable) -> str:
    """Of policies, and against forged packets."""
    named = _policy_chains(table) | ({FORGED, TAGGED} & table.chains.keys())
    differ = (table.chains[name] for name in named if other.chains.get(name) != table.chains[name])
    return _named({rule.comment.rpartition(" ")[0] for chain in differ for rule in chain.rules} - {""})


def _members(table: RuleTable, other: RuleTable) -> str:
    """Of the sets that are in both."""
    both = [
        name for name, one in table.sets.items() if name in other.sets and one.form != VERDICT_MAP and name != JUDGED
    ]
    return _named({member for name in both for member in table.sets[name].members - other.sets[name].members})


def _named(words: Iterable[str]) -> str:
    found = sorted(words)
    more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return ", ".join([*found[:_NAMED], *more])
