"""Site: one host as everybody sees it who changes its network: files, kernel, clocks, and what stands by meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field
from typing import TYPE_CHECKING

from windrow.apps.engine import Kernel
from windrow.model.checkpoint import Checkpoint
from windrow.model.connections import NO_SOCKETS, Sockets
from windrow.model.lazy import dataclass
from windrow.model.neighbours import NOBODY, Peer, Surroundings
from windrow.model.problems import WindrowError
from windrow.model.processes import Process
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.netlink.reach import Answers, Target
    from windrow.services.filterrules import Reading

Ask = Callable[[Sequence["Target"], float, "Answers | None"], "Answers"]
"""`netlink.reach.ask`: targets, how long at most, and what is enough."""
Watch = Callable[["Site", Checkpoint], Process]
"""Starts the watchdog of a checkpoint, which need not be on disk yet, and returns when it is at work. Raises
WindrowError."""

Announcing = Callable[[Kernel, Paths, Callable[[str], None], float | None], AbstractContextManager[None]]
"""While it is entered, who gets another way or MAC address is announced to switches and neighbours (`apps.herald`);
what could not be is told in words. At its end, how long to wait for the last announcements; None: they come without
us."""


class Ended(BaseException):
    """Whoever changes the network was told to end while it waits, and stops where it is: the watchdog undoes what is
    not decided, and the next round goes on with the rest. No `except Exception` is to keep it from that."""


def real_kernel() -> Kernel:
    from windrow.netlink.kernel import Kernel as Rtnetlink

    return Rtnetlink()


def real_ask(
    targets: Sequence[Target], timeout_s: float, enough: Answers | None, meanwhile: Callable[[], None] | None = None
) -> Answers:
    from windrow.netlink import reach

    return reach.ask(targets, timeout_s=timeout_s, enough=enough, meanwhile=meanwhile)


def real_dynamic(kernel: Kernel) -> Mapping[IfName, Mapping[Cidr, int]]:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.lifetimes import dynamic_addresses

    return dynamic_addresses(kernel.rtnl) if isinstance(kernel, Rtnetlink) else {}


def real_ways(kernel: Kernel, peers: Sequence[Peer]) -> frozenset[IfName]:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.ways import ways_to

    return ways_to(kernel.rtnl, peers) if isinstance(kernel, Rtnetlink) else frozenset()


def real_held(kernel: Kernel, asked: Mapping[IfName, VidSet]) -> Mapping[IfName, VidSet]:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.vlansheld import held

    return held(kernel.rtnl, asked) if isinstance(kernel, Rtnetlink) else {}


def real_querier(kernel: Kernel, bridge: IfName) -> bool:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.queriers import heard

    return heard(kernel.rtnl, bridge) if isinstance(kernel, Rtnetlink) else False


def real_holders(kernel: Kernel, asked: Sequence[tuple[IfName, str]]) -> Mapping[tuple[IfName, str], Mac]:
    from windrow.netlink.claims import holders
    from windrow.netlink.kernel import Kernel as Rtnetlink

    return holders(kernel.netns, asked) if isinstance(kernel, Rtnetlink) else {}


def real_surroundings(kernel: Kernel) -> Surroundings:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.ways import surroundings

    return surroundings(kernel.rtnl) if isinstance(kernel, Rtnetlink) else NOBODY


def real_sockets(kernel: Kernel) -> Sockets:
    from windrow.netlink.kernel import Kernel as Rtnetlink
    from windrow.netlink.sockdiag import sockets

    return sockets(kernel.netns) if isinstance(kernel, Rtnetlink) else NO_SOCKETS


def real_filters(nics: Collection[str]) -> Reading:
    from windrow.services.filterrules import firewall_rules_naming

    return firewall_rules_naming(nics)


@contextmanager
def real_announcing(
    kernel: Kernel, paths: Paths, troubled: Callable[[str], None], wait_s: float | None = None
) -> Iterator[None]:
    from windrow.netlink.kernel import Kernel as Rtnetlink

    if not isinstance(kernel, Rtnetlink):
        yield
        return
    from windrow.apps.herald import Herald
    from windrow.store.ports import PortRecords

    try:
        herald = Herald(kernel.netns, ports=PortRecords(paths).all, troubled=troubled)
    except (WindrowError, OSError) as error:
        troubled(f"what gets a new way will not be announced to switches and neighbours: {error}")
        yield
        return
    try:
        yield
    finally:
        herald.finish(wait_s=wait_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`clock`: Unix time; `mono`: seconds of a clock that never jumps. `open_kernel`: for whoever has to have a kernel
    of his own, as the watchdog does. `round.here` has one of a real host; tests put in a kernel in memory, and answers
    that nobody gave."""

    paths: Paths
    node: str
    kernel: Kernel
    watch: Watch
    open_kernel: Callable[[], Kernel] = field(default=real_kernel)
    ask: Ask = field(default=real_ask)
    dynamic: Callable[[Kernel], Mapping[IfName, Mapping[Cidr, int]]] = field(default=real_dynamic)
    """The addresses that links have for a time only, and the seconds that are left of it."""
    filters: Callable[[Collection[str]], Reading] = field(default=real_filters)
    """The rules of the packet filter that name one of these NICs."""
    ways: Callable[[Kernel, Sequence[Peer]], frozenset[IfName]] = field(default=real_ways)
    """The links by which the kernel would send to these peers."""
    surroundings: Callable[[Kernel], Surroundings] = field(default=real_surroundings)
    """Who can be asked whether this host is still reached."""
    sockets: Callable[[Kernel], Sockets] = field(default=real_sockets)
    """Who listens here, and who is connected. Raises KernelError."""
    held: Callable[[Kernel, Mapping[IfName, VidSet]], Mapping[IfName, VidSet]] = field(default=real_held)
    """Of these VLANs of links, those that an interface has, in whatever network namespace it is."""
    holders: Callable[[Kernel, Sequence[tuple[IfName, str]]], Mapping[tuple[IfName, str], Mac]] = field(
        default=real_holders
    )
    """Of these links and addresses, those that somebody else on the network has, and who."""
    querier: Callable[[Kernel, IfName], bool] = field(default=real_querier)
    """Whether this bridge has heard somebody ask for multicast groups."""
    announcing: Announcing = field(default=real_announcing)
    pause: Callable[[float], None] = field(default=time.sleep)
    """What is done between two questions, for so many seconds or less."""
    clock: Callable[[], float] = field(default=time.time)
    mono: Callable[[], float] = field(default=time.monotonic)
