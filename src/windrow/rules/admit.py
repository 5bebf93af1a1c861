"""admit: what is to be carried out on a node, from what is stored, what was last good, one look, and a wish.

Every caller asks this one question: the agent, `apply` with and without files, `plan`, `diff`, `status`, a start of
the host. So nobody carries out what another one refuses.

- What is stored is taken object by object: one that the rules, the compiler or the planner refuse keeps its last good
  version (`settlement`).
- What is missing is deleted only where somebody can have meant it: a directory that is gone or empty, a cluster without
  any network, and Node objects among which this host is not, leave everything as it was.
- A wish comes on top of that, and is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_interface

from windrow.compile import Compiled, compile_node
from windrow.model import names
from windrow.model.cluster import Cluster, builtin
from windrow.model.host import Link
from windrow.model.lazy import dataclass
from windrow.model.located import located
from windrow.model.manifests import NETWORKS, Found
from windrow.model.objects import AddressMode, HostNetworkConfig, VlanConfig
from windrow.model.problems import Problem, Severity, errors, lasting
from windrow.model.values import Cidr, Ref
from windrow.rules.admission import check
from windrow.rules.planning import Fit, Planned, Sight, as_it_is, plan_node
from windrow.rules.review import Change
from windrow.rules.settlement import Settled, settle
from windrow.rules.wish import AS_STORED, Wish

_TRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """`cluster`: what the node is to be brought to; None: nothing is known of it, so it is left alone.

    `against` refuses the wish by the rules, `refusing` by the plan that it would lead to. `problems` say why objects,
    or all of them, stay as they were. `warnings` are worth saying and stop nothing.
    """

    cluster: Cluster | None
    sight: Sight
    """The look that it was judged by, of the node by the name that its Node object has."""
    before: Cluster
    """What is stored."""
    good: Cluster | None = None
    changes: tuple[Change, ...] = ()
    """What the wish changes in the store."""
    changed: frozenset[Ref] = frozenset()
    """What differs from the last good state, or goes."""
    against: tuple[Problem, ...] = ()
    refusing: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    consent: bool = False
    """It is about the management network, and somebody meant it: to be carried out with somebody standing by."""
    unknown: bool = False
    """Links of ours may be here that nothing known speaks of: they are left alone."""

    @property
    def fresh(self) -> bool:
        """Nothing is wanted here, and nothing of ours is here: a host that Windrow has not been used on yet."""
        return self.unknown and not any(self.sight.observed.owned(name) for name in self.sight.observed.runtime)

    @property
    def target(self) -> Cluster:
        return self.cluster if self.cluster is not None else Cluster.of(())

    @property
    def beside(self) -> Cluster:
        """What is stored, and of what cannot be read the version that counts: a wish is judged beside all that there
        is. What is wrong in the store itself stands in the way of nothing else."""
        return _with_last_good(self.before, self.target)

    @property
    def fit(self) -> Fit:
        return spare_unknown if self.unknown else as_it_is

    def seen_again(self, sight: Sight) -> Admitted:
        """With a later look at the same node."""
        return replace(self, sight=_called(sight, self.sight.facts.node))

    def plan(self, *, fit: Fit | None = None) -> Planned:
        """All that is to be done; with `fit`, what is to be done of it now."""
        return plan_node(self.target, self.sight, consent=self.consent, fit=both(self.fit, fit))


def admit(found: Found, good: Cluster | None, sight: Sight, wish: Wish = AS_STORED, *, was: str = "") -> Admitted:
    """`found`: what is stored; `good`: the last good state, None where there is none yet, of the node `was`."""
    before = Cluster.of(found.loaded.objects)
    sight = named(sight, wish.after(before), good)
    stranger = _stranger(before, sight)
    if (stranger or found.lost) and good is not None and _stranger(good, sight) is not None:
        # The last good state knows this host by another name, or not at all: then nothing is known of it.
        known = was in {node.name for node in good.nodes()}
        sight, good = (_called(sight, was), good) if known else (sight, None)
    stored = replace(found, lost=found.lost or stranger or _emptied(found, before, good))
    settled = choose(stored, good, sight)
    if stranger is not None and stranger not in settled.problems:
        settled = replace(settled, problems=(*settled.problems, stranger))
    if not wish.touched and not wish.problems:
        return Admitted(
            cluster=settled.cluster,
            sight=sight,
            before=before,
            good=good,
            changed=settled.changed,
            problems=settled.problems,
            warnings=_warnings(found),
            consent=_manages(settled.cluster, settled.changed)
            or _manages(good, settled.changed)
            or _lease_moved(settled.cluster, sight)
            or _given_again(good, sight),
            unknown=settled.cluster is None,
        )
    return _with_wish(wish, replace(stored, lost=found.lost), settled, before, good, sight)


def _with_wish(
    wish: Wish, found: Found, settled: Settled, before: Cluster, good: Cluster | None, sight: Sight
) -> Admitted:
    base = settled.cluster if settled.cluster is not None else Cluster.of(())
    judged = _with_last_good(before, base)
    changes = wish.changes(before)
    unread = wish.unread | found.loaded.unread
    said = (*wish.problems, *check(judged, changes, facts=sight.facts, unread=unread))
    said = located(said, {o.ref: o for o in (*wish.remove, *wish.put)})
    after = wish.after(base)
    changed = settled.changed | wish.touched
    consent = any(_manages(cluster, changed) for cluster in (settled.cluster, good, after)) or _given_again(good, sight)
    unknown = settled.cluster is None and found.lost is not None
    refused = [*wish.outdated(before), *_in_two_places(found, wish), *errors(said)]
    if not refused:
        refused += _forgotten(found, good, wish)
        if (stranger := _stranger(wish.after(judged), sight)) is not None:
            refused.append(stranger)
    if refused:  # what cannot be read may be the reason
        refused += errors(found.loaded.problems)
    fit = spare_unknown if unknown else as_it_is
    refusing = () if refused else _planned_against(wish, base, after, sight, consent=consent, fit=fit)
    return Admitted(
        cluster=after,
        sight=sight,
        before=before,
        good=good,
        changes=changes,
        changed=changed,
        against=tuple(dict.fromkeys(refused)),
        refusing=tuple(dict.fromkeys(refusing)),
        problems=tuple(p for p in settled.problems if p.about not in wish.touched and p is not found.lost),
        warnings=(*_warnings(found), *(p for p in said if p.severity is Severity.WARNING)),
        consent=consent,
        unknown=unknown,
    )


# -- who this host is ------------------------------------------------------------------------------


def named(sight: Sight, *clusters: Cluster | None) -> Sight:
    """With the name that the node's object has, in the first cluster that has one for it; where a cluster has no Nodes,
    with the one that its selectors have: a host that gets a domain is the same host."""
    host = sight.facts.node
    for cluster in clusters:
        if cluster is None:
            continue
        if (name := names.node_name(host, cluster.node_names)) in cluster.node_names:
            return _called(sight, name)
    return _called(sight, names.node_name(host))


def _called(sight: Sight, name: str) -> Sight:
    return replace(sight, facts=replace(sight.facts, node=name)) if name != sight.facts.node else sight


def _stranger(cluster: Cluster, sight: Sight) -> Problem | None:
    """Where there are Nodes and this host is none of them, nothing that is missing was meant for it."""
    nodes = [node.name for node in cluster.nodes()]
    if not nodes or sight.facts.node in nodes:
        return None
    return Problem(
        code="node-unknown",
        message=f"this host is {sight.facts.node}, and the manifests have Nodes, but none of that name: "
        f"{', '.join(nodes)}; its network stays as it was",
        hint="say which Node it is (--node NAME, or its host name), or add a manifest of kind Node for it",
    )


def _emptied(found: Found, before: Cluster, good: Cluster | None) -> Problem | None:
    """Where there were networks, none is there any more, and nobody was seen to delete them: an API server that lost
    its store, or another one, would take down whatever runs."""
    if found.deleted or good is None or found.young:
        return None
    gone = _a_network(good)
    if gone is None or _a_network(before) is not None:
        return None
    return Problem(
        code="objects-gone",
        message=f"there is no network any more ({gone} is gone, and all others), and nobody was seen to "
        "delete them; this host's network stays as it was",
        hint="see whether it is the right cluster, and its store is whole; if they are to go, make a ClusterNetwork "
        "and delete it",
    )


def _a_network(cluster: Cluster) -> Ref | None:
    """The first one; a round looks no further, for there may be thousands."""
    built_in = {obj.ref for obj in builtin()}
    found = (ref for ref, obj in cluster.objects.items() if isinstance(obj, NETWORKS) and ref not in built_in)
    return next(found, None)


# -- what is stored --------------------------------------------------------------------------------


def choose(found: Found, good: Cluster | None, sight: Sight) -> Settled:
    """What the rules let pass, and of that what the compiler and the planner do not refuse, object by object."""
    refused: dict[Ref, Problem] = {}
    settled = settle(found, good, sight.facts)
    for _ in range(_TRIES):
        against = _against(settled, good, sight)
        if not against:
            return settled
        refused |= against
        settled = settle(found, good, sight.facts, refused)
    # What clashes anew each time is left as it was, all of it.
    clash = Problem(code="clash", message="it cannot be carried out together with the other changes")
    return settle(found, good, sight.facts, {ref: refused.get(ref, clash) for ref in (*refused, *settled.changed)})


def _against(settled: Settled, good: Cluster | None, sight: Sight) -> dict[Ref, Problem]:
    """What the plan has against objects that changed. Old trouble elsewhere does not stand in their way."""
    if not settled.changed or settled.cluster is None:
        return {}
    consent = _manages(settled.cluster, settled.changed) or _manages(good, settled.changed)
    said = _said(plan_node(settled.cluster, sight, consent=consent))
    against = {p.about: p for p in reversed(said) if p.about in settled.changed and p.about is not None}
    if against or good is None:
        return against
    known = set(_said(plan_node(good, sight)))
    fresh = [p for p in said if p not in known]
    return dict.fromkeys(settled.changed, fresh[0]) if fresh else {}


def _said(planned: Planned) -> tuple[Problem, ...]:
    return (*errors(planned.compiled.problems), *planned.plan.refusals)


def _manages(cluster: Cluster | None, refs: Iterable[Ref]) -> bool:
    """Whether one of these objects is about the uplink or the address of a management network that is Windrow's: who
    writes such an object means it, and its change needs somebody who stands by with an undo."""
    if cluster is None or not any(config.effective for config in cluster.vlan_configs(names.MGMT)):
        return False
    found = [cluster.objects.get(ref) for ref in refs]
    return any(isinstance(o, VlanConfig | HostNetworkConfig) and o.cluster_network == names.MGMT for o in found)


def _given_again(good: Cluster | None, sight: Sight) -> bool:
    """Whether the operating system gave a NIC of a management network that is Windrow's what it had before `windrow
    init`, and nothing else: as at a start of a host where it was not told to leave that to others. Somebody meant that
    to be taken over, and it was good; it is guarded as it was then."""
    origin = sight.facts.origin
    if origin is None or good is None or not any(config.effective for config in good.vlan_configs(names.MGMT)):
        return False
    alone = (link for link in sight.observed.state.links.values() if not link.master and link.name in origin.links)
    given = [(_given(link), _given(origin.links[link.name])) for link in alone if _given(link)]
    return bool(given) and all(now <= was for now, was in given)


def _given(link: Link) -> frozenset[Cidr]:
    """The addresses that somebody gave it, but for link-local ones."""
    every = (link.addrs or frozenset()) | link.details.keys()
    return frozenset(a for a in every if not ip_interface(a).is_link_local)


def _lease_moved(cluster: Cluster | None, sight: Sight) -> bool:
    """Whether the DHCP server of a management network that is Windrow's gave another address, or took it back. Who
    chose DHCP chose to follow it; it is guarded as if somebody had edited the address."""
    if cluster is None or not any(config.effective for config in cluster.vlan_configs(names.MGMT)):
        return False
    if all(network.mode is not AddressMode.DHCP for network in cluster.host_networks(names.MGMT)):
        return False
    compiled = compile_node(cluster, sight.facts)
    asking = [name for name in compiled.clients if name.partition(".")[0] == names.bridge_of(names.MGMT)]
    return any(_address_differs(compiled.state.links.get(n), sight.observed.state.links.get(n)) for n in asking)


def _address_differs(want: Link | None, seen: Link | None) -> bool:
    if want is None or seen is None or want.addrs is None:
        return False
    return want.addrs != (seen.addrs or frozenset())


def _warnings(found: Found) -> tuple[Problem, ...]:
    return tuple(p for p in lasting(found.loaded.problems) if p.severity is Severity.WARNING)


# -- a wish ----------------------------------------------------------------------------------------


def _with_last_good(before: Cluster, base: Cluster) -> Cluster:
    return before.replace(o for ref, o in base.objects.items() if ref not in before.objects)


def _in_two_places(found: Found, wish: Wish) -> Iterator[Problem]:
    """Nobody can say which of two is to become what is wished."""
    here = {o.ref for o in found.loaded.objects}
    for problem in errors(found.loaded.problems):
        if problem.about in wish.touched and problem.about in here:
            yield problem


def _forgotten(found: Found, good: Cluster | None, wish: Wish) -> Iterator[Problem]:
    """A new manifest beside nothing: what the node was brought to would count as deleted from then on."""
    if found.lost is None or good is None:
        return
    builtin = Cluster.of(()).objects.keys()
    left = [ref for ref in good.objects if ref not in wish.touched and ref not in builtin]
    if left and wish.put:
        listed = ", ".join(map(str, left[:3])) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        yield replace(found.lost, message=f"{found.lost.message}; with this change {listed} would count as deleted")


def _planned_against(
    wish: Wish, base: Cluster, after: Cluster, sight: Sight, *, consent: bool, fit: Fit
) -> Iterator[Problem]:
    """What is said against the wish's own objects, and what nobody said before it. Old trouble elsewhere does not
    stand in its way."""
    objects = {**base.objects, **after.objects}
    planned = plan_node(after, sight, consent=consent, fit=fit)
    said = [*located(errors(planned.compiled.problems), objects), *planned.plan.refusals]
    if not said or not wish.touched:
        return
    old = plan_node(base, sight, fit=fit)
    known = {*located(old.compiled.problems, objects), *old.plan.refusals}
    yield from located((p for p in said if p.about in wish.touched or p not in known), objects)


# -- what is left alone ----------------------------------------------------------------------------


def spare_unknown(compiled: Compiled, sight: Sight) -> Compiled:
    """Without knowledge of what this node was brought to, what is here and not asked for may be another root's."""
    ours = frozenset(name for name in sight.observed.state.links if sight.observed.owned(name))
    return replace(compiled, held=compiled.held | (ours - compiled.state.links.keys()))


def both(first: Fit, second: Fit | None) -> Fit:
    if second is None or second is as_it_is:
        return first
    if first is as_it_is:
        return second
    return lambda compiled, sight: second(first(compiled, sight), sight)
