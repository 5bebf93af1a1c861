"""The rule set of a node for iptables and ipset, where the kernel has no nftables of the family bridge: as a table, as
it is read back, and as the programs that lead from one table to the next.

Only ports of bridges that route are judged here, as the default network's are: that one bridge shows its frames to
iptables (`nf_call_iptables`), and physdev tells the port that they come from or go to (`br_nf_forward_ip`). Chains are
in the table `security`: it comes after all others in FORWARD, so what passes here has passed other people's rules, and
what these accept has not passed here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.policies import Direction
from windrow.model.policyrules import GuardedPort, Members, MemberSet, PacketRule, PolicyRules, set_name
from windrow.model.ruletable import (
    BRIDGES,
    JUDGED,
    NAMES,
    POLICY_MAPS,
    VERDICT_MAP,
    WAITING,
    RuleTable,
    TableChain,
    TableRule,
    TableSet,
)
from windrow.model.values import IfName
from windrow.policy.nft import LABELS, TURNS, UPKEEP, WAYS, port_chain

FAMILIES = (4, 6)
TABLE = "security"
PREFIX = "windrow-"
"""Of our chains (28 characters at most, XT_EXTENSION_MAXNAMELEN) and sets (31, IPSET_MAXNAMELEN)."""
FIRST = "forward"
"""The chain that FORWARD begins with."""
_PORTS = "veth+"
"""All ports that a CNI call makes are called so (`port.identity.host_end`); iptables sees no group of a port."""
_BASES = (FIRST, "leaving", "arrive", "arriving", "arriving-by-host")
"""The chains that are there in any case."""
_BASE = f"{TABLE} FORWARD"
"""Their `TableChain.hook`; that of FIRST where FORWARD begins with it."""
_JUMP = f"-j {PREFIX}{FIRST}"
_OUT, _IN = POLICY_MAPS
_ENDS = {Direction.EGRESS: "dst", Direction.INGRESS: "src"}
"""Direction -> where the address at the other end is."""
_OWN = {Direction.EGRESS: "-s", Direction.INGRESS: "-d"}
"""Direction -> what asks for the address of the port's own end."""
_OWN_END = tuple(f"ct{word}src" for word in ("orig", "repl"))
"""What asks for the address of that end, if it began the connection, and if the other one did (`policy.nft`)."""
_PASSES = {Direction.EGRESS: f"-g {PREFIX}arrive", Direction.INGRESS: "-j ACCEPT"}
"""What lets a pod send has its receiver still to ask."""
_ICMP = {4: "icmp", 6: "ipv6-icmp"}
_OUT_BY, _IN_BY = "-m physdev --physdev-in {}", "-m physdev --physdev-out {} --physdev-is-bridged"
_BY = {"leaving": _OUT_BY, "let-from": _OUT_BY, "arriving": _IN_BY, "let-to": _IN_BY}
"""Chain -> what asks for the port there."""
_BEGINNING = 5
"""How many characters of a port's name tell the chain that it is in: `veth1`."""
_BY_NO_PORT = (
    ("by no port", f"-m physdev ! --physdev-is-in -g {PREFIX}{WAITING}leaving"),
    ("no pod's", f"-g {PREFIX}arrive"),
)
_NO_PODS = ("no pod's", "-j ACCEPT")
_FOREIGN, _FOR_ANOTHER = ("another's address", f"-g {PREFIX}arrive"), ("another's address", "-j ACCEPT")
"""In another one's name nothing is written down."""
_ROUTED = ("routed", f"-m physdev ! --physdev-is-bridged -g {PREFIX}label-to")
"""It was told by its address, then, whose it is."""
_NO_SENDERS = {4: ("0.0.0.0",), 6: ("::", "fe80::/10")}
"""By family: from these sends who has no address yet, or speaks on the link alone."""
_INET = {4: "inet", 6: "inet6"}
_KINDS = {Members.ADDRESSES: "hash:ip", Members.RANGES: "hash:net", Members.SOCKETS: "hash:ip,port"}
_NOBODYS = frozenset({"0.0.0.0", "::"})
"""Addresses that a set of them refuses (`hash_ip4_uadt`), and all that comes in the same program with them."""
_MAX_MEMBERS = 1 << 20
_QUOTES = "\"'\\"
"""iptables-save writes them with a backslash."""
_COMMENT = re.compile(r'--comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')
_NOTE_MAX = 200
"""Of a comment's 256 bytes (XT_MAX_COMMENT_LEN), the rest is for the digest."""


