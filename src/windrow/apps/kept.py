"""What the disk keeps of a change that was carried out, for those who come later (`known` reads most of it)."""

from __future__ import annotations

import time

from windrow.apps.engine import cluster_networks
from windrow.model.cluster import Cluster
from windrow.model.facts import Memory
from windrow.model.host import Observed
from windrow.store.clusternetworks import write_cluster_networks
from windrow.store.directory import Store
from windrow.store.lastgood import write_last_good
from windrow.store.memory import write_memory
from windrow.store.paths import Paths


def keep(paths: Paths, cluster: Cluster, observed: Observed, memory: Memory) -> None:
    """For CNI calls and for the next look. Raises StoreError."""
    write_cluster_networks(paths, cluster_networks(cluster, observed))
    write_memory(paths, memory)


def keep_as_good(paths: Paths) -> None:
    """The manifests as they are now are what this host comes up from. Raises StoreError."""
    write_last_good(paths, Store(paths).load().objects, time.time())
