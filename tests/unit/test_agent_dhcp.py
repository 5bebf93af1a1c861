"""The agent's DHCP clients: which run, when one is started again, what is heard. Their talk is in tests/agent."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.apps.agent import dhcp
from windrow.apps.agent.dhcp import Clients
from windrow.model.leases import ClientOptions, Lease
from windrow.model.steps import AddAddr, AskAddr, Failure
from windrow.model.values import Cidr, IfName
from windrow.services import dhcpdecline, process, udhcpc
from windrow.services.udhcpc import Client, Place, Request
from windrow.store.leases import Leases, this_moment
from windrow.store.paths import Paths
from windrow.testing.builders import step

A, B = IfName("oob-br.1"), IfName("oob-br.2")
OPTIONS = ClientOptions(hostname="n0")


class World:
    """Links, and in the place of udhcpc a program that only sleeps; on SIGUSR2 it says what udhcpc's program says."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = Paths(root)
        self.links = {A: 11, B: 12}
        self.started: list[tuple[str, Request]] = []
        self.children: list[subprocess.Popen[bytes]] = []
        monkeypatch.setattr(dhcp, "_index", lambda name: self.links.get(name, 0))
        monkeypatch.setattr(udhcpc, "start", self.start)

    def start(self, place: Place, request: Request) -> Client:
        self.started.append((place.interface, request))
        script = "import signal,socket,sys,time\ndef say(*_):\n s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n"
        script += " s.sendto(sys.argv[1].encode(), sys.argv[2])\n s.close()\nsignal.signal(signal.SIGUSR2, say)\n"
        script += "open(sys.argv[4],'w').write(str(__import__('os').getpid()))\nwhile True: time.sleep(60)"
        words = [f"deconfig {place.interface}", str(place.wake), "-p", str(place.pid_file)]
        one = subprocess.Popen(["/usr/bin/python3", "-I", "-S", "-c", script, *words])
        self.children.append(one)
        end = time.monotonic() + 20
        while not (place.pid_file.exists() and place.pid_file.read_text()):
            assert time.monotonic() < end
            time.sleep(0.01)
        return Client(process.Process(pid=one.pid, started=process.start_time(one.pid) or 0))

    def lease(self, name: IfName, seconds: int) -> None:
        now = this_moment()
        document = {"event": "bound", "boot": now.boot, "booted_s": now.booted_s, "wall_s": now.wall_s}
        options = {"ip": "10.7.0.50", "subnet": "255.255.255.0", "lease": str(seconds), "serverid": "10.7.0.1"}
        path = Leases(self.paths).path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document | {"options": options}))

    def say(self, what: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(what.encode(), str(self.paths.dhcp / "wake"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    for child in made.children:
        child.kill()
        child.wait()


@pytest.fixture
def clients(world: World) -> Iterator[Clients]:
    found = Clients(world.paths)
    yield found
    found.close()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def names(world: World) -> list[str]:
    return [name for name, _ in world.started]


def test_a_client_for_each_link_and_no_other(world: World, clients: Clients) -> None:
    clients.want({A: OPTIONS, B: OPTIONS})
    clients.want({A: OPTIONS, B: OPTIONS})
    assert names(world) == [A, B] and len(clients.fds()) == 3
    world.lease(A, 3600)
    clients.want({B: OPTIONS})
    until(lambda: world.children[0].poll() is not None)
    assert len(clients.fds()) == 2 and not Leases(world.paths).names()
    assert sorted(p.name for p in world.paths.dhcp.glob("*.pid")) == [f"{B}.pid"]


def test_one_that_ended_is_started_again_and_asks_for_its_address(world: World, clients: Clients) -> None:
    clients.want({A: OPTIONS})
    world.lease(A, 3600)
    pauses = []
    for number in range(3):
        (fd,) = [fd for fd in clients.fds() if fd != min(clients.fds())]
        os.kill(world.children[number].pid, signal.SIGKILL)
        world.children[number].wait()
        assert not clients.ready(fd), "no lease changed"
        due = clients.deadline()
        assert due is not None
        pauses.append(due - time.monotonic())
        time.sleep(max(due - time.monotonic(), 0) + 0.01)
        clients.ready(-1)
        assert len(world.started) == number + 2
    assert pauses == sorted(pauses) and pauses[-1] > pauses[0] * 2, "one that dies at once is tried less and less"
    assert world.started[-1][1].address == "10.7.0.50" and world.started[0][1].address == ""
    assert Leases(world.paths).in_force(this_moment())


def test_a_link_that_is_not_there_yet_is_waited_for(world: World, clients: Clients) -> None:
    index = world.links.pop(A)
    clients.want({A: OPTIONS})
    assert not world.started and clients.deadline() is not None
    assert A in Leases(world.paths).asking(), "who looks at it is told that it is being seen to"
    world.links[A] = index
    clients.want({A: OPTIONS})
    due = clients.deadline()
    assert due is not None and due - time.monotonic() <= dhcp.FIRST_S
    time.sleep(dhcp.FIRST_S + 0.01)
    clients.ready(-1)
    assert names(world) == [A]


def test_a_link_that_was_made_anew_has_a_new_client_and_its_lease(world: World, clients: Clients) -> None:
    clients.want({A: OPTIONS})
    world.lease(A, 3600)
    world.links[A] = 99
    clients.want({A: OPTIONS})
    assert names(world) == [A, A] and world.children[0].wait(20) is not None
    assert Leases(world.paths).in_force(this_moment())
    clients.want({A: ClientOptions(hostname="other")})
    assert [request.hostname for _, request in world.started] == ["n0", "n0", "other"]


def test_a_new_agent_finds_the_clients_of_the_one_before(world: World) -> None:
    first = Clients(world.paths)
    first.want({A: OPTIONS, B: OPTIONS})
    world.lease(A, 3600)
    world.lease(B, 3600)
    first.close()
    assert [child.poll() for child in world.children] == [None, None]
    (world.paths.dhcp / f"{A}.pid").unlink()  # it is found all the same
    second = Clients(world.paths)
    second.want({A: OPTIONS})
    assert names(world) == [A, B], "none was started"
    assert world.children[0].poll() is None
    until(lambda: world.children[1].poll() is not None)
    assert Leases(world.paths).names() == (A,)
    second.close()


def test_a_lease_that_runs_out_is_a_deadline(world: World, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    clients.want({A: OPTIONS})
    assert clients.deadline() is None, "nothing to do: no timer"
    world.lease(A, 3600)
    world.say(f"bound {A}")
    assert clients.ready(min(clients.fds()))
    due = clients.deadline()
    assert due is not None and 3590 < due - time.monotonic() <= 3600
    assert not clients.ready(-1)
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 3601
    monkeypatch.setattr(dhcp, "_booted", lambda: later)
    assert clients.ready(-1), "to be looked at: the address goes"


def test_what_is_said_while_another_one_leaves_is_not_lost(world: World, clients: Clients) -> None:
    clients.want({A: OPTIONS, B: OPTIONS})
    world.say(f"renew {B}")
    clients.want({B: OPTIONS})
    due = clients.deadline()
    assert due is not None and due <= time.monotonic()
    assert clients.ready(-1)
    assert clients.deadline() is None


def test_why_no_client_can_be_started_is_said(world: World, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(dhcp, "_index", lambda _: 1)
    monkeypatch.setattr(udhcpc, "DIRECTORIES", ())
    clients.want({A: OPTIONS})
    assert Leases(world.paths).asking()[A].trouble == "udhcpc: busybox is not installed"
    assert clients.deadline() is not None


def test_its_socket_is_nobody_elses(world: World, clients: Clients) -> None:
    assert (world.paths.dhcp / "wake").stat().st_mode & 0o777 == 0o600


def test_a_log_that_grew_is_emptied(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (udhcpc.LOG_MOST + 1))
    udhcpc.trim(log)
    assert log.stat().st_size == 0
    log.write_bytes(b"x" * udhcpc.LOG_MOST)
    udhcpc.trim(log)
    udhcpc.trim(tmp_path / "none")
    assert log.stat().st_size == udhcpc.LOG_MOST


# -- an address that somebody else has -------------------------------------------------------------

SAID = "somebody else has 10.7.0.50 (MAC 02:00:00:00:00:99)"
LEASED = Cidr("10.7.0.50/24")
IN_USE = Failure(step=step(A, AskAddr(LEASED)), errno=errno.EADDRINUSE, reason=SAID)


@pytest.fixture
def declined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(link, address, what is said of it), as it would go to the server."""
    found: list[tuple[str, str, str]] = []

    def decline(lease: Lease, _client_id: str, why: str) -> None:
        found.append((lease.interface, lease.address, why))

    monkeypatch.setattr(dhcpdecline, "decline", decline)
    return found


def pause_s(clients: Clients) -> float:
    due = clients.deadline()
    assert due is not None
    return due - time.monotonic()


def test_an_address_that_somebody_else_has_is_declined_and_asked_for_anew_after_ten_seconds(
    world: World, clients: Clients, declined: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.want({A: OPTIONS, B: OPTIONS})
    world.lease(A, 3600)
    clients.failed(IN_USE)
    assert declined == [(A, LEASED, SAID)]
    assert world.children[0].wait(20) is not None and world.children[1].poll() is None
    assert not Leases(world.paths).in_force(this_moment()), "or the next round would ask for it again"
    assert Leases(world.paths).asking()[A].declined == SAID
    assert 9 < pause_s(clients) <= 10
    clients.want({A: OPTIONS, B: OPTIONS})
    clients.ready(-1)
    assert len(world.started) == 2, "nothing asks before (RFC 2131 §3.1 (5))"
    moment = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: moment() + 10.5)
    clients.ready(-1)
    assert world.started[-1] == (A, Request(hostname="n0", timing=world.started[0][1].timing)), "any address will do"


def test_a_server_that_insists_is_asked_less_and_less(
    world: World, clients: Clients, declined: list[tuple[str, str, str]]
) -> None:
    pauses = []
    clients.want({A: OPTIONS})
    for _ in range(7):
        world.lease(A, 3600)
        clients.failed(IN_USE)
        pauses.append(round(pause_s(clients)))
    assert pauses == [10, 20, 40, 80, 160, 300, 300] and len(declined) == 7


@pytest.mark.parametrize(
    "failure",
    [
        Failure(step=step(A, AskAddr(LEASED)), errno=errno.ENETDOWN, reason="nobody could be asked"),
        Failure(step=step(A, AddAddr(LEASED)), errno=errno.EADDRINUSE, reason=SAID),
        Failure(step=step(A, AskAddr(Cidr("10.7.0.51/24"))), errno=errno.EADDRINUSE, reason="not the lease's"),
        Failure(step=step(B, AskAddr(LEASED)), errno=errno.EADDRINUSE, reason="a fixed address"),
        Failure(step=step(IfName("mgmt-br"), AskAddr(LEASED)), errno=errno.EADDRINUSE, reason="no client at all"),
    ],
    ids=lambda failure: failure.reason,
)
def test_nothing_else_is_declined(
    world: World, clients: Clients, declined: list[tuple[str, str, str]], failure: Failure
) -> None:
    clients.want({A: OPTIONS, B: OPTIONS})
    world.lease(A, 3600)
    clients.failed(failure)
    assert not declined and A in Leases(world.paths).in_force(this_moment())
    assert [child.poll() for child in world.children] == [None, None]


@pytest.mark.parametrize(("passed_s", "rest_s"), [(4, 6), (-3600, 10), (3600, 0)])
@pytest.mark.usefixtures("declined")
def test_an_agent_that_is_started_anew_waits_for_the_rest_of_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch, passed_s: float, rest_s: float
) -> None:
    """By the clock that people set: whatever they set it to, it is no longer than the whole."""
    first = Clients(world.paths)
    first.want({A: OPTIONS})
    world.lease(A, 3600)
    first.failed(IN_USE)
    first.close()
    clock = time.time() + passed_s
    monkeypatch.setattr(time, "time", lambda: clock)
    second = Clients(world.paths)
    second.want({A: OPTIONS})
    if rest_s:
        assert rest_s - 1 < pause_s(second) <= rest_s + 0.5
        assert Leases(world.paths).asking()[A].declined == SAID, "it is still why there is no address"
    assert len(world.started) == (1 if rest_s else 2)
    second.close()


def test_a_link_that_is_gone_is_asked_on_again_all_the_same(
    world: World, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame cannot be sent. What could be: the client has ended, and the lease is not renewed."""
    clients.want({A: OPTIONS})
    world.lease(A, 3600)
    clients.failed(IN_USE)  # there is no such link here
    assert world.children[0].wait(20) is not None and 9 < pause_s(clients) <= 10
    assert not Leases(world.paths).in_force(this_moment())
