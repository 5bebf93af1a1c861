"""Addresses of guests: who knows them, where nobody in the pod gives any, and what each of those says.

A guest says its own, where it has an agent; a pool's server gave what is recorded of the pool; and whom the host itself
has spoken with is among its neighbours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from enum import StrEnum

from windrow.apps.vm import guests
from windrow.apps.vm.site import Site
from windrow.compile.pools import scopes
from windrow.model.lazy import dataclass
from windrow.model.values import Mac
from windrow.netlink.errors import KernelError
from windrow.netlink.neighbours import dump_addresses
from windrow.netlink.sock import Rtnl
from windrow.port.vm.guestagent import GuestInterface, own_of
from windrow.services.errors import ServiceError
from windrow.store.errors import StoreError
from windrow.store.machines import MachineRecord, NicRecord
from windrow.store.poolrecord import read_record

AGENT = "guest-agent"
"""KubeVirt's word in `infoSource`."""
POOL, NEIGHBOURS = "pool", "neighbours"
"""Ours there."""


class Source(StrEnum):
    """Who says that a guest has an address, in virsh's words."""

    LEASE = "lease"
    """The server in its pod, or of an address pool, has given it."""
    AGENT = "agent"
    """The guest itself says so."""
    ARP = "arp"
    """This host has met it by that address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`nic`: the machine's, by its manifest; empty: the guest made it itself. `interface`: the guest's own name;
    empty: the guest was not asked. `address`: with its prefix length, where that is known."""

    nic: str
    interface: str
    mac: str
    address: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """`pools`: (network, MAC) -> address. `neighbours`: MAC -> addresses, of whatever link of this host."""

    pools: Mapping[tuple[str, str], str]
    neighbours: Mapping[Mac, tuple[str, ...]]

    def of(self, nic: NicRecord) -> tuple[tuple[str, ...], str]:
        """(addresses, who says so); none and nothing where nobody knows."""
        given = self.pools.get((nic.nad, nic.mac))
        met = self.met(nic)
        if given is not None:
            return (given, *(address for address in met if address != given)), POOL
        return met, NEIGHBOURS if met else ""

    def met(self, nic: NicRecord) -> tuple[str, ...]:
        return self.neighbours.get(Mac(nic.mac), ()) if nic.nad else ()


def told(site: Site, record: MachineRecord, source: Source | None = None) -> tuple[Told, ...]:
    """All that one of them says of a machine, or all of them. Raises ServiceError where the guest alone is asked, and
    does not answer."""
    found: list[Told] = []
    if source is not Source.AGENT:
        found += (one for one in _from_outside(site, record) if source in (None, one.source))
    if source is Source.AGENT:
        found += _of_guest(record, guests.asked(site, record))
    elif source is None:
        with contextlib.suppress(ServiceError):
            found += _of_guest(record, guests.asked(site, record))
    return tuple(found)


def _from_outside(site: Site, record: MachineRecord) -> Iterator[Told]:
    elsewhere = known(site)
    for nic in record.nics:
        given = elsewhere.pools.get((nic.nad, nic.mac))
        yield from (_told(nic, address, Source.LEASE) for address in (*nic.addresses, *([given] if given else [])))
        yield from (_told(nic, address, Source.ARP) for address in elsewhere.met(nic))


def _told(nic: NicRecord, address: str, source: Source) -> Told:
    return Told(nic=nic.network, interface="", mac=nic.mac, address=address, source=source)


def _of_guest(record: MachineRecord, said: tuple[GuestInterface, ...]) -> list[Told]:
    nics = {own.name: nic.network for nic in record.nics if (own := own_of(nic.mac, said))}
    return [
        Told(nic=nics.get(one.name, ""), interface=one.name, mac=one.mac, address=address, source=Source.AGENT)
        for one in said
        for address in one.addresses
    ]


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
