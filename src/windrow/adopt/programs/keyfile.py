"""NetworkManager's keyfiles, one connection each (nm-settings-keyfile(5)). A file is a claim as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.adopt.programs.reading import Section, sections, unsaid, whole_file
from windrow.adopt.values import Claim, Text
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac

_ADDRESSES = ("method", "address[0-9]*", "addresses", "gateway", "route[0-9]", "route[0-9][0-9]", "route-metric")
_SHOWN = {
    "connection": (
        *("id", "uuid", "type", "interface-name", "master", "controller", "slave-type", "port-type", "timestamp"),
        *("autoconnect", "autoconnect-priority", "autoconnect-slaves", "autoconnect-ports"),
    ),
    "bond": ("*",),
    "bond-port": ("*",),
    "bridge": ("*",),
    "bridge-port": ("*",),
    "vlan": ("*",),
    "ethernet": ("mac-address", "mtu", "cloned-mac-address"),
    "802-3-ethernet": ("mac-address", "mtu", "cloned-mac-address"),
    "ipv4": _ADDRESSES,
    "ipv6": (*_ADDRESSES, "addr-gen-mode"),
    "user": ("*",),
    "proxy": (),
}


def read(text: Text, known: Mapping[IfName, Mac]) -> tuple[list[Claim], list[Problem]]:
    found = sections(text.text)
    name = next(iter(_values(found, "connection", "id")), text.file.rpartition("/")[2])
    links = ((link, f"connection {name}") for link in _links(found, known))
    return whole_file("networkmanager", text, links, unsaid(found, _SHOWN)), []


def _values(found: list[Section], section: str, key: str) -> list[str]:
    return [value for one in found if one.name == section for value in one.all(key)]


def _links(found: list[Section], known: Mapping[IfName, Mac]) -> list[IfName]:
    if named := _values(found, "connection", "interface-name"):
        return [IfName(name) for name in named]
    wired = _values(found, "ethernet", "mac-address") + _values(found, "802-3-ethernet", "mac-address")
    macs = {mac.lower() for mac in wired}
    return [link for link, mac in known.items() if mac and mac in macs]
