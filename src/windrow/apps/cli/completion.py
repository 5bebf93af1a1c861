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
    found = get_completion_class(shell)
    assert found is not None, shell
    root = ctx.find_root().command
    script = found(root, {}, "windrow", "_WINDROW_COMPLETE")
    click.echo(script.source_template % script.source_vars())
