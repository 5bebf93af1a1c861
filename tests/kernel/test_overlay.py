"""The overlay on a real kernel: two nodes, the device, the ways, what is repaired, what is undone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from windrow.apps.engine import converge, execute
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import FdbEntry, LinkFlags, Observed, Vxlan
from windrow.model.problems import errors
from windrow.model.steps import (
    Action,
    AddFdb,
    DelAddr,
    DeleteLink,
    DelFdb,
    DelNeighbour,
    DelRoute,
    RenameLink,
    SetLink,
    SetSysctl,
    SetVxlan,
)
from windrow.model.values import Cidr, IfName, Mac
from windrow.model.wire import load_documents
from windrow.netlink import features, links
from windrow.netlink.events import Events, Interest
from windrow.plan import make_plan, normalise

Ns = Any
FLANNEL, FLANNEL6 = IfName("flannel.1"), IfName("flannel-v6.1")
CONF = '{"Network": "10.52.0.0/16", "EnableIPv6": true, "IPv6Network": "fd52::/48"}'
HEAD = "---\napiVersion: network.harvesterhci.io/v1beta1\n"


def text(*, overlay: bool = True, mtu: int = 1600, b: str = "10.50.0.2") -> str:
    said = f", annotations: {{windrow.io/overlay: '{CONF}'}}" if overlay else ""
    ips = f"a: '10.50.0.1/24,2001:db8:50::1/64', b: '{b}/24,2001:db8:50::2/64'"
    nodes = (("a", "0", "fd52::/64"), ("b", "1", "fd52:0:0:1::/64"))
    return (
        f"{HEAD}kind: ClusterNetwork\nmetadata: {{name: mgmt{said}}}\n"
        f"{HEAD}kind: VlanConfig\nmetadata: {{name: m, annotations: {{windrow.io/managed: 'true'}}}}\n"
        f"spec: {{clusterNetwork: mgmt, uplink: {{nics: [eth1], linkAttributes: {{mtu: {mtu}}}}}}}\n"
        f"{HEAD}kind: HostNetworkConfig\nmetadata: {{name: nodes}}\n"
        f"spec: {{clusterNetwork: mgmt, vlanID: 50, mode: static, ips: {{{ips}}}}}\n"
    ) + "".join(
        f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"
        f"spec: {{podCIDRs: [10.52.{number}.0/24, '{six}']}}\n"
        for name, number, six in nodes
    )


def cluster(**said: Any) -> Cluster:
    loaded = load_documents(text(**said))
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


class Host:
    """A node of the name, and what it remembers."""

    def __init__(self, name: str, ns: Ns) -> None:
        self.name, self.ns, self.known = name, ns, Known()

    def brought_to(self, wanted: Cluster) -> None:
        """And nothing is left to do."""
        report = converge(wanted, self.ns.kernel, self.name, knowing=lambda: self.known, consent=True)
        assert report.ok, (report.outcome, [d for unit in report.left.units for d in unit.deltas])
        self.known = Known(memory=report.memory)
        again = converge(wanted, self.ns.kernel, self.name, knowing=lambda: self.known, consent=True)
        assert not again.planned.plan.steps, again.planned.plan

    def told(self, *argv: str) -> Any:
        """What a program of iproute2 says, as JSON."""
        return json.loads(self.ran(*argv).stdout)

    def ran(self, *argv: str) -> subprocess.CompletedProcess[str]:
        found = self.ns.inside(lambda: subprocess.run(argv, capture_output=True, text=True, check=False))
        assert isinstance(found, subprocess.CompletedProcess)
        return found

    def reaches(self, address: str, size: int = 56) -> bool:
        return self.ran("ping", "-c1", "-W1", "-q", "-M", "do", "-s", str(size), address).returncode == 0

    def comes_to_reach(self, address: str, size: int = 56) -> bool:
        """IPv6 begins with DAD."""
        end = time.monotonic() + 6
        while time.monotonic() < end:
            if self.reaches(address, size):
                return True
        return False


@pytest.fixture
def pair(new_ns: Callable[[], Ns]) -> tuple[Host, Host]:
    """Two nodes with a cable between their NICs."""
    a, b = new_ns(), new_ns()
    a.run(links.veth(links.End(name="eth1"), links.End(name="eth1", netns=b.fd)))
    hosts = Host("a", a), Host("b", b)
    for host in hosts:
        host.ns.run(links.set_link("lo", up=True), links.set_link("eth1", mtu=9000))
        host.brought_to(cluster())
    return hosts


def macs(pair: tuple[Host, Host]) -> tuple[Mac, Mac]:
    return tuple(host.ns.link(FLANNEL).mac for host in pair)  # type: ignore[return-value]


def test_it_is_what_flannel_makes(pair: tuple[Host, Host]) -> None:
    """By another reader of the kernel: the device, the entry, the neighbour and the route, as iproute2 shows them."""
    a, b = pair
    (link,) = a.told("ip", "-d", "-j", "link", "show", FLANNEL)
    data = link["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"], data["learning"]) == (1, 8472, "10.50.0.1", False)
    assert link["mtu"] == 1550
    (entry,) = [e for e in a.told("bridge", "-j", "fdb", "show", "dev", FLANNEL) if "dst" in e]
    assert (entry["mac"], entry["dst"], entry["state"]) == (macs(pair)[1], "10.50.0.2", "permanent")
    (neighbour,) = a.told("ip", "-j", "-4", "neigh", "show", "dev", FLANNEL)
    assert (neighbour["dst"], neighbour["lladdr"], neighbour["state"]) == ("10.52.1.0", macs(pair)[1], ["PERMANENT"])
    (route,) = a.told("ip", "-j", "route", "show", "10.52.1.0/24")
    assert (route["gateway"], route["dev"], route["flags"]) == ("10.52.1.0", FLANNEL, ["onlink"])
    (address,) = a.told("ip", "-j", "-4", "addr", "show", "dev", FLANNEL)[0]["addr_info"]
    assert (address["local"], address["prefixlen"]) == ("10.52.0.0", 32)
    assert b.ns.link(FLANNEL).spec == Vxlan(vni=1, port=8472, local="10.50.0.2")


def test_the_largest_packets_of_both_families_get_through(pair: tuple[Host, Host]) -> None:
    """1600 of the management network less 50, or 70 where the outer packet is IPv6."""
    a, _ = pair
    assert a.comes_to_reach("10.52.1.0", 1550 - 28)
    assert not a.reaches("10.52.1.0", 1550 - 27)
    assert a.comes_to_reach("fd52:0:0:1::", 1530 - 48)
    assert not a.reaches("fd52:0:0:1::", 1530 - 47)


def _damage(pair: tuple[Host, Host]) -> dict[str, list[tuple[str, Action]]]:
    a, (_, far) = pair[0], macs(pair)
    state = a.ns.kernel.observe().state
    link = state.links[FLANNEL]
    (way,) = [r for r in state.routes if r.dst == "10.52.1.0/24"]
    (neighbour,) = link.neighbours
    entry = FdbEntry(mac=far, dst="10.50.0.2")
    return {
        "far end taken away": [(FLANNEL, DelFdb(entry))],
        "far end moved": [(FLANNEL, AddFdb(replace(entry, dst="10.50.0.9")))],
        "a stranger's far end": [(FLANNEL, AddFdb(FdbEntry(mac=Mac("02:00:00:00:00:99"), dst="10.50.0.9")))],
        "neighbour taken away": [(FLANNEL, DelNeighbour(neighbour))],
        "route taken away": [(FLANNEL, DelRoute(way))],
        "address taken away": [(FLANNEL, DelAddr(Cidr("10.52.0.0/32")))],
        "down": [(FLANNEL, SetLink(up=False))],
        "another MAC": [(FLANNEL, SetLink(mac="02:00:00:00:00:98"))],
        "another MTU": [(FLANNEL, SetLink(mtu=1400))],
        "no ARP": [(FLANNEL, SetLink(flags=LinkFlags(arp=False)))],
        "another address of ours": [(FLANNEL, SetVxlan(local="10.50.0.77"))],
        "it learns": [(FLANNEL, SetVxlan(learning=True))],
        "router advertisements": [(FLANNEL, SetSysctl(f"net/ipv6/conf/{FLANNEL}/accept_ra", "1"))],
        "deleted": [(FLANNEL, DeleteLink())],
        "renamed": [
            (FLANNEL, SetLink(up=False)),
            (FLANNEL, RenameLink(IfName("x1"))),
            ("x1", SetLink(up=True)),
        ],
        "both deleted": [(FLANNEL, DeleteLink()), (FLANNEL6, DeleteLink())],
    }


def test_whatever_is_damaged_is_put_right(pair: tuple[Host, Host]) -> None:
    a, _ = pair
    whole = _lasting(a.ns.kernel.observe())
    for name, steps in _damage(pair).items():
        a.ns.do(*steps)
        assert _lasting(a.ns.kernel.observe()) != whole, name
        a.brought_to(cluster())
        assert _lasting(a.ns.kernel.observe()) == whole, name
        assert a.comes_to_reach("10.52.1.0"), name


def _lasting(observed: Observed) -> dict[str, object]:
    found = {name: observed.state.links.get(name) for name in (FLANNEL, FLANNEL6)}
    routes = frozenset(replace(r, order=0) for r in observed.state.routes if r.dev in found)
    settings = {name: link.settings.get("ipv6/accept_ra") if link else None for name, link in found.items()}
    return {**found, "routes": {r for r in routes if r.protocol == 119}, "settings": settings}


def test_a_way_out_for_whatever_is_not_known_is_taken_away(pair: tuple[Host, Host]) -> None:
    """`ip link set … type vxlan remote …`: it shows as an entry for no MAC address."""
    a, before = pair[0], pair[0].ns.link(FLANNEL).fdb
    found = a.ran("ip", "link", "set", FLANNEL, "type", "vxlan", "id", "1", "remote", "10.50.0.66")
    assert found.returncode == 0, found.stderr
    more = a.ran(
        "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", FLANNEL, "dst", "10.50.0.67", "self", "permanent"
    )
    assert more.returncode == 0, more.stderr
    assert len((a.ns.link(FLANNEL).fdb or frozenset()) - (before or frozenset())) == 2
    a.brought_to(cluster())
    assert a.ns.link(FLANNEL).fdb == before


def test_a_node_that_moves_is_followed(pair: tuple[Host, Host]) -> None:
    a, b = pair
    index = a.ns.index(FLANNEL), b.ns.index(FLANNEL)
    moved = cluster(b="10.50.0.22")
    for host in (b, a):
        host.brought_to(moved)
    assert a.ns.link(FLANNEL).fdb == {FdbEntry(mac=macs(pair)[1], dst="10.50.0.22")}
    assert a.comes_to_reach("10.52.1.0")
    assert (a.ns.index(FLANNEL), b.ns.index(FLANNEL)) == index, "the devices are the same"


def test_the_mtu_follows_live(pair: tuple[Host, Host]) -> None:
    a, b = pair
    index = a.ns.index(FLANNEL)
    for mtu in (1400, 8000):
        for host in (a, b):
            host.brought_to(cluster(mtu=mtu))
        assert (a.ns.link(FLANNEL).mtu, a.ns.link(FLANNEL6).mtu) == (mtu - 50, mtu - 70)
        assert a.comes_to_reach("10.52.1.0", mtu - 50 - 28)
    assert a.ns.index(FLANNEL) == index


def test_undo_goes_both_ways(pair: tuple[Host, Host]) -> None:
    """Back to a node without an overlay, and back to one with it, by plans towards what was observed."""
    a, _ = pair
    with_it = a.ns.kernel.observe()
    a.brought_to(cluster(overlay=False))
    without = a.ns.kernel.observe()
    assert not {FLANNEL, FLANNEL6} & without.state.links.keys()
    assert not [r for r in without.state.routes if r.dst.startswith(("10.52", "fd52"))]
    _to(a, with_it)
    assert _lasting(a.ns.kernel.observe()) == _lasting(with_it)
    assert a.comes_to_reach("10.52.1.0")
    _to(a, without)
    assert not {FLANNEL, FLANNEL6} & a.ns.kernel.observe().state.links.keys()


def _to(host: Host, before: Observed) -> None:
    plan = make_plan(normalise(before), host.ns.kernel.observe(), consent=True)
    assert execute(plan, host.ns.kernel).ok


def test_somebody_elses_device_of_that_name_is_left_alone(pair: tuple[Host, Host]) -> None:
    """Real flannel's, without a mark: that is said, and nothing of it is touched."""
    a, _ = pair
    a.brought_to(cluster(overlay=False))
    a.ns.run(links.create(FLANNEL, "vxlan", data={"vni": 1, "port": 8472, "local": "10.50.0.1", "learning": 0}))
    before = a.ns.link(FLANNEL)
    report = converge(cluster(), a.ns.kernel, "a", knowing=lambda: a.known, consent=True)
    assert "overlay-of-others" in {p.code for p in report.planned.compiled.problems}
    assert a.ns.link(FLANNEL) == before
    assert before.kind == "vxlan" and before.fdb is None
    assert a.ns.runtime(FLANNEL).tunnel == Vxlan(vni=1, port=8472, local="10.50.0.1")


