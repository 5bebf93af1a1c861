"""CHECK finds what is no longer as it was made; STATUS says whether an ADD could succeed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from windrow.model.host import PortVlans
from windrow.model.values import VidSet
from windrow.netlink import links, ports

ours = pytest.mark.ours

INVALID, NOT_AVAILABLE, CHANGED = 7, 50, 106

why = "the reference's CHECK of a port without addresses always fails, and looks at less"


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_check_of_a_port_with_addresses(host: Any, pod: Any, version: str) -> None:
    config = {**host.addressed("10.1.2.0/24", "fd00:1::/64", isDefaultGateway=True), "cniVersion": version}
    done = host.check(pod, config, host.add(pod, config))
    assert (done.exit, done.stdout) == (0, "")


@ours(why)
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_of_a_port_without(host: Any, pod: Any, version: str) -> None:
    keys = {"vlan": 100, "hairpinMode": True, "portIsolation": True, "mtu": 1400}
    config = {**host.config(**keys), "cniVersion": version}
    done = host.check(pod, config, host.add(pod, config))
    assert (done.exit, done.stdout) == (0, "")


@pytest.mark.parametrize("keys", [{}, {"prevResult": None}])
def test_check_needs_the_previous_result(host: Any, pod: Any, keys: dict[str, Any]) -> None:
    config = host.addressed(**keys)
    host.add(pod, host.addressed())
    assert "Required prevResult missing" in host.refused("CHECK", pod, config, INVALID)


@ours("codes are ours")
@pytest.mark.parametrize("result", [5, [], {"interfaces": 5}, {"ips": [{"address": "x"}]}])
def test_a_previous_result_that_is_none(host: Any, pod: Any, result: Any) -> None:
    host.add(pod, host.config())
    host.refused("CHECK", pod, host.config(prevResult=result), INVALID)


# What has changed ---------------------------------------------------------------------------------


def del_address(host: Any, pod: Any, port: str) -> None:
    pod.kernel.rtnl.run(links.del_addr(pod.kernel.rtnl.index("eth0"), "10.1.2.2/24"))


def del_route(host: Any, pod: Any, port: str) -> None:
    pod.tool("ip", "route", "del", "10.9.0.0/16")


def other_mac(host: Any, pod: Any, port: str) -> None:
    pod.kernel.rtnl.run(links.set_link("eth0", mac="02:00:00:00:00:77"))


def no_interface(host: Any, pod: Any, port: str) -> None:
    pod.kernel.rtnl.run(links.delete("eth0"))


def other_kind(host: Any, pod: Any, port: str) -> None:
    no_interface(host, pod, port)
    pod.kernel.rtnl.run(links.create("eth0", "dummy"))


def detached(host: Any, pod: Any, port: str) -> None:
    host.send(links.set_master(port, None))


def other_bridge(host: Any, pod: Any, port: str) -> None:
    host.make_bridge("br9")
    host.send(links.set_master(port, host.kernel.rtnl.index("br9")))


def no_bridge(host: Any, pod: Any, port: str) -> None:
    host.send(links.delete("br0"))


@pytest.mark.parametrize(
    "change", [del_address, del_route, other_mac, no_interface, other_kind, detached, other_bridge, no_bridge]
)
def test_check_finds(host: Any, pod: Any, change: Callable[[Any, Any, str], None]) -> None:
    config = host.addressed(routes=[{"dst": "10.9.0.0/16"}])
    result = host.add(pod, config)
    change(host, pod, result["interfaces"][1]["name"])
    host.refused("CHECK", pod, {**config, "prevResult": result}, CHANGED)


def other_vlan(host: Any, pod: Any, port: str) -> str:
    index = host.kernel.rtnl.index(port)
    host.send(links.add_vlans(index, PortVlans(tagged=VidSet.of([7]))))
    return "VLANs 100 untagged and 7 tagged (PVID 100), not 100 untagged (PVID 100)"


def vlan_one(host: Any, pod: Any, port: str) -> str:
    index = host.kernel.rtnl.index(port)
    host.send(links.add_vlans(index, PortVlans(pvid=1, untagged=VidSet.of([1]))))
    return "VLANs 1,100 untagged"


def no_vlans(host: Any, pod: Any, port: str) -> str:
    host.send(links.delete_vlans(host.kernel.rtnl.index(port), VidSet.of([100])))
    return "VLANs none"


def no_hairpin(host: Any, pod: Any, port: str) -> str:
    host.send(links.port_options(host.kernel.rtnl.index(port), hairpin=0))
    return "not hairpin"


def isolated(host: Any, pod: Any, port: str) -> str:
    host.send(links.port_options(host.kernel.rtnl.index(port), isolated=1))
    return "is isolated"


def small(host: Any, pod: Any, port: str) -> str:
    host.send(links.set_link(port, mtu=1300))
    return "MTU 1300, not 1400"


def small_inside(host: Any, pod: Any, port: str) -> str:
    pod.kernel.rtnl.run(links.set_link("eth0", mtu=1300))
    return "container interface eth0 has MTU 1300"


def port_down(host: Any, pod: Any, port: str) -> str:
    host.send(links.set_link(port, up=False))
    return f"port {port} is down"


def interface_down(host: Any, pod: Any, port: str) -> str:
    pod.kernel.rtnl.run(links.set_link("eth0", up=False))
    return "container interface eth0 is down"


@ours(why)
@pytest.mark.parametrize(
    "change",
    [other_vlan, vlan_one, no_vlans, no_hairpin, isolated, small, small_inside, port_down, interface_down],
)
def test_check_finds_also(host: Any, pod: Any, change: Callable[[Any, Any, str], str]) -> None:
    config = host.config(vlan=100, hairpinMode=True, mtu=1400)
    result = host.add(pod, config)
    said = change(host, pod, result["interfaces"][1]["name"])
    assert said in host.refused("CHECK", pod, {**config, "prevResult": result}, CHANGED)


@ours(why)
def test_check_tells_all_at_once(host: Any, pod: Any) -> None:
    config = host.config(vlan=100, mtu=1400)
    result = host.add(pod, config)
    port = result["interfaces"][1]["name"]
    said = [change(host, pod, port) for change in (small, small_inside, vlan_one)]
    message = host.refused("CHECK", pod, {**config, "prevResult": result}, CHANGED)
    assert all(one in message for one in said)


@ours("the reference compares the MAC address of a bridge that follows its ports")
def test_another_port_of_the_bridge_does_not_make_check_fail(host: Any, pod: Any) -> None:
    result = host.add(pod, host.addressed())
    for number in range(6):
        host.add(host.pod(), host.config(), CNI_CONTAINERID=f"c{number}x")
    assert host.check(pod, host.addressed(), result).exit == 0


def test_another_sandbox(host: Any, pod: Any) -> None:
    result = host.add(pod, host.addressed())
    result["interfaces"][2]["sandbox"] = "/run/netns/other"
    message = host.refused("CHECK", pod, {**host.addressed(), "prevResult": result}, CHANGED)
    assert "doesn't match configured netns" in message


def test_a_bridge_that_is_no_longer_promiscuous(host: Any, pod: Any) -> None:
    config = host.addressed(promiscMode=True)
    result = host.add(pod, config)
    host.send(links.set_link("br0", promisc=False))
    assert "romisc" in host.refused("CHECK", pod, {**config, "prevResult": result}, CHANGED)


def test_the_ipam_plugin_has_its_say(host: Any, pod: Any, stub: Any) -> None:
    answer = '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.2/24"}]}'
    refusal = '{"code": 77, "msg": "the lease has run out"}'
    script = f"[ $CNI_COMMAND = ADD ] && echo '{answer}'; [ $CNI_COMMAND != CHECK ] || {{ echo '{refusal}'; exit 1; }}"
    stub("stub", f"cat > /dev/null; {script}")
    config = host.config(ipam={"type": "stub"})
    result = host.add(pod, config)
    assert "run out" in host.refused("CHECK", pod, {**config, "prevResult": result}, 77)


# STATUS -------------------------------------------------------------------------------------------


def status(host: Any, **keys: Any) -> dict[str, Any]:
    return {**host.config(**keys), "cniVersion": "1.1.0"}


@ours("1.1.1 does not know the command")
def test_status(host: Any) -> None:
    assert host.call("STATUS", "", status(host), CNI_CONTAINERID=None, CNI_IFNAME=None).exit == 0
    host.make_bridge()
    assert host.call("STATUS", "", status(host)).exit == 0
    assert "does not filter" in host.refused("STATUS", "", status(host, vlan=100), NOT_AVAILABLE)


@ours("1.1.1 does not know the command")
def test_status_asks_the_ipam_plugin(host: Any, stub: Any) -> None:
    stub("stub", "cat > /dev/null; echo $CNI_COMMAND > asked; exit 0")
    stub("sorry", 'cat > /dev/null; echo \'{"code": 50, "msg": "no daemon"}\'; exit 1')
    assert host.call("STATUS", "", status(host, ipam={"type": "stub"})).exit == 0
    assert "no daemon" in host.refused("STATUS", "", status(host, ipam={"type": "sorry"}), NOT_AVAILABLE)
    host.refused("STATUS", "", status(host, ipam={"type": "not-installed"}), 104)


@ours("1.1.1 does not know the command")
def test_status_of_a_configuration_that_means_nothing(host: Any) -> None:
    host.refused("STATUS", "", status(host, vlan=5000), INVALID)
    assert ports.see(host.kernel.rtnl, "br0") is None
