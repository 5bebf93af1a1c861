"""`windrow adopt` and `export`: what they say, refuse, store and hand back, on a kernel in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.unit.clihost import CliHost
from tests.unit.test_adopt import Made

from windrow.apps.site import Site
from windrow.model.bridging import CLUSTER_BRIDGE
from windrow.model.host import OWNER_GROUP, Bridge, Route
from windrow.model.values import IfName
from windrow.model.wire import load_documents
from windrow.store.adopted import read_adopted
from windrow.store.directory import Store
from windrow.store.leases import Leases
from windrow.testing.builders import link, ports


class Host(CliHost):
    def __init__(self, root: Path, made: Made) -> None:
        super().__init__(root, made.kernel, "n1")
        self.made = made

    def on_site(self, site: Site) -> Site:
        return replace(super().on_site(site), dynamic=lambda _: self.made.dynamic)

    def stored(self) -> list[str]:
        return sorted(str(obj.ref) for obj in Store(self.paths).load().objects)

    def marks(self) -> dict[str, tuple[str, ...]]:
        return {d.name: tuple(d.altnames) for d in self.kernel.machine.devices.values() if d.altnames}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Made()
    made.carries("1* 100")
    return Host(tmp_path, made)


def test_a_dry_run_shows_it_all_and_does_nothing(host: Host) -> None:
    before = str(host.kernel)
    result = host.run("adopt", "br0=oob", "--dry-run")
    assert "br0, called oob-br as well" in result.stdout
    assert "Nothing else changes: the links are marked, and that is all." in result.stdout
    text = result.stdout.partition("---\n")[2].rpartition("---\n")[0]
    assert [o.ref.kind for o in load_documents(text).objects] == [
        "ClusterNetwork",
        "VlanConfig",
        "NetworkAttachmentDefinition",
    ]
    assert (str(host.kernel), host.stored(), read_adopted(host.paths).marked) == (before, [], ())


def test_it_stores_marks_and_is_as_it_should_be(host: Host) -> None:
    host.run("adopt", "br0=oob")
    assert host.stored() == [
        "ClusterNetwork/oob",
        "NetworkAttachmentDefinition/default/oob-vlan100",
        "VlanConfig/oob-n1",
    ]
    assert host.marks() == {
        "br0": ("oob-br", "made-by-windrow.oob-br"),
        "bond0": ("oob-bo", "made-by-windrow.oob-bo"),
    }
    assert "nothing to do" in host.run("plan").stdout
    assert "oob-br" in host.run("status").stdout
    assert host.kernel.interruptions == []
    assert "is Windrow's already" in host.run("adopt", "br0", code=1).stderr


def test_undo_gives_each_link_back_as_it_was(host: Host) -> None:
    host.kernel.machine.get("br0").group = 7
    before = str(host.kernel)
    host.run("adopt", "br0=oob")
    assert host.kernel.machine.get("br0").group == OWNER_GROUP
    assert "would go back as bond0" in host.run("adopt", "--undo", "--dry-run").stdout
    said = host.run("adopt", "--undo").stdout
    assert "oob-br is no longer Windrow's: it is br0" in said
    assert (str(host.kernel), host.marks(), host.stored()) == (before, {}, [])
    assert host.kernel.machine.get("br0").group == 7
    assert "nothing was adopted" in host.run("adopt", "--undo", code=1).stderr


def test_undo_after_the_links_were_made_anew(host: Host) -> None:
    """A start of the host: the links have the names of Windrow alone."""
    host.run("adopt", "br0=oob")
    for name in ("br0", "bond0"):
        host.kernel.machine.delete(host.kernel.machine.get(name))
    host.run("apply")
    assert {"oob-br", "oob-bo"} <= set(host.kernel.machine.devices)
    host.run("adopt", "--undo")
    assert (host.marks(), host.stored()) == ({}, [])
    assert {"oob-br", "oob-bo"} <= set(host.kernel.machine.devices)


def test_what_costs_more_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    host = Host(tmp_path, Made(spec=Bridge()))
    result = host.run("adopt", "br0=oob", code=1)
    assert "what changes has impact flap on oob-br, and --max-impact is hitless" in result.stderr
    assert "1 error; nothing was changed" in result.stderr
    assert (host.marks(), host.stored()) == ({}, [])
    host.run("adopt", "br0=oob", "--max-impact", "flap")
    bridge = host.kernel.observe().state.links[IfName("oob-br")].spec
    assert isinstance(bridge, Bridge) and bridge.vlan_filtering


def test_nothing_to_adopt(tmp_path: Path) -> None:
    made = Made()
    for name in ("bond0", "br0"):
        made.kernel.machine.delete(made.kernel.machine.get(name))
    result = Host(tmp_path, made).run("adopt", code=1)
    assert "no bridge with a bond is here that is not Windrow's" in result.stderr


@pytest.mark.parametrize("word", ["br0=", "=oob", ""])
def test_words_that_are_neither_a_link_nor_a_link_and_a_name(host: Host, word: str) -> None:
    assert "is neither LINK nor LINK=NETWORK" in host.run("adopt", word, code=2).stderr
    assert "takes no links" in host.run("adopt", "--undo", "br0", code=2).stderr


def test_a_name_that_no_cluster_network_may_have(host: Host) -> None:
    """Said once, of the network; not of each object that would be called after it."""
    result = host.run("adopt", "br0=Not_A_Name", code=1)
    assert result.stderr.startswith("error: no cluster network can be called 'Not_A_Name'\n")
    assert "1 error; nothing was changed" in result.stderr and host.stored() == []


def test_a_link_has_one_name(host: Host) -> None:
    assert "br0 is named twice" in host.run("adopt", "br0=oob", "br0=mgmt", code=2).stderr
    assert host.marks() == {}


def test_a_lease_is_asked_for_again_by_the_agent(host: Host) -> None:
    from windrow.model.host import Details
    from windrow.model.values import Cidr

    host.made.address("br0", "10.0.0.7/24", Details(static=False, valid_until=900.0))
    host.made.dynamic = {IfName("br0"): {Cidr("10.0.0.7/24"): 900}}
    host.run("adopt", "br0=oob")
    assert Leases(host.paths).path(IfName("oob-br")).exists()
    assert "10.0.0.7/24" in (host.kernel.observe().state.links[IfName("oob-br")].addrs or ())


def test_what_to_take_out_of_whose_files(host: Host) -> None:
    place = host.root / "etc/network"
    place.mkdir(parents=True)
    (place / "interfaces").write_text(
        "auto br0\niface br0 inet manual\n  bridge-ports bond0\n  dns-search example.net\n"
    )
    result = host.run("adopt", "br0=oob", "--dry-run")
    assert "Take out of the files of ifupdown" in result.stdout
    assert "/etc/network/interfaces:2-4  iface br0 inet manual" in result.stdout
    assert "/etc/network/interfaces:4: iface br0 dns-search: example.net: no object says this" in result.stderr
    assert "no file of netplan speaks of br0, bond0" in host.run("adopt", "--dry-run", "--from", "netplan").stderr
    assert "files of proxmox" in host.run("adopt", "--dry-run", "--from", "proxmox").stdout


@pytest.mark.parametrize("answers", [True, False])
def test_the_management_network_too(tmp_path: Path, answers: bool) -> None:
    """Something of it changes, and the gateway is asked before and after; where it is silent, the links are marked and
    the rest stays as it was."""
    made = Made(spec=replace(CLUSTER_BRIDGE, mcast_snooping=True))
    made.address("br0", "10.0.0.1/24")
    made.kernel.add_route(Route(dst="default", dev=IfName("br0"), gateway="10.0.0.254", protocol=4))
    host = Host(tmp_path, made)
    host.answers = answers
    result = host.run("adopt", code=0 if answers else 1)
    assert host.marks()["br0"] == ("mgmt-br", "made-by-windrow.mgmt-br")
    assert "VlanConfig/mgmt-vlanconfig-n1" in host.stored()
    bridge = host.kernel.observe().state.links[IfName("mgmt-br")]
    assert bridge.addrs == {"10.0.0.1/24"}
    assert host.kernel.interruptions == []
    if answers:
        assert "nothing to do" in host.run("plan").stdout
    else:
        assert "nobody answers" in result.stderr
        assert "nothing was changed" not in result.stderr
        assert "the links are marked" in result.stderr and "`windrow apply` does it" in result.stderr
        host.run("adopt", "--undo")
        assert (host.marks(), host.stored()) == ({}, [])


@pytest.mark.parametrize(("address", "gateway"), [("10.0.0.1/24", "10.0.0.254"), ("fd00::1/64", "fd00::fe")])
def test_after_a_start_of_the_host_it_goes_back_with_its_default_route(
    tmp_path: Path, address: str, gateway: str
) -> None:
    """Windrow made that route anew, and the host is reached by it: it is an administrator's from then on."""
    made = Made()
    made.address("br0", address)
    default = Route(dst="default", dev=IfName("br0"), gateway=gateway, protocol=4)
    made.kernel.add_route(default)
    host = Host(tmp_path, made)
    host.run("adopt")
    for name in ("br0", "bond0"):
        host.kernel.machine.delete(host.kernel.machine.get(name))
    host.run("apply")
    host.run("adopt", "--undo")
    left = {r for r in host.kernel.observe().state.routes if r.dst == "default"}
    assert {(r.dev, r.gateway, r.protocol) for r in left} == {("mgmt-br", gateway, 4)}
    assert "nothing to do" in host.run("plan").stdout


