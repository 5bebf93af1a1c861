"""Every scenario that ships: up, applied, and all its checks hold. Those with a Kubernetes: tests/klab."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from tests.lab.asked import Asked

from windrow.apps import labguest
from windrow.apps.labguest import LabEngine
from windrow.lab.errors import LabError
from windrow.lab.scenario_file import parse, read, shipped
from windrow.lab.session import Session
from windrow.model.problems import ProblemsError


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session(LabEngine(), sys.path)
    yield made
    if made.has_world:
        made.world.close()


@pytest.mark.parametrize("name", [name for name in sorted(shipped()) if parse(read(name)).kubernetes is None])
def test_what_ships_holds(session: Session, name: str) -> None:
    up = Asked(scenario=read(name).to_json())
    report = session.up(up)  # type: ignore[arg-type]
    assert report["ok"], "\n".join(up.said)
    checks = Asked()
    report = session.check(checks)  # type: ignore[arg-type]
    print("\n".join(checks.said))
    assert report["ok"], "\n".join(said for said in checks.said if said.startswith("bad"))


def test_pods_with_a_link_of_their_own_are_in_the_overlay_and_judged(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pointToPoint`: the same scenario, and all of its checks."""
    monkeypatch.setitem(labguest.DEFAULT_NETWORK, "pointToPoint", True)
    up = Asked(scenario=read("pods-and-policy").to_json())
    assert session.up(up)["ok"], "\n".join(up.said)  # type: ignore[arg-type]
    assert not [name for name in session.world.rtnl("node-0").indexes() if name == "wn-pods"]
    drawn = session.picture(Asked(columns=120))  # type: ignore[arg-type]
    for word in ("pod shop/web (eth0) 10.52.0.", "pod shop/db (eth0) 10.52.1."):
        assert word in drawn["text"], "who is behind a port"
    checks = Asked()
    assert session.check(checks)["ok"], "\n".join(checks.said)  # type: ignore[arg-type]


def test_applying_again_does_nothing(session: Session) -> None:
    session.up(Asked(scenario=read("seed-links").to_json()))  # type: ignore[arg-type]
    report = session.apply(Asked())  # type: ignore[arg-type]
    assert {name: node["steps"] for name, node in report["nodes"].items()} == {"node-0": 0, "node-1": 0}
    with pytest.raises(LabError, match="is up already"):
        session.up(Asked(scenario=read("seed-links").to_json()))  # type: ignore[arg-type]


def test_manifests_that_the_rules_refuse_build_nothing(session: Session) -> None:
    texts = read("seed-links").to_json()
    texts["manifests"]["oob.yaml"] = texts["manifests"]["oob.yaml"].replace("name: oob\n", "name: a-name-too-long-x\n")
    with pytest.raises(ProblemsError):
        session.up(Asked(scenario=texts))  # type: ignore[arg-type]
    assert not session.has_world


def test_the_picture(session: Session) -> None:
    session.up(Asked(scenario=read("seed-links").to_json()))  # type: ignore[arg-type]
    drawn = session.picture(Asked(columns=120))  # type: ignore[arg-type]
    for word in ("node-0", "node-1", "sw-mgmt", "sw-oob", "gateway", "dhcp", "o200-a", "172.16.200.", "mgmt-br.50"):
        assert word in drawn["text"]
        assert word in drawn["svg"]
