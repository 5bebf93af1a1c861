"""Tables as kubectl prints them: columns three spaces apart, headings in capitals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from windrow.render.text import PLAIN, Style, pad, width

NOTHING = "<none>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], style: Style = PLAIN, *, headed: bool = True) -> str:
    """Columns as wide as their widest cell; empty cells are `<none>`. Not `headed`: without the headings."""
    cells = [[cell or NOTHING for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(headings, *cells, strict=True)]
    lines = [[style.bold(h) for h in headings], *cells] if headed else cells
    return "".join("   ".join(map(pad, line, widths)).rstrip() + "\n" for line in lines)


Document = Mapping[str, Any]
Column = tuple[str, Callable[[Document], str]]


def at(document: Document, *path: str) -> Any:
    """The value at a path of keys; None where there is none."""
    found: Any = document
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _at(*path: str) -> Callable[[Document], str]:
    return lambda document: words(at(document, *path))


def words(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Mapping():
            return ",".join(f"{k}={words(v)}" for k, v in value.items())
        case list() | tuple():
            return ",".join(words(v) for v in value)
        case _:
            return str(value)


def _label(key: str) -> Callable[[Document], str]:
    return _at("metadata", "labels", f"network.harvesterhci.io/{key}")


def _annotation(key: str) -> Callable[[Document], str]:
    return _at("metadata", "annotations", f"network.harvesterhci.io/{key}")


def ready(document: Document) -> str:
    """The condition `ready`: True, False, Unknown; empty where there is none."""
    return str((ready_condition(document) or {}).get("status", ""))


def ready_message(document: Document) -> str:
    return str((ready_condition(document) or {}).get("message", ""))


def ready_condition(document: Document) -> Document | None:
    found = at(document, "status", "conditions") or []
    return next((c for c in found if isinstance(c, Mapping) and c.get("type") == "ready"), None)


def _nics(document: Document) -> str:
    return ",".join(words(n) for n in at(document, "spec", "uplink", "nics") or [])


def _links(document: Document) -> str:
    return str(sum(len(links) for links in (at(document, "status", "linkStatus") or {}).values()))


def _links_down(document: Document) -> str:
    found = [link for links in (at(document, "status", "linkStatus") or {}).values() for link in links]
    return ",".join(str(link.get("name")) for link in found if link.get("state") != "up")


def _node_ready(document: Document) -> str:
    nodes = at(document, "status", "nodeStatus") or {}
    return ",".join(f"{node}={ready({'status': state})}" for node, state in nodes.items())


def _run_strategy(document: Document) -> str:
    """`running`, which KubeVirt had first, in the words of `runStrategy`."""
    running = {True: "Always", False: "Halted"}.get(at(document, "spec", "running"), "")
    return words(at(document, "spec", "runStrategy")) or running


def _machine(document: Document) -> Document:
    """The spec of the machine itself: a VirtualMachine's is that of its template."""
    found = at(document, "spec", "template", "spec") or at(document, "spec")
    return found if isinstance(found, Mapping) else {}


def _cpus(document: Document) -> str:
    """Cores × sockets × threads; `resources.requests.cpu` where there are none."""
    domain = at(_machine(document), "domain") or {}
    given = [n for n in (at(domain, "cpu", key) for key in ("cores", "sockets", "threads")) if isinstance(n, int)]
    return str(prod(given)) if given else words(at(domain, "resources", "requests", "cpu")) or "1"


def _memory(document: Document) -> str:
    domain = at(_machine(document), "domain") or {}
    return words(at(domain, "memory", "guest") or at(domain, "resources", "requests", "memory"))


def _networks(document: Document) -> str:
    """The NADs by their names, `pod` for the pod network, `claim` for a device; with no list, KubeVirt's default."""
    spec = _machine(document)
    networks = at(spec, "networks")
    if not networks and at(spec, "domain", "devices", "autoattachPodInterface") is not False:
        return "pod"
    return ",".join(
        words(at(n, "multus", "networkName")) or ("claim" if at(n, "resourceClaim") else "pod") for n in networks or []
    )


def _macs(document: Document) -> str:
    nics = at(_machine(document), "domain", "devices", "interfaces") or []
    return ",".join(words(at(nic, "macAddress")) for nic in nics if at(nic, "macAddress"))


def _node_selector(document: Document) -> str:
    return words(at(_machine(document), "nodeSelector"))


def _first_ip(document: Document) -> str:
    interfaces = at(document, "status", "interfaces") or []
    return next((str(one["ipAddress"]) for one in interfaces if isinstance(one, Mapping) and one.get("ipAddress")), "")


_MACHINE: tuple[Column, ...] = (("CPUS", _cpus), ("MEMORY", _memory), ("NETWORKS", _networks))
_MACHINE_WIDE: tuple[Column, ...] = (("MACS", _macs), ("NODE-SELECTOR", _node_selector))


def _pod_cidrs(document: Document) -> str:
    return words(at(document, "spec", "podCIDRs") or at(document, "spec", "podCIDR"))


def _addresses(document: Document) -> str:
    found = at(document, "status", "networkConfigs") or []
    return ",".join(words(at(one, "allocatedIPAddress") or at(one, "state")) for one in found)


NAME: Column = ("NAME", _at("metadata", "name"))


def _policy_types(document: Document) -> str:
    """Kubernetes' default where nothing is said: Ingress, and Egress where there are rules for it."""
    usual = ["Ingress", "Egress"] if at(document, "spec", "egress") else ["Ingress"]
    return words(at(document, "spec", "policyTypes") or usual)


