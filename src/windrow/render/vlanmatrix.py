"""Who passes frames in which VLAN: a cell for each node and VLAN, from what all nodes heard of each other.

A cell says what was seen, and no more: whose port or which switch it is, `diagnose` finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import groupby
from typing import Any

from windrow.model.evidence import TOLD_SWEEPS, Evidence, NodeEvidence
from windrow.model.lazy import dataclass
from windrow.model.values import IfName, VidSet
from windrow.model.wire.evidence import AS_SENT, HeardRow, heard_rows
from windrow.render.tables import table
from windrow.render.text import PLAIN, Style, width

GRACE_S = 35.0
"""After carrier has come a port may be quiet for so long: spanning tree without an edge port (IEEE 802.1D §17.14)."""


class State(Enum):
    """What was seen; the number stands in the table, the text below it."""

    PASSES = 0, "passes"
    NOT_THERE = 1, "it hears nobody there and nobody hears it, while others hear each other"
    MUTE = 2, "it hears others there, and nobody hears it"
    DEAF = 3, "others hear it there, and it hears nobody"
    NOBODY = 4, "nobody hears anybody there"
    SOME = 5, "it and a part of the others hear each other, and another part that is well does not"
    ONE_LEG = 6, "it passes by one leg of its uplink, and by another not"
    OTHER_TAG = 7, "its frames arrive with another tag"
    ALONE = 8, "no other node that answers has this VLAN"
    SILENT = 9, "this node has told nothing of what it hears"
    NOT_SENT = 10, "it has sent nothing there"
    TOO_EARLY = 11, "nobody has listened for long enough to tell"

    def __init__(self, number: int, text: str) -> None:
        self.number, self.text = number, text

    @property
    def bad(self) -> bool:
        return self in _BAD

    @property
    def unknown(self) -> bool:
        return self in (State.ALONE, State.SILENT, State.NOT_SENT, State.TOO_EARLY)


_BAD = frozenset({State.NOT_THERE, State.MUTE, State.DEAF, State.NOBODY, State.SOME, State.ONE_LEG, State.OTHER_TAG})

Wanted = Mapping[str, Mapping[str, VidSet]]
"""Node -> cluster network -> the VLANs that are intended for its uplink; VID 0: untagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    cluster_network: str
    node: str
    cells: Mapping[int, State]


Seen = Mapping[str, tuple[NodeEvidence, tuple[HeardRow, ...]]]
"""Node -> what it told, and what it heard as rows; its `heard` is not looked at."""


def seen_of(evidence: Evidence) -> Seen:
    return {name: (node, heard_rows(node.heard)) for name, node in evidence.nodes.items()}


def matrix(seen: Seen, wanted: Wanted) -> tuple[Row, ...]:
    """By cluster network and node."""
    networks = sorted({name for each in wanted.values() for name in each})
    rows: list[Row] = []
    for name in networks:
        view = _View(name, seen, wanted)
        for node in sorted(wanted):
            if vids := wanted[node].get(name):
                rows.append(Row(cluster_network=name, node=node, cells={vid: view.state(node, vid) for vid in vids}))
    return tuple(rows)


