"""What a node says of its end of the overlay, in flannel's annotations: how all other nodes find it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.host import Link, Vxlan, Wireguard
from windrow.model.objects import Node
from windrow.model.overlay import BACKEND, SUBNET_MANAGER, Family, encrypted_data, net_conf, vtep_mac
from windrow.status.report import NodeReport


def tunnel_end(node: Node, cluster: Cluster, report: NodeReport) -> dict[str, str]:
    """Of the tunnel devices that are there and Windrow's; nothing where there is none: what flanneld says of its own
    is left alone. `public-ip-overwrite` says an address for others to send to, as behind NAT."""
    conf = net_conf(cluster.cluster_network(names.MGMT))
    found: dict[str, str] = {}
    for family, device in conf.devices if conf is not None else ():
        link = report.observed.state.links.get(device)
        if link is None or not report.observed.owned(link.name) or not (said := _said(node, family, link, report)):
            continue
        data, address = said
        found[family.data] = json.dumps(data, separators=(",", ":"))  # as Go's encoding/json writes it
        found[family.address] = node.meta.annotations.get(family.overwrite) or address
    return {SUBNET_MANAGER: "true", BACKEND: conf.backend, **found} if conf is not None and found else {}


def _said(node: Node, family: Family, link: Link, report: NodeReport) -> tuple[Mapping[str, object], str] | None:
    """What it says of a device, and where that ends."""
    match link.spec:
        case Vxlan(vni=vni, local=local):
            try:
                mac = vtep_mac(node, family, vni)  # the wanted one: a hand's must not become everybody's
            except ValueError:
                return None
            return {"VNI": vni, "VtepMAC": mac}, local
        case Wireguard() if (start := report.tunnel_start.get(family.version)) and start.key:
            return encrypted_data(start.key, start.port), start.address
        case _:
            return None
