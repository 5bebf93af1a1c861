"""`apply` and `delete`: gate by gate, and what they say."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.model.host import Bridge, Route
from windrow.model.steps import DeleteLink
from windrow.model.values import IfName
from windrow.store.paths import Paths
from windrow.testing.builders import link, step
from windrow.testing.fake import FakeKernel

OOB = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob-all}
spec:
  clusterNetwork: oob
  uplink:
    nics:
      - eth1
      - eth2
    bondOptions: {mode: active-backup}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec:
  config: '{"cniVersion":"0.3.1","name":"v100","type":"bridge","bridge":"oob-br","promiscMode":true,"vlan":100}'
"""

WRONG = {"apply": 1, "plan": 1, "diff": 2}
"""Exit codes where something is wrong: 1 of `diff` is a difference."""


class Host:
    """A host with a kernel in memory and a store below `root`."""

    def __init__(self, root: Path) -> None:
        self.root, self.kernel, self.may = root, FakeKernel(), True
        for name in ("eth0", "eth1", "eth2"):
            self.kernel.add_nic(name, up=True)

    def run(self, *words: str, text: str | None = None) -> Result:
        session = Session(root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: self.may)
        result = CliRunner().invoke(cli, words, obj=session, input=text, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def file(self, text: str, name: str = "oob.yaml") -> str:
        path = self.root / name
        path.write_text(text)
        return str(path)

    def apply(self, text: str = OOB, *words: str) -> Result:
        return self.run("apply", "-f", self.file(text), *words)

    @property
    def links(self) -> set[str]:
        return set(self.kernel.machine.devices)

    def state(self) -> tuple[str, dict[str, str]]:
        """Everything that a refused command must leave as it was."""
        store = {str(p): p.read_text() for p in (self.root / "etc").rglob("*") if p.is_file()}
        return str(self.kernel), store


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def refused(host: Host, before: tuple[str, dict[str, str]], result: Result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    assert host.state() == before
    assert result.stdout == ""
    return result.stderr


# -- apply -----------------------------------------------------------------------------------------


def test_apply_stores_and_carries_out(host: Host) -> None:
    result = host.apply()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "clusternetwork.network.harvesterhci.io/oob created",
        "vlanconfig.network.harvesterhci.io/oob-all created",
        "networkattachmentdefinition.k8s.cni.cncf.io/v100 created",
    ]
    assert lines[3].startswith("Plan for n1: ")
    assert any(line.startswith("  ✓ oob-bo  create bond active-backup") for line in lines)
    assert any(line.startswith("  ✓ oob-bo  VLANs: add tagged 100  (VlanConfig/oob-all)") for line in lines)
    assert lines[-1].startswith("n1 is as its manifests want it: ")
    assert {"oob-br", "oob-bo"} <= host.links
    assert host.run("plan").stdout == "n1 is as its manifests want it: nothing to do.\n"


def test_apply_again_changes_nothing(host: Host) -> None:
    host.apply()
    before = host.state()
    result = host.apply()
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.stdout.splitlines()[:3]] == ["unchanged"] * 3
    assert host.state() == before


def test_apply_of_a_changed_manifest_says_configured(host: Host) -> None:
    host.apply()
    result = host.apply(OOB.replace("active-backup}", "active-backup, miimon: 250}"))
    assert "vlanconfig.network.harvesterhci.io/oob-all configured" in result.stdout
    assert "set miimon 250" in result.stdout
    assert result.exit_code == 0


def test_apply_from_standard_input_and_from_a_directory(host: Host) -> None:
    assert host.run("apply", "-f", "-", text=OOB).exit_code == 0
    assert "oob-br" in host.links
    directory = host.root / "more"
    directory.mkdir()
    (directory / "a.yaml").write_text(OOB)
    (directory / "notes.txt").write_text("not a manifest")
    assert host.run("apply", "-f", str(directory)).exit_code == 0


def test_apply_without_files_repairs(host: Host) -> None:
    host.apply()
    host.kernel.machine.devices["oob-bo"].mtu = 1400
    result = host.run("apply")
    assert result.exit_code == 0
    assert "✓ oob-bo  MTU 1500" in result.stdout
    assert host.kernel.machine.devices["oob-bo"].mtu == 1500


def test_a_dry_run_shows_the_plan_and_changes_nothing(host: Host) -> None:
    before = host.state()
    result = host.apply(OOB, "--dry-run")
    assert result.exit_code == 0
    assert "vlanconfig.network.harvesterhci.io/oob-all created (dry run)" in result.stdout
    assert "  + oob-br  create bridge" in result.stdout
    assert host.state() == before


