"""Addresses of guests on networks where nobody in the pod gives any: who else knows them.

A pool's server gave what is recorded of the pool; and whom the host itself has spoken with is among its neighbours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from windrow.apps.vm.site import Site
from windrow.compile.pools import scopes
from windrow.model.lazy import dataclass
from windrow.model.values import Mac
from windrow.netlink.errors import KernelError
from windrow.netlink.neighbours import dump_addresses
from windrow.netlink.sock import Rtnl
from windrow.store.errors import StoreError
from windrow.store.machines import NicRecord
from windrow.store.poolrecord import read_record

POOL, NEIGHBOURS = "pool", "neighbours"
"""For KubeVirt's `infoSource`, beside its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """`pools`: (network, MAC) -> address. `neighbours`: MAC -> addresses, of whatever link of this host."""

    pools: Mapping[tuple[str, str], str]
    neighbours: Mapping[Mac, tuple[str, ...]]

    def of(self, nic: NicRecord) -> tuple[tuple[str, ...], str]:
        """(addresses, who says so); none and nothing where nobody knows."""
        given = self.pools.get((nic.nad, nic.mac))
        met = self.neighbours.get(Mac(nic.mac), ()) if nic.nad else ()
        if given is not None:
            return (given, *(address for address in met if address != given)), POOL
        return met, NEIGHBOURS if met else ""


def known(site: Site) -> Known:
    """Of this moment. Of a store that cannot be read, and a kernel that does not tell, nothing is known."""
    given: dict[tuple[str, str], str] = {}
    met: dict[Mac, tuple[str, ...]] = {}
    with contextlib.suppress(StoreError):
        for scope in scopes(site.cluster, read_record(site.paths)):
            given |= {(scope.pool.network, one.mac): one.address for one in scope.reservations}
    with contextlib.suppress(KernelError), Rtnl() as rtnl:
        met = dump_addresses(rtnl)
    return Known(pools=given, neighbours=met)
