"""`label`, `annotate`, `patch`, `edit`, `wait`, and `delete` of several: objects are changed where they stand."""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
import yaml
from tests.unit.test_cli_look import NAD, OOB, Host, applied

import windrow.apps.cli.change as cli_change
from windrow.apps.cli.main import HERE, VERBS
from windrow.apps.round import carry_out
from windrow.model.amend import assignments, faults, merged
from windrow.model.steps import DeleteLink, SetMaster
from windrow.model.values import IfName
from windrow.testing.builders import step


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return applied(tmp_path, OOB + NAD)


def document(host: Host, *words: str) -> dict[str, dict[str, object]]:
    found = yaml.safe_load(host.run("get", *words, "-o", "yaml").stdout)
    assert isinstance(found, dict)
    return found


def labels(host: Host) -> object:
    """Those of the manifest: `get` shows Harvester's as well."""
    return yaml.safe_load((host.root / "etc/windrow/manifests/vlanconfig-oob-all.yaml").read_text())["metadata"].get(
        "labels"
    )


# Labels and annotations ---------------------------------------------------------------------------


def test_a_label_is_set_changed_and_taken_away(host: Host) -> None:
    result = host.run("label", "vc", "oob-all", "rack=b", "team=x")
    assert result.exit_code == 0 and "vlanconfig.network.harvesterhci.io/oob-all configured" in result.stdout
    assert labels(host) == {"rack": "b", "team": "x"}
    result = host.run("label", "vc/oob-all", "rack=c")
    assert result.exit_code == 1 and "metadata.labels[rack]: it is 'b' already" in result.stderr
    assert "--overwrite" in result.stderr
    result = host.run("label", "vc/oob-all", "rack=c", "team-", "--overwrite", "--list")
    assert result.exit_code == 0 and result.stdout.endswith("oob-all:\n  rack=c\n"), result.output
    assert labels(host) == {"rack": "c"}
    assert host.run("label", "vc/oob-all", "rack-").exit_code == 0
    assert labels(host) is None


def test_the_same_label_again_changes_nothing(host: Host) -> None:
    assert host.run("label", "cn", "oob", "a=b").exit_code == 0
    result = host.run("label", "cn", "oob", "a=b")
    assert result.exit_code == 0 and "oob unchanged" in result.stdout


def test_an_annotation_has_its_effect(host: Host) -> None:
    result = host.run("annotate", "cn", "oob", "network.harvesterhci.io/uplink-mtu=9000")
    assert result.exit_code == 1 and "it has MTU 9000, but VlanConfig/oob-all has 1500" in result.stderr, result.output
    result = host.run("annotate", "cn", "oob", "note=x", "--dry-run=client")
    assert result.exit_code == 0 and "configured (dry run)" in result.stdout, result.output
    assert "annotations" not in (host.root / "etc/windrow/manifests/clusternetwork-oob.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["vc", "oob-all"], "say what to set (KEY=VALUE)"),
        (["vc", "oob-all", "a=b", "a-"], "a is said twice"),
        (["vc", "oob-all", "=b"], "'=b' is neither KEY=VALUE nor KEY-"),
        (["vc", "nosuch", "a=b"], 'vlanconfigs "nosuch" not found'),
        (["nosuch", "x", "a=b"], "there is no kind 'nosuch'"),
        (["vc", "a=b"], "give the names of the objects, -l LABELS, or --all"),
        (["vc", "oob-all", "--all", "a=b"], "names and -l or --all cannot be mixed"),
        (["vs", "x", "a=b"], "is not stored"),
        (["vc", "oob-all", "bad key=b"], "'bad key' is no key: write letters"),
        (["vc", "oob-all", "a=-b"], "'-b' is no value of a label"),
    ],
)
def test_what_is_wrong_with_a_label(host: Host, words: list[str], why: str) -> None:
    result = host.run("label", *words)
    assert result.exit_code != 0 and why in result.stderr, result.output


