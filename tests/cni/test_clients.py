"""Real container runtimes with the installed plugins: podman with its CNI back end, and containerd by `ctr run --cni`.

Each starts a container on VLAN 100 of a cluster network, from inside of which a host behind the uplink is reached, and
ends it, after which nothing is left. Their configuration is private: what they look for in fixed places is mounted
there in a mount namespace of their own. There are no images: the root file system is a directory with busybox in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni.install import Origin, install
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel
from windrow.store.attachments import AttachmentRecords
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

PLUGINS = "/usr/lib/cni"
MAC = "52:54:00:0a:0b:0c"
GATEWAY, FIRST = "10.77.0.1", "10.77.0.100"
UPLINK, PEER = "wcli-up", "wcli-peer"

APART = "10.77.0.9"
"""In VLAN 200, behind the same uplink."""

INSIDE = f"ip -o link; ip -o -4 addr; ping -c 2 -W 5 {GATEWAY} && echo REACHED; ping -c 1 -W 2 {APART} || echo APART"
"""What runs in the container."""

COMMON = """\
set -e
mount -t tmpfs none /var/lib
mkdir -p /var/lib/cni
mount -t cgroup2 none /sys/fs/cgroup
"""

PODMAN = """\
export CONTAINERS_CONF={at}/containers.conf CONTAINERS_STORAGE_CONF={at}/storage.conf
export HOME={at} XDG_RUNTIME_DIR={at}/run TMPDIR={at}/tmp
exec podman run --rm --rootfs {networks} {at}/rootfs /bin/sh -c '{inside}'
"""
CONTAINERD = """\
mkdir -p {at}/opt
mount --rbind /opt {at}/opt
mount -t tmpfs none /opt
for old in {at}/opt/*; do new=/opt/$(basename $old); [ -d $old ] && mkdir $new && mount --rbind $old $new; done
mkdir -p /opt/cni/bin
cp {plugins}/* {at}/bin/* /opt/cni/bin/
mount --bind {at}/net.d /etc/cni/net.d
containerd -c {at}/config.toml > {at}/log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon' EXIT
n=0
until [ -S {at}/c.sock ]; do sleep 0.1; n=$((n + 1)); [ $n -lt 300 ] || {{ cat {at}/log; exit 1; }}; done
ctr -a {at}/c.sock run --rm --cni --rootfs --runtime io.containerd.runc.v2 {at}/rootfs wcli-1 /bin/sh -c '{inside}'
"""
CONFIG_TOML = """\
version = 2
root = "{at}/root"
state = "{at}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "{at}/c.sock"
[ttrpc]
address = "{at}/t.sock"
"""


class Host:
    """A host whose cluster network `oob` has an uplink; and what is behind it."""

    def __init__(self, at: Path) -> None:
        self.at, self.root = at, at / "host"
        self.fd = netns.new()
        self.peer, self.apart = netns.new(), netns.new()
        self.kernel = Kernel(self.fd)
        for line in (
            "ip link set lo up",
            "ip link add oob-br type bridge vlan_filtering 1",
            "ip link set oob-br up",
            f"ip link add {UPLINK} type veth peer name {PEER}",
            f"ip link set {UPLINK} master oob-br up",
            f"bridge vlan add dev {UPLINK} vid 100",
            f"bridge vlan add dev {UPLINK} vid 200",
        ):
            self.run(*line.split())
        self.run("ip", "link", "set", PEER, "netns", f"/proc/{os.getpid()}/fd/{self.peer}")
        self.run("ip", "link", "set", PEER, "up", at=self.peer)
        for vid, place, address in ((100, self.peer, GATEWAY), (200, self.apart, APART)):
            self.run(*f"ip link add link {PEER} name v{vid} type vlan id {vid}".split(), at=self.peer)
            if place != self.peer:
                self.run("ip", "link", "set", f"v{vid}", "netns", f"/proc/{os.getpid()}/fd/{place}", at=self.peer)
            self.run("ip", "link", "set", f"v{vid}", "up", at=place)
            self.run("ip", "addr", "add", f"{address}/24", "dev", f"v{vid}", at=place)
        self._write_files()

    def close(self) -> None:
        self.kernel.close()
        for fd in (self.fd, self.peer, self.apart):
            os.close(fd)

    def _write_files(self) -> None:
        for name in ("bin", "net.d", "tmp", "run", "graph", "host/etc/windrow/manifests"):
            (self.at / name).mkdir(parents=True)
        rootfs = self.at / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "etc", "run", "tmp"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", rootfs / "bin")
        for name in ("sh", "ip", "ping", "cat", "sleep"):
            (rootfs / "bin" / name).symlink_to("busybox")
        bridge = {"cniVersion": "0.3.1", "type": "bridge", "bridge": "oob-br", "promiscMode": True, "vlan": 100}
        ranges = [[{"subnet": "10.77.0.0/24", "rangeStart": FIRST}]]
        ipam = {"type": "host-local", "dataDir": f"{self.root}/leases", "ranges": ranges}
        manifests = self.root / "etc/windrow/manifests"
        for name, config in (("vlan100", bridge | {"ipam": ipam}), ("plain100", bridge | {"ipam": {}})):
            document = {
                "apiVersion": "k8s.cni.cncf.io/v1",
                "kind": "NetworkAttachmentDefinition",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"config": json.dumps({"name": name} | config)},
            }
            (manifests / f"{name}.json").write_text(json.dumps(document))
        install(Paths(self.root), Origin(root=str(self.root), node="n1"), self.at / "bin")

    def conflist(self, name: str, **config: Any) -> None:
        """A network as a runtime knows it: the meta plugin, which finds the rest in the manifests."""
        plugin = {"type": "windrow", "capabilities": {"mac": True, "ips": True}} | config
        text = json.dumps({"cniVersion": "0.4.0", "name": name, "plugins": [plugin]})
        (self.at / "net.d" / f"{name}.conflist").write_text(text)

    def run(self, *argv: str, at: int | None = None) -> str:
        def inside() -> subprocess.CompletedProcess[str]:
            return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)

        done = netns.opened_in(self.fd if at is None else at, inside)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def script(self, text: str, **values: str) -> str:
        """Run it in a mount namespace of its own; what the container says."""
        filled = text.format(at=self.at, plugins=PLUGINS, inside=INSIDE, **values)
        return self.run("unshare", "-m", "sh", "-c", COMMON + filled)

    def left(self) -> dict[str, Any]:
        """Everything that a container may have left."""
        observed = self.kernel.observe().state.links
        records, broken = AttachmentRecords(Paths(self.root)).all()
        return {
            "ports": [name for name, link in observed.items() if link.master == "oob-br" and name != UPLINK],
            "links": sorted(set(observed) - {"lo", "oob-br", UPLINK}),
            "leases": [path.name for path in (self.root / "leases").rglob("10.*")],
            "records": [*records, *broken, *PortRecords(Paths(self.root)).all()],
        }


NOTHING: dict[str, Any] = {"ports": [], "links": [], "leases": [], "records": []}


@pytest.fixture(scope="module")
def _host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("clients"))
    yield made
    made.close()


@pytest.fixture
def host(_host: Host) -> Host:
    for path in (_host.at / "net.d").iterdir():
        path.unlink()
    shutil.rmtree(_host.root / "leases", ignore_errors=True)  # where host-local goes on is a file there
    return _host


def interfaces(said: str) -> dict[str, str]:
    """Name -> address of each interface, by `ip -o -4 addr`."""
    words = [line.split() for line in said.splitlines() if " inet " in line]
    return {word[1]: word[3] for word in words if word[1] != "lo"}


def check(said: str) -> None:
    """VLAN 100 is reached, and no other."""
    assert "REACHED" in said, said
    assert "APART" in said, said


def test_podman(host: Host) -> None:
    """Two networks by the meta plugin; podman gives the first one's MAC and address."""
    host.conflist("first", clusterNetwork="default/vlan100")
    host.conflist("second", clusterNetwork="default/vlan100", defaultNetworks=["default/plain100"])
    places = {"at": host.at, "bin": host.at / "bin", "plugins": PLUGINS, "networks": host.at / "net.d"}
    for file in (Path(__file__).parents[1] / "podman").iterdir():
        (host.at / file.name).write_text(file.read_text().format(**places))
    first = f"first:interface_name=eth0,mac={MAC},ip=10.77.0.177"
    said = host.script(PODMAN, networks=f"--network {first} --network second:interface_name=eth1")
    check(said)
    found = interfaces(said)
    assert (sorted(found), found["eth0"]) == (["eth0", "eth1"], "10.77.0.177/24")
    assert found["eth1"].startswith("10.77.0.1"), found  # podman calls for them in any order
    assert f"link/ether {MAC}" in next(line for line in said.splitlines() if " eth0@" in line)
    assert " net1@" in said
    assert host.left() == NOTHING


def test_containerd(host: Host) -> None:
    """`ctr run --cni` takes the first configuration; the meta plugin makes two interfaces of it."""
    host.conflist("10-first", clusterNetwork="default/vlan100", defaultNetworks=["default/plain100"])
    host.conflist("20-second", clusterNetwork="nowhere")
    (host.at / "config.toml").write_text(CONFIG_TOML.format(at=host.at))
    said = host.script(CONTAINERD)
    check(said)
    assert interfaces(said) == {"eth0": f"{FIRST}/24"}
    assert " net1@" in said
    assert host.left() == NOTHING
