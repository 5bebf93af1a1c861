"""Requests to an API server: every rule refuses and lets be, and what is not a rule's business."""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.admissioncases import (
    ALONE,
    BASE,
    CASES,
    CN,
    DATA,
    N1,
    RACK_A,
    RACK_B,
    RELAXED,
    ROUTE,
    TERMS,
    UNDER,
    UP,
    WEB,
    Ask,
    Case,
    annotated,
    cluster,
    cn,
    edited,
    hnc,
    labelled,
    leaving,
    nad,
    overlay,
    vc,
    vm,
    vmi,
)

from windrow.model import names
from windrow.model.problems import errors
from windrow.rules import clusternetwork, hostnetworkconfig, kubeovn, nics, underlay, vlanconfig
from windrow.rules import nad as nads
from windrow.rules.request import Request, mend
from windrow.rules.terms import Terms
from windrow.status import derive

MODULES = (clusternetwork, vlanconfig, nics, nads, hostnetworkconfig, underlay, kubeovn)
TABLES = ("ON_PUT", "ON_DELETE", "ON_SERVED_PUT", "ON_SERVED_DELETE", "ON_ASKING")
OF_A_HOST = {
    # What only the node itself knows: its NICs, its kernel, its addresses.
    *("nics.there", "nics.named_once", "nics.not_of_mgmt", "nics.not_of_others", "vlanconfig.not_of_mgmt"),
    *("kernel.can_make_vlan_interfaces", "hostnetworkconfig.not_the_management_vlan"),
    "hostnetworkconfig.leaves_the_management_network_alone",
    # An API server takes no name that makes no device.
    "clusternetwork.name_makes_devices",
}
WARNINGS = {
    *("vlanconfig.mtu_of_its_networks", "vlanconfig.is_for_some_node", "nad.on_no_cluster_network"),
    "nad.nothing_beside_a_list",
    *("nad.some_node_has_its_cluster_network", "hostnetworkconfig.is_for_some_node"),
    *("hostnetworkconfig.underlay_is_not_made", "hostnetworkconfig.has_an_uplink"),
}


def rules(tables: Sequence[str] = TABLES) -> set[str]:
    found = {rule for module in MODULES for table in tables for rule in getattr(module, table, ())}
    return {f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}" for rule in found}


def codes(ask: Ask) -> list[str]:
    return [p.code for p in ask.verdict().refused]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.code}")
