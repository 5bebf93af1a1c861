"""compile_policies: policies, pods and namespaces -> the rule set of one node.

Chains and sets are named after what they are for, not after what is in them: where a pod comes, goes or is labelled
anew, only members of sets differ.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from windrow.model.cluster import Cluster, matches_selector
from windrow.model.lazy import dataclass
from windrow.model.policies import (
    DEFAULT_NETWORK,
    Direction,
    IpBlock,
    Namespace,
    NetworkPolicy,
    Peer,
    Pod,
    PolicyPort,
    PolicyRule,
    labels_of_namespace,
)
from windrow.model.policyrules import (
    HOST_SET,
    SIDES,
    GuardedPort,
    Members,
    MemberSet,
    OwnGuards,
    PacketRule,
    PolicyChain,
    PolicyRules,
    set_name,
)
from windrow.model.selectors import LabelSelector, Operator
from windrow.model.values import IfName, Ref

FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A pod's port on this node, in one network. `addresses`: all that it has there, as far as they are known; `kept`:
    nothing leaves it from another one."""

    port: IfName
    pod: Ref
    network: str = DEFAULT_NETWORK
    addresses: tuple[str, ...] = ()
    kept: bool = False


def compile_policies(
    cluster: Cluster,
    endpoints: Iterable[Endpoint],
    host: Iterable[str] = (),
    others: Iterable[IfName] = (),
    own: Mapping[IfName, OwnGuards] = MappingProxyType({}),
) -> PolicyRules:
    """`host`: the addresses of this node; `others`: its ports that are no pod's, and so no policy's; `own`: what ports
    of either kind ask for. A port that no policy isolates is judged, and not guarded."""
    namespaces = cluster.policed_namespaces()
    if not namespaces and not own:
        return PolicyRules()
    compiler, endpoints = _Compiler(cluster), list(endpoints)
    ports = {one.port: guarded for one in endpoints if (guarded := compiler.guarded(one)) is not None}
    compiler.add_set(HOST_SET, Members.ADDRESSES, host)
    return PolicyRules(
        sets=compiler.sets,
        chains=compiler.chains,
        ports=ports,
        own=own,
        addresses={one.port: one.addresses for one in endpoints},
        kept=frozenset(one.port for one in endpoints if one.kept),
        judged=frozenset((*(one.port for one in endpoints), *others)),
        namespaces=namespaces,
    )


class _Space:
    """A namespace with its pods, which are found by a label without looking at all of them."""

    def __init__(self, labels: Mapping[str, str], pods: Sequence[Pod]) -> None:
        self.labels, self._pods = labels, pods
        self._by_label: dict[tuple[str, str], list[Pod]] = {}
        for pod in pods:
            for label in pod.meta.labels.items():
                self._by_label.setdefault(label, []).append(pod)

    def selected(self, selector: LabelSelector | None) -> Iterator[Pod]:
        asked = selector.requirements if selector is not None else ()
        named = next((one for one in asked if one.operator is Operator.IN), None)
        pods: Iterable[Pod] = self._pods
        if named is not None:
            pods = (p for value in dict.fromkeys(named.values) for p in self._by_label.get((named.key, value), ()))
        return (pod for pod in pods if matches_selector(selector, pod.meta.labels))


def _namespaces(cluster: Cluster, pods: Iterable[Pod]) -> dict[str, _Space]:
    """Those that have pods, with an object or without."""
    inside: dict[str, list[Pod]] = {}
    for pod in pods:
        inside.setdefault(pod.meta.namespace, []).append(pod)
    labels = {one.name: one.labels for one in cluster.all(Namespace)}
    return {name: _Space(labels.get(name) or labels_of_namespace(name), found) for name, found in inside.items()}


