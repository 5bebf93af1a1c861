"""IPPool: a range inside its subnet, room for all who are to have an address, and nobody else's addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from windrow.compile.pools import applicants_of, has_network, nad_called, network_of, scopes, serving_nodes
from windrow.dhcp.told import classless, searched
from windrow.model import names
from windrow.model.objects import HostNetworkConfig, NetworkAttachmentDefinition, Node
from windrow.model.pools import LEASE_S_MIN, IPPool, Program, with_default_route
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules.review import Review, problem, warning

IPV4, NETWORK = "spec.ipv4Config", "spec.networkName"
CIDR, SERVER, ROUTER = f"{IPV4}.cidr", f"{IPV4}.serverIP", f"{IPV4}.router"
START, END, EXCLUDE = f"{IPV4}.pool.start", f"{IPV4}.pool.end", f"{IPV4}.pool.exclude"
SERVICE_CIDR = ipaddress.IPv4Network("10.53.0.0/16")
"""Kubernetes' services in a Harvester cluster (`--service-cidr` of its webhook)."""
_ONE_WAY = "a host has one way to a subnet: choose another one, or name other nodes in spec.nodes"
OPTION_MAX = 255
PREFIX_MAX = 30
"""In a longer one there is no room for a server and a client."""


def its_network_is_there(pool: IPPool, review: Review) -> Iterator[Problem]:
    namespace, _, name = pool.network.rpartition("/")
    ref = Ref(NetworkAttachmentDefinition.KIND, name, namespace)
    nad = nad_called(pool.network, review.after)
    if nad is None and ref not in review.unread:
        there = ", ".join(f"{n.meta.namespace}/{n.name}" for n in review.after.all(NetworkAttachmentDefinition))
        message = f"there is no NetworkAttachmentDefinition {pool.network}"
        yield problem(pool, "nad-missing", NETWORK, message, f"create it first; there are: {there or 'none'}")
    elif nad is not None and network_of(pool, review.after) is None:
        message = f"{nad.ref} is not one VLAN of a cluster network, so no server can be in it"
        yield problem(pool, "pool-network", NETWORK, message, "name a network with `vlan`, or an untagged one")


def subnet_is_usable(pool: IPPool, review: Review) -> Iterator[Problem]:
    subnet = pool.subnet
    if subnet.prefixlen > PREFIX_MAX:
        message = f"{subnet} has no room for a server and a client"
        yield problem(pool, "pool-subnet", CIDR, message, f"a prefix length of {PREFIX_MAX} at most")
    if subnet.is_multicast or subnet.is_loopback or subnet.is_link_local or subnet.prefixlen == 0:
        yield problem(pool, "pool-subnet", CIDR, f"{subnet} is no network of hosts", "choose another one")
    if subnet.overlaps(SERVICE_CIDR):
        message = f"{subnet} overlaps {SERVICE_CIDR}, where Kubernetes has its services"
        yield problem(pool, "pool-service-cidr", CIDR, message, "choose another network")
    for node in review.after.all(Node):
        for cidr in node.pod_cidrs:
            other = ipaddress.ip_network(cidr, strict=False)
            if isinstance(other, ipaddress.IPv4Network) and subnet.overlaps(other):
                message = f"{subnet} overlaps {other}, the pods of node {node.name}"
                yield warning(pool, "pool-pod-cidr", CIDR, message, "choose another network")


def addresses_are_of_hosts(pool: IPPool, _review: Review) -> Iterator[Problem]:
    """Whatever is named is in the subnet, and neither its first nor its last address."""
    subnet = pool.subnet
    named = [(START, pool.start), (END, pool.end), (SERVER, pool.server), (ROUTER, pool.router)]
    named += [(f"spec.hosts[{i}].ipAddress", host.address) for i, host in enumerate(pool.hosts)]
    for path, text in named:
        if not text or subnet.prefixlen > PREFIX_MAX:
            continue
        if why := _no_host(text, pool):
            yield problem(pool, "pool-outside", path, why, f"give the address of a host in {subnet}")


def _no_host(text: str, pool: IPPool) -> str:
    """Why this is no address of a host in its subnet; empty: it is."""
    address, subnet = ipaddress.IPv4Address(text), pool.subnet
    if address not in subnet:
        return f"{text} is not in {subnet}"
    if address in (subnet.network_address, subnet.broadcast_address):
        which = "the network itself" if address == subnet.network_address else "its broadcast address"
        return f"{text} of {subnet} is {which}"
    return ""


def range_goes_upwards(pool: IPPool, _review: Review) -> Iterator[Problem]:
    if pool.first > pool.last:
        message = f"the range begins with {pool.first} and ends with {pool.last}"
        yield problem(pool, "pool-range", START if pool.start else END, message, "exchange start and end")


