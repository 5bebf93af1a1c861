"""`windrow adopt` and `export`: what they say, refuse, store and hand back, on a kernel in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.unit.test_adopt import Made

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.site import Site
from windrow.model.bridging import CLUSTER_BRIDGE
from windrow.model.host import OWNER_GROUP, Bridge
from windrow.model.values import IfName
from windrow.model.wire import load_documents
from windrow.store.adopted import read_adopted
from windrow.store.directory import Store
from windrow.store.leases import Leases
from windrow.store.paths import Paths


class Host:
    def __init__(self, root: Path, made: Made) -> None:
        self.root, self.made, self.kernel = root, made, made.kernel
        self.paths = Paths(root)

    def run(self, *words: str, code: int = 0) -> Result:
        session = Session(
            root=self.root, node="n1", open_kernel=lambda: self.kernel, permitted=lambda: True, on_site=self.on_site
        )
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def on_site(self, site: Site) -> Site:
        return replace(site, dynamic=lambda _: self.made.dynamic)

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
    assert (str(host.kernel), host.stored(), read_adopted(host.paths).handovers) == (before, [], ())


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
    result = host.run("adopt", "br0=Not_A_Name", code=1)
    assert "Not_A_Name" in result.stderr and host.stored() == []
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
