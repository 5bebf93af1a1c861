"""The scenario file: what ships is right, and what is wrong is said, all of it, with its place."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.lab.errors import LabError
from windrow.lab.scenario import (
    BondIs,
    CablePull,
    End,
    ForgedMac,
    Lease,
    Matrix,
    Reach,
    Recreate,
    Scenario,
)
from windrow.lab.scenario_file import Texts, parse, read, shipped
from windrow.model.bonding import BondMode
from windrow.model.host import PortVlans
from windrow.model.problems import Problem, ProblemsError
from windrow.model.values import Ref, VidSet
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


@pytest.mark.parametrize(
    ("end", "fault", "path"),
    [
        ("n0:eth0", "deaf", "spec.checks[0].switch-fault.end"),
        ("sw:p9", "deaf", "spec.checks[0].switch-fault.fault"),
        ("sw:p1", "broken", "spec.checks[0].switch-fault.fault"),
        ("sw:p1", "vlan-missing 99", "spec.checks[0].switch-fault.fault"),
    ],
)
def test_a_fault_that_cannot_be_brought_about(end: str, fault: str, path: str) -> None:
    check = f"switch-fault: {{end: '{end}', fault: {fault}, finds: nothing}}"
    (found,) = problems(GOOD.replace("reach: {among: [a, b]}", check))
    assert found.path == path


MACHINES = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: vm-a}
spec:
  template:
    spec:
      domain:
        memory: {guest: 100Mi}
        devices: {interfaces: [{name: default, masquerade: {}}, {name: data, bridge: {}}]}
      networks: [{name: default, pod: {}}, {name: data, multus: {networkName: web}}]
---
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm-b, namespace: team}
spec:
  domain: {devices: {interfaces: [{name: data, bridge: {}}]}}
  networks: [{name: data, multus: {networkName: default/web}}]
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: web, namespace: default}
spec:
  config: '{"cniVersion": "0.3.1", "name": "web", "type": "bridge", "bridge": "a-br", "vlan": 10, "macspoofchk": true}'
"""
WITH_VMS = GOOD.replace("n0, nics", "n0, pod-cidr: 10.52.0.0/24, nics").replace(
    "  checks:\n    - reach: {among: [a, b]}\n",
    """\
  vms:
    - {name: vm-a, node: n0}
    - {name: other, node: n1, machine: team/vm-b}
  checks:
    - reach: {among: [a, vm-a/data, other/data]}
    - reach: {from: [vm-a/default], to: [a]}
    - matrix: {}
    - matrix: {to: [a, other/data]}
    - isolated: {groups: [[a, vm-a/data], [b]]}
    - lease: {endpoint: vm-a/data, network: 10.0.0.0/24}
    - forged-mac: {station: vm-a/data, listener: a, heard: true}
    - recreate: {node: n0, cluster-network: oob, between: [vm-a/data, other/data], within-ms: 700}
""",
)


def with_vms(text: str) -> Scenario:
    return parse(Texts("small.yaml", text, {"machines.yaml": MACHINES}))


def test_machines_are_what_the_manifests_say() -> None:
    scenario = with_vms(WITH_VMS)
    a, b = scenario.vms
    assert (a.machine, a.memory, a.node) == (Ref("VirtualMachine", "vm-a", "default"), 100 << 20, "n0")
    assert [(n.network, n.interface, n.nad, n.checked) for n in a.nics] == [
        ("default", "eth0", "", False),
        ("data", "eth1", "default/web", True),
    ]
    assert b.machine == Ref("VirtualMachineInstance", "vm-b", "team")
    assert scenario.vm_stations() == ("vm-a/default", "vm-a/data", "other/data")
    assert scenario.nodes[0].pod_cidrs == ("10.52.0.0/24",)
    reach, ways, _, matrix, _, lease, forged, recreate = scenario.checks
    assert isinstance(reach, Reach) and reach.sources == reach.targets == ("a", "vm-a/data", "other/data")
    assert isinstance(ways, Reach) and (ways.sources, ways.targets) == (("vm-a/default",), ("a",))
    assert isinstance(matrix, Matrix) and matrix.targets == ("a", "other/data")
    assert isinstance(lease, Lease) and lease.server == ""
    assert isinstance(forged, ForgedMac) and forged.heard
    assert isinstance(recreate, Recreate) and recreate.within_ms == 700
    assert "vm-a" not in set(scenario.places()), "its namespace has another name"


