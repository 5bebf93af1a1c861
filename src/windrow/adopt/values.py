"""What is asked, what is found, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.adopted import AdoptedLink
from windrow.model.lazy import dataclass
from windrow.model.leases import Lease
from windrow.model.objects import AnyObject
from windrow.model.problems import Problem
from windrow.model.values import Cidr, IfName

Dynamic = Mapping[IfName, Mapping[Cidr, int]]
"""The addresses that links have for a time only, and the seconds that are left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """`links`: bridges, bonds or NICs by name, and what the cluster network of each is to be called (empty: as fits);
    without any, whatever can be adopted. `ours`: what Windrow made is said, too (`windrow export`)."""

    links: Mapping[IfName, str] = field(default_factory=dict)
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A bridge, its bond and that one's NICs, by the names that the kernel has for them now."""

    cluster_network: str
    bridge: IfName
    bond: IfName
    nics: tuple[IfName, ...]
    interfaces: Mapping[int, IfName] = field(default_factory=dict)
    """VID -> the VLAN interface on the bridge that is this host's, with an address or without one yet."""

    @property
    def links(self) -> tuple[IfName, ...]:
        return (self.bridge, self.bond, *self.interfaces.values(), *self.nics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """`problems`: what stands against it (errors), and what no object can say (warnings)."""

    networks: tuple[Network, ...] = ()
    objects: tuple[AnyObject, ...] = ()
    marked: tuple[AdoptedLink, ...] = ()
    leases: tuple[Lease, ...] = ()
    """What DHCP servers gave the links, to be asked for again under their new names."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file of another program."""

    file: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """`key`: as the program's manual has it, with what it stands in before it (`nameservers.addresses`)."""

    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One place of a file that makes or sets up a link: lines `first` to `last` of it, from 1."""

    program: str
    link: IfName
    file: str
    first: int
    last: int
    what: str
    """How that place is called: `bonds.bond0`, `iface br0 inet static`."""
    unsaid: tuple[Setting, ...] = ()
    """What it sets that the kernel does not show, or no object says."""

    @property
    def place(self) -> str:
        lines = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.file}:{lines}"
