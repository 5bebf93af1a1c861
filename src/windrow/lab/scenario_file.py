"""A scenario's text -> values. Every problem of the file is found in one go, with its path, line and a hint."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, TypeVar

from windrow.lab.errors import LabError
from windrow.lab.scenario import (
    UNTAGGED,
    Announces,
    ApiOutage,
    BondIs,
    Cable,
    CablePull,
    Change,
    Check,
    Closed,
    Command,
    End,
    Endpoint,
    ForgedMac,
    Group,
    GroupMode,
    Host,
    HostNic,
    Isolated,
    Kubernetes,
    Lease,
    Management,
    Matrix,
    Node,
    PlanEmpty,
    Port,
    Reach,
    Recreate,
    Role,
    Scenario,
    Steady,
    Switch,
    SwitchFault,
    Vm,
)
from windrow.lab.scenario_links import check_links
from windrow.lab.scenario_pods import launched, pods
from windrow.lab.scenario_vms import Machines
from windrow.model.bonding import BondMode
from windrow.model.lazy import dataclass
from windrow.model.meta import Source
from windrow.model.problems import Problem, ProblemsError
from windrow.model.steps import Impact
from windrow.model.values import VID_MAX, VID_MIN, Cidr, IfName, Ref, VidSet, parse_ifname
from windrow.model.wire.reader import Field, Report, Table, kind_of, suggestion
from windrow.model.wire.text import Complaint, plain, shown, trees
from windrow.store.named import read_named

API_VERSION, KIND = "windrow/v1", "Scenario"
SHIPPED = Path(__file__).resolve().parent / "scenarios"
FILE = "scenario.yaml"
CHANGES, PODS = "changes", "pods"
"""The directories beside it with what checks apply, and with Pods."""

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_TOP = ("apiVersion", "kind", "metadata", "spec")
_SPEC = (
    *("description", "nodes", "switches", "hosts", "kubernetes", "endpoints", "vms", "cables"),
    *("manifests", "checks"),
)


# Files --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Texts:
    """A scenario as it is sent to the lab, which cannot see all of the host's files: its text and its manifests."""

    file: str
    text: str
    manifests: Mapping[str, str]
    changes: Mapping[str, str] = field(default_factory=dict)
    pods: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "text": self.text,
            "manifests": dict(self.manifests),
            "changes": dict(self.changes),
            "pods": dict(self.pods),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Texts:
        more = (document.get(key, {}) for key in (CHANGES, PODS))
        return cls(document["file"], document["text"], document["manifests"], *more)


def shipped() -> dict[str, str]:
    """The scenarios that come with Windrow: name -> description."""
    found = sorted(path.parent for path in SHIPPED.glob(f"*/{FILE}"))
    return {path.name: parse(read(path.name)).description for path in found}


def read(name: str) -> Texts:
    """A shipped scenario by its name, or one by its file or directory. Raises LabError, ProblemsError."""
    path = SHIPPED / name / FILE
    if "/" in name or not path.is_file():
        path = Path(name) / FILE if Path(name).is_dir() else Path(name)
    try:
        text = read_named(path).decode("utf-8")
        beside = [_read_manifests(path.parent, name) for name in (_manifest_dir(text), CHANGES, PODS)]
        return Texts(str(path), text, *beside)
    except FileNotFoundError as error:
        names = [p.parent.name for p in SHIPPED.glob(f"*/{FILE}")]
        near = suggestion(name, names) or f"there are {', '.join(sorted(names))}; or give a directory with a {FILE}"
        raise LabError(f"there is no scenario {name!r}", hint=near) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"cannot read the scenario {name!r}: {error}") from error


def _manifest_dir(text: str) -> str:
    found, _ = trees(text)
    value = plain(found[0].root, []).value if found else None
    spec = value.get("spec") if isinstance(value, dict) else None
    name = spec.get("manifests") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else "manifests"


