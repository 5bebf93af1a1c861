"""FakeKernel: its table, its hooks, its monitor, and the rules of the kernel that plans lean on.

That these rules are the kernel's own is certified elsewhere (tests/kernel/test_certify_fake.py).
"""

from __future__ import annotations

import errno
from textwrap import dedent

import pytest

from windrow.model.bonding import BondMode
from windrow.model.host import OWNER_GROUP, Bond, Bridge, Route, VlanIf
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
from windrow.model.values import Cidr, IfName, VidSet
from windrow.testing.builders import link, ports, step
from windrow.testing.fake import Crashed, FakeKernel

BO, BR = IfName("oob-bo"), IfName("oob-br")


def kernel_with(*nics: str, up: bool = False) -> FakeKernel:
    kernel = FakeKernel()
    for number, nic in enumerate(nics):
        kernel.add_nic(nic, mac=f"02:00:00:00:00:{number + 1:02x}", up=up)
    return kernel


def do(kernel: FakeKernel, *pairs: tuple[str, Action]) -> None:
    for name, action in pairs:
        assert kernel.run([step(name, action)]) is None, (name, action)


def refused(kernel: FakeKernel, name: str, action: Action) -> int:
    failure = kernel.run([step(name, action)])
    return failure.errno if failure else 0


def uplink(mode: BondMode = BondMode.ACTIVE_BACKUP) -> FakeKernel:
    """eth1 and eth2 in oob-bo in oob-br, all up, VLAN 100 on it."""
    kernel = kernel_with("eth1", "eth2")
    do(
        kernel,
        (BO, CreateLink(link(BO, Bond(mode=mode, miimon=100)))),
        (BR, CreateLink(link(BR, Bridge(vlan_filtering=True), mtu=1500, mac="02:00:00:00:00:01"))),
        ("eth1", SetMaster(BO)),
        ("eth2", SetMaster(BO)),
        (BO, SetMaster(BR)),
        (BO, SetVlans(add=ports("100"))),
        (BO, SetLink(up=True)),
        (BR, SetLink(up=True)),
    )
    kernel.journal.clear()
    kernel.interruptions.clear()
    return kernel


# -- the table ---------------------------------------------------------------------------------------


def test_it_prints_itself() -> None:
    kernel = uplink()
    do(kernel, ("oob-br.100", CreateLink(link("oob-br.100", VlanIf(parent=BR, vid=100)))))
    do(kernel, ("oob-br.100", SetLink(up=True)), ("oob-br.100", AddAddr(Cidr("10.0.0.1/24"))))
    kernel.add_route(Route(dst="default", dev=IfName("oob-br.100"), gateway="10.0.0.254"))
    kernel.pull("eth2")
    assert str(kernel) == dedent(
        """\
        eth1        device  up          1500  02:00:00:00:00:01  in oob-bo
        eth2        device  no-carrier  1500  02:00:00:00:00:01  in oob-bo
        oob-bo      bond    up          1500  02:00:00:00:00:01  in oob-br  ours, active-backup miimon=100, vlans 1* 100
        oob-br      bridge  up          1500  02:00:00:00:00:01             ours, filtering, self 1*
        oob-br.100  vlan    up          1500  02:00:00:00:00:01  on oob-br  ours, vid 100, 10.0.0.1/24
        route 10.0.0.0/24 dev oob-br.100
        route default via 10.0.0.254 dev oob-br.100
        sysctl net.bridge.bridge-nf-call-arptables = 1
        sysctl net.bridge.bridge-nf-call-ip6tables = 1
        sysctl net.bridge.bridge-nf-call-iptables = 1
        """
    )


def test_what_windrow_creates_is_marked_and_what_others_add_is_not() -> None:
    kernel = uplink().add(link("docker0", Bridge(), up=True))
    observed = kernel.observe()
    assert observed.runtime[BO].group == OWNER_GROUP
    assert observed.owned(BR)
    assert not observed.owned("docker0")
    assert not observed.owned("eth1")
    assert set(kernel.nics()) == {"eth1", "eth2"}
    assert kernel.nics()[IfName("eth2")].mac == "02:00:00:00:00:02"  # the permanent one, not the bond's


# -- bonds -------------------------------------------------------------------------------------------


