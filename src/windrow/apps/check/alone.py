"""A check without an agent: this process sends, hears, and tells what it knows, until it has the time or the answer."""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from windrow.apps.check.driver import Driver
from windrow.apps.check.intent import Intent
from windrow.apps.check.prober import CALL_PAUSE_S, Habits, Prober
from windrow.apps.check.sensing import Sensing
from windrow.apps.check.sweep import longest_s
from windrow.apps.check.told import Told, is_faulty, loses_a_share, loses_long_ones, misses_a_flow, rows_of
from windrow.frames.probe import Run, Secret
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence
from windrow.model.problems import WindrowError
from windrow.model.values import VidSet
from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.render.vlanmatrix import Row
from windrow.store.checkkey import read_key
from windrow.store.paths import Paths

PAUSE_S = 4.0
"""From the end of a sweep to the next: others have told by then what they heard of it."""
LEAST_S = 15.0
"""An agent that is asked for a sweep may have made one just now (`prober.CALL_PAUSE_S`)."""
JUDGED_S = 1.5
"""From the end of a sweep to the first and to the second look at what came of it: what a report did not have yet is in
the next one (`prober.REPORT_PAUSE_S`)."""
TICK_S = 0.2
SLOWEST = 3
"""So many times as long as usual it is waited for two sweeps, on a host that is busy."""
SWEEPS = 2
"""Of the first one the others know after it; in the second they are asked one by one, and with long frames."""


class BusyError(WindrowError):
    """Another process of this node probes."""


def new_run() -> Run:
    return Run(started=int(time.time() * 1000), nonce=secrets.randbits(64) or 1)


def secret_of(paths: Paths, intent: Intent) -> Secret:
    """With the key of this cluster, or without one. Raises StoreError."""
    key = read_key(paths)
    return Secret.of_key(key) if key is not None else Secret.derived(intent.cluster_networks)


def usual_s(intent: Intent) -> float:
    """How long it takes by itself: two sweeps, the second also of what the first found, and what the others tell."""
    return max(LEAST_S, 2 * (longest_s(intent.networks) + PAUSE_S) + 2.0)


@contextmanager
def probing(paths: Paths, intent: Intent) -> Iterator[Driver]:
    """Raises KernelError, StoreError."""
    with only_one(paths):
        yield from _probing(paths, intent)


@contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Two processes of one node would be taken for a node that starts again and again. Raises KernelError."""
    try:
        with locked(paths.check_lock, timeout_s=0):
            yield
    except KernelError as error:
        if error.errno != errno.EAGAIN:
            raise
        raise BusyError(f"another process of this node probes: it holds {paths.check_lock}") from error


def _probing(paths: Paths, intent: Intent) -> Iterator[Driver]:
    habits = Habits(interval_s=longest_s(intent.networks) + PAUSE_S, calls=True)
    sensing = Sensing(intent.node, paths.dhcp_asked, time.monotonic)
    driver = Driver(intent, secret_of(paths, intent), new_run(), habits, sensing=sensing)
    try:
        yield driver
    finally:
        driver.close()


def wanted_of(intent: Intent) -> dict[str, VidSet]:
    return {network.name: network.vids for network in intent.networks}


def told_by(prober: Prober, intent: Intent, *, now: float, clock: float, alone: bool = False) -> Told:
    """`alone`: without what others told."""
    if alone:
        own = {intent.node: prober.node_evidence(now, clock)}
        evidence = Evidence(nodes=own, silent=prober.silent, relayed=prober.relayed(now))
    else:
        evidence = prober.evidence(now, clock)
    return Told(
        node=intent.node,
        at=clock,
        evidence=evidence,
        wanted=wanted_of(intent),
        authenticated=evidence.nodes[intent.node].authenticated,
        sweeps=prober.sweeps,
        under_way=prober.under_way,
        answered=prober.answered,
        frames=prober.frames,
    )


class Locator:
    """After each sweep, once the others have told what they heard of it: is something missing, is a share lost, or all
    that one sent to a channel, or do long frames not pass? Then all sweep with all legs. Where not all tell, or they
    did not sweep at the same time, it has to be so still a moment later."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._sweep = 0
        self._ended = 0.0
        self._at: float | None = None
        self._doubts = False
        self.settled = False
        """Whether the last table is all there is to know: nothing is missing in it, or the place was looked for."""
        self.of_one_moment = False
        """Whether all that it was made of is: what one node has seen of a fault all have."""

    def look(self, intent: Intent, cluster: Cluster, now: float, clock: float) -> tuple[Row, ...] | None:
        """The table, where there was something to judge."""
        if self._prober.sweeps > self._sweep and not self._prober.under_way:
            self._sweep, self._ended, self._at, self._doubts = self._prober.sweeps, now, now + JUDGED_S, False
        if self._at is None:
            return None
        agreed = self._prober.agreed
        if now < self._at and not agreed:
            return None
        seen = self._prober.seen(now, clock)
        found = rows_of(seen, intent.node, wanted_of(intent), self._prober.silent, cluster)
        faulty = is_faulty(found) or loses_long_ones(seen) or loses_a_share(seen) or misses_a_flow(seen)
        if faulty and not agreed and self._waits(now):
            self._at, self._doubts = now + JUDGED_S, True
            return None
        self._at = None
        self.of_one_moment = agreed
        self.settled = not faulty or self._prober.locates
        self._prober.locate(faulty, now)
        return found

    def _waits(self, now: float) -> bool:
        """For a second look; and where all legs were looked at, for those that answer a call later."""
        return not self._doubts or (self._prober.locates and now < self._ended + CALL_PAUSE_S)


def check(driver: Driver, intent: Intent, cluster: Cluster, seconds: float | None) -> Told:
    """Probes for so many seconds; None: for as long as it needs, which is less where all is well early. What is known
    in the end, or, where the nodes are in the middle of another sweep then, what they had agreed on before: halves of
    two sweeps look like faults."""
    begun = time.monotonic()
    usual = seconds if seconds is not None else usual_s(intent)
    end = begun + (usual if seconds is not None else SLOWEST * usual)
    locator, early = Locator(driver.prober), True
    agreed: Told | None = None
    news = -1
    while (now := time.monotonic()) < end:
        done = driver.prober.sweeps >= SWEEPS and not driver.prober.under_way and locator.settled
        if now >= begun + usual and done and not early:
            break
        driver.step(min(TICK_S, end - now))
        if not early and driver.prober.news != news and driver.prober.agreed:
            agreed, news = _told_now(driver, intent), driver.prober.news
        found = locator.look(intent, cluster, time.monotonic(), time.time())
        if found is not None:
            states = {state for row in found for state in row.cells.values()}
            early = driver.prober.hears and any(state.unknown for state in states)
            well = (
                locator.settled and driver.prober.answered and not any(state.bad or state.unknown for state in states)
            )
            if seconds is None and well and driver.prober.sweeps >= SWEEPS:
                return _told_now(driver, intent)
    return agreed if agreed is not None and not driver.prober.agreed else _told_now(driver, intent)


def _told_now(driver: Driver, intent: Intent) -> Told:
    return told_by(driver.prober, intent, now=time.monotonic(), clock=time.time())
