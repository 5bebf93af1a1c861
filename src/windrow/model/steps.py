"""A plan: steps in order, each with its reason and its price.

Steps are absolute ("be X"), so running a plan again after a crash, or making a new one from where
the kernel stands, is the ordinary path and not a special case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from enum import Enum, IntEnum

from windrow.model.bonding import Change
from windrow.model.filters import PortFilter
from windrow.model.host import (
    Bond,
    Bridge,
    BridgePort,
    Details,
    FdbEntry,
    Link,
    LinkFlags,
    Peer,
    PortVlans,
    Route,
    Rule,
    Snooping,
    StaticNeighbour,
)
from windrow.model.lazy import dataclass
from windrow.model.names import cluster_network_of_bridge, vid_of_subinterface
from windrow.model.problems import Problem
from windrow.model.ruletable import RuleTable
from windrow.model.values import Cidr, IfName, Ref, VidSet


class Impact(Enum):
    """What a step costs the traffic that is there now."""

    NONE = "none"
    """Nothing is carried yet, or nothing can notice."""
    HITLESS = "hitless"
    """It changes something that carries traffic, and no frame is lost."""
    FLAP = "flap"
    """Up to a second: a fail-over, a relearn, a swap."""
    OUTAGE = "outage"
    """Traffic stops: until the plan is through, or for longer where the plan does not give back what it takes
    (`Unit.lasting`)."""

    @property
    def rank(self) -> int:
        return list(Impact).index(self)

    @classmethod
    def worst(cls, impacts: Iterable[Impact]) -> Impact:
        return max([cls.NONE, *impacts], key=lambda i: i.rank)


class Phase(IntEnum):
    """The order of a unit. Add before delete wherever the kernel allows it."""

    PREPARE = 0
    """sysctls; making room (releasing a NIC, deleting what must be made anew)."""
    CREATE = 1
    DOWN_OPTIONS = 2
    """Options that need the link down, or empty, or both."""
    ATTACH = 3
    LOWER_MTU = 4
    RAISE_MTU = 5
    OPTIONS = 6
    """Options that may change live."""
    ADD_VLANS = 7
    UP = 8
    """Bottom-up: a VLAN interface on a parent that is down refuses (`vlan_dev_open`: ENETDOWN)."""
    ASK_ADDRESSES = 9
    """All that the unit needs are asked for at the same time."""
    ADD_ADDRESSES = 10
    ADD_ROUTES = 11
    """A gateway has to be on a network of the link (`fib_check_nh`), so its address comes first."""
    DELETE_ROUTES = 12
    DELETE_ADDRESSES = 13
    DELETE_VLANS = 14
    CLEAN = 15
    """Deleting what nobody wants any more."""


@dataclass(frozen=True, slots=True)
class CreateLink:
    """Make `link` with everything the create message carries: spec, MTU, MAC, txqlen, parent, group."""

    link: Link


@dataclass(frozen=True, slots=True)
class DeleteLink:
    pass


@dataclass(frozen=True, slots=True)
class RenameLink:
    to: IfName


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLink:
    """None = leave as it is."""

    up: bool | None = None
    mtu: int | None = None
    mac: str | None = None
    txqlen: int | None = None
    promisc: bool | None = None
    flags: LinkFlags | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMark:
    """Put back what marks a link as Windrow's (`model.marks`): only what is missing."""

    group: int | None = None
    """OWNER_GROUP, or of a port PORT_GROUP."""
    name: bool = False
    stale: tuple[str, ...] = ()
    """The names that its mark says wrongly."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make a link of somebody else's Windrow's, under this name (`model.marks.called`). It keeps the name that it has.
    No frame is touched."""

    name: IfName


@dataclass(frozen=True, slots=True)
class Disown:
    """The inverse: no mark, no name of ours, and the link group that it had. `own`: the kernel's name for it."""

    own: IfName
    group: int = 0


@dataclass(frozen=True, slots=True)
class SetBond:
    """The options that are not None."""

    options: Bond


@dataclass(frozen=True, slots=True)
class SetBridge:
    options: Bridge


@dataclass(frozen=True, slots=True)
class SetMaster:
    """Attach to a bond or bridge; None = leave the one it is in."""

    master: IfName | None


@dataclass(frozen=True, slots=True)
class SetPort:
    """The options that are not None: how a bridge treats a port of it."""

    options: BridgePort


@dataclass(frozen=True, slots=True)
class SetSlave:
    """The priority of a bond's slave."""

    prio: int


