"""Between the pod's interface and the guest: the devices of each binding, and what goes through them.

The guest is played by a namespace whose only card is joined with the pod's tap, as QEMU joins a tap with a guest's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.vm import bind
from windrow.lab.dhcp import request_lease
from windrow.lab.probe import Station, ping
from windrow.model.host import Route
from windrow.model.machines import Binding, ForwardedPort, GuestNetwork, GuestNic, MachineSpec, NicModel
from windrow.model.values import IfName, Mac
from windrow.netlink import links, netns, sysctl, tap
from windrow.netlink.enter import in_thread, libc
from windrow.netlink.errors import KernelError, NotSupported
from windrow.netlink.kernel import Kernel
from windrow.netlink.observe import dump_links
from windrow.port.vm.binding import NicPlan, plan_nic
from windrow.port.vm.dhcp import PodIdentity
from windrow.port.vm.names import names_of, pod_ifname
from windrow.services import dnsmasq

Ns = Any

IDENTITY = PodIdentity(hostname="web", name_servers=("9.9.9.9",), search=("x.example",))
MAC = Mac("02:00:00:aa:bb:cc")
_TAP_FLAGS = 0x0002 | 0x1000
_ETH_P_ALL = 3
CLONE_FS, CLONE_NEWNS = 0x200, 0x2_0000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod with one interface, the other end of which is `out` in the namespace `outside`."""

    inside: Ns
    outside: Ns
    machine: MachineSpec
    plan: NicPlan
    directory: Path

    @property
    def names(self) -> Any:
        return names_of(self.plan.pod)

    def links(self) -> dict[str, Any]:
        """By name, with `master` as a name and the options of a bridge port as `slave`."""
        raws = dump_links(self.inside.rtnl)
        names = {raw.ifindex: raw.attrs["name"] for raw in raws}
        return {
            raw.attrs["name"]: {
                **raw.attrs,
                "kind": raw.kind,
                "up": bool(raw.flags & 1),
                "master": names.get(raw.attrs.get("master", 0), ""),
                "slave": raw.slave,
            }
            for raw in raws
        }

    def read(self, key: str) -> str | None:
        value = self.inside.inside(lambda: sysctl.read(key))
        assert value is None or isinstance(value, str)
        return value


Make = Callable[..., Pod]


@pytest.fixture
def pod(new_ns: Callable[[], Ns], tmp_path: Path) -> Iterator[Make]:
    made: list[Pod] = []

    def make(
        binding: Binding,
        *,
        address: str = "",
        gateway: str = "",
        mtu: int = 1500,
        ports: tuple[ForwardedPort, ...] = (),
        vcpus: int = 0,
        bound: bool = True,
    ) -> Pod:
        inside, outside = new_ns(), new_ns()
        network = GuestNetwork(name="a-net", nad="" if binding is Binding.MASQUERADE else "default/a-net")
        nic = GuestNic(name="a-net", binding=binding, mac=MAC, ports=ports)
        machine = MachineSpec(networks=(network,), nics=(nic,), cores=vcpus or 1, multiqueue=vcpus > 0)
        name = pod_ifname(network)
        outside.run(links.veth(links.End(name="out", mtu=mtu), links.End(name=name, netns=inside.fd, mac=MAC, mtu=mtu)))
        for one, link in ((inside, "lo"), (inside, name), (outside, "out")):
            one.run(links.set_link(link, up=True))
        if address:
            inside.run(links.add_addr(inside.index(name), address))
        if gateway:
            inside.run(links.add_route(Route(dst="default", dev=IfName(name), gateway=gateway), inside.index(name)))
        plan = plan_nic(machine, "a-net", bind.look(inside.kernel, name), IDENTITY)
        made.append(Pod(inside=inside, outside=outside, machine=machine, plan=plan, directory=tmp_path))
        if bound:
            bind.bind(inside.kernel, inside.fd, plan, tmp_path)
        return made[-1]

    yield make
    for one in made:
        bind.unbind(one.inside.kernel, one.names, one.directory)


