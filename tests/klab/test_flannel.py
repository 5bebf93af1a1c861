"""One overlay of Windrow's nodes and real flannel's, which follow one API server (`make test-flannel`)."""

from __future__ import annotations

import json

import pytest
from tests.klab.conftest import Lab, wait
from tests.klab.overlay import AGENT, FLANNELD, KILL, NUMBERS, RUN_AGENT, Overlay, shape


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes-flannel"


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Overlay:
    return Overlay(lab, tuple(NUMBERS), device="flannel.1", mtu=1450)


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    assert [(one["name"], one["detail"]) for one in lab.checks() if not one["ok"]] == []


def test_pods_of_all_four_nodes_reach_each_other(overlay: Overlay) -> None:
    assert overlay.lacking() == []


def test_a_node_of_either_says_the_same_of_itself(overlay: Overlay) -> None:
    """The same keys, and values of the same form: MAC addresses and addresses apart, byte for byte."""
    said = {node: overlay.said_of_itself(node) for node in NUMBERS}
    assert all(shape(one) == shape(said["node-c"]) for one in said.values()), said
    assert all(json.loads(one["backend-data"])["VtepMAC"] == overlay.mac(node) for node, one in said.items())


# -- starts of each side ---------------------------------------------------------------------------


def test_flannel_that_starts_anew_finds_the_overlay_as_it_was(overlay: Overlay) -> None:
    mac, train = overlay.mac("node-c"), overlay.train("node-a", "node-c")
    overlay.sh("node-c", KILL, *FLANNELD)
    overlay.start_flannel("node-c")
    assert train.lost() == 0
    assert overlay.mac("node-c") == mac
    overlay.comes_to_reach("node-c", "node-b")


def test_an_agent_that_starts_anew_does_so_too(overlay: Overlay) -> None:
    mac, train = overlay.mac("node-a"), overlay.train("node-c", "node-a")
    overlay.sh("node-a", KILL, *AGENT)
    overlay.sh("node-a", RUN_AGENT)
    assert train.lost() == 0
    assert overlay.mac("node-a") == mac


@pytest.mark.parametrize(("node", "other"), [("node-b", "node-d"), ("node-d", "node-b")])
def test_a_node_that_lost_its_power_is_the_same_one_for_the_other_side(overlay: Overlay, node: str, other: str) -> None:
    """Its device is made anew, with the MAC address that the others know."""
    mac = overlay.mac(node)
    overlay.lab.said("power-cut", node)
    overlay.lab.said("boot", node)
    wait(lambda: overlay.lab.run("exec", node, "ip", "link", "show", "flannel.1").returncode == 0)
    overlay.start_pods(node)
    overlay.comes_to_reach(other, node)
    overlay.comes_to_reach(node, other)
    assert overlay.mac(node) == mac


# -- taken over ------------------------------------------------------------------------------------


def test_a_node_of_flannel_becomes_windrows_under_traffic_and_goes_back(overlay: Overlay) -> None:
    """Adopted, then flannel ends; Windrow repairs it; flannel is started on what Windrow leaves to it."""
    node = "node-c"
    index = overlay.index(node)
    trains = overlay.train("node-a", node), overlay.train(node, "node-b"), overlay.train("node-d", node)
    overlay.sh(node, RUN_AGENT)
    assert "flannel.1 would be Windrow's" in overlay.sh(node, "windrow diff && windrow overlay adopt --dry-run")
    overlay.sh(node, "windrow overlay adopt")
    overlay.sh(node, KILL, *FLANNELD)
    wait(lambda: overlay.lab.run("exec", node, "windrow", "diff").returncode == 0)
    assert overlay.sh(node, "bridge fdb show dev flannel.1 | grep -c dst").strip() == "3"
    assert [train.lost() for train in trains] == [0, 0, 0]
    overlay.sh(node, "ip neigh flush nud permanent dev flannel.1; ip route flush dev flannel.1 proto boot")
    for other in ("node-a", "node-b", "node-d"):
        overlay.comes_to_reach(node, other)

    trains = overlay.train("node-a", node), overlay.train(node, "node-b"), overlay.train("node-d", node)
    overlay.sh(node, "windrow overlay adopt --undo")
    overlay.start_flannel(node)
    overlay.sh(node, KILL, *AGENT)
    assert [train.lost() for train in trains] == [0, 0, 0]
    assert overlay.index(node) == index


NODE, OTHERS = "node-c", ("node-a", "node-b", "node-d")


def whole(overlay: Overlay) -> None:
    """The node reaches all others and they reach it, whoever keeps its overlay."""
    for other in OTHERS:
        overlay.comes_to_reach(NODE, other)
        overlay.comes_to_reach(other, NODE)


def given_back(overlay: Overlay) -> None:
    overlay.sh(NODE, "windrow overlay adopt --undo")
    overlay.start_flannel(NODE)
    overlay.sh(NODE, KILL, *AGENT)


