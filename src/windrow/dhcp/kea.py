"""Kea (kea-dhcp4): one JSON document. A reservation changes by sending all of it (2.2 has no open `host_cmds`)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from windrow.dhcp.told import classless, hosts_of, told
from windrow.model.pools import Scope


def document(
    scopes: Sequence[Scope], *, interfaces: Sequence[str] = ("*",), leases: str = "", control: str = "", hook: str = ""
) -> dict[str, Any]:
    """Paths, each empty where there is none. `leases`: of its lease file; `control`: of its control socket; `hook`: of
    the library that lets a lease be ended."""
    database = {"type": "memfile", "persist": bool(leases)} | ({"name": leases, "lfc-interval": 3600} if leases else {})
    ours = tuple(interfaces) != ("*",)
    found: dict[str, Any] = {
        "interfaces-config": {"interfaces": list(interfaces), "dhcp-socket-type": "raw"},
        "lease-database": database,
        "host-reservation-identifiers": ["hw-address"],
        "authoritative": True,
        "subnet4": [_subnet(scope, ours=ours) for scope in scopes],
    }
    if hook:
        found["hooks-libraries"] = [{"library": hook}]
    if ours:
        # A line for each packet, on tmpfs, would fill the memory; what it gives stands in the pool's status.
        found["loggers"] = [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stdout"}]}]
    if control:
        found["control-socket"] = {"socket-type": "unix", "socket-name": control}
    return {"Dhcp4": found}


def text(scopes: Sequence[Scope]) -> str:
    """For a Kea that is not ours."""
    return json.dumps(document(scopes), indent=2) + "\n"


def subnet_id(scope: Scope) -> int:
    """Leases are kept by it: it must not change when another pool comes or goes. 0 and 2^32-1 mean something else."""
    return zlib.crc32(scope.pool.key.encode()) % (2**32 - 2) + 1


def _subnet(scope: Scope, *, ours: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": subnet_id(scope),
        "subnet": str(scope.pool.subnet),
        "valid-lifetime": scope.pool.lease_s,
        "pools": [],
        "reservations-in-subnet": True,
        "reservations-out-of-pool": True,
        "option-data": _options(scope),
        "reservations": [_reservation(*host) for host in hosts_of(scope)],
    }
    return found | ({"interface": scope.link} if ours else {})


def _reservation(mac: str, address: str, name: str) -> dict[str, str]:
    return {"hw-address": mac, "ip-address": address} | ({"hostname": name} if name else {})


def _options(scope: Scope) -> list[dict[str, Any]]:
    said = told(scope)
    named: Iterable[tuple[str, str]] = (
        ("routers", said.router),
        ("domain-name-servers", ", ".join(said.dns)),
        ("domain-name", said.domain),
        ("domain-search", ", ".join(said.search)),
        ("ntp-servers", ", ".join(said.ntp)),
        ("interface-mtu", str(said.mtu or "")),
    )
    found: list[dict[str, Any]] = [{"name": name, "data": data} for name, data in named if data]
    if said.routes:
        # As bytes: 2.2 has no definition of option 121, and later versions refuse one of ours.
        found.append({"code": 121, "space": "dhcp4", "csv-format": False, "data": classless(said.routes).hex()})
    return found
