"""carry_out: one round, whoever asks for it.

    lock → look → admit → plan → guard → checkpoint → write → run → look → verify, probe → remember

Nothing is written, in the store or the kernel, before the last gate has let it pass and the way back is on disk.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from windrow.apps.engine import look
from windrow.apps.known import known, pending_change, recorded, unreadable
from windrow.apps.lock import HostLock
from windrow.apps.round.policy import Hooks, Policy
from windrow.apps.round.remember import CHECKPOINT, not_done, remember, tell_judged, to_give
from windrow.apps.round.report import Report, Timing
from windrow.apps.round.stored import Stored
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.facts import Known
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, ProblemsError, Severity
from windrow.model.values import Ref
from windrow.netlink.errors import KernelError
from windrow.rules import AS_STORED, Admitted, Fit, Planned, Wish, admit
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.errors import StoreError
from windrow.store.history import History

if TYPE_CHECKING:
    from windrow.apps.round.guarded import Outcome

AGAIN_S = 10.0
"""Whoever looks again and again tries only so often to undo what could not be undone."""


def carry_out(
    site: Site, stored: Stored, wish: Wish = AS_STORED, policy: Policy = Policy(), hooks: Hooks = Hooks()
) -> Report:
    """Raises ProblemsError with all that speaks against it, and KernelError where the kernel cannot be looked at or
    another one has the locks; nothing has changed then. What is raised later (KernelError, StoreError, whatever a hook
    raises) comes after the change was undone."""
    with _turn(site, policy) as lock:
        if lock is not None and policy.within is None and _earlier_change(site, policy, hooks, lock):
            stored.forget()
        if lock is not None:
            hooks.locked(lock)
        seen = _see(site, stored, wish, policy, hooks)
        _gates(seen.planned, policy)
        report = seen.report(site)
        if lock is None or policy.dry:
            return replace(report, busy=lock is None and not policy.dry and not seen.planned.plan.empty)
        if not seen.planned.plan.steps and policy.within is not None:
            tell_judged(site, report)
            return report
        if not seen.planned.plan.steps:
            return _without_steps(site, stored, wish, seen, report, policy, hooks)
        with lock.network():
            seen = _still_true(site, stored, policy, seen)
            from windrow.apps.round.guarded import Change, make  # what only looks needs nothing of the way back

            to_give(site, seen.planned)

            change = Change(
                admitted=seen.admitted,
                planned=seen.planned,
                fit=seen.fit,
                wish=wish,
                knowing=partial(knowing, site, stored, policy),
                local=stored.local,
            )
            outcome = make(site, policy, hooks, change, lock)
        report = _after(report, seen, outcome)
        if wish.touched or not report.kept:
            stored.forget()  # what was undone is put back there, too
        good = report.kept and report.refused is None and pending_change(site.paths) is None
        stands = report.stage in (None, Stage.CONFIRMED, Stage.WAITING) and report.refused is None
        if stands and policy.within is None:
            written = remember(site, stored, report, _failed(report, hooks), good=good, aside=policy.aside)
            return replace(report, troubles={CHECKPOINT: outcome.trouble, **written})
        if report.undone is None:  # what was looked at last is no longer in force
            tell_judged(site, report)
        return report


def _after(report: Report, seen: _Seen, outcome: Outcome) -> Report:
    report = replace(
        report,
        admitted=seen.admitted,
        planned=seen.planned,
        converged=outcome.converged,
        refused=outcome.refused,
        stage=outcome.stage,
        checkpoint=outcome.checkpoint,
        said=outcome.said,
        undone=outcome.undone,
    )
    if outcome.converged is None:
        return report
    sight = outcome.converged.sight
    left = outcome.converged.last if seen.fit is None else seen.admitted.seen_again(sight).plan()
    return replace(report, sight=sight, left=left)


def _without_steps(
    site: Site, stored: Stored, wish: Wish, seen: _Seen, report: Report, policy: Policy, hooks: Hooks
) -> Report:
    if wish.touched:
        began = site.clock()
        hooks.writing(seen.admitted, seen.planned)
        from windrow.apps.round.guarded import store_wish

        try:
            store_wish(site, wish)
        except StoreError:
            History(site.paths).forget_since(began)  # there is no undo here that would do it
            raise
        stored.forget()
    good = pending_change(site.paths) is None
    return replace(
        report, troubles=remember(site, stored, report, _failed(report, hooks), good=good, aside=policy.aside)
    )


def _failed(report: Report, hooks: Hooks) -> frozenset[Ref]:
    """The objects that are not good, by this round or by an earlier one."""
    failures = report.converged.outcome.failed if report.converged is not None else ()
    links = hooks.failing() | {failure.step.link for failure in failures}
    return hooks.taken_back() | not_done(report, links)


# -- locks and what an earlier change left -----------------------------------------------------------


@contextmanager
def _turn(site: Site, policy: Policy) -> Iterator[HostLock | None]:
    """None: it is another one's, or none is needed."""
    if policy.dry or policy.within is not None:
        yield policy.within
        return
    lock = HostLock(site.paths, timeout_s=policy.network_s, turn_timeout_s=policy.turn_s, turn_only=True)
    try:
        lock.__enter__()
    except KernelError as error:
        if not policy.aside or error.errno != errno.EAGAIN:
            raise
        yield None
        return
    try:
        yield lock
    finally:
        lock.__exit__(None, None, None)


