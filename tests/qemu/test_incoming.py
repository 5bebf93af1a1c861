"""A real firewall of nftables, with policy drop, that lets in by the NIC alone: after `windrow init` nobody gets in."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest
from tests.agent.hands import Site, site, until
from tests.agent.test_incoming import SCENARIO, knocking

PORT = 22
FIREWALL = """\
table inet f {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    %s eth0 tcp dport 22 accept
  }
}
"""


ONE_NIC = SCENARIO.replace("[eth0, eth1]", "[eth0]").replace('    - ["node-0:eth1", "sw:p1"]\n', "")
"""A second one in the same network would answer ARP for the address, too, and the frames would come in by it."""


@pytest.fixture(scope="module")
def node() -> Iterator[Site]:
    with site(ONE_NIC) as made:
        yield made


def nft(node: Site, rules: str) -> None:
    node.world.inside(node.node, lambda: subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True))


@contextlib.contextmanager
def filtered(node: Site, word: str) -> Iterator[None]:
    """Whoever knocks gets in by the NIC, which the rule names by `word`."""
    nft(node, FIREWALL % word)
    with node.world.inside(node.node, lambda: socket.create_server(("", PORT))):
        yield
    nft(node, "delete table inet f")
    assert node.answers("10.0.0.10", 10) is not None


def test_nobody_gets_in_by_the_bridge_and_init_is_undone(node: Site) -> None:
    with filtered(node, "iif"):
        before = node.state()
        refused = node.run("init", "--nic", "eth0")
        assert refused.code == 1 and "rules of the packet filter name eth0" in refused.said, refused.said
        assert node.state() == before
        with knocking(node, PORT) as opened:
            until(lambda: opened)
            running = node.run("init", "--nic", "eth0", "--probe", "incoming", "--timeout", "4s")
            assert running.code == 1, running.said
            assert "nobody opened a new connection" in running.said
            known = len(opened)
            until(lambda: len(opened) > known)
        assert node.state() == before


def test_apply_finds_it_too_and_a_rule_for_the_bridge_settles_it(node: Site) -> None:
    with filtered(node, "iifname"):
        by_both = "add rule inet f input iifname mgmt-br tcp dport 22 accept"
        nft(node, by_both)
        with knocking(node, PORT) as opened:
            until(lambda: opened)
            running = node.run("init", "--nic", "eth0", "--probe", "incoming", "--timeout", "30s")
            assert running.code == 0, running.said
            assert f"10.0.0.1 opened a new connection to port {PORT} after the change" in running.said
            before = node.state()
            (network,) = node.paths.manifests.glob("hostnetworkconfig-*.yaml")
            edited = node.root / "edited.yaml"
            edited.write_text(network.read_text().replace("vlanID: 0", "vlanID: 7"))
            applied = node.run("apply", "-f", str(edited), "--probe", "incoming", "--confirm", "4s")
            assert applied.code == 1, applied.said
            assert "nobody opened a new connection" in applied.said
            assert node.state() == before
            known = len(opened)
            until(lambda: len(opened) > known)
        said = node.run("init", "--undo", "--timeout", "20s")
        assert said.code == 0, said.said
