"""The files of other programs: which lines speak of a link, and what they set that no object says."""

from __future__ import annotations

from pathlib import Path

import pytest

from windrow.adopt import PROGRAMS, Claim, Text, read_claims
from windrow.model.problems import Problem
from windrow.model.values import IfName, Mac
from windrow.services.programfiles import SIZE_MAX, read_files

LINKS = tuple(map(IfName, ("br0", "bond0", "br0.30", "eth1", "eth2")))
MACS = {IfName("eth1"): Mac("52:54:00:00:00:01"), IfName("eth2"): Mac("52:54:00:00:00:02")}


def claims(program: str, *texts: tuple[str, str]) -> tuple[tuple[Claim, ...], tuple[Problem, ...]]:
    return read_claims(PROGRAMS[program], [Text(file=file, text=text) for file, text in texts], LINKS, MACS)


def said(program: str, *texts: tuple[str, str]) -> list[str]:
    """`file:lines link what`, and below each what no object says."""
    found, problems = claims(program, *texts)
    assert problems == ()
    return [
        line
        for claim in found
        for line in (
            f"{claim.place} {claim.link} {claim.what}",
            *(f"  {one.line}: {one.key}={one.value}" for one in claim.unsaid),
        )
    ]


NETPLAN = """\
# written by the installer
network:
  version: 2
  renderer: networkd
  ethernets:
    eth1: {}
    lan2:
      match: {macaddress: "52:54:00:00:00:02"}
      wakeonlan: true
    eth9: {dhcp4: true}
  bonds:
    bond0:
      interfaces: [eth1, lan2]
      parameters:
        mode: 802.3ad
        lacp-rate: fast
  bridges:
    br0:
      interfaces: [bond0]
      addresses: [10.0.0.10/24]
      routes:
        - to: default
          via: 10.0.0.1
      nameservers:
        addresses: [10.0.0.53, 10.0.0.54]
        search: [example.net]
  vlans:
    br0.30:
      id: 30
      link: br0
      addresses: [10.0.30.10/24]
"""


def test_netplan() -> None:
    assert said("netplan", ("/etc/netplan/01.yaml", NETPLAN)) == [
        "/etc/netplan/01.yaml:6 eth1 ethernets.eth1",
        "/etc/netplan/01.yaml:7-9 eth2 ethernets.lan2",
        "  9: ethernets.lan2.wakeonlan=True",
        "/etc/netplan/01.yaml:12-16 bond0 bonds.bond0",
        "/etc/netplan/01.yaml:18-26 br0 bridges.br0",
        "  25: bridges.br0.nameservers.addresses=10.0.0.53, 10.0.0.54",
        "  26: bridges.br0.nameservers.search=example.net",
        "/etc/netplan/01.yaml:28-31 br0.30 vlans.br0.30",
    ]


def test_networkd() -> None:
    assert said(
        "networkd",
        ("/etc/systemd/network/10-bond0.netdev", "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=active-backup\n"),
        ("/etc/systemd/network/20-nics.network", "[Match]\nName=eth[12] eth7\n\n[Network]\nBond=bond0\nLLDP=yes\n"),
        ("/etc/systemd/network/25-mac.network", "[Match]\nPermanentMACAddress=52:54:00:00:00:02\n"),
        (
            "/etc/systemd/network/30-br0.network",
            "[Match]\nName=br0\n[Network]\nAddress=10.0.0.10/24\nDNS=10.0.0.53\nDHCP=no\n[Route]\nGateway=10.0.0.1\n",
        ),
        ("/etc/systemd/network/99-else.network", "[Match]\nName=wlan*\n"),
    ) == [
        "/etc/systemd/network/10-bond0.netdev:1-6 bond0 all of it ([NetDev] bond0)",
        "/etc/systemd/network/20-nics.network:1-6 eth1 all of it ([Match] eth1)",
        "  6: Network.LLDP=yes",
        "/etc/systemd/network/20-nics.network:1-6 eth2 all of it ([Match] eth2)",
        "  6: Network.LLDP=yes",
        "/etc/systemd/network/25-mac.network:1-2 eth2 all of it ([Match] eth2)",
        "/etc/systemd/network/30-br0.network:1-8 br0 all of it ([Match] br0)",
        "  5: Network.DNS=10.0.0.53",
    ]


def test_networkmanager() -> None:
    bond = "[connection]\nid=bond0\ntype=bond\ninterface-name=bond0\ncontroller=br0\n[bond]\nmode=802.3ad\n"
    nic = "[connection]\nid=first\ntype=ethernet\ncontroller=bond0\n[ethernet]\nmac-address=52:54:00:00:00:01\n"
    bridge = (
        "[connection]\nid=br0\ninterface-name=br0\nzone=internal\n[bridge]\nstp=false\n"
        "[ipv4]\nmethod=manual\naddress1=10.0.0.10/24\ndns=10.0.0.53;\n"
    )
    place = "/etc/NetworkManager/system-connections"
    assert said(
        "networkmanager",
        (f"{place}/bond0.nmconnection", bond),
        (f"{place}/first.nmconnection", nic),
        (f"{place}/br0.nmconnection", bridge),
        (f"{place}/wifi.nmconnection", "[connection]\nid=wifi\ntype=wifi\n"),
    ) == [
        f"{place}/bond0.nmconnection:1-7 bond0 all of it (connection bond0)",
        f"{place}/first.nmconnection:1-6 eth1 all of it (connection first)",
        f"{place}/br0.nmconnection:1-10 br0 all of it (connection br0)",
        "  4: connection.zone=internal",
        "  10: ipv4.dns=10.0.0.53;",
    ]


