"""The overlay: how long it takes until the ways to all nodes are there, and what a tunnel costs.

python -m bench.overlay WHERE     as root, in a namespace that may be filled (`unshare --net`)
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bench.inside import batch, output
from bench.measure import MARK, Group, NotMeasured, Way, compare, encode
from windrow.apps.engine import converge
from windrow.model.cluster import Cluster
from windrow.model.host import FdbEntry
from windrow.model.names import ANNOTATION_OVERLAY
from windrow.model.objects import Node
from windrow.model.overlay import FAMILIES, vtep_mac
from windrow.model.steps import Action, AddFdb, AddNeighbour, AddRoute
from windrow.model.values import Cidr, IfName
from windrow.model.verbatim import onlink, permanent
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import Rtnl
from windrow.testing import builders

NODES, RUNS = 1000, 7
DEVICE = IfName("flannel.1")
V4 = FAMILIES[0]
MEGABYTES, CHUNK = 256, 1 << 20


def measure(where: str) -> Iterator[Group]:
    yield converging(where)
    yield sending(where)


# -- nodes whose management network the operating system made --------------------------------------


def cluster(count: int) -> Cluster:
    mgmt = builders.cluster_network("mgmt")
    conf = {"Network": "10.128.0.0/14", "Backend": {"Type": "vxlan"}}
    mgmt = replace(mgmt, meta=replace(mgmt.meta, annotations={ANNOTATION_OVERLAY: json.dumps(conf)}))
    return builders.cluster(mgmt, *map(node, range(count)))


def node(number: int) -> Node:
    made = builders.node(f"n{number}")
    meta = replace(made.meta, annotations={V4.address: end(number)})
    return replace(made, meta=meta, pod_cidrs=(Cidr(f"{pods(number)}/24"),))


def end(number: int) -> str:
    return f"10.50.{number // 250}.{number % 250 + 1}"


def pods(number: int) -> str:
    return f"10.{128 + number // 256}.{number % 256}.0"


def brought(wanted: Cluster, kernel: Kernel, name: str = "n0") -> None:
    report = converge(wanted, kernel, name, consent=True)
    if not report.ok:
        raise NotMeasured(f"{report.outcome}; {[unit.deltas for unit in report.left.units]}")


# -- the ways to all nodes -------------------------------------------------------------------------


def converging(where: str) -> Group:
    """From a node that is alone to one that knows the ways to all others."""
    batch("ip", ["link set lo up", "link add eth0 type veth peer name far0", "link set far0 up"])
    batch("ip", [f"addr add {end(0)}/16 dev eth0", "link set eth0 up", "route add default via 10.50.255.254"])
    alone, whole = cluster(1), cluster(NODES)
    actions = [action for number in range(1, NODES) for action in ways_to(number)]
    with Kernel() as kernel:

        def one_by_one() -> None:
            for action in actions:
                if (failure := kernel.run([builders.step(DEVICE, action)])) is not None:
                    raise NotMeasured(str(failure))

        def together() -> None:
            if (failure := kernel.run([builders.step(DEVICE, action) for action in actions])) is not None:
                raise NotMeasured(str(failure))

        def clear() -> None:
            brought(alone, kernel)

        ways = [
            Way(what="windrow: look, compile, plan, carry out, look again", run=lambda: brought(whole, kernel)),
            Way(what="of it the requests alone", run=together),
            Way(what="the same requests one by one, as flanneld sends them", run=one_by_one),
            Way(what="`ip -batch`, `bridge -batch`: two processes, one request each", run=by_iproute2),
        ]
        rows = compare(RUNS, [replace(way, prepare=clear) for way in ways])
        clear()
        by_iproute2()
        if (left := converge(whole, kernel, "n0", consent=True)).planned.plan.steps and not left.ok:
            raise NotMeasured("the ways are not the same ones")
    batch("ip", [f"link del {DEVICE}", "link del eth0"])
    return Group(title=f"Overlay: the ways to {NODES - 1:,} nodes", where=where, rows=rows)


def ways_to(number: int) -> tuple[Action, ...]:
    mac, first = vtep_mac(node(number), V4, 1), pods(number)
    return (
        AddNeighbour(permanent(first, mac)),
        AddFdb(FdbEntry(mac=mac, dst=end(number))),
        AddRoute(onlink(Cidr(f"{first}/24"), first, DEVICE)),
    )


def by_iproute2() -> None:
    macs = {number: vtep_mac(node(number), V4, 1) for number in range(1, NODES)}
    batch("bridge", [f"fdb replace {mac} dev {DEVICE} dst {end(n)} self permanent" for n, mac in macs.items()])
    lines = [f"neigh replace {pods(n)} lladdr {mac} nud permanent dev {DEVICE}" for n, mac in macs.items()]
    batch("ip", [*lines, *(f"route replace {pods(n)}/24 via {pods(n)} dev {DEVICE} onlink" for n in macs)])


# -- what a tunnel costs ---------------------------------------------------------------------------


def sending(where: str) -> Group:
    """Between two namespaces, as between pods of two nodes: over the cable between them, and through the tunnel."""
    there = netns.new()
    with Rtnl() as rtnl:
        rtnl.run(links.veth(links.End(name="eth0"), links.End(name="eth0", netns=there)))
    known = cluster(2)
    for number, fd in ((0, None), (1, there)):
        netns.opened_in(fd, partial(set_up, number))
        with Kernel(fd) as kernel:
            brought(known, kernel, f"n{number}")
        netns.opened_in(fd, partial(as_flannel_makes_it, number))
    output(f"ping -c1 -W3 {pods(1)}")
    output(f"ping -c1 -W3 {flannels(1)}")
    ways = [
        Way(what="through the tunnel", run=lambda: send(there, pods(1))),
        Way(what="through a device as flannel makes it", run=lambda: send(there, flannels(1))),
        Way(what="over the veth below it", run=lambda: send(there, end(1))),
    ]
    rows = compare(RUNS, ways)
    speeds = ", ".join(f"{MEGABYTES * 8 / 1000 / row.median:.1f} Gbit/s {row.what}" for row in rows)
    title = f"Overlay: {MEGABYTES} MB by TCP from node to node"
    return Group(title=title, where=where, rows=rows, note=f"{speeds}. Both ends share the processors.")


def set_up(number: int) -> None:
    batch("ip", ["link set lo up", f"addr add {end(number)}/16 dev eth0", "link set eth0 up"])
    batch("ip", ["route add default via 10.50.255.254"])


def as_flannel_makes_it(number: int) -> None:
    """On the link that flanneld is given (pkg/backend/vxlan/device.go), beside Windrow's, which stands on none."""
    far = 1 - number
    made = f"link add flannel.9 mtu 1450 address {flannel_mac(number)} type vxlan id 9 dstport 8473 nolearning"
    batch("ip", [f"{made} dev eth0 local {end(number)}", f"addr add {flannels(number)}/32 dev flannel.9"])
    batch("ip", ["link set flannel.9 up", f"neigh add {flannels(far)} lladdr {flannel_mac(far)} dev flannel.9"])
    batch("ip", [f"route add {flannels(far)}/24 via {flannels(far)} dev flannel.9 onlink"])
    batch("bridge", [f"fdb append {flannel_mac(far)} dev flannel.9 dst {end(far)} self permanent"])


def flannels(number: int) -> str:
    return f"10.200.{number}.0"


def flannel_mac(number: int) -> str:
    return f"02:00:00:00:09:{number + 1:02x}"


def send(there: int, address: str) -> None:
    """Until the other end, a process of its own, has all of it and says so."""
    server = netns.opened_in(there, lambda: socket.create_server((address, 0)))
    child = os.fork()
    if not child:
        received(server)
        os._exit(0)
    port, data = server.getsockname()[1], memoryview(bytes(CHUNK))
    server.close()
    with socket.create_connection((address, port)) as made:
        for _ in range(MEGABYTES):
            made.sendall(data)
        made.shutdown(socket.SHUT_WR)
        if made.recv(1) != b"1":
            raise NotMeasured("the other end did not get all of it")
    os.waitpid(child, 0)


def received(server: socket.socket) -> None:
    made, _ = server.accept()
    buffer, count = bytearray(CHUNK), 0
    while got := made.recv_into(buffer):
        count += got
    made.sendall(b"1" if count == MEGABYTES * CHUNK else b"0")


if __name__ == "__main__":
    for result in measure(sys.argv[1]):
        print(MARK + encode(result), flush=True)
