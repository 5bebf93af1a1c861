"""make: a change of the network that is kept only if the host is still reached after it.

    checkpoint on disk → watchdog at work → manifests → plan → probe → kept, or undone

A plan that costs less than a flap and touches nothing of the management network goes without all this.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from windrow.apps.engine import Converged, converge
from windrow.apps.lock import HostLock
from windrow.apps.round.policy import Hooks, Policy
from windrow.apps.safe import probe
from windrow.apps.safe.incoming import Incoming, asked_for
from windrow.apps.safe.peers import connected, peers
from windrow.apps.safe.telling import tell
from windrow.apps.safe.undo import Undone, undo
from windrow.apps.site import Ended, Site
from windrow.model import names
from windrow.model.checkpoint import GATEWAY, Checkpoint, Stage
from windrow.model.facts import Known
from windrow.model.host import Observed
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.steps import AskAddr, Impact, Plan
from windrow.model.values import IfName, Ref
from windrow.model.wire import dump
from windrow.plan import changes_reachability, normalise
from windrow.rules import Admitted, Fit, Planned, Wish
from windrow.rules.admit import both
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.directory import Store
from windrow.store.errors import StoreError

PLAN_S = 120.0
"""How long a plan may take before it is undone: a takeover waits up to 20 seconds for LACP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be made: `planned` is of `admitted`, with what `fit` leaves out."""

    admitted: Admitted
    planned: Planned
    fit: Fit | None
    wish: Wish
    knowing: Callable[[], Known]
    """What is known of the host beside the kernel, asked anew for each look."""
    local: bool
    """What is stored lies on this host: an undo puts it back."""

    @property
    def plan(self) -> Plan:
        return self.planned.plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """See `Report`."""

    converged: Converged | None = None
    refused: Problem | None = None
    stage: Stage | None = None
    checkpoint: str = ""
    said: str = ""
    undone: Undone | None = None
    trouble: StoreError | None = None
    """Why there was no way back on disk: a repair is worth more than that."""


def store_wish(site: Site, wish: Wish) -> None:
    """Raises StoreError."""
    store = Store(site.paths)
    if wish.remove:
        store.remove(o.ref for o in wish.remove)
    if wish.put:
        store.put(wish.put)


def needs_guard(plan: Plan, protected: frozenset[IfName], *, consent: bool) -> bool:
    """Whether a unit that changes holds a link of the management network, or one that carries its traffic. A repair,
    which nobody consented to, is guarded where it may cost that traffic something."""
    carrying = _carrying(plan, protected)
    touching = [unit for unit in plan.units if unit.steps and carrying.intersection(unit.links)]
    if consent:
        return bool(touching)
    return any(step.impact.rank >= Impact.FLAP.rank for unit in touching for step in unit.touching(carrying))


def _carrying(plan: Plan, protected: frozenset[IfName]) -> frozenset[IfName]:
    """The links that this host is reached by, and those of the management network that the plan is about."""
    return protected | {name for unit in plan.units for name in unit.links if _of_management(name)}


def _of_management(name: IfName) -> bool:
    bridge = names.bridge_of(names.MGMT)
    return name in names.MGMT_DEVICES or name == names.next_bond_of(names.MGMT) or name.startswith(f"{bridge}.")


def make(site: Site, policy: Policy, hooks: Hooks, change: Change, lock: HostLock) -> Outcome:
    """The caller has passed all gates, and holds the host's locks.

    Raises ProblemsError where nobody could say whether it was good, StoreError and KernelError, and then nothing has
    changed, or it has been undone.
    """
    return _Making(site, policy, hooks, change, lock).run()


class _Making:
    def __init__(self, site: Site, policy: Policy, hooks: Hooks, change: Change, lock: HostLock) -> None:
        self.site, self.policy, self.hooks, self.change, self.lock = site, policy, hooks, change, lock
        self.file = Checkpoints(site.paths)

    def run(self) -> Outcome:
        admitted, plan = self.change.admitted, self.change.plan
        protected = admitted.sight.facts.protected
        guarded = of_the_way = self.policy.guard or needs_guard(plan, protected, consent=admitted.consent)
        if (self.change.wish.touched or admitted.changed) and protected:
            # Somebody meant it, by a command or a file; what has only drifted goes back to where this host was reached.
            guarded = guarded or changes_reachability(plan, admitted.sight.observed)
        if self.policy.aside and self.file.pending() is not None:
            return Outcome(converged=self._go())  # there is one checkpoint at a time, and it is another's
        if not guarded and plan.impact.rank < Impact.FLAP.rank:
            return Outcome(converged=self._go())
        checkpoint = self._checkpoint(guarded=guarded)
        if not guarded:
            return self._with_a_net(checkpoint)
        if not self.policy.guard and not self.policy.aside and (lost := self._all_that_is_lost()):
            raise ProblemsError([_no_address_left(lost)])
        before = self._baseline()
        try:
            confirm = self._who_decides(before)
        except ProblemsError as error:
            if not self.policy.aside:
                raise
            return Outcome(refused=error.problems[0])
        return _Guarded(self, checkpoint, before, confirm=confirm, of_the_way=of_the_way).run()

    def _go(self) -> Converged:
        """Write and run."""
        site, admitted = self.site, self.change.admitted
        self.hooks.writing(admitted, self.change.planned)
        store_wish(site, self.change.wish)
        with site.announcing(site.kernel, site.paths, self._unannounced, None):
            return converge(
                admitted.target,
                site.kernel,
                admitted.sight.facts.node,
                self.hooks.on_step,
                knowing=self.change.knowing,
                waiting=self.lock.waiting,
                consent=admitted.consent,
                fit=both(admitted.fit, self.change.fit),
                begin=(admitted.sight, self.change.planned),
            )

    def _unannounced(self, why: str) -> None:
        hint = "until they speak, or the switch forgets them, machines may not be reached from outside"
        self.hooks.tell(Problem(code="not-announced", message=why, severity=Severity.WARNING, hint=hint))

    # -- the way back --------------------------------------------------------------------------------

    def _checkpoint(self, *, guarded: bool) -> Checkpoint:
        site, policy, plan = self.site, self.policy, self.change.plan
        links = tuple(name for unit in plan.units if unit.steps for name in unit.links)
        return Checkpoint(
            id=os.urandom(8).hex(),
            node=site.node,
            stage=Stage.CHANGING,
            made_by=policy.made_by,
            made=time.time(),
            boot=boot.identity(site.paths),
            deadline=boot.seconds() + PLAN_S + policy.allowed_s,
            allowed_s=policy.allowed_s,
            want=normalise(self.change.admitted.sight.observed, frozenset(links)),
            links=links,
            documents=self._documents(),
            probes=policy.probes,
            guarded=guarded,
            changer=process.found(os.getpid()),
        )

    def _documents(self) -> Mapping[Ref, Mapping[str, Any] | None]:
        """The objects that change, as they were: None where there was none, or a built-in one. Of those that somebody
        has stored already, the last good version."""
        admitted = self.change.admitted
        found: dict[Ref, Mapping[str, Any] | None] = {}
        if self.change.local and admitted.consent and admitted.good is not None:
            before = admitted.good.objects
            found = {ref: dump(before[ref]) if ref in before and before[ref].doc else None for ref in admitted.changed}
        for c in admitted.changes:
            found[c.ref] = dict(c.old.doc) if c.old is not None and c.old.doc else None
        return found

    def _with_a_net(self, checkpoint: Checkpoint) -> Outcome:
        """What does not touch the way to this host: nobody need stand by. Whoever comes next finishes it, should we
        not."""
        try:
            self.file.put(checkpoint)
        except StoreError:
            if not self.policy.aside:
                raise
            return Outcome(converged=self._go())
        converged = self._go()
        said = (
            "the plan went through" if converged.ok else "the plan did not go through; the next one goes on from there"
        )
        self.file.move(checkpoint.id, Stage.CONFIRMED, since=(Stage.CHANGING,), said=said)
        return Outcome(converged=converged, stage=Stage.CONFIRMED, checkpoint=checkpoint.id, said=said)

    # -- who decides ---------------------------------------------------------------------------------

    def _all_that_is_lost(self) -> tuple[str, ...]:
        """The addresses of the management network, where it goes and no link of the change gets one for it: then nobody
        who answered before can be asked afterwards, and all would be undone."""
        state = self.change.planned.compiled.state
        if any(_of_management(name) for name in state.links):
            return ()
        links = {name for unit in self.change.plan.units if unit.steps for name in unit.links}
        if any(state.links[name].addrs for name in links if name in state.links):
            return ()
        seen = self.change.admitted.sight.observed.state.links
        gone = [seen[name] for name in sorted(links) if name in seen and _of_management(name)]
        return tuple(f"{address} from {link.name}" for link in gone for address in sorted(link.addrs or ()))

    def _baseline(self) -> probe.Baseline:
        site, admitted = self.site, self.change.admitted
        return probe.baseline(
            admitted.sight.observed,
            probe.Asked(
                probes=self.policy.probes,
                login=self.policy.login,
                peers=peers(admitted.target, admitted.sight.facts.node),
                connected=connected(site, admitted.sight.facts.protected),
                surroundings=site.surroundings(site.kernel),
                links=frozenset(n for unit in self.change.plan.units if unit.steps for n in unit.links),
            ),
            site.ask,
        )

    def _who_decides(self, before: probe.Baseline) -> bool:
        """Whether somebody has to confirm it. Raises ProblemsError where nobody can say whether it was good."""
        policy = self.policy
        if policy.confirm or policy.probes != (GATEWAY,) or before.answered:
            return policy.confirm
        if not self.change.admitted.consent:
            return False  # a repair where nobody answers has nothing to lose
        if not _is_anywhere(self.change.admitted.sight.observed):
            return False  # nor has a host that nobody can reach now: it may have lost its power in the middle of this
        if probe.new_gateways(self.change.planned.compiled.state, before):
            return False  # one that answers afterwards proves it
        if policy.can_confirm:
            return True
        raise ProblemsError([_nobody_answers(before)])


def _is_anywhere(observed: Observed) -> bool:
    """Whether this host has an address on a link, or a route over one: a router's prefix (SLAAC) shows as that."""
    links = observed.state.links.items()
    return bool(observed.state.routes) or any(link.addrs or link.details for name, link in links if name != "lo")


