"""What a machine's pod is: its annotations, its resolver, the configuration of its CNI calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from windrow.apps.vm import gates, pod
from windrow.apps.vm.site import Site
from windrow.model.machines import Binding, GuestNetwork, GuestNic, LinkState, MachineSpec, VirtualMachine
from windrow.model.meta import Meta
from windrow.model.values import Mac
from windrow.port.networks import read_default, read_networks
from windrow.store.paths import Paths

NETWORKS, DEFAULT = "k8s.v1.cni.cncf.io/networks", "v1.multus-cni.io/default-network"


def machine(*networks: GuestNetwork, state: LinkState = LinkState.UP) -> VirtualMachine:
    nics = tuple(
        GuestNic(name=n.name, binding=Binding.BRIDGE if n.nad else Binding.MASQUERADE, state=state) for n in networks
    )
    spec = MachineSpec(networks=networks, nics=nics)
    return VirtualMachine(meta=Meta(name="web", namespace="apps"), spec=spec)


POD = GuestNetwork(name="default")
VLAN = GuestNetwork(name="vlan100", nad="nets/v100")


def test_secondary_networks_have_hashed_names_and_a_mac() -> None:
    found = pod.networks_of(machine(POD, VLAN))
    assert set(found) == {NETWORKS}
    (entry,) = read_networks(found[NETWORKS], namespace="apps", about="x")
    assert (entry.reference, entry.interface) == ("nets/v100", "pod1dba23260aa")
    assert entry.mac == pod.stable_mac("apps", "web", "vlan100")


def test_without_a_pod_network_there_is_no_default_network() -> None:
    found = pod.networks_of(machine(VLAN))
    assert found["windrow.io/default-network"] == "none"
    assert pod.networks_of(machine(POD)) == {}


def test_a_network_in_the_place_of_the_pods() -> None:
    found = pod.networks_of(machine(GuestNetwork(name="a", nad="nets/v200", default=True), VLAN))
    assert set(found) == {NETWORKS, DEFAULT}
    entry = read_default(found[DEFAULT], namespace="kube-system", about="x")
    assert (entry.reference, entry.interface) == ("nets/v200", "eth0")


def test_a_mac_from_the_names_is_local_unicast_and_its_own() -> None:
    macs = {pod.stable_mac(*words) for words in (("a", "b", "c"), ("a", "b", "d"), ("a", "c", "c"), ("b", "b", "c"))}
    assert len(macs) == 4
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def test_absent_nics_are_left_out_and_the_others_have_a_mac() -> None:
    one = machine(POD, VLAN)
    assert [nic.mac for nic in gates.settled(one).spec.nics] == [
        pod.stable_mac("apps", "web", "default"),
        pod.stable_mac("apps", "web", "vlan100"),
    ]
    assert gates.settled(machine(POD, VLAN, state=LinkState.ABSENT)).spec.nics == ()


@pytest.mark.parametrize(
    ("texts", "servers", "search"),
    [
        (
            ["nameserver 9.9.9.9\nnameserver 127.0.0.1\nsearch a.example b.example\n"],
            ("9.9.9.9",),
            ("a.example", "b.example"),
        ),
        (["nameserver 127.0.0.53\nsearch lan\n", "# x\n\nnameserver 10.0.0.1\n"], ("10.0.0.1",), ("lan",)),
        (["nameserver ::1\nnameserver fe80::1%eth0\nsearch .\n", None], (), ()),
        ([None, "nameserver\ndomain old\nsearch new\nnameserver 2001:db8::1\n"], ("2001:db8::1",), ("new",)),
        ([None, None], (), ()),
    ],
)
def test_resolver(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[str | None],
    servers: tuple[str, ...],
    search: tuple[str, ...],
) -> None:
    """A stub on this host's loopback is no server for a guest."""
    paths = tuple(tmp_path / str(number) for number in range(len(texts)))
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            path.write_text(text)
    monkeypatch.setattr(pod, "RESOLVERS", paths)
    found = pod.identity(MachineSpec(hostname="host", subdomain="sub"), "web")
    assert (found.name_servers, found.search) == (servers, search)
    assert (found.hostname, found.subdomain) == ("host", "sub")
    assert pod.identity(MachineSpec(), "web").hostname == "web"
    assert pod.identity(MachineSpec(), f"{'x' * 70}.prod").hostname == "x" * 63


def test_what_the_operator_told_the_meta_plugin_counts_for_machines_too(tmp_path: Path) -> None:
    site = Site(paths=Paths(tmp_path), node="n")
    plain = {"cniVersion": "1.1.0", "name": "windrow-vms", "type": "windrow"}
    assert json.loads(pod._config(site)) == plain
    directory = tmp_path / "etc/cni/net.d"
    directory.mkdir(parents=True)
    (directory / "00-broken.conf").write_text("{")
    (directory / "05-list.conflist").write_text("[]")
    (directory / "10-canal.conflist").write_text(json.dumps({"name": "c", "plugins": [{"type": "calico"}]}))
    assert json.loads(pod._config(site)) == plain
    ours = {"type": "windrow", "name": "x", "clusterNetwork": "c", "capabilities": {"portMappings": True}}
    (directory / "20-windrow.conflist").write_text(json.dumps({"name": "pods", "plugins": [ours]}))
    (directory / "30-other.json").write_text(json.dumps({**ours, "clusterNetwork": "d"}))
    assert json.loads(pod._config(site)) == {**plain, "clusterNetwork": "c"}
    assert json.loads(pod._config(site, {"a": 1})) == {**plain, "clusterNetwork": "c", "runtimeConfig": {"a": 1}}


def test_the_namespace_has_the_same_name_at_every_start(tmp_path: Path) -> None:
    site, other = (Site(paths=Paths(tmp_path / name), node="n") for name in "ab")
    name = pod.netns_name(site, "default", "web")
    assert name == pod.netns_name(site, "default", "web")
    assert len({name, pod.netns_name(site, "default", "db"), pod.netns_name(other, "default", "web")}) == 3
    assert name.startswith("windrow-")
    assert len(name) == len("windrow-") + 12


def test_the_pods_manifest(tmp_path: Path) -> None:
    site = Site(paths=Paths(tmp_path), node="n")
    path = pod.write_manifest(site, machine(VLAN))
    assert path == tmp_path / "run/windrow/pods/apps/virt-launcher-web.json"
    document = json.loads(path.read_text())
    assert document["metadata"]["namespace"] == "apps"
    assert Mac(json.loads(document["metadata"]["annotations"][NETWORKS])[0]["mac"])
    pod.remove_manifest(site, "apps", "web")
    pod.remove_manifest(site, "apps", "web")
    assert not list((tmp_path / "run/windrow/pods").iterdir())


def test_a_machine_in_two_files_is_neither_of_them(tmp_path: Path) -> None:
    site = Site(paths=Paths(tmp_path), node="n")
    site.paths.manifests.mkdir(parents=True)
    text = "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: web}, spec: SPEC}"
    spec = "{running: false, template: {spec: {domain: {devices: {}}}}}"
    for file in ("a.yaml", "b.yaml"):
        (site.paths.manifests / file).write_text(text.replace("SPEC", spec))
    (found,) = gates.in_two_places(site, site.machine("default", "web"))
    assert found.file.endswith("b.yaml") and "a.yaml:" in found.message
    (site.paths.manifests / "b.yaml").unlink()
    again = Site(paths=Paths(tmp_path), node="n")
    assert gates.in_two_places(again, again.machine("default", "web")) == ()
