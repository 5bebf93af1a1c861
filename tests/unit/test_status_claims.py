"""Claims of addresses over time: told at once, asked for ever more seldom, over when nobody answers."""

from __future__ import annotations

from windrow.model.values import IfName, Mac
from windrow.status.claims import ANSWER_S, FIRST_S, MOST_S, Claims

LINK, ADDRESS = IfName("oob-br.300"), "10.8.0.1"
HIS, OTHER = Mac("52:54:00:00:00:01"), Mac("52:54:00:00:00:02")


def heard(claims: Claims, mono: float, mac: Mac = HIS) -> Claims:
    return claims.heard(LINK, ADDRESS, mac, mono=mono, now=1e9 + mono)


def test_he_is_told_at_once_since_the_first_time_with_the_last_mac() -> None:
    claims = heard(heard(Claims(), 0.0), 3.0, OTHER)
    (claim,) = claims.standing
    assert (claim.link, claim.address, claim.mac, claim.since) == (LINK, ADDRESS, OTHER, 1e9)


def test_who_does_not_answer_is_gone() -> None:
    claims, ask = heard(Claims(), 0.0).passed(FIRST_S)
    assert ask == {(LINK, ADDRESS)} and claims.standing and claims.deadline == FIRST_S + ANSWER_S
    claims, ask = claims.passed(FIRST_S + ANSWER_S)
    assert not ask and not claims.standing and claims.deadline is None


def test_who_answers_is_asked_ever_more_seldom_and_never_forgotten() -> None:
    claims, asked, mono = heard(Claims(), 0.0), 0, 0.0
    while mono < 3600:
        mono = claims.deadline or 0.0
        claims, ask = claims.passed(mono)
        asked += len(ask)
        claims = heard(claims, mono + 0.01)
        assert claims.standing
    assert 12 <= asked <= 20 and (claims.deadline or 0.0) - mono <= MOST_S + 1


def test_claims_in_between_put_nothing_off() -> None:
    claims = heard(Claims(), 0.0)
    for tick in range(1, 49):
        claims = heard(claims, tick / 10)
    assert claims.deadline == FIRST_S


def test_an_address_that_is_no_longer_ours_is_nobodys_claim() -> None:
    assert not heard(Claims(), 0.0).only({(LINK, "10.8.0.2")}).standing
