"""What one look at the kernel says of a node: its NICs, what is protected, what others built."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.model import names
from windrow.model.facts import KernelFeatures, Known, Nic, NodeFacts
from windrow.model.host import RTPROT_KERNEL, Bond, Bridge, Observed, VlanIf
from windrow.model.ports import PORT_GROUP
from windrow.model.values import OWNER_PROTOCOL, IfName, VidSet


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
    port_links = frozenset(n for n, r in observed.runtime.items() if r.group == PORT_GROUP)
    return NodeFacts(
        node=node,
        nics={name: nic for name, nic in nics.items() if name not in port_links},
        features=features,
        links=frozenset(observed.state.links),
        made=frozenset(name for name in observed.state.links if observed.owned(name)),
        macs={name: link.mac for name, link in observed.state.links.items() if link.mac},
        foreign_vids=foreign,
        protected=protected_links(observed, known.ways),
        management_vids=foreign.get(names.bridge_of(names.MGMT), VidSet()),
        ports=known.ports,
        port_links=port_links,
        leases=known.leases,
        asking=known.asking,
        agent=known.agent,
        memory=known.memory,
        addrs={name: link.addrs for name, link in observed.state.links.items() if link.addrs},
        routed=frozenset(
            r.dev for r in observed.state.routes if r.dev and r.protocol == RTPROT_KERNEL and "." in r.dst
        ),
    )


def foreign_vids(observed: Observed) -> dict[IfName, VidSet]:
    """Per bridge, the VIDs of the VLAN interfaces on it that Windrow did not make.

    Harvester guesses them from names (`<cn>-br.<n>`); the kernel knows the parent and the VID.
    """
    found: dict[IfName, VidSet] = {}
    for name, link in observed.state.links.items():
        if isinstance(link.spec, VlanIf) and not observed.owned(name):
            parent = link.spec.parent
            found[parent] = found.get(parent, VidSet()) | VidSet.of([link.spec.vid])
    return found


_REACHED = frozenset({"device", "vlan", "bond"})
"""Kinds of links that lead out of this host; a bridge with an address more often leads to its containers."""


def protected_links(observed: Observed, ways: frozenset[IfName] = frozenset()) -> frozenset[IfName]:
    """The management network, every link with a default route of any table that others made, the `ways` to those who
    are logged in, and all that these stand on.

    A default route of ours is a host network's. It counts on the management network, and where nothing else leads to
    this host. Where there is no default route at all, every link with an address may be the one that this host is
    reached at.
    """
    links, mgmt = observed.state.links, names.bridge_of(names.MGMT)
    on_mgmt = {name for name, link in links.items() if name == mgmt or (link.parent == mgmt and link.kind == "vlan")}
    defaults = [route for route in observed.state.routes if route.dst == "default" and route.dev]
    roots = {r.dev for r in defaults if r.dev and (r.protocol != OWNER_PROTOCOL or r.dev in on_mgmt)}
    roots |= {n for n in links if n in names.MGMT_DEVICES} | {n for n in on_mgmt if not observed.owned(n)}
    roots |= ways
    roots = roots or {r.dev for r in defaults if r.dev}
    roots = roots or {n for n, link in links.items() if link.addrs and link.kind in _REACHED and not observed.owned(n)}
    return _with_what_is_below(observed, frozenset(roots & links.keys()))


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
