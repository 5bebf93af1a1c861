"""A part of the loop: the packet filter's rules of ports and policies may have changed. At work only where some are
wanted."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping

from windrow.apps.filters import FRESH_S, HEARD, PortFilters, unannounced
from windrow.model.filters import Filters
from windrow.netlink.errors import KernelError
from windrow.netlink.nftnews import NftNews

COUNTED_S = 60.0
"""How old the counters of policies may become: nobody announces that they went on."""


class FilterNews:
    """Of nftables it hears; what nobody announces it looks at every FRESH_S seconds, what is counted more seldom."""

    def __init__(
        self,
        filters: PortFilters,
        mono: Callable[[], float],
        open_: Callable[[], NftNews] = lambda: NftNews(HEARD),
    ) -> None:
        self._filters, self._mono, self._open = filters, mono, open_
        self._news: NftNews | None = None
        self._due: float | None = None

    def fds(self) -> Mapping[int, int]:
        return {self._news.fileno(): selectors.EVENT_READ} if self._news is not None else {}

    def ready(self, fd: int) -> bool:
        if fd == -1:
            self._due = self._mono() + FRESH_S
        elif self._news is None or not self._news.read():
            return False
        self._filters.forget()
        return True

    def deadline(self) -> float | None:
        return self._due

    def after(self, wanted: Filters, *, policed: bool = False) -> None:
        """What is wanted since the last round; `policed`: rules of network policies, too."""
        if not wanted and not policed:
            self._due = None
            self.close()
            return
        if self._news is None:
            try:
                self._news = self._open()
            except KernelError:  # no nftables here
                self._news = None
            else:
                self._filters.forget()  # what changed before it heard
                self._due = self._mono()
                return
        deaf = self._news is None or unannounced(wanted)
        again_s = FRESH_S if deaf else COUNTED_S if policed else None
        self._due = self._mono() + again_s if again_s is not None else None

    def close(self) -> None:
        if self._news is not None:
            self._news.close()
            self._news = None
