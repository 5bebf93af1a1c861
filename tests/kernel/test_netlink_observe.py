"""`observe` against two other readers of the same kernel, pyroute2 and iproute2, and against interrupted dumps."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pyroute2 import IPRoute

from windrow.model.bonding import BondMode
from windrow.model.host import (
    FRESH_FLAGS,
    FRESH_VLAN_FLAGS,
    Bond,
    Bridge,
    LacpState,
    Link,
    Observed,
    Other,
    PortVlans,
    Route,
    VlanIf,
)
from windrow.model.steps import AwaitCarrier, SetBond
from windrow.model.values import IfName, VidSet
from windrow.netlink import links, observe
from windrow.netlink.errors import KernelError
from windrow.netlink.sock import DUMP_TRIES, Message, Rtnl

Ns = Any


@pytest.fixture
def busy(ns: Ns, new_ns: Callable[[], Ns]) -> Ns:
    """Two bonds in two bridges, VLAN interfaces, cables to elsewhere, addresses, routes."""
    away = new_ns()
    for n in range(6):
        ns.run(links.veth(links.End(name=f"n{n}", mtu=9000), links.End(name=f"far{n}", netns=away.fd)))
        away.run(links.set_link(f"far{n}", up=True))
    lacp = {"mode": 4, "lacp_rate": 1, "xmit_hash_policy": 1, "min_links": 1, "ad_actor_system": "02:00:00:00:00:aa"}
    backup = {"mode": 1, "arp_interval": 200, "arp_ip_target": ["10.0.0.1", "10.0.0.2"], "arp_validate": 3}
    ns.run(
        links.create("a-bo", "bond", data=lacp, mac="02:00:00:00:01:01", txqlen=500, group=77),
        links.create("b-bo", "bond", data=backup),
        links.create("a-br", "bridge", data={"vlan_filtering": 1, "ageing": 12300, "stp": 1}, mac="02:00:00:00:01:02"),
        links.create("b-br", "bridge"),
        links.create("d0", "dummy"),
        links.create("vx", "vxlan", data={"vni": 7, "port": 4789, "local": "10.1.0.1"}),
    )
    index = ns.rtnl.indexes()
    ns.run(
        links.set_master("n0", index["a-bo"]),
        links.set_master("n1", index["a-bo"]),
        links.set_master("n2", index["b-bo"]),
        links.set_master("n3", index["b-bo"]),
        links.set_bond("b-bo", Bond(primary="n3", ns_ip6_target=("fd00::1",)), ns.index),
        links.set_master("a-bo", index["a-br"]),
        links.set_master("b-bo", index["b-br"]),
        links.set_master("n4", index["a-br"]),
        links.create("a-br.100", "vlan", parent=index["a-br"], data={"vid": 100}),
        links.create("d0.7", "vlan", parent=index["d0"], data={"vid": 7}, mtu=1400),
        links.add_vlans(index["a-bo"], PortVlans(tagged=VidSet.parse("100-110,200,300-301"))),
        links.add_vlans(index["n4"], PortVlans(pvid=200, untagged=VidSet.parse("200"), tagged=VidSet.parse("5"))),
        links.add_vlans(index["a-br"], PortVlans(tagged=VidSet.of([100])), on_self=True),
        links.port_options(index["n4"], isolated=1, hairpin=1),
        links.set_link("a-br", promisc=True, alias="the uplink"),
    )
    ns.run(*(links.set_link(n, up=True) for n in ("a-bo", "b-bo", "a-br", "b-br", "n4", "n5", "d0", "lo")))
    ns.run(*(links.set_link(n, up=True) for n in ("a-br.100", "d0.7")))
    for name, cidr in (("a-br.100", "10.1.0.1/24"), ("d0", "10.2.0.1/24"), ("d0", "10.2.0.2/24"), ("d0", "fd00::5/64")):
        ns.run(links.add_addr(ns.index(name), cidr, nodad=":" in cidr))
    gateway, other = ("default", "10.1.0.254"), ("10.77.0.0/16", "10.2.0.9")
    for (dst, via), dev in ((gateway, "a-br.100"), (other, "d0")):
        ns.run(links.add_route(Route(dst=dst, dev=None, gateway=via, metric=42), ns.index(dev)))
    ns.run(links.add_route(Route(dst="fd01::/64", dev=None, gateway="fd00::9"), ns.index("d0")))
    ns.run(links.add_route(Route(dst="10.88.0.0/16", dev=None, gateway="10.2.0.9", table=100), ns.index("d0")))
    return ns


def ip_json(ns: Ns, *command: str) -> Any:
    run = ns.inside(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    return json.loads(run.stdout)


def at_rest(busy: Ns) -> tuple[Observed, dict[str, Any]]:
    """What we see and what ip sees at one moment: an ARP monitor that nobody answers takes and gives carrier."""
    for _ in range(50):
        before = busy.kernel.observe()
        shown = {entry["ifname"]: entry for entry in ip_json(busy, "ip", "-j", "-d", "link", "show")}
        seen = busy.kernel.observe()
        if [(n, r.carrier) for n, r in before.runtime.items()] == [(n, r.carrier) for n, r in seen.runtime.items()]:
            return seen, shown
    raise AssertionError("carriers come and go all the time")


def test_links_as_ip_sees_them(busy: Ns) -> None:
    seen, shown = at_rest(busy)
    assert set(seen.state.links) == set(shown)
    for name, entry in shown.items():
        link, runtime = seen.state.links[name], seen.runtime[name]
        assert (link.mtu, link.mac, link.txqlen) == (entry["mtu"], entry["address"], entry.get("txqlen")), name
        assert link.master == entry.get("master", "")
        assert link.kind == entry.get("linkinfo", {}).get("info_kind", "device")
        assert link.up == ("UP" in entry["flags"])
        assert link.promisc == ("PROMISC" in entry["flags"])
        assert runtime.carrier == ("LOWER_UP" in entry["flags"])
        assert (runtime.ifindex, runtime.alias) == (entry["ifindex"], entry.get("ifalias", ""))
        assert (runtime.min_mtu, runtime.max_mtu) == (entry["min_mtu"], entry["max_mtu"])
        assert str(runtime.group) == {"default": "0"}.get(entry["group"], entry["group"])
        if link.kind == "vlan":
            assert (link.parent, link.spec.vid) == (entry["link"], entry["linkinfo"]["info_data"]["id"])
        if link.kind == "bridge":
            data = entry["linkinfo"]["info_data"]
            assert link.spec == Bridge(
                vlan_filtering=bool(data["vlan_filtering"]),
                stp=bool(data["stp_state"]),
                ageing=data["ageing_time"] // 100,
                vlan_protocol={"802.1Q": 0x8100}[data["vlan_protocol"]],
                default_pvid=data["vlan_default_pvid"],
                group_fwd_mask=int(data["group_fwd_mask"], 16),
                mcast_snooping=bool(data["mcast_snooping"]),
                mcast_router=data["mcast_router"],
                mcast_vlan_snooping=bool(data["mcast_vlan_snooping"]),
                no_linklocal_learn=bool(data["no_linklocal_learn"]),
                nf_call_iptables=bool(data["nf_call_iptables"]),
                nf_call_ip6tables=bool(data["nf_call_ip6tables"]),
                nf_call_arptables=bool(data["nf_call_arptables"]),
            )


def test_speed_and_duplex_of_bonds_and_their_slaves(busy: Ns) -> None:
    """A veth says 10 Gbit/s, full duplex (`veth_get_link_ksettings`); a bond adds up what it sends through."""
    seen = busy.kernel.observe().runtime
    assert [(seen[IfName(n)].speed, seen[IfName(n)].duplex) for n in ("n2", "n3")] == [(10_000, "full")] * 2
    assert (seen[IfName("b-bo")].speed, seen[IfName("b-bo")].duplex) == (10_000, "full")
    assert seen[IfName("n4")].speed is None, "a port of a machine is not asked"
    assert seen[IfName("d0")].speed is None


def test_lost_carriers_are_counted_by_the_kernel(busy: Ns, new_ns: Callable[[], Ns]) -> None:
    there = new_ns()
    busy.run(links.veth(links.End(name="flap"), links.End(name="far", netns=there.fd)))
    busy.run(links.set_link("flap", up=True))
    there.run(links.set_link("far", up=True))
    before = busy.runtime("flap").carrier_downs
    for up in (False, True, False, True):
        there.run(links.set_link("far", up=up))
    assert busy.runtime("flap").carrier_downs == before + 2


def test_operational_states_as_ip_sees_them(busy: Ns) -> None:
    """They settle a moment after the links come up (`linkwatch_event`)."""

    def same() -> bool:
        shown = {entry["ifname"]: entry["operstate"].lower() for entry in ip_json(busy, "ip", "-j", "link", "show")}
        return shown == {name: runtime.oper for name, runtime in busy.kernel.observe().runtime.items()}

    wait_for(same)


def test_bonds_as_ip_sees_them(busy: Ns) -> None:
    seen = busy.kernel.observe()
    shown = {entry["ifname"]: entry for entry in ip_json(busy, "ip", "-j", "-d", "link", "show")}
    names = {"lacp_rate": "ad_lacp_rate", "num_peer_notif": "num_peer_notif", "use_carrier": "use_carrier"}
    for bond in ("a-bo", "b-bo"):
        data = shown[bond]["linkinfo"]["info_data"]
        spec = seen.state.links[IfName(bond)].spec
        for ours in ("mode", "miimon", "updelay", "arp_interval", "xmit_hash_policy", "min_links", "lp_interval"):
            assert getattr(spec, ours) == data[names.get(ours, ours)], ours
        for ours in ("primary_reselect", "fail_over_mac", "packets_per_slave", "resend_igmp", "ad_select"):
            assert getattr(spec, ours) == data[names.get(ours, ours)], ours
        assert (spec.primary or None) == data.get("primary")
        assert seen.runtime[IfName(bond)].active_slave == data.get("active_slave")
    assert seen.state.links[IfName("b-bo")].spec.arp_ip_target == ("10.0.0.1", "10.0.0.2")
    assert seen.state.links[IfName("b-bo")].spec.ns_ip6_target == ("fd00::1",)
    for slave in ("n0", "n1", "n2", "n3"):
        data = shown[slave]["linkinfo"]["info_slave_data"]
        runtime = seen.runtime[IfName(slave)]
        assert runtime.slave_active == (data["state"] == "ACTIVE")
        assert runtime.slave_mii_up == (data["mii_status"] == "UP")
        assert (runtime.link_failures, runtime.permanent_mac) == (data["link_failure_count"], data["perm_hwaddr"])


def test_vlans_as_bridge_sees_them(busy: Ns) -> None:
    seen = busy.kernel.observe().state.links
    expected: dict[str, PortVlans] = {}
    for entry in ip_json(busy, "bridge", "-j", "vlan", "show"):
        pvid, untagged, tagged = None, VidSet(), VidSet()
        for vlan in entry["vlans"]:
            vids = VidSet.span(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]))
            untagged, tagged = (
                (untagged | vids, tagged) if "Egress Untagged" in vlan.get("flags", ()) else (untagged, tagged | vids)
            )
            pvid = vlan["vlan"] if "PVID" in vlan.get("flags", ()) else pvid
        expected[entry["ifname"]] = PortVlans(pvid=pvid, untagged=untagged, tagged=tagged)
    ours = {name: link.self_vlans if link.kind == "bridge" else link.vlans for name, link in seen.items()}
    assert {name: vlans for name, vlans in ours.items() if vlans is not None} == expected
    assert expected["a-bo"] == PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.parse("100-110,200,300-301"))


def test_addresses_and_routes_as_pyroute2_sees_them(busy: Ns) -> None:
    state = busy.kernel.observe().state
    names = {runtime.ifindex: name for name, runtime in busy.kernel.observe().runtime.items()}

    def ask() -> tuple[list[Any], list[Any]]:
        with IPRoute() as ipr:
            return list(ipr.get_addr()), list(ipr.get_routes(table=254))

    addrs, routes = busy.inside(ask)
    static = {
        (names[a["index"]], f"{a.get('local') or a.get('address')}/{a['prefixlen']}")
        for a in addrs
        if a.get("flags") & 0x80 and not a.get("address").startswith("fe80")
    }
    assert {(name, cidr) for name, link in state.links.items() for cidr in link.addrs or ()} == static
    unicast = {
        Route(
            dst=f"{r.get('dst')}/{r['dst_len']}" if r["dst_len"] else "default",
            dev=names[r.get("oif")],
            gateway=r.get("gateway"),
            metric=r.get("priority") or 0,
            protocol=r["proto"],
        )
        for r in routes
        if r["type"] == 1 and not str(r.get("dst")).startswith("fe80")
    }
    assert {r for r in state.routes if r.table == 254} == unicast
    assert Route(dst="default", dev=IfName("a-br.100"), gateway="10.1.0.254", metric=42, protocol=4) in state.routes
    assert Route(dst="10.88.0.0/16", dev=IfName("d0"), gateway="10.2.0.9", table=100, protocol=4) in state.routes


def test_addresses_that_nobody_gave(ns: Ns) -> None:
    """The link-local one of a bridge, and no other link's: each port of a pod has one."""

    def ip(line: str) -> str:
        return subprocess.run(["ip", "-j", *line.split()], capture_output=True, check=True, text=True).stdout

    for line in ("link add v0 type veth peer v1", "link add br0 type bridge", "link set br0 up", "link set v0 up"):
        ns.inside(lambda line=line: ip(line))  # type: ignore[misc]
    (six,) = json.loads(str(ns.inside(lambda: ip("addr show br0"))))
    (address,) = (one["local"] for one in six["addr_info"])
    assert ns.kernel.observe().by_themselves == {address}


