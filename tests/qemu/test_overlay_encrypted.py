"""The encrypted overlay on a real kernel: two nodes, what is on the wire, what is repaired, what is undone."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import WireGuard
from tests.qemu.conftest import Ns

from windrow.apps.encryption import own_keys
from windrow.apps.engine import converge, execute
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Link, Observed, Wireguard
from windrow.model.problems import errors
from windrow.model.steps import Action, DelAddr, DeleteLink, DelRoute, DropPeer, PutPeer, SetLink, SetWireguard, Step
from windrow.model.values import Cidr, IfName
from windrow.model.wire import load_documents
from windrow.model.wire.hoststate import write
from windrow.netlink import features
from windrow.netlink.kernel import Kernel
from windrow.netlink.wireguard import Devices
from windrow.plan import make_plan, normalise
from windrow.render.plan import plan_text
from windrow.store.keys import read_keys
from windrow.store.paths import Paths
from windrow.testing.builders import step

DEVICE, DEVICE6 = IfName("flannel-wg"), IfName("flannel-wg-v6")
NETWORKS = {"Network": "10.52.0.0/16", "EnableIPv6": True, "IPv6Network": "fd52::/48"}
CONF = json.dumps({**NETWORKS, "Backend": {"Type": "wireguard", "PersistentKeepaliveInterval": 25}})
HEAD = "---\napiVersion: network.harvesterhci.io/v1beta1\n"
DATA = ("flannel.alpha.coreos.com/backend-data", "flannel.alpha.coreos.com/backend-v6-data")
MTU, ETH_P_ALL = 1600, 3


def cluster(keys: dict[str, str], *, overlay: bool = True, b: str = "10.50.0.2") -> Cluster:
    said = f", annotations: {{windrow.io/overlay: '{CONF}'}}" if overlay else ""
    ips = f"a: '10.50.0.1/24,2001:db8:50::1/64', b: '{b}/24,2001:db8:50::2/64'"
    text = (
        f"{HEAD}kind: ClusterNetwork\nmetadata: {{name: mgmt{said}}}\n"
        f"{HEAD}kind: VlanConfig\nmetadata: {{name: m, annotations: {{windrow.io/managed: 'true'}}}}\n"
        f"spec: {{clusterNetwork: mgmt, uplink: {{nics: [eth1], linkAttributes: {{mtu: {MTU}}}}}}}\n"
        f"{HEAD}kind: HostNetworkConfig\nmetadata: {{name: nodes}}\n"
        f"spec: {{clusterNetwork: mgmt, vlanID: 50, mode: static, ips: {{{ips}}}}}\n"
    )
    for name, number, six in (("a", "0", "fd52::/64"), ("b", "1", "fd52:0:0:1::/64")):
        known = {one: json.dumps({"PublicKey": keys[name]}) for one in DATA}
        text += f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, annotations: {json.dumps(known)}}}\n"
        text += f"spec: {{podCIDRs: [10.52.{number}.0/24, '{six}']}}\n"
    loaded = load_documents(text)
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


class Host:
    def __init__(self, name: str, root: Path) -> None:
        self.name, self.paths, self.ns = name, Paths(root), Ns()
        self.kernel = Kernel(self.ns.fd)
        self.kernel.own_key = lambda: own_keys(self.paths).private
        self.key = own_keys(self.paths).public
        self.memory = Known().memory

    def known(self) -> Known:
        keys = read_keys(self.paths)
        return Known(memory=self.memory, wireguard_key=keys.public if keys else "")

    def brought_to(self, wanted: Cluster) -> None:
        """And nothing is left to do."""
        report = converge(wanted, self.kernel, self.name, knowing=self.known, consent=True)
        failed = [str(one) for part in report.outcome.failures.values() for one in part]
        assert report.ok, (failed, [d for unit in report.left.units for d in unit.deltas])
        self.memory = report.memory
        again = converge(wanted, self.kernel, self.name, knowing=self.known, consent=True)
        assert not again.planned.plan.steps, plan_text(again.planned.plan, node=self.name)

    def link(self, name: IfName = DEVICE) -> Link:
        return self.kernel.observe().state.links[name]

    def do(self, *actions: Action) -> None:
        steps: list[Step] = [step(DEVICE, action) for action in actions]
        assert self.kernel.run(steps) is None

    def comes_to_reach(self, address: str, size: int = 56) -> bool:
        """IPv6 begins with DAD, and WireGuard with a handshake."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.reaches(address, size):
                return True
        return False

    def reaches(self, address: str, size: int = 56) -> bool:
        return self.ns.run("ping", "-c1", "-W1", "-q", "-M", "do", "-s", str(size), address).returncode == 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two nodes with a cable between their NICs, in the overlay."""
    hosts = a, b = Host("a", tmp_path / "a"), Host("b", tmp_path / "b")
    a.ns.ip(f"link add eth1 type veth peer name eth1 netns /proc/{os.getpid()}/fd/{b.ns.fd}")
    for host in hosts:
        host.ns.ip("link set lo up", "link set eth1 mtu 9000")
        host.brought_to(cluster(keys(hosts)))
    yield hosts
    for host in hosts:
        host.kernel.close()
        os.close(host.ns.fd)


def keys(pair: tuple[Host, Host]) -> dict[str, str]:
    return {host.name: host.key for host in pair}


def test_it_is_what_flannel_makes(pair: tuple[Host, Host]) -> None:
    """By another reader of the kernel."""
    assert features.probe().wireguard
    a, b = pair

    def told() -> Any:
        with WireGuard() as reader:
            return reader.info(DEVICE)[0]

    said = a.ns.inside(told)
    assert said.get("WGDEVICE_A_PUBLIC_KEY") == a.key.encode() and said.get("WGDEVICE_A_LISTEN_PORT") == 51820
    (peer,) = said.get("WGDEVICE_A_PEERS")
    assert peer.get("WGPEER_A_PUBLIC_KEY") == b.key.encode()
    assert peer.get("WGPEER_A_ENDPOINT")["addr"] == "10.50.0.2" and peer.get("WGPEER_A_ENDPOINT")["port"] == 51820
    assert peer.get("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == 25
    assert [one["addr"] for one in peer.get("WGPEER_A_ALLOWEDIPS")] == ["10.52.1.0/24"]
    (route,) = json.loads(a.ns.must("ip", "-j", "route", "show", "10.52.0.0/16"))
    assert (route["dev"], route["scope"]) == (DEVICE, "link")
    (link,) = json.loads(a.ns.must("ip", "-j", "-4", "addr", "show", "dev", DEVICE))
    assert link["mtu"] == MTU - 80 and link["addr_info"][0]["local"] == "10.52.0.0"
    assert link["addr_info"][0]["prefixlen"] == 32


def test_the_largest_packets_of_both_families_get_through_and_nothing_is_bare(pair: tuple[Host, Host]) -> None:
    a, b = pair

    def opened() -> socket.socket:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        found.bind(("eth1", 0))
        found.setblocking(False)
        return found

    with b.ns.inside(opened) as wire:
        assert a.comes_to_reach("10.52.1.0", MTU - 80 - 28)
        assert a.comes_to_reach("fd52:0:0:1::", MTU - 80 - 48)
        assert not a.reaches("10.52.1.0", MTU - 80 - 27)
        assert a.ns.run("ping", "-c1", "-W1", "10.52.99.1").returncode != 0, "a node that is not known"
        ports: set[int] = set()
        while True:
            try:
                frame = wire.recv(4096)
            except BlockingIOError:
                break
            assert bytes([10, 52]) + b"\0\0" not in frame and socket.inet_pton(socket.AF_INET6, "fd52::") not in frame
            ip = frame[14:] if frame[12:14] != b"\x81\x00" else frame[18:]
            if ip[0] >> 4 == 4 and ip[9] == 17:
                assert {socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])} == {"10.50.0.1", "10.50.0.2"}
                ports.add(int.from_bytes(ip[22:24], "big"))
            elif ip[0] >> 4 == 6 and ip[6] == 17:
                ports.add(int.from_bytes(ip[42:44], "big"))
    assert ports == {51820, 51821}


def test_the_private_key_is_kept_and_said_nowhere(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    file = a.paths.wireguard_key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    private = json.loads(file.read_text())["private"]
    assert own_keys(a.paths).public == a.key, "the same ever after"
    observed = a.kernel.observe()
    plan = make_plan(normalise(observed), Observed(state=replace(observed.state, links={}), runtime={}))
    for said in (
        json.dumps(write(observed.state)),
        plan_text(plan, node="a"),
        repr(observed),
        repr(read_keys(a.paths)),
    ):
        assert private not in said and repr(own_keys(a.paths).private) not in said


def damage(a: Host) -> dict[str, list[Action]]:
    link = a.link()
    (peer,) = link.peers or ()
    (way,) = [r for r in a.kernel.observe().state.routes if r.dst == "10.52.0.0/16"]
    stranger = replace(peer, key="c3RyYW5nZXIgc3RyYW5nZXIgc3RyYW5nZXIgc3RyYW4=", allowed=(Cidr("10.52.1.128/25"),))
    return {
        "peer taken away": [DropPeer(peer)],
        "peer moved": [PutPeer(replace(peer, address="10.50.0.9"))],
        "peer with other addresses": [PutPeer(replace(peer, allowed=(Cidr("10.52.1.0/25"), Cidr("192.0.2.0/24"))))],
        "a stranger as a peer, with its addresses": [PutPeer(stranger)],
        "another port": [SetWireguard(port=51999)],
        "route taken away": [DelRoute(way)],
        "address taken away": [DelAddr(Cidr("10.52.0.0/32"))],
        "down": [SetLink(up=False)],
        "another MTU": [SetLink(mtu=1400)],
        "deleted": [DeleteLink()],
    }


def lasting(observed: Observed) -> dict[str, object]:
    links = {name: observed.state.links.get(name) for name in (DEVICE, DEVICE6)}
    return {**links, "routes": {(r.dst, r.dev, r.protocol) for r in observed.state.routes if r.dev in links}}


def test_whatever_is_damaged_is_put_right(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    whole, wanted = lasting(a.kernel.observe()), cluster(keys(pair))
    for name, actions in damage(a).items():
        a.do(*actions)
        assert lasting(a.kernel.observe()) != whole, name
        a.brought_to(wanted)
        assert lasting(a.kernel.observe()) == whole, name
        assert a.comes_to_reach("10.52.1.0"), name


def test_another_key_on_the_device_is_put_right(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    index = a.kernel.observe().runtime[DEVICE].ifindex

    def change() -> None:
        with Devices() as devices:
            devices.set(index, private_key=bytes(range(32)))

    a.ns.inside(change)
    assert a.link().spec != Wireguard(port=51820, key=a.key)
    a.brought_to(cluster(keys(pair)))
    assert a.link().spec == Wireguard(port=51820, key=a.key)
    assert a.comes_to_reach("10.52.1.0")


def test_a_node_that_moves_is_followed(pair: tuple[Host, Host]) -> None:
    a, b = pair
    for host in (b, a):
        host.brought_to(cluster(keys(pair), b="10.50.0.22"))
    (peer,) = a.link().peers or ()
    assert peer.address == "10.50.0.22"
    assert a.comes_to_reach("10.52.1.0")


def test_undo_goes_both_ways(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    with_it = a.kernel.observe()
    a.brought_to(cluster(keys(pair), overlay=False))
    without = a.kernel.observe()
    assert not {DEVICE, DEVICE6} & without.state.links.keys()
    for before in (with_it, without):
        plan = make_plan(normalise(before), a.kernel.observe(), consent=True)
        assert execute(plan, a.kernel).ok
        assert lasting(a.kernel.observe()) == lasting(before)
        assert before is without or a.comes_to_reach("10.52.1.0")
