"""A checkpoint: how to go back, while a change of the network is not yet known to be good."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from windrow.model.connections import Connection
from windrow.model.host import HostState
from windrow.model.lazy import dataclass
from windrow.model.processes import Process
from windrow.model.values import IfName, Ref


class Stage(StrEnum):
    """The first three are *pending*: nobody else may change the network meanwhile."""

    CHANGING = "changing"
    """The plan is carried out, and then the network is probed. Whoever does that is alive, or it is undone."""
    WAITING = "waiting"
    """Done; somebody has to confirm it before the deadline. Nobody need be alive for that but the watchdog."""
    UNDOING = "undoing"
    """On its way back, and until a look says that all is as it was: what is `left` is tried again and again."""
    CONFIRMED = "confirmed"
    UNDONE = "undone"

    @property
    def pending(self) -> bool:
        return self in (Stage.CHANGING, Stage.WAITING, Stage.UNDOING)


class ProbeKind(StrEnum):
    GATEWAY = "gateway"
    """The default gateway; where that proves nothing, other nodes, and at last the carrier."""
    PING = "ping"
    TCP = "tcp"
    INCOMING = "incoming"
    """Somebody opens a new connection to this host, to `port` where there is one."""
    NONE = "none"
    """Carrier is all that is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What must answer after a change. `host` is an IP address."""

    kind: ProbeKind
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        match self.kind:
            case ProbeKind.TCP:
                host = f"[{self.host}]" if ":" in self.host else self.host
                return f"tcp:{host}:{self.port}"
            case ProbeKind.INCOMING:
                return f"incoming:{self.port}" if self.port else "incoming"
            case ProbeKind.PING:
                return self.host
            case _:
                return str(self.kind)


GATEWAY = Probe(kind=ProbeKind.GATEWAY)
PROBE_S = 60.0
"""How long there is to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One at a time. Times: `made` is Unix time, `deadline` CLOCK_BOOTTIME, which no hand sets, in seconds."""

    id: str
    node: str
    stage: Stage
    made_by: str
    """The command, for people: `windrow init`."""
    made: float
    boot: str
    """Which start of the host `deadline` is of. After another one, the change is undone."""
    deadline: float
    allowed_s: float
    """How long there is to confirm, once the change is made."""
    want: HostState
    """What to go back to: all that was Windrow's, and what the change takes from others."""
    links: tuple[IfName, ...]
    """The links of the units that change."""
    documents: Mapping[Ref, Mapping[str, Any] | None]
    """The objects that change, as they were in the store; None: it was not there."""
    probes: tuple[Probe, ...] = (GATEWAY,)
    guarded: bool = True
    """Whether a watchdog is there to undo it: always so for the management network, and with --confirm."""
    changer: Process | None = None
    watchdog: Process | None = None
    connections: tuple[Connection, ...] = ()
    """Those that were open when the change was made: a session over another one began after it."""
    said: str = ""
    """What it was decided on, in words."""
    left: str = ""
    """While it is undone: what is not as it was although that was tried, in words; empty: it was not tried yet."""
    tried: float = 0.0
    """When, as `deadline`."""
