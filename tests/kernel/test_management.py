"""The management network made of a plain host's NIC, and undone: the plan alone, on both kernels."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.kernel.conftest import Ns

from windrow.apps.engine import execute, look
from windrow.compile import compile_node
from windrow.model.cluster import Cluster
from windrow.model.host import OWNER_PROTOCOL, HostState, Observed, Route, settled_metric
from windrow.model.meta import Meta
from windrow.model.names import ANNOTATION_MANAGED
from windrow.model.steps import AddAddr, AddRoute, DelRoute, Impact, Plan, SetLink
from windrow.model.values import Cidr, IfName
from windrow.netlink import links
from windrow.plan import make_plan, normalise
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

NODE = "n1"
DEFAULT = Route(dst="default", dev=IfName("eth0"), gateway="192.0.2.1", protocol=3)
EXTRA = Route(dst="198.51.100.0/24", dev=IfName("eth0"), gateway="192.0.2.2", metric=50, protocol=4)


def fake(_: Ns) -> Any:
    kernel = FakeKernel().add_nic("eth0", up=True).add_nic("eth1", up=True)
    kernel.machine.add_addr(kernel.machine.get("eth0"), "192.0.2.10/24")
    return kernel.add_route(DEFAULT).add_route(EXTRA)


def real(ns: Ns) -> Any:
    for name in ("eth0", "eth1"):
        ns.run(
            links.veth(links.End(name=name), links.End(name=f"{name}x")),
            links.set_link(name, up=True),
            links.set_link(f"{name}x", up=True),
        )
    index = ns.index("eth0")
    ns.run(
        links.add_addr(index, Cidr("192.0.2.10/24")),
        links.add_route(DEFAULT, index),
        links.add_route(EXTRA, index),
    )
    return ns.kernel


@pytest.fixture(params=[fake, real])
def kernel(request: pytest.FixtureRequest, ns: Ns) -> Any:
    make: Callable[[Ns], Any] = request.param
    return make(ns)


def wanted(kernel: Any, *nics: str) -> tuple[HostState, Any]:
    """`mgmt` on these NICs, the address on VLAN 5, and two routes."""
    config = builders.vlan_config("mgmt", nics)
    config = replace(config, meta=Meta(name="mgmt", annotations={ANNOTATION_MANAGED: "true"}))
    address = builders.host_network("mgmt", 5, {NODE: "192.0.2.10/24"})
    sight = look(kernel, NODE)
    compiled = compile_node(Cluster.of([config, address]), sight.facts)
    ours = {replace(r, dev=IfName("mgmt-br.5"), protocol=OWNER_PROTOCOL) for r in (DEFAULT, EXTRA)}
    return replace(compiled.state, routes=frozenset(ours)), sight


def plan(kernel: Any, want: HostState, *, consent: bool = True) -> Plan:
    sight = look(kernel, NODE)
    return make_plan(want, sight.observed, protected=sight.facts.protected, consent=consent)


def run(kernel: Any, want: HostState) -> None:
    outcome = execute(plan(kernel, want), kernel)
    assert outcome.ok, outcome.failures
    left = plan(kernel, want)
    assert left.empty, left


def settled(observed: Observed) -> Any:
    """What an undo returns: the links but for what moves by itself, the addresses, the routes."""
    state = observed.state
    links_ = {n: (k.kind, k.up, k.mtu, k.mac, k.master, k.addrs) for n, k in state.links.items() if not n.endswith("x")}
    return links_, {r for r in state.routes if not r.dst.startswith("fe80") and r.dev != "lo"}


def test_the_address_and_the_routes_move_to_the_bridge_and_back(kernel: Any) -> None:
    before = kernel.observe()
    want, _ = wanted(kernel, "eth0", "eth1")
    snapshot = normalise(before, frozenset({IfName("eth0"), IfName("eth1")}))
    made = plan(kernel, want)
    assert made.impact is Impact.FLAP
    run(kernel, want)
    now = kernel.observe().state
    mac = before.state.links[IfName("eth0")].mac
    assert now.links[IfName("mgmt-br")].mac == now.links[IfName("mgmt-br.5")].mac == mac
    assert now.links[IfName("eth0")].addrs == frozenset()
    assert now.links[IfName("mgmt-br.5")].addrs == {"192.0.2.10/24"}
    defaults = [r for r in now.routes if r.dst == "default"]
    assert [(r.dev, r.gateway) for r in defaults] == [("mgmt-br.5", "192.0.2.1")]
    run(kernel, snapshot)
    assert settled(kernel.observe()) == settled(before)


def test_without_consent_nothing_is_done(kernel: Any) -> None:
    before = settled(kernel.observe())
    want, _ = wanted(kernel, "eth0", "eth1")
    refused = plan(kernel, want, consent=False)
    assert not [s for s in refused.steps if s.link]
    assert {"protected", "nic-has-addresses"} <= {p.code for p in refused.refusals}
    assert settled(kernel.observe()) == before


def test_another_gateway_comes_before_the_old_one_goes(kernel: Any) -> None:
    want, _ = wanted(kernel, "eth0", "eth1")
    run(kernel, want)
    other = replace(DEFAULT, dev=IfName("mgmt-br.5"), gateway="192.0.2.254", protocol=OWNER_PROTOCOL)
    kept = frozenset(r for r in want.routes if r.dst != "default")
    changed = replace(want, routes=kept | {other})
    made = plan(kernel, changed)
    assert [type(s.action).__name__ for s in made.steps] == ["AddRoute", "DelRoute"]
    assert plan(kernel, changed, consent=False).refusals
    run(kernel, changed)
    assert [r.gateway for r in kernel.observe().state.routes if r.dst == "default"] == ["192.0.2.254"]


def test_routes_of_others_beside_ours_stay(kernel: Any) -> None:
    want, _ = wanted(kernel, "eth0", "eth1")
    run(kernel, want)
    foreign = replace(DEFAULT, dev=IfName("mgmt-br.5"), gateway="192.0.2.77", protocol=4)
    if isinstance(kernel, FakeKernel):
        kernel.add_route(foreign)
    else:
        kernel.rtnl.run(links.add_route(foreign, kernel.rtnl.index("mgmt-br.5"), beside=True))
    assert plan(kernel, want).empty
    run(kernel, replace(want, routes=frozenset()))
    assert {r.gateway for r in kernel.observe().state.routes if r.gateway} == {"192.0.2.77"}


def test_a_mode_change_of_the_management_bond_needs_consent_and_keeps_address_and_routes(kernel: Any) -> None:
    want, _ = wanted(kernel, "eth0", "eth1")
    run(kernel, want)
    before = {r for r in kernel.observe().state.routes if r.protocol == OWNER_PROTOCOL}
    bond = want.links[IfName("mgmt-bo")]
    config = builders.vlan_config("mgmt", ["eth0", "eth1"], "balance-xor")
    config = replace(config, meta=Meta(name="mgmt", annotations={ANNOTATION_MANAGED: "true"}))
    address = builders.host_network("mgmt", 5, {NODE: "192.0.2.10/24"})
    state = compile_node(Cluster.of([config, address]), look(kernel, NODE).facts).state
    other = replace(state, routes=want.routes)
    assert other.links[IfName("mgmt-bo")] != bond
    assert plan(kernel, other, consent=False).refusals
    run(kernel, other)
    assert {r for r in kernel.observe().state.routes if r.protocol == OWNER_PROTOCOL} == before


def route(dst: str, gateway: str | None = None, metric: int = 0) -> Route:
    return Route(dst=dst, dev=IfName("eth1"), gateway=gateway, metric=metric, protocol=OWNER_PROTOCOL)


ROUTE_STEPS = [
    (AddRoute(route("203.0.113.0/24")), 0),
    (AddRoute(route("203.0.113.0/24")), 0),
    (AddRoute(route("default", "198.18.0.1")), 0),
    (AddRoute(route("default", "198.18.0.2")), 0),
    (AddRoute(route("default", "203.0.113.9")), 0),
    (AddRoute(route("default", "172.31.0.1")), errno.ENETUNREACH),
    (AddRoute(route("fd99::/64", "fd00::1")), 0),
    (AddRoute(route("fd98::/64")), 0),
    (AddRoute(route("fd97::/64", "fd55::1")), errno.EHOSTUNREACH),
    (DelRoute(route("default", "198.18.0.1")), 0),
    (DelRoute(route("default", "198.18.0.1")), errno.ESRCH),
    (DelRoute(route("203.0.113.0/24")), 0),
    (SetLink(up=False), 0),
    (AddRoute(route("203.0.113.0/24")), errno.ENETDOWN),
]


def test_routes_are_taken_and_refused_alike_and_lie_alike(kernel: Any) -> None:
    """Held against what this kernel does, and the fake one says."""
    for addr in ("198.18.0.10/24", "fd00::10/64"):
        assert kernel.run([builders.step("eth1", AddAddr(Cidr(addr)))]) is None
    for action, code in ROUTE_STEPS:
        failure = kernel.run([builders.step("eth1", action)])
        assert (failure.errno if failure else 0) == code, (action, failure)
    assert not [r for r in kernel.observe().state.routes if r.protocol == OWNER_PROTOCOL]


def test_routes_are_seen_as_they_were_made(kernel: Any) -> None:
    made = [route("203.0.113.0/24"), route("default", "198.18.0.1", 7), route("fd99::/64", "fd00::1")]
    for addr in ("198.18.0.10/24", "fd00::10/64"):
        assert kernel.run([builders.step("eth1", AddAddr(Cidr(addr)))]) is None
    assert kernel.run([builders.step("eth1", AddRoute(r)) for r in made]) is None
    seen = {r for r in kernel.observe().state.routes if r.protocol == OWNER_PROTOCOL}
    assert seen == {replace(r, metric=settled_metric(r)) for r in made}