def test_a_dry_run_and_a_plan_say_what_it_means(host: Host) -> None:
    host.apply()
    path = host.root / "oob.yaml"
    path.write_text(OOB.replace("mode: active-backup", "mode: balance-xor"))
    means = "What it means:\n  oob on n1: up to 2.5 s without traffic\n"
    assert means in host.run("plan", "-f", str(path)).stdout
    assert means in host.run("apply", "-f", str(path), "--dry-run").stdout
    gone = host.run("delete", "nad/v100", "vc/oob-all", "cn/oob", "--dry-run").stdout
    assert "  oob on n1: no traffic until it is wanted again\n      oob-bo, oob-br are deleted\n" in gone
    for verb in (("plan", "-f", str(path)), ("apply", "-f", str(path), "--dry-run")):
        value = json.loads(host.run(*verb, "-o", "json").stdout)
        assert value["consequences"]["interruptions"][0]["seconds"] == {"least": 0, "most": 2.5}


def test_all_problems_are_named_with_their_lines_and_nothing_is_done(host: Host) -> None:
    before = host.state()
    text = OOB.replace("mode: active-backup", "mode: fastest").replace('"vlan":100', '"vlan":5000')
    said = refused(host, before, host.apply(text.partition("---\n")[2]))
    assert "oob.yaml:10: VlanConfig/oob-all: spec.uplink.bondOptions.mode: " in said
    assert "5000" in said
    assert "2 errors; nothing was changed" in said
    assert "Traceback" not in said


def test_a_bridge_in_a_list_of_plugins_brings_its_vlan_to_the_uplink(host: Host) -> None:
    assert host.apply(OOB).exit_code == 0
    plugins = [{"type": "bridge", "bridge": "oob-br", "vlan": 110}, {"type": "tuning"}]
    config = json.dumps({"cniVersion": "1.0.0", "name": "tuned", "plugins": plugins})
    nad = OOB.rpartition("---\n")[2].partition("  config:")[0].replace("v100", "tuned")
    done = host.apply(f"{nad}  config: '{config}'\n")
    assert done.exit_code == 0, done.stderr
    assert "oob-bo  VLANs: add tagged 110" in done.stdout


PVC = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: elsewhere}
spec:
  runStrategy: Halted
  template:
    spec:
      nodeSelector: {kubernetes.io/hostname: n1}
      domain: {devices: {disks: [{name: root, disk: {bus: virtio}}]}}
      volumes: [{name: root, persistentVolumeClaim: {claimName: root}}]
"""


def test_a_machine_that_cannot_be_started_here_is_in_nobodys_way(host: Host) -> None:
    done = host.apply(PVC)
    assert done.exit_code == 0
    assert done.stderr.count("warning: ") == 1
    assert "it cannot be started here: persistentVolumeClaim is not to be had here" in done.stderr
    done = host.apply(OOB)
    assert (done.exit_code, done.stderr) == (0, ""), "said once, when it comes"


WINDOWS = PVC.replace("domain: {devices:", "domain: {firmware: {bootloader: {efi: {}}}, devices:").replace(
    "persistentVolumeClaim: {claimName: root}", "hostDisk: {path: /w.img, type: Disk}"
)


def test_what_means_nothing_here_is_said_when_it_comes_and_by_describe(host: Host) -> None:
    """A hundred such machines would drown every plan."""
    said = "machines here start with a BIOS"
    assert said in host.apply(WINDOWS).stderr
    assert (host.apply(OOB).exit_code, host.apply(OOB).stderr) == (0, "")
    for words in (["plan"], ["diff"], ["apply"], ["status"], ["get", "vm"]):
        done = host.run(*words)
        assert (done.exit_code, done.stderr) == (0, ""), words
    shown = host.run("describe", "vm", "elsewhere")
    assert said in shown.stdout and shown.stderr == ""


# -- some documents are wrong ------------------------------------------------------------------------

DMZ = OOB.replace("oob", "dmz").replace("eth1", "eth3").replace("eth2", "eth4").replace("v100", "d100")
BROKEN = "labels: [a, list]"


def two_networks(host: Host) -> None:
    host.kernel.add_nic("eth3", up=True)
    host.kernel.add_nic("eth4", up=True)


def test_a_document_that_is_wrong_does_not_stop_the_others(host: Host) -> None:
    two_networks(host)
    done = host.apply(OOB.replace('"vlan":100', '"vlan":5000') + "---\n" + DMZ)
    assert done.exit_code == 1
    assert "NetworkAttachmentDefinition/default/v100: spec.config.vlan: 5000 is outside 0..4094" in done.stderr
    assert "left out: NetworkAttachmentDefinition/default/v100; the others count" in done.stderr
    assert "networkattachmentdefinition.k8s.cni.cncf.io/d100 created" in done.stdout
    assert {"oob-br", "oob-bo", "dmz-br", "dmz-bo"} <= host.kernel.observe().state.links.keys()
    assert not any("v100" in name for name in host.state()[1])


def test_what_is_in_the_store_of_a_document_that_is_wrong_stays(host: Host) -> None:
    assert host.apply(OOB).exit_code == 0
    before = host.state()[1]
    done = host.apply(OOB.replace("mode: active-backup", "mode: fastest") + "---\n" + DMZ.partition("---")[0])
    assert done.exit_code == 1
    assert "left out: VlanConfig/oob-all; the others count" in done.stderr
    after = host.state()[1]
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def test_what_needs_a_document_that_is_wrong_is_left_out_too(host: Host) -> None:
    two_networks(host)
    machine = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  template:
    spec:
      domain: {devices: {interfaces: [{name: a, bridge: {}}]}}
      networks: [{name: a, multus: {networkName: v100}}]
"""
    text = OOB.replace("metadata: {name: oob}", f"metadata: {{name: oob, {BROKEN}}}")
    done = host.apply(f"{text}---\n{machine}---\n{DMZ}")
    assert done.exit_code == 1
    assert "there is no ClusterNetwork oob while that is left out" in done.stderr
    assert "there is no NetworkAttachmentDefinition default/v100 while that is left out" in done.stderr
    left = (
        "ClusterNetwork/oob, NetworkAttachmentDefinition/default/v100, VirtualMachine/default/web, VlanConfig/oob-all"
    )
    assert f"left out: {left}; the others count" in done.stderr
    assert {"dmz-br", "dmz-bo"} <= host.kernel.observe().state.links.keys()
    assert "oob-br" not in host.kernel.observe().state.links
    assert len(host.state()[1]) == 3


