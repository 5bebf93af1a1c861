"""Who else has an address, asked on a real kernel without setting it."""

from __future__ import annotations

from collections.abc import Callable

from tests.kernel.conftest import Ns

from windrow.model.steps import AddAddr
from windrow.model.values import Cidr, IfName
from windrow.netlink import links
from windrow.netlink.claims import holders

NIC = IfName("eth0")


def test_who_has_an_address_is_found_and_nothing_is_set(new_ns: Callable[[], Ns]) -> None:
    ns, there = new_ns(), new_ns()
    ns.run(links.veth(links.End(name=NIC), links.End(name=NIC, netns=there.fd)), links.set_link(NIC, up=True))
    there.run(links.set_link(NIC, up=True))
    there.do((NIC, AddAddr(Cidr("10.0.0.1/24"))))
    there.run(links.add_addr(there.index(NIC), "2001:db8::1/64", nodad=True))
    asked = [(NIC, one) for one in ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2")]
    before, mac = ns.link(NIC), there.link(NIC).mac
    assert holders(ns.fd, [*asked, (IfName("gone"), "10.0.0.1")]) == {asked[0]: mac, asked[2]: mac}
    assert ns.link(NIC) == before
