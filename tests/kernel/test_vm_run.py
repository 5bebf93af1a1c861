"""Machines that are started and stopped on a node with a cluster network: what is there, what is refused, what is left.

QEMU is the real one; its guest stands still (`-S`), so that the kernel of the lab, which has one CPU, need not run it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from windrow.apps.vm import bind, console, hotplug, launch, look, pause, pod, rewire, start, stop
from windrow.apps.vm.site import Site
from windrow.model.host import Bridge, Link, PortVlans
from windrow.model.problems import ProblemsError, WindrowError
from windrow.model.values import IfName, Mac, VidSet
from windrow.netlink import links, netns
from windrow.netlink.enter import libc
from windrow.netlink.errors import KernelError
from windrow.port.errors import CniError
from windrow.port.vm import qemu as arguments
from windrow.port.vm.names import names_of
from windrow.services import process, qemu
from windrow.services.errors import ServiceError
from windrow.store import records
from windrow.store.errors import StoreError
from windrow.store.machines import QMP, Phase
from windrow.store.paths import Paths

Ns = Any
T = TypeVar("T")

NETWORKS = """
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: vlan100, namespace: default}
spec:
  config: '{"cniVersion":"0.3.1","name":"vlan100","type":"bridge","bridge":"oob-br","promiscMode":true,"vlan":100,
    "ipam":{}}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: vlan200, namespace: default}
spec:
  config: '{"cniVersion":"1.0.0","name":"vlan200","type":"bridge","bridge":"oob-br","vlan":200,
    "ipam":{"type":"host-local","dataDir":"DIRECTORY/leases","ranges":[[{"subnet":"10.200.0.0/24"}]]}}'
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: elsewhere, namespace: default}
spec:
  config: '{"cniVersion":"0.3.1","name":"elsewhere","type":"bridge","bridge":"oob-br","vlan":300,"ipam":{}}'
"""
MACHINE = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: NAME, namespace: default}
spec:
  runStrategy: Manual
  template:
    spec:
      domain:
        memory: {guest: 32Mi}
        devices:
          interfaces:
          - {name: a, bridge: {}, macAddress: "MAC"}
          - {name: b, bridge: {}}
      networks:
      - {name: a, multus: {networkName: vlan100}}
      - {name: b, multus: {networkName: vlan200}}
"""
MAC = Mac("52:54:00:00:00:01")

RING_S = 5.0


class Node:
    """A node's namespace with the bridge of a cluster network, and a store of its own."""

    def __init__(self, ns: Ns, root: Path) -> None:
        self.ns, self.root = ns, root
        self.said: list[str] = []
        (root / "etc/windrow/manifests").mkdir(parents=True)
        self.write("networks", NETWORKS.replace("DIRECTORY", str(root)))
        self.write("web", machine("web"))

    def write(self, name: str, text: str) -> None:
        (self.root / f"etc/windrow/manifests/{name}.yaml").write_text(text)

    def make_bridge(self) -> None:
        link = Link(name=IfName("oob-br"), spec=Bridge(vlan_filtering=True, stp=False), mac=Mac("02:00:00:00:00:77"))
        self.ns.run(*links.create_link(link, self.ns.index), links.set_link("oob-br", up=True))

    @property
    def site(self) -> Site:
        """A new one each time, as for each command."""
        return Site(paths=Paths(self.root), node="node-0", say=self.said.append, warn=self.said.append)

    def do(self, fn: Callable[[Site], T]) -> T:
        found = self.ns.inside(lambda: fn(self.site))
        return found  # type: ignore[no-any-return]

    def start(self, name: str = "web", accelerator: str = "tcg") -> start.Started:
        return self.do(lambda site: start.start(site, "default", name, accelerator=accelerator))

    def stop(self, name: str = "web", **more: Any) -> None:
        self.do(lambda site: stop.stop(site, "default", name, **more))

    def record(self, name: str = "web") -> Any:
        return self.site.records.get("default", name)

    def state(self, name: str = "web") -> str:
        return self.do(lambda site: look.one_machine(site, "default", name)).state

    def monitor(self, name: str = "web") -> qemu.Qmp:
        return qemu.Qmp(self.site.records.directory("default", name) / QMP)

    def left(self) -> dict[str, Any]:
        """Everything that a machine leaves behind if it leaves something."""
        ours = str(self.root).encode()
        files = [
            p
            for d in ("run/windrow/vms", "run/windrow/pods", "run/windrow/ports", "run/windrow/attachments")
            for p in (self.root / d).rglob("*")
            if (p.is_file() and p.name != ".lock") or p.is_symlink()
        ]
        leases = [p.name for p in (self.root / "leases").rglob("10.*")]
        found = {
            "links": sorted(set(self.ns.rtnl.indexes()) - {"lo", "oob-br"}),
            "namespaces": [n for n in netns.names() if n == pod.netns_name(self.site, "default", "web")],
            "files": sorted(str(p.relative_to(self.root)) for p in files),
            "leases": leases,
            "processes": sorted(command for command in commands() if ours in command),
        }
        return {key: value for key, value in found.items() if value}

    def left_after_a_moment(self) -> dict[str, Any]:
        """The process that keeps the console's log ends when QEMU's end of it is closed, which takes it a moment."""
        end = time.monotonic() + RING_S
        while (found := self.left()) and time.monotonic() < end:
            time.sleep(0.05)
        return found