def test_several_are_labelled_at_once(host: Host) -> None:
    result = host.run("label", "nad", "--all", "a=b")
    assert result.exit_code == 2 and "in several namespaces: default, team-a" in result.stderr
    assert host.run("label", "nad", "--all", "-n", "team-a", "a=b").exit_code == 0
    assert host.run("get", "nad", "-l", "a=b", "-o", "name").stdout.strip().endswith("/v200")


# Patches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "patch", "then"),
    [  # the table of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch(there: object, patch: object, then: object) -> None:
    assert merged(there, patch) == then


@pytest.mark.parametrize(
    ("field", "key", "value", "good"),
    [
        ("labels", "rack", "b", True),
        ("labels", "example.com/rack", "B-1_x.y", True),
        ("labels", "rack", "", True),
        ("labels", "r" * 63, "v" * 63, True),
        ("labels", "r" * 64, "b", False),
        ("labels", "rack", "v" * 64, False),
        ("labels", "bad key", "b", False),
        ("labels", "a/b/c", "b", False),
        ("labels", "/rack", "b", False),
        ("labels", "Example.com/rack", "b", False),
        ("labels", "-rack", "b", False),
        ("labels", "rack", "-b-", False),
        ("labels", "rack", "ä", False),
        ("labels", "rack", "b\n", False),
        ("labels", "bad key", None, True),
        ("annotations", "note", "any text: ä\n", True),
        ("annotations", "bad key", "b", False),
    ],
)
def test_what_kubernetes_refuses_as_a_label_is_none_here(field: str, key: str, value: str | None, good: bool) -> None:
    assert bool(list(faults(field, {key: value}))) is not good


def test_assignments() -> None:
    assert assignments(["a=b", "c-", "d=", "e=f=g-"]) == {"a": "b", "c": None, "d": "", "e": "f=g-"}


def test_a_patch_changes_only_what_it_says(host: Host) -> None:
    result = host.run("patch", "vc", "oob-all", "-p", '{"spec": {"description": null, "uplink": {"nics": ["eth1"]}}}')
    assert result.exit_code == 0, result.output
    spec = document(host, "vc/oob-all")["spec"]
    assert "description" not in spec and spec["uplink"] == {"nics": ["eth1"]} and spec["clusterNetwork"] == "oob"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-p", "spec: {uplink: {nics: [eth1, eth1]}}"], "VlanConfig/oob-all: spec.uplink.nics"),
        (["-p", "spec: {vlan: 3"], "the patch, line "),
        (["-p", "[]"], "the patch is not one mapping"),
        (["-p", "metadata: {name: other}"], "its kind, name and namespace cannot be changed"),
        (["-p", "{}", "--type", "json"], "--type json is not there"),
        ([], "give -p PATCH or --patch-file FILE"),
        (["--patch-file", "/nowhere/x"], "/nowhere/x cannot be read: No such file or directory\n"),
        (["--patch-file", "/dev/zero"], "/dev/zero cannot be read: this is a device, not a file\n"),
    ],
)
def test_what_is_wrong_with_a_patch(host: Host, words: list[str], why: str) -> None:
    before = document(host, "vc/oob-all")
    result = host.run("patch", "vc", "oob-all", *words)
    assert result.exit_code != 0 and why in result.stderr, result.output
    assert document(host, "vc/oob-all") == before


# The editor ---------------------------------------------------------------------------------------


