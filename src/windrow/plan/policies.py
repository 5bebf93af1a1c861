"""The table of network policies: what differs, in words, and the one step that sets it right, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from windrow.model.bonding import Change
from windrow.model.names import MGMT
from windrow.model.ruletable import FORGED, JUDGED, POLICY_TABLE, VERDICT_MAP, WAITING, RuleTable, TableChain
from windrow.model.steps import Delta, Impact, Phase, SetPolicies, Step, Unit
from windrow.model.values import Ref

POLICIES = "policies."
"""Before what differs, in the name of a delta's field."""
_ALL = Ref("NetworkPolicy", "*")
_OVERLAY = Ref("ClusterNetwork", MGMT)
_NAMED = 8
"""So many things are named of a kind; there may be thousands."""


def policy_unit(want: RuleTable | None, have: RuleTable | None) -> Unit:
    """None: not managed, or not looked at."""
    if want is None or have is None or want == have:
        return Unit(links=())
    impact, note = _price(want, have)
    why = _ALL if want.judges or have.judges else _OVERLAY
    step = Step(phase=Phase.OPTIONS, link=POLICY_TABLE, action=SetPolicies(want), why=why, impact=impact, note=note)
    return Unit(links=(POLICY_TABLE,), deltas=tuple(replace(d, why=why) for d in _deltas(want, have)), steps=(step,))


def _price(want: RuleTable, have: RuleTable) -> tuple[Impact, str]:
    """A port that was open and is isolated now, and a rule less at one that was isolated already. What a label changes
    is members of sets, which come and go with pods."""
    closed = [chain for port, chain in want.guarded - have.guarded if not have.judges or port in have.judged]
    fewer = any(
        name in want.chains and not _said(chain) <= _said(want.chains[name])
        for name, chain in have.chains.items()
        if not chain.hook and name not in _port_chains(have) | {one for _, one in have.own}
    )
    if not closed and not fewer:
        return Impact.HITLESS, ""
    ways = _named(chain.replace("-", " ", 1) for chain in closed)
    what = f"closes {ways}, but for what policies let through" if closed else "policies let less through"
    if not have.judges:
        return Impact.OUTAGE, f"{what}; connections that are there are judged, too, for nobody has noted them so far"
    return Impact.OUTAGE, f"{what}; connections that are there go on"


def _said(chain: TableChain) -> set[str]:
    return {rule.comment for rule in chain.rules}


def _deltas(want: RuleTable, have: RuleTable) -> Iterator[Delta]:
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
            yield _delta(what, before, after)
    if not seen:
        yield _delta("table", "changed", "as it was made")


def _delta(what: str, have: str, want: str) -> Delta:
    return Delta(link=POLICY_TABLE, field=POLICIES + what, have=have, want=want, change=Change.LIVE, why=_ALL)


def _ports(table: RuleTable, other: RuleTable) -> str:
    """Which ways are guarded: `to veth1`, `from veth1`."""
    return _named(chain.replace("-", " ", 1) for chain in _port_chains(table) - _port_chains(other))


def _port_chains(table: RuleTable) -> set[str]:
    """Those that the maps lead to."""
    return {chain for _, chain in table.guarded}


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
    """Of policies, and against forged packets. What leads to policies is the same for all."""
    around = _port_chains(table) | {chain for _, chain in table.own}
    around |= {n for n, chain in table.chains.items() if (chain.hook and n != FORGED) or n.startswith(WAITING)}
    differ = (n for n, chain in table.chains.items() if n not in around and other.chains.get(n) != chain)
    return _named({rule.comment.rpartition(" ")[0] for name in differ for rule in table.chains[name].rules} - {""})


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
