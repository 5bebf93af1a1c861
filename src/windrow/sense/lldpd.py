"""lldpd's own neighbours, where it runs already: `lldpcli -f json0`, whose shape does not change with how many there
are.

Numbers are text there. A VLAN with a name is a VLAN name TLV; an entry with `pvid` and no name is the PVID alone. The
link aggregation TLV of 802.1 is among the unknown ones.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from windrow.frames.lldp import Told, is_cut
from windrow.model.evidence import Aggregation, Identity, Kind, SwitchPort
from windrow.model.values import VID_MAX, IfName, Vid

SOCKET = Path("/run/lldpd.socket")
_S = 5.0
_LONGEST = 16 * 1024 * 1024
_KINDS = {"circuit-id": "circuit", "ip": "address", "unhandled": "local", "port": "component"}
"""lldpd's words for kinds of names that are not ours."""
_SOURCES = {"LLDP": Kind.LLDP, "CDPv1": Kind.CDP, "CDPv2": Kind.CDP}


def runs() -> bool:
    return SOCKET.is_socket() and shutil.which("lldpcli") is not None


def ask(socket: Path = SOCKET) -> Mapping[IfName, tuple[SwitchPort, ...]] | str:
    """Its neighbours by NIC; else why not. Takes a few milliseconds, and no more than five seconds."""
    command = ["lldpcli", "-u", str(socket), "-f", "json0", "show", "neighbors", "details"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"lldpcli could not be asked: {error}"
    if done.returncode:
        return f"lldpcli: {done.stderr.decode(errors='replace').strip()[:200]}"
    return parse(done.stdout[:_LONGEST], time.time())


def parse(data: bytes, clock: float) -> Mapping[IfName, tuple[SwitchPort, ...]] | str:
    """`clock`: Unix time of the answer. What an entry does not say as expected is left out."""
    try:
        document = json.loads(data)
    except ValueError:
        return "lldpcli answered with what is no JSON"
    found: dict[IfName, list[SwitchPort]] = {}
    for part in _list(document if isinstance(document, dict) else {}, "lldp"):
        for entry in _list(part, "interface"):
            port = _port(entry, clock)
            if port is not None:
                found.setdefault(IfName(str(entry.get("name", ""))), []).append(port)
    return {nic: tuple(ports) for nic, ports in found.items()}


def _port(entry: Mapping[str, Any], clock: float) -> SwitchPort | None:
    chassis, port = _first(entry, "chassis"), _first(entry, "port")
    its_id, port_id, source = _identity(chassis), _identity(port), _SOURCES.get(str(entry.get("via")))
    if its_id is None or port_id is None or source is None:
        return None
    told = _told(entry)
    found = SwitchPort(
        source=source,
        chassis=its_id,
        port=port_id,
        system=_text(chassis, "name"),
        system_description=_text(chassis, "descr"),
        port_description=_text(port, "descr"),
        is_bridge=_is_bridge(chassis),
        pvid=_pvid(entry),
        vlans=_vlans(entry),
        aggregation=told.aggregation or _aggregation(port),
        max_frame=_number(_text(port, "mfs")) or None,
        management=tuple(_text({"": [one]}, "") for one in _list(chassis, "mgmt-ip")),
        hold_s=_number(_text(port, "ttl")),
        heard=clock - _age_s(str(entry.get("age", ""))),
    )
    return replace(found, vlans_cut=is_cut(found, 0))


def _told(entry: Mapping[str, Any]) -> Told:
    told = Told()
    for unknown in _list(_first(entry, "unknown-tlvs"), "unknown-tlv"):
        with suppress(ValueError):
            oui = bytes.fromhex(str(unknown.get("oui", "")).replace(",", ""))
            value = bytes.fromhex(str(unknown.get("value", "")).replace(",", ""))
            told.take(oui, int(str(unknown.get("subtype", ""))), value)
    return told


def _aggregation(port: Mapping[str, Any]) -> Aggregation | None:
    """Its id alone, and only where it is not 0: who is in none is not told from who does not say."""
    number = _number(_text(port, "aggregation"))
    return Aggregation(capable=True, active=True, port_id=number) if number else None


def _is_bridge(chassis: Mapping[str, Any]) -> bool | None:
    for one in _list(chassis, "capability"):
        if one.get("type") == "Bridge":
            return bool(one.get("enabled"))
    return False if any(_list(chassis, "capability")) else None


def _pvid(entry: Mapping[str, Any]) -> int | None:
    for one in _list(entry, "vlan"):
        if one.get("pvid") is True:
            return _number(str(one.get("vlan-id", "")))
    return None


def _vlans(entry: Mapping[str, Any]) -> dict[Vid, str]:
    found: dict[Vid, str] = {}
    for one in _list(entry, "vlan"):
        vid = _number(str(one.get("vlan-id", "")))
        if "value" in one and 1 <= vid <= VID_MAX:
            found[Vid(vid)] = str(one["value"])
    return found


def _identity(part: Mapping[str, Any]) -> Identity | None:
    said = _first(part, "id")
    kind, value = str(said.get("type", "")), said.get("value")
    return Identity(kind=_KINDS.get(kind, kind), text=str(value)) if kind and value else None


def _age_s(text: str) -> float:
    """`0 day, 00:00:01`."""
    days, _, clock = text.partition(" day, ")
    parts = [_number(one) for one in clock.split(":")]
    return _number(days) * 86400 + parts[0] * 3600 + parts[1] * 60 + parts[2] if len(parts) == 3 else 0.0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _list(part: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    value = part.get(key)
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _first(part: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return next(iter(_list(part, key)), {})


def _text(part: Mapping[str, Any], key: str) -> str:
    return str(_first(part, key).get("value", ""))


def how_to_announce() -> str:
    """What makes this host tell switches of itself; Windrow never sends LLDP. lldpd does so as soon as it runs, on all
    NICs, legs of bonds included."""
    if runs():
        return "lldpd runs here: it tells of this host on every NIC already (see: lldpcli show configuration)"
    if shutil.which("lldpd") is not None:
        return "to tell switches of this host, start lldpd: systemctl enable --now lldpd"
    return "to tell switches of this host, install lldpd, which does so from then on: apt-get install lldpd"
