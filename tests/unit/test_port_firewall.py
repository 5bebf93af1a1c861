"""Firewall programs as texts: names and comments by which the reference plugin would find them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from windrow.port import firewall


def commands(program: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(program)["nftables"]
    return found


def test_the_source_check() -> None:
    found = commands(firewall.spoof_program("c1", "eth0", port="veth1", mac="02:00:00:00:00:0a"))
    assert found[0] == {"add": {"table": {"family": "bridge", "name": "nat"}}}
    base = found[1]["add"]["chain"]
    assert (base["name"], base["type"], base["hook"], base["prio"], base["policy"]) == (
        "PREROUTING",
        "filter",
        "prerouting",
        -300,
        "accept",
    )
    written = [(verb, one["rule"]) for command in found for verb, one in command.items() if "rule" in one]
    rules = [rule for _, rule in written]
    assert [verb for verb, _ in written] == ["insert", "add", "add", "add"], "nobody's rule lets anything past it"
    assert [rule["chain"] for rule in rules] == [
        "PREROUTING",
        "cni-br-iface-c1-eth0",
        "cni-br-iface-c1-eth0-mac",
        "cni-br-iface-c1-eth0-mac",
    ]
    assert {rule["comment"] for rule in rules} == {"macspoofchk-c1-eth0"}
    assert rules[-1]["expr"] == [{"drop": None}] and {"return": None} in rules[-2]["expr"]


def test_its_removal_takes_the_rules_of_this_port() -> None:
    listing = {
        "nftables": [
            {"metainfo": {}},
            {"rule": {"handle": 5, "comment": "macspoofchk-c1-eth0"}},
            {"rule": {"handle": 6, "comment": "macspoofchk-c1-eth01"}},
            {"rule": {"handle": 7}},
            {"rule": {"handle": 9, "comment": "macspoofchk-c1-eth0"}},
        ]
    }
    found = commands(firewall.spoof_removal("c1", "eth0", json.dumps(listing)))
    deleted = [command["delete"] for command in found if "delete" in command]
    assert [one["rule"]["handle"] for one in deleted if "rule" in one] == [5, 9]
    assert [one["chain"]["name"] for one in deleted if "chain" in one] == [
        "cni-br-iface-c1-eth0",
        "cni-br-iface-c1-eth0-mac",
    ]
    # A chain may be deleted only when nothing leads to it, and only if it is there.
    kinds = [next(iter(command)) for command in found]
    assert kinds == ["delete", "delete", "add", "add", "flush", "flush", "delete", "delete"]


def test_masquerading_by_nftables() -> None:
    program = firewall.masquerade_program("net1", "c1", "eth0", ["10.1.2.3/24", "fd00::3/64"])
    start = f"{hashlib.sha512(b'net1').hexdigest()[:16]}-{hashlib.sha512(b'eth0:c1').hexdigest()[:16]}"
    rules = [line for line in program.splitlines() if "masquerade comment" in line]
    assert rules == [
        "add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.1.2.3 ip daddr != 10.1.2.0/24 masquerade "
        f'comment "{start}, net: net1, if: eth0, id: c1"',
        "add rule inet cni_plugins_masquerade masq_checks ip6 saddr == fd00::3 ip6 daddr != fd00::/64 masquerade "
        f'comment "{start}, net: net1, if: eth0, id: c1"',
    ]
    assert "flush chain inet cni_plugins_masquerade postrouting\n" in program


@pytest.mark.parametrize("name", ['a"b', 'a" accept #', "ä" * 7])
def test_a_comment_is_nothing_else(name: str) -> None:
    program = firewall.masquerade_program("net1", "c" * 200, name, ["10.1.2.3/24"])
    comment = program.rpartition('comment "')[2]
    assert comment.endswith('"\n') and comment.count('"') == 1 and len(comment[:-2].encode()) <= 128


def test_its_removal() -> None:
    start = firewall.masquerade_id("net1", "c1", "eth0")
    other = firewall.masquerade_id("net1", "c2", "eth0")
    rules = [
        {"rule": {"handle": 3, "comment": f"{start}, net: net1"}},
        {"rule": {"handle": 4, "comment": f"{other}, net: net1"}},
        {"rule": {"handle": 5}},
    ]
    found = commands(firewall.masquerade_removal("net1", "c1", "eth0", json.dumps({"nftables": rules})))
    assert [command["delete"]["rule"]["handle"] for command in found] == [3]
    assert firewall.masquerade_removal("net1", "c3", "eth0", json.dumps({"nftables": rules})) == ""


def test_masquerading_by_iptables() -> None:
    programs = firewall.iptables_programs("net1", "c1", ["10.1.2.3/24", "10.1.2.4/24", "10.1.3.3/24"])
    chain = f"CNI-{hashlib.sha512(b'net1c1').hexdigest()[:24]}"
    assert len(chain) == 28, "a chain's name has 28 characters at most"
    comment = r'-m comment --comment "name: \"net1\" id: \"c1\""'
    assert programs == {
        "4": f"""\
*nat
:{chain} - [0:0]
-A {chain} -d 10.1.2.0/24 {comment} -j ACCEPT
-A {chain} -d 10.1.3.0/24 {comment} -j ACCEPT
-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE
-A POSTROUTING -s 10.1.2.3 {comment} -j {chain}
-A POSTROUTING -s 10.1.2.4 {comment} -j {chain}
-A POSTROUTING -s 10.1.3.3 {comment} -j {chain}
COMMIT
"""
    }


def test_each_version_of_ip_has_a_program_of_its_own() -> None:
    programs = firewall.iptables_programs("net1", "c1", ["fd00::3/64", "10.1.2.3/24"])
    assert set(programs) == {"4", "6"} and "! -d ff00::/8" in programs["6"] and "fd00" not in programs["4"]


def test_its_removal_by_iptables() -> None:
    chain = firewall.iptables_chain("net1", "c1")
    saved = f"""\
*nat
:POSTROUTING ACCEPT [0:0]
:{chain} - [0:0]
:CNI-other - [0:0]
-A POSTROUTING -s 10.1.2.3/32 -m comment --comment "name: \\"net1\\" id: \\"c1\\"" -j {chain}
-A POSTROUTING -s 10.1.2.4/32 -j CNI-other
-A {chain} -j MASQUERADE
COMMIT
"""
    assert (
        firewall.iptables_removal("net1", "c1", saved)
        == f"""\
*nat
-D POSTROUTING -s 10.1.2.3/32 -m comment --comment "name: \\"net1\\" id: \\"c1\\"" -j {chain}
-F {chain}
-X {chain}
COMMIT
"""
    )
    assert firewall.iptables_removal("net1", "c2", saved) == ""