def test_it_needs_nothing_that_the_store_has(host: Host) -> None:
    assert host.apply(OOB).exit_code == 0
    broken = OOB.partition("---")[0].replace("metadata: {name: oob}", f"metadata: {{name: oob, {BROKEN}}}")
    done = host.apply(f"{broken}---\n" + OOB.rpartition("---\n")[2].replace("v100", "v200").replace(":100", ":200"))
    assert done.exit_code == 1
    assert "left out: ClusterNetwork/oob; the others count" in done.stderr
    assert "networkattachmentdefinition.k8s.cni.cncf.io/v200 created" in done.stdout


def test_of_an_object_that_stands_twice_neither_counts(host: Host) -> None:
    done = host.apply(OOB + "---\n" + OOB.rpartition("---\n")[2].replace('"vlan":100', '"vlan":200'))
    assert done.exit_code == 1
    assert "left out: NetworkAttachmentDefinition/default/v100; the others count" in done.stderr
    assert not any("v100" in name for name in host.state()[1])


def test_a_text_that_breaks_off_counts_up_to_there(host: Host) -> None:
    done = host.apply(OOB + "---\nkind: [VlanConfig\nmetadata: {")
    assert done.exit_code == 1
    assert "left out: what could not be read; the others count" in done.stderr
    assert "oob-br" in host.kernel.observe().state.links


def test_a_file_that_is_not_there_refuses_all(host: Host) -> None:
    before = host.state()
    path = host.file(OOB)
    said = refused(host, before, host.run("apply", "-f", path, "-f", str(host.root / "nowhere.yaml")))
    assert "nowhere.yaml" in said
    assert "1 error; nothing was changed" in said


NOWHERE = OOB.rpartition("---\n")[2].replace("v100", "n100").replace("oob-br", "gone-br")


@pytest.mark.parametrize(
    ("wrong", "left", "said"),
    [
        (NOWHERE, "NetworkAttachmentDefinition/default/n100", "there is no ClusterNetwork gone"),
        (DMZ.replace("eth4", "eth9"), "VlanConfig/dmz-all", "node n1 has no NIC eth9"),
        (
            DMZ.replace("dmz", "a-name-too-long"),
            "ClusterNetwork/a-name-too-long, NetworkAttachmentDefinition/default/d100, VlanConfig/a-name-too-long-all",
            "12 is the most",
        ),
    ],
)
def test_what_the_rules_say_against_one_document_does_not_stop_the_others(
    host: Host, wrong: str, left: str, said: str
) -> None:
    """The same that the rules would say if it came alone: as `kubectl apply` has it."""
    two_networks(host)
    done = host.apply(f"{wrong}---\n{OOB}")
    assert done.exit_code == 1
    assert said in done.stderr
    assert f"left out: {left}; the others count" in done.stderr
    assert {"oob-br", "oob-bo"} <= host.kernel.observe().state.links.keys()
    assert not {"dmz-br", "gone-br"} & host.kernel.observe().state.links.keys()


