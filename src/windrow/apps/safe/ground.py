"""Where a safe change happens: a host's files and its kernel, and what stands by while it happens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windrow.model.checkpoint import Checkpoint
from windrow.model.processes import Process
from windrow.model.values import Cidr, IfName
from windrow.netlink import reach
from windrow.netlink.reach import Answers, Target
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.apps.engine import Kernel
    from windrow.services.filterrules import Reading

Ask = Callable[[Sequence[Target], float, Answers | None], Answers]
"""`netlink.reach.ask`: targets, how long at most, and what is enough."""
Watch = Callable[["Ground", Checkpoint], Process]
"""Starts the watchdog of a checkpoint, which need not be on disk yet, and returns when it is at work. Raises
WindrowError."""


def real_kernel() -> Kernel:
    from windrow.netlink.kernel import Kernel as Rtnetlink

    return Rtnetlink()


def real_ask(targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
    return reach.ask(targets, timeout_s=timeout_s, enough=enough)


def real_watch(ground: Ground, checkpoint: Checkpoint) -> Process:
    from windrow.apps.safe.watchdog import start

    return start(ground, checkpoint)


def real_dynamic(kernel: Kernel) -> Mapping[IfName, Mapping[Cidr, int]]:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.lifetimes import dynamic_addresses

    return dynamic_addresses(kernel.rtnl) if isinstance(kernel, Rtnetlink) else {}


def real_filters(nics: Collection[str]) -> Reading:
    from windrow.services.filterrules import firewall_rules_naming

    return firewall_rules_naming(nics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Tests put in a kernel in memory, and answers that nobody gave."""

    paths: Paths
    node: str
    open_kernel: Callable[[], Kernel] = field(default=real_kernel)
    ask: Ask = field(default=real_ask)
    watch: Watch = field(default=real_watch)
    dynamic: Callable[[Kernel], Mapping[IfName, Mapping[Cidr, int]]] = field(default=real_dynamic)
    """The addresses that links have for a time only, and the seconds that are left of it."""
    filters: Callable[[Collection[str]], Reading] = field(default=real_filters)
    """The rules of the packet filter that name one of these NICs."""
