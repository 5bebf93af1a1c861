"""The picture: from an observation, in a terminal, as SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from itertools import combinations

import pytest

from windrow.apps.engine import converge
from windrow.model.host import Bridge
from windrow.render.text import Style, width
from windrow.render.topology import (
    BondView,
    Cable,
    End,
    Health,
    HostNic,
    HostView,
    NetworkName,
    NetworkView,
    NicView,
    NodeView,
    PortView,
    SwitchPort,
    SwitchView,
    Topology,
    VlanIfView,
    node_view,
    vids_in,
    vlan_words,
)
from windrow.render.topology_svg import topology_svg
from windrow.render.topology_text import topology_text
from windrow.testing.builders import cluster, cluster_network, host_network, link, nad, ports, vlan_config
from windrow.testing.fake import FakeKernel


def node(number: int, endpoints: int = 2) -> NodeView:
    nics = (NicView(name="eth2", health=Health.UP), NicView(name="eth3", health=Health.STANDBY))
    bond = BondView(name="oob-bo", mode="active-backup", nics=nics, vlans=ports("1* 100 200"), health=Health.UP)
    views = tuple(
        PortView(name=f"p{i}", endpoint=f"vm{number}{i}", vlans=ports(f"{100 * (i % 3 + 1)}*"), addrs=("10.0.0.1/24",))
        for i in range(endpoints)
    )
    own = (VlanIfView(name="oob-br.300", vid=300, addrs=(f"10.3.0.{number}/24",)),)
    network = NetworkView(name="oob", bridge="oob-br", mtu=1500, uplink=bond, ports=views, vlan_ifs=own)
    return NodeView(name=f"node{number}", networks=(network,))


def seed(nodes: int = 2, endpoints: int = 2) -> Topology:
    """Nodes on one switch, and a router behind it."""
    names = [f"p{i}" for i in range(2 * nodes)]
    wires = [(n, nic) for n in range(1, nodes + 1) for nic in ("eth2", "eth3")]
    cables = [Cable(a=End(f"node{n}", nic), b=End("sw", p)) for (n, nic), p in zip(wires, names, strict=True)]
    switch_ports = [
        SwitchPort(name=p, vlans=ports("1* 100 200"), lag=f"lag{i // 2}", lag_mode="lacp") for i, p in enumerate(names)
    ]
    router = HostView(
        name="gw", role="router", nics=(HostNic(name="e0", vlans=ports("1* 100"), addrs=("10.0.0.9/24",)),)
    )
    return Topology(
        nodes=tuple(node(n, endpoints) for n in range(1, nodes + 1)),
        switches=(SwitchView(name="sw", ports=(*switch_ports, SwitchPort(name="up", vlans=ports("1* 100")))),),
        hosts=(router,),
        cables=(*cables, Cable(a=End("gw", "e0"), b=End("sw", "up"))),
        networks=(NetworkName(vid=100, name="v100", cluster_network="oob"), NetworkName(vid=0, name="plain")),
    )


def test_the_picture_in_a_terminal() -> None:
    one = replace(seed(1, 1), hosts=(), networks=(), cables=seed(1, 1).cables[:2])
    assert topology_text(one) == (
        "┌ node1 ────────────────────────────────────────────┐\n"
        "│ ●  oob  oob-br  MTU 1500                          │\n"
        "│ ├─ ●  p0          vlan 100  vm10 10.0.0.1/24      │\n"
        "│ ├─ ●  oob-br.300  vlan 300  host  10.3.0.1/24     │\n"
        "│ └─ ●  oob-bo  active-backup  1 untagged, 100, 200 │\n"
        "│    ├─ ●  eth2  ━━━ sw:p0                          │\n"
        "│    └─ ◐  eth3  ╌╌╌ sw:p1  standby                 │\n"
        "└───────────────────────────────────────────────────┘\n"
        "┌ switch sw ─────────────────────────────────────────────┐\n"
        "│ ●  p0  ━━━ node1:eth2  lag0 lacp  1 untagged, 100, 200 │\n"
        "│ ●  p1  ━━━ node1:eth3  lag0 lacp  1 untagged, 100, 200 │\n"
        "│ ●  up                             1 untagged, 100      │\n"
        "└────────────────────────────────────────────────────────┘\n"
        "signs     ● up   ◐ standby   ○ down\n"
    )


def frame(text: str) -> list[str]:
    return [line for line in text.splitlines() if line[:1] in "┌│└"]


@pytest.mark.parametrize("columns", [40, 100, 200])
def test_boxes_close_and_stand_side_by_side_while_there_is_room(columns: int) -> None:
    text = topology_text(seed(), columns=columns)
    for line in frame(text):
        assert line[-1] in "┐│┘", line
    first = text.splitlines()[0]
    assert ("node2" in first) == (columns == 200)


def test_colours_change_nothing_else() -> None:
    coloured = topology_text(seed(), style=Style(colour=True))
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == topology_text(seed())


def test_cables_name_their_other_end() -> None:
    text = topology_text(seed(), columns=200)
    assert "eth2  ━━━ sw:p0" in text
    assert "p0  ━━━ node1:eth2  lag0 lacp  1 untagged, 100, 200" in text
    assert "┌ router gw" in text
    assert "vlan 100 v100 (oob)" in text


def test_a_host_seen_by_its_kernel() -> None:
    kernel = FakeKernel().add_nic("eth1", up=True).add_nic("eth2", up=True).add_nic("eth9", up=True)
    wanted = cluster(
        cluster_network("oob"),
        vlan_config("oob", ["eth1", "eth2"]),
        nad("v100", "oob", 100),
        host_network("oob", 300, {"n1": "10.3.0.1/24"}),
    )
    assert converge(wanted, kernel, "n1").ok
    kernel.add(link("tap0", "tun", up=True, master="oob-br", vlans=ports("100*")))
    kernel.pull("eth2")
    view = node_view("n1", kernel.observe(), endpoints={"tap0": "vm-a"})
    (network,) = view.networks
    assert network.uplink is not None
    assert (network.name, network.bridge, network.mtu) == ("oob", "oob-br", 1500)
    assert [(n.name, n.health) for n in network.uplink.nics] == [("eth1", Health.UP), ("eth2", Health.DOWN)]
    assert network.uplink.mode == "active-backup"
    assert network.uplink.note == "active eth1"
    assert str(network.uplink.vlans.tagged) == "100,300"
    assert [(p.name, p.endpoint, vlan_words(p.vlans)) for p in network.ports] == [("tap0", "vm-a", "vlan 100")]
    assert [(v.name, v.vid, v.addrs) for v in network.vlan_ifs] == [("oob-br.300", 300, ("10.3.0.1/24",))]
    assert [n.name for n in view.loose] == ["eth9"]


def test_mgmt_comes_first_and_what_others_made_last() -> None:
    kernel = FakeKernel()
    for name in ("docker0", "abc-br", "mgmt-br"):
        kernel.add(link(name, Bridge()))
    assert [n.bridge for n in node_view("n1", kernel.observe()).networks] == ["mgmt-br", "abc-br", "docker0"]


def test_which_vids_are_in_the_picture() -> None:
    assert str(vids_in(seed())) == "100,200,300"


# -- SVG -------------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Box:
    text: str
    left: float
    right: float
    top: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


def texts(svg: str) -> list[Box]:
    """Where each text stands: 0.61 em a character, as wide as any monospaced font in use."""
    found = []
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        classes = (element.get("class") or "").split()
        size = 14.0 if {"title", "switchtitle"} & set(classes) else 11.0 if {"mute", "small"} & set(classes) else 12.0
        wide = len(element.text or "") * 0.61 * size
        x, y = float(element.get("x", "0")), float(element.get("y", "0"))
        left = x - wide / 2 if element.get("text-anchor") == "middle" else x
        found.append(Box(element.text or "", left, left + wide, y - 0.75 * size, y + 0.2 * size))
    return found


PICTURES = {
    "seed": seed(),
    "one node": replace(seed(1), switches=(), hosts=(), cables=()),
    "five nodes": seed(5, 1),
    "many endpoints": seed(2, 14),
    "no nodes": replace(seed(), nodes=()),
    "nothing": Topology(),
    "long names": replace(seed(), nodes=(replace(node(1), name="a-rather-long-host-name.example.com"), node(2, 0))),
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_overlaps_another_and_none_leaves_the_page(name: str) -> None:
    svg = topology_svg(PICTURES[name], title="A title")
    wide, high = map(float, (ET.fromstring(svg).get("viewBox") or "").split()[2:])
    boxes = texts(svg)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)
    for box in boxes:
        assert box.left >= 0, box
        assert box.right <= wide, box
        assert box.bottom <= high, box


def test_the_same_topology_gives_the_same_bytes() -> None:
    assert topology_svg(seed()) == topology_svg(seed())


def test_every_cable_is_drawn_and_what_is_down_looks_so() -> None:
    whole = seed()
    broken = replace(whole, cables=(replace(whole.cables[0], health=Health.DOWN), *whole.cables[1:]))

    def count(topology: Topology, health: str) -> int:
        return topology_svg(topology).count(f'class="cable c-{health}"')

    assert count(broken, "down") == count(whole, "down") + 1
    assert count(broken, "up") == count(whole, "up") - 1
    without = replace(whole, cables=whole.cables[1:])
    assert count(without, "up") == count(whole, "up") - 1


def test_names_are_escaped() -> None:
    evil = Topology(nodes=(NodeView(name="<&>"),))
    assert "&lt;&amp;&gt;" in topology_svg(evil, title="<&>")
    ET.fromstring(topology_svg(evil, title="<&>"))


def test_themes() -> None:
    assert "prefers-color-scheme: dark" in topology_svg(seed())
    assert "prefers-color-scheme" not in topology_svg(seed(), theme="dark")
    assert topology_svg(seed(), theme="dark") != topology_svg(seed(), theme="light")


def test_width_counts_no_escapes() -> None:
    assert width(Style(colour=True).red("abc")) == 3
