"""`windrow vm`, as far as it goes without a kernel that must obey."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.vm import domain, hotplug, rewire, start
from windrow.apps.vm.site import Site
from windrow.apps.vm.unit import unit_text
from windrow.services import process
from windrow.services.errors import QmpError, ServiceError
from windrow.services.process import Process
from windrow.store import records
from windrow.store.errors import StoreError
from windrow.store.machines import MachineRecord, Machines, NicRecord, Phase
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel

MANIFEST = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web, namespace: default}
spec:
  runStrategy: Manual
  template:
    spec:
      domain:
        memory: {guest: 64Mi}
        devices:
          interfaces:
          - {name: a, bridge: {}, macAddress: "52:54:00:00:00:01"}
      networks:
      - {name: a, multus: {networkName: vlan100}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: db, namespace: data}
spec:
  runStrategy: Manual
  template: {spec: {domain: {devices: {}}}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: nowhere}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: vlan100, namespace: default}
spec:
  config: '{"cniVersion":"0.3.1","name":"vlan100","type":"bridge","bridge":"nowhere-br","vlan":100,"ipam":{}}'
"""
RECORD = MachineRecord(
    namespace="default",
    name="web",
    node="node-0",
    container_id="vm-1",
    netns="windrow-none",
    since=0.0,
    phase=Phase.RUNNING,
    pid=2**22 + 1,  # above PID_MAX_LIMIT: there is no such process
    started=1,
    accelerator="tcg",
    nics=(
        NicRecord(
            network="a",
            nad="default/vlan100",
            binding="bridge",
            pod="pod1",
            mac="52:54:00:00:00:01",
            mtu=1500,
            model="virtio",
        ),
        NicRecord(network="p", binding="masquerade", pod="eth0", mac="02:00:00:00:00:02", addresses=("10.0.2.2/24",)),
    ),
)

Run = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "etc/windrow/manifests"
    directory.mkdir(parents=True)
    (directory / "all.yaml").write_text(MANIFEST)
    return tmp_path


@pytest.fixture
def run(root: Path) -> Run:
    return lambda *words: CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "vm", *words])


def test_list_of_what_is_stored(run: Run) -> None:
    assert run("list").stdout.splitlines() == [
        "NAMESPACE   NAME   STATE     NODE     NICS   ADDRESSES",
        "data        db     Stopped   <none>   1      <none>",
        "default     web    Stopped   <none>   1      <none>",
    ]
    assert run("list", "-n", "data", "-o", "name").stdout == "virtualmachine/db\n"
    assert run("list", "-n", "none").output == "No virtual machines found\n"


def test_list_of_what_runs(run: Run, root: Path) -> None:
    Machines(root).put(RECORD)
    lines = run("list", "-n", "default", "-o", "wide").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "NODE", "NICS", "ADDRESSES", "ACCEL", "PID", "MACS", "NETWORKS"]
    pid, macs = str(RECORD.pid), "a=52:54:00:00:00:01,p=02:00:00:00:00:02"
    words = ["web", "Ended", "node-0", "2", "p=10.0.2.2", "tcg", pid, macs, "a=default/vlan100,p=pod"]
    assert lines[1].split() == words
    document = json.loads(run("list", "-n", "default", "-o", "json").stdout)
    assert yaml.safe_load(run("list", "-n", "default", "-o", "yaml").stdout) == document
    (item,) = document["items"]
    assert item["kind"] == "VirtualMachine"
    assert item["spec"]["runStrategy"] == "Manual"
    status = item["status"]
    assert (status["printableStatus"], status["nodeName"], status["startTime"]) == (
        "Ended",
        "node-0",
        "1970-01-01T00:00:00Z",
    )
    assert status["interfaces"][0] == {
        "name": "a",
        "mac": "52:54:00:00:00:01",
        "podInterfaceName": "pod1",
        "infoSource": "domain",
        "linkState": "up",
        "mtu": 1500,
        "network": "default/vlan100",
        "binding": "bridge",
        "model": "virtio",
    }


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.CONNECTING, Phase.ATTACHED, Phase.STOPPING])
def test_a_record_without_a_manifest_is_listed_too(run: Run, root: Path, phase: Phase) -> None:
    Machines(root).put(dataclasses.replace(RECORD, name="gone", phase=phase))
    state = {"starting": "Starting", "connecting": "Starting", "attached": "Attached", "stopping": "Stopping"}[phase]
    assert f"gone   {state}" in run("list", "-n", "default").stdout
    assert f"Printable Status: {state}" in run("describe", "gone").stdout


