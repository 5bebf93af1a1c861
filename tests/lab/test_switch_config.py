"""The statements that `windrow switch config --format linux` prints make a working switch of an empty one, for each
bond mode; and what they add and take away on ports in use loses nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.resources import files

import pytest
from tests.lab.asked import Asked

from windrow.apps.labguest import LabEngine
from windrow.frames.lacp import COLLECTING, DISTRIBUTING
from windrow.lab import probe
from windrow.lab.checks import Checker
from windrow.lab.guest.run import run_in
from windrow.lab.scenario import BondIs, Isolated, Reach, Scenario
from windrow.lab.scenario_file import read
from windrow.lab.session import Session
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.wire import load_documents
from windrow.netlink.observe import dump_links
from windrow.netlink.sock import Rtnl
from windrow.switches.cabling import Cabling, read_cabling
from windrow.switches.config import SwitchConfig, change, configs_of, nothing
from windrow.switches.text import document_of, statements
from windrow.switches.wanted import needs_of

SWITCH = "sw-oob"
NAD = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: oob-more, namespace: default}
spec:
  config: |
    {"cniVersion": "0.3.1", "name": "oob-more", "type": "bridge", "bridge": "oob-br",
     "vlanTrunk": [{"minID": 300, "maxID": 399}]}
"""
LACP_S = 15.0
"""A port waits two seconds for others to aggregate with, once the partner has answered."""

PASSING = COLLECTING | DISTRIBUTING


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session(LabEngine(), sys.path)
    yield made
    if made.has_world:
        made.world.close()


def cabling_of(scenario: Scenario) -> Cabling:
    nodes = {node.name for node in scenario.nodes}
    ports = {c.b.port: f"{c.a.device}/{c.a.port}" for c in scenario.cables if c.a.device in nodes}
    return read_cabling({"switches": [{"name": SWITCH, "system": "linux", "ports": ports}]}, "cabling.yaml")


def cluster_of(scenario: Scenario, *more: str) -> Cluster:
    texts = [*scenario.manifests.values(), *more]
    return Cluster.of(o for text in texts for o in load_documents(text).objects)


def config_of(scenario: Scenario, *more: str) -> SwitchConfig:
    cluster = cluster_of(scenario, *more)
    nodes = tuple(node.name for node in scenario.nodes)
    found = configs_of(needs_of(cluster, nodes), cabling_of(scenario), cluster)
    assert not found.problems, found.problems
    return found.switches[0]


def tell(session: Session, before: SwitchConfig, after: SwitchConfig) -> None:
    """Run the statements on the switch, as somebody would who pastes them."""
    template = (files("windrow.switches") / "templates" / "linux.j2").read_text()
    text = statements(document_of(change(before, after)), template, "linux.j2")
    code, _, wrong = run_in(session.world.place(SWITCH), ["sh", "-ec", text])
    assert code == 0, f"{wrong}\n{text}"


def checker_of(session: Session) -> Checker:
    engine, world = LabEngine(), session.world
    return Checker(
        world,
        steps_left=lambda node: engine.steps_left(world.root(node), node),
        change=lambda node, put, remove: engine.change(world.root(node), node, put, remove),
    )


MODES = tuple(f"mode-{mode.value}" for mode in BondMode)
ALL_100 = Reach(name="VLAN 100", sources=("a100", "b100", "outside/100"), targets=("a100", "b100", "outside/100"))


@pytest.mark.parametrize("name", MODES)
def test_an_empty_switch_becomes_a_working_one(session: Session, name: str) -> None:
    assert session.up(Asked(scenario=read(name).to_json()))["ok"]  # type: ignore[arg-type]
    scenario, wanted = session.world.scenario, config_of(session.world.scenario)
    empty(session, scenario)
    checker = checker_of(session)
    assert not anybody(session), "an empty switch passes nothing"

    tell(session, nothing(wanted), wanted)
    end = time.monotonic() + LACP_S
    while not checker.run(ALL_100).ok and time.monotonic() < end:
        time.sleep(0.3)
    for check in scenario.checks:
        if isinstance(check, BondIs | Isolated | Reach):
            result = checker.run(check)
            assert result.ok, result

    tell(session, wanted, nothing(wanted))
    assert not anybody(session), "the inverse takes it all back"


def settled(session: Session) -> bool:
    """Whether both ends of every leg of every LACP bond collect and distribute, as its node sees it."""

    def legs() -> list[int]:
        with Rtnl() as rtnl:
            slaves = [raw.slave for raw in dump_links(rtnl) if raw.slave.get("aggregator")]
        return [slave.get("actor_state", 0) & slave.get("partner_state", 0) for slave in slaves]

    nodes = [node.name for node in session.world.scenario.nodes]
    return all(state & PASSING == PASSING for node in nodes for state in session.world.inside(node, legs))


def anybody(session: Session) -> bool:
    """Whether anybody on VLAN 100 still answers somebody on another node or outside."""
    pairs = [("a100", "b100"), ("b100", "a100"), ("outside/100", "a100")]
    stations = [(session.world.station(a), session.world.station(b)) for a, b in pairs]
    return any(ms is not None for ms in probe.ping(stations, deadline_s=1.5).values())


def empty(session: Session, scenario: Scenario) -> None:
    """As it came out of its box: the ports of the nodes are in no channel, in no bridge, and down."""
    (switch,) = (s for s in scenario.switches if s.name == SWITCH)
    mine = [c.b.port for c in scenario.cables if c.a.device in {n.name for n in scenario.nodes}]
    lines = [f"ip link del {group.name}" for group in switch.groups]
    lines += [line for port in mine for line in (f"ip link set {port} nomaster", f"ip link set {port} down")]
    code, _, wrong = run_in(session.world.place(SWITCH), ["sh", "-ec", "\n".join(lines)])
    assert code == 0, wrong


@pytest.mark.parametrize("name", ["mode-active-backup", "mode-802.3ad"])
def test_a_delta_and_its_inverse_lose_nothing(session: Session, name: str) -> None:
    assert session.up(Asked(scenario=read(name).to_json()))["ok"]  # type: ignore[arg-type]
    scenario, wanted = session.world.scenario, config_of(session.world.scenario)
    more = config_of(scenario, NAD)
    empty(session, scenario)
    tell(session, nothing(wanted), wanted)
    checker = checker_of(session)
    end = time.monotonic() + LACP_S
    while not (checker.run(ALL_100).ok and settled(session)) and time.monotonic() < end:
        time.sleep(0.3)
    assert settled(session), "a leg that joins its group moves flows to itself, and loses some of them"

    a, b = session.world.station("a100"), session.world.station("b100")
    with probe.Flow(a, b) as flow:
        time.sleep(0.5)
        tell(session, wanted, more)
        assert "399" in run_in(session.world.place(SWITCH), ["bridge", "-c", "vlan", "show"])[1]
        tell(session, more, wanted)
        time.sleep(0.5)
    assert "399" not in run_in(session.world.place(SWITCH), ["bridge", "-c", "vlan", "show"])[1]
    for way in flow.result:
        assert way.sent > 500
        assert way.lost == 0, way
