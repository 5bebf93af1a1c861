"""Rules of ports by legacy iptables, which is what the lab kernel has: flushed, changed, behind others', put right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.portrules import PortRules, save

from windrow.model.filters import LEGACY
from windrow.services.firewall import Firewall


@pytest.fixture
def rules(ns: Any) -> Iterator[PortRules]:
    made = PortRules(ns.fd, LEGACY)
    yield made
    made.close()


BOTH = ("iptables-legacy", "ip6tables-legacy")
COMMENT = '-m comment --comment \'name: "net" id: "c1"\''
CHAIN = "CNI-$(printf %s netc1 | sha512sum | cut -c1-24)"

FAULTS = {
    "flushed": (";".join(f"{t} -t nat -F" for t in BOTH), {"c1": "", "c2": "", "c3": ""}),
    "one version only": ("ip6tables-legacy -t nat -F", {"c1": "", "c2": "", "c3": ""}),
    "no jump": (
        f"iptables-legacy -t nat -D POSTROUTING -s 10.1.0.1/32 {COMMENT} -j {CHAIN}",
        {"c1": "nothing leads to it from POSTROUTING for 10.1.0.1"},
    ),
    "a rule changed": (f"iptables-legacy -t nat -R {CHAIN} 1 -d 10.0.0.0/8 -j ACCEPT", {"c1": "has other rules"}),
    "a rule more": (f"iptables-legacy -t nat -I {CHAIN} -j RETURN", {"c1": "has other rules"}),
    "behind others": (
        "iptables-legacy -t nat -I POSTROUTING -s 10.1.0.0/16 -j ACCEPT",
        dict.fromkeys(("c1", "c2", "c3"), "lets everything past: -A POSTROUTING -s 10.1.0.0/16 -j ACCEPT"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said_and_put_right(rules: PortRules, fault: str) -> None:
    assert rules.repair() == 3
    assert rules.faults() == {}
    harm, said = FAULTS[fault]
    whole = save(rules)
    rules.sh(harm)
    found = rules.faults()
    assert found.keys() == said.keys()
    for container, words in said.items():
        assert words in found[container]["masquerade"]
    assert rules.repair() == len(said)
    if fault != "behind others":
        assert sorted(save(rules).splitlines()) == sorted(whole.splitlines()), "and nothing twice"


def test_rules_of_others_that_ask_for_more_stay_in_front(rules: PortRules) -> None:
    """An exception that somebody wrote is his to make."""
    rules.repair()
    rules.sh("iptables-legacy -t nat -I POSTROUTING -s 10.1.0.0/16 -d 192.0.2.0/24 -j ACCEPT")
    assert rules.faults() == {}
    rules.sh("iptables-legacy -t nat -F")
    rules.sh("iptables-legacy -t nat -A POSTROUTING -s 10.1.0.0/16 -d 192.0.2.0/24 -j ACCEPT")
    rules.repair()
    first = next(line for line in save(rules).splitlines() if line.startswith("-A POSTROUTING"))
    assert "192.0.2.0/24" in first


def test_a_host_without_such_ports_lists_nothing(rules: PortRules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Firewall, "_run", lambda *_: pytest.fail("a program was started"))
    assert rules.kernel.filters({}, [], []).filters == {}
