"""What the lab kernel runs: the lab's server, joined with the engine that makes nodes be as their manifests say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from windrow.apps.engine import Report, converge, look, plan_node
from windrow.apps.kept import keep
from windrow.apps.known import known, unreadable
from windrow.apps.lock import HostLock
from windrow.lab.errors import LabError
from windrow.lab.guest.server import Server
from windrow.lab.session import Applied, Session, missing, prepare_kernel
from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject
from windrow.model.problems import ProblemsError, errors
from windrow.model.steps import Failure, Step
from windrow.model.values import Ref
from windrow.netlink.kernel import Kernel
from windrow.rules import Change, changes_to, check
from windrow.store.directory import Store
from windrow.store.paths import Paths

ENTRY = "windrow.apps.labguest:main"


class LabEngine:
    """`windrow apply`, without starting a process for it."""

    def admit(self, objects: Sequence[AnyObject]) -> None:
        """Raises ProblemsError."""
        empty = Cluster.of(())
        problems = check(empty, changes_to(empty, objects))
        if errors(problems):
            raise ProblemsError(problems)

    def apply(self, root: Path, node: str) -> Applied:
        loaded = Store(root).load()
        problems = [str(p) for p in loaded.problems]
        said: list[str] = []

        def on_step(step: Step, failure: Failure | None) -> None:
            if failure:
                said.append(f"{step.link}: {failure.reason} {failure.extack}".rstrip())

        cluster, paths = Cluster.of(loaded.objects), Paths(root)
        with Kernel(node) as kernel, HostLock(paths) as lock:
            report = converge(cluster, kernel, node, on_step, knowing=partial(known, paths), waiting=lock.waiting)
            keep(paths, cluster, report.sight.observed, report.memory)
        problems += [str(p) for p in unreadable(paths)]
        problems += [str(p) for p in report.planned.compiled.problems]
        problems += [str(p) for p in report.left.refusals]
        return Applied(
            ok=report.ok and not loaded.problems,
            steps=len(report.planned.plan.steps),
            left=len(report.left.steps),
            words=_words(report),
            complaints=(*problems, *said),
            impact=report.planned.plan.impact,
        )

    def change(self, root: Path, node: str, put: Sequence[AnyObject], remove: Sequence[Ref]) -> Applied:
        """Put and remove objects as the rules allow, and apply. Raises ProblemsError, LabError."""
        store = Store(root)
        before = Cluster.of(store.load().objects)
        if unknown := [str(ref) for ref in remove if ref not in before.objects]:
            raise LabError(f"{node} has no {', '.join(unknown)}")
        gone = [Change(before.objects[ref], None) for ref in remove]
        problems = check(before, [*changes_to(before, put), *gone])
        if errors(problems):
            raise ProblemsError(problems)
        store.put(put)
        store.remove(remove)
        return self.apply(root, node)

    def steps_left(self, root: Path, node: str) -> int:
        cluster = Cluster.of(Store(root).load().objects)
        with Kernel(node) as kernel:
            return len(plan_node(cluster, look(kernel, node, known(Paths(root)))).plan.steps)


def _words(report: Report) -> str:
    steps = len(report.planned.plan.steps)
    if not steps:
        return "nothing to do"
    done = sum(report.outcome.done.values())
    text = f"{done} steps done"
    return text if report.ok else f"{text}, {len(report.left.steps)} left, {len(report.left.refusals)} refused"


def main(fd: int, config: Mapping[str, Any]) -> None:
    """Serve the lab's requests on `fd` until the host closes it."""
    prepare_kernel()
    session = Session(LabEngine(), config["path"])
    lacks = [f"kernel module {name}" for name in config["missing_modules"]] + missing()
    Server(fd, session.handlers()).run(
        {"kernel": os.uname().release, "missing": lacks, "own_kernel": config["own_kernel"]}
    )
