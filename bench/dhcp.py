"""DHCP servers of pools: how fast they answer 2,000 reserved clients, and how long a live edit takes.

In network namespaces of this machine's own kernel, as root. First clients of ours, 32 of them at a time; then, where
Kea's load tool is installed, all that a server answers: perfdhcp begins more exchanges each second than it can.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import MARK, Group, Row, encode
from windrow.apps.dhcp.servers import Servers
from windrow.compile.pools import scopes
from windrow.model.cluster import Cluster
from windrow.model.meta import Meta
from windrow.model.pools import IPPool, PoolHost, Program, Scope
from windrow.model.values import Mac
from windrow.netlink import links, netns
from windrow.netlink.kernel import Kernel
from windrow.store.paths import Paths
from windrow.store.poolrecord import read_record
from windrow.testing.builders import cluster_network, nad, vlan_config
from windrow.testing.dhcpclients import Crowd
from windrow.testing.dhcpserver import wire

CLIENTS, RUNS, LINK = 2000, 3, "oob-br.100"
PROGRAMS = {Program.DNSMASQ: "dnsmasq", Program.KEA: "kea-dhcp4"}


def macs(first: int, last: int) -> list[Mac]:
    return [Mac(f"02:64:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(first, last)]


def pool_of(paths: Paths, program: Program, listed: list[Mac]) -> tuple[Scope, ...]:
    pool = IPPool(
        meta=Meta(name="p", namespace="default"),
        network="default/n",
        cidr="10.9.0.0/16",
        server="10.9.0.2",
        program=program,
        hosts=tuple(PoolHost(mac=mac) for mac in listed),
    )
    network = (cluster_network("oob"), vlan_config("oob", ["eth1"]), nad("n", "oob", 100))
    return scopes(Cluster.of([*network, pool]), read_record(paths))


RATE, LONG_S = 4000, 5
"""Exchanges (DISCOVER to ACK) that perfdhcp begins each second, and for how long."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds: `all`: for all clients; `answer`: for one answer, under load, 0 where nobody measured it; `edit`: from
    an edit to the address of the client that is new in it."""

    all: float
    answer: float
    edit: float


def answered(netns_fd: int) -> float:
    """Seconds for each of the answers of a server that is asked for more than it can give."""
    argv = ["perfdhcp", "-4", "-l", "eth0", "-b", f"mac={macs(0, 1)[0]}", "-R", str(CLIENTS)]
    argv += ["-r", str(RATE), "-p", str(LONG_S)]

    def run() -> str:
        # 3: some were not answered, as it is to be
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stdout + done.stderr
        return done.stdout

    found = re.findall(r"received packets: (\d+)", netns.opened_in(netns_fd, run))
    return LONG_S / sum(map(int, found))


def measured(program: Program, place: Path) -> Run:
    fd, far = netns.new(), netns.new()
    with Kernel(fd) as node, Kernel(far) as crowd:
        node.rtnl.run(links.veth(links.End(name=LINK), links.End(name="eth0", netns=far)))
        node.rtnl.run(links.add_addr(node.rtnl.index(LINK), "10.9.0.2/16"), links.set_link(LINK, up=True))
        node.rtnl.run(links.set_link("lo", up=True))
        crowd.rtnl.run(links.set_link("eth0", up=True), links.set_link("lo", up=True))
        crowd.rtnl.run(links.add_addr(crowd.rtnl.index("eth0"), "10.9.255.254/16"))
    time.sleep(1)  # carrier
    paths = Paths(place)
    servers = Servers(paths, troubled=lambda why: print(why, file=sys.stderr))
    line: socket.socket = netns.opened_in(far, lambda: wire("eth0"))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)

    def serve(found: tuple[Scope, ...]) -> None:
        netns.opened_in(fd, lambda: servers.want(found, found))

    try:
        serve(pool_of(paths, program, macs(0, CLIENTS)))
        clients = Crowd(line, macs(0, CLIENTS))
        begun = time.perf_counter()
        assert not clients.get(timeout_s=300)
        all_of_them = time.perf_counter() - begun
        edited = pool_of(paths, program, macs(0, CLIENTS + 1))
        clients.join(macs(CLIENTS, CLIENTS + 1))
        begun = time.perf_counter()
        serve(edited)
        assert not clients.get(macs(CLIENTS, CLIENTS + 1), timeout_s=30)
        edit = time.perf_counter() - begun
        return Run(all_of_them, answered(far) if shutil.which("perfdhcp") else 0.0, edit)
    finally:
        serve(())
        servers.close()
        line.close()
        os.close(fd)
        os.close(far)


def group(where: str) -> Group:
    rows = []
    for program, name in PROGRAMS.items():
        if shutil.which(name) is None:
            continue
        runs = []
        for _ in range(RUNS):
            with tempfile.TemporaryDirectory(dir="/run", ignore_cleanup_errors=True) as place:
                Path(place).chmod(0o755)
                runs.append(measured(program, Path(place)))
        rows.append(Row(what=f"{program}: {CLIENTS} clients, DISCOVER to ACK", seconds=tuple(r.all for r in runs)))
        if all(run.answer for run in runs):
            rows.append(
                Row(what=f"{program}: one answer, under perfdhcp's load", seconds=tuple(r.answer for r in runs))
            )
        edits = tuple(run.edit for run in runs)
        rows.append(Row(what=f"{program}: an edit, until its new client has an address", seconds=edits))
    return Group(title=f"DHCP: {CLIENTS} reservations", where=where, rows=tuple(rows))


if __name__ == "__main__":
    print(MARK + encode(group(sys.argv[1])))
