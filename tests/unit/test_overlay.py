"""The overlay: flannel's configuration and annotations, and what they make of a node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.compile import Compiled, compile_node
from windrow.compile.podcidrs import free_networks
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Nic, NodeFacts
from windrow.model.host import Bridge, FdbEntry, HostState, Link, Observed, Other, Runtime, Vxlan
from windrow.model.leases import Lease
from windrow.model.meta import Meta
from windrow.model.objects import ClusterNetwork, Node
from windrow.model.overlay import FAMILIES, PLACE, net_conf, read_net_conf, vtep_mac
from windrow.model.problems import Severity
from windrow.model.reach import Reach
from windrow.model.values import OWNER_GROUP, OWNER_PROTOCOL, Cidr, IfName, Mac
from windrow.model.wire import hoststate, load_documents
from windrow.render.overview import overview_text
from windrow.rules import changes_to, check
from windrow.status import overview
from windrow.status.overlay import tunnel_end
from windrow.status.report import NodeReport

BASE = {"Network": "10.52.0.0/16", "Backend": {"Type": "vxlan"}}
BOTH = {**BASE, "EnableIPv6": True, "IPv6Network": "fd52::/48"}
FLANNEL = IfName("flannel.1")
V4, V6 = FAMILIES
HEAD = "---\napiVersion: network.harvesterhci.io/v1beta1\n"
FACTS = NodeFacts(
    node="a",
    links=frozenset({IfName("mgmt-br"), IfName("mgmt-bo")}),
    reach=Reach(addresses=frozenset({Cidr("192.0.2.1/24")}), gateways=frozenset({"192.0.2.254"})),
    addrs={IfName("mgmt-br"): frozenset({Cidr("192.0.2.1/24")})},
    mtus={IfName("mgmt-br"): 1500},
)


def mgmt(conf: Mapping[str, Any] | str = BASE, name: str = "mgmt") -> str:
    text = conf if isinstance(conf, str) else json.dumps(conf)
    return f"{HEAD}kind: ClusterNetwork\nmetadata: {{name: {name}, annotations: {{windrow.io/overlay: {text!r}}}}}\n"


def node(name: str, cidrs: str = "", address: str = "", **annotations: str) -> str:
    prefix = "flannel.alpha.coreos.com"
    said = {f"{prefix}/{key.replace('_', '-')}": text for key, text in annotations.items()}
    said |= {f"{prefix}/public-ip{'v6' if ':' in address else ''}": address} if address else {}
    spec = f"spec: {{podCIDRs: {json.dumps(cidrs.split(','))}}}\n" if cidrs else ""
    return f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, annotations: {json.dumps(said)}}}\n{spec}"


def host_network(vid: int, ips: Mapping[str, str], more: str = "") -> str:
    said = ", ".join(f"{name}: '{address}'" for name, address in ips.items())
    spec = f"{{clusterNetwork: mgmt, vlanID: {vid}, mode: static, ips: {{{said}}}{more}}}"
    return f"{HEAD}kind: HostNetworkConfig\nmetadata: {{name: mgmt-{vid}}}\nspec: {spec}\n"


def cluster(*documents: str) -> Cluster:
    loaded = load_documents("".join(documents))
    assert not loaded.problems, loaded.problems
    return Cluster.of(loaded.objects)


def compiled(*documents: str, facts: NodeFacts = FACTS) -> Compiled:
    return compile_node(cluster(*documents), facts)


def here(name: str, address: str) -> NodeFacts:
    has = frozenset({Cidr(address)})
    return replace(FACTS, node=name, reach=Reach(addresses=has), addrs={IfName("mgmt-br"): has})


def ways(found: Compiled) -> dict[str, tuple[str | None, str | None]]:
    return {r.dst: (r.gateway, r.dev) for r in found.state.routes}


def codes(found: Compiled) -> list[tuple[str, str]]:
    return [(p.code, p.about.name if p.about else "") for p in found.problems]


A, B, C = (node(n, f"10.52.{i}.0/24", f"192.0.2.{i + 1}") for i, n in enumerate("abc"))


# -- the configuration -------------------------------------------------------------------------------------------------


def test_what_flannel_leaves_out_is_as_in_flannel() -> None:
    conf, faults = read_net_conf('{"Network": "10.52.0.0/16"}')
    assert not faults
    assert {v: str(n) for v, n in conf.networks.items()} == {4: "10.52.0.0/16"}
    assert (conf.subnets, conf.vni, conf.port, conf.direct) == ({4: 24}, 1, 8472, False)
    conf, faults = read_net_conf(json.dumps({**BOTH, "Backend": {"VNI": 7, "Port": 4789, "DirectRouting": True}}))
    assert not faults
    assert (conf.vni, conf.port, conf.direct, conf.subnets) == (7, 4789, True, {4: 24, 6: 64})
    assert [conf.device(family) for family in conf.families] == ["flannel.7", "flannel-v6.7"]


def test_the_configuration_that_real_flannel_was_given() -> None:
    text = '{"Network":"10.244.0.0/16","EnableIPv4":true,"EnableNFTables":true,'
    text += '"Backend":{"Type":"vxlan","VNI":1,"Port":8472}}'
    assert read_net_conf(text)[1] == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is no JSON"),
        ("[]", "it is no JSON object"),
        ("{}", "Network: must be an IPv4 network"),
        ('{"Network": 5}', "Network: must be an IPv4 network"),
        ('{"Network": "fd00::/48"}', "Network: fd00::/48 is no IPv4 network"),
        ('{"Network": "10.0.0.0/31"}', "Network: 10.0.0.0/31 is no IPv4 network with room"),
        ('{"Network": "10.0.0.0/16", "SubnetLen": 16}', "SubnetLen: 16 is no number from 17 to 30"),
        ('{"Network": "10.0.0.0/16", "EnableIPv6": true}', "IPv6Network: must be an IPv6 network"),
        ('{"EnableIPv4": false}', "Network: is missing"),
        (
            '{"EnableIPv4": false, "EnableIPv6": true}',
            "IPv6Network: must be an IPv6 network, such as fd52::/48",
        ),
        (
            '{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd52::%a/48"}',
            "IPv6Network: must be an IPv6 network, such as fd52::/48",
        ),
        ('{"Network": "10.0.0.0/16", "Backend": 5}', "Backend: must be an object"),
        ('{"Network": "10.0.0.0/16", "Backend": {"Type": "udp"}}', "Backend.Type: 'udp' is not what Windrow makes"),
        ('{"Network": "10.0.0.0/16", "Backend": {"VNI": 0}}', "Backend.VNI: 0 is no number from 1"),
        ('{"Network": "10.0.0.0/16", "Backend": {"VNI": 16777215}}', "Backend.VNI: its device cannot be named"),
        ('{"Network": "10.0.0.0/16", "Backend": {"Port": true}}', "Backend.Port: True is no number"),
        ('{"Network": "10.0.0.0/16", "Backend": {"Learning": true}}', "Backend.Learning: is not made"),
        ('{"Network": "10.0.0.0/16", "Backend": {"MTU": 1400}}', "Backend.MTU: is left out"),
        ('{"Network": "10.0.0.0/16", "Netwrok": 1}', "Netwrok: there is no such key"),
    ],
)
def test_a_configuration_that_is_wrong(text: str, said: str) -> None:
    faults = read_net_conf(text)[1]
    assert len(faults) == 1
    assert faults[0].startswith(said)
    assert net_conf(ClusterNetwork(meta=Meta(name="mgmt", annotations={"windrow.io/overlay": text}))) is None


def test_all_that_is_wrong_is_said_at_once_with_its_place() -> None:
    bad = {"Network": "x", "EnableIPv4": "yes", "Backend": {"VNI": -1, "GBP": True}}
    before = Cluster.of(())
    loaded = load_documents(mgmt(bad))
    found = [p for p in check(before, changes_to(before, loaded.objects)) if p.code == "overlay-invalid"]
    assert {p.path for p in found} == {PLACE}
    assert sorted(p.message.partition(":")[0] for p in found) == ["Backend.GBP", "Backend.VNI", "EnableIPv4", "Network"]
    assert all(p.severity is Severity.ERROR for p in found)


def test_another_cluster_network_carries_no_overlay() -> None:
    before = Cluster.of(())
    found = check(before, changes_to(before, load_documents(mgmt(name="oob")).objects))
    assert [p.code for p in found if p.severity is Severity.ERROR] == ["overlay-elsewhere"]


# -- the device and the ways -------------------------------------------------------------------------------------------


def test_nothing_unless_it_is_asked_for() -> None:
    found = compiled(A, B, C)
    assert FLANNEL not in found.state.links
    assert not found.state.routes
    assert not found.held


def test_the_device_and_the_ways_to_all_others() -> None:
    found = compiled(mgmt(), A, B, C)
    link = found.state.links[FLANNEL]
    assert link.spec == Vxlan(vni=1, port=8472, local="192.0.2.1", learning=False)
    assert (link.up, link.mtu, link.addrs, link.settled) == (True, 1450, {"10.52.0.0/32"}, {"10.52.0.0/32"})
    macs = {n: vtep_mac(Node(meta=Meta(name=n)), V4, 1) for n in "abc"}
    assert link.mac == macs["a"]
    assert link.fdb == {FdbEntry(mac=macs["b"], dst="192.0.2.2"), FdbEntry(mac=macs["c"], dst="192.0.2.3")}
    neighbours = {(n.address, n.mac, n.protocol) for n in link.neighbours}
    assert neighbours == {(f"10.52.{i}.0", macs[n], OWNER_PROTOCOL) for i, n in enumerate("abc") if n != "a"}
    assert ways(found) == {"10.52.1.0/24": ("10.52.1.0", FLANNEL), "10.52.2.0/24": ("10.52.2.0", FLANNEL)}
    assert not found.problems
    assert link.settings == {"ipv6/accept_ra": "0"}


def test_it_is_kept_on_disk_to_go_back_to() -> None:
    state = compiled(mgmt(), A, B, C).state
    back = hoststate.read(json.loads(json.dumps(hoststate.write(state))))
    assert (back.links[FLANNEL], back.routes) == (state.links[FLANNEL], state.routes)
    assert back.links[FLANNEL].settings == {"ipv6/accept_ra": "0"}


def test_each_family_has_its_own_device_and_tunnels() -> None:
    facts = replace(
        FACTS,
        reach=Reach(addresses=frozenset({Cidr("192.0.2.1/24"), Cidr("2001:db8::1/64")})),
        addrs={IfName("mgmt-br"): frozenset({Cidr("192.0.2.1/24"), Cidr("2001:db8::1/64")})},
        mtus={IfName("mgmt-br"): 9000},
    )
    a = node("a", "10.52.0.0/24,fd52::/64")
    b = node("b", "10.52.1.0/24,fd52:0:0:1::/64", "192.0.2.2", public_ipv6="2001:db8::2")
    found = compiled(mgmt(BOTH), a, b, facts=facts)
    assert {n: (link.mtu, link.spec) for n, link in found.state.links.items() if n.startswith("flannel")} == {
        FLANNEL: (8950, Vxlan(vni=1, port=8472, local="192.0.2.1")),
        "flannel-v6.1": (8930, Vxlan(vni=1, port=8472, local="2001:db8::1")),
    }
    assert ways(found)["fd52:0:0:1::/64"] == ("fd52:0:0:1::", "flannel-v6.1")
    v4, v6 = (found.state.links[IfName(n)].mac for n in (FLANNEL, "flannel-v6.1"))
    assert v4 != v6


def test_the_mac_of_the_annotation_counts_as_flannel_wrote_it() -> None:
    said = '{"VNI":1,"VtepMAC":"5e:00:00:00:00:0b"}'
    own = node("a", "10.52.0.0/24", backend_data=said.replace("0b", "0a"))
    found = compiled(mgmt(), own, B, node("c", "10.52.2.0/24", "192.0.2.3", backend_data=said))
    link = found.state.links[FLANNEL]
    assert link.mac == "5e:00:00:00:00:0a"
    assert FdbEntry(mac=Mac("5e:00:00:00:00:0b"), dst="192.0.2.3") in (link.fdb or ())


def test_macs_that_follow_from_names_can_be_a_devices() -> None:
    found = [vtep_mac(Node(meta=Meta(name=f"n{n}")), f, 1) for n in range(500) for f in FAMILIES]
    assert len(set(found)) == 1000
    assert all(int(mac[:2], 16) & 3 == 2 for mac in found)


def test_the_address_of_host_networks_here_and_elsewhere() -> None:
    """The one with a gateway leads out; the operating system's own count only where there is none."""
    storage = host_network(30, {"a": "10.30.0.1/24", "b": "10.30.0.2/24"})
    nodes = host_network(50, {"a": "10.50.0.1/24", "b": "10.50.0.2/24"}, ", gateway: 10.50.0.254")
    found = compiled(mgmt(), node("a", "10.52.0.0/24"), node("b", "10.52.1.0/24"), storage, nodes)
    link = found.state.links[FLANNEL]
    assert isinstance(link.spec, Vxlan)
    assert link.spec.local == "10.50.0.1"
    assert {entry.dst for entry in link.fdb or ()} == {"10.50.0.2"}