def _read_manifests(base: Path, name: str) -> dict[str, str]:
    """The files of the directory, or the one file; a scenario without any is fine."""
    place = base / name
    files = [place] if place.is_file() else sorted(p for p in place.glob("*") if p.suffix in (".yaml", ".yml", ".json"))
    return {p.name: read_named(p).decode("utf-8") for p in files}


# The text -----------------------------------------------------------------------------------------


def parse(texts: Texts) -> Scenario:
    """Raises ProblemsError with all that is wrong."""
    found, complaints = trees(texts.text)
    if len(found) > 1:
        complaints.append(Complaint("scenario", "a scenario is one document", line=found[1].first + 1))
    value: Any = None
    lines: dict[str, int] = {}
    if found:
        document = plain(found[0].root, complaints)
        value, lines = document.value, document.lines
    report = Report(Source(file=texts.file, lines=lines))
    for c in complaints:
        report.add(c.code, c.path, c.message, c.hint, line=c.line)
    scenario = _Reader(report).scenario(value, texts) if not complaints else None
    if report.failed or scenario is None:
        raise ProblemsError(sorted(report.problems, key=_line))
    return scenario


def _line(problem: Problem) -> int:
    return problem.line or 0


class _Reader:
    """One reading of one document; `_report` collects what is wrong."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._names: dict[str, str] = {}

    def scenario(self, value: Any, texts: Texts) -> Scenario | None:
        if not isinstance(value, dict):
            self._report.add(
                "wrong-type", "", f"a scenario is a map with apiVersion and kind; this is {kind_of(value)}"
            )
            return None
        top = Table(value, "", self._report, _TOP)
        for key, right in (("apiVersion", API_VERSION), ("kind", KIND)):
            if top.text(key, required=True, hint=f"{key}: {right}") not in ("", right):
                top[key].wrong("kind-unknown", f"{shown(top[key].value)} is not what a scenario says", f"write {right}")
        spec = top.table("spec", _SPEC, required=True)
        machines, kubernetes = Machines(texts.manifests), self._kubernetes(spec)
        scenario = Scenario(
            name=top.table("metadata", required=True).text("name", required=True),
            description=spec.text("description"),
            nodes=self._all(spec, "nodes", self._node, required=True),
            switches=self._all(spec, "switches", self._switch),
            hosts=self._all(spec, "hosts", self._host),
            kubernetes=kubernetes,
            endpoints=self._all(spec, "endpoints", self._endpoint),
            vms=(
                *self._all(spec, "vms", lambda item: self._vm(item, machines)),
                *(launched(texts.pods, machines, self._report) if kubernetes else ()),
            ),
            cables=self._all(spec, "cables", self._cable),
            manifests=texts.manifests,
            changes=texts.changes,
            pods=pods(texts.pods, self._report),
            pod_manifests=texts.pods,
            checks=self._all(spec, "checks", self._check),
        )
        check_links(scenario, self._report)
        return scenario

    def _all(
        self, spec: Table, key: str, read: Callable[[Field], T | None], *, required: bool = False
    ) -> tuple[T, ...]:
        found = spec.required(key) if required else spec.get(key)
        items = [read(item) for item in found.items()] if found else []
        return tuple(item for item in items if item is not None)

    # Devices --------------------------------------------------------------------------------------

    def _node(self, item: Field) -> Node | None:
        if (table := item.table(("name", "nics", "labels", "management", "pod-cidr"))) is None:
            return None
        pods = table.get("pod-cidr")
        return Node(
            name=self._name(table),
            nics=self._ifnames(table, "nics"),
            labels=table.texts("labels"),
            management=self._management(table.table("management")) if "management" in table else None,
            pod_cidrs=_each(pods, lambda text: Cidr(_network(text)), "like 10.52.0.0/24") if pods else (),
        )

    def _management(self, table: Table) -> Management:
        table = Table(table.value, table.path, table.report, ("nics", "address", "mode", "vlan", "gateway", "plain"))
        mode = table.get("mode")
        address = table.required("address")
        return Management(
            nics=self._ifnames(table, "nics"),
            addresses=(_each(address, _cidr) if address else ()) or (Cidr("0.0.0.0/0"),),
            mode=(mode and mode.choice(BondMode)) or BondMode.ACTIVE_BACKUP,
            vid=table.integer("vlan", 2, VID_MAX, code="vid-range"),
            gateway=self._address(table, "gateway"),
            plain=table.flag("plain"),
        )

    def _switch(self, item: Field) -> Switch | None:
        if (table := item.table(("name", "ports", "groups", "announces"))) is None:
            return None
        name = self._name(table)
        ports = [port for found in self._all(table, "ports", self._ports, required=True) for port in found]
        announces = table.get("announces")
        return Switch(
            name=name,
            ports=tuple(ports),
            groups=self._all(table, "groups", self._group),
            announces=(announces and announces.choice(Announces)) or Announces.NOTHING,
        )

    def _ports(self, item: Field) -> tuple[Port, ...] | None:
        """`{name: p1, …}`, or `{names: [p1, p2], …}` for several that are alike."""
        if (table := item.table(("name", "names", "native", "vlans"))) is None:
            return None
        if "name" in table:
            one = table["name"].parsed(parse_ifname, "name-invalid")
            names: tuple[IfName, ...] = (one,) if one else ()
        else:
            names = self._ifnames(table, "names")
        native, vlans = self._vlans(table)
        return tuple(Port(name=name, native=native, vlans=vlans) for name in names)

    def _group(self, item: Field) -> Group | None:
        if (table := item.table(("name", "mode", "ports", "native", "vlans"))) is None:
            return None
        name = table.required("name")
        mode = table.required("mode", "lacp or static")
        native, vlans = self._vlans(table)
        return Group(
            mode=(mode and mode.choice(GroupMode)) or GroupMode.STATIC,
            members=self._ifnames(table, "ports"),
            port=Port(
                name=(name and name.parsed(parse_ifname, "name-invalid")) or IfName("?"), native=native, vlans=vlans
            ),
        )

    def _vlans(self, table: Table) -> tuple[int, VidSet]:
        native = table.integer("native", 0, VID_MAX, code="vid-range")
        vlans = table.get("vlans")
        if vlans and isinstance(vlans.value, int) and not isinstance(vlans.value, bool):
            vlans = replace(vlans, value=str(vlans.value))
        found = vlans.parsed(_vids, "vid-range", 'write it like "100,200-210"') if vlans else None
        return (1 if native is None else native), found or VidSet()

    def _host(self, item: Field) -> Host | None:
        if (table := item.table(("name", "role", "nics", "gateway"))) is None:
            return None
        role = table.get("role")
        return Host(
            name=self._name(table),
            role=(role and role.choice(Role)) or Role.HOST,
            nics=self._all(table, "nics", self._host_nic, required=True),
            gateway=self._address(table, "gateway"),
        )

    def _host_nic(self, item: Field) -> HostNic | None:
        if (table := item.table(("name", "addresses", "leases"))) is None:
            return None
        name = table.required("name")
        leases = {vid: field.parsed(_range, "address") for vid, field in self._by_vid(table, "leases")}
        return HostNic(
            name=(name and name.parsed(parse_ifname, "name-invalid")) or IfName("?"),
            addresses=self._addresses(table),
            leases={vid: found for vid, found in leases.items() if found},
        )

    def _kubernetes(self, spec: Table) -> Kubernetes | None:
        """`true`, or a map. What is wrong with it stands for one: the rest of the scenario is read with it."""
        field = spec.get("kubernetes")
        if field is None or isinstance(field.value, bool):
            return Kubernetes() if field is not None and field.value else None
        if not isinstance(field.value, dict):
            field.expected("true, false or a map", "kubernetes: true, or kubernetes: {kubelets: false}")
            return Kubernetes()
        table = spec.table("kubernetes")
        for key, other in table.fields():
            if key not in ("kubelets", "agents", "controllers", "conformance", "flannel"):
                hint = "there are kubelets, agents, controllers and conformance: true or false, and flannel: nodes"
                other.wrong("unknown-field", "is no field there", hint)
        kubelets, agents = (table.flag(key) if key in table else True for key in ("kubelets", "agents"))
        flannel = [item.text() for item in table["flannel"].items()] if "flannel" in table else []
        found = Kubernetes(
            kubelets=kubelets,
            agents=agents,
            controllers=table.flag("controllers"),
            conformance=table.flag("conformance"),
            flannel=tuple(name for name in flannel if name),
        )
        if found.conformance and not kubelets:
            field.wrong("kubernetes", "conformance needs kubelets: its tests run pods", "take kubelets: false out")
        if not (agents or (kubelets and found.controllers)):
            said = "without agents pods have to make the networks, and those need kubelets and controllers"
            field.wrong("kubernetes", said, "write controllers: true, or take agents: false out")
        return found

    def _endpoint(self, item: Field) -> Endpoint | None:
        known = ("name", "node", "network", "address", "addresses", "gateway")
        if (table := item.table(known)) is None:
            return None
        addresses = self._addresses(table)
        dhcp = table.value.get("address") == "dhcp"
        if "address" in table and not dhcp:
            address = table["address"].parsed(_cidr, "address")
            addresses |= {UNTAGGED: address} if address else {}
        return Endpoint(
            name=self._name(table),
            node=table.text("node", required=True),
            network=table.text("network", required=True, hint="the name of a NetworkAttachmentDefinition"),
            addresses=addresses,
            dhcp=dhcp,
            gateway=self._address(table, "gateway"),
        )

    def _vm(self, item: Field, machines: Machines) -> Vm | None:
        """`machine`: the object, `name` or `namespace/name`; without it the one that has the machine's name here."""
        if (table := item.table(("name", "node", "machine"))) is None:
            return None
        name, node = self._name(table), table.text("node", required=True)
        field = table.get("machine") or table.get("name")
        if field is None or (word := field.text()) is None:
            return None
        found = machines.find(word)
        if found is None:
            field.wrong("unknown-name", f"the manifests have no VirtualMachine {shown(word)}", machines.hint(word))
            return None
        return Vm(name=name, node=node, machine=found.ref, nics=machines.nics(found), memory=found.spec.memory)

    def _addresses(self, table: Table) -> dict[int, Cidr]:
        found = {vid: field.parsed(_cidr, "address") for vid, field in self._by_vid(table, "addresses")}
        return {vid: address for vid, address in found.items() if address}

    def _by_vid(self, table: Table, key: str) -> Iterator[tuple[int, Field]]:
        """A map whose keys are VIDs or `untagged`."""
        for word, item in table.table(key).fields():
            if word == "untagged":
                yield UNTAGGED, item
            elif word.isdecimal() and VID_MIN <= int(word) <= VID_MAX:
                yield int(word), item
            else:
                item.wrong("vid-range", f"{shown(word)} is neither a VLAN id nor `untagged`")

    def _cable(self, item: Field) -> Cable | None:
        """`[node-0:eth0, sw:p1]`"""
        ends = [end.parsed(_end, "cable", "write it like node-0:eth0") for end in item.items("a list of two ends")]
        if len(ends) != 2:
            item.wrong("cable", f"a cable has two ends, this one has {len(ends)}")
        a, b = (*ends, None, None)[:2]
        return Cable(a, b) if a and b else None

    # Checks ---------------------------------------------------------------------------------------

    def _check(self, item: Field) -> Check | None:
        """`{reach: {…}}`: the one key is the kind."""
        table = item.table()
        if table is None:
            return None
        if len(table.value) != 1 or (kind := next(iter(table.value))) not in _CHECKS:
            item.wrong("check", f"a check is a map with one key of {', '.join(_CHECKS)}")
            return None
        known, read = _CHECKS[kind]
        inner = Field(table.value[kind], f"{item.path}.{kind}", self._report).table(("name", *known))
        return read(self, inner) if inner else None

    def _reach(self, table: Table) -> Check:
        """`among`: all of them each other; or `from` some `to` others."""
        if "from" in table or "to" in table:
            if "among" in table:
                table["among"].wrong("check", "stands beside from and to", "give among, or from and to")
            sources, targets = self._texts(table, "from"), self._texts(table, "to")
            said = f"{', '.join(sources)} reach {', '.join(targets)}"
        else:
            sources = targets = self._texts(table, "among")
            said = f"{', '.join(sources)} reach each other"
        return Reach(name=table.text("name") or said, sources=sources, targets=targets)

    def _matrix(self, table: Table) -> Check:
        targets = self._texts(table, "to") if "to" in table else ()
        return Matrix(name=table.text("name") or "who reaches whom is as the manifests say", targets=targets)

    def _isolated(self, table: Table) -> Check:
        field = table.required("groups", "a list of lists")
        groups = tuple(self._list(group) for group in field.items()) if field else ()
        said = " | ".join(" ".join(group) for group in groups)
        return Isolated(name=table.text("name") or f"no frame passes between {said}", groups=groups)

    def _command(self, table: Table) -> Check:
        argv = self._texts(table, "argv")
        exit_code = table.integer("exit", 0, 255)
        node = table.text("node", required=True)
        return Command(
            name=table.text("name") or f"{node}: {' '.join(argv)}",
            node=node,
            argv=argv,
            exit=exit_code or 0,
            stdout=table.text("stdout") if "stdout" in table else None,
            says=table.text("says"),
        )

    def _bond(self, table: Table) -> Check:
        node, bond, mode = table.text("node", required=True), table.required("bond"), table.required("mode")
        name = (bond and bond.parsed(parse_ifname, "name-invalid")) or IfName("?")
        is_mode = (mode and mode.choice(BondMode)) or BondMode.ACTIVE_BACKUP
        nics = table.integer("nics", 1, 64)
        said = table.text("name") or f"{node}: {name} is in mode {is_mode}"
        return BondIs(name=said, node=node, bond=name, mode=is_mode, nics=2 if nics is None else nics)

    def _pull(self, table: Table) -> Check | None:
        cable = table.required("cable", "one end of it, like node-0:eth2")
        end = cable.parsed(_end, "cable") if cable else None
        between = self._texts(table, "between")
        within = table.integer("within-ms", 0, 60_000)
        if len(between) != 2:
            table["between"].wrong("check", "names two endpoints")
        if end is None or len(between) != 2:
            return None
        said = table.text("name") or f"pulling {end} costs {between[0]} ↔ {between[1]} little"
        return CablePull(
            name=said, cable=end, between=(between[0], between[1]), within_ms=1000 if within is None else within
        )

    def _switch_fault(self, table: Table) -> Check | None:
        field = table.required("end", "a port of a switch, like sw-oob:p1")
        end = field.parsed(_end, "cable") if field else None
        fault, finds = table.text("fault", required=True), table.text("finds", required=True)
        if end is None:
            return None
        said = table.text("name") or f"{fault} on {end} is found, and put right by the statements that are printed"
        return SwitchFault(name=said, end=end, fault=fault, finds=finds)

    def _plan_empty(self, table: Table) -> Check:
        nodes = self._texts(table, "nodes")
        return PlanEmpty(name=table.text("name") or f"{', '.join(nodes)}: the plan after apply is empty", nodes=nodes)

    def _lease(self, table: Table) -> Check:
        endpoint, network = table.text("endpoint", required=True), table.required("network")
        found = (network and network.parsed(_network, "address")) or ""
        server = table.text("server")
        said = table.text("name") or f"{endpoint} has an address of {found} from {server or 'DHCP'}"
        return Lease(name=said, endpoint=endpoint, network=found, server=server)

    def _forged_mac(self, table: Table) -> Check:
        station, listener = table.text("station", required=True), table.text("listener", required=True)
        field = table.get("heard")
        heard = bool(field and field.flag())
        said = f"{station} with a forged MAC is {'heard' if heard else 'not heard'} by {listener}"
        return ForgedMac(name=table.text("name") or said, station=station, listener=listener, heard=heard)

    def _recreate(self, table: Table) -> Check | None:
        node, network = table.text("node", required=True), table.text("cluster-network", required=True)
        between, within = self._between(table), table.integer("within-ms", 0, 60_000)
        if between is None:
            return None
        return Recreate(
            name=table.text("name") or f"{node}: one apply brings back {network}, deleted under running machines",
            node=node,
            cluster_network=network,
            between=between,
            within_ms=5000 if within is None else within,
        )

    def _steady(self, table: Table) -> Check | None:
        between = self._between(table)
        seconds = table.integer("seconds", 1, 60)
        said = table.text("name") or f"no frame between {' and '.join(between or ())} is lost while nothing is done"
        return Steady(name=said, between=between, seconds=3 if seconds is None else seconds) if between else None

    def _change(self, table: Table) -> Check | None:
        impact, between = table.required("impact", _IMPACTS), self._between(table)
        found = impact.parsed(_impact, "not-a-choice", _IMPACTS) if impact else None
        manifests = self._texts(table, "manifests") if "manifests" in table else ()
        deleted = table.get("delete")
        named = deleted.items() if deleted else ()
        refs = [item.parsed(_ref, "check", "write it like VlanConfig/oob") for item in named]
        if not manifests and not deleted:
            self._report.add(
                "check", table.path, "nothing changes", "name `manifests` to apply, or objects to `delete`"
            )
        if between is None or found is None:
            return None
        return Change(
            name=table.text("name", required=True),
            node=table.text("node", required=True),
            between=between,
            impact=found,
            manifests=manifests,
            delete=tuple(ref for ref in refs if ref),
            lost=table.integer("lost", 0, 1_000_000),
            within_ms=table.integer("within-ms", 0, 60_000),
        )

    def _api_outage(self, table: Table) -> Check | None:
        node, between = table.text("node", required=True), self._between(table)
        seconds = table.integer("seconds", 1, 600)
        if between is None:
            return None
        return ApiOutage(
            name=table.text("name") or f"{node} boots while the API server is gone, and all catch up afterwards",
            node=node,
            between=between,
            seconds=10 if seconds is None else seconds,
            manifests=self._texts(table, "manifests") if "manifests" in table else (),
        )

    def _closed(self, table: Table) -> Check:
        manifests, target = self._texts(table, "manifests"), table.text("to", required=True)
        opened, closed = self._texts(table, "open"), self._texts(table, "closed")
        said = f"{', '.join(manifests)} closes {target} to {', '.join(closed)}, and not to {', '.join(opened)}"
        return Closed(name=table.text("name") or said, manifests=manifests, target=target, opened=opened, closed=closed)

    def _between(self, table: Table) -> tuple[str, str] | None:
        between = self._texts(table, "between")
        if len(between) == 2:
            return between[0], between[1]
        if "between" in table:
            table["between"].wrong("check", "names two endpoints")
        return None

    # Small things ---------------------------------------------------------------------------------

    def _name(self, table: Table) -> str:
        """The name of a device; it becomes a host name and a network namespace."""
        field = table.required("name")
        name = field.text() if field else None
        if field is None or name is None:
            return ""
        if not _NAME.fullmatch(name):
            field.wrong(
                "name-invalid", f"{shown(name)} is not a name", "lower-case letters, digits, and - between them"
            )
        elif name in self._names:
            field.wrong("name-twice", f"{name} is the name of {self._names[name]} already")
        self._names.setdefault(name, table.path)
        return name

    def _ifnames(self, table: Table, key: str) -> tuple[IfName, ...]:
        field = table.required(key)
        names = [item.parsed(parse_ifname, "name-invalid") for item in field.items()] if field else []
        if field and (twice := {n for n in names if n and names.count(n) > 1}):
            field.wrong("name-twice", f"{', '.join(sorted(twice))} stands there twice")
        return tuple(n for n in names if n)

    def _texts(self, table: Table, key: str) -> tuple[str, ...]:
        field = table.required(key)
        return self._list(field) if field else ()

    def _list(self, field: Field) -> tuple[str, ...]:
        return tuple(text for item in field.items() if (text := item.text()) is not None)

    def _address(self, table: Table, key: str) -> str:
        field = table.get(key)
        return (field and field.parsed(lambda text: str(ipaddress.ip_address(text)), "address")) or ""


