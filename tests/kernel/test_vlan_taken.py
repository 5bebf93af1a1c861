"""A VLAN interface of others on the uplink takes its VLAN from the machines: seen with frames, and told by the plan."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from windrow.apps.engine import converge, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.ports import PORT_GROUP
from windrow.model.values import IfName, VidSet
from windrow.netlink import events, links, netns
from windrow.netlink.vlansheld import held
from windrow.plan.taken import CODE, MOST_ASKED, askable, elsewhere
from windrow.testing import builders

Ns = Any
NODE = "n1"
TRIES = 4
ETH_P_ALL = 3
CLUSTER = Cluster.of(
    (builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1"]), builders.nad("v100", "oob", 100))
)


class Host:
    """Cluster network `oob` with one NIC, whose cable ends at `switch`, and a pod in VLAN 100."""

    def __init__(self, ns: Ns, switch: Ns, pod: Ns) -> None:
        self.ns, self.switch, self.pod = ns, switch, pod
        self.record = builders.port_record("web", "oob-br", "100*")
        ns.run(links.veth(links.End(name="eth1"), links.End(name="far1", netns=switch.fd)))
        switch.run(links.set_link("far1", up=True))
        ns.run(links.veth(links.End(name=self.record.host, group=PORT_GROUP), links.End(name="in", netns=pod.fd)))
        pod.run(links.set_link("in", up=True))

    def known(self) -> Known:
        return Known(ports=(self.record,))

    def apply(self) -> None:
        done = converge(CLUSTER, self.ns.kernel, NODE, knowing=self.known)
        assert done.ok, done

    def told(self) -> list[str]:
        planned = plan_node(CLUSTER, look(self.ns.kernel, NODE, self.known()))
        assert planned.plan.empty
        return [p.message for p in planned.compiled.problems if p.code == CODE]

    def hidden(self) -> list[str]:
        """What the kernel says when it is asked for each VLAN."""
        kernel = self.ns.kernel
        sight = look(kernel, NODE, self.known())
        want = plan_node(CLUSTER, sight).compiled.state
        asked = askable(want, sight.observed)
        assert set(asked) == {"oob-bo", "eth1"}
        return [p.message for p in elsewhere(want, sight.observed, held(kernel.rtnl, asked))]

    def stand(
        self, name: str, kind: str, parent: str, data: dict[str, Any] | None = None, elsewhere: Ns | None = None
    ) -> None:
        where = {} if elsewhere is None else {"netns_fd": elsewhere.fd}
        self.ns.run(links.create(name, kind, parent=self.ns.index(parent), data=data, **where))

    def arrived(self) -> int:
        """How many of `TRIES` broadcasts in VLAN 100 come from the switch to the pod."""
        to_all = b"\xff" * 6 + bytes.fromhex("020000000001")
        payload = struct.pack("!H", 0x88B5) + b"windrow" + bytes(40)
        tagged, plain = to_all + struct.pack("!HH", 0x8100, 100) + payload, to_all + payload
        found = 0
        with packet_socket(self.pod, "in") as ear, packet_socket(self.switch, "far1") as out:
            ear.settimeout(0.3)
            for _ in range(TRIES):
                out.send(tagged)
            try:
                while found < TRIES:
                    found += ear.recv(2048)[: len(plain)] == plain
            except TimeoutError:
                pass
        return found


@contextmanager
def packet_socket(ns: Ns, link: str) -> Iterator[socket.socket]:
    opened: list[socket.socket] = []
    ns.inside(lambda: opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))))
    with opened[0] as found:
        ns.inside(lambda: found.bind((link, ETH_P_ALL)))
        yield found


@pytest.fixture
def host(new_ns: Callable[[], Ns]) -> Host:
    return Host(new_ns(), new_ns(), new_ns())


@pytest.mark.parametrize("parent", ["oob-bo", "eth1"])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_what_takes_the_frames_is_named(host: Host, parent: str, up: bool) -> None:
    host.apply()
    assert (host.arrived(), host.told()) == (TRIES, [])
    host.stand("thief", "vlan", parent, {"vid": 100})
    if up:
        host.ns.run(links.set_link("thief", up=True))
    (message,) = host.told()
    assert message.startswith(f"thief, which Windrow did not make, takes VLAN 100 on {parent}")
    assert host.arrived() == 0
    host.ns.run(links.delete("thief"))
    assert (host.arrived(), host.told()) == (TRIES, [])


@pytest.mark.parametrize("parent", ["oob-bo", "eth1"])
def test_what_takes_the_frames_in_another_namespace_is_told(host: Host, new_ns: Callable[[], Ns], parent: str) -> None:
    """`ip link add link oob-bo name thief netns z type vlan id 100`, as the CNI plugin `vlan` makes it."""

    def names() -> set[str]:
        return set(host.ns.kernel.rtnl.indexes())

    other = new_ns()
    host.apply()
    assert (host.arrived(), host.hidden()) == (TRIES, [])
    host.stand("thief", "vlan", parent, {"vid": 100}, elsewhere=other)
    other.run(links.set_link("thief", up=True))
    assert host.arrived() == 0 and host.told() == []
    news, before = netns.opened_in(host.ns.fd, lambda: events.listen((events.Group.LINK,))), names()
    with closing(news):
        (message,) = host.hidden()
        with pytest.raises(BlockingIOError):
            news.recv(65536)
    assert message == f"an interface in another network namespace takes VLAN 100 on {parent} from machines and pods"
    assert names() == before, "nothing was made"
    other.run(links.delete("thief"))
    assert (host.arrived(), host.hidden()) == (TRIES, [])
    host.stand("service", "vlan", parent, {"vid": 100, "protocol": 0x88A8}, elsewhere=other)
    assert host.hidden() == []
    host.stand("here", "vlan", parent, {"vid": 100})
    assert host.hidden() == [] and len(host.told()) == 1, "what is seen is not told twice"


def test_many_questions_cost_little_and_make_nothing(host: Host) -> None:
    host.apply()
    rtnl, vids = host.ns.kernel.rtnl, VidSet.span(1, MOST_ASKED)
    host.stand("a", "vlan", "oob-bo", {"vid": 7})
    before, began = rtnl.indexes(), time.monotonic()
    assert held(rtnl, {IfName("oob-bo"): vids, IfName("gone"): vids}) == {"oob-bo": VidSet.of([7])}
    print(f"\n{MOST_ASKED} questions: {(time.monotonic() - began) * 1000:.1f} ms")
    assert rtnl.indexes() == before


def test_without_the_module_nothing_is_asked(host: Host) -> None:
    host.stand("a", "vlan", "eth1", {"vid": 7})
    asked = {IfName("eth1"): VidSet.of([7])}
    assert held(host.ns.kernel.rtnl, asked) == asked
    assert held(host.ns.kernel.rtnl, asked, module="/proc/net/nothing") == {}


@pytest.mark.parametrize("parent", ["oob-bo", "eth1"])
def test_what_hears_service_tags_only_takes_nothing(host: Host, parent: str) -> None:
    """`ip link add link oob-bo name s type vlan protocol 802.1ad id 100`."""
    host.apply()
    host.stand("service", "vlan", parent, {"vid": 100, "protocol": 0x88A8})
    host.ns.run(links.set_link("service", up=True))
    assert (host.arrived(), host.told()) == (TRIES, [])


def test_a_nic_with_service_tags_joins(host: Host) -> None:
    host.stand("eth1.100", "vlan", "eth1", {"vid": 100, "protocol": 0x88A8})
    host.apply()
    assert host.arrived() == TRIES


def test_a_nic_with_a_leftover_does_not_join(host: Host) -> None:
    host.stand("eth1.100", "vlan", "eth1", {"vid": 100})
    done = converge(CLUSTER, host.ns.kernel, NODE, knowing=host.known)
    assert [p.code for p in done.left.refusals] == [CODE]
    assert "oob-br" not in host.ns.kernel.observe().state.links
    host.ns.run(links.delete("eth1.100"))
    host.apply()
