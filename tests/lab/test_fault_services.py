"""Servers and strangers in the VLANs of a lab, each at fault in its own way, and cables in each other's port: exactly
that is found on every node, by frames.

All that is wrong in a VLAN is wrong at the same time, each in a VLAN of its own: a node asks each of them once in five
minutes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from tests.lab.checkworld import NAD, NODES, Checked, brought_up
from tests.lab.test_fault_catalogue import CHECKS, alarms, words

from windrow.frames.ethernet import mac_bytes
from windrow.lab.guest.run import run_in
from windrow.model.findings import Finding, Reason
from windrow.store.paths import Paths
from windrow.testing.advertise import advertisement
from windrow.testing.dhcpserver import ETH_P_IP, DhcpServer, Does, serving, wire

SERVED = range(10, 17)
"""VLANs with a gateway, and a DHCP server that machines are to have their addresses from."""
SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {{name: services}}
spec:
  nodes:
    - name: n1
      nics: [eth0, eth1, eth2, eth3]
      management: {{nics: [eth3], address: 10.50.0.11/24}}
    - name: n2
      nics: [eth0, eth1, eth2, eth3]
      management: {{nics: [eth3], address: 10.50.0.12/24}}
    - name: n3
      nics: [eth0, eth1, eth2, eth3]
      management: {{nics: [eth3], address: 10.50.0.13/24}}
  switches:
    - name: s1
      announces: all
      ports:
        - {{names: [p1, p2, p4, p5, p9], native: 1, vlans: "10-19"}}
        - {{names: [p3, p6], vlans: "50"}}
        - {{names: [p7, p8], native: 7}}
        - {isl}
    - name: s2
      announces: pvid
      ports:
        - {{names: [p1, p2, p9], native: 1, vlans: "10-19"}}
        - {{name: p3, vlans: "50"}}
        - {{name: p4, native: 7}}
        - {isl}
  hosts:
    - {{name: server, role: host, nics: [{{name: eth0, addresses: {{{server}}}}}]}}
    - {{name: stranger, role: host, nics: [{{name: eth0, addresses: {{{stranger}}}}}]}}
  cables:
    - ["n1:eth0", "s1:p1"]
    - ["n1:eth1", "s1:p2"]
    - ["n1:eth2", "s1:p3"]
    - ["n1:eth3", "s1:p7"]
    - ["n2:eth0", "s1:p4"]
    - ["n2:eth1", "s1:p5"]
    - ["n2:eth2", "s1:p6"]
    - ["n2:eth3", "s1:p8"]
    - ["n3:eth0", "s2:p1"]
    - ["n3:eth1", "s2:p2"]
    - ["n3:eth2", "s2:p3"]
    - ["n3:eth3", "s2:p4"]
    - ["server:eth0", "s1:p9"]
    - ["stranger:eth0", "s2:p9"]
    - ["s1:isl", "s2:isl"]
""".format(
    isl='{name: isl, native: 1, vlans: "7,10-19,50"}',
    server=", ".join(f"{vid}: 10.0.{vid}.1/24" for vid in SERVED),
    stranger=", ".join(f"{vid}: 10.0.{vid}.9/24" for vid in range(10, 20)),
)
NETWORK = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {{name: {name}}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {{name: {name}}}
spec:
  clusterNetwork: {name}
  uplink: {{nics: [{nics}], bondOptions: {{mode: active-backup, miimon: 100}}}}
"""
ROUTE = """\
namespace: default, annotations: {{network.harvesterhci.io/route: \
'{{"mode": "auto", "cidr": "10.0.{vid}.0/24", "gateway": "10.0.{vid}.1"}}'}}"""
ADDRESSES = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: oob-17}
spec:
  clusterNetwork: oob
  vlanID: 17
  mode: static
  ips: {n1: 10.0.17.11/24, n2: 10.0.17.12/24, n3: 10.0.17.13/24}
"""
NADS = [
    *(
        NAD.format(name=f"v{vid}", network="oob", vlans=f'"vlan": {vid}').replace(
            "namespace: default", ROUTE.format(vid=vid)
        )
        for vid in SERVED
    ),
    *(NAD.format(name=f"v{vid}", network="oob", vlans=f'"vlan": {vid}') for vid in (18, 19)),
    NAD.format(name="v50", network="lan", vlans='"vlan": 50'),
]
MANIFESTS = (
    NETWORK.format(name="oob", nics="eth0, eth1")
    + "---\n"
    + NETWORK.format(name="lan", nics="eth2")
    + ADDRESSES
    + "".join(NADS)
)
ASKED_S = 15.0
"""All questions had their time: on a host with one processor the three nodes take turns."""
IN_VLANS = {
    "no DHCP server": (Reason.DHCP_SILENT, 11),
    "two DHCP servers": (Reason.DHCP_TWO_SERVERS, 12),
    "wrong pool": (Reason.DHCP_WRONG_POOL, 13),
    "pool of another VLAN": (Reason.DHCP_WRONG_VLAN, 14),
    "exhausted": (Reason.DHCP_EXHAUSTED, 15),
    "gateway silent": (Reason.GATEWAY_SILENT, 16),
    "duplicate address": (Reason.ADDRESS_DUPLICATE, 17),
    "duplicate MAC": (Reason.MAC_DUPLICATE, 18),
    "two routers": (Reason.ROUTER_ROGUE, 19),
}
SHOWN = {
    **{name: reason for name, (reason, _) in IN_VLANS.items()},
    "crossed p3": Reason.CABLE_CROSSED,
    "flaps": Reason.LINK_FLAPS,
}
RESTS = 0x88B6
"""IEEE 802, local experimental: frames that nobody but a switch looks at."""


@dataclass(slots=True)
class Exhausted(DhcpServer):
    """Its pool has one address: whoever asks first has it."""

    taken: set[bytes] = field(default_factory=set)

    def take(self, frame: bytes) -> None:
        client = frame[6:12]
        if frame[12:14] == ETH_P_IP.to_bytes(2, "big") and (not self.taken or client in self.taken):
            self.taken.add(client)
            DhcpServer.take(self, frame)


@pytest.fixture(scope="module")
def lab() -> Iterator[Checked]:
    with brought_up(SCENARIO, MANIFESTS) as one:
        yield one


def server(
    lab: Checked, vid: int, offers: str = "", *, host: str = "server", kind: type[DhcpServer] = DhcpServer
) -> DhcpServer:
    own = lab.world.inside(host, lambda: wire(f"eth0.{vid}"))
    last = {"server": 2, "stranger": 9}[host]
    return kind(own, f"10.0.{vid}.{last}", Does(address=offers or f"10.0.{vid}.{100 + last}"))


def forget(lab: Checked) -> None:
    """That a VLAN was asked already."""
    for node in NODES:
        Paths(lab.world.root(node)).dhcp_asked.unlink(missing_ok=True)


def asked(lab: Checked, expected: list[str]) -> dict[str, list[Finding]]:
    """What is found in the end, as `located` has it."""
    for _ in range(CHECKS):
        forget(lab)
        told = alarms(lab, ASKED_S)
        if all(words(found) == expected for found in told.values()):
            break
    return told


def run(lab: Checked, place: str, *words: str) -> None:
    code, _, wrong = run_in(lab.world.place(place), list(words))
    assert not code, wrong


@contextmanager
def again_and_again(lab: Checked, host: str, frames: dict[str, list[bytes]]) -> Iterator[None]:
    """Sends these from its links, twice a second."""
    wires = {name: lab.world.inside(host, lambda name=name: wire(name)) for name in frames}  # type: ignore[misc]
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.5):
            for name, some in frames.items():
                for frame in some:
                    wires[name].send(frame)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for one in wires.values():
            one.close()