def test_what_the_store_has_of_an_object_that_cannot_be_read_counts(host: Host) -> None:
    """Its last good version is there: what stands on that is not left out."""
    assert host.apply(OOB).exit_code == 0
    (host.root / "etc/windrow/manifests/clusternetwork-oob.yaml").write_text("kind: [ClusterNetwork")
    text = OOB.rpartition("---\n")[2].replace("v100", "v200").replace(":100", ":200")
    done = host.apply(text + "---\n" + DMZ.partition("---")[0])
    assert done.exit_code == 1 and "left out" not in done.stderr, done.stderr
    assert "networkattachmentdefinition.k8s.cni.cncf.io/v200 created" in done.stdout


def test_what_two_documents_say_against_each_other_refuses_all_and_all_is_told(host: Host) -> None:
    """Which of them should give way is nobody's guess. What is wrong besides is told with it."""
    before = host.state()
    text = OOB.replace('"vlan":100', '"vlan":5000') + "---\n" + OOB.replace("oob", "dmz").replace("v100", "d100")
    for verb in ("apply", "plan", "diff"):
        said = refused(host, before, host.run(verb, "-f", host.file(text)), code=WRONG[verb])
        assert "5000 is outside 0..4094" in said
        assert "already used by VlanConfig/dmz-all on node n1" in said


@pytest.mark.parametrize("verb", ["plan", "diff"])
def test_plan_and_diff_leave_the_same_out(host: Host, verb: str) -> None:
    path = host.file(OOB.replace('"vlan":100', '"vlan":5000'))
    shown = host.run(verb, "-f", path)
    assert shown.exit_code == WRONG[verb]
    assert "left out: NetworkAttachmentDefinition/default/v100; the others count" in shown.stderr
    assert "oob-br" in shown.stdout
    value = json.loads(host.run(verb, "-f", path, "-o", "json").stdout)
    assert [p["code"] for p in value["problems"]] == ["vid-range"]


FOREIGN = """\
apiVersion: v1
kind: Service
metadata: {name: prod}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Secret, metadata: {name: a}}
  - {apiVersion: v1, kind: Secret, metadata: {name: b}}
---
apiVersion: management.cattle.io/v3
kind: Node
metadata: {name: n1}
"""


def test_kinds_of_others_are_passed_over_with_one_line(host: Host) -> None:
    done = host.apply(FOREIGN + "---\n" + OOB)
    assert done.exit_code == 0, done.stderr
    words = "Secret (v1), 2 times; Service (v1); Node (management.cattle.io/v3)"
    assert done.stderr.count("warning: ") == 1
    assert f"oob.yaml:1: passed over, for Windrow does not read it: {words}" in done.stderr
    assert len(host.state()[1]) == 3, "and not stored"
    done = host.apply(FOREIGN)
    assert done.exit_code == 0, done.stderr


def test_a_directory_with_kinds_of_others_in_it_is_no_obstacle(host: Host) -> None:
    assert host.apply(OOB).exit_code == 0
    (host.root / "etc/windrow/manifests/others.yaml").write_text(FOREIGN)
    done = host.apply(OOB.rpartition("---\n")[2].replace("v100", "v200").replace('"vlan":100', '"vlan":200'))
    assert done.exit_code == 0, done.stderr
    assert (host.root / "etc/windrow/manifests/others.yaml").read_text() == FOREIGN


def test_a_missing_nic_refuses_a_new_vlanconfig(host: Host) -> None:
    done = host.apply(OOB.replace("eth2", "eth9"))
    assert done.exit_code == 1
    assert "oob.yaml:13: VlanConfig/oob-all: spec.uplink.nics[1]: node n1 has no NIC eth9" in done.stderr
    assert "hint: its NICs are eth0, eth1, eth2" in done.stderr
    assert "left out: VlanConfig/oob-all; the others count" in done.stderr
    assert "oob-br" not in host.kernel.observe().state.links


def test_a_nic_that_went_away_does_not_stop_a_repair(host: Host) -> None:
    host.apply()
    machine = host.kernel.machine
    machine.set_master(machine.devices["eth2"], None)
    del machine.devices["eth2"]
    host.kernel.machine.devices["oob-bo"].mtu = 1400
    for words in (["apply"], ["apply", "-f", str(host.root / "oob.yaml")]):
        result = host.run(*words)
        assert result.exit_code == 0, result.output
        assert "warning: " in result.stderr
        assert "node n1 has no NIC eth2" in result.stderr
    assert host.kernel.machine.devices["oob-bo"].mtu == 1500


def test_what_stands_in_the_way_is_named(host: Host) -> None:
    host.kernel.add(link("oob-br", Bridge()))
    before = host.state()
    said = refused(host, before, host.apply())
    assert "VlanConfig/oob-all: oob-br (bridge) exists and Windrow did not make it" in said
    assert "hint: " in said


