"""One object in full, for people: its document as indented words, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from windrow.model.problems import Problem
from windrow.model.steps import Step
from windrow.render.plan import problem_lines, step_lines
from windrow.render.text import PLAIN, Style

_ACRONYMS = {
    "mtu": "MTU", "ips": "IPs", "nics": "NICs", "vlanID": "VLAN ID", "txQLen": "TxQLen", "mac": "MAC", "cpu": "CPU",
    "macAddress": "MAC Address", "pciAddress": "PCI Address", "podCIDR": "Pod CIDR", "podCIDRs": "Pod CIDRs",
}  # fmt: skip


def describe_text(
    document: Mapping[str, Any],
    *,
    problems: Iterable[Problem] = (),
    steps: Sequence[Step] = (),
    file: str = "",
    style: Style = PLAIN,
) -> str:
    """`steps`: what is still to do because of this object. `problems`: what is said about it."""
    meta = document.get("metadata", {})
    first = {"Name": meta.get("name", ""), "Namespace": meta.get("namespace"), "Kind": document.get("kind", "")}
    first |= {"API Version": document.get("apiVersion", ""), "File": file or None}
    lines = [f"{key + ':':<14}{value}" for key, value in first.items() if value]
    for heading, value in (("Labels", meta.get("labels")), ("Annotations", meta.get("annotations"))):
        if value:
            lines += [style.bold(f"{heading}:"), *(f"  {k}: {v}" for k, v in value.items())]
    for key, value in document.items():
        if key not in ("metadata", "kind", "apiVersion") and value not in ({}, None):
            lines += [style.bold(f"{_title(key)}:"), *_value(value, "  ")]
    found = [line for p in problems for line in problem_lines(p, style)]
    if found:
        lines += [style.bold("Problems:"), *(f"  {line}" for line in found)]
    if steps:
        lines += [style.bold("To do:"), *(f"  {line}" for line in step_lines(steps, style))]
    return "\n".join(lines) + "\n"


def _value(value: Any, indent: str) -> Iterator[str]:
    match value:
        case Mapping():
            for key, inner in value.items():
                title = _title(str(key))
                if isinstance(inner, Mapping | list) and inner:
                    yield f"{indent}{title}:"
                    yield from _value(inner, indent + "  ")
                elif isinstance(inner, str) and "\n" in inner:
                    yield f"{indent}{title}:"
                    yield from (f"{indent}  {line}".rstrip() for line in inner.splitlines())
                else:
                    yield f"{indent}{title}: {_word(inner)}"
        case list():
            for inner in value:
                if isinstance(inner, Mapping):
                    first, *rest = _value(inner, "")
                    yield f"{indent}- {first}"
                    yield from (f"{indent}  {line}" for line in rest)
                else:
                    yield f"{indent}- {_word(inner)}"
        case _:
            yield f"{indent}{_word(value)}"


def _word(value: Any) -> str:
    match value:
        case None:
            return "<none>"
        case bool():
            return str(value).lower()
        case []:
            return "<none>"
        case Mapping():
            return "{}"  # `bridge: {}` says something
        case _:
            return str(value)


def _title(key: str) -> str:
    """`clusterNetwork` -> `Cluster Network`; names with dots, dashes and digits stay as they are."""
    if key in _ACRONYMS:
        return _ACRONYMS[key]
    if not key.isalpha() or key.isupper():
        return key
    spaced = "".join(f" {c}" if c.isupper() and not key[i - 1 : i].isupper() else c for i, c in enumerate(key))
    return spaced[:1].upper() + spaced[1:]
