"""The packet filter's rules of some ports in a namespace: what a look says of them, and what a plan does about it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TypeVar

from windrow.apps.filters import PortFilters
from windrow.model.filters import LEGACY, NFTABLES, PortFilter
from windrow.model.host import HostState, Observed
from windrow.model.values import IfName, Mac, Ref
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.netlink.links import create
from windrow.plan.filtering import filter_unit
from windrow.port.identity import host_end

T = TypeVar("T")


class PortRules:
    """`count` ports whose records ask for the rules; none is made yet."""

    def __init__(self, fd: int, backend: str, count: int = 3) -> None:
        self.fd, self.backend = fd, backend
        self.kernel = Kernel(fd)
        self.kernel.packet_filter = PortFilters()
        self.wanted: dict[IfName, PortFilter] = {}
        for number in range(1, count + 1):
            owner = f"c{number}", "eth0"
            self.wanted[host_end(*owner)] = PortFilter(
                container_id=owner[0],
                ifname=owner[1],
                network="net",
                mac=None if backend == LEGACY else Mac(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"),
                masquerade=(f"10.1.{number >> 8}.{number & 255}/16", f"fd00::{number:x}/64"),
                backend=backend,
                origin=Ref("Port", f"c{number}/eth0"),
            )
        self.kernel.rtnl.run(*(create(port, "bridge") for port in self.wanted))

    def close(self) -> None:
        self.kernel.close()

    def inside(self, fn: Callable[[], T]) -> T:
        return netns.opened_in(self.fd, fn)

    def sh(self, line: str) -> str:
        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)

        done = self.inside(run)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def see(self, *, without: frozenset[IfName] = frozenset()) -> Observed:
        """`without`: ports that are gone, and whose records are."""
        wanted = {port: one for port, one in self.wanted.items() if port not in without}
        found = self.kernel.filters(wanted, [one.owner for one in wanted.values()], wanted)
        assert found.unread == ""
        return Observed(
            state=HostState(filters={p: one for p, one in found.filters.items() if p not in found.left_over}),
            runtime={},
            stale_filters={p: one for p, one in found.filters.items() if p in found.left_over},
        )

    def faults(self) -> dict[str, dict[str, str]]:
        """Container -> part -> what is wrong with it."""
        return {one.container_id: dict(one.faults) for one in self.see().state.filters.values() if one.faults}

    def repair(self, *, without: frozenset[IfName] = frozenset()) -> int:
        """How many steps it took; there is nothing left to do after them."""
        unit = filter_unit(self.wanted, self.see(without=without), ())
        assert self.kernel.run(unit.steps) is None
        assert filter_unit(self.wanted, self.see(without=without), ()).steps == ()
        return len(unit.steps)


def save(rules: PortRules) -> str:
    """All rules of ports, in the order in which they are, without handles and counters."""
    if rules.backend == NFTABLES:
        return rules.sh("nft list ruleset")
    suffix = "-legacy" if rules.backend == LEGACY else ""
    both = rules.sh(f"iptables{suffix}-save -t nat; ip6tables{suffix}-save -t nat")
    return "\n".join(line for line in both.splitlines() if line.startswith(("-A", ":CNI")))
