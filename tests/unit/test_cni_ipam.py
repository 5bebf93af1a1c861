"""An IPAM plugin at work beside the call that makes the port, and what becomes of it when that fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from windrow.apps.cni import addresses, bridge
from windrow.apps.cni.host import Host
from windrow.apps.cni.undo import Undo
from windrow.netlink.errors import KernelError
from windrow.port.bridge import BridgeConfig
from windrow.port.errors import DELEGATE_FAILED, CniError
from windrow.port.request import ADD, DEL, Request
from windrow.services import plugins

GIVEN = {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]}


@dataclass
class Plugin:
    """It gives an address once it may; what was done is in `done`, in order."""

    done: list[str] = field(default_factory=list)
    may: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    refuses: CniError | None = None
    has_nothing: bool = False

    def run(
        self, _ipam: str, _request: Request, command: str, *, holding: int | None = None
    ) -> Mapping[str, object] | None:
        if command == DEL:
            self.done.append("release")
            if self.has_nothing:
                raise CniError(DELEGATE_FAILED, "there is nothing to release")
            return None
        assert command == ADD
        self.done.append("begin")
        self.begun.set()
        assert self.may.wait(20)
        self.done.append("give")
        if self.refuses:
            raise self.refuses
        return GIVEN


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    found = Plugin()
    monkeypatch.setattr(addresses, "run_ipam", found.run)
    monkeypatch.setattr(plugins, "find", lambda *_: "/usr/lib/cni/plugin")
    return found


def asked(plugin: Plugin, ipam: str, undo: Undo) -> Callable[[], object]:
    config = BridgeConfig(network="n", bridge="b", ipam=ipam)
    request = Request(command=ADD, container_id="c", ifname="eth0")
    return addresses.requested(config, request, undo, first=lambda: plugin.done.append("record"), holding=None)


def test_host_local_works_while_the_port_is_made(plugin: Plugin) -> None:
    """The record is written before it begins."""
    with Undo() as undo:
        given = asked(plugin, "host-local", undo)
        assert plugin.begun.wait(20)
        assert plugin.done == ["record", "begin"]
        plugin.may.set()
        result = given()
    assert [ip.address for ip in result.ips] == ["10.9.0.2/24"]  # type: ignore[attr-defined]
    assert plugin.done == ["record", "begin", "give"]


def test_one_that_asks_by_way_of_the_link_waits_for_it(plugin: Plugin) -> None:
    plugin.may.set()
    with Undo() as undo:
        given = asked(plugin, "dhcp", undo)
        assert plugin.done == []
        given()
    assert plugin.done == ["record", "begin", "give"]


@pytest.mark.parametrize("ipam", ["host-local", "dhcp"])
def test_a_port_that_cannot_be_made_gives_its_addresses_back(plugin: Plugin, ipam: str) -> None:
    """Once they were given: a release that comes before would leave them for ever."""
    forgotten: list[bool] = []

    def fail() -> None:
        with Undo() as undo:
            undo.last = lambda: forgotten.append(True)
            asked(plugin, ipam, undo)
            threading.Timer(0.1, plugin.may.set).start()
            raise OSError("no port")

    with pytest.raises(OSError, match="no port"):
        fail()
    assert plugin.done == (["record", "begin", "give", "release"] if ipam == "host-local" else ["release"])
    assert forgotten


@pytest.mark.parametrize(("code", "forgotten"), [(7, True), (DELEGATE_FAILED, False)])
def test_a_plugin_that_says_why_it_gives_nothing_need_not_release_it(
    plugin: Plugin, code: int, forgotten: bool
) -> None:
    """Nobody waited for its answer, for the port could not be made. One that failed without a word may have given."""
    plugin.refuses, plugin.has_nothing = CniError(code, "the range is full"), True
    plugin.may.set()
    done: list[bool] = []

    def fail() -> None:
        with Undo() as undo:
            undo.last = lambda: done.append(True)
            asked(plugin, "host-local", undo)
            raise OSError("no port")

    with pytest.raises(OSError, match="no port"):
        fail()
    assert plugin.done[-1] == "release" and bool(done) is forgotten


# Release ------------------------------------------------------------------------------------------

SCRIPT = """\
#!/bin/sh
echo started >> {log}
config=$(cat)
[ "$config" ] || exit 1
echo "$CNI_COMMAND $config" >> {log}
{end}
"""


@dataclass
class Stub:
    """An IPAM plugin as a script, which notes in a file what it does."""

    log: Path
    request: Request
    host: Host

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{what}\n")

    def await_start(self) -> None:
        end = time.monotonic() + 20
        while "started" not in self.said() and time.monotonic() < end:
            time.sleep(0.01)

    def remove_port(self, *_: object, meanwhile: Callable[[], object]) -> None:
        meanwhile()
        self.note("the port is gone")

    def delete(self, monkeypatch: pytest.MonkeyPatch, remove_port: Callable[..., None]) -> None:
        monkeypatch.setattr(bridge, "_remove_port", remove_port)
        bridge.delete(self.request, self.host)


def stub_of(place: Path, name: str, end: str = "") -> Stub:
    log = place / "log"
    log.touch()
    script = place / "plugins" / name
    script.parent.mkdir()
    script.write_text(SCRIPT.format(log=log, end=end))
    script.chmod(0o755)
    config = {"cniVersion": "1.0.0", "name": "n", "type": "windrow-bridge", "bridge": "b", "ipam": {"type": name}}
    request = Request(
        command=DEL,
        container_id="c",
        ifname="eth0",
        path=(str(script.parent),),
        config=config,
        stdin=json.dumps(config, separators=(",", ":")).encode(),
        env={"PATH": os.environ["PATH"]},
    )
    return Stub(log, request, Host(place))


@pytest.mark.parametrize("ipam", ["host-local", "dhcp"])
def test_addresses_are_released_once_the_port_is_gone(
    ipam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that looks at no link is there by then."""
    stub = stub_of(tmp_path, ipam)

    def remove_port(*_: object, meanwhile: Callable[[], object]) -> None:
        meanwhile()
        if ipam == "host-local":
            stub.await_start()
        stub.note("the port is gone")

    stub.delete(monkeypatch, remove_port)
    began, gone = "started", "the port is gone"
    released = f"DEL {stub.request.stdin.decode()}"
    assert stub.said() == ([began, gone, released] if ipam == "host-local" else [gone, began, released])


