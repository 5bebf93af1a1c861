"""Host addresses from DHCP: real udhcpc clients on real VLAN interfaces, and a server that does what it is told.

Twenty-four hours of leases, at a scale: the client takes no lease of less than 30 s (busybox, dhcpc.c), so 30 s are the
hour of a lease of one hour. Eight VLANs live three such hours each, at the same time: 24 leases' times in 90 s, renewed
every half "hour" by the client's own clock. Each VLAN goes through other troubles; `LIVES` says which.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from windrow.apps.agent.dhcp import Clients
from windrow.apps.engine import Converged, converge, look
from windrow.apps.known import known
from windrow.compile import compile_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Link, Route, VlanIf
from windrow.model.objects import HostNetworkConfig
from windrow.model.problems import errors
from windrow.model.values import OWNER_PROTOCOL, IfName
from windrow.model.wire import load_documents
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.services.udhcpc import Timing
from windrow.status import NodeReport
from windrow.status.hostnetworkconfig import node_status
from windrow.store.leases import Leases, this_moment
from windrow.store.memory import write_memory
from windrow.store.paths import Paths
from windrow.testing.dhcpserver import DISCOVER, HOSTNAME, RELEASE, REQUEST, ROUTES, DhcpServer, Does, ip, serving, wire

NODE = "node-0"
HOUR_S = 30.0
"""Of the leases' time."""
QUICK = Timing(discovers=2, pause_s=1, rest_s=2)
SERVER = "10.7.{}.1"

BASE = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1]}}
"""
CONFIG = """\
---
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {{name: h{vid}}}
spec: {{clusterNetwork: oob, vlanID: {vid}, {more}}}
"""


def cluster(**configs: str) -> Cluster:
    """`v100="mode: dhcp"`."""
    text = BASE + "".join(CONFIG.format(vid=name[1:], more=more) for name, more in configs.items())
    loaded = load_documents(text)
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


@dataclass
class Host:
    """A node with one NIC, whose cable ends in the servers' namespace; and an agent that does DHCP and no more."""

    fd: int
    far: int
    paths: Paths
    cluster: Cluster
    timing: Timing = QUICK
    servers: dict[int, DhcpServer] = field(default_factory=dict)
    rounds: int = 0
    report: Converged | None = None
    failure: BaseException | None = None
    _stop: int = -1
    _thread: threading.Thread | None = None

    def start(self) -> None:
        ours, self._stop = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=lambda: netns.opened_in(self.fd, lambda: self._live(ours)))
        self._thread.start()

    def stop(self) -> None:
        """The agent ends, its clients go on."""
        if self._thread is not None:
            os.close(self._stop)
            self._thread.join()
            self._thread = None
        assert self.failure is None, self.failure

    def change(self, wanted: Cluster) -> None:
        """Edited manifests, and an agent that was started anew on them."""
        self.stop()
        self.cluster = wanted
        self.start()

    def _live(self, ours: int) -> None:
        clients, kernel = Clients(self.paths, timing=self.timing), Kernel()
        try:
            self._round(clients, kernel)
            while ours not in (woken := self._wait(clients, ours)):
                told = [clients.ready(fd) for fd in woken]
                if any(told):
                    self._round(clients, kernel)
        except BaseException as error:  # noqa: BLE001 - `stop` raises it
            self.failure = error
        finally:
            clients.close()
            kernel.close()
            os.close(ours)

    def _wait(self, clients: Clients, ours: int) -> list[int]:
        with selectors.DefaultSelector() as selector:
            for fd, events in {**clients.fds(), ours: selectors.EVENT_READ}.items():
                selector.register(fd, events)
            due = clients.deadline()
            found = selector.select(None if due is None else max(due - time.monotonic(), 0))
            return [key.fd for key, _ in found] or [-1]

    def _round(self, clients: Clients, kernel: Kernel) -> None:
        clients.want(compile_node(self.cluster, look(kernel, NODE, self._known()).facts).clients)
        self.report = converge(self.cluster, kernel, NODE, knowing=self._known)
        write_memory(self.paths, self.report.memory)
        self.rounds += 1
        assert self.report.ok, self.report

    def _known(self) -> Known:
        return replace(known(self.paths), agent=True)

    def link(self, name: str) -> Link | None:
        with Kernel(self.fd) as kernel:
            return kernel.observe().state.links.get(IfName(name))

    def addresses(self, name: str) -> set[str]:
        link = self.link(name)
        return set(map(str, (link.addrs if link else None) or ()))

    def pid(self, name: str) -> int:
        return int((self.paths.dhcp / f"{name}.pid").read_text())


