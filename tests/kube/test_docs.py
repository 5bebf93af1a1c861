"""A reader types what the pages show of a cluster, with an API server's kubeconfig where kubectl looks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.blocks import Command, agrees, all_blocks
from tests.kube.cluster import Api, document, nad, uplink
from tests.kube.installed import definitions

from windrow.kube.crds import crds
from windrow.services.kubernetes import parts
from windrow.services.kubernetes.controlplane import ControlPlane

COMMANDS = [
    pytest.param(command, id=f"{block.name} {command.text[:40]}")
    for block in all_blocks()
    if block.said("tried on:") == "an API server"
    for command in block.commands
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody who has a cluster."""
    home, tools = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("tools")
    (tools / "kubectl").symlink_to(parts.build(["kubectl"], print)["kubectl"])
    with ControlPlane(tmp_path_factory.mktemp("plane"), print) as plane:
        definitions(plane, crds())
        Api(plane).make(document("Node", "n1"), document("ClusterNetwork", "oob"), uplink(), nad("v100", 100))
        (home / ".kube").mkdir()
        shutil.copy(plane.kubeconfig(), home / ".kube" / "config")
        places = (Path(sys.executable).parent, tools, "/usr/bin", "/bin")
        yield {"HOME": str(home), "PATH": os.pathsep.join(map(str, places)), "LANG": "C.UTF-8"}


def test_there_are_some() -> None:
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_types_it(reader: dict[str, str], command: Command) -> None:
    shell = ["bash", "-c", command.text]
    done = subprocess.run(shell, env=reader, cwd=reader["HOME"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "oob" in done.stdout, "it is the cluster that it looks at"
    assert not command.output or agrees(command.output, done.stdout.splitlines()), done.stdout
