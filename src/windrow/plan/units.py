"""Units: the connected components of the link graph. Each is planned, run and reported on its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from windrow.model import names
from windrow.model.host import Bond, HostState, Link, Observed
from windrow.model.values import IfName


def units(
    concerned: Iterable[IfName], want: HostState, have: Observed, apart: Collection[IfName] = ()
) -> tuple[tuple[IfName, ...], ...]:
    """The `concerned` links, grouped by what holds them together (master, parent), wanted or observed; each of
    `apart` on its own."""
    root = {name: name for name in concerned}

    def find(name: IfName) -> IfName:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for links in (want.links, have.state.links):
        for name in root.keys() - apart:
            link = links.get(name)
            for other in _neighbours(link) if link is not None else ():
                if other in root:
                    root[find(name)] = find(other)
    groups: dict[IfName, list[IfName]] = {}
    for name in sorted(root):
        groups.setdefault(find(name), []).append(name)
    return tuple(tuple(group) for _, group in sorted(groups.items(), key=lambda g: g[1][0]))


def _neighbours(link: Link) -> list[IfName]:
    """A bond and its successor belong together before anything else connects them."""
    found = [IfName(link.master)] if link.master else []
    if (parent := link.parent) is not None:
        found.append(parent)
    if isinstance(link.spec, Bond):
        found.append(names.successor_of(link.name))
    return found
