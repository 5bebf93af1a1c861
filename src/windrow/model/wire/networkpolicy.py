"""NetworkPolicy and MultiNetworkPolicy, by the rules of Kubernetes' own validation (`ValidateNetworkPolicySpec`)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from windrow.model.policies import (
    ANNOTATION_LOG_DROPPED,
    ANNOTATION_POLICY_FOR,
    LOG_MAX,
    Direction,
    IpBlock,
    MultiNetworkPolicy,
    NetworkPolicy,
    Peer,
    PolicyPort,
    PolicyRule,
    Protocol,
)
from windrow.model.selectors import LabelSelector
from windrow.model.wire.node import parse_network
from windrow.model.wire.reader import Envelope, Field, Table, suggestion
from windrow.model.wire.selectors import LABEL_SELECTOR, read_label_selector, write_requirements
from windrow.model.wire.text import quoted

_FIELDS = ("podSelector", "policyTypes", "ingress", "egress")
PORT_MAX = 65535
PORT_NAME_MAX = 15
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
"""IANA service name, RFC 6335 §5.1, in lower case."""
_NETWORK_HINT = "a network, such as 10.0.0.0/8 or fd00::/8"
_SIDES = {Direction.INGRESS: ("ingress", "from"), Direction.EGRESS: ("egress", "to")}
"""Direction -> the field with its rules, and the field of a rule with its peers."""
P = TypeVar("P", bound=NetworkPolicy)


def read(spec: Table, envelope: Envelope) -> NetworkPolicy:
    return _policy(NetworkPolicy, spec, envelope)


def read_multi(spec: Table, envelope: Envelope) -> MultiNetworkPolicy:
    policy = _policy(MultiNetworkPolicy, spec, envelope)
    if not policy.networks:
        message = "names no network, so the policy has no effect"
        hint = f"annotations: {{{ANNOTATION_POLICY_FOR}: NAMESPACE/NETWORK}}"
        spec.report.warn("policy-without-network", f"metadata.annotations[{ANNOTATION_POLICY_FOR}]", message, hint)
    return policy


def _policy(cls: type[P], spec: Table, envelope: Envelope) -> P:
    _only(spec, _FIELDS)
    rules = {direction: tuple(_rules(spec, *names)) for direction, names in _SIDES.items()}
    found = cls(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        pods=_selector(spec, "podSelector") or LabelSelector(),
        directions=_directions(spec, has_egress=bool(rules[Direction.EGRESS])),
        ingress=rules[Direction.INGRESS],
        egress=rules[Direction.EGRESS],
    )
    if (asked := envelope.meta.annotations.get(ANNOTATION_LOG_DROPPED)) is not None and not found.logged:
        message = f"is {quoted(asked)}, so nothing is logged"
        hint = f"write how many packets a second at most, 1 to {LOG_MAX}, in quotes"
        spec.report.warn("log-dropped", f"metadata.annotations[{ANNOTATION_LOG_DROPPED}]", message, hint)
    return found


def _selector(table: Table, key: str) -> LabelSelector | None:
    found = table.get(key)
    if found and isinstance(found.value, dict) and not _only(table.table(key), LABEL_SELECTOR):
        return None
    return read_label_selector(found) if found else None


def _directions(spec: Table, *, has_egress: bool) -> frozenset[Direction]:
    """Not said: Ingress, and Egress where there are rules for it (`SetDefaults_NetworkPolicy`)."""
    listed = spec.get("policyTypes")
    items = list(listed.items()) if listed else []
    if not items:
        return frozenset(Direction) if has_egress else frozenset({Direction.INGRESS})
    if listed and len(items) > len(Direction):
        listed.wrong("policy-types", f"has {len(items)} entries, {len(Direction)} are the most")
    return frozenset(found for item in items if (found := item.choice(Direction)) is not None)


def _rules(spec: Table, key: str, peers: str) -> Iterator[PolicyRule]:
    listed = spec.get(key)
    for item in listed.items("a list of rules") if listed else ():
        table = _part(item, peers, "ports")
        if table is not None:
            yield PolicyRule(
                peers=tuple(filter(None, map(_peer, _items(table, peers)))),
                ports=tuple(filter(None, map(_port, _items(table, "ports")))),
            )


def _part(item: Field, *known: str) -> Table | None:
    """A map of a rule."""
    table = item.table()
    if table is not None:
        _only(table, known)
    return table


def _only(table: Table, known: Sequence[str]) -> bool:
    """Whether it has these fields and no others. What is left out lets more pass, so a slip must not be left out.
    (`kubectl` has the API server refuse it, too.)"""
    others = [(key, field) for key, field in table.fields() if key not in known]
    for key, field in others:
        field.wrong("unknown-field", "is no field there", suggestion(key, known) or f"known are {', '.join(known)}")
    return not others


def _items(table: Table, key: str) -> list[Field]:
    listed = table.get(key)
    return list(listed.items()) if listed else []


def _peer(item: Field) -> Peer | None:
    table = _part(item, "podSelector", "namespaceSelector", "ipBlock")
    if table is None:
        return None
    block = table.get("ipBlock")
    selectors = [key for key in ("podSelector", "namespaceSelector") if key in table]
    if block and selectors:
        block.wrong("peer-ambiguous", f"stands beside {selectors[0]}", "make it an entry of its own: - ipBlock: …")
    elif not block and not selectors:
        item.wrong("required", "names nobody", "podSelector, namespaceSelector or ipBlock; {} as a selector: all")
    return Peer(
        pods=_selector(table, "podSelector"),
        namespaces=_selector(table, "namespaceSelector"),
        block=_block(block) if block else None,
    )


def _block(field: Field) -> IpBlock | None:
    table = _part(field, "cidr", "except")
    named = table.required("cidr", _NETWORK_HINT) if table else None
    cidr = named.parsed(parse_network, "network-invalid", _NETWORK_HINT) if named else None
    if table is None or cidr is None:
        return None
    return IpBlock(cidr=cidr, excluded=tuple(_excluded(table, cidr)))


def _excluded(table: Table, cidr: str) -> Iterator[str]:
    block = ipaddress.ip_network(cidr)
    for item in _items(table, "except"):
        found = item.parsed(parse_network, "network-invalid", _NETWORK_HINT)
        if found is None:
            continue
        inner = ipaddress.ip_network(found)
        if not _holds(block, inner):
            item.wrong("except-outside", f"{found} is not inside of {cidr}", "a smaller network, of the same family")
        yield found


def _holds(block: ipaddress.IPv4Network | ipaddress.IPv6Network, inner: Any) -> bool:
    """A strict subset of it."""
    return block.version == inner.version and block != inner and bool(inner.subnet_of(block))


def _port(item: Field) -> PolicyPort | None:
    table = _part(item, "protocol", "port", "endPort")
    if table is None:
        return None
    named = table.get("protocol")
    protocol = (named.choice(Protocol) if named else None) or Protocol.TCP
    port, end = table.get("port"), table.get("endPort")
    if port is None or isinstance(port.value, str):
        if end:
            end.wrong("endport-alone", "needs a number in port, where the range begins", "port: 32000, endPort: 32768")
        return PolicyPort(protocol=protocol, name=_port_name(port) if port else "")
    first = port.integer(1, PORT_MAX, code="port-invalid", hint="a number, or the name of a container's port")
    last = end.integer(1, PORT_MAX, code="port-invalid") if end else first
    if first is None or last is None:
        return None
    if end and last < first:
        end.wrong("endport-below", f"{last} is below port, {first}", "the range runs from port to endPort")
    return PolicyPort(protocol=protocol, first=first, last=last)


def _port_name(field: Field) -> str:
    return field.parsed(parse_port_name, "port-invalid", "a number without quotes, or a name such as http") or ""


def parse_port_name(text: str) -> str:
    """Raises ValueError."""
    if len(text) > PORT_NAME_MAX or not _PORT_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not the name of a port: at most {PORT_NAME_MAX} of a-z, 0-9 and -")
    return text


# Writing --------------------------------------------------------------------------------------------


def write(policy: NetworkPolicy) -> dict[str, Any]:
    found: dict[str, Any] = {
        "podSelector": _write_selector(policy.pods),
        "policyTypes": [str(d) for d in Direction if d in policy.directions],
    }
    for direction, (key, peers) in _SIDES.items():
        if rules := policy.rules(direction):
            found[key] = [_write_rule(rule, peers) for rule in rules]
    return found


def _write_selector(selector: LabelSelector) -> dict[str, Any]:
    wanted = write_requirements(selector.requirements)
    return {"matchExpressions": wanted} if wanted else {}


def _write_rule(rule: PolicyRule, key: str) -> dict[str, Any]:
    peers, ports = [_write_peer(peer) for peer in rule.peers], [_write_port(port) for port in rule.ports]
    return {**({key: peers} if peers else {}), **({"ports": ports} if ports else {})}


def _write_peer(peer: Peer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if peer.pods is not None:
        found["podSelector"] = _write_selector(peer.pods)
    if peer.namespaces is not None:
        found["namespaceSelector"] = _write_selector(peer.namespaces)
    if peer.block is not None:
        excluded = {"except": list(peer.block.excluded)} if peer.block.excluded else {}
        found["ipBlock"] = {"cidr": peer.block.cidr, **excluded}
    return found


def _write_port(port: PolicyPort) -> dict[str, Any]:
    found: dict[str, Any] = {"protocol": str(port.protocol)}
    if port.name or port.first:
        found["port"] = port.name or port.first
    if port.last > port.first:
        found["endPort"] = port.last
    return found
