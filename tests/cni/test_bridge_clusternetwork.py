"""Bridges of cluster networks are used, and never made or altered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from windrow.model.host import OWNER_GROUP, PortVlans
from windrow.model.values import VidSet
from windrow.netlink import links
from windrow.netlink.links import IFF_UP
from windrow.netlink.observe import port_vlans

pytestmark = pytest.mark.ours("the reference knows no cluster networks")

INVALID, IO, IN_THE_WAY, MISSING, NOT_AVAILABLE = 7, 5, 102, 103, 50
MAC = "02:00:00:00:00:0a"
MANIFEST = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
"""


@pytest.fixture
def oob(host: Any) -> None:
    """A cluster network's bridge, as a plan makes it."""
    data = {"vlan_filtering": 1}
    host.send(links.create("oob-br", "bridge", data=data, group=OWNER_GROUP, mac="02:00:00:00:0b:00", up=True))
    host.send(links.set_link("oob-br", promisc=True))


def applied(host: Any, *names: str) -> None:
    path = host.root / "run/windrow/clusternetworks"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def in_store(host: Any, text: str = MANIFEST) -> None:
    path = host.root / "etc/windrow/manifests/oob.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# A bridge that is not there -----------------------------------------------------------------------


@pytest.mark.parametrize("where", [applied, in_store])
def test_it_is_not_made(host: Any, pod: Any, where: Any) -> None:
    where(host, *(["mgmt", "oob"] if where is applied else []))
    message = host.refused("ADD", pod, host.config("oob-br", vlan=100), MISSING)
    assert "cluster network oob is not on this node" in message and "VlanConfig" in message
    assert host.links() == pod.links() == set() and host.records.all() == []
    host.delete(pod, host.config("oob-br", vlan=100))


def test_nor_is_the_management_networks(host: Any, pod: Any) -> None:
    assert "cluster network mgmt" in host.refused("ADD", pod, host.config("mgmt-br"), MISSING)
    assert host.links() == set()


def test_a_name_that_only_looks_like_one_is_made(host: Any, pod: Any) -> None:
    applied(host, "mgmt", "oob")
    in_store(host)
    host.add(pod, host.config("my-br"))
    assert host.ports("my-br")
    host.add(pod, host.config("thirteenchar-br"), CNI_IFNAME="net1")


def test_a_store_that_cannot_be_read_is_no_excuse(host: Any, pod: Any) -> None:
    path = host.root / "etc/windrow/manifests/latin.yaml"
    path.parent.mkdir(parents=True)
    path.symlink_to("/nowhere")
    message = host.refused("ADD", pod, host.config("oob-br"), IO)
    assert "oob-br" in message and host.links() == set()


def test_status_says_so(host: Any) -> None:
    applied(host, "oob")
    config = {**host.config("oob-br"), "cniVersion": "1.1.0"}
    assert "cluster network oob" in host.refused("STATUS", "", config, NOT_AVAILABLE)


# A bridge that is there ---------------------------------------------------------------------------


@pytest.mark.parametrize("marked", [True, False])
def test_it_is_not_altered(host: Any, pod: Any, marked: bool) -> None:
    if not marked:
        applied(host, "oob")
    group = OWNER_GROUP if marked else 0
    data = {"vlan_filtering": 1}
    host.send(links.create("oob-br", "bridge", data=data, group=group, mac="02:00:00:00:0b:00"))
    host.send(links.set_link("oob-br", mtu=1600))
    before = host.link("oob-br")
    result = host.add(pod, host.config("oob-br", vlan=100, promiscMode=True, mtu=1400))
    assert host.link("oob-br") == before
    assert (host.link(result["interfaces"][1]["name"]).mtu, pod.link().mtu) == (1600, 1400)
    host.delete(pod, host.config("oob-br", vlan=100))
    assert host.link("oob-br") == before


@pytest.mark.parametrize("bridge", ["oob-br", "mgmt-br"])
@pytest.mark.parametrize("mtu", [1400, 9000])
def test_a_port_has_the_networks_mtu(host: Any, pod: Any, bridge: str, mtu: int) -> None:
    group = OWNER_GROUP if bridge == "oob-br" else 0
    host.send(links.create(bridge, "bridge", data={"vlan_filtering": 1}, mtu=mtu, group=group, up=True))
    if group:
        host.send(*links.keep_mtu(bridge, mtu))  # as a plan makes it
    else:
        host.send(links.create("eth9", "dummy", master=host.kernel.rtnl.index(bridge), mtu=mtu, up=True))
    result = host.add(pod, host.config(bridge, vlan=100))
    assert [host.link(result["interfaces"][1]["name"]).mtu, pod.link().mtu, host.link(bridge).mtu] == [mtu] * 3
    assert host.check(pod, host.config(bridge, vlan=100), result).exit == 0
    host.send(links.set_link(result["interfaces"][1]["name"], mtu=1300))
    message = host.check(pod, host.config(bridge, vlan=100), result).message
    assert ("has MTU 1300, not" in message) == bool(group), "mgmt-br is the operating system's, and has followed"


