"""compile_node: what one node should be, from the objects and its facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.compile import compile_node, node_facts
from windrow.compile.facts import protected_links
from windrow.model.bonding import BondMode
from windrow.model.bridging import CLUSTER_BRIDGE
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Nic, NodeFacts
from windrow.model.host import (
    FRESH_VLAN_FLAGS,
    OWNER_GROUP,
    Bond,
    Bridge,
    HostState,
    Link,
    Observed,
    Other,
    PortVlans,
    Route,
    Runtime,
    Snooping,
    VlanIf,
)
from windrow.model.meta import Meta
from windrow.model.names import ANNOTATION_BOND_MAC, ANNOTATION_SNOOPING
from windrow.model.objects import (
    AddressMode,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    NetworkAttachmentDefinition,
    NetworkType,
    NicIdentity,
    NicSelector,
    Node,
    Uplink,
    VlanConfig,
)
from windrow.model.problems import Severity
from windrow.model.values import OWNER_PROTOCOL, Cidr, IfName, Mac, VidSet

NODE = "n0"
NICS = {
    IfName(f"e{i}"): Nic(name=IfName(f"e{i}"), mac=Mac(f"52:54:00:00:00:0{i}"), pci=f"0000:0{i}:00.0") for i in range(4)
}
FACTS = NodeFacts(node=NODE, nics=NICS, links=frozenset(NICS))


def nics(*words: str) -> tuple[NicSelector, ...]:
    return tuple(NicSelector(by=NicIdentity.NAME, value=w) for w in words)


def config(name: str = "oob-all", cn: str = "oob", mtu: int = 0, **rest: object) -> VlanConfig:
    uplink = Uplink(nics=rest.pop("nics", nics("e0", "e1")), bond=rest.pop("bond", Bond()), mtu=mtu)  # type: ignore[arg-type]
    return VlanConfig(meta=Meta(name=name), cluster_network=cn, uplink=uplink, **rest)  # type: ignore[arg-type]


def nad(vid: int, bridge: str = "oob-br") -> NetworkAttachmentDefinition:
    kind = NetworkType.VLAN if vid else NetworkType.UNTAGGED
    return NetworkAttachmentDefinition(
        meta=Meta(name=f"v{vid}", namespace="default"), config={}, type=kind, bridge=bridge, vid=vid
    )


def trunk(vids: str) -> NetworkAttachmentDefinition:
    meta = Meta(name="trunk", namespace="default")
    return NetworkAttachmentDefinition(
        meta=meta, config={}, type=NetworkType.TRUNK, bridge="oob-br", trunk=VidSet.parse(vids)
    )


def host_network(vid: int, cn: str = "oob", **rest: object) -> HostNetworkConfig:
    ips = {NODE: (Cidr(f"10.0.{vid % 256}.1/24"),)}
    return HostNetworkConfig(
        meta=Meta(name=f"h{vid}"),
        cluster_network=cn,
        vid=vid,
        mode=AddressMode.STATIC,
        ips=ips,
        **rest,  # type: ignore[arg-type]
    )


def compiled(*objects: AnyObject, facts: NodeFacts = FACTS):  # type: ignore[no-untyped-def]
    return compile_node(Cluster.of([ClusterNetwork(meta=Meta(name="oob")), *objects]), facts)


def links(*objects: AnyObject, facts: NodeFacts = FACTS) -> dict[str, Link]:
    return dict(compiled(*objects, facts=facts).state.links)


def test_an_empty_cluster_wants_nothing() -> None:
    assert not links()


def test_the_uplink_is_a_bond_on_a_vlan_aware_bridge() -> None:
    found = links(config(), nad(100), nad(200))
    assert sorted(found) == ["e0", "e1", "oob-bo", "oob-br"]
    bridge, bond = found["oob-br"], found["oob-bo"]
    assert bridge.spec == CLUSTER_BRIDGE and bridge.promisc and bridge.up and bridge.mtu == 1500
    assert bond.master == "oob-br" and found["e0"].master == "oob-bo"
    assert str(bond.vlans.tagged) == "100,200" and bond.vlans.pvid == 1 and str(bond.vlans.untagged) == "1"  # type: ignore[union-attr]


def asking(vid: int) -> NetworkAttachmentDefinition:
    made = nad(vid)
    return replace(made, meta=replace(made.meta, annotations={ANNOTATION_SNOOPING: "true"}))


def test_the_bridge_snoops_only_in_the_vlans_that_ask() -> None:
    """And is in them itself, or it would not ask for groups there."""
    plain = links(config(), nad(100), nad(200))["oob-br"]
    assert plain.spec.mcast_snooping is False and plain.spec.mcast_vlan_snooping is False  # type: ignore[union-attr]
    assert plain.snooping == Snooping() and not plain.self_vlans.all  # type: ignore[union-attr]
    found = links(config(), nad(100), asking(200))["oob-br"]
    assert found.spec.mcast_snooping and found.spec.mcast_vlan_snooping  # type: ignore[union-attr]
    asked = VidSet.of([200])
    assert found.snooping == Snooping(snooped=asked, asked=asked)
    assert found.self_vlans == PortVlans(tagged=asked)


def test_a_kernel_that_cannot_snoop_by_vlan_does_without_and_it_is_said() -> None:
    facts = replace(FACTS, features=KernelFeatures(vlan_snooping=False))
    found = compiled(config(), asking(200), facts=facts)
    assert found.state.links[IfName("oob-br")].spec == CLUSTER_BRIDGE
    assert [(p.code, p.severity) for p in found.problems] == [("kernel-feature", Severity.WARNING)]


def test_a_bond_without_options_is_harvesters_default() -> None:
    spec = links(config())["oob-bo"].spec
    assert isinstance(spec, Bond)
    assert (spec.mode, spec.miimon, spec.xmit_hash_policy, spec.lacp_rate) == (BondMode.ACTIVE_BACKUP, 100, None, None)


def test_miimon_zero_is_used_as_it_is_and_the_arp_monitor_turns_it_off() -> None:
    assert links(config(bond=Bond(miimon=0)))["oob-bo"].spec.miimon == 0  # type: ignore[union-attr]
    arp = links(config(bond=Bond(arp_interval=200, arp_ip_target=("10.0.0.1",))))["oob-bo"].spec
    assert isinstance(arp, Bond) and arp.miimon == 0 and arp.arp_ip_target == ("10.0.0.1",)


def test_an_option_taken_out_of_the_manifest_goes_back_to_its_default() -> None:
    spec = links(config(bond=Bond(mode=BondMode.LACP)))["oob-bo"].spec
    assert isinstance(spec, Bond) and spec.lacp_rate == "slow" and spec.xmit_hash_policy == "layer2"


def test_an_untagged_network_asks_for_no_vid_and_vid_1_never_is_tagged() -> None:
    bond = links(config(), nad(0), trunk("1,7,10-12"))["oob-bo"]
    assert str(bond.vlans.tagged) == "7,10-12"  # type: ignore[union-attr]


def test_a_host_network_is_a_vlan_interface_and_a_vid_of_bridge_and_uplink() -> None:
    found = links(config(mtu=9000), host_network(300))
    child = found["oob-br.300"]
    assert child.spec == VlanIf(parent=IfName("oob-br"), vid=300, flags=FRESH_VLAN_FLAGS)
    assert child.addrs == {"10.0.44.1/24"} and child.mtu == 9000
    assert 300 in found["oob-bo"].vlans.tagged and 300 in found["oob-br"].self_vlans.tagged  # type: ignore[union-attr]


def test_vids_of_vlan_interfaces_that_others_made_are_kept() -> None:
    facts = replace(FACTS, foreign_vids={IfName("oob-br"): VidSet.of([77])})
    found = links(config(), facts=facts)
    assert 77 in found["oob-bo"].vlans.tagged and 77 in found["oob-br"].self_vlans.tagged  # type: ignore[union-attr]


def test_a_node_selector_chooses_by_equality_and_a_witness_never() -> None:
    by_rack = config(node_selector={"rack": "r1"})
    assert not links(by_rack, Node(meta=Meta(name=NODE, labels={"rack": "r2"})))
    assert "oob-br" in links(by_rack, Node(meta=Meta(name=NODE, labels={"rack": "r1"})))
    witness = {"rack": "r1", "node-role.harvesterhci.io/witness": "true"}
    assert not links(by_rack, Node(meta=Meta(name=NODE, labels=witness)))


def test_two_configs_of_one_cluster_network_hold_what_is_there() -> None:
    facts = replace(FACTS, links=FACTS.links | {IfName("oob-br"), IfName("oob-br.5")})
    result = compiled(config("a"), config("b", nics=nics("e2")), facts=facts)
    assert not result.state.links
    assert {"oob-br", "oob-bo", "oob-br.5"} <= result.held
    assert {p.code for p in result.problems} == {"vlanconfig-overlap"}


def test_a_nic_serves_one_uplink_only() -> None:
    other = config("store", cn="store", nics=nics("e1", "e2"))
    result = compiled(config("oob"), other)
    assert [p.code for p in result.problems] == ["nic-in-use"]
    assert "oob-bo" in result.state.links and "store-bo" not in result.state.links


def test_a_nic_is_found_by_its_permanent_mac_or_its_pci_address() -> None:
    by_mac = NicSelector(by=NicIdentity.MAC, value="52:54:00:00:00:02")
    by_pci = NicSelector(by=NicIdentity.PCI, value="0000:03:00.0")
    assert {"e2", "e3"} <= links(config(nics=(by_mac, by_pci))).keys()


def test_a_missing_nic_is_a_warning_and_the_bond_runs_on_the_rest() -> None:
    result = compiled(config(nics=nics("e0", "e9")))
    (problem,) = result.problems
    assert problem.severity is Severity.WARNING and problem.path == "spec.uplink.nics[1]"
    assert result.state.links[IfName("e0")].master == "oob-bo"


def test_the_mac_is_pinned_to_the_first_nic_and_stays_when_that_nic_leaves() -> None:
    assert links(config())["oob-br"].mac == "52:54:00:00:00:00"
    facts = replace(FACTS, macs={IfName("oob-br"): Mac("52:54:00:00:00:00")})
    assert links(config(nics=nics("e1")), facts=facts)["oob-br"].mac == "52:54:00:00:00:00"
    drifted = replace(FACTS, macs={IfName("oob-br"): Mac("02:00:00:00:00:99")})
    assert links(config(), facts=drifted)["oob-br"].mac == "52:54:00:00:00:00"


@pytest.mark.parametrize("moved", ["active", "follow"])
def test_the_mac_of_a_bond_that_follows_a_slave_is_the_kernels(moved: str) -> None:
    """Whatever is said: a plan for another one would never come to an end, and each round would cost a flap."""
    said = config(bond=Bond(fail_over_mac=moved))
    said = replace(said, uplink=replace(said.uplink, mac=Mac("02:aa:00:00:00:01")))
    said = replace(said, meta=Meta(name="oob-all", annotations={ANNOTATION_BOND_MAC: "02:aa:00:00:00:02"}))
    found = links(said)
    assert (found["oob-bo"].mac, found["oob-br"].mac) == (None, "02:aa:00:00:00:01")


def test_mgmt_is_vids_and_vlan_interfaces_only_and_keeps_its_own_vlan() -> None:
    mgmt = replace(
        FACTS,
        links=FACTS.links | {IfName("mgmt-br"), IfName("mgmt-bo")},
        foreign_vids={IfName("mgmt-br"): VidSet.of([5])},
    )
    found = links(nad(100, "mgmt-br"), host_network(30, "mgmt"), facts=mgmt)
    bond, bridge = found["mgmt-bo"], found["mgmt-br"]
    assert (bond.up, bond.mtu, bond.mac, bond.master, bridge.up, bridge.promisc) == (None,) * 6
    assert str(bond.vlans.tagged) == "5,30,100" and str(bridge.self_vlans.tagged) == "5,30"  # type: ignore[union-attr]
    assert not bond.vlans.exact  # type: ignore[union-attr]
    assert "mgmt-br.30" in found


@pytest.mark.parametrize(
    ("features", "module"),
    [
        (KernelFeatures(bonding=False), "bonding"),
        (KernelFeatures(vlan_filtering=False), "bridge"),
    ],
)
def test_a_kernel_that_cannot_do_it_says_which_module(features: KernelFeatures, module: str) -> None:
    result = compiled(config(), facts=replace(FACTS, features=features))
    assert not result.state.links
    assert any(module in p.hint for p in result.problems)


def test_a_default_route_of_ours_counts_where_there_is_no_other() -> None:
    eth0 = Link(name=IfName("eth0"), spec=Other(kind="device"))
    oob = Link(name=IfName("oob-br"), spec=Bridge())
    ours = Route(dst="default", dev=IfName("oob-br"), gateway="10.0.0.1", metric=1024, protocol=OWNER_PROTOCOL)
    others = Route(dst="default", dev=IfName("eth0"), gateway="192.0.2.1", protocol=4)
    ours6 = replace(ours, gateway="2001:db8::1")

    def protected(*routes: Route) -> set[str]:
        links = {link.name: link for link in (eth0, oob)}
        runtime = {name: Runtime(ifindex=n) for n, name in enumerate(links)}
        return set(protected_links(Observed(state=HostState(links=links, routes=frozenset(routes)), runtime=runtime)))

    assert protected(ours, others) == {"eth0"}
    assert protected(ours) == {"oob-br"}
    assert protected(ours6, others) == {"eth0"}
    assert protected(replace(ours, protocol=4), others) == {"eth0", "oob-br"}


def test_protected_is_the_default_route_and_all_below_it() -> None:
    def link(name: str, spec: object = None, master: str | None = None) -> Link:
        return Link(name=IfName(name), spec=spec or Other(kind="device"), master=master)  # type: ignore[arg-type]

    observed = Observed(
        state=HostState(
            links={
                one.name: one
                for one in (
                    link("e0", master="mgmt-bo"),
                    link("e1"),
                    link("mgmt-bo", Bond(), "mgmt-br"),
                    link("veth1", Other(kind="veth"), "mgmt-br"),
                    link("mgmt-br", Bridge()),
                    link("mgmt-br.5", VlanIf(parent=IfName("mgmt-br"), vid=5)),
                    link("mgmt-br.30", VlanIf(parent=IfName("mgmt-br"), vid=30)),
                )
            },
            routes=frozenset({Route(dst="default", dev=IfName("mgmt-br.5"), gateway="10.0.0.1")}),
        ),
        runtime={IfName("mgmt-br.30"): Runtime(ifindex=9, group=OWNER_GROUP)},
    )
    facts = node_facts(NODE, observed, {}, KernelFeatures())
    assert facts.protected == {"e0", "mgmt-bo", "mgmt-br", "mgmt-br.5"}
    assert str(facts.management_vids) == "5"