def test_old_trouble_elsewhere_is_a_warning(host: Host) -> None:
    host.apply()
    other = OOB.replace("oob", "lab").replace("- eth1\n      - eth2", "- eth0").replace("100", "200")
    host.kernel.machine.delete(host.kernel.machine.devices["oob-br"])
    host.kernel.add(link("oob-br", "dummy"))
    result = host.apply(other)
    assert result.exit_code == 1, "the node is not as its manifests want it, and that is said"
    assert result.stderr.count("oob-br (dummy) exists") == 1
    assert "lab-br" in host.links, "but the new network is made"
    assert "vlanconfig.network.harvesterhci.io/lab-all created" in result.stdout


def test_more_than_the_allowed_impact_is_refused(host: Host) -> None:
    host.apply()
    before = host.state()
    changed = OOB.replace('"vlan":100', '"vlan":200')
    said = refused(host, before, host.apply(changed, "--max-impact", "none"))
    assert "the plan has impact hitless on oob-bo, and --max-impact is none" in said


def test_without_the_capability_nothing_is_stored(host: Host) -> None:
    host.may = False
    before = host.state()
    said = refused(host, before, host.apply())
    assert "CAP_NET_ADMIN" in said
    assert host.apply(OOB, "--dry-run").exit_code == 0


def test_a_step_that_fails_is_explained(host: Host) -> None:
    host.kernel.fail_at(5, errno.EBUSY)
    result = host.apply()
    assert result.exit_code == 1
    assert "  ✗ " in result.stdout
    for words in ("[errno 16]", "wanted by VlanConfig/oob-all", "steps of this unit were done", "hint: "):
        assert words in result.stderr
    assert "n1 is not yet as its manifests want it" in result.stderr
    assert host.run("apply").exit_code == 0, "and the next apply goes on"


def test_a_costly_plan_warns_first(host: Host) -> None:
    host.apply()
    result = host.run("delete", "nad/v100", "vc/oob-all", "cn/oob")
    assert result.exit_code == 0
    assert "warning: traffic over " in result.stderr
    assert "traffic stops, and does not come back with this plan" in result.stderr


def test_apply_as_json(host: Host) -> None:
    found = json.loads(host.apply(OOB, "-o", "json").stdout)
    assert (found["apiVersion"], found["kind"], found["ok"], found["failures"]) == ("windrow/v1", "Report", True, [])
    assert found["left"]["empty"]
    assert found["plan"]["units"]
    host.kernel.machine.devices["oob-bo"].mtu = 1400
    dry = json.loads(host.run("apply", "--dry-run", "-o", "json").stdout)
    assert [d["link"] for unit in dry["units"] for d in unit["differences"]] == ["oob-bo"]


def test_verbose_says_where_and_what_is_protected(host: Host) -> None:
    host.kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.1"))
    said = host.run("-v", "apply").stderr
    assert "etc/windrow/manifests; node n1: 3 links, NICs: eth0, eth1, eth2\nprotected: eth0\n" in said
    assert host.run("apply").stderr == ""


def test_a_bad_file_in_the_store_never_counts_as_deleted(host: Host) -> None:
    """A wish is refused; a repair goes on, with the last good version of what was in the file."""
    host.apply()
    (stored,) = (host.root / "etc/windrow/manifests").glob("vlanconfig*")
    stored.write_text("kind: VlanConfig\nmetadata: [")
    before = host.state()
    assert str(stored) in refused(host, before, host.run("delete", "cn", "oob"))
    for words in (["apply"], ["plan"], ["diff"]):
        result = host.run(*words)
        assert (result.exit_code, host.state()) == (WRONG[words[0]], before), words
        assert str(stored) in result.stderr
    assert "is as its manifests want it" not in host.run("apply").output
    host.kernel.run([step("oob-bo", DeleteLink())])
    assert host.run("apply").exit_code == 1
    assert host.state() == before, "repaired all the same"


# -- what is missing -------------------------------------------------------------------------------

MACHINE = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web, namespace: default}
spec:
  runStrategy: Always
  template:
    spec:
      domain: {devices: {interfaces: [{name: net, bridge: {}}]}}
      networks: [{name: net, multus: {networkName: default/v100}}]
