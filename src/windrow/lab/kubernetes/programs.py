"""What a cluster of a lab is made of, for whoever builds it on the host."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.lab.scenario import Kubernetes

_CONTROL_PLANE, _NODE = ("etcd",), ("containerd", "containerd-shim-runc-v2", "ctr", "runc")


def installed(wanted: Kubernetes) -> Sequence[str]:
    """Programs that Debian has."""
    return (*_CONTROL_PLANE, *_NODE) if wanted.kubelets else _CONTROL_PLANE


def built(wanted: Kubernetes) -> Sequence[str]:
    """Kubernetes' own."""
    return ("kube-apiserver", "kubectl", *(("kubelet",) if wanted.kubelets else ()))
