"""VirtualMachine and VirtualMachineInstance: on networks that are there, and with a MAC that nobody else has."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import Cluster, may_run, selects_node
from windrow.model.machines import (
    AnyMachine,
    Binding,
    GuestNic,
    LinkState,
    VirtualMachineInstance,
)
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.problems import Problem
from windrow.model.values import Mac, Ref
from windrow.rules.review import Review, cluster_network_exists, problem, warning
from windrow.rules.usage import machines


def base(machine: AnyMachine) -> str:
    """Where the machine's own spec is in the document."""
    return "spec" if isinstance(machine, VirtualMachineInstance) else "spec.template.spec"


def nic_path(machine: AnyMachine, index: int) -> str:
    return f"{base(machine)}.domain.devices.interfaces[{index}]"


def network_path(machine: AnyMachine, index: int) -> str:
    return f"{base(machine)}.networks[{index}].multus.networkName"


def nad_ref(name: str) -> Ref:
    """Of `namespace/name`."""
    namespace, _, word = name.rpartition("/")
    return Ref(NetworkAttachmentDefinition.KIND, word, namespace)


def find_nad(cluster: Cluster, name: str) -> NetworkAttachmentDefinition | None:
    found = cluster.objects.get(nad_ref(name)) if name else None
    return found if isinstance(found, NetworkAttachmentDefinition) else None


def its_networks_exist(machine: AnyMachine, review: Review) -> Iterator[Problem]:
    """As Harvester: its webhook looks the NAD up for the cluster network, and refuses where there is none."""
    for i, network in enumerate(machine.spec.networks):
        if not network.nad or nad_ref(network.nad) in review.unread:
            continue
        nad = find_nad(review.after, network.nad)
        if nad is None:
            yield no_nad(machine, i, network.nad, review.after)
        elif nad.cluster_network and nad.ref not in review.changed:
            yield from cluster_network_exists(machine, nad.cluster_network, network_path(machine, i), review)


def no_nad(machine: AnyMachine, index: int, name: str, cluster: Cluster) -> Problem:
    """The problem of a network whose NAD is not there."""
    there = ", ".join(f"{n.meta.namespace}/{n.name}" for n in cluster.all(NetworkAttachmentDefinition))
    hint = f"create it first; there are: {there}" if there else "create it first; there are none"
    message = f"there is no NetworkAttachmentDefinition {name}"
    return problem(machine, "nad-missing", network_path(machine, index), message, hint, [nad_ref(name)])


Holder = tuple[AnyMachine, int]
"""A machine, and the place of one of its NICs."""


def segment(machine: AnyMachine, nic: GuestNic, cluster: Cluster) -> str:
    """Where a NIC's MAC address must be the only one: its cluster network (Harvester), else its NAD, else the pod
    network. Empty: nowhere that is known; a masqueraded guest's address does not leave its pod."""
    if nic.binding is Binding.MASQUERADE or nic.state is LinkState.ABSENT:
        return ""
    network = machine.spec.network(nic.name)
    if network is not None and network.claim:
        return ""
    if network is None or not network.nad:
        return "the pod network"
    nad = find_nad(cluster, network.nad)
    cn = nad.cluster_network if nad is not None else None
    return f"cluster network {cn}" if cn else network.nad


def same_machine(one: AnyMachine, other: AnyMachine) -> bool:
    """A VirtualMachine and the VirtualMachineInstance of its name are one machine."""
    return (one.meta.namespace, one.name) == (other.meta.namespace, other.name)


def holders(cluster: Cluster) -> dict[tuple[str, Mac], list[Holder]]:
    """(segment, MAC) -> who has it."""
    found: dict[tuple[str, Mac], list[Holder]] = {}
    for machine in machines(cluster):
        for i, nic in enumerate(machine.spec.nics):
            if nic.mac is not None and (where := segment(machine, nic, cluster)):
                found.setdefault((where, nic.mac), []).append((machine, i))
    return found


