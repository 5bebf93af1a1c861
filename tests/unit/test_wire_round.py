"""An object made in code, written and read again, is the same object."""

from __future__ import annotations

import pytest

from windrow.model.bonding import BondMode
from windrow.model.host import Bond
from windrow.model.meta import Meta
from windrow.model.objects import (
    AddressMode,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    HostRoute,
    HostRouting,
    LinkMonitor,
    NetworkAttachmentDefinition,
    NetworkType,
    NicIdentity,
    NicSelector,
    Node,
    Uplink,
    VlanConfig,
    VlanStatus,
)
from windrow.model.selectors import LabelSelector, Operator, Requirement
from windrow.model.values import Cidr, Mac, VidSet
from windrow.model.wire import dump, json_text, load_documents, yaml_text

META = Meta(name="x", labels={"a": "1e3"}, annotations={"b": "line 1\nline 2\n"})
NICS = (
    NicSelector(by=NicIdentity.NAME, value="e0"),
    NicSelector(by=NicIdentity.MAC, value="52:54:00:12:34:56"),
    NicSelector(by=NicIdentity.PCI, value="0000:3b:00.1"),
)
OBJECTS: list[AnyObject] = [
    ClusterNetwork(meta=META),
    Node(meta=META),
    VlanStatus(meta=META),
    LinkMonitor(meta=META, type_rule="device", name_rule="^eth", node_selector={"a": "b"}),
    VlanConfig(
        meta=META,
        cluster_network="oob",
        description="to the switch",
        node_selector={"rack": "7"},
        uplink=Uplink(
            nics=NICS,
            mtu=9000,
            txqlen=1000,
            mac=Mac("52:54:00:aa:bb:cc"),
            bond=Bond(mode=BondMode.ACTIVE_BACKUP, arp_interval=100, arp_ip_target=("10.0.0.1", "10.0.0.2")),
        ),
    ),
    HostNetworkConfig(
        meta=META,
        cluster_network="oob",
        vid=300,
        mode=AddressMode.STATIC,
        ips={"n1": (Cidr("10.0.0.1/24"), Cidr("2001:db8::1/64"))},
        node_selector=LabelSelector(
            requirements=(
                Requirement(key="a", operator=Operator.IN, values=("b", "c")),
                Requirement(key="d", operator=Operator.DOES_NOT_EXIST),
            )
        ),
        underlay=True,
        description="storage",
        routing=HostRouting(
            gateways=("10.0.0.254", "2001:db8::fe"), metric=0, routes=(HostRoute(to="10.9.0.0/16", via="10.0.0.253"),)
        ),
        mtu=1400,
    ),
    HostNetworkConfig(
        meta=META,
        cluster_network="oob",
        vid=0,
        mode=AddressMode.DHCP,
        routing=HostRouting(from_server=False, routes=(HostRoute(to="2001:db8:9::/48", metric=5),)),
    ),
    HostNetworkConfig(
        meta=META,
        cluster_network="oob",
        vid=0,
        mode=AddressMode.STATIC,
        ips={"n1": (Cidr("10.0.0.1/32"),)},
        routing=HostRouting(
            gateways=("192.0.2.1",),
            gateway_on_link=True,
            routes=(HostRoute(to="10.9.0.0/16", via="192.0.2.2", on_link=True),),
        ),
    ),
    HostNetworkConfig(meta=META, cluster_network="mgmt", vid=1, mode=AddressMode.DHCP, node_selector=LabelSelector()),
]


@pytest.mark.parametrize("write", [yaml_text, json_text])
@pytest.mark.parametrize("obj", OBJECTS, ids=lambda o: o.KIND)
def test_round(obj: AnyObject, write) -> None:  # type: ignore[no-untyped-def]
    loaded = load_documents(write(dump(obj)))
    assert loaded.problems == ()
    assert loaded.objects == (obj,)


@pytest.mark.parametrize(
    "made",
    [
        {"type": NetworkType.VLAN, "bridge": "oob-br", "vid": 100, "mtu": 9000},
        {"type": NetworkType.UNTAGGED, "bridge": "oob-br"},
        {"type": NetworkType.TRUNK, "bridge": "oob-br", "trunk": VidSet.parse("5,7,10-12")},
        {"type": NetworkType.OVERLAY},
    ],
    ids=lambda made: made["type"].name,
)
def test_a_network_made_in_code(made) -> None:  # type: ignore[no-untyped-def]
    nad = NetworkAttachmentDefinition(meta=Meta(name="net", namespace="ns"), config={}, **made)
    loaded = load_documents(yaml_text(dump(nad)))
    assert loaded.problems == ()
    (again,) = loaded.objects
    assert isinstance(again, NetworkAttachmentDefinition)
    assert (again.ref, again.type, again.bridge, again.vids, again.mtu) == (
        nad.ref,
        nad.type,
        nad.bridge,
        nad.vids,
        nad.mtu,
    )
