"""Pods of the lab's Kubernetes, and what pings from one place to another."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tests.klab.conftest import Lab, wait

ALONE = ("env", "-u", "WINDROW_KUBECONFIG", "windrow")
"""A command that is about its own host alone."""
LEAST = 40


def pod(name: str, node: str, command: str = "exec sleep 1000000", networks: str = "oob-vlan100") -> str:
    """A manifest."""
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"k8s.v1.cni.cncf.io/networks": networks}},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "c",
                    "image": "windrow.lab/busybox:1",
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", command],
                    "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
                }
            ],
        },
    }
    return json.dumps(document)


def ports(lab: Lab, node: str) -> list[dict[str, Any]]:
    """Of containers on the node, as `windrow cni list` has them."""
    found: list[dict[str, Any]] = json.loads(lab.said("exec", node, *ALONE, "cni", "list", "-o", "json"))["items"]
    return found


def containers(lab: Lab, node: str) -> set[str]:
    return {one["containerID"] for one in ports(lab, node)}


class Train:
    """Twenty pings a second from a place of the lab, or (`before` them) from somewhere within it."""

    def __init__(self, lab: Lab, place: str, address: str, *before: str) -> None:
        self._lab, self._place, self._log = lab, place, f"/run/train-{place}-{address}"
        words = " ".join([*before, f"ping -i 0.05 -W 1 {address}"])
        self._sh(f"setsid {words} >{self._log} 2>&1 </dev/null & echo $! >{self._log}.pid")

    def lost(self, least: int = LEAST) -> int:
        """How many were, of at least so many. The last one may still be on its way."""
        said = self._sh(f"sleep 1; kill -INT $(cat {self._log}.pid); sleep 1.5; cat {self._log}")
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert found is not None, said[-500:]
        sent, received = map(int, found.groups())
        print(f"{self._log}: {sent} sent, {received} received")
        assert sent >= least, said[-500:]
        return max(sent - received - 1, 0)

    def _sh(self, script: str) -> str:
        return self._lab.said("exec", self._place, "sh", "-c", script)


def links(lab: Lab, node: str, names: Sequence[str]) -> dict[str, int]:
    """Their ifindexes: one that was made anew has another one."""
    found = json.loads(lab.said("exec", node, "ip", "-j", "link"))
    return {one["ifname"]: one["ifindex"] for one in found if one["ifname"] in names}


# What a pod leaves ---------------------------------------------------------------------------------

_TRACES = """\
cd "$WINDROW_ROOT"
count() { printf '%s %s\\n' "$1" "$(wc -l)"; }
for place in run/windrow/attachments run/windrow/ports var/lib/windrow/attachments var/lib/windrow/ports; do
    find $place -type f 2>/dev/null | count $place
done
find var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip*' 2>/dev/null | count leases
ls /run/netns | count namespaces
ip -o link | count links
for family in iptables ip6tables; do $family-legacy-save 2>/dev/null | grep '^-A' | count $family; done
bridge -o link show | count ports
bridge -o vlan show | count vlans
"""


def traces(lab: Lab, node: str) -> dict[str, int]:
    """How many there are of each kind of thing that an attached pod has on its node. They are equal before and after a
    pod that leaves nothing."""
    said = lab.said("exec", node, "bash", "-c", _TRACES)
    return {name: int(number) for name, number in (line.split() for line in said.splitlines())}


def as_before(lab: Lab, node: str, before: dict[str, int]) -> None:
    """It comes to have as many traces as it had. What differs is said."""

    def differs() -> dict[str, tuple[int, int]]:
        now = traces(lab, node)
        return {name: (before[name], now[name]) for name in before if before[name] != now[name]}

    wait(lambda: not differs(), lambda: f"{node}: before and now: {differs()}")