def test_the_agent_hears_of_what_is_changed(pair: tuple[Host, Host]) -> None:
    """Neighbours and far ends of the tunnel device, and not what the host learns elsewhere."""
    a, (_, far) = pair[0], macs(pair)
    runtime = a.ns.kernel.observe().runtime
    with Events(a.ns.fd) as events:
        events.interest = Interest(tunnels=frozenset({runtime[FLANNEL].ifindex}))
        events.read()
        for action in (
            DelFdb(FdbEntry(mac=far, dst="10.50.0.2")),
            AddFdb(FdbEntry(mac=far, dst="10.50.0.2")),
            DelNeighbour(next(iter(a.ns.link(FLANNEL).neighbours))),
        ):
            a.ns.do((FLANNEL, action))
            assert events.read().links, action
        a.ran("ip", "neigh", "add", "10.50.0.200", "lladdr", "02:00:00:00:00:01", "dev", "mgmt-br.50")
        assert not events.read().anything


def test_whether_forged_packets_can_be_dropped_is_what_nft_finds(new_ns: Callable[[], Ns]) -> None:
    argv = ["nft", "add", "table", "bridge", "probe"]
    done = new_ns().inside(lambda: subprocess.run(argv, capture_output=True, check=False))
    assert isinstance(done, subprocess.CompletedProcess)
    assert features.probe().bridge_rules == (done.returncode == 0)
