"""The ports that CNI calls made, as a table and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windrow.model.ports import PortRecord
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style
from windrow.render.topology import vlan_words
from windrow.render.values import document, vlans_value

HEADINGS = ("USER", "INTERFACE", "NETWORK", "BRIDGE", "PORT", "VLANS", "MAC")
WIDE_HEADINGS = ("CONTAINER", "NETNS")


def ports_table(records: Sequence[PortRecord], *, wide: bool = False, style: Style = PLAIN) -> str:
    rows = [[*_cells(record), *((record.container_id, record.netns) if wide else ())] for record in records]
    return table([*HEADINGS, *(WIDE_HEADINGS if wide else ())], rows, style)


def _cells(record: PortRecord) -> tuple[str, ...]:
    vlans = vlan_words(record.vlans) if record.vlans else ""
    return (record.user, record.ifname, record.network, record.bridge, record.host, vlans, record.mac or "")


def ports_value(records: Sequence[PortRecord]) -> dict[str, Any]:
    return document("PortList", items=[port_value(record) for record in records])


def port_value(record: PortRecord) -> dict[str, Any]:
    """`vlans` null: nothing is managed, the port has what its bridge gives."""
    return {
        "containerID": record.container_id,
        "interface": record.ifname,
        "netns": record.netns,
        "pod": record.pod,
        "network": record.network,
        "bridge": record.bridge,
        "port": record.host,
        "mac": record.mac,
        "vlans": vlans_value(record.vlans) if record.vlans else None,
        "macspoofchk": record.spoof_check,
        "masquerade": list(record.masquerade),
    }
