"""Each fault of a switch does what its name says, to frames; and mended, all is as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from tests.lab.asked import Asked

from windrow.apps.labguest import LabEngine
from windrow.lab import probe
from windrow.lab.errors import LabError
from windrow.lab.faults import KINDS
from windrow.lab.guest.run import run_in
from windrow.lab.scenario_file import read
from windrow.lab.session import Session
from windrow.netlink.kernel import Kernel

SWITCH = "sw-oob"


def lab(name: str) -> Iterator[Session]:
    made = Session(LabEngine(), sys.path)
    assert made.up(Asked(scenario=read(name).to_json()))["ok"]  # type: ignore[arg-type]
    yield made
    made.world.close()


@pytest.fixture(scope="class")
def trunks() -> Iterator[Session]:
    """active-backup: the ports are alone. node-0 is on p1 (active) and p2, node-1 on p3 and p4, outside on p5."""
    yield from lab("mode-active-backup")


@pytest.fixture(scope="class")
def channels() -> Iterator[Session]:
    yield from lab("mode-802.3ad")


def answers(session: Session, a: str, b: str, *, patience_s: float = 1.0) -> bool:
    pair = (session.world.station(a), session.world.station(b))
    return any(ms is not None for ms in probe.ping([pair], deadline_s=patience_s).values())


def state(session: Session) -> object:
    with Kernel(SWITCH) as kernel:
        links = kernel.observe().state.links
    return {name: (link.vlans, link.master, link.mtu, type(link.spec)) for name, link in links.items()}


P1 = [
    # fault, who no longer hears whom, who still does
    ("vlan-missing 100", ("a100", "b100"), ("a200", "b200")),
    ("vlan-not-created 100", ("b100", "outside/100"), ("a200", "b200")),
    ("access 200", ("a100", "b100"), ("b100", "outside/100")),
    ("translate 100 300", ("a100", "b100"), ("a200", "b200")),
    ("member-vlan-missing 100", ("a100", "b100"), ("a200", "b200")),
    ("deaf", ("a100", "b100"), ("b100", "outside/100")),
    ("mute", ("a100", "b100"), ("b100", "outside/100")),
]


def active_port(session: Session) -> str:
    """The switch's port of the NIC by which node-0 sends."""
    with Kernel("node-0") as kernel:
        active = kernel.observe().runtime["oob-bo"].active_slave  # type: ignore[index]
    return {"eth2": "p1", "eth3": "p2"}[str(active)]


class TestTrunks:
    @pytest.mark.parametrize(("fault", "cut", "kept"), P1, ids=[f for f, _, _ in P1])
    def test_what_a_fault_cuts(self, trunks: Session, fault: str, cut: tuple[str, str], kept: tuple[str, str]) -> None:
        before, port = state(trunks), active_port(trunks)
        assert answers(trunks, *cut, patience_s=10.0)
        trunks.world.break_port(SWITCH, port, tuple(fault.split()))
        assert not answers(trunks, *cut)
        assert answers(trunks, *kept, patience_s=10.0)
        trunks.world.mend(SWITCH, port)
        assert answers(trunks, *cut, patience_s=10.0)
        assert state(trunks) == before

    def test_longer_frames_are_dropped(self, trunks: Session) -> None:
        port = active_port(trunks)
        trunks.world.break_port(SWITCH, port, ("mtu", "1000"))
        place, address = trunks.world.place("a100"), trunks.world.station("b100").address
        short = run_in(place, ["ping", "-c", "2", "-W", "1", "-s", "100", address])[0]
        long = run_in(place, ["ping", "-c", "2", "-W", "1", "-M", "do", "-s", "1300", address])[0]
        trunks.world.mend(SWITCH, port)
        assert (short, long) == (0, 1)

    @pytest.mark.parametrize("fault", ["native 7", "isolated", "loss 30", "slow 10", "no-broadcast", "crossed p4"])
    def test_the_others_come_and_go(self, trunks: Session, fault: str) -> None:
        before, port = state(trunks), active_port(trunks)
        trunks.world.break_port(SWITCH, port, tuple(fault.split()))
        trunks.world.mend(SWITCH, port)
        assert state(trunks) == before
        assert answers(trunks, "a100", "b100", patience_s=10.0)

    @pytest.mark.parametrize(
        ("switch", "port", "words", "said"),
        [
            ("sw-none", "p1", "deaf", "there is no switch 'sw-none'"),
            (SWITCH, "p99", "deaf", "has no port 'p99'"),
            (SWITCH, "p1", "broken", "there is no fault 'broken'"),
            (SWITCH, "p1", "vlan-missing", "vlan-missing takes VID"),
            (SWITCH, "p1", "vlan-missing x", "'x' is no VLAN id"),
            (SWITCH, "p1", "vlan-missing 77", "does not carry VLAN 77"),
            (SWITCH, "p1", "no-channel", "is in no channel"),
            (SWITCH, "p1", "loss much", "no share of frames"),
        ],
    )
    def test_wrong_words(self, trunks: Session, switch: str, port: str, words: str, said: str) -> None:
        with pytest.raises(LabError, match=said):
            trunks.world.break_port(switch, port, tuple(words.split()))

    def test_one_fault_at_a_time_and_none_to_mend(self, trunks: Session) -> None:
        trunks.world.break_port(SWITCH, "p1", ("isolated",))
        with pytest.raises(LabError, match="has a fault: isolated"):
            trunks.world.break_port(SWITCH, "p1", ("deaf",))
        trunks.world.mend(SWITCH, "p1")
        with pytest.raises(LabError, match="has no fault"):
            trunks.world.mend(SWITCH, "p1")


class TestChannels:
    @pytest.mark.parametrize("fault", ["no-channel", "channel static", "other-key"])
    def test_faults_of_channels_come_and_go(self, channels: Session, fault: str) -> None:
        before = state(channels)
        channels.world.break_port(SWITCH, "lag0", tuple(fault.split()))
        assert state(channels) != before or fault == "channel static"
        channels.world.mend(SWITCH, "lag0")
        assert state(channels) == before
        assert answers(channels, "a100", "b100", patience_s=30.0)


def test_every_kind_is_tried_here() -> None:
    tried = {fault.split()[0] for fault, _, _ in P1} | {"mtu", "native", "isolated", "loss", "slow", "no-broadcast"}
    assert tried | {"crossed", "no-channel", "channel", "other-key"} == set(KINDS)
