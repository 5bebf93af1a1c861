"""For every rule that an API server's requests meet: a request that it refuses, and one beside it that it lets be."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from windrow.model import names
from windrow.model.cluster import Cluster
from windrow.model.wire import load_value
from windrow.rules.request import Request, Verdict, judge
from windrow.rules.terms import HARVESTER_CONTROLLER, Terms

Document = dict[str, Any]
TERMS = Terms(served=True)
RELAXED = Terms(served=True, strict=False)
GONE = "2026-11-30T00:00:00Z"
CN, MTU = names.LABEL_CLUSTERNETWORK, names.ANNOTATION_UPLINK_MTU


def _object(kind: str, name: str, version: str = names.API_VERSION, **fields: Any) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def cn(name: str = "data", mtu: str | None = None) -> Document:
    found = _object("ClusterNetwork", name)
    return annotated(found, {MTU: mtu}) if mtu is not None else found


def vc(
    name: str = "a", *nics: str, of: str = "data", mtu: int = 0, on: Mapping[str, str] | None = None, **bond: Any
) -> Document:
    uplink: Document = {"nics": list(nics or ["eth1"])}
    uplink |= {"linkAttributes": {"mtu": mtu}} if mtu else {}
    uplink |= {"bondOptions": bond} if bond else {}
    spec = {"clusterNetwork": of, "uplink": uplink, **({"nodeSelector": dict(on)} if on else {})}
    return labelled(_object("VlanConfig", name, spec=spec), {CN: of})


def vs(config: str = "a", node: str = "n1", of: str = "data", ready: bool = True) -> Document:
    conditions = [{"type": "ready", "status": str(ready)}]
    status = {"clusterNetwork": of, "vlanConfig": config, "node": node, "linkMonitor": of, "conditions": conditions}
    return _object("VlanStatus", names.vlan_status_name(of, node), status=status)


def nad(name: str = "web", vlan: int = 100, of: str = "data", namespace: str = "default", **config: Any) -> Document:
    plain = {"cniVersion": "0.3.1", "name": name, "type": "bridge", "bridge": f"{of}-br", "promiscMode": True}
    found = {**plain, **({"vlan": vlan} if vlan else {}), "ipam": {}, **config}
    document = _object("NetworkAttachmentDefinition", name, names.NAD_API_VERSION, spec={"config": json.dumps(found)})
    document["metadata"]["namespace"] = namespace
    return document


def overlay(name: str = "over", **config: Any) -> Document:
    found = nad(name)
    given = {"cniVersion": "0.3.1", "name": name, "type": "kube-ovn", "provider": f"{name}.default.ovn", **config}
    found["spec"] = {"config": json.dumps(given)}
    return found


def subnet(name: str = "s", of: str = "over.default.ovn", **spec: Any) -> Document:
    fields = {"provider": of, "cidrBlock": "10.8.0.0/24", "protocol": "IPv4", **spec}
    return _object("Subnet", name, "kubeovn.io/v1", spec=fields)


def used(document: Document, **addresses: float) -> Document:
    """A Subnet of which somebody has addresses."""
    return {**document, "status": {"v4usingIPs": 0, "v6usingIPs": 0, **addresses}}


def vpc(name: str = "blue") -> Document:
    return _object("Vpc", name, "kubeovn.io/v1", spec={})


def storage(vlan: int = 100, of: str = "data") -> Document:
    found = nad("storagenetwork-x", vlan, of, names.SYSTEM_NAMESPACE)
    return annotated(found, {names.ANNOTATIONS_SYSTEM_NETWORK[0]: "true"})


def hnc(name: str = "h", vid: int = 300, of: str = "data", **spec: Any) -> Document:
    fields = {"clusterNetwork": of, "vlanID": vid, "mode": "static" if "ips" in spec else "dhcp", **spec}
    return _object("HostNetworkConfig", name, spec=fields)


def node(name: str = "n1", **labels: str) -> Document:
    return labelled(_object("Node", name, "v1"), {names.LABEL_HOSTNAME: name, **labels})


def vmi(name: str = "m", *networks: str, on: str = "n1") -> Document:
    named = [{"name": f"net{i}", "multus": {"networkName": network}} for i, network in enumerate(networks or ["web"])]
    spec = {"domain": {"devices": {}}, "networks": named}
    found = _object("VirtualMachineInstance", name, "kubevirt.io/v1", spec=spec, status={"nodeName": on})
    found["metadata"]["namespace"] = "default"
    return found


def vm(name: str = "m", *networks: str) -> Document:
    found = vmi(name, *networks)
    del found["status"]
    return {**found, "kind": "VirtualMachine", "spec": {"runStrategy": "Halted", "template": {"spec": found["spec"]}}}


def labelled(document: Document, labels: Mapping[str, str]) -> Document:
    return _with(document, "labels", labels)


def annotated(document: Document, annotations: Mapping[str, str]) -> Document:
    return _with(document, "annotations", annotations)


def leaving(document: Document) -> Document:
    found = copy.deepcopy(document)
    found["metadata"] |= {"deletionTimestamp": GONE, "finalizers": ["example.com/last"]}
    return found


def _with(document: Document, key: str, more: Mapping[str, str]) -> Document:
    found = copy.deepcopy(document)
    found["metadata"][key] = {**found["metadata"].get(key, {}), **more}
    return found


def edited(document: Document, **spec: Any) -> Document:
    """With other fields in its spec; None: without that field."""
    found = copy.deepcopy(document)
    merged = {**found["spec"], **spec}
    found["spec"] = {key: value for key, value in merged.items() if value is not None}
    return found


@dataclass(frozen=True)
class Ask:
    """`there`: what else is there."""

    new: Document | None
    old: Document | None = None
    there: Sequence[Document] = ()
    asker: str = "tenant"
    terms: Terms = TERMS

    def verdict(self) -> Verdict:
        return judge(Request(old=self.old, new=self.new, asker=self.asker), cluster(*self.there), self.terms)


def cluster(*documents: Document) -> Cluster:
    loaded = [load_value(document) for document in documents]
    return Cluster.of(obj for one in loaded for obj in (*one.objects, *one.doubtful))


@dataclass(frozen=True)
class Case:
    """`rule`: module and function in `windrow.rules`."""

    rule: str
    code: str
    deny: Ask
    allow: Ask


N1, N2 = node("n1", rack="a"), node("n2", rack="b")
DATA, WEB = cn("data"), nad("web")
RACK_A, RACK_B = {"rack": "a"}, {"rack": "b"}
BASE = (DATA, N1, N2)
OVER, UNDER = overlay(), hnc("u", underlay=True)
ALONE = labelled(storage(), {names.LABEL_EXCLUSIVE_VLAN: "true"})
STATIC = {"ips": {"n1": "10.0.0.1/24", "n2": "10.0.0.2/24"}}
UP = (*BASE, vc(), vs(node="n1"), vs(node="n2"))
ROUTE = names.ANNOTATION_ROUTE

CASES = [
    # ClusterNetwork
    Case("clusternetwork.name_is_short", "name-too-long", Ask(cn("a" * 13)), Ask(cn("a" * 12))),
    Case("clusternetwork.name_is_free", "name-reserved", Ask(cn("vlanconfig")), Ask(cn("vlans"))),
    Case(
        "clusternetwork.mtu_annotation_is_valid",
        "mtu-range",
        Ask(cn("data", "575"), cn("data", "1500")),
        Ask(cn("data", "576"), cn("data", "1500")),
    ),
    Case(
        "clusternetwork.mtu_annotation_agrees",
        "mtu-mismatch",
        Ask(cn("data", "1500"), cn("data", "9000"), [vc(mtu=9000)]),
        Ask(cn("data", "0"), cn("data", "1500"), [vc()]),
    ),
    Case(
        "clusternetwork.overlay_is_valid",
        "overlay-invalid",
        Ask(annotated(cn("mgmt"), {"windrow.io/overlay": '{"Network": "10.52.0.0"}'})),
        Ask(annotated(cn("mgmt"), {"windrow.io/overlay": '{"Network": "10.52.0.0/16"}'})),
    ),
    Case(
        "clusternetwork.overlay_is_valid",
        "overlay-elsewhere",
        Ask(annotated(cn("data"), {"windrow.io/overlay": '{"Network": "10.52.0.0/16"}'})),
        Ask(cn("data")),
    ),
    Case(
        "clusternetwork.mtu_annotation_comes_later",
        "mtu-at-creation",
        Ask(cn("data", "1500")),
        Ask(cn("data", "1500"), asker=HARVESTER_CONTROLLER),
    ),
    Case(
        "clusternetwork.mtu_annotation_stays",
        "mtu-mismatch",
        Ask(cn(), cn("data", "9000"), [vc(mtu=9000)]),
        Ask(cn(), cn("data", "1500"), [vc()]),
    ),
    Case(
        "clusternetwork.mgmt_mtu_changes_unused",
        "machines-running",
        Ask(cn("mgmt", "9000"), cn("mgmt"), [nad(of="mgmt"), vmi()]),
        Ask(cn("mgmt", "1500"), cn("mgmt"), [nad(of="mgmt"), vmi()]),
    ),
    Case(
        "clusternetwork.mgmt_mtu_changes_unused",
        "system-network",
        Ask(cn("mgmt", "9000"), cn("mgmt", "1500"), [storage(of="mgmt")]),
        Ask(cn("mgmt", "9000"), cn("mgmt", "1500"), [leaving(storage(of="mgmt"))]),
    ),
    Case(
        "clusternetwork.gone_only_when_unused",
        "clusternetwork-in-use",
        Ask(None, DATA, [leaving(vc())]),
        Ask(None, DATA, [vc(of="other")]),
    ),
    Case("clusternetwork.gone_only_when_unused", "mgmt-protected", Ask(None, cn("mgmt")), Ask(None, DATA)),
    # VlanConfig
    Case(
        "vlanconfig.mgmt_is_the_controllers",
        "mgmt-protected",
        Ask(annotated(vc(of="mgmt"), {names.ANNOTATION_MANAGED: "true"}), there=BASE),
        Ask(vc(of="mgmt"), there=BASE, asker=HARVESTER_CONTROLLER),
    ),
    Case(
        "vlanconfig.mgmt_is_the_controllers",
        "mgmt-protected",
        Ask(vc(), vc(of="mgmt"), BASE),
        Ask(vc(), vc(of="mgmt"), BASE, asker=HARVESTER_CONTROLLER),
    ),
    Case(
        "vlanconfig.mgmt_is_the_controllers",
        "mgmt-protected",
        Ask(None, vc(of="mgmt"), BASE),
        Ask(None, vc(of="mgmt"), BASE, asker=HARVESTER_CONTROLLER),
    ),
    Case("vlanconfig.its_cluster_network_exists", "clusternetwork-missing", Ask(vc()), Ask(vc(), there=[DATA])),
    Case(
        "vlanconfig.its_cluster_network_exists",
        "clusternetwork-missing",
        Ask(vc(), there=[leaving(DATA)]),
        Ask(vc(), there=[DATA]),
    ),
    Case(
        "vlanconfig.name_of_its_cluster_network_is_short",
        "name-too-long",
        Ask(vc(of="a" * 13), there=[cn("a" * 13)]),
        Ask(vc(of="a" * 12), there=[cn("a" * 12)]),
    ),
    Case(
        "vlanconfig.its_label_agrees",
        "label-mismatch",
        Ask(labelled(vc(), {CN: "dmz"}), there=BASE),
        Ask(labelled(vc(), {CN: "data"}), there=BASE),
    ),
    Case(
        "vlanconfig.its_label_stays",
        "label-mismatch",
        Ask({**vc(), "metadata": {"name": "a"}}, vc(), BASE),
        Ask({**vc(), "metadata": {"name": "a"}}, None, BASE),
    ),
    Case(
        "vlanconfig.one_mtu",
        "mtu-mismatch",
        Ask(vc("b", mtu=9000, on=RACK_B), there=[*BASE, vc("a", on=RACK_A)]),
        Ask(vc("b", mtu=1500, on=RACK_B), there=[*BASE, vc("a", on=RACK_A)]),
    ),
    Case(
        "vlanconfig.one_mtu",
        "mtu-mismatch",
        Ask(vc("b", mtu=9000, on=RACK_B), there=[*BASE, vc("a", on=RACK_A)]),
        Ask(vc("b", mtu=9000, on=RACK_B), there=[*BASE, leaving(vc("a", on=RACK_A))]),
    ),
    Case(
        "vlanconfig.mtu_as_annotated",
        "mtu-mismatch",
        Ask(vc(mtu=9000), there=[cn("data", "1500"), N1]),
        Ask(vc(mtu=9000), there=[cn("data", "9000"), N1]),
    ),
    Case(
        "vlanconfig.mtu_as_annotated",
        "mtu-mismatch",
        Ask(vc(mtu=9000), vc(mtu=1500), [cn("data", "1500"), N1]),
        Ask(vc(mtu=9000), vc(mtu=1500), [annotated(cn("data", "1500"), {names.ANNOTATION_MTU_SOURCE: "a"}), N1]),
    ),
    Case(
        "vlanconfig.one_per_node",
        "vlanconfig-overlap",
        Ask(vc("b"), there=[*BASE, vc("a")]),
        Ask(vc("b"), there=[*BASE, leaving(vc("a"))]),
    ),
    Case(
        "vlanconfig.its_bonds_address_is_of_one_host",
        "mac-shared",
        Ask(annotated(vc(), {names.ANNOTATION_BOND_MAC: "02:aa:00:00:00:01"}), there=BASE),
        Ask(annotated(vc(on=RACK_A), {names.ANNOTATION_BOND_MAC: "02:aa:00:00:00:01"}), there=BASE),
    ),
    Case(
        "vlanconfig.its_bonds_address_is_of_one_host",
        "mac-moves",
        Ask(
            annotated(vc(on=RACK_A, failOverMAC="follow"), {names.ANNOTATION_BOND_MAC: "02:aa:00:00:00:01"}), there=BASE
        ),
        Ask(vc(on=RACK_A, failOverMAC="follow"), there=BASE),
    ),
    Case(
        "vlanconfig.its_bonds_address_is_of_one_host",
        "mac-invalid",
        Ask(annotated(vc(on=RACK_A), {names.ANNOTATION_BOND_MAC: "01:00:5e:00:00:01"}), there=BASE),
        Ask(annotated(vc(on=RACK_A), {names.ANNOTATION_BOND_MAC: "02:AA:00:00:00:01"}), there=BASE),
    ),
    Case(
        "vlanconfig.no_other_one_is_set_up_there",
        "vlanconfig-overlap",
        Ask(vc("b"), there=[*BASE, vs("gone")]),
        Ask(vc("b"), there=[*BASE, leaving(vs("gone")), vs("b", "n2")]),
    ),
    Case(
        "vlanconfig.no_other_one_is_set_up_there",
        "vlanconfig-overlap",
        Ask(vc("b", on=RACK_A), there=[*BASE, vc("a", on=RACK_B), vs("a", "n1")]),
        Ask(vc("b", on=RACK_A), there=[*BASE, vc("a", on=RACK_B), vs("a", "n1")], terms=RELAXED),
    ),
    Case(
        "vlanconfig.machines_keep_their_uplink",
        "machines-running",
        Ask(vc(mode="802.3ad"), vc(), [*BASE, WEB, vmi()]),
        Ask(vc(mode="802.3ad"), vc(), [*BASE, WEB, vmi()], terms=RELAXED),
    ),
    Case(
        "vlanconfig.machines_keep_their_uplink",
        "machines-running",
        Ask(vc(on=RACK_B), vc(), [*BASE, WEB, vmi(on="n1")], terms=RELAXED),
        Ask(vc(on=RACK_A), vc(), [*BASE, WEB, vmi(on="n1")], terms=RELAXED),
    ),
    Case(
        "vlanconfig.machines_keep_their_uplink",
        "machines-running",
        Ask(vc(of="dmz"), vc(), [*BASE, cn("dmz"), WEB, vmi()]),
        Ask(vc(of="dmz"), vc(), [*BASE, cn("dmz"), WEB, vm()]),
    ),
    Case(
        "vlanconfig.machines_keep_their_uplink",
        "system-network",
        Ask(vc("a", "eth2"), vc(), [*BASE, storage()]),
        Ask(edited(vc(), description="new"), vc(), [*BASE, storage()]),
    ),
    Case(
        "vlanconfig.gone_only_when_unused",
        "machines-running",
        Ask(None, vc(), [*BASE, WEB, vmi()]),
        Ask(None, vc(on=RACK_B), [*BASE, WEB, vmi(on="n1")]),
    ),
    Case(
        "vlanconfig.gone_only_when_unused",
        "machines-running",
        Ask(None, annotated(vc(on=RACK_B), {names.ANNOTATION_MATCHED_NODES: '["n1"]'}), [*BASE, WEB, vmi(on="n1")]),
        Ask(None, annotated(vc(on=RACK_B), {names.ANNOTATION_MATCHED_NODES: '["n3"]'}), [*BASE, WEB, vmi(on="n1")]),
    ),
    Case(
        "vlanconfig.gone_only_when_unused",
        "system-network",
        Ask(None, vc(), [*BASE, storage()]),
        Ask(None, vc(on={"rack": "none"}), [*BASE, storage()]),
    ),
    Case(
        "nics.used_once",
        "nic-in-use",
        Ask(vc("b", "eth1", of="dmz"), there=[*BASE, cn("dmz"), vc("a", "eth1")]),
        Ask(vc("b", "eth2", of="dmz"), there=[*BASE, cn("dmz"), vc("a", "eth1")]),
    ),
    Case(
        "nics.primary_is_one_of_them",
        "bond-primary",
        Ask(vc("a", "eth1", primary="eth9"), there=BASE),
        Ask(vc("a", "eth1", primary="eth1"), there=BASE),
    ),
    # NetworkAttachmentDefinition
    Case("nad.its_cluster_network_exists", "clusternetwork-missing", Ask(WEB), Ask(WEB, there=[DATA])),
    Case(
        "nad.its_label_agrees",
        "label-mismatch",
        Ask(labelled(WEB, {CN: "dmz"}), there=BASE),
        Ask(labelled(WEB, {CN: "data"}), there=BASE),
    ),
    Case(
        "nad.mtu_of_its_cluster_network",
        "mtu-mismatch",
        Ask(nad(mtu=1500), there=[*BASE, vc(mtu=9000)]),
        Ask(nad(mtu=9000), there=[*BASE, vc(mtu=9000)]),
    ),
    Case(
        "nad.mtu_of_its_cluster_network_is_known",
        "mtu-range",
        Ask(WEB, there=[cn("data", "huge")]),
        Ask(WEB, there=[cn("data", "1500")]),
    ),
    Case(
        "nad.snooping_is_of_one_vlan",
        "snooping-vlan",
        Ask(annotated(nad(vlan=0), {names.ANNOTATION_SNOOPING: "true"}), there=BASE),
        Ask(annotated(nad(), {names.ANNOTATION_SNOOPING: "true"}), there=BASE),
    ),
    Case(
        "nad.type_stays",
        "immutable",
        Ask(nad(type="macvlan", master="eth0"), WEB, BASE),
        Ask(nad(type="bridge", master="eth0"), WEB, BASE),
    ),
    Case(
        "nad.bridge_stays",
        "immutable",
        Ask(nad(of="dmz"), WEB, [*BASE, cn("dmz")]),
        Ask(nad(vlan=200), WEB, [*BASE, cn("dmz")]),
    ),
    Case(
        "nad.overlay_has_its_provider",
        "overlay-provider",
        Ask(overlay(provider="over.other.ovn")),
        Ask(overlay(provider="over.default.ovn")),
    ),
    Case(
        "nad.overlay_has_its_provider",
        "overlay-missing",
        Ask(overlay(), terms=Terms(served=True, subnets=False)),
        Ask(overlay()),
    ),
    Case(
        "nad.vlan_is_nobodys_alone",
        "vlan-exclusive",
        Ask(nad(vlan=100), there=[*BASE, ALONE]),
        Ask(nad(vlan=100, of="dmz"), there=[*BASE, cn("dmz"), ALONE]),
    ),
    Case(
        "nad.vlan_is_nobodys_alone",
        "vlan-exclusive",
        Ask(nad(vlan=0, vlanTrunk=[{"minID": 90, "maxID": 110}]), there=[*BASE, ALONE]),
        Ask(nad(vlan=0, vlanTrunk=[{"minID": 101, "maxID": 110}]), there=[*BASE, ALONE]),
    ),
    Case(
        "nad.route_is_valid",
        "route-invalid",
        Ask(annotated(WEB, {ROUTE: '{"mode":"manual","cidr":"0.0.0.0/0","gateway":"10.0.0.1"}'}), there=BASE),
        Ask(annotated(WEB, {ROUTE: '{"mode":"manual","cidr":"10.0.0.0/8","gateway":"10.0.0.1"}'}), there=BASE),
    ),
    Case(
        "nad.stays_under_machines",
        "machines-running",
        Ask(nad(vlan=200), WEB, [*BASE, vmi()]),
        Ask(nad(comment="unknown keys mean nothing"), WEB, [*BASE, vmi()]),
    ),
    Case(
        "nad.stays_under_machines",
        "system-network",
        Ask({**storage(vlan=200)}, storage(), BASE),
        Ask(annotated(storage(), {"example.com/note": "x"}), storage(), BASE),
    ),
    Case(
        "nad.gone_only_when_unused",
        "nad-in-use",
        Ask(None, WEB, [*BASE, vm()]),
        Ask(None, WEB, [*BASE, vm("m", "other")]),
    ),
    Case(
        "nad.underlay_stays_under_overlays",
        "underlay-in-use",
        Ask(None, nad(vlan=300), [*BASE, UNDER, OVER, vm("m", "over")]),
        Ask(None, nad(vlan=301), [*BASE, UNDER, OVER, vm("m", "over")]),
    ),
    Case(
        "nad.no_subnet_is_left",
        "nad-in-use",
        Ask(None, OVER, [leaving(subnet())]),
        Ask(None, OVER, [subnet(of="other.default.ovn"), subnet("t", "over.other.ovn")]),
    ),
    # HostNetworkConfig
    Case(
        "hostnetworkconfig.device_name_fits",
        "device-name-too-long",
        Ask(hnc(of="longname1", vid=1000), there=[cn("longname1"), vc(of="longname1"), vs(of="longname1")]),
        Ask(hnc(of="longname1", vid=10), there=[cn("longname1"), vc(of="longname1"), vs(of="longname1")]),
    ),
    Case("hostnetworkconfig.its_cluster_network_exists", "clusternetwork-missing", Ask(hnc()), Ask(hnc(), there=UP)),
    Case(
        "hostnetworkconfig.stays_where_it_is",
        "immutable",
        Ask(hnc(vid=301), hnc(vid=300), UP),
        Ask(hnc(vid=300, description="x"), hnc(vid=300), UP),
    ),
    Case(
        "hostnetworkconfig.one_per_vlan",
        "hostnetwork-overlap",
        Ask(hnc("b"), there=[*UP, hnc("a")]),
        Ask(hnc("b"), there=[*UP, leaving(hnc("a"))]),
    ),
    Case(
        "hostnetworkconfig.the_bridge_is_ours",
        "bridge-foreign",
        Ask(hnc(vid=0, of="mgmt"), there=UP),
        Ask(hnc(vid=0), there=UP),
    ),
    Case(
        "hostnetworkconfig.untagged_is_vlan_1",
        "hostnetwork-overlap",
        Ask(hnc("b", vid=1), there=[*UP, hnc("a", vid=0)]),
        Ask(hnc("b", vid=2), there=[*UP, hnc("a", vid=0)]),
    ),
    Case(
        "hostnetworkconfig.every_node_has_an_address",
        "address-missing",
        Ask(hnc(ips={"n1": "10.0.0.1/24"}), there=UP),
        Ask(hnc(ips={"n1": "10.0.0.1/24"}), there=[DATA, N1, leaving(N2), vc(), vs()]),
    ),
    Case(
        "hostnetworkconfig.its_client_id_is_of_one_host",
        "client-id-shared",
        Ask(annotated(hnc(), {names.ANNOTATION_CLIENT_ID: "01:02:03"}), there=UP),
        Ask(annotated(hnc(nodeSelector={"matchLabels": RACK_A}), {names.ANNOTATION_CLIENT_ID: "01:02:03"}), there=UP),
    ),
    Case(
        "hostnetworkconfig.addresses_are_of_hosts",
        "address-invalid",
        Ask(hnc(ips={"n1": "10.0.0.0/24", "n2": "10.0.0.2/24"}), there=UP),
        Ask(hnc(**STATIC), there=UP),
    ),
    Case(
        "hostnetworkconfig.one_network",
        "address-network",
        Ask(hnc(ips={"n1": "10.0.0.1/24", "n2": "10.0.1.2/24"}), there=UP),
        Ask(hnc(**STATIC), there=UP),
    ),
    Case(
        "hostnetworkconfig.no_address_twice",
        "address-twice",
        Ask(hnc(ips={"n1": "10.0.0.1/24", "n2": "10.0.0.1/24"}), there=UP),
        Ask(hnc(**STATIC), there=UP),
    ),
    Case(
        "hostnetworkconfig.one_address_per_node",
        "address-twice",
        Ask(hnc("b", 301, **STATIC), there=[*UP, hnc("a", 300, **STATIC)]),
        Ask(hnc("b", 301, **STATIC), there=[*UP, leaving(hnc("a", 300, **STATIC))]),
    ),
    Case(
        "hostnetworkconfig.mtu_fits",
        "mtu-range",
        Ask(hnc(mtu=9000), there=UP),
        Ask(hnc(mtu=1400), there=UP),
    ),
    Case(
        "hostnetworkconfig.one_underlay",
        "underlay-twice",
        Ask(hnc("b", 301, underlay=True), there=[*UP, UNDER]),
        Ask(hnc("b", 301, underlay=True), there=[*UP, leaving(UNDER)]),
    ),
    Case(
        "hostnetworkconfig.gateways_are_on_the_link",
        "gateway-network",
        Ask(hnc(**STATIC, gateway="10.0.1.254"), there=UP),
        Ask(hnc(**STATIC, gateway="10.0.0.254"), there=UP),
    ),
    Case(
        "hostnetworkconfig.routes_lead_elsewhere",
        "route-own-network",
        Ask(hnc(**STATIC, routes=[{"to": "10.0.0.0/25", "via": "10.0.0.254"}]), there=UP),
        Ask(hnc(**STATIC, routes=[{"to": "10.9.0.0/16", "via": "10.0.0.254"}]), there=UP),
    ),
    Case(
        "hostnetworkconfig.no_route_twice",
        "route-twice",
        Ask(hnc(**STATIC, routes=[{"to": "10.9.0.0/16", "via": f"10.0.0.{i}"} for i in (253, 254)]), there=UP),
        Ask(hnc(**STATIC, routes=[{"to": f"10.{i}.0.0/16", "via": "10.0.0.254"} for i in (8, 9)]), there=UP),
    ),
    Case(
        "underlay.its_cluster_network_is_set_up",
        "not-set-up",
        Ask(hnc(), there=[*BASE, vc()]),
        Ask(hnc(), there=[*BASE, vc()], terms=RELAXED),
    ),
    Case(
        "underlay.its_cluster_network_is_set_up",
        "not-set-up",
        Ask(hnc(), there=[*BASE, vc(), vs(ready=False)]),
        Ask(hnc(description="x"), hnc(), [*BASE, vc(), vs(ready=False)]),
    ),
    Case(
        "underlay.underlay_reaches_every_node",
        "underlay-nodes",
        Ask(hnc(underlay=True, nodeSelector={"matchLabels": RACK_A}), there=UP),
        Ask(hnc(underlay=True, nodeSelector={}), there=UP),
    ),
    Case(
        "underlay.underlay_reaches_every_node",
        "underlay-nodes",
        Ask(hnc(underlay=True), there=[*BASE, vc(on=RACK_A), vs()]),
        Ask(hnc(underlay=True), there=[DATA, N1, node("w", **{names.LABEL_WITNESS: "true"}), vc(on=RACK_A), vs()]),
    ),
    Case(
        "underlay.underlay_stays_while_used",
        "underlay-in-use",
        Ask(edited(UNDER, underlay=False), UNDER, [*UP, OVER, vm("m", "over")]),
        Ask(edited(UNDER, underlay=False), UNDER, [*UP, OVER]),
    ),
    Case("underlay.underlay_is_not_deleted", "underlay-in-use", Ask(None, UNDER, UP), Ask(None, hnc(), UP)),
    # Subnet and Vpc of kube-ovn
    Case(
        "kubeovn.kubeovns_own_have_its_provider",
        "subnet-provider",
        Ask(subnet("join", "over.default.ovn")),
        Ask(subnet("join", "ovn")),
    ),
    Case("kubeovn.its_network_is_an_overlay", "subnet-provider", Ask(subnet(of="ovn")), Ask(subnet(), there=[OVER])),
    Case(
        "kubeovn.its_network_is_an_overlay",
        "subnet-provider",
        Ask(subnet(of="over.default"), terms=RELAXED),
        Ask(subnet(of="ovn"), terms=RELAXED),
    ),
    Case("kubeovn.its_network_is_an_overlay", "network-missing", Ask(subnet()), Ask(subnet(), there=[OVER])),
    Case(
        "kubeovn.its_network_is_an_overlay",
        "network-missing",
        Ask(subnet(), there=[leaving(OVER)]),
        Ask(edited(subnet(), gateway="10.8.0.1"), subnet(), [leaving(OVER)]),
    ),
    Case(
        "kubeovn.its_network_is_an_overlay",
        "network-type",
        Ask(subnet(of="web.default.ovn"), there=[*BASE, WEB, OVER]),
        Ask(subnet(), there=[*BASE, WEB, OVER]),
    ),
    Case(
        "kubeovn.one_per_network",
        "subnet-overlap",
        Ask(subnet("t"), there=[OVER, subnet()]),
        Ask(subnet("t"), there=[OVER, leaving(subnet())]),
    ),
    Case(
        "kubeovn.its_vpc_exists",
        "vpc-missing",
        Ask(subnet(vpc="blue"), there=[OVER]),
        Ask(subnet(vpc="blue"), there=[OVER, vpc()]),
    ),
    Case(
        "kubeovn.its_vpc_exists",
        "vpc-missing",
        Ask(subnet(vpc="blue"), there=[OVER, leaving(vpc())]),
        Ask(subnet(vpc="blue", gateway="10.8.0.1"), subnet(vpc="blue"), [OVER, leaving(vpc())]),
    ),
    Case(
        "kubeovn.stays_while_addresses_are_used",
        "subnet-in-use",
        Ask(subnet(of="more.default.ovn"), used(subnet(), v4usingIPs=2.0), [OVER, overlay("more")]),
        Ask(subnet(of="more.default.ovn"), used(subnet()), [OVER, overlay("more")]),
    ),
    Case(
        "kubeovn.stays_while_addresses_are_used",
        "subnet-in-use",
        Ask(subnet(vpc="blue"), used(subnet(), v6usingIPs=1), [OVER, vpc()]),
        Ask(edited(subnet(), gateway="10.8.0.1"), used(subnet(), v6usingIPs=1), [OVER, vpc()]),
    ),
    Case(
        "kubeovn.dhcp_stays_under_machines",
        "machines-running",
        Ask(subnet(enableDHCP=True), subnet(), [OVER, vmi("m", "over")]),
        Ask(subnet(enableDHCP=True), subnet(), [OVER, vm("m", "over")]),
    ),
    Case(
        "kubeovn.vpc_gone_only_when_unused",
        "vpc-in-use",
        Ask(None, vpc(), [leaving(subnet(vpc="blue"))]),
        Ask(None, vpc(), [subnet(vpc="red")]),
    ),
]