def _earlier_change(site: Site, policy: Policy, hooks: Hooks, lock: HostLock) -> bool:
    """First what an earlier change left behind is finished or undone; whether something was. Raises ProblemsError where
    one is still to be decided, and this caller does not work beside it."""
    if not policy.permitted or Checkpoints(site.paths, hooks.tell).pending() is None:
        return False
    from windrow.apps.safe.recover import recover

    done = recover(
        site, locked=lock.network, waiting=lock.waiting, tell=hooks.tell, again_s=AGAIN_S if policy.aside else 0.0
    )
    if done is not None:
        text = f"the change by `{done.checkpoint.made_by}` is {done.stage}: {done.said}"
        hooks.tell(Problem(code="checkpoint-recovered", message=text, severity=Severity.WARNING))
    if not policy.aside and (found := Checkpoints(site.paths).pending()) is not None:
        raise ProblemsError([still_pending(found)])
    return done is not None


def still_pending(found: Checkpoint) -> Problem:
    if found.stage is Stage.UNDOING:
        message = f"the change by `{found.made_by}` is being undone: {found.said}"
        hint = "`windrow undo` tries again, `windrow confirm` leaves the rest as it is now; see `windrow checkpoint`"
    else:
        left = max(0.0, found.deadline - boot.seconds())
        message = f"the change by `{found.made_by}` is not confirmed yet; it is undone in {left:.0f} s"
        hint = "keep it with `windrow confirm`, or take it back with `windrow undo`, before you change more"
    return Problem(code="checkpoint-pending", message=message, hint=hint)


# -- look, admit, plan -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    admitted: Admitted
    whole: Planned
    planned: Planned
    fit: Fit | None
    known: Known
    timing: Timing

    def report(self, site: Site) -> Report:
        return Report(
            admitted=self.admitted,
            whole=self.whole,
            planned=self.planned,
            sight=self.admitted.sight,
            left=self.whole,
            problems=unreadable(site.paths),
            timing=self.timing,
        )


def _see(site: Site, stored: Stored, wish: Wish, policy: Policy, hooks: Hooks) -> _Seen:
    found, good = stored.found(site.clock()), stored.good()
    began = site.mono()
    what = knowing(site, stored, policy)
    sight = policy.see(look(site.kernel, site.node, what))
    looked = site.mono()
    hooks.looked(sight)
    thought = site.mono()
    admitted = admit(found, good, sight, wish, was=stored.was)
    admitted = replace(admitted, consent=(policy.consent or admitted.consent) and policy.trusts(admitted))
    if admitted.against or (admitted.refusing and not policy.explain):
        raise ProblemsError((*admitted.against, *admitted.refusing))
    whole = admitted.plan()
    timing = Timing(look=looked - began, plan=site.mono() - thought)
    fit = hooks.planned(admitted, whole)
    planned = admitted.plan(fit=fit) if fit is not None else whole
    return _Seen(admitted=admitted, whole=whole, planned=planned, fit=fit, known=what, timing=timing)


def knowing(site: Site, stored: Stored, policy: Policy) -> Known:
    """What the disk knows now, whether a cluster says the rest, who is logged in, and by which way."""
    found = known(site.paths)
    found = replace(found, of_cluster=not stored.local or _stays_a_clusters(site, stored, policy, found))
    if policy.login is None:
        return found
    ways = site.ways(site.kernel, [policy.login])
    return replace(found, ways=ways, peers=frozenset({policy.login.address}) if ways else frozenset())


def _stays_a_clusters(site: Site, stored: Stored, policy: Policy, known: Known) -> bool:
    """On a node of a cluster, whoever does not ask its API: where there are no manifests of this host's own, what
    counts is the last good state, and that is the cluster's; and so are the objects where its agent runs (`aside` is
    the agent itself). A pod that is not among them is one that the API has not named."""
    if not known.memory.of_cluster:
        return False
    return stored.found(site.clock()).lost is not None or (known.agent and not policy.aside)


def _still_true(site: Site, stored: Stored, policy: Policy, seen: _Seen) -> _Seen:
    """CNI calls came and went between the look and the lock: where they attached or took away a port, another look is
    due. Everybody else who plans waits for the turn."""
    if recorded(site.paths) == seen.known.ports:
        return seen
    what = knowing(site, stored, policy)
    admitted = seen.admitted.seen_again(policy.see(look(site.kernel, site.node, what)))
    return replace(seen, admitted=admitted, planned=admitted.plan(fit=seen.fit), known=what)


# -- the gates -------------------------------------------------------------------------------------


def _gates(planned: Planned, policy: Policy) -> None:
    """The impact and the permission. Raises ProblemsError, KernelError."""
    plan = planned.plan
    if plan.impact.rank > policy.worst.rank:
        worst = [s for s in plan.steps if s.impact.rank > policy.worst.rank]
        links = ", ".join(dict.fromkeys(s.link for s in worst))
        text = f"the plan has impact {plan.impact.value} on {links}, and --max-impact is {policy.worst.value}"
        hint = "see `windrow plan` with the same arguments"
        raise ProblemsError([Problem(code="impact", message=text, hint=hint)])
    if plan.steps and not policy.dry and not policy.permitted:
        raise not_permitted()


def not_permitted() -> KernelError:
    hint = "this needs the capability CAP_NET_ADMIN: run it as root; `--dry-run` and `windrow plan` do not need it"
    return KernelError(errno.EPERM, "change the network of this host", hint=hint)
