"""The agent's probes: a thread of its own, so that neither a plan that waits nor whoever asks over HTTP waits for it.

The worker hands it what is wanted, as values; it hands the face what it knows, as a text, and the worker what is wrong,
as values, and wakes it. Nothing else is shared.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from windrow.apps.agent.http import JSON, Answer
from windrow.apps.agent.log import Log
from windrow.apps.check.alone import PAUSE_S, Locator, new_run, only_one, secret_of, told_by
from windrow.apps.check.driver import Driver
from windrow.apps.check.intent import Intent, intent_of
from windrow.apps.check.prober import Habits, Prober
from windrow.apps.check.sensing import Sensing
from windrow.apps.check.settings import Settings
from windrow.apps.check.sweep import longest_s
from windrow.apps.check.told import text
from windrow.apps.round import Report
from windrow.diagnose import diagnose
from windrow.model.cluster import Cluster, selects_node
from windrow.model.findings import Finding
from windrow.model.objects import VlanConfig
from windrow.model.problems import WindrowError
from windrow.status.findings import Outside, concerning, standing
from windrow.store.paths import Paths

PATIENCE_S = 5.0
TOLD_S = 1.0
"""What is known is written down anew so often at most."""
FAILED_S, FAILED_MAX_S = 5.0, 300.0
NOT_YET = "nothing was probed yet"


@dataclass(slots=True)
class _Desk:
    """What the threads hand each other: values, each written by one of them."""

    report: Report | None = None
    """The last round."""
    asked: bool = False
    """Somebody wants a sweep now."""
    ending: bool = False
    text: str = ""
    """What is known, as it is answered."""
    error: str = ""
    found: tuple[Finding, ...] = ()
    """What the last sweep's evidence gave, told or not yet."""
    outside: Outside = field(default_factory=Outside)


class Checking:
    """From the first `want` on, until it is closed."""

    def __init__(self, paths: Paths, settings: Settings, log: Log) -> None:
        self._paths, self._settings, self._log = paths, settings, log
        self._desk = _Desk()
        self._failures = 0
        self._at_work = threading.Lock()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Can be read when there is something to `take`."""
        self._thread = threading.Thread(target=self._run, name="check", daemon=True)
        self._thread.start()

    # From other threads ---------------------------------------------------------------------------

    def want(self, report: Report) -> None:
        """What a round found: its uplinks and VLANs are probed from now on."""
        self._desk.report = report
        self._rouse()

    def answer(self, query: str) -> Answer:
        """What is known; with `now` a sweep begins, too."""
        if "now" in query.split("&"):
            self._desk.asked = True
            self._rouse()
        text, error = self._desk.text, self._desk.error
        if error or not text:
            return Answer(503, json.dumps({"error": error or NOT_YET}) + "\n", JSON)
        return Answer(200, text, JSON)

    def take(self) -> Outside:
        """What is wrong outside, as of the last sweep."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.news)
        return self._desk.outside

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """The thread holds nothing within the block: the process may be forked."""
        with self._at_work:
            yield

    def close(self) -> None:
        self._desk.ending = True
        self._rouse()
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)
        os.close(self.news)

    def _rouse(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"x")

    # The thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._desk.ending:
            try:
                with only_one(self._paths), contextlib.ExitStack() as held:
                    self._probe(_Life(self._paths, self._settings, self._log, self._desk, self._tell, held))
            except WindrowError as error:
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - the agent's work goes on without probes
                self._failed(f"Windrow itself failed: {type(error).__name__}: {error}", traceback.format_exc())

    def _probe(self, life: _Life) -> None:
        while not self._desk.ending:
            ready = life.wait(self._woken)
            with self._at_work:
                if self._woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 64)
                life.work(ready)
                self._failures = 0

    def _tell(self, outside: Outside) -> None:
        self._desk.outside = outside
        os.eventfd_write(self.news, 1)

    def _failed(self, why: str, trace: str = "") -> None:
        pause = min(FAILED_S * 2**self._failures, FAILED_MAX_S)
        self._failures += 1
        self._desk.error = why
        self._tell(Outside(unknown=f"nothing is probed now: {why}"))
        self._log.warning("probes of VLANs failed", reason=why, next_try_s=pause, trace=trace)
        end = time.monotonic() + pause
        while not self._desk.ending and time.monotonic() < end:
            time.sleep(0.1)


