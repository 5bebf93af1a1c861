"""Pass: the pools that this node serves -> a place of its own in their VLANs, with the servers' addresses.

A server takes part in its VLAN as a host network does: on `<cn>-br.<vid>`, or on the bridge where it is untagged. Where
there is a host network already, the server's address comes to the others. Of several nodes that may serve a pool all
have a place there, and the active one alone has the address (`apps.dhcp.floating`).
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from windrow.compile.hostnet import Given, HostNetworks
from windrow.compile.pools import serving_nodes
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.lazy import dataclass
from windrow.model.objects import AddressMode, HostNetworkConfig
from windrow.model.pools import Candidate, IPPool, Scope
from windrow.model.problems import Problem, Severity
from windrow.model.values import IFNAME_MAX, Cidr


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPort(HostNetworkConfig):
    """What a pool wants of a node is what a host network wants of it; whoever asks why is told of the pool."""

    KIND: ClassVar[str] = IPPool.KIND
    NAMESPACED: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """`scopes`: those that a server of this node is to serve now. `candidates`: for those that other nodes may serve,
    too. `hosts`: with a place for each. `asked_for`: addresses that nobody answered for before they became wanted."""

    scopes: tuple[Scope, ...]
    candidates: tuple[Candidate, ...]
    hosts: HostNetworks
    asked_for: Given
    problems: tuple[Problem, ...] = ()


def served_here(
    found: Iterable[Scope],
    cluster: Cluster,
    facts: NodeFacts,
    hosts: HostNetworks,
    *,
    present: frozenset[str],
    ours: frozenset[str],
) -> Served:
    """Of the pools those that are for this node, on the cluster networks that are `present` on it; of those, the
    bridges of `ours` were made by Windrow."""
    scopes: list[Scope] = []
    candidates: list[Candidate] = []
    unattended: Scope | None = None
    problems: list[Problem] = []
    configs = {config.interface: config for config in hosts.configs}
    for scope in found:
        if facts.node not in serving_nodes(scope.pool, scope.cluster_network, cluster, facts.node):
            continue
        if scope.cluster_network not in present:
            continue
        there = configs.get(scope.interface)
        why = _impossible(scope, there, facts, held=scope.interface in hosts.held, ours=ours)
        if why is not None:
            problems.append(why)
            continue
        candidates += _candidates(scope, facts.node)
        active = len(scope.pool.nodes) <= 1 or scope.pool.key in facts.active
        scopes += [scope] if active else []
        unattended = unattended or (None if facts.agent else scope)
        own = _own_addresses(scope, facts.node) if active else ()
        configs[scope.interface] = _with_server(scope, there, facts.node, own)
    problems += [_without_agent(unattended)] if unattended is not None else []
    return Served(
        scopes=tuple(scopes),
        candidates=tuple(candidates),
        asked_for={one.interface: frozenset({one.address}) for one in candidates},
        hosts=replace(hosts, configs=tuple(configs.values())),
        problems=tuple(problems),
    )


def _candidates(scope: Scope, node: str) -> tuple[Candidate, ...]:
    """None where nobody else may serve it."""
    nodes = scope.pool.nodes
    if len(nodes) <= 1:
        return ()
    rank = nodes.index(node)
    return (Candidate(pool=scope.pool.key, interface=scope.interface, address=_of_server(scope), rank=rank),)


def _with_server(scope: Scope, there: HostNetworkConfig | None, node: str, own: tuple[Cidr, ...]) -> HostNetworkConfig:
    if there is None:
        return PoolPort(
            meta=scope.pool.meta,
            cluster_network=scope.cluster_network,
            vid=scope.vid,
            mode=AddressMode.STATIC,
            ips={node: own},
        )
    return replace(there, ips={**there.ips, node: tuple(dict.fromkeys((*there.ips[node], *own)))})


def _of_server(scope: Scope) -> Cidr:
    return Cidr(f"{scope.server}/{scope.pool.subnet.prefixlen}")


def _own_addresses(scope: Scope, node: str) -> tuple[Cidr, ...]:
    """The server's; and where it advertises a prefix one in it, for dnsmasq says nothing of a prefix that its link is
    not in. Two nodes would find out that they have the same one (RFC 4862 §5.4), so each has its own."""
    own = (_of_server(scope),)
    if scope.pool.advertise is None:
        return own
    prefix = ipaddress.IPv6Network(scope.pool.advertise.prefix)
    return (*own, Cidr(f"{prefix[2**32 + zlib.crc32(node.encode())]}/{prefix.prefixlen}"))


def _impossible(
    scope: Scope, there: HostNetworkConfig | None, facts: NodeFacts, *, held: bool, ours: frozenset[str]
) -> Problem | None:
    """Why this node cannot serve it."""
    device = scope.interface
    if held:
        message = f"{device} is left as it is, for its HostNetworkConfigs contradict each other"
        return _problem(scope, "pool-held", message)
    if there is not None and there.mode is AddressMode.DHCP:
        message = f"{there.ref} asks for an address on {device} by DHCP, and this node would serve it itself"
        return _problem(scope, "pool-host-dhcp", message, "give the node a static address there, or name other nodes")
    if there is not None and len(scope.pool.nodes) > 1 and (other := _address_beside(scope, there, facts.node)):
        # dnsmasq and Kea name the first address that the link has in the subnet (option 54), and clients of the other
        # node would be refused; one that is the server's own could not move there.
        message = f"{device} has {other} by {there.ref}, and a server that moves answers by one address on all nodes"
        return _problem(scope, "pool-host-address", message, "name one node alone, or take that address away")
    if not scope.vid and scope.cluster_network not in ours:
        return _problem(scope, "bridge-foreign", f"{device} and its addresses are the operating system's")
    if scope.vid and len(device.encode()) > IFNAME_MAX:
        message = f"its interface would be called {device}, and a device name has at most {IFNAME_MAX} bytes"
        return _problem(scope, "device-name-too-long", message)
    if scope.vid and not facts.features.vlan_interfaces:
        message = f"the kernel of node {facts.node} has no 802.1Q interfaces"
        return _problem(scope, "kernel-feature", message, "load the kernel module: modprobe 8021q")
    if scope.cluster_network == names.MGMT and scope.vid in facts.management_vids:
        message = f"VLAN {scope.vid} is the management VLAN of node {facts.node}, whose interface is not Windrow's"
        return _problem(scope, "management-vlan", message)
    return None


def _address_beside(scope: Scope, there: HostNetworkConfig, node: str) -> str:
    """One that the host has in the pool's subnet for good; empty: none."""
    found = (ipaddress.ip_interface(cidr).ip for cidr in there.ips.get(node, ()))
    subnet = scope.pool.subnet
    return next((str(ip) for ip in found if isinstance(ip, ipaddress.IPv4Address) and ip in subnet), "")


def _problem(scope: Scope, code: str, message: str, hint: str = "") -> Problem:
    hint = hint or "name other nodes in spec.nodes"
    return Problem(code=code, message=message, hint=hint, about=scope.pool.ref, severity=Severity.WARNING)


def _without_agent(scope: Scope) -> Problem:
    message = "nobody serves it on this node: the agent keeps the server, and it does not run"
    hint = "start it: windrow agent; for another server: windrow dhcp config"
    return _problem(scope, "pool-without-agent", message, hint)
