"""VlanConfig: one per cluster network on a node, one MTU per cluster network, and each NIC in one bond at most."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import selects_node
from windrow.model.machines import VirtualMachineInstance
from windrow.model.objects import VlanConfig, VlanStatus
from windrow.model.problems import Problem
from windrow.model.upkeep import annotated_mtu, matched_nodes
from windrow.model.values import MTU_DEFAULT, Mac, Ref, parse_unicast_mac
from windrow.rules.clusternetwork import CONFIG_MTU as MTU
from windrow.rules.review import (
    Review,
    cluster_network_exists,
    label_agrees,
    listed,
    problem,
    refs,
    selects_some_node,
    warning,
)
from windrow.rules.selectors import meeting
from windrow.rules.usage import networks_of, running, system_networks

CLUSTER_NETWORK = "spec.clusterNetwork"
BOND_MAC = f"metadata.annotations[{names.ANNOTATION_BOND_MAC}]"


def not_of_mgmt(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Unless the administrator says that it is Windrow's: `windrow init` does. On an API server others ask too, and
    nothing that they write lets them in."""
    if not review.terms.served and not config.effective:
        yield problem(
            config,
            "mgmt-protected",
            CLUSTER_NETWORK,
            "the uplink of the management network belongs to the operating system",
            "leave mgmt-bo and mgmt-br as the system made them and use a cluster network of your own for other NICs; "
            f"or hand the management network to Windrow: windrow init (which sets {names.ANNOTATION_MANAGED})",
        )


def its_cluster_network_exists(config: VlanConfig, review: Review) -> Iterator[Problem]:
    yield from cluster_network_exists(config, config.cluster_network, CLUSTER_NETWORK, review)


def its_label_agrees(config: VlanConfig, _review: Review) -> Iterator[Problem]:
    yield from label_agrees(config, config.cluster_network, CLUSTER_NETWORK)