def test_links_as_pyroute2_sees_them(busy: Ns) -> None:
    seen = busy.kernel.observe()

    def ask() -> list[Any]:
        with IPRoute() as ipr:
            return list(ipr.get_links())

    for message in busy.inside(ask):
        name = message.get("ifname")
        link, runtime = seen.state.links[name], seen.runtime[name]
        assert (link.mtu, link.mac, runtime.ifindex) == (message.get("mtu"), message.get("address"), message["index"])
        assert runtime.group == message.get("group")
        assert (link.master != "") == bool(message.get("master"))


def test_parts_of_a_busy_namespace(busy: Ns) -> None:
    seen = busy.kernel.observe()
    link = seen.state.links
    assert link["a-br.100"].spec == VlanIf(parent=IfName("a-br"), vid=100, flags=FRESH_VLAN_FLAGS)
    assert link["n5"].spec == Other(kind="veth"), "the other end of a cable is not what it stands on"
    assert link["a-br"].promisc
    assert not link["b-br"].promisc
    assert link["a-bo"].promisc is False, "a port is promiscuous, but nobody said so"
    assert link["d0"].addrs == {"10.2.0.1/24", "10.2.0.2/24", "fd00::5/64"}
    assert (link["n0"].vlans, link["n4"].vlans) == (
        None,
        PortVlans(pvid=200, untagged=VidSet.parse("1,200"), tagged=VidSet.of([5])),
    )
    wait_for(
        lambda: busy.runtime("n4").port_state == links.LISTENING
    )  # STP is on; linkwatch opens a port, once a second


