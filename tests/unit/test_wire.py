"""Documents -> objects: Harvester's fields, defaults and limits; where each thing stands; nothing lost."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml

from windrow.model.bonding import BondMode
from windrow.model.cluster import builtin
from windrow.model.host import Bond
from windrow.model.objects import (
    KINDS,
    AddressMode,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    HostRoute,
    HostRouting,
    LinkMonitor,
    NicIdentity,
    NicSelector,
    Node,
    VlanConfig,
    VlanStatus,
)
from windrow.model.problems import Severity
from windrow.model.selectors import Operator, Requirement
from windrow.model.values import Ref
from windrow.model.wire import Loaded, dump, load_documents, ref_of, yaml_text

V1 = "network.harvesterhci.io/v1beta1"


def load(text: str) -> Loaded:
    return load_documents(text, "file.yaml")


def one(text: str) -> AnyObject:
    loaded = load(text)
    assert loaded.problems == ()
    (obj,) = loaded.objects
    return obj


def codes(text: str) -> list[str]:
    return [p.code for p in load(text).problems]


def vlan_config(uplink: str, more: str = "") -> str:
    return f"""
apiVersion: {V1}
kind: VlanConfig
metadata: {{name: oob-all}}
spec:
  clusterNetwork: oob
  {more}
  uplink: {uplink}
