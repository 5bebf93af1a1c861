"""The cluster: an immutable snapshot of all objects, with the look-ups that the passes need."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from typing import TypeVar, cast

from windrow.model import names
from windrow.model.machines import MachineSpec
from windrow.model.meta import Meta
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    Node,
    VlanConfig,
)
from windrow.model.policies import MultiNetworkPolicy, NetworkPolicy
from windrow.model.selectors import LabelSelector, NodeTerm, Operator, Requirement
from windrow.model.values import DEFAULT_PVID, MTU_DEFAULT, Ref, VidSet

T = TypeVar("T")
K = TypeVar("K", bound=AnyObject)


def builtin() -> tuple[AnyObject, ...]:
    """What exists without a manifest: the management network, and the monitor of all NICs."""
    return (
        ClusterNetwork(meta=Meta(name=names.MGMT)),
        LinkMonitor(meta=Meta(name="nic"), type_rule="device"),
    )


@dataclass(frozen=True)
class Cluster:
    """All objects, by reference. Build it with `of`, which adds the built-in ones.

    The indexes are made when they are first asked for, and then kept: a snapshot never changes. The next one, in which
    few objects differ, takes them over: among thousands of networks, one more costs little.
    """

    objects: Mapping[Ref, AnyObject] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[AnyObject]) -> Cluster:
        """Later objects replace earlier ones of the same reference."""
        return cls({o.ref: o for o in (*builtin(), *objects)})

    def replace(self, objects: Iterable[AnyObject]) -> Cluster:
        changed = {o.ref: o for o in objects}
        found = Cluster({**self.objects, **changed})
        found._take_over(self, changed)
        return found

    def without(self, refs: Iterable[Ref]) -> Cluster:
        """Built-in objects come back as they are without a manifest."""
        gone = {ref for ref in refs if ref in self.objects}
        back = {o.ref: o for o in builtin() if o.ref in gone or o.ref not in self.objects}
        left = dict(self.objects)  # a copy asks no reference for its hash, which thousands of them take a while to say
        for ref in gone:
            del left[ref]
        found = Cluster({**left, **back})
        found._take_over(self, {**dict.fromkeys(gone), **back})
        return found

    def _take_over(self, other: Cluster, changed: Mapping[Ref, AnyObject | None]) -> None:
        """The indexes that another one has made, where few objects differ from it; None: an object is gone."""
        made = vars(other)
        if len(changed) > _FEW or "_by_kind" not in made:
            return
        kinds = dict(other._by_kind)
        for ref, new in changed.items():
            for kind in {type(o) for o in (other.objects.get(ref), new) if o is not None}:
                kinds[kind] = _with(kinds.get(kind, ()), ref, new)
        vars(self)["_by_kind"] = kinds
        if "_nads" in made:
            networks = dict(other._nads)
            for ref, new in changed.items():
                for name in {_network_of(other.objects.get(ref)), _network_of(new)} - {""}:
                    here = new if isinstance(new, NetworkAttachmentDefinition) and _network_of(new) == name else None
                    networks[name] = _with(networks.get(name, ()), ref, here)
            vars(self)["_nads"] = networks

    @cached_property
    def _by_kind(self) -> Mapping[type, tuple[AnyObject, ...]]:
        """Kind -> its objects, by name and namespace."""
        found: dict[type, list[AnyObject]] = {}
        for o in self.objects.values():
            found.setdefault(type(o), []).append(o)
        return {kind: tuple(sorted(objects, key=_place)) for kind, objects in found.items()}

    def all(self, cls: type[T]) -> tuple[T, ...]:
        """All objects of a kind, by name."""
        return cast(tuple[T, ...], self._by_kind.get(cls, ()))

    def cluster_network(self, name: str) -> ClusterNetwork | None:
        found = self.objects.get(Ref(ClusterNetwork.KIND, name))
        return found if isinstance(found, ClusterNetwork) else None

    def node(self, name: str) -> Node:
        """The Node object, or one of that name where none was given."""
        found = self.objects.get(Ref(Node.KIND, name))
        if isinstance(found, Node):
            return found
        return Node(meta=Meta(name=name))

    def nodes(self) -> tuple[Node, ...]:
        return self.all(Node)

    @cached_property
    def node_names(self) -> tuple[str, ...]:
        """Those of the Node objects. Where there is none, nodes are whatever selectors call them."""
        return tuple(node.name for node in self.nodes()) or tuple(sorted(set(self._selected_hosts())))

    def _selected_hosts(self) -> Iterator[str]:
        selectors = [one.node_selector for one in self.all(VlanConfig)]
        selectors += [one.node_selector for one in self.all(LinkMonitor)]
        yield from (found for one in selectors if (found := one.get(names.LABEL_HOSTNAME)))
        for network in self.all(HostNetworkConfig):
            for one in network.node_selector.requirements if network.node_selector else ():
                if one.key == names.LABEL_HOSTNAME and one.operator is Operator.IN:
                    yield from one.values

    def labels(self, node: Node) -> Mapping[str, str]:
        """Those of its object, and those that a node has without a manifest's saying so: the kubelet's, and Harvester's
        for `mgmt` and each cluster network that is set up there. Machines are placed by them."""
        there = [v.cluster_network for v in self.all(VlanConfig) if v.effective and selects_node(v, node)]
        derived = {names.label_of(name): "true" for name in (names.MGMT, *there)}
        return {names.LABEL_OS: "linux", **derived, **node.labels}

    def policies(self) -> tuple[NetworkPolicy, ...]:
        """Of both kinds."""
        return (*self.all(NetworkPolicy), *self.all(MultiNetworkPolicy))

    def policed_namespaces(self) -> frozenset[str]:
        """Those with a policy that has an effect: pods of others are open, whatever their labels are."""
        return frozenset(policy.meta.namespace for policy in self.policies() if policy.networks)

    def vlan_configs(self, cluster_network: str) -> tuple[VlanConfig, ...]:
        return tuple(v for v in self.all(VlanConfig) if v.cluster_network == cluster_network)

    @cached_property
    def _nads(self) -> Mapping[str, tuple[NetworkAttachmentDefinition, ...]]:
        """Cluster network -> its bridge networks."""
        found: dict[str, list[NetworkAttachmentDefinition]] = {}
        for nad in self.all(NetworkAttachmentDefinition):
            if name := _network_of(nad):
                found.setdefault(name, []).append(nad)
        return {name: tuple(nads) for name, nads in found.items()}

    @cached_property
    def _nads_by_config(self) -> Mapping[str, tuple[NetworkAttachmentDefinition, ...]]:
        found: dict[str, list[NetworkAttachmentDefinition]] = {}
        for nad in self.all(NetworkAttachmentDefinition):
            found.setdefault(str(nad.config.get("name") or nad.name), []).append(nad)
        return {name: tuple(nads) for name, nads in found.items()}

    def nads_by_config(self, name: str) -> tuple[NetworkAttachmentDefinition, ...]:
        """Those whose CNI configuration has this name, in any namespace: by it alone a port knows its network."""
        return self._nads_by_config.get(name, ())

    @cached_property
    def _nad_vids(self) -> Mapping[str, VidSet]:
        return {name: reduce(or_, (nad.vids for nad in nads), VidSet()) for name, nads in self._nads.items()}

    def nads(self, cluster_network: str) -> tuple[NetworkAttachmentDefinition, ...]:
        """The bridge networks of a cluster network."""
        return self._nads.get(cluster_network, ())

    def nad_vids(self, cluster_network: str) -> VidSet:
        return self._nad_vids.get(cluster_network, VidSet())

    @cached_property
    def _snooped_vids(self) -> Mapping[str, VidSet]:
        native = VidSet.of([DEFAULT_PVID])
        return {name: VidSet.of(nad.vid for nad in nads if nad.snooped) - native for name, nads in self._nads.items()}

    def snooped_vids(self, cluster_network: str) -> VidSet:
        """The VIDs in which a network asks for multicast snooping; the native VLAN is none of them."""
        return self._snooped_vids.get(cluster_network, VidSet())

    def host_networks(self, cluster_network: str) -> tuple[HostNetworkConfig, ...]:
        return tuple(h for h in self.all(HostNetworkConfig) if h.cluster_network == cluster_network)

    def mtu(self, cluster_network: str) -> int:
        """The one MTU of a cluster network: that of its VlanConfigs (admission keeps them equal), else 1500."""
        mtus = [v.uplink.mtu for v in self.vlan_configs(cluster_network) if v.uplink.mtu]
        return mtus[0] if mtus else MTU_DEFAULT


_FEW = 50


def _place(obj: AnyObject) -> tuple[str, str]:
    """In the order of an index: what its `ref` says, of which thousands would be made for it."""
    return obj.meta.name, obj.meta.namespace if obj.NAMESPACED else ""


def _with(objects: tuple[K, ...], ref: Ref, new: K | None) -> tuple[K, ...]:
    """An index with another object of this name, or with none."""
    at = bisect_left(objects, (ref.name, ref.namespace), key=_place)
    there = at < len(objects) and objects[at].ref == ref
    return (*objects[:at], *(() if new is None else (new,)), *objects[at + there :])


def _network_of(obj: AnyObject | None) -> str:
    """The cluster network of a bridge network; empty: it is of none."""
    if not isinstance(obj, NetworkAttachmentDefinition) or obj.type is None:
        return ""
    return obj.cluster_network or ""


def matches_labels(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """A plain map selects by equality; an empty one selects everything."""
    return all(labels.get(key) == value for key, value in selector.items())


def selects_node(config: VlanConfig, node: Node) -> bool:
    """Whether a VlanConfig applies to a node. Witness nodes never match."""
    return not node.witness and matches_labels(config.node_selector, node.labels)


def matches_selector(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """metav1.LabelSelector as apimachinery reads it; None selects everything.

    `NotIn` also matches where the key is absent (`labels.Requirement.Matches`).
    """
    return _all_hold(selector.requirements if selector else (), labels)


def may_run(machine: MachineSpec, node: Node, cluster: Cluster) -> bool:
    """Whether a machine is for a node: its node selector, and one term at least of its required node affinity."""
    labels = cluster.labels(node)
    unsaid = frozenset(names.LABELS_OF_KUBERNETES) - labels.keys()
    if not matches_labels({key: value for key, value in machine.node_selector if key not in unsaid}, labels):
        return False
    terms = machine.node_terms
    return terms is None or any(_holds_term(term, node.name, labels, unsaid) for term in terms)


def _holds_term(term: NodeTerm, name: str, labels: Mapping[str, str], unsaid: Set[str]) -> bool:
    """One that asks for nothing matches no node (component-helpers, scheduling/corev1/nodeaffinity)."""
    asked = bool(term.labels or term.names)
    said = [requirement for requirement in term.labels if requirement.key not in unsaid]
    return asked and _all_hold(said, labels) and _all_hold(term.names, {_NAME_FIELD: name})


_NAME_FIELD = "metadata.name"


def _all_hold(requirements: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    return all(_holds(requirement, labels.get(requirement.key)) for requirement in requirements)


def _holds(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case Operator.IN:
            return value is not None and value in requirement.values
        case Operator.NOT_IN:
            return value is None or value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
        case Operator.GREATER | Operator.LESS:
            return _compares(requirement, value)


def _compares(requirement: Requirement, value: str | None) -> bool:
    """A label that is no whole number matches neither."""
    try:
        there, limit = int(value or ""), int(requirement.values[0])
    except ValueError:
        return False
    return there > limit if requirement.operator is Operator.GREATER else there < limit
