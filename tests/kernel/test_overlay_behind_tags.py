"""Packets to the overlay that a guest hides behind tags; without tags, `tests/qemu/test_overlay_forged.py`."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.kernel.test_policy_attacks import TAGS, TEXT
from tests.kernel.test_policy_conspirators import mac, port
from tests.qemu import packets
from tests.qemu.packets import ip, udp
from tests.qemu.policed import GATEWAY, WAIT_S, Node

from windrow.model.policyrules import TunnelEnds
from windrow.model.ruletable import RuleTable
from windrow.model.values import PORT_GROUP
from windrow.policy.nft import with_tunnels


def test_no_guest_speaks_to_a_tunnel() -> None:
    """Whatever tags the kernel would take off before it reads the packet."""
    node, guest = Node(), "10.52.0.11"
    ends = TunnelEnds(family=4, addresses=frozenset({GATEWAY}), port=8472)
    node.ns.ip(f"link set {port(node, guest)} group {PORT_GROUP}")
    data = ip(guest, GATEWAY, packets.UDP, udp(guest, GATEWAY, ends.port, TEXT))
    with node.ns.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as tunnel:
        tunnel.bind((GATEWAY, ends.port))
        tunnel.setblocking(False)
        node.load(RuleTable())
        assert heard(node, tunnel, guest, data) == ["none", *TAGS], "without rules"
        node.load(with_tunnels(RuleTable(), [ends]))
        assert heard(node, tunnel, guest, data) == []
    node.close()


def heard(node: Node, tunnel: socket.socket, sender: str, data: bytes) -> list[str]:
    """Behind which tags it arrives."""
    found = []
    for name, tags in {"none": [], **TAGS}.items():
        frame = packets.ether(mac(node, GATEWAY), mac(node, sender), data, tags)
        with node.of(sender).inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as out:
            out.sendto(frame, ("eth0", 0))
        time.sleep(WAIT_S)
        with contextlib.suppress(BlockingIOError):
            assert tunnel.recv(64) == TEXT
            found.append(name)
    return found
