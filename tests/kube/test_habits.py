"""Sixty habits of kubectl, typed for an API server and for a host with the same objects, laid side by side in
`habits.txt`. What is not the same is wanted, and docs/user/kubectl.md says so."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.kube.cluster import OOB, Api, document, nad
from tests.kube.conftest import NADS
from tests.kube.habits import HABITS, Habit
from tests.unit.test_cli_look import Host

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.services.kubernetes import parts
from windrow.services.kubernetes.controlplane import ControlPlane

PAGE = Path(__file__).parents[2] / "docs/user/kubectl.md"
TABLE = Path(__file__).with_name("habits.txt")
LABELLED = {"team": "a"}
OBJECTS = (
    document("Node", "n1", labels={"rack": "r1"}),
    *OOB[:2],
    {**OOB[2], "metadata": {**OOB[2]["metadata"], "labels": {"hue": "blue"}}},
    {**nad("v200", 200), "metadata": {**nad("v200", 200)["metadata"], "labels": LABELLED}},
)
ELSEWHERE = {**nad("v300", 300), "metadata": {"name": "v300", "namespace": "team-b"}}
CALMED = (
    (re.compile(r"\b(?:\d+m)?\d+(?:\.\d+)?m?s\b"), "Ns"),
    (re.compile(r"\bNs +(?=\S)"), "Ns   "),  # a column is as wide as its longest age
    (re.compile(r"/tmp/(LIVE|MERGED)-\d+"), r"\1"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+\d{4}"), "TIME"),
    (re.compile(r"\b0\.\d\d s\b"), "N s"),
    (re.compile(r"\[?::1\]?:\d+|127\.0\.0\.1:\d+"), "SERVER"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "UID"),
    (re.compile(r"(?i)(resource ?version\"?: *)\"?\d+\"?"), r"\1N"),
)


@dataclass(frozen=True)
class Said:
    code: int
    text: str


@dataclass(frozen=True)
class Places:
    """Manifests that habits name, and how each program is asked."""

    files: dict[str, Path]
    kubectl: Path
    kubeconfig: Path
    host: Host

    def words(self, habit: Habit) -> list[str]:
        return [str(self.files.get(word, word)) for word in habit.words.split()]

    def on_cluster(self, habit: Habit) -> Said:
        stdin = self.files[habit.stdin].read_text() if habit.stdin else None
        argv = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *self.words(habit)]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        return Said(done.returncode, self._calm(done.stdout + done.stderr))

    def on_host(self, habit: Habit) -> Said:
        stdin = self.files[habit.stdin].read_text() if habit.stdin else None
        session = Session(
            root=self.host.root,
            node="n1",
            open_kernel=lambda: self.host.kernel,
            permitted=lambda: True,
            on_site=self.host.on_site,
        )
        done = CliRunner().invoke(cli, self.words(habit), obj=session, prog_name="windrow", input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, self._calm(done.stdout + done.stderr))

    def _calm(self, text: str) -> str:
        for name, path in self.files.items():
            text = text.replace(str(path), name)
        for pattern, word in CALMED:
            text = pattern.sub(word, text)
        return text.strip()


@pytest.fixture
def places(api: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    Api(api).make(document("ClusterNetwork", "mgmt"), *OBJECTS)  # a host has that one without being told
    with contextlib.suppress(urllib.error.HTTPError):  # there already, of a test before
        api.request("POST", "/api/v1/namespaces", document("Namespace", "team-b") | {"apiVersion": "v1"})
    api.request("POST", NADS.replace("/default/", "/team-b/"), ELSEWHERE)
    monkeypatch.chdir(tmp_path)
    host = Host(Path("host"))  # a place that is called the same in every run, for it is shown
    manifests = host.root / "etc/windrow/manifests"
    manifests.mkdir(parents=True)
    (manifests / "all.yaml").write_text(yaml.safe_dump_all([*OBJECTS, ELSEWHERE]))
    session = Session(
        root=host.root, node="n1", open_kernel=lambda: host.kernel, permitted=lambda: True, on_site=host.on_site
    )
    done = CliRunner().invoke(cli, ["apply"], obj=session)
    assert done.exit_code == 0, done.output
    kubectl = parts.build(["kubectl"], print)["kubectl"]
    return Places(_files(tmp_path / "files"), kubectl, api.kubeconfig(), host)


def _files(place: Path) -> dict[str, Path]:
    new, more = document("ClusterNetwork", "new"), {**OOB[1], "spec": {**OOB[1]["spec"], "description": "more"}}
    wrong = {**OOB[1], "spec": {**OOB[1]["spec"], "uplinkk": {}}}
    texts = {"NEW": [new], "SAME": OBJECTS[1:2], "MORE": [more], "WRONG": [wrong]}
    place.mkdir()
    found = {name: place / f"{name.lower()}.yaml" for name in texts}
    for name, documents in texts.items():
        found[name].write_text("---\n".join(json.dumps(one) + "\n" for one in documents))
    found["EMPTY"] = place / "empty.yaml"
    found["EMPTY"].write_text("# nothing\n")
    found["BUILD"] = place / "build"
    found["BUILD"].mkdir()
    (found["BUILD"] / "kustomization.yaml").write_text("resources: [new.yaml]\nnameSuffix: -built\n")
    (found["BUILD"] / "new.yaml").write_text(json.dumps(new))
    return found


def test_sixty_habits(places: Places, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{places.kubectl.parent}:/usr/bin:/bin")
    wrong, shown = [], []
    for habit in HABITS:
        there, here = places.on_cluster(habit), places.on_host(habit)
        shown.append(_beside(habit, there, here))
        if (there == here) is bool(habit.differs):
            wrong.append(f"{habit.words}: {'the same now' if there == here else 'not the same'}")
        ends = there.code if habit.ends is None else habit.ends
        if here.code != ends:
            wrong.append(f"{habit.words}: ends with {here.code}, kubectl with {there.code}")
    golden(TABLE, "\n".join(shown))
    assert not wrong, "\n".join([*wrong, *shown])


def _beside(habit: Habit, there: Said, here: Said) -> str:
    def indented(text: str) -> str:
        return "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())

    head = f"$ kubectl {habit.words}"
    if there == here:
        return f"{head}\n  the same, exit code {here.code}\n{indented(here.text)}"
    return (
        f"{head}\n  {habit.differs}\n  kubectl, exit code {there.code}\n{indented(there.text)}"
        f"  windrow, exit code {here.code}\n{indented(here.text)}"
    )


def test_each_difference_is_in_the_page_and_is_met() -> None:
    listed = {line.split("**")[1] for line in PAGE.read_text().splitlines() if line.startswith("- **")}
    assert listed == {habit.differs for habit in HABITS} - {""}
    assert len(HABITS) >= 60
