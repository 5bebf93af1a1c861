"""`windrow neighbors`, and the questions that a node may ask in its VLANs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.questions import questions
from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.evidence import (
    Absent,
    Aggregation,
    Identity,
    Kind,
    LacpLeg,
    LacpSide,
    NicEvidence,
    NodeEvidence,
    SwitchPort,
)
from windrow.model.host import Bond, HostState, Link, Observed, PortVlans, VlanIf
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.model.wire import load_documents
from windrow.netlink import packets
from windrow.netlink.errors import NoPermission
from windrow.sense import gather
from windrow.sense.asking import Question

ETH0, ETH1 = IfName("eth0"), IfName("eth1")
MAC = Mac("02:00:00:00:00:0a")
EVIL = "le\x1b[31maf\x1b[0m\n" + "x" * 60
PORT = SwitchPort(
    source=Kind.LLDP,
    chassis=Identity(kind="mac", text="02:00:00:00:00:01"),
    port=Identity(kind="ifname", text="p7"),
    system="leaf1",
    pvid=0,
    vlans=dict.fromkeys(range(100, 110), ""),
    vlans_cut=True,
    aggregation=Aggregation(capable=True, active=True, port_id=12),
    max_frame=1522,
    management=("10.0.0.1",),
    hold_s=120,
    heard=990.0,
)
FOUND = NodeEvidence(
    node="n1",
    at=1000.0,
    nics={
        ETH0: NicEvidence(
            name=ETH0,
            mac=MAC,
            carrier=True,
            bond=IfName("oob-bo"),
            speed=25000,
            neighbours=(PORT, SwitchPort(source=Kind.CDP, chassis=PORT.chassis, port=PORT.port, system=EVIL)),
            lacp=LacpLeg(sent=LacpSide(system=Mac("02:00:00:00:00:0b"), key=7, port=3, state=61)),
        ),
        ETH1: NicEvidence(name=ETH1, mac=MAC, carrier=False),
    },
    absent=(Absent(kind=Kind.LLDP, nic=ETH1, reason="eth1 has no carrier"),),
)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    calls: list[tuple[str, float]] = []

    def listen(node: str, seconds: float) -> NodeEvidence:
        calls.append((node, seconds))
        return FOUND

    monkeypatch.setattr(gather, "gather", listen)
    monkeypatch.setattr(packets, "opened", lambda doing: socket.socket())
    return calls


def run(tmp_path: Path, *words: str) -> Result:
    session = Session(root=tmp_path, node="n1")
    return CliRunner().invoke(cli, ["neighbors", *words], obj=session, prog_name="windrow")


def test_a_line_for_each_neighbour_and_what_is_not_known(tmp_path: Path, heard: list[tuple[str, float]]) -> None:
    lines = run(tmp_path, "-s", "5").stdout.splitlines()
    assert heard == [("n1", 5.0)]
    assert lines[0].split() == ["NIC", "SWITCH", "PORT", "PVID", "VLANS", "AGGREGATE", "VIA", "AGE"]
    assert [cell.strip() for cell in lines[1].split("   ") if cell.strip()] == [
        "eth0 (of oob-bo)", "leaf1", "p7", "none", "100-109, and maybe more", "in 12", "LLDP", "10s",
    ]  # fmt: skip
    assert "not told" in lines[2] and "CDP" in lines[2]
    assert lines[3].split()[:2] == ["eth1", "<none>"]
    assert lines[5] == "not known: eth1 has no carrier"


def test_what_a_neighbour_writes_is_no_command_for_a_terminal(tmp_path: Path, heard: list[tuple[str, float]]) -> None:
    text = run(tmp_path).stdout
    assert "\x1b" not in text
    assert r"le\x1b[31maf\x1b[0m xxx" in text and "x" * 41 not in text
    assert "\x1b" not in run(tmp_path, "-o", "json").stdout


def test_wide_and_json(tmp_path: Path, heard: list[tuple[str, float]]) -> None:
    wide = run(tmp_path, "-o", "wide").stdout
    assert "25000 Mb/s" in wide and "02:00:00:00:00:0b key 7 port 3" in wide and "10.0.0.1" in wide
    document = json.loads(run(tmp_path, "-o", "json").stdout)
    first, second = document["nics"]
    assert (first["name"], first["bond"], first["neighbors"][0]["vlansMayBeCut"]) == ("eth0", "oob-bo", True)
    assert first["neighbors"][0]["aggregation"] == {"capable": True, "active": True, "port": 12}
    assert first["lacp"]["sent"]["system"] == "02:00:00:00:00:0b" and first["lacp"]["partner"] is None
    assert (second["neighbors"], second["lacp"]) == ([], None)
    assert document["notKnown"] == [{"kind": "LLDP", "nic": "eth1", "reason": "eth1 has no carrier"}]


def test_who_may_not_listen_is_told_what_it_takes(
    tmp_path: Path, heard: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(doing: str) -> socket.socket:
        raise NoPermission(1, doing, hint="this needs the capability CAP_NET_RAW: run it as root")

    monkeypatch.setattr(packets, "opened", refuse)
    result = run(tmp_path)
    assert result.exit_code == 1 and heard == []
    assert "this needs the capability CAP_NET_RAW" in result.output


def test_how_to_announce_and_listens_to_nothing(tmp_path: Path, heard: list[tuple[str, float]]) -> None:
    assert "lldpd" in run(tmp_path, "--announce").stdout
    assert heard == []


# Questions ----------------------------------------------------------------------------------------

MANIFESTS = """\
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: oob}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob-all}
spec: {clusterNetwork: oob, uplink: {nics: [eth0]}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: v100
  namespace: default
  annotations: {network.harvesterhci.io/route: '{"mode":"manual","cidr":"10.1.0.0/24","gateway":"10.1.0.1"}'}
spec: {config: '{"type":"bridge","bridge":"oob-br","vlan":100}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: v200
  namespace: default
  annotations: {network.harvesterhci.io/route: '{"gateway":"not an address"}'}
spec: {config: '{"type":"bridge","bridge":"oob-br","vlan":200}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v300, namespace: default}
spec: {config: '{"type":"bridge","bridge":"oob-br","vlan":300}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: trunk, namespace: default}
spec: {config: '{"type":"bridge","bridge":"oob-br","vlanTrunk":[{"minID":400,"maxID":410}]}'}
"""


def test_only_vlans_that_are_intended_and_carried_are_asked_about() -> None:
    loaded = load_documents(MANIFESTS)
    assert not loaded.problems
    carried = PortVlans(pvid=200, untagged=VidSet.of([200]), tagged=VidSet.of([100, 400, 500]))
    links = (
        Link(name=IfName("oob-bo"), spec=Bond(mode=BondMode.ACTIVE_BACKUP), vlans=carried),
        Link(
            name=IfName("oob-br.100"),
            spec=VlanIf(parent=IfName("oob-br"), vid=100),
            addrs=frozenset({Cidr("10.1.0.9/24"), Cidr("fd00::9/64")}),
        ),
    )
    observed = Observed(state=HostState(links={link.name: link for link in links}), runtime={})
    assert questions(Cluster.of(loaded.objects), observed) == (
        Question(
            cluster_network="oob",
            vid=100,
            link=IfName("oob-bo"),
            tag=100,
            gateways=("10.1.0.1",),
            own=("10.1.0.9", "fd00::9"),
        ),
        Question(cluster_network="oob", vid=200, link=IfName("oob-bo"), tag=None),
    )
    assert questions(Cluster.of(loaded.objects), Observed(state=HostState(links={}), runtime={})) == ()


POOL = """---
apiVersion: network.harvesterhci.io/v1alpha1
kind: IPPool
metadata: {name: v300, namespace: default}
spec:
  networkName: default/v300
  hosts: [{macAddress: "52:54:00:00:00:77"}]
  ipv4Config: {cidr: 10.3.0.0/24, serverIP: 10.3.0.2, router: 10.3.0.1}
"""


@pytest.mark.parametrize(("address", "asked"), [("10.3.0.9/24", True), ("10.3.0.2/24", False)])
def test_a_server_of_ours_is_asked_for_one_of_its_clients(address: str, asked: bool) -> None:
    """It answers nobody else; and on the node that serves nothing of what leaves by the uplink reaches it."""
    loaded = load_documents(MANIFESTS + POOL)
    assert not loaded.problems
    links = (
        Link(name=IfName("oob-bo"), spec=Bond(), vlans=PortVlans(tagged=VidSet.of([300]))),
        Link(
            name=IfName("oob-br.300"), spec=VlanIf(parent=IfName("oob-br"), vid=300), addrs=frozenset({Cidr(address)})
        ),
    )
    observed = Observed(state=HostState(links={link.name: link for link in links}), runtime={})
    (found,) = questions(Cluster.of(loaded.objects), observed)
    assert (found.client, found.gateways, found.dhcp) == (Mac("52:54:00:00:00:77"), ("10.3.0.1",), asked)
