"""Ports with addresses: IPAM plugins, the pod's configuration, gateways, masquerading."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from windrow.model.host import PortVlans
from windrow.model.values import VidSet
from windrow.netlink import links, ports, sysctl
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

ours = pytest.mark.ours

REFUSED, IN_THE_WAY = 101, 102


def addresses(kernel: Any, name: str) -> set[str]:
    found: set[str] = set(kernel.observe().state.links[name].addrs)
    return found


def routes(pod: Any, name: str = "eth0") -> set[tuple[str, str]]:
    index = pod.kernel.rtnl.index(name)
    return {(way.dst, way.gateway) for way in ports.ways(pod.kernel.rtnl) if way.dev == index}


# Results and the pod ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_the_result_with_addresses(host: Any, pod: Any, version: str) -> None:
    config = {**host.addressed(routes=[{"dst": "10.9.0.0/16"}]), "cniVersion": version}
    result = host.add(pod, config)
    family = {"version": "4"} if version.startswith("0") else {}
    assert result["ips"] == [{**family, "interface": 2, "address": "10.1.2.2/24", "gateway": "10.1.2.1"}]
    assert result["routes"] == [{"dst": "10.9.0.0/16"}]
    assert addresses(pod.kernel, "eth0") == {"10.1.2.2/24"}
    assert ("10.9.0.0/16", "10.1.2.1") in routes(pod)
    assert addresses(host.kernel, "br0") == set()
    assert host.leased() == ["10.1.2.2"]
    host.delete(pod, config)
    assert host.leased() == [] and pod.links() == set()


def test_both_families(host: Any, pod: Any) -> None:
    config = host.addressed("10.1.2.0/24", "fd00:1::/64", isDefaultGateway=True)
    result = host.add(pod, config)
    assert [ip["address"] for ip in result["ips"]] == ["10.1.2.2/24", "fd00:1::2/64"]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0", "gw": "fd00:1::1"}]
    assert addresses(pod.kernel, "eth0") == {"10.1.2.2/24", "fd00:1::2/64"}
    assert {("0.0.0.0/0", "10.1.2.1"), ("::/0", "fd00:1::1")} <= routes(pod)
    assert addresses(host.kernel, "br0") == {"10.1.2.1/24", "fd00:1::1/64"}


def test_the_static_plugin(host: Any, pod: Any) -> None:
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.2.50/24", "gateway": "10.1.2.254"}, {"address": "10.1.3.50/24"}],
        "routes": [{"dst": "10.9.0.0/16", "gw": "10.1.3.1"}, {"dst": "10.8.0.0/16"}],
    }
    host.add(pod, host.config(ipam=ipam))
    assert addresses(pod.kernel, "eth0") == {"10.1.2.50/24", "10.1.3.50/24"}
    assert {("10.9.0.0/16", "10.1.3.1"), ("10.8.0.0/16", "10.1.2.254")} <= routes(pod)


def test_two_routes_to_the_same_place(host: Any, pod: Any) -> None:
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.2.50/24"}, {"address": "fd00:1::50/64"}],
        "routes": [{"dst": "fd00:9::/64", "gw": "fd00:1::1"}, {"dst": "fd00:9::/64", "gw": "fd00:1::2"}],
    }
    host.add(pod, host.config(ipam=ipam))
    assert {("fd00:9::/64", "fd00:1::1"), ("fd00:9::/64", "fd00:1::2")} <= routes(pod)


@ours("routes of this kind came with version 1.1.0")
def test_what_a_route_may_say_since_1_1(host: Any, pod: Any, stub: Any) -> None:
    route = {"dst": "10.9.0.0/16", "gw": "10.1.2.1", "mtu": 1300, "advmss": 1200, "priority": 77, "table": 500}
    ipam_result = {"cniVersion": "1.1.0", "ips": [{"address": "10.1.2.2/24"}], "routes": [route]}
    stub("stub", f"cat > /dev/null; [ $CNI_COMMAND = ADD ] && echo '{json.dumps(ipam_result)}'; exit 0")
    result = host.add(pod, {**host.config(ipam={"type": "stub"}), "cniVersion": "1.1.0"})
    assert result["routes"] == [route]
    shown = pod.tool("ip", "route", "show", "table", "500")
    assert "10.9.0.0/16 via 10.1.2.1 dev eth0 metric 77 mtu 1300 advmss 1200" in " ".join(shown.split())
    older = host.pod()
    result = host.add(older, host.config(ipam={"type": "stub"}), CNI_CONTAINERID="c2")
    assert result["routes"] == [{"dst": "10.9.0.0/16", "gw": "10.1.2.1"}]


def test_the_ipam_plugin_sees_the_same_call(host: Any, pod: Any, stub: Any) -> None:
    stub(
        "stub",
        f"""cat > {host.root}/plugins/$CNI_COMMAND.stdin; env > {host.root}/plugins/$CNI_COMMAND.env
        [ $CNI_COMMAND = ADD ] && echo '{{"cniVersion": "1.0.0", "ips": [{{"address": "10.1.2.2/24"}}]}}'; exit 0""",
    )
    config = json.dumps(host.config(ipam={"type": "stub", "odd": [1, {"ü": None}]})).encode()
    args = "IgnoreUnknown=1;IP=10.1.2.2"
    host.add(pod, config, CNI_ARGS=args)
    host.delete(pod, config, CNI_ARGS=args)
    for command in ("ADD", "DEL"):
        assert (host.root / "plugins" / f"{command}.stdin").read_bytes() == config
        env = (host.root / "plugins" / f"{command}.env").read_text().splitlines()
        wanted = host.environment(command, pod, CNI_ARGS=args)
        assert {f"{name}={value}" for name, value in wanted.items() if name.startswith("CNI_")} <= set(env)


@pytest.mark.parametrize(
    ("keys", "wanted"), [({}, ("0", "1")), ({"enabledad": False}, ("0", "1")), ({"enabledad": True}, ("1", "1"))]
)
def test_duplicate_address_detection(host: Any, pod: Any, keys: dict[str, bool], wanted: tuple[str, str]) -> None:
    host.add(pod, host.addressed("fd00:1::/64", **keys))
    found = tuple(pod.sysctl(f"net/ipv6/conf/eth0/{key}") for key in ("accept_dad", "enhanced_dad"))
    assert found == wanted
    assert pod.sysctl("net/ipv4/conf/eth0/arp_notify") == "1"
    index = pod.kernel.rtnl.index("eth0")
    flags = [one.flags for one in ports.addresses(pod.kernel.rtnl, index) if one.cidr.startswith("fd00")]
    assert flags and not any(flag & 0x40 for flag in flags)  # IFA_F_TENTATIVE


def test_ipv6_is_switched_on_where_it_is_off(host: Any, pod: Any) -> None:
    pod.inside(lambda: sysctl.write("net/ipv6/conf/default/disable_ipv6", "1"))
    host.add(pod, host.addressed("fd00:1::/64"))
    assert addresses(pod.kernel, "eth0") == {"fd00:1::2/64"}


def test_names_of_the_configuration_win_over_the_ipam_plugins(host: Any, pod: Any, tmp_path: Path) -> None:
    config = host.addressed(dns={"nameservers": ["10.0.0.53"]})
    resolv = host.root / "leases-resolv.conf"
    resolv.write_text("nameserver 10.0.0.99\n")
    config["ipam"]["resolvConf"] = str(resolv)
    assert host.add(pod, config)["dns"] == {"nameservers": ["10.0.0.53"]}


@ours("1.1.1 drops them")
def test_names_of_the_ipam_plugin_are_passed_on(host: Any, pod: Any) -> None:
    config = host.addressed()
    resolv = host.root / "leases-resolv.conf"
    resolv.write_text("nameserver 10.0.0.99\n")
    config["ipam"]["resolvConf"] = str(resolv)
    assert host.add(pod, config)["dns"] == {"nameservers": ["10.0.0.99"]}


# Gateways -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["isGateway", "isDefaultGateway"])
def test_the_bridge_is_the_gateway(host: Any, pod: Any, key: str) -> None:
    host.add(pod, host.addressed(**{key: True}))
    assert addresses(host.kernel, "br0") == {"10.1.2.1/24"}
    assert host.sysctl("net/ipv4/ip_forward") == "1"
    assert (("0.0.0.0/0", "10.1.2.1") in routes(pod)) == (key == "isDefaultGateway")


def test_a_gateway_of_ipv6_alone_switches_that_on(host: Any, pod: Any) -> None:
    for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        write(host, key, "0")
    host.add(pod, host.addressed("fd00:1::/64", isGateway=True))
    assert host.sysctl("net/ipv6/conf/all/forwarding") == "1" and host.sysctl("net/ipv4/ip_forward") == "0"


def write(host: Any, key: str, value: str) -> None:
    from windrow.netlink import netns

    netns.opened_in(host.fd, lambda: sysctl.write(key, value))


def test_a_default_route_of_the_ipam_plugin_is_enough(host: Any, pod: Any) -> None:
    config = host.addressed(routes=[{"dst": "0.0.0.0/0", "gw": "10.1.2.9"}], isDefaultGateway=True)
    assert host.add(pod, config)["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.2.9"}]
    assert [way for way in routes(pod) if way[0] == "0.0.0.0/0"] == [("0.0.0.0/0", "10.1.2.9")]


def test_the_gateways_address_keeps_the_bridges_mac(host: Any) -> None:
    host.add(host.pod(), host.addressed(isGateway=True), CNI_CONTAINERID="first")
    mac = host.link("br0").mac
    for number in range(6):  # one of them has a lower address, most likely
        host.add(host.pod(), host.addressed(isGateway=True), CNI_CONTAINERID=f"c{number}")
    assert host.link("br0").mac == mac


@ours("the reference reads the address before there is a port, and gives it back when it is none")
def test_a_gateway_on_a_bridge_that_lost_its_mac(host: Any, pod: Any) -> None:
    host.make_bridge()
    host.send(links.veth(links.End(name="a"), links.End(name="b"), master=host.kernel.rtnl.index("br0")))
    host.send(links.delete("a"))
    assert host.link("br0").mac == "00:00:00:00:00:00"
    host.add(pod, host.addressed(isGateway=True))
    assert addresses(host.kernel, "br0") == {"10.1.2.1/24"} and host.link("br0").mac != "00:00:00:00:00:00"


def test_another_address_of_the_bridge(host: Any, pod: Any) -> None:
    host.make_bridge(mac="02:00:00:00:00:01")
    host.send(links.add_addr(host.kernel.rtnl.index("br0"), "10.7.7.1/24"))
    message = host.refused("ADD", pod, host.addressed(isGateway=True), IN_THE_WAY)
    assert "already has an IP address different from" in message
    assert addresses(host.kernel, "br0") == {"10.7.7.1/24"} and host.leased() == []
    if pod.links():  # what the reference has left
        host.delete(pod, host.addressed(isGateway=True))
    host.add(pod, host.addressed(isGateway=True, forceAddress=True))
    assert addresses(host.kernel, "br0") == {"10.1.2.1/24"}


@ours("the reference leaves the port")
def test_another_address_of_the_bridge_leaves_nothing(host: Any, pod: Any) -> None:
    host.make_bridge()
    host.send(links.add_addr(host.kernel.rtnl.index("br0"), "10.7.7.1/24"))
    before = host.untouched()
    config = host.addressed("fd00:1::/64", "10.1.2.0/24", isGateway=True, ipMasq=True, macspoofchk=True)
    host.refused("ADD", pod, config, IN_THE_WAY)
    assert host.untouched() == before


@ours("the reference leaves the bridge up")
@pytest.mark.parametrize("ports", [0, 1])
def test_a_bridge_that_was_down_is_put_back_with_its_addresses(host: Any, pod: Any, ports: int) -> None:
    host.send(links.create("br0", "bridge", mtu=9000))
    index = host.kernel.rtnl.index("br0")
    host.send(links.add_addr(index, "2001:db8:1::1/48", nodad=True), links.add_addr(index, "10.7.7.1/24"))
    host.tool("ip", "addr", "add", "2001:db8:2::1/64", "dev", "br0", "valid_lft", "5000", "preferred_lft", "4000")
    host.tool("ip", "addr", "add", "fe80::77/64", "dev", "br0")
    if ports:
        host.send(links.create("eth9", "dummy", master=index, mtu=9000))
    write(host, "net/ipv6/conf/br0/accept_ra", "1")

    def shown() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(host.tool("ip", "-j", "addr", "show", "dev", "br0"))[0]["addr_info"]
        for one in found:  # seconds go by
            one["valid_life_time"], one["preferred_life_time"] = (
                one[key] // 1000 for key in ("valid_life_time", "preferred_life_time")
            )
        return sorted(found, key=lambda one: str(one["local"]))

    before, addrs = host.untouched(), shown()
    assert len(addrs) == 4
    message = host.refused("ADD", pod, host.addressed("2001:db8:1::/64", isGateway=True), IN_THE_WAY)
    assert "2001:db8:1::1/48" in message
    assert host.untouched() == before and shown() == addrs and not host.link("br0").up
    assert host.sysctl("net/ipv6/conf/br0/accept_ra") == "1"


@ours("the reference leaves the bridge with another address")
def test_addresses_that_were_replaced_come_back_as_they_were(host: Any, pod: Any, stub: Any) -> None:
    host.make_bridge()
    for cidr in ("10.7.7.1/24", "10.7.7.2/24", "10.8.8.1/24"):
        host.tool(
            "ip", "addr", "add", cidr, "dev", "br0", "label", "br0:mine", "valid_lft", "90000", "preferred_lft", "90000"
        )
    before = host.untouched()
    label = [a["label"] for a in json.loads(host.tool("ip", "-j", "-4", "addr", "show", "dev", "br0"))[0]["addr_info"]]
    config = host.addressed("10.1.2.0/24", "fd00:1::/64", isGateway=True, forceAddress=True)
    host.tool("ip", "link", "set", "br0", "mtu", "1279")  # too small for IPv6
    before = host.untouched()
    host.refused("ADD", pod, config, REFUSED)
    assert host.untouched() == before
    now = json.loads(host.tool("ip", "-j", "-4", "addr", "show", "dev", "br0"))[0]["addr_info"]
    assert [a["label"] for a in now] == label == ["br0:mine"] * 3


def test_the_same_address_is_no_conflict(host: Any) -> None:
    for number in range(2):
        host.add(host.pod(), host.addressed(isGateway=True), CNI_CONTAINERID=f"c{number}")
    assert addresses(host.kernel, "br0") == {"10.1.2.1/24"}


def test_ipv6_addresses_of_other_subnets_are_no_conflict(host: Any, pod: Any) -> None:
    host.make_bridge()
    index = host.kernel.rtnl.index("br0")
    host.send(links.add_addr(index, "fd00:7::1/64"))
    host.add(pod, host.addressed("fd00:1::/64", isGateway=True))
    assert addresses(host.kernel, "br0") == {"fd00:1::1/64", "fd00:7::1/64"}
    other = host.pod()
    host.send(links.add_addr(index, "fd00:2::9/64"))
    host.refused("ADD", other, host.addressed("fd00:2::/64", isGateway=True), IN_THE_WAY, CNI_CONTAINERID="c2")


@ours("1.1.1 leaves the gateway's port in VLAN 1 as well")
def test_the_gateway_of_a_vlan(host: Any) -> None:
    one, two = host.pod(), host.pod()
    config = host.addressed(vlan=100, isGateway=True, mtu=1400)
    result = host.add(one, config, CNI_CONTAINERID="c1")
    assert [i["name"] for i in result["interfaces"]][::2] == ["br0", "eth0"] and len(result["interfaces"]) == 4
    assert result["interfaces"][3] == {"name": "br0.100", "mac": host.link("br0.100").mac}
    assert addresses(host.kernel, "br0.100") == {"10.1.2.1/24"} and addresses(host.kernel, "br0") == set()
    gateway = host.link("br0.100")
    assert (gateway.kind, gateway.up, gateway.mtu) == ("veth", True, 1400)
    wanted = PortVlans(pvid=100, untagged=VidSet.of([100]))
    assert [host.link(port).vlans for port in host.ports()] == [wanted, wanted]
    before = host.links()
    assert len(host.add(two, config, CNI_CONTAINERID="c2")["interfaces"]) == 4
    assert len(host.links() - before) == 1
    for number, pod in enumerate((one, two), 1):
        host.delete(pod, config, CNI_CONTAINERID=f"c{number}")
    assert "br0.100" in host.links() and len(host.links()) == 3


def test_the_gateway_of_a_vlan_answers(host: Any, pod: Any) -> None:
    host.add(pod, host.addressed(vlan=100, isDefaultGateway=True))
    assert " 0% packet loss" in pod.tool("ping", "-c", "2", "-i", "0.3", "-W", "3", "10.1.2.1")


@ours("the reference leaves what it has made by then")
def test_the_gateway_of_a_vlan_whose_name_is_too_long(host: Any, pod: Any) -> None:
    host.make_bridge("a-long-name-br0", filtering=True)
    before = host.untouched()
    config = host.addressed(bridge="a-long-name-br0", vlan=100, isGateway=True)
    host.refused("ADD", pod, config, REFUSED)
    assert host.untouched() == before


# Masquerading -------------------------------------------------------------------------------------


def test_masquerading_by_iptables(host: Any, pod: Any, masquerades: Any) -> None:
    config = host.addressed("10.1.2.0/24", "fd00:1::/64", isGateway=True, ipMasq=True)
    host.add(pod, config)
    rules = [line for line in masquerades().splitlines() if "CNI-" in line and line.startswith("-A")]
    comment = r'-m comment --comment "name: \"net1\" id: \"c1\""'
    chain = "CNI-" + hashlib.sha512(b"net1c1").hexdigest()[:24]
    assert set(rules) == {
        f"-A POSTROUTING -s 10.1.2.2/32 {comment} -j {chain}",
        f"-A {chain} -d 10.1.2.0/24 {comment} -j ACCEPT",
        f"-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE",
        f"-A POSTROUTING -s fd00:1::2/128 {comment} -j {chain}",
        f"-A {chain} -d fd00:1::/64 {comment} -j ACCEPT",
        f"-A {chain} ! -d ff00::/8 {comment} -j MASQUERADE",
    }
    host.delete(pod, config)
    assert "CNI-" not in masquerades()


def test_masquerading_of_two_pods_is_undone_one_by_one(host: Any, masquerades: Any) -> None:
    config = host.addressed(isGateway=True, ipMasq=True)
    one, two = host.pod(), host.pod()
    host.add(one, config, CNI_CONTAINERID="c1")
    host.add(two, config, CNI_CONTAINERID="c2")
    host.delete(one, config, CNI_CONTAINERID="c1")
    rules = masquerades()
    assert "10.1.2.2/32" not in rules and "10.1.2.3/32" in rules and rules.count("MASQUERADE") == 1


@ours("the reference looks at its rules no more once they are made")
def test_masquerading_is_written_down_and_checked(host: Any, pod: Any, masquerades: Any) -> None:
    config = {**host.addressed("10.1.2.0/24", isGateway=True, ipMasq=True), "cniVersion": "1.0.0"}
    result = host.add(pod, config)
    (record,) = PortRecords(Paths(host.root)).all()
    assert record.masquerade == ("10.1.2.2/24",)
    assert record.masquerade_by in ("iptables", "iptables-legacy")
    assert host.check(pod, config, result).exit == 0
    program = record.masquerade_by
    host.tool(program, "-t", "nat", "-F")
    done = host.check(pod, config, result)
    assert done.exit == 1
    message = json.loads(done.stdout)["msg"]
    assert "the rules of masquerade (10.1.2.2/24) are not as they were made: there are none" in message
    host.delete(pod, config)
    assert "CNI-" not in masquerades()


@ours("ipMasqBackend came with 1.6")
def test_a_backend_that_is_named_is_the_only_one_tried(host: Any, pod: Any, masquerades: Any) -> None:
    """The lab kernel has no nftables for IP: named, it is an error, and nothing is left."""
    before = host.untouched()
    config = host.addressed(isGateway=True, ipMasq=True, ipMasqBackend="nftables")
    message = host.refused("ADD", pod, config, REFUSED)
    assert "masquerade" in message and host.untouched() == before
    host.add(pod, host.addressed(isGateway=True, ipMasq=True, ipMasqBackend="iptables"))
    assert "MASQUERADE" in masquerades()


# Services -------------------------------------------------------------------------------------------


@ours("the reference plugin leaves it to net.bridge.bridge-nf-call-iptables, which shows all bridges of a host")
@pytest.mark.parametrize("there", [False, True])
def test_a_service_that_is_answered_on_the_same_bridge(host: Any, masquerades: Any, there: bool) -> None:
    """Answers come from its address, although one pod reaches the other without the host; and no other bridge of the
    host is shown to its packet filter. On a bridge that was there without it (`there`), too."""
    host.tool("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0")
    client, server = host.pod(), host.pod()
    config = host.addressed(isDefaultGateway=True, ipMasq=True, hairpinMode=True, bridgeNetfilter=True)
    if there:
        host.make_bridge()
    for one, name in ((client, "c1"), (server, "c2")):
        host.add(one, config, CNI_CONTAINERID=name)
    spec = host.link("br0").spec
    assert (spec.nf_call_iptables, spec.nf_call_ip6tables, spec.nf_call_arptables) == (True, True, False)
    host.tool("iptables", "-t", "nat", "-A", "PREROUTING", "-d", SERVICE, "-j", "DNAT", "--to-destination", "10.1.2.3")
    assert said_by(client, server, to=SERVICE) == (b"question", b"answer")
    assert said_by(client, server, to="10.1.2.3") == (b"question", b"answer")
    host.kernel.rtnl.run(links.set_kind("br0", "bridge", {"nf_call_iptables": 0}))
    assert said_by(client, server, to=SERVICE) == (b"question", b""), "this is what it is for"


SERVICE = "10.53.0.7"


def said_by(client: Any, server: Any, *, to: str) -> tuple[bytes, bytes]:
    """What came to the server, and what came back from where the client had sent it."""

    def opened() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(1.0)
        return made

    with client.inside(opened) as asking, server.inside(opened) as answering:
        answering.bind(("10.1.2.3", 7))
        asking.connect((to, 7))
        asking.send(b"question")
        question, peer = answering.recvfrom(64)
        answering.sendto(b"answer", peer)
        try:
            return question, asking.recv(64)
        except TimeoutError:
            return question, b""
