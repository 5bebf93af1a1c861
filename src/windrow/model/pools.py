"""DHCP for VLANs: address pools of networks, who is to have an address from them, and who has which.

Fields are those of Harvester's DHCP addon (`network.harvesterhci.io/v1alpha1`); the ones beyond it are marked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import ClassVar

from windrow.model import names
from windrow.model.lazy import dataclass
from windrow.model.meta import Object
from windrow.model.values import Cidr, IfName, Mac, Ref

LEASE_S = 31_536_000
"""Harvester's, where a pool says none: a year."""


class Program(StrEnum):
    """Who serves it."""

    DNSMASQ = "dnsmasq"
    KEA = "kea"


LEASE_S_MIN = 120
"""dnsmasq takes no shorter one (`option.c: dhcp-range`)."""

Ip = ipaddress.IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHost:
    """A MAC address that is to have an address though no machine of ours has it. Beyond Harvester."""

    mac: Mac
    address: str = ""
    """Empty: the lowest that is free."""
    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRoute:
    """A static route that clients are told (option 121). Beyond Harvester."""

    to: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """Router advertisements in the VLAN. Beyond Harvester."""

    prefix: str
    """An IPv6 prefix of 64 bits."""
    lifetime_s: int = 0
    """Of the default route; 0: the prefix is announced, and the router is somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IPPool(Object):
    """The addresses of one network that its DHCP server gives out. `server`, `start` and `end` may be empty: then they
    follow from the rest as Harvester's webhook fills them in (`server_address`, `first`, `last`)."""

    KIND: ClassVar[str] = "IPPool"
    API_VERSION: ClassVar[str] = names.POOL_API_VERSION
    NAMESPACED: ClassVar[bool] = True
    network: str
    """`namespace/name` of its NetworkAttachmentDefinition."""
    cidr: str
    server: str = ""
    start: str = ""
    end: str = ""
    exclude: tuple[str, ...] = ()
    router: str = ""
    dns: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    """Addresses, and names, which no DHCP option can carry."""
    lease_s: int = LEASE_S
    paused: bool = False
    mtu: int = 0
    """Beyond Harvester, like all that follows. 0: that of the cluster network, said only where it is not 1500."""
    routes: tuple[PoolRoute, ...] = ()
    hosts: tuple[PoolHost, ...] = ()
    nodes: tuple[str, ...] = ()
    """Which nodes serve it. Empty: the first one that has its cluster network."""
    program: Program = Program.DNSMASQ
    advertise: Advertisement | None = None
    allocated: Mapping[Mac, str] = field(default_factory=dict, compare=False)
    """What its status says: a record that came along with it, and so the same one for every node that reads it. It
    goes before what a node has recorded itself."""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.meta.namespace}/{self.name}"

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.cidr)

    @property
    def first(self) -> Ip:
        return Ip(self.start) if self.start else self.subnet.network_address + 1

    @property
    def last(self) -> Ip:
        return Ip(self.end) if self.end else self.subnet.broadcast_address - 1

    @property
    def server_address(self) -> Ip | None:
        """None: it is not said, and there is none left to choose (`fail to assign ip` of Harvester's webhook)."""
        if self.server:
            return Ip(self.server)
        subnet, taken = self.subnet, {self.router, *self.exclude}
        for number in range(1, min(subnet.num_addresses - 1, len(taken) + 2)):
            if str(subnet.network_address + number) not in taken:
                return subnet.network_address + number
        return None

    @property
    def size(self) -> int:
        """How many addresses its range has, those that nobody gets among them."""
        return max(int(self.last) - int(self.first) + 1, 0)

    def holds(self, address: Ip) -> bool:
        return self.first <= address <= self.last


def with_default_route(pool: IPPool) -> tuple[tuple[str, str], ...]:
    """Option 121, (prefix, router) each: clients that take it ignore option 3, so the default route is repeated
    (RFC 3442)."""
    told = tuple((route.to, route.via) for route in pool.routes)
    repeated = told and pool.router and all(to != "0.0.0.0/0" for to, _ in told)
    return (*told, ("0.0.0.0/0", pool.router)) if repeated else told


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """One of `spec.networkConfigs`."""

    network: str
    mac: Mac
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachineNetworkConfig(Object):
    """The addresses that a machine is to have. One is made for every machine with a NIC in a network with a pool;
    one of a manifest says which address it is to be, or speaks for a machine that is somewhere else."""

    KIND: ClassVar[str] = "VirtualMachineNetworkConfig"
    API_VERSION: ClassVar[str] = names.POOL_API_VERSION
    NAMESPACED: ClassVar[bool] = True
    vm_name: str
    network_configs: tuple[NetworkConfig, ...] = ()
    paused: bool = False


# What is decided ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Somebody who is to have an address of one pool."""

    mac: Mac
    owner: Ref
    address: str = ""
    """This one and no other; empty: any."""
    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Who has which address."""

    mac: Mac
    address: str
    owner: Ref
    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An applicant that gets nothing, and why."""

    applicant: Applicant
    reason: str


RESERVED, EXCLUDED = "RESERVED", "EXCLUDED"
"""What Harvester writes in the place of a MAC address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A pool with all that is decided about it: what a server is told, whichever it is."""

    pool: IPPool
    cluster_network: str
    vid: int
    """0: untagged."""
    mtu: int
    """What clients are told; 0: nothing."""
    reservations: tuple[Reservation, ...] = ()
    """By address."""
    waiting: tuple[Waiting, ...] = ()
    withheld: Mapping[str, str] = field(default_factory=dict)
    """Addresses that nobody gets, and why: RESERVED, EXCLUDED."""
    own_name: str = field(default="", compare=False)
    """What the kernel of this node calls its interface, where that was adopted under another name."""

    @property
    def link(self) -> IfName:
        """Its interface as programs find it among all links: by the kernel's name alone."""
        return IfName(self.own_name) if self.own_name else self.interface

    @property
    def interface(self) -> IfName:
        """Where a node takes part in its VLAN."""
        return names.interface_of(self.cluster_network, self.vid)

    @property
    def server(self) -> str:
        return str(self.pool.server_address or "")

    @property
    def tag(self) -> str:
        """Its name in a server's configuration."""
        return f"{self.pool.meta.namespace}.{self.pool.name}"

    @property
    def available(self) -> int:
        """How many addresses are left to give."""
        held = sum(self.pool.holds(Ip(address)) for address in self.withheld)
        return self.pool.size - held - len(self.reservations)

    def status(self) -> dict[str, object]:
        """As Harvester's controller writes it: `status.ipv4`."""
        given = {r.address: str(r.mac) for r in self.reservations}
        allocated = {**self.withheld, **given}
        return {
            "allocated": {a: allocated[a] for a in sorted(allocated, key=Ip)},
            "used": len(self.reservations),
            "available": self.available,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that may serve a pool that names several: the active one has the server's address, the others stand by."""

    pool: str
    """`namespace/name`."""
    interface: IfName
    address: Cidr
    """The server's."""
    rank: int
    """Its place in `spec.nodes`: the lower one comes first."""


Record = Mapping[str, Mapping[Mac, str]]
"""Pool (`namespace/name`) -> MAC -> the address it was given."""


def record_of(scopes: tuple[Scope, ...]) -> dict[str, dict[Mac, str]]:
    return {scope.pool.key: {r.mac: r.address for r in scope.reservations} for scope in scopes}