def test_with_dhcp_the_lease_says_it_and_without_one_all_stays() -> None:
    spec = "spec: {clusterNetwork: mgmt, vlanID: 50, mode: dhcp}\n"
    dhcp = f"{HEAD}kind: HostNetworkConfig\nmetadata: {{name: d}}\n{spec}"
    bare = replace(FACTS, reach=Reach(), addrs={}, mtus={}, agent=True)
    found = compiled(mgmt(), A, B, dhcp, facts=bare)
    assert found.held == {FLANNEL}
    assert ("overlay-address-missing", "mgmt") in codes(found)
    lease = Lease(interface=IfName("mgmt-br.50"), address=Cidr("10.50.0.77/24"))
    found = compiled(mgmt(), A, B, dhcp, facts=replace(bare, leases={lease.interface: lease}))
    spec_of = found.state.links[FLANNEL].spec
    assert isinstance(spec_of, Vxlan)
    assert spec_of.local == "10.50.0.77"


def test_the_mtu_is_that_of_the_management_network() -> None:
    facts = replace(FACTS, mtus={IfName("mgmt-br"): 9000})
    assert compiled(mgmt(), A, facts=facts).state.links[FLANNEL].mtu == 8950
    small = replace(FACTS, mtus={IfName("mgmt-br"): 1300})
    assert compiled(mgmt(), A, facts=small).state.links[FLANNEL].settings == {}, "too small for IPv6's sysctls"