def server_is_its_own(pool: IPPool, _review: Review) -> Iterator[Problem]:
    address = pool.server_address
    if address is None:
        message = f"no address of {pool.subnet} is left for the server"
        yield problem(pool, "pool-server", SERVER, message, "take one out of pool.exclude")
    elif str(address) == pool.router:
        message = f"{address} is the router: the server answers by an address of its own"
        yield problem(pool, "pool-server", SERVER, message, "choose another one, or leave serverIP out")
    elif str(address) in pool.exclude:
        message = f"{address} is in pool.exclude: what is excluded belongs to somebody else"
        yield problem(pool, "pool-server", SERVER, message, "take it out of there; the server's is never given")


def nobody_else_has_the_servers_address(pool: IPPool, review: Review) -> Iterator[Problem]:
    """The node that serves alone may have it by a host network, too."""
    mine, alone = network_of(pool, review.after), _servers(pool, review)
    for config in review.after.all(HostNetworkConfig):
        if mine is None or config.interface != names.interface_of(mine.cluster_network or "", mine.vid):
            continue
        for node, cidrs in config.ips.items():
            given = [ipaddress.ip_interface(cidr).ip for cidr in cidrs]
            if pool.server_address in given and alone not in ({node}, {""}):
                message = f"{pool.server_address} is the address that {config.ref} gives {node}"
                yield problem(pool, "pool-server", SERVER, message, f"choose another one, or spec.nodes: [{node}]")


def own_addresses_are_outside_the_range(pool: IPPool, _review: Review) -> Iterator[Problem]:
    """They are never given, and Harvester lets them in. Who writes a range down counts on all of it."""
    if not (pool.start and pool.end) or pool.first > pool.last:
        return
    for path, text in ((SERVER, pool.server), (ROUTER, pool.router)):
        if text and pool.holds(ipaddress.IPv4Address(text)):
            message = f"{text} is in the range {pool.first} to {pool.last}: it is given to nobody"
            yield warning(pool, "pool-reserved", path, message, "narrow the range, or count one address less")


def exclusions_count(pool: IPPool, _review: Review) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, text in enumerate(pool.exclude):
        path = f"{EXCLUDE}[{i}]"
        if text in seen:
            yield warning(pool, "pool-exclude-twice", path, f"{text} is excluded twice", "remove one of them")
        elif not pool.holds(ipaddress.IPv4Address(text)):
            message = f"{text} is not in the range {pool.first} to {pool.last}, so nobody would get it anyway"
            yield warning(pool, "pool-exclude-outside", path, message, "remove it")
        seen.add(text)


def hosts_are_each_other_s_own(pool: IPPool, _review: Review) -> Iterator[Problem]:
    for key, field in (("mac", "macAddress"), ("address", "ipAddress")):
        first: dict[str, int] = {}
        for i, host in enumerate(pool.hosts):
            value = str(getattr(host, key))
            if value and first.setdefault(value, i) != i:
                message = f"{value} is already in spec.hosts[{first[value]}]"
                yield problem(pool, "pool-host-twice", f"spec.hosts[{i}].{field}", message, "give each its own")


def routers_are_on_the_link(pool: IPPool, _review: Review) -> Iterator[Problem]:
    for i, route in enumerate(pool.routes):
        if any(other.to == route.to for other in pool.routes[:i]):
            message = f"there is a route to {route.to} already, and clients take one of them"
            yield problem(pool, "pool-route-twice", f"{IPV4}.routes[{i}].to", message, "remove one of them")
        if ipaddress.IPv4Address(route.via) not in pool.subnet:
            message = f"no client of {pool.subnet} reaches {route.via}"
            yield problem(pool, "pool-route", f"{IPV4}.routes[{i}].via", message, "name a router in this network")


def lists_fit_into_options(pool: IPPool, _review: Review) -> Iterator[Problem]:
    """dnsmasq takes no option that is longer (`option too long`), and says nothing of those that follow it then."""
    routes = classless(with_default_route(pool))
    for path, what, size in (
        (f"{IPV4}.routes", "routes, the default one included,", len(routes)),
        (f"{IPV4}.domainSearch", "names", len(searched(pool.search))),
    ):
        if size > OPTION_MAX:
            message = f"these {what} take {size} bytes, and a DHCP option has {OPTION_MAX}"
            yield problem(pool, "pool-option-size", path, message, "leave some of them out")


