"""A bridge whose frames the host's packet filter sees, be they between two of its ports. Loaded only for such a one.

kube-proxy needs it: a pod asks for a Service, another one on the same bridge answers, and the answer has to come from
the Service's address. Each bridge has a switch of its own for that (`br_nf_pre_routing`), so all others stay as they
are: frames between machines are nobody's but theirs.
"""

from __future__ import annotations

import sys

from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.netlink import links, sysctl
from windrow.netlink.ports import Seen
from windrow.netlink.sock import Rtnl
from windrow.services.errors import ServiceError
from windrow.services.process import run

MODULE = "br_netfilter"


def show(bridge: Seen, rtnl: Rtnl) -> None:
    """Raises KernelError. Without the module a pod has its network all the same, and standard error says what it
    lacks."""
    if sysctl.read(BRIDGE_NETFILTER[0]) is None:
        _load(bridge.name)
    if not links.shows_frames(bridge.data):
        rtnl.run(links.show_frames(bridge.name))


def _load(bridge: str) -> None:
    """The module comes with the switch of all bridges on (`br_netfilter_sysctl_default`)."""
    try:
        run(["modprobe", MODULE])
        for key in BRIDGE_NETFILTER:
            sysctl.write(key, "0")
    except ServiceError as error:
        text = f"pods on {bridge} get no answer from Services that are answered on this bridge, too"
        print(f"windrow: {text}: modprobe {MODULE}: {error.reason}", file=sys.stderr, flush=True)