def test_the_management_bridge_keeps_its_mtu_and_mac_whatever_the_configuration_says(host: Any, pod: Any) -> None:
    host.send(links.create("mgmt-br", "bridge", data={"vlan_filtering": 1}, up=True))
    index = host.kernel.rtnl.index("mgmt-br")
    host.send(links.create("eth9", "dummy", master=index, mtu=9000, mac="fe:ff:ff:ff:ff:fe", up=True))
    before = host.link("mgmt-br")
    assert (before.mtu, before.mac) == (9000, "fe:ff:ff:ff:ff:fe")
    result = host.add(pod, host.config("mgmt-br", vlan=100, mtu=1400))
    after = host.link("mgmt-br")
    assert (after.mtu, after.mac) == (before.mtu, before.mac)
    assert (host.link(result["interfaces"][1]["name"]).mtu, pod.link().mtu) == (9000, 1400)


def test_a_bridge_that_is_down_stays_so(host: Any, pod: Any, oob: None) -> None:
    host.send(links.set_link("oob-br", up=False))
    host.add(pod, host.config("oob-br", vlan=100))
    assert not host.link("oob-br").up


@pytest.mark.parametrize("key", ["isGateway", "isDefaultGateway"])
def test_it_gets_no_address(host: Any, pod: Any, oob: None, key: str) -> None:
    before = host.untouched()
    config = host.addressed(bridge="oob-br", **{key: True})
    assert "isGateway" in host.refused("ADD", pod, config, INVALID)
    assert host.untouched() == before


def test_a_network_of_it_is_a_vlan_or_a_trunk(host: Any, pod: Any, oob: None) -> None:
    config = host.config("oob-br", vlan=100, vlanTrunk=[{"id": 200}])
    assert "one or the other" in host.refused("ADD", pod, config, INVALID)


def test_harvesters_own_configuration(host: Any, pod: Any, oob: None) -> None:
    config = {
        "cniVersion": "0.3.1",
        "name": "vlan100",
        "type": "bridge",
        "bridge": "oob-br",
        "promiscMode": True,
        "vlan": 100,
        "ipam": {},
    }
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=virt-launcher-a;MAC={MAC}"
    result = host.add(pod, config, CNI_ARGS=args, CNI_IFNAME="pod37a8eec1ce1")
    assert result["interfaces"][2]["mac"] == MAC
    port = result["interfaces"][1]["name"]
    assert host.link(port).vlans == PortVlans(pvid=100, untagged=VidSet.of([100]))
    record = host.records.get(("c1", "pod37a8eec1ce1"))
    assert record is not None and (record.pod, record.network, record.bridge) == (
        "default/virt-launcher-a",
        "vlan100",
        "oob-br",
    )
    assert (record.host, record.mac, record.vlans) == (port, MAC, host.link(port).vlans)
    assert (record.isolated, record.hairpin) == (False, False)


# Duplicate MAC addresses --------------------------------------------------------------------------


def test_the_management_bridge_keeps_the_address_of_its_nic(host: Any) -> None:
    """It was not given one, and takes the lowest of its ports': so the host's lease and neighbours hang on it."""
    host.send(links.create("mgmt-br", "bridge", data={"vlan_filtering": 1}, up=True))
    host.send(links.create("nic", "dummy", mac="fc:00:00:00:00:01", master=host.runtime("mgmt-br").ifindex, up=True))
    assert host.link("mgmt-br").mac == "fc:00:00:00:00:01"
    for number in range(6):
        host.add(host.pod(), host.config("mgmt-br", vlan=100), CNI_CONTAINERID=f"c{number}")
        assert host.link("mgmt-br").mac == "fc:00:00:00:00:01"


def claimed(host: Any, pod: Any, number: int, *, mac: str = MAC, bridge: str = "oob-br", refused: bool = False) -> str:
    config = host.config(bridge, vlan=100 + number, runtimeConfig={"mac": mac})
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod{number}"
    if refused:
        text: str = host.refused("ADD", pod, config, IN_THE_WAY, CNI_CONTAINERID=f"c{number}", CNI_ARGS=args)
        return text
    host.add(pod, config, CNI_CONTAINERID=f"c{number}", CNI_ARGS=args)
    return ""


