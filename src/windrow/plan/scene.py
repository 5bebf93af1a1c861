"""The scene: the wanted and the observed state side by side, with the questions the rules ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from windrow.model.host import (
    ACCEPT_RA,
    COMES_BY_ITSELF,
    IFA_F_NOPREFIXROUTE,
    IP6_RT_PRIO_ADDRCONF,
    MAIN_TABLE,
    OWNER_GROUP,
    OWNER_PROTOCOL,
    RTPROT_KERNEL,
    RTPROT_RA,
    Bond,
    Bridge,
    Details,
    HostState,
    Link,
    Observed,
    Other,
    Route,
    Rule,
    Runtime,
    StaticNeighbour,
    VlanIf,
    Vxlan,
    settled_metric,
)
from windrow.model.marks import mark_of
from windrow.model.ports import PORT_GROUP, PortRecord, is_recorded
from windrow.model.reach import Network, Reach, reach_of
from windrow.model.steps import Action, Impact, Phase, Step
from windrow.model.values import Cidr, IfName, Ref, VidSet
from windrow.plan.diff import UNKNOWN, why


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`held`: links that the plan must leave alone because nothing clear is said of them. `records`: whose the ports
    are, of bridges wanted or not.

    Its indexes are made once, when they are first asked for: a host may have thousands of links.
    """

    want: HostState
    have: Observed
    protected: frozenset[IfName]
    held: frozenset[IfName]
    records: tuple[PortRecord, ...] = ()
    renamed: Mapping[IfName, IfName] = field(default_factory=dict)
    """What a link of ours is called in `have` -> its name in the kernel, until the plan names it back."""
    consent: bool = False
    """Somebody stands by with an undo: what carries the management traffic may be changed."""

    def wanted(self, name: str | None) -> Link | None:
        return self.want.links.get(IfName(name or ""))

    def seen(self, name: str | None) -> Link | None:
        return self.have.state.links.get(IfName(name or ""))

    def runtime(self, name: str) -> Runtime | None:
        return self.have.runtime.get(IfName(name))

    @cached_property
    def ours(self) -> frozenset[str]:
        """The links that Windrow made, and that are free to be changed."""
        return (
            frozenset(n for n, r in self.have.runtime.items() if r.group == OWNER_GROUP or (r.altnames and r.owned))
            - self.held
        )

    def owned(self, name: str | None) -> bool:
        return name in self.ours

    def is_port(self, name: str) -> bool:
        """Whether a CNI call made the link: it may be put into place, and never be deleted. Where its group was taken
        away, its record says so."""
        runtime = self.runtime(name)
        if runtime is None:
            return False
        recorded = self._records_by_host
        return runtime.group == PORT_GROUP or (name in recorded and is_recorded(IfName(name), recorded, self.have))

    @cached_property
    def _records_by_host(self) -> dict[IfName, PortRecord]:
        return {record.host: record for record in self.records}

    def stands(self, bridge: str | None) -> bool:
        """Whether the bridge is there, and is one that a port may be put into: ours, or the management network's."""
        want, seen = self.wanted(bridge), self.seen(bridge)
        if want is None or seen is None or not isinstance(seen.spec, Bridge) or not isinstance(want.spec, Bridge):
            return False
        return self.owned(bridge) or only_vlans(want)

    def users_of(self, uplink: str, vids: VidSet) -> list[PortRecord]:
        """Whose ports need some of these VIDs of the uplink, to be heard beyond this host."""
        seen = self.seen(uplink)
        bridge = seen.master if seen else None
        return [
            record
            for record in self.records
            if record.bridge == bridge and self.is_port(record.host) and record.vlans and record.vlans.all & vids
        ]

    def carrying(self, name: str) -> bool:
        """Whether traffic may be passing through the link at this moment."""
        link, runtime = self.seen(name), self.runtime(name)
        return link is not None and runtime is not None and bool(link.up) and runtime.carrier and not self.blind(name)

    def blind(self, name: str) -> bool:
        """Whether the link is a port of no VLAN: a bridge that filters drops every frame of it, both ways
        (`__allowed_ingress`, `br_allowed_egress`). So stands whichever bond of a takeover does not carry."""
        link = self.seen(name)
        bridge = self.seen(link.master) if link else None
        filters = bridge is not None and isinstance(bridge.spec, Bridge) and bool(bridge.spec.vlan_filtering)
        return filters and link is not None and link.vlans is not None and not link.vlans.all

    @cached_property
    def _members(self) -> dict[str, list[IfName]]:
        """Master -> its slaves or ports."""
        found: dict[str, list[IfName]] = {}
        for name, link in self.have.state.links.items():
            if link.master:
                found.setdefault(link.master, []).append(name)
        return found

    def _in_order(self, members: Iterable[IfName]) -> list[IfName]:
        return sorted(members, key=lambda n: r.ifindex if (r := self.runtime(n)) else 0)

    @cached_property
    def _vlan_interfaces(self) -> dict[str, list[IfName]]:
        """Parent -> the VLAN interfaces on it."""
        found: dict[str, list[IfName]] = {}
        for name, link in self.have.state.links.items():
            if isinstance(link.spec, VlanIf):
                found.setdefault(link.spec.parent, []).append(name)
        return found

    def slaves(self, bond: str) -> list[IfName]:
        """The observed slaves, in the order of their ifindex."""
        return self._in_order(self._members.get(bond, ()))

    def ports(self, bridge: str) -> list[IfName]:
        """The observed ports, in the order of their ifindex."""
        return self._in_order(self._members.get(bridge, ()))

    def wanted_slaves(self, bond: str) -> list[IfName]:
        """In the order of the manifest."""
        return [n for n, link in self.want.links.items() if link.master == bond and isinstance(link.spec, Other)]

    def standing_on(self, name: str) -> list[IfName]:
        """The VLAN interfaces whose parent the link is."""
        return self._vlan_interfaces.get(name, [])

    def why(self, name: str) -> Ref:
        """The object that wants the link, or wants what it is (was) part of."""
        link = self.wanted(name)
        if link is not None:
            return why(link)
        seen = self.seen(name)
        above = self.wanted(seen.master or seen.parent) if seen else None
        return why(above) if above else UNKNOWN

    @cached_property
    def wanted_routes(self) -> dict[str, frozenset[Route]]:
        """Link -> the routes over it that are to be."""
        routes = (*self.want.routes, *self._networks_lost())
        return _by_link(replace(r, metric=settled_metric(r)) for r in routes)

    def _networks_lost(self) -> Iterator[Route]:
        """The way to the network of an address that is there and stays: the kernel makes it with the address
        (`fib_add_ifaddr`, `addrconf_prefix_route`), and not again where somebody took it away."""
        for name, link in self.want.links.items():
            seen, runtime = self.seen(name), self.runtime(name)
            if not link.addrs or seen is None or not seen.up or runtime is None or not runtime.carrier:
                continue
            there = {r.dst for r in self.seen_routes.get(name, ()) if r.table == MAIN_TABLE}
            for address in sorted(link.addrs & (seen.addrs or frozenset())):
                route = _to_network(name, address, seen.details.get(address, Details()))
                if route is not None and route.dst not in there:
                    yield route

    @cached_property
    def seen_routes(self) -> dict[str, frozenset[Route]]:
        """Link -> the routes over it that are, anybody's."""
        return _by_link(self.have.state.routes)

    def missing_routes(self, link: str, have: Iterable[Route]) -> frozenset[Route]:
        """Those that are to be and are not in `have`. One that another hand made just so is as good as ours; what comes
        by itself is not, for it goes by itself, too."""
        there = frozenset(have)
        return self.wanted_routes.get(link, frozenset()) - there - frozenset(map(_as_ours, there))

    def stale_routes(self, link: str, have: Iterable[Route]) -> frozenset[Route]:
        """Those of `have` that are ours to take away, and stand for none that is to be."""
        want = self.wanted_routes.get(link, frozenset())
        gone = (frozenset(have) - want) & self.our_routes(link)
        return frozenset(r for r in gone if _as_ours(r) not in want)

    @cached_property
    def wanted_rules(self) -> dict[str, frozenset[Rule]]:
        return _rules_by_link(self.want.rules)

    @cached_property
    def seen_rules(self) -> dict[str, frozenset[Rule]]:
        """Link -> the rules that name it, anybody's."""
        return _rules_by_link(self.have.state.rules)

    @cached_property
    def routed(self) -> Set[str]:
        """The links that are to have routes or rules, or have some: few of thousands."""
        return {*self.wanted_routes, *self.seen_routes, *self.wanted_rules, *self.seen_rules}

    def our_rules(self, name: str) -> frozenset[Rule]:
        return frozenset(r for r in self.seen_rules.get(name, ()) if r.protocol == OWNER_PROTOCOL)

    def wanted_neighbours(self, link: Link) -> frozenset[StaticNeighbour]:
        """Of a wanted link. Those of others stay, and come back where the plan has the kernel forget them; but for an
        address that is to be another's."""
        seen = self.seen(link.name)
        if seen is None or not seen.neighbours:
            return link.neighbours
        ours = {n.entry for n in link.neighbours}
        others = (n for n in seen.neighbours if n.protocol != OWNER_PROTOCOL and n.entry not in ours)
        return link.neighbours.union(others)

    def neighbours_left(self, link: Link) -> frozenset[StaticNeighbour]:
        """Those that are still there when the rest of the link is as it should be."""
        seen = self.seen(link.name)
        if seen is None or not seen.neighbours:
            return frozenset()
        return frozenset() if self._asks_anew(link, seen) or self._is_readdressed(link) else seen.neighbours

    @staticmethod
    def _asks_anew(link: Link, seen: Link) -> bool:
        """Whether it asks for neighbours again, or with another broadcast address (`arp_netdev_event`,
        `ndisc_netdev_event`: NETDEV_CHANGE and CHANGEADDR)."""
        want, have = link.flags, seen.flags
        if want is None or have is None:
            return False
        return want.arp not in (None, have.arp) or want.broadcast not in (None, have.broadcast)

    def _is_readdressed(self, link: Link) -> bool:
        """Whether the link gets another MAC address, with which all neighbours are forgotten (`neigh_changeaddr`); a
        VLAN interface by its parent (`vlan_dev_inherit_address`)."""
        seen, want = self.seen(link.name), link.mac
        if seen is not None and want is not None and want != seen.mac:
            return True
        parent = self.wanted(link.parent) if isinstance(link.spec, VlanIf) and want is None else None
        return parent is not None and self._is_readdressed(parent)

    @cached_property
    def reach(self) -> Reach:
        return reach_of(self.have, self.protected)

    def crosses(self, link: IfName, network: Network) -> bool:
        """Whether a network of another link would be reached by this one, too: what goes there may change its way."""
        return any(
            other.network.overlaps(network)
            for name, other in self._networks
            if name != link and other.version == network.version
        )

    @cached_property
    def _networks(self) -> set[tuple[IfName, IPv4Interface | IPv6Interface]]:
        """What there is a way to, or will be: the networks of addresses, and those of routes that are no default ones.

        What is only wanted counts, too: a plan that is cut in the middle must not cost more than it said before."""
        states = (self.have.state, self.want)
        links = ((name, link) for state in states for name, link in state.links.items() if name != "lo")
        routes = (r for state in states for r in state.routes if r.table == MAIN_TABLE and r.dst != "default")
        found = {(name, ip_interface(addr)) for name, link in links for addr in link.addrs or ()}
        return found | {(r.dev, ip_interface(r.dst)) for r in routes if r.dev and r.protocol != RTPROT_KERNEL}

    def our_routes(self, name: str) -> frozenset[Route]:
        """Those over the link that are ours to take away: what we made; what a router told a link of ours that is to
        take none, unless this host is reached by it (it would stay for up to 18 hours, RFC 4861 §4.2); and over a
        tunnel device the ways to other nodes, which flanneld may have made before it was ours."""
        want = self.wanted(name)
        deaf = want is not None and want.settings.get(ACCEPT_RA) == "0" and name not in self.protected
        ours = {OWNER_PROTOCOL, RTPROT_RA} if deaf else {OWNER_PROTOCOL}
        there = self.seen_routes.get(name, frozenset())
        return frozenset(r for r in there if r.protocol in ours or (want is not None and _is_way(r, want)))

    def leads_out(self, route: Route) -> bool:
        """Whether the route would be the first default route of this host. It protects whatever it goes over
        (`compile.facts.protected_links`), the rest of its own plan included."""
        return route.dst == "default" and not any(r.dst == "default" for r in self.have.state.routes)

    def step(self, phase: Phase, link: IfName, action: Action, impact: Impact = Impact.NONE, note: str = "") -> Step:
        return Step(phase=phase, link=link, action=action, why=self.why(link), impact=impact, note=note)

    def when_carrying(self, name: str, impact: Impact) -> Impact:
        """The price of touching a link: nothing while it carries nothing."""
        return impact if self.carrying(name) else Impact.NONE

    def after_promotion(self, new: IfName, name: IfName) -> Scene:
        """The scene once the link `name` is deleted, if it is there, and `new` is called so and up. Slaves of a bond
        that is deleted are left closed (`bond_uninit`)."""
        seen, carrier = self.have.state.links, any(map(self.carrying, self.slaves(new)))
        changes = {n: replace(link, master="", up=False) for n, link in seen.items() if link.master == name}
        changes[new] = replace(seen[new], up=True, mark=True)
        links = {n: changes.get(n, link) for n, link in seen.items() if n != name and link.parent != name}
        runtime = {n: r for n, r in self.have.runtime.items() if n in links}
        runtime |= {n: replace(runtime[n], carrier=n == new and carrier, slave_active=None) for n in changes}
        state = replace(
            self.have.state, links={_called(n, new, name): _pointing(k, new, name) for n, k in links.items()}
        )
        runtime = {_called(n, new, name): r for n, r in runtime.items()}
        runtime[IfName(name)] = replace(runtime[IfName(name)], altnames=(mark_of(name),))
        return replace(self, have=replace(self.have, state=state, runtime=runtime))


