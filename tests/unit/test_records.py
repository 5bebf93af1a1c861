"""The one writer of files, and the one of the DHCP client's program, which imports nothing: what both promise."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from windrow.model.agentstatus import AgentStatus
from windrow.model.attachments import Attached
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.events import Event, EventType
from windrow.model.facts import Memory
from windrow.model.host import HostState
from windrow.model.meta import Meta
from windrow.model.objects import ClusterNetwork
from windrow.model.ports import PortRecord
from windrow.model.values import Cidr, IfName, Ref
from windrow.model.wire import load_documents
from windrow.port.identity import digest
from windrow.services import dhcpevent
from windrow.store import podstatus, records
from windrow.store.agentstatus import write_agent_status
from windrow.store.attachments import AttachmentRecords
from windrow.store.checkpoints import Checkpoints
from windrow.store.clusternetworks import write_cluster_networks
from windrow.store.directory import Store
from windrow.store.errors import StoreError
from windrow.store.events import Events
from windrow.store.lastgood import read_last_good, write_last_good
from windrow.store.machines import MachineRecord, Machines
from windrow.store.memory import write_memory
from windrow.store.origin import read_origin, write_origin
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

OLD, NEW = b'"old"', b'"new, and rather longer than the old one"'
Writer = Callable[[Path, bytes], None]

SOMEBODY = 12345


def ours(path: Path, data: bytes) -> None:
    records.write(path, data, mode=records.SHARED)


def of_rivals(path: Path, data: bytes) -> None:
    records.write(path, data, mode=records.SHARED, rivals=True)


def of_the_client(path: Path, data: bytes) -> None:
    dhcpevent.write(os.fspath(path), data.decode().strip('"'))


@pytest.fixture(params=[ours, of_rivals, of_the_client])
def writer(request: pytest.FixtureRequest) -> Writer:
    found: Writer = request.param
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "record"
    path.write_bytes(OLD)
    return path


@pytest.fixture(params=[0, 0o022, 0o077, 0o177])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def failing(real: Callable[..., object], code: int, after: int = 0) -> Callable[..., object]:
    calls = iter(range(10_000))

    def call(*args: object, **more: object) -> object:
        if next(calls) < after:
            return real(*args, **more)
        raise OSError(code, os.strerror(code))

    return call


# Contents -----------------------------------------------------------------------------------------


def test_a_short_write_is_gone_on_with(place: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    writer(place, NEW)
    assert place.read_bytes() == NEW


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(("call", "after"), [("write", 0), ("write", 1), ("fsync", 0), ("replace", 0), ("fchmod", 0)])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    place: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer, call: str, after: int, code: int
) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
        patch.setattr(os, call, failing(getattr(os, call), code, after))
        with pytest.raises(OSError, match=re.escape(os.strerror(code))):
            writer(place, NEW)
    assert place.read_bytes() == OLD
    assert list(place.parent.iterdir()) == [place]


def test_it_has_its_mode_whatever_the_umask(place: Path, umask: int, writer: Writer) -> None:
    place.unlink()
    writer(place, NEW)
    assert mode(place) == 0o644
    records.write(place, NEW, mode=records.PRIVATE)
    assert mode(place) == 0o600


def test_its_bytes_are_never_seen_by_others(place: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    seen = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (seen.append(os.fstat(fd).st_mode & 0o777), real(fd, data))[1])
    records.write(place, NEW, mode=records.PRIVATE)
    assert seen == [0o600]


# Who is there already -----------------------------------------------------------------------------


def leftover(place: Path) -> Path:
    return place.with_name(f".{place.name}.new")


def test_a_link_in_place_of_the_temporary_is_not_followed(place: Path, tmp_path: Path) -> None:
    for writer in (ours, of_the_client):
        other = tmp_path / "other"
        other.write_bytes(OLD)
        leftover(place).symlink_to(other)
        writer(place, NEW)
        assert (place.read_bytes(), place.is_symlink(), other.read_bytes()) == (NEW, False, OLD)


def test_a_link_in_place_of_the_file_is_replaced(place: Path, tmp_path: Path, writer: Writer) -> None:
    other = tmp_path / "other"
    other.write_bytes(OLD)
    place.unlink()
    place.symlink_to(other)
    writer(place, NEW)
    assert (place.read_bytes(), place.is_symlink(), other.read_bytes()) == (NEW, False, OLD)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_leftover_of_somebody_else_does_not_become_ours(place: Path) -> None:
    """Who holds it open, or owns it, could change what we believe."""
    for writer in (ours, of_the_client):
        leftover(place).write_bytes(OLD)
        os.chown(leftover(place), SOMEBODY, SOMEBODY)
        with leftover(place).open("r+b") as held:
            writer(place, NEW)
            held.write(b"XXXX")
        assert (place.read_bytes(), place.stat().st_uid) == (NEW, 0)


# Directories --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [records.PRIVATE_DIRECTORY, records.SHARED_DIRECTORY])
def test_a_directory_has_its_mode_whatever_the_umask(tmp_path: Path, umask: int, wanted: int) -> None:
    records.make_directory(tmp_path / "a/b/c", wanted)
    assert [mode(tmp_path / p) for p in ("a", "a/b", "a/b/c")] == [0o755, 0o755, wanted]


def test_a_directory_of_ours_that_is_too_open_is_closed(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    for before, wanted, after in ((0o777, 0o755, 0o755), (0o755, 0o700, 0o700), (0o700, 0o755, 0o700)):
        place.chmod(before)
        records.make_directory(place, wanted)
        assert mode(place) == after, "what the administrator closed further stays so"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.state.mkdir(parents=True)
    os.chown(paths.state, SOMEBODY, SOMEBODY)
    for write in (
        lambda: write_last_good(paths, (), 0.0),
        lambda: write_memory(paths, Memory(given={"e0": frozenset(["10.0.0.1/8"])})),  # type: ignore[dict-item]
        lambda: write_origin(paths, HostState()),
    ):
        with pytest.raises(StoreError, match=rf"it belongs to user {SOMEBODY}(.|\n)*hint: .*chown root"):
            write()
    assert list(paths.state.iterdir()) == []


def test_a_file_in_place_of_a_directory(place: Path) -> None:
    with pytest.raises(NotADirectoryError):
        records.make_directory(place)


# Power cuts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flush", "wanted"), [("nothing", 0), ("content", 1), ("name", 2)])
def test_what_is_flushed(place: Path, monkeypatch: pytest.MonkeyPatch, flush: records.Flush, wanted: int) -> None:
    flushed: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    records.write(place, NEW, mode=records.PRIVATE, flush=flush)
    assert flushed == [str(leftover(place)), str(place.parent)][:wanted]


# Who may read it ----------------------------------------------------------------------------------

SECRET = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  template:
    spec:
      domain: {memory: {guest: 128Mi}, devices: {disks: [{name: seed, disk: {bus: virtio}}]}}
      volumes: [{name: seed, cloudInitNoCloud: {userData: "password: hunter2"}}]
"""


