"""Routes, rules and addresses are carried as they are; and nothing may take over what the host is reached by."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_rules import OOB, facts, hnc, put

from windrow.compile.carried import carried, told
from windrow.model.facts import NodeFacts
from windrow.model.host import (
    OWNER_PROTOCOL,
    Bond,
    Bridge,
    Details,
    Exact,
    HostState,
    Link,
    Observed,
    Other,
    Route,
    Rule,
    Runtime,
)
from windrow.model.reach import Reach, reach_of
from windrow.model.steps import AddAddr, AddRoute, DelRoute, Impact, Plan, SetVlans, Unit
from windrow.model.values import Cidr, IfName
from windrow.model.wire import hoststate
from windrow.netlink import codec, routes
from windrow.netlink.links import add_route
from windrow.plan import aged, changes_reachability, make_plan
from windrow.plan.guard import immovable
from windrow.store.origin import read_origin, write_origin
from windrow.store.paths import Paths
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

ETH0, BR = IfName("eth0"), IfName("mgmt-br")
NAMES = {2: "eth0", 3: "eth1"}
INDEX = {name: index for index, name in NAMES.items()}


def read(body: bytes) -> list[Route]:
    fields = codec.ROUTE_HEADER.unpack_from(body)
    attrs = routes.attributes(body, codec.ROUTE_HEADER.size, len(body))
    return list(routes.read(fields, attrs, NAMES, 1000.0, 0))


def header(family: int = 2, length: int = 16, *, scope: int = 0, kind: int = 1, tos: int = 0, flags: int = 0) -> bytes:
    return codec.ROUTE_HEADER.pack(family, length, 0, tos, 254, 4, scope, kind, flags)


def attribute(number: int, payload: bytes) -> bytes:
    return codec.pack_attr(number, payload)


DST = attribute(routes.DST, bytes([10, 1, 0, 0]))
OIF = attribute(routes.OIF, (2).to_bytes(4, "little"))
VIA = attribute(routes.GATEWAY, bytes([10, 0, 0, 1]))


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route",
    [
        Route(dst="default", dev=ETH0, gateway="10.0.0.1", protocol=3),
        Route(dst="10.9.0.0/16", dev=ETH0, protocol=4, metric=7),
        Route(dst="10.9.0.0/16", dev=ETH0, gateway="10.0.0.9", protocol=4, table=1000),
        Route(dst="2001:db8::/48", dev=ETH0, gateway="fe80::1", metric=1024, protocol=16),
    ],
)
def test_a_plain_route_needs_no_bytes(route: Route) -> None:
    assert read(add_route(route, 2).body) == [route]


@given(
    st.dictionaries(
        st.sampled_from([routes.PRIORITY, routes.PREFSRC, routes.METRICS, routes.VIA, 11, 19, 27]),
        st.binary(min_size=4, max_size=4),
    ),
    st.sampled_from([0, 253, 254]),
    st.sampled_from([1, 2, 5]),
    st.sampled_from([0, 4, 0x10]),
)
def test_whatever_a_route_says_is_said_again(more: dict[int, bytes], scope: int, kind: int, tos: int) -> None:
    """Also what nobody here has heard of: only the index is found anew."""
    body = header(scope=scope, kind=kind, tos=tos) + DST + OIF + b"".join(attribute(n, d) for n, d in more.items())
    (route,) = read(body)
    again = routes.write(route, INDEX.__getitem__) if route.exact else add_route(route, 2).body
    assert read(again) == [route]
    if route.exact is not None:
        moved = routes.write(route.moved({ETH0: IfName("eth1")}), INDEX.__getitem__)
        assert routes.attributes(moved, 12, len(moved))[routes.OIF] == (3).to_bytes(4, "little")
        every = routes.attributes(again, 12, len(again))
        assert {n: every[n] for n in more} == more


def test_several_next_hops_are_one_route_and_each_finds_its_link() -> None:
    hops = b"".join(
        codec.NEXTHOP_HEADER.pack(16, flags, weight, index) + attribute(routes.GATEWAY, bytes([10, 0, 0, last]))
        for flags, weight, index, last in ((0, 2, 2, 1), (0x11, 0, 3, 2))  # RTNH_F_DEAD | RTNH_F_LINKDOWN
    )
    (route,) = read(header() + DST + attribute(routes.MULTIPATH, hops))
    assert route.links == ("eth0", "eth1") and (route.dev, route.gateway) == ("eth0", "10.0.0.1")
    body = routes.write(route, lambda name: 10 * INDEX[name])
    data = routes.attributes(body, 12, len(body))[routes.MULTIPATH]
    assert [(flags, weight, index) for _, flags, weight, index, _ in routes._hops(data)] == [(0, 2, 20), (0, 0, 30)]


def test_times_are_points_in_time_and_not_part_of_what_a_route_is() -> None:
    info = routes._CACHEINFO.pack(0, 0, 90_000, 0, 0, 0, 0, 0)
    body = codec.ROUTE_HEADER.pack(10, 0, 0, 0, 254, 4, 0, 1, 0) + OIF + attribute(12, info)
    body += attribute(routes.GATEWAY, bytes([0xFE, 0x80, *[0] * 13, 1]))
    (route,) = read(body)
    assert route.until == 1900.0 and route == replace(route, until=None)


def test_what_hangs_on_others_is_named() -> None:
    (hung,) = read(header() + DST + OIF + VIA + attribute(routes.NH_ID, (7).to_bytes(4, "little")))
    assert list(immovable([hung], ETH0)) == [
        "the route to 10.1.0.0/16 over eth0 would be lost: it uses nexthop object 7 (ip nexthop)"
    ]
    assert not list(immovable([hung], IfName("eth1")))


# -- on disk ---------------------------------------------------------------------------------------

EXACT = Exact(message=header() + DST, links=(ETH0,), source="10.0.0.10", reached=True)
DETAILS = Details(attributes=b"\x08\0\x02\0\x0a\0\0\x0a", flags=0x200, label="eth0:1", valid_until=1900.5, rank=1)
STATE = HostState(
    links={
        ETH0: Link(
            name=ETH0,
            spec=Other(kind="device"),
            addrs=frozenset({Cidr("10.0.0.10/24")}),
            details={Cidr("10.0.0.10/24"): DETAILS, Cidr("2001:db8::1/64"): Details(static=False)},
            settings={"ipv6/accept_ra": "2"},
        )
    },
    routes=frozenset({Route(dst="10.1.0.0/16", dev=ETH0, exact=EXACT, until=2000.0, order=3, table=100)}),
    rules=frozenset({Rule(message=b"\2" + bytes(11), iif="eth0", protocol=4)}),
)


def test_all_of_it_comes_back_from_the_disk() -> None:
    back = hoststate.read(json.loads(json.dumps(hoststate.write(STATE))))
    assert back == STATE
    link, (route,) = back.links[ETH0], back.routes
    assert (link.details, link.settings) == (STATE.links[ETH0].details, STATE.links[ETH0].settings)
    assert (route.until, route.order) == (2000.0, 3)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("routes", {"dst": "default", "exact": {"message": "xx", "links": []}}, "exact.message: these are no bytes"),
        ("routes", {"dst": "default", "until": "soon"}, "until: this is no time"),
        ("rules", {"message": "02", "iif": "a/b", "oif": ""}, "iif"),
        ("links", {"name": "e", "spec": {"other": {"kind": "d"}}, "settings": {"x": 1}}, "settings: these are not"),
    ],
)
def test_rubbish_on_the_disk_is_refused_with_its_place(place: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hoststate.read({**hoststate.write(HostState()), place: [value]})


def test_what_was_for_a_time_has_ended_and_the_address_of_the_host_stays() -> None:
    six = Cidr("2001:db8::1/64")
    link = STATE.links[ETH0]
    link = replace(
        link,
        addrs=frozenset({*(link.addrs or ()), six}),
        details={**link.details, six: Details(static=False, valid_until=1900.0)},
    )
    state = replace(STATE, links={ETH0: link})
    assert aged(state, 1800.0) == state
    later = aged(state, 5000.0)
    assert later.links[ETH0].addrs == {"10.0.0.10/24"} and not later.routes
    assert later.links[ETH0].details == {Cidr("10.0.0.10/24"): replace(DETAILS, valid_until=None)}


# -- what a manifest says, and what goes with the address --------------------------------------------


def way(dst: str, gateway: str | None = None, **more: Any) -> Route:
    return Route(dst=dst, dev=ETH0, gateway=gateway, **more)


def test_a_manifest_says_what_it_can_and_the_rest_is_carried() -> None:
    plain = way("10.9.0.0/16", "10.0.0.9", metric=7)
    rest = {
        way("default", "10.0.0.3", metric=900),
        way("10.8.0.0/16", "10.0.0.9", table=100),
        way("10.7.0.0/16", exact=EXACT),
        way("default", "fe80::1", metric=1024),
    }
    said = told({way("default", "10.0.0.1", metric=100), plain, *rest}, [Cidr("10.0.0.10/24")])
    assert (said.routing.gateways, said.routing.metric) == (("10.0.0.1",), 100)
    assert [(r.to, r.via, r.metric) for r in said.routing.routes] == [("10.9.0.0/16", "10.0.0.9", 7)]
    assert said.rest == rest


def test_both_gateways_are_said_where_both_have_a_static_address() -> None:
    four, six = way("default", "10.0.0.1"), way("default", "fe80::1", metric=1024)
    said = told({four, six}, [Cidr("10.0.0.10/24"), Cidr("2001:db8::10/64")])
    assert said.routing.gateways == ("10.0.0.1", "fe80::1") and said.routing.metric is None and not said.rest


def at_home(*, address: str = "10.0.0.10/24") -> Any:
    node = NodeFacts(node="n1", origin=STATE)
    config = replace(hnc("m", vid=0, cn="mgmt", n1=address))
    return carried((config,), frozenset(), node)


def test_what_no_manifest_says_goes_to_the_link_of_the_address() -> None:
    what = at_home()
    assert what.to == "mgmt-br" and what.settings == {"ipv6/accept_ra": "2"}
    (route,), (rule,) = what.routes, what.rules
    assert (route.dev, route.links, route.protocol, route.table) == (BR, (BR,), OWNER_PROTOCOL, 100)
    assert (rule.iif, rule.protocol) == ("mgmt-br", OWNER_PROTOCOL)
    assert what.details[Cidr("10.0.0.10/24")].label == "mgmt-br:1"
    assert what.addresses == {"2001:db8::1/64"}


def test_with_another_address_a_route_that_needs_the_old_one_is_left_out_and_told() -> None:
    what = at_home(address="10.0.5.5/24")
    assert not what.routes
    assert [p.message for p in what.problems] == [
        "the route to 10.1.0.0/16 in table 100, which was here before `windrow init`, is left out: its source 10.0.0.10"
        " is no address of this host any more"
    ]


def test_a_source_on_another_link_is_an_address_of_this_host() -> None:
    """A router's own address is on `lo`, and the routes of the NIC have it as their source."""
    facts = NodeFacts(node="n1", origin=STATE, addrs={IfName("lo"): frozenset({Cidr("10.0.0.10/32")})})
    what = carried((hnc("m", vid=0, cn="mgmt", n1="10.0.5.5/24"),), frozenset(), facts)
    assert len(what.routes) == 1 and not what.problems


