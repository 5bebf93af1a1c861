"""Ports of containers and machines at the command line, and the lock that `apply` shares with CNI calls."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.lock import HostLock
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.steps import AwaitCarrier, Failure, SetLink, SetMaster, Step
from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords
from windrow.testing.builders import link, port_record, ports, step
from windrow.testing.fake import FakeKernel

OOB = """\
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: oob}}
---
{apiVersion: network.harvesterhci.io/v1beta1, kind: ClusterNetwork, metadata: {name: elsewhere}}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob-all}
spec:
  clusterNetwork: oob
  uplink: {nics: [eth1, eth2], bondOptions: {mode: active-backup}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec: {config: '{"type":"bridge","bridge":"oob-br","vlan":100}'}
"""


class Host:
    def __init__(self, root: Path, kernel: FakeKernel | None = None) -> None:
        self.root, self.paths = root, Paths(root)
        self.kernel = (kernel or FakeKernel()).add_nic("eth1", up=True).add_nic("eth2", up=True)
        (root / "oob.yaml").write_text(OOB)
        assert self.run("apply", "-f", str(root / "oob.yaml")).exit_code == 0

    def run(self, *words: str) -> Result:
        session = Session(root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True)
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def attach(self, record: PortRecord) -> PortRecord:
        PortRecords(self.paths).put(record)
        made = link(record.host, "veth", up=True, master=record.bridge, vlans=record.vlans)
        self.kernel.add(made, group=PORT_GROUP)
        return record

    def master(self, name: str) -> str:
        master = self.kernel.machine.devices[name].master
        return master.name if master else ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def machine(host: Host) -> PortRecord:
    return host.attach(port_record("virt-launcher-db", "oob-br", "100*", container="vm-0123"))


# -- drift -----------------------------------------------------------------------------------------


def test_every_verb_sees_a_port_that_lost_its_bridge_and_apply_puts_it_back(host: Host, machine: PortRecord) -> None:
    assert host.run("diff").exit_code == 0
    host.kernel.run([step(machine.host, SetMaster(None))])
    assert f"~ {machine.host}  join oob-br" in host.run("plan").stdout
    found = host.run("diff")
    assert found.exit_code == 1
    assert found.stdout == (
        f"{machine.host}  (Port/default/virt-launcher-db/net1)\n"
        "  ~ master: none → oob-br\n"
        "  ~ vlans: none → untagged 100, PVID 100\n"
    )
    status = json.loads(host.run("status", "-o", "json").stdout)
    assert status["well"] is False and status["drift"]["differences"] == 2
    assert f"{machine.host}  has lost its bridge: VM default/db (net1)" in host.run("topology").stdout
    result = host.run("apply")
    assert result.exit_code == 0, result.output
    assert host.master(machine.host) == "oob-br"
    assert host.kernel.machine.devices[machine.host].vlans == ports("100*")
    assert host.run("diff").exit_code == 0


def test_a_network_is_not_taken_from_under_a_machine(host: Host, machine: PortRecord) -> None:
    before = str(host.kernel)
    result = host.run("delete", "vc", "oob-all")
    assert result.exit_code == 1 and "nothing was changed" in result.stderr
    assert "oob-br would be deleted, and it is in use: VM default/db (net1)" in result.stderr
    assert str(host.kernel) == before
    assert "oob-all" in host.run("get", "vc").stdout
    PortRecords(host.paths).remove(machine.key)
    host.kernel.machine.delete(host.kernel.machine.get(machine.host))
    assert host.run("delete", "vc", "oob-all").exit_code == 0


def test_who_takes_a_vlan_away_that_is_used_is_told_by_whom(host: Host, machine: PortRecord) -> None:
    result = host.run("delete", "nad", "v100", "--dry-run")
    assert result.exit_code == 0
    assert "warning:" in result.stderr and "VLAN 100" in result.stderr and "VM default/db (net1)" in result.stderr
    assert host.run("delete", "nad", "v100", "--max-impact", "flap").exit_code == 1
    path = host.root / "nad.yaml"
    path.write_text(OOB.rpartition("---\n")[2].replace('"vlan":100', '"vlan":200'))
    assert "VM default/db (net1)" in host.run("plan", "-f", str(path)).stderr


# -- what is shown ---------------------------------------------------------------------------------


def test_status_and_topology_call_ports_by_their_machines(host: Host, machine: PortRecord) -> None:
    host.attach(port_record("web", "oob-br", "1* 100"))
    text = host.run("status").stdout
    assert (
        "  ports   VM default/db (net1)  vlan 100\n          pod default/web (net1)  untagged 1, tagged 100\n" in text
    )
    (network,) = [n for n in json.loads(host.run("status", "-o", "json").stdout)["clusterNetworks"] if n["ports"]]
    assert network["ports"] == 2
    assert {
        "port": machine.host,
        "user": "VM default/db (net1)",
        "vlans": {"pvid": 100, "untagged": "100", "tagged": ""},
        "state": "up",
    } in network["attachments"]
    assert f"{machine.host}  vlan 100  VM default/db (net1)" in host.run("topology").stdout
    assert host.run("topology", "--svg", str(host.root / "x.svg")).exit_code == 0
    assert "VM default/db (net1)" in (host.root / "x.svg").read_text()


def test_of_many_ports_eight_are_shown_and_the_ones_that_are_down_first(host: Host) -> None:
    records = [host.attach(port_record(f"p{n:02}", "oob-br", "100*")) for n in range(20)]
    last = max(records, key=lambda r: r.host)
    host.kernel.run([step(last.host, SetLink(up=False))])
    for verb in ("status", "topology"):
        text = host.run(verb).stdout
        assert "… 12 more ports" in text
        assert text.count("pod default/p") == 8
        assert last.endpoint in text
    assert len(json.loads(host.run("status", "-o", "json").stdout)["clusterNetworks"][-1]["attachments"]) == 20


def test_records_that_cannot_be_read_are_one_warning(host: Host, machine: PortRecord) -> None:
    for name in ("a.json", "b.json"):
        (host.paths.ports / name).write_text("{")
    result = host.run("plan")
    assert result.exit_code == 0
    assert result.stderr.count("warning:") == 1
    assert "2 port records cannot be read" in result.stderr and "a.json" in result.stderr
    assert "port records cannot be read" in host.run("status").stdout
    (host.paths.ports / "a.json").unlink()
    (host.paths.ports / "b.json").unlink()
    assert host.run("plan").stderr == ""


# -- what CNI calls read ---------------------------------------------------------------------------


def test_apply_leaves_the_names_of_all_cluster_networks_for_cni_calls(host: Host) -> None:
    """Also of those that are not on this node: a call must not make their bridges."""
    assert host.paths.cluster_networks.read_text() == "elsewhere\nmgmt\noob\n"
    assert host.run("delete", "cn", "elsewhere").exit_code == 0
    assert host.paths.cluster_networks.read_text() == "mgmt\noob\n"
    host.paths.cluster_networks.unlink()
    assert host.run("apply", "--dry-run").exit_code == 0
    assert not host.paths.cluster_networks.exists()
    assert host.run("apply").exit_code == 0
    assert host.paths.cluster_networks.read_text() == "mgmt\noob\n"


def test_a_bridge_that_could_not_be_cleared_away_is_still_among_them(host: Host, machine: PortRecord) -> None:
    for path in host.paths.manifests.rglob("*.yaml"):
        path.unlink()
    (host.paths.manifests / "nothing.yaml").write_text("# nothing\n")
    assert host.run("apply").exit_code == 1
    assert "oob" in host.paths.cluster_networks.read_text().split()


# -- the lock --------------------------------------------------------------------------------------


class Watched(FakeKernel):
    """Notes at each step whether a CNI call, and whether another apply, could have begun."""

    paths: Paths | None = None

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool, bool]] = []

    def run(self, steps: Sequence[Step]) -> Failure | None:
        if self.paths is not None:
            waits = any(isinstance(s.action, AwaitCarrier) for s in steps)
            self.seen.append((waits, _can_share(self.paths), _can_apply(self.paths)))
        return super().run(steps)


def _can_share(paths: Paths) -> bool:
    try:
        with locked(paths.lock, shared=True, timeout_s=0):
            return True
    except KernelError as error:
        if error.errno != errno.EAGAIN:
            raise
        return False


def _can_apply(paths: Paths) -> bool:
    try:
        with HostLock(paths, timeout_s=0):
            return True
    except KernelError as error:
        if error.errno != errno.EAGAIN:
            raise
        return False


def test_a_cni_call_gets_in_while_a_takeover_waits_and_another_apply_does_not(tmp_path: Path) -> None:
    kernel = Watched()
    host = Host(tmp_path, kernel)
    kernel.paths = host.paths
    (tmp_path / "oob.yaml").write_text(OOB.replace("active-backup", "balance-xor"))
    result = host.run("apply", "-f", str(tmp_path / "oob.yaml"))
    assert result.exit_code == 0, result.output
    assert (True, True, False) in kernel.seen, "the wait"
    assert {found for found in kernel.seen if not found[0]} == {(False, False, False)}, "all other steps"
    assert _can_share(host.paths) and _can_apply(host.paths)


def test_a_cni_call_at_work_makes_apply_wait_and_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is something to do: looking and planning is in nobody's way."""
    monkeypatch.setattr("windrow.apps.cli.change.LOCK_S", 0.05)
    with locked(host.paths.lock, shared=True):
        assert host.run("apply").exit_code == 0
        host.kernel.run([step("oob-bo", SetLink(up=False))])
        drifted = str(host.kernel)
        result = host.run("apply")
        assert str(host.kernel) == drifted
        assert result.exit_code == 1 and "another Windrow is at work" in result.stderr
        assert host.run("apply", "--dry-run").exit_code == 0
        assert host.run("plan").exit_code == 0
    with locked(host.paths.turn, timeout_s=0):
        assert host.run("apply").exit_code == 1
    assert host.run("apply").exit_code == 0


def test_who_raises_while_waiting_has_the_lock_again_for_what_it_undoes(host: Host) -> None:
    seen = []

    def wait_and_be_interrupted() -> None:
        with HostLock(host.paths, timeout_s=1.0) as lock:
            try:
                with lock.waiting():
                    assert _can_share(host.paths) and not _can_apply(host.paths)
                    raise KeyboardInterrupt
            finally:
                seen.append(_can_share(host.paths))

    with pytest.raises(KeyboardInterrupt):
        wait_and_be_interrupted()
    assert seen == [False]
    assert _can_share(host.paths) and _can_apply(host.paths)