BAD_VMS = [
    ("name: vm-a, node: n0}", "name: vm-x, node: n0}", "unknown-name", "spec.vms[0].name"),
    ("machine: team/vm-b", "machine: team/vm-c", "unknown-name", "spec.vms[1].machine"),
    ("machine: team/vm-b", "machine: vm-b", "unknown-name", "spec.vms[1].machine"),
    ("name: vm-a, node: n0}", "name: vm-a, node: n7}", "unknown-name", "spec.vms[0].node"),
    ("name: vm-a, node: n0}", "name: a, machine: vm-a, node: n0}", "name-twice", "spec.vms[0].name"),
    ("name: vm-a, node: n0}", "name: vm-a}", "required", "spec.vms[0].node"),
    ("10.52.0.0/24", "10.52.0.1/24", "address", "spec.nodes[0].pod-cidr"),
    ("10.52.0.0/24", "10.52.0.0", "address", "spec.nodes[0].pod-cidr"),
    ("among: [a, vm-a/data", "among: [a, vm-a/eth1", "unknown-name", "spec.checks[0].reach.among[1]"),
    ("from: [vm-a/default], to: [a]", "from: [vm-a/default], to: [c]", "unknown-name", "spec.checks[1].reach.to[0]"),
    ("from: [vm-a/default], to: [a]", "from: [vm-a/default]", "required", "spec.checks[1].reach.to"),
    ("from: [vm-a/default], to", "among: [a], to", "check", "spec.checks[1].reach.among"),
    ("matrix: {to: [a,", "matrix: {to: [c,", "unknown-name", "spec.checks[3].matrix.to[0]"),
    ("groups: [[a, vm-a/data]", "groups: [[a, vm-a]", "unknown-name", "spec.checks[4].isolated.groups[0][1]"),
    ("endpoint: vm-a/data", "endpoint: vm-a", "unknown-name", "spec.checks[5].lease.endpoint"),
    ("network: 10.0.0.0/24}", "network: 10.0.0.0/24, server: x}", "unknown-name", "spec.checks[5].lease.server"),
    ("station: vm-a/data", "station: a", "unknown-name", "spec.checks[6].forged-mac.station"),
    ("listener: a", "listener: vm-a/data", "unknown-name", "spec.checks[6].forged-mac.listener"),
    ("heard: true", "heard: loudly", "wrong-type", "spec.checks[6].forged-mac.heard"),
    ("recreate: {node: n0", "recreate: {node: n8", "unknown-name", "spec.checks[7].recreate.node"),
    ("between: [vm-a/data, other/data]", "between: [vm-a/data]", "check", "spec.checks[7].recreate.between"),
]


@pytest.mark.parametrize(("old", "new", "code", "path"), BAD_VMS)
def test_what_is_wrong_with_machines_is_said_with_its_place(old: str, new: str, code: str, path: str) -> None:
    assert old in WITH_VMS
    with pytest.raises(ProblemsError) as caught:
        with_vms(WITH_VMS.replace(old, new, 1))
    assert (code, path) in {(p.code, p.path) for p in caught.value.problems}, [str(p) for p in caught.value.problems]


def test_a_matrix_of_no_machines() -> None:
    found = problems(GOOD.replace("reach: {among: [a, b]}", "matrix: {}"))
    assert [(p.code, p.path) for p in found] == [("check", "spec.checks[0].matrix")]


def test_all_problems_are_listed() -> None:
    text = GOOD.replace("native: 10", "native: 5000").replace("10.0.0.1/24", "x").replace("node: n1,", "node: n9,")
    assert {p.path for p in problems(text)} >= {
        "spec.switches[0].ports[1].native",
        "spec.endpoints[0].address",
        "spec.endpoints[1].node",
    }


