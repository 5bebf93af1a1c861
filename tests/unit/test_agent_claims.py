"""Who else claims an address, as the agent hears it; an ear that says what the test lets it hear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import pytest

from windrow.apps.agent import claims
from windrow.apps.agent.claims import ClaimWatch, Place, ipv4
from windrow.model.values import Cidr, IfName, Mac

BR, ADDRESS = IfName("oob-br"), "10.8.0.1"
HIS, OURS = Mac("52:54:00:00:00:99"), Mac("52:54:00:00:00:01")


class Ear:
    """`said`: what comes next."""

    all: ClassVar[list[Ear]] = []

    def __init__(self, link: str, addresses: Iterable[str]) -> None:
        self.link, self.asked, self.said, self.closed = link, [], set[tuple[str, Mac]](), False  # type: ignore[var-annotated]
        Ear.all.append(self)

    def fileno(self) -> int:
        return 1000 + Ear.all.index(self)

    def ask(self, address: str) -> None:
        self.asked.append(address)

    def heard(self) -> frozenset[tuple[str, Mac]]:
        found, self.said = frozenset(self.said), set()
        return found

    def close(self) -> None:
        self.closed = True


class Watch:
    def __init__(self) -> None:
        self.mono = 100.0
        self.watch = ClaimWatch(lambda: self.mono, lambda: 1e9)
        self.want()

    def want(self, **changes: object) -> None:
        place = Place(**{"addresses": frozenset({ADDRESS}), "mac": OURS, **changes})  # type: ignore[arg-type]
        self.watch.want({BR: place}, own=frozenset({OURS}))

    @property
    def ear(self) -> Ear:
        return Ear.all[-1]

    def hears(self, mac: Mac) -> bool:
        self.ear.said.add((ADDRESS, mac))
        return self.watch.ready(self.ear.fileno())

    @property
    def told(self) -> list[Mac]:
        return [claim.mac for claim in self.watch.standing]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    Ear.all = []
    monkeypatch.setattr(claims, "Ear", Ear)
    monkeypatch.setattr(claims, "_index", lambda _: 7)
    return Watch()


def test_a_rival_is_news_once_and_until_he_no_longer_answers(watch: Watch) -> None:
    assert watch.ear.asked == [ADDRESS], "he may have come before anybody listened"
    assert watch.hears(HIS) and watch.told == [HIS]
    assert not watch.watch.fds(), "who shouts is not listened to for a while"
    watch.mono = watch.watch.deadline() or 0.0
    assert not watch.hears(HIS)
    while watch.told:
        watch.mono = watch.watch.deadline() or 0.0
        news = watch.watch.ready(-1)
    assert news and watch.mono < 120 and watch.watch.deadline() is None


def test_this_host_is_no_rival_of_itself(watch: Watch) -> None:
    assert not watch.hears(OURS) and not watch.told


def test_it_listens_anew_only_where_something_changed(watch: Watch) -> None:
    watch.want()
    assert len(Ear.all) == 1
    watch.want(carrier=False)
    watch.want(carrier=True)
    assert len(Ear.all) == 1 and watch.ear.asked == [ADDRESS, ADDRESS]
    watch.want(mac=HIS)
    assert len(Ear.all) == 2 and Ear.all[0].closed
    watch.watch.want({}, own=frozenset())
    assert watch.ear.closed and not watch.watch.fds()


def test_only_ipv4_addresses_are_listened_for() -> None:
    assert ipv4([Cidr("10.8.0.1/24"), Cidr("2001:db8::1/64")]) == {"10.8.0.1"}
