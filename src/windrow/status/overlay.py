"""What a node says of its end of the overlay, in flannel's annotations: how all other nodes find it."""

from __future__ import annotations

import json

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.host import Vxlan
from windrow.model.objects import Node
from windrow.model.overlay import BACKEND, SUBNET_MANAGER, VXLAN, net_conf, vtep_mac
from windrow.status.report import NodeReport


def tunnel_end(node: Node, cluster: Cluster, report: NodeReport) -> dict[str, str]:
    """Of the tunnel devices that are there and Windrow's; nothing where there is none: what flanneld says of its own
    is left alone. `public-ip-overwrite` says an address for others to send to, as behind NAT."""
    conf = net_conf(cluster.cluster_network(names.MGMT))
    found: dict[str, str] = {}
    for family, device in conf.devices if conf is not None else ():
        link = report.observed.state.links.get(device)
        if link is None or not isinstance(link.spec, Vxlan) or not report.observed.owned(link.name):
            continue
        try:
            mac = vtep_mac(node, family, link.spec.vni)  # the wanted one: a hand's must not become everybody's
        except ValueError:
            continue
        data = {"VNI": link.spec.vni, "VtepMAC": mac}
        found[family.data] = json.dumps(data, separators=(",", ":"))  # as Go's encoding/json writes it
        found[family.address] = node.meta.annotations.get(family.overwrite) or link.spec.local
    return {SUBNET_MANAGER: "true", BACKEND: VXLAN, **found} if found else {}
