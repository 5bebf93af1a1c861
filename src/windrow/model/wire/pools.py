"""IPPool and VirtualMachineNetworkConfig: the addresses of a network, and who is to have one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, TypeVar

from windrow.model.pools import (
    LEASE_S,
    Advertisement,
    IPPool,
    NetworkConfig,
    PoolHost,
    PoolRoute,
    Program,
    VirtualMachineNetworkConfig,
)
from windrow.model.values import MTU_MAX, MTU_MIN, Mac, parse_mac
from windrow.model.wire.reader import Envelope, Field, Table
from windrow.model.wire.text import quoted

T = TypeVar("T")

POOL_FIELDS = (
    *("ipv4Config", "networkName", "paused"),
    *("hosts", "nodes", "program", "routerAdvertisement"),
)
IPV4_FIELDS = (
    *("cidr", "serverIP", "pool", "router", "dns", "domainName", "domainSearch", "ntp", "leaseTime"),
    *("mtu", "routes"),
)
CONFIG_FIELDS = ("vmName", "networkConfigs", "paused")
NAME_MAX, DNS_MAX, NTP_MAX, ENTRIES_MAX = 64, 3, 4, 4
LEASE_S_MAX = 2**32 - 2
"""The highest value means for ever (RFC 2131 §3.3)."""
ROUTES_MAX = 28
"""An option has 255 bytes, a route up to nine of them (RFC 3442)."""
_ADDRESS_HINT = "an IPv4 address, such as 192.0.2.10"
_NETWORK_HINT = "an IPv4 network, such as 192.0.2.0/24"
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")


def read_pool(table: Table, spec: Table, envelope: Envelope) -> IPPool:
    ipv4 = spec.table("ipv4Config", IPV4_FIELDS, required=True, hint="ipv4Config: {cidr: 192.0.2.0/24, …}")
    pool = ipv4.table("pool", ("start", "end", "exclude"))
    cidr, program = ipv4.required("cidr", _NETWORK_HINT), spec.get("program")
    return IPPool(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        network=_network(spec),
        cidr=(cidr.parsed(_parse_network, "network-invalid", _NETWORK_HINT) if cidr else None) or "192.0.2.0/24",
        server=_address(ipv4, "serverIP"),
        start=_address(pool, "start"),
        end=_address(pool, "end"),
        exclude=_each(pool, "exclude", parse_ipv4),
        router=_address(ipv4, "router"),
        dns=_each(ipv4, "dns", parse_ipv4, most=DNS_MAX),
        domain=_domain(ipv4),
        search=_each(ipv4, "domainSearch", _parse_domain),
        ntp=_each(ipv4, "ntp", _parse_time_server, most=NTP_MAX),
        lease_s=ipv4.integer("leaseTime", 1, LEASE_S_MAX) or LEASE_S,
        paused=spec.flag("paused"),
        mtu=ipv4.integer("mtu", MTU_MIN, MTU_MAX) or 0,
        routes=tuple(_routes(ipv4)),
        hosts=tuple(_hosts(spec)),
        nodes=tuple(text for item in _items(spec, "nodes") if (text := item.text()) is not None),
        program=(program.choice(Program) if program else None) or Program.DNSMASQ,
        advertise=_advertisement(spec),
        allocated=_allocated(table.value.get("status")),
    )


def _network(spec: Table, required: bool = True) -> str:
    """`namespace/name`; a name alone is in the namespace `default`, as Harvester's webhook takes it."""
    text = spec.text("networkName", required=required, hint="namespace/name of a NetworkAttachmentDefinition")
    if len(text) > NAME_MAX:
        spec["networkName"].wrong("name-invalid", f"has {len(text)} characters, {NAME_MAX} is the most")
    return text if "/" in text or not text else f"default/{text}"


def _items(table: Table, key: str) -> list[Field]:
    found = table.get(key)
    return list(found.items()) if found else []


