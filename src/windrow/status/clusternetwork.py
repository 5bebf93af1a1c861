"""ClusterNetwork: ready where its bridge and uplink stand, and the annotations that Harvester's manager keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.objects import ClusterNetwork
from windrow.model.values import MTU_DEFAULT, VidSet
from windrow.status.report import NodeReport, Verdict, devices_of


def verdict(network: ClusterNetwork, cluster: Cluster, reports: Sequence[NodeReport]) -> Verdict:
    """`mgmt` is the operating system's: always ready. Another one is ready where one node has it ready and none
    has it broken."""
    if network.name == names.MGMT:
        return Verdict(ready=True)
    configs = cluster.vlan_configs(network.name)
    if not configs:
        return Verdict(ready=False, reason="NoUplink", message="no VlanConfig gives it an uplink")
    found = [
        (report.node, report.verdict(config.ref, devices_of(network.name)))
        for report in reports
        for config in configs
        if selects_node(config, cluster.node(report.node))
    ]
    if not found:
        return Verdict(ready=False, reason="NoNode", message="no VlanConfig of it selects this node")
    bad = next(((node, v) for node, v in found if not v.ready), None)
    if bad is None:
        return Verdict(ready=True)
    node, worst = bad
    return Verdict(ready=False, reason=worst.reason, message=f"{node}: {worst.message}", hint=worst.hint)


def annotations_of(network: ClusterNetwork, cluster: Cluster) -> dict[str, str]:
    """The MTU and where it comes from; the VLANs of its networks, and their hash (SHA-256)."""
    found: dict[str, str] = {}
    configs = cluster.vlan_configs(network.name)
    if configs:
        source = next((c for c in configs if c.uplink.mtu), configs[0])
        found[names.ANNOTATION_UPLINK_MTU] = str(source.uplink.mtu or MTU_DEFAULT)
        found[names.ANNOTATION_MTU_SOURCE] = source.name
    vids = ",".join(map(str, cluster.nad_vids(network.name) - VidSet.of([0])))
    if vids:
        found[names.ANNOTATION_VID_SET] = vids
        found[names.ANNOTATION_VID_SET_HASH] = hashlib.sha256(vids.encode()).hexdigest()
    return found