class _Compiler:
    """Collects the chains and sets that somebody needs; it lives for one compilation."""

    def __init__(self, cluster: Cluster) -> None:
        self.sets: dict[str, MemberSet] = {}
        self.chains: dict[str, PolicyChain] = {}
        self._pods = cluster.all(Pod)
        self._by_ref = {pod.ref: pod for pod in self._pods}
        self._spaces = _namespaces(cluster, self._pods)
        self._policies: dict[tuple[str, str], list[NetworkPolicy]] = {}
        for policy in cluster.policies():
            for network in dict.fromkeys(policy.networks):
                self._policies.setdefault((policy.meta.namespace, network), []).append(policy)

    def guarded(self, endpoint: Endpoint) -> GuardedPort | None:
        pod = self._by_ref.get(endpoint.pod)
        if pod is None or pod.host_network:
            return None
        about = [
            policy
            for policy in self._policies.get((pod.meta.namespace, endpoint.network), ())
            if matches_selector(policy.pods, pod.meta.labels)
        ]
        chains = {
            direction: tuple(self._chain(p, endpoint.network, direction) for p in about if direction in p.directions)
            for direction in Direction
        }
        isolated = {direction: names for direction, names in chains.items() if names}
        if not isolated:
            return None
        logged = {
            direction: most
            for direction in isolated
            if (most := max(policy.logged for policy in about if direction in policy.directions))
        }
        return GuardedPort(chains=isolated, logged=logged, leased=endpoint.network != DEFAULT_NETWORK)

    def add_set(self, name: str, kind: Members, members: Iterable[str]) -> None:
        """Both halves, be one of them empty: which family the next pod has is not known."""
        by_family: dict[int, set[str]] = {family: set() for family in FAMILIES}
        for member in members:
            by_family[_family(member)].add(member)
        for family, found in by_family.items():
            self.sets[set_name(name, family)] = MemberSet(kind=kind, family=family, members=frozenset(found))

    # One policy -----------------------------------------------------------------------------------

    def _chain(self, policy: NetworkPolicy, network: str, direction: Direction) -> str:
        name = f"{SIDES[direction]}-{_digest(policy.ref, network)}"
        if name not in self.chains:
            rules = (
                made
                for number, rule in enumerate(policy.rules(direction))
                for made in self._rules(policy, network, rule, f"{policy.ref} {direction.lower()}[{number}]")
            )
            self.chains[name] = PolicyChain(direction=direction, rules=tuple(rules))
        return name

    def _rules(self, policy: NetworkPolicy, network: str, rule: PolicyRule, note: str) -> Iterator[PacketRule]:
        peers = list(self._peers(policy, network, rule.peers)) if rule.peers else [""]
        for name in peers:
            for port in rule.ports or (None,):
                yield from self._of_port(network, name, port, note)

    def _of_port(self, network: str, peers: str, port: PolicyPort | None, note: str) -> Iterator[PacketRule]:
        """One rule for both families where nothing in it has an address."""
        sockets = self._sockets(network, port) if port is not None and port.name else ""
        for family in FAMILIES if peers or sockets else (0,):
            yield PacketRule(
                family=family,
                peers=set_name(peers, family) if peers else "",
                protocol=port.protocol if port is not None else None,
                first=port.first if port is not None else 0,
                last=port.last if port is not None else 0,
                sockets=set_name(sockets, family) if sockets else "",
                note=note,
            )

    # Sets -----------------------------------------------------------------------------------------

    def _peers(self, policy: NetworkPolicy, network: str, peers: Sequence[Peer]) -> Iterator[str]:
        """The names of the sets: one for all pods of a rule, one for all its blocks."""
        blocks = tuple(peer.block for peer in peers if peer.block is not None)
        selecting = tuple(peer for peer in peers if peer.block is None)
        if selecting:
            name = f"pods-{_digest(network, policy.meta.namespace, selecting)}"
            if set_name(name, FAMILIES[0]) not in self.sets:
                pods = (pod for peer in selecting for pod in self._selected(policy.meta.namespace, peer))
                self.add_set(name, Members.ADDRESSES, (a for pod in pods for a in pod.addresses_in(network)))
            yield name
        if blocks:
            name = f"nets-{_digest(blocks)}"
            if set_name(name, FAMILIES[0]) not in self.sets:
                self.add_set(name, Members.RANGES, ranges(blocks))
            yield name

    def _selected(self, own: str, peer: Peer) -> Iterator[Pod]:
        for name, space in self._spaces.items():
            if name == own if peer.namespaces is None else matches_selector(peer.namespaces, space.labels):
                yield from space.selected(peer.pods)

    def _sockets(self, network: str, port: PolicyPort) -> str:
        """All pods that have a port of this name. Which of them the packet may go to, the rest of the rule says."""
        name = f"port-{_digest(network, port.protocol, port.name)}"
        if set_name(name, FAMILIES[0]) not in self.sets:
            found = (
                f"{address} . {one.number}"
                for pod in self._pods
                for one in pod.ports
                if (one.name, one.protocol) == (port.name, port.protocol)
                for address in pod.addresses_in(network)
            )
            self.add_set(name, Members.SOCKETS, found)
        return name


def _digest(*parts: object) -> str:
    """Names of chains and sets have few characters to choose from, and selectors have many."""
    from hashlib import sha256  # loads OpenSSL, and most hosts have no policies

    return sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()[:16]


def _family(member: str) -> int:
    return 6 if ":" in member else 4


# Blocks of addresses --------------------------------------------------------------------------------


def ranges(blocks: Iterable[IpBlock]) -> Iterator[str]:
    """What is in at least one block: `10.0.0.0-10.0.0.255`, as few ranges as can be. A set of intervals takes none that
    overlap."""
    for family in FAMILIES:
        spans = sorted(span for block in blocks for span in _spans(block, family))
        for first, last in _merged(spans):
            yield f"{_address(first, family)}-{_address(last, family)}"


def _spans(block: IpBlock, family: int) -> Iterator[tuple[int, int]]:
    """First and last address of each piece that the exceptions leave."""
    network = ipaddress.ip_network(block.cidr)
    if network.version != family:
        return
    at, end = int(network.network_address), int(network.broadcast_address)
    holes = sorted(map(ipaddress.ip_network, block.excluded), key=lambda hole: int(hole.network_address))
    for hole in holes:
        if int(hole.network_address) > at:
            yield at, int(hole.network_address) - 1
        at = max(at, int(hole.broadcast_address) + 1)
    if at <= end:
        yield at, end


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """From rising ones. Ranges that touch become one."""
    open_: tuple[int, int] | None = None
    for first, last in spans:
        if open_ is not None and first <= open_[1] + 1:
            open_ = open_[0], max(open_[1], last)
            continue
        if open_ is not None:
            yield open_
        open_ = first, last
    if open_ is not None:
        yield open_


def _address(number: int, family: int) -> str:
    return str(ipaddress.IPv4Address(number) if family == 4 else ipaddress.IPv6Address(number))
