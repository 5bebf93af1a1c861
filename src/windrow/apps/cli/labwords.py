"""Words on the command line of `windrow lab`: how a shell completes them, and where another program's begin.

Nothing is completed, and nothing is said, where no lab is up.
"""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from windrow.lab import supervisor
from windrow.lab.client import Open, ask
from windrow.lab.faults import KINDS as FAULTS
from windrow.lab.scenario_file import shipped
from windrow.model.problems import WindrowError


def open_lab(name: str) -> Open:
    return lambda request: supervisor.Connection(name, request)


class ThenACommand(click.Command):
    """Options of ours stand before its first word or right behind it; from the second word on all is another
    program's: `windrow lab exec node-0 ip -br a`, as with `kubectl exec` and `ip netns exec`."""

    begins = 2
    """The other program's first word, of all words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._parted(ctx, args))

    def _parted(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [param for param in self.params if isinstance(param, click.Option) and not param.is_flag]
        valued = {name for option in options for name in option.opts}
        ours = {name for param in self.get_params(ctx) for name in param.opts}
        words, at = 0, 0
        while at < len(args) and args[at] != "--":
            theirs = self.begins == 1 and args[at].partition("=")[0] not in ours  # `kubectl -n default get pods`
            if theirs or not args[at].startswith("-"):
                words += 1
                if words == self.begins:
                    return [*args[:at], "--", *args[at:]]
            at += 2 if args[at] in valued else 1
        return args


class ForAnotherProgram(ThenACommand):
    """Another program's from the first word on, or the first option that is none of ours: `windrow lab kubectl get pods
    -o wide`, `windrow lab kubectl -n default get pods`."""

    begins = 1


def complete_scenario(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ones that ship; and files, which the shell knows."""
    found = shipped()
    named = [CompletionItem(name, help=found[name].strip().splitlines()[0]) for name in found]
    fitting = [item for item in named if item.value.startswith(incomplete)]
    return fitting or [CompletionItem(incomplete, type="file")]


def complete_place(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in ("lab", *_about(ctx).get("places", ())) if name.startswith(incomplete)]


def complete_lab_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _about(ctx).get("nodes", ()) if name.startswith(incomplete)]


def complete_end(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Both ends of each cable."""
    return [end for end in _about(ctx).get("ends", ()) if end.startswith(incomplete)]


def complete_fault(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [] if ctx.params.get("words") else [name for name in FAULTS if name.startswith(incomplete)]


def _about(ctx: click.Context) -> dict[str, Any]:
    name = ctx.params.get("name") or supervisor.DEFAULT_NAME
    try:
        return ask(open_lab(name), {"do": "about"})
    except (WindrowError, OSError):
        return {}  # a shell that completes is no place for an error
