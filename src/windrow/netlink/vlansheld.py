"""Which VLANs of a link an interface has, in whatever network namespace that is.

A link's VLANs are one table, wherever their interfaces are (`vlan_info` of the real device), and no dump of one
namespace shows those of another. The kernel answers all the same when an interface is to be made: EEXIST where the VID
is taken (`vlan_check_real_dev`), and only then is the MTU looked at, which here is too large for any link
(`vlan_newlink`: EINVAL). So nothing is made.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from windrow.model.values import IfName, VidSet
from windrow.netlink import links
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import Rtnl

TOO_LARGE = 65535
"""IFLA_MTU: the most that the kernel takes for a VLAN interface (`vlan_setup`), and more than its link has."""
_MODULE = "/proc/net/vlan"
"""It is there as soon as 8021q is: where it is not, there is no VLAN interface, and a question would load it."""


def held(rtnl: Rtnl, asked: Mapping[IfName, VidSet], *, module: str = _MODULE) -> dict[IfName, VidSet]:
    """Of these VIDs of 802.1Q, those that are taken, by link; a link without any is left out. A request for each.

    `asked`: only links whose MTU is less than TOO_LARGE. Who may not ask (CAP_NET_ADMIN), or asks of a link that is
    gone, hears of none. Raises KernelError where the kernel made what it was asked about and does not take it away.
    """
    if not os.path.exists(module):
        return {}
    found = {link: _held_on(rtnl, link, vids) for link, vids in asked.items()}
    return {link: vids for link, vids in found.items() if vids}


def _held_on(rtnl: Rtnl, link: IfName, vids: VidSet) -> VidSet:
    try:
        index = rtnl.index(link)
    except KernelError:
        return VidSet()
    return VidSet.of(vid for vid in vids if _is_held(rtnl, index, vid))


def _is_held(rtnl: Rtnl, index: int, vid: int) -> bool:
    name = f"ask{os.getpid()}"
    try:
        rtnl.run(links.create(name, "vlan", data={"vid": vid}, parent=index, mtu=TOO_LARGE))
    except KernelError as error:
        return error.errno == errno.EEXIST
    rtnl.run(links.delete(name))
    return False
