"""A pod's cables, taken away in one request.

Deleting a link waits for every processor to look away (`synchronize_net` and `rcu_barrier` in
`unregister_netdevice_many`, `netdev_run_todo`), one after the other where each has a request of its own; for a whole
link group it waits once (`rtnl_group_dellink`). The group is given to the pod's ends, and for this only: the host's
ends keep theirs, by which anybody knows whose they are, whatever becomes of this call.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from windrow.apps.cni import sandbox
from windrow.apps.cni.bridges import changing
from windrow.apps.cni.host import Host
from windrow.netlink import links, ports
from windrow.netlink.enter import opened_inside
from windrow.netlink.sock import Rtnl
from windrow.port.request import Request


def take_away(keys: Iterable[tuple[str, str]], netns: str, request: Request, host: Host) -> None:
    """Delete the ports of these attachments that lead into the namespace, where there are several: one by itself
    costs the same either way. What else was made of them stays. Raises CniError, KernelError."""
    rtnl = host.rtnl()
    records = [record for key in keys if (record := host.records.get(key)) is not None]
    seen = [port for record in records if (port := ports.see(rtnl, record.host)) is not None]
    if len(seen) < 2:
        return
    with (
        sandbox.opened(replace(request, netns=netns)) as pod,
        opened_inside(pod, Rtnl) as in_pod,
        changing(host),
    ):
        ends = [end for port in seen if (end := ports.other_end(in_pod, port)) is not None]
        if len(ends) > 1:
            group = int.from_bytes(os.urandom(4), "big") >> 1 | 1  # nobody's: it is an int, and 0 is every link's
            in_pod.run(*(links.set_link(end.name, group=group) for end in ends))
            in_pod.run(links.delete_group(group))
