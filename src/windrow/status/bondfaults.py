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
    """A NIC in a bond. `usable`: the bond may send through it; `active`: it does. `carrier`: it is up, and so is the
    cable; a NIC that has it and is not usable is one that the bond's monitor rejects."""

    name: IfName
    usable: bool
    active: bool
    carrier: bool = False
    speed: int | None = None
    duplex: str | None = None
    in_group: bool = True
    """With LACP: in the aggregator that carries the traffic."""
    losses: int = 0
    """A counter of the kernel's: how often it was lost so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondSeen:
    """A bond at one moment. `wanted`: how many NICs its VlanConfig names; 0: not known. `arp_targets`: whom the ARP
    monitor asks, IPv4 and IPv6; none: the bond goes by carrier. `updelay_ms`: how long it waits with a NIC that is
    back."""

    name: IfName
    about: Ref
    lacp: bool
    slaves: tuple[Slave, ...]
    partner: Mac | None = None
    active: IfName | None = None
    arp_targets: tuple[str, ...] = ()
    updelay_ms: int = 0
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
    targets, updelay_ms = _monitor(spec) if isinstance(spec, Bond) else ((), 0)
    aggregator = run.aggregator if run and lacp else None
    return BondSeen(
        name=link.name,
        about=Ref(ClusterNetwork.KIND, network_of(link.name)),
        lacp=lacp,
        slaves=tuple(_slave(observed, name, aggregator, bool(targets)) for name in sorted(slaves)),
        partner=run.partner_mac if run and lacp else None,
        active=run.active_slave if run else None,
        arp_targets=targets,
        updelay_ms=updelay_ms,
        wanted=wanted,
        changing=names.successor_of(link.name) in observed.state.links,
    )


def _monitor(spec: Bond) -> tuple[tuple[str, ...], int]:
    """Whom the ARP monitor asks, and `updelay`, which only the other one knows."""
    if spec.arp_interval:
        return (*(spec.arp_ip_target or ()), *(spec.ns_ip6_target or ())), 0
    return (), spec.updelay or 0


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
    carrier = bool(link.up) and run.carrier
    usable = carrier and run.slave_mii_up is not False
    return Slave(
        name=name,
        usable=usable,
        active=usable and run.slave_active is not False,
        carrier=carrier,
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
        return (_cut_off(seen),)
    found = [*_lacp(seen, usable), *_down(seen, usable), *_speeds(seen, usable)]
    return tuple(sorted(found, key=lambda f: REASONS.index(f.reason)))


def _cut_off(seen: BondSeen) -> Fault:
    text = f"{seen.name} has no NIC with carrier: the network is cut off from outside"
    hint = "look at the cables and the switch ports"
    if any(s.carrier for s in seen.slaves):
        text = f"{seen.name}: {_why_not(seen, seen.slaves)}: the network is cut off from outside"
        hint = _hint(seen, seen.slaves)
    return Fault(reason=CUT_OFF, message=text, hint=hint, nics=_names(seen.slaves))


def _why_not(seen: BondSeen, down: Sequence[Slave]) -> str:
    """Why the bond does not use these NICs: no carrier is the cable's fault, silence is not."""
    dark, lit = [s for s in down if not s.carrier], [s for s in down if s.carrier]
    words = [f"{_list(dark)} without carrier"] if dark else []
    if lit and seen.arp_targets:
        targets, on = ", ".join(seen.arp_targets), "it" if len(lit) == 1 else "them"
        who = f"the ARP target {targets} does" if len(seen.arp_targets) == 1 else f"the ARP targets {targets} do"
        words.append(f"{_list(lit)} {_has(lit)} carrier, but {who} not answer on {on}")
    elif lit and seen.updelay_ms:
        words.append(f"{_list(lit)} {_has(lit)} carrier, and {_is(lit)} used when it has lasted {seen.updelay_ms} ms")
    elif lit:
        words.append(
            f"{_list(lit)} {_has(lit)} carrier, but the bond takes {'it' if len(lit) == 1 else 'them'} for down"
        )
    return "; ".join(words)


def _hint(seen: BondSeen, down: Sequence[Slave]) -> str:
    dark, lit = [s for s in down if not s.carrier], [s for s in down if s.carrier]
    hints = []
    if dark:
        hints.append(f"look at the cable{'s' if len(dark) > 1 else ''} and the switch port of {_list(dark)}")
    if lit and seen.arp_targets:
        ports = (
            f"the switch ports of {_list(lit)} carry" if len(lit) > 1 else f"the switch port of {_list(lit)} carries"
        )
        hints.append(f"see whether {ports} the VLAN of the ARP target, and whether it answers others")
    elif lit and seen.updelay_ms:
        hints.append("wait for upDelay")
    elif lit:
        hints.append(f"see: cat /proc/net/bonding/{seen.name}")
    return "; ".join(hints)


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
        text = f"{seen.name}: {_why_not(seen, down)}; "
        text += f"{rest} alone carries the traffic" if len(usable) == 1 else f"{rest} carry the traffic"
        reason = ONE_LEG if len(usable) == 1 else SLAVE_DOWN
        yield Fault(reason=reason, message=text, hint=_hint(seen, down), nics=_names(down))
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


def _has(slaves: Sequence[Slave]) -> str:
    return "has" if len(slaves) == 1 else "have"