def test_a_segment_needs_no_tunnel_where_windrow_has_the_network() -> None:
    conf = {**BASE, "Backend": {"DirectRouting": True}}
    annotated = f"{HEAD}kind: VlanConfig\nmetadata: {{name: m, annotations: {{windrow.io/managed: 'true'}}}}\n"
    uplink = annotated + "spec: {clusterNetwork: mgmt, uplink: {nics: [e0]}}\n"
    far = node("c", "10.52.2.0/24", "198.51.100.3")
    addresses = host_network(0, {"a": "192.0.2.1/24", "b": "192.0.2.2/24"})
    nic = Nic(name=IfName("e0"), mac=Mac("52:54:00:00:00:01"))
    facts = NodeFacts(node="a", nics={nic.name: nic}, links=frozenset({nic.name}))
    found = compiled(mgmt(conf), uplink, addresses, A, B, far, facts=facts)
    assert ways(found) == {"10.52.1.0/24": ("192.0.2.2", "mgmt-br"), "10.52.2.0/24": ("10.52.2.0", FLANNEL)}
    assert {entry.dst for entry in found.state.links[FLANNEL].fdb or ()} == {"198.51.100.3"}
    theirs = compiled(mgmt(conf), A, B, far)
    assert ways(theirs)["10.52.1.0/24"] == ("10.52.1.0", FLANNEL)
    assert ("overlay-not-direct", "mgmt") in codes(theirs)


