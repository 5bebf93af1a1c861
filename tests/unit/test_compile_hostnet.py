"""Host networks: from a manifest, a lease and what is there to addresses, routes and DHCP clients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.compile import Compiled, compile_node
from windrow.compile.routers import takes_routers
from windrow.model.cluster import Cluster
from windrow.model.facts import Memory, Nic, NodeFacts
from windrow.model.host import RTPROT_RA, Details, HostState, Link, Observed, Other, Route
from windrow.model.leases import ClientOptions, Lease, LeasedRoute
from windrow.model.problems import Severity
from windrow.model.values import OWNER_PROTOCOL, Cidr, IfName, Mac
from windrow.model.wire import load_documents

NODE = "n0.example"
NIC = Nic(name=IfName("e0"), mac=Mac("52:54:00:00:00:01"))
FACTS = NodeFacts(node=NODE, nics={NIC.name: NIC}, links=frozenset({NIC.name}))
BR, VLAN = IfName("oob-br"), IfName("oob-br.300")
HEAD = "---\napiVersion: network.harvesterhci.io/v1beta1\n"
BASE = (
    HEAD
    + "kind: ClusterNetwork\nmetadata: {name: oob}\n"
    + HEAD
    + "kind: VlanConfig\nmetadata: {name: oob}\n"
    + "spec: {clusterNetwork: oob, uplink: {nics: [e0], linkAttributes: {mtu: 9000}}}\n"
)


def compiled(*specs: str, facts: NodeFacts = FACTS, base: str = BASE) -> Compiled:
    """Specs without the cluster network, `oob` where they name none."""
    text = base
    for number, spec in enumerate(specs):
        network = "" if "clusterNetwork" in spec else "clusterNetwork: oob, "
        text += f"{HEAD}kind: HostNetworkConfig\nmetadata: {{name: h{number}}}\nspec: {{{network}{spec}}}\n"
    loaded = load_documents(text)
    assert not loaded.problems, loaded.problems
    return compile_node(Cluster.of(loaded.objects), facts)


def static(more: str = "", *, vid: int = 300, addresses: str = "10.0.0.1/24") -> str:
    return f"vlanID: {vid}, mode: static, ips: {{{NODE}: '{addresses}'}}{more and ', ' + more}"


def dhcp(more: str = "", *, vid: int = 300) -> str:
    return f"vlanID: {vid}, mode: dhcp{more and ', ' + more}"


def leased(address: str = "10.0.0.7/24", *, name: IfName = VLAN, **more: object) -> NodeFacts:
    lease = Lease(interface=name, address=Cidr(address), **more)  # type: ignore[arg-type]
    return replace(FACTS, leases={name: lease}, agent=True)


def links(found: Compiled) -> dict[str, Link]:
    return dict(found.state.links)


def routes(found: Compiled) -> set[tuple[str, str | None, int]]:
    assert all(r.protocol == OWNER_PROTOCOL for r in found.state.routes)
    return {(r.dst, r.gateway, r.metric) for r in found.state.routes}


def codes(found: Compiled) -> list[str]:
    return [p.code for p in found.problems]


# -- routes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (static("gateway: 10.0.0.254"), {("default", "10.0.0.254", 1024)}),
        (static("gateway: 10.0.0.254, metric: 0"), {("default", "10.0.0.254", 0)}),
        (
            static("gateway: '10.0.0.254,2001:db8::fe', metric: 0", addresses="10.0.0.1/24,2001:db8::1/64"),
            {("default", "10.0.0.254", 0), ("default", "2001:db8::fe", 1024)},
        ),
        (static("gateway: '10.0.0.254,2001:db8::fe'"), {("default", "10.0.0.254", 1024)}),
        (static("routes: [{to: 10.9.0.0/16, via: 10.0.0.9}]"), {("10.9.0.0/16", "10.0.0.9", 0)}),
        (static("routes: [{to: 10.9.0.0/16}]"), {("10.9.0.0/16", None, 0)}),
        (static("routes: [{to: 0.0.0.0/0, via: 10.0.0.9, metric: 3}]"), {("default", "10.0.0.9", 3)}),
        (static("routes: [{to: 2001:db8:9::/48, via: 'fe80::1'}]"), set()),
        (
            static("routes: [{to: 2001:db8:9::/48, via: 'fe80::1'}]", addresses="2001:db8::1/64"),
            {("2001:db8:9::/48", "fe80::1", 1024)},
        ),
        (
            static("gateway: 192.0.2.1, gatewayOnLink: true, metric: 0", addresses="10.0.0.1/32"),
            {("default", "192.0.2.1", 0)},
        ),
        (
            static("gateway: '192.0.2.1,2001:db8:9::1', gatewayOnLink: true", addresses="10.0.0.1/32,2001:db8::1/128"),
            {("default", "192.0.2.1", 1024), ("default", "2001:db8:9::1", 1024)},
        ),
        (static("routes: [{to: 10.9.0.0/16, via: 192.0.2.9, onLink: true}]"), {("10.9.0.0/16", "192.0.2.9", 0)}),
        (
            static("routes: [{to: 192.0.2.9/32}, {to: 10.9.0.0/16, via: 192.0.2.9}]"),
            {("192.0.2.9/32", None, 0), ("10.9.0.0/16", "192.0.2.9", 0)},
        ),
    ],
)
def test_routes_of_fixed_addresses(spec: str, wanted: set[tuple[str, str | None, int]]) -> None:
    found = compiled(spec)
    assert routes(found) == wanted and not found.problems


def test_a_router_on_the_link_needs_no_network_there() -> None:
    """`reached` is what the kernel's own word for it comes to; the one in the network needs none."""
    said = static("gateway: 192.0.2.1, gatewayOnLink: true, routes: [{to: 10.9.0.0/16, via: 10.0.0.9}]")
    reached = {r.dst: r.exact is not None and r.exact.reached for r in compiled(said).state.routes}
    assert reached == {"default": True, "10.9.0.0/16": False}


