"""`windrow init`, `confirm`, `undo`, `checkpoint`: what they make, refuse and say, on a kernel in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.site import Site
from windrow.model.bonding import BondMode
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.connections import NO_SOCKETS, Sockets
from windrow.model.host import OWNER_PROTOCOL, Bond, Details, Exact, Route, Rule, StaticNeighbour, VlanIf
from windrow.model.processes import Process
from windrow.model.values import Cidr, IfName
from windrow.netlink.reach import Answers, Target, Way
from windrow.plan import make_plan, normalise
from windrow.services.filterrules import FilterRule, Reading
from windrow.store.checkpoints import Checkpoints
from windrow.store.directory import Store
from windrow.store.lastgood import read_last_good
from windrow.store.leases import Leases, this_moment
from windrow.store.origin import read_origin
from windrow.store.paths import Paths
from windrow.testing import builders
from windrow.testing.builders import link, neighbour
from windrow.testing.fake import FakeKernel

BOTH = frozenset({Way.ARP, Way.PING})


@dataclass
class Host:
    root: Path
    silent: bool = False
    dynamic: dict[IfName, dict[Cidr, int]] = field(default_factory=dict)
    filters: Reading = field(default_factory=Reading)
    sockets: Sockets = NO_SOCKETS

    def __post_init__(self) -> None:
        self.kernel = FakeKernel()
        for name in ("eth0", "eth1", "eth2"):
            self.kernel.add_nic(name, up=True)
        self.address("eth0", "10.0.0.10/24")
        self.kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.1", protocol=3))
        self.kernel.add_route(Route(dst="10.9.0.0/16", dev=IfName("eth0"), gateway="10.0.0.9", metric=7, protocol=4))

    def address(self, nic: str, address: str) -> None:
        self.kernel.machine.add_addr(self.kernel.machine.get(nic), address)

    def run(self, *words: str) -> Result:
        session = Session(
            root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True, on_site=self.on_site
        )
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def on_site(self, site: Site) -> Site:
        return replace(
            site,
            ask=self.ask,
            watch=self.watch,
            dynamic=lambda _: self.dynamic,
            filters=lambda _: self.filters,
            sockets=lambda _: self.sockets,
        )

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        quiet = self.silent and "mgmt-br" in self.kernel.machine.devices
        return {t: frozenset() if quiet else BOTH for t in targets}

    def watch(self, site: Site, checkpoint: Checkpoint) -> Process:
        return Process(pid=2**22 - 1, started=1)

    def state(self) -> tuple[str, dict[str, str]]:
        directory = Paths(self.root).manifests
        files = {p.name: p.read_text() for p in directory.glob("*")} if directory.is_dir() else {}
        return str(self.kernel), files

    def stored(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((Paths(self.root).manifests / f"{name}.yaml").read_text())
        return found

    @property
    def vlan_config(self) -> dict[str, Any]:
        return self.stored("vlanconfig-mgmt-vlanconfig-n1")

    @property
    def network(self) -> dict[str, Any]:
        return self.stored("hostnetworkconfig-mgmt-n1")

    def neighbours(self, link: str) -> frozenset[StaticNeighbour]:
        return self.kernel.observe().state.links[IfName(link)].neighbours

    def addresses(self, link: str) -> frozenset[Cidr]:
        return self.kernel.observe().state.links[IfName(link)].addrs or frozenset()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(host: Host, *words: str) -> str:
    before = host.state()
    result = host.run("init", *words)
    assert result.exit_code == 1, result.output
    assert host.state() == before
    assert "nothing was changed" in result.stderr
    return result.stderr


# -- the first time --------------------------------------------------------------------------------


def test_the_address_the_gateway_and_the_routes_move_to_the_bridge(host: Host) -> None:
    said = ok(host.run("init", "--nic", "eth0"))
    assert "Kept: the gateway 10.0.0.1 answers (ARP, ping), as before." in said
    mac = host.kernel.nics()[IfName("eth0")].mac
    assert host.vlan_config["metadata"] == {"name": "mgmt-vlanconfig-n1", "annotations": {"windrow.io/managed": "true"}}
    assert host.vlan_config["spec"] == {
        "clusterNetwork": "mgmt",
        "nodeSelector": {"kubernetes.io/hostname": "n1"},
        "uplink": {"nics": [{"mac": mac}]},
    }
    spec = host.network["spec"]
    assert (spec["vlanID"], spec["mode"], spec["gateway"]) == (0, "static", "10.0.0.1")
    assert (host.addresses("eth0"), host.addresses("mgmt-br")) == (frozenset(), {"10.0.0.10/24"})
    routes = {(r.dst, r.gateway, r.metric) for r in host.kernel.observe().state.routes if r.dev == "mgmt-br"}
    assert {("default", "10.0.0.1", 0), ("10.9.0.0/16", "10.0.0.9", 7)} <= routes
    assert host.kernel.observe().state.links[IfName("mgmt-br")].mac == mac
    assert ok(host.run("plan")) == "n1 is as its manifests want it: nothing to do.\n"
    good = read_last_good(Paths(host.root))
    assert good is not None and len(good.objects) == 2


def test_a_default_route_that_a_router_announced_is_left_to_the_router(host: Host) -> None:
    eth0 = IfName("eth0")
    host.kernel.add_route(Route(dst="default", dev=eth0, gateway="fe80::1", protocol=9, metric=1024, until=1e12))
    ok(host.run("init", "--nic", "eth0"))
    assert host.network["spec"]["gateway"] == "10.0.0.1"
    assert not [r for r in host.kernel.observe().state.routes if r.version == 6 and r.protocol != 2]


def test_routes_that_no_manifest_can_say_go_along_and_come_back(host: Host) -> None:
    eth0 = IfName("eth0")
    several = Route(dst="10.8.0.0/16", dev=eth0, gateway="10.0.0.3", exact=Exact(message=b"\2", links=(eth0, eth0)))
    table = Route(dst="default", dev=eth0, gateway="10.0.0.4", table=100, protocol=4)
    rule = Rule(message=b"\2", iif="eth0", protocol=4)
    host.kernel.add_route(several).add_route(table).add_rule(rule)
    before = host.kernel.observe().state
    ok(host.run("init", "--nic", "eth0"))
    now = host.kernel.observe().state
    to = {eth0: IfName("mgmt-br")}
    assert {several.moved(to, OWNER_PROTOCOL), table.moved(to, OWNER_PROTOCOL)} <= now.routes
    assert now.rules == {rule, rule.moved(to, OWNER_PROTOCOL)}
    assert ok(host.run("plan")) == "n1 is as its manifests want it: nothing to do.\n"
    ok(host.run("init", "--undo"))
    assert (host.kernel.observe().state.routes, host.kernel.observe().state.rules) == (before.routes, before.rules)


@pytest.mark.parametrize("vlan", ["0", "5"])
def test_neighbours_that_were_set_by_hand_go_along_and_come_back(host: Host, vlan: str) -> None:
    """The gateway need not answer ARP, and this host may answer it for others."""
    gateway, proxy = neighbour("10.0.0.1", "02:00:00:00:aa:01"), neighbour("10.0.0.77")
    host.kernel.add_neighbour("eth0", gateway).add_neighbour("eth0", proxy)
    ok(host.run("init", "--nic", "eth0", "--vlan", vlan))
    to = "mgmt-br" if vlan == "0" else "mgmt-br.5"
    ours = {replace(one, protocol=OWNER_PROTOCOL) for one in (gateway, proxy)}
    assert host.neighbours(to) == ours
    assert host.neighbours("eth0") == set()
    assert ok(host.run("plan")) == "n1 is as its manifests want it: nothing to do.\n"
    by_hand = neighbour("10.0.0.50", "02:00:00:00:aa:02")
    host.kernel.add_neighbour(to, by_hand)
    host.kernel.add_neighbour(to, neighbour("10.0.0.1", "02:00:00:00:aa:99"))  # another hand
    assert "neighbor 10.0.0.1 lladdr 02:00:00:00:aa:01 permanent" in host.run("plan").stdout
    ok(host.run("apply"))
    assert host.neighbours(to) == ours | {by_hand}
    ok(host.run("init", "--undo"))
    assert host.neighbours("eth0") == {gateway, proxy}


def test_neighbours_that_were_set_by_hand_survive_a_failed_init_and_a_move(host: Host) -> None:
    gateway = neighbour("10.0.0.1", "02:00:00:00:aa:01")
    host.kernel.add_neighbour("eth0", gateway)
    host.silent = True
    assert host.run("init", "--nic", "eth0", "--timeout", "1s").exit_code == 1
    assert host.neighbours("eth0") == {gateway}
    host.silent = False
    ok(host.run("init", "--nic", "eth0"))
    by_hand = neighbour("10.0.0.50", "02:00:00:00:aa:02")
    host.kernel.add_neighbour("mgmt-br", by_hand)
    ours = replace(gateway, protocol=OWNER_PROTOCOL)
    host.silent = True
    assert host.run("init", "--vlan", "5", "--timeout", "1s").exit_code == 1
    assert host.neighbours("mgmt-br") == {ours, by_hand}
    host.silent = False
    ok(host.run("init", "--vlan", "5"))
    assert (host.neighbours("mgmt-br"), host.neighbours("mgmt-br.5")) == ({by_hand}, {ours})
    before = normalise(host.kernel.observe())
    host.kernel.machine.put_mac(host.kernel.machine.get("mgmt-br"), "02:00:00:00:bb:01")  # and the kernel forgets all
    host.kernel.add_neighbour("mgmt-br", by_hand)
    assert host.kernel.run(make_plan(before, host.kernel.observe(), consent=True).steps) is None
    assert make_plan(before, host.kernel.observe(), consent=True).empty
    assert (host.neighbours("mgmt-br"), host.neighbours("mgmt-br.5")) == ({by_hand}, {ours})


def test_the_settings_of_the_nic_go_to_the_link_of_the_address(host: Host) -> None:
    host.kernel.machine.get("eth0").settings["ipv6/accept_ra"] = "2"
    host.kernel.link_defaults = lambda: {"ipv6/accept_ra": "1"}  # type: ignore[method-assign]
    ok(host.run("init", "--nic", "eth0", "--vlan", "5"))
    assert host.kernel.observe().state.links[IfName("mgmt-br.5")].settings["ipv6/accept_ra"] == "2"
    assert host.kernel.observe().state.links[IfName("mgmt-br")].settings["ipv6/accept_ra"] == "0"


def test_a_route_that_cannot_be_carried_is_refused_by_name(host: Host) -> None:
    eth0, eth1 = IfName("eth0"), IfName("eth1")
    both = Route(dst="10.8.0.0/16", dev=eth0, exact=Exact(message=b"\2", links=(eth0, eth1)))
    host.kernel.add_route(both)
    said = refused(host, "--nic", "eth0")
    assert "the route to 10.8.0.0/16 over eth0 would be lost: it leads over eth1 as well" in said


def test_a_filter_that_names_the_nic_asks_for_a_confirmation(host: Host) -> None:
    rule = FilterRule("iptables-save", "eth0", "-A INPUT -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT")
    host.filters = Reading(rules=(rule,), read=("iptables-save",))
    said = refused(host, "--nic", "eth0")
    assert rule.text in said and "--confirm" in said
    assert "warning: rules of the packet filter name eth0" in host.run("init", "--nic", "eth0", "--dry-run").stderr
    outwards = refused(host, "--nic", "eth0", "--confirm", "60s", "--probe", "gateway")
    assert rule.text in outwards, "the probe decides then, and asks outwards alone"
    host.sockets = Sockets(listening=frozenset({22}))
    result = host.run("init", "--nic", "eth0", "--probe", "incoming", "--timeout", "1s")
    assert "warning: rules of the packet filter name eth0" in result.stderr
    assert "nobody opened a new connection" in result.stderr


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_to_wait_for_a_connection_where_nothing_listens_is_refused_at_once(host: Host, words: tuple[str, ...]) -> None:
    host.sockets, before = Sockets(listening=frozenset({22, 6443})), host.state()
    result = host.run("init", "--nic", "eth0", "--probe", "incoming:2022", *words)
    assert (result.exit_code, host.state()) == (1, before)
    assert "no program on this host listens on port 2022 for others" in result.stderr
    assert "name a port that a program listens on: 22, 6443" in result.stderr
    host.sockets = NO_SOCKETS
    said = host.run("init", "--nic", "eth0", "--probe", "incoming", *words).stderr
    assert "listens on any port" in said and host.state() == before


def test_over_ssh_the_port_of_the_session_is_the_one_to_come_in_by(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.7 50001 10.0.0.10 2022")
    host.sockets = Sockets(listening=frozenset({22}))
    assert "listens on port 2022" in host.run("init", "--nic", "eth0", "--probe", "incoming").stderr


def test_that_nobody_can_tell_of_a_filter_is_said(host: Host) -> None:
    host.filters = Reading(unread=(("nft", "nft: cannot be started: No such file or directory"),))
    result = host.run("init", "--nic", "eth0")
    assert result.exit_code == 0 and "cannot be told: nft: cannot be started" in result.stderr


def test_a_dry_run_shows_both_objects_and_changes_nothing(host: Host) -> None:
    before = host.state()
    said = ok(host.run("init", "--nic", "eth0", "--vlan", "5", "--dry-run"))
    assert host.state() == before
    first, second = list(yaml.safe_load_all(said.partition("vlanconfig.network")[0]))[-2:]
    assert (first["kind"], second["kind"], second["spec"]["vlanID"]) == ("VlanConfig", "HostNetworkConfig", 5)
    assert "+ mgmt-br.5  create vlan 5 on mgmt-br" in said
    assert "it joins a bond, and its addresses move to the bridge" in said
    assert read_origin(Paths(host.root)) is None


def test_a_gateway_that_does_not_answer_leaves_no_trace(host: Host) -> None:
    before = host.state()
    host.silent = True
    result = host.run("init", "--nic", "eth0", "--timeout", "1s")
    assert result.exit_code == 1
    assert "error: the change was undone in " in result.stderr
    assert "the gateway 10.0.0.1 does not answer" in result.stderr
    assert "n1 and its manifests are as they were before" in result.stderr
    assert host.state() == before
    assert read_origin(Paths(host.root)) is None
    assert read_last_good(Paths(host.root)) is None


def test_undo_gives_everything_back(host: Host) -> None:
    before = host.state()
    ok(host.run("init", "--nic", "eth0", "--mtu", "9000"))
    ok(host.run("init", "--nic", "eth0", "--nic", "eth1"))
    ok(host.run("init", "--undo"))
    assert host.state() == before
    assert read_origin(Paths(host.root)) is None
    result = host.run("init", "--undo")
    assert result.exit_code == 1
    assert "this host's management network is not Windrow's" in result.stderr


def test_an_undo_that_fails_at_any_step_leaves_the_host_on_its_bridge(tmp_path: Path) -> None:
    """What it put on the NIC by then must not keep the NIC out of its bond: the host would be cut off for good."""
    for number in range(1, 100):
        host = Host(tmp_path / str(number))
        ok(host.run("init", "--nic", "eth0", "--nic", "eth1"))
        before = host.state()
        host.kernel.fail_at(number)
        result = host.run("init", "--undo")
        if result.exit_code == 0:
            break
        assert "the change was undone" in result.stderr, f"step {number}: {result.output}"
        assert host.state() == before, f"step {number}"
        assert host.addresses("eth0") == frozenset()
    assert number > 10


def test_undo_leaves_out_a_route_whose_source_is_gone(host: Host) -> None:
    """The kernel keeps such a route in another table (fib_sync_down_addr), and refuses to make it anew."""
    eth0 = IfName("eth0")
    stale, alive = (
        Route(dst=dst, dev=eth0, table=100, protocol=4, exact=Exact(message=b"\2", links=(eth0,), source=source))
        for dst, source in (("10.7.0.0/16", "10.0.0.77"), ("10.8.0.0/16", "10.0.0.10"))
    )
    host.kernel.add_route(stale).add_route(alive)
    ok(host.run("init", "--nic", "eth0"))
    result = host.run("init", "--undo")
    ok(result)
    text = "the route to 10.7.0.0/16 in table 100 does not come back: its source 10.0.0.77 is no address of this host"
    assert text in result.stderr
    now = host.kernel.observe().state.routes
    assert alive in now and stale not in now


@pytest.mark.parametrize("gateway", [True, False])
def test_to_delete_what_the_host_is_reached_by_is_refused_beforehand(host: Host, gateway: bool) -> None:
    """No probe could ever keep it: it was carried out, and undone after a minute without network."""
    if not gateway:
        host.kernel.machine.routes = {r for r in host.kernel.machine.routes if r.gateway is None}
    ok(host.run("init", "--nic", "eth0", "--probe", "gateway" if gateway else "none"))
    before = host.state()
    words = ("delete", "vc/mgmt-vlanconfig-n1", "hnc/mgmt-n1")
    result = host.run(*words)
    assert (result.exit_code, host.state()) == (1, before)
    assert "takes 10.0.0.10/24 from mgmt-br, and leaves this host no address in its place" in result.stderr
    assert "`windrow init --undo` gives it back to the NIC" in result.stderr
    assert "nothing was changed" in result.stderr
    host.address("eth2", "192.168.1.10/24")
    ok(host.run(*words, "--probe", "none"))
    assert "mgmt-br" not in host.kernel.machine.devices


def test_undo_is_no_outage_that_lasts(host: Host) -> None:
    """The host's own traffic goes to the NIC with its address, and sessions go on."""
    ok(host.run("init", "--nic", "eth0"))
    said = host.run("init", "--undo", "--dry-run").output
    assert "traffic stops until the plan is through" in said and "does not come back" not in said
    assert "mgmt on n1: up to 5 s without traffic" in said
    assert "its addresses move back to its NIC" in said
    assert "mgmt-br of n1: 10.0.0.10/24 moves to eth0" in said
    gone = host.run("delete", "vc/mgmt-vlanconfig-n1", "hnc/mgmt-n1", "--dry-run").output
    assert "does not come back with this plan" in gone and "its connections end" in gone


