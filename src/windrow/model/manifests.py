"""What was found where the manifests are, and what the node was last brought to: two values to decide from."""

from __future__ import annotations

from dataclasses import field

from windrow.model.lazy import dataclass
from windrow.model.objects import (
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    NetworkAttachmentDefinition,
    VlanConfig,
)
from windrow.model.problems import Problem
from windrow.model.wire import Loaded

NETWORKS = (ClusterNetwork, VlanConfig, HostNetworkConfig, NetworkAttachmentDefinition)
"""The kinds of what is taken down where it is not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One look at the manifest directory."""

    loaded: Loaded = field(default_factory=Loaded)
    doubted: frozenset[str] = frozenset()
    """Files that cannot be read to their end: what was in them may be there."""
    whole: frozenset[str] = frozenset()
    """The others: what is not in them is not in them."""
    lost: Problem | None = None
    """Why nothing that is missing may be taken as deleted: there is no directory, or no manifest at all in it."""
    young: bool = False
    """Some files were written just now, perhaps not to their end, and were not looked at: what is missing may be in
    them. Look again in a moment."""
    deleted: bool = True
    """Where no object of `NETWORKS` is left, somebody was seen to delete the last one. Not so: it was only not there
    any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGood:
    """The objects of the cluster that this node was last brought to; each knows the file that it came from."""

    objects: tuple[AnyObject, ...] = ()
    written: float = 0.0
    """Unix time, in seconds."""
    node: str = ""
    """Which node this host was then; empty: it was not written down."""