def test_a_source_that_went_with_the_nic_is_not() -> None:
    facts = NodeFacts(node="n1", origin=STATE, addrs={ETH0: frozenset({Cidr("10.0.0.10/24")})})
    what = carried((hnc("m", vid=0, cn="mgmt", n1="10.0.5.5/24"),), frozenset(), facts)
    assert not what.routes and len(what.problems) == 1


# -- a plan ----------------------------------------------------------------------------------------


def test_rules_and_settings_are_made_kept_and_taken_away() -> None:
    kernel = FakeKernel()
    rule = Rule(message=b"\2" + bytes(11), iif="r", protocol=OWNER_PROTOCOL)
    foreign = replace(rule, protocol=4)
    kernel.add_rule(foreign)
    bridge = builders.link("r", Bridge(), up=True, addrs=frozenset(), settings={"ipv6/accept_ra": "2"})
    want = HostState(links={bridge.name: bridge}, rules=frozenset({rule}))
    for state, rules in ((want, {rule, foreign}), (HostState(), {foreign})):
        assert kernel.run(make_plan(state, kernel.observe()).steps) is None
        assert make_plan(state, kernel.observe()).empty
        assert kernel.observe().state.rules == rules
    kernel.run(make_plan(want, kernel.observe()).steps)
    kernel.machine.devices["r"].settings["ipv6/accept_ra"] = "0"
    assert [str(d.field) for u in make_plan(want, kernel.observe()).units for d in u.deltas] == [
        "sysctl.ipv6/accept_ra"
    ]


