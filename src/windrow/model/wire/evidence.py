"""Evidence as a document of plain values, both ways: for the frames in which nodes tell each other, for the agent's
socket, and for `-o json`.

Fields that are as they are by default are left out. Heard probes are many and alike, so they are rows, each for all the
VLANs in which the same was heard. What is read may come from anywhere: it is taken only where every value is of its
kind.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from operator import eq
from typing import Any, Union, get_args, get_origin, get_type_hints

from windrow.model.evidence import Evidence, Heard, Leg, NodeEvidence, Relay
from windrow.model.lazy import dataclass
from windrow.model.values import VID_MAX, IfName, Mac, Vid, VidSet, parse_mac

TEXT_MAX = 2048
"""Characters of one text; LLDP's longest TLV has 511 bytes."""
ENTRIES_MAX = 8192
"""Of one list or table."""
HEARD_MAX = 300_000
"""Probes of one node: 64 nodes with 4,094 VLANs on one leg each."""
INT_MAX = 1 << 64

Reader = Callable[[Any], Any]


def node_document(evidence: NodeEvidence) -> dict[str, Any]:
    """What one node knows."""
    found = _document(replace(evidence, heard=()))
    assert isinstance(found, dict)
    if evidence.heard:
        found["heard"] = _rows(evidence.heard)
    return found


def read_node(document: object) -> NodeEvidence:
    """The inverse. Raises ValueError."""
    found, rows = read_node_rows(document)
    return replace(found, heard=Unfolded(rows))


def read_node_rows(document: object) -> tuple[NodeEvidence, tuple[HeardRow, ...]]:
    """The same, and what was heard as rows beside it, for whoever needs no more. Raises ValueError."""
    if not isinstance(document, dict):
        raise ValueError("not the evidence of a node")
    rest = {key: value for key, value in document.items() if key != "heard"}
    found = _reader(NodeEvidence)(rest)
    assert isinstance(found, NodeEvidence)
    return found, tuple(_read_rows(document.get("heard", []), found.node))


def evidence_document(evidence: Evidence) -> dict[str, Any]:
    """What is known of all nodes."""
    return {
        "nodes": {name: node_document(node) for name, node in sorted(evidence.nodes.items())},
        "silent": sorted(evidence.silent),
        **({"relayed": relayed_document(evidence.relayed)} if evidence.relayed else {}),
    }


def relayed_document(relayed: Mapping[str, Relay]) -> dict[str, Any]:
    return {name: _document(relay) for name, relay in sorted(relayed.items())}


def read_evidence(document: object) -> Evidence:
    """The inverse. Raises ValueError."""
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), dict):
        raise ValueError("not evidence")
    nodes = {str(name): read_node(node) for name, node in document["nodes"].items()}
    return Evidence(
        nodes=nodes,
        silent=frozenset(_reader(tuple[str, ...])(document.get("silent", []))),
        relayed=_reader(Mapping[str, Relay])(document.get("relayed", {})),
    )


# Heard --------------------------------------------------------------------------------------------