def test_a_mac_address_is_there_once(host: Any, oob: None) -> None:
    one, two = host.pod(), host.pod()
    claimed(host, one, 1)
    before = host.untouched()
    message = claimed(host, two, 2, refused=True)
    assert MAC in message and "cluster network oob" in message and "pod ns/pod1" in message
    assert host.untouched() == before
    claimed(host, two, 3, mac="02:00:00:00:00:0b")
    host.delete(one, host.config("oob-br"), CNI_CONTAINERID="c1")
    claimed(host, host.pod(), 4)


def test_in_two_cluster_networks_it_may_be(host: Any, oob: None) -> None:
    host.send(links.create("two-br", "bridge", data={"vlan_filtering": 1}, group=OWNER_GROUP, up=True))
    claimed(host, host.pod(), 1)
    claimed(host, host.pod(), 2, bridge="two-br")


def test_a_port_that_is_gone_has_no_address_any_more(host: Any, oob: None) -> None:
    """The pod's namespace was deleted, nobody said DEL, and it was a while ago."""
    import os

    gone = host.pod()
    claimed(host, gone, 1)
    port = host.records.all()[0].host
    host.send(links.delete(port))
    claimed(host, host.pod(), 2, refused=True)  # it might just be about to be made
    for path in (host.root / "run/windrow/ports").glob("*.json"):
        os.utime(path, (1, 1))
    claimed(host, host.pod(), 2)


def test_of_many_at_once_one_gets_it(host: Any, oob: None) -> None:
    pods = [host.pod() for _ in range(8)]

    def attempt(number: int) -> int:
        config = host.config("oob-br", runtimeConfig={"mac": MAC})
        exit_code: int = host.call("ADD", pods[number], config, CNI_CONTAINERID=f"c{number}").exit
        return exit_code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(attempt, range(8)))
    assert codes.count(0) <= 1 and len(host.ports("oob-br")) == codes.count(0) == len(host.records.all())


def test_other_bridges_do_not_care(host: Any) -> None:
    for number in range(2):
        claimed(host, host.pod(), number, bridge="br0")


# Never in VLAN 1 ----------------------------------------------------------------------------------


def test_the_port_is_up_in_its_own_vlan_only(host: Any, pod: Any, oob: None) -> None:
    """All that the kernel tells of the port while it is made: it has no other VLAN from when it is up."""
    seen = watched(host, pod, host.config("oob-br", vlan=100))
    up = [vlans for flags, vlans in seen if flags & IFF_UP]
    assert up and all(vlans == PortVlans(pvid=100, untagged=VidSet.of([100])) for vlans in up)
    assert any(1 in vlans.all for flags, vlans in seen if not flags & IFF_UP), "the default VLAN was not seen at all"


def test_and_so_is_a_trunk(host: Any, pod: Any, oob: None) -> None:
    seen = watched(host, pod, host.config("oob-br", vlanTrunk=[{"minID": 10, "maxID": 20}]))
    wanted = PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.span(10, 20))
    assert next(vlans for flags, vlans in seen if flags & IFF_UP) == wanted


def watched(host: Any, pod: Any, config: dict[str, Any]) -> list[tuple[int, PortVlans]]:
    """(flags, VLANs) of the port, from each notification of family AF_BRIDGE (`br_ifinfo_notify`)."""
    import socket

    from windrow.netlink import codec, netns
    from windrow.netlink.sock import RTM_NEWLINK, split

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.bind((0, 1))  # RTMGRP_LINK
        made.setblocking(False)
        return made

    found: list[tuple[int, PortVlans]] = []
    with netns.opened_in(host.fd, listen) as listener:
        port = host.add(pod, config)["interfaces"][1]["name"]
        index = host.kernel.rtnl.index(port)
        while True:
            try:
                data = listener.recv(1 << 16)
            except BlockingIOError:
                return found
            for _, kind, _, start, end in split(data):
                family, _, number, flags, _ = codec.LINK_HEADER.unpack_from(data, start)
                if (kind, family, number) == (RTM_NEWLINK, socket.AF_BRIDGE, index):
                    attributes = codec.BRIDGE_LINK.decode(data, start + codec.LINK_HEADER.size, end)
                    found.append((flags, port_vlans(attributes["spec"].get("vlans", ()))))
