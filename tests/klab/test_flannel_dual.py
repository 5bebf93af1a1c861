"""One overlay of both families, of a node of Windrow and two of real flannel (`make test-flannel`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.klab.conftest import Lab, wait
from tests.klab.overlay import AGENT, FLANNELD, KILL, NUMBERS, RUN_AGENT, Overlay, shape
from tests.klab.pods import Train

NODES = ("node-a", "node-c", "node-d")
WINDROW, FLANNEL, OTHER = NODES
DEVICES = ("flannel.1", "flannel-v6.1")
MTU = 1430
"""What VXLAN in IPv6 leaves of 1500, for the pods' links carry both."""
POD6 = """\
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip address add fd52:0:0:{number}::1/64 dev pod nodad
nsenter -t {pid} -n sh -c '
ip address add fd52:0:0:{number}::2/64 dev eth0 nodad; ip route add default via fd52:0:0:{number}::1'
"""


def pod_address6(node: str) -> str:
    return f"fd52:0:0:{NUMBERS[node]}::2"


class Dual(Overlay):
    """Its pods have an address of either family."""

    def start_pods(self, *nodes: str) -> None:
        super().start_pods(*nodes)
        for node in nodes:
            self.sh(node, POD6.format(number=NUMBERS[node], pid=self.pods[node]))

    def reaches(self, node: str, other: str) -> bool:
        """By both, with the largest packet."""
        largest = str(self.mtu - 48)  # less the headers of IPv6 and ICMPv6
        ping = ("ping", "-q", "-c1", "-W2", "-Mdo", "-s", largest, pod_address6(other))
        return super().reaches(node, other) and self.in_pod(node, *ping).returncode == 0

    def trains(self, node: str, other: str) -> list[Train]:
        """One of each family."""
        pod = ("nsenter", "-t", self.pods[node], "-n")
        return [self.train(node, other), Train(self.lab, node, pod_address6(other), *pod)]

    def both(self) -> list[Train]:
        """From and to the node that is adopted."""
        return [one for pair in ((WINDROW, FLANNEL), (FLANNEL, OTHER), (OTHER, FLANNEL)) for one in self.trains(*pair)]

    def indexes(self, node: str) -> list[str]:
        return [self.sh(node, f"cat /sys/class/net/{device}/ifindex").strip() for device in DEVICES]

    def is_as_wanted(self, node: str) -> bool:
        return bool(self.lab.run("exec", node, "windrow", "diff").returncode == 0)


@pytest.fixture(scope="module")
def scenario() -> str:
    return str(Path(__file__).parent / "flannel-dual")


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Dual:
    return Dual(lab, NODES, device="flannel.1", mtu=MTU)


def test_pods_of_all_nodes_reach_each_other_by_both_families(lab: Lab, overlay: Dual) -> None:
    assert [(one["name"], one["detail"]) for one in lab.checks() if not one["ok"]] == []
    assert overlay.lacking() == []


def test_a_node_of_either_says_the_same_of_itself(overlay: Dual) -> None:
    said = {node: shape(overlay.said_of_itself(node), r"fd50::[0-9a-f]+") for node in NODES}
    assert said[WINDROW] == said[FLANNEL] == said[OTHER]
    assert {"backend-v6-data", "public-ipv6"} <= said[WINDROW].keys()


def test_a_node_of_flannel_becomes_windrows_under_traffic_of_both_and_goes_back(overlay: Dual) -> None:
    before, trains = overlay.indexes(FLANNEL), overlay.both()
    overlay.sh(FLANNEL, RUN_AGENT)
    overlay.sh(FLANNEL, "windrow overlay adopt")
    overlay.sh(FLANNEL, KILL, *FLANNELD)
    wait(lambda: overlay.is_as_wanted(FLANNEL))
    marks = overlay.sh(FLANNEL, "ip link show")
    assert all(f"altname made-by-windrow.{device}" in marks for device in DEVICES)
    assert [train.lost() for train in trains] == [0] * 6
    overlay.sh(
        FLANNEL, "ip -6 neigh flush nud permanent dev flannel-v6.1; ip -6 route flush dev flannel-v6.1 proto boot"
    )
    for other in (WINDROW, OTHER):
        overlay.comes_to_reach(FLANNEL, other)

    trains = overlay.both()
    overlay.sh(FLANNEL, "windrow overlay adopt --undo")
    overlay.start_flannel(FLANNEL)
    overlay.sh(FLANNEL, KILL, *AGENT)
    assert [train.lost() for train in trains] == [0] * 6
    assert overlay.indexes(FLANNEL) == before
    assert overlay.lacking() == []


def test_a_node_that_lost_its_power_is_the_same_one_for_the_other_side(overlay: Dual) -> None:
    for node, other in ((WINDROW, OTHER), (OTHER, WINDROW)):
        overlay.lab.said("power-cut", node)
        overlay.lab.said("boot", node)
        wait(lambda node=node: overlay.lab.run("exec", node, "ip", "link", "show", DEVICES[1]).returncode == 0)
        overlay.start_pods(node)
        overlay.comes_to_reach(other, node)
        overlay.comes_to_reach(node, other)
