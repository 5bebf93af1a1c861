"""make_plan: the diff of each unit, turned into steps by the rules of order, and watched by the guard."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.bonding import Change
from windrow.model.host import Bond, Bridge, HostState, Link, Observed, Other, VlanIf
from windrow.model.names import successor_of
from windrow.model.ports import PortRecord
from windrow.model.steps import Delta, Impact, Phase, Plan, SetSysctl, Step, Unit
from windrow.model.values import IfName, Ref
from windrow.plan import guard, order, takeover
from windrow.plan.diff import changed_settings, diff_link
from windrow.plan.filtering import filter_unit
from windrow.plan.mutability import TABLE
from windrow.plan.order import Burst
from windrow.plan.policies import policy_unit
from windrow.plan.renamed import named_back, renamed, strayed
from windrow.plan.scene import Scene
from windrow.plan.units import units


def make_plan(
    want: HostState,
    have: Observed,
    *,
    protected: frozenset[IfName] = frozenset(),
    held: frozenset[IfName] = frozenset(),
    records: tuple[PortRecord, ...] = (),
    consent: bool = False,
) -> Plan:
    """The steps from `have` to `want`.

    `want` is complete for what Windrow owns: what is ours and not in it is deleted. `protected` links are
    not changed, unless with `consent`; `held` ones are left alone; `records` say whose ports a bridge has that would
    go. Empty exactly when there is nothing to do.
    """
    held |= have.unreadable.keys()
    strays = strayed(have)
    held |= {name for name, made_for in strays.items() if made_for in held}
    names_back = renamed(strays, want, have)
    scene = Scene(
        want=want,
        have=named_back(have, names_back),
        protected=protected | {names_back[name] for name in protected & names_back.keys()},
        held=held,
        records=records,
        consent=consent,
        renamed={to: now for now, to in names_back.items()},
    )
    planned = (_unit(scene, names) for names in units(_concerned(scene), want, scene.have, _apart(scene)))
    everywhere = (
        _sysctls(scene),
        filter_unit(want.filters, have, held),
        policy_unit(want.policies, have.state.policies, have.state.links),
    )
    return Plan(units=tuple(u for u in (*everywhere, *planned) if u.steps or u.refusals or u.deltas))


def _concerned(scene: Scene) -> set[IfName]:
    """What is wanted, what is ours, the NICs in our bonds, and where routes are wanted or ours."""
    ours = {IfName(n) for n in scene.ours}
    bonds = (n for n in ours if (link := scene.seen(n)) and isinstance(link.spec, Bond))
    nics = {nic for bond in bonds for nic in scene.slaves(bond)}
    routed = {IfName(n) for n in scene.wanted_routes} | {IfName(n) for n in scene.seen_routes if scene.our_routes(n)}
    ruled = {IfName(n) for n in scene.wanted_rules} | {IfName(n) for n in scene.seen_rules if scene.our_rules(n)}
    return (set(scene.want.links) | ours | nics | routed | ruled) - scene.held


def _apart(scene: Scene) -> set[IfName]:
    """Ports whose bridge stands are units of their own. A container may end at any moment and take its port along:
    that must not stop the network of the others, nor their trouble the port. A port that has to wait for its bridge,
    or to leave another link of ours, goes with them."""
    return {
        name
        for name, want in scene.want.links.items()
        if scene.is_port(name) and scene.stands(want.master) and not _leaves_ours(scene, want)
    }


def _leaves_ours(scene: Scene, want: Link) -> bool:
    seen = scene.seen(want.name)
    return seen is not None and seen.master != want.master and scene.owned(seen.master)


LAYER_2 = Ref("ClusterNetwork", "*")
"""Why iptables must not see bridged frames: every cluster network is layer 2."""


def _unit(scene: Scene, names: tuple[IfName, ...]) -> Unit:
    deltas = {name: _deltas(scene, name) for name in names}
    flat = tuple(d for name in names for d in deltas[name])
    if not flat:
        return Unit(links=names)
    refused = tuple(guard.refusals(scene, names))
    if refused:
        return Unit(links=names, deltas=flat, refusals=refused)
    steps = order.asked_together(order.in_turn(_from_what_carries(scene, names, deltas)))
    forbidden = tuple(dict.fromkeys(guard.forbidden(scene, steps)))
    if forbidden:
        return Unit(links=names, deltas=flat, refusals=forbidden)
    return Unit(links=names, deltas=flat, steps=steps)


def _deltas(scene: Scene, name: IfName) -> tuple[Delta, ...]:
    want, seen = scene.wanted(name), scene.seen(name)
    if want is not None:
        neighbours = _neighbours(scene, want) if seen is not None and (want.neighbours or seen.neighbours) else ()
        renamed = _name(scene, want) if scene.renamed else ()
        routes = _routes(scene, name) if name in scene.routed else ()
        return (*renamed, *diff_link(want, seen), *neighbours, *routes)
    if seen is None:
        return tuple(_rules(scene, name))
    if scene.owned(name):
        gone = Delta(link=name, field="link", have=seen, want=None, change=TABLE["link"], why=scene.why(name))
        return (gone, *_rules(scene, name))
    if scene.owned(seen.master) and isinstance(seen.spec, Other):
        master = Delta(
            link=name, field="master", have=seen.master, want="", change=TABLE["master"], why=scene.why(name)
        )
        return (master, *_routes(scene, name))
    return tuple(_routes(scene, name))


def _name(scene: Scene, want: Link) -> Iterator[Delta]:
    now = scene.renamed.get(want.name)
    if now is not None:
        yield Delta(
            link=want.name, field="name", have=now, want=want.name, change=TABLE["name"], why=scene.why(want.name)
        )


def _neighbours(scene: Scene, want: Link) -> Iterator[Delta]:
    should, is_ = scene.wanted_neighbours(want), scene.neighbours_left(want)
    if should != is_:
        yield Delta(
            link=want.name,
            field="neighbours",
            have=is_,
            want=should,
            change=TABLE["neighbours"],
            why=scene.why(want.name),
        )


def _routes(scene: Scene, name: IfName) -> Iterator[Delta]:
    """Ours that are not as they should be; where the link is one of others, too."""
    want, have = scene.wanted_routes.get(name, frozenset()), scene.seen_routes.get(name, ())
    if (want or have) and (scene.missing_routes(name, have) or scene.stale_routes(name, have)):
        ours = scene.our_routes(name)
        yield Delta(link=name, field="routes", have=ours, want=want, change=TABLE["routes"], why=scene.why(name))
    yield from _rules(scene, name)


def _rules(scene: Scene, name: IfName) -> Iterator[Delta]:
    """A rule stays when its link goes (`fib_rules_event`: it is detached), so those of ours are told apart from it."""
    want, have = scene.wanted_rules.get(name, frozenset()), scene.seen_rules.get(name, frozenset())
    if not want and not have:
        return
    ours = scene.our_rules(name)
    if not want <= have or ours - want:
        yield Delta(link=name, field="rules", have=ours, want=want, change=TABLE["rules"], why=scene.why(name))


def _from_what_carries(
    scene: Scene, names: tuple[IfName, ...], deltas: dict[IfName, tuple[Delta, ...]]
) -> Iterator[Burst]:
    """A bond that took over, and is not wanted so any more, is the bond from here on."""
    promoted = [bond for n in names if (bond := _wanted_bond(scene, n)) and takeover.given_up(scene, bond)]
    for bond in promoted:
        first, scene = takeover.promote(scene, bond)
        yield first
    if promoted:
        deltas = {name: _deltas(scene, name) for name in names}
    yield from _bursts(scene, names, deltas)


def _wanted_bond(scene: Scene, name: IfName) -> Link | None:
    link = scene.wanted(name)
    return link if link is not None and isinstance(link.spec, Bond) else None


def _bursts(scene: Scene, names: tuple[IfName, ...], deltas: dict[IfName, tuple[Delta, ...]]) -> Iterator[Burst]:
    taken_over = [n for n in names if _takes_over(scene, n, deltas[n])]
    refitted = {n for n in names if takeover.needs_empty(deltas[n])} - set(taken_over)
    cleared = refitted | set(taken_over)
    successors = {successor_of(n) for n in taken_over}
    for name in names:
        if not deltas[name] or name in successors:
            continue
        if name in scene.renamed:
            yield from order.name_back(scene, name, scene.renamed[name])
        yield from _routing(scene, name, deltas[name])
        want, seen = scene.wanted(name), scene.seen(name)
        if name in taken_over and want:
            if any(d.field == "mark" for d in deltas[name]):  # it may still say the successor's name
                yield from order.mark(scene, want)
            yield from takeover.take_over(scene, want, taken_over.index(name))
        elif want is None and seen is not None and any(d.field not in ("routes", "rules") for d in deltas[name]):
            yield from _unwanted(scene, seen, cleared)
        elif want is not None and scene.is_port(name):
            yield from _port(scene, want, deltas[name])
        elif want is not None and isinstance(want.spec, Other):
            yield from _nic(scene, want, deltas[name], cleared, taken_over)
        elif want is not None:
            yield from _device(scene, want, deltas[name], refit=name in refitted)
    yield from _mac_again(scene, names, refitted)


def _routing(scene: Scene, name: IfName, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    """A link that is made anew begins without any routes."""
    yield from order.rules(scene, name)
    if any(d.change is Change.RECREATE for d in deltas):
        yield from order.routes(scene, name, have=frozenset())
    elif any(d.field == "routes" for d in deltas) and not _is_released(scene, name, deltas):
        yield from order.routes(scene, name, have=scene.seen_routes.get(name, frozenset()))


def _is_released(scene: Scene, name: IfName, deltas: tuple[Delta, ...]) -> bool:
    """A NIC that leaves its bond is closed by that and loses its routes: they come after it (`order.release_nic`)."""
    want = scene.wanted(name)
    return (
        want is not None
        and isinstance(want.spec, Other)
        and not want.master
        and any(d.field == "master" for d in deltas)
    )


def _takes_over(scene: Scene, name: IfName, deltas: tuple[Delta, ...]) -> bool:
    bond = _wanted_bond(scene, name)
    if bond is None:
        return False
    if takeover.under_way(scene, bond):
        return True
    return takeover.needs_empty(deltas) and takeover.possible(scene, bond)


def _mac_again(scene: Scene, names: tuple[IfName, ...], refitted: set[IfName]) -> Iterator[Burst]:
    """A bond that loses its last slave gets a random MAC (`__bond_release_one`), and its next slave's after that."""
    for name in names:
        bond, slaves = scene.wanted(name), scene.slaves(name)
        if bond and bond.mac and isinstance(bond.spec, Bond) and slaves:
            leave = [n for n in slaves if (want := scene.wanted(n)) and want.master and want.master != name]
            if name in refitted or len(leave) == len(slaves):
                yield from order.pin_mac(scene, bond)


