"""What an agent is told of probing. All of it is in its command line: a network that must not be probed is so whatever
becomes of manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from windrow.model.lazy import dataclass
from windrow.model.values import VidSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`interval_s`: from the begin of a sweep to that of the next. `skipped`: cluster network, or "" for all -> VLANs
    that no probe is sent into; VID 0 is what has no tag."""

    interval_s: float
    skipped: Mapping[str, VidSet] = field(default_factory=dict)


def parse_skipped(words: Iterable[str]) -> dict[str, VidSet]:
    """`100-110,200` of every cluster network, `oob:100-110` of one. Raises ValueError."""
    found: dict[str, VidSet] = {}
    for word in words:
        network, colon, vids = word.rpartition(":")
        if (colon and not network) or not vids:
            raise ValueError(f"{word!r} is not a set of VLANs such as 100-110,200 or oob:100-110")
        found[network] = found.get(network, VidSet()) | VidSet.parse(vids)
    return found
