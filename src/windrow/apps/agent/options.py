"""What an agent is told when it is started, and why it may not start."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from windrow.apps.agent.log import Log
from windrow.model.lazy import dataclass
from windrow.model.problems import WindrowError
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.apps.check.settings import Settings
    from windrow.apps.engine import Kernel
    from windrow.kube.access import Access


class AgentError(WindrowError):
    """The agent cannot start."""


class Opened(Protocol):
    def __call__(self) -> contextlib.AbstractContextManager[Kernel]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    paths: Paths
    node: str
    open_kernel: Opened
    log: Log
    check: Settings | None = None
    """None: no probes are sent, and none is heard."""
    cluster: Access | None = None
    """The API that objects come from, and are told to; None: the directory of manifests."""
    pools: bool = False
    """Of a cluster: whether its IPPools are served here."""
    listen: tuple[str, ...] = ()
    """`HOST:PORT`, beside the Unix socket, for /metrics and /healthz."""
