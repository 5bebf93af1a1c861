"""Bonds under watch: what one look shows, and what is told over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from windrow.model.bonding import BondMode
from windrow.model.events import Condition, EventType
from windrow.model.host import Bond, HostState, LacpState, Link, Observed, Runtime
from windrow.model.meta import Meta
from windrow.model.names import ANNOTATION_MANAGED
from windrow.model.values import OWNER_GROUP, IfName, Mac, Ref
from windrow.status import bondfaults
from windrow.status.bonds import FLAP_WINDOW_S, LACP_GRACE_S, BondMemory, watch
from windrow.testing.builders import cluster, cluster_network, link, node, vlan_config

PARTNER = Mac("02:00:00:00:00:99")
OOB = Ref("ClusterNetwork", "oob")


def nic(index: int, **run: object) -> Runtime:
    """A slave with carrier; `aggregator` makes one of a LACP bond."""
    aggregator = run.pop("aggregator", None)
    lacp = LacpState(aggregator=int(str(aggregator))) if aggregator is not None else None
    usual = {"carrier": True, "slave_mii_up": True, "slave_active": True, "carrier_downs": 0, "lacp": lacp}
    return Runtime(ifindex=index, **{**usual, **run})  # type: ignore[arg-type]


def host(
    slaves: Mapping[str, Runtime],
    mode: str = "active-backup",
    *,
    name: str = "oob-bo",
    active: str | None = None,
    partner: Mac | None = None,
    group: int = OWNER_GROUP,
) -> Observed:
    """One bond with these slaves; of a LACP bond the active aggregator is 1."""
    bond = Runtime(
        ifindex=2,
        group=group,
        carrier=True,
        active_slave=IfName(active) if active else None,
        aggregator=1 if mode == "802.3ad" else None,
        partner_mac=partner,
    )
    links: dict[IfName, Link] = {IfName(name): link(name, Bond(mode=BondMode(mode)), up=True)}
    links |= {IfName(n): link(n, up=True, master=name) for n in slaves}
    return Observed(
        state=HostState(links=links), runtime={IfName(name): bond, **{IfName(n): r for n, r in slaves.items()}}
    )


DOWN = {"carrier": False, "slave_mii_up": False, "slave_active": False}


SILENT = {"carrier": True, "slave_mii_up": False, "slave_active": False}


def monitored(seen: Observed, **options: Any) -> Observed:
    """The bond with these options of its monitor."""
    bond = seen.state.links[IfName("oob-bo")]
    assert isinstance(bond.spec, Bond)
    links = {**seen.state.links, bond.name: replace(bond, spec=replace(bond.spec, **options))}
    return replace(seen, state=replace(seen.state, links=links))


ONE: dict[str, Any] = {"arp_interval": 100, "arp_ip_target": ("10.0.0.1",)}
TWO: dict[str, Any] = {**ONE, "ns_ip6_target": ("fd00::1",)}
ELSEWHERE = "the VLAN of the ARP target, and whether it answers others"


@pytest.mark.parametrize(
    ("slaves", "options", "reason", "message", "hint"),
    [
        (
            {"eth1": nic(3, **SILENT), "eth2": nic(4)},
            ONE,
            "OneLeg",
            "oob-bo: eth1 has carrier, but the ARP target 10.0.0.1 does not answer on it;"
            " eth2 alone carries the traffic",
            f"see whether the switch port of eth1 carries {ELSEWHERE}",
        ),
        (
            {"eth1": nic(3, **SILENT), "eth2": nic(4, **DOWN), "eth3": nic(5)},
            TWO,
            "OneLeg",
            "oob-bo: eth2 without carrier; eth1 has carrier, but the ARP targets 10.0.0.1, fd00::1 do not answer on it;"
            " eth3 alone carries the traffic",
            f"look at the cable and the switch port of eth2; see whether the switch port of eth1 carries {ELSEWHERE}",
        ),
        (
            {"eth1": nic(3, **SILENT), "eth2": nic(4, **SILENT)},
            ONE,
            "CutOff",
            "oob-bo: eth1, eth2 have carrier, but the ARP target 10.0.0.1 does not answer on them: the network is"
            " cut off from outside",
            f"see whether the switch ports of eth1, eth2 carry {ELSEWHERE}",
        ),
        (
            {"eth1": nic(3, **DOWN), "eth2": nic(4, **DOWN)},
            ONE,
            "CutOff",
            "oob-bo has no NIC with carrier: the network is cut off from outside",
            "look at the cables and the switch ports",
        ),
        (
            {"eth1": nic(3, **SILENT), "eth2": nic(4)},
            {"miimon": 100, "updelay": 5000},
            "OneLeg",
            "oob-bo: eth1 has carrier, and is used when it has lasted 5000 ms; eth2 alone carries the traffic",
            "wait for upDelay",
        ),
        (
            {"eth1": nic(3, **SILENT), "eth2": nic(4)},
            {"miimon": 100},
            "OneLeg",
            "oob-bo: eth1 has carrier, but the bond takes it for down; eth2 alone carries the traffic",
            "see: cat /proc/net/bonding/oob-bo",
        ),
    ],
)
def test_a_nic_that_has_carrier_is_never_told_as_a_cable_that_is_out(
    slaves: Mapping[str, Runtime], options: Mapping[str, Any], reason: str, message: str, hint: str
) -> None:
    (bond,) = bondfaults.bonds(monitored(host(slaves), **options))
    (fault,) = bondfaults.faults(bond)
    assert (fault.reason, fault.message, fault.hint) == (reason, message, hint)
    assert {str(s.name): s.carrier for s in bond.slaves} == {n: run.carrier for n, run in slaves.items()}


@pytest.mark.parametrize(
    ("seen", "reasons", "words"),
    [
        (host({"eth1": nic(3), "eth2": nic(4, slave_active=False)}), [], ""),
        (host({"eth1": nic(3, **DOWN), "eth2": nic(4)}), ["OneLeg"], "eth1 without carrier; eth2 alone carries"),
        (
            host({"eth1": nic(3, **DOWN), "eth2": nic(4), "eth3": nic(5)}),
            ["SlaveDown"],
            "eth1 without carrier; eth2, eth3 carry the traffic",
        ),
        (host({"eth1": nic(3, slave_mii_up=False), "eth2": nic(4)}), ["OneLeg"], "eth1"),
        (host({"eth1": nic(3, **DOWN), "eth2": nic(4, **DOWN)}), ["CutOff"], "cut off from outside"),
        (host({"eth1": nic(3)}), [], ""),
        (host({}), ["NoSlaves"], "has no NIC"),
        (
            host({"eth1": nic(3, speed=10_000), "eth2": nic(4, speed=1000)}),
            ["SpeedsDiffer"],
            "eth1 10 Gbit/s, eth2 1 Gbit/s",
        ),
        (host({"eth1": nic(3, speed=100), "eth2": nic(4)}), [], ""),
        (host({"eth1": nic(3, speed=10, duplex="half"), "eth2": nic(4, speed=10)}), ["HalfDuplex"], "half duplex"),
        (
            host({"eth1": nic(3, aggregator=1), "eth2": nic(4, aggregator=1)}, "802.3ad", partner=PARTNER),
            [],
            "",
        ),
        (host({"eth1": nic(3, aggregator=1), "eth2": nic(4, aggregator=2)}, "802.3ad"), ["NoLacpPartner"], "one NIC"),
        (
            host({"eth1": nic(3, aggregator=1), "eth2": nic(4, aggregator=2)}, "802.3ad", partner=PARTNER),
            ["OtherAggregator"],
            "eth2 is in another LACP group",
        ),
        (
            host({"eth1": nic(3, aggregator=1, **DOWN), "eth2": nic(4, aggregator=1)}, "802.3ad"),
            ["NoLacpPartner", "OneLeg"],
            "no LACP partner",
        ),
    ],
)
def test_what_one_look_shows(seen: Observed, reasons: list[str], words: str) -> None:
    (bond,) = bondfaults.bonds(seen)
    found = bondfaults.faults(bond)
    assert [f.reason for f in found] == reasons
    assert all(f.hint for f in found)
    assert words in "; ".join(f.message for f in found)


def test_whose_bonds_are_watched() -> None:
    assert bondfaults.bonds(host({}, group=0)) == ()
    assert [b.about.name for b in bondfaults.bonds(host({}, name="mgmt-bo", group=0))] == ["mgmt"]
    assert bondfaults.bonds(host({}, name="bond0")) == ()


def test_a_nic_that_is_not_there_is_missed() -> None:
    found = cluster(cluster_network("oob"), vlan_config("oob", ["eth1", "eth2", "eth3"]), node("n1"))
    wanted = bondfaults.wanted_nics(found, "n1")
    assert wanted == {"oob-bo": 3}
    (bond,) = bondfaults.bonds(host({"eth1": nic(3), "eth2": nic(4)}), wanted)
    assert [(f.reason, f.message) for f in bondfaults.faults(bond)] == [
        ("SlaveMissing", "oob-bo has 2 of the 3 NICs that it should have")
    ]


def test_a_config_of_mgmt_counts_where_windrow_manages_it() -> None:
    """Harvester mirrors the management uplink in one that nobody acts on."""
    mirror = vlan_config("mgmt", ["eth0", "eth9"])
    assert bondfaults.wanted_nics(cluster(mirror, node("n1")), "n1") == {}
    ours = replace(mirror, meta=Meta(name="mgmt", annotations={ANNOTATION_MANAGED: "true"}))
    assert bondfaults.wanted_nics(cluster(ours, node("n1")), "n1") == {"mgmt-bo": 2}


# -- over time -------------------------------------------------------------------------------------


class Watch:
    """One look after the other; keeps what is told."""

    def __init__(self) -> None:
        self.memory = BondMemory()
        self.events: list[tuple[float, str, str]] = []
        self.again: float | None = None

    def look(self, seen: Observed, now: float) -> Condition:
        found = watch(self.memory, seen, now)
        self.memory, self.again = found.memory, found.again
        self.events += [(e.first, e.reason, e.message) for e in found.events]
        assert all(e.first == e.last == now and e.about == OOB for e in found.events)
        (condition,) = found.conditions
        assert (condition.about, condition.type) == (OOB, "Degraded")
        return condition

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.events]


def pair(**second: object) -> Observed:
    return host({"eth1": nic(3), "eth2": nic(4, **second)}, active="eth1")


def test_lost_and_back() -> None:
    it = Watch()
    assert it.look(pair(), 100).status is False
    lost = it.look(pair(**DOWN, carrier_downs=1), 110)
    assert (lost.status, lost.reason, lost.since) == (True, "OneLeg", 110)
    assert lost.hint == "look at the cable and the switch port of eth2"
    for now in (111, 112, 113):
        assert it.look(pair(**DOWN, carrier_downs=1), now).since == 110
    whole = it.look(pair(carrier_downs=1), 122)
    assert (whole.status, whole.reason, whole.message, whole.since) == (False, "Whole", "", 122)
    assert it.events == [
        (110, "OneLeg", "oob-bo: eth2 without carrier; eth1 alone carries the traffic"),
        (122, "SlaveUp", "oob-bo: eth2 back, after 12 s"),
    ]
    assert it.again is None


def test_the_types_of_events() -> None:
    first = watch(BondMemory(), pair(), 1)
    lost = watch(first.memory, pair(**DOWN), 2)
    back = watch(lost.memory, pair(), 3)
    assert [e.type for e in (*lost.events, *back.events)] == [EventType.WARNING, EventType.NORMAL]


def test_what_is_wrong_at_the_first_look_is_told_once() -> None:
    it = Watch()
    it.look(pair(**DOWN), 5)
    it.look(pair(**DOWN), 6)
    assert it.reasons == ["OneLeg"]


def test_cut_off_and_back_by_and_by() -> None:
    def both(a: bool, b: bool) -> Observed:
        return host({"eth1": nic(3, **({} if a else DOWN)), "eth2": nic(4, **({} if b else DOWN))})

    it = Watch()
    it.look(both(True, True), 0)
    it.look(both(False, True), 1)
    assert it.look(both(False, False), 2).reason == "CutOff"
    assert it.look(both(True, False), 5).since == 1
    it.look(both(True, True), 7)
    assert it.reasons == ["OneLeg", "CutOff", "SlaveUp", "SlaveUp"]


def test_flapping_is_told_once_and_is_over_when_it_is_quiet() -> None:
    it = Watch()
    it.look(pair(), 0)
    for n in range(20):
        it.look(pair(**DOWN, carrier_downs=n + 1), 10 + 2 * n)
        it.look(pair(carrier_downs=n + 1), 11 + 2 * n)
    last = 10 + 2 * 19
    assert it.reasons == ["OneLeg", "SlaveUp", "OneLeg", "SlaveUp", "Flapping"]
    up = it.look(pair(carrier_downs=20), last + 5)
    assert (up.status, up.reason) == (True, "Flapping")
    assert it.again == last + FLAP_WINDOW_S
    assert it.look(pair(carrier_downs=20), it.again).status is False
    assert it.reasons[5:] == ["NoFlapping"]


def test_flaps_between_two_looks_are_counted_by_the_kernel() -> None:
    it = Watch()
    it.look(pair(carrier_downs=7), 0)
    assert it.look(pair(carrier_downs=9), 1).status is False
    assert it.look(pair(carrier_downs=10), 2).reason == "Flapping"
    it.look(pair(**DOWN, carrier_downs=11), 3)
    assert it.reasons == ["Flapping"]
    # Quiet, because it stays down: then that is told.
    it.look(pair(**DOWN, carrier_downs=11), 64)
    assert it.reasons == ["Flapping", "OneLeg", "NoFlapping"]


def test_a_counter_that_begins_anew_is_no_flap() -> None:
    it = Watch()
    it.look(pair(carrier_downs=900), 0)
    assert it.look(pair(carrier_downs=0), 1).status is False
    assert it.events == []


def test_a_clock_that_jumps_back_does_not_make_it_flap_for_ever() -> None:
    it = Watch()
    it.look(pair(), 1_000_000)
    assert it.look(pair(carrier_downs=3), 1_000_001).reason == "Flapping"
    assert it.look(pair(carrier_downs=3), 1_000).status is False


def test_a_fail_over_is_told() -> None:
    it = Watch()
    it.look(pair(), 0)
    it.look(host({"eth1": nic(3, **DOWN), "eth2": nic(4)}, active="eth1"), 10)
    it.look(host({"eth1": nic(3, **DOWN), "eth2": nic(4)}, active="eth2"), 10.1)
    assert it.events[1:] == [(10.1, "FailedOver", "oob-bo: eth2 carries the traffic, eth1 no more")]


def lag(a: int, b: int, partner: Mac | None = PARTNER, **second: object) -> Observed:
    slaves = {"eth1": nic(3, aggregator=a), "eth2": nic(4, aggregator=b, **second)}
    return host(slaves, "802.3ad", partner=partner)


def test_lacp_is_given_time_to_agree() -> None:
    it = Watch()
    assert it.look(lag(1, 2, None), 0).status is False
    assert it.again == LACP_GRACE_S
    assert it.look(lag(1, 2, None), 3).status is False
    assert it.look(lag(1, 1), 4).status is False
    assert it.again is None
    assert it.events == []


def test_a_switch_that_never_answers() -> None:
    it = Watch()
    it.look(lag(1, 2, None), 0)
    found = it.look(lag(1, 2, None), LACP_GRACE_S)
    assert (found.reason, found.status) == ("NoLacpPartner", True)
    assert "set up link aggregation" in found.hint
    it.look(lag(1, 1), 300)
    assert it.events[-1] == (300, "LacpPartner", "oob-bo: the LACP partner answers, after 5 min")


def test_a_partner_that_falls_silent_is_lost_at_once() -> None:
    it = Watch()
    it.look(lag(1, 1), 0)
    assert it.look(lag(1, 2, None), 50).reason == "NoLacpPartner"


def test_a_nic_that_comes_back_may_take_its_time_to_join() -> None:
    it = Watch()
    it.look(lag(1, 1), 0)
    assert it.look(lag(1, 1, **DOWN), 20).reason == "OneLeg"
    assert it.look(lag(1, 2), 30).status is False
    assert it.look(lag(1, 2), 30 + LACP_GRACE_S).reason == "OtherAggregator"
    it.look(lag(1, 1), 45)
    assert it.reasons == ["OneLeg", "SlaveUp", "OtherAggregator", "OneAggregator"]


def test_after_a_cut_the_partner_may_take_its_time() -> None:
    dead = host({"eth1": nic(3, aggregator=1, **DOWN), "eth2": nic(4, aggregator=2, **DOWN)}, "802.3ad")
    it = Watch()
    it.look(lag(1, 1), 0)
    assert it.look(dead, 10).reason == "CutOff"
    assert it.look(lag(1, 2, None), 20).status is False


def test_another_partner_is_told() -> None:
    it = Watch()
    it.look(lag(1, 1), 0)
    it.look(lag(1, 1, Mac("02:00:00:00:00:77")), 1)
    assert it.events == [
        (1, "OtherLacpPartner", "oob-bo: the LACP partner is 02:00:00:00:00:77, and was 02:00:00:00:00:99")
    ]


def test_while_the_mode_changes_nothing_is_missed() -> None:
    changing = host({"eth1": nic(3)})
    links = {**changing.state.links, IfName("oob-bn"): link("oob-bn", Bond(), up=True)}
    changing = replace(changing, state=HostState(links=links))
    first = watch(BondMemory(), pair(), 0, wanted={"oob-bo": 2})
    during = watch(first.memory, changing, 1, wanted={"oob-bo": 2})
    assert (during.conditions, during.events) == (first.conditions, ())
    after = watch(during.memory, host({"eth1": nic(3)}), 2, wanted={"oob-bo": 2})
    assert [c.reason for c in after.conditions] == ["SlaveMissing"]


def test_a_bond_that_is_gone_is_forgotten() -> None:
    first = watch(BondMemory(), pair(**DOWN), 0)
    gone = watch(first.memory, Observed(state=HostState(), runtime={}), 1)
    assert (gone.conditions, gone.events, gone.memory) == ((), (), BondMemory())


def test_every_reason_has_its_place_and_its_end() -> None:
    from windrow.status.bonds import OF_SLAVES, OVER

    assert set(OVER) | OF_SLAVES == set(bondfaults.REASONS)
