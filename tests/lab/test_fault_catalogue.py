"""Switches of a lab, broken in each way of the catalogue: `diagnose` finds exactly that on every node, by frames.

One lab for all: three nodes, each with a bond in active-backup (oob), one with LACP (lag) and one in balance-xor
(pair), on two switches with a link between them. Where it can be, faults of two networks are there at the same time.
Nothing else is found, and what was mended before is found no more. `WINDROW_FAULT_PAIRS`: how many random pairs are
tried.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product

import pytest
from tests.lab.checkworld import NODES, Checked, brought_up, nad, settle

from windrow.diagnose import diagnose
from windrow.model.findings import Finding, Grade, Reason
from windrow.model.values import Ref, VidSet

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: catalogue}
spec:
  nodes:
    - {name: n1, nics: [eth0, eth1, eth2, eth3, eth4, eth5]}
    - {name: n2, nics: [eth0, eth1, eth2, eth3, eth4, eth5]}
    - {name: n3, nics: [eth0, eth1, eth2, eth3, eth4, eth5]}
  switches:
    - name: s1
      announces: all
      ports:
        - {names: [p5, p6, p7, p8, p9, p10, p11, p12]}
        - {names: [p1, p2, p3, p4], native: 1, vlans: "10-20,30,40"}
        - {name: isl, native: 1, vlans: "10-20,30,40,50,60"}
      groups:
        - {name: lag1, mode: lacp, ports: [p5, p6], native: 1, vlans: "30,40"}
        - {name: lag2, mode: lacp, ports: [p7, p8], native: 1, vlans: "30,40"}
        - {name: pair1, mode: static, ports: [p9, p10], native: 1, vlans: "50,60"}
        - {name: pair2, mode: static, ports: [p11, p12], native: 1, vlans: "50,60"}
    - name: s2
      announces: pvid
      ports:
        - {names: [p5, p6, p7, p8]}
        - {names: [p1, p2], native: 1, vlans: "10-20,30,40"}
        - {name: isl, native: 1, vlans: "10-20,30,40,50,60"}
      groups:
        - {name: lag3, mode: lacp, ports: [p5, p6], native: 1, vlans: "30,40"}
        - {name: pair3, mode: static, ports: [p7, p8], native: 1, vlans: "50,60"}
  cables:
    - ["n1:eth0", "s1:p1"]
    - ["n1:eth1", "s1:p2"]
    - ["n2:eth0", "s1:p3"]
    - ["n2:eth1", "s1:p4"]
    - ["n3:eth0", "s2:p1"]
    - ["n3:eth1", "s2:p2"]
    - ["n1:eth2", "s1:p5"]
    - ["n1:eth3", "s1:p6"]
    - ["n2:eth2", "s1:p7"]
    - ["n2:eth3", "s1:p8"]
    - ["n3:eth2", "s2:p5"]
    - ["n3:eth3", "s2:p6"]
    - ["n1:eth4", "s1:p9"]
    - ["n1:eth5", "s1:p10"]
    - ["n2:eth4", "s1:p11"]
    - ["n2:eth5", "s1:p12"]
    - ["n3:eth4", "s2:p7"]
    - ["n3:eth5", "s2:p8"]
    - ["s1:isl", "s2:isl"]
"""
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
  uplink: {{nics: [{nics}], bondOptions: {{mode: {mode}, miimon: 100{more}}}}}
