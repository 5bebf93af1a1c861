"""The rule set of a node in the JSON of nftables: as a table, as it is read back, and as the program that leads from
one table to the next.

Family bridge: pods and machines are ports of bridges, in the default network as in a VLAN, and two of them on one node
speak with each other by their bridge alone. Conntrack of bridges (`nf_conntrack_bridge`, Linux 5.3) sees the frames
before us, so what is established passes, and a policy decides about new connections. Established is what the pod's own
port has let through (`_know`): conntrack notes what it drops, too, where the same packet takes another way.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.policies import Direction
from windrow.model.policyrules import (
    HOST_SET,
    SIDES,
    GuardedPort,
    Members,
    MemberSet,
    OwnGuards,
    PacketRule,
    PolicyRules,
    TunnelEnds,
    set_name,
)
from windrow.model.portguards import Rate
from windrow.model.ruletable import (
    ADDRESSLESS,
    FORGED,
    GUARD_MAPS,
    JUDGED,
    KEPT,
    NAMES,
    NAMESPACES,
    OWNED,
    POLICY_FAMILY,
    POLICY_MAPS,
    POLICY_TABLE,
    TAGGED,
    VERDICT_MAP,
    WAITING,
    RuleTable,
    TableChain,
    TableRule,
    TableSet,
    member_of_namespace,
)
from windrow.model.values import PORT_GROUP, IfName

FAMILY, TABLE = POLICY_FAMILY, str(POLICY_TABLE)
Json = Mapping[str, Any]

_MAPS = dict(zip((Direction.EGRESS, Direction.INGRESS), POLICY_MAPS, strict=True))
_OWN_MAPS = dict(zip((Direction.EGRESS, Direction.INGRESS), GUARD_MAPS, strict=True))
_ENDS = {Direction.EGRESS: ("iifname", "daddr"), Direction.INGRESS: ("oifname", "saddr")}
"""Direction -> what tells the port, and the address at the other end."""
_GROUPS = {Direction.EGRESS: "iifgroup", Direction.INGRESS: "oifgroup"}
"""Direction -> what tells who made the port: the message that makes it says so, and no frame passes before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hook:
    """`first`: here a port is kept from what its own guards forbid, and told that nobody has judged it yet.
    `policies`: here policies judge. `host`: the host may be at the other end; a frame from port to port is never the
    host's own, whatever address it says."""

    hook: str
    direction: Direction
    first: bool = True
    policies: bool = True
    host: bool = False