def test_a_route_of_ours_that_somebody_changed_is_seen() -> None:
    kernel = FakeKernel().add_nic("e", up=True)
    kernel.machine.add_addr(kernel.machine.get("e"), "10.0.0.1/24")
    ours = Route(dst="10.9.0.0/16", dev=IfName("e"), gateway="10.0.0.2", protocol=OWNER_PROTOCOL)
    kernel.add_route(replace(ours, exact=replace(EXACT, links=(IfName("e"),))))
    plan = make_plan(HostState(routes=frozenset({ours})), kernel.observe())
    assert [type(s.action) for s in plan.steps] == [AddRoute, DelRoute]


def test_a_nic_whose_routes_cannot_be_carried_stays_where_it_is() -> None:
    kernel = FakeKernel().add_nic("eth0", up=True)
    kernel.add_route(way("10.1.0.0/16", exact=replace(EXACT, stays="it wraps its packets (encap)")))
    bond = builders.link("b", Bond(), up=True)
    nic = builders.link("eth0", Other(kind="device"), master="b")
    plan = make_plan(HostState(links={bond.name: bond, nic.name: nic}), kernel.observe())
    assert [p.code for p in plan.refusals] == ["route-immovable"]


# -- what the host is reached by -------------------------------------------------------------------

MGMT = Reach(
    addresses=frozenset({Cidr("10.50.0.7/24"), Cidr("2001:db8:50::7/64")}),
    gateways=frozenset({"10.50.0.1"}),
    defaults={4: 0, 6: 1024},
)
HERE = replace(facts("n1"), reach=MGMT, protected=frozenset({IfName("mgmt-br")}))


