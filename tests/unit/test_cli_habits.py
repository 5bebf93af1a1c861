"""What people of kubectl and ip type without thinking does here what they expect of it, or says what to do."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.unit.test_cli_look import NAD, OOB, Host, applied

from windrow.apps.cli import get
from windrow.apps.cli.labwords import ThenACommand
from windrow.apps.cli.main import cli
from windrow.apps.cli.output import Again
from windrow.apps.cli.session import Session
from windrow.kube.errors import KubeError
from windrow.model.cluster import Cluster, matches_selector
from windrow.model.problems import Problem, ProblemsError
from windrow.model.wire import load_documents
from windrow.model.wire.selectors import parse_selector
from windrow.rules import changes_to, check

CN = '{"apiVersion":"network.harvesterhci.io/v1beta1","kind":"ClusterNetwork","metadata":{"name":"NAME"}}'


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return applied(tmp_path, OOB + NAD)


def completions(host: Host, *words: str, incomplete: str) -> list[str]:
    from click.shell_completion import ShellComplete

    from windrow.apps.cli.main import cli

    found = ShellComplete(cli, {}, "windrow", "_X").get_completions(["--root", str(host.root), *words], incomplete)
    return [item.value for item in found]


INTERRUPTED = ["env", "--default-signal=INT"]
"""Whoever runs the tests in the background of a shell has it ignored, and children have what they inherit."""
START = [sys.executable, "-c", "import sys; from windrow.apps.cli.main import cli; cli(sys.argv[1:])"]


# Nothing in, nothing out --------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["plan", "apply", "diff"])
@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_to_apply_nothing_is_a_mistake(host: Host, verb: str, text: str) -> None:
    path = host.root / "empty.yaml"
    path.write_text(text)
    for place in (str(path), os.devnull):
        result = host.run(verb, "-f", place)
        assert result.exit_code != 0 and "there is no manifest here" in result.stderr, result.output


def test_a_closed_standard_input_is_told(tmp_path: Path) -> None:
    argv = ["sh", "-c", 'exec "$@" <&-', "-", *START, "--root", str(tmp_path), "plan", "-f", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "error: <stdin>: it is closed" in done.stderr, done.stderr


def test_a_named_pipe_does_not_stop_us_and_is_told(host: Host) -> None:
    pipe = host.root / "pipe"
    os.mkfifo(pipe)
    result = host.run("plan", "-f", str(pipe))
    assert result.exit_code == 1 and "this is a named pipe, not a file" in result.stderr


def test_a_full_disk_behind_standard_output_is_no_fault_of_ours(host: Host) -> None:
    with Path("/dev/full").open("w") as full:
        argv = [*START, "--root", str(host.root), "get", "cn"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr == "error: <stdout> cannot be written: No space left on device\n"


# JSON ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["\n", "", " ", "\n\n  ", "\n---\n"])
def test_json_documents_one_behind_the_other(between: str) -> None:
    text = between.join(CN.replace("NAME", name) for name in ("one", "two", "three"))
    loaded = load_documents(text, "three.json")
    assert not loaded.problems
    assert [o.name for o in loaded.objects] == ["one", "two", "three"]


def test_each_of_them_is_on_its_line() -> None:
    text = CN.replace("NAME", "one") + "\n\n" + CN.replace("NAME", "No Name") + "\n"
    (problem,) = load_documents(text, "two.json").problems
    assert problem.line == 3, problem


@pytest.mark.parametrize("text", [CN + "\n{", CN + "\nx: y", "{" * 5000, '{"a": NaN} {"b": 1}'])
def test_what_is_not_all_json_is_read_as_yaml(text: str) -> None:
    assert load_documents(text, "x.json").problems


# What is not there --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("get", "nad", "v200", "-n", "default"), "there is one in namespace team-a: say it with -n"),
        (("get", "nad", "nosuch", "-n", "team-a"), "there is: v200"),
        (
            ("get", "nad", "nosuch", "-n", "nosuch"),
            "all network-attachment-definitions are in namespace default, team-a",
        ),
        (("get", "nad", "nosuch"), "there is: v100, v200"),
        (("get", "hnc", "nosuch"), "there are no hostnetworkconfigs"),
        (("describe", "nad", "v200", "-n", "default"), "there is one in namespace team-a: say it with -n"),
        (("delete", "nad", "v200", "-n", "default"), "there is one in namespace team-a: say it with -n"),
        (("delete", "vc", "nosuch"), "there is: oob-all"),
        (("delete", "vs", "oob-all-n1"), "it is derived, and goes with what it came from"),
    ],
)
def test_the_hint_says_where_it_is_or_what_else_there_is(host: Host, words: tuple[str, ...], hint: str) -> None:
    result = host.run(*words)
    assert result.exit_code == 1 and f"hint: {hint}" in " ".join(result.stderr.split()), result.stderr


# Words --------------------------------------------------------------------------------------------


@click.command(cls=ThenACommand)
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--name", default="lab")
@click.option("-i", "--stdin", is_flag=True)
def exec_(node: str, command: tuple[str, ...], name: str, stdin: bool) -> None:
    click.echo(repr((node, command, name, stdin)))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("n ip -br a", ("n", ("ip", "-br", "a"), "lab", False)),
        ("n -- ip -br a", ("n", ("ip", "-br", "a"), "lab", False)),
        ("n -i -- cat -i", ("n", ("cat", "-i"), "lab", True)),
        ("-i n cat -i --name x", ("n", ("cat", "-i", "--name", "x"), "lab", True)),
        ("--name x n ls --name y", ("n", ("ls", "--name", "y"), "x", False)),
        ("n --name x ls -- -l", ("n", ("ls", "--", "-l"), "x", False)),
        ("n --name=x ls", ("n", ("ls",), "x", False)),
    ],
)
def test_another_programs_options_are_its_own(words: str, meant: tuple[object, ...]) -> None:
    from click.testing import CliRunner

    assert CliRunner().invoke(exec_, words.split()).output == f"{meant!r}\n"


def test_namespaces_scenarios_and_faults_are_completed(host: Host) -> None:
    assert completions(host, "get", "nad", "-n", incomplete="te") == ["team-a"]
    assert "seed" in completions(host, "lab", "run", incomplete="se")
    assert "vlan-missing" in completions(host, "lab", "break", "sw:p1", incomplete="vlan-m")
    assert completions(host, "lab", "exec", "--name", "no-such-lab", incomplete="node") == []


def test_ctrl_c_ends_a_watch_in_silence(host: Host) -> None:
    argv = [*INTERRUPTED, *START, "--root", str(host.root), "events", "-w"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and said.strip() == "", said


# get ----------------------------------------------------------------------------------------------

TYPE = "{.items[*].metadata.labels.network\\.harvesterhci\\.io/type}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nad v100 -o name", "networkattachmentdefinition.k8s.cni.cncf.io/v100\n"),
        ("nad -o jsonpath={.items[*].metadata.name}", "v100 v200"),
        (f"nad -o jsonpath={TYPE}", "L2VlanNetwork L2VlanNetwork"),
        ("nad v200 -o jsonpath={.metadata.namespace}", "team-a"),
        ("nad -o jsonpath-as-json={.items[*].metadata.name}", '[\n  "v100",\n  "v200"\n]\n'),
        ("nad -o custom-columns=NAME:.metadata.name,WHERE:metadata.namespace,WHAT:.no.such",
         "NAME   WHERE     WHAT\nv100   default   <none>\nv200   team-a    <none>\n"),
        ("nad -n team-a --no-headers -o custom-columns=NAME:.metadata.name", "v200\n"),
        ("cn --no-headers --sort-by=.metadata.name", "mgmt   True\noob    True\n"),
        ("nad -l network.harvesterhci.io/vlan-id=200 -o jsonpath={.items[*].metadata.name}", "v200"),
        ("nad -l network.harvesterhci.io/vlan-id!=200 -o jsonpath={.items[*].metadata.name}", "v100"),
        ("nad -l network.harvesterhci.io/vlan-id,nosuch -o jsonpath={.items[*].metadata.name}", ""),
        ("nad --sort-by={.metadata.namespace} -o jsonpath={.items[*].metadata.namespace}", "default team-a"),
    ],
)  # fmt: skip
def test_get_as_kubectl_does(host: Host, words: str, said: str) -> None:
    result = host.run("get", *words.split())
    assert result.exit_code == 0, result.output
    assert result.stdout == said


@pytest.mark.parametrize("text", ["a in (b, c),!d,e!=f,g", "a in (b,c) , !d , e != f , g"])
def test_selectors_of_labels(text: str) -> None:
    found = parse_selector(text)
    assert matches_selector(found, {"a": "c", "g": ""})
    assert not matches_selector(found, {"a": "x", "g": ""})
    assert not matches_selector(found, {"a": "b", "g": "", "d": "1"})
    assert not matches_selector(found, {"a": "b", "g": "", "e": "f"})
    assert not matches_selector(found, {"a": "b"})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("nad -o nosuch", "'nosuch' is not one of wide, yaml, json, name, jsonpath=…"),
        ("nad -o jsonpath", "'jsonpath' is not one of"),
        ("nad -o jsonpath={.items[", "has no closing brace"),
        ("nad -o custom-columns=NAME", "'NAME' is no column: write HEADING:.path,HEADING:.path"),
        ("nad -l a~b", "'a~b' is no selector of labels"),
        ("nad v100 -l a=b", "names and -l cannot be mixed"),
        ("nad --sort-by=[", "is no step of a path"),
    ],
)
def test_what_is_wrong_with_the_options_of_get(host: Host, words: str, why: str) -> None:
    result = host.run("get", *words.split())
    assert result.exit_code == 2 and why in " ".join(result.stderr.split()), result.stderr


def test_a_watch_shows_what_changes(host: Host) -> None:
    argv = [*INTERRUPTED, *START, "--root", str(host.root), "get", "nad", "-w", "-o", "name"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(2)]
        (host.root / "more.yaml").write_text(OOB.split("---")[2].replace("100", "300"))
        assert host.run("apply", "-f", str(host.root / "more.yaml")).exit_code == 0
        assert process.stdout.readline() == "networkattachmentdefinition.k8s.cni.cncf.io/v300\n", seen
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


V100, V200 = ({"kind": "NetworkAttachmentDefinition", "metadata": {"name": name}} for name in ("v100", "v200"))


def test_a_watch_goes_on_where_nothing_can_be_seen_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An API server that is started anew is silent for seconds; it is said once, and what came meanwhile is shown."""
    monkeypatch.setattr(get, "WATCH_S", 0.0)
    silent = KubeError("the API server does not answer")
    gone = ProblemsError([Problem(code="not-found", message="there is no v100")])
    looks = iter([silent, silent, [V100], silent, gone, [V100], [V100, V200]])

    def look() -> list[Any]:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    changes = get._changes(Again(partial(get._or_gone, look)), [])
    assert [next(changes) for _ in range(3)] == [[V100], [V100], [V200]]
    assert capsys.readouterr().err == 2 * "error: the API server does not answer\n"


