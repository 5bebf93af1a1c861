"""An IPAM plugin at work beside the call that makes the port, and what becomes of it when that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from windrow.apps.cni import addresses
from windrow.apps.cni.undo import Undo
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
