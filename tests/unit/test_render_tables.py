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


MACHINE = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "web", "namespace": "prod"},
    "spec": {
        "running": True,
        "template": {
            "spec": {
                "nodeSelector": {"rack": "1"},
                "networks": [
                    {"name": "default", "pod": {}},
                    {"name": "a", "multus": {"networkName": "vlan100"}},
                    {"name": "b", "multus": {"networkName": "infra/dmz"}},
                ],
                "domain": {
                    "cpu": {"cores": 2, "sockets": 2},
                    "memory": {"guest": "1Gi"},
                    "devices": {
                        "interfaces": [
                            {"name": "default", "masquerade": {}},
                            {"name": "a", "bridge": {}, "macAddress": "02:00:00:00:00:01"},
                        ]
                    },
                },
                "volumes": [{"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\nhostname: web\n"}}],
            }
        },
    },
}


def test_machines_are_told_by_what_they_are_made_of_and_connected_to() -> None:
    assert documents_table("VirtualMachine", [MACHINE], wide=True) == (
        "NAMESPACE   NAME   RUNSTRATEGY   CPUS   MEMORY   NETWORKS                MACS                NODE-SELECTOR\n"
        "prod        web    Always        4      1Gi      pod,vlan100,infra/dmz   02:00:00:00:00:01   rack=1\n"
    )
    plain = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"domain": {"devices": {}}}}
    domain = {
        "resources": {"requests": {"memory": "64Mi", "cpu": "500m"}},
        "devices": {"autoattachPodInterface": False},
    }
    alone = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"domain": domain}}
    assert documents_table("VirtualMachineInstance", [plain, alone]) == (
        "NAMESPACE   NAME   PHASE    IP       NODENAME   CPUS   MEMORY   NETWORKS\n"
        "b           a      <none>   <none>   <none>     1      <none>   pod\n"
        "b           a      <none>   <none>   <none>     500m   64Mi     <none>\n"
    )  # fmt: skip


def test_the_lines_of_a_text_stand_below_its_name() -> None:
    seed = {"metadata": {"name": "web"}, "kind": "X", "spec": {"seed": {"userData": "#cloud-config\nhostname: web\n"}}}
    assert describe_text(seed).endswith("Spec:\n  Seed:\n    User Data:\n      #cloud-config\n      hostname: web\n")
    assert "MAC Address: 02:00:00:00:00:01\n" in describe_text(MACHINE)


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
