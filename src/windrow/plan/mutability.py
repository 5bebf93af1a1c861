"""How each attribute of a link may change, as data. A test holds it against a real kernel."""

from __future__ import annotations

from dataclasses import fields

from windrow.model.bonding import OPTIONS, Change
from windrow.model.bridging import BRIDGE_OPTIONS, PORT_OPTIONS
from windrow.model.host import LinkFlags

TABLE: dict[str, Change] = {
    "link": Change.RECREATE,
    "kind": Change.RECREATE,
    "up": Change.LIVE,
    "mtu": Change.LIVE,
    "mac": Change.LIVE,
    "txqlen": Change.LIVE,
    "promisc": Change.LIVE,
    "name": Change.LIVE,
    "mark": Change.LIVE,
    "slave_prio": Change.LIVE,
    **{f"flags.{f.name}": Change.LIVE for f in fields(LinkFlags)},
    "master": Change.LIVE,
    "vlans": Change.LIVE,
    "self_vlans": Change.LIVE,
    "snooping": Change.LIVE,
    **{f"port.{name}": Change.LIVE for name in PORT_OPTIONS},
    "addrs": Change.LIVE,
    "neighbours": Change.LIVE,
    "fdb": Change.LIVE,
    "routes": Change.LIVE,
    "rules": Change.LIVE,
    **{f"bridge.{name}": Change.LIVE for name in BRIDGE_OPTIONS},
    "vlan.parent": Change.RECREATE,
    # vlan_changelink() takes a new id without complaint and ignores it.
    "vlan.vid": Change.RECREATE,
    "vlan.flags": Change.LIVE,
    # vxlan_nl2conf() refuses another VNI or port, and an address of the other family.
    "vxlan.vni": Change.RECREATE,
    "vxlan.port": Change.RECREATE,
    "vxlan.local": Change.LIVE,
    "vxlan.learning": Change.LIVE,
    # wg_set_device() takes both live; with another key the peers refuse it until theirs name it.
    "wireguard.port": Change.LIVE,
    "wireguard.key": Change.LIVE,
    "peers": Change.LIVE,
    **{f"bond.{name}": option.change for name, option in OPTIONS.items()},
}