INTERFACES = """\
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

auto bond0 br0
iface bond0 inet manual
    bond-slaves eth1 eth2
    bond-mode 802.3ad

iface br0 inet static
    address 10.0.0.10/24
    # the router
    gateway 10.0.0.1
    bridge-ports bond0
    bridge-vlan-aware yes
    bridge-vids 2-4094
    dns-nameservers 10.0.0.53
    post-up ip route add 10.9.0.0/16 \\
        via 10.0.0.9

allow-hotplug eth1
iface br0.30 inet static
    address 10.0.30.10/24
"""


@pytest.mark.parametrize("program", ["ifupdown", "proxmox"])
def test_ifupdown_and_proxmox(program: str) -> None:
    assert said(program, ("/etc/network/interfaces", INTERFACES)) == [
        "/etc/network/interfaces:6 bond0 auto bond0 br0",
        "/etc/network/interfaces:6 br0 auto bond0 br0",
        "/etc/network/interfaces:7-9 bond0 iface bond0 inet manual",
        "/etc/network/interfaces:11-20 br0 iface br0 inet static",
        "  18: iface br0 dns-nameservers=10.0.0.53",
        "  19: iface br0 post-up=ip route add 10.9.0.0/16 via 10.0.0.9",
        "/etc/network/interfaces:22 eth1 allow-hotplug eth1",
        "/etc/network/interfaces:23-24 br0.30 iface br0.30 inet static",
    ]


NMSTATE = """\
interfaces:
  - name: bond0
    type: bond
    state: up
    link-aggregation:
      mode: active-backup
      port: [eth1, eth2]
  - name: br0
    type: linux-bridge
    state: up
    bridge: {port: [{name: bond0}]}
    lldp: {enabled: true}
dns-resolver: {config: {server: [10.0.0.53]}}
routes:
  config:
    - destination: 0.0.0.0/0
      next-hop-address: 10.0.0.1
      next-hop-interface: br0
"""


@pytest.mark.parametrize("indented", [False, True])
def test_nmstate(indented: bool) -> None:
    """By itself, and within a policy of kubernetes-nmstate."""
    text = "desiredState:\n" + "".join(f"  {line}\n" for line in NMSTATE.splitlines()) if indented else NMSTATE
    off = int(indented)
    file = "/etc/nmstate/br0.yml"
    assert said("nmstate", (file, text)) == [
        f"{file}:{2 + off}-{7 + off} bond0 interface bond0",
        f"{file}:{8 + off}-{12 + off} br0 interface br0",
        f"  {12 + off}: interface br0 lldp.enabled=True",
        f"{file}:{16 + off}-{18 + off} br0 route to 0.0.0.0/0",
    ]


# -- what people write all the same ------------------------------------------------------------------


@pytest.mark.parametrize("program", sorted(PROGRAMS))
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "network: 5",
        "- br0",
        "iface",
        "auto",
        "[",
        "[NetDev\nName=br0",
        "=br0",
        "{",
        "\\",
        "[Match]\nName=[",
    ],
)
def test_no_text_ends_in_an_exception(program: str, text: str) -> None:
    found, _ = claims(program, ("/file.network", text), ("/file.netdev", text))
    assert found == ()


@pytest.mark.parametrize("program", ["netplan", "nmstate"])
def test_what_is_no_yaml_is_told_with_its_line(program: str) -> None:
    _, (problem, *_) = claims(program, ("/etc/it.yaml", "a: 1\n\tb: 2\n"))
    assert (problem.file, problem.line) == ("/etc/it.yaml", 2)
    assert problem.message.startswith("what it says of the links cannot be told: this is not YAML")


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_every_text_of_the_others_is_read_by_all(program: str) -> None:
    """A file may lie in the wrong directory."""
    for text in (NETPLAN, INTERFACES, NMSTATE):
        claims(program, ("/etc/somewhere.network", text))


def test_files_are_found_in_their_places_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    place = tmp_path / "etc/netplan"
    (place / "a.yaml").mkdir(parents=True)
    (place / "b.yaml").write_text("network: {}\n")
    (place / "c.yaml").write_bytes(b"\xff\xfe")
    (place / "d.yaml").write_bytes(b" " * (SIZE_MAX + 1))
    (place / "e.txt").write_text("network: {}\n")
    (place / "f.yaml").symlink_to("nowhere")
    found, problems = read_files(tmp_path, PROGRAMS["netplan"].places)
    assert found == [("/etc/netplan/b.yaml", "network: {}\n")]
    assert [p.file for p in problems] == ["/etc/netplan/c.yaml", "/etc/netplan/d.yaml"]
