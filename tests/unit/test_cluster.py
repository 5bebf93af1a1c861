"""A snapshot takes its indexes over from the one before it: they are what they would be made anew."""

from __future__ import annotations

import random

import pytest

from windrow.model.cluster import Cluster
from windrow.model.objects import AnyObject, ClusterNetwork, NetworkAttachmentDefinition, Node, VlanConfig
from windrow.testing.builders import cluster_network, nad, node, vlan_config

KINDS = (ClusterNetwork, VlanConfig, NetworkAttachmentDefinition, Node)
NAMES = ("oob", "dmz", "mgmt")


def some(dice: random.Random) -> AnyObject:
    name = dice.choice("abc")
    choices: list[AnyObject] = [
        cluster_network(dice.choice(NAMES)),
        vlan_config(dice.choice(NAMES), [f"eth{dice.randrange(3)}"], name=name),
        nad(name, dice.choice(NAMES), dice.randrange(1, 4)),
        node(name, rack=dice.choice("xy")),
    ]
    return dice.choice(choices)


@pytest.mark.parametrize("seed", range(20))
def test_indexes_are_taken_over(seed: int) -> None:
    dice = random.Random(seed)
    cluster = Cluster.of(())
    for _ in range(60):
        if dice.random() < 0.7:
            cluster = cluster.replace(some(dice) for _ in range(dice.randrange(3)))
        else:
            there = sorted(cluster.objects)
            cluster = cluster.without(dice.sample(there, min(len(there), dice.randrange(3))))
        anew = Cluster(dict(cluster.objects))
        assert {ref: o for o in anew.objects.values() for ref in [o.ref]} == dict(cluster.objects)
        for kind in KINDS:
            assert cluster.all(kind) == anew.all(kind)
        for name in NAMES:
            assert cluster.nads(name) == anew.nads(name)
            assert cluster.nad_vids(name) == anew.nad_vids(name)
        assert {"mgmt"} <= {network.name for network in cluster.all(ClusterNetwork)}
