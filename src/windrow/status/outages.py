"""How long traffic stops while a plan is carried out: a price for each kind of step, and where the price comes from.

The numbers are limits to expect, not averages: what a plan announces as `flap` cost 0 to 26 ms in the laboratory
(docs/user/hitless.md), where cables are virtual. What a real NIC adds is in the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.host import Bond
from windrow.model.lazy import dataclass
from windrow.model.names import successor_of
from windrow.model.steps import (
    AddAddr,
    AddRoute,
    CreateLink,
    DelAddr,
    DeleteLink,
    DelRoute,
    Impact,
    SetBond,
    SetBridge,
    SetLink,
    SetMaster,
    SetPolicies,
    SetVlans,
    Step,
    Unit,
)
from windrow.model.values import IfName


@dataclass(frozen=True, slots=True)
class Price:
    """Seconds without traffic, from `low` to `high`; `why` in words. `source`: who says so."""

    name: str
    low: float
    high: float
    why: str
    source: str


FAIL_OVER = Price(
    "fail-over",
    0,
    0.2,
    "another NIC takes over",
    "bond_release() chooses at once, and who is behind it is announced (apps.herald); lab: 0 of 1,505 frames lost",
)
PRICES: Mapping[str, Price] = {
    price.name: price
    for price in (
        FAIL_OVER,
        Price("other NIC", 0, 0.2, "another NIC takes over", "bond_option_primary_set() chooses at once"),
        Price("swap", 0, 0.1, "the new bond takes over", "lab: 14 µs for each VLAN, 26 ms with 1,001"),
        Price(
            "swap to LACP", 0, 3, "the new bond takes over; LACP agrees anew",
            "lab: 0 where the switch's ports follow one by one, 2.8 s where both are in the group from the start",
        ),
        Price("restart", 0, 1.2, "its bond is down for a moment", "linkwatch runs once a second (LW_NEXT)"),
        Price(
            "one NIC", 0, 5, "its only NIC leaves the bond and comes back",
            "lab: 62 ms to 1.2 s; a real NIC has its carrier again after up to 3 s (IEEE 802.3 §28, autonegotiation)",
        ),
        Price(
            "hand-over", 0, 5, "it joins a bond, and its addresses move to the bridge",
            "lab: 0.11 s; a real NIC as above",
        ),
        Price("hand-back", 0, 5, "its addresses move back to its NIC", "lab: as hand-over, the other way round"),
        Price("exchange", 0, 5, "its only NIC is exchanged", "as one NIC"),
        Price(
            "one NIC, LACP", 2, 15, "its only NIC leaves the bond and comes back, and LACP agrees",
            "as one NIC, and AD_AGGREGATE_WAIT_TIME 2 s, AD_AGGREGATOR_SELECTION_TIMER 8 s",
        ),
        Price(
            "joins", 0, 1.2, "a NIC that joins has its part of the traffic at once",
            "a switch's port forwards a little after its carrier is there: a Linux bridge up to 1 s (LW_NEXT)",
        ),
        Price(
            "LACP anew", 0, 5, "LACP agrees anew",
            "AD_AGGREGATE_WAIT_TIME 2 s, once the switch has answered (IEEE 802.1AX §6.4.4)",
        ),
        Price(
            "ARP", 0, 3, "its NICs count as up only once the ARP targets have answered",
            "bond_loadbalance_arp_mon(): missed_max intervals",
        ),
        Price("MTU", 0, 3, "a driver may start its NIC anew for another MTU", "lab: no frame lost; up to the driver"),
        Price(
            "MAC", 0, 1, "others learn its new MAC address",
            "announced at once and four times more within 0.8 s (apps.herald); lab: a neighbour knew it after 10 ms",
        ),
        Price("made anew", 0, 0.5, "it is made anew", "two bursts of netlink messages"),
        Price("VLANs", 0, 0.1, "frames without a tag change their VLAN", "one netlink message"),
        Price("another way", 0, 1, "what goes there may go another way from now on", "one netlink message"),
        Price("bridge", 0, 0.1, "the bridge changes its filter", "one netlink message"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What one step costs: a price, or (`price` None) traffic that does not come back until `until`."""

    step: Step
    price: Price | None
    until: str = ""
    why: str = ""


def costs(unit: Unit, modes: Mapping[str, BondMode] = MappingProxyType({})) -> tuple[Cost, ...]:
    """Of the steps that anybody notices, in their order. What an address costs is told with the address. `modes`: of
    the bonds that are there."""
    lasting = set(map(id, unit.lasting))
    noticed = (
        s for s in unit.steps if s.impact.rank >= Impact.FLAP.rank and not isinstance(s.action, DelAddr | DelRoute)
    )
    return tuple(_for_good(s) if id(s) in lasting else Cost(step=s, price=_price(s, unit, modes)) for s in noticed)


def added_up(found: Iterable[Cost]) -> tuple[float, float]:
    """Seconds of one network, (least, most): a cause counts once, but each fail-over for itself."""
    prices = {(c.price, c.step.link if c.price is FAIL_OVER else "") for c in found if c.price is not None}
    return sum(price.low for price, _ in prices), round(sum(price.high for price, _ in prices), 3)


