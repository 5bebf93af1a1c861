"""What Harvester's agent leaves on a node becomes Windrow's and goes back, on a real kernel, under traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.kernel.test_adopt import Host, NewNs, ip, run, station

from windrow.lab.probe import Flow
from windrow.model.bonding import BondMode
from windrow.model.host import OWNER_GROUP, Bond
from windrow.model.wire import load_documents
from windrow.netlink import links
from windrow.store.directory import Store

NICS = ("ens1", "ens2")
LINKS = ("oob-br", "oob-bo", "oob-br.30")
OBJECTS = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob, annotations: {network.harvesterhci.io/uplink-mtu: "1500"}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob-all, labels: {network.harvesterhci.io/clusternetwork: oob}}
spec: {clusterNetwork: oob, uplink: {nics: [ens1, ens2], bondOptions: {mode: active-backup, miimon: -1},
                                     linkAttributes: {mtu: 0, txQLen: -1}}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","name":"v100","type":"bridge","bridge":"oob-br","promiscMode":true,"vlan":100}'}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: storage}
spec: {clusterNetwork: oob, vlanID: 30, mode: static, ips: {n1: 10.0.30.1/24}}
"""


def uplink() -> list[str]:
    """As its controller sets it up where nothing is there (setupVLAN), and again whenever an object changes: what is
    there already fails or changes nothing."""
    slaves = [f"ip link set {nic} {what}" for nic in NICS for what in ("down", "master oob-bo", "up")]
    return [
        "ip link add oob-bo type bond mode active-backup miimon 100",
        "ip link set oob-bo up",
        *slaves,
        "ip link add oob-br type bridge vlan_filtering 1",
        "ip link set oob-br promisc on",
        "ip link set oob-br up",
        "ip link set oob-bo master oob-br",
        *(f"bridge vlan add dev oob-bo vid {vid} master" for vid in (30, 100)),
        "bridge vlan add dev oob-br vid 30 self",
        "ip link add link oob-br name oob-br.30 type vlan id 30",
        "ip link set oob-br.30 up",
        "ip address replace 10.0.30.1/24 dev oob-br.30",
    ]


AFTERWARDS_S = 0.5
"""What is refused at once is over before the frames have begun."""


@pytest.fixture
def node(new_ns: NewNs, tmp_path: Path) -> Host:
    """With a machine in VLAN 100, whose port the reference's plugin left in VLAN 1 as well (preserveDefaultVlan)."""
    ns, switch, machine = new_ns(), new_ns(), new_ns()
    for number, name in enumerate(NICS, 1):
        nic, port = links.End(name=name, mac=f"02:00:00:00:01:0{number}"), f"p{number}"
        ns.run(links.veth(nic, links.End(name=port, netns=switch.fd)))
    ns.run(links.veth(links.End(name="veth0"), links.End(name="eth0", netns=machine.fd)))
    ip(switch, "ip link add sw type bridge", *(f"ip link set {p} master sw up" for p in ("p1", "p2")))
    ip(switch, "ip link set sw up")
    for vid in (30, 100):
        ip(switch, f"ip link add link sw name sw.{vid} type vlan id {vid}", f"ip link set sw.{vid} up")
        ip(switch, f"ip address add 10.0.{vid}.2/24 dev sw.{vid}")
    ip(machine, "ip link set eth0 up", "ip address add 10.0.100.1/24 dev eth0")
    ip(
        ns,
        *uplink(),
        "ip link set veth0 master oob-br up",
        "bridge vlan add dev veth0 vid 100 pvid untagged",
        "ip link add ens9 type dummy",  # the node is reached by another way
        "ip link set ens9 up",
        "ip address add 192.0.2.10/24 dev ens9",
        "ip route add default via 192.0.2.1",
    )
    Store(tmp_path).put(load_documents(OBJECTS).objects)
    return Host(ns, switch, machine, tmp_path)


@contextmanager
def nothing_lost(node: Host) -> Iterator[None]:
    """From the node in VLAN 30 and from the machine in VLAN 100; 500 frames a second each way."""
    ways = ((node.ns, "10.0.30.1", "10.0.30.2"), (node.machine, "10.0.100.1", "10.0.100.2"))
    flows = [Flow(station(f"at {a}", one, a), station(f"at {b}", node.switch, b)) for one, a, b in ways]
    with ExitStack() as running:
        for flow in flows:
            running.enter_context(flow)
        yield
        time.sleep(AFTERWARDS_S)
    found = [way for flow in flows for way in flow.result]
    assert all(way.lost == 0 and way.sent > 100 for way in found), [str(way) for way in found]


def indexes(node: Host) -> dict[str, int]:
    return {name: node.ns.index(name) for name in (*LINKS, "veth0")}


def test_nothing_is_lost_on_the_way_there_and_back(node: Host) -> None:
    before, names = indexes(node), run(node.ns, "ip", "-o", "link").count("\n")
    with nothing_lost(node):
        said = node.windrow("adopt", "--stored")
        once = node.windrow("agent", "--once")
        plan = node.windrow("plan")
        groups = {node.ns.runtime(name).group for name in LINKS}
        node.windrow("adopt", "--undo")
        # Harvester's agent goes over all of it when it starts; of its commands these still do something.
        ip(node.ns, "bridge vlan add dev oob-bo vid 100 master", "ip link set oob-bo up", "ip link set oob-br up")
    assert "3 links that the objects describe and Windrow did not make: oob-bo, oob-br, oob-br.30" in said
    assert "nothing to do" in plan, once
    assert groups == {OWNER_GROUP}
    assert indexes(node) == before, "no link was made anew"
    assert run(node.ns, "ip", "-o", "link").count("\n") == names
    assert all((node.ns.runtime(name).group, node.ns.runtime(name).altnames) == (0, ()) for name in LINKS)


def test_what_harvester_compares_a_bond_by_is_as_it_was(node: Host) -> None:
    """Mode, MTU, MAC, queue length and miimon: where one of them differs it deletes the bond and makes it anew."""
    before = node.ns.link("oob-bo")
    node.windrow("adopt", "--stored")
    node.windrow("adopt", "--undo")
    bond = node.ns.link("oob-bo")
    assert isinstance(bond.spec, Bond)
    assert (bond.spec.mode, bond.spec.miimon, bond.mtu) == (BondMode.ACTIVE_BACKUP, 100, 1500)
    assert (bond.mac, bond.txqlen) == (before.mac, before.txqlen)
    assert bond.master == "oob-br" and {30, 100} <= set(bond.vlans.tagged if bond.vlans else ())


def test_what_was_taken_over_is_kept_right(node: Host) -> None:
    """Harvester's agent repairs none of it."""
    node.windrow("adopt", "--stored")
    ip(
        node.ns,
        "bridge vlan del dev oob-bo vid 100",
        "ip address flush dev oob-br.30",
        f"ip link set {NICS[0]} nomaster",
    )
    node.windrow("agent", "--once")
    assert "nothing to do" in node.windrow("plan")
    assert node.ns.link("oob-br.30").addrs == {"10.0.30.1/24"}
    assert node.ns.kernel.nics()[NICS[0]].master == "oob-bo"


def test_where_a_bond_would_be_made_anew_it_stays_harvesters(node: Host) -> None:
    Store(node.root).put(load_documents(OBJECTS.replace("active-backup", "802.3ad")).objects)
    before = indexes(node)
    with nothing_lost(node):
        said = node.windrow("adopt", "--stored", code=1)
    assert "--max-impact is hitless" in said
    assert indexes(node) == before and node.ns.runtime("oob-bo").group == 0