def test_the_managements_default_route_comes_first() -> None:
    base = BASE.replace("oob", "mgmt").replace(
        "{name: mgmt}\nspec", "{name: x, annotations: {windrow.io/managed: 'true'}}\nspec"
    )
    found = compiled(static("gateway: 10.0.0.254, clusterNetwork: mgmt", vid=0), facts=FACTS, base=base)
    assert routes(found) == {("default", "10.0.0.254", 0)}
    assert links(found)["mgmt-br"].addrs == {"10.0.0.1/24"}
    lease = leased(name=IfName("mgmt-br"), routes=(LeasedRoute(to="default", gateway="10.0.0.254"),))
    found = compiled(dhcp("clusterNetwork: mgmt", vid=0), facts=lease, base=base)
    assert routes(found) == {("default", "10.0.0.254", 0)}, "there a server's router is taken without being asked for"


LEASED = (LeasedRoute(to="10.9.0.0/16", gateway="10.0.0.9"), LeasedRoute(to="default", gateway="10.0.0.254"))


@pytest.mark.parametrize(
    ("more", "leased_routes", "wanted"),
    [
        ("", LEASED, set()),
        ("defaultRoute: false", LEASED, set()),
        ("defaultRoute: true", LEASED, {("10.9.0.0/16", "10.0.0.9", 1024), ("default", "10.0.0.254", 1024)}),
        ("defaultRoute: true, metric: 7", LEASED[1:], {("default", "10.0.0.254", 7)}),
        ("defaultRoute: true", (LeasedRoute(to="default", gateway="192.0.2.1"),), set()),
        ("defaultRoute: true", (LeasedRoute(to="default", gateway="10.0.0.7"),), set()),
        (
            "defaultRoute: true",
            (LeasedRoute(to="192.0.2.1/32"), LeasedRoute(to="default", gateway="192.0.2.1")),
            {("192.0.2.1/32", None, 1024), ("default", "192.0.2.1", 1024)},
        ),
        ("routes: [{to: 10.8.0.0/16, via: 10.0.0.8}]", LEASED, {("10.8.0.0/16", "10.0.0.8", 0)}),
    ],
)
def test_routes_of_a_lease(
    more: str, leased_routes: tuple[LeasedRoute, ...], wanted: set[tuple[str, str | None, int]]
) -> None:
    found = compiled(dhcp(more), facts=leased(routes=leased_routes))
    assert routes(found) == wanted and not found.problems


