"""The result of an ADD, as a value, and its documents in the versions of the specification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from windrow.model import ipv4
from windrow.model.lazy import dataclass
from windrow.port.errors import DELEGATE_FAILED, CniError

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""What is served. 0.1.0 and 0.2.0 have no place for an interface, so a port without addresses has no result there."""

_WITH_FAMILY = frozenset({"0.3.0", "0.3.1", "0.4.0"})
"""`ips[].version` is there up to 0.4.0, and gone since 1.0.0."""
_EXTENDED = frozenset({"1.1.0"})
"""Since 1.1.0: `mtu`, `socketPath`, `pciID` of an interface; of a route all but `dst` and `gw`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """`sandbox`: the path of the network namespace it is in; empty: the host's."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int | None = None
    socket_path: str = ""
    pci_id: str = ""


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


# Writing ------------------------------------------------------------------------------------------


def to_document(result: Result, version: str) -> dict[str, Any]:
    """The JSON document of a result; what `version` has no word for is left out.

    Raises ValueError for a version that is not in VERSIONS.
    """
    if version not in VERSIONS:
        raise ValueError(f"there are no documents of version {version!r} here")
    document: dict[str, Any] = {
        "cniVersion": version,
        "interfaces": [_interface(one, version) for one in result.interfaces],
        "ips": [_ip(one, version) for one in result.ips],
        "routes": [_route(one, version) for one in result.routes],
        "dns": dict(result.dns),
    }
    return {key: value for key, value in document.items() if value}


def _interface(one: Interface, version: str) -> dict[str, Any]:
    values: dict[str, Any] = {"name": one.name, "mac": one.mac, "sandbox": one.sandbox}
    if version in _EXTENDED:
        values |= {"mtu": one.mtu, "socketPath": one.socket_path, "pciID": one.pci_id}
    return {key: value for key, value in values.items() if value or key == "name"}


def _ip(one: Ip, version: str) -> dict[str, Any]:
    values: dict[str, Any] = {"version": family_of(one.address)} if version in _WITH_FAMILY else {}
    if one.interface is not None:
        values["interface"] = one.interface
    values["address"] = one.address
    return values | ({"gateway": one.gateway} if one.gateway else {})


def family_of(address: str) -> str:
    """`"4"` or `"6"`, as the documents up to 0.4.0 have it."""
    return "6" if ":" in address else "4"


def _route(one: Route, version: str) -> dict[str, Any]:
    values: dict[str, Any] = {"dst": one.dst}
    if one.gw:
        values["gw"] = one.gw
    if version in _EXTENDED:
        values |= {name: getattr(one, name) for name in _ROUTE_NUMBERS if getattr(one, name) is not None}
    return values


_ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")


# Reading ------------------------------------------------------------------------------------------


def from_document(document: Mapping[str, Any]) -> Result:
    """The result that a document of any of VERSIONS holds. Raises CniError: it is none.

    Addresses and prefixes are checked, and kept as they are written.
    """
    if not isinstance(document, Mapping):
        raise _rubbish("it must be a JSON object")
    interfaces = tuple(_read_interface(one) for one in _objects(document, "interfaces"))
    ips = tuple(_read_ip(one) for one in _objects(document, "ips"))
    for ip in ips:
        if ip.interface is not None and interfaces and not 0 <= ip.interface < len(interfaces):
            raise _rubbish(f"ips: {ip.address} is for interface {ip.interface}, and there are {len(interfaces)}")
    dns = document.get("dns")
    if not isinstance(dns, dict | None):
        raise _rubbish("dns must be an object")
    return Result(
        interfaces=interfaces,
        ips=ips,
        routes=tuple(_read_route(one) for one in _objects(document, "routes")),
        dns={key: value for key, value in (dns or {}).items() if value},
    )


def _read_interface(one: Mapping[str, Any]) -> Interface:
    return Interface(
        name=_text(one, "name"),
        mac=_text(one, "mac"),
        sandbox=_text(one, "sandbox"),
        mtu=_number(one, "mtu"),
        socket_path=_text(one, "socketPath"),
        pci_id=_text(one, "pciID"),
    )


def _read_ip(one: Mapping[str, Any]) -> Ip:
    address, gateway = _text(one, "address"), _text(one, "gateway")
    _check_prefix(address, "address")
    if gateway:
        _check_address(gateway, "gateway")
    return Ip(address=address, interface=_number(one, "interface"), gateway=gateway)


def _read_route(one: Mapping[str, Any]) -> Route:
    dst, gw = _text(one, "dst"), _text(one, "gw")
    _check_prefix(dst, "dst")
    if gw:
        _check_address(gw, "gw")
    mtu, advmss, priority, table, scope = (_number(one, name) for name in _ROUTE_NUMBERS)
    return Route(dst=dst, gw=gw, mtu=mtu, advmss=advmss, priority=priority, table=table, scope=scope)


def _objects(document: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    found = document.get(key)
    if found is None:
        return
    if not isinstance(found, list):
        raise _rubbish(f"{key} must be a list")
    for one in found:
        if not isinstance(one, dict):
            raise _rubbish(f"{key} must hold objects")
        yield one


def _text(one: Mapping[str, Any], key: str) -> str:
    found = one.get(key)
    if not isinstance(found, str | None):
        raise _rubbish(f"{key} must be a text, and is {found!r}")
    return found or ""


def _number(one: Mapping[str, Any], key: str) -> int | None:
    found = one.get(key)
    if isinstance(found, bool) or not isinstance(found, int | None):
        raise _rubbish(f"{key} must be a whole number, and is {found!r}")
    return found


def _check_prefix(text: str, what: str) -> None:
    if "/" in text and ipv4.parse(text):
        return
    import ipaddress  # slow to load, and a port without addresses needs none of it

    try:
        ipaddress.ip_interface(text)
    except ValueError as error:
        raise _rubbish(f"{what} {text!r} is no address with a prefix length") from error
    if "/" not in text:
        raise _rubbish(f"{what} {text!r} has no prefix length")


def _check_address(text: str, what: str) -> None:
    if "/" not in text and ipv4.parse(text):
        return
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise _rubbish(f"{what} {text!r} is no address") from error


def _rubbish(reason: str) -> CniError:
    return CniError(DELEGATE_FAILED, "this is not the result of a CNI plugin", reason)
