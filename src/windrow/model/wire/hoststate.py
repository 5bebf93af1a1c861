"""HostState <-> JSON: what is kept on disk of a network, to go back to it.

Every attribute that is not None is written under its own name, VID sets as text (`1,100-102`). Reading takes nothing
on trust: a value that no kernel would have said raises ValueError, and names where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

from windrow.model.bonding import OPTIONS, BondMode
from windrow.model.bridging import BRIDGE_OPTIONS, FRESH_BRIDGE, FRESH_BRIDGE_PORT, PORT_OPTIONS
from windrow.model.host import (
    VLAN_FLAGS,
    Bond,
    Bridge,
    BridgePort,
    Details,
    Exact,
    FdbEntry,
    Filters,
    HostState,
    Link,
    LinkFlags,
    LinkSpec,
    Other,
    Peer,
    PortFilter,
    Route,
    Rule,
    Snooping,
    StaticNeighbour,
    VlanIf,
    Vxlan,
    Wireguard,
)
from windrow.model.overlay import parse_public_key
from windrow.model.ruletable import RuleTable, TableChain, TableRule, TableSet
from windrow.model.values import (
    VID_MAX,
    Cidr,
    IfName,
    PortVlans,
    Ref,
    VidSet,
    parse_ifname,
    parse_mac,
)

T = TypeVar("T")

VERSION = 1
_PLAIN = ("up", "mtu", "mac", "txqlen", "promisc", "master", "mark", "slave_prio")
_U32 = 0xFFFF_FFFF


def write(state: HostState) -> dict[str, Any]:
    """In the order of names, so that the same state is the same text."""
    return {
        "version": VERSION,
        "links": [_write_link(state.links[name]) for name in sorted(state.links)],
        "routes": [_write_route(r) for r in sorted(state.routes, key=_route_key)],
        "rules": [_write_rule(r) for r in sorted(state.rules, key=lambda r: (r.iif, r.oif, r.message, r.protocol))],
        "sysctls": dict(sorted(state.sysctls.items())),
        **({"filters": filters} if (filters := _write_filters(state.filters)) else {}),
        **({"policies": _write_policies(state.policies)} if state.policies is not None else {}),
    }


def read(document: Any) -> HostState:
    """The inverse. Raises ValueError, with the place in its text."""
    table = _table(document, {"version", "links", "routes", "rules", "sysctls", "filters", "policies"})
    if table.get("version") != VERSION:
        raise ValueError(f"version: this is {table.get('version')!r}, and {VERSION} is what is understood here")
    links = [_at(f"links[{i}]", _read_link, one) for i, one in enumerate(_list(table, "links"))]
    if len({link.name for link in links}) != len(links):
        raise ValueError("links: a name is there twice")
    routes = [_at(f"routes[{i}]", _read_route, one) for i, one in enumerate(_list(table, "routes"))]
    rules = [_at(f"rules[{i}]", _read_rule, one) for i, one in enumerate(_list(table, "rules"))]
    return HostState(
        links={link.name: link for link in links},
        routes=frozenset(routes),
        rules=frozenset(rules),
        sysctls=_texts(table, "sysctls"),
        filters=_at("filters", _read_filters, table.get("filters", {})),
        policies=_at("policies", _read_policies, table["policies"]) if "policies" in table else None,
    )


# -- links -----------------------------------------------------------------------------------------


def _write_link(link: Link) -> dict[str, Any]:
    found: dict[str, Any] = {"name": link.name, "spec": _write_spec(link.spec)}
    found |= {name: value for name in _PLAIN if (value := getattr(link, name)) is not None}
    found |= {name: _write_vlans(vlans) for name, vlans in _vlans(link) if vlans is not None}
    found |= {
        name: _write_options(part) for name, part in (("port", link.port), ("flags", link.flags)) if part is not None
    }
    if link.snooping is not None:
        found["snooping"] = {"snooped": str(link.snooping.snooped), "asked": str(link.snooping.asked)}
    if link.addrs is not None:
        found["addrs"] = sorted(link.addrs)
    if link.details:
        found["details"] = {address: _write_details(one) for address, one in sorted(link.details.items())}
    if link.neighbours:
        found["neighbours"] = [
            _write_neighbour(n) for n in sorted(link.neighbours, key=lambda n: (n.address, n.message))
        ]
    if link.fdb is not None:
        found["fdb"] = [{"mac": entry.mac, "dst": entry.dst} for entry in sorted(link.fdb)]
    if link.peers is not None:
        found["peers"] = [_write_peer(peer) for peer in sorted(link.peers)]
    if link.settings:
        found["settings"] = dict(sorted(link.settings.items()))
    if link.origin:
        found["origin"] = [[ref.kind, ref.name, ref.namespace] for ref in link.origin]
    return found


def _write_peer(peer: Peer) -> dict[str, Any]:
    return {**{f.name: getattr(peer, f.name) for f in fields(peer)}, "allowed": list(peer.allowed)}


_TIMES = ("valid_until", "preferred_until")


def _write_details(one: Details) -> dict[str, Any]:
    plain = {name: getattr(one, name) for name in ("scope", "flags", "label", "rank", "static", *_TIMES)}
    kept = {name: value for name, value in plain.items() if value not in (None, "")}
    return {"attributes": one.attributes.hex(), **kept, **({"duplicate": True} if one.duplicate else {})}


def _all_details(document: Any) -> dict[Cidr, Details]:
    return {_cidr(address): _at(address, _read_details, one) for address, one in _table(document).items()}


def _read_details(document: Any) -> Details:
    table = _table(document, {f.name for f in fields(Details)})
    static = _flag(table, "static")
    return Details(
        attributes=_bytes(table, "attributes"),
        scope=_number(table, "scope", 0xFF) or 0,
        flags=_number(table, "flags", _U32) or 0,
        label=_text(table, "label") if "label" in table else "",
        rank=_number(table, "rank", _U32) or 0,
        static=True if static is None else static,
        duplicate=bool(_flag(table, "duplicate")),
        valid_until=_seconds(table, "valid_until"),
        preferred_until=_seconds(table, "preferred_until"),
    )


def _vlans(link: Link) -> tuple[tuple[str, PortVlans | None], ...]:
    return ("vlans", link.vlans), ("self_vlans", link.self_vlans)


def _write_options(value: BridgePort | LinkFlags) -> dict[str, Any]:
    return {f.name: one for f in fields(value) if (one := getattr(value, f.name)) is not None}


def _write_spec(spec: LinkSpec) -> dict[str, Any]:
    """`{"bond": {…}}`. Not `Link.kind`: a VLAN interface may stand there as a link of others, with that kind."""
    word = {Bond: "bond", Bridge: "bridge", VlanIf: "vlan", Vxlan: "vxlan", Wireguard: "wireguard", Other: "other"}[
        type(spec)
    ]
    plain = {f.name: _json(getattr(spec, f.name)) for f in fields(spec)}
    return {word: {name: value for name, value in plain.items() if value is not None}}


def _json(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, BondMode) else value


def _write_vlans(vlans: PortVlans) -> dict[str, Any]:
    found: dict[str, Any] = {"untagged": str(vlans.untagged), "tagged": str(vlans.tagged)}
    if vlans.pvid is not None:
        found["pvid"] = vlans.pvid
    return found if vlans.exact else {**found, "exact": False}


_OLD_PORT = ("isolated", "hairpin")
"""Files from before there was `port` have them beside the others; what `init` found a host like is kept for years."""
_PARTS = ("name", "spec", "vlans", "self_vlans", "snooping", "addrs", "details", "settings", "origin", "port", "flags")
_LINK = frozenset({*_PARTS, "neighbours", "fdb", "peers", *_PLAIN, *_OLD_PORT})


def _read_link(document: Any) -> Link:
    table = _table(document, _LINK)
    vlans = {n: _at(n, _read_vlans, table[n]) for n in ("vlans", "self_vlans") if n in table}
    return Link(
        name=_at("name", parse_ifname, _text(table, "name")),
        spec=_at("spec", _read_spec, table.get("spec")),
        up=_flag(table, "up"),
        mtu=_number(table, "mtu", _U32),
        mac=parse_mac(_text(table, "mac")) if "mac" in table else None,
        txqlen=_number(table, "txqlen", _U32),
        promisc=_flag(table, "promisc"),
        master=_at("master", _none_or_ifname, _text(table, "master")) if "master" in table else None,
        mark=_flag(table, "mark"),
        slave_prio=_signed(table, "slave_prio"),
        snooping=_at("snooping", _snooping, table["snooping"]) if "snooping" in table else None,
        port=_at("port", _port, {**{n: table[n] for n in _OLD_PORT if n in table}, **_table(table.get("port", {}))}),
        flags=_at("flags", _flags, table["flags"]) if "flags" in table else None,
        addrs=frozenset(_at("addrs", _cidr, a) for a in _list(table, "addrs")) if "addrs" in table else None,
        details=_at("details", _all_details, table.get("details", {})),
        neighbours=frozenset(_at("neighbours", _read_neighbour, one) for one in _list(table, "neighbours")),
        peers=frozenset(_at("peers", _peer, one) for one in _list(table, "peers")) if "peers" in table else None,
        fdb=frozenset(_at("fdb", _read_fdb, one) for one in _list(table, "fdb")) if "fdb" in table else None,
        settings=_texts(table, "settings"),
        origin=tuple(_at("origin", _ref, one) for one in _list(table, "origin")),
        vlans=vlans.get("vlans"),
        self_vlans=vlans.get("self_vlans"),
    )


def _write_neighbour(one: StaticNeighbour) -> dict[str, Any]:
    plain = {"message": one.message.hex(), "address": one.address, "protocol": one.protocol}
    return plain if one.mac is None else {**plain, "mac": one.mac}


def _read_neighbour(document: Any) -> StaticNeighbour:
    table = _table(document, {f.name for f in fields(StaticNeighbour)})
    return StaticNeighbour(
        message=_bytes(table, "message"),
        address=str(_at("address", ip_address, _text(table, "address"))),
        mac=parse_mac(_text(table, "mac")) if "mac" in table else None,
        protocol=_number(table, "protocol", 0xFF) or 0,
    )


def _read_fdb(document: Any) -> FdbEntry:
    table = _table(document, {"mac", "dst"})
    return FdbEntry(mac=parse_mac(_text(table, "mac")), dst=str(_at("dst", ip_address, _text(table, "dst"))))


def _snooping(document: Any) -> Snooping:
    table = _table(document, {"snooped", "asked"})
    return Snooping(**{name: VidSet.parse(_text(table, name)) for name in table})


def _port(document: Any) -> BridgePort | None:
    table = _table(document, frozenset(PORT_OPTIONS))
    return BridgePort(**_options_like(FRESH_BRIDGE_PORT, table)) if table else None


def _flags(document: Any) -> LinkFlags:
    table = _table(document, {f.name for f in fields(LinkFlags)})
    return LinkFlags(
        arp=_flag(table, "arp"),
        multicast=_flag(table, "multicast"),
        allmulti=_flag(table, "allmulti"),
        dormant=_flag(table, "dormant"),
        broadcast=parse_mac(_text(table, "broadcast")) if "broadcast" in table else None,
    )


def _options_like(fresh: object, table: Mapping[str, Any]) -> dict[str, Any]:
    """Each value is of the kind that a new one has: a flag or a number."""
    return {
        name: _flag(table, name) if isinstance(getattr(fresh, name), bool) else _number(table, name, _U32)
        for name in table
    }


def _read_spec(document: Any) -> LinkSpec:
    whole = _table(document, frozenset(_SPECS))
    if len(whole) != 1:
        raise ValueError(f"a link is one of {', '.join(_SPECS)}")
    ((word, inner),) = whole.items()
    return _at(word, _SPECS[word], inner)


def _bond(document: Any) -> Bond:
    table = _table(document, frozenset(OPTIONS))
    return Bond(**{name: _at(name, _option, (name, value)) for name, value in table.items()})


def _bridge(document: Any) -> Bridge:
    return Bridge(**_options_like(FRESH_BRIDGE, _table(document, frozenset(BRIDGE_OPTIONS))))


def _vlan(document: Any) -> VlanIf:
    table = _table(document, {"parent", "vid", "flags"})
    vid = _number(table, "vid", VID_MAX)
    if vid is None:
        raise ValueError("vid: is missing")
    return VlanIf(parent=_at("parent", parse_ifname, _text(table, "parent")), vid=vid, flags=_vlan_flags(table))


def _vlan_flags(table: Mapping[str, Any]) -> frozenset[str] | None:
    if "flags" not in table:
        return None
    found = _list(table, "flags")
    if strange := [one for one in found if one not in VLAN_FLAGS]:
        raise ValueError(f"flags: {strange[0]!r:.40} is none of {', '.join(VLAN_FLAGS)}")
    return frozenset(found)


def _vxlan(document: Any) -> Vxlan:
    table = _table(document, {"vni", "port", "local", "learning"})
    vni, port = _number(table, "vni", 0xFF_FFFF), _number(table, "port", 0xFFFF)
    if vni is None or port is None:
        raise ValueError("a tunnel device has a vni and a port")
    local = _text(table, "local")
    return Vxlan(
        vni=vni,
        port=port,
        local=str(_at("local", ip_address, local)) if local else "",
        learning=bool(_flag(table, "learning")),
    )


def _wireguard(document: Any) -> Wireguard:
    table = _table(document, {"port", "key"})
    port = _number(table, "port", 0xFFFF)
    if port is None:
        raise ValueError("an encrypted tunnel device has a port")
    return Wireguard(port=port, key=parse_public_key(_text(table, "key")) if "key" in table else None)


def _peer(document: Any) -> Peer:
    table = _table(document, {"key", "address", "port", "allowed", "keepalive"})
    address = _text(table, "address")
    return Peer(
        key=parse_public_key(_text(table, "key")),
        address=str(_at("address", ip_address, address)) if address else "",
        port=_number(table, "port", 0xFFFF) or 0,
        allowed=tuple(sorted(Cidr(str(ip_network(one))) for one in _list(table, "allowed"))),
        keepalive=_number(table, "keepalive", 0xFFFF) or 0,
    )


def _other(document: Any) -> Other:
    table = _table(document, {"kind", "parent"})
    parent = _at("parent", parse_ifname, _text(table, "parent")) if "parent" in table else None
    return Other(kind=_text(table, "kind"), parent=parent)


_SPECS: Mapping[str, Callable[[Any], LinkSpec]] = {
    "bond": _bond,
    "bridge": _bridge,
    "vlan": _vlan,
    "vxlan": _vxlan,
    "wireguard": _wireguard,
    "other": _other,
}


def _option(found: tuple[str, Any]) -> Any:
    """A bond option's value: an enum's word, a number, a list of addresses, or a name."""
    name, value = found
    option = OPTIONS[name]
    if name == "mode":
        return BondMode(value)
    if isinstance(value, list):
        return tuple(str(ip_address(one)) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is no value of it")
    if option.choices and value not in option.choices:
        raise ValueError(f"{value!r} is none of {', '.join(option.choices)}")
    if name == "primary" and value:
        return parse_ifname(str(value))
    if name == "ad_actor_system" and value:
        return parse_mac(str(value))
    return value


def _read_vlans(document: Any) -> PortVlans:
    table = _table(document, {"pvid", "untagged", "tagged", "exact"})
    untagged, tagged = (VidSet.parse(_text(table, name)) for name in ("untagged", "tagged"))
    if untagged & tagged:
        raise ValueError(f"{untagged & tagged} is tagged and untagged at once")
    exact = _flag(table, "exact")
    return PortVlans(
        pvid=_number(table, "pvid", VID_MAX), untagged=untagged, tagged=tagged, exact=True if exact is None else exact
    )


def _ref(one: Any) -> Ref:
    if not isinstance(one, list) or len(one) != 3 or not all(isinstance(part, str) for part in one):
        raise ValueError("an object is three texts: kind, name, namespace")
    return Ref(*one)


# -- routes ----------------------------------------------------------------------------------------


def _route_key(route: Route) -> tuple[str, ...]:
    return tuple(str(getattr(route, f.name) or "") for f in fields(route))


def _write_route(route: Route) -> dict[str, Any]:
    found = {f.name: value for f in fields(route) if (value := getattr(route, f.name)) not in (None, f.default)}
    if route.exact is not None:
        exact = route.exact
        found["exact"] = {"message": exact.message.hex(), "links": list(exact.links), "reached": exact.reached}
        found["exact"] |= {name: text for name in ("source", "stays") if (text := getattr(exact, name))}
    return found


def _read_exact(document: Any) -> Exact:
    table = _table(document, {f.name for f in fields(Exact)})
    return Exact(
        message=_bytes(table, "message"),
        links=tuple(_at("links", parse_ifname, name) for name in _list(table, "links")),
        source=str(_at("source", ip_address, _text(table, "source"))) if "source" in table else "",
        reached=bool(_flag(table, "reached")),
        stays=_text(table, "stays") if "stays" in table else "",
    )


def _write_rule(rule: Rule) -> dict[str, Any]:
    return {"message": rule.message.hex(), "iif": rule.iif, "oif": rule.oif, "protocol": rule.protocol}


def _read_rule(document: Any) -> Rule:
    table = _table(document, {f.name for f in fields(Rule)})
    return Rule(
        message=_bytes(table, "message"),
        iif=_at("iif", _none_or_ifname, _text(table, "iif")),
        oif=_at("oif", _none_or_ifname, _text(table, "oif")),
        protocol=_number(table, "protocol", 0xFF) or 0,
    )


def _write_filters(filters: Filters) -> dict[str, Any]:
    kept = ("container_id", "ifname", "network", "mac", "masquerade", "backend")
    return {
        port: {name: _json(value) for name in kept if (value := getattr(one, name))}
        for port, one in sorted(filters.items())
    }


def _read_filters(document: Any) -> dict[IfName, PortFilter]:
    return {parse_ifname(port): _at(port, _read_filter, one) for port, one in _table(document).items()}


def _read_filter(document: Any) -> PortFilter:
    table = _table(document, {"container_id", "ifname", "network", "mac", "masquerade", "backend"})
    return PortFilter(
        container_id=_text(table, "container_id"),
        ifname=_text(table, "ifname"),
        network=_text(table, "network") if "network" in table else "",
        mac=parse_mac(_text(table, "mac")) if "mac" in table else None,
        masquerade=tuple(str(_at("masquerade", ip_interface, one)) for one in _list(table, "masquerade")),
        backend=_text(table, "backend") if "backend" in table else "",
    )


def _write_policies(table: RuleTable) -> dict[str, Any]:
    return {
        "chains": {
            name: {"hook": chain.hook, "rules": [_write_table_rule(rule) for rule in chain.rules]}
            for name, chain in sorted(table.chains.items())
        },
        "sets": {name: {"form": s.form, "members": sorted(s.members)} for name, s in sorted(table.sets.items())},
    }


def _write_table_rule(rule: TableRule) -> dict[str, Any]:
    return {"comment": rule.comment, "refers": list(rule.refers), "expr": list(rule.expr)}


def _read_policies(document: Any) -> RuleTable:
    table = _table(document, {"chains", "sets"})
    return RuleTable(
        chains={name: _at(name, _read_chain, one) for name, one in _table(table["chains"]).items()},
        sets={name: _at(name, _read_set, one) for name, one in _table(table["sets"]).items()},
    )


def _read_chain(document: Any) -> TableChain:
    table = _table(document, {"hook", "rules"})
    return TableChain(hook=_text(table, "hook"), rules=tuple(map(_read_table_rule, _list(table, "rules"))))


def _read_table_rule(document: Any) -> TableRule:
    table = _table(document, {"comment", "refers", "expr"})
    refers = tuple(map(str, _list(table, "refers")))
    return TableRule(comment=_text(table, "comment"), refers=refers, expr=tuple(_list(table, "expr")))


def _read_set(document: Any) -> TableSet:
    table = _table(document, {"form", "members"})
    return TableSet(form=_text(table, "form"), members=frozenset(map(str, _list(table, "members"))))


def _read_route(document: Any) -> Route:
    table = _table(document, {f.name for f in fields(Route)})
    dst = _text(table, "dst")
    if dst != "default":
        dst = str(_at("dst", ip_network, dst))
    numbers = {n: v for n in ("table", "metric", "protocol", "order") if (v := _number(table, n, _U32)) is not None}
    return Route(
        dst=dst,
        source=str(_at("source", ip_address, _text(table, "source"))) if "source" in table else "",
        dev=_at("dev", parse_ifname, _text(table, "dev")) if "dev" in table else None,
        gateway=str(_at("gateway", ip_address, _text(table, "gateway"))) if "gateway" in table else None,
        exact=_at("exact", _read_exact, table["exact"]) if "exact" in table else None,
        until=_seconds(table, "until"),
        **numbers,
    )


# -- pieces ----------------------------------------------------------------------------------------


@contextmanager
def _place(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{name}{'.' if _is_place(text) else ': '}{text}") from error


def _is_place(text: str) -> bool:
    """Whether it begins with the name of a field, as what is raised further in does."""
    return text.partition(":")[0].partition(".")[0].replace("_", "").isalnum() and " " not in text.partition(":")[0]


def _at(name: str, read_one: Callable[[Any], T], value: Any) -> T:
    with _place(name):
        return read_one(value)


def _table(document: Any, known: set[str] | frozenset[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise ValueError(f"this is {document!r:.40}, and no mapping")
    if known is not None and (strange := sorted(set(document) - known)):
        raise ValueError(f"there is no field {strange[0]!r:.40}")
    return document


def _list(table: Mapping[str, Any], name: str) -> list[Any]:
    found = table.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"{name}: this is no list")
    return found


def _text(table: Mapping[str, Any], name: str) -> str:
    found = table.get(name)
    if not isinstance(found, str):
        raise ValueError(f"{name}: this is no text")
    return found


def _texts(table: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _at(name, _table, table.get(name, {}))
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"{name}: these are not texts")
    return dict(found)


def _bytes(table: Mapping[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(_text(table, name))
    except ValueError as error:
        raise ValueError(f"{name}: these are no bytes in hexadecimal") from error


def _seconds(table: Mapping[str, Any], name: str) -> float | None:
    found = table.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 2**40:
        raise ValueError(f"{name}: this is no time")
    return float(found)


def _flag(table: Mapping[str, Any], name: str) -> bool | None:
    found = table.get(name)
    if found is not None and not isinstance(found, bool):
        raise ValueError(f"{name}: this is neither true nor false")
    return found


def _number(table: Mapping[str, Any], name: str, most: int) -> int | None:
    found = table.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
        raise ValueError(f"{name}: this is no number from 0 to {most}")
    return found


def _signed(table: Mapping[str, Any], name: str) -> int | None:
    found = table.get(name)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int) or abs(found) > _U32 >> 1):
        raise ValueError(f"{name}: this is no number of 32 bits")
    return found


def _none_or_ifname(text: str) -> str:
    return parse_ifname(text) if text else ""


def _cidr(text: Any) -> Cidr:
    if not isinstance(text, str):
        raise ValueError("an address is a text")
    return Cidr(ip_interface(text).with_prefixlen)
