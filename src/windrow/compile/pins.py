"""Pass: the MAC address that a bridge and its bond keep.

A Linux bridge takes the lowest MAC among its ports and changes it as ports come and go
(`br_stp_recalculate_bridge_id`), which costs every peer of the host a stale ARP entry. So it is pinned.
"""

from __future__ import annotations

from windrow.compile.uplinks import Uplink
from windrow.model.facts import NodeFacts
from windrow.model.values import Mac


def pinned_mac(uplink: Uplink, uplinks: tuple[Uplink, ...], facts: NodeFacts) -> Mac | None:
    """What the manifest says; else what the bridge has, while that is a NIC's which no other uplink uses; else
    the first NIC's permanent MAC. So a bridge keeps its MAC when the NIC it came from leaves the bond."""
    if uplink.config.uplink.mac:
        return uplink.config.uplink.mac
    elsewhere = {n.mac for u in uplinks if u is not uplink for n in u.nics}
    ours = {n.mac for n in facts.nics.values()} - elsewhere
    present = facts.macs.get(uplink.bridge)
    if present in ours:
        return present
    return uplink.nics[0].mac if uplink.nics else None
