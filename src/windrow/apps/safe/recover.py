"""recover: what is to become of a change that somebody began and nobody decided on. The agent asks at its start, and
so does every command that changes something."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from windrow.apps.engine import Waiting
from windrow.apps.safe.undo import PENDING, restore, undo
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint, Stage
from windrow.model.lazy import dataclass
from windrow.services import process
from windrow.store import boot
from windrow.store.checkpoints import Checkpoints, Tell
from windrow.store.paths import Paths

Locked = Callable[[], AbstractContextManager[object]]
"""Enters the host's locks, where the caller has not got them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was done about the checkpoint. `stage`: what it is now."""

    checkpoint: Checkpoint
    stage: Stage
    said: str


def recover(
    site: Site,
    *,
    locked: Locked = nullcontext,
    waiting: Waiting = nullcontext,
    tell: Tell = lambda _: None,
    again_s: float = 0.0,
) -> Recovered | None:
    """None: nothing is pending, or it is in good hands. `again_s`: what could not be undone is not tried again before
    so many seconds have passed. Raises WindrowError."""
    file = Checkpoints(site.paths, tell)
    found = file.pending()
    if found is None:
        return None
    if found.boot != boot.identity(site.paths):
        with locked():
            return _after_a_start(site, file, found, waiting)
    if not found.guarded:
        return None if process.alive(found.changer) else _left_to_finish(file, found)
    if process.alive(found.watchdog):
        return None
    if found.left and boot.seconds() - found.tried < again_s:
        return None
    why = _why_undo(found)
    if not why:
        watchdog = site.watch(site, found)
        file.move(found.id, found.stage, since=(found.stage,), watchdog=watchdog)
        return Recovered(checkpoint=found, stage=found.stage, said="its watchdog was gone; a new one is at work")
    with locked():
        return _undone(site, found, why, waiting)


def in_good_hands(paths: Paths) -> bool:
    """Whether a change is pending, and somebody is there who will decide on it. Raises StoreError."""
    found = Checkpoints(paths).pending()
    if found is None or found.left or found.boot != boot.identity(paths):
        return False
    return process.alive(found.watchdog if found.guarded else found.changer)


def _why_undo(found: Checkpoint) -> str:
    if found.left:
        return found.said
    if found.stage is not Stage.WAITING and not process.alive(found.changer):
        return "whoever made the change is gone in the middle of it, and its watchdog too"
    if boot.seconds() >= found.deadline:
        return f"nobody confirmed it within {found.allowed_s:.0f} s"
    return ""


def _after_a_start(site: Site, file: Checkpoints, found: Checkpoint, waiting: Waiting) -> Recovered | None:
    """The links went with the last start. Only what has been made since, from manifests that nobody confirmed, is to
    be undone too."""
    said = "the host was started anew before the change was confirmed"
    observed = site.kernel.observe()
    if any(observed.owned(name) for name in observed.state.links):
        return _undone(site, found, said, waiting)
    file.move(found.id, Stage.UNDOING, since=PENDING, said=said)
    if wrong := restore(site, found):
        return Recovered(checkpoint=found, stage=Stage.UNDOING, said=f"{said}; {wrong}")
    file.move(found.id, Stage.UNDONE, since=PENDING, said=said)
    return Recovered(checkpoint=found, stage=Stage.UNDONE, said=said)


def _undone(site: Site, found: Checkpoint, why: str, waiting: Waiting) -> Recovered | None:
    done = undo(site, found, why, waiting=waiting)
    if done is None:
        return None
    now = Checkpoints(site.paths).get()
    return Recovered(
        checkpoint=found,
        stage=now.stage if now else Stage.UNDONE,
        said=why if done.ok else f"{why}; {done.left}",
    )


def _left_to_finish(file: Checkpoints, found: Checkpoint) -> Recovered:
    """It does not touch the way to this host and its manifests are stored: the next plan goes on from there."""
    said = "it was cut off in the middle; the next plan finishes it"
    file.move(found.id, Stage.CONFIRMED, since=PENDING, said=said)
    return Recovered(checkpoint=found, stage=Stage.CONFIRMED, said=said)
