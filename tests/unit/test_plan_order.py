"""The order of what a plan makes, on a kernel in memory."""

from __future__ import annotations

import pytest

from windrow.apps.engine import converge, look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.host import LinkFlags
from windrow.model.steps import SetLink, SetMaster
from windrow.model.values import IfName
from windrow.testing import builders
from windrow.testing.builders import step
from windrow.testing.fake import FakeKernel

NODE = "n1"


def host() -> FakeKernel:
    return FakeKernel().add_nic("eth1").add_nic("eth2")


def cluster(mode: str) -> Cluster:
    uplink = builders.vlan_config("oob", ["eth1", "eth2"], mode)
    return builders.cluster(builders.cluster_network("oob"), uplink, builders.nad("a", "oob", 100))


@pytest.mark.parametrize(("mode", "opened_first"), [("active-backup", True), ("balance-xor", True), ("802.3ad", False)])
def test_a_new_bond_is_opened_before_it_has_carrier(mode: str, opened_first: bool) -> None:
    """What a bridge hears of a bond that had its carrier while it was closed comes up to a second later. With LACP it
    is opened after its NICs."""
    steps = [s for unit in plan_node(cluster(mode), look(host(), NODE)).plan.units for s in unit.steps]
    opened = next(n for n, s in enumerate(steps) if s.link == "oob-bo" and s.action == SetLink(up=True))
    joined = next(n for n, s in enumerate(steps) if s.link == "oob-bo" and s.action == SetMaster(IfName("oob-br")))
    first = next(n for n, s in enumerate(steps) if s.action == SetMaster(IfName("oob-bo")))
    assert joined < opened
    assert (opened < first) is opened_first


def test_a_vlan_interface_on_a_bridge_without_arp_asks_for_neighbours_at_once() -> None:
    kernel, before = host(), cluster("active-backup")
    assert converge(before, kernel, NODE).ok
    assert kernel.run([step("oob-br", SetLink(flags=LinkFlags(arp=False, multicast=False)))]) is None
    after = before.replace([builders.host_network("oob", 200, {NODE: "10.0.0.1/24"})])
    done = converge(after, kernel, NODE)
    assert (done.ok, done.rounds) == (True, 1)
    made = kernel.observe().state.links[IfName("oob-br.200")].flags
    assert made is not None and made.arp and made.multicast
