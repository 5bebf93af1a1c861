"""The kernel of one network namespace, as the applications see it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.filters import FiltersSeen
from windrow.model.host import Observed
from windrow.model.ruletable import PoliciesSeen
from windrow.model.steps import DropFilter, SetFilter, SetPolicies
from windrow.model.values import IfName
from windrow.netlink import errors, observe, sysctl
from windrow.netlink import netns as namespaces
from windrow.netlink.sock import Rtnl

if TYPE_CHECKING:
    from windrow.model.facts import KernelFeatures, Nic
    from windrow.model.filters import Filters
    from windrow.model.steps import Failure, Step
    from windrow.netlink.observe import Encrypted


_OF_PACKET_FILTER = SetFilter | DropFilter | SetPolicies


class PacketFilter(Protocol):
    """The rules of ports and of network policies, which no rtnetlink tells of. Works in the calling thread's network
    namespace."""

    def read(self, wanted: Filters, known: Iterable[tuple[str, str]], links: Collection[str]) -> FiltersSeen: ...

    def policies(self) -> PoliciesSeen: ...

    def run(self, steps: Sequence[Step], links: Collection[str]) -> Failure | None: ...


class Kernel:
    """Observe and change one network namespace.

    `netns`: None for the calling thread's own, a name under /run/netns, a path, or an open fd (not closed here).
    The socket is opened at once and stays in that namespace, whatever the thread does later. Raises KernelError.
    """

    def __init__(self, netns: namespaces.Netns = None) -> None:
        self._fd: int | None = None
        self._features: KernelFeatures | None = None
        self._links = observe.LinkMemory()
        self._policed = False
        self.pause: Callable[[float], None] = time.sleep
        """What is done while a step waits, for so many seconds or less; it may look at this kernel, and change it."""
        self.own_key: Callable[[], bytes] | None = None
        """This host's private key, for its encrypted tunnel device; None: nobody knows it here."""
        self.packet_filter: PacketFilter | None = None
        """None: the rules of ports are not looked at, and not changed."""
        if netns is not None:
            with namespaces.opened(netns) as fd:
                self._fd = _duplicate(fd)
        try:
            self.rtnl = namespaces.opened_in(self._fd, Rtnl)
        except BaseException:
            self._close_fd()
            raise

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.rtnl.close()
        self._close_fd()

    @property
    def netns(self) -> int | None:
        """Its namespace, an fd that is open as long as this is; None: the calling thread's."""
        return self._fd

    def observe(self, sysctls: Iterable[str] = BRIDGE_NETFILTER) -> Observed:
        """Everything there is now; of `sysctls` those that exist. Raises KernelError."""
        values = namespaces.opened_in(self._fd, lambda: _read_sysctls(sysctls))
        return observe.observe(self.rtnl, values, self._links, self._encrypted)

    def _encrypted(self, indexes: Sequence[int]) -> Encrypted:
        from windrow.netlink import wireguard  # most hosts have no such device

        return namespaces.opened_in(self._fd, lambda: wireguard.read_all(indexes))

    def run(self, steps: Sequence[Step]) -> Failure | None:
        """Do the steps in one burst; the first that failed, or None.

        Where steps depend on each other's new links the burst is cut there, and nothing is sent after a failed part.
        """
        from windrow.netlink import (
            execute,
        )  # here and below: most of a start's time is loading, and few need all of this

        links = [step for step in steps if not isinstance(step.action, _OF_PACKET_FILTER)]
        failure = execute.run(self.rtnl, links, self._fd, self.pause, self.own_key) if links else None
        rules = [step for step in steps if isinstance(step.action, _OF_PACKET_FILTER)]
        if failure is not None or not rules or (packet_filter := self.packet_filter) is None:
            return failure
        self._policed |= any(isinstance(step.action, SetPolicies) for step in rules)
        there = frozenset(self.rtnl.indexes())
        return namespaces.opened_in(self._fd, lambda: packet_filter.run(rules, there))

    def filters(self, wanted: Filters, known: Iterable[tuple[str, str]], links: Collection[str]) -> FiltersSeen:
        """What the packet filter does about these ports, and about ports that are gone. `known`: the attachments that
        have a record; `links`: all links there are."""
        if (packet_filter := self.packet_filter) is None or not wanted:
            return FiltersSeen()
        return namespaces.opened_in(self._fd, lambda: packet_filter.read(wanted, known, links))

    def policies(self, *, policed: bool) -> PoliciesSeen:
        """The table of network policies; where none was ever made (not `policed`) nobody looks for it."""
        if (packet_filter := self.packet_filter) is None:
            return PoliciesSeen(table=None)
        if not policed and not self._policed:
            return PoliciesSeen()
        return namespaces.opened_in(self._fd, packet_filter.policies)

    def link_defaults(self) -> dict[str, str]:
        """The settings that a new link begins with, by the names of `Link.settings`. Raises KernelError."""
        from windrow.netlink import devconf

        return namespaces.opened_in(self._fd, lambda: devconf.defaults(sysctl.read))

    def nics(self) -> dict[IfName, Nic]:
        """The Ethernet NICs (`ethtool.NIC_KINDS`), by name. Raises KernelError."""
        from windrow.netlink import ethtool

        return ethtool.nics(self.rtnl, self._links)

    def features(self) -> KernelFeatures:
        """What this kernel can do, tried in a throw-away namespace, once; but for what others change when they like.
        Raises KernelError."""
        from windrow.netlink import features

        if self._features is None:
            self._features = features.tried()
        return features.settled(self._features, self._fd)

    def _close_fd(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _duplicate(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError as error:
        raise errors.of(error.errno or errno.EIO, "keep the network namespace") from error


def _read_sysctls(keys: Iterable[str]) -> dict[str, str]:
    found = {key: sysctl.read(key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
