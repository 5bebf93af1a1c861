"""netplan's YAML: `network: {ethernets, bonds, bridges, vlans, …: {ID: …}}` (netplan(5)). ID is the name of what is
made; a NIC may be found by `match` and be given another name (`set-name`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.adopt.programs.reading import Document, leaves, matches, shown_value, yaml_documents
from windrow.adopt.values import Claim, Setting, Text
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac
from windrow.model.wire.text import join

_SHOWN = (
    *("interfaces", "parameters.*", "addresses", "addresses[[]*", "gateway4", "gateway6", "routes[[]*", "mtu"),
    *("macaddress", "dhcp4", "id", "link", "renderer", "optional", "set-name", "match.*", "accept-ra", "link-local"),
    *("dhcp6", "critical"),
)


def read(text: Text, known: Mapping[IfName, Mac]) -> tuple[list[Claim], list[Problem]]:
    documents, problems = yaml_documents(text)
    claims = [claim for document in documents for claim in _claims(document, text.file, known)]
    return claims, problems


def _claims(document: Document, file: str, known: Mapping[IfName, Mac]) -> list[Claim]:
    network = document.value.get("network") if isinstance(document.value, dict) else None
    found: list[Claim] = []
    for section, entries in network.items() if isinstance(network, dict) else ():
        for identity, said in entries.items() if isinstance(entries, dict) else ():
            for link in _links(str(identity), said, known):
                path = join(join("network", str(section)), str(identity))
                found.append(_claim(document, file, link, path, f"{section}.{identity}", said))
    return found


def _links(identity: str, said: Any, known: Mapping[IfName, Mac]) -> list[IfName]:
    match = said.get("match") if isinstance(said, dict) else None
    if not isinstance(match, dict):
        return [IfName(identity)]
    if name := said.get("set-name"):
        return [IfName(str(name))]
    mac, pattern = str(match.get("macaddress", "")).lower(), str(match.get("name", ""))
    return [link for link, has in known.items() if (mac and mac == has) or (pattern and matches(link, [pattern]))]


def _claim(document: Document, file: str, link: IfName, path: str, what: str, said: Any) -> Claim:
    first, last = document.span(path)
    unsaid = []
    for key, value in leaves(said) if isinstance(said, dict) else ():
        if not matches(key, _SHOWN) or (key == "dhcp6" and value):
            line = document.lines.get(f"{path}.{key}", first)
            unsaid.append(Setting(key=f"{what}.{key}", value=shown_value(value), line=line))
    return Claim(program="netplan", link=link, file=file, first=first, last=last, what=what, unsaid=tuple(unsaid))