_CHECKS: dict[str, tuple[tuple[str, ...], Callable[[_Reader, Table], Check | None]]] = {
    "reach": (("among", "from", "to"), _Reader._reach),
    "matrix": (("to",), _Reader._matrix),
    "isolated": (("groups",), _Reader._isolated),
    "command": (("node", "argv", "exit", "stdout", "says"), _Reader._command),
    "bond": (("node", "bond", "mode", "nics"), _Reader._bond),
    "cable-pull": (("cable", "between", "within-ms"), _Reader._pull),
    "switch-fault": (("end", "fault", "finds"), _Reader._switch_fault),
    "plan-empty": (("nodes",), _Reader._plan_empty),
    "lease": (("endpoint", "network", "server"), _Reader._lease),
    "forged-mac": (("station", "listener", "heard"), _Reader._forged_mac),
    "recreate": (("node", "cluster-network", "between", "within-ms"), _Reader._recreate),
    "steady": (("between", "seconds"), _Reader._steady),
    "change": (("node", "between", "manifests", "delete", "impact", "lost", "within-ms"), _Reader._change),
    "closed": (("manifests", "to", "open", "closed"), _Reader._closed),
    "api-outage": (("node", "between", "seconds", "manifests"), _Reader._api_outage),
}
_IMPACTS = f"one of {', '.join(impact.value for impact in Impact)}"