# -- what is wrong -----------------------------------------------------------------------------------------------------


MAC = '{"VNI":1,"VtepMAC":"5e:00:00:00:00:0b"}'


@pytest.mark.parametrize(
    ("other", "code", "path"),
    [
        (node("x", "", "192.0.2.9"), "podcidr-missing", "spec.podCIDRs"),
        (node("x", "10.52.9.0/24"), "overlay-end-unknown", "metadata.annotations[flannel.alpha.coreos.com/public-ip]"),
        (node("x", "10.52.0.128/25", "192.0.2.9"), "podcidr-overlap", "spec.podCIDRs"),
        (node("x", "10.52.1.0/24", "192.0.2.9"), "podcidr-overlap", "spec.podCIDRs"),
        (node("x", "10.0.0.0/8", "192.0.2.9"), "podcidr-outside", "spec.podCIDRs"),
        (node("x", "192.0.2.0/24", "192.0.2.9"), "podcidr-outside", "spec.podCIDRs"),
        (node("x", "10.52.9.0/24", "192.0.2.1"), "overlay-address-twice", None),
        (node("x", "10.52.9.0/24", "192.0.2.2"), "overlay-address-twice", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data=MAC), "vtep-twice", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data="{"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data='{"VtepMAC": "no"}'), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data=MAC.replace("5e", "5f")), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data=MAC.replace(":1", ":2")), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_type="wireguard"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "nowhere"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "0.0.0.0"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "127.0.0.1"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "169.254.0.1"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "255.255.255.255"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "10.52.9.1"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", public_ip="2001:db8::9"), "overlay-annotation", None),
        (node("x", "fd52:0:0:9::/64", "192.0.2.9"), "podcidr-missing", "spec.podCIDRs"),
        (node("x", "fd52:0:0:9::/64,10.52.1.0/24", "192.0.2.9"), "podcidr-overlap", "spec.podCIDRs"),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data="[]"), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data='{"VtepMAC": 5}'), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data=MAC.replace("1", '"1"', 1)), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_data=MAC.replace("5e", "01")), "overlay-annotation", None),
        (node("x", "10.52.9.0/24", "192.0.2.9", backend_type=""), "overlay-annotation", None),
    ],
)
def test_what_is_wrong_with_a_node_costs_the_way_to_it_alone(other: str, code: str, path: str | None) -> None:
    b = node("b", "10.52.1.0/24", "192.0.2.2", backend_data=MAC)
    found = compiled(mgmt(), A, b, other)
    assert ways(found) == {"10.52.1.0/24": ("10.52.1.0", FLANNEL)}
    (problem,) = found.problems
    assert (problem.code, problem.about and problem.about.name, problem.severity) == (code, "x", Severity.WARNING)
    assert problem.hint
    assert problem.path == path or (path is None and problem.path.startswith("metadata.annotations["))


