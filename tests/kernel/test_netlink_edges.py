"""Namespaces, NICs, kernel features, refusals, the lock."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windrow.model.facts import KernelFeatures
from windrow.model.host import Route
from windrow.model.values import IfName
from windrow.netlink import errors, ethtool, features, links, lock, netns, sysctl
from windrow.netlink.kernel import Kernel
from windrow.netlink.observe import dump_links
from windrow.netlink.sock import Rtnl

Ns = Any
NAME = "wn-test"


@pytest.fixture
def named() -> Any:
    netns.create(NAME)
    yield NAME
    if NAME in netns.names():
        netns.delete(NAME)


def test_named_namespaces(named: str) -> None:
    with pytest.raises(errors.AlreadyThere):
        netns.create(named)
    with Kernel(named) as one, Kernel(str(netns.RUN_NETNS / named)) as two:
        one.rtnl.run(links.create("br", "bridge"))
        assert set(two.observe().state.links) == {"lo", "br"}
    netns.delete(named)
    assert named not in netns.names()
    with pytest.raises(errors.KernelError, match="no-such"):
        Kernel("no-such")


def test_the_calling_thread_never_leaves_its_namespace(ns: Ns) -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    inside = ns.inside(lambda: os.readlink("/proc/thread-self/ns/net"))
    assert inside != before
    with pytest.raises(ZeroDivisionError):
        ns.inside(lambda: 1 // 0)
    assert os.readlink("/proc/thread-self/ns/net") == before


def test_features_leave_no_trace(ns: Ns) -> None:
    with Rtnl() as here:
        before = here.indexes()
        found = ns.kernel.features()
        assert here.indexes() == before
    assert found == KernelFeatures(
        bonding=True,
        vlan_filtering=True,
        vlan_interfaces=True,
        bridge_netfilter=Path("/proc/sys/net/bridge").exists(),
        wireguard=features.loadable("wireguard") or Path("/sys/module/wireguard").exists(),
    )
    assert ns.rtnl.indexes() == {"lo": 1}


def test_features_without_the_right_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> object:
        raise errors.of(errno.EPERM, "make a network namespace")

    monkeypatch.setattr(netns, "in_new", refuse)
    found = features.probe()
    assert (found.bonding, found.vlan_filtering, found.vlan_interfaces) == (True, True, True)


def test_a_missing_module_is_named(ns: Ns) -> None:
    with pytest.raises(errors.NotSupported) as raised:
        ns.run(links.Message(16, links.create("x", "nosuch").body, 0x600, "create nosuch x", "nosuch"))
    assert raised.value.errno == errno.EOPNOTSUPP
    assert raised.value.extack == "Unknown device type"
    error = errors.of(errno.EOPNOTSUPP, "create bond bo", "", "bond")
    assert error.hint == "this kernel has no bond links: load the module bonding"


def test_no_permission_names_the_capability(ns: Ns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The effective capabilities are a thread's own: drop them in one that ends."""
    seen: list[errors.KernelError] = []

    def unprivileged() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capset(header, data) == 0
        with Rtnl() as rtnl:
            seen.extend(filter(None, rtnl.burst([links.create("br", "bridge")])))

    ns.inside(unprivileged)
    assert [type(error) for error in seen] == [errors.NoPermission]
    assert "CAP_NET_ADMIN" in str(seen[0])
    assert "CAP_NET_ADMIN" in seen[0].explanation


def test_nics(ns: Ns) -> None:
    mac = "02:00:00:00:00:01"
    ns.run(
        links.create("d0", "dummy", mac=mac),
        links.veth(links.End(name="v0"), links.End(name="v1")),
        links.create("br", "bridge"),
        links.create("bo", "bond", data={"mode": 1}),
    )
    ns.run(links.set_master("d0", ns.index("bo")), links.set_link("bo", mac="02:00:00:00:00:99"))
    nics = ns.kernel.nics()
    assert set(nics) == {"d0", "v0", "v1"}
    assert ns.link("d0").mac == "02:00:00:00:00:99"
    assert (nics["d0"].mac, nics["d0"].master, nics["d0"].driver, nics["d0"].pci) == (mac, "bo", "dummy", None)
    assert (nics["v0"].driver, nics["v0"].master) == ("veth", None)


