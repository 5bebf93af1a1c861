"""How long a process of ours takes until it can begin: its imports, in a process of its own each time."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from bench.measure import Group, Way, compare

RUNS = 11
LATE = "from windrow.model.lazymodule import load_when_used as late; late('inspect'); "
"""As the lab's first process and the CNI plugin begin."""

STARTS = {
    "the lab's guest, `windrow.apps.labguest`": f"{LATE}import windrow.apps.labguest",
    "the agent, `windrow.apps.agent.main`": "import windrow.apps.agent.main",
    "`windrow plan`, `windrow.apps.cli.plan`": "import windrow.apps.cli.plan",
    "`windrow --help`, `windrow.apps.cli.main`": "import windrow.apps.cli.main",
    "the CNI plugin, `windrow.apps.cni.dispatch`": f"{LATE}import windrow.apps.cni.dispatch",
    "the interpreter alone": "pass",
}


def measure(where: str) -> Group:
    """Without `site`, as the lab starts Python; modules are found where this process finds them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def run(text: str) -> None:
        subprocess.run([sys.executable, "-S", "-c", text], env=environment, check=True)

    ways = [Way(what=what, run=partial(run, text)) for what, text in STARTS.items()]
    return Group(title="Start: the process and its imports", where=where, rows=compare(RUNS, ways))