_HOOKS = {
    "leaving": _Hook(hook="filter prerouting -150 accept", direction=Direction.EGRESS, policies=False, host=True),
    "leaving-by-port": _Hook(hook="filter forward -151 accept", direction=Direction.EGRESS, first=False),
    "leaving-by-host": _Hook(hook="filter input -150 accept", direction=Direction.EGRESS, first=False, host=True),
    "arriving": _Hook(hook="filter forward -150 accept", direction=Direction.INGRESS),
    "arriving-by-host": _Hook(hook="filter output -150 accept", direction=Direction.INGRESS, host=True),
}
"""By chain. From a port lead two ways, to another port and to the host, which also routes; and to a port the same two.
The priority is behind conntrack's (-200), and before br_netfilter's: where that is at work, it takes a frame out of the
hook at -1 and brings it back behind 0, and whoever stands between is passed by (`br_nf_forward_ip`,
`br_nf_hook_thresh`).

Policies of egress wait for a frame's second hook. Where br_netfilter is at work, kube-proxy puts a pod's address in the
place of a Service's at the end of the first one (`br_nf_pre_routing_finish`), and it is pods that policies speak of.
What needs no destination is dropped in the first one, before the bridge learns an address from it."""
_IP = {4: "ip", 6: "ip6"}
_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
WAYS = {Direction.EGRESS: "from", Direction.INGRESS: "to"}
"""Direction -> how the name of a port's chain begins."""
_DROPS = {
    Direction.EGRESS: ("from-", f"{WAITING}leaving"),
    Direction.INGRESS: ("to-", f"{WAITING}arriving"),
}
"""Direction -> how the names of chains begin whose last rule drops."""
TURNS = {Direction.EGRESS: ("original", "reply"), Direction.INGRESS: ("reply", "original")}
"""Direction -> which packets of a connection it is, if the port's end began it, and if the other one did."""
BEGAN = ("original", "reply")
"""Of which packets the source is the port's end, if that began the connection, and if the other one did."""
LABELS, _LABELS_UNOWNED = (120, 121), (122, 123)
"""Bits of a connection's label: that the port of the end that began it let a packet of it through, and that the port of
the other end did. A port of which no addresses are known has bits of its own: anybody's packets make it set them."""
UPKEEP = {Direction.EGRESS: [130, 131, 132, 133, 135, 136, 143], Direction.INGRESS: [*range(130, 137), 143]}
"""ICMPv6 that a link needs: MLD and neighbour discovery (RFC 4890 §4.4.1). A guarded pod advertises no router."""
_DISCOVERY, _LISTENERS = (255, frozenset(range(133, 138))), (1, frozenset({130, 131, 132, 143}))
"""The hop limit that they have to have, which none has that comes from behind a router (RFC 4861 §7.1, RFC 3810 §5);
and which they are."""
_ON_LINK = [{"prefix": {"addr": "fe80::", "len": 10}}, {"prefix": {"addr": "ff02::", "len": 16}}]
_TAGGED = ["8021q", "8021ad"]
"""EtherTypes of a tag that is behind another one: of one alone the kernel has read on (`skb_vlan_untag`)."""
_FORMS = {Members.ADDRESSES: "set {}", Members.RANGES: "set {} interval", Members.SOCKETS: "set {} . inet_service"}
_OWNED_FORM = "set {} . ifname"
_ACCEPT: Json = {"accept": None}
_DROPPED: tuple[Json, ...] = ({"counter": None}, {"drop": None})
_DHCP_SERVERS = {4: 67, 6: 547}
"""The ports that they send from (RFC 2131 §4.1, RFC 8415 §7.2)."""
_ROUTERS = (134, 137)
"""Router advertisement and redirect (RFC 6105, RFC 4861 §4.5)."""
_NOTE_MAX = 100
"""Of a comment's 128 bytes (NFTNL_UDATA_COMMENT_MAXLEN), the rest is for the digest."""


# The table ------------------------------------------------------------------------------------------


def table(rules: PolicyRules) -> RuleTable:
    """Also where it guards no port yet: the next one that comes is closed until somebody knows what it is."""
    return _table(rules) if rules.namespaces or rules.own else RuleTable()


def _table(rules: PolicyRules) -> RuleTable:
    guarding = {direction: _own_chains(rules.own, direction) for direction in Direction}
    chains = {name: _base(name, own=bool(guarding[one.direction])) for name, one in _HOOKS.items()}
    chains |= {WAITING + name: _waiting(name) for name, one in _HOOKS.items() if one.first}
    chains |= {_known(direction): TableChain(rules=tuple(_know(direction))) for direction in Direction}
    chains |= {_let(direction): TableChain(rules=tuple(_let_through(direction))) for direction in Direction}
    chains |= {
        name: TableChain(rules=tuple(_packet_rule(rule, chain.direction) for rule in chain.rules))
        for name, chain in rules.chains.items()
    }
    sets = {name: TableSet(form=_form(one), members=one.members) for name, one in rules.sets.items()}
    sets |= _owners(rules.addresses)
    sets[KEPT] = TableSet(form=NAMES, members=frozenset(map(str, rules.kept)))
    sets[JUDGED] = TableSet(form=NAMES, members=frozenset(map(str, rules.judged)))
    sets[NAMESPACES] = TableSet(form=NAMES, members=frozenset(map(member_of_namespace, rules.namespaces)))
    for direction, map_name in _MAPS.items():
        guarded = {port: one for port, one in rules.ports.items() if direction in one.chains}
        chains |= {port_chain(port, direction): _of_port(port, one, direction) for port, one in guarded.items()}
        members = frozenset(f"{port} : {port_chain(port, direction)}" for port in guarded)
        sets[map_name] = TableSet(form=VERDICT_MAP, members=members)
    for direction, map_name in _OWN_MAPS.items():
        if found := guarding[direction]:
            chains |= {_own_chain(port, direction): chain for port, chain in found.items()}
            members = frozenset(f"{port} : {_own_chain(port, direction)}" for port in found)
            sets[map_name] = TableSet(form=VERDICT_MAP, members=members)
    return RuleTable(chains=chains, sets=sets)


