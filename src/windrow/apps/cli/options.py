"""Options and arguments that several verbs share, and how the shell completes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from windrow.model.objects import KINDS, find_kind
from windrow.model.problems import WindrowError
from windrow.model.steps import Impact

F = TypeVar("F", bound=Callable[..., Any])


def files(*, required: bool) -> Callable[[F], F]:
    return click.option(
        "-f",
        "--filename",
        "places",
        multiple=True,
        required=required,
        metavar="FILE|DIR|-",
        type=click.Path(),
        help="Manifests: a file, a directory, or - for standard input. May be given several times.",
    )


def dry_run(function: F) -> F:
    return click.option("--dry-run", is_flag=True, help="Go through all checks, show the plan, and change nothing.")(
        function
    )


def max_impact(function: F) -> F:
    return click.option(
        "--max-impact",
        type=click.Choice([i.value for i in Impact]),
        default=Impact.OUTAGE.value,
        show_default=True,
        help="Refuse a plan that costs the running traffic more than this.",
    )(function)


def output(function: F) -> F:
    return click.option(
        "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
    )(function)


def namespace(function: F) -> F:
    return click.option("-n", "--namespace", metavar="NS", help="Only objects of this namespace.")(function)


def complete_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A kind first; then, where a kind is given, its objects."""
    before = [w for w in (ctx.params.get("words") or ()) if w]
    if before and find_kind(before[0].split(",")[0]):
        return _names(ctx, before[0].split(",")[0], incomplete)
    head, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(f"{head}{comma}{k.cls.KIND.lower()}", help=",".join(k.short))
        for k in KINDS
        if k.cls.KIND.lower().startswith(last.lower()) or last in k.short
    ]


def _names(ctx: click.Context, word: str, incomplete: str) -> list[CompletionItem]:
    from windrow.store.directory import Store

    kind = find_kind(word)
    root = ctx.find_root().params.get("root") or Path("/")
    try:
        objects = Store(Path(root)).load().objects
    except WindrowError:
        return []  # a shell that completes is no place for an error
    names = [o.name for o in objects if kind and isinstance(o, kind.cls)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