# A guest ------------------------------------------------------------------------------------------


class Guest:
    """A namespace with the card `eth0`; two threads carry frames between it and the pod's tap."""

    def __init__(self, pod: Pod, ns: Ns, mac: Mac = MAC) -> None:
        self.ns = ns
        self.near = pod.inside.inside(lambda: opened_tap(pod.plan.tap.name))
        tap.create("eth0", netns=ns.fd)
        ns.run(links.set_link("eth0", mac=mac))
        self.far = ns.inside(lambda: opened_tap("eth0"))
        for link in ("lo", "eth0"):
            ns.run(links.set_link(link, up=True))
        self._stop, self._stopped = os.pipe()
        self._threads = [threading.Thread(target=self._carry, args=ends) for ends in self._ways()]
        for thread in self._threads:
            thread.start()

    def _ways(self) -> list[tuple[int, int]]:
        return [(self.near, self.far), (self.far, self.near)]

    def _carry(self, source: int, target: int) -> None:
        while self._stop not in (ready := select.select([source, self._stop], [], [])[0]):
            if source in ready:
                os.write(target, os.read(source, 65536))

    def close(self) -> None:
        os.write(self._stopped, b"x")
        for thread in self._threads:
            thread.join()
        for fd in (self.near, self.far, self._stop, self._stopped):
            os.close(fd)

    def station(self, address: str = "") -> Station:
        return station(self.ns, "guest", "eth0", address)

    def lease(self, timeout_s: float = 5.0) -> str | None:
        """The address that a server gave; the card has it afterwards."""
        found = request_lease(self.station(), timeout_s=timeout_s)
        if found:
            self.ns.run(links.add_addr(self.ns.index("eth0"), found))
        return found


def station(ns: Ns, name: str, interface: str, address: str = "") -> Station:
    return Station(name=name, interface=interface, inside=ns.inside, address=address)


def opened_tap(name: str, flags: int = _TAP_FLAGS) -> int:
    fd = os.open(tap.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, 0x400454CA, struct.pack("=16sH22x", name.encode(), flags))
    except OSError:
        os.close(fd)
        raise
    return fd


@pytest.fixture
def guest(new_ns: Callable[[], Ns]) -> Iterator[Callable[[Pod], Guest]]:
    made: list[Guest] = []

    def make(pod: Pod) -> Guest:
        made.append(Guest(pod, new_ns()))
        return made[-1]

    yield make
    for one in made:
        one.close()


# Bridge -------------------------------------------------------------------------------------------


def test_bridge_without_an_address(pod: Make) -> None:
    """KubeVirt's devices for a VLAN network without IPAM: nothing in the pod speaks."""
    one = pod(Binding.BRIDGE, mtu=1400)
    found, names = one.links(), one.names
    assert set(found) == {"lo", names.bridge, names.renamed, names.tap, names.pod}
    bridge, moved, guest_tap, dummy = (found[n] for n in (names.bridge, names.renamed, names.tap, names.pod))
    assert (bridge["kind"], moved["kind"], guest_tap["kind"], dummy["kind"]) == ("bridge", "veth", "tun", "dummy")
    assert moved["mac"] == bridge["mac"] != MAC, "the guest's address is free"
    assert dummy["mac"] == MAC
    assert [link["mtu"] for link in (bridge, moved, guest_tap, dummy)] == [1400] * 4
    assert moved["master"] == guest_tap["master"] == names.bridge
    assert (moved["slave"]["learning"], guest_tap["slave"]["learning"]) == (0, 1)
    assert [link["up"] for link in (bridge, moved, guest_tap, dummy)] == [True, True, True, False]
    state = one.inside.kernel.observe().state
    assert all(link.addrs == frozenset() for name, link in state.links.items() if name != "lo")
    for name in (names.bridge, names.renamed, names.tap):
        assert one.read(f"net/ipv6/conf/{name}/disable_ipv6") == "1"
    assert one.read("net/ipv4/conf/all/arp_ignore") == "0"
    assert one.read(f"net/ipv4/conf/{names.bridge}/arp_ignore") == "1"
    assert not list(one.directory.iterdir()), "no server"