def commands() -> Iterator[bytes]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if process.start_time(int(entry.name)) is not None:
                    yield (entry / "cmdline").read_bytes()


def machine(name: str, mac: str = MAC) -> str:
    return MACHINE.replace("NAME", name).replace("MAC", mac)


@pytest.fixture(autouse=True)
def standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "first_commands", lambda _: ())


@pytest.fixture
def bare(ns: Ns, tmp_path: Path) -> Iterator[Node]:
    """Without the bridge."""
    ns.run(links.set_link("lo", up=True))
    one = Node(ns, tmp_path)
    yield one
    for record in one.site.records.all()[0]:
        one.stop(record.name, force=True)


@pytest.fixture
def node(bare: Node) -> Node:
    bare.make_bridge()
    return bare


# A life -------------------------------------------------------------------------------------------


def test_a_machine_is_started_and_stopped(node: Node) -> None:
    started = node.start()
    record = node.record()
    assert record == started.record
    assert (record.phase, record.node, record.accelerator, record.places) == (Phase.RUNNING, "node-0", "tcg", 6)
    assert node.state() == "Paused"  # -S
    a, b = record.nics
    assert (a.mac, a.addresses, a.index) == (MAC, (), 0)
    assert (b.mac, b.addresses, b.index) == (pod.stable_mac("default", "web", "b"), ("10.200.0.2/24",), 1)
    observed = node.ns.kernel.observe().state.links
    ports = {link.vlans for link in observed.values() if link.kind == "veth" and link.master == "oob-br"}
    assert ports == {PortVlans(pvid=vid, untagged=VidSet.of([vid])) for vid in (100, 200)}
    inside = os.stat(netns.RUN_NETNS / record.netns).st_ino
    living = {(Path(f"/proc/{one.pid}/comm").read_text()).strip() for one in process.in_netns(inside)}
    assert living == {launch.PROGRAM[:15], "dnsmasq"}
    with node.monitor() as monitor:
        filters = monitor.command("query-rx-filter")
    assert {one["name"]: one["main-mac"] for one in filters} == {"ua-a": a.mac, "ua-b": b.mac}
    node.stop(patience_s=0.0)
    assert node.left() == {}
    assert node.record() is None
    assert node.state() == "Stopped"


def test_several_queues_disks_and_cloud_init(node: Node) -> None:
    """All that a machine may have of hardware is taken by QEMU."""
    text = machine("web").replace("memory: {guest: 32Mi}", "memory: {guest: 64Mi}\n        cpu: {cores: 2}")
    text = text.replace("devices:", "devices:\n          networkInterfaceMultiqueue: true\n          disks:\n" + DISKS)
    node.write("web", text.replace("      networks:", VOLUMES.replace("DIRECTORY", str(node.root)) + "      networks:"))
    (node.root / "image.raw").write_bytes(bytes(1 << 20))
    (node.root / "image.raw").chmod(0o600)
    record = node.start().record
    with node.monitor() as monitor:
        blocks = {one["qdev"] for one in monitor.command("query-block") if one.get("inserted")}
    words = Path(f"/proc/{record.pid}/cmdline").read_bytes().decode().split("\0")
    assert sum("fds=" in one for one in words) == sum("mq=on,vectors=6" in one for one in words) == 2
    assert len(blocks) == 2, blocks
    seed = node.site.records.directory("default", "web") / "shown/seed"
    assert sorted(p.name for p in seed.iterdir()) == ["meta-data", "user-data"]
    found = {p: p.stat() for p in (seed, *seed.iterdir())}
    user = launch.account(record).number
    assert {(s.st_uid, s.st_gid, s.st_mode & 0o007) for s in found.values()} == {(0, user, 0)}, (
        "root's, for QEMU to read"
    )
    assert (node.root / "image.raw").stat().st_uid == 0, "a disk stays its owner's"
    assert stop.runs(record)


