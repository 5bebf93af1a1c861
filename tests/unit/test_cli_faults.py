"""What a newcomer met: words that were not true, errors beside the point, comments that were lost."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.unit.test_cli_change import OOB, Host

from windrow.apps.engine import look, plan_node
from windrow.lab.kernel.machine import environment
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Known
from windrow.model.steps import SetVlans
from windrow.model.values import VidSet
from windrow.model.wire import load_documents
from windrow.store.directory import Store
from windrow.store.manifests import ManifestFiles
from windrow.store.paths import Paths
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

TREE = Path(__file__).parents[2]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def write(host: Host, name: str, text: str) -> Path:
    path = Paths(host.root).manifests / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# -- what is there, and wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["describe", "get"])
def test_an_object_with_a_mistake_exists(host: Host, verb: str) -> None:
    write(host, "oob.yaml", OOB.replace("{mode: active-backup}", "{mode: activ-backup}"))
    result = host.run(verb, "vc", "oob-all")
    assert result.exit_code == 1
    assert "not found" not in result.output
    assert (
        'vlanconfigs "oob-all" is there, and something is wrong with it: spec.uplink.bondOptions.mode' in result.output
    )
    assert 'vlanconfigs "else" not found' in host.run(verb, "vc", "else").output


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_where_errors_keep_a_plan_from_being_made_nobody_says_that_all_is_well(tmp_path: Path, verb: str) -> None:
    host = Host(tmp_path)
    host.kernel = FakeKernel(features=KernelFeatures(bonding=False))
    for nic in ("eth1", "eth2"):
        host.kernel.add_nic(nic)
    write(host, "oob.yaml", OOB)
    result = host.run(verb)
    assert result.exit_code == 1
    assert "has no bonding" in result.output
    assert "as its manifests want it" not in result.output
    last = (
        "n1 is as it was where"
        if verb == "apply"
        else "nothing to do but to put right what is wrong; until then that stays as it is"
    )
    assert last in result.output


def test_a_wrong_nic_is_one_error(host: Host) -> None:
    host.kernel.machine.add_addr(host.kernel.machine.get("eth0"), "10.0.0.1/24")
    result = host.run("init", "--nic", "eth9")
    assert result.stderr.count("error:") == 1, result.stderr
    assert "this host has no NIC eth9" in result.stderr


# -- files -------------------------------------------------------------------------------------------


def test_a_link_beside_its_target_is_no_second_object(host: Host) -> None:
    path = write(host, "oob.yaml", OOB)
    (path.parent / "alias.yaml").symlink_to("oob.yaml")
    (path.parent / "below").mkdir()
    (path.parent / "below/again.yaml").symlink_to(path)
    assert Store(host.root).load().problems == ()
    assert ManifestFiles(Paths(host.root)).found(1e12).loaded.problems == ()
    result = host.run("apply")
    assert result.exit_code == 0, result.output


def test_links_to_one_file_elsewhere_are_one_object_each(host: Host) -> None:
    """As Kubernetes mounts a ConfigMap: the files are links into a hidden directory."""
    hidden = Paths(host.root).manifests / "..data"
    hidden.mkdir(parents=True)
    (hidden / "oob.yaml").write_text(OOB)
    (Paths(host.root).manifests / "oob.yaml").symlink_to("..data/oob.yaml")
    assert len(Store(host.root).load().objects) == 3


COMMENTED = """\
# Who: the storage team
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: stor}   # short, for its devices
---
# the uplink
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: stor}
spec:
  clusterNetwork: stor
  uplink:
    nics: [eth1]   # the left one
    linkAttributes: {mtu: MTU}  # as the switch has it
