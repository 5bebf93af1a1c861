"""`spec.uplink.bondOptions`: the table of `model.bonding`, held against what a manifest says.

The kernel refuses some of it only when the bond is made, and some of it never: it takes the option and
does nothing. Both are said here, before anything is touched.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from windrow.model.bonding import BY_WIRE, OPTIONS, BondMode, BondOption
from windrow.model.host import Bond
from windrow.model.values import parse_ifname, parse_unicast_mac
from windrow.model.wire.reader import Field, Table, kind_of, suggestion
from windrow.model.wire.text import quoted, shown

MIIMON_DEFAULT = 100
MAX_TARGETS = 16
"""`BOND_MAX_ARP_TARGETS`, `BOND_MAX_NS_TARGETS`."""

_MULTIPLES = ("updelay", "downdelay", "peer_notif_delay")
"""The kernel stores them as a number of miimon intervals and rounds down (`bond_option_updelay_set`)."""


def read_bond(table: Table) -> Bond:
    """Only what the manifest says; None for the rest."""
    values: dict[str, Any] = {}
    fields: dict[str, Field] = {}
    for key, field in table.fields():
        option = BY_WIRE.get(key)
        if option is None:
            hint = suggestion(key, BY_WIRE) or f"the options are {', '.join(sorted(BY_WIRE))}"
            field.wrong("bond-option-unknown", f"there is no bond option {shown(key)}", hint)
        elif (value := _value(option, field)) is not None:
            values[option.name], fields[option.name] = value, field
    if "mode" in values or "mode" not in table:
        _check_modes(values, fields)
        _check_needs(values, fields)
    _check_intervals(values, fields)
    return Bond(**values)


def write_bond(bond: Bond) -> dict[str, Any]:
    """The inverse of `read_bond`."""
    found = {option.wire: getattr(bond, option.name) for option in OPTIONS.values()}
    return {key: _plain(value) for key, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case tuple():
            return list(value)
        case str():
            return str(value)  # a mode is an enum
        case _:
            return value


def _value(option: BondOption, field: Field) -> Any:
    match option.name:
        case "mode":
            return _mode(field)
        case "miimon":
            value = field.integer(-1, option.high)
            return None if value == -1 else value  # -1: "not set" in Harvester's schema
        case "arp_ip_target" | "ns_ip6_target":
            return _targets(option, field)
        case "primary":
            return field.parsed(parse_ifname, "name-invalid")
        case "ad_actor_system":
            return field.parsed(parse_unicast_mac, "mac-invalid")
        case _ if option.choices:
            return _choice(option, field)
        case _:
            return field.integer(option.low, option.high)


def _mode(field: Field) -> BondMode | None:
    if isinstance(field.value, int) and not isinstance(field.value, bool) and 0 <= field.value < len(BondMode):
        hint = f"mode {field.value} of the kernel is {list(BondMode)[field.value]}"
        field.wrong("bond-mode", "the mode is given by its name", hint)
        return None
    return field.choice(BondMode, "bond-mode")


def _choice(option: BondOption, field: Field) -> str | None:
    value = field.value
    if isinstance(value, bool) and option.choices == ("off", "on"):
        return option.choices[value]  # YAML reads on and off without quotes as booleans
    if isinstance(value, str) and value in option.choices:
        return value
    choices = ", ".join(option.choices)
    field.wrong("not-a-choice", f"must be one of {choices}, and is {kind_of(value)}", suggestion(value, option.choices))
    return None


def _targets(option: BondOption, field: Field) -> tuple[str, ...] | None:
    version = 4 if option.name == "arp_ip_target" else 6
    found: list[str] = []
    for item in field.items(f"a list of IPv{version} addresses"):
        if (text := item.text()) is None:
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            item.wrong("address-invalid", f"{quoted(text)} is not an IP address")
            continue
        # `bond_is_ip_target_ok`, `bond_is_ip6_target_ok`
        if address.version != version or address.is_unspecified or address.is_multicast or text == "255.255.255.255":
            item.wrong("address-invalid", f"{address} is not an IPv{version} address to send probes to")
        elif str(address) in found:
            item.wrong("duplicate", f"{address} stands here twice")
        else:
            found.append(str(address))
    if len(found) > MAX_TARGETS:
        field.wrong("out-of-range", f"has {len(found)} addresses, the kernel takes {MAX_TARGETS}")
    return tuple(found)


def _check_modes(values: dict[str, Any], fields: dict[str, Field]) -> None:
    mode = values.get("mode") or BondMode.ACTIVE_BACKUP
    for name, field in fields.items():
        fits = OPTIONS[name].modes
        if mode not in fits:
            modes = ", ".join(m for m in BondMode if m in fits)
            field.wrong("bond-option-mode", f"means nothing in mode {mode}", f"it belongs to {modes}")


def _check_needs(values: dict[str, Any], fields: dict[str, Field]) -> None:
    arp = bool(values.get("arp_interval"))
    have = {"miimon": 0 if arp else MIIMON_DEFAULT, **values}
    for name, field in fields.items():
        needed = OPTIONS[name].needs
        if needed and values[name] and not have.get(needed):
            field.wrong("bond-option-needs", f"means nothing without {_key(needed)}", f"set {_key(needed)} too")
    if arp and values.get("miimon"):
        message = "miimon and arpInterval exclude each other: the kernel turns one off when it gets the other"
        fields["arp_interval"].wrong("bond-option-conflict", message, "remove one of them")
    if arp and not values.get("arp_ip_target") and not values.get("ns_ip6_target"):
        message = "with nobody to ask, every NIC of the bond counts as dead"
        fields["arp_interval"].wrong("bond-option-needs", message, "set arpIPTargets too")


def _check_intervals(values: dict[str, Any], fields: dict[str, Field]) -> None:
    interval = values.get("miimon", MIIMON_DEFAULT)
    for name in _MULTIPLES:
        value = values.get(name)
        if value and interval and value % interval:
            field, down = fields[name], value // interval * interval
            message = f"{value} is not a multiple of miimon ({interval}): the kernel would make it {down}"
            field.wrong("bond-option-multiple", message, f"write {down} or {down + interval}")


def _key(option: str) -> str:
    return OPTIONS[option].wire