def test_describe(run: Run, root: Path) -> None:
    Machines(root).put(RECORD)
    text = run("describe", "web").stdout
    for part in ("Name:         web", "Run Strategy: Manual", "Printable Status: Ended", "Pod Interface Name: eth0"):
        assert part in text
    assert str(root / "etc/windrow/manifests/all.yaml") in text


@pytest.mark.parametrize(
    "words",
    [
        ["start"],
        ["stop"],
        ["start", "web", "--all"],
        ["start", "web", "db", "--console"],
        ["start", "web", "--accel", "xen"],
        ["stop", "web", "--timeout", "-1"],
        ["attach", "web"],
        ["attach", "web", "--output", "xen"],
        ["add-nic", "web"],
        ["add-nic", "web", "--network", "a", "--model", "rtl"],
        ["set-link", "web", "a", "sideways"],
        ["set-network", "web", "a"],
        ["start", "web", "--autostart"],
        ["start", "web", "-A"],
        ["suspend"],
        ["dumpxml", "web", "--output", "xen"],
        ["remove-nic", "web"],
        ["console"],
    ],
)
def test_usage(run: Run, words: list[str]) -> None:
    assert run(*words).exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "wob"], 'virtual machine "default/wob" not found\n    hint: there is: web'),
        (
            ["start", "db"],
            'virtual machine "default/db" not found\n    hint: there is one in the namespace data: -n data',
        ),
        (["start", "web"], ": there is no bridge nowhere-br"),
        (["start", "--all"], "there is no bridge nowhere-br"),
        (["attach", "web", "--output", "qemu"], "there is no bridge nowhere-br"),
        (["stop", "wob"], "not found"),
        (["restart", "web"], "does not run on this host"),
        (["describe", "wob"], "not found"),
        (["console", "web"], "does not run on this host"),
        (["console", "web", "--log"], "does not run on this host"),
        (["add-nic", "web", "--network", "none"], "there is no NetworkAttachmentDefinition default/none"),
        (["add-nic", "web", "--network", "vlan100", "--name", "a"], "it has a NIC a already"),
        (["add-nic", "web", "--network", "vlan100", "--mac", "x"], "'x' is not a MAC address"),
        (["add-nic", "web", "--network", "vlan100", "--mac", "52:54:00:00:00:01"], "another NIC of it"),
        (["add-nic", "web", "--network", "vlan100", "--name", "A_b"], "is not"),
        (["remove-nic", "web", "x"], "it has no NIC x\n    hint: there is: a"),
        (["set-link", "web", "x", "up"], "it has no NIC x"),
        (["set-network", "web", "x", "vlan100"], "it has no NIC x"),
        (["set-network", "web", "a", "none"], "there is no NetworkAttachmentDefinition default/none"),
        (["set-network", "db", "default", "vlan100", "-n", "data"], "is on the pod network"),
        (["suspend", "web"], "does not run on this host"),
        (["resume", "web"], "does not run on this host"),
        (["dumpxml", "wob"], "not found"),
        (["dumpxml", "web", "--output", "qemu"], "does not run on this host"),
        (["autostart", "wob"], "not found"),
    ],
)
def test_refusals(run: Run, root: Path, words: list[str], said: str) -> None:
    before = (root / "etc/windrow/manifests/all.yaml").read_text()
    done = run(*words)
    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert (root / "etc/windrow/manifests/all.yaml").read_text() == before
    assert not list((root / "run/windrow/vms").glob("*"))
    assert "Traceback" not in done.output


