"""What the picture shows of machines: from records."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from click.testing import CliRunner

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.vm.picture import machine_views
from windrow.model.attachments import Attached
from windrow.model.host import Bridge
from windrow.model.ports import PORT_GROUP
from windrow.render.topology import Health, MachineNic, MachineView
from windrow.services import process
from windrow.store.attachments import AttachmentRecords
from windrow.store.machines import MachineRecord, Machines, NicRecord, Phase
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords
from windrow.testing.builders import link, port_record, ports
from windrow.testing.fake import FakeKernel

POD_NIC = NicRecord(
    network="default",
    binding="masquerade",
    pod="eth0",
    tap="tap0",
    bridge="k6t-eth0",
    addresses=("10.0.2.2/24",),
)
VLAN_NIC = NicRecord(network="a", nad="default/v", binding="bridge", pod="pod1", tap="tap1", bridge="k6t-1", up=False)
RECORD = MachineRecord(
    namespace="default",
    name="web",
    node="n1",
    container_id="vm-1",
    netns="windrow-none",
    since=0.0,
    phase=Phase.CONNECTING,
    nics=(POD_NIC, VLAN_NIC),
)
PORT = port_record("virt-launcher-web", "oob-br", "100*", ifname="pod1", container="vm-1")
STATUS = ({"name": "pods", "interface": "eth0", "ips": ["10.52.0.2"], "default": True},)


def prepared(root: Path, record: MachineRecord = RECORD) -> Paths:
    paths = Paths(root)
    Machines(paths).put(record)
    PortRecords(paths).put(PORT)
    attached = Attached(container_id="vm-1", ifname="eth0", netns="/run/netns/n", network="windrow-vms", status=STATUS)
    AttachmentRecords(paths).put(attached)
    return paths


def test_a_machine_with_what_its_records_say(tmp_path: Path) -> None:
    paths = prepared(tmp_path)
    default = MachineNic(
        name="default",
        addrs=("10.0.2.2/24",),
        tap="tap0",
        bridge="k6t-eth0",
        translated=True,
        outside="10.52.0.2",
    )
    a = MachineNic(name="a", tap="tap1", bridge="k6t-1", port=PORT.host, up=False)
    assert machine_views(paths, [PORT]) == (MachineView(name="default/web", state="connecting", nics=(default, a)),)


def test_whether_it_still_runs(tmp_path: Path) -> None:
    me = process.found(os.getpid())
    assert me is not None
    running = dataclasses.replace(RECORD, phase=Phase.RUNNING, pid=me.pid, started=me.started)
    (view,) = machine_views(prepared(tmp_path, running), [])
    assert (view.state, view.health) == ("running", Health.UP)
    gone = dataclasses.replace(running, started=me.started + 1)
    (view,) = machine_views(prepared(tmp_path, gone), [])
    assert (view.state, view.health) == ("ended", Health.DOWN)


def test_records_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    paths = prepared(tmp_path)
    assert machine_views(Paths(tmp_path / "empty"), []) == ()
    for file in paths.attachments.iterdir():
        file.write_text("{")
    (view,) = machine_views(paths, [PORT])
    assert [nic.outside for nic in view.nics] == ["", ""]
    (Machines(paths).directory("default", "web") / "record.json").write_text("{")
    assert machine_views(paths, [PORT]) == ()


def test_topology_shows_it(tmp_path: Path) -> None:
    prepared(tmp_path)
    kernel = FakeKernel()
    kernel.add(link("oob-br", Bridge(), up=True))
    kernel.add(link(PORT.host, "veth", up=True, master="oob-br", vlans=ports("100*")), group=PORT_GROUP)
    session = Session(root=tmp_path, node="n1", open_kernel=lambda: kernel, permitted=lambda: True)
    done = CliRunner().invoke(cli, ["topology"], obj=session, prog_name="windrow")
    lines = [line.strip("│ ").rstrip() for line in done.stdout.splitlines()]
    assert lines[1:5] == [
        "virtual machines",
        "└─ ●  default/web  connecting",
        "├─ default  10.0.2.2/24 NAT 10.52.0.2            ━╳━ no bridge",
        "└─ a                                   vlan 100  ━╳━ oob-br  link down",
    ]
    svg = tmp_path / "host.svg"
    assert CliRunner().invoke(cli, ["topology", "--svg", str(svg)], obj=session).exit_code == 0
    assert ">default/web</text>" in svg.read_text()
