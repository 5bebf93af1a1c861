"""`windrow adopt` on a real kernel: what `ip` made, as netplan and ifupdown call it, becomes Windrow's and goes back
while frames go through it; and after that an agent alone makes the same network again."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.lab.probe import Flow, Station
from windrow.model.host import OWNER_GROUP
from windrow.model.marks import mark_of
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.directory import Store

Ns = Any
NewNs = Callable[[], Ns]


def run(ns: Ns, *words: str, text: str = "") -> str:
    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, input=text, check=False)

    done = netns.opened_in(ns.fd, start)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def ip(ns: Ns, *commands: str) -> None:
    """Of each program what comes in a row, in one process: starting one takes a while here."""
    for program, rows in groupby(commands, key=lambda command: command.partition(" ")[0]):
        run(ns, program, "-batch", "-", text="".join(f"{row.partition(' ')[2]}\n" for row in rows))


@dataclass
class Host:
    """A host whose network `ip` made, a switch behind both of its NICs, and a machine in VLAN 100 of its bridge."""

    ns: Ns
    switch: Ns
    machine: Ns
    root: Path

    def windrow(self, *words: str, code: int = 0) -> str:
        session = Session(root=self.root, node="n1", open_kernel=lambda: Kernel(self.ns.fd), permitted=lambda: True)
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    def flows(self) -> list[Flow]:
        """From the host untagged, from the host in VLAN 30, from the machine in VLAN 100; 500 a second each way."""
        ways = (
            (self.ns, "10.0.0.1", "10.0.0.2"),
            (self.ns, "10.0.30.1", "10.0.30.2"),
            (self.machine, "10.0.100.1", "10.0.100.2"),
        )
        return [Flow(station(f"at {a}", one, a), station(f"at {b}", self.switch, b)) for one, a, b in ways]


def station(name: str, ns: Ns, address: str) -> Station:
    return Station(name=name, interface="lo", inside=ns.inside, address=address)


BRIDGE, BOND, VLAN = "br0", "bond0", "br0.30"


@pytest.fixture
def host(new_ns: NewNs, tmp_path: Path) -> Host:
    ns, switch, machine = new_ns(), new_ns(), new_ns()
    for number in (1, 2):
        nic, port = links.End(name=f"ens{number}", mac=f"02:00:00:00:01:0{number}"), f"p{number}"
        ns.run(links.veth(nic, links.End(name=port, netns=switch.fd)))
    ns.run(links.veth(links.End(name="tap0"), links.End(name="eth0", netns=machine.fd)))
    ip(switch, "ip link add sw type bridge", *(f"ip link set p{n} master sw up" for n in (1, 2)))
    ip(switch, "ip link set sw up", "ip address add 10.0.0.2/24 dev sw")
    for vid in (30, 100):
        ip(switch, f"ip link add link sw name sw.{vid} type vlan id {vid}", f"ip link set sw.{vid} up")
        ip(switch, f"ip address add 10.0.{vid}.2/24 dev sw.{vid}")
    ip(machine, "ip link set eth0 up", "ip address add 10.0.100.1/24 dev eth0")
    ip(
        ns,
        f"ip link add {BOND} type bond mode active-backup miimon 100",
        *(f"ip link set ens{n} master {BOND}" for n in (1, 2)),
        f"ip link add {BRIDGE} type bridge vlan_filtering 1",
        *(f"ip link set {one} master {BRIDGE}" for one in (BOND, "tap0")),
        f"bridge vlan add dev {BOND} vid 30",
        f"bridge vlan add dev {BOND} vid 100",
        "bridge vlan add dev tap0 vid 100 pvid untagged",
        "bridge vlan del dev tap0 vid 1",
        f"bridge vlan add dev {BRIDGE} vid 30 self",
        f"ip link add link {BRIDGE} name {VLAN} type vlan id 30",
        *(f"ip link set {one} up" for one in ("tap0", BOND, BRIDGE, VLAN)),
        f"ip address add 10.0.0.1/24 dev {BRIDGE}",
        f"ip address add 10.0.30.1/24 dev {VLAN}",
        "ip route add 10.9.0.0/16 via 10.0.0.2",
        "ip link add ens9 type dummy",  # the host is reached by another way
        "ip link set ens9 up",
        "ip address add 192.0.2.10/24 dev ens9",
        "ip route add default via 192.0.2.1",
    )
    place = tmp_path / "etc/netplan"
    place.mkdir(parents=True)
    (place / "50-net.yaml").write_text("network:\n  bonds:\n    bond0: {interfaces: [ens1, ens2]}\n")
    return Host(ns, switch, machine, tmp_path)


def lost(flows: Sequence[Flow]) -> list[str]:
    return [f"{way}" for flow in flows for way in flow.result]


def test_nothing_is_lost_on_the_way_there_and_back(host: Host) -> None:
    before = run(host.ns, "ip", "-o", "link")
    names = [line.split()[1] for line in before.splitlines()]
    flows = host.flows()
    for flow in flows:
        flow.__enter__()
    try:
        said = host.windrow("adopt", "br0=oob")
        again = host.windrow("plan")
        status = host.windrow("status")
        back = host.windrow("adopt", "--undo")
    finally:
        for flow in flows:
            flow.__exit__()
    assert all(way.lost == 0 and way.sent > 100 for flow in flows for way in flow.result), lost(flows)
    assert "br0, called oob-br as well" in said
    assert "/etc/netplan/50-net.yaml:3  bonds.bond0" in said
    assert "nothing to do" in again
    assert "oob-br" in status
    assert "oob-bo is no longer Windrow's: it is bond0" in back
    after = run(host.ns, "ip", "-o", "link")
    assert [line.split()[1] for line in after.splitlines()] == names
    for name in (BRIDGE, BOND, VLAN):
        runtime = host.ns.runtime(name)
        assert (runtime.group, runtime.altnames) == (0, ())
    assert Store(host.root).load().objects == ()


def test_its_own_names_stay_and_it_is_found_by_both(host: Host) -> None:
    host.windrow("adopt", "br0=oob")
    for own, name in ((BRIDGE, "oob-br"), (BOND, "oob-bo"), (VLAN, "oob-br.30")):
        assert host.ns.index(own) == host.ns.index(name)
        runtime = host.ns.runtime(name)
        assert (runtime.group, runtime.own_name) == (OWNER_GROUP, own)
        assert set(runtime.altnames) == {name, mark_of(name)}
    assert host.ns.link("oob-br.30").parent == "oob-br"
    assert host.ns.link("oob-bo").master == "oob-br"
    nics = host.ns.kernel.nics()
    assert nics["ens1"].master == "oob-bo"


def test_drift_of_what_was_adopted_is_repaired(host: Host) -> None:
    host.windrow("adopt", "br0=oob")
    ip(host.ns, f"bridge vlan del dev {BOND} vid 100", f"ip link set {BOND} mtu 1400", f"ip address flush dev {VLAN}")
    run(host.ns, "sysctl", "-qw", f"net.ipv6.conf.{BRIDGE}.accept_ra=1")
    said = host.windrow("apply")
    assert "oob-bo" in said
    assert "node is" not in host.windrow("plan")
    link = host.ns.link("oob-bo")
    assert link.vlans is not None
    assert (100 in link.vlans.tagged, link.mtu) == (True, 1500)
    assert host.ns.link("oob-br.30").addrs == {"10.0.30.1/24"}
    assert "nothing to do" in host.windrow("plan")


def test_after_a_start_the_agent_alone_makes_the_same_network(host: Host) -> None:
    """What a reboot leaves: the NICs, and what is on the disk."""
    host.windrow("adopt", "br0=oob")
    ip(host.ns, *(f"ip link del {one}" for one in (VLAN, BRIDGE, BOND)))
    host.windrow("agent", "--once")
    ip(host.ns, "ip link set tap0 master oob-br", "bridge vlan add dev tap0 vid 100 pvid untagged")
    ip(host.ns, "bridge vlan del dev tap0 vid 1")
    flows = host.flows()
    for flow in flows:
        flow.__enter__()
        flow.__exit__()
        assert all(way.lost < way.sent for way in flow.result), lost(flows[:1])
    assert "nothing to do" in host.windrow("plan")
    assert host.ns.runtime("oob-br").own_name == ""


def test_routers_on_the_link_are_the_same_after_a_start(host: Host) -> None:
    """As ifupdown makes them, of a host whose addresses have no network. A route of before, whose router has gone with
    its network, is named and nothing more."""
    ip(
        host.ns,
        "ip address add 203.0.113.5/32 dev br0",
        "ip address del 10.0.0.1/24 dev br0",
        "ip address add 2001:db8::5/128 dev br0 nodad",
        "ip route add default via 198.51.100.1 dev br0 onlink metric 200",
        "ip route add 10.8.0.0/16 via 198.51.100.2 dev br0 onlink metric 5",
        "ip route add 2001:db8:8::/48 via 2001:db8:9::1 dev br0 onlink",
    )
    stray = "10.9.0.0/16 via 10.0.0.2"
    before = routes_over(host, "br0")
    left = [line for line in host.windrow("adopt", "br0=oob").splitlines() if "no field says" in line]
    assert len(left) == 1 and stray in left[0].replace("the route to ", "")
    assert "nothing to do" in host.windrow("plan")
    assert routes_over(host, "br0") == before
    ip(host.ns, *(f"ip link del {one}" for one in (VLAN, BRIDGE, BOND)))
    host.windrow("agent", "--once")
    assert routes_over(host, "oob-br") == [line for line in before if stray not in line]
    assert "nothing to do" in host.windrow("plan")


def routes_over(host: Host, link: str) -> list[str]:
    """Those with a router, without who made them."""
    found = [run(host.ns, "ip", family, "route", "show", "dev", link) for family in ("-4", "-6")]
    lines = [line for text in found for line in text.splitlines() if " via " in line]
    return [" ".join(re.sub(r"proto \S+|linkdown", "", line).split()) for line in lines]


def test_what_would_cost_something_is_refused_and_nothing_is_changed(host: Host) -> None:
    ip(host.ns, f"ip link set {BRIDGE} type bridge vlan_filtering 0")
    said = host.windrow("adopt", "br0=oob", code=1)
    assert "what changes has impact flap on oob-br, and --max-impact is hitless" in said
    assert host.ns.runtime(BRIDGE).altnames == ()
    assert Store(host.root).load().objects == ()
    host.windrow("adopt", "br0=oob", "--max-impact", "flap")
    assert "nothing to do" in host.windrow("plan")


def test_a_cut_anywhere_leaves_it_as_it_was_and_it_goes_on(host: Host) -> None:
    """After each of its messages another round is made, as an agent's would be."""
    from windrow.netlink import execute

    host.windrow("adopt", "br0=oob", "--dry-run")
    host.windrow("adopt", "br0=oob")
    objects = Store(host.root).load().objects
    host.windrow("adopt", "--undo")
    Store(host.root).put(objects)
    messages = [
        message
        for own, name in ((BRIDGE, "oob-br"), (VLAN, "oob-br.30"), (BOND, "oob-bo"))
        for message in execute._mark_messages(own, execute.Adopt(name))
    ]
    indexes = {name: host.ns.index(name) for name in (BRIDGE, BOND, VLAN)}
    for message in messages[:-2]:
        host.ns.run(message)
        host.windrow("apply", code=1)
        assert {name: host.ns.index(name) for name in (BRIDGE, BOND, VLAN)} == indexes
        assert host.ns.kernel.observe().state.links.keys() == {"lo", "ens1", "ens2", "ens9", "tap0"} | {
            n for n, r in host.ns.kernel.observe().runtime.items() if r.ifindex in indexes.values()
        }
    host.windrow("adopt", "br0=oob")
    assert "nothing to do" in host.windrow("plan")
