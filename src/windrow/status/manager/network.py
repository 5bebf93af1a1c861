"""A ClusterNetwork: whether it is ready, by what the nodes say of it, and its annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.lazy import dataclass
from windrow.model.objects import ClusterNetwork, VlanConfig
from windrow.model.values import MTU_DEFAULT
from windrow.status.clusternetwork import annotations_of
from windrow.status.conditions import READY as TYPE
from windrow.status.manager.stored import Stored

_NAMED = 3
"""So many nodes are named in a message; a thousand that come up change it only a few times."""
Condition = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """`message`: which nodes do not have it, and why."""

    ready: bool
    reason: str = ""
    message: str = ""


READY = Ready(ready=True)


def by_network(stored: Iterable[Stored]) -> dict[str, list[Stored]]:
    """Cluster network -> its VlanStatuses."""
    found: dict[str, list[Stored]] = {}
    for one in stored:
        if one.place is not None:
            found.setdefault(one.place[0], []).append(one)
    return found


def ready(network: ClusterNetwork, statuses: Sequence[Stored]) -> Ready:
    """Where a node at least has it, machines can use it: those are placed by the nodes' labels. The management network
    is the operating system's. (Harvester's is ready with the first VlanStatus, whatever that says.)"""
    if network.meta.deleting:
        return Ready(ready=False, reason="Deleting", message="it is being deleted")
    if network.name == names.MGMT:
        return READY
    said = ((one.place[2], _why(one)) for one in statuses if one.place)
    lacking = sorted((node, why) for node, why in said if why is not None)
    text = _listed([f"{node}: {why}" if why else node for node, why in lacking])
    if len(lacking) < len(statuses):
        return Ready(ready=True, reason="NotEverywhere" if lacking else "", message=text and f"not on {text}")
    if not statuses:
        return Ready(ready=False, reason="NoNode", message="no node has said that it is set up")
    return Ready(ready=False, reason="NotSetUp", message=text)


def _why(status: Stored) -> str | None:
    """Why a node does not have it; None: it has."""
    said = _ready_of(status.conditions)
    return None if said.get("status") == "True" else said.get("message", "")


def _ready_of(conditions: Sequence[Condition]) -> Condition:
    """Empty: nobody has said it yet."""
    return next((one for one in conditions if one.get("type") == TYPE), {})


def _listed(found: Sequence[str]) -> str:
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more


# Its status --------------------------------------------------------------------------------------


def differs(conditions: Sequence[Condition], said: Ready) -> bool:
    there = _ready_of(conditions)
    return (there.get("status"), there.get("reason", ""), there.get("message", "")) != _words(said)


def status(conditions: Sequence[Condition], said: Ready, now: str) -> dict[str, Any]:
    """With all conditions, others' too: who applies the list has the whole of it."""
    if not differs(conditions, said):
        return {"conditions": list(map(dict, conditions))}
    there = _ready_of(conditions)
    state, reason, message = _words(said)
    since = there.get("lastTransitionTime", now) if there.get("status") == state else now
    made = {"type": TYPE, "status": state, "reason": reason, "message": message}
    condition = {key: value for key, value in made.items() if value}
    condition |= {"lastUpdateTime": now, "lastTransitionTime": since}
    return {"conditions": [*(dict(one) for one in conditions if one.get("type") != TYPE), condition]}


def _words(said: Ready) -> tuple[str, str, str]:
    return str(said.ready), said.reason, said.message


# Its annotations ---------------------------------------------------------------------------------

_OF_MTU = (names.ANNOTATION_UPLINK_MTU, names.ANNOTATION_MTU_SOURCE)
_OF_VIDS = (names.ANNOTATION_VID_SET, names.ANNOTATION_VID_SET_HASH)


def annotations_kept(network: ClusterNetwork, cluster: Cluster) -> dict[str, str | None]:
    """None: it is not to be there. The MTU of the management network is the administrator's to say."""
    found = annotations_of(network, cluster)
    vids: dict[str, str | None] = {key: found.get(key) for key in _OF_VIDS}
    return vids if network.name == names.MGMT else {**vids, **_mtu(network, cluster)}


def _mtu(network: ClusterNetwork, cluster: Cluster) -> dict[str, str | None]:
    """That of the uplinks, and which VlanConfig said it. Without uplinks, only what followed one is taken away."""
    have = network.meta.annotations
    configs = [one for one in cluster.vlan_configs(network.name) if not (one.meta.deleting or one.doubts)]
    if not configs:
        return dict.fromkeys(_OF_MTU) if names.ANNOTATION_MTU_SOURCE in have else {}
    source = next((one for one in configs if one.uplink.mtu), configs[0])
    mtu = _of(source)
    known = next((one for one in configs if one.name == have.get(names.ANNOTATION_MTU_SOURCE)), None)
    if known is not None and _of(known) == mtu:
        source = known  # as good as any other, and named already
    return {names.ANNOTATION_UPLINK_MTU: str(mtu), names.ANNOTATION_MTU_SOURCE: source.name}


def _of(config: VlanConfig) -> int:
    return config.uplink.mtu or MTU_DEFAULT