def test_pci_addresses() -> None:
    assert ethtool.Driver("virtio_net", "0000:00:03.0").pci == "0000:00:03.0"
    assert ethtool.Driver("mlx5_core", "10000:3b:00.1").pci == "10000:3b:00.1"
    assert ethtool.Driver("tun", "tap").pci is None
    assert ethtool.Driver("hv_netvsc", "").pci is None


def test_sysctl_keys() -> None:
    assert sysctl.path_of("net.ipv4.ip_forward") == Path("/proc/sys/net/ipv4/ip_forward")
    assert sysctl.path_of("net/ipv4/conf/eth0.7/rp_filter") == Path("/proc/sys/net/ipv4/conf/eth0.7/rp_filter")
    assert sysctl.path_of("net.ipv4.conf.eth0/7.rp_filter") == Path("/proc/sys/net/ipv4/conf/eth0.7/rp_filter")
    for bad in ("", "net..x", "net/../kernel", "../etc"):
        with pytest.raises(ValueError):
            sysctl.path_of(bad)
    assert sysctl.read("net.no.such.key") is None


def test_ports_are_isolated(ns: Ns) -> None:
    ns.run(links.create("br", "bridge"), links.create("d0", "dummy"))
    index = ns.rtnl.indexes()
    ns.run(links.set_master("d0", index["br"]), links.set_link("br", up=True), links.set_link("d0", up=True))
    assert ns.runtime("d0").port_state == links.FORWARDING
    ns.run(links.port_options(index["d0"], isolated=1, hairpin=1, state=links.LEARNING))
    assert ns.runtime("d0").port_state == links.LEARNING
    port = next(raw for raw in dump_links(ns.rtnl) if raw.attrs["name"] == "d0").slave
    assert (port["isolated"], port["hairpin"]) == (1, 1)


def test_a_link_moves_to_another_namespace(ns: Ns, new_ns: Callable[[], Ns]) -> None:
    other = new_ns()
    ns.run(links.create("d0", "dummy"))
    ns.run(links.set_link("d0", netns_fd=other.fd))
    assert (set(ns.rtnl.indexes()), set(other.rtnl.indexes())) == ({"lo"}, {"lo", "d0"})


def test_routes_come_and_go(ns: Ns) -> None:
    ns.run(links.create("d0", "dummy", up=True))
    index = ns.index("d0")
    ns.run(links.add_addr(index, "10.0.0.1/24"), links.add_addr(index, "fd00::1/64", nodad=True))
    dev = IfName("d0")
    wanted = {
        Route(dst="default", dev=dev, gateway="10.0.0.254", protocol=99),
        Route(dst="default", dev=dev, gateway="fd00::fe", protocol=99, metric=1024),
        Route(dst="10.8.0.0/16", dev=dev, protocol=99, metric=7),
        Route(dst="fd08::/64", dev=dev, protocol=99, metric=1024),
    }
    ns.run(*(links.add_route(route, index) for route in wanted))
    assert {route for route in ns.kernel.observe().state.routes if route.protocol == 99} == wanted
    ns.run(*(links.del_route(route, index) for route in wanted))
    assert not [route for route in ns.kernel.observe().state.routes if route.protocol == 99]


def test_the_lock_keeps_others_out_and_goes_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    waiting, entered = threading.Event(), threading.Event()

    def other() -> None:
        waiting.set()
        with lock.locked(path):
            entered.set()

    with lock.locked(path):
        with pytest.raises(errors.KernelError) as raised, lock.locked(path, timeout_s=0.05):
            pass
        assert raised.value.errno == errno.EAGAIN
        thread = threading.Thread(target=other)
        thread.start()
        assert waiting.wait(5)
        assert not entered.wait(0.1)
    assert entered.wait(5)
    thread.join()
    with lock.locked(path, timeout_s=0):
        pass
