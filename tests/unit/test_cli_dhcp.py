"""`windrow dhcp`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.model.agentstatus import AgentStatus
from windrow.services.process import start_time
from windrow.store.agentstatus import write_agent_status
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_record, write_active

MANIFESTS = (Path(__file__).parents[1] / "golden/dhcp/several/manifests.yaml").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = Paths(tmp_path).manifests
    place.mkdir(parents=True)
    (place / "all.yaml").write_text(MANIFESTS)
    return tmp_path


def run(root: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--root", str(root), "--node", "n1", "dhcp", *words])


def test_what_is_written_is_recorded(root: Path) -> None:
    done = run(root, "config", "--format", "dnsmasq")
    assert done.exit_code == 0
    assert "dhcp-host=52:54:00:00:01:01,10.1.0.4,web-1" in done.stdout
    assert read_record(Paths(root))["default/vlan100"] == {
        "52:54:00:00:01:01": "10.1.0.4",
        "52:54:00:00:00:01": "10.1.0.50",
    }
    another = MANIFESTS.replace('{macAddress: "52:54:00:00:00:01"}', '{macAddress: "02:00:00:00:00:09"}')
    (Paths(root).manifests / "all.yaml").write_text(another.replace("web-1", "aaa"))
    assert "dhcp-host=52:54:00:00:01:01,10.1.0.4" in run(root, "config", "--format", "dnsmasq").stdout


def test_a_dry_run_records_nothing(root: Path) -> None:
    assert run(root, "config", "--format", "isc", "--dry-run").exit_code == 0
    assert read_record(Paths(root)) == {}


def test_one_pool(root: Path) -> None:
    done = run(root, "config", "--format", "kea", "--pool", "vlan100")
    assert [s["subnet"] for s in json.loads(done.stdout)["Dhcp4"]["subnet4"]] == ["10.1.0.0/23"]
    missing = run(root, "config", "--format", "kea", "--pool", "nope")
    assert missing.exit_code == 1
    assert "there are prod/front.end, default/vlan100" in missing.stderr


def test_bad_manifests_are_refused(root: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(MANIFESTS.replace("serverIP: 10.1.0.2", "serverIP: 10.1.0.1"))
    done = run(root, "config", "--format", "kea", "-f", str(bad))
    assert done.exit_code == 1
    assert "the server answers by an address of its own" in done.stderr


def test_status_and_leases(root: Path) -> None:
    status = json.loads(run(root, "status", "-o", "json").stdout)["pools"]
    assert [(p["pool"], p["used"], p["nodes"]) for p in status] == [
        ("prod/front.end", 2, ["n1"]),
        ("default/vlan100", 2, ["n1"]),
    ]
    assert "10.2.0.77" in run(root, "leases").stdout
    leases = json.loads(run(root, "leases", "--pool", "vlan100", "-o", "json").stdout)["leases"]
    assert [(one["address"], one["hostname"]) for one in leases] == [("10.1.0.4", "web-1"), ("10.1.0.50", "printer")]
    assert "AVAILABLE" in run(root, "status").stdout


def test_what_this_node_does(root: Path) -> None:
    paths = Paths(root)
    two = MANIFESTS.replace(
        "  networkName: default/vlan100\n  hosts", "  networkName: default/vlan100\n  nodes: [n2, n1]\n  hosts"
    )
    (paths.manifests / "all.yaml").write_text(two)

    def here() -> list[str]:
        return [pool["here"] for pool in json.loads(run(root, "status", "-o", "json").stdout)["pools"]]

    assert here() == ["no server", "no server"], "no agent"
    ticks = start_time(os.getpid()) or 0
    write_agent_status(paths, AgentStatus(node="n1", pid=os.getpid(), ticks=ticks, version="1", started=0.0))
    assert here() == ["no server", "stands by"]
    write_active(paths, ["default/vlan100"])
    assert here() == ["no server", "no server"]
    pid_file = paths.dhcp_servers / "oob-br.100" / "pid"
    pid_file.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(pid_file)]) as server:
        pid_file.write_text(str(server.pid))
        while not Path(f"/proc/{server.pid}/cmdline").read_bytes():  # execve(2) closes files before it has arguments
            time.sleep(0.001)
        assert here() == ["no server", "serves"]
        assert "serves" in run(root, "status").stdout
        server.kill()
    assert here() == ["no server", "no server"]


def test_without_pools(tmp_path: Path) -> None:
    assert "there is no pool" in run(tmp_path, "status").stdout
    assert run(tmp_path, "config", "--format", "kea").exit_code == 1
