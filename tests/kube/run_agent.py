"""`python run_agent.py ROOT KUBECONFIG`: the agent as a process, on a kernel in memory. What is in that kernel is
written to ROOT/links after each change."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from windrow.apps.agent import main
from windrow.apps.agent.log import Log
from windrow.kube.access import Access
from windrow.model.steps import Failure, Step
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel


class Told(FakeKernel):
    links: Path

    def run(self, steps: Sequence[Step], *more: Any, **named: Any) -> Failure | None:
        found = super().run(steps, *more, **named)
        vlans = {str(n): str(link.vlans.tagged) for n, link in self.observe().state.links.items() if link.vlans}
        temporary = self.links.with_suffix(".new")
        temporary.write_text(json.dumps(vlans))
        temporary.replace(self.links)
        return found


def run(root: Path, config: str) -> None:
    kernel = Told()
    kernel.links = root / "links"
    for name in ("eth0", "eth1", "eth2", "eth3"):
        kernel.add_nic(name, up=True)

    @contextlib.contextmanager
    def opened() -> Iterator[Told]:
        yield kernel

    options = main.Options(
        paths=Paths(root),
        node="n1",
        open_kernel=opened,
        log=Log(sys.stderr),
        cluster=Access(kubeconfig=config),
    )
    main.run(options)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