def test_the_scenario_of_the_page_can_be_read() -> None:
    """With the manifests that the page says."""
    text = (Path(__file__).parents[2] / "docs/user/lab.md").read_text()
    found = re.search(r"```yaml\n(apiVersion: windrow/v1\nkind: Scenario\n.*?)```", text, re.DOTALL)
    assert found is not None
    scenario = parse(Texts("lab.md", found[1], read("seed").manifests))
    assert (scenario.name, len(scenario.cables), len(scenario.checks)) == ("my-rack", 5, 4)


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(LabError, match="did you mean seed"):
        read("sead")


def test_a_scenario_that_is_no_file() -> None:
    with pytest.raises(LabError, match="this is a device, not a file"):
        read("/dev/zero")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.text(max_size=8) | st.sampled_from(["n0", "n0:eth0", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("nodes", "switches", "hosts", "endpoints", "vms", "cables", "checks", "manifests")
ITEM = st.dictionaries(
    st.sampled_from(
        ["name", "nics", "ports", "names", "groups", "address", "addresses", "management", "role", "reach", "matrix"]
    ),
    VALUES,
    max_size=4,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES | st.lists(ITEM, max_size=3), max_size=5) | VALUES)
def test_no_document_ends_in_a_traceback(spec: object) -> None:
    document = {"apiVersion": "windrow/v1", "kind": "Scenario", "metadata": {"name": "x"}, "spec": spec}
    with contextlib.suppress(ProblemsError):
        parsed(json.dumps(document))


# Both families ------------------------------------------------------------------------------------


def managed(first: str, second: str, *pods: str) -> str:
    """Two nodes with these addresses, and these pod-cidrs."""
    said = [f", pod-cidr: {one}" for one in (*pods, "", "")]
    nodes = (
        f"management: {{nics: [eth0], address: {of}}}{p if pods else ''}"
        for of, p in zip((first, second), said, strict=False)
    )
    text = GOOD
    for name, more in zip(("n0, nics: [eth0, eth1]", "n1, nics: [eth0]"), nodes, strict=True):
        text = text.replace(name, f"{name}, {more}")
    return text


BOTH = ('[10.0.0.1/24, "fd00::1/64"]', '["fd00::2/64", 10.0.0.2/24]')


def test_both_families_in_any_order() -> None:
    nodes = parsed(managed(*BOTH, '["fd52::/64", 10.52.0.0/24]', '[10.52.1.0/24, "fd52:0:0:1::/64"]')).nodes
    assert [one.management.address for one in nodes if one.management] == ["10.0.0.1/24", "fd00::2/64"]
    assert [one.pod_cidrs for one in nodes] == [("fd52::/64", "10.52.0.0/24"), ("10.52.1.0/24", "fd52:0:0:1::/64")]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (managed("[]", "10.0.0.2/24"), "spec.nodes[0].management.address", "is empty"),
        (managed('"fd00::1%eth0/64"', "10.0.0.2/24"), "spec.nodes[0].management.address", "names a link"),
        (managed("10.0.0.1/24", "[10.0.0.1/16]"), "spec.nodes[1].management.address", "10.0.0.1 is n0's already"),
        (managed(*BOTH, "10.52.0.0/16", "10.52.1.0/24"), "spec.nodes[1].pod-cidr", "10.52.0.0/16, the pods' of n0"),
        (managed(*BOTH, '["fd52::/48"]', '[10.52.1.0/24, "fd52::/64"]'), "spec.nodes[1].pod-cidr", "the pods' of n0"),
        (managed(*BOTH, "10.52.0.0/24", "10.0.0.0/8"), "spec.nodes[1].pod-cidr", "10.0.0.0/24, in which n0 is"),
        (managed(*BOTH, '"::/0"', "10.52.0.0/24"), "spec.nodes[0].pod-cidr", "fd00::/64, in which n0 is"),
    ],
)
def test_what_nobody_could_reach_is_said(text: str, path: str, words: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        parsed(text)
    assert [one.path for one in caught.value.problems] == [path], caught.value.problems
    assert words in caught.value.problems[0].message
