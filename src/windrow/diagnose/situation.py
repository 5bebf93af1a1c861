"""Intent and evidence side by side: what each NIC is wanted for, and what is known of the port it is plugged into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from windrow.diagnose.probes import Pair, Probes
from windrow.model.evidence import Evidence, Leg, NicEvidence, SwitchPort, switches_among
from windrow.model.findings import Certainty, Finding, Fix, PortFix, Reason
from windrow.model.values import Ref, VidSet
from windrow.switches.cabling import port_name
from windrow.switches.wanted import Needs, Wanted

UNTAGGED = 0
CHANCE = 0.001
"""What has to be expected more often than this once in a sweep is no sign of anything."""

CONFIGURED = frozenset(
    {
        Reason.VLAN_MISSING,
        Reason.NOTHING_PASSES,
        Reason.VLAN_NOT_CREATED,
        Reason.ACCESS_PORT,
        Reason.NATIVE_VLAN_WRONG,
        Reason.VLAN_TRANSLATED,
        Reason.LACP_MISSING,
        Reason.LACP_PASSIVE,
        Reason.LACP_MEMBER_MISSING,
        Reason.LACP_TWO_CHANNELS,
        Reason.LACP_INDIVIDUAL,
        Reason.LACP_ONE_SIDED,
        Reason.CHANNEL_MISSING,
        Reason.CHANNEL_NOT_NEEDED,
        Reason.MTU_TOO_SMALL,
    }
)
"""What the ports of the NICs are told puts it right; the rest is cables, other ports, servers."""


class Situation:
    """Built once for a diagnosis; the indexes are made when somebody asks for them."""

    def __init__(self, needs: Needs, evidence: Evidence) -> None:
        self.needs = needs
        self.evidence = evidence
        self.wanted = {leg: wanted for wanted in needs.wanted for leg in wanted.legs}
        self.networks = tuple(dict.fromkeys(wanted.cluster_network for wanted in needs.wanted))
        self.network_of = _network_of(needs, evidence)

    # Probes ---------------------------------------------------------------------------------------

    @cached_property
    def probes(self) -> Probes:
        return Probes.of(self.evidence, self.network_of)

    @cached_property
    def passed(self) -> dict[Pair, int]:
        """In which VLANs probes came as they were sent, as a bitmap; also from leg to leg of one node."""
        return {pair: tally.bits for pair, tally in self.probes.tallies.items() if tally.bits}

    def probed(self, leg: Leg) -> VidSet:
        """In which VLANs it sent."""
        node = self.evidence.nodes.get(leg.node)
        return node.probed.get(leg.nic, VidSet()) if node else VidSet()

    @cached_property
    def passing(self) -> frozenset[Leg]:
        """Legs from which something came to another leg, or to which something came."""
        return frozenset(leg for pair in self.passed for leg in pair if pair[0] != pair[1])

    def together(self, a: Leg, b: Leg) -> bool:
        """Whether they are of one cluster network."""
        return a in self.network_of and self.network_of[a] == self.network_of.get(b)

    # NICs and their ports -------------------------------------------------------------------------

    def bonds(self, network: str) -> tuple[Wanted, ...]:
        return tuple(w for w in self.needs.wanted if w.cluster_network == network)

    def nic(self, leg: Leg) -> NicEvidence | None:
        return self.evidence.nic(leg)

    def living(self, wanted: Wanted) -> list[tuple[Leg, NicEvidence]]:
        """The legs that have a carrier, as far as anything is known of them."""
        known = ((leg, self.nic(leg)) for leg in wanted.legs)
        return [(leg, nic) for leg, nic in known if nic is not None and nic.carrier]

    def vids(self, wanted: Wanted) -> VidSet:
        """All that is wanted of a bond's ports, 0 for without a tag."""
        return wanted.tagged | VidSet.of([UNTAGGED] if wanted.untagged else [])

    @cached_property
    def switch_ports(self) -> dict[Leg, SwitchPort]:
        """Where one neighbour is a switch; several are none (what the NIC is plugged into passes LLDP on)."""
        found = {}
        for leg in self.network_of:
            nic = self.nic(leg)
            at = self.evidence.nodes[leg.node].at if nic else 0.0
            bridges = switches_among(n for n in nic.neighbours if _counts(n, at)) if nic else []
            if len({(n.chassis, n.port) for n in bridges}) == 1:
                found[leg] = bridges[0]
        return found

    def switch_port(self, leg: Leg) -> SwitchPort | None:
        return self.switch_ports.get(leg)

    @cached_property
    def _switches(self) -> dict[Leg, str]:
        """A switch is known by its chassis; it is called by its system's name, where no other has the same."""
        chassis: dict[str, set[str]] = defaultdict(set)
        for port in self.switch_ports.values():
            chassis[port.switch].add(port.chassis.text)
        return {
            leg: port.switch if len(chassis[port.switch]) == 1 else f"{port.switch} ({port.chassis})"
            for leg, port in self.switch_ports.items()
        }

    def switch(self, leg: Leg) -> str:
        """The name of the switch; empty where it is not known."""
        return self._switches.get(leg, "")

    def place(self, *legs: Leg) -> str:
        """`Ethernet1 of tor-1 and Ethernet2 of tor-1`, or `the switch port of node-1/eth1`."""
        return " and ".join(map(self._place, legs))

    def _place(self, leg: Leg) -> str:
        port = self.switch_port(leg)
        return f"{port_name(port)} of {self.switch(leg)}" if port else f"the switch port of {leg}"

    def named(self, leg: Leg) -> str:
        """`node-1/eth1 (Ethernet1 of tor-1)`."""
        return f"{leg} ({self.place(leg)})" if self.switch_port(leg) else str(leg)

    # Findings -------------------------------------------------------------------------------------

    def about(self, legs: Iterable[Leg]) -> Ref | None:
        origins = (self.wanted[leg].origin for leg in legs if leg in self.wanted)
        return next((origin[0] for origin in origins if origin), None)

    def port_fix(self, leg: Leg) -> PortFix:
        wanted, port = self.wanted[leg], self.switch_port(leg)
        return PortFix(
            leg=leg,
            switch=self.switch(leg),
            port=port_name(port) if port else "",
            tagged=wanted.tagged,
            untagged=wanted.untagged,
            channel=wanted.channel.value,
            mtu=wanted.mtu,
        )

    def found(self, reason: Reason, legs: Iterable[Leg], message: str, fix: str, *evidence: str) -> Finding:
        """A finding about switch ports, *likely* for a start; `replace` says what is otherwise."""
        legs = tuple(legs)
        configured = reason in CONFIGURED
        known = [leg for leg in legs if leg in self.wanted]
        return Finding(
            reason=reason,
            grade=reason.grade,
            certainty=Certainty.LIKELY,
            message=message,
            fix=Fix(words=fix, ports=tuple(map(self.port_fix, known)) if configured else ()),
            place=self.place(*legs),
            about=self.about(legs),
            network=self.wanted[known[0]].cluster_network if known else "",
            legs=legs,
            evidence=tuple(dict.fromkeys(evidence)),
        )

    def every_leg(self) -> Iterator[tuple[Wanted, Leg, NicEvidence]]:
        """All legs of which anything is known."""
        for wanted in self.needs.wanted:
            for leg in wanted.legs:
                nic = self.nic(leg)
                if nic is not None:
                    yield wanted, leg, nic


