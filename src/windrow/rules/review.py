"""What a rule looks at: the cluster before and after the changes, and the facts of this node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from windrow.model.cluster import Cluster, selects_node
from windrow.model.facts import NodeFacts
from windrow.model.lazy import dataclass
from windrow.model.names import LABEL_CLUSTERNETWORK, LABEL_HOSTNAME, MGMT
from windrow.model.objects import AnyObject, ClusterNetwork, Node, VlanConfig
from windrow.model.problems import Problem, Severity
from windrow.model.values import Ref
from windrow.rules.selectors import Config, requirements, selects
from windrow.rules.terms import ON_HOST, Terms

K = TypeVar("K", bound=AnyObject)


@dataclass(frozen=True, slots=True)
class Change:
    """One object: old None = it is new, new None = it goes."""

    old: AnyObject | None
    new: AnyObject | None

    @property
    def ref(self) -> Ref:
        obj = self.new or self.old
        if obj is None:
            raise ValueError("a change of nothing to nothing")
        return obj.ref


def changes_to(before: Cluster, objects: Iterable[AnyObject]) -> tuple[Change, ...]:
    """What putting these objects changes; an object that is there just so is no change."""
    pairs = [(before.objects.get(obj.ref), obj) for obj in objects]
    return tuple(Change(old, new) for old, new in pairs if old != new or old is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """`unread`: objects that are there, or meant to be, whose manifests have problems of their own."""

    before: Cluster
    after: Cluster
    changed: frozenset[Ref] = frozenset()
    facts: NodeFacts | None = None
    unread: frozenset[Ref] = frozenset()
    terms: Terms = ON_HOST

    def leaving(self, obj: AnyObject) -> bool:
        """Whether it is only waiting for its last finalizer. It still uses what it names, and stands in nobody's way.
        In a manifest of a host that stamp means nothing."""
        return self.terms.served and obj.meta.deleting

    def staying(self, objects: Iterable[K]) -> list[K]:
        """Those that are not `leaving`; a thousand Nodes are asked here for each network."""
        return [obj for obj in objects if not obj.meta.deleting] if self.terms.served else list(objects)

    def old(self, obj: K) -> K | None:
        """The object before the change; None: it is new."""
        found = self.before.objects.get(obj.ref)
        return found if isinstance(found, type(obj)) else None

    def nodes(self) -> list[Node]:
        """Every node that is known, by name: by an object, or because this is it."""
        nodes = self.staying(self.after.nodes())
        if self.facts is None or any(node.name == self.facts.node for node in nodes):
            return nodes
        return sorted([*nodes, self.after.node(self.facts.node)], key=lambda node: node.name)

    def here(self) -> Node | None:
        return self.after.node(self.facts.node) if self.facts is not None else None

    def unreadable(self, *kinds: type[AnyObject]) -> bool:
        """Whether there are objects of these kinds that nobody here can look into."""
        return any(ref.kind == kind.KIND for ref in self.unread for kind in kinds)

    def earlier(self, obj: AnyObject, other: AnyObject) -> bool:
        """Of two changed objects that exclude each other, only the later one is complained about."""
        return other.ref not in self.changed or other.ref < obj.ref


def problem(obj: AnyObject, code: str, path: str, message: str, hint: str = "", others: Iterable[Ref] = ()) -> Problem:
    """A problem at a place of an object, with the file and line it came from, and whom else it is about."""
    return Problem(
        code=code,
        message=message,
        hint=hint,
        path=path,
        about=obj.ref,
        file=obj.source.file,
        line=obj.source.line(path) or obj.source.line(""),
        others=tuple(others),
    )


def warning(obj: AnyObject, code: str, path: str, message: str, hint: str = "") -> Problem:
    return replace(problem(obj, code, path, message, hint), severity=Severity.WARNING)


def selects_some_node(config: Config, path: str, review: Review) -> Iterator[Problem]:
    """A selector that matches no node is a slip of the pen; one that names another host is none, where no Node object
    says which hosts there are."""
    nodes = review.nodes()
    keys = {requirement.key for requirement in requirements(config)}
    elsewhere = not review.after.nodes() and keys == {LABEL_HOSTNAME}
    if not keys or not nodes or elsewhere or review.unreadable(Node) or any(selects(config, node) for node in nodes):
        return
    labels = sorted({key for node in nodes for key in node.labels})
    message = f"no node has these labels; the nodes are {', '.join(node.name for node in nodes)}"
    hint = f"Node objects give labels; there are: {', '.join(labels)}"
    yield warning(config, "node-selector", path, message, hint)


def listed(objects: Iterable[AnyObject]) -> str:
    return ", ".join(str(obj.ref) for obj in objects)


def refs(objects: Iterable[AnyObject]) -> list[Ref]:
    return [obj.ref for obj in objects]


def cluster_network_exists(obj: AnyObject, name: str, path: str, review: Review) -> Iterator[Problem]:
    """Every kind that names a cluster network must name one that is there."""
    ref = Ref(ClusterNetwork.KIND, name)
    found = review.after.cluster_network(name)
    if found is not None and review.leaving(found):
        hint = "wait until it is gone, and create it anew"
        yield problem(obj, "clusternetwork-missing", path, f"{ref} is being deleted", hint, [ref])
    if not name or found is not None or ref in review.unread:
        return
    there = ", ".join(sorted(c.name for c in review.after.all(ClusterNetwork)))
    gone = review.before.cluster_network(name) is not None
    message = f"there is no ClusterNetwork {name}" + (" any more after this change" if gone else "")
    yield problem(obj, "clusternetwork-missing", path, message, f"create it first; there are: {there}", [ref])


def some_node_has(obj: AnyObject, cn: str, path: str, nodes: Sequence[Node], review: Review) -> Iterator[Problem]:
    """Where no VlanConfig gives one of these nodes the cluster network, whatever is on it waits for ever."""
    if not cn or cn == MGMT or review.after.cluster_network(cn) is None or review.unreadable(VlanConfig, Node):
        return
    configs = review.after.vlan_configs(cn)
    if configs and not review.after.nodes():
        return  # they may be for hosts that no Node object names
    if nodes and not any(selects_node(config, node) for config in configs for node in nodes):
        which = "no node" if len(nodes) == len(review.nodes()) else "no node that it is for"
        hint = "look at the nodeSelector of its VlanConfigs" if configs else f"a VlanConfig of {cn} makes it"
        yield warning(obj, "clusternetwork-nowhere", path, f"{which} has cluster network {cn}", hint)


def label_agrees(obj: AnyObject, name: str, what: str) -> Iterator[Problem]:
    """Harvester sets the label itself; one that says something else is a mistake."""
    label = obj.meta.labels.get(LABEL_CLUSTERNETWORK)
    if label is not None and name and label != name:
        path = f"metadata.labels[{LABEL_CLUSTERNETWORK}]"
        yield problem(obj, "label-mismatch", path, f"the label says {label!r}, {what} says {name}", "remove the label")
