"""Overlay networks of kube-ovn (`kubeovn.io/v1`): the few fields that an API server's requests are judged by. Nothing
is made from them here, and no host keeps them as manifests."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from windrow.model.lazy import dataclass
from windrow.model.meta import Object

KUBEOVN_API_VERSION = "kubeovn.io/v1"
OWN_SUBNETS = ("join", "ovn-default")
"""kube-ovn makes them itself, of no NetworkAttachmentDefinition."""
OWN_PROVIDER = "ovn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Object):
    """The addresses of one overlay network."""

    KIND: ClassVar[str] = "Subnet"
    API_VERSION: ClassVar[str] = KUBEOVN_API_VERSION
    provider: str = ""
    """`<name>.<namespace>.ovn` of its NetworkAttachmentDefinition."""
    vpc: str = ""
    """Empty: kube-ovn's own."""
    dhcp: bool = False
    used: int = field(default=0, compare=False)
    """So many of its addresses somebody has, of both families (status)."""

    @property
    def network(self) -> tuple[str, str]:
        """Name and namespace of its NetworkAttachmentDefinition; empty where its provider names none."""
        parts = self.provider.split(".")
        return (parts[0], parts[1]) if len(parts) > 2 else ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc(Object):
    """Overlay networks that have one router."""

    KIND: ClassVar[str] = "Vpc"
    API_VERSION: ClassVar[str] = KUBEOVN_API_VERSION
