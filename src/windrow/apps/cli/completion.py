"""`windrow completion`: scripts for bash, zsh and fish."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

EXAMPLES = """\b
Examples:
  source <(windrow completion bash)
  windrow completion zsh > ~/.zfunc/_windrow
  windrow completion fish > ~/.config/fish/completions/windrow.fish"""


@click.command(epilog=EXAMPLES, short_help="Print the completion script for a shell")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes verbs, kinds, names and options."""
    click.echo(script_for(shell, ctx.find_root().command))


def script_for(shell: str, program: click.Command) -> str:
    """`shell`: bash, zsh or fish."""
    found = get_completion_class(shell)
    assert found is not None, shell
    script = found(program, {}, "windrow", "_WINDROW_COMPLETE")
    return script.source_template % script.source_vars()