@pytest.mark.parametrize(
    "words", [["--vlan", "5"], ["--nic", "eth1", "--mode", "802.3ad"], ["--nic", "eth1", "--vlan", "5"]]
)
def test_undo_is_none_with_a_vlan_and_several_nics_either(host: Host, words: list[str]) -> None:
    """It was told that traffic does not come back, which it does, with the address."""
    ok(host.run("init", "--nic", "eth0", *words, "--probe", "none"))
    said = host.run("init", "--undo", "--dry-run").output
    assert "does not come back" not in said and "no traffic until" not in said, said
    assert "traffic stops until the plan is through" in said
    assert "10.0.0.10/24 moves to eth0" in said


def test_undo_of_another_vlan_beside_it_lasts(host: Host) -> None:
    """Its address goes nowhere."""
    ok(host.run("init", "--nic", "eth0", "--probe", "none"))
    Store(Paths(host.root)).put([builders.host_network("mgmt", 7, {"n1": "10.77.0.1/24"})])
    ok(host.run("apply", "--probe", "none"))
    gone = host.run("delete", "hnc", "mgmt-7", "--dry-run").output
    assert "does not come back with this plan" in gone, gone


def test_undo_knows_a_source_of_a_host_network_that_stays(host: Host) -> None:
    """It is an address of this host, on a link of Windrow's: the route comes back, and nobody is warned."""
    config = builders.vlan_config("oob", ["eth2"])
    network = builders.host_network("oob", 7, {"n1": "10.77.0.1/24"})
    Store(Paths(host.root)).put([builders.cluster_network("oob"), config, network])
    ok(host.run("apply"))
    eth0 = IfName("eth0")
    exact = Exact(message=b"\2", links=(eth0,), source="10.77.0.1")
    route = Route(dst="10.7.0.0/16", dev=eth0, table=100, protocol=4, exact=exact)
    host.kernel.add_route(route)
    ok(host.run("init", "--nic", "eth0"))
    result = host.run("init", "--undo")
    ok(result)
    assert "its source" not in result.stderr
    assert route in host.kernel.observe().state.routes


