"""Where the API serves a kind, and which kinds an agent follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.machines import VirtualMachine
from windrow.model.objects import (
    KINDS,
    KUBEOVN_KINDS,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    Node,
    VlanConfig,
    VlanStatus,
)
from windrow.model.objects import NetworkAttachmentDefinition as Nad
from windrow.model.policies import MultiNetworkPolicy, Namespace, NetworkPolicy, Pod
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.values import Ref


@dataclass(frozen=True, slots=True)
class Resource:
    """`base`: `/apis/network.harvesterhci.io/v1beta1`."""

    kind: str
    version: str
    base: str
    plural: str
    namespaced: bool

    @property
    def path(self) -> str:
        """All of them, of all namespaces."""
        return f"{self.base}/{self.plural}"

    def whole(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """One of a list, whose objects do not say what they are."""
        return {"apiVersion": self.version, "kind": self.kind, **document}

    def one(self, ref: Ref, subresource: str = "") -> str:
        place = f"{self.base}/namespaces/{ref.namespace}" if self.namespaced else self.base
        return "/".join(filter(None, (f"{place}/{self.plural}/{ref.name}", subresource)))


def _base(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


RESOURCES = {
    kind.name: Resource(
        kind=kind.name,
        version=kind.cls.API_VERSION,
        base=_base(kind.cls.API_VERSION),
        plural=kind.plural,
        namespaced=kind.cls.NAMESPACED,
    )
    for kind in (*KINDS, *KUBEOVN_KINDS)
}
FOLLOWED = tuple(
    cls.KIND for cls in (ClusterNetwork, VlanConfig, VlanStatus, LinkMonitor, HostNetworkConfig, Nad, Node)
)
"""The networks and their nodes: what an agent reads, and a manager. Machines are KubeVirt's there, and pools a matter
of the whole cluster: no agent needs them."""
SHOWN = tuple(kind.name for kind in KINDS)
"""What commands list."""
OF_POOLS = (IPPool.KIND, VirtualMachineNetworkConfig.KIND, VirtualMachine.KIND)
"""What a manager reads besides that gives addresses of pools; a cluster may be without them."""
POLICIES = (NetworkPolicy.KIND, MultiNetworkPolicy.KIND)
"""What an agent reads besides."""
SELECTED = (Namespace.KIND, Pod.KIND)
"""Whom policies select. A cluster has thousands of pods and all nodes hear of each: they are read only where there is
a policy."""
OPTIONAL = frozenset(RESOURCES) - frozenset((*FOLLOWED, *SELECTED, NetworkPolicy.KIND))
"""Kinds of others (KubeVirt's, the DHCP add-on's), which a cluster may not have."""
