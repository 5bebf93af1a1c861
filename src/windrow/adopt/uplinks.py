"""A bond, as the uplink of a VlanConfig: only what differs from what a VlanConfig means by itself."""

from __future__ import annotations

from dataclasses import fields

from windrow.adopt.networks import Scene
from windrow.adopt.values import Network
from windrow.compile.uplinks import with_defaults
from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.host import TXQLEN_DEFAULT, Bond, Link
from windrow.model.meta import Meta
from windrow.model.objects import NicIdentity, NicSelector, Uplink, VlanConfig
from windrow.model.values import MTU_DEFAULT, IfName, Mac


def vlan_config(scene: Scene, network: Network) -> VlanConfig:
    cn, node = network.cluster_network, scene.facts.node
    bridge, bond = (scene.observed.state.links[name] for name in (network.bridge, network.bond))
    annotations = {names.ANNOTATION_MANAGED: "true"} if cn == names.MGMT else {}
    if bond.mac != bridge.mac and not _spec(bond).follows_slave:
        annotations[names.ANNOTATION_BOND_MAC] = str(bond.mac)
    nics = _in_order(scene, network, bridge.mac)
    txqlen = bond.txqlen if bond.txqlen != TXQLEN_DEFAULT else None
    return VlanConfig(
        meta=Meta(name=_name(cn, node), annotations=annotations),
        cluster_network=cn,
        node_selector={names.LABEL_HOSTNAME: node},
        uplink=Uplink(
            nics=tuple(NicSelector(by=NicIdentity.NAME, value=nic) for nic in nics),
            bond=_said(bond),
            mtu=bridge.mtu if bridge.mtu and bridge.mtu != MTU_DEFAULT else 0,
            txqlen=txqlen,
            mac=_own_mac(scene, bridge, nics),
        ),
    )


def _spec(bond: Link) -> Bond:
    """Its options as the kernel has them."""
    assert isinstance(bond.spec, Bond)
    return bond.spec


def _name(cluster_network: str, node: str) -> str:
    """That of the management network as Harvester calls it."""
    middle = "-vlanconfig" if cluster_network == names.MGMT else ""
    return names.label_value(f"{cluster_network}{middle}-{node}")


def _in_order(scene: Scene, network: Network, mac: Mac | None) -> tuple[IfName, ...]:
    """First the NIC whose MAC address the bridge has: it is the first one's after the next start (`compile.pins`)."""
    nics = scene.facts.nics
    return tuple(sorted(network.nics, key=lambda name: (nics[name].mac != mac, len(name), name)))


def _own_mac(scene: Scene, bridge: Link, nics: tuple[IfName, ...]) -> Mac | None:
    """None: it is the first NIC's, and comes by itself."""
    return None if bridge.mac == scene.facts.nics[nics[0]].mac else bridge.mac


def _said(bond: Link) -> Bond:
    """The options that are not what they would be without a word."""
    have = _spec(bond).applicable()
    usual = with_defaults(Bond(mode=have.mode, arp_interval=have.arp_interval)).applicable()
    unlike = {f.name for f in fields(Bond) if getattr(have, f.name) != getattr(usual, f.name)}
    if have.mode is not BondMode.ACTIVE_BACKUP:
        unlike.add("mode")
    if have.arp_interval:
        unlike.add("arp_interval")
    return Bond(**{name: getattr(have, name) for name in unlike})
