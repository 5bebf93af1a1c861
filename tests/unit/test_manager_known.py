"""What the manager knows of a cluster, and what is news to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.admissioncases import cn, hnc, labelled, nad, node, vc, vs

from windrow.apps.manager.known import Known
from windrow.kube.trim import ref_of
from windrow.model.values import Ref
from windrow.rules.secondlook import clashes
from windrow.status.manager.leftovers import absent
from windrow.status.manager.wanted import Situation, wanted


def known(*documents: dict[str, Any]) -> Known:
    found = Known(["Node"])
    for document in documents:
        found.put(document)
    found.listed("Node", {ref_of(document) for document in documents})
    return found


def test_what_is_news() -> None:
    here = known(node(), cn(), vc(), vs())
    assert not here.unlisted and Known(["Node"]).unlisted == {"Node"}
    beat = {**node(), "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": "x"}]}}
    assert not here.put(beat)
    assert not here.put({**vc(), "metadata": {**vc()["metadata"], "resourceVersion": "7"}})
    stored = here.of(Ref("VlanConfig", "a"))
    assert stored is not None and stored.version == "7", "whoever edits it names what there is now"
    assert here.put(vs(ready=False)) and here.put(vc(mtu=9000)) and here.put(labelled(node(), {"rack": "a"}))
    assert here.drop(Ref("VlanConfig", "a")) and not here.drop(Ref("VlanConfig", "a"))


def test_a_list_is_one_cluster() -> None:
    here = known(node(), cn(), *(nad(f"n{i}", 100 + i) for i in range(200)), vs())
    assert here.cluster is here.cluster and len(here.cluster.nads("data")) == 200
    assert not any(ref.kind == "VlanStatus" for ref in here.cluster.objects)
    before = here.cluster
    here.put(nad("n0", 7))
    here.drop(Ref("NetworkAttachmentDefinition", "n1", "default"))
    assert len(here.cluster.nads("data")) == 199 and len(before.nads("data")) == 200, "a snapshot never changes"
    here.listed("NetworkAttachmentDefinition", set())
    assert here.cluster.nads("data") == ()


def fresh(here: Known, most: int = 100) -> list[Ref]:
    return here.take_fresh(most)[0]


def test_who_has_a_second_look() -> None:
    here = known(node(), cn(), vc(), hnc(), nad(), vs())
    assert len(fresh(here)) == 6 and fresh(here) == []
    here.put(vs(ready=False))
    assert fresh(here) == [], "its object is the same"
    here.put(labelled(node(), {"rack": "a"}))
    assert {ref.kind for ref in fresh(here)} == {"Node", "VlanConfig", "HostNetworkConfig"}
    here.all_fresh()
    assert len(fresh(here, 2)) == 2 and len(fresh(here)) == 4


@pytest.mark.parametrize(
    "odd",
    [
        {**nad(), "spec": None},
        {**nad(), "spec": {"config": "[" * 10_000}},
        {**vc(), "status": [1]},
        {**cn(), "status": {"conditions": [None, "x", {"type": 7, "status": None}]}},
        {**cn(), "status": {"conditions": {"type": "ready"}}},
        {**hnc(), "status": {"nodeStatus": ["n1"]}},
        {**vs(), "status": None},
        {**vs(), "status": {"node": 7, "conditions": None}},
        {**cn(), "metadata": {"name": "data", "finalizers": None, "managedFields": None, "annotations": None}},
    ],
    ids=str,
)
def test_nothing_odd_ends_it(odd: dict[str, Any]) -> None:
    here = known(node(), cn(), vc(), hnc(), nad("other"), vs())
    here.put(odd)
    now = Situation(stored=here.stored(), cluster=here.cluster, gone=frozenset({"n9"}), now="x")
    assert wanted(now) and absent(now.stored) <= {"7", "n1"}
    assert clashes(here.cluster, fresh(here)) == ()
