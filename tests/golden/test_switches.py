"""Given manifests and a cabling: the statements for each switch system, word for word.

A case is a folder: `manifests.yaml`, `cabling.yaml`, and perhaps `change.yaml`, what comes on top for the delta and its
inverse. Each system's statements were held against its public syntax, as docs/user/switches.md says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.problems import errors
from windrow.model.wire import load_documents
from windrow.switches.cabling import Cabling, read_cabling
from windrow.switches.config import Interface, SwitchChange, change, configs_of, nothing
from windrow.switches.systems import SYSTEMS
from windrow.switches.text import document_of, statements
from windrow.switches.wanted import Channel, needs_of

CASES = sorted(p.parent for p in Path(__file__).parent.glob("switches/*/cabling.yaml"))
PAGE = Path(__file__).parents[2] / "docs/user/switches.md"
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def cluster(*paths: Path) -> Cluster:
    found = Cluster.of(())
    for path in paths:
        loaded = load_documents(path.read_text(), path.name)
        assert not errors(loaded.problems), loaded.problems
        found = found.replace(loaded.objects)
    return found


def cabling(case: Path) -> Cabling:
    found = read_cabling(yaml.safe_load((case / "cabling.yaml").read_text()), "cabling.yaml")
    assert not found.problems
    return found


def changes(case: Path, system: str, start: Cluster | None, end: Cluster) -> Iterator[SwitchChange | str]:
    """Per switch; a text where it is refused."""
    plugged = cabling(case)
    after = configs_of(needs_of(end), plugged, end, system)
    yield from (f"{problem}\n" for problem in after.problems)
    before = configs_of(needs_of(start), plugged, start, system) if start else None
    for one in after.switches:
        there = next((s for s in before.switches if s.name == one.name), nothing(one)) if before else nothing(one)
        yield change(there, one)


def text_of(one: SwitchChange | str) -> str:
    if isinstance(one, str):
        return one
    template = files("windrow.switches") / "templates" / f"{one.after.system}.j2"
    return statements(document_of(one, lldp=True), template.read_text(), template.name)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_statements(case: Path, system: str, golden: Callable[[Path, str], None]) -> None:
    end = cluster(case / "manifests.yaml")
    found = list(changes(case, system, None, end))
    golden(case / f"{system}.txt", "\n".join(map(text_of, found)))
    gone = [text_of(one.inverse()) for one in found if isinstance(one, SwitchChange)]
    golden(case / f"{system}-inverse.txt", "\n".join(gone))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("case", [c for c in CASES if (c / "change.yaml").exists()], ids=lambda case: case.name)
def test_deltas(case: Path, system: str, golden: Callable[[Path, str], None]) -> None:
    start, end = cluster(case / "manifests.yaml"), cluster(case / "manifests.yaml", case / "change.yaml")
    found = list(changes(case, system, start, end))
    golden(case / f"{system}-delta.txt", "\n".join(map(text_of, found)))
    back = [text_of(one.inverse()) for one in found if isinstance(one, SwitchChange)]
    golden(case / f"{system}-delta-inverse.txt", "\n".join(back))


def test_the_page_has_the_tables(golden: Callable[[Path, str], None]) -> None:
    """The seed's two: the port's type and VLANs, and the link aggregation of each bond mode."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    golden(PAGE, before + BEGIN + "\n".join(_tables()) + "\n" + END + after)


def _tables() -> Iterator[str]:
    yield "| networks of the cluster network | port type | tagged VLANs | frames without a tag |\n|---|---|---|---|"
    for words, nads in NETWORKS.items():
        interface = _interface(nads, "active-backup")
        kind = "trunk" if not interface.native else "trunk with a native VLAN (hybrid)"
        native = "the native VLAN" if interface.native else "dropped"
        yield f"| {words} | {kind} | {interface.tagged or 'none'} | {native} |"
    yield "\n| mode | bond mode | link aggregation | on two switches |\n|---|---|---|---|"
    for mode in BondMode:
        channel = _interface([100], mode).channel
        yield f"| {mode.number} | {mode} | {CHANNELS[channel]} | {APART[channel]} |"
    yield "\n| `--format` | system | static channels | VLANs it keeps | MTU that is written |\n|---|---|---|---|---|"
    for system in SYSTEMS.values():
        static = "yes" if system.static else "no"
        mtu = system.mtu or "none is needed"
        yield f"| `{system.name}` | {system.title} | {static} | {system.reserved or ''} | {mtu} |"


NETWORKS: dict[str, list[int]] = {"VLAN 100 and 200": [100, 200], "untagged": [0], "VLAN 100 and untagged": [100, 0]}
CHANNELS = {Channel.NONE: "none", Channel.STATIC: "manual (static)", Channel.LACP: "LACP"}
APART = {
    Channel.NONE: "fine",
    Channel.STATIC: "never",
    Channel.LACP: "as one LACP system only",
}


def _interface(vids: list[int], mode: str) -> Interface:
    """Of a cluster network with these VLANs (0: untagged) on two NICs."""
    texts = [
        MANIFESTS.format(mode=str(mode)),
        *(NAD.format(vid=vid, vlan=f',"vlan":{vid}' * bool(vid)) for vid in vids),
    ]
    found = load_documents("---\n".join(texts))
    assert not errors(found.problems), found.problems
    made = Cluster.of(found.objects)
    plugged = read_cabling({"switches": [{"name": "s", "ports": {"p1": "n/eth1", "p2": "n/eth2"}}]}, "c")
    return configs_of(needs_of(made, ("n",)), plugged, made, "eos").switches[0].interfaces[0]


MANIFESTS = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {{name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {{name: oob}}
spec: {{clusterNetwork: oob, uplink: {{nics: [eth1, eth2], bondOptions: {{mode: {mode}}}}}}}
"""
NAD = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: n{vid}, namespace: default}}
spec: {{config: '{{"cniVersion":"0.3.1","name":"n","type":"bridge","bridge":"oob-br"{vlan}}}'}}
"""