def modes(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): f"{mode(p):o}" for p in sorted(root.rglob("*"))}


def test_state_is_for_whom_it_is_for_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    paths, now = Paths(tmp_path), time.time()
    machine = load_documents(SECRET).objects
    assert len(machine) == 1
    Store(paths).put([*machine, ClusterNetwork(meta=Meta(name="oob"))])
    write_last_good(paths, machine, now)
    write_memory(paths, Memory(given={IfName("e0"): frozenset([Cidr("10.0.0.1/8")])}))
    write_origin(paths, HostState())
    Checkpoints(paths).put(
        Checkpoint(
            id="1",
            node="n",
            stage=Stage.CHANGING,
            made_by="windrow init",
            made=now,
            boot="b",
            deadline=1.0,
            allowed_s=1.0,
            want=HostState(),
            links=(),
            documents={},
        )
    )
    Events(paths).add(
        [Event(type=EventType.NORMAL, reason="R", about=Ref("Node", "n"), message="m", first=now, last=now)]
    )
    write_agent_status(paths, AgentStatus(node="n", pid=1, ticks=1, version="1", started=now))
    write_cluster_networks(paths, ["oob"])
    PortRecords(paths).put(
        PortRecord(container_id="c", ifname="e", netns="", network="n", bridge=IfName("b"), host=IfName("h"))
    )
    AttachmentRecords(paths).begin(Attached(container_id="c", ifname="e", netns="", network="n"), lasting=True)
    Machines(paths).put(
        MachineRecord(namespace="default", name="web", node="n", container_id="c", netns="n", since=now)
    )
    Machines(paths).new_console_log("default", "web")
    found = modes(tmp_path)
    assert {name: found.pop(name) for name in list(found) if found[name] in ("600", "700")} == {
        "etc/windrow/manifests/virtualmachine-default-web.yaml": "600",
        "run/windrow/attachments": "700",
        "run/windrow/attachments/c@e.json": "600",
        "run/windrow/checkpoint.lock": "600",
        f"run/windrow/ports/{digest('c', 'e')}.json": "600",
        "run/windrow/vms/default/web": "700",
        "run/windrow/vms/default/web/record.json": "600",
        "var/lib/windrow/attachments": "700",
        "var/lib/windrow/attachments/c@e.json": "600",
        "var/lib/windrow/checkpoint.json": "600",
        "var/lib/windrow/last-good.json": "600",
        "var/lib/windrow/origin.json": "600",
        "var/log/windrow/vms": "700",
        "var/log/windrow/vms/default": "700",
        "var/log/windrow/vms/default/web.log": "600",
    }
    assert {name for name, seen in found.items() if "." in name and seen != "644"} == set()
    assert {name for name, seen in found.items() if (tmp_path / name).is_dir() and seen != "755"} == set()
    assert len(found) >= 15, "those that everybody may read are still to be seen"