def _called(link: IfName, old: IfName, new: IfName) -> IfName:
    return new if link == old else link


def _pointing(link: Link, old: IfName, new: IfName) -> Link:
    """The link, once `old` is called `new`."""
    spec = replace(link.spec, parent=new) if isinstance(link.spec, VlanIf | Other) and link.parent == old else link.spec
    master = new if link.master == old else link.master
    return replace(link, name=_called(link.name, old, new), spec=spec, master=master)


def _to_network(link: IfName, address: Cidr, details: Details) -> Route | None:
    """The route that the kernel makes for an address; None: for this one it makes none."""
    interface = ip_interface(address)
    network, six = interface.network, interface.version == 6
    if network.prefixlen == network.max_prefixlen or details.duplicate or details.flags & IFA_F_NOPREFIXROUTE:
        return None
    return Route(
        dst=str(network),
        dev=link,
        metric=IP6_RT_PRIO_ADDRCONF if six else 0,
        protocol=RTPROT_KERNEL,
        source="" if six else str(interface.ip),
    )


def _as_ours(route: Route) -> Route:
    return route if route.protocol in COMES_BY_ITSELF else replace(route, protocol=OWNER_PROTOCOL)


def _is_way(route: Route, over: Link) -> bool:
    """Whether it leads to a node's pods over a tunnel device: by the first address of their network, as flannel has
    it."""
    if not isinstance(over.spec, Vxlan) or route.protocol in COMES_BY_ITSELF or route.dst == "default":
        return False
    free = route.exact is not None and route.exact.reached
    return free and route.gateway == str(ip_interface(route.dst).network.network_address)


def _by_link(routes: Iterable[Route]) -> dict[str, frozenset[Route]]:
    found: dict[str, set[Route]] = {}
    for route in routes:
        if route.dev:
            found.setdefault(route.dev, set()).add(route)
    return {name: frozenset(those) for name, those in found.items()}


def _rules_by_link(rules: Iterable[Rule]) -> dict[str, frozenset[Rule]]:
    found: dict[str, set[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.link, set()).add(rule)
    return {name: frozenset(those) for name, those in found.items()}


def only_vlans(link: Link) -> bool:
    """A claim on somebody else's bridge or bond that concerns its VLANs alone: the management network."""
    managed = (link.up, link.mtu, link.mac, link.txqlen, link.promisc, link.master, link.addrs, link.mark)
    return all(value is None for value in managed) and not isinstance(link.spec, Other | VlanIf)


def depth(link: Link) -> int:
    """How far a link is from the wire: NIC 0, bond 1, bridge 2, VLAN interface 3."""
    match link.spec:
        case Bond():
            return 1
        case Bridge():
            return 2
        case VlanIf():
            return 3
        case _:
            return 0