def with_routes(
    *said: str, address: str = "10.60.0.5/24", at: Any = HERE, beside: tuple[Any, ...] = (), **routing: Any
) -> list[str]:
    from windrow.model.objects import HostRoute, HostRouting

    config = hnc("h", n1=address)
    routes_ = tuple(HostRoute(to=to, via="10.60.0.1" if ":" not in to else "") for to in said)
    return put(replace(config, routing=HostRouting(routes=routes_, **routing)), at=at, before=(OOB, *beside))


@pytest.mark.parametrize(
    "to", ["10.50.0.0/25", "10.50.0.0/24", "10.50.0.1/32", "10.50.0.99/32", "10.50.0.7/32", "10.0.0.0/8", "0.0.0.0/1"]
)
def test_a_route_that_swallows_the_management_network_is_refused(to: str) -> None:
    assert with_routes(to) == ["management-taken"]


@pytest.mark.parametrize("address", ["10.50.0.1/24", "10.50.0.99/24", "10.50.0.7/24", "10.50.0.200/32", "10.50.3.3/16"])
def test_an_address_in_the_management_network_is_refused(address: str) -> None:
    assert "management-taken" in put(hnc("h", n1=address), at=HERE)


def test_a_second_default_route_that_is_as_good_is_refused_and_a_worse_one_is_not() -> None:
    assert with_routes(gateways=("10.60.0.1",), metric=0) == ["management-taken"]
    assert with_routes(gateways=("10.60.0.1",)) == []
    assert with_routes("128.0.0.0/1") == ["management-taken"]
    assert with_routes("10.70.0.0/16", "192.168.0.0/16") == []


@pytest.mark.parametrize("parts", [("0.0.0.0/2", "64.0.0.0/2"), ("2000::/3",), ("2000::/4",), ("8.0.0.0/7",)])
def test_a_default_route_in_parts_is_refused_as_one(parts: tuple[str, ...]) -> None:
    """The management's own address need not lie in it: `fd50::7`, and all of the IPv6 internet is elsewhere."""
    reach = replace(MGMT, addresses=frozenset({Cidr("10.50.0.7/24"), Cidr("fd50::7/64")}))
    at = replace(HERE, reach=reach)
    assert set(with_routes(*parts, address="10.60.0.5/24,2001:db8:60::5/64", at=at)) == {"management-taken"}
    assert with_routes("10.64.0.0/10", "fc00::/8", address="10.60.0.5/24,2001:db8:60::5/64", at=at) == []


def test_the_way_to_whoever_is_logged_in_and_to_the_other_nodes_is_not_taken_over() -> None:
    at = replace(HERE, reach=replace(MGMT, peers=frozenset({"192.0.2.9"})))
    assert with_routes("192.0.2.0/24", at=at) == ["management-taken"]
    assert with_routes("192.0.2.0/24") == []
    other = builders.host_network("mgmt", 0, {"n2": "10.51.0.8/24"})
    assert with_routes("10.51.0.0/24", beside=(other,)) == ["management-taken"]
    assert with_routes("10.52.0.0/24", beside=(other,)) == []


