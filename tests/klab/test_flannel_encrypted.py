"""One encrypted overlay of a node of Windrow and two of real flannel, in a kernel that has WireGuard (`make
test-flannel`)."""

from __future__ import annotations

import json
import sys

import pytest
from tests.klab.conftest import Lab, wait
from tests.klab.overlay import AGENT, FLANNELD, KILL, RUN_AGENT, Overlay, pod_address, shape
from tests.klab.pods import ALONE

NODES = ("node-a", "node-c", "node-d")
WINDROW, FLANNEL = "node-a", ("node-c", "node-d")
KEY = r"[A-Za-z0-9+/]{43}="
WIRE = """\
import json, select, socket, sys, time
seconds, *needles = sys.argv[1:]
found = dict.fromkeys([*needles, "tunnelled", "largest"], 0)
wires = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2)]
for number, wire in enumerate(wires):
    wire.bind((f"eth{number}", 0))
print("listens", flush=True)
end = time.monotonic() + float(seconds)
while (left := end - time.monotonic()) > 0:
    for wire in select.select(wires, [], [], left)[0]:
        frame = wire.recv(65535)
        for needle in needles:
            found[needle] += bytes.fromhex(needle) in frame
        if bytes.fromhex("ca6cca6c") in frame[:64]:
            found["tunnelled"] += 1
            found["largest"] = max(found["largest"], len(frame))
print(json.dumps(found))
"""
"""What is on the cables of a node for so many seconds: how many frames have each of these bytes in them, and what
goes from one port 51820 to another."""


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes-flannel-encrypted"


@pytest.fixture(scope="module")
def kernel() -> str:
    return "qemu"


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Overlay:
    return Overlay(lab, NODES, device="flannel-wg", mtu=1420)


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    assert [(one["name"], one["detail"]) for one in lab.checks() if not one["ok"]] == []


def test_pods_of_all_nodes_reach_each_other_with_the_largest_packet(overlay: Overlay) -> None:
    assert overlay.lacking() == []


def test_a_node_of_either_says_the_same_of_itself(overlay: Overlay) -> None:
    """The same keys, and values of the same form: public keys and addresses apart, byte for byte."""
    said = {node: overlay.said_of_itself(node) for node in NODES}
    assert all(shape(one, KEY) == shape(said["node-c"], KEY) for one in said.values()), said
    assert len({json.loads(one["backend-data"])["PublicKey"] for one in said.values()}) == len(NODES)


def test_nothing_of_it_is_bare_on_the_wire(overlay: Overlay) -> None:
    """Neither what pods say nor their addresses; what nodes say outside of the overlay is, and is seen."""
    inside, outside = b"inside: a secret".hex(), b"outside: no such".hex()
    addresses = [bytes(map(int, pod_address(node).split("."))).hex() for node in NODES]
    listen = f'setsid {sys.executable} - 20 "$@" >/run/wire.log 2>&1 <<"END" &\n{WIRE}END\n'
    overlay.sh(WINDROW, listen, inside, outside, *addresses)
    wait(lambda: "listens" in overlay.sh(WINDROW, "cat /run/wire.log"))
    for node, other in ((WINDROW, "node-c"), ("node-d", WINDROW)):
        ping = ("ping", "-q", "-c3", "-i0.2", "-p", inside, "-s", str(overlay.mtu - 28), pod_address(other))
        assert overlay.in_pod(node, *ping).returncode == 0
    overlay.sh(WINDROW, f"ping -q -c3 -i0.2 -p {outside} 10.50.0.13")
    wait(lambda: "{" in overlay.sh(WINDROW, "cat /run/wire.log"))
    found = json.loads(overlay.sh(WINDROW, "tail -n1 /run/wire.log"))
    assert found[outside] >= 6, found
    assert found["tunnelled"] >= 12 and found["largest"] >= overlay.mtu + 14 + 60, found
    assert [found[needle] for needle in (inside, *addresses)] == [0] * (1 + len(addresses)), found


