"""Who else manages a NIC, told from the files that each of them keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from windrow.model.values import IfName
from windrow.services.netmanagers import managers, wireless, words

NIC, INDEX = IfName("eth0"), 2
UUID = "5d6a9f0e-0f4b-4a9e-9f7a-2f4f0a3f4a11"


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


FOUND = {
    "NetworkManager": (
        {
            "run/NetworkManager/devices/2": f"[device]\nmanaged=true\nconnection-uuid={UUID}\n",
            "etc/NetworkManager/system-connections/other": "[connection]\nuuid=1\n",
            "etc/NetworkManager/system-connections/wired": f"[connection]\nid=wired\nuuid={UUID}\n",
        },
        "/etc/NetworkManager/system-connections/wired",
        "nmcli general reload conf",
    ),
    "netplan (by NetworkManager)": (
        {
            "run/NetworkManager/devices/2": f"[device]\nconnection-uuid={UUID}\n",
            "run/NetworkManager/system-connections/netplan-eth0.nmconnection": f"[connection]\nuuid={UUID}\n",
        },
        "/run/NetworkManager/system-connections/netplan-eth0.nmconnection",
        "netplan generate",
    ),
    "systemd-networkd": (
        {
            "run/systemd/netif/links/2": "# This is private data.\nADMIN_STATE=configured\n"
            "OPER_STATE=routable\nNETWORK_FILE=/etc/systemd/network/lan.network\n"
        },
        "/etc/systemd/network/lan.network",
        "networkctl reload",
    ),
    "netplan (by systemd-networkd)": (
        {
            "run/systemd/netif/links/2": "ADMIN_STATE=configuring\n"
            "NETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n"
        },
        "/run/systemd/network/10-netplan-eth0.network",
        "netplan generate",
    ),
    "ifupdown": (
        {
            "etc/network/interfaces": "source interfaces.d/*\n# eth0 was here\n",
            "etc/network/interfaces.d/lan": "auto lo eth0\niface eth0 inet dhcp\n",
        },
        "/etc/network/interfaces.d/lan",
        "sed -i '/^eth0=/d' /run/network/ifstate   # not ifdown: that would take eth0 down",
    ),
    "wicked": (
        {"etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO=dhcp\n", "run/wicked/x": ""},
        "/etc/sysconfig/network/ifcfg-eth0",
        "wicked nanny disable eth0",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_each_is_known_by_its_files_and_how_to_hand_over(tmp_path: Path, name: str) -> None:
    files, evidence, command = FOUND[name]
    (found,) = managers(put(tmp_path, files), NIC, INDEX)
    assert (found.name, found.nic, found.evidence) == (name, NIC, evidence)
    assert command in found.commands
    assert words([found]) == f"eth0 is managed by {name} ({evidence})"
    assert managers(tmp_path, IfName("eth1"), 3) == (), "and nobody else's NIC is meant"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"run/NetworkManager/devices/2": "[device]\nmanaged=false\nconnection-uuid=1\n"},
        {"run/NetworkManager/devices/2": "[device]\nmanaged=true\n"},
        {"run/systemd/netif/links/2": "ADMIN_STATE=unmanaged\nNETWORK_FILE=/etc/systemd/network/00-windrow.network\n"},
        {"run/systemd/netif/links/2": "ADMIN_STATE=pending\n"},
        {"run/systemd/netif/links/2": "\x00[[\n= =\n"},
        {"etc/network/interfaces": "# iface eth0 inet dhcp\niface eth00 inet dhcp\n"},
        {"etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO=dhcp\n"},
        {"run/dhclient.eth0.pid": "not a number"},
        {"run/dhclient.eth0.pid": "4194303"},
    ],
)
def test_what_says_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    assert managers(put(tmp_path, files), NIC, INDEX) == ()


def test_an_interface_that_ifupdown_brought_up(tmp_path: Path) -> None:
    (found,) = managers(put(tmp_path, {"run/network/ifstate": "lo=lo\neth0=eth0\n"}), NIC, INDEX)
    assert (found.name, found.evidence) == ("ifupdown", "/run/network/ifstate")


@pytest.mark.parametrize("path", ["run/dhclient.eth0.pid", "run/dhclient-eth0.pid", "run/dhcpcd/eth0.pid"])
def test_a_dhcp_client_that_runs(tmp_path: Path, path: str) -> None:
    (found,) = managers(put(tmp_path, {path: f"{os.getpid()}\n"}), NIC, INDEX)
    assert found.name.endswith(f"(process {os.getpid()})")
    assert found.commands == (f"kill {os.getpid()}   # without releasing the lease: Windrow asks for it again",)


def test_wireless(tmp_path: Path) -> None:
    assert not wireless(tmp_path, NIC)
    (tmp_path / "sys/class/net/eth0/phy80211").mkdir(parents=True)
    assert wireless(tmp_path, NIC)
