"""The manifest directory: what is read, which file a change goes to, and what stays as it was."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from windrow.model.meta import Meta
from windrow.model.objects import AnyObject, ClusterNetwork, Node, VlanConfig
from windrow.model.values import Ref
from windrow.model.wire import load_documents
from windrow.store.directory import Store, read_manifests
from windrow.store.errors import StoreError
from windrow.store.paths import Paths

V1 = "network.harvesterhci.io/v1beta1"


def network(name: str, **labels: str) -> ClusterNetwork:
    return ClusterNetwork(meta=Meta(name=name, labels=labels))


def cn(name: str, more: str = "") -> str:
    return f"apiVersion: {V1}\nkind: ClusterNetwork\nmetadata:\n  name: {name}\n{more}"


def parsed(text: str) -> tuple[AnyObject, ...]:
    loaded = load_documents(text)
    assert loaded.problems == ()
    return loaded.objects


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Paths(tmp_path))


def write(store: Store, name: str, text: str) -> Path:
    path = store.paths.manifests / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(store: Store) -> list[str]:
    loaded = store.load()
    assert loaded.problems == ()
    return [o.name for o in loaded.objects]


def files(store: Store) -> list[str]:
    root = store.paths.manifests
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_everything_is_below_the_root() -> None:
    paths = Paths(Path("/r"))
    assert [str(p) for p in (paths.manifests, paths.state, paths.lock)] == [
        "/r/etc/windrow/manifests",
        "/r/var/lib/windrow",
        "/r/run/windrow/lock",
    ]
    assert Paths().manifests == Path("/etc/windrow/manifests")


def test_no_directory_is_an_empty_store(store: Store) -> None:
    assert store.load().objects == ()
    assert store.remove([Ref("Node", "n1")]) == ()
    assert not store.paths.manifests.exists(), "reading and removing make nothing"


def test_manifests_are_read_in_order_and_everywhere(store: Store) -> None:
    write(store, "b.yaml", cn("b1") + "---\n" + cn("b2"))
    write(store, "a.yml", cn("a"))
    write(store, "c.json", json.dumps({"apiVersion": V1, "kind": "ClusterNetwork", "metadata": {"name": "c"}}))
    write(store, "below/d.yaml", cn("d"))
    for ignored in (".hidden.yaml", ".git/x.yaml", "README.md", "e.yaml.bak", ".b.yaml.new"):
        write(store, ignored, cn("ignored"))
    assert names(store) == ["a", "b1", "b2", "c", "d"]


def test_where_an_object_comes_from(store: Store) -> None:
    path = write(store, "b.yaml", cn("b1") + "---\n" + cn("b2"))
    assert [(o.source.file, o.source.line("metadata.name")) for o in store.load().objects] == [
        (str(path), 4),
        (str(path), 9),
    ]


def test_an_object_in_two_files_names_both(store: Store) -> None:
    one, other = write(store, "a.yaml", cn("oob")), write(store, "b.yaml", "# x\n" + cn("oob"))
    (problem,) = store.load().problems
    assert (problem.code, problem.file, problem.line) == ("object-twice", str(other), 5)
    assert f"{one}:4" in problem.message
    for change in (lambda: store.put([network("oob", a="b")]), lambda: store.remove([network("oob").ref])):
        with pytest.raises(StoreError, match=r"b\.yaml: ClusterNetwork/oob is also in .*a\.yaml"):
            change()
    assert len(store.load().objects) == 1


def test_files_that_are_no_text(store: Store) -> None:
    write(store, "a.yaml", "").write_bytes(b"# caf\xe9 oob\n")
    assert [p.code for p in store.load().problems] == ["file-encoding"]
    with pytest.raises(StoreError, match="UTF-8"):
        store.put([network("oob")])


def test_a_file_with_a_byte_order_mark(store: Store) -> None:
    write(store, "a.yaml", "").write_bytes(b"\xef\xbb\xbf" + cn("oob").encode())
    assert names(store) == ["oob"]


def test_a_pipe_is_read_when_it_is_asked_for_and_a_fifo_does_not_stop_us(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(StoreError, match="not a file"):
        read_manifests(tmp_path / "fifo.yaml")
    read, written = os.pipe()
    with open(written, "w") as file:
        file.write(cn("oob"))
    try:
        assert [o.name for o in read_manifests(Path(f"/dev/fd/{read}")).objects] == ["oob"]
    finally:
        os.close(read)


def test_a_new_object_gets_a_file_of_its_own(store: Store) -> None:
    nad = parsed(
        "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: v1}\n"
        'spec: {config: \'{"bridge": "oob-br"}\'}'
    )
    assert store.put([network("oob"), *nad]) == (Ref("ClusterNetwork", "oob"), nad[0].ref)
    assert files(store) == ["clusternetwork-oob.yaml", "networkattachmentdefinition-default-v1.yaml"]
    assert names(store) == ["oob", "v1"]
    assert stat.S_IMODE((store.paths.manifests / "clusternetwork-oob.yaml").stat().st_mode) & 0o700 == 0o600


def test_names_that_would_meet_in_one_file(store: Store) -> None:
    write(store, "clusternetwork-oob.yaml", cn("something-else"))
    longest = "x" * 253
    store.put([network("oob"), network(longest)])
    assert sorted(names(store)) == sorted(["something-else", "oob", longest])
    assert "clusternetwork-oob-2.yaml" in files(store)


def test_nothing_changes_when_nothing_is_new(store: Store) -> None:
    path = write(store, "a.yaml", "# mine\n" + cn("oob", "unknown: [1, 2]\n"))
    before = path.stat()
    assert store.put(store.load().objects) == ()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


COMMENTED = f"""# The networks of rack 7.
# Ask the people of the switch before you change them.
---
# first
{cn("one")}# after the first
---   # a comment on the marker
apiVersion:   "{V1}"   # odd spacing stays
kind: ClusterNetwork
metadata: {{name: two,
  labels: {{a: 'b'}}}}