def test_a_nic_that_a_killed_set_network_left_out_is_put_in(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says the new network before anything is made there."""
    moved: list[NicRecord] = []
    monkeypatch.setattr(rewire, "_move", lambda *args: moved.append(args[-1]))
    for whole, expected in ((True, 0), (False, 1)):
        nic = dataclasses.replace(RECORD.nics[0], bound=whole)
        monkeypatch.setattr(hotplug, "running", lambda *_, nic=nic: dataclasses.replace(RECORD, nics=(nic,)))
        assert run("set-network", "web", "a", "vlan100").exit_code == 0
        assert len(moved) == expected


def test_a_guest_that_ends_meanwhile_hides_no_other_error(root: Path) -> None:
    """The cable is put in again where that can be; that it cannot be is not what went wrong."""
    said: list[str] = []
    site = Site(paths=Paths(root), node="node-0", warn=said.append)

    class Gone:
        calls = 0

        def command(self, *_: object) -> None:
            self.calls += 1
            if self.calls > 1:
                raise QmpError("the monitor does not answer")

    with pytest.raises(StoreError, match="no space"), rewire._cable_out(site, Gone(), RECORD.nics[0]):  # type: ignore[arg-type]
        raise StoreError(root, "no space")
    assert "the monitor does not answer" in said[0] and "windrow vm set-link" in said[0]


def test_of_a_qemu_that_ends_in_this_moment_there_is_no_command_line(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machines(root).put(RECORD)
    monkeypatch.setattr(domain, "runs", lambda _: True)
    done = run("dumpxml", "web", "--output", "qemu")
    assert done.exit_code == 1 and "no QEMU of it runs" in done.stderr


def test_several_are_all_tried(run: Run) -> None:
    done = run("stop", "wab", "wob", "wab")
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 2, "each once"
    assert done.stderr.endswith("2 of 2 machines failed\n")
    done = run("stop", "web", "wob")
    assert (done.exit_code, done.stdout) == (1, "virtualmachine/web does not run\n")
    assert done.stderr.endswith("1 of 2 machines failed\n")


def test_nobody_is_left_to_stop(run: Run) -> None:
    done = run("stop", "--all")
    assert (done.exit_code, done.output) == (0, "No virtual machines found\n")


def test_a_manifest_that_cannot_be_read_is_told(run: Run, root: Path) -> None:
    path = root / "etc/windrow/manifests/all.yaml"
    path.write_text(MANIFEST.replace("bridge: {}", "bridge: {}, model: x"))
    done = run("start", "web")
    assert done.exit_code == 1
    assert "model" in done.stderr
    assert "its manifest is in the store, and cannot be read" in done.stderr


def test_what_is_not_made_here_is_said_at_the_start_and_by_describe(run: Run, root: Path) -> None:
    path = root / "etc/windrow/manifests/all.yaml"
    path.write_text(MANIFEST.replace("bridge: {}", "sriov: {}"))
    done = run("start", "web")
    assert done.exit_code == 1
    assert "interfaces[0].sriov: sriov is not made here" in done.stderr
    assert "interfaces[0].sriov: sriov is not made here" in run("describe", "web").stdout


def test_nics_of_a_machine_that_does_not_run(run: Run, root: Path) -> None:
    done = run("add-nic", "web", "--network", "vlan100", "--name", "b", "--model", "e1000e", "--down")
    assert done.exit_code == 0, done.output
    assert done.stdout == "virtualmachine/web: NIC b added (the machine does not run: it counts from its next start)\n"
    assert run("set-link", "web", "a", "down").exit_code == 0
    text = (root / "etc/windrow/manifests/all.yaml").read_text()
    web, db, *_ = yaml.safe_load_all(text)
    spec = web["spec"]["template"]["spec"]
    assert spec["domain"]["devices"]["interfaces"] == [
        {"name": "a", "bridge": {}, "macAddress": "52:54:00:00:00:01", "state": "down"},
        {"name": "b", "bridge": {}, "model": "e1000e", "state": "down"},
    ]
    assert [n["name"] for n in spec["networks"]] == ["a", "b"]
    assert spec["domain"]["memory"] == {"guest": "64Mi"}, "the rest is as it was"
    assert db["metadata"]["name"] == "db"
    for nic in ("a", "b"):
        assert run("remove-nic", "web", nic).exit_code == 0
    web = next(yaml.safe_load_all((root / "etc/windrow/manifests/all.yaml").read_text()))
    devices = web["spec"]["template"]["spec"]["domain"]["devices"]
    assert devices == {"interfaces": [], "autoattachPodInterface": False}, "and none on the pod network in their place"


def test_the_first_nic_beside_the_one_that_nobody_named(run: Run, root: Path) -> None:
    """A machine without interfaces has one on the pod network; it keeps that."""
    done = run("add-nic", "db", "-n", "data", "--network", "default/vlan100")
    assert done.exit_code == 0, done.output
    _, db, *_ = yaml.safe_load_all((root / "etc/windrow/manifests/all.yaml").read_text())
    spec = db["spec"]["template"]["spec"]
    assert [n["name"] for n in spec["networks"]] == ["default", "vlan100"]
    assert spec["domain"]["devices"]["interfaces"][0] == {"name": "default", "masquerade": {}}


def test_a_machine_that_is_deleted_while_it_runs_goes_on(run: Run, root: Path) -> None:
    Machines(root).put(RECORD)
    done = CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "delete", "vm", "web", "--dry-run"])
    assert "warning: " in done.stderr and "VirtualMachine/default/web: it is still there on this host" in done.stderr
    assert "`windrow vm stop web` ends it" in done.stderr


def test_the_console_of_somebody_elses_hypervisor(run: Run, root: Path) -> None:
    Machines(root).put(dataclasses.replace(RECORD, phase=Phase.ATTACHED, pid=0))
    done = run("console", "web")
    assert (done.exit_code, "hypervisor of your own" in done.stderr) == (1, True)
    assert "windrow vm start" not in done.stderr, "which would be refused"


def test_an_error_says_of_which_machine_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ServiceError("qemu-system-x86_64", "Image is not in qcow2 format")

    monkeypatch.setattr("windrow.apps.vm.start.start", fails)
    done = run("start", "--all")
    assert done.exit_code == 1
    assert done.stderr == "error: virtualmachine/web: qemu-system-x86_64: Image is not in qcow2 format\n"


def test_a_record_that_we_may_not_read_is_no_machine_that_is_stopped(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user is not let into a machine's directory."""
    Machines(root).put(RECORD)

    def refused(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patched:
        patched.setattr("windrow.store.machines.Path.read_text", refused)
        records, failures = Machines(root).all()
    assert (records, len(failures)) == ((), 1)
    monkeypatch.setattr(Machines, "all", lambda _: (records, failures))
    monkeypatch.setattr(Machines, "get", lambda *_: None)
    done = run("list", "-n", "default")
    assert done.stdout.splitlines()[1].split()[:2] == ["web", "Unknown"]
    assert "Permission denied" in done.stderr

    def unreadable(*_: object) -> None:
        raise failures[0]

    monkeypatch.setattr(Machines, "get", unreadable)
    done = run("stop", "--all")
    assert done.exit_code == 1
    assert "web" in done.stderr


def test_names_are_completed(root: Path) -> None:
    def complete(*words: str, incomplete: str = "") -> list[str]:
        shell = ShellComplete(cli, {}, "windrow", "_WINDROW_COMPLETE")
        return [item.value for item in shell.get_completions(["--root", str(root), "vm", *words], incomplete)]

    Machines(root).put(dataclasses.replace(RECORD, name="gone"))
    assert complete("stop") == ["gone", "web"]
    assert complete("start", incomplete="w") == ["web"]
    assert complete("start", "-n", "data") == ["db"]
    assert complete("set-link", "web") == ["a"]
    assert complete("set-network", "web", "a") == ["vlan100"]
    assert complete("add-nic", "web", "--network") == ["vlan100"]
    assert complete("set-network", "web", "a", incomplete="default/") == ["default/vlan100"]
    assert complete("stop", "-n") == ["data", "default"]


# What is so already, and which machines are this node's -------------------------------------------


def _as_node(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who is started, without starting anybody."""
    started: list[str] = []
    monkeypatch.setattr("windrow.apps.vm.start.start", lambda site, namespace, name, **_: started.append(name))
    return started


def test_what_runs_is_not_started_again(run: Run, root: Path) -> None:
    """As virsh's users script it: the second `start` finds it as the first one left it."""
    alive = process_of(os.getpid())
    Machines(root).put(dataclasses.replace(RECORD, pid=alive.pid, started=alive.started))
    done = run("start", "web")
    assert (done.exit_code, done.stdout) == (0, "virtualmachine/web runs already\n"), done.output


def test_what_does_not_run_is_not_stopped_again(run: Run, root: Path) -> None:
    for _ in range(2):
        done = run("stop", "web")
        assert (done.exit_code, done.stdout) == (0, "virtualmachine/web does not run\n"), done.output


NODES = "".join(f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: node-{n}}}\n" for n in (0, 1))


def _placed(root: Path, text: str = NODES) -> None:
    """web is for node-1, db for whichever; here is for node-0."""
    path = root / "etc/windrow/manifests/all.yaml"
    web = MANIFEST.replace(
        "    spec:\n      domain:\n        memory", f"    spec:\n      {_for('node-1')}\n      domain:\n        memory"
    )
    here = MACHINE_HERE.replace("SELECTOR", _for("node-0"))
    path.write_text(web + here + text)


def _for(node: str) -> str:
    return f'nodeSelector: {{kubernetes.io/hostname: "{node}"}}'


MACHINE_HERE = """---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: here, namespace: data}
spec:
  runStrategy: Always
  template: {spec: {SELECTOR, domain: {devices: {}}}}
"""


def test_all_means_what_is_for_this_node_alone(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may run on several nodes would be started on each of them by the same command, with one MAC address."""
    started = _as_node(monkeypatch)
    _placed(root)
    done = run("start", "--all", "-A")
    assert (done.exit_code, started) == (0, ["here"]), done.output
    assert "virtualmachine/db is left alone: it may run on node-1, too; `windrow vm start db -n data`" in done.stderr
    assert "virtualmachine/web" not in done.output
    assert run("start", "--all").output == done.stderr.splitlines()[0] + "\nNo virtual machines found\n"


def test_on_a_host_alone_all_are_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started = _as_node(monkeypatch)
    assert run("start", "--all", "-A").exit_code == 0
    assert started == ["db", "web"]


def test_the_list_says_where_the_others_are(run: Run, root: Path) -> None:
    """Whether one runs elsewhere cannot be seen from here, so it is not called stopped."""
    _placed(root)
    lines = [line.split() for line in run("list").stdout.splitlines()[1:]]
    assert [line[1:4] for line in lines] == [
        ["db", "Stopped", "<none>"],
        ["here", "Stopped", "<none>"],
        ["web", "Elsewhere", "node-1"],
    ]
    _placed(root, "")
    assert "Elsewhere   node-1" in run("list", "-n", "default").stdout, "no Node object says that there is one"


def test_what_runs_here_is_on_the_node_that_this_host_is(root: Path) -> None:
    """A Node has the name that its kubelet gave it, and the host may have a longer one (`windrow get vmi`)."""
    _placed(root)
    site = Site(paths=Paths(root), node="Node-0.example.org")
    assert start._begun(site, site.machine("data", "here")).node == "node-0"


# With the host ------------------------------------------------------------------------------------


def test_what_starts_with_the_host(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = _as_node(monkeypatch)
    _placed(root, "")
    assert run("start", "--autostart").exit_code == 0
    assert started == ["here"]
    assert run("autostart", "db", "-n", "data").stdout == "virtualmachine/db starts with the host\n"
    assert run("autostart", "db", "-n", "data").stdout == "virtualmachine/db starts with the host already\n"
    started.clear()
    assert run("start", "--autostart").exit_code == 0
    assert started == ["db", "here"]
    assert "virtualmachine/web" not in run("autostart", "--all", "-A").output, "which is another node's"
    assert run("autostart", "here", "-n", "data", "--disable").exit_code == 0
    started.clear()
    assert run("start", "--autostart").exit_code == 0
    assert started == ["db"]


def test_of_one_that_no_boot_starts_autostart_says_so(run: Run, root: Path) -> None:
    _placed(root)
    done = run("autostart", "db", "-n", "data")
    assert done.stdout == "virtualmachine/db starts with the host\n"
    assert "virtualmachine/db may run on node-0 and node-1: no boot starts it until a nodeSelector" in done.stderr
    done = run("autostart", "web")
    assert "virtualmachine/web may run on node-1: this host's boot does not start it" in done.stderr
    assert run("autostart", "here", "-n", "data").stderr == ""
    assert run("autostart", "db", "-n", "data", "--disable").stderr == ""


def test_running_is_said_in_one_place(run: Run, root: Path) -> None:
    """KubeVirt's older `running: true` gives way to the runStrategy: both are refused."""
    path = root / "etc/windrow/manifests/all.yaml"
    path.write_text(MANIFEST.replace("runStrategy: Manual", "running: true"))
    assert run("autostart", "web", "--disable").exit_code == 0
    web = next(yaml.safe_load_all(path.read_text()))
    assert web["spec"]["runStrategy"] == "Manual" and "running" not in web["spec"]
    assert run("list", "-n", "default").stderr == ""


def test_the_unit_starts_and_stops(run: Run, root: Path) -> None:
    done = run("install")
    assert done.exit_code == 0, done.output
    text = (root / "etc/systemd/system/windrow-machines.service").read_text()
    where = f"--root {root} --node node-0 vm"
    assert f"{where} start --autostart\n" in text
    assert f"{where} stop --all -A\n" in text
    assert "\nDocumentation=man:windrow-vm(1)\n" in text
    assert "systemctl enable --now windrow-machines.service" in done.stdout
    assert run("uninstall").exit_code == 0
    assert not (root / "etc/systemd/system/windrow-machines.service").exists()
    again = run("uninstall")
    assert again.exit_code == 1 and "is not there" in again.output


def test_a_clusters_api_in_a_packages_settings_is_the_agents(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are for all units, and `vm` works on this host's own manifests alone: no machine would start."""
    monkeypatch.setenv("WINDROW_KUBECONFIG", "/etc/windrow/kubeconfig")
    assert run("start", "--autostart").exit_code == 2
    words = ["/usr/bin/windrow", "vm", "start", "--autostart"]
    text = unit_text(start=words, stop=words, settings=Path("/etc/default/windrow"))
    assert "\nEnvironmentFile=-/etc/default/windrow\n" in text and "\nUnsetEnvironment=WINDROW_KUBECONFIG\n" in text
    assert "UnsetEnvironment" not in unit_text(start=words, stop=words)


# What is shown ------------------------------------------------------------------------------------


def test_get_says_what_is_wrong_with_the_store_once(root: Path) -> None:
    (root / "etc/windrow/manifests/bad.yaml").write_text(MANIFEST.partition("---")[0].replace("Manual", "Sometimes"))
    done = CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "get", "vmi"])
    assert done.stderr.count("'Sometimes' is not one of") == 1, done.stderr


def test_addresses_that_a_pool_gave(run: Run, root: Path) -> None:
    """A bridged NIC has none in its pod."""
    (root / "etc/windrow/manifests/pool.yaml").write_text(POOL)
    Machines(root).put(RECORD)
    assert "a=10.9.0.2,p=10.0.2.2" in run("list", "-n", "default").stdout
    (item,) = json.loads(run("list", "-n", "default", "-o", "json").stdout)["items"]
    assert item["status"]["interfaces"][0]["infoSource"] == "domain, pool"


POOL = """
apiVersion: network.harvesterhci.io/v1alpha1
kind: IPPool
metadata: {name: net, namespace: default}
spec:
  networkName: default/vlan100
  ipv4Config: {serverIP: 10.9.0.1, cidr: 10.9.0.0/24, pool: {start: 10.9.0.2, end: 10.9.0.9}}
"""


def test_get_vmi_shows_what_runs(run: Run, root: Path) -> None:
    def get(*words: str) -> Result:
        return CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "get", *words])

    assert "No resources found" in get("vmi").output
    alive = process_of(os.getpid())
    Machines(root).put(dataclasses.replace(RECORD, pid=alive.pid, started=alive.started))
    headings, row = (line.split() for line in get("vmi").stdout.splitlines())
    assert headings == ["NAMESPACE", "NAME", "PHASE", "IP", "NODENAME", "CPUS", "MEMORY", "NETWORKS"]
    assert row[:5] == ["default", "web", "Running", "10.0.2.2", "node-0"]
    document = json.loads(get("vmi", "web", "-o", "json").stdout)
    assert document["spec"]["domain"]["memory"] == {"guest": "64Mi"}
    assert get("vmi/web", "-o", "jsonpath={.status.interfaces[1].mac}").stdout == "02:00:00:00:00:02"
    assert "VirtualMachineInstance" not in get("vm", "-o", "yaml").stdout


