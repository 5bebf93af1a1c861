"""While a plan waits, or a probe, or ports are dead: `/healthz` answers, what the plan is not about is repaired in its
usual time, and DHCP goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import HOST_NETWORK, NAD, NETWORK, UPLINK, a_host
from tests.agent.hands import Running, until
from tests.agent.lockouts import Around, Place, Wrong
from tests.agent.patient import Asking, agent, asking, disagreeing

from windrow.apps.agent import keeper
from windrow.lab.scenario import End
from windrow.model.checkpoint import Stage
from windrow.model.host import Bond
from windrow.model.steps import SetBond
from windrow.model.values import IfName
from windrow.testing.dhcpserver import REQUEST, DhcpServer, Does, serving, wire

NODE = "w-node"
USUAL_FACTOR, USUAL_SLACK_S = 3.0, 0.5
"""Drift elsewhere may take so many times as long as without a plan that waits, and this: asking `/healthz` fifty times
a second shares the lab's one processor."""
LONGEST_S = 0.25
"""Longer than the longest that a process which does nothing took: 0.02 to 0.07 s were seen, where a fork of the agent
and its garbage collection took 0.28 to 0.7 s."""


def network(cn: str, nics: str, mode: str, *, more: str = "") -> str:
    values = {"cn": cn, "nics": nics, "miimon": 100}
    return NETWORK.format(**values) + UPLINK.format(**values).replace("mode: active-backup", f"mode: {mode}") + more


def answered(found: Asking) -> None:
    """The agent adds nothing to what the machine takes anyway: of its answers no more are late than of those of a
    process that does nothing, but for one in a hundred, for the lab's one processor is shared with the plan's own work.
    None waits for the plan. What stops the whole kernel stops both alike, so it is not seen here."""
    print(f"\n/healthz: {found}")
    assert len(found.times) > 50
    assert len(found.late) <= found.late_anyway + len(found.times) // 100, f"{found}: {found.late}"
    assert max(found.times) < max(found.control) + LONGEST_S, found


@pytest.fixture
def host() -> Iterator[Host]:
    with a_host(NODE, 5) as host:
        yield host


def ip(namespace: str, words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words.split()], check=True)


