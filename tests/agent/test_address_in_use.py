"""Somebody else on the wire has an address of the node: before it is set, and after; and addresses that others set."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agent.agents import Host
from tests.agent.agentworld import HOST_NETWORK, NETWORK, UPLINK

from windrow.lab.scenario_file import Texts, parse
from windrow.lab.world import World
from windrow.model.events import Condition
from windrow.model.host import Link, VlanIf
from windrow.model.steps import AddAddr, CreateLink, DelAddr, SetLink
from windrow.model.values import Cidr, IfName
from windrow.netlink import netns, sysctl
from windrow.netlink.kernel import Kernel

SCENARIO = """\
apiVersion: windrow/v1
kind: Scenario
metadata: {name: two}
spec:
  nodes:
    - {name: taken, nics: [eth0, eth1], management: {nics: [eth0], address: 10.50.0.11/24}}
    - {name: taker, nics: [eth0, eth1], management: {nics: [eth0], address: 10.50.0.12/24}}
  switches:
    - {name: two-sw, ports: [{names: [p0, p1, p2, p3], native: 1, vlans: "100-400"}]}
  cables:
    - ["taken:eth0", "two-sw:p0"]
    - ["taken:eth1", "two-sw:p1"]
    - ["taker:eth0", "two-sw:p2"]
    - ["taker:eth1", "two-sw:p3"]
"""
OURS, OURS6 = "10.60.0.1/24", "2001:db8:60::1/64"
VLAN, HIS_VLAN = IfName("oob-br.100"), IfName("eth1.100")


def wanted() -> str:
    values = {"cn": "oob", "nics": "eth1", "miimon": 100, "vid": 100, "node": "taken", "net": 60}
    text = "".join(part.format(**values) for part in (NETWORK, UPLINK, HOST_NETWORK))
    return text.replace(OURS, f"'{OURS},{OURS6}'")


class Taker:
    """Another host in VLAN 100."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.kernel = Kernel("taker")
        self.do(CreateLink(Link(name=HIS_VLAN, spec=VlanIf(parent=IfName("eth1"), vid=100))))
        self.do(SetLink(up=True), on="eth1")
        self.do(SetLink(up=True))

    def do(self, action: object, on: str = HIS_VLAN) -> None:
        ours, self._host.kernel = self._host.kernel, self.kernel
        try:
            failure = self._host.harm(on, action)  # type: ignore[arg-type]
        finally:
            self._host.kernel = ours
        assert failure is None, failure

    def takes(self, *addresses: str) -> None:
        for address in addresses:
            self.do(AddAddr(Cidr(address)))

    def leaves(self, *addresses: str) -> None:
        for address in addresses:
            self.do(DelAddr(Cidr(address)))

    @property
    def mac(self) -> str:
        return str(self.kernel.observe().state.links[HIS_VLAN].mac)

    def speaks(self) -> None:
        """To somebody who is not there: he is asked for by ARP, from the address that was taken."""

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.sendto(b"?", ("10.60.0.77", 9))

        netns.opened_in("taker", send)


def with_ipv6() -> None:
    """The lab has it switched off, for its traffic is counted."""
    for of in ("all", "default"):
        sysctl.write(f"net.ipv6.conf.{of}.disable_ipv6", "0")


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Host, Taker]]:
    world = World(parse(Texts("two.yaml", SCENARIO, {})))
    world.build(lambda _: None)
    try:
        with Kernel() as kernel:
            features = kernel.features()
        for node in ("taken", "taker"):
            netns.opened_in(node, with_ipv6)
        host = Host(world, "taken", features)
        try:
            taker = Taker(host)
            yield host, taker
            taker.kernel.close()
        finally:
            host.close()
    finally:
        world.close()


@contextmanager
def agent(host: Host) -> Iterator[None]:
    host.write(wanted())
    host.start()
    try:
        yield
    finally:
        host.stop()


def said(host: Host) -> Condition | None:
    found = [c for c in host.conditions() if c.about.kind == "HostNetworkConfig" and c.type == "ready"]
    return found[0] if found else None


def in_use(host: Host) -> bool:
    found = said(host)
    return found is not None and found.status is False and found.reason == "AddressInUse"


def times_told(host: Host) -> int:
    return sum(event.count for event in host.events() if event.reason == "AddressInUse")


def ready(host: Host) -> bool:
    found = said(host)
    return found is not None and found.status is True


def addresses(host: Host) -> set[str]:
    link = host.kernel.observe().state.links.get(VLAN)
    return set(link.addrs or ()) if link is not None else set()


def test_taken_before_it_is_set_and_given_up_later(two: tuple[Host, Taker]) -> None:
    host, taker = two
    for taken, other in ((OURS, OURS6), (OURS6, OURS)):
        taker.takes(taken)
        time.sleep(2.5)  # his own duplicate address detection
        with agent(host):
            host.wait(lambda: in_use(host))
            host.wait(lambda other=other: addresses(host) == {other})  # type: ignore[misc]
            message = getattr(said(host), "message", "")
            assert message == f"{VLAN}: somebody else has {taken.partition('/')[0]} (MAC {taker.mac})"
            taker.leaves(taken)
            took = host.wait(lambda: ready(host))
            assert addresses(host) == {OURS, OURS6}
            print(f"{taken}: ready {took:.1f} s after he was gone")
        for address in (OURS, OURS6):
            host.harm(VLAN, DelAddr(Cidr(address)))
        host.paths.had.unlink(missing_ok=True)  # as after a start of the host


