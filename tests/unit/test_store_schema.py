"""Files on disk between two versions of Windrow: what an older one wrote is read, what a newer one adds is passed over,
and what a newer one means otherwise is not half understood."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from windrow.apps.cni import install
from windrow.model.adopted import Adopted, AdoptedLink
from windrow.model.agentstatus import AgentStatus
from windrow.model.attachments import Attached
from windrow.model.events import Event, EventType
from windrow.model.facts import Memory
from windrow.model.history import Applied
from windrow.model.leases import Lease
from windrow.model.ports import PortRecord
from windrow.model.values import Cidr, IfName, Mac, Ref
from windrow.port.identity import digest
from windrow.sense.manners import Manners
from windrow.services import dhcpevent
from windrow.store import adopted, agentstatus, keys, memory, poolrecord, records, untold
from windrow.store.attachments import AttachmentRecords
from windrow.store.errors import StoreError
from windrow.store.events import Events
from windrow.store.history import History
from windrow.store.leases import Leases, Moment
from windrow.store.machines import MachineRecord, Machines
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords

NOW = Moment(boot="b", booted_s=100.0, wall_s=1e9)
REF = Ref("VlanConfig", "oob")
NIC = IfName("eth0")


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it is written, how it is read, and what a reader says that finds nothing in it."""

    file: str
    write: Callable[[Paths], object]
    read: Callable[[Paths], object]
    nothing: object = None
    told: bool = False
    """A file that cannot be understood is an error, not nothing."""


def lease_of_dhcpevent(paths: Paths) -> None:
    path = Leases(paths).path(NIC)
    path.parent.mkdir(parents=True)
    told = {"ip": "192.0.2.7", "subnet": "255.255.255.0"}
    env = {"WINDROW_LEASE": str(path), "WINDROW_ASKED": str(path.with_suffix(".asked"))}
    dhcpevent.main("bound", env | told)


def asked_of_dhcpevent(paths: Paths) -> None:
    path = Leases(paths).asked_path(NIC)
    path.parent.mkdir(parents=True)
    dhcpevent.note(str(path), times=3)


def a_port() -> PortRecord:
    return PortRecord(container_id="c1", ifname="eth0", netns="", network="n", bridge=IfName("br"), host=NIC)


def an_attachment() -> Attached:
    return Attached(container_id="c1", ifname="eth0", netns="/run/netns/x", network="n")


def a_memory(*addresses: str) -> Memory:
    had = {NIC: frozenset(map(Cidr, addresses))}
    return Memory(nics={NIC: Mac("02:00:00:00:00:01")}, policed=True, had=had if addresses else {})


def a_machine() -> MachineRecord:
    return MachineRecord(namespace="default", name="web", node="n1", container_id="c", netns="x", since=1.0)


def a_status() -> AgentStatus:
    return AgentStatus(node="n1", pid=1, ticks=2, version="0.1.0", started=1.0, last_round=2.0)


def an_event() -> Event:
    return Event(type=EventType.NORMAL, reason="Repaired", about=REF, message="m", first=1.0, last=2.0, count=1)


def a_change() -> Applied:
    return Applied(number=1, at=1.0, by="root", origin="tty", command="apply", before={REF: None}, after={REF: {}})


