"""Which of a pod's networks has its default route, family by family.

A network whose entry has `default-route` claims it: for the families of the gateways named there, or, where the list
is empty, for those in which its own plugin has given it one. The others lose theirs of these families; a family that
nobody claims stays as the plugins made it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from windrow.model.lazy import dataclass
from windrow.port.networks import refuse

FAMILIES = (4, 6)
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What happens to the default routes of one attachment: first `lose`, then `gateways`."""

    lose: frozenset[int] = frozenset()
    """The families whose default routes by this interface go."""
    gateways: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lose or self.gateways)


Claim = tuple[str, ...] | None
"""The `default-route` of an entry: gateways; None where it has none."""


def check(claims: Sequence[Claim], *, about: str) -> None:
    """Before anything is made, of the gateways that are named. Raises CniError: two claim the same family."""
    turns(claims, [()] * len(claims), about=about)


def turns(claims: Sequence[Claim], given: Sequence[Collection[int]], *, about: str) -> tuple[Turn, ...]:
    """One for each attachment. `given`: the families in which its plugin has made a default route. Raises CniError."""
    owners: dict[int, int] = {}
    problems: list[str] = []
    for i, (claim, own) in enumerate(zip(claims, given, strict=True)):
        for family in _claimed(claim, own):
            if family in owners:
                hint = "a pod has one default route for each family: leave default-route with one network"
                problems.append(f"two networks claim the default route of IPv{family}: {hint}")
            owners.setdefault(family, i)
    refuse(about, problems)
    return tuple(_turn(i, claim or (), owners) for i, claim in enumerate(claims))


def _claimed(claim: Claim, given: Collection[int]) -> tuple[int, ...]:
    if claim is None:
        return ()
    return tuple(map(version_of, claim)) or tuple(sorted(given))


def _turn(index: int, gateways: tuple[str, ...], owners: Mapping[int, int]) -> Turn:
    """The owner's own default route goes as well where it names another gateway."""
    named = set(map(version_of, gateways))
    lose = {family for family, owner in owners.items() if owner != index or family in named}
    return Turn(lose=frozenset(lose), gateways=gateways)


def version_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def family_of(dst: object) -> int | None:
    """The family of a default route's destination; None for every other destination."""
    return next((family for family in FAMILIES if dst == ANYWHERE[family] or dst == _bare(family)), None)


def _bare(family: int) -> str:
    return ANYWHERE[family].removesuffix("/0")


def turned(result: Mapping[str, Any], turn: Turn) -> dict[str, Any]:
    """The result document of an attachment after its turn."""
    listed = result.get("routes")
    routes = [r for r in listed if isinstance(r, Mapping)] if isinstance(listed, list) else []
    kept: list[Mapping[str, Any]] = [r for r in routes if family_of(r.get("dst")) not in turn.lose]
    for gateway in turn.gateways:
        kept.append({"dst": ANYWHERE[version_of(gateway)], "gw": gateway})
    document = {key: value for key, value in result.items() if key != "routes"}
    return document | ({"routes": kept} if kept else {})
