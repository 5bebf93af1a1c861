"""Network policies, and the pods and namespaces that they speak of: Kubernetes' own objects, with the fields that
decide whether a packet may pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from windrow.model.lazy import dataclass
from windrow.model.meta import Object
from windrow.model.selectors import LabelSelector

ANNOTATION_POLICY_FOR = "k8s.v1.cni.cncf.io/policy-for"
"""On a MultiNetworkPolicy: the networks it is about, `namespace/name` or `name`, with commas between."""
ANNOTATION_LOG_DROPPED = "windrow.io/log-dropped"
"""On a NetworkPolicy or MultiNetworkPolicy: what ports that it isolates drop is told in the kernel's log, so many
packets a second at most at each port, 1 to LOG_MAX."""
LOG_MAX = 100
ANNOTATION_NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
"""On a Pod: its interfaces with their networks and addresses, as JSON."""
LABEL_NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The API server gives it to every namespace."""
DEFAULT_NETWORK = ""
"""The network that a pod has before it asks for any: the one that a NetworkPolicy is about."""
DEFAULT_INTERFACE = "eth0"
"""The pod's interface in it (Multus' convention, and this plugin's)."""


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class Direction(StrEnum):
    INGRESS = "Ingress"
    EGRESS = "Egress"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPort:
    """A port that a container names."""

    name: str
    number: int
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInterface:
    """One entry of the network status: `network` is `namespace/name` of its NetworkAttachmentDefinition."""

    network: str
    name: str = ""
    addresses: tuple[str, ...] = ()
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace(Object):
    KIND: ClassVar[str] = "Namespace"
    API_VERSION: ClassVar[str] = "v1"

    @property
    def labels(self) -> Mapping[str, str]:
        return labels_of_namespace(self.name, self.meta.labels)


def labels_of_namespace(name: str, labels: Mapping[str, str] = {}) -> Mapping[str, str]:
    """With the one that it has anyway. A namespace without an object has no other."""
    return {**labels, LABEL_NAMESPACE_NAME: name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod(Object):
    KIND: ClassVar[str] = "Pod"
    API_VERSION: ClassVar[str] = "v1"
    NAMESPACED: ClassVar[bool] = True
    addresses: tuple[str, ...] = ()
    """`status.podIPs`: in the default network."""
    ports: tuple[PodPort, ...] = ()
    interfaces: tuple[PodInterface, ...] = ()
    host_network: bool = False
    """Its addresses are the node's: no policy selects it, and no selector of a peer means it."""
    finished: bool = False
    """It succeeded or failed for good: its addresses may be somebody else's by now."""

    def addresses_in(self, network: str) -> tuple[str, ...]:
        """`network`: `namespace/name`, or DEFAULT_NETWORK."""
        if self.host_network or self.finished:
            return ()
        if network == DEFAULT_NETWORK:
            return self.addresses or tuple(a for one in self.interfaces if one.default for a in one.addresses)
        return tuple(a for one in self.interfaces if one.network == network and not one.default for a in one.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class IpBlock:
    """Addresses of `cidr` that are in none of `excluded` (`except`)."""

    cidr: str
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Either pods by their labels, or a block of addresses.

    Selectors that are None are absent: without a namespace selector the pods are those of the policy's own namespace,
    without a pod selector all pods of the namespaces.
    """

    pods: LabelSelector | None = None
    namespaces: LabelSelector | None = None
    block: IpBlock | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPort:
    """`first` 0 and no name: all ports of the protocol."""

    protocol: Protocol = Protocol.TCP
    first: int = 0
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """What is let through. No peers: whoever it is; no ports: whichever it is. Kubernetes does not tell an empty list
    from an absent one here."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy(Object):
    """Pods that it selects are isolated in its `directions`: only what a rule of such a policy lets through passes."""

    KIND: ClassVar[str] = "NetworkPolicy"
    API_VERSION: ClassVar[str] = "networking.k8s.io/v1"
    NAMESPACED: ClassVar[bool] = True
    pods: LabelSelector = LabelSelector()
    directions: frozenset[Direction] = frozenset({Direction.INGRESS})
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """Those it is about."""
        return (DEFAULT_NETWORK,)

    @property
    def logged(self) -> int:
        """ANNOTATION_LOG_DROPPED; 0: nothing is logged."""
        text = self.meta.annotations.get(ANNOTATION_LOG_DROPPED, "")
        return int(text) if text.isascii() and text.isdigit() and 1 <= int(text) <= LOG_MAX else 0

    def rules(self, direction: Direction) -> tuple[PolicyRule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiNetworkPolicy(NetworkPolicy):
    """The same for the further networks of pods that its annotation names."""

    KIND: ClassVar[str] = "MultiNetworkPolicy"
    API_VERSION: ClassVar[str] = "k8s.cni.cncf.io/v1beta1"
    OLDER_VERSIONS: ClassVar[tuple[str, ...]] = ("k8s.cni.cncf.io/v1beta2",)

    @property
    def networks(self) -> tuple[str, ...]:
        named = self.meta.annotations.get(ANNOTATION_POLICY_FOR, "").split(",")
        words = (word.strip() for word in named)
        return tuple(word if "/" in word else f"{self.meta.namespace}/{word}" for word in words if word)
