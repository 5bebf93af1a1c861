"""What this node knows of the network outside: from its agent where one probes, else from probes of this command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from windrow.apps.check import alone
from windrow.apps.check.ask import ask
from windrow.apps.check.intent import Skipped, intent_of, misnamed
from windrow.apps.check.told import Told
from windrow.apps.cli.session import Session
from windrow.apps.cli.signals import interruptible
from windrow.apps.cli.situation import survey
from windrow.model.cluster import Cluster
from windrow.model.problems import WindrowError
from windrow.model.values import VidSet
from windrow.netlink.errors import NoPermission
from windrow.store.paths import Paths

EPERM = 1
POLL_S = 0.5
ASKED_S = 60.0
"""An agent's sweep, of thousands of VLANs, takes so long at most."""


def hear(session: Session, skipped: Skipped, for_s: float | None = None) -> Told:
    """What is known now, once. Raises WindrowError."""
    with interruptible(), ExitStack() as held:
        told, _ = next(look_again(session, skipped, held, for_s))
        return told


def look_again(
    session: Session, skipped: Skipped, held: ExitStack, for_s: float | None = None, *, watch: bool = False
) -> Iterator[tuple[Told, Cluster]]:
    """What is known, once or again and again. Raises WindrowError."""
    report = survey(session)
    cluster, socket = report.admitted.target, Paths(session.root).agent_socket
    if skipped:
        _heed(skipped, cluster, socket)
    told = ask(socket, now=for_s is not None or not watch)
    if told is not None:
        yield _settled(session, told, for_s or ASKED_S), cluster
        while watch:
            time.sleep(alone.PAUSE_S)
            if (told := ask(socket)) is None:
                raise WindrowError("the agent has ended")
            yield told, cluster
        return
    intent = intent_of(cluster, report.left.compiled, report.sight.observed, report.sight.facts, skipped)
    if not session.permitted():
        raise NoPermission(EPERM, "send and hear probes of this host")
    driver = held.enter_context(alone.probing(Paths(session.root), intent))
    yield alone.check(driver, intent, cluster, for_s), cluster
    while watch:
        yield alone.check(driver, intent, cluster, alone.PAUSE_S), cluster


def _heed(skipped: Skipped, cluster: Cluster, socket: Path) -> None:
    """Before anything is sent. An agent that is asked sweeps, and knows nothing of what this command is to leave out.
    Raises WindrowError."""
    if wrong := misnamed(cluster, skipped):
        raise WindrowError(wrong)
    told = ask(socket)
    for network, vids in told.wanted.items() if told is not None else ():
        if sent := vids & (skipped.get(network, VidSet()) | skipped.get("", VidSet())):
            raise WindrowError(
                f"--skip-vlans: the agent of this node sends probes into VLAN {sent} of {network}\n    hint: have "
                f"the agent leave it out: windrow agent --check TIME --skip-vlans {network}:{sent}"
            )


def _settled(session: Session, told: Told, patience_s: float) -> Told:
    """The agent's answer once the sweep is done that it was asked for, and the others have told what they heard."""
    socket, wanted = Paths(session.root).agent_socket, told.sweeps + 1
    end = time.monotonic() + patience_s
    seen: float | None = None
    while time.monotonic() < end and (seen is None or time.monotonic() < seen + alone.PAUSE_S):
        time.sleep(min(POLL_S, max(0.0, end - time.monotonic())))
        if (found := ask(socket)) is None:
            break
        told = found
        if told.sweeps >= wanted and not told.under_way and seen is None:
            seen = time.monotonic()
    return told
