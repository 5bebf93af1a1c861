"""Multicast on the bridge of a cluster network: a querier in one VLAN takes nothing from another one, and where a
network asks for snooping it is done in its VLAN only.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from windrow.apps.engine import converge, execute, look, plan_node
from windrow.model.bridging import Snooping
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bridge
from windrow.model.meta import Meta
from windrow.model.names import ANNOTATION_SNOOPING
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import Plan, SetBridge, SetSnooping
from windrow.model.values import VidSet
from windrow.netlink import attributes, codec, links
from windrow.netlink.sock import RTM_GETVLAN, RTM_NEWLINK, RTM_NEWVLAN, Message
from windrow.testing import builders

Ns = Any
NODE = "n1"
TRIES = 4
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
GROUP = "239.1.1.1"
V200 = VidSet.of([200])


class Host:
    """Cluster network `oob` with three ports: `asker` in VLAN 100, `a` and `b` in VLAN 200."""

    def __init__(self, new_ns: Callable[[], Ns], *snooped: NetworkAttachmentDefinition) -> None:
        self.ns, self.far, self.ends = new_ns(), new_ns(), {name: new_ns() for name in ("asker", "a", "b")}
        self.ns.run(links.veth(links.End(name="eth1"), links.End(name="far1", netns=self.far.fd)))
        self.far.run(links.set_link("far1", up=True))
        self.cluster = Cluster.of(
            (
                builders.cluster_network("oob"),
                builders.vlan_config("oob", ["eth1"]),
                builders.nad("v100", "oob", 100),
                *(snooped or (builders.nad("v200", "oob", 200),)),
            )
        )
        self.records: list[PortRecord] = []
        self.apply()
        for name, vid in (("asker", 100), ("a", 200), ("b", 200)):
            record = builders.port_record(name, "oob-br", f"{vid}*")
            end = self.ends[name]
            self.ns.run(links.veth(links.End(name=record.host, group=PORT_GROUP), links.End(name="in", netns=end.fd)))
            end.run(links.set_link("in", up=True))
            self.ns.run(links.set_link(record.host, up=True))
            self.records.append(record)
        self.apply()

    def known(self) -> Known:
        return Known(ports=tuple(self.records))

    def apply(self) -> None:
        done = converge(self.cluster, self.ns.kernel, NODE, knowing=self.known)
        assert done.ok, done
        assert self.plan().empty, self.plan().units

    def plan(self) -> Plan:
        return plan_node(self.cluster, look(self.ns.kernel, NODE, self.known())).plan

    def forget_members_after_a_second(self) -> None:
        """IFLA_BR_MCAST_MEMBERSHIP_INTVL, in hundredths; the kernel's own is 260 s."""
        data = codec.pack_attr(31, struct.pack("=Q", 100))
        body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0)
        body += codec.LINK.encode({"name": "oob-br", "linkinfo": {"kind": "bridge", "data": data}})
        self.ns.run(Message(RTM_NEWLINK, body, doing="shorten the membership"))

    def ask(self) -> None:
        self.send("asker", mld_query())
        time.sleep(0.5)  # the answers may take 100 ms (`br_multicast_update_query_timer`)

    def send(self, end: str, frame: bytes) -> None:
        def go() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
                out.bind(("in", 0))
                out.send(frame)

        self.ends[end].inside(go)

    def arrived(self, frame: bytes, sender: str = "a", receiver: str = "b") -> int:
        """How many of `TRIES` frames come from one port to the other."""
        opened: list[socket.socket] = []
        self.ends[receiver].inside(
            lambda: opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        )
        found = 0
        with opened[0] as ear:
            ear.settimeout(0.3)
            for _ in range(TRIES):
                self.send(sender, frame)
            try:
                while found < TRIES:
                    found += ear.recv(2048)[: len(frame)] == frame
            except TimeoutError:
                pass
        return found

    def join(self, end: str) -> socket.socket:
        opened: list[socket.socket] = []

        def go() -> None:
            opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            index = socket.if_nametoindex("in")
            group = struct.pack("=4s4si", socket.inet_aton(GROUP), b"\0" * 4, index)
            opened[0].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)

        self.ends[end].inside(go)
        return opened[0]


