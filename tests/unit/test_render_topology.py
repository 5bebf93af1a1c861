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
    MachineNic,
    MachineView,
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


def machine_nic(machine: str, name: str, address: str) -> MachineNic:
    nat = name == "default"
    return MachineNic(
        name=name,
        addrs=(address,) if address else (),
        tap="tap0" if nat else "tap1dba23260aa",
        bridge="k6t-eth0" if nat else "k6t-1dba23260aa",
        port=f"ve-{machine}-{name}",
        translated=nat,
        outside="10.52.0.3" if nat else "",
    )


def with_machines(view: NodeView, count: int) -> NodeView:
    """Each with a NIC in the pod network, and one in each of two VLANs."""
    machines, vlan_ports, pods = [], [], []
    for name in [f"{view.name}-vm{i}" for i in range(count)]:
        nics = [("default", "10.0.2.2/24"), ("vlan100", "172.16.100.103/24"), ("vlan200", "")]
        machines.append(
            MachineView(name=name, state="running", nics=tuple(machine_nic(name, n, address) for n, address in nics))
        )
        vlan_ports += [PortView(name=f"ve-{name}-vlan{vid}", vlans=ports(f"{vid}*")) for vid in (100, 200)]
        pods.append(PortView(name=f"ve-{name}-default", endpoint=f"{name} (default)"))
    (oob,) = view.networks
    oob = replace(oob, ports=(*oob.ports, *vlan_ports))
    wn_pods = NetworkView(name="wn-pods", bridge="wn-pods", addrs=("10.52.0.1/24",), ports=tuple(pods))
    return replace(view, networks=(oob, wn_pods), machines=tuple(machines))


def machines(count: int, nodes: int = 2) -> Topology:
    whole = seed(nodes)
    return replace(whole, nodes=tuple(with_machines(one, count) for one in whole.nodes))


def changed(topology: Topology, machine: MachineView) -> Topology:
    """With another one in place of the first node's first."""
    first, *rest = topology.nodes
    return replace(topology, nodes=(replace(first, machines=(machine, *first.machines[1:])), *rest))


def unplugged() -> Topology:
    """A machine that has ended, with a NIC in no bridge and one whose link is down."""
    whole = machines(2)
    one = whole.nodes[0].machines[0]
    default, lost, down = one.nics
    nics = (default, replace(lost, port="ve-lost"), replace(down, up=False))
    return changed(whole, replace(one, state="ended", health=Health.DOWN, nics=nics))


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


def test_machines_in_a_terminal() -> None:
    one = machines(1, nodes=1)
    bare = replace(one.nodes[0], networks=tuple(replace(w, uplink=None) for w in one.nodes[0].networks))
    assert topology_text(Topology(nodes=(bare,))) == (
        "┌ node1 ──────────────────────────────────────────────────────────┐\n"
        "│ virtual machines                                                │\n"
        "│ └─ ●  node1-vm0  running                                        │\n"
        "│    ├─ default  10.0.2.2/24 NAT 10.52.0.3            ━━━ wn-pods │\n"
        "│    ├─ vlan100  172.16.100.103/24          vlan 100  ━━━ oob-br  │\n"
        "│    └─ vlan200                             vlan 200  ━━━ oob-br  │\n"
        "│                                                                 │\n"
        "│ ●  oob  oob-br  MTU 1500                                        │\n"
        "│ ├─ ●  p0                    vlan 100  vm10 10.0.0.1/24          │\n"
        "│ ├─ ●  p1                    vlan 200  vm11 10.0.0.1/24          │\n"
        "│ ├─ ●  ve-node1-vm0-vlan100  vlan 100                            │\n"
        "│ ├─ ●  ve-node1-vm0-vlan200  vlan 200                            │\n"
        "│ └─ ●  oob-br.300            vlan 300  host  10.3.0.1/24         │\n"
        "│                                                                 │\n"
        "│ ●  wn-pods  10.52.0.1/24                                        │\n"
        "│ └─ ●  ve-node1-vm0-default  no VLAN  node1-vm0 (default)        │\n"
        "└─────────────────────────────────────────────────────────────────┘\n"
        "signs     ● up   ◐ standby   ○ down\n"
    )


def test_what_is_wrong_with_machines_in_a_terminal() -> None:
    text = topology_text(unplugged(), columns=60)
    assert "├─ ○  node1-vm0  ended" in text
    assert re.search(r"vlan100 .* ━╳━ no bridge", text)
    assert re.search(r"vlan200 .* ━╳━ oob-br  link down", text)


def test_of_many_machines_eight_are_shown_in_a_terminal_too() -> None:
    whole = machines(11)
    lame = replace(whole.nodes[0].machines[-1], health=Health.DOWN)
    first = replace(whole.nodes[0], machines=(*whole.nodes[0].machines[:-1], lame))
    text = topology_text(replace(whole, nodes=(first,)), columns=60)
    assert len(re.findall(r"─ [●○]  node1-vm\d+  running", text)) == 8
    assert "○  node1-vm10" in text
    assert "… 3 more machines" in text


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
    machine = MachineView(name="vm-a", nics=(MachineNic(name="a", port="tap0"), MachineNic(name="b", port="tap1")))
    view = node_view("n1", kernel.observe(), endpoints={"tap0": "vm-a"}, machines=[machine])
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
    assert view.machines == (machine,)
    assert [view.behind(nic) for nic in machine.nics] == [(network, network.ports[0]), None]


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
        if "rotate(-90" in element.get("transform", ""):  # read from below, its middle at the point
            upper, lower = y - wide / 2, y + wide / 2
            found.append(Box(element.text or "", x - 0.75 * size, x + 0.2 * size, upper, lower))
            continue
        left = x - wide / 2 if element.get("text-anchor") == "middle" else x
        found.append(Box(element.text or "", left, left + wide, y - 0.75 * size, y + 0.2 * size))
    return found


