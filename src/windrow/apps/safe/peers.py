"""Who is asked, before a change and after it, beside gateways and neighbours: the other nodes, whoever is logged in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.connections import Connection
from windrow.model.neighbours import Peer

MOST = 8
"""Each is asked; in a large cluster a few of them say as much as all."""


def peers(cluster: Cluster, node: str) -> tuple[str, ...]:
    """Addresses of the other nodes."""
    return tuple(dict.fromkeys(_nodes(cluster, node)))[:MOST]


def login(ssh_connection: str) -> Peer | None:
    """The SSH client (`SSH_CONNECTION`: its address and port, then ours), where there is one that is not this host."""
    session = session_of(ssh_connection)
    return Peer(session.peer, session.source) if session is not None else None


def session_of(ssh_connection: str) -> Connection | None:
    """The connection of that client, as the kernel knows it."""
    words = ssh_connection.split()
    try:
        client, ours = (ipaddress.ip_address(words[n].partition("%")[0]) for n in (0, 2))
        peer_port, port = int(words[1]), int(words[3])
    except (ValueError, IndexError):
        return None
    return None if client.is_loopback or client == ours else Connection(str(ours), port, str(client), peer_port)


def _nodes(cluster: Cluster, node: str) -> Iterator[str]:
    for config in cluster.host_networks(names.MGMT):
        for name, given in config.ips.items():
            if name != node:
                yield from (str(ipaddress.ip_interface(address).ip) for address in given)