@pytest.mark.parametrize(
    "end", ["fe80::1", "fe80::1%eth0", "fd50::9%eth0", "::1", "ff02::1", "::ffff:192.0.2.9", "fd52::9"]
)
def test_an_ipv6_address_that_ends_no_tunnel_costs_the_way_to_its_node_alone(end: str) -> None:
    """Netlink has no place for a zone, and a step that fails would cost all ways."""
    a, b = (node(n, f"fd52:0:0:{i}::/64", f"fd50::{i}") for i, n in ((1, "a"), (2, "b")))
    found = compiled(
        mgmt({**BOTH, "EnableIPv4": False}), a, b, node("x", "fd52:0:0:9::/64", end), facts=here("a", "fd50::1/64")
    )
    assert list(ways(found)) == ["fd52:0:0:2::/64"]
    assert codes(found) == [("overlay-annotation", "x")]


def test_an_ipv4_end_in_the_place_of_the_ipv6_one_costs_ipv6_alone() -> None:
    facts = replace(FACTS, reach=Reach(addresses=frozenset({Cidr("192.0.2.1/24"), Cidr("2001:db8::1/64")})))
    facts = replace(facts, addrs={IfName("mgmt-br"): facts.reach.addresses}, mtus={IfName("mgmt-br"): 1500})
    mixed = node("x", "10.52.9.0/24,fd52:0:0:9::/64", "192.0.2.9", public_ipv6="192.0.2.9")
    found = compiled(mgmt(BOTH), node("a", "10.52.0.0/24,fd52::/64"), mixed, facts=facts)
    assert list(ways(found)) == ["10.52.9.0/24"]
    assert codes(found) == [("overlay-annotation", "x")]


def test_two_nodes_that_are_at_odds_see_it_both() -> None:
    """Each is right by itself, and the third one keeps the first."""
    twins = [node(n, f"10.52.{i}.0/24", f"192.0.2.{i + 1}", backend_data=MAC) for i, n in enumerate("ab")]
    assert codes(compiled(mgmt(), *twins, C)) == [("vtep-twice", "b")]
    assert codes(compiled(mgmt(), *twins, C, facts=here("b", "192.0.2.2/24"))) == [("vtep-twice", "a")]
    third = compiled(mgmt(), *twins, C, facts=here("c", "192.0.2.3/24"))
    assert codes(third) == [("vtep-twice", "b")]
    assert list(ways(third)) == ["10.52.0.0/24"]


