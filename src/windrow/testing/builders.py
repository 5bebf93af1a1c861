"""Short ways to write what tests need: objects of a cluster, links, steps."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_interface
from typing import Any

from windrow.model.bonding import BondMode
from windrow.model.cluster import Cluster
from windrow.model.host import Bond, Link, LinkSpec, Other, PortVlans, StaticNeighbour
from windrow.model.meta import Meta
from windrow.model.names import LABEL_HOSTNAME, bridge_of
from windrow.model.objects import (
    AddressMode,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    NetworkAttachmentDefinition,
    NetworkType,
    NicIdentity,
    NicSelector,
    Node,
    Uplink,
    VlanConfig,
)
from windrow.model.ports import PortRecord
from windrow.model.steps import Action, Impact, Phase, Step
from windrow.model.values import Cidr, IfName, Mac, Ref, VidSet
from windrow.netlink import codec

WHY = Ref("Test", "test")


def cluster(*objects: AnyObject) -> Cluster:
    return Cluster.of(objects)


def cluster_network(name: str) -> ClusterNetwork:
    return ClusterNetwork(meta=Meta(name=name))


def vlan_config(
    cn: str, nics: Sequence[str], mode: str | None = None, *, name: str = "", mtu: int = 0, **options: Any
) -> VlanConfig:
    """`vlan_config("oob", ["eth1", "eth2"], "802.3ad", mtu=9000, lacp_rate="fast")`: of all nodes."""
    uplink = Uplink(
        nics=tuple(NicSelector(by=NicIdentity.NAME, value=n) for n in nics),
        bond=Bond(mode=BondMode(mode) if mode else None, **options),
        mtu=mtu,
    )
    return VlanConfig(meta=Meta(name=name or cn), cluster_network=cn, uplink=uplink)


def nad(name: str, cn: str, vid: int | None = None, *, trunk: str = "") -> NetworkAttachmentDefinition:
    """A VLAN network, a trunk (`"100-110,200"`), or without either an untagged one."""
    kind = NetworkType.TRUNK if trunk else NetworkType.VLAN if vid else NetworkType.UNTAGGED
    return NetworkAttachmentDefinition(
        meta=Meta(name=name, namespace="default"),
        config={},
        type=kind,
        bridge=bridge_of(cn),
        vid=vid or 0,
        trunk=VidSet.parse(trunk),
    )


def host_network(cn: str, vid: int, ips: Mapping[str, str] | None = None) -> HostNetworkConfig:
    """Static addresses by node name; without any, DHCP."""
    return HostNetworkConfig(
        meta=Meta(name=f"{cn}-{vid}"),
        cluster_network=cn,
        vid=vid,
        mode=AddressMode.STATIC if ips else AddressMode.DHCP,
        ips={node: tuple(_cidr(one) for one in ip.split(",")) for node, ip in (ips or {}).items()},
    )


def _cidr(text: str) -> Cidr:
    """As the kernel writes it."""
    return Cidr(ip_interface(text).with_prefixlen)


def node(name: str, **labels: str) -> Node:
    return Node(meta=Meta(name=name, labels={LABEL_HOSTNAME: name, **labels}))


def link(name: str, spec: LinkSpec | str = "device", **attributes: Any) -> Link:
    """`link("eth1", up=True)`, `link("oob-br", Bridge(vlan_filtering=True))`, `link("tap0", "tun")`."""
    return Link(name=IfName(name), spec=Other(kind=spec) if isinstance(spec, str) else spec, **attributes)


def ports(text: str) -> PortVlans:
    """`"1* 100 200u"`: as FakeKernel prints them. `*` is the PVID, untagged but for `*t`; `u` untagged."""
    pvid: int | None = None
    untagged: list[int] = []
    tagged: list[int] = []
    for word in text.split():
        vid = int(word.rstrip("*tu"))
        pvid = vid if "*" in word else pvid
        (untagged if word[-1] in "*u" else tagged).append(vid)
    return PortVlans(pvid=pvid, untagged=VidSet.of(untagged), tagged=VidSet.of(tagged))


def port_record(pod: str, bridge: str, vlans: str = "", *, ifname: str = "net1", container: str = "") -> PortRecord:
    """`port_record("web", "oob-br", "100*")`: of a pod in `default`; its host end is called as a CNI call would."""
    container = container or f"id-of-{pod}"
    name = hashlib.sha256(f"{container}\0{ifname}".encode()).hexdigest()[:8]
    return PortRecord(
        container_id=container,
        ifname=ifname,
        netns=f"/run/netns/{container}",
        network="n",
        bridge=IfName(bridge),
        host=IfName(f"veth{name}"),
        vlans=ports(vlans) if vlans else None,
        pod=f"default/{pod}" if pod else "",
    )


def neighbour(address: str, mac: str = "", *, protocol: int = 0) -> StaticNeighbour:
    """`neighbour("10.0.0.1", "02:00:00:00:00:01")`: permanent; without a MAC address a proxy entry. As the kernel tells
    it."""
    ip, permanent, proxy = ip_address(address), 0x80, 0x08
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    header = codec.NEIGHBOUR_HEADER.pack(family, 0, permanent if mac else 0, 0 if mac else proxy, 0)
    known = codec.pack_attr(2, bytes.fromhex(mac.replace(":", ""))) if mac else b""
    return StaticNeighbour(
        message=header + codec.pack_attr(1, ip.packed) + known,
        address=address,
        mac=Mac(mac) if mac else None,
        protocol=protocol,
    )


def step(name: str, action: Action, *, joined: bool = False) -> Step:
    return Step(phase=Phase.PREPARE, link=IfName(name), action=action, why=WHY, impact=Impact.NONE, joined=joined)
