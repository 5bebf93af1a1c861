"""Machines as text: tables for people, and what other hypervisors are told of NICs that are attached for them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from windrow.apps.vm.addresses import Told
from windrow.apps.vm.launch import VHOST
from windrow.apps.vm.look import Seen
from windrow.apps.vm.start import Started
from windrow.port.vm.libvirt import interface_xml
from windrow.port.vm.qemu import nic_arguments
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style

HEADINGS = ("NAME", "STATE", "NODE", "NICS", "ADDRESSES")
WIDE = ("ACCEL", "PID", "MACS", "NETWORKS")


def machines_table(seen: Sequence[Seen], *, wide: bool = False, style: Style = PLAIN) -> str:
    """With their namespaces where there are several."""
    several = len({s.namespace for s in seen}) > 1
    headings = [*(["NAMESPACE"] if several else []), *HEADINGS, *(WIDE if wide else ())]
    rows = []
    for one in seen:
        row = [*([one.namespace] if several else []), one.name, _state(one.state, style), one.node]
        row += [str(sum("name" in each for each in one.interfaces)), _joined(one.interfaces, "ipAddress")]
        rows.append(row + (_wide(one) if wide else []))
    return table(headings, rows, style)


def _wide(one: Seen) -> list[str]:
    record = one.record
    pid = str(record.pid) if record and record.pid else ""
    columns = [record.accelerator if record else "", pid]
    return [*columns, _joined(one.interfaces, "mac"), _joined(one.interfaces, "network")]


def _joined(interfaces: Iterable[Mapping[str, Any]], key: str) -> str:
    """Of the machine's NICs; what a guest made itself on them is in `vm addresses`."""
    return ",".join(f"{i['name']}={i[key]}" for i in interfaces if i.get("name") and i.get(key))


def _state(state: str, style: Style) -> str:
    match state:
        case "Running" | "Attached":
            return style.green(state)
        case "Ended":
            return style.red(state)
        case "Stopped" | "Elsewhere":
            return style.dim(state)
        case _:
            return style.yellow(state)


def addresses_table(told: Sequence[Told], style: Style = PLAIN) -> str:
    """As `virsh domifaddr` has it, and who says so."""
    rows = [
        [one.nic, one.interface, one.mac, "ipv6" if ":" in one.address else "ipv4", one.address, one.source.value]
        for one in told
    ]
    return table(("NIC", "INTERFACE", "MAC", "PROTOCOL", "ADDRESS", "SOURCE"), rows, style)


def libvirt(started: Started) -> str:
    """An `<interface>` for each NIC."""
    return "\n".join(interface_xml(plan).rstrip("\n") for plan in started.plans)


def qemu(started: Started) -> str:
    """Arguments, those of one NIC on each line."""
    vhost = VHOST.exists()
    spec = started.machine.spec
    return "\n".join(shlex.join(nic_arguments(spec, plan, vhost=vhost)) for plan in started.plans)
