"""What must not be touched, and what stands in the way. A refusal keeps its whole unit as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windrow.model import names
from windrow.model.host import MAIN_TABLE, RTPROT_RA, Bridge, Link, Observed, Other, Route, VlanIf
from windrow.model.objects import ClusterNetwork
from windrow.model.ports import users
from windrow.model.problems import Problem
from windrow.model.reach import route_taken, taken_by_address
from windrow.model.steps import (
    AddAddr,
    AddFdb,
    AddNeighbour,
    AddRoute,
    AddRule,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DelRoute,
    DelRule,
    DropPeer,
    Impact,
    Plan,
    PutPeer,
    SetLink,
    SetMaster,
    SetSysctl,
    SetVlans,
    Step,
)
from windrow.model.values import IfName, Ref, VidSet
from windrow.plan import hints, taken
from windrow.plan.renamed import bearer
from windrow.plan.scene import Scene, only_vlans


def refusals(scene: Scene, unit: tuple[IfName, ...]) -> Iterator[Problem]:
    """Why nothing may be done to this unit, link by link."""
    for name in unit:
        want, seen = scene.wanted(name), scene.seen(name)
        if want is not None:
            yield from _wanted(scene, want, seen)
        elif seen is not None and scene.owned(name):
            yield from _unwanted(scene, seen)


def _refuse(code: str, about: Ref, message: str, hint: str) -> Problem:
    return Problem(code=code, about=about, message=message, hint=hint)


def _wanted(scene: Scene, want: Link, seen: Link | None) -> Iterator[Problem]:
    about = scene.why(want.name)
    if scene.is_port(want.name):
        return  # a call made it for this bridge: it may be taken back from wherever it is
    yield from _takes_over(scene, want, seen)
    if isinstance(want.spec, Other):
        yield from _nic(scene, want, seen)
    elif seen is None:
        if only_vlans(want):
            yield _refuse("link-missing", about, f"{want.name} is not there", "the operating system has to make it")
        elif (other := bearer(scene.have, want.name)) is not None:
            hint = f"take that name from it: ip link property del dev {other} altname {want.name}"
            text = f"{other} also goes by the name {want.name}, and no second link can have it"
            yield _refuse("in-the-way", about, text, hint)
    elif not scene.owned(seen.name) and not only_vlans(want):
        hint = hints.delete(
            scene.have, seen.name, f"hand it to Windrow (windrow adopt {seen.name}), rename it, or delete it"
        )
        yield _refuse("in-the-way", about, f"{seen.name} ({seen.kind}) exists and Windrow did not make it", hint)
    elif seen.kind != want.kind:
        hint = hints.delete(scene.have, seen.name)
        yield _refuse("in-the-way", about, f"{seen.name} is a {seen.kind}, not a {want.kind}", hint)


def _takes_over(scene: Scene, want: Link, seen: Link | None) -> Iterator[Problem]:
    """What a DHCP server says no rule has seen before: the same holds for it."""
    if scene.consent or want.name in scene.protected or isinstance(want.spec, Other):
        return
    about, had = scene.why(want.name), (seen.addrs if seen else None) or frozenset()
    hint = "the host would be lost to whoever reaches it there; choose another network"
    for address in sorted((want.addrs or frozenset()) - had):
        if taken := taken_by_address(scene.reach, address):
            yield _refuse("management-taken", about, f"{address} on {want.name} would take over {taken}", hint)
    fresh = scene.missing_routes(want.name, scene.seen_routes.get(want.name, ()))
    for route in sorted(fresh, key=lambda r: (r.dst, r.metric)):
        if taken := route_taken(scene.reach, route):
            text = f"the route to {route.dst} over {want.name} would take over {taken}"
            yield _refuse("management-taken", about, text, hint)


def _nic(scene: Scene, want: Link, seen: Link | None) -> Iterator[Problem]:
    about, name = scene.why(want.name), want.name
    if seen is None:
        yield _refuse("nic-missing", about, f"there is no NIC {name}", "see: ip link")
        return
    if (seen.master or "") == (want.master or ""):
        return
    if name in scene.protected and not scene.consent:
        yield _refuse(
            "protected", about, f"{name} carries this node's management traffic", "choose a NIC that does not"
        )
    if seen.master and not scene.owned(seen.master):
        master = scene.seen(seen.master)
        kind = master.kind if master else "link"
        hint = hints.set_free(scene.have, name, instead="choose another NIC")
        yield _refuse("nic-in-use", about, f"{name} belongs to {kind} {seen.master}, which others made", hint)
    if not seen.master:
        for text in immovable(scene.have.state.routes, name):
            yield _refuse("route-immovable", about, text, IMMOVABLE_HINT)
    if want.master and not scene.owned(seen.master):
        bond = scene.wanted(want.master)
        vids = bond.vlans.tagged if bond is not None and bond.vlans is not None else VidSet()
        for code, text, hint in taken.in_the_way(scene.have, name, vids):
            yield _refuse(code, about, text, hint)
    if not isinstance(seen.spec, Other):
        yield _refuse("not-a-nic", about, f"{name} is a {seen.kind}, not a NIC", "name NICs in spec.uplink.nics")
    if seen.addrs and not scene.owned(seen.master) and not (scene.consent and want.addrs is not None):
        addresses = ", ".join(sorted(seen.addrs))
        hint = hints.flush(scene.have, name, instead="choose another NIC")
        if want.master in names.MGMT_DEVICES:
            hint = "`windrow init` puts the management network's in their place, guarded; then have whoever gives it "
            hint += f"addresses when the host starts leave {name} alone"
        yield _refuse("nic-has-addresses", about, f"{name} has addresses of its own: {addresses}", hint)


def immovable(routes: Iterable[Route], nic: IfName) -> Iterator[str]:
    """The routes over a NIC that end when it joins a bond and cannot be made again, each with the reason."""
    for route in sorted(routes, key=lambda r: (r.table, r.dst, r.order)):
        if nic not in route.links or route.exact is None:
            continue
        others = sorted(set(route.links) - {nic})
        why = route.exact.stays or (f"it leads over {', '.join(others)} as well" if others else "")
        if why:
            table = "" if route.table == MAIN_TABLE else f" in table {route.table}"
            yield f"the route to {route.dst}{table} over {nic} would be lost: {why}"


IMMOVABLE_HINT = "delete it, or put a plain one in its place (ip route replace), before the NIC joins a bond"


def _unwanted(scene: Scene, seen: Link) -> Iterator[Problem]:
    about = scene.why(seen.name)
    if seen.name in scene.protected and not scene.consent:
        yield _refuse(
            "protected",
            about,
            f"{seen.name} would be deleted, and this node's default route goes over it",
            "move the default route to another link first",
        )
    if isinstance(seen.spec, Bridge):
        yield from _in_use(scene, seen.name)
        yield from _ports_of_others(scene, seen.name)
        foreign = sorted(n for n in scene.standing_on(seen.name) if not scene.owned(n))
        if foreign:
            yield _refuse(
                "in-the-way",
                _network(seen.name),
                f"{seen.name} would be deleted, and others made {', '.join(foreign)} on it",
                hints.delete(scene.have, foreign[0], "delete first what stands on it"),
            )


def _ports_of_others(scene: Scene, bridge: IfName) -> Iterator[Problem]:
    """Whoever put a link into a bridge of ours counts on it, whatever became of the manifest."""
    ports = [p for p in scene.ports(bridge) if not scene.owned(p) and not scene.is_port(p) and not scene.wanted(p)]
    if ports and not scene.consent:
        text = f"{bridge} would be deleted, and others put {', '.join(ports)} into it"
        yield _refuse("in-the-way", _network(bridge), text, hints.set_free(scene.have, ports[0], "take them off first"))


def _in_use(scene: Scene, bridge: IfName) -> Iterator[Problem]:
    """Harvester and Kubernetes refuse to take a network from under a running machine; so do we, and say which."""
    records = [r for r in scene.records if r.bridge == bridge and scene.is_port(r.host) and not scene.wanted(r.host)]
    known = {record.host for record in records}
    unknown = [p for p in scene.ports(bridge) if scene.is_port(p) and not scene.wanted(p) and p not in known]
    if records or unknown:
        who = ", ".join([*filter(None, [users(records)]), *unknown])
        hint = "stop them first; what a container left behind that is gone: windrow cni gc"
        yield _refuse("in-use", _network(bridge), f"{bridge} would be deleted, and it is in use: {who}", hint)


def _network(bridge: IfName) -> Ref:
    """Nothing wants the bridge any more, so no object can say whose it was: its name does."""
    return Ref(ClusterNetwork.KIND, names.cluster_network_of_bridge(bridge) or bridge)


def forbidden(scene: Scene, steps: tuple[Step, ...]) -> Iterator[Problem]:
    """The last look: no step may change a protected link, whatever rule it came from."""
    for step in steps:
        if step.link not in scene.protected:
            continue
        if isinstance(step.action, SetVlans):
            lost = step.action.remove & _needed(scene, step.link)
            if lost:
                text = f"{step.link} would lose VLAN {lost}, which carries this node's management traffic"
                yield _refuse("protected", step.why, text, "leave that VLAN in")
        elif not scene.consent and (not scene.owned(step.link) or step.impact.rank >= Impact.FLAP.rank):
            yield _refuse(
                "protected",
                step.why,
                f"{step.link} carries this node's management traffic and would be changed",
                f"{names.MGMT} is built in: its devices belong to the operating system",
            )


WAYS = frozenset({"link", "addrs", "routes", "rules", "neighbours"})
"""Fields of differences (`Delta`) that say how this host is reached, and what it reaches."""


def changes_reachability(plan: Plan, have: Observed) -> bool:
    """Whether a plan changes how this host is reached, or what it reaches, on any link: its addresses, its routes and
    rules, the settings that go with them, or a link that has addresses. Only a probe tells then whether all is well."""
    return any(_changes_a_way(step, have) for step in plan.steps)


def _changes_a_way(step: Step, have: Observed) -> bool:
    match step.action:
        case AddAddr() | DelAddr() | AddRoute() | DelRoute() | AddRule() | DelRule():
            return True
        case AddNeighbour() | DelNeighbour() | AddFdb() | DelFdb() | PutPeer() | DropPeer():
            return True
        case SetSysctl(key=key) if key.endswith("/accept_ra"):
            return _has_addresses(step.link, have) and _is_told_routes(step.link, have)
        case SetSysctl():
            return bool(step.link)
        case DeleteLink() | SetMaster() | SetLink(up=False):
            return _has_addresses(step.link, have)
        case _:
            return False


def _has_addresses(name: IfName, have: Observed) -> bool:
    link = have.state.links.get(name)
    return link is not None and bool(link.addrs or link.details)


def _is_told_routes(name: IfName, have: Observed) -> bool:
    """By a router's advertisements, which may come to an end."""
    return any(route.protocol == RTPROT_RA and name in route.links for route in have.state.routes)


def _needed(scene: Scene, link: IfName) -> VidSet:
    """The VIDs of the VLAN interfaces of others on the bridge that the link is, or is a port of."""
    seen = scene.seen(link)
    bridge = seen.master if seen and seen.master else link
    vids = VidSet()
    for name in scene.standing_on(bridge):
        on = scene.seen(name)
        if on is not None and isinstance(on.spec, VlanIf) and not scene.owned(name):
            vids |= VidSet.of([on.spec.vid])
    return vids
