"""What a whole kernel has, done and not only found in its configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import WireGuard

from windrow.model.values import IfName
from windrow.netlink import netns
from windrow.port.firewall import MASQUERADE_CHAIN, masquerade_program, masquerade_removal
from windrow.port.vm.masquerade import Masquerade, iptables, nft
from windrow.services import netfilter
from windrow.services.firewall import Firewall

# nftables -----------------------------------------------------------------------------------------


def test_the_masquerade_of_a_port_by_nft(chain: Sequence[Any]) -> None:
    """Table `inet`: what the inner one sends leaves with the middle one's address, so that answers come back."""
    inner, middle, _ = chain
    firewall = Firewall()
    assert not inner.reaches("10.2.0.3")
    middle.inside(lambda: firewall.load(masquerade_program("vlan100", "box", "eth0", ["10.1.0.1/24"])))
    assert inner.reaches("10.2.0.3")
    listing = middle.inside(lambda: firewall.chain(MASQUERADE_CHAIN))
    assert listing is not None
    removal = masquerade_removal("vlan100", "box", "eth0", listing)
    middle.inside(lambda: firewall.load(removal, as_json=True))
    assert not inner.reaches("10.2.0.3")


def test_the_masquerade_of_a_guest_is_made_by_nft(chain: Sequence[Any]) -> None:
    """Tables `ip` and `ip6`; the middle one plays the pod, and the inner one the guest."""
    inner, middle, outer = chain
    guests = (("10.1.0.1", "10.1.0.2"), ("fd10::2", "fd10::1"))
    rules = Masquerade(pod=IfName("to-outer"), bridge=IfName("to-inner"), guests=guests)
    programs = {version: iptables(rules, version) for version in (4, 6)}
    assert not inner.reaches("10.2.0.3")
    assert middle.inside(lambda: netfilter.load(nft(rules), programs)) == "nft"
    assert {"table ip nat", "table ip6 nat"} == set(middle.must("nft", "list", "tables").splitlines())
    assert inner.reaches("10.2.0.3"), "it leaves with the pod's address"
    listening = "import socket; s = socket.create_server(('10.1.0.1', 80)); print('ready', flush=True); s.accept()"
    asking = "import socket; socket.create_connection(('10.2.0.2', 80), 20)"
    guest = inner.inside(lambda: subprocess.Popen([sys.executable, "-c", listening], stdout=subprocess.PIPE))
    with guest:
        assert guest.stdout.readline() == b"ready\n"
        outer.must(sys.executable, "-c", asking)
        assert guest.wait(20) == 0, "what comes in for the pod goes to the guest"


@pytest.mark.parametrize(
    "table",
    [
        "inet t { chain c { type filter hook forward priority 0; ip saddr 10.1.0.1 drop; }; }",
        "ip t { chain c { type filter hook forward priority 0; ip saddr { 10.1.0.0/30, 10.9.0.0/16 } drop; }; }",
        "netdev t { chain c { type filter hook ingress device to-inner priority 0; ip saddr 10.1.0.1 drop; }; }",
    ],
    ids=lambda table: table.split()[0],
)
def test_a_family_of_nftables_filters(table: str, chain: Sequence[Any]) -> None:
    inner, middle, outer = chain
    outer.ip("route add default via 10.2.0.2")
    assert inner.reaches("10.2.0.3")
    middle.nft(f"table {table}")
    assert not inner.reaches("10.2.0.3")
    middle.nft(f"delete table {' '.join(table.split()[:2])}")
    assert inner.reaches("10.2.0.3")


# A tunnel -----------------------------------------------------------------------------------------


