"""Are the rules of ports as they were made? From one listing of each table, whatever the number of ports.

A rule set counts as whole where it is exactly what `port.firewall` makes, hangs on its hook, and no rule of others in
front of it lets the traffic past. What is found in place of it is said in words.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from windrow.model.filters import MASQUERADE, NFTABLES, SPOOF, Filters, PortFilter
from windrow.model.lazy import dataclass
from windrow.model.values import IfName
from windrow.port import firewall
from windrow.port.identity import host_end
from windrow.port.result import family_of

NFT_SPOOF = (NFTABLES, "bridge", "nat")
NFT_MASQUERADE = (NFTABLES, "inet", "cni_plugins_masquerade")
TABLES = (NFT_SPOOF[1:], NFT_MASQUERADE[1:])
"""nft's tables with rules of ports, by family and name."""
Listing = tuple[str, ...]
"""A table to be listed: one of nft's by family and name, or `nat` by iptables' variant and the version of IP."""
_NOTHING_THERE = "there are no rules"
_BEHIND = "a rule of others in front of it lets everything past: {}"


def listings(filters: Iterable[PortFilter]) -> frozenset[Listing]:
    """Those that say all about these."""
    found: set[Listing] = set()
    for one in filters:
        if one.mac:
            found.add(NFT_SPOOF)
        if one.masquerade and one.backend == NFTABLES:
            found.add(NFT_MASQUERADE)
        elif one.masquerade:
            found |= {(one.backend, family_of(address)) for address in one.masquerade}
    return frozenset(found)


def seen(wanted: Filters, texts: Mapping[Listing, str]) -> dict[IfName, PortFilter]:
    """`texts`: of each listing that could be read, empty where there is no such table. A port of which one is missing
    is left out. Raises ValueError: it is no listing."""
    tables = {of: read_nft(text) for of, text in texts.items() if of[0] == NFTABLES}
    saved = {of: read_saved(text) for of, text in texts.items() if of[0] != NFTABLES}
    found: dict[IfName, PortFilter] = {}
    for port, want in wanted.items():
        if not listings([want]) <= texts.keys():
            continue
        faults: dict[str, str] = {}
        if want.mac and (fault := _spoofing(tables[NFT_SPOOF], port, want)):
            faults[SPOOF] = fault
        if want.masquerade and (fault := _masquerading(want, tables, saved)):
            faults[MASQUERADE] = fault
        found[port] = PortFilter(
            container_id=want.container_id,
            ifname=want.ifname,
            network=want.network,
            mac=None if SPOOF in faults else want.mac,
            masquerade=() if MASQUERADE in faults else want.masquerade,
            backend=want.backend,
            faults={part: "" if fault == _NOTHING_THERE else fault for part, fault in faults.items()},
        )
    return found


def _masquerading(want: PortFilter, tables: Mapping[Listing, Table], saved: Mapping[Listing, Saved]) -> str:
    if want.backend == NFTABLES:
        return _masquerading_nft(tables[NFT_MASQUERADE], want)
    programs = firewall.iptables_programs(want.network, want.container_id, want.masquerade)
    faults = (_masquerading_saved(saved[want.backend, version], want, text) for version, text in programs.items())
    return next(filter(None, faults), "")


def left_over(text: str, known: Iterable[tuple[str, str]], links: Iterable[str]) -> dict[IfName, PortFilter]:
    """From the listing NFT_SPOOF: rules for ports of ours that are gone, and of which nobody knows any more.

    `known`: attachments that have a record; `links`: all links there are. Another plugin's rules look the same, but
    for the port: ours is named after its attachment. Raises ValueError.
    """
    attachments, there = frozenset(known), frozenset(links)
    found: dict[IfName, PortFilter] = {}
    for rule in read_nft(text).rules(firewall.SPOOF_CHAIN[2]):
        port = _arriving_by(rule)
        if port is None or port in there:
            continue
        for owner in _owners(rule.comment):
            if host_end(*owner) == port and owner not in attachments:
                found[IfName(port)] = PortFilter(container_id=owner[0], ifname=owner[1])
    return found