_Line = tuple[str, str]
"""A note, and the words of a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPort:
    """`addresses`: those behind it, of both families; what is routed goes to a port by its address."""

    bridge: IfName
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """In this order, each for `ipset restore` or, by version of IP, `iptables-restore --noflush`; empty: nothing to do.

    At no point between them does anything pass that passes neither before nor after: members only ever let something
    through, so those that go go before the rules change, and those that come come after."""

    sets_before: str = ""
    rules: Mapping[int, str]
    sets_after: str = ""


# The table ------------------------------------------------------------------------------------------


def table(rules: PolicyRules, ports: Mapping[IfName, RoutedPort], bridges: Collection[IfName]) -> RuleTable:
    """`ports`: those of the judged ones that can be judged here; `bridges`: where pods come. Empty: no policies."""
    if not rules.namespaces:
        return RuleTable()
    judged = [
        _Judged(
            name=port,
            addresses=ports[port].addresses,
            isolated=rules.ports[port].chains.keys() if port in rules.ports else (),
            kept=port in rules.kept,
        )
        for port in sorted(rules.judged)
        if port in ports
    ]
    chains = _base_chains(judged, sorted(bridges))
    for one in judged:
        for direction in one.isolated:
            chains[one.chain(direction)] = _of_port(one, rules.ports[one.name], direction)
    chains |= {
        name: _chain(line for rule in chain.rules for line in _packet_rule(rule, chain.direction))
        for name, chain in rules.chains.items()
    }
    protocols = {
        rule.sockets: rule.protocol.lower()
        for chain in rules.chains.values()
        for rule in chain.rules
        if rule.sockets and rule.protocol is not None
    }
    used = {word[1:] for chain in chains.values() for rule in chain.rules for word in rule.refers if word[:1] == "@"}
    sets = {n: _table_set(one, protocols.get(n, "")) for n, one in rules.sets.items() if n in used}
    for family in FAMILIES:
        opened = (one for one in judged if Direction.INGRESS not in one.isolated)
        there = frozenset(a for one in opened for a in one.of(family))
        found = MemberSet(kind=Members.ADDRESSES, family=family, members=there)
        sets[set_name("open", family)] = _table_set(found, "")
    return RuleTable(chains=chains, sets=sets | _told(judged, bridges))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A port that a round has judged. `isolated`: the directions in which policies are about it; `kept`: nothing leaves
    it from another address than these."""

    name: IfName
    addresses: tuple[str, ...]
    isolated: Collection[Direction]
    kept: bool

    def of(self, family: int) -> list[str]:
        return [one for one in self.addresses if _family(one) == family]

    def chain(self, direction: Direction) -> str:
        return port_chain(self.name, direction)


def _told(judged: Collection[_Judged], bridges: Iterable[str]) -> dict[str, TableSet]:
    """What rules say of ports and bridges, as sets: who reads a table looks for it there, whatever it is made of."""
    maps = {
        name: TableSet(
            form=VERDICT_MAP,
            members=frozenset(f"{one.name} : {one.chain(direction)}" for one in judged if direction in one.isolated),
        )
        for name, direction in ((_OUT, Direction.EGRESS), (_IN, Direction.INGRESS))
    }
    names = {JUDGED: [one.name for one in judged], BRIDGES: bridges}
    return maps | {name: TableSet(form=NAMES, members=frozenset(map(str, said))) for name, said in names.items()}


