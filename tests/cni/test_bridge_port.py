"""What an ADD makes, key by key, and that a DEL takes it away."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from windrow.model.host import PortVlans
from windrow.model.ports import PORT_GROUP
from windrow.model.values import VidSet
from windrow.netlink import links

ours = pytest.mark.ours
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0")


def vlans(text: str, pvid: int | None, tagged: str = "") -> PortVlans:
    return PortVlans(pvid=pvid, untagged=VidSet.parse(text), tagged=VidSet.parse(tagged))


def port_of(result: dict[str, Any]) -> str:
    name: str = result["interfaces"][1]["name"]
    return name


# Results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_result_of_a_port_without_addresses(host: Any, pod: Any, version: str) -> None:
    result = host.add(pod, {**host.config(), "cniVersion": version})
    port = port_of(result)
    assert re.fullmatch("veth[0-9a-f]{8}", port)
    assert {**result, "dns": {}} == {
        "cniVersion": version,
        "interfaces": [
            {"name": "br0", "mac": host.link("br0").mac},
            {"name": port, "mac": host.link(port).mac},
            {"name": "eth0", "mac": pod.link().mac, "sandbox": pod.path},
        ],
        "dns": {},
    }


@ours("1.1.1 does not know this version")
def test_the_result_of_version_1_1(host: Any, pod: Any) -> None:
    result = host.add(pod, {**host.config(), "cniVersion": "1.1.0"})
    assert result["cniVersion"] == "1.1.0" and [i["name"] for i in result["interfaces"]][::2] == ["br0", "eth0"]


def test_keys_match_without_regard_to_case(host: Any, pod: Any) -> None:
    host.add(
        pod, {"cniVersion": "1.0.0", "NAME": "net1", "type": "bridge", "Bridge": "br0", "VLAN": 7, "promiscmode": True}
    )
    assert host.link("br0").promisc


# What is made -------------------------------------------------------------------------------------


def test_a_port_of_a_bridge_that_is_made_for_it(host: Any, pod: Any) -> None:
    port = port_of(host.add(pod, host.config()))
    made, end, bridge = host.link(port), pod.link(), host.link("br0")
    assert (made.master, made.up, made.kind, made.mtu) == ("br0", True, "veth", 1500)
    assert (end.up, end.mtu, end.kind) == (True, 1500, "veth")
    assert (bridge.kind, bridge.up, bridge.promisc, bridge.mtu) == ("bridge", True, False, 1500)
    assert host.runtime(port).oper == "up" and host.runtime(port).port_state == 3
    assert host.runtime("br0").group == 0
    assert not bridge.spec.vlan_filtering
    for name in ("br0", port):
        assert host.sysctl(f"net/ipv6/conf/{name}/accept_ra") == "0"


def test_the_default_bridge_is_cni0(host: Any, pod: Any) -> None:
    config = host.config()
    del config["bridge"]
    port = port_of(host.add(pod, config))
    assert host.ports("cni0") == [port]


@ours("a bridge has one database of multicast groups for all its VLANs: a querier in one ends it in the others")
def test_a_bridge_with_vlans_is_made_without_snooping(host: Any, pod: Any) -> None:
    host.add(pod, host.config(vlan=100))
    spec = host.link("br0").spec
    assert spec.vlan_filtering
    assert not spec.mcast_snooping


@ours("the link group marks what Windrow's GC may take away; the name follows from the attachment")
def test_the_port_is_marked_and_its_name_follows_from_the_attachment(host: Any, pod: Any) -> None:
    port = port_of(host.add(pod, host.config()))
    assert host.runtime(port).group == PORT_GROUP
    host.delete(pod, host.config())
    assert port_of(host.add(pod, host.config())) == port


def test_a_bridge_that_is_there_is_used(host: Any, pod: Any) -> None:
    host.make_bridge(mtu=1400)
    before = host.link("br0")
    port = port_of(host.add(pod, host.config(mtu=1300)))
    after = host.link("br0")
    assert host.link(port).master == "br0"
    assert (after.spec, after.promisc) == (before.spec, before.promisc)


def test_two_ports_on_one_bridge(host: Any) -> None:
    one, two = host.pod(), host.pod()
    names = {
        port_of(host.add(one, host.config(), CNI_CONTAINERID="c1")),
        port_of(host.add(two, host.config(), CNI_CONTAINERID="c2")),
    }
    assert set(host.ports()) == names and len(names) == 2


def test_two_interfaces_of_one_container(host: Any, pod: Any) -> None:
    host.add(pod, host.config(), CNI_IFNAME="eth0")
    host.add(pod, host.config(), CNI_IFNAME="net1")
    assert pod.links() == {"eth0", "net1"} and len(host.ports()) == 2
    host.delete(pod, host.config(), CNI_IFNAME="eth0")
    assert pod.links() == {"net1"} and len(host.ports()) == 1


def test_many_at_once_make_one_bridge(host: Any) -> None:
    pods = [host.pod() for _ in range(8)]

    def attach(number: int) -> str:
        return port_of(host.add(pods[number], host.config(vlan=7, promiscMode=True), CNI_CONTAINERID=f"c{number}"))

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(attach, range(8)))
    assert host.ports() == sorted(names) and host.link("br0").promisc


def test_an_interface_of_the_hosts_name_is_no_obstacle(host: Any, pod: Any) -> None:
    host.send(links.create("eth0", "dummy"))
    host.add(pod, host.config())
    assert pod.links() == {"eth0"}


@ours("the reference makes the port 1500 bytes large, and takes the bridge down to that")
@pytest.mark.parametrize("mtu", [1280, 9000])
@pytest.mark.parametrize("keys", [{}, {"mtu": 1300}])
@pytest.mark.parametrize("ports", [0, 1])
def test_a_bridge_that_is_there_keeps_its_mtu(host: Any, pod: Any, mtu: int, keys: dict[str, int], ports: int) -> None:
    host.make_bridge(mtu=mtu)
    if ports:
        host.send(links.create("eth9", "dummy", master=host.kernel.rtnl.index("br0"), mtu=mtu))
    host.add(pod, host.config(**keys))
    assert pod.link().mtu == keys.get("mtu", mtu)
    if mtu > 1300:
        assert host.link("br0").mtu == mtu
        host.delete(pod, host.config(**keys))
        assert host.link("br0").mtu == mtu


def test_an_empty_bridge_takes_the_mtu_that_a_network_asks_for(host: Any) -> None:
    """The bridge of a network with an MTU, once its last port has gone: `br_mtu_auto_adjust` makes it 1500."""
    for _ in range(2):
        pod = host.pod()
        host.add(pod, host.config(mtu=1400))
        assert (host.link("br0").mtu, pod.link().mtu) == (1400, 1400)
        host.delete(pod, host.config(mtu=1400))


@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("there", [False, True])
@ours("the reference's bridge has the address of its first port")
def test_a_bridge_has_a_mac_of_its_own_and_keeps_it(host: Any, gateway: bool, there: bool) -> None:
    if there:
        host.make_bridge()
    before = host.link("br0").mac if there else None
    config = host.addressed(isGateway=True) if gateway else host.config()
    pods = [host.pod() for _ in range(4)]
    ports = [port_of(host.add(pod, config, CNI_CONTAINERID=f"c{i}")) for i, pod in enumerate(pods)]
    mac = host.link("br0").mac
    assert before in (None, mac) and mac not in {host.link(port).mac for port in ports}
    for i in (0, 2, 3, 1):
        host.delete(pods[i], config, CNI_CONTAINERID=f"c{i}")
        assert host.link("br0").mac == mac
    host.add(pods[0], config, CNI_CONTAINERID="again")
    assert host.link("br0").mac == mac


@ours("the reference's bridge has the address of its first port")
def test_a_bridge_that_is_made_again_has_the_same_mac(host: Any) -> None:
    found = set()
    for number in range(2):
        host.add(host.pod(), host.addressed(isGateway=True, vlan=7), CNI_CONTAINERID=f"c{number}")
        found.add((host.link("br0").mac, host.link("br0.7").mac))
        for name in ("br0", "br0.7"):
            host.send(links.delete(name))
    assert len(found) == 1 and len(set(found.pop())) == 2


@pytest.mark.parametrize("mtu", [1280, 1400])
def test_mtu_is_for_both_ends_and_a_new_bridge(host: Any, pod: Any, mtu: int) -> None:
    port = port_of(host.add(pod, host.config(mtu=mtu)))
    assert {host.link("br0").mtu, host.link(port).mtu, pod.link().mtu} == {mtu}


def test_promiscuous_mode_is_the_bridges(host: Any, pod: Any) -> None:
    port = port_of(host.add(pod, host.config(promiscMode=True)))
    assert host.link("br0").promisc and not host.link(port).promisc
    host.delete(pod, host.config(promiscMode=True))
    assert host.link("br0").promisc


def test_promiscuous_mode_of_a_bridge_that_is_there(host: Any, pod: Any) -> None:
    host.make_bridge()
    host.add(pod, host.config(promiscMode=True))
    assert host.link("br0").promisc


@pytest.mark.parametrize("wanted", [True, False])
def test_hairpin_mode(host: Any, pod: Any, wanted: bool) -> None:
    port = port_of(host.add(pod, host.config(hairpinMode=wanted)))
    assert slave(host, port)["hairpin"] == int(wanted)


@ours("port isolation came with 1.7")
@pytest.mark.parametrize("wanted", [True, False])
def test_port_isolation(host: Any, pod: Any, wanted: bool) -> None:
    port = port_of(host.add(pod, host.config(portIsolation=wanted)))
    assert slave(host, port)["isolated"] == int(wanted)


def slave(host: Any, port: str) -> dict[str, int]:
    from windrow.netlink import ports

    seen = ports.see(host.kernel.rtnl, port)
    assert seen is not None
    return dict(seen.slave)


@ours("disableContainerInterface came with 1.5")
def test_the_pods_end_stays_down_for_the_target_of_a_migration(host: Any, pod: Any) -> None:
    config = host.config(disableContainerInterface=True)
    result = host.add(pod, config)
    assert not pod.link().up
    assert host.link(port_of(result)).up
    assert host.check(pod, config, result).exit == 0
    host.delete(pod, config)
    assert pod.links() == set()


def test_names_of_dns_servers_are_passed_on(host: Any, pod: Any) -> None:
    dns = {"nameservers": ["10.0.0.53"], "domain": "example.com", "search": ["a.example.com"], "options": ["ndots:2"]}
    assert host.add(pod, host.config(dns=dns))["dns"] == dns


def test_an_empty_ipam_means_no_addresses(host: Any, pod: Any) -> None:
    result = host.add(pod, host.config(ipam={}))
    assert not result.get("ips") and pod.link().up


# MAC addresses ------------------------------------------------------------------------------------

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"


@pytest.mark.parametrize(
    ("keys", "args", "mac"),
    [
        ({}, f"MAC={A}", A),
        ({}, f"IgnoreUnknown=1;K8S_POD_NAME=x;MAC={A}", A),
        ({"args": {"cni": {"mac": B}}}, "", B),
        ({"args": {"cni": {"mac": B}}}, f"MAC={A}", B),
        ({"runtimeConfig": {"mac": C}}, "", C),
        ({"runtimeConfig": {"mac": C}, "args": {"cni": {"mac": B}}}, f"MAC={A}", C),
        ({"runtimeConfig": {"mac": C.upper()}}, "", C),
        ({"runtimeConfig": {"mac": C.replace(":", "-")}}, "", C),
    ],
)
def test_the_mac_address_and_who_is_asked_first(host: Any, pod: Any, keys: Any, args: str, mac: str) -> None:
    result = host.add(pod, host.config(**keys), CNI_ARGS=args)
    assert result["interfaces"][2]["mac"] == pod.link().mac == mac


def test_without_one_it_is_a_locally_administered_one(host: Any) -> None:
    macs = set()
    for number in range(3):
        pod = host.pod()
        host.add(pod, host.config(), CNI_CONTAINERID=f"c{number}")
        macs.add(pod.link().mac)
    assert len(macs) == 3
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


# VLANs --------------------------------------------------------------------------------------------


def test_without_a_vlan_the_port_is_what_the_bridge_makes_it(host: Any, pod: Any) -> None:
    host.make_bridge(filtering=True)
    port = port_of(host.add(pod, host.config()))
    assert host.link(port).vlans == vlans("1", 1)


def test_preserve_default_vlan(host: Any, pod: Any) -> None:
    port = port_of(host.add(pod, host.config(vlan=100, preserveDefaultVlan=True)))
    assert host.link("br0").spec.vlan_filtering
    assert host.link(port).vlans == vlans("1,100", 100)


@ours("1.1.1 leaves every port in VLAN 1 as well, and knows no trunks: they came with 1.3")
@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"vlan": 100}, vlans("100", 100)),
        ({"vlan": 4094}, vlans("4094", 4094)),
        ({"vlan": 1}, vlans("1", 1)),
        ({"vlan": 0}, vlans("1", 1)),
        ({"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 210}]}, vlans("1", 1, "101,200-210")),
        ({"vlanTrunk": [{"id": 5, "minID": 7, "maxID": 7}, {"id": 5}]}, vlans("1", 1, "5,7")),
        ({"vlanTrunk": [{"minID": 1, "maxID": 4094}]}, vlans("1", 1, "2-4094")),
        ({"vlan": 0, "vlanTrunk": [{"id": 9}]}, vlans("1", 1, "9")),
        ({"vlan": 100, "vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 210}]}, vlans("100", 100, "101,200-210")),
        ({"vlan": 100, "vlanTrunk": [{"minID": 99, "maxID": 101}]}, vlans("100", 100, "99,101")),
        ({"vlan": 100, "vlanTrunk": []}, vlans("100", 100)),
        ({"vlanTrunk": [{"id": 101}], "preserveDefaultVlan": True}, vlans("1", 1, "101")),
        ({"vlan": 100, "vlanTrunk": [{"id": 1}], "preserveDefaultVlan": True}, vlans("1,100", 100)),
    ],
)
def test_the_vlans_of_a_port(host: Any, pod: Any, keys: Any, wanted: PortVlans) -> None:
    if "vlan" in keys and not keys["vlan"] and "vlanTrunk" not in keys:
        host.make_bridge(filtering=True)
    port = port_of(host.add(pod, host.config(**keys)))
    assert host.link("br0").spec.vlan_filtering
    assert host.link(port).vlans == wanted


@ours("vlanTrunk came with 1.3")
def test_an_empty_trunk_makes_a_bridge_that_filters(host: Any, pod: Any) -> None:
    port = port_of(host.add(pod, host.config(vlanTrunk=[])))
    assert host.link("br0").spec.vlan_filtering
    assert host.link(port).vlans == vlans("1", 1)


@ours("1.1.1 leaves every port in the default VLAN as well")
@pytest.mark.parametrize("default", [0, 5])
def test_a_bridge_with_another_default_vlan(host: Any, pod: Any, default: int) -> None:
    host.send(links.create("br0", "bridge", data={"vlan_filtering": 1, "default_pvid": default}))
    assert host.link(port_of(host.add(pod, host.config(vlan=100)))).vlans == vlans("100", 100)


# DEL ----------------------------------------------------------------------------------------------


def test_del_takes_the_port_and_leaves_the_bridge(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    host.delete(pod, host.config())
    assert pod.links() == set() and host.links() == {"br0"}


def test_del_may_be_said_again(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    for _ in range(2):
        host.delete(pod, host.config())
    assert host.links() == {"br0"}


def test_del_of_what_never_was(host: Any, pod: Any) -> None:
    host.delete(pod, host.config())
    assert host.links() == set()


def test_del_without_a_namespace(host: Any) -> None:
    host.delete("", host.config())


def test_del_when_the_namespace_is_gone(host: Any, pod: Any) -> None:
    place = host.root / "sandbox"
    place.symlink_to(pod.path)
    host.add(pod, host.config(), CNI_NETNS=str(place))
    place.unlink()
    host.pods.clear()
    pod.close()
    host.delete(str(place), host.config())
    assert host.ports() == []


def test_del_when_the_bridge_is_gone(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    host.send(links.delete("br0"))
    host.delete(pod, host.config())
    assert host.links() == set() and pod.links() == set()


@ours("the reference leaves it until the namespace is gone")
def test_del_without_a_namespace_takes_the_port_as_well(host: Any, pod: Any) -> None:
    host.add(pod, host.config())
    host.delete("", host.config())
    assert pod.links() == set() and host.links() == {"br0"} and host.records.all() == []


@ours("the reference deletes whatever has the name")
def test_del_does_not_touch_an_interface_that_no_port_belongs_to(host: Any, pod: Any) -> None:
    pod.kernel.rtnl.run(links.create("eth0", "dummy"))
    host.delete(pod, host.config())
    assert pod.links() == {"eth0"}


@ours("the plugin of one maker takes away what the other one's has made")
def test_del_of_a_port_that_the_reference_plugin_made(host: Any, pod: Any) -> None:
    made = host.run(
        ["/usr/lib/cni/bridge"], host.environment("ADD", pod), b'{"cniVersion":"1.0.0","name":"net1","bridge":"br0"}'
    )
    assert made.exit == 0 and host.ports()
    host.delete(pod, host.config())
    assert host.links() == {"br0"} and pod.links() == set()