def _owners(comment: str) -> Iterator[tuple[str, str]]:
    """`macspoofchk-<container id>-<ifname>`: either may have hyphens in it, so all ways to read it."""
    prefix = firewall.spoof_comment("", "")[:-1]
    if comment.startswith(prefix):
        parts = comment.removeprefix(prefix).split("-")
        for at in range(1, len(parts)):
            yield "-".join(parts[:at]), "-".join(parts[at:])


# nftables -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NftRule:
    handle: int
    comment: str
    expr: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`hooks`: the chains that hang on a hook, as (type, hook). `places`: chain and comment, up to a comma -> where in
    its chain each such rule is; `ends`: chain -> where those are that nothing, or not everything, gets behind."""

    chains: Mapping[str, Sequence[NftRule]]
    hooks: Mapping[str, tuple[str, str]]
    places: Mapping[tuple[str, str], Sequence[int]]
    ends: Mapping[str, Sequence[int]]

    def rules(self, chain: str) -> Sequence[NftRule]:
        return self.chains.get(chain, ())

    def marked(self, chain: str, comment: str) -> Iterator[tuple[int, NftRule]]:
        """The rules whose comment begins with this, up to a comma, and their places."""
        for place in self.places.get((chain, comment.partition(",")[0]), ()):
            if (rule := self.chains[chain][place]).comment.startswith(comment):
                yield place, rule


@lru_cache(maxsize=2)
def read_nft(text: str) -> Table:
    """From `nft -j list table`; an empty text is an empty table. Raises ValueError."""
    chains: dict[str, list[NftRule]] = {}
    hooks: dict[str, tuple[str, str]] = {}
    places: dict[tuple[str, str], list[int]] = {}
    ends: dict[str, list[int]] = {}
    try:
        for item in json.loads(text)["nftables"] if text else ():
            if chain := item.get("chain"):
                chains.setdefault(chain["name"], [])
                if "hook" in chain:
                    hooks[chain["name"]] = str(chain.get("type")), str(chain["hook"])
            elif rule := item.get("rule"):
                one = NftRule(handle=rule["handle"], comment=str(rule.get("comment", "")), expr=rule["expr"])
                rules = chains.setdefault(rule["chain"], [])
                places.setdefault((rule["chain"], one.comment.partition(",")[0]), []).append(len(rules))
                if any(word in part for part in one.expr if isinstance(part, dict) for word in _ENDS):
                    ends.setdefault(rule["chain"], []).append(len(rules))
                rules.append(one)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no listing of nft: {error!r}") from error
    return Table(chains=chains, hooks=hooks, places=places, ends=ends)


def _spoofing(table: Table, port: IfName, want: PortFilter) -> str:
    """What is wrong; empty: nothing."""
    base = firewall.SPOOF_CHAIN[2]
    first, second = firewall.spoof_chains(*want.owner)
    jump, *inner = firewall.spoof_rules(*want.owner, port=port, mac=str(want.mac))
    jumps = [(at, rule) for at, rule in table.marked(base, jump.comment) if rule.comment == jump.comment]
    if not jumps and not any(table.rules(chain) for chain in (first, second)):
        return _NOTHING_THERE
    if table.hooks.get(base) != ("filter", "prerouting"):
        return f"its chain {base} does not hang on the hook prerouting"
    for chain in (first, second):
        if [rule.expr for rule in table.rules(chain)] != [list(rule.expr) for rule in inner if rule.chain == chain]:
            return f"chain {chain} has other rules"
    leading = next((at for at, rule in jumps if rule.expr == list(jump.expr)), None)
    if leading is None:
        return f"nothing leads to it from {base}"
    rules = table.rules(base)
    before = (rules[at] for at in table.ends.get(base, ()) if at < leading)
    past = next((rule for rule in before if _asks_no_more(rule, port)), None)
    return _BEHIND.format(f"{base} handle {past.handle}") if past is not None else ""


_ENDS = ("accept", "goto", "return", "queue")
"""Verdicts after which nothing further down in the chain is looked at, and that drop nothing."""


def _asks_no_more(rule: NftRule, port: str) -> bool:
    """Whether such a rule is for all that comes in by the port; one that asks for more is left to whoever wrote it."""
    asks = any("match" in part for part in rule.expr if isinstance(part, dict))
    return not asks or _arriving_by(rule) == port


def _arriving_by(rule: NftRule) -> str | None:
    """The port of a rule that asks for it first."""
    match = rule.expr[0].get("match") if rule.expr and isinstance(rule.expr[0], dict) else None
    if not isinstance(match, dict) or match.get("left") != {"meta": {"key": "iifname"}} or match.get("op") != "==":
        return None
    return match["right"] if isinstance(match.get("right"), str) else None


def _masquerading_nft(table: Table, want: PortFilter) -> str:
    start = firewall.masquerade_id(want.network, *want.owner)
    found = [list(rule.expr) for _, rule in table.marked("masq_checks", start)]
    if not found:
        return _NOTHING_THERE
    expected = [_masquerade(address) for address in want.masquerade]
    if sorted(map(json.dumps, found)) != sorted(map(json.dumps, expected)):
        return "they are for other addresses"
    if table.hooks.get("postrouting") != ("nat", "postrouting"):
        return "its chain postrouting does not hang on the hook postrouting"
    if [list(rule.expr) for rule in table.rules("postrouting")] != _POSTROUTING:
        return "nothing leads to them from postrouting, or not everything"
    return ""


def _field(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def _match(left: object, right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def _prefix(network: str) -> dict[str, Any]:
    address, _, length = network.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def _masquerade(address: str) -> list[Any]:
    ((ip, own, subnet),) = firewall.split([address])
    single = int(subnet.partition("/")[2]) == (32 if ip == "ip" else 128)
    there = subnet.partition("/")[0] if single else _prefix(subnet)
    return [_match(_field(ip, "saddr"), own), _match(_field(ip, "daddr"), there, "!="), {"masquerade": None}]


_POSTROUTING: list[list[Any]] = [
    [_match(_field("ip", "daddr"), _prefix("224.0.0.0/4")), {"return": None}],
    [_match(_field("ip6", "daddr"), _prefix("ff00::/8")), {"return": None}],
    [{"goto": {"target": "masq_checks"}}],
]


# iptables -------------------------------------------------------------------------------------------

Words = tuple[str, ...]
_LAST = "POSTROUTING"
_COMMENT = re.compile(r' -m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Table `nat`: chain -> its rules in order, each without its comment. `jumps`: the lines of those in
    POSTROUTING."""

    chains: Mapping[str, Sequence[Words]]
    jumps: Mapping[Words, Sequence[str]]