def test_a_router_elsewhere_is_said_when_the_lease_is_there() -> None:
    spec = dhcp("routes: [{to: 10.8.0.0/16, via: 10.1.0.8}]")
    assert codes(compiled(spec, facts=replace(FACTS, agent=True))) == []
    found = compiled(spec, facts=leased())
    assert (codes(found), routes(found)) == (["route-unreachable"], set())


def test_of_two_routes_with_one_metric_the_first_counts() -> None:
    found = compiled(static("gateway: 10.0.0.254"), static("gateway: 10.1.0.254", vid=301, addresses="10.1.0.1/24"))
    assert routes(found) == {("default", "10.0.0.254", 1024)}
    assert codes(found) == ["route-twice"]


# -- addresses -----------------------------------------------------------------------------------------------------


def test_a_lease_is_the_address() -> None:
    found = compiled(dhcp(), facts=leased(mtu=1400))
    link = links(found)[VLAN]
    assert (link.addrs, link.mtu) == ({"10.0.0.7/24"}, 1400)
    assert found.clients == {VLAN: ClientOptions(hostname="n0")}
    without = compiled(dhcp(), facts=replace(FACTS, agent=True))
    assert links(without)[VLAN].addrs == frozenset(), "the address of before goes"
    assert without.clients == found.clients and not without.problems


@pytest.mark.parametrize(
    ("spec", "mtu", "facts"),
    [
        (static(), 9000, FACTS),
        (static("mtu: 1400"), 1400, FACTS),
        (dhcp(), 9000, leased()),
        (dhcp(), 9000, leased(mtu=9001)),
        (dhcp(), 9000, leased(mtu=100)),
        (dhcp("mtu: 1400"), 1400, leased(mtu=1300)),
        (static("clusterNetwork: mgmt"), None, replace(FACTS, links=frozenset({IfName("mgmt-br")}))),
    ],
)
def test_mtu(spec: str, mtu: int | None, facts: NodeFacts) -> None:
    found = links(compiled(spec, facts=facts))
    assert next(link.mtu for name, link in found.items() if name.endswith(".300")) == mtu


def test_nobody_asks_where_no_agent_runs() -> None:
    assert codes(compiled(dhcp())) == ["dhcp-without-agent"]
    assert codes(compiled(dhcp(), facts=replace(FACTS, agent=True))) == []
    assert codes(compiled(dhcp(), facts=replace(leased(), agent=False))) == [], "there is an address for now"


def test_what_is_held_keeps_its_client() -> None:
    """Two configs for one interface: nothing of it changes, the lease least of all."""
    found = compiled(dhcp(), dhcp(), facts=leased())
    assert VLAN in found.held and list(found.clients) == [VLAN]
    taken = BASE + HEAD + "kind: VlanConfig\nmetadata: {name: two}\nspec: {clusterNetwork: oob, uplink: {nics: [e0]}}\n"
    facts = replace(leased(), links=FACTS.links | {BR, VLAN})
    found = compiled(dhcp(), facts=facts, base=taken)
    assert VLAN in found.held and list(found.clients) == [VLAN]
    assert compiled(static(), facts=leased()).clients == {}


@pytest.mark.parametrize(
    ("said", "sent"), [("ff:01:02", "ff:01:02"), ("FF:0A", "ff:0a"), ("none", "none"), ("ff", ""), ("xx:yy", "")]
)
def test_the_client_says_what_the_annotation_says(said: str, sent: str) -> None:
    loaded = load_documents(
        f"{BASE}{HEAD}kind: HostNetworkConfig\n"
        f"metadata: {{name: h, annotations: {{windrow.io/dhcp-client-id: '{said}'}}}}\n"
        f"spec: {{clusterNetwork: oob, {dhcp()}}}\n"
    )
    found = compile_node(Cluster.of(loaded.objects), replace(FACTS, agent=True))
    assert found.clients[VLAN].client_id == sent


# -- untagged ------------------------------------------------------------------------------------------------------


