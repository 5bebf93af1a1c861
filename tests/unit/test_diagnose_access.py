"""An access port is told by something that came: frames that changed their VLAN, or a switch that names all VLANs of
the port. Nothing that merely did not come makes one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.diagnose import diagnose
from windrow.model.evidence import Evidence, Heard, Leg
from windrow.model.findings import Certainty, Finding, Reason
from windrow.model.values import IfName
from windrow.testing import fabricfaults as faults
from windrow.testing.fabric import NATIVE, Fabric, Habit, cluster_of, evidence_of, fabric

LEG = Leg("node-2", IfName("eth1"))


def trunks(habit: Habit) -> Fabric:
    """Ports as most switches have them: trunks with a native VLAN that nobody uses."""
    f = fabric(3, habit=habit)
    return replace(f, ports={leg: replace(port, native=port.native or NATIVE) for leg, port in f.ports.items()})


def without(f: Fabric, lost: Leg) -> tuple[Finding, ...]:
    """Not one frame from or to this NIC was taken down, as where a host is too busy."""
    nodes = {
        name: replace(node, heard=tuple(h for h in node.heard if lost not in (h.sender, h.receiver)))
        for name, node in evidence_of(f).nodes.items()
    }
    return diagnose(cluster_of(f), Evidence(nodes=nodes))


@pytest.mark.parametrize("habit", Habit)
def test_a_trunk_of_which_all_was_lost_is_no_access_port(habit: Habit) -> None:
    """Also where LLDP names its native VLAN: it is that of a trunk."""
    assert not diagnose(cluster_of(trunks(habit)), evidence_of(trunks(habit)))
    (found,) = without(trunks(habit), LEG)
    assert (found.reason, found.legs) == (Reason.NOTHING_PASSES, (LEG,)), found
    assert found.certainty is Certainty.LIKELY, found.evidence
    if habit is Habit.PVID:
        assert any("native VLAN is 1" in line for line in found.evidence), found.evidence


@pytest.mark.parametrize("habit", Habit)
def test_an_access_port_of_a_vlan_that_nobody_wants(habit: Habit) -> None:
    """It is one where its switch names all its VLANs, and else nothing passes."""
    (found,) = diagnose(cluster_of(trunks(habit)), evidence_of(faults.access(LEG, NATIVE)(trunks(habit))))
    told = habit in (Habit.ALL, Habit.TEN)
    assert found.reason is (Reason.ACCESS_PORT if told else Reason.NOTHING_PASSES), found
    assert found.legs == (LEG,)


def test_a_list_that_may_be_cut_proves_none() -> None:
    f = trunks(Habit.ALL)
    seen = evidence_of(faults.access(LEG, NATIVE)(f)).nodes
    node = seen[LEG.node]
    nic = node.nics[LEG.nic]
    cut = replace(nic, neighbours=tuple(replace(n, vlans_cut=True) for n in nic.neighbours))
    nodes = {
        **evidence_of(faults.access(LEG, NATIVE)(f)).nodes,
        LEG.node: replace(node, nics={**node.nics, LEG.nic: cut}),
    }
    assert [x.reason for x in diagnose(cluster_of(f), Evidence(nodes=nodes))] == [Reason.NOTHING_PASSES]


def native_and_lost(share: float) -> tuple[Finding, ...]:
    """VLAN 102 is native on the port; of what turned a share was lost, and of all other VLANs all."""
    f = faults.native(LEG, 102)(fabric(3, habit=Habit.NONE))
    evidence = evidence_of(f)

    def kept(h: Heard) -> bool:
        return LEG not in (h.sender, h.receiver) or h.vid != h.arrived

    def lossy(h: Heard) -> Heard:
        count = round(h.sent * (1 - share))
        return h if h.vid == h.arrived else replace(h, count=count, broadcast=count, unicast=0)

    nodes = {
        name: replace(node, heard=tuple(lossy(h) for h in node.heard if kept(h)))
        for name, node in evidence.nodes.items()
    }
    return diagnose(cluster_of(f), Evidence(nodes=nodes))


def test_what_turned_came_whole_so_the_rest_is_not_lost_by_chance() -> None:
    assert Reason.ACCESS_PORT in {x.reason for x in native_and_lost(0.0)}


def test_where_most_of_what_turned_was_lost_the_rest_may_be_lost_as_well() -> None:
    found = native_and_lost(0.75)
    assert Reason.ACCESS_PORT not in {x.reason for x in found}, found
    assert Reason.NATIVE_VLAN_WRONG in {x.reason for x in found}, found