@pytest.mark.parametrize("ipam", ["host-local", "dhcp"])
def test_addresses_of_a_port_that_is_not_there_are_released(
    ipam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = stub_of(tmp_path, ipam)
    stub.delete(monkeypatch, lambda *_, meanwhile: None)
    assert stub.said() == ["started", f"DEL {stub.request.stdin.decode()}"]


@pytest.mark.parametrize("ipam", ["host-local", "dhcp"])
def test_where_the_port_stays_its_addresses_stay(ipam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = stub_of(tmp_path, ipam)

    def remove_port(*_: object, meanwhile: Callable[[], object]) -> None:
        meanwhile()
        if ipam == "host-local":
            stub.await_start()
        raise KernelError(errno.EBUSY, "delete link")

    with pytest.raises(KernelError, match="delete link"):
        stub.delete(monkeypatch, remove_port)
    assert not [line for line in stub.said() if line.startswith("DEL")]
    with pytest.raises(ChildProcessError):  # nothing of it is left
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("ipam", ["host-local", "dhcp"])
def test_a_release_that_fails_is_told_and_the_port_is_gone(
    ipam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = stub_of(tmp_path, ipam, end="""echo '{"code": 11, "msg": "later"}'; exit 1""")
    with pytest.raises(CniError, match="later") as caught:
        stub.delete(monkeypatch, stub.remove_port)
    assert caught.value.code == 11 and "the port is gone" in stub.said()


@pytest.mark.parametrize("ipam", ["host-local", "dhcp"])
def test_a_plugin_that_cannot_be_started_is_told_once_the_port_is_gone(
    ipam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = stub_of(tmp_path, ipam)
    Path(stub.request.path[0], ipam).write_text("#!/no/such/shell\n")
    with pytest.raises(CniError, match=f"plugin {ipam} cannot be run: No such file") as caught:
        stub.delete(monkeypatch, stub.remove_port)
    assert caught.value.code == DELEGATE_FAILED and stub.said() == ["the port is gone"]


KILLED = """\
import json, os, sys
from windrow.apps.cni import addresses
from windrow.port.request import DEL, Request

config = json.loads(sys.argv[1])
request = Request(command=DEL, container_id="c", ifname="eth0", config=config, stdin=sys.argv[1].encode())
with addresses.releasing("host-local", request):
    os.kill(os.getpid(), 9)
"""


def test_a_call_that_is_killed_while_the_port_goes_has_released_nothing(tmp_path: Path) -> None:
    """The plugin that it has started finds the end of its input, and that is no configuration."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]], "dataDir": str(tmp_path)}
    config = json.dumps({"cniVersion": "1.0.0", "name": "n", "ipam": ipam}).encode()
    env = {"CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": "/none", "CNI_PATH": "/none"}
    plugins.run("host-local", env={**env, "CNI_COMMAND": ADD}, config=config, path=())
    lease = tmp_path / "n" / "10.9.0.2"
    assert lease.exists()
    program = f"import sys; sys.path[:] = {sys.path}\n{KILLED}"
    killed = subprocess.run([sys.executable, "-c", program, config.decode()], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    time.sleep(0.3)  # for what it would do, if it did
    assert lease.exists()
    plugins.run("host-local", env={**env, "CNI_COMMAND": DEL}, config=config, path=())
    assert not lease.exists()
