"""The manager at work: every replica follows the cluster, and the one that holds the lease writes.

All of it but the lease lives in one event loop; what takes long to find out is found out in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence

from windrow.apps.manager.carrying import MANAGER, Carrier
from windrow.apps.manager.known import Known, Since
from windrow.apps.manager.lease import LEASE_S, Lease, Leases
from windrow.apps.manager.turns import Turns
from windrow.kube.access import Access
from windrow.kube.api import Api, Ask
from windrow.kube.errors import KubeError
from windrow.kube.follow import Follower
from windrow.kube.resources import FOLLOWED, OF_POOLS, RESOURCES
from windrow.kube.troubles import Troubles
from windrow.model.events import Event, EventType
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.render.text import timestamp
from windrow.rules.secondlook import clashes
from windrow.status.manager.leftovers import absent, waiting
from windrow.status.manager.stored import Situation
from windrow.status.manager.wanted import wanted
from windrow.status.published import event_of

QUIET_S = 0.05
"""So long after news: a burst of them is one round."""
LOOKED_AT, LOOK_S = 50, 0.5
"""So many objects get their second look at once, and so long that goes on; the rest has it in the next round."""
EVENTS_KEPT = 200
AGAIN_S = 2.0
"""After a round that failed."""
AGAIN_MOST_S = 30.0
"""So often all is gone through, whatever is heard."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`lease`: namespace and name; `also`: leases of other managers that it holds as well, so that none of them leads;
    `pools`: whether it gives addresses of IPPools, which Harvester's DHCP add-on must not do then; `lease_s`: for how
    long the leases hold. And for so long, in seconds: a Node has to be gone (`gone_s`), Harvester's controllers have
    had time for what waits for them (`overdue_s`), two objects have excluded each other (`clash_s`)."""

    lease: tuple[str, str]
    identity: str
    also: Sequence[tuple[str, str]] = ()
    pools: bool = False
    lease_s: int = LEASE_S
    gone_s: float = 30.0
    overdue_s: float = 30.0
    clash_s: float = 3.0


class Manager:
    """From when it is run until it is stopped."""

    def __init__(self, access: Access, settings: Settings, say: Say) -> None:
        self._access, self._settings, self._say = access, settings, say
        self._kinds = (*FOLLOWED, *(OF_POOLS if settings.pools else ()))
        self._known = Known(self._kinds)
        self._followers: dict[str, Follower] = {}
        self._news = asyncio.Event()
        self._troubles = Troubles()
        self._gone, self._overdue = Since(settings.gone_s), Since(settings.overdue_s)
        self._clashing = Since(settings.clash_s)
        self._suspects: frozenset[Ref] = frozenset()
        self._told: frozenset[Problem] = frozenset()
        self._events: dict[tuple[Ref, str], Event] = {}
        self._untold: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._turns = Turns(access, self._leases, self._told_of_turn, self._told_of_lease)
        self._ours, self._not_ours = asyncio.Event(), asyncio.Event()
        self.leads = False

    def run(self) -> None:
        """Until `stop`. Raises KubeError: what cannot work."""
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            with contextlib.suppress(asyncio.CancelledError):
                runner.run(self._live())

    def stop(self) -> None:
        """From any thread."""
        if self._loop is not None and self._main is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._main.cancel)

    async def _live(self) -> None:
        self._main = asyncio.current_task()
        self._api = Api(self._access)
        self._turns.start()
        try:
            async with asyncio.TaskGroup() as group:
                for kind in self._kinds:
                    self._followers[kind] = self._follower(kind)
                    group.create_task(self._followers[kind].run(AGAIN_MOST_S if kind in OF_POOLS else None))
                await self._take_turns()
        finally:
            await asyncio.to_thread(self._turns.close)
            await self._api.close()

    def _follower(self, kind: str) -> Follower:
        return Follower(self._api, RESOURCES[kind], self._known, self._heard, self._not_followed)

    def _heard(self, news: bool) -> None:
        if news:
            self._news.set()

    def _not_followed(self, kind: str, why: str) -> None:
        lacking = why and kind in self._closed
        if self._troubled(kind, f"{why}; until it may be read, no pool gives an address" if lacking else why):
            self._news.set()

    @property
    def _closed(self) -> frozenset[str]:
        """The kinds of pools that this account may not read: all other work goes on without them."""
        return frozenset(kind for kind in OF_POOLS if kind in self._followers and self._followers[kind].forbidden)

    # Whose turn it is ------------------------------------------------------------------------------

    def _leases(self, ask: Ask) -> Leases:
        one = self._settings
        return Leases([Lease(ask, place, one.identity, seconds=one.lease_s) for place in (one.lease, *one.also)])

    def _told_of_turn(self, ours: bool) -> None:
        """In the leases' own thread, as the next one is."""
        now, before = (self._ours, self._not_ours) if ours else (self._not_ours, self._ours)

        def turn() -> None:
            before.clear()
            now.set()

        self._soon(turn)

    def _told_of_lease(self, why: str) -> None:
        self._soon(lambda: self._troubled("the lease", why))

    def _soon(self, work: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(work)

    async def _take_turns(self) -> None:
        while True:
            await self._ours.wait()
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._lead())
                await self._not_ours.wait()
                work.cancel()
            self.leads = False
            self._say("another replica leads now, or nobody knows: nothing is written any more")

    # What the leader does --------------------------------------------------------------------------

    async def _lead(self) -> None:
        self.leads = True
        self._say(f"{self._settings.identity} leads")
        self._known.all_fresh()
        self._news.set()
        carrier = Carrier(self._api, lambda: self._turns.ours, self._not_written, self._fought)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience(carrier)):
                    await self._news.wait()
            self._news.clear()
            began = time.monotonic()
            if self._known.unlisted <= self._closed:
                await self._round(carrier)
            # On a big cluster a round takes long: half of the time is left to everybody else.
            await asyncio.sleep(max(QUIET_S, time.monotonic() - began))

    def _patience(self, carrier: Carrier) -> float:
        due = (carrier.patience(), self._gone.due_s, self._overdue.due_s, self._clashing.due_s)
        return min((one for one in due if one is not None), default=AGAIN_MOST_S)

    async def _round(self, carrier: Carrier) -> None:
        stored = self._known.stored()
        now = Situation(
            stored=stored,
            cluster=self._known.cluster,
            gone=self._gone.long(absent(stored)),
            overdue=self._overdue.long(waiting(stored)),
            pools=self._settings.pools and not self._closed,
            now=timestamp(time.time()),
        )
        try:
            await carrier.carry(await asyncio.to_thread(wanted, now))
            await self._look_again()
            await self._tell(carrier)
            self._troubled("writing", "")
        except KubeError as error:
            self._troubled("writing", error.message)
            self._news.set()
            await asyncio.sleep(AGAIN_S)
        except Exception as error:  # noqa: BLE001 - the rest of its work goes on, and the next news may be better
            self._troubled("writing", f"Windrow itself failed: {type(error).__name__}: {error}")
            traceback.print_exc()
            await asyncio.sleep(AGAIN_S)

    async def _look_again(self) -> None:
        """At what is new, and at what clashed before: as long as that lasts it is told once."""
        found = set(await asyncio.to_thread(clashes, self._known.cluster, self._suspects))
        end = time.monotonic() + LOOK_S
        fresh, cluster = self._known.take_fresh(LOOKED_AT)
        while fresh and time.monotonic() < end:
            found |= set(await asyncio.to_thread(clashes, cluster, fresh))
            fresh, cluster = self._known.take_fresh(LOOKED_AT)
        self._suspects = frozenset(problem.about for problem in found if problem.about is not None)
        lasting = self._clashing.long(found)
        for problem in lasting - self._told:
            if problem.about is not None:
                hint = f" ({problem.hint})" if problem.hint else ""
                self._happened(problem.about, "Conflicting", f"{problem.message}{hint}")
        self._told = lasting
        if fresh:
            self._known.look_at(fresh)
            self._news.set()

    # What is told ----------------------------------------------------------------------------------

    def _not_written(self, ref: Ref, why: str) -> None:
        if why and self._troubles.why(str(ref)) != why:
            self._happened(ref, "NotWritten", why)
        self._troubled(str(ref), why)

    def _fought(self, ref: Ref) -> None:
        there = self._known.of(ref)
        others = [name for name in (there.writers if there else ()) if name != MANAGER]
        who = f" by one of {', '.join(others)}" if others else ""
        text = f"is written again and again{who}; Windrow waits longer and longer, up to a minute, between two writings"
        self._happened(ref, "WrittenByOthers", text)

    def _happened(self, ref: Ref, reason: str, message: str) -> None:
        """The same again is counted."""
        now, known = time.time(), self._events.pop((ref, reason), None)
        again = known is not None and known.message == message
        first, count = (known.first, known.count + 1) if known is not None and again else (now, 1)
        event = Event(
            type=EventType.WARNING, reason=reason, about=ref, message=message, first=first, last=now, count=count
        )
        self._events[ref, reason] = event
        if len(self._events) > EVENTS_KEPT:
            del self._events[next(iter(self._events))]
        self._untold.append(event)

    async def _tell(self, carrier: Carrier) -> None:
        """One that the server refuses is not told again."""
        while self._untold:
            event = self._untold.popleft()
            there = self._known.of(event.about)
            try:
                await carrier.tell(event_of(event, MANAGER, there.uid if there else ""))
                self._troubled("events", "")
            except KubeError as error:
                if error.passes:
                    self._untold.appendleft(event)
                    raise
                self._troubled("events", error.message)

    def _troubled(self, what: str, why: str) -> bool:
        """Whether that is news."""
        news = self._troubles.noted(what, why)
        if news:
            self._say(f"{what}: {why or 'well again'}")
        return news
