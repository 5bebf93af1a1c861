"""systemd-networkd's `.netdev` files, which make links, and `.network` files, which set them up (systemd.netdev(5),
systemd.network(5)). A file is a claim as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.adopt.programs.reading import Section, matches, sections, unsaid, whole_file
from windrow.adopt.values import Claim, Text
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac

_SHOWN = {
    "NetDev": ("Name", "Kind", "MTUBytes", "MACAddress", "Description"),
    "Bond": ("*",),
    "Bridge": ("*",),
    "BridgeVLAN": ("*",),
    "VLAN": ("*",),
    "Match": ("*",),
    "Network": (
        *("Bond", "Bridge", "VLAN", "Address", "Gateway", "Description", "IPv6AcceptRA", "LinkLocalAddressing", "DHCP"),
        *("PrimarySlave", "ActiveSlave", "ConfigureWithoutCarrier"),
    ),
    "Address": ("Address", "Label", "Scope"),
    "Route": ("Gateway", "Destination", "Metric", "GatewayOnLink"),
    "Link": ("MTUBytes", "MACAddress", "RequiredForOnline", "ActivationPolicy"),
}


def read(text: Text, known: Mapping[IfName, Mac]) -> tuple[list[Claim], list[Problem]]:
    found = sections(text.text)
    links = _made(found) if text.file.endswith(".netdev") else _set_up(found, known)
    what = ", ".join(f"[{section.name}]" for section in found[:1])
    return whole_file("networkd", text, ((link, f"{what} {link}") for link in links), unsaid(found, _SHOWN)), []


def _made(found: list[Section]) -> list[IfName]:
    return [IfName(name) for section in found if section.name == "NetDev" for name in section.all("Name")]


def _set_up(found: list[Section], known: Mapping[IfName, Mac]) -> list[IfName]:
    """`Name=` has names and globs with blanks between, `MACAddress=` and `PermanentMACAddress=` addresses."""
    chosen: list[IfName] = []
    for section in found:
        if section.name != "Match":
            continue
        patterns = [word for value in section.all("Name") for word in value.split()]
        addresses = section.all("MACAddress") + section.all("PermanentMACAddress")
        macs = {word.lower() for value in addresses for word in value.split()}
        for link, mac in known.items():
            by_name = bool(patterns) and matches(link, patterns)
            if by_name or (mac and mac in macs):
                chosen.append(link)
    return chosen
