"""Who changed what by hand is written down: an entry of the history, and an event for each object."""

from __future__ import annotations

import os
import pwd
import time

from windrow.apps.safe.peers import session_of
from windrow.model.events import Event, EventType
from windrow.model.history import Applied
from windrow.model.problems import Problem, Severity
from windrow.model.wire import dump
from windrow.rules import Admitted, Change
from windrow.services import process
from windrow.store.errors import StoreError
from windrow.store.events import Events
from windrow.store.history import History
from windrow.store.paths import Paths


def noted(paths: Paths, admitted: Admitted, command: str) -> tuple[Problem, ...]:
    """What stands against it, as a warning: a change is made all the same."""
    if not admitted.changes:
        return ()
    session = session_of(process.inherited("SSH_CONNECTION"))
    change = Applied(
        number=0,
        at=time.time(),
        by=_user(),
        origin=session.peer if session is not None else "",
        command=command,
        before={c.ref: dump(c.old) if c.old is not None and c.old.doc else None for c in admitted.changes},
        after={c.ref: dump(c.new) if c.new is not None else None for c in admitted.changes},
    )
    try:
        History(paths).add(change)
        Events(paths).add(_event(one, change) for one in admitted.changes)
    except StoreError as error:
        text = f"the change is in no history: {error.path}: {error.reason}"
        return (Problem(code="not-written", message=text, hint=error.hint, severity=Severity.WARNING),)
    return ()


def _event(one: Change, change: Applied) -> Event:
    verb = "created" if one.old is None else "deleted" if one.new is None else "changed"
    text = f"{verb} by {change.who}, with `{change.command}`"
    return Event(
        type=EventType.NORMAL,
        reason=verb.capitalize(),
        about=one.ref,
        message=text,
        first=change.at,
        last=change.at,
    )


def _user() -> str:
    """Who called, also through sudo(8), which keeps the name (`SUDO_USER`)."""
    if name := process.inherited("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
