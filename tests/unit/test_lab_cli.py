"""`windrow lab`, as far as it goes without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from windrow.apps.cli import lab as lab_words
from windrow.apps.cli.lab import reads_input
from windrow.apps.cli.main import cli
from windrow.lab import supervisor
from windrow.services.kubernetes import parts


def test_list() -> None:
    done = CliRunner().invoke(cli, ["lab", "list"])
    assert done.exit_code == 0
    listed = {line.split()[0] for line in done.output.splitlines()}
    assert listed >= {"seed", "three-nodes", *(f"mode-{m}" for m in MODES)}


MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")


@pytest.mark.parametrize("verb", ["run", "up"])
def test_a_scenario_that_is_not_there(verb: str) -> None:
    done = CliRunner().invoke(cli, ["lab", verb, "sead"])
    assert done.exit_code == 1
    assert "there is no scenario 'sead'" in done.output
    assert "did you mean seed?" in done.output
    assert "starting" not in done.output


@pytest.mark.parametrize(
    ("words", "lab", "theirs"),
    [
        ("-n kube-system get pods", "lab", "-n kube-system get pods"),
        ("--name a --namespace=b get pods --name c", "a", "--namespace=b get pods --name c"),
        ("--name=a -v6 get pods -h", "a", "-v6 get pods -h"),
        ("exec -i a -- sh -c x", "lab", "exec -i a -- sh -c x"),
        ("-- --help", "lab", "--help"),
        ("", "lab", ""),
    ],
)
def test_kubectl_has_all_words_but_the_name_of_the_lab(
    words: str, lab: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []
    monkeypatch.setattr(lab_words, "open_lab", lambda name: name)
    monkeypatch.setattr(lab_words, "ask", lambda _open, _request: {"controlPlane": "control"})
    monkeypatch.setattr(lab_words, "_run", lambda *said: ran.extend(said[:3]) or 7)
    done = CliRunner().invoke(cli, ["lab", "kubectl", *words.split()])
    assert (done.exit_code, ran) == (7, [lab, "control", ["kubectl", *theirs.split()]]), done.output


def test_kubectl_edits_with_the_editor_of_whoever_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(lab_words, "ask", lambda _open, _request: {"controlPlane": "control"})
    monkeypatch.setattr(lab_words, "_run", lambda *said: ran.append(said[4]) or 0)
    env = {"KUBE_EDITOR": "ed", "EDITOR": None, "KUBECTL_EXTERNAL_DIFF": None, "TERM": "vt100"}
    done = CliRunner().invoke(cli, ["lab", "kubectl", "edit", "cm", "a"], env=env)
    assert (done.exit_code, ran) == (0, [{"KUBE_EDITOR": "ed", "TERM": "vt100"}])


def test_a_lab_that_is_not_up() -> None:
    for words in (["exec", "node-0", "--", "true"], ["shell", "node-0"], ["down"], ["check"], ["topology"]):
        done = CliRunner().invoke(
            cli,
            ["lab", *words, "--name", "nobody"]
            if "--" not in words
            else ["lab", "exec", "--name", "nobody", *words[1:]],
        )
        assert done.exit_code == 1
        assert "there is no lab 'nobody'" in done.output


@pytest.mark.parametrize(
    "words", [["power-cut", "node-0"], ["boot", "node-0"], ["rename-nic", "node-0", "eth1", "enp7s0"]]
)
def test_power_and_names_are_of_a_lab_that_is_up(words: list[str]) -> None:
    done = CliRunner().invoke(cli, ["lab", *words, "--name", "nobody"])
    assert done.exit_code == 1
    assert "there is no lab 'nobody'" in done.output


def test_no_lab_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "running", lambda: ())
    assert CliRunner().invoke(cli, ["lab", "status"]).output == "no lab is up\n"
    assert json.loads(CliRunner().invoke(cli, ["lab", "status", "--json"]).output) == {}


def test_usage() -> None:
    assert CliRunner().invoke(cli, ["lab", "run"]).exit_code == 2
    assert CliRunner().invoke(cli, ["lab", "run", "seed", "--kernel", "bsd"]).exit_code == 2
    assert CliRunner().invoke(cli, ["lab", "cable", "cut", "node-0:eth0"]).exit_code == 2


@pytest.mark.parametrize("verb", ["run", "up"])
def test_machines_without_a_kernel_for_them_are_told_before_anything_starts(
    verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINDROW_GUEST", str(tmp_path))
    done = CliRunner().invoke(cli, ["lab", verb, "seed"])
    assert done.exit_code == 1
    assert f"there is no kernel for virtual machines in {tmp_path}" in done.output
    assert "make setup" in done.output
    assert "starting" not in done.output


@pytest.mark.parametrize("verb", ["run", "up"])
@pytest.mark.parametrize("words", [["native"], ["uml", "--cpus", "2"]])
def test_nothing_is_built_for_a_kernel_that_cannot_be_such_a_lab(
    verb: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(parts, "build", lambda *_: asked.append("build") or {})
    done = CliRunner().invoke(cli, ["lab", verb, "kubernetes-links", "--kernel", *words])
    assert done.exit_code == 1
    assert "--kernel qemu" in done.output
    assert asked == [] and "starting" not in done.output


def test_machines_without_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = CliRunner().invoke(cli, ["lab", "run", "seed"])
    assert done.exit_code == 1
    assert "is not installed, and this scenario has virtual machines" in done.output
    assert "starting" not in done.output


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "../x", "-x", "é", "x" * 33])
def test_the_name_of_a_lab_is_one_word(name: str) -> None:
    """`lab status` tells one per line, and what ends a lab is told as a command to type."""
    done = CliRunner().invoke(cli, ["lab", "exec", "--name", name, "node-0", "true"])
    assert done.exit_code == 2
    assert "is no name of a lab: use 1 to 32 letters" in done.stderr


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        ("apply -f -", True),
        ("apply -f- --server-side", True),
        ("apply --filename=-", True),
        ("apply -Rf -", True),
        ("create secret generic a --from-file=/dev/stdin", True),
        ("exec -i a -- sh", True),
        ("exec --stdin a -- sh", True),
        ("apply -f nad.yaml,-", True),
        ("apply --filename=-,nad.yaml", True),
        ("apply -f /dev/fd/0", True),
        ("replace -f=/proc/self/fd/0", True),
        ("exec -itc web a -- sh", True),
        ("exec -iq a -- sh", True),
        ("exec --stdin=1 a -- sh", True),
        ("run a --rm -i=true --image b", True),
        ("delete pod a --interactive", True),
        ("get pods -o wide", False),
        ("get pods -owide -Ai=x", False),
        ("exec -i=false a -- cat", False),
        ("exec --stdin=false a -- cat", False),
        ("label pod a key-", False),
        ("apply -f nad.yaml", False),
        ("delete -f nad-.yaml --wait=false", False),
        ("exec a -- cat -", False),
    ],
)
def test_a_kubectl_that_does_not_read_leaves_its_input_to_others(words: str, reads: bool) -> None:
    assert reads_input(words.split()) is reads
