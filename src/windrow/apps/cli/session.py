"""What a command knows of its surroundings: where the store is, which node this is, how to reach the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from windrow.model.lazy import dataclass
from windrow.render.text import Style

if TYPE_CHECKING:
    from windrow.apps.engine import Kernel
    from windrow.apps.site import Site
    from windrow.kube.access import Access


def host_name() -> str:
    """What this host is called where nothing else is known of it. Which Node it is, `rules.admit` finds."""
    from windrow.model.names import node_name

    return node_name(os.uname().nodename)


def real_kernel() -> Kernel:
    from windrow.netlink.kernel import Kernel as Rtnetlink

    return Rtnetlink()


def may_administer() -> bool:
    from windrow.netlink.errors import may_administer as may

    return may()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Tests put one into click's context with a kernel of their own."""

    root: Path = Path("/")
    node: str = field(default_factory=host_name)
    cluster: Access | None = None
    """The API that objects come from; None: the directory of manifests below `root`."""
    style: Style = field(default_factory=Style)
    error_style: Style = field(default_factory=Style)
    verbose: bool = False
    open_kernel: Callable[[], Kernel] = real_kernel
    permitted: Callable[[], bool] = may_administer
    on_site: Callable[[Site], Site] = lambda site: site
    """What stands by while something changes; tests put in others."""

    @contextmanager
    def kernel(self) -> Iterator[Kernel]:
        """The kernel of this namespace; closed at the end. Raises KernelError."""
        kernel = self.open_kernel()
        try:
            yield kernel
        finally:
            close = getattr(kernel, "close", None)
            if close:
                close()

    @contextmanager
    def site(self) -> Iterator[Site]:
        """This host, with its kernel open. Raises KernelError."""
        from windrow.apps.round.here import here
        from windrow.store.paths import Paths

        with self.kernel() as kernel:
            yield self.on_site(here(Paths(self.root), self.node, kernel, self.open_kernel))


def style_for(color: str, stream: TextIO) -> Style:
    """`always`, `never`, or on a terminal without NO_COLOR (https://no-color.org)."""
    match color:
        case "always":
            return Style(colour=True)
        case "never":
            return Style()
        case _:
            dumb = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
            return Style(colour=stream.isatty() and not dumb)