def server(host: Host, vid: int) -> DhcpServer:
    """On a port of the switch of its own, in one VLAN."""
    switch = f"{host.node}-sw"
    bridge = subprocess.run(
        ["ip", "-n", switch, "-br", "link", "show", "type", "bridge"], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    ip(switch, "link add dhcp0 type veth peer name dhcp1")
    ip(switch, f"link set dhcp0 master {bridge} up")
    ip(switch, "link set dhcp1 up")
    subprocess.run(["bridge", "-n", switch, "vlan", "del", "dev", "dhcp0", "vid", "1"], check=True)
    added = f"vlan add dev dhcp0 vid {vid} pvid untagged".split()
    subprocess.run(["bridge", "-n", switch, *added], check=True)
    return DhcpServer(host.world.inside(switch, lambda: wire("dhcp1")), "10.7.0.1", Does(address="10.7.0.50"))


def miimon(host: Host, bond: str) -> object:
    found = host.kernel.observe().state.links.get(IfName(bond))
    return found.spec.miimon if found is not None and isinstance(found.spec, Bond) else None


def test_twenty_seconds_of_lacp(host: Host) -> None:
    lease = HOST_NETWORK.format(cn="lan", vid=200, node=NODE, net=0).replace("mode: static\n", "mode: dhcp\n")
    lease = "\n".join(line for line in lease.splitlines() if "ips:" not in line) + "\n"
    lan = network("lan", "eth3, eth4", "active-backup", more=lease)
    nad = NAD.format(cn="oob", vid=100)
    dhcp = server(host, 200)
    with serving([dhcp]), disagreeing(host, ["p1", "p2"]):
        host.write(lan, "lan.yaml")
        host.write(network("oob", "eth1, eth2", "active-backup", more=nad))
        with agent(host) as running:
            host.right(host.cluster(), 60)
            host.wait(lambda: address(host, "lan-br.200") == {"10.7.0.50/24"}, 60)
            usual = repaired(host)
            begun = time.monotonic()
            with asking(host.paths.agent_socket) as found:
                host.write(network("oob", "eth1, eth2", "802.3ad", more=nad))
                host.wait(lambda: "oob-bn" in host.kernel.observe().state.links)
                time.sleep(1.0)
                meanwhile = [repaired(host) for _ in range(3)]
                host.wait(lambda: "failed" in running.said and "does not agree" in running.said, 60)
            waited = time.monotonic() - begun
            renewed = [h for h in dhcp.kinds(REQUEST, begun) if h.own == "10.7.0.50"]
            print(f"\nthe plan waited {waited:.1f} s; drift elsewhere: usually {usual:.2f} s, meanwhile {meanwhile}")
            print(f"renewed meanwhile: {len(renewed)}")
            assert waited > 19
            assert renewed and address(host, "lan-br.200") == {"10.7.0.50/24"}
            assert max(meanwhile) < USUAL_FACTOR * usual + USUAL_SLACK_S
            answered(found)


def address(host: Host, link: str) -> set[str]:
    found = host.kernel.observe().state.links.get(IfName(link))
    return set(map(str, (found.addrs if found else None) or ()))


_MTU = iter(range(1300, 1500))


def repaired(host: Host) -> float:
    """Seconds from a piece of damage on the other network until it is right again; another one each time."""
    assert host.harm("lan-bo", SetBond(Bond(miimon=20 + next(_MTU) % 50))) is None
    return host.wait(lambda: miimon(host, "lan-bo") == 100)


def test_ten_dead_ports() -> None:
    """Five bonds whose cables are all out change their mode, while the sixth lives."""
    with a_host("d-node", 13) as host:
        pairs = {f"n{n}": f"eth{2 * n + 1}, eth{2 * n + 2}" for n in range(5)}
        for n in range(1, 11):
            host.world.pull(End("d-node", f"eth{n}"))
        host.write(network("lan", "eth11, eth12", "active-backup"), "lan.yaml")
        for cn, nics in pairs.items():
            host.write(network(cn, nics, "active-backup"), f"{cn}.yaml")
        with agent(host):
            host.right(host.cluster(), 90)
            usual = repaired(host)
            with asking(host.paths.agent_socket) as found:
                for cn, nics in pairs.items():
                    host.write(network(cn, nics, "802.3ad"), f"{cn}.yaml")
                begun = time.monotonic()
                time.sleep(0.5)
                meanwhile = repaired(host)
                right = host.right(host.cluster(), 90)
                time.sleep(max(0.0, 5.0 - (time.monotonic() - begun)))
            print(
                f"\nten dead ports in another mode after {right:.1f} s; drift elsewhere: usually {usual:.2f} s, "
                f"meanwhile {meanwhile:.2f} s"
            )
            answered(found)


def test_told_to_end_while_it_waits_for_lacp(host: Host) -> None:
    host.write(network("oob", "eth1, eth2", "active-backup"))
    with disagreeing(host, ["p1", "p2"]), agent(host) as running:
        host.right(host.cluster(), 60)
        host.write(network("oob", "eth1, eth2", "802.3ad"))
        host.wait(lambda: "oob-bn" in host.kernel.observe().state.links)
        time.sleep(1.0)
        ends_at_once(running)
        with agent(host) as another:
            host.wait(lambda: "does not agree" in another.said, 60)


def test_told_to_end_while_it_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(keeper, "POLICY", replace(keeper.POLICY, allowed_s=30.0))
    place = Place(Around.GATEWAY)
    try:
        place.prepare()
        before = place.state()
        with place.agent() as running:
            place.edit(Wrong.VLAN)
            until(lambda: place.answers(0.3) is None)
            ends_at_once(running)
        found = until(lambda: (now := place.checkpoint()) and not now.stage.pending and now)
        assert found.stage is Stage.UNDONE and "gone in the middle" in found.said
        assert place.answers(5) is not None
        assert place.state() == before
    finally:
        place.close()


def ends_at_once(running: Running) -> None:
    begun = time.monotonic()
    running.kill(signal.SIGTERM)
    assert running.wait() == 0, running.said
    took = time.monotonic() - begun
    print(f"\nit ended {took:.2f} s after SIGTERM")
    assert took < 1.0


def test_a_probe_of_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address moves to a VLAN that the switch does not carry; nobody answers for as long as that is allowed."""
    from dataclasses import replace

    monkeypatch.setattr(keeper, "POLICY", replace(keeper.POLICY, allowed_s=10.0))
    place = Place(Around.GATEWAY)
    try:
        place.prepare()
        before = place.state()
        with place.agent() as running, asking(place.site.paths.agent_socket) as found:
            begun = time.monotonic()
            place.edit(Wrong.VLAN)
            while (now := place.checkpoint()) is None or now.made_by != "windrow agent" or now.stage.pending:
                assert time.monotonic() - begun < 60, running.said
                time.sleep(0.05)
            spent = time.monotonic() - begun
            assert place.answers(20) is not None
        print(f"\nthe probe was given up after {spent:.1f} s")
        assert spent > 10
        assert place.state() == before
        answered(found)
    finally:
        place.close()
