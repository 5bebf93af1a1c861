"""The agent's connection to a cluster: where its objects come from, and where what became of them is told."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from windrow.apps.agent.log import Log
from windrow.apps.agent.publish import Told
from windrow.kube.access import Access
from windrow.kube.mirror import OF_AGENTS, Mirror
from windrow.model.events import Event
from windrow.model.manifests import Found
from windrow.model.objects import Node
from windrow.model.pools import IPPool
from windrow.model.values import Ref
from windrow.status.published import event_of, published


class Connection:
    """Source, sink, and a part of the loop. `changed`: is called when objects changed, or the trouble with them.
    `pools`: IPPools are served, as far as the manager has given addresses of them."""

    def __init__(
        self, access: Access, host: str, log: Log, changed: Callable[[], None], *, pools: bool = False
    ) -> None:
        """Raises KubeError where there is no such kubeconfig, or nothing to read it with."""
        self._log, self._changed = log, changed
        kinds = (*OF_AGENTS, IPPool.KIND) if pools else OF_AGENTS
        self._mirror = Mirror(access, host, self._note, kinds, paced=True)
        self._mirror.start()

    def _note(self, what: str, why: str) -> None:
        if why:
            self._log.warning("trouble with the cluster's objects", subject=what, reason=why)
        else:
            self._log.info("the API server answers again", subject=what)

    # A source ----------------------------------------------------------------------------------------

    def found(self, now: float) -> Found:
        return self._mirror.found()

    def forget(self) -> None:
        """Nothing is remembered: the mirror itself knows what changed."""

    @property
    def trouble(self) -> str:
        return self._mirror.cache.trouble

    # A sink ------------------------------------------------------------------------------------------

    def publish(self, told: Told) -> None:
        """What this host's last good state alone is about is told to nobody: the cluster may have other objects."""
        if self._mirror.cache.complete:
            self._mirror.want(published(told.cluster, told.report))

    def happened(self, events: Sequence[Event]) -> None:
        node = self._mirror.cache.node
        # The agent calls its host's Node by the host's name.
        named = [replace(e, about=Ref(Node.KIND, node)) if e.about.kind == Node.KIND else e for e in events]
        self._mirror.happened(event_of(event, node, self._mirror.cache.uid(event.about)) for event in named)

    @property
    def untold(self) -> str:
        return self._mirror.untold

    # A part ------------------------------------------------------------------------------------------

    def fds(self) -> Mapping[int, int]:
        return {self._mirror.news: selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        self._mirror.take()
        self._changed()
        return False

    def deadline(self) -> float | None:
        return None

    def still(self) -> contextlib.AbstractContextManager[None]:
        return self._mirror.still()

    def close(self) -> None:
        self._mirror.close()
