"""The store and the kernel together: what commands that only look have in common."""

from __future__ import annotations

import time
from dataclasses import replace

from windrow.apps.agent.settle import choose
from windrow.apps.cli.session import Session
from windrow.apps.engine import Kernel, Planned, Sight, look, plan_node
from windrow.apps.known import known, unreadable
from windrow.model.cluster import Cluster
from windrow.model.problems import Problem
from windrow.store.directory import Store
from windrow.store.errors import StoreError
from windrow.store.lastgood import read_last_good
from windrow.store.manifests import ManifestFiles
from windrow.store.paths import Paths


def stored(session: Session) -> tuple[Cluster, tuple[Problem, ...]]:
    """The cluster of the store, and what is wrong with its files. A store that is not there is empty."""
    loaded = Store(session.root).readable()
    return Cluster.of(loaded.objects), loaded.problems


def in_force(session: Session, sight: Sight) -> Cluster:
    """What a running agent works with: of objects whose manifests are wrong, the last good version."""
    paths = Paths(session.root)
    try:
        good = read_last_good(paths)
    except StoreError:
        good = None
    found = ManifestFiles(paths).look(time.time())
    settled = choose(found, Cluster.of(good.objects) if good is not None else None, sight)
    return settled.cluster or Cluster.of(())


def survey(session: Session, kernel: Kernel) -> tuple[Sight, tuple[Problem, ...]]:
    """A look at this host with what its disk knows, and what is wrong with that."""
    paths = Paths(session.root)
    return look(kernel, session.node, known(paths)), unreadable(paths)


def assess(session: Session, cluster: Cluster, kernel: Kernel) -> tuple[Sight, Planned]:
    """What there is, and what it should be; the compiled problems are all that is to be said of it."""
    sight, said = survey(session, kernel)
    return sight, judged(cluster, sight, said)


def judged(cluster: Cluster, sight: Sight, said: tuple[Problem, ...]) -> Planned:
    """What it should be by this cluster; `said`: what else there is to say of the node."""
    planned = plan_node(cluster, sight)
    compiled = replace(planned.compiled, problems=(*said, *planned.compiled.problems))
    return replace(planned, compiled=compiled)