"""


def uplink(text: str) -> Any:
    obj = one(vlan_config(text))
    assert isinstance(obj, VlanConfig)
    return obj.uplink


def test_a_clusternetwork_has_a_name_and_nothing_else() -> None:
    text = f"apiVersion: {V1}\nkind: ClusterNetwork\nmetadata: {{name: oob}}\nspec: {{mtu: 9000, other: 1}}\n"
    loaded = load_documents(text)
    assert [(p.code, p.path, p.severity) for p in loaded.problems] == [
        ("field-without-effect", "spec.mtu", Severity.WARNING),
        ("field-without-effect", "spec.other", Severity.WARNING),
    ]
    assert loaded.problems[0].hint == "uplink.linkAttributes.mtu of its VlanConfigs"
    assert len(loaded.objects) == 1


def test_a_vlan_config_as_harvester_writes_it() -> None:
    obj = one(
        vlan_config(
            "{nics: [ens4f0, ens4f1], linkAttributes: {mtu: 9000, txQLen: 1000, hardwareAddr: UlQAEjRW},"
            " bondOptions: {mode: 802.3ad, miimon: 200}}",
            "nodeSelector: {kubernetes.io/hostname: n1}",
        )
    )
    assert isinstance(obj, VlanConfig)
    assert obj.ref == Ref("VlanConfig", "oob-all")
    assert obj.cluster_network == "oob"
    assert obj.node_selector == {"kubernetes.io/hostname": "n1"}
    assert obj.uplink.nics == tuple(NicSelector(by=NicIdentity.NAME, value=n) for n in ("ens4f0", "ens4f1"))
    assert (obj.uplink.mtu, obj.uplink.txqlen, obj.uplink.mac) == (9000, 1000, "52:54:00:12:34:56")
    assert obj.uplink.bond == Bond(mode=BondMode.LACP, miimon=200)


def test_what_is_left_out_is_not_managed() -> None:
    found = uplink("{nics: [e0]}")
    assert (found.mtu, found.txqlen, found.mac, found.bond) == (0, None, None, Bond())


def test_harvesters_minus_one_means_not_set_and_zero_means_zero() -> None:
    found = uplink("{nics: [e0], linkAttributes: {txQLen: -1}, bondOptions: {miimon: -1}}")
    assert (found.txqlen, found.bond.miimon) == (None, None)
    assert uplink("{nics: [e0], bondOptions: {miimon: 0}}").bond.miimon == 0


def test_null_is_the_same_as_absent() -> None:
    found = uplink("{nics: [e0], linkAttributes: null, bondOptions: {mode: null, miimon: ~}}")
    assert found.bond == Bond()


@pytest.mark.parametrize("text", ["52:54:00:12:34:56", "52-54-00-12-34-56", "UlQAEjRW"])
def test_hardware_address_in_base64_or_as_people_write_it(text: str) -> None:
    assert uplink(f"{{nics: [e0], linkAttributes: {{hardwareAddr: {text}}}}}").mac == "52:54:00:12:34:56"


@pytest.mark.parametrize("raw", [b"", b"12345", b"1234567", b"\x01\0\0\0\0\1", b"\0" * 6])
def test_no_hardware_address(raw: bytes) -> None:
    text = json.dumps(base64.b64encode(raw).decode())
    assert codes(vlan_config(f"{{nics: [e0], linkAttributes: {{hardwareAddr: {text}}}}}")) == ["mac-invalid"]


def test_nics_by_name_permanent_mac_and_pci_address() -> None:
    nics = uplink("{nics: [e0, {name: e1}, {mac: 52:54:00:12:34:56}, {pci: '3B:00.1'}, {pci: '10000:3b:00.1'}]}").nics
    assert [str(n) for n in nics] == ["e0", "e1", "mac=52:54:00:12:34:56", "pci=0000:3b:00.1", "pci=10000:3b:00.1"]


def test_a_mac_of_decimal_digits_is_no_number_in_base_60() -> None:
    """YAML 1.1 has sexagesimal numbers; go-yaml, and so Kubernetes, does not read them."""
    assert uplink("{nics: [{mac: 52:54:00:12:34:56}]}").nics[0].value == "52:54:00:12:34:56"


def test_every_bond_option_has_its_key() -> None:
    bond = uplink("""{nics: [e0, e1], bondOptions: {mode: active-backup, miimon: 50, upDelay: 100, downDelay: 150,
        peerNotifDelay: 50, useCarrier: on, primary: e1, primaryReselect: better, failOverMAC: follow,
        resendIGMP: 3, numPeerNotif: 2, allSlavesActive: "off"}}""").bond
    assert bond == Bond(
        mode=BondMode.ACTIVE_BACKUP,
        miimon=50,
        updelay=100,
        downdelay=150,
        peer_notif_delay=50,
        use_carrier="on",
        primary="e1",
        primary_reselect="better",
        fail_over_mac="follow",
        resend_igmp=3,
        num_peer_notif=2,
        all_slaves_active="off",
    )
    arp = uplink("{nics: [e0], bondOptions: {arpInterval: 100, arpIPTargets: [10.0.0.1], arpValidate: all}}").bond
    assert (arp.arp_interval, arp.arp_ip_target, arp.arp_validate) == (100, ("10.0.0.1",), "all")


def test_what_leads_out_of_a_network_of_the_host() -> None:
    obj = one(f"""
apiVersion: {V1}
kind: HostNetworkConfig
metadata: {{name: untagged}}
spec:
  clusterNetwork: oob
  vlanID: 0
  mode: static
  ips: {{n1: "10.0.0.1/24,2001:db8::1/64"}}
  gateway: "10.0.0.254, 2001:DB8::fe"
  metric: 7
  routes: [{{to: 10.9.0.0/16, via: 10.0.0.253, metric: 0}}, {{to: 2001:db8:9::/48}}]
  mtu: 1400
