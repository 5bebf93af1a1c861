"""HostNetworkConfig: an interface name that fits, a VLAN that is free, and addresses that make sense together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from windrow.model import names
from windrow.model.objects import AddressMode, HostNetworkConfig
from windrow.model.problems import Problem
from windrow.model.values import IFNAME_MAX
from windrow.model.wire.text import join
from windrow.rules import kernel
from windrow.rules.review import Review, cluster_network_exists, problem, warning
from windrow.rules.selectors import meeting, selects

VLAN, IPS = "spec.vlanID", "spec.ips"
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def device_name_fits(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    device = names.subinterface_of(config.cluster_network, config.vid)
    if len(device.encode()) > IFNAME_MAX:
        left = IFNAME_MAX - len(f"-br.{config.vid}")
        yield problem(
            config,
            "device-name-too-long",
            VLAN,
            f"its interface would be called {device}, and a device name has at most {IFNAME_MAX} bytes",
            f"for VLAN {config.vid} the name of the cluster network may have {left} characters",
        )


def its_cluster_network_exists(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    yield from cluster_network_exists(config, config.cluster_network, "spec.clusterNetwork", review)


def has_an_uplink(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    cn = config.cluster_network
    if cn != names.MGMT and review.after.cluster_network(cn) and not review.after.vlan_configs(cn):
        message = f"no VlanConfig brings cluster network {cn} to any node, so there will be no interface"
        yield warning(config, "no-uplink", "spec.clusterNetwork", message, "add a VlanConfig")


def stays_where_it_is(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """The interface is called after both."""
    old = review.before.objects.get(config.ref)
    if not isinstance(old, HostNetworkConfig):
        return
    hint = "delete this HostNetworkConfig and make another"
    if old.cluster_network != config.cluster_network:
        message = f"the cluster network cannot change ({old.cluster_network} to {config.cluster_network})"
        yield problem(config, "immutable", "spec.clusterNetwork", message, hint)
    if old.vid != config.vid:
        yield problem(config, "immutable", VLAN, f"the VLAN cannot change ({old.vid} to {config.vid})", hint)


def one_per_vlan(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """Harvester allows one for the whole cluster; here, one on each node."""
    for other in _same_vlan(config, review):
        where = meeting(config, other, review.nodes()) if review.earlier(config, other) else None
        if where:
            message = f"{other.ref} is for VLAN {config.vid} of {config.cluster_network} too, on {where}"
            hint = "give the two node selectors that no node matches together, or make them one"
            yield problem(config, "hostnetwork-overlap", VLAN, message, hint)


def not_the_management_vlan(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """`mgmt-br.<vid>` is the interface that the node is reached by; two owners would fight over it."""
    facts, node = review.facts, review.here()
    if facts is None or node is None or not selects(config, node):
        return
    bridge = names.bridge_of(config.cluster_network)
    if config.cluster_network == names.MGMT and config.vid in facts.management_vids:
        message = f"VLAN {config.vid} is the management VLAN of node {facts.node}"
        yield problem(config, "management-vlan", VLAN, message, "choose another VLAN")
    elif bridge in facts.foreign_vids and config.vid in facts.foreign_vids[bridge]:
        message = f"node {facts.node} has an interface for VLAN {config.vid} on {bridge} that is not Windrow's"
        yield problem(config, "interface-foreign", VLAN, message, "choose another VLAN, or remove that interface")


def every_node_has_an_address(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    if config.mode is not AddressMode.STATIC:
        return
    for node in review.nodes():
        if selects(config, node) and node.name not in config.ips:
            message = f"there is no address for node {node.name}, which it selects"
            yield problem(config, "address-missing", IPS, message, f"add {node.name}, or narrow spec.nodeSelector")


def addresses_are_of_hosts(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    for node, address in _interfaces(config).items():
        if why := _no_host(address):
            yield problem(config, "address-invalid", join(IPS, node), f"{address} {why}", "give the address of a host")


def _no_host(address: Interface) -> str:
    network, ip = address.network, address.ip
    if network.prefixlen == 0:
        return "has a prefix of length 0: every address would be on this link, the default route gone"
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return "is a loopback, multicast or unspecified address"
    if network.num_addresses <= 2:
        return ""  # /31 and /127: RFC 3021, RFC 6164; /32 and /128
    if ip == network.network_address:
        return f"is the address of the network {network} itself"
    if ip.version == 4 and ip == network.broadcast_address:
        return f"is the broadcast address of {network}"
    return ""


def one_network(config: HostNetworkConfig, _review: Review) -> Iterator[Problem]:
    """All addresses of a VLAN are in one network with one mask (Harvester)."""
    found = [(node, address) for node, address in _interfaces(config).items() if not _no_host(address)]
    for node, address in found[1:]:
        first_node, first = found[0]
        if address.network != first.network:
            message = f"{address} is outside the network of {first_node}, {first.network}"
            yield problem(config, "address-network", join(IPS, node), message, "all addresses share network and mask")


def no_address_twice(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """In this config, and in the others of the same VLAN."""
    seen: dict[object, str] = {}
    for other in _same_vlan(config, review):
        if review.earlier(config, other):
            seen |= {address.ip: f"{node} in {other.ref}" for node, address in _interfaces(other).items()}
    for node, address in _interfaces(config).items():
        if (owner := seen.get(address.ip)) is not None:
            message = f"{address.ip} is already the address of {owner}"
            yield problem(config, "address-twice", join(IPS, node), message, "give every node an address of its own")
        seen.setdefault(address.ip, node)


def one_address_per_node(config: HostNetworkConfig, review: Review) -> Iterator[Problem]:
    """The same address in two VLANs of one node: the kernel takes it and answers on either."""
    others = [h for h in review.after.all(HostNetworkConfig) if h not in _same_vlan(config, review)]
    for node, address in _interfaces(config).items():
        for other in others:
            theirs = _interfaces(other).get(node)
            if other.ref != config.ref and theirs and theirs.ip == address.ip and review.earlier(config, other):
                message = f"{address.ip} is already the address of {node} in {other.ref}"
                yield problem(config, "address-twice", join(IPS, node), message, "an address belongs to one VLAN")


def _same_vlan(config: HostNetworkConfig, review: Review) -> list[HostNetworkConfig]:
    others = review.after.host_networks(config.cluster_network)
    return [h for h in others if h.vid == config.vid and h.ref != config.ref]


def _interfaces(config: HostNetworkConfig) -> dict[str, Interface]:
    if config.mode is not AddressMode.STATIC:
        return {}
    return {node: ipaddress.ip_interface(cidr) for node, cidr in config.ips.items()}


ON_PUT = (
    device_name_fits,
    its_cluster_network_exists,
    has_an_uplink,
    stays_where_it_is,
    one_per_vlan,
    not_the_management_vlan,
    kernel.can_make_vlan_interfaces,
    every_node_has_an_address,
    addresses_are_of_hosts,
    one_network,
    no_address_twice,
    one_address_per_node,
)
