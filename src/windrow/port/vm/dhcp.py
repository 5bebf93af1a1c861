"""What a guest is told by DHCP inside its pod, and the configuration of the dnsmasq that tells it.

KubeVirt has a small server of its own that always sends every option; dnsmasq does as much where it is told to
(`dhcp-option-force`), answers renewals and requests too, and is kept well by others.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import field

from windrow.model.lazy import dataclass
from windrow.model.machines import DhcpOptions
from windrow.model.values import Cidr, IfName, Mac

LEASE_SECONDS = 999 * 86400
"""KubeVirt's: nobody else can get the address, so a guest need not ask again."""

OPTION_MAX = 255
"""One byte has an option's length (RFC 2132 §2)."""

_DOMAIN = re.compile(r"(?:[_a-z0-9](?:[_a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentity:
    """What a guest takes over from its pod: its name and its resolver (`/etc/resolv.conf`)."""

    hostname: str = ""
    subdomain: str = ""
    name_servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpAnswer:
    """The one answer that the server on `bridge` has, for the one client `mac`."""

    bridge: IfName
    mac: Mac
    server: str
    """The address of the bridge, and so the server's identifier."""
    address: Cidr
    mtu: int
    router: str = ""
    routes: tuple[tuple[str, str], ...] = ()
    """Option 121: (prefix, gateway; empty: on link), the default route last."""
    identity: PodIdentity = PodIdentity()
    options: DhcpOptions = field(default_factory=DhcpOptions)
    address6: Cidr | None = None
    """Of a masqueraded guest: also serve DHCPv6, and advertise the bridge as router."""


def config(answer: DhcpAnswer, *, leases: str, pid: str) -> str:
    """dnsmasq's configuration file. `leases`, `pid`: the paths of its lease and pid files."""
    return "".join(f"{line}\n" for line in _lines(answer, leases, pid))


def search_list(identity: PodIdentity) -> tuple[str, ...]:
    """The pod's, in front of it `<subdomain>.<the longest service domain>` where the guest has a subdomain.

    What is no domain name is left out, and what does not fit into one option.
    """
    services = [domain for domain in identity.search if ".svc." in domain]
    longest = max(services, key=len, default="")
    own = f"{identity.subdomain}.{longest}" if identity.subdomain and longest else ""
    given = () if not own or longest.startswith(f"{identity.subdomain}.") else (own,)
    found: list[str] = []
    room = OPTION_MAX
    for domain in dict.fromkeys((*given, *(d.lower() for d in identity.search))):
        size = len(domain) + 2  # RFC 1035 §3.1: a byte for each label, and the root
        if size <= room and _DOMAIN.fullmatch(domain):
            found.append(domain)
            room -= size
    return tuple(found)


def _lines(answer: DhcpAnswer, leases: str, pid: str) -> Iterator[str]:
    yield from ("port=0", "no-resolv", "no-hosts", "no-ping", "dhcp-authoritative", "bind-dynamic")
    yield from (f"interface={answer.bridge}", "except-interface=lo")
    yield from (f"dhcp-leasefile={leases}", f"pid-file={pid}")
    yield from _lines4(answer)
    if answer.address6 is not None:
        yield from _lines6(answer, answer.address6)


def _lines4(answer: DhcpAnswer) -> Iterator[str]:
    address = ipaddress.IPv4Interface(answer.address)
    yield f"dhcp-range={address.ip},static,{address.netmask},{LEASE_SECONDS}"
    if ipaddress.IPv4Address(answer.server) not in address.network:
        # The bridge's own address is not in the guest's network, and by it dnsmasq finds out which range is meant.
        yield f"shared-network={answer.bridge},{address.ip}"
    yield f"dhcp-host={answer.mac},{address.ip},{LEASE_SECONDS}"
    yield "dhcp-ignore=tag:!known"
    # With a unicast to an address that the pod itself has, the answer would never leave it.
    yield "dhcp-broadcast"
    yield from (f"dhcp-option-force={number},{value}" for number, value in _options(answer) if value)
    if not answer.router:
        yield "dhcp-option=3"  # without a value: dnsmasq would name itself


def _options(answer: DhcpAnswer) -> Iterator[tuple[int, str]]:
    """Every one that KubeVirt sends, asked for or not (RFC 2132; 119 is RFC 3397, 121 RFC 3442)."""
    identity, options, search = answer.identity, answer.options, search_list(answer.identity)
    yield 3, answer.router
    yield 6, ",".join(_servers(answer, 4))
    yield 12, _text(identity.hostname)
    yield 15, max(search, key=len, default="")
    yield 26, str(answer.mtu)
    yield 119, ",".join(search)
    yield 121, ",".join(f"{dst},{gateway or '0.0.0.0'}" for dst, gateway in answer.routes)
    yield 66, _text(options.tftp_server)
    yield 67, _text(options.boot_file)
    yield 42, ",".join(options.ntp_servers)
    yield from ((number, _bytes(text)) for number, text in options.private)


def _text(text: str) -> str:
    """In quotes nothing is a number with a size (`10b`), an address, or a comment."""
    return f'"{text}"' if text else ""


def _bytes(text: str) -> str:
    """A text of an option that dnsmasq does not know, so that it does not take it for a number or an address."""
    codes = text.encode()
    return ":".join(f"{code:02x}" for code in codes) if len(codes) > 1 else f"{codes[0]}b"


def _lines6(answer: DhcpAnswer, address6: Cidr) -> Iterator[str]:
    """Stateful DHCPv6 has no router in it (RFC 8415): the guest learns that from the advertisement (RFC 4861)."""
    address = ipaddress.IPv6Interface(address6)
    yield f"dhcp-range={address.ip},static,{address.network.prefixlen},{LEASE_SECONDS}"
    yield f"dhcp-host={answer.mac},[{address.ip}],{LEASE_SECONDS}"
    yield "enable-ra"
    yield f"ra-param={answer.bridge},mtu:{answer.mtu},60,9000"
    if servers := _servers(answer, 6):
        yield f"dhcp-option=option6:dns-server,{','.join(f'[{server}]' for server in servers)}"
    if search := search_list(answer.identity):
        yield f"dhcp-option=option6:domain-search,{','.join(search)}"


def _servers(answer: DhcpAnswer, version: int) -> list[str]:
    """What stands in a resolv.conf may be anything."""
    found: list[str] = []
    for text in answer.identity.name_servers:
        with suppress(ValueError):
            if (address := ipaddress.ip_address(text)).version == version and "%" not in text:
                found.append(str(address))
    return found