def _base_chains(judged: Collection[_Judged], bridges: Collection[str]) -> dict[str, TableChain]:
    """A frame goes from `leaving` by its port's chain to `arrive`, and there by the chain of the port that it is for;
    a port that is in none has not been judged."""
    out, into = Direction.EGRESS, Direction.INGRESS
    made = {
        FIRST: _both(lambda family: _first(family, bridges)),
        "arrive": _alike(*_arrive(bridges)),
        "arriving-by-host": _both(lambda family: _routed(family, judged)),
        **_by_name("leaving", judged, _leaving, _not_judged("leaving"), (_unjudged("leaving"), *_BY_NO_PORT)),
        **_by_name("arriving", judged, _arriving, _not_judged("arriving"), (_unjudged("arriving"), _NO_PODS)),
        **_by_name("let-from", _isolated(judged, out), partial(_let, out), _FOREIGN, (_FOREIGN,)),
        **_by_name("let-to", _isolated(judged, into), partial(_let, into), _FOR_ANOTHER, (_ROUTED, _FOR_ANOTHER)),
    }
    for direction in Direction:
        made[_chain_name("label", direction)] = _both(partial(_label, direction))
    made[_KNOWN] = _alike(*_known())
    made |= {f"{WAITING}{way}": _alike(("not judged yet", "-j DROP")) for way in ("leaving", "arriving")}
    return made | {name: replace(made[name], hook=_BASE) for name in _BASES}


def _both(lines: Callable[[int], Iterable[_Line]]) -> TableChain:
    return _chain((family, *line) for family in FAMILIES for line in lines(family))


def _alike(*lines: _Line) -> TableChain:
    return _both(lambda _: lines)


def _isolated(judged: Iterable[_Judged], direction: Direction) -> list[_Judged]:
    return [one for one in judged if direction in one.isolated]


def _by_name(
    base: str,
    ports: Iterable[_Judged],
    lines: Callable[[_Judged, int], Iterable[_Line]],
    end: _Line,
    ends: Sequence[_Line],
) -> dict[str, TableChain]:
    """Rules of ports, in a chain for each way in which their names begin: a packet passes few of them. `end`: of these
    chains; `ends`: of `base`, which leads there."""
    groups: dict[str, list[_Judged]] = {}
    for one in ports:
        groups.setdefault(one.name[:_BEGINNING] if len(one.name) > _BEGINNING else "", []).append(one)

    def of(start: str, family: int) -> list[_Line]:
        return [line for one in groups.get(start, ()) for line in lines(one, family)]

    named = sorted(groups.keys() - {""})
    by = _BY[base]
    ways = [("by name", f"{by.format(f'{start}+')} -g {PREFIX}{base}-{start}") for start in named]
    chains = {base: _both(lambda family: [*ways, *of("", family), *ends])}
    for start in named:
        chains[f"{base}-{start}"] = _chain((f, *line) for f in FAMILIES for line in (*of(start, f), end))
    return chains


def _first(family: int, bridges: Iterable[str]) -> Iterator[_Line]:
    if family == 6:
        for kind in UPKEEP[Direction.EGRESS]:  # from port to port: what is routed is no link's
            kinds = f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind}"
            yield "upkeep of the link", f"{kinds} -m physdev --physdev-is-bridged -j ACCEPT"
    for bridge in bridges:
        yield _from(bridge)
    yield "to a port", f"-g {PREFIX}arrive"


def _leaving(port: _Judged, family: int) -> Iterator[_Line]:
    by, isolated = _OUT_BY.format(port.name), Direction.EGRESS in port.isolated
    way = f"-g {PREFIX}{port.chain(Direction.EGRESS) if isolated else 'arrive'}"
    own = way if isolated else f"-g {PREFIX}{_chain_name('label', Direction.EGRESS)}"
    if port.kept or not isolated:
        yield from (("by port", f"-s {address} {by} {own}") for address in port.of(family))
    if port.kept:
        yield from (("by port", f"-s {nobodys} {by} {way}") for nobodys in _NO_SENDERS[family])
        yield "another's address", f"{by} -j DROP"
    else:
        yield "by port", f"{by} {way}"


def _arrive(bridges: Iterable[str]) -> Iterator[_Line]:
    for bridge in bridges:
        yield from _to(bridge)
    yield "to nobody here", "-j ACCEPT"


def _from(bridge: str) -> _Line:
    return "from a port", f"-i {bridge} -g {PREFIX}leaving"


def _to(bridge: str) -> tuple[_Line, _Line]:
    return (
        ("from port to port", f"-o {bridge} -m physdev --physdev-is-bridged -g {PREFIX}arriving"),
        ("routed", f"-o {bridge} -g {PREFIX}arriving-by-host"),
    )


