"""NetworkAttachmentDefinition: a CNI configuration, as a JSON text inside the manifest.

It is read as Harvester does, with Go's `encoding/json`: keys match without regard to case. One thing
beyond: a comma after the last entry, as in Harvester's own documentation, is a warning and no error.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from windrow.model.names import cluster_network_of_bridge
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.portguards import DHCP_GUARD, IP_SPOOF, RA_GUARD, RATES
from windrow.model.values import VID_MAX, VID_MIN, VidSet, parse_ifname
from windrow.model.wire.reader import Envelope, Field, Report, Table, kind_of
from windrow.model.wire.text import MAX_DEPTH, Plain, clean, plain, shown, trees
from windrow.model.wire.vlanconfig import read_mtu

FIELDS = ("config",)

KEYS = (
    "cniVersion", "name", "type", "bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "mtu",
    "hairpinMode", "promiscMode", "vlan", "provider", "vlanTrunk", "ipam", "ipMasqBackend", "preserveDefaultVlan",
    "portIsolation", "macspoofchk", "enabledad", "disableContainerInterface", "dns", "capabilities", "runtimeConfig",
    "args", "prevResult", *(IP_SPOOF, DHCP_GUARD, RA_GUARD), *RATES,
)  # fmt: skip
PLACE = "spec.config"
BRIDGE_TYPES = ("bridge", "windrow-bridge")
_OVERLAY = "kube-ovn"
_DEFAULT_BRIDGE = "cni0"
"""That of the reference's plugin."""
_UINT16_MAX = 0xFFFF
CONFIG_MAX = 64 * 1024
"""Characters. An object may have a mebibyte and a half, all of which every node would read at each change."""
_BY_FOLDED = {key.lower(): key for key in (*KEYS, "plugins")}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])|[{}\[\]]', re.DOTALL)


def read(spec: Table, envelope: Envelope, document: Plain) -> NetworkAttachmentDefinition:
    """Without `config`, or with an empty one, it stands for the node's CNI configuration of its name (Multus)."""
    field = spec.get("config")
    if field is not None and isinstance(field.value, dict):
        field.expected("a text with JSON in it", "write `config: |` and the JSON below it")
        field = None
    text = field.text() if field else None
    if field is not None and text and len(text) > CONFIG_MAX:
        field.wrong("json-too-long", f"has more than {CONFIG_MAX} characters, which no configuration needs")
        text = None
    config: dict[str, Any] = {}
    if field is not None and text:
        start = document.lines.get(field.path, 0) if field.path in document.blocks else None
        config = decode(text, _Place(field, start)) or {}
    return _network(config, envelope, field.report if field else spec.report)


class _Place:
    """Where the JSON text stands; `start` is the line before its first one, None where it has no lines of its own."""

    def __init__(self, field: Field, start: int | None) -> None:
        self.field, self.start = field, start

    def line(self, line: int) -> int | None:
        return self.start + line if self.start is not None else None


def decode(text: str, place: _Place) -> dict[str, Any] | None:
    """The JSON of `spec.config`, keys as written. What is wrong is noted at `place`."""
    field, report = place.field, place.field.report
    strict, commas, depth = _scan(text)
    for line in commas:
        message = "the comma before the closing bracket is not JSON; it is read as if it were not there"
        report.warn("json-trailing-comma", field.path, message, "remove it", line=place.line(line))
    if depth > MAX_DEPTH:
        field.wrong("json-syntax", f"has more than {MAX_DEPTH} levels of brackets")
        return None
    doubled: list[str] = []
    try:
        found = json.loads(strict, object_pairs_hook=lambda pairs: _dict(pairs, doubled), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno} of it)"
        report.add("json-syntax", field.path, message, "keys and texts in double quotes", line=place.line(error.lineno))
        return None
    except ValueError as error:  # a number of thousands of digits, NaN
        field.wrong("json-syntax", f"is not JSON: {error}")
        return None
    for key in doubled:
        report.warn("json-duplicate-key", field.path, f"the key {shown(key)} stands in it twice; the last one counts")
    if not isinstance(found, dict):
        field.wrong("wrong-type", f"must be a JSON object, and is {kind_of(found)}")
        return None
    _note_lines(text, place)
    return {sys.intern(clean(key)): _clean(value, key in _ALIKE) for key, value in found.items()}


