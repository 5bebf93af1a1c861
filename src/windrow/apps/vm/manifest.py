"""Changes to a machine's manifest in the store, as `kubectl patch` would make them: only what changes is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from windrow.apps.vm.site import Site
from windrow.model.machines import (
    AnyMachine,
    GuestNetwork,
    GuestNic,
    RunStrategy,
    VirtualMachine,
    VirtualMachineInstance,
)
from windrow.model.meta import Source
from windrow.model.problems import Problem, ProblemsError, Severity, errors
from windrow.model.wire import dump, load_documents, yaml_text
from windrow.model.wire.guestnics import write_networks, write_nics
from windrow.rules import changes_to, check
from windrow.rules.placement import starts_with_host

Spec = dict[str, Any]


def with_nic(site: Site, machine: AnyMachine, network: GuestNetwork, nic: GuestNic) -> AnyMachine:
    """Raises ProblemsError: the machine would not be admitted so."""

    def change(spec: Spec) -> None:
        added = dataclasses.replace(machine.spec, networks=(network,), nics=(nic,))
        spec["networks"] += write_networks(added)
        _interfaces(spec).extend(write_nics(added))

    return _changed(site, machine, change)


def without_nic(site: Site, machine: AnyMachine, name: str) -> AnyMachine:
    def change(spec: Spec) -> None:
        devices = spec["domain"]["devices"]
        devices["interfaces"] = [one for one in _interfaces(spec) if one["name"] != name]
        spec["networks"] = [one for one in spec["networks"] if one["name"] != name]
        if not devices["interfaces"]:  # else one on the pod network would be attached
            devices["autoattachPodInterface"] = False

    return _changed(site, machine, change)


def with_network(site: Site, machine: AnyMachine, name: str, nad: str) -> AnyMachine:
    """The NIC `name` on another network. `nad`: `namespace/name`. Raises ProblemsError."""

    def change(spec: Spec) -> None:
        network = next(one for one in spec["networks"] if one["name"] == name)
        network["multus"] = {**network.get("multus", {}), "networkName": nad}

    return _changed(site, machine, change)


def with_link_state(site: Site, machine: AnyMachine, name: str, state: str) -> AnyMachine:
    def change(spec: Spec) -> None:
        next(one for one in _interfaces(spec) if one["name"] == name)["state"] = state

    return _changed(site, machine, change)


def with_autostart(site: Site, namespace: str, name: str, wanted: bool) -> bool:
    """Store whether a machine starts with its host; whether that is news. Raises ProblemsError, StoreError."""
    with site.locked(namespace, name):
        machine = site.machine(namespace, name)
        if starts_with_host(machine) is wanted:
            return False
        if not isinstance(machine, VirtualMachine):
            hint = "make it a VirtualMachine, which has a runStrategy"
            message = "a VirtualMachineInstance runs for as long as there is one"
            raise ProblemsError([Problem(code="starts-always", message=message, hint=hint, about=machine.ref)])
        document = dump(machine)
        document["spec"].pop("running", None)  # KubeVirt's older word for it; both are one too many
        document["spec"]["runStrategy"] = str(RunStrategy.ALWAYS if wanted else RunStrategy.MANUAL)
        site.store.put([_admitted(site, document)])
        return True


def _interfaces(spec: Spec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["domain"]["devices"]["interfaces"]
    return found


def _changed(site: Site, machine: AnyMachine, change: Callable[[Spec], None]) -> AnyMachine:
    document = dump(machine)
    spec: Spec = (
        document["spec"] if isinstance(machine, VirtualMachineInstance) else document["spec"]["template"]["spec"]
    )
    devices = spec.setdefault("domain", {}).setdefault("devices", {})
    if not devices.get("interfaces"):  # those that a machine has whose manifest names none
        devices["interfaces"], spec["networks"] = write_nics(machine.spec), write_networks(machine.spec)
    change(spec)
    return _admitted(site, document)


def _admitted(site: Site, document: Mapping[str, Any]) -> AnyMachine:
    """The machine that it describes, where that may be stored. Raises ProblemsError."""
    loaded = load_documents(yaml_text(document), "")
    if errors(loaded.problems):
        raise ProblemsError([dataclasses.replace(p, line=None) for p in loaded.problems])
    (changed,) = loaded.objects
    assert isinstance(changed, VirtualMachine | VirtualMachineInstance)
    changed = dataclasses.replace(changed, source=Source())  # its lines are those of no file
    problems = check(site.cluster, changes_to(site.cluster, [changed]))
    if errors(problems):
        raise ProblemsError(problems)
    for problem in problems:
        if problem.severity is Severity.WARNING:
            site.warn(str(problem))
    return changed