def test_untagged_the_address_is_on_the_bridge_and_the_bridge_in_vlan_1() -> None:
    found = compiled(static(vid=0), static(vid=300, addresses="10.3.0.1/24"))
    bridge = links(found)[BR]
    assert bridge.addrs == {"10.0.0.1/24"} and IfName("oob-br.0") not in links(found)
    assert bridge.self_vlans and (bridge.self_vlans.pvid, str(bridge.self_vlans.all)) == (1, "1,300")
    assert found.memory.given == {BR: {"10.0.0.1/24"}, VLAN: {"10.3.0.1/24"}}
    assert "0" not in str(links(found)["oob-bo"].vlans.tagged).split(",")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("specs", "has", "gave", "wanted", "remembered"),
    [
        ([], "10.0.0.9/32", "", None, ""),
        ([static(vid=0)], "", "", "10.0.0.1/24", "10.0.0.1/24"),
        ([static(vid=0)], "10.0.0.9/32", "", "10.0.0.1/24 10.0.0.9/32", "10.0.0.1/24"),
        (
            [static(vid=0)],
            "10.0.0.2/24 10.0.0.9/32",
            "10.0.0.2/24",
            "10.0.0.1/24 10.0.0.9/32",
            "10.0.0.1/24 10.0.0.2/24",
        ),
        ([], "10.0.0.1/24 10.0.0.9/32", "10.0.0.1/24", "10.0.0.9/32", "10.0.0.1/24"),
        ([], "10.0.0.9/32", "10.0.0.1/24", "10.0.0.9/32", ""),
    ],
)
def test_addresses_of_others_on_the_bridge_stay(
    specs: list[str], has: str, gave: str, wanted: str | None, remembered: str
) -> None:
    """What was given is remembered until it is seen to be gone."""
    addrs = {BR: frozenset(map(Cidr, has.split()))} if has else {}
    memory = Memory(given={BR: frozenset(map(Cidr, gave.split()))}) if gave else Memory()
    found = compiled(*specs, facts=replace(FACTS, addrs=addrs, memory=memory))
    bridge = links(found)[BR]
    assert bridge.addrs == (None if wanted is None else set(wanted.split()))
    assert found.memory.given.get(BR, frozenset()) == set(remembered.split())


@pytest.mark.parametrize(
    ("has", "gave", "wanted", "remembered"),
    [
        ("10.0.0.9/32 2001:db8::9/64", "", "10.0.0.1/24 10.0.0.9/32 2001:db8::9/64", "10.0.0.1/24"),
        ("10.0.0.2/24 10.0.0.9/32", "10.0.0.2/24", "10.0.0.1/24 10.0.0.9/32", "10.0.0.1/24 10.0.0.2/24"),
        ("10.0.0.1/24 10.0.0.2/24", "10.0.0.1/24", "10.0.0.1/24 10.0.0.2/24", "10.0.0.1/24"),
    ],
)
def test_addresses_of_others_on_a_vlan_interface_stay(has: str, gave: str, wanted: str, remembered: str) -> None:
    addrs = {VLAN: frozenset(map(Cidr, has.split()))}
    memory = Memory(given={VLAN: frozenset(map(Cidr, gave.split()))})
    found = compiled(static(), facts=replace(FACTS, addrs=addrs, memory=memory))
    assert links(found)[VLAN].addrs == set(wanted.split())
    assert found.memory.given[VLAN] == set(remembered.split())


def test_what_was_there_a_moment_ago_is_put_back_without_asking() -> None:
    """And what somebody else has was not: the kernel does not use it."""
    both = static(addresses="10.0.0.1/24,2001:db8::1/64")
    addrs = {VLAN: frozenset({Cidr("10.0.0.1/24"), Cidr("2001:db8::1/64")})}
    twice = {VLAN: {Cidr("2001:db8::1/64"): Details(duplicate=True)}}
    found = compiled(both, facts=replace(FACTS, addrs=addrs, duplicates=twice))
    assert found.memory.had == {VLAN: {"10.0.0.1/24"}} and len(found.memory.given[VLAN]) == 2
    again = compiled(both, facts=replace(FACTS, memory=found.memory))
    assert links(again)[VLAN].settled == {"10.0.0.1/24"}
    assert links(compiled(both))[VLAN].settled == frozenset()


def test_the_duplicate_of_somebody_else_is_his_trouble() -> None:
    his = Cidr("2001:db8::9/64")
    facts = replace(FACTS, addrs={VLAN: frozenset({his})}, duplicates={VLAN: {his: Details(duplicate=True)}})
    link = links(compiled(static(), facts=facts))[VLAN]
    assert his in (link.addrs or ()) and link.details[his].duplicate


