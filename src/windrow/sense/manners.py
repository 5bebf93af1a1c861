"""When a VLAN was last asked for its DHCP servers: one DISCOVER costs a server an address for a while, so that nobody
asks twice within five minutes, neither one process again and again nor one process after the other."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from windrow.model.evidence import DhcpOffer
from windrow.store import records

DHCP_PAUSE_S = 300.0
_MOST = 4096

Place = tuple[str, int]
"""A cluster network and a VID."""


class Manners:
    """Times are Unix seconds, since another process reads them. One that lies in the future is of a clock that was set
    back, and counts as now. `file` None: they are forgotten with this object."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._asked: dict[Place, float] = {}
        self._offers: dict[Place, tuple[DhcpOffer, ...]] = {}
        if file is not None:
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                document = json.loads(file.read_text())
                records.understand(document)
                for name, at in document["asked"].items():
                    network, _, vid = name.rpartition("/")
                    self._asked[network, int(vid)] = float(at)

    def wait_s(self, place: Place, clock: float) -> float:
        """For how long it may not be asked; 0: it may be now."""
        at = self._asked.get(place)
        if at is None:
            return 0.0
        if at > clock:
            self._asked[place] = at = clock
        return max(0.0, at + DHCP_PAUSE_S - clock)

    def asked(self, place: Place, clock: float) -> None:
        self._asked[place] = clock
        self._offers.pop(place, None)
        self._asked = {p: at for p, at in self._asked.items() if clock - at < DHCP_PAUSE_S}
        if self._file is not None and len(self._asked) <= _MOST:
            with suppress(OSError):  # a disk that is full or read-only: this process still knows
                records.make_directory(self._file.parent, records.SHARED_DIRECTORY)
                told = {f"{network}/{vid}": at for (network, vid), at in self._asked.items()}
                records.write(
                    self._file,
                    json.dumps(records.stamped({"asked": told})).encode(),
                    mode=records.PRIVATE,
                    flush="nothing",
                )

    def heard(self, place: Place, offers: Sequence[DhcpOffer]) -> None:
        self._offers[place] = tuple(offers)

    def known(self, place: Place) -> tuple[DhcpOffer, ...] | None:
        """What came of the last question; None: another process asked it, or its time is not over."""
        return self._offers.get(place)

    def transaction(self) -> int:
        """By which an answer is known as one to us."""
        return secrets.randbits(32) or 1
