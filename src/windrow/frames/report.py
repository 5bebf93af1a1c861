"""What a node knows, as bytes that travel in the chunks of probe frames: JSON, compressed, of bounded length."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

from windrow.frames.probe import BODY_MAX, Chunk
from windrow.model.evidence import Absent, Kind, NodeEvidence
from windrow.model.lazy import dataclass
from windrow.model.wire.evidence import HeardRow, Unfolded, node_document, read_node_rows

CHUNKS_MAX = 64
PACKED_MAX = CHUNKS_MAX * BODY_MAX
UNPACKED_MAX = 1 << 20
"""A few bytes can be made of many zeros: so much of it is looked at (zlib.decompressobj, `max_length`)."""
_LEVEL = 6


def pack(evidence: NodeEvidence) -> bytes:
    """At most PACKED_MAX bytes: what does not fit is left out, and said to be."""
    for smaller in (evidence, replace(evidence, vlans=()), _without_heard(evidence), _bare(evidence)):
        text = json.dumps(node_document(smaller), separators=(",", ":")).encode()
        packed = zlib.compress(text, _LEVEL)
        if len(packed) <= PACKED_MAX and len(text) <= UNPACKED_MAX:
            return packed
    raise AssertionError("a report of nothing is small")


def _without_heard(evidence: NodeEvidence) -> NodeEvidence:
    reason = "it heard so many different things that they do not fit into a report"
    absent = (Absent(kind=Kind.PROBE, reason=reason), *evidence.absent)
    return replace(evidence, vlans=(), heard=(), absent=absent[:100])


def _bare(evidence: NodeEvidence) -> NodeEvidence:
    reason = "what it knows does not fit into a report; ask it itself"
    return NodeEvidence(node=evidence.node, at=evidence.at, absent=(Absent(kind=Kind.PROBE, reason=reason),))


def unpack(data: bytes, node: str) -> NodeEvidence | None:
    """What `node` told; None for what is no report of it."""
    found = unpack_rows(data, node)
    if found is None:
        return None
    told, rows = found
    return replace(told, heard=Unfolded(rows))


def unpack_rows(data: bytes, node: str) -> tuple[NodeEvidence, tuple[HeardRow, ...]] | None:
    """The same, with what was heard as rows beside it."""
    try:
        reader = zlib.decompressobj()
        text = reader.decompress(data, UNPACKED_MAX)
        if reader.unconsumed_tail or not reader.eof:
            return None
        found, rows = read_node_rows(json.loads(text, parse_constant=_no_number))
    except (zlib.error, ValueError, RecursionError):
        return None
    return (found, rows) if found.node == node else None


def text_of(data: bytes) -> str:
    """The JSON of a report that was unpacked before."""
    return zlib.decompress(data).decode()


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def chunks(report: int, packed: bytes) -> tuple[Chunk, ...]:
    """At least one."""
    parts = [packed[at : at + BODY_MAX] for at in range(0, len(packed), BODY_MAX)] or [b""]
    return tuple(Chunk(report, number, len(parts), part) for number, part in enumerate(parts))


@dataclass(frozen=True, slots=True)
class Assembly:
    """A report that comes in piece by piece. One newer than it takes its place, an older one is left."""

    report: int = -1
    of: int = 0
    parts: tuple[tuple[int, bytes], ...] = ()

    def plus(self, chunk: Chunk) -> Assembly:
        if chunk.of > CHUNKS_MAX or chunk.report < self.report:
            return self
        if chunk.report > self.report or chunk.of != self.of:
            return Assembly(chunk.report, chunk.of, ((chunk.number, chunk.data),))
        if any(number == chunk.number for number, _ in self.parts):
            return self
        return Assembly(self.report, self.of, (*self.parts, (chunk.number, chunk.data)))

    @property
    def whole(self) -> bytes | None:
        """All of it, once all of it is there."""
        if not self.of or len(self.parts) < self.of:
            return None
        return b"".join(data for _, data in sorted(self.parts))
