"""Ports of containers on the real kernel: put back after every loss, heard in their own VLANs only, never in the way of
the uplink; and the lock that lets them come while a takeover waits."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.standins import StandIn

from windrow.apps.cni.dispatch import answer
from windrow.apps.cni.host import Host
from windrow.apps.engine import Converged, converge, look, plan_node
from windrow.apps.known import recorded
from windrow.apps.lock import HostLock
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond, Bridge, Link, Observed
from windrow.model.objects import AnyObject
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import AwaitCarrier, CreateLink, DeleteLink, Failure, SetLink, SetMaster, SetVlans, Step
from windrow.model.values import IfName, Mac, VidSet
from windrow.netlink import links, netns
from windrow.netlink.errors import KernelError
from windrow.netlink.kernel import Kernel
from windrow.netlink.lock import locked
from windrow.plan import takeover
from windrow.store.paths import Paths
from windrow.testing import builders

Ns = Any
NewNs = Callable[[], Ns]
NODE = "n1"
ETHERTYPE = 0x88B5
"""IEEE 802 local experimental."""
TAG = 0x8100


def oob(*nics: str, mode: str | None = None, vids: Sequence[int] = (5, 100, 200)) -> list[AnyObject]:
    nads = [builders.nad(f"v{vid}", "oob", vid) for vid in vids]
    return [builders.cluster_network("oob"), builders.vlan_config("oob", list(nics), mode), *nads]


class Pod:
    """A namespace of its own with one port of the node's bridge, and a socket that hears everything there."""

    def __init__(self, node: Node, ns: Ns, record: PortRecord) -> None:
        self.ns, self.record = ns, record
        end = links.End(name=record.host, group=PORT_GROUP)
        node.ns.run(links.veth(end, links.End(name=record.ifname, netns=ns.fd)))
        node.ns.run(links.set_master(record.host, node.ns.index(record.bridge)))
        if record.vlans is not None:
            index = node.ns.index(record.host)
            node.ns.run(links.add_vlans(index, record.vlans))
            if gone := VidSet.of([1]) - record.vlans.all:
                node.ns.run(links.delete_vlans(index, gone))
        node.ns.run(links.set_link(record.host, up=True))
        ns.run(links.set_link(record.ifname, up=True))
        self.wire = node.wire(ns.fd, record.ifname)


class Wire:
    """A packet socket on one link: frames go out and are heard with their 802.1Q tag, if they have one."""

    def __init__(self, fd: int, name: str) -> None:
        self.socket = netns.opened_in(fd, lambda: _packet_socket(name))

    def send(self, word: str, vid: int = 0) -> None:
        """A broadcast that says `word`."""
        tag = struct.pack("!HH", TAG, vid) if vid else b""
        head = b"\xff" * 6 + b"\x02\0\0\0\0\x77" + tag + struct.pack("!H", ETHERTYPE)
        self.socket.send((head + word.encode()).ljust(60, b"\0"))

    def heard(self) -> set[tuple[str, int]]:
        """(word, VID; 0: untagged) of each frame since the last time."""
        found = set()
        while True:
            try:
                data, messages, _, address = self.socket.recvmsg(2048, 256)
            except BlockingIOError:
                return found
            if address[2] == socket.PACKET_OUTGOING:
                continue
            vid = next((_vid(value) for _, kind, value in messages if kind == PACKET_AUXDATA), 0)
            if struct.unpack_from("!H", data, 12)[0] == TAG:
                vid, data = struct.unpack_from("!H", data, 14)[0] & 0xFFF, data[4:]
            if struct.unpack_from("!H", data, 12)[0] == ETHERTYPE:
                found.add((data[14:].rstrip(b"\0").decode(), vid))


SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10


