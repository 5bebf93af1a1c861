"""Carrier alone does not tell that an LACP bond passes frames: what AwaitCarrier waits for."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Protocol

import pytest

from windrow.model.host import LacpState, Link, Runtime
from windrow.model.steps import Action, AwaitCarrier, Failure
from windrow.netlink import lacp, links
from windrow.netlink.sock import Message

PASSING = 0x30
"""Collecting and distributing."""


class Ns(Protocol):
    fd: int

    def run(self, *messages: Message) -> None: ...

    def index(self, name: str) -> int: ...

    def link(self, name: str) -> Link: ...

    def runtime(self, name: str) -> Runtime: ...

    def do(self, *pairs: tuple[str, Action]) -> None: ...

    def try_(self, *pairs: tuple[str, Action]) -> Failure | None: ...


def lacp_bond(ns: Ns, nic: str, mac: str) -> None:
    ns.run(links.create("bo", "bond", mac=mac, data={"mode": 4, "lacp_rate": 1, "miimon": 20}))
    ns.run(links.set_master(nic, ns.index("bo")), links.set_link("bo", up=True))


def cable(ns: Ns, far: Ns) -> None:
    ns.run(links.veth(links.End(name="n"), links.End(name="f", netns=far.fd)))


def passes(ns: Ns) -> bool:
    state = ns.runtime("n").lacp
    return state is not None and state.actor_state & state.partner_state & PASSING == PASSING


def test_with_a_partner_it_waits_until_both_pass_frames(
    ns: Ns, new_ns: Callable[[], Ns], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lacp, "ANSWER_S", 5.0)
    far = new_ns()
    cable(ns, far)
    lacp_bond(far, "f", "02:00:00:00:00:0b")
    lacp_bond(ns, "n", "02:00:00:00:00:0a")
    bond = ns.runtime("bo")  # one look: the partner may answer a moment later
    assert bond.carrier, "which says nothing yet"
    assert not passes(ns)
    ns.do(("bo", AwaitCarrier(30_000, 60_000)))  # it has agreed, so that nothing needs to settle
    state = ns.runtime("n").lacp
    assert isinstance(state, LacpState)
    assert state.actor_state & state.partner_state & PASSING == PASSING
    assert state.partner_mac == "02:00:00:00:00:0b"


def test_a_partner_that_does_not_agree_in_time(ns: Ns, new_ns: Callable[[], Ns]) -> None:
    far = new_ns()
    cable(ns, far)
    lacp_bond(far, "f", "02:00:00:00:00:0b")
    lacp_bond(ns, "n", "02:00:00:00:00:0a")
    end = time.monotonic() + 20
    while ns.runtime("bo").partner_mac is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    failure = ns.try_(("bo", AwaitCarrier(10)))  # two seconds less than both sides need from here
    assert failure is not None
    assert failure.errno == errno.ETIMEDOUT
    assert "the partner 02:00:00:00:00:0b answers and does not agree" in failure.reason


def test_without_a_partner_it_goes_on(ns: Ns, new_ns: Callable[[], Ns], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lacp, "ANSWER_S", 0.5)
    far = new_ns()
    cable(ns, far)
    far.run(links.set_link("f", up=True))
    lacp_bond(ns, "n", "02:00:00:00:00:0a")
    start = time.monotonic()
    ns.do(("bo", AwaitCarrier(10_000, 300)))
    assert 0.8 <= time.monotonic() - start < 5, "half a second for an answer, and 300 ms to settle"


def test_what_does_no_lacp_only_settles(ns: Ns, new_ns: Callable[[], Ns]) -> None:
    far = new_ns()
    cable(ns, far)
    far.run(links.set_link("f", up=True))
    ns.run(links.set_link("n", up=True))
    start = time.monotonic()
    ns.do(("n", AwaitCarrier(10_000, 300)))
    assert time.monotonic() - start >= 0.3
