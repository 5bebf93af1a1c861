"""A CNI call that works alone: what its process must not load, counted once it has done its work.

`tests/arch/test_start.py` has the modules that are loaded at the beginning.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEAR = {
    *("ast", "copy", "ctypes", "datetime", "enum", "importlib", "inspect", "ipaddress", "logging", "re", "signal"),
    *("socket", "subprocess", "tempfile", "threading", "typing", "urllib.parse", "weakref", "yaml"),
    *("windrow.model.wire", "windrow.model.objects", "windrow.model.problems", "windrow.store.directory"),
}
"""Each takes a third of a millisecond or more to load, and a plain call needs none."""
CALL = """
import os, sys
from windrow.apps.cni import early, main

def end(code):
    from windrow.model.lazymodule import _Unloaded
    from windrow.apps.cni import addresses, meta
    real = [name for name, module in sys.modules.items() if not isinstance(module, _Unloaded)]
    print(*real, file=sys.stderr)
    sys.stderr.flush()
    leave(0)

leave, os._exit = os._exit, end
main.main()
"""
ANNOTATIONS = {"io.kubernetes.cri.pod-annotations": {"k8s.v1.cni.cncf.io/networks": "db/web@net7"}}


@pytest.mark.parametrize("command", ["ADD", "DEL", "STATUS"])
@pytest.mark.parametrize("kind", ["windrow", "windrow-bridge"])
def test_a_plain_call_loads_no_dear_module(command: str, kind: str, tmp_path: Path) -> None:
    """It is read in full, answered, and ends before the kernel is asked: the namespace is not there."""
    config = {"cniVersion": "1.1.0", "name": "web", "type": kind, "bridge": "br0", "clusterNetwork": "none"}
    if kind == "windrow":
        config = config | {"runtimeConfig": ANNOTATIONS if command != "ADD" else {}}
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1" if command != "STATUS" else "",
        "CNI_NETNS": str(tmp_path / "none") if command != "STATUS" else "",
        "CNI_IFNAME": "eth0" if command != "STATUS" else "",
        "CNI_ARGS": "K8S_POD_NAMESPACE=db;K8S_POD_NAME=web-0",
        "CNI_PATH": "/usr/lib/cni",
        "WINDROW_ROOT": str(tmp_path),
    }
    path = json.dumps([entry for entry in sys.path if entry])
    program = f"import sys; sys.path[:] = {path}\n{CALL}"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], env=env, input=json.dumps(config), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert {"windrow.apps.cni.dispatch", f"windrow.apps.cni.{'meta' if kind == 'windrow' else 'bridge'}"} <= loaded
    assert loaded & DEAR == set()
