"""`windrow history` and `rollback`: who changed what by hand, and the way back."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests.unit.test_cli_look import OOB, Host, applied

from windrow.model.history import Applied, back_to_before
from windrow.model.values import Ref
from windrow.store.history import KEPT, History
from windrow.store.paths import Paths

NAD = """
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: v7, namespace: {space}}}
spec:
  config: '{{"type":"bridge","bridge":"oob-br","vlan":7}}'
"""

ONE, TWO = Ref("ClusterNetwork", "one"), Ref("ClusterNetwork", "two")


def entry(number: int, before: dict[Ref, dict[str, int] | None], after: dict[Ref, dict[str, int] | None]) -> Applied:
    return Applied(
        number=number, at=float(number), by="eve", origin="", command="windrow apply", before=before, after=after
    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return applied(tmp_path, OOB)


def description(host: Host) -> str:
    return host.run("get", "vc/oob-all", "-o", "jsonpath={.spec.description}").stdout.strip()


def test_the_way_back_is_to_the_first_of_what_was() -> None:
    changes = [
        entry(3, {ONE: {"v": 2}, TWO: None}, {ONE: None, TWO: {"v": 1}}),
        entry(2, {ONE: {"v": 1}}, {ONE: {"v": 2}}),
    ]
    assert back_to_before(changes, 3) == {ONE: {"v": 2}, TWO: None}
    assert back_to_before(changes, 2) == {ONE: {"v": 1}, TWO: None}


def test_the_last_ones_are_kept_and_only_for_root(tmp_path: Path) -> None:
    store = History(Paths(tmp_path))
    assert store.all() == ()
    for _ in range(KEPT + 3):
        store.add(entry(0, {ONE: None}, {ONE: {"v": 1}}))
    found = store.all()
    assert [c.number for c in found] == list(range(4, KEPT + 4)) and found[0].after == {ONE: {"v": 1}}
    directory = Paths(tmp_path).history
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}
    (directory / "000099.json").write_text("{")
    (directory / "note.txt").write_text("x")
    assert len(store.all()) == KEPT
    store.forget_since(0.0)
    assert store.all() == ()


def test_who_changed_what_from_where(host: Host) -> None:
    env = {"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.1 22", "SUDO_USER": "ada"}
    assert host.run("patch", "vc", "oob-all", "-p", "spec: {description: new}", env=env).exit_code == 0
    lines = host.run("history").stdout.splitlines()
    assert lines[0].split() == ["NUMBER", "AGE", "BY", "COMMAND", "OBJECTS"]
    assert "ada from 10.0.0.9" in lines[2] and "windrow patch" in lines[2] and lines[2].endswith("vlanconfig/oob-all")
    assert "-  description: the second pair\n+  description: new\n" in host.run("history", "2").stdout
    value = json.loads(host.run("history", "-o", "json").stdout)
    assert [len(one["objects"]) for one in value["items"]] == [3, 1]
    said = host.run("events").stdout
    assert "changed by ada from 10.0.0.9, with `windrow patch`" in said


def test_a_dry_run_and_what_changes_nothing_are_no_change(host: Host) -> None:
    assert host.run("patch", "vc", "oob-all", "-p", "spec: {description: new}", "--dry-run").exit_code == 0
    assert host.run("apply").exit_code == 0
    assert host.run("label", "vc", "oob-all", "a-").exit_code == 0
    assert len(host.run("history").stdout.splitlines()) == 2


def test_rollback_and_back_again(host: Host) -> None:
    assert host.run("patch", "vc", "oob-all", "-p", "spec: {description: new}").exit_code == 0
    result = host.run("rollback")
    assert result.exit_code == 0 and "oob-all configured" in result.stdout, result.output
    assert description(host) == "the second pair"
    assert host.run("rollback").exit_code == 0, "a rollback is a change, and can be taken back"
    assert description(host) == "new"
    assert host.run("rollback", "2").exit_code == 0
    assert description(host) == "the second pair"
    result = host.run("rollback", "1")
    assert result.exit_code == 0 and "oob-all deleted" in result.stdout, result.output
    assert host.run("get", "vc", "-o", "name").stdout == ""
    assert host.run("rollback").exit_code == 0
    assert description(host) == "the second pair"


@pytest.mark.parametrize("words", [["history", "9"], ["rollback", "9"]])
def test_a_number_that_is_not_there(host: Host, words: list[str]) -> None:
    result = host.run(*words)
    assert result.exit_code == 1 and "change 9 not found" in result.stderr and "there are 1 to 1" in result.stderr


def test_nothing_yet(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert "No changes found" in host.run("history").stderr
    assert "nothing was changed by hand yet" in host.run("rollback").stderr


def test_a_label_of_the_management_network_stands_in_no_way_back(host: Host) -> None:
    """It is built in: there was no manifest of it, and it cannot be deleted."""
    assert host.run("label", "cn", "mgmt", "site=a").exit_code == 0
    assert host.run("label", "vc", "oob-all", "rack=b").exit_code == 0
    result = host.run("rollback", "2")
    assert result.exit_code == 0, result.output
    assert "site" not in host.run("get", "cn", "mgmt", "-o", "yaml").stdout
    assert "rack" not in host.run("get", "vc", "oob-all", "-o", "yaml").stdout


@pytest.mark.parametrize(
    ("words", "broken", "way"),
    [((), 3, "`windrow edit`"), (("1",), 2, "`windrow rollback 3`"), (("2",), 2, "`windrow rollback 3`")],
)
def test_no_way_back_leads_past_a_change_that_cannot_be_read(
    host: Host, words: tuple[str, ...], broken: int, way: str
) -> None:
    for rack in "ab":
        assert host.run("label", "vc", "oob-all", f"rack={rack}", "--overwrite").exit_code == 0
    (host.root / f"var/lib/windrow/history/{broken:06}.json").write_text("{")
    result = host.run("rollback", *words)
    assert result.exit_code == 1 and f"change {broken} cannot be read" in result.stderr and way in result.stderr
    assert "rack=b" in host.run("get", "vc", "--show-labels").stdout
    listed = host.run("history")
    assert listed.exit_code == 0 and f"change {broken} cannot be read" in listed.stderr


def test_what_could_not_be_stored_is_no_change(host: Host) -> None:
    """The disk refuses the manifest, after the history had it."""
    (host.root / "etc/windrow/manifests/.vlanconfig-oob-all.yaml.new").mkdir()
    result = host.run("label", "vc", "oob-all", "rack=b")
    assert result.exit_code == 1 and "cannot write the manifest" in result.stderr, result.output
    assert "windrow label" not in host.run("history").stdout


def test_two_objects_of_one_name_are_told_apart(host: Host) -> None:
    for space in ("team-a", "team-b"):
        path = host.root / "nad.yaml"
        path.write_text(NAD.format(space=space))
        result = host.run("apply", "-f", str(path))
        assert result.exit_code == 0, result.output
    listed = host.run("history").stdout
    assert "networkattachmentdefinition/team-a/v7" in listed and "networkattachmentdefinition/team-b/v7" in listed
