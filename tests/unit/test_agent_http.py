"""The agent's socket: what it answers, and that nobody can hold it."""

from __future__ import annotations

import json
import os
import random
import resource
import selectors
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.apps.agent import http
from windrow.apps.agent.http import CONNECTIONS_MAX, PATIENCE_S, REQUEST_MAX, Listener, ListenError, listen
from windrow.apps.agent.snapshot import Snapshot
from windrow.model.agentstatus import AgentStatus
from windrow.model.host import HostState, Observed

STATUS = AgentStatus(node="n1", pid=7, ticks=1, version="1.2.3", started=1.0, last_round=2.0)
WELL = Snapshot(status=STATUS, observed=Observed(state=HostState(), runtime={}))


class Loop:
    """The loop that a listener is a part of; its clock stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        bare = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bare.bind(("127.0.0.1", 0))
        bare.listen(64)
        self.listener = Listener(bare, clock=lambda: self.now)
        self.clients: list[socket.socket] = []

    def turn(self, times: int = 4) -> None:
        for _ in range(times):
            with selectors.DefaultSelector() as selector:
                for fd, events in self.listener.fds().items():
                    selector.register(fd, events)
                for key, _events in selector.select(0.02):
                    if key.fd in self.listener.fds():
                        assert self.listener.ready(key.fd) is False

    def later(self, seconds: float) -> None:
        self.now += seconds
        assert self.listener.ready(-1) is False

    def connect(self) -> socket.socket:
        host, _, port = self.listener.address.rpartition(":")
        client = socket.create_connection((host, int(port)), timeout=5)
        self.clients.append(client)
        self.turn(1)
        return client

    def ask(self, request: bytes) -> bytes:
        client = self.connect()
        client.sendall(request)
        self.turn()
        return self.answer(client)

    def answer(self, client: socket.socket) -> bytes:
        """Everything until the server shuts its side."""
        client.settimeout(0.05)
        data = b""
        for _ in range(200):
            self.turn(1)
            try:
                part = client.recv(65536)
            except TimeoutError:
                continue
            if not part:
                return data
            data += part
        raise AssertionError(f"no end after {data!r}")

    def get(self, path: str) -> tuple[int, str]:
        head, _, body = self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        return int(head.split()[1]), body.decode()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.listener.close()
    for client in made.clients:
        client.close()


def test_metrics(loop: Loop) -> None:
    assert loop.get("/metrics") == (503, "the network has not been looked at yet\n")
    loop.listener.publish(WELL)
    code, text = loop.get("/metrics")
    assert code == 200
    assert 'windrow_agent_info{node="n1",version="1.2.3"} 1\n' in text


def test_health(loop: Loop) -> None:
    assert loop.get("/healthz") == (503, "the network has not been looked at yet\n")
    loop.listener.publish(WELL)
    assert loop.get("/healthz") == (200, "ok\n")
    code, text = loop.get("/healthz?verbose")
    assert (code, json.loads(text)) == (200, {"ok": True, "reasons": [], "lastRound": 2.0, "ageSeconds": 100.0})


def test_status(loop: Loop) -> None:
    loop.listener.publish(WELL)
    code, text = loop.get("/status")
    assert (code, json.loads(text)["node"]) == (200, "n1")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /status HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../status HTTP/1.1\r\n\r\n", 404),
        (b"GET /healthz HTTP/1.0\n\n", 503),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 505),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"G\x00T /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\n\n", 400),
        (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * REQUEST_MAX, 431),
    ],
)
def test_what_is_not_understood(loop: Loop, request_: bytes, status: int) -> None:
    assert loop.ask(request_).startswith(f"HTTP/1.1 {status} ".encode())


def test_further_paths(loop: Loop) -> None:
    """A query may have something done: not over the network."""
    queries: list[str] = []

    def answering(query: str) -> http.Answer:
        queries.append(query)
        return http.Answer(200, '{"a": 1}', http.JSON)

    assert b"/check" not in loop.ask(b"GET /other HTTP/1.1\r\n\r\n")
    loop.listener.answers["/check"] = answering
    assert loop.ask(b"GET /check?now HTTP/1.1\r\n\r\n").endswith(b'{"a": 1}')
    assert loop.ask(b"GET /other HTTP/1.1\r\n\r\n").endswith(b"there is: /metrics /healthz /status /check\n")
    assert queries == [""]


def test_head_has_no_body(loop: Loop) -> None:
    loop.listener.publish(WELL)
    head, _, body = loop.ask(b"HEAD /healthz HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Content-Length: 3" in head
    assert body == b""


def test_a_request_in_pieces(loop: Loop) -> None:
    loop.listener.publish(WELL)
    client = loop.connect()
    for byte in b"GET /healthz HTTP/1.1\r\n\r\n":
        client.sendall(bytes([byte]))
        loop.turn(1)
    assert loop.answer(client).endswith(b"ok\n")


def test_a_slow_client_is_dropped(loop: Loop) -> None:
    client = loop.connect()
    client.sendall(b"GET /hea")
    loop.turn()
    assert loop.listener.deadline() == loop.now + PATIENCE_S
    loop.later(PATIENCE_S - 1)
    assert len(loop.listener.fds()) == 2
    client.sendall(b"l")  # a byte now and then does not help
    loop.turn()
    loop.later(1)
    assert len(loop.listener.fds()) == 1
    assert loop.listener.deadline() is None
    assert client.recv(10) == b""


def test_who_does_not_take_the_answer_is_dropped(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "exposition", lambda _: "x" * 50_000_000)
    loop.listener.publish(WELL)
    client = loop.connect()
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    loop.turn()
    assert selectors.EVENT_WRITE in loop.listener.fds().values()
    assert loop.get("/healthz")[0] == 200, "others are served meanwhile"
    loop.later(PATIENCE_S)
    assert len(loop.listener.fds()) == 1


def test_of_too_many_the_oldest_goes(loop: Loop) -> None:
    loop.listener.publish(WELL)
    first = loop.connect()
    for _ in range(3 * CONNECTIONS_MAX):
        loop.now += 0.01
        loop.connect()
        assert len(loop.listener.fds()) <= CONNECTIONS_MAX + 1
    assert first.recv(10) == b""
    assert loop.get("/healthz") == (200, "ok\n")


def test_without_file_descriptors_it_waits_a_little(loop: Loop) -> None:
    loop.listener.publish(WELL)
    client = socket.create_connection(("127.0.0.1", int(loop.listener.address.rpartition(":")[2])), timeout=5)
    loop.clients.append(client)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(next_fd := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd, before[1]))
    try:
        loop.listener.ready(next(iter(loop.listener.fds())))
        assert loop.listener.fds() == {}
        assert loop.listener.deadline() == loop.now + http.PAUSE_S
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    loop.later(http.PAUSE_S)
    client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert loop.answer(client).endswith(b"ok\n")


def test_clients_that_vanish(loop: Loop) -> None:
    loop.listener.publish(WELL)
    for sent in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n"):
        client = loop.connect()
        client.sendall(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # with a reset
        loop.turn()
    assert len(loop.listener.fds()) == 1


def test_a_descriptor_is_not_given_to_another_before_the_loop_has_looked(loop: Loop) -> None:
    """The loop keeps its registrations from one turn to the next, by number."""
    first = loop.connect()
    door = loop.listener._listening.fileno()
    (old,) = set(loop.listener.fds()) - {door}
    first.close()
    second = socket.create_connection(("127.0.0.1", int(loop.listener.address.rpartition(":")[2])), timeout=5)
    loop.clients.append(second)
    holes = [os.dup(0) for _ in range(64)]  # now the lowest free number is that of whoever goes
    loop.listener.ready(old)
    loop.listener.ready(door)
    for fd in holes:
        os.close(fd)
    assert old not in loop.listener.fds()
    assert len(loop.listener.fds()) == 2


def test_noise(loop: Loop) -> None:
    """Whatever comes: it is answered or dropped, and the next one is served."""
    loop.listener.publish(WELL)
    dice = random.Random(4)
    pieces = [
        b"GET ",
        b"/metrics",
        b" HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\0",
        b"\xff" * 9,
        b"Host: x",
        b"POST ",
        b" ",
        b"?verbose",
    ]
    for _ in range(150):
        client = loop.connect()
        client.sendall(b"".join(dice.choice(pieces) for _ in range(dice.randrange(1, 12))))
        loop.turn(1)
        if dice.random() < 0.7:
            client.close()
    loop.turn()
    assert loop.get("/healthz") == (200, "ok\n")
    loop.later(PATIENCE_S)
    assert len(loop.listener.fds()) == 1


# -- where it listens ------------------------------------------------------------------------------


def test_the_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    old = os.umask(0)
    try:
        listener = listen(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert listener.address == str(path)
    with pytest.raises(ListenError, match="another agent listens"):
        listen(path)
    listener.close()
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_the_socket_of_a_killed_agent_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    listen(path).close()


@pytest.mark.parametrize("where", ["9441", "localhost", ":9441", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"])
def test_what_is_no_address(where: str) -> None:
    with pytest.raises(ListenError, match="hint: write it as"):
        listen(where)


def test_an_address_in_use(tmp_path: Path) -> None:
    first = listen("127.0.0.1:0")
    with pytest.raises(ListenError, match="cannot listen on"):
        listen(first.address)
    first.close()


def test_ipv6() -> None:
    listener = listen("[::1]:0")
    assert listener.address.startswith("[::1]:")
    listener.close()


def test_a_real_client_over_a_real_loop(tmp_path: Path) -> None:
    """http.client in a thread, the loop here."""
    import http.client

    listener = listen("127.0.0.1:0")
    listener.publish(WELL)
    found: list[tuple[int, bytes]] = []

    def ask() -> None:
        for path in ("/healthz", "/metrics"):
            host, _, port = listener.address.rpartition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=10)
            connection.request("GET", path)
            response = connection.getresponse()
            found.append((response.status, response.read()))
            connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    drive(listener, lambda: not thread.is_alive())
    thread.join()
    listener.close()
    assert found[0] == (200, b"ok\n")
    assert found[1][0] == 200


def drive(listener: Listener, until: Callable[[], bool]) -> None:
    while not until():
        with selectors.DefaultSelector() as selector:
            for fd, events in listener.fds().items():
                selector.register(fd, events)
            for key, _ in selector.select(0.05):
                listener.ready(key.fd)