def mld_query() -> bytes:
    """A general query of MLDv1 (RFC 2710), to be answered within 100 ms."""
    source, all_nodes = socket.inet_pton(socket.AF_INET6, "fe80::1"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    body = struct.pack("!BBHHH16x", 130, 0, 0, 100, 0)
    pseudo = source + all_nodes + struct.pack("!I3xB", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + body[4:]
    options = bytes((58, 0, 5, 2, 0, 0, 1, 0))  # the router alert, without which nobody takes it
    header = struct.pack("!IHBB", 6 << 28, len(options) + len(body), 0, 1) + source + all_nodes
    return frame_to("33:33:00:00:00:01", ETH_P_IPV6, header + options + body)


def frame_to(mac: str, ethertype: int, packet: bytes) -> bytes:
    return bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000001") + struct.pack("!H", ethertype) + packet


def solicitation() -> bytes:
    """To the group of all whose address ends in 00:00:09 (RFC 4291 §2.7.1): as neighbour discovery asks."""
    source = socket.inet_pton(socket.AF_INET6, "fe80::2")
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:9")
    return frame_to(
        "33:33:ff:00:00:09", ETH_P_IPV6, struct.pack("!IHBB", 6 << 28, 8, 59, 255) + source + group + bytes(8)
    )


def to_group() -> bytes:
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 4, 17, 0) + bytes(4) + socket.inet_aton(GROUP)
    total = sum(struct.unpack("!10H", packet))
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    packet = packet[:10] + struct.pack("!H", total) + packet[12:]
    return frame_to("01:00:5e:01:01:01", ETH_P_IP, packet + struct.pack("!HHHH", 9, 9, 8, 0))


def snooped(name: str, vid: int) -> NetworkAttachmentDefinition:
    made = builders.nad(name, "oob", vid)
    meta = Meta(name=name, namespace="default", annotations={ANNOTATION_SNOOPING: "true"})
    return NetworkAttachmentDefinition(meta=meta, config={}, type=made.type, bridge=made.bridge, vid=vid)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_querier_in_one_vlan_stops_no_neighbour_discovery_in_another(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns)
    host.forget_members_after_a_second()
    host.ask()
    time.sleep(2)
    assert host.arrived(solicitation()) == TRIES
    # The same with what a new bridge has: so the frames above could have been lost.
    host.ns.do(("oob-br", SetBridge(Bridge(mcast_snooping=True))))
    wait_for(lambda: arrived_after_a_query(host) == 0)  # one just after the change is not heard
    host.apply()
    assert host.arrived(solicitation()) == TRIES


def arrived_after_a_query(host: Host) -> int:
    host.ask()
    return host.arrived(solicitation())


def test_a_network_that_asks_for_it_is_snooped_in_its_vlan_alone(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns, snooped("v200", 200))
    assert host.ns.link("oob-br").snooping == Snooping(snooped=V200, asked=V200)
    answer_within_a_second(host)
    # A querier asks as soon as it is made one, and trusts the answers a response interval later.
    host.ns.do(("oob-br", SetSnooping(Snooping(snooped=V200), VidSet())))
    host.apply()
    wait_for(lambda: host.arrived(to_group()) == 0)
    with host.join("b"):
        wait_for(lambda: host.arrived(to_group()) == TRIES)
    assert host.arrived(to_group(), "a", "asker") == 0, "another VLAN"


def answer_within_a_second(host: Host) -> None:
    """BRIDGE_VLANDB_GOPTS_MCAST_QUERY_RESPONSE_INTVL of VLAN 200; the kernel's own is 10 s."""
    entry = codec.pack_attr(1, struct.pack("=H", 200)) + codec.pack_attr(13, struct.pack("=Q", 100))
    body = codec.VLAN_HEADER.pack(socket.AF_BRIDGE, host.ns.index("oob-br")) + codec.pack_attr(2 | 0x8000, entry)
    host.ns.run(Message(RTM_NEWVLAN, body, doing="shorten the response interval"))


@pytest.mark.parametrize(
    "hand",
    [
        SetSnooping(Snooping(snooped=V200), VidSet()),
        SetSnooping(Snooping(), V200),
        SetSnooping(Snooping(snooped=VidSet.of([100, 200]), asked=VidSet.of([100, 200]))),
    ],
    ids=["no querier", "not snooped", "another VLAN"],
)
def test_what_a_hand_changed_in_a_vlan_is_put_back(new_ns: Callable[[], Ns], hand: SetSnooping) -> None:
    host = Host(new_ns, snooped("v200", 200))
    host.ns.do(("oob-br", hand))
    plan = host.plan()
    assert [(d.link, d.field) for u in plan.units for d in u.deltas] == [("oob-br", "snooping")]
    assert execute(plan, host.ns.kernel).ok
    assert host.plan().empty


def test_a_vlan_that_comes_later_is_not_snooped_and_the_last_one_ends_it(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns, snooped("v200", 200))
    before = host.cluster
    host.cluster = Cluster.of((*before.objects.values(), builders.nad("v300", "oob", 300)))
    host.apply()
    assert host.ns.link("oob-br").snooping == Snooping(snooped=V200, asked=V200)
    both = [one for one in before.objects.values() if one.name != "v200"]
    host.cluster = Cluster.of((*both, builders.nad("v200", "oob", 200)))
    host.apply()
    bridge = host.ns.link("oob-br")
    assert (bridge.snooping, bridge.spec.mcast_snooping, bridge.spec.mcast_vlan_snooping) == (Snooping(), False, False)
    host.cluster = before
    host.apply()
    assert host.ns.link("oob-br").snooping == Snooping(snooped=V200, asked=V200)


def test_every_option_of_a_vlan_that_this_kernel_dumps_has_its_line(new_ns: Callable[[], Ns]) -> None:
    host = Host(new_ns, snooped("v200", 200))
    flags = codec.VLAN_DUMP.encode({"flags": 1 << 1})
    body = codec.VLAN_HEADER.pack(socket.AF_BRIDGE, 0) + flags
    numbers: set[int] = set()
    for data, start, end in host.ns.rtnl.dump(Message(RTM_GETVLAN, body, doing="walk")):
        for _, entry in walked(data[start + codec.VLAN_HEADER.size : end]):
            numbers |= {number for number, _ in walked(entry)}
    assert {1, 3, 15} <= numbers <= attributes.VLAN_GLOBAL.rows.keys()


def walked(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, start)
        yield number & 0x3FFF, data[start + 4 : start + length]
        start += (length + 3) & ~3


def test_this_kernel_can(new_ns: Callable[[], Ns]) -> None:
    assert new_ns().kernel.features().vlan_snooping
