"""VlanConfig: which NICs carry a cluster network, and how they are bonded."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from windrow.model.objects import NicIdentity, NicSelector, Uplink, VlanConfig
from windrow.model.values import MTU_MAX, MTU_MIN, Mac, parse_ifname, parse_mac, parse_unicast_mac
from windrow.model.wire.bonds import read_bond, write_bond
from windrow.model.wire.reader import Envelope, Field, Table
from windrow.model.wire.text import quoted

_PCI = re.compile(r"([0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_TXQLEN_MAX = 0xFFFF_FFFF
_BROADCAST = Mac("ff:ff:ff:ff:ff:ff")


def read(spec: Table, envelope: Envelope) -> VlanConfig:
    cluster_network = spec.text("clusterNetwork", required=True, hint="name a ClusterNetwork")
    uplink = spec.table("uplink", ("nics", "linkAttributes", "bondOptions"), required=True)
    return VlanConfig(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        cluster_network=cluster_network,
        uplink=_uplink(uplink),
        node_selector=spec.texts("nodeSelector"),
        description=spec.text("description"),
    )


FIELDS = ("description", "clusterNetwork", "nodeSelector", "uplink")


def _uplink(table: Table) -> Uplink:
    attributes = table.table("linkAttributes", ("mtu", "txQLen", "hardwareAddr"))
    txqlen = attributes.integer("txQLen", -1, _TXQLEN_MAX)
    address = attributes.get("hardwareAddr")
    return Uplink(
        nics=_nics(table),
        bond=read_bond(table.table("bondOptions")),
        mtu=read_mtu(attributes),
        txqlen=None if txqlen == -1 else txqlen,
        mac=_mac(address) if address else None,
    )


def read_mtu(table: Table) -> int:
    """0 or 576..9000, Harvester's limits; 0 where it is absent or wrong."""
    found = table.get("mtu")
    value = found.integer(0, MTU_MAX, code="mtu-range", hint=_MTU_HINT) if found else 0
    if found and value and value < MTU_MIN:
        found.wrong("mtu-range", f"{value} is less than {MTU_MIN}", _MTU_HINT)
    return value or 0


_MTU_HINT = f"use {MTU_MIN}..{MTU_MAX}, or 0 for 1500"


def _nics(table: Table) -> tuple[NicSelector, ...]:
    field = table.required("nics", "list the NICs of the uplink, such as [eth1, eth2]")
    found: dict[NicSelector, str] = {}
    for item in field.items("a list of NICs") if field else ():
        selector = _nic(item)
        if selector is None:
            continue
        if selector in found:
            item.wrong("nic-duplicate", f"NIC {selector} is already {found[selector]}", "remove one of them")
        found.setdefault(selector, item.path)
    if field and field.value == []:
        field.wrong("nic-empty", "is an empty list: the bond would have no link to anywhere", "name one NIC at least")
    return tuple(found)


def _nic(item: Field) -> NicSelector | None:
    if not isinstance(item.value, dict):
        return _selector(NicIdentity.NAME, item)
    given = [i for i in NicIdentity if item.value.get(i) is not None]
    if len(given) != 1 or len(item.value) != 1:
        item.wrong("nic-selector", "must have exactly one of name, mac and pci", "for example {mac: 52:54:00:12:34:56}")
        return None
    inner = item.table()
    return _selector(given[0], inner[given[0]]) if inner else None


def _selector(by: NicIdentity, field: Field) -> NicSelector | None:
    match by:
        case NicIdentity.NAME:
            value: str | None = field.parsed(
                parse_ifname, "name-invalid", "this is the name of a NIC, as `ip link` has it"
            )
        case NicIdentity.MAC:
            value = field.parsed(parse_mac, "mac-invalid")
        case NicIdentity.PCI:
            value = field.parsed(_parse_pci, "pci-invalid")
    return NicSelector(by=by, value=value) if value is not None else None


def _parse_pci(text: str) -> str:
    address = text.strip().lower()
    if not _PCI.fullmatch(address):
        raise ValueError(f"{quoted(text)} is not a PCI address like 0000:3b:00.1")
    return address if address.count(":") == 2 else f"0000:{address}"


def _mac(field: Field) -> Mac | None:
    """Six raw bytes in base64, as Go writes a `[]byte`; a MAC address as people write it is fine too."""
    if (text := field.text()) is None:
        return None
    raw = b""
    if ":" not in text and "-" not in text:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 6:
            hint = "base64 of its six bytes, or written like 52:54:00:12:34:56"
            field.wrong("mac-invalid", f"{quoted(text)} is not a MAC address", hint)
            return None
        field = Field(raw.hex(":"), field.path, field.report)
    return field.parsed(parse_unicast_mac, "mac-invalid")


def write(config: VlanConfig) -> dict[str, Any]:
    uplink = config.uplink
    attributes: dict[str, Any] = {"mtu": uplink.mtu} if uplink.mtu else {}
    if uplink.txqlen is not None:
        attributes["txQLen"] = uplink.txqlen
    if uplink.mac:
        attributes["hardwareAddr"] = base64.b64encode(bytes.fromhex(uplink.mac.replace(":", ""))).decode()
    bond = write_bond(uplink.bond)
    spec: dict[str, Any] = {"description": config.description} if config.description else {}
    return spec | {
        "clusterNetwork": config.cluster_network,
        **({"nodeSelector": dict(config.node_selector)} if config.node_selector else {}),
        "uplink": {
            "nics": [n.value if n.by is NicIdentity.NAME else {str(n.by): n.value} for n in uplink.nics],
            **({"linkAttributes": attributes} if attributes else {}),
            **({"bondOptions": bond} if bond else {}),
        },
    }
