"""Reports that are passed on: whose they are is proved by their own signature, and what is older says nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.apps.check.relays import NODES_MAX, Relays
from windrow.frames.probe import Kind, Probe, Run, Secret, encode
from windrow.frames.relay import RELAY_MAX, REPORTS_MAX, Report, pack, read, unpack
from windrow.frames.report import chunks
from windrow.frames.report import pack as pack_report
from windrow.model.evidence import Absent, Leg, NodeEvidence
from windrow.model.evidence import Kind as Sense
from windrow.model.values import IfName

SECRET, OTHER = Secret.of_key(b"k" * 32), Secret.of_key(b"o" * 32)
LONG = "".join(chr(33 + n % 90) for n in random.Random(0).choices(range(90), k=2000))
"""It fits into no single frame."""


def report(node: str, number: int, *, said: str = "x", secret: Secret = SECRET, started: int = 1000) -> Report:
    """As the node itself signs it, with something in it."""
    evidence = NodeEvidence(node=node, at=float(number), absent=(Absent(kind=Sense.LLDP, reason=said),))
    frames = tuple(
        encode(
            Probe(
                kind=Kind.REPORT,
                sender=Leg(node, IfName("eth0")),
                vid=10,
                run=Run(started, 7),
                sweep=1,
                sequence=chunk.number,
                time=0,
                again=30,
                chunk=chunk,
            ),
            secret,
        )
        for chunk in chunks(number, pack_report(evidence))
    )
    return Report(frames=frames, age_s=1.5)


def told(relays: Relays) -> dict[str, bytes]:
    return dict(relays.packed())


def test_reports_there_and_back() -> None:
    some = (report("a", 1), report("b", 2, said=LONG))
    assert unpack(pack(some)) == some
    found = read(some[1], SECRET)
    assert found is not None
    assert found[0].sender.node == "b"


def test_too_much_is_left_out() -> None:
    assert len(unpack(pack(report(f"n{n}", 1) for n in range(20)))) == REPORTS_MAX
    large = Report(frames=tuple(bytes(1200) for _ in range(60)), age_s=0.0)
    assert len(pack([large])) == 0 or len(pack([large])) <= RELAY_MAX
    assert unpack(pack([large, report("a", 1)])) == (report("a", 1),)


@given(st.binary(max_size=400))
def test_whatever_comes_raises_nothing(data: bytes) -> None:
    relays = Relays("me")
    for one in unpack(data):
        assert read(one, SECRET) is None
    assert not relays.take("by", unpack(data), SECRET, 0.0)


def test_what_is_cut_is_left_out() -> None:
    whole = pack([report("a", 1), report("b", 1)])
    first = len(pack([report("a", 1)]))
    for end in range(len(whole)):
        assert unpack(whole[:end]) == ((report("a", 1),) if end >= first else ())


def test_a_relay_is_kept_with_by_whom_and_how_old() -> None:
    relays = Relays("me")
    assert relays.take("by", (report("a", 1),), SECRET, 100.0)
    assert relays.relays(104.0)["a"].by == "by"
    assert relays.relays(104.0)["a"].age_s == 5.5
    assert not relays.take("by", (report("a", 1),), SECRET, 101.0), "it is known"
    assert relays.take("by", (report("a", 2),), SECRET, 102.0)
    newest = told(relays)["a"]
    assert not relays.take("by", (report("a", 1),), SECRET, 103.0), "a recording"
    assert not relays.take("by", (report("a", 9, started=10),), SECRET, 103.0), "of a run before"
    assert told(relays)["a"] == newest
    relays.forget(10_000.0)
    assert not told(relays)


@pytest.mark.parametrize(
    "bad",
    [
        report("a", 1, secret=OTHER),
        report("me", 1),
        report("by", 1),
        replace(report("a", 1), age_s=1e6),
        replace(report("a", 1, said=LONG), frames=report("a", 1, said=LONG).frames[:-1]),
        Report(frames=(report("a", 1, said=LONG).frames[0], *report("b", 1, said=LONG).frames[1:]), age_s=0.0),
        Report(frames=(), age_s=0.0),
    ],
    ids=["forged", "of us", "of who passes it on", "too old", "a part is missing", "of two nodes", "nothing"],
)
def test_what_is_not_believed(bad: Report) -> None:
    relays = Relays("me")
    assert not relays.take("by", (bad,), SECRET, 100.0)
    assert not told(relays)


def test_a_frame_that_is_changed_is_no_more_signed() -> None:
    one = report("a", 1)
    frame = bytearray(one.frames[0])
    frame[-1] ^= 1
    assert read(replace(one, frames=(bytes(frame),)), SECRET) is None


def test_nodes_are_bounded() -> None:
    relays = Relays("me")
    for n in range(NODES_MAX + 10):
        relays.take("by", (report(f"n{n}", 1),), SECRET, 0.0)
    assert len(told(relays)) == NODES_MAX
