"""What dnsmasq is told, so that it says what KubeVirt's server says. That it does: tests/kernel/test_pod_dhcp.py."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from windrow.model.machines import DhcpOptions
from windrow.model.values import Cidr, IfName, Mac
from windrow.port.vm.dhcp import DhcpAnswer, PodIdentity, config, search_list

SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
IDENTITY = PodIdentity(hostname="web", name_servers=("10.53.0.10", "fd00::10", "10.53.0.11"), search=SEARCH)
BRIDGED = DhcpAnswer(
    bridge=IfName("k6t-1dba23260aa"),
    mac=Mac("02:11:22:33:44:55"),
    server="169.254.75.10",
    address=Cidr("10.52.0.5/24"),
    mtu=1450,
    router="10.52.0.1",
    routes=(("192.168.9.0/24", ""), ("0.0.0.0/0", "10.52.0.1")),
    identity=IDENTITY,
)
MASQUERADED = DhcpAnswer(
    bridge=IfName("k6t-eth0"),
    mac=Mac("02:11:22:33:44:55"),
    server="10.0.2.1",
    address=Cidr("10.0.2.2/24"),
    mtu=1450,
    router="10.0.2.1",
    identity=IDENTITY,
    address6=Cidr("fd10:0:2::2/120"),
)


def lines(answer: DhcpAnswer) -> list[str]:
    return config(answer, leases="/l", pid="/p").splitlines()


def options(answer: DhcpAnswer) -> dict[int, str]:
    found = [line.removeprefix("dhcp-option-force=") for line in lines(answer) if line.startswith("dhcp-option-force=")]
    return {int(number): value for number, _, value in (option.partition(",") for option in found)}


@pytest.mark.parametrize("answer", [BRIDGED, MASQUERADED, replace(BRIDGED, identity=PodIdentity(), router="")])
def test_dnsmasq_takes_it(answer: DhcpAnswer, tmp_path: Path) -> None:
    file = tmp_path / "dnsmasq.conf"
    here = replace(answer, bridge=IfName("lo"))  # dnsmasq looks for the interface that it shares a network with
    file.write_text(config(here, leases=str(tmp_path / "leases"), pid=str(tmp_path / "pid")))
    done = subprocess.run(["dnsmasq", "--test", f"--conf-file={file}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_server_has_one_client_one_bridge_and_no_names() -> None:
    found = lines(BRIDGED)
    for line in (
        *("port=0", "no-ping", "dhcp-authoritative", "interface=k6t-1dba23260aa", "except-interface=lo"),
        *("dhcp-leasefile=/l", "pid-file=/p", "dhcp-ignore=tag:!known"),
        "dhcp-range=10.52.0.5,static,255.255.255.0,86313600",
        "dhcp-host=02:11:22:33:44:55,10.52.0.5,86313600",
    ):
        assert line in found


def test_a_range_that_is_not_the_bridges_network_is_shared_with_it() -> None:
    assert "shared-network=k6t-1dba23260aa,10.52.0.5" in lines(BRIDGED)
    assert not [line for line in lines(MASQUERADED) if line.startswith("shared-network")]


def test_every_option_is_sent_asked_for_or_not() -> None:
    given = DhcpOptions(
        boot_file="pxe,linux.0",
        tftp_server="tftp.example",
        ntp_servers=("10.0.0.1", "10.0.0.2"),
        private=((224, "1.2.3.4"), (225, "7"), (254, 'a "b"')),
    )
    assert options(replace(BRIDGED, options=given)) == {
        3: "10.52.0.1",
        6: "10.53.0.10,10.53.0.11",
        12: '"web"',
        15: "default.svc.cluster.local",
        26: "1450",
        42: "10.0.0.1,10.0.0.2",
        66: '"tftp.example"',
        67: '"pxe,linux.0"',
        119: "default.svc.cluster.local,svc.cluster.local,cluster.local",
        121: "192.168.9.0/24,0.0.0.0,0.0.0.0/0,10.52.0.1",
        224: "31:2e:32:2e:33:2e:34",  # else it would be an address
        225: "55b",  # else the number seven
        254: "61:20:22:62:22",
    }


def test_nothing_is_made_up() -> None:
    """Not the router that dnsmasq would be without being told, and no name server of the public."""
    bare = replace(BRIDGED, identity=PodIdentity(), router="", routes=())
    assert options(bare) == {26: "1450"}
    assert "dhcp-option=3" in lines(bare)
    assert "dhcp-option=3" not in lines(BRIDGED)


def test_ipv6_of_a_masqueraded_guest_is_stateful_and_advertised() -> None:
    found = lines(MASQUERADED)
    for line in (
        "dhcp-range=fd10:0:2::2,static,120,86313600",
        "dhcp-host=02:11:22:33:44:55,[fd10:0:2::2],86313600",
        "enable-ra",
        "dhcp-option=option6:dns-server,[fd00::10]",
    ):
        assert line in found
    assert not [line for line in lines(BRIDGED) if "enable-ra" in line or "option6" in line]


@pytest.mark.parametrize(
    ("subdomain", "search", "found"),
    [
        ("", SEARCH, SEARCH),
        ("db", SEARCH, ("db.default.svc.cluster.local", *SEARCH)),
        ("db", ("db.default.svc.cluster.local", *SEARCH[1:]), ("db.default.svc.cluster.local", *SEARCH[1:])),
        ("db", ("example.com",), ("example.com",)),
        ("", ("Example.COM", "example.com", "bad_.x..y", "a\nport=53"), ("example.com",)),
        ("", ("a" * 63 + "." + "b" * 63, "c" * 63 + "." + "d" * 63, "e.f"), ("a" * 63 + "." + "b" * 63, "e.f")),
    ],
)
def test_search_list(subdomain: str, search: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert search_list(PodIdentity(subdomain=subdomain, search=search)) == found


def test_a_resolver_of_rubbish_stays_out_of_the_configuration() -> None:
    strange = PodIdentity(name_servers=("10.0.0.1\nport=53", "fe80::1%eth0", "x"), search=("a b",))
    assert options(replace(BRIDGED, identity=strange, routes=())) == {3: "10.52.0.1", 26: "1450"}