def broadcast_from(mac: str) -> bytes:
    return b"\xff" * 6 + mac_bytes(mac) + RESTS.to_bytes(2, "big") + bytes(46)


def advertised(last: int) -> bytes:
    return advertisement(bytes([2, 0x99, 0, 0, 0, last]))


def bond_mac(lab: Checked, node: str) -> str:
    found: list[str] = []
    reading: Callable[[], None] = lambda: found.append(_mac_of("oob-bo"))  # noqa: E731
    lab.world.inside(node, reading)
    return found[0]


def _mac_of(name: str) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as one:
        one.bind((name, 0))
        mac: bytes = one.getsockname()[4]
        return mac.hex(":")


def test_all_is_well(lab: Checked) -> None:
    with serving([server(lab, vid) for vid in SERVED]):
        assert not any(alarms(lab, ASKED_S).values())


def test_each_server_and_stranger_is_found(lab: Checked) -> None:
    servers = [
        server(lab, 10),
        server(lab, 12),
        server(lab, 12, host="stranger"),
        server(lab, 13, "192.168.7.7"),
        server(lab, 14, "10.0.10.77"),
        server(lab, 15, kind=Exhausted),
        server(lab, 16),
    ]
    strange = {
        "eth0.18": [broadcast_from(bond_mac(lab, "n1"))],
        "eth0.19": [advertised(1), advertised(2)],
    }
    with ExitStack() as after, serving(servers), again_and_again(lab, "stranger", strange):
        run(lab, "server", "ip", "addr", "del", "10.0.16.1/24", "dev", "eth0.16")
        after.callback(run, lab, "server", "ip", "addr", "add", "10.0.16.1/24", "dev", "eth0.16")
        run(lab, "stranger", "ip", "addr", "add", "10.0.17.12/24", "dev", "eth0.17")
        after.callback(run, lab, "stranger", "ip", "addr", "del", "10.0.17.12/24", "dev", "eth0.17")
        expected = sorted(f"{reason} at VLAN {vid} of oob [{vid}]" for reason, vid in IN_VLANS.values())
        told = asked(lab, expected)
    assert {node: words(found) for node, found in told.items()} == dict.fromkeys(NODES, expected)


@pytest.mark.parametrize("other", ["p3", "p7"], ids=["with another network", "with the operating system's mgmt"])
def test_crossed_cables_are_found(lab: Checked, other: str) -> None:
    with serving([server(lab, vid) for vid in SERVED]):
        lab.world.break_port("s1", "p1", ("crossed", other))
        try:
            expected = [f"{Reason.CABLE_CROSSED} at {other} of s1 and p1 of s1 []"]
            told = asked(lab, expected)
        finally:
            lab.world.mend("s1", "p1")
    assert {node: words(found) for node, found in told.items()} == dict.fromkeys(NODES, expected)


def test_a_leg_that_flaps_is_found(lab: Checked) -> None:
    """The carrier has to come and go while somebody looks: the kernel counts, and tells no time."""

    def flap() -> None:
        for _ in range(4):
            for state in ("down", "up"):
                threading.Event().wait(0.6)
                run(lab, "s1", "ip", "link", "set", "p5", state)

    with serving([server(lab, vid) for vid in SERVED]):
        for _ in range(CHECKS):
            told = alarms(lab, ASKED_S, meanwhile=flap)
            found = {f"{f.reason} {f.legs[0]}" for every in told.values() for f in every}
            if found == {f"{Reason.LINK_FLAPS} n2/eth1"}:
                break
    assert found == {f"{Reason.LINK_FLAPS} n2/eth1"}, told
