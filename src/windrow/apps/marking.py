"""Links that others made become Windrow's, and go back to them, in an order that may be cut off anywhere.

A link that is marked and wanted by no object would be deleted by the next round. So the objects are stored first, and
a bond is marked last: until then its NICs are in a bond of somebody else's, and whatever is planned of that network is
refused. The way back is the same, backwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from windrow.apps.lock import HostLock
from windrow.apps.site import Site
from windrow.model.adopted import Adopted, AdoptedLink
from windrow.model.host import OWNER_PROTOCOL, Bond, Observed
from windrow.model.objects import AnyObject
from windrow.model.steps import AddRoute, Adopt, DelRoute, Disown, Failure, Impact, Phase, Step
from windrow.model.values import RTPROT_STATIC, IfName, Ref
from windrow.store.adopted import read_adopted, write_adopted
from windrow.store.directory import Store
from windrow.store.memory import read_memory, write_memory

LOCK_S = 30.0
"""How long to wait for another one who changes this host's network."""
_WHY = Ref("Node", "")


def mark(site: Site, objects: Sequence[AnyObject], marked: Sequence[AdoptedLink]) -> Failure | None:
    """Store the objects and mark the links; the step that failed, or None. Raises StoreError, KernelError."""
    with HostLock(site.paths, timeout_s=LOCK_S):
        before = site.kernel.observe()
        at = int(time.time())
        new = Adopted(marked=tuple(replace(one, at=at) for one in marked), objects=tuple(obj.ref for obj in objects))
        write_adopted(site.paths, read_adopted(site.paths).beside(new))
        if objects:  # those of a cluster are nothing of this host's
            Store(site.paths).put(objects)
        return site.kernel.run([_step(one.link, Adopt(one.name)) for one in _bonds_last(marked, before)])


def give_back(site: Site, adopted: Adopted) -> tuple[tuple[AdoptedLink, ...], Failure | None]:
    """Take the marks off the links that are there; those links, by the names that they have then, and the step that
    failed, or None. The objects stay. Their addresses and routes are no longer Windrow's doing. Raises KernelError,
    StoreError."""
    with HostLock(site.paths, timeout_s=LOCK_S):
        before = site.kernel.observe()
        there = [one for one in adopted.marked if before.owned(one.name)]
        now = [_as_it_is(one, before) for one in there]
        ones = tuple(reversed(_bonds_last(now, before)))
        names = frozenset(one.name for one in ones)
        _forget_addresses(site, names)
        disowned = (_step(one.name, Disown(one.link, one.group)) for one in ones)
        return ones, site.kernel.run([*_routes_of_the_administrator(before, names), *disowned])


def _forget_addresses(site: Site, links: frozenset[IfName]) -> None:
    """What Windrow gave it takes away again once no object wants it (`Memory.given`): not these."""
    memory = read_memory(site.paths)
    given = {name: addresses for name, addresses in memory.given.items() if name not in links}
    write_memory(site.paths, replace(memory, given=given))


def _routes_of_the_administrator(seen: Observed, links: frozenset[IfName]) -> Iterator[Step]:
    """A route of ours that no object wants is taken away: these stay, as somebody's own.

    The new one first, so that the way is there at any moment. IPv6 takes no second one of the same next hop
    (`rt6_duplicate`): there the old one goes just before.
    """
    for route in seen.state.routes:
        if route.protocol != OWNER_PROTOCOL or route.dev is None or route.dev not in links:
            continue
        theirs = AddRoute(replace(route, protocol=RTPROT_STATIC))
        both = (theirs, DelRoute(route)) if route.version == 4 else (DelRoute(route), theirs)
        yield from (_step(route.dev, action) for action in both)


def _as_it_is(one: AdoptedLink, seen: Observed) -> AdoptedLink:
    """One that was made anew since has the name that it is called by, and no group of somebody else's to go back to."""
    own = seen.runtime[one.name].own_name
    if own:
        return one
    return replace(one, link=one.name, group=one.group if one.link == one.name else 0)


def _bonds_last(marked: Iterable[AdoptedLink], seen: Observed) -> list[AdoptedLink]:
    links = seen.state.links

    def is_bond(one: AdoptedLink) -> bool:
        link = links.get(one.link) or links.get(one.name)
        return link is not None and isinstance(link.spec, Bond)

    return sorted(marked, key=is_bond)


def _step(link: IfName, action: Adopt | Disown | AddRoute | DelRoute) -> Step:
    return Step(phase=Phase.PREPARE, link=link, action=action, why=_WHY, impact=Impact.NONE)
