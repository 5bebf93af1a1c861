"""design: the objects of what is there, the links to be marked, and what no object can say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from windrow.adopt.addresses import Part, parts
from windrow.adopt.networks import Scene, found_networks, renamed
from windrow.adopt.uplinks import vlan_config
from windrow.adopt.values import Adoption, Ask, Dynamic, Network
from windrow.adopt.vlans import networks_of, unsaid
from windrow.model import names
from windrow.model.adopted import AdoptedLink
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.host import Observed
from windrow.model.meta import Meta
from windrow.model.objects import AnyObject, ClusterNetwork
from windrow.model.problems import Problem, errors
from windrow.model.wire import dump, json_text, load_documents


def design(cluster: Cluster, facts: NodeFacts, observed: Observed, ask: Ask, dynamic: Dynamic) -> Adoption:
    """`cluster`: the objects that there are already; what they say of a network is not said again.

    Objects come in the order in which they may be created. Errors among the problems stand against all of it."""
    scene = Scene(observed=observed, facts=facts, dynamic=dynamic, ask=ask)
    networks, problems = found_networks(scene)
    hosts = {network.cluster_network: tuple(parts(scene, network)) for network in networks}
    found = [obj for network in networks for obj in _objects(scene, network, cluster, hosts[network.cluster_network])]
    settled = [_settled(obj) for obj in found]
    every = [part for network in networks for part in hosts[network.cluster_network]]
    said = [*(p for _, wrong in settled for p in wrong), *(p for network in networks for p in unsaid(scene, network))]
    return Adoption(
        networks=networks,
        objects=tuple(obj for obj, _ in settled),
        marked=tuple(one for network in networks for one in _marked(scene, network)),
        leases=tuple(part.lease for part in every if part.lease is not None),
        problems=(
            *problems,
            *said,
            *(p for part in every for p in part.problems),
        ),
    )


def _objects(scene: Scene, network: Network, cluster: Cluster, hosts: tuple[Part, ...]) -> Iterator[AnyObject]:
    cn = network.cluster_network
    if cn != names.MGMT and cluster.cluster_network(cn) is None:
        yield ClusterNetwork(meta=Meta(name=cn))
    yield vlan_config(scene, network)
    yield from (part.config for part in hosts)
    yield from networks_of(scene, network, cluster)


def _marked(scene: Scene, network: Network) -> Iterator[AdoptedLink]:
    for link, name in renamed(network):
        if not scene.observed.owned(link):
            yield AdoptedLink(link=link, name=name, group=scene.observed.runtime[link].group)


def _settled(made: AnyObject) -> tuple[AnyObject, tuple[Problem, ...]]:
    """Written and read again, as it will be found in the store; and what is wrong with it then, such as a name."""
    loaded = load_documents(json_text(dump(replace(made, doc={}))))
    wrong = errors(loaded.problems)
    return (loaded.objects[0] if loaded.objects else made), tuple(replace(p, file="", line=None) for p in wrong)
