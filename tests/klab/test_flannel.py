"""One overlay of Windrow's nodes and real flannel's, which follow one API server (`make test-flannel`)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.klab.conftest import Lab, wait

WINDROW, FLANNEL = ("node-a", "node-b"), ("node-c", "node-d")
NUMBERS = {"node-a": 1, "node-b": 2, "node-c": 3, "node-d": 4}
LARGEST = "1422"
PREFIX = "flannel.alpha.coreos.com"

POD = """\
echo 1 >/proc/sys/net/ipv4/ip_forward
setsid unshare -n sleep 100000 >/dev/null 2>&1 </dev/null &
pid=$!
until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link add pod type veth peer name eth0 netns $pid
ip address add 10.52.{number}.1/24 dev pod
ip link set pod up mtu 1450
nsenter -t $pid -n sh -c '
ip address add 10.52.{number}.2/24 dev eth0; ip link set eth0 up mtu 1450; ip route add default via 10.52.{number}.1'
echo $pid
"""
"""A pod's end as every plugin makes it. Its namespace lives as long as its process."""
KILL = """\
for p in /proc/[0-9]*; do
    grep -qzx "$1=$WINDROW_NODE" $p/environ && tr '\\0' ' ' <$p/cmdline | grep -q "$2" && kill -9 ${p#/proc/}
done; true
"""
AGENT = ("WINDROW_NODE", "[w]indrow agent")
FLANNELD = ("NODE_NAME", "[f]lannel -kubeconfig")
"""The variable with the node's name, and a pattern that the shell which looks for it does not match."""
RUN_AGENT = "setsid windrow agent >/run/agent-$WINDROW_NODE.log 2>&1 </dev/null &"
RUN_FLANNEL = """\
NODE_NAME=$WINDROW_NODE setsid flannel -kubeconfig "$KUBECONFIG" -iface "$1" \
    -net-conf "$WINDROW_ROOT/etc/kube-flannel/net-conf.json" >/run/flannel-$WINDROW_NODE.log 2>&1 </dev/null &
"""
LINKS = {"node-c": "mgmt-br.50", "node-d": "mgmt-br"}


class Overlay:
    """The lab, with a pod on each node: node -> the process that its namespace is of."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.pods = lab, dict[str, str]()

    def sh(self, node: str, script: str, *words: str) -> str:
        return self.lab.said("exec", node, "sh", "-c", script, "sh", *words)

    def start_pods(self, *nodes: str) -> None:
        for node in nodes:
            self.pods[node] = self.sh(node, POD.format(number=NUMBERS[node])).strip()

    def in_pod(self, node: str, *argv: str) -> Any:
        return self.lab.run("exec", node, "nsenter", "-t", self.pods[node], "-n", *argv)

    def reaches(self, node: str, other: str, address: str = "") -> bool:
        """The other's pod, unless an address is named, with the largest packet."""
        address = address or f"10.52.{NUMBERS[other]}.2"
        return self.in_pod(node, "ping", "-q", "-c1", "-W2", "-Mdo", "-s", LARGEST, address).returncode == 0

    def comes_to_reach(self, node: str, other: str) -> None:
        wait(lambda: self.reaches(node, other), lambda: f"{node} does not reach {other}")

    def mac(self, node: str) -> str:
        found: str = json.loads(self.lab.said("exec", node, "ip", "-j", "link", "show", "flannel.1"))[0]["address"]
        return found

    def said_of_itself(self, node: str) -> dict[str, str]:
        """Its annotations of flannel's."""
        document = json.loads(self.lab.kubectl("get", "node", node, "-o", "json"))
        found = document["metadata"]["annotations"]
        return {key.removeprefix(f"{PREFIX}/"): text for key, text in found.items() if key.startswith(PREFIX)}


@pytest.fixture(scope="module")
def scenario() -> str:
    return "kubernetes-flannel"


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Overlay:
    found = Overlay(lab)
    found.start_pods(*NUMBERS)
    return found


