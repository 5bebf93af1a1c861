"""What a manifest asks of the labels of a node."""

from __future__ import annotations

from enum import StrEnum

from windrow.model.lazy import dataclass


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER = "Gt"
    """Of whole numbers; `Gt` and `Lt` are for node affinity only."""
    LESS = "Lt"


LABEL_OPERATORS = (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)
"""Those of a metav1.LabelSelector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """metav1.LabelSelector: all of its requirements must hold; matchLabels are `In` with one value."""

    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTerm:
    """core/v1 NodeSelectorTerm: all of it must hold; one that asks for nothing matches no node."""

    labels: tuple[Requirement, ...] = ()
    names: tuple[Requirement, ...] = ()
    """Of the node's name (`matchFields` of `metadata.name`)."""
