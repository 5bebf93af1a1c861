"""carry_out_safely: a change of the network that is kept only if the host is still reached after it.

    checkpoint on disk → watchdog at work → manifests → plan → probe → kept, or undone

A plan that costs less than a flap and touches nothing of the management network goes without all this.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from windrow.apps.engine import (
    Fit,
    Kernel,
    OnStep,
    Planned,
    Report,
    Sight,
    Waiting,
    as_it_is,
    converge,
    look,
    plan_node,
)
from windrow.apps.kept import keep
from windrow.apps.known import known
from windrow.apps.safe import probe
from windrow.apps.safe.ground import Ground
from windrow.apps.safe.telling import tell
from windrow.apps.safe.undo import Undone, undo
from windrow.model.checkpoint import GATEWAY, Checkpoint, Probe, Stage
from windrow.model.cluster import Cluster
from windrow.model.problems import Problem, ProblemsError
from windrow.model.steps import Impact, Plan
from windrow.model.values import IfName, Ref
from windrow.plan import normalise
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints

PLAN_S = 120.0
"""How long a plan may take before it is undone: a takeover waits up to 20 seconds for LACP."""
PROBE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`allowed_s`: for the probes, and for whoever has to confirm. `confirm`: somebody has to, the probes are not
    enough. `peers`: addresses that count where the gateway proves nothing."""

    probes: tuple[Probe, ...] = (GATEWAY,)
    allowed_s: float = PROBE_S
    confirm: bool = False
    guarded: bool = False
    """Also where the management network is not touched."""
    consent: bool = False
    """The links that carry the management traffic may be changed; that is always guarded."""
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """`cluster`: as it is to be. `documents`: the objects that differ, as they were (None: there were none). `write`
    puts the new ones into the store; it is called once the way back is on disk."""

    cluster: Cluster
    documents: Mapping[Ref, Mapping[str, Any] | None] = field(default_factory=dict)
    write: Callable[[], None] = lambda: None
    made_by: str = "windrow"
    terms: Terms = Terms()
    fit: Fit = as_it_is


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`stage`: None where no checkpoint was needed; CONFIRMED, UNDONE, or WAITING for somebody to confirm it (or
    UNDOING, where the disk did not let the undo end). `said`: on what it was decided."""

    report: Report
    stage: Stage | None = None
    checkpoint: str = ""
    said: str = ""
    undone: Undone | None = None

    @property
    def kept(self) -> bool:
        return self.stage in (None, Stage.CONFIRMED)


def needs_guard(plan: Plan, protected: frozenset[IfName], *, consent: bool) -> bool:
    """Whether a step changes a link that carries the management traffic, or has a NIC join it. What nobody consented
    to is guarded where it may cost that traffic something: a NIC that drifted out of such a bond comes back into it,
    perhaps with another cable."""
    touching = [step for unit in plan.units for step in unit.touching(protected)]
    return bool(touching) if consent else any(step.impact.rank >= Impact.FLAP.rank for step in touching)


def refuse_while_pending(ground: Ground) -> None:
    """Raises ProblemsError while another change waits to be confirmed."""
    found = Checkpoints(ground.paths).pending()
    if found is not None:
        raise ProblemsError([_pending(found)])


def _pending(found: Checkpoint) -> Problem:
    if found.stage is Stage.UNDOING:
        message = f"the change by `{found.made_by}` is being undone: {found.said}"
        hint = "see `windrow checkpoint`; `windrow undo` tries again"
    else:
        left = max(0.0, found.deadline - boot.seconds())
        message = f"the change by `{found.made_by}` is not confirmed yet; it is undone in {left:.0f} s"
        hint = "keep it with `windrow confirm`, or take it back with `windrow undo`, before you change more"
    return Problem(code="checkpoint-pending", message=message, hint=hint)


def carry_out_safely(
    ground: Ground,
    kernel: Kernel,
    proposal: Proposal,
    on_step: OnStep | None = None,
    *,
    waiting: Waiting = nullcontext,
) -> Result:
    """The caller has passed all gates and holds the host's locks (`waiting` lets CNI calls in meanwhile).

    Raises ProblemsError (another change is pending), StoreError and KernelError, and then nothing has changed, or it
    has been undone.
    """
    refuse_while_pending(ground)
    sight = look(kernel, ground.node, known(ground.paths))
    terms = proposal.terms
    planned = plan_node(proposal.cluster, sight, consent=terms.consent, fit=proposal.fit)
    guarded = terms.guarded or needs_guard(planned.plan, sight.facts.protected, consent=terms.consent)
    run = partial(_converge, ground, kernel, proposal, on_step, waiting)
    if not planned.plan.steps or (not guarded and planned.plan.impact.rank < Impact.FLAP.rank):
        proposal.write()
        return Result(report=run())
    checkpoint = make_checkpoint(ground, sight, planned, proposal, guarded=guarded)
    if not guarded:
        return _with_a_net(ground, checkpoint, proposal, run)
    before = probe.baseline(sight.observed, terms.probes, terms.peers, ground.ask)
    return _Guarded(ground, kernel, proposal, checkpoint, waiting).carry_out(before, run)


def _converge(ground: Ground, kernel: Kernel, proposal: Proposal, on_step: OnStep | None, waiting: Waiting) -> Report:
    """And what the disk keeps of it for others."""
    report = converge(
        proposal.cluster,
        kernel,
        ground.node,
        on_step,
        knowing=partial(known, ground.paths),
        waiting=waiting,
        consent=proposal.terms.consent,
        fit=proposal.fit,
    )
    keep(ground.paths, proposal.cluster, report.sight.observed, report.memory)
    return report


def make_checkpoint(ground: Ground, sight: Sight, planned: Planned, proposal: Proposal, *, guarded: bool) -> Checkpoint:
    """The way back from what `planned` will do."""
    links = tuple(name for unit in planned.plan.units if unit.steps for name in unit.links)
    terms = proposal.terms
    return Checkpoint(
        id=secrets.token_hex(8),
        node=ground.node,
        stage=Stage.CHANGING,
        made_by=proposal.made_by,
        made=time.time(),
        boot=boot.identity(ground.paths),
        deadline=boot.seconds() + PLAN_S + terms.allowed_s,
        allowed_s=terms.allowed_s,
        want=normalise(sight.observed, frozenset(links)),
        links=links,
        documents=proposal.documents,
        probes=terms.probes,
        guarded=guarded,
        changer=process.found(os.getpid()),
    )


def _with_a_net(ground: Ground, checkpoint: Checkpoint, proposal: Proposal, run: Callable[[], Report]) -> Result:
    """What does not touch the way to this host: nobody need stand by. Whoever comes next finishes it, should we not."""
    file = Checkpoints(ground.paths)
    file.put(checkpoint)
    proposal.write()
    report = run()
    said = "the plan went through" if report.ok else "the plan did not go through; the next one goes on from there"
    file.move(checkpoint.id, Stage.CONFIRMED, since=(Stage.CHANGING,), said=said)
    return Result(report=report, stage=Stage.CONFIRMED, checkpoint=checkpoint.id, said=said)


class _Guarded:
    """A change that somebody stands by to undo."""

    def __init__(
        self, ground: Ground, kernel: Kernel, proposal: Proposal, checkpoint: Checkpoint, waiting: Waiting
    ) -> None:
        self.ground, self.kernel, self.terms = ground, kernel, proposal.terms
        self.proposal, self.checkpoint, self.waiting = proposal, checkpoint, waiting
        self.file = Checkpoints(ground.paths)

    def carry_out(self, before: probe.Baseline, run: Callable[[], Report]) -> Result:
        """The watchdog first: there is no moment in which the way back is on disk and nobody would take it."""
        watchdog = self.ground.watch(self.ground, self.checkpoint)
        try:
            self.file.put(replace(self.checkpoint, watchdog=watchdog))
        except BaseException:
            process.end(watchdog, patience_s=0)
            raise
        try:
            self.proposal.write()
            report = run()
            if not report.ok:
                return self._undo(report, _why_not(report))
            with self.waiting():
                until = time.monotonic() + self.terms.allowed_s
                going = partial(self._going, until)
                verdict = probe.prove(self.kernel, self.terms.probes, before, self.ground.ask, going=going)
        except BaseException as error:
            undo(self.ground, self.kernel, self.checkpoint, f"it was cut off ({type(error).__name__})")
            raise
        if not self._ours():
            return Result(report=report, stage=Stage.UNDOING, checkpoint=self.checkpoint.id, said=verdict.said)
        if not verdict.ok:
            return self._undo(report, f"after {self.terms.allowed_s:.0f} s {verdict.said}")
        if self.terms.confirm:
            deadline = boot.seconds() + self.terms.allowed_s
            return self._decided(report, Stage.WAITING, verdict.said, deadline=deadline)
        return self._decided(report, Stage.CONFIRMED, verdict.said)

    def _going(self, until: float) -> bool:
        return time.monotonic() < until and self._ours()

    def _ours(self) -> bool:
        """Whether the decision is still ours: the watchdog may have begun to undo it, and waits for our locks."""
        found = self.file.get()
        return found is None or found.id != self.checkpoint.id or found.stage is Stage.CHANGING

    def _undo(self, report: Report, why: str) -> Result:
        undone = undo(self.ground, self.kernel, self.checkpoint, why, waiting=self.waiting)
        found = self.file.get()
        stage = found.stage if found is not None and found.id == self.checkpoint.id else Stage.UNDONE
        return Result(report=report, stage=stage, checkpoint=self.checkpoint.id, said=why, undone=undone)

    def _decided(self, report: Report, stage: Stage, said: str, **changes: Any) -> Result:
        moved = self._move(stage, said=said, **changes)
        if moved is None:  # the watchdog was faster: it took too long
            found = self.file.get()
            return Result(
                report=report,
                stage=found.stage if found else Stage.UNDONE,
                checkpoint=self.checkpoint.id,
                said=found.said if found else "its checkpoint is gone",
            )
        if stage is Stage.CONFIRMED:
            tell(self.ground, "ChangeKept", f"the change by `{self.checkpoint.made_by}` was kept: {said}", well=True)
        return Result(report=report, stage=stage, checkpoint=self.checkpoint.id, said=said)

    def _move(self, to: Stage, **changes: Any) -> Checkpoint | None:
        return self.file.move(self.checkpoint.id, to, since=(Stage.CHANGING,), **changes)


def _why_not(report: Report) -> str:
    """In one line: the first step that failed, or what was refused or left."""
    for failure in report.outcome.failures.values():
        reason = " ".join(filter(None, (failure.reason, failure.extack)))
        return f"a step failed: {failure.step.link}: {reason}"
    for problem in report.left.refusals:
        return f"it was refused: {problem.message}"
    return f"{len(report.left.steps)} steps were left, whatever was done"
