"""Every action, seen to work and seen to fail with the kernel's errno and words."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from windrow.model.bonding import BondMode
from windrow.model.bridging import FRESH_BRIDGE
from windrow.model.host import FRESH_VLAN_FLAGS, OWNER_GROUP, Bond, Bridge, Link, Other, PortVlans, VlanIf
from windrow.model.marks import mark_of
from windrow.model.steps import (
    Action,
    AddAddr,
    AwaitCarrier,
    CreateLink,
    DelAddr,
    DeleteLink,
    RenameLink,
    SetBond,
    SetBridge,
    SetLink,
    SetMaster,
    SetSysctl,
    SetVlans,
)
from windrow.model.values import Cidr, IfName, Mac, VidSet
from windrow.netlink import links
from windrow.netlink.sock import RTM_DELLINK, Message

Ns = Any
MAC = Mac("02:00:00:00:00:01")


def named(name: str, **fields: Any) -> Link:
    return Link(name=IfName(name), **fields)


def dummies(ns: Ns, *names: str) -> None:
    ns.run(*(links.create(name, "dummy") for name in names))


def test_a_cluster_network_in_one_burst(ns: Ns) -> None:
    """Each link depends on the one before; the burst is cut where an ifindex is needed."""
    dummies(ns, "n0", "n1")
    ns.do(
        ("oob-bo", CreateLink(named("oob-bo", spec=Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100), mtu=9000, mac=MAC))),
        ("oob-br", CreateLink(named("oob-br", spec=Bridge(vlan_filtering=True, ageing=60), mtu=9000, mac=MAC))),
        ("n0", SetMaster(IfName("oob-bo"))),
        ("n1", SetMaster(IfName("oob-bo"))),
        ("oob-bo", SetBond(Bond(primary="n1"))),
        ("oob-bo", SetMaster(IfName("oob-br"))),
        ("oob-br.7", CreateLink(named("oob-br.7", spec=VlanIf(parent=IfName("oob-br"), vid=7), mtu=1400))),
        ("oob-bo", SetVlans(add=PortVlans(tagged=VidSet.parse("7,100-200")))),
        ("oob-br", SetVlans(add=PortVlans(tagged=VidSet.of([7])), on_self=True)),
        ("oob-br", SetLink(up=True, promisc=True)),
        ("oob-bo", SetLink(up=True, txqlen=77)),
        ("oob-br.7", SetLink(up=True)),
        ("oob-br.7", AddAddr(Cidr("10.0.0.1/24"))),
        ("oob-br", AwaitCarrier(5000)),
    )
    seen = ns.kernel.observe()
    bond, bridge, vlan = (seen.state.links[IfName(name)] for name in ("oob-bo", "oob-br", "oob-br.7"))
    assert (bond.mtu, bond.mac, bond.master, bond.txqlen, bond.up) == (9000, MAC, "oob-br", 77, True)
    assert (bond.spec.primary, bond.spec.mode, bond.spec.miimon) == ("n1", BondMode.ACTIVE_BACKUP, 100)
    assert bond.vlans == PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.parse("7,100-200"))
    assert (bridge.mtu, bridge.mac, bridge.promisc, bridge.up) == (9000, MAC, True, True)
    assert bridge.spec == replace(FRESH_BRIDGE, vlan_filtering=True, ageing=60)
    assert bridge.self_vlans == PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.of([7]))
    assert (vlan.spec, vlan.mtu, vlan.addrs) == (
        VlanIf(parent=IfName("oob-br"), vid=7, flags=FRESH_VLAN_FLAGS),
        1400,
        {"10.0.0.1/24"},
    )
    assert {seen.runtime[name].group for name in (bond.name, bridge.name, vlan.name)} == {OWNER_GROUP}
    assert all(seen.owned(name) for name in ("oob-bo", "oob-br", "oob-br.7"))
    assert not seen.owned("n0")


def test_a_created_bridge_keeps_its_mtu(ns: Ns) -> None:
    dummies(ns, "n0")
    ns.do(
        ("br", CreateLink(named("br", spec=Bridge(), mtu=1500))),
        ("n0", SetLink(mtu=1300)),
        ("n0", SetMaster(IfName("br"))),
    )
    assert ns.link("br").mtu == 1500


def test_delete_rename_and_take_the_name(ns: Ns) -> None:
    ns.do(
        ("a", CreateLink(named("a", spec=Bridge()))),
        ("b", CreateLink(named("b", spec=Bridge(stp=True)))),
        ("a", DeleteLink()),
        ("b", RenameLink(IfName("a"))),
        ("a", SetLink(up=True)),
        ("a", AddAddr(Cidr("10.0.0.1/24"))),
    )
    state = ns.kernel.observe().state
    assert set(state.links) == {"lo", "a"}
    assert (state.links[IfName("a")].spec.stp, state.links[IfName("a")].addrs) == (True, {"10.0.0.1/24"})


def test_addresses_come_and_go(ns: Ns) -> None:
    dummies(ns, "n0")
    ns.do(("n0", SetLink(up=True)))
    cidrs = [Cidr("10.0.0.1/24"), Cidr("10.0.0.2/24"), Cidr("fd00::1/64")]
    ns.do(*(("n0", AddAddr(cidr)) for cidr in cidrs))
    ns.do(*(("n0", AddAddr(cidr)) for cidr in cidrs))
    assert ns.link("n0").addrs == set(cidrs)
    ns.do(("n0", DelAddr(cidrs[1])), ("n0", DelAddr(cidrs[2])))
    assert ns.link("n0").addrs == {"10.0.0.1/24"}
    failure = ns.try_(("n0", DelAddr(cidrs[1])))
    assert failure is not None
    assert failure.errno == errno.EADDRNOTAVAIL


def test_options_of_a_bridge_and_leaving_it(ns: Ns) -> None:
    dummies(ns, "n0")
    ns.do(("br", CreateLink(named("br", spec=Bridge()))), ("n0", SetMaster(IfName("br"))))
    ns.do(("br", SetBridge(Bridge(vlan_filtering=True, stp=True, ageing=10))), ("n0", SetMaster(None)))
    assert ns.link("br").spec == replace(FRESH_BRIDGE, vlan_filtering=True, stp=True, ageing=10)
    assert ns.link("n0").master == ""
    ns.do(("br", SetBridge(Bridge(stp=False))))
    assert ns.link("br").spec == replace(FRESH_BRIDGE, vlan_filtering=True, stp=False, ageing=10)


def test_what_is_none_stays(ns: Ns) -> None:
    dummies(ns, "n0")
    ns.do(("n0", SetLink(up=True, mtu=1400, mac=MAC, txqlen=5, promisc=True)))
    before = ns.link("n0")
    assert (before.up, before.mtu, before.mac, before.txqlen, before.promisc) == (True, 1400, MAC, 5, True)
    ns.do(("n0", SetLink()), ("n0", SetLink(mtu=1400)))
    assert ns.link("n0") == before
    ns.do(("n0", SetLink(promisc=False)))
    assert (ns.link("n0").promisc, ns.link("n0").up) == (False, True)


def test_vlans_change_in_one_step(ns: Ns) -> None:
    """The PVID moves, a VID changes from tagged to untagged, others go."""
    dummies(ns, "n0")
    ns.do(("br", CreateLink(named("br", spec=Bridge(vlan_filtering=True)))), ("n0", SetMaster(IfName("br"))))
    ns.do(("n0", SetVlans(add=PortVlans(tagged=VidSet.parse("10-20")))))
    want = PortVlans(pvid=10, untagged=VidSet.parse("10,12"), tagged=VidSet.parse("11,13-15,4094"))
    gone = VidSet.parse("1,16-20")
    ns.do(("n0", SetVlans(add=want, remove=gone)))
    assert ns.link("n0").vlans == want
    ns.do(("n0", SetVlans(add=want, remove=gone)))
    assert ns.link("n0").vlans == want
    ns.do(("n0", SetVlans(add=PortVlans(tagged=VidSet.of([10])))))
    assert ns.link("n0").vlans == PortVlans(untagged=VidSet.of([12]), tagged=VidSet.parse("10-11,13-15,4094"))


@pytest.mark.parametrize(
    "bad",
    [
        SetVlans(add=PortVlans(tagged=VidSet.of([0, 5]))),
        SetVlans(remove=VidSet(1 << 4095)),
        SetVlans(add=PortVlans(tagged=VidSet.of([5]), untagged=VidSet.of([5]))),
        SetVlans(add=PortVlans(pvid=7, tagged=VidSet.of([5]))),
        SetVlans(add=PortVlans(tagged=VidSet.of([5])), remove=VidSet.of([5])),
    ],
    ids=["VID 0", "VID 4095", "both", "PVID without VID", "add and remove"],
)
def test_bad_vlans_are_refused_before_anything_is_sent(ns: Ns, bad: SetVlans) -> None:
    failure = ns.try_(("br", CreateLink(named("br", spec=Bridge()))), ("br", bad))
    assert failure is not None
    assert (failure.errno, failure.step.action) == (errno.EINVAL, bad)
    assert "br" not in ns.kernel.observe().state.links


@pytest.mark.parametrize(
    ("link", "action", "code"),
    [
        ("gone", SetLink(up=True), errno.ENODEV),
        ("gone", AddAddr(Cidr("10.0.0.1/24")), errno.ENODEV),
        ("gone", SetVlans(add=PortVlans(tagged=VidSet.of([5]))), errno.ENODEV),
        ("gone", AwaitCarrier(10), errno.ENODEV),
        ("n0", SetMaster(IfName("gone")), errno.ENODEV),
        ("n0", SetVlans(add=PortVlans(tagged=VidSet.of([5]))), errno.EOPNOTSUPP),
        ("bo", SetLink(mtu=67), errno.EINVAL),
        ("n0", SetLink(mtu=-1), errno.EINVAL),
        ("n0", SetLink(mac="nonsense"), errno.EINVAL),
        ("n0", AddAddr(Cidr("nonsense")), errno.EINVAL),
        ("n0", RenameLink(IfName("lo")), errno.EEXIST),
        ("n0", CreateLink(named("n0", spec=Bridge())), errno.EEXIST),
        ("x", CreateLink(named("x", spec=Other(kind="device"))), errno.EOPNOTSUPP),
        ("x", CreateLink(named("x", spec=VlanIf(parent=IfName("gone"), vid=7))), errno.ENODEV),
        ("x", CreateLink(named("x", spec=VlanIf(parent=IfName("n0"), vid=4095))), errno.ERANGE),
        ("x", CreateLink(named("x", spec=Bond(mode=BondMode.LACP, lacp_rate="quick"))), errno.EINVAL),
        ("bo", SetBond(Bond(lacp_rate="fast")), errno.EACCES),
        ("", SetSysctl("net.ipv4.no_such_key", "1"), errno.ENOENT),
        ("", SetSysctl("net.ipv4.ip_forward", "nonsense"), errno.EINVAL),
        ("", SetSysctl("net/../../../etc/passwd", "1"), errno.EINVAL),
    ],
)
def test_failures_carry_the_errno(ns: Ns, link: str, action: Action, code: int) -> None:
    dummies(ns, "n0")
    ns.run(links.create("bo", "bond", data={"mode": 1}))
    failure = ns.try_((link, action))
    assert failure is not None
    assert failure.step.action == action
    assert errno.errorcode[failure.errno] == errno.errorcode[code], failure
    assert failure.reason


def test_failures_carry_the_kernels_words(ns: Ns) -> None:
    dummies(ns, "n0")
    ns.run(links.create("bo", "bond", data={"mode": 1}))
    failure = ns.try_(("bo", SetBond(Bond(lacp_rate="fast"))))
    assert failure is not None
    assert failure.extack == "option not supported in mode"
    failure = ns.try_(("bo", SetLink(mtu=67)))
    assert failure is not None
    assert failure.extack == "mtu less than device minimum"
    failure = ns.try_(("v", CreateLink(named("v", spec=VlanIf(parent=IfName("lo"), vid=7)))))
    assert failure is not None
    assert failure.extack == "8021q: VLANs not supported on device"


def test_after_a_failure_nothing_more_is_sent_but_its_burst_was(ns: Ns) -> None:
    failure = ns.try_(
        ("gone", SetLink(up=True)),
        ("a", CreateLink(named("a", spec=Bridge()))),
        ("a", AddAddr(Cidr("10.0.0.1/24"))),
        ("b", CreateLink(named("b", spec=Bridge()))),
    )
    assert failure is not None
    assert failure.step.link == "gone"
    assert set(ns.kernel.observe().state.links) == {"lo", "a"}


def test_sysctls_of_the_right_namespace(ns: Ns, new_ns: Callable[[], Ns]) -> None:
    other = new_ns()
    dummies(ns, "n0.7")
    key, flag = "net/ipv4/conf/n0.7/rp_filter", "net.ipv4.ip_forward"
    ns.do(("", SetSysctl(flag, "1")), ("", SetSysctl(key, "2")))
    assert ns.kernel.observe([flag, key, "net.no.such"]).state.sysctls == {flag: "1", key: "2"}
    assert other.kernel.observe([flag, key]).state.sysctls == {flag: "0"}


def test_awaiting_carrier(ns: Ns) -> None:
    ns.run(links.veth(links.End(name="a"), links.End(name="b"), up=True))
    start = time.monotonic()
    failure = ns.try_(("a", AwaitCarrier(50)))
    assert failure is not None
    assert (failure.errno, time.monotonic() - start < 2) == (errno.ETIMEDOUT, True)
    assert "no carrier within 0.05 s" in failure.reason
    ns.do(("b", SetLink(up=True)), ("a", AwaitCarrier(2000)))
    assert ns.runtime("a").carrier


# Deleting several ------------------------------------------------------------------------------------


def made(ns: Ns, count: int) -> list[str]:
    names = [f"v{n}" for n in range(count)]
    ns.do(
        ("br", CreateLink(named("br", spec=Bridge()))),
        *((n, CreateLink(named(n, spec=VlanIf(parent=IfName("br"), vid=10 + i)))) for i, n in enumerate(names)),
    )
    return names


def deletions(ns: Ns, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said to the kernel when links are deleted."""
    said: list[str] = []
    burst = ns.rtnl.burst

    def heard(messages: list[Message]) -> object:
        said.extend(m.doing for m in messages if m.type == RTM_DELLINK)
        return burst(messages)

    monkeypatch.setattr(type(ns.rtnl), "burst", lambda _, messages: heard(messages))
    return said


