"""dnsmasq, told by `port.vm.dhcp`, says to a guest what KubeVirt's own server would: byte for byte, on the wire."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from windrow.model.machines import Binding, DhcpOptions, GuestNetwork, GuestNic, MachineSpec
from windrow.model.values import Cidr, IfName, Mac
from windrow.netlink import links, netns, sysctl
from windrow.port.vm import dhcp
from windrow.port.vm.binding import NicPlan, PodNic, PodRoute, plan_nic
from windrow.port.vm.dhcp import PodIdentity
from windrow.services import dnsmasq, process

Ns = Any
MAC = Mac("02:11:22:33:44:55")
SEARCH = ("default.svc.cluster.local", "svc.cluster.local")
IDENTITY = PodIdentity(hostname="web", subdomain="db", name_servers=("10.53.0.10", "fd00::10"), search=SEARCH)
COOKIE = bytes.fromhex("63825363")
DISCOVER, REQUEST = 1, 3
SOLICIT, ADVERTISE, REQUEST6, REPLY = 1, 2, 3, 7
ETH_P_ALL, SO_BINDTODEVICE = 3, 25


@dataclass(frozen=True, slots=True)
class Answer:
    to: str
    address: str
    options: dict[int, bytes]


@pytest.fixture
def serve(new_ns: Callable[[], Ns], tmp_path: Path) -> Iterator[Callable[[NicPlan], Ns]]:
    """The bridge of a plan with its server, and on it a cable to `eth0` of the namespace that comes back."""
    pids: list[Path] = []

    def make(plan: NicPlan) -> Ns:
        pod, guest = new_ns(), new_ns()
        pod.run(links.create(plan.bridge.name, "bridge", mac=plan.bridge.mac))
        pod.run(links.veth(links.End(name="port"), links.End(name="eth0", netns=guest.fd, mac=MAC)))
        index = pod.index(plan.bridge.name)
        pod.run(links.set_master("port", index, plan.bridge.name))
        for one in plan.sysctls:
            if plan.bridge.name in one.path or "/all/" in one.path:
                pod.inside(lambda one=one: sysctl.write(one.path, one.value))
        if plan.moved is not None:  # the pod has the guest's address too
            dummy = plan.moved.dummy
            pod.run(links.create(dummy.name, "dummy"))
            pod.run(*(links.add_addr(pod.index(dummy.name), a) for a in dummy.addresses))
            pod.run(links.set_link(dummy.name, up=True))
        pod.run(*(links.add_addr(index, a, nodad=True) for a in plan.bridge.addresses))
        pod.run(*(links.set_link(n, up=True) for n in (plan.bridge.name, "port")))
        guest.run(links.set_link("eth0", up=True))
        assert plan.dhcp is not None
        config, pid = tmp_path / "dnsmasq.conf", tmp_path / "pid"
        config.write_text(dhcp.config(plan.dhcp, leases=str(tmp_path / "leases"), pid=str(pid)))
        pids.append(pid)
        netns.opened_in(pod.fd, lambda: dnsmasq.start(config, pid))
        return guest

    yield make
    for pid in pids:
        process.end(dnsmasq.running(pid))


def planned(binding: Binding, pod: PodNic, **nic: Any) -> NicPlan:
    primary = binding is Binding.MASQUERADE
    network = GuestNetwork(name="vlan100", nad="" if primary else "default/vlan100")
    guest = GuestNic(name="vlan100", binding=binding, mac=MAC, **nic)
    return plan_nic(MachineSpec(nics=(guest,), networks=(network,)), "vlan100", pod, IDENTITY)


def pod_nic(name: str, *addresses: str, routes: tuple[PodRoute, ...] = ()) -> PodNic:
    found = tuple(map(Cidr, addresses))
    return PodNic(name=IfName(name), mac=Mac("02:00:00:00:00:99"), mtu=1450, addresses=found, routes=routes)


# -- IPv4 ------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def question(mac: str, options: bytes) -> bytes:
    hardware = bytes.fromhex(mac.replace(":", ""))
    boot = struct.pack("!BBBBIHH16s16s192s", 1, 1, 6, 0, 0x1234, 0, 0, b"", hardware, b"") + COOKIE + options + b"\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(boot), 0) + boot
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\xff" * 6 + hardware + b"\x08\x00" + head + udp


def ask(ns: Ns, kind: int, options: bytes = b"", *, mac: str = MAC, timeout_s: float = 5.0) -> Answer | None:
    """Send one message; the server's answer, as it was on the wire."""
    wire: socket.socket = ns.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
    with wire:
        wire.bind(("eth0", ETH_P_ALL))
        wire.settimeout(0.2)
        wire.send(question(mac, bytes([53, 1, kind]) + options))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                frame = wire.recv(2000)
                if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[34:36] == b"\x00\x43":
                    return answer(frame)
    return None