@pytest.mark.parametrize(
    ("facts", "pvid"),
    [
        (FACTS, None),
        (replace(FACTS, addrs={BR: frozenset({Cidr("10.0.0.9/32")})}), 1),
        (replace(FACTS, routed=frozenset({BR})), 1),
        (
            replace(
                FACTS,
                addrs={BR: frozenset({Cidr("10.0.0.9/24")})},
                routed=frozenset({BR}),
                memory=Memory(given={BR: frozenset({Cidr("10.0.0.9/24")})}),
            ),
            None,
        ),
    ],
    ids=["nothing", "somebody's address", "somebody's DHCP client", "ours, which goes"],
)
def test_the_bridge_is_in_vlan_1_only_where_the_host_is(facts: NodeFacts, pvid: int | None) -> None:
    vlans = links(compiled(static(), facts=facts))[BR].self_vlans
    assert vlans and (vlans.pvid, str(vlans.tagged)) == (pvid, "300")
    uplink = links(compiled(static(), facts=facts))["oob-bo"].vlans
    assert uplink and uplink.pvid == 1, "guests have their untagged network all the same"


def test_vlan_1_is_tagged_on_a_bridge_without_an_address() -> None:
    vlans = links(compiled(static(vid=1)))[BR].self_vlans
    assert vlans and (vlans.pvid, str(vlans.tagged)) == (None, "1")


def test_the_operating_systems_bridge_is_left_alone() -> None:
    facts = replace(
        FACTS, links=frozenset({IfName("mgmt-br")}), addrs={IfName("mgmt-br"): frozenset({Cidr("10.5.0.1/24")})}
    )
    found = compiled(static("clusterNetwork: mgmt", vid=0), facts=facts)
    assert codes(found) == ["bridge-foreign"]
    assert links(found)["mgmt-br"].addrs is None and not found.held


def test_several_configs_of_a_vlan_on_different_nodes() -> None:
    here = static("nodeSelector: {matchLabels: {kubernetes.io/hostname: n0.example}}, gateway: 10.0.0.254")
    there = "vlanID: 300, mode: dhcp, nodeSelector: {matchLabels: {kubernetes.io/hostname: n1}}"
    found = compiled(there, here)
    assert links(found)[VLAN].addrs == {"10.0.0.1/24"} and not found.problems and not found.clients
    other = compiled(there, here, facts=replace(FACTS, node="n1", agent=True))
    assert links(other)[VLAN].addrs == frozenset() and list(other.clients) == [VLAN] and not routes(other)


# -- router advertisements ---------------------------------------------------------------------------------------------


def accept_ra(found: Compiled) -> dict[str, str]:
    return {name: one.settings["ipv6/accept_ra"] for name, one in links(found).items() if one.settings}


@pytest.mark.parametrize(
    ("spec", "on_vlan"),
    [
        (static(), "0"),
        (static("routerAdvertisements: true"), "2"),
        (static("routerAdvertisements: false"), "0"),
        (dhcp(), "0"),
        (dhcp("defaultRoute: true"), "2"),
        (dhcp("defaultRoute: true, routerAdvertisements: false"), "0"),
        (dhcp("defaultRoute: false, routerAdvertisements: true"), "2"),
    ],
)
def test_links_of_ours_take_no_router_unless_the_manifest_says_so(spec: str, on_vlan: str) -> None:
    assert accept_ra(compiled(spec, facts=replace(FACTS, agent=True))) == {BR: "0", VLAN: on_vlan}


def test_the_routers_of_an_untagged_network_are_the_bridges_own() -> None:
    assert accept_ra(compiled(static("routerAdvertisements: true", vid=0))) == {BR: "2"}


def test_there_are_no_routers_without_ipv6() -> None:
    without = replace(FACTS, features=replace(FACTS.features, ipv6=False))
    assert accept_ra(compiled(static("mtu: 1279"))) == {BR: "0"}
    assert accept_ra(compiled(static("routerAdvertisements: true"), facts=without)) == {}


MGMT = BASE.replace("oob", "mgmt").replace(
    "{name: mgmt}\nspec", "{name: x, annotations: {windrow.io/managed: 'true'}}\nspec"
)


