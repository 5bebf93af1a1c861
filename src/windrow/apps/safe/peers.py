"""Who is asked, before a change and after it, beside gateways and neighbours: the other nodes, whoever is logged in or
has a connection open to this host."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from windrow.apps.site import Site
from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.connections import Connection
from windrow.model.neighbours import Peer
from windrow.model.values import IfName
from windrow.netlink.errors import KernelError

MOST = 8
"""Each is asked; in a large cluster a few of them say as much as all."""


def peers(cluster: Cluster, node: str) -> tuple[str, ...]:
    """Addresses of the other nodes."""
    return tuple(dict.fromkeys(_nodes(cluster, node)))[:MOST]


def connected(site: Site, links: Collection[IfName]) -> tuple[Peer, ...]:
    """Who has a connection open to a port of this host, and is answered over one of these links. An agent is told of
    nobody who is logged in: it sees them so."""
    try:
        opened = sorted(site.sockets(site.kernel).opened)
        each = dict.fromkeys(Peer(c.peer, c.source) for c in opened)
        return tuple(p for p in tuple(each)[:MOST] if site.ways(site.kernel, [p]) & frozenset(links))
    except KernelError:
        return ()  # this kernel has no tcp_diag


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
