"""A flushed packet filter under a real agent: it hears of nftables, and looks at legacy iptables now and then."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import a_host, manifests
from tests.agent.hands import Site, until

from windrow.apps.filters import FRESH_S
from windrow.model.checkpoint import Stage
from windrow.model.filters import LEGACY
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.values import IfName, Mac
from windrow.netlink import links, netns
from windrow.port.identity import host_end
from windrow.store.ports import PortRecords

NODE = "a-node"
MAC = Mac("02:00:00:00:00:0a")
PORT = host_end("c1", "eth0")


@pytest.fixture
def host() -> Iterator[Host]:
    with a_host(NODE) as host:
        host.write(manifests(NODE))
        yield host


def program(host: Host, line: str) -> str:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)

    return netns.opened_in(host.node, run).stdout


def attach(host: Host, **more: object) -> None:
    """As a CNI call would have, a moment ago; but for the rules."""
    rtnl = host.kernel.rtnl
    rtnl.run(links.create("cni0", "bridge"))
    rtnl.run(links.veth(links.End(name=PORT, group=PORT_GROUP), links.End(name="pod0"), master=rtnl.index("cni0")))
    values = {"container_id": "c1", "ifname": "eth0", "netns": "", "network": "net", "bridge": IfName("cni0")}
    record = PortRecord(**values, host=PORT, mac=MAC, **more)  # type: ignore[arg-type]
    PortRecords(host.paths).put(record)


def test_it_hears_of_a_flush_and_puts_the_rules_back(host: Host) -> None:
    attach(host, spoof_check=True)
    host.start(steady=False)
    listing = "nft list ruleset bridge"
    host.wait(lambda: str(MAC) in program(host, listing))
    times = []
    for line in ("nft flush ruleset", "nft flush chain bridge nat PREROUTING", "nft delete table bridge nat"):
        program(host, line)
        times.append(host.wait(lambda: f'iifname "{PORT}" jump' in program(host, listing)))
        time.sleep(0.5)
    print(f"put back after {', '.join(f'{t:.2f}' for t in times)} s")
    assert max(times) < FRESH_S / 2, "it heard of it"
    host.wait(lambda: any(f"repaired {PORT}: macspoofchk was none, is {MAC}" in e.message for e in host.events()))


def test_legacy_iptables_is_looked_at_now_and_then(host: Host) -> None:
    attach(host, masquerade=("10.1.0.2/24",), masquerade_by=LEGACY)
    host.start(steady=False)
    listing = "iptables-legacy-save -t nat"
    host.wait(lambda: "10.1.0.2/32" in program(host, listing))
    time.sleep(2)  # its own doing is past
    program(host, "iptables-legacy -t nat -F")
    assert "10.1.0.2" not in program(host, listing)
    took = host.wait(lambda: "10.1.0.2/32" in program(host, listing), 2 * FRESH_S, 0.5)
    print(f"put back after {took:.1f} s")
    assert took < 2 * FRESH_S


def test_the_watchdog_gives_back_the_rules_that_were_there_before(host: Host) -> None:
    """The firewall is loaded anew while the change waits to be confirmed, and whoever made it is gone."""
    attach(host, spoof_check=True)
    node = Site(host.world, host.node)
    listing = "nft list ruleset bridge"
    assert node.run("apply").code == 0
    rule = f'iifname "{PORT}" jump'
    assert rule in program(host, listing)
    changed = node.root / "changed.yaml"
    changed.write_text(manifests(NODE, miimon=200))
    running = node.begin("apply", "-f", str(changed), "--confirm", "3s")
    until(lambda: (found := node.checkpoint()) and found.stage is Stage.WAITING)
    running.kill()
    program(host, "nft flush ruleset")
    assert rule not in program(host, listing)
    undone = until(lambda: (found := node.checkpoint()) and not found.stage.pending and found)
    assert (undone.stage, undone.left) == (Stage.UNDONE, "")
    assert rule in program(host, listing)
    node.close()