def _nothing_to_go_back_to(before: Observed, converged: Converged) -> bool:
    """A host that comes up, and somebody else has its address: all but the address is better than nothing, and it is
    asked for again and again."""
    failures = converged.outcome.failed
    return not _is_anywhere(before) and all(isinstance(f.step.action, AskAddr) for f in failures) and bool(failures)


def _no_address_left(lost: Sequence[str]) -> Problem:
    return Problem(
        code="no-address-left",
        message=f"the change takes {', '.join(lost)}, and leaves this host no address in its place: nobody who answers "
        "now could be asked afterwards",
        hint="`windrow init --undo` gives it back to the NIC; where this host is reached by another link, too, say "
        "which address there must answer (--probe ADDRESS), or --probe none",
    )


def _nobody_answers(before: probe.Baseline) -> Problem:
    asked = ", ".join(before.asked) or "there is no gateway, and no neighbour is known"
    return Problem(
        code="nobody-answers",
        message="the change is about the way to this host, and nobody answers it now who could tell afterwards whether "
        f"it is still reached (asked: {asked})",
        hint="say who must answer (--probe ADDRESS), have somebody connect to this host afterwards (--probe incoming), "
        "or confirm it by hand: --confirm 60s; `--probe none` goes by the uplink's carrier alone",
    )


