"""Rules of the packet filter that name links: whoever made them meant a NIC, and the NIC's traffic is to come in by
another link.

Read are iptables in both variants (`iptables-save`) and nft's own rules (`nft -j list ruleset`), of the network
namespace of the calling thread. A program that is not there, or that this kernel has nothing for, tells of no rules.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from shutil import which
from typing import Any

from windrow.model.lazy import dataclass
from windrow.services.errors import ServiceError
from windrow.services.process import run

LEGACY = (
    ("/proc/net/ip_tables_names", "iptables-legacy-save", "iptables-save"),
    ("/proc/net/ip6_tables_names", "ip6tables-legacy-save", "ip6tables-save"),
)
"""Where the kernel names the tables of legacy iptables that this network namespace has, and who prints them: the second
where there is no first, as in distributions that know one variant."""
NFT = ("nft", "-j", "list", "ruleset")
"""It prints what iptables made by way of nftables, too."""
BY_NFT = ("iptables-save", "ip6tables-save")
"""Who prints that where nft is not installed."""
PATIENCE_S = 5.0
MOST = 64 * 1024 * 1024
"""A text beyond that is not read: a rule set of that size is generated, and by something that knows of the change."""
_BY_NAME = ("-i", "-o", "--in-interface", "--out-interface")
_META = frozenset({"iif", "iifname", "oif", "oifname"})


@dataclass(frozen=True, slots=True)
class FilterRule:
    """`text`: the rule as its program writes it."""

    program: str
    nic: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`unread`: program -> why it told nothing."""

    rules: tuple[FilterRule, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    read: tuple[str, ...] = ()


def firewall_rules_naming(nics: Collection[str]) -> Reading:
    """Every rule that is for one of these NICs alone. Raises nothing: who cannot be asked is named in `unread`."""
    reader = _Reader(nics)
    if not nics:
        return Reading()
    for tables, *programs in LEGACY:
        if _has_text(tables):
            next((program for program in programs if reader.ask((program,))), None)
    if not reader.ask(NFT) and not which(NFT[0]):
        for program in BY_NFT:
            reader.ask((program,))
    return Reading(rules=tuple(reader.rules.values()), unread=tuple(reader.unread), read=tuple(reader.read))


class _Reader:
    def __init__(self, nics: Collection[str]) -> None:
        self._nics = nics
        self.rules: dict[tuple[str, str], FilterRule] = {}
        self.unread: list[tuple[str, str]] = []
        self.read: list[str] = []

    def ask(self, argv: tuple[str, ...]) -> bool:
        """Whether it told, be it that this kernel has nothing of the kind."""
        try:
            text = run(argv, timeout_s=PATIENCE_S)[:MOST]
            found = list(from_nft(text, self._nics) if argv == NFT else from_save(argv[0], text, self._nics))
        except (ServiceError, ValueError) as error:
            if "not supported" not in str(error):  # EPROTONOSUPPORT, EOPNOTSUPP: no nf_tables
                self.unread.append((argv[0], str(error)))
                return False
            found = []
        self.read.append(argv[0])
        for rule in found:
            self.rules.setdefault((rule.nic, rule.text), rule)
        return True


def _has_text(path: str) -> bool:
    """A file of /proc/net, of the calling thread's network namespace; none: the module is not loaded."""
    try:
        return bool(Path(path.replace("/proc/net", "/proc/thread-self/net")).read_text(encoding="ascii").strip())
    except OSError:
        return False


def from_save(program: str, text: str, nics: Collection[str]) -> Iterator[FilterRule]:
    """Of the lines `-A CHAIN …` of iptables-save(8) those with `-i NIC` or `-o NIC`; `eth+` is all names that begin so.

    `! -i NIC` is for all others: it will be for this traffic, too, and so it counts.
    """
    for line in text.splitlines():
        words = _words(line)
        if words[:1] != ["-A"]:
            continue
        for option, name in pairwise(words):
            if option in _BY_NAME:
                yield from (FilterRule(program, nic, line) for nic in nics if _names(name, nic, "+"))


def _words(line: str) -> list[str]:
    """A comment may have any quotes in it."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _names(pattern: str, nic: str, wildcard: str) -> bool:
    return nic.startswith(pattern[:-1]) if pattern.endswith(wildcard) and pattern != wildcard else pattern == nic


def from_nft(text: str, nics: Collection[str]) -> Iterator[FilterRule]:
    """Of the rules those whose `iif`, `iifname`, `oif` or `oifname` is a NIC, a set that has it, or a pattern (`eth*`).
    Raises ValueError for what is no answer of nft."""
    document = json.loads(text)
    entries = document.get("nftables") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("this is no rule set of nft")
    named = [found for entry in entries if (found := _part(entry, "set") or _part(entry, "map"))]
    sets = {(*_table(one), one.get("name")): one.get("elem", []) for one in named}
    for rule in (found for entry in entries if (found := _part(entry, "rule"))):
        if rule.get("family") == "netdev":
            continue  # its chains hang on the NIC itself, which they stay with
        said = [name for one in rule.get("expr", []) for name in _link_names(one, sets, _table(rule))]
        where = f"{rule.get('family')} {rule.get('table')} {rule.get('chain')} handle {rule.get('handle')}"
        for nic in nics:
            pattern = next((name for name in said if _names(name, nic, "*")), None)
            if pattern is not None:
                yield FilterRule("nft", nic, f"{where}: {pattern}")


def _part(entry: Any, name: str) -> dict[str, Any]:
    found = entry.get(name) if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def _table(entry: dict[str, Any]) -> tuple[Any, Any]:
    """Each family has tables of its own, and `filter` is in most of them."""
    return entry.get("family"), entry.get("table")


def _link_names(expression: Any, sets: dict[Any, Any], table: tuple[Any, Any]) -> Iterator[str]:
    """The names that an expression compares a link with; also in a verdict map (`iifname vmap { … }`)."""
    match, vmap = _part(expression, "match"), _part(expression, "vmap")
    left, right = (match.get("left"), match.get("right")) if match else (vmap.get("key"), vmap.get("data"))
    if not _asks_for_link(left):
        return
    if isinstance(right, str) and right.startswith("@"):
        right = sets.get((*table, right[1:]), [])
    yield from _texts(right)


def _asks_for_link(left: Any) -> bool:
    if _part(left, "meta").get("key") in _META:
        return True
    parts = left.get("concat") if isinstance(left, dict) else None
    return isinstance(parts, list) and any(_asks_for_link(part) for part in parts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