def test_lacp_partners(ns: Ns, new_ns: Callable[[], Ns]) -> None:
    """Two bonds on two cables agree: 0x3F is active, short timeout, aggregatable, in sync, collecting, distributing."""
    far = new_ns()
    for n in (0, 1):
        ns.run(links.veth(links.End(name=f"n{n}"), links.End(name=f"n{n}", netns=far.fd)))
    macs = {"ns": "02:00:00:00:00:0a", "far": "02:00:00:00:00:0b"}
    for name, side in (("ns", ns), ("far", far)):
        side.run(links.create("bo", "bond", mac=macs[name], data={"mode": 4, "lacp_rate": 1, "miimon": 20}))
        index = side.index("bo")
        side.run(links.set_master("n0", index), links.set_master("n1", index), links.set_link("bo", up=True))
    ns.do(("bo", AwaitCarrier(20_000)), ("bo", SetBond(Bond(min_links=1))))

    def settled() -> bool:
        both = [ns.runtime(f"n{n}").lacp for n in (0, 1)]
        return all(s and s.partner_mac == macs["far"] and s.actor_state & s.partner_state & 0x3F == 0x3F for s in both)

    wait_for(settled)
    bond = ns.runtime("bo")
    assert bond.partner_mac == macs["far"]
    for n in (0, 1):
        slave = ns.runtime(f"n{n}")
        assert isinstance(slave.lacp, LacpState)
        assert slave.lacp.aggregator == bond.aggregator
        assert slave.slave_mii_up


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Interrupted(Rtnl):
    """Changes the links in the middle of its first `times` link dumps."""

    times = 0
    _armed = False

    def _dump(self, message: Message, spans: list[Any]) -> bool:
        self._armed = self.times > 0
        return super()._dump(message, spans)

    def _receive(self, flags: int = 0) -> bytes:
        data = super()._receive(flags)
        if self._armed and len(data) > 16_000:
            self._armed = False
            self.times -= 1
            with Rtnl() as other:
                other.run(links.create(f"late{self.times}", "dummy"))
        return data


