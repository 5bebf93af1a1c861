"""Pods of the lab's Kubernetes, and what they leave."""

from __future__ import annotations

import json

from tests.klab.conftest import Lab, wait

ALONE = ("env", "-u", "WINDROW_KUBECONFIG", "windrow")
"""A command that is about its own host alone."""


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


def containers(lab: Lab, node: str) -> set[str]:
    """Those on the node that have ports, as `windrow cni list` has them."""
    found = json.loads(lab.said("exec", node, *ALONE, "cni", "list", "-o", "json"))["items"]
    return {one["containerID"] for one in found}


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
