"""`windrow agent`, its log and its unit, `windrow events`: all that is not the network."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from windrow.apps.agent import unit
from windrow.apps.agent.holder import holder_of
from windrow.apps.agent.log import Log
from windrow.apps.agent.unit import NAME, unit_text
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.model.events import Event, EventType
from windrow.model.values import Ref
from windrow.netlink.lock import locked
from windrow.render.events import age, events_table
from windrow.services import systemd
from windrow.store.events import Events
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel

OOB = Ref("VlanConfig", "oob")


def run(root: Path, *words: str, may: bool = True) -> Result:
    kernel = FakeKernel()
    session = Session(root=root, node="n1", open_kernel=lambda: kernel, permitted=lambda: may)
    return CliRunner().invoke(cli, words, obj=session, prog_name="windrow")


def happened(message: str, at: float, type_: EventType = EventType.NORMAL) -> Event:
    return Event(type=type_, reason="Repaired", about=OOB, message=message, first=at - 60, last=at, count=2)


# -- the log ---------------------------------------------------------------------------------------


def test_a_line_for_people() -> None:
    out = io.StringIO()
    log = Log(out, clock=lambda: 1e9 + 0.25)
    log.info("done", link="oob-bo", step="set miimon 100", nothing="")
    log.warning("two\nlines \udcff", why=OOB)
    assert out.getvalue().splitlines() == [
        '2001-09-09T01:46:40.250Z info    done link=oob-bo step="set miimon 100"',
        "2001-09-09T01:46:40.250Z warning two; lines \\xff why=VlanConfig/oob",
    ]


def test_a_line_for_journald_and_one_for_programs() -> None:
    out = io.StringIO()
    Log(out, journal=True).error("bad", errno=5)
    assert out.getvalue() == "<3>bad errno=5\n"
    out = io.StringIO()
    Log(out, "json", clock=lambda: 1e9).error("bad", errno=5, why=OOB)
    assert json.loads(out.getvalue()) == {
        "time": "2001-09-09T01:46:40.000Z",
        "level": "error",
        "message": "bad",
        "errno": 5,
        "why": "VlanConfig/oob",
    }


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_log_that_nobody_takes_does_not_matter() -> None:
    Log(Full()).info("x")


# -- the unit --------------------------------------------------------------------------------------


@pytest.fixture
def all_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write below /tmp, and a checkout may be anywhere."""
    monkeypatch.setattr(unit, "HIDDEN", {})


@pytest.mark.usefixtures("all_is_seen")
def test_the_unit_is_written_and_says_how_to_start_it(tmp_path: Path) -> None:
    result = run(tmp_path / "root dir", "agent", "install", "--unit-dir", str(tmp_path / "units"))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "units" / NAME).read_text()
    assert f'--root "{tmp_path}/root dir" --node n1 agent\n' in text
    assert f"systemctl enable --now {NAME}" in result.output


def test_what_systemd_would_understand_otherwise_is_quoted() -> None:
    text = unit_text(["/opt/100%/w", "a b", '"', "$HOME"], Paths())
    assert 'ExecStart=/opt/100%%/w "a b" "\\"" $$HOME\n' in text


@pytest.mark.usefixtures("all_is_seen")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Each line by its form; and by systemd itself where there is one."""
    assert run(Path("/"), "agent", "install", "--unit-dir", str(tmp_path)).exit_code == 0
    lines = [line for line in (tmp_path / NAME).read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    assert [line for line in lines if not re.fullmatch(r"\[\w+\]|[A-Z]\w+=\S?.*", line)] == []
    if shutil.which("systemd-analyze"):
        words = ["systemd-analyze", "verify", str(tmp_path / NAME)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stderr == "", done.stderr


def test_what_is_hidden_is_what_the_unit_hides() -> None:
    lines = unit_text(["windrow"], Paths()).splitlines()
    assert set(unit.HIDDEN) <= set(lines)


def test_a_windrow_that_the_unit_would_not_see_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own path, by where a link leads to, and with all that is wrong at once. Nothing is written."""
    home, units = tmp_path / "home", tmp_path / "units"
    program = home / "venv/bin/python3"
    program.parent.mkdir(parents=True)
    program.with_name("windrow").touch()
    (tmp_path / "opt").symlink_to(home / "venv")
    monkeypatch.setattr(unit, "HIDDEN", {"ProtectHome=yes": (home,)})
    monkeypatch.setattr(sys, "executable", str(tmp_path / "opt/bin/python3"))
    result = run(Path("/"), "--kubeconfig", f"{home}/.kube/config", "agent", "install", "--unit-dir", str(units))
    assert result.exit_code == 1 and not units.exists()
    assert f"{tmp_path}/opt/bin/windrow: the unit does not see it (ProtectHome=yes)" in result.stderr
    assert f"{home}/.kube/config: the unit does not see it (ProtectHome=yes)" in result.stderr
    assert "python3 -m venv /opt/windrow" in result.stderr and "/etc/windrow/kubeconfig" in result.stderr
    assert "--root" not in result.stderr