def test_the_management_network_that_an_installer_made_goes_back_with_its_address(tmp_path: Path) -> None:
    """Its links have the names that Windrow has for them, and it is looked after without being Windrow's, too."""
    made = Made("mgmt-br", "mgmt-bo")
    made.address("mgmt-br", "10.0.0.1/24")
    made.kernel.add_route(Route(dst="default", dev=IfName("mgmt-br"), gateway="10.0.0.254", protocol=4))
    host = Host(tmp_path, made)
    before = str(host.kernel)
    host.run("adopt")
    host.run("adopt", "--undo")
    assert (str(host.kernel), host.marks(), host.stored()) == (before, {}, [])
    assert "nothing to do" in host.run("plan").stdout


# -- export ------------------------------------------------------------------------------------------


def test_export_says_the_same_before_and_after(host: Host) -> None:
    before = host.run("export", "br0").stdout
    assert [d["kind"] for d in yaml.safe_load_all(before)] == [
        "ClusterNetwork",
        "VlanConfig",
        "NetworkAttachmentDefinition",
    ]
    host.run("adopt")
    assert host.run("export").stdout.replace("br0-br", "br0-br") == before
    assert len(json.loads(host.run("export", "-o", "json").stdout)["items"]) == 3
    (host.root / "here.yaml").write_text(before)
    host.run("diff", "-f", str(host.root / "here.yaml"))


