"""A Site of this host, with what really stands by."""

from __future__ import annotations

from collections.abc import Callable

from windrow.apps.engine import Kernel
from windrow.apps.safe import watchdog
from windrow.apps.site import Site, real_kernel
from windrow.store.paths import Paths


def here(paths: Paths, node: str, kernel: Kernel, open_kernel: Callable[[], Kernel] = real_kernel) -> Site:
    return Site(paths=paths, node=node, kernel=kernel, watch=watchdog.start, open_kernel=open_kernel)