def test_every_rule(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.code in codes(case.deny)
    assert errors(case.allow.verdict().problems) == ()
    name, _, rule = case.rule.rpartition(".")
    module: Any = importlib.import_module(f"windrow.rules.{name}")
    for table in TABLES:
        left = tuple(one for one in getattr(module, table, ()) if one.__name__ != rule)
        monkeypatch.setattr(module, table, left, raising=False)
    assert case.code not in codes(case.deny), "another rule refuses it, so that this case shows nothing of this one"


def test_no_rule_without_a_case() -> None:
    assert {case.rule for case in CASES} == rules() - OF_A_HOST - WARNINGS


# What no rule looks at ---------------------------------------------------------------------------

BROKEN = {**WEB, "spec": {"config": "{not JSON"}}
ODD = vc("a", mtu=100)
"""An MTU that Harvester's schema takes and nobody's rules do."""
EMPTY = edited(vc("a"), uplink={"nics": []})


def test_an_object_that_goes_may_be_changed_in_any_way() -> None:
    """Or its last finalizer could never be taken away."""
    for broken in (BROKEN, vc("a", of="nowhere"), hnc(of="nowhere"), cn("a" * 20)):
        assert codes(Ask(broken, leaving(broken))) == []
        assert codes(Ask(broken)) != []
    assert codes(Ask(None, leaving(vc()), [*BASE, WEB, vmi()])) != [], "it is deleted again: what uses it still does"


def test_a_user_that_goes_is_a_user_until_it_is_gone() -> None:
    for user in (vc(), WEB, hnc()):
        assert codes(Ask(None, DATA, [leaving(user)])) == ["clusternetwork-in-use"]
    assert codes(Ask(None, WEB, [*BASE, leaving(vmi())])) == ["nad-in-use"]


@pytest.mark.parametrize(
    "broken", [BROKEN, labelled(BROKEN, {CN: "data"}), ODD, EMPTY], ids=["json", "label", "mtu", "nics"]
)
def test_what_cannot_be_read_can_be_mended_and_deleted(broken: dict[str, Any]) -> None:
    good = WEB if broken["kind"] == WEB["kind"] else vc("a")
    assert codes(Ask(broken, there=BASE)) != []
    assert codes(Ask(good, broken, BASE)) == []
    assert codes(Ask(None, broken, BASE)) == []
    assert codes(Ask(labelled(broken, {"team": "a"}), broken, BASE)) == [], "what is wrong was so before"


def test_what_cannot_be_read_counts_by_what_can() -> None:
    assert codes(Ask(None, DATA, [ODD])) == ["clusternetwork-in-use"]
    assert codes(Ask(None, DATA, [labelled(BROKEN, {CN: "data"})])) == ["clusternetwork-in-use"]
    assert codes(Ask(vc("b"), there=[*BASE, ODD])) == ["vlanconfig-overlap"], "and its MTU differs from nobody's"
    assert codes(Ask(vc("b", "eth1", of="dmz"), there=[*BASE, cn("dmz"), ODD])) == ["nic-in-use"]
    assert codes(Ask(None, BROKEN, [*BASE, vm()])) == ["nad-in-use"]
    nameless = edited(hnc("a"), vlanID=5000)
    assert codes(Ask(hnc("b", 0), there=[*UP, nameless])) == [], "an unknown VLAN is not the untagged network"
    odd = vmi("m", "web")
    odd["spec"]["domain"]["devices"] = {"interfaces": "none"}
    assert codes(Ask(None, WEB, [*BASE, odd])) == ["nad-in-use"]


def test_what_is_wrong_already_stops_no_other_change() -> None:
    overlapping = [*BASE, vc("b"), cn("dmz")]
    assert codes(Ask(edited(vc(), description="x"), vc(), overlapping)) == []
    assert codes(Ask(edited(vc(mtu=9000), description="x"), vc(), overlapping)) == ["mtu-mismatch"]
    assert codes(Ask(edited(hnc(), description="x"), hnc(), [*UP, hnc("b")])) == []
    assert codes(Ask(annotated(UNDER, {"note": "x"}), UNDER, [DATA])) == []
    assert codes(Ask(edited(UNDER, description="x"), UNDER, [*UP])) == [], "an underlay does not collide with itself"
    assert codes(Ask(annotated(nad(vlan=100), {"a": "b"}), nad(vlan=100), [*BASE, ALONE])) == []


def test_all_problems_in_one_answer() -> None:
    wrong = edited(vc(of="nowhere"), uplink={"nics": ["eth1", "eth1"], "bondOptions": {"mode": "fast"}})
    assert codes(Ask(wrong, there=BASE)) == ["nic-duplicate", "bond-mode", "clusternetwork-missing"]


@pytest.mark.parametrize(
    ("new", "terms", "path"),
    [
        (vc(mode="802.3ad", on=RACK_B), TERMS, "spec.uplink"),
        (vc(mode="802.3ad", on=RACK_B), RELAXED, "spec.nodeSelector"),
        (vc(of="dmz", mode="802.3ad"), RELAXED, "spec.clusterNetwork"),
    ],
)
def test_what_takes_an_uplink_from_machines_is_named(new: dict[str, Any], terms: Terms, path: str) -> None:
    (refused,) = Ask(new, vc(), [*BASE, cn("dmz"), WEB, vmi()], terms=terms).verdict().refused
    assert refused.path == path


def test_a_stamp_in_a_manifest_of_a_host_opens_no_door() -> None:
    from windrow.rules import changes_to, check

    before = cluster(*BASE, vc("a"))
    (gone,) = (o for o in cluster(leaving(vc("b"))).objects.values() if o.name == "b")
    assert [p.code for p in errors(check(before, changes_to(before, [gone])))] == ["vlanconfig-overlap"]


def test_what_is_named_may_be_looked_at_again() -> None:
    """The webhook's view may be late."""
    (missing,) = Ask(WEB).verdict().refused
    assert [str(ref) for ref in missing.others] == ["ClusterNetwork/data"]
    (used,) = Ask(None, WEB, [*BASE, vm()]).verdict().refused
    assert [str(ref) for ref in used.others] == ["VirtualMachine/default/m"]


# What is written in ------------------------------------------------------------------------------

TYPE, VID, READY = names.LABEL_TYPE, names.LABEL_VLAN_ID, names.LABEL_READY
MATCHED = names.ANNOTATION_MATCHED_NODES


def mended(ask: Ask) -> dict[str, Any]:
    """Path -> value of what is written; None: it is removed."""
    found = mend(Request(old=ask.old, new=ask.new, asker=ask.asker), cluster(*ask.there))
    return {one["path"]: one.get("value") for one in found}


def key(name: str, of: str = "labels") -> str:
    return f"/metadata/{of}/{name.replace('/', '~1')}"


def test_a_vlan_config_gets_its_label_and_its_nodes() -> None:
    bare = {**vc(on=RACK_A), "metadata": {"name": "a"}}
    both = {"/metadata/labels": {CN: "data"}, "/metadata/annotations": {MATCHED: '["n1"]'}}
    assert mended(Ask(bare, there=BASE)) == both
    assert mended(Ask(vc(of="mgmt"), there=BASE)) == {}
    stale = annotated(vc(on=RACK_B), {MATCHED: '["n1"]'})
    assert mended(Ask(stale, vc(), BASE)) == {key(MATCHED, "annotations"): '["n2"]'}
    nowhere = annotated(vc(on={"rack": "c"}), {MATCHED: '["n1"]'})
    assert mended(Ask(nowhere, vc(), BASE)) == {key(MATCHED, "annotations"): None}
    assert mended(Ask(leaving(vc()), leaving(vc()), BASE)) == {}
    assert mended(Ask({**vc(), "metadata": {"name": "a"}}, vc(), BASE)) == {
        "/metadata/annotations": {MATCHED: '["n1","n2"]'}
    }, "whoever takes the label away is told"
    moved = {**vc(of="dmz"), "metadata": annotated(vc(), {MATCHED: '["n1","n2"]'})["metadata"]}
    assert mended(Ask(moved, vc(), BASE)) == {key(CN): "dmz"}


def test_a_network_gets_its_labels_and_the_mtu_of_its_cluster_network() -> None:
    ready = {**cn("data", "9000"), "status": {"conditions": [{"type": "ready", "status": "True"}]}}
    found = mended(Ask(WEB, there=[ready, vc(mtu=9000)]))
    assert found["/metadata/labels"] == {TYPE: "L2VlanNetwork", CN: "data", VID: "100", READY: "true"}
    assert '"mtu":9000' in found["/spec/config"]
    assert "/spec/config" not in mended(Ask(WEB, there=[DATA]))
    assert mended(Ask(nad(mtu=1400), there=[DATA]))["/spec/config"].count('"mtu":1500') == 1, "a user's is overwritten"
    trunk = nad(vlan=0, vlanTrunk=[{"id": 5}])
    old = labelled(WEB, {TYPE: "L2VlanNetwork", CN: "data", VID: "100", READY: "false"})
    assert mended(Ask({**trunk, "metadata": old["metadata"]}, old, [DATA])) == {
        key(TYPE): "L2VlanTrunkNetwork",
        key(VID): None,
    }
    assert mended(Ask(labelled(WEB, {CN: "dmz"}), there=[DATA])) == {
        key(TYPE): "L2VlanNetwork",
        key(VID): "100",
        key(READY): "false",
    }, "whoever gives it another label is told"


def test_an_overlay_is_on_the_cluster_network_of_its_tunnels() -> None:
    tunnels = annotated(N1, {names.ANNOTATION_TUNNEL: "data-br.300"})
    wanted = {TYPE: "OverlayNetwork", READY: "true", CN: "data"}
    assert mended(Ask(overlay(), there=[tunnels])) == {"/metadata/labels": wanted}
    assert mended(Ask(overlay(), there=[leaving(tunnels)]))["/metadata/labels"][CN] == "mgmt"


AUTO = '{"mode":"auto","cidr":"10.0.0.0/24","gateway":"10.0.0.1","connectivity":"true"}'
MANUAL = '{"mode":"manual","cidr":"10.0.0.0/24","gateway":"10.0.0.1"}'


@pytest.mark.parametrize(
    ("old", "new", "route", "wanted"),
    [
        (100, 200, AUTO, AUTO[:-1] + ',"outdated":true}'),
        (100, 200, MANUAL[:-1] + ',"outdated":true}', MANUAL),
        (100, 0, AUTO, None),
        (100, 100, AUTO, "as it is"),
        (100, 100, "not JSON", "as it is"),
    ],
)
def test_the_route_of_a_network_in_another_vlan(old: int, new: int, route: str, wanted: str | None) -> None:
    was, now = (annotated(nad(vlan=vlan), {ROUTE: route}) for vlan in (old, new))
    assert mended(Ask(now, was, [DATA])).get(key(ROUTE, "annotations"), "as it is") == wanted


def test_a_route_that_is_found_out_in_another_way() -> None:
    auto, manual = (annotated(WEB, {ROUTE: route}) for route in (AUTO, MANUAL))
    path = key(ROUTE, "annotations")
    assert mended(Ask(auto, manual, [DATA]))[path] == AUTO[:-1] + ',"outdated":true}'
    assert path not in mended(Ask(manual, auto, [DATA])), "what is typed in is not out of date"


def test_a_name_that_is_to_be_made() -> None:
    document = {**WEB, "metadata": {"generateName": "storagenetwork-", "namespace": "default"}}
    assert TYPE in mended(Ask(document, there=[DATA]))["/metadata/labels"]


@pytest.mark.parametrize("document", [vc(on=RACK_A), nad(), nad(vlan=0), nad(mtu=1400), overlay()])
def test_what_is_shown_without_a_webhook_is_what_it_writes(document: dict[str, Any]) -> None:
    there = [cn("data", "9000"), *BASE[1:]]
    shown = next(d for d in derive(cluster(*there, document)) if d["metadata"]["name"] == document["metadata"]["name"])
    written = patched(document, mend(Request(old=None, new=document), cluster(*there)))
    written["metadata"].get("labels", {}).pop(READY, None)  # of which nobody knows without a node's report
    shown["metadata"].get("labels", {}).pop(READY, None)
    assert shown == written


def patched(document: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """As an API server applies it (RFC 6902)."""
    found = copy.deepcopy(document)
    for one in patch:
        *way, last = (word.replace("~1", "/").replace("~0", "~") for word in one["path"].split("/")[1:])
        place = found
        for word in way:
            place = place[word]
        if one["op"] == "remove":
            del place[last]
        else:
            place[last] = one["value"]
    return found


def test_every_rule_is_on_the_page_with_harvesters_verdict() -> None:
    page = (Path(__file__).parents[2] / "docs" / "user" / "admission.md").read_text()
    rows = re.findall(r"^\| `(\w+\.\w+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert {rule for rule, _, _ in rows} == rules()
    assert len(rows) == len(rules())
    for rule, when, harvester in rows:
        assert when.strip() and harvester.strip()
        assert when.startswith("warning: ") is (rule in WARNINGS), rule
        assert "on a host" in when or rule not in OF_A_HOST, rule
    served = {
        f"{r.__module__.rpartition('.')[2]}.{r.__name__}"
        for m in MODULES
        for t in TABLES[2:]
        for r in getattr(m, t, ())
    }
    assert {rule for rule, when, _ in rows if "(API)" in when} == served