class _Guarded:
    """A change that somebody stands by to undo."""

    def __init__(
        self, making: _Making, checkpoint: Checkpoint, before: probe.Baseline, *, confirm: bool, of_the_way: bool
    ) -> None:
        """`of_the_way`: it is about links that this host is reached by, and not only about addresses or routes that
        might take their traffic."""
        self.making, self.checkpoint, self.before, self.confirm = making, checkpoint, before, confirm
        self.of_the_way = of_the_way
        self.site, self.policy, self.lock = making.site, making.policy, making.lock
        self.file = making.file

    def run(self) -> Outcome:
        """The watchdog first: there is no moment in which the way back is on disk and nobody would take it."""
        watchdog = self.site.watch(self.site, self.checkpoint)
        try:
            self.file.put(replace(self.checkpoint, watchdog=watchdog))
        except StoreError as error:
            process.end(watchdog, patience_s=0)
            if not self.policy.aside:
                raise
            if not self.of_the_way:  # as `_with_a_net`: a full disk keeps no network down
                return Outcome(converged=self.making._go(), trouble=error)
            text = f"the way back cannot be written down, so the management network stays as it was: {error}"
            refused = Problem(code="checkpoint-unwritten", message=text, hint="make room on the disk")
            return Outcome(refused=refused, trouble=error)
        except BaseException:
            process.end(watchdog, patience_s=0)
            raise
        try:
            converged = self.making._go()
            carrying = _carrying(self.making.change.plan, self.making.change.admitted.sight.facts.protected)
            if why := _why_not(converged, self.checkpoint.links, self.making.change.plan, carrying):
                if _nothing_to_go_back_to(self.making.change.admitted.sight.observed, converged):
                    return self._decided(converged, Stage.CONFIRMED, f"there was nothing before it; {why}")
                return self._undo(converged, why)
            incoming = Incoming(self.site, self.checkpoint.links)
            with self.lock.waiting():
                verdict = self._proved(incoming)
        except Ended:
            raise  # the watchdog sees that we are gone, and need not hurry to end
        except BaseException as error:
            undo(self.site, self.checkpoint, f"it was cut off ({type(error).__name__})")
            raise
        if not self._ours():
            return self._outcome(converged, Stage.UNDOING, verdict.said)
        if not verdict.ok:
            return self._undo(converged, f"after {self.policy.allowed_s:.0f} s {verdict.said}")
        if self.confirm:
            deadline = boot.seconds() + self.policy.allowed_s
            known = tuple(sorted(incoming.before))
            return self._decided(converged, Stage.WAITING, verdict.said, deadline=deadline, connections=known)
        return self._decided(converged, Stage.CONFIRMED, verdict.said)

    def _proved(self, incoming: Incoming) -> probe.Verdict:
        policy = self.policy
        if text := asked_for(policy.probes, policy.allowed_s):
            self.making.hooks.waits_for(text)
        going = partial(self._going, time.monotonic() + policy.allowed_s)
        return probe.prove(self.site, policy.probes, self.before, incoming, going=going, by_hand=self.confirm)

    def _going(self, until: float) -> bool:
        return time.monotonic() < until and self._ours()

    def _ours(self) -> bool:
        """Whether the decision is still ours: the watchdog may have begun to undo it, and waits for our locks."""
        found = self.file.get()
        return found is None or found.id != self.checkpoint.id or found.stage is Stage.CHANGING

    def _outcome(self, converged: Converged, stage: Stage, said: str, undone: Undone | None = None) -> Outcome:
        return Outcome(converged=converged, stage=stage, checkpoint=self.checkpoint.id, said=said, undone=undone)

    def _undo(self, converged: Converged, why: str) -> Outcome:
        undone = undo(self.site, self.checkpoint, why, waiting=self.lock.waiting)
        found = self.file.get()
        stage = found.stage if found is not None and found.id == self.checkpoint.id else Stage.UNDONE
        return self._outcome(converged, stage, why, undone)

    def _decided(self, converged: Converged, stage: Stage, said: str, **changes: Any) -> Outcome:
        moved = self.file.move(self.checkpoint.id, stage, since=(Stage.CHANGING,), said=said, **changes)
        if moved is None:  # the watchdog was faster: it took too long
            found = self.file.get()
            if found is None:
                return self._outcome(converged, Stage.UNDONE, "its checkpoint is gone")
            return self._outcome(converged, found.stage, found.said)
        if stage is Stage.CONFIRMED:
            text = f"the change by `{self.checkpoint.made_by}` was kept: {said}"
            tell(self.site.paths, self.site.node, "ChangeKept", text, now=self.site.clock(), well=True)
        return self._outcome(converged, stage, said)


def _why_not(converged: Converged, links: Sequence[IfName], planned: Plan, carrying: frozenset[IfName]) -> str:
    """In one line: the first step that failed, or what was refused or left of what this change is about; empty: it was
    done. What the plan itself had refused was never to be done; and an address that somebody else has is left out,
    unless it is on a link that this host is reached by (`carrying`)."""
    failed = converged.outcome.failed
    for failure in failed:
        if isinstance(failure.step.action, AskAddr) and failure.step.link not in carrying:
            continue
        reason = " ".join(filter(None, (failure.reason, failure.extack)))
        return f"a step failed: {failure.step.link}: {reason}"
    ours = [unit for unit in converged.left.units if set(unit.links) & set(links)]
    for problem in (p for unit in ours for p in unit.refusals if p not in planned.refusals):
        return f"it was refused: {problem.message}"
    left = 0 if failed else sum(len(unit.steps) for unit in ours)
    return f"{left} steps were left, whatever was done" if left else ""