def _form(one: MemberSet) -> str:
    return _FORMS[one.kind].format(_ADDRESS[one.family])


def port_chain(port: str, direction: Direction) -> str:
    """Of policies; `dropped` tells the direction by it."""
    return f"{WAYS[direction]}-{port}"


def _base(name: str, *, own: bool) -> TableChain:
    """First what a port is kept from in any case (`own`: some are), for that is no connection's right either. One that
    nobody has judged goes its own way. Then what needs no policy, then the port's chain of policies."""
    one = _HOOKS[name]
    rules = [
        *(_first(name, own=own) if one.first else ()),
        *(_not_as_the_host() if name == "leaving-by-host" else ()),
        *(_judging(name) if one.policies else ()),
    ]
    return TableChain(hook=one.hook, rules=tuple(rules))


def _first(name: str, *, own: bool) -> Iterator[TableRule]:
    direction = _HOOKS[name].direction
    port = _port(direction)
    if own:
        yield _rule("own guards", {"vmap": {"key": port, "data": f"@{_OWN_MAPS[direction]}"}})
    if direction is Direction.EGRESS:
        yield from _kept(port)
    unjudged = _match(_meta(_GROUPS[direction]), PORT_GROUP), _match(port, f"@{JUDGED}", op="!=")
    yield _rule("not judged yet", *unjudged, {"goto": {"target": WAITING + name}})


def _not_as_the_host() -> Iterator[TableRule]:
    """What comes in from the host's own address would pass as the host's where it is routed to a pod. In IPv4 no such
    packet is routed (`fib_validate_source`)."""
    yield _rule("the host's address", *_address(6, "saddr", set_name(HOST_SET, 6)), *_DROPPED)


def _judging(name: str) -> Iterator[TableRule]:
    direction = _HOOKS[name].direction
    established = _match(_ct("state"), ["established", "related"], op="in")
    yield _rule("established", established, {"jump": {"target": _known(direction)}})
    yield from _always(name)
    yield _rule("by port", {"vmap": {"key": _port(direction), "data": f"@{_MAPS[direction]}"}})
    yield _rule("isolated by nobody", _to_let(direction))


def _waiting(name: str) -> TableChain:
    """As if a policy without rules were about the port; nor does DHCP pass (`_lease`), for it is not known yet whether
    it is in a further network. Nothing is established by a port that has just come."""
    return TableChain(rules=(*_always(name), _rule("not judged yet", *_DROPPED)))


def _always(name: str) -> Iterator[TableRule]:
    """What passes at an isolated port, too."""
    direction = _HOOKS[name].direction
    yield _rule("address resolution", _match(_meta("protocol"), "arp"), _ACCEPT)
    yield from _upkeep(direction, routed=_HOOKS[name].host and direction is Direction.EGRESS)
    if _HOOKS[name].host:
        for family in _IP:
            found = _address(family, _ENDS[direction][1], set_name(HOST_SET, family))
            yield _rule("the host itself", *found, _ACCEPT)


def _upkeep(direction: Direction, *, routed: bool) -> Iterator[TableRule]:
    """`routed`: the host may be about to pass the packet on, so that it has to be for the link by its address, too."""
    for hops, kinds in (_DISCOVERY, _LISTENERS):
        near = [_match(_payload("ip6", "hoplimit"), hops)]
        near += [_match(_payload("ip6", "daddr"), {"set": _ON_LINK})] if routed else []
        yield _rule("the link's upkeep", *_icmpv6([k for k in UPKEEP[direction] if k in kinds]), *near, _ACCEPT)


def _of_port(port: IfName, guarded: GuardedPort, direction: Direction) -> TableChain:
    """Policy by policy, and nothing passes that none of them accepts."""
    rules = [_lease(direction)] if guarded.leased else []
    rules += [_rule("", {"jump": {"target": name}}) for name in guarded.chains[direction]]
    if most := guarded.logged.get(direction):
        said = {"log": {"prefix": f"{TABLE} {port_chain(port, direction)}: ", "level": "info"}}
        rules.append(_rule("logged", {"limit": {"rate": most, "per": "second"}}, said))
    return TableChain(rules=(*rules, _rule("isolated", *_DROPPED)))