def duplicate_macs(machine: AnyMachine, cluster: Cluster) -> Iterator[tuple[int, AnyMachine, str]]:
    """(place of the NIC, who has its MAC too, where): of each NIC the first other one, in its own machine only those
    before it."""
    taken = holders(cluster)
    for i, nic in enumerate(machine.spec.nics):
        where = segment(machine, nic, cluster) if nic.mac else ""
        for other, j in taken.get((where, nic.mac), ()) if nic.mac else ():
            if other is machine or other.ref == machine.ref:
                if j < i:
                    yield i, other, where
                    break
            elif not same_machine(machine, other):
                yield i, other, where
                break


def macs_are_its_own(machine: AnyMachine, review: Review) -> Iterator[Problem]:
    for i, other, where in duplicate_macs(machine, review.after):
        if other.ref == machine.ref or review.earlier(machine, other):
            yield mac_twice(machine, i, other, where)


def mac_twice(machine: AnyMachine, index: int, other: AnyMachine, where: str) -> Problem:
    who = "another NIC of it" if other.ref == machine.ref else str(other.ref)
    message = f"{machine.spec.nics[index].mac} is already the address of {who} in {where}"
    path = f"{nic_path(machine, index)}.macAddress"
    return problem(machine, "mac-duplicate", path, message, "give each its own, or none: then one is made")


def some_node_has_its_networks(machine: AnyMachine, review: Review) -> Iterator[Problem]:
    """Harvester adds an affinity to the nodes with its cluster networks; a machine without one waits for ever."""
    known = review.nodes()
    mine = [node for node in known if may_run(machine.spec, node, review.after)]
    if known and not mine:
        asked = {key for key, _ in machine.spec.node_selector}
        if asked == {names.LABEL_HOSTNAME} and machine.spec.node_terms is None and not review.after.nodes():
            return  # another host, and no Node object says which there are
        there = ", ".join(node.name for node in known)
        message = f"no node is as it is asked for; the nodes are {there}"
        yield warning(machine, "node-selector", placement_path(machine), message)
        return
    for i, network in enumerate(machine.spec.networks):
        nad = find_nad(review.after, network.nad)
        cn = nad.cluster_network if nad is not None else None
        if not mine or not cn or cn == names.MGMT or review.after.cluster_network(cn) is None:
            continue
        configs = review.after.vlan_configs(cn)
        if not any(selects_node(config, node) for config in configs for node in mine):
            message = f"no node that it may run on has cluster network {cn}"
            hint = f"a VlanConfig of {cn} makes it" if not configs else "look at the nodeSelector of its VlanConfigs"
            yield warning(machine, "clusternetwork-nowhere", network_path(machine, i), message, hint)


def what_it_lacks_is_said(machine: AnyMachine, review: Review) -> Iterator[Problem]:
    """It is let in, for its networks count; whoever starts it here is told no. For another node that says nothing."""
    here = review.here()
    if machine.spec.lacks and (here is None or may_run(machine.spec, here, review.after)):
        first, *rest = machine.spec.lacks
        message = f"it cannot be started here: {first.message}" + (f" (and {len(rest)} more)" if rest else "")
        yield warning(machine, "not-startable", first.path, message, first.hint)


def lacks(machine: AnyMachine, *, hypervisor: bool = True) -> Iterator[Problem]:
    """Each as the reason against a start that it is. `hypervisor`: also what matters to that only."""
    for lack in machine.spec.lacks:
        if hypervisor or not lack.hypervisor:
            yield problem(machine, lack.code, lack.path, lack.message, lack.hint)


def placement_path(machine: AnyMachine) -> str:
    """Where the document says on which nodes the machine may run."""
    asked = "nodeSelector" if machine.spec.node_selector or machine.spec.node_terms is None else "affinity.nodeAffinity"
    return f"{base(machine)}.{asked}"


ON_PUT = (its_networks_exist, macs_are_its_own, some_node_has_its_networks, what_it_lacks_is_said)