@lru_cache(maxsize=4)
def read_saved(text: str) -> Saved:
    """From `iptables-save -t nat`."""
    return _parsed(text)


def _parsed(text: str) -> Saved:
    """The same, also from a text for `iptables-restore`."""
    chains: dict[str, list[Words]] = {}
    jumps: dict[Words, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            chains.setdefault(line[1:].partition(" ")[0], [])
        elif line.startswith("-A "):
            _, chain, *rest = _COMMENT.sub("", line).split()
            words = tuple(rest)
            chains.setdefault(chain, []).append(words)
            if chain == _LAST:
                jumps.setdefault(words, []).append(line)
    return Saved(chains=chains, jumps=jumps)


def _masquerading_saved(saved: Saved, want: PortFilter, program: str) -> str:
    chain = firewall.iptables_chain(want.network, want.container_id)
    expected = _parsed(program).chains
    sources = dict(_sources(expected[_LAST]))
    jumps = {source: ("-s", network, "-j", chain) for source, network in sources.items()}
    if not saved.chains.get(chain) and not any(jump in saved.jumps for jump in jumps.values()):
        return _NOTHING_THERE
    if list(saved.chains.get(chain, ())) != expected[chain]:
        return f"chain {chain} has other rules"
    for source, jump in jumps.items():
        if jump not in saved.jumps:
            return f"nothing leads to it from {_LAST} for {source}"
        for words in itertools.takewhile(lambda words, jump=jump: words != jump, saved.jumps):  # type: ignore[misc]
            if not words[-1].startswith("CNI-") and _takes_all(words, source):
                return _BEHIND.format(f"-A {_LAST} {' '.join(words)}")
    return ""


def _sources(jumps: Iterable[Words]) -> Iterator[tuple[str, str]]:
    """(address, as iptables-save prints it)."""
    for words in jumps:
        source = words[words.index("-s") + 1]
        yield source, f"{source}/{128 if ':' in source else 32}"


def _takes_all(words: Words, source: str) -> bool:
    """Whether nothing from this address gets behind this rule; one that asks for more is left to whoever wrote it."""
    if words[-2:-1] != ("-j",) or words[-1] not in ("ACCEPT", "RETURN"):
        return False
    asked = words[:-2]
    return not asked or (len(asked) == 2 and asked[0] == "-s" and _holds(asked[1], source))


def _holds(network: str, address: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


# Made anew ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """`nft`: for `nft -j -f`; `nft_text`: for `nft -f`; `iptables`: (variant, version) -> for `iptables-restore
    --noflush`. Empty: nothing to do."""

    nft: str = ""
    nft_text: str = ""
    iptables: Mapping[Listing, str]


Parts = Mapping[IfName, tuple[PortFilter, Sequence[str]]]


def repair(wanted: Parts, gone: Iterable[PortFilter], texts: Mapping[Listing, str]) -> Repair:
    """Programs that make these parts of filters anew, and take those of ports that are `gone` away; from what the
    listings say now. Raises ValueError, KeyError: a listing is missing."""
    commands: list[Mapping[str, Any]] = []
    lines: list[str] = []
    restores: dict[Listing, list[str]] = {}
    saved = {of: read_saved(text) for of, text in texts.items() if of[0] != NFTABLES}
    spoof = read_nft(texts.get(NFT_SPOOF, ""))
    masquerade = read_nft(texts.get(NFT_MASQUERADE, ""))
    for port, (want, parts) in wanted.items():
        if SPOOF in parts:
            commands += firewall.spoof_deletions(_handles(spoof, firewall.spoof_comment(*want.owner)))
            commands += firewall.spoof_commands(*want.owner, port=port, mac=str(want.mac))
        if MASQUERADE in parts and want.backend == NFTABLES:
            lines.append(_masquerade_anew(masquerade, want))
        elif MASQUERADE in parts:
            programs = firewall.iptables_programs(want.network, want.container_id, want.masquerade)
            for version, program in programs.items():
                of = (want.backend, version)
                restores.setdefault(of, []).extend(_restore_anew(saved[of], want, program))
    for one in gone:
        commands += firewall.spoof_deletions(_handles(spoof, firewall.spoof_comment(*one.owner)))
        commands += firewall.spoof_chain_removal(*one.owner)
    return Repair(
        nft=firewall.program(*commands) if commands else "",
        nft_text="".join(lines),
        iptables={of: "\n".join(["*nat", *rest, "COMMIT"]) + "\n" for of, rest in restores.items()},
    )


def _handles(table: Table, comment: str) -> list[int]:
    marked = table.marked(firewall.SPOOF_CHAIN[2], comment)
    return [rule.handle for _, rule in marked if rule.comment == comment]


def _masquerade_anew(table: Table, want: PortFilter) -> str:
    start = firewall.masquerade_id(want.network, *want.owner)
    old = [rule.handle for _, rule in table.marked("masq_checks", start)]
    where = " ".join(firewall.MASQUERADE_CHAIN)
    deletions = "".join(f"delete rule {where} handle {handle}\n" for handle in old)
    return deletions + firewall.masquerade_program(want.network, *want.owner, want.masquerade)


def _restore_anew(saved: Saved, want: PortFilter, program: str) -> Iterator[str]:
    """The old jumps go; the chain is emptied by its declaration. In front of all others where one of these lets
    everything past. Another interface of the container in the same network shares the chain, and keeps its jumps."""
    chain = firewall.iptables_chain(want.network, want.container_id)
    sources = dict(_sources(_parsed(program).chains[_LAST]))
    others = [words for words in saved.jumps if not words[-1].startswith("CNI-")]
    behind = any(_takes_all(words, source) for words in others for source in sources)
    for network in sources.values():
        for line in saved.jumps.get(("-s", network, "-j", chain), ()):
            yield line.replace("-A", "-D", 1)
    for line in program.splitlines():
        if line not in ("*nat", "COMMIT"):
            yield line.replace("-A POSTROUTING", "-I POSTROUTING", 1) if behind else line
