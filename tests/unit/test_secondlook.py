"""The second look: what excludes each other, and was stored all the same."""

from __future__ import annotations

import pytest
from tests.unit.admissioncases import Document, cn, hnc, leaving, nad, node, vc, vs

from windrow.model.cluster import Cluster
from windrow.model.wire import load_value
from windrow.rules.secondlook import clashes

BASE = (node("n1"), cn("data"), cn("dmz"), vc("a", "eth1"), vs())


def codes(*documents: Document) -> list[tuple[str, str]]:
    objects = [obj for document in documents for obj in load_value(document).objects]
    cluster = Cluster.of(objects)
    return [(str(p.about), p.code) for p in clashes(cluster, list(cluster.objects))]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ([hnc("x", 300), hnc("y", 300)], [("HostNetworkConfig/y", "hostnetwork-overlap")]),
        ([hnc("x", 300), leaving(hnc("y", 300))], []),
        ([vc("b", "eth2")], [("VlanConfig/b", "vlanconfig-overlap")]),
        ([vc("b", "eth1", of="dmz")], [("VlanConfig/b", "nic-in-use")]),
        ([nad(of="gone")], [("NetworkAttachmentDefinition/default/web", "clusternetwork-missing")]),
        ([nad(mtu=9000), hnc("x", 300)], []),
    ],
)
def test_of_two_the_later_one(more: list[Document], found: list[tuple[str, str]]) -> None:
    assert codes(*BASE, *more) == found