PICTURES = {
    "seed": seed(),
    "one node": replace(seed(1), switches=(), hosts=(), cables=()),
    "five nodes": seed(5, 1),
    "many endpoints": seed(2, 14),
    "machines": machines(2),
    "four machines on each node": machines(4),
    "many machines": machines(11),
    "machines on one of two nodes": replace(seed(), nodes=(with_machines(node(1), 1), node(2, 3))),
    "machines of one host": replace(machines(1, nodes=1), switches=(), hosts=(), cables=()),
    "machines that are ill": unplugged(),
    "a machine without NICs": changed(machines(1), MachineView(name="vm-with-a-name-that-is-long", state="stopping")),
    "a long address": changed(
        machines(1), MachineView(name="v6", nics=(machine_nic("v6", "a", "fd00:172:16:100:5054:ff:fe12:3456/64"),))
    ),
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


def shapes(svg: str, tag: str, css: str) -> list[ET.Element]:
    """With all of these classes."""
    wanted = set(css.split())
    return [e for e in ET.fromstring(svg).iter(f"{SVG}{tag}") if wanted <= set((e.get("class") or "").split())]


def ends(path: ET.Element) -> tuple[tuple[float, float], tuple[float, float]]:
    numbers = list(map(float, re.findall(r"-?[0-9.]+", path.get("d") or "")))
    return (numbers[0], numbers[1]), (numbers[-2], numbers[-1])


def test_a_machine_is_one_box_with_a_leg_for_each_nic() -> None:
    picture = machines(2, nodes=1)
    svg = topology_svg(picture)
    names = [box.text for box in texts(svg)]
    assert [names.count(m.name) for m in picture.nodes[0].machines] == [1, 1]
    assert len(shapes(svg, "rect", "vm")) == len(shapes(svg, "rect", "pod")) == 2
    assert [name for name in names if name.startswith("ve-")] == []  # no box of its own for a port
    for what in ("tap0", "k6t-eth0", "NAT 10.52.0.3", "tap1dba23260aa", "k6t-1dba23260aa"):
        assert what in names
    # From a pod's lower edge down to a bridge, in the colour of the VLAN.
    pods = [float(p.get("y", "0")) + float(p.get("height", "0")) for p in shapes(svg, "rect", "pod")]
    curved = [w for w in shapes(svg, "path", "wire") if "C" in (w.get("d") or "")]
    assert {ends(w)[0][1] for w in curved} == set(pods)
    colours = sorted((w.get("class") or "").split()[-1] for w in curved)
    assert colours == ["s0", "s0", "s1", "s1", "sn", "sn"]
    stubs = {ends(w)[0] for w in shapes(svg, "path", "wire") if "L" in (w.get("d") or "")}
    assert {ends(w)[1] for w in curved} <= stubs


def test_a_leg_lands_on_the_bridge_of_its_port() -> None:
    svg = topology_svg(machines(3, nodes=1))
    bars = {}
    for box in texts(svg):
        if box.text in ("oob-br", "wn-pods"):
            (bar,) = [
                (float(r.get("x", "0")), float(r.get("x", "0")) + float(r.get("width", "0")))
                for r in shapes(svg, "rect", "bridge")
                if float(r.get("x", "0")) < box.left < float(r.get("x", "0")) + float(r.get("width", "0"))
                and float(r.get("y", "0")) < box.top < float(r.get("y", "0")) + float(r.get("height", "0"))
            ]
            bars[box.text] = bar
    for leg in [w for w in shapes(svg, "path", "wire") if "C" in (w.get("d") or "")]:
        left, right = bars["wn-pods" if "sn" in (leg.get("class") or "").split() else "oob-br"]
        assert left < ends(leg)[1][0] < right


def test_what_is_wrong_with_machines_is_seen() -> None:
    svg = topology_svg(unplugged())
    assert [box.text for box in texts(svg)].count("no bridge") == 1
    assert len(shapes(svg, "path", "wire c-down")) >= 3
    assert "c-down" not in re.sub(r'class="cable c-down"|\.c-down', "", topology_svg(machines(2)))


def test_of_many_machines_eight_are_shown() -> None:
    svg = topology_svg(machines(11, nodes=1))
    assert len(shapes(svg, "rect", "vm")) == 8
    assert "+3 more" in [box.text for box in texts(svg)]
    assert len([w for w in shapes(svg, "path", "wire") if "C" in (w.get("d") or "")]) == 24


def test_layers_are_named_where_there_are_machines() -> None:
    layers = ("KubeVirt layer", "Harvester layer", "external layer")
    assert [box.text for box in texts(topology_svg(machines(1))) if box.text.endswith("layer")] == list(layers)
    alone = replace(machines(1), switches=(), hosts=(), cables=())
    assert [box.text for box in texts(topology_svg(alone)) if box.text.endswith("layer")] == list(layers[:2])
    assert "layer" not in [box.text.split()[-1] for box in texts(topology_svg(seed()))]


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
