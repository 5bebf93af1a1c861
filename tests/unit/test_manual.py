"""The reference of commands and the manual pages: made from the commands, and never older than they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from windrow import __version__
from windrow.apps.cli.main import VERBS
from windrow.apps.cli.manual import program
from windrow.render.manual import Block, Command, blocks, man, man_index, markdown

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = Command(
    words="windrow do",
    usage="[OPTIONS] NAME",
    short="Do it | all of it",
    text=(Block(("First `a-b` and <x>.", "Second.")),),
    options=(("-f, --file FILE|-", "From `-` or a file"),),
    notes=tuple(blocks("\b\nExamples:\n  windrow do x      it\n  .hidden\n\nExit codes: 0 fine.")),
)


def test_the_pages_are_those_of_the_commands() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts/manual", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_verb_is_there_with_all_that_it_has() -> None:
    windrow = program()
    assert [verb.words for verb in windrow.commands] == [f"windrow {verb}" for verb in sorted(VERBS)]
    (vm,) = [verb for verb in windrow.commands if verb.words == "windrow vm"]
    assert "windrow vm start" in [one.words for one in vm.commands]
    (plan,) = [verb for verb in windrow.commands if verb.words == "windrow plan"]
    assert any(spec.startswith("-f, --filename") for spec, _ in plan.options)
    assert [block.title for block in plan.notes if block.title] == ["Examples"]


def test_help_is_an_option_of_the_program_and_said_once() -> None:
    """Whatever the library that parses calls it."""
    windrow = program()
    assert [spec for spec, _ in windrow.options if "--help" in spec] == ["-h, --help"]

    def told(command: Command) -> list[str]:
        own = [command.words] if any("--help" in spec for spec, _ in command.options) else []
        return [*own, *(words for one in command.commands for words in told(one))]

    assert [words for one in windrow.commands for words in told(one)] == []


def test_the_page_of_the_program_names_its_verbs_and_leaves_the_rest_to_theirs() -> None:
    page = man_index(Command(words="windrow", usage="", short="All", commands=(EXAMPLE,)), "0.1.0")
    lines = page.splitlines()
    assert lines[lines.index(".SH COMMANDS") + 1 :] == [
        ".TP",
        "\\fBwindrow\\-do\\fR(1)",
        "Do it | all of it",
    ]


def test_blocks_of_a_help_text() -> None:
    assert list(blocks("One\ntwo.\n\n\b\nExamples:\n  a   b\n\n\n\b\nplain\n")) == [
        Block(("One", "two.")),
        Block(("  a   b",), title="Examples", verbatim=True),
        Block(("plain",), verbatim=True),
    ]


def test_a_page_of_markdown() -> None:
    assert markdown(EXAMPLE).splitlines()[2:] == [
        "# windrow do",
        "",
        "First `a-b` and \\<x>. Second.",
        "",
        "    windrow do [OPTIONS] NAME",
        "",
        "| option | |",
        "|---|---|",
        "| `-f, --file FILE\\|-` | From `-` or a file |",
        "",
        "**Examples**",
        "",
        "    windrow do x      it",
        "    .hidden",
        "",
        "Exit codes: 0 fine.",
    ]


def test_a_manual_page() -> None:
    """What one types stays what one types (hyphens), and no line of the text is a request."""
    lines = man(EXAMPLE, "0.1.0", ["windrow"]).splitlines()
    assert lines[:3] == [
        '.TH "WINDROW-DO" 1 "" "Windrow 0.1.0" "Windrow"',
        ".SH NAME",
        "windrow\\-do \\- do it | all of it",
    ]
    assert "First \\fBa\\-b\\fR and <x>. Second." in lines
    assert "\\fB\\-f, \\-\\-file FILE|\\-\\fR" in lines
    assert "  .hidden" in lines and "\\fBwindrow\\fR(1)" in lines
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi"}


def test_groff_has_nothing_to_say(tmp_path: Path) -> None:
    for verb in program().commands:
        command = ["groff", "-man", "-Tutf8", "-K", "utf8", "-ww", "-z"]
        done = subprocess.run(command, input=man(verb, __version__), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), verb.words


def test_no_help_text_says_more_than_a_page_can() -> None:
    """Control characters are click's marks; none is left in a page."""
    windrow = program()
    for verb in windrow.commands:
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", markdown(verb) + man(verb, __version__)), verb.words
