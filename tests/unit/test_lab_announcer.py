"""What the lab's switches say of their ports, in each habit: read by our decoder, and from what the kernel has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.frames import lldp
from windrow.lab.announcer import pdu_of
from windrow.lab.scenario import Announces, Port, Switch
from windrow.lab.scenario_file import Texts, parse
from windrow.model.bonding import BondMode
from windrow.model.evidence import Aggregation, SwitchPort
from windrow.model.host import Bond, Bridge, HostState, Link, Observed, Other, PortVlans, Runtime
from windrow.model.problems import ProblemsError
from windrow.model.values import IfName, VidSet

P1, P2, PO1, BR0 = map(IfName, ("p1", "p2", "po1", "br0"))
TRUNK = PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.span(100, 119))


def seen(alone: PortVlans | None = TRUNK, group: PortVlans = TRUNK) -> Observed:
    links = (
        Link(name=BR0, spec=Bridge(vlan_filtering=True)),
        Link(name=PO1, spec=Bond(mode=BondMode.LACP), master=BR0, vlans=group),
        Link(name=P1, spec=Other(kind="veth"), master=BR0, vlans=alone, mtu=1500),
        Link(name=P2, spec=Other(kind="veth"), master=PO1, mtu=9000),
    )
    runtime = {link.name: Runtime(ifindex=number, carrier=True) for number, link in enumerate(links, 10)}
    return Observed(state=HostState(links={link.name: link for link in links}), runtime=runtime)


def said(name: IfName, habit: Announces, observed: Observed | None = None) -> SwitchPort:
    switch = Switch(name="sw1", ports=(Port(name=P1), Port(name=P2)), announces=habit)
    found = lldp.decode(pdu_of(switch, name, observed or seen()))
    assert isinstance(found, SwitchPort)
    return found


@pytest.mark.parametrize(
    ("habit", "vlans", "cut"),
    [
        (Announces.PVID, [], False),
        (Announces.ALL, [1, *range(100, 120)], False),
        (Announces.TEN, [1, *range(100, 109)], True),
    ],
)
def test_habits(habit: Announces, vlans: list[int], cut: bool) -> None:
    found = said(P1, habit)
    assert (list(found.vlans), found.vlans_cut, found.pvid, found.max_frame) == (vlans, cut, 1, 1522)
    assert (found.system, found.port.text, found.is_bridge) == ("sw1", "p1", True)


def test_a_member_of_a_group_says_the_groups_vlans_and_its_aggregate() -> None:
    found = said(P2, Announces.ALL, seen(group=replace(TRUNK, tagged=VidSet.of([7]))))
    assert (list(found.vlans), found.aggregation) == ([1, 7], Aggregation(capable=True, active=True, port_id=11))
    assert found.max_frame == 9022
    alone = said(P1, Announces.ALL)
    assert alone.aggregation == Aggregation(capable=True, active=False)
    assert alone.chassis == found.chassis


def test_no_native_vlan_and_no_vlans_at_all() -> None:
    assert said(P1, Announces.ALL, seen(alone=PortVlans(tagged=VidSet.of([100])))).pvid == 0
    assert said(P1, Announces.ALL, seen(alone=None)).vlans == {}


def test_too_many_vlans_for_a_frame_are_all_left_out() -> None:
    found = said(P1, Announces.ALL, seen(alone=PortVlans(tagged=VidSet.span(2, 4094))))
    assert (found.vlans, found.vlans_cut) == ({}, False)


SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {{name: trial}}
spec:
  nodes: [{{name: node, nics: [eth0]}}]
  switches:
    - name: sw
      {announces}
      ports: [{{name: p1}}]
  cables: [["node:eth0", "sw:p1"]]
"""


def test_a_scenario_names_the_habit() -> None:
    for words, habit in (("", Announces.NOTHING), ("announces: all", Announces.ALL), ("announces: ten", Announces.TEN)):
        found = parse(Texts("trial.yaml", SCENARIO.format(announces=words), {}))
        assert found.switches[0].announces is habit
    with pytest.raises(ProblemsError, match="announces"):
        parse(Texts("trial.yaml", SCENARIO.format(announces="announces: most"), {}))