def answer(frame: bytes) -> Answer:
    boot, options, at = frame[42:], {}, 240
    while boot[at] != 255:
        options[boot[at]] = boot[at + 2 : at + 2 + boot[at + 1]]
        at += 2 + boot[at + 1]
    return Answer(frame[:6].hex(":"), socket.inet_ntoa(boot[16:20]), options)


def ip(*addresses: str) -> bytes:
    return b"".join(map(socket.inet_aton, addresses))


def test_a_bridged_guest_is_told_everything(serve: Callable[[NicPlan], Ns]) -> None:
    """With the guest's address on a dummy in the pod, and a server whose own address is in another network."""
    routes = (
        PodRoute(dst="0.0.0.0/0", gateway="10.52.0.1"),
        PodRoute(dst="192.168.9.0/24"),
        PodRoute(dst="172.16.0.0/12", gateway="10.52.0.2"),
    )
    given = DhcpOptions(
        boot_file="pxe,linux.0",
        tftp_server="tftp.example",
        ntp_servers=("10.9.9.1", "10.9.9.2"),
        private=((224, "1.2.3.4"), (225, "a,b"), (226, "7"), (227, "00:11"), (254, 'a "b" \\')),
    )
    seen = pod_nic("pod1dba23260aa", "10.52.0.5/24", routes=routes)
    guest = serve(planned(Binding.BRIDGE, seen, dhcp=given))
    offer = ask(guest, DISCOVER)
    assert offer is not None
    assert (offer.address, offer.options[53]) == ("10.52.0.5", b"\x02")
    # The request asks for the mask alone (option 55), and gets all the same what it did not ask for.
    wanted = bytes([54, 4]) + offer.options[54] + bytes([50, 4]) + ip(offer.address) + bytes([55, 1, 1])
    ack = ask(guest, REQUEST, wanted)
    assert ack is not None
    own = {n: v for n, v in ack.options.items() if n not in (28, 58, 59, 119)}
    assert own == {
        53: b"\x05",
        54: ip("169.254.75.10"),
        51: struct.pack("!I", 999 * 86400),
        1: ip("255.255.255.0"),
        3: ip("10.52.0.1"),
        6: ip("10.53.0.10"),
        12: b"web",
        15: b"db.default.svc.cluster.local",
        26: struct.pack("!H", 1450),
        42: ip("10.9.9.1", "10.9.9.2"),
        66: b"tftp.example\0",
        67: b"pxe,linux.0\0",
        121: bytes([24, 192, 168, 9])
        + ip("0.0.0.0")
        + bytes([12, 172, 16])
        + ip("10.52.0.2")
        + b"\0"
        + ip("10.52.0.1"),
        224: b"1.2.3.4",
        225: b"a,b",
        226: b"7",
        227: b"00:11",
        254: b'a "b" \\',
    }
    assert ack.options[119].startswith(b"\x02db\x07default\x03svc\x07cluster\x05local\0")