def until(what: str, holds: Callable[[], object], limit_s: float = 45.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.1)


@contextmanager
def living(tmp_path: Path, vids: list[int], wanted: Cluster, timing: Timing = QUICK) -> Iterator[Host]:
    fd, far = netns.new(), netns.new()
    servers = {}
    with Kernel(fd) as kernel, Kernel(far) as other:
        kernel.rtnl.run(links.veth(links.End(name="eth1"), links.End(name="port", netns=far)))
        kernel.rtnl.run(links.create("eth0", "dummy"), links.set_link("eth0", up=True), links.set_link("lo", up=True))
        kernel.rtnl.run(links.add_addr(kernel.rtnl.index("eth0"), "192.0.2.1/24"))
        mine = Route(dst="default", dev=IfName("eth0"), gateway="192.0.2.254")  # a host is reached by something
        kernel.rtnl.run(links.add_route(mine, kernel.rtnl.index("eth0")))
        other.rtnl.run(links.set_link("port", up=True))
        for vid in vids:
            name = f"port.{vid}" if vid else "port"
            if vid:
                made = Link(name=IfName(name), spec=VlanIf(parent=IfName("port"), vid=vid))
                other.rtnl.run(*links.create_link(made, other.rtnl.index), links.set_link(name, up=True))
            address = SERVER.format(vid)
            does = Does(address=f"10.7.{vid}.50")
            servers[vid] = DhcpServer(netns.opened_in(far, partial(wire, name)), address, does)
    host = Host(fd=fd, far=far, paths=Paths(tmp_path), cluster=wanted, timing=timing, servers=servers)
    try:
        with serving(list(servers.values())):
            host.start()
            try:
                yield host
                host.change(cluster())  # nobody wants an address any more: every client ends
                until("the clients ended", lambda: not list(host.paths.dhcp.glob("*.pid")))
            finally:
                host.stop()
    finally:
        os.close(fd)
        os.close(far)


# -- what tests look at ----------------------------------------------------------------------------------------


def status(host: Host, vid: int) -> dict[str, object]:
    (config,) = (h for h in host.cluster.all(HostNetworkConfig) if h.vid == vid)
    with Kernel(host.fd) as kernel:
        observed = kernel.observe()
    leases = Leases(host.paths)
    report = NodeReport(node=NODE, observed=observed, leases=leases.in_force(this_moment()), asking=leases.asking())
    found = node_status(config, host.cluster, report)
    assert found is not None
    return found


def condition(host: Host, vid: int) -> dict[str, str]:
    return status(host, vid)["conditions"][0]  # type: ignore[index]


def test_an_address_is_given_routed_and_given_back(tmp_path: Path) -> None:
    """From DHCP to a fixed address and back, another fixed address, and away."""
    with living(tmp_path, [100], cluster(v100="mode: dhcp, defaultRoute: true")) as host:
        name, server = "oob-br.100", host.servers[100]
        away = bytes([16, 10, 9]) + ip("10.7.100.9") + bytes([0]) + ip("10.7.100.254")
        server.does = replace(server.does, more={ROUTES: away, HOSTNAME: b"$(touch /tmp/shell);`id`"})
        until("an address", lambda: host.addresses(name) == {"10.7.100.50/24"})
        until("it is ready", lambda: condition(host, 100)["status"] == "True")
        found = status(host, 100)
        assert found["lease"]["address"] == "10.7.100.50/24" and found["lease"]["server"] == "10.7.100.1"  # type: ignore[index]
        assert server.kinds(DISCOVER)[0].options[HOSTNAME] == NODE.encode()
        with Kernel(host.fd) as kernel:
            ours = {(r.dst, r.gateway, r.metric) for r in kernel.observe().state.routes if r.protocol == OWNER_PROTOCOL}
        assert ours == {("10.9.0.0/16", "10.7.100.9", 1024), ("default", "10.7.100.254", 1024)}
        pid = host.pid(name)

        host.change(cluster(v100="mode: static, ips: {node-0: 10.8.0.1/24}"))
        until("the fixed address", lambda: host.addresses(name) == {"10.8.0.1/24"})
        assert [h.own for h in server.kinds(RELEASE)] == ["10.7.100.50"]
        assert not Path(f"/proc/{pid}").exists() and not Leases(host.paths).names()

        host.change(cluster(v100="mode: static, ips: {node-0: 10.8.0.2/24}"))
        until("another fixed address", lambda: host.addresses(name) == {"10.8.0.2/24"})

        host.change(cluster(v100="mode: dhcp"))
        until("an address again", lambda: host.addresses(name) == {"10.7.100.50/24"})

        host.change(cluster(v100="mode: dhcp, nodeSelector: {matchLabels: {rack: other}}"))
        until("the interface went", lambda: host.link(name) is None)
        assert len(server.kinds(RELEASE)) == 2 and not Leases(host.paths).names()
        uplink, bridge = host.link("oob-bo"), host.link("oob-br")
        assert uplink and uplink.vlans and 100 not in uplink.vlans.all
        assert bridge and bridge.self_vlans and not bridge.self_vlans.all
    assert not Path("/tmp/shell").exists()


