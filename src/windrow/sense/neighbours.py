"""Who is at the other end of each NIC, for as long as he wants to be remembered (IEEE 802.1AB §9.2.7.7, TTL)."""

from __future__ import annotations

from collections.abc import Mapping

from windrow.frames.lldp import Gone
from windrow.model.evidence import Identity, Kind, SwitchPort
from windrow.model.values import IfName

MOST = 32
"""Neighbours of one NIC. Who was there first stays: a flood of forged ones drives nobody out."""

_Key = tuple[Kind, Identity, Identity]


class Neighbours:
    """Times are monotonic seconds, so that a clock that is set changes nothing."""

    def __init__(self) -> None:
        self._there: dict[IfName, dict[_Key, tuple[SwitchPort, float]]] = {}
        self._refused: dict[IfName, int] = {}

    @property
    def refused(self) -> Mapping[IfName, int]:
        """How many frames of others than the first `MOST` came in."""
        return self._refused

    def hear(self, nic: IfName, said: SwitchPort | Gone, kind: Kind, now: float) -> None:
        there = self._there.setdefault(nic, {})
        key = (kind, said.chassis, said.port)
        if isinstance(said, Gone):
            there.pop(key, None)
            return
        if key not in there and len(there) >= MOST:
            self._forget(there, now)
        if key in there or len(there) < MOST:
            there[key] = (said, now + said.hold_s)
        else:
            self._refused[nic] = self._refused.get(nic, 0) + 1

    def of(self, nic: IfName, now: float) -> tuple[SwitchPort, ...]:
        """In the order in which they came."""
        there = self._there.get(nic, {})
        self._forget(there, now)
        return tuple(port for port, _ in there.values())

    def drop(self, nic: IfName) -> None:
        """Its cable is out, or the NIC is gone: somebody else may be plugged in next."""
        self._there.pop(nic, None)
        self._refused.pop(nic, None)

    def _forget(self, there: dict[_Key, tuple[SwitchPort, float]], now: float) -> None:
        for key in [key for key, (_, until) in there.items() if until <= now]:
            del there[key]
