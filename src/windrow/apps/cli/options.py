"""Options and arguments that several verbs share, and how the shell completes them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from windrow.model.checkpoint import Probe
from windrow.model.objects import KINDS, AnyObject, find_kind
from windrow.model.problems import WindrowError
from windrow.model.steps import Impact
from windrow.model.values import VidSet

F = TypeVar("F", bound=Callable[..., Any])
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def files(*, required: bool) -> Callable[[F], F]:
    """-f and -k; the function gets both as `places`, for `manifests.read`."""
    places = click.option(
        "-f",
        "--filename",
        "places",
        multiple=True,
        metavar="FILE|DIR|URL|-",
        type=click.Path(),
        help="Manifests: a file, a directory, an address, or - for standard input. May be given several times.",
    )
    built = click.option(
        "-k", "--kustomize", "built", multiple=True, metavar="DIR", help="What kustomize makes of DIR."
    )

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def gathered(*args: Any, places: tuple[str, ...], built: tuple[str, ...], **more: Any) -> Any:
            from windrow.apps.cli.manifests import Kustomization

            every = (*places, *map(Kustomization, built))
            if required and not every:
                raise click.UsageError("give -f FILE or -k DIR")
            return function(*args, places=every, **more)

        return places(built(gathered))  # type: ignore[return-value]

    return decorate


def dry_run(function: F) -> F:
    return click.option("--dry-run", is_flag=True, help="Go through all checks, show the plan, and change nothing.")(
        function
    )


def max_impact(function: F) -> F:
    return max_impact_of(Impact.OUTAGE)(function)


def max_impact_of(usual: Impact) -> Callable[[F], F]:
    return click.option(
        "--max-impact",
        type=click.Choice([i.value for i in Impact]),
        default=usual.value,
        show_default=True,
        help="Refuse a plan that costs the running traffic more than this.",
    )


def duration(text: str) -> float | None:
    """Of `60`, `60s`, `5m`, `1.5h`, `200ms`, `-1`, in seconds; None: it is no time."""
    found = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", text)
    return float(found[1]) * _UNITS[found[2] or "s"] if found else None


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """`60`, `60s`, `5m`: seconds, from 1 to 3600."""
    if value is None:
        return None
    number = duration(value)
    if number is None or not 1 <= number <= 3600:
        raise click.BadParameter(f"{value!r} is not a time from 1s to 1h, such as 60s or 5m", ctx, param)
    return number


def _probes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Probe, ...]:
    from windrow.apps.safe.probe import parse_probe

    try:
        return tuple(map(parse_probe, values))
    except ValueError as error:
        hint = "use an IP address, tcp:ADDRESS:PORT, incoming, incoming:PORT, gateway or none"
        raise click.BadParameter(f"{error}: {hint}", ctx, param) from error


def confirm(function: F) -> F:
    """--confirm and --probe."""
    probed = click.option(
        "--probe",
        "probes",
        multiple=True,
        callback=_probes,
        metavar="WHAT",
        help="What must answer after the change, or it is undone: an IP address, tcp:ADDRESS:PORT, gateway, or none; "
        "incoming or incoming:PORT: somebody must open a new connection to this host. May be given several times.",
    )
    confirmed = click.option(
        "--confirm",
        "confirm_s",
        callback=seconds,
        metavar="TIME",
        help="Undo the change after TIME (60s, 5m), whatever has become of this terminal, unless it is confirmed here, "
        "by `windrow confirm`, or by the probes.",
    )
    return confirmed(probed(function))


def _skipped(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Mapping[str, VidSet]:
    from windrow.apps.check.settings import parse_skipped

    try:
        return parse_skipped(values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def skip_vlans(function: F) -> F:
    return click.option(
        "--skip-vlans",
        "skipped",
        multiple=True,
        callback=_skipped,
        metavar="[CN:]VLANS",
        help="Send no probes into these: 100-110,200 of every cluster network, oob:100 of one; 0 is what has no tag. "
        "Repeatable.",
    )(function)


def probing(function: F) -> F:
    """--check and --skip-vlans, of an agent."""
    checked = click.option(
        "--check",
        "check_s",
        callback=seconds,
        metavar="TIME",
        help="Probe the VLANs of this node's uplinks so often (5m), and at once when `windrow check` asks. Without it "
        "no probe is sent.",
    )
    return checked(skip_vlans(function))


def unit_dir(function: F) -> F:
    return click.option(
        "--unit-dir",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where systemd looks for units.  [default: /etc/systemd/system]",
        metavar="DIR",
    )(function)


def output(function: F) -> F:
    return click.option(
        "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
    )(function)


def namespace(function: F) -> F:
    return click.option(
        "-n", "--namespace", metavar="NS", help="Only objects of this namespace.", shell_complete=complete_namespace
    )(function)


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


def complete_namespace(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    found = {o.meta.namespace for o in _stored(ctx)}
    return [CompletionItem(name) for name in sorted(found) if name and name.startswith(incomplete)]


def _names(ctx: click.Context, word: str, incomplete: str) -> list[CompletionItem]:
    kind = find_kind(word)
    names = [o.name for o in _stored(ctx) if kind and isinstance(o, kind.cls)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def root_of(ctx: click.Context) -> Path:
    """Where files are, for a shell that completes: it has no session."""
    return Path(ctx.find_root().params.get("root") or "/")


def _stored(ctx: click.Context) -> Sequence[AnyObject]:
    from windrow.store.directory import Store

    try:
        return Store(root_of(ctx)).load().objects
    except WindrowError:
        return ()  # a shell that completes is no place for an error


def complete_network(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`[NS/]NAD`: those of the namespace that is meant by their names, and all of them with theirs."""
    from windrow.model.objects import NetworkAttachmentDefinition

    here = ctx.params.get("namespace") or "default"
    every = [(o.meta.namespace, o.name) for o in _stored(ctx) if isinstance(o, NetworkAttachmentDefinition)]
    own = [name for namespace, name in every if namespace == here]
    found = [f"{namespace}/{name}" for namespace, name in every] if "/" in incomplete else own
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The nodes that have an object."""
    return _names(ctx, "node", incomplete)


def namespaced(text: str, option: str) -> tuple[str, str]:
    """`harvester-system/windrow-manager`: the namespace and the name."""
    from windrow.model.wire.documents import is_namespaced_name  # not for every verb

    namespace, _, name = text.partition("/")
    if not is_namespaced_name(namespace, name):
        raise click.BadParameter(f"{text!r} is not NAMESPACE/NAME", param_hint=option)
    return namespace, name
