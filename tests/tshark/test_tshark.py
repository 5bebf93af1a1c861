"""Wireshark's opinion of what we send and read. Outside `make test`, since tshark brings 120 MB; it is the second
decoder beside scapy, which is in every run.

    apt-get install tshark; .venv/bin/pytest tests/tshark       # or WINDROW_TSHARK=/where/it/is
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_frames_neighbours import CBS250, LLDPD, SG250, SUMMIT
from tests.unit.test_frames_oracle import ABOUT_US, MAC, RAW, SENT, TRUNK, V6

from windrow.frames import arp, cdp, dhcp, lacp, lldp, neighbour
from windrow.model.evidence import SwitchPort

PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def tshark() -> str:
    found = os.environ.get("WINDROW_TSHARK") or shutil.which("tshark")
    if not found:
        pytest.fail("there is no tshark: apt-get install tshark, or WINDROW_TSHARK=/where/it/is")
    return found


def dissected(tmp_path: Path, *frames: bytes) -> list[dict[str, Any]]:
    """All fields of each frame by name, with each value that it has; complaints of Wireshark's among them."""
    file = tmp_path / "frames.pcap"
    file.write_bytes(PCAP + b"".join(struct.pack("<IIII", 0, 0, len(f), len(f)) + f for f in frames))
    command = [tshark(), "-r", str(file), "-T", "json", "--no-duplicate-keys"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return [_flat(packet["_source"]["layers"]) for packet in json.loads(done.stdout)]


def _flat(tree: Any, found: dict[str, Any] | None = None) -> dict[str, Any]:
    found = {} if found is None else found
    for key, value in tree.items() if isinstance(tree, dict) else ():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                found.setdefault(key, [])
                _flat(one, found)
            else:
                found.setdefault(key, []).append(one)
    return found


def no_complaint(seen: dict[str, Any]) -> None:
    assert not [key for key in seen if key.startswith(("_ws.malformed", "_ws.expert"))], seen


@pytest.mark.parametrize("dot3", [True, False])
def test_lldp_that_we_send(tmp_path: Path, dot3: bool) -> None:
    (seen,) = dissected(tmp_path, lldp.to_neighbour(MAC, lldp.encode(TRUNK, dot3_aggregation=dot3)))
    assert seen.get("_ws.expert.message") == (["TLV has been deprecated"] if dot3 else None)
    assert not [key for key in seen if key.startswith("_ws.malformed")]
    assert seen["lldp.chassis.id.mac"] == ["02:00:00:00:00:01"]
    assert seen["lldp.port.id"] == ["Ethernet1/7"]
    assert seen["lldp.time_to_live"] == ["120"]
    assert (seen["lldp.tlv.system.name"], seen["lldp.tlv.system.desc"]) == (["leaf1"], ["NX-OS 10.4"])
    assert seen["lldp.port.desc"] == ["node1 eth0"]
    assert seen["lldp.mgn.addr.ip4"] == ["10.0.0.1"] and seen["lldp.mgn.addr.ip6"] == ["fd00::1"]
    assert [int(v, 0) for v in seen["lldp.ieee.802_1.port_vlan.id"]] == [1]
    assert [int(v, 0) for v in seen["lldp.ieee.802_1.vlan.id"]] == [100, 4094]
    assert seen["lldp.ieee.802_1.vlan.name"][0] == "blue"
    home = "802_3" if dot3 else "802_1"
    assert [int(v, 0) for v in seen[f"lldp.ieee.{home}.aggregation_status"]] == [3]
    assert seen[f"lldp.ieee.{home}.aggregated_port_id"] == ["369098754"]
    assert [int(v, 0) for v in seen["lldp.ieee.802_3.max_frame_size"]] == [9216]


def test_lldp_that_was_captured(tmp_path: Path) -> None:
    """Both of us say the same of what switches sent."""
    payloads = (SUMMIT, CBS250, LLDPD)
    for seen, payload in zip(
        dissected(tmp_path, *(lldp.to_neighbour(MAC, p) for p in payloads)), payloads, strict=True
    ):
        ours = lldp.decode(payload)
        assert isinstance(ours, SwitchPort)
        assert seen["lldp.chassis.id.mac"] == [ours.chassis.text]
        assert [name.rstrip("\0") for name in seen.get("lldp.tlv.system.name", [])] == [ours.system]
        assert [int(v, 0) for v in seen.get("lldp.ieee.802_1.port_vlan.id", [])] == (
            [] if ours.pvid is None else [ours.pvid]
        )
        assert [int(v, 0) for v in seen.get("lldp.ieee.802_1.vlan.id", [])] == list(ours.vlans)
        assert [int(v, 0) for v in seen.get("lldp.ieee.802_3.max_frame_size", [])] == (
            [] if ours.max_frame is None else [ours.max_frame]
        )


def test_cdp_that_was_captured(tmp_path: Path) -> None:
    (seen,) = dissected(tmp_path, cdp.GROUP + RAW + SG250)
    ours = cdp.decode(SG250)
    assert isinstance(ours, SwitchPort)
    assert (seen["cdp.deviceid"], seen["cdp.portid"]) == ([ours.system], [ours.port.text])
    assert [int(v) for v in seen["cdp.native_vlan"]] == [ours.pvid]
    assert [int(v) for v in seen["cdp.ttl"]] == [ours.hold_s]


def test_lacp_that_we_send(tmp_path: Path) -> None:
    payload = lacp.encode(lacp.Lacpdu(sent=SENT, about_us=ABOUT_US))
    (seen,) = dissected(tmp_path, lacp.GROUP + RAW + lacp.ETHERTYPE.to_bytes(2, "big") + payload)
    no_complaint(seen)
    for side, name in ((SENT, "actor"), (ABOUT_US, "partner")):
        system = seen[f"lacp.{name}.sysid" if f"lacp.{name}.sysid" in seen else f"lacp.{name}.system"]
        assert system == [side.system]
        assert [int(v, 0) for v in seen[f"lacp.{name}.key"]] == [side.key]
        assert [int(v, 0) for v in seen[f"lacp.{name}.port"]] == [side.port]
        assert [int(v, 0) for v in seen[f"lacp.{name}.state"]] == [side.state]


def test_what_we_ask_in_vlans(tmp_path: Path) -> None:
    address = bytes([10, 9, 0, 1])
    frames = (
        dhcp.discover(RAW, 7, vid=100),
        arp.whose(RAW, address, vid=100),
        neighbour.whose(RAW, V6, vid=100),
        neighbour.routers_wanted(RAW, vid=100),
    )
    seen = dissected(tmp_path, *frames)
    assert all(one["vlan.id"] == ["100"] for one in seen)
    discover, probe, solicitation, routers = seen
    assert discover["dhcp.option.dhcp"] == ["1"] and "dhcp.option.requested_ip_address" not in discover
    assert discover["dhcp.flags.bc"] in (["1"], ["True"]) and discover["dhcp.hw.mac_addr"] == [str(MAC)]
    assert probe["arp.isprobe"] in (["1"], ["True"]) and probe["arp.dst.proto_ipv4"] == ["10.9.0.1"]
    assert solicitation["icmpv6.nd.ns.target_address"] == ["fd00:9::1"]
    assert (solicitation["icmpv6.type"], routers["icmpv6.type"]) == (["135"], ["133"])
    assert all(one["icmpv6.checksum.status"] == ["1"] for one in (solicitation, routers))
    for one in (solicitation, routers):
        no_complaint(one)
