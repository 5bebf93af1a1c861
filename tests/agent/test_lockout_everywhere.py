"""Seventy-two wrong changes of a management network: the old address answers again in every one, and none is kept
because nobody was asked. The six surroundings are six hosts of one lab kernel that go through theirs at the same time.
"""

from __future__ import annotations

import itertools
import os
import pickle
import traceback
from collections.abc import Iterator, Sequence

import pytest
from tests.agent.lockouts import Around, By, Case, Killed, Place, Result, Wrong, cases

from windrow.model.checkpoint import Stage

STATED_S = 20.0
"""Until the old address answers again: what is stated for one change on a machine of its own is 15 s; here six hosts
share one processor."""
CASES = cases()


def test_every_two_values_meet() -> None:
    assert len(CASES) >= 60
    axes = (Around, Wrong, By, Killed)
    rows = [(c.around, c.wrong, c.by, c.killed) for c in CASES]
    for (a, one), (b, other) in itertools.combinations(enumerate(axes), 2):
        missing = set(itertools.product(one, other)) - {(row[a], row[b]) for row in rows}
        assert not missing, missing


AT_ONCE = 3
"""So many hosts work at the same time: more of them only wait for the one processor."""


def _go(place: Place, mine: Sequence[Case], write: int, turns: tuple[int, int]) -> None:
    """In a process of its own: the results, as they come. `turns`: a pipe with a byte for each that may work."""
    with os.fdopen(write, "wb") as out:
        turn = os.read(turns[0], 1)
        try:
            place.prepare()
        except BaseException:  # noqa: BLE001  told by the test of each case
            for case in mine:
                pickle.dump(Result(case, trouble=traceback.format_exc()), out)
            return
        finally:
            os.write(turns[1], turn)
        for case in mine:
            turn = os.read(turns[0], 1)
            pickle.dump(place.go_through(case), out)
            os.write(turns[1], turn)


def _all(selected: Sequence[Case]) -> dict[Case, Result]:
    places = [Place(around) for around in Around if any(c.around is around for c in selected)]
    try:
        turns = os.pipe()
        os.write(turns[1], b"x" * AT_ONCE)
        reads: list[int] = []
        children: list[int] = []
        for place in places:
            read, write = os.pipe()
            if (pid := os.fork()) == 0:
                try:
                    _go(place, [c for c in selected if c.around is place.around], write, turns)
                finally:
                    os._exit(0)
            os.close(write)
            reads.append(read)
            children.append(pid)
        found: dict[Case, Result] = {}
        for read in reads:
            with os.fdopen(read, "rb") as file:
                while file.peek(1):
                    result = pickle.load(file)
                    found[result.case] = result
        for pid in children:
            os.waitpid(pid, 0)
        for fd in turns:
            os.close(fd)
        return found
    finally:
        for place in places:
            place.close()


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[Case, Result]]:
    """Of those cases that this run selects."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = [spec.params["case"] for spec in specs if spec is not None and "case" in spec.params]
    found = _all([case for case in CASES if case in chosen])
    yield found
    told = [r for r in found.values() if r.took is not None]
    if told:
        worst = max(told, key=lambda r: r.took or 0.0)
        times = sorted(r.took or 0.0 for r in told)
        kept = [str(r.case) for r in told if r.stage is Stage.CONFIRMED]
        print(
            f"\n{len(told)} cases: the old address answers after {times[len(times) // 2]:.1f} s (median), "
            f"{worst.took:.1f} s (longest: {worst.case}); {sum(r.cut for r in told)} were cut off when somebody was "
            f"killed; kept, with somebody who answered: {len(kept)}"
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_old_address_answers(results: dict[Case, Result], case: Case) -> None:
    found = results[case]
    print(f"\n{case}: {found.took} s, {found.stage}, {found.said} ({found.spent:.1f} s in all)")
    assert not found.trouble, f"{found.trouble}\n{found.log}"
    assert found.took is not None, f"locked out\n{found.log}"
    assert found.took < STATED_S
    if found.stage is Stage.CONFIRMED:
        assert case.wrong is Wrong.MTU, f"kept: {found.said}\n{found.log}"
        assert "answers" in found.said and "nor did anybody" not in found.said, found.said
    else:
        assert found.stage is Stage.UNDONE, f"{found.said}\n{found.log}"
        assert not found.differs, f"{found.differs}\n{found.log}"
    if case.killed is not Killed.WATCHDOG and case.wrong is not Wrong.MTU:
        assert found.cut, f"nobody was cut off: this case shows nothing\n{found.log}"