def test_a_nic_that_is_up_is_refused_and_is_then_in_no_master() -> None:
    kernel = kernel_with("eth1", up=True)
    do(kernel, (BR, CreateLink(link(BR, Bridge()))), (BO, CreateLink(link(BO, Bond()))), ("eth1", SetMaster(BR)))
    assert refused(kernel, "eth1", SetMaster(BO)) == errno.EPERM
    assert kernel.observe().state.links[IfName("eth1")].master == ""


def test_a_slave_gets_mtu_and_mac_of_the_bond_and_its_own_back() -> None:
    kernel = kernel_with("eth1", "eth2")
    do(kernel, (BO, CreateLink(link(BO, Bond(miimon=100), mtu=9000))), ("eth1", SetMaster(BO)), ("eth2", SetMaster(BO)))
    eth2 = kernel.observe().state.links[IfName("eth2")]
    assert (eth2.up, eth2.mtu, eth2.mac) == (True, 9000, "02:00:00:00:00:01")
    do(kernel, (BO, DeleteLink()))
    eth2 = kernel.observe().state.links[IfName("eth2")]
    assert (eth2.up, eth2.mtu, eth2.mac, eth2.master) == (False, 1500, "02:00:00:00:00:02", "")


def test_a_bond_that_lost_its_last_slave_has_a_random_mac_even_if_one_was_set() -> None:
    kernel = kernel_with("eth1")
    do(kernel, (BO, CreateLink(link(BO, Bond(), mac="02:00:00:00:00:aa"))), ("eth1", SetMaster(BO)))
    assert kernel.observe().state.links[BO].mac == "02:00:00:00:00:aa"
    do(kernel, ("eth1", SetMaster(None)))
    assert kernel.observe().state.links[BO].mac != "02:00:00:00:00:aa"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (Bond(mode=BondMode.BALANCE_RR), errno.ENOTEMPTY),
        (Bond(fail_over_mac="active"), errno.ENOTEMPTY),
        (Bond(ad_select="count"), errno.EBUSY),
        (Bond(lacp_rate="fast"), errno.EACCES),
        (Bond(packets_per_slave=2), errno.EACCES),
        (Bond(num_peer_notif=256), errno.EINVAL),
        (Bond(miimon=100, arp_interval=100), errno.EINVAL),
        (Bond(miimon=0, updelay=100), errno.EPERM),
        (Bond(xmit_hash_policy="layer3+4"), 0),
        (Bond(miimon=50, updelay=120), 0),
    ],
)
def test_bond_options_that_are_refused_while_it_works(options: Bond, code: int) -> None:
    assert refused(uplink(), BO, SetBond(options)) == code


def test_delays_are_multiples_of_miimon_and_follow_it() -> None:
    kernel = uplink()
    do(kernel, (BO, SetBond(Bond(updelay=250))))
    assert bond(kernel).updelay == 200
    do(kernel, (BO, SetBond(Bond(miimon=50))))
    assert bond(kernel).updelay == 100


def test_a_primary_is_remembered_before_it_is_there() -> None:
    kernel = kernel_with("eth1", "eth2")
    do(kernel, (BO, CreateLink(link(BO, Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100)))), ("eth1", SetMaster(BO)))
    do(kernel, (BO, SetBond(Bond(primary="eth2"))))
    assert bond(kernel).primary == ""
    do(kernel, ("eth2", SetMaster(BO)))
    assert bond(kernel).primary == "eth2"
    assert kernel.observe().runtime[BO].active_slave == "eth2"


def bond(kernel: FakeKernel) -> Bond:
    found = kernel.observe().state.links[BO].spec
    assert isinstance(found, Bond)
    return found


# -- bridges and VLANs -------------------------------------------------------------------------------


def test_a_port_that_leaves_forgets_its_vlans() -> None:
    kernel = uplink()
    do(kernel, (BO, SetMaster(None)))
    assert kernel.observe().state.links[BO].vlans is None
    assert refused(kernel, BO, SetVlans(add=ports("100"))) == errno.EOPNOTSUPP
    do(kernel, (BO, SetMaster(BR)))
    assert kernel.observe().state.links[BO].vlans == ports("1*")


def test_filtering_off_and_on_keeps_the_vlans() -> None:
    kernel = uplink()
    do(kernel, (BR, SetBridge(Bridge(vlan_filtering=False))), (BR, SetBridge(Bridge(vlan_filtering=True))))
    assert kernel.observe().state.links[BO].vlans == ports("1* 100")


