"""What a port keeps its pod or machine from, whatever network policies there are: another's addresses, another's trade,
more than its share."""

from __future__ import annotations

from windrow.model.lazy import dataclass

IP_SPOOF, DHCP_GUARD, RA_GUARD = "ipspoofchk", "dhcpguard", "raguard"
"""The keys of a bridge plugin's configuration."""
RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
"""Those of the plugin `bandwidth`, in bits: ingress is what the pod gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`bits` a second, and so many at once."""

    bits: int
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortGuards:
    """Nothing said: everything passes."""

    addresses: bool = False
    """Only from its own addresses, as far as they are recorded (IP_SPOOF)."""
    dhcp: bool = False
    """It answers nobody as a DHCP server (DHCP_GUARD)."""
    routers: bool = False
    """It advertises no router and redirects nobody (RA_GUARD)."""
    ingress: Rate | None = None
    egress: Rate | None = None

    def __bool__(self) -> bool:
        return self != PortGuards()

    def __str__(self) -> str:
        """`ipspoofchk, dhcpguard, egress 8000000 bit/s`."""
        flags = ((self.addresses, IP_SPOOF), (self.dhcp, DHCP_GUARD), (self.routers, RA_GUARD))
        rates = (("ingress", self.ingress), ("egress", self.egress))
        words = [word for said, word in flags if said]
        return ", ".join([*words, *(f"{way} {rate.bits} bit/s" for way, rate in rates if rate is not None)])