def _each(table: Table, key: str, parse: Callable[[str], T], most: int = 0) -> tuple[T, ...]:
    items = _items(table, key)
    if most and len(items) > most:
        table[key].wrong("out-of-range", f"has {len(items)} entries, {most} is the most")
    parsed = (item.parsed(parse, "value-invalid") for item in items)
    return tuple(value for value in parsed if value is not None)


def parse_ipv4(text: str) -> str:
    """Raises ValueError."""
    try:
        return str(ipaddress.IPv4Address(text.strip()))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv4 address") from None


def _parse_network(text: str) -> str:
    """Without bits behind the prefix, as Go's net.ParseCIDR takes it. Raises ValueError."""
    if "/" not in text:
        raise ValueError(f"{quoted(text)} has no prefix length")
    try:
        return str(ipaddress.IPv4Network(text.strip(), strict=False))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv4 network") from None


def _parse_domain(text: str) -> str:
    """Lower case, without the dot at its end. Raises ValueError."""
    name = text.strip().lower()
    if len(name) > 253 or not _DOMAIN.fullmatch(name):
        raise ValueError(f"{quoted(text)} is not a domain name")
    return name.removesuffix(".")


def _parse_time_server(text: str) -> str:
    try:
        return parse_ipv4(text)
    except ValueError:
        return _parse_domain(text)


def _parse_hostname(text: str) -> str:
    if not re.fullmatch(_LABEL, text.lower()):
        raise ValueError(f"{quoted(text)} is not a host name: letters, digits, and - between them, 63 at most")
    return text.lower()


def _parse_prefix6(text: str) -> str:
    try:
        network = ipaddress.IPv6Network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv6 prefix") from None
    if network.is_link_local or network.is_multicast or network.is_loopback or network.network_address.is_unspecified:
        raise ValueError(f"{quoted(text)} is no prefix that guests make addresses in (RFC 4862 §5.5.3)")
    if network.prefixlen != 64:
        raise ValueError(f"{quoted(text)} has no 64 bits: guests make addresses in no other prefix (RFC 4862 §5.5.3)")
    return str(network)


def _address(table: Table, key: str) -> str:
    """Empty means absent, as in Harvester's own forms."""
    found = table.get(key)
    if found is None or found.value == "":
        return ""
    return found.parsed(parse_ipv4, "address-invalid", _ADDRESS_HINT) or ""


def _domain(ipv4: Table) -> str:
    found = ipv4.get("domainName")
    return (found.parsed(_parse_domain, "value-invalid") if found and found.value != "" else None) or ""


def _routes(ipv4: Table) -> list[PoolRoute]:
    found = []
    for item in _items(ipv4, "routes"):
        if (entry := item.table(("to", "via"))) is None:
            continue
        to, via = entry.required("to", _NETWORK_HINT), entry.required("via", _ADDRESS_HINT)
        network = to.parsed(_parse_network, "network-invalid", _NETWORK_HINT) if to else None
        router = via.parsed(parse_ipv4, "address-invalid", _ADDRESS_HINT) if via else None
        if network and router:
            found.append(PoolRoute(to=network, via=router))
    if len(found) > ROUTES_MAX:
        ipv4["routes"].wrong("out-of-range", f"has {len(found)} entries, {ROUTES_MAX} fit into one DHCP option")
    return found


def _mac(entry: Table) -> Mac | None:
    mac = entry.required("macAddress", "52:54:00:12:34:56")
    return mac.parsed(_parse_client, "mac-invalid") if mac else None


def _parse_client(text: str) -> Mac:
    """Raises ValueError."""
    found = parse_mac(text)
    if int(found[:2], 16) & 1 or not any(bytes.fromhex(found.replace(":", ""))):
        raise ValueError(
            f"{quoted(text)} is no NIC's: the first byte of a NIC's own address is even, and not all are 0"
        )
    return found


