"""Who asks for multicast groups, as a bridge of the operating system has heard it, and what is told of it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from tests.kernel.conftest import Ns

from windrow.apps.engine import converge, look, plan_node
from windrow.frames.ethernet import checksum
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.netlink import links, netns
from windrow.netlink.queriers import heard
from windrow.plan import snooped
from windrow.testing import builders

NODE, BRIDGE = "n1", "mgmt-br"
CLUSTER = Cluster.of((builders.nad("v200", "mgmt", 200),))


def management(ns: Ns, there: Ns) -> None:
    """As an installer leaves it."""
    ns.run(links.veth(links.End(name="eth0"), links.End(name="far0", netns=there.fd)))
    there.run(links.set_link("far0", up=True))
    ns.run(links.create("mgmt-bo", "bond", data={"mode": 1}))
    ns.run(links.create(BRIDGE, "bridge", data={"vlan_filtering": 1, "mcast_snooping": 1}))
    ns.run(links.set_link("eth0", master=ns.index("mgmt-bo")))
    ns.run(links.set_link("mgmt-bo", master=ns.index(BRIDGE)))
    for name in ("eth0", "mgmt-bo", BRIDGE):
        ns.run(links.set_link(name, up=True))


def query(there: Ns) -> None:
    """An IGMPv2 general query (RFC 2236 §2), with the router alert option of RFC 2113."""
    igmp = struct.pack("!BBHI", 0x11, 100, 0, 0)
    igmp = igmp[:2] + struct.pack("!H", checksum(igmp)) + igmp[4:]
    to, source = socket.inet_aton("224.0.0.1"), socket.inet_aton("10.0.0.254")
    head = struct.pack("!BBHHHBBH4s4s4s", 0x46, 0, 32, 0, 0, 1, 2, 0, source, to, b"\x94\x04\0\0")
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    wire = netns.opened_in(there.fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with wire:
        wire.sendto(b"\x01\0\x5e\0\0\x01" + bytes.fromhex("020000000001") + b"\x08\0" + head + igmp, ("far0", 0x0800))


def told(ns: Ns) -> list[str]:
    sight = look(ns.kernel, NODE, Known())
    want = plan_node(CLUSTER, sight).compiled.state
    bridge = snooped.askable(want, sight.observed)
    if bridge is None or not heard(ns.kernel.rtnl, bridge):
        return []
    return [p.message for p in snooped.shared(want, bridge)]


def test_a_querier_on_the_operating_systems_bridge_is_told(new_ns: Callable[[], Ns]) -> None:
    ns, there = new_ns(), new_ns()
    management(ns, there)
    assert converge(CLUSTER, ns.kernel, NODE, consent=True).ok
    assert told(ns) == [], "nobody asks"
    for _ in range(20):
        query(there)
        if heard(ns.kernel.rtnl, BRIDGE):
            break
        time.sleep(0.1)
    (message,) = told(ns)
    assert "(of 200)" in message
    ns.run(links.set_kind(BRIDGE, "bridge", {"mcast_snooping": 0}))
    assert told(ns) == []