DISKS = """          - {name: root, disk: {bus: virtio}}
          - {name: seed, disk: {bus: virtio}}
"""
VOLUMES = """      volumes:
      - {name: root, hostDisk: {path: DIRECTORY/image.raw, type: Disk}}
      - {name: seed, cloudInitNoCloud: {userData: "#cloud-config"}}
"""


def test_qemu_is_an_ordinary_user_in_a_sandbox(node: Node) -> None:
    """It has no capability, may start nothing, and the kernel refuses it all that root may."""
    node.write("db", machine("db", "52:54:00:00:00:02"))
    users = []
    for name in ("web", "db"):
        record = node.start(name).record
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{record.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        user = launch.account(record).number
        users.append(user)
        assert status["Uid"].split() == status["Gid"].split() == [str(user)] * 4
        assert status["Groups"].split() == []
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
        assert status["Seccomp"] == "2"
        opened = {os.readlink(p) for p in Path(f"/proc/{record.pid}/fd").iterdir()}
        assert not [p for p in opened if str(node.root) in p and not p.endswith("qemu.log")], opened
    assert users[0] != users[1] and min(users) >= 1_900_000_000
    assert not [line for line in node.said if "sandbox" in line]


def test_a_qemu_without_a_sandbox_runs_and_it_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "SANDBOX", ("-sandbox", "on,nonsense=deny"))
    record = node.start().record
    assert any("this QEMU has no sandbox" in line for line in node.said)
    assert os.stat(f"/proc/{record.pid}").st_uid == launch.account(record).number


def test_a_kernel_that_only_root_may_read_is_copied(node: Node) -> None:
    (node.root / "vmlinuz").write_bytes(b"\x00" * 4096)
    (node.root / "vmlinuz").chmod(0o600)
    boot = f"firmware: {{kernelBoot: {{container: {{kernelPath: {node.root}/vmlinuz}}}}}}"
    node.write("web", machine("web").replace("memory: {guest: 32Mi}", f"memory: {{guest: 32Mi}}\n        {boot}"))
    record = node.start().record
    copy = node.site.records.directory("default", "web") / "shown/kernel"
    found = copy.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, launch.account(record).number, 0o640)
    assert copy.read_bytes() == (node.root / "vmlinuz").read_bytes()
    assert b"\0-kernel\0kernel\0" in Path(f"/proc/{record.pid}/cmdline").read_bytes()


def test_the_next_start_has_the_same_addresses(node: Node) -> None:
    first = node.start().record
    node.stop(force=True)
    second = node.start().record
    assert [nic.mac for nic in first.nics] == [nic.mac for nic in second.nics]
    assert first.container_id != second.container_id
    assert first.netns == second.netns


def test_the_pods_address_is_the_one_of_before(node: Node) -> None:
    """host-local goes round: without being asked it would give the next one. If somebody has it: another."""
    node.write("web", MACHINE_ON_PODS)
    (node.root / "etc/cni/net.d").mkdir(parents=True)
    (node.root / "etc/cni/net.d/10-pods.conf").write_text(POD_NETWORK.replace("DIRECTORY", str(node.root)))
    addresses = []
    for _ in range(3):
        node.start()
        (seen,) = node.do(lambda site: look.one_machine(site, "default", "web")).interfaces
        addresses.append(seen["ipAddress"])
        node.stop(force=True)
    assert addresses == ["10.201.0.2"] * 3
    lease = node.root / "leases/pods/10.201.0.2"
    lease.parent.mkdir(parents=True, exist_ok=True)
    lease.write_text("somebody\neth0")
    node.start()
    (seen,) = node.do(lambda site: look.one_machine(site, "default", "web")).interfaces
    assert seen["ipAddress"] == "10.201.0.3"
    assert any("10.201.0.2, is not to be had" in line for line in node.said), node.said
    lease.unlink()
    node.stop(force=True)
    assert node.left_after_a_moment() == {"links": ["wn-pods"]}, "the plugin's own bridge"


POD_NETWORK = """{"cniVersion": "1.0.0", "name": "windrow", "type": "windrow", "delegates": [{"cniVersion": "1.0.0",
    "name": "pods", "type": "bridge", "bridge": "wn-pods", "isGateway": true, "ipam": {"type": "host-local",
    "dataDir": "DIRECTORY/leases", "ranges": [[{"subnet": "10.201.0.0/24"}]]}}]}"""
