"""Whether somebody gets in anew after a change, told by TCP connections that a peer really opens, or cannot."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.agent.hands import Site, site, until

from windrow.model.checkpoint import Stage
from windrow.store.events import Events

PORT = 4000
ADDRESS = "10.0.0.10"

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: incoming}
spec:
  nodes:
    - name: node-0
      nics: [eth0, eth1]
      management: {nics: [eth0], address: 10.0.0.10/24, gateway: 10.0.0.1, plain: true}
  switches:
    - name: sw
      ports: [{names: [p0, p1, p9], native: 1}]
  hosts:
    - name: router
      role: router
      nics: [{name: eth0, addresses: {untagged: 10.0.0.1/24}}]
  cables:
    - ["node-0:eth0", "sw:p0"]
    - ["node-0:eth1", "sw:p1"]
    - ["router:eth0", "sw:p9"]
"""
NOT_BY_ETH0 = (
    "PREROUTING",
    "!",
    "-i",
    "eth0",
    "-p",
    "tcp",
    "--dport",
    str(PORT),
    "-j",
    "DNAT",
    "--to-destination",
    ":9",
)
"""By eth0 alone, as after `init` nothing comes in. The lab's kernel has no table `filter` that could drop it; what this
table does is about new connections alone, too."""
ALSO_BY_THE_BRIDGE = ("PREROUTING", "-i", "mgmt-br", "-j", "ACCEPT")


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Site, Any]]:
    with site(SCENARIO) as made:
        yield made, made.state()


@pytest.fixture
def plain(world: tuple[Site, Any]) -> Iterator[Site]:
    """As the installer left it, with a program that listens."""
    node, before = world
    with node.world.inside(node.node, lambda: socket.create_server(("", PORT))):
        yield node
    filtered(node, "-F")
    if "mgmt-br" in node.observe().state.links:
        said = node.run("init", "--undo", "--timeout", "20s")
        assert said.code == 0, said.said
    assert node.state() == before


def filtered(node: Site, *words: str) -> None:
    def call() -> None:
        done = subprocess.run(["iptables-legacy", "-t", "nat", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    node.world.inside(node.node, call)


@contextlib.contextmanager
def knocking(node: Site, port: int = PORT) -> Iterator[list[socket.socket]]:
    """The router tries again and again to connect; those that it could open, which it keeps open."""
    over, opened = threading.Event(), list[socket.socket]()

    def knock() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                opened.append(node.world.inside(node.router, lambda: socket.create_connection((ADDRESS, port), 0.5)))
            over.wait(0.2)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield opened
    finally:
        over.set()
        thread.join()
        for one in opened:
            one.close()


def test_a_rule_for_the_nic_lets_nobody_in_and_it_is_undone(plain: Site) -> None:
    """The gateway answers all the while."""
    before = plain.state()
    filtered(plain, "-A", *NOT_BY_ETH0)
    refused = plain.run("init", "--nic", "eth0")
    assert refused.code == 1 and "--probe incoming" in refused.said, refused.said
    with knocking(plain) as opened:
        until(lambda: opened)
        running = plain.run("init", "--nic", "eth0", "--probe", f"incoming:{PORT}", "--timeout", "3s")
    assert running.code == 1
    assert f"Open a new connection to port {PORT} of this host now" in running.said
    assert f"nobody opened a new connection to port {PORT} over the links that changed" in running.said
    assert plain.state() == before


def test_with_a_rule_for_the_bridge_beside_it_somebody_comes_in_and_it_is_kept(plain: Site) -> None:
    filtered(plain, "-A", *NOT_BY_ETH0)
    filtered(plain, "-I", *ALSO_BY_THE_BRIDGE)
    with knocking(plain) as opened:
        until(lambda: opened)
        running = plain.run("init", "--nic", "eth0", "--probe", "incoming", "--timeout", "30s")
    assert running.code == 0, running.said
    said = f"10.0.0.1 opened a new connection to port {PORT} after the change"
    assert f"Kept: {said}." in running.said
    (event,) = [e.message for e in Events(plain.paths).all() if e.reason == "ChangeKept"][-1:]
    assert event.endswith(said)


def test_what_this_host_opens_to_itself_is_none(plain: Site) -> None:
    running = plain.begin("init", "--nic", "eth0", "--probe", "incoming", "--timeout", "3s")
    opened = []
    until(lambda: "Open a new connection" in running.said)
    for _ in range(5):
        opened.append(plain.world.inside(plain.node, lambda: socket.create_connection((ADDRESS, PORT), 2)))
    assert running.wait() == 1
    assert "nobody opened a new connection" in running.said
    for one in opened:
        one.close()


def test_where_nothing_listens_it_is_refused_at_once(plain: Site) -> None:
    before = plain.state()
    running = plain.run("init", "--nic", "eth0", "--probe", "incoming:22")
    assert running.code == 1
    assert "no program on this host listens on port 22 for others" in running.said
    assert f"name a port that a program listens on: {PORT}" in running.said
    assert plain.state() == before


@pytest.mark.parametrize(("anew", "how"), [(True, "opened after the change, over"), (False, "had opened before")])
def test_confirm_tells_whether_its_session_is_new(
    plain: Site, monkeypatch: pytest.MonkeyPatch, anew: bool, how: str
) -> None:
    def session() -> socket.socket:
        return plain.world.inside(plain.router, lambda: socket.create_connection((ADDRESS, PORT), 10))

    theirs = session()
    running = plain.begin("init", "--nic", "eth0", "--confirm", "50s")
    until(lambda: (found := plain.checkpoint()) and found.stage is Stage.WAITING and found.id)
    if anew:
        theirs.close()
        theirs = session()
    peer, port = theirs.getsockname()
    monkeypatch.setenv("SSH_CONNECTION", f"{peer} {port} {ADDRESS} {PORT}")
    assert plain.run("confirm").code == 0
    monkeypatch.delenv("SSH_CONNECTION")
    assert running.wait() == 0, running.said
    event = [e.message for e in Events(plain.paths).all() if e.reason == "ChangeKept"][-1]
    assert f"in a session that 10.0.0.1 {how}" in event
    theirs.close()
