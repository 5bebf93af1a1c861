"""Rules of ports by nftables, and by the iptables that stands on it: flushed, changed, behind others', put right."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.kernel.portrules import PortRules, save

from windrow.apps.agent.filternews import FilterNews
from windrow.apps.filters import PortFilters
from windrow.model.filters import IPTABLES, MASQUERADE, NFTABLES, SPOOF
from windrow.model.values import IfName
from windrow.netlink import netns
from windrow.netlink.nftnews import NftNews
from windrow.plan.filtering import filter_unit
from windrow.port.filtering import TABLES
from windrow.port.identity import host_end


@contextmanager
def ports(backend: str, count: int = 3) -> Iterator[PortRules]:
    fd = netns.new()
    made = PortRules(fd, backend, count)
    try:
        yield made
    finally:
        made.close()
        os.close(fd)


@pytest.fixture(params=[NFTABLES, IPTABLES])
def rules(request: pytest.FixtureRequest) -> Iterator[PortRules]:
    with ports(request.param) as made:
        yield made


@pytest.fixture
def by_nft() -> Iterator[PortRules]:
    with ports(NFTABLES) as made:
        yield made


@pytest.fixture
def by_iptables() -> Iterator[PortRules]:
    with ports(IPTABLES) as made:
        yield made


ALL = ("c1", "c2", "c3")
SPOOFING = {
    "all flushed": ("nft flush ruleset", dict.fromkeys(ALL, "")),
    "table deleted": ("nft delete table bridge nat", dict.fromkeys(ALL, "")),
    "base chain flushed": ("nft flush chain bridge nat PREROUTING", dict.fromkeys(ALL, "nothing leads to it")),
    "chain flushed": ("nft flush chain bridge nat cni-br-iface-c1-eth0-mac", {"c1": "has other rules"}),
    "a rule more": ("nft insert rule bridge nat cni-br-iface-c1-eth0 return", {"c1": "has other rules"}),
    "another MAC": (
        "nft flush chain bridge nat cni-br-iface-c1-eth0-mac; "
        "nft add rule bridge nat cni-br-iface-c1-eth0-mac ether saddr 02:00:00:00:00:66 return; "
        "nft add rule bridge nat cni-br-iface-c1-eth0-mac drop",
        {"c1": "has other rules"},
    ),
    "behind others": ("nft insert rule bridge nat PREROUTING accept", dict.fromkeys(ALL, "lets everything past")),
    "behind one for it": (
        f"nft insert rule bridge nat PREROUTING iifname {host_end('c1', 'eth0')} counter accept",
        {"c1": "lets everything past"},
    ),
}
MASQUERADING = {
    "chain flushed": ("nft flush chain inet cni_plugins_masquerade masq_checks", ""),
    "nothing leads to it": ("nft flush chain inet cni_plugins_masquerade postrouting", "nothing leads to them"),
    "table deleted": ("nft delete table inet cni_plugins_masquerade", ""),
    "other addresses": (
        "nft flush chain inet cni_plugins_masquerade masq_checks; nft add rule inet cni_plugins_masquerade masq_checks "
        "ip saddr 10.9.0.1 masquerade",
        "",
    ),
}


@pytest.mark.parametrize("fault", SPOOFING)
def test_the_source_check(rules: PortRules, fault: str) -> None:
    assert rules.repair() == 3
    assert rules.faults() == {}
    harm, said = SPOOFING[fault]
    rules.sh(harm)
    found = {container: faults[SPOOF] for container, faults in rules.faults().items() if SPOOF in faults}
    assert found.keys() == said.keys()
    for container, words in said.items():
        assert words in found[container]
    assert rules.repair() == len(said)
    listing = rules.sh("nft list table bridge nat")
    assert listing.count("jump cni-br-iface") == 6, "and nothing twice"


@pytest.mark.parametrize("fault", MASQUERADING)
def test_the_masquerade(by_nft: PortRules, fault: str) -> None:
    rules = by_nft
    assert rules.repair() == 3
    harm, words = MASQUERADING[fault]
    rules.sh(harm)
    found = rules.faults()
    assert found.keys() == set(ALL)
    assert all(words in one[MASQUERADE] for one in found.values())
    assert rules.repair() == 3
    assert rules.sh("nft list table inet cni_plugins_masquerade").count("masquerade comment") == 6, "and nothing twice"


def test_the_masquerade_by_iptables_on_nftables(by_iptables: PortRules) -> None:
    rules = by_iptables
    rules.repair()
    whole = save(rules)
    rules.sh("iptables -t nat -F; ip6tables -t nat -F")
    assert rules.faults().keys() == set(ALL)
    assert rules.repair() == 3
    assert sorted(save(rules).splitlines()) == sorted(whole.splitlines())


def test_rules_of_others_stay(rules: PortRules) -> None:
    """Those that ask for something else are in nobody's way, wherever they are."""
    rules.repair()
    rules.sh("nft insert rule bridge nat PREROUTING iifname eth9 accept; nft add rule bridge nat PREROUTING counter")
    assert rules.faults() == {}
    rules.sh("nft delete chain bridge nat cni-br-iface-c1-eth0 2>/dev/null; nft flush chain bridge nat PREROUTING")
    rules.sh("nft add rule bridge nat PREROUTING iifname eth9 accept")
    rules.repair()
    assert "eth9" in rules.sh("nft list table bridge nat")


