"""Any request of an API server has an answer, whatever is in its objects, and in those that were stored before."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

from tests.unit.admissioncases import CASES, RELAXED, TERMS, Document, cluster

from windrow.apps.webhook import reviews
from windrow.rules.request import Request, judge, mend

ROUNDS = int(os.environ.get("WINDROW_REQUESTS", "150"))
JUNK = (
    *(None, True, 0, -1, 4095, 1e300, "", "x" * 300, "\0", "\ud800", [], {}, [[]], {"a": {}}),
    *(["eth1"], {"mtu": "9000"}, '{"mode":"manual"}', "[1]", "{}"),
)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*above, key)
        yield from places(inner, (*above, key))


def bent(document: Document, dice: random.Random) -> Document:
    """With one to three of its values gone, or another's."""
    found = copy.deepcopy(document)
    for _ in range(dice.randrange(1, 4)):
        *way, last = dice.choice(list(places(found)) or [("spec",)])
        place: Any = found
        for key in way:
            place = place[key]
        if dice.random() < 0.2:
            del place[last]
        else:
            place[last] = copy.deepcopy(dice.choice(JUNK))
    return found


def test_every_request_has_an_answer() -> None:
    asks = [ask for case in CASES for ask in (case.deny, case.allow)]
    refused = 0
    for number in range(ROUNDS):
        dice = random.Random(number)
        ask = dice.choice(asks)
        there = cluster(*(bent(one, dice) if dice.random() < 0.4 else one for one in ask.there))
        old, new = (bent(one, dice) if one is not None and dice.random() < 0.7 else one for one in (ask.old, ask.new))
        request = Request(old=old, new=new, asker=ask.asker)
        body = {"uid": "u", "object": new, "oldObject": old}
        review = reviews.read(
            json.dumps({"apiVersion": reviews.VERSION, "kind": reviews.KIND, "request": body}).encode()
        )
        for terms in (TERMS, RELAXED):
            verdict = judge(request, there, terms)
            refused += bool(verdict.refused)
            for answer in (
                reviews.refused(review, verdict),
                reviews.allowed(review, reviews.warnings(verdict), mend(request, there)),
            ):
                assert "\0" not in json.dumps(answer, ensure_ascii=False), number
                assert json.loads(json.dumps(answer).encode())["response"]["uid"] == "u"
    assert ROUNDS / 3 < refused < ROUNDS * 2
