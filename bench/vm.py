"""A virtual machine with a NIC in the pod network and one in a VLAN: how long its start takes, and what of it is ours.

    python -m bench.vm WHERE      as root of a network and a mount namespace of its own; prints a line, after a mark

The command is started as people start it. In the lab kernel the guest runs, too, until it has the lease of a DHCP
server in its VLAN, outside of the node; its frames are seen there. QEMU runs in software.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import MARK, Group, Row, encode
from windrow.apps.vm import start as parts
from windrow.frames.dhcp import ACK, DISCOVER
from windrow.lab.vm import image
from windrow.netlink import netns
from windrow.netlink.kernel import Kernel

WINDROW = (sys.executable, "-m", "windrow.apps.cli.main")
QEMU = f"qemu-system-{os.uname().machine}"
NODE, BRIDGE, OUTSIDE, VID = "bench", "bench-br", "bench-out", 100
GUESTS, OURS = 3, 11
LEASE_S = 120.0
KERNEL_ARGS = (
    "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check noreplace-smp "
    "apparmor=0 lsm= audit=0 cryptomgr.notests ipv6.disable=1"
)
_TIMING = re.compile(r"^ +([0-9.]+) ms  (.+)$", re.MULTILINE)
_TYPE_OPTION = re.compile(rb"\x63\x82\x53\x63\x35\x01(.)", re.DOTALL)
"""Option 53 (RFC 2132 §9.6), right after the cookie, where both sides put it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Seconds; `parts` are the ones that the command tells of. `asked` and `leased` from the command's start on."""

    whole: float
    parts: Mapping[str, float]
    asked: float = 0.0
    leased: float = 0.0

    @property
    def ours(self) -> float:
        return self.whole - self.parts[parts.QEMU]


def measure(where: str) -> Iterator[Group]:
    """With a guest that runs, where there are VLANs; then without."""
    with tempfile.TemporaryDirectory(prefix="wb") as name, Kernel() as kernel:
        directory = Path(name)
        filtering = kernel.features().vlan_filtering
        prepare(directory, filtering)
        if filtering:
            with outside(directory):
                guests = [run(directory, os.environ["PATH"], wait=True) for _ in range(GUESTS)]
            yield until_lease(where, guests)
        still = stands_still(directory)
        runs = [run(directory, still) for _ in range(OURS + 1)]
        yield alone(where, runs[1:])


# What there is ------------------------------------------------------------------------------------


def prepare(directory: Path, filtering: bool) -> None:
    """A node with the bridge of a cluster network, and the store."""
    option = " vlan_filtering 1" if filtering else ""
    batch("ip", f"link add {BRIDGE} type bridge{option}", f"link set {BRIDGE} up", "link set lo up")
    found = image.find()
    (directory / "initrd").write_bytes(image.build(found))
    store = directory / "etc/windrow/manifests"
    store.mkdir(parents=True)
    documents = manifests(found.kernel, directory / "initrd", filtering)
    (store / "bench.yaml").write_text("\n---\n".join(map(json.dumps, documents)))