def test_what_an_older_version_left_open_is_closed_when_it_is_read(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_last_good(paths, load_documents(SECRET).objects, 1.0)
    write_origin(paths, HostState())
    for path in (paths.last_good, paths.origin):
        path.chmod(0o644)
    assert read_last_good(paths) is not None and read_origin(paths) == HostState()
    assert {mode(paths.last_good), mode(paths.origin)} == {0o600}


def test_a_manifest_keeps_its_mode(tmp_path: Path) -> None:
    """The password of a file that only root may read stays there."""
    store = Store(Paths(tmp_path))
    machine = load_documents(SECRET).objects
    (path,) = (store.paths.manifests / f"{m.KIND.lower()}-default-{m.name}.yaml" for m in machine)
    store.put(machine)
    for wanted in (0o600, 0o640):
        path.chmod(wanted)
        store.put(load_documents(SECRET.replace("hunter2", f"hunter{wanted}")).objects)
        assert (mode(path), str(wanted) in path.read_text()) == (wanted, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_sees_what_it_may_read_and_is_told_of_the_rest() -> None:
    with tempfile.TemporaryDirectory(prefix="windrow-") as name:
        Path(name).chmod(0o755)
        _look_as_somebody(Path(name))


def _look_as_somebody(root: Path) -> None:
    store = Store(Paths(root))
    store.put([*load_documents(SECRET).objects, ClusterNetwork(meta=Meta(name="oob"))])
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
        os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
        try:
            found = store.readable()
            said = [[o.name for o in found.objects], [p.code for p in found.problems], [p.file for p in found.problems]]
            os.write(writing, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        names, codes, files = json.loads(pipe.read())
    assert (names, codes) == (["oob"], ["file-unreadable"])
    assert files == [str(store.paths.manifests / "virtualmachine-default-web.yaml")]


def test_a_pods_status_is_no_other_pods_manifest(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    manifest = paths.pods / "default/web.status.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"kind": "Pod"}')
    entry = {"name": "default/oob", "interface": "eth0"}
    AttachmentRecords(paths).put(
        Attached(container_id="c", ifname="e", netns="", network="n", path="", pod="default/web", status=(entry,))
    )
    podstatus.write(paths, "default/web", "c")
    told = tmp_path / "run/windrow/pod-status/default/web.json"
    assert json.loads(told.read_text()) == [entry] and manifest.read_text() == '{"kind": "Pod"}'
    manifest.write_text("[]")  # the status of an older version: it is not left to be taken for a pod
    podstatus.write(paths, "default/web", "gone")
    assert not manifest.exists() and not told.exists()


def test_a_pods_call_flushes_no_more_than_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the meta plugin's record its content and its name, before the first plugin runs, and only where other plugins
    than the bridge plugin do; of a port nothing: it is on tmpfs."""
    paths, flushed = Paths(tmp_path), []
    calls = AttachmentRecords(paths)
    begun = Attached(container_id="c", ifname="e", netns="", network="n")
    calls.begin(replace(begun, container_id="other"), lasting=True)
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    calls.begin(begun, lasting=False)
    PortRecords(paths).put(
        PortRecord(container_id="c", ifname="e", netns="", network="n", bridge=IfName("b"), host=IfName("h"))
    )
    calls.put(replace(begun, pod="default/web"))
    assert flushed == []
    calls.begin(begun, lasting=True)
    calls.put(replace(begun, pod="default/web"))
    assert [Path(path).name for path in flushed] == [".c@e.json.new", "attachments"]


def test_a_directory_that_goes_with_its_last_file_takes_no_new_one_with_it(tmp_path: Path) -> None:
    """Two who each come and go in one directory, as pods of one namespace do."""
    failures: list[OSError] = []

    def come_and_go(path: Path) -> None:
        for _ in range(400):
            try:
                records.write_with_directory(path, b"{}", mode=0o644)
                assert path.exists()
                records.remove_with_directory(path)
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=[tmp_path / "ns" / f"{name}.json"]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and not (tmp_path / "ns").exists()
