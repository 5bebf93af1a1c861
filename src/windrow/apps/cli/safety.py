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
from windrow.apps.cli.output import say
from windrow.apps.cli.session import Session
from windrow.apps.lock import HostLock
from windrow.apps.round.remember import confirmed
from windrow.apps.round.report import Report
from windrow.apps.safe.undo import Undone, undo
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.render.text import plural
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints
from windrow.store.paths import Paths

LOCK_S = 30.0
_LOOK_S = 0.2
_LATE_S = 10.0
"""The watchdog undoes it at the deadline; so long after it, we do."""


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


def await_decision(session: Session, report: Report, *, quiet: bool) -> bool:
    """Wait for somebody to confirm it, where somebody has to, and say how it ended. Whether it was kept."""
    if report.stage is Stage.WAITING or (report.stage is Stage.UNDOING and report.undone is None):
        found = _wait(session, report, quiet=quiet)
        stage, said = (found.stage, found.said) if found else (Stage.UNDONE, "its checkpoint is gone")
    else:
        stage, said = report.stage or Stage.CONFIRMED, report.said
    if report.stage is not None and not quiet:
        with unheard():
            say_decision(session, stage, said, report.undone)
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
        hint = "it is tried again and again, at once by `windrow undo`; `windrow confirm` leaves the rest as it is now"
        lines.append(f"    {style.cyan('hint:')} {hint}")
    else:
        lines.append(f"{session.node} and its manifests are as they were before")
    for line in filter(None, lines):
        click.echo(line, err=True, color=True)


# -- waiting ---------------------------------------------------------------------------------------


def _wait(session: Session, report: Report, *, quiet: bool) -> Checkpoint | None:
    """Until it is decided: by an answer here, by `windrow confirm` or `windrow undo` elsewhere, or by the watchdog."""
    file = Checkpoints(Paths(session.root))
    asking = not quiet and sys.stdin.isatty() and sys.stdout.isatty()
    if not quiet and report.stage is Stage.WAITING:
        with unheard():
            say(f"So far: {report.said}.")
            if not asking:
                say("It waits to be confirmed: windrow confirm")
    try:
        while (found := file.get()) is not None and found.id == report.checkpoint and found.stage.pending:
            left = found.deadline - boot.seconds()
            if left < -_LATE_S and not process.alive(found.watchdog):
                take_back(session, found, f"nobody confirmed it within {found.allowed_s:.0f} s")
            elif asking and found.stage is Stage.WAITING and left > 0:
                asking = _ask(session, found, left)
            else:
                time.sleep(_LOOK_S)
        return found
    except KeyboardInterrupt:
        if (found := file.pending()) is not None and found.id == report.checkpoint:
            take_back(session, found, "it was taken back with Ctrl-C")
        return file.get()


def _ask(session: Session, found: Checkpoint, left: float) -> bool:
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
        paths = Paths(session.root)
        if Checkpoints(paths).move(found.id, Stage.CONFIRMED, since=(Stage.WAITING,), said=said):
            confirmed(paths, found, time.time())
    elif answer in ("n", "no"):
        take_back(session, found, "it was not confirmed")
    return True


def take_back(session: Session, found: Checkpoint, said: str) -> Undone | None:
    """Undo it now. Raises KernelError: another one has the locks."""
    with session.site() as site, HostLock(site.paths, timeout_s=LOCK_S) as lock:
        return undo(site, found, said, waiting=lock.waiting)