def editor(host: Host, script: str) -> dict[str, str]:
    path = host.root / "editor"
    path.write_text(f'#!/bin/sh\necho >>{host.root}/opened\ncp "$1" {host.root}/seen\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"WINDROW_EDITOR": str(path)}


def test_what_is_edited_is_carried_out(host: Host) -> None:
    result = host.run("edit", "vc", "oob-all", env=editor(host, 'sed -i "s/the second pair/edited/" "$1"'))
    assert result.exit_code == 0 and "oob-all configured" in result.stdout, result.output
    assert document(host, "vc/oob-all")["spec"]["description"] == "edited"
    assert "carried out" in (host.root / "seen").read_text()


@pytest.mark.parametrize("script", ["", ': >"$1"', 'touch "$1"', 'rm "$1"'])
def test_an_edit_of_nothing(host: Host, script: str) -> None:
    before = document(host, "vc/oob-all")
    result = host.run("edit", "vc", "oob-all", env=editor(host, script))
    assert result.exit_code == 0 and "nothing was changed" in result.stderr, result.output
    assert document(host, "vc/oob-all") == before


@pytest.mark.parametrize("text", ["s/eth2/eth1/", "s/nics:/nicks:/", "s/kind: .*/kind: Nonsense/", "s/oob-all/other/"])
def test_the_editor_opens_again_where_something_is_wrong(host: Host, text: str) -> None:
    """And gives up when nothing is mended then; the text is kept."""
    before = document(host, "vc/oob-all")
    result = host.run("edit", "vc", "oob-all", env=editor(host, f'sed -i "{text}" "$1"'))
    assert result.exit_code == 1 and "error:" in result.stderr, result.output
    assert (host.root / "opened").read_text() == "\n\n" and "# error:" in (host.root / "seen").read_text()
    kept = Path(result.stderr.split("your text is in ")[1].split()[0])
    assert kept.read_text() and document(host, "vc/oob-all") == before
    kept.unlink()


def test_what_was_mended_the_second_time_counts(host: Host) -> None:
    script = (
        f'if [ -e {host.root}/once ]; then sed -i "/nics:/,$ s/eth1$/eth2/" "$1"; sed -i "0,/eth2$/s//eth1/" "$1"; '
    )
    script += f'else touch {host.root}/once; sed -i "s/eth2/eth1/" "$1"; fi'
    result = host.run("edit", "vc", "oob-all", env=editor(host, script))
    assert result.exit_code == 0 and (host.root / "opened").read_text() == "\n\n", result.output


@pytest.mark.parametrize(
    ("name", "script", "why"),
    [
        ("nowhere", "", "cannot be started: No such file or directory"),
        ("editor", "exit 3", "ended with an error"),
        ("editor", 'printf "\\377" >"$1"', "is not UTF-8"),
    ],
)
def test_an_editor_that_fails_is_told_and_the_text_is_kept(host: Host, name: str, script: str, why: str) -> None:
    env = editor(host, script)
    result = host.run("edit", "vc", "oob-all", env={**env, "WINDROW_EDITOR": str(host.root / name)})
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and why in result.stderr, result.output
    once = f'[ -e {host.root}/once ] && exit 3; touch {host.root}/once; sed -i "s/eth2/eth1/" "$1"'
    result = host.run("edit", "vc", "oob-all", env=editor(host, once))
    assert result.exit_code == 1 and "ended with an error" in result.stderr, result.output
    Path(result.stderr.split("your text is in ")[1].split()[0]).unlink()


def test_no_place_for_the_text_of_an_editor(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    result = host.run("edit", "vc", "oob-all", env=editor(host, ""))
    assert result.exit_code == 1 and "No usable temporary directory" in result.stderr, result.output
    assert "$TMPDIR" in result.stderr


# Exit codes ---------------------------------------------------------------------------------------


def drift(host: Host) -> None:
    host.kernel.run([step("oob-br", DeleteLink())])


def test_diff_tells_a_difference_from_an_error(host: Host) -> None:
    """As kubectl: 0, 1, and more than 1."""
    assert host.run("diff").exit_code == 0
    drift(host)
    assert host.run("diff").exit_code == 1
    bad = host.root / "bad.yaml"
    bad.write_text("kind: VlanConfig\n")
    assert host.run("diff", "-f", str(bad)).exit_code == 2
    assert host.run("diff", "-f", "/nowhere/x.yaml").exit_code == 2


def test_status_has_an_exit_code_for_scripts(host: Host) -> None:
    assert host.run("status", "--exit-code").exit_code == 0
    drift(host)
    assert host.run("status").exit_code == 0
    assert host.run("status", "--exit-code").exit_code == 1
    assert host.run("status", "--exit-code", "-o", "json").exit_code == 1


# Waiting, and several -----------------------------------------------------------------------------


FULL = "vlanconfig.network.harvesterhci.io"


def test_wait_for_what_is_there_and_what_is_not(host: Host) -> None:
    result = host.run("wait", "vc", "oob-all", "--for", "jsonpath={.spec.clusterNetwork}=oob")
    assert result.exit_code == 0 and result.stdout == "vlanconfig.network.harvesterhci.io/oob-all condition met\n", (
        result.output
    )
    result = host.run("wait", "vlanstatus", "--all", "--for=condition=ready", "--timeout=0")
    assert result.exit_code == 0, result.output
    assert host.run("wait", "vc", "nosuch", "--for=delete").stdout == f"{FULL}/nosuch deleted\n"
    result = host.run("wait", "vc", "oob-all", "--for=delete", "--timeout", "0.1s")
    assert result.exit_code == 1 and "timed out waiting for delete of vlanconfig/oob-all" in result.stderr
    result = host.run("wait", "vc", "oob-all", "--for=jsonpath={.spec.nosuch}", "--timeout", "0")
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["vc", "oob-all"], "Missing option '--for'"),
        (["vc", "--for=delete"], "give names, or -l LABELS, or --all"),
        (["vc", "oob-all", "--for=ready"], "'ready' is not one of delete"),
        (["vc", "oob-all", "--for=jsonpath={.a[}"], "--for"),
        (["vc", "oob-all", "--for=delete", "--timeout=soon"], "'soon' is not a time"),
        (["vc", "oob-all", "--for=jsonpath={.spec"], "one brace without the other"),
        (["vc", "oob-all", "--for=jsonpath=.spec}"], "one brace without the other"),
    ],
)
def test_what_is_wrong_with_a_wait(host: Host, words: list[str], why: str) -> None:
    result = host.run("wait", *words)
    assert result.exit_code == 2 and why in result.stderr, result.output


