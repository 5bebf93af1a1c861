"""Switches of a lab that tell of themselves, and a node that hears them: what breaks on a switch shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from windrow.lab.announcer import EVERY_S
from windrow.lab.scenario import End
from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.evidence import NodeEvidence, SwitchPort
from windrow.model.values import IfName, VidSet
from windrow.netlink import links, netns
from windrow.sense import lldpd
from windrow.sense.senses import Senses

TEXT = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: telling}
spec:
  nodes:
    - name: n-node
      nics: [eth0, eth1, eth2, eth3]
      management: {nics: [eth0, eth1], address: 10.50.0.11/24}
  switches:
    - name: n-sw1
      announces: all
      ports: [{name: p1, native: 1, vlans: "50,100"}, {name: p2, native: 0, vlans: "100"}]
      groups: [{name: po1, mode: static, ports: [p1], native: 1, vlans: "50,100"}]
    - name: n-sw2
      announces: pvid
      ports: [{name: p1, native: 7}]
    - name: n-sw3
      ports: [{name: p1}]
  cables:
    - ["n-node:eth0", "n-sw1:p1"]
    - ["n-node:eth1", "n-sw2:p1"]
    - ["n-node:eth2", "n-sw1:p2"]
    - ["n-node:eth3", "n-sw3:p1"]
"""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(lldpd, "runs", lambda: False)
    made = World(parse(Texts("telling.yaml", TEXT, {})))
    try:
        made.build(lambda _: None)
        yield made
    finally:
        made.close()


def until(senses: Senses, what: Callable[[NodeEvidence], object]) -> NodeEvidence:
    end = time.monotonic() + 20 * EVERY_S
    while not what(found := senses.look()):
        assert time.monotonic() < end, found
        senses.listen(time.monotonic() + 0.2)
    return found


def port(found: NodeEvidence, nic: str) -> SwitchPort | None:
    neighbours = found.nics[IfName(nic)].neighbours
    assert len(neighbours) <= 1
    return neighbours[0] if neighbours else None


def test_a_node_hears_its_switches_and_what_becomes_of_their_ports(world: World) -> None:
    with Senses("n-node", str(netns.RUN_NETNS / "n-node")) as senses:
        found = until(senses, lambda e: all(port(e, nic) for nic in ("eth0", "eth1", "eth2")))
        first, second, third = (port(found, nic) for nic in ("eth0", "eth1", "eth2"))
        assert first and second and third
        assert (first.switch, first.port.text, first.pvid, list(first.vlans)) == ("n-sw1", "p1", 1, [1, 50, 100])
        assert (second.switch, second.port.text, second.pvid, second.vlans) == ("n-sw2", "p1", 7, {})
        assert (third.switch, third.port.text, third.pvid, list(third.vlans)) == ("n-sw1", "p2", 0, [100])
        assert first.chassis == third.chassis != second.chassis
        assert first.aggregation and first.aggregation.active and third.aggregation and not third.aggregation.active
        assert port(found, "eth3") is None

        switch = world.rtnl("n-sw1")
        switch.run(links.delete_vlans(switch.index("p2"), VidSet.of([100]), name="p2"))
        until(senses, lambda e: (p := port(e, "eth2")) and not p.vlans)
        world.pull(End("n-node", "eth2"))
        assert until(senses, lambda e: not port(e, "eth2"))
        world.plug(End("n-node", "eth2"))
        assert until(senses, lambda e: port(e, "eth2"))