def test_why_there_is_no_address_is_said(tmp_path: Path) -> None:
    with living(tmp_path, [100], cluster(v100="mode: dhcp")) as host:
        server = host.servers[100]
        server.does = replace(server.does, silent=True)
        until("it is asked", lambda: len(server.kinds(DISCOVER)) >= 3)
        until("it says so", lambda: "asked 2 times since" in condition(host, 100).get("message", ""))
        assert condition(host, 100)["message"].startswith("waiting for a DHCP server on VLAN 100 (")
        assert host.addresses("oob-br.100") == set()
        server.does = replace(server.does, silent=False, more={1: None})
        until("a mask is missed", lambda: "no network mask" in condition(host, 100).get("message", ""))
        assert host.addresses("oob-br.100") == set()
        server.does = Does(address="10.7.100.50", mask="0.0.0.0")
        host.change(host.cluster)
        os.kill(host.pid("oob-br.100"), signal.SIGKILL)  # it believes that it has a lease: ask anew
        until("the mask is refused", lambda: "network mask 0.0.0.0" in condition(host, 100).get("message", ""))
        server.does = Does(address="10.7.100.50")
        os.kill(host.pid("oob-br.100"), signal.SIGKILL)
        until("an address", lambda: host.addresses("oob-br.100") == {"10.7.100.50/24"})
        assert condition(host, 100)["status"] == "True"


def test_untagged_the_address_is_on_the_bridge_beside_those_of_others(tmp_path: Path) -> None:
    with living(tmp_path, [0], cluster(v0="mode: dhcp")) as host:
        until("an address", lambda: host.addresses("oob-br") == {"10.7.0.50/24"})
        bridge = host.link("oob-br")
        assert bridge and bridge.self_vlans and bridge.self_vlans.pvid == 1
        with Kernel(host.fd) as kernel:
            kernel.rtnl.run(links.add_addr(kernel.rtnl.index("oob-br"), "192.0.2.7/32"))
        host.servers[0].does = Does(address="10.7.0.60", nak=True)
        os.kill(host.pid("oob-br"), signal.SIGKILL)
        until("another address", lambda: host.addresses("oob-br") == {"10.7.0.60/24", "192.0.2.7/32"})
        host.change(cluster())
        until("only the other's is left", lambda: host.addresses("oob-br") == {"192.0.2.7/32"})
        bridge = host.link("oob-br")
        assert bridge and bridge.self_vlans and bridge.self_vlans.pvid == 1, "the other one is cut off"


# -- the agent as it is ------------------------------------------------------------------------------------------------


def test_an_agent_that_is_killed_and_started_again_keeps_lease_and_client(tmp_path: Path) -> None:
    with living(tmp_path, [100], cluster()) as host:
        host.stop()
        name, server = "oob-br.100", host.servers[100]
        host.paths.manifests.mkdir(parents=True)
        manifest = host.paths.manifests / "all.yaml"
        manifest.write_text(BASE + CONFIG.format(vid=100, more="mode: dhcp"))
        argv = [sys.executable, "-m", "windrow.apps.cli.main", "--root", str(tmp_path), "--node", NODE, "agent"]

        def start() -> subprocess.Popen[bytes]:
            return netns.opened_in(host.fd, lambda: subprocess.Popen(argv, stdin=subprocess.DEVNULL))

        agent = start()
        try:
            until("an address", lambda: host.addresses(name) == {"10.7.100.50/24"})
            client = host.pid(name)
            agent.kill()
            agent.wait()
            assert host.addresses(name) == {"10.7.100.50/24"}
            agent = start()
            until("it asks to renew", lambda: renewed(server, 0.0))
            assert (host.pid(name), host.addresses(name)) == (client, {"10.7.100.50/24"})
            manifest.write_text(BASE)
            until("the interface went", lambda: host.link(name) is None)
            assert server.kinds(RELEASE) and not Path(f"/proc/{client}").exists()
        finally:
            agent.terminate()
            assert agent.wait(60) == 0