def _selector(document: Document) -> str:
    """As kubectl shows it, but for expressions, which it writes out."""
    selector = at(document, "spec", "podSelector") or {}
    return words(selector.get("matchLabels") or selector.get("matchExpressions")) if selector else "<all>"


_POLICY: tuple[Column, ...] = (
    ("NAMESPACE", _at("metadata", "namespace")),
    NAME,
    ("POD-SELECTOR", _selector),
    ("TYPES", _policy_types),
)

COLUMNS: dict[str, tuple[tuple[Column, ...], tuple[Column, ...]]] = {
    "ClusterNetwork": (
        (NAME, ("READY", ready)),
        (
            ("MTU", _annotation("uplink-mtu")),
            ("VLANS", _annotation("vlan-id-set-str")),
            ("MTU-SOURCE", _annotation("mtu-source-vc")),
        ),
    ),
    "VlanConfig": (
        (NAME, ("CLUSTERNETWORK", _at("spec", "clusterNetwork")), ("DESCRIPTION", _at("spec", "description"))),
        (
            ("MODE", _at("spec", "uplink", "bondOptions", "mode")),
            ("NICS", _nics),
            ("MTU", _at("spec", "uplink", "linkAttributes", "mtu")),
            ("NODES", _annotation("matched-nodes")),
        ),
    ),
    "VlanStatus": (
        (
            NAME,
            ("CLUSTERNETWORK", _at("status", "clusterNetwork")),
            ("VLANCONFIG", _at("status", "vlanConfig")),
            ("NODE", _at("status", "node")),
            ("READY", ready),
        ),
        (("MESSAGE", ready_message),),
    ),
    "LinkMonitor": (
        (
            NAME,
            ("TYPE", _at("spec", "targetLinkRule", "typeRule")),
            ("LINK", _at("spec", "targetLinkRule", "nameRule")),
            ("LINKS", _links),
        ),
        (("NOT-UP", _links_down),),
    ),
    "HostNetworkConfig": (
        (
            NAME,
            ("CLUSTERNETWORK", _at("spec", "clusterNetwork")),
            ("VLAN", _at("spec", "vlanID")),
            ("MODE", _at("spec", "mode")),
            ("DESCRIPTION", _at("spec", "description")),
        ),
        (("IPS", _at("spec", "ips")), ("READY", _node_ready)),
    ),
    "NetworkAttachmentDefinition": (
        (
            ("NAMESPACE", _at("metadata", "namespace")),
            NAME,
            ("TYPE", _label("type")),
            ("CLUSTERNETWORK", _label("clusternetwork")),
            ("VLAN", _label("vlan-id")),
            ("READY", _label("ready")),
        ),
        (("CONFIG", _at("spec", "config")),),
    ),
    "VirtualMachine": (
        (("NAMESPACE", _at("metadata", "namespace")), NAME, ("RUNSTRATEGY", _run_strategy), *_MACHINE),
        _MACHINE_WIDE,
    ),
    "VirtualMachineInstance": (
        (
            ("NAMESPACE", _at("metadata", "namespace")),
            NAME,
            ("PHASE", _at("status", "phase")),
            ("IP", _first_ip),
            ("NODENAME", _at("status", "nodeName")),
            *_MACHINE,
        ),
        _MACHINE_WIDE,
    ),
    "IPPool": (
        (
            ("NAMESPACE", _at("metadata", "namespace")),
            NAME,
            ("NETWORK", _at("spec", "networkName")),
            ("AVAILABLE", _at("status", "ipv4", "available")),
            ("USED", _at("status", "ipv4", "used")),
        ),
        (("CIDR", _at("spec", "ipv4Config", "cidr")), ("SERVER", _at("spec", "ipv4Config", "serverIP"))),
    ),
    "VirtualMachineNetworkConfig": (
        (("NAMESPACE", _at("metadata", "namespace")), NAME, ("VM", _at("spec", "vmName"))),
        (("ADDRESSES", _addresses),),
    ),
    "Namespace": ((NAME,), (("LABELS", _at("metadata", "labels")),)),
    "Pod": (
        (("NAMESPACE", _at("metadata", "namespace")), NAME, ("STATUS", _at("status", "phase"))),
        (("IP", _at("status", "podIP")), ("NODE", _at("spec", "nodeName"))),
    ),
    "NetworkPolicy": (_POLICY, ()),
    "MultiNetworkPolicy": (
        (*_POLICY, ("NETWORKS", _at("metadata", "annotations", "k8s.v1.cni.cncf.io/policy-for"))),
        (),
    ),
    "Node": (
        (NAME,),
        (
            ("PODCIDRS", _pod_cidrs),
            ("LABELS", _at("metadata", "labels")),
        ),
    ),
}
"""Per kind: the columns, and the ones that `-o wide` adds. Harvester's, without AGE: manifests in a
directory have no time of creation."""


def documents_table(
    kind: str,
    documents: Sequence[Document],
    *,
    wide: bool = False,
    labels: bool = False,
    headed: bool = True,
    style: Style = PLAIN,
) -> str:
    """The documents of one kind; `labels`: with a column of them."""
    usual, more = COLUMNS[kind]
    columns = (usual + more if wide else usual) + (_LABELS if labels else ())
    rows = [[_coloured(cell(d), style) for _, cell in columns] for d in documents]
    return table([heading for heading, _ in columns], rows, style, headed=headed)


_LABELS: tuple[Column, ...] = (("LABELS", _at("metadata", "labels")),)


def _coloured(cell: str, style: Style) -> str:
    match cell:
        case "True" | "true":
            return style.green(cell)
        case "False" | "false":
            return style.red(cell)
        case _:
            return cell
