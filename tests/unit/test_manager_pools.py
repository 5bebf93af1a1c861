"""Addresses of pools, given by the manager: each once, by the record in the pool's status."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner
from tests.unit.admissioncases import cn, nad, node, vc
from tests.unit.test_manager_wanted import Server

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.kube import trim
from windrow.model import names
from windrow.model.values import Ref
from windrow.model.wire import load_value

NET = "default/web"
OTHER = {"macAddress": "02:00:00:00:00:99"}


def pool(name: str = "p", **spec: Any) -> dict[str, Any]:
    ipv4 = {"cidr": "192.0.2.0/24", "serverIP": "192.0.2.2", "router": "192.0.2.1", "leaseTime": 3600}
    ipv4["pool"] = {"start": "192.0.2.2", "end": "192.0.2.20", "exclude": ["192.0.2.4"]}
    meta = {"name": name, "namespace": "default"}
    whole = {"ipv4Config": ipv4, "networkName": NET, **spec}
    return {"apiVersion": names.POOL_API_VERSION, "kind": "IPPool", "metadata": meta, "spec": whole}


def machine(name: str, mac: str) -> dict[str, Any]:
    template = {
        "spec": {
            "domain": {"devices": {"interfaces": [{"name": "net", "bridge": {}}]}},
            "networks": [{"name": "net", "multus": {"networkName": NET}}],
        }
    }
    annotations = {names.ANNOTATION_VM_MACS: json.dumps({"net": mac})}
    meta = {"name": name, "namespace": "default", "annotations": annotations}
    spec = {"running": True, "template": template}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": meta, "spec": spec}


def server(*more: dict[str, Any]) -> Server:
    found = Server(node(), cn(), vc(), nad(), pool(), *more)
    found.pools = True
    return found


def status(there: Server, kind: str = "IPPool", name: str = "p") -> dict[str, Any]:
    found: dict[str, Any] = there.get(kind, name, "default")["status"]
    return found


def conditions(found: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in found["conditions"]}


def test_a_machine_has_an_address_and_everybody_finds_it() -> None:
    there = server(machine("a", "02:00:00:00:00:0a"))
    assert there.settle() <= 4
    found = status(there)
    given = {"192.0.2.2": "RESERVED", "192.0.2.3": "02:00:00:00:00:0a", "192.0.2.4": "EXCLUDED"}
    assert found["ipv4"]["allocated"] == given, "the router is outside of the range"
    assert (found["ipv4"]["used"], found["ipv4"]["available"]) == (1, 16)
    assert conditions(found) == {"Registered": "True", "CacheReady": "True", "Stopped": "False"}
    config = there.get("VirtualMachineNetworkConfig", "a", "default")
    assert config["metadata"]["ownerReferences"][0]["kind"] == "VirtualMachine"
    assert status(there, "VirtualMachineNetworkConfig", "a")["networkConfigs"] == [
        {"macAddress": "02:00:00:00:00:0a", "networkName": NET, "allocatedIPAddress": "192.0.2.3", "state": "Allocated"}
    ]
    labels = there.get("NetworkAttachmentDefinition", "web", "default")["metadata"]["labels"]
    assert (labels[names.LABEL_POOL_NAMESPACE], labels[names.LABEL_POOL_NAME]) == ("default", "p")


def test_who_came_first_keeps_it_and_who_goes_lets_it_go() -> None:
    there = server(machine("b", "02:00:00:00:00:0b"))
    there.settle()
    there.put(machine("a", "02:00:00:00:00:0a"))  # before the other one by name
    there.settle()
    allocated = status(there)["ipv4"]["allocated"]
    assert allocated["192.0.2.3"] == "02:00:00:00:00:0b" and allocated["192.0.2.5"] == "02:00:00:00:00:0a"
    for kind in ("VirtualMachine", "VirtualMachineNetworkConfig"):  # the second by the API server, with the first
        del there.documents[Ref(kind, "b", "default")]
    there.settle()
    assert "192.0.2.3" not in status(there)["ipv4"]["allocated"] and status(there)["ipv4"]["used"] == 1


def test_a_machine_with_another_address_of_its_card_is_followed() -> None:
    there = server(machine("a", "02:00:00:00:00:0a"))
    there.settle()
    there.put(machine("a", "02:00:00:00:00:0c"))
    there.settle()
    assert status(there)["ipv4"]["allocated"]["192.0.2.5"] == "02:00:00:00:00:0c", (
        "asked for while the old one was there"
    )
    assert "192.0.2.3" not in status(there)["ipv4"]["allocated"]
    configs = [ref for ref in there.documents if ref.kind == "VirtualMachineNetworkConfig"]
    assert len(configs) == 1


def test_it_is_written_only_as_it_was_read() -> None:
    """Of two managers the second one reads what the first one gave, and gives something else."""
    there = server(machine("a", "02:00:00:00:00:0a"))
    there.settle()
    there.put(machine("b", "02:00:00:00:00:0b"))
    there.settle()
    del there.get("IPPool", "p", "default")["status"]["ipv4"]["used"]
    (write,) = [write for ref, write in there.wanted().items() if ref.kind == "IPPool"]
    assert write.version == there.get("IPPool", "p", "default")["metadata"]["resourceVersion"]  # type: ignore[union-attr]


def test_a_pool_that_is_full_says_who_waits() -> None:
    machines = [machine(f"m{n:02}", f"02:00:00:00:01:{n:02x}") for n in range(18)]
    there = server(*machines)
    there.settle()
    found = status(there)
    assert found["ipv4"]["available"] == 0 and found["ipv4"]["used"] == 17
    (waits,) = [one for one in found["conditions"] if one["type"] == "Allocated"]
    assert waits["status"] == "False" and "02:00:00:00:01:11" in waits["message"] and waits["lastTransitionTime"]


def test_without_the_option_nothing_of_pools_is_written() -> None:
    there = server(machine("a", "02:00:00:00:00:0a"))
    there.pools = False
    there.settle()
    assert "status" not in there.get("IPPool", "p", "default")
    assert not [ref for ref in there.documents if ref.kind == "VirtualMachineNetworkConfig"]


def test_only_a_clusters_pools_are_an_agents_choice() -> None:
    done = CliRunner().invoke(cli, ["agent", "--pools"], obj=Session(permitted=lambda: True))
    assert done.exit_code == 2 and "--pools is for a cluster" in done.output


def test_nodes_serve_whom_the_status_names_and_nobody_else() -> None:
    there = server(machine("a", "02:00:00:00:00:0a"))
    there.settle()
    stored = there.get("IPPool", "p", "default")
    stored["spec"]["hosts"] = [OTHER]
    (read,) = load_value(trim.wanted(stored)).objects
    assert [(host.mac, host.address) for host in read.hosts] == [("02:00:00:00:00:0a", "192.0.2.3")]  # type: ignore[union-attr]


def test_of_a_pool_that_cannot_be_read_nothing_is_given_anew() -> None:
    """The reader puts something in the place of what it cannot read: by that all machines got other addresses."""
    ipv4 = {"cidr": "198.51.100.0/24", "serverIP": "198.51.100.2", "leaseTime": 3600}
    there = Server(node(), cn(), vc(), nad(), pool(ipv4Config=ipv4), machine("a", "02:00:00:00:00:0a"))
    there.pools = True
    there.settle()
    before = status(there), status(there, "VirtualMachineNetworkConfig", "a")
    assert before[0]["ipv4"]["allocated"]["198.51.100.1"] == "02:00:00:00:00:0a"
    there.get("IPPool", "p", "default")["spec"]["ipv4Config"]["cidr"] = "198.51.100.0/33"
    there.put(machine("b", "02:00:00:00:00:0b"))
    there.settle()
    assert (status(there), status(there, "VirtualMachineNetworkConfig", "a")) == before
    labels = there.get("NetworkAttachmentDefinition", "web", "default")["metadata"]["labels"]
    assert labels[names.LABEL_POOL_NAME] == "p"
    there.get("IPPool", "p", "default")["spec"]["ipv4Config"]["cidr"] = "198.51.100.0/24"
    there.settle()
    assert sorted(status(there)["ipv4"]["allocated"].values()) == ["02:00:00:00:00:0a", "02:00:00:00:00:0b", "RESERVED"]


def test_a_machine_that_cannot_be_read_keeps_its_addresses() -> None:
    """A NIC that is written wrongly is none to the reader, and its address was the next machine's."""

    def two(second: dict[str, Any]) -> dict[str, Any]:
        found = machine("a", "02:00:00:00:00:0a")
        inner = found["spec"]["template"]["spec"]
        inner["domain"]["devices"]["interfaces"].append({"name": "more", "bridge": {}} | second)
        inner["networks"].append({"name": "more", "multus": {"networkName": NET}})
        return found

    there = server(two({"macAddress": "02:00:00:00:00:0b"}))
    there.settle()
    before = status(there)
    assert before["ipv4"]["used"] == 2
    there.put(two({"macAddress": "nonsense"}))
    there.settle()
    assert status(there) == before