def test_all_that_the_scenario_checks_holds(lab: Lab) -> None:
    assert [(one["name"], one["detail"]) for one in lab.checks() if not one["ok"]] == []


def test_pods_of_all_four_nodes_reach_each_other(overlay: Overlay) -> None:
    pairs = [(one, other) for one in NUMBERS for other in NUMBERS if one != other]
    assert [pair for pair in pairs if not overlay.reaches(*pair)] == []


def test_a_node_of_either_says_the_same_of_itself(overlay: Overlay) -> None:
    """The same keys, and values of the same form: MAC addresses and addresses apart, byte for byte."""
    said = {node: overlay.said_of_itself(node) for node in NUMBERS}
    shape = {
        node: {key: re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}|[0-9]+(\.[0-9]+){3}", "…", text) for key, text in one.items()}
        for node, one in said.items()
    }
    assert shape["node-a"] == shape["node-b"] == shape["node-c"] == shape["node-d"]
    assert all(json.loads(one["backend-data"])["VtepMAC"] == overlay.mac(node) for node, one in said.items())


# -- starts of each side ---------------------------------------------------------------------------


class Train:
    """Twenty pings a second from one pod to another."""

    def __init__(self, overlay: Overlay, node: str, other: str) -> None:
        self._overlay, self._node, self._log = overlay, node, f"/run/train-{node}-{other}"
        ping = f"ping -i 0.05 -W 1 10.52.{NUMBERS[other]}.2"
        command = f"setsid nsenter -t {overlay.pods[node]} -n {ping} >{self._log} 2>&1 </dev/null &"
        overlay.sh(node, f"{command} echo $! >{self._log}.pid")

    def lost(self) -> int:
        """How many were, of at least forty. The last one may still be on its way."""
        said = self._overlay.sh(self._node, f"sleep 1; kill -INT $(cat {self._log}.pid); sleep 1.5; cat {self._log}")
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert found is not None, said[-500:]
        sent, received = map(int, found.groups())
        assert sent >= 40, said[-500:]
        return max(sent - received - 1, 0)


def start_flannel(overlay: Overlay, node: str) -> None:
    overlay.sh(node, RUN_FLANNEL, LINKS[node])
    log = f"/run/flannel-{node}.log"
    wait(
        lambda: "watching for new subnet leases" in overlay.sh(node, f"cat {log}"),
        lambda: overlay.sh(node, f"cat {log}"),
    )


def test_flannel_that_starts_anew_finds_the_overlay_as_it_was(overlay: Overlay) -> None:
    mac, train = overlay.mac("node-c"), Train(overlay, "node-a", "node-c")
    overlay.sh("node-c", KILL, *FLANNELD)
    start_flannel(overlay, "node-c")
    assert train.lost() == 0
    assert overlay.mac("node-c") == mac
    overlay.comes_to_reach("node-c", "node-b")


def test_an_agent_that_starts_anew_does_so_too(overlay: Overlay) -> None:
    mac, train = overlay.mac("node-a"), Train(overlay, "node-c", "node-a")
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
    index = overlay.sh(node, "cat /sys/class/net/flannel.1/ifindex")
    trains = Train(overlay, "node-a", node), Train(overlay, node, "node-b"), Train(overlay, "node-d", node)
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

    trains = Train(overlay, "node-a", node), Train(overlay, node, "node-b"), Train(overlay, "node-d", node)
    overlay.sh(node, "windrow overlay adopt --undo")
    start_flannel(overlay, node)
    overlay.sh(node, KILL, *AGENT)
    assert [train.lost() for train in trains] == [0, 0, 0]
    assert overlay.sh(node, "cat /sys/class/net/flannel.1/ifindex") == index


def test_a_node_that_is_gone_is_gone_for_both(overlay: Overlay) -> None:
    """The last test: it is not made again."""
    overlay.lab.kubectl("delete", "node", "node-b")
    for node in ("node-a", "node-c"):
        wait(lambda node=node: "10.52.2.0" not in overlay.sh(node, "ip route; ip neigh; bridge fdb"))
