"""The manual of a command: as a page of Markdown, and as one for man(1) (man(7))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from windrow.model.lazy import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of text. `title`: of an example, without its colon. `verbatim`: its lines are to stay lines."""

    lines: tuple[str, ...]
    title: str = ""
    verbatim: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`words`: `windrow vm start`. `usage`: what may follow them. `short`: what it does, in a line."""

    words: str
    usage: str
    short: str
    text: tuple[Block, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """How each is written, and what it does."""
    notes: tuple[Block, ...] = ()
    """Examples, exit codes."""
    commands: tuple[Command, ...] = ()

    @property
    def slug(self) -> str:
        """Its file's name, without an ending."""
        return self.words.replace(" ", "-")


def blocks(text: str) -> Iterator[Block]:
    """Of a help text as click has it: paragraphs, and after a line with `\\b` lines that stay as they are."""
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line.rstrip() for line in part.rstrip().strip("\n").splitlines()]
        verbatim = lines[:1] == ["\b"]
        lines = lines[1:] if verbatim else lines
        if not any(lines):
            continue
        title = lines[0].removesuffix(":") if verbatim and lines[0].endswith(":") else ""
        yield Block(lines=tuple(lines[1:] if title else lines), title=title, verbatim=verbatim)


# Markdown -----------------------------------------------------------------------------------------

GENERATED = "<!-- Written by scripts/manual from the commands themselves; do not edit. -->"


def markdown(command: Command) -> str:
    """The page of a verb, its subcommands one below the other."""
    return "\n".join([GENERATED, "", *_markdown_of(command, 1)]).rstrip("\n") + "\n"


def markdown_index(command: Command) -> str:
    """The page of the program itself: which verbs there are, and what they share."""
    verbs = [f"| [{verb.words}]({verb.slug}.md) | {_cell(verb.short)} |" for verb in command.commands]
    own = _markdown_of(command, 1, commands=False)
    return "\n".join([GENERATED, "", *own, "## Verbs", "", "| | |", "|---|---|", *verbs]) + "\n"


def _markdown_of(command: Command, level: int, *, commands: bool = True) -> Iterator[str]:
    yield from (f"{'#' * level} {command.words}", "")
    for block in command.text:
        yield from _markdown_block(block)
    yield from (f"    {command.words} {command.usage}".rstrip(), "")
    if command.options:
        yield from ("| option | |", "|---|---|")
        yield from (f"| `{_cell(spec, code=True)}` | {_cell(text)} |" for spec, text in command.options)
        yield ""
    for block in command.notes:
        yield from _markdown_block(block)
    for one in command.commands if commands else ():
        yield from _markdown_of(one, level + 1)


def _markdown_block(block: Block) -> Iterator[str]:
    if block.title:
        yield from (f"**{block.title}**", "")
    if block.verbatim:
        yield from (*(f"    {line.removeprefix('  ')}".rstrip() for line in block.lines), "")
    else:
        yield from (_prose(" ".join(line.strip() for line in block.lines)), "")


def _prose(text: str) -> str:
    """What stands between backticks is code already; a `<` elsewhere would begin a tag."""
    return re.sub(r"(`[^`]*`)|[<*]", lambda found: found[1] or f"\\{found[0]}", text)


def _cell(text: str, *, code: bool = False) -> str:
    return (text if code else _prose(text)).replace("|", "\\|")


# man(7) -------------------------------------------------------------------------------------------


def man(command: Command, version: str, others: Sequence[str] = ()) -> str:
    """The page of a verb, with its subcommands. `others`: the pages to be named at its end, without `(1)`."""
    commands = [line for one in command.commands for line in _man_subcommand(one)]
    lines = _man_page(command, version, commands)
    if others:
        lines += [".SH SEE ALSO", ", ".join(map(_man_name, others))]
    return "\n".join(lines) + "\n"


def man_index(command: Command, version: str) -> str:
    """The page of the program itself: which verbs there are, each with a page of its own."""
    verbs = [line for verb in command.commands for line in (".TP", _man_name(verb.slug), _roff_prose(verb.short))]
    return "\n".join(_man_page(command, version, verbs)) + "\n"


def _man_page(command: Command, version: str, commands: Sequence[str]) -> list[str]:
    return [
        f'.TH "{command.slug.upper()}" 1 "" "Windrow {_roff(version)}" "Windrow"',
        *(".SH NAME", f"{_roff(command.slug)} \\- {_roff(_lowered(command.short))}"),
        *(".SH SYNOPSIS", _synopsis(command)),
        *(".SH DESCRIPTION", *_man_blocks(command.text)),
        *([".SH OPTIONS", *_man_options(command)] if command.options else []),
        *([".SH COMMANDS", *commands] if commands else []),
        *_man_notes(command.notes, ".SH"),
    ]


def _man_name(page: str) -> str:
    return f"\\fB{_roff(page)}\\fR(1)"


def _man_subcommand(command: Command) -> Iterator[str]:
    yield f".SS {_roff(command.words)}"
    yield from (_synopsis(command), ".PP")
    yield from _man_blocks(command.text)
    yield from _man_options(command)
    yield from _man_notes(command.notes, ".PP")
    for one in command.commands:
        yield from _man_subcommand(one)


def _synopsis(command: Command) -> str:
    return f"\\fB{_roff(command.words)}\\fR {_roff(command.usage)}".rstrip()


def _man_options(command: Command) -> Iterator[str]:
    for spec, text in command.options:
        yield from (".TP", f"\\fB{_roff(spec)}\\fR", _roff_prose(text) or "\\&")


def _man_blocks(found: Iterable[Block]) -> Iterator[str]:
    for block in found:
        yield from (".PP", *_man_lines(block))


def _man_notes(found: Iterable[Block], heading: str) -> Iterator[str]:
    for block in found:
        if block.title and heading == ".SH":
            yield f".SH {_roff(block.title.upper())}"
        else:
            yield ".PP"
            if block.title:
                yield from (f"{_roff(block.title)}:", ".PP")
        yield from _man_lines(block)


def _man_lines(block: Block) -> list[str]:
    if block.verbatim:
        return [".nf", *(_roff(line) for line in block.lines), ".fi"]
    return [_roff_prose(" ".join(line.strip() for line in block.lines))]


def _roff_prose(text: str) -> str:
    """What stands between backticks is what one types."""
    return re.sub(r"`([^`]*)`", lambda found: f"\\fB{found[1]}\\fR", _roff(text))


def _roff(text: str) -> str:
    """As text: nothing of it is a request or an escape; a hyphen is the one that one types (man(7))."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _lowered(short: str) -> str:
    """What follows the dash of a NAME begins small, but for a name."""
    return short if short[1:2].isupper() else short[:1].lower() + short[1:]
