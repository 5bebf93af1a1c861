"""The result of an ADD, as a value, and its documents in the versions of the specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""What is served. 0.1.0 and 0.2.0 have no place for an interface, so a port without addresses has no result there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """`sandbox`: the path of the network namespace it is in; empty: the host's."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ip:
    """`interface`: an index into `Result.interfaces`; `address` with prefix length."""

    address: str
    interface: int | None = None
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`dst` is a prefix, `0.0.0.0/0` for the default route. The rest is version 1.1.0's."""

    dst: str
    gw: str = ""
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)
