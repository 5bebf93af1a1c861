"""What listings say of ports' rules, as texts; the programs themselves are asked in tests/kernel and tests/qemu."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from windrow.model.filters import IPTABLES, LEGACY, MASQUERADE, NFTABLES, SPOOF, PortFilter
from windrow.model.values import IfName, Mac
from windrow.port import firewall
from windrow.port.filtering import NFT_SPOOF, left_over, listings, read_nft, repair, seen
from windrow.port.identity import host_end

OWNER = ("c1", "eth0")
PORT = host_end(*OWNER)
MAC = Mac("02:00:00:00:00:0a")
CHECKED = PortFilter(container_id="c1", ifname="eth0", network="net", mac=MAC)
MASQUERADED = PortFilter(
    container_id="c1", ifname="eth0", network="net", masquerade=("10.1.0.2/24", "fd00::2/64"), backend=IPTABLES
)


def listed(*extra: dict[str, Any], owner: tuple[str, str] = OWNER, port: str = PORT) -> str:
    """As nft prints what `spoof_rules` are, after rules of others in the base chain."""
    base = {"name": "PREROUTING", "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}
    chains = [base, *({"name": name} for name in firewall.spoof_chains(*owner))]
    rules = [{"chain": "PREROUTING", "handle": 90 + n, **one} for n, one in enumerate(extra)]
    for number, rule in enumerate(firewall.spoof_rules(*owner, port=port, mac=str(MAC))):
        rules.append({"chain": rule.chain, "handle": number, "comment": rule.comment, "expr": list(rule.expr)})
    items = [*({"chain": one} for one in chains), *({"rule": one} for one in rules)]
    return json.dumps({"nftables": [{"metainfo": {}}, *items]})


def fault(text: str, want: PortFilter = CHECKED) -> str | None:
    (found,) = seen({PORT: want}, {NFT_SPOOF: text}).values()
    return found.faults.get(SPOOF)


def test_which_tables_are_listed() -> None:
    assert listings([]) == frozenset()
    assert listings([CHECKED, CHECKED]) == {NFT_SPOOF}
    assert listings([MASQUERADED]) == {(IPTABLES, "4"), (IPTABLES, "6")}
    assert listings([replace(MASQUERADED, backend=LEGACY, masquerade=("10.1.0.2/24",))]) == {(LEGACY, "4")}
    assert listings([replace(MASQUERADED, backend=NFTABLES)]) == {(NFTABLES, "inet", "cni_plugins_masquerade")}


def test_what_was_made_is_whole() -> None:
    assert fault(listed()) is None
    assert fault("") == ""


def arriving(port: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": port}}


SET = {"match": {"op": "==", "left": {"payload": {"protocol": "ether", "field": "type"}}, "right": "arp"}}


@pytest.mark.parametrize(
    ("expr", "past"),
    [
        ([{"accept": None}], True),
        ([{"counter": {"packets": 0, "bytes": 0}}, {"accept": None}], True),
        ([arriving(PORT), {"accept": None}], True),
        ([{"goto": {"target": "elsewhere"}}], True),
        ([arriving("veth99999999"), {"accept": None}], False),
        ([arriving(PORT), {"drop": None}], False),
        ([{"counter": {"packets": 0, "bytes": 0}}], False),
        ([SET, {"accept": None}], False),
        ([{"jump": {"target": "elsewhere"}}], False),
    ],
)
def test_rules_of_others_in_front(expr: list[Any], past: bool) -> None:
    assert bool(fault(listed({"expr": expr}))) is past


def test_a_chain_that_hangs_on_nothing() -> None:
    document = json.loads(listed())
    for item in document["nftables"]:
        item.get("chain", {}).pop("hook", None)
    assert fault(json.dumps(document)) == "its chain PREROUTING does not hang on the hook prerouting"


def test_another_ports_rules_are_not_its_own() -> None:
    """`eth0-1` of c1 and `1` of c1-eth0 have the same comment; the port tells them apart."""
    for owner in (("c1", "eth0-1"), ("c1-eth0", "1")):
        text = listed(owner=owner, port=host_end(*owner))
        (gone,) = left_over(text, known=[], links=[]).items()
        assert (gone[0], gone[1].owner) == (host_end(*owner), owner)
        assert left_over(text, known=[owner], links=[]) == {}
        assert left_over(text, known=[], links=[host_end(*owner)]) == {}
    assert left_over(listed(port="veth12345678"), known=[], links=[]) == {}


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"nftables": [{"rule": {"handle": 1}}]}', '{"nftables": 5}'])
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_nft(text)


def test_what_cannot_be_listed_is_left_out() -> None:
    assert seen({PORT: CHECKED}, {}) == {}
    assert seen({PORT: MASQUERADED}, {(IPTABLES, "4"): ""}) == {}


def saved(*filters: PortFilter) -> dict[tuple[str, ...], str]:
    """As iptables-save prints it: with prefix lengths, chains first."""
    texts: dict[tuple[str, ...], str] = {}
    for version, length in (("4", 32), ("6", 128)):
        chains: list[str] = []
        rules: list[str] = []
        for one in filters:
            program = firewall.iptables_programs(one.network, one.container_id, one.masquerade).get(version, "")
            for line in program.splitlines():
                if line.startswith(":") and line not in chains:
                    chains.append(line)
                elif line.startswith("-A POSTROUTING"):
                    rules.append(line.replace(" -m comment", f"/{length} -m comment", 1))
                elif line.startswith("-A") and line not in rules:
                    rules.append(line)
        texts[IPTABLES, version] = "\n".join(["*nat", *chains, *rules, "COMMIT", ""])
    return texts


def test_a_masquerade_by_iptables() -> None:
    odd = replace(MASQUERADED, network="-m.x", container_id="-j_ACCEPT")
    for want in (MASQUERADED, odd):
        (found,) = seen({PORT: want}, saved(want)).values()
        assert dict(found.faults) == {}
        (found,) = seen({PORT: want}, dict.fromkeys(saved(want), "")).values()
        assert dict(found.faults) == {MASQUERADE: ""}


def test_two_interfaces_in_one_network_share_a_chain_and_not_their_jumps() -> None:
    other = replace(MASQUERADED, ifname="net1", masquerade=("10.1.0.3/24", "fd00::3/64"))
    texts = saved(MASQUERADED, other)
    both = {PORT: MASQUERADED, host_end("c1", "net1"): other}
    assert not any(found.faults for found in seen(both, texts).values())
    program = repair({PORT: (MASQUERADED, (MASQUERADE,))}, [], texts).iptables[IPTABLES, "4"]
    assert "-D POSTROUTING -s 10.1.0.2/32" in program
    assert "10.1.0.3" not in program


def test_only_what_is_asked_for_is_made_anew() -> None:
    whole = replace(MASQUERADED, mac=MAC)
    found = repair({PORT: (whole, (SPOOF,))}, [], {NFT_SPOOF: listed()})
    assert (found.nft_text, dict(found.iptables)) == ("", {})
    commands = json.loads(found.nft)["nftables"]
    assert commands[0] == {"delete": {"rule": {"family": "bridge", "table": "nat", "chain": "PREROUTING", "handle": 0}}}


def test_a_port_of_a_name_with_a_comma_in_its_comment() -> None:
    owner = ("c,1", "e,th")
    want = replace(CHECKED, container_id=owner[0], ifname=owner[1])
    port = host_end(*owner)
    (found,) = seen({IfName(port): want}, {NFT_SPOOF: listed(owner=owner, port=port)}).values()
    assert dict(found.faults) == {}