def time_servers_are_addresses(pool: IPPool, _review: Review) -> Iterator[Problem]:
    """Option 42 carries addresses (RFC 2132 §8.3); Harvester asks a name server once, and keeps the answer for ever."""
    for i, text in enumerate(pool.ntp):
        if not text.replace(".", "").isdigit():
            message = f"{text} is a name, and DHCP tells clients addresses: it is left out"
            yield warning(pool, "pool-ntp-name", f"{IPV4}.ntp[{i}]", message, "give its address")


def its_mtu_is_carried(pool: IPPool, review: Review) -> Iterator[Problem]:
    """That of a management network that is the operating system's is not known here."""
    nad = network_of(pool, review.after)
    network = (nad and nad.cluster_network) or ""
    most = review.after.mtu(network) if review.after.vlan_configs(network) else pool.mtu
    if pool.mtu > most:
        message = f"clients would be told an MTU of {pool.mtu}, and {network} carries {most}"
        hint = f"{most} at most, or raise uplink.linkAttributes.mtu of its VlanConfig"
        yield warning(pool, "pool-mtu", f"{IPV4}.mtu", message, hint)


def leases_last(pool: IPPool, _review: Review) -> Iterator[Problem]:
    if pool.lease_s < LEASE_S_MIN:
        message = f"dnsmasq gives no lease for less than {LEASE_S_MIN} s, and gives one for so long"
        yield warning(pool, "pool-lease-time", f"{IPV4}.leaseTime", message, f"leaseTime: {LEASE_S_MIN}")


def stays_what_it_is(pool: IPPool, review: Review) -> Iterator[Problem]:
    """Clients out there have addresses of it. What may be set once may be set later."""
    old = review.before.objects.get(pool.ref)
    if not isinstance(old, IPPool):
        return
    changes: list[tuple[str, object, object]] = [
        (NETWORK, old.network, pool.network),
        (CIDR, old.cidr, pool.cidr),
        (SERVER, old.server_address, pool.server_address),
        (START, old.first, pool.first),
        (END, old.last, pool.last),
    ]
    changes += [(ROUTER, old.router, pool.router or "nothing")] if old.router and old.router != pool.router else []
    for path, was, now in changes:
        if was != now:
            message = f"this cannot change ({was} to {now})"
            yield problem(pool, "immutable", path, message, "delete this IPPool and make another")
    if old.exclude and set(old.exclude) != set(pool.exclude):
        message = "what is excluded cannot change"
        yield problem(pool, "immutable", EXCLUDE, message, "delete this IPPool and make another")


def one_of_its_network(pool: IPPool, review: Review) -> Iterator[Problem]:
    """Harvester does not ask; there a machine gets its address from whichever pool comes first."""
    mine = network_of(pool, review.after)
    for other in review.after.all(IPPool):
        if other.ref == pool.ref or not review.earlier(pool, other):
            continue
        theirs = network_of(other, review.after)
        if other.network == pool.network:
            message = f"{other.ref} is the pool of {pool.network} already"
            yield problem(pool, "pool-twice", NETWORK, message, "a network has one pool: make the two one")
        elif mine and theirs and (mine.bridge, mine.vid) == (theirs.bridge, theirs.vid):
            message = f"{other.ref} ({other.subnet}) is in VLAN {mine.vid} of {mine.bridge} too, by {other.network}"
            yield problem(pool, "pool-twice", NETWORK, message, "a VLAN has one pool: name one network in both")


def subnets_of_pools_are_apart(pool: IPPool, review: Review) -> Iterator[Problem]:
    """Two VLANs may have one subnet, but no host is in both: its kernel has one way to it. Harvester does not ask."""
    mine, servers = network_of(pool, review.after), _servers(pool, review)
    for other in review.after.all(IPPool):
        theirs = network_of(other, review.after)
        if other.ref == pool.ref or not review.earlier(pool, other) or not pool.subnet.overlaps(other.subnet):
            continue
        if mine is None or theirs is None or (theirs.bridge, theirs.vid) == (mine.bridge, mine.vid):
            continue  # `one_of_its_network`
        message = f"{pool.subnet} overlaps {other.subnet} of {other.ref}, which is in another VLAN"
        if both := servers & _servers(other, review):
            message += f", and {', '.join(sorted(filter(None, both))) or 'one node'} is to serve both"
            yield problem(pool, "pool-overlap", CIDR, message, _ONE_WAY)
        else:
            yield warning(pool, "pool-overlap", CIDR, message, "choose another subnet, unless no router is in both")


