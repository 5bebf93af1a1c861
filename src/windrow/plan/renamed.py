"""Links of ours that somebody renamed. Their mark says what they are called (`model.marks`), so they are named back.

The kernel renames a link only while it is down (`dev_change_name`: EBUSY; later kernels do without). So it is taken
down, renamed and opened again in one burst, and what that costs it is part of the plan: the rest is planned from where
the host will be then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from windrow.model.host import Bond, HostState, Link, LinkSpec, Observed, Other, VlanIf
from windrow.model.marks import is_marked, marked_names
from windrow.model.values import IfName

Names = Mapping[IfName, IfName]
"""What a link is called now -> what it is to be called."""


def renamed(strays: Names, want: HostState, have: Observed) -> Names:
    """Of these (`strayed`) the links whose own name is wanted and free."""
    found: dict[IfName, IfName] = {}
    for name, made_for in strays.items():
        free = made_for not in have.state.links and made_for not in have.unreadable and not bearer(have, made_for)
        if free and made_for in want.links and name not in want.links and made_for not in found.values():
            found[name] = made_for
    return found


def strayed(have: Observed) -> Names:
    """All links of ours that go by another name than the one they were made for."""
    found: dict[IfName, IfName] = {}
    for name, altnames in [(name, r.altnames) for name, r in have.runtime.items() if r.altnames]:
        said = marked_names(altnames)
        if len(said) == 1 and said[0] != name:
            found[name] = said[0]
    return found


def bearer(have: Observed, name: str) -> IfName | None:
    """The link that has this name as an alternative one: the kernel gives it to no other then."""
    return next((n for n, runtime in have.runtime.items() if runtime.altnames and name in runtime.altnames), None)


def named_back(have: Observed, names: Names) -> Observed:
    """What there will be once these links are called what they should be.

    Closing a link takes its IPv6 addresses (`addrconf_ifdown`), its routes and its neighbours, and those of the VLAN
    interfaces on it, which close and open with it (`vlan_device_event`).
    """
    if not names:
        return have
    closed = {name for name in names if have.state.links[name].up}
    closed |= {n for n, link in have.state.links.items() if isinstance(link.spec, VlanIf) and link.parent in closed}
    links = {name: _closed(link) if name in closed else link for name, link in have.state.links.items()}
    routes = frozenset(route for route in have.state.routes if route.dev not in closed)
    state = replace(have.state, links=links, routes=routes, rules=frozenset())
    return called_otherwise(replace(have, state=state), names)


def _closed(link: Link) -> Link:
    kept = None if link.addrs is None else frozenset(a for a in link.addrs if ":" not in a)
    return replace(link, addrs=kept, neighbours=frozenset())


def called_otherwise(have: Observed, names: Names) -> Observed:
    """The same links, some of them under other names. Rules name links by themselves and stay (`fib_rule`)."""
    if not names:
        return have
    links = {_now(names, name): _with_names(link, names, have) for name, link in have.state.links.items()}
    routes = (route.moved(names) if names.keys() & set(route.links) else route for route in have.state.routes)
    state = replace(have.state, links=links, routes=frozenset(routes))
    return replace(have, state=state, runtime={_now(names, name): one for name, one in have.runtime.items()})


def _now(names: Names, name: IfName) -> IfName:
    return names.get(name, name)


def _with_names(link: Link, names: Names, have: Observed) -> Link:
    name, master = _now(names, link.name), _now(names, IfName(link.master or ""))
    spec: LinkSpec = link.spec
    match spec:
        case VlanIf(parent=parent) if parent in names:
            spec = replace(spec, parent=names[parent])
        case Other(parent=parent) if parent is not None and parent in names:
            spec = replace(spec, parent=names[parent])
        case Bond(primary=primary) if primary and primary in names:
            spec = replace(spec, primary=names[IfName(primary)])
        case _:
            pass
    if name == link.name:
        return link if master == (link.master or "") and spec is link.spec else replace(link, master=master, spec=spec)
    runtime = have.runtime[link.name]
    marked = is_marked(name, runtime.group, runtime.altnames)
    return replace(link, name=name, master=master, spec=spec, mark=marked)
