"""Network policies in a kernel: frames between the ports of a bridge, from the host and routed, against the verdict of
the specification; flushed, refused, killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.qemu.policed import GATEWAY, OUTSIDE, TCP_PORTS, UDP_PORTS, Node
from tests.unit import policyworld as world
from tests.unit.policyworld import Place, policy

from windrow.model.policies import Pod, PodInterface
from windrow.model.ruletable import RuleTable
from windrow.plan.policies import policy_unit
from windrow.policy import Packet, allows
from windrow.policy.nft import FAMILY, TABLE, program

KILLS = int(os.environ.get("WINDROW_KILLS", "20"))


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = Node()
    made.passing(made.pairs)  # everybody's MAC is known by then
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _open(node: Node) -> Iterator[None]:
    yield
    node.police(RuleTable())


def test_the_truth_table_in_frames(node: Node) -> None:
    """Each policy of a slice, loaded; each ordered pair of nine pods, TCP and UDP; and the world outside, both ways.
    WINDROW_POLICIES=1 is all of them."""
    wrong = node.wrong(list(world.texts())[:: int(os.environ.get("WINDROW_POLICIES", "30"))])
    assert not wrong, (len(wrong), wrong[:5])


CLOSED = ("x", "{podSelector: {}, policyTypes: [Ingress, Egress]}")


def test_the_host_itself_gets_in_and_out(node: Node) -> None:
    node.police(node.with_policy(*CLOSED))
    inside, other = node.address("x/a"), node.address("x/b")
    assert (other, inside, "TCP", 80) not in node.passing([(other, inside)])
    assert (GATEWAY, inside, "TCP", 80) in node.passing([(GATEWAY, inside)])
    assert node.pods[inside].run("ping", "-c1", "-W2", GATEWAY).returncode == 0
    assert node.pods[inside].run("ping", "-c1", "-W1", other).returncode == 1


def test_what_is_established_goes_on_and_nothing_new_begins(node: Node) -> None:
    """From the first policy of a host on: before it, nobody noted which connections there were."""
    node.police(node.with_policy("z", "{podSelector: {}}"))
    source, target = node.address("y/a"), node.address("x/a")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(node.of(target).inside(lambda: socket.create_server((target, 8080))))
        there = (target, 8080)
        opened = stack.enter_context(node.of(source).inside(lambda: socket.create_connection(there, timeout=3)))
        served = stack.enter_context(server.accept()[0])
        node.police(node.with_policy(*CLOSED))
        for left, right in ((opened, served), (served, opened)):
            left.sendall(b"still here")
            right.settimeout(5)
            assert right.recv(64) == b"still here"
    assert not node.passing([(source, target)])


def test_answers_come_back_from_outside_through_a_masquerade(node: Node) -> None:
    out = "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}"
    node.police(node.with_policy("x", out))
    node.ns.nft("table ip masq { chain post { type nat hook postrouting priority 100; oifname out0 masquerade; }; }")
    inside = node.address("x/a")
    with node.outside.inside(lambda: socket.create_server((OUTSIDE, 8080))) as server:
        opened = node.of(inside).inside(lambda: socket.create_connection((OUTSIDE, 8080), timeout=3))
        served, peer = server.accept()
        assert peer[0] == "203.0.113.1"
        served.sendall(b"answer")
        assert opened.recv(64) == b"answer"
        opened.close()
        served.close()
    assert not node.passing([(OUTSIDE, inside)])
    node.ns.nft("delete table ip masq")


def test_frames_that_go_through_iptables_meet_the_policy_all_the_same(node: Node) -> None:
    """br_netfilter takes them out of the bridge's hooks and brings them back behind its own: a table at priority 0 was
    passed by."""
    node.through_iptables(1)
    node.police(node.with_policy("x", "{podSelector: {}}"))
    source, target = node.address("y/a"), node.address("x/a")
    assert not node.passing([(source, target)])
    assert (target, source, "UDP", 80) in node.passing([(target, source)])
    node.through_iptables(0)


# Further networks ---------------------------------------------------------------------------------------


NETWORK, VID = "x/vlan100", 100
MULTI = """\
apiVersion: k8s.cni.cncf.io/v1beta1
kind: MultiNetworkPolicy
metadata: {{name: p, namespace: {namespace}, annotations: {{k8s.v1.cni.cncf.io/policy-for: {network}}}}}
spec: {spec}
"""


@contextlib.contextmanager
def in_a_vlan(node: Node) -> Iterator[None]:
    """The bridge filters VLANs, and all ports are in VLAN 100: untagged, but for those of `z`, which are trunks, with
    the pod's address on a VLAN interface."""
    trunks = [place for place in node.there if place.pod.meta.namespace == "z"]
    node.ns.ip("link set br0 type bridge vlan_filtering 1")
    for place in node.there:
        node.ns.must("bridge", "vlan", "del", "dev", place.port, "vid", "1")
        tags = () if place in trunks else ("pvid", "untagged")
        node.ns.must("bridge", "vlan", "add", "dev", place.port, "vid", str(VID), *tags)
    for place in trunks:
        _move(node, place, "eth0", f"eth0.{VID}", f"link add link eth0 name eth0.{VID} type vlan id {VID}")
    yield
    for place in trunks:
        _move(node, place, f"eth0.{VID}", "eth0")
        node.pods[place.pod.addresses[0]].ip(f"link del eth0.{VID}")
    node.ns.ip("link set br0 type bridge vlan_filtering 0")
    for place in node.there:
        node.ns.must("bridge", "vlan", "add", "dev", place.port, "vid", "1", "pvid", "untagged")