@dataclass(frozen=True, slots=True)
class SetVlanFlags:
    """Of a VLAN interface: these are on, and no others."""

    flags: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVxlan:
    """What a tunnel device may change live; None = leave as it is."""

    local: str | None = None
    learning: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWireguard:
    """The port of an encrypted tunnel device, and that it has this host's own key, which is no part of a step."""

    port: int


@dataclass(frozen=True, slots=True)
class PutPeer:
    """In place of what the device knew of that key."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class DropPeer:
    peer: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVlans:
    """Give a port (or, `on_self`, the bridge itself) the VLANs of `add`, take those of `remove`.

    `add.pvid` makes that VID the PVID; one kernel message carries it all.
    """

    add: PortVlans = PortVlans()
    remove: VidSet = VidSet()
    on_self: bool = False


@dataclass(frozen=True, slots=True)
class SetSnooping:
    """Of a bridge that snoops VLAN by VLAN: so it is in these VLANs, and in `others` it neither snoops nor asks. A VLAN
    that the bridge and its ports do not have is not snooped either."""

    snooping: Snooping
    others: VidSet = VidSet()


@dataclass(frozen=True, slots=True)
class AskAddr:
    """Ask on the link whether somebody else has the address. That somebody has it is a failure, EADDRINUSE: then what
    hangs on the address is not done, and all the rest is."""

    addr: Cidr


@dataclass(frozen=True, slots=True)
class AddAddr:
    """`details`: it was on this host before, and is to be as it was; then nobody else can have it (no DAD)."""

    addr: Cidr
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class DelAddr:
    addr: Cidr
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class AddNeighbour:
    """In place of what the link knew of that address."""

    neighbour: StaticNeighbour


@dataclass(frozen=True, slots=True)
class DelNeighbour:
    neighbour: StaticNeighbour


@dataclass(frozen=True, slots=True)
class AddFdb:
    """In place of the far end that the tunnel device had for that MAC address."""

    entry: FdbEntry


@dataclass(frozen=True, slots=True)
class DelFdb:
    entry: FdbEntry


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Beside others of the same destination, if there are any; there already: fine."""

    route: Route


@dataclass(frozen=True, slots=True)
class DelRoute:
    route: Route


@dataclass(frozen=True, slots=True)
class AddRule:
    """There already: fine."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class DelRule:
    rule: Rule


@dataclass(frozen=True, slots=True)
class SetSysctl:
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class SetFilter:
    """Make these parts of the packet filter's rules for the port anew: whatever is there of them goes."""

    filter: PortFilter
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DropFilter:
    """Take away the rules of a port that is gone."""

    filter: PortFilter


@dataclass(frozen=True, slots=True)
class SetPolicies:
    """Make the packet filter's table of network policies this one, in one transaction."""

    table: RuleTable


@dataclass(frozen=True, slots=True)
class AwaitCarrier:
    """Wait until the link has carrier, and LACP has agreed where a partner answers, at most so long; not having it by
    then is a failure. Without LACP wait `settle_ms` more: the switch's port forwards a little after its carrier."""

    timeout_ms: int
    settle_ms: int = 0