def manifests(kernel: Path, initrd: Path, filtering: bool) -> list[dict[str, Any]]:
    vlan = {"vlan": VID} if filtering else {}
    config = {"cniVersion": "1.0.0", "name": "vlan", "type": "bridge", "bridge": BRIDGE, **vlan, "ipam": {}}
    boot = {"container": {"kernelPath": str(kernel), "initrdPath": str(initrd)}, "kernelArgs": KERNEL_ARGS}
    nics = [{"name": "default", "masquerade": {}}, {"name": "vlan", "bridge": {}}]
    domain = {
        "cpu": {"cores": 1, "model": "qemu64"},
        "memory": {"guest": "112Mi"},
        "firmware": {"kernelBoot": boot},
        "devices": {"interfaces": nics},
    }
    networks = [{"name": "default", "pod": {}}, {"name": "vlan", "multus": {"networkName": "vlan"}}]
    spec = {"runStrategy": "Manual", "template": {"spec": {"domain": domain, "networks": networks}}}
    return [
        document("network.harvesterhci.io/v1beta1", "ClusterNetwork", "bench"),
        document("v1", "Node", NODE, spec={"podCIDR": "10.98.0.0/24"}),
        document("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "vlan", spec={"config": json.dumps(config)}),
        document("kubevirt.io/v1", "VirtualMachine", "web", spec=spec),
    ]


def document(api: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    namespaced = kind not in ("ClusterNetwork", "Node")
    metadata = {"name": name, **({"namespace": "default"} if namespaced else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


@contextlib.contextmanager
def outside(directory: Path) -> Iterator[None]:
    """A cable from the bridge to a host with a DHCP server in the VLAN."""
    far = f"far0.{VID}"
    subprocess.run(["ip", "netns", "add", OUTSIDE], check=True)
    batch(
        "ip",
        f"link add up0 type veth peer name far0 netns {OUTSIDE}",
        f"link set up0 master {BRIDGE} up",
    )
    batch("bridge", f"vlan add dev up0 vid {VID}")
    batch(
        "ip",
        "link set far0 up",
        f"link add link far0 name {far} type vlan id {VID}",
        f"addr add 10.99.0.1/24 dev {far}",
        f"link set {far} up",
        within=OUTSIDE,
    )
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root"]
    command += [f"--dhcp-leasefile={directory}/leases", "--pid-file=", "--dhcp-authoritative", "--no-ping"]
    command += ["--log-facility=-", f"--interface={far}", "--dhcp-range=10.99.0.10,10.99.0.200,1h"]
    server = subprocess.Popen(["ip", "netns", "exec", OUTSIDE, *command], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()
        subprocess.run(["ip", "netns", "del", OUTSIDE], check=True)


def stands_still(directory: Path) -> str:
    """A PATH on which QEMU loads everything, and runs nothing."""
    place = directory / "bin"
    place.mkdir()
    (place / QEMU).write_text(f'#!/bin/sh\nexec {shutil.which(QEMU)} -S "$@"\n')
    (place / QEMU).chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


def batch(program: str, *lines: str, within: str = "") -> None:
    options = ["-n", within] if within else []
    subprocess.run([program, *options, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


# With the stopwatch -------------------------------------------------------------------------------


def run(directory: Path, path: str, *, wait: bool = False) -> Run:
    """One start, and a stop that does not count. `wait`: until the guest has its lease."""
    watch = Watch() if wait else None
    began = time.perf_counter()
    said = windrow(directory, path, "start", "--accel", "tcg", "--timings", "web")
    whole = time.perf_counter() - began
    told = {part: float(ms) / 1000 for ms, part in _TIMING.findall(said)}
    asked, leased = watch.result(began) if watch else (0.0, 0.0)
    windrow(directory, path, "stop", "--force", "web")
    return Run(whole=whole, parts=told, asked=asked, leased=leased)


def windrow(directory: Path, path: str, *words: str) -> str:
    command = [*WINDROW, "--root", str(directory), "--node", NODE, "vm", *words]
    modules = os.pathsep.join(filter(None, sys.path))  # the lab kernel's first process has them from its host
    env = {**os.environ, "PATH": path, "PYTHONPATH": modules, "CNI_PATH": "/usr/lib/cni"}
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=out, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Watch:
    """When the first DISCOVER and the first ACK after it passed the outside host's NIC in the VLAN."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._socket = netns.opened_in(OUTSIDE, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        self._socket.bind((f"far0.{VID}", 3))  # ETH_P_ALL: what leaves, too
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while ACK not in self._seen:
                frame = self._socket.recv(65536)
                if found := _TYPE_OPTION.search(frame):
                    self._seen.setdefault(found[1][0], time.perf_counter())

    def result(self, began: float) -> tuple[float, float]:
        self._thread.join(LEASE_S)
        self._socket.close()
        if ACK not in self._seen:
            raise RuntimeError(f"the guest had no lease within {LEASE_S:.0f} s")
        return self._seen[DISCOVER] - began, self._seen[ACK] - began


# What comes out -----------------------------------------------------------------------------------


def until_lease(where: str, runs: list[Run]) -> Group:
    rows = (
        row("`windrow vm start` until the guest's lease", [r.leased for r in runs]),
        row("windrow's part of it: all that the command does but for QEMU", [r.ours for r in runs]),
        row(parts.QEMU, [r.parts[parts.QEMU] for r in runs]),
        row("the guest boots, until it asks for an address", [r.asked - r.whole for r in runs]),
        row("DHCP, from DISCOVER to ACK", [r.leased - r.asked for r in runs]),
    )
    note = "A NIC in the pod network and one in a VLAN, whose DHCP server is behind the bridge's uplink. No KVM."
    return Group(title="VM start, until the guest has a lease", where=where, rows=rows, note=note)


def alone(where: str, runs: list[Run]) -> Group:
    own = "the interpreter, imports, and all that is small"
    told = list(runs[0].parts)
    rows = [row("`windrow vm start`, the whole command", [r.whole for r in runs])]
    rows += [row("windrow's part: all but QEMU", [r.ours for r in runs])]
    rows += [row(f"– {own}", [r.whole - sum(r.parts.values()) for r in runs])]
    rows += [row(f"– {part}", [r.parts[part] for r in runs]) for part in told if part != parts.QEMU]
    rows += [row(parts.QEMU, [r.parts[parts.QEMU] for r in runs])]
    note = "The same machine; QEMU loads everything and then does not run the guest (`-S`)."
    return Group(title="VM start, without the guest", where=where, rows=tuple(rows), note=note)


def row(what: str, seconds: list[float]) -> Row:
    return Row(what=what, seconds=tuple(seconds))


if __name__ == "__main__":
    for group in measure(sys.argv[1]):
        print(MARK + encode(group), flush=True)
