"""Selectors of labels: metav1.LabelSelector, the required node affinity of a machine (core/v1), and the words of
`-l`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from windrow.model.selectors import LABEL_OPERATORS, LabelSelector, NodeTerm, Operator, Requirement
from windrow.model.wire.reader import Field, Table, suggestion
from windrow.model.wire.text import join, quoted, shown

_WITH_VALUES = (Operator.IN, Operator.NOT_IN, Operator.GREATER, Operator.LESS)
LABEL_SELECTOR = ("matchLabels", "matchExpressions")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NAME = "metadata.name"
"""The one field that `matchFields` knows."""


def read_label_selector(field: Field) -> LabelSelector | None:
    """As apimachinery's `LabelSelectorAsSelector`."""
    table = field.table(LABEL_SELECTOR)
    if table is None:
        return None
    for key in table.value:
        _told_if_unknown(key, table)
    labels = [
        Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in table.texts("matchLabels").items()
    ]
    return LabelSelector(requirements=(*labels, *_requirements(table, "matchExpressions", LABEL_OPERATORS)))


_SET = re.compile(r"(?P<key>[\w./-]+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(r"(?P<key>[\w./-]+)\s*(?P<how>==|=|!=)\s*(?P<values>[^\s!=,()]*)")
_THERE = re.compile(r"(?P<how>!?)\s*(?P<key>[\w./-]+)")


def parse_selector(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),h,!i`, as apimachinery's `labels.Parse`. Raises ValueError."""
    found: list[Requirement] = []
    at = 0
    while at < len(text):
        match = next(filter(None, (one.match(text, at) for one in (_SET, _EQUAL, _THERE))), None)
        end = match.end() if match else at
        rest = text[end:].lstrip()
        if match is None or (rest and rest[0] != ","):
            raise ValueError(f"{text[at:]!r} is no selector of labels: write a=b, a!=b, a, !a, a in (b,c)")
        found.append(_parsed(match))
        at = len(text) - len(rest[1:].lstrip()) if rest else len(text)
    return LabelSelector(requirements=tuple(found))


def _parsed(match: re.Match[str]) -> Requirement:
    words = match.groupdict()
    values = tuple(value.strip() for value in (words.get("values") or "").split(","))
    match words["how"]:
        case "in" | "=" | "==":
            return Requirement(key=words["key"], operator=Operator.IN, values=values)
        case "notin" | "!=":
            return Requirement(key=words["key"], operator=Operator.NOT_IN, values=values)
        case "!":
            return Requirement(key=words["key"], operator=Operator.DOES_NOT_EXIST)
        case _:
            return Requirement(key=words["key"], operator=Operator.EXISTS)


def _told_if_unknown(key: str, table: Table) -> None:
    """Kubernetes drops what a LabelSelector does not have, and one without requirements selects every node: so do
    labels alone, as a VlanConfig takes them."""
    if key not in LABEL_SELECTOR and not suggestion(key, LABEL_SELECTOR, 0.8):
        what = f"there is no field {shown(key)} in a label selector; it is kept, and narrows nothing"
        hint = f"labels go into matchLabels: {{matchLabels: {{{shown(key)}: …}}}}"
        table.report.warn("unknown-field", join(table.path, key), what, hint)


def read_node_terms(spec: Table) -> tuple[NodeTerm, ...] | None:
    """What `affinity` requires of a node; None: nothing. What is only preferred is no reason to refuse."""
    node = spec.table("affinity").table("nodeAffinity").table(_REQUIRED, ("nodeSelectorTerms",))
    listed = node.get("nodeSelectorTerms")
    tables = [item.table(("matchExpressions", "matchFields")) for item in listed.items()] if listed else None
    return tuple(_term(table) for table in tables if table is not None) if tables is not None else None


def _term(table: Table) -> NodeTerm:
    names = _requirements(table, "matchFields", (Operator.IN, Operator.NOT_IN))
    for name in names:
        if name.key != _NAME:
            message = f"there is no field {quoted(name.key)} to match"
            table["matchFields"].wrong("selector-invalid", message, f"use {_NAME}, or matchExpressions for labels")
    return NodeTerm(labels=tuple(_requirements(table, "matchExpressions", tuple(Operator))), names=tuple(names))


def _requirements(table: Table, key: str, operators: Sequence[Operator]) -> list[Requirement]:
    listed = table.get(key)
    found = [_requirement(item, operators) for item in listed.items()] if listed else []
    return [requirement for requirement in found if requirement]


def _requirement(item: Field, operators: Sequence[Operator]) -> Requirement | None:
    table = item.table(("key", "operator", "values"))
    if table is None:
        return None
    key = table.text("key", required=True)
    *most, last = map(str, operators)
    named = table.required("operator", f"{', '.join(most)} or {last}")
    operator = named.choice(operators) if named else None
    values = table.get("values")
    texts = tuple(t for t in (v.text() for v in values.items()) if t is not None) if values else ()
    if operator is None:
        return None
    given = bool(values and values.value)
    if operator in _WITH_VALUES and not given:
        table.report.add("required", f"{table.path}.values", f"is empty, and operator is {operator}", "list the values")
    if given and values and operator not in _WITH_VALUES:
        values.wrong("selector-invalid", f"must be empty with operator {operator}", "remove it")
    if values and operator in (Operator.GREATER, Operator.LESS) and not _is_number(texts):
        values.wrong("selector-invalid", f"must be one whole number with operator {operator}", 'for example ["4"]')
    return Requirement(key=key, operator=operator, values=texts)


def _is_number(texts: Sequence[str]) -> bool:
    return len(texts) == 1 and texts[0].removeprefix("-").isdecimal() and len(texts[0]) < 20


def write_requirements(requirements: Iterable[Requirement]) -> list[dict[str, Any]]:
    return [
        {"key": r.key, "operator": str(r.operator), **({"values": list(r.values)} if r.values else {})}
        for r in requirements
    ]


def write_node_terms(terms: Sequence[NodeTerm]) -> dict[str, Any]:
    """As the value of `affinity`."""
    found = []
    for term in terms:
        given = {"matchExpressions": term.labels, "matchFields": term.names}
        found.append({key: write_requirements(value) for key, value in given.items() if value})
    return {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": found}}}
