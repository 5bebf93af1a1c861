"""What the commands say of themselves, as values: what the reference and the manual pages are made from."""

from __future__ import annotations

from collections.abc import Iterator

import click

from windrow.apps.cli.main import VERBS, cli
from windrow.render.manual import Command, blocks


def program() -> Command:
    """`windrow` with all its verbs, each with its subcommands."""
    return _command(cli, None, "windrow", "Harvester's network for any Linux host")


def _command(command: click.Command, parent: click.Context | None, name: str, short: str) -> Command:
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    return Command(
        words=context.command_path,
        usage=" ".join(command.collect_usage_pieces(context)),
        short=short,
        text=tuple(blocks((command.help or "").partition("\f")[0])),
        options=tuple(_options(command, context)),
        notes=tuple(blocks(command.epilog or "")),
        commands=tuple(_commands(command, context)),
    )


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """`--help` is said of the program, for all of them; what an argument is, its verb's text says."""
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is None or isinstance(param, click.Argument) or ("--help" in param.opts and context.parent):
            continue
        yield record[0], " ".join(record[1].split())


def _commands(command: click.Command, context: click.Context) -> Iterator[Command]:
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            short = VERBS[name] if context.parent is None else found.get_short_help_str(200)
            yield _command(found, context, name, short)
