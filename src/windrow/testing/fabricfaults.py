"""What goes wrong in the network outside: each fault is a function of a fabric that gives the broken one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from windrow.model.evidence import ForeignCluster, Leg
from windrow.model.values import Mac, VidSet
from windrow.testing.fabric import Fabric, Server

Fault = Callable[[Fabric], Fabric]


def port(leg: Leg, **changes: Any) -> Fault:
    """The switch port of a NIC is otherwise than it was."""
    return lambda f: replace(f, ports={**f.ports, leg: replace(f.ports[leg], **changes)})


def cable(leg: Leg, **changes: Any) -> Fault:
    return lambda f: replace(f, cables={**f.cables, leg: replace(f.cable(leg), **changes)})


def switch(name: str, **changes: Any) -> Fault:
    return lambda f: replace(f, switches={**f.switches, name: replace(f.switches[name], **changes)})


def link(**changes: Any) -> Fault:
    """Of the links between the switches."""
    return lambda f: replace(f, links=tuple(replace(one, **changes) for one in f.links))


def vlan_missing(leg: Leg, *vids: int) -> Fault:
    return lambda f: port(leg, tagged=f.ports[leg].tagged - VidSet.of(vids))(f)


def vlan_missing_on_channel(node: str, *vids: int) -> Fault:
    def broken(f: Fabric) -> Fabric:
        for leg, one in f.ports.items():
            if leg.node == node and one.channel:
                f = vlan_missing(leg, *vids)(f)
        return f

    return broken


def vlan_missing_on_link(*vids: int) -> Fault:
    return lambda f: replace(f, links=tuple(replace(x, vlans=x.vlans - VidSet.of(vids)) for x in f.links))


def vlan_not_created(name: str, *vids: int) -> Fault:
    return lambda f: switch(name, vlans=f.switches[name].vlans - VidSet.of(vids))(f)


def access(leg: Leg, vid: int) -> Fault:
    return port(leg, tagged=VidSet(), native=vid)


def native(leg: Leg, vid: int) -> Fault:
    return lambda f: port(leg, native=vid, tagged=f.ports[leg].tagged - VidSet.of([vid]))(f)


def translated(leg: Leg, outside: int, inside: int) -> Fault:
    return port(leg, translated={outside: inside, inside: outside})


def no_channel(node: str) -> Fault:
    """Plain ports where a channel was."""
    return _all_legs(node, channel=0, lacp=False)


def lacp(node: str, **changes: Any) -> Fault:
    """A channel with LACP on the switch's side."""
    return _all_legs(node, channel=70, lacp=True, **changes)


def static_channel(node: str) -> Fault:
    return _all_legs(node, channel=71, lacp=False)


def _all_legs(node: str, **changes: Any) -> Fault:
    def broken(f: Fabric) -> Fabric:
        for leg in f.ports:
            if leg.node == node and leg.nic != "eth0":
                f = port(leg, **changes)(f)
        return f

    return broken


def waits(node: str) -> Fault:
    """The node does not begin LACP."""
    return lambda f: replace(f, lacp_waits=f.lacp_waits | {node})


def crossed(a: Leg, b: Leg) -> Fault:
    """The cables of two NICs are in each other's port."""
    return lambda f: replace(f, ports={**f.ports, a: f.ports[b], b: f.ports[a]})


def isolated(network: str = "oob") -> Fault:
    """The ports of a cluster network do not pass frames to each other."""

    def broken(f: Fabric) -> Fabric:
        mine = [leg for leg in f.ports if f.network_of(leg).name == network]
        return replace(f, ports={**f.ports, **{leg: replace(f.ports[leg], isolated=True) for leg in mine}})

    return broken


def serves(*servers: Server, **subnets: str) -> Fault:
    """Servers more, and what the manifests say: `v100="10.0.0.0/24"`."""
    said = {int(name[1:]): subnet for name, subnet in subnets.items()}
    return lambda f: replace(f, servers=(*f.servers, *servers), subnets={**f.subnets, **said})


def claims(vid: int, address: str, mac: Mac) -> Fault:
    return lambda f: replace(f, claimed={**f.claimed, vid: (address, mac)})


def steals(vid: int, mac: Mac) -> Fault:
    return lambda f: replace(f, stolen={**f.stolen, vid: mac})


def firmware_keeps_lldp(leg: Leg) -> Fault:
    return lambda f: replace(f, deaf=f.deaf | {leg})


def two_neighbours(leg: Leg) -> Fault:
    return lambda f: replace(f, shared=f.shared | {leg})


def stranger(cluster: str, vid: int) -> Fault:
    return lambda f: replace(f, strangers=(*f.strangers, ForeignCluster(cluster=cluster, vid=vid, frames=7)))


def silent(*nodes: str) -> Fault:
    return lambda f: replace(f, silent=f.silent | frozenset(nodes))
