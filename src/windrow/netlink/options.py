"""The options of bonds, bridges, ports, VLAN interfaces and tunnel devices: values to attributes, and back.

For a bond everything follows from `model.bonding.OPTIONS`: a choice is its index, a NIC its ifindex.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from windrow.model.bonding import OPTIONS, BondMode, BondOption
from windrow.model.bridging import FRESH_BRIDGE_PORT, PORT_OPTIONS, Bridge, BridgePort
from windrow.model.host import VLAN_FLAGS, Bond, Vxlan
from windrow.model.steps import SetVxlan

NO_MAC = "00:00:00:00:00:00"
DISABLED, FORWARDING = 0, 3
"""BR_STATE_*."""
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


_BOOLOPTS = {"no_linklocal_learn": 1 << 0, "mcast_vlan_snooping": 1 << 1}
"""BR_BOOLOPT_*, as bits of IFLA_BR_MULTI_BOOLOPT."""
_BRIDGE_FLAGS = (
    "vlan_filtering",
    "stp",
    "mcast_snooping",
    "nf_call_iptables",
    "nf_call_ip6tables",
    "nf_call_arptables",
)
_BRIDGE_NUMBERS = ("vlan_protocol", "default_pvid", "group_fwd_mask", "mcast_router")


def bridge_values(bridge: Bridge) -> dict[str, Any]:
    """The attributes of the options that are not None, for `codec.BRIDGE`."""
    mask = sum(bit for name, bit in _BOOLOPTS.items() if getattr(bridge, name) is not None)
    flags = {name: None if (value := getattr(bridge, name)) is None else int(value) for name in _BRIDGE_FLAGS}
    return {
        "ageing": None if bridge.ageing is None else bridge.ageing * _TICKS,
        **flags,
        **{name: getattr(bridge, name) for name in _BRIDGE_NUMBERS},
        "boolopts": (sum(bit for name, bit in _BOOLOPTS.items() if getattr(bridge, name)), mask) if mask else None,
    }


def bridge_of(values: Mapping[str, Any]) -> Bridge:
    """`vlan_filtering` is False where the kernel has no CONFIG_BRIDGE_VLAN_FILTERING, and so no attribute; of the
    others that this kernel does not have, None is said."""
    on, known = values.get("boolopts", (0, 0))
    return Bridge(
        ageing=values["ageing"] // _TICKS if "ageing" in values else None,
        **{name: bool(values[name]) for name in _BRIDGE_FLAGS if name in values},
        **{name: values[name] for name in _BRIDGE_NUMBERS if name in values},
        **{name: bool(on & bit) for name, bit in _BOOLOPTS.items() if known & bit},
        **({} if "vlan_filtering" in values else {"vlan_filtering": False}),
    )


def port_values(port: BridgePort) -> dict[str, int]:
    """The attributes of the options that are not None, for `codec.BRIDGE_PORT`. A port that does not forward is
    disabled: without STP the kernel puts every other state back to forwarding at once (`br_port_state_selection`)."""
    found = {name: int(value) for name in PORT_OPTIONS if (value := getattr(port, name)) is not None}
    forwarding = found.pop("forwarding", None)
    return found if forwarding is None else {**found, "state": FORWARDING if forwarding else DISABLED}


def port_of(values: Mapping[str, Any], *, settled: bool) -> BridgePort:
    """`settled`: the port is open, has carrier, and its bridge is open and without STP, so that it ought to forward.

    A port without a backup does not say so, and a kernel without MAB does none. One that is as new is the same object
    as every other such one, which is quick to compare.
    """
    found = {name: bool(value) if name in _PORT_FLAGS else value for name, value in values.items()}
    state = found.pop("state", None)
    found = {"backup_port": 0, "mab": False, **found}
    port = BridgePort(forwarding=state == FORWARDING if settled and state is not None else None, **found)
    return FRESH_BRIDGE_PORT if port == FRESH_BRIDGE_PORT else port


_PORT_FLAGS = frozenset(name for name in PORT_OPTIONS if isinstance(getattr(FRESH_BRIDGE_PORT, name), bool))


def vlan_flags_value(flags: Collection[str]) -> tuple[int, int]:
    """For `codec.VLAN`: those that are on, and all that are known here."""
    return sum(VLAN_FLAGS[name] for name in flags), sum(VLAN_FLAGS.values())


def vlan_flags(value: tuple[int, int]) -> frozenset[str]:
    return frozenset(name for name, bit in VLAN_FLAGS.items() if value[0] & bit)


def vxlan_values(vxlan: Vxlan) -> dict[str, Any]:
    """For `codec.VXLAN`."""
    return {"vni": vxlan.vni, "port": vxlan.port, **vxlan_change(vxlan)}


def vxlan_change(said: Vxlan | SetVxlan) -> dict[str, Any]:
    """What is said of the options that may change live."""
    local = {} if said.local is None else {"local6" if ":" in said.local else "local": said.local}
    return local if said.learning is None else {**local, "learning": int(said.learning)}


def vxlan_of(values: Mapping[str, Any]) -> Vxlan:
    """A device that was given no address has none to say."""
    local = values.get("local") or values.get("local6", "")
    return Vxlan(vni=values["vni"], port=values["port"], local=local, learning=bool(values.get("learning")))
