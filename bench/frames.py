"""Frames of switches, and probes of ours: bytes to values. Beside scapy's decoders where it has one, which the tests
have as their second opinion."""

from __future__ import annotations

from dataclasses import replace

from scapy.contrib import lacp as their_lacp
from scapy.contrib.lldp import LLDPDU
from scapy.layers.l2 import Ether

from bench.measure import Group, Way, compare
from windrow.frames import lacp, lldp, probe
from windrow.model.evidence import Aggregation, Identity, Kind, LacpSide, Leg, SwitchPort
from windrow.model.values import IfName, Mac, Vid

RUNS = 21
TIMES = 100
VLANS = 50
MAC = Mac("02:00:00:00:00:01")


def groups() -> list[Group]:
    port = SwitchPort(
        source=Kind.LLDP,
        chassis=Identity(kind="mac", text=MAC),
        port=Identity(kind="ifname", text="Ethernet1/7"),
        system="leaf1",
        system_description="a switch",
        is_bridge=True,
        pvid=1,
        vlans={Vid(vid): f"vlan{vid}" for vid in range(100, 100 + VLANS)},
        aggregation=Aggregation(capable=True, active=True, port_id=1),
        max_frame=9216,
        hold_s=120,
    )
    pdu = lldp.encode(port)
    side = LacpSide(system=MAC, key=1, port=1, state=61)
    slow = lacp.encode(lacp.Lacpdu(sent=side, about_us=side))
    whole, slow_frame = lldp.to_neighbour(MAC, pdu), lacp.GROUP + bytes(6) + lacp.ETHERTYPE.to_bytes(2, "big") + slow
    assert lldp.decode(pdu) == port
    assert Ether(whole).haslayer(LLDPDU)
    assert Ether(slow_frame).haslayer(their_lacp.LACP)
    secret = probe.Secret.derived(["oob"])
    sent = probe.Probe(
        kind=probe.Kind.BROADCAST,
        sender=Leg("node-1", IfName("eth1")),
        vid=100,
        run=probe.Run(started=1, nonce=1),
        sweep=1,
        sequence=1,
        time=1,
    )
    ours = probe.encode(sent, secret)
    assert probe.decode(ours, secret) == replace(sent, size=len(ours))
    ways = [
        Way(what=f"LLDP with {VLANS} VLANs", run=lambda: [lldp.decode(pdu) for _ in range(TIMES)]),
        Way(what="the same by scapy", run=lambda: [Ether(whole) for _ in range(TIMES)]),
        Way(what="LACP", run=lambda: [lacp.decode(slow) for _ in range(TIMES)]),
        Way(what="LACP by scapy", run=lambda: [Ether(slow_frame) for _ in range(TIMES)]),
        Way(what="a probe, with its signature", run=lambda: [probe.decode(ours, secret) for _ in range(TIMES)]),
    ]
    return [Group(title=f"Frames of switches, {TIMES} decoded", where="On this machine", rows=compare(RUNS, ways))]
