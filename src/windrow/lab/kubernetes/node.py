"""A node's programs, as its operating system starts them at boot: Windrow's agent and CNI server, containerd, kubelet.

They share a mount namespace, in which the node has a /var/lib, a /var/log and a /run/netns of its own, and a control
group (cgroups(7)), by which they and all pods end at once when the power is cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from windrow.lab.errors import LabError
from windrow.lab.guest.run import Place, enter
from windrow.lab.kernel.launch import MS_REC, mount
from windrow.lab.kubernetes import flannel, image
from windrow.lab.kubernetes.flannel import Flannel
from windrow.lab.kubernetes.programs import ENVIRONMENT, RUNTIME
from windrow.model.lazy import dataclass
from windrow.netlink.enter import in_thread
from windrow.services import process
from windrow.store import records

T = TypeVar("T")

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu", "io")
"""Those that kubelet wants of version 2, and User-Mode Linux has: it has no cpuset."""
SOCKET_S, KILLED_S = 180.0, 10.0
CLUSTER_DNS = "10.53.0.10"
_RUNTIME = Path("/run/windrow")
_OF_LAB = ("bin", "kubernetes", "nodes")
"""What there is the lab's, and no node's: programs, the control plane's files, roots of all nodes."""
_MS_BIND, _MS_SHARED = 0x1000, 1 << 20
_CPU_MHZ = "cpu MHz\t\t: 2000.000\n"
_CGROUP_KILL = "cgroup.kill"
"""Since Linux 5.14: SIGKILL to all in it and below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a node is to run. `windrow`: the command, and `windrow_kubeconfig` what its agent and CNI server follow.
    `kubelet_kubeconfig`: None, it runs no pods; `proxy_kubeconfig`: None, nobody serves the addresses of Services.
    `images`: archives that its containerd imports. `flannel`: None, it has Windrow's agent; with `agent` false neither
    one, until it comes as a pod."""

    name: str
    addresses: Sequence[str]
    windrow: str
    windrow_kubeconfig: Path
    kubelet_kubeconfig: Path | None
    proxy_kubeconfig: Path | None
    images: Sequence[Path]
    flannel: Flannel | None = None
    agent: bool = True