KINDS = {
    "adopted": Kind(
        "var/lib/windrow/adopted.json",
        lambda p: adopted.write_adopted(p, Adopted(marked=(AdoptedLink(link=NIC, name=NIC, group=0),), objects=(REF,))),
        adopted.read_adopted,
        told=True,
    ),
    "agent_status": Kind(
        "run/windrow/agent.json",
        lambda p: agentstatus.write_agent_status(p, a_status()),
        agentstatus.read_agent_status,
    ),
    "attachments": Kind(
        "run/windrow/attachments/c1@eth0.json",
        lambda p: AttachmentRecords(p).put(an_attachment()),
        lambda p: AttachmentRecords(p).get("c1", "eth0"),
        told=True,
    ),
    "events": Kind(
        "var/lib/windrow/events.jsonl", lambda p: Events(p).add([an_event()]), lambda p: Events(p).all(), nothing=()
    ),
    "history": Kind(
        "var/lib/windrow/history/000001.json",
        lambda p: History(p).add(a_change()),
        lambda p: History(p).all(),
        nothing=(),
    ),
    "leases": Kind(
        "var/lib/windrow/leases/eth0.json", lease_of_dhcpevent, lambda p: Leases(p).address(NIC), nothing=""
    ),
    "leases of others": Kind(
        "var/lib/windrow/leases/eth0.json",
        lambda p: Leases(p).adopt(Lease(interface=NIC, address=Cidr("192.0.2.7/24"), lease_s=600), NOW),
        lambda p: Leases(p).in_force(NOW),
        nothing={},
    ),
    "dhcp": Kind("run/windrow/dhcp/eth0.asked", asked_of_dhcpevent, lambda p: Leases(p).asking(), nothing={}),
    "machines": Kind(
        "run/windrow/vms/default/web/record.json",
        lambda p: Machines(p).put(a_machine()),
        lambda p: Machines(p).get("default", "web"),
        told=True,
    ),
    "machine_addresses": Kind(
        "var/lib/windrow/machine-addresses/default/web.json",
        lambda p: Machines(p).remember_addresses("default", "web", ["10.52.0.2"]),
        lambda p: Machines(p).last_addresses("default", "web"),
        nothing=(),
    ),
    "memory": Kind(
        "var/lib/windrow/memory.json",
        lambda p: memory.write_memory(p, a_memory()),
        memory.read_memory,
        nothing=Memory(),
    ),
    "had": Kind(
        "run/windrow/addresses.json",
        lambda p: memory.write_memory(
            p, Memory(nics={NIC: Mac("02:00:00:00:00:01")}, had={NIC: frozenset({Cidr("192.0.2.7/24")})})
        ),
        lambda p: memory.read_memory(p).had,
        nothing={},
    ),
    "pool_record": Kind(
        "var/lib/windrow/pools.json",
        lambda p: poolrecord.write_record(p, {"default/p": {Mac("02:00:00:00:00:01"): "192.0.2.7"}}),
        poolrecord.read_record,
        nothing={},
    ),
    "active_pools": Kind(
        "run/windrow/active-pools.json",
        lambda p: poolrecord.write_active(p, ["default/p"]),
        poolrecord.read_active,
        nothing=frozenset(),
    ),
    "wireguard_key": Kind(
        "var/lib/windrow/wireguard.json",
        lambda p: keys.write_keys(p, keys.Keys(private=bytes(range(32)), public=b64encode(b"p" * 32).decode())),
        keys.read_keys,
    ),
    "ports": Kind(
        f"run/windrow/ports/{digest('c1', 'eth0')}.json",
        lambda p: PortRecords(p).put(a_port()),
        lambda p: PortRecords(p).all(),
        nothing=[],
    ),
    "untold": Kind(
        "run/windrow/untold/c1.json",
        lambda p: untold.note(p, untold.Untold(container_id="c1", pod="default/web", uid="u")),
        untold.all_of,
        nothing=(),
    ),
    "dhcp_asked": Kind(
        "run/windrow/dhcp-asked.json",
        lambda p: Manners(p.dhcp_asked).asked(("oob", 100), 1e9),
        lambda p: Manners(p.dhcp_asked).wait_s(("oob", 100), 1e9 + 1),
        nothing=0.0,
    ),
    "cni-installed": Kind(
        "var/lib/windrow/cni-installed.json",
        lambda p: install._remember(p, Path("/opt/cni/bin"), None),
        install.places,
        nothing=install.Places(),
    ),
}
STRICT = {"last_good", "checkpoint", "origin"}
"""They have a `version` of their own, and what is not wholly understood is not used: their own tests say so."""
SAME = {"lasting_attachments": "attachments", "addressed_ports": "ports"}
"""The same form in another place."""
NO_DOCUMENTS = {
    *("agent_lock", "check_lock", "lock", "turn"),
    *("agent_socket", "cni_socket"),
    *("check_key", "cluster_networks", "judged", "machine_logs", "dhcp_servers"),
    *("manifests", "pods", "pod_status", "device_info", "cni_networks"),
    *("runtime", "state"),
}
"""Locks, sockets, plain texts and files of other programs; forms that Kubernetes and CNI have defined; directories."""


def document(kind: Kind, root: Path) -> dict[str, Any]:
    found = json.loads((root / kind.file).read_text())
    assert isinstance(found, dict)
    return found


def rewrite(kind: Kind, root: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = root / kind.file
    path.write_text(json.dumps(change(document(kind, root))) + "\n")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def test_every_file_has_its_place_here() -> None:
    places = {name for name, value in vars(Paths).items() if isinstance(value, property)}
    assert places == {name for name in KINDS if hasattr(Paths, name)} | STRICT | set(SAME) | NO_DOCUMENTS


def test_it_says_which_schema_it_has(kind: Kind, tmp_path: Path) -> None:
    kind.write(Paths(tmp_path))
    assert document(kind, tmp_path)["schema"] == records.SCHEMA
    assert kind.read(Paths(tmp_path)) not in (None, kind.nothing)


def test_an_upgrade_keeps_what_a_windrow_before_schemas_wrote(kind: Kind, tmp_path: Path) -> None:
    kind.write(Paths(tmp_path))
    before = kind.read(Paths(tmp_path))
    rewrite(kind, tmp_path, lambda found: {key: value for key, value in found.items() if key != "schema"})
    assert kind.read(Paths(tmp_path)) == before


def test_the_way_back_keeps_what_a_newer_one_wrote(kind: Kind, tmp_path: Path) -> None:
    """It has said more than this one knows."""
    kind.write(Paths(tmp_path))
    before = kind.read(Paths(tmp_path))
    rewrite(kind, tmp_path, lambda found: found | {"laterOn": {"a": [1]}})
    assert kind.read(Paths(tmp_path)) == before


@pytest.mark.parametrize("schema", [records.SCHEMA + 1, "2", None, True])
def test_another_schema_is_not_half_understood(kind: Kind, tmp_path: Path, schema: object) -> None:
    kind.write(Paths(tmp_path))
    rewrite(kind, tmp_path, lambda found: found | {"schema": schema})
    if kind.told:
        with pytest.raises(StoreError, match="a newer Windrow wrote it"):
            kind.read(Paths(tmp_path))
    else:
        assert kind.read(Paths(tmp_path)) == kind.nothing


def test_what_is_no_object_is_nothing(kind: Kind, tmp_path: Path) -> None:
    kind.write(Paths(tmp_path))
    (tmp_path / kind.file).write_text("[1]\n")
    if kind.told:
        with pytest.raises(StoreError):
            kind.read(Paths(tmp_path))
    else:
        assert kind.read(Paths(tmp_path)) == kind.nothing


def test_a_port_of_another_schema_is_told(tmp_path: Path) -> None:
    port = KINDS["ports"]
    port.write(Paths(tmp_path))
    rewrite(port, tmp_path, lambda found: found | {"schema": 2})
    ((_, why),) = PortRecords(Paths(tmp_path)).broken()
    assert why == "a newer Windrow wrote it: schema 2, and this one reads 1"
