"""QEMU's arguments: what is in them, and that a QEMU takes them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from windrow.model.machines import (
    Binding,
    CloudInit,
    Disk,
    GuestNetwork,
    GuestNic,
    KernelBoot,
    LinkState,
    MachineSpec,
    NicModel,
)
from windrow.model.values import Mac
from windrow.port.vm import qemu
from windrow.port.vm.binding import NicPlan, PodNic, plan_nic
from windrow.port.vm.dhcp import PodIdentity
from windrow.port.vm.libvirt import interface_xml
from windrow.port.vm.names import pod_ifname

FILES = qemu.MachineFiles(qmp="qmp.sock", console="console.sock", console_log="console.log")


def machine(*nics: GuestNic, **fields: Any) -> MachineSpec:
    return MachineSpec(nics=nics, networks=tuple(GuestNetwork(name=n.name, nad="default/x") for n in nics), **fields)


def guest_nic(name: str = "vlan100", **fields: Any) -> GuestNic:
    return GuestNic(name=name, binding=Binding.BRIDGE, **fields)


def plans(spec: MachineSpec, *, mtu: int = 1450) -> list[NicPlan]:
    found = []
    for i, nic in enumerate(spec.nics):
        network = spec.network(nic.name)
        assert network is not None
        seen = PodNic(name=pod_ifname(network), mac=Mac(f"02:00:00:00:00:{i:02x}"), mtu=mtu)
        found.append(plan_nic(spec, nic.name, seen, PodIdentity()))
    return found


def arguments(spec: MachineSpec, *, kvm: bool = False, files: qemu.MachineFiles = FILES, **fields: Any) -> list[str]:
    return qemu.arguments(spec, "ns/web", plans(spec), files, kvm=kvm, **fields)


def after(found: Sequence[str], option: str) -> list[str]:
    """All values of an option."""
    return [value for name, value in pairwise(found) if name == option]


def test_a_nic_is_a_tap_and_a_device_on_a_port_of_its_own() -> None:
    found = arguments(machine(guest_nic()))
    assert after(found, "-netdev") == ["tap,id=host-vlan100,ifname=tap1dba23260aa,script=no,downscript=no,vhost=off"]
    devices = after(found, "-device")
    assert (
        "virtio-net-pci,id=ua-vlan100,netdev=host-vlan100,mac=02:00:00:00:00:00,bus=port1,host_mtu=1450,romfile="
        in (devices)
    )
    ports = [d for d in devices if d.startswith("pcie-root-port")]
    assert len(ports) == 5
    assert ports[0] == "pcie-root-port,id=port1,chassis=1,slot=1,bus=pcie.0,addr=0x10.0x0,multifunction=on"


def test_multi_queue() -> None:
    found = arguments(machine(guest_nic(), multiqueue=True, cores=4), vhost=True)
    (netdev,) = after(found, "-netdev")
    assert netdev.endswith(",vhost=on,queues=4")
    assert [d for d in after(found, "-device") if "mq=on,vectors=10" in d]


@pytest.mark.parametrize("model", list(NicModel))
def test_models(model: NicModel) -> None:
    found = arguments(machine(guest_nic(model=model)), vhost=True)
    (device,) = [d for d in after(found, "-device") if "ua-vlan100" in d]
    driver = "virtio-net-pci" if model is NicModel.VIRTIO else model.value
    assert device.startswith(f"{driver},id=ua-vlan100,")
    assert ("host_mtu" in device) is (model is NicModel.VIRTIO)
    assert ("vhost=on" in after(found, "-netdev")[0]) is (model is NicModel.VIRTIO)


def test_boot_order_acpi_index_and_pci_address() -> None:
    spec = machine(
        guest_nic("a", boot_order=2, acpi_index=7),
        guest_nic("b", pci_address="0000:00:05.0"),
        guest_nic("c", pci_address="0000:03:00.0"),
    )
    devices = {d.split(",")[1]: d for d in after(arguments(spec), "-device") if "ua-" in d}
    assert devices["id=ua-a"].endswith(",bus=port1,host_mtu=1450,bootindex=2,acpi-index=7")
    assert ",bus=pcie.0,addr=0x05.0x0," in devices["id=ua-b"]
    assert ",bus=port3,addr=0x00.0x0," in devices["id=ua-c"]
    assert list(devices) == ["id=ua-b", "id=ua-c", "id=ua-a"], "who has an address comes before who gets one"


def test_a_pc_has_no_root_ports() -> None:
    spec = machine(guest_nic(), machine="pc")
    devices = after(arguments(spec), "-device")
    assert not [d for d in devices if "pcie-root-port" in d]
    assert [d for d in devices if ",bus=pci.0," in d]
    assert qemu.root_ports(spec, plans(spec)) == 0
    assert qemu.root_ports(machine(guest_nic("a"), guest_nic("b")), plans(machine(guest_nic("a"), guest_nic("b")))) == 6


@pytest.mark.parametrize(
    ("kvm", "model", "found"),
    [
        (True, "", ["kvm", "host"]),
        (False, "", ["tcg", "max"]),
        (True, "host-passthrough", ["kvm", "host"]),
        (False, "host-model", ["tcg", "max"]),
        (False, "Skylake-Server", ["tcg", "Skylake-Server"]),
    ],
)
def test_accelerator_and_cpu(kvm: bool, model: str, found: list[str]) -> None:
    said = arguments(machine(cpu_model=model), kvm=kvm)
    assert [*after(said, "-accel"), *after(said, "-cpu")] == found


def test_shape_of_the_machine() -> None:
    found = arguments(machine(cores=2, sockets=3, threads=2, memory=(100 << 20) + 1))
    assert after(found, "-smp") == ["cpus=12,sockets=3,cores=2,threads=2"]
    assert after(found, "-m") == ["size=101M"]
    assert after(found, "-display") == ["none"]
    assert {"-nodefaults", "-no-user-config", "-S"} <= set(found)


def test_a_kernel() -> None:
    kernel = KernelBoot(kernel="/k", initrd="/i", arguments="console=ttyS0 a=b,c")
    assert arguments(machine(kernel=kernel))[-6:] == [
        "-kernel",
        "/k",
        "-initrd",
        "/i",
        "-append",
        "console=ttyS0 a=b,c",
    ]


def test_disks_are_never_guessed_and_the_first_one_boots() -> None:
    disks = (Disk(name="a", path="/x,y.img"), Disk(name="b", path="/b.qcow2", bus="scsi", read_only=True))
    found = arguments(machine(disks=disks))
    assert after(found, "-blockdev") == [
        "driver=file,node-name=disk0-file,filename=/x,,y.img,read-only=off",
        "driver=raw,node-name=disk0,file=disk0-file,read-only=off",
        "driver=file,node-name=disk1-file,filename=/b.qcow2,read-only=on",
        "driver=qcow2,node-name=disk1,file=disk1-file,read-only=on",
    ]
    devices = after(found, "-device")
    assert "virtio-blk-pci,drive=disk0,id=disk0,bootindex=1" in devices
    assert "scsi-hd,drive=disk1,id=disk1,bus=scsi.0" in devices


def test_a_drive_without_a_cd_is_nothing_to_boot_from() -> None:
    disks = (Disk(name="cd", path="", bus="sata", read_only=True), Disk(name="a", path="/a.img"))
    found = after(arguments(machine(disks=disks)), "-device")
    assert "ide-cd,id=disk0,bus=sata.0" in found
    assert "virtio-blk-pci,drive=disk1,id=disk1,bootindex=1" in found


def test_an_order_in_the_manifest_is_the_order() -> None:
    disks = (Disk(name="a", path="/a.img"), Disk(name="b", path="/b.img", boot_order=2))
    found = after(arguments(machine(guest_nic(boot_order=1), disks=disks)), "-device")
    assert "virtio-blk-pci,drive=disk0,id=disk0" in found
    assert "virtio-blk-pci,drive=disk1,id=disk1,bootindex=2" in found


def test_cloud_inits_seed() -> None:
    spec = machine(cloud_init=CloudInit(user_data="#cloud-config\n", network_data="version: 2\n"), hostname="www")
    assert qemu.seed_files(spec, "ns/web") == {
        "meta-data": 'instance-id: "ns.web"\nlocal-hostname: "www"\n',
        "user-data": "#cloud-config\n",
        "network-config": "version: 2\n",
    }
    assert qemu.seed_files(machine(cloud_init=CloudInit(meta_data="x")), "ns/web")["meta-data"] == "x"
    assert qemu.seed_files(machine(), "ns/web") == {}
    files = qemu.MachineFiles(qmp="q", console="c", console_log="l", seed="seed")
    assert "driver=vvfat,node-name=seed,dir=seed,label=CIDATA,read-only=on" in after(
        arguments(spec, files=files), "-blockdev"
    )


# -- QMP -------------------------------------------------------------------------------------------------


def test_links_that_are_down_are_down_before_the_guest_runs() -> None:
    spec = machine(guest_nic("a"), guest_nic("b", state=LinkState.DOWN))
    assert qemu.first_commands(plans(spec)) == (
        {"execute": "set_link", "arguments": {"name": "ua-b", "up": False}},
        {"execute": "cont"},
    )


def test_a_nic_that_comes_and_goes() -> None:
    spec = machine(guest_nic("a"), guest_nic("b", state=LinkState.DOWN))
    netdev, device, down = qemu.plug(spec, plans(spec)[1])
    assert netdev["execute"] == "netdev_add"
    assert netdev["arguments"]["type"] == "tap"
    assert device["execute"] == "device_add"
    assert (device["arguments"]["id"], device["arguments"]["bus"]) == ("ua-b", "port2")
    assert down == qemu.set_link("b", up=False)
    assert qemu.unplug("b") == (
        {"execute": "device_del", "arguments": {"id": "ua-b"}},
        {"execute": "netdev_del", "arguments": {"id": "host-b"}},
    )


# -- a real QEMU -----------------------------------------------------------------------------------------


class Monitor:
    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 30
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "no monitor"
                time.sleep(0.05)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command: str | dict[str, Any], **fields: Any) -> Any:
        said = command if isinstance(command, dict) else {"execute": command, "arguments": fields}
        self.file.write(json.dumps(said) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            assert line, "QEMU is gone"
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def running(spec: MachineSpec, folder: Path) -> Iterator[Monitor]:
    """With all its arguments but for the taps, which need privileges: the NICs are on a hub inside of QEMU."""
    (folder / "seed").mkdir()
    for name, text in qemu.seed_files(spec, "ns/web").items():
        (folder / "seed" / name).write_text(text)
    files = qemu.MachineFiles(qmp="qmp.sock", console="console.sock", console_log="console.log", seed="seed")
    argv = [f"hubport,hubid=0,{a.split(',')[1]}" if a.startswith("tap,") else a for a in arguments(spec, files=files)]
    process = subprocess.Popen(["qemu-system-x86_64", *argv], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        monitor = Monitor(folder / "qmp.sock", process)
        try:
            yield monitor
            monitor("quit")
        finally:
            monitor.close()
        _, complaints = process.communicate(timeout=30)
        assert process.returncode == 0, complaints
        assert [line for line in complaints.splitlines() if "hub 0 is not connected" not in line] == []
    finally:
        process.kill()
        process.communicate()


def test_a_qemu_with_everything_takes_its_arguments(tmp_path: Path) -> None:
    for name in ("a,b.img", "b.iso", "c.img"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    spec = machine(
        *(guest_nic(f"n{i}", model=model, acpi_index=i + 1) for i, model in enumerate(NicModel)),
        guest_nic("root-bus", pci_address="0000:00:05.0"),
        guest_nic("down", state=LinkState.DOWN),
        multiqueue=True,
        cores=2,
        memory=64 << 20,
        disks=(
            Disk(name="a", path=str(tmp_path / "a,b.img")),
            Disk(name="b", path=str(tmp_path / "b.iso"), bus="sata", read_only=True),
            Disk(name="c", path=str(tmp_path / "c.img"), bus="scsi"),
            Disk(name="d", path="", bus="sata", read_only=True),
            Disk(name="e", path="", bus="scsi", read_only=True),
        ),
        cloud_init=CloudInit(user_data="#cloud-config\n"),
    )
    with running(spec, tmp_path) as monitor:
        assert monitor("query-status")["status"] == "prelaunch"
        *down, go = qemu.first_commands(plans(spec))
        for command in down:
            monitor(command)
        monitor(qemu.set_link("n0", up=False))
        monitor(qemu.set_link("n0", up=True))
        devices = monitor("query-block")
        assert {d["inserted"]["node-name"] for d in devices if d.get("inserted")} == {"disk0", "disk1", "disk2", "seed"}
        empty = [d for d in devices if "inserted" not in d]
        assert {d["qdev"] for d in empty if d["removable"]} >= {"disk3", "disk4"}, "drives without a CD"
        buses = {b["bus"]: b["devices"] for b in monitor("query-pci")}
        assert {d["qdev_id"]: d["slot"] for d in buses[0]}["ua-root-bus"] == 5
        assert len([d for d in buses[0] if d["qdev_id"].startswith("port")]) == 12
        monitor(go)
        assert monitor("query-status")["status"] == "running"
    assert (tmp_path / "console.log").exists()


def test_a_pc_takes_them_too(tmp_path: Path) -> None:
    with running(machine(*(guest_nic(f"n{i}", model=m) for i, m in enumerate(NicModel)), machine="pc"), tmp_path):
        pass


def test_a_nic_is_plugged_into_a_qemu_that_runs_and_out_again(tmp_path: Path) -> None:
    """Nobody in the guest answers, so the device stays; the port and the arguments are taken."""
    before = machine(guest_nic("a"), memory=64 << 20)
    spec = machine(guest_nic("a"), guest_nic("b", state=LinkState.DOWN))
    with running(before, tmp_path) as monitor:
        monitor(qemu.first_commands(())[-1])
        _, device, down = qemu.plug(spec, plans(spec)[1])
        monitor("netdev_add", type="hubport", hubid=1, id="host-b")
        monitor(device)
        monitor(down)
        ask, close = qemu.unplug("b")
        monitor(ask)
        monitor(close)


# -- libvirt ---------------------------------------------------------------------------------------------


def test_libvirts_interface() -> None:
    spec = machine(
        guest_nic("vlan100", mac=Mac("52:54:00:00:00:01"), state=LinkState.DOWN, acpi_index=3),
        guest_nic("b", model=NicModel.E1000, boot_order=1, pci_address="0000:02:00.0"),
        multiqueue=True,
        cores=2,
    )
    virtio, e1000 = map(interface_xml, plans(spec, mtu=9000))
    assert (
        virtio
        == """\
<interface type="ethernet">
  <source />
  <target dev="tap1dba23260aa" managed="no" />
  <model type="virtio-non-transitional" />
  <mac address="52:54:00:00:00:01" />
  <mtu size="9000" />
  <driver name="vhost" queues="2" />
  <link state="down" />
  <alias name="ua-vlan100" />
  <rom enabled="no" />
  <acpi index="3" />
</interface>
"""
    )
    assert "<rom" not in e1000
    assert '<model type="e1000" />' in e1000
    assert '<boot order="1" />' in e1000
    assert '<address type="pci" domain="0x0000" bus="0x02" slot="0x00" function="0x0" />' in e1000


def test_a_nic_for_a_qemu_of_somebody_else() -> None:
    spec = machine(guest_nic())
    assert qemu.nic_arguments(spec, plans(spec)[0]) == [
        "-netdev",
        "tap,id=host-vlan100,ifname=tap1dba23260aa,script=no,downscript=no,vhost=off",
        "-device",
        "virtio-net-pci,id=ua-vlan100,netdev=host-vlan100,mac=02:00:00:00:00:00,host_mtu=1450,romfile=",
    ]
