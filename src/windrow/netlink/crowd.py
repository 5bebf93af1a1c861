"""Many links deleted in one request.

Deleting a link waits for every processor to look away (`synchronize_net` and `rcu_barrier` in
`unregister_netdevice_many`, `netdev_run_todo`), one after the other where each has a request of its own; for a whole
link group it waits once (`rtnl_group_dellink`). The links are given a group for this only, and their own back where the
kernel refuses. Meanwhile their alternative name says whose they are: a link without that mark is deleted by itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from windrow.model.lazy import dataclass
from windrow.model.marks import called, marked_names
from windrow.netlink import codec, links
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, Message, Rtnl

_ROWS = ("name", "group", "properties")
_TABLE = codec.Table({name: codec.LINK.rows[name] for name in _ROWS})
_BODY = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"ext_mask": RTEXT_FILTER_SKIP_STATS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """`group`: one that no link is in; `before`: the links that may be in it, with the group that they have."""

    group: int
    before: Mapping[str, int]


def crowd(rtnl: Rtnl, names: Collection[str]) -> Crowd:
    """Which of the links can be deleted together. Raises KernelError."""
    used: set[int] = set()
    before: dict[str, int] = {}
    for data, start, end in rtnl.dump(Message(RTM_GETLINK, _BODY, doing="list the link groups")):
        seen = _TABLE.decode(data, start + codec.LINK_HEADER.size, end)
        altnames = codec.altnames(seen)
        name, group = called(seen["name"], altnames), seen.get("group", 0)
        used.add(group)
        if name in names and marked_names(altnames):
            before[name] = group
    return Crowd(group=_free(used), before=before)


def _free(used: Collection[int]) -> int:
    """Nobody's, by chance: others may make links meanwhile. It is an int, and 0 is every link's."""
    while True:
        group = int.from_bytes(os.urandom(4), "big") >> 1 | 1
        if group not in used:
            return group


def delete(rtnl: Rtnl, names: Sequence[str]) -> list[KernelError | None]:
    """Delete the links, and what became of each; in one request where that can be. Raises KernelError if the kernel
    cannot be asked."""
    together = crowd(rtnl, names)
    several = len(together.before) > 1
    found = dict[str, KernelError | None]()
    if several:
        first = [name for name in names if name in together.before]
        *moved, gone = rtnl.burst(
            [*(links.set_link(name, group=together.group) for name in first), links.delete_group(together.group)]
        )
        found = {name: error for name, error in zip(first, moved, strict=True) if error is not None or gone is None}
    alone = [name for name in names if name not in found]
    found |= zip(alone, rtnl.burst([links.delete(name) for name in alone]), strict=True)
    rtnl.burst(
        [links.set_link(n, group=together.before[n]) for n in alone if several and found[n] and n in together.before]
    )
    return [found[name] for name in names]