""")
    assert isinstance(obj, HostNetworkConfig)
    assert (obj.vid, obj.interface, obj.mtu) == (0, "oob-br", 1400)
    assert obj.routing == HostRouting(
        gateways=("10.0.0.254", "2001:db8::fe"),
        metric=7,
        routes=(HostRoute(to="10.9.0.0/16", via="10.0.0.253", metric=0), HostRoute(to="2001:db8:9::/48")),
    )


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("mode: static, ips: {n1: 10.0.0.1/24}, gateway: 10.0.0.1/24", "gateway-invalid"),
        ("mode: static, ips: {n1: 10.0.0.1/24}, gateway: 'fe80::1%eth0'", "gateway-invalid"),
        ("mode: static, ips: {n1: 10.0.0.1/24}, gateway: '10.0.0.2,10.0.0.3'", "gateway-invalid"),
        ("mode: static, ips: {n1: '2001:db8::1/64,10.0.0.1/24'}", "address-invalid"),
        ("mode: static, ips: {n1: '10.0.0.1/24,'}", "address-invalid"),
        ("mode: static, ips: {n1: 10.0.0.1/24}, defaultRoute: true", "mode-field"),
        ("mode: dhcp, gateway: 10.0.0.1", "mode-field"),
        ("mode: dhcp, defaultRoute: 1", "wrong-type"),
        ("mode: dhcp, routerAdvertisements: 2", "wrong-type"),
        ("mode: dhcp, metric: -1", "out-of-range"),
        ("mode: dhcp, metric: 4294967296", "out-of-range"),
        ("mode: dhcp, mtu: 575", "out-of-range"),
        ("mode: dhcp, routes: {to: 10.0.0.0/8}", "wrong-type"),
        ("mode: dhcp, routes: [{via: 10.0.0.1}]", "required"),
        ("mode: dhcp, routes: [{to: 10.0.0.1/8, via: 10.0.0.1}]", "route-invalid"),
        ("mode: dhcp, routes: [{to: 10.0.0.1, via: 10.0.0.1}]", "route-invalid"),
        ("mode: dhcp, routes: [{to: 10.0.0.0/8, via: router}]", "route-invalid"),
    ],
)
def test_what_leads_nowhere(said: str, code: str) -> None:
    text = f"""
apiVersion: {V1}
kind: HostNetworkConfig
metadata: {{name: storage}}
spec: {{clusterNetwork: oob, vlanID: 300, {said}}}
"""
    (found,) = load_documents(text).problems
    assert (found.code, found.line) == (code, 5)


def test_a_network_of_the_host() -> None:
    obj = one(f"""
apiVersion: {V1}
kind: HostNetworkConfig
metadata: {{name: storage}}
spec:
  clusterNetwork: oob
  vlanID: 300
  mode: static
  ips: {{n1: 10.0.0.1/24, n2.example: 2001:DB8::1/64, n3: "10.0.0.3/24, 2001:db8::3/64"}}
  nodeSelector:
    matchLabels: {{a: b}}
    matchExpressions: [{{key: c, operator: NotIn, values: [d, e]}}, {{key: f, operator: Exists}}]
  underlay: true