# What is established --------------------------------------------------------------------------------


def _owners(addresses: Mapping[IfName, Sequence[str]]) -> Iterator[tuple[str, TableSet]]:
    """Which address is whose."""
    for family in _IP:
        pairs = ((one, port) for port, found in addresses.items() for one in found if (":" in one) is (family == 6))
        owned = frozenset(f"{one} . {port}" for one, port in pairs)
        yield set_name(OWNED, family), TableSet(form=_OWNED_FORM.format(_ADDRESS[family]), members=owned)
    without = frozenset(str(port) for port, found in addresses.items() if not found)
    yield ADDRESSLESS, TableSet(form=NAMES, members=without)


def _known(direction: Direction) -> str:
    return f"known-{WAYS[direction]}"


def _know(direction: Direction) -> Iterator[TableRule]:
    """Passes what is of a connection of which the port has let a packet through: its own address is of the connection,
    for what others have let through is theirs. What it dropped, conntrack may have noted all the same: a bridge floods
    a frame to other ports, too, and what the host routes is noted before it comes here."""
    for asked, label in _labels(direction):
        yield _rule("let through before", *asked, _match(_ct("label"), label, op="in"), _ACCEPT)


def _labels(direction: Direction) -> Iterator[tuple[Sequence[Json], int]]:
    """(whose packet it is, the label of that end). The address is the connection's and not the packet's: an ICMP error
    counts as a packet of the connection that it is about, and anybody sends one."""
    turns = list(zip(TURNS[direction], BEGAN, LABELS, strict=True))
    for family, protocol in _IP.items():
        for turn, began, label in turns:
            own = {"concat": [{"ct": {"key": f"{protocol} saddr", "dir": began}}, _port(direction)]}
            owned = _match(own, f"@{set_name(OWNED, family)}")
            yield (_match(_meta("protocol"), protocol), _match(_ct("direction"), turn), owned), label
    nobodys = _match(_port(direction), f"@{ADDRESSLESS}")
    for turn, label in zip(TURNS[direction], _LABELS_UNOWNED, strict=True):
        yield (nobodys, _match(_ct("direction"), turn)), label


def _let(direction: Direction) -> str:
    return f"let-{WAYS[direction]}"


def _to_let(direction: Direction) -> Json:
    return {"goto": {"target": _let(direction)}}


def _let_through(direction: Direction) -> Iterator[TableRule]:
    """Passes, and is written down where the address is the port's: in another one's name nobody lets through."""
    for asked, label in _labels(direction):
        yield _rule("let through", *asked, {"mangle": {"key": _ct("label"), "value": label}})
    yield _rule("", _ACCEPT)


# What a port asks for itself ------------------------------------------------------------------------


def _own_chain(port: IfName, direction: Direction) -> str:
    return f"guard-{port_chain(port, direction)}"


def _own_chains(own: Mapping[IfName, OwnGuards], direction: Direction) -> dict[IfName, TableChain]:
    made = _out_of if direction is Direction.EGRESS else _into
    return {port: TableChain(rules=rules) for port, one in own.items() if (rules := tuple(made(one)))}


def _out_of(own: OwnGuards) -> Iterator[TableRule]:
    guards = own.guards
    if guards.addresses:
        yield from _no_other_source(own.addresses)
    if guards.dhcp:
        for family, server in _DHCP_SERVERS.items():
            yield _rule("no DHCP server", _match(_meta("protocol"), _IP[family]), *_udp(sport=server), *_DROPPED)
    if guards.routers:
        yield _rule("no router", *_icmpv6(_ROUTERS), *_DROPPED)
    if guards.egress is not None:
        yield _too_much(guards.egress)


def _into(own: OwnGuards) -> Iterator[TableRule]:
    if own.guards.ingress is not None:
        yield _too_much(own.guards.ingress)