def test_writing_the_pvid_without_its_flag_takes_it_away() -> None:
    kernel = uplink()
    do(kernel, (BO, SetVlans(add=ports("1"), remove=VidSet.of([55]))))
    assert kernel.observe().state.links[BO].vlans == ports("1 100")


def test_a_bridge_follows_the_mtu_of_its_ports_until_it_is_given_one() -> None:
    kernel = kernel_with("eth1", "eth2")
    do(kernel, ("loose", CreateLink(link("loose", Bridge()))), ("set", CreateLink(link("set", Bridge(), mtu=1500))))
    do(kernel, ("eth1", SetMaster(IfName("loose"))), ("eth2", SetMaster(IfName("set"))))
    do(kernel, ("eth1", SetLink(mtu=1400)), ("eth2", SetLink(mtu=1400)))
    links = kernel.observe().state.links
    assert (links[IfName("loose")].mtu, links[IfName("set")].mtu) == (1400, 1500)


def test_a_bridge_that_lost_its_ports_has_no_mac_and_its_new_vlan_interfaces_never_come_up() -> None:
    kernel = kernel_with("eth1", up=True)
    do(kernel, (BR, CreateLink(link(BR, Bridge()))), ("eth1", SetMaster(BR)), ("eth1", SetMaster(None)))
    do(kernel, (BR, SetLink(up=True)), ("v", CreateLink(link("v", VlanIf(parent=BR, vid=5)))))
    assert kernel.observe().state.links[BR].mac == "00:00:00:00:00:00"
    assert refused(kernel, "v", SetLink(up=True)) == errno.EADDRNOTAVAIL


def test_vlan_interfaces_obey_their_parent() -> None:
    kernel = kernel_with()
    do(kernel, (BR, CreateLink(link(BR, Bridge(), mtu=1400))))
    assert refused(kernel, "v", CreateLink(link("v", VlanIf(parent=BR, vid=5), mtu=1500))) == errno.EINVAL
    do(kernel, ("v", CreateLink(link("v", VlanIf(parent=BR, vid=5)))))
    assert refused(kernel, "v", SetLink(mtu=1500)) == errno.ERANGE
    assert refused(kernel, "v", SetLink(up=True)) == errno.ENETDOWN
    assert refused(kernel, "w", CreateLink(link("w", VlanIf(parent=BR, vid=5)))) == errno.EEXIST
    do(kernel, (BR, SetLink(up=True)))
    assert kernel.observe().state.links[IfName("v")].up
    do(kernel, (BR, SetLink(mtu=1300)), (BR, SetLink(up=False)))
    v = kernel.observe().state.links[IfName("v")]
    assert (v.up, v.mtu) == (False, 1300)
    do(kernel, (BR, DeleteLink()))
    assert set(kernel.observe().state.links) == set()


def test_a_link_that_is_up_cannot_be_renamed() -> None:
    kernel = uplink()
    assert refused(kernel, BO, RenameLink(IfName("x"))) == errno.EBUSY
    do(kernel, (BO, SetLink(up=False)))
    assert refused(kernel, BO, RenameLink(BR)) == errno.EEXIST
    do(kernel, (BO, RenameLink(IfName("x"))))
    assert kernel.observe().state.links[IfName("eth1")].master == "x"


# -- addresses ---------------------------------------------------------------------------------------


def test_with_a_networks_first_address_go_its_others() -> None:
    kernel = kernel_with("eth1", up=True)
    do(kernel, *(("eth1", AddAddr(Cidr(a))) for a in ("10.0.0.1/24", "10.0.0.2/24", "10.1.0.1/24")))
    do(kernel, ("eth1", DelAddr(Cidr("10.0.0.1/24"))))
    assert kernel.observe().state.links[IfName("eth1")].addrs == {"10.1.0.1/24"}
    assert refused(kernel, "eth1", DelAddr(Cidr("10.0.0.1/24"))) == errno.EADDRNOTAVAIL


def test_down_takes_routes_and_ipv6_and_leaves_ipv4_addresses() -> None:
    kernel = kernel_with("eth1", up=True)
    do(kernel, ("eth1", AddAddr(Cidr("10.0.0.1/24"))), ("eth1", AddAddr(Cidr("fd00::1/64"))))
    kernel.add_route(Route(dst="default", dev=IfName("eth1"), gateway="10.0.0.254"))
    do(kernel, ("eth1", SetLink(up=False)))
    observed = kernel.observe()
    assert observed.state.routes == frozenset()
    assert observed.state.links[IfName("eth1")].addrs == {"10.0.0.1/24"}


