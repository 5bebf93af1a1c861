"""`windrow cni serve`: answers the plugins' calls in a process that is there already.

Nothing depends on it: a plugin that finds no server, or one that refuses, does the work itself. A server refuses what
comes from another place (network namespace, files under the same paths, root of Windrow, node), for there the same
names mean other things.

A fixed number of threads accept from one listening socket; each has a rtnetlink socket that stays open (`Host`).
The kernel's queue of connections is the only queue; in it a call waits as long as the plugin has patience.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from windrow import __version__
from windrow.model.lazy import dataclass
from windrow.model.problems import WindrowError
from windrow.netlink import errors
from windrow.netlink.lock import locked
from windrow.port import frame
from windrow.services.systemd import notify
from windrow.store import records
from windrow.store.paths import Paths

if TYPE_CHECKING:
    from windrow.apps.cni.cluster import ClusterApi
    from windrow.kube.access import Access

THREADS = 16
BACKLOG = 256
REQUEST_S = 2.0
"""For the whole request to arrive: plugins send it in one go."""
SEND_S = 5.0
LOOK_AGAIN_S = 0.2
DRAIN_S = 60.0
"""How long what was begun may go on after SIGTERM; a DHCP server that does not answer is waited for as long."""

_UCRED = Struct("=iII")

Work = Callable[[Mapping[str, str], bytes], tuple[int, str]]
"""Environment and configuration to exit code and standard output; it does not raise."""
Say = Callable[[str], None]


class ServerError(WindrowError):
    """The server cannot start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a call must have in common with the server, besides the user (`SO_PEERCRED`)."""

    root: Path
    node: str

    def refusal(self, env: Mapping[str, str]) -> str:
        """Why the call of a plugin with this environment is not this server's; empty if it is."""
        paths = [env.get("CNI_NETNS", ""), *env.get("CNI_PATH", "").split(":")]
        if any(path and not path.startswith("/") for path in paths):
            return "it has a path that depends on its working directory"
        if env.get(frame.PLACE) != here(env):
            return "it comes from another network namespace, or its paths are other files here"
        if Path(env.get("WINDROW_ROOT") or "/") != self.root:
            return f"it is for another root than {self.root}"
        if env.get("WINDROW_NODE", self.node) != self.node:
            return f"it is for another node than {self.node}"
        return ""


def here(env: Mapping[str, str]) -> str:
    """`frame.PLACE` of a call with this environment, were it made by this process."""
    return frame.place([_identity(path) for path in frame.places(env.get("CNI_NETNS", ""), env.get("CNI_PATH", ""))])


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL, which no environment has
        return None
    return found.st_dev, found.st_ino


@dataclass(slots=True)
class Tally:
    """What the server has done so far. Counted under a lock."""

    started: float = field(default_factory=time.time)
    answered: int = 0
    failed: int = 0
    refused: int = 0
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        with self.lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def to_json(self, **more: object) -> str:
        with self.lock:
            counts = {name: getattr(self, name) for name in ("answered", "failed", "refused", "busy")}
        return json.dumps(
            {"version": __version__, "pid": os.getpid(), "started": round(self.started), **counts, **more}
        )