# Manifests from elsewhere -------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Its address; it serves the files of a directory."""
    place = tmp_path / "served"
    place.mkdir()
    (place / "cn.yaml").write_text(CN.replace("NAME", "far"))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_a_manifest_behind_an_address(host: Host, server: str) -> None:
    result = host.run("apply", "-f", f"{server}/cn.yaml")
    assert result.exit_code == 0 and "clusternetwork.network.harvesterhci.io/far created" in result.stdout
    wrong = host.run("apply", "-f", f"{server}/none.yaml")
    assert wrong.exit_code == 1 and f"{server}/none.yaml: the server answers 404" in wrong.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://", "http://[::1/x", "http://me:secret@h/x"])
def test_an_address_that_leads_nowhere(host: Host, url: str) -> None:
    result = host.run("plan", "-f", url)
    assert result.exit_code != 0 and "it cannot be fetched: " in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", id="ends early"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", id="ends in a chunk"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="is no HTTP"),
    ],
)
def test_half_of_a_manifest_is_none(host: Host, answer: bytes) -> None:
    """What is cut off may be a manifest, and another one than was meant."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as caller:
                caller.recv(4096)
                caller.sendall(answer + CN.replace("NAME", "half").encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        result = host.run("apply", "-f", f"http://127.0.0.1:{server.getsockname()[1]}/cn.yaml")
        thread.join()
    assert result.exit_code == 1 and "it cannot be fetched: " in result.stderr, result.output
    assert "windrow itself failed" not in result.stderr and "created" not in result.stdout


def test_kustomize_is_taken_from_this_host(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lacks = host.run("apply", "-k", "here")
    assert lacks.exit_code == 1 and "it is not on this host, and neither is kubectl" in lacks.stderr
    assert "install kustomize, or kubectl" in lacks.stderr
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n[ \"$1 $2\" = 'kustomize here' ] || exit 3\necho '{CN.replace('NAME', 'built')}'\n")
    program.chmod(0o755)
    result = host.run("apply", "-k", "here")
    assert result.exit_code == 0 and "clusternetwork.network.harvesterhci.io/built created" in result.stdout
    failed = host.run("plan", "-k", "there")
    assert failed.exit_code != 0 and "exit code 3" in failed.stderr


# Labels that Kubernetes refuses -------------------------------------------------------------------

BAD = "-bad-/key"


def test_a_label_that_kubernetes_refuses_is_refused_whoever_brings_it(host: Host) -> None:
    path = host.root / "bad.yaml"
    path.write_text(CN.replace('"name":"NAME"', f'"name":"bad","labels":{{"{BAD}":"x"}}'))
    patch = f'{{"metadata": {{"labels": {{"{BAD}": "x"}}}}}}'
    value = '{"metadata": {"labels": {"a": "not so!"}}}'
    note = f'{{"metadata": {{"annotations": {{"{BAD}": "x"}}}}}}'
    for words in (["apply", "-f", str(path)], *(["patch", "cn", "oob", "-p", p] for p in (patch, value, note))):
        result = host.run(*words)
        assert result.exit_code == 1, result.output
        assert "letters, digits and -_. between them, 63 at most" in result.stderr, result.output
    assert "metadata.annotations: '-bad-/key' is no key" in result.stderr
    (saved := host.root / "saved.json").write_text(CN.replace('"name":"NAME"', '"name":"oob","labels":{"a":"not so!"}'))
    editor = host.root / "editor"
    editor.write_text(f"#!/bin/sh\ncp {saved} $1\n")
    editor.chmod(0o755)
    edited = host.run("edit", "cn", "oob", env={"WINDROW_EDITOR": str(editor)})
    assert edited.exit_code == 1 and "is no value of a label" in edited.stderr


def test_what_is_stored_so_already_stands_in_nobodys_way() -> None:
    """Such a label was taken before; whatever else is changed of the object goes on."""
    (old,) = load_documents(CN.replace('"name":"NAME"', f'"name":"old","labels":{{"{BAD}":"x"}}')).objects
    new = replace(old, meta=replace(old.meta, labels={**old.meta.labels, "good": "y"}))
    before = Cluster.of([old])
    assert check(before, changes_to(before, [new])) == ()
    (problem,) = check(Cluster.of([]), changes_to(Cluster.of([]), [old]))
    assert (problem.code, problem.path) == ("label-malformed", "metadata.labels")


def test_a_key_with_a_colon_is_named_whole() -> None:
    (odd,) = load_documents(CN.replace('"name":"NAME"', '"name":"odd","labels":{"a: b":"x"}')).objects
    (problem,) = check(Cluster.of([]), changes_to(Cluster.of([]), [odd]))
    assert problem.message == "'a: b' is no key" and problem.hint.startswith("write letters")


# A host that gets a domain ------------------------------------------------------------------------


@pytest.mark.parametrize("host_name", ["n1", "n1.example.org", "N1"])
@pytest.mark.parametrize("selected", ["n1", "n1.example.org"])
def test_a_host_without_nodes_is_the_one_that_selectors_mean(tmp_path: Path, host_name: str, selected: str) -> None:
    """Its name became a full one, or lost its domain: it is no other host, and its networks are not taken down."""
    text = OOB.replace(
        "  clusterNetwork: oob\n", f"  clusterNetwork: oob\n  nodeSelector: {{kubernetes.io/hostname: {selected}}}\n"
    )
    host = Host(tmp_path)
    path = tmp_path / "oob.yaml"
    path.write_text(text)

    def run(node: str, *words: str) -> Result:
        session = Session(root=tmp_path, node=node, open_kernel=lambda: host.kernel, permitted=lambda: True)
        return CliRunner().invoke(cli, words, obj=session, prog_name="windrow")

    assert run(selected, "apply", "-f", str(path)).exit_code == 0
    assert "oob-br" in host.kernel.machine.devices
    assert "0 steps" in run(host_name, "plan").stdout or "is as its manifests want it" in run(host_name, "plan").stdout
    assert run(host_name, "apply").exit_code == 0
    assert "oob-br" in host.kernel.machine.devices