def _unwanted(scene: Scene, seen: Link, cleared: set[IfName]) -> Iterator[Burst]:
    if scene.owned(seen.name):
        yield from order.leave_rival_bridge(scene, seen)
        yield from order.clear_away(scene, seen)
    else:
        yield from order.release_nic(scene, seen.name, free=seen.master in cleared)


def _port(scene: Scene, port: Link, deltas: tuple[Delta, ...]) -> Iterator[Burst]:
    fields = {d.field for d in deltas}
    if "mark" in fields:
        yield from order.mark(scene, port)
    if "master" in fields:
        yield from order.join_as_port(scene, port) if port.master else order.leave_as_port(scene, port)
        return
    yield from order.port_options(scene, port, deltas)
    if "mtu" in fields and (seen := scene.seen(port.name)) and seen.mtu:
        yield from order.mtu(scene, port, seen.mtu)
    if "vlans" in fields:
        yield from order.port_membership(scene, port)
    if "up" in fields:
        yield from order.open_port(scene, port) if port.up else order.take_down(scene, port)


def _nic(
    scene: Scene, nic: Link, deltas: tuple[Delta, ...], cleared: set[IfName], taken_over: list[IfName]
) -> Iterator[Burst]:
    fields, seen = {d.field for d in deltas}, scene.seen(nic.name)
    if "master" in fields and not nic.master:
        yield from order.release_nic(scene, nic.name, free=seen is not None and seen.master in cleared)
    elif nic.master in taken_over or (nic.master in cleared and "master" not in fields):
        return  # the takeover, or the refit, brings it along
    elif "master" in fields:
        rank = scene.wanted_slaves(nic.master or "").index(nic.name)
        # which opens it, and gives it the bond's MTU
        yield from order.attach_nic(scene, nic, rank, refilled=nic.master in cleared)
    else:
        if "addrs" in fields:
            yield from order.addresses(scene, nic, seen)
        if "neighbours" in fields:
            yield from order.neighbours(scene, nic, have=scene.neighbours_left(nic))
        if "mtu" in fields and seen and seen.mtu and not _bond_brings_mtu(scene, nic):
            yield from order.mtu(scene, nic, seen.mtu)
        if "slave_prio" in fields:
            yield from order.slave_prio(scene, nic)
        if "up" in fields:
            yield from order.bring_up(scene, nic) if nic.up else order.take_down(scene, nic)


