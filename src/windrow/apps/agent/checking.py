"""The agent's probes: a thread of its own, so that neither a plan that waits nor whoever asks over HTTP waits for it.

The worker hands it what is wanted, as values; it hands the face what it knows, as a text. Nothing else is shared.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import traceback
from collections.abc import Iterator

from windrow.apps.agent.http import JSON, Answer
from windrow.apps.agent.log import Log
from windrow.apps.check.alone import Locator, new_run, only_one, secret_of, told_by
from windrow.apps.check.driver import Driver
from windrow.apps.check.intent import Intent, intent_of
from windrow.apps.check.prober import Habits
from windrow.apps.check.sensing import Sensing
from windrow.apps.check.settings import Settings
from windrow.apps.check.told import document
from windrow.apps.round import Report
from windrow.model.cluster import Cluster
from windrow.model.problems import WindrowError
from windrow.store.paths import Paths

PATIENCE_S = 5.0
TOLD_S = 1.0
"""What is known is written down anew so often at most."""
FAILED_S, FAILED_MAX_S = 5.0, 300.0
NOT_YET = "nothing was probed yet"


class Checking:
    """From the first `want` on, until it is closed."""

    def __init__(self, paths: Paths, settings: Settings, log: Log) -> None:
        self._paths, self._settings, self._log = paths, settings, log
        self._report: Report | None = None
        self._text = self._error = ""
        self._asked = False
        self._ending = False
        self._failures = 0
        self._at_work = threading.Lock()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="check", daemon=True)
        self._thread.start()

    # From other threads ---------------------------------------------------------------------------

    def want(self, report: Report) -> None:
        """What a round found: its uplinks and VLANs are probed from now on."""
        self._report = report
        self._rouse()

    def answer(self, query: str) -> Answer:
        """What is known; with `now` a sweep begins, too."""
        if "now" in query.split("&"):
            self._asked = True
            self._rouse()
        text, error = self._text, self._error
        if error or not text:
            return Answer(503, json.dumps({"error": error or NOT_YET}) + "\n", JSON)
        return Answer(200, text, JSON)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """The thread holds nothing within the block: the process may be forked."""
        with self._at_work:
            yield

    def close(self) -> None:
        self._ending = True
        self._rouse()
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _rouse(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"x")

    # The thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            try:
                with only_one(self._paths), contextlib.ExitStack() as held:
                    _Round(self, held).run()
            except WindrowError as error:
                self._failed(str(error), "")
            except Exception as error:  # noqa: BLE001 - the agent's work goes on without probes
                self._failed(f"Windrow itself failed: {type(error).__name__}: {error}", traceback.format_exc())

    def _failed(self, why: str, trace: str) -> None:
        pause = min(FAILED_S * 2**self._failures, FAILED_MAX_S)
        self._failures += 1
        self._error = why
        self._log.warning("probes of VLANs failed", reason=why, next_try_s=pause, trace=trace)
        end = time.monotonic() + pause
        while not self._ending and time.monotonic() < end:
            time.sleep(0.1)


class _Round:
    """One life of the taps: until the agent ends, or something fails."""

    def __init__(self, of: Checking, held: contextlib.ExitStack) -> None:
        self._of, self._held = of, held
        self._driver: Driver | None = None
        self._intent: Intent | None = None
        self._cluster: Cluster | None = None
        self._locator: Locator | None = None
        self._seen: Report | None = None
        self._news, self._told_at, self._swept = -1, float("-inf"), 0

    def run(self) -> None:
        while not self._of._ending:
            if self._driver is None:
                ready = _wait_for(self._of._woken, PATIENCE_S)
            else:
                ready = self._driver.wait(PATIENCE_S, self._of._woken)
            with self._of._at_work:
                self._work(ready)

    def _work(self, ready: list[int]) -> None:
        if self._of._woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._of._woken, 64)
        report = self._of._report
        if report is not None and report is not self._seen:
            self._seen = report
            self._follow(report)
        if self._driver is None or self._intent is None:
            return
        prober = self._driver.prober
        if self._of._asked:
            self._of._asked = False
            prober.sweep_now(time.monotonic())
        if prober.sweeps != self._swept:
            self._swept = prober.sweeps
            self._driver.want(self._intent)  # a port that came without a round, a NIC that was made anew
        self._driver.work(ready)
        self._of._failures = 0
        self._tell()

    def _follow(self, report: Report) -> None:
        sight, self._cluster = report.sight, report.admitted.target
        intent = intent_of(self._cluster, report.left.compiled, sight.observed, sight.facts, self._of._settings.skipped)
        before, self._intent = self._intent, intent
        known = None if before is None else (before.node, before.cluster_networks)
        if self._driver is None or known != (intent.node, intent.cluster_networks):
            self._open(intent)
        elif intent != before:
            self._driver.want(intent)

    def _open(self, intent: Intent) -> None:
        """Also where the cluster has other networks now: without a key they are what it signs with."""
        self._held.close()
        secret = secret_of(self._of._paths, intent)
        habits = Habits(interval_s=self._of._settings.interval_s)
        sensing = Sensing(intent.node, self._of._paths.dhcp_asked, time.monotonic)
        self._driver = Driver(intent, secret, new_run(), habits, sensing=sensing)
        self._held.callback(self._driver.close)
        self._locator = Locator(self._driver.prober)
        signed = "with this cluster's key" if secret.authentic else "without a key: not authenticated"
        vids = sum(len(network.vids) for network in intent.networks)
        self._of._log.info("probing VLANs", vlans=vids, every_s=self._of._settings.interval_s, signed=signed)

    def _tell(self) -> None:
        assert self._driver is not None and self._intent is not None
        assert self._cluster is not None and self._locator is not None
        prober, now, clock = self._driver.prober, time.monotonic(), time.time()
        self._locator.look(self._intent, self._cluster, now, clock)
        if prober.news != self._news and now >= self._told_at + TOLD_S:
            self._news, self._told_at = prober.news, now
            told = told_by(prober, self._intent, now=now, clock=clock)
            self._of._text, self._of._error = json.dumps(document(told)) + "\n", ""


def _wait_for(fd: int, patience: float) -> list[int]:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return [ready for ready, _ in poll.poll(patience * 1000)]