def test_a_second_ipv6_address_that_is_deprecated_goes_along(host: Host) -> None:
    """As renumbering leaves it (RFC 4192): it is for sessions that have it already, and no manifest says it."""
    host.address("eth0", "fd00::10/64")
    host.address("eth0", "fd00::99/64")
    device = host.kernel.machine.get("eth0")
    device.details["fd00::99/64"] = Details(preferred_until=0.0)
    before = host.state()
    ok(host.run("init", "--nic", "eth0"))
    assert host.network["spec"]["ips"]["n1"] == "10.0.0.10/24,fd00::10/64"
    assert host.addresses("mgmt-br") == {"10.0.0.10/24", "fd00::10/64", "fd00::99/64"}
    details = host.kernel.observe().state.links[IfName("mgmt-br")].details
    assert details[Cidr("fd00::99/64")].preferred_until == 0.0
    assert "nothing to do" in ok(host.run("apply"))
    ok(host.run("init", "--undo"))
    assert host.state() == before


def started_anew(host: Host, *addresses: str) -> None:
    """The operating system still gives eth0 its addresses and the default route; nothing of Windrow's is there."""
    host.kernel = FakeKernel()
    for name in ("eth0", "eth1", "eth2"):
        host.kernel.add_nic(name, up=True)
    for address in addresses:
        host.address("eth0", address)
    host.kernel.add_route(Route(dst="default", dev=IfName("eth0"), gateway="10.0.0.1", protocol=3))


