"""Locked out whatever the routing table looks like: no gateway, one of another table, an administrator on the link. The
host comes back in every case, and no change is kept because nobody was asked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.agent.hands import Site, site
from tests.agent.test_lockout import ALLOWED, OLD, SCENARIO, reached_again

ROUTER = "10.0.0.1"
TABLE = "100"


@pytest.fixture(scope="module")
def node() -> Iterator[Site]:
    with site(SCENARIO.replace("name: lockout", "name: lockout-routes")) as made:
        yield made


def ip(node: Site, *words: str) -> None:
    done = subprocess.run(["ip", "-n", node.node, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def bare(node: Site) -> Iterator[Site]:
    """Without a default route, and nobody was heard."""
    if ROUTER in str(node.observe().state.routes):
        ip(node, "route", "del", "default")
    for name in (node.router, node.node):  # the router forgets us first, or asks whether we are still there
        subprocess.run(["ip", "-n", name, "neigh", "flush", "all"], check=True)
    yield node
    subprocess.run(["ip", "-n", node.node, "route", "flush", "table", TABLE], check=False, capture_output=True)
    subprocess.run(["ip", "-n", node.node, "rule", "del", "from", OLD], check=False, capture_output=True)


def heard(node: Site) -> None:
    """The router was here a moment ago: it is in the neighbour table."""
    assert node.answers(OLD, 5.0) is not None


def cut_off(node: Site, what: str, *words: str, before: Any) -> None:
    running = node.begin("init", "--nic", "eth0", "--vlan", "60", "--timeout", ALLOWED, *words)
    reached_again(node, running, what, before)
    assert "no longer answers, and did before" in running.said, running.said


def test_no_gateway_and_a_neighbour_that_was_heard(bare: Site) -> None:
    heard(bare)
    cut_off(bare, "no gateway", before=bare.state())


def test_no_gateway_and_nobody_was_heard_is_refused_beforehand(bare: Site) -> None:
    before = bare.state()
    refused = bare.run("init", "--nic", "eth0", "--vlan", "60", "--timeout", ALLOWED)
    assert refused.code == 1
    assert "nobody answers it now" in refused.said and "nothing was changed" in refused.said
    assert bare.state() == before
    assert bare.answers(OLD, 5.0) is not None


def test_nobody_was_heard_and_somebody_has_to_confirm(bare: Site) -> None:
    before = bare.state()
    running = bare.begin("init", "--nic", "eth0", "--vlan", "60", "--confirm", "1s")
    reached_again(bare, running, "not confirmed", before)


def test_a_gateway_of_another_table(bare: Site) -> None:
    ip(bare, "route", "add", "default", "via", ROUTER, "dev", "eth0", "table", TABLE)
    ip(bare, "rule", "add", "from", OLD, "table", TABLE)
    ip(bare, "neigh", "flush", "all")
    cut_off(bare, "another table", before=bare.state())


def test_an_administrator_on_the_link(bare: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{ROUTER} 51234 {OLD} 22")
    cut_off(bare, "on the link", before=bare.state())


def test_an_address_without_a_gateway(bare: Site) -> None:
    """`--address` of a host without a gateway: in another network nobody can say that it is reached."""
    heard(bare)
    before = bare.state()
    running = bare.begin("init", "--nic", "eth0", "--address", "10.9.0.10/24", "--timeout", ALLOWED)
    reached_again(bare, running, "another network", before)


def test_what_is_right_is_kept(bare: Site) -> None:
    heard(bare)
    done = bare.run("init", "--nic", "eth0", "--timeout", "20s")
    assert done.code == 0, done.said
    assert f"{ROUTER} answers, as before" in done.said
    heard(bare)
    cut_off_later = bare.begin("init", "--vlan", "60", "--timeout", ALLOWED)
    reached_again(bare, cut_off_later, "managed, no gateway", bare.state())
