"""The options of bonds and bridges: `model.host` values to attribute values, and back.

For a bond everything follows from `model.bonding.OPTIONS`: a choice is its index, a NIC its ifindex.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from windrow.model.bonding import OPTIONS, BondMode, BondOption
from windrow.model.host import Bond, Bridge

NO_MAC = "00:00:00:00:00:00"
_TICKS = 100
"""USER_HZ: bridge times cross the kernel's border in hundredths of a second on every architecture."""


def bond_values(bond: Bond, index: Callable[[str], int]) -> dict[str, Any]:
    """The attributes of the options that are not None, for `codec.BOND`.

    `index` finds a NIC by name. Raises ValueError for a value that is not one of the choices.
    """
    values: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = getattr(bond, name)
        if value is not None:
            values[name] = _to_kernel(option, value, index)
    return values


def bond_of(values: Mapping[str, Any], names: Mapping[int, str]) -> Bond:
    """The Bond that `codec.BOND` values describe; an option that the kernel did not report is None.

    The kernel leaves out empty target lists, a primary that is not there, and (`bond_fill_info`) the
    ad_* options outside 802.3ad or without CAP_NET_ADMIN.
    """
    found = {name: _from_kernel(OPTIONS[name], value, names) for name, value in values.items() if name in OPTIONS}
    found.setdefault("primary", "")
    found.setdefault("arp_ip_target", ())
    found.setdefault("ns_ip6_target", ())
    return Bond(**found)


def _to_kernel(option: BondOption, value: Any, index: Callable[[str], int]) -> Any:
    if option.choices:
        return option.choices.index(value)
    if option.name == "primary":
        return index(value) if value else 0
    if option.name == "ad_actor_system":
        return value or NO_MAC
    return value


def _from_kernel(option: BondOption, value: Any, names: Mapping[int, str]) -> Any:
    if option.name == "mode":
        return _MODES[value]
    if option.choices:
        return option.choices[value] if value < len(option.choices) else str(value)
    if option.name == "primary":
        return names.get(value, "")
    if option.name == "ad_actor_system":
        return "" if value == NO_MAC else value
    return value


_MODES = tuple(BondMode)


def bridge_values(bridge: Bridge) -> dict[str, Any]:
    """The attributes of the options that are not None, for `codec.BRIDGE`."""
    return {
        "ageing": None if bridge.ageing is None else bridge.ageing * _TICKS,
        "stp": None if bridge.stp is None else int(bridge.stp),
        "vlan_filtering": None if bridge.vlan_filtering is None else int(bridge.vlan_filtering),
    }


def bridge_of(values: Mapping[str, Any]) -> Bridge:
    """`vlan_filtering` is False where the kernel has no CONFIG_BRIDGE_VLAN_FILTERING, and so no attribute."""
    return Bridge(
        vlan_filtering=bool(values.get("vlan_filtering", 0)),
        stp=bool(values["stp"]) if "stp" in values else None,
        ageing=values["ageing"] // _TICKS if "ageing" in values else None,
    )
