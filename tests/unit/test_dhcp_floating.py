"""The agent's part that moves servers' addresses: an ear that says what the test lets it hear, and a real disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pytest

from windrow.apps.dhcp import floating
from windrow.apps.dhcp.floating import Floating
from windrow.model.pools import Candidate
from windrow.model.values import Cidr, IfName, Mac
from windrow.status.floating import AWAY, EVERY, SILENT, STEP, TICK_S
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_active

LINK, ADDRESS, POOL = IfName("oob-br.100"), Cidr("10.1.0.2/24"), "default/p"
OWN, OTHER = Mac("52:54:00:00:00:01"), Mac("52:54:00:00:00:02")


class Ear:
    all: ClassVar[list[Ear]] = []

    def __init__(self, link: str, addresses: Iterable[str]) -> None:
        self.addresses, self.said, self.sent, self.closed = list(addresses), set[tuple[str, Mac]](), list[str](), False
        Ear.all.append(self)

    def fileno(self) -> int:
        return 1000

    def ask(self, address: str) -> None:
        self.sent.append(f"who has {address}")

    def announce(self, address: str) -> None:
        self.sent.append(f"I have {address}")

    def heard(self) -> frozenset[tuple[str, Mac]]:
        found, self.said = frozenset(self.said), set()
        return found

    def close(self) -> None:
        self.closed = True


class Site:
    def __init__(self, root: Path) -> None:
        self.paths, self.mono, self.said, self.failing = Paths(root), 100.0, list[str](), set[IfName]()
        self.open()

    def open(self) -> None:
        self.part = Floating(self.paths, told=self.said.append, failing=lambda: self.failing, mono=lambda: self.mono)

    def want(self, rank: int | None = 0, *serving: str) -> None:
        one = [] if rank is None else [Candidate(pool=POOL, interface=LINK, address=ADDRESS, rank=rank)]
        self.part.want(one, serving)

    def see(self, *addresses: Cidr) -> None:
        self.part.see({LINK: set(addresses)}, {OWN})

    def tick(self, times: int = 1) -> bool:
        """Whether something changed."""
        found = False
        for _ in range(times):
            self.mono = self.part.deadline() or self.mono
            found |= self.part.ready(-1)
        return found

    def hears(self, mac: Mac) -> bool:
        self.ear.said.add(("10.1.0.2", mac))
        return self.part.ready(self.ear.fileno())

    @property
    def ear(self) -> Ear:
        return Ear.all[-1]

    @property
    def active(self) -> frozenset[str]:
        return read_active(self.paths)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    Ear.all.clear()
    monkeypatch.setattr(floating, "Ear", Ear)
    monkeypatch.setattr(floating, "_index", lambda _name: 7)
    return Site(tmp_path)


def test_it_asks_takes_and_announces(site: Site) -> None:
    site.want()
    site.see()
    assert site.part.deadline() == 100.0 + TICK_S
    assert not site.tick(SILENT - 1)
    assert not site.active
    assert site.ear.sent == ["who has 10.1.0.2"] * (SILENT - 1)
    assert site.tick()
    assert site.active == {POOL}
    site.tick()
    assert "I have 10.1.0.2" not in site.ear.sent, "it is not there yet"
    site.see(ADDRESS)
    site.tick()
    assert "I have 10.1.0.2" in site.ear.sent
    site.ear.sent.clear()
    site.tick(EVERY)
    assert sorted(site.ear.sent) == ["I have 10.1.0.2"] * EVERY + ["who has 10.1.0.2"]
    assert site.said == ["10.1.0.2, the server of IPPool default/p, answers nowhere: this node takes it"]


def test_who_is_heard_is_stood_by(site: Site) -> None:
    site.want(rank=1)
    site.see()
    for _ in range(3):
        site.tick(SILENT + STEP - 1)
        assert not site.hears(OTHER)
    assert not site.active
    assert len(site.said) == 1 and str(OTHER) in site.said[0]
    assert site.tick(SILENT + STEP)
    assert site.active == {POOL}


def test_who_says_it_all_the_time_wakes_nobody_all_the_time(site: Site) -> None:
    site.want()
    site.see()
    assert site.part.fds()
    site.hears(OTHER)
    assert not site.part.fds()
    site.ear.said.add(("10.1.0.2", OTHER))
    site.tick()
    assert not site.ear.said, "what came meanwhile counts"
    assert site.part.fds()


def test_its_own_voice_is_no_other_node(site: Site) -> None:
    site.want()
    site.see()
    site.tick(SILENT - 1)
    site.hears(OWN)
    assert site.tick()


@pytest.mark.parametrize("rank", [0, 1])
def test_where_two_have_it_the_first_keeps_it(site: Site, rank: int) -> None:
    site.want(rank)
    site.see()
    site.tick(SILENT + STEP)
    site.see(ADDRESS)
    assert site.hears(OTHER) is bool(rank)
    assert site.active == (set() if rank else {POOL})


def test_the_next_agent_goes_on(site: Site) -> None:
    site.want()
    site.see()
    site.tick(SILENT)
    site.part.close()
    assert site.ear.closed
    site.open()
    site.want()
    assert site.active == {POOL}


def test_a_pool_that_another_node_comes_to_stays_where_it_is(site: Site) -> None:
    site.want(None, POOL)
    assert site.active == {POOL}
    assert site.part.deadline() is None
    site.want(1)
    assert site.active == {POOL}
    site.want(None)
    assert site.active == frozenset()
    assert site.part.deadline() is None


def test_a_server_that_does_not_start_is_another_nodes_turn(site: Site) -> None:
    site.want()
    site.see()
    site.tick(SILENT)
    site.see(ADDRESS)
    site.failing.add(LINK)
    assert site.tick()
    assert not site.active
    site.failing.clear()
    assert not site.tick(AWAY)
    assert site.tick(SILENT)


def test_who_cannot_listen_takes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> Ear:
        raise OSError

    monkeypatch.setattr(floating, "Ear", gone)
    site.want()
    site.see()
    assert not site.tick(100)
    assert not site.part.fds()


def test_a_link_that_was_made_anew_is_listened_to_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.want()
    site.see()
    site.see()
    assert len(Ear.all) == 1
    monkeypatch.setattr(floating, "_index", lambda _name: 8)
    site.see()
    assert [ear.closed for ear in Ear.all] == [True, False]


def test_what_cannot_be_read_is_nobodys_turn(site: Site) -> None:
    site.paths.active_pools.parent.mkdir(parents=True, exist_ok=True)
    for text in ("", "{", "[]", '{"active": 7}'):
        site.paths.active_pools.write_text(text)
        assert site.active == frozenset()
