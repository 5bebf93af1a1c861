"""The console blocks of README and docs, without a lab: each says where it is tried, and what it types can be typed.
`make test-docs` types it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from tests.docs.blocks import ROOT, Block, agrees, all_blocks

from windrow.apps.cli.main import cli

BLOCKS = list(all_blocks())
_OPERATORS = re.compile(r"\s*(?:;|&&|\|\||\||&)\s*")
_ENVIRONMENT = re.compile(r"(?:[A-Z_]+=\S+\s+)*")


def test_each_says_where_it_is_tried() -> None:
    ways = ("tried in:", "tried on:", "output of:", "typed by:")
    assert [block.name for block in BLOCKS if not any(block.said(way) for way in ways)] == []


def test_each_place_is_one_that_somebody_types_in() -> None:
    """By what the tests look for; a place of a lab is a scenario, which its test finds or fails."""
    hosts = {"networkd", "ifupdown", "bare", "a clean Debian", "a clean Debian with its network"}
    assert {one for b in BLOCKS for one in b.said("tried on:").split(", ") if one} == hosts
    typists = {said for b in BLOCKS if (said := b.said("typed by:"))}
    assert [name for name in typists if "typed by:" not in (ROOT / name).read_text()] == []


def _typed() -> Iterator[tuple[Block, list[str]]]:
    """Every call of windrow in them."""
    for block in BLOCKS:
        for command in block.commands:
            for part in _OPERATORS.split(command.text.split(" <", 1)[0].split(" > ", 1)[0]):
                words = shlex.split(_ENVIRONMENT.sub("", part, count=1)) if part.count("'") % 2 == 0 else []
                words = [word for word in words if not word.startswith(("2>", ">", "…"))]
                if words[:1] == ["windrow"]:
                    yield block, words[1:]
                elif words[:2] == ["kubectl", "windrow"]:
                    yield block, words[2:]


@pytest.mark.parametrize(
    ("block", "words"), [pytest.param(b, w, id=f"{b.name} {' '.join(w)[:40]}") for b, w in _typed()]
)
def test_what_they_type_can_be_typed(block: Block, words: list[str]) -> None:
    """Whatever becomes of it: the verb is there, and so is each of its options."""
    context = cli.make_context("windrow", list(words))
    command: click.Command = cli
    while isinstance(command, click.Group):
        args = [*context._protected_args, *context.args]
        if not args:
            return
        name, found, rest = command.resolve_command(context, args)
        assert found is not None, f"{block.name}: there is no {name}"
        command = found
        context = command.make_context(name, list(rest), parent=context)


def test_calls_are_found() -> None:
    assert len(list(_typed())) > 60


@pytest.mark.parametrize(
    ("says", "prints", "agree"),
    [
        (["3 steps in 0.02 s"], ["3 steps in 1.7 s"], True),
        (["3 steps in 0.02 s"], ["4 steps in 0.02 s"], False),
        (["a", "…", "z"], ["a", "z"], True),
        (["a", "…", "z"], ["a", "b", "c", "z"], True),
        (["a", "…", "z"], ["a", "b", "c"], False),
        (["create bond, …: takes over"], ["create bond, mode x: takes over"], True),
        (["NAME   STATE"], ["NAME     STATE"], True),
        (["a"], ["a", "b"], False),
        (["a"], [], False),
        (["veth31be1568 52:54:00:00:00:01"], ["veth00000000 02:00:00:00:00:01"], True),
    ],
)
def test_what_agrees(says: list[str], prints: list[str], agree: bool) -> None:
    assert agrees(tuple(says), prints) is agree
