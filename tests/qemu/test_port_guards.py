"""What a port is kept from by its own configuration: frames out of a pod and into it."""

from __future__ import annotations

import socket
import time

import pytest
from tests.qemu.arriving import MAC, STATION, Node
from tests.qemu.conftest import Ns

IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.52.0.0/24", "rangeStart": "10.52.0.9"}]]}
OWN, OTHER = "10.52.0.9", "10.52.0.77"
ALL = {"ipspoofchk": True, "dhcpguard": True, "raguard": True}
NOBODY, LINK_LOCAL, GLOBAL = "::", "fe80::9", "fd00::66"


def checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def ether(kind: str, data: bytes) -> bytes:
    return bytes.fromhex((STATION + MAC).replace(":", "") + kind) + data


def udp(source: str, sport: int, dport: int, text: bytes = b"x" * 20) -> bytes:
    data = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (8 + len(text)).to_bytes(2, "big") + b"\0\0" + text
    head = bytes.fromhex("4500") + (20 + len(data)).to_bytes(2, "big") + bytes.fromhex("0000400040110000")
    head += socket.inet_aton(source) + socket.inet_aton("10.52.0.1")
    return ether("0800", head[:10] + checksum(head) + head[12:] + data)


def arp(sender: str) -> bytes:
    mac = bytes.fromhex(MAC.replace(":", ""))
    return ether(
        "0806", bytes.fromhex("0001080006040001") + mac + socket.inet_aton(sender) + b"\0" * 6 + b"\x0a\x34\0\x01"
    )


def six(source: str, following: int, data: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "ff02::1")
    head = b"\x60\0\0\0" + len(data).to_bytes(2, "big") + bytes([following, 255])
    at = 6 if following == 17 else 2
    sum_ = checksum(ends + len(data).to_bytes(4, "big") + bytes([0, 0, 0, following]) + data)
    return ether("86dd", head + ends + data[:at] + sum_ + data[at + 2 :])


def udp6(source: str, sport: int, dport: int) -> bytes:
    return six(source, 17, sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + b"\0\x10\0\0" + b"x" * 8)


def icmp6(source: str, type_: int) -> bytes:
    return six(source, 58, bytes([type_]) + b"\0" * 23)


FRAMES = {
    "own address": (udp(OWN, 1000, 80), True),
    "another's address": (udp(OTHER, 1000, 80), False),
    "own address in ARP": (arp(OWN), True),
    "none yet, in ARP": (arp("0.0.0.0"), True),
    "another's address in ARP": (arp(OTHER), False),
    "a DHCP client": (udp("0.0.0.0", 68, 67), True),
    "a DHCP server": (udp(OWN, 67, 68), False),
    "a DHCPv6 client": (udp6(LINK_LOCAL, 546, 547), True),
    "a DHCPv6 server": (udp6(LINK_LOCAL, 547, 546), False),
    "another's address of IPv6": (udp6(GLOBAL, 1000, 80), False),
    "who looks for a neighbour": (icmp6(NOBODY, 135), True),
    "who looks for a router": (icmp6(LINK_LOCAL, 133), True),
    "a router": (icmp6(LINK_LOCAL, 134), False),
    "a redirect": (icmp6(LINK_LOCAL, 137), False),
}


def heard(node: Node, pod: Ns, frames: list[bytes], pause_s: float = 0.0) -> list[bytes]:
    """What the station hears of them."""
    with (
        node.station.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))) as hears,
        pod.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as sends,
    ):
        hears.setblocking(False)
        found: list[bytes] = []
        for frame in [*frames, b""]:
            if frame:
                sends.sendto(frame, ("eth0", 0))
            time.sleep(pause_s if frame else 0.2)
            try:
                while True:
                    found.append(hears.recv(2048))
            except BlockingIOError:
                pass
        return [one for one in found if one in frames]


@pytest.fixture
def ipam(node: Node) -> dict[str, object]:
    return {**IPAM, "dataDir": str(node.paths.root / "leases")}


def test_only_what_is_its_own_leaves_a_port(node: Node, pod: Ns, ipam: dict[str, object]) -> None:
    """No policy is there; a port without guards lets all of it out."""
    with node.agent():
        assert node.call("ADD", pod, "shop/db", ipam=ipam).exit == 0
        every = heard(node, pod, [frame for frame, _ in FRAMES.values()])
        assert {what for what, (frame, _) in FRAMES.items() if frame not in every} == set()
        assert node.call("DEL", pod, "shop/db", ipam=ipam).exit == 0
        done = node.call("ADD", pod, "shop/db", ipam={**ipam, "dataDir": f"{ipam['dataDir']}-2"}, **ALL)
        assert done.exit == 0 and OWN in done.stdout, done
        node.until(lambda: f'"{OWN}"' in node.listed() or f"{OWN} }}" in node.listed() or f"{OWN}," in node.listed())
        passed = heard(node, pod, [frame for frame, _ in FRAMES.values()])
        assert {what: frame in passed for what, (frame, _) in FRAMES.items()} == {
            what: passes for what, (_, passes) in FRAMES.items()
        }
        node.ns.nft("flush ruleset")
        node.until(lambda: "another's address" in node.listed())
        assert heard(node, pod, [FRAMES["a router"][0], FRAMES["a DHCP server"][0]]) == []


def test_guards_stand_before_the_first_frame(node: Node, pod: Ns) -> None:
    """Nothing of windrow is in the packet filter before, and no agent looks: closed. Then its round: guarded."""
    node.keeper.round(reread=True)
    node.paths.agent_status.unlink()
    assert node.call("ADD", pod, "shop/db", **ALL).exit == 0
    assert heard(node, pod, [FRAMES["a DHCP server"][0], FRAMES["own address"][0], FRAMES["a router"][0]]) == []
    node.keeper.round(reread=True)
    assert heard(node, pod, [FRAMES["a DHCP server"][0], FRAMES["a DHCP client"][0]]) == [FRAMES["a DHCP client"][0]]


@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_no_more_passes_than_the_rate(node: Node, pod: Ns, way: str) -> None:
    """100,000 bytes a second, once what may come at once is used up; five times as much is sent."""
    keys = {f"{way}Rate": 800_000, f"{way}Burst": 160_000}
    frame = udp(OWN, 1000, 80, b"y" * 958)
    assert len(frame) == 1000
    with node.agent():
        assert node.call("ADD", pod, "shop/db", **keys).exit == 0
        if way == "ingress":
            frame = frame[6:12] + frame[:6] + frame[12:]
        ends = (node.station, pod) if way == "egress" else (pod, node.station)
        began, heard_at, sent = time.monotonic(), list[float](), 0
        with (
            ends[0].inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))) as hears,
            ends[1].inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as sends,
        ):
            hears.settimeout(0.0)
            while (took := time.monotonic() - began) < 3.0:
                if sent < took * 500:
                    sends.sendto(frame, ("eth0", 0))
                    sent += 1
                    continue
                try:
                    if hears.recv(2048) == frame:
                        heard_at.append(took)
                except BlockingIOError:
                    time.sleep(0.001)
    assert sent > 1000, "this machine is too busy to say anything"
    passed = sum(at >= 1.0 for at in heard_at)
    assert 120 < passed < 230 and len(heard_at) <= 430, (passed, len(heard_at), sent)