@pytest.mark.parametrize("text", ["10.9.9.9", "7", "00:11", "1.2.3.4,5.6.7.8", "fe80::1", "17s", "a#b", "[::1]"])
def test_a_text_stays_a_text_whatever_it_looks_like(serve: Callable[[NicPlan], Ns], text: str) -> None:
    """A TFTP server is mostly given by its address, and option 66 is a name (RFC 2132 §9.4): not four bytes."""
    given = DhcpOptions(boot_file=text, tftp_server=text)
    guest = serve(planned(Binding.BRIDGE, pod_nic("pod1dba23260aa", "10.52.0.5/24"), dhcp=given))
    offer = ask(guest, DISCOVER)
    assert offer is not None
    assert (offer.options[66].rstrip(b"\0"), offer.options[67].rstrip(b"\0")) == (text.encode(), text.encode())


def test_a_host_name_that_looks_like_a_number_with_its_size(serve: Callable[[NicPlan], Ns]) -> None:
    plan = planned(Binding.BRIDGE, pod_nic("pod1dba23260aa", "10.52.0.5/24"))
    assert plan.dhcp is not None
    answer = replace(plan.dhcp, identity=PodIdentity(hostname="10b"))
    offer = ask(serve(replace(plan, dhcp=answer)), DISCOVER)
    assert offer is not None
    assert offer.options[12] == b"10b"


def test_a_client_that_is_not_the_guest_hears_nothing(serve: Callable[[NicPlan], Ns]) -> None:
    guest = serve(planned(Binding.BRIDGE, pod_nic("pod1dba23260aa", "10.52.0.5/32")))
    assert ask(guest, DISCOVER, mac="02:00:00:00:00:01", timeout_s=1.5) is None
    offer = ask(guest, DISCOVER)
    assert offer is not None
    assert (offer.address, offer.options[1]) == ("10.52.0.5", ip("255.255.255.255"))
    assert 3 not in offer.options, "a server that names itself as router"


# -- IPv6 ------------------------------------------------------------------------------------------------


def option6(code: int, data: bytes) -> bytes:
    return struct.pack("!HH", code, len(data)) + data


def ask6(ns: Ns, kind: int, more: bytes = b"", timeout_s: float = 10.0) -> tuple[int, dict[int, bytes]]:
    """With an IA_NA, a DUID-LL (RFC 8415 §11.4), and the options 23 and 24 asked for."""
    duid = b"\0\3\0\1" + bytes.fromhex(MAC.replace(":", ""))
    wanted = option6(1, duid) + option6(3, b"\0\0\0\1" + bytes(8)) + option6(6, struct.pack("!HH", 23, 24))
    wire: socket.socket = ns.inside(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    with wire:
        wire.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"eth0")
        wire.bind(("::", 546))
        wire.settimeout(0.5)
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError):  # no source address before the link-local one is there
                wire.sendto(bytes([kind, 1, 2, 3]) + wanted + more, ("ff02::1:2", 547, 0, ns.index("eth0")))
                return parsed6(wire.recv(2000))
            assert time.monotonic() < deadline, "no answer"


def parsed6(message: bytes) -> tuple[int, dict[int, bytes]]:
    options, at = {}, 4
    while at < len(message):
        code, length = struct.unpack_from("!HH", message, at)
        options[code] = message[at + 4 : at + 4 + length]
        at += 4 + length
    return message[0], options


def ip6(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address)


def test_a_masqueraded_guest_gets_both_families_and_a_router(serve: Callable[[NicPlan], Ns]) -> None:
    guest = serve(planned(Binding.MASQUERADE, pod_nic("eth0", "10.52.0.5/24", "fd52::5/64")))
    offer = ask(guest, DISCOVER)
    assert offer is not None
    assert (offer.address, offer.options[3], offer.options[54]) == ("10.0.2.2", ip("10.0.2.1"), ip("10.0.2.1"))
    kind, found = ask6(guest, SOLICIT)
    assert kind == ADVERTISE
    kind, found = ask6(guest, REQUEST6, option6(2, found[2]))
    assert kind == REPLY
    assert found[3][16:32] == ip6("fd10:0:2::2")
    assert found[23] == ip6("fd00::10")
    assert found[24].startswith(b"\x02db\x07default\x03svc")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        routes = guest.kernel.observe().state.routes
        if any(r.dst == "default" and (r.gateway or "").startswith("fe80::") for r in routes):
            return
        time.sleep(0.2)
    raise AssertionError(f"no router was advertised: {routes}")
