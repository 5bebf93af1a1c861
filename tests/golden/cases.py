"""The cases of `plans/`: a folder each, made into a kernel in memory, its manifests and what its disk knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from windrow.apps.engine import converge
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond, Bridge, Link, LinkSpec, Other, Route, VlanIf
from windrow.model.leases import Lease, LeasedRoute
from windrow.model.ports import PORT_GROUP, PortRecord
from windrow.model.problems import errors
from windrow.model.values import Cidr, IfName
from windrow.model.wire import load_documents
from windrow.testing import builders
from windrow.testing.fake import FakeKernel

CASES = sorted(p.parent for p in Path(__file__).parent.glob("plans/*/node.yaml"))
NODE = "node-0"


def manifests(path: Path) -> Cluster:
    loaded = load_documents(path.read_text(), path.name)
    assert not errors(loaded.problems), loaded.problems
    return Cluster.of(loaded.objects)


def node(case: Path) -> FakeKernel:
    """NICs by name, up; `others`: links that another hand made, in order; `default`: the NIC with its default route."""
    said = yaml.safe_load((case / "node.yaml").read_text())
    kernel = FakeKernel()
    for name, nic in said["nics"].items():
        kernel.add_nic(name, up=True, **(nic or {}))
    if "default" in said:
        kernel.add_route(Route(dst="default", dev=IfName(said["default"]), gateway="192.0.2.254", protocol=4))
    for other in said.get("others", ()):
        kernel.add(Link(name=IfName(other["name"]), spec=spec(other), up=True, master=other.get("master")))
    return kernel


def start(case: Path) -> tuple[FakeKernel, Known]:
    """The node, after what the case brings about first, and what its disk knows."""
    kernel, known = node(case), Known(agent=True)
    if (case / "before.yaml").exists():
        report = converge(manifests(case / "before.yaml"), kernel, NODE, knowing=lambda: known)
        assert report.ok, report.left
        known = replace(known, memory=report.memory)
    return kernel, replace(known, ports=tuple(attach(case, kernel)), **told(case))


def told(case: Path) -> dict[str, Any]:
    """`leases`: by link, what servers gave; `agent`: false where none runs."""
    said = yaml.safe_load((case / "node.yaml").read_text())
    leases = {
        IfName(name): Lease(
            interface=IfName(name),
            address=Cidr(lease["address"]),
            routes=tuple(LeasedRoute(to=to, gateway=gateway or "") for to, gateway in lease.get("routes", {}).items()),
            mtu=lease.get("mtu", 0),
        )
        for name, lease in said.get("leases", {}).items()
    }
    return {"leases": leases, "agent": said.get("agent", True)}


def attach(case: Path, kernel: FakeKernel) -> list[PortRecord]:
    """`ports`: of the pods, with the VLANs that they should have; `has`: what became of them. Then the links of
    `gone` are deleted."""
    said = yaml.safe_load((case / "node.yaml").read_text())
    records = []
    for port in said.get("ports", ()):
        has = port.pop("has", {})
        records.append(record := builders.port_record(**port))
        vlans = builders.ports(has.get("vlans", port["vlans"]))
        master = has.get("master", record.bridge)
        made = Link(name=record.host, spec=Other(kind="veth"), up=has.get("up", True), master=master, vlans=vlans)
        if not has.get("gone"):
            kernel.add(made, group=PORT_GROUP)
    for name in said.get("gone", ()):
        kernel.machine.delete(kernel.machine.get(name))
    return records


def spec(other: dict[str, str]) -> LinkSpec:
    match other["kind"]:
        case "bond":
            return Bond()
        case "bridge":
            return Bridge()
        case "vlan":
            return VlanIf(parent=IfName(other["parent"]), vid=int(other["vid"]))
        case kind:
            return Other(kind=kind)