def _bond_brings_mtu(scene: Scene, nic: Link) -> bool:
    """bond_change_mtu() sets the MTU of every slave: no step for the slaves where the bond's changes."""
    want, seen = scene.wanted(nic.master), scene.seen(nic.master)
    return want is not None and seen is not None and want.mtu is not None and want.mtu != seen.mtu


def _device(scene: Scene, want: Link, deltas: tuple[Delta, ...], *, refit: bool) -> Iterator[Burst]:
    """A bond, bridge, VLAN interface or tunnel device."""
    seen = scene.seen(want.name)
    if seen is not None and any(d.change is Change.RECREATE for d in deltas):
        yield from order.unmake_to_make_again(scene, seen)
        seen = None
    if seen is None:
        yield from _fresh(scene, want)
    else:
        yield from _existing(scene, want, seen, deltas, refit=refit)


def _fresh(scene: Scene, want: Link) -> Iterator[Burst]:
    yield from order.make(scene, want)
    yield from order.settings(scene, want, want.settings)
    yield from order.plain_attributes(scene, want, tuple(_unlike_new(scene, want)))
    early = order.opens_before_its_nics(want)
    if want.master:
        yield from order.join_bridge(scene, want, early=early)
    if isinstance(want.spec, Bridge):
        yield from order.port_vlans(scene, want, have=order.FRESH_PORT, on_self=True)
        yield from order.snooping(scene, want)
    if want.up:
        yield from order.bring_up(scene, want, early=early)
    yield from order.addresses(scene, want, None)
    yield from order.neighbours(scene, want, have=frozenset())
    yield from order.far_ends(scene, want, have=frozenset())
    yield from order.encryption(scene, want)
    yield from order.peers(scene, want, have=frozenset())


