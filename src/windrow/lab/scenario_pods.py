"""What a scenario's Pods say of themselves: their node, and their NICs, as the many-NIC plugin will name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from windrow.lab.scenario import Pod, PodNic
from windrow.model.meta import Source
from windrow.model.values import IfName
from windrow.model.wire.documents import is_namespaced_name
from windrow.model.wire.reader import Report
from windrow.model.wire.text import plain, shown, trees
from windrow.port.errors import CniError
from windrow.port.networks import NETWORKS, read_networks

_NAMESPACE = "default"


def pods(texts: Mapping[str, str], report: Report) -> tuple[Pod, ...]:
    """Other kinds are passed over. What is wrong is noted with the file's name."""
    found: dict[str, Pod] = {}
    for file, text in texts.items():
        for document in _pods(text, file, report):
            pod = _pod(document, file, report)
            if pod is not None and pod.reference in found:
                report.add("pod", f"pods/{file}: Pod {pod.name}", "is there twice", "give one of them another name")
            elif pod is not None:
                found[pod.reference] = pod
    return tuple(found.values())


def documents(texts: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """By `Pod.reference`, of texts in which `pods` found nothing wrong."""
    report = Report(Source())
    found: dict[str, Mapping[str, Any]] = {}
    for file, text in texts.items():
        for document in _pods(text, file, report):
            if (pod := _pod(document, file, report)) is not None:
                found[pod.reference] = document
    return found


def _pods(text: str, file: str, report: Report) -> Iterator[Mapping[str, Any]]:
    documents, complaints = trees(text)
    for tree in documents:
        value = plain(tree.root, complaints).value
        if isinstance(value, dict) and value.get("kind") == "Pod":
            yield value
    for complaint in complaints:
        report.add(complaint.code, f"pods/{file}", complaint.message, complaint.hint)


def _pod(document: Mapping[str, Any], file: str, report: Report) -> Pod | None:
    meta, spec = (found if isinstance(found := document.get(key), dict) else {} for key in ("metadata", "spec"))
    name, node = str(meta.get("name") or ""), spec.get("nodeName")
    path = f"pods/{file}: Pod {name}"
    if not name:
        report.add("pod", f"pods/{file}: a Pod", "it has no metadata.name", "give it one")
        return None
    namespace = str(meta.get("namespace") or _NAMESPACE)
    if not is_namespaced_name(namespace, name):
        # It becomes a network namespace and names of files.
        hint = "lower-case letters, digits, and - between them"
        report.add("pod", f"pods/{file}: a Pod", f"{shown(f'{namespace}/{name}')} is no name of one", hint)
        return None
    if not isinstance(node, str):
        report.add("pod", path, "it has no spec.nodeName, and a lab has no scheduler", "name one of the nodes there")
        return None
    annotations = meta.get("annotations")
    wanted = annotations.get(NETWORKS, "") if isinstance(annotations, dict) else ""
    try:
        selections = read_networks(str(wanted), namespace=namespace, about=f"annotation {NETWORKS}")
    except CniError as error:
        report.add("pod", path, str(error))
        return None
    nics = [PodNic(interface=IfName("eth0"))]
    for number, one in enumerate(selections, 1):
        nics.append(PodNic(interface=IfName(one.interface or f"net{number}"), nad=f"{one.namespace}/{one.name}"))
    return Pod(name=name, namespace=namespace, node=node, nics=tuple(nics))