def test_what_the_operating_system_gives_the_nic_at_a_start_is_taken_over_again(host: Host) -> None:
    """It is what `windrow init` found and carried: somebody consented to that, and the gateway is asked as then."""
    ok(host.run("init", "--nic", "eth0"))
    started_anew(host, "10.0.0.10/24")
    said = ok(host.run("apply"))
    assert "Kept: the gateway 10.0.0.1 answers" in said
    assert (host.addresses("mgmt-br"), host.addresses("eth0")) == ({"10.0.0.10/24"}, frozenset())


def test_what_it_never_had_is_not(host: Host) -> None:
    ok(host.run("init", "--nic", "eth0"))
    started_anew(host, "10.0.0.10/24", "10.5.5.5/24")
    result = host.run("apply")
    assert result.exit_code == 1 and host.addresses("eth0") == {"10.0.0.10/24", "10.5.5.5/24"}
    assert "eth0 has addresses of its own: 10.0.0.10/24, 10.5.5.5/24" in result.stderr
    assert "`windrow init` puts the management network's in their place, guarded" in result.stderr
    ok(host.run("init"))
    assert (host.addresses("mgmt-br"), host.addresses("eth0")) == ({"10.0.0.10/24"}, frozenset())


def test_a_lease_is_carried_over(host: Host) -> None:
    """The DHCP client of the distribution is not asked; its address is kept, and Windrow's agent asks for it again."""
    host.dynamic = {IfName("eth0"): {Cidr("10.0.0.10/24"): 1800}}
    said = host.run("init", "--nic", "eth0")
    assert said.exit_code == 0, said.output
    assert host.network["spec"]["mode"] == "dhcp"
    lease = Leases(Paths(host.root)).in_force(this_moment())[IfName("mgmt-br")]
    assert (lease.address, lease.lease_s, [r.gateway for r in lease.routes]) == ("10.0.0.10/24", 1800, ["10.0.0.1"])
    assert host.addresses("mgmt-br") == {"10.0.0.10/24"}
    assert {r.gateway for r in host.kernel.observe().state.routes if r.dst == "default"} == {"10.0.0.1"}
    assert "windrow agent" in said.stdout


