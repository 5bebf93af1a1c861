"""macspoofchk: the rules, and that a pod which forges its address is not heard."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from windrow.netlink import links, netns

ours = pytest.mark.ours

REFUSED = 101
MAC, FORGED = "02:00:00:00:00:0a", "02:00:00:00:00:66"


def frame(source: str, text: bytes) -> bytes:
    return b"\xff" * 6 + bytes.fromhex(source.replace(":", "")) + b"\x88\xb5" + text.ljust(46, b"\0")


def config_of(host: Any, **keys: Any) -> dict[str, Any]:
    found: dict[str, Any] = host.config(macspoofchk=True, runtimeConfig={"mac": MAC}, **keys)
    return found


def rules(listing: str, chain: str) -> list[str]:
    body = listing.partition(f"chain {chain} {{")[2].partition("}")[0]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("type ")]


def test_the_rules(host: Any, pod: Any, nft: Any) -> None:
    port = host.add(pod, config_of(host))["interfaces"][1]["name"]
    listing = nft()
    assert "table bridge nat" in listing
    base = next(line for line in listing.splitlines() if "hook" in line).strip()
    assert base in (
        "type filter hook prerouting priority dstnat; policy accept;",  # -300 in family bridge
        "type filter hook prerouting priority -300; policy accept;",
    )
    first, comment = "cni-br-iface-c1-eth0", 'comment "macspoofchk-c1-eth0"'
    assert rules(listing, "PREROUTING") == [f'iifname "{port}" jump {first} {comment}']
    assert rules(listing, first) == [f"jump {first}-mac {comment}"]
    assert rules(listing, f"{first}-mac") == [f"ether saddr {MAC} return {comment}", f"drop {comment}"]
    host.delete(pod, config_of(host))
    listing = nft()
    assert rules(listing, "PREROUTING") == [] and "cni-br-iface" not in listing


def test_a_forged_address_is_not_heard(host: Any, nft: Any) -> None:
    one, two = host.pod(), host.pod()
    host.add(one, config_of(host), CNI_CONTAINERID="c1")
    host.add(two, host.config(), CNI_CONTAINERID="c2")
    with one.packets() as sending, two.packets() as listening:
        for source in (FORGED, MAC):
            sending.send(frame(source, source.encode()))
        heard = listening.recv(2000)
    assert MAC.encode() in heard and FORGED.encode() not in heard


def test_without_the_key_it_is(host: Any) -> None:
    one, two = host.pod(), host.pod()
    host.add(one, host.config(), CNI_CONTAINERID="c1")
    host.add(two, host.config(), CNI_CONTAINERID="c2")
    with one.packets() as sending, two.packets() as listening:
        sending.send(frame(FORGED, b"forged"))
        assert b"forged" in listening.recv(2000)


def test_each_port_has_rules_of_its_own(host: Any, nft: Any) -> None:
    pods = [host.pod() for _ in range(3)]
    for number, pod in enumerate(pods):
        host.add(pod, host.config(macspoofchk=True), CNI_CONTAINERID=f"c{number}")
    host.delete(pods[1], host.config(macspoofchk=True), CNI_CONTAINERID="c1")
    listing = nft()
    assert len(rules(listing, "PREROUTING")) == 2
    assert "c0-eth0-mac" in listing and "c2-eth0-mac" in listing and "c1-eth0" not in listing


@ours("the reference leaves them: it looks no further when there is no namespace")
def test_the_rules_are_taken_away_without_a_namespace_too(host: Any, pod: Any, nft: Any) -> None:
    host.add(pod, config_of(host))
    host.delete("", config_of(host))
    assert "cni-br-iface" not in nft() and host.ports() == []


@ours("the configuration may have changed since; the record has not")
def test_also_when_the_configuration_no_longer_says_so(host: Any, pod: Any, nft: Any) -> None:
    host.add(pod, config_of(host))
    host.delete(pod, host.config())
    assert "cni-br-iface" not in nft()


@ours("the reference leaves the port, and so does not show it")
def test_an_add_that_fails_leaves_no_rules(host: Any, pod: Any, nft: Any) -> None:
    host.refused("ADD", pod, config_of(host, ipam={"type": "not-installed"}), 104)
    assert "cni-br-iface" not in nft() and host.links() == set()


@ours("it names the programs that are not there")
def test_without_nft_it_is_refused(host: Any, pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails stands in for one that is missing: nft would be found in its usual place."""
    broken = host.root / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "nft").write_text("#!/bin/sh\necho no such family >&2; exit 1\n")
    (broken / "nft").chmod(0o755)
    before = host.untouched()
    message = host.refused("ADD", pod, config_of(host), REFUSED, PATH=f"{broken}:{os.environ['PATH']}")
    assert "no such family" in message and host.untouched() == before


