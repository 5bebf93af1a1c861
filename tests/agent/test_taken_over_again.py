"""A host whose operating system goes on giving the NIC what it had before `windrow init`, and addresses that end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.hands import Site, site, until
from tests.agent.test_incoming import SCENARIO

from windrow.store.events import Events

PLAIN = SCENARIO.replace("name: incoming", "name: again")


@pytest.fixture
def plain() -> Iterator[Site]:
    with site(PLAIN) as made:
        yield made


def ip(node: Site, *words: str) -> str:
    done = subprocess.run(["ip", "-n", node.node, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_agent_takes_over_what_the_operating_system_gave_at_a_start(plain: Site) -> None:
    done = plain.run("init", "--nic", "eth0", "--timeout", "20s")
    assert done.code == 0, done.said
    plain.power_cut()
    ip(plain, "link", "set", "eth0", "up")
    ip(plain, "address", "add", "10.0.0.10/24", "dev", "eth0")
    ip(plain, "route", "add", "default", "via", "10.0.0.1", "dev", "eth0")
    assert plain.answers("10.0.0.10", 10) is not None
    agent = plain.begin("agent")
    until(lambda: [e for e in Events(plain.paths).all() if e.reason == "ChangeKept" and "agent" in e.message])
    links = plain.observe().state.links
    assert links["mgmt-br"].addrs == {"10.0.0.10/24"} and not links["eth0"].addrs, agent.said
    assert plain.answers("10.0.0.10", 10) is not None
    agent.kill(signal.SIGTERM)
    assert agent.wait() == 0, agent.said


def test_a_deprecated_address_goes_along_and_comes_back(plain: Site) -> None:
    sysctl = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
    plain.world.inside(plain.node, lambda: sysctl.write_text("0"))
    for words in (("fd00::10/64",), ("fd00::99/64", "preferred_lft", "0")):
        ip(plain, "address", "add", *words, "dev", "eth0", "nodad")
    before = shown(plain, "eth0")
    assert "deprecated" in before["fd00::99"]
    done = plain.run("init", "--nic", "eth0", "--timeout", "20s")
    assert done.code == 0, done.said
    there = shown(plain, "mgmt-br")
    assert "deprecated" in there["fd00::99"] and "deprecated" not in there["fd00::10"]
    assert "nothing to do" in plain.run("apply").said
    undone = plain.run("init", "--undo", "--timeout", "20s")
    assert undone.code == 0, undone.said
    assert shown(plain, "eth0") == before


def shown(node: Site, link: str) -> dict[str, Any]:
    (found,) = json.loads(ip(node, "-j", "address", "show", "dev", link))
    keys = ("prefixlen", "scope", "deprecated", "dynamic", "preferred_life_time", "valid_life_time")
    every = found["addr_info"]
    return {one["local"]: {k: one[k] for k in keys if k in one} for one in every if one["scope"] == "global"}