@pytest.mark.parametrize(
    ("own", "facts", "code"),
    [
        (node("a"), FACTS, "podcidr-missing"),
        (node("a", "fd52::/64"), FACTS, "podcidr-missing"),
        (node("a", "10.52.0.0/24", backend_data="["), FACTS, "overlay-annotation"),
        (node("a", "10.53.0.0/24"), FACTS, "podcidr-outside"),
        (A, replace(FACTS, features=KernelFeatures(vxlan=False)), "kernel-feature"),
        (A, here("a", "10.52.9.1/24"), "management-taken"),
    ],
)
def test_what_this_node_lacks_leaves_the_device_as_it_is(own: str, facts: NodeFacts, code: str) -> None:
    found = compiled(mgmt(), own, B, facts=facts)
    assert FLANNEL not in found.state.links
    assert found.held == {FLANNEL}
    (problem,) = found.problems
    assert (problem.code, problem.severity) == (code, Severity.WARNING)
    assert "modprobe vxlan" in problem.hint or code != "kernel-feature"


def test_ipv6_that_is_off_or_does_not_fit_costs_ipv6_alone() -> None:
    both = node("a", "10.52.0.0/24,fd52::/64")
    addrs = frozenset({Cidr("192.0.2.1/24"), Cidr("2001:db8::1/64")})
    here = replace(FACTS, reach=Reach(addresses=addrs), addrs={IfName("mgmt-br"): addrs})
    off = compiled(mgmt(BOTH), both, facts=replace(here, features=KernelFeatures(ipv6=False, ipv6_on=False)))
    assert (off.held, codes(off)) == ({"flannel-v6.1"}, [("ipv6-off", "mgmt")])
    small = compiled(mgmt(BOTH), both, facts=replace(here, mtus={IfName("mgmt-br"): 1300}))
    assert (small.held, codes(small)) == ({"flannel-v6.1"}, [("overlay-mtu", "mgmt")])
    assert off.state.links.keys() & {FLANNEL} and small.state.links.keys() & {FLANNEL}


# -- whose part is whose -----------------------------------------------------------------------------------------------


def _free(conf: Mapping[str, Any], *nodes: Node, family: int = 0) -> dict[str, str]:
    read, faults = read_net_conf(json.dumps(conf))
    assert not faults
    return {name: str(network) for name, network in free_networks(read, nodes, FAMILIES[family]).items()}


def _node(name: str, *cidrs: str) -> Node:
    return Node(meta=Meta(name=name), pod_cidrs=tuple(map(Cidr, cidrs)))


def test_the_first_free_part_in_the_order_of_names() -> None:
    nodes = _node("c"), _node("a"), _node("b", "10.52.1.0/24"), _node("d", "10.52.2.128/25"), _node("e", "192.0.2.0/24")
    assert _free(BASE, *nodes) == {"a": "10.52.0.0/24", "c": "10.52.3.0/24"}
    assert _free(BASE, *reversed(nodes)) == _free(BASE, *nodes)


def test_what_is_written_down_stays_whoever_comes() -> None:
    first = _free(BASE, _node("m"), _node("n"))
    written = [_node(name, network) for name, network in first.items()]
    assert _free(BASE, *written, _node("a")) == {"a": "10.52.2.0/24"}


def test_where_nothing_is_free_nobody_gets_any() -> None:
    tiny = {"Network": "10.52.0.0/23"}
    assert _free(tiny, _node("a"), _node("b"), _node("c")) == {"a": "10.52.0.0/24", "b": "10.52.1.0/24"}
    assert _free(tiny, _node("x", "10.0.0.0/8"), _node("a")) == {}


def test_ipv6_has_room_without_counting_it() -> None:
    wide = {**BOTH, "IPv6Network": "fd00::/16"}
    assert _free(wide, _node("x", "fd00::/17"), _node("a"), family=1) == {"a": "fd00:8000::/64"}