def test_taken_later_it_is_told_and_kept(two: tuple[Host, Taker]) -> None:
    host, taker = two
    with agent(host):
        host.wait(lambda: ready(host) and addresses(host) == {OURS, OURS6})
        before = times_told(host)
        taker.takes(OURS)
        taker.speaks()
        took = host.wait(lambda: in_use(host))
        message = getattr(said(host), "message", "")
        assert message == f"{VLAN}: somebody else has 10.60.0.1 (MAC {taker.mac})"
        print(f"told {took:.2f} s after his first word")
        assert addresses(host) == {OURS, OURS6}
        time.sleep(7)  # he was asked for once more, and answered
        assert in_use(host) and addresses(host) == {OURS, OURS6}
        taker.leaves(OURS)
        host.wait(lambda: ready(host))
        assert times_told(host) == before + 1


def test_a_virtual_ip_of_somebody_stays_and_is_no_contest(two: tuple[Host, Taker]) -> None:
    host, _ = two
    with agent(host):
        host.wait(lambda: ready(host))
        for _ in range(4):
            for address in ("10.60.0.200/32", "2001:db8:60::200/128"):
                assert not host.harm(VLAN, AddAddr(Cidr(address)))
            time.sleep(0.7)
            assert addresses(host) == {OURS, OURS6, "10.60.0.200/32", "2001:db8:60::200/128"}
            for address in ("10.60.0.200/32", "2001:db8:60::200/128"):
                assert not host.harm(VLAN, DelAddr(Cidr(address)))
            time.sleep(0.3)
        status = host.status()
        assert status is not None and not status.contests and ready(host)


# -- by DHCP ---------------------------------------------------------------------------------------

GIVEN = "10.60.0.50"
"""What the DHCP server has for this host, and somebody has set by hand."""
AGAIN_S = 10.0
"""RFC 2131 §3.1 (5): so long a client waits at least before it asks anew."""


def inside(*argv: str) -> None:
    netns.opened_in("taker", lambda: subprocess.run(argv, check=True, capture_output=True))


@contextmanager
def dnsmasq(host: Host, tmp_path: Path) -> Iterator[Path]:
    """In VLAN 100, with GIVEN for this host and other addresses beside it; what it says of each message. It does not
    look by itself who has an address (`--no-ping`)."""
    mac, log = host.kernel.observe().state.links[VLAN].mac, tmp_path / "dnsmasq.log"
    log.touch()
    argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"]
    argv += ["--interface=eth1.100", "--bind-interfaces", f"--dhcp-leasefile={tmp_path / 'leases'}", "--log-dhcp"]
    argv += ["--dhcp-range=10.60.0.60,10.60.0.90,10m", f"--dhcp-host={mac},{GIVEN}", "--dhcp-authoritative"]
    argv += [f"--log-facility={log}", f"--pid-file={tmp_path / 'dnsmasq.pid'}"]
    server = netns.opened_in("taker", lambda: subprocess.Popen(argv, stdin=subprocess.DEVNULL))
    try:
        yield log
    finally:
        server.terminate()
        server.wait(20)


def by_dhcp() -> str:
    """The same host network, whose address a server gives."""
    lines = wanted().replace("mode: static", "mode: dhcp").splitlines(keepends=True)
    return "".join(line for line in lines if "ips:" not in line)


def test_a_lease_that_somebody_else_has_is_declined_and_another_one_is_taken(
    two: tuple[Host, Taker], tmp_path: Path
) -> None:
    host, taker = two
    with agent(host):
        host.wait(lambda: ready(host))
        taker.takes("10.60.0.2/24")
        # His, without being an address of the server's own: who probes is answered (`arp_process`: RTN_LOCAL).
        inside("ip", "route", "add", "local", f"{GIVEN}/32", "dev", "lo")
        try:
            with dnsmasq(host, tmp_path) as log:
                host.write(by_dhcp())
                host.wait(lambda: "DHCPDECLINE" in log.read_text())
                began = time.monotonic()
                host.wait(lambda: in_use(host))
                message = getattr(said(host), "message", "")
                assert message.startswith(f"{VLAN}: somebody else has {GIVEN} (MAC {taker.mac})")
                host.wait(lambda: any(taker.mac in e.message for e in host.events() if e.reason == "AddressInUse"))
                told = times_told(host)
                while time.monotonic() < began + AGAIN_S - 1.0:
                    assert in_use(host) and not addresses(host), "not ready, and without it"
                    time.sleep(0.2)
                assert log.read_text().count("DHCPDISCOVER") == 1, log.read_text()
                took = AGAIN_S - 1.0 + host.wait(lambda: ready(host))
                (address,) = addresses(host)
                assert address != f"{GIVEN}/24" and address.startswith("10.60.0.")
                assert times_told(host) == told and log.read_text().count("DHCPDECLINE") == 1
                print(f"another address {took:.1f} s after the first was declined")
                host.write(wanted())
                host.wait(lambda: addresses(host) == {OURS, OURS6})
        finally:
            inside("ip", "route", "del", "local", f"{GIVEN}/32", "dev", "lo")
            taker.leaves("10.60.0.2/24")