def _impact(text: str) -> Impact:
    return Impact(text)


def _ref(text: str) -> Ref:
    """`Kind/name` or `Kind/namespace/name`."""
    kind, *rest = text.split("/")
    if not kind or len(rest) not in (1, 2) or not all(rest):
        raise ValueError(f"{text!r} is not KIND/NAME or KIND/NAMESPACE/NAME")
    return Ref(kind, rest[-1], rest[0] if len(rest) == 2 else "")


def _each(field: Field, parse: Callable[[str], Cidr], hint: str = "") -> tuple[Cidr, ...]:
    """One, or a list of one of each family."""
    items = list(field.items()) if isinstance(field.value, list) else [field]
    if not items:
        field.wrong("address", "is empty", "one of each family, or leave it out")
    found = [cidr for item in items if (cidr := item.parsed(parse, "address", hint)) is not None]
    if len(found) > len({ipaddress.ip_interface(cidr).version for cidr in found}):
        field.wrong("address", f"{', '.join(found)}: of each family there can be one")
    return tuple(found)


def _cidr(text: str) -> Cidr:
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length, like 10.0.0.1/24")
    if "%" in text:
        raise ValueError(f"{text!r} names a link, and the address is on the one that the lab makes")
    return Cidr(str(ipaddress.ip_interface(text)))


def _network(text: str) -> str:
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length")
    return str(ipaddress.ip_network(text))


def _range(text: str) -> tuple[str, str]:
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is not a range like 10.0.0.100-10.0.0.199")
    low, high = ipaddress.IPv4Address(first.strip()), ipaddress.IPv4Address(last.strip())
    if low > high:
        raise ValueError(f"{text!r} ends before it starts")
    return str(low), str(high)


def _vids(text: str) -> VidSet:
    found = VidSet.parse(text)
    if 0 in found:
        raise ValueError("VLAN 0 cannot be allowed: it means untagged, which `native` is about")
    return found


def _end(text: str) -> End:
    device, colon, port = text.partition(":")
    if not (device and colon and port):
        raise ValueError(f"{text!r} is not DEVICE:PORT")
    return End(device, port)
