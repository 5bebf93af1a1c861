"""What the agent does about its node, round by round: it remembers what was fought about, what failed and was said.

It knows nothing of sockets and selectors; `loop` calls it when there is reason to. The round itself is `apps.round`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from windrow.apps.agent.holder import holder_of
from windrow.apps.agent.log import Log
from windrow.apps.agent.publish import Publisher, Sink, Told, fresh_status
from windrow.apps.agent.snapshot import Counters, Snapshot, Timings
from windrow.apps.known import pending_change
from windrow.apps.lock import HostLock, is_free
from windrow.apps.round import Hooks, Policy, Report, Source, Stored, carry_out
from windrow.apps.round.remember import CHECKPOINT, LAST_GOOD
from windrow.apps.safe.recover import in_good_hands
from windrow.apps.site import Site
from windrow.compile import Compiled
from windrow.model.agentstatus import Claim
from windrow.model.cluster import Cluster
from windrow.model.events import Condition, Event, EventType
from windrow.model.host import Filters, HostState
from windrow.model.lazy import dataclass
from windrow.model.manifests import Found
from windrow.model.objects import AnyObject, ClusterNetwork, HostNetworkConfig, Node, VlanConfig
from windrow.model.problems import Problem, WindrowError
from windrow.model.ruletable import POLICY_TABLE
from windrow.model.steps import Delta, Failure, Plan, Step, Unit
from windrow.model.values import IfName, Ref
from windrow.netlink.errors import KernelError
from windrow.plan import WAYS
from windrow.plan.concede import Conceded, conceded
from windrow.render.plan import reason, words
from windrow.rules import Admitted, Fit, Planned, Sight
from windrow.services import netmanagers
from windrow.status import NodeReport, contests, repairs
from windrow.status.bondfaults import wanted_nics
from windrow.status.bonds import DEGRADED, BondMemory, Watched, watch
from windrow.status.conditions import is_bad, update
from windrow.status.contests import Contests
from windrow.status.findings import OUTSIDE, Outside, finding_events, outside_faults
from windrow.status.patience import Patience
from windrow.status.rejections import rejections
from windrow.status.routes import Heard
from windrow.status.schedule import Schedule
from windrow.status.verdicts import verdicts
from windrow.store.errors import StoreError
from windrow.store.events import Events
from windrow.store.manifests import YOUNG_S
from windrow.store.paths import Paths

PENDING_S, PENDING_MAX_S = 1.0, 8.0
"""A change that is not decided is looked after so often, first and later."""
DECIDED_S = 0.01
NETWORK_LOCK_S = 0.5
"""CNI calls hold it for milliseconds; a plan that waits lets it go."""
LEFT_PAUSE_S = 1.0
"""Something was left to do although no step failed: another hand is at work at the same time."""
WARY_S, WARY_MAX_S = 60.0, 3600.0
"""What was taken back because the host was no longer reached is not tried again before; the pause doubles."""
LOCK_PAUSE_S, LOCK_PAUSE_MAX_S, LOCK_GROWS = 0.05, 1.0, 2.0
"""Between two looks at another one's lock, the first and the longest; each is so many times as long as the last."""
LOCK_HEARD_MAX_S, LOCK_HEARD_GROWS = 60.0, 8.0
"""The same where its release is heard of: then looking is for what nobody would hear, and costs next to nothing."""
NOT_YET = Problem(code="coming-up", message="the manifests were not looked at yet")
STATE, NOT_KEPT, OUT_OF_DATE, UNTOLD = "StateNotWritten", "ChangeNotKept", "ObjectsOutOfDate", "StatusesNotWritten"


POLICY = Policy(made_by="windrow agent", aside=True, turn_s=0.0, network_s=NETWORK_LOCK_S)