def _hosts(spec: Table) -> list[PoolHost]:
    found = []
    for item in _items(spec, "hosts"):
        if (entry := item.table(("macAddress", "ipAddress", "hostname"))) is None:
            continue
        mac, name = _mac(entry), entry.get("hostname")
        hostname = name.parsed(_parse_hostname, "name-invalid") if name else ""
        if mac:
            found.append(PoolHost(mac=mac, address=_address(entry, "ipAddress"), hostname=hostname or ""))
    return found


def _advertisement(spec: Table) -> Advertisement | None:
    if "routerAdvertisement" not in spec:
        return None
    table = spec.table("routerAdvertisement", ("prefix", "routerLifetime"))
    prefix = table.required("prefix", "2001:db8:1::/64")
    network = prefix.parsed(_parse_prefix6, "network-invalid") if prefix else None
    lifetime = table.integer("routerLifetime", 0, 9000, hint="seconds; RFC 4861 §6.2.1 allows no more")
    return Advertisement(prefix=network, lifetime_s=lifetime or 0) if network else None


def _allocated(status: object) -> dict[Mac, str]:
    """Written by a controller: what makes no sense in it is passed over. The words RESERVED and EXCLUDED are no MAC."""
    match status:
        case {"ipv4": {"allocated": dict(entries)}}:
            return dict(filter(None, (_entry(ip, word) for ip, word in entries.items())))
        case _:
            return {}


def _entry(ip: object, word: object) -> tuple[Mac, str] | None:
    try:
        return parse_mac(str(word)), parse_ipv4(str(ip))
    except ValueError:
        return None


def read_config(spec: Table, envelope: Envelope) -> VirtualMachineNetworkConfig:
    items = _items(spec, "networkConfigs")
    if len(items) > ENTRIES_MAX:
        spec["networkConfigs"].wrong("out-of-range", f"has {len(items)} entries, {ENTRIES_MAX} is the most")
    entries = []
    for item in items:
        if (entry := item.table(("networkName", "macAddress", "ipAddress"))) is None:
            continue
        network, mac, address = _network(entry), _mac(entry), _address(entry, "ipAddress")
        if network and mac:
            entries.append(NetworkConfig(network=network, mac=mac, address=address))
    vm_name = spec.text("vmName", required=True, hint="the name of a VirtualMachine")
    if len(vm_name) > NAME_MAX:
        spec["vmName"].wrong("name-invalid", f"has {len(vm_name)} characters, {NAME_MAX} is the most")
    return VirtualMachineNetworkConfig(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        vm_name=vm_name,
        network_configs=tuple(entries),
        paused=spec.flag("paused"),
    )


# Writing ------------------------------------------------------------------------------------------------------------


def write_pool(pool: IPPool) -> dict[str, Any]:
    given = _given(start=pool.start, end=pool.end, exclude=list(pool.exclude))
    ipv4 = _given(
        cidr=pool.cidr,
        serverIP=pool.server,
        pool=given,
        router=pool.router,
        dns=list(pool.dns),
        domainName=pool.domain,
        domainSearch=list(pool.search),
        ntp=list(pool.ntp),
        leaseTime=pool.lease_s if pool.lease_s != LEASE_S else 0,
        mtu=pool.mtu,
        routes=[{"to": route.to, "via": route.via} for route in pool.routes],
    )
    hosts = [_given(macAddress=h.mac, ipAddress=h.address, hostname=h.hostname) for h in pool.hosts]
    said = pool.advertise
    advertisement = {"prefix": said.prefix} | _given(routerLifetime=said.lifetime_s) if said else {}
    return {"networkName": pool.network, "ipv4Config": ipv4} | _given(
        paused=pool.paused,
        hosts=hosts,
        nodes=list(pool.nodes),
        program=pool.program.value if pool.program is not Program.DNSMASQ else "",
        routerAdvertisement=advertisement,
    )


def write_config(config: VirtualMachineNetworkConfig) -> dict[str, Any]:
    entries = [_given(networkName=c.network, macAddress=c.mac, ipAddress=c.address) for c in config.network_configs]
    return {"vmName": config.vm_name, "networkConfigs": entries} | _given(paused=config.paused)


def _given(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}
