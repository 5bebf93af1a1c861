"""AdmissionReview (admission.k8s.io/v1) ↔ requests and verdicts. Pure: documents in, documents out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from windrow.model.errors import WindrowError
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, Severity
from windrow.render.text import shown
from windrow.rules.request import Request, Verdict

VERSION, KIND = "admission.k8s.io/v1", "AdmissionReview"
FORBIDDEN = frozenset({"mgmt-protected", "system-network"})
"""Codes of what nothing in the object could make right: 403 and not 422."""
_WARNING_MAX, _WARNINGS_MAX = 250, 10
"""An API server cuts longer ones off (apiserver/pkg/endpoints/filters/warning.go, 4096 bytes in all)."""
_TEXT_MAX = 4000


class NoReview(WindrowError):
    """What was sent is no AdmissionReview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One question, and what its answer has to name."""

    uid: str
    operation: str
    kind: str
    group: str
    name: str
    namespace: str
    dry_run: bool
    request: Request


def read(data: bytes) -> Review:
    """Raises NoReview."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoReview(f"the request is not JSON: {error}") from None
    match found:
        case {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": str(uid)} as asked}:
            pass
        case _:
            raise NoReview(f"the request is no {KIND} of {VERSION}")
    user, resource = _map(asked.get("userInfo")), _map(asked.get("kind"))
    old, new = asked.get("oldObject"), asked.get("object")
    return Review(
        uid=uid,
        operation=_text(asked.get("operation")),
        kind=_text(resource.get("kind")),
        group=_text(resource.get("group")),
        name=_text(asked.get("name")),
        namespace=_text(asked.get("namespace")),
        dry_run=asked.get("dryRun") is True,
        request=Request(
            old=old if isinstance(old, dict) else None,
            new=new if isinstance(new, dict) else None,
            asker=_text(user.get("username")),
        ),
    )


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


# Answers -----------------------------------------------------------------------------------------


def allowed(review: Review, warnings: Sequence[str] = (), patch: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    answer: dict[str, Any] = {"uid": review.uid, "allowed": True}
    if warnings:
        answer["warnings"] = list(warnings)
    if patch:
        text = json.dumps(patch, separators=(",", ":"))
        answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(text.encode()).decode()}
    return {"apiVersion": VERSION, "kind": KIND, "response": answer}


def refused(review: Review, verdict: Verdict) -> dict[str, Any]:
    """With one cause for each problem. 422 where another object would be taken, 403 where none would."""
    problems = verdict.refused
    forbidden = review.operation == "DELETE" or any(p.code in FORBIDDEN for p in problems)
    causes = [
        {"reason": "FieldValueInvalid", "message": _words(p), "field": shown(p.path) or "metadata.name"}
        for p in problems
    ]
    status = {
        "status": "Failure",
        "code": 403 if forbidden else 422,
        "reason": "Forbidden" if forbidden else "Invalid",
        "message": _message(problems),
        "details": {"name": review.name, "group": review.group, "kind": review.kind, "causes": causes},
    }
    answer = {"uid": review.uid, "allowed": False, "status": status}
    if said := warnings(verdict):
        answer["warnings"] = said
    return {"apiVersion": VERSION, "kind": KIND, "response": answer}


def _message(problems: Sequence[Problem]) -> str:
    lines = [f"{shown(p.path)}: {_words(p)}" if p.path else _words(p) for p in problems]
    text = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"


def _words(problem: Problem) -> str:
    """Texts of users are in it: nothing of them is left that a terminal would obey."""
    said = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return shown(said).replace("\n", " ")


def warnings(verdict: Verdict) -> list[str]:
    """As admission warnings, which kubectl prints."""
    said = [p for p in verdict.problems if p.severity is Severity.WARNING]
    lines = [f"{shown(p.path)}: {_words(p)}" if p.path else _words(p) for p in said[:_WARNINGS_MAX]]
    return [line if len(line) <= _WARNING_MAX else f"{line[: _WARNING_MAX - 1]}…" for line in lines]
