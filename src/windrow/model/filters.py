"""What the packet filter is to do about one port: wanted from its record, and as it was found there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Mac, Ref

SPOOF, MASQUERADE = "macspoofchk", "masquerade"
"""The parts of a filter, by their names in a CNI configuration, or nearly so."""
NFTABLES, IPTABLES, LEGACY = "nftables", "iptables", "iptables-legacy"
"""By what addresses are masqueraded: nft, iptables as the system has it, and the one that needs no nftables."""
DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where nft and iptables are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFilter:
    """`container_id`, `ifname` and `network` name the rules. `faults`: part -> what was found in place of what is
    wanted; only in an observed one."""

    container_id: str
    ifname: str
    network: str = ""
    mac: Mac | None = None
    """Only frames from it come in (macspoofchk); None: from whomever."""
    masquerade: tuple[str, ...] = ()
    """Addresses with their prefixes (`10.1.0.2/24`): what leaves their subnets goes out under the host's own."""
    backend: str = ""
    """By what: NFTABLES, IPTABLES, LEGACY."""
    faults: Mapping[str, str] = field(default_factory=dict, compare=False)
    origin: Ref | None = field(default=None, compare=False)
    """The port whose record wants it so."""

    @property
    def owner(self) -> tuple[str, str]:
        """The attachment: container id and interface name."""
        return self.container_id, self.ifname

    @property
    def parts(self) -> dict[str, str]:
        """What there is of it, in words, by its name."""
        found = {SPOOF: self.mac or "", MASQUERADE: ", ".join(self.masquerade)}
        return {part: words for part, words in found.items() if words}


Filters = Mapping[IfName, PortFilter]
"""By the port, the host's end of the cable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FiltersSeen:
    """`filters`: of each port that was asked for and could be looked at; and of ports that are gone, for certain ours,
    with everything empty but their names. `unread`: why others could not."""

    filters: Filters = field(default_factory=dict)
    left_over: frozenset[IfName] = frozenset()
    """Those among them of which only rules are left."""
    unread: str = ""
