"""Who else must still be reached where the gateway proves nothing: the other nodes, and whoever is logged in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import Cluster

MOST = 8
"""Each is asked; in a large cluster a few of them say as much as all."""


def peers(cluster: Cluster, node: str, ssh_connection: str = "") -> tuple[str, ...]:
    """Addresses: of the SSH client (`SSH_CONNECTION`: its address comes first), then of the other nodes."""
    return tuple(dict.fromkeys([*_client(ssh_connection), *_nodes(cluster, node)]))[:MOST]


def _client(ssh_connection: str) -> Iterator[str]:
    try:
        yield str(ipaddress.ip_address(ssh_connection.partition(" ")[0].partition("%")[0]))
    except ValueError:
        return


def _nodes(cluster: Cluster, node: str) -> Iterator[str]:
    for config in cluster.host_networks(names.MGMT):
        for name, given in config.ips.items():
            if name != node:
                yield from (str(ipaddress.ip_interface(address).ip) for address in given)
