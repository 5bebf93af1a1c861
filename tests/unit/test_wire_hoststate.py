"""A network, written down and read again, is the same network; and rubbish is refused with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.apps.engine import converge, look
from windrow.compile import compile_node
from windrow.model.bonding import BondMode
from windrow.model.bridging import FRESH_BRIDGE, FRESH_BRIDGE_PORT
from windrow.model.host import (
    FRESH_FLAGS,
    Bond,
    Bridge,
    BridgePort,
    HostState,
    Link,
    Other,
    PortFilter,
    PortVlans,
    Route,
    Snooping,
    VlanIf,
)
from windrow.model.values import Cidr, IfName, Mac, Ref, VidSet
from windrow.model.wire import hoststate
from windrow.plan.normal import normalise
from windrow.testing import generate
from windrow.testing.builders import neighbour
from windrow.testing.fake import FakeKernel

WHOLE = HostState(
    links={
        IfName("b"): Link(
            name=IfName("b"),
            spec=Bond(
                mode=BondMode.LACP, miimon=100, arp_ip_target=(), ad_actor_system="", primary="", lacp_rate="fast"
            ),
            up=True,
            mtu=9000,
            mac=Mac("02:00:00:00:00:01"),
            txqlen=1000,
            promisc=False,
            master="r",
            vlans=PortVlans(pvid=1, untagged=VidSet.of([1]), tagged=VidSet.parse("5,100-200")),
            origin=(Ref("VlanConfig", "x"), Ref("NetworkAttachmentDefinition", "n", "ns")),
        ),
        IfName("r"): Link(
            name=IfName("r"),
            spec=Bridge(vlan_filtering=True, stp=False, ageing=300),
            master="",
            self_vlans=PortVlans(tagged=VidSet.of([5]), exact=False),
            addrs=frozenset({Cidr("10.0.0.1/24"), Cidr("fd00::1/64")}),
            neighbours=frozenset({neighbour("10.0.0.7", "02:00:00:00:00:07", protocol=119), neighbour("fd00::8")}),
        ),
        IfName("r.5"): Link(name=IfName("r.5"), spec=VlanIf(parent=IfName("r"), vid=5), addrs=frozenset()),
        IfName("p"): Link(
            name=IfName("p"),
            spec=Other(kind="veth", parent=IfName("b")),
            port=BridgePort(isolated=True, hairpin=False),
            vlans=PortVlans(),
        ),
    },
    routes=frozenset(
        {
            Route(dst="default", dev=IfName("r"), gateway="10.0.0.254", metric=100, protocol=98),
            Route(dst="10.9.0.0/16", dev=None, table=100),
            Route(dst="default", dev=IfName("r.5"), gateway="fe80::1"),
        }
    ),
    sysctls={"net.bridge.bridge-nf-call-iptables": "0"},
    filters={
        IfName("p"): PortFilter(
            container_id="c1",
            ifname="eth0",
            network="n",
            mac=Mac("02:00:00:00:00:0a"),
            masquerade=("10.1.0.2/24", "fd00::2/64"),
            backend="nftables",
        ),
    },
)


def again(state: HostState) -> HostState:
    return hoststate.read(json.loads(json.dumps(hoststate.write(state))))


def test_everything_a_state_can_say_comes_back() -> None:
    found = again(WHOLE)
    assert found == WHOLE
    assert {n: link.origin for n, link in found.links.items()} == {n: link.origin for n, link in WHOLE.links.items()}
    assert json.dumps(hoststate.write(found)) == json.dumps(hoststate.write(WHOLE))


@given(st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_any_host_comes_back(dice: Random) -> None:
    kernel = FakeKernel()
    foreign = generate.random_foreign(dice)
    for name in sorted({"eth0", *generate.NICS, "eth7"} - foreign.names):
        kernel.add_nic(name, up=dice.random() < 0.5)
    for made in foreign.links:
        kernel.add(made)
    for route in foreign.routes:
        kernel.add_route(route)
    cluster = generate.random_cluster(dice)
    converge(cluster, kernel, generate.NODE)
    sight = look(kernel, generate.NODE)
    wanted = compile_node(cluster, sight.facts).state
    before = normalise(sight.observed, frozenset(sight.observed.state.links))
    for state in (wanted, before, sight.observed.state):
        assert again(state) == state


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("version",), 2, "version: this is 2"),
        (("links",), "x", "links: this is no list"),
        (("links", 0), [], "links[0]: this is []"),
        (("links", 0, "name"), "a/b", "links[0].name: "),
        (("links", 0, "mtu"), "1500", "links[0].mtu: this is no number"),
        (("links", 0, "mtu"), -1, "links[0].mtu: this is no number"),
        (("links", 0, "up"), 1, "links[0].up: this is neither"),
        (("links", 0, "spec", "bond", "mode"), "fast", "links[0].spec.bond.mode: "),
        (("links", 0, "spec", "bond", "lacp_rate"), "now", "links[0].spec.bond.lacp_rate: "),
        (("links", 0, "spec", "bond", "miimon"), True, "links[0].spec.bond.miimon: "),
        (("links", 0, "spec", "bond", "warp"), 9, "links[0].spec.bond: there is no field 'warp'"),
        (("links", 0, "vlans", "tagged"), "5000", "links[0].vlans: VLAN "),
        (("links", 0, "vlans", "untagged"), "5", "links[0].vlans: 5 is tagged and untagged"),
        (("links", 0, "mac"), "x", "links[0]: 'x' is not a MAC"),
        (("links", 0, "origin"), [["a"]], "links[0].origin: an object is three texts"),
        (("links", 2, "addrs"), [7], "links[2].addrs: an address is a text"),
        (("links", 2, "name"), "b", "links: a name is there twice"),
        (("links", 3, "spec"), {"vlan": {"parent": "r"}}, "links[3].spec.vlan.vid: is missing"),
        (("links", 3, "spec"), {}, "links[3].spec: a link is one of bond, bridge"),
        (("routes", 0, "dst"), "10.0.0.1/8", "routes[0].dst: "),
        (("routes", 0, "gateway"), "x", "routes[0].gateway: "),
        (("routes", 0, "colour"), 1, "routes[0]: there is no field"),
        (("sysctls",), {"a": 1}, "sysctls: these are not texts"),
    ],
)
def test_rubbish_is_refused_with_its_place(path: tuple[Any, ...], value: Any, said: str) -> None:
    document = json.loads(json.dumps(hoststate.write(WHOLE)))
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(ValueError) as caught:
        hoststate.read(document)
    assert str(caught.value).startswith(said)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_document_at_all_is_trusted(document: Any) -> None:
    with pytest.raises(ValueError):
        hoststate.read(document)


def test_files_from_before_there_were_options_of_ports_are_read() -> None:
    port = {"name": "p", "spec": {"other": {"kind": "veth"}}, "isolated": True, "hairpin": False}
    found = hoststate.read({"version": 1, "links": [port]})
    assert found.links[IfName("p")].port == BridgePort(isolated=True, hairpin=False)


def test_every_option_comes_back() -> None:
    link = Link(
        name=IfName("b"),
        spec=replace(FRESH_BRIDGE, vlan_protocol=0x88A8),
        port=replace(FRESH_BRIDGE_PORT, learning=False, backup_port=7),
        flags=replace(FRESH_FLAGS, arp=False),
        snooping=Snooping(snooped=VidSet.of([7, 8]), asked=VidSet.of([8])),
        slave_prio=-5,
        mark=True,
    )
    vlan = Link(name=IfName("v"), spec=VlanIf(parent=IfName("b"), vid=5, flags=frozenset({"gvrp"})))
    state = HostState(links={link.name: link, vlan.name: vlan})
    assert hoststate.read(json.loads(json.dumps(hoststate.write(state)))) == state