@pytest.mark.parametrize(("times", "refused"), [(1, False), (DUMP_TRIES - 1, False), (DUMP_TRIES, True)])
def test_an_interrupted_dump_is_tried_again_and_never_planned_by(ns: Ns, times: int, refused: bool) -> None:
    """NLM_F_DUMP_INTR: the table changed between two parts of the dump (`nl_dump_check_consistent`)."""
    ns.run(*(links.create(f"d{n}", "dummy") for n in range(100)))

    def look() -> observe.Observed:
        with Interrupted() as rtnl:
            rtnl.times = times
            return observe.observe(rtnl)

    if refused:
        with pytest.raises(KernelError, match="look again") as told:
            ns.inside(look)
        assert told.value.errno == errno.EINTR
    else:
        assert len(ns.inside(look).state.links) == 101 + times


def test_answers_that_got_lost_are_an_error_and_no_hang(ns: Ns) -> None:
    ns.rtnl._socket.setsockopt(socket.SOL_SOCKET, 33, 1)  # SO_RCVBUFFORCE: the least there is
    results = ns.rtnl.burst([links.create(f"d{n}", "dummy") for n in range(20)])
    assert results[0] is None
    assert isinstance(results[-1], KernelError)
    assert results[-1].errno == errno.ENOBUFS
    assert len(ns.rtnl.indexes()) == 21, "they were made all the same, and the socket still works"