def test_the_users_own_kubeconfig_is_not_the_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "HIDDEN", {"ProtectHome=yes": (tmp_path,)})
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = run(Path("/"), "--context", "lab", "agent", "install", "--unit-dir", str(tmp_path / "units"))
    assert refused.exit_code == 1 and f"{tmp_path}/.kube/config" in refused.stderr


@pytest.mark.usefixtures("all_is_seen")
def test_a_kubeconfig_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(Path("/"), "--kubeconfig", "kube.conf", "agent", "install", "--unit-dir", ".").exit_code == 0
    assert f"--kubeconfig {tmp_path}/kube.conf " in (tmp_path / NAME).read_text()


@pytest.mark.usefixtures("all_is_seen")
def test_the_unit_is_taken_away_again(tmp_path: Path) -> None:
    there = ("--unit-dir", str(tmp_path))
    assert run(Path("/"), "agent", "install", *there).exit_code == 0
    wants = tmp_path / "multi-user.target.wants"
    wants.mkdir()
    (wants / NAME).symlink_to(tmp_path / NAME)
    refused = run(Path("/"), "agent", "uninstall", *there)
    assert refused.exit_code == 1 and f"systemctl disable --now {NAME}" in refused.stderr
    assert (tmp_path / NAME).exists()
    (wants / NAME).unlink()
    done = run(Path("/"), "agent", "uninstall", *there)
    assert done.exit_code == 0 and "daemon-reload" in done.output and not (tmp_path / NAME).exists()
    again = run(Path("/"), "agent", "uninstall", *there)
    assert again.exit_code == 1 and "is not there" in again.stderr


@pytest.mark.usefixtures("all_is_seen")
def test_one_that_systemd_starts_stays_wherever_it_lies(tmp_path: Path) -> None:
    """`systemctl enable` makes its link in /etc/systemd/system, wherever the unit is."""
    there = ("--unit-dir", str(tmp_path / "usr/lib/systemd/system"))
    assert run(tmp_path, "agent", "install", *there).exit_code == 0
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / NAME).symlink_to(f"/usr/lib/systemd/system/{NAME}")
    refused = run(tmp_path, "agent", "uninstall", *there)
    assert refused.exit_code == 1 and f"systemctl disable --now {NAME}" in refused.stderr
    (wants / NAME).unlink()
    assert run(tmp_path, "agent", "uninstall", *there).exit_code == 0


def test_a_unit_of_somebody_else_stays(tmp_path: Path) -> None:
    """A package's, for example."""
    text = unit_text(["/usr/bin/windrow", "agent"], Paths(), settings=Path("/etc/default/windrow"))
    assert "\nEnvironmentFile=-/etc/default/windrow\nExecStart=/usr/bin/windrow agent $AGENT_OPTIONS\n" in text
    (tmp_path / NAME).write_text(text)
    result = run(Path("/"), "agent", "uninstall", "--unit-dir", str(tmp_path))
    assert result.exit_code == 1 and "was not written by `windrow agent install`" in result.stderr
    assert (tmp_path / NAME).exists()


