"""Where a pod's annotations, a network's configuration and the default network come from; and the records."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni import defaultnet, definitions, meta
from windrow.apps.cni.cluster import ClusterCall
from windrow.apps.cni.host import Host
from windrow.apps.cni.podinfo import CAPABILITY, PodFiles, PodInfo, RuntimeArguments, find_pod
from windrow.apps.cni.wanted import Wanted, wanted
from windrow.model.attachments import Attached, Attachment
from windrow.port.errors import FORBIDDEN, INVALID_CONFIG, IO_FAILURE, MISSING, UNDECODABLE, CniError
from windrow.port.networks import DEFAULT_NETWORK, NETWORKS, WINDROW_DEFAULT_NETWORK
from windrow.port.request import Request, read_args
from windrow.port.settings import Settings, read_settings
from windrow.store.attachments import AttachmentRecords, RecordError, status
from windrow.store.directory import Store
from windrow.store.paths import Paths

NAD = """
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{config: '{config}'}}
"""
BRIDGE = {"cniVersion": "0.3.1", "name": "web", "type": "bridge", "bridge": "oob-br", "vlan": 100, "ipam": {}}


def nad(name: str, namespace: str = "default", **config: Any) -> str:
    return NAD.format(name=name, namespace=namespace, config=json.dumps(BRIDGE | {"name": name} | config))


def request(args: str = "", **config: Any) -> Request:
    return Request(
        command="ADD",
        container_id="c1",
        netns="/run/netns/x",
        ifname="eth0",
        args=read_args(args),
        config={"cniVersion": "1.0.0", "name": "pods", "type": "windrow", **config},
    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    manifests = tmp_path / "etc/windrow/manifests"
    manifests.mkdir(parents=True)
    (manifests / "nads.yaml").write_text(nad("web") + "---" + nad("db", "prod"))
    return Host(tmp_path, "node-0")


def manifest(host: Host, name: str, text: str) -> Path:
    path = host.paths.manifests / name
    path.write_text(text)
    return path


def refused(call: Any, *args: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        call(*args)
    return caught.value


def test_a_plugin_that_is_missing_is_told_with_the_pod_and_the_network(host: Host) -> None:
    manifest(host, "far.yaml", nad("far", type="nowhere"))
    call = request("K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;WINDROW_NETWORKS=far;WINDROW_DEFAULT_NETWORK=none")
    error = refused(meta.add, call, host)
    assert error.message.startswith("[default/web:default/far] ADD of net1: ") and "nowhere" in error.message


def test_namespaces_are_told_apart_though_inodes_come_back() -> None:
    assert meta.same_namespace("boot 4:77 5", "boot 4:77 5")
    assert not meta.same_namespace("boot 4:77 5", "boot 4:77 6")
    assert not meta.same_namespace("boot 4:77 5", "reboot 4:77 5")
    assert meta.same_namespace("boot 4:77", "boot 4:77 6"), "written before cookies were"
    assert not meta.same_namespace("", "boot 4:77 6") and not meta.same_namespace("boot 4:77 6", "")
    own = meta.namespace("/proc/self/ns/net")
    assert own and meta.same_namespace(own, meta.namespace("/proc/self/ns/net"))
    assert meta.namespace("/nowhere") == ""


# Pods ---------------------------------------------------------------------------------------------

POD = "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=vm"


def pod_file(host: Host, suffix: str, text: str) -> None:
    directory = host.paths.pods / "prod"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"vm{suffix}").write_text(text)


def find(host: Host, call: Request) -> PodInfo:
    return find_pod(call, [RuntimeArguments(), PodFiles(host.paths.pods)])


def test_a_pod_that_nobody_knows(host: Host) -> None:
    assert find(host, request()) == PodInfo(namespace="default")
    found = find(host, request(POD + ";K8S_POD_UID=u1"))
    assert (str(found), found.uid, found.known) == ("prod/vm", "u1", False)


def test_annotations_by_the_runtime(host: Host) -> None:
    found = find(host, request(POD, runtimeConfig={CAPABILITY: {NETWORKS: "web"}}))
    assert (found.annotations, found.known) == ({NETWORKS: "web"}, True)


def test_annotations_in_cni_args(host: Host) -> None:
    found = find(host, request("WINDROW_NETWORKS=default/web,prod/db@x;WINDROW_DEFAULT_NETWORK=none"))
    assert found.annotations == {NETWORKS: "default/web,prod/db@x", WINDROW_DEFAULT_NETWORK: "none"}
    found = find(host, request("WINDROW_DEFAULT_NETWORK=default/web"))
    assert found.annotations == {DEFAULT_NETWORK: "default/web"}


def test_the_first_source_that_knows_answers_alone(host: Host) -> None:
    pod_file(host, ".json", json.dumps({"metadata": {"annotations": {NETWORKS: "file"}}}))
    assert find(host, request(POD)).annotations == {NETWORKS: "file"}
    assert find(host, request(POD, runtimeConfig={CAPABILITY: {}})).annotations == {}


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".json", '{"kind": "Pod", "metadata": {"uid": "u1", "name": "vm", "annotations": {"a": "b \\"c\\""}}}'),
        (".yaml", "kind: Pod\nmetadata: {uid: u1, namespace: prod, annotations: {a: 'b \"c\"'}}\n"),
        (".annotations", 'a="b \\"c\\""\n\n'),
    ],
)
def test_annotations_in_a_file(host: Host, suffix: str, text: str) -> None:
    pod_file(host, suffix, text)
    found = find(host, request(POD))
    assert (found.annotations, str(found), found.known) == ({"a": 'b "c"'}, "prod/vm", True)


@pytest.mark.parametrize(
    ("suffix", "text", "code", "said"),
    [
        (".json", "{", UNDECODABLE, "is not JSON"),
        (".json", "[" * 100_000, UNDECODABLE, "is not JSON"),
        (".json", "[]", INVALID_CONFIG, "it has no metadata"),
        (".json", '{"metadata": {"name": "other"}}', INVALID_CONFIG, "metadata.name is not vm"),
        (".json", '{"metadata": {"namespace": "other"}}', INVALID_CONFIG, "metadata.namespace is not prod"),
        (".json", '{"metadata": {"annotations": {"a": 5}}}', INVALID_CONFIG, "the value of a must be a text"),
        (".json", '{"metadata": {"annotations": ["a"]}}', INVALID_CONFIG, "must be an object"),
        (".yaml", "a: [", UNDECODABLE, "is not YAML"),
        (".yaml", "a: !!python/object:os.system {}", UNDECODABLE, "is not YAML"),
        (".annotations", "a=b", UNDECODABLE, 'line 1: it must be key="value"'),
    ],
)
def test_files_that_cannot_be_understood(host: Host, suffix: str, text: str, code: int, said: str) -> None:
    pod_file(host, suffix, text)
    error = refused(find, host, request(POD))
    assert said in error.message
    assert error.code == code


def test_files_that_cannot_be_read(host: Host) -> None:
    (host.paths.pods / "prod/vm.json").mkdir(parents=True)
    assert refused(find, host, request(POD)).code == IO_FAILURE
    (host.paths.pods / "prod/vm.json").rmdir()
    pod_file(host, ".json", " " * (5 << 20))
    assert "larger than 4 MiB" in refused(find, host, request(POD)).message
    (host.paths.pods / "prod/vm.json").write_bytes(b"\xff")
    assert "is not UTF-8" in refused(find, host, request(POD)).message


@pytest.mark.parametrize("name", ["../prod/vm", "..", "a/b", "", "A b"])
def test_a_name_that_is_no_pods_is_no_path(host: Host, name: str) -> None:
    pod_file(host, ".json", "{")
    assert not find(host, request(f"K8S_POD_NAMESPACE=prod;K8S_POD_NAME={name}")).known


def test_another_pod_of_the_same_name(host: Host) -> None:
    pod_file(host, ".json", json.dumps({"metadata": {"uid": "new"}}))
    error = refused(find, host, request(POD + ";K8S_POD_UID=old"))
    assert "pod prod/vm is another one by now" in error.message
    assert find(host, request(POD + ";K8S_POD_UID=new")).uid == "new"
    pod_file(host, ".json", json.dumps({"metadata": {"uid": "n", "annotations": {"kubernetes.io/config.source": "f"}}}))
    assert find(host, request(POD + ";K8S_POD_UID=old")).known


# Definitions --------------------------------------------------------------------------------------


def test_networks_by_name(host: Host) -> None:
    found = definitions.load(host.paths)
    assert found.network("prod/db")["name"] == "db"


def test_no_manifests_at_all(tmp_path: Path) -> None:
    assert definitions.load(Paths(tmp_path)) == definitions.Definitions()


def test_what_was_found_is_kept_and_noticed_when_it_changes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = definitions._read
    monkeypatch.setattr(definitions, "_read", lambda paths: (reads.append(1), read(paths))[1])
    first = definitions.load(host.paths)
    assert definitions.load(host.paths) is first
    definitions._loaded.cache_clear()  # another process: it has only the file
    assert definitions.load(host.paths) == first
    assert len(reads) == 1
    path = manifest(host, "nads.yaml", nad("web", vlan=101) + "---" + nad("db", "prod"))
    assert definitions.load(host.paths).network("default/web")["vlan"] == 101
    os.utime(path, ns=(0, 0))
    definitions.load(host.paths)
    assert len(reads) == 3


def test_a_kept_file_that_is_broken_is_read_anew(host: Host) -> None:
    first = definitions.load(host.paths)
    kept = host.paths.runtime / "definitions.json"
    for text in ("{", "[]", json.dumps({"of": json.loads(kept.read_text())["of"], "definitions": {}})):
        kept.write_text(text)
        definitions._loaded.cache_clear()
        assert definitions.load(host.paths) == first


def test_nothing_can_be_kept_where_nothing_can_be_written(host: Host) -> None:
    (host.paths.runtime.parent).mkdir(parents=True)
    host.paths.runtime.write_text("no directory")
    assert definitions.load(host.paths).network("default/web")


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("default/none", MISSING, "put its manifest into the store"),
        ("default/db", MISSING, "there is prod/db: name it with its namespace"),
        ("default/bad", INVALID_CONFIG, "NetworkAttachmentDefinition default/bad"),
    ],
)
def test_networks_that_are_not_there(host: Host, reference: str, code: int, said: str) -> None:
    manifest(host, "bad.yaml", nad("bad", vlan=5000))
    error = refused(definitions.load(host.paths).network, reference)
    assert said in f"{error.message} {error.details}"
    assert error.code == code


def test_a_missing_network_may_be_in_a_file_that_cannot_be_read(host: Host) -> None:
    manifest(host, "broken.yaml", "a: [")
    error = refused(definitions.load(host.paths).network, "default/none")
    assert "1 manifests cannot be read" in error.details
    assert "broken.yaml:" in error.details


def test_a_network_in_two_files_is_neither_of_them(host: Host) -> None:
    """With the words that `windrow plan` has for it: which of the two counts would hang on the names of the files."""
    first, second = manifest(host, "a.yaml", nad("v", vlan=100)), manifest(host, "b.yaml", nad("v", vlan=200))
    for _ in range(2):  # read, and as it was kept
        error = refused(definitions.load(host.paths).network, "default/v")
        (problem,) = Store(host.paths).load().problems
        assert error.code == INVALID_CONFIG
        assert f"{second}:" in error.message and f"already at {first}:" in error.message
        assert problem.message in error.message
        definitions._loaded.cache_clear()
    second.unlink()
    assert definitions.load(host.paths).network("default/v")["vlan"] == 100


# The default network ------------------------------------------------------------------------------


def find_default(host: Host, **config: Any) -> defaultnet.Found | None:
    settings = read_settings(config)
    return defaultnet.find(settings, host, definitions.load(host.paths), "1.1.0")


def conf(host: Host, name: str, text: str) -> Path:
    host.paths.cni_networks.mkdir(parents=True, exist_ok=True)
    path = host.paths.cni_networks / name
    path.write_text(text)
    return path


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaultnet, "_management_mtu", lambda _: 1450)
    monkeypatch.setattr(defaultnet, "_tunnel_mtu", lambda *_: None)


def test_the_network_that_windrow_brings(host: Host, no_kernel: None) -> None:
    manifest(
        host,
        "node.yaml",
        "{apiVersion: v1, kind: Node, metadata: {name: node-0}, spec: {podCIDRs: [10.52.0.0/24, 'fd52::/64']}}",
    )
    found = find_default(host)
    assert found == defaultnet.Found(
        reference="windrow-pods",
        config={
            "cniVersion": "1.0.0",
            "name": "windrow-pods",
            "type": "windrow-bridge",
            "bridge": "wn-pods",
            "isGateway": True,
            "isDefaultGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "mtu": 1450,
            "ipam": {
                "type": "host-local",
                "dataDir": str(host.paths.root / "var/lib/cni/networks"),
                "ranges": [[{"subnet": "10.52.0.0/24"}], [{"subnet": "fd52::/64"}]],
            },
        },
    )


def test_where_there_are_services_the_hosts_filter_sees_the_frames_of_its_bridge(host: Host, no_kernel: None) -> None:
    class Clusters(definitions.Definitions):
        services = True

    known = Clusters(nodes=("node-0",), pod_cidrs={"node-0": ("10.52.0.0/24",)})
    assert defaultnet.brought(Settings(), host, known, "1.0.0")["bridgeNetfilter"] is True
    assert ClusterCall.services is True


def test_its_pods_may_send_from_any_address_where_that_is_said(host: Host, no_kernel: None) -> None:
    known = definitions.Definitions(nodes=("node-0",), pod_cidrs={"node-0": ("10.52.0.0/24",)})
    said = {value: read_settings({"ipspoofchk": value}) for value in (None, True, False)}
    assert [one.any_source for one in said.values()] == [False, False, True]
    assert defaultnet.brought(said[False], host, known, "1.0.0")["ipspoofchk"] is False
    assert "ipspoofchk" not in defaultnet.brought(said[True], host, known, "1.0.0")
    with pytest.raises(CniError, match="ipspoofchk must be true or false"):
        read_settings({"ipspoofchk": "no"})


def test_with_an_overlay_pods_are_known_by_their_addresses_in_all_of_it(host: Host, no_kernel: None) -> None:
    manifest(
        host,
        "node.yaml",
        "{apiVersion: v1, kind: Node, metadata: {name: node-0}, spec: {podCIDRs: [10.52.0.0/24]}}\n---\n"
        "apiVersion: network.harvesterhci.io/v1beta1\nkind: ClusterNetwork\nmetadata: {name: mgmt, annotations: "
        """{windrow.io/overlay: '{"Network": "10.52.0.0/16", "EnableIPv6": true, "IPv6Network": "fd52::/48"}'}}""",
    )
    for _ in range(2):  # the second time, as it was kept
        found = find_default(host)
        assert found is not None
        assert found.config["nonMasqueradeCIDRs"] == ["10.52.0.0/16", "fd52::/48"]
        definitions._loaded.cache_clear()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "there is no Node node-0 in the manifests"),
        ("{apiVersion: v1, kind: Node, metadata: {name: node-0}}", "node node-0 has no podCIDR"),
    ],
)
def test_a_node_without_pod_addresses(host: Host, spec: str, said: str) -> None:
    manifest(host, "node.yaml", spec)
    error = refused(find_default, host)
    assert said in error.message
    for way_out in ("spec.podCIDR", "clusterNetwork", "windrow.io/default-network: none"):
        assert way_out in error.details
    assert error.code == MISSING


def test_a_node_in_two_files_is_neither_of_them(host: Host, no_kernel: None) -> None:
    for file, cidr in (("a.yaml", "10.52.0.0/24"), ("b.yaml", "10.53.0.0/24")):
        spec = f"{{apiVersion: v1, kind: Node, metadata: {{name: node-0}}, spec: {{podCIDR: {cidr}}}}}"
        manifest(host, file, spec)
    error = refused(find_default, host)
    assert error.code == INVALID_CONFIG
    assert "Node node-0" in error.message and "a.yaml:" in error.message and "b.yaml:" in error.message


def test_none_is_wanted(host: Host) -> None:
    assert find_default(host, clusterNetwork="none") is None


def test_named_as_a_network_of_a_namespace(host: Host) -> None:
    assert find_default(host, clusterNetwork="prod/db").reference == "prod/db"  # type: ignore[union-attr]


def test_named_as_a_network_of_the_system(host: Host) -> None:
    manifest(host, "canal.yaml", nad("canal", "kube-system"))
    conf(host, "10-canal.conflist", json.dumps({"name": "canal", "plugins": [{"type": "calico"}]}))
    assert find_default(host, clusterNetwork="canal").reference == "kube-system/canal"  # type: ignore[union-attr]


def test_named_as_a_configuration(host: Host) -> None:
    conf(host, "00-broken.conf", "{")
    conf(host, "05-other.conf", json.dumps({"name": "other", "type": "x"}))
    conf(host, "10-canal.conflist", json.dumps({"name": "canal", "plugins": [{"type": "calico"}]}))
    found = find_default(host, clusterNetwork="canal")
    assert found is not None and found.config["plugins"] == [{"type": "calico"}]
    error = refused(lambda: find_default(host, clusterNetwork="nowhere"))
    assert "00-broken.conf (no JSON)" in error.details and error.code == MISSING


def test_named_as_a_file_and_as_a_directory(host: Host) -> None:
    own = conf(host, "00-windrow.conf", json.dumps({"name": "me", "type": "windrow"}))
    path = conf(host, "10-x.conf", json.dumps({"name": "x", "type": "macvlan"}))
    for name in (str(path), str(path.parent)):
        assert find_default(host, clusterNetwork=name).config["type"] == "macvlan"  # type: ignore[union-attr]
    assert refused(lambda: find_default(host, clusterNetwork=str(own))).code == MISSING
    assert refused(lambda: find_default(host, clusterNetwork="/nowhere")).code == MISSING


def test_another_directory_of_configurations(host: Host, tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text(json.dumps({"name": "x", "type": "macvlan"}))
    assert find_default(host, clusterNetwork="x", confDir=str(tmp_path)) is not None


def test_the_meta_plugin_is_not_its_own_default_network(host: Host) -> None:
    conf(host, "00-windrow.conflist", json.dumps({"name": "me", "plugins": [{"type": "windrow"}]}))
    error = refused(lambda: find_default(host, clusterNetwork="me"))
    assert "does not call itself" in error.message


def test_inline(host: Host) -> None:
    found = find_default(host, delegates=[{"type": "macvlan"}, {"type": "bridge"}])
    assert found == defaultnet.Found(reference="windrow-pods", config={"type": "macvlan"})


def test_an_empty_definition_is_the_configuration_of_its_name(host: Host) -> None:
    manifest(
        host,
        "empty.yaml",
        NAD.format(name="canal", namespace="default", config="{}"),
    )
    conf(host, "10.conf", json.dumps({"name": "canal", "type": "calico"}))
    found = find_default(host, clusterNetwork="default/canal")
    assert found == defaultnet.Found(reference="default/canal", config={"name": "canal", "type": "calico"})


# What is wanted -----------------------------------------------------------------------------------


def want(host: Host, call: Request | None = None, **annotations: str) -> Wanted:
    """`n`, `d`, `w`: the three annotations."""
    keys = {"n": NETWORKS, "d": DEFAULT_NETWORK, "w": WINDROW_DEFAULT_NETWORK}
    pod = PodInfo(namespace="prod", name="vm", annotations={keys[k]: v for k, v in annotations.items()}, known=True)
    call = call or request(clusterNetwork="default/web")
    return wanted(call, host, read_settings(call.config), pod, definitions.load(host.paths))


def names(found: Wanted) -> list[tuple[str, str, bool]]:
    return [(one.reference, one.ifname, one.default) for one in found.attachments]


def test_the_default_network_first(host: Host) -> None:
    assert names(want(host, n="db,default/web@pod1dba23260aa,db")) == [
        ("default/web", "eth0", True),
        ("prod/db", "net1", False),
        ("default/web", "pod1dba23260aa", False),
        ("prod/db", "net3", False),
    ]


def test_a_pod_without_a_default_network(host: Host) -> None:
    assert names(want(host, w="none", n="db")) == [("prod/db", "net1", False)]
    assert names(want(host, w="none")) == []
    assert names(want(host, request(clusterNetwork="none"), n="db@eth0")) == [("prod/db", "eth0", False)]


def test_a_pod_without_a_default_network_needs_no_node(host: Host) -> None:
    assert names(want(host, request(), w="none", n="db")) == [("prod/db", "net1", False)]


def test_a_pod_with_a_default_network_of_its_own(host: Host) -> None:
    text = json.dumps([{"name": "db", "namespace": "prod", "mac": "52:54:00:12:34:56"}])
    call = request("A=b", clusterNetwork="nowhere", runtimeConfig={"portMappings": [], CAPABILITY: {}})
    found = want(host, call, d=text)
    assert names(found) == [("prod/db", "eth0", True)]
    assert found.attachments[0].args == "IgnoreUnknown=1;A=b;MAC=52:54:00:12:34:56"


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"w": "something"}, 'the only value is "none"'),
        ({"w": "none", "d": "prod/db"}, "names a default network, and windrow.io/default-network says"),
        ({"d": "prod/db@eth5"}, "it asks for the interface eth5"),
        ({"d": "prod/db,prod/db"}, "name exactly one"),
        ({"n": "db@eth0"}, "asks for the interface eth0, and so does the default network"),
        ({"n": "nowhere"}, "NetworkAttachmentDefinition prod/nowhere, which annotation"),
    ],
)
def test_annotations_that_cannot_be_followed(host: Host, annotations: dict[str, str], said: str) -> None:
    error = refused(lambda: want(host, **annotations))
    assert said in error.message
    assert "pod prod/vm" in error.message


def test_what_the_runtime_gives_is_the_default_networks(host: Host) -> None:
    manifest(host, "ports.yaml", nad("ports", capabilities={"portMappings": True}))
    mappings = [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]
    runtime = {"portMappings": mappings, "mac": "52:54:00:12:34:56", "ips": ["10.1.2.3"]}
    call = request(clusterNetwork="default/ports", runtimeConfig=runtime)
    first, second = want(host, call, n="default/ports").attachments
    assert json.loads(first.plugins[0])["runtimeConfig"] == {"portMappings": mappings}
    assert first.args == "IgnoreUnknown=1;IP=10.1.2.3;MAC=52:54:00:12:34:56"
    assert "runtimeConfig" not in json.loads(second.plugins[0])
    assert second.args == "IgnoreUnknown=1"


def test_networks_that_every_pod_gets(host: Host) -> None:
    call = request(clusterNetwork="default/web", defaultNetworks=["prod/db", "default/web"])
    assert [name for _, name, _ in names(want(host, call, n="db"))] == ["eth0", "net1", "net2", "net3"]
    system = request(clusterNetwork="default/web", defaultNetworks=["prod/db"], systemNamespaces=["prod"])
    assert names(want(host, system)) == [("default/web", "eth0", True)]
    inline = request(delegates=[BRIDGE, BRIDGE | {"name": "second"}])
    assert names(want(host, inline)) == [("web", "eth0", True), ("second", "net1", False)]


def test_namespace_isolation(host: Host) -> None:
    manifest(host, "more.yaml", nad("x", "other") + "---" + nad("y", "kube-system"))
    call = request(clusterNetwork="other/x", namespaceIsolation=True)
    assert len(want(host, call, n="db,default/web").attachments) == 3
    for annotation in ({"n": "other/x"}, {"d": "other/x"}):
        error = refused(lambda kwargs=annotation: want(host, call, **kwargs))
        assert error.code == FORBIDDEN
        assert "pods of namespace prod may not use other/x" in error.message
        assert "networks of prod, default" in error.details
    assert len(want(host, call, d="y").attachments) == 1
    assert len(want(host, request(clusterNetwork="other/x"), n="other/x").attachments) == 2


def test_default_routes(host: Host) -> None:
    found = want(host, n=json.dumps([{"name": "db", "default-route": ["10.1.2.1"]}]))
    assert list(found.claims) == [None, ("10.1.2.1",)]


# Records ------------------------------------------------------------------------------------------

RECORD = Attached(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/x",
    network="pods",
    path="/opt/cni/bin",
    pod="prod/vm",
    uid="u1",
    attachments=(
        Attachment(
            network="web",
            reference="default/web",
            ifname="net1",
            plugins=(json.dumps(BRIDGE),),
            args="A=b",
            default=True,
            added=True,
            result={"cniVersion": "0.3.1", "interfaces": []},
        ),
        Attachment(network="db", reference="prod/db", ifname="net2", plugins=("{}",), check=False, gc=False),
    ),
    status=({"name": "default/web", "dns": {}},),
)


@pytest.fixture
def records(tmp_path: Path) -> AttachmentRecords:
    return AttachmentRecords(Paths(tmp_path))


def test_a_record_comes_back_as_it_was(records: AttachmentRecords) -> None:
    assert records.get("c1", "eth0") is None
    assert records.all() == ((), ())
    records.put(RECORD)
    assert records.get("c1", "eth0") == RECORD
    assert records.of("c1") == (RECORD,)
    assert records.of("c") == ()
    other = replace(RECORD, ifname="eth1", network="more", status=({"name": "x"},))
    records.put(other)
    assert records.all() == ((RECORD, other), ())
    assert status(records.paths, "c1") == ({"name": "default/web", "dns": {}}, {"name": "x"})
    records.remove(RECORD)
    records.remove(RECORD)
    assert records.all() == ((other,), ())


def test_only_its_owner_reads_a_record(records: AttachmentRecords) -> None:
    records.put(RECORD)
    (path,) = records.paths.attachments.iterdir()
    assert path.name == "c1@eth0.json"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"container_id": "c1"}', '{"attachments": [{}]}', "\udcff"])
def test_a_file_that_is_no_record_is_told_and_stops_nobody_else(records: AttachmentRecords, text: str) -> None:
    records.put(RECORD)
    (records.paths.attachments / "c2@eth0.json").write_bytes(text.encode(errors="surrogateescape"))
    (records.paths.attachments / ".c3@eth0.json.new").write_text("half")
    found, failures = records.all()
    assert found == (RECORD,)
    assert [failure.path.name for failure in failures] == ["c2@eth0.json"]
    with pytest.raises(RecordError, match="not a record"):
        records.get("c2", "eth0")
    with pytest.raises(RecordError):
        records.of("c2")


def test_half_written_files_of_killed_processes_go(records: AttachmentRecords) -> None:
    records.sweep()
    records.put(RECORD)
    old, new = (records.paths.attachments / f".c{n}@eth0.json.new" for n in (2, 3))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    records.sweep()
    assert (old.exists(), new.exists(), records.get("c1", "eth0")) == (False, True, RECORD)


def test_what_a_newer_windrow_says_more_is_overlooked(records: AttachmentRecords) -> None:
    records.put(RECORD)
    (path,) = records.paths.attachments.iterdir()
    document = json.loads(path.read_text())
    document["news"] = document["attachments"][0]["news"] = 1
    path.write_text(json.dumps(document))
    assert records.get("c1", "eth0") == RECORD


def test_a_full_disk_leaves_the_old_record(records: AttachmentRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    records.begin(RECORD, lasting=True)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        records.begin(replace(RECORD, uid="u2"), lasting=True)
    monkeypatch.undo()
    assert records.get("c1", "eth0") == RECORD
    for directory in (records.paths.attachments, records.paths.lasting_attachments):
        assert len(list(directory.iterdir())) == 1


def test_after_a_reboot_what_lasts_is_undone_in_full(records: AttachmentRecords) -> None:
    """However far the call had come: what is on tmpfs is gone, and its containers with it."""
    here, lasting = replace(RECORD, container_id="c2"), replace(RECORD, attachments=RECORD.attachments[:1])
    records.begin(here, lasting=False)
    records.begin(lasting, lasting=True)
    records.put(replace(lasting, attachments=(), status=({"name": "x"},)))
    assert records.of("c1")[0].attachments == ()
    shutil.rmtree(records.paths.runtime)
    assert records.all() == ((lasting,), ())
    records.put(replace(lasting, attachments=()))
    records.remove(lasting)
    assert records.all() == ((), ())


def test_one_at_a_time_for_each_record(records: AttachmentRecords) -> None:
    with records.locked("c1", "eth0", timeout_s=0) as first:
        assert first
        with records.locked("c1", "eth0", timeout_s=0) as second:
            assert not second
        with records.locked("c1", "eth1", timeout_s=0) as other:
            assert other
    with records.locked("c1", "eth0", timeout_s=0) as again:
        assert again


def test_a_program_that_goes_on_after_a_killed_call_keeps_the_lock(records: AttachmentRecords) -> None:
    with records.locked("c1", "eth0", timeout_s=0) as holding:
        started = subprocess.Popen(["sleep", "0.5"], pass_fds=[holding or 0])
    with records.locked("c1", "eth0", timeout_s=0) as second:
        assert second is None
    with records.locked("c1", "eth0", timeout_s=20) as third:
        assert third is not None and started.wait(1.0) == 0


def test_who_waits_for_the_lock_gets_it(records: AttachmentRecords) -> None:
    got: list[float] = []

    def wait() -> None:
        with records.locked("c1", "eth0", timeout_s=5) as mine:
            got.append(time.monotonic() if mine else 0.0)

    with records.locked("c1", "eth0", timeout_s=0):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        free = time.monotonic()
        assert got == []
    thread.join()
    assert got[0] >= free


def test_settings_have_their_defaults() -> None:
    assert Settings().system_namespaces == ("kube-system",)