class _View:
    """One cluster network. Sets of VLANs are bitmaps."""

    def __init__(self, network: str, seen: Seen, wanted: Wanted) -> None:
        self._wanted = {node: each[network].bits for node, each in wanted.items() if network in each}
        self._told = {node: found for node, (found, _) in seen.items() if node in self._wanted}
        self._nics = {node: _nics_of(found, network) for node, found in self._told.items()}
        self._hears: dict[tuple[str, str], int] = {}
        """(Who hears, whom) -> in which VLANs."""
        self._other_tags: dict[str, int] = {}
        self._on_leg: dict[tuple[str, IfName], int] = {}
        """(Node, NIC) -> the VLANs in which broadcasts of others came in there."""
        self._by_leg: dict[tuple[str, IfName], int] = {}
        """(Node, NIC) -> the VLANs in which others heard it in its last sweep."""
        self._followed: set[tuple[str, str]] = set()
        """(Who, whom): it has heard a whole sweep of the other, in some VLAN."""
        for node in self._told:
            self._add(node, seen[node][1])
        self._works = self._working()
        self._legs = {node: self._weak_legs(node) for node in self._told}
        self._probed = {
            node: _bits(found.probed[nic] for nic in self._nics[node] if nic in found.probed)
            for node, found in self._told.items()
        }

    def _add(self, node: str, rows: Iterable[HeardRow]) -> None:
        for row in rows:
            sender = row.sender
            if sender.node == node or row.receiver.nic not in self._nics[node]:
                continue
            if sender.nic not in self._nics.get(sender.node, ()):
                continue
            self._followed.add((node, sender.node))
            if row.arrived != AS_SENT:
                self._other_tags[sender.node] = self._other_tags.get(sender.node, 0) | row.vids.bits
                continue
            bits, pair = row.vids.bits, (node, sender.node)
            ours, theirs = (node, row.receiver.nic), (sender.node, sender.nic)
            self._hears[pair] = self._hears.get(pair, 0) | bits
            if row.sweep == self._told[sender.node].sweep:
                self._by_leg[theirs] = self._by_leg.get(theirs, 0) | bits
            if row.broadcast:
                self._on_leg[ours] = self._on_leg.get(ours, 0) | bits

    def _working(self) -> dict[str, int]:
        """Node -> the VLANs in which it hears somebody and somebody hears it."""
        hears: dict[str, int] = {}
        is_heard: dict[str, int] = {}
        for (who, whom), bits in self._hears.items():
            hears[who] = hears.get(who, 0) | bits
            is_heard[whom] = is_heard.get(whom, 0) | bits
        return {node: hears.get(node, 0) & is_heard.get(node, 0) for node in self._told}

    def _weak_legs(self, node: str) -> int:
        """The VLANs that one leg passes and another does not, as far as can be told: what others flood comes to every
        leg of a bond that has an active one; where several legs were probed in one sweep, each is heard by somebody."""
        found = self._told[node]
        steady = [nic for nic in self._nics[node] if _is_steady(found, nic)]
        waits = [self._on_leg.get((node, nic), 0) for nic in steady if found.nics[nic].active is not None]
        weak = _union(waits) & ~_intersection(waits) if len(waits) > 1 else 0
        for nic in steady:
            sent = found.probed[nic].bits if nic in found.probed else 0
            others = _union(self._by_leg.get((node, other), 0) for other in steady if other != nic)
            weak |= sent & others & ~self._by_leg.get((node, nic), 0)
        return weak

    def _would_know(self, who: str, whom: str) -> bool:
        """Whether it means something that one does not hear another: it has followed a sweep of the other, or has
        listened for so long that one must have come, and been told of."""
        if (who, whom) in self._followed:
            return True
        sender = self._told[whom]
        return self._told[who].has_waited_for(sender) and sender.sweep >= TOLD_SWEEPS

    def state(self, node: str, vid: int) -> State:
        if node not in self._told:
            return State.SILENT
        bit = 1 << vid
        if not self._probed[node] & bit:
            return State.NOT_SENT
        peers = [other for other in self._told if other != node and self._wanted[other] & self._probed[other] & bit]
        if not peers:
            return State.ALONE
        hears = {peer for peer in peers if self._hears.get((node, peer), 0) & bit}
        is_heard = {peer for peer in peers if self._hears.get((peer, node), 0) & bit}
        if hears and is_heard:
            apart = [
                p
                for p in peers
                if p not in hears | is_heard
                and self._works[p] & bit
                and self._would_know(node, p)
                and self._would_know(p, node)
            ]
            return State.SOME if apart else State.ONE_LEG if self._legs[node] & bit else State.PASSES
        if self._other_tags.get(node, 0) & bit:
            return State.OTHER_TAG
        if not hears and not any(self._would_know(node, peer) for peer in peers):
            return State.TOO_EARLY
        if not is_heard and not any(self._would_know(peer, node) for peer in peers):
            return State.TOO_EARLY
        if hears:
            return State.MUTE
        if is_heard:
            return State.DEAF
        return State.NOT_THERE if any(self._works[peer] & bit for peer in peers) else State.NOBODY


