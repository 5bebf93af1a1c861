"""HostNetworkConfig: `status.nodeStatus` of each node that it selects."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from typing import Any

from windrow.compile.ipv6 import off_words
from windrow.model.cluster import Cluster, matches_selector
from windrow.model.leases import Lease
from windrow.model.objects import AddressMode, HostNetworkConfig
from windrow.model.values import Cidr
from windrow.render.plan import ADVICE
from windrow.render.text import timestamp
from windrow.status.report import IN_USE, NodeReport, Verdict


def node_status(config: HostNetworkConfig, cluster: Cluster, report: NodeReport) -> dict[str, Any] | None:
    """None where it does not select the node. Beyond Harvester: the addresses that are there, and the lease."""
    if not matches_selector(config.node_selector, cluster.node(report.node).labels):
        return None
    found = addresses(config, report)
    lease = report.leases.get(config.interface) if config.mode is AddressMode.DHCP else None
    return {
        "clusterNetwork": config.cluster_network,
        "vlanID": config.vid,
        "mode": config.mode.value,
        "conditions": [verdict(config, report).condition()],
        **({"interface": config.interface, "addresses": sorted(found)} if found else {}),
        **({"lease": _lease(lease)} if lease is not None else {}),
    }


def verdict(config: HostNetworkConfig, report: NodeReport) -> Verdict:
    """Ready is an interface with an address that is this host's alone."""
    said = report.verdict(config.ref, [config.interface])
    if said.reason != IN_USE and (text := _somebody_else(config, report)):
        return Verdict(ready=False, reason=IN_USE, message=text, hint=ADVICE[errno.EADDRINUSE])
    if not said.ready:
        return said
    if config.mode is AddressMode.DHCP and config.interface not in report.leases:
        return _waiting(config, report)
    if lost := _without_ipv6(config, report):
        return lost
    if not addresses(config, report):
        message = f"{config.interface} has no address"
        return Verdict(ready=False, reason="NoAddress", message=message, hint="run: windrow apply")
    return said


def _without_ipv6(config: HostNetworkConfig, report: NodeReport) -> Verdict | None:
    """An IPv6 address that is not there because that is switched off."""
    link = report.observed.state.links.get(config.interface)
    said = config.ips.get(report.node, ()) if config.mode is AddressMode.STATIC else ()
    lost = sorted(address for address in said if ":" in address and address not in addresses(config, report))
    off = None if link is None else link.settings.get("ipv6/disable_ipv6")
    if link is None or not lost or off == "0":
        return None
    why, hint = off_words(config.interface, absent=off is None)
    message = f"{', '.join(lost)} is left out: {why}"
    return Verdict(ready=False, reason="IPv6Off", message=message, hint=hint)


def _somebody_else(config: HostNetworkConfig, report: NodeReport) -> str:
    """Who has an address that this config gives, as far as it is known; empty: nobody."""
    link = report.observed.state.links.get(config.interface)
    ours = {address.partition("/")[0] for address in _given(config, report)}
    found = {claim.address: f" (MAC {claim.mac})" for claim in report.claims if claim.link == config.interface}
    for address, one in link.details.items() if link is not None else ():
        if one.duplicate:
            found.setdefault(address.partition("/")[0], "")
    said = [f"somebody else has {address}{mac}" for address, mac in sorted(found.items()) if address in ours]
    return f"{config.interface}: {'; '.join(said)}" if said else ""


def _waiting(config: HostNetworkConfig, report: NodeReport) -> Verdict:
    asking = report.asking.get(config.interface)
    where = f"on VLAN {config.vid}" if config.vid else f"on {config.interface}, untagged"
    if asking is None:
        message = f"nobody asks for an address {where}"
        return Verdict(ready=False, reason="NoClient", message=message, hint="the agent does: windrow agent")
    if asking.declined:
        message = f"{config.interface}: {asking.declined}; the DHCP server was told, and is asked for another"
        return Verdict(ready=False, reason=IN_USE, message=message, hint=ADVICE[errno.EADDRINUSE])
    since = f"since {_clock(asking.since)}"
    if asking.trouble:
        hint = "see to the DHCP server of that VLAN"
        return Verdict(ready=False, reason="NoLease", message=f"{asking.trouble} ({since})", hint=hint)
    times = "" if not asking.times else f"asked {'once' if asking.times == 1 else f'{asking.times} times'} "
    message = f"waiting for a DHCP server {where} ({times}{since})"
    hint = f"does the switch port carry the VLAN, and does a server answer? see: tcpdump -ni {config.interface} port 67"
    return Verdict(ready=False, reason="NoLease", message=message, hint=hint)


def addresses(config: HostNetworkConfig, report: NodeReport) -> frozenset[Cidr]:
    """What this config gives the node, of what is there: the bridge may have others' addresses, too; and the kernel
    does not use one that somebody else has."""
    link = report.observed.state.links.get(config.interface)
    if link is None:
        return frozenset()
    unused = {address for address, one in link.details.items() if one.duplicate}
    return ((link.addrs or frozenset()) - unused) & _given(config, report)


def _given(config: HostNetworkConfig, report: NodeReport) -> frozenset[Cidr]:
    if config.mode is AddressMode.STATIC:
        return frozenset(config.ips.get(report.node, ()))
    lease = report.leases.get(config.interface)
    return frozenset({lease.address}) if lease else frozenset()


def _lease(lease: Lease) -> dict[str, Any]:
    found: dict[str, Any] = {"address": lease.address, "server": lease.server, "seconds": lease.lease_s}
    if lease.expires:
        found["expires"] = timestamp(lease.expires)
    more = {"routers": [r.gateway for r in lease.routes if r.to == "default"], "dns": list(lease.dns)}
    return {**found, **{key: value for key, value in more.items() if value}}


def _clock(when: float) -> str:
    """For somebody who looks at it today or a week after."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")