_COUNTS = ("sent", "count", "broadcast", "unicast", "duplicates", "largest", "largest_sent", "sweep")
AS_SENT = -1
"""In a row, in the place of the tag on arrival: it is that of the sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardRow:
    """The same heard in several VLANs: of thousands it is one value, where `Heard` is thousands."""

    sender: Leg
    receiver: Leg
    vids: VidSet
    arrived: int
    """AS_SENT, or the tag."""
    counts: tuple[int, ...]
    """Of `_COUNTS`."""
    at: float

    @property
    def sent(self) -> int:
        return self.counts[0]

    @property
    def lost(self) -> int:
        """In each of the VLANs."""
        return max(0, self.counts[0] - self.counts[1])

    @property
    def broadcast(self) -> int:
        return self.counts[2]

    @property
    def largest(self) -> int:
        return self.counts[5]

    @property
    def largest_sent(self) -> int:
        return self.counts[6]

    @property
    def sweep(self) -> int:
        return self.counts[7]

    def each(self) -> Iterator[Heard]:
        numbers = dict(zip(_COUNTS, self.counts, strict=True))
        for vid in self.vids:
            tag = vid if self.arrived == AS_SENT else self.arrived
            yield Heard(sender=self.sender, receiver=self.receiver, vid=vid, arrived=tag, at=self.at, **numbers)


class Unfolded(Sequence[Heard]):
    """What rows say, one by one: each is made as it is asked for, and kept by nobody. Of 32 nodes with 200 VLANs and
    two NICs each it would be 400,000 values, 54 MB."""

    __slots__ = ("rows",)

    def __init__(self, rows: Iterable[HeardRow]) -> None:
        self.rows = tuple(rows)

    def __iter__(self) -> Iterator[Heard]:
        for row in self.rows:
            yield from row.each()

    def __len__(self) -> int:
        return sum(len(row.vids) for row in self.rows)

    def __getitem__(self, at: Any) -> Any:
        return tuple(self)[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def heard_rows(heard: Iterable[Heard]) -> tuple[HeardRow, ...]:
    if isinstance(heard, Unfolded):
        return heard.rows
    together: dict[tuple[Leg, Leg, int, tuple[int, ...], float], int] = {}
    for one in heard:
        arrived = AS_SENT if one.arrived == one.vid else one.arrived
        counts = (
            one.sent,
            one.count,
            one.broadcast,
            one.unicast,
            one.duplicates,
            one.largest,
            one.largest_sent,
            one.sweep,
        )
        key = (one.sender, one.receiver, arrived, counts, one.at)
        together[key] = together.get(key, 0) | 1 << one.vid
    return tuple(
        HeardRow(sender=sender, receiver=receiver, vids=VidSet(bits), arrived=arrived, counts=counts, at=at)
        for (sender, receiver, arrived, counts, at), bits in together.items()
    )


def _rows(heard: Iterable[Heard]) -> list[list[Any]]:
    """[node and NIC that sent, NIC that received, VLANs, tag on arrival, counts …, when]"""
    return [
        [row.sender.node, row.sender.nic, row.receiver.nic, str(row.vids), row.arrived, *row.counts, row.at]
        for row in heard_rows(heard)
    ]


def _read_rows(rows: object, node: str) -> Iterator[HeardRow]:
    total = 0
    for row in _list(rows):
        if not isinstance(row, list) or len(row) != 6 + len(_COUNTS):
            raise ValueError("not a row of probes that were heard")
        sender, nic, receiver, vids, arrived, *counts, at = row
        there = VidSet.parse(_text(vids))
        total += len(there)
        if total > HEARD_MAX or not (arrived == AS_SENT or _count(arrived) <= VID_MAX):
            raise ValueError("more was heard than can be")
        yield HeardRow(
            sender=Leg(_text(sender), IfName(_text(nic))),
            receiver=Leg(node, IfName(_text(receiver))),
            vids=there,
            arrived=_int(arrived),
            counts=tuple(map(_count, counts)),
            at=_number(at),
        )


# Any value ----------------------------------------------------------------------------------------


def _document(value: Any) -> Any:
    match value:
        case VidSet():
            return str(value)
        case StrEnum():
            return value.value
        case Mapping():
            return {str(key): _document(one) for key, one in value.items()}
        case frozenset():
            return sorted(_document(one) for one in value)
        case tuple():
            return [_document(one) for one in value]
        case _ if is_dataclass(value):
            told = {f.name: getattr(value, f.name) for f in fields(value)}
            return {name: _document(one) for name, one in told.items() if not _is_default(type(value), name, one)}
        case _:
            return value


def _is_default(cls: type, name: str, value: object) -> bool:
    field = _fields(cls)[name]
    if field.default_factory is not MISSING:
        return bool(value == field.default_factory())
    return field.default is not MISSING and bool(value == field.default)


@cache
def _fields(cls: type) -> dict[str, Any]:
    return {field.name: field for field in fields(cls)}


@cache
def _reader(kind: Any) -> Reader:
    """Reads a value of this type; what it makes raises ValueError for all else."""
    if (plain := _PLAIN.get(kind)) is not None:
        return plain
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = _reader(next(arg for arg in args if arg is not type(None)))
        return lambda data: None if data is None else inner(data)
    if origin in (tuple, frozenset, Sequence):
        each, made = _reader(args[0]), frozenset if origin is frozenset else tuple
        return lambda data: made(each(one) for one in _list(data))
    if origin is not None and issubclass(origin, Mapping):
        key, each = _key(args[0]), _reader(args[1])
        return lambda data: {key(name): each(one) for name, one in _table(data).items()}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return lambda data: kind(_text(data))
    if is_dataclass(kind):
        return lambda data: _value(kind, data)
    raise TypeError(f"evidence has no {kind}")


def _value(cls: Any, data: object) -> Any:
    hints, given = _hints(cls), _table(data)
    if not given.keys() <= hints.keys():
        raise ValueError(f"{cls.__name__} has no {', '.join(sorted(given.keys() - hints.keys()))}")
    try:
        return cls(**{name: _reader(hints[name])(one) for name, one in given.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: something is missing") from error


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _key(kind: Any) -> Reader:
    """Of a table: in a document every key is a text."""
    reader = _reader(kind)
    return (lambda text: reader(int(text))) if kind in (int, Vid) else reader


def _list(data: object) -> list[Any]:
    if not isinstance(data, list) or len(data) > ENTRIES_MAX:
        raise ValueError("not a list, or too long")
    return data


def _table(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or len(data) > ENTRIES_MAX:
        raise ValueError("not a table, or too long")
    return data


def _text(data: object) -> str:
    if not isinstance(data, str) or len(data) > TEXT_MAX:
        raise ValueError("not a text, or too long")
    return data


def _count(data: object) -> int:
    if isinstance(data, bool) or not isinstance(data, int) or not 0 <= data < INT_MAX:
        raise ValueError("not a count")
    return data


def _int(data: object) -> int:
    if isinstance(data, bool) or not isinstance(data, int) or abs(data) >= INT_MAX:
        raise ValueError("not a number")
    return data


def _number(data: object) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float) or not abs(data) < 1e15:
        raise ValueError("not a number")
    return float(data)


def _flag(data: object) -> bool:
    if not isinstance(data, bool):
        raise ValueError("neither true nor false")
    return data


def _vid(data: object) -> Vid:
    if (found := _count(data)) > VID_MAX:
        raise ValueError("not a VLAN id")
    return Vid(found)


_PLAIN: dict[Any, Reader] = {
    str: _text,
    int: _int,
    float: _number,
    bool: _flag,
    IfName: lambda data: IfName(_text(data)),
    Mac: lambda data: parse_mac(_text(data)),
    Vid: _vid,
    VidSet: lambda data: VidSet.parse(_text(data)),
}
