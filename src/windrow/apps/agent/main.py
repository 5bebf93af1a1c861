"""The agent as a process: what it opens, how it ends, and what it lets go of once it has started."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import selectors
import sys
import time
from collections.abc import Iterator

from windrow.apps.agent.keeper import Keeper
from windrow.apps.agent.loop import LockNews
from windrow.apps.agent.options import AgentError
from windrow.apps.agent.options import Options as Options
from windrow.apps.agent.parts import Agent
from windrow.apps.known import agent_status
from windrow.apps.round.here import here
from windrow.netlink.errors import KernelError
from windrow.netlink.lock import locked
from windrow.services import systemd

SWITCH_S = 0.001
"""So long the worker may keep the interpreter when the face wants it (sys.setswitchinterval: 5 ms), for each of the ten
calls that an answer takes."""
ONCE_S = 60.0
"""How long `--once` waits for another one's lock, and for files that are being written."""


def run(options: Options) -> None:
    """Until SIGTERM or SIGINT. Raises AgentError, KernelError, StoreError where it cannot begin."""
    with _alone(options), contextlib.ExitStack() as held:
        kernel = held.enter_context(options.open_kernel())
        sys.setswitchinterval(SWITCH_S)
        _keep_loaded()
        agent = Agent(options, kernel, held, started=_keep_loaded)
        options.log.info("the agent has started", node=options.node, pid=os.getpid(), root=options.paths.root)
        try:
            agent.loop.run()
        finally:
            systemd.notify("STOPPING=1")
            options.log.info("the agent ends; the network stays as it is")


def once(options: Options) -> bool:
    """One round, as an agent that starts does it; whether all is as its manifests want it. Raises like `run`."""
    with _alone(options), options.open_kernel() as kernel:
        keeper = Keeper(here(options.paths, options.node, kernel), options.log)
        locks = LockNews(options.paths, lambda: keeper.waits_for_lock)
        keeper.hears_locks = True
        try:
            end = time.monotonic() + ONCE_S
            keeper.boot()
            keeper.round(reread=True)
            while keeper.unsettled and time.monotonic() < end:
                _sleep_until(min(end, keeper.deadline() or 0.0), locks)
                keeper.round(reread=True, news=False)
            return keeper.well
        finally:
            locks.close()
            keeper.close()


def _sleep_until(at: float, locks: LockNews) -> None:
    """Or until another one lets its lock go."""
    with selectors.PollSelector() as selector:
        for fd, events in locks.fds().items():
            selector.register(fd, events)
        while time.monotonic() < at:
            due = locks.deadline()
            ready = selector.select(max(0.0, min(at, due if due is not None else at) - time.monotonic()))
            fds = [key.fd for key, _ in ready] or ([-1] if due is not None else [])
            if any(map(locks.ready, fds)):
                return


LETS_GO_S = 3.0
"""So long the lock of an agent that is gone may still be held."""


@contextlib.contextmanager
def _alone(options: Options) -> Iterator[None]:
    """One agent at a time; the lock goes with the process, however that ends: of one that was killed while it forked
    its watchdog a moment later, when that lets go of what it inherited."""
    try:
        with locked(options.paths.agent_lock, timeout_s=LETS_GO_S):
            yield
    except KernelError as error:
        if error.errno != errno.EAGAIN:
            raise
        status = agent_status(options.paths)
        who = f" (pid {status.pid})" if status is not None else ""
        raise AgentError(f"another agent is at work on this node{who}: it holds {options.paths.agent_lock}") from error


def _keep_loaded() -> None:
    """All that is there by now stays: the collector need not look through it again and again. Nor does it now: what is
    loaded leaves nothing behind to collect, and no other thread runs while it looks."""
    gc.freeze()
