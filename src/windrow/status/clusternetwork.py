"""ClusterNetwork: ready where its bridge and uplink stand, and the annotations that Harvester's manager keeps."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.model import names
from windrow.model.cluster import Cluster, selects_node
from windrow.model.objects import ClusterNetwork, VlanConfig
from windrow.model.values import MTU_DEFAULT, VidSet
from windrow.status.report import NodeReport, Verdict, devices_of


def verdict(network: ClusterNetwork, cluster: Cluster, reports: Sequence[NodeReport]) -> Verdict:
    """Not ready while a node that should carry it is not; where only some nodes have a report, that is what is known.

    `mgmt` is the operating system's, and always ready, unless Windrow manages it. None: the network is on other nodes
    only, of which nothing is known here.
    """
    configs = cluster.vlan_configs(network.name)
    if network.name == names.MGMT:
        configs = tuple(c for c in configs if c.effective)
        if not configs:
            return Verdict(ready=True)
    if not configs:
        return Verdict(ready=False, reason="NoUplink", message="no VlanConfig gives it an uplink")
    found = [
        (report.node, report.verdict(config.ref, devices_of(network.name)))
        for report in reports
        for config in configs
        if selects_node(config, cluster.node(report.node))
    ]
    bad = [(node, v) for node, v in found if not v.ready]
    if bad:
        text = "; ".join(f"{node}: {v.message}" for node, v in bad)
        return Verdict(ready=False, reason=bad[0][1].reason, message=text, hint=bad[0][1].hint)
    unseen = _unseen(configs, cluster, reports)
    if found:
        known = ", ".join(dict.fromkeys(node for node, _ in found))
        text = f"on {known}; nothing is known here of {', '.join(unseen)}" if unseen else ""
        return Verdict(ready=True, reason="ReadyHere" if unseen else "", message=text)
    if unseen:
        text = f"it is for {', '.join(unseen)}, of which nothing is known here"
        return Verdict(ready=None, reason="NotHere", message=text)
    return Verdict(ready=False, reason="NoNode", message="no VlanConfig of it selects a node")


def _unseen(configs: Sequence[VlanConfig], cluster: Cluster, reports: Sequence[NodeReport]) -> list[str]:
    """The nodes with a manifest that should carry it and have no report."""
    seen = {report.node for report in reports}
    return [n.name for n in cluster.nodes() if n.name not in seen and any(selects_node(c, n) for c in configs)]


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
        import hashlib  # slow to load (it loads OpenSSL), and only this needs it

        found[names.ANNOTATION_VID_SET] = vids
        found[names.ANNOTATION_VID_SET_HASH] = hashlib.sha256(vids.encode()).hexdigest()
    return found
