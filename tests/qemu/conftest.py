"""What User-Mode Linux cannot show: a whole kernel with several processors, booted once for all of these tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from windrow.lab.probe import Station, ping
from windrow.netlink import netns

if TYPE_CHECKING:
    from tests.qemu.arriving import Node

HERE = Path(__file__).parent
T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No such kernel, no tests: and loudly, for a skipped test proves nothing."""
    if any(item.path.is_relative_to(HERE) for item in items) and os.environ.get("WINDROW_LAB") != "qemu":
        raise pytest.UsageError(
            "these tests are about a lab in QEMU: `windrow lab test --kernel qemu --cpus 2 -- tests/qemu`"
        )


class Ns:
    """A network namespace, and programs in it."""

    def __init__(self) -> None:
        self.fd = netns.new()

    def inside(self, fn: Callable[[], T]) -> T:
        return netns.opened_in(self.fd, fn)

    def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        def start() -> subprocess.CompletedProcess[str]:
            return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

        return self.inside(start)

    def must(self, *argv: str, stdin: str = "") -> str:
        """Its output."""
        done = self.run(*argv, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}{stdin}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        self.must("ip", "-batch", "-", stdin="\n".join(lines))

    def nft(self, rules: str) -> None:
        self.must("nft", "-f", "-", stdin=rules)

    def reaches(self, address: str) -> bool:
        """Whether it answers a ping, of which several are tried."""
        here = Station(name="here", interface="", inside=self.inside)
        there = Station(name="there", interface="", inside=self.inside, address=address)
        return ping([(here, there)], deadline_s=2.0)["here", "there"] is not None


@pytest.fixture
def chain() -> Iterator[Sequence[Ns]]:
    """Three namespaces in a row, each joined with the next: 10.1.0.1 – 10.1.0.2, 10.2.0.2 – 10.2.0.3.

    The first one's default route leads to the middle one, which forwards; the last one knows of no way back.
    """
    inner, middle, outer = row = [Ns() for _ in range(3)]
    for one in row:
        one.ip("link set lo up")
    middle.ip(
        f"link add to-inner type veth peer name eth0 netns /proc/{os.getpid()}/fd/{inner.fd}",
        f"link add to-outer type veth peer name eth0 netns /proc/{os.getpid()}/fd/{outer.fd}",
        "addr add 10.1.0.2/24 dev to-inner",
        "addr add 10.2.0.2/24 dev to-outer",
        "link set to-inner up",
        "link set to-outer up",
    )
    inner.ip("addr add 10.1.0.1/24 dev eth0", "link set eth0 up", "route add default via 10.1.0.2")
    outer.ip("addr add 10.2.0.3/24 dev eth0", "link set eth0 up")
    middle.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
    yield row
    for one in row:
        os.close(one.fd)


@pytest.fixture
def pod() -> Iterator[Ns]:
    made = Ns()
    yield made
    os.close(made.fd)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """With ports that come by CNI calls."""
    from tests.qemu.arriving import Node

    made = Node(tmp_path)
    yield made
    made.close()
