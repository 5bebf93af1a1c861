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
from collections.abc import Collection, Iterable, Iterator, Mapping
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
from windrow.policy.nft import UPKEEP, port_chain

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
_ACCEPTED = {Direction.EGRESS: f"-g {PREFIX}arrive", Direction.INGRESS: "-j ACCEPT"}
"""What lets a pod send has its receiver still to ask."""
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
    judged = {port: ports[port] for port in sorted(rules.judged) if port in ports}
    guarded = {port: one for port, one in rules.ports.items() if port in judged}
    opened = {port: one for port, one in judged.items() if Direction.INGRESS not in _ways(guarded, port)}
    chains = _base_chains(judged, guarded, sorted(bridges))
    for port, one in guarded.items():
        chains |= {port_chain(port, direction): _of_port(port, one, direction) for direction in one.chains}
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
        there = frozenset(a for one in opened.values() for a in one.addresses if _family(a) == family)
        found = MemberSet(kind=Members.ADDRESSES, family=family, members=there)
        sets[set_name("open", family)] = _table_set(found, "")
    return RuleTable(chains=chains, sets=sets | _told(judged, guarded, bridges))


def _told(judged: Iterable[str], guarded: Mapping[IfName, GuardedPort], bridges: Iterable[str]) -> dict[str, TableSet]:
    """What rules say of ports and bridges, as sets: who reads a table looks for it there, whatever it is made of."""
    maps = {
        name: TableSet(
            form=VERDICT_MAP,
            members=frozenset(
                f"{port} : {port_chain(port, direction)}" for port, one in guarded.items() if direction in one.chains
            ),
        )
        for name, direction in ((_OUT, Direction.EGRESS), (_IN, Direction.INGRESS))
    }
    names = {JUDGED: judged, BRIDGES: bridges}
    return maps | {name: TableSet(form=NAMES, members=frozenset(map(str, said))) for name, said in names.items()}


def _ways(guarded: Mapping[IfName, GuardedPort], port: IfName) -> Mapping[Direction, tuple[str, ...]]:
    return guarded[port].chains if port in guarded else {}


def _base_chains(
    judged: Mapping[IfName, RoutedPort], guarded: Mapping[IfName, GuardedPort], bridges: Collection[str]
) -> dict[str, TableChain]:
    """A frame goes from `leaving` by its port's chain to `arrive`, and there by the chain of the port that it is for;
    a port that is in none has not been judged."""
    chains: dict[str, list[tuple[int, str, str]]] = {name: [] for name in _BASES}
    for family in FAMILIES:
        for name, lines in (
            (FIRST, _first(family, bridges)),
            ("leaving", _leaving(judged, guarded)),
            ("arrive", _arrive(bridges)),
            ("arriving", _arriving(judged, guarded)),
            ("arriving-by-host", _routed(family, judged, guarded)),
        ):
            chains[name] += [(family, note, words) for note, words in lines]
    made = {name: _chain(lines, hook=_BASE) for name, lines in chains.items()}
    waiting = _chain((family, "not judged yet", "-j DROP") for family in FAMILIES)
    return made | {f"{WAITING}{way}": waiting for way in ("leaving", "arriving")}


def _first(family: int, bridges: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield "established", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    if family == 6:
        for kind in UPKEEP[Direction.EGRESS]:  # between ports: what the host says itself is not in FORWARD
            yield "upkeep of the link", f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"
    for bridge in bridges:
        yield _from(bridge)
    yield "to a port", f"-g {PREFIX}arrive"


def _leaving(judged: Iterable[IfName], guarded: Mapping[IfName, GuardedPort]) -> Iterator[tuple[str, str]]:
    for port in judged:
        way = port_chain(port, Direction.EGRESS) if Direction.EGRESS in _ways(guarded, port) else "arrive"
        yield "by port", f"-m physdev --physdev-in {port} -g {PREFIX}{way}"
    yield "not judged yet", f"-m physdev --physdev-in {_PORTS} -g {PREFIX}{WAITING}leaving"
    yield "by no port", f"-m physdev ! --physdev-is-in -g {PREFIX}{WAITING}leaving"
    yield "no pod's", f"-g {PREFIX}arrive"


def _arrive(bridges: Iterable[str]) -> Iterator[tuple[str, str]]:
    for bridge in bridges:
        yield from _to(bridge)
    yield "to nobody here", "-j ACCEPT"


def _from(bridge: str) -> tuple[str, str]:
    return "from a port", f"-i {bridge} -g {PREFIX}leaving"


def _to(bridge: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (
        ("from port to port", f"-o {bridge} -m physdev --physdev-is-bridged -g {PREFIX}arriving"),
        ("routed", f"-o {bridge} -g {PREFIX}arriving-by-host"),
    )


def _arriving(judged: Iterable[IfName], guarded: Mapping[IfName, GuardedPort]) -> Iterator[tuple[str, str]]:
    for port in judged:
        isolated = Direction.INGRESS in _ways(guarded, port)
        verdict = f"-g {PREFIX}{port_chain(port, Direction.INGRESS)}" if isolated else "-j ACCEPT"
        yield "by port", f"-m physdev --physdev-out {port} --physdev-is-bridged {verdict}"
    yield "not judged yet", f"-m physdev --physdev-out {_PORTS} --physdev-is-bridged -g {PREFIX}{WAITING}arriving"
    yield "no pod's", "-j ACCEPT"


def _routed(
    family: int, judged: Mapping[IfName, RoutedPort], guarded: Mapping[IfName, GuardedPort]
) -> Iterator[tuple[str, str]]:
    """The bridge has not chosen a port yet."""
    yield "open", f"-m set --match-set {PREFIX}{set_name('open', family)} dst -j ACCEPT"
    for port, one in judged.items():
        if Direction.INGRESS in _ways(guarded, port):
            for address in one.addresses:
                if _family(address) == family:
                    yield "by address", f"-d {address} -g {PREFIX}{port_chain(port, Direction.INGRESS)}"
    yield "not judged yet", f"-g {PREFIX}{WAITING}arriving"


def _of_port(port: IfName, guarded: GuardedPort, direction: Direction) -> TableChain:
    lines: list[tuple[int, str, str]] = []
    for family in FAMILIES:
        lines += [(family, "", f"-j {PREFIX}{name}") for name in guarded.chains[direction]]
        if most := guarded.logged.get(direction):
            said = f"windrow {port_chain(port, direction)}: "  # 29 characters at most
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
        yield family, rule.note, " ".join([*words, _ACCEPTED[direction]])


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
        judged += [frozenset(p for p, target in found if not target.startswith(WAITING)) for found in by_family]
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
    """(name after the option, verdict) of each rule that has it."""
    for rule in chains[chain].rules if chain in chains else ():
        words = rule.expr[1].split() if rule.expr[0] == family else []
        if option in words:
            yield words[words.index(option) + 1], rule.refers[-1].partition(" ")[2]


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
