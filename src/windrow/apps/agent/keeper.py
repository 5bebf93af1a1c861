"""One round of the agent: look, settle, plan, carry out, look again, and say what was found and done.

It knows nothing of sockets and selectors; `loop` calls it when there is reason to.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from dataclasses import field, replace
from functools import partial

from windrow.apps.agent import repairs, settle
from windrow.apps.agent.holder import holder_of
from windrow.apps.agent.log import Log
from windrow.apps.agent.patience import Patience
from windrow.apps.agent.publish import Publisher, fresh_status
from windrow.apps.agent.snapshot import Counters, Snapshot, Timings
from windrow.apps.engine import (
    Fit,
    Kernel,
    Planned,
    Report,
    Sight,
    Waiting,
    cluster_networks,
    converge,
    look,
    plan_node,
)
from windrow.apps.known import known, pending_change
from windrow.apps.lock import HostLock
from windrow.apps.safe.change import Proposal, Terms, carry_out_safely
from windrow.apps.safe.ground import Ground
from windrow.apps.safe.peers import peers
from windrow.apps.safe.recover import recover
from windrow.compile import Compiled
from windrow.model.cluster import Cluster
from windrow.model.events import Condition, Event, EventType
from windrow.model.facts import Memory
from windrow.model.host import HostState
from windrow.model.lazy import dataclass
from windrow.model.manifests import Found
from windrow.model.problems import WindrowError
from windrow.model.steps import Delta, Failure, Plan, Step, Unit
from windrow.model.values import IfName, Ref
from windrow.model.wire import dump
from windrow.netlink.errors import KernelError
from windrow.render.plan import reason, words
from windrow.services import netmanagers
from windrow.status import NodeReport, contests
from windrow.status.bondfaults import wanted_nics
from windrow.status.bonds import DEGRADED, BondMemory, Watched, watch
from windrow.status.conditions import is_bad, update
from windrow.status.contests import Contests
from windrow.status.verdicts import verdicts
from windrow.store.clusternetworks import write_cluster_networks
from windrow.store.errors import StoreError
from windrow.store.events import Events
from windrow.store.lastgood import Signature, read_last_good, signature, write_last_good
from windrow.store.manifests import YOUNG_S, ManifestFiles
from windrow.store.memory import write_memory
from windrow.store.paths import Paths

PENDING_S = 1.0
"""A change that is not decided is looked after so often."""
NETWORK_LOCK_S = 0.5
"""CNI calls hold it for milliseconds; a plan that waits lets it go."""
LEFT_PAUSE_S = 1.0
"""Something was left to do although no step failed: another hand is at work at the same time."""
LOCK_PAUSE_S, LOCK_PAUSE_MAX_S = 0.05, 1.0
STATE = "StateNotWritten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the agent works. `clock`: Unix time; `mono`: seconds of a clock that never jumps."""

    paths: Paths
    node: str
    kernel: Kernel
    log: Log
    ground: Ground
    clock: Callable[[], float]
    mono: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round found, for whoever shows or counts it. `planned`: what is left to do, contested or not."""

    cluster: Cluster
    sight: Sight
    planned: Planned
    report: Report | None = None
    """None: there was nothing to carry out."""


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


class Keeper:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = ManifestFiles(site.paths)
        self._events = Events(site.paths)
        self._publisher = Publisher(site.paths)
        self._patience = Patience()
        self._contests = Contests()
        self._found: Found | None = None
        self._good: Cluster | None = None
        self._good_signature: Signature | None = None
        self._cluster: Cluster | None = None
        self._wanted: HostState | None = None
        self._undone: tuple[Delta, ...] = ()
        self._networks: frozenset[str] | None = None
        self._memory: Memory | None = None
        self._bonds = Watched(memory=BondMemory(), conditions=(), events=())
        self._bonds_again: float | None = None
        self._said: tuple[Condition, ...] = ()
        self._contests_due: float | None = None
        self._troubles: dict[str, str] = {}
        """What could not be written -> why."""
        self._pending = pending_change(site.paths)
        self._lock_pause = LOCK_PAUSE_S
        self._again: float | None = None
        self.status = fresh_status(site.node, site.clock())
        self._counts = _Counts()
        self.last: Round | None = None
        self.on_compiled: Callable[[Compiled], None] = lambda _: None
        """Is called with what is wanted, before anything of it is carried out."""

    def close(self) -> None:
        self._publisher.close()

    def deadline(self) -> float | None:
        """When a round is due without any news, on the clock that never jumps."""
        due = (
            self._again,
            self._bonds_again,
            self._patience.deadline(),
            self._contests_due,
        )
        return min((at for at in due if at is not None), default=None)

    @property
    def unsettled(self) -> bool:
        """Something is to be looked at again soon: another one has the lock, or writes a manifest."""
        return self._again is not None

    @property
    def well(self) -> bool:
        """All is as the manifests want it. A cable that is out is no matter of theirs."""
        bad = [c for c in self.status.conditions if is_bad(c) and c.type != DEGRADED]
        return self.last is not None and self.last.planned.plan.empty and not bad

    def snapshot(self) -> Snapshot:
        """For those that ask from outside."""
        counts, last = self._counts, self.last
        return Snapshot(
            status=self.status,
            observed=last.sight.observed if last else None,
            left=last.planned.plan if last else Plan(),
            counters=Counters(
                rounds=counts.rounds,
                repaired=counts.repaired,
                steps_done=counts.done,
                steps_failed=counts.failed,
                events=dict(counts.events),
            ),
            lease_ends=self._lease_ends(),
            timings=Timings(observe=counts.observe, plan=counts.plan, whole=counts.whole),
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
        self._recover()
        self._load_good()
        observed = self._site.kernel.observe()
        if self._good is not None and not any(observed.owned(name) for name in observed.runtime):
            self._site.log.info("coming up from the last good state", file=self._site.paths.last_good)
            self._round(Found(), self._good)

    def round(self, *, reread: bool = False) -> None:
        """Raises KernelError where the kernel cannot be looked at."""
        began = self._site.mono()
        found = self._found
        if found is None or reread or found.young:
            found = self._found = self._files.look(self._site.clock())
        self._again = self._site.mono() + YOUNG_S if found.young else None
        self._round(found, None)
        if self._pending is not None:
            self._again = self._site.mono() + PENDING_S
        self._counts.rounds += 1
        self._counts.whole = self._site.mono() - began

    def _round(self, found: Found, fixed: Cluster | None) -> None:
        site = self._site
        self._recover()
        if fixed is None and signature(site.paths) != self._good_signature:
            self._load_good()
            self._news("the last good state was written by another")
        began = site.mono()
        sight = look(site.kernel, site.node, known(site.paths))
        self._counts.observe = site.mono() - began
        self._watch_bonds(sight)
        if fixed is not None:
            self._keep(fixed, sight, (), ())
            return
        settled = settle.choose(found, self._good, sight)
        said = settle.conditions(settled, found, site.node)
        if settled.cluster is None:
            self._publish(said)
        else:
            self._keep(settled.cluster, sight, said, settled.changed)

    def _watch_bonds(self, sight: Sight) -> None:
        """Told at once: what is repaired next may take as long as a switch needs for LACP."""
        site, now = self._site, self._site.clock()
        wanted = wanted_nics(self._cluster, site.node) if self._cluster is not None else None
        before, self._bonds = self._bonds, watch(self._bonds.memory, sight.observed, now, wanted=wanted)
        again = self._bonds.again
        self._bonds_again = site.mono() + max(0.0, again - now) if again is not None else None
        self._log_and_tell(self._bonds.events)
        if self._bonds.conditions != before.conditions and self.last is not None:
            self._publish(self._said)

    def _keep(self, cluster: Cluster, sight: Sight, said: tuple[Condition, ...], changed: Collection[Ref]) -> None:
        mono = self._site.mono()
        if self._cluster is not None and cluster is not self._cluster and cluster.objects != self._cluster.objects:
            self._contests = self._contests.without(_changed(self._cluster, cluster))
            self._patience.forget()
        self._contests = self._contests.aged(mono)
        planned = plan_node(cluster, sight)
        self._counts.plan = self._site.mono() - mono
        fit = self._fit(planned.plan, mono)
        self.on_compiled(planned.compiled)
        report = None
        consent = settle.manages(cluster, changed) or settle.manages(self._good, changed)
        if not planned.plan.empty and plan_node(cluster, sight, consent=consent, fit=fit).plan.steps:
            report = self._carry_out(self._proposal(cluster, changed if consent else (), fit))
            if report is None:
                return  # the lock is another one's, or it left news; this round comes again
            planned = plan_node(cluster, report.sight)
            self._account(report, planned)
        self._patience.waiting(planned.plan, mono)  # what is done by now is waited for no more
        self._lock_pause = LOCK_PAUSE_S
        self._cluster, self._wanted = cluster, planned.compiled.state
        self._undone = tuple(d for d in _left(planned.plan) if contests.key_of(d) not in self._contests.fights)
        self.last = Round(cluster=cluster, sight=report.sight if report else sight, planned=planned, report=report)
        self._store(self.last)
        self._publish((*said, *self._verdicts(self.last)))

    def _fit(self, plan: Plan, mono: float) -> Callable[[Compiled, Sight], Compiled]:
        """Leave alone what is contested, what failed a moment ago, and what an undecided change of another is about."""
        keys, waiting = self._contests.left_alone(plan, mono), self._patience.waiting(plan, mono)
        waiting |= {IfName(link) for link in self._pending.links} if self._pending is not None else set()

        def fit(compiled: Compiled, _: Sight) -> Compiled:
            if not keys and not waiting:
                return compiled
            state, held = contests.conceded(compiled.state, plan, keys)
            links = {name: link for name, link in state.links.items() if name not in waiting}
            routes = frozenset(route for route in state.routes if route.dev not in waiting)
            state = replace(state, links=links, routes=routes)
            return replace(compiled, state=state, held=compiled.held | held | waiting)

        return fit

    def _proposal(self, cluster: Cluster, documents: Collection[Ref], fit: Fit) -> Proposal:
        """`documents`: of the management network, which go back to what they were where the host is not reached."""
        before = self._good.objects if self._good is not None else {}
        return Proposal(
            cluster=cluster,
            documents={ref: dump(before[ref]) if ref in before else None for ref in documents},
            made_by="windrow agent",
            terms=Terms(consent=bool(documents), peers=peers(cluster, self._site.node) if documents else ()),
            fit=fit,
        )

    def _carry_out(self, proposal: Proposal) -> Report | None:
        """None: not now, or it was taken back."""
        site = self._site
        try:
            with HostLock(site.paths, timeout_s=NETWORK_LOCK_S, turn_timeout_s=0) as lock:
                if signature(site.paths) != self._good_signature:
                    self._again = site.mono()  # whoever had the lock brought the node to something else
                    return None
                return self._safely(proposal, lock.waiting)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
        if self._lock_pause == LOCK_PAUSE_S:
            site.log.info("waiting: another one changes this host's network", who=holder_of(site.paths))
        self._again = site.mono() + self._lock_pause
        self._lock_pause = min(2 * self._lock_pause, LOCK_PAUSE_MAX_S)
        return None

    def _plainly(self, proposal: Proposal, waiting: Waiting) -> Report:
        site, knowing = self._site, partial(known, self._site.paths)
        return converge(
            proposal.cluster,
            site.kernel,
            site.node,
            self._on_step,
            knowing=knowing,
            waiting=waiting,
            fit=proposal.fit,
        )

    def _safely(self, proposal: Proposal, waiting: Waiting) -> Report | None:
        site = self._site
        if self._pending is not None:
            return self._plainly(proposal, waiting)  # there is one checkpoint at a time, and it is another's
        try:
            result = carry_out_safely(site.ground, site.kernel, proposal, self._on_step, waiting=waiting)
        except StoreError as error:
            # The way back cannot be written down. A repair is worth more than that; the management network stays.
            self._trouble_with("checkpoint", error)
            return self._plainly(proposal, waiting)
        self._troubles.pop("checkpoint", None)
        if result.kept:
            return result.report
        # Whoever undoes a change tells the event, also where this process is no more.
        site.log.warning("a change of the management network was taken back", said=result.said)
        self._again, self._found = site.mono() + LEFT_PAUSE_S, None
        return None

    def _recover(self) -> None:
        """A change that was cut off, or waits to be confirmed: finish it, undo it, or leave it to its watchdog."""
        site = self._site
        if pending_change(site.paths) is not None:
            locked = partial(HostLock, site.paths, timeout_s=NETWORK_LOCK_S)
            done = recover(site.ground, site.kernel, locked=locked)
            if done is not None:
                site.log.warning(
                    "a change was not decided", made_by=done.checkpoint.made_by, now=done.stage, said=done.said
                )
        self._pending = pending_change(site.paths)

    def _on_step(self, step: Step, failure: Failure | None) -> None:
        more = {"link": step.link, "step": words(step), "why": reason(step), "impact": step.impact.value}
        if failure is None:
            self._counts.done += 1
            self._site.log.info("done", **more)
        else:
            self._counts.failed += 1
            self._site.log.error("failed", **more, errno=failure.errno, reason=failure.extack or failure.reason)

    # What came of it ------------------------------------------------------------------------------

    def _account(self, report: Report, planned: Planned) -> None:
        site, mono, now = self._site, self._site.mono(), self._site.clock()
        failed = {f.step.link for f in report.outcome.failures.values()}
        failing = [unit for unit in planned.plan.units if unit.steps and failed & set(unit.links)]
        in_vain = {name for unit in failing for name in unit.links} | failed
        done = _together(report.plans)
        drift = repairs.drift(done, self._wanted, planned.compiled.state, self._undone)
        # What came back while this looked was repaired all the same: it counts, or nobody would ever stop.
        healed = tuple(d for d in drift if d.link not in in_vain)
        self._counts.repaired += len(healed)
        self._contests = self._contests.repaired(healed, done, mono=mono, now=now)
        told = list(repairs.events(healed, site.node, now))
        asked = [d for d in repairs.differences(done) if d not in drift and d.link not in in_vain]
        if asked:
            told.append(_applied(asked, report, site.node, now))
        self._log_and_tell(told)
        for failure in report.outcome.failures.values():
            for unit in (u for u in failing if failure.step.link in u.links):
                self._patience.failed(unit, failure, planned.plan, mono=mono, now=now)
        if report.left.steps and not failing:
            self._again = mono + LEFT_PAUSE_S

    def _verdicts(self, last: Round) -> tuple[Condition, ...]:
        observed = last.sight.observed
        report = NodeReport(
            node=self._site.node,
            observed=observed,
            plan=last.planned.plan,
            problems=last.planned.compiled.problems,
            failures=self._patience.failures(),
            ports=last.sight.facts.ports,
            leases=last.sight.facts.leases,
            asking=last.sight.facts.asking,
        )
        return tuple(verdicts(last.cluster, report))

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

    def _publish(self, said: tuple[Condition, ...]) -> None:
        now, self._said = self._site.clock(), said
        standing = self._contests.standing(self._rivals())
        # As of this round: once it has come, it stays due until the next one.
        self._contests_due = self._contests.deadline(self._site.mono())
        current = [*said, *contests.conditions(standing), *self._bonds.conditions, *self._trouble()]
        conditions, events = update(self.status.conditions, current, now)
        self._log_and_tell(events)
        self.status = replace(
            self.status,
            conditions=conditions,
            failures=self._patience.told(),
            contests=standing,
            last_round=now,
        )
        self._try("the agent's status", lambda: self._publisher.publish(self.status))

    def _log_and_tell(self, events: Iterable[Event]) -> None:
        told = tuple(events)
        for event in told:
            say = self._site.log.warning if event.type is EventType.WARNING else self._site.log.info
            say(event.message, about=event.about, reason=event.reason)
            self._counts.events[event.type] = self._counts.events.get(event.type, 0) + 1
        self._try("events", lambda: self._events.add(told))

    # The disk -------------------------------------------------------------------------------------

    def _load_good(self) -> None:
        """What cannot be read is as if it were not there: then the manifests alone count."""
        paths = self._site.paths
        self._good_signature = signature(paths)
        try:
            found = read_last_good(paths)
            self._troubles.pop("last good state", None)
        except StoreError as error:
            self._trouble_with("last good state", error)
            found = None
        self._good = Cluster.of(found.objects) if found is not None else None

    def _store(self, last: Round) -> None:
        paths = self._site.paths
        names = cluster_networks(last.cluster, last.sight.observed)
        if names != self._networks and self._try("cluster networks", lambda: write_cluster_networks(paths, names)):
            self._networks = names
        memory = last.planned.compiled.memory
        if memory != self._memory and self._try("memory", lambda: write_memory(paths, memory)):
            self._memory = memory
        failed = {failure.step.link for failure in self._patience.failures()}
        undone = [u for u in last.planned.plan.units if u.refusals or failed & set(u.links)]
        failing = {delta.why for unit in undone for delta in unit.deltas if delta.why is not None}
        if self._pending is not None:
            return  # what is not confirmed is not good yet
        good = settle.good_after(last.cluster, self._good, failing)
        if self._good is None or _documents(good) != _documents(self._good):
            objects = tuple(good.objects.values())
            if self._try("last good state", lambda: write_last_good(paths, objects, self._site.clock())):
                self._good, self._good_signature = good, signature(paths)

    def _try(self, what: str, write: Callable[[], object]) -> bool:
        """A disk that is full must not stop the network's repair: it is said, and tried again in the next round."""
        try:
            write()
        except (StoreError, OSError) as error:
            self._trouble_with(what, error)
            return False
        if self._troubles.pop(what, None):
            self._site.log.info("the disk takes it again", subject=what)
        return True

    def _trouble_with(self, what: str, error: WindrowError | OSError) -> None:
        if self._troubles.get(what) != str(error):
            self._troubles[what] = str(error)
            self._site.log.error("trouble with the disk", subject=what, reason=str(error))

    def _trouble(self) -> tuple[Condition, ...]:
        if not self._troubles:
            return ()
        text = "; ".join(f"{what}: {why.splitlines()[0]}" for what, why in sorted(self._troubles.items()))
        hint = "the network is kept right as before; make room, or mount the file system read-write"
        about = Ref("Node", self._site.node)
        return (Condition(about=about, type=STATE, status=True, reason=STATE, message=text, hint=hint),)

    def _news(self, what: str) -> None:
        """Somebody else brought the node to a state: what was fought about or failed before is past."""
        self._site.log.debug(what)
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


def _changed(before: Cluster, after: Cluster) -> frozenset[Ref]:
    refs = before.objects.keys() | after.objects.keys()
    return frozenset(ref for ref in refs if before.objects.get(ref) != after.objects.get(ref))


def _documents(cluster: Cluster) -> dict[Ref, tuple[str, object]]:
    """Fields that Windrow does not know count too: they are shown, and kept."""
    return {ref: (obj.source.file, obj.doc or obj) for ref, obj in cluster.objects.items()}


def _applied(deltas: list[Delta], report: Report, node: str, now: float) -> Event:
    links = sorted({str(delta.link) for delta in deltas if delta.link})
    objects = sorted({str(d.why) for d in deltas if d.why is not None and d.why.name not in ("", "*")})
    steps = sum(report.outcome.done.values())
    because = f" for {', '.join(objects)}" if objects else ""
    return Event(
        type=EventType.NORMAL,
        reason="Applied",
        about=Ref("Node", node),
        message=f"changed {', '.join(links) or 'this kernel'}{because}: {steps} steps, worst impact "
        f"{report.planned.plan.impact.value}",
        first=now,
        last=now,
    )
