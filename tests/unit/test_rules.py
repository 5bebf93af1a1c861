"""Admission: what is allowed, and each refusal by itself. What the user reads is in tests/golden/errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.facts import KernelFeatures, Nic, NodeFacts
from windrow.model.host import Bond
from windrow.model.meta import Meta
from windrow.model.objects import (
    AddressMode,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    NetworkType,
    NicIdentity,
    NicSelector,
    Node,
    Uplink,
    VlanConfig,
)
from windrow.model.problems import Severity
from windrow.model.selectors import LabelSelector, Operator, Requirement
from windrow.model.values import Cidr, IfName, Mac, Ref, VidSet
from windrow.rules import Change, changes_to, check

OOB = ClusterNetwork(meta=Meta(name="oob"))
DMZ = ClusterNetwork(meta=Meta(name="dmz"))
MACS = {f"e{i}": Mac(f"52:54:00:00:00:0{i}") for i in range(6)}


def facts(node: str = "n1", **masters: str) -> NodeFacts:
    nics = {
        IfName(n): Nic(name=IfName(n), mac=m, master=IfName(masters[n]) if n in masters else None)
        for n, m in MACS.items()
    }
    return NodeFacts(node=node, nics=nics, links=frozenset(nics) | {IfName(m) for m in masters.values()})


def nics(*words: str) -> tuple[NicSelector, ...]:
    return tuple(NicSelector(by=NicIdentity.MAC if ":" in w else NicIdentity.NAME, value=w) for w in words)


def vc(
    name: str, *words: str, cn: str = "oob", mtu: int = 0, primary: str | None = None, **selector: str
) -> VlanConfig:
    uplink = Uplink(nics=nics(*(words or ("e0",))), bond=Bond(primary=primary), mtu=mtu)
    return VlanConfig(meta=Meta(name=name), cluster_network=cn, uplink=uplink, node_selector=selector)


def nad(name: str = "v1", bridge: str = "oob-br", mtu: int = 0) -> NetworkAttachmentDefinition:
    return NetworkAttachmentDefinition(
        meta=Meta(name=name, namespace="default"), config={}, type=NetworkType.VLAN, bridge=bridge, vid=100, mtu=mtu
    )


def hnc(
    name: str, vid: int = 300, cn: str = "oob", selector: LabelSelector | None = None, **ips: str
) -> HostNetworkConfig:
    return HostNetworkConfig(
        meta=Meta(name=name),
        cluster_network=cn,
        vid=vid,
        mode=AddressMode.STATIC if ips else AddressMode.DHCP,
        ips={n: tuple(map(Cidr, ip.split(","))) for n, ip in ips.items()},
        node_selector=selector,
    )


def rack(value: str, operator: Operator = Operator.IN) -> LabelSelector:
    return LabelSelector(requirements=(Requirement(key="rack", operator=operator, values=(value,)),))


def node(name: str, **labels: str) -> Node:
    return Node(meta=Meta(name=name, labels={names.LABEL_HOSTNAME: name, **labels}))


def put(
    *objects: AnyObject, before: Sequence[AnyObject] = (OOB,), at: NodeFacts | None = None, warnings: bool = False
) -> list[str]:
    """The codes of what is refused; with `warnings` of everything that is said."""
    cluster = Cluster.of(before)
    found = check(cluster, changes_to(cluster, objects), facts=at)
    return [p.code for p in found if warnings or p.severity is Severity.ERROR]


def delete(*objects: AnyObject, before: Sequence[AnyObject]) -> list[str]:
    return [p.code for p in check(Cluster.of(before), [Change(o, None) for o in objects])]


def test_a_whole_cluster_in_one_go_is_fine() -> None:
    everything = [DMZ, OOB, vc("a", "e0", "e1"), vc("b", "e2", cn="dmz"), nad(), hnc("h", n1="10.0.0.1/24"), node("n1")]
    assert put(*everything, before=(), at=facts(), warnings=True) == []
    assert put(*everything, before=everything, at=facts(e0="oob-bo", e1="oob-bo", e2="dmz-bo"), warnings=True) == []
    assert changes_to(Cluster.of(everything), everything) == ()


@pytest.mark.parametrize("name", ["a", "x" * 12, "a-b.c"])
def test_names_of_cluster_networks(name: str) -> None:
    assert put(ClusterNetwork(meta=Meta(name=name))) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x" * 13, "name-too-long"),
        ("a b", "name-invalid"),
        *((n, "name-reserved") for n in sorted(names.RESERVED_CLUSTER_NETWORKS)),
    ],
)
def test_no_names_of_cluster_networks(name: str, code: str) -> None:
    assert code in put(ClusterNetwork(meta=Meta(name=name)))


def annotated(mtu: str, name: str = "oob") -> ClusterNetwork:
    return ClusterNetwork(meta=Meta(name=name, annotations={names.ANNOTATION_UPLINK_MTU: mtu}))


@pytest.mark.parametrize("mtu", ["0", "1500", "576", "9000"])
def test_annotated_mtu(mtu: str) -> None:
    assert put(annotated(mtu, "mgmt")) == []
    assert put(annotated(mtu), vc("a", mtu=int(mtu))) == []


@pytest.mark.parametrize("mtu", ["575", "9001", "-1", "big", "", "1_500", "٣٠٠٠"])
def test_no_annotated_mtu(mtu: str) -> None:
    assert put(annotated(mtu)) == ["mtu-range"]
    assert put(vc("a", mtu=9000), before=[annotated(mtu)]) == [], "what is wrong already is not this change's fault"


def test_an_annotated_mtu_that_differs() -> None:
    assert put(annotated("9000"), before=[OOB, vc("a")]) == ["mtu-mismatch"]
    assert put(vc("a"), before=[annotated("9000")]) == ["mtu-mismatch"]
    assert put(annotated("9000"), vc("a"), before=()) == ["mtu-mismatch"], "said once"


def test_one_mtu_per_cluster_network_where_0_is_1500() -> None:
    assert put(vc("b", mtu=1500, rack="b"), before=[OOB, vc("a", rack="a")]) == []
    assert put(vc("b", mtu=9000, rack="b"), before=[OOB, vc("a", rack="a")]) == ["mtu-mismatch"]
    assert put(vc("b", mtu=9000, rack="b"), vc("a", rack="a", mtu=9000), before=[OOB, vc("a", rack="a")]) == []
    assert put(vc("b", mtu=9000, rack="b"), vc("a", rack="a")) == ["mtu-mismatch"], "said once"


def test_the_mtu_of_a_network() -> None:
    jumbo = [OOB, vc("a", mtu=9000)]
    assert put(nad(), before=jumbo) == [], "absent follows the cluster network"
    assert put(nad(mtu=9000), before=jumbo) == []
    assert put(nad(mtu=1500), before=jumbo) == ["mtu-mismatch"]
    assert put(nad(mtu=1500)) == []
    assert put(nad(mtu=9000)) == ["mtu-mismatch"]
    assert put(nad(mtu=9000), before=[annotated("9000")]) == []
    assert put(nad(bridge="mgmt-br", mtu=9000)) == [], "the MTU of mgmt is nobody's to say here"
    assert put(vc("a", mtu=9000), before=[OOB, vc("a"), nad(mtu=1500)], warnings=True) == ["mtu-mismatch"]


@pytest.mark.parametrize("obj", [vc("a", cn="dmz"), nad(bridge="dmz-br"), hnc("h", cn="dmz")], ids=lambda o: o.KIND)
def test_the_cluster_network_must_be_there(obj: AnyObject) -> None:
    assert put(obj) == ["clusternetwork-missing"]
    assert put(obj, DMZ) == []
    found = check(Cluster.of([]), [Change(None, obj)], unread=[DMZ.ref])
    assert [p.code for p in found if p.severity is Severity.ERROR] == [], "it is there, with problems of its own"


@pytest.mark.parametrize("obj", [vc("a"), nad(), hnc("h")], ids=lambda o: o.KIND)
def test_a_cluster_network_in_use_stays(obj: AnyObject) -> None:
    assert delete(OOB, before=[OOB, obj]) == ["clusternetwork-in-use"]
    assert delete(OOB, obj, before=[OOB, obj]) == [], "with what uses it, it may go"
    assert delete(DMZ, before=[OOB, DMZ, obj]) == []
    assert delete(obj, before=[OOB, obj]) == []


def test_mgmt_is_built_in() -> None:
    mgmt = Cluster.of([]).objects[Ref("ClusterNetwork", "mgmt")]
    assert delete(mgmt, before=[]) == ["mgmt-protected"]
    assert put(vc("a", cn="mgmt")) == ["mgmt-protected"]
    assert put(nad(bridge="mgmt-br"), hnc("h", cn="mgmt")) == []


def test_annotations_are_no_longer_than_an_api_server_lets_them_be() -> None:
    full = replace(OOB, meta=Meta(name="oob", annotations={"a": "x" * (256 * 1024 - 1)}))
    more = replace(OOB, meta=Meta(name="oob", annotations={**full.meta.annotations, "b": ""}))
    assert (put(full), put(more)) == ([], ["annotations-too-long"])
    stays = replace(more, meta=replace(more.meta, labels={"a": "b"}))
    assert put(stays, before=[more]) == [], "that was so before"


def test_labels_that_say_something_else() -> None:
    label = Meta(name="x", namespace="default", labels={names.LABEL_CLUSTERNETWORK: "oob"})
    assert put(replace(vc("x"), meta=label), replace(nad(), meta=label)) == []
    assert put(replace(vc("x", cn="dmz"), meta=label), DMZ) == ["label-mismatch"]
    assert put(replace(nad(bridge="dmz-br"), meta=label), DMZ) == ["label-mismatch"]


WITNESS = Node(meta=Meta(name="w", labels={"rack": "a", "row": "1", names.LABEL_WITNESS: "true"}))
OVERLAP = ["vlanconfig-overlap"]


@pytest.mark.parametrize(
    ("one", "other", "nodes", "codes"),
    [
        ({}, {}, [], OVERLAP),
        ({}, {"rack": "a"}, [], OVERLAP),
        ({"rack": "a"}, {"rack": "a"}, [], OVERLAP),
        ({"rack": "a"}, {"rack": "a", "row": "1"}, [], OVERLAP),
        ({"rack": "a"}, {"rack": "b"}, [], []),
        ({"rack": "a"}, {"row": "1"}, [], []),
        ({"rack": "a"}, {"row": "1"}, [node("n2", rack="a", row="1")], OVERLAP),
        ({"rack": "a"}, {"row": "1"}, [node("n2", rack="a"), node("n3", row="1")], []),
        ({"rack": "a"}, {"row": "1"}, [WITNESS], []),
    ],
)  # fmt: skip
def test_one_vlan_config_on_a_node(
    one: dict[str, str], other: dict[str, str], nodes: list[Node], codes: list[str]
) -> None:
    assert put(vc("a", "e1", **one), before=[OOB, *nodes, vc("b", "e2", **other)]) == codes
    assert put(vc("a", "e1", **one), vc("b", "e2", **other), before=[OOB, *nodes]) == codes, "said once"
    assert put(vc("a", "e1", **one), vc("b", "e2", cn="dmz", **other), before=[OOB, DMZ, *nodes]) == []


def test_this_node_counts_without_an_object() -> None:
    one, other = vc("a", "e1"), vc("b", "e2")
    one = replace(one, node_selector={names.LABEL_HOSTNAME: "n1"})
    other = replace(other, node_selector={names.LABEL_HOSTNAME: "n2"})
    assert put(one, before=[OOB, other], at=facts()) == []
    assert put(one, before=[OOB, vc("b", "e2")], at=facts()) == OVERLAP


def test_a_new_label_that_brings_two_together() -> None:
    before = [OOB, vc("a", "e1", rack="a"), vc("b", "e2", row="1"), hnc("h", selector=rack("a")), node("n2", rack="a")]
    assert put(node("n2", rack="a", row="1"), before=before) == OVERLAP
    assert put(node("n2", rack="b", row="1"), before=before) == []
    both = [*before[:-1], node("n2", rack="a", row="1")]
    assert put(node("n2", rack="a", row="1", x="y"), before=both) == [], "that was so before"
    hosts = [OOB, hnc("g", selector=rack("a")), hnc("h", selector=rack("b", Operator.NOT_IN)), node("n2")]
    assert put(node("n2", rack="a"), before=hosts) == ["hostnetwork-overlap"]


@pytest.mark.parametrize("selector", [{"rack": "a"}, {}])
def test_a_second_node_does_not_get_the_bonds_address_of_the_first(selector: dict[str, str]) -> None:
    """Whichever comes first, the node or the VlanConfig."""
    mac = {names.ANNOTATION_BOND_MAC: "02:aa:00:00:00:01"}
    config = replace(vc("a", **selector), meta=Meta(name="a", annotations=mac))
    first, second = node("n1", rack="a"), node("n2", rack="a")
    assert put(second, before=[OOB, config, first]) == ["mac-shared"]
    assert put(config, second, before=[OOB, first]) == ["mac-shared"], "said once"
    assert put(node("n1", rack="a", x="y"), before=[OOB, config, first]) == []
    assert put(node("n1", rack="a", x="y"), before=[OOB, config, first, second]) == [], "that was so before"
    assert (
        put(
            replace(WITNESS, meta=replace(WITNESS.meta, labels={names.LABEL_WITNESS: "true"})),
            before=[OOB, config, first],
        )
        == []
    )


def test_a_copy_of_a_vlanconfig_does_not_take_the_bonds_address_along() -> None:
    one, other = (
        replace(vc(name, rack=name), meta=Meta(name=name, annotations={names.ANNOTATION_BOND_MAC: mac}))
        for name, mac in (("a", "02:aa:00:00:00:01"), ("b", "02:AA:00:00:00:01"))
    )
    nodes = [node("n1", rack="a"), node("n2", rack="b")]
    assert put(other, before=[OOB, one, *nodes]) == ["mac-shared"]
    assert put(one, other, before=[OOB, *nodes]) == ["mac-shared"], "said once"
    assert put(replace(other, cluster_network="dmz"), before=[OOB, DMZ, one, *nodes]) == []


def test_a_new_node_without_an_address_is_told() -> None:
    before = [OOB, hnc("h", n1="10.0.0.1/24")]
    assert put(node("n2"), before=before, warnings=True) == ["address-missing"]
    assert put(node("n1"), before=before, warnings=True) == []


def test_a_label_that_takes_a_config_its_last_node_is_told() -> None:
    before = [OOB, vc("a", rack="a"), hnc("h", selector=rack("a")), node("n1", rack="a"), node("n2")]
    assert put(node("n1"), before=before, warnings=True) == ["selects-no-node"] * 2
    assert put(node("n1"), before=[*before[:-1], node("n2", rack="a")], warnings=True) == []
    assert put(node("n1", rack="a", x="y"), before=before, warnings=True) == []


def test_a_nic_is_used_once() -> None:
    other = vc("b", "e1", "e2", cn="dmz")
    before = [OOB, DMZ, other]
    assert put(vc("a", "e2"), before=before) == ["nic-in-use"]
    assert put(vc("a", "e3"), before=before) == []
    assert put(vc("a", "e2"), other, before=[OOB, DMZ]) == ["nic-in-use"], "said once"
    assert put(vc("a", MACS["e2"]), before=before) == [], "nobody here knows whose MAC that is"
    assert put(vc("a", MACS["e2"]), before=before, at=facts()) == ["nic-in-use"]
    assert put(vc("a", "e2", rack="a"), before=[OOB, DMZ, vc("b", "e2", cn="dmz", rack="b")]) == []
    assert put(vc("a", "e2"), vc("b", "e1", cn="dmz"), before=before) == [], "it moves"


def test_a_nic_must_be_there() -> None:
    assert put(vc("a", "e9"), at=facts()) == ["nic-missing"]
    assert put(vc("a", "52:54:00:00:00:99"), at=facts()) == ["nic-missing"]
    assert put(vc("a", "e9")) == [], "not known here"
    assert put(vc("a", "e9", rack="b"), at=facts()) == [], "not for this node"
    assert put(vc("a", "e9", mtu=9000), before=[OOB, vc("a", "e9")], at=facts()) == [], "it was there when it was named"
    assert put(vc("a", "e9", mtu=9000), before=[OOB, vc("a", "e9")], at=facts(), warnings=True) == ["nic-missing"]


def test_a_nic_of_others() -> None:
    assert put(vc("a", "e1"), at=facts(e1="oob-bo")) == []
    assert put(vc("a", "e1"), at=facts(e1="oob-bn")) == []
    assert put(vc("a", "e1"), at=facts(e1="bond0")) == ["nic-foreign"]
    assert put(vc("a", "e1"), at=facts(e1="docker0")) == ["nic-foreign"]
    assert put(vc("a", "e1"), at=facts(e1="mgmt-bo")) == ["nic-of-mgmt"]
    assert put(vc("a", "e1"), at=facts(e1="mgmt-br")) == ["nic-of-mgmt"]
    assert put(vc("a", "e1"), before=[OOB, DMZ], at=facts(e1="dmz-bo")) == [], "that bond gives it back"
    protected = replace(facts(), protected=frozenset({IfName("e1")}))
    assert put(vc("a", "e1"), at=protected) == ["nic-of-mgmt"]
    mine = replace(facts(e1="oob-bo"), protected=frozenset({IfName("e1"), IfName("oob-bo")}))
    assert put(vc("a", "e1"), at=mine) == [], "a default route over our own bond does not lock us out of it"


def test_the_same_nic_by_two_names() -> None:
    assert put(vc("a", "e1", MACS["e1"]), at=facts()) == ["nic-duplicate"]
    assert put(vc("a", "e1", MACS["e2"]), at=facts()) == []


def test_the_primary_is_one_of_the_nics() -> None:
    assert put(vc("a", "e1", "e2", primary="e2")) == []
    assert put(vc("a", "e1", "e2", primary="e3")) == ["bond-primary"]
    assert put(vc("a", "e1", MACS["e2"], primary="e2")) == [], "not known here"
    assert put(vc("a", "e1", MACS["e2"], primary="e2"), at=facts()) == []
    assert put(vc("a", "e1", MACS["e2"], primary="e3"), at=facts()) == ["bond-primary"]


@pytest.mark.parametrize(
    ("features", "codes"),
    [
        (KernelFeatures(), []),
        (KernelFeatures(bonding=False), ["kernel-feature"]),
        (KernelFeatures(vlan_filtering=False), ["kernel-feature"]),
        (KernelFeatures(vlan_interfaces=False), ["kernel-feature"]),
        (KernelFeatures(bonding=False, vlan_filtering=False, vlan_interfaces=False), ["kernel-feature"] * 3),
    ],
)
def test_what_the_kernel_must_be_able_to_do(features: KernelFeatures, codes: list[str]) -> None:
    at = replace(facts(), features=features)
    assert put(vc("a"), hnc("h"), at=at) == codes
    assert put(vc("a", rack="b"), hnc("h", selector=rack("b")), at=at) == [], "not for this node"
    assert put(nad(), at=at) == []


def snooping(said: str, **fields: object) -> NetworkAttachmentDefinition:
    meta = Meta(name="v1", namespace="default", annotations={names.ANNOTATION_SNOOPING: said})
    return replace(nad(), meta=meta, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "codes"),
    [
        (snooping("true"), []),
        (snooping("false", type=NetworkType.TRUNK, vid=0, trunk=VidSet.of([7])), []),
        (snooping("yes"), ["snooping-value"]),
        (snooping("true", type=NetworkType.TRUNK, vid=0, trunk=VidSet.of([7])), ["snooping-vlan"]),
        (snooping("true", type=NetworkType.UNTAGGED, vid=0), ["snooping-vlan"]),
        (snooping("true", vid=1), ["snooping-vlan"]),
        (snooping("true", bridge="mgmt-br"), ["snooping-foreign"]),
    ],
)
def test_a_network_of_one_vlan_may_ask_for_snooping(network: NetworkAttachmentDefinition, codes: list[str]) -> None:
    assert put(network, before=(OOB, ClusterNetwork(meta=Meta(name="mgmt")))) == codes


def test_snooping_by_vlan_needs_a_kernel_that_can() -> None:
    old = replace(facts(), features=KernelFeatures(vlan_snooping=False))
    assert put(snooping("true"), vc("a"), at=old) == ["kernel-feature"]
    assert put(snooping("true"), vc("a", rack="b"), at=old) == [], "not for this node"
    assert put(nad(), vc("a"), at=old) == []


def test_the_interface_of_a_host_network_fits() -> None:
    for length, vid, codes in (
        (7, 4094, []),
        (8, 4094, ["device-name-too-long"]),
        (8, 999, []),
        (11, 9, ["device-name-too-long"]),
    ):
        network = ClusterNetwork(meta=Meta(name="x" * length))
        assert put(hnc("h", vid=vid, cn=network.name), network) == codes


def test_a_host_network_stays_where_it_is() -> None:
    before = [OOB, DMZ, hnc("h")]
    assert put(hnc("h", vid=301), before=before) == ["immutable"]
    assert put(hnc("h", cn="dmz"), before=before) == ["immutable"]
    assert put(hnc("h", n1="10.0.0.1/24"), before=before) == []


def test_a_network_stays_what_it_is() -> None:
    before = [OOB, DMZ, nad()]
    assert put(replace(nad(), vid=200), before=before) == []
    assert put(replace(nad(), vid=0, type=NetworkType.TRUNK, trunk=VidSet.of([7])), before=before) == []
    assert put(nad(bridge="dmz-br"), before=before) == ["immutable"]
    assert put(replace(nad(), type=None, config={"type": "macvlan"}, bridge=""), before=before) == ["immutable"]
    assert put(replace(nad(), type=NetworkType.OVERLAY, config={"Type": "kube-ovn"}), before=before) == ["immutable"]


def test_one_host_network_of_a_vlan_on_a_node() -> None:
    overlap = ["hostnetwork-overlap"]
    assert put(hnc("a"), before=[OOB, hnc("b")]) == overlap
    assert put(hnc("a"), hnc("b")) == overlap
    assert put(hnc("a"), before=[OOB, DMZ, hnc("b", vid=301), hnc("c", cn="dmz")]) == []
    one, other = hnc("a", selector=rack("a")), hnc("b", selector=rack("b"))
    assert put(one, before=[OOB, other, node("n1", rack="a"), node("n2", rack="b")]) == []
    assert put(one, before=[OOB, hnc("b", selector=rack("x", Operator.NOT_IN)), node("n1", rack="a")]) == overlap


def test_the_management_vlan_and_interfaces_of_others() -> None:
    at = replace(
        facts(),
        management_vids=VidSet.of([50]),
        foreign_vids={IfName("mgmt-br"): VidSet.of([50, 60]), IfName("oob-br"): VidSet.of([300])},
    )
    assert put(hnc("h", cn="mgmt", vid=50), at=at) == ["management-vlan"]
    assert put(hnc("h", cn="mgmt", vid=60), at=at) == ["interface-foreign"]
    assert put(hnc("h", vid=300), at=at) == ["interface-foreign"]
    assert put(hnc("h", vid=50), hnc("g", cn="mgmt", vid=51), at=at) == []
    assert put(hnc("h", cn="mgmt", vid=50, selector=rack("b")), at=at) == [], "not for this node"


def test_every_node_has_an_address() -> None:
    nodes = [OOB, node("n1", rack="a"), node("n2", rack="b")]
    assert put(hnc("h", n1="10.0.0.1/24"), before=nodes) == ["address-missing"]
    assert put(hnc("h", n1="10.0.0.1/24", n2="10.0.0.2/24", n9="10.0.0.9/24"), before=nodes) == []
    assert put(hnc("h", selector=rack("a"), n1="10.0.0.1/24"), before=nodes) == []
    assert put(hnc("h", n2="10.0.0.2/24"), at=facts()) == ["address-missing"]
    assert put(hnc("h"), before=nodes, at=facts()) == [], "DHCP"


@pytest.mark.parametrize("ip", ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.7/32", "2001:db8::1/64", "2001:db8::/127"])
def test_an_address_of_a_host(ip: str) -> None:
    assert put(hnc("h", n1=ip)) == []


@pytest.mark.parametrize(
    "ip", ["10.0.0.0/24", "10.0.0.255/24", "10.0.0.1/0", "127.0.0.1/8", "224.0.0.1/24", "2001:db8::/64", "::1/64"]
)
def test_no_address_of_a_host(ip: str) -> None:
    assert put(hnc("h", n1=ip)) == ["address-invalid"]


def test_addresses_beside_each_other() -> None:
    assert put(hnc("h", n1="10.0.0.1/24", n2="10.0.0.1/24")) == ["address-twice"]
    assert put(hnc("h", n1="10.0.0.1/24", n2="10.0.1.2/24")) == ["address-network"]
    assert put(hnc("h", n1="10.0.0.1/24", n2="10.0.0.2/16")) == ["address-network"]
    other = hnc("g", selector=rack("b"), n2="10.0.0.1/24")
    assert put(hnc("h", selector=rack("a"), n1="10.0.0.1/24"), before=[OOB, other]) == ["address-twice"]
    assert put(hnc("h", selector=rack("a"), n1="10.0.0.1/24"), other) == ["address-twice"], "said once"
    assert put(hnc("h", vid=301, n1="10.0.0.1/24"), before=[OOB, hnc("g", n1="10.0.0.1/24")]) == ["address-twice"]
    assert put(hnc("h", vid=301, n2="10.0.0.1/24"), before=[OOB, hnc("g", n1="10.0.0.1/24")]) == [], (
        "another VLAN, another node"
    )


def test_what_is_wrong_already_does_not_stop_other_changes() -> None:
    broken = [OOB, vc("a", "e1"), vc("b", "e1"), nad(mtu=9000), hnc("h", n1="10.0.0.0/24")]
    assert put(ClusterNetwork(meta=Meta(name="new")), nad("v2"), before=broken, at=facts()) == []
    assert delete(broken[1], before=broken) == []


def hostname(name: str) -> LabelSelector:
    return LabelSelector(requirements=(Requirement(key=names.LABEL_HOSTNAME, operator=Operator.IN, values=(name,)),))


@pytest.mark.parametrize(
    ("obj", "before", "at", "said"),
    [
        (vc("a", rack="1"), [OOB, node("n1", rack="2")], None, True),
        (vc("a", rack="1"), [OOB, node("n1", rack="1")], None, False),
        (vc("a", rack="1"), [OOB], facts(), True),
        (vc("a", rack="1"), [OOB], None, False),  # of no node is anything known
        (vc("a", **{names.LABEL_HOSTNAME: "n9"}), [OOB], facts(), False),  # another host, as far as anybody knows
        (vc("a", **{names.LABEL_HOSTNAME: "n9"}), [OOB, node("n1")], None, True),
        (vc("a"), [OOB, node("n1", **{names.LABEL_WITNESS: "true"})], None, False),
        (hnc("a", selector=rack("1")), [OOB, vc("v"), node("n1", rack="2")], None, True),
        (hnc("a", selector=hostname("n9")), [OOB, vc("v")], facts(), False),
        (hnc("a", selector=rack("1", Operator.NOT_IN)), [OOB, vc("v"), node("n1")], None, False),
        (LinkMonitor(meta=Meta(name="a"), node_selector={"rack": "1"}), [node("n1")], None, True),
        (LinkMonitor(meta=Meta(name="a")), [node("n1")], None, False),
    ],
)
def test_a_selector_that_matches_no_node_is_told(
    obj: AnyObject, before: list[AnyObject], at: NodeFacts | None, said: bool
) -> None:
    found = check(Cluster.of(before), [Change(None, obj)], facts=at)
    assert [(p.code, p.path) for p in found if p.code == "node-selector"] == [
        ("node-selector", "spec.nodeSelector")
    ] * said


def test_a_node_that_cannot_be_read_may_have_any_label() -> None:
    unread = [node("n2").ref]
    found = check(Cluster.of([OOB, node("n1")]), [Change(None, vc("a", rack="1"))], unread=unread)
    assert [p.code for p in found if p.code == "node-selector"] == []


@pytest.mark.parametrize(
    ("obj", "code"),
    [
        (nad(bridge="cni0"), "nad-bridge"),
        (replace(nad(bridge=""), type=None), "nad-empty"),
        (replace(nad(bridge=""), type=None, config={"type": "macvlan"}), "nad-type"),
        (replace(nad(bridge=""), type=NetworkType.OVERLAY, config={"type": "kube-ovn"}), "nad-type"),
    ],
)
def test_a_network_of_no_cluster_network_is_let_in_and_told(obj: NetworkAttachmentDefinition, code: str) -> None:
    assert put(obj, warnings=True) == [code]
    assert put(obj, before=[OOB, obj], warnings=True) == [], "once, when it comes"


def test_the_bridge_of_a_cluster_network_that_is_called_like_it() -> None:
    (found,) = check(Cluster.of([OOB]), [Change(None, nad(bridge="oob"))])
    assert found.hint == "that of cluster network oob is oob-br"


def test_a_network_that_no_node_has_is_told() -> None:
    there = [OOB, node("n1", rack="1")]
    assert put(nad(), before=there, warnings=True) == ["clusternetwork-nowhere"]
    assert put(nad(), before=[*there, vc("a", rack="2")], warnings=True) == ["clusternetwork-nowhere"]
    assert put(nad(), before=[*there, vc("a", rack="1")], warnings=True) == []
    assert put(nad(), vc("a"), before=there, warnings=True) == []
    assert put(nad(bridge="mgmt-br"), before=there, warnings=True) == []
    assert put(nad(), before=[OOB], warnings=True) == [], "of no node is anything known"


def test_what_no_overlay_is_told_of() -> None:
    underlay = replace(hnc("a", n1="10.0.0.1/24"), underlay=True)
    assert put(underlay, before=[OOB, vc("v")], warnings=True) == ["field-without-effect"]