def test_of_two_pools_of_a_network_it_is_labelled_with_the_one_that_gives() -> None:
    there = server(pool("q"), machine("a", "02:00:00:00:00:0a"))
    there.settle()
    assert status(there)["ipv4"]["used"] == 1 and status(there, name="q")["ipv4"]["used"] == 0
    labels = there.get("NetworkAttachmentDefinition", "web", "default")["metadata"]["labels"]
    assert labels[names.LABEL_POOL_NAME] == "p"


def test_a_config_of_another_machine_keeps_what_it_says() -> None:
    """Made under the name of the machine `a`, it would take the place of the one that somebody wrote for `b`."""
    entry = {"networkName": NET, "macAddress": "02:00:00:00:00:0b", "ipAddress": "192.0.2.9"}
    spec = {"vmName": "b", "networkConfigs": [entry]}
    meta = {"name": "a", "namespace": "default"}
    config = {"apiVersion": names.POOL_API_VERSION, "kind": "VirtualMachineNetworkConfig", "metadata": meta}
    there = server(machine("a", "02:00:00:00:00:0a"), {**config, "spec": spec})
    there.settle()
    assert there.get("VirtualMachineNetworkConfig", "a", "default")["spec"] == spec
    allocated = status(there)["ipv4"]["allocated"]
    assert allocated["192.0.2.9"] == "02:00:00:00:00:0b" and allocated["192.0.2.3"] == "02:00:00:00:00:0a"