def test_frames_pass_a_bridge_untouched(pod: Make, guest: Callable[[Pod], Guest]) -> None:
    one = pod(Binding.BRIDGE)
    machine = guest(one)
    machine.ns.run(links.add_addr(machine.ns.index("eth0"), "10.9.0.2/24"))
    one.outside.run(links.add_addr(one.outside.index("out"), "10.9.0.1/24"))
    here, there = machine.station("10.9.0.2"), station(one.outside, "outside", "out", "10.9.0.1")
    answers = ping([(here, there), (there, here)], deadline_s=5)
    assert None not in answers.values(), answers


def test_nothing_of_the_pod_is_heard_outside(pod: Make, guest: Callable[[Pod], Guest]) -> None:
    """No neighbour discovery, no MLD, no router solicitation: only the guest has a voice."""
    one = pod(Binding.BRIDGE, bound=False)
    listening = one.outside.inside(lambda: capture("out"))
    bind.bind(one.inside.kernel, one.inside.fd, one.plan, one.directory)
    machine = guest(one)
    heard = []
    with listening:
        listening.settimeout(2.5)
        try:
            while True:
                frame, (_, _, kind, *_rest) = listening.recvfrom(2000)
                if kind != socket.PACKET_OUTGOING:
                    heard.append(frame)
        except TimeoutError:
            pass
    own = {bytes.fromhex(one.links()[n]["mac"].replace(":", "")) for n in (one.names.bridge, one.names.tap)}
    assert [frame.hex() for frame in heard if frame[6:12] in own] == []
    assert machine.ns.index("eth0")