@ours("an interface of any name the kernel takes")
@pytest.mark.parametrize("name", ['a"b', "a;b", "a{b}", "$x", "ä"])
def test_odd_names_do_no_harm(host: Any, pod: Any, nft: Any, name: str) -> None:
    host.add(pod, config_of(host), CNI_IFNAME=name)
    found = json.loads(host.tool("nft", "-j", "list", "chain", "bridge", "nat", "PREROUTING"))["nftables"]
    assert [item["rule"]["comment"] for item in found if "rule" in item] == [f"macspoofchk-c1-{name}"]
    host.delete(pod, config_of(host), CNI_IFNAME=name)
    assert "cni-br-iface" not in nft()


def test_many_at_once(host: Any, nft: Any) -> None:
    pods = [host.pod() for _ in range(8)]
    config = host.config(macspoofchk=True)

    def both(number: int) -> None:
        host.add(pods[number], config, CNI_CONTAINERID=f"c{number}")
        host.delete(pods[number], config, CNI_CONTAINERID=f"c{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(both, range(8)))
    assert "cni-br-iface" not in nft() and host.links() == {"br0"}


@ours("the reference looks at its rules no more once they are made")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("flush ruleset", "there are none"),
        ("flush chain bridge nat PREROUTING", "nothing leads to it from PREROUTING"),
        ("flush chain bridge nat cni-br-iface-c1-eth0-mac", "chain cni-br-iface-c1-eth0-mac has other rules"),
    ],
)
def test_check_tells_of_rules_that_are_gone(host: Any, pod: Any, nft: Any, harm: str, said: str) -> None:
    config = {**config_of(host), "cniVersion": "1.0.0"}
    result = host.add(pod, config)
    assert host.check(pod, config, result).exit == 0
    host.tool("nft", *harm.split())
    done = host.check(pod, config, result)
    assert done.exit == 1
    message = json.loads(done.stdout)["msg"]
    assert f"the rules of macspoofchk ({MAC}) are not as they were made: {said}" in message


@ours("it is first in its chain, and so nobody's rule lets anything past it")
def test_in_front_of_rules_of_others(host: Any, nft: Any) -> None:
    host.tool(
        "nft", "add table bridge nat; add chain bridge nat PREROUTING { type filter hook prerouting priority -300; }"
    )
    host.tool("nft", "add rule bridge nat PREROUTING accept")
    one, two = host.pod(), host.pod()
    host.add(one, config_of(host), CNI_CONTAINERID="c1")
    host.add(two, host.config(), CNI_CONTAINERID="c2")
    with one.packets() as sending, two.packets() as listening:
        for source in (FORGED, MAC):
            sending.send(frame(source, source.encode()))
        heard = listening.recv(2000)
    assert MAC.encode() in heard and FORGED.encode() not in heard


@ours("the reference's GC came with 1.5, and asks the runtime")
def test_rules_without_port_and_record_are_cleared_away(host: Any, pod: Any, nft: Any) -> None:
    """Also where no other port has any; those of a port that is there stay, be its record lost."""
    from windrow.apps.cni.host import Host
    from windrow.apps.cni.upkeep import left_over_rules

    def look(*, remove: bool) -> list[tuple[str, str]]:
        there = Host(host.root, "n1")
        try:
            return netns.opened_in(host.fd, lambda: list(left_over_rules(there, remove=remove)))
        finally:
            there.close()

    host.add(pod, config_of(host))
    for path in (host.root / "run/windrow/ports").glob("*.json"):
        path.unlink()
    assert look(remove=True) == [], "the port is there"
    host.send(links.delete(host.ports()[0]))
    ((about, problem),) = look(remove=False)
    assert ("eth0 of container c1" in about, problem) == (True, "")
    assert "macspoofchk-c1-eth0" in nft()
    assert len(look(remove=True)) == 1
    assert "cni-br-iface" not in nft() and look(remove=True) == []
