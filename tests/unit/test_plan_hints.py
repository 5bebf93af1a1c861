"""Hints that tell somebody to take something away never cut off whoever follows them over the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import windrow
from windrow.apps.engine import look, plan_node
from windrow.model.host import Bond, Bridge, Observed, Route, VlanIf
from windrow.model.values import Cidr, IfName
from windrow.plan import hints
from windrow.testing import builders
from windrow.testing.builders import link
from windrow.testing.fake import FakeKernel

NODE = "node-0"
CONSOLE = "at the console of this host, not over the network"


def host(*links: object, routes: tuple[Route, ...] = ()) -> FakeKernel:
    kernel = FakeKernel()
    for number in range(3):
        kernel.add_nic(f"eth{number}", up=True)
    for made in links:
        kernel.add(made)  # type: ignore[arg-type]
    for route in routes:
        kernel.add_route(route)
    return kernel


def vlan(name: str, parent: str, vid: int, *addrs: str) -> object:
    return link(name, VlanIf(parent=IfName(parent), vid=vid), up=True, addrs=frozenset(map(Cidr, addrs)))


def test_what_nobody_needs_is_named_with_its_command() -> None:
    seen = host(vlan("eth0.50", "eth0", 50)).observe()
    assert hints.delete(seen, "eth0.50") == "delete it: ip link delete dev eth0.50"
    assert hints.set_free(seen, "eth1") == "set it free: ip link set dev eth1 nomaster"


def lease() -> Route:
    """Of an address by DHCP the kernel's route alone is to be seen: it is no configuration."""
    return Route(dst="10.7.0.0/24", dev=IfName("eth0"), protocol=2)


def _bond() -> FakeKernel:
    kernel = host(link("bond0", Bond(), up=True), vlan("bond0.9", "bond0", 9, "10.0.9.5/24"))
    return _put(kernel, "eth0", "bond0")


def _bridge() -> FakeKernel:
    kernel = host(link("br0", Bridge(), up=True, addrs=frozenset({Cidr("10.0.0.5/24")})))
    return _put(kernel, "eth0", "br0")


def _put(kernel: FakeKernel, nic: str, master: str) -> FakeKernel:
    kernel.machine.close(kernel.machine.get(nic))
    kernel.machine.set_master(kernel.machine.get(nic), kernel.machine.get(master))
    return kernel


NEEDED = [
    ("its own address", host(vlan("eth0.50", "eth0", 50, "10.0.50.5/24")), "eth0.50", "10.0.50.5/24 on eth0.50"),
    ("a VLAN on it", host(vlan("eth0.50", "eth0", 50, "10.0.50.5/24")), "eth0", "10.0.50.5/24 on eth0.50"),
    ("a VLAN in a VLAN", host(vlan("a", "eth0", 5), vlan("b", "a", 6, "10.0.6.5/24")), "eth0", "10.0.6.5/24 on b"),
    ("its bond", _bond(), "eth0", "10.0.9.5/24 on bond0.9"),
    ("its bridge", _bridge(), "eth0", "10.0.0.5/24 on br0"),
    (
        "the default route",
        host(routes=(Route(dst="default", dev=IfName("eth0"), gateway="192.0.2.1", protocol=4),)),
        "eth0",
        "the default route over eth0",
    ),
    (
        "an on-link network of others",
        host(routes=(Route(dst="10.9.0.0/16", dev=IfName("eth0"), gateway="192.0.2.1", protocol=4),)),
        "eth0",
        "the route to 10.9.0.0/16 over eth0",
    ),
    ("DHCP", host(routes=(lease(),)), "eth0", "its address in 10.7.0.0/24 on eth0"),
]


@pytest.mark.parametrize(("kernel", "name", "way"), [c[1:] for c in NEEDED], ids=[c[0] for c in NEEDED])
def test_what_leads_to_this_host_is_for_the_console(kernel: FakeKernel, name: str, way: str) -> None:
    for said in (
        hints.delete(kernel.observe(), name),
        hints.set_free(kernel.observe(), name),
        hints.flush(kernel.observe(), name),
    ):
        assert CONSOLE in said and way in said
        assert not said.startswith(("delete it: ", "set it free: ", "take them off first: "))


def test_what_is_safe_instead_comes_first() -> None:
    said = hints.flush(host(routes=(lease(),)).observe(), "eth0", instead="choose another NIC")
    assert said.startswith(f"choose another NIC; else take them off first {CONSOLE}")


def test_another_nic_is_not_concerned() -> None:
    assert CONSOLE not in hints.delete(_bond().observe(), "eth1")
    everywhere = Route(dst="fe80::/64", dev=IfName("eth1"), protocol=2)
    assert CONSOLE not in hints.delete(host(routes=(everywhere,)).observe(), "eth1")


def test_the_vlan_interface_of_an_init_comes_with_its_address() -> None:
    seen = host(vlan("eth0.50", "eth0", 50, "10.0.50.5/24")).observe()
    assert hints.init_with_vlan(seen, "eth0", "eth0.50") == ("windrow init --nic eth0 --vlan 50 --address 10.0.50.5/24")


# -- where they are said ---------------------------------------------------------------------------


def refused(kernel: FakeKernel) -> dict[str, str]:
    """Code -> hint, where cluster network oob wants eth0 and eth1."""
    config = builders.vlan_config("oob", ["eth0", "eth1"])
    cluster = builders.cluster(builders.node(NODE), builders.cluster_network("oob"), config)
    return {p.code: p.hint for p in plan_node(cluster, look(kernel, NODE)).plan.refusals}


def test_a_nic_of_a_bond_that_leads_here() -> None:
    said = refused(_bond())["nic-in-use"]
    assert said.startswith("choose another NIC; else") and "10.0.9.5/24 on bond0.9" in said


def test_a_nic_with_this_hosts_address() -> None:
    kernel = host()
    kernel.machine.add_addr(kernel.machine.get("eth0"), "10.0.0.5/24")
    assert refused(kernel)["nic-has-addresses"].startswith("choose another NIC; else")


@pytest.mark.parametrize("addr", ["10.0.0.5/24", ""])
def test_a_bridge_in_the_way(addr: str) -> None:
    made = link("oob-br", Bridge(), up=True, addrs=frozenset({Cidr(addr)} if addr else ()))
    assert (CONSOLE in refused(host(made))["in-the-way"]) == bool(addr)


TAKES = re.compile(
    r"nomaster|ip link (del|delete) |ip addr(ess)? (flush|del|delete) |ip route (flush|del|delete) |ifdown "
)


def test_there_is_one_place_for_such_hints() -> None:
    """A hint that is written elsewhere does not ask what the link is good for."""
    root = Path(windrow.__file__).parent
    found = {
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in ("lab", "testing") and path.name != "hints.py"
        for line in path.read_text().splitlines()
        if TAKES.search(line)
    }
    assert found == set()


def test_an_observed_host_without_anything() -> None:
    assert list(hints.ways_to_this_host(Observed(state=FakeKernel().observe().state, runtime={}), "nowhere")) == []