def _unlike_new(scene: Scene, want: Link) -> Iterator[Delta]:
    """What a new link is not by itself. A VLAN interface begins with flags of its parent (`vlan_dev_init`), which may
    be put right only later in the plan."""
    if want.promisc:
        yield Delta(link=want.name, field="promisc", have=False, want=True, change=TABLE["promisc"])
    parent = scene.seen(want.parent) if isinstance(want.spec, VlanIf) else None
    if parent is None or parent.flags is None or want.flags is None:
        return
    for name in ("arp", "multicast", "broadcast"):
        field, have, should = f"flags.{name}", getattr(parent.flags, name), getattr(want.flags, name)
        if should is not None and have != should:
            yield Delta(link=want.name, field=field, have=have, want=should, change=TABLE[field])


def _existing(scene: Scene, want: Link, seen: Link, deltas: tuple[Delta, ...], *, refit: bool) -> Iterator[Burst]:
    fields = {d.field for d in deltas}
    if "mark" in fields:
        yield from order.mark(scene, want)
    if refit:
        yield from order.refit_empty(scene, want, deltas)
    elif isinstance(want.spec, Bond):
        yield from order.bond_options(scene, want, deltas)
    yield from order.bridge_options(scene, want, deltas)
    yield from order.plain_attributes(scene, want, deltas)
    yield from order.settings(scene, want, changed_settings(deltas))
    if "mtu" in fields and seen.mtu:
        yield from order.mtu(scene, want, seen.mtu)
    if isinstance(want.spec, VlanIf) and want.spec.flags is not None and "vlan.flags" in fields:
        yield from order.vlan_flags(scene, want, want.spec.flags)
    yield from order.tunnel_options(scene, want, deltas)
    if "master" in fields:
        yield from order.join_bridge(scene, want)
    else:
        yield from order.port_options(scene, want, deltas)
        if "vlans" in fields:
            yield from order.port_vlans(scene, want, have=seen.vlans, on_self=False)
    if "self_vlans" in fields:
        yield from order.port_vlans(scene, want, have=seen.self_vlans, on_self=True)
    if "snooping" in fields:
        yield from order.snooping(scene, want)
    if "up" in fields:
        yield from order.bring_up(scene, want) if want.up else order.take_down(scene, want)
    if "addrs" in fields:
        yield from order.addresses(scene, want, seen)
    if "neighbours" in fields:
        yield from order.neighbours(scene, want, have=scene.neighbours_left(want))
    if "fdb" in fields:
        yield from order.far_ends(scene, want, have=seen.fdb or frozenset())
    if fields & {"wireguard.port", "wireguard.key"}:
        yield from order.encryption(scene, want)
    if "peers" in fields:
        yield from order.peers(scene, want, have=seen.peers or frozenset())


def _sysctls(scene: Scene) -> Unit:
    """Only the ones that the kernel has: a module that is not loaded needs no setting."""
    have = scene.have.state.sysctls
    steps = tuple(
        Step(phase=Phase.PREPARE, link=IfName(""), action=SetSysctl(key, value), why=LAYER_2, impact=Impact.HITLESS)
        for key, value in scene.want.sysctls.items()
        if key in have and have[key] != value
    )
    return Unit(links=(), steps=steps)
