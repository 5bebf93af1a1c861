"""A port that a CNI call made: the record that makes it part of what a host should be."""

from __future__ import annotations

from dataclasses import dataclass

from windrow.model.host import PortVlans
from windrow.model.values import IfName, Mac

PORT_GROUP = 30576
"""The link group of the host end of a port. Not `host.OWNER_GROUP`: what is Windrow's own and wanted by nobody is
deleted by a plan, and a port must outlive the loss of its record. Only DEL and GC take it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRecord:
    """One port of a bridge, from before it is made until after it is gone. It lives on tmpfs, as the port does.

    `key`: container id and interface name, which together name an attachment (CNI specification, §Parameters).
    """

    container_id: str
    ifname: str
    """The name in the pod."""
    netns: str
    network: str
    """The `name` of the network configuration."""
    bridge: IfName
    host: IfName
    """The port itself: the host's end of the veth pair."""
    mac: Mac | None = None
    """The pod end's."""
    vlans: PortVlans | None = None
    """None: the bridge's default, nothing is managed."""
    pod: str = ""
    """`namespace/name` of the pod (or VM), where CNI_ARGS said it."""
    config: str = ""
    """The configuration as it came on standard input: GC undoes with it what DEL would have."""
    path: str = ""
    """CNI_PATH of the ADD."""
    args: str = ""
    """CNI_ARGS of the ADD."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.container_id, self.ifname)