def capture(interface: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    one.bind((interface, _ETH_P_ALL))
    return one


def test_bridge_with_an_address_hands_it_to_the_guest(pod: Make, guest: Callable[[Pod], Guest]) -> None:
    one = pod(Binding.BRIDGE, address="192.168.7.5/24", gateway="192.168.7.1")
    one.outside.run(links.add_addr(one.outside.index("out"), "192.168.7.1/24"))
    state, names = one.inside.kernel.observe().state.links, one.names
    assert state[names.bridge].addrs == {"169.254.75.10/32"}
    assert state[names.pod].addrs == {"192.168.7.5/24"}, "whoever looks into the pod finds it"
    assert state[names.renamed].addrs == frozenset()
    assert one.read("net/ipv4/conf/all/arp_ignore") == "1"
    machine = guest(one)
    assert machine.lease() == "192.168.7.5/24"
    here, there = machine.station("192.168.7.5"), station(one.outside, "outside", "out", "192.168.7.1")
    assert None not in ping([(here, there), (there, here)], deadline_s=5).values()


def test_the_server_answers_nobody_else(pod: Make, new_ns: Callable[[], Ns]) -> None:
    one = pod(Binding.BRIDGE, address="192.168.7.5/24")
    other = Guest(one, new_ns(), mac=Mac("02:00:00:00:00:99"))
    try:
        assert other.lease(timeout_s=2.0) is None
    finally:
        other.close()


def test_managed_tap_leaves_dhcp_to_the_network(pod: Make) -> None:
    one = pod(Binding.MANAGED_TAP, address="192.168.7.5/24")
    state = one.inside.kernel.observe().state.links
    assert state[one.names.bridge].addrs == frozenset()
    assert state[one.names.pod].addrs == {"192.168.7.5/24"}
    assert not list(one.directory.iterdir())
    assert one.read("net/ipv4/conf/all/arp_ignore") == "0"


def test_a_kernel_without_dummies_gets_a_bridge_in_its_place(pod: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = pod(Binding.BRIDGE, address="192.168.7.5/24", bound=False)
    run = one.inside.rtnl.run

    def without_dummies(*messages: Any) -> None:
        if any(message.kind == "dummy" for message in messages):
            raise NotSupported(errno.EOPNOTSUPP, "create dummy")
        run(*messages)

    monkeypatch.setattr(one.inside.rtnl, "run", without_dummies)
    bind.bind(one.inside.kernel, one.inside.fd, one.plan, one.directory)
    found = one.links()[one.names.pod]
    assert (found["kind"], found["mac"], found["up"], found["master"]) == ("bridge", MAC, False, "")
    assert one.inside.kernel.observe().state.links[one.names.pod].addrs == {"192.168.7.5/24"}


# Masquerade ---------------------------------------------------------------------------------------


def behind_masquerade(pod: Make, guest: Callable[[Pod], Guest], **more: Any) -> tuple[Pod, Guest]:
    one = pod(Binding.MASQUERADE, address="10.52.0.7/24", gateway="10.52.0.1", **more)
    one.outside.run(links.add_addr(one.outside.index("out"), "10.52.0.1/24"))
    machine = guest(one)
    assert machine.lease() == "10.0.2.2/24"
    machine.ns.run(links.add_route(Route(dst="default", dev=None, gateway="10.0.2.1"), None))
    return one, machine


def test_masquerade(pod: Make, guest: Callable[[Pod], Guest]) -> None:
    one, machine = behind_masquerade(pod, guest, mtu=1450)
    found, names = one.links(), one.names
    assert (names.bridge, names.tap) == ("k6t-eth0", "tap0")
    assert set(found) == {"lo", "eth0", "k6t-eth0", "tap0"}
    assert found["k6t-eth0"]["mac"] == "02:00:00:00:00:00"
    assert [found[n]["mtu"] for n in ("eth0", "k6t-eth0", "tap0")] == [1450] * 3
    assert found["eth0"]["mac"] == MAC
    assert one.inside.kernel.observe().state.links[IfName("k6t-eth0")].addrs == {"10.0.2.1/24"}
    assert one.read("net/ipv4/ip_forward") == one.read("net/ipv4/conf/k6t-eth0/route_localnet") == "1"
    out = station(one.outside, "outside", "out", "10.52.0.1")
    assert None not in ping([(machine.station("10.0.2.2"), out)], deadline_s=5).values()
    assert reached(one, machine, 80) == "10.0.2.2", "the pod's address leads to the guest"
    assert seen_from_outside(one, machine) == "10.52.0.7", "and the guest leaves with it"


def test_masquerade_with_ports_leads_only_them_to_the_guest(pod: Make, guest: Callable[[Pod], Guest]) -> None:
    one, machine = behind_masquerade(pod, guest, ports=(ForwardedPort(port=80),))
    assert reached(one, machine, 80) == "10.0.2.2"
    assert reached(one, machine, 81) is None


def reached(one: Pod, machine: Guest, port: int) -> str | None:
    """Connect from outside to the pod's address; which address of the guest answered."""
    with machine.ns.inside(lambda: socket.create_server(("0.0.0.0", port))) as server:
        server.settimeout(5)
        client = one.outside.inside(lambda: socket.socket())
        with client:
            client.settimeout(5)
            try:
                client.connect(("10.52.0.7", port))
            except OSError:
                return None
            accepted, _ = server.accept()
            with accepted:
                return str(accepted.getsockname()[0])


def seen_from_outside(one: Pod, machine: Guest) -> str:
    with one.outside.inside(lambda: socket.create_server(("10.52.0.1", 8080))) as server:
        server.settimeout(5)
        with machine.ns.inside(lambda: socket.create_connection(("10.52.0.1", 8080), timeout=5)):
            accepted, peer = server.accept()
            accepted.close()
            return str(peer[0])


# Taps ---------------------------------------------------------------------------------------------


def test_a_tap_with_several_queues_opens_only_as_such(pod: Make) -> None:
    one = pod(Binding.BRIDGE, vcpus=2)
    name = one.plan.tap.name
    with pytest.raises(OSError, match="Invalid argument"):
        one.inside.inside(lambda: opened_tap(name))
    queues = [one.inside.inside(lambda: opened_tap(name, _TAP_FLAGS | 0x0100)) for _ in range(2)]
    for fd in queues:
        os.close(fd)
    assert name in one.links(), "it is there without anybody"


def test_only_virtio_has_several_queues() -> None:
    nic = GuestNic(name="a", binding=Binding.BRIDGE, model=NicModel.E1000)
    machine = MachineSpec(networks=(GuestNetwork(name="a", nad="d/a"),), nics=(nic,), cores=4, multiqueue=True)
    seen = bind.PodNic(name=IfName("pod1"), mac=MAC, mtu=1500)
    assert plan_nic(machine, "a", seen, IDENTITY).tap.queues == 0


def test_a_tap_whose_name_is_taken(ns: Ns) -> None:
    tap.create("tap0", netns=ns.fd)
    with pytest.raises(KernelError, match="there is a link of this name already") as caught:
        tap.create("tap0", netns=ns.fd)
    assert caught.value.errno == errno.EBUSY
    ns.run(links.delete("tap0"))
    assert "tap0" not in ns.rtnl.indexes()


# Undoing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", list(Binding))
def test_undone_it_is_as_the_cni_call_left_it(pod: Make, binding: Binding) -> None:
    one = pod(binding, address="192.168.7.5/24")
    server = dnsmasq.running(bind.server_files(one.directory, one.names.bridge)[-1])
    assert (server is None) == (binding is Binding.MANAGED_TAP)
    for _ in range(2):
        bind.unbind(one.inside.kernel, one.names, one.directory)
        found = one.links()
        assert set(found) == {"lo", one.plan.pod}
        assert found[one.plan.pod]["kind"] == "veth"
        assert not list(one.directory.iterdir())


def test_what_failed_half_way_is_undone(pod: Make) -> None:
    one = pod(Binding.BRIDGE, address="192.168.7.5/24", bound=False)
    tap.create(one.plan.tap.name, netns=one.inside.fd)
    with pytest.raises(KernelError, match="create tap"):
        bind.bind(one.inside.kernel, one.inside.fd, one.plan, one.directory)
    assert one.names.renamed in one.links()
    bind.unbind(one.inside.kernel, one.names, one.directory)
    assert set(one.links()) == {"lo", one.plan.pod}


# Namespaces ---------------------------------------------------------------------------------------


def test_a_namespace_made_in_a_mount_namespace_of_ones_own_is_seen_by_the_host() -> None:
    """`ip netns exec`, and a lab's nodes, give each program one, which is gone with it."""
    name = f"windrow-test-{os.getpid()}"

    def found() -> int:
        with Kernel(name) as kernel:
            return kernel.rtnl.index("lo")

    def make() -> int:
        netns.create(name)
        return found()

    assert in_thread(lambda: enter_mounts(None), make) == 1, "here"
    try:
        assert in_thread(lambda: enter_mounts("/proc/1/ns/mnt"), found) == 1, "and where the host's first process is"
    finally:
        netns.delete(name)
    assert name not in netns.names()
    with pytest.raises(KernelError):
        in_thread(lambda: enter_mounts("/proc/1/ns/mnt"), found)


def enter_mounts(path: str | None) -> None:
    """For the calling thread. None: a new one."""
    libc("unshare", CLONE_FS | (CLONE_NEWNS if path is None else 0), doing="unshare")
    if path is not None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        libc("setns", fd, CLONE_NEWNS, doing="enter the mounts")
        os.close(fd)
