"""`windrow explain`: what the fields of a manifest are for."""

from __future__ import annotations

import click

from windrow.apps.cli.options import complete_kind
from windrow.apps.cli.output import say
from windrow.apps.cli.selection import kind_of
from windrow.apps.cli.session import Session
from windrow.model.problems import WindrowError

EXAMPLES = """\b
Examples:
  windrow explain vlanconfig
  windrow explain vc.spec.uplink.bondOptions.lacpRate
  windrow explain hnc --recursive"""

ELSEWHERE = {
    "Node": "a Node is Kubernetes' own; Windrow reads its name, its labels and spec.podCIDR, podCIDRs",
    "Namespace": "a Namespace is Kubernetes' own; Windrow reads its name and its labels, for network policies",
    "Pod": "a Pod is Kubernetes' own; what Windrow takes of it is in docs/user/policy.md",
    "NetworkPolicy": "a NetworkPolicy is Kubernetes' own, and means the same here: docs/user/policy.md",
    "MultiNetworkPolicy": "a MultiNetworkPolicy is the Network Plumbing Working Group's: docs/user/policy.md",
    "VirtualMachine": "a VirtualMachine is KubeVirt's; what Windrow takes of it is in docs/user/vms.md",
    "VirtualMachineInstance": "a VirtualMachineInstance is KubeVirt's; what Windrow takes of it is in docs/user/vms.md",
}


@click.command(epilog=EXAMPLES, short_help="Say what the fields of a manifest are for")
@click.argument("path", metavar="KIND[.FIELD]...", shell_complete=complete_kind)
@click.option("--recursive", is_flag=True, help="All fields below, without words.")
@click.pass_obj
def explain(session: Session, path: str, recursive: bool) -> None:
    """Say what a kind, or a field of it, is for: its type, limits, default and meaning, as `kubectl explain` does.

    [+] is beyond Harvester.
    """
    from windrow.kube.crds import METADATA, crds
    from windrow.model.fieldwords import WORDS
    from windrow.render.explain import explained

    word, *fields = path.split(".")
    kind = kind_of(word)
    if kind.name in ELSEWHERE:
        raise WindrowError(ELSEWHERE[kind.name])
    definition = next(one["spec"] for one in crds() if one["spec"]["names"]["kind"] == kind.name)
    schema = definition["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"][METADATA]["description"] = WORDS[kind.name][METADATA]
    say(
        explained(
            kind.cls.API_VERSION,
            kind.name,
            schema,
            tuple(filter(None, fields)),
            recursive=recursive,
            style=session.style,
        )
    )
