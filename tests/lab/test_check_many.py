"""Hundreds of VLANs: frames each second, the share of the link and the processor's time."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.checkworld import Capture, Checked, checked

from windrow.apps.check.alone import secret_of
from windrow.apps.check.told import rows
from windrow.frames.probe import mac_of
from windrow.model.evidence import Leg
from windrow.model.values import IfName
from windrow.render.vlanmatrix import State, matrix_text
from windrow.store.paths import Paths


@contextmanager
def processor() -> Iterator[list[float]]:
    found: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    yield found
    after = resource.getrusage(resource.RUSAGE_SELF)
    found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def test_many_vlans() -> None:
    """With three nodes in one process; `WINDROW_PROBE_VLANS=500` is the number that is promised."""
    count = int(os.environ.get("WINDROW_PROBE_VLANS", "100"))
    with checked(f"10,1000-{998 + count}") as lab:
        with Capture(lab, "n1", "eth0") as cable, processor() as used:
            begun = time.monotonic()
            found = lab.check()
            elapsed = time.monotonic() - begun
        macs = _own(lab)
        own = [(at, 8 * (len(data) + 24)) for at, data in cable.frames if data[6:12].hex(":") in macs]
        cluster = lab.intent("n1")[1]
        listed = rows(found["n1"], cluster)
        states = [state for row in listed for state in row.cells.values()]
    frames: Counter[int] = Counter()
    bits: Counter[int] = Counter()
    for at, size in own:
        frames[int(at)] += 1
        bits[int(at)] += size
    busiest, most = max(frames.values()), max(bits.values())
    sweeps = [told.sweeps for told in found.values()]
    print(f"{count} VLANs: {len(own)} frames of one leg, {busiest} in the busiest second, {most / 1000:.0f} kbit/s")
    print(f"processor {used[0] / elapsed:.1%} of one for three nodes in {elapsed:.0f} s, sweeps {sweeps}")
    assert len(states) == 3 * count
    assert all(state is State.PASSES for state in states), matrix_text(listed)
    assert busiest <= 101
    assert most <= 10_000 * 1e6 * 0.001


def _own(lab: Checked) -> set[str]:
    intent = lab.intent("n1")[0]
    secret = secret_of(Paths(lab.world.root("n1")), intent)
    return {mac_of(secret, Leg("n1", IfName(nic))) for nic in ("eth0", "eth1")}
