"""What a cluster of a lab is made of, for whoever builds it on the host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from windrow.lab.errors import LabError
from windrow.lab.kubernetes.flannel import PROGRAM
from windrow.lab.scenario import Kubernetes
from windrow.lab.vm.image import busybox
from windrow.services.kubernetes import parts

ENVIRONMENT = ("GOGC=25",)
"""Go collects garbage when the heap has grown by a quarter, not when it has doubled: fewer pages are touched, and
User-Mode Linux spends most of their start on page faults. Boot, an API server and three agents took 27 s of processor
time instead of 40."""
PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins puts them."""
CALLED = ("host-local", "loopback")
"""Plugins of others that containerd and Windrow's default network call."""
OF_FLANNEL = (*CALLED, "bridge")
"""And those on a node of flannel's."""
IN_PODS = {
    "curl": Path("/usr/bin/curl"),
    "netcat-openbsd": Path("/usr/bin/nc.openbsd"),
    "dash": Path("/usr/bin/dash"),
}
"""Debian package -> what it has of the programs that the suite's pods run. Debian's busybox has a `nc` without UDP, and
its shell runs that whatever is found on PATH."""
OF_SUITE = IN_PODS | {"iptables": Path("/usr/sbin/iptables-legacy")}
"""And kube-proxy."""
RUNTIME = "crun"
"""What containerd starts each container with, and each `exec`. It takes 30 ms of User-Mode Linux to start; runc, which
is made of Go, takes 90, and starts itself again for each container."""
_CONTROL_PLANE, _NODE = ("etcd",), ("containerd", "containerd-shim-runc-v2", "ctr", RUNTIME)


def installed(wanted: Kubernetes) -> Sequence[str]:
    """Programs that Debian has."""
    return (*_CONTROL_PLANE, *_NODE) if wanted.kubelets else _CONTROL_PLANE


def built(wanted: Kubernetes) -> Sequence[str]:
    """Kubernetes' own, and flannel."""
    return (
        *("kube-apiserver", "kubectl"),
        *(("kubelet",) if wanted.kubelets else ()),
        *(parts.CONTROLLERS if wanted.controllers and not wanted.conformance else ()),
        *(parts.CONFORMANCE if wanted.conformance else ()),
        *((PROGRAM,) if wanted.flannel else ()),
    )


def check(wanted: Kubernetes) -> None:
    """That this host has what pods are made of, beside programs. Raises LabError: what is missing, and what to do."""
    if not wanted.kubelets:
        return
    busybox()
    if missing := {package: path for package, path in OF_SUITE.items() if wanted.conformance and not path.exists()}:
        said = f"there is no {' and no '.join(map(str, missing.values()))}, which Kubernetes' own suite runs"
        raise LabError(said, hint=f"apt-get install {' '.join(missing)}")
    if lacks := [name for name in (OF_FLANNEL if wanted.flannel else CALLED) if not (PLUGINS / name).exists()]:
        said = f"{PLUGINS} has no {' and no '.join(lacks)}, and this scenario has pods"
        raise LabError(said, hint="apt-get install containernetworking-plugins")