def test_taken_over_without_an_agent_and_with_flannel_ended_first(overlay: Overlay) -> None:
    """The wrong order: nobody is there who keeps the overlay, until an agent is."""
    index, trains = overlay.index(NODE), [overlay.train(NODE, other) for other in OTHERS]
    overlay.sh(NODE, KILL, *FLANNELD)
    overlay.sh(NODE, "windrow overlay adopt")
    overlay.sh(NODE, RUN_AGENT)
    wait(lambda: overlay.lab.run("exec", NODE, "windrow", "diff").returncode == 0)
    overlay.sh(NODE, KILL, *AGENT)
    overlay.sh(NODE, RUN_AGENT)
    wait(lambda: overlay.lab.run("exec", NODE, "windrow", "diff").returncode == 0)
    given_back(overlay)
    assert ([train.lost() for train in trains], overlay.index(NODE)) == ([0, 0, 0], index)
    whole(overlay)


def test_flannel_that_still_runs_and_starts_anew_after_it_does_no_harm(overlay: Overlay) -> None:
    """As a DaemonSet that nobody has taken away from the node: both make the same entries, and neither undoes what the
    other one did."""
    index, trains = overlay.index(NODE), [overlay.train(NODE, other) for other in OTHERS]
    overlay.sh(NODE, RUN_AGENT)
    overlay.sh(NODE, "windrow overlay adopt")
    wait(lambda: overlay.lab.run("exec", NODE, "windrow", "diff").returncode == 0)
    for _ in range(2):
        overlay.sh(NODE, KILL, *FLANNELD)
        overlay.start_flannel(NODE)
    assert overlay.lab.run("exec", NODE, "windrow", "diff").returncode == 0
    assert overlay.is_windrows(NODE)
    before = overlay.sh(NODE, f"cat /run/agent-{NODE}.log")
    overlay.sh(NODE, "sleep 10")
    assert overlay.sh(NODE, f"cat /run/agent-{NODE}.log") == before, "they do not repair each other"
    overlay.sh(NODE, KILL, *FLANNELD)
    given_back(overlay)
    assert ([train.lost() for train in trains], overlay.index(NODE)) == ([0, 0, 0], index)
    whole(overlay)


def test_a_node_that_is_rebooted_half_way_belongs_to_whoever_comes_first(overlay: Overlay) -> None:
    """Taken over, and flannel is still there at the next start: it makes the device, which is taken over again."""
    mac = overlay.mac(NODE)
    overlay.sh(NODE, RUN_AGENT)
    overlay.sh(NODE, "windrow overlay adopt")
    overlay.lab.said("power-cut", NODE)
    overlay.lab.said("boot", NODE)
    wait(lambda: overlay.lab.run("exec", NODE, "ip", "link", "show", "flannel.1").returncode == 0)
    overlay.sh(NODE, RUN_AGENT)
    overlay.start_pods(NODE)
    whole(overlay)
    assert not overlay.is_windrows(NODE)
    overlay.sh(NODE, "windrow overlay adopt")
    overlay.sh(NODE, KILL, *FLANNELD)
    wait(lambda: overlay.lab.run("exec", NODE, "windrow", "diff").returncode == 0)
    whole(overlay)
    assert overlay.mac(NODE) == mac
    given_back(overlay)
    whole(overlay)


def test_given_back_after_its_agent_has_ended_it_hears_a_node_that_moves(overlay: Overlay) -> None:
    """The rules against forged packets know where nodes were; nobody is left to tell them."""
    overlay.sh(NODE, RUN_AGENT)
    overlay.sh(NODE, "windrow overlay adopt")
    wait(lambda: "forged" in overlay.sh(NODE, "nft list table bridge windrow-policy 2>&1; true"))
    overlay.sh(NODE, KILL, *AGENT)
    overlay.sh(NODE, "windrow overlay adopt --undo")
    try:
        move(overlay, "10.50.0.11/24", "10.50.0.21/24")
        overlay.comes_to_reach(NODE, "node-a")
    finally:
        move(overlay, "10.50.0.21/24", "10.50.0.11/24")
    whole(overlay)


def move(overlay: Overlay, before: str, after: str) -> None:
    """Node a, for all others."""
    overlay.sh("node-a", f"ip address del {before} dev mgmt-br.50 && ip address add {after} dev mgmt-br.50")
    end = after.partition("/")[0]
    wait(lambda: overlay.said_of_itself("node-a")["public-ip"] == end)


def test_a_node_that_is_gone_is_gone_for_both(overlay: Overlay) -> None:
    """The last test: it is not made again."""
    overlay.lab.kubectl("delete", "node", "node-b")
    for node in ("node-a", "node-c"):
        wait(lambda node=node: "10.52.2.0" not in overlay.sh(node, "ip route; ip neigh; bridge fdb"))
