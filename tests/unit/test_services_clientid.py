"""By what a DHCP server knows this host, told from the files of whichever client asked."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from windrow.model.values import IfName, Mac
from windrow.services.clientid import Lessee, client_id

NIC, MAC, ADDRESS = IfName("enp3s0"), Mac("52:54:00:aa:bb:cc"), "10.0.0.10"
BY_MAC = "01:52:54:00:aa:bb:cc"
UUID = "5d6a9f0e-0f4b-4a9e-9f7a-2f4f0a3f4a11"
INTERNAL = f"var/lib/NetworkManager/internal-{UUID}-enp3s0.lease"
KEYFILE = "etc/NetworkManager/system-connections/wired.nmconnection"
DUID = "ff:c2:72:f6:09:00:02:00:00:ab:11:01:02:03:04:05:06:07:08"


def lease(address: str = ADDRESS, more: str = "") -> str:
    return f'lease {{\n  interface "enp3s0";\n  fixed-address {address};\n{more}  option routers 10.0.0.1;\n}}\n'


def message(address: str, options: bytes = b"") -> bytes:
    """A DHCP message as dhcpcd keeps it."""
    yiaddr = bytes(map(int, address.split(".")))
    return bytes(16) + yiaddr + bytes(236 - 20) + b"\x63\x82\x53\x63" + options + b"\xff"


CASES: dict[str, tuple[dict[str, str | bytes], str | None]] = {
    "nobody": ({}, None),
    "networkd, DUID": (
        {"run/systemd/netif/leases/2": f"# private\nADDRESS={ADDRESS}\nCLIENTID={DUID.replace(':', '')}\n"},
        DUID,
    ),
    "networkd, of another address": (
        {"run/systemd/netif/leases/2": f"ADDRESS=10.0.0.99\nCLIENTID={DUID.replace(':', '')}\n"},
        None,
    ),
    "networkd, of another link": ({"run/systemd/netif/leases/3": f"ADDRESS={ADDRESS}\nCLIENTID=ff0102\n"}, None),
    "networkd, broken": ({"run/systemd/netif/leases/2": f"ADDRESS={ADDRESS}\nCLIENTID=xyz\n"}, None),
    "NetworkManager, as it is": ({INTERNAL: f"ADDRESS={ADDRESS}\n"}, BY_MAC),
    "NetworkManager, an old one": ({INTERNAL: f"ADDRESS={ADDRESS}\nCLIENTID=ff010203\n"}, "ff:01:02:03"),
    "NetworkManager, by the connection": (
        {INTERNAL: f"ADDRESS={ADDRESS}\n", KEYFILE: f"[connection]\nuuid={UUID}\n[ipv4]\ndhcp-client-id=00:aa:b\n"},
        "00:aa:0b",
    ),
    "NetworkManager, a word": (
        {INTERNAL: f"ADDRESS={ADDRESS}\n", KEYFILE: f"[connection]\nuuid={UUID}\n[ipv4]\ndhcp-client-id=pc7\n"},
        "00:70:63:37",
    ),
    "NetworkManager, by its default": (
        {
            INTERNAL: f"ADDRESS={ADDRESS}\n",
            "etc/NetworkManager/conf.d/50.conf": "[connection]\nipv4.dhcp-client-id=none\n",
        },
        "none",
    ),
    "NetworkManager, a DUID that hangs on more": (
        {INTERNAL: f"ADDRESS={ADDRESS}\n", KEYFILE: f"[connection]\nuuid={UUID}\n[ipv4]\ndhcp-client-id=duid\n"},
        None,
    ),
    "dhclient, nothing": ({"var/lib/dhcp/dhclient.enp3s0.leases": lease()}, "none"),
    "dhclient, echoed": (
        {
            "var/lib/dhcp/dhclient.leases": lease(
                more='  option dhcp-client-identifier "\\001RT\\000\\252\\273\\314";\n'
            )
        },
        BY_MAC,
    ),
    "dhclient, echoed in pairs": (
        {"var/lib/dhclient/dhclient-enp3s0.leases": lease(more="  option dhcp-client-identifier ff:1:2:3;\n")},
        "ff:01:02:03",
    ),
    "dhclient, the last lease counts": (
        {
            "var/lib/dhcp/dhclient.leases": lease(more="  option dhcp-client-identifier 1:1:1;\n")
            + lease(more="  option dhcp-client-identifier 1:2:2;\n")
            + lease("10.0.0.11", "  option dhcp-client-identifier 1:3:3;\n")
        },
        "01:02:02",
    ),
    "dhclient, configured": (
        {
            "var/lib/dhcp/dhclient.leases": lease(),
            "etc/dhcp/dhclient.conf": "#send dhcp-client-identifier 1:0:0;\nsend dhcp-client-identifier = hardware;\n",
        },
        BY_MAC,
    ),
    "dhclient, configured for another interface": (
        {
            "var/lib/dhcp/dhclient.leases": lease(),
            "etc/dhcp/dhclient.conf": (
                'send dhcp-client-identifier = hardware;\ninterface "eth9" {\n  send host-name "a";\n'
                '  send dhcp-client-identifier "other";\n}\n'
            ),
        },
        BY_MAC,
    ),
    "dhclient, configured for this interface": (
        {
            "var/lib/dhcp/dhclient.leases": lease(),
            "etc/dhcp/dhclient.conf": (
                'interface "enp3s0" { send host-name "a"; send dhcp-client-identifier 1:2; }\n'
                "send dhcp-client-identifier = hardware;\n"
            ),
        },
        "01:02",
    ),
    "dhclient -i": (
        {"var/lib/dhcp/dhclient.leases": 'default-duid "\\000\\001\\000\\001x";\n' + lease()},
        "ff:00:aa:bb:cc:00:01:00:01:78",
    ),
    "dhcpcd, DUID": (
        {
            "var/lib/dhcpcd/enp3s0.lease": message(ADDRESS),
            "var/lib/dhcpcd/duid": "00:01:00:01:2c:00:00:01:52:54:00:aa:bb:cc\n",
            "etc/dhcpcd.conf": "hostname\n#clientid\nduid\n",
        },
        "ff:00:aa:bb:cc:00:01:00:01:2c:00:00:01:52:54:00:aa:bb:cc",
    ),
    "dhcpcd, MAC on another interface": (
        {
            "var/lib/dhcpcd/enp3s0.lease": message(ADDRESS),
            "var/lib/dhcpcd/duid": "00:01:02\n",
            "etc/dhcpcd.conf": "duid\ninterface eth9\nclientid\n",
        },
        "ff:00:aa:bb:cc:00:01:02",
    ),
    "dhcpcd, MAC": ({"var/lib/dhcpcd/enp3s0.lease": message(ADDRESS), "etc/dhcpcd.conf": "clientid\n"}, BY_MAC),
    "dhcpcd, echoed": ({"var/lib/dhcpcd/enp3s0.lease": message(ADDRESS, b"\x3d\x03\xff\x01\x02")}, "ff:01:02"),
    "dhcpcd, of another address": ({"var/lib/dhcpcd/enp3s0.lease": message("10.0.0.11", b"\x3d\x02\xff\x01")}, None),
    "udhcpc": ({"run/udhcpc.enp3s0.pid": "7\n"}, BY_MAC),
    "no UTF-8": ({"run/systemd/netif/leases/2": b"ADDRESS=\xff\n", "run/udhcpc.enp3s0.pid": "7\n"}, BY_MAC),
}


def test_of_two_clients_the_one_that_wrote_last(tmp_path: Path) -> None:
    """Who changes the client keeps the address, where it is reserved, and the files of the one before."""
    old, new = tmp_path / INTERNAL, tmp_path / "var/lib/dhcp/dhclient.leases"
    for path, text, age_s in ((old, f"ADDRESS={ADDRESS}\nCLIENTID=ff010203\n", 600), (new, lease(), 5)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (time.time() - age_s, time.time() - age_s))
    found = client_id(Lessee(root=tmp_path, nic=NIC, ifindex=2, mac=MAC, address=ADDRESS))
    assert found is not None and (found.text, found.source) == ("none", "dhclient, /var/lib/dhcp/dhclient.leases")


def test_what_the_last_client_sends_is_not_told_by_the_one_before(tmp_path: Path) -> None:
    for name, text in {
        "run/udhcpc.enp3s0.pid": "7\n",
        KEYFILE: f"[connection]\nuuid={UUID}\n[ipv4]\ndhcp-client-id=duid\n",
        INTERNAL: f"ADDRESS={ADDRESS}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    os.utime(tmp_path / "run/udhcpc.enp3s0.pid", (0, 0))
    assert client_id(Lessee(root=tmp_path, nic=NIC, ifindex=2, mac=MAC, address=ADDRESS)) is None


@pytest.mark.parametrize("name", CASES)
def test_what_it_says(tmp_path: Path, name: str) -> None:
    files, wanted = CASES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    found = client_id(Lessee(root=tmp_path, nic=NIC, ifindex=2, mac=MAC, address=ADDRESS))
    assert (found.text if found is not None else None) == wanted
