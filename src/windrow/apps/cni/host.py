"""The host that a call is made on: where its files are, what it is called, and a way to its kernel."""

from __future__ import annotations

import os
from _thread import _local
from collections.abc import Mapping
from typing import TYPE_CHECKING

from windrow.model import jsontext
from windrow.store.ports import AddressedPorts, PortRecords

if TYPE_CHECKING:
    from windrow.apps.cni.cluster import ClusterApi
    from windrow.apps.filters import PortFilters
    from windrow.netlink.sock import Rtnl
    from windrow.store.paths import Paths

ROOT, NODE = "WINDROW_ROOT", "WINDROW_NODE"


class Host:
    """What a call needs of the host it runs on. One for a process: threads may share it.

    It lives in the network namespace of its threads; `rtnl` is a socket of that one.
    """

    def __init__(self, root: str | os.PathLike[str] = "/", node: str = "") -> None:
        self.root = os.fspath(root)
        self.node = node or os.uname().nodename
        self.records = PortRecords.of(self.root)
        self.addressed = AddressedPorts.of(self.root)
        self.filters: PortFilters | None = None
        """Listings of the packet filter that several calls share; None: each makes its own."""
        self.cluster: ClusterApi | None = None
        """The API of the cluster that this host is a node of; only a server has one."""
        self._mine = _local()
        self._all: list[Rtnl] = []

    @classmethod
    def of_environment(cls, env: Mapping[str, str]) -> Host:
        """As the command line has it: WINDROW_ROOT moves all paths, WINDROW_NODE is the node's name."""
        return cls(env.get(ROOT) or "/", env.get(NODE) or "")

    @property
    def paths(self) -> Paths:
        from pathlib import Path  # takes 4 ms to load, and a port needs only what is below

        from windrow.store.paths import Paths

        return Paths(Path(self.root))

    @property
    def lock(self) -> str:
        """`Paths.lock`."""
        return os.path.join(self.root, "run/windrow/lock")

    @property
    def cluster_networks(self) -> str:
        """What `windrow apply` wrote last: the names of the cluster networks, one on each line."""
        return os.path.join(self.root, "run/windrow/clusternetworks")

    @property
    def judges(self) -> bool:
        """`Memory.judges`: a new port may be closed until a round has judged it. From the disk, for a host that starts
        has ports before its first round."""
        try:
            with open(os.path.join(self.root, "var/lib/windrow/memory.json"), "rb") as file:
                memory = jsontext.loads(file.read())
                return memory.get("judges", memory.get("policed")) is True
        except (OSError, ValueError, AttributeError):
            return False

    def rtnl(self) -> Rtnl:
        """The calling thread's own socket; it stays open. Raises KernelError."""
        found: Rtnl | None = getattr(self._mine, "rtnl", None)
        if found is None:
            from windrow.netlink.sock import Rtnl

            found = self._mine.rtnl = Rtnl()
            self._all.append(found)
        return found

    def close(self) -> None:
        """Close the sockets of all threads. Nobody may be at work any more."""
        while self._all:
            self._all.pop().close()
        self._mine = _local()
