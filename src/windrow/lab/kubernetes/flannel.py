"""Real flannel on a node, in place of Windrow's agent: a peer of the overlay, and what an adoption takes over. The
pods of such a node are on a bridge of the reference plugin, as flannel's own plugin has it made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from windrow.lab.errors import LabError
from windrow.model import names
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork
from windrow.model.values import Cidr, IfName
from windrow.model.wire import load_documents
from windrow.store import records

PROGRAM = "flannel"
POD_MTU = 1450
"""What VXLAN leaves of 1500 (`encapOverhead` of flannel)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flannel:
    """What a node's flannel is told. `conf`: the text of net-conf.json; `link`: whose address its tunnels begin at;
    `pod_cidrs`: of its pods, where it has any."""

    conf: str
    link: IfName
    kubeconfig: Path
    pod_cidrs: Sequence[Cidr] = ()

    def command(self, program: str, directory: Path) -> list[str]:
        """With its configuration in a file of `directory`."""
        path = directory / "net-conf.json"
        records.make_place(directory, flush=False)
        records.write(path, self.conf.encode(), mode=records.SHARED, flush="nothing")
        return [program, "-kubeconfig", str(self.kubeconfig), "-net-conf", str(path), "-iface", self.link]

    def write_network(self, directory: Path) -> None:
        """The configuration list of its pods, which flannel's plugin would make of /run/flannel/subnet.env."""
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": True,
            "hairpinMode": True,
            "mtu": POD_MTU,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": cidr}] for cidr in self.pod_cidrs]},
        }
        document = {"cniVersion": "1.0.0", "name": "cbr0", "plugins": [bridge]}
        records.make_place(directory, flush=False)
        path = directory / "10-flannel.conflist"
        records.write(path, json.dumps(document).encode(), mode=records.SHARED, flush="nothing")


def environment(node: str, runtime: Path) -> Sequence[str]:
    """Whose Node is its own, and where its WireGuard key is: flannel's usual place, /run/flannel, below the node's own
    `runtime`. Nodes of a lab share /run, and two hosts with one key are one peer to all others."""
    return [f"NODE_NAME={node}", f"WIREGUARD_KEY_FILE={runtime / 'flannel/wgkey'}"]


def net_conf(manifests: Mapping[str, str]) -> str:
    """The overlay of the management network, which Windrow's nodes read there, too. Raises LabError: there is none."""
    objects = (obj for file, text in manifests.items() for obj in load_documents(text, file).objects)
    for obj in objects:
        conf = obj.meta.annotations.get(names.ANNOTATION_OVERLAY)
        if isinstance(obj, ClusterNetwork) and obj.name == names.MGMT and conf:
            return conf
    said = f"flannel has no configuration: no manifest gives {names.MGMT} the annotation {names.ANNOTATION_OVERLAY}"
    raise LabError(said, hint="its value is flannel's net-conf.json")