# -- bursts and hooks --------------------------------------------------------------------------------


def test_within_a_burst_the_kernel_goes_on_after_a_failure() -> None:
    kernel = kernel_with("eth1")
    failure = kernel.run([step("eth1", SetLink(mtu=1)), step("eth1", SetLink(promisc=True))])
    assert failure is not None
    assert failure.errno == errno.EINVAL
    assert kernel.observe().state.links[IfName("eth1")].promisc


def test_what_needs_a_link_of_the_same_burst_waits_for_it() -> None:
    kernel = kernel_with("eth1")
    burst = [step(BO, CreateLink(link(BO, Bond()))), step("eth1", SetMaster(BO))]
    kernel.fail_at(1, errno.EEXIST)
    failure = kernel.run(burst)
    assert failure is not None
    assert (failure.step, failure.errno) == (burst[0], errno.EEXIST)
    assert kernel.run(burst) is None
    assert kernel.journal == burst


def test_a_link_that_is_not_there_stops_the_burst_before_it_is_sent() -> None:
    kernel = kernel_with("eth1")
    failure = kernel.run([step("eth1", SetLink(up=True)), step("eth1", SetMaster(BO))])
    assert failure is not None
    assert failure.errno == errno.ENODEV
    assert kernel.journal == []


def test_bad_vlans_are_refused_before_anything_is_sent() -> None:
    kernel = uplink()
    failure = kernel.run([step(BO, SetLink(mtu=1400)), step(BO, SetVlans(add=ports("5"), remove=VidSet.of([5])))])
    assert failure is not None
    assert failure.errno == errno.EINVAL
    assert kernel.journal == []


def test_crash_after_some_steps() -> None:
    kernel = kernel_with("eth1")
    kernel.crash_after(1)
    steps = [step("eth1", SetLink(up=True)), step("eth1", SetLink(mtu=1400))]
    with pytest.raises(Crashed):
        kernel.run(steps)
    assert kernel.journal == steps[:1]
    kernel.recover()
    assert kernel.run(steps) is None


def test_sysctls_and_carrier() -> None:
    kernel = uplink()
    do(kernel, ("", SetSysctl("net.bridge.bridge-nf-call-iptables", "0")), (BO, AwaitCarrier(1)))
    assert refused(kernel, "", SetSysctl("net.nothing", "0")) == errno.ENOENT
    kernel.pull("eth1")
    kernel.pull("eth2")
    assert refused(kernel, BO, AwaitCarrier(1)) == errno.ETIMEDOUT
    kernel.plug("eth1")
    do(kernel, (BO, AwaitCarrier(1)))


# -- the monitor -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "action", "cost"),
    [
        (BO, SetBond(Bond(miimon=50, xmit_hash_policy="layer2+3")), []),
        (BO, SetLink(mtu=9000, txqlen=5), []),
        (BO, SetVlans(add=ports("200 201")), []),
        ("eth2", SetMaster(None), []),
        ("eth1", SetMaster(None), ["eth1: carries nothing any more", "oob-bo: a path is gone"]),
        (BO, SetVlans(remove=VidSet.of([100])), ["oob-bo: lost VLANs 100"]),
        (BO, SetLink(mtu=1400), ["eth1: MTU lowered", "oob-bo: MTU lowered"]),
        (BR, SetLink(mac="02:00:00:00:00:99"), ["oob-br: MAC changed"]),
        (BR, SetBridge(Bridge(vlan_filtering=False)), ["oob-br: VLAN filter switched"]),
        (BO, SetLink(up=False), [f"{n}: carries nothing any more" for n in ("eth1", "oob-bo", "oob-br")]),
    ],
)
def test_what_a_step_costs_the_frames_of_others(name: str, action: Action, cost: list[str]) -> None:
    kernel = uplink()
    do(kernel, (name, action))
    assert [str(i) for i in kernel.interruptions] == cost


def test_in_a_balancing_mode_every_slave_carries() -> None:
    kernel = uplink(BondMode.BALANCE_XOR)
    do(kernel, ("eth2", SetMaster(None)))
    assert [str(i) for i in kernel.interruptions] == ["eth2: carries nothing any more", "oob-bo: a path is gone"]