def _arriving(port: _Judged, family: int) -> Iterator[_Line]:
    by = _IN_BY.format(port.name)
    if Direction.INGRESS in port.isolated:
        yield "by port", f"{by} -g {PREFIX}{port.chain(Direction.INGRESS)}"
        return
    label = f"-g {PREFIX}{_chain_name('label', Direction.INGRESS)}"
    yield from (("by port", f"-d {address} {by} {label}") for address in port.of(family))
    yield "by port", f"{by} -j ACCEPT"


def _routed(family: int, judged: Iterable[_Judged]) -> Iterator[_Line]:
    """The bridge has not chosen a port yet, so whoever has the address is asked."""
    yield "established", f"-m conntrack --ctstate ESTABLISHED -j {PREFIX}{_KNOWN}"
    label = f"-g {PREFIX}{_chain_name('label', Direction.INGRESS)}"
    yield "open", f"-m set --match-set {PREFIX}{set_name('open', family)} dst {label}"
    for port in _isolated(judged, Direction.INGRESS):
        for address in port.of(family):
            yield "by address", f"-d {address} -g {PREFIX}{port.chain(Direction.INGRESS)}"
    yield "not judged yet", f"-g {PREFIX}{WAITING}arriving"


def _not_judged(way: str) -> _Line:
    return "not judged yet", f"-g {PREFIX}{WAITING}{way}"


def _unjudged(way: str) -> _Line:
    note, words = _not_judged(way)
    return note, f"{_BY[way].format(_PORTS)} {words}"


# What is established: as `policy.nft` has it --------------------------------------------------------


_KNOWN = "known-to"
"""What is routed to a port and has passed it before: whose it is, the address of the packet has told."""


def _chain_name(what: str, direction: Direction) -> str:
    """`label-from`: writes down that the port has let it through; `let-from`: does so where the address is the port's
    own."""
    return f"{what}-{WAYS[direction]}"


def _known() -> Iterator[_Line]:
    for turn, label in zip(TURNS[Direction.INGRESS], LABELS, strict=True):
        yield "let through before", f"{_turn(turn)} -m connlabel --label {label} -j ACCEPT"


def _established(direction: Direction, address: str) -> Iterator[_Line]:
    """The address is the connection's and not the packet's: an ICMP error counts as a packet of the connection that it
    is about, and anybody sends one."""
    for turn, began, label in zip(TURNS[direction], _OWN_END, LABELS, strict=True):
        own = f"{_turn(turn)} --{began} {address} --ctstate RELATED,ESTABLISHED"
        yield "let through before", f"{own} -m connlabel --label {label} {_PASSES[direction]}"


def _label(direction: Direction, family: int) -> Iterator[_Line]:
    error = f"-p {_ICMP[family]} -m conntrack --ctstate RELATED"
    yield "an error lets nothing through", f"{error} {_PASSES[direction]}"
    for turn, label in zip(TURNS[direction], LABELS, strict=True):
        yield "let through", f"{_turn(turn)} -m connlabel --label {label} --set {_PASSES[direction]}"
    yield "no connection", _PASSES[direction]


def _turn(turn: str) -> str:
    return f"-m conntrack --ctdir {turn.upper()}"


def _let(direction: Direction, port: _Judged, family: int) -> Iterator[_Line]:
    by = _BY[_chain_name("let", direction)].format(port.name)
    label = f"-g {PREFIX}{_chain_name('label', direction)}"
    yield from (("let through", f"{_OWN[direction]} {one} {by} {label}") for one in port.of(family))


# Of policies ----------------------------------------------------------------------------------------


def _of_port(port: _Judged, guarded: GuardedPort, direction: Direction) -> TableChain:
    lines: list[tuple[int, str, str]] = []
    for family in FAMILIES:
        lines += [(family, *line) for one in port.of(family) for line in _established(direction, one)]
        lines += [(family, "", f"-j {PREFIX}{name}") for name in guarded.chains[direction]]
        if most := guarded.logged.get(direction):
            said = f"windrow {port.chain(direction)}: "  # 29 characters at most
            lines.append((family, "logged", f'-m limit --limit {most}/sec -j LOG --log-prefix "{said}"'))
        lines.append((family, "isolated", "-j DROP"))
    return _chain(lines)