Action = (
    CreateLink
    | DeleteLink
    | RenameLink
    | SetLink
    | SetMark
    | Adopt
    | Disown
    | SetBond
    | SetBridge
    | SetMaster
    | SetPort
    | SetSlave
    | SetVlanFlags
    | SetVxlan
    | SetWireguard
    | PutPeer
    | DropPeer
    | SetVlans
    | SetSnooping
    | AskAddr
    | AddAddr
    | DelAddr
    | AddNeighbour
    | DelNeighbour
    | AddFdb
    | DelFdb
    | AddRoute
    | DelRoute
    | AddRule
    | DelRule
    | SetSysctl
    | SetFilter
    | DropFilter
    | SetPolicies
    | AwaitCarrier
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Do `action` to `link` (a name; empty for a sysctl).

    `joined`: send it in one burst with the step before it, so that nothing comes between.
    """

    phase: Phase
    link: IfName
    action: Action
    why: Ref
    impact: Impact
    note: str = ""
    """In words, where the action alone does not say it: "NIC 1 of 2 moves to the new bond"."""
    joined: bool = False

    @property
    def touches(self) -> frozenset[str]:
        """The link itself, and the bond that it joins: it may have its part of the traffic there. A port that joins a
        bridge takes nothing of what the others carry."""
        match self.action:
            case SetMaster(master=master) if master is not None and cluster_network_of_bridge(master) is None:
                return frozenset({self.link, master})
            case _:
                return frozenset({self.link})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """One difference: `field` of `link` is `have`, should be `want`."""

    link: IfName
    field: str
    have: object
    want: object
    change: Change
    why: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The links of one connected component, and what to do to them. A unit fails on its own."""

    links: tuple[IfName, ...]
    deltas: tuple[Delta, ...] = ()
    steps: tuple[Step, ...] = ()
    refusals: tuple[Problem, ...] = ()
    """Why nothing is done to this unit. A unit with refusals has no steps."""

    @property
    def impact(self) -> Impact:
        return Impact.worst(step.impact for step in self.steps)

    def touching(self, links: Collection[str]) -> tuple[Step, ...]:
        """The steps that change one of these links, or have another one join it: of a guard who asks unit by unit
        what is done to the links that carry the management traffic, and what it costs them."""
        return tuple(step for step in self.steps if not step.touches.isdisjoint(links))

    @property
    def lasting(self) -> tuple[Step, ...]:
        """The steps of an outage that does not end with the plan: nothing in it gives back what they take."""
        outages = (step for step in self.steps if step.impact is Impact.OUTAGE)
        found = (step for step in outages if not any(_gives_back(step, other) for other in self.steps))
        return tuple(step for step in found if not self._moves_on(step))

    def _moves_on(self, step: Step) -> bool:
        """A VLAN interface goes, and all addresses that it has are given to other links."""
        gone = next((d.have for d in self.deltas if d.link == step.link and d.want is None), None)
        if not isinstance(step.action, DeleteLink) or not isinstance(gone, Link) or not gone.addrs:
            return False
        given = {other.action.addr for other in self.steps if isinstance(other.action, AddAddr)}
        return gone.addrs <= given


def _gives_back(step: Step, other: Step) -> bool:
    """A NIC may come back, or another one for it; a bond that asks for more NICs may get them; a link may be opened or
    made again. With its addresses a NIC gets what the bond, its other NICs and the bridge carried that go: that was the
    host's own, for a bridge with others' ports stays. What was on a VLAN interface need not be among them."""
    match step.action, other.action:
        case SetMaster(master=None), AddAddr():
            return not _is_windrows(other.link)
        case DeleteLink(), AddAddr():
            return vid_of_subinterface(step.link) is None and not _is_windrows(other.link)
        case SetMaster(), SetMaster(master=master):
            return master is not None
        case SetLink(), SetMaster(master=master):
            return master is not None and step.link == other.link
        case SetLink(), SetLink(up=up):
            return bool(up) and step.link == other.link
        case SetBond(), SetMaster(master=master):
            return master == step.link
        case DeleteLink(), CreateLink():
            return step.link == other.link
        case _:
            return False


def _is_windrows(link: IfName) -> bool:
    return cluster_network_of_bridge(link) is not None or vid_of_subinterface(link) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    units: tuple[Unit, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for unit in self.units for step in unit.steps)

    @property
    def refusals(self) -> tuple[Problem, ...]:
        return tuple(problem for unit in self.units for problem in unit.refusals)

    @property
    def impact(self) -> Impact:
        return Impact.worst(unit.impact for unit in self.units)

    @property
    def lasting(self) -> tuple[Step, ...]:
        return tuple(step for unit in self.units for step in unit.lasting)

    @property
    def empty(self) -> bool:
        return not self.steps and not self.refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A step that the kernel refused: `errno` and the text of its extended ACK."""

    step: Step
    errno: int
    reason: str
    extack: str = ""


def hangs_on(step: Step, failed: Step) -> bool:
    """Whether a step makes no sense after `failed`, which asked for an address that somebody else has: to set that
    address, to take the old ones away for it, and the routes that need it. The same family's, on the same link."""
    if not isinstance(failed.action, AskAddr) or step.link != failed.link:
        return False
    address = failed.action.addr
    match step.action:
        case AskAddr(addr=addr) | AddAddr(addr=addr):
            return addr == address
        case DelAddr(addr=addr):
            return (":" in addr) == (":" in address)
        case AddRoute(route=route) | DelRoute(route=route):
            return route.version == (6 if ":" in address else 4)
        case _:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a plan, by unit: how many steps were done, and the failures, in order. One stops a unit, but for
    addresses that somebody else has (`hangs_on`), and on the way back."""

    done: Mapping[int, int] = field(default_factory=dict)
    failures: Mapping[int, tuple[Failure, ...]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failed(self) -> tuple[Failure, ...]:
        return tuple(failure for _, failures in sorted(self.failures.items()) for failure in failures)
