"""Links that objects speak of by the very names that they have: Harvester's controller leaves such. They only lack the
mark."""

from __future__ import annotations

from windrow.model.adopted import AdoptedLink
from windrow.model.host import Bond, Bridge, HostState, Observed, VlanIf


def unmarked(observed: Observed) -> tuple[AdoptedLink, ...]:
    """All that may be such: what is wanted is asked of the host as it is once they are marked, for a NIC in a bond of
    somebody else's is wanted nowhere."""
    return tuple(
        AdoptedLink(link=name, name=name, group=observed.runtime[name].group)
        for name, link in observed.state.links.items()
        if isinstance(link.spec, Bond | Bridge | VlanIf) and not observed.owned(name)
    )


def standing(wanted: HostState, observed: Observed) -> tuple[AdoptedLink, ...]:
    """Those of them that are wanted. What is something else than is wanted by its name stays somebody else's, and the
    plan says so."""
    there = observed.state.links
    return tuple(
        one
        for one in unmarked(observed)
        if one.name in wanted.links and type(there[one.name].spec) is type(wanted.links[one.name].spec)
    )
