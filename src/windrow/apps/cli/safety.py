"""A change that may be undone, as people see it: what stands in its way, the question, and how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator

import click

from windrow.apps.cli.door import control
from windrow.apps.cli.output import complain, say
from windrow.apps.cli.session import Session
from windrow.apps.engine import Kernel, Waiting
from windrow.apps.kept import keep_as_good
from windrow.apps.lock import HostLock
from windrow.apps.safe.change import Result, refuse_while_pending
from windrow.apps.safe.ground import Ground
from windrow.apps.safe.recover import recover
from windrow.apps.safe.undo import Undone, undo
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.problems import Problem, Severity
from windrow.render.text import plural
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints

LOCK_S = 30.0
_LOOK_S = 0.2
_LATE_S = 10.0
"""The watchdog undoes it at the deadline; so long after it, we do."""


def settle(session: Session, ground: Ground, kernel: Kernel, waiting: Waiting) -> None:
    """First what an earlier change left behind is finished or undone; the caller has the host's locks. Raises
    ProblemsError where one is still to be confirmed."""

    def tell(problem: Problem) -> None:
        complain([problem], session.error_style)

    if done := recover(ground, kernel, waiting=waiting, tell=tell):
        text = f"the change by `{done.checkpoint.made_by}` is {done.stage}: {done.said}"
        tell(Problem(code="checkpoint-recovered", message=text, severity=Severity.WARNING))
    refuse_while_pending(ground)


@contextlib.contextmanager
def standing() -> Iterator[None]:
    """The end of the terminal, which the change itself may bring about, does not end the block. Ctrl-C does, and the
    change is undone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGPIPE)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """What is said within is not worth a change: its reader may be gone (EIO, EPIPE)."""
    with contextlib.suppress(OSError):
        yield


def await_decision(session: Session, ground: Ground, result: Result, *, quiet: bool) -> bool:
    """Wait for somebody to confirm it, where somebody has to, and say how it ended. Whether it was kept."""
    if result.stage is Stage.WAITING or (result.stage is Stage.UNDOING and result.undone is None):
        found = _wait(session, ground, result, quiet=quiet)
        stage, said = (found.stage, found.said) if found else (Stage.UNDONE, "its checkpoint is gone")
    else:
        stage, said = result.stage or Stage.CONFIRMED, result.said
    if result.stage is not None and not quiet:
        with unheard():
            say_decision(session, stage, said, result.undone)
    return stage is Stage.CONFIRMED


def say_decision(session: Session, stage: Stage, said: str, undone: Undone | None = None) -> None:
    style = session.error_style
    if stage is Stage.CONFIRMED:
        say(f"{session.style.green('Kept')}: {said}.")
        return
    steps = f" in {plural(undone.steps, 'step')}" if undone else ""
    lines = [f"{style.red('error:')} the change was undone{steps}: {said}"]
    if stage is Stage.UNDOING or (undone and undone.left):
        lines[0] = f"{style.red('error:')} the change was to be undone ({said}), and not all of it was"
        lines.append(f"    {undone.left}" if undone else "")
        lines.append(
            f"    {style.cyan('hint:')} put that right; `windrow undo` tries again, `windrow diff` shows the rest"
        )
    else:
        lines.append(f"{session.node} and its manifests are as they were before")
    for line in filter(None, lines):
        click.echo(line, err=True, color=True)


# -- waiting ---------------------------------------------------------------------------------------


def _wait(session: Session, ground: Ground, result: Result, *, quiet: bool) -> Checkpoint | None:
    """Until it is decided: by an answer here, by `windrow confirm` or `windrow undo` elsewhere, or by the watchdog."""
    file = Checkpoints(ground.paths)
    asking = not quiet and sys.stdin.isatty() and sys.stdout.isatty()
    if not quiet and result.stage is Stage.WAITING:
        with unheard():
            say(f"So far: {result.said}.")
            if not asking:
                say("It waits to be confirmed: windrow confirm")
    try:
        while (found := file.get()) is not None and found.id == result.checkpoint and found.stage.pending:
            left = found.deadline - boot.seconds()
            if left < -_LATE_S and not process.alive(found.watchdog):
                take_back(session, ground, found, f"nobody confirmed it within {found.allowed_s:.0f} s")
            elif asking and found.stage is Stage.WAITING and left > 0:
                asking = _ask(session, ground, found, left)
            else:
                time.sleep(_LOOK_S)
        return found
    except KeyboardInterrupt:
        if (found := file.pending()) is not None and found.id == result.checkpoint:
            take_back(session, ground, found, "it was taken back with Ctrl-C")
        return file.get()


def _ask(session: Session, ground: Ground, found: Checkpoint, left: float) -> bool:
    """Ask for a moment; whether to go on asking. A terminal that went away has not said no."""
    try:
        control(f"\rKeep this change? [y/N] ({left:.0f} s) ")
        if not select.select([sys.stdin], [], [], min(left, 1.0))[0]:
            return True
        answer = os.read(sys.stdin.fileno(), 256).decode(errors="replace").strip().lower()
    except OSError:
        return False
    if answer in ("y", "yes"):
        said = "it was confirmed here"
        if Checkpoints(ground.paths).move(found.id, Stage.CONFIRMED, since=(Stage.WAITING,), said=said):
            keep_as_good(ground.paths)
    elif answer in ("n", "no"):
        take_back(session, ground, found, "it was not confirmed")
    return True


def take_back(session: Session, ground: Ground, found: Checkpoint, said: str) -> Undone | None:
    """Undo it now. Raises KernelError: another one has the locks."""
    with session.kernel() as kernel, HostLock(ground.paths, timeout_s=LOCK_S) as lock:
        return undo(ground, kernel, found, said, waiting=lock.waiting)