CLIENT_ID = "windrow.io/dhcp-client-id"


def test_the_server_goes_on_knowing_the_host_by_what_the_client_before_said(host: Host) -> None:
    """Else it takes the new client for another one, gives it another address, and nobody renews the old one."""
    host.dynamic = {IfName("eth0"): {Cidr("10.0.0.10/24"): 1800}}
    index = host.kernel.observe().runtime[IfName("eth0")].ifindex
    lease = host.root / "run/systemd/netif/leases" / str(index)
    lease.parent.mkdir(parents=True)
    lease.write_text("ADDRESS=10.0.0.10\nCLIENTID=ffc272f609000200\n")
    said = host.run("init", "--nic", "eth0")
    ok(said)
    assert host.network["metadata"]["annotations"] == {CLIENT_ID: "ff:c2:72:f6:09:00:02:00"}
    assert "may give another address" not in said.stderr
    lease.unlink()
    ok(host.run("init", "--mtu", "1400"))
    assert host.network["metadata"]["annotations"] == {CLIENT_ID: "ff:c2:72:f6:09:00:02:00"}


def test_that_nobody_knows_what_the_client_before_said_is_told(host: Host) -> None:
    host.dynamic = {IfName("eth0"): {Cidr("10.0.0.10/24"): 1800}}
    said = host.run("init", "--nic", "eth0")
    ok(said)
    assert "what the DHCP server knows eth0 by is not known: it may give another address than 10.0.0.10" in said.stderr
    assert CLIENT_ID not in str(host.network)