class Server:
    """Threads that answer. All of them do `work` at once. `cluster`: what is to be said of the one that it follows."""

    def __init__(
        self,
        listener: socket.socket,
        identity: Identity,
        work: Work,
        *,
        say: Say = lambda _: None,
        log_calls: bool = False,
        threads: int = THREADS,
        cluster: Callable[[], str] | None = None,
    ) -> None:
        self._listener, self._identity, self._work = listener, identity, work
        self._say, self._log_calls, self._cluster = say, log_calls, cluster
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"cni-{n}", daemon=True) for n in range(threads)]
        self.tally = Tally()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = DRAIN_S) -> bool:
        """Take no more connections, answer those that wait and finish what was begun; False if it took too long.

        After shutdown(2), accept(2) gives what is queued, then EINVAL (`unix_accept`); connect(2) is refused.
        """
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # One thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                self._say(f"cannot accept: {error.strerror}")
                self._stopping.wait(0.1)  # EMFILE and the like: it passes, and must not spin
                continue
            with connection:
                self._connection(connection)

    def _connection(self, connection: socket.socket) -> None:
        try:
            env, config = _receive_request(connection)
        except (OSError, frame.FrameError) as error:
            self.tally.add(refused=1)
            self._refuse(connection, str(error))
            return
        if frame.ABOUT in env:
            more = {"cluster": self._cluster()} if self._cluster is not None else {}
            _send(connection, frame.reply(frame.ACCEPTED) + frame.answer(0, self.tally.to_json(**more).encode()))
            return
        if refusal := self._identity.refusal(env):
            self.tally.add(refused=1)
            self._refuse(connection, refusal)
            return
        # Only once this is in the plugin's queue the call is ours: out of patience, it has shut the socket.
        if _send(connection, frame.reply(frame.ACCEPTED)):
            self._call(connection, env, config)

    def _refuse(self, connection: socket.socket, why: str) -> None:
        if self._log_calls:
            self._say(f"refused: {why}")
        _send(connection, frame.reply(frame.REFUSED, why.encode(errors="replace")))

    def _call(self, connection: socket.socket, env: dict[str, str], config: bytes) -> None:
        del env[frame.PLACE]
        self.tally.add(busy=1)
        began = time.perf_counter()
        try:
            code, stdout = self._work(env, config)
        except Exception:  # noqa: BLE001 - a mistake of ours in one call must not end the thread
            self.tally.add(busy=-1, failed=1)
            self._say(f"{_words(env)}: Windrow itself failed:\n{traceback.format_exc()}")
            return  # the plugin sees the end of the stream, as if the server had died
        spent_ms = (time.perf_counter() - began) * 1e3
        self.tally.add(busy=-1, answered=1, failed=1 if code else 0)
        heard = _send(connection, frame.answer(code, stdout.encode("utf-8", "surrogateescape")))
        if code or not heard or self._log_calls:
            result = (" ".join(stdout.split()) if code else "done") + ("" if heard else " (the plugin has gone)")
            self._say(f"{_words(env)}: {spent_ms:.1f} ms: {result}")


def _words(env: Mapping[str, str]) -> str:
    what = "/".join(env[name] for name in ("CNI_CONTAINERID", "CNI_IFNAME") if env.get(name))
    return f"{env.get('CNI_COMMAND', '?')} {what}".strip()


