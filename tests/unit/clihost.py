"""A host that `windrow` is typed on: its kernel is in memory, its files are below a directory of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.site import Site
from windrow.model.checkpoint import Checkpoint
from windrow.model.processes import Process
from windrow.netlink.reach import Answers, Target, Way
from windrow.store.paths import Paths
from windrow.testing.fake import FakeKernel


class CliHost:
    """`answers`: whether the network answers those who ask whether the host can still be reached."""

    def __init__(self, root: Path, kernel: FakeKernel, node: str) -> None:
        self.root, self.paths, self.kernel, self.node = root, Paths(root), kernel, node
        self.answers = True

    def run(self, *words: str, code: int = 0) -> Result:
        session = Session(
            root=self.root,
            node=self.node,
            open_kernel=lambda: self.kernel,
            permitted=lambda: True,
            on_site=self.on_site,
        )
        result = CliRunner().invoke(cli, words, obj=session, prog_name="windrow")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def on_site(self, site: Site) -> Site:
        return replace(site, ask=self.ask, watch=self.watch)

    def ask(self, targets: Sequence[Target], timeout_s: float, enough: Answers | None) -> Answers:
        return {target: frozenset({Way.ARP, Way.PING}) if self.answers else frozenset() for target in targets}

    def watch(self, site: Site, checkpoint: Checkpoint) -> Process:
        return Process(pid=2**22 - 1, started=1)