def test_export_of_what_is_not_there(host: Host) -> None:
    assert "this host has no link br9" in host.run("export", "br9", code=1).stderr


def test_a_bridge_that_filters_as_ours_do_is_what_the_tests_begin_with() -> None:
    assert Made().kernel.machine.get("br0").bridge == CLUSTER_BRIDGE


# -- objects that are there already ------------------------------------------------------------------

STORED = """\
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: oob}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob}
spec: {clusterNetwork: oob, uplink: {nics: [eth1, eth2], bondOptions: {mode: active-backup, miimon: 100}}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: v100, namespace: default}
spec: {config: '{"cniVersion":"0.3.1","name":"v100","type":"bridge","bridge":"oob-br","vlan":100}'}
"""


@pytest.fixture
def harvesters(tmp_path: Path) -> Host:
    """A node on which Harvester's agent made a cluster network, and its objects."""
    made = Made("oob-br", "oob-bo", spec=replace(CLUSTER_BRIDGE, mcast_snooping=True))
    made.kernel.machine.get("oob-bo").vlans = ports("1* 100")
    host = Host(tmp_path, made)
    Store(host.paths).put(load_documents(STORED).objects)
    return host


def test_what_stored_objects_speak_of_is_marked_and_nothing_is_written(harvesters: Host) -> None:
    before = harvesters.stored()
    assert "oob-bo" in harvesters.run("plan", code=1).stderr, "as long as it is somebody else's, it is in the way"
    said = harvesters.run("adopt", "--stored").stdout
    assert "2 links that the objects describe and Windrow did not make: oob-br, oob-bo" in said
    assert harvesters.marks() == {"oob-br": ("made-by-windrow.oob-br",), "oob-bo": ("made-by-windrow.oob-bo",)}
    assert harvesters.stored() == before
    assert "nothing to do" in harvesters.run("plan").stdout
    assert harvesters.kernel.interruptions == []
    assert "nothing to adopt" in harvesters.run("adopt", "--stored").stdout