def one_mtu(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """All uplinks of a cluster network have the same MTU; 0 means 1500."""
    if not config.effective:
        return
    mtu = config.uplink.mtu or MTU_DEFAULT
    for other in review.staying(review.after.vlan_configs(config.cluster_network)):
        theirs = other.uplink.mtu or MTU_DEFAULT
        counts = other.ref != config.ref and other.effective and other.knows(MTU)
        if counts and theirs != mtu and review.earlier(config, other):
            message = f"the MTU is {mtu}, but {other.ref} of the same cluster network has {theirs}"
            yield problem(config, "mtu-mismatch", MTU, message, "give all of them the same MTU, in one go", [other.ref])


def mtu_as_annotated(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """On an API server the manager writes the annotation after a VlanConfig, and says which: that one follows."""
    network = review.after.cluster_network(config.cluster_network)
    if review.terms.served and network and names.ANNOTATION_MTU_SOURCE in network.meta.annotations:
        return
    mtu = config.uplink.mtu or MTU_DEFAULT
    try:
        annotated = annotated_mtu(network) if network and network.name != names.MGMT else None
    except ValueError:
        return
    if network and annotated is not None and annotated != mtu:
        message = f"the MTU is {mtu}, but {network.ref} says {annotated} in its annotation uplink-mtu"
        hint = "change both together, or remove the annotation"
        yield problem(config, "mtu-mismatch", MTU, message, hint, [network.ref])


def mtu_of_its_networks(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Harvester rewrites the NADs; here the change is theirs who keep the manifests."""
    mtu = config.uplink.mtu or MTU_DEFAULT
    nads = [
        nad
        for nad in review.after.nads(config.cluster_network)
        if nad.mtu and nad.mtu != mtu and nad.ref not in review.changed
    ]
    if nads:
        message = f"the MTU is {mtu}, and another one stands in {listed(nads)}"
        yield warning(
            config, "mtu-mismatch", MTU, message, "change their mtu too, or remove it: absent means the uplink's"
        )


def one_per_node(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Two VlanConfigs of one cluster network want to make the same bond."""
    if not config.effective:
        return
    for other in review.staying(review.after.vlan_configs(config.cluster_network)):
        if other.ref == config.ref or not other.effective or not review.earlier(config, other):
            continue
        if where := meeting(config, other, review.nodes()):
            yield problem(
                config,
                "vlanconfig-overlap",
                "spec.nodeSelector",
                f"{other.ref} is for cluster network {config.cluster_network} too, on {where}",
                "give the two node selectors that no node matches together",
                [other.ref],
            )


def its_bonds_address_is_of_one_host(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Two hosts with one MAC address take each other's frames."""
    text = config.meta.annotations.get(names.ANNOTATION_BOND_MAC)
    if text is None:
        return
    try:
        mac = parse_unicast_mac(text)
    except ValueError as error:
        yield problem(config, "mac-invalid", BOND_MAC, str(error), "write it like 52:54:00:12:34:56, or take it out")
        return
    moved = config.uplink.bond.fail_over_mac
    if moved in ("active", "follow"):
        message = f"with failOverMAC: {moved} the bond has a NIC's MAC address, and the kernel lets it have no other"
        yield problem(config, "mac-moves", BOND_MAC, message, "take out one of the two")
    chosen = [node.name for node in review.nodes() if selects_node(config, node)]
    if len(chosen) > 1:
        message = f"{' and '.join(chosen[:2])} would have one MAC address"
        yield problem(config, "mac-shared", BOND_MAC, message, "make a VlanConfig for each node")
    for other in review.after.all(VlanConfig):
        if other.ref == config.ref or not other.effective or not review.earlier(config, other):
            continue
        if other.cluster_network == config.cluster_network and _bond_mac(other) == mac:
            hint = "write the one that the bond of this node has, or take it out"
            yield problem(config, "mac-shared", BOND_MAC, f"{other.ref} gives it to a bond already", hint, [other.ref])


def _bond_mac(config: VlanConfig) -> Mac | None:
    try:
        return parse_unicast_mac(config.meta.annotations.get(names.ANNOTATION_BOND_MAC, ""))
    except ValueError:
        return None


def is_for_some_node(config: VlanConfig, review: Review) -> Iterator[Problem]:
    yield from selects_some_node(config, "spec.nodeSelector", review)


# Of an API server --------------------------------------------------------------------------------


def mgmt_is_the_controllers(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """What it was counts too: nobody takes a VlanConfig away from the management network either."""
    old = review.before.objects.get(config.ref)
    mgmt = names.MGMT in (config.cluster_network, old.cluster_network if isinstance(old, VlanConfig) else "")
    if mgmt and not review.terms.trusted:
        message = "the uplink of the management network is written by the controller alone"
        hint = "make a cluster network of your own for other NICs"
        yield problem(config, "mgmt-protected", CLUSTER_NETWORK, message, hint)


def name_of_its_cluster_network_is_short(config: VlanConfig, _review: Review) -> Iterator[Problem]:
    if len(config.cluster_network) > names.CLUSTER_NETWORK_MAX:
        message = f"has {len(config.cluster_network)} characters, {names.CLUSTER_NETWORK_MAX} is the most"
        hint = "the devices of a cluster network are called after it"
        yield problem(config, "name-too-long", CLUSTER_NETWORK, message, hint)


def its_label_stays(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """Others find it by its label."""
    if review.old(config) is not None and names.LABEL_CLUSTERNETWORK not in config.meta.labels:
        path = f"metadata.labels[{names.LABEL_CLUSTERNETWORK}]"
        message = f"is missing, and controllers find it by that; it would be {config.cluster_network}"
        yield problem(config, "label-mismatch", path, message, "leave it as it is")


def no_other_one_is_set_up_there(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """A VlanStatus outlives its VlanConfig, or what that says of the node, until the node has taken it down."""
    nodes = {node.name: node for node in review.nodes() if selects_node(config, node)}
    every = review.after.all(VlanStatus)  # of all cluster networks and nodes: tens of thousands
    others = [one for one in every if one.cluster_network == config.cluster_network and one.node in nodes]
    for status in review.staying(others):
        node, other = nodes[status.node], review.after.objects.get(Ref(VlanConfig.KIND, status.vlan_config))
        if status.vlan_config in ("", config.name):
            continue
        if isinstance(other, VlanConfig) and (review.leaving(other) or selects_node(other, node)):
            continue  # it stands in nobody's way any more, or `one_per_node` has said so
        if other is None or review.terms.strict:
            message = f"VlanConfig/{status.vlan_config} is still set up on {status.node}"
            hint = f"wait until {status.ref} is gone"
            yield problem(config, "vlanconfig-overlap", "spec.nodeSelector", message, hint, [status.ref])


def _nodes_of(config: VlanConfig, review: Review) -> set[str]:
    """Where it is, or is to be: where its selector says so, and where its annotation said so last."""
    annotated = matched_nodes(config.meta.annotations.get(names.ANNOTATION_MATCHED_NODES))
    return {node.name for node in review.nodes() if selects_node(config, node) or node.name in annotated}


def _taken_from(old: VlanConfig, new: VlanConfig, review: Review) -> set[str]:
    """The nodes on which the old cluster network goes, or (strictly) has its uplink made anew."""
    anew = review.terms.strict and old.uplink != new.uplink
    if anew or old.cluster_network != new.cluster_network:
        return _nodes_of(old, review)
    return _nodes_of(old, review) - {node.name for node in review.nodes() if selects_node(new, node)}


def machines_keep_their_uplink(config: VlanConfig, review: Review) -> Iterator[Problem]:
    old = review.old(config)
    if old is not None and old.cluster_network != names.MGMT:
        path = _changed_path(old, config, review)
        yield from _used(config, old, _taken_from(old, config, review), path, review)


def _changed_path(old: VlanConfig, new: VlanConfig, review: Review) -> str:
    """What takes it from these nodes."""
    if old.cluster_network != new.cluster_network:
        return CLUSTER_NETWORK
    return "spec.uplink" if review.terms.strict and old.uplink != new.uplink else "spec.nodeSelector"


def gone_only_when_unused(config: VlanConfig, review: Review) -> Iterator[Problem]:
    if config.cluster_network != names.MGMT:
        yield from _used(config, config, _nodes_of(config, review), "", review)


def _used(config: VlanConfig, old: VlanConfig, nodes: set[str], path: str, review: Review) -> Iterator[Problem]:
    """By machines on these nodes, and by Harvester's own networks, which are everywhere."""
    cn = old.cluster_network
    machines = [one for one in running(networks_of(cn, review.before), review) if one.node in nodes]
    if machines:
        message = f"cluster network {cn} is used by {_at(machines)}"
        yield problem(config, "machines-running", path, message, "stop or migrate these first", refs(machines))
    if nodes and (system := system_networks(cn, review)):
        message = f"Harvester's own network {listed(system)} is on cluster network {cn}"
        yield problem(config, "system-network", path, message, "remove that network first", refs(system))


def _at(machines: list[VirtualMachineInstance]) -> str:
    return ", ".join(f"{one.ref} on {one.node}" for one in machines)


ON_PUT = (
    not_of_mgmt,
    its_cluster_network_exists,
    its_label_agrees,
    one_mtu,
    mtu_as_annotated,
    mtu_of_its_networks,
    one_per_node,
    is_for_some_node,
    its_bonds_address_is_of_one_host,
)
ON_ASKING = (mgmt_is_the_controllers,)
ON_SERVED_PUT = (
    name_of_its_cluster_network_is_short,
    its_label_stays,
    no_other_one_is_set_up_there,
    machines_keep_their_uplink,
)
ON_SERVED_DELETE = (gone_only_when_unused,)