MACHINE_ON_PODS = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web, namespace: default}
spec:
  runStrategy: Manual
  template:
    spec:
      domain: {memory: {guest: 32Mi}, devices: {interfaces: [{name: p, masquerade: {}}]}}
      networks: [{name: p, pod: {}}]
"""


def test_a_guest_stands_still_and_goes_on(node: Node) -> None:
    """Twice each; and one that stands still can be asked to shut down, for it is woken."""
    node.start()
    with node.monitor() as monitor:
        monitor.command("cont")
    assert node.state() == "Running"
    assert [node.do(lambda site: pause.suspend(site, "default", "web")) for _ in "12"] == [True, False]
    assert node.state() == "Paused"
    assert [node.do(lambda site: pause.resume(site, "default", "web")) for _ in "12"] == [True, False]
    assert node.state() == "Running"
    node.do(lambda site: pause.suspend(site, "default", "web"))
    node.stop(patience_s=0.1)
    assert "default/web was suspended, and goes on to shut down" in node.said
    with pytest.raises(ProblemsError, match="does not run on this host"):
        node.do(lambda site: pause.suspend(site, "default", "web"))


def test_whom_the_host_has_spoken_with_has_an_address(node: Node) -> None:
    node.start()
    (a, _) = node.do(lambda site: look.one_machine(site, "default", "web")).interfaces
    assert "ipAddress" not in a
    node.ns.run(links.add_addr(node.ns.index("oob-br"), "10.0.0.1/24", name="oob-br"))
    node.ns.inside(
        lambda: subprocess.run(["ip", "neigh", "replace", "10.0.0.7", "lladdr", MAC, "dev", "oob-br"], check=True)
    )
    (a, _) = node.do(lambda site: look.one_machine(site, "default", "web")).interfaces
    assert (a["ipAddress"], a["infoSource"].rpartition(", ")[2]) == ("10.0.0.7", "neighbours")


def test_seen_by_name_state_and_interfaces(node: Node) -> None:
    node.write("db", machine("db", "52:54:00:00:00:02"))
    node.start()
    web, db = (one for one in sorted(node.do(look.all_machines), key=lambda one: one.name == "db"))
    assert (db.name, db.state, db.record) == ("db", "Stopped", None)
    assert [i["name"] for i in db.interfaces] == ["a", "b"]
    (a, b) = web.interfaces
    assert a["mac"] == MAC
    assert "ipAddress" not in a
    assert (b["ipAddress"], b["infoSource"], b["linkState"]) == ("10.200.0.2", "domain, multus-status", "up")
    document = web.document()
    assert document["spec"]["runStrategy"] == "Manual"
    assert document["status"]["nodeName"] == "node-0"
    json.dumps(document)


def test_only_the_container_call_and_the_pods_manifest_say_what_is_attached(node: Node) -> None:
    node.start()
    text = (node.root / "run/windrow/pods/default/virt-launcher-web.json").read_text()
    annotations = json.loads(text)["metadata"]["annotations"]
    assert annotations["windrow.io/default-network"] == "none"
    networks = json.loads(annotations["k8s.v1.cni.cncf.io/networks"])
    assert networks == [
        {"name": "vlan100", "namespace": "default", "mac": MAC, "interface": node.record().nics[0].pod},
        {
            "name": "vlan200",
            "namespace": "default",
            "mac": pod.stable_mac("default", "web", "b"),
            "interface": node.record().nics[1].pod,
        },
    ]


# Refused ------------------------------------------------------------------------------------------


def refusal(node: Node, name: str = "web") -> str:
    before = node.left()
    with pytest.raises((ProblemsError, StoreError)) as caught:
        node.start(name)
    assert node.left() == before
    return str(caught.value)


def test_a_cluster_network_that_is_not_on_the_node(bare: Node) -> None:
    said = refusal(bare)
    assert "cluster network oob of NetworkAttachmentDefinition/default/" in said
    assert said.count("is not on node") == 2
    assert "hint: " in said


def test_what_is_not_there(node: Node) -> None:
    assert 'virtual machine "default/wob" not found' in refusal(node, "wob")
    assert "there is: web" in refusal(node, "wob")
    text = machine("far").replace("      domain:", "      nodeSelector: {zone: north}\n      domain:")
    boot = "        firmware: {kernelBoot: {container: {kernelPath: /no/kernel, initrdPath: /no/initrd}}}"
    boot += "\n        devices:"
    node.write("far", text.replace("        devices:", boot, 1).replace(MAC, "52:54:00:00:00:09"))
    said = refusal(node, "far")
    for part in (
        "it is not for node node-0, which has no label zone=north",
        "there is no /no/kernel",
        "there is no /no/initrd",
    ):
        assert part in said


def test_one_that_runs(node: Node) -> None:
    node.start()
    said = refusal(node)
    assert f"it runs already: QEMU is process {node.record().pid}" in said
    assert "VirtualMachine/default/web" in said


def test_one_that_somebody_is_just_starting(node: Node) -> None:
    with node.site.records.locked("default", "web"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("windrow.apps.vm.site.LOCK_S", 0.1)
        assert "another command is at work on the machine default/web" in refusal(node)


def test_a_mac_address_that_another_one_has(node: Node) -> None:
    node.start()
    node.write("db", machine("db"))
    said = refusal(node, "db")
    assert f"{MAC} is already the address of VirtualMachine/default/web in cluster network oob" in said
    assert f"NIC a: VM default/web has the MAC address {MAC} on oob-br already" in said
    (node.root / "etc/windrow/manifests/web.yaml").unlink()
    said = refusal(node, "db")
    assert "already the address of" not in said
    assert f"VM default/web has the MAC address {MAC} on oob-br" in said, "it runs, whatever the store says"


def test_to_stop_what_does_not_run(node: Node) -> None:
    with pytest.raises(ProblemsError, match="does not run on this host"):
        node.stop()
    with pytest.raises(ProblemsError, match="not found"):
        node.stop("wob")


def test_what_takes_how_long_is_told(node: Node) -> None:
    told: list[tuple[str, float]] = []
    site = dataclasses.replace(node.site, spent=lambda part, seconds: told.append((part, seconds)))
    node.do(lambda _: start.start(site, "default", "web", accelerator="tcg"))
    before, each_nic = [start.READ, start.CHECK, start.NAMESPACE, start.CNI], [start.BIND, start.SERVE]
    assert [part for part, _ in told] == [*before, *each_nic, *each_nic, start.QEMU]
    assert all(seconds > 0 for _, seconds in told)


# Undone -------------------------------------------------------------------------------------------


def test_a_nic_that_cannot_be_bound(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    really = bind.connect

    def second_fails(kernel: Any, fd: int, plan: Any) -> None:
        really(kernel, fd, plan)
        if plan.nic.name == "b":
            raise KernelError(28, "create tap")

    monkeypatch.setattr(bind, "connect", second_fails)
    with pytest.raises(KernelError, match="create tap: No space left"):
        node.start()
    assert node.left() == {}
    assert "undoing what was done" in node.said


def test_a_delegate_that_fails(node: Node) -> None:
    """All addresses of its network are given away."""
    text = NETWORKS.replace("DIRECTORY", str(node.root)).replace("10.200.0.0/24", "10.200.0.0/30")
    node.write("networks", text)
    node.write("db", machine("db", "52:54:00:00:00:02"))
    node.start()
    before = node.left()
    with pytest.raises(CniError) as caught:
        node.start("db")
    assert "default/vlan200" in str(caught.value)
    assert node.left() == before
    node.stop(force=True)
    node.start("db")


def test_qemu_that_does_not_start(node: Node) -> None:
    node.write("web", machine("web").replace("domain:", "domain:\n        cpu: {model: Babbage}"))
    with pytest.raises(ServiceError, match="unable to find CPU model 'Babbage'"):
        node.start()
    assert node.left() == {}


def test_qemu_that_is_not_installed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROGRAM", "qemu-system-x86_64")
    monkeypatch.setenv("PATH", "/usr/sbin:/sbin")
    with pytest.raises(ServiceError, match="install the package qemu-system-x86"):
        node.start()
    monkeypatch.undo()
    assert node.left_after_a_moment() == {}


def test_what_is_not_installed_is_not_tried_again_in_software(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "kvm_refusal", lambda _: "")
    monkeypatch.setattr(launch, "PROGRAM", "qemu-system-none")
    with pytest.raises(ServiceError, match="qemu-system-none: cannot be started"):
        node.start(accelerator="")
    assert not [line for line in node.said if "software" in line]
    assert node.left() == {}


def test_without_kvm_the_guest_runs_in_software(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "KVM", node.root / "no-kvm")
    assert node.start(accelerator="").record.accelerator == "tcg"
    assert any("the guest runs in software" in line for line in node.said)
    node.stop(force=True)
    with pytest.raises(ServiceError, match="no-kvm: No such file"):
        node.start(accelerator="kvm")
    assert node.left() == {}


# What ended by itself, and half of what is there --------------------------------------------------


def test_a_guest_that_ended_by_itself(node: Node) -> None:
    record = node.start().record
    with node.monitor() as monitor, contextlib.suppress(ServiceError):
        monitor.command("quit")
    assert process.wait_for_end(stop.hypervisor(record), 10)
    assert node.state() == "Ended"
    again = node.start().record
    assert again.container_id != record.container_id
    assert "removing what is left of default/web" in node.said
    node.stop(force=True)
    assert node.left() == {}


def test_stopped_when_half_of_it_is_gone(node: Node) -> None:
    record = node.start().record
    process.end(stop.hypervisor(record), patience_s=0)
    netns.delete(record.netns)
    (node.root / "run/windrow/pods/default/virt-launcher-web.json").unlink()
    node.stop()
    assert node.left() == {}


def test_a_broken_record(node: Node) -> None:
    node.start()
    path = node.site.records.directory("default", "web") / "record.json"
    path.write_text("{")
    with pytest.raises(StoreError, match="this is not the record of a machine"):
        node.stop()
    node.stop(force=True)
    assert node.left() == {}


def test_a_lost_record(node: Node) -> None:
    """Somebody has cleared /run/windrow/vms away. No second QEMU beside the first."""
    node.start()
    shutil.rmtree(node.root / "run/windrow/vms")
    with pytest.raises(ProblemsError, match="its record is lost") as caught:
        node.start()
    assert "windrow vm stop --force web" in str(caught.value)
    with pytest.raises(ProblemsError, match="its record is lost"):
        node.stop()
    node.stop(force=True)
    assert node.left() == {}


def test_a_lost_record_of_a_machine_that_ended(node: Node) -> None:
    """Its port is still on the bridge, with the address that the new one shall have."""
    record = node.start().record
    shutil.rmtree(node.root / "run/windrow/vms")
    for one in process.in_netns(pod.inode(record.netns) or 0):
        process.end(one, patience_s=0)
    node.start()
    node.stop()
    assert node.left() == {}


def test_after_a_reboot(node: Node) -> None:
    """What was on tmpfs is gone, and all that lived; the records on the disk and the leases are still there."""
    record = node.start().record
    process.end(stop.hypervisor(record), patience_s=0)
    pod.close_namespace(record.netns)
    shutil.rmtree(node.root / "run")
    assert node.record() is None
    assert node.left()["leases"] == ["10.200.0.2"]
    node.start()
    assert len(node.left()["leases"]) == 1
    node.stop(force=True)
    assert node.left() == {}


def test_a_cni_plugin_that_cannot_undo_its_part(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.start()

    def refuse(site: Site, record: Any) -> None:
        raise CniError(999, "the lease server is away")

    with monkeypatch.context() as patch:
        patch.setattr(pod, "delete", refuse)
        with pytest.raises(CniError, match="the lease server is away"):
            node.stop(patience_s=0)
        assert node.record().phase is Phase.STOPPING, "to be tried again"
        assert not stop.runs(node.record())
    node.stop()
    assert node.left() == {}


@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_it_leaves_nothing_after_stop(node: Node, seed: int) -> None:
    """kill -9 at random moments of a start; then a stop."""
    chance = random.Random(seed)
    begun = time.monotonic()
    assert killed(node, after_s=60.0) == 0
    whole = time.monotonic() - begun
    node.stop(force=True)
    for _ in range(5):
        moment = chance.uniform(0, whole)
        killed(node, after_s=moment)
        for _ in range(200):  # what the killed one had just started may be on its way yet
            with contextlib.suppress(ProblemsError):  # it does not run: it had not come so far
                node.stop(force=True)
            if node.left() == {}:
                break
            time.sleep(0.02)
        assert node.left() == {}, f"killed after {moment:.3f} s of {whole:.3f} s"


def killed(node: Node, after_s: float) -> int:
    """Start the machine in a process of its own; its exit code, or -9 if it was not through after that time."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            libc("setns", node.ns.fd, 0x4000_0000, doing="enter")
            start.start(node.site, "default", "web", accelerator="tcg")
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + after_s
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_it_goes_on_when_its_starter_is_gone(node: Node) -> None:
    assert killed(node, after_s=60.0) == 0
    record = node.record()
    assert stop.runs(record)
    assert os.getsid(record.pid) == record.pid
    assert node.state() == "Paused"
    with node.monitor() as monitor:
        assert monitor.command("query-name")["name"] == "default/web"