WRITES = """
import sys
from pathlib import Path
from windrow.model.meta import Meta
from windrow.model.objects import ClusterNetwork
from windrow.store.directory import Store
store = Store(Path(sys.argv[1]))
store.put([ClusterNetwork(meta=Meta(name="oob", annotations={"by": "the agent"}))])
store.put([ClusterNetwork(meta=Meta(name="new"))])
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_with_the_units_capabilities_it_writes_manifests_of_another_owner(tmp_path: Path) -> None:
    """As an undo does. The file keeps its owner and its mode."""
    paths = Paths(tmp_path / "root")
    paths.manifests.mkdir(parents=True)
    path = paths.manifests / "net.yaml"
    path.write_text("apiVersion: network.harvesterhci.io/v1beta1\nkind: ClusterNetwork\nmetadata: {name: oob}\n")
    path.chmod(0o640)
    os.chown(path, 12345, 12346)
    for directory in (paths.manifests, paths.manifests.parent):
        directory.chmod(0o700)
        os.chown(directory, 12345, 12346)
    text = unit_text(["windrow"], Paths())
    bounding = re.search(r"^CapabilityBoundingSet=(.*)$", text, re.M)
    assert bounding is not None
    keep = ",".join("+" + name.removeprefix("CAP_").lower() for name in bounding[1].split())
    words = ["setpriv", f"--bounding-set=-all,{keep}", "--no-new-privs", sys.executable, "-c", WRITES, str(paths.root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o640)
    assert "the agent" in path.read_text()
    lines = text.splitlines()
    assert "ProtectKernelModules=no" in lines, "it is to see what modules the kernel may load"
    assert lines.index("SystemCallFilter=@chown") > lines.index("SystemCallFilter=~@resources @privileged")


def test_it_needs_permission_and_takes_no_foreign_options(tmp_path: Path) -> None:
    assert "CAP_NET_ADMIN" in run(tmp_path, "agent", may=False).stderr
    assert run(tmp_path, "agent", "--once", "install").exit_code == 2


def test_once_on_a_host_without_anything_does_nothing_and_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, "agent", "--once")
    assert result.exit_code == 1 and "ManifestsMissing" in result.stderr


# -- systemd, the lock -----------------------------------------------------------------------------


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        systemd.notify("READY=1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("usec", "pid", "wanted"),
    [("", "", None), ("0", "", None), ("x", "", None), ("6000000", "", 6.0), ("6000000", "1", None)],
)
def test_how_often_systemd_wants_to_hear(
    usec: str, pid: str, wanted: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_s() == wanted


def test_who_holds_the_lock(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert holder_of(paths) == ""
    code = (
        "import sys; from windrow.netlink.lock import locked\n"
        "with locked(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    words = [shutil.which("python3") or "python3", "-c", code, str(paths.turn)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [Path(__file__).parents[2] / "src"]))}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        found = holder_of(paths)
        other.communicate()
    assert found.startswith("python3 -c ") and found.endswith(f"(pid {other.pid})")
    with locked(paths.turn):
        assert holder_of(paths) == "", "it is we ourselves"


# -- events ----------------------------------------------------------------------------------------


def test_events_as_a_table_and_as_json(tmp_path: Path) -> None:
    assert run(tmp_path, "events").stderr == "No events found\n"
    Events(Paths(tmp_path)).add([happened("oob-bo: miimon was 50", 1e9), happened("lost", 1e9, EventType.WARNING)])
    lines = run(tmp_path, "events").stdout.splitlines()
    assert lines[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert lines[1].endswith("Normal    Repaired   vlanconfig/oob   oob-bo: miimon was 50")
    assert [w for w in run(tmp_path, "events", "--type", "Warning").stdout.splitlines()[1:] if "lost" in w]
    document = json.loads(run(tmp_path, "events", "-o", "json").stdout)
    assert document["kind"] == "EventList" and [e["count"] for e in document["items"]] == [2, 2]


def test_how_long_ago() -> None:
    table = events_table([happened("m", 1000.0)], 1192.0)
    assert "3m12s (x2 over 4m12s)" in table
    assert [age(s) for s in (-5, 0, 59, 60, 3601, 7260, 90000)] == ["0s", "0s", "59s", "1m", "1h", "2h1m", "1d1h"]