# -- starts of each side, and other addresses --------------------------------------------------------


def both_ways(overlay: Overlay, node: str) -> None:
    """Between its pod and those of all others."""
    for other in NODES:
        if other != node:
            overlay.comes_to_reach(node, other)
            overlay.comes_to_reach(other, node)


def test_flannel_that_starts_anew_comes_back(overlay: Overlay) -> None:
    """It makes its device anew, with the key that it had."""
    index = overlay.index("node-c")
    overlay.sh("node-c", KILL, *FLANNELD)
    overlay.start_flannel("node-c")
    both_ways(overlay, "node-c")
    assert overlay.index("node-c") != index


def test_an_agent_that_starts_anew_finds_the_overlay_as_it_was(overlay: Overlay) -> None:
    index, train = overlay.index(WINDROW), overlay.train("node-c", WINDROW)
    overlay.sh(WINDROW, KILL, *AGENT)
    overlay.sh(WINDROW, RUN_AGENT)
    assert train.lost() == 0
    assert overlay.index(WINDROW) == index


@pytest.mark.parametrize("node", [WINDROW, "node-d"])
def test_a_node_that_lost_its_power_comes_back(overlay: Overlay, node: str) -> None:
    """Windrow keeps its key on the disk; flannel's is in /run, so it comes back with another one."""
    key = overlay.said_of_itself(node)["backend-data"]
    overlay.lab.said("power-cut", node)
    overlay.lab.said("boot", node)
    wait(lambda: overlay.lab.run("exec", node, "ip", "link", "show", overlay.device).returncode == 0)
    if node != WINDROW:
        wait(lambda: overlay.said_of_itself(node)["backend-data"] != key)
    overlay.start_pods(node)
    both_ways(overlay, node)
    assert (overlay.said_of_itself(node)["backend-data"] == key) is (node == WINDROW)


def test_a_node_of_flannel_becomes_windrows_and_goes_back(overlay: Overlay) -> None:
    """With another key each time, which all others are told."""
    node = "node-c"
    key = overlay.said_of_itself(node)["backend-data"]
    overlay.sh(node, RUN_AGENT)
    wait(lambda: "made by others" in overlay.sh(node, f"{' '.join(ALONE)} status; true"))
    overlay.sh(node, KILL.replace("kill -9", "kill"), *FLANNELD)
    wait(lambda: overlay.said_of_itself(node)["backend-data"] != key)
    both_ways(overlay, node)
    wait(lambda: overlay.lab.run("exec", node, "windrow", "diff").returncode == 0)
    overlay.sh(node, "windrow overlay adopt --undo")
    overlay.sh(node, KILL, *AGENT)
    overlay.start_flannel(node)
    assert overlay.said_of_itself(node)["backend-data"] == key
    both_ways(overlay, node)


def test_a_node_of_windrow_with_another_address_is_followed(overlay: Overlay) -> None:
    _move(overlay, WINDROW, "mgmt-br.50", "10.50.0.11/24", "10.50.0.21/24")
    wait(lambda: overlay.said_of_itself(WINDROW)["public-ip"] == "10.50.0.21")
    both_ways(overlay, WINDROW)


def test_a_node_of_flannel_with_another_address_is_followed(overlay: Overlay) -> None:
    """flannel looks for its address when it starts."""
    _move(overlay, "node-d", "mgmt-br", "10.50.0.14/24", "10.50.0.24/24")
    overlay.sh("node-d", KILL, *FLANNELD)
    overlay.start_flannel("node-d")
    assert overlay.said_of_itself("node-d")["public-ip"] == "10.50.0.24"
    both_ways(overlay, "node-d")


def _move(overlay: Overlay, node: str, link: str, before: str, after: str) -> None:
    overlay.sh(node, f"ip address del {before} dev {link} && ip address add {after} dev {link}")
