"""May this packet pass? Straight from the specification of NetworkPolicy, policy by policy and rule by rule."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

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
from windrow.model.values import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The first one of a connection. `protocol`: TCP, UDP, SCTP, or another one, which has no ports."""

    source: str
    destination: str
    protocol: str = "TCP"
    port: int = 0
    """The destination's."""
    network: str = DEFAULT_NETWORK


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`policy` and `rule` (its number in the policy) decided in `direction`: they let it pass, or, without a rule, the
    policy is one that isolates the pod. No policy: no pod at either end is isolated."""

    allowed: bool
    direction: Direction | None = None
    policy: Ref | None = None
    rule: int | None = None

    def __str__(self) -> str:
        if self.policy is None or self.direction is None:
            return "allowed: no policy is about it"
        side = self.direction.lower()
        if self.rule is not None:
            return f"allowed by {self.policy}, {side}[{self.rule}]"
        return f"denied: {self.policy} isolates the pod ({side}), and no rule of any policy lets it through"


OPEN = Verdict(allowed=True)


def allows(cluster: Cluster, packet: Packet, host: Collection[str] = ()) -> Verdict:
    """`host`: the addresses of the node that the pod at either end is on; with them it may always speak, as with
    itself. Where both ends are isolated both must let it pass, and the receiver's verdict is the one that is told."""
    source, destination = _owner(cluster, packet, packet.source), _owner(cluster, packet, packet.destination)
    if packet.source in host or packet.destination in host:
        return OPEN
    if source is not None and destination is not None and source.ref == destination.ref:
        return OPEN
    decided = OPEN
    for direction, pod in ((Direction.EGRESS, source), (Direction.INGRESS, destination)):
        said = _one_way(cluster, packet, direction, pod) if pod is not None else OPEN
        if not said.allowed:
            return said
        decided = said if said.policy is not None else decided
    return decided


def _owner(cluster: Cluster, packet: Packet, address: str) -> Pod | None:
    return next((pod for pod in cluster.all(Pod) if address in pod.addresses_in(packet.network)), None)


def _one_way(cluster: Cluster, packet: Packet, direction: Direction, pod: Pod) -> Verdict:
    isolating = list(_isolating(cluster, packet.network, direction, pod))
    for policy in isolating:
        for number, rule in enumerate(policy.rules(direction)):
            if _lets_through(cluster, packet, direction, policy, rule):
                return Verdict(allowed=True, direction=direction, policy=policy.ref, rule=number)
    if isolating:
        return Verdict(allowed=False, direction=direction, policy=isolating[0].ref)
    return OPEN


def _isolating(cluster: Cluster, network: str, direction: Direction, pod: Pod) -> Iterator[NetworkPolicy]:
    for policy in cluster.policies():
        of_pod = policy.meta.namespace == pod.meta.namespace and matches_selector(policy.pods, pod.meta.labels)
        if of_pod and network in policy.networks and direction in policy.directions:
            yield policy


def _lets_through(
    cluster: Cluster, packet: Packet, direction: Direction, policy: NetworkPolicy, rule: PolicyRule
) -> bool:
    other = packet.source if direction is Direction.INGRESS else packet.destination
    fits_peer = not rule.peers or any(_is_peer(cluster, packet, other, policy, peer) for peer in rule.peers)
    return fits_peer and (not rule.ports or any(_is_port(cluster, packet, port) for port in rule.ports))


def _is_peer(cluster: Cluster, packet: Packet, address: str, policy: NetworkPolicy, peer: Peer) -> bool:
    if peer.block is not None:
        return _in_block(address, peer.block)
    pod = _owner(cluster, packet, address)
    if pod is None:
        return False
    if peer.namespaces is None:
        in_namespace = pod.meta.namespace == policy.meta.namespace
    else:
        in_namespace = matches_selector(peer.namespaces, _namespace_labels(cluster, pod.meta.namespace))
    return in_namespace and matches_selector(peer.pods, pod.meta.labels)


def _in_block(address: str, block: IpBlock) -> bool:
    one = ipaddress.ip_address(address)
    return one in ipaddress.ip_network(block.cidr) and not any(one in ipaddress.ip_network(n) for n in block.excluded)


def _namespace_labels(cluster: Cluster, name: str) -> dict[str, str]:
    found = cluster.objects.get(Ref(Namespace.KIND, name))
    return dict(found.labels if isinstance(found, Namespace) else labels_of_namespace(name))


def _is_port(cluster: Cluster, packet: Packet, port: PolicyPort) -> bool:
    if port.protocol != packet.protocol:
        return False
    if port.name:
        target = _owner(cluster, packet, packet.destination)
        named = target.ports if target is not None else ()
        return any((p.name, p.protocol, p.number) == (port.name, port.protocol, packet.port) for p in named)
    return not port.first or port.first <= packet.port <= port.last
