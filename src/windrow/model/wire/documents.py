"""Documents -> objects: which kind it is, its metadata, and everything else that all kinds share."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from windrow.model.kubeovn import Subnet, Vpc
from windrow.model.lazy import dataclass
from windrow.model.machines import VirtualMachine, VirtualMachineInstance
from windrow.model.meta import Meta, Source
from windrow.model.objects import (
    KINDS,
    KUBEOVN_KINDS,
    AnyObject,
    ClusterNetwork,
    HostNetworkConfig,
    LinkMonitor,
    NetworkAttachmentDefinition,
    Node,
    VlanConfig,
    VlanStatus,
    find_kind,
    ready_of,
)
from windrow.model.policies import MultiNetworkPolicy, Namespace, NetworkPolicy, Pod
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.problems import WITHOUT_EFFECT, Problem, Severity, errors
from windrow.model.values import Ref
from windrow.model.wire import (
    hostnetworkconfig,
    kubeovn,
    linkmonitor,
    nad,
    networkpolicy,
    pod,
    pools,
    virtualmachine,
    vlanconfig,
)
from windrow.model.wire import node as nodes
from windrow.model.wire.reader import Envelope, Report, Table, kind_of, suggestion
from windrow.model.wire.text import (
    Alias,
    Complaint,
    Mapping,
    Plain,
    Scalar,
    Sequence,
    Tree,
    TreeNode,
    join,
    plain,
    quoted,
    shown,
    trees,
)

NAME_MAX, NAMESPACE_MAX = 253, 63
DEFAULT_NAMESPACE = "default"
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAMESPACE = re.compile(_LABEL)
_TOP = ("apiVersion", "kind", "metadata", "spec", "status", "data")
META = (
    *("name", "namespace", "labels", "annotations"),
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    *("generateName", "selfLink", "finalizers", "ownerReferences", "managedFields"),
)
"""metav1.ObjectMeta. What is read, and what an API server knows besides: none of it is a slip of the pen."""
Kinds = dict[str, type[AnyObject]]
_KINDS: Kinds = {kind.name: kind.cls for kind in KINDS}
_SERVED_KINDS: Kinds = {**_KINDS, **{kind.name: kind.cls for kind in KUBEOVN_KINDS}}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a text holds. `unread`: objects that are in it and of which something is wrong, so that nobody
    says of them that they do not exist."""

    objects: tuple[AnyObject, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: frozenset[Ref] = frozenset()
    doubtful: tuple[AnyObject, ...] = ()
    """Of the unread ones, what could be read (`Object.doubts`): neighbours of others, and nothing to carry out."""


def load_documents(text: str, file: str = "") -> Loaded:
    """Every object in a text of YAML documents or JSON, and every problem with it. Never raises."""
    found, complaints = trees(text)
    problems = [_problem(c, file) for c in complaints]
    objects: list[AnyObject] = []
    unread: set[Ref] = set()
    doubtful: list[AnyObject] = []
    passed: list[tuple[str, int]] = []
    for tree, said in zip(found, _commented(text, found), strict=True):
        for prefix, node in _items(tree.root, ""):
            if foreign := _foreign_kind(node):
                passed.append((foreign, node.line + 1))
                continue
            loaded = _load(node, prefix, file, "" if prefix else said)
            objects += loaded.objects
            problems += loaded.problems
            unread |= loaded.unread
            doubtful += loaded.doubtful
    problems += [_passed_over(passed, file)] if passed else []
    loaded = without_doubles([Loaded(tuple(objects), tuple(problems), frozenset(unread), tuple(doubtful))])
    return replace(loaded, problems=tuple(sorted(loaded.problems, key=lambda p: p.line or 0)))


def _commented(text: str, found: list[Tree]) -> list[str]:
    """The text of each document that may have comments, without the line that begins it; of the others nothing."""
    if "#" not in text or not found:
        return [""] * len(found)
    lines = text.splitlines(keepends=True)
    starts = [0, *(tree.first for tree in found[1:]), len(lines)]
    texts = ["".join(lines[a:b]) for a, b in pairwise(starts)]
    return [one.removeprefix("---").lstrip("\n") if "#" in one else "" for one in texts]


def load_value(value: object, file: str = "") -> Loaded:
    """One document that is decoded already, as an API server sends it. Never raises."""
    return _read(Plain(value), [], "", file, kinds=_SERVED_KINDS)


def without_doubles(parts: Iterable[Loaded]) -> Loaded:
    """Several texts as one. An object that stands in two places is a problem naming both; the first is kept."""
    first: dict[Ref, AnyObject] = {}
    problems: list[Problem] = []
    unread: set[Ref] = set()
    doubtful: list[AnyObject] = []
    for part in parts:
        problems += part.problems
        unread |= part.unread
        doubtful += part.doubtful
        for obj in part.objects:
            other = first.setdefault(obj.ref, obj)
            if other is not obj:
                problems.append(_double(obj, other))
    return Loaded(tuple(first.values()), tuple(problems), frozenset(unread), tuple(doubtful))


def _double(obj: AnyObject, other: AnyObject) -> Problem:
    line = other.source.line("metadata.name") or 1
    place = f"{other.source.file}:{line}" if other.source.file else f"line {line}"
    return Problem(
        code="object-twice",
        message=f"this object is already at {place}",
        hint="remove one of them",
        path="metadata.name",
        about=obj.ref,
        file=obj.source.file,
        line=obj.source.line("metadata.name"),
    )


def _problem(complaint: Complaint, file: str) -> Problem:
    return Problem(
        code=complaint.code,
        message=complaint.message,
        hint=complaint.hint,
        path=complaint.path,
        file=file,
        line=complaint.line,
    )


def _items(node: TreeNode, prefix: str, depth: int = 0) -> Iterator[tuple[str, TreeNode]]:
    """The documents of `kind: List` and of `kind: VlanConfigList` one by one; each has its own paths."""
    target = node
    while isinstance(target, Alias):
        target = target.target
    if depth < _NESTED_LISTS and isinstance(target, Mapping) and str(_scalar(target, "kind")).endswith("List"):
        items = next((value for key, _, value in target.entries if key == "items"), None)
        if isinstance(items, Sequence):
            for i, item in enumerate(items.items):
                yield from _items(item, f"{prefix}.items[{i}]" if prefix else f"items[{i}]", depth + 1)
            return
    yield prefix, node


_NESTED_LISTS = 4


def _group(version: str) -> str:
    return version.rpartition("/")[0]


_VERSIONS = tuple(kind.cls.API_VERSION for kind in KINDS)
_GROUPS = {group: [k.name for k in KINDS if _group(k.cls.API_VERSION) == group] for group in map(_group, _VERSIONS)}
"""Group of the API -> our kinds in it. Node's has no name."""
_NAMED = 8
"""How many kinds a notice names."""


def _foreign_kind(node: TreeNode) -> str:
    """`IPPool (loadbalancer.harvesterhci.io/v1beta1)`: somebody else's document; empty: it is ours, or means to be."""
    if not isinstance(node, Mapping):
        return ""
    kind, version = _scalar(node, "kind"), _scalar(node, "apiVersion")
    return f"{kind} ({version})" if is_foreign(kind, version) else ""


def is_foreign(kind: object, version: object) -> bool:
    """Whether a kind is nobody's business here: of a group that is not ours, or one of ours that Windrow does not read.
    A slip of the pen is not: it is for the reader to complain about."""
    if not (isinstance(kind, str) and isinstance(version, str) and kind and version):
        return False
    group = _group(version)
    if group not in _GROUPS:
        return not (kind in _KINDS and suggestion(group, _GROUPS, 0.8))
    if kind in _KINDS or find_kind(kind):
        return False
    longer = kind.startswith(tuple(_GROUPS[group]))  # VirtualMachineInstanceReplicaSet means what it says
    return longer or not suggestion(kind, _GROUPS[group])


def _passed_over(passed: list[tuple[str, int]], file: str) -> Problem:
    """One notice for a whole text, however many there are."""
    kinds = Counter(kind for kind, _ in passed)
    words = [f"{kind}, {count} times" if count > 1 else kind for kind, count in kinds.most_common(_NAMED)]
    more = f"; and {len(kinds) - _NAMED} more kinds" if len(kinds) > _NAMED else ""
    return Problem(
        code="kind-foreign",
        message=f"passed over, for Windrow does not read it: {'; '.join(words)}{more}",
        file=file,
        line=passed[0][1],
        severity=Severity.WARNING,
    )


def _scalar(node: Mapping, name: str) -> object:
    value = next((value for key, _, value in node.entries if key == name), None)
    return value.value if isinstance(value, Scalar) else None


def _load(node: TreeNode, prefix: str, file: str, text: str = "") -> Loaded:
    complaints: list[Complaint] = []
    document = plain(node, complaints)
    if document.value is None and not complaints and not prefix:
        return Loaded()  # an empty document: `---` at the end of a file
    return _read(document, complaints, prefix, file, text)


def _read(
    document: Plain, complaints: list[Complaint], prefix: str, file: str, text: str = "", kinds: Kinds = _KINDS
) -> Loaded:
    report = Report(Source(file=file, lines=document.lines, text=text), prefix)
    return _loaded(_object(document, report, complaints, kinds), report)


def _loaded(obj: AnyObject | None, report: Report) -> Loaded:
    problems = tuple(report.problems)
    if not report.failed:
        return Loaded((obj,) if obj else (), problems)
    unread = frozenset({report.about} if report.about else ())
    if obj is None or obj.ref not in unread:
        return Loaded((), problems, unread)
    doubts = tuple(dict.fromkeys(p.path for p in errors(problems)))
    return Loaded((), problems, unread, (replace(obj, doubts=doubts),))


def _object(document: Plain, report: Report, complaints: list[Complaint], kinds: Kinds) -> AnyObject | None:
    value = document.value
    known = isinstance(value, dict)
    # A bare CNI configuration gets a hint of its own in `_kind`.
    table = Table(value if known else None, "", report, () if known and "cniVersion" in value else _TOP)
    cls = _kind(table, kinds) if known else None
    meta = _meta(table, cls) if cls else None
    if cls and meta and meta.name:
        report.about = Ref(cls.KIND, meta.name, meta.namespace if cls.NAMESPACED else "")
        _check_version(table, cls)
    for c in complaints:
        report.add(c.code, c.path, c.message, c.hint, line=c.line)
    if not known and not complaints:
        report.add("wrong-type", "", f"a manifest is a map with apiVersion and kind; this is {kind_of(value)}")
    if cls is None or meta is None:
        return None
    return _READERS[cls](table, Envelope(meta=meta, doc=value, source=report.source), document)


def _kind(table: Table, kinds: Kinds) -> type[AnyObject] | None:
    hint = ""
    if "cniVersion" in table.value:
        hint = "a CNI configuration goes into spec.config of a NetworkAttachmentDefinition, as a text"
    field = table.required("kind", hint or f"one of {', '.join(_KINDS)}")
    word = field.text() if field else None
    if field is None or word is None:
        return None
    if word in kinds:
        return kinds[word]
    near = find_kind(word)
    hint = f"did you mean {near.name}?" if near else suggestion(word, _KINDS, 0.6)
    field.wrong("kind-unknown", f"there is no kind {shown(word)}", hint or f"the kinds are {', '.join(_KINDS)}")
    return None


def _check_version(table: Table, cls: type[AnyObject]) -> None:
    field = table.required("apiVersion", f"apiVersion: {cls.API_VERSION}")
    version = field.text() if field else None
    if field and version is not None and version not in (cls.API_VERSION, *cls.OLDER_VERSIONS):
        message = f"{shown(version)} is not a version of {cls.KIND} that Windrow reads"
        field.wrong("version-unknown", message, f"write {cls.API_VERSION}")


def _meta(table: Table, cls: type[AnyObject]) -> Meta:
    """A name that is missing or wrong is empty."""
    meta = table.table("metadata", META, required=True, hint="metadata: {name: …}")
    name = _name(meta, "name", _NAME, NAME_MAX) if meta.required("name") else ""
    namespace = ""
    if cls.NAMESPACED:
        namespace = DEFAULT_NAMESPACE
        if "namespace" in meta:
            namespace = _name(meta, "namespace", _NAMESPACE, NAMESPACE_MAX) or DEFAULT_NAMESPACE
    return Meta(
        name=name,
        namespace=namespace,
        labels=meta.texts("labels"),
        annotations=meta.texts("annotations"),
        deleting="deletionTimestamp" in meta,
    )


def ref_of(value: object) -> Ref | None:
    """Which object a document is, whatever else may be wrong with it; None where that cannot be said."""
    match value:
        case {"kind": str(kind), "apiVersion": version} if is_foreign(kind, version):
            return None
        case {"kind": str(kind), "metadata": {"name": str(name)} as meta} if kind in _KINDS:
            namespace = meta.get("namespace")
            named = namespace if isinstance(namespace, str) else DEFAULT_NAMESPACE
            return Ref(kind, name, named if _KINDS[kind].NAMESPACED else "")
        case _:
            return None


def items_of(value: object) -> list[object] | None:
    """The objects of a `kind: List`; None for any other document."""
    match value:
        case {"kind": str(kind), "items": list(items)} if kind.endswith("List"):
            return items
        case _:
            return None


def is_namespaced_name(namespace: str, name: str) -> bool:
    """Whether Kubernetes takes both."""
    fits = len(namespace) <= NAMESPACE_MAX and len(name) <= NAME_MAX
    return fits and bool(_NAMESPACE.fullmatch(namespace) and _NAME.fullmatch(name))


def is_name(text: str) -> bool:
    """Whether an object may be called so."""
    return len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None


def _name(meta: Table, key: str, pattern: re.Pattern[str], longest: int) -> str:
    """RFC 1123, as Kubernetes asks of every object."""
    field = meta[key]
    text = field.text()
    if text is None:
        return ""
    if len(text) > longest:
        field.wrong("name-invalid", f"has {len(text)} characters, {longest} is the most")
        return ""
    if not pattern.fullmatch(text):
        lower = text.lower().replace("_", "-")
        hint = f"write {lower}" if pattern.fullmatch(lower) else "lower-case letters, digits, and - between them"
        field.wrong("name-invalid", f"{quoted(text)} is not a name that Kubernetes takes", hint)
        return ""
    return text


Reader = Callable[[Table, Envelope, Plain], AnyObject]


def _cluster_network(table: Table, envelope: Envelope, _document: Plain) -> ClusterNetwork:
    """It has no spec; whoever writes one means the uplinks'."""
    spec = table.table("spec")
    for key in spec.value:
        hint = "uplink.linkAttributes.mtu of its VlanConfigs" if key == "mtu" else ""
        message = "a ClusterNetwork has a name only: it is kept, and means nothing"
        table.report.warn(WITHOUT_EFFECT, join(spec.path, key), message, hint)
    return ClusterNetwork(meta=envelope.meta, doc=envelope.doc, source=envelope.source)


def _vlan_status(_table: Table, envelope: Envelope, _document: Plain) -> VlanStatus:
    """A status is nobody's wish: what is wrong with it is passed over."""
    status = envelope.doc.get("status")
    texts = {key: value for key, value in status.items() if isinstance(value, str)} if isinstance(status, dict) else {}
    return VlanStatus(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        cluster_network=texts.get("clusterNetwork", ""),
        vlan_config=texts.get("vlanConfig", ""),
        node=texts.get("node", ""),
        ready=ready_of(envelope.doc),
    )


def _spec(table: Table, fields: tuple[str, ...] = ()) -> Table:
    return table.table("spec", fields, required=True)


_READERS: dict[type[AnyObject], Reader] = {
    ClusterNetwork: _cluster_network,
    VlanStatus: _vlan_status,
    Node: lambda table, envelope, _: nodes.read(table.table("spec", nodes.FIELDS), envelope),
    VlanConfig: lambda table, envelope, _: vlanconfig.read(_spec(table, vlanconfig.FIELDS), envelope),
    HostNetworkConfig: lambda table, envelope, _: hostnetworkconfig.read(
        _spec(table, hostnetworkconfig.FIELDS), envelope
    ),
    LinkMonitor: lambda table, envelope, _: linkmonitor.read(table.table("spec", linkmonitor.FIELDS), envelope),
    NetworkAttachmentDefinition: lambda table, envelope, document: nad.read(
        table.table("spec", nad.FIELDS), envelope, document
    ),
    VirtualMachine: lambda table, envelope, _: virtualmachine.read(_spec(table, virtualmachine.FIELDS), envelope),
    VirtualMachineInstance: lambda table, envelope, _: virtualmachine.read_instance(
        _spec(table, virtualmachine.INSTANCE_FIELDS), envelope
    ),
    IPPool: lambda table, envelope, _: pools.read_pool(table, _spec(table, pools.POOL_FIELDS), envelope),
    VirtualMachineNetworkConfig: lambda table, envelope, _: pools.read_config(
        _spec(table, pools.CONFIG_FIELDS), envelope
    ),
    Namespace: lambda table, envelope, _: pod.read_namespace(table, envelope),
    Pod: lambda table, envelope, _: pod.read(table, envelope),
    NetworkPolicy: lambda table, envelope, _: networkpolicy.read(_spec(table), envelope),
    MultiNetworkPolicy: lambda table, envelope, _: networkpolicy.read_multi(_spec(table), envelope),
    Subnet: lambda table, envelope, _: kubeovn.read_subnet(table.table("spec"), envelope),
    Vpc: lambda _table, envelope, _: kubeovn.read_vpc(envelope),
}


def dump(obj: AnyObject) -> dict[str, Any]:
    """The object as a document: the one it came from, unknown fields and all; else one made from its fields."""
    return copy.deepcopy(dict(obj.doc)) if obj.doc else _made(obj)


def document_of(obj: AnyObject) -> dict[str, Any]:
    """The same for whoever only reads it, a tenth of the work: it may be the object's own."""
    return dict(obj.doc) if obj.doc else _made(obj)


def _made(obj: AnyObject) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": obj.meta.name}
    if obj.NAMESPACED and obj.meta.namespace:
        meta["namespace"] = obj.meta.namespace
    if obj.meta.labels:
        meta["labels"] = dict(obj.meta.labels)
    if obj.meta.annotations:
        meta["annotations"] = dict(obj.meta.annotations)
    document: dict[str, Any] = {"apiVersion": obj.API_VERSION, "kind": obj.KIND, "metadata": meta}
    spec = _write_spec(obj)
    return document | ({"spec": spec} if spec else {})


def _write_spec(obj: AnyObject) -> dict[str, Any]:
    match obj:
        case VlanConfig():
            return vlanconfig.write(obj)
        case HostNetworkConfig():
            return hostnetworkconfig.write(obj)
        case LinkMonitor():
            return linkmonitor.write(obj)
        case NetworkAttachmentDefinition():
            return nad.write(obj)
        case VirtualMachine():
            return virtualmachine.write(obj)
        case VirtualMachineInstance():
            return virtualmachine.write_instance(obj)
        case IPPool():
            return pools.write_pool(obj)
        case VirtualMachineNetworkConfig():
            return pools.write_config(obj)
        case Node():
            return nodes.write(obj)
        case NetworkPolicy():
            return networkpolicy.write(obj)
        case Pod():
            return pod.write(obj)
        case Subnet():
            return kubeovn.write_subnet(obj)
        case ClusterNetwork() | VlanStatus() | Namespace() | Vpc():
            return {}