def _nics_of(found: NodeEvidence, network: str) -> tuple[IfName, ...]:
    return tuple(sorted(nic for nic, one in found.nics.items() if one.cluster_network == network))


def _is_steady(found: NodeEvidence, nic: IfName) -> bool:
    one = found.nics[nic]
    return one.carrier and (one.carrier_since is None or found.at - one.carrier_since >= GRACE_S)


def _bits(sets: Iterable[VidSet]) -> int:
    return _union(one.bits for one in sets)


def _union(all_: Iterable[int]) -> int:
    found = 0
    for one in all_:
        found |= one
    return found


def _intersection(all_: Iterable[int]) -> int:
    found = -1
    for one in all_:
        found &= one
    return found


# Shown --------------------------------------------------------------------------------------------


def matrix_text(rows: Iterable[Row], style: Style = PLAIN, columns: int | None = None) -> str:
    """A table for each cluster network, VLANs in which all is alike in one column, and what the numbers mean. One that
    is wider than so many columns of a terminal goes on below."""
    parts: list[str] = []
    seen: set[State] = set()
    for name, group in groupby(rows, key=lambda row: row.cluster_network):
        listed = list(group)
        seen |= {state for row in listed for state in row.cells.values()}
        tables = (_table(listed, vids, style) for vids in _blocks(listed, columns))
        parts.append(f"{style.bold(name)}\n" + "\n".join(tables))
    legend = [f"{state.number}: {state.text}" for state in State if state in seen and state is not State.PASSES]
    return "\n".join(parts) + ("\n" + "\n".join(legend) + "\n" if legend else "")


def _blocks(rows: list[Row], columns: int | None) -> Iterator[list[list[int]]]:
    """The columns of each table, side by side as they fit."""
    first = max(len(_NODE), *(width(row.node) for row in rows))
    block: list[list[int]] = []
    used = first
    for vids in _columns(rows):
        wide = len(_GAP) + len(_heading(vids))
        if block and columns is not None and used + wide > columns:
            yield block
            block, used = [], first
        block.append(vids)
        used += wide
    yield block


_NODE, _GAP = "NODE", "   "


def _table(rows: list[Row], columns: list[list[int]], style: Style) -> str:
    lines = [
        [row.node, *(_mark(row.cells.get(vids[0]), style) for vids in columns)] for row in rows
    ]  # the first of a column stands for all
    return table([_NODE, *map(_heading, columns)], lines, style)


def _columns(rows: list[Row]) -> Iterator[list[int]]:
    vids = sorted({vid for row in rows for vid in row.cells})
    for _, group in groupby(vids, key=lambda vid: (vid == 0, tuple(row.cells.get(vid) for row in rows))):
        yield list(group)


def _heading(vids: list[int]) -> str:
    return "untagged" if vids == [0] else str(VidSet.of(vids))


def _mark(state: State | None, style: Style) -> str:
    if state is None:
        return "-"
    if state is State.PASSES:
        return style.green("✓")
    return (style.yellow if state.unknown else style.red)(str(state.number))


def matrix_value(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """For JSON: VLANs of one state together."""
    return [
        {
            "clusterNetwork": row.cluster_network,
            "node": row.node,
            "vlans": {
                state.name.lower(): str(VidSet.of(vid for vid, found in row.cells.items() if found is state))
                for state in State
                if state in row.cells.values()
            },
        }
        for row in rows
    ]