def test_rules_of_a_port_that_is_gone_go_too(rules: PortRules) -> None:
    rules.repair()
    gone = host_end("c1", "eth0")
    assert rules.see().stale_filters == {}
    assert rules.repair(without=frozenset({gone})) == 1
    left = rules.sh("nft list table bridge nat")
    assert "c1-eth0" not in left and "c2-eth0" in left


def test_rules_of_another_plugin_are_not_taken_for_ours(rules: PortRules) -> None:
    """The reference plugin's look the same; its ports have names that say nothing."""
    rules.repair()
    rules.sh("nft add rule bridge nat PREROUTING iifname veth12345678 accept comment '\"macspoofchk-c9-eth0\"'")
    assert rules.see().stale_filters == {}


def test_five_hundred_ports_are_listed_once_and_put_right_in_one_go() -> None:
    with ports(NFTABLES, count=500) as rules:
        rules.repair()
        began = time.monotonic()
        assert rules.faults() == {}
        looked = time.monotonic()
        rules.sh("nft flush ruleset")
        flushed = time.monotonic()
        assert rules.repair() == 500
        repaired = time.monotonic() - flushed
    print(f"\n500 ports: a look {(looked - began) * 1000:.0f} ms, a repair and two looks {repaired * 1000:.0f} ms")


def test_the_kernel_announces_it(rules: PortRules) -> None:
    """Only what is about these tables wakes the agent."""
    news = NftNews(TABLES, netns=rules.fd)
    assert not news.read()
    rules.repair()
    assert news.read() and not news.read()
    rules.sh("nft add table inet other; nft add chain inet other x; nft add rule inet other x counter")
    assert not news.read()
    rules.sh("nft flush chain bridge nat PREROUTING")
    assert news.read()
    rules.sh("nft flush ruleset")
    assert news.read()
    news.close()


def test_the_agent_forgets_what_it_saw_when_it_hears(rules: PortRules) -> None:
    rules.repair()
    kept = PortFilters(fresh_s=1000.0)
    rules.kernel.packet_filter = kept
    part = FilterNews(kept, time.monotonic, lambda: NftNews(TABLES, netns=rules.fd))
    part.after(rules.wanted)
    part.ready(-1)
    assert rules.faults() == {}
    rules.sh("nft flush ruleset")
    assert rules.faults() == {}, "it goes by what it saw"
    (fd,) = part.fds()
    assert part.ready(fd)
    assert rules.faults().keys() == set(ALL)
    part.close()


def test_a_port_that_is_gone_meanwhile_is_no_reason_to_leave_the_others(by_nft: PortRules) -> None:
    rules = by_nft
    gone = next(iter(rules.wanted))
    rules.sh(f"ip link del {gone}")
    failure = rules.kernel.run(filter_unit(rules.wanted, rules.see(), ()).steps)
    assert failure is not None and (failure.errno, failure.step.link) == (19, gone)
    assert set(rules.faults()) == {rules.wanted[IfName(gone)].container_id}
