"""What a node may ask in its VLANs: those that are intended for its uplinks, and that the uplinks carry now."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import suppress

from windrow.compile.pools import scopes
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.host import Observed
from windrow.model.objects import ClusterNetwork, NetworkAttachmentDefinition, NetworkType
from windrow.model.pools import Scope
from windrow.model.values import IfName
from windrow.sense.asking import Question


def questions(cluster: Cluster, observed: Observed) -> tuple[Question, ...]:
    """One for each VLAN of each cluster network with an uplink here. A VLAN that its bond does not carry, or that no
    manifest asks for, is none: nothing is sent there."""
    found = sorted(network.name for network in cluster.all(ClusterNetwork))
    return tuple(question for name in found for question in _of(cluster, name, observed))


def _of(cluster: Cluster, network: str, observed: Observed) -> Iterator[Question]:
    uplink = observed.state.links.get(names.bond_of(network))
    if uplink is None or uplink.vlans is None:
        return
    gateways, pools = _gateways(cluster, network), _pools(cluster, network)
    for vid in sorted(gateways.keys() & set(uplink.vlans.all)):
        pool, own = pools.get(vid), _own(observed, names.subinterface_of(network, vid))
        yield Question(
            cluster_network=network,
            vid=vid,
            link=uplink.name,
            tag=None if vid in uplink.vlans.untagged else vid,
            gateways=tuple(gateways[vid]),
            own=own,
            # What leaves by the uplink does not reach a server of this very node.
            dhcp=pool is None or pool.server not in own,
            client=pool.reservations[0].mac if pool is not None and pool.reservations else None,
        )


def _pools(cluster: Cluster, network: str) -> dict[int, Scope]:
    """VID -> the pool there. Its server answers nobody but those who have an address of it; which they have is no
    matter here."""
    return {scope.vid: scope for scope in scopes(cluster, {}) if scope.cluster_network == network}


def _gateways(cluster: Cluster, network: str) -> dict[int, dict[str, None]]:
    """VID -> the routers that manifests name there, if any. VLANs that are in a trunk alone are for its guests."""
    found: dict[int, dict[str, None]] = {}
    for nad in cluster.nads(network):
        if nad.type is NetworkType.VLAN:
            found.setdefault(nad.vid, {}).update(dict.fromkeys(_router(nad)))
    for config in cluster.host_networks(network):
        if config.vid:
            found.setdefault(config.vid, {}).update(dict.fromkeys(config.routing.gateways))
    for vid, scope in _pools(cluster, network).items():
        if vid and scope.pool.router:
            found.setdefault(vid, {})[scope.pool.router] = None
    return found


def _router(nad: NetworkAttachmentDefinition) -> Iterator[str]:
    """Harvester's annotation `route`: JSON with the gateway that a user or a DHCP server named. What is no address is
    admission's to refuse."""
    with suppress(ValueError, TypeError):
        said = json.loads(nad.meta.annotations.get(names.ANNOTATION_ROUTE, ""))
        yield str(ipaddress.ip_address(said.get("gateway", "") if isinstance(said, dict) else ""))


def _own(observed: Observed, interface: IfName) -> tuple[str, ...]:
    link = observed.state.links.get(interface)
    return tuple(sorted(str(cidr).partition("/")[0] for cidr in link.addrs or ())) if link else ()
