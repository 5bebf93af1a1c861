"""Intent and evidence side by side: what each NIC is wanted for, and what is known of the port it is plugged into."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from windrow.model.evidence import Evidence, Heard, Leg, NicEvidence, SwitchPort
from windrow.model.values import Ref, VidSet
from windrow.switches.cabling import port_name
from windrow.switches.wanted import Needs, Wanted

UNTAGGED = 0


class Situation:
    """Built once for a diagnosis; the indexes are made when somebody asks for them."""

    def __init__(self, needs: Needs, evidence: Evidence) -> None:
        self.needs = needs
        self.evidence = evidence

    @cached_property
    def wanted(self) -> dict[Leg, Wanted]:
        return {leg: wanted for wanted in self.needs.wanted for leg in wanted.legs}

    @cached_property
    def networks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(wanted.cluster_network for wanted in self.needs.wanted))

    def bonds(self, network: str) -> tuple[Wanted, ...]:
        return tuple(w for w in self.needs.wanted if w.cluster_network == network)

    @cached_property
    def heard(self) -> tuple[Heard, ...]:
        return tuple(h for node in self.evidence.nodes.values() for h in node.heard)

    def nic(self, leg: Leg) -> NicEvidence | None:
        return self.evidence.nic(leg)

    def probed(self, leg: Leg) -> VidSet:
        """In which VLANs it sent."""
        node = self.evidence.nodes.get(leg.node)
        return node.probed.get(leg.nic, VidSet()) if node else VidSet()

    def switch_port(self, leg: Leg) -> SwitchPort | None:
        """The one neighbour that is a switch; several are none (what the NIC is plugged into passes LLDP on)."""
        nic = self.nic(leg)
        bridges = [n for n in nic.neighbours if n.is_bridge is not False] if nic else []
        return bridges[0] if len(bridges) == 1 else None

    def switch(self, leg: Leg) -> str:
        """The name of the switch; empty where it is not known."""
        port = self.switch_port(leg)
        return port.switch if port else ""

    def place(self, leg: Leg) -> str:
        """`Ethernet1 of tor-1`, or `the switch port of node-1/eth1`."""
        port = self.switch_port(leg)
        return f"{port_name(port)} of {port.switch}" if port else f"the switch port of {leg}"

    def named(self, leg: Leg) -> str:
        """`node-1/eth1 (Ethernet1 of tor-1)`."""
        port = self.switch_port(leg)
        return f"{leg} ({port_name(port)} of {port.switch})" if port else str(leg)

    def about(self, leg: Leg) -> Ref | None:
        wanted = self.wanted.get(leg)
        return wanted.origin[0] if wanted and wanted.origin else None

    def vids(self, wanted: Wanted) -> VidSet:
        """All that is wanted of a bond's ports, 0 for without a tag."""
        return wanted.tagged | (VidSet.of([UNTAGGED]) if wanted.untagged else VidSet())

    def living(self, wanted: Wanted) -> Iterator[Leg]:
        """The legs that have a carrier, as far as anything is known of them."""
        for leg in wanted.legs:
            nic = self.nic(leg)
            if nic is not None and nic.carrier:
                yield leg