...
---
{cn("three")}"""


def test_only_the_document_that_changes_is_written_anew(store: Store) -> None:
    path = write(store, "rack.yaml", COMMENTED)
    assert store.put([network("one", new="label")]) == (Ref("ClusterNetwork", "one"),)
    text = path.read_text()
    assert text == COMMENTED.replace("  name: one\n", "  name: one\n  labels:\n    new: label\n")
    store.put([network("three", x="y")])
    assert path.read_text() == text.replace("  name: three\n", "  name: three\n  labels:\n    x: y\n")
    assert files(store) == ["rack.yaml"]


def test_a_document_on_the_line_of_its_marker(store: Store) -> None:
    path = write(
        store, "a.yaml", cn("one") + f"--- {{apiVersion: {V1}, kind: ClusterNetwork, metadata: {{name: two}}}}\n# end\n"
    )
    store.put([network("two", a="b")])
    assert path.read_text() == cn("one") + "---\n" + cn("two", "  labels:\n    a: b\n") + "# end\n"


def test_a_removed_document_takes_only_itself(store: Store) -> None:
    path = write(store, "rack.yaml", COMMENTED)
    assert store.remove([Ref("ClusterNetwork", "two"), Ref("ClusterNetwork", "nobody")]) == (
        Ref("ClusterNetwork", "two"),
    )
    assert names(store) == ["one", "three"]
    assert path.read_text().startswith(COMMENTED[: COMMENTED.index("---   #")])
    store.remove([Ref("ClusterNetwork", "one"), Ref("ClusterNetwork", "three")])
    assert files(store) == [], "a file without objects goes"


def test_an_object_inside_a_list(store: Store) -> None:
    items = [{"apiVersion": V1, "kind": "ClusterNetwork", "metadata": {"name": n}} for n in ("one", "two")]
    path = write(store, "list.json", json.dumps({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}))
    store.put([network("two", a="b")])
    assert json.loads(path.read_text())["items"][1]["metadata"]["labels"] == {"a": "b"}
    store.remove([Ref("ClusterNetwork", "one")])
    assert names(store) == ["two"]
    store.remove([Ref("ClusterNetwork", "two")])
    assert files(store) == []


def test_a_json_file_stays_json(store: Store) -> None:
    path = write(store, "c.json", json.dumps({"apiVersion": V1, "kind": "ClusterNetwork", "metadata": {"name": "c"}}))
    store.put([network("c", a="b")])
    assert json.loads(path.read_text())["metadata"] == {"name": "c", "labels": {"a": "b"}}


def test_a_broken_file_is_named_and_not_touched(store: Store) -> None:
    """What may be in it would be there twice once it is put right; everything else goes on."""
    path = write(store, "a.yaml", cn("oob") + "  bad: [\n")
    for change in (lambda: store.put([network("oob")]), lambda: store.remove([network("oob").ref])):
        with pytest.raises(StoreError, match=r"a\.yaml: line \d+: this is not YAML"):
            change()
    assert path.read_text() == cn("oob") + "  bad: [\n"
    assert files(store) == ["a.yaml"]
    store.put([network("other")])
    assert [o.name for o in store.load().objects] == ["other"]
    assert store.remove([network("other").ref]) == (network("other").ref,)
    assert path.read_text() == cn("oob") + "  bad: [\n"


def test_an_object_with_problems_can_be_put_right(store: Store) -> None:
    text = f"apiVersion: {V1}\nkind: VlanConfig\nmetadata: {{name: v}}\n"
    text += "spec: {clusterNetwork: oob, uplink: {nics: [%s]}}\n"
    path = write(store, "mine.yaml", text % "")
    assert store.load().unread == {Ref("VlanConfig", "v")}
    store.put(parsed(text % "e0"))
    (obj,) = store.load().objects
    assert isinstance(obj, VlanConfig)
    assert (files(store), path.read_text().startswith("apiVersion")) == (["mine.yaml"], True)


def test_mode_and_owner_and_links_stay(store: Store, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.yaml"
    real.write_text(cn("oob"))
    real.chmod(0o640)
    store.paths.manifests.mkdir(parents=True)
    link = store.paths.manifests / "oob.yaml"
    link.symlink_to(real)
    if os.geteuid() == 0:
        os.chown(real, 1234, 5678)
    before = real.stat()
    store.put([network("oob", a="b")])
    after = real.stat()
    assert link.is_symlink()
    assert "a: b" in real.read_text()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "a new file took its place"


@pytest.mark.parametrize("code", ["EACCES", "ENOSPC", "EROFS", "EIO", "EDQUOT"])
def test_the_disk_says_no(store: Store, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    number = getattr(errno, code)
    store.put([network("oob")])

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("windrow.store.records.os.fsync", refuse)
    with pytest.raises(StoreError) as caught:
        store.put([network("oob", a="b")])
    assert (caught.value.errno, code in str(caught.value)) == (number, True)
    assert caught.value.hint
    assert "clusternetwork-oob.yaml" in str(caught.value)


def test_a_file_that_may_not_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(store, "a.yaml", cn("oob"))
    real = os.open

    def refuse(name: Path, flags: int, *mode: int) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, "no", str(name))
        return real(name, flags, *mode)

    monkeypatch.setattr("windrow.store.directory.os.open", refuse)
    with pytest.raises(StoreError, match=r"a\.yaml: cannot read the manifest: Permission denied \[EACCES\]\n.*--root"):
        store.load()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.yaml: cannot read the manifest: No such file"):
        read_manifests(tmp_path / "nothing.yaml")


def test_a_file_in_the_place_of_the_directory(store: Store) -> None:
    store.paths.manifests.parent.mkdir(parents=True)
    store.paths.manifests.write_text("")
    with pytest.raises(StoreError):
        store.put([network("oob")])


def test_kinds_that_others_stand_on_come_first_and_go_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from windrow.store import directory, records

    order: list[str] = []
    replace, unlink = records.commit, os.unlink
    monkeypatch.setattr(records, "commit", lambda temp, path: (order.append(path.name), replace(temp, path)))
    config = parsed(
        f"apiVersion: {V1}\nkind: VlanConfig\nmetadata: {{name: a}}\n"
        "spec: {clusterNetwork: z, uplink: {nics: [e0]}}"
    )
    objects = [*config, Node(meta=Meta(name="n")), network("z")]
    store.put(objects)
    assert order == ["clusternetwork-z.yaml", "node-n.yaml", "vlanconfig-a.yaml"]
    order.clear()
    monkeypatch.setattr(directory.os, "unlink", lambda path: (order.append(Path(path).name), unlink(path)))
    assert [r.kind for r in store.remove([o.ref for o in objects])] == ["VlanConfig", "Node", "ClusterNetwork"]
    assert order == ["vlanconfig-a.yaml", "node-n.yaml", "clusternetwork-z.yaml"]


@pytest.mark.parametrize("what", ["pipe", "endless", "socket", "nothing", "directory"])
def test_what_is_no_file_is_in_nobodys_way(store: Store, what: str) -> None:
    """To read it would last for ever, with the locks of the host in the hands of whoever stores."""
    write(store, "a.yaml", cn("a"))
    path = store.paths.manifests / "b.yaml"
    match what:
        case "pipe":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))
        case "nothing":
            path.symlink_to("nowhere")
        case "directory":
            path.mkdir()
    assert store.put([network("c")]) == (Ref("ClusterNetwork", "c"),)
    assert store.remove([Ref("ClusterNetwork", "a")]) == (Ref("ClusterNetwork", "a"),)