def test_frames_go_through_wireguard(chain: Sequence[Any]) -> None:
    """Its module loads by itself, as do those of the ciphers."""
    inner, middle, _ = chain
    ends = {inner: ("10.1.0.1", "10.7.0.1"), middle: ("10.1.0.2", "10.7.0.2")}
    keys = {}
    for end, (_, address) in ends.items():
        end.ip("link add wg0 type wireguard", f"addr add {address}/24 dev wg0")
        keys[end] = end.inside(make_key)
    for end, peer in ((inner, middle), (middle, inner)):
        outside, address = ends[peer]
        told = {"public_key": keys[peer], "endpoint_addr": outside, "endpoint_port": 51820}
        end.inside(lambda told=told, address=address: set_peer({**told, "allowed_ips": [f"{address}/32"]}))
        end.ip("link set wg0 up")
    assert inner.reaches("10.7.0.2")


def make_key() -> str:
    """A private key for the wg0 of this namespace; its public one, as the kernel computes it."""
    import base64

    with WireGuard() as wg:
        wg.set("wg0", listen_port=51820, private_key=base64.b64encode(os.urandom(32)).decode())
        return str(wg.info("wg0")[0].get("WGDEVICE_A_PUBLIC_KEY").decode())


def set_peer(peer: dict[str, Any]) -> None:
    with WireGuard() as wg:
        wg.set("wg0", peer=peer)


# Processors ---------------------------------------------------------------------------------------


def test_two_processors_work() -> None:
    """A program on each: it is where it was put, and that processor's time goes up."""
    assert os.cpu_count() == 2
    before = busy()
    both = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", SPIN, str(cpu)], stdout=subprocess.PIPE) for cpu in range(2)
    ]
    assert [int(one.communicate()[0]) for one in both] == [0, 1]
    assert all(after > start for start, after in zip(before, busy(), strict=True))


SPIN = """
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
end = time.process_time() + 1
while time.process_time() < end:
    pass
print(open("/proc/self/stat").read().rpartition(")")[2].split()[36])
"""
"""Works for a second, and says which processor it ran on last (proc_pid_stat(5), field 39)."""


def busy() -> list[int]:
    """Ticks that each processor has worked for programs (proc(5), /proc/stat)."""
    lines = Path("/proc/stat").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("cpu") and line[3].isdigit()]


@pytest.fixture
def cgroups() -> Iterator[Path]:
    """The version 2 hierarchy."""
    place = Path("/run/cgroup")
    place.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)
    place.rmdir()


def test_a_cpuset_holds_a_program_on_its_processor(cgroups: Path) -> None:
    controllers = ["cpuset", "cpu", "io", "memory", "pids"]
    assert set(controllers) <= set((cgroups / "cgroup.controllers").read_text().split())
    (cgroups / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
    group = cgroups / "held"
    group.mkdir()
    (group / "cpuset.cpus").write_text("1")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        assert os.sched_getaffinity(sleeper.pid) == {0, 1}
        (group / "cgroup.procs").write_text(str(sleeper.pid))
        assert os.sched_getaffinity(sleeper.pid) == {1}
    finally:
        sleeper.kill()
        sleeper.wait()
    remove(group)
    (cgroups / "cgroup.subtree_control").write_text(" ".join(f"-{name}" for name in controllers))


def remove(group: Path, patience_s: float = 5.0) -> None:
    """A group is busy for a moment after its last process."""
    end = time.monotonic() + patience_s
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


# Types of the kernel ------------------------------------------------------------------------------


def test_the_kernel_describes_its_types() -> None:
    """BTF, which eBPF programs are fitted with (Documentation/bpf/btf.rst): its header, and a type's name."""
    types = Path("/sys/kernel/btf/vmlinux").read_bytes()
    assert types[:3] == b"\x9f\xeb\x01"
    assert b"\0net_bridge_port\0" in types or b"\0net_device\0" in types


# Several at once ----------------------------------------------------------------------------------


def test_names_of_namespaces_are_made_by_many_at_once() -> None:
    """Real races: the threads' system calls run on two processors."""
    from concurrent.futures import ThreadPoolExecutor

    names = [f"many-{n}" for n in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(netns.create, names))
        assert set(names) <= set(netns.names())
        list(pool.map(netns.delete, names))
    assert not set(names) & set(netns.names())
