"""A look at the host as it will be once its links are marked: what is planned then is what adopting changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from windrow.compile import node_facts
from windrow.model.adopted import AdoptedLink
from windrow.model.facts import Known, NodeFacts
from windrow.model.host import OWNER_GROUP, Link, Observed, Runtime
from windrow.model.leases import Lease
from windrow.model.marks import mark_of
from windrow.model.reach import reach_of
from windrow.model.values import IfName
from windrow.plan.renamed import called_otherwise


def as_adopted(
    observed: Observed, facts: NodeFacts, marked: Iterable[AdoptedLink], leases: Iterable[Lease] = ()
) -> tuple[Observed, NodeFacts]:
    """The same host with these links marked, and these leases known."""
    ones = tuple(marked)
    names = {one.link: one.name for one in ones}
    seen = called_otherwise(observed, {own: name for own, name in names.items() if own != name})
    adopted = {one.name: _as_ours(seen.state.links[one.name], seen.runtime[one.name]) for one in ones}
    links = {**seen.state.links, **adopted}
    runtime = {**seen.runtime, **{one.name: _marked(seen.runtime[one.name], one) for one in ones}}
    seen = replace(seen, state=replace(seen.state, links=links), runtime=runtime)
    return seen, _facts(seen, facts, names, {lease.interface: lease for lease in leases})


def _as_ours(link: Link, runtime: Runtime) -> Link:
    if runtime.tunnel is None:
        return replace(link, mark=True)
    return replace(link, mark=True, spec=runtime.tunnel, fdb=runtime.far_ends)


def _marked(runtime: Runtime, one: AdoptedLink) -> Runtime:
    also = (one.name,) if one.name != one.link else ()
    altnames = dict.fromkeys((*runtime.altnames, *also, mark_of(one.name)))
    own = one.link if also else ""
    return replace(
        runtime, group=OWNER_GROUP, altnames=tuple(altnames), own_name=own, tunnel=None, far_ends=frozenset()
    )


def _facts(
    seen: Observed, facts: NodeFacts, names: Mapping[IfName, IfName], leases: Mapping[IfName, Lease]
) -> NodeFacts:
    nics = {
        name: replace(nic, master=names.get(nic.master, nic.master) if nic.master else None)
        for name, nic in facts.nics.items()
    }
    known = Known(
        ports=facts.ports,
        leases={**facts.leases, **leases},
        asking=facts.asking,
        agent=facts.agent,
        memory=facts.memory,
        record=facts.record,
        active=facts.active,
        origin=facts.origin,
    )
    # What the host is reached by now is protected as long as it is only foretold, whoever logged in over it.
    found = node_facts(facts.node, seen, nics, facts.features, known)
    protected = found.protected | {names.get(name, name) for name in facts.protected}
    return replace(found, protected=protected, reach=reach_of(seen, protected))