def test_wait_where_there_is_nothing(host: Host) -> None:
    """As kubectl: what is gone is deleted, and of anything else nobody can say that it will come."""
    assert host.run("wait", "vc", "-l", "nosuch=x", "--for=delete").exit_code == 0
    result = host.run("wait", "vc", "-l", "nosuch=x", "--for=condition=ready")
    assert result.exit_code == 1 and result.stderr == "error: no resources found to wait for\n", result.output


def test_a_label_for_nothing_says_so(host: Host) -> None:
    result = host.run("label", "nad", "-l", "nosuch=x", "a=b")
    assert result.exit_code == 0 and result.stderr == "No resources found\n", result.output
    assert result.stdout == ""


def test_a_history_that_cannot_be_written_is_told_once(host: Host) -> None:
    history = host.root / "var/lib/windrow/history"
    shutil.rmtree(history)
    history.write_text("")
    result = host.run("label", "vc", "oob-all", "a=b")
    assert result.exit_code == 0 and "the change is in no history" in result.stderr
    assert result.stderr.count("hint:") == 1, result.stderr


def test_a_patch_of_no_object_asks_for_its_name(host: Host) -> None:
    result = host.run("patch", "vc", "-p", "{}")
    assert result.exit_code == 2 and "give the name of the object" in result.stderr and "--all" not in result.stderr


def test_a_bridge_with_ports_of_others_is_told_by_its_network(host: Host) -> None:
    host.kernel.add_nic("ve-x")
    host.kernel.run([step("ve-x", SetMaster(IfName("oob-br")))])
    result = host.run("delete", "vc", "oob-all")
    assert result.exit_code == 1 and "ClusterNetwork/oob: oob-br would be deleted" in result.stderr, result.output


