"""TCP as a host has it: who listens, and who is connected. A connection that a peer opened says that he gets in."""

from __future__ import annotations

from windrow.model.lazy import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Connection:
    """One that a peer opened: an address and a port of ours that somebody listens on, and his."""

    source: str
    port: int
    peer: str
    peer_port: int

    def __str__(self) -> str:
        return f"{self.peer} to port {self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sockets:
    """`listening`: the ports on which somebody from outside can be accepted. `opened`: connections to one of them.
    `begun`: those whose handshake is not over, so that nothing is known yet of the way back to the peer."""

    listening: frozenset[int] = frozenset()
    opened: frozenset[Connection] = frozenset()
    begun: frozenset[Connection] = frozenset()


NO_SOCKETS = Sockets()
