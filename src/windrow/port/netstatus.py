"""`k8s.v1.cni.cncf.io/network-status`: what a pod got, network by network, from the results of its plugins.

KubeVirt and others read it, so the keys are those of the network plumbing group's specification. One entry for each
interface that is in the pod; an address without an interface counts for the last of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from windrow.port.defaultroute import family_of
from windrow.port.result import Interface, Result


def entries(
    reference: str, result: Result, *, ifname: str, default: bool = False, device: Mapping[str, Any] = {}
) -> tuple[dict[str, Any], ...]:
    """The entries of one attachment; the first one of the default network says `default`.

    `ifname` is the interface that was asked for: a plugin may leave the interfaces out of its result. `device`: what it
    says of the device that it handed to the pod (`device-info`).
    """
    found = _entries(reference, result, ifname, default)
    return tuple({**entry, "device-info": dict(device)} for entry in found) if device else found


def _entries(reference: str, result: Result, ifname: str, default: bool) -> tuple[dict[str, Any], ...]:
    here = {i: interface for i, interface in enumerate(result.interfaces) if interface.sandbox}
    if not here:
        return (_entry(reference, _lone(result, ifname), [ip.address for ip in result.ips], result, default),)
    addresses: dict[int, list[str]] = {i: [] for i in here}
    last = max(here)
    for ip in result.ips:
        addresses.get(last if ip.interface is None else ip.interface, []).append(ip.address)
    first = min(here)
    lacking = replace(result, routes=())
    return tuple(
        _entry(reference, interface, addresses[i], result if i == first else lacking, default and i == first)
        for i, interface in here.items()
    )


def _lone(result: Result, ifname: str) -> Interface:
    return result.interfaces[0] if len(result.interfaces) == 1 else Interface(name=ifname)


def _entry(reference: str, interface: Interface, addresses: list[str], result: Result, default: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": reference,
        "interface": interface.name,
        "ips": [address.partition("/")[0] for address in addresses],
        "mac": interface.mac,
        "mtu": interface.mtu,
        "default": default,
    }
    entry = {key: value for key, value in entry.items() if value}
    entry["dns"] = {key: value for key, value in result.dns.items() if value}
    gateways = _gateways(result)
    return entry | ({"gateway": gateways} if gateways else {})


def _gateways(result: Result) -> list[str]:
    """Of the default routes. A route without a gateway leads by way of the address's (specification, §ADD Success)."""
    found: dict[str, None] = {}
    for route in result.routes:
        family = family_of(route.dst)
        if family is None:
            continue
        own = next((ip.gateway for ip in result.ips if ip.gateway and (":" in ip.gateway) == (family == 6)), "")
        if gateway := route.gw or own:
            found[gateway] = None
    return list(found)


def text(status: Iterable[Mapping[str, Any]]) -> str:
    """The value of the annotation: each entry on lines of its own, as the reference writes them."""
    return "[" + ",".join(json.dumps(entry, indent=4) for entry in status) + "]"
