"""Events, conditions and the agent's status as JSON documents, and back. Reading raises ValueError, and nothing else.

The names are Kubernetes' where it has them; times stay Unix time, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from windrow.model.agentstatus import AgentStatus, Claim, Contest, OutsideFault, StepFailure
from windrow.model.events import Condition, Event, EventType
from windrow.model.values import IfName, Mac, Ref

T = TypeVar("T")
Document = Mapping[str, Any]

_STATUS = {True: "True", False: "False", None: "Unknown"}


def event_document(event: Event) -> dict[str, Any]:
    return {
        "type": event.type.value,
        "reason": event.reason,
        "about": _ref_document(event.about),
        "message": event.message,
        "first": event.first,
        "last": event.last,
        "count": event.count,
    }


def read_event(document: Document) -> Event:
    with _understood("an event"):
        return Event(
            type=EventType(_text(document, "type")),
            reason=_text(document, "reason"),
            about=_ref(document["about"]),
            message=_text(document, "message"),
            first=_number(document, "first"),
            last=_number(document, "last"),
            count=int(_number(document, "count")),
        )


def status_document(status: AgentStatus) -> dict[str, Any]:
    return {
        "node": status.node,
        "pid": status.pid,
        "ticks": status.ticks,
        "version": status.version,
        "started": status.started,
        "last_round": status.last_round,
        "conditions": [_condition_document(c) for c in status.conditions],
        "failures": [_failure_document(f) for f in status.failures],
        "contests": [_contest_document(c) for c in status.contests],
        "claims": [_claim_document(c) for c in status.claims],
        "outside": [_outside_document(f) for f in status.outside],
    }


def read_status(document: Document) -> AgentStatus:
    with _understood("an agent's status"):
        return AgentStatus(
            node=_text(document, "node"),
            pid=int(_number(document, "pid")),
            ticks=int(_number(document, "ticks")),
            version=_text(document, "version"),
            started=_number(document, "started"),
            last_round=_number(document, "last_round"),
            conditions=_all(document["conditions"], _condition),
            failures=_all(document["failures"], _failure),
            contests=_all(document["contests"], _contest),
            claims=_all(document["claims"], _claim),
            outside=_all(document["outside"], _outside),
        )


# Parts --------------------------------------------------------------------------------------------


def _condition_document(condition: Condition) -> dict[str, Any]:
    return {
        "about": _ref_document(condition.about),
        "type": condition.type,
        "status": _STATUS[condition.status],
        "reason": condition.reason,
        "message": condition.message,
        "hint": condition.hint,
        "since": condition.since,
    }


def _condition(document: Document) -> Condition:
    found = {word: status for status, word in _STATUS.items()}
    return Condition(
        about=_ref(document["about"]),
        type=_text(document, "type"),
        status=found[_text(document, "status")],
        reason=_text(document, "reason"),
        message=_text(document, "message"),
        hint=_text(document, "hint"),
        since=_number(document, "since"),
    )


def _failure_document(failure: StepFailure) -> dict[str, Any]:
    return {
        "about": _ref_document(failure.about),
        "link": failure.link,
        "message": failure.message,
        "hint": failure.hint,
        "errno": failure.errno,
        "attempts": failure.attempts,
        "since": failure.since,
        "retry": failure.retry,
    }


def _failure(document: Document) -> StepFailure:
    return StepFailure(
        about=_ref(document["about"]),
        link=IfName(_text(document, "link")),
        message=_text(document, "message"),
        hint=_text(document, "hint"),
        errno=int(_number(document, "errno")),
        attempts=int(_number(document, "attempts")),
        since=_number(document, "since"),
        retry=_number(document, "retry"),
    )


def _contest_document(contest: Contest) -> dict[str, Any]:
    return {
        "about": _ref_document(contest.about),
        "link": contest.link,
        "field": contest.field,
        "repaired": contest.repaired,
        "since": contest.since,
        "rival": contest.rival,
    }


def _contest(document: Document) -> Contest:
    return Contest(
        about=_ref(document["about"]),
        link=IfName(_text(document, "link")),
        field=_text(document, "field"),
        repaired=int(_number(document, "repaired")),
        since=_number(document, "since"),
        rival=_text(document, "rival"),
    )


def _claim_document(claim: Claim) -> dict[str, Any]:
    return {"link": claim.link, "address": claim.address, "mac": claim.mac, "since": claim.since}


def _claim(document: Document) -> Claim:
    return Claim(
        link=IfName(_text(document, "link")),
        address=_text(document, "address"),
        mac=Mac(_text(document, "mac")),
        since=_number(document, "since"),
    )


def _outside_document(fault: OutsideFault) -> dict[str, Any]:
    return {
        "about": _ref_document(fault.about),
        "reason": fault.reason,
        "place": fault.place,
        "message": fault.message,
        "hint": fault.hint,
        "grave": fault.grave,
        "since": fault.since,
    }


def _outside(document: Document) -> OutsideFault:
    return OutsideFault(
        about=_ref(document["about"]),
        reason=_text(document, "reason"),
        place=_text(document, "place"),
        message=_text(document, "message"),
        hint=_text(document, "hint"),
        grave=document["grave"] is True,
        since=_number(document, "since"),
    )


def _ref_document(ref: Ref) -> dict[str, str]:
    found = {"kind": ref.kind, "name": ref.name}
    return {**found, "namespace": ref.namespace} if ref.namespace else found


def _ref(document: Document) -> Ref:
    return Ref(_text(document, "kind"), _text(document, "name"), str(document.get("namespace", "")))


# Reading ------------------------------------------------------------------------------------------


def _all(documents: Iterable[Document], read: Callable[[Document], T]) -> tuple[T, ...]:
    return tuple(read(document) for document in documents)


def _text(document: Document, name: str) -> str:
    found = document[name]
    if not isinstance(found, str):
        raise TypeError(f"{name} is not a text")
    return found


def _number(document: Document, name: str) -> float:
    found = document[name]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError(f"{name} is not a number")
    return found


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """A half-written or foreign document is one error, whatever it tripped over."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"this is not {what}: {type(error).__name__}: {error}") from error