"""


def stored(host: Host) -> str:
    return "".join(path.read_text() for path in sorted(Paths(host.root).manifests.glob("*.yaml")))


def test_apply_keeps_the_comments(host: Host) -> None:
    path = host.root / "stor.yaml"
    path.write_text(COMMENTED.replace("MTU", "1500"))
    assert host.run("apply", "-f", str(path)).exit_code == 0
    for word in ("# Who: the storage team", "# short, for its devices", "# the uplink", "# the left one"):
        assert stored(host).count(word) == 1, stored(host)
    path.write_text(COMMENTED.replace("MTU", "9000").replace("left", "right"))
    assert host.run("apply", "-f", str(path)).exit_code == 0
    assert "# the right one" in stored(host) and "# the left one" not in stored(host)
    assert stored(host).count("# the uplink") == 1
    assert Store(host.root).load().problems == ()


def test_the_comments_of_other_objects_in_a_file_stay(host: Host) -> None:
    write(host, "all.yaml", COMMENTED.replace("MTU", "1500"))
    assert host.run("apply").exit_code == 0
    path = host.root / "new.yaml"
    path.write_text(COMMENTED.replace("MTU", "9000").partition("---\n")[2].replace("left", "right"))
    assert host.run("apply", "-f", str(path)).exit_code == 0
    assert stored(host) == COMMENTED.replace("MTU", "9000").replace("left", "right")


def test_a_comment_that_is_none_changes_nothing(host: Host) -> None:
    """A `#` in a text, and documents of JSON."""
    text = (
        '{"apiVersion":"network.harvesterhci.io/v1beta1","kind":"ClusterNetwork","metadata":{"name":"a","labels":{}}}'
    )
    path = host.root / "two.json"
    path.write_text(text + "\n" + text.replace('"a"', '"b"').replace("{}", '{"x":"#"}'))
    result = host.run("apply", "-f", str(path))
    assert [o.name for o in Store(host.root).load().objects] == ["a", "b"] or "label" in result.output


# -- many VLANs --------------------------------------------------------------------------------------


def test_thousands_of_vlans_go_in_several_steps() -> None:
    kernel = FakeKernel()
    kernel.add_nic("eth1", up=True)
    config = builders.vlan_config("oob", ["eth1"])
    network = [builders.node("n1"), builders.cluster_network("oob"), config]
    many = Cluster.of([*network, builders.nad("all", "oob", trunk="2-3001")])
    known = Known()
    assert plan_node(many, look(kernel, "n1", known)).plan.steps
    from windrow.apps.engine import converge

    assert converge(many, kernel, "n1").ok
    plan = plan_node(Cluster.of(network), look(kernel, "n1", known)).plan
    gone = [step.action.remove for step in plan.steps if isinstance(step.action, SetVlans)]
    assert len(gone) == 6 and max(map(len, gone)) <= 512
    assert VidSet.of(vid for vids in gone for vid in vids) == VidSet.span(2, 3001)
    assert not any(step.joined for step in plan.steps)
    assert converge(Cluster.of(network), kernel, "n1").ok


# -- the lab, and the pages --------------------------------------------------------------------------


def test_the_place_of_the_guests_kernel_reaches_the_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WINDROW_GUEST", raising=False)
    assert environment() == {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINDROW_GUEST", "guest")
    assert environment() == {"WINDROW_GUEST": os.path.realpath("guest")}


def test_the_files_of_the_tour_are_there_and_say_what_the_readme_prints() -> None:
    readme = (TREE / "README.md").read_text()
    for word in re.findall(r"-f (docs/\S+)", readme):
        assert (TREE / word).is_file(), word
    shown = re.search(r"# cat docs/tour/alb.yaml\n(.*?)\n# ", readme, re.DOTALL)
    assert shown and shown[1] + "\n" == (TREE / "docs/tour/alb.yaml").read_text()
    assert load_documents((TREE / "docs/tour/alb.yaml").read_text()).problems == ()
    bad = "docs/tour/bad.yaml"
    found = [f"{p.file}:{p.line}: " for p in load_documents((TREE / bad).read_text(), bad).problems]
    assert found == re.findall(r"^error: (docs/tour/bad.yaml:\d+: )", readme, re.MULTILINE)
