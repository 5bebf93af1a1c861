"""What one look at the kernel says of a node: its NICs, what is protected, what others built."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.model import names
from windrow.model.facts import KernelFeatures, Known, Nic, NodeFacts
from windrow.model.host import (
    MAIN_TABLE,
    RTPROT_KERNEL,
    RTPROT_RA,
    Bond,
    Bridge,
    Details,
    Link,
    Observed,
    Route,
    VlanIf,
)
from windrow.model.marks import marked_names
from windrow.model.ports import PORT_GROUP, is_recorded
from windrow.model.reach import reach_of
from windrow.model.values import OWNER_PROTOCOL, Cidr, IfName, VidSet


def node_facts(
    node: str,
    observed: Observed,
    nics: Mapping[IfName, Nic],
    features: KernelFeatures,
    known: Known = Known(),
) -> NodeFacts:
    """The facts of `node`, from one observation, its inventory of NICs and what its disk knows.

    The end of a cable to a container is a veth, as a lab's NIC is: the ones that are ports are no NICs.
    """
    foreign = foreign_vids(observed)
    protected = protected_links(observed, known.ways)
    ours = made_for(observed)
    port_links = frozenset(n for n, r in observed.runtime.items() if r.group == PORT_GROUP)
    by_host = {record.host: record for record in known.ports}
    port_links |= {host for host in by_host.keys() - port_links if is_recorded(host, by_host, observed)}
    table = observed.state.policies
    return NodeFacts(
        node=node,
        nics={name: nic for name, nic in nics.items() if name not in port_links},
        features=features,
        links=frozenset(observed.state.links),
        unreadable=observed.unreadable,
        made=frozenset(ours),
        macs={ours.get(name, name): link.mac for name, link in observed.state.links.items() if link.mac},
        foreign_vids=foreign,
        protected=protected,
        reach=reach_of(observed, protected, known.peers),
        management_vids=foreign.get(names.bridge_of(names.MGMT), VidSet()),
        ports=known.ports,
        port_links=port_links,
        leases=known.leases,
        asking=known.asking,
        agent=known.agent,
        memory=known.memory,
        record=known.record,
        active=known.active,
        filters_unread=observed.filters_unread,
        policies_unread=observed.policies_unread,
        policies_there=known.memory.policed if table is None else not table.empty,
        judges_ports=known.memory.judges if table is None else table.judges,
        of_cluster=known.of_cluster,
        origin=known.origin,
        wireguard_key=known.wireguard_key,
        without_ipv6=frozenset(
            ours.get(name, name)
            for name, link in observed.state.links.items()
            if link.settings.get("ipv6/disable_ipv6", "0") != "0"
        ),
        addrs={ours.get(name, name): link.addrs for name, link in observed.state.links.items() if link.addrs},
        fleeting=observed.by_themselves.union(*map(_fleeting, observed.state.links.values())),
        mtus={ours.get(n, n): link.mtu for n, link in observed.state.links.items() if link.addrs and link.mtu},
        duplicates={
            ours.get(name, name): found for name, link in observed.state.links.items() if (found := _duplicates(link))
        },
        routed=frozenset(
            r.dev for r in observed.state.routes if r.dev and r.protocol == RTPROT_KERNEL and "." in r.dst
        ),
    )


def _fleeting(link: Link) -> frozenset[str]:
    return frozenset(address.partition("/")[0] for address, one in link.details.items() if not one.static)


def _duplicates(link: Link) -> dict[Cidr, Details]:
    return {address: one for address, one in link.details.items() if one.duplicate}


def made_for(observed: Observed) -> dict[IfName, IfName]:
    """The links that Windrow made -> what they are called by rights: somebody may have renamed one, and a plan will
    name it back. Where that name is another link's by now, it keeps the one that it has; and so does a bond that took
    over from another one, and says so only after it has the name (`plan.takeover`)."""
    found: dict[IfName, IfName] = {}
    for name, runtime in observed.runtime.items():
        if runtime.owned:
            said = [other for other in marked_names(runtime.altnames) if other != names.successor_of(name)]
            found[name] = said[0] if len(said) == 1 and said[0] not in observed.state.links else name
    return found


def foreign_vids(observed: Observed) -> dict[IfName, VidSet]:
    """Per bridge, the VIDs of the VLAN interfaces on it that Windrow did not make.

    Harvester guesses them from names (`<cn>-br.<n>`); the kernel knows the parent and the VID.
    """
    found: dict[IfName, VidSet] = {}
    ours = made_for(observed)
    for name, link in observed.state.links.items():
        if isinstance(link.spec, VlanIf) and not observed.owned(name):
            parent = ours.get(link.spec.parent, link.spec.parent)
            found[parent] = found.get(parent, VidSet()) | VidSet.of([link.spec.vid])
    return found


_REACHED = frozenset({"device", "vlan", "bond"})
"""Kinds of links that lead out of this host; a bridge with an address more often leads to its containers."""


def protected_links(observed: Observed, ways: frozenset[IfName] = frozenset()) -> frozenset[IfName]:
    """The management network, every link with a default route of any table that others made, the `ways` to those who
    are logged in, and all that these stand on.

    A default route of ours is a host network's, and what a router told a link of ours may be a guest's word. They count
    on the management network, and where nothing else leads to this host. Where there is no default route at all, every
    link with an address may be the one that this host is reached at.
    """
    links, mgmt = observed.state.links, names.bridge_of(names.MGMT)
    on_mgmt = {name for name, link in links.items() if name == mgmt or (link.parent == mgmt and link.kind == "vlan")}
    defaults = [(route, dev) for route in observed.state.routes if route.dst == "default" for dev in route.links]
    counts = [(route, dev) for route, dev in defaults if dev in on_mgmt or not _is_host_networks(route, dev, observed)]
    roots = {dev for route, dev in counts if route.table == MAIN_TABLE}
    roots |= {n for n in links if n in names.MGMT_DEVICES} | {n for n in on_mgmt if not observed.owned(n)}
    roots |= ways
    roots = roots or {dev for _, dev in defaults}
    roots = roots or {n for n, link in links.items() if link.addrs and link.kind in _REACHED and not observed.owned(n)}
    roots |= {dev for _, dev in counts}  # those of other tables, too: a rule may send the answers there
    return _with_what_is_below(observed, frozenset(roots & links.keys()))


def _is_host_networks(route: Route, dev: IfName, observed: Observed) -> bool:
    return route.protocol == OWNER_PROTOCOL or (route.protocol == RTPROT_RA and observed.owned(dev))


def _with_what_is_below(observed: Observed, roots: frozenset[IfName]) -> frozenset[IfName]:
    """A VLAN interface stands on its parent, a bond on its slaves, a bridge on its uplink ports.

    The veths and taps of a bridge lead up, to containers and machines; they are not below it.
    """
    links = observed.state.links
    todo, seen = list(roots), set(roots)
    while todo:
        link = links[todo.pop()]
        below = {link.parent} if link.parent in links else set()
        if isinstance(link.spec, Bond | Bridge):
            below |= {
                name
                for name, port in links.items()
                if port.master == link.name and (isinstance(link.spec, Bond) or port.kind in ("device", "bond", "vlan"))
            }
        fresh = {name for name in below if name is not None} - seen
        seen |= fresh
        todo.extend(fresh)
    return frozenset(seen)