def _move(node: Node, place: Place, old: str, new: str, *before: str) -> None:
    address = place.pod.addresses[0]
    lines = (f"addr del {address}/16 dev {old}", f"addr add {address}/16 dev {new}", f"link set {new} up")
    node.pods[address].ip(*before, *lines, f"route add default via {GATEWAY}")


def further(place: Place) -> Pod:
    """The same pod, with its address in the further network alone."""
    there = PodInterface(network=NETWORK, name="net1", addresses=place.pod.addresses)
    return replace(place.pod, addresses=(), interfaces=(there,))


def test_further_networks_in_frames(node: Node) -> None:
    """A slice of the truth table as MultiNetworkPolicies, in a VLAN: untagged and trunk ports. A policy for another
    network, and one for the default network, are about none of them."""
    pairs = node.pairs
    pods, wrong = [further(place) for place in node.there], []
    slice_ = list(world.texts())[5 :: int(os.environ.get("WINDROW_POLICIES", "30")) * 2]
    with in_a_vlan(node):
        node.passing(pairs)  # everybody's MAC is known in the VLAN by then
        for namespace, spec in slice_:
            (own,) = world.loaded(MULTI.format(namespace=namespace, spec=spec, network=NETWORK))
            (other,) = world.loaded(MULTI.format(namespace="y", spec="{podSelector: {}}", network="x/another"))
            other = replace(other, meta=replace(other.meta, name="other"))
            objects = world.cluster([own, other, policy(*CLOSED)], ()).replace(pods)
            node.load(world.tables(objects, node.there, NETWORK)["n1"])
            expected = {
                (source, destination, protocol, port)
                for source, destination in pairs
                for protocol, ports in (("TCP", TCP_PORTS), ("UDP", UDP_PORTS))
                for port in ports
                if allows(
                    objects,
                    Packet(source=source, destination=destination, protocol=protocol, port=port, network=NETWORK),
                ).allowed
            }
            wrong += [f"{namespace} {spec}: {one}" for one in sorted(expected ^ node.passing(pairs))]
        node.police(RuleTable())
    assert len(slice_) > 1 and not wrong, (len(wrong), wrong[:5])


HARM = (
    "flush ruleset",
    f"delete table {FAMILY} {TABLE}",
    f"flush chain {FAMILY} {TABLE} arriving",
    f"insert rule {FAMILY} {TABLE} arriving accept",
    f"flush map {FAMILY} {TABLE} to-ports",
    f"add chain {FAMILY} {TABLE} more",
)


@pytest.mark.parametrize("harm", HARM)
def test_what_somebody_else_did_to_it_is_put_right(node: Node, harm: str) -> None:
    wanted = node.with_policy(*CLOSED)
    node.police(wanted)
    node.ns.nft("table bridge others { chain c { type filter hook forward priority 5; }; }")
    node.ns.nft(harm)
    others = node.ns.run("nft", "list", "table", "bridge", "others").stdout
    unit = policy_unit(wanted, node.seen())
    assert len(unit.steps) == 1 and unit.deltas
    node.police(wanted)
    source, target = node.address("y/a"), node.address("x/a")
    assert not node.passing([(source, target)])
    assert node.ns.run("nft", "list", "table", "bridge", "others").stdout == others
    node.ns.run("nft", "delete", "table", "bridge", "others")


def test_a_table_that_does_not_load_leaves_the_old_one(node: Node) -> None:
    wanted = node.with_policy(*CLOSED)
    node.police(wanted)
    (name, chain), *_ = ((n, c) for n, c in wanted.chains.items() if n.startswith("to-"))
    broken = replace(chain, rules=(replace(chain.rules[0], comment="x", expr=({"jump": {"target": "nowhere"}},)),))
    (step,) = policy_unit(replace(wanted, chains={**wanted.chains, name: broken}), wanted).steps
    failure = node.ns.inside(lambda: node.filters.run([step], ()))
    assert failure is not None and "nft" in failure.reason
    assert node.seen() == wanted
    assert not node.passing([(node.address("y/a"), node.address("x/a"))])


def test_killed_at_any_moment_it_was_never_open(node: Node) -> None:
    """Two policies that both close the pod, loaded in turn by an nft that is killed; a train of packets throughout."""
    rules = "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {pod: %s}}}]}]}"
    both = [node.with_policy("x", rules % letter) for letter in "bc"]
    node.police(both[0])
    began = time.monotonic()
    node.load(both[0])
    loading_s = time.monotonic() - began
    source, target = node.address("y/a"), node.address("x/a")
    chosen, ended = random.Random(14), threading.Event()
    sent = [0]

    def train(sender: socket.socket) -> None:
        while not ended.is_set():
            sender.sendto(source.encode(), (target, 80))
            sent[0] += 1
            time.sleep(0.001)

    node._drain()
    with node._socket(source, socket.SOCK_DGRAM) as sender:
        thread = threading.Thread(target=train, args=(sender,))
        thread.start()
        done = killed = 0
        for turn in range(KILLS):
            text = program(both[turn % 2], RuleTable()) if turn % 3 else program(both[turn % 2], node.seen())
            loading = node.ns.inside(
                lambda: subprocess.Popen(["nft", "-j", "-f", "/proc/self/fd/0"], stdin=subprocess.PIPE, text=True)
            )
            assert loading.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                loading.stdin.write(text or json.dumps({"nftables": []}))
                loading.stdin.close()
            time.sleep(chosen.uniform(0.0, loading_s))
            loading.send_signal(signal.SIGKILL)
            killed += loading.wait() == -signal.SIGKILL
            seen = node.seen()
            assert seen in both
            done += seen == both[turn % 2]
        ended.set()
        thread.join()
    assert done > 2 and killed > 2 and sent[0] > 500, (done, killed, sent)
    assert not node._drain()
    node.police(RuleTable())
    assert (source, target, "UDP", 80) in node.passing([(source, target)])
