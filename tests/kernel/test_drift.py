"""Whatever the kernel lets a hand change on a link of ours is either put back or named as not ours to care about.

The list is not ours: it is what this kernel dumps (`netlink.attributes` is held against it).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest

from windrow.apps.engine import Converged, converge, execute, look, plan_node
from windrow.model.bonding import OPTIONS, Change
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond, Bridge, BridgePort, LinkFlags
from windrow.model.marks import mark_of
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import (
    Action,
    DeleteLink,
    Plan,
    SetBond,
    SetBridge,
    SetLink,
    SetMaster,
    SetPort,
    SetSlave,
    SetVlanFlags,
    SetVlans,
)
from windrow.model.values import IfName, VidSet
from windrow.netlink import attributes, codec, links, observe
from windrow.netlink.attributes import Space
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, Message
from windrow.testing import builders

Ns = Any
NODE = "n1"
PORT = "veth-web"


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Host:
    """A cluster network with two NICs, a VLAN interface with an address, and the port of a pod."""

    def __init__(self, ns: Ns, far: Ns, mode: str | None = None) -> None:
        self.ns, self.kernel = ns, ns.kernel
        for n in (1, 2):
            ns.run(links.veth(links.End(name=f"eth{n}"), links.End(name=f"far{n}", netns=far.fd)))
            far.run(links.set_link(f"far{n}", up=True))
        self.record = PortRecord(
            container_id="c",
            ifname="net1",
            netns="/x",
            network="n",
            bridge=IfName("oob-br"),
            host=IfName(PORT),
            vlans=builders.ports("100*"),
            isolated=False,
            hairpin=False,
        )
        self.cluster = Cluster.of(
            (
                builders.cluster_network("oob"),
                builders.vlan_config("oob", ["eth1", "eth2"], mode),
                builders.nad("v100", "oob", 100),
                builders.host_network("oob", 300, {NODE: "10.30.0.1/24,fd00:30::1/64"}),
            )
        )
        assert self.apply().ok
        ns.run(links.veth(links.End(name=PORT, group=PORT_GROUP), links.End(name="inside", netns=far.fd)))
        far.run(links.set_link("inside", up=True))
        ns.run(links.set_link(PORT, up=True))
        assert self.apply().ok
        assert self.plan().empty

    def known(self) -> Known:
        return Known(ports=(self.record,), agent=True)

    def plan(self, cluster: Cluster | None = None) -> Plan:
        return plan_node(cluster or self.cluster, look(self.kernel, NODE, self.known())).plan

    def apply(self, cluster: Cluster | None = None) -> Converged:
        return converge(cluster or self.cluster, self.kernel, NODE, knowing=self.known)

    def repaired(self, field: str, link: str) -> None:
        """The plan sees it, one plan does it, and nothing is left."""
        plan = self.plan()
        assert (link, field) in {(d.link, d.field) for u in plan.units for d in u.deltas}, plan.units
        assert execute(plan, self.kernel).ok
        assert self.plan().empty, self.plan().units


@pytest.fixture
def host(new_ns: Callable[[], Ns]) -> Host:
    return Host(new_ns(), new_ns())


# What the kernel says ------------------------------------------------------------------------------


def walked(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    while start + 4 <= end:
        length, number = struct.unpack_from("=HH", data, start)
        yield number & 0x3FFF, data[start + 4 : start + length]
        start += (length + 3) & ~3


@pytest.mark.parametrize("mode", [None, "802.3ad"])
def test_every_attribute_that_this_kernel_dumps_has_its_line(new_ns: Callable[[], Ns], mode: str | None) -> None:
    host = Host(new_ns(), new_ns(), mode)
    host.ns.run(links.create("tunnel", "vxlan", data={"vni": 1, "port": 8472, "local": "10.0.0.1", "learning": 0}))
    body = codec.LINK_HEADER.pack(0, 0, 0, 0, 0) + codec.LINK.encode({"ext_mask": RTEXT_FILTER_SKIP_STATS})
    strange: list[str] = []
    seen: set[tuple[str, int]] = set()

    def check(name: str, space: Space, numbers: Iterator[int] | set[int]) -> None:
        for number in numbers:
            seen.add((space.prefix, number))
            if number not in space.rows:
                strange.append(f"{name}: {space.prefix}{number}")

    for data, start, end in host.ns.rtnl.dump(Message(RTM_GETLINK, body, doing="walk")):
        flags = codec.LINK_HEADER.unpack_from(data, start)[3]
        found = dict(walked(data, start + codec.LINK_HEADER.size, end))
        name = found[3].rstrip(b"\0").decode()
        if name == "lo":
            continue
        check(name, attributes.LINK, set(found))
        check(name, attributes.FLAGS, {1 << bit for bit in range(32) if flags >> bit & 1})
        info = dict(walked(found[18], 0, len(found[18])))
        kind, slave_kind = info[1].rstrip(b"\0").decode(), info.get(4, b"").rstrip(b"\0").decode()
        of_kind = {"bond": attributes.BOND, "bridge": attributes.BRIDGE, "vlan": attributes.VLAN}
        of_kind["vxlan"] = attributes.VXLAN
        of_slave = {"bond": attributes.SLAVE, "bridge": attributes.PORT}
        if kind in of_kind:
            check(name, of_kind[kind], {number for number, _ in walked(info[2], 0, len(info[2]))})
        if slave_kind:
            check(name, of_slave[slave_kind], {number for number, _ in walked(info[5], 0, len(info[5]))})
        if kind == "bridge":
            (known,) = [v for n, v in walked(info[2], 0, len(info[2])) if n == 46]
            check(name, attributes.BOOLOPTS, {bit for bit in range(32) if struct.unpack("=II", known)[1] >> bit & 1})
    assert not strange, f"say of each whether it is kept, in netlink/attributes.py: {strange}"
    assert len(seen) > 150, "all kinds of links of ours were walked"


# What a hand does -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """`field` of `link` is changed by these steps."""

    field: str
    link: str
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"{self.link} {self.field}"


def one(field: str, link: str, *actions: Action) -> Damage:
    return Damage(field, link, actions)


DEVICES = ("oob-br", "oob-bo", "oob-br.300")
PORTS = ("oob-bo", PORT)
FLAGS: dict[str, Any] = {
    "arp": False,
    "multicast": False,
    "allmulti": True,
    "dormant": True,
    "broadcast": "02:00:00:00:00:ff",
}
BRIDGE: dict[str, Any] = {
    "vlan_filtering": False,
    "stp": True,
    "ageing": 1,
    "vlan_protocol": 0x88A8,
    "default_pvid": 7,
    "group_fwd_mask": 8,
    "mcast_snooping": True,
    "mcast_router": 0,
    "mcast_vlan_snooping": True,
    "no_linklocal_learn": True,
    "nf_call_iptables": True,
    "nf_call_ip6tables": True,
    "nf_call_arptables": True,
}
OPTIONS_OF_PORTS: dict[str, Any] = {
    "forwarding": False,
    "isolated": True,
    "hairpin": True,
    "learning": False,
    "unicast_flood": False,
    "mcast_flood": False,
    "bcast_flood": False,
    "mcast_to_unicast": True,
    "mcast_router": 0,
    "fast_leave": True,
    "guard": True,
    "root_block": True,
    "proxy_arp": True,
    "proxy_arp_wifi": True,
    "neigh_suppress": True,
    "vlan_tunnel": True,
    "locked": True,
    "group_fwd_mask": 8,
}
DAMAGES = (
    *(
        one(f"flags.{name}", link, SetLink(flags=LinkFlags(**{name: v})))
        for link in DEVICES
        for name, v in FLAGS.items()
    ),
    *(one(f"bridge.{name}", "oob-br", SetBridge(Bridge(**{name: v}))) for name, v in BRIDGE.items()),
    *(one(f"port.{n}", link, SetPort(BridgePort(**{n: v}))) for link in PORTS for n, v in OPTIONS_OF_PORTS.items()),
    *(one("txqlen", link, SetLink(txqlen=1)) for link in DEVICES),
    *(one("mtu", link, SetLink(mtu=1300)) for link in DEVICES),
    *(one("up", link, SetLink(up=False)) for link in (*DEVICES, PORT, "eth1")),
    *(one("mac", link, SetLink(mac="02:00:00:00:00:99")) for link in ("oob-br", "oob-bo")),
    one("promisc", "oob-br", SetLink(promisc=False)),
    one("promisc", "oob-bo", SetLink(promisc=True)),
    one("promisc", "oob-br.300", SetLink(promisc=True)),
    one("master", "oob-bo", SetMaster(None)),
    one("master", "eth2", SetMaster(None)),
    one("master", PORT, SetMaster(None)),
    one("vlans", "oob-bo", SetVlans(remove=VidSet.of([100]))),
    one("self_vlans", "oob-br", SetVlans(remove=VidSet.of([300]), on_self=True)),
    one("link", "oob-br.300", DeleteLink()),
    one("slave_prio", "eth2", SetSlave(5)),
    *(one("vlan.flags", "oob-br.300", SetVlanFlags(frozenset(f))) for f in ((), ("reorder_hdr", "bridge_binding"))),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_what_a_hand_changed_is_seen_and_put_back(host: Host, damage: Damage) -> None:
    if damage.field == "port.forwarding":  # linkwatch tells a bridge of carrier once a second
        wait_for(lambda: host.ns.link(damage.link).port.forwarding is True)
    host.ns.do(*((damage.link, action) for action in damage.actions))
    host.repaired(damage.field, damage.link)


def test_a_backup_port_is_taken_away_again(host: Host) -> None:
    host.ns.run(links.port_options(host.ns.index("oob-bo"), backup_port=host.ns.index(PORT)))
    host.repaired("port.backup_port", "oob-bo")


NEEDS_MORE = frozenset({"mode", "fail_over_mac", "primary", "arp_ip_target", "ns_ip6_target"})
"""The kernel takes them from an empty bond only (`test_bond_options.py`), or they need others beside them."""


@pytest.mark.parametrize("mode", [None, "802.3ad", "balance-alb", "balance-rr"])
def test_every_option_of_a_bond_that_a_hand_changed_is_put_back(new_ns: Callable[[], Ns], mode: str | None) -> None:
    host = Host(new_ns(), new_ns(), mode)
    wanted = next(
        link.spec for link in host.kernel.observe().state.links.values() if link.name == "oob-bo"
    ).applicable()
    tried = 0
    for name, option in OPTIONS.items():
        value = getattr(wanted, name)
        if value is None or name in NEEDS_MORE:
            continue
        other = next(c for c in option.choices if c != value) if option.choices else _another(name, value, option.low)
        change: tuple[Action, ...] = (SetBond(Bond(**{name: other})),)
        if option.change is Change.DOWN:
            change = (SetLink(up=False), *change, SetLink(up=True))
        host.ns.do(*(("oob-bo", action) for action in change))
        host.repaired(f"bond.{name}", "oob-bo")
        tried += 1
    assert tried >= 8


def _another(name: str, value: Any, low: int) -> Any:
    if name == "ad_actor_system":
        return "02:00:00:00:00:ad"
    if name in ("updelay", "downdelay", "peer_notif_delay"):
        return 200  # in steps of miimon
    return value - 1 if value > low else value + 1


def test_every_line_of_the_table_that_is_kept_was_damaged_here() -> None:
    """All but what the kernel cannot change on a link that is there, or this kernel does not have."""
    kept = {fate.field for space in attributes.SPACES for _, fate in space.rows.values() if fate.field}
    tried = {d.field for d in DAMAGES} | {f"bond.{name}" for name in OPTIONS} | {"port.backup_port", "mark", "name"}
    tried |= {"snooping"}  # in test_multicast.py, by networks that ask for it
    tried |= {"vxlan.local", "vxlan.learning"}  # in test_overlay.py
    assert kept - tried == {"kind", "vlan.vid", "vlan.parent", "port.mab", "vxlan.vni", "vxlan.port"}
    assert {f.name for f in fields(Bridge)} == BRIDGE.keys()


# The marks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("lost", ["group", "altname"])
def test_a_mark_that_was_taken_away_comes_back(host: Host, name: str, lost: str) -> None:
    hand = links.set_link(name, group=0) if lost == "group" else links.delete_altname(name, mark_of(name))
    host.ns.run(hand)
    assert host.kernel.observe().owned(name)
    host.repaired("mark", name)
    runtime = host.ns.runtime(name)
    assert (runtime.group, runtime.altnames) == (links.OWNER_GROUP, (mark_of(name),))


def test_a_port_that_lost_its_group_is_known_by_its_record(host: Host) -> None:
    host.ns.run(links.set_link(PORT, group=0))
    host.repaired("mark", PORT)
    assert host.ns.runtime(PORT).group == PORT_GROUP


def test_what_lost_its_group_is_deleted_when_nobody_wants_it(host: Host) -> None:
    """Before, the bridge stayed behind and the deletion was called done."""
    host.ns.run(links.delete(PORT), *(links.set_link(name, group=0) for name in DEVICES))
    host.record = builders.port_record("gone", "x-br", "100*")
    assert host.apply(Cluster.of(())).ok
    assert not {name for name in host.kernel.observe().state.links if name.startswith("oob")}


def test_a_link_without_either_mark_is_somebody_elses(host: Host) -> None:
    host.ns.disown("oob-br")
    assert {p.code for p in host.plan().refusals} == {"in-the-way"}


# Names ----------------------------------------------------------------------------------------------


def rename(host: Host, name: str, to: str) -> None:
    index = host.ns.index(name)
    host.ns.run(links.set_link(name, up=False), links.rename(index, name, to), links.set_link(to, up=True))


@pytest.mark.parametrize(("name", "to"), [("oob-br", "lan-x"), ("oob-bo", "b0"), ("oob-br.300", "storage")])
def test_a_link_of_ours_that_was_renamed_is_named_back_with_all_that_is_in_it(host: Host, name: str, to: str) -> None:
    host.ns.run(links.veth(links.End(name="tap0"), links.End(name="tap0p"), up=True))
    if name == "oob-br":
        host.ns.run(links.set_master("tap0", host.ns.index("oob-br")))
    index, before = host.ns.index(name), host.ns.link(name)
    rename(host, name, to)
    host.repaired("name", name)
    links_now = host.kernel.observe().state.links
    assert (host.ns.index(name), links_now[IfName(name)], to in links_now) == (index, before, False)
    assert links_now[IfName("oob-bo")].master == "oob-br"
    assert links_now[IfName("oob-br.300")].addrs == {"10.30.0.1/24", "fd00:30::1/64"}
    assert links_now[IfName("tap0")].master == ("oob-br" if name == "oob-br" else "")


def test_all_of_them_renamed_and_without_their_group(host: Host) -> None:
    for name, to in (("oob-br.300", "x.3"), ("oob-br", "x"), ("oob-bo", "y")):
        rename(host, name, to)
        host.ns.run(links.set_link(to, group=0))
    host.repaired("name", "oob-br")


def test_a_name_that_was_taken_meanwhile_is_told_and_nothing_is_deleted(host: Host) -> None:
    rename(host, "oob-br", "lan-x")
    host.ns.run(links.create("oob-br", "bridge"))
    plan = host.plan()
    assert [p.code for p in plan.refusals] == ["in-the-way"] and not plan.steps


def test_a_bridge_that_others_put_links_into_is_not_deleted(host: Host) -> None:
    host.ns.run(links.delete(PORT), links.veth(links.End(name="tap0"), links.End(name="tap0p"), up=True))
    host.record = builders.port_record("gone", "x-br", "100*")
    host.ns.run(links.set_master("tap0", host.ns.index("oob-br")))
    (refusal,) = host.plan(Cluster.of(())).refusals
    assert refusal.code == "in-the-way" and "tap0" in refusal.message
    assert not host.apply(Cluster.of(())).ok
    assert {"oob-br", "oob-bo"} <= host.kernel.observe().state.links.keys()
    host.ns.run(links.set_master("tap0", None))
    assert host.apply(Cluster.of(())).ok


def test_an_alternative_name_in_the_way_is_named(ns: Ns) -> None:
    ns.run(links.create("eth1", "dummy"), links.create("d0", "dummy"), links.add_altname("d0", "oob-br"))
    cluster = Cluster.of((builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1"])))
    (refusal,) = plan_node(cluster, look(ns.kernel, NODE)).plan.refusals
    assert "d0 also goes by the name oob-br" in refusal.message
    assert refusal.hint == "take that name from it: ip link property del dev d0 altname oob-br"
    ns.run(links.delete_altname("d0", "oob-br"))
    assert converge(cluster, ns.kernel, NODE).ok


def test_a_nic_may_be_given_by_its_alternative_name(ns: Ns) -> None:
    ns.run(links.create("eth1", "dummy"), links.add_altname("eth1", "enp0s31f6-of-the-mainboard"))
    cluster = Cluster.of((builders.cluster_network("oob"), builders.vlan_config("oob", ["enp0s31f6-of-the-mainboard"])))
    report = converge(cluster, ns.kernel, NODE)
    assert report.ok and not report.planned.compiled.problems
    assert ns.link("eth1").master == "oob-bo"


@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xff\xfe\x80", b"a\x1b[2Jb"])
def test_a_name_that_is_no_text_stops_nothing(host: Host, raw: bytes) -> None:
    name = raw.decode(errors="surrogateescape")
    host.ns.run(links.create(name, "dummy", up=True))
    assert host.ns.link(name).up
    assert IfName(name) in host.kernel.nics()
    assert host.plan().empty
    host.ns.run(links.set_master(name, host.ns.index("oob-br")))
    assert host.plan().empty


def test_a_link_that_cannot_be_read_is_told_and_left_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a later kernel said something else under a number that we know."""
    monkeypatch.setitem(observe._DECODE_DATA, "vlan", lambda data: {"vid": struct.unpack("=I", data[4:6])})  # type: ignore[index]
    with Kernel(host.ns.fd) as kernel:  # the host's own remembers what it has read
        seen = kernel.observe()
        assert set(seen.unreadable) == {"oob-br.300"} and "oob-br" in seen.state.links
        planned = plan_node(host.cluster, look(kernel, NODE, host.known()))
    assert not planned.plan.steps, planned.plan.steps
    (problem,) = planned.compiled.problems
    assert problem.code == "link-unreadable" and "oob-br.300" in problem.message