def _packet_socket(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
    made.bind((name, 0))
    made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return made


def _vid(auxdata: bytes) -> int:
    """`struct tpacket_auxdata`: the kernel takes the tag out of the frame."""
    status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", auxdata)
    return tci & 0xFFF if status & TP_STATUS_VLAN_VALID else 0


class Node:
    """A host with four NICs, whose far ends a switch would be; `far` hears what leaves over eth1."""

    def __init__(self, new_ns: NewNs) -> None:
        self.ns, self._new = new_ns(), new_ns
        outside = new_ns()
        for n in range(1, 5):
            near = links.End(name=f"eth{n}", mac=f"02:00:00:00:01:0{n}")
            self.ns.run(links.veth(near, links.End(name=f"far{n}", netns=outside.fd)))
            outside.run(links.set_link(f"far{n}", up=True))
        self._wires: list[Wire] = []
        self.far = self.wire(outside.fd, "far1")
        self.records: list[PortRecord] = []

    def wire(self, fd: int, name: str) -> Wire:
        self._wires.append(Wire(fd, name))
        return self._wires[-1]

    def close(self) -> None:
        for wire in self._wires:
            wire.socket.close()

    @property
    def kernel(self) -> Any:
        return self.ns.kernel

    def attach(self, pod: str, vlans: str, bridge: str = "oob-br") -> Pod:
        self.records.append(builders.port_record(pod, bridge, vlans))
        return Pod(self, self._new(), self.records[-1])

    def known(self) -> Known:
        return Known(ports=tuple(self.records))

    def apply(self, *objects: AnyObject, kernel: Any = None, **more: Any) -> Converged:
        return converge(Cluster.of(objects), kernel or self.kernel, NODE, knowing=self.known, **more)

    def plan(self, *objects: AnyObject) -> Any:
        return plan_node(Cluster.of(objects), look(self.kernel, NODE, self.known())).plan

    def link(self, pod: Pod) -> Link:
        return self.observed().state.links[pod.record.host]

    def observed(self) -> Observed:
        return self.kernel.observe()  # type: ignore[no-any-return]

    def in_place(self, pod: Pod) -> bool:
        link, record = self.link(pod), pod.record
        return bool(link.up) and (link.master, link.vlans) == (record.bridge, record.vlans)


@pytest.fixture
def bare(new_ns: NewNs) -> Iterator[Node]:
    made = Node(new_ns)
    yield made
    made.close()


@pytest.fixture
def node(bare: Node) -> Node:
    assert bare.apply(*oob("eth1")).ok
    return bare


def hears(pod: Pod, word: str, vid: int = 0) -> bool:
    """Within two seconds: a link that has just come up forwards a little later."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        if (word, vid) in pod.wire.heard():
            return True
        time.sleep(0.005)
    return False


def talks(speaker: Wire, listener: Wire, vid: int = 0) -> bool:
    """Whether a broadcast of one reaches the other (with this tag), asking again for two seconds."""
    listener.heard()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        speaker.send("hello")
        time.sleep(0.005)
        if ("hello", vid) in listener.heard():
            return True
    return False


# -- the uplink, the bridge, everything but the machines -------------------------------------------


class Noisy(StandIn):
    """Before and after each single step somebody shouts into VLAN 1, from a port of the bridge and from outside."""

    def __init__(self, kernel: Any, shout: Callable[[], None]) -> None:
        super().__init__(kernel)
        self._shout = shout

    def run(self, steps: Sequence[Step]) -> Failure | None:
        for step in steps:
            self._shout()
            failure: Failure | None = self.kernel.run([step])
            self._shout()
            if failure is not None:
                return failure
        return None


def test_somebody_deletes_the_bridge_and_one_apply_brings_the_traffic_back(node: Node) -> None:
    first, second, other = node.attach("a", "100*"), node.attach("b", "100*"), node.attach("c", "200*")
    trunk, native = node.attach("t", "1* 100 200"), node.attach("n", "1*")
    assert talks(first.wire, second.wire) and talks(first.wire, node.far, 100)
    node.ns.do(("oob-br", DeleteLink()))
    assert not node.link(first).master
    assert not talks(first.wire, second.wire)
    for pod in (first, second, other, trunk):
        pod.wire.heard()

    def shout() -> None:
        native.wire.send("vlan 1")
        node.far.send("vlan 1")
        trunk.wire.send("vlan 1")

    report = node.apply(*oob("eth1"), kernel=Noisy(node.kernel, shout))
    assert report.ok and report.rounds == 1, report
    assert all(node.in_place(pod) for pod in (first, second, other, trunk, native))
    assert talks(first.wire, second.wire) and talks(first.wire, node.far, 100) and talks(other.wire, node.far, 200)
    shout()
    assert hears(native, "vlan 1"), "the shouting can be heard by those in VLAN 1"
    for pod in (first, second, other):
        assert ("vlan 1", 0) not in pod.wire.heard(), f"{pod.record.pod} heard VLAN 1 on the way"
    trunk.wire.send("tagged", 100)
    assert hears(first, "tagged")
    assert node.plan(*oob("eth1")).empty


def test_the_whole_uplink_goes_by_hand_and_one_apply_makes_it_again(node: Node) -> None:
    first, second = node.attach("a", "100*"), node.attach("b", "100*")
    before = node.observed()
    node.ns.do(("oob-br", DeleteLink()), ("oob-bo", DeleteLink()))
    assert node.apply(*oob("eth1")).rounds == 1
    after = node.observed()
    assert {n: k for n, k in after.state.links.items() if n != "oob-bo"} == {
        n: k for n, k in before.state.links.items() if n != "oob-bo"
    }
    assert after.runtime[first.record.host].ifindex == before.runtime[first.record.host].ifindex
    assert talks(first.wire, second.wire) and talks(second.wire, node.far, 100)


@pytest.mark.parametrize("nics", [("eth1",), ("eth1", "eth2")])
def test_an_uplink_made_anew_leaves_the_ports_alone(node: Node, nics: tuple[str, ...]) -> None:
    """A mode needs an empty bond: with one NIC all leave it, with two a second bond takes over."""
    assert node.apply(*oob(*nics)).ok
    first, second = node.attach("a", "100*"), node.attach("b", "100*")
    before = node.observed()
    report = node.apply(*oob(*nics, mode="balance-xor"))
    assert report.ok
    assert not [s for s in report.planned.plan.steps if s.link in (first.record.host, second.record.host, "oob-br")]
    after = node.observed()
    for name in (first.record.host, second.record.host, IfName("oob-br")):
        assert after.state.links[name] == before.state.links[name]
        assert after.runtime[name].ifindex == before.runtime[name].ifindex
    assert talks(first.wire, second.wire) and talks(first.wire, node.far, 100)


def test_the_vlan_config_stays_while_somebody_uses_it(node: Node) -> None:
    pod = node.attach("a", "100*")
    before = node.observed().state
    report = node.apply(builders.cluster_network("oob"))
    (refusal,) = report.left.refusals
    assert refusal.code == "in-use" and "pod default/a (net1)" in refusal.message
    assert node.observed().state == before
    assert node.apply(*oob("eth1")).ok and talks(pod.wire, node.far, 100)
    pod.ns.run(links.delete("net1"))  # the container ends, and its record stays behind
    assert node.apply(builders.cluster_network("oob")).ok
    assert "oob-br" not in node.observed().state.links


# -- one port --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vlans", "outside"), [("100*", 100), ("1* 100 200", 0), ("5* 100", 5), ("1*", 0)])
@pytest.mark.parametrize("harm", ["detached", "down", "moved", "other VLANs", "no VLANs", "down and in VLAN 1"])
def test_a_port_that_drifted_is_put_right_by_one_plan(node: Node, harm: str, vlans: str, outside: int) -> None:
    pod, bystander = node.attach("a", vlans), node.attach("b", "100*")
    host = pod.record.host
    every, in_vlan_1 = VidSet.span(2, 4000), builders.ports("1*")
    if harm == "moved":
        node.ns.run(links.create("br0", "bridge", data={"vlan_filtering": 1}, up=True))
    harms: dict[str, list[tuple[str, Any]]] = {
        "detached": [(host, SetMaster(None))],
        "down": [(host, SetLink(up=False))],
        "moved": [(host, SetMaster(IfName("br0")))],
        "other VLANs": [(host, SetVlans(add=builders.ports("1* 7 8")))],
        "no VLANs": [(host, SetVlans(remove=VidSet.span(1, 4000)))],
        "down and in VLAN 1": [(host, SetLink(up=False)), (host, SetVlans(add=in_vlan_1, remove=every))],
    }
    node.ns.do(*harms[harm])
    report = node.apply(*oob("eth1"))
    assert report.ok and report.rounds <= 1, report
    assert node.in_place(pod) and node.in_place(bystander)
    assert node.plan(*oob("eth1")).empty
    assert talks(pod.wire, node.far, outside)


def test_an_isolated_port_that_lost_its_bridge_reaches_the_uplink_and_no_other_isolated_one(node: Node) -> None:
    """The kernel keeps isolation and hairpin with the membership, and so loses them."""
    first, second = node.attach("a", "100*"), node.attach("b", "100*")
    node.records = [replace(r, isolated=True, hairpin=False) for r in node.records]
    report = node.apply(*oob("eth1"))
    assert report.ok and len(report.planned.plan.steps) == 2
    for pod in (first, second):
        node.ns.do((pod.record.host, SetMaster(None)))
    assert node.apply(*oob("eth1")).rounds == 1
    for pod in (first, second):
        assert node.in_place(pod) and node.link(pod).port.isolated
        assert talks(pod.wire, node.far, 100)
    second.wire.heard()
    first.wire.send("secret")
    time.sleep(0.05)
    assert ("secret", 0) not in second.wire.heard()


def test_a_port_of_the_management_network_comes_back_and_mgmt_br_is_as_it_was(bare: Node) -> None:
    node = bare
    node.ns.do(
        ("mgmt-br", CreateLink(Link(name=IfName("mgmt-br"), spec=Bridge(vlan_filtering=True)))),
        ("mgmt-bo", CreateLink(Link(name=IfName("mgmt-bo"), spec=Bond(), mac=Mac("02:00:00:00:00:01")))),
        ("eth1", SetMaster(IfName("mgmt-bo"))),
        ("mgmt-bo", SetMaster(IfName("mgmt-br"))),
        ("mgmt-bo", SetLink(up=True)),
        ("mgmt-br", SetLink(up=True)),
    )
    node.ns.disown("mgmt-bo", "mgmt-br")  # the operating system's
    nads = [builders.nad("m", "mgmt", 100)]
    assert node.apply(*nads).ok
    plain, tagged = node.attach("a", "1*", "mgmt-br"), node.attach("b", "100*", "mgmt-br")
    devices = ("mgmt-br", "mgmt-bo", "eth1")
    before = node.observed().state.links
    node.ns.do((plain.record.host, SetMaster(None)), (tagged.record.host, SetMaster(None)))
    node.ns.do((tagged.record.host, SetLink(mtu=1300)))  # mgmt-br follows its smallest port
    report = node.apply(*nads)
    assert report.ok and node.in_place(plain) and node.in_place(tagged)
    assert {s.link for s in report.planned.plan.steps} == {plain.record.host, tagged.record.host}
    after = node.observed().state.links
    assert [after[IfName(n)] for n in devices] == [before[IfName(n)] for n in devices]
    assert talks(plain.wire, node.far) and talks(tagged.wire, node.far, 100)


def test_a_hundred_ports_come_back_at_once(node: Node) -> None:
    pods = [node.attach(f"p{n}", "100*" if n % 2 else "200*") for n in range(100)]
    node.ns.do(("oob-br", DeleteLink()))
    began = time.monotonic()
    report = node.apply(*oob("eth1"))
    print(f"100 ports back in {time.monotonic() - began:.2f} s")
    assert report.ok and report.rounds == 1
    assert all(node.in_place(pod) for pod in pods)


def test_what_the_plugin_makes_is_what_a_plan_wants(node: Node, new_ns: NewNs, tmp_path: Path) -> None:
    """ADD, every loss, apply, CHECK, DEL; and the bridge can go."""
    host, pod, objects = Host(tmp_path, NODE), new_ns(), oob("eth1")
    conf = {"cniVersion": "1.0.0", "name": "v100", "type": "windrow-bridge", "bridge": "oob-br", "vlan": 100}
    env = {
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "net1",
        "CNI_NETNS": f"/proc/{os.getpid()}/fd/{pod.fd}",
        "CNI_PATH": "/usr/lib/cni",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
    }

    def call(command: str, **more: Any) -> Any:
        text = json.dumps({**conf, **more}).encode()
        done = node.ns.inside(lambda: answer({**env, "CNI_COMMAND": command}, text, host))
        assert done.exit == 0, done.stdout
        node.records = list(recorded(host.paths))
        return json.loads(done.stdout) if done.stdout else None

    result = call("ADD")
    (record,) = node.records
    assert record.endpoint == "pod default/web (net1)"
    assert node.plan(*objects).empty
    before = node.observed().state.links[record.host]
    node.ns.do(("oob-br", DeleteLink()))
    assert node.apply(*objects).rounds == 1
    assert node.observed().state.links[record.host] == before
    wire = node.wire(pod.fd, "net1")
    assert talks(wire, node.far, 100)
    call("CHECK", prevResult=result)
    assert [p.code for p in node.apply(builders.cluster_network("oob")).left.refusals] == ["in-use"]
    call("DEL")
    assert node.records == [] and record.host not in node.observed().state.links
    assert node.apply(builders.cluster_network("oob")).ok
    host.close()


# -- the lock --------------------------------------------------------------------------------------


class Paused(StandIn):
    """Tells when the plan has come to its wait."""

    def __init__(self, kernel: Any) -> None:
        super().__init__(kernel)
        self.waits = threading.Event()

    def run(self, steps: Sequence[Step]) -> Failure | None:
        if any(isinstance(s.action, AwaitCarrier) for s in steps):
            self.waits.set()
        return self.kernel.run(steps)  # type: ignore[no-any-return]


def test_containers_come_and_go_while_a_takeover_waits_and_a_second_apply_does_not(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "SETTLE_MS", 4_000)
    assert node.apply(*oob("eth1", "eth2")).ok
    stays, goes = node.attach("stays", "100*"), node.attach("goes", "100*")
    node.ns.do(*((pod.record.host, SetMaster(None)) for pod in (stays, goes)))
    paths, own = Paths(tmp_path), Kernel(node.ns.fd)  # a socket of its own: two threads are at work
    kernel = Paused(own)
    reports: list[Converged] = []

    def change() -> None:
        with HostLock(paths, timeout_s=5) as lock:
            reports.append(node.apply(*oob("eth1", "eth2", mode="balance-xor"), kernel=kernel, waiting=lock.waiting))

    thread = threading.Thread(target=change)
    thread.start()
    assert kernel.waits.wait(20)
    began = time.monotonic()
    with locked(paths.lock, shared=True, timeout_s=1):
        took = time.monotonic() - began
        fresh = node.attach("fresh", "200*")
        goes.ns.run(links.delete("net1"))
    with pytest.raises(KernelError) as refused, HostLock(paths, timeout_s=0.1):
        pass
    assert refused.value.errno == errno.EAGAIN
    assert thread.is_alive(), "all that was while the plan waited"
    thread.join(30)
    own.close()
    print(f"a CNI call had the lock after {took * 1000:.1f} ms of a wait of 4 s")
    (report,) = reports
    assert report.ok, report
    assert node.link(fresh).up and node.in_place(fresh) and node.in_place(stays)
    assert talks(fresh.wire, node.far, 200) and talks(stays.wire, node.far, 100)
    with HostLock(paths, timeout_s=0):
        pass
