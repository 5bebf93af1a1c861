"""Which links of a look have a cable, which MACs are this host's, and what a leg is to its bond."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.model.values import PORT_GROUP, IfName, Mac
from windrow.netlink.ethtool import is_nic
from windrow.netlink.links import DEVICE
from windrow.netlink.observe import Raw

NICS_MAX = 64
"""NICs of one host that are listened to."""
LACP = 4
"""802.3ad, as the kernel numbers modes: 1 is active-backup, 5 balance-tlb, 6 balance-alb."""
_ACTIVE_BACKUP = 1
_ONE_ACTIVE, _HEARS_BY_ONE = frozenset({1, 5, 6}), frozenset({1, 5})
_LEG_ACTIVE = 0
_RUNNING = 0x40
"""IFF_RUNNING."""
_OWN_KINDS = frozenset({"bond", "bridge", "vlan"})
_NO_MAC = "00:00:00:00:00:00"


class Links:
    """One dump of all links."""

    def __init__(self, raws: Sequence[Raw]) -> None:
        self._raws = raws
        self._by_index = {raw.ifindex: raw for raw in raws}
        self._with_bond = {raw.attrs.get("master") for raw in raws if raw.kind == "bond"}

    def nics(self) -> list[Raw]:
        """Hardware first, then legs of bonds, then others. All of them: `NICS_MAX` is whoever listens to mind.

        A veth counts as a NIC in labs and containers, which have no hardware; elsewhere it leads to a pod. Ports of
        pods and machines are none: they bear our mark, or are on a bridge whose uplink is a bond.
        """
        found = [raw for raw in self._raws if is_nic(raw) and raw.kind != "dummy" and not self._is_port(raw)]
        if any(raw.kind == DEVICE for raw in found):
            found = [raw for raw in found if raw.kind == DEVICE or raw.slave_kind == "bond"]
        return sorted(found, key=lambda raw: (raw.kind != DEVICE, raw.slave_kind != "bond", raw.ifindex))

    def _is_port(self, raw: Raw) -> bool:
        return raw.attrs.get("group") == PORT_GROUP or (
            raw.kind != DEVICE and raw.slave_kind == "bridge" and raw.attrs.get("master") in self._with_bond
        )

    def macs(self) -> tuple[Mac, ...]:
        """Of this host itself. Those of macvlans are not: the address of VRRP is on other hosts, too."""
        own = [*self.nics(), *(raw for raw in self._raws if raw.kind in _OWN_KINDS)]
        macs = (Mac(raw.attrs.get("mac", "")) for raw in own)
        return tuple(dict.fromkeys(mac for mac in macs if len(mac) == len(_NO_MAC) and mac != _NO_MAC))

    def bond(self, raw: Raw) -> Raw | None:
        """The one that a NIC is a leg of."""
        return self._by_index.get(raw.attrs.get("master", 0)) if raw.slave_kind == "bond" else None

    def lacp_bonds(self) -> dict[int, IfName]:
        return {raw.ifindex: IfName(raw.attrs["name"]) for raw in self._raws if raw.data.get("mode") == LACP}

    def active(self, raw: Raw) -> bool | None:
        """Whether it is the bond's active leg, or one of its active aggregator; None where there is no such thing."""
        bond = self.bond(raw)
        mode = bond.data.get("mode") if bond else None
        if bond is not None and mode in _ONE_ACTIVE:
            return bool(bond.data.get("active_slave") == raw.ifindex)
        return bool(raw.slave.get("state") == _LEG_ACTIVE) if mode == LACP else None

    def sole(self, raw: Raw) -> Mac | None:
        """The MAC with which this host sends by this NIC alone, or by the channel that it is a member of: a switch
        sends none of it back there. None: by other legs, too, whose broadcasts come in here."""
        bond = self.bond(raw)
        if bond is None:
            return Mac(raw.attrs["mac"]) if raw.attrs.get("mac") else None
        sends_by_one = bond.data.get("mode") in {_ACTIVE_BACKUP, LACP} and self.active(raw)
        return Mac(bond.attrs["mac"]) if sends_by_one and bond.attrs.get("mac") else None

    def idle(self, raw: Raw) -> bool:
        """Whether its bond drops what comes in there (`bond_should_deliver_exact_match`)."""
        bond = self.bond(raw)
        return bond is not None and bond.data.get("mode") in {*_HEARS_BY_ONE, LACP} and self.active(raw) is False


def has_carrier(raw: Raw) -> bool:
    return bool(raw.flags & _RUNNING)
