"""What checks and probes make of what they saw."""

from __future__ import annotations

import socket
import struct

import pytest

from windrow.frames.ethernet import checksum
from windrow.lab import probe
from windrow.lab.checks import bond_faults, bond_words
from windrow.lab.probe import Direction
from windrow.lab.scenario import End
from windrow.lab.world import mac_of
from windrow.model.bonding import BondMode

LACP = """\
Ethernet Channel Bonding Driver: v6.1.176

Bonding Mode: IEEE 802.3ad Dynamic link aggregation
Transmit Hash Policy: layer2 (0)
MII Status: up
MII Polling Interval (ms): 100

802.3ad info
LACP active: on
Active Aggregator Info:
\tAggregator ID: 1
\tNumber of ports: 2
\tPartner Mac Address: 52:54:03:2a:50:7a

Slave Interface: eth2
MII Status: up
Aggregator ID: 1

Slave Interface: eth3
MII Status: up
Aggregator ID: 1
"""


def test_a_bond_that_is_as_it_should_be() -> None:
    assert bond_faults(LACP, BondMode.LACP, 2) == []
    assert "LACP partner 52:54:03:2a:50:7a, both in aggregator 1" in bond_words(LACP)


def test_every_fault_of_a_bond_is_found() -> None:
    assert bond_faults("", BondMode.LACP, 2) == ["there is no such bond"]
    assert bond_faults(LACP, BondMode.BALANCE_RR, 2) == ["the mode is 'IEEE 802.3ad Dynamic link aggregation'"]
    assert bond_faults(LACP, BondMode.LACP, 3)[0] == "2 of 2 NICs are up, not 3"
    no_partner = LACP.replace("52:54:03:2a:50:7a", "00:00:00:00:00:00")
    assert bond_faults(no_partner, BondMode.LACP, 2) == ["there is no LACP partner"]
    split = LACP.replace("Aggregator ID: 1\n\nSlave", "Aggregator ID: 2\n\nSlave").replace("ports: 2", "ports: 1")
    assert bond_faults(split, BondMode.LACP, 2) == [
        "the NICs are in 2 aggregators",
        "the active aggregator has 1 ports, not 2",
    ]
    one_down = LACP.replace("eth3\nMII Status: up", "eth3\nMII Status: down")
    assert bond_faults(one_down, BondMode.LACP, 2) == ["1 of 2 NICs are up, not 2"]


def test_what_a_flow_lost() -> None:
    way = probe._Way(socket.socket(), socket.socket(), ("", 0), sent=10)
    for sequence in (0, 1, 5, 4, 5, 9):  # 2, 3 and 6, 7, 8 lost; 4 late; 5 twice
        way.note(sequence)
    way.out.close()
    way.into.close()
    found = probe._direction(way, rate=500)
    assert found == Direction(sent=10, received=5, duplicated=1, late=1, longest_ms=6.0)
    assert (found.lost, str(found)) == (5, "5 of 10 lost, longest gap 6 ms, 1 doubled")


def test_the_internet_checksum() -> None:
    """The example of RFC 1071 §3: its sum is ddf2."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def test_an_echo_request_adds_up() -> None:
    packet = probe._echo_request(3, 1)
    assert checksum(packet) == 0
    reply = b"\x45" + bytes(19) + b"\0" + packet[1:]
    assert probe._is_reply(reply, 3)
    assert not probe._is_reply(reply, 4)
    assert not probe._is_reply(b"\x45" + bytes(19) + packet, 3)


def test_no_two_pings_are_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """conntrack knows an echo by its identifier: what a policy closes is not to go on as one of before."""
    sent: list[int] = []

    def request(ident: int, _: int) -> bytes:
        sent.append(ident)
        return b""

    def station(name: str) -> probe.Station:
        return probe.Station(name, "lo", lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "127.0.0.1")

    monkeypatch.setattr(probe, "_echo_request", request)
    a, *others = (station(f"s{number}") for number in range(301))
    for _ in range(2):
        probe.ping([(a, other) for other in others], deadline_s=0.01)
    assert len(sent) == len(set(sent)) == 600


def test_macs_are_local_unicast_and_stay_the_same() -> None:
    mac = mac_of(End("node-0", "eth0"))
    assert mac == mac_of(End("node-0", "eth0")) != mac_of(End("node-0", "eth1"))
    (first,) = struct.unpack("B", bytes.fromhex(mac[:2]))
    assert first & 3 == 2