"""


def test_a_nad_deleted_by_hand_while_a_machine_uses_it_stays_in_force(host: Host) -> None:
    """As the agent decides it: the object keeps its last good version, and that is said."""
    host.apply(OOB + "---\n" + MACHINE)
    before, good = host.state()[0], Paths(host.root).last_good.read_text()
    (file,) = (host.root / "etc/windrow/manifests").glob("networkattachmentdefinition*")
    file.unlink()
    result = host.run("apply")
    assert result.exit_code == 1
    assert "NetworkAttachmentDefinition/default/v100" in result.stderr and "web" in result.stderr
    assert host.state()[0] == before
    assert json.loads(Paths(host.root).last_good.read_text())["objects"] == json.loads(good)["objects"]
    assert "100" in str(host.kernel), "its VLAN is there"


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_manifests_that_are_gone_are_no_wish_to_tear_down(host: Host, how: str) -> None:
    host.apply()
    before, manifests = host.state()[0], host.root / "etc/windrow/manifests"
    shutil.rmtree(manifests)
    if how == "empty":
        manifests.mkdir()
    for words in (["apply"], ["plan"], ["diff"], ["apply", "--dry-run"]):
        result = host.run(*words)
        code = 0 if "--dry-run" in words else WRONG[words[0]]
        assert (result.exit_code, host.state()[0]) == (code, before), (words, result.output)
        assert "the network stays as it was" in result.stderr, words
        assert "delete" not in result.stdout, words
    status = host.run("status").stdout
    assert "the network stays as it was" in status and "all is well" not in status
    refused_text = host.run("apply", "-f", host.file(OOB.partition("---")[0].replace("oob", "new"), "new.yaml"))
    assert refused_text.exit_code == 1 and "would count as deleted" in refused_text.stderr
    assert host.state()[0] == before


def test_another_root_leaves_alone_what_it_knows_nothing_of(host: Host) -> None:
    host.apply()
    before = host.state()[0]
    other = Host(host.root / "elsewhere")
    other.root.mkdir()
    other.kernel = host.kernel
    assert other.run("apply").exit_code == 1
    assert host.state()[0] == before
    assert other.run("apply", "-f", host.file(OOB.partition("---")[0].replace("oob", "new"), "new.yaml")).exit_code == 0
    assert host.state()[0] == before


# -- which Node this host is -----------------------------------------------------------------------

NODES = """\
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {kubernetes.io/hostname: n1, zone: a}}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {kubernetes.io/hostname: n2, zone: b}}
"""


@pytest.mark.parametrize("name", ["N1", "n1.example.com"])
def test_the_host_is_the_node_that_its_name_means(host: Host, name: str) -> None:
    text = OOB.replace("clusterNetwork: oob", "clusterNetwork: oob\n  nodeSelector: {zone: a}")
    host.apply(text + NODES)
    before = host.state()
    assert "oob-br" in before[0]
    assert host.run("--node", name, "apply").exit_code == 0
    assert host.state() == before
    assert host.run("--node", name, "diff").exit_code == 0


def test_a_manifest_of_a_node_need_not_repeat_its_name(host: Host) -> None:
    """Who writes down the rack of a node does not take the networks away that select it by its name."""
    host.apply(OOB.replace("clusterNetwork: oob", "clusterNetwork: oob\n  nodeSelector: {kubernetes.io/hostname: n1}"))
    before = host.state()
    assert "oob-br" in before[0]
    rack = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {rack: r1}}\n"
    result = host.run("apply", "-f", host.file(rack, "rack.yaml"))
    assert (result.exit_code, host.state()[0]) == (0, before[0]), result.output
    assert host.run("diff").exit_code == 0


def test_a_host_that_is_none_of_the_nodes_keeps_what_it_has(host: Host) -> None:
    host.apply(OOB.replace("clusterNetwork: oob", "clusterNetwork: oob\n  nodeSelector: {zone: a}") + NODES)
    before = host.state()
    for words in (["apply"], ["plan"], ["diff"], ["apply", "-f", host.file(NODES)]):
        result = host.run("--node", "n3", *words)
        assert (result.exit_code, host.state()) == (WRONG[words[0]], before), words
        assert "this host is n3" in result.stderr and "n1, n2" in result.stderr, words
        assert "delete" not in result.stdout
    host.kernel.run([step("oob-br", DeleteLink())])
    assert host.run("--node", "n3", "apply").exit_code == 1
    assert host.state()[0] == before[0], "it is repaired as the node that it was"
    Paths(host.root).last_good.unlink()
    assert host.run("--node", "n3", "apply").exit_code == 1
    assert host.state()[0] == before[0], "nothing is known of it: it is left alone"


# -- delete ----------------------------------------------------------------------------------------


def test_delete_takes_away_what_was_made(host: Host) -> None:
    host.apply()
    result = host.run("delete", "-f", str(host.root / "oob.yaml"))
    assert result.exit_code == 0, result.output
    assert host.links == {"eth0", "eth1", "eth2"}
    assert "vlanconfig.network.harvesterhci.io/oob-all deleted" in result.stdout
    assert host.run("get", "vc").stderr == "No resources found\n"


def test_delete_refuses_what_others_need(host: Host) -> None:
    host.apply()
    before = host.state()
    said = refused(host, before, host.run("delete", "cn", "oob"))
    assert "ClusterNetwork/oob" in said


def test_mgmt_is_not_deleted(host: Host) -> None:
    before = host.state()
    assert "mgmt" in refused(host, before, host.run("delete", "clusternetwork", "mgmt"))


def test_delete_of_what_is_not_there(host: Host) -> None:
    host.apply()
    before = host.state()
    said = refused(host, before, host.run("delete", "nad", "v100", "nope"))
    assert '"nope" not found' in said
    assert host.run("delete", "nad", "nope", "--ignore-not-found").exit_code == 0


def test_delete_says_what_there_is(host: Host) -> None:
    host.apply()
    said = refused(host, host.state(), host.run("delete", "nad", "v200"))
    assert 'network-attachment-definitions "v200" not found\n    hint: there is: v100' in said
    assert "it is derived" in refused(host, host.state(), host.run("delete", "vs", "nope"))


def test_delete_goes_by_the_names_of_documents_whatever_else_is_wrong_with_them(host: Host) -> None:
    assert host.apply().exit_code == 0
    wrong = OOB.replace('"vlan":100', '"vlan":5000').replace("active-backup", "fastest")
    done = host.run("delete", "-f", host.file(wrong))
    assert done.exit_code == 0, done.stderr
    assert "oob-br" not in host.kernel.observe().state.links
    host.apply()
    said = refused(host, host.state(), host.run("delete", "-f", host.file(wrong + "---\nkind: [VlanConfig")))
    assert "this is not YAML" in said


def test_delete_dry_run(host: Host) -> None:
    host.apply()
    before = host.state()
    result = host.run("delete", "nad/v100", "--dry-run")
    assert result.exit_code == 0
    assert "networkattachmentdefinition.k8s.cni.cncf.io/v100 deleted (dry run)" in result.stdout
    assert "VLANs: remove 100" in result.stdout
    assert host.state() == before


def test_one_name_in_two_namespaces(host: Host) -> None:
    host.apply()
    host.apply(OOB.replace("namespace: default", "namespace: other"))
    result = host.run("delete", "nad", "v100")
    assert result.exit_code == 2
    assert "default, other" in result.stderr
    assert host.run("delete", "nad", "v100", "-n", "other").exit_code == 0
    assert host.run("get", "nad", "-o", "name").stdout == "networkattachmentdefinition.k8s.cni.cncf.io/v100\n"


@pytest.mark.parametrize("words", [[], ["vc"], ["vc", "x", "-f", "y"], ["vc/"], ["what", "x"]])
def test_wrong_usage_of_delete(host: Host, words: list[str]) -> None:
    assert host.run("delete", *words).exit_code == 2


# -- what is wrong in the store ----------------------------------------------------------------------

SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
OTHER = (
    OOB.partition("---\napiVersion: k8s")[0].replace("oob", "dmz").replace("eth1", "eth3").replace("      - eth2\n", "")
)


@pytest.mark.parametrize("bad", ["unread", "not YAML", "not text", "twice", "foreign"])
@pytest.mark.parametrize("once_good", [True, False])
def test_one_bad_document_in_the_store_is_in_nobodys_way(host: Host, bad: str, once_good: bool) -> None:
    """Whoever asks for something else gets it, and is told what is left out; what was good stays as it was."""
    host.kernel.add_nic("eth3", up=True)
    if once_good:
        host.apply(OOB)
    kept = {n: link for n, link in host.kernel.observe().state.links.items() if n.startswith("oob")}
    manifests = host.root / "etc/windrow/manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    for path in manifests.glob("vlanconfig*"):
        path.unlink()
    config = OOB.split("---\n")[1]
    texts = {
        "unread": config.replace("active-backup", "no-such-mode"),
        "not YAML": config + "  x: [\n",
        "not text": config + "# caf\udce9\n",
        "twice": f"{config}---\n{config.replace('eth2', 'eth0')}",
        "foreign": f"{config}---\n{SECRET}",
    }
    (manifests / "vlanconfig-oob-all.yaml").write_text(texts[bad], encoding="utf-8", errors="surrogateescape")
    if not once_good:
        (manifests / "clusternetwork-oob.yaml").write_text(OOB.split("---\n")[0])
    path = host.file(OTHER)
    plan = host.run("plan", "-f", path)
    assert "create" in plan.stdout and "dmz-bo" in plan.stdout
    assert plan.exit_code == (0 if bad == "foreign" else 1)
    done = host.run("apply", "-f", path)
    links = host.kernel.observe().state.links
    assert {"dmz-br", "dmz-bo"} <= links.keys(), done.output
    assert "vlanconfig-oob-all.yaml" in done.stderr
    if bad != "foreign":
        assert {n: link for n, link in links.items() if n.startswith("oob")} == kept
    for words in (["plan"], ["diff"], ["status"]):
        again = host.run(*words)
        assert "vlanconfig-oob-all.yaml" in again.stderr + again.stdout, words
    assert host.run("delete", "-f", path).exit_code == (0 if bad == "foreign" else 1)
    assert "dmz-br" not in host.kernel.observe().state.links


HOST_NETWORK = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: storage}
spec: {clusterNetwork: oob, vlanID: 300, mode: static, ips: {n1: "10.8.0.1/24,2001:db8::1/64"}}
"""