"""
NETWORKS = [*(("oob", vid) for vid in range(10, 21)), *product(("lag",), (30, 40)), *product(("pair",), (50, 60))]
MANIFESTS = "---\n".join(
    [
        NETWORK.format(name="oob", nics="eth0, eth1", mode="active-backup", more=""),
        NETWORK.format(name="lag", nics="eth2, eth3", mode="802.3ad", more=", lacpRate: fast"),
        NETWORK.format(name="pair", nics="eth4, eth5", mode="balance-xor", more=""),
    ]
) + "".join(nad(f"v{vid}", network, vid) for network, vid in NETWORKS)
LOCATED_S = 9.0
"""A sweep, the doubt about it, a sweep of all legs, and the time in which all are told what came of it."""
CHECKS = 3
"""So many times it is asked, each time for longer: on a busy host the nodes' sweeps begin apart, and the last reports
of one come too late for the others. What is wrong stays wrong."""
AGREED_S = 4.0
"""LACP at the fast rate, after a channel was changed."""


ALL = "10-20,30,40,50,60"
CHANNEL_FAULTS = ("no-channel", "channel", "other-key")


@dataclass(frozen=True)
class Fault:
    """`at`: switch, and port or group. `reason` None: it is legal, and no alarm. `legs`: the NICs that the finding is
    about; none: those of the whole network."""

    at: str
    words: str
    reason: Reason | None = None
    place: str = ""
    legs: str = ""
    vids: str = ""
    fix: str = ""

    @property
    def name(self) -> str:
        return f"{self.words} at {self.at}"

    def hides(self, other: Fault) -> bool:
        """What nothing passes through shows nothing else, and one fault of a VLAN is like another."""
        if self.at == other.at or {self.at, other.at} <= {"s1:lag1", "s1:p5"}:
            return True
        mine, theirs = (VidSet.parse(one.vids or ALL) for one in (self, other))
        alone = not self.nodes or not other.nodes
        return bool(mine & theirs) and (alone or bool(self.nodes & other.nodes)) and self.network == other.network

    @property
    def shown(self) -> str:
        """Its name in the list of docs/user/findings.md."""
        if self.network == "pair":
            return f"channel member {self.words}"
        return f"isl {self.words}" if self.at == "s1:isl" else self.words

    @property
    def nodes(self) -> set[str]:
        """Those whose NICs it is about; none: a switch, a link, or nobody."""
        return {leg.partition("/")[0] for leg in self.legs.split()}

    @property
    def network(self) -> str:
        return {"s1:lag1": "lag", "s1:p5": "lag", "s2:p7": "pair"}.get(self.at, "oob")

    @property
    def expected(self) -> list[str]:
        return [f"{self.reason} at {self.place} [{self.vids}]"] if self.reason else []

    def check_more(self, found: Finding) -> None:
        assert found.about == Ref("VlanConfig", found.network)
        assert not self.legs or " ".join(map(str, found.legs)) == self.legs
        assert self.fix in found.fix.words


P5_P6, BOTH = "p5 of s1 and p6 of s1", "n1/eth2 n1/eth3"
FAULTS = [
    [
        Fault("s2:p1", "vlan-missing 20", Reason.VLAN_MISSING, "p1 of s2", "n3/eth0", "20", "allow VLAN 20"),
        Fault("s1:lag1", "vlan-missing 30", Reason.VLAN_MISSING, P5_P6, BOTH, "30", "allow VLAN 30"),
    ],
    [
        Fault("s1:p1", "access 10", Reason.ACCESS_PORT, "p1 of s1", "n1/eth0", "10-20", "a trunk"),
        Fault("s1:p5", "member-vlan-missing 30", Reason.VLAN_MISSING, "p5 of s1", "n1/eth2", "30", "allow VLAN 30"),
    ],
    [
        Fault("s1:p1", "native 20", Reason.NATIVE_VLAN_WRONG, "p1 of s1", "n1/eth0", "20", "native VLAN"),
        Fault("s1:lag1", "no-channel", Reason.LACP_MISSING, P5_P6, BOTH, "", "one channel with LACP"),
    ],
    [
        Fault("s1:p1", "translate 10 40", Reason.VLAN_TRANSLATED, "p1 of s1", "n1/eth0", "10,40", "remove the VLAN"),
        Fault("s1:lag1", "channel static", Reason.LACP_MISSING, P5_P6, BOTH, "", "one channel with LACP"),
    ],
    [Fault("s1:lag1", "other-key", Reason.LACP_TWO_CHANNELS, P5_P6, BOTH, "", "one channel")],
    [Fault("s2:p7", "deaf", Reason.ONE_WAY, "p7 of s2", "n3/eth4", "", "access list")],
    [Fault("s2:p7", "mute", Reason.ONE_WAY, "the switch port of n3/eth4", "n3/eth4", "", "access list")],
    [Fault("s1:p3", "deaf", Reason.ONE_WAY, "p3 of s1", "n2/eth0", "", "access list")],
    [Fault("s1:p3", "mute", Reason.ONE_WAY, "the switch port of n2/eth0", "n2/eth0", "", "access list")],
    [Fault("s1:p3", "no-broadcast", Reason.BROADCAST_FILTERED, "p3 of s1", "n2/eth0", "", "storm control")],
    [Fault("s1:p3", "mtu 1400", Reason.MTU_TOO_SMALL, "p3 of s1", "n2/eth0", "", "at least 1500")],
    [Fault("s1:isl", "mtu 1400", Reason.MTU_TOO_SMALL, "the link between s1 and s2", "", "", "at least 1500")],
    [Fault("s1:p3", "loss 5", Reason.FRAMES_LOST, "p3 of s1", "n2/eth0", "", "cable and transceiver")],
    [Fault("s1:p3", "loss 30", Reason.FRAMES_LOST, "p3 of s1", "n2/eth0", "", "cable and transceiver")],
    [Fault("s1:p1", "isolated")],
    [Fault("s1:p3", "slow 1")],
    [Fault("s1:p1", "vlan-not-created 10", Reason.VLAN_NOT_CREATED, "s1", "", "10", "create VLAN 10")],
    [
        Fault(
            "s1:isl",
            "vlan-missing 20",
            Reason.SWITCH_LINK_VLAN_MISSING,
            "the link between s1 and s2",
            "",
            "20",
            "both ends of the link",
        )
    ],
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Checked]:
    with brought_up(SCENARIO, MANIFESTS) as one:
        settle(one, *NODES)
        yield one


def alarms(
    lab: Checked, seconds: float | None = None, meanwhile: Callable[[], None] | None = None
) -> dict[str, list[Finding]]:
    """What each node finds; notes are no alarms."""
    told = lab.check(seconds=seconds, meanwhile=meanwhile)
    return {
        node: [f for f in diagnose(lab.cluster, one.evidence) if f.grade is not Grade.NOTE]
        for node, one in told.items()
    }


def words(found: list[Finding]) -> list[str]:
    return sorted(f"{f.reason} at {f.place} [{f.vids}]" for f in found)


def test_all_is_well(lab: Checked) -> None:
    assert not any(alarms(lab).values())


@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: " and ".join(fault.name for fault in faults))
def test_exactly_that_is_found(lab: Checked, faults: list[Fault]) -> None:
    exactly(lab, faults)


PAIRS = int(os.environ.get("WINDROW_FAULT_PAIRS", "3"))


@pytest.mark.parametrize("seed", range(PAIRS))
def test_two_faults_at_random(lab: Checked, seed: int) -> None:
    exactly(lab, random.Random(seed).choice(pairs()))


def pairs() -> list[list[Fault]]:
    """Two faults that do not hide each other: at different ports, and where they are about the same VLANs of one
    network, at different nodes."""
    every = [fault for faults in FAULTS for fault in faults]
    return [[one, other] for n, one in enumerate(every) for other in every[n + 1 :] if not one.hides(other)]


def exactly(lab: Checked, faults: list[Fault]) -> None:
    of_channels = any(fault.words.split()[0] in CHANNEL_FAULTS for fault in faults)
    with broken(lab, faults):
        if of_channels:
            time.sleep(AGREED_S)
        expected = sorted(line for fault in faults for line in fault.expected)
        told = located(lab, expected)
    if of_channels:
        settle(lab, *NODES)
    story = "\n".join(f"{node}: {found}" for node, every in told.items() for found in every)
    assert {node: words(found) for node, found in told.items()} == dict.fromkeys(NODES, expected), story
    for fault in faults:
        for found in told["n1"]:
            if words([found]) == fault.expected:
                fault.check_more(found)


def located(lab: Checked, expected: list[str]) -> dict[str, list[Finding]]:
    """What is found in the end."""
    for turn in range(CHECKS):
        told = alarms(lab, (turn + 1) * LOCATED_S)
        if all(words(found) == expected for found in told.values()):
            break
    return told


@contextmanager
def broken(lab: Checked, faults: list[Fault]) -> Iterator[None]:
    with ExitStack() as mended:
        for fault in faults:
            switch, _, port = fault.at.partition(":")
            lab.world.break_port(switch, port, tuple(fault.words.split()))
            mended.callback(lab.world.mend, switch, port)
        yield


def test_mended_all_is_well(lab: Checked) -> None:
    assert not any(alarms(lab).values())
