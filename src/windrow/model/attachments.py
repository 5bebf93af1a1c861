"""What the meta plugin attached to a container: the record that DEL and GC undo it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from windrow.model.lazy import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One network of a container: what was, or is going to be, handed to the plugins that make it."""

    network: str
    """The `name` that all its plugins see."""
    reference: str
    """What people call it: `namespace/name` of the NetworkAttachmentDefinition, or the name of the configuration."""
    ifname: str
    plugins: tuple[str, ...]
    """The configuration of each plugin of the chain as it stands on its standard input, without `prevResult`."""
    args: str = ""
    """CNI_ARGS."""
    device_info: str = ""
    """The file in which its plugin says which device it has handed to the pod; empty: none of its plugins does."""
    check: bool = True
    gc: bool = True
    """False: its configuration says `disableCheck`, `disableGC`."""
    default: bool = False
    """It is the pod's first interface, and its result is the container's."""
    added: bool = False
    """False: nobody knows. The record is written before the first plugin runs, and again after the last one."""
    result: Mapping[str, Any] | None = None
    """The result document of the last plugin, in the version of the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Everything of one ADD, named by the container and interface of the call (specification, §Parameters)."""

    container_id: str
    ifname: str
    netns: str
    namespace: str = ""
    """Which one `netns` was, whatever is found under that path today: `apps.cni.meta.namespace`."""
    network: str
    """The `name` of the meta plugin's own configuration."""
    path: str = ""
    """CNI_PATH."""
    pod: str = ""
    """`namespace/name`, where it is known."""
    uid: str = ""
    attachments: tuple[Attachment, ...] = ()
    """In the order in which they were added."""
    status: tuple[Mapping[str, Any], ...] = field(default=())
    """`k8s.v1.cni.cncf.io/network-status`, once all is there."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.container_id, self.ifname)
