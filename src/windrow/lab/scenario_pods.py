"""What a scenario's Pods say of themselves: their node, their NICs, as the many-NIC plugin will name them, and the
machine that runs in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from windrow.lab.errors import LabError
from windrow.lab.scenario import Pod, PodNic, Vm
from windrow.lab.scenario_vms import Machines
from windrow.model.machines import VirtualMachineInstance
from windrow.model.meta import Source
from windrow.model.problems import errors
from windrow.model.values import IfName
from windrow.model.wire import load_documents
from windrow.model.wire.documents import is_namespaced_name
from windrow.model.wire.reader import Report
from windrow.model.wire.text import plain, shown, trees
from windrow.port.errors import CniError
from windrow.port.networks import NETWORKS, read_networks

INSTANCE = "STANDALONE_VMI"
"""The variable in which KubeVirt's virt-launcher finds its VirtualMachineInstance where nobody else tells it."""
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


def launched(texts: Mapping[str, str], machines: Machines, report: Report) -> tuple[Vm, ...]:
    """The machines that run in Pods. What is wrong with one is noted with the file's name."""
    found = []
    for file, text in texts.items():
        for document in _pods(text, file, report):
            pod, value = _pod(document, file, Report(Source())), _instance_text(document)
            if pod is None or value is None:
                continue
            try:
                machine = instance(value)
            except LabError as error:
                report.add("pod", f"pods/{file}: Pod {pod.name}", str(error))
                continue
            nics = machines.nics(machine)
            memory = machine.spec.memory
            found.append(
                Vm(name=machine.name, node=pod.node, machine=machine.ref, nics=nics, memory=memory, pod=pod.reference)
            )
    return tuple(found)


def instance(text: str) -> VirtualMachineInstance:
    """What stands in `INSTANCE`. Raises LabError."""
    loaded = load_documents(text, INSTANCE)
    if wrong := errors(loaded.problems):
        raise LabError("; ".join(map(str, wrong)))
    match loaded.objects:
        case (VirtualMachineInstance() as found,):
            return found
        case _:
            raise LabError(f"{INSTANCE} is not one VirtualMachineInstance")


def _instance_text(document: Mapping[str, Any]) -> str | None:
    """The value of the variable; None: no container has it."""
    spec = document.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    for container in containers if isinstance(containers, list) else ():
        variables = container.get("env") if isinstance(container, dict) else None
        for one in variables if isinstance(variables, list) else ():
            if isinstance(one, dict) and one.get("name") == INSTANCE:
                return str(one.get("value") or "")
    return None


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
