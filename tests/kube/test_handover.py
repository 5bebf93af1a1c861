"""A cluster goes from Harvester's network controller to Windrow and back, on a real API server, by helm and by the
commands that people use. What becomes of links under traffic is in tests/kernel/test_handover.py."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.docs.blocks import ROOT, all_blocks
from tests.kube.cluster import Agent, Api, document, nad, uplink, wait
from tests.kube.harvester import REGISTRATIONS, SUB, Controllers, helm, registration, write_chart
from tests.kube.installed import definitions, refusal, token
from tests.kube.test_manager import Replica, status

from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.manager.handover import AGENTS, KEEP, MANAGERS, WEBHOOKS, WORKLOADS
from windrow.apps.webhook import configurations
from windrow.kube.access import Access
from windrow.kube.crds import crds
from windrow.model import names
from windrow.model.bonding import BondMode
from windrow.model.bridging import CLUSTER_BRIDGE
from windrow.model.host import Bond
from windrow.services.kubernetes.controlplane import ControlPlane
from windrow.testing.builders import link, ports

KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLUSTER_NETWORKS = f"/apis/{names.API_GROUP}/v1beta1/clusternetworks"
Windrow = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("harvester")


@pytest.fixture(scope="module")
def plane(place: Path) -> Iterator[ControlPlane]:
    """With Harvester's release and its objects, and another one's registration. Each test leaves it so."""
    with ControlPlane(place / "plane", print) as found:
        helm(found, place, "install", "harvester", str(write_chart(place)), "--create-namespace")
        found.wait_for(CLUSTER_NETWORKS)
        definitions(found, [one for one in crds() if one["spec"]["group"] != names.API_GROUP])
        matched = {"metadata": {"name": "oob", "annotations": {names.ANNOTATION_MATCHED_NODES: '["n1"]'}}}
        objects = (document("ClusterNetwork", "oob"), {**uplink(), **matched}, nad("v100", 100))
        said = status("oob", "n1")
        said["metadata"]["name"] = names.vlan_status_name("oob", "n1")
        Api(found).make(document("Node", "n1"), *objects, said)
        for kind in ("Validating", "Mutating"):
            made = registration(kind, "harvester-validator", "example.test")
            found.request("POST", f"{REGISTRATIONS}/{kind.lower()}webhookconfigurations", made)
        yield found


@pytest.fixture
def controllers(plane: ControlPlane) -> Iterator[Controllers]:
    found = Controllers(plane)
    wait(lambda: len(found.running()) == len(WORKLOADS) and names.HARVESTER_WEBHOOK in registrations(plane))
    yield found
    found.close()


@pytest.fixture
def windrow(plane: ControlPlane, tmp_path: Path) -> Windrow:
    def run(*words: str, code: int = 0, session: Session | None = None, config: str = "") -> Result:
        given = ["--root", str(tmp_path / "here"), "--kubeconfig", config or str(plane.kubeconfig())]
        found = CliRunner().invoke(cli, [*given, *words], obj=session, prog_name="windrow")
        assert found.exit_code == code, found.output
        return found

    return run


def registrations(plane: ControlPlane) -> set[str]:
    kinds = ("validating", "mutating")
    every = [plane.request("GET", f"{REGISTRATIONS}/{kind}webhookconfigurations")["items"] for kind in kinds]
    return {one["metadata"]["name"] for found in every for one in found}


def specs(plane: ControlPlane) -> list[Any]:
    return [plane.request("GET", one.path)["spec"] for one in WORKLOADS]


def harvesters(found: Agent) -> Agent:
    """With what Harvester's agent has made on it."""
    kernel = found.kernel
    kernel.add(link("oob-br", CLUSTER_BRIDGE, up=True, mtu=1500, promisc=True, self_vlans=ports("")))
    kernel.add(link("oob-bo", Bond(mode=BondMode.ACTIVE_BACKUP, miimon=100), mtu=1500, master="oob-br"))
    machine = kernel.machine
    machine.get("oob-br").self_vlans = ports("")
    for nic in ("eth1", "eth2"):
        machine.get(nic).up = False  # as bond_enslave asks for
        machine.set_master(machine.get(nic), machine.get("oob-bo"))
        machine.open(machine.get(nic))
    machine.open(machine.get("oob-bo"))
    machine.get("oob-bo").vlans = ports("1* 100")
    return found


def test_what_speaks_against_it_stops_it(plane: ControlPlane, controllers: Controllers, windrow: Windrow) -> None:
    cluster, before = Api(plane), specs(plane)

    def matched(nodes: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {names.ANNOTATION_MATCHED_NODES: nodes}}}

    leaving = uplink("leaving", nodeSelector={"rack": "none"})
    leaving["metadata"]["finalizers"] = ["wrangler.cattle.io/harvester-network-vlanconfig-controller"]
    cluster.make(leaving)
    cluster.delete("VlanConfig", "leaving")
    cluster.merge("VlanConfig", "oob", matched('["n1","n7"]'))
    said = windrow("handover", "begin", code=1).output
    assert "Harvester has set it up on n7, which its selector does not choose" in said and "is being deleted" in said
    assert specs(plane) == before
    kind = plane.request("GET", f"{KINDS}/clusternetworks.{names.API_GROUP}")
    assert not KEEP.items() <= kind["metadata"].get("annotations", {}).items()
    cluster.merge("VlanConfig", "leaving", {"metadata": {"finalizers": None}})
    cluster.merge("VlanConfig", "oob", matched('["n1"]'))