def reasons(found: Sequence[Cost]) -> tuple[str, ...]:
    """In words. Where links are deleted nothing else need be said."""
    deleted = [c.step.link for c in found if c.price is None and isinstance(c.step.action, DeleteLink)]
    if deleted:
        return (f"{', '.join(deleted)} {'is' if len(deleted) == 1 else 'are'} deleted",)
    return tuple(dict.fromkeys(c.price.why if c.price else c.why for c in found))


def _for_good(step: Step) -> Cost:
    match step.action:
        case SetVlans(remove=remove):
            until = f"VLAN {remove} is back, or they are started anew in another one"
            return Cost(step=step, price=None, until=until, why=f"VLAN {remove} goes from {step.link}")
        case DeleteLink():
            return Cost(step=step, price=None, until="it is wanted again", why=f"{step.link} is deleted")
        case SetMaster():
            return Cost(step=step, price=None, until="it has a NIC again", why=step.note or "its last NIC leaves")
        case SetBond():
            return Cost(step=step, price=None, until="LACP agrees on more of its NICs", why=step.note)
        case SetPolicies():
            return Cost(step=step, price=None, until="a policy lets it through", why=step.note)
        case _:
            return Cost(step=step, price=None, until="it is up again", why=f"{step.link} is taken down")


def _price(step: Step, unit: Unit, modes: Mapping[str, BondMode]) -> Price:
    match step.action:
        case SetMaster(master=None) | DeleteLink() if _given_back(unit):
            return PRICES["hand-back"]
        case SetMaster(master=None) if step.impact is Impact.OUTAGE and not _comes_back(step, unit):
            return PRICES["exchange"]
        case SetMaster() | SetLink(up=False) if step.impact is Impact.OUTAGE:
            return PRICES["one NIC, LACP" if _to_lacp(unit) else "one NIC"]
        case SetMaster() | SetLink(up=False) if _hands_over(step, unit):
            return PRICES["hand-over"]
        case SetMaster(master=master) if master is not None and _is_bond(master):
            return PRICES["LACP anew" if modes.get(master) is BondMode.LACP else "joins"]
        case SetLink(up=False) if _is_bond(step.link):
            return PRICES["restart"]
        case SetLink(mtu=mtu) if mtu is not None:
            return PRICES["MTU"]
        case SetLink(mac=mac) if mac is not None:
            return PRICES["MAC"]
        case SetVlans(remove=remove, add=add) if (
            remove and not add.all and _is_bond(step.link) and _takes_over(step, unit)
        ):
            return PRICES["swap to LACP" if _to_lacp(unit) else "swap"]
        case SetVlans():
            return PRICES["VLANs"]
        case SetBond(options=options):
            return PRICES[_of_options(options)]
        case SetBridge():
            return PRICES["bridge"]
        case DeleteLink():
            return PRICES["made anew"]
        case AddAddr() | AddRoute():
            return PRICES["another way"]
        case _:
            return FAIL_OVER


def _of_options(options: Bond) -> str:
    """The dearest of a live change; what costs nothing has no price here."""
    if options.min_links or options.ad_actor_system is not None or options.ad_actor_sys_prio is not None:
        return "LACP anew"
    arp = (options.arp_interval, options.arp_ip_target, options.ns_ip6_target)
    asked = any(arp) or options.arp_validate is not None or options.arp_all_targets is not None
    return "ARP" if asked else "other NIC"


def _hands_over(step: Step, unit: Unit) -> bool:
    """A NIC of the management network to be: what the host is reached at goes to the bridge."""
    return any(isinstance(s.action, DelAddr) and s.link == step.link for s in unit.steps) and not _is_bond(step.link)


def _given_back(unit: Unit) -> bool:
    """A NIC leaves its bond, and gets addresses."""
    left = {s.link for s in unit.steps if isinstance(s.action, SetMaster) and s.action.master is None}
    return any(isinstance(s.action, AddAddr) and s.link in left for s in unit.steps)


def _is_bond(link: str) -> bool:
    return link.endswith(("-bo", "-bn"))


def _takes_over(step: Step, unit: Unit) -> bool:
    return successor_of(step.link) in {later.link for later in unit.steps}


def _comes_back(step: Step, unit: Unit) -> bool:
    return any(s.link == step.link and isinstance(s.action, SetMaster) and s.action.master for s in unit.steps)


def _to_lacp(unit: Unit) -> bool:
    """A bond begins to speak LACP, or is made anew to."""
    for step in unit.steps:
        match step.action:
            case SetBond(options=Bond(mode=BondMode.LACP)):
                return True
            case CreateLink(link=link) if isinstance(link.spec, Bond) and link.spec.mode is BondMode.LACP:
                return True
            case _:
                continue
    return False


def concerns(cost: Cost) -> IfName:
    """The link whose traffic pays for it: where a NIC joins a bond that carries traffic, the bond."""
    match cost.step.action:
        case SetMaster(master=master) if master and cost.price in (PRICES["joins"], PRICES["LACP anew"]):
            return master
        case _:
            return cost.step.link


def bridge_of_link(link: str, masters: Mapping[str, str]) -> str:
    """The bridge whose traffic the link carries: up through bonds; of a VLAN interface its parent. `masters`: seen."""
    if (found := names.vid_of_subinterface(link)) is not None:
        return found[0]
    seen: set[str] = set()
    while link and not link.endswith("-br") and link not in seen:
        seen.add(link)
        link = masters.get(link, "") or (f"{link[:-3]}-br" if _is_bond(link) else "")
    return link