_SOURCES = (("arp", "saddr ip", 4), ("ip", "saddr", 4), ("ip6", "saddr", 6))
"""Protocol, the field with whoever sends, and the family of that."""
_NOBODYS: Mapping[int, Sequence[Any]] = {4: ["0.0.0.0"], 6: ["::", {"prefix": {"addr": "fe80::", "len": 10}}]}
"""By family: from these sends who has no address yet (RFC 5227, RFC 2131, RFC 4861), or speaks on the link alone."""


def _no_other_source(addresses: Iterable[str]) -> Iterator[TableRule]:
    of = {family: [one for one in addresses if (":" in one) is (family == 6)] for family in _IP}
    for protocol, source, family in _SOURCES:
        foreign = _match(_payload(protocol, source), {"set": [*_NOBODYS[family], *of[family]]}, op="!=")
        yield _rule("another's address", _match(_meta("protocol"), protocol), foreign, *_DROPPED)
    yield _rule("another's address", _match(_meta("protocol"), {"set": _TAGGED}), *_DROPPED)


def _kept(port: Json) -> Iterator[TableRule]:
    """The same for all ports of the network that Windrow brings, by the sets that say whose each address is."""
    for protocol, source, family in _SOURCES:
        sender = _payload(protocol, source)
        foreign = _match({"concat": [sender, port]}, f"@{set_name(OWNED, family)}", op="!=")
        kept = _match(port, f"@{KEPT}"), _match(_meta("protocol"), protocol)
        somebodys = _match(sender, {"set": _NOBODYS[family]}, op="!=")
        yield _rule("another's address", *kept, somebodys, foreign, *_DROPPED)
    yield _rule("another's address", _match(port, f"@{KEPT}"), _match(_meta("protocol"), {"set": _TAGGED}), *_DROPPED)


