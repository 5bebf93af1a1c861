"""Which part of the overlay's network is whose: for the nodes that say none, the first that is free, in the order of
their names. Of the same Nodes it is always the same; what is written down stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network

from windrow.model.objects import Node
from windrow.model.overlay import Family, NetConf, Network
from windrow.model.values import Cidr


def pod_networks(node: Node, family: Family) -> list[Network]:
    """What is written down as its part."""
    return [network for network in map(ip_network, node.pod_cidrs) if network.version == family.version]


def free_networks(conf: NetConf, nodes: Iterable[Node], family: Family) -> Mapping[str, Network]:
    """Node -> its part, for those that have none of this family; who finds none free is left out."""
    whole, length = conf.networks[family.version], conf.subnets[family.version]
    have = [(node.name, pod_networks(node, family)) for node in nodes]
    used = sorted((_slots(n, whole, length) for _, networks in have for n in networks), key=lambda r: (r.start, r.stop))
    without = sorted(name for name, networks in have if not networks)
    return {name: _at(slot, whole, length) for name, slot in zip(without, _gaps(used, whole, length), strict=False)}


def allotted(conf: NetConf, nodes: Iterable[Node]) -> list[Node]:
    """Those that lack a network of a family and find one free, with it."""
    every = list(nodes)
    free = [free_networks(conf, every, family) for family in conf.families]
    more = {node.name: tuple(Cidr(str(one[node.name])) for one in free if node.name in one) for node in every}
    return [replace(node, pod_cidrs=(*node.pod_cidrs, *more[node.name])) for node in every if more[node.name]]


def _gaps(used: Iterable[range], whole: Network, length: int) -> Iterator[int]:
    """The numbers of the parts that nobody has; `used` in their order."""
    slot = 0
    for taken in (*used, range(1 << (length - whole.prefixlen), 0)):
        yield from range(slot, taken.start)
        slot = max(slot, taken.stop)


def _slots(network: Network, whole: Network, length: int) -> range:
    """The numbers of the parts that it touches; of one outside, none."""
    if not network.overlaps(whole):
        return range(0)
    shift, base = whole.max_prefixlen - length, int(whole.network_address)
    first = max(int(network.network_address), base)
    last = min(int(network.broadcast_address), int(whole.broadcast_address))
    return range((first - base) >> shift, ((last - base) >> shift) + 1)


def _at(slot: int, whole: Network, length: int) -> Network:
    address = int(whole.network_address) + (slot << (whole.max_prefixlen - length))
    return type(whole)((address, length))
