"""On whose word, and on what terms, objects are admitted."""

from __future__ import annotations

from windrow.model.lazy import dataclass

HARVESTER_CONTROLLER = "system:serviceaccount:harvester-system:harvester-network-controller"
"""The account of Harvester's controller, which keeps a VlanConfig of the management network for every node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of manifests that the administrator of a host keeps, and (`served`) of objects that an API server keeps: there
    others ask as well, machines and statuses of all nodes are known, and objects that go stay until they may."""

    served: bool = False
    asker: str = ""
    """The account that asks, as the API server names it."""
    controllers: frozenset[str] = frozenset({HARVESTER_CONTROLLER})
    """The accounts that may write what is the controllers' alone."""
    strict: bool = True
    """Harvester's strictness: its agent makes bonds anew, so an uplink stays as it is while machines use it. False:
    what Windrow changes in place is let in."""
    subnets: bool = True
    """Whether the API server has kube-ovn's Subnets: without them there are no overlay networks."""

    @property
    def trusted(self) -> bool:
        return not self.served or self.asker in self.controllers


ON_HOST = Terms()