def test_apply_says_who_has_the_address_and_does_the_rest(host: Host) -> None:
    host.kernel.taken["10.8.0.1"] = "52:54:00:00:00:99"
    result = host.apply(OOB + HOST_NETWORK)
    assert result.exit_code == 1
    assert "somebody else has 10.8.0.1 (MAC 52:54:00:00:00:99)" in result.output + result.stderr
    assert "give one of the two another address" in result.output + result.stderr
    assert set(host.kernel.machine.get("oob-br.300").addrs) == {"2001:db8::1/64"}
    host.kernel.taken.clear()
    assert host.run("apply").exit_code == 0
    assert set(host.kernel.machine.get("oob-br.300").addrs) == {"10.8.0.1/24", "2001:db8::1/64"}
    assert host.run("plan").stdout == "n1 is as its manifests want it: nothing to do.\n"


UPLINK = "  uplink:\n"


def _with_unknown(text: str = OOB) -> str:
    return text.replace(UPLINK, f"  uplinkk: {{}}\n{UPLINK}")


@pytest.mark.parametrize("verb", ["apply", "plan"])
def test_a_field_that_there_is_not_is_refused(host: Host, verb: str) -> None:
    """As `kubectl apply` does, whether it looks like another one or not; what is beside it is applied."""
    done = host.run(verb, "-f", "-", text=_with_unknown())
    assert done.exit_code == 1
    assert "VlanConfig/oob-all: spec.uplinkk: there is no such field in a VlanConfig" in done.output
    assert "did you mean uplink? (`--validate=warn` keeps it, and it means nothing)" in done.output
    assert "left out: VlanConfig/oob-all" in done.output
    strange = OOB.replace("nics:", "zzz: 1\n    nics:")
    assert "spec.uplink.zzz: there is no such field" in host.run(verb, "-f", "-", text=strange).output