""")
    assert isinstance(obj, HostNetworkConfig)
    assert (obj.vid, obj.mode, obj.underlay) == (300, AddressMode.STATIC, True)
    assert obj.ips == {
        "n1": ("10.0.0.1/24",),
        "n2.example": ("2001:db8::1/64",),
        "n3": ("10.0.0.3/24", "2001:db8::3/64"),
    }
    assert (obj.routing, obj.mtu, obj.interface) == (HostRouting(), 0, "oob-br.300")
    assert obj.node_selector is not None
    assert obj.node_selector.requirements == (
        Requirement(key="a", operator=Operator.IN, values=("b",)),
        Requirement(key="c", operator=Operator.NOT_IN, values=("d", "e")),
        Requirement(key="f", operator=Operator.EXISTS),
    )


def test_no_node_selector_and_an_empty_one() -> None:
    text = f"apiVersion: {V1}\nkind: HostNetworkConfig\nmetadata: {{name: h}}\n"
    text += "spec: {clusterNetwork: oob, vlanID: 1, mode: dhcp%s}"
    none, empty = one(text % ""), one(text % ", nodeSelector: {}")
    assert isinstance(none, HostNetworkConfig)
    assert isinstance(empty, HostNetworkConfig)
    assert none.node_selector is None
    assert empty.node_selector is not None
    assert empty.node_selector.requirements == ()


def test_the_other_kinds() -> None:
    loaded = load(f"""
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {{name: n1, labels: {{a: b}}, creationTimestamp: 2026-01-01T00:00:00Z}}
- {{apiVersion: {V1}, kind: ClusterNetwork, metadata: {{name: oob}}, status: {{conditions: []}}}}
- {{apiVersion: {V1}, kind: VlanStatus, metadata: {{name: oob-n1-12345678}}, status: {{node: n1}}}}
- {{apiVersion: {V1}, kind: LinkMonitor, metadata: {{name: nic}}, spec: {{targetLinkRule: {{typeRule: device}}}}}}
""")
    assert loaded.problems == ()
    assert [type(o) for o in loaded.objects] == [Node, ClusterNetwork, VlanStatus, LinkMonitor]
    node, *_, monitor = loaded.objects
    assert isinstance(monitor, LinkMonitor)
    assert monitor.type_rule == "device"
    assert node.meta.labels == {"a": "b"}
    assert dump(node)["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z", "a timestamp is a text"


def test_lists_of_a_kind_and_json() -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    text = json.dumps({"apiVersion": "v1", "kind": "NodeList", "items": [node]})
    assert [o.ref for o in load(text).objects] == [Ref("Node", "n1")]


def test_json_spells_a_character_as_a_surrogate_pair() -> None:
    text = '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},'
    text += ' "x": "\\ud83d\\ude00", "y": "\\\\ud83d\\\\ude00"}'
    document = dump(one(text))
    assert (document["x"], document["y"]) == ("\N{GRINNING FACE}", "\\ud83d\\ude00")


def test_empty_documents_are_nothing() -> None:
    assert load("") == load("---\n---\n# a comment\n---\n") == Loaded()


def test_unknown_fields_are_kept() -> None:
    text = vlan_config("{nics: [e0], colour: blue}", "finalizers: [x]").replace(
        "kind:", "extra: {a: [1, 2.5, null]}\nkind:"
    )
    obj = one(text)
    assert dump(obj) == yaml.safe_load(text)
    assert one(yaml_text(dump(obj))) == obj


def test_a_dump_is_the_callers_own() -> None:
    obj = one(vlan_config("{nics: [e0]}"))
    dump(obj)["spec"]["uplink"]["nics"].append("e1")
    assert dump(obj)["spec"]["uplink"]["nics"] == ["e0"]


def test_every_value_knows_its_line() -> None:
    obj = one(
        "# a comment\n---\n" + vlan_config("\n    nics:\n    - e0\n    - e1\n    linkAttributes:\n      mtu: 9000")
    )
    lines = {path: obj.source.line(path) for path in ("kind", "spec.uplink.nics[1]", "spec.uplink.linkAttributes.mtu")}
    assert lines == {"kind": 5, "spec.uplink.nics[1]": 13, "spec.uplink.linkAttributes.mtu": 15}
    assert obj.source.line("spec.uplink.bondOptions.mode") == 10, "what is not there stands where it would be"


def test_a_problem_says_where_it_is() -> None:
    (problem,) = load(vlan_config("{nics: [e0, a/b]}")).problems
    assert (problem.file, problem.line, problem.path) == ("file.yaml", 8, "spec.uplink.nics[1]")
    assert problem.about == Ref("VlanConfig", "oob-all")
    assert str(problem).startswith("file.yaml:8: VlanConfig/oob-all: spec.uplink.nics[1]: 'a/b' is not")


def test_an_object_with_a_problem_is_not_an_object_but_is_known_to_be_there() -> None:
    loaded = load(vlan_config("{nics: []}"))
    assert loaded.objects == ()
    assert loaded.unread == {Ref("VlanConfig", "oob-all")}


def test_a_slip_is_a_warning_and_a_stranger_is_none() -> None:
    loaded = load(vlan_config("{nics: [e0], linkAttribute: {}, vendorThing: 1}"))
    assert [(p.code, p.severity, p.hint) for p in loaded.problems] == [
        ("unknown-field", Severity.WARNING, "did you mean linkAttributes?")
    ]
    assert len(loaded.objects) == 1


def test_anchors_and_merge_keys() -> None:
    text = vlan_config("{<<: &base {nics: [e0], linkAttributes: {mtu: 1500}}, nics: [e1]}", "x: *base")
    assert codes(text) == ["yaml-alias"], "an alias before its anchor"
    found = uplink("{<<: [{nics: [e0]}, {nics: [e2], linkAttributes: {mtu: 9000}}], nics: [e1]}")
    assert ([n.value for n in found.nics], found.mtu) == (["e1"], 9000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 8),
        ("0o17", 15),
        ("0x1f", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("-7", -7),
        ("1e3", 1000.0),
        ("on", True),
        ("No", False),
        ("y", "y"),
        ("~", None),
        ("1:30", "1:30"),
        (".inf", ".inf"),
        ("2026-01-01", "2026-01-01"),
        ("9" * 500, "9" * 500),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("0x", "0x"),
        ("802.3ad", "802.3ad"),
    ],
)
def test_scalars_as_kubernetes_reads_them(text: str, value: object) -> None:
    obj = one(f"apiVersion: v1\nkind: Node\nmetadata: {{name: n}}\nx: {text}")
    assert dump(obj)["x"] == value
    assert type(dump(obj)["x"]) is type(value)
    assert dump(one(yaml_text(dump(obj)))) == dump(obj), "and writes them so that they are read so again"


def test_the_built_in_objects_can_be_written_and_read() -> None:
    for obj in builtin():
        assert one(yaml_text(dump(obj))) == obj


@pytest.mark.parametrize(
    ("kind", "version", "foreign"),
    [
        ("Pod", "v1", False),
        ("PodTemplate", "v1", True),
        ("Secret", "v1", True),
        ("Deployment", "apps/v1", True),
        ("IPPool", "loadbalancer.harvesterhci.io/v1beta1", True),
        ("IPPool", "network.harvesterhci.io/v1alpha1", False),
        ("IPPool", "whereabouts.cni.cncf.io/v1alpha1", True),
        ("KubeVirt", "kubevirt.io/v1", True),
        ("VirtualMachineInstanceReplicaSet", "kubevirt.io/v1", True),
        ("VirtualMachinePool", "pool.kubevirt.io/v1alpha1", True),
        ("MultiNetworkPolicy", "k8s.cni.cncf.io/v1beta1", False),
        ("NetworkPolicy", "projectcalico.org/v3", True),
        ("Ingress", "networking.k8s.io/v1", True),
        ("Node", "management.cattle.io/v3", True),
        ("ClusterNetwork", "network.openshift.io/v1", True),
        ("Node", "v1", False),
        ("node", "v1", False),
        ("VlanConfg", V1, False),
        ("vlanconfigs", V1, False),
        ("VlanConfig", "v1", False),
        ("VlanConfig", "network.harvesterhci/v1beta1", False),
        ("VlanConfig", "network.harvesterhci.io/v2", False),
        ("VirtualMachine", "kubevirt.io/v1alpha1", False),
    ],
)
def test_whose_kind_it_is(kind: str, version: str, foreign: bool) -> None:
    """What is nobody's business here is passed over; a slip of the pen is an error, with what was meant."""
    loaded = load_documents(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{}}\n", "a.yaml")
    if foreign:
        assert [(p.code, p.severity, p.line) for p in loaded.problems] == [("kind-foreign", Severity.WARNING, 1)]
        assert kind in loaded.problems[0].message
        assert (loaded.objects, loaded.unread) == ((), frozenset())
    else:
        assert "kind-foreign" not in [p.code for p in loaded.problems]
    assert (ref_of({"kind": kind, "apiVersion": version, "metadata": {"name": "x"}}) is None) is (
        foreign or kind not in [k.name for k in KINDS]
    )


def test_many_foreign_documents_are_one_notice() -> None:
    kinds = [f"apiVersion: example.com/v1\nkind: K{i}\nmetadata: {{name: x}}\n" for i in range(12)]
    (found,) = load_documents("---\n".join(["# a text\n", *kinds]), "a.yaml").problems
    assert found.message.startswith("passed over, for Windrow does not read it: K0 (example.com/v1); K1")
    assert found.message.endswith("; and 4 more kinds")
