"""What a pool says of its VLAN is what is expected there: its subnet, its router, a server that answers its clients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from windrow.diagnose import diagnose
from windrow.model.cluster import Cluster
from windrow.model.evidence import Answer, DhcpOffer, Evidence, Kind, RouterAdvert, VlanEvidence
from windrow.model.findings import Reason
from windrow.model.meta import Meta
from windrow.model.pools import IPPool, PoolHost
from windrow.model.values import Mac
from windrow.testing.fabric import cluster_of, evidence_of, fabric

OURS = DhcpOffer(
    server="10.9.0.2",
    server_mac=Mac("02:99:00:00:00:02"),
    address="10.9.0.10",
    prefix=24,
    routers=("10.9.0.1",),
    mtu=1500,
)
OTHER = replace(OURS, server="10.9.0.3", server_mac=Mac("02:99:00:00:00:03"))
GATEWAY = Answer(address="10.9.0.1", macs=(Mac("02:99:00:00:00:01"),), asked=1)
ROUTER = RouterAdvert(router="fe80::1", mac=Mac("02:99:00:00:00:01"), lifetime_s=1800, mtu=1500)
WELL = VlanEvidence(
    cluster_network="oob",
    vid=100,
    asked=frozenset({Kind.DHCP, Kind.RA}),
    offers=(OURS,),
    gateways=(GATEWAY,),
    routers=(ROUTER,),
)


def found_in(vlan: VlanEvidence, **fields: object) -> list[Reason]:
    f = fabric()
    network = next(nad for nad in cluster_of(f).objects.values() if nad.meta.name == "oob-100")
    pool = IPPool(
        meta=Meta(name="p", namespace="default"),
        network=f"{network.meta.namespace}/oob-100",
        cidr="10.9.0.0/24",
        server="10.9.0.2",
        router="10.9.0.1",
        **{"hosts": (PoolHost(mac=Mac("52:54:00:00:00:77")),)} | fields,  # type: ignore[arg-type]
    )
    evidence = evidence_of(f)
    node = evidence.nodes["node-1"]
    nodes = {**evidence.nodes, "node-1": replace(node, vlans=(*node.vlans, vlan))}
    cluster = Cluster.of([*cluster_of(f).objects.values(), pool])
    return [finding.reason for finding in diagnose(cluster, Evidence(nodes=nodes))]


def test_all_is_well() -> None:
    assert found_in(WELL) == []


@pytest.mark.parametrize(
    ("vlan", "reason"),
    [
        (replace(WELL, offers=()), Reason.DHCP_SILENT),
        (replace(WELL, offers=(OURS, OTHER)), Reason.DHCP_TWO_SERVERS),
        (replace(WELL, offers=(replace(OURS, address="192.168.7.7"),)), Reason.DHCP_WRONG_POOL),
        (replace(WELL, offers=(replace(OURS, mtu=9000),)), Reason.MTU_ANNOUNCED_WRONG),
        (replace(WELL, gateways=(replace(GATEWAY, macs=()),)), Reason.GATEWAY_SILENT),
        (
            replace(WELL, routers=(ROUTER, replace(ROUTER, router="fe80::2", mac=Mac("02:99:00:00:00:09")))),
            Reason.ROUTER_ROGUE,
        ),
        (replace(WELL, routers=(replace(ROUTER, mtu=9000),)), Reason.MTU_ANNOUNCED_WRONG),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_what_is_not(vlan: VlanEvidence, reason: Reason) -> None:
    assert found_in(vlan) == [reason]


def test_a_prefix_without_a_router_is_no_second_router() -> None:
    ours = RouterAdvert(router="fe80::5", mac=Mac("02:99:00:00:00:05"), lifetime_s=0, mtu=1500)
    assert found_in(replace(WELL, routers=(ROUTER, ours))) == []


@pytest.mark.parametrize("fields", [{"paused": True}, {"hosts": ()}])
def test_a_pool_that_nobody_can_have_an_address_of_is_not_missed(fields: dict[str, object]) -> None:
    assert found_in(replace(WELL, offers=()), **fields) == []