def subnets_of_its_servers_are_apart(pool: IPPool, review: Review) -> Iterator[Problem]:
    """The same for what host networks give the nodes that serve it, elsewhere than in its VLAN."""
    mine, servers = network_of(pool, review.after), _servers(pool, review)
    for config in review.after.all(HostNetworkConfig):
        if mine is None or config.interface == names.interface_of(mine.cluster_network or "", mine.vid):
            continue
        for node in servers & config.ips.keys():
            for cidr in config.ips[node]:
                if ipaddress.ip_interface(cidr).network.overlaps(pool.subnet):
                    message = f"{pool.subnet} overlaps {cidr}, which {config.ref} gives {node} on {config.interface}"
                    yield problem(pool, "pool-overlap", CIDR, message, _ONE_WAY)


def _servers(pool: IPPool, review: Review) -> frozenset[str]:
    """Which nodes may serve it; the name is empty where no Node object says which there are."""
    nad = network_of(pool, review.after)
    return frozenset(serving_nodes(pool, nad.cluster_network or "", review.after, "") if nad else ())


def its_nodes_are_there(pool: IPPool, review: Review) -> Iterator[Problem]:
    there = {node.name: node for node in review.after.all(Node)}
    nad = network_of(pool, review.after)
    network = (nad and nad.cluster_network) or ""
    for i, name in enumerate(pool.nodes):
        path = f"spec.nodes[{i}]"
        if name in pool.nodes[:i]:
            yield problem(pool, "pool-node-twice", path, f"{name} is named twice", "remove one of them")
        elif not name:
            yield problem(
                pool, "pool-node", path, "the name of a node is empty", "name a node, or leave spec.nodes out"
            )
        elif there and name not in there:
            message = f"there is no node {name}, so nobody serves it there"
            yield warning(pool, "pool-node", path, message, f"there are: {', '.join(sorted(there))}")
        elif there and network and not has_network(there[name], network, review.after):
            message = f"no VlanConfig gives {name} cluster network {network}, so nobody serves it there"
            yield warning(pool, "pool-node", path, message, "name another node, or give it a VlanConfig")


def has_room(pool: IPPool, review: Review) -> Iterator[Problem]:
    """As if nobody had an address yet: the record of what was given is not at hand here, and changes no number."""
    for scope in scopes(review.after, {}):
        if scope.pool.ref != pool.ref:
            continue
        for waiting in scope.waiting:
            if waiting.applicant.address and waiting.applicant.owner == pool.ref:
                if _no_host(waiting.applicant.address, pool):
                    continue  # `addresses_are_of_hosts`
                index = next(i for i, h in enumerate(pool.hosts) if h.mac == waiting.applicant.mac)
                yield problem(pool, "pool-host", f"spec.hosts[{index}].ipAddress", waiting.reason, "choose another one")
        without = [w for w in scope.waiting if not w.applicant.address]
        if without:
            asking, room = len(applicants_of(review.after)[pool.key]), len(scope.reservations)
            message = (
                f"{asking} are to have an address of {pool.first} to {pool.last}, and there is room for {room}: "
                f"{without[0].applicant.mac} ({without[0].applicant.owner}) gets none"
            )
            yield problem(pool, "pool-too-small", START if pool.start else CIDR, message, "make a larger pool")


def nobody_uses_it(pool: IPPool, review: Review) -> Iterator[Problem]:
    """On delete. Harvester asks the same, and finds only pools that are called like their network."""
    networks = {other.network for other in review.after.all(IPPool)}
    if pool.network in networks:
        return
    as_it_was = applicants_of(review.after.replace([pool]))[pool.key]
    users = sorted({str(applicant.owner) for applicant in as_it_was if applicant.owner != pool.ref})
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        message = f"addresses of it are wanted by {', '.join(users[:3])}{more}"
        hint = "delete them first, or take them out of this network; spec.paused stops the server and keeps the pool"
        yield problem(pool, "pool-in-use", "", message, hint)


def its_program_can_do_it(pool: IPPool, _review: Review) -> Iterator[Problem]:
    if pool.program is Program.KEA and pool.advertise is not None:
        message = "Kea sends no router advertisements"
        yield problem(pool, "pool-program", "spec.routerAdvertisement", message, "leave spec.program out: dnsmasq does")


ON_PUT = (
    its_program_can_do_it,
    its_network_is_there,
    subnet_is_usable,
    addresses_are_of_hosts,
    range_goes_upwards,
    server_is_its_own,
    nobody_else_has_the_servers_address,
    own_addresses_are_outside_the_range,
    exclusions_count,
    hosts_are_each_other_s_own,
    routers_are_on_the_link,
    lists_fit_into_options,
    time_servers_are_addresses,
    leases_last,
    its_mtu_is_carried,
    stays_what_it_is,
    one_of_its_network,
    subnets_of_pools_are_apart,
    subnets_of_its_servers_are_apart,
    its_nodes_are_there,
    has_room,
)
ON_DELETE = (nobody_uses_it,)