def test_a_thousand_links_in_one_burst(ns: Ns) -> None:
    ns.run(*(links.create(f"d{n}", "dummy") for n in range(600)))
    seen = ns.kernel.observe()
    assert len(seen.state.links) == 601
    assert seen.state.links[IfName("d599")] == Link(
        name=IfName("d599"),
        spec=Other(kind="dummy"),
        up=False,
        mtu=1500,
        mac=seen.state.links[IfName("d599")].mac,
        txqlen=1000,
        promisc=False,
        master="",
        addrs=frozenset(),
        flags=replace(FRESH_FLAGS, arp=False, multicast=False),  # dummy_setup
        mark=False,
    )


@pytest.mark.parametrize("mode", BondMode)
def test_every_mode_is_observed(ns: Ns, mode: BondMode) -> None:
    ns.run(links.create("bo", "bond", data={"mode": mode.number}))
    assert ns.link("bo").spec.mode is mode


def test_a_route_of_several_next_hops_is_one_route_over_all_its_links(ns: Ns) -> None:
    ns.run(links.create("a", "dummy", up=True), links.create("b", "dummy", up=True))
    ns.run(links.add_addr(ns.index("a"), "10.1.0.1/24"), links.add_addr(ns.index("b"), "10.2.0.1/24"))
    hops = ["nexthop", "via", "10.1.0.9", "dev", "a", "nexthop", "via", "10.2.0.9", "dev", "b"]
    ns.inside(lambda: subprocess.run(["ip", "route", "add", "10.9.0.0/16", *hops], check=True))
    (found,) = (r for r in ns.kernel.observe().state.routes if r.dst == "10.9.0.0/16")
    assert (found.dev, found.gateway, found.links) == ("a", "10.1.0.9", ("a", "b"))
