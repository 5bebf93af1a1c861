"""Tables and descriptions, letter by letter."""

from __future__ import annotations

from windrow.model.objects import KINDS
from windrow.render.describe import describe_text
from windrow.render.tables import COLUMNS, documents_table, table
from windrow.render.text import Style

CONFIG = {
    "apiVersion": "network.harvesterhci.io/v1beta1",
    "kind": "VlanConfig",
    "metadata": {
        "name": "oob-rack1",
        "annotations": {"network.harvesterhci.io/matched-nodes": '["n1","n2"]'},
    },
    "spec": {
        "clusterNetwork": "oob",
        "nodeSelector": {"rack": "1"},
        "uplink": {"nics": ["eth1", {"mac": "52:54:00:00:00:02"}], "bondOptions": {"mode": "802.3ad", "miimon": 100}},
    },
}


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(["NAME", "READY"], [["a", "True"], ["longer", ""]]) == (
        "NAME     READY\n"
        "a        True\n"
        "longer   <none>\n"
    )  # fmt: skip


def test_every_kind_has_columns() -> None:
    assert set(COLUMNS) == {kind.name for kind in KINDS}


def test_vlanconfigs_have_the_columns_of_harvester() -> None:
    assert documents_table("VlanConfig", [CONFIG]) == (
        "NAME        CLUSTERNETWORK   DESCRIPTION\n"
        "oob-rack1   oob              <none>\n"
    )  # fmt: skip


def test_wide_adds_columns() -> None:
    assert documents_table("VlanConfig", [CONFIG], wide=True) == (
        "NAME        CLUSTERNETWORK   DESCRIPTION   MODE      NICS                         MTU      NODES\n"
        'oob-rack1   oob              <none>        802.3ad   eth1,mac=52:54:00:00:00:02   <none>   ["n1","n2"]\n'
    )


def test_the_ready_column_reads_the_condition() -> None:
    status = {
        "conditions": [{"type": "other", "status": "True"}, {"type": "ready", "status": "False", "message": "no"}]
    }
    found = {"metadata": {"name": "oob"}, "status": status}
    assert documents_table("ClusterNetwork", [found]) == "NAME   READY\noob    False\n"
    assert "\x1b[31mFalse\x1b[0m" in documents_table("ClusterNetwork", [found], style=Style(colour=True))


def test_a_description_has_every_field() -> None:
    assert describe_text(CONFIG, file="oob.yaml") == (
        "Name:         oob-rack1\n"
        "Kind:         VlanConfig\n"
        "API Version:  network.harvesterhci.io/v1beta1\n"
        "File:         oob.yaml\n"
        "Annotations:\n"
        '  network.harvesterhci.io/matched-nodes: ["n1","n2"]\n'
        "Spec:\n"
        "  Cluster Network: oob\n"
        "  Node Selector:\n"
        "    Rack: 1\n"
        "  Uplink:\n"
        "    NICs:\n"
        "      - eth1\n"
        "      - MAC: 52:54:00:00:00:02\n"
        "    Bond Options:\n"
        "      Mode: 802.3ad\n"
        "      Miimon: 100\n"
    )