def test_delete_by_label_and_all_of_a_namespace(host: Host) -> None:
    result = host.run("delete", "nad", "--all")
    assert result.exit_code == 2 and "say which with -n" in result.stderr
    result = host.run("delete", "nad", "-l", "nosuch=x")
    assert result.exit_code == 0 and "No resources found" in result.stderr
    assert host.run("delete", "nad", "-n", "team-a", "--all", "--dry-run=server").exit_code == 0
    assert host.run("get", "nad", "-o", "name").stdout.count("\n") == 2
    result = host.run("delete", "nad", "-n", "team-a", "-l", "network.harvesterhci.io/clusternetwork=oob")
    assert result.exit_code == 0 and "v200 deleted" in result.stdout, result.output
    assert host.run("delete", "nad", "--all").exit_code == 0
    assert host.run("get", "nad", "-o", "name").stdout == ""


def test_what_cannot_be_read_is_told_where_all_of_a_kind_go(host: Host) -> None:
    (host.root / "etc/windrow/manifests/bad.yaml").write_text("kind: NetworkAttachmentDefinition\nmetadata: [")
    result = host.run("delete", "nad", "-n", "team-a", "--all", "--dry-run")
    assert "bad.yaml" in result.stderr and "v200 deleted (dry run)" in result.stdout, result.output


def test_events_are_asked_for_elsewhere(host: Host) -> None:
    result = host.run("get", "events")
    assert result.exit_code == 2 and "`windrow events` shows them" in result.stderr


@pytest.mark.parametrize("verb", sorted(HERE))
def test_other_programs_verbs_lead_to_ours(host: Host, verb: str) -> None:
    result = host.run(verb, "x")
    assert result.exit_code == 2 and f"Did you mean {HERE[verb]}?" in result.stderr, result.output
    assert verb not in VERBS and (HERE[verb].split()[1].strip(",") in VERBS or verb == "config")


# Two at once --------------------------------------------------------------------------------------


def between(host: Host, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Another one's command, once, between a command's look at the store and its turn."""
    left = [words]

    def late(*given: object) -> object:
        if left:
            result = host.run(*left.pop())
            assert result.exit_code == 0, result.output
        return carry_out(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(cli_change, "carry_out", late)


@pytest.mark.parametrize(
    "words", [("label", "vc", "oob-all", "mine=1"), ("patch", "vc", "oob-all", "-p", "metadata: {labels: {mine: '1'}}")]
)
def test_two_at_once_lose_nothing(host: Host, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    between(host, monkeypatch, "label", "vc", "oob-all", "theirs=2")
    result = host.run(*words)
    assert result.exit_code == 0, result.output
    assert labels(host) == {"theirs": "2", "mine": "1"}


def test_a_label_that_another_one_has_set_meanwhile_is_not_overwritten(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(host, monkeypatch, "label", "vc", "oob-all", "rack=theirs")
    result = host.run("label", "vc", "oob-all", "rack=mine")
    assert result.exit_code == 1 and "it is 'theirs' already" in result.stderr, result.output
    assert labels(host) == {"rack": "theirs"}


def test_a_label_of_what_is_gone_meanwhile_does_not_bring_it_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    between(host, monkeypatch, "delete", "vc", "oob-all")
    result = host.run("label", "vc", "oob-all", "rack=mine")
    assert result.exit_code == 1 and '"oob-all" not found' in result.stderr, result.output


def test_what_is_edited_meanwhile_is_refused_and_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    between(host, monkeypatch, "label", "vc", "oob-all", "theirs=2")
    result = host.run("edit", "vc", "oob-all", env=editor(host, 'sed -i "s/the second pair/edited/" "$1"'))
    assert result.exit_code == 1 and "somebody else has changed it just now" in result.stderr, result.output
    assert labels(host) == {"theirs": "2"}
    kept = Path(result.stderr.split("your text is in ")[1].split()[0])
    assert "edited" in kept.read_text()
    kept.unlink()


def test_a_rollback_takes_nothing_with_it_that_came_meanwhile(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.run("label", "vc", "oob-all", "rack=b").exit_code == 0
    between(host, monkeypatch, "label", "vc", "oob-all", "theirs=2")
    result = host.run("rollback")
    assert result.exit_code == 1 and "somebody else has changed it just now" in result.stderr, result.output
    assert labels(host) == {"rack": "b", "theirs": "2"}
