"""A Site of this host, with what really stands by."""

from __future__ import annotations

from collections.abc import Callable

from windrow.apps.engine import Kernel
from windrow.apps.filters import PortFilters
from windrow.apps.site import Site, real_kernel
from windrow.model.checkpoint import Checkpoint
from windrow.model.processes import Process
from windrow.netlink.kernel import Kernel as Rtnetlink
from windrow.store.paths import Paths


def real_watch(site: Site, checkpoint: Checkpoint) -> Process:
    from windrow.apps.safe import watchdog  # with all that it takes to undo a change, which a look does not need

    return watchdog.start(site, checkpoint)


def here(paths: Paths, node: str, kernel: Kernel, open_kernel: Callable[[], Kernel] = real_kernel) -> Site:
    return Site(
        paths=paths,
        node=node,
        kernel=_with_filters(kernel),
        watch=real_watch,
        open_kernel=lambda: _with_filters(open_kernel()),
    )


def _with_filters(kernel: Kernel) -> Kernel:
    if isinstance(kernel, Rtnetlink) and kernel.packet_filter is None:
        kernel.packet_filter = PortFilters()
    return kernel