def test_it_is_taken_where_somebody_says_so(host: Host) -> None:
    warned = host.run("apply", "-f", "-", "--validate=warn", text=_with_unknown())
    assert warned.exit_code == 0 and "warning: <stdin>:10: VlanConfig/oob-all: spec.uplinkk" in warned.output
    assert "uplinkk" not in host.run("apply", "-f", "-", "--validate=ignore", text=_with_unknown()).stderr
    assert host.run("apply", "-f", "-", "--validate", text=_with_unknown()).exit_code == 1
    assert "uplinkk: {}" in host.run("get", "vc", "oob-all", "-o", "yaml").stdout


def test_a_patch_warns_of_a_field_that_there_is_not(host: Host) -> None:
    """As an API server does, which `kubectl patch` asks for no more. What was there already is nobody's slip of now."""
    assert host.run("apply", "-f", "-", text=OOB).exit_code == 0
    done = host.run("patch", "vc", "oob-all", "-p", "spec: {uplinkk: {}}")
    assert done.exit_code == 0 and "spec.uplinkk: there is no such field" in done.output
    assert "uplinkk" not in host.run("label", "vc", "oob-all", "a=b").output


def test_what_is_exported_is_applied(host: Host) -> None:
    """With all that Windrow derives."""
    assert host.run("apply", "-f", "-", text=OOB).exit_code == 0
    everything = host.run("get", "all", "-o", "yaml").stdout
    done = host.run("apply", "-f", "-", text=everything)
    assert done.exit_code == 0 and "no such field" not in done.output, done.output


@pytest.mark.parametrize(
    "text",
    [
        OOB.replace("metadata: {name: oob-all}", "metadata: {name: oob-all, label: {a: b}}"),
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: oob-all, label: {a: b}}\n"
        "spec: {template: {spec: {domain: {devices: {}}}}}\n",
    ],
)
def test_so_is_one_beside_the_name(host: Host, text: str) -> None:
    """It is told before anybody knows of which object it is; once, and the object is left out."""
    done = host.run("apply", "-f", "-", text=text)
    assert done.exit_code == 1 and done.output.count("metadata.label: there is no field") == 1, done.output
    assert "oob-all created" not in done.output and "oob-all configured" not in done.output
    assert "it is kept" not in done.output


def test_of_a_policy_no_field_is_ignored(host: Host) -> None:
    """Whoever writes `egres` means to keep something in."""
    text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n"
    text += "spec: {podSelector: {}, egres: []}\n"
    done = host.run("apply", "-f", "-", "--validate=ignore", text=text)
    assert done.exit_code == 1 and "spec.egres: is no field there" in done.output, done.output