_ALIKE = ("cniVersion", "type", "bridge")
"""The keys whose few values thousands of networks have in common: each is kept once, as the keys are."""


def _clean(value: Any, alike: bool = False) -> Any:
    """JSON can spell half of a surrogate pair, which nobody can print."""
    match value:
        case str() if alike:
            return sys.intern(clean(value))
        case str():
            return clean(value)
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {sys.intern(clean(key)): _clean(item, key in _ALIKE) for key, item in value.items()}
        case _:
            return value


def _scan(text: str) -> tuple[str, list[int], int]:
    """The text without its trailing commas (blanks in their place), their lines, and its depth of brackets."""
    chars = list(text)
    lines: list[int] = []
    depth = deepest = done = 0
    line = 1
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                depth += 1
                deepest = max(deepest, depth)
            case "}" | "]":
                depth -= 1
            case "," if text[max(0, token.start() - 200) : token.start()].rstrip()[-1:] not in ("{", "[", ",", ":", ""):
                chars[token.start()] = " "
                line, done = line + text.count("\n", done, token.start()), token.start()
                lines.append(line)
            case _:
                pass  # a text, whatever brackets stand in it; a comma after nothing, which no JSON reader takes
    return "".join(chars), lines, deepest


def _dict(pairs: list[tuple[str, Any]], doubled: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            doubled.append(key)
        result[key] = value
    return result


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no value")


def _note_lines(text: str, place: _Place) -> None:
    """The lines of the keys inside the text, so that a problem with `vlan` names its own line."""
    lines = place.field.report.source.lines
    if place.start is None or not isinstance(lines, dict):
        return
    found, _ = trees(text)
    if len(found) == 1:
        base = place.field.path
        for path, line in plain(found[0].root, []).lines.items():
            where = f"{base}.{path}" if path and path[0] != "[" else f"{base}{path}"
            lines.setdefault(where, place.start + line)


def _network(config: dict[str, Any], envelope: Envelope, report: Report) -> NetworkAttachmentDefinition:
    bridge, vid, mtu = "", 0, 0
    trunk = VidSet()
    kind: NetworkType | None = None
    plugins = list(_plugins(config, report)) if config else []
    table = next((plugin for plugin in plugins if _is_bridge(plugin, alone="plugins" not in config)), None)
    if table is not None:
        table = Table(table.value, table.path, report, KEYS)
        bridge = _bridge(table)
        mtu = read_mtu(table) if cluster_network_of_bridge(bridge) else table.integer("mtu", 0, _UINT16_MAX) or 0
        vid = table.integer("vlan", 0, VID_MAX, code="vid-range", hint="0 or absent means untagged") or 0
        listed = table.get("vlanTrunk")
        trunk = _trunk(listed) if listed else trunk
        kind = _type(vid, trunk, listed)
    elif any(plugin.value.get("type") == _OVERLAY for plugin in plugins):
        kind = NetworkType.OVERLAY
    return NetworkAttachmentDefinition(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        config=config,
        type=kind,
        bridge=bridge,
        vid=vid,
        trunk=trunk,
        mtu=mtu,
        place=table.path if table is not None else PLACE,
    )


def _plugins(config: dict[str, Any], report: Report) -> Iterator[Table]:
    """The configuration itself, or each one of a list (CNI, section 1)."""
    top = Table(_folded(config), PLACE, report)
    listed = top.get("plugins")
    if listed is not None and listed.value == []:
        listed.wrong("required", "is an empty list", "one plugin at least, such as {type: bridge, …}")
    for table in (item.table() for item in listed.items("a list of plugins")) if listed else [top]:
        if table is not None:
            plugin = Table(_folded(table.value), table.path, report)
            plugin.text("type", required=listed is not None, hint="the name of a CNI plugin")
            yield plugin


def with_mtu(nad: NetworkAttachmentDefinition, mtu: int) -> dict[str, Any]:
    """The configuration with another MTU for its bridge network."""
    if nad.place == PLACE:
        return {**nad.config, "mtu": mtu}
    number = int(nad.place.rpartition("[")[2].rstrip("]"))
    return {
        key: [{**one, "mtu": mtu} if i == number else one for i, one in enumerate(value)]
        if key.lower() == "plugins"
        else value
        for key, value in nad.config.items()
    }


def _is_bridge(plugin: Table, *, alone: bool) -> bool:
    """Harvester takes a configuration without a type for one of `bridge`."""
    return plugin.value.get("type") in (*BRIDGE_TYPES, *(("", None) if alone else ()))


def _folded(config: Mapping[str, Any]) -> dict[str, Any]:
    """Known keys in their right case; of several that differ in case only, the last one counts."""
    return {_BY_FOLDED.get(key.lower(), key): value for key, value in config.items()}


def _bridge(table: Table) -> str:
    """Any name: one that does not end in -br is of no cluster network."""
    if "bridge" not in table and table.value.get("type") in BRIDGE_TYPES:
        return _DEFAULT_BRIDGE
    name = table.text("bridge", required=True, hint="the bridge of a cluster network, such as oob-br")
    return (table["bridge"].parsed(parse_ifname, "bridge-name", "<cluster network>-br") or "") if name else ""


def _type(vid: int, trunk: VidSet, listed: Field | None) -> NetworkType:
    if listed and listed.value and vid:
        listed.wrong("trunk-and-vlan", f"cannot be given together with vlan ({vid})", "remove one of them")
    if vid:
        return NetworkType.VLAN
    return NetworkType.TRUNK if trunk else NetworkType.UNTAGGED


def _trunk(field: Field) -> VidSet:
    vids = VidSet()
    for item in field.items("a list of VLAN ids and ranges"):
        vids |= _trunk_item(item)
    return vids


def _trunk_item(item: Field) -> VidSet:
    """`{minID, maxID}`, `{id}` or both in one."""
    if item.value is None:
        return VidSet()  # Harvester lets a null pass
    table = item.table()
    if table is None:
        return VidSet()
    table = Table({_TRUNK_KEYS.get(k.lower(), k): v for k, v in table.value.items()}, item.path, item.report)
    low, high, single = (_vid(table, key) for key in _TRUNK_KEYS.values())
    given = {key: key in table for key in _TRUNK_KEYS.values()}
    if not any(given.values()):
        item.wrong("trunk-empty", "has no VLAN id", "give {id: 100}, or {minID: 100, maxID: 199}")
    if given["minID"] != given["maxID"]:
        alone, missing = ("minID", "maxID") if given["minID"] else ("maxID", "minID")
        item.wrong("trunk-range", f"has {alone} and no {missing}", f"add {missing}, or use id for a single VLAN")
    vids = VidSet.of([single] if single else [])
    if low and high and low > high:
        item.wrong("trunk-range", f"minID {low} is greater than maxID {high}", f"write minID {high}, maxID {low}")
    elif low and high:
        vids |= VidSet.span(low, high)
    return vids


_TRUNK_KEYS = {"minid": "minID", "maxid": "maxID", "id": "id"}


def _vid(table: Table, key: str) -> int | None:
    return table.integer(key, VID_MIN, VID_MAX, code="vid-range", hint=f"a VLAN id is {VID_MIN}..{VID_MAX}")


def write(nad: NetworkAttachmentDefinition) -> dict[str, Any]:
    """The configuration as it was decoded; one that was built in code is written from the fields."""
    config = dict(nad.config) or _config(nad)
    return {"config": json.dumps(config)}


def _config(nad: NetworkAttachmentDefinition) -> dict[str, Any]:
    config: dict[str, Any] = {"cniVersion": "0.3.1", "name": nad.name, "type": "bridge", "bridge": nad.bridge}
    if nad.type is NetworkType.OVERLAY:
        return {"type": "kube-ovn", "provider": f"{nad.name}.{nad.meta.namespace}.ovn"}
    if nad.mtu:
        config["mtu"] = nad.mtu
    if nad.vid:
        config["vlan"] = nad.vid
    if nad.trunk:
        config["vlanTrunk"] = [{"id": a} if a == b else {"minID": a, "maxID": b} for a, b in nad.trunk.ranges()]
    return config | {"promiscMode": True, "ipam": {}}
