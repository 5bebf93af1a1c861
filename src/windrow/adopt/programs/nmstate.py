"""nmstate's states, as `nmstate.service` applies them: `interfaces: [{name, type, state, …}]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.adopt.programs.reading import Document, leaves, matches, shown_value, yaml_documents
from windrow.adopt.values import Claim, Setting, Text
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac

_SHOWN = (
    *("name", "type", "state", "mtu", "mac-address", "identifier", "profile-name", "description", "link-aggregation.*"),
    *("bridge.*", "vlan.*", "ethernet.*", "ipv4.enabled", "ipv4.address[[]*", "ipv6.enabled", "ipv6.address[[]*"),
    *("ipv4.dhcp", "ipv6.autoconf", "controller", "ipv4.address", "ipv6.address"),
)


def read(text: Text, known: Mapping[IfName, Mac]) -> tuple[list[Claim], list[Problem]]:
    documents, problems = yaml_documents(text)
    claims = [claim for document in documents for claim in _claims(document, text.file, known)]
    return claims, problems


def _claims(document: Document, file: str, known: Mapping[IfName, Mac]) -> list[Claim]:
    value = document.value if isinstance(document.value, dict) else {}
    state = value.get("desiredState", value)  # in a policy of kubernetes-nmstate it stands one step further in
    prefix = "desiredState." if "desiredState" in value else ""
    interfaces = state.get("interfaces") if isinstance(state, dict) else None
    found: list[Claim] = []
    for number, said in enumerate(interfaces if isinstance(interfaces, list) else ()):
        if not isinstance(said, dict):
            continue
        path, what = f"{prefix}interfaces[{number}]", f"interface {said.get('name')}"
        first, last = document.span(path)
        left = tuple(_unsaid(document, path, what, said))
        for link in _links(said, known):
            found.append(Claim(program="nmstate", link=link, file=file, first=first, last=last, what=what, unsaid=left))
    return [*found, *_routes(document, prefix, state, file)]


def _routes(document: Document, prefix: str, state: Any, file: str) -> list[Claim]:
    routes = state.get("routes") if isinstance(state, dict) else None
    config = routes.get("config") if isinstance(routes, dict) else None
    found: list[Claim] = []
    for number, said in enumerate(config if isinstance(config, list) else ()):
        if not isinstance(said, dict):
            continue
        first, last = document.span(f"{prefix}routes.config[{number}]")
        link, what = IfName(str(said.get("next-hop-interface", ""))), f"route to {said.get('destination')}"
        found.append(Claim(program="nmstate", link=link, file=file, first=first, last=last, what=what))
    return found


def _links(said: Mapping[str, Any], known: Mapping[IfName, Mac]) -> list[IfName]:
    if said.get("identifier") == "mac-address":
        mac = str(said.get("mac-address", "")).lower()
        return [link for link, has in known.items() if mac and mac == has]
    return [IfName(str(said.get("name", "")))]


def _unsaid(document: Document, path: str, what: str, said: Mapping[str, Any]) -> list[Setting]:
    return [
        Setting(key=f"{what} {key}", value=shown_value(value), line=document.lines.get(f"{path}.{key}", 1))
        for key, value in leaves(dict(said))
        if not matches(key, _SHOWN)
    ]