def _too_much(rate: Rate) -> TableRule:
    """A frame beyond the rate is dropped, and not kept for later."""
    limit = {"rate": rate.bits // 8, "rate_unit": "bytes", "per": "second", "inv": True}
    return _rule("too much", {"limit": {**limit, "burst": rate.burst // 8, "burst_unit": "bytes"}}, *_DROPPED)


# Of policies ----------------------------------------------------------------------------------------


def _lease(direction: Direction) -> TableRule:
    """DHCP: an answer to a broadcast is nobody's established connection."""
    source, target = (68, 67) if direction is Direction.EGRESS else (67, 68)
    return _rule("DHCP", _match(_meta("protocol"), "ip"), *_udp(sport=source, dport=target), _ACCEPT)


def _packet_rule(rule: PacketRule, direction: Direction) -> TableRule:
    return _rule(rule.note, *_asked(rule, direction), {"counter": None}, _to_let(direction))


def _asked(rule: PacketRule, direction: Direction) -> Iterator[Json]:
    if rule.peers:
        yield from _address(rule.family, _ENDS[direction][1], rule.peers)
    elif rule.family:
        yield _match(_meta("protocol"), _IP[rule.family])
    if rule.protocol is not None:
        word = rule.protocol.lower()
        yield _match(_meta("l4proto"), word)
        if rule.first:
            span = rule.first if rule.first == rule.last else {"range": [rule.first, rule.last]}
            yield _match(_payload(word, "dport"), span)
        if rule.sockets:
            both = {"concat": [_payload(_IP[rule.family], "daddr"), _payload(word, "dport")]}
            yield _match(both, f"@{rule.sockets}")


def _address(family: int, end: str, members: str) -> Iterator[Json]:
    yield _match(_meta("protocol"), _IP[family])
    yield _match(_payload(_IP[family], end), f"@{members}")


def _udp(**ports: int) -> Iterator[Json]:
    """`sport` and `dport`, in the order given."""
    yield _match(_meta("l4proto"), "udp")
    yield from (_match(_payload("udp", end), number) for end, number in ports.items())


def _icmpv6(types: Sequence[int]) -> Iterator[Json]:
    yield _match(_meta("protocol"), "ip6")
    yield _match(_meta("l4proto"), "ipv6-icmp")
    yield _match(_payload("icmpv6", "type"), {"set": list(types)})


def _match(left: Json, right: Any, *, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _ct(key: str) -> Json:
    return {"ct": {"key": key}}


def _port(direction: Direction) -> Json:
    return _meta(_ENDS[direction][0])


def _payload(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


def _rule(note: str, *expr: Json) -> TableRule:
    from hashlib import sha256  # loads OpenSSL, and most hosts have no policies

    digest = sha256(json.dumps(expr, sort_keys=True).encode()).hexdigest()[:12]
    short = note.encode(errors="replace")[:_NOTE_MAX].decode(errors="ignore").replace('"', "")
    return TableRule(comment=f"{short} {digest}".strip(), refers=_refers(expr), expr=expr)


_VERDICTS = ("accept", "drop", "return", "jump", "goto", "reject", "queue", "continue")


def _refers(expr: Iterable[Any]) -> tuple[str, ...]:
    return tuple(_words(list(expr)))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from [value] if value.startswith("@") else []
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _words(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in _VERDICTS:
                target = one.get("target", "") if isinstance(one, dict) else ""
                yield f"{key} {target}".strip()
            else:
                yield from _words(one)


# Forged packets of the overlay ----------------------------------------------------------------------

_FORGED_HOOK = "filter prerouting -160 accept"
"""Before network policies let anything pass."""
_TAGGED_HOOK = "filter input -160 accept"
"""What goes up to the host: among themselves guests may have tags behind tags."""
_TUNNEL_ENDS = "tunnel-ends"


def with_tunnels(table: RuleTable, ends: Sequence[TunnelEnds]) -> RuleTable:
    """That table, and beside it what drops packets to tunnels that no node has sent. `ends`: with addresses."""
    sets = {
        set_name(_TUNNEL_ENDS, one.family): TableSet(form=f"set {_ADDRESS[one.family]}", members=one.addresses)
        for one in ends
    }
    chain = TableChain(hook=_FORGED_HOOK, rules=tuple(rule for one in ends for rule in _forged(one)))
    tagged = _match(_meta("iifgroup"), PORT_GROUP), _match(_meta("protocol"), {"set": _TAGGED})
    behind = TableChain(hook=_TAGGED_HOOK, rules=(_rule("overlay: behind tags, from a guest", *tagged, *_DROPPED),))
    return RuleTable(chains={**table.chains, FORGED: chain, TAGGED: behind}, sets={**table.sets, **sets})


def without_tunnels(table: RuleTable) -> RuleTable:
    """What is left of that table where Windrow has no tunnels any more."""
    ends = {set_name(_TUNNEL_ENDS, family) for family in _IP}
    return RuleTable(
        chains={name: chain for name, chain in table.chains.items() if name not in (FORGED, TAGGED)},
        sets={name: one for name, one in table.sets.items() if name not in ends},
    )


def _forged(ends: TunnelEnds) -> Iterator[TableRule]:
    """A guest has nothing to say to a tunnel, whatever address it says it has; and others are no nodes."""
    members = set_name(_TUNNEL_ENDS, ends.family)
    tunnel = *_address(ends.family, "daddr", members), *_udp(dport=ends.port)
    yield _rule("overlay: from a guest", *tunnel, _match(_meta("iifgroup"), PORT_GROUP), *_DROPPED)
    if ends.complete:
        stranger = _match(_payload(_IP[ends.family], "saddr"), f"@{members}", op="!=")
        yield _rule("overlay: from no node", *tunnel, stranger, *_DROPPED)


# A host whose first round is still to come ----------------------------------------------------------


def closed(there: Iterable[str]) -> str:
    """For `nft -j -f`: a table in which no other ports are judged than these, for a host whose first round is still to
    come. Rules of the overlay that are in it already stay. Refused (EEXIST) where there is a JUDGED already.

    It has no NAMESPACES, so that no pod's port is let through by it (`port.firewall.let_through`)."""
    host = {set_name(HOST_SET, family): MemberSet(kind=Members.ADDRESSES, family=family) for family in _IP}
    made = _table(PolicyRules(sets=host, judged=frozenset(map(IfName, there))))
    sets = {name: one for name, one in made.sets.items() if name != NAMESPACES}
    add, create = ({verb: _set_of(JUDGED, NAMES)} for verb in ("add", "create"))
    commands = [create if one == add else one for one in _changes(replace(made, sets=sets), RuleTable())]
    return json.dumps({"nftables": commands})


# Reading it back ------------------------------------------------------------------------------------


def read(listing: str) -> RuleTable:
    """From `nft -j list table`; empty: there is none. Raises ValueError."""
    if not listing.strip():
        return RuleTable()
    hooks: dict[str, str] = {}
    rules: dict[str, list[TableRule]] = {}
    sets: dict[str, TableSet] = {}
    try:
        for entry in json.loads(listing)["nftables"]:
            match entry:
                case {"chain": one}:
                    hooks[one["name"]] = _hook(one)
                case {"rule": one}:
                    expr = tuple(one["expr"])
                    found = TableRule(comment=one.get("comment", ""), refers=_refers(expr), expr=expr)
                    rules.setdefault(one["chain"], []).append(found)
                case {"set": one} | {"map": one}:
                    sets[one["name"]] = _set_found(one)
                case _:
                    pass  # the table itself, and nft's word about its version
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no table as nft prints it: {error!r}") from error
    chains = {name: TableChain(hook=hook, rules=tuple(rules.get(name, ()))) for name, hook in hooks.items()}
    return RuleTable(chains=chains, sets=sets)


def _hook(chain: Json) -> str:
    return f"{chain['type']} {chain['hook']} {chain['prio']} {chain['policy']}" if "hook" in chain else ""


def _set_found(one: Json) -> TableSet:
    elements = one.get("elem", ())
    if "map" in one:
        form = f"map {one['type']} {one['map']}"
        return TableSet(form=form, members=frozenset(_entry(element) for element in elements))
    words = one["type"] if isinstance(one["type"], list) else [one["type"]]
    form = " ".join(["set", " . ".join(words), *one.get("flags", ())])
    if form == NAMES:
        return TableSet(form=form, members=frozenset(map(str, elements)))
    found = _range if "interval" in form else _member
    return TableSet(form=form, members=frozenset(found(element) for element in elements))


def _entry(element: Any) -> str:
    port, verdict = element
    return f"{port} : {' '.join(_words(verdict)).removeprefix('jump ')}"


def _member(element: Any) -> str:
    """An address, or one with a port."""
    parts = element["concat"] if isinstance(element, dict) else [element]
    return " . ".join([str(ipaddress.ip_address(parts[0])), *map(str, parts[1:])])


def _range(element: Any) -> str:
    match element:
        case {"prefix": {"addr": address, "len": length}}:
            network = ipaddress.ip_network(f"{address}/{length}")
            first, last = network[0], network[-1]
        case {"range": [one, other]}:
            first, last = ipaddress.ip_address(one), ipaddress.ip_address(other)
        case _:
            first = last = ipaddress.ip_address(element)
    return f"{first}-{last}"


# What was counted -----------------------------------------------------------------------------------


def counted(table: RuleTable) -> dict[tuple[str, Direction], int]:
    """(policy, direction) -> packets that its rules let through: the first ones of connections. A table that was
    read."""
    found: dict[tuple[str, Direction], int] = {}
    for name, chain in table.chains.items():
        for direction in (one for one, side in SIDES.items() if name.startswith(f"{side}-")):
            for rule in chain.rules:
                key = rule.comment.partition(" ")[0], direction
                found[key] = found.get(key, 0) + _packets(rule)
    return found


def dropped(table: RuleTable) -> dict[Direction, int]:
    """Packets that no policy let through, and those of ports that nobody had judged yet."""
    found = dict.fromkeys(Direction, 0)
    for name, chain in table.chains.items():
        for direction, starts in _DROPS.items():
            if name.startswith(starts) and not chain.hook:
                found[direction] += sum(_packets(rule) for rule in chain.rules if rule.refers[-1:] == ("drop",))
    return found


def _packets(rule: TableRule) -> int:
    counters = (one["counter"] for one in rule.expr if isinstance(one, dict) and one.get("counter"))
    return sum(int(counter["packets"]) for counter in counters)


# From one table to the next -------------------------------------------------------------------------


def program(want: RuleTable, have: RuleTable) -> str:
    """For `nft -j -f`: one transaction, in which nothing is open for a moment. Only what differs is touched; where a
    hook or the form of a set does, all of it is made anew. Empty: nothing to do."""
    if want == have:
        return ""
    commands = list(_anew(want) if have.empty or not _fits(want, have) else _changes(want, have))
    return json.dumps({"nftables": commands})


def _fits(want: RuleTable, have: RuleTable) -> bool:
    chains = all(want.chains[n].hook == have.chains[n].hook for n in want.chains.keys() & have.chains.keys())
    gone = all(not have.chains[n].hook for n in have.chains.keys() - want.chains.keys())
    return chains and gone and all(want.sets[n].form == have.sets[n].form for n in want.sets.keys() & have.sets.keys())


def _anew(want: RuleTable) -> Iterator[Json]:
    """Whatever is there by that name; taking away what is not there would be an error."""
    for verb in ("add", "delete"):
        yield {verb: {"table": {"family": FAMILY, "name": TABLE}}}
    if not want.empty:
        yield from _changes(want, RuleTable())


def _changes(want: RuleTable, have: RuleTable) -> Iterator[Json]:
    """Whatever refers to something comes after it, and goes before it."""
    gone_chains, gone_sets = have.chains.keys() - want.chains.keys(), have.sets.keys() - want.sets.keys()
    changed = [name for name, chain in want.chains.items() if have.chains.get(name) != chain]
    yield {"add": {"table": {"family": FAMILY, "name": TABLE}}}
    for name in want.sets.keys() - have.sets.keys():
        yield {"add": _set_of(name, want.sets[name].form)}
    for name, one in want.sets.items():
        if one.form != VERDICT_MAP:
            yield from _members(name, one, have.sets.get(name))
    for name in changed:
        yield {"flush" if name in have.chains else "add": {"chain": _chain_of(name, want.chains[name].hook)}}
    for name in changed:
        for rule in want.chains[name].rules:
            yield {"add": {"rule": {**_in_table(), "chain": name, **_said(rule)}}}
    for name, one in want.sets.items():
        if one.form == VERDICT_MAP:
            yield from _members(name, one, have.sets.get(name))
    for name in gone_sets:
        yield {"flush": _set_of(name, have.sets[name].form)}
    for verb in ("flush", "delete"):
        yield from ({verb: {"chain": _chain_of(name)}} for name in sorted(gone_chains))
    yield from ({"delete": _set_of(name, have.sets[name].form)} for name in sorted(gone_sets))


def _in_table() -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE}


def _said(rule: TableRule) -> dict[str, Any]:
    return {"expr": list(rule.expr), **({"comment": rule.comment} if rule.comment else {})}


def _chain_of(name: str, hook: str = "") -> dict[str, Any]:
    if not hook:
        return {**_in_table(), "name": name}
    type_, at, priority, policy = hook.split()
    return {**_in_table(), "name": name, "type": type_, "hook": at, "prio": int(priority), "policy": policy}


def _set_of(name: str, form: str) -> Json:
    kind, *words = form.split()
    if kind == "map":
        return {"map": {**_in_table(), "name": name, "type": words[0], "map": words[1]}}
    types = [word for word in words if word not in (".", "interval")]
    flags = {"flags": ["interval"]} if "interval" in words else {}
    return {"set": {**_in_table(), "name": name, "type": types[0] if len(types) == 1 else types, **flags}}


def _members(name: str, want: TableSet, have: TableSet | None) -> Iterator[Json]:
    before = have.members if have is not None else frozenset()
    for verb, members in (("delete", before - want.members), ("add", want.members - before)):
        if members:
            elements = [_element(member, want.form) for member in sorted(members)]
            yield {verb: {"element": {**_in_table(), "name": name, "elem": elements}}}


def _element(member: str, form: str) -> Any:
    if form == VERDICT_MAP:
        port, _, chain = member.partition(" : ")
        return [port, {"jump": {"target": chain}}]
    if form == NAMES:
        return member
    if " . " in member:
        address, port = member.split(" . ")
        return {"concat": [address, port if "ifname" in form else int(port)]}
    first, dash, last = member.partition("-")
    return {"range": [first, last]} if dash and first != last else first
