"""How each attribute of a link may change, as data. A test holds it against a real kernel."""

from __future__ import annotations

from windrow.model.bonding import OPTIONS, Change

TABLE: dict[str, Change] = {
    "link": Change.RECREATE,
    "kind": Change.RECREATE,
    "up": Change.LIVE,
    "mtu": Change.LIVE,
    "mac": Change.LIVE,
    "txqlen": Change.LIVE,
    "promisc": Change.LIVE,
    "master": Change.LIVE,
    "vlans": Change.LIVE,
    "self_vlans": Change.LIVE,
    "isolated": Change.LIVE,
    "hairpin": Change.LIVE,
    "addrs": Change.LIVE,
    "routes": Change.LIVE,
    "rules": Change.LIVE,
    "bridge.vlan_filtering": Change.LIVE,
    "bridge.stp": Change.LIVE,
    "bridge.ageing": Change.LIVE,
    "vlan.parent": Change.RECREATE,
    # vlan_changelink() takes a new id without complaint and ignores it.
    "vlan.vid": Change.RECREATE,
    **{f"bond.{name}": option.change for name, option in OPTIONS.items()},
}