@pytest.mark.parametrize(
    ("carried", "said", "wanted"),
    [
        ({"ipv6/accept_ra": "2"}, "", "2"),
        ({"ipv6/accept_ra": "1"}, "", "2"),
        ({"ipv6/accept_ra": "0"}, "", "0"),
        ({"ipv4/rp_filter": "2"}, "", None),
        ({"ipv6/accept_ra": "2"}, "routerAdvertisements: false", "0"),
        ({"ipv6/accept_ra": "0"}, "routerAdvertisements: true", "2"),
        ({}, "routerAdvertisements: true", "2"),
    ],
)
def test_the_management_network_takes_what_its_nic_took(carried: dict[str, str], said: str, wanted: str | None) -> None:
    nic = Link(name=NIC.name, spec=Other(kind="device"), addrs=frozenset({Cidr("10.0.0.1/24")}), settings=carried)
    facts = replace(FACTS, origin=HostState(links={NIC.name: nic}))
    more = f"clusterNetwork: mgmt{said and ', ' + said}"
    found = links(compiled(static(more, vid=0), facts=facts, base=MGMT))["mgmt-br"]
    assert found.settings.get("ipv6/accept_ra") == wanted
    assert found.settings.get("ipv4/rp_filter") == carried.get("ipv4/rp_filter")


def seen(settings: dict[str, str], *protocols: int) -> Observed:
    nic = Link(name=NIC.name, spec=Other(kind="device"), settings=settings)
    told = {Route(dst="default", dev=NIC.name, gateway="fe80::1", protocol=one) for one in protocols}
    return Observed(state=HostState(links={NIC.name: nic}, routes=frozenset(told)), runtime={})


@pytest.mark.parametrize(
    ("accepts", "forwards", "protocols", "taken"),
    [
        ("1", "0", (), True),
        ("1", "1", (), False),
        ("2", "1", (), True),
        ("0", "0", (), False),
        ("0", "0", (4,), False),
        ("0", "1", (RTPROT_RA,), True),
    ],
)
def test_whether_a_nic_takes_routers(accepts: str, forwards: str, protocols: tuple[int, ...], taken: bool) -> None:
    settings = {"ipv6/accept_ra": accepts, "ipv6/forwarding": forwards}
    assert takes_routers(NIC.name, seen(settings, *protocols)) == taken


# -- IPv6 that is switched off -----------------------------------------------------------------------------------------

BOTH = static("gateway: '10.0.0.254,2001:db8::fe'", addresses="10.0.0.1/24,2001:db8::1/64")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(FACTS, features=replace(FACTS.features, ipv6=False)), "this kernel has no IPv6"),
        (replace(FACTS, features=replace(FACTS.features, ipv6_on=False)), "net.ipv6.conf.oob-br/300.disable_ipv6=1"),
        (
            replace(FACTS, links=FACTS.links | {VLAN}, without_ipv6=frozenset({VLAN})),
            "net.ipv6.conf.oob-br/300.disable_ipv6=1",
        ),
    ],
)
def test_what_ipv6_cannot_have_is_said_and_the_rest_is_done(facts: NodeFacts, words: str) -> None:
    found = compiled(BOTH, facts=facts)
    assert links(found)[VLAN].addrs == {"10.0.0.1/24"} and routes(found) == {("default", "10.0.0.254", 1024)}
    (problem,) = found.problems
    assert problem.code == "ipv6-off" and problem.severity is Severity.WARNING
    assert words in problem.message and "2001:db8::1/64" in problem.message


def test_routers_that_are_wanted_and_cannot_be_heard_are_said() -> None:
    facts = replace(FACTS, agent=True, features=replace(FACTS.features, ipv6_on=False))
    (problem,) = compiled(dhcp("routerAdvertisements: true"), facts=facts).problems
    assert (problem.code, problem.path) == ("ipv6-off", "spec.routerAdvertisements")
    assert "what routers announce" in problem.message


def test_a_link_that_has_it_keeps_it_where_new_ones_begin_without() -> None:
    facts = replace(FACTS, links=FACTS.links | {VLAN}, features=replace(FACTS.features, ipv6_on=False))
    found = compiled(BOTH, facts=facts)
    assert not found.problems and links(found)[VLAN].addrs == {"10.0.0.1/24", "2001:db8::1/64"}
