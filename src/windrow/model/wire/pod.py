"""Pod and Namespace: of a pod its labels, addresses and named ports. The rest is the container runtime's."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from windrow.model import jsontext
from windrow.model.policies import ANNOTATION_NETWORK_STATUS, Namespace, Pod, PodInterface, PodPort, Protocol
from windrow.model.wire.networkpolicy import PORT_MAX, parse_port_name
from windrow.model.wire.reader import Envelope, Table
from windrow.model.wire.text import quoted

FINISHED = ("Succeeded", "Failed")
"""Phases after which a pod does not run again."""
LABELS_MAX = 16 * 1024
"""Characters of all labels. A node keeps those of every pod of a cluster with policies, and Kubernetes limits only the
whole document."""
_ADDRESS_HINT = "an address, such as 10.52.0.7"
_STATUS_PATH = f"metadata.annotations[{ANNOTATION_NETWORK_STATUS}]"


def read(table: Table, envelope: Envelope) -> Pod:
    _check_labels(table, envelope)
    spec, status = table.table("spec"), table.table("status")
    return Pod(
        meta=envelope.meta,
        doc=envelope.doc,
        source=envelope.source,
        addresses=tuple(dict.fromkeys(_addresses(status))),
        ports=tuple(_ports(spec)),
        interfaces=tuple(_interfaces(table, envelope)),
        host_network=spec.flag("hostNetwork"),
        finished=status.text("phase") in FINISHED,
    )


def read_namespace(table: Table, envelope: Envelope) -> Namespace:
    _check_labels(table, envelope)
    return Namespace(meta=envelope.meta, doc=envelope.doc, source=envelope.source)


def length_of(labels: Mapping[str, str]) -> int:
    return sum(len(key) + len(str(value)) for key, value in labels.items())


def _check_labels(table: Table, envelope: Envelope) -> None:
    """A part of them will not do: whom policies are about would be for whoever writes more labels to say."""
    if length_of(envelope.meta.labels) > LABELS_MAX:
        message = f"have more than {LABELS_MAX} characters, keys and values together"
        table.report.add("labels-too-long", "metadata.labels", message, "keep what nobody selects by in annotations")


def _addresses(status: Table) -> Iterator[str]:
    listed = status.get("podIPs")
    tables = (item.table(("ip",)) for item in listed.items()) if listed else ()
    fields = [one for table in tables if table is not None and (one := table.get("ip"))]
    single = status.get("podIP")
    for field in [*([single] if single else []), *fields]:
        if field.value != "" and (found := field.parsed(parse_address, "address-invalid", _ADDRESS_HINT)):
            yield found


def parse_address(text: str) -> str:
    """As `ipaddress` writes it. Raises ValueError; also for one with a zone, for which no packet has a place."""
    try:
        if "%" in text:
            raise ValueError("a zone")
        return str(ipaddress.ip_address(text.partition("/")[0]))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None


def _ports(spec: Table) -> Iterator[PodPort]:
    """Those with a name: a number needs no container that says it."""
    for container in _tables(spec, "containers"):
        for port in _tables(container, "ports"):
            name, number = port.get("name"), port.integer("containerPort", 1, PORT_MAX)
            given = port.get("protocol")
            protocol = (given.choice(Protocol) if given else None) or Protocol.TCP
            word = name.parsed(parse_port_name, "port-invalid") if name else None
            if word and number:
                yield PodPort(name=word, number=number, protocol=protocol)


def _tables(table: Table, key: str) -> Iterator[Table]:
    listed = table.get(key)
    for item in listed.items() if listed else ():
        if (found := item.table()) is not None:
            yield found


def _interfaces(table: Table, envelope: Envelope) -> Iterator[PodInterface]:
    """Somebody's plugin wrote it: an entry that cannot be read is one interface less, and a warning."""
    text = envelope.meta.annotations.get(ANNOTATION_NETWORK_STATUS)
    if not text:
        return
    try:
        entries = jsontext.loads(text)
        if not isinstance(entries, list):
            raise ValueError("it is no list")
        yield from [_interface(entry) for entry in entries]
    except (ValueError, RecursionError) as error:
        hint = "the plugin that attaches the pod writes it; without it no MultiNetworkPolicy knows the pod's addresses"
        table.report.warn("network-status", _STATUS_PATH, f"cannot be read: {error}", hint)


def _interface(entry: Any) -> PodInterface:
    """Raises ValueError."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ValueError("an entry has no name")
    listed = entry.get("ips") or ()
    if not isinstance(listed, list | tuple):
        raise ValueError("ips is no list")
    return PodInterface(
        network=entry["name"],
        name=str(entry.get("interface") or ""),
        addresses=tuple(parse_address(str(one)) for one in listed),
        default=entry.get("default") is True,
    )


def write(pod: Pod) -> dict[str, Any]:
    """Its spec; the addresses are in the status, which is whoever's runs the pod."""
    ports = [{"name": p.name, "containerPort": p.number, "protocol": str(p.protocol)} for p in pod.ports]
    found: dict[str, Any] = {"hostNetwork": True} if pod.host_network else {}
    return found | ({"containers": [{"name": "pod", "ports": ports}]} if ports else {})
