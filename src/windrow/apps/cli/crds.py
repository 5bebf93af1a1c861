"""`windrow crds`."""

from __future__ import annotations

import click

from windrow.apps.cli.output import complain, print_json, say
from windrow.model.problems import Problem

EXAMPLES = """\b
Examples:
  windrow crds | kubectl apply --server-side -f -
  windrow crds vlanconfig                         one kind
  windrow crds -o json > crds.json"""


@click.command(epilog=EXAMPLES, short_help="Print what an API server must know of the kinds")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@click.option("-o", "output", type=click.Choice(["yaml", "json"]), default="yaml", help="The form of the documents.")
@click.pass_context
def crds(ctx: click.Context, kinds: tuple[str, ...], output: str) -> None:
    """Print the CustomResourceDefinitions of Harvester's and Windrow's kinds, for `kubectl apply`.

    Harvester's own objects are taken unchanged. NetworkAttachmentDefinition is Multus': where that is installed, its
    own definition does.
    """
    from windrow.kube.crds import crds as definitions
    from windrow.model.objects import find_kind
    from windrow.model.wire import yaml_text

    documents = definitions()
    known = {document["spec"]["names"]["kind"]: document for document in documents}
    found = [find_kind(word) for word in kinds]
    for word, kind in zip(kinds, found, strict=True):
        if kind is None or kind.name not in known:
            message = f"there is no definition of {word} here"
            complain([Problem(code="kind-unknown", message=message, hint=f"the kinds are {', '.join(known)}")])
            ctx.exit(2)
    chosen = [known[kind.name] for kind in found if kind is not None] or list(documents)
    if output == "json":
        print_json({"apiVersion": "v1", "kind": "List", "items": chosen})
    else:
        say("---\n".join(yaml_text(document) for document in chosen))
