"""Tests on a real kernel: each in a network namespace of its own, all in one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windrow.model.host import Link, Runtime
from windrow.model.marks import mark_of
from windrow.model.problems import WindrowError
from windrow.model.steps import Action, Failure, Impact, Phase, Step
from windrow.model.values import IfName, Ref
from windrow.netlink import features, lacp, links, netns
from windrow.netlink.kernel import Kernel
from windrow.netlink.sock import Message
from windrow.plan import takeover

HERE = Path(__file__).parent
WHY = Ref("Test", "test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No kernel, no tests: and loudly, for a skipped test proves nothing."""
    if not any(item.path.is_relative_to(HERE) for item in items):
        return
    try:
        found = features.probe()
    except WindrowError as error:
        raise pytest.UsageError(f"the kernel tests need root: {error}. Run them with `make test-kernel`.") from error
    if not (found.bonding and found.vlan_filtering and found.vlan_interfaces):
        raise pytest.UsageError(
            f"this kernel cannot run the kernel tests: {found}. Run them in the lab kernel, with `make test-kernel`."
        )


class Ns:
    """A fresh namespace: its kernel, and short words for what tests do all the time."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.kernel = Kernel(fd)
        self.rtnl = self.kernel.rtnl

    def run(self, *messages: Message) -> None:
        """Send messages that must succeed."""
        self.rtnl.run(*messages)

    def refused(self, message: Message) -> int:
        """The errno that the kernel answers; 0 if it accepts."""
        failure = self.rtnl.burst([message])[0]
        return 0 if failure is None else failure.errno

    def index(self, name: str) -> int:
        return self.rtnl.index(name)

    def link(self, name: str) -> Link:
        return self.kernel.observe().state.links[IfName(name)]

    def runtime(self, name: str) -> Runtime:
        return self.kernel.observe().runtime[IfName(name)]

    def try_(self, *pairs: tuple[str, Action]) -> Failure | None:
        """Run (link, action) pairs as the steps of one burst."""
        return self.kernel.run([step(link, action) for link, action in pairs])

    def do(self, *pairs: tuple[str, Action]) -> None:
        assert self.try_(*pairs) is None

    def disown(self, *names: str) -> None:
        """These links are somebody else's: they bear neither of our marks."""
        for name in names:
            self.run(links.set_link(name, group=0), links.delete_altname(name, mark_of(name)))

    def inside(self, fn: Callable[[], object]) -> object:
        return netns.opened_in(self.fd, fn)


def step(link: str, action: Action) -> Step:
    return Step(phase=Phase.PREPARE, link=IfName(link), action=action, why=WHY, impact=Impact.NONE)


@pytest.fixture(autouse=True)
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cables here end in nothing that settles or answers LACP; a test with a partner sets its own times."""
    monkeypatch.setattr(takeover, "SETTLE_MS", 0)
    monkeypatch.setattr(lacp, "ANSWER_S", 0.0)


@pytest.fixture
def new_ns() -> Iterator[Callable[[], Ns]]:
    """Makes as many namespaces as the test asks for."""
    made: list[Ns] = []

    def make() -> Ns:
        fd = netns.new()
        made.append(Ns(fd))
        return made[-1]

    yield make
    for one in made:
        one.kernel.close()
        os.close(one.fd)


@pytest.fixture
def ns(new_ns: Callable[[], Ns]) -> Ns:
    return new_ns()