def test_an_undone_init_forgets_the_lease(host: Host) -> None:
    host.dynamic, host.silent = {IfName("eth0"): {Cidr("10.0.0.10/24"): 1800}}, True
    assert host.run("init", "--nic", "eth0", "--timeout", "1s").exit_code == 1
    assert Leases(Paths(host.root)).names() == ()


# -- later -----------------------------------------------------------------------------------------


def test_later_changes_keep_what_is_not_said(host: Host) -> None:
    ok(host.run("init", "--nic", "eth0"))
    ok(host.run("init", "--nic", "eth0", "--nic", "eth1", "--mode", "802.3ad"))
    ok(host.run("init", "--vlan", "5"))
    assert host.vlan_config["spec"]["uplink"]["bondOptions"] == {"mode": "802.3ad"}
    assert len(host.vlan_config["spec"]["uplink"]["nics"]) == 2
    assert host.addresses("mgmt-br.5") == {"10.0.0.10/24"}
    assert host.network["spec"]["routes"] == [{"to": "10.9.0.0/16", "via": "10.0.0.9", "metric": 7}]
    moved = host.run("init", "--address", "10.1.0.10/24", "--gateway", "10.1.0.1", "--mtu", "9000")
    assert moved.exit_code == 0, moved.output
    assert host.addresses("mgmt-br.5") == {"10.1.0.10/24"}
    assert "warning: the route to 10.9.0.0/16 goes: its router 10.0.0.9 is not in the network" in moved.stderr
    assert "routes" not in host.network["spec"]
    ok(host.run("init", "--mode", "active-backup"))
    spec = host.kernel.observe().state.links[IfName("mgmt-bo")].spec
    assert isinstance(spec, Bond) and spec.mode is BondMode.ACTIVE_BACKUP


def test_what_an_administrator_wrote_beside_it_stays(host: Host) -> None:
    ok(host.run("init", "--nic", "eth0"))
    path = Paths(host.root).manifests / "vlanconfig-mgmt-vlanconfig-n1.yaml"
    document = host.vlan_config
    document["metadata"]["labels"] = {"rack": "7"}
    document["spec"]["description"] = "to the core switch"
    path.write_text(yaml.safe_dump(document))
    ok(host.run("init", "--mtu", "1400"))
    assert host.vlan_config["metadata"]["labels"] == {"rack": "7"}
    assert host.vlan_config["spec"]["description"] == "to the core switch"
    assert host.vlan_config["spec"]["uplink"]["linkAttributes"] == {"mtu": 1400}