def page() -> list[list[str]]:
    """What docs/user/handover.md has its readers type, without the kubeconfig that it names."""
    blocks = [block for block in all_blocks() if block.said("typed by:") == "tests/kube/test_handover.py"]
    words = [shlex.split(command.text) for block in blocks for command in block.commands]
    return [[word for word in one if word not in ("--kubeconfig", "admin.conf")] for one in words]


def test_there_and_back(
    plane: ControlPlane, controllers: Controllers, windrow: Windrow, place: Path, tmp_path: Path
) -> None:
    cluster, before = Api(plane), specs(plane)
    check, begin, (program, *install), finish = page()
    assert (check[0], begin[0], program, finish[0]) == ("windrow", "windrow", "helm", "windrow")
    assert "nothing stands in the way" in windrow(*check[1:]).output
    assert specs(plane) == before and names.HARVESTER_WEBHOOK in registrations(plane), "it only looks"

    windrow(*begin[1:])
    assert controllers.running() == set()
    order = [MANAGERS.name, AGENTS.name, WEBHOOKS.name]
    gone = [
        name for earlier, later in zip(controllers.ran, controllers.ran[1:], strict=False) for name in earlier - later
    ]
    assert gone == order, controllers.ran
    assert registrations(plane) == {"harvester-validator"}, "by name, and no other's"
    cluster.merge("ClusterNetwork", "oob", {"metadata": {"labels": {"edited": "yes"}}})
    windrow("handover", "begin")  # again, and nothing is forgotten
    said = windrow("handover", "finish", code=1).output
    assert "has said nothing" in said and "does not hold both locks" in said and "is not there: objects are" in said

    # Windrow is installed: its chart, its manager, and on the node its agent, which first marks what is there.
    helm(plane, place, *(str(ROOT / word) if word == "deploy/chart" else word for word in install))
    node = harvesters(Agent(tmp_path / "n1", Access(kubeconfig=str(plane.kubeconfig()))))
    account = str(plane.kubeconfig(token(plane, "agent", "n1"), "agent"))
    session = Session(root=node.paths.root, node="n1", open_kernel=lambda: node.kernel, permitted=lambda: True)
    taken = windrow("--root", str(node.paths.root), "adopt", "--stored", session=session, config=account)
    assert "oob-br, oob-bo" in taken.output
    made = {name: device.index for name, device in node.kernel.machine.devices.items()}
    manager = Replica(plane, "one", also=[names.HARVESTER_LOCK])
    node.start()
    try:
        wait(lambda: manager.manager.leads, manager.words)
        for one in configurations.documents(configurations.Address(url="https://127.0.0.1:1"), b""):
            one["webhooks"][0]["failurePolicy"] = "Ignore"
            kind = one["kind"].removesuffix("Configuration").lower()
            plane.request("POST", f"{REGISTRATIONS}/{kind}configurations", one)
        wait(lambda: cluster.list("VlanStatus"), node.said)
        lease = ("--lease", "default/manager")
        wait(lambda: "not ready" not in windrow_said(windrow, *lease), lambda: windrow_said(windrow, *lease))
        assert "all of it is Windrow's" in windrow(finish[1], *lease, *finish[2:]).output
    finally:
        node.stop()
        manager.stop()
    assert {name: device.index for name, device in node.kernel.machine.devices.items()} == made
    assert node.kernel.interruptions == []

    # And back. Not beside Windrow's agents.
    assert "helm uninstall windrow" in windrow("handover", "back", code=1).output
    assert controllers.running() == set()
    helm(plane, place, "uninstall", "windrow")
    windrow("handover", *lease, "back")
    wait(lambda: controllers.running() == set(order))
    assert specs(plane) == before
    wait(lambda: registrations(plane) == {"harvester-validator", names.HARVESTER_WEBHOOK})


def windrow_said(windrow: Windrow, *lease: str) -> str:
    try:
        return windrow("handover", *lease, "finish").output
    except AssertionError as error:
        return f"not ready: {error}"


def test_the_kinds_and_objects_stay_when_harvesters_chart_goes(
    plane: ControlPlane, controllers: Controllers, windrow: Windrow, place: Path
) -> None:
    """Helm takes away what is in the templates of a sub-chart that is switched off, and with its kind every object."""
    windrow("handover", "begin")
    helm(plane, place, "upgrade", "harvester", str(place / "harvester"), f"--set={SUB}.enabled=false")
    assert "not found" in refusal(plane, "GET", AGENTS.path)
    assert Api(plane).get("ClusterNetwork", "oob") is not None
    assert "is not in harvester-system" in windrow("handover", "back", code=1).output
    helm(plane, place, "upgrade", "harvester", str(place / "harvester"), f"--set={SUB}.enabled=true")
    windrow("handover", "back")
    assert Api(plane).get("ClusterNetwork", "oob") is not None


def test_a_manager_that_does_not_end_is_not_pushed_aside(plane: ControlPlane, windrow: Windrow) -> None:
    controllers = Controllers(plane, stubborn=True)
    try:
        wait(lambda: len(controllers.running()) == len(WORKLOADS))
        before = specs(plane)
        assert f"{MANAGERS.name} did not end within" in windrow("handover", "--timeout=2", "begin", code=1).output
        assert controllers.running() == {one.name for one in WORKLOADS}
        assert names.HARVESTER_WEBHOOK in registrations(plane)
        windrow("handover", "back")
        assert specs(plane) == before, "nothing else had ended, and it was asked to go on"
    finally:
        controllers.close()
