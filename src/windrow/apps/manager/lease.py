"""Whose turn it is: a Lease (coordination.k8s.io/v1) that one replica holds and the others wait for.

As client-go does it (tools/leaderelection): nobody's clock is compared with another one's. A record that has not
changed for its duration, by the clock of whoever looks at it, has no holder any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from windrow.kube.api import CONFLICT, Ask, read_one
from windrow.kube.errors import KubeError

LEASE_S, RENEW, AGAIN = 15, 2 / 3, 2 / 15
"""A record holds so long; its holder stops so much of that after it last began to renew it, and tries so often: 10 and
2 seconds. client-go's."""
RELEASED_S = 1
GROUP = "coordination.k8s.io/v1"

Document = Mapping[str, Any]


class Lease:
    """`place`: namespace and name. `identity`: ours, of nobody else. `seconds`: for how long a record holds."""

    def __init__(
        self,
        ask: Ask,
        place: tuple[str, str],
        identity: str,
        clock: Callable[[], float] = time.monotonic,
        seconds: int = LEASE_S,
    ) -> None:
        self._ask, self._identity, self._clock, self._seconds = ask, identity, clock, seconds
        self._namespace, self._name = place
        self._all = f"/apis/{GROUP}/namespaces/{self._namespace}/leases"
        self._version = ""
        self._changed = 0.0
        """When the record was first seen as it is."""
        self._until = float("-inf")

    @property
    def left_s(self) -> float:
        """So long it is ours yet; not at all: 0 or less."""
        return self._until - self._clock()

    @property
    def again_s(self) -> float:
        """So long until the next turn."""
        return self._seconds * AGAIN

    async def turn(self) -> bool:
        """Take it, or renew it. Whether it is ours now. Raises KubeError: then it is ours as long as it was."""
        began = self._clock()
        record = await self._read()
        if record is not None and self._is_anothers(record):
            self._until = float("-inf")
            return False
        try:
            stored = await self._write(record, self._identity, self._seconds)
        except KubeError as error:
            if error.code != CONFLICT:
                raise
            self._until = float("-inf")  # another one was faster; the next turn says who
            return False
        self._see(stored)
        # Others count from when they see it, which is later than now.
        self._until = began + self._seconds * RENEW
        return True

    async def release(self) -> None:
        """Whoever waits need not wait for its end. Raises KubeError."""
        if self.left_s <= 0:
            return
        self._until = float("-inf")
        record = await self._read()
        if record is not None and _holder(record) == self._identity:
            await self._write(record, "", RELEASED_S)

    async def _read(self) -> dict[str, Any] | None:
        return await read_one(self._ask, f"{self._all}/{self._name}")

    def _is_anothers(self, record: Document) -> bool:
        self._see(record)
        holder = _holder(record)
        return holder not in ("", self._identity) and self._clock() < self._changed + _duration(record)

    def _see(self, record: Document) -> None:
        version = str(record["metadata"].get("resourceVersion", ""))
        if version != self._version:
            self._version, self._changed = version, self._clock()

    async def _write(self, record: Document | None, holder: str, seconds: int) -> dict[str, Any]:
        old = (record or {}).get("spec") or {}
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        mine = old.get("holderIdentity") == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            # For people: nobody judges by them.
            "acquireTime": old.get("acquireTime") or now if mine else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (not mine and record is not None),
        }
        document = {
            "apiVersion": GROUP,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        if record is None:
            return await self._ask("POST", self._all, document)
        document["metadata"] = record["metadata"]  # with its version: only while it is as it was read
        return await self._ask("PUT", f"{self._all}/{self._name}", document)


class Leases:
    """Several, and it is our turn where all are ours. Whoever has the first waits for the next one; everybody takes
    them in the same order, so that no two wait for each other."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self._leases = tuple(leases)

    @property
    def left_s(self) -> float:
        return min(one.left_s for one in self._leases)

    @property
    def again_s(self) -> float:
        return min(one.again_s for one in self._leases)

    async def turn(self) -> bool:
        """As a Lease's own. Raises KubeError."""
        for one in self._leases:
            if not await one.turn():
                return False
        return True

    async def release(self) -> None:
        """Raises KubeError."""
        for one in reversed(self._leases):
            await one.release()


async def holder(ask: Ask, place: tuple[str, str]) -> str:
    """Who is written down as the holder; empty: nobody. Raises KubeError."""
    record = await Lease(ask, place, "")._read()
    return _holder(record) if record is not None else ""


def _holder(record: Document) -> str:
    return str((record.get("spec") or {}).get("holderIdentity") or "")


def _duration(record: Document) -> float:
    """Of a record that says nothing useful, ours."""
    said = (record.get("spec") or {}).get("leaseDurationSeconds")
    return float(said) if isinstance(said, int) and 0 < said <= 3600 else float(LEASE_S)