@pytest.mark.parametrize("words", [("--vlan", "50"), ("--undo",)])
def test_manifests_that_are_gone_are_asked_for_and_this_is_no_first_time(host: Host, words: tuple[str, ...]) -> None:
    ok(host.run("init", "--nic", "eth0"))
    directory = Paths(host.root).manifests
    for path in directory.iterdir():
        path.unlink()
    said = refused(host, *words)
    assert "there is no manifest in the directory" in said and "bring the manifests back" in said
    assert said.count(f"{directory}: ") == 1, "the place is told once"


def test_the_same_again_is_nothing_to_do(host: Host) -> None:
    ok(host.run("init", "--nic", "eth0"))
    before = host.state()
    said = ok(host.run("init", "--nic", "eth0", "--address", "10.0.0.10/24"))
    assert said.count("unchanged") == 2
    assert "nothing to do" in said
    assert host.state() == before


# -- what is refused -------------------------------------------------------------------------------


def test_a_nic_that_is_not_there(host: Host) -> None:
    said = refused(host, "--nic", "eth9", "--address", "10.5.0.1/24")
    assert "this host has no NIC eth9" in said
    assert "hint: its NICs are eth0, eth1, eth2" in said
    assert "say which NICs" in refused(host)


def test_a_nic_in_another_bond_and_one_with_something_on_it(host: Host) -> None:
    host.kernel.add(link("bond9", Bond(mode=BondMode.ACTIVE_BACKUP), up=True))
    host.kernel.machine.get("eth1").up = False
    host.kernel.machine.set_master(host.kernel.machine.get("eth1"), host.kernel.machine.get("bond9"))
    host.kernel.add(link("eth0.7", VlanIf(parent=IfName("eth0"), vid=7), up=True))
    said = refused(host, "--nic", "eth0", "--nic", "eth1")
    assert "eth1 is in bond bond9" in said
    assert "eth0.7 stands on eth0, and would be cut off" in said


def test_several_nics_with_addresses(host: Host) -> None:
    host.address("eth1", "10.7.0.1/24")
    said = refused(host, "--nic", "eth0", "--nic", "eth1")
    assert "several of these NICs have addresses: eth0: 10.0.0.10/24; eth1: 10.7.0.1/24" in said


def test_a_nic_beside_the_one_that_is_used(host: Host) -> None:
    said = refused(host, "--nic", "eth1", "--address", "10.0.0.10/24")
    assert "10.0.0.10/24 is the address of eth0" in said
    assert "the default route of this host goes over eth0, which is not named" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gateway", "10.5.0.1"), "the gateway 10.5.0.1 (given) is not in the network of 10.0.0.10/24"),
        (("--address", "10.5.0.10/24"), "the gateway 10.0.0.1 (used now) is not in the network of 10.5.0.10/24"),
        (("--mode", "balance-xor"), "mode balance-xor spreads its traffic over several NICs, and this is one"),
        (("--address", "10.0.0.10/24,10.0.0.11/24"), "there is more than one address of a family"),
    ],
)
def test_what_contradicts_itself(host: Host, words: tuple[str, ...], said: str) -> None:
    assert said in refused(host, "--nic", "eth0", *words)


def test_who_else_manages_the_nic_must_hand_it_over(host: Host) -> None:
    path = host.root / "etc/network/interfaces"
    path.parent.mkdir(parents=True)
    path.write_text("auto eth0\niface eth0 inet dhcp\n")
    said = refused(host, "--nic", "eth0")
    assert "eth0 is managed by ifupdown (/etc/network/interfaces)" in said
    assert "sed -i '/^eth0=/d' /run/network/ifstate" in said
    result = host.run("init", "--nic", "eth0", "--take-over")
    assert result.exit_code == 0, result.output
    assert "warning: eth0 is managed by ifupdown" in result.stderr


def test_wireless(host: Host) -> None:
    (host.root / "sys/class/net/eth0/wireless").mkdir(parents=True)
    assert "eth0 is wireless" in refused(host, "--nic", "eth0")


@pytest.mark.parametrize(
    "words",
    [
        ["--undo", "--nic", "eth0"],
        ["--nic", "eth0", "--address", "10.0.0.1"],
        ["--nic", "eth0", "--gateway", "router"],
        ["--nic", "eth0", "--timeout", "0s"],
        ["--nic", "eth0", "--timeout", "soon"],
        ["--nic", "eth0", "--probe", "host.example"],
        ["--nic", "eth0", "--vlan", "4095"],
    ],
)
def test_wrong_usage(host: Host, words: list[str]) -> None:
    assert host.run("init", *words).exit_code == 2