def _network_of(needs: Needs, evidence: Evidence) -> dict[Leg, str]:
    """The cluster network of each leg: as the manifests have it, and, of an uplink that the operating system made, as
    its node says."""
    told = {
        Leg(node.node, nic.name): nic.cluster_network
        for node in evidence.nodes.values()
        for nic in node.nics.values()
        if nic.cluster_network
    }
    return told | {leg: wanted.cluster_network for wanted in needs.wanted for leg in wanted.legs}


def _counts(neighbour: SwitchPort, at: float) -> bool:
    """Whether its time is not over (TTL). One from the future is of a clock that jumped, and counts."""
    return not (neighbour.hold_s > 0 and at - neighbour.heard > neighbour.hold_s)


def spoken(vids: VidSet) -> str:
    """`VLAN 100`, `VLANs 100,200-210`, `frames without a tag`, or both."""
    tagged = vids - VidSet.of([UNTAGGED])
    words = f"VLAN{'s' if len(tagged) > 1 else ''} {tagged}" if tagged else ""
    if UNTAGGED not in vids:
        return words
    return f"{words} and frames without a tag" if words else "frames without a tag"


def among(vids: VidSet) -> str:
    """`in VLAN 100`, `without a tag`, or both."""
    tagged = vids - VidSet.of([UNTAGGED])
    return " and ".join(
        [*([f"in {spoken(tagged)}"] if tagged else []), *(["without a tag"] if UNTAGGED in vids else [])]
    )


def agreed(count: int, one: str, many: str) -> str:
    """The form of a verb for one or for several."""
    return one if count == 1 else many


def verb(vids: VidSet, one: str, many: str) -> str:
    """`VLAN 100 is`, `VLANs 100,200 are`."""
    return f"{spoken(vids)} {one if vids and vids != VidSet.of([UNTAGGED]) and len(vids) == 1 else many}"
