"""What one look at a bond shows to be wrong with it, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster, selects_node
from windrow.model.host import Bond, Link, Observed
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, VlanConfig
from windrow.model.values import IfName, Mac, Ref

CUT_OFF, NO_SLAVES, NO_PARTNER, OTHER_AGGREGATOR = "CutOff", "NoSlaves", "NoLacpPartner", "OtherAggregator"
ONE_LEG, SLAVE_DOWN, SLAVE_MISSING = "OneLeg", "SlaveDown", "SlaveMissing"
FLAPPING, SPEEDS, HALF_DUPLEX = "Flapping", "SpeedsDiffer", "HalfDuplex"
REASONS = (
    CUT_OFF, NO_SLAVES, NO_PARTNER, OTHER_AGGREGATOR, ONE_LEG, SLAVE_DOWN, SLAVE_MISSING, FLAPPING, SPEEDS, HALF_DUPLEX
)  # fmt: skip
"""Worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slave:
    """A NIC in a bond. `usable`: the bond may send through it; `active`: it does."""

    name: IfName
    usable: bool
    active: bool
    speed: int | None = None
    duplex: str | None = None
    in_group: bool = True
    """With LACP: in the aggregator that carries the traffic."""
    losses: int = 0
    """A counter of the kernel's: how often it was lost so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondSeen:
    """A bond at one moment. `wanted`: how many NICs its VlanConfig names; 0: not known."""

    name: IfName
    about: Ref
    lacp: bool
    slaves: tuple[Slave, ...]
    partner: Mac | None = None
    active: IfName | None = None
    wanted: int = 0
    changing: bool = False
    """Its successor takes over just now: what is missing there is here for a moment only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`nics`: those it is about."""

    reason: str
    message: str
    hint: str
    nics: tuple[str, ...] = ()


def bonds(observed: Observed, wanted: Mapping[str, int] | None = None) -> tuple[BondSeen, ...]:
    """The uplinks of cluster networks: those that Windrow made, and `mgmt-bo` whoever did."""
    slaves: dict[str, list[IfName]] = {}
    for name, link in observed.state.links.items():
        if link.master:
            slaves.setdefault(link.master, []).append(name)
    return tuple(
        _bond(observed, link, slaves.get(name, ()), (wanted or {}).get(name, 0))
        for name, link in sorted(observed.state.links.items())
        if network_of(name) and isinstance(link.spec, Bond) and (observed.owned(name) or name in names.MGMT_DEVICES)
    )


def _bond(observed: Observed, link: Link, slaves: Sequence[IfName], wanted: int) -> BondSeen:
    run, spec = observed.runtime.get(link.name), link.spec
    lacp = isinstance(spec, Bond) and spec.mode is BondMode.LACP
    by_arp = isinstance(spec, Bond) and bool(spec.arp_interval)
    aggregator = run.aggregator if run and lacp else None
    return BondSeen(
        name=link.name,
        about=Ref(ClusterNetwork.KIND, network_of(link.name)),
        lacp=lacp,
        slaves=tuple(_slave(observed, name, aggregator, by_arp) for name in sorted(slaves)),
        partner=run.partner_mac if run and lacp else None,
        active=run.active_slave if run else None,
        wanted=wanted,
        changing=names.successor_of(link.name) in observed.state.links,
    )


def wanted_nics(cluster: Cluster, node: str) -> dict[str, int]:
    """Per bond, how many NICs the VlanConfig of this node names: one that is not there is missed, too."""
    here = cluster.node(node)
    configs = (c for c in cluster.all(VlanConfig) if c.effective and selects_node(c, here))
    return {names.bond_of(c.cluster_network): len(c.uplink.nics) for c in configs}


def network_of(bond: str) -> str:
    """`oob-bo` -> `oob`; the bond of a takeover, `oob-bn`, is there for a moment only."""
    return bond.removesuffix("-bo") if bond.endswith("-bo") else ""


def _slave(observed: Observed, name: IfName, aggregator: int | None, by_arp: bool) -> Slave:
    link, run = observed.state.links[name], observed.runtime.get(name)
    if run is None:
        return Slave(name=name, usable=False, active=False)
    # With the ARP monitor a slave fails while its carrier stays.
    losses = run.link_failures if by_arp or run.carrier_downs is None else run.carrier_downs
    usable = bool(link.up) and run.carrier and run.slave_mii_up is not False
    return Slave(
        name=name,
        usable=usable,
        active=usable and run.slave_active is not False,
        speed=run.speed,
        duplex=run.duplex,
        in_group=run.lacp is None or aggregator is None or run.lacp.aggregator == aggregator,
        losses=losses or 0,
    )


def faults(seen: BondSeen) -> tuple[Fault, ...]:
    """What is wrong with it at this moment, worst first."""
    if not seen.slaves:
        return (Fault(reason=NO_SLAVES, message=f"{seen.name} has no NIC", hint="see: ip link; windrow describe vc"),)
    usable = [s for s in seen.slaves if s.usable]
    if not usable:
        text = f"{seen.name} has no NIC with carrier: the network is cut off from outside"
        return (
            Fault(
                reason=CUT_OFF, message=text, hint="look at the cables and the switch ports", nics=_names(seen.slaves)
            ),
        )
    found = [*_lacp(seen, usable), *_down(seen, usable), *_speeds(seen, usable)]
    return tuple(sorted(found, key=lambda f: REASONS.index(f.reason)))


def _lacp(seen: BondSeen, usable: Sequence[Slave]) -> Iterator[Fault]:
    hint = "set up link aggregation (LACP) on these switch ports, all in one group"
    apart = [s for s in usable if not s.in_group]
    if seen.lacp and seen.partner is None:
        text = f"{seen.name} has no LACP partner: one NIC carries all the traffic"
        yield Fault(reason=NO_PARTNER, message=text, hint=hint, nics=_names(usable))
    elif seen.lacp and apart:
        text = f"{seen.name}: {_list(apart)} {_is(apart)} in another LACP group than the rest, and carries nothing"
        yield Fault(reason=OTHER_AGGREGATOR, message=text, hint=hint, nics=_names(apart))


def _down(seen: BondSeen, usable: Sequence[Slave]) -> Iterator[Fault]:
    down = [s for s in seen.slaves if not s.usable]
    missing = max(0, seen.wanted - len(seen.slaves))
    if down:
        rest = _list(usable)
        text = f"{seen.name}: {_list(down)} without carrier; "
        text += f"{rest} alone carries the traffic" if len(usable) == 1 else f"{rest} carry the traffic"
        reason = ONE_LEG if len(usable) == 1 else SLAVE_DOWN
        hint = f"look at the cable{'s' if len(down) > 1 else ''} and the switch port of {_list(down)}"
        yield Fault(reason=reason, message=text, hint=hint, nics=_names(down))
    if missing:
        text = f"{seen.name} has {len(seen.slaves)} of the {seen.wanted} NICs that it should have"
        yield Fault(reason=SLAVE_MISSING, message=text, hint="see: windrow describe vc")


def _speeds(seen: BondSeen, usable: Sequence[Slave]) -> Iterator[Fault]:
    known = {s.name: s.speed for s in usable if s.speed}
    if len(set(known.values())) > 1:
        text = ", ".join(f"{name} {speed_words(speed)}" for name, speed in known.items())
        hint = "look at the cables, the transceivers and the settings of the switch ports"
        yield Fault(
            reason=SPEEDS, message=f"{seen.name} has NICs of different speeds: {text}", hint=hint, nics=tuple(known)
        )
    half = [s for s in usable if s.duplex == "half"]
    if half:
        text = f"{seen.name}: {_list(half)} {_is(half)} in half duplex"
        yield Fault(reason=HALF_DUPLEX, message=text, hint="let both ends negotiate", nics=_names(half))


def speed_words(mbits: int) -> str:
    """`10 Gbit/s`, `2.5 Gbit/s`, `100 Mbit/s`."""
    return f"{mbits / 1000:g} Gbit/s" if mbits >= 1000 else f"{mbits} Mbit/s"


def _names(slaves: Iterable[Slave]) -> tuple[str, ...]:
    return tuple(s.name for s in slaves)


def _list(slaves: Iterable[Slave]) -> str:
    return ", ".join(s.name for s in slaves)


def _is(slaves: Sequence[Slave]) -> str:
    return "is" if len(slaves) == 1 else "are"