class _Life:
    """Of the taps: until the agent ends, or something fails."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        log: Log,
        desk: _Desk,
        found: Callable[[Outside], None],
        held: contextlib.ExitStack,
    ) -> None:
        self._paths, self._settings, self._log, self._desk, self._held = paths, settings, log, desk, held
        self._found = found
        self._driver: Driver | None = None
        self._locator: Locator | None = None
        self._intent: Intent | None = None
        self._cluster = Cluster()
        self._seen: Report | None = None
        self._news, self._told_at, self._swept = -1, float("-inf"), 0

    def wait(self, wake: int) -> list[int]:
        """The descriptors that have news. Nothing is held meanwhile."""
        if self._driver is not None:
            return self._driver.wait(PATIENCE_S, wake)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        return [fd for fd, _ in poll.poll(PATIENCE_S * 1000)]

    def work(self, ready: list[int]) -> None:
        report = self._desk.report
        if report is not None and report is not self._seen:
            self._seen = report
            self._follow(report)
        if self._driver is None or self._locator is None or self._intent is None:
            return
        prober = self._driver.prober
        if self._desk.asked:
            self._desk.asked = False
            prober.sweep_now(time.monotonic())
        if prober.sweeps != self._swept:
            self._swept = prober.sweeps
            self._driver.want(self._intent)  # a port that came without a round, a NIC that was made anew
        self._driver.work(ready)
        judged = self._locator.look(self._intent, self._cluster, time.monotonic(), time.time())
        if judged is not None and self._locator.settled:
            self._diagnose(prober, self._intent)
        self._tell(prober, self._intent)

    def _follow(self, report: Report) -> None:
        sight, self._cluster = report.sight, report.admitted.target
        skipped = self._settings.skipped
        intent = intent_of(self._cluster, report.left.compiled, sight.observed, sight.facts, skipped)
        before, self._intent = self._intent, intent
        # Without a key the names of the networks are what it signs with.
        same = before is not None and (before.node, before.cluster_networks) == (intent.node, intent.cluster_networks)
        if self._driver is None or not same:
            self._open(intent)
        elif intent != before:
            self._driver.want(intent)

    def _open(self, intent: Intent) -> None:
        self._held.close()
        secret = secret_of(self._paths, intent)
        interval_s = max(self._settings.interval_s, longest_s(intent.networks) + PAUSE_S)
        sensing = Sensing(intent.node, self._paths.dhcp_asked, time.monotonic)
        habits = Habits(interval_s=interval_s)
        self._driver = Driver(intent, secret, new_run(), habits, sensing=sensing)
        self._held.callback(self._driver.close)
        self._locator = Locator(self._driver.prober)
        signed = "with this cluster's key" if secret.authentic else "without a key: not authenticated"
        vids = sum(len(network.vids) for network in intent.networks)
        self._log.info("probing VLANs", vlans=vids, every_s=interval_s, signed=signed)

    def _diagnose(self, prober: Prober, intent: Intent) -> None:
        """Once a sweep: what is wrong, for the worker."""
        node = self._cluster.node(intent.node)
        found = concerning(diagnose(self._cluster, prober.evidence(time.monotonic(), time.time())), intent.node)
        before, self._desk.found = self._desk.found, found
        objects = tuple(c.ref for c in self._cluster.all(VlanConfig) if selects_node(c, node))
        at_once = self._locator is not None and self._locator.of_one_moment
        self._found(Outside(findings=found if at_once else standing(before, found), objects=objects))

    def _tell(self, prober: Prober, intent: Intent) -> None:
        now = time.monotonic()
        if prober.news != self._news and now >= self._told_at + TOLD_S:
            self._news, self._told_at = prober.news, now
            told = told_by(prober, intent, now=now, clock=time.time(), alone=True)
            self._desk.text, self._desk.error = text(told, prober.texts()) + "\n", ""


class ProbeNews:
    """The part of the worker's loop that hears what the probes found. `tell`: what to do about it."""

    def __init__(self, checking: Checking, tell: Callable[[Outside], None]) -> None:
        self._checking, self._tell = checking, tell

    def fds(self) -> Mapping[int, int]:
        return {self._checking.news: selectors.EVENT_READ}

    def ready(self, fd: int) -> bool:
        self._tell(self._checking.take())
        return False

    def deadline(self) -> float | None:
        return None

    def close(self) -> None:
        pass