def run(root: Path, *words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["--root", str(root), "--node", "a", *words], input=text)


def test_the_verb_prints_what_apply_writes_down(tmp_path: Path) -> None:
    place = tmp_path / "etc/windrow/manifests"
    place.mkdir(parents=True)
    c = node("c", "10.52.2.0/24,fd52::/64")
    (place / "all.yaml").write_text(mgmt(BOTH) + node("a", "10.52.0.0/24") + node("b") + c)
    said = run(tmp_path, "overlay", "podcidrs")
    assert said.exit_code == 0
    written = {o.name: o.pod_cidrs for o in load_documents(said.stdout).objects if isinstance(o, Node)}
    assert written == {"a": ("10.52.0.0/24", "fd52:0:0:1::/64"), "b": ("10.52.1.0/24", "fd52:0:0:2::/64")}
    (place / "all.yaml").write_text(mgmt(BOTH) + c)
    (place / "given.yaml").write_text(said.stdout)
    again = run(tmp_path, "overlay", "podcidrs")
    assert (again.exit_code, again.stdout) == (0, "")
    (place / "all.yaml").write_text("")
    none = run(tmp_path, "overlay", "podcidrs")
    assert none.exit_code == 1
    assert PLACE in none.stderr


# -- what is said of it ------------------------------------------------------------------------------------------------


def report(link: Link | None, *, group: int = OWNER_GROUP) -> NodeReport:
    links = {link.name: link} if link else {}
    runtime = {name: Runtime(ifindex=1, group=group) for name in links}
    return NodeReport(node="a", observed=Observed(state=HostState(links=links), runtime=runtime))


def test_a_node_says_its_end_as_flannel_does() -> None:
    there = cluster(mgmt(), A)
    link = compile_node(there, FACTS).state.links[FLANNEL]
    said = tunnel_end(there.node("a"), there, report(link))
    prefix = "flannel.alpha.coreos.com"
    assert said == {
        f"{prefix}/kube-subnet-manager": "true",
        f"{prefix}/backend-type": "vxlan",
        f"{prefix}/backend-data": f'{{"VNI":1,"VtepMAC":"{link.mac}"}}',
        f"{prefix}/public-ip": "192.0.2.1",
    }
    drifted = replace(link, mac=Mac("02:00:00:00:00:99"))
    assert tunnel_end(there.node("a"), there, report(drifted)) == said, "what a hand made of it is nobody's end"
    behind = cluster(mgmt(), node("a", "10.52.0.0/24", public_ip_overwrite="203.0.113.9"))
    assert tunnel_end(behind.node("a"), behind, report(link))[f"{prefix}/public-ip"] == "203.0.113.9"


def test_the_screen_says_who_carries_the_packets() -> None:
    there = cluster(mgmt(), A, B, C)
    link = compile_node(there, FACTS).state.links[FLANNEL]
    bridge = Link(name=IfName("mgmt-br"), spec=Bridge(), up=True, mtu=1500)

    def row(link: Link, group: int) -> str:
        runtime = {bridge.name: Runtime(ifindex=1, carrier=True), link.name: Runtime(ifindex=2, group=group)}
        links = {bridge.name: bridge, link.name: link}
        seen = NodeReport(node="a", observed=Observed(state=HostState(links=links), runtime=runtime))
        return next(line for line in overview_text(overview(there, seen)).splitlines() if "overlay" in line)

    assert row(link, OWNER_GROUP).endswith("flannel.1  MTU 1450  from 192.0.2.1  to 2 nodes")
    theirs = replace(link, spec=Other(kind="vxlan"), fdb=None)
    assert row(theirs, 0).endswith("flannel.1  MTU 1450  made by others")


def test_the_screen_says_it_where_the_operating_system_has_the_management_network() -> None:
    """On its own NIC, without a bridge of Windrow's."""
    there = cluster(mgmt(), A, B)
    link = compile_node(there, FACTS).state.links[FLANNEL]
    runtime = {FLANNEL: Runtime(ifindex=2, group=OWNER_GROUP)}
    seen = NodeReport(node="a", observed=Observed(state=HostState(links={FLANNEL: link}), runtime=runtime))
    assert "  overlay flannel.1  MTU 1450  from 192.0.2.1  to 1 node" in overview_text(overview(there, seen))


