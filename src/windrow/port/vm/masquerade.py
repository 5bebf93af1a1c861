"""The address translation between a masqueraded guest and its pod, as one transaction for nft or iptables-restore.

KubeVirt's chains, by its names. What comes in for the pod's address goes to the guest, what the guest sends leaves
with the pod's address, and what the pod sends to its own loopback reaches the guest too (`route_localnet`). A text
may be loaded again: the chains are emptied first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from windrow.model.lazy import dataclass
from windrow.model.machines import ForwardedPort
from windrow.model.values import IfName

PREROUTING, POSTROUTING = "KUBEVIRT_PREINBOUND", "KUBEVIRT_POSTINBOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade:
    """`guests`: (the guest's address, the bridge's) of each family, IPv4 first. No `ports`: all of them."""

    pod: IfName
    bridge: IfName
    guests: tuple[tuple[str, str], ...]
    ports: tuple[ForwardedPort, ...] = ()


def nft(masquerade: Masquerade) -> str:
    """For `nft -f -`: tables `ip nat` and `ip6 nat`."""
    return "".join(_table(masquerade, guest, gateway) for guest, gateway in masquerade.guests)


def iptables(masquerade: Masquerade, version: int) -> str:
    """For `iptables-restore` (version 4) or `ip6tables-restore` (6): the table nat of the pod, whole.

    Empty where the guest has no address of that family.
    """
    found = [pair for pair in masquerade.guests if ipaddress.ip_address(pair[0]).version == version]
    return _restore(masquerade, *found[0]) if found else ""


def _table(masquerade: Masquerade, guest: str, gateway: str) -> str:
    family, loopback = _family(guest)
    lines = [f"table {family} nat {{", *(f"\t{line}" for line in _CHAINS), "}"]
    rule = f"add rule {family} nat"
    lines += [f"flush chain {family} nat {name}" for name in _NAMES]
    lines.append(f'{rule} prerouting iifname "{masquerade.pod}" counter jump {PREROUTING}')
    lines.append(f"{rule} postrouting {family} saddr {guest} counter masquerade")
    lines.append(f'{rule} postrouting oifname "{masquerade.bridge}" counter jump {POSTROUTING}')
    for match in _nft_matches(masquerade.ports):
        lines.append(f"{rule} {PREROUTING} {match}counter dnat to {guest}")
        lines.append(f"{rule} {POSTROUTING} {match}{family} saddr {{ {loopback} }} counter snat to {gateway}")
        lines.append(f"{rule} output {family} daddr {{ {loopback} }} {match}counter dnat to {guest}")
    return "\n".join(lines) + "\n"


_NAMES = ("prerouting", "input", "output", "postrouting", PREROUTING, POSTROUTING)
_CHAINS = (
    "chain prerouting { type nat hook prerouting priority -100; }",
    "chain input { type nat hook input priority 100; }",
    "chain output { type nat hook output priority -100; }",
    "chain postrouting { type nat hook postrouting priority 100; }",
    f"chain {PREROUTING} {{ }}",
    f"chain {POSTROUTING} {{ }}",
)


def _family(guest: str) -> tuple[str, str]:
    """(nft's name of the family, its loopback address)."""
    return ("ip", "127.0.0.1") if ipaddress.ip_address(guest).version == 4 else ("ip6", "::1")


def _nft_matches(ports: tuple[ForwardedPort, ...]) -> Iterator[str]:
    yield from (f"{port.protocol.lower()} dport {port.port} " for port in ports) if ports else ("",)


def _restore(masquerade: Masquerade, guest: str, gateway: str) -> str:
    loopback = "127.0.0.1/32" if ipaddress.ip_address(guest).version == 4 else "::1/128"
    lines = ["*nat", *(f":{chain} ACCEPT [0:0]" for chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"))]
    lines += [f":{PREROUTING} - [0:0]", f":{POSTROUTING} - [0:0]"]
    lines.append(f"-A PREROUTING -i {masquerade.pod} -j {PREROUTING}")
    lines.append(f"-A POSTROUTING -s {guest} -j MASQUERADE")
    lines.append(f"-A POSTROUTING -o {masquerade.bridge} -j {POSTROUTING}")
    for match in _iptables_matches(masquerade.ports):
        lines.append(f"-A {PREROUTING} {match}-j DNAT --to-destination {guest}")
        lines.append(f"-A {POSTROUTING} {match}-s {loopback} -j SNAT --to-source {gateway}")
        lines.append(f"-A OUTPUT {match}-d {loopback} -j DNAT --to-destination {guest}")
    return "\n".join([*lines, "COMMIT"]) + "\n"


def _iptables_matches(ports: tuple[ForwardedPort, ...]) -> Iterator[str]:
    yield from (f"-p {p.protocol.lower()} --dport {p.port} " for p in ports) if ports else ("",)