# NICs of a running machine ------------------------------------------------------------------------


def test_a_nic_is_added_and_removed_live(node: Node) -> None:
    node.start()
    wanted = hotplug.Wanted(nad="default/elsewhere", name="c", mac="52:54:00:00:00:0c")
    assert node.do(lambda site: hotplug.add_nic(site, "default", "web", wanted)) is True
    nic = node.record().nic("c")
    assert (nic.index, nic.later, nic.bound, nic.mac) == (2, True, True, "52:54:00:00:00:0c")
    with node.monitor() as monitor:
        assert {one["name"] for one in monitor.command("query-rx-filter")} == {"ua-a", "ua-b", "ua-c"}
    machine = node.site.machine("default", "web")
    assert [n.name for n in machine.spec.nics] == [n.name for n in machine.spec.networks] == ["a", "b", "c"]
    assert [i["name"] for i in node.do(lambda site: look.one_machine(site, "default", "web")).interfaces] == [*"abc"]
    with pytest.raises(ProblemsError, match="it has a NIC c already"):
        node.do(lambda site: hotplug.add_nic(site, "default", "web", wanted))
    node.stop(force=True)
    assert node.left() == {}
    assert len(node.start().plans) == 3, "the manifest has it, too"


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_nic_that_the_guest_let_go_of(node: Node, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One that came with the machine, and one that came later. The guest is played: it stands still."""
    node.start()
    wanted = hotplug.Wanted(nad="default/elsewhere", name="c")
    node.do(lambda site: hotplug.add_nic(site, "default", "web", wanted))
    monkeypatch.setattr(hotplug, "_let_go", lambda *_: None)
    before = node.left()
    assert node.do(lambda site: hotplug.remove_nic(site, "default", "web", name)) is True
    record, after = node.record(), node.left()
    assert record.nic(name) is None
    assert len(before["links"]) - len(after["links"]) == 1
    assert name not in [n.name for n in node.site.machine("default", "web").spec.nics]
    pod_names = {nic.pod for nic in record.nics}
    status = look._network_status(node.site, record)
    assert set(status) == pod_names
    file = node.root / "run/windrow/pod-status/default/virt-launcher-web.json"
    assert {entry["interface"] for entry in json.loads(file.read_text())} == pod_names
    node.stop(force=True)
    assert node.left() == {}


def test_a_nic_that_the_guest_keeps(node: Node) -> None:
    node.start()
    before = node.record()
    with pytest.raises(ProblemsError, match="the guest did not let go of it within"):
        node.do(lambda site: hotplug.remove_nic(site, "default", "web", "a", patience_s=0.5))
    assert node.record() == before
    assert [n.name for n in node.site.machine("default", "web").spec.nics] == ["a", "b"]


def test_a_nic_that_qemu_refuses_is_undone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.start()
    before, record = node.left(), node.record()
    really = arguments.plug

    def twice(*given: Any, **more: Any) -> Any:
        add, device, *rest = really(*given, **more)
        return add, {**device, "arguments": {**device["arguments"], "driver": "no-such-card"}}, *rest

    monkeypatch.setattr(arguments, "plug", twice)
    wanted = hotplug.Wanted(nad="default/elsewhere", name="c")
    with pytest.raises(ServiceError, match="no-such-card"):
        node.do(lambda site: hotplug.add_nic(site, "default", "web", wanted))
    assert node.left() == before
    assert node.record() == record
    assert [n.name for n in node.site.machine("default", "web").spec.nics] == ["a", "b"]
    monkeypatch.undo()
    node.do(lambda site: hotplug.add_nic(site, "default", "web", wanted))


def test_there_is_room_for_so_many(node: Node) -> None:
    node.start()
    for number in range(node.record().places - 2):
        wanted = hotplug.Wanted(nad="default/elsewhere", name=f"c{number}")
        node.do(lambda site, wanted=wanted: hotplug.add_nic(site, "default", "web", wanted))
    with pytest.raises(ProblemsError, match="all its 6 places for NICs are taken"):
        node.do(lambda site: hotplug.add_nic(site, "default", "web", dataclasses.replace(wanted, name="d")))


def test_another_network_for_a_nic_that_runs(node: Node) -> None:
    """The guest keeps its card; under it there is another VLAN, then one whose addresses a server in the pod gives."""
    node.start()
    before = node.record()

    def move(nad: str) -> bool:
        return node.do(lambda site: rewire.set_network(site, "default", "web", "a", nad))

    assert move("default/elsewhere") is True
    after = node.record()
    assert (after.pid, after.nic("a").tap, after.nic("a").mac) == (before.pid, before.nic("a").tap, MAC)
    assert (after.nic("a").nad, after.nic("a").bound, after.nic("b")) == ("default/elsewhere", True, before.nic("b"))
    assert _vlans(node) == {200, 300}
    with pod.entered(after.netns) as (kernel, _):
        links_there = kernel.observe(()).state.links
    names = names_of(after.nic("a").pod)
    assert {links_there[name].master for name in (names.tap, names.renamed)} == {names.bridge}
    with node.monitor() as monitor:
        assert {one["name"] for one in monitor.command("query-rx-filter")} == {"ua-a", "ua-b"}
    assert node.site.machine("default", "web").spec.network("a").nad == "default/elsewhere"
    assert move("default/vlan200") is True
    assert _vlans(node) == {200} and node.record().nic("a").addresses == ("10.200.0.3/24",)
    assert move("default/vlan100") is True
    assert _vlans(node) == {100, 200} and node.record().nic("a").addresses == ()
    node.stop(force=True)
    assert node.left_after_a_moment() == {}


def test_another_network_that_cannot_be_had(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest is in the one of before, and so is its manifest."""
    node.start()
    really = bind.plug

    def refused(kernel: Any, namespace: int, plan: Any, directory: Path) -> None:
        monkeypatch.setattr(bind, "plug", really)
        raise KernelError(errno.EBUSY, "attach the interface")

    monkeypatch.setattr(bind, "plug", refused)
    with pytest.raises(KernelError):
        node.do(lambda site: rewire.set_network(site, "default", "web", "a", "default/elsewhere"))
    assert _vlans(node) == {100, 200}
    assert (node.record().nic("a").nad, node.record().nic("a").bound) == ("default/vlan100", True)
    assert node.site.machine("default", "web").spec.network("a").nad == "default/vlan100"
    node.stop(force=True)
    assert node.left_after_a_moment() == {}


def _vlans(node: Node) -> set[int]:
    ports = node.ns.kernel.observe().state.links.values()
    return {link.vlans.pvid for link in ports if link.kind == "veth" and link.master == "oob-br"}


def test_cables(node: Node) -> None:
    def set_link(nic: str, up: bool) -> bool:
        return node.do(lambda site: hotplug.set_link(site, "default", "web", nic, up=up))

    assert set_link("a", False) is False, "it does not run"
    node.start()
    assert node.record().nic("a").up is False
    assert set_link("a", True) is True
    assert node.record().nic("a").up is True
    assert set_link("b", False) is True
    states = {n.name: n.state.value for n in node.site.machine("default", "web").spec.nics}
    assert states == {"a": "up", "b": "down"}
    with pytest.raises(ProblemsError, match="it has no NIC x"):
        set_link("x", True)


def test_a_machine_that_does_not_run_has_its_manifest_changed(node: Node) -> None:
    wanted = hotplug.Wanted(nad="default/elsewhere", name="c")
    assert node.do(lambda site: hotplug.add_nic(site, "default", "web", wanted)) is False
    assert node.do(lambda site: hotplug.remove_nic(site, "default", "web", "a")) is False
    assert [n.name for n in node.site.machine("default", "web").spec.nics] == ["b", "c"]
    assert node.left() == {}
    with pytest.raises(ProblemsError, match="there is no NetworkAttachmentDefinition default/none"):
        node.do(
            lambda site: hotplug.add_nic(
                site, "default", "web", dataclasses.replace(wanted, name="d", nad="default/none")
            )
        )


# For a hypervisor of one's own --------------------------------------------------------------------


def test_attached_for_another_hypervisor(node: Node) -> None:
    from windrow.apps.vm import words

    started = node.do(lambda site: start.attach(site, "default", "web"))
    assert node.state() == "Attached"
    assert words.libvirt(started).count("<interface type=") == 2
    own = ["-machine", "q35", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-S"]
    own += [word for plan in started.plans for word in arguments.nic_arguments(started.machine.spec, plan)]
    own += ["-qmp", "unix:own.sock,server=on,wait=off"]
    directory = node.root / "own"
    directory.mkdir()
    program = netns.opened_in(
        started.record.netns,
        lambda: process.start([launch.PROGRAM, *own], directory=directory, log=directory / "log"),
    )
    with qemu.ready(program, directory / "own.sock") as monitor:
        assert {one["name"] for one in monitor.command("query-rx-filter")} == {"ua-a", "ua-b"}
    with pytest.raises(ProblemsError, match="attached for a hypervisor of your own"):
        node.start()
    with pytest.raises(ProblemsError, match="and so is its console"):
        node.do(lambda site: console.connect(site, "default", "web", console.Terminal()))
    node.stop()
    assert node.left() == {}


def test_all_errors_are_windrows(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while the record is written."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "stage", full)
    with pytest.raises(WindrowError, match="No space left"):
        node.start()
    monkeypatch.undo()
    assert node.left() == {}