@dataclass(slots=True)
class _Counts:
    rounds: int = 0
    repaired: int = 0
    done: int = 0
    failed: int = 0
    observe: float = 0.0
    plan: float = 0.0
    whole: float = 0.0
    events: dict[EventType, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wary:
    """`until`: on the clock that never jumps. `wanted`: what was wanted, and taken back, of networks and uplinks.
    `changed`: the objects of that change, which are not good. `held`: its links, whose ways are left alone meanwhile;
    what needs consent is refused as it is."""

    until: float
    pause_s: float
    why: str
    hint: str
    wanted: Mapping[Ref, AnyObject]
    changed: frozenset[Ref]
    held: frozenset[IfName]


class _AsItIs(Stored):
    """What a round that waits works with, and nothing that came later."""

    def __init__(self, stored: Stored, paths: Paths) -> None:
        super().__init__(paths)
        self._now = stored

    @property
    def local(self) -> bool:
        return self._now.local

    def found(self, now: float) -> Found:
        return self._now.found(now)

    def good(self) -> Cluster | None:
        return self._now.good()


class _Good(Stored):
    """Only the last good state: a host comes up from it before anything else is read. `local`: whose it is."""

    def __init__(self, paths: Paths, *, local: bool) -> None:
        super().__init__(paths)
        self._local = local

    @property
    def local(self) -> bool:
        return self._local

    def found(self, now: float) -> Found:
        return Found(lost=NOT_YET)


class Keeper:
    """`source`: where its objects come from; None: the directory of manifests. `sinks`: who else is told what became of
    them."""

    def __init__(self, site: Site, log: Log, source: Source | None = None, sinks: Sequence[Sink] = ()) -> None:
        self._site, self._log, self._sinks = site, log, tuple(sinks)
        self._stored = Stored(site.paths, source, patient=True)
        self._events = Events(site.paths)
        self._publisher = Publisher(site.paths)
        self._patience = Patience()
        self._contests = Contests()
        self._cluster: Cluster | None = None
        self._wanted: HostState | None = None
        self._undone: tuple[Delta, ...] = ()
        self._bonds = Watched(memory=BondMemory(), conditions=(), events=())
        self._bonds_again: float | None = None
        self._rejected: tuple[Condition, ...] = ()
        """What the last round said of manifests."""
        self._judged: Report | None = None
        """The round whose verdicts on the objects are told; None: it came to none."""
        self._unseen: tuple[Problem, ...] = ()
        self._outside = Outside()
        self._contests_due: float | None = None
        self._troubles: dict[str, str] = {}
        """What could not be written -> why."""
        self._pending = pending_change(site.paths)
        self._wary: _Wary | None = None
        self._lock_pause = LOCK_PAUSE_S
        self._turn: HostLock | None = None
        self._running: frozenset[IfName] = frozenset()
        """The links that the plan is about which is carried out now."""
        self._lock_due: float | None = None
        self._pending_due: float | None = None
        self._pending_pause = PENDING_S
        self._again: float | None = None
        self._schedule = Schedule()
        self.status = fresh_status(site.node, site.clock())
        self._counts = _Counts()
        self.last: Report | None = None
        self.filters: Filters = {}
        """The rules of the packet filter that the records of ports ask for, be there manifests or none."""
        self.policed = False
        """Whether network policies ask for some."""
        self.hears_locks = False
        """Whether somebody tells when another one lets a lock go."""
        self.claims: Callable[[], tuple[Claim, ...]] = tuple
        """Who else says that an address of ours is his."""
        self.routes: Callable[[], Heard] = Heard
        """What DHCP servers told of VLANs whose networks wait for that, and which gateways are there, or gone."""
        self.on_compiled: Callable[[Compiled], None] = lambda _: None
        """Is called with what is wanted, before anything of it is carried out."""
        self.on_failure: Callable[[Failure], None] = lambda _: None
        """Is called with each step that fails, before the network is looked at again."""

    def close(self) -> None:
        self._publisher.close()

    def deadline(self) -> float | None:
        """When a round is due without any news, on the clock that never jumps; never in the past after a round."""
        return self._schedule.next

    def _plan_ahead(self) -> None:
        """While another one has the lock nothing can be tried, so nothing else is due."""
        wanted = {"lock": self._lock_due, "bonds": self._bonds_again}
        if self._lock_due is None:
            wanted |= {
                "again": self._again,
                "undecided": self._pending_due,
                "retry": self._patience.deadline(),
                "contest": self._contests_due,
                "wary": self._wary.until if self._wary is not None else None,
            }
        self._schedule = self._schedule.after(self._site.mono(), wanted)

    @property
    def waits_for_lock(self) -> bool:
        return self._lock_due is not None

    @property
    def unsettled(self) -> bool:
        """Something is to be looked at again soon: another one has the lock, or writes a manifest."""
        return any(at is not None for at in (self._again, self._lock_due, self._pending_due))

    @property
    def well(self) -> bool:
        """All is as the manifests want it. A cable that is out, and what a switch does, is no matter of theirs."""
        bad = [c for c in self.status.conditions if is_bad(c) and c.type not in (DEGRADED, OUTSIDE)]
        return self.last is not None and self.last.left.plan.empty and not bad

    def snapshot(self) -> Snapshot:
        """For those that ask from outside."""
        counts, last = self._counts, self.last
        return Snapshot(
            status=self.status,
            made=self._site.mono(),
            observed=last.sight.observed if last else None,
            left=last.left.plan if last else Plan(),
            counters=Counters(
                rounds=counts.rounds,
                repaired=counts.repaired,
                steps_done=counts.done,
                steps_failed=counts.failed,
                events=dict(counts.events),
            ),
            lease_ends=self._lease_ends(),
            timings=Timings(observe=counts.observe, plan=counts.plan, whole=counts.whole),
            outside=() if self._outside.unknown else self._outside.findings,
        )

    def _lease_ends(self) -> dict[IfName, float]:
        leases = self.last.sight.facts.leases if self.last is not None else {}
        return {link: lease.expires for link, lease in leases.items() if lease.expires}

    # Rounds ---------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Decide on what was cut off, and bring the node to its last good state, before anything else is read.

        Where something of ours is there already, this is no boot: a change that another agent was killed in, after it
        was made and before it was written down, is not to be taken back just to be made again.
        """
        stored = _Good(self._site.paths, local=self._stored.local)
        observed = self._site.kernel.observe()
        if stored.good() is not None and not any(observed.owned(name) for name in observed.runtime):
            self._log.info("coming up from the last good state", file=self._site.paths.last_good)
            self._round(stored)

    def round(self, *, reread: bool = False, news: bool = True) -> None:
        """`news`: something may have changed; else only a deadline has come. Raises KernelError where the kernel cannot
        be looked at."""
        site = self._site
        began = site.mono()
        passed = self._schedule.passed(began)
        if not news and passed and passed <= {"lock", "undecided"} and self._is_as_before():
            return
        if reread:
            self._stored.forget()
        self._again = self._lock_due = self._pending_due = None
        try:
            self._round(self._stored)
            if self._stored.found(site.clock()).young:
                self._due_in(YOUNG_S)
        finally:
            if self._pending is not None:
                self._pending_due = site.mono() + PENDING_S
            self._pending_pause = PENDING_S
            self._plan_ahead()
        self._counts.rounds += 1
        self._counts.whole = site.mono() - began

    def heard(self, complete: frozenset[Path]) -> None:
        """These manifests were closed by who wrote them, or moved to their place: they are whole."""
        self._stored.heard(complete)

    def probed(self, outside: Outside) -> None:
        """What the probes found. That is no reason for a round: nothing here can put it right."""
        before, self._outside = self._outside, outside.after(self._outside)
        now, here = self._site.clock(), Ref("Node", self._site.node)
        self._log_and_tell(finding_events(before.findings, self._outside.findings, now, here))
        faults = outside_faults(self.status.outside, self._outside, now, here)
        self.status = replace(self.status, outside=faults)
        self.tell_again()

    def tell_again(self) -> None:
        """What others hear of has changed (`routes`, too), and that is no reason for a round."""
        if self.last is not None:
            self._publish(looked=False)

    def asked(self, unseen: tuple[Problem, ...]) -> None:
        """What the kernel said that no look shows. As with `probed`, that is no reason for a round."""
        before, self._unseen = self._unseen, unseen
        if unseen != before and self._judged is not None:
            self._publish(looked=False)

    def _is_as_before(self) -> bool:
        """Whether what is waited for is not there yet: that needs no look at the network."""
        now = self._site.mono()
        if self._lock_due is not None:
            if is_free(self._site.paths):
                return False
            self._look_at_the_lock_later()
        elif self._pending_due is not None:
            if not in_good_hands(self._site.paths):
                return False
            self._pending_due = now + self._pending_pause
            self._pending_pause = min(2 * self._pending_pause, PENDING_MAX_S)
        self._plan_ahead()
        return True

    def _due_in(self, seconds: float) -> None:
        at = self._site.mono() + seconds
        self._again = at if self._again is None else min(at, self._again)

    def _round(self, stored: Stored) -> None:
        self._pending = pending_change(self._site.paths)
        hooks = Hooks(
            tell=self._warn,
            locked=self._has_turn,
            writing=self._runs,
            looked=self._watch_bonds,
            planned=self._leave_out,
            on_step=self._on_step,
            failing=lambda: frozenset(failure.step.link for failure in self._patience.failures()),
            taken_back=lambda: wary.changed if (wary := self._wary_now) is not None else frozenset(),
        )
        try:
            report = carry_out(self._site, stored, policy=replace(POLICY, trusts=self._trusts), hooks=hooks)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
            self._wait_for_the_lock()
            return
        finally:
            self._turn, self._running = None, frozenset()
            held, self._pending = self._pending, pending_change(self._site.paths)
            if held is not None and self._pending is None:  # decided meanwhile: what was left to it is ours again
                self._due_in(DECIDED_S)
        self._counts.observe, self._counts.plan = report.timing.look, report.timing.plan
        wanted = report.left.compiled.state
        self.filters, self.policed = wanted.filters, wanted.policies is not None and not wanted.policies.empty
        self._note_troubles(report, stored)
        if report.busy:
            self._wait_for_the_lock()
            return
        if not report.kept:
            # Whoever undoes a change tells the event, also where this process is no more.
            self._log.warning("a change of the way to this host was taken back", said=report.said)
            self._grow_wary(report, f"it was taken back: {report.said}")
            self._due_in(LEFT_PAUSE_S)
            return
        self._conclude(report)

    def _has_turn(self, lock: HostLock) -> None:
        self._turn = lock
        self._pending = pending_change(self._site.paths)  # what was left behind is decided on by now

    def _runs(self, _: Admitted, planned: Planned) -> None:
        """Also what the plan makes on its way: the bond that takes over from another one is wanted by no manifest, and
        would be deleted while the plan waits for it."""
        units = [unit for unit in planned.plan.units if unit.steps]
        made = {step.link for unit in units for step in unit.steps}
        self._running = frozenset(made.union(*(unit.links for unit in units)))

    def meanwhile(self) -> None:
        """While a plan of ours waits, for carrier or an answer: what it is not about is repaired all the same. Raises
        KernelError."""
        if self._turn is None or not self._running:
            return
        policy = replace(POLICY, within=self._turn, trusts=lambda _: False)
        hooks = Hooks(planned=self._leave_out, on_step=self._on_step, looked=self._watch_bonds)
        report = carry_out(self._site, _AsItIs(self._stored, self._site.paths), policy=policy, hooks=hooks)
        if report.converged is not None:
            self._account(report)

    def _warn(self, problem: Problem) -> None:
        self._log.warning(problem.message)

    def _wait_for_the_lock(self) -> None:
        if self._lock_pause == LOCK_PAUSE_S:
            self._log.info("waiting: another one changes this host's network", who=holder_of(self._site.paths))
        self._look_at_the_lock_later()

    def _look_at_the_lock_later(self) -> None:
        grows, most = (LOCK_HEARD_GROWS, LOCK_HEARD_MAX_S) if self.hears_locks else (LOCK_GROWS, LOCK_PAUSE_MAX_S)
        self._lock_due = self._site.mono() + self._lock_pause
        self._lock_pause = min(grows * self._lock_pause, most)

    def _watch_bonds(self, sight: Sight) -> None:
        """Told at once: what is repaired next may take as long as a switch needs for LACP."""
        site, now = self._site, self._site.clock()
        wanted = wanted_nics(self._cluster, site.node) if self._cluster is not None else None
        before, self._bonds = self._bonds, watch(self._bonds.memory, sight.observed, now, wanted=wanted)
        again = self._bonds.again
        self._bonds_again = site.mono() + max(0.0, again - now) if again is not None else None
        self._log_and_tell(self._bonds.events)
        if self._bonds.conditions != before.conditions and self.last is not None:
            self._publish()

    def _trusts(self, admitted: Admitted) -> bool:
        self._reconsider(admitted.target)
        return self._wary_now is None

    def _reconsider(self, target: Cluster) -> None:
        """What was taken back may still be wanted: an undo puts back files, and no cluster's objects. Where it is
        something else than that, and than what there was before, nothing speaks against it."""
        if self._wary is None:
            return
        before = _leading(self._cluster if self._cluster is not None else target)
        if _leading(target) not in (before, self._wary.wanted):
            self._wary = None

    @property
    def _wary_now(self) -> _Wary | None:
        """None: nothing was taken back, or it may be tried again."""
        return self._wary if self._wary is not None and self._site.mono() < self._wary.until else None

    def _leave_out(self, admitted: Admitted, planned: Planned) -> Fit | None:
        """What is contested, what failed a moment ago, what was taken back of late, and what an undecided change of
        another is about."""
        mono, cluster, plan = self._site.mono(), admitted.target, planned.plan
        if self._stored.replaced:
            self._stored.replaced = False
            self._news("the last good state was written by another")
        if self._cluster is not None and cluster is not self._cluster and cluster.objects != self._cluster.objects:
            self._contests = self._contests.without(_changed(self._cluster, cluster))
            self._patience.forget()
        self._contests = self._contests.aged(mono)
        self.on_compiled(planned.compiled)
        self._reconsider(cluster)
        keys, waiting = self._contests.left_alone(plan, mono), self._patience.waiting(plan, mono)
        keys |= self._taken_back(plan)
        waiting |= {IfName(link) for link in self._pending.links} if self._pending is not None else set()
        waiting |= self._running
        if not keys and not waiting:
            return None

        def fit(compiled: Compiled, _: Sight) -> Compiled:
            state, held = conceded(compiled.state, plan, keys)
            links = {name: link for name, link in state.links.items() if name not in waiting}
            routes = frozenset(route for route in state.routes if route.dev not in waiting)
            filters = {name: one for name, one in state.filters.items() if name not in waiting}
            policies = None if POLICY_TABLE in waiting else state.policies
            state = replace(state, links=links, routes=routes, filters=filters, policies=policies)
            return replace(compiled, state=state, held=compiled.held | held | waiting)

        return fit

    def _taken_back(self, plan: Plan) -> frozenset[Conceded]:
        """The differences that a change which was taken back would make again."""
        held = wary.held if (wary := self._wary_now) is not None else frozenset()
        deltas = (delta for unit in plan.units for delta in unit.deltas)
        return frozenset((d.link, d.field) for d in deltas if d.link in held and d.field in WAYS)

    def _conclude(self, report: Report) -> None:
        """What is told of a round, and remembered of it for the next one."""
        admitted, left, site = report.admitted, report.left, self._site
        wrong = [problem for problem in admitted.problems if problem is not NOT_YET]
        said = rejections(wrong, admitted.before, admitted.cluster, site.node)
        self._lock_pause = LOCK_PAUSE_S
        self._rejected, self._judged = said, None
        if admitted.cluster is None:
            self._publish()
            return
        if report.refused is not None:
            self._grow_wary(report, report.refused.message, report.refused.hint)
            self._due_in(LEFT_PAUSE_S)
        elif report.converged is not None:
            self._account(report)
        if report.left.plan.empty:
            self._wary = None
        self._patience.waiting(left.plan, site.mono())  # what is done by now is waited for no more
        self._cluster, self._wanted = admitted.cluster, left.compiled.state
        self._undone = tuple(d for d in _left(left.plan) if contests.key_of(d) not in self._contests.fights)
        self.last = self._judged = report
        self._publish()

    def _grow_wary(self, report: Report, why: str, hint: str = "") -> None:
        """What was taken back is tried again after a while, each time a longer one; until then the management network
        is repaired as far as that needs nobody's consent."""
        old, mono, admitted = self._wary, self._site.mono(), report.admitted
        pause_s = min(2 * old.pause_s, WARY_MAX_S) if old is not None else WARY_S
        links = frozenset(step.link for step in report.planned.plan.steps)
        self._wary = _Wary(
            until=mono + pause_s,
            pause_s=pause_s,
            why=why,
            hint=hint,
            wanted=_leading(admitted.target),
            changed=admitted.changed,
            held=frozenset() if admitted.consent else links,
        )

    def _wariness(self) -> tuple[Condition, ...]:
        if self._wary is None:
            return ()
        text = f"a change of the way to this host was not kept, and is tried again later: {self._wary.why}"
        about = Ref("Node", self._site.node)
        return (
            Condition(about=about, type=NOT_KEPT, status=True, reason=NOT_KEPT, message=text, hint=self._wary.hint),
        )

    def _on_step(self, step: Step, failure: Failure | None) -> None:
        more = {"link": step.link, "step": words(step), "why": reason(step), "impact": step.impact.value}
        if failure is None:
            self._counts.done += 1
            self._log.info("done", **more)
        else:
            self._counts.failed += 1
            self._log.error("failed", **more, errno=failure.errno, reason=failure.extack or failure.reason)
            self.on_failure(failure)

    # What came of it ------------------------------------------------------------------------------

    def _account(self, report: Report) -> None:
        converged, left = report.converged, report.left.plan
        assert converged is not None
        site, mono, now = self._site, self._site.mono(), self._site.clock()
        failed = {f.step.link for f in converged.outcome.failed}
        failing = [unit for unit in left.units if unit.steps and failed & set(unit.links)]
        in_vain = {name for unit in failing for name in unit.links} | failed
        done = _together(converged.plans)
        drift = repairs.drift(done, self._wanted, report.left.compiled.state, self._undone)
        # What came back while this looked was repaired all the same: it counts, or nobody would ever stop.
        healed = tuple(d for d in drift if d.link not in in_vain)
        self._counts.repaired += len(healed)
        self._contests = self._contests.repaired(healed, done, mono=mono, now=now)
        told = list(repairs.events(healed, site.node, now))
        asked = [d for d in repairs.differences(done) if d not in drift and d.link not in in_vain]
        if asked:
            told.append(_applied(asked, report, site.node, now))
        self._log_and_tell(told)
        for unit in failing:
            failures = tuple(f for f in converged.outcome.failed if f.step.link in unit.links)
            self._patience.failed(unit, failures, left, mono=mono, now=now)
        if converged.left.steps and not failing:
            self._due_in(LEFT_PAUSE_S)

    def _verdicts(self, last: Report) -> tuple[Condition, ...]:
        return tuple(verdicts(last.admitted.target, self._report(last)))

    def _report(self, last: Report) -> NodeReport:
        facts = last.sight.facts
        return NodeReport(
            node=facts.node,
            observed=last.sight.observed,
            plan=last.left.plan,
            problems=(*last.left.compiled.problems, *self._unseen),
            failures=self._patience.failures(),
            ports=facts.ports,
            leases=facts.leases,
            asking=facts.asking,
            claims=self.claims(),
            routes=self.routes(),
            scopes=last.left.compiled.scopes,
            tunnel_start=last.left.compiled.tunnel_start,
        )

    def _rivals(self) -> dict[IfName, str]:
        if self.last is None:
            return {}
        sight, links = self.last.sight, {link for link, *_ in self._contests.fights if link}
        return {link: self._rival(sight, link) for link in links}

    def _rival(self, sight: Sight, link: IfName) -> str:
        """By name where another program says so itself; else what the kernel knows of the link."""
        run = sight.observed.runtime.get(link)
        found = netmanagers.managers(self._site.paths.root, link, run.ifindex) if run is not None else ()
        seen = contests.rival(link, sight.observed, sight.facts.nics)
        return "; ".join(filter(None, (netmanagers.words(found), seen)))

    def _publish(self, *, looked: bool = True) -> None:
        """`looked`: at the whole network, just now."""
        now, said = self._site.clock(), self._rejected
        if self._judged is not None:
            said = (*said, *self._verdicts(self._judged))
        standing = self._contests.standing(self._rivals())
        # As of this round: once it has come, it stays due until the next one.
        self._contests_due = self._contests.deadline(self._site.mono())
        current = [*said, *contests.conditions(standing), *self._bonds.conditions, *self._trouble(), *self._wariness()]
        current += [*self._outside.conditions, *self._silence()]
        conditions, events = update(self.status.conditions, current, now)
        self._log_and_tell(events)
        self.status = replace(
            self.status,
            conditions=conditions,
            failures=self._patience.told(),
            contests=standing,
            claims=self.claims(),
            last_round=now if looked else self.status.last_round,
        )
        self._try("the agent's status", lambda: self._publisher.publish(self.status))
        if self.last is not None and self._sinks:
            self._tell(self.last)

    def _tell(self, last: Report) -> None:
        """With what is wrong with objects, although the version that was good is in force."""
        report = self._report(last)
        problems = (*last.admitted.problems, *report.problems)
        told = Told(cluster=last.admitted.target, report=replace(report, agent=self.status, problems=problems))
        for sink in self._sinks:
            sink.publish(told)

    def _log_and_tell(self, events: Iterable[Event]) -> None:
        told = tuple(events)
        for event in told:
            say = self._log.warning if event.type is EventType.WARNING else self._log.info
            say(event.message, about=event.about, reason=event.reason)
            self._counts.events[event.type] = self._counts.events.get(event.type, 0) + 1
        self._try("events", lambda: self._events.add(told))
        for sink in self._sinks if told else ():
            sink.happened(told)

    # The disk -------------------------------------------------------------------------------------

    def _note_troubles(self, report: Report, stored: Stored) -> None:
        """A disk that is full must not stop the network's repair: it is said, and tried again in the next round."""
        for what, error in report.troubles.items():
            self._trouble_with(what, error)
        if CHECKPOINT not in report.troubles:  # that was the way back of a change, which has long gone through
            self._troubles.pop(CHECKPOINT, None)
        if stored.trouble is not None:
            self._trouble_with(LAST_GOOD, stored.trouble)

    def _try(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
            self._trouble_with(what, None)
        except (StoreError, OSError) as error:
            self._trouble_with(what, error)

    def _trouble_with(self, what: str, error: WindrowError | OSError | None) -> None:
        if error is None:
            if self._troubles.pop(what, None):
                self._log.info("the disk takes it again", subject=what)
        elif self._troubles.get(what) != str(error):
            self._troubles[what] = str(error)
            self._log.error("trouble with the disk", subject=what, reason=str(error))

    def _trouble(self) -> tuple[Condition, ...]:
        if not self._troubles:
            return ()
        text = "; ".join(f"{what}: {why.splitlines()[0]}" for what, why in sorted(self._troubles.items()))
        hint = "the network is kept right as before; make room, or mount the file system read-write"
        about = Ref("Node", self._site.node)
        return (Condition(about=about, type=STATE, status=True, reason=STATE, message=text, hint=hint),)

    def _silence(self) -> Iterator[Condition]:
        """What stands between this host and a cluster's API."""
        about = Ref("Node", self._site.node)
        if why := self._stored.source.trouble:
            text = f"what is wanted may have changed since: {why}"
            hint = "the network is kept as it was last wanted; see to the API server, and to what this account may read"
            yield Condition(about=about, type=OUT_OF_DATE, status=True, reason=OUT_OF_DATE, message=text, hint=hint)
        if why := "; ".join(filter(None, (sink.untold for sink in self._sinks))):
            hint = "the network is kept right as before; see to what this account may write"
            yield Condition(about=about, type=UNTOLD, status=True, reason=UNTOLD, message=why, hint=hint)

    def _news(self, what: str) -> None:
        """Somebody else brought the node to a state: what was fought about or failed before is past."""
        self._log.debug(what)
        self._contests = Contests()
        self._patience.forget()


def _together(plans: Iterable[Plan]) -> Plan:
    """Each difference once, also where two plans were needed for it."""
    seen: set[contests.Key] = set()
    units: list[Unit] = []
    for unit in (unit for plan in plans for unit in plan.units):
        fresh = tuple(delta for delta in unit.deltas if contests.key_of(delta) not in seen)
        seen |= {contests.key_of(delta) for delta in fresh}
        units.append(replace(unit, deltas=fresh))
    return Plan(units=tuple(units))


def _left(plan: Plan) -> tuple[Delta, ...]:
    return tuple(delta for unit in plan.units for delta in unit.deltas)


def _leading(cluster: Cluster) -> dict[Ref, AnyObject]:
    """The objects that decide how a host is reached; of others, networks for machines above all, many change a day."""
    kinds = (ClusterNetwork, VlanConfig, HostNetworkConfig, Node)
    return {ref: obj for ref, obj in cluster.objects.items() if isinstance(obj, kinds)}


def _changed(before: Cluster, after: Cluster) -> frozenset[Ref]:
    refs = before.objects.keys() | after.objects.keys()
    return frozenset(ref for ref in refs if before.objects.get(ref) != after.objects.get(ref))


def _applied(deltas: list[Delta], report: Report, node: str, now: float) -> Event:
    links = sorted({str(delta.link) for delta in deltas if delta.link})
    objects = sorted({str(d.why) for d in deltas if d.why is not None and d.why.name not in ("", "*")})
    steps = sum(report.converged.outcome.done.values()) if report.converged is not None else 0
    because = f" for {', '.join(objects)}" if objects else ""
    return Event(
        type=EventType.NORMAL,
        reason="Applied",
        about=Ref("Node", node),
        message=f"changed {', '.join(links) or 'this kernel'}{because}: {steps} steps, worst impact "
        f"{report.plan.impact.value}",
        first=now,
        last=now,
    )
