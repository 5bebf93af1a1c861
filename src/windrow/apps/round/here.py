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
        kernel=_equipped(kernel, paths),
        watch=real_watch,
        open_kernel=lambda: _equipped(open_kernel(), paths),
    )


def _equipped(kernel: Kernel, paths: Paths) -> Kernel:
    """With what it takes beside rtnetlink: the packet filter, and this host's key."""
    if isinstance(kernel, Rtnetlink):
        kernel.packet_filter = kernel.packet_filter or PortFilters()
        kernel.own_key = kernel.own_key or (lambda: _private_key(paths))
    return kernel


def _private_key(paths: Paths) -> bytes:
    from windrow.apps.encryption import own_keys  # most hosts have none

    return own_keys(paths).private
