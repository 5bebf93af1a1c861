"""The scenario file: what ships is right, and what is wrong is said, all of it, with its place."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.lab.errors import LabError
from windrow.lab.scenario import BondIs, CablePull, End, Scenario
from windrow.lab.scenario_file import Texts, parse, read, shipped
from windrow.model.bonding import BondMode
from windrow.model.host import PortVlans
from windrow.model.problems import Problem, ProblemsError
from windrow.model.values import VidSet
from windrow.model.wire import load_documents

GOOD = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: small}
spec:
  nodes:
    - {name: n0, nics: [eth0, eth1]}
    - {name: n1, nics: [eth0]}
  switches:
    - name: sw
      ports:
        - {names: [p1, p2], native: 0, vlans: "10,20-22"}
        - {name: p3, native: 10, vlans: "10,20"}
  cables:
    - ["n0:eth0", "sw:p1"]
    - ["n1:eth0", "sw:p3"]
  endpoints:
    - {name: a, node: n0, network: web, address: 10.0.0.1/24}
    - {name: b, node: n1, network: web, address: dhcp}
  checks:
    - reach: {among: [a, b]}
"""


def parsed(text: str) -> Scenario:
    return parse(Texts("small.yaml", text, {}))


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ProblemsError) as caught:
        parsed(text)
    return caught.value.problems


def test_a_small_scenario() -> None:
    scenario = parsed(GOOD)
    assert [n.name for n in scenario.nodes] == ["n0", "n1"]
    p1, _, p3 = scenario.switches[0].ports
    assert p1.port_vlans == PortVlans(tagged=VidSet.of([10, 20, 21, 22]))
    assert p3.port_vlans == PortVlans(pvid=10, untagged=VidSet.of([10]), tagged=VidSet.of([20]))
    assert scenario.peer(End("sw", "p1")) == End("n0", "eth0")
    assert scenario.endpoints[1].dhcp
    assert set(scenario.stations()) == {"a", "b"}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_ships_is_right(name: str) -> None:
    scenario = parse(read(name))
    assert scenario.name == name
    assert scenario.description
    assert scenario.checks
    for file, text in scenario.manifests.items():
        assert load_documents(text, file).problems == ()


@pytest.mark.parametrize("mode", list(BondMode))
def test_each_bond_mode_has_the_link_aggregation_that_it_needs(mode: BondMode) -> None:
    scenario = parse(read(f"mode-{mode}"))
    groups = [g for s in scenario.switches for g in s.groups]
    assert {g.mode.value for g in groups} == ({mode.switch_needs} - {"none"})
    grouped = {End(s.name, m) for s in scenario.switches for g in s.groups for m in g.members}
    uplinks = {scenario.peer(End(n.name, nic)) for n in scenario.nodes for nic in n.nics}
    assert grouped == (uplinks if mode.switch_needs != "none" else set())
    assert {c.mode for c in scenario.checks if isinstance(c, BondIs)} == {mode}
    assert any(isinstance(c, CablePull) for c in scenario.checks)


BAD = [
    ("kind: Scenario", "kind: Senario", "kind-unknown", "kind", 2),
    ("name: n0, nics", "name: N_0, nics", "name-invalid", "spec.nodes[0].name", 6),
    ("name: n1, nics", "name: n0, nics", "name-twice", "spec.nodes[1].name", 7),
    ("nics: [eth0, eth1]", "nics: [eth0, eth0]", "name-twice", "spec.nodes[0].nics", 6),
    ("nics: [eth0]", "nics: [a-name-that-is-long]", "name-invalid", "spec.nodes[1].nics[0]", 7),
    ("native: 10", "native: 5000", "vid-range", "spec.switches[0].ports[1].native", 12),
    ('"10,20-22"', '"10,22-20"', "vid-range", "spec.switches[0].ports[0].vlans", 11),
    ('"n0:eth0"', '"n0:eth7"', "cable", "spec.cables[0][0]", 14),
    ('"n1:eth0", "sw:p3"', '"n1:eth0", "sw:p1"', "cable", "spec.cables[1][1]", 15),
    ('"n1:eth0", "sw:p3"', '"n1:eth0"', "cable", "spec.cables[1]", 15),
    ("node: n1,", "node: n9,", "unknown-name", "spec.endpoints[1].node", 18),
    ("10.0.0.1/24", "10.0.0.1", "address", "spec.endpoints[0].address", 17),
    ("10.0.0.1/24", "10.0.0.300/24", "address", "spec.endpoints[0].address", 17),
    ("among: [a, b]", "among: [a, c]", "unknown-name", "spec.checks[0].reach.among[1]", 20),
    ("reach: {", "reech: {", "check", "spec.checks[0]", 20),
    ("kind: Scenario", "kind: Scenario\nkind: Scenario", "yaml-duplicate-key", "kind", 3),
]


@pytest.mark.parametrize(("old", "new", "code", "path", "line"), BAD)
def test_what_is_wrong_is_said_with_its_place(old: str, new: str, code: str, path: str, line: int) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert (code, path, line) in {(p.code, p.path, p.line) for p in found}
    assert all(p.file == "small.yaml" for p in found)


def test_all_problems_are_listed() -> None:
    text = GOOD.replace("native: 10", "native: 5000").replace("10.0.0.1/24", "x").replace("node: n1,", "node: n9,")
    assert {p.path for p in problems(text)} >= {
        "spec.switches[0].ports[1].native",
        "spec.endpoints[0].address",
        "spec.endpoints[1].node",
    }


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(LabError, match="did you mean seed"):
        read("sead")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.text(max_size=8) | st.sampled_from(["n0", "n0:eth0", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("nodes", "switches", "hosts", "endpoints", "cables", "checks", "manifests")
ITEM = st.dictionaries(
    st.sampled_from(
        ["name", "nics", "ports", "names", "groups", "address", "addresses", "management", "role", "reach"]
    ),
    VALUES,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES | st.lists(ITEM, max_size=3), max_size=5) | VALUES)
def test_no_document_ends_in_a_traceback(spec: object) -> None:
    document = {"apiVersion": "windrow/v1", "kind": "Scenario", "metadata": {"name": "x"}, "spec": spec}
    with contextlib.suppress(ProblemsError):
        parsed(json.dumps(document))
