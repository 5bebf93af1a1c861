"""What is in names and messages does not reach a terminal as something that it would obey."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner, Result

from windrow.apps.agent.log import Log
from windrow.apps.cli.door import Door
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.lab.client import LiveLog
from windrow.model.events import Event, EventType
from windrow.model.values import Ref
from windrow.render.text import PLAIN, Style, json_shown, shown
from windrow.store.events import Events
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel

CLEAR, TITLE, PASTE = "\x1b[2J", "\x1b]0;owned\x07", "\x9b6n"
EVIL = f"a{CLEAR}{TITLE}{PASTE}\x1b[8m\r\u202eb\x7f\udcff"
"""Clear the screen, set the window's title, ask for an answer (in C1, too), hide, go back, turn round."""
NAME = "e\x1b[2J\x9bx"
"""A link may be called so: no blank, no slash, no colon (`dev_valid_name`)."""


def clean(text: str) -> bool:
    return not any((ord(c) < 0x20 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\udcff" for c in text)


def run(root: Path, *words: str, kernel: FakeKernel | None = None) -> Result:
    session = Session(root=root, node="n1", open_kernel=lambda: kernel or FakeKernel())
    return CliRunner().invoke(cli, words, obj=session, prog_name="windrow")


def evil_kernel() -> FakeKernel:
    return FakeKernel().add_nic(NAME, up=True).add_nic("eth1", up=True)


# The function -------------------------------------------------------------------------------------


def test_controls_are_shown_as_their_numbers() -> None:
    wanted = r"a\x1b[2J\x1b]0;owned\x07\x9b6n\x1b[8m\x0d\u202eb\x7f\xff"
    assert shown(EVIL) == shown(EVIL, colour=True) == wanted
    assert shown("Größe ✓ \t…\n") == "Größe ✓ \t…\n"


def test_every_control_character_is_known() -> None:
    assert clean(shown("".join(map(chr, range(0x2100))) + "".join(map(chr, range(0xD800, 0xE000))), colour=True))


def test_our_colours_pass_where_they_are_asked_for() -> None:
    style = Style(colour=True)
    text = style.bold("a") + style.dim("b") + style.red("c") + style.green("d") + style.yellow("e") + style.blue("f")
    text += style.cyan("g") + "".join(style.vlan(vid, "v") for vid in range(1, 4095, 50))
    assert shown(text, colour=True) == text
    assert "\x1b" not in shown(text)


def test_json_says_the_same() -> None:
    text = json.dumps({EVIL: [EVIL, "é"]}, ensure_ascii=False)
    assert json.loads(json_shown(text)) == {EVIL: [EVIL, "é"]} and clean(json_shown(text))


# What people see ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["status"], ["topology"], ["plan"], ["diff"], ["get", "linkmonitors"]])
@pytest.mark.parametrize("colour", ["always", "never"])
def test_names_of_links(tmp_path: Path, words: list[str], colour: str) -> None:
    write_manifest(tmp_path, nic="eth9" if words == ["status"] else NAME)
    result = run(tmp_path, "--color", colour, *words, kernel=evil_kernel())
    assert clean(without_colours(result.output) if colour == "always" else result.output)
    if words[0] in ("status", "topology", "plan"):
        assert r"e\x1b[2J\x9bx" in result.output, result.output


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[(?:\d|3\d|9\d)m", "", text)


def write_manifest(root: Path, *, nic: str = "eth1", annotation: str = "x") -> None:
    place = Paths(root).manifests
    place.mkdir(parents=True)
    documents = [
        {
            "apiVersion": "network.harvesterhci.io/v1beta1",
            "kind": "ClusterNetwork",
            "metadata": {"name": "oob", "annotations": {"note": annotation}},
        },
        {
            "apiVersion": "network.harvesterhci.io/v1beta1",
            "kind": "VlanConfig",
            "metadata": {"name": "oob"},
            "spec": {"clusterNetwork": "oob", "uplink": {"nics": [nic]}},
        },
    ]
    (place / "all.yaml").write_text(yaml.safe_dump_all(documents))


def test_a_problem_that_quotes_what_it_does_not_understand(tmp_path: Path) -> None:
    write_manifest(tmp_path, nic=f"x{CLEAR}")
    result = run(tmp_path, "plan")
    assert clean(result.output), result.output
    assert r"\x1b[2J" in result.output


def test_events(tmp_path: Path) -> None:
    now = time.time()
    event = Event(type=EventType.WARNING, reason="Re", about=Ref("Node", "n"), message=EVIL, first=now, last=now)
    Events(Paths(tmp_path)).add([event])
    table = run(tmp_path, "events").output
    assert clean(table) and r"\x1b[2J" in table
    document = run(tmp_path, "events", "-o", "json").stdout
    assert clean(document) and json.loads(document)["items"][0]["message"] == EVIL


def test_a_picture_can_be_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, nic=NAME)
    picture = tmp_path / "picture.svg"
    assert run(tmp_path, "topology", "--svg", str(picture), kernel=evil_kernel()).exit_code == 0
    assert r"e\x1b[2J\x9bx" in "".join(ElementTree.parse(picture).getroot().itertext())


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents_stay_exact(tmp_path: Path, form: str, read: object) -> None:
    text = "a\x1b[2J\x85\u2028\u202e\x7fé✓"
    write_manifest(tmp_path, annotation=text)
    result = run(tmp_path, "get", "cn", "oob", "-o", form)
    assert clean(result.stdout), result.stdout
    assert callable(read) and read(result.stdout)["metadata"]["annotations"]["note"] == text


def test_the_agents_log() -> None:
    out = io.StringIO()
    Log(out).info("found", link=NAME, why=EVIL, lines="a\nb")
    assert clean(out.getvalue()) and out.getvalue().count("\n") == 1 and r"\x1b[2J" in out.getvalue()


def test_the_labs_log(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", Door(out, colour=True))
    LiveLog(colour=True).event({"text": EVIL, "level": "bad"})
    assert clean(without_colours(out.getvalue())) and r"\x1b[2J" in out.getvalue()


# The program --------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-m", "windrow.apps.cli.main"]


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_on_a_real_terminal(tmp_path: Path, env: dict[str, str]) -> None:
    """Also where Python takes the terminal for one of ASCII, and click would make a stream of its own."""
    now = time.time()
    message = EVIL.replace("\udcff", "")
    event = Event(type=EventType.WARNING, reason="Re", about=Ref("Node", "n"), message=message, first=now, last=now)
    Events(Paths(tmp_path)).add([event])
    ours, theirs = pty.openpty()
    words = [*PROGRAM, "--root", str(tmp_path), "events"]
    done = subprocess.run(words, stdout=theirs, stderr=theirs, env=os.environ | env, check=False)
    os.close(theirs)
    said = b""
    while len(chunk := read_some(ours)):
        said += chunk
    os.close(ours)
    assert done.returncode == 0
    text = without_colours(said.decode().replace("\r\n", "\n"))
    assert clean(text) and r"\x1b[2J" in text, text


def read_some(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: the other end is closed
        return b""


def test_a_style_without_colour_writes_none() -> None:
    assert shown(PLAIN.red("a")) == "a"
