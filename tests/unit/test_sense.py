"""What is remembered, compared and read without a socket: neighbours, counters, /proc/net/bonding, lldpd's JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_frames_neighbours import SUMMIT
from tests.unit.test_frames_oracle import TRUNK

from windrow.frames import lldp
from windrow.frames.lldp import Gone
from windrow.model.evidence import (
    Absent,
    Aggregation,
    Counters,
    DhcpOffer,
    Identity,
    Kind,
    LacpSide,
    NicEvidence,
    NodeEvidence,
    SwitchPort,
    VlanEvidence,
)
from windrow.model.values import IfName, Mac
from windrow.netlink.stats import Counted
from windrow.sense import bonds, lldpd, silence
from windrow.sense.counting import LATELY_S, History, Reading
from windrow.sense.gather import joined
from windrow.sense.manners import DHCP_PAUSE_S, Manners
from windrow.sense.neighbours import MOST, Neighbours

ETH0, ETH1 = IfName("eth0"), IfName("eth1")
MAC = Mac("02:00:00:00:00:0a")


def neighbour(name: str = "sw", hold: int = 120) -> SwitchPort:
    return SwitchPort(
        source=Kind.LLDP,
        chassis=Identity(kind="local", text=name),
        port=Identity(kind="ifname", text="p1"),
        hold_s=hold,
    )


# Neighbours ---------------------------------------------------------------------------------------


def test_a_neighbour_is_there_as_long_as_it_said_and_what_it_said_last_counts() -> None:
    known = Neighbours()
    known.hear(ETH0, neighbour(hold=10), Kind.LLDP, 100.0)
    assert [p.hold_s for p in known.of(ETH0, 109.9)] == [10]
    known.hear(ETH0, replace(neighbour(hold=20), pvid=7), Kind.LLDP, 105.0)
    assert [p.pvid for p in known.of(ETH0, 124.9)] == [7]
    assert known.of(ETH0, 125.0) == ()
    assert known.of(ETH1, 105.0) == ()


def test_who_goes_away_is_gone_and_nobody_else() -> None:
    known = Neighbours()
    for name in ("a", "b"):
        known.hear(ETH0, neighbour(name), Kind.LLDP, 0.0)
    gone = neighbour("a")
    known.hear(ETH0, Gone(gone.chassis, gone.port), Kind.CDP, 1.0)
    assert len(known.of(ETH0, 1.0)) == 2, "that was by another protocol"
    known.hear(ETH0, Gone(gone.chassis, gone.port), Kind.LLDP, 1.0)
    assert [p.chassis.text for p in known.of(ETH0, 1.0)] == ["b"]


def test_thousands_of_neighbours_cost_no_more_than_the_first_few_and_drive_nobody_out() -> None:
    known = Neighbours()
    known.hear(ETH0, neighbour("real"), Kind.LLDP, 0.0)
    for number in range(5000):
        known.hear(ETH0, neighbour(f"forged{number}", hold=65535), Kind.LLDP, 1.0)
    there = known.of(ETH0, 2.0)
    assert (len(there), there[0].chassis.text) == (MOST, "real")
    assert known.refused == {ETH0: 5000 - (MOST - 1)}
    known.hear(ETH0, replace(neighbour("real"), pvid=5), Kind.LLDP, 100.0)
    assert known.of(ETH0, 110.0)[0].pvid == 5
    known.hear(ETH1, neighbour("other"), Kind.LLDP, 1.0)
    assert len(known.of(ETH1, 2.0)) == 1
    known.drop(ETH0)
    assert known.of(ETH0, 2.0) == () and known.refused == {}


def test_a_place_becomes_free_when_somebodys_time_is_over() -> None:
    known = Neighbours()
    for number in range(MOST):
        known.hear(ETH0, neighbour(f"n{number}", hold=10), Kind.LLDP, 0.0)
    known.hear(ETH0, neighbour("late"), Kind.LLDP, 11.0)
    assert [p.chassis.text for p in known.of(ETH0, 11.0)] == ["late"]


# Counters -----------------------------------------------------------------------------------------


def reading(at: float, received: int, **more: Any) -> Reading:
    counted = Counted(received=received, errors=more.pop("errors", 0), dropped=0, lacpdus=more.pop("lacpdus", None))
    return Reading(at=at, counted=counted, carrier_changes=more.pop("flaps", 2), **more)


def test_lately_is_since_the_first_look_and_later_since_a_minute() -> None:
    history = History()
    first, lacpdus = history.take(reading(0.0, 100, errors=5, lacpdus=1, came_back=0))
    assert first == Counters(received=100, errors=5, dropped=0, carrier_changes=2)
    assert lacpdus is None
    found, lacpdus = history.take(reading(10.0, 130, errors=7, lacpdus=4, flaps=3, came_back=2))
    assert (found.received_lately, found.errors_lately, found.carrier_changes_lately, found.over_s) == (30, 2, 1, 10.0)
    assert (found.own_frames_lately, found.for_us_lately, lacpdus) == (2, None, 3)
    for second in range(20, 200, 10):
        found, _ = history.take(reading(float(second), 130 + second))
        assert found.over_s <= LATELY_S + 10
    assert found.received_lately == 60


def test_counters_that_go_back_are_of_another_nic() -> None:
    history = History()
    history.take(reading(0.0, 100))
    found, _ = history.take(reading(10.0, 5))
    assert (found.received, found.received_lately) == (5, None)
    found, _ = history.take(reading(11.0, 8))
    assert (found.received_lately, found.over_s) == (3, 1.0)


def test_a_kernel_that_does_not_count() -> None:
    history = History()
    blind = Reading(at=0.0, counted=None, carrier_changes=0)
    history.take(blind)
    found, lacpdus = history.take(replace(blind, at=5.0, carrier_changes=4))
    assert (found.received, found.received_lately, found.carrier_changes_lately, lacpdus) == (None, None, 4, None)


# Bonds --------------------------------------------------------------------------------------------

PROC = """\
Ethernet Channel Bonding Driver: v6.1.176