def _packet_rule(rule: PacketRule, direction: Direction) -> Iterator[tuple[int, str, str]]:
    for family in (rule.family,) if rule.family else FAMILIES:
        words: list[str] = []
        if rule.peers:
            words.append(f"-m set --match-set {PREFIX}{rule.peers} {_ENDS[direction]}")
        if rule.protocol is not None:
            protocol = rule.protocol.lower()
            words.append(f"-p {protocol}")
            if rule.first:
                span = f"{rule.first}" if rule.first == rule.last else f"{rule.first}:{rule.last}"
                words.append(f"-m {protocol} --dport {span}")
            if rule.sockets:
                words.append(f"-m set --match-set {PREFIX}{rule.sockets} dst,dst")
        yield family, rule.note, " ".join([*words, f"-g {PREFIX}{_chain_name('let', direction)}"])


def _chain(lines: Iterable[tuple[int, str, str]], hook: str = "") -> TableChain:
    """(family, note, words) of each rule. Those of one family come together, as they are read."""
    found = sorted(lines, key=lambda line: line[0])
    return TableChain(hook=hook, rules=tuple(_rule(*line) for line in found))


def _rule(family: int, note: str, words: str) -> TableRule:
    from hashlib import sha256  # loads OpenSSL, and most hosts have no policies

    digest = sha256(f"{family} {words}".encode()).hexdigest()[:12]
    short = "".join(one for one in note if one not in _QUOTES).encode(errors="replace")[:_NOTE_MAX]
    return TableRule(
        comment=f"{short.decode(errors='ignore')} {digest}".strip(), refers=_refers(words.split()), expr=(family, words)
    )


def _refers(words: list[str]) -> tuple[str, ...]:
    """Sets, and the verdict."""
    found: list[str] = []
    for option, value in pairwise(words):
        if option == "--match-set":
            found.append(f"@{value.removeprefix(PREFIX)}")
        elif option in ("-j", "-g"):
            verb = "jump" if option == "-j" else "goto"
            found.append(f"{verb} {value.removeprefix(PREFIX)}" if value.startswith(PREFIX) else value.lower())
    return tuple(found)


def _table_set(one: MemberSet, protocol: str) -> TableSet:
    members: Iterable[str] = one.members - _NOBODYS
    if one.kind is Members.RANGES:
        members = (net for member in one.members for net in _nets(member))
    elif one.kind is Members.SOCKETS:
        members = (f"{address},{protocol}:{port}" for address, _, port in (m.partition(" . ") for m in one.members))
    return TableSet(form=f"{_KINDS[one.kind]} {_INET[one.family]}", members=frozenset(members))


def _nets(member: str) -> Iterator[str]:
    """`10.0.0.0-10.0.0.255` -> `10.0.0.0/24`. A set of networks takes none of length 0."""
    first, _, last = member.partition("-")
    for net in ipaddress.summarize_address_range(ipaddress.ip_address(first), ipaddress.ip_address(last)):
        yield from map(_short, net.subnets() if net.prefixlen == 0 else (net,))


def _short(net: Any) -> str:
    """As ipset writes it."""
    return str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)


def _family(address: str) -> int:
    return 6 if ":" in address else 4


# Reading it back ------------------------------------------------------------------------------------


def read(saved: Mapping[int, str], sets: str, hidden: Iterable[str] = ()) -> RuleTable:
    """From `iptables-save -c -t security` by version of IP, `ipset save`, and the bridges that are there and do not
    show their frames to both. Raises ValueError."""
    rules: dict[str, list[TableRule]] = {}
    declared: list[str] = []
    for family in FAMILIES:
        for chain, rule in _rules_of(family, saved.get(family, "")):
            of = rules.setdefault(chain, [])
            if rule is not None:
                of.append(rule)
            else:
                declared.append(chain)
    found = dict(_sets_of(sets))
    if not rules and not found:
        return RuleTable()
    hooks = dict.fromkeys(_BASES, _BASE)
    if not all(_leads_to_ours(saved.get(family, "")) for family in FAMILIES):
        hooks[FIRST] = f"{TABLE}, not first"
    hooks |= {name: "in one version only" for name in rules if declared.count(name) < len(FAMILIES)}
    chains = {name: TableChain(hook=hooks.get(name, ""), rules=tuple(of)) for name, of in rules.items()}
    return RuleTable(chains=chains, sets=found | _said_by(chains, frozenset(hidden)))


