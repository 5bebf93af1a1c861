"""A new port on a host with network policies. Loaded only there.

It is closed from its first frame on, whoever makes it and however that ends: the rules close every port of a CNI call
that is not among the judged ones (`policy.nft`). A round judges it; here it is only asked whether one is needed, and
waited for.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterable, Sequence

from windrow.apps.cni.host import Host
from windrow.model.policies import DEFAULT_INTERFACE
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.ruletable import JUDGED, POLICY_FAMILY, POLICY_TABLE, MemberChange
from windrow.netlink import links, nftsets, ports
from windrow.netlink.errors import KernelError
from windrow.port import firewall as programs
from windrow.port.errors import KERNEL_REFUSED, CniError
from windrow.services.errors import ServiceError
from windrow.services.firewall import Firewall

JUDGED_S = 5.0
"""For the round of an agent, which takes some tenths of a second; it may be at work on something else."""
ALONE_S = 0.5
"""Where no agent runs somebody may be about to call `windrow apply`, but not for long."""
_PAUSE_S, _ASK_S = 0.01, 0.1
"""Between two looks at a file, and between two questions to the kernel."""
_THERE = "File exists"
"""EEXIST, by nft in the locale C."""
_TABLE = (POLICY_FAMILY, str(POLICY_TABLE))


class Gate:
    """Of one port, whose record is written and which is not made yet."""

    def __init__(self, record: PortRecord, host: Host, path: str, holding: int | None) -> None:
        """`path`: where nft is looked for; `holding`: the record's lock."""
        self._record, self._host, self._firewall = record, host, Firewall(path, holding)
        namespace, _, pod = record.pod.partition("/")
        self._namespace = namespace if pod else ""
        self._closed = False
        self._by_iptables = False
        self._anew = False
        """Whoever had the port's name before was judged: the list on the disk may be of then."""

    def shut(self) -> None:
        """See to it that the port will be closed, unless no policy can be about it and it has no guards of its own.
        Raises CniError: this host cannot close it."""
        try:
            if self._record.guards:
                self._anew = not self._refused(programs.closed_anew(self._record.host))
                self._close_all()
                self._closed = True
                return
            self._closed = not self._let_through()
            if self._closed and not self._namespace and not self._by_iptables:  # there was no table, and now there is
                self._closed = not self._let_through()
        except (ServiceError, KernelError) as error:
            if self._is_shut_by_iptables():
                return
            message = "this host's packet filter cannot enforce the network policies and guards of this port"
            details = f"{_words(error)}; modprobe nf_tables (with the family bridge), or remove them"
            raise CniError(KERNEL_REFUSED, message, details) from error

    def _is_shut_by_iptables(self) -> bool:
        """Whether its rules are in force: they close every port that no round has judged. They judge none that has
        guards of its own, or VLANs."""
        from windrow.apps.policyfilter import PolicyFilter

        record = self._record
        if record.guards or record.vlans is not None or record.ifname != DEFAULT_INTERFACE:
            return False
        try:
            self._closed = self._by_iptables = PolicyFilter(self._firewall).covers(record.bridge)
        except (ServiceError, ValueError):
            return False
        return self._closed

    def show_frames(self) -> None:
        """Once the bridge is there, and before the port is: iptables has to see its frames. Raises KernelError."""
        if self._by_iptables:
            self._host.rtnl().run(links.show_frames(self._record.bridge))

    def _let_through(self) -> bool:
        """Where there is no table one is made, unless iptables does its work. Raises ServiceError, KernelError."""
        changes = programs.let_through(self._record.host, self._namespace)
        refusal = self._refused(changes)
        if refusal == errno.ENOENT and not self._is_shut_by_iptables():
            self._close_all()
        return not refusal

    def _close_all(self) -> None:
        """No round was here since the host has started, somebody has flushed all rules, or there were those of the
        overlay alone. Ports that are there stay as they are: of those that come, each is here before its link is."""
        from windrow.policy.nft import closed

        every = ports.every(self._host.rtnl())
        try:
            program = closed(one.name for one in every if one.group == PORT_GROUP)
            self._firewall.load(program, as_json=True, tries=1)
        except ServiceError as error:  # a kernel that lacks an expression says ENOENT of a table that it cannot make
            if _THERE not in error.reason:
                raise

    def _refused(self, changes: Sequence[MemberChange]) -> int:
        """The errno, of those that say something about the members; 0: done. Raises KernelError."""
        try:
            nftsets.change(_TABLE, changes)
        except KernelError as error:
            if error.errno not in (errno.EEXIST, errno.ENOENT):
                raise
            return error.errno
        return 0

    @staticmethod
    def forget_connections(addresses: Iterable[str]) -> None:
        """Those of whoever had these addresses before: what is established passes every policy, and the pod has no
        connections yet. Raises KernelError."""
        from windrow.netlink.conntrack import forget

        forget(addresses)

    def wait(self) -> None:
        """Until a round has judged the port, which is made by now; not for ever. It is closed as long as that."""
        began, asked = time.monotonic(), False
        while self._closed and not self._is_open():
            waited = time.monotonic() - began
            if waited >= ALONE_S and not asked:
                asked = self._is_looked_after()
                if not asked:
                    self._say("no agent runs here; run `windrow apply`")
                    return
            if waited >= JUDGED_S:
                self._say(f"the agent has not applied them within {JUDGED_S:.0f} s; `windrow status` says why")
                return
            time.sleep(_ASK_S if self._anew else _PAUSE_S)

    def _say(self, why: str) -> None:
        record = self._record
        text = f"port {record.host} of {record.pod} ({record.ifname}) is closed until the network policies are applied"
        print(f"windrow: {text}: {why}", file=sys.stderr, flush=True)

    def _is_open(self) -> bool:
        """Judged, or there is nothing any more that it could be judged by."""
        if self._record.host in self._judged():
            return not self._anew or self._is_judged()
        return not self._record.guards and not self._host.judges

    def _is_judged(self) -> bool:
        try:
            return nftsets.has(_TABLE, JUDGED, self._record.host)
        except KernelError:  # the port is closed all the same, and it is told so in the end
            return False

    def _judged(self) -> list[str]:
        try:
            with open(os.path.join(self._host.root, "run/windrow/judged"), encoding="utf-8") as file:
                return file.read().split("\n")
        except OSError:
            return []

    def _is_looked_after(self) -> bool:
        from windrow.apps.known import agent_status

        return agent_status(self._host.paths) is not None


def _words(error: ServiceError | KernelError) -> str:
    return f"{error.program}: {error.reason}" if isinstance(error, ServiceError) else str(error)