Bonding Mode: IEEE 802.3ad Dynamic link aggregation
802.3ad info
LACP active: on
System MAC address: 02:00:00:00:00:0a
Active Aggregator Info:
\tAggregator ID: 1
\tPartner Mac Address: 02:00:00:00:00:0b

Slave Interface: eth0
MII Status: up
Permanent HW addr: 02:00:00:00:00:0a
Aggregator ID: 1
Actor Churn State: none
Partner Churn State: churned
details actor lacp pdu:
    system priority: 65535
    system mac address: 02:00:00:00:00:0a
    port key: 15
    port priority: 255
    port number: 1
    port state: 63
details partner lacp pdu:
    system priority: 32768
    system mac address: 02:00:00:00:00:0b
    oper key: 369
    port priority: 128
    port number: 7
    port state: 61

Slave Interface: eth1
MII Status: up
Aggregator ID: 2
Actor Churn State: monitoring
Partner Churn State: none
"""


def test_both_sides_of_a_leg_from_proc() -> None:
    found = bonds.parse_proc(PROC)
    assert found[ETH0] == bonds.ProcLeg(
        actor=LacpSide(system=MAC, key=15, port=1, state=63, system_priority=65535, port_priority=255),
        partner=LacpSide(
            system=Mac("02:00:00:00:00:0b"), key=369, port=7, state=61, system_priority=32768, port_priority=128
        ),
        churned=True,
    )
    assert found[ETH1] == bonds.ProcLeg(churned=False), "without CAP_NET_ADMIN there are no details"


@pytest.mark.parametrize(
    ("slave", "file", "expected"),
    [
        ({}, True, True),
        ({}, None, None),
        ({"actor_churn": 2, "partner_churn": 1}, False, True),
        ({"actor_churn": 2, "partner_churn": 0}, True, False),
    ],
    ids=["an old kernel: the file", "no right to read it", "netlink", "netlink knows better"],
)
def test_churn(slave: dict[str, int], file: bool | None, expected: bool | None) -> None:
    assert bonds.churned(slave, bonds.ProcLeg(churned=file)) is expected


@pytest.mark.parametrize(
    "text", ["", "Slave Interface: ", "Slave Interface: eth0\ndetails actor lacp pdu:\n  port key: x"]
)
def test_what_is_no_such_file_says_nothing(text: str) -> None:
    assert all(leg == bonds.ProcLeg() for leg in bonds.parse_proc(text).values())


def test_every_beginning_of_the_file_can_be_read() -> None:
    for end in range(len(PROC)):
        bonds.parse_proc(PROC[:end])


# lldpd --------------------------------------------------------------------------------------------


def value(text: str) -> list[dict[str, str]]:
    return [{"value": text}]


ENTRY: dict[str, Any] = {
    "name": "eth0",
    "via": "LLDP",
    "rid": "1",
    "age": "0 day, 00:01:05",
    "chassis": [
        {
            "id": [{"type": "mac", "value": "02:00:00:00:00:01"}],
            "name": value("leaf1"),
            "descr": value("a switch"),
            "mgmt-ip": [{"value": "10.0.0.1"}, {"value": "fd00::1"}],
            "capability": [{"type": "Bridge", "enabled": True}, {"type": "Router", "enabled": False}],
        }
    ],
    "port": [
        {"id": [{"type": "ifname", "value": "p7"}], "descr": value("node1"), "ttl": value("120"), "mfs": value("1522")}
    ],
    "vlan": [{"vlan-id": "1", "pvid": True}, {"vlan-id": "100", "pvid": False, "value": "no"}],
    "unknown-tlvs": [{"unknown-tlv": [{"oui": "00,80,C2", "subtype": "7", "len": "5", "value": "03,00,0F,42,41"}]}],
}


def parsed(*entries: Any) -> Any:
    return lldpd.parse(json.dumps({"lldp": [{"interface": list(entries)}]}).encode(), 1000.0)


def test_a_neighbour_of_lldpd() -> None:
    assert parsed(ENTRY) == {
        ETH0: (
            SwitchPort(
                source=Kind.LLDP,
                chassis=Identity(kind="mac", text="02:00:00:00:00:01"),
                port=Identity(kind="ifname", text="p7"),
                system="leaf1",
                system_description="a switch",
                port_description="node1",
                is_bridge=True,
                pvid=1,
                vlans={100: "no"},
                aggregation=Aggregation(capable=True, active=True, port_id=1000001),
                max_frame=1522,
                management=("10.0.0.1", "fd00::1"),
                hold_s=120,
                heard=1000.0 - 65,
            ),
        )
    }


def test_what_lldpd_says_of_frames_of_ours() -> None:
    """As lldpd 1.0.16 printed it: on eth0 the frame that scapy reads in `test_frames_oracle`; on eth1 the same with the
    aggregate in its new home, and the Summit's as captured. It has no id of an aggregate that is none, and no
    management address that is a MAC."""
    data = (Path(__file__).parent / "lldpd-1.0.16.json").read_bytes()
    found = lldpd.parse(data, 0.0)
    assert isinstance(found, dict)
    summit = lldp.decode(SUMMIT)
    assert isinstance(summit, SwitchPort)
    summit = replace(summit, aggregation=None, management=())
    assert [replace(port, heard=0.0) for port in found[ETH0]] == [TRUNK]
    assert [replace(port, heard=0.0) for port in found[ETH1]] == [TRUNK, summit]


def test_two_neighbours_on_one_nic_and_one_by_cdp() -> None:
    second = {**ENTRY, "rid": "2", "via": "CDPv2", "vlan": [], "unknown-tlvs": []}
    found = parsed(ENTRY, second)
    assert [(p.source, p.pvid, p.aggregation is None) for p in found[ETH0]] == [
        (Kind.LLDP, 1, False),
        (Kind.CDP, None, True),
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"lldp": [{}]}', b'{"lldp": {"interface": {}}}', b"7"])
def test_no_neighbours(data: bytes) -> None:
    found = lldpd.parse(data, 0.0)
    assert found == {} or found == "lldpcli answered with what is no JSON"


def test_whatever_lldpd_leaves_out_or_gets_wrong() -> None:
    for key in ENTRY:
        for wrong in (None, 7, "x", [], [7], [{}], {"value": 1}, [{"id": 7}], [{"id": [{"type": "mac"}]}]):
            parsed({**ENTRY, key: wrong})
        parsed({name: part for name, part in ENTRY.items() if name != key})
    strange = {**ENTRY, "unknown-tlvs": [{"unknown-tlv": [{"oui": "zz"}, {"oui": "00,80,C2", "subtype": "x"}]}]}
    assert parsed(strange)[ETH0][0].aggregation is None


def test_how_this_host_would_announce_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lldpd, "runs", lambda: False)
    monkeypatch.setattr(lldpd.shutil, "which", lambda _: None)
    assert "apt-get install lldpd" in lldpd.how_to_announce()
    monkeypatch.setattr(lldpd.shutil, "which", lambda _: "/usr/sbin/lldpd")
    assert "systemctl enable --now lldpd" in lldpd.how_to_announce()
    monkeypatch.setattr(lldpd, "runs", lambda: True)
    assert "already" in lldpd.how_to_announce()


# Manners ------------------------------------------------------------------------------------------

PLACE = ("oob", 100)
OFFER = DhcpOffer(server="10.9.0.1", server_mac=MAC, address="10.9.0.7", prefix=24)


def test_a_vlan_is_asked_once_in_five_minutes_whoever_asks(tmp_path: Path) -> None:
    file = tmp_path / "run" / "asked.json"
    first = Manners(file)
    assert first.wait_s(PLACE, 1000.0) == 0
    first.asked(PLACE, 1000.0)
    first.heard(PLACE, [OFFER])
    assert first.wait_s(PLACE, 1100.0) == DHCP_PAUSE_S - 100
    assert first.wait_s(("oob", 200), 1100.0) == 0
    assert first.known(PLACE) == (OFFER,)
    other = Manners(file)
    assert (other.wait_s(PLACE, 1100.0), other.known(PLACE)) == (DHCP_PAUSE_S - 100, None)
    assert other.wait_s(PLACE, 1300.0) == 0
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_clock_that_was_set_back_silences_nobody_for_long_and_lets_nobody_ask_at_once() -> None:
    manners = Manners()
    manners.asked(PLACE, 1_000_000.0)
    assert manners.wait_s(PLACE, 1000.0) == DHCP_PAUSE_S
    assert manners.wait_s(PLACE, 1000.0 + DHCP_PAUSE_S) == 0


@pytest.mark.parametrize("text", ["", "[]", "7", '{"oob/x": 1}', '{"oob/100": "x"}', '{"oob/100": null}', "\xff"])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "asked.json"
    file.write_text(text, encoding="latin-1")
    assert Manners(file).wait_s(PLACE, 5.0) == 0


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    manners = Manners(tmp_path / "file" / "asked.json")
    manners.asked(PLACE, 5.0)
    assert manners.wait_s(PLACE, 6.0) > 0


# Silence ------------------------------------------------------------------------------------------


def nic(**more: Any) -> NicEvidence:
    return NicEvidence(**{"name": ETH0, "mac": MAC, "carrier": True, **more})


@pytest.mark.parametrize(
    ("one", "listened", "unreadable", "expected"),
    [
        (nic(carrier=False), 90, {}, "eth0 has no carrier"),
        (nic(), 5, {}, "in 5 s: switches tell of themselves every 30 s; listen for longer"),
        (nic(), 90, {}, "in 90 s: the switch sends none on this port"),
        (nic(driver="i40e"), 90, {}, "`ethtool --set-priv-flags eth0 disable-fw-lldp on`"),
        (nic(driver="ice"), 5, {}, "`ethtool --set-priv-flags eth0 fw-lldp-agent off`"),
        (nic(driver="bnxt_en"), 90, {}, "the driver bnxt_en may keep LLDP in its firmware"),
        (nic(driver="ice"), 90, {Kind.CDP: "3 frames"}, "cannot be read (CDP: 3 frames)"),
    ],
)
def test_why_nothing_was_heard(one: NicEvidence, listened: float, unreadable: dict[Kind, str], expected: str) -> None:
    assert expected in silence.no_neighbour(one, listened, unreadable)


# Joined -------------------------------------------------------------------------------------------


def test_what_probes_found_and_what_was_heard_is_one() -> None:
    probed = NodeEvidence(
        node="n",
        at=5.0,
        nics={ETH0: nic(carrier_since=4.0)},
        absent=(Absent(kind=Kind.PROBE, reason="x"),),
        vlans=(VlanEvidence(cluster_network="oob", vid=7),),
    )
    sensed = NodeEvidence(
        node="n",
        at=6.0,
        nics={ETH0: nic(neighbours=(neighbour(),), driver="ice"), ETH1: nic(name=ETH1)},
        absent=(Absent(kind=Kind.LLDP, reason="y"),),
    )
    found = joined(probed, sensed)
    assert found.nics[ETH0] == nic(carrier_since=4.0, neighbours=(neighbour(),), driver="ice")
    assert set(found.nics) == {ETH0, ETH1}
    assert ([one.reason for one in found.absent], found.at, len(found.vlans)) == (["x", "y"], 6.0, 1)
