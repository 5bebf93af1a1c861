"""Multicast that a bridge of the operating system keeps from machines.

A bridge that snoops VLAN by VLAN nowhere has one account of queriers for all VLANs (`br_multicast_querier_exists`). As
soon as somebody asks for groups in one of them, it sends only to who has answered, in the others too, where nobody is
asked: after 260 s (RFC 3376 §8.4) neighbour solicitations of IPv6 no longer arrive there.
"""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.host import Bridge, HostState, Observed
from windrow.model.objects import ClusterNetwork
from windrow.model.problems import Problem, Severity
from windrow.model.values import IfName, Ref, VidSet

CODE = "snooping-shared"


def askable(want: HostState, have: Observed) -> IfName | None:
    """The bridge of which it matters whether it has heard a querier: it snoops for networks with VLANs, and is not ours
    to change."""
    bridge = names.bridge_of(names.MGMT)
    seen = have.state.links.get(bridge)
    if seen is None or not isinstance(seen.spec, Bridge) or have.owned(bridge) or not _vids(want):
        return None
    return bridge if seen.spec.mcast_snooping and not seen.spec.mcast_vlan_snooping else None


def shared(want: HostState, bridge: IfName) -> Iterator[Problem]:
    """A warning, where a querier was heard by this bridge."""
    text = (
        f"{bridge} snoops for multicast groups in all VLANs together, and somebody asks for them: in a VLAN where "
        f"nobody asks (of {_vids(want)}) machines no longer find each other by IPv6"
    )
    yield Problem(
        code=CODE,
        message=text,
        hint=f"run: ip link set dev {bridge} type bridge mcast_snooping 0, and have the operating system keep it so",
        about=Ref(ClusterNetwork.KIND, names.MGMT),
        severity=Severity.WARNING,
    )


def _vids(want: HostState) -> VidSet:
    uplink = want.links.get(names.bond_of(names.MGMT))
    return uplink.vlans.tagged if uplink is not None and uplink.vlans is not None else VidSet()