class NodePrograms:
    """Of one node with power. `start` once; `kill` ends it."""

    def __init__(self, plan: Plan, place: Place, root: Path, programs: Mapping[str, str]) -> None:
        self._plan, self._place, self._root, self._programs = plan, place, root, programs
        self._running: dict[str, process.Program] = {}
        self.mounts = -1
        """An fd of their mount namespace."""
        self._group = -1
        """An fd of the node's control group: it is mounted there alone."""

    @property
    def bin_dir(self) -> Path:
        return self._root / "opt/cni/bin"

    @property
    def conf_dir(self) -> Path:
        return self._root / "etc/cni/net.d"

    def start(self) -> None:
        """Raises LabError, ServiceError."""
        _in_place(self._place, self._start)

    def died(self) -> str:
        """Which one is not there any more, and its last words; empty: all are."""
        ended = {name: error for name, program in self._running.items() if (error := program.died()) is not None}
        return "; ".join(f"{name} has ended: {error.reason}" for name, error in ended.items())

    def kill(self) -> None:
        """At once, and their pods with them, as if the power was cut."""
        if self._group >= 0:
            self._kill_group()
        for program in self._running.values():
            process.end(program.process, patience_s=0.0)
        for fd in (self.mounts, self._group):
            if fd >= 0:
                os.close(fd)
        self.mounts = self._group = -1

    def _kill_group(self) -> None:
        """All in it and below are gone when this returns, unless one cannot die."""
        group = Path(f"/proc/self/fd/{self._group}")
        (group / _CGROUP_KILL).write_text("1")
        end = time.monotonic() + KILLED_S
        while "populated 1" in (group / "cgroup.events").read_text() and time.monotonic() < end:
            time.sleep(0.05)
        # A boot begins with new ones. Seen with Linux 6.1.176: whatever crun starts from a group that was killed once,
        # dies at once ("write to sync socket: Broken pipe"), and so the node would have no pods any more.
        for place, below, _ in os.walk(group, topdown=False):
            for name in below:
                with contextlib.suppress(OSError):
                    os.rmdir(Path(place) / name)

    def open(self, path: str) -> int:
        """An fd of what is there among the node's own mounts. Raises LabError."""
        return _in_place(replace(self._place, mounts=self.mounts), lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    # Starting -------------------------------------------------------------------------------------

    def _start(self) -> None:
        """In a thread that has entered the node."""
        self.mounts = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        logs = self._root / "var/log"
        records.make_place(logs, flush=False)
        if self._plan.kubelet_kubeconfig is not None:
            self._mount()
            containerd = [self._programs["containerd"], "--config", str(self._containerd_config())]
            self._run("containerd", ENVIRONMENT, containerd)
            self._import_images()
            self._run("kubelet", ENVIRONMENT, self._kubelet_command(self._plan.kubelet_kubeconfig))
            if self._plan.flannel is None:
                self._run_windrow("cni", "cni", "serve", "--conf-dir", str(self.conf_dir))
            else:
                self._plan.flannel.write_network(self.conf_dir)
        if self._plan.proxy_kubeconfig is not None:
            environment = (*ENVIRONMENT, f"PATH={self._legacy_iptables()}:{os.environ['PATH']}")
            self._run("kube-proxy", environment, self._proxy_command(self._plan.proxy_kubeconfig))
        if self._plan.flannel is not None:
            command = self._plan.flannel.command(self._programs[flannel.PROGRAM], self._root / "etc/kube-flannel")
            own = flannel.environment(self._plan.name, self._root / "run")
            self._run(flannel.PROGRAM, [*ENVIRONMENT, *own], command)
        elif self._plan.agent:
            self._run_windrow("agent", "agent")

    def _run_windrow(self, name: str, *words: str) -> None:
        variables = {**self._place.env, "WINDROW_KUBECONFIG": str(self._plan.windrow_kubeconfig)}
        self._run(name, [f"{key}={value}" for key, value in variables.items()], [self._plan.windrow, *words])

    def _run(self, name: str, environment: Sequence[str], command: Sequence[str]) -> None:
        log = self._root / "var/log" / f"{name}.log"
        command = ["env", *environment, *command]
        if self._plan.kubelet_kubeconfig is not None:
            command = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self._cgroup / "cgroup.procs"), *command]
        self._running[name] = process.start(command, directory=self._root, log=log)

    @property
    def _cgroup(self) -> Path:
        """Of the node's own programs. Beside it are its pods': only a leaf has processes (cgroups(7))."""
        return CGROUPS / self._plan.name / "system"

    def _mount(self) -> None:
        """Raises LabError."""
        for below in ("var/lib", "var/log"):
            own = self._root / below
            own.mkdir(parents=True, exist_ok=True)
            mount(str(own), f"/{below}", flags=_MS_BIND)
        mount("tmpfs", "/run/netns", "tmpfs", options="mode=755")
        if not self._plan.agent:
            self._give_places()
        mount("cgroup2", str(CGROUPS), "cgroup2")
        self._cgroup.mkdir(parents=True, exist_ok=True)
        _give_controllers(CGROUPS)
        _give_controllers(CGROUPS / self._plan.name)
        self._group = os.open(CGROUPS / self._plan.name, os.O_PATH | os.O_CLOEXEC)
        self._tell_processors()

    def _give_places(self) -> None:
        """What an agent that is a pod has of its node (the chart's hostPath volumes) is the node's, under the names
        that it has outside of a lab; with /var/lib, so is /var/lib/windrow."""
        made = self._root / "etc-made"
        for name in ("upper/windrow", "work"):
            (made / name).mkdir(parents=True, exist_ok=True)
        mount("overlay", "/etc", "overlay", options=f"lowerdir=/etc,upperdir={made}/upper,workdir={made}/work")
        settings, runtime = self._root / "etc/windrow", self._root / "run/windrow"
        settings.mkdir(parents=True, exist_ok=True)
        mount(str(settings), "/etc/windrow", flags=_MS_BIND)
        lab = os.open(_RUNTIME, os.O_PATH | os.O_CLOEXEC)
        for name in _OF_LAB:
            (runtime / name).mkdir(parents=True, exist_ok=True)
        mount(str(runtime), str(_RUNTIME), flags=_MS_BIND)
        for name in _OF_LAB:
            mount(f"/proc/self/fd/{lab}/{name}", str(_RUNTIME / name), flags=_MS_BIND | MS_REC)
        os.close(lab)
        # A container may ask to see what is mounted there later (mountPropagation), and the runtime looks for this.
        mount("", "/run/netns", flags=_MS_SHARED)

    def _tell_processors(self) -> None:
        """kubelet reads the clock's speed there, and User-Mode Linux does not tell one."""
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        if "cpu MHz" not in text:
            copy = self._root / "cpuinfo"
            copy.write_text("\n".join(f"{one.rstrip()}\n{_CPU_MHZ}" for one in text.rstrip().split("\n\n")) + "\n")
            mount(str(copy), "/proc/cpuinfo", flags=_MS_BIND)

    # containerd -----------------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        return self._root / "run/containerd.sock"

    def _containerd_config(self) -> Path:
        path = self._root / "etc/containerd.toml"
        text = _CONTAINERD.format(
            root=self._root, socket=self.socket, pause=image.PAUSE, runtime=self._programs[RUNTIME]
        )
        records.make_place(path.parent, flush=False)
        records.write(path, text.encode(), mode=records.SHARED, flush="nothing")
        return path

    def _import_images(self) -> None:
        """At the node's first boot; its disk keeps them."""
        done = self._root / "var/lib/images-imported"
        self._await_socket()
        if done.exists():
            return
        ctr = [self._programs["ctr"], "--address", str(self.socket), "--namespace", "k8s.io", "images"]
        for archive in self._plan.images:
            process.run([*ctr, "import", str(archive)], timeout_s=SOCKET_S)
        done.touch()

    def _await_socket(self) -> None:
        """By connecting: each program that would ask takes a second of User-Mode Linux to start."""
        end = time.monotonic() + SOCKET_S
        while not _listens(self.socket):
            if said := self.died():
                raise LabError(f"{self._plan.name}: {said}")
            if time.monotonic() > end:
                raise LabError(f"{self._plan.name}: containerd does not answer within {SOCKET_S:.0f} s")
            time.sleep(0.1)

    # kubelet --------------------------------------------------------------------------------------

    def _kubelet_command(self, kubeconfig: Path) -> list[str]:
        path = self._root / "etc/kubelet.json"
        document = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self._plan.addresses[0],
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._plan.name}",
            # Nobody answers there; without one, kubelet writes an event for each pod at each look.
            "clusterDNS": [CLUSTER_DNS],
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            "staticPodPath": str(self._static_pods()),
            "syncFrequency": "10s",
        }
        records.write(path, json.dumps(document, indent=1).encode(), mode=records.SHARED, flush="nothing")
        return [
            *(self._programs["kubelet"], f"--config={path}", f"--kubeconfig={kubeconfig}"),
            *(f"--hostname-override={self._plan.name}", f"--node-ip={','.join(self._plan.addresses)}"),
        ]

    def _static_pods(self) -> Path:
        """A directory whose Pods it runs without being told by an API server, as kubeadm sets it up."""
        directory = self._root / "etc/kubernetes/manifests"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    # kube-proxy -----------------------------------------------------------------------------------

    def _legacy_iptables(self) -> Path:
        """A directory: what kube-proxy calls iptables is the one that every lab kernel has the families of."""
        directory = self._root / "etc/iptables-legacy"
        directory.mkdir(parents=True, exist_ok=True)
        for family in ("iptables", "ip6tables"):
            for what in ("", "-save", "-restore"):
                link = directory / f"{family}{what}"
                link.unlink(missing_ok=True)
                link.symlink_to(f"/usr/sbin/{family}-legacy{what}")
        return directory

    def _proxy_command(self, kubeconfig: Path) -> list[str]:
        return [
            *(self._programs["kube-proxy"], f"--kubeconfig={kubeconfig}", f"--hostname-override={self._plan.name}"),
            *("--proxy-mode=iptables", "--detect-local-mode=NodeCIDR", "--conntrack-max-per-core=0"),
        ]


_CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "{root}/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
                    "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runtime}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{root}/opt/cni/bin"
    conf_dir = "{root}/etc/cni/net.d"
"""


def _give_controllers(group: Path) -> None:
    """One by one: a group is refused all if it is refused one. Those that the kernel lacks, nobody can give."""
    there = (group / "cgroup.controllers").read_text().split()
    for name in CONTROLLERS:
        if name in there:
            (group / "cgroup.subtree_control").write_text(f"+{name}")


def _listens(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
        return True
    return False


def _in_place(place: Place, fn: Callable[[], T]) -> T:
    """In a thread that has entered `place`, and ends with its work. Raises what `fn` raises, and LabError."""
    try:
        return in_thread(lambda: enter(place), fn)
    except OSError as error:
        raise LabError(f"{place.name} does not come up: {error}") from error