def _leads_to_ours(text: str) -> bool:
    """Once, and before any other rule: one that accepts would let everything past ours, and a jump with a condition all
    that does not meet it."""
    found = [_is_jump(line) for line in text.splitlines() if " -A FORWARD " in f" {line}"]
    return found[:1] == [True] and sum(found) == 1


def _rules_of(family: int, text: str) -> Iterator[tuple[str, TableRule | None]]:
    """Each chain of ours once by itself, and with each rule."""
    for line in text.splitlines():
        if line.startswith(f":{PREFIX}"):
            yield line[1:].partition(" ")[0].removeprefix(PREFIX), None
        elif f"-A {PREFIX}" in line:
            said = _COMMENT.search(line)
            comment = said[1] or said[2] if said is not None else ""
            counter, words = "", (line if said is None else line[: said.start()] + line[said.end() :]).split()
            if words[0].startswith("["):
                counter, *words = words
            packets = int(counter.strip("[]").partition(":")[0] or 0)
            expr = (family, " ".join(words[2:]), {"counter": {"packets": packets}})
            chain = words[1].removeprefix(PREFIX)
            yield chain, TableRule(comment=comment, refers=_refers(words), expr=expr)


def _sets_of(text: str) -> Iterator[tuple[str, TableSet]]:
    forms: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    for line in text.splitlines():
        verb, name, *rest = line.split() or ("", "")
        if not name.startswith(PREFIX):
            continue
        name = name.removeprefix(PREFIX)
        if verb == "create":
            forms[name] = f"{rest[0]} {rest[rest.index('family') + 1] if 'family' in rest else ''}"
        elif verb == "add":
            members.setdefault(name, set()).add(_in_our_words(rest[0]) if ":" in rest[0] else rest[0])
    yield from ((name, TableSet(form=form, members=frozenset(members.get(name, ())))) for name, form in forms.items())


def _in_our_words(member: str) -> str:
    """inet_ntop(3) writes the end of some IPv6 addresses as one of IPv4, and `ipaddress` none."""
    address = re.split("[,/]", member, maxsplit=1)[0]
    return f"{ipaddress.ip_address(address)}{member[len(address) :]}" if "." in address else member


def _said_by(chains: Mapping[str, TableChain], hidden: frozenset[str]) -> dict[str, TableSet]:
    """What `_told` says, from the rules: only what those of both versions say is so."""
    maps: dict[str, frozenset[str]] = {}
    judged: list[frozenset[str]] = []
    for name, chain, option, direction in (
        (_OUT, "leaving", "--physdev-in", Direction.EGRESS),
        (_IN, "arriving", "--physdev-out", Direction.INGRESS),
    ):
        by_family = [set(_ports_in(chains, chain, option, family)) for family in FAMILIES]
        judged += [frozenset(port for port, _ in found) for found in by_family]
        both = by_family[0] & by_family[1]
        maps[name] = frozenset(f"{port} : {target}" for port, target in both if target == port_chain(port, direction))
    names = {JUDGED: frozenset.intersection(*judged), BRIDGES: _about(chains) - hidden}
    return {name: TableSet(form=VERDICT_MAP, members=said) for name, said in maps.items()} | {
        name: TableSet(form=NAMES, members=said) for name, said in names.items()
    }


def _about(chains: Mapping[str, TableChain]) -> frozenset[str]:
    found = ({bridge for bridge, _ in _ports_in(chains, "arrive", "-o", family)} for family in FAMILIES)
    return frozenset(set.intersection(*found))


def _ports_in(chains: Mapping[str, TableChain], chain: str, option: str, family: int) -> Iterator[tuple[str, str]]:
    """(name after the option, verdict) of each rule that has it, in the chain and those that it leads to by a name's
    beginning."""
    for name, one in chains.items():
        for rule in one.rules if name == chain or name.startswith(f"{chain}-") else ():
            words = rule.expr[1].split() if rule.expr[0] == family else []
            if option in words and not (found := words[words.index(option) + 1]).endswith("+"):
                yield found, rule.refers[-1].partition(" ")[2]


