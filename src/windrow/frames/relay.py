"""Reports of others, passed on: the payloads of their frames as they came, so that whose they are can be checked by
whoever gets them.

Each report: milliseconds since it came in (4 bytes), how many frames (1), and each frame with its length (2) before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from struct import error as struct_error

from windrow.frames.probe import BODY_MAX, Kind, Probe, Secret, decode
from windrow.frames.report import CHUNKS_MAX, Assembly
from windrow.model.lazy import dataclass

REPORTS_MAX = 8
"""Of so many nodes at most a node passes reports on."""
RELAY_MAX = CHUNKS_MAX // 2 * BODY_MAX
_HEAD, _LENGTH = Struct("!IB"), Struct("!H")
_AGE_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report as its node signed it. `age_s`: since it came in at the node that passes it on."""

    frames: tuple[bytes, ...]
    age_s: float


def pack(reports: Iterable[Report]) -> bytes:
    """At most RELAY_MAX bytes, of REPORTS_MAX reports: those that do not fit are left out."""
    found = b""
    for report in list(reports)[:REPORTS_MAX]:
        head = _HEAD.pack(min(int(report.age_s * 1000), _AGE_MAX), len(report.frames))
        whole = head + b"".join(_LENGTH.pack(len(frame)) + frame for frame in report.frames)
        if len(found) + len(whole) <= RELAY_MAX:
            found += whole
    return found


def unpack(data: bytes) -> tuple[Report, ...]:
    """The inverse; what is cut or too much is left out."""
    found: list[Report] = []
    at = 0
    try:
        while at < len(data) and len(found) < REPORTS_MAX:
            age, count = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            frames = []
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(data, at)
                at += _LENGTH.size + length
                frames.append(data[at - length : at])
            if at <= len(data):
                found.append(Report(frames=tuple(frames), age_s=age / 1000))
    except struct_error:
        pass
    return tuple(found)


def read(report: Report, secret: Secret) -> tuple[Probe, bytes] | None:
    """The first frame of it, and all that it says; None where a signature is wrong, or a part is of another report."""
    probes: list[Probe] = []
    for frame in report.frames:
        probe = decode(frame, secret)
        if not isinstance(probe, Probe) or probe.kind is not Kind.REPORT:
            return None
        probes.append(probe)
    whole = _joined(probes)
    return None if whole is None else (probes[0], whole)


def _joined(probes: Sequence[Probe]) -> bytes | None:
    found = Assembly()
    for probe in probes:
        first = probes[0]
        if probe.chunk is None or (probe.sender.node, probe.run) != (first.sender.node, first.run):
            return None
        found = found.plus(probe.chunk)
    return found.whole
