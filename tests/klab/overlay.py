"""An overlay of nodes of Windrow and of real flannel, with a pod on each: what reaches what, what is started anew."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.klab.conftest import Lab, wait
from tests.klab.pods import Train

NUMBERS = {"node-a": 1, "node-b": 2, "node-c": 3, "node-d": 4}
"""Of each node, the one that its podCIDR has."""
PREFIX = "flannel.alpha.coreos.com"

POD = """\
echo 1 >/proc/sys/net/ipv4/ip_forward
setsid unshare -n sleep 100000 >/dev/null 2>&1 </dev/null &
pid=$!
until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link add pod type veth peer name eth0 netns $pid
ip address add 10.52.{number}.1/24 dev pod
ip link set pod up mtu {mtu}
nsenter -t $pid -n sh -c '
ip address add 10.52.{number}.2/24 dev eth0; ip link set eth0 up mtu {mtu}; ip route add default via 10.52.{number}.1'
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
NODE_NAME=$WINDROW_NODE WIREGUARD_KEY_FILE=$WINDROW_ROOT/run/flannel/wgkey \
    setsid flannel -kubeconfig "$KUBECONFIG" -iface "$1" \
    -net-conf "$WINDROW_ROOT/etc/kube-flannel/net-conf.json" >/run/flannel-$WINDROW_NODE.log 2>&1 </dev/null &
"""
LINKS = {"node-c": "mgmt-br.50", "node-d": "mgmt-br"}
WATCHES = "atching for new subnet leases"
"""What flannel's back ends say when they have come up."""


class Overlay:
    """The lab's, of these nodes. `device`: of its tunnels; `mtu`: theirs. `pods`: node -> the process that its pod's
    namespace is of."""

    def __init__(self, lab: Lab, nodes: tuple[str, ...], *, device: str, mtu: int) -> None:
        self.lab, self.nodes, self.device, self.mtu = lab, nodes, device, mtu
        self.pods: dict[str, str] = {}
        self.start_pods(*nodes)

    def sh(self, node: str, script: str, *words: str) -> str:
        return self.lab.said("exec", node, "sh", "-c", script, "sh", *words)

    def start_pods(self, *nodes: str) -> None:
        for node in nodes:
            self.pods[node] = self.sh(node, POD.format(number=NUMBERS[node], mtu=self.mtu)).strip()

    def in_pod(self, node: str, *argv: str) -> Any:
        return self.lab.run("exec", node, "nsenter", "-t", self.pods[node], "-n", *argv)

    def reaches(self, node: str, other: str) -> bool:
        """The other's pod, with the largest packet."""
        largest = str(self.mtu - 28)  # less the headers of IPv4 and ICMP
        ping = ("ping", "-q", "-c1", "-W2", "-Mdo", "-s", largest, pod_address(other))
        return self.in_pod(node, *ping).returncode == 0

    def comes_to_reach(self, node: str, other: str) -> None:
        wait(lambda: self.reaches(node, other), lambda: f"{node} does not reach {other}: {self.state(node)}")

    def lacking(self) -> list[tuple[str, str]]:
        """Which pod does not reach which."""
        pairs = [(one, other) for one in self.nodes for other in self.nodes if one != other]
        return [pair for pair in pairs if not self.reaches(*pair)]

    def state(self, node: str) -> str:
        return self.sh(node, f"ip -d -s link show {self.device}; ip address; ip route; ip neigh; bridge fdb | grep dst")

    def train(self, node: str, other: str) -> Train:
        """From pod to pod."""
        return Train(self.lab, node, pod_address(other), "nsenter", "-t", self.pods[node], "-n")

    def index(self, node: str) -> int:
        """Of the tunnels' device: one that was made anew has another."""
        return int(self._device(node)["ifindex"])

    def is_windrows(self, node: str) -> bool:
        """Whether that device has Windrow's mark."""
        return f"altname made-by-windrow.{self.device}" in self.sh(node, f"ip link show {self.device}")

    def mac(self, node: str) -> str:
        return str(self._device(node)["address"])

    def _device(self, node: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.sh(node, f"ip -j link show {self.device}"))
        return found[0]

    def said_of_itself(self, node: str) -> dict[str, str]:
        """Its annotations of flannel's."""
        document = json.loads(self.lab.kubectl("get", "node", node, "-o", "json"))
        found = document["metadata"]["annotations"]
        return {key.removeprefix(f"{PREFIX}/"): text for key, text in found.items() if key.startswith(PREFIX)}

    def start_flannel(self, node: str) -> None:
        """It has come up when this returns."""
        self.sh(node, RUN_FLANNEL, LINKS[node])
        log = f"cat /run/flannel-{node}.log"
        wait(lambda: WATCHES in self.sh(node, log), lambda: self.sh(node, log))


def pod_address(node: str) -> str:
    return f"10.52.{NUMBERS[node]}.2"


def shape(said: dict[str, str], *own: str) -> dict[str, str]:
    """What a node says of itself, without addresses, MAC addresses and what else is its `own` (patterns)."""
    pattern = "|".join((r"([0-9a-f]{2}:){5}[0-9a-f]{2}", r"[0-9]+(\.[0-9]+){3}", *own))
    return {key: re.sub(pattern, "…", text) for key, text in said.items()}
