"""A table of the packet filter, wanted or as it was found: chains of rules and sets, in the JSON of nftables.

What a rule does is compared by its comment, which holds a digest of the rule as it was made, and by what it refers to
and decides: nft prints the rest in the words of its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.values import IfName

POLICY_TABLE = IfName("windrow-policy")
"""The table of network policies. In a plan it stands where the name of a link does: it is planned, fails and waits by
itself, as a link does."""
POLICY_FAMILY = "bridge"
"""nftables' family that it is of."""
FORGED = "forged"
"""The chain that drops packets of the overlay which no node has sent."""
TAGGED = "forged-behind-tags"
"""The chain that drops what FORGED cannot read."""
VERDICT_MAP = "map ifname verdict"
"""The `form` of a map from ports to chains."""
POLICY_MAPS, GUARD_MAPS = ("from-ports", "to-ports"), ("guards-from", "guards-to")
"""From ports to chains: of those that policies isolate, and of those with guards of their own; out of the pod, and
into it."""
NAMES = "set ifname"
"""The `form` of a set of names."""
JUDGED = "judged"
"""The set of ports that a round has judged by the policies. A port of a CNI call that is not in it is closed."""
BRIDGES = "bridges"
"""The set of bridges that show their frames to iptables: no set of ipset's, but a rule and an option of the bridge."""
WAITING = "waiting-"
"""Before the name of a hook's chain: what such a port lets pass."""
NAMESPACES = "namespaces"
"""The set of namespaces with policies (`member_of_namespace`): a port of a pod of another one need not wait."""
OWNED = "owned"
"""The set of the addresses of pods' ports, each with its port, of either family."""
KEPT = "kept"
"""The set of ports that nothing leaves from an address that is not theirs."""
ADDRESSLESS = "addressless"
"""The set of pods' ports whose addresses nobody knows."""
_NAME_MAX = 15
"""Of a name in a set (IFNAMSIZ)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """`refers`: the sets and chains in it, and its verdict, in their order."""

    comment: str = ""
    refers: tuple[str, ...] = ()
    expr: tuple[Any, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChain:
    """`hook`: `filter forward -150 accept`; empty for a chain that others jump to."""

    hook: str = ""
    rules: tuple[TableRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSet:
    """`form`: `set ipv4_addr`, `set ipv4_addr interval`, `set ipv4_addr . inet_service`, `set ipv4_addr . ifname`,
    NAMES, VERDICT_MAP. `members`: `10.0.0.1`, `10.0.0.0-10.0.0.9`, `10.0.0.1 . 80`, `10.0.0.1 . veth1`, `veth1`,
    `veth1 : in-veth1`."""

    form: str
    members: frozenset[str] = frozenset()


class Verb(StrEnum):
    """`create`: refused (EEXIST) where it is a member already; `delete`: refused (ENOENT) where it is none."""

    CREATE = "create"
    ADD = "add"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Of a set of NAMES."""

    verb: Verb
    set: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTable:
    """Nothing in it: there is no such table."""

    chains: Mapping[str, TableChain] = field(default_factory=dict)
    sets: Mapping[str, TableSet] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.chains and not self.sets

    @property
    def of_iptables(self) -> bool:
        """Whether it is for iptables and ipset, and not for nft."""
        return BRIDGES in self.sets

    @property
    def guarded(self) -> frozenset[tuple[str, str]]:
        """Port and chain: a port that policies isolate in both directions has two."""
        return self._entries(POLICY_MAPS)

    @property
    def own(self) -> frozenset[tuple[str, str]]:
        """The same of guards that ports ask for themselves."""
        return self._entries(GUARD_MAPS)

    def _entries(self, maps: tuple[str, ...]) -> frozenset[tuple[str, str]]:
        entries = (member.partition(" : ") for name in maps if name in self.sets for member in self.sets[name].members)
        return frozenset((port, chain) for port, _, chain in entries)

    @property
    def judges(self) -> bool:
        """Whether a port that no round has judged is closed by it. The overlay's rules alone close none."""
        return JUDGED in self.sets

    @property
    def judged(self) -> frozenset[str]:
        return self.sets[JUDGED].members if JUDGED in self.sets else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoliciesSeen:
    """`unread`: why the table could not be looked at; then it is None."""

    table: RuleTable | None = RuleTable()
    unread: str = ""


def member_of_namespace(name: str) -> str:
    """A namespace as a member of NAMESPACES. Where two are one by this, a port waits that would not have to."""
    if len(name) <= _NAME_MAX:
        return name
    from hashlib import sha256  # loads OpenSSL, and most names are short

    return sha256(name.encode(errors="surrogateescape")).hexdigest()[:_NAME_MAX]