def test_routers_that_announce_themselves_do_not_take_over_the_way_out() -> None:
    """Their default routes have metric 1024, and of equals the kernel takes the one with the higher preference."""
    assert with_routes(advertised=True) == ["management-taken"]
    assert with_routes(advertised=True, at=replace(HERE, reach=replace(MGMT, defaults={4: 0, 6: 100}))) == []
    assert with_routes(advertised=True, at=replace(HERE, reach=replace(MGMT, defaults={4: 0}))) == []
    assert with_routes(advertised=False) == []


def test_the_management_network_may_change_itself() -> None:
    mine = replace(HERE, protected=frozenset({IfName("oob-br.300")}))
    assert "management-taken" not in put(hnc("h", n1="10.50.0.9/24"), at=mine)


def test_what_a_server_says_may_take_it_over_no_more() -> None:
    """No rule has seen it: the plan refuses it."""
    kernel = FakeKernel().add_nic("eth0", up=True)
    kernel.machine.add_addr(kernel.machine.get("eth0"), "10.50.0.7/24")
    kernel.add_route(Route(dst="default", dev=ETH0, gateway="10.50.0.1", protocol=3))
    assert reach_of(kernel.observe(), {ETH0}).defaults == {4: 0}
    bridge = builders.link("oob-br", Bridge(), up=True, addrs=frozenset({Cidr("10.50.0.77/25")}))
    want = HostState(links={bridge.name: bridge})
    plan = make_plan(want, kernel.observe(), protected=frozenset({ETH0}))
    assert [p.code for p in plan.refusals] == ["management-taken"] and not plan.steps


def test_ways_that_cross_are_priced() -> None:
    kernel = FakeKernel().add_nic("e", up=True)
    kernel.machine.add_addr(kernel.machine.get("e"), "10.1.0.1/24")
    for address, impact in (("10.1.0.200/25", Impact.FLAP), ("10.2.0.1/24", Impact.NONE)):
        bridge = builders.link("r", Bridge(), up=True, addrs=frozenset({Cidr(address)}))
        steps = make_plan(HostState(links={bridge.name: bridge}), kernel.observe()).steps
        assert [s.impact for s in steps if isinstance(s.action, AddAddr)] == [impact]


def plan_of(*steps: Any) -> Plan:
    return Plan(units=(Unit(links=(ETH0,), steps=tuple(builders.step("eth0", action) for action in steps)),))


def test_which_plans_a_probe_has_to_follow() -> None:
    link = Link(name=ETH0, spec=Other(kind="device"))
    bare = Observed(state=HostState(links={ETH0: link}), runtime={ETH0: Runtime(ifindex=2)})
    addressed = HostState(links={ETH0: replace(link, addrs=frozenset({Cidr("10.0.0.1/24")}))})
    from windrow.model.steps import DeleteLink, SetLink, SetSysctl

    assert changes_reachability(plan_of(AddAddr(Cidr("10.0.0.1/24"))), bare)
    assert changes_reachability(plan_of(SetVlans(), DelRoute(way("default", "10.0.0.1"))), bare)
    assert changes_reachability(plan_of(SetSysctl("net/ipv4/conf/eth0/rp_filter", "1")), bare)
    assert not changes_reachability(plan_of(SetVlans(), DeleteLink(), SetLink(up=False)), bare)
    assert changes_reachability(plan_of(DeleteLink()), replace(bare, state=addressed))


def test_a_fake_kernel_refuses_what_a_real_one_does() -> None:
    kernel = FakeKernel().add_nic("eth0", up=True)
    away = AddRoute(way("10.1.0.0/16", "192.0.2.1"))
    assert (failure := kernel.run([builders.step("eth0", away)])) and failure.errno == errno.ENETUNREACH
    onlink = AddRoute(way("10.1.0.0/16", "192.0.2.1", exact=EXACT))
    assert kernel.run([builders.step("eth0", onlink)]) is None


def test_after_another_start_of_the_host_the_times_are_over(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_origin(paths, STATE)
    assert read_origin(paths) == STATE
    document = json.loads(paths.origin.read_text())
    paths.origin.write_text(json.dumps({**document, "boot": "another"}))
    found = read_origin(paths)
    assert found is not None
    assert found.links[ETH0].details[Cidr("10.0.0.10/24")].valid_until == 0.0
    assert [route.until for route in found.routes] == [0.0]
