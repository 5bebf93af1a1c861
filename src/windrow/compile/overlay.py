"""Pass: the Nodes and the overlay's configuration -> a tunnel device for each family, and the ways to all other nodes.

flannel's, to the byte on the wire: per node a permanent neighbour, an entry of the forwarding table, and a route to its
podCIDR by the first address of that network. What is wrong with another node costs the way to that node alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import ip_address, ip_interface

from windrow.compile.farends import Far, FarEnds, end_among, tunnel_ends, usable
from windrow.compile.hostnet import addresses_of
from windrow.compile.ipv6 import has_ipv6, off_words
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.host import (
    ACCEPT_RA,
    FRESH_FLAGS,
    IP6_RT_PRIO_USER,
    OWNER_PROTOCOL,
    TXQLEN_DEFAULT,
    FdbEntry,
    Link,
    Peer,
    Route,
    Vxlan,
    Wireguard,
)
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, HostNetworkConfig
from windrow.model.overlay import PLACE, Family, NetConf, Network, Start, net_conf
from windrow.model.policyrules import TunnelEnds
from windrow.model.problems import Problem, Severity
from windrow.model.reach import taken_by_route
from windrow.model.values import IPV6_MTU_MIN, MTU_DEFAULT, Cidr, IfName, Ref
from windrow.model.verbatim import onlink, permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """`held`: tunnel devices that stay as they are, as something is not known that they need."""

    links: tuple[Link, ...] = ()
    routes: frozenset[Route] = frozenset()
    held: frozenset[IfName] = frozenset()
    problems: tuple[Problem, ...] = ()
    ends: tuple[TunnelEnds, ...] = ()
    """Between which addresses its packets go, where Windrow's devices take them in."""
    start: Mapping[int, Start] = field(default_factory=dict)
    """This node's own end of an encrypted one, by version of IP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """This node's end of all tunnels: an address of the management network, and the link that has it. `ours`: Windrow
    made that link, and may put routes on it."""

    address: str
    network: Network
    link: IfName
    mtu: int
    ours: bool


def overlay(cluster: Cluster, facts: NodeFacts, configs: Sequence[HostNetworkConfig], links: Iterable[Link]) -> Overlay:
    """`configs`: the host networks of this node; `links`: what is wanted of it so far. Nothing without the annotation
    `windrow.io/overlay` of the management network."""
    conf = net_conf(cluster.cluster_network(names.MGMT))
    if conf is None:
        return Overlay()
    made = {link.name: link for link in links}
    return _joined([_of_family(family, conf, cluster, facts, configs, made) for family in conf.families])


def _joined(parts: Sequence[Overlay]) -> Overlay:
    return Overlay(
        links=tuple(link for part in parts for link in part.links),
        routes=frozenset(route for part in parts for route in part.routes),
        held=frozenset(name for part in parts for name in part.held),
        problems=tuple(dict.fromkeys(problem for part in parts for problem in part.problems)),
        ends=tuple(one for part in parts for one in part.ends),
        start={version: start for part in parts for version, start in part.start.items()},
    )


def _of_family(
    family: Family,
    conf: NetConf,
    cluster: Cluster,
    facts: NodeFacts,
    configs: Sequence[HostNetworkConfig],
    made: Mapping[IfName, Link],
) -> Overlay:
    device, node = conf.device(family), cluster.node(facts.node)
    if device in facts.links - facts.made:
        return Overlay(held=frozenset({device}), problems=(_of_others(device, conf),))
    others = FarEnds(family, conf, cluster)
    end = own_end(family, facts, configs, made)
    ends: tuple[TunnelEnds, ...] = ()
    if facts.features.bridge_rules:
        ends = (tunnel_ends(family, conf, cluster, end.address if end is not None else ""),)
    else:
        others.problems.append(_unguarded(facts))
    problem = _unable(family, conf, facts) or _bad_end(end, family, conf, facts)
    own = others.read(node, end.address, facts.wireguard_key) if problem is None and end is not None else None
    if own is None or end is None:
        problems = (*others.problems, *((problem,) if problem else ()))
        return Overlay(held=frozenset({device}), problems=problems, ends=ends)
    others.take(own, node)
    for other in cluster.nodes():
        if other.name != node.name:
            others.add(other)
    ipv6 = has_ipv6(device, facts)
    if conf.encrypted:
        return replace(_encrypted(family, conf, end, own, others, ipv6=ipv6), ends=ends)
    return replace(_made(family, conf, end, own, others, ipv6=ipv6), ends=ends)


def _made(family: Family, conf: NetConf, end: End, own: Far, others: FarEnds, *, ipv6: bool) -> Overlay:
    device, mtu = conf.device(family), end.mtu - family.overhead
    near = [far for far in others.found if conf.direct and ip_address(far.address) in end.network]
    direct = frozenset(near if end.ours else ())
    tunnelled = [far for far in others.found if far not in direct]
    address = Cidr(f"{own.router}/{family.bits}")
    link = Link(
        name=device,
        spec=Vxlan(vni=conf.vni, port=conf.port, local=end.address),
        up=True,
        mtu=mtu,
        mac=own.mac,
        txqlen=TXQLEN_DEFAULT,
        promisc=False,
        flags=FRESH_FLAGS,
        mark=True,
        addrs=frozenset({address}),
        settled=frozenset({address}),
        neighbours=frozenset(permanent(far.router, far.mac) for far in tunnelled),
        fdb=frozenset(FdbEntry(mac=far.mac, dst=far.address) for far in tunnelled),
        settings={ACCEPT_RA: "0"} if ipv6 and mtu >= IPV6_MTU_MIN else {},
        origin=(_ABOUT,),
    )
    ways = [onlink(Cidr(str(far.network)), far.router, device) for far in tunnelled]
    ways += [_by_segment(far, end) for far in direct]
    problems = [*others.problems, *([_not_direct(end)] if near and not direct else [])]
    return Overlay(links=(link,), routes=frozenset(ways), problems=tuple(problems))


def _encrypted(family: Family, conf: NetConf, end: End, own: Far, others: FarEnds, *, ipv6: bool) -> Overlay:
    """flannel's: one route for all pods, so that nothing for a node that is not known (yet) leaves by another way; a
    peer for each node says where its part of them is."""
    device, mtu, port = conf.device(family), end.mtu - conf.overhead(family), conf.port_of(family)
    address = Cidr(f"{own.router}/{family.bits}")
    link = Link(
        name=device,
        spec=Wireguard(port=port, key=own.key or None),
        up=True,
        mtu=mtu,
        mark=True,
        addrs=frozenset({address}),
        settled=frozenset({address}),
        peers=frozenset(
            Peer(key=f.key, address=f.address, port=f.port, allowed=(Cidr(str(f.network)),), keepalive=conf.keepalive)
            for f in others.found
        ),
        settings={ACCEPT_RA: "0"} if ipv6 and mtu >= IPV6_MTU_MIN else {},
        origin=(_ABOUT,),
    )
    metric = IP6_RT_PRIO_USER if family.version == 6 else 0
    way = Route(dst=str(conf.networks[family.version]), dev=device, metric=metric, protocol=OWNER_PROTOCOL)
    problems, start = tuple(others.problems), {family.version: Start(address=end.address, port=port, key=own.key)}
    return Overlay(links=(link,), routes=frozenset({way}), problems=problems, start=start)


def _by_segment(far: Far, end: End) -> Route:
    """Without a tunnel (flannel's host-gw)."""
    metric = IP6_RT_PRIO_USER if far.network.version == 6 else 0
    return Route(dst=str(far.network), dev=end.link, gateway=far.address, metric=metric, protocol=OWNER_PROTOCOL)


# -- this node ---------------------------------------------------------------------------------------


def own_end(
    family: Family, facts: NodeFacts, configs: Sequence[HostNetworkConfig], made: Mapping[IfName, Link]
) -> End | None:
    """An address of the management network: one of its HostNetworkConfigs (`end_among`); where the operating system
    made the network, one that it has. None: there is none (yet)."""
    mine = [c for c in configs if c.cluster_network == names.MGMT]
    if (chosen := end_among(mine, lambda config: addresses_of(config, facts), family)) is not None:
        config, address = chosen
        return _end(address, config.interface, facts, made)
    routers = [ip_address(router) for router in facts.reach.gateways]

    def place(address: Cidr) -> tuple[bool, str]:
        return not any(router in ip_interface(address).network for router in routers), address

    for address in sorted((a for a in facts.reach.addresses if usable(a, family)), key=place):
        link = next((name for name, has in sorted(facts.addrs.items()) if address in has), None)
        if link is not None:
            return _end(address, link, facts, made)
    return None


def _end(address: Cidr, link: IfName, facts: NodeFacts, made: Mapping[IfName, Link]) -> End:
    wanted, interface = made.get(link), ip_interface(address)
    return End(
        address=str(interface.ip),
        network=interface.network,
        link=link,
        mtu=(wanted.mtu if wanted is not None else None) or facts.mtus.get(link, MTU_DEFAULT),
        ours=wanted is not None and bool(wanted.mark),
    )


# -- what is wrong here ------------------------------------------------------------------------------

_ABOUT = Ref(ClusterNetwork.KIND, names.MGMT)


def _warning(code: str, message: str, hint: str) -> Problem:
    return Problem(code=code, message=message, hint=hint, path=PLACE, about=_ABOUT, severity=Severity.WARNING)


def _of_others(device: IfName, conf: NetConf) -> Problem:
    what = f"{device} is there and Windrow did not make it (flanneld did, most likely)"
    message = f"{what}: Windrow changes neither it nor the routes over it"
    hint = "take it over without losing a packet: windrow overlay adopt"
    if conf.encrypted:
        hint = f"end flanneld on this node, which takes {device} along (one that was killed does not: delete it)"
    return _warning("overlay-of-others", message, hint)


def _unable(family: Family, conf: NetConf, facts: NodeFacts) -> Problem | None:
    device = conf.device(family)
    if conf.encrypted and not facts.features.wireguard:
        message = f"the kernel of node {facts.node} has no WireGuard, so its pods reach no other node's"
        return _warning("kernel-feature", message, "load the kernel module: modprobe wireguard")
    if not conf.encrypted and not facts.features.vxlan:
        message = f"the kernel of node {facts.node} has no VXLAN, so its pods reach no other node's"
        return _warning("kernel-feature", message, "load the kernel module: modprobe vxlan")
    if family.version == 6 and not has_ipv6(device, facts):
        why, hint = off_words(device, absent=not facts.features.ipv6)
        return _warning("ipv6-off", f"the overlay's IPv6 part is left out: {why}", hint)
    return None


def _unguarded(facts: NodeFacts) -> Problem:
    message = f"node {facts.node} does not drop forged packets of the overlay"
    hint = "it needs nft, and nftables with the family bridge: apt-get install nftables; modprobe nf_tables"
    return _warning("overlay-unguarded", message, hint)


def _bad_end(end: End | None, family: Family, conf: NetConf, facts: NodeFacts) -> Problem | None:
    whole = str(conf.networks[family.version])
    if end is None:
        message = f"node {facts.node} has no IPv{family.version} address on {names.MGMT}, from which its tunnels start"
        return _warning("overlay-address-missing", message, f"give it one with a HostNetworkConfig of {names.MGMT}")
    if taken := taken_by_route(facts.reach, whole, family.version, 0):
        message = f"the overlay's network {whole} would take over {taken}"
        return _warning("management-taken", message, "choose another network for the pods")
    if family.version == 6 and end.mtu - conf.overhead(family) < IPV6_MTU_MIN:
        message = f"{end.link} has MTU {end.mtu}, and what is left of it in a tunnel is less than IPv6 needs"
        return _warning("overlay-mtu", message, f"{names.MGMT} needs an MTU of {IPV6_MTU_MIN + conf.overhead(family)}")
    return None


def _not_direct(end: End) -> Problem:
    message = f"nodes of its segment are reached by the tunnel, too: {end.link} is the operating system's, "
    message += "and Windrow puts no routes on it"
    hint = "let Windrow have the management network (windrow init), or take DirectRouting out"
    return _warning("overlay-not-direct", message, hint)