# -- confirm, undo, checkpoint ---------------------------------------------------------------------


def waiting(host: Host) -> Checkpoint:
    """A change that waits, as another terminal left it."""
    ok(host.run("init", "--nic", "eth0"))
    file = Checkpoints(Paths(host.root))
    found = file.get()
    assert found is not None
    there = replace(found, id="w", stage=Stage.WAITING, deadline=found.deadline + 60, said="")
    file.put(there)
    return there


def test_confirm_keeps_it_and_once(host: Host) -> None:
    waiting(host)
    assert "Kept: the change by `windrow init`." in ok(host.run("confirm"))
    result = host.run("confirm")
    assert result.exit_code == 1
    assert "no change waits to be confirmed" in result.stderr
    assert "the last one, by `windrow init`, is confirmed: it was confirmed with `windrow confirm`" in result.stderr


def test_a_change_that_is_still_made_cannot_be_confirmed(host: Host) -> None:
    there = waiting(host)
    Checkpoints(Paths(host.root)).move("w", Stage.CHANGING, since=(there.stage,))
    result = host.run("confirm")
    assert result.exit_code == 1
    assert "it is still being made, or probed" in result.stderr


def test_undo_takes_it_back(host: Host) -> None:
    before = host.state()
    waiting(host)
    assert ok(host.run("undo")).startswith("Undone: the change by `windrow init`, in ")
    assert host.state() == before
    assert host.run("undo").exit_code == 1


def test_checkpoint_shows_it(host: Host) -> None:
    assert ok(host.run("checkpoint")) == "No change waits to be confirmed.\n"
    waiting(host)
    said = ok(host.run("checkpoint"))
    for words in ("windrow init", "waiting", "mgmt-br", "VlanConfig/mgmt-vlanconfig-n1", "gateway", "windrow confirm"):
        assert words in said
    found = json.loads(ok(host.run("checkpoint", "-o", "json")))["checkpoint"]
    assert (found["stage"], found["pending"], found["madeBy"]) == ("waiting", True, "windrow init")
    assert 0 < found["secondsLeft"] < 400


def test_other_changes_are_refused_meanwhile(host: Host) -> None:
    waiting(host)
    Checkpoints(Paths(host.root)).move("w", Stage.WAITING, since=(Stage.WAITING,), watchdog=None)
    result = host.run("apply")
    assert result.exit_code == 1
    assert "the change by `windrow init` is not confirmed yet; it is undone in" in result.stderr
    assert "keep it with `windrow confirm`" in result.stderr


def test_an_address_that_was_tried_once_replaces_the_old_one_the_second_time(host: Host) -> None:
    """What was remembered of a change goes with it: else the old address counts as somebody else's."""
    ok(host.run("init", "--nic", "eth0"))
    text = "---\n".join(p.read_text() for p in Paths(host.root).manifests.glob("*"))
    file = host.root / "edited.yaml"
    file.write_text(text.replace("10.0.0.10/24", "10.0.0.11/24"))
    assert host.run("apply", "-f", str(file), "--confirm", "1s").exit_code == 1
    assert host.addresses("mgmt-br") == {"10.0.0.10/24"}
    ok(host.run("apply", "-f", str(file)))
    assert host.addresses("mgmt-br") == {"10.0.0.11/24"}


def test_an_init_that_is_refused_has_changed_nothing(host: Host) -> None:
    """Not the lifetime of an address, and no file: nothing is written before lock, gates and checkpoint."""
    host.dynamic = {IfName("eth0"): {Cidr("10.0.0.10/24"): 600}}
    device = host.kernel.machine.get("eth0")
    device.addrs.clear()
    host.kernel.machine.add_addr(device, "10.0.0.10/24", Details(static=False, valid_until=1e9))
    host.kernel.machine.routes.clear()
    before = host.state()
    steps: list[object] = []
    run = host.kernel.run
    host.kernel.run = lambda those: steps.extend(those) or run(those)  # type: ignore[method-assign]
    host.silent = True
    host.ask = lambda targets, _timeout, _enough: dict.fromkeys(targets, frozenset())  # type: ignore[method-assign]
    result = host.run("init", "--nic", "eth0")
    assert (result.exit_code, steps) == (1, []), result.output
    assert "nobody answers it now" in result.stderr and "nothing was changed" in result.stderr
    assert host.state() == before
    assert not list(Paths(host.root).leases.glob("*")) and read_origin(Paths(host.root)) is None
