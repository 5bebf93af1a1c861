"""What a change of a bond, or of a port's VLANs, costs the traffic that is there: an impact, and why, in words.

It depends on the bond's mode. A standby NIC of an active-backup bond may come and go, and nobody notices. In a mode
that shares the traffic out, a NIC has its part of it from the moment that it joins, wherever its cable leads; so a NIC
that joins there is never hitless.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from windrow.model.bonding import BondMode
from windrow.model.host import Bond, Link, LinkSpec, PortVlans, VlanIf
from windrow.model.ports import users
from windrow.model.steps import Delta, Impact
from windrow.model.values import IfName, VidSet
from windrow.plan.scene import Scene

Cost = tuple[Impact, str]
"""The note is empty where the step says it all."""

JOINING: Mapping[BondMode, str] = MappingProxyType(
    {
        BondMode.BALANCE_RR: "it sends and gets its part of the frames at once, wherever its cable leads",
        BondMode.BALANCE_XOR: "it sends and gets its part of the frames at once, wherever its cable leads",
        BondMode.BROADCAST: "every frame goes out of it too at once, wherever its cable leads",
        BondMode.BALANCE_TLB: "it sends its part of the frames at once, wherever its cable leads",
        BondMode.BALANCE_ALB: "it sends and gets its part of the frames at once, wherever its cable leads",
    }
)
"""`bond_xmit_*` use every slave that is up, as soon as it is (`bond_set_slave_link_state`); nothing asks its peer."""


def joining(scene: Scene, bond: IfName) -> Cost:
    """A NIC joins the bond, as it is now."""
    spec = _spec(scene, bond)
    if not scene.carrying(bond):
        return Impact.NONE, ""
    if cost := sharing(spec):
        return cost
    if spec.mode is BondMode.LACP:
        return _joining_lacp(scene, bond, spec)
    return Impact.HITLESS, ""  # a standby NIC; where it is the primary, the option says so (`_primary`)


def sharing(spec: LinkSpec) -> Cost | None:
    """A NIC joins a bond of these options that carries traffic, in a mode where it has its part of it at once."""
    why = JOINING.get(spec.mode) if isinstance(spec, Bond) and spec.mode else None
    return (Impact.FLAP, why) if why else None


def _joining_lacp(scene: Scene, bond: IfName, spec: Bond) -> Cost:
    """`ad_agg_selection_logic`: an aggregator whose partner answers wins over one without; the others change only for
    a better one, where ad_select asks for that. A port passes no frame before its partner agrees."""
    runtime = scene.runtime(bond)
    if runtime is None or runtime.partner_mac is None:
        return Impact.FLAP, "no partner answers on the others: the first one that does takes all the traffic"
    if spec.ad_select in ("bandwidth", "count"):
        return Impact.FLAP, f"ad_select {spec.ad_select}: its group may take over from the one that carries"
    return Impact.HITLESS, ""


def leaving(scene: Scene, nic: IfName) -> Cost:
    """A NIC leaves its bond."""
    link, runtime = scene.seen(nic), scene.runtime(nic)
    bond = scene.seen(link.master) if link else None
    if runtime is None or bond is None or not scene.carrying(nic) or not scene.carrying(bond.name):
        return Impact.NONE, ""
    staying = [n for n in scene.slaves(bond.name) if n != nic and scene.carrying(n) and _stays(scene, n, bond.name)]
    if not staying:
        return Impact.OUTAGE, ""
    least = _min_links_when_leaving(scene, nic, bond)
    if len(_agreed(scene, bond.name, staying)) < least:
        return Impact.OUTAGE, f"min_links {least}: with fewer NICs the bond has no carrier"
    return (Impact.HITLESS if runtime.slave_active is False else Impact.FLAP), ""


def _stays(scene: Scene, nic: IfName, bond: IfName) -> bool:
    link = scene.wanted(nic)
    return link is not None and link.master == bond


def _min_links_when_leaving(scene: Scene, nic: IfName, bond: Link) -> int:
    """A NIC that goes to another bond goes before options change, one that is let go after that (`steps.Phase`)."""
    want, wanted_bond = scene.wanted(nic), scene.wanted(bond.name)
    moves = want is not None and bool(want.master)
    spec = bond.spec if moves or wanted_bond is None else wanted_bond.spec
    return (spec.min_links or 0) if isinstance(spec, Bond) and spec.mode is BondMode.LACP else 0


# -- options that change live ----------------------------------------------------------------------


def live_options(scene: Scene, bond: Link, deltas: tuple[Delta, ...]) -> Cost:
    """The worst of them, and why; those that are not named here are not noticed."""
    found = [cost for d in deltas if d.field in _LIVE and (cost := _LIVE[d.field](scene, bond, d))[1]]
    worst = Impact.worst([Impact.HITLESS, *(impact for impact, _ in found)])
    notes = dict.fromkeys(note for impact, note in found if impact is worst)
    return scene.when_carrying(bond.name, worst), "; ".join(notes)


def _primary(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """`bond_option_primary_set` sets force_primary, and chooses."""
    runtime = scene.runtime(bond.name)
    if delta.want and runtime is not None and runtime.active_slave != delta.want:
        return Impact.FLAP, f"{delta.want} takes over"
    return Impact.HITLESS, ""


def _reselect(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """`bond_option_primary_reselect_set` chooses anew (`bond_choose_primary_or_current`)."""
    primary, runtime = _spec(scene, bond.name).primary, scene.runtime(bond.name)
    if delta.want == "failure" or not primary or runtime is None or runtime.active_slave == primary:
        return Impact.HITLESS, ""
    return Impact.FLAP, f"the primary {primary} takes over"


def _min_links(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """`bond_option_min_links_set` calls bond_set_carrier() at once."""
    staying = [n for n in scene.slaves(bond.name) if scene.carrying(n) and _stays(scene, n, bond.name)]
    agreed = len(_agreed(scene, bond.name, staying))
    if not isinstance(delta.want, int) or agreed >= delta.want:
        return Impact.HITLESS, ""
    return (
        Impact.OUTAGE,
        f"it asks for {delta.want} NICs on which LACP agrees, and has {agreed}: the bond loses its carrier",
    )


def _agreed(scene: Scene, bond: str, nics: list[IfName]) -> list[IfName]:
    """Those in the active aggregator (`__agg_active_ports`)."""
    active = runtime.aggregator if (runtime := scene.runtime(bond)) else None
    states = {n: r.lacp for n in nics if (r := scene.runtime(n))}
    return [n for n in nics if (state := states.get(n)) is None or active is None or state.aggregator == active]


def _arp_targets(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """A target that stays vouches for the NICs, unless all have to answer."""
    had, wanted = (set(v) if isinstance(v, tuple) else set() for v in (delta.have, delta.want))
    one_is_enough = _spec(scene, bond.name).arp_all_targets != "all"
    vouched = wanted <= had or (one_is_enough and had & wanted)
    return (Impact.HITLESS, "") if vouched else _arp(scene, bond, delta)


def _arp_interval(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """Another interval asks the same; a first one begins to ask."""
    return _arp(scene, bond, delta) if delta.want and not delta.have else (Impact.HITLESS, "")


def _arp_stricter(scene: Scene, bond: Link, delta: Delta) -> Cost:
    return _arp(scene, bond, delta) if delta.want not in ("none", "any") else (Impact.HITLESS, "")


def _arp(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """`bond_ab_arp_inspect`, `bond_loadbalance_arp_mon`."""
    spec = _spec(scene, bond.name)
    targets = [*(spec.arp_ip_target or ()), *(spec.ns_ip6_target or ())]
    answer = "answers" if len(targets) == 1 else "answer"
    who = ", ".join(targets) or "its ARP targets"
    return Impact.FLAP, f"from now on its NICs count as up only while {who} {answer}"


def _lacp_system(scene: Scene, bond: Link, delta: Delta) -> Cost:
    """`bond_3ad_update_ad_actor_settings`: the ports tell it, and the partner begins anew (IEEE 802.1AX §6.4.9)."""
    del scene, bond, delta
    return Impact.FLAP, "it is another LACP system for its partner, and LACP agrees anew"


_LIVE = {
    "bond.primary": _primary,
    "bond.primary_reselect": _reselect,
    "bond.min_links": _min_links,
    "bond.arp_interval": _arp_interval,
    "bond.arp_ip_target": _arp_targets,
    "bond.ns_ip6_target": _arp_targets,
    "bond.arp_validate": _arp_stricter,
    "bond.arp_all_targets": _arp_stricter,
    "bond.ad_actor_system": _lacp_system,
    "bond.ad_actor_sys_prio": _lacp_system,
}


def _spec(scene: Scene, bond: IfName) -> Bond:
    """As it will be: the mode and the options come before the NICs do."""
    link = scene.wanted(bond)
    if link is None or not isinstance(link.spec, Bond) or link.spec.mode is None:
        link = scene.seen(bond)
    return link.spec if link is not None and isinstance(link.spec, Bond) else Bond()


# -- VLANs -----------------------------------------------------------------------------------------


def adding_vlans(have: PortVlans | None, add: PortVlans) -> Cost:
    """New VIDs concern nobody; another PVID, or another flag of a VID that is there, all who use it."""
    had = have or PortVlans()
    if add.pvid is not None and have is not None and had.pvid != add.pvid:
        return Impact.FLAP, ""
    flipped = (had.tagged & add.untagged) | (had.untagged & add.tagged)
    if flipped:
        return Impact.FLAP, f"frames of VLAN {flipped} change their tag"
    return Impact.HITLESS, ""


def losing_vlans(scene: Scene, link: Link, remove: VidSet, *, on_self: bool) -> Cost:
    """Containers and machines by their records; the host itself by the VLAN interfaces that stay on the bridge."""
    bridge = link.name if on_self else (seen.master if (seen := scene.seen(link.name)) else None)
    found = [] if on_self else scene.users_of(link.name, remove)
    own = sorted(n for n in scene.standing_on(bridge or "") if _uses(scene, n, remove))
    used = [*([users(found)] if found else []), *(f"{name} of this host" for name in own)]
    return (Impact.OUTAGE, f"in use: {', '.join(used)}") if used else (Impact.HITLESS, "")


def _uses(scene: Scene, name: IfName, vids: VidSet) -> bool:
    link = scene.seen(name)
    stays = scene.wanted(name) is not None or not scene.owned(name)
    return stays and link is not None and isinstance(link.spec, VlanIf) and link.spec.vid in vids
