"""One request to an API server: may it be, and what is to be written into the object before it is.

The cluster is what is known of all others. Of the object itself the request says what it was and what it is to be, and
that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from windrow.model import names, upkeep
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.objects import AnyObject, ClusterNetwork, NetworkAttachmentDefinition, VlanConfig
from windrow.model.problems import Problem, errors
from windrow.model.upkeep import Upkeep
from windrow.model.values import Ref
from windrow.model.wire import load_value
from windrow.rules.admission import check
from windrow.rules.review import Change
from windrow.rules.terms import Terms

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`old` None: it is created; `new` None: it is deleted."""

    old: Document | None
    new: Document | None
    asker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`change`: None where the documents are of no kind that is judged here, or cannot be read at all."""

    problems: tuple[Problem, ...] = ()
    change: Change | None = None

    @property
    def refused(self) -> tuple[Problem, ...]:
        return errors(self.problems)


def judge(request: Request, cluster: Cluster, terms: Terms) -> Verdict:
    """`cluster` may hold objects as far as they could be read (`Object.doubts`). All problems at once."""
    (old, known), (new, said) = _read(request.old), _read(request.new)
    if (request.new is not None and new is None) or (old is None and new is None):
        return Verdict(problems=said)
    change = Change(old, new)
    if old is not None and old.meta.deleting and new is not None:
        return Verdict(change=change)
    found = check(_before(change, cluster), [change], terms=replace(terms, served=True, asker=request.asker))
    # What could not be read before, and is still there, is not what this request is about.
    return Verdict(problems=(*(p for p in said if p not in known), *found), change=change)


def _before(change: Change, cluster: Cluster) -> Cluster:
    """With the object as it was; what is known of it here may be older."""
    if change.old is not None:
        return cluster.replace([change.old])
    return cluster.without([change.ref]) if change.ref in cluster.objects else cluster


def _read(document: Document | None) -> tuple[AnyObject | None, tuple[Problem, ...]]:
    """The object, as far as it can be read, and what is wrong with it by itself."""
    if document is None:
        return None, ()
    loaded = load_value(document)
    return next(iter((*loaded.objects, *loaded.doubtful)), None), loaded.problems


def mend(request: Request, cluster: Cluster, found: Callable[[Ref], Cluster] | None = None) -> list[dict[str, Any]]:
    """What is to be written into the object, as a JSON patch; nothing into one that goes, or that cannot be read.
    `found`: is asked for a cluster that has the cluster network that it names, where this one has not."""
    if request.new is None:
        return []
    document = _named(request.new)
    (old, _), (new, _) = _read(request.old), _read(document)
    if new is None or new.doubts or (old is not None and old.meta.deleting):
        return []
    network = _network_of(new)
    if found is not None and network is not None and network not in cluster.objects:
        cluster = found(network)
    return upkeep.patches(document, _upkept(document, old, new, cluster))


def _network_of(new: AnyObject) -> Ref | None:
    """The cluster network that it names; what is written into it follows from that."""
    match new:
        case VlanConfig() | NetworkAttachmentDefinition() if new.cluster_network:
            return Ref(ClusterNetwork.KIND, new.cluster_network)
        case _:
            return None


def _named(document: Document) -> Document:
    """A name that is to be made (`generateName`) is made after this."""
    meta = document.get("metadata")
    if not isinstance(meta, Mapping) or meta.get("name") or not meta.get("generateName"):
        return document
    return {**document, "metadata": {**meta, "name": f"{str(meta['generateName']).rstrip('-.')}-0"}}


def _upkept(document: Document, old: AnyObject | None, new: AnyObject, cluster: Cluster) -> Document:
    match new:
        case VlanConfig() if new.cluster_network != names.MGMT:
            return _of_vlan_config(old, new, cluster).on(document)
        case NetworkAttachmentDefinition():
            kept = _of_network(old, new, cluster).on(document)
            return upkeep.of_route(old, new).on(kept) if isinstance(old, NetworkAttachmentDefinition) else kept
        case _:
            return document


def _of_vlan_config(old: AnyObject | None, new: VlanConfig, cluster: Cluster) -> Upkeep:
    """The label only where the cluster network is another one: whoever takes the label away is told (Harvester)."""
    wanted = upkeep.of_vlan_config(new, (node for node in cluster.nodes() if not node.meta.deleting))
    same = isinstance(old, VlanConfig) and old.cluster_network == new.cluster_network
    return replace(wanted, labels={}) if same else wanted


def _of_network(old: AnyObject | None, new: NetworkAttachmentDefinition, cluster: Cluster) -> Upkeep:
    """Whoever gives a new network the label of another cluster network is told (Harvester), and not corrected."""
    network = cluster.cluster_network(new.cluster_network or "")
    wanted = upkeep.of_network(new, cluster, network.ready if network is not None else None)
    if old is not None:
        # Its MTU is the author's, and a rule says whether it may be that one.
        return replace(wanted, config=None)
    given = new.meta.labels.keys() & {names.LABEL_CLUSTERNETWORK}
    return replace(wanted, labels={key: value for key, value in wanted.labels.items() if key not in given})
