"""Bad input, from the file to the exit code: one clear error with its place and a hint, and nothing is changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.model.facts import KernelFeatures
from windrow.model.host import Bond, Bridge, VlanIf
from windrow.model.wire import load_documents
from windrow.testing.builders import link
from windrow.testing.fake import FakeKernel

CN = "{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: NAME}}"
VC = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: NAME}
spec:
  clusterNetwork: oob
  uplink:
    nics: [NICS]
    linkAttributes: {mtu: MTU}
    bondOptions: {OPTIONS}
"""
NAD = """\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v, namespace: default}
spec:
  config: '{"type": "bridge", "bridge": "BRIDGE", REST}'
"""
HNC = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: NAME}
spec: {clusterNetwork: CN, vlanID: VID, mode: static, ips: {n1: IP}}
"""


def cn(name: str = "oob") -> str:
    return CN.replace("NAME", name)


def vc(name: str = "oob", nics: str = "eth1, eth2", mtu: int = 1500, options: str = "mode: active-backup") -> str:
    text = VC.replace("NAME", name).replace("NICS", nics)
    return text.replace("MTU", str(mtu)).replace("OPTIONS", options)


def nad(rest: str, bridge: str = "oob-br") -> str:
    return NAD.replace("BRIDGE", bridge).replace("REST", rest)


def hnc(vid: int = 300, ip: str = "10.3.0.1/24", name: str = "h", network: str = "oob") -> str:
    return HNC.replace("NAME", name).replace("VID", str(vid)).replace("IP", ip).replace("CN", network)


def both(*documents: str) -> str:
    return "\n---\n".join(documents)


UPLINK = both(cn(), vc())

CASES: dict[str, tuple[str, str]] = {
    "YAML that does not parse": ("kind: [VlanConfig\nmetadata: {", r"oob\.yaml:\d+: "),
    "unknown kind": (cn().replace("ClusterNetwork", "ClusterNet"), r"ClusterNet"),
    "unknown version": (cn().replace("v1beta1", "v2"), r"v2"),
    "wrong type": (both(cn(), vc().replace("[eth1, eth2]", "eth1")), r"spec\.uplink\.nics"),
    "name too long": (cn("a-long-network"), r"12"),
    "reserved name": (cn("vlanconfig"), r"vlanconfig"),
    "VID outside": (both(UPLINK, nad('"vlan": 4095')), r"4095"),
    "trunk reversed": (both(UPLINK, nad('"vlanTrunk": [{"minID": 9, "maxID": 5}]')), r"vlanTrunk"),
    "trunk empty": (both(UPLINK, nad('"vlanTrunk": [{}]')), r"vlanTrunk"),
    "trunk with vlan": (both(UPLINK, nad('"vlan": 5, "vlanTrunk": [{"id": 7}]')), r"vlan"),
    "MTU outside": (both(cn(), vc(mtu=9001)), r"oob\.yaml:\d+: VlanConfig/oob: spec\.uplink\.linkAttributes\.mtu: "),
    "MTUs differ": (
        both(UPLINK, vc("two", "eth3", 9000).replace("spec:", "spec:\n  nodeSelector: {a: b}")),
        r"MTU.*(9000|1500)",
    ),
    "unknown mode": (both(cn(), vc(options="mode: lacp")), r"spec\.uplink\.bondOptions\.mode"),
    "option not of the mode": (both(cn(), vc(options="mode: active-backup, lacpRate: fast")), r"lacpRate"),
    "no NIC": (both(cn(), vc(nics="")), r"spec\.uplink\.nics"),
    "a NIC twice": (both(cn(), vc(nics="eth1, eth1")), r"spec\.uplink\.nics\[1\]"),
    "a missing NIC": (both(cn(), vc(nics="eth1, eth9")), r"oob\.yaml:\d+: .*spec\.uplink\.nics\[1\].*eth9"),
    "a NIC used already": (both(UPLINK, cn("lab"), vc("lab").replace("Network: oob", "Network: lab")), r"eth1"),
    "a NIC of mgmt": (both(cn(), vc(nics="eth0")), r"eth0.*mgmt"),
    "no name of a bridge": (both(UPLINK, nad('"vlan": 5', "o/b-br")), r"o/b-br"),
    "no such cluster network": (nad('"vlan": 5', "lab-br"), r"lab"),
    "two VlanConfigs on a node": (both(UPLINK, vc("two", "eth3")), r"VlanConfig/(oob|two)"),
    "device name too long": (both(cn("longer-name"), hnc(4000, network="longer-name")), r"15"),
    "management VLAN": (hnc(50, network="mgmt"), r"50"),
    "address twice": (both(UPLINK, hnc(), hnc(301, name="i")), r"10\.3\.0\.1"),
    "address is the network's": (both(UPLINK, hnc(ip="10.3.0.0/24")), r"10\.3\.0\.0"),
    "no address": (both(UPLINK, hnc(ip="300.1.1.1/24")), r"spec\.ips"),
}  # fmt: skip


class Host:
    def __init__(self, root: Path, features: KernelFeatures | None = None) -> None:
        self.root, self.kernel = root, FakeKernel(features=features)
        for name in ("eth0", "eth1", "eth2", "eth3"):
            self.kernel.add_nic(name, up=True)
        self.kernel.add(link("mgmt-br", Bridge(vlan_filtering=True), up=True))
        self.kernel.add(link("mgmt-bo", Bond(), up=True, master="mgmt-br"))
        machine = self.kernel.machine
        nic = machine.get("eth0")
        nic.up = False
        machine.set_master(nic, machine.get("mgmt-bo"))
        own = link("mgmt-br.50", VlanIf(parent=machine.get("mgmt-br").name, vid=50), up=True)
        self.kernel.add(own).machine.add_addr(machine.get("mgmt-br.50"), "10.0.50.1/24")

    def apply(self, text: str | bytes) -> tuple[int, str]:
        self.root.mkdir(exist_ok=True)
        path = self.root / "oob.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        session = Session(root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True)
        result = CliRunner().invoke(cli, ["apply", "-f", str(path)], obj=session)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "windrow itself failed" not in result.stderr, result.stderr
        return result.exit_code, result.stderr


WHAT_IS_RIGHT = "hint: |must be a list|one of balance-rr"
"""In a hint, or in the message where that is all there is to say."""


ONE_OF_SEVERAL = {
    *("wrong type", "VID outside", "trunk reversed", "trunk empty", "trunk with vlan", "MTU outside", "unknown mode"),
    *("option not of the mode", "no NIC", "a NIC twice", "no name of a bridge", "no address"),
    *("a missing NIC", "a NIC of mgmt", "device name too long", "address is the network's"),
}
"""Something is wrong with one document by itself, and the others are right."""


@pytest.mark.parametrize("case", CASES)
def test_each_is_named_with_its_place_and_nothing_of_it_is_done(case: str, tmp_path: Path) -> None:
    text, said = CASES[case]
    host, other = Host(tmp_path), Host(tmp_path / "other")
    code, errors = host.apply(text)
    assert code == 1, errors
    assert re.search(said, errors), errors
    assert "oob.yaml" in errors
    assert re.search(WHAT_IS_RIGHT, errors), errors
    assert "Traceback" not in errors
    assert (case in ONE_OF_SEVERAL) == ("left out: " in errors), errors
    if case in ONE_OF_SEVERAL:
        documents = text.split("\n---\n")
        wrong = [document for document in documents if load_documents(document).problems] or documents[-1:]
        right = [document for document in documents if document not in wrong]
        assert right
        assert other.apply(both(*right))[0] == 0
        assert len(list((tmp_path / "etc").rglob("*.yaml"))) == len(right)
    else:
        assert "nothing was changed" in errors
        assert not (tmp_path / "etc").exists()
    assert str(host.kernel) == str(other.kernel)


def test_what_the_cases_are_made_of_is_fine_by_itself(tmp_path: Path) -> None:
    assert Host(tmp_path).apply(both(UPLINK, nad('"vlan": 100'), hnc())) == (0, "")


@pytest.mark.parametrize(
    ("features", "module"),
    [(KernelFeatures(bonding=False), "bonding"), (KernelFeatures(vlan_interfaces=False), "8021q")],
)
def test_a_kernel_that_cannot_names_the_module(features: KernelFeatures, module: str, tmp_path: Path) -> None:
    code, errors = Host(tmp_path, features).apply(both(UPLINK, hnc()))
    assert code == 1
    assert f"modprobe {module}" in errors


TEXT = st.characters(codec="utf-8")
BASE = both(UPLINK, nad('"vlan": 100'), hnc())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(TEXT, max_size=200),
        st.binary(max_size=100),
        st.tuples(st.integers(0, 400), st.text(TEXT, max_size=6)).map(
            lambda cut: BASE[: cut[0]] + cut[1] + BASE[cut[0] + len(cut[1]) :]
        ),
    )
)
def test_no_text_ends_in_a_traceback(text: str | bytes, tmp_path: Path) -> None:
    """`Host.apply` asserts that nothing but an exit comes out."""
    host = Host(tmp_path)
    code, errors = host.apply(text)
    assert code == 0 or "error" in errors