def test_dumpxml(run: Run, root: Path) -> None:
    stopped = ElementTree.fromstring(run("dumpxml", "web").stdout)
    assert stopped.get("id") is None and stopped.findtext("name") == "default_web"
    assert stopped.findtext("memory") == str(64 << 20)
    assert stopped.find("devices/interface/mtu") is None
    mac = stopped.find("devices/interface/mac")
    assert mac is not None and mac.get("address") == "52:54:00:00:00:01"
    alive = process_of(os.getpid())
    Machines(root).put(dataclasses.replace(RECORD, pid=alive.pid, started=alive.started))
    runs = ElementTree.fromstring(run("dumpxml", "web").stdout)
    mtu = runs.find("devices/interface/mtu")
    assert runs.get("id") == str(alive.pid) and mtu is not None and mtu.get("size") == "1500"
    assert "pytest" in run("dumpxml", "web", "--output", "qemu").stdout, (
        "the command line of that process, which is ours"
    )


def process_of(pid: int) -> Process:
    found = process.found(pid)
    assert found is not None
    return found


def _remembered(root: Path) -> list[str]:
    return sorted(path.stem for path in Machines(root).paths.machine_addresses.glob("*/*.json"))


def test_the_address_of_a_machine_that_is_deleted_goes_with_it(run: Run, root: Path) -> None:
    """They stayed, and another machine of the same name began with one."""
    Machines(root).remember_addresses("default", "web", ["10.52.0.9"])
    Machines(root).remember_addresses("data", "db", ["10.52.0.8"])
    done = CliRunner().invoke(cli, ["--root", str(root), "--node", "node-0", "delete", "vm", "web", "--dry-run"])
    assert done.exit_code == 0 and _remembered(root) == ["db", "web"], done.output
    session = Session(root=root, node="node-0", open_kernel=FakeKernel, permitted=lambda: True)
    done = CliRunner().invoke(cli, ["delete", "vm", "web"], obj=session)
    assert done.exit_code == 0 and _remembered(root) == ["db"], done.output


