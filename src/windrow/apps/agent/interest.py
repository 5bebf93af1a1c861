"""Which of the kernel's announcements can matter, after a round: all that a plan or a condition could hang on."""

from __future__ import annotations

from windrow.apps.engine import Sight
from windrow.compile import Compiled
from windrow.model.host import Observed, Vxlan
from windrow.model.ports import PORT_GROUP
from windrow.model.values import IfName
from windrow.netlink.events import Interest


def interest_of(sight: Sight, compiled: Compiled) -> Interest:
    """Links that are wanted, held, protected, ours, ports of ours, NICs; and what is to come under such a name or MAC.

    A lab's NIC is a cable like a container's: it matters where it is in something of ours, or asked for.
    """
    observed, facts = sight.observed, sight.facts
    wanted = set(compiled.state.links) | set(compiled.held) | set(facts.protected)
    names = {*wanted, *(record.host for record in facts.ports), *(IfName(n) for n in facts.memory.nics)}
    matter = {n for n in observed.runtime if n in names or _is_ours(observed, n)}
    indexes = frozenset(observed.runtime[n].ifindex for n in matter)
    links = observed.state.links
    tunnels = frozenset(observed.runtime[n].ifindex for n in matter if n in links and isinstance(links[n].spec, Vxlan))
    macs = frozenset(facts.memory.nics.values())
    return Interest(indexes=indexes, names=frozenset(names), macs=macs, tunnels=tunnels)


def _is_ours(observed: Observed, name: IfName) -> bool:
    link, run = observed.state.links[name], observed.runtime[name]
    if observed.owned(name) or run.group == PORT_GROUP or link.kind == "device":
        return True
    return observed.owned(link.master or "") or observed.owned(link.parent or "")
