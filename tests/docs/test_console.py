"""What README and docs show is typed, and compared with what they say. `make test-docs`: it boots labs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.docs.blocks import Block, agrees, all_blocks
from tests.docs.sitting import RUN_S, Shell, Sitting, sitting

PLACE = Path(__file__).parent
LAB = f"docs-{os.getpid()}"
"""Of this run alone: in the end it is taken down by its name."""
HERE = "this directory"
_IN = re.compile(r"(?P<scenario>[a-z0-9-]+)(?: on (?P<nodes>[a-z0-9-]+(?:, [a-z0-9-]+)*))?")


def _sittings() -> Iterator[tuple[str, list[Block]]]:
    """Blocks of one page and one place, also where one that is tried in another place stands between them."""
    found: dict[str, list[Block]] = {}
    for block in all_blocks():
        if where := block.said("tried in:"):
            found.setdefault(f"{block.page} in {where}", []).append(block)
    yield from found.items()


@pytest.mark.parametrize("blocks", [pytest.param(blocks, id=name) for name, blocks in _sittings()])
def test_it_is_as_the_page_says(blocks: list[Block]) -> None:
    where = blocks[0].said("tried in:")
    with _sitting_in(where, blocks) as here:
        faults = [(block, here.try_(command)) for block in blocks for command in block.commands]
    wrong = [f"{block.name}: {fault}" for block, fault in faults if fault]
    assert not wrong, "\n".join(wrong)


def _sitting_in(where: str, blocks: list[Block]) -> AbstractContextManager[Sitting]:
    here, _, script = where.partition(", after ")
    after = PLACE / script if script else None
    if here == HERE:
        return sitting(None, after=after)
    found = _IN.fullmatch(here)
    assert found is not None, f"{blocks[0].name}: where is {where!r}?"
    scenario = found["scenario"]
    does_so = any(command.text == f"windrow lab up {scenario}" for block in blocks for command in block.commands)
    ours = PLACE / f"{scenario}.yaml"
    scenario = str(ours) if ours.exists() else scenario
    nodes = found["nodes"].split(", ") if found["nodes"] else ["node-0"]
    return sitting(LAB, scenario="" if does_so else scenario, nodes=nodes, after=after)


OUTPUTS = [block for block in all_blocks() if block.said("output of:")]


@pytest.mark.parametrize("block", OUTPUTS, ids=lambda block: block.name)
def test_it_prints_what_the_page_shows(block: Block) -> None:
    """Line for line; which numbers they are is another run's."""
    command = block.said("output of:")
    shell = Shell(["bash"])
    try:
        printed, code = shell.run(command, RUN_S)
    finally:
        shell.close()
    assert code == 0, "\n".join(printed)
    missing = [
        line
        for line in block.lines
        if line.strip() != "…" and not any(agrees((line,), [one], numbers=True) for one in printed)
    ]
    assert not missing, "\n".join([*missing, "-- it printed --", *printed])
