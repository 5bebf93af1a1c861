"""Switches of a lab, broken in each way of the catalogue: `diagnose` finds exactly that on every node, by frames.

One lab for all: three nodes, each with a bond in active-backup (oob) and one with LACP (lag), on two switches with a link
between them. A fault of the one and a fault of the other network are there at the same time, and nothing else is found;
what was mended before is found no more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.lab.checkworld import Checked, brought_up, nad

from windrow.apps.check.told import Told
from windrow.diagnose import diagnose
from windrow.model.evidence import Leg
from windrow.model.findings import Finding, Grade, Reason
from windrow.model.values import IfName, VidSet

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: catalogue}
spec:
  nodes:
    - {name: n1, nics: [eth0, eth1, eth2, eth3]}
    - {name: n2, nics: [eth0, eth1, eth2, eth3]}
    - {name: n3, nics: [eth0, eth1, eth2, eth3]}
  switches:
    - name: s1
      announces: all
      ports:
        - {names: [p5, p6, p7, p8]}
        - {names: [p1, p2, p3, p4, isl], native: 1, vlans: "10,20,30,40"}
      groups:
        - {name: lag1, mode: lacp, ports: [p5, p6], native: 1, vlans: "30,40"}
        - {name: lag2, mode: lacp, ports: [p7, p8], native: 1, vlans: "30,40"}
    - name: s2
      announces: pvid
      ports:
        - {names: [p5, p6]}
        - {names: [p1, p2, isl], native: 1, vlans: "10,20,30,40"}
      groups:
        - {name: lag3, mode: lacp, ports: [p5, p6], native: 1, vlans: "30,40"}
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
MANIFESTS = "---\n".join(
    [
        NETWORK.format(name="oob", nics="eth0, eth1", mode="active-backup", more=""),
        NETWORK.format(name="lag", nics="eth2, eth3", mode="802.3ad", more=", lacpRate: fast"),
    ]
) + "".join(nad(f"v{vid}", network, vid) for network, vid in (("oob", 10), ("oob", 20), ("lag", 30), ("lag", 40)))
LOCATED_S = 9.0
"""A sweep, the doubt about it, and a sweep of all legs."""
AGREED_S = 4.0
"""LACP at the fast rate, after a channel was changed."""


@dataclass(frozen=True)
class Fault:
    """`at`: switch, port or group. `legs`: the NICs that the finding is about, all of a link's where there are none."""

    at: str
    words: str
    reason: Reason
    place: str
    legs: str = ""
    vids: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.words} at {self.at}"

    @property
    def is_of_channels(self) -> bool:
        return self.words.split()[0] in ("no-channel", "channel", "other-key")

    def is_it(self, found: Finding) -> bool:
        legs = tuple(Leg(*_split(leg)) for leg in self.legs.split())
        return (
            found.reason is self.reason
            and (not legs or found.legs == legs)
            and found.vids == VidSet.parse(self.vids)
            and found.place == self.place
            and self.fix in found.fix.words
        )


def _split(leg: str) -> tuple[str, IfName]:
    node, nic = leg.split("/")
    return node, IfName(nic)