def _receive_request(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    """Raises OSError (TimeoutError: it came too slowly) and FrameError."""
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid != os.geteuid():
        raise frame.FrameError(f"user {uid} is not the server's")
    end = time.monotonic() + REQUEST_S
    sizes = frame.request_sizes(_receive(connection, frame.HEADER, end))
    block, config = (_receive(connection, size, end) for size in sizes)
    return frame.environment(block), config


def _receive(connection: socket.socket, size: int, end: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request came too slowly")
        connection.settimeout(left)
        more = connection.recv(min(size - len(data), 1 << 20))
        if not more:
            raise frame.FrameError("the request was broken off")
        data += more
    return bytes(data)


def _send(connection: socket.socket, data: bytes) -> bool:
    """Whether it was sent: not to somebody who has gone, or does not read."""
    connection.settimeout(SEND_S)
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


# The process --------------------------------------------------------------------------------------


def serve(
    paths: Paths,
    node: str,
    *,
    say: Say,
    log_calls: bool = False,
    access: Access | None = None,
    conf_dir: Path | None = None,
) -> None:
    """Until SIGTERM or SIGINT. `access`: to the cluster that pods and networks are of. `conf_dir`: where runtimes find,
    once calls are answered, the configuration that leads them here; it stays there, for pods are there, too.

    Raises ServerError where another server is at work, or the socket cannot be made, and KubeError where there is no
    client library.
    """
    if os.geteuid() != 0:
        raise ServerError("the server works on this host's network: run it as root")
    _import_all()
    identity = Identity(root=paths.root, node=node)
    with contextlib.ExitStack() as held:
        held.enter_context(_alone(paths))
        cluster = held.enter_context(_following(access, paths, node, say))
        listener = held.enter_context(listening(paths.cni_socket))
        work = held.enter_context(_working(paths, node, cluster))
        about_cluster = cluster.words if cluster is not None else None
        server = Server(listener, identity, work, say=say, log_calls=log_calls, cluster=about_cluster)
        stop = _stop_signal()
        server.start()
        say(f"listening on {paths.cni_socket} (node {node})")
        notify("READY=1")
        if conf_dir is not None:
            _announce(paths, conf_dir, cluster, stop, say)
        stop.wait()
        notify("STOPPING=1")
        say("stopping: finishing what was begun")
        if not server.stop():
            say(f"calls that were begun are not done after {DRAIN_S:.0f} s: leaving them")


def _import_all() -> None:
    """What a plugin imports only when it needs it; here the first call shall be as fast as the second."""
    from windrow.apps.cni import addresses, bridge, cables, dispatch, firewall, meta, wanted  # noqa: F401
    from windrow.services import firewall as programs  # noqa: F401

    gc.freeze()  # all that will never be garbage need not be looked through again and again


@contextmanager
def _following(access: Access | None, paths: Paths, node: str, say: Say) -> Iterator[ClusterApi | None]:
    if access is None:
        yield None
        return
    from windrow.apps.cni import cluster

    with cluster.opened(access, paths, node, say) as found:
        yield found


def _announce(paths: Paths, conf_dir: Path, cluster: ClusterApi | None, stop: threading.Event, say: Say) -> None:
    """A runtime that finds the configuration says that its node is ready for pods: not before their networks are known.
    What is in the way may be taken away meanwhile."""
    from windrow.apps.cni.install import InstallError, put_conflist

    said = ""
    while not stop.is_set():
        if cluster is None or cluster.listed:
            try:
                say(put_conflist(paths, conf_dir, kubernetes=cluster is not None))
                return
            except InstallError as error:
                if said != str(error):
                    say(said := str(error))
        stop.wait(LOOK_AGAIN_S)


@contextmanager
def _working(paths: Paths, node: str, cluster: ClusterApi | None) -> Iterator[Work]:
    from windrow.apps.cni.dispatch import answer
    from windrow.apps.cni.host import Host

    host = Host(paths.root, node)
    host.cluster = cluster

    def work(env: Mapping[str, str], config: bytes) -> tuple[int, str]:
        done = answer(env, config, host)
        if done.exit and cluster is not None:
            cluster.failures.failed(env, done.stdout)
        return done.exit, done.stdout

    try:
        yield work
    finally:
        host.close()


@contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """The lock that says that a server is at work; it goes with the process, however that ends."""
    lock = paths.runtime / "cni.lock"
    try:
        with locked(lock, timeout_s=0):
            yield
    except errors.KernelError as error:
        if error.errno == errno.EAGAIN:
            raise ServerError(f"another server is at work: it holds {lock}") from error
        raise


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that only its owner may connect to. It takes the place of one that a killed server has left."""
    new = path.with_name(f".{path.name}.new")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        try:
            records.make_directory(path.parent, flush=False)
            new.unlink(missing_ok=True)
            listener.bind(str(new))
            new.chmod(0o600)
            listener.listen(BACKLOG)
            # Under its name it is ready: no plugin finds one that refuses, or one with another mode.
            new.rename(path)
        except OSError as error:
            raise ServerError(f"cannot listen on {path}: {error.strerror or error}") from error
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _stop_signal() -> threading.Event:
    """Set by SIGTERM and SIGINT; a second one then ends the process at once."""
    stop = threading.Event()

    def handler(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    return stop


def about(paths: Paths, timeout_s: float = 2.0) -> dict[str, object] | None:
    """What a running server says of itself; None: there is none, or it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(paths.cni_socket))
            connection.sendall(frame.request({frame.ABOUT.encode(): b"1"}, b""))
            end = time.monotonic() + timeout_s
            for _ in (frame.ACCEPTED, frame.ANSWER):
                _, size = frame.reply_header(_receive(connection, frame.REPLY_HEADER, end))
                payload = _receive(connection, size, end)
            found: dict[str, object] = json.loads(frame.exit_and_stdout(payload)[1])
        except (OSError, ValueError):
            return None
    return found