# -- a day -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """`acts`: (when, in seconds; what). `seen`: the addresses of the VLAN, one after the other; `.50` is `50`."""

    what: str
    acts: tuple[tuple[float, Callable[[Host, int], None]], ...]
    seen: tuple[str, ...]


def does(**changes: object) -> Callable[[Host, int], None]:
    def act(host: Host, vid: int) -> None:
        if "last" in changes:
            changes["address"] = f"10.7.{vid}.{changes.pop('last')}"
        host.servers[vid].does = replace(host.servers[vid].does, **changes)  # type: ignore[arg-type]

    return act


def kill(host: Host, vid: int) -> None:
    os.kill(host.pid(f"oob-br.{vid}"), signal.SIGKILL)


def restart(host: Host, _vid: int) -> None:
    host.change(host.cluster)


def killed_while_nobody_looks(host: Host, vid: int) -> None:
    host.stop()
    kill(host, vid)
    time.sleep(2)
    host.start()


RUBBISH = {26: b"\0\1", 121: b"\x21\xff\0\0", 6: b"abc", 3: b"\xff" * 4, 15: b"$(id) `id` \n;|", 12: b"\0\xff" * 9}
LIVES = {
    101: Trouble("renews all day", (), ("50",)),
    102: Trouble("server away for half an hour", ((8, does(silent=True)), (21, does(silent=False))), ("50",)),
    103: Trouble("server away until it expires", ((5, does(silent=True)), (45, does(silent=False))), ("50", "", "50")),
    104: Trouble("another address in a renewal", ((5, does(last=60)),), ("50", "60")),
    105: Trouble("NAK, then another address", ((5, does(last=60, nak=True)),), ("50", "", "60")),
    106: Trouble("rubbish in its options", ((5, does(more=RUBBISH)),), ("50",)),
    107: Trouble("client killed", ((10, kill), (55, kill)), ("50",)),
    108: Trouble("agent restarted, client killed meanwhile", ((25, restart), (65, killed_while_nobody_looks)), ("50",)),
}


def test_twenty_four_hours_of_leases(tmp_path: Path) -> None:
    hours = 3
    wanted = cluster(**{f"v{vid}": "mode: dhcp" for vid in LIVES})
    with living(tmp_path, list(LIVES), wanted) as host:
        names = {vid: f"oob-br.{vid}" for vid in LIVES}
        until("all have an address", lambda: all(host.addresses(name) for name in names.values()), 90)
        began = time.monotonic()
        acts = sorted(((at, vid, act) for vid, life in LIVES.items() for at, act in life.acts), key=lambda a: a[0])
        seen: dict[int, list[frozenset[str]]] = {vid: [] for vid in LIVES}
        with Kernel(host.fd) as kernel:
            while (now := time.monotonic() - began) < hours * HOUR_S:
                while acts and acts[0][0] <= now:
                    _, vid, act = acts.pop(0)
                    act(host, vid)
                for vid, addrs in looked(kernel, names).items():
                    if not seen[vid] or seen[vid][-1] != addrs:
                        seen[vid].append(addrs)
                time.sleep(0.2)
        assert not acts
        renewals = {vid: len(renewed(host.servers[vid], began)) for vid in LIVES}
        for vid, life in LIVES.items():
            words = [" ".join(sorted(a.split("/")[0].rpartition(".")[2] for a in addrs)) for addrs in seen[vid]]
            print(f"VLAN {vid}: {life.what}: addresses {words}, {renewals[vid]} renewals asked for")
        for vid, life in LIVES.items():
            assert came_about(seen[vid], vid, life.seen), (vid, life.what, seen[vid])
        assert renewals[101] >= 2 * hours - 1
        assert host.servers[107].kinds(DISCOVER)[-1].wanted == "10.7.107.50", "a new client asks for the old address"
        assert not any(server.kinds(RELEASE) for server in host.servers.values())


def looked(kernel: Kernel, names: dict[int, str]) -> dict[int, frozenset[str]]:
    found = kernel.observe().state.links
    return {vid: frozenset(map(str, found[IfName(name)].addrs or ())) for vid, name in names.items()}


def renewed(server: DhcpServer, since: float) -> list[float]:
    return [h.at for h in server.kinds(REQUEST, since) if h.own != "0.0.0.0"]


def came_about(seen: list[frozenset[str]], vid: int, wanted: tuple[str, ...]) -> bool:
    """These, in this order. While one address takes the place of another a look may find both, or neither."""
    states = [frozenset({f"10.7.{vid}.{last}/24"} if last else ()) for last in wanted]
    if "" in wanted:
        return seen == states
    return [addrs for addrs in seen if addrs in states and addrs] == states and (len(states) > 1 or seen == states)