def test_an_address_is_remembered_while_another_one_is_forgotten(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vm start` of one, and `vm stop` of the last other one of the namespace, which took the directory away."""
    machines, write = Machines(root), records.write
    machines.remember_addresses("default", "old", ["10.52.0.8"])

    def late(path: Path, data: bytes, **options: Any) -> None:
        machines.forget_addresses(lambda _, name: name == "old")
        write(path, data, **options)

    monkeypatch.setattr(records, "write", late)
    machines.remember_addresses("default", "web", ["10.52.0.9"])
    assert _remembered(root) == ["web"]


def test_so_does_that_of_one_whose_file_was_taken_away(root: Path) -> None:
    """Where nothing can be read, nothing is known to be gone."""
    manifests = root / "etc/windrow/manifests/all.yaml"
    for namespace, name in (("default", "web"), ("default", "old"), ("data", "runs")):
        Machines(root).remember_addresses(namespace, name, ["10.52.0.9"])
    Machines(root).put(dataclasses.replace(RECORD, namespace="data", name="runs"))
    kept = manifests.read_text()
    for text in ("", "{", kept.replace("kind: VirtualMachine", "kind: VirtualMachin")):
        manifests.write_text(text)
        Site(paths=Paths(root), node="node-0").forget_gone()
        assert _remembered(root) == ["old", "runs", "web"]
    manifests.write_text(kept)
    Site(paths=Paths(root), node="node-0").forget_gone()
    assert _remembered(root) == ["runs", "web"]