def test_links_that_go_one_after_the_other_go_in_one_request(ns: Ns, monkeypatch: pytest.MonkeyPatch) -> None:
    names = made(ns, 5)
    said = deletions(ns, monkeypatch)
    assert ns.try_(*((name, DeleteLink()) for name in [*names, "br"])) is None
    assert not {*names, "br"} & ns.kernel.observe().state.links.keys()
    assert len(said) == 1
    assert said[0].startswith("delete group")


def test_one_that_is_gone_already_stops_none_of_the_others(ns: Ns) -> None:
    names = made(ns, 3)
    ns.run(links.delete("v1"))
    assert ns.try_(*((name, DeleteLink()) for name in names)) is None
    assert not set(names) & ns.kernel.observe().state.links.keys()


def test_what_the_kernel_refuses_is_told_and_keeps_its_mark(ns: Ns) -> None:
    """A NIC cannot be deleted, and then the kernel deletes none of its group (`rtnl_group_dellink`: EOPNOTSUPP)."""
    names = made(ns, 2)
    ns.run(links.add_altname("lo", mark_of("lo")), links.set_link("lo", group=links.OWNER_GROUP))
    failure = ns.try_(*((name, DeleteLink()) for name in ("v0", "lo", "v1")))
    assert failure is not None
    assert (failure.step.link, failure.errno) == ("lo", errno.EOPNOTSUPP)
    assert not set(names) & ns.kernel.observe().state.links.keys()
    assert ns.runtime("lo").group == links.OWNER_GROUP


def test_a_link_without_its_second_mark_is_deleted_by_itself(ns: Ns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group is all that says whose it is."""
    names = made(ns, 3)
    ns.run(links.delete_altname("v1", mark_of("v1")))
    said = deletions(ns, monkeypatch)
    assert ns.try_(*((name, DeleteLink()) for name in names)) is None
    assert not set(names) & ns.kernel.observe().state.links.keys()
    assert sorted(words.split()[1] for words in said) == ["group", "link"]
