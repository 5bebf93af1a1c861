"""Whether somebody gets in anew after a change: what is asked outwards does not tell.

A packet filter that names a NIC lets answers in (`ESTABLISHED`) and new connections not. A connection that a peer
opened after the change, and whose handshake is over, passed in both directions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from windrow.apps.site import Site
from windrow.model.checkpoint import Probe, ProbeKind
from windrow.model.connections import NO_SOCKETS, Connection, Sockets
from windrow.model.neighbours import Peer
from windrow.model.problems import Problem
from windrow.model.values import IfName
from windrow.netlink.errors import KernelError


class Incoming:
    """`links`: those that changed. `before`: the connections that do not count; None: all that are there now."""

    def __init__(self, site: Site, links: Collection[IfName], before: Collection[Connection] | None = None) -> None:
        self._site, self._links = site, frozenset(links)
        if before is None:
            now = _sockets(site)
            before = now.opened | now.begun
        self.before = frozenset(before)

    def found(self, port: int = 0) -> Connection | None:
        """A new one, to this port of ours (0: any), over one of the links that changed."""
        new = sorted(_sockets(self._site).opened - self.before)
        return next((c for c in new if port in (0, c.port) and self._is_by_these_links(c)), None)

    def holds(self, connection: Connection) -> bool:
        """Whether this one is open, new, and over one of the links that changed."""
        opened = _sockets(self._site).opened - self.before
        return connection in opened and self._is_by_these_links(connection)

    def _is_by_these_links(self, connection: Connection) -> bool:
        """By the way that the kernel answers the peer; to an address of this host there is none."""
        try:
            ways = self._site.ways(self._site.kernel, [Peer(connection.peer, connection.source)])
        except KernelError:
            return False
        return bool(ways & self._links)


def _sockets(site: Site) -> Sockets:
    try:
        return site.sockets(site.kernel)
    except KernelError:
        return NO_SOCKETS


def came(connection: Connection) -> str:
    return f"{connection.peer} opened a new connection to port {connection.port} after the change"


def asked_for(probes: Sequence[Probe], allowed_s: float) -> str:
    """What somebody has to do now; empty: nothing."""
    ports = [f"port {p.port} of this host" if p.port else "this host" for p in probes if p.kind is ProbeKind.INCOMING]
    if not ports:
        return ""
    return (
        f"open a new connection to {' and to '.join(ports)} now, for example a second SSH session: without one the "
        f"change is undone after {allowed_s:.0f} s"
    )


def unheard_of(site: Site, probes: Sequence[Probe]) -> Iterator[Problem]:
    """The probes for which nobody could ever connect, as nothing listens, or that nobody could see."""
    wanted = [p for p in probes if p.kind is ProbeKind.INCOMING]
    if not wanted:
        return
    try:
        listening = site.sockets(site.kernel).listening
    except KernelError as error:
        text = f"new connections cannot be seen here: {error}"
        hint = "`modprobe tcp_diag`; or confirm it from a new session: --confirm 60s"
        yield Problem(code="sockets-unseen", message=text, hint=hint)
        return
    for probe in wanted:
        if probe.port in listening or (not probe.port and listening):
            continue
        ports = ", ".join(map(str, sorted(listening)[:_SHOWN]))
        hint = f"name a port that a program listens on: {ports}" if ports else "start one, such as sshd"
        where = f"port {probe.port}" if probe.port else "any port"
        text = f"no program on this host listens on {where} for others, so no new connection can come in for {probe}"
        yield Problem(code="nobody-listens", message=text, hint=hint)


_SHOWN = 8
"""So many ports are named."""
