"""/etc/network/interfaces: stanzas of ifupdown (interfaces(5)) and ifupdown2, which Proxmox uses too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from windrow.adopt.programs.reading import matches
from windrow.adopt.values import Claim, Setting, Text
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac

_STANZAS = re.compile(
    r"(iface|auto|allow-\S+|no-auto-down|no-scripts|mapping|source|source-directory|rename|template)$"
)
_SHOWN = (
    *("address", "netmask", "gateway", "broadcast", "network", "mtu", "hwaddress", "metric", "slaves", "ovs_bridge"),
    *("bond-*", "bond_*", "bridge-*", "bridge_*", "vlan-*", "vlan_*", "accept_ra", "alias", "inherits"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stanza:
    """`words`: of its first line; `settings`: its options."""

    words: tuple[str, ...]
    first: int
    last: int
    settings: tuple[Setting, ...]


def read(text: Text, _known: Mapping[IfName, Mac]) -> tuple[list[Claim], list[Problem]]:
    return list(_claims(text, "ifupdown")), []


def read_proxmox(text: Text, _known: Mapping[IfName, Mac]) -> tuple[list[Claim], list[Problem]]:
    return list(_claims(text, "proxmox")), []


def _claims(text: Text, program: str) -> Iterator[Claim]:
    for stanza in _stanzas(text.text):
        keyword, *names = stanza.words
        links = names[:1] if keyword == "iface" else names if keyword == "auto" or keyword.startswith("allow-") else []
        what = " ".join(stanza.words[:4])
        left = tuple(
            Setting(key=f"iface {links[0]} {one.key}", value=one.value, line=one.line)
            for one in (stanza.settings if keyword == "iface" and links else ())
            if not matches(one.key, _SHOWN)
        )
        for link in links:
            yield Claim(
                program=program,
                link=IfName(link.partition(":")[0]),
                file=text.file,
                first=stanza.first,
                last=stanza.last,
                what=what,
                unsaid=left,
            )


def _stanzas(text: str) -> Iterator[_Stanza]:
    """A line that ends in a backslash goes on in the next one; a `#` begins a comment only at the start of a line."""
    now: tuple[tuple[str, ...], int] | None = None
    settings: list[Setting] = []
    last = 0
    for number, end, line in _logical_lines(text):
        words = line.split()
        if _STANZAS.match(words[0]):
            if now is not None:
                yield _Stanza(words=now[0], first=now[1], last=last, settings=tuple(settings))
            now, settings = (tuple(words), number), []
        elif now is not None:
            settings.append(Setting(key=words[0], value=" ".join(words[1:]), line=number))
        last = end
    if now is not None:
        yield _Stanza(words=now[0], first=now[1], last=last, settings=tuple(settings))


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """(its first line, its last line, the text) of each that says something."""
    begun, first = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        first = first or number
        begun += raw.rstrip()
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        if begun.strip() and not begun.lstrip().startswith("#"):
            yield first, number, begun.strip()
        begun, first = "", 0
    if begun.strip():
        yield first, len(text.splitlines()), begun.strip()