def test_a_dry_run_of_it_marks_nothing(harvesters: Host) -> None:
    before = str(harvesters.kernel)
    assert "oob-br, oob-bo" in harvesters.run("adopt", "--stored", "--dry-run").stdout
    assert (str(harvesters.kernel), read_adopted(harvesters.paths).marked) == (before, ())


def test_what_costs_frames_is_left_to_harvester(harvesters: Host) -> None:
    """Its NICs are others than the objects say: a NIC would change bonds."""
    changed = STORED.replace("[eth1, eth2]", "[eth1, eth3]").replace("active-backup", "802.3ad")
    Store(harvesters.paths).put(load_documents(changed).objects)
    before = str(harvesters.kernel)
    assert "--max-impact is hitless" in harvesters.run("adopt", "--stored", code=1).stderr
    assert (str(harvesters.kernel), harvesters.marks()) == (before, {})


def test_what_has_the_name_of_another_kind_of_link_stays_anothers(tmp_path: Path) -> None:
    made = Made()
    made.kernel.add(link("oob-br", "dummy", up=True))
    host = Host(tmp_path, made)
    Store(host.paths).put(load_documents(STORED).objects)
    assert "nothing to adopt" in host.run("adopt", "--stored").stdout
    assert host.marks() == {}


def test_and_back_the_marks_go_and_the_objects_stay(harvesters: Host) -> None:
    stored = harvesters.stored()
    harvesters.run("adopt", "--stored")
    said = harvesters.run("adopt", "--undo").stdout
    assert "oob-bo is no longer Windrow's: it is oob-bo" in said
    assert (harvesters.marks(), harvesters.stored()) == ({}, stored)
    assert harvesters.kernel.interruptions == []


def test_without_the_api_a_host_that_was_adopted_is_not_held_up(harvesters: Host, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-kubeconfig")
    assert "nothing was changed" in harvesters.run("--kubeconfig", nowhere, "adopt", "--stored", code=1).stderr
    harvesters.run("adopt", "--stored")
    said = harvesters.run("--kubeconfig", nowhere, "adopt", "--stored").stdout
    assert "the agent starts from this host's last good state" in said


@pytest.mark.parametrize("words", [("br0",), ("--from", "netplan"), ("--undo",)])
def test_the_objects_say_which_links(harvesters: Host, words: tuple[str, ...]) -> None:
    assert "--stored" in harvesters.run("adopt", "--stored", *words, code=2).stderr


def test_what_the_plan_costs_is_said_once(tmp_path: Path) -> None:
    host = Host(tmp_path, Made(spec=Bridge()))
    said = host.run("adopt", "br0=oob", "--max-impact", "flap").stdout
    assert said.count("Plan for n1:") == 1, said
    alone = Host(tmp_path / "other", Made(spec=Bridge())).run("adopt", "br0=oob", "--dry-run", "--max-impact", "flap")
    assert alone.stdout.count("Plan for n1:") == 1, alone.stdout