def test_of_flannels_own_device_nothing_is_said() -> None:
    there = cluster(mgmt(), A)
    link = compile_node(there, FACTS).state.links[FLANNEL]
    assert tunnel_end(there.node("a"), there, report(link, group=0)) == {}
    assert tunnel_end(there.node("a"), there, report(None)) == {}
    assert tunnel_end(there.node("a"), cluster(A), report(link)) == {}


# -- forged packets ----------------------------------------------------------------------------------------------------


def forged(found: Compiled) -> tuple[list[str], dict[str, frozenset[str]]]:
    """What the rules drop, by their words, and who is at an end of a tunnel."""
    table = found.state.policies
    assert table is not None
    rules = table.chains["forged"].rules if "forged" in table.chains else ()
    ends = {name: one.members for name, one in table.sets.items() if name.startswith("tunnel-ends")}
    return [rule.comment.rpartition(" ")[0] for rule in rules], ends


def test_packets_to_tunnels_that_no_node_has_sent_are_dropped() -> None:
    said, ends = forged(compiled(mgmt(), A, B, C))
    assert said == ["overlay: from a guest", "overlay: from no node"]
    assert ends == {"tunnel-ends-4": {"192.0.2.1", "192.0.2.2", "192.0.2.3"}}


def test_of_each_family_by_its_own_addresses() -> None:
    facts = replace(FACTS, reach=Reach(addresses=frozenset({Cidr("192.0.2.1/24"), Cidr("2001:db8::1/64")})))
    facts = replace(facts, addrs={IfName("mgmt-br"): facts.reach.addresses}, mtus={IfName("mgmt-br"): 1500})
    six = node("b", "10.52.1.0/24,fd52:0:0:1::/64", "2001:db8::2", public_ip="192.0.2.2")
    _, ends = forged(compiled(mgmt(BOTH), node("a", "10.52.0.0/24,fd52::/64"), six, facts=facts))
    assert ends == {
        "tunnel-ends-4": {"192.0.2.1", "192.0.2.2"},
        "tunnel-ends-6": {"2001:db8::1", "2001:db8::2"},
    }


def test_a_node_to_which_there_is_no_way_is_a_node_all_the_same() -> None:
    found = compiled(mgmt(), A, node("b", "", "192.0.2.2"), node("c", "10.52.1.0/24", "192.0.2.3", backend_data="?"))
    assert forged(found)[1] == {"tunnel-ends-4": {"192.0.2.1", "192.0.2.2", "192.0.2.3"}}


def test_what_a_node_says_wrongly_of_itself_does_not_hide_its_static_address() -> None:
    static = host_network(0, {"b": "192.0.2.2/24"})
    found = compiled(mgmt(), A, node("b", "10.52.1.0/24", "127.0.0.1"), static)
    assert forged(found)[1] == {"tunnel-ends-4": {"192.0.2.1", "192.0.2.2"}}


def test_where_a_node_may_send_from_another_address_only_guests_are_kept_away() -> None:
    behind = node("b", "10.52.1.0/24", "203.0.113.9", public_ip_overwrite="203.0.113.9")
    assert forged(compiled(mgmt(), A, behind))[0] == ["overlay: from a guest"]


def test_while_something_is_not_known_of_this_node_its_device_is_guarded() -> None:
    said, ends = forged(compiled(mgmt(), node("a", "", "192.0.2.1"), B))
    assert (len(said), ends) == (2, {"tunnel-ends-4": {"192.0.2.1", "192.0.2.2"}})


def test_beside_flannel_no_rule_is_ours() -> None:
    found = compiled(mgmt(), A, B, facts=replace(FACTS, links=FACTS.links | {FLANNEL}))
    assert forged(found) == ([], {})
    assert codes(found) == [("overlay-of-others", "mgmt")]


def test_without_an_overlay_no_rule_is_ours() -> None:
    assert forged(compiled(A, B)) == ([], {})


def test_a_kernel_that_cannot_drop_them_is_told() -> None:
    found = compiled(mgmt(), A, B, facts=replace(FACTS, features=KernelFeatures(bridge_rules=False)))
    assert forged(found) == ([], {})
    assert codes(found) == [("overlay-unguarded", "mgmt")]
    assert FLANNEL in found.state.links
