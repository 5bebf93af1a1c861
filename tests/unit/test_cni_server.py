"""The server and both plugins that call it, with work that is made up and no network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from windrow import __version__
from windrow.apps.cni import install
from windrow.apps.cni import server as module
from windrow.apps.cni.install import COMPILING, Origin, build_shim, launcher_text
from windrow.apps.cni.server import Identity, Server, ServerError, about, here, listening, notify
from windrow.port import frame
from windrow.store.paths import Paths

NODE = "node-7"
WAYS = ("freestanding", "static", "dynamic")
KINDS = (*WAYS, "launcher")
CONFIG = b'{"name": "n", "type": "windrow-bridge", "odd": "\xc3\xbc\\u0000"}'
ALONE = """\
import os, sys
print("alone", os.environ.get("WINDROW_ROOT"), os.environ.get("WINDROW_NODE"), end=" ")
def main():
    sys.stdout.flush()
    sys.stdout.buffer.write(b"" if os.environ.get("CNI_COMMAND") == "VERSION" else sys.stdin.buffer.read())
"""


@pytest.fixture(scope="module")
def built() -> Iterator[dict[str, Path]]:
    """Both plugins; the Python that they fall back to says that it was called."""
    with tempfile.TemporaryDirectory(prefix="wcni-") as name:
        home = Path(name)
        real = Path(frame.__file__).parent.parent
        for room in ("port", "apps", "apps/cni"):
            (home / "windrow" / room).mkdir(parents=True)
        for room in ("", "port", "apps", "apps/cni"):
            (home / "windrow" / room / "__init__.py").touch()
        shutil.copy(real / "port" / "frame.py", home / "windrow" / "port")
        (home / "windrow" / "apps" / "cni" / "main.py").write_text(ALONE)
        origin = Origin(node=NODE, path=(name,))
        for number, way in enumerate(COMPILING):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(install, "COMPILING", (way,))
                assert build_shim(home / WAYS[number], origin) == ""
        (home / "launcher").write_text(launcher_text(origin))
        (home / "launcher").chmod(0o755)
        yield {kind: home / kind for kind in KINDS}


@dataclass
class Plugin:
    """One of the two, told by its environment where to look for a server."""

    path: Path
    root: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def alone(self) -> bytes:
        return f"alone {self.root} {NODE} ".encode()

    def start(self, command: str = "ADD", **env: str) -> subprocess.Popen[bytes]:
        given = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "WINDROW_ROOT": str(self.root), "HOME": "/x"}
        pipe = subprocess.PIPE
        return subprocess.Popen([self.path], env=given | env, stdin=pipe, stdout=pipe, stderr=pipe)

    def call(self, command: str = "ADD", stdin: bytes = CONFIG, **env: str) -> tuple[int, bytes]:
        started = self.start(command, **env)
        stdout, stderr = started.communicate(stdin, timeout=20)
        assert stderr == b""
        return started.returncode, stdout


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wcni-") as name:  # short: a socket's path has at most 107 bytes
        yield Path(name)


@pytest.fixture(params=KINDS)
def plugin(request: pytest.FixtureRequest, built: dict[str, Path], root: Path) -> Plugin:
    return Plugin(path=built[request.param], root=root)


def no_more_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    process.stdin = None  # or `communicate` would flush it


Answering = Callable[[Mapping[str, str], bytes], tuple[int, str]]


def echo(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
    return 0, json.dumps({"env": dict(env), "config": config.decode()})


@contextmanager
def serving(home: Path, work: Answering = echo, *, threads: int = 4, **identity: object) -> Iterator[Server]:
    with listening(Paths(home).cni_socket) as listener:
        server = new_server(listener, home, work, threads=threads, **identity)
        server.start()
        yield server
        assert server.stop(10)


def new_server(listener: socket.socket, home: Path, work: Answering, *, threads: int = 1, **identity: object) -> Server:
    same: dict[str, object] = {"root": home, "node": NODE}
    own = Identity(**(same | identity))  # type: ignore[arg-type]
    return Server(listener, own, work, threads=threads)


@contextmanager
def odd_server(root: Path, *replies: bytes) -> Iterator[None]:
    """Reads a request, sends what it is told to, and closes."""
    with listening(Paths(root).cni_socket) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    header = connection.recv(frame.HEADER, socket.MSG_WAITALL)
                    connection.recv(sum(frame.request_sizes(header)), socket.MSG_WAITALL)
                    for reply in replies:
                        connection.sendall(reply)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


# Answered -----------------------------------------------------------------------------------------


def test_what_the_server_answers_is_what_the_plugin_says(plugin: Plugin, root: Path) -> None:
    with serving(root):
        code, stdout = plugin.call("ADD", CNI_ARGS="A=\udcff", PATH="/usr/bin")
    assert code == 0
    found = json.loads(stdout)
    assert found["config"].encode() == CONFIG
    assert found["env"] == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_ARGS": "A=\udcff",
        "PATH": "/usr/bin",
        "WINDROW_ROOT": str(root),
        "WINDROW_NODE": NODE,
    }


def test_an_error_is_passed_on_with_its_exit_code(plugin: Plugin, root: Path) -> None:
    with serving(root, lambda env, config: (1, '{"code": 7}')):
        assert plugin.call("DEL") == (1, b'{"code": 7}')


def test_an_empty_answer_is_an_answer(plugin: Plugin, root: Path) -> None:
    with serving(root, lambda env, config: (0, "")):
        assert plugin.call("DEL") == (0, b"")


def test_long_configurations_and_long_answers(plugin: Plugin, root: Path) -> None:
    config = b"x" * (frame.CONFIG_MAX - 1)
    with serving(root, lambda env, config: (0, config.decode() * 2)):
        assert plugin.call("GC", config) == (0, config * 2)


def test_version_does_not_read_standard_input(plugin: Plugin, root: Path) -> None:
    with serving(root):
        started = plugin.start("VERSION")
        assert started.stdout and started.stdin
        assert json.loads(started.stdout.read())["config"] == ""  # standard input is still open
        started.communicate(timeout=10)


def test_many_at_once_wait_for_their_turn(plugin: Plugin, root: Path) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return 0, env["CNI_CONTAINERID"]

    with serving(root, work, threads=4) as server:
        started = [plugin.start(CNI_CONTAINERID=f"c{n}") for n in range(24)]
        for process in started:
            no_more_input(process)
        for n, process in enumerate(started):
            assert process.communicate(timeout=20)[0] == f"c{n}".encode()
    assert server.tally.answered == 24
    assert most == 4


# Not answered, so done alone ----------------------------------------------------------------------


def test_without_a_server_it_is_done_alone(plugin: Plugin) -> None:
    assert plugin.call("ADD") == (0, plugin.alone + CONFIG)


def test_a_socket_that_nobody_listens_on(plugin: Plugin, root: Path) -> None:
    with listening(Paths(root).cni_socket):
        kept = Paths(root).cni_socket.with_name("kept")
        os.link(Paths(root).cni_socket, kept)
    kept.rename(Paths(root).cni_socket)
    assert plugin.call("ADD") == (0, plugin.alone + CONFIG)


@pytest.mark.parametrize("identity", [{"root": Path("/elsewhere")}, {"node": "node-8"}], ids=["root", "node"])
def test_a_server_of_another_place(plugin: Plugin, root: Path, identity: dict[str, object]) -> None:
    with serving(root, **identity) as server:
        assert plugin.call("ADD") == (0, plugin.alone + CONFIG)
    assert (server.tally.refused, server.tally.answered) == (1, 0)


@pytest.mark.parametrize("env", [{"CNI_NETNS": "ns/x"}, {"CNI_PATH": "/opt/cni/bin:bin"}])
def test_a_path_that_depends_on_the_working_directory(plugin: Plugin, root: Path, env: dict[str, str]) -> None:
    with serving(root) as server:
        assert plugin.call("ADD", **env) == (0, plugin.alone + CONFIG)
    assert server.tally.answered == 0


def test_root_and_node_that_are_built_in(root: Path, built: dict[str, Path]) -> None:
    """They count where the environment says nothing, for the server and without one."""
    origin = Origin(root=str(root), node="built-in", path=(str(built["launcher"].parent),))
    assert build_shim(root / "compiled", origin) == ""
    (root / "launcher").write_text(launcher_text(origin))
    (root / "launcher").chmod(0o755)

    def call(kind: str, env: dict[str, str]) -> bytes:
        done = subprocess.run(
            [root / kind], env={"CNI_COMMAND": "ADD", **env}, input=b"", capture_output=True, check=True
        )
        return done.stdout

    for kind in ("compiled", "launcher"):
        for env in ({}, {"WINDROW_ROOT": "", "WINDROW_NODE": ""}):
            assert call(kind, env) == f"alone {root} built-in ".encode()
            with serving(root, node="built-in"):
                assert json.loads(call(kind, env))["env"]["WINDROW_NODE"] == "built-in"
        assert call(kind, {"WINDROW_ROOT": "/x", "WINDROW_NODE": "y"}) == b"alone /x y "


def test_a_server_in_another_network_namespace(plugin: Plugin, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "HERE", ("/proc/self/ns/mnt", *frame.HERE[1:]))
    with serving(root) as server:
        place = here({})
        assert plugin.call("ADD", WINDROW_PLACE=place, WINDROW_ABOUT="1") == (0, plugin.alone + CONFIG)
    assert (server.tally.refused, server.tally.answered) == (1, 0)


@pytest.mark.parametrize("name", ["CNI_NETNS", "CNI_PATH"])
def test_a_server_that_finds_another_file_under_the_same_path(plugin: Plugin, root: Path, name: str) -> None:
    """As in another mount namespace; here it is the link that leads each process somewhere else."""
    with serving(root) as server:
        assert plugin.call("ADD", **{name: "/proc/self/ns"}) == (0, plugin.alone + CONFIG)
        assert plugin.call("ADD", **{name: f"/nowhere-{os.getpid()}"})[1].startswith(b'{"env"')
        assert plugin.call("ADD", **{name: "/usr/bin"})[1].startswith(b'{"env"')
    assert (server.tally.refused, server.tally.answered) == (1, 2)


def test_many_directories(plugin: Plugin, root: Path) -> None:
    with serving(root) as server:
        assert plugin.call("ADD", CNI_PATH=":/usr/bin::/nowhere:/usr/lib/:" + ":/" * 2000)[1].startswith(b'{"env"')
        assert plugin.call("ADD", CNI_PATH=":/" * 40_000) == (0, plugin.alone + CONFIG)  # too much to be sent
    assert (server.tally.refused, server.tally.answered) == (0, 1)


@pytest.mark.parametrize(
    "replies",
    [
        (),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\1",),
        (frame.reply(frame.REFUSED, b"no"),),
        (frame.answer(0, b"x"),),
    ],
    ids=["nothing", "garbage", "half", "refused", "answer-before-acceptance"],
)
def test_a_server_that_has_not_begun(plugin: Plugin, root: Path, replies: tuple[bytes, ...]) -> None:
    with odd_server(root, *replies):
        assert plugin.call("ADD") == (0, plugin.alone + CONFIG)


def test_a_configuration_that_is_too_long_for_the_server(plugin: Plugin, root: Path) -> None:
    config = b"x" * (frame.CONFIG_MAX + 1)
    with serving(root):
        assert plugin.call("GC", config) == (0, plugin.alone + config)


def test_a_server_that_is_busy_for_too_long_does_not_begin_later(plugin: Plugin, root: Path) -> None:
    done = threading.Event()
    seen: list[str] = []

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        seen.append(env["CNI_CONTAINERID"])
        done.wait(20)
        return 0, "late"

    with serving(root, work, threads=1):
        first = plugin.start(CNI_CONTAINERID="first")
        no_more_input(first)
        while not seen:
            time.sleep(0.01)
        began = time.monotonic()
        assert plugin.call("ADD", CNI_CONTAINERID="second") == (0, plugin.alone + CONFIG)
        assert 1.5 < time.monotonic() - began < 6
        done.set()
        assert first.communicate(timeout=10)[0] == b"late"
    assert seen == ["first"]


def test_without_a_command_it_is_python_that_tells_what_this_is(plugin: Plugin, root: Path) -> None:
    with serving(root) as server:
        assert plugin.call("") == (0, plugin.alone + CONFIG)
    assert server.tally.answered == 0


# Begun, and not answered --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "replies",
    [(), (b"\3",), (frame.answer(0, b"half of it")[:-3],)],
    ids=["nothing", "half-header", "half-answer"],
)
def test_a_server_that_dies_in_the_middle(plugin: Plugin, root: Path, replies: tuple[bytes, ...]) -> None:
    """An ADD may be half done; the others may be done again."""
    for command in ("ADD", "DEL", "CHECK", "STATUS", "GC"):
        with odd_server(root, frame.reply(frame.ACCEPTED), *replies):
            expected = (1, frame.LOST) if command == "ADD" else (0, plugin.alone + CONFIG)
            assert plugin.call(command) == expected


def test_work_that_fails_unforeseen_ends_the_call_and_not_the_thread(plugin: Plugin, root: Path) -> None:
    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        if env["CNI_COMMAND"] == "STATUS":
            return 0, "well"
        raise ZeroDivisionError

    with serving(root, work, threads=1):
        assert plugin.call("ADD") == (1, frame.LOST)
        assert plugin.call("DEL") == (0, plugin.alone + CONFIG)
        assert plugin.call("STATUS") == (0, b"well")


# The server lives ---------------------------------------------------------------------------------


def test_a_plugin_that_is_killed_does_not_stop_its_work(plugin: Plugin, root: Path) -> None:
    begun, go, finished = threading.Event(), threading.Event(), threading.Event()

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        if env["CNI_COMMAND"] == "ADD":
            begun.set()
            go.wait(10)
            finished.set()
        return 0, "x" * 100_000

    with serving(root, work, threads=1):
        started = plugin.start("ADD")
        assert started.stdin
        started.stdin.close()
        assert begun.wait(10)
        started.kill()
        started.wait()
        for pipe in (started.stdout, started.stderr):
            assert pipe
            pipe.close()
        go.set()
        assert finished.wait(10)
        assert plugin.call("DEL") == (0, b"x" * 100_000)


def test_adds_take_turns_and_what_undoes_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.2)
    begun, go = threading.Semaphore(0), threading.Event()

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        if env["CNI_COMMAND"] == "ADD":
            begun.release()
            go.wait(10)
        return 0, "done"

    one = module.in_turns(work, 2)
    threads = [threading.Thread(target=one, args=({"CNI_COMMAND": "ADD"}, b"")) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert all(begun.acquire(timeout=10) for _ in threads)
    assert one({"CNI_COMMAND": "DEL"}, b"") == (0, "done")
    code, said = one({"CNI_COMMAND": "ADD"}, b"")
    assert (code, json.loads(said)["code"]) == (1, 11)
    go.set()
    for thread in threads:
        thread.join()
    assert one({"CNI_COMMAND": "ADD"}, b"") == (0, "done")


RUBBISH = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    b"WCN2" + bytes(8),
    frame.MAGIC + b"\xff" * 8,
    frame.MAGIC + bytes(8),
    frame.MAGIC + (4).to_bytes(4, "big") + bytes(4) + b"HOME",
    frame.request({b"CNI_COMMAND": b"ADD"}, b"{}")[:-1],
]


def test_rubbish_on_the_socket(plugin: Plugin, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_S", 0.3)
    with serving(root, threads=1) as server:
        for data in RUBBISH:
            for close in (True, False):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(Paths(root).cni_socket))
                    connection.sendall(data)
                    if close:
                        continue
                    connection.settimeout(5)  # it waits for the rest, and then it refuses
                    kind, size = frame.reply_header(connection.recv(frame.REPLY_HEADER))
                    assert kind == frame.REFUSED
                    assert connection.recv(size)
        assert plugin.call("ADD")[1].startswith(b'{"env"')
        assert server.tally.refused == 2 * len(RUBBISH)


def test_stopping_finishes_what_was_begun_and_what_waits(plugin: Plugin, root: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        begun.set()
        go.wait(10)
        return 0, "done"

    with listening(Paths(root).cni_socket) as listener:
        server = new_server(listener, root, work)
        server.start()
        started = [plugin.start("ADD") for _ in range(2)]
        for process in started:
            no_more_input(process)
        assert begun.wait(10)
        time.sleep(0.2)  # the other one is in the queue of connections now
        stopper = threading.Thread(target=server.stop, args=[10])
        stopper.start()
        time.sleep(0.1)
        assert plugin.call("ADD") == (0, plugin.alone + CONFIG)  # a third is refused, at once
        go.set()
        stopper.join()
    assert [process.communicate(timeout=10)[0] for process in started] == [b"done", b"done"]
    assert not Paths(root).cni_socket.exists()


def test_stopping_does_not_wait_for_ever(root: Path) -> None:
    go = threading.Event()

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        go.wait(20)
        return 0, ""

    with listening(Paths(root).cni_socket) as listener:
        server = new_server(listener, root, work)
        server.start()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(Paths(root).cni_socket))
            env = {b"CNI_COMMAND": b"ADD", b"WINDROW_ROOT": os.fsencode(root), frame.PLACE.encode(): here({}).encode()}
            connection.sendall(frame.request(env, b""))
            assert connection.recv(5) == frame.reply(frame.ACCEPTED)
            assert not server.stop(0.2)
            go.set()
            assert server.stop(10)


# The socket, and what the server tells ------------------------------------------------------------


def test_the_socket_is_its_owners_and_replaces_a_stale_one(root: Path) -> None:
    path = Paths(root).cni_socket
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    before = path.stat().st_ino
    with listening(path):
        found = path.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_ino != before
    assert list(path.parent.iterdir()) == []


def test_a_place_where_no_socket_can_be(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="cannot listen on"), listening(tmp_path / ("x" * 120)):
        pass
    (tmp_path / "run").touch()
    with pytest.raises(ServerError, match="cannot listen on"), listening(Paths(tmp_path).cni_socket):
        pass


def test_about(root: Path) -> None:
    assert about(Paths(root)) is None
    with serving(root):
        found = about(Paths(root))
        assert found is not None
        assert (found["version"], found["pid"], found["answered"]) == (__version__, os.getpid(), 0)
    assert about(Paths(root)) is None
    with odd_server(root, b"HTTP/1.1 400"):
        assert about(Paths(root)) is None


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(root: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    notify("READY=1")
    name = f"\0wcni-{os.getpid()}" if abstract else str(root / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    notify("STOPPING=1")  # nobody there: no reason to fail