# From one table to the next -------------------------------------------------------------------------


def closes(have: RuleTable) -> bool:
    """Whether a port that nobody has judged is closed: what does so is there in both versions, and comes first.
    Somebody may have flushed it, or be about to load it."""
    return all(name in have.chains and have.chains[name].hook == _BASE for name in _BASES)


def bridges(one: RuleTable) -> frozenset[str]:
    """Those whose frames it judges."""
    return one.sets[BRIDGES].members if BRIDGES in one.sets else frozenset()


def judging(have: RuleTable) -> frozenset[str]:
    """The bridges that both versions' rules are about, whether they show their frames or not."""
    return _about(have.chains)


def joined(bridge: str, have: RuleTable) -> Mapping[int, str]:
    """By version of IP, for `iptables-restore --noflush`: a bridge more is judged. `have`: it `closes`."""
    found: dict[int, str] = {}
    for family in FAMILIES:
        lines: list[str] = []
        for chain, more in ((FIRST, (_from(bridge),)), ("arrive", _to(bridge))):
            last = sum(rule.expr[0] == family for rule in have.chains[chain].rules)
            made = (_commented(_rule(family, *line)) for line in more)
            lines += [f"-I {PREFIX}{chain} {n} {rule}" for n, rule in enumerate(made, last)]
        found[family] = _text([f"*{TABLE}", *lines, "COMMIT"])
    return found


def programs(want: RuleTable, have: RuleTable, saved: Mapping[int, str]) -> Programs:
    """`have`: what `read` made of `saved`."""
    kept, new = _real(want.sets).keys() & _real(have.sets).keys(), _real(want.sets).keys() - have.sets.keys()
    before = [line for name in sorted(new) for line in _created(name, want.sets[name])]
    before += [line for n in sorted(kept) for line in _members("del", n, have.sets[n], want.sets[n])]
    after = [line for n in sorted(kept) for line in _members("add", n, want.sets[n], have.sets[n])]
    after += [f"destroy {PREFIX}{name}" for name in sorted(_real(have.sets).keys() - want.sets.keys())]
    return Programs(
        sets_before=_text(before),
        rules={family: text for family in FAMILIES if (text := _rewritten(want, have, family, saved.get(family, "")))},
        sets_after=_text(after),
    )


def _real(sets: Mapping[str, TableSet]) -> dict[str, TableSet]:
    return {name: one for name, one in sets.items() if one.form not in (NAMES, VERDICT_MAP)}


def _created(name: str, one: TableSet) -> Iterator[str]:
    kind, family = one.form.split()
    yield f"create {PREFIX}{name} {kind} family {family} maxelem {_MAX_MEMBERS}"
    yield from (f"add {PREFIX}{name} {member}" for member in sorted(one.members))


def _members(verb: str, name: str, these: TableSet, others: TableSet) -> Iterator[str]:
    yield from (f"{verb} {PREFIX}{name} {member}" for member in sorted(these.members - others.members))


def _rewritten(want: RuleTable, have: RuleTable, family: int, saved: str) -> str:
    """The chains that differ, in one commit: the kernel has all of it or nothing (`xt_replace_table`)."""
    anew = [name for name, chain in want.chains.items() if have.chains.get(name) != chain]
    gone = sorted(have.chains.keys() - want.chains.keys())
    if not anew and not gone:
        return ""
    lines = [f":{PREFIX}{name} - [0:0]" for name in (*anew, *gone)]
    for name in anew:
        for rule in want.chains[name].rules:
            if rule.expr[0] == family:
                lines.append(f"-A {PREFIX}{name} {_commented(rule)}")
    if FIRST in (*anew, *gone):
        lines += [f"-D FORWARD {_JUMP}" for line in saved.splitlines() if _is_jump(line)]
        lines += [f"-I FORWARD {_JUMP}"] if FIRST in want.chains else []
    lines += [f"-X {PREFIX}{name}" for name in gone]
    return _text([f"*{TABLE}", *lines, "COMMIT"])


def _commented(rule: TableRule) -> str:
    return f'-m comment --comment "{rule.comment}" {rule.expr[1]}'


def _is_jump(line: str) -> bool:
    return f" {line}".endswith(f" -A FORWARD {_JUMP}")


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""
