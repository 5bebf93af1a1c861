"""A member of a static channel on which nothing comes in: sweeps come from one NIC and then from another, and what is
found of it stays the same from the first sweep of all legs on."""

from __future__ import annotations

import pytest
from tests.unit.probeworld import BROADCAST, Net, intent, leg_of

from windrow.apps.check.alone import Locator
from windrow.apps.check.told import misses_a_flow
from windrow.diagnose import diagnose
from windrow.model.evidence import Leg
from windrow.model.findings import Reason
from windrow.model.values import IfName, VidSet
from windrow.render.vlanmatrix import seen_of
from windrow.testing.builders import cluster, cluster_network, nad, vlan_config

DEAD = Leg("c", IfName("eth0"))
NODES = ("a", "b", "c")
VIDS = VidSet.parse("50,60")
CLUSTER = cluster(
    cluster_network("oob"),
    vlan_config("oob", ["eth0", "eth1"], "balance-xor"),
    *(nad(f"v{vid}", "oob", vid) for vid in VIDS),
)
SWEEP_S = 6.0


class Channels(Net):
    """Every node is plugged into a channel of two ports. What is sent to everybody goes to the member of the same name
    as the NIC that sends it; `dead`: one on which nothing comes out."""

    def __init__(self, dead: Leg | None) -> None:
        super().__init__(self._chosen)
        self._dead = dead
        for name in NODES:
            self.add(intent(name, NODES, VIDS, (leg_of("eth0", None), leg_of("eth1", None))), interval_s=SWEEP_S)
        self._locators = {node: Locator(prober) for node, prober in self.probers.items()}

    def _chosen(self, sender: Leg, to: Leg, vid: int, frame: bytes) -> int | None:
        if to == self._dead or (frame[:6] == BROADCAST and to.nic != sender.nic):
            return None
        return vid

    def check(self, seconds: float) -> None:
        """As `windrow check` does it on all nodes at once."""
        end = self.now + seconds
        while self.now < end:
            self.run(0.2)
            for node, locator in self._locators.items():
                locator.look(self.probers[node]._intent, CLUSTER, self.now, self.clock(node))


def test_what_is_found_stays() -> None:
    net = Channels(DEAD)
    net.check(5 * SWEEP_S)
    for _ in range(20):
        net.check(SWEEP_S / 2)
        for node in NODES:
            found = diagnose(CLUSTER, net.evidence(node))
            assert [(x.reason, x.legs) for x in found] == [(Reason.ONE_WAY, (DEAD,))], (net.now, node, found)


@pytest.mark.parametrize(("dead", "misses"), [(DEAD, True), (None, False)])
def test_whether_a_flow_is_missing(dead: Leg | None, misses: bool) -> None:
    net = Channels(dead)
    told = []
    for _ in range(12):
        net.check(SWEEP_S / 2)
        told.append(misses_a_flow(seen_of(net.evidence("a"))))
    assert any(told) is misses
    assert any(prober.locates for prober in net.probers.values()) is misses
